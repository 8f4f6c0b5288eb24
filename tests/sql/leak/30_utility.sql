-- COPY
COPY parent TO STDOUT
COPY parent (id, name) TO STDOUT WITH (FORMAT csv, HEADER)
COPY (SELECT * FROM parent) TO STDOUT
COPY (DELETE FROM parent RETURNING *) TO STDOUT
COPY (UPDATE parent SET n = 0 RETURNING *) TO STDOUT
COPY (INSERT INTO parent (id, name) VALUES (800, 'c') RETURNING *) TO STDOUT
COPY (SELECT wipe()) TO STDOUT
COPY (SELECT bump(id) FROM parent) TO STDOUT
COPY plain FROM '/nonexistent/file'
COPY plain FROM PROGRAM 'echo 5000,x' WITH (FORMAT csv)
COPY plain FROM PROGRAM 'echo 5001,x' CSV
COPY stranger FROM PROGRAM 'echo 5002,x' CSV
COPY other.things FROM PROGRAM 'echo 5003,x' CSV
COPY v_parent FROM PROGRAM 'echo 5004,x,1' CSV
COPY plain TO PROGRAM 'cat > /dev/null'
COPY epoch_public.plain FROM PROGRAM 'echo 5005,x' CSV
-- blocks, calls
DO $$ BEGIN DELETE FROM parent; END $$
DO LANGUAGE plpgsql 'BEGIN UPDATE plain SET v = 1; END'
DO 'BEGIN PERFORM wipe(); END'
CALL wipe_all()
CALL public.wipe_all()
CALL nothing_at_all()
-- whole tables
TRUNCATE parent
TRUNCATE TABLE parent CASCADE
TRUNCATE ONLY plain
TRUNCATE plain, other.things RESTART IDENTITY
TRUNCATE stranger
TRUNCATE child RESTART IDENTITY CASCADE
LOCK parent
LOCK TABLE parent IN SHARE MODE
BEGIN; LOCK TABLE parent IN ACCESS EXCLUSIVE MODE; COMMIT
BEGIN; LOCK TABLE ONLY parent, child IN ROW EXCLUSIVE MODE NOWAIT; COMMIT
VACUUM
VACUUM parent
VACUUM FULL plain
VACUUM (FREEZE, ANALYZE) plain
ANALYZE
ANALYZE parent
ANALYZE parent (n)
CLUSTER plain USING plain_pkey
CLUSTER
REINDEX TABLE plain
REINDEX INDEX plain_pkey
REINDEX TABLE CONCURRENTLY plain
REFRESH MATERIALIZED VIEW mv
REFRESH MATERIALIZED VIEW CONCURRENTLY mv
CHECKPOINT
-- settings that could open a door
SET epoch.lineage = '1'
SET epoch.lineage = '1'; DELETE FROM parent
SET LOCAL epoch.lineage = '1'
RESET epoch.lineage
SET search_path = other, public; DELETE FROM things
SET search_path = epoch_public; DELETE FROM parent
SET search_path = ''; DELETE FROM public.parent
SET search_path TO 'other'; UPDATE things SET v = 'x'; UPDATE "Odd Name" SET "V" = 'x'
BEGIN; SET LOCAL search_path = other; DELETE FROM things; COMMIT
SET SCHEMA 'other'; DELETE FROM things
SET session_replication_role = replica; DELETE FROM parent
SET session_replication_role = replica; UPDATE child SET parent_id = 12345
SET ROLE pg_monitor; DELETE FROM parent
SET SESSION AUTHORIZATION DEFAULT; DELETE FROM parent
SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE; DELETE FROM parent
SET row_security = off; DELETE FROM parent
SET check_function_bodies = off; CREATE FUNCTION f1() RETURNS int LANGUAGE sql AS 'DELETE FROM parent; SELECT 1'
SET client_encoding = 'LATIN1'; UPDATE plain SET v = 'é'
SET synchronous_commit = off; DELETE FROM plain WHERE id = 1
RESET ALL; DELETE FROM plain WHERE id = 2
DISCARD ALL
DISCARD PLANS
DISCARD TEMP
DEALLOCATE ALL
BEGIN; SET CONSTRAINTS ALL DEFERRED; DELETE FROM parent WHERE id = 2; COMMIT
SHOW search_path
SHOW ALL
-- transactions
BEGIN ISOLATION LEVEL SERIALIZABLE; DELETE FROM plain; COMMIT
BEGIN ISOLATION LEVEL REPEATABLE READ READ WRITE; UPDATE plain SET v = 'rr'; COMMIT
START TRANSACTION READ ONLY; DELETE FROM plain; COMMIT
BEGIN; DELETE FROM plain; PREPARE TRANSACTION 'epoch_leak_tx'
BEGIN; UPDATE parent SET n = 5; COMMIT AND CHAIN; DELETE FROM parent; COMMIT
ROLLBACK PREPARED 'epoch_leak_tx'
COMMIT PREPARED 'epoch_leak_tx'
BEGIN; SAVEPOINT a; SAVEPOINT b; DELETE FROM plain; RELEASE a; COMMIT
ROLLBACK
COMMIT
-- events
LISTEN c
NOTIFY c, 'x'
UNLISTEN *
LOAD 'plpgsql'
