-- Notes that a key changed, for the rest of the transaction.
CREATE TRIGGER zz_epoch_rekeyed AFTER UPDATE ON {{target}} FOR EACH ROW
    WHEN ({{changed}} AND set_config('epoch.{{rekeyed}}', 'on', true) IS NULL)
    EXECUTE FUNCTION epoch.nothing();
ALTER TABLE {{target}} ENABLE ALWAYS TRIGGER zz_epoch_rekeyed;
