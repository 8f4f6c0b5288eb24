-- The base is main's. A session on a branch or a commit has the setting, and whatever its statements
-- call (a function, a cast, a domain's check, a trigger), no write of theirs gets past this.
-- Its argument is where the columns are, by name: a column that is dropped and made again, or that takes another's
-- name, looks as it did, and isn't (drift.sql).
DO $epoch$
BEGIN
    EXECUTE format('CREATE OR REPLACE TRIGGER zz_epoch_guard BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON %s FOR EACH STATEMENT
            WHEN (current_setting(''epoch.lineage'', true) <> '''') EXECUTE FUNCTION epoch.refuse(%L)',
        {{base_text}}, (SELECT string_agg(a.attnum::text, ',' ORDER BY a.attname COLLATE "C") FROM pg_attribute a
            WHERE a.attrelid = {{base_text}}::regclass AND a.attnum > 0 AND NOT a.attisdropped));
END $epoch$;
ALTER TABLE {{base}} ENABLE ALWAYS TRIGGER zz_epoch_guard;
