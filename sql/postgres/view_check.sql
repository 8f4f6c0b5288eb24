-- WITH CHECK OPTION on branches. A statement that writes to an overlay through views sets epoch.checks while it runs: names of
-- views and conditions on a new row, as JSON. What captures the statement takes it back (capture_first.sql), after all rows.
CREATE FUNCTION epoch.overlay_{{id}}_checked() RETURNS trigger LANGUAGE plpgsql AS $epoch$
DECLARE
    view_name text;
    condition text;
    fits bool;
BEGIN
    -- What a foreign key's action writes meanwhile isn't the statement's.
    IF pg_catalog.pg_trigger_depth() > 1 THEN
        RETURN NULL;
    END IF;
    FOR view_name, condition IN
        SELECT c.value ->> 0, c.value ->> 1
        FROM pg_catalog.json_array_elements(pg_catalog.current_setting('epoch.checks')::pg_catalog.json) c (value)
    LOOP
        EXECUTE 'SELECT (' || condition || E'\n)' INTO fits USING NEW;
        IF fits IS NOT TRUE THEN
            RAISE with_check_option_violation USING
                MESSAGE = pg_catalog.format('new row violates check option for view "%s"', view_name),
                DETAIL = 'Failing row contains (' || {{row}} || ').';
        END IF;
    END LOOP;
    RETURN NULL;
END $epoch$;
CREATE TRIGGER zz_epoch_checked AFTER INSERT OR UPDATE ON {{overlay}} FOR EACH ROW
    WHEN (pg_catalog.current_setting('epoch.checks', true) <> '') EXECUTE FUNCTION epoch.overlay_{{id}}_checked();
