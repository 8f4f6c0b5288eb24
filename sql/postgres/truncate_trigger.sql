CREATE TRIGGER zz_epoch_truncate BEFORE TRUNCATE ON {{target}} FOR EACH STATEMENT EXECUTE FUNCTION epoch.capture_{{id}}_truncate();
ALTER TABLE {{target}} ENABLE ALWAYS TRIGGER zz_epoch_truncate;
