-- A foreign key on branches: the parent must be there, in the version that the branch shows.
CREATE OR REPLACE FUNCTION {{fn}}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off AS $epoch$
#variable_conflict use_column
DECLARE
    epoch_v_hit record;
    epoch_v_base int8 := nullif(current_setting('epoch.base', true), '')::int8;
BEGIN
    -- Excludes a concurrent delete or re-key of parents on this branch.
    PERFORM pg_advisory_xact_lock_shared(hashtextextended('epoch.fk.' || n.epoch_l || '.{{parent_id}}', 0))
        FROM (SELECT DISTINCT epoch_lineage AS epoch_l FROM {{rows}}) n;
    {{note}}
    SELECT {{values}}, n.epoch_l INTO epoch_v_hit
    FROM (SELECT epoch_lineage AS epoch_l, {{child_columns}} FROM {{rows}} WHERE {{own}} OFFSET 0) n
    LEFT JOIN epoch.lineage e ON e.id = n.epoch_l
    WHERE NOT ({{parent_exists}})
    LIMIT 1;
    IF FOUND THEN
        RAISE foreign_key_violation USING MESSAGE = {{message_text}},
            DETAIL = {{detail}}, SCHEMA = {{schema}}, TABLE = {{table}}, CONSTRAINT = {{constraint}};
    END IF;
    RETURN NULL;
END $epoch$;
