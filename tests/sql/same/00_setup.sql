CREATE TABLE item (
  id int PRIMARY KEY, name varchar(40) NOT NULL CONSTRAINT item_name_key UNIQUE, price numeric(10,2) NOT NULL DEFAULT 1.00 CONSTRAINT item_price_check CHECK (price >= 0),
  tags text[], doc jsonb, made timestamptz DEFAULT '2026-01-01 00:00:00+00', double numeric GENERATED ALWAYS AS (price * 2) STORED);
CREATE TABLE sale (
  id bigint PRIMARY KEY, item_id int NOT NULL CONSTRAINT sale_item_fkey REFERENCES item (id), qty smallint NOT NULL DEFAULT 1, note text, day date);
CREATE TABLE part (
  id int PRIMARY KEY, item_id int CONSTRAINT part_item_fkey REFERENCES item (id) ON DELETE CASCADE ON UPDATE CASCADE,
  other_id int CONSTRAINT part_other_fkey REFERENCES item (id) ON DELETE SET NULL);
CREATE TABLE kinds (
  a int, b text, c1 bool, c2 real, c3 double precision, c4 bytea, c5 uuid, c6 interval, c7 time, c8 timestamp, c9 json, c10 inet, c11 int[], c12 char(5), c13 bit(3), c14 money, c15 int4range, c16 point,
  PRIMARY KEY (a, b));
CREATE INDEX sale_item_idx ON sale (item_id);
CREATE UNIQUE INDEX sale_note_idx ON sale (lower(note)) WHERE note IS NOT NULL;
INSERT INTO item (id, name, price, tags, doc) SELECT g, 'item ' || g, g * 1.5, ARRAY['t' || g % 3, 'x'], jsonb_build_object('n', g) FROM generate_series(1, 50) g;
INSERT INTO item (id, name) VALUES (999, 'loose');
INSERT INTO sale SELECT g, 1 + g % 40, g % 7, CASE WHEN g % 2 = 0 THEN 'note ' || g END, DATE '2026-01-01' + g % 30 FROM generate_series(1, 200) g;
INSERT INTO part SELECT g, 41 + g % 5, 46 + g % 3 FROM generate_series(1, 20) g;
INSERT INTO kinds VALUES (1, 'x', true, 1.5, 2.25, '\x00ff', '12345678-1234-1234-1234-123456789012', '1 day 02:03', '04:05:06', '2026-02-03 04:05:06.789', '{"a": 1}', '10.0.0.1', '{1,NULL,3}', 'ab', B'101', 12.34, '[1,5)', '(1,2)'), (2, 'nulls', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
CREATE VIEW cheap AS SELECT id, name FROM item WHERE price < 10;
CREATE VIEW cheap_sales AS SELECT c.id, c.name AS item_name, sum(s.qty) AS total FROM cheap c JOIN sale s ON s.item_id = c.id GROUP BY c.id, c.name;
CREATE VIEW guarded WITH (security_barrier) AS SELECT id, name FROM item WHERE price < 10;
CREATE FUNCTION tax() RETURNS numeric LANGUAGE sql STABLE AS 'SELECT 1.2';
CREATE FUNCTION plus_tax(n numeric) RETURNS numeric LANGUAGE plpgsql AS 'BEGIN IF n < 0 THEN RAISE EXCEPTION ''negative''; END IF; RETURN round(n * tax(), 2); END';
CREATE FUNCTION shout(t text) RETURNS text LANGUAGE sql AS 'SELECT upper($1) || ''!''';
CREATE FUNCTION items() RETURNS bigint LANGUAGE sql STABLE AS 'SELECT count(*) FROM item';
CREATE FUNCTION items_hidden() RETURNS bigint LANGUAGE plpgsql AS 'DECLARE n bigint := items(); BEGIN RETURN n; END';
CREATE FUNCTION any_table(t text) RETURNS bigint LANGUAGE plpgsql AS 'DECLARE n bigint; BEGIN EXECUTE ''SELECT count(*) FROM '' || t INTO n; RETURN n; END';
CREATE TABLE job (id int PRIMARY KEY, queue text NOT NULL DEFAULT 'mail', state text NOT NULL DEFAULT 'new', priority int NOT NULL DEFAULT 0, item_id int CONSTRAINT job_item_fkey REFERENCES item (id), payload jsonb);
INSERT INTO job SELECT g, (ARRAY['mail','web'])[1 + g % 2], 'new', g % 3, 1 + g % 40, jsonb_build_object('n', g) FROM generate_series(1, 60) g;
CREATE TABLE slot (id int PRIMARY KEY, room int, hour int, who text, CONSTRAINT slot_key UNIQUE NULLS NOT DISTINCT (room, hour));
INSERT INTO slot VALUES (1, 1, NULL, 'a'), (2, 2, NULL, 'b'), (3, 3, NULL, 'c'), (4, NULL, NULL, 'd'), (5, 4, 5, 'e');
CREATE TABLE hen (id int PRIMARY KEY, from_egg int);
CREATE TABLE egg (id int PRIMARY KEY, hen_id int NOT NULL CONSTRAINT egg_hen_fkey REFERENCES hen (id));
INSERT INTO hen VALUES (1, 1), (2, 1), (3, NULL);
INSERT INTO egg VALUES (1, 3), (2, 1);
ALTER TABLE hen ADD CONSTRAINT hen_egg_fkey FOREIGN KEY (from_egg) REFERENCES egg (id);
CREATE VIEW dear AS SELECT id, name, price FROM item WHERE price > 60 WITH CASCADED CHECK OPTION;
