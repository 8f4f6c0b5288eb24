SELECT length('Ünï'), char_length('abc'), octet_length('Ünï'), bit_length('a'), length(x) FROM n WHERE id = 1
SELECT upper('straße ünï'), lower('ÀÉÎ'), initcap('hello wORLD foo-bar'), reverse('añb')
SELECT id, upper(t), lower(t), length(t), initcap(t) FROM n ORDER BY id
SELECT substring('hello' from 2 for 3), substring('hello' from -1 for 3), substring('hello', 0), substr('hello', 2), substr('hello', 4, 10)
SELECT substring('hello' from 2 for -1)
SELECT substring(t from 2 for 3) FROM n ORDER BY id
SELECT left('hello', 2), left('hello', -2), right('hello', 2), right('hello', -2), left('hello', 0), right('hello', 99), left('a', -5)
SELECT lpad('hi', 5), lpad('hi', 5, 'xy'), rpad('hi', 5, 'xy'), lpad('hello', 2), lpad('hi', -1), rpad('hi', 5, '')
SELECT trim('  x '), ltrim('  x '), rtrim('  x '), trim(both 'x' from 'xxaxx'), trim(leading 'x' from 'xxaxx'), btrim('xyax', 'xy')
SELECT id, trim(t) FROM n ORDER BY id
SELECT position('l' in 'hello'), position('z' in 'hello'), strpos('hello', 'lo'), strpos('hello', ''), position('ü' in 'xü')
SELECT replace('aXbX', 'X', 'yy'), replace('a', '', 'b'), translate('12345', '143', 'ax'), translate('abc', 'abc', 'x')
SELECT split_part('a,b,c', ',', 2), split_part('a,b,c', ',', -1), split_part('a,b,c', ',', 9), split_part('abc', '', 1), split_part('', ',', 1)
SELECT split_part('a', ',', 0)
SELECT split_part(t, ',', 2) FROM n ORDER BY id
SELECT repeat('ab', 3), repeat('ab', 0), repeat('ab', -1)
SELECT ascii('a'), ascii('€'), ascii(''), chr(65), chr(8364)
SELECT chr(0)
SELECT starts_with('hello', 'he'), starts_with('hello', 'x')
SELECT overlay('hello' placing 'XX' from 2 for 3), overlay('hello' placing 'XX' from 2)
SELECT concat('a', NULL, 1, 2.50), concat_ws(',', 'a', NULL, 'b', 3), concat_ws(NULL, 'a')
SELECT concat(t, '-', i, '-', d, '-', dt) FROM n ORDER BY id
SELECT 'a' || 'b', 'a' || NULL, 'a' || 1, 1 || 'a', 'x' || 1.50
SELECT t || v, t || i, v || dt, t || d FROM n ORDER BY id
SELECT 1 || 2
SELECT 'abc' LIKE 'a%', 'abc' LIKE 'a_c', 'abc' LIKE 'A%', 'abc' ILIKE 'A%', 'a%c' LIKE 'a\%c', 'abc' NOT LIKE 'x%'
SELECT 'a%c' LIKE 'aX%c' ESCAPE 'X', 'abc' LIKE '', '' LIKE '%', '' LIKE '_'
SELECT 'axyc' ILIKE 'AX%C' ESCAPE 'X', 'a%c' ILIKE 'AX%C' ESCAPE 'X', 'ABC' ILIKE 'a_C', 'aBc' ILIKE 'A%c'
SELECT 'abc' LIKE 'abc\'
SELECT id FROM n WHERE t LIKE '%o%' ORDER BY id
SELECT id FROM n WHERE v LIKE 'x\%y\_z' ORDER BY id
SELECT id FROM n WHERE v ILIKE 'ABC' ORDER BY id
SELECT id FROM n WHERE t LIKE '%ï%ö%' ORDER BY id
SELECT i LIKE '7%' FROM n
SELECT 'abc' ~ '^a', 'abc' ~* 'B', 'abc' !~ 'x'
! SELECT 'abc' ~ '\w+'
! SELECT 'abc' SIMILAR TO 'a%'
SELECT id FROM n WHERE t = '' ORDER BY id
SELECT id FROM n WHERE t < 'a' ORDER BY id
SELECT id FROM n WHERE v = 'abc' ORDER BY id
SELECT id FROM n WHERE v > t ORDER BY id
SELECT t FROM n ORDER BY t
SELECT v FROM n ORDER BY v DESC, id
SELECT 'a' < 'B', 'a' < 'b', 'Z' < 'a', 'é' > 'z'
SELECT min(t), max(t), min(v), max(v) FROM n
SELECT string_agg(v, ',' ORDER BY id) FROM n
SELECT string_agg(t, '' ORDER BY id DESC) FROM n
SELECT count(DISTINCT v), count(v), count(*) FROM n
SELECT DISTINCT v FROM n ORDER BY v
SELECT v, count(*) FROM n GROUP BY v ORDER BY v
SELECT 'abcdef'::varchar(3), 'abc'::text, v::text, v::varchar(2) FROM n WHERE id = 1
! SELECT 'abc'::char(5)
SELECT 'x' AS a, 'y'::text AS b, v FROM n WHERE id = 1
SELECT coalesce(v, 'none'), coalesce(t, v) FROM n ORDER BY id
SELECT CASE WHEN b THEN v ELSE 'x' END, CASE WHEN b THEN t ELSE v END FROM n ORDER BY id
SELECT nullif(v, 'abc') FROM n ORDER BY id
SELECT greatest(v, 'b'), least(t, v) FROM n ORDER BY id
SELECT E'a\nb', 'it''s'
! SELECT U&'\0041'
! SELECT trim(trailing from 'a  ')
SELECT quote_ident('A b'), quote_literal('it''s')
SELECT upper(5)
SELECT length(5)
SELECT nosuch('a')
! SELECT to_char(1, '999')
! SELECT to_char(dt, 'YYYY') FROM n
! SELECT md5('a')
! SELECT format('%s', 1)
! SELECT regexp_replace('abc', 'b', 'x')
! SELECT encode(x, 'hex') FROM n
! SELECT initcap(t) COLLATE "de_DE" FROM n
SELECT x, length(x), x = '\x00ff' FROM n ORDER BY id
SELECT id FROM n WHERE x > '\x00' ORDER BY id
SELECT id FROM n WHERE x = '\x' ORDER BY id
SELECT '\x0102'::bytea, 'abc'::bytea
SELECT '\xgg'::bytea
SELECT DISTINCT x FROM n ORDER BY x
SELECT u FROM n ORDER BY u, id
SELECT id FROM n WHERE u = 'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11' ORDER BY id
SELECT id FROM n WHERE u = '{a0eebc999c0b4ef8bb6d6bb9bd380a11}' ORDER BY id
SELECT id FROM n WHERE u > '50000000-0000-0000-0000-000000000000' ORDER BY id
SELECT id FROM n WHERE u = 'nonsense'
SELECT id FROM n WHERE u IN ('b0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '00000000-0000-0000-0000-000000000000') ORDER BY id
SELECT u, count(*) FROM n GROUP BY u ORDER BY u
SELECT count(DISTINCT u) FROM n
SELECT u::text, coalesce(u, '11111111-1111-1111-1111-111111111111') FROM n ORDER BY id
SELECT 'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'::uuid, 'x'::uuid
SELECT 'A0EEBC999C0B4EF8BB6D6BB9BD380A11'::uuid
SELECT max(u) FROM n
SELECT u = t FROM n
SELECT a.id, b.id FROM n a JOIN n b ON a.u = b.u ORDER BY 1, 2
SELECT j FROM n ORDER BY id
SELECT '{"a":  1}'::json, j::text FROM n ORDER BY id
SELECT '{bad'::json
SELECT DISTINCT j FROM n
SELECT j FROM n ORDER BY j
SELECT count(*) FROM n GROUP BY j
SELECT j = j FROM n
SELECT max(j) FROM n
! SELECT j -> 'a' FROM n
! SELECT '{"a":1}'::jsonb
! SELECT '{"a":1}'::jsonb = '{"a": 1}'::jsonb
SELECT string_agg(v, ',' ORDER BY id), count(*), string_agg(t, ';' ORDER BY id) FROM n
