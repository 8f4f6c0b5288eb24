-- Before-images of a table, whoever writes; run with the rights of who made them. A key that has a pending image keeps
-- it: whoever changes a row holds its lock, so that images of a key are written one after the other. Nothing is read but
-- the row that stands for the lineage, which keeps a seal away until the writer's transaction ends.
--
-- UPDATE IGNORE fires AFTER triggers for rows that it leaves as they are, too: one that still has its old key didn't move.

CREATE TRIGGER epoch_capture_{name}_update AFTER UPDATE ON {table} FOR EACH ROW
BEGIN
  DECLARE epoch_turn BIGINT;
  DECLARE epoch_stays BIGINT DEFAULT 0;
  SELECT epoch_l.lineage INTO epoch_turn FROM epoch_lineage AS epoch_l WHERE epoch_l.table_id = {id} AND epoch_l.lineage = {old_lineage} LOCK IN SHARE MODE;
  INSERT INTO epoch_history_{id} (epoch_lineage, {columns}, epoch_existed, epoch_to)
    VALUES ({old_lineage}, {old_columns}, 1, 9223372036854775807)
    ON DUPLICATE KEY UPDATE epoch_existed = epoch_existed;
  IF NOT ({same_key}) THEN
    SELECT count(*) INTO epoch_stays FROM {table} AS epoch_b WHERE {b_is_old} LOCK IN SHARE MODE;
    IF epoch_stays = 0 THEN
      INSERT INTO epoch_history_{id} (epoch_lineage, {key}, epoch_existed, epoch_to)
      VALUES ({new_lineage}, {new_key}, 0, 9223372036854775807)
      ON DUPLICATE KEY UPDATE epoch_existed = epoch_existed;
    END IF;
  END IF;
END;

CREATE TRIGGER epoch_capture_{name}_delete AFTER DELETE ON {table} FOR EACH ROW
BEGIN
  DECLARE epoch_turn BIGINT;
  SELECT epoch_l.lineage INTO epoch_turn FROM epoch_lineage AS epoch_l WHERE epoch_l.table_id = {id} AND epoch_l.lineage = {old_lineage} LOCK IN SHARE MODE;
  INSERT INTO epoch_history_{id} (epoch_lineage, {columns}, epoch_existed, epoch_to)
    VALUES ({old_lineage}, {old_columns}, 1, 9223372036854775807)
    ON DUPLICATE KEY UPDATE epoch_existed = epoch_existed;
END;

CREATE TRIGGER epoch_capture_{name}_insert AFTER INSERT ON {table} FOR EACH ROW
BEGIN
  DECLARE epoch_turn BIGINT;
  IF {is_new} THEN
    SELECT epoch_l.lineage INTO epoch_turn FROM epoch_lineage AS epoch_l WHERE epoch_l.table_id = {id} AND epoch_l.lineage = {new_lineage} LOCK IN SHARE MODE;
    INSERT INTO epoch_history_{id} (epoch_lineage, {key}, epoch_existed, epoch_to)
      VALUES ({new_lineage}, {new_key}, 0, 9223372036854775807)
      ON DUPLICATE KEY UPDATE epoch_existed = epoch_existed;
  END IF;
END;
