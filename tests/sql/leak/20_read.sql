-- Reads that lock, write, or hide a write.
SELECT * FROM parent
SELECT * FROM ONLY parent
SELECT p.* FROM parent p JOIN child c ON c.parent_id = p.id WHERE c.id = 1
TABLE parent
TABLE ONLY public.parent
VALUES (1), (2)
SELECT * FROM parent FOR UPDATE
SELECT * FROM parent WHERE id = 1 FOR NO KEY UPDATE
SELECT * FROM parent WHERE id = 1 FOR SHARE
SELECT * FROM parent WHERE id = 1 FOR KEY SHARE SKIP LOCKED
SELECT * FROM parent p JOIN child c ON c.parent_id = p.id FOR UPDATE OF c
SELECT * FROM (SELECT * FROM parent FOR UPDATE) x
SELECT * FROM v_parent FOR UPDATE
SELECT * INTO copied FROM parent
SELECT * INTO TEMP copied FROM parent
SELECT * INTO UNLOGGED TABLE copied2 FROM parent
CREATE TABLE copied3 AS SELECT * FROM parent
CREATE TABLE copied4 AS TABLE parent WITH NO DATA
CREATE TEMP TABLE mine AS SELECT * FROM parent
CREATE TEMP TABLE parent (id int); DELETE FROM parent
CREATE TEMP TABLE plain AS SELECT 1 AS id; DROP TABLE plain
CREATE TEMP TABLE shadow (id int); INSERT INTO shadow SELECT id FROM parent; DELETE FROM shadow
CREATE TEMP TABLE of_domain (id checked); INSERT INTO of_domain VALUES (1)
CREATE TEMP TABLE with_default (id int DEFAULT wipe()); INSERT INTO with_default DEFAULT VALUES
CREATE TEMP TABLE with_check (id int CHECK (bump(id) > 0)); INSERT INTO with_check VALUES (1)
CREATE TEMP TABLE grown (id int); ALTER TABLE grown ADD COLUMN n int DEFAULT bump(1)
SELECT * FROM json_to_recordset('[{"a": 1}]') x(a checked)
SELECT bump(1)
SELECT wipe()
SELECT public.wipe()
SELECT "wipe"()
SELECT dyn('DELETE FROM parent')
SELECT dyn('DELETE ' || 'FROM par' || 'ent')
SELECT dyn('DROP TABLE parent CASCADE')
SELECT liar(1)
SELECT pure_liar(1)
SELECT pure_liar(id) FROM parent
SELECT pure_wipe()
SELECT peek()
SELECT * FROM rows_of()
SELECT * FROM parent, LATERAL bump(parent.id)
SELECT 1 +@ 2
SELECT 1 OPERATOR(public.+@) 2
SELECT bumps(id) FROM parent
SELECT bumps(id) OVER () FROM parent
SELECT 1::checked
SELECT CAST(5 AS checked)
SELECT 1::int::mood
SELECT CAST(id AS mood) FROM parent
SELECT * FROM parent ORDER BY bump(id)
SELECT * FROM parent WHERE bump(id) > 0
SELECT * FROM parent LIMIT (SELECT bump(1))
SELECT count(*) FILTER (WHERE bump(id) > 0) FROM parent
SELECT CASE WHEN true THEN wipe() END
SELECT COALESCE(NULL, wipe())
SELECT (SELECT wipe())
SELECT ARRAY(SELECT wipe())
SELECT * FROM generate_series(1, wipe())
SELECT * FROM ROWS FROM (wipe(), bump(1))
SELECT x FROM unnest(ARRAY[wipe()]) x
SELECT query_to_xml('DELETE FROM parent RETURNING *', true, true, '')
SELECT query_to_xml('SELECT wipe()', true, true, '')
SELECT table_to_xml('parent', true, true, '')
SELECT database_to_xml(true, true, '')
SELECT cursor_to_xml('c', 1, true, true, '')
SELECT ts_stat('SELECT wipe()::text::tsvector')
SELECT * FROM ts_stat('DELETE FROM parent RETURNING name::tsvector')
SELECT ts_rewrite('a'::tsquery, 'SELECT ''a''::tsquery, wipe()::text::tsquery')
SELECT * FROM parent TABLESAMPLE SYSTEM (100)
SELECT xmin, ctid, tableoid::regclass FROM parent
SELECT parent FROM parent
SELECT parent.* FROM public.parent
SELECT public.parent.id FROM public.parent
SELECT row_to_json(p) FROM parent p
SELECT (SELECT count(*) FROM child c WHERE c.parent_id = p.id) FROM parent p
SELECT * FROM parent UNION SELECT * FROM parent EXCEPT SELECT * FROM parent INTERSECT SELECT * FROM parent
SELECT * FROM v_parent
SELECT * FROM v_joined
SELECT * FROM mv
SELECT * FROM stranger
SELECT nextval('seq')
SELECT setval('seq', 1000000)
SELECT setval('child_id_seq', 5000000)
SELECT setval('seq', 1, false)
SELECT lastval()
SELECT currval('seq')
SELECT * FROM seq
SELECT lo_create(0)
SELECT lo_from_bytea(0, 'x')
SELECT lo_creat(-1)
SELECT lo_unlink(12345)
SELECT pg_advisory_lock(1)
SELECT pg_notify('c', 'x')
SELECT pg_logical_emit_message(false, 'p', 'x')
SELECT set_config('epoch.lineage', '1', false)
SELECT set_config('search_path', 'other', false)
SELECT set_config('session_replication_role', 'replica', false)
SELECT pg_reload_conf()
SELECT pg_switch_wal()
SELECT txid_current()
SELECT pg_stat_reset()
SELECT pg_catalog.pg_column_size(parent) FROM parent
SELECT pg_relation_size('parent')
SELECT 'parent'::regclass
SELECT to_regclass('parent')
SELECT has_table_privilege('parent', 'select')
SELECT pg_get_viewdef('v_parent')
SELECT obj_description('parent'::regclass)
SELECT * FROM pg_class WHERE relname = 'parent'
SELECT * FROM information_schema.tables WHERE table_name = 'parent'
SELECT brin_summarize_new_values('child_note_idx')
SELECT gin_clean_pending_list('child_note_idx')
SELECT pg_import_system_collations('public')
SELECT pg_create_restore_point('x')
SELECT pg_terminate_backend(0)
SELECT pg_read_file('PG_VERSION')
SELECT epoch.nothing()
SELECT * FROM epoch.lineage
SELECT * FROM epoch.registered
SELECT * FROM epoch_public.parent
SELECT count(*) FROM epoch.history_1
-- cursors
BEGIN; DECLARE c CURSOR FOR SELECT * FROM parent; FETCH 2 FROM c; CLOSE c; COMMIT
BEGIN; DECLARE c CURSOR FOR SELECT * FROM parent FOR UPDATE; FETCH 1 FROM c; UPDATE parent SET n = 99 WHERE CURRENT OF c; COMMIT
BEGIN; DECLARE c CURSOR FOR SELECT * FROM parent; FETCH 1 FROM c; DELETE FROM parent WHERE CURRENT OF c; COMMIT
BEGIN; DECLARE c CURSOR WITH HOLD FOR SELECT bump(id) FROM parent; COMMIT; FETCH ALL FROM c; CLOSE c
BEGIN; DECLARE c CURSOR FOR SELECT wipe(); FETCH ALL FROM c; COMMIT
BEGIN; DECLARE c BINARY SCROLL CURSOR FOR TABLE parent; MOVE 3 IN c; FETCH BACKWARD 1 FROM c; COMMIT
-- functions that only look harmless
! SELECT by_operator(1)
! SELECT by_domain(1)
! SELECT by_argument(1)
! SELECT by_result(1)
! SELECT by_default(1)
! SELECT by_aggregate(1)
! SELECT by_cast(1)
! SELECT by_cast_too(1)
! SELECT by_turns(1)
! SELECT in_turn(1)
! SELECT by_assignment()
! SELECT by_name('x')
! SELECT by_path(1)
! SELECT overloaded(1)
! SELECT * FROM v_joined v, LATERAL by_name(v.name)
! SELECT * FROM rows_of()
! SELECT count(*) FROM mv
! SELECT by_case()
! SELECT by_length()
! SELECT by_definer()
! SELECT by_attribute(NULL::parent)
! SELECT by_word('ok'::mood, 'bad'::mood)
! SELECT pure_default()
! SELECT * FROM v_locking
! WITH stranger AS (SELECT 1 AS id, 'fake' AS v) SELECT * FROM v_strange
SELECT * FROM v_strange
