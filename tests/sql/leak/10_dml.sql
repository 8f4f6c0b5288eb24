-- INSERT
INSERT INTO parent (id, name) VALUES (100, 'new')
INSERT INTO parent (id, name) VALUES (101, 'a'), (102, 'b')
INSERT INTO public.parent (id, name) VALUES (103, 'qualified')
INSERT INTO "parent" ("id", "name") VALUES (104, 'quoted')
INSERT INTO PARENT (ID, NAME) VALUES (105, 'upper')
INSERT INTO parent SELECT id + 200, name || 'x', n, tags, doc, at FROM parent
INSERT INTO parent (id, name) SELECT 300, 'sub' WHERE NOT EXISTS (SELECT 1 FROM parent WHERE id = 300)
INSERT INTO parent (id, name) VALUES (1, 'dup') ON CONFLICT DO NOTHING
INSERT INTO parent (id, name) VALUES (1, 'dup') ON CONFLICT (id) DO NOTHING
INSERT INTO parent (id, name) VALUES (1, 'dup') ON CONFLICT (id) DO UPDATE SET name = EXCLUDED.name
INSERT INTO parent (id, name) VALUES (1, 'dup2') ON CONFLICT ON CONSTRAINT parent_pkey DO UPDATE SET n = parent.n + 1
INSERT INTO parent (id, name) VALUES (999, 'p1') ON CONFLICT (name) DO UPDATE SET n = 7 WHERE parent.n < 5
INSERT INTO parent AS p (id, name) VALUES (2, 'x') ON CONFLICT (id) DO UPDATE SET n = p.n + 1 RETURNING *
INSERT INTO parent (id, name) VALUES (1, 'dup')
INSERT INTO parent DEFAULT VALUES
INSERT INTO ident DEFAULT VALUES
INSERT INTO ident (id, v) OVERRIDING SYSTEM VALUE VALUES (500, 'o')
INSERT INTO ident (v) OVERRIDING USER VALUE VALUES ('o') RETURNING id
INSERT INTO child (parent_id, note) VALUES (1, 'x') RETURNING id, note
INSERT INTO child (parent_id, note) VALUES (9999, 'no parent')
INSERT INTO child (parent_id) SELECT id FROM parent WHERE id < 5 RETURNING (SELECT count(*) FROM parent)
INSERT INTO other.things VALUES (100, 'x')
INSERT INTO other."Odd Name" VALUES (100, 'x')
INSERT INTO other."Odd Name" ("Id", "V") VALUES (101, 'it''s; DELETE FROM parent')
INSERT INTO v_parent VALUES (400, 'through a view', 1)
INSERT INTO v_joined VALUES (1, 'x', 'y')
INSERT INTO stranger VALUES (100, 'x')
INSERT INTO mv VALUES (1)
INSERT INTO parent (id, name, n) VALUES (401, 'e', -5)
INSERT INTO parent (id, name, tags[1]) VALUES (402, 'arr', 'z')
INSERT INTO parent (id, name) VALUES (403, (SELECT name || 'q' FROM parent WHERE id = 1))
INSERT INTO parent (id, name, n) VALUES (404, 'f', bump(1))
INSERT INTO parent (id, name, n) VALUES (405, 'g', wipe())
INSERT INTO nowhere VALUES (1)
-- UPDATE
UPDATE parent SET n = n + 1
UPDATE parent SET n = n + 1 WHERE id = 3
UPDATE public.parent SET n = n + 1 WHERE id = 3
UPDATE ONLY parent SET n = n + 1 WHERE id = 3
UPDATE parent * SET n = n + 1 WHERE id = 3
UPDATE parent p SET n = p.n + 1 WHERE p.id = 4
UPDATE parent AS "P" SET n = "P".n + 1 WHERE "P".id = 4 RETURNING "P".*
UPDATE parent SET (n, name) = (n + 1, name || 'z') WHERE id = 5
UPDATE parent SET (n, name) = (SELECT 5, 'sub' || parent.id) WHERE id = 6
UPDATE parent SET n = c.cnt FROM (SELECT parent_id, count(*) cnt FROM child GROUP BY 1) c WHERE c.parent_id = parent.id
UPDATE child SET note = p.name FROM parent p WHERE p.id = child.parent_id AND p.n > 3
UPDATE child SET note = p.name FROM parent p, plain q WHERE p.id = child.parent_id AND q.id = p.id RETURNING child.id, q.v
UPDATE parent SET id = id + 1000 WHERE id = 7
UPDATE parent SET id = id + 1
UPDATE parent SET name = NULL WHERE id = 8
UPDATE parent SET tags[1] = 'changed' WHERE id = 9
UPDATE parent SET doc['k'] = '99' WHERE id = 9
UPDATE parent SET n = DEFAULT WHERE id = 10
UPDATE parent SET name = 'p2' WHERE id = 1
UPDATE parent SET n = -1 WHERE id = 1
UPDATE parent SET twice = 1 WHERE id = 1
UPDATE parent SET n = n WHERE id = 1
UPDATE child SET parent_id = 9999 WHERE id = 1
UPDATE v_parent SET n = 0 WHERE id = 1
UPDATE v_joined SET note = 'x' WHERE id = 1
UPDATE other.things SET v = 'x'
UPDATE other."Odd Name" SET "V" = 'x' WHERE "Id" = 1
UPDATE stranger SET v = 'x'
UPDATE parent SET n = bump(2) WHERE id = 2
UPDATE plain SET v = 'x' WHERE id IN (SELECT bump(id) FROM parent)
UPDATE plain SET v = 'x' WHERE EXISTS (SELECT 1 FROM rows_of())
UPDATE parent SET n = 1 WHERE CURRENT OF nocursor
UPDATE parent SET at = now() WHERE ctid = '(0,1)'
-- DELETE
DELETE FROM child WHERE id = 3
DELETE FROM ONLY child WHERE id = 4
DELETE FROM child USING parent p WHERE p.id = child.parent_id AND p.id = 5
DELETE FROM parent WHERE id = 6
DELETE FROM parent WHERE id = 6 RETURNING *
DELETE FROM public.child
DELETE FROM child WHERE ctid = '(0,1)'
DELETE FROM plain
DELETE FROM plain p WHERE EXISTS (SELECT 1 FROM plain q WHERE q.id > p.id)
DELETE FROM v_parent WHERE id = 1
DELETE FROM v_joined WHERE id = 1
DELETE FROM other.things
DELETE FROM other."Odd Name"
DELETE FROM stranger
DELETE FROM parent
-- MERGE
MERGE INTO parent p USING (VALUES (1, 'm'), (600, 'm2')) s (id, name) ON p.id = s.id WHEN MATCHED THEN UPDATE SET name = s.name WHEN NOT MATCHED THEN INSERT (id, name) VALUES (s.id, s.name)
MERGE INTO parent USING child ON parent.id = child.parent_id WHEN MATCHED THEN DELETE
MERGE INTO public.plain t USING other.things s ON t.id = s.id WHEN MATCHED THEN DO NOTHING WHEN NOT MATCHED THEN INSERT VALUES (s.id, s.v)
MERGE INTO stranger t USING parent s ON t.id = s.id WHEN MATCHED THEN UPDATE SET v = s.name
WITH s AS (SELECT * FROM parent) MERGE INTO plain USING s ON plain.id = s.id WHEN MATCHED THEN UPDATE SET v = 'merged'
-- WITH
WITH d AS (DELETE FROM child RETURNING *) SELECT count(*) FROM d
WITH d AS (DELETE FROM child WHERE id < 10 RETURNING *), i AS (INSERT INTO plain SELECT id + 1000, note FROM d RETURNING id) SELECT * FROM i
WITH u AS (UPDATE parent SET n = n + 1 RETURNING *) INSERT INTO plain SELECT id + 2000, name FROM u
WITH parent AS (SELECT 1 AS id) SELECT * FROM parent
WITH parent AS (SELECT 1 AS id) DELETE FROM plain USING parent WHERE plain.id = parent.id
WITH parent AS (SELECT 1 AS id) UPDATE public.parent SET n = 0 FROM parent WHERE public.parent.id = parent.id
WITH x AS (SELECT * FROM plain) DELETE FROM plain WHERE id IN (SELECT id FROM x)
WITH x AS MATERIALIZED (UPDATE plain SET v = 'w' WHERE id = 1 RETURNING v) SELECT * FROM x
WITH RECURSIVE r AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM r WHERE i < 3) UPDATE plain SET v = 'r' FROM r WHERE plain.id = r.i
SELECT * FROM (WITH d AS (SELECT * FROM plain) SELECT * FROM d) x
-- several in one message, comments, odd spacing
UPDATE plain SET v = '1' WHERE id = 1; UPDATE plain SET v = '2' WHERE id = 2
BEGIN; DELETE FROM plain; COMMIT
BEGIN; DELETE FROM plain; ROLLBACK
BEGIN; SAVEPOINT s; DELETE FROM plain; ROLLBACK TO s; INSERT INTO plain VALUES (77, 'x'); COMMIT
/* DELETE FROM nothing; */ UPDATE /* parent */ plain -- comment
 UPDATE plain SET v = $$; DELETE FROM parent;$$ WHERE id = 1
UPDATE plain SET v = 'DELETE FROM parent; --' WHERE id = 1
UPDATE plain SET v = E'\'; DELETE FROM parent; --' WHERE id = 1
UPDATE plain SET v = U&'d\0061t' WHERE id = 1
UPDATE U&"pl\0061in" SET v = 'x' WHERE id = 1
UPDATE	plain	SET	v='x'	WHERE	id=1
uPdAtE pLaIn SeT v = 'x'
SET standard_conforming_strings = off; UPDATE plain SET v = 'a\'; DELETE FROM parent; --'
SELECT 1; DELETE FROM parent; SELECT 2
;;; DELETE FROM parent ;;;
EXPLAIN DELETE FROM parent
EXPLAIN ANALYZE DELETE FROM parent
EXPLAIN (ANALYZE, FORMAT JSON) UPDATE parent SET n = 0
EXPLAIN (ANALYZE) INSERT INTO parent (id, name) VALUES (700, 'x')
PREPARE p AS DELETE FROM parent; EXECUTE p
PREPARE p (int) AS UPDATE parent SET n = $1; EXECUTE p (5); DEALLOCATE p
PREPARE p AS SELECT wipe(); EXECUTE p
EXPLAIN ANALYZE EXECUTE p
CREATE TEMP TABLE t AS EXECUTE p
-- WITH, MERGE, TRUNCATE, LOCK
WITH a AS (UPDATE parent SET n = 1 RETURNING id), b AS (DELETE FROM child RETURNING id), c AS (INSERT INTO plain VALUES (99, 'x') RETURNING id) SELECT * FROM a, b, c
WITH a AS (DELETE FROM stranger RETURNING *) SELECT * FROM a
WITH a AS (DELETE FROM parent RETURNING *), b AS (SELECT * FROM a) INSERT INTO plain SELECT id + 1000, name FROM b
WITH RECURSIVE a AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM a WHERE n < 3), b AS (UPDATE parent SET n = 7 FROM a WHERE parent.id = a.n RETURNING parent.id) DELETE FROM child USING b WHERE child.parent_id = b.id
WITH parent AS (DELETE FROM public.parent RETURNING *) SELECT * FROM parent
EXPLAIN ANALYZE WITH a AS (DELETE FROM parent RETURNING *) SELECT * FROM a
COPY (WITH d AS (DELETE FROM parent RETURNING *) SELECT * FROM d) TO STDOUT
DECLARE c CURSOR FOR WITH d AS (DELETE FROM parent RETURNING *) SELECT * FROM d
MERGE INTO parent USING child ON parent.id = child.parent_id WHEN MATCHED THEN DELETE
MERGE INTO ONLY parent p USING (SELECT 1 AS x) s ON true WHEN MATCHED THEN UPDATE SET n = 0
MERGE INTO parent p USING plain q ON p.id = q.id WHEN MATCHED AND q.id < 3 THEN DELETE WHEN MATCHED THEN UPDATE SET name = q.v WHEN NOT MATCHED THEN INSERT VALUES (q.id, q.v)
MERGE INTO parent USING plain ON parent.id = plain.id WHEN NOT MATCHED BY SOURCE THEN DELETE
MERGE INTO parent USING plain ON parent.id = plain.id WHEN NOT MATCHED BY SOURCE AND n > 3 THEN UPDATE SET n = 3
MERGE INTO v_parent USING plain ON v_parent.id = plain.id WHEN MATCHED THEN DELETE
MERGE INTO stranger USING plain ON stranger.id = plain.id WHEN MATCHED THEN DELETE
EXPLAIN ANALYZE MERGE INTO plain USING parent ON plain.id = parent.id WHEN MATCHED THEN UPDATE SET v = 'x'
TRUNCATE parent, child
TRUNCATE ONLY parent CASCADE
TRUNCATE plain, stranger
TRUNCATE other."Odd Name", ident
TRUNCATE ident RESTART IDENTITY
LOCK TABLE parent, child IN ACCESS EXCLUSIVE MODE
BEGIN; LOCK TABLE ONLY parent; DELETE FROM parent; COMMIT
TRUNCATE circle_a, circle_b
TRUNCATE parent, nowhere
-- Row locks at any level
UPDATE parent SET n = 0 WHERE id IN (SELECT id FROM parent WHERE n > 1 ORDER BY id LIMIT 2 FOR UPDATE SKIP LOCKED) RETURNING *
UPDATE parent SET n = 0 WHERE id = (SELECT id FROM parent ORDER BY n DESC LIMIT 1 FOR UPDATE NOWAIT)
DELETE FROM child USING (SELECT id FROM child ORDER BY id LIMIT 2 FOR UPDATE SKIP LOCKED) q WHERE q.id = child.id RETURNING child.*
WITH q AS (SELECT id FROM parent WHERE n > 0 FOR UPDATE) UPDATE parent SET n = n + 1 FROM q WHERE q.id = parent.id
WITH q AS (SELECT parent_id FROM child ORDER BY id LIMIT 1 FOR UPDATE), d AS (DELETE FROM child RETURNING id) UPDATE parent SET n = 1 FROM q WHERE q.parent_id = parent.id RETURNING *
SELECT * FROM (SELECT * FROM parent) p FOR UPDATE OF p
SELECT (SELECT name FROM parent WHERE parent.id = child.parent_id FOR UPDATE) FROM child
INSERT INTO parent (id, name) SELECT id + 700, name || 'l' FROM parent ORDER BY id LIMIT 2 FOR UPDATE ON CONFLICT (id) DO UPDATE SET n = 3
CREATE TEMP TABLE t AS SELECT * FROM parent WHERE id < 5 FOR SHARE
COPY (SELECT * FROM parent ORDER BY id LIMIT 1 FOR UPDATE) TO STDOUT
SELECT * FROM v_parent FOR UPDATE
-- Through views
UPDATE v_parent SET n = 79 WHERE id = 2 RETURNING *
UPDATE v_parent AS v SET name = v.name || v.id FROM child c WHERE c.parent_id = v.id AND c.id < 4
DELETE FROM v_parent WHERE n > 8
INSERT INTO v_parent VALUES (410, 'x', 1) ON CONFLICT (id) DO UPDATE SET n = excluded.n
WITH d AS (DELETE FROM v_parent RETURNING id) SELECT * FROM d
-- At cursors
BEGIN; DECLARE c CURSOR FOR SELECT * FROM parent ORDER BY id FOR UPDATE; FETCH 2 FROM c; UPDATE parent SET n = 77 WHERE CURRENT OF c RETURNING *; COMMIT
BEGIN; DECLARE c CURSOR FOR SELECT * FROM child FOR UPDATE; FETCH 1 FROM c; DELETE FROM child WHERE CURRENT OF c; COMMIT
BEGIN; DECLARE c CURSOR FOR SELECT * FROM child FOR UPDATE; FETCH 1 FROM c; DELETE FROM parent WHERE CURRENT OF c; COMMIT
BEGIN; DECLARE c CURSOR FOR SELECT * FROM parent; FETCH 1 FROM c; UPDATE parent SET n = 78 WHERE CURRENT OF c; COMMIT
BEGIN; DECLARE c CURSOR FOR SELECT * FROM plain FOR UPDATE; FETCH 1 FROM c; UPDATE plain SET v = 'x' WHERE CURRENT OF c; COMMIT
-- PREPARE of statements that write
PREPARE p (int, int) AS UPDATE parent SET n = $1 WHERE id = $2; EXECUTE p (5, 3); EXECUTE p (6, 4); DEALLOCATE p
PREPARE p AS INSERT INTO parent (id, name) VALUES ($1, $2) ON CONFLICT (id) DO UPDATE SET n = 9; EXECUTE p (3, 'x'); EXECUTE p (750, 'y')
PREPARE p AS SELECT id FROM parent WHERE n > $1 ORDER BY id LIMIT 1 FOR UPDATE; EXECUTE p (0)
PREPARE p AS DELETE FROM child; EXPLAIN ANALYZE EXECUTE p
PREPARE p AS DELETE FROM child WHERE id = $1; EXPLAIN EXECUTE p (1); EXECUTE p (bump(1)); EXECUTE p (wipe())
PREPARE p AS DELETE FROM plain
PREPARE p AS TRUNCATE parent
-- Rows as a whole, rows of any width
UPDATE parent SET n = 1 WHERE id = 1 RETURNING parent, row_to_json(parent), parent::text
DELETE FROM child WHERE id = 2 RETURNING child
INSERT INTO parent (id, name) VALUES (1, 'w') ON CONFLICT (id) DO UPDATE SET name = (excluded).name || 'w' RETURNING parent.*
INSERT INTO parent SELECT * FROM (VALUES (760, 'narrow')) v
INSERT INTO parent SELECT *, 1, 2, 3, 4, 5, 6, 7, 8, 9 FROM parent
MERGE INTO parent t USING (VALUES (761, 'star')) s (id, name) ON t.id = s.id WHEN NOT MATCHED THEN INSERT VALUES (s.*)
-- views with other names, and identity columns
INSERT INTO v_named (no, title) VALUES (420, 'v')
INSERT INTO v_named (no, title) VALUES (421, 'v1'), (422, 'v2') ON CONFLICT (no) DO NOTHING
INSERT INTO v_named (no, title) SELECT id + 430, 'v' || id FROM parent WHERE id < 3 RETURNING *
UPDATE v_named SET title = 'x' || double WHERE no = 1 RETURNING *
UPDATE v_named SET title = p.name || '!' FROM parent p WHERE p.id = v_named.no AND p.id = 3
UPDATE v_parent SET n = 1000 WHERE id = 4
UPDATE v_named SET double = 3
DELETE FROM v_named WHERE double = 14
SELECT * FROM v_named WHERE no = 2 FOR UPDATE
UPDATE parent SET n = n WHERE id IN (SELECT no FROM v_named WHERE no < 3 FOR UPDATE SKIP LOCKED)
INSERT INTO always VALUES (1, 'no')
INSERT INTO always OVERRIDING USER VALUE SELECT id, v FROM ident WHERE id < 3
INSERT INTO always OVERRIDING SYSTEM VALUE VALUES (900, 'given')
UPDATE always SET id = DEFAULT WHERE id = 900
MERGE INTO v_parent v USING parent p ON v.id = p.id WHEN MATCHED THEN DELETE
COPY v_parent FROM STDIN
