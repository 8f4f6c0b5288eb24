-- A spec: its name after "# ", then steps, each of a session and a statement. `!` after the session: it gets an answer
-- in the end, though it may wait for a moment. `~ ` before a name: rows that the branch hasn't copied up behave otherwise
-- (the first one who touches them, for whatever, holds their keys until his transaction ends), so only the branch's own are
-- compared.
# lost update: the second writer sees the first one's row
s1 BEGIN
s2 BEGIN
s1 UPDATE account SET money = money + 10 WHERE id = 1
s2 UPDATE account SET money = money + 20 WHERE id = 1 RETURNING money
s1 COMMIT
s2 COMMIT
s1 SELECT * FROM account WHERE id = 1
# lost update: the first writer rolls back
s1 BEGIN
s2 BEGIN
s1 UPDATE account SET money = money + 10 WHERE id = 1
s2 UPDATE account SET money = money + 20 WHERE id = 1 RETURNING money
s1 ROLLBACK
s2 COMMIT
s1 SELECT * FROM account WHERE id = 1
# lost update under REPEATABLE READ
s1 BEGIN ISOLATION LEVEL REPEATABLE READ
s2 BEGIN ISOLATION LEVEL REPEATABLE READ
s1 SELECT money FROM account WHERE id = 1
s2 SELECT money FROM account WHERE id = 1
s1 UPDATE account SET money = 110 WHERE id = 1
s2 UPDATE account SET money = 120 WHERE id = 1
s1 COMMIT
s2 COMMIT
s1 SELECT * FROM account WHERE id = 1
# lost update after the snapshot under REPEATABLE READ
s1 BEGIN ISOLATION LEVEL REPEATABLE READ
s1 SELECT money FROM account WHERE id = 1
s2 UPDATE account SET money = 120 WHERE id = 1
s1 UPDATE account SET money = 110 WHERE id = 1
s1 ROLLBACK
s1 SELECT * FROM account WHERE id = 1
# non-repeatable read under READ COMMITTED
s1 BEGIN
s1 SELECT money FROM account WHERE id = 2
s2 UPDATE account SET money = 5 WHERE id = 2
s1 SELECT money FROM account WHERE id = 2
s1 COMMIT
# no dirty read
s2 BEGIN
s2 UPDATE account SET money = 5 WHERE id = 2
s2 DELETE FROM account WHERE id = 3
s2 INSERT INTO account VALUES (100, 'new', 1)
s1 SELECT count(*), sum(money) FROM account
s2 ROLLBACK
s1 SELECT count(*), sum(money) FROM account
# phantoms under READ COMMITTED
s1 BEGIN
s1 SELECT count(*) FROM account WHERE money >= 100
s2 INSERT INTO account VALUES (101, 'x', 500)
s2 DELETE FROM account WHERE id = 4
s2 UPDATE account SET money = 1 WHERE id = 5
s1 SELECT count(*) FROM account WHERE money >= 100
s1 COMMIT
# no phantom under REPEATABLE READ
s1 BEGIN ISOLATION LEVEL REPEATABLE READ
s1 SELECT count(*), sum(money) FROM account
s2 INSERT INTO account VALUES (101, 'x', 500)
s2 DELETE FROM account WHERE id = 4
s2 UPDATE account SET money = 1 WHERE id = 5
s1 SELECT count(*), sum(money) FROM account
s1 SELECT * FROM account WHERE id IN (4, 5, 101) ORDER BY id
s1 COMMIT
s1 SELECT count(*), sum(money) FROM account
# a snapshot begins with the first statement
s1 BEGIN ISOLATION LEVEL REPEATABLE READ
s2 UPDATE account SET money = 7 WHERE id = 6
s1 SELECT money FROM account WHERE id = 6
s2 UPDATE account SET money = 8 WHERE id = 6
s1 SELECT money FROM account WHERE id = 6
s1 COMMIT
# insert of a key that a snapshot doesn't see
s1 BEGIN ISOLATION LEVEL REPEATABLE READ
s1 SELECT count(*) FROM account WHERE id = 102
s2 INSERT INTO account VALUES (102, 'y', 1)
s1 INSERT INTO account VALUES (102, 'z', 1)
s1 ROLLBACK
# ON CONFLICT DO NOTHING of a key that a snapshot doesn't see
s1 BEGIN ISOLATION LEVEL REPEATABLE READ
s1 SELECT count(*) FROM account WHERE id = 102
s2 INSERT INTO account VALUES (102, 'y', 1)
s1 INSERT INTO account VALUES (102, 'z', 1) ON CONFLICT DO NOTHING
s1 ROLLBACK
# re-check: the row no longer matches
s1 BEGIN
s1 UPDATE account SET money = 5 WHERE id = 7
s2 UPDATE account SET owner = 'rich' WHERE id = 7 AND money >= 100
s1 COMMIT
s2 SELECT * FROM account WHERE id = 7
# re-check: the row still matches, by its new values
s1 BEGIN
s1 UPDATE account SET money = 500 WHERE id = 7
s2 UPDATE account SET money = money * 2 WHERE id = 7 AND money >= 100 RETURNING money
s1 COMMIT
s2 SELECT * FROM account WHERE id = 7
# re-check of a range: what came to match isn't found
s1 BEGIN
s1 UPDATE account SET money = 5 WHERE id = 7
s1 UPDATE account SET money = 99 WHERE id = 8
s2 UPDATE account SET owner = 'poor ' || id WHERE money < 50 OR id = 7
s1 COMMIT
s2 SELECT * FROM account WHERE id IN (7, 8) ORDER BY id
# re-check of a join
s1 BEGIN
s1 UPDATE account SET money = 5 WHERE id = 9
s2 UPDATE account a SET money = a.money + 1 FROM parent p WHERE p.id = a.id AND a.id = 9 RETURNING a.money, p.v
s1 COMMIT
s2 SELECT * FROM account WHERE id = 9
# delete, then update of the row
s1 BEGIN
s1 DELETE FROM account WHERE id = 10
s2 UPDATE account SET money = 1 WHERE id = 10
s1 COMMIT
s2 SELECT count(*) FROM account WHERE id = 10
# update, then delete of the row
s1 BEGIN
s1 UPDATE account SET money = 1 WHERE id = 10
s2 DELETE FROM account WHERE id = 10 RETURNING money
s1 COMMIT
s2 SELECT count(*) FROM account WHERE id = 10
# update that no longer matches, then delete
s1 BEGIN
s1 UPDATE account SET money = 1 WHERE id = 10
s2 DELETE FROM account WHERE id = 10 AND money = 100
s1 COMMIT
s2 SELECT * FROM account WHERE id = 10
# two deletes of one row
s1 BEGIN
s1 DELETE FROM account WHERE id = 11
s2 DELETE FROM account WHERE id = 11
s1 COMMIT
# two deletes of one row, the first undone
s1 BEGIN
s1 DELETE FROM account WHERE id = 11
s2 DELETE FROM account WHERE id = 11
s1 ROLLBACK
s2 SELECT count(*) FROM account
# ~ delete and re-insert, then update
s1 BEGIN
s1 DELETE FROM account WHERE id = 12
s1 INSERT INTO account VALUES (12, 'again', 1)
s2 UPDATE account SET money = money + 1 WHERE id = 12
s1 COMMIT
s2 SELECT * FROM account WHERE id = 12
# update of the key, then update by the old one
s1 BEGIN
s1 UPDATE account SET id = 200 WHERE id = 13
s2 UPDATE account SET money = money + 1 WHERE id = 13
s1 COMMIT
s2 SELECT * FROM account WHERE id IN (13, 200)
# ~ delete against update under REPEATABLE READ
s1 BEGIN ISOLATION LEVEL REPEATABLE READ
s1 SELECT count(*) FROM account
s2 DELETE FROM account WHERE id = 14
s1 UPDATE account SET money = 1 WHERE id = 14
s1 ROLLBACK
# insert against insert of one key: the first commits
s1 BEGIN
s2 BEGIN
s1 INSERT INTO account VALUES (103, 'a', 1)
s2 INSERT INTO account VALUES (103, 'b', 2)
s1 COMMIT
s2 ROLLBACK
s1 SELECT * FROM account WHERE id = 103
# insert against insert of one key: the first rolls back
s1 BEGIN
s2 BEGIN
s1 INSERT INTO account VALUES (103, 'a', 1)
s2 INSERT INTO account VALUES (103, 'b', 2)
s1 ROLLBACK
s2 COMMIT
s1 SELECT * FROM account WHERE id = 103
# insert against insert of another unique value
s1 BEGIN
s2 BEGIN
s1 INSERT INTO account VALUES (104, 'same', 1)
s2 INSERT INTO account VALUES (105, 'same', 2)
s1 COMMIT
s2 ROLLBACK
# update to a unique value that another one takes
s1 BEGIN
s2 BEGIN
s1 UPDATE account SET owner = 'taken' WHERE id = 1
s2 UPDATE account SET owner = 'taken' WHERE id = 2
s1 ROLLBACK
s2 COMMIT
s1 SELECT * FROM account WHERE owner = 'taken'
# insert of a unique value that is being given up
s1 BEGIN
s1 UPDATE account SET owner = 'other' WHERE id = 3
s2 INSERT INTO account VALUES (106, 'owner 3', 2)
s1 COMMIT
s2 SELECT * FROM account WHERE owner = 'owner 3'
# insert of a unique value whose row is being deleted
s1 BEGIN
s1 DELETE FROM account WHERE id = 3
s2 INSERT INTO account VALUES (107, 'owner 3', 2)
s1 COMMIT
s2 SELECT * FROM account WHERE owner = 'owner 3'
# insert of a unique value whose row isn't deleted after all
s1 BEGIN
s1 DELETE FROM account WHERE id = 3
s2 INSERT INTO account VALUES (107, 'owner 3', 2)
s1 ROLLBACK
s2 SELECT * FROM account WHERE owner = 'owner 3'
# insert of a key whose row is being deleted
s1 BEGIN
s1 DELETE FROM account WHERE id = 15
s2 INSERT INTO account VALUES (15, 'new 15', 2)
s1 COMMIT
s2 SELECT * FROM account WHERE id = 15
# upsert against insert
s1 BEGIN
s1 INSERT INTO account VALUES (108, 'u', 1)
s2 INSERT INTO account VALUES (108, 'u', 10) ON CONFLICT (id) DO UPDATE SET money = account.money + excluded.money RETURNING money
s1 COMMIT
s2 SELECT * FROM account WHERE id = 108
# upsert against insert that is undone
s1 BEGIN
s1 INSERT INTO account VALUES (108, 'u', 1)
s2 INSERT INTO account VALUES (108, 'u', 10) ON CONFLICT (id) DO UPDATE SET money = account.money + excluded.money RETURNING money
s1 ROLLBACK
s2 SELECT * FROM account WHERE id = 108
# upsert against update
s1 BEGIN
s1 UPDATE account SET money = 1000 WHERE id = 16
s2 INSERT INTO account VALUES (16, 'u', 1) ON CONFLICT (id) DO UPDATE SET money = account.money + 1 RETURNING money
s1 COMMIT
s2 SELECT * FROM account WHERE id = 16
# DO NOTHING waits for the other insert
s1 BEGIN
s1 INSERT INTO account VALUES (109, 'n', 1)
s2 INSERT INTO account VALUES (109, 'n', 2) ON CONFLICT DO NOTHING
s1 COMMIT
s2 SELECT * FROM account WHERE id = 109
# foreign key: child first, then delete of the parent
s1 BEGIN
s1 INSERT INTO child VALUES (50, 6)
s2 DELETE FROM parent WHERE id = 6
s1 COMMIT
s2 SELECT count(*) FROM parent WHERE id = 6
# foreign key: child undone, then delete of the parent
s1 BEGIN
s1 INSERT INTO child VALUES (50, 6)
s2 DELETE FROM parent WHERE id = 6
s1 ROLLBACK
s2 SELECT count(*) FROM parent WHERE id = 6
# foreign key: delete of the parent first, then child
s1 BEGIN
s1 DELETE FROM parent WHERE id = 7
s2 INSERT INTO child VALUES (51, 7)
s1 COMMIT
s2 SELECT count(*) FROM child WHERE id = 51
# foreign key: delete of the parent undone, then child
s1 BEGIN
s1 DELETE FROM parent WHERE id = 7
s2 INSERT INTO child VALUES (51, 7)
s1 ROLLBACK
s2 SELECT count(*) FROM child WHERE id = 51
# foreign key: a parent that isn't committed
s1 BEGIN
s1 INSERT INTO parent VALUES (60, 'new')
s2 INSERT INTO child VALUES (52, 60)
s1 COMMIT
# foreign key: no child waits for another one
s1 BEGIN
s1 INSERT INTO child VALUES (53, 8)
s2 INSERT INTO child VALUES (54, 8)
s1 COMMIT
# foreign key: a child doesn't wait for an update of the parent's other columns
s1 BEGIN
s1 UPDATE parent SET v = 'x' WHERE id = 8
s2 INSERT INTO child VALUES (55, 8)
s1 COMMIT
# write skew under REPEATABLE READ happens
s1 BEGIN ISOLATION LEVEL REPEATABLE READ
s2 BEGIN ISOLATION LEVEL REPEATABLE READ
s1 SELECT count(*) FROM doctor WHERE on_call
s2 SELECT count(*) FROM doctor WHERE on_call
s1 UPDATE doctor SET on_call = false WHERE name = 'alice'
s2 UPDATE doctor SET on_call = false WHERE name = 'bob'
s1 COMMIT
s2 COMMIT
s1 SELECT * FROM doctor ORDER BY name
# write skew under SERIALIZABLE doesn't
s1 BEGIN ISOLATION LEVEL SERIALIZABLE
s2 BEGIN ISOLATION LEVEL SERIALIZABLE
s1 SELECT count(*) FROM doctor WHERE on_call
s2 SELECT count(*) FROM doctor WHERE on_call
s1 UPDATE doctor SET on_call = false WHERE name = 'alice'
s2 UPDATE doctor SET on_call = false WHERE name = 'bob'
s1 COMMIT
s2 COMMIT
s1 SELECT count(*) > 0 FROM doctor WHERE on_call
# write skew of inserts under SERIALIZABLE
s1 BEGIN ISOLATION LEVEL SERIALIZABLE
s2 BEGIN ISOLATION LEVEL SERIALIZABLE
s1 SELECT count(*) FROM job WHERE state = 'urgent'
s2 SELECT count(*) FROM job WHERE state = 'urgent'
s1 INSERT INTO job VALUES (10, 'urgent')
s2 INSERT INTO job VALUES (11, 'urgent')
s1 COMMIT
s2 COMMIT
s1 SELECT count(*) FROM job WHERE state = 'urgent'
# read-only anomaly under SERIALIZABLE
s1 BEGIN ISOLATION LEVEL SERIALIZABLE
s1 SELECT deposit_no FROM control
s2 BEGIN ISOLATION LEVEL SERIALIZABLE
s2 UPDATE control SET deposit_no = 2
s2 COMMIT
s3 BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY
s3 SELECT deposit_no FROM control
s3 SELECT * FROM receipt ORDER BY id
s3 COMMIT
s1 INSERT INTO receipt VALUES (3, 1)
s1 COMMIT
s2 SELECT count(*) FROM receipt
# deadlock of two updates
s1 SET deadlock_timeout = '60s'
s2 SET deadlock_timeout = '10ms'
s1 BEGIN
s2 BEGIN
s1 UPDATE account SET money = 1 WHERE id = 1
s2 UPDATE account SET money = 2 WHERE id = 2
s1 UPDATE account SET money = 1 WHERE id = 2
s2! UPDATE account SET money = 2 WHERE id = 1
s2 ROLLBACK
s1 COMMIT
s1 SELECT * FROM account WHERE id IN (1, 2) ORDER BY id
# deadlock of two inserts
s1 SET deadlock_timeout = '60s'
s2 SET deadlock_timeout = '10ms'
s1 BEGIN
s2 BEGIN
s1 INSERT INTO account VALUES (110, 'd1', 1)
s2 INSERT INTO account VALUES (111, 'd2', 1)
s1 INSERT INTO account VALUES (111, 'd3', 1)
s2! INSERT INTO account VALUES (110, 'd4', 1)
s2 ROLLBACK
s1 COMMIT
s1 SELECT id, owner FROM account WHERE id IN (110, 111) ORDER BY id
# FOR UPDATE waits and sees the new row
s1 BEGIN
s1 UPDATE account SET money = 3 WHERE id = 17
s2 BEGIN
s2 SELECT money FROM account WHERE id = 17 FOR UPDATE
s1 COMMIT
s2 COMMIT
# FOR UPDATE of a row that is deleted
s1 BEGIN
s1 DELETE FROM account WHERE id = 17
s2 SELECT money FROM account WHERE id = 17 FOR UPDATE
s1 COMMIT
# FOR UPDATE keeps out an update
s1 BEGIN
s1 SELECT money FROM account WHERE id = 17 FOR UPDATE
s2 UPDATE account SET money = money + 1 WHERE id = 17 RETURNING money
s1 UPDATE account SET money = 50 WHERE id = 17
s1 COMMIT
# ~ FOR SHARE lets FOR SHARE in, keeps out an update
s1 BEGIN
s1 SELECT money FROM account WHERE id = 17 FOR SHARE
s2 SELECT money FROM account WHERE id = 17 FOR SHARE
s2 UPDATE account SET money = 1 WHERE id = 17
s1 COMMIT
# NOWAIT
s1 BEGIN
s1 SELECT * FROM account WHERE id = 18 FOR UPDATE
s2 SELECT * FROM account WHERE id = 18 FOR UPDATE NOWAIT
s2 SELECT * FROM account WHERE id = 19 FOR UPDATE NOWAIT
s1 COMMIT
s2 SELECT * FROM account WHERE id = 18 FOR UPDATE NOWAIT
# SKIP LOCKED: a queue of jobs
s1 BEGIN
s2 BEGIN
s1 SELECT id FROM job WHERE state = 'open' ORDER BY id LIMIT 2 FOR UPDATE SKIP LOCKED
s2 SELECT id FROM job WHERE state = 'open' ORDER BY id LIMIT 2 FOR UPDATE SKIP LOCKED
s1 UPDATE job SET state = 'done' WHERE id IN (1, 2)
s1 COMMIT
s2 SELECT id FROM job WHERE state = 'open' ORDER BY id FOR UPDATE SKIP LOCKED
s2 ROLLBACK
s1 SELECT id FROM job WHERE state = 'open' ORDER BY id FOR UPDATE SKIP LOCKED
# lock_timeout
s1 BEGIN
s1 UPDATE account SET money = 1 WHERE id = 20
s2 SET lock_timeout = '50ms'
s2! UPDATE account SET money = 2 WHERE id = 20
s1 ROLLBACK
s2 UPDATE account SET money = 2 WHERE id = 20
# a savepoint gives its locks back
s1 BEGIN
s1 SAVEPOINT a
s1 UPDATE account SET money = 1 WHERE id = 20
s1 ROLLBACK TO a
s2 UPDATE account SET money = 2 WHERE id = 20
s1 UPDATE account SET money = money + 1 WHERE id = 20 RETURNING money
s1 COMMIT
# readers never wait
s1 BEGIN
s1 UPDATE account SET money = 0
s1 DELETE FROM job
s1 INSERT INTO parent VALUES (61, 'x')
s2 SELECT count(*), sum(money) FROM account
s2 SELECT count(*) FROM job
s2 SELECT count(*) FROM parent
s1 ROLLBACK
# different rows don't wait for each other
s1 BEGIN
s2 BEGIN
s1 UPDATE account SET money = 1 WHERE id = 1
s2 UPDATE account SET money = 2 WHERE id = 2
s1 DELETE FROM account WHERE id = 3
s2 INSERT INTO account VALUES (112, 'z', 1)
s1 COMMIT
s2 COMMIT
s1 SELECT sum(money) FROM account
# many waiters of one row
s1 BEGIN
s1 UPDATE account SET money = money + 1 WHERE id = 4
s2 UPDATE account SET money = money + 10 WHERE id = 4
s3 UPDATE account SET money = money + 100 WHERE id = 4
s1 COMMIT
s1 SELECT money FROM account WHERE id = 4
# a data-modifying WITH waits as its parts do
s1 BEGIN
s1 UPDATE account SET money = 1 WHERE id = 5
s2 WITH taken AS (UPDATE account SET money = money - 1 WHERE id = 5 RETURNING money) SELECT * FROM taken
s1 COMMIT
# TRUNCATE waits for who inserts
s1 BEGIN
s1 INSERT INTO receipt VALUES (10, 1)
s2 TRUNCATE receipt
s1 COMMIT
s2 SELECT count(*) FROM receipt
# TRUNCATE keeps out who inserts
s1 BEGIN
s1 TRUNCATE receipt
s2 INSERT INTO receipt VALUES (11, 1)
s1 COMMIT
s2 SELECT * FROM receipt ORDER BY id
# TRUNCATE waits for who updates, and is undone
s1 BEGIN
s1 UPDATE receipt SET deposit_no = 9 WHERE id = 1
s2 BEGIN
s2 TRUNCATE receipt
s1 COMMIT
s2 ROLLBACK
s2 SELECT * FROM receipt ORDER BY id
# a parent goes while its only child is being deleted
s1 BEGIN
s1 DELETE FROM child WHERE id = 3
s2 DELETE FROM parent WHERE id = 3
s1 COMMIT
s2 SELECT count(*) FROM parent WHERE id = 3
# a parent stays while the delete of its only child is undone
s1 BEGIN
s1 DELETE FROM child WHERE id = 4
s2 DELETE FROM parent WHERE id = 4
s1 ROLLBACK
s2 SELECT count(*) FROM parent WHERE id = 4
# a parent of several children, of which one is being deleted
s1 INSERT INTO child VALUES (30, 2), (31, 2)
s1 BEGIN
s1 DELETE FROM child WHERE parent_id = 2
s2 DELETE FROM parent WHERE id = 2
s1 COMMIT
s2 SELECT count(*) FROM parent WHERE id = 2
# a duplicate under REPEATABLE READ, with a snapshot older than the first write
s1 BEGIN ISOLATION LEVEL REPEATABLE READ
s1 SELECT count(*) FROM account
s1 INSERT INTO account VALUES (1, 'again', 1)
s1 ROLLBACK
# an orphan under REPEATABLE READ, with a snapshot older than the first write
s1 BEGIN ISOLATION LEVEL REPEATABLE READ
s1 SELECT count(*) FROM child
s1 INSERT INTO child VALUES (50, 99)
s1 ROLLBACK
# a parent under REPEATABLE READ, with a snapshot older than the first write
s1 BEGIN ISOLATION LEVEL REPEATABLE READ
s1 SELECT count(*) FROM child
s1 DELETE FROM parent WHERE id = 1
s1 ROLLBACK
# a unique value under REPEATABLE READ, with a snapshot older than the first write
s1 BEGIN ISOLATION LEVEL REPEATABLE READ
s1 SELECT count(*) FROM child
s1 INSERT INTO account VALUES (900, 'owner 3', 1)
s1 ROLLBACK
# first inserts under SERIALIZABLE
s1 BEGIN ISOLATION LEVEL SERIALIZABLE
s2 BEGIN ISOLATION LEVEL SERIALIZABLE
s1 SELECT count(*) FROM receipt
s2 SELECT count(*) FROM receipt
s1 INSERT INTO receipt VALUES (21, 1)
s2 INSERT INTO receipt VALUES (22, 1)
s1 COMMIT
s2 COMMIT
s1 SELECT count(*) > 0 FROM receipt
# first inserts under SERIALIZABLE as the session's default
s1 SET default_transaction_isolation = 'serializable'
s2 SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE
s1 BEGIN
s2 START TRANSACTION
s1 SELECT count(*) FROM receipt
s2 SELECT count(*) FROM receipt
s1 INSERT INTO receipt VALUES (21, 1)
s2 INSERT INTO receipt VALUES (22, 1)
s1 COMMIT
s2 COMMIT
# a job skipped with other jobs free
s1 BEGIN
s1 UPDATE job SET state = 'mine' WHERE id = 2
s2 SELECT id FROM job ORDER BY id FOR UPDATE SKIP LOCKED
s2 SELECT id FROM job WHERE id IN (2, 3) FOR SHARE SKIP LOCKED
s2 SELECT id FROM job WHERE id = 2 FOR UPDATE NOWAIT
s2 WITH d AS (DELETE FROM job WHERE id IN (SELECT id FROM job WHERE state = 'open' FOR UPDATE SKIP LOCKED) RETURNING id) SELECT id FROM d ORDER BY id
s1 COMMIT
s2 SELECT id FROM job ORDER BY id
