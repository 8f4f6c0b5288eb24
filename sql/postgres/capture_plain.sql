-- Capture of before-images on a table without partitions: what main's clients do, by whatever statement.
--
-- Which of a transaction's changes of a row came first isn't the order in which triggers for statements fire: those of
-- statements within row triggers fire before those of the statement around them, those of cascades when the outermost
-- statement ends, and what a cascade does to the table of its own statement comes in the transition tables of that one.
-- But the first change of a row is the one that finds a version which another transaction made. So all rows of the
-- transition tables are noted, whatever is noted of their keys already, but for *own* versions, which this
-- transaction made: a row trigger enters those into epoch.own, by statement. Its condition is all that other rows cost.
--
-- Rows that a transaction makes have no version before. They are noted as not there unless something is noted of their
-- keys; a statement around that changed a row of the same key first takes such a note back.
--
-- Images are ordered by where in the log they were written: those of one key by several transactions because the row
-- lock (or the unique index) orders the transactions. (Not by a sequence: the user's lastval() would show it.)
--
-- Without enable_seqscan = off, a plan made while the history is empty reads all of it for every row.
CREATE FUNCTION {{fn}}_own() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $epoch$
DECLARE
    epoch_v_xid int8 := pg_current_xact_id()::text::int8;
    epoch_v_made int8 := (epoch_v_xid & ~4294967295) | OLD.xmin::text::int8;
    epoch_v_setting text := 'epoch.' || TG_ARGV[0] || '_' || lower(left(TG_OP, 1)) || '_' || pg_trigger_depth();
    epoch_v_statement text := nullif(current_setting(epoch_v_setting, true), '');
BEGIN
    IF TG_OP = 'UPDATE' THEN
        IF {{changed}} THEN
            -- For the rest of the transaction.
            PERFORM set_config('epoch.k{{marks}}', 'on', true);
        END IF;
        IF age(OLD.xmin) > 0 THEN
            RETURN NULL;
        END IF;
    END IF;
    -- A version that is seen and isn't committed is of this transaction, or of a part of it; others may be as young.
    IF epoch_v_made <> epoch_v_xid THEN
        epoch_v_made := epoch_v_made + CASE WHEN epoch_v_made > epoch_v_xid + 2147483648 THEN -4294967296
            WHEN epoch_v_made < epoch_v_xid - 2147483648 THEN 4294967296 ELSE 0 END;
        IF pg_xact_status(epoch_v_made::text::xid8) IS DISTINCT FROM 'in progress' THEN
            RETURN NULL;
        END IF;
    END IF;
    IF epoch_v_statement IS NULL THEN
        epoch_v_statement := coalesce(nullif(current_setting('epoch.statements', true), ''), '0')::int8 + 1;
        PERFORM set_config('epoch.statements', epoch_v_statement, true), set_config(epoch_v_setting, epoch_v_statement, true),
            set_config('epoch.odd', 'on', true);
    END IF;
    INSERT INTO epoch.own (xid, statement, key) VALUES (pg_current_xact_id(), epoch_v_statement::int8, ROW({{key_old}})::text);
    RETURN NULL;
END $epoch$;

-- A search path of the function's own would cost as much as the rest of it (decision 61), so every name here is written
-- with its schema, operators as well, and nothing is used that looks one up by itself (nullif, IN, IS DISTINCT FROM).
CREATE FUNCTION {{fn}}_old() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET enable_seqscan = off AS $epoch$
#variable_conflict use_column
DECLARE
    epoch_v_setting pg_catalog.text;
    epoch_v_statement pg_catalog.text;
BEGIN
    {{note}}
    -- Nearly always: versions of other transactions, whose keys stay.
    IF pg_catalog.concat(pg_catalog.current_setting('epoch.odd', true), pg_catalog.current_setting('epoch.k{{marks}}', true)) OPERATOR(pg_catalog.=) '' THEN
        INSERT INTO {{history}} (epoch_lineage, {{columns}}, epoch_existed) SELECT 1, {{columns_o}}, true FROM epoch_old o;
        RETURN NULL;
    END IF;
    -- The rows' triggers fired at this depth, too.
    epoch_v_setting := pg_catalog.concat('epoch.', TG_ARGV[0], '_', pg_catalog.lower(pg_catalog.left(TG_OP, 1)), '_', pg_catalog.pg_trigger_depth());
    epoch_v_statement := pg_catalog.current_setting(epoch_v_setting, true);
    IF coalesce(epoch_v_statement, '') OPERATOR(pg_catalog.=) '' THEN
        IF pg_catalog.current_setting('epoch.{{again}}', true) OPERATOR(pg_catalog.=) 'on' THEN
            DELETE FROM {{history}} h USING epoch_old o
            WHERE h.epoch_lineage OPERATOR(pg_catalog.=) 1 AND {{match_o}} AND h.epoch_to OPERATOR(pg_catalog.=) 9223372036854775807
                AND h.epoch_xid OPERATOR(pg_catalog.=) pg_catalog.pg_current_xact_id();
        END IF;
        INSERT INTO {{history}} (epoch_lineage, {{columns}}, epoch_existed) SELECT 1, {{columns_o}}, true FROM epoch_old o;
    ELSE
        PERFORM pg_catalog.set_config(epoch_v_setting, '', true);
        -- A row that was changed several times is there as often, in the order of the changes. At most the first of its
        -- versions isn't an own one.
        WITH own AS (
            DELETE FROM epoch.own w WHERE w.xid OPERATOR(pg_catalog.=) pg_catalog.pg_current_xact_id()
                AND w.statement OPERATOR(pg_catalog.=) epoch_v_statement::pg_catalog.int8 RETURNING w.key),
        counted AS (SELECT w.key AS epoch_key, pg_catalog.count(*) AS epoch_own FROM own w GROUP BY w.key),
        numbered AS (
            SELECT o.*, ROW({{key_o}})::pg_catalog.text AS epoch_key, pg_catalog.row_number() OVER () AS epoch_i FROM epoch_old o OFFSET 0),
        first AS (
            SELECT DISTINCT ON (o.epoch_key) o.* FROM
                (SELECT o.*, pg_catalog.count(*) OVER (PARTITION BY o.epoch_key) AS epoch_n FROM numbered o) o
            LEFT JOIN counted c ON c.epoch_key OPERATOR(pg_catalog.=) o.epoch_key
            WHERE o.epoch_n OPERATOR(pg_catalog.>) coalesce(c.epoch_own, 0)
            ORDER BY o.epoch_key, o.epoch_i),
        gone AS (
            DELETE FROM {{history}} h USING first o
            WHERE h.epoch_lineage OPERATOR(pg_catalog.=) 1 AND {{match_o}} AND h.epoch_to OPERATOR(pg_catalog.=) 9223372036854775807
                AND h.epoch_xid OPERATOR(pg_catalog.=) pg_catalog.pg_current_xact_id())
        INSERT INTO {{history}} (epoch_lineage, {{columns}}, epoch_existed) SELECT 1, {{columns_o}}, true FROM first o;
    END IF;
    IF TG_OP OPERATOR(pg_catalog.=) 'UPDATE' THEN
        IF {{may_rekey}} THEN
            {{new_keys}}
        END IF;
    END IF;
    RETURN NULL;
END $epoch$;

CREATE FUNCTION {{fn}}_new() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET enable_seqscan = off AS $epoch$
#variable_conflict use_column
BEGIN
    -- What a transaction does first finds no images of its own.
    IF coalesce(pg_catalog.current_setting('epoch.known', true), '') OPERATOR(pg_catalog.=) '' THEN
        {{note_first}}
        INSERT INTO {{history}} (epoch_lineage, {{key}}, epoch_existed) SELECT 1, {{key_n}}, false FROM epoch_new n;
        {{noted}}
        RETURN NULL;
    END IF;
    {{new_ones}}
    RETURN NULL;
END $epoch$;

-- Both in one condition, and as little as can be: each is read and prepared anew for every statement.
CREATE TRIGGER zz_epoch_own AFTER UPDATE ON {{target}} FOR EACH ROW
    WHEN ({{changed}} OR age(OLD.xmin) <= 0)
    EXECUTE FUNCTION {{fn}}_own('{{marks}}');
CREATE TRIGGER zz_epoch_own_deleted AFTER DELETE ON {{target}} FOR EACH ROW
    WHEN (age(OLD.xmin) <= 0) EXECUTE FUNCTION {{fn}}_own('{{marks}}');
CREATE TRIGGER zz_epoch_insert AFTER INSERT ON {{target}} REFERENCING NEW TABLE AS epoch_new
    FOR EACH STATEMENT EXECUTE FUNCTION {{fn}}_new();
CREATE TRIGGER zz_epoch_update AFTER UPDATE ON {{target}} REFERENCING OLD TABLE AS epoch_old NEW TABLE AS epoch_new
    FOR EACH STATEMENT EXECUTE FUNCTION {{fn}}_old('{{marks}}');
CREATE TRIGGER zz_epoch_delete AFTER DELETE ON {{target}} REFERENCING OLD TABLE AS epoch_old
    FOR EACH STATEMENT EXECUTE FUNCTION {{fn}}_old('{{marks}}');
ALTER TABLE {{target}} ENABLE ALWAYS TRIGGER zz_epoch_own, ENABLE ALWAYS TRIGGER zz_epoch_own_deleted,
    ENABLE ALWAYS TRIGGER zz_epoch_insert,
    ENABLE ALWAYS TRIGGER zz_epoch_update, ENABLE ALWAYS TRIGGER zz_epoch_delete;
