-- The parent's side of a foreign key on branches.
CREATE OR REPLACE FUNCTION {{fn}}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off AS $epoch$
#variable_conflict use_column
DECLARE
    epoch_v_hit record;
    epoch_v_lineage int8;
    epoch_v_base int8;
BEGIN
    FOR epoch_v_lineage, epoch_v_base IN
        SELECT DISTINCT o.epoch_lineage, coalesce(e.base, nullif(current_setting('epoch.base', true), '')::int8)
        FROM {{rows}} o LEFT JOIN epoch.lineage e ON e.id = o.epoch_lineage
    LOOP
        CONTINUE WHEN NOT ({{shows_child}});
        PERFORM pg_advisory_xact_lock(hashtextextended('epoch.fk.' || epoch_v_lineage || '.{{parent_id}}', 0));
        PERFORM epoch.note_parent(epoch_v_lineage, {{parent_id}});
        {{action}}
    END LOOP;
    RETURN NULL;
END $epoch$;
