-- Rows of lineages that nobody has, copies of some of the base's. Of a table with fewer rows than the two hundred lineages that the planner
-- assumes, it takes every lineage for one row; then any index that begins with the lineage looks as good as the key's, and an UPDATE by key on
-- a new branch walked over all rows of the branch (16 times as long as on the plain table after 5,000 of them). With these there are some rows to
-- each. Only the base's rows are sure to keep to the constraints, and not all of them are (NOT VALID); a table without rows gets none.
DO $epoch$
BEGIN
    WITH epoch_b AS (SELECT * FROM {{base}} LIMIT 20)
    INSERT INTO {{overlay}} ({{columns}}, epoch_lineage, epoch_copied) OVERRIDING SYSTEM VALUE
    SELECT {{columns_b}}, -epoch_n.epoch_i, true
    FROM epoch_b, generate_series(1, 600 / greatest((SELECT count(*) FROM epoch_b), 1)) epoch_n (epoch_i)
    WHERE pg_column_size(epoch_b.*) <= 4096;
EXCEPTION WHEN integrity_constraint_violation OR data_exception THEN
    NULL;
END $epoch$;
