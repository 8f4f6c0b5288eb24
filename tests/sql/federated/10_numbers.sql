SELECT 1 + 1
SELECT 2147483647 + 1
SELECT 2147483648 + 1
SELECT 9223372036854775807 + 1
SELECT -2147483648
SELECT 7 / 2, -7 / 2, 7 % -2, -7 % 2
SELECT 1 / 0
SELECT 1 % 0
SELECT 1.0 / 0
SELECT 1::float8 / 0
SELECT 3000000000
SELECT 2147483647 * 2
SELECT 100000 * 100000
SELECT 100000::bigint * 100000
SELECT 32767::smallint + 1::smallint
SELECT 1::smallint + 1
SELECT id, i + 1, i - 1, i * 2, i / 2, i % 3 FROM n WHERE i < 100 ORDER BY id
SELECT id, -i FROM n ORDER BY id
SELECT i + 1 FROM n WHERE id = 5
SELECT i * 2 FROM n WHERE id = 5
SELECT abs(i), sign(i) FROM n WHERE id < 4 ORDER BY id
SELECT (-9223372036854775807 - 1) / -1
SELECT (-9223372036854775807 - 1) % -1
SELECT 1.5 + 1, 1.50 * 2.0, 1.5 - 2, 10.0 / 3, 1 / 3.0, 7.5 % 2
SELECT 1.0 / 3, 2.0 / 3, 100.00 / 7, 1e10, 1.5e-3
SELECT id, d + 1, d * 2, d / 3, d - 0.001, d % 2 FROM n ORDER BY id
SELECT id, d * d, d * 1.5, d / 2.5 FROM n ORDER BY id
SELECT id, d + r, d * r FROM n WHERE id < 4 ORDER BY id
SELECT id, i / d FROM n WHERE d <> 0 ORDER BY id
SELECT id, big + 1, big * 2, big / 3 FROM n ORDER BY id
SELECT id, big * big FROM n ORDER BY id
SELECT big * big * big FROM n WHERE id = 5
SELECT d / 0 FROM n WHERE id = 1
SELECT 12345678901234567890, 0.000000000000000000000000000001
SELECT 99999999999999999999999999999999999999 + 1
SELECT 99999999999999999999999999999999999999 * 99999999999999999999999999999999999999
SELECT r + 1, r * 2, r / 3, r - 0.1 FROM n WHERE id < 4 ORDER BY id
SELECT 0.1::float8 + 0.2::float8
SELECT r * 1e10 FROM n WHERE id = 5
SELECT r * r FROM n WHERE id = 5
SELECT '1e-300'::float8 * '1e-300'::float8
! SELECT 1e-300::float8
SELECT 'NaN'::float8 = 'NaN'::float8, 'NaN'::float8 > '1e300'::float8, 'NaN'::float8 < 1::float8
SELECT ('Infinity'::float8 - 'Infinity'::float8)::text
SELECT x FROM (VALUES ('NaN'::float8), (1::float8), ('Infinity'::float8), ('-Infinity'::float8), (NULL)) AS s(x) ORDER BY x
SELECT x, count(*) FROM (VALUES ('NaN'::float8), ('NaN'::float8), (1::float8)) AS s(x) GROUP BY x ORDER BY x
SELECT 'Infinity'::float8 - 'Infinity'::float8 = 'NaN'::float8
SELECT 0::float8 = -0::float8
SELECT count(*) FROM n WHERE -(r - r) = 0
SELECT round(2.5), round(-2.5), round(3.5), round(2.567, 2), round(1234.5, -2), round(2.5::float8), round(3.5::float8), round(-2.5::float8)
SELECT round(7), round(i) FROM n WHERE id = 1
SELECT id, round(d), round(d, 1), round(d, 5), round(d / 3, 2) FROM n ORDER BY id
SELECT trunc(2.567, 2), trunc(-2.567), trunc(2.9::float8), trunc(1234.5, -2)
SELECT ceil(1.2), ceil(-1.2), floor(1.2), floor(-1.2), ceiling(1.5::float8), floor(-1.5::float8)
SELECT ceil(5), floor(i) FROM n WHERE id = 1
SELECT abs(-1.50), abs(-2), abs(-1.5::float8), sign(-1.5), sign(2.0::float8), sign(0)
SELECT mod(7, 3), mod(-7, 3), mod(7.5, 2), div(7, 2), div(-7.5, 2)
SELECT mod(7, 0)
SELECT mod(i, 4) FROM n WHERE id < 4 ORDER BY id
SELECT sqrt(2), sqrt(2::float8), sqrt(16)
SELECT sqrt(-1)
! SELECT power(2, 3)
! SELECT exp(1)
SELECT sum(i) FROM n WHERE id < 5
SELECT sum(i) FROM n
SELECT sum(i), avg(i), min(i), max(i), count(i) FROM n
SELECT sum(d), avg(d), min(d), max(d) FROM n
SELECT sum(r), avg(r), min(r), max(r) FROM n WHERE id <> 5
SELECT sum(big), avg(big) FROM n
SELECT sum(d * 1.5), avg(d * 2) FROM n
SELECT sum(d / 3), max(d / 3), min(d / 7) FROM n
SELECT sum(i) FROM n WHERE id > 100
SELECT avg(i) FROM n WHERE id > 100
SELECT sum(1), avg(1), sum(1.5)
SELECT sum(1::smallint), avg(2::smallint)
SELECT sum(x), avg(x) FROM (VALUES (2147483647), (1)) AS s(x)
SELECT sum(DISTINCT i), count(DISTINCT i), avg(DISTINCT i) FROM n WHERE id <> 5
SELECT sum(DISTINCT d), avg(DISTINCT d), count(DISTINCT d) FROM n
SELECT stddev(i), variance(i), stddev_pop(i), var_pop(i) FROM n WHERE id <> 5
SELECT stddev(d), variance(d), stddev_pop(d), var_pop(d) FROM n
SELECT stddev(r), variance(r), stddev_pop(r), var_pop(r) FROM n WHERE id <> 5
SELECT stddev(i), var_pop(i) FROM n WHERE id = 1
SELECT b, sum(i), avg(d), count(*) FROM n WHERE id <> 5 GROUP BY b ORDER BY b
SELECT b, avg(d) FROM n GROUP BY b ORDER BY avg(d)
SELECT b, avg(d) FROM n GROUP BY b HAVING avg(d) > 5 ORDER BY 1
SELECT round(avg(d), 2) AS a, count(*) FROM n GROUP BY b ORDER BY a
SELECT sum(d) FILTER (WHERE b) FROM n
SELECT sum(r::real), avg(r::real) FROM n WHERE id IN (1, 2, 3)
SELECT bit_and(i), bit_or(i) FROM n WHERE id IN (1, 2)
SELECT 5 & 3, 5 | 3
! SELECT 1 << 3
SELECT to_hex(255), to_hex(i) FROM n WHERE id = 2
SELECT id FROM n WHERE d > 10 ORDER BY id
SELECT id FROM n WHERE d = 10.5 ORDER BY id
SELECT id FROM n WHERE d = 10.505 ORDER BY id
SELECT id FROM n WHERE d > 3.333 ORDER BY id
SELECT id FROM n WHERE d / 3 > 3 ORDER BY id
SELECT id FROM n WHERE i = 7.0 ORDER BY id
SELECT id FROM n WHERE i > 6.5 ORDER BY id
SELECT id FROM n WHERE r = 0.1 ORDER BY id
SELECT id FROM n WHERE r > d ORDER BY id
SELECT id FROM n WHERE i IN (7, 0) ORDER BY id
SELECT id FROM n WHERE d IN (10.5, 0, -3.33) ORDER BY id
SELECT id FROM n WHERE i NOT IN (7, NULL) ORDER BY id
SELECT id FROM n WHERE i BETWEEN -7 AND 7 ORDER BY id
SELECT id FROM n WHERE d NOT BETWEEN 0 AND 11 ORDER BY id
SELECT id FROM n ORDER BY d / 3, id
SELECT id FROM n ORDER BY d DESC NULLS LAST, id DESC
SELECT id FROM n ORDER BY i NULLS FIRST, id
SELECT greatest(1, 2.5, NULL), least(3, 2), greatest('a', 'b'), least(1.5, 1)
SELECT greatest(i, 5), least(d, 1) FROM n ORDER BY id
SELECT coalesce(d, 0) FROM n ORDER BY id
SELECT sum(coalesce(d, 0)) FROM n
SELECT coalesce(i, 1), coalesce(d, 1.5), coalesce(r, 1) FROM n ORDER BY id
SELECT nullif(i, 7), nullif(d, 0), nullif(1, 1) FROM n ORDER BY id
SELECT CASE WHEN b THEN 1 ELSE 2.5 END FROM n ORDER BY id
SELECT CASE WHEN b THEN 1.5 ELSE 2.25 END FROM n ORDER BY id
SELECT CASE WHEN b THEN i ELSE 0 END FROM n ORDER BY id
SELECT CASE WHEN b THEN 1 ELSE '2' END FROM n ORDER BY id
SELECT CASE WHEN b THEN 1 ELSE 'x' END FROM n ORDER BY id
SELECT CASE i WHEN 7 THEN 'seven' WHEN 0 THEN 'zero' END FROM n ORDER BY id
SELECT CASE WHEN b THEN 1 ELSE t END FROM n
SELECT * FROM (VALUES (1), (2.5), (NULL)) AS s(x) ORDER BY x
SELECT * FROM (VALUES (1.5), (2.25)) AS s(x) ORDER BY x
SELECT 1 UNION ALL SELECT 2.5 ORDER BY 1
SELECT 1.5 UNION ALL SELECT 2.25 ORDER BY 1
SELECT i FROM n WHERE id = 1 UNION ALL SELECT 1.25 ORDER BY 1
SELECT 1::bigint UNION SELECT 1
SELECT '5' + 1
SELECT t + 1 FROM n
SELECT b + 1 FROM n
SELECT 1 = 'x'
SELECT t = 1 FROM n
SELECT i = '7' FROM n ORDER BY id
SELECT i::int FROM n WHERE id = 5
SELECT i::int, i::smallint, i::numeric, i::float8, i::real, i::text FROM n WHERE id < 4 ORDER BY id
SELECT 2.5::int, 3.5::int, -2.5::int, 2.5::float8::int, 3.5::float8::int, -2.5::float8::int
SELECT 'NaN'::float8::int
SELECT 1e20::float8::bigint
SELECT 0.1::float8::numeric, (0.1::float8 + 0.2::float8)::numeric, 1e15::float8::numeric, 123456789.123456789::float8::numeric, 0.1::real::numeric
SELECT 1.5::numeric(4,2), 1.555::numeric(4,2), 1::numeric(3,1), '1.50'::numeric, 1.50::numeric
SELECT 123.4::numeric(4,2)
SELECT 1.5::real, 1e40::float8::real
SELECT 1.1::float8, 1.1::real, 1e-5::float8, 100000000000000000000::float8
SELECT d::text, d::float8, d::int, d::numeric(10,1) FROM n WHERE id < 4 ORDER BY id
SELECT '12'::int, ' 12 '::int, '+5'::int
SELECT '1.5'::int
SELECT '99999999999'::int
SELECT 'abc'::int
SELECT ''::int
SELECT t::int FROM n WHERE id = 1
SELECT '1e5'::float8, 'inf'::float8, '1e400'::float8
SELECT '1.5'::numeric + 1, 'x'::numeric
SELECT true::int, 1::boolean, 0::boolean
SELECT i::boolean FROM n
SELECT pi()
SELECT +5, - -5, 2 + 3 * 4 - 1
SELECT 1 AS a, 2 AS b, 1 + 2 AS c
SELECT row_number() OVER (ORDER BY id), rank() OVER (ORDER BY d), dense_rank() OVER (ORDER BY d) FROM n ORDER BY id
SELECT ntile(2) OVER (ORDER BY id), percent_rank() OVER (ORDER BY id), cume_dist() OVER (ORDER BY id) FROM n ORDER BY id
SELECT id, sum(i) OVER (ORDER BY id) FROM n WHERE id < 5 ORDER BY id
SELECT id, sum(d) OVER (ORDER BY id ROWS BETWEEN 1 PRECEDING AND CURRENT ROW), avg(d) OVER (PARTITION BY b) FROM n ORDER BY id
SELECT id, lag(d) OVER (ORDER BY id), lead(i, 2) OVER (ORDER BY id), lag(i, 1, 0) OVER (ORDER BY id) FROM n ORDER BY id
SELECT id, first_value(d) OVER (ORDER BY id), last_value(d) OVER (ORDER BY id), nth_value(d, 2) OVER (ORDER BY id) FROM n ORDER BY id
SELECT id, count(*) OVER (ORDER BY i RANGE BETWEEN 7 PRECEDING AND CURRENT ROW) FROM n WHERE i IS NOT NULL AND id <> 5 ORDER BY id
SELECT id, sum(i) OVER (ORDER BY id GROUPS BETWEEN 1 PRECEDING AND 1 FOLLOWING) FROM n WHERE id < 5 ORDER BY id
SELECT id, max(d) OVER (ORDER BY id ROWS BETWEEN 1 PRECEDING AND 1 FOLLOWING) FROM n ORDER BY id
SELECT avg(r) FROM n
SELECT sum(r) FROM n
SELECT avg(CASE WHEN b THEN r ELSE r END), count(big) FROM n
