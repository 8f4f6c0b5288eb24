-- Unique keys of {{overlay}} against what its branches see of the base.
CREATE FUNCTION epoch.overlay_{{id}}_unique_{{event}}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off AS $epoch$
DECLARE
    hit record;
    v_base int8 := nullif(current_setting('epoch.base', true), '')::int8;
BEGIN
    {{checks}}
    RETURN NULL;
END $epoch$;
