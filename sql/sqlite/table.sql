-- The objects of one registered table.

-- The live rows of all branches: the base's own columns with its CHECKs, defaults, collations and
-- generated columns, then the lineage and whether a copy-up put the row there.
CREATE TABLE epoch_overlay_{id} (
  {overlay_columns},
  epoch_lineage INTEGER NOT NULL,
  epoch_copied INTEGER NOT NULL DEFAULT 0,
  {overlay_checks}
  PRIMARY KEY (epoch_lineage, {key})
) {overlay_options};

-- Keys of the base part that a lineage hides.
CREATE TABLE epoch_mask_{id} (
  epoch_lineage INTEGER NOT NULL,
  {mask_columns},
  PRIMARY KEY (epoch_lineage, {key})
) WITHOUT ROWID;

-- Undo: a row as it was while `epoch_from <= ordinal < epoch_to` of its lineage. `epoch_existed` = 0
-- says that there was no such row. `epoch_to` = 9223372036854775807 is work that isn't committed
-- yet. The images of a key have no gaps: the first starts at 0, each next where the last one ends.
CREATE TABLE epoch_history_{id} (
  epoch_lineage INTEGER NOT NULL,
  {history_columns},
  epoch_existed INTEGER NOT NULL,
  epoch_from INTEGER NOT NULL,
  epoch_to INTEGER NOT NULL,
  PRIMARY KEY (epoch_lineage, {key}, epoch_from)
) WITHOUT ROWID;

CREATE INDEX epoch_history_{id}_to ON epoch_history_{id} (epoch_lineage, epoch_to);
