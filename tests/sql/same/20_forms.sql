-- 30 queues of jobs
BEGIN
UPDATE job SET state = 'taken' WHERE id IN (SELECT id FROM job WHERE state = 'new' ORDER BY id LIMIT 3 FOR UPDATE SKIP LOCKED) RETURNING id, state
COMMIT
UPDATE job SET state = 'taken' WHERE id = (SELECT id FROM job WHERE state = 'new' AND queue = 'mail' ORDER BY priority DESC, id FOR UPDATE SKIP LOCKED LIMIT 1) RETURNING *
UPDATE job AS j SET state = 'taken' FROM (SELECT id FROM job WHERE state = 'new' ORDER BY priority DESC, id LIMIT 2 OFFSET 1 FOR NO KEY UPDATE SKIP LOCKED) AS q WHERE j.id = q.id RETURNING j.id, j.priority
WITH q AS (SELECT id, priority AS p FROM job WHERE state = 'new' ORDER BY p, id FETCH FIRST 2 ROWS ONLY FOR UPDATE) UPDATE job SET state = 'taken', payload = payload || '{"by": 1}' FROM q WHERE job.id = q.id RETURNING job.id, q.p, job.payload
WITH q AS MATERIALIZED (SELECT * FROM job WHERE state = 'new' ORDER BY 1 LIMIT 2 FOR UPDATE SKIP LOCKED) UPDATE job SET state = 'taken' WHERE id IN (SELECT id FROM q) RETURNING id
UPDATE job SET state = 'taken' WHERE id = ANY (ARRAY(SELECT id FROM job WHERE state = 'new' AND id > 20 ORDER BY id LIMIT 2 FOR UPDATE SKIP LOCKED)) RETURNING id
WITH q AS (SELECT id, item_id FROM job WHERE state = 'new' ORDER BY id LIMIT 2 FOR UPDATE SKIP LOCKED), u AS (UPDATE job SET state = 'done' FROM q WHERE job.id = q.id RETURNING job.id) UPDATE item SET doc = '{"seen": true}' FROM q WHERE item.id = q.item_id RETURNING item.id, doc
DELETE FROM job USING (SELECT id FROM job WHERE state = 'new' ORDER BY id LIMIT 2 FOR UPDATE SKIP LOCKED) q WHERE q.id = job.id RETURNING job.*
DELETE FROM job WHERE (id) IN (SELECT j.id FROM job j JOIN item i ON i.id = j.item_id WHERE j.state = 'new' AND i.price > 50 ORDER BY j.id LIMIT 1 FOR UPDATE OF j SKIP LOCKED) RETURNING id
WITH q AS (DELETE FROM job WHERE id = (SELECT id FROM job WHERE state = 'taken' ORDER BY id LIMIT 1 FOR UPDATE NOWAIT) RETURNING *) INSERT INTO job (id, state, payload) SELECT id + 1000, 'dead', payload FROM q RETURNING id, state, payload
SELECT state, count(*) FROM job GROUP BY state ORDER BY state
SELECT id, state, payload FROM job ORDER BY id
SELECT item_id FROM job WHERE state = 'new' ORDER BY id
-- 31 row locks inside
SELECT * FROM (SELECT id, name FROM item WHERE id < 4 FOR UPDATE) x ORDER BY id
SELECT x.id, s.qty FROM (SELECT id FROM item WHERE id IN (7, 8)) x JOIN sale s ON s.item_id = x.id ORDER BY 1, 2 FOR UPDATE OF x
SELECT x.id FROM (SELECT id FROM item WHERE id IN (7, 8) ORDER BY id LIMIT 1) x FOR SHARE
WITH q AS (SELECT id FROM item WHERE id = 9 FOR SHARE) SELECT q.id, s.id FROM q, sale s WHERE s.item_id = q.id ORDER BY 2
SELECT (SELECT name FROM item WHERE item.id = sale.item_id FOR UPDATE) FROM sale WHERE id < 4 ORDER BY id
SELECT id FROM sale s WHERE EXISTS (SELECT FROM item i WHERE i.id = s.item_id AND i.price > 55 FOR KEY SHARE) ORDER BY id
SELECT id FROM sale s WHERE item_id NOT IN (SELECT id FROM item WHERE id > 3 LIMIT 1000 FOR UPDATE) ORDER BY id
UPDATE sale SET qty = 99 WHERE item_id NOT IN (SELECT id FROM item WHERE id > 2 FOR UPDATE) RETURNING id, qty
INSERT INTO part (id, item_id) SELECT 2000 + id, id FROM item WHERE id > 30 ORDER BY id LIMIT 2 FOR UPDATE RETURNING id
INSERT INTO part (id, item_id) SELECT 1, id FROM item WHERE id > 30 ORDER BY id LIMIT 1 FOR UPDATE ON CONFLICT (id) DO UPDATE SET item_id = excluded.item_id RETURNING *
(SELECT id FROM item WHERE id = 3 FOR UPDATE)
(SELECT id FROM item ORDER BY id DESC) FOR UPDATE LIMIT 1
TABLE part ORDER BY id LIMIT 1 FOR UPDATE
SELECT count(*) FROM item FOR UPDATE
SELECT DISTINCT name FROM item FOR UPDATE
SELECT 1 FROM item UNION SELECT 2 FROM sale FOR UPDATE
SELECT id FROM item i FOR UPDATE OF nobody
SELECT id FROM item WHERE id = 1 FOR UPDATE; SELECT name FROM item WHERE id = 2
BEGIN
DECLARE c CURSOR FOR SELECT id, name FROM item WHERE id < 5 ORDER BY id FOR UPDATE
FETCH 2 FROM c
ROLLBACK
CREATE TEMP TABLE kept AS SELECT id FROM item WHERE id < 3 FOR UPDATE
SELECT * FROM kept ORDER BY id
COPY (SELECT id FROM item WHERE id < 3 ORDER BY id FOR UPDATE) TO STDOUT
EXPLAIN (COSTS off) UPDATE job SET state = 'x' WHERE false
WITH u AS (UPDATE item SET price = price + 1 WHERE id = 12 RETURNING id) SELECT s.id FROM sale s, u WHERE s.item_id = u.id ORDER BY s.id FOR UPDATE OF s
DELETE FROM part WHERE id IN (SELECT id FROM part WHERE id > 10 ORDER BY id LIMIT 2) RETURNING id
-- 32 at a cursor
BEGIN
DECLARE c CURSOR FOR SELECT id, name FROM item WHERE id BETWEEN 10 AND 14 ORDER BY id FOR UPDATE
FETCH 2 FROM c
UPDATE item SET price = 7 WHERE CURRENT OF c RETURNING id, price
FETCH 1 FROM c
UPDATE item AS i SET name = i.name || '!' WHERE CURRENT OF c RETURNING *
DELETE FROM sale WHERE item_id = 13
FETCH 1 FROM c
UPDATE item SET price = price + 1 WHERE CURRENT OF c
UPDATE item SET price = price + 1 WHERE CURRENT OF c RETURNING id, price
MOVE BACKWARD ALL FROM c
UPDATE item SET price = 8 WHERE CURRENT OF c
COMMIT
SELECT id, name, price FROM item WHERE id BETWEEN 9 AND 15 ORDER BY id
BEGIN
DECLARE c CURSOR FOR SELECT * FROM part WHERE id < 9 ORDER BY id FOR UPDATE
FETCH 1 FROM c
DELETE FROM part WHERE CURRENT OF c RETURNING *
UPDATE item SET price = 8 WHERE CURRENT OF c
ROLLBACK
BEGIN
DECLARE c CURSOR FOR SELECT id FROM item ORDER BY id
FETCH 1 FROM c
! UPDATE item SET price = 8 WHERE CURRENT OF c
-- 33 at no cursor
DELETE FROM item WHERE CURRENT OF nothing
-- 34 PREPARE of statements that write
PREPARE u (numeric, int) AS UPDATE item SET price = $1 WHERE id = $2 RETURNING id, price
EXECUTE u (3.5, 20)
EXECUTE u (4, '21')
EXECUTE u (1 + 1, length('four') + 18)
EXECUTE u (1)
EXECUTE u ('x', 1)
EXECUTE u (-1, 20)
PREPARE u AS DELETE FROM item
EXECUTE u (5, 20)
PREPARE untyped AS UPDATE item SET name = $1 WHERE id = $2 AND price > $3 RETURNING name
EXECUTE untyped ('renamed', 23, 1.5)
PREPARE d AS DELETE FROM part WHERE id = $1 RETURNING *
BEGIN
EXECUTE d (15)
ROLLBACK
EXECUTE d (15)
EXECUTE d (16)
PREPARE i AS INSERT INTO item (id, name, price) VALUES ($1, $2, 1) ON CONFLICT (id) DO UPDATE SET price = item.price + 100 RETURNING id, price
EXECUTE i (24, 'item 24')
EXECUTE i (750, 'item 750')
PREPARE l AS SELECT id FROM item WHERE id > $1 ORDER BY id LIMIT $2 FOR UPDATE
EXECUTE l (30, 2)
PREPARE m AS MERGE INTO item t USING (VALUES ($1::int)) s (id) ON t.id = s.id WHEN MATCHED THEN UPDATE SET price = 55
EXECUTE m (25)
SELECT id, price FROM item WHERE id BETWEEN 19 AND 32 ORDER BY id
DEALLOCATE u
EXECUTE u (5, 20)
PREPARE u AS UPDATE item SET price = 6 WHERE id = $1 RETURNING id
EXECUTE u (26)
DISCARD ALL
EXECUTE d (17)
DEALLOCATE ALL
EXECUTE u (27)
-- 35 rows of any width
MERGE INTO item t USING (VALUES (605, 'star')) s (id, name) ON t.id = s.id WHEN NOT MATCHED THEN INSERT VALUES (s.*)
MERGE INTO job t USING (SELECT * FROM job WHERE id < 3) s ON t.id = s.id + 5000 WHEN NOT MATCHED THEN INSERT VALUES (s.id + 5000, s.queue)
CREATE TEMP TABLE narrow (id int, name text)
INSERT INTO narrow VALUES (801, 'narrow 1'), (802, 'narrow 2')
INSERT INTO item SELECT * FROM narrow RETURNING id, name, price
INSERT INTO item SELECT n.id + 10, n.name || '+', n.* FROM narrow n
INSERT INTO item TABLE narrow
WITH x AS (SELECT 803, 'from with') INSERT INTO item SELECT * FROM x RETURNING id, price
INSERT INTO item SELECT * FROM (VALUES (804, 'values', 2)) v RETURNING id, price
INSERT INTO item SELECT *, 1, NULL, NULL, now(), 2, 3, 4 FROM narrow
INSERT INTO sale SELECT * FROM (SELECT * FROM narrow) a CROSS JOIN (SELECT 1 AS b) c
-- 36 rows as a whole
UPDATE item SET price = 9 WHERE id = 34 RETURNING item
UPDATE item AS i SET price = 10 WHERE id = 34 RETURNING i, i::text, row_to_json(i), (i).name, to_jsonb(i.*)
UPDATE item SET doc = to_jsonb(item) WHERE id = 35 RETURNING doc
DELETE FROM part WHERE id = 19 RETURNING part, (SELECT row_to_json(p) FROM part p WHERE p.id = 20)
INSERT INTO part VALUES (20, 1, 2) ON CONFLICT (id) DO UPDATE SET item_id = (excluded).item_id RETURNING part, part.*
UPDATE sale SET note = s::text FROM (SELECT id, name FROM item WHERE id = 3) s WHERE sale.item_id = s.id AND sale.id = 2 RETURNING note, s
! UPDATE sale SET note = s::text FROM (SELECT id, name FROM item WHERE id = 3) s WHERE sale.item_id = s.id AND sale.id = 2 RETURNING note, s, sale
WITH d AS (DELETE FROM part WHERE id = 18 RETURNING part AS gone) SELECT (gone).id, row_to_json(gone) FROM d
-- 37 keys with NULLs that are the same
INSERT INTO slot VALUES (100, 1, NULL, 'x') ON CONFLICT (room, hour) DO UPDATE SET who = excluded.who RETURNING *
INSERT INTO slot (id, room, who) VALUES (101, 2, 'y') ON CONFLICT DO NOTHING RETURNING *
INSERT INTO slot (id, room, who) SELECT 102, 3, 'z' ON CONFLICT ON CONSTRAINT slot_key DO UPDATE SET who = 'zz' RETURNING *
INSERT INTO slot (id, who) VALUES (103, 'n') ON CONFLICT (room, hour) DO UPDATE SET who = slot.who || '+' RETURNING *
INSERT INTO slot VALUES (104, 4, 5, 'w') ON CONFLICT (room, hour) DO UPDATE SET who = slot.who || '-' RETURNING *
INSERT INTO slot VALUES (105, 4, NULL, 'w')
INSERT INTO slot DEFAULT VALUES ON CONFLICT (room, hour) DO NOTHING
SELECT * FROM slot ORDER BY id
-- 38 TRUNCATE of tables that reference each other
TRUNCATE hen
TRUNCATE hen, egg
SELECT (SELECT count(*) FROM hen), (SELECT count(*) FROM egg)
INSERT INTO hen VALUES (1, NULL)
INSERT INTO egg VALUES (1, 1)
UPDATE hen SET from_egg = 1
~ TRUNCATE hen CASCADE
SELECT (SELECT count(*) FROM hen), (SELECT count(*) FROM egg)
-- 39 writing through views
INSERT INTO cheap (id, name) VALUES (700, 'through a view') RETURNING *
INSERT INTO cheap VALUES (701, 'all columns') RETURNING cheap.name
INSERT INTO cheap VALUES (701, 'again') ON CONFLICT (id) DO UPDATE SET name = excluded.name || cheap.id RETURNING name
INSERT INTO cheap VALUES (702, 'too', 'many')
INSERT INTO cheap VALUES (701, 'taken')
INSERT INTO cheap SELECT id + 710, name || ' copied' FROM cheap WHERE id < 3 RETURNING *
UPDATE cheap SET name = name || '?' WHERE id < 3 RETURNING *
UPDATE public.cheap AS c SET name = 'x' || c.id WHERE c.id = 4 OR false RETURNING c.*, c.name AS again
UPDATE cheap SET name = 'never' WHERE id = 30
UPDATE cheap SET name = s.note FROM sale s WHERE s.item_id = cheap.id AND s.id = 2 RETURNING *
UPDATE cheap SET name = NULL WHERE id = 1
UPDATE cheap SET name = nothing WHERE id = 1
DELETE FROM cheap WHERE id IN (SELECT id FROM cheap WHERE id > 700 ORDER BY id LIMIT 1) RETURNING *
DELETE FROM cheap WHERE id = 30
DELETE FROM cheap USING sale s WHERE s.item_id = cheap.id AND s.id = 1
~ UPDATE cheap SET price = 1 WHERE id = 1
PREPARE v AS UPDATE cheap SET name = $1 WHERE id = $2 RETURNING id, name
EXECUTE v ('prepared', 3)
SELECT id, name, price FROM item WHERE id < 6 OR id > 690 ORDER BY id
DELETE FROM dear WHERE id = 50 RETURNING id
UPDATE dear SET price = 61 WHERE id = 46
INSERT INTO dear VALUES (703, 'dear', 99)
! UPDATE cheap SET name = 'hidden' WHERE price > 1
! UPDATE cheap SET name = 'row' RETURNING cheap
! UPDATE cheap_sales SET total = 1
! INSERT INTO guarded VALUES (704, 'barrier')
