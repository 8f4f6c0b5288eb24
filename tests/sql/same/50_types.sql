-- 95 types
CREATE TYPE tone AS ENUM ('low', 'mid', 'high')
CREATE TYPE tone AS ENUM ('x')
CREATE TYPE item AS ENUM ('x')
CREATE TYPE nil AS ENUM ()
SELECT enum_range(NULL::nil)::text, NULL::nil
CREATE TABLE tune (id int PRIMARY KEY, t tone NOT NULL DEFAULT 'mid', ts tone[], CONSTRAINT tune_check CHECK (t <> 'low'::tone OR id > 1))
CREATE TABLE tone (id int PRIMARY KEY)
CREATE INDEX tune_t ON tune (t) WHERE t > 'low'::tone
INSERT INTO tune VALUES (1, 'high', '{low,mid}'), (2, DEFAULT, NULL), (3, 'low'::tone, ARRAY['high']::tone[]) RETURNING id, t, ts::text
INSERT INTO tune VALUES (0, 'low')
INSERT INTO tune VALUES (4, 'loud')
INSERT INTO tune VALUES (4, 7)
INSERT INTO tune VALUES (4, NULL)
INSERT INTO tune VALUES (1, 'mid') ON CONFLICT (id) DO UPDATE SET t = 'low'::tone
INSERT INTO tune VALUES (1, 'mid') ON CONFLICT (id) DO UPDATE SET t = excluded.t, ts = ts || 'high'::tone RETURNING id, t, ts::text
SELECT id, t, ts::text[] FROM tune ORDER BY t DESC, id
SELECT id, t::text, ts::text[] FROM tune WHERE t = 'low'::tone OR 'high'::public.tone = ANY (ts) ORDER BY id
SELECT 'loud'::tone
SELECT 'mid'::nowhere.tone
SELECT CAST('mid' AS tone) < tone 'high', ARRAY['mid', 'low']::tone[]::text, NULL::tone, '{mid}'::tone[]::text
SELECT t + 1 FROM tune
SELECT t || 'x', length(t::text) FROM tune ORDER BY id
SELECT t = 'mid', count(*) FROM tune GROUP BY t = 'mid' ORDER BY 1
SELECT max(t), min(t), array_agg(t ORDER BY t)::text, enum_range(min(t), max(t))::text FROM tune
SELECT 5::tone
SELECT name::tone FROM item WHERE id = 1
SELECT x.t, x.n FROM json_to_recordset('[{"t": "mid", "n": 1}, {"t": "low"}]') AS x (t tone, n int) ORDER BY 1
SELECT r.t, i.name FROM tune r JOIN item i ON i.id = r.id WHERE r.t >= 'mid'::tone ORDER BY i.id
WITH v (t) AS (VALUES ('low'::tone), ('high')) SELECT * FROM v WHERE t > 'low'::tone
UPDATE tune SET t = 'mid'::tone, ts = '{low}' WHERE t = 'low'::tone RETURNING id, t, ts::text
UPDATE tune SET t = id WHERE id = 2
DELETE FROM tune WHERE t = ANY ('{high}'::tone[]) RETURNING id
ALTER TABLE part ADD COLUMN p tone DEFAULT 'high'
SELECT p, count(*) FROM part GROUP BY p
UPDATE part SET p = 'low'::tone WHERE id < 4 RETURNING id, p
ALTER TABLE part ALTER p TYPE text USING upper(p::text)
ALTER TABLE part ALTER p DROP DEFAULT
ALTER TABLE part ALTER p TYPE tone USING lower(p)::tone
ALTER TABLE part ALTER p TYPE tone[] USING ARRAY[p]
SELECT p::text, count(*) FROM part GROUP BY p ORDER BY 1
CREATE VIEW tuned AS SELECT id, t, 'high'::tone AS top FROM tune WHERE t < 'high'::tone
SELECT * FROM tuned ORDER BY id
UPDATE tuned SET t = 'low'::tone WHERE id = 2 RETURNING id, t
CREATE TEMP TABLE held AS SELECT id, t, 'low'::tone AS l FROM tune
SELECT * FROM held WHERE t > l ORDER BY id
DROP TABLE held
CREATE TEMP TABLE held (t tone DEFAULT 'mid'::tone)
INSERT INTO held VALUES (DEFAULT), ('low') RETURNING t
DROP TABLE held
PREPARE of_tone (tone) AS SELECT id FROM tune WHERE t = $1 ORDER BY id
EXECUTE of_tone ('low')
EXECUTE of_tone ('low'::tone)
EXECUTE of_tone ('loud')
DEALLOCATE of_tone
SELECT pg_typeof(t)::text, 'tone'::regtype::text, format_type('tone[]'::regtype, NULL) FROM tune WHERE id = 2
SELECT enumlabel, enumsortorder FROM pg_enum WHERE enumtypid = 'tone'::regtype ORDER BY 2
SELECT udt_schema, udt_name, data_type, column_default FROM information_schema.columns WHERE table_name = 'tune' ORDER BY ordinal_position
COPY (SELECT id, t, ts FROM tune ORDER BY id) TO STDOUT
BEGIN
CREATE TYPE hue AS ENUM ('red')
SELECT 'red'::hue
SAVEPOINT a
DROP TYPE hue
SELECT 'red'::hue
ROLLBACK TO a
SELECT 'red'::hue
ROLLBACK
SELECT 'red'::hue
DROP VIEW tuned
ALTER TABLE part DROP COLUMN p
DROP TYPE tone
DROP TABLE tune
DROP TYPE tone
DROP TYPE tone
DROP TYPE IF EXISTS tone
DROP TYPE nil
