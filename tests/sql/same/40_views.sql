-- 70 views with a check option
UPDATE dear SET price = 62 WHERE id = 46
UPDATE dear SET price = 59 WHERE id = 46
INSERT INTO dear VALUES (720, 'dear', 99) RETURNING *
INSERT INTO dear VALUES (721, 'cheap', 9)
INSERT INTO dear (id, name) VALUES (722, 'defaults')
INSERT INTO dear VALUES (723, 'fine', 99), (724, repeat('long', 20), 9)
INSERT INTO dear SELECT id + 1000, name || '+', price FROM item WHERE id IN (47, 48) RETURNING *
INSERT INTO dear SELECT id + 1100, name || '-', price FROM item WHERE id IN (2, 49)
INSERT INTO dear VALUES (720, 'again', 80) ON CONFLICT (id) DO UPDATE SET price = excluded.price RETURNING *
INSERT INTO dear VALUES (720, 'again', 80) ON CONFLICT (id) DO UPDATE SET price = 5
INSERT INTO dear VALUES (720, 'taken', 80)
UPDATE dearer SET price = 75 WHERE id = 46
UPDATE dearer SET price = 10 WHERE id = 46
UPDATE dearer SET price = 63, name = 'dearer' WHERE id = 46 RETURNING *
UPDATE dear SET (price, name) = (SELECT 3, 'x') WHERE id = 46
UPDATE dear SET price = s.qty FROM sale s WHERE s.id = 3 AND dear.id = 46
UPDATE dear SET price = 1 WHERE false
! PREPARE d AS UPDATE dear SET price = $1 WHERE id = 46
UPDATE item SET price = 1 WHERE id = 47 RETURNING price
UPDATE dear SET price = 1 WHERE id = 47
BEGIN
SAVEPOINT a
UPDATE dear SET price = 1 WHERE id = 48
ROLLBACK TO a
UPDATE item SET price = 2 WHERE id = 48 RETURNING price
COMMIT
SELECT id, name, price FROM item WHERE id > 45 ORDER BY id
-- 71 views of views, with other names and computed columns
SELECT * FROM titled ORDER BY no
UPDATE priced SET title = 'renamed' WHERE item_no = 20 RETURNING *
UPDATE priced SET title = title || item_no, price = twice WHERE item_no = 21 RETURNING item_no, title AS t, price, priced.twice
UPDATE priced SET twice = 1 WHERE item_no = 20
UPDATE priced SET nope = 1
INSERT INTO priced (item_no, title, price) VALUES (830, 'eight hundred', 30) RETURNING *
INSERT INTO priced VALUES (831, 'x', 30, 60)
INSERT INTO priced VALUES (831, 'xx', 30) RETURNING twice, item_no
INSERT INTO priced (title, item_no) SELECT 'copy ' || id, 840 + id FROM item WHERE id < 3 RETURNING title
DELETE FROM priced WHERE twice > 130 AND item_no = 50 RETURNING *
DELETE FROM priced AS p WHERE p.title = 'xx' RETURNING p.item_no
UPDATE priced SET title = upper(title) FROM sale s WHERE s.item_id = item_no AND s.id = 24 RETURNING item_no, title, s.id
DELETE FROM priced WHERE item_no IN (SELECT item_no FROM priced WHERE title = 'nobody' OR priced.twice < 0) RETURNING *
UPDATE priced SET price = 25 WHERE item_no = (SELECT max(p.item_no) FROM priced p WHERE p.item_no < priced.item_no + 1 AND twice < 70) RETURNING item_no, price
INSERT INTO priced (item_no, title, price) SELECT item_no + 3000, title, twice FROM priced WHERE item_no = 26 RETURNING *
DELETE FROM priced p USING sale s WHERE p.item_no = s.item_id AND s.id = 0 RETURNING p.title
UPDATE titled SET title = 'tt' WHERE no = 22 RETURNING *
UPDATE titled SET title = 'ttt' WHERE loud = 'ITEM 23' RETURNING no, loud
UPDATE titled SET no = 60 WHERE no = 24
UPDATE titled SET loud = 'X' WHERE no = 24
INSERT INTO titled (no, title) VALUES (-1, 'violates')
INSERT INTO titled (loud) VALUES ('X')
UPDATE low_even SET price = 40 WHERE id = 2 RETURNING *
UPDATE low_even SET id = 901 WHERE id = 4
SELECT id, name, price FROM item WHERE id BETWEEN 18 AND 25 OR id < 5 OR id > 800 ORDER BY id
-- 72 row locks through views
SELECT * FROM cheap WHERE id = 2 FOR UPDATE
SELECT title FROM titled WHERE no < 26 ORDER BY no LIMIT 2 FOR UPDATE SKIP LOCKED
SELECT c.id, s.id FROM cheap c JOIN sale s ON s.item_id = c.id WHERE c.id = 3 ORDER BY s.id FOR UPDATE OF c
SELECT id FROM cheap AS x FOR SHARE OF nobody
UPDATE sale SET note = 'locked' WHERE item_id IN (SELECT id FROM cheap WHERE id = 3 FOR UPDATE) AND id < 50 RETURNING id, note
BEGIN
DECLARE c CURSOR FOR SELECT id, name FROM cheap WHERE id < 5 ORDER BY id FOR UPDATE
FETCH 2 FROM c
ROLLBACK
COPY cheap TO STDOUT
TRUNCATE cheap
