-- What the catalogs said of each table's rows when it was last known that nobody had written them anew (traces.sql).
CREATE TABLE epoch.written (table_id int8 PRIMARY KEY, traces jsonb NOT NULL);
