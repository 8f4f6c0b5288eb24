-- What all versioned tables of a database share.
CREATE SCHEMA epoch;
-- The number is layout.rs's, and is looked at before anything else of ours is.
COMMENT ON SCHEMA epoch IS 'Horizon Epoch: history of versioned tables, layout {{layout}}';

-- The repository whose tables these are.
CREATE TABLE epoch.repository (id text NOT NULL);
INSERT INTO epoch.repository SELECT current_setting('epoch.repository') WHERE current_setting('epoch.repository', true) <> '';

-- Branch lineages that hold rows here, and the ordinal of main below them. Main (1) isn't listed.
CREATE TABLE epoch.lineage (id int8 PRIMARY KEY, base int8 NOT NULL);
-- Versioned tables by registration.
CREATE TABLE epoch.registered (id int8 PRIMARY KEY, schema_name text NOT NULL, table_name text NOT NULL,
    UNIQUE (schema_name, table_name));
-- Partitions of versioned tables that have triggers of ours.
CREATE TABLE epoch.partition (table_id int8, relation oid, name text NOT NULL, PRIMARY KEY (table_id, relation));
-- Layers of nested branches that are copied from their parent's, and of versions of tables; lineage 0: a version that
-- was main's table isn't any more. A snapshot that doesn't see such a row is too old.
CREATE TABLE epoch.layer (lineage int8, table_id int8, PRIMARY KEY (lineage, table_id));
-- When a branch got another version of a table, in the place of this one; lineage 0: when this one took the place of
-- main's, and its overlay the name of that one's.
CREATE TABLE epoch.replaced (lineage int8, table_id int8, at timestamptz NOT NULL, PRIMARY KEY (lineage, table_id));
-- Operations that took place: makes a repeated seal return the first one's result.
CREATE TABLE epoch.seal (operation text PRIMARY KEY, lineage int8 NOT NULL, ordinal int8 NOT NULL, result jsonb NOT NULL,
    UNIQUE (lineage, ordinal));

-- The function of triggers whose WHEN condition does all the work.
CREATE FUNCTION epoch.nothing() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RETURN NULL; END$$;

-- The function of guard.sql.
CREATE FUNCTION epoch.refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE feature_not_supported USING
        MESSAGE = format('writing to table "%s" of main from a branch', TG_TABLE_NAME),
        DETAIL = 'A function, cast, domain or trigger that the statement calls writes to the table itself.',
        HINT = 'Do it on main, or write the change out as a statement of its own.';
END $$;

-- A statement that was planned before its branch got another version of the table, and waited for a lock since, must
-- not write to this one.
CREATE FUNCTION epoch.refuse_replaced() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF current_setting('epoch.lineage', true) <> '' AND EXISTS (SELECT FROM epoch.replaced r WHERE r.table_id = TG_ARGV[0]::int8 AND r.at + interval '1 second' > statement_timestamp()
            AND (r.lineage = nullif(current_setting('epoch.lineage', true), '')::int8
                OR (r.lineage = 0 AND NOT EXISTS (SELECT FROM epoch.layer l WHERE l.table_id = r.table_id
                    AND l.lineage = nullif(current_setting('epoch.lineage', true), '')::int8)))) THEN
        RAISE serialization_failure USING MESSAGE = format('table "%s" was altered by another session', TG_TABLE_NAME), HINT = 'Retry.';
    END IF;
    RETURN NULL;
END $$;
