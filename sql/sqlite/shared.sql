-- What Horizon Epoch keeps once per SQLite file, beside the tables of each registration.
-- Everything is removed when the last table is unregistered.

-- The repository whose tables these are.
CREATE TABLE IF NOT EXISTS epoch_repository (id TEXT NOT NULL);

-- The registered tables; `definition` is our description of the table as JSON. `last_key` is the
-- largest integer key that any branch has handed out (rowid tables only).
CREATE TABLE IF NOT EXISTS epoch_registered (
  id         INTEGER PRIMARY KEY,
  name       TEXT NOT NULL,
  definition TEXT NOT NULL,
  last_key   INTEGER NOT NULL DEFAULT 0
);

-- Which branch lineages have a layer over which table. `base` is the ordinal of main below it;
-- `parent` and `parent_at` say what a nested branch's layer was copied from.
CREATE TABLE IF NOT EXISTS epoch_lineage (
  table_id  INTEGER NOT NULL,
  lineage   INTEGER NOT NULL,
  base      INTEGER NOT NULL,
  parent    INTEGER,
  parent_at INTEGER,
  PRIMARY KEY (table_id, lineage)
) WITHOUT ROWID;

-- One row per publication, so that repeating an operation returns the first run's result.
CREATE TABLE IF NOT EXISTS epoch_seal (
  operation TEXT NOT NULL PRIMARY KEY,
  lineage   INTEGER NOT NULL,
  ordinal   INTEGER NOT NULL,
  sealed_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ')),
  result    TEXT NOT NULL
) WITHOUT ROWID;
