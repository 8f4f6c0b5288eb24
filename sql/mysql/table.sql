-- The objects of one registered table.

-- The live rows of all branches: made LIKE the base, with its CHECKs, defaults and generated columns; then each index
-- begins with the lineage.
CREATE TABLE epoch_overlay_{id} LIKE {base};
ALTER TABLE epoch_overlay_{id} {overlay_changes}
  ADD COLUMN epoch_lineage BIGINT NOT NULL,
  ADD COLUMN epoch_copied TINYINT NOT NULL DEFAULT 0,
  ADD PRIMARY KEY (epoch_lineage, {key}){overlay_indexes};

-- Keys of the base part that a lineage hides.
CREATE TABLE epoch_mask_{id} (
  epoch_lineage BIGINT NOT NULL,
  {mask_columns},
  PRIMARY KEY (epoch_lineage, {key})
) ENGINE = InnoDB;

-- Undo: a row as it was until "epoch_to" of its lineage, from where the key's image before it ends ("epoch_from", once
-- it is sealed). "epoch_existed" = 0 says that there was no such row. "epoch_to" = 9223372036854775807 is work that isn't
-- committed yet: one image per key, the first.
CREATE TABLE epoch_history_{id} (
  epoch_lineage BIGINT NOT NULL,
  {history_columns},
  epoch_existed TINYINT NOT NULL,
  epoch_from BIGINT NOT NULL DEFAULT 0,
  epoch_to BIGINT NOT NULL,
  PRIMARY KEY (epoch_lineage, {key}, epoch_to),
  KEY epoch_to (epoch_lineage, epoch_to)
) ENGINE = InnoDB;
