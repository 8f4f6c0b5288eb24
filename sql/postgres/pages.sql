-- Rows of no lineage that fill the first ten pages of a table of ours. For a table of a few pages the planner takes a
-- sequential scan for cheaper than an index, and a probe per row then reads all of it: with hundreds of rows in the mask for every
-- row of the base, and quadratically where the statement itself fills it. They are rows, not empty pages, because a
-- table that was once analyzed empty is taken for empty however much it grows, and then any index that begins with the lineage
-- looks as good as the key's; a prepared statement goes on with such a plan.
DO $epoch$
BEGIN
    WHILE pg_relation_size({{target_name}}::regclass) < 10 * current_setting('block_size')::int8 LOOP
        INSERT INTO {{target}} (epoch_lineage{{columns}}) SELECT 0{{values}} FROM generate_series(1, 200);
    END LOOP;
END $epoch$;
