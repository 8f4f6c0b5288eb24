-- 1 point reads
SELECT * FROM item WHERE id = 7
SELECT * FROM item WHERE name = 'item 9'
SELECT id, price FROM item WHERE id = 12345
SELECT item.*, item.name AS again FROM item WHERE item.id = 1
SELECT i.id, "i"."name" FROM public.item AS i WHERE i.id IN (1, 2, 3) ORDER BY 1
SELECT * FROM kinds ORDER BY a
SELECT a, c4, c5, c6, c11 FROM kinds WHERE a = 1
~ SELECT item FROM item WHERE id = 3
SELECT (item).name FROM item WHERE id = 3
SELECT row_to_json(i) FROM item i WHERE id = 4
TABLE kinds
-- 2 ranges and order
SELECT id, name FROM item WHERE id > 10 ORDER BY id LIMIT 5
SELECT id FROM item ORDER BY id DESC LIMIT 3 OFFSET 2
SELECT id FROM sale ORDER BY day, id LIMIT 10
SELECT id FROM item ORDER BY id FETCH FIRST 2 ROWS ONLY
SELECT DISTINCT day FROM sale ORDER BY day LIMIT 4
SELECT DISTINCT ON (item_id) item_id, id FROM sale ORDER BY item_id, id DESC LIMIT 5
SELECT max(id), min(id), count(*), sum(price), avg(price) FROM item
-- 3 joins
SELECT s.id, i.name FROM sale s JOIN item i ON i.id = s.item_id WHERE s.id < 10 ORDER BY s.id
SELECT i.id, count(s.id) FROM item i LEFT JOIN sale s ON s.item_id = i.id GROUP BY i.id ORDER BY i.id
SELECT i.id FROM item i RIGHT JOIN sale s ON s.item_id = i.id WHERE s.id = 5
SELECT a.id, b.id FROM item a FULL JOIN item b ON a.id = b.id + 1 WHERE a.id < 4 OR b.id < 4 ORDER BY 1, 2
SELECT id, name FROM item NATURAL JOIN (SELECT 5 AS id) x
SELECT item.id FROM item JOIN sale USING (id) WHERE item.id < 5 ORDER BY 1
SELECT i.id, l.n FROM item i, LATERAL (SELECT count(*) AS n FROM sale s WHERE s.item_id = i.id) l WHERE i.id < 5 ORDER BY 1
SELECT count(*) FROM item CROSS JOIN part
-- 4 sub-queries
SELECT id FROM item WHERE id IN (SELECT item_id FROM sale WHERE qty = 6) ORDER BY id
SELECT id FROM item i WHERE EXISTS (SELECT 1 FROM part p WHERE p.item_id = i.id) ORDER BY id
SELECT id FROM item i WHERE NOT EXISTS (SELECT 1 FROM sale s WHERE s.item_id = i.id) ORDER BY id
SELECT id, (SELECT max(id) FROM sale s WHERE s.item_id = i.id) FROM item i WHERE id < 4 ORDER BY id
SELECT id FROM item WHERE price > ALL (SELECT price FROM item WHERE id < 40) ORDER BY id
SELECT ARRAY(SELECT id FROM item WHERE id < 4 ORDER BY id)
WITH x AS (SELECT * FROM item WHERE id < 5) SELECT count(*), sum(price) FROM x
WITH item AS (SELECT 1 AS id) SELECT * FROM item
WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r WHERE n < 5) SELECT r.n, i.name FROM r JOIN item i ON i.id = r.n ORDER BY 1
SELECT id FROM item WHERE id < 3 UNION ALL SELECT item_id FROM sale WHERE id < 3 ORDER BY 1
SELECT id FROM item INTERSECT SELECT item_id FROM sale ORDER BY 1 LIMIT 3
SELECT id FROM item EXCEPT SELECT item_id FROM sale ORDER BY 1 LIMIT 3
-- 5 aggregates and windows
SELECT qty, count(*), sum(id) FROM sale GROUP BY qty ORDER BY qty
SELECT qty, count(*) FROM sale GROUP BY ROLLUP (qty) ORDER BY qty NULLS LAST
SELECT id, row_number() OVER (ORDER BY price DESC) FROM item ORDER BY 2 LIMIT 3
SELECT item_id, sum(qty) OVER (PARTITION BY item_id ORDER BY id) FROM sale WHERE item_id = 3 ORDER BY id
SELECT string_agg(name, ',' ORDER BY id) FROM item WHERE id < 5
SELECT jsonb_agg(doc ORDER BY id) FROM item WHERE id < 4
SELECT count(*) FILTER (WHERE qty > 3) FROM sale HAVING count(*) > 1
SELECT unnest(tags), count(*) FROM item GROUP BY 1 ORDER BY 1
SELECT name FROM (SELECT id AS name FROM item) s WHERE name = '5'
SELECT price = 5, count(*) FROM item GROUP BY price = 5
SELECT DISTINCT ON (id = 7) id = 7, id FROM item WHERE id = 7 ORDER BY id = 7, id
SELECT name = 'item 5', count(*) OVER (PARTITION BY name = 'item 5') FROM item WHERE id < 8 ORDER BY 1
SELECT id FROM item WHERE id = 5 AND price = 5::numeric AND name = 'item 5' OR 5 = id ORDER BY 1
-- 5b grouped by a primary key
SELECT i.id, i.name, i.tags, count(s.id) FROM item i LEFT JOIN sale s ON s.item_id = i.id GROUP BY i.id ORDER BY i.price, i.id LIMIT 3
SELECT id AS key, upper(name) FROM item GROUP BY key HAVING max(price) > 5 AND doc IS NOT NULL ORDER BY name LIMIT 3
SELECT id, name FROM item GROUP BY 1 ORDER BY 1 LIMIT 2
SELECT item.* FROM item GROUP BY public.item.id ORDER BY id LIMIT 2
SELECT kinds.a, c1, c9 IS NULL AS no_json, count(*) FROM kinds GROUP BY a, b, (c9 IS NULL) ORDER BY a
SELECT id, (SELECT count(*) FROM sale WHERE item_id = item.id AND item.price > 3) FROM item GROUP BY id ORDER BY id LIMIT 3
SELECT a.id, a.name, b.name FROM item a JOIN item b ON a.id = b.id + 1 GROUP BY a.id, b.id ORDER BY a.id LIMIT 2
SELECT name FROM item GROUP BY price
SELECT s.note, i.name FROM item i JOIN sale s ON s.item_id = i.id GROUP BY i.id
SELECT slot.who FROM slot GROUP BY room, hour
SELECT * FROM item_sales WHERE sales > 4 ORDER BY id LIMIT 3
-- 6 expressions
SELECT 1, 'a', NULL, true, 1.5, now() > '2020-01-01'
SELECT $$it's$$ || 'x', E'a\nb', U&'\0041', B'101', X'1F', '2026-01-01'::date
SELECT CASE WHEN 1 < 2 THEN 'y' ELSE 'n' END, COALESCE(NULL, 5), NULLIF(1, 1), GREATEST(1, 3, 2)
SELECT generate_series(1, 3)
VALUES (1, 'a'), (2, 'b') ORDER BY 1
SELECT 1 AS "Odd ""Name""", 2 AS "é"
SELECT current_schema(), current_setting('search_path')
-- 7 insert
INSERT INTO item (id, name) VALUES (100, 'hundred')
INSERT INTO item (id, name, price, doc) VALUES (101, 'a', 2.5, '{"a": [1, 2]}') RETURNING *
INSERT INTO item (id, name) VALUES (102, 'b'), (103, 'c') RETURNING id, double
INSERT INTO item (id, name) SELECT id + 1000, name || '!' FROM item WHERE id < 4 RETURNING id, name, tags
INSERT INTO item VALUES (104, 'd', DEFAULT, '{a}', 'null')
SELECT id, name, price, tags, double FROM item WHERE id >= 100 ORDER BY id
INSERT INTO kinds (a, b) VALUES (3, 'z') RETURNING *
INSERT INTO sale (id, item_id) SELECT 5000 + id, id FROM item WHERE id BETWEEN 1 AND 3
-- 8 insert that fails
INSERT INTO item (id, name) VALUES (1, 'dup')
INSERT INTO item (id, name) VALUES (200, 'item 1')
INSERT INTO item (id, name, price) VALUES (201, 'neg', -1)
INSERT INTO item (id, name) VALUES (202, NULL)
INSERT INTO item (name) VALUES ('nokey')
INSERT INTO item (id, name) VALUES (203, repeat('x', 41))
INSERT INTO item (id, name, double) VALUES (204, 'gen', 5)
INSERT INTO item (id, name) VALUES ('x', 'bad')
INSERT INTO item (id, nothing) VALUES (205, 'bad')
INSERT INTO item (id, name) VALUES (206)
INSERT INTO item (id, name) VALUES (207, 'a7'), (207, 'b7')
INSERT INTO sale (id, item_id) VALUES (6000, 12345)
INSERT INTO sale (id, item_id, note) VALUES (6001, 1, 'NOTE 2')
INSERT INTO item VALUES (208, 'j', 1, '{', NULL)
INSERT INTO kinds (a, b) VALUES (1, 'x')
SELECT count(*) FROM item
-- 9 on conflict
INSERT INTO item (id, name) VALUES (1, 'x') ON CONFLICT DO NOTHING
INSERT INTO item (id, name) VALUES (2, 'two') ON CONFLICT (id) DO UPDATE SET name = EXCLUDED.name, price = item.price + 1 RETURNING *
INSERT INTO item (id, name) VALUES (300, 'item 5') ON CONFLICT (name) DO UPDATE SET price = 55 RETURNING id, price
INSERT INTO item (id, name) VALUES (3, 'x3') ON CONFLICT (id) DO UPDATE SET price = 3 WHERE item.price > 1000
INSERT INTO item (id, name) VALUES (301, 'x301') ON CONFLICT (id) DO UPDATE SET price = 3 RETURNING id
INSERT INTO item (id, name) VALUES (4, 'q') ON CONFLICT ON CONSTRAINT item_pkey DO UPDATE SET price = 4.5
INSERT INTO item (id, name) VALUES (302, 'item 6') ON CONFLICT (id) DO NOTHING
INSERT INTO item (id, name) VALUES (5, 'x5') ON CONFLICT (nothing) DO NOTHING
INSERT INTO sale (id, item_id, note) VALUES (6002, 1, 'note 4') ON CONFLICT (lower(note)) WHERE note IS NOT NULL DO UPDATE SET qty = 99 RETURNING id, qty
INSERT INTO sale (id, item_id, note) VALUES (6003, 1, 'Note 6'), (6004, 2, 'fresh') ON CONFLICT DO NOTHING
INSERT INTO sale (id, item_id, note) SELECT 6005 + id, 1, upper(note) FROM sale WHERE id IN (8, 10) ON CONFLICT (lower(note)) WHERE note IS NOT NULL DO UPDATE SET note = sale.note || '!', qty = 5 RETURNING id, note
INSERT INTO sale (id, item_id, note) VALUES (6006, 1, 'NOTE 12') ON CONFLICT (id) DO NOTHING
INSERT INTO sale (item_id, note) SELECT 1, 'note 14' ON CONFLICT (id) DO NOTHING
SELECT id, note, qty FROM sale WHERE id < 16 OR id > 6000 ORDER BY id
SELECT id, name, price FROM item WHERE id IN (1, 2, 3, 4, 5, 300, 301, 302) ORDER BY id
INSERT INTO sale (id, item_id, day) SELECT '5', 1, '2026-01-01' ON CONFLICT (id) DO UPDATE SET day = excluded.day RETURNING day
-- 10 update
UPDATE item SET price = price + 1 WHERE id = 10
UPDATE item SET price = price * 2, tags = tags || 'new' WHERE id BETWEEN 11 AND 13 RETURNING id, price, tags, double
UPDATE item SET price = price * 2, tags = tags || ARRAY['new'] WHERE id BETWEEN 11 AND 13 RETURNING id, price, tags, double
UPDATE item SET (name, price) = ('renamed', 7) WHERE id = 14 RETURNING *
UPDATE item SET doc = jsonb_set(doc, '{n}', '0') WHERE id = 15 RETURNING doc
UPDATE item SET tags = NULL WHERE id = 16 RETURNING tags
UPDATE item SET price = DEFAULT WHERE id = 17 RETURNING price
UPDATE item SET price = 1 WHERE id = 12345
UPDATE sale SET note = i.name FROM item i WHERE i.id = sale.item_id AND sale.id < 4 RETURNING sale.id, note, i.price
UPDATE sale s SET qty = s.qty + 1 WHERE s.item_id IN (SELECT id FROM item WHERE id < 3)
UPDATE sale SET qty = (SELECT count(*) FROM part) WHERE id = 9 RETURNING qty
UPDATE item SET tags[2] = 'two' WHERE id = 18 RETURNING tags
SELECT id, qty, note FROM sale WHERE id < 12 ORDER BY id
-- 11 update that fails
UPDATE item SET name = 'item 20' WHERE id = 19
UPDATE item SET price = -1 WHERE id = 19
UPDATE item SET name = NULL WHERE id = 19
UPDATE item SET id = 21 WHERE id = 20
UPDATE item SET id = 9000 WHERE id = 22
UPDATE sale SET item_id = 9999 WHERE id = 20
UPDATE item SET nothing = 1
UPDATE item SET price = 'x'
UPDATE item SET price = 1/0 WHERE id = 1
UPDATE item SET double = 1
UPDATE nowhere SET a = 1
DELETE FROM public.nowhere
INSERT INTO nowhere VALUES (1)
WITH é AS (DELETE FROM nowhere RETURNING *) SELECT 1
UPDATE item SET price = 1, price = 2
-- 12 keys move
UPDATE item SET id = 4001 WHERE id = 999 RETURNING id, name
SELECT id FROM item WHERE id IN (999, 4001)
UPDATE item SET id = 999 WHERE id = 4001
UPDATE part SET id = id + 100 WHERE id < 4
SELECT id FROM part ORDER BY id
UPDATE kinds SET b = b || '!' WHERE a = 1 RETURNING a, b
-- 13 delete
DELETE FROM sale WHERE id = 30
DELETE FROM sale WHERE id IN (31, 32, 33) RETURNING id, item_id
DELETE FROM sale USING item i WHERE i.id = sale.item_id AND i.id = 25 RETURNING sale.id
DELETE FROM sale WHERE id = 12345
SELECT count(*) FROM sale
DELETE FROM item WHERE id = 26
DELETE FROM item WHERE id = 42
SELECT id, item_id, other_id FROM part ORDER BY id
DELETE FROM item WHERE id = 47 RETURNING name
SELECT id, other_id FROM part WHERE other_id IS NULL ORDER BY id
INSERT INTO item (id, name) VALUES (42, 'back again')
SELECT * FROM item WHERE id = 42
DELETE FROM item WHERE id = 42
UPDATE item SET id = 43000 WHERE id = 43
SELECT id, item_id FROM part WHERE item_id = 43000 ORDER BY id
-- truncate
BEGIN
TRUNCATE part
SELECT count(*) FROM part
INSERT INTO part (id, item_id) VALUES (1, 42)
TRUNCATE TABLE part, ONLY sale CONTINUE IDENTITY
SELECT count(*) FROM sale
ROLLBACK
TRUNCATE item
TRUNCATE item, sale
TRUNCATE nowhere
TRUNCATE part, nowhere
SELECT count(*) FROM part
TRUNCATE cheap
BEGIN
TRUNCATE item, sale, part
SELECT (SELECT count(*) FROM item), (SELECT count(*) FROM sale), (SELECT count(*) FROM part)
ROLLBACK
SELECT count(*) FROM part
-- 14 with
WITH d AS (DELETE FROM sale WHERE id BETWEEN 40 AND 42 RETURNING *) SELECT count(*), sum(item_id) FROM d
WITH n AS (INSERT INTO item (id, name) VALUES (500, 'five') RETURNING id) SELECT * FROM n
WITH u AS (UPDATE item SET price = 3 WHERE id = 500 RETURNING id, price) SELECT u.* FROM u
WITH moved AS (DELETE FROM sale WHERE id IN (43, 44) RETURNING *) INSERT INTO sale SELECT id + 9000, item_id, qty, note, day FROM moved RETURNING id, item_id
WITH src AS (SELECT id, price FROM item WHERE id IN (7, 8)), u AS (UPDATE sale SET qty = 77 FROM src WHERE sale.item_id = src.id RETURNING sale.id, src.price) SELECT count(*), min(price) FROM u
WITH n (id, name) AS (VALUES (7, 'seven'), (501, 'f1')), u AS (UPDATE item SET name = n.name FROM n WHERE item.id = n.id RETURNING item.id) INSERT INTO item (id, name) SELECT id, name FROM n WHERE NOT EXISTS (SELECT FROM u WHERE u.id = n.id) RETURNING id
WITH d AS (DELETE FROM part WHERE id = 5 RETURNING item_id) UPDATE item SET price = 8 FROM d WHERE item.id = d.item_id RETURNING item.id, item.price
WITH d AS (DELETE FROM part WHERE id = 6 RETURNING *), e AS (DELETE FROM sale WHERE id = 45 RETURNING *) SELECT d.id, e.id FROM d, e
WITH RECURSIVE r(n) AS (SELECT 46 UNION ALL SELECT n + 1 FROM r WHERE n < 48), d AS (DELETE FROM sale USING r WHERE sale.id = r.n RETURNING sale.id) SELECT count(*) FROM d
WITH RECURSIVE a AS (SELECT item_id FROM b), b AS (DELETE FROM part WHERE id = 7 RETURNING item_id) UPDATE item SET price = 9 FROM a WHERE item.id = a.item_id RETURNING item.id
WITH u AS (UPDATE item SET price = -1 WHERE id = 9 RETURNING id) SELECT * FROM u
WITH u AS (UPDATE item SET price = 4 WHERE id = 9) SELECT price FROM item WHERE id = 9
WITH u AS (UPDATE item SET price = 5 WHERE id = 9 RETURNING *) UPDATE item SET price = 6 WHERE id = 10 RETURNING (SELECT u.price FROM u)
WITH u AS (UPDATE item SET price = 5 WHERE id = 9 RETURNING nothing) SELECT * FROM u
WITH i AS (INSERT INTO item (id, name) VALUES (10, 'again') ON CONFLICT (id) DO UPDATE SET price = 66 RETURNING id, price) SELECT * FROM i
~ SELECT * FROM (WITH d AS (DELETE FROM sale RETURNING *) SELECT * FROM d) x
SELECT id, name, price FROM item WHERE id IN (7, 8, 9, 10, 500, 501) ORDER BY id
SELECT count(*), sum(qty) FROM sale
-- 15 merge
MERGE INTO item t USING (VALUES (27, 'm27'), (600, 'm600')) s (id, name) ON t.id = s.id WHEN MATCHED THEN UPDATE SET name = s.name WHEN NOT MATCHED THEN INSERT (id, name) VALUES (s.id, s.name)
MERGE INTO sale USING (SELECT id FROM item WHERE id < 4) s ON sale.item_id = s.id WHEN MATCHED AND sale.qty > 3 THEN DELETE WHEN MATCHED THEN UPDATE SET qty = qty + 10, day = CASE WHEN qty > 1 THEN NULL ELSE day END
SELECT id, qty, day FROM sale WHERE item_id < 4 ORDER BY id
MERGE INTO item t USING item s JOIN part p ON p.item_id = s.id ON t.id = s.id + 700 WHEN NOT MATCHED THEN DO NOTHING
MERGE INTO item AS t USING (VALUES (601)) s (id) ON t.id = s.id WHEN NOT MATCHED THEN INSERT VALUES (s.id, 'm601', 2)
MERGE INTO item t USING (VALUES (1)) s (id) ON t.id = 602 WHEN NOT MATCHED THEN INSERT (id, name) VALUES (2, 'dup')
MERGE INTO item t USING (VALUES (603, 'item 5')) s (id, name) ON t.id = s.id WHEN NOT MATCHED THEN INSERT (id, name) VALUES (s.id, s.name)
MERGE INTO item t USING (VALUES (5), (5)) s (id) ON t.id = s.id WHEN MATCHED THEN UPDATE SET price = 1
MERGE INTO item t USING (VALUES (5)) s (id) ON t.id = s.id WHEN MATCHED THEN UPDATE SET nothing = 1
MERGE INTO part USING (VALUES (8), (9)) s (id) ON part.id = s.id WHEN NOT MATCHED BY SOURCE AND part.id > 18 THEN DELETE WHEN NOT MATCHED BY SOURCE AND part.id = 17 THEN UPDATE SET other_id = NULL
MERGE INTO part p USING (VALUES (950)) s (id) ON p.id = s.id WHEN MATCHED THEN DELETE WHEN NOT MATCHED THEN INSERT (id) VALUES (s.id) RETURNING merge_action(), p.id
SELECT * FROM part ORDER BY id
WITH s AS (SELECT id FROM item WHERE id = 11) MERGE INTO item t USING s ON t.id = s.id WHEN MATCHED THEN UPDATE SET price = 111
SELECT id, name, price FROM item WHERE id IN (5, 11, 601) ORDER BY id
SELECT id, name FROM item WHERE id IN (27, 600) ORDER BY id
-- 16 transactions
BEGIN
UPDATE item SET price = 1000 WHERE id = 28
SELECT price FROM item WHERE id = 28
SAVEPOINT a
DELETE FROM sale WHERE id = 50
ROLLBACK TO SAVEPOINT a
SELECT count(*) FROM sale WHERE id = 50
RELEASE SAVEPOINT a
ROLLBACK
SELECT price FROM item WHERE id = 28
BEGIN
INSERT INTO item (id, name) VALUES (1, 'dup')
SELECT 1
COMMIT
BEGIN
INSERT INTO item (id, name) VALUES (700, 'in tx')
COMMIT
SELECT name FROM item WHERE id = 700
ROLLBACK
COMMIT
SAVEPOINT outside
START TRANSACTION READ ONLY
UPDATE item SET price = 1 WHERE id = 1
ROLLBACK
BEGIN ISOLATION LEVEL REPEATABLE READ
SELECT count(*) FROM item WHERE id = 1
COMMIT
-- 17 errors of reading
SELECT nothing FROM item
SELECT * FROM nowhere
SELECT nothing(1)
SELEC 1
SELECT * FROM item WHERE
SELECT 'x'::int
SELECT 1/0
SELECT * FROM item WHERE id = 'x'
SELECT id FROM item GROUP BY name
~ SELECT * FROM item i WHERE item.id = 1
SELECT id FROM item, sale
SELECT * FROM other.item
SELECT "ID" FROM item
SELECT * FROM item ORDER BY 99
-- 18 cursors
BEGIN
DECLARE c CURSOR FOR SELECT id FROM item ORDER BY id
FETCH 3 FROM c
FETCH FORWARD 2 FROM c
MOVE 1 FROM c
FETCH NEXT FROM c
CLOSE c
FETCH 1 FROM c
ROLLBACK
-- 19 prepared statements in SQL
PREPARE q (int) AS SELECT id, name FROM item WHERE id = $1
EXECUTE q (30)
PREPARE q (int) AS SELECT 1
EXECUTE q (31, 32)
DEALLOCATE q
EXECUTE q (30)
-- 20 views
SELECT * FROM cheap ORDER BY id
SELECT count(*) FROM cheap c JOIN sale s ON s.item_id = c.id
SELECT * FROM cheap_sales WHERE total > 10 ORDER BY id
TABLE cheap ORDER BY id LIMIT 2
SELECT c.id FROM public.cheap AS c WHERE c.name LIKE 'item%' ORDER BY 1 LIMIT 3
UPDATE sale SET note = c.name FROM cheap c WHERE c.id = sale.item_id AND sale.id = 53 RETURNING note
SELECT nothing FROM cheap
SELECT public.cheap.id FROM public.cheap ORDER BY 1 LIMIT 1
INSERT INTO part (id, item_id) SELECT 900 + id, id FROM cheap_sales WHERE id = 2 RETURNING id
! SELECT * FROM guarded ORDER BY id
SELECT * FROM cheap WHERE id = 2 FOR UPDATE
-- 21 settings
SHOW server_version_num
SET statement_timeout = '5s'
SHOW statement_timeout
SET nothing.at_all = 'x'
SHOW nothing.at_all
RESET statement_timeout
SET nonsense = 1
SHOW nonsense
SET search_path = public
SELECT name FROM item WHERE id = 33
SET DateStyle = 'SQL, DMY'
SELECT day FROM sale WHERE id = 1
RESET ALL
SET TIME ZONE 'Asia/Tokyo'
SELECT made FROM item WHERE id = 1
-- 22 locks
BEGIN
SELECT id FROM item WHERE id = 34 FOR UPDATE
SELECT id FROM item WHERE id IN (34, 35) ORDER BY id FOR SHARE
UPDATE item SET price = 34 WHERE id = 34 RETURNING price
COMMIT
LOCK TABLE item
BEGIN
LOCK TABLE item, ONLY sale IN SHARE ROW EXCLUSIVE MODE NOWAIT
LOCK part
SELECT count(*) FROM part
COMMIT
BEGIN
LOCK TABLE nowhere
ROLLBACK
-- functions
SELECT id, plus_tax(price) FROM item WHERE id IN (7, 8) ORDER BY id
SELECT id FROM item WHERE plus_tax(price) > 70 ORDER BY id LIMIT 2
SELECT shout(name), tax() FROM item WHERE id = 33
UPDATE item SET price = plus_tax(10) WHERE id = 36 RETURNING price
SELECT items()
SELECT id, items() + 1 AS more FROM item WHERE id < items() ORDER BY id LIMIT 5
SELECT f.items FROM items() f
SELECT items(), items()::int2 FROM item GROUP BY 1 HAVING items() > 0
! SELECT items_hidden()
! SELECT any_table('item')
-- 23 temporary tables
CREATE TEMP TABLE mine (id int PRIMARY KEY, v text)
INSERT INTO mine SELECT id, name FROM item WHERE id < 4
SELECT m.id, i.price FROM mine m JOIN item i ON i.id = m.id ORDER BY 1
UPDATE mine SET v = 'x'
DROP TABLE mine
-- 24 notices and empty statements
! DO $$ BEGIN RAISE NOTICE 'hello %', 1; END $$
ROLLBACK
-- 25 copy
COPY (SELECT id, name FROM item WHERE id < 4 ORDER BY id) TO STDOUT
COPY (SELECT * FROM kinds ORDER BY a) TO STDOUT WITH (FORMAT csv, HEADER)
BEGIN
COPY (DELETE FROM sale WHERE id = 62 RETURNING id) TO STDOUT
ROLLBACK
COPY (DELETE FROM sale WHERE id IN (60, 61) RETURNING id, item_id) TO STDOUT
COPY (UPDATE item SET price = 70 WHERE id = 29 RETURNING *) TO STDOUT
-- 26 explain gives something
SELECT count(*) > 0 FROM pg_class WHERE relname = 'item'
SELECT 'item'::regclass::text
SELECT column_name, data_type FROM information_schema.columns WHERE table_name = 'item' AND table_schema = 'public' ORDER BY ordinal_position
-- 27 everything at the end
SELECT * FROM item ORDER BY id
SELECT * FROM sale ORDER BY id
SELECT * FROM part ORDER BY id
SELECT * FROM kinds ORDER BY a
