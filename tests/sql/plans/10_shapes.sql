-- One query shape per line: its name, a bar, and the statement with its parameters as {literals}.
-- `*` before the name: it may read overlay, mask and history as a whole, but not the base.
point|SELECT * FROM users WHERE id = {25000}
point of an overlay row|SELECT * FROM users WHERE id = {1010}
point of a masked row|SELECT * FROM users WHERE id = {2010}
point of a row that main changed|SELECT * FROM users WHERE id = {3010}
unique key|SELECT id, name FROM users WHERE email = {'User777@example.com'}
composite key|SELECT * FROM items WHERE order_id = {700} AND line = {1}
key prefix|SELECT * FROM items WHERE order_id = {700}
range of keys|SELECT id, name FROM users WHERE id BETWEEN {1000} AND {1040}
range of times|SELECT id FROM users WHERE created >= {'2025-01-20 00:00:00+00'} AND created < {'2025-01-20 00:30:00+00'}
IN list|SELECT * FROM users WHERE id IN ({5}, {2010}, {40000}, {1010})
ANY array|SELECT * FROM users WHERE id = ANY ({'{5,1010,2010,44444}'}::bigint[])
row values|SELECT * FROM items WHERE (order_id, line) IN (({7}, {1}), ({1010}, {2}))
OR of keys|SELECT * FROM users WHERE id = {1010} OR email = {'User88@example.com'}
LIKE prefix|SELECT id FROM users WHERE name LIKE 'name 1234%'
expression index|SELECT id FROM users WHERE lower(email) = {'user4242@example.com'}
partial index|SELECT id FROM users WHERE status = 'new' AND score BETWEEN {0} AND {5}
selective and a filter|SELECT id FROM orders WHERE user_id = {500} AND status = {'paid'}
ORDER BY key LIMIT|SELECT id, name FROM users ORDER BY id LIMIT 20
ORDER BY key DESC LIMIT|SELECT id, name FROM users ORDER BY id DESC LIMIT 20
ORDER BY index LIMIT|SELECT id, created FROM users ORDER BY created DESC LIMIT 10
keyset page|SELECT id, name FROM users WHERE id > {2000} ORDER BY id LIMIT 50
keyset page by time|SELECT id FROM orders WHERE (created, id) < ({'2025-06-10 00:00:00+00'}, {100000}) ORDER BY created DESC, id DESC LIMIT 20
last of a user|SELECT * FROM orders WHERE user_id = {777} ORDER BY created DESC LIMIT 1
min|SELECT min(id) FROM users
max of an index|SELECT max(created) FROM orders
min and max of a part|SELECT min(created), max(created) FROM orders WHERE user_id = {4242}
count with a selective filter|SELECT count(*) FROM orders WHERE user_id = {900}
sum with a selective filter|SELECT sum(amount), avg(amount) FROM orders WHERE user_id IN ({900}, {901})
EXISTS|SELECT u.id FROM users u WHERE u.id BETWEEN {1000} AND {1020} AND EXISTS (SELECT FROM orders o WHERE o.user_id = u.id AND o.status = 'paid')
NOT EXISTS|SELECT u.id FROM users u WHERE u.id BETWEEN {1000} AND {1020} AND NOT EXISTS (SELECT FROM orders o WHERE o.user_id = u.id)
IN a sub-select|SELECT id, name FROM users WHERE id IN (SELECT user_id FROM orders WHERE id BETWEEN {500} AND {510})
scalar sub-select|SELECT id, (SELECT count(*) FROM orders o WHERE o.user_id = u.id) FROM users u WHERE id BETWEEN {3000} AND {3010}
correlated maximum|SELECT o.id FROM orders o WHERE o.user_id = {321} AND o.created = (SELECT max(x.created) FROM orders x WHERE x.user_id = o.user_id)
join of two|SELECT u.name, o.amount FROM users u JOIN orders o ON o.user_id = u.id WHERE u.id = {1010}
join from the other side|SELECT u.name, o.amount FROM orders o JOIN users u ON u.id = o.user_id WHERE o.id = {123}
join of three|SELECT u.name, i.quantity FROM users u JOIN orders o ON o.user_id = u.id JOIN items i ON i.order_id = o.id WHERE u.email = {'User1500@example.com'}
join of four|SELECT u.name, p.sku FROM users u JOIN orders o ON o.user_id = u.id JOIN items i ON i.order_id = o.id JOIN products p ON p.id = i.product_id WHERE u.id = {2600}
LEFT JOIN|SELECT u.id, o.id FROM users u LEFT JOIN orders o ON o.user_id = u.id AND o.status = 'sent' WHERE u.id BETWEEN {100} AND {110}
LEFT JOIN without a match|SELECT u.id FROM users u LEFT JOIN orders o ON o.user_id = u.id WHERE u.id BETWEEN {100} AND {120} AND o.id IS NULL
RIGHT JOIN|SELECT u.id, o.id FROM orders o RIGHT JOIN users u ON u.id = o.user_id WHERE u.id = {150}
* FULL JOIN of parts|SELECT a.id, b.id FROM (SELECT id FROM users WHERE id BETWEEN {100} AND {110}) a FULL JOIN (SELECT id FROM users WHERE id BETWEEN {105} AND {115}) b ON a.id = b.id
JOIN USING|SELECT a.quantity, b.quantity FROM items a JOIN items b USING (order_id) WHERE a.order_id = {2000} AND a.line < b.line
self join|SELECT c.name, p.name FROM nodes c JOIN nodes p ON p.id = c.parent_id WHERE c.id BETWEEN {4000} AND {4010}
LATERAL|SELECT u.id, l.id FROM users u CROSS JOIN LATERAL (SELECT o.id FROM orders o WHERE o.user_id = u.id ORDER BY o.created DESC LIMIT 2) l WHERE u.id BETWEEN {400} AND {405}
LEFT JOIN LATERAL|SELECT u.id, l.n FROM users u LEFT JOIN LATERAL (SELECT count(*) AS n FROM orders o WHERE o.user_id = u.id) l ON true WHERE u.id IN ({7}, {8})
join with VALUES|SELECT v.x, u.name FROM (VALUES ({10}), (20), (1010)) v(x) JOIN users u ON u.id = v.x
join with generate_series|SELECT g, u.name FROM generate_series({5}::int, {9}::int) g JOIN users u ON u.id = g
GROUP BY of few rows|SELECT status, count(*), sum(amount) FROM orders WHERE user_id BETWEEN {10} AND {15} GROUP BY status
HAVING|SELECT user_id, count(*) FROM orders WHERE user_id BETWEEN {10} AND {20} GROUP BY user_id HAVING count(*) > 0
GROUPING SETS of few rows|SELECT user_id, status, count(*) FROM orders WHERE user_id IN ({10}, {11}) GROUP BY GROUPING SETS ((user_id), (status))
window over few rows|SELECT id, row_number() OVER (PARTITION BY user_id ORDER BY created) FROM orders WHERE user_id BETWEEN {30} AND {33}
running sum|SELECT id, sum(amount) OVER (ORDER BY created) FROM orders WHERE user_id = {34}
DISTINCT of few rows|SELECT DISTINCT status FROM orders WHERE user_id BETWEEN {40} AND {45}
DISTINCT ON|SELECT DISTINCT ON (user_id) user_id, id FROM orders WHERE user_id BETWEEN {40} AND {45} ORDER BY user_id, created DESC
UNION|SELECT id FROM users WHERE id = {50} UNION SELECT user_id FROM orders WHERE id = {51}
UNION ALL with LIMIT|(SELECT id, created FROM users ORDER BY created LIMIT 3) UNION ALL (SELECT id, created FROM orders ORDER BY created LIMIT 3)
INTERSECT|SELECT user_id FROM orders WHERE user_id = {60} INTERSECT SELECT id FROM users WHERE id BETWEEN {55} AND {65}
EXCEPT|SELECT id FROM users WHERE id BETWEEN {55} AND {65} EXCEPT SELECT user_id FROM orders WHERE user_id BETWEEN {55} AND {65}
WITH|WITH few AS (SELECT id FROM users WHERE id BETWEEN {70} AND {75}) SELECT f.id, o.id FROM few f JOIN orders o ON o.user_id = f.id
WITH MATERIALIZED|WITH few AS MATERIALIZED (SELECT id FROM users WHERE id BETWEEN {70} AND {75}) SELECT f.id, o.id FROM few f JOIN orders o ON o.user_id = f.id
WITH RECURSIVE up|WITH RECURSIVE up AS (SELECT id, parent_id FROM nodes WHERE id = {44444} UNION ALL SELECT n.id, n.parent_id FROM nodes n JOIN up ON n.id = up.parent_id) SELECT * FROM up
WITH RECURSIVE down|WITH RECURSIVE down AS (SELECT id FROM nodes WHERE id = {444} UNION ALL SELECT n.id FROM nodes n JOIN down ON n.parent_id = down.id) SELECT count(*) FROM down
rarest category|SELECT p.id, count(i.order_id) FROM products p LEFT JOIN items i ON i.product_id = p.id WHERE p.category = {77} GROUP BY p.id
EXISTS as a value|SELECT EXISTS (SELECT FROM users WHERE email = {'nobody@example.com'})
CASE over sub-selects|SELECT CASE WHEN EXISTS (SELECT FROM orders WHERE user_id = {80}) THEN (SELECT name FROM users WHERE id = {80}) ELSE 'none' END
array of a sub-select|SELECT ARRAY(SELECT id FROM orders WHERE user_id = {81} ORDER BY id)
json of rows|SELECT json_agg(o) FROM orders o WHERE o.user_id = {82}
point and what may fail|SELECT id FROM users WHERE id = {1010} AND 100 / (score + 1) >= 0
join and what may fail|SELECT o.id FROM users u JOIN orders o ON o.user_id = u.id AND o.amount * 2 > 0 WHERE u.id = {777} AND u.score % 2 >= 0
computed columns of a query in FROM|SELECT * FROM (SELECT id, user_id, amount * 2 AS doubled, created::date AS day FROM orders) s WHERE user_id = {900} AND doubled > 0
days of a user|SELECT * FROM (SELECT user_id, created::date AS day, count(*) AS many FROM orders GROUP BY user_id, created::date) s WHERE user_id = {900} AND day > '2000-01-01'
distinct and what may fail|SELECT * FROM (SELECT DISTINCT user_id, amount / 10 AS tens FROM orders) s WHERE user_id IN ({900}, {901})
recent rows|SELECT id FROM users WHERE created >= now() - interval '1 hour'
rows compared and what may fail|SELECT count(*) FROM orders a JOIN orders b ON (a.id, a.user_id) = (b.id + 0, b.user_id * 1) WHERE b.id = {777}
FOR UPDATE by key|SELECT * FROM users WHERE id = {83} FOR UPDATE
FOR SHARE of an index|SELECT * FROM orders WHERE user_id = {84} FOR SHARE
SKIP LOCKED|SELECT id FROM orders WHERE user_id BETWEEN {84} AND {86} ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED
UPDATE by key|UPDATE users SET score = score + 1 WHERE id = {90}
UPDATE of an overlay row|UPDATE users SET score = score + 1 WHERE id = {1010}
UPDATE by unique key RETURNING|UPDATE users SET name = 'x' WHERE email = {'User91@example.com'} RETURNING id
UPDATE of a few|UPDATE orders SET status = 'sent' WHERE user_id = {92}
UPDATE of a foreign key|UPDATE orders SET user_id = {93} WHERE id = {94}
UPDATE FROM|UPDATE orders o SET amount = amount + u.score FROM users u WHERE u.id = o.user_id AND u.email = {'User95@example.com'}
UPDATE of a key|UPDATE nodes SET id = {60001} WHERE id = {96}
DELETE by key|DELETE FROM nodes WHERE id = {97}
DELETE with CASCADE|DELETE FROM orders WHERE id = {98}
DELETE USING|DELETE FROM items i USING orders o WHERE o.id = i.order_id AND o.user_id = {99}
INSERT|INSERT INTO orders VALUES ({70001}, {100}, {5}, 'new', '2026-01-01 00:00:00+00')
INSERT SELECT|INSERT INTO nodes SELECT id + {70000}, id, name FROM nodes WHERE id BETWEEN {101} AND {110}
ON CONFLICT DO UPDATE|INSERT INTO users VALUES ({102}, 'User102@example.com', 'n', 'c', 's', 1, '2026-01-01 00:00:00+00') ON CONFLICT (id) DO UPDATE SET score = excluded.score
ON CONFLICT DO NOTHING|INSERT INTO users VALUES ({80003}, 'User103@example.com', 'n', 'c', 's', 1, '2026-01-01 00:00:00+00') ON CONFLICT DO NOTHING
data-modifying WITH|WITH gone AS (DELETE FROM nodes WHERE id = {104} RETURNING id) INSERT INTO nodes SELECT id + 90000, NULL, 'moved' FROM gone
