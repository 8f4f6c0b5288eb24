-- What Horizon Epoch keeps once per MySQL database, beside the tables of each registration.
-- Everything is removed when the last table is unregistered.

-- The repository whose tables these are.
CREATE TABLE IF NOT EXISTS epoch_repository (id VARCHAR(255) NOT NULL)
  ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- The registered tables; "definition" is our description of the table as JSON. "innodb" is InnoDB's number of the
-- table, "formed" when the server last gave it its form (NULL if that was just now): others say that it was truncated,
-- rebuilt or altered. "rows_sum" is what its rows come to as of the last commit of main: a table that was only rebuilt
-- still has it. "made" is when our triggers were made.
CREATE TABLE IF NOT EXISTS epoch_registered (
  id         BIGINT NOT NULL PRIMARY KEY,
  name       VARCHAR(64) NOT NULL,
  definition LONGTEXT NOT NULL,
  innodb     BIGINT NOT NULL,
  formed     VARCHAR(64),
  rows_sum   CHAR(32),
  made       TEXT NOT NULL
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- The largest number that a branch has handed out for a table's AUTO_INCREMENT column. Written in transactions of its
-- own, so that branches don't wait for each other.
CREATE TABLE IF NOT EXISTS epoch_number (
  table_id BIGINT NOT NULL PRIMARY KEY,
  last     BIGINT NOT NULL
) ENGINE = InnoDB;

-- Which lineages have a layer over which table; main (1) has one of each. "base" is the ordinal of main below it;
-- "parent" and "parent_at" say what a nested branch's layer was copied from. Writers hold the row: those of main
-- together with each other, those of a branch alone; a seal holds it alone, so that no change is half in it. "stamp"
-- counts transactions that wrote to a branch.
CREATE TABLE IF NOT EXISTS epoch_lineage (
  table_id  BIGINT NOT NULL,
  lineage   BIGINT NOT NULL,
  base      BIGINT NOT NULL,
  parent    BIGINT,
  parent_at BIGINT,
  stamp     BIGINT NOT NULL DEFAULT 0,
  PRIMARY KEY (table_id, lineage)
) ENGINE = InnoDB;

-- One row per publication, so that repeating an operation returns the first run's result.
CREATE TABLE IF NOT EXISTS epoch_seal (
  operation VARCHAR(255) NOT NULL PRIMARY KEY,
  lineage   BIGINT NOT NULL,
  ordinal   BIGINT NOT NULL,
  sealed_at DATETIME(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3),
  result    LONGTEXT NOT NULL
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
