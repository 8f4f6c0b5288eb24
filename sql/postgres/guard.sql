-- The base is main's. A session on a branch or a commit has the setting, and whatever its statements
-- call (a function, a cast, a domain's check, a trigger), no write of theirs gets past this.
CREATE TRIGGER zz_epoch_guard BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON {{base}} FOR EACH STATEMENT
    WHEN (current_setting('epoch.lineage', true) <> '') EXECUTE FUNCTION epoch.refuse();
ALTER TABLE {{base}} ENABLE ALWAYS TRIGGER zz_epoch_guard;
