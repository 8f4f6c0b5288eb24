SELECT true AND NULL, false AND NULL, true OR NULL, NOT NULL::boolean
SELECT b AND i > 0, b OR i > 0, NOT b, b IS TRUE, b IS NOT TRUE, b IS FALSE, b IS UNKNOWN, b IS NULL FROM n ORDER BY id
SELECT id FROM n WHERE b ORDER BY id
SELECT id FROM n WHERE NOT b ORDER BY id
SELECT id FROM n WHERE b = true ORDER BY id
SELECT id FROM n WHERE b = 't' ORDER BY id
SELECT id FROM n WHERE b = 'maybe'
SELECT id FROM n WHERE b = 1
SELECT id FROM n WHERE i
SELECT id FROM n WHERE 'true' AND b ORDER BY id
SELECT i AND b FROM n
SELECT NOT i FROM n
SELECT id FROM n WHERE NULL
SELECT id FROM n WHERE i IS DISTINCT FROM 7 ORDER BY id
SELECT id FROM n WHERE i IS NOT DISTINCT FROM NULL ORDER BY id
SELECT id FROM n WHERE t IS DISTINCT FROM v ORDER BY id
SELECT id FROM n WHERE i NOT IN (SELECT n_id FROM m) ORDER BY id
SELECT id FROM n WHERE i NOT IN (SELECT n_id FROM m WHERE n_id IS NOT NULL) ORDER BY id
SELECT id FROM n WHERE id NOT IN (SELECT n_id FROM m WHERE n_id > 100) ORDER BY id
SELECT id FROM n WHERE i NOT IN (SELECT n_id FROM m WHERE n_id > 100) ORDER BY id
SELECT id FROM n WHERE id IN (SELECT n_id FROM m) ORDER BY id
! SELECT id, id IN (SELECT n_id FROM m) FROM n ORDER BY id
! SELECT id, id NOT IN (SELECT n_id FROM m) FROM n ORDER BY id
! SELECT id FROM n WHERE (id IN (SELECT n_id FROM m)) IS NULL ORDER BY id
SELECT id FROM n WHERE i IN (1.0, 7) ORDER BY id
SELECT id FROM n WHERE d IN (SELECT w FROM m) ORDER BY id
SELECT id FROM n WHERE t IN ('x', NULL) ORDER BY id
SELECT id FROM n WHERE t NOT IN ('', NULL) ORDER BY id
SELECT id FROM n WHERE t IN (1, 2)
SELECT id FROM n WHERE i IN ('7', '0') ORDER BY id
SELECT id FROM n WHERE i IN ('x')
SELECT id FROM n WHERE t IN (SELECT n_id FROM m)
SELECT id FROM n WHERE EXISTS (SELECT 1 FROM m WHERE m.n_id = n.id) ORDER BY id
SELECT id FROM n WHERE NOT EXISTS (SELECT 1 FROM m WHERE m.n_id = n.id AND m.w > 1) ORDER BY id
SELECT id FROM n WHERE id = ANY (SELECT n_id FROM m) ORDER BY id
SELECT id FROM n WHERE id IN (SELECT n_id FROM m) OR i = 0 ORDER BY id
! SELECT id FROM n WHERE id NOT IN (SELECT n_id FROM m) OR i = 0 ORDER BY id
! SELECT id FROM n WHERE d > ALL (SELECT w FROM m WHERE w < 5) ORDER BY id
SELECT id, (SELECT max(w) FROM m WHERE m.n_id = n.id) FROM n ORDER BY id
SELECT id, (SELECT sum(w) FROM m WHERE m.n_id = n.id) FROM n ORDER BY id
SELECT id, (SELECT count(*) FROM m WHERE m.n_id = n.id) FROM n ORDER BY id
SELECT id, (SELECT s FROM m WHERE m.n_id = n.id AND k > 1) FROM n ORDER BY id
SELECT (SELECT k FROM m)
! SELECT id FROM n WHERE n.id NOT IN (SELECT m.n_id FROM m WHERE m.k > n.id) ORDER BY id
! SELECT id FROM n WHERE n.i NOT IN (SELECT m.n_id FROM m WHERE m.k > n.id) ORDER BY id
! SELECT id FROM n WHERE NOT (n.id IN (SELECT m.n_id FROM m WHERE m.k > n.id)) ORDER BY id
SELECT id FROM n WHERE n.id IN (SELECT m.n_id FROM m WHERE m.k > n.id) ORDER BY id
SELECT id FROM n WHERE NOT EXISTS (SELECT 1 FROM m WHERE m.n_id = n.id AND m.k > n.id) ORDER BY id
! SELECT id FROM n WHERE EXISTS (SELECT count(*) FROM m WHERE m.n_id = n.id) ORDER BY id
! SELECT id FROM n WHERE EXISTS (SELECT 1 FROM m WHERE m.n_id = n.id OFFSET 1) ORDER BY id
! SELECT id FROM n WHERE i IN (SELECT count(*) FROM m WHERE m.n_id = n.id) ORDER BY id
! SELECT id, (SELECT max(c) FROM (SELECT count(*) AS c FROM m WHERE m.n_id = n.id) s) FROM n ORDER BY id
SELECT id FROM n WHERE EXISTS (SELECT 1 FROM m WHERE m.n_id = n.id LIMIT 1) ORDER BY id
SELECT id FROM n WHERE EXISTS (SELECT count(*) FROM m) ORDER BY id
SELECT CASE WHEN i = 0 THEN 0 ELSE 10 / i END FROM n WHERE id < 5 ORDER BY id
SELECT CASE WHEN true THEN 1 ELSE 1 / 0 END
SELECT coalesce(1, 1 / 0)
SELECT id FROM n WHERE i <> 0 AND 10 / i > 0 ORDER BY id
SELECT CASE WHEN NULL THEN 1 ELSE 2 END
SELECT CASE WHEN 1 THEN 2 END
SELECT CASE 1 WHEN 'x' THEN 1 END
SELECT CASE WHEN b THEN 'a' END, CASE WHEN b THEN NULL ELSE 'b' END, CASE WHEN b THEN NULL END FROM n ORDER BY id
SELECT coalesce(NULL, NULL, 1), coalesce(NULL, 'x'), coalesce(NULL, 1.5)
SELECT coalesce(i, t) FROM n
SELECT coalesce(i, 'x') FROM n
SELECT coalesce(i, '5') FROM n ORDER BY id
SELECT NULL, NULL::int, NULL + 1, NULL || 'a', NULL = NULL
SELECT NULL IS NULL, 1 IS NOT NULL
SELECT 't'::boolean, 'no'::boolean, 'of'::boolean, ' TRUE '::boolean, '1'::boolean
SELECT 'x'::boolean
SELECT b::text, b::int FROM n ORDER BY id
SELECT true = 't', true > false, b > false FROM n ORDER BY id
SELECT max(b) FROM n
SELECT bool_and(b), bool_or(b), every(b) FROM n
SELECT bool_and(i) FROM n
SELECT DISTINCT b FROM n ORDER BY b
SELECT CAST(i AS text), CAST(1.5 AS int), CAST('5' AS bigint) FROM n WHERE id = 1
SELECT i::date FROM n
SELECT dt::int FROM n
SELECT b::date FROM n
SELECT x::int FROM n
SELECT 1::nosuchtype
SELECT nosuch FROM n
SELECT n.nosuch FROM n
SELECT * FROM nosuch
SELECT id FROM n, m WHERE k = 1 AND n.id = 1
SELECT k FROM n, n
SELECT t FROM n GROUP BY v
SELECT sum(t) FROM n
SELECT avg(b) FROM n
SELECT sum(sum(i)) FROM n
SELECT i FROM n WHERE sum(i) > 1
! SELECT (1, 2) = (1, 2)
! SELECT id FROM n WHERE (id, i) = (1, 7)
! SELECT id FROM n WHERE (id, i) IN ((1, 7), (2, -7)) ORDER BY id
SELECT id FROM n WHERE id = ANY (ARRAY[1, 2]) ORDER BY id
SELECT ARRAY[1, 2, 3], ARRAY['a', 'b']
SELECT array_agg(id ORDER BY id) FROM n
SELECT 1 < 2 AND 2 < 3
SELECT '10' < '9', 10 < 9
SELECT 'a' = 'a '
SELECT i = t FROM n
SELECT dt = t FROM n
SELECT b = t FROM n
SELECT r = 'NaN' FROM n ORDER BY id
SELECT -t FROM n
SELECT +i, +d FROM n WHERE id = 1
! SELECT id FROM n WHERE (i > 1) IS DISTINCT FROM true AND id = 1
SELECT id FROM n WHERE ((i > 1) IS DISTINCT FROM true) AND id = 1
SELECT id FROM n WHERE i IS NOT DISTINCT FROM 7 ORDER BY id
! SELECT i ISNULL FROM n
! SELECT X'1F'
! SELECT count(*) FROM n TABLESAMPLE SYSTEM (0)
! SELECT id FROM n WHERE EXISTS (SELECT * FROM m a JOIN m b ON a.k = b.n_id WHERE b.k < n.id)
SELECT id FROM n WHERE EXISTS (SELECT 1 FROM m a JOIN m b ON a.k = b.n_id WHERE b.k < n.id) ORDER BY id
SELECT id FROM n WHERE i = 0 OR 10 / i > 0 ORDER BY id
SELECT i <> 0 AND 10 / i > 0 FROM n WHERE id < 4 ORDER BY id
SELECT i = 0 OR 10 / i > 0 FROM n WHERE id < 4 ORDER BY id
SELECT NOT (i <> 0 AND 10 / i > 0) FROM n WHERE id < 5 ORDER BY id
SELECT i = 0 OR (b AND 10 / i > 0) FROM n WHERE id < 5 ORDER BY id
SELECT id, b AND 10 / i > 0 FROM n WHERE i <> 0 ORDER BY id
SELECT id FROM n WHERE CASE WHEN i = 0 THEN true ELSE 10 / i > 0 END ORDER BY id
SELECT id FROM n WHERE CASE WHEN i = 0 THEN 'a' WHEN 10 / i > 0 THEN 'b' ELSE 'c' END = 'b' ORDER BY id
SELECT id, coalesce(i = 0 AND NULL, 10 / id > 0) FROM n ORDER BY id
SELECT id FROM n WHERE coalesce(nullif(i = 0, false), 10 / i > 0) ORDER BY id
SELECT id FROM n WHERE t ~ '^[0-9]+$' AND t::int > 5 ORDER BY id
SELECT id FROM n WHERE t::int > 5 AND t ~ '^[0-9]+$' ORDER BY id
SELECT id FROM n WHERE 10 / i > 0 AND i <> 0 ORDER BY id
SELECT id FROM n WHERE i <> 0 AND 10 / i > 0 AND 70 / (10 / i) > 0 ORDER BY id
SELECT count(*) FROM n LEFT JOIN m ON n.i <> 0 AND 10 / n.i = m.k
SELECT n.id, m.k FROM n JOIN m ON n.i <> 0 AND 10 / n.i < m.k ORDER BY 1, 2
SELECT count(*) FILTER (WHERE i <> 0 AND 10 / i > 0) FROM n
SELECT b, count(*) FROM n WHERE id < 5 GROUP BY b HAVING sum(i) <> 0 AND 10 / sum(i) > 0 ORDER BY b
SELECT id FROM n WHERE id IN (0, 1 / nullif(i, 0), 10 / i) AND i <> 0 ORDER BY id
SELECT id FROM n WHERE i = 0 OR id IN (id, 10 / i) ORDER BY id
SELECT id FROM n WHERE id > 100 AND dt = 'x'
SELECT 'axyc' LIKE 'aXy%' ESCAPE '', 'a\bc' LIKE 'a\%' ESCAPE '', 'a\bc' NOT LIKE 'a\%' ESCAPE ''
SELECT 'abc' LIKE 'abc' ESCAPE 'xy'
SELECT 'ab%' LIKE 'abé%' ESCAPE 'é', 'AB%' ILIKE 'abé%' ESCAPE 'é'
SELECT id FROM n WHERE 'true' ORDER BY id
SELECT q1.i, q2.i FROM n q1 RIGHT JOIN (SELECT id, i FROM n UNION ALL SELECT id, i FROM n) q2 ON q1.id = q2.id WHERE coalesce(q1.i, 0) > 1
SELECT q.id, s.k FROM m s RIGHT JOIN (SELECT id FROM n UNION ALL SELECT id FROM n) q ON q.id = s.k WHERE s.k IS NULL ORDER BY 1
SELECT s.n_id, q.n_id FROM m s RIGHT JOIN (SELECT n_id, count(*) AS c FROM m GROUP BY n_id) q ON q.n_id = s.k WHERE s.n_id IS NULL ORDER BY 1, 2
SELECT true::text || 'x', false || 'y', 1 || 'z'
! SELECT n FROM n
! SELECT substring('hello' from '.l')
SELECT substring('hello' from 2 for 3), substr('hello', 2), substring('hello', 2, 1)
