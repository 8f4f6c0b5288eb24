-- Triggers that capture what statements which name it change.
CREATE TRIGGER zz_epoch_mark_insert BEFORE INSERT ON {{target}} FOR EACH STATEMENT
    WHEN (set_config(concat('epoch.{{marks}}i_', pg_trigger_depth()), {{mark}}, true) IS NULL{{also_insert}})
    EXECUTE FUNCTION epoch.nothing();
CREATE TRIGGER zz_epoch_mark_update BEFORE UPDATE ON {{target}} FOR EACH STATEMENT
    WHEN (set_config(concat('epoch.{{marks}}u_', pg_trigger_depth()), {{mark}}, true) IS NULL)
    EXECUTE FUNCTION epoch.nothing();
CREATE TRIGGER zz_epoch_mark_delete BEFORE DELETE ON {{target}} FOR EACH STATEMENT
    WHEN (set_config(concat('epoch.{{marks}}d_', pg_trigger_depth()), {{mark}}, true) IS NULL{{also_delete}})
    EXECUTE FUNCTION epoch.nothing();
CREATE TRIGGER {{insert}} AFTER INSERT ON {{target}} REFERENCING NEW TABLE AS epoch_new
    FOR EACH STATEMENT{{unless_copying}} EXECUTE FUNCTION {{fn}}_new('{{marks}}i');
CREATE TRIGGER zz_epoch_update AFTER UPDATE ON {{target}} REFERENCING OLD TABLE AS epoch_old NEW TABLE AS epoch_new
    FOR EACH STATEMENT EXECUTE FUNCTION {{fn}}_old('{{marks}}u');
CREATE TRIGGER zz_epoch_delete AFTER DELETE ON {{target}} REFERENCING OLD TABLE AS epoch_old
    FOR EACH STATEMENT EXECUTE FUNCTION {{fn}}_old('{{marks}}d');
ALTER TABLE {{target}}
    ENABLE ALWAYS TRIGGER zz_epoch_mark_insert, ENABLE ALWAYS TRIGGER zz_epoch_mark_update,
    ENABLE ALWAYS TRIGGER zz_epoch_mark_delete,
    ENABLE ALWAYS TRIGGER {{insert}}, ENABLE ALWAYS TRIGGER zz_epoch_update,
    ENABLE ALWAYS TRIGGER zz_epoch_delete;
