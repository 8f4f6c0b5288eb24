-- TRUNCATE of the base: before-images of all rows. On an overlay, which branches share, it is refused.
CREATE FUNCTION epoch.capture_{{id}}_truncate() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $epoch$
#variable_conflict use_column
BEGIN
    {{still_ours}}
    {{note}}
    -- Of a partitioned table each partition has the trigger, so the name isn't always the same.
    EXECUTE $sql$
        INSERT INTO {{history}} (epoch_lineage, {{columns}}, epoch_existed)
        SELECT 1, {{columns_o}}, true FROM ONLY $sql$ || TG_RELID::regclass || $sql$ o
        WHERE NOT EXISTS (SELECT FROM {{history}} h WHERE h.epoch_lineage = 1 AND {{match_o}}
            AND h.epoch_to = 9223372036854775807 AND h.epoch_xid = pg_current_xact_id())$sql$;
    RETURN NULL;
END $epoch$;

CREATE FUNCTION epoch.overlay_{{id}}_truncate() RETURNS trigger LANGUAGE plpgsql AS $epoch$
#variable_conflict use_column
BEGIN
    RAISE feature_not_supported USING MESSAGE = 'TRUNCATE on a branch is not supported', HINT = 'Use DELETE.';
END $epoch$;
CREATE TRIGGER zz_epoch_truncate BEFORE TRUNCATE ON {{overlay}} FOR EACH STATEMENT EXECUTE FUNCTION epoch.overlay_{{id}}_truncate();
