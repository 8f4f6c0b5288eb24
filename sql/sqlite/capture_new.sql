-- That a row of main does not exist yet, noted before it is inserted: a trigger of the user's that changes
-- the new row, newer than ours or a temporary one, fires before any AFTER trigger of ours. A key without a
-- row and without a pending image didn't exist at the last commit either, so that a note is true even if
-- the row is never inserted; the seal then drops it.

CREATE TRIGGER epoch_capture_{id}_known BEFORE INSERT ON {table}
WHEN {is_known} NOT EXISTS (SELECT 1 FROM {table} AS epoch_b WHERE {b_is_soon})
  AND coalesce((SELECT epoch_h.epoch_to FROM epoch_history_{id} AS epoch_h WHERE {h_is_soon} ORDER BY epoch_h.epoch_from DESC LIMIT 1), 0) < 9223372036854775807
BEGIN
  INSERT INTO epoch_history_{id} (epoch_lineage, {key}, epoch_existed, epoch_from, epoch_to)
  VALUES (1, {soon_key}, 0,
    coalesce((SELECT epoch_h.epoch_to FROM epoch_history_{id} AS epoch_h WHERE {h_is_soon} ORDER BY epoch_h.epoch_from DESC LIMIT 1), 0),
    9223372036854775807);
END;

-- A rowid that SQLite will choose reads -1 here: the one it is going to be.
CREATE TRIGGER epoch_capture_{id}_number BEFORE INSERT ON {table}
WHEN NEW.{alias} = -1 AND typeof({next}) = 'integer'
  AND coalesce((SELECT epoch_h.epoch_to FROM epoch_history_{id} AS epoch_h WHERE {h_is_next} ORDER BY epoch_h.epoch_from DESC LIMIT 1), 0) < 9223372036854775807
BEGIN
  INSERT INTO epoch_history_{id} (epoch_lineage, {key}, epoch_existed, epoch_from, epoch_to)
  VALUES (1, {next_key}, 0,
    coalesce((SELECT epoch_h.epoch_to FROM epoch_history_{id} AS epoch_h WHERE {h_is_next} ORDER BY epoch_h.epoch_from DESC LIMIT 1), 0),
    9223372036854775807);
END;
