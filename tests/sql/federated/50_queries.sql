SELECT * FROM n ORDER BY id
SELECT id FROM n ORDER BY id LIMIT 2
SELECT id FROM n ORDER BY id LIMIT 2 OFFSET 1
SELECT id FROM n ORDER BY id OFFSET 4
SELECT id FROM n ORDER BY id LIMIT NULL
SELECT id FROM n ORDER BY id LIMIT ALL OFFSET NULL
SELECT id FROM n ORDER BY id LIMIT 0
SELECT id FROM n ORDER BY id LIMIT 1 + 1
SELECT id FROM n LIMIT -1
SELECT id FROM n OFFSET -1
! SELECT id FROM n ORDER BY id FETCH FIRST 2 ROWS ONLY
! SELECT id FROM n ORDER BY i FETCH FIRST 2 ROWS WITH TIES
SELECT DISTINCT i, b FROM n ORDER BY i, b
SELECT DISTINCT d FROM n ORDER BY d
SELECT DISTINCT r FROM n ORDER BY r
! SELECT DISTINCT d / 1 FROM n WHERE false
SELECT DISTINCT ON (b) b, id FROM n ORDER BY b, id
SELECT i, count(*) FROM n GROUP BY i ORDER BY i
SELECT i + 1 AS k, count(*) FROM n WHERE id < 5 GROUP BY i + 1 ORDER BY k
SELECT b, i, count(*) FROM n GROUP BY GROUPING SETS ((b), (i), ()) ORDER BY b, i, 3
SELECT b, i, sum(d), grouping(b), grouping(i) FROM n GROUP BY ROLLUP (b, i) ORDER BY b, i, 4, 5, 3
SELECT b, v, count(*), grouping(b, v) FROM n GROUP BY CUBE (b, v) ORDER BY 1, 2, 3, 4
SELECT count(*) FROM n WHERE false
SELECT sum(d) FROM n WHERE false
SELECT count(*) FROM n HAVING count(*) > 100
SELECT d, count(*) FROM n GROUP BY d HAVING count(*) > 1
SELECT n.id, m.k, m.s FROM n JOIN m ON m.n_id = n.id ORDER BY n.id, m.k
SELECT n.id, m.k FROM n LEFT JOIN m ON m.n_id = n.id ORDER BY n.id, m.k
SELECT n.id, m.k FROM n RIGHT JOIN m ON m.n_id = n.id ORDER BY n.id, m.k
SELECT n.id, m.k FROM n FULL JOIN m ON m.n_id = n.id ORDER BY n.id, m.k
SELECT n.id, m.k FROM n CROSS JOIN m WHERE n.id = 1 ORDER BY m.k
SELECT a.id, b.id FROM n a JOIN n b ON a.d = b.d AND a.id < b.id ORDER BY 1, 2
SELECT a.id, b.k FROM n a JOIN m b ON a.d = b.w ORDER BY 1, 2
SELECT a.id, b.k FROM n a JOIN m b ON a.d > b.w ORDER BY 1, 2
SELECT a.id FROM n a JOIN m b ON a.t = b.n_id
SELECT a.id, b.id FROM n a JOIN n b USING (i) ORDER BY 1, 2
SELECT a.id FROM n a JOIN (SELECT avg(w) AS w FROM m) b ON a.d > b.w ORDER BY 1
SELECT * FROM (SELECT id, d * 2 AS e FROM n) s WHERE e > 0 ORDER BY e, id
SELECT * FROM (SELECT b, avg(d) AS a FROM n GROUP BY b) s WHERE a > 1 ORDER BY a DESC
WITH s AS (SELECT id, i FROM n WHERE i > 0) SELECT count(*), max(i) FROM s
WITH RECURSIVE g(x) AS (SELECT 1::bigint UNION ALL SELECT x + 1 FROM g WHERE x < 5) SELECT sum(x), count(*) FROM g
SELECT id FROM n WHERE id < 3 UNION SELECT k FROM m ORDER BY 1
SELECT id FROM n UNION ALL SELECT k FROM m ORDER BY 1
SELECT id FROM n INTERSECT SELECT k FROM m ORDER BY 1
SELECT id FROM n EXCEPT SELECT n_id FROM m ORDER BY 1
SELECT i FROM n EXCEPT SELECT n_id FROM m ORDER BY 1
SELECT i FROM n INTERSECT SELECT i FROM n ORDER BY 1
! SELECT i FROM n EXCEPT ALL SELECT 7 ORDER BY 1
! SELECT d FROM n UNION SELECT w FROM m ORDER BY 1
SELECT d FROM n WHERE id < 4 UNION ALL SELECT w FROM m WHERE k < 3 ORDER BY 1
SELECT t FROM n UNION SELECT s FROM m ORDER BY 1
SELECT i FROM n UNION SELECT s FROM m
SELECT i FROM n UNION SELECT i, d FROM n
SELECT NULL UNION ALL SELECT 1 ORDER BY 1
SELECT 'a' UNION ALL SELECT 'b' ORDER BY 1
SELECT v FROM n UNION ALL SELECT 'x' ORDER BY 1
SELECT id, i FROM n ORDER BY i DESC, id
SELECT id, i FROM n ORDER BY i NULLS FIRST, id
SELECT id FROM n ORDER BY r, id
SELECT id FROM n ORDER BY b DESC, id
SELECT id FROM n ORDER BY lower(t), id
SELECT id AS x FROM n ORDER BY x DESC
SELECT id FROM n ORDER BY 2
SELECT id, i FROM n ORDER BY -i, id
SELECT id FROM n ORDER BY d / 7 DESC, id
SELECT max(id), min(id), count(*) FROM n
SELECT count(*), count(i), count(DISTINCT i), sum(1) FROM n
SELECT n_id, string_agg(s, ', ' ORDER BY k DESC) FROM m GROUP BY n_id ORDER BY n_id
SELECT n_id, array_agg(k ORDER BY k) FROM m GROUP BY n_id ORDER BY n_id
SELECT n_id, sum(w), avg(w), max(w) FROM m GROUP BY n_id ORDER BY n_id
SELECT s, sum(w) FROM m GROUP BY s ORDER BY sum(w) DESC
SELECT s, avg(w) FROM m GROUP BY s ORDER BY 2
SELECT id, rank() OVER (PARTITION BY b ORDER BY d DESC) FROM n ORDER BY id
SELECT id, rank() OVER (ORDER BY d / 3) FROM n ORDER BY id
SELECT b, rank() OVER (ORDER BY avg(d)) FROM n GROUP BY b ORDER BY b
SELECT * FROM (SELECT id, row_number() OVER (PARTITION BY b ORDER BY id) AS rn FROM n) s WHERE rn = 1 ORDER BY id
SELECT row_number() OVER () + 1 FROM n WHERE id = 1
SELECT id, count(*) OVER (), sum(d) OVER (PARTITION BY v) FROM n ORDER BY id
SELECT id, sum(d) OVER w, avg(d) OVER w FROM n WINDOW w AS (ORDER BY id) ORDER BY id
SELECT id, array_agg(id) OVER (ORDER BY id) FROM n ORDER BY id
VALUES (1, 'a'), (2, 'b')
VALUES (1, 1.5), (2, 2)
! SELECT DISTINCT (d / 3) FROM n
SELECT id FROM (SELECT id, i FROM n) a RIGHT JOIN (SELECT k + 3 AS id, w FROM m) b USING (id) ORDER BY id
SELECT count(id) FROM (SELECT id, i FROM n) a FULL JOIN (SELECT k + 3 AS id, w FROM m) b USING (id)
SELECT id FROM (SELECT id, i FROM n) a FULL JOIN (SELECT k + 3 AS id, w FROM m) b USING (id) WHERE id > 6 ORDER BY id
SELECT * FROM (SELECT id, i FROM n) a FULL JOIN (SELECT k AS id, w FROM m) b USING (id) ORDER BY id
SELECT * FROM (SELECT id, i FROM n) a RIGHT JOIN (SELECT k + 3 AS id, w FROM m) b USING (id) ORDER BY id
SELECT * FROM (SELECT i, id FROM n) a NATURAL JOIN (SELECT k AS id, w FROM m) b ORDER BY id
SELECT * FROM (SELECT i, id FROM n) a JOIN (SELECT w, k AS id FROM m) b USING (id) ORDER BY id
SELECT a.*, b.* FROM (SELECT i, id FROM n) a JOIN (SELECT w, k AS id FROM m) b USING (id) ORDER BY a.id
SELECT id FROM (SELECT id FROM n) a LEFT JOIN (SELECT k AS id FROM m) b USING (id) LEFT JOIN (SELECT k + 1 AS id FROM m) c USING (id) ORDER BY id
SELECT id, count(*), a.id, b.id FROM (SELECT id, b AS x FROM n) a FULL JOIN (SELECT k + 2 AS id, s FROM m) b USING (id) GROUP BY id, a.id, b.id HAVING id > 2 ORDER BY 1
SELECT s.id FROM (SELECT * FROM (SELECT id, i FROM n) a FULL JOIN (SELECT k + 3 AS id FROM m) b USING (id)) s ORDER BY s.id
WITH a AS (SELECT id, i FROM n), b AS (SELECT k + 3 AS id FROM m) SELECT * FROM a FULL JOIN b USING (id) ORDER BY id
SELECT id FROM (SELECT id FROM n) a JOIN (SELECT k AS id FROM m) b USING (id) WHERE id IN (SELECT n_id FROM m) ORDER BY id
SELECT * FROM (SELECT id FROM n) a NATURAL JOIN (SELECT k FROM m) b ORDER BY id, k
SELECT id FROM (SELECT id FROM n) a JOIN (SELECT k FROM m) b USING (id)
SELECT id FROM (SELECT id FROM n) a JOIN (SELECT k AS id FROM m) b USING (id) CROSS JOIN (SELECT k AS id FROM m) c
! SELECT id FROM (SELECT d AS id FROM n) a JOIN (SELECT k AS id FROM m) b USING (id)
! SELECT id FROM n CROSS JOIN ((SELECT k FROM m) x JOIN (SELECT k FROM m) y USING (k))
SELECT -i AS i FROM n WHERE id < 5 ORDER BY i + 1
SELECT -i AS i FROM n WHERE id < 4 ORDER BY i, i + 1
SELECT id AS q FROM n ORDER BY q + 1
SELECT id AS q FROM n ORDER BY -q
SELECT count(*) AS c FROM n HAVING c > 1
SELECT max(id) AS i, v FROM n GROUP BY v HAVING count(i) > 1 ORDER BY 1, 2
! SELECT * FROM (SELECT -id AS id FROM n ORDER BY id + 1 LIMIT 1) s
SELECT nth_value(i, 0) OVER (ORDER BY id) FROM n ORDER BY id
SELECT nth_value(i, -1) OVER (ORDER BY id) FROM n ORDER BY id
SELECT ntile(0) OVER (ORDER BY id) FROM n
SELECT nullif(1, 1.0), nullif('a', 'a'), nullif(i, r) FROM n WHERE id < 4 ORDER BY id
SELECT nullif(1, 2::bigint), nullif(1.5, 2), nullif(i, d), nullif(d, i), nullif(dt, ts) FROM n WHERE id < 4 ORDER BY id
VALUES (1), ('2')
VALUES (NULL), (2)
VALUES ('a'), (upper('b')), (NULL)
SELECT left('abc', -2147483648), right('abc', -2147483648)
SELECT chr(-1)
SELECT interval '2147483648 days'
! SELECT '1-2'::interval
! SELECT '1 2:03'::interval
SELECT DISTINCT v FROM n ORDER BY i
SELECT DISTINCT ON (v) v, id FROM n ORDER BY id
! SELECT id, (SELECT w FROM m WHERE m.n_id = n.id ORDER BY k DESC LIMIT 1) FROM n ORDER BY id
SELECT false, true AND true, CASE WHEN b THEN 1 ELSE 2::float8 END, CASE WHEN b THEN 1 ELSE i::float8 END, CASE WHEN b THEN 1 ELSE 2 END::int FROM n WHERE id = 1
SELECT count(*) FROM ONLY n
SELECT x.id FROM ONLY n x JOIN ONLY m ON x.id = m.k ORDER BY 1
SHOW TimeZone
SHOW DateStyle
SELECT * FROM generate_series(1, 3) g ORDER BY g
SELECT g + 1, generate_series FROM generate_series(3, 1, -1) g(g), generate_series(1, 2) ORDER BY 1, 2
SELECT x FROM generate_series(1, 3000000000, 1000000000) AS s(x) ORDER BY x
! SELECT id FROM n WHERE EXISTS (SELECT 1 FROM m WHERE m.n_id IN (SELECT x.n_id FROM m x WHERE x.k > n.id))
SELECT n.nosuch FROM n WHERE id IN (SELECT n_id FROM m)
