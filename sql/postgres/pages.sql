-- Ten empty pages for a table of ours, before it has constraints of its own. For a table of a few pages the planner
-- takes a sequential scan for cheaper than an index (as long as it was never analyzed, it assumes ten pages for this very
-- reason), and a probe per row then reads all of it: with hundreds of rows in the mask for every row of the base, and
-- quadratically where the statement itself fills it. Without truncation the pages stay when they are vacuumed.
--
-- What was analyzed while it had few rows looks as if every index that begins with the lineage found one row, and a
-- prepared statement goes on with the plan made then: autovacuum looks at it when it has thousands.
DO $epoch$
DECLARE
    target text := {{target}};
    columns text;
    nulls text;
    required text[];
    name text;
BEGIN
    EXECUTE format('ALTER TABLE %s SET (vacuum_truncate = false, autovacuum_analyze_threshold = 2000,
        autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_insert_threshold = 2000)', target);
    SELECT string_agg(quote_ident(attname), ', '), string_agg('NULL', ', ') INTO columns, nulls
    FROM pg_attribute WHERE attrelid = target::regclass AND attnum > 0 AND NOT attisdropped AND attgenerated = '';
    required := ARRAY(SELECT quote_ident(attname) FROM pg_attribute
        WHERE attrelid = target::regclass AND attnum > 0 AND NOT attisdropped AND attnotnull);
    BEGIN
        EXECUTE format('ALTER TABLE %s ADD epoch_pad text', target);
        EXECUTE format('ALTER TABLE %s ALTER epoch_pad SET STORAGE PLAIN', target);
        FOREACH name IN ARRAY required LOOP
            EXECUTE format('ALTER TABLE %s ALTER %s DROP NOT NULL', target, name);
        END LOOP;
        -- No two of these rows fit on one page. NULL is said, so that no default draws from a sequence.
        EXECUTE format('INSERT INTO %s (%s, epoch_pad) SELECT %s, repeat(''-'', 7000) FROM generate_series(1, 10)', target, columns, nulls);
        EXECUTE format('DELETE FROM %s', target);
        FOREACH name IN ARRAY required LOOP
            EXECUTE format('ALTER TABLE %s ALTER %s SET NOT NULL', target, name);
        END LOOP;
        EXECUTE format('ALTER TABLE %s DROP epoch_pad', target);
    EXCEPTION WHEN OTHERS THEN
        -- A CHECK, a domain or a generated column doesn't bear NULL: this table does without.
        NULL;
    END;
END $epoch$;
