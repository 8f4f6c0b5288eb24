-- What Horizon Epoch keeps once per SQL Server database, in a schema of its own, beside the tables of each registration.
-- Everything is removed when the last table is unregistered.
IF SCHEMA_ID(N'epoch') IS NULL EXEC (N'CREATE SCHEMA [epoch]')
GO
-- The repository whose tables these are.
IF OBJECT_ID(N'[epoch].[epoch_repository]', N'U') IS NULL
CREATE TABLE [epoch].[epoch_repository] (id nvarchar(255) NOT NULL)
GO
-- The registered tables; "definition" is our description of the table as JSON. "object" is the server's number of the
-- table, "formed" when it last got its form (NULL if that was just now), "made" what is known of our triggers: others
-- say that it was altered, or made anew. "row_count" and "rows_sum" are how many rows it has as of the last commit of main
-- and what they come to: a table that has them still is as it was.
IF OBJECT_ID(N'[epoch].[epoch_registered]', N'U') IS NULL
CREATE TABLE [epoch].[epoch_registered] (
  id          bigint NOT NULL PRIMARY KEY,
  schema_name nvarchar(128) NOT NULL,
  name        nvarchar(128) NOT NULL,
  definition  nvarchar(max) NOT NULL,
  object      bigint NOT NULL,
  formed      nvarchar(64) NULL,
  made        nvarchar(max) NOT NULL,
  row_count   bigint NULL,
  rows_sum    nvarchar(32) NULL
)
GO
-- The largest number that a branch has handed out for a table's IDENTITY column. Written in transactions of its own, so
-- that branches don't wait for each other.
IF OBJECT_ID(N'[epoch].[epoch_number]', N'U') IS NULL
CREATE TABLE [epoch].[epoch_number] (
  table_id bigint NOT NULL PRIMARY KEY,
  last     bigint NOT NULL
)
GO
-- Which lineages have a layer over which table; main (1) has one of each. "base" is the ordinal of main below it;
-- "parent" and "parent_at" say what a nested branch's layer was copied from. "stamp" counts transactions that wrote to
-- a branch.
IF OBJECT_ID(N'[epoch].[epoch_lineage]', N'U') IS NULL
CREATE TABLE [epoch].[epoch_lineage] (
  table_id  bigint NOT NULL,
  lineage   bigint NOT NULL,
  base      bigint NOT NULL,
  parent    bigint NULL,
  parent_at bigint NULL,
  stamp     bigint NOT NULL DEFAULT 0,
  PRIMARY KEY (table_id, lineage)
)
GO
-- One row per publication, so that repeating an operation returns the first run's result.
IF OBJECT_ID(N'[epoch].[epoch_seal]', N'U') IS NULL
CREATE TABLE [epoch].[epoch_seal] (
  operation nvarchar(255) NOT NULL PRIMARY KEY,
  lineage   bigint NOT NULL,
  ordinal   bigint NOT NULL,
  sealed_at datetime2(3) NOT NULL DEFAULT SYSUTCDATETIME(),
  result    nvarchar(max) NOT NULL
)
GO
