-- Enters a key into the mask of a branch: true if it wasn't there. While another transaction is entering
-- it, that is waited for, or the key is left to it, or the caller fails as NOWAIT does.
CREATE FUNCTION {{fn}}(policy text, lineage int8, {{key_types}}) RETURNS bool LANGUAGE plpgsql AS $epoch$
#variable_conflict use_column
DECLARE
    patience text := current_setting('lock_timeout');
    entered bool;
BEGIN
    IF policy = 'wait' THEN
        INSERT INTO {{mask}} (epoch_lineage, {{key}}) VALUES ($2, {{key_values}}) ON CONFLICT DO NOTHING;
        RETURN FOUND;
    END IF;
    BEGIN
        PERFORM set_config('lock_timeout', '1ms', true);
        INSERT INTO {{mask}} (epoch_lineage, {{key}}) VALUES ($2, {{key_values}}) ON CONFLICT DO NOTHING;
        entered := FOUND;
        PERFORM set_config('lock_timeout', patience, true);
        RETURN entered;
    EXCEPTION WHEN lock_not_available THEN
        IF policy = 'fail' THEN
            RAISE lock_not_available USING MESSAGE = {{message}};
        END IF;
        RETURN false;
    END;
END $epoch$;
