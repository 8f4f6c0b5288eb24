-- Unique keys of an overlay against what its branches see of the base. Here as in all our functions a user's column may
-- be named like a variable (new, old, tg_op): then the column is meant, and variables of ours begin with epoch_v_.
CREATE FUNCTION epoch.overlay_{{id}}_unique_{{event}}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off AS $epoch$
#variable_conflict use_column
DECLARE
    epoch_v_hit record;
    epoch_v_base int8 := nullif(current_setting('epoch.base', true), '')::int8;
BEGIN
    {{rekeyed}}
    {{checks}}
    RETURN NULL;
END $epoch$;
