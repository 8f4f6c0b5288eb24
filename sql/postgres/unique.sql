-- Unique keys of an overlay against what its branches see of the base, of rows that an UPDATE gave other keys (those of an
-- INSERT: capture.sql). Here as in all our functions a user's column may be named like a variable (new, old, tg_op): then the
-- column is meant, and variables of ours begin with epoch_v_.
CREATE FUNCTION epoch.overlay_{{id}}_unique_{{event}}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER{{path}} SET enable_seqscan = off AS $epoch$
#variable_conflict use_column
BEGIN
    {{rekeyed}}
    {{unique}}
    RETURN NULL;
END $epoch$;
