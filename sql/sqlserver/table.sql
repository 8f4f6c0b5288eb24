-- The objects of one registered table.

-- The live rows of all branches: the base's columns, with its CHECKs, defaults and computed columns; each index begins
-- with the lineage.
CREATE TABLE {overlay} (
  {overlay_columns},
  epoch_lineage bigint NOT NULL,
  epoch_copied  tinyint NOT NULL DEFAULT 0{overlay_checks}
)
GO
CREATE UNIQUE {clustered} INDEX [epoch_key] ON {overlay} (epoch_lineage, {key})
GO
-- Keys of the base part that a lineage hides.
CREATE TABLE {mask} (
  epoch_lineage bigint NOT NULL,
  {mask_columns},
  PRIMARY KEY {clustered} (epoch_lineage, {key})
)
GO
-- Undo: a row as it was until "epoch_to" of its lineage, from where the key's image before it ends ("epoch_from", once
-- it is sealed). "epoch_existed" = 0 says that there was no such row. "epoch_to" = 9223372036854775807 is work that isn't
-- committed yet: one image per key, the first.
CREATE TABLE {history} (
  epoch_lineage bigint NOT NULL,
  {history_columns},
  epoch_existed tinyint NOT NULL,
  epoch_from    bigint NOT NULL DEFAULT 0,
  epoch_to      bigint NOT NULL,
  PRIMARY KEY {clustered} (epoch_lineage, {key}, epoch_to)
)
GO
CREATE INDEX [epoch_to] ON {history} (epoch_lineage, epoch_to)
GO
-- The keys that a seal has changed itself, while it runs.
CREATE TABLE {own} (
  {mask_columns},
  PRIMARY KEY {clustered} ({key})
)
GO
