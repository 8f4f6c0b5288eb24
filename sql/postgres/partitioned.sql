-- Row triggers of a partitioned table. PostgreSQL gives every partition its own copy.
--
-- The first captures changes of partitions that were made or attached since the last look: a statement
-- that names such a partition fires none of the triggers of capture_triggers.sql. Partitions that have
-- these have it disabled.
-- All rows of a new partition came in after the last publication, because each publication looks
-- for new partitions first. So a row that has no pending image yet was attached: it wasn't there.
-- Depth 0: the triggers of a statement that names the table itself come later, and leave these alone.
CREATE FUNCTION epoch.capture_{{id}}_fresh() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off AS $epoch$
#variable_conflict use_column
BEGIN
    -- As guard.sql, which such a partition doesn't have either.
    IF current_setting('epoch.lineage', true) <> '' THEN
        RAISE feature_not_supported USING MESSAGE = format('writing to table "%s" of main from a branch', TG_TABLE_NAME);
    END IF;
    IF TG_OP <> 'INSERT' THEN
        IF NOT EXISTS (SELECT FROM {{history}} h WHERE h.epoch_lineage = 1 AND {{match_old}} AND h.epoch_to = 9223372036854775807) THEN
            INSERT INTO {{history}} (epoch_lineage, {{key}}, epoch_existed, epoch_depth) VALUES (1, {{key_old}}, false, 0);
        ELSIF NOT EXISTS (SELECT FROM {{history}} h WHERE h.epoch_lineage = 1 AND {{match_old}} AND h.epoch_to = 9223372036854775807
                AND h.epoch_xid = pg_current_xact_id()) THEN
            INSERT INTO {{history}} (epoch_lineage, {{columns}}, epoch_existed, epoch_depth) VALUES (1, {{columns_old}}, true, 0);
        END IF;
    END IF;
    IF TG_OP <> 'DELETE' THEN
        IF NOT EXISTS (SELECT FROM {{history}} h WHERE h.epoch_lineage = 1 AND {{match_new}} AND h.epoch_to = 9223372036854775807
                AND h.epoch_xid = pg_current_xact_id()) THEN
            INSERT INTO {{history}} (epoch_lineage, {{key}}, epoch_existed, epoch_depth) VALUES (1, {{key_new}}, false, 0);
        END IF;
    END IF;
    RETURN NULL;
END $epoch$;
CREATE TRIGGER zz_epoch_fresh AFTER INSERT OR UPDATE OR DELETE ON {{base}} FOR EACH ROW EXECUTE FUNCTION epoch.capture_{{id}}_fresh();

-- A row that an UPDATE takes to another partition is deleted here and inserted there. Transition
-- tables hold it, but not those of a MERGE that has no DELETE or no INSERT: then there is no mark of a
-- statement that would have captured it. Depth 1000: an UPDATE's own trigger knows better.
CREATE FUNCTION epoch.capture_{{id}}_moved() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off AS $epoch$
#variable_conflict use_column
BEGIN
    IF TG_OP = 'DELETE' THEN
        INSERT INTO {{history}} (epoch_lineage, {{columns}}, epoch_existed)
        SELECT 1, {{columns_old}}, true WHERE NOT EXISTS (SELECT FROM {{history}} h
            WHERE h.epoch_lineage = 1 AND {{match_old}} AND h.epoch_to = 9223372036854775807 AND h.epoch_xid = pg_current_xact_id());
    ELSE
        INSERT INTO {{history}} (epoch_lineage, {{key}}, epoch_existed, epoch_depth)
        SELECT 1, {{key_new}}, false, 1000 WHERE NOT EXISTS (SELECT FROM {{history}} h
            WHERE h.epoch_lineage = 1 AND {{match_new}} AND h.epoch_to = 9223372036854775807 AND h.epoch_xid = pg_current_xact_id());
    END IF;
    RETURN NULL;
END $epoch$;
CREATE TRIGGER zz_epoch_moved_in AFTER INSERT ON {{base}} FOR EACH ROW
    WHEN (current_setting(concat('epoch.b{{id}}si_', pg_trigger_depth()), true) IS DISTINCT FROM 'on')
    EXECUTE FUNCTION epoch.capture_{{id}}_moved();
CREATE TRIGGER zz_epoch_moved_out AFTER DELETE ON {{base}} FOR EACH ROW
    WHEN (current_setting(concat('epoch.b{{id}}sd_', pg_trigger_depth()), true) IS DISTINCT FROM 'on')
    EXECUTE FUNCTION epoch.capture_{{id}}_moved();
ALTER TABLE {{base}} ENABLE ALWAYS TRIGGER zz_epoch_fresh,
    ENABLE ALWAYS TRIGGER zz_epoch_moved_in, ENABLE ALWAYS TRIGGER zz_epoch_moved_out;
