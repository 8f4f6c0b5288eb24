-- Before-images of a table, whoever writes; run with the rights of who made them, and before all other triggers. A key
-- that has a pending image keeps it: whoever changes a row holds its lock, so that images of a key are written one after
-- the other. What is there is asked with locks, whatever isolation the writer has: its snapshot may be older than the last
-- commit of ours. A writer holds the turn of its lineage until its transaction ends, which keeps a seal away.
CREATE TRIGGER {trigger_insert} ON {table} WITH EXECUTE AS SELF AFTER INSERT AS
BEGIN
  SET NOCOUNT ON;
  SET ROWCOUNT 0;
  IF NOT EXISTS (SELECT 1 FROM inserted) RETURN;{turn}
  INSERT INTO {history} (epoch_lineage, {key}, epoch_existed, epoch_to)
  SELECT {new_lineage}, {i_key}, 0, {pending} FROM inserted AS i
  WHERE {is_new}NOT EXISTS (SELECT 1 FROM {history} AS h WITH (READCOMMITTEDLOCK, FORCESEEK)
    WHERE h.epoch_lineage = {new_lineage} AND {h_is_i} AND h.epoch_to = {pending});
END
GO
CREATE TRIGGER {trigger_update} ON {table} WITH EXECUTE AS SELF AFTER UPDATE AS
BEGIN
  SET NOCOUNT ON;
  SET ROWCOUNT 0;
  IF NOT EXISTS (SELECT 1 FROM deleted) RETURN;{turn}{merged}
  INSERT INTO {history} (epoch_lineage, {columns}, epoch_existed, epoch_to)
  SELECT {old_lineage}, {d_columns}, 1, {pending} FROM deleted AS d
  WHERE NOT EXISTS (SELECT 1 FROM {history} AS h WITH (READCOMMITTEDLOCK, FORCESEEK)
    WHERE h.epoch_lineage = {old_lineage} AND {h_is_d} AND h.epoch_to = {pending});
  INSERT INTO {history} (epoch_lineage, {key}, epoch_existed, epoch_to)
  SELECT {new_lineage}, {i_key}, 0, {pending} FROM inserted AS i
  WHERE NOT EXISTS (SELECT 1 FROM deleted AS d WHERE {d_is_i})
    AND NOT EXISTS (SELECT 1 FROM {history} AS h WITH (READCOMMITTEDLOCK, FORCESEEK)
    WHERE h.epoch_lineage = {new_lineage} AND {h_is_i} AND h.epoch_to = {pending});
END
GO
CREATE TRIGGER {trigger_delete} ON {table} WITH EXECUTE AS SELF AFTER DELETE AS
BEGIN
  SET NOCOUNT ON;
  SET ROWCOUNT 0;
  IF NOT EXISTS (SELECT 1 FROM deleted) RETURN;{turn}{merged}
  INSERT INTO {history} (epoch_lineage, {columns}, epoch_existed, epoch_to)
  SELECT {old_lineage}, {d_columns}, 1, {pending} FROM deleted AS d
  WHERE NOT EXISTS (SELECT 1 FROM {history} AS h WITH (READCOMMITTEDLOCK, FORCESEEK)
    WHERE h.epoch_lineage = {old_lineage} AND {h_is_d} AND h.epoch_to = {pending});
END
GO
