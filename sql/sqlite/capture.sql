-- Before-images of a table, whoever writes. One pending image per key is enough: writers of a SQLite
-- file take turns, and a seal takes its turn among them. The conditions are written as WHEN, not as
-- INSERT OR IGNORE, because the conflict clause of the outer statement would override that.
-- A pending image starts where the key's last image ends.
--
-- Images are taken before the row changes: a trigger of the user's may write to the row again, and would
-- otherwise fire first. An image of a row that then doesn't change equals it, and the seal drops it. No
-- trigger says OF: SQLite compares the names in it, so that `rowid` would not be the key that it is.

CREATE TRIGGER epoch_capture_{name}_update BEFORE UPDATE ON {table}
WHEN coalesce((SELECT epoch_h.epoch_to FROM epoch_history_{id} AS epoch_h WHERE {h_is_old} ORDER BY epoch_h.epoch_from DESC LIMIT 1), 0) < 9223372036854775807
BEGIN
  INSERT INTO epoch_history_{id} (epoch_lineage, {columns}, epoch_existed, epoch_from, epoch_to)
  VALUES ({old_lineage}, {old_columns}, 1,
    coalesce((SELECT epoch_h.epoch_to FROM epoch_history_{id} AS epoch_h WHERE {h_is_old} ORDER BY epoch_h.epoch_from DESC LIMIT 1), 0),
    9223372036854775807);
END;

-- A changed key: the row under the new key doesn't exist yet, unless the statement replaces it or fails.
CREATE TRIGGER epoch_capture_{name}_rekey BEFORE UPDATE ON {table}
WHEN {key_changed} AND NOT EXISTS (SELECT 1 FROM {table} AS epoch_b WHERE {b_is_soon})
  AND coalesce((SELECT epoch_h.epoch_to FROM epoch_history_{id} AS epoch_h WHERE {h_is_soon} ORDER BY epoch_h.epoch_from DESC LIMIT 1), 0) < 9223372036854775807
BEGIN
  INSERT INTO epoch_history_{id} (epoch_lineage, {key}, epoch_existed, epoch_from, epoch_to)
  VALUES ({new_lineage}, {soon_key}, 0,
    coalesce((SELECT epoch_h.epoch_to FROM epoch_history_{id} AS epoch_h WHERE {h_is_soon} ORDER BY epoch_h.epoch_from DESC LIMIT 1), 0),
    9223372036854775807);
END;

CREATE TRIGGER epoch_capture_{name}_delete BEFORE DELETE ON {table}
WHEN coalesce((SELECT epoch_h.epoch_to FROM epoch_history_{id} AS epoch_h WHERE {h_is_old} ORDER BY epoch_h.epoch_from DESC LIMIT 1), 0) < 9223372036854775807
BEGIN
  INSERT INTO epoch_history_{id} (epoch_lineage, {columns}, epoch_existed, epoch_from, epoch_to)
  VALUES ({old_lineage}, {old_columns}, 1,
    coalesce((SELECT epoch_h.epoch_to FROM epoch_history_{id} AS epoch_h WHERE {h_is_old} ORDER BY epoch_h.epoch_from DESC LIMIT 1), 0),
    9223372036854775807);
END;

-- What could not be told before the row was there.
CREATE TRIGGER epoch_capture_{name}_insert AFTER INSERT ON {table}
WHEN {insert_when} coalesce((SELECT epoch_h.epoch_to FROM epoch_history_{id} AS epoch_h WHERE {h_is_new} ORDER BY epoch_h.epoch_from DESC LIMIT 1), 0) < 9223372036854775807
BEGIN
  INSERT INTO epoch_history_{id} (epoch_lineage, {key}, epoch_existed, epoch_from, epoch_to)
  VALUES ({new_lineage}, {new_key}, 0,
    coalesce((SELECT epoch_h.epoch_to FROM epoch_history_{id} AS epoch_h WHERE {h_is_new} ORDER BY epoch_h.epoch_from DESC LIMIT 1), 0),
    9223372036854775807);
END;
