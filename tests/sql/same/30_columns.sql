-- 60 identity columns
INSERT INTO ticket (v) VALUES ('d') RETURNING *
INSERT INTO ticket VALUES (DEFAULT, DEFAULT, 'e') RETURNING *
SELECT lastval()
INSERT INTO item (id, name) VALUES (5000, 'no sequence')
UPDATE item SET price = 3 WHERE id = 5000
DELETE FROM item WHERE id = 5000
SELECT lastval()
INSERT INTO ticket VALUES (10, 1, 'x')
INSERT INTO ticket (id, v) VALUES (10, 'x')
INSERT INTO ticket (v, id) VALUES ('x', DEFAULT), ('y', 3)
INSERT INTO ticket (v, id) VALUES ('x', DEFAULT), ('y', DEFAULT) RETURNING *
INSERT INTO ticket (id, v) SELECT 11, 'x'
INSERT INTO ticket (id, v) OVERRIDING SYSTEM VALUE VALUES (100, 'system') RETURNING *
INSERT INTO ticket (id, v) OVERRIDING USER VALUE VALUES (200, 'user') RETURNING *
INSERT INTO ticket (n, id, v) OVERRIDING USER VALUE SELECT s.id, s.id, s.note FROM sale s WHERE s.id IN (2, 4) ORDER BY s.id RETURNING *
INSERT INTO ticket OVERRIDING USER VALUE SELECT id, n, v FROM ticket WHERE id = 3 RETURNING *
INSERT INTO ticket (n, v) VALUES (77, 'own') RETURNING *
INSERT INTO ticket (twice, v) VALUES (1, 'x')
INSERT INTO ticket (twice, v) VALUES (DEFAULT, 'x') RETURNING twice
UPDATE ticket SET id = 5 WHERE id = 1
UPDATE ticket SET id = id WHERE id = 1
UPDATE ticket SET id = DEFAULT WHERE id = 1 RETURNING id
UPDATE ticket SET (v, id) = ('z', DEFAULT) WHERE id = 2 RETURNING *
UPDATE ticket SET (v, id) = ('z', 9) WHERE v = 'z'
UPDATE ticket SET (v, id) = (SELECT 'z', 9) WHERE v = 'z'
UPDATE ticket SET twice = 1
UPDATE ticket SET n = 8 WHERE v = 'z' RETURNING n
INSERT INTO ticket (id, v) OVERRIDING SYSTEM VALUE VALUES (100, 'again') ON CONFLICT (id) DO UPDATE SET id = 101
INSERT INTO ticket (id, v) OVERRIDING SYSTEM VALUE VALUES (100, 'again') ON CONFLICT (id) DO UPDATE SET id = DEFAULT, v = excluded.v RETURNING v
INSERT INTO ticket (id, v) OVERRIDING SYSTEM VALUE VALUES (3, 'three') ON CONFLICT (id) DO UPDATE SET v = excluded.v RETURNING *
INSERT INTO ticket (id, nope) VALUES (1, 2)
INSERT INTO ticket (id, v) VALUES (1)
WITH w AS (INSERT INTO ticket (id) VALUES (3) RETURNING id) SELECT * FROM w
WITH w AS (INSERT INTO ticket (id, v) OVERRIDING USER VALUE VALUES (3, 'with') RETURNING v) SELECT * FROM w
MERGE INTO ticket t USING (VALUES (1000)) s(x) ON t.id = s.x WHEN NOT MATCHED THEN INSERT (id, v) VALUES (s.x, 'm')
MERGE INTO ticket t USING (VALUES (1000)) s(x) ON t.id = s.x WHEN NOT MATCHED THEN INSERT (id, v) VALUES (DEFAULT, 'm')
MERGE INTO ticket t USING (VALUES (1000)) s(x) ON t.id = s.x WHEN NOT MATCHED THEN INSERT (id, v) OVERRIDING SYSTEM VALUE VALUES (s.x, 'm')
MERGE INTO ticket t USING (VALUES (2000)) s(x) ON t.id = s.x WHEN NOT MATCHED THEN INSERT (id, v) OVERRIDING USER VALUE VALUES (s.x, 'mu')
MERGE INTO ticket t USING (VALUES (1000)) s(x) ON t.id = s.x WHEN MATCHED THEN UPDATE SET id = 1
MERGE INTO ticket t USING (VALUES (1000)) s(x) ON t.id = s.x WHEN MATCHED THEN UPDATE SET id = DEFAULT
SELECT id, n, v, twice FROM ticket ORDER BY n, id
