//! Data definition on branches of a PostgreSQL backend: tables that are made, changed and dropped there, seen
//! there only, and made on main by a merge.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use common::Fixture;
use common::conn::{self, Conn};
use common::database::catalog;
use common::proxy::{Proxy, ProxyConfig};

const BASE: &str =
    "CREATE TABLE base (id int PRIMARY KEY, v text); INSERT INTO base VALUES (1, 'one'), (2, 'two')";

const NOTES: &str = "CREATE TABLE notes (id serial PRIMARY KEY, title text NOT NULL UNIQUE, \
    stars int DEFAULT 3 CHECK (stars BETWEEN 0 AND 5), made date DEFAULT '2026-01-01')";

fn commit(conn: &mut Conn, message: &str) -> String {
    conn.one(&format!("SELECT hash FROM epoch_commit('{message}')"))
}

fn notes(conn: &mut Conn) -> Vec<String> {
    conn.lines("SELECT id, title, stars, made FROM notes ORDER BY id")
}

fn status(conn: &mut Conn) -> Vec<String> {
    conn.lines(
        "SELECT table_name, change, rows_added, rows_modified, rows_deleted FROM epoch.status ORDER BY 1",
    )
}

/// From CREATE TABLE on a branch to the table on main, and no trace after all is unregistered.
#[test]
fn a_table_made_on_a_branch_comes_to_main_by_a_merge() {
    need_postgres!();
    let f = Fixture::registered(BASE);
    let mut direct = f.direct();
    let mut main = f.main();
    let mut branch = f.branch("feature");
    let before = catalog(&mut direct);

    assert_eq!(branch.exec(NOTES).tags(), ["CREATE TABLE"]);
    assert_eq!(status(&mut branch), ["notes|added|0|0|0"]);
    assert_eq!(branch.exec("INSERT INTO notes (title) VALUES ('a'), ('b')").tags(), ["INSERT 0 2"]);
    assert_eq!(
        branch.lines("INSERT INTO notes (title, stars) VALUES ('c', 5) RETURNING *"),
        ["3|c|5|2026-01-01"]
    );
    assert_eq!(branch.exec("UPDATE notes SET stars = 1 WHERE title = 'a'").tags(), ["UPDATE 1"]);
    assert_eq!(branch.exec("DELETE FROM public.notes WHERE public.notes.id = 2").tags(), ["DELETE 1"]);
    let rows = ["1|a|1|2026-01-01", "3|c|5|2026-01-01"];
    assert_eq!(notes(&mut branch), rows);
    assert_eq!(branch.lines("SELECT b.v, n.title FROM base b JOIN notes n ON n.id = b.id"), ["one|a"]);
    assert_eq!(status(&mut branch), ["notes|added|2|0|0"]);

    // Every way to write.
    branch.exec("BEGIN; TRUNCATE notes");
    assert_eq!(notes(&mut branch), Vec::<String>::new());
    assert_eq!(branch.copy_in("COPY notes (id, title) FROM STDIN", &[b"7\tcopied\n"]).tags(), ["COPY 1"]);
    branch.exec("INSERT INTO notes (id, title) VALUES (7, 'x'), (8, 'y') ON CONFLICT (id) DO UPDATE SET title = excluded.title");
    branch.exec(
        "MERGE INTO notes n USING (VALUES (8), (9)) v (id) ON n.id = v.id WHEN MATCHED THEN DELETE \
        WHEN NOT MATCHED THEN INSERT (id, title) VALUES (v.id, 'merged')",
    );
    assert_eq!(branch.lines("SELECT id, title FROM notes ORDER BY id FOR UPDATE"), ["7|x", "9|merged"]);
    branch.exec("ROLLBACK");
    assert_eq!(notes(&mut branch), rows);

    // PostgreSQL's own errors.
    let error = branch.err("INSERT INTO notes (title) VALUES ('a')");
    assert_eq!((error.code(), error.constraint()), ("23505", "notes_title_key"));
    assert_eq!(error.detail(), "Key (title)=(a) already exists.");
    let error = branch.err("INSERT INTO notes (title, stars) VALUES ('d', 9)");
    assert_eq!((error.code(), error.constraint()), ("23514", "notes_stars_check"));
    assert_eq!(branch.err("INSERT INTO notes (stars) VALUES (1)").code(), "23502");
    assert_eq!(branch.err("CREATE TABLE notes (id int PRIMARY KEY)").code(), "42P07");
    assert_eq!(branch.err("CREATE TABLE base (id int PRIMARY KEY)").code(), "42P07");

    // Nobody else sees it.
    for other in [&mut main, &mut direct] {
        assert_eq!(other.err("SELECT * FROM notes").code(), "42P01");
    }
    assert_eq!(catalog(&mut direct), before, "nothing changes outside our schemas");
    assert_eq!(main.lines("SELECT table_name FROM epoch.tables"), ["base"]);
    assert_eq!(
        branch.lines("SELECT table_name, location FROM epoch.tables ORDER BY 1")[1],
        "notes|postgresql://main/public.notes"
    );

    commit(&mut branch, "notes");
    assert_eq!(status(&mut branch), Vec::<String>::new());
    assert_eq!(
        main.lines("SELECT table_name, diff_type, data_change, schema_change FROM epoch_diff_summary('main', 'feature')"),
        ["notes|added|t|t"]
    );
    assert_eq!(
        main.lines("SELECT diff_type, from_id, to_id, to_title FROM epoch_diff('main', 'feature', 'notes') ORDER BY to_id"),
        ["added||1|a", "added||3|c"]
    );
    assert_eq!(main.lines("SELECT message FROM epoch_log('feature', tables => ARRAY['notes'])"), ["notes"]);
    assert_eq!(
        main.lines("SELECT table_name, diff_type, key FROM epoch_diff('main', 'feature') ORDER BY 3"),
        [r#"notes|added|{"id": 1}"#, r#"notes|added|{"id": 3}"#]
    );

    // A merge makes it on main, in one transaction with its rows.
    let mut fork = f.branch("before");
    let merged = main.call("epoch_merge('feature')", "fast_forward, conflicts");
    assert_eq!(merged, ["t|0"]);
    for who in [&mut main, &mut direct, &mut branch] {
        assert_eq!(notes(who), rows);
    }
    direct.exec("INSERT INTO notes (title) VALUES ('from main')");
    assert_eq!(direct.one("SELECT pg_get_serial_sequence('notes', 'id')"), "public.notes_id_seq");
    assert_eq!(direct.err("INSERT INTO notes (title) VALUES ('a')").constraint(), "notes_title_key");
    assert_eq!(fork.err("SELECT * FROM notes").code(), "42P01", "a branch forked before doesn't have it");
    assert_eq!(notes(&mut branch), rows, "what main does later doesn't show on the branch");
    assert_eq!(status(&mut main), ["notes|modified|1|0|0"]);
    commit(&mut main, "one more");
    assert_eq!(main.lines("SELECT title FROM epoch_at('notes', 'main~1') ORDER BY 1"), ["a", "c"]);

    // It goes on as any other table.
    branch.exec("UPDATE notes SET stars = 2 WHERE id = 3");
    commit(&mut branch, "stars");
    assert_eq!(main.call("epoch_merge('feature')", "fast_forward, conflicts"), ["f|0"]);
    assert_eq!(
        direct.lines("SELECT id, title, stars FROM notes ORDER BY id"),
        ["1|a|1", "3|c|2", "7|from main|3"]
    );
    let mut later = f.branch("later");
    assert_eq!(later.exec("DELETE FROM notes WHERE id = 1").tags(), ["DELETE 1"]);
    assert_eq!(later.one("SELECT count(*) FROM notes"), "2");
    assert_eq!(direct.one("SELECT count(*) FROM notes"), "3");

    for conn in [fork, later, branch] {
        conn.terminate();
    }
    main.exec("SELECT * FROM epoch_unregister('notes', '-f')");
    main.exec("SELECT * FROM epoch_unregister('base', '-f')");
    assert_eq!(
        direct.lines("SELECT nspname FROM pg_namespace WHERE nspname ~ '^epoch'"),
        Vec::<String>::new()
    );
    assert_eq!(direct.lines("SELECT tgname FROM pg_trigger WHERE NOT tgisinternal"), Vec::<String>::new());
    assert_eq!(direct.one("SELECT count(*) FROM notes"), "3");
}

/// As long as it isn't committed, a table changes as PostgreSQL changes one, rows and all.
#[test]
fn an_uncommitted_table_is_altered_with_its_rows() {
    need_postgres!();
    let f = Fixture::registered(BASE);
    let mut branch = f.branch("x");
    branch.exec(NOTES);
    branch.exec("INSERT INTO notes (title) VALUES ('a'), ('b'), ('c')");
    branch.exec("DELETE FROM notes WHERE id = 2");

    assert_eq!(
        branch.exec("ALTER TABLE notes ADD COLUMN n int DEFAULT 7, ADD at timestamptz").tags(),
        ["ALTER TABLE"]
    );
    assert_eq!(branch.lines("SELECT id, title, n, at FROM notes ORDER BY id"), ["1|a|7|", "3|c|7|"]);
    branch.exec("UPDATE notes SET n = id");
    assert_eq!(branch.exec("CREATE UNIQUE INDEX notes_n ON notes (n) WHERE n > 0").tags(), ["CREATE INDEX"]);
    assert_eq!(branch.err("UPDATE notes SET n = 1").constraint(), "notes_n");
    let error = branch.err("CREATE UNIQUE INDEX notes_stars ON notes (stars)");
    assert_eq!((error.code(), error.0[&'s'].as_str()), ("23505", "public"));
    assert_eq!(branch.err("ALTER TABLE notes ALTER at SET NOT NULL").code(), "23502");
    assert_eq!(branch.err("ALTER TABLE notes ADD CHECK (n > 1)").code(), "23514");
    assert_eq!(branch.err("ALTER TABLE notes ADD CONSTRAINT k CHECK (nope > 1)").code(), "42703");
    assert_eq!(branch.one("SELECT count(*) FROM notes"), "2", "what failed changed nothing");
    assert_eq!(branch.exec("DROP INDEX notes_n").tags(), ["DROP INDEX"]);
    assert_eq!(branch.err("DROP INDEX notes_n").code(), "42704");
    assert_eq!(branch.exec("DROP INDEX IF EXISTS notes_n").tags(), ["DROP INDEX"]);
    branch
        .exec("ALTER TABLE notes ALTER n TYPE text USING 'n' || n, DROP COLUMN at, ALTER stars SET NOT NULL");
    branch.exec("ALTER TABLE public.notes RENAME COLUMN n TO label");
    branch.exec("COMMENT ON TABLE notes IS 'what we thought'");
    branch.exec("COMMENT ON COLUMN public.notes.label IS 'a label'");
    assert_eq!(
        branch.lines("SELECT * FROM notes ORDER BY id"),
        ["1|a|3|2026-01-01|n1", "3|c|3|2026-01-01|n3"]
    );
    branch.exec("CREATE INDEX ON notes (label)");
    branch.exec("INSERT INTO notes (title, label) VALUES ('d', 'new')");
    assert_eq!(status(&mut branch), ["notes|added|3|0|0"]);

    commit(&mut branch, "notes");
    f.main().exec("SELECT * FROM epoch_merge('x')");
    let mut direct = f.direct();
    assert_eq!(direct.lines("SELECT id, label FROM notes ORDER BY id"), ["1|n1", "3|n3", "4|new"]);
    assert_eq!(
        direct.one(
            "SELECT obj_description('notes'::regclass) || ', ' || col_description('notes'::regclass, 5)"
        ),
        "what we thought, a label"
    );
    assert_eq!(
        direct.lines(
            "SELECT indexname FROM pg_indexes WHERE schemaname = 'public' AND tablename = 'notes' ORDER BY 1"
        ),
        ["notes_label_idx", "notes_pkey", "notes_title_key"]
    );
}

/// Foreign keys to tables of main, to tables of the branch and to the table itself hold on the branch as on main,
/// and are PostgreSQL's own once a merge has made them there.
#[test]
fn foreign_keys_of_tables_made_on_a_branch() {
    need_postgres!();
    let f = Fixture::registered(BASE);
    let mut direct = f.direct();
    let before = catalog(&mut direct);
    let mut a = f.branch("a");
    a.exec("CREATE TABLE tree (id int PRIMARY KEY, parent int REFERENCES tree ON DELETE CASCADE, base_id int REFERENCES base)");
    a.exec("CREATE TABLE leaf (id int PRIMARY KEY, tree_id int NOT NULL CONSTRAINT hangs REFERENCES public.tree (id) ON DELETE CASCADE, \
        b int REFERENCES base (id) ON UPDATE CASCADE ON DELETE SET NULL)");
    assert_eq!(catalog(&mut direct), before, "main's tables have nothing of it");
    direct.exec("BEGIN; TRUNCATE base; ROLLBACK");
    a.exec("INSERT INTO tree VALUES (1, NULL, 1), (2, 1, 2), (3, 2, NULL)");
    a.exec("INSERT INTO leaf VALUES (10, 1, 1), (20, 3, 2)");
    let error = a.err("INSERT INTO leaf VALUES (30, 9, 1)");
    assert_eq!((error.code(), error.constraint()), ("23503", "hangs"));
    assert_eq!(
        error.message(),
        "insert or update on table \"leaf\" violates foreign key constraint \"hangs\""
    );
    assert_eq!(error.detail(), "Key (tree_id)=(9) is not present in table \"tree\".");
    assert_eq!(a.err("UPDATE leaf SET b = 7").constraint(), "leaf_b_fkey");
    let error = a.err("DELETE FROM base WHERE id = 1");
    assert_eq!(
        error.message(),
        "update or delete on table \"base\" violates foreign key constraint \"tree_base_id_fkey\" on table \"tree\""
    );
    a.exec("UPDATE tree SET base_id = NULL");
    a.exec("UPDATE base SET id = 5 WHERE id = 2");
    a.exec("DELETE FROM base WHERE id = 1");
    assert_eq!(a.lines("SELECT * FROM leaf ORDER BY id"), ["10|1|", "20|3|5"]);
    // Other branches and main don't feel it.
    f.branch("other").exec("DELETE FROM base");
    assert_eq!(f.branch("third").exec("UPDATE base SET id = id + 100").tags(), ["UPDATE 2"]);
    let error = a.err("DROP TABLE tree");
    assert_eq!(
        (error.code(), error.message()),
        ("2BP01", "cannot drop table tree because other objects depend on it")
    );
    a.exec("ALTER TABLE leaf ADD n int");
    a.exec("ALTER TABLE leaf DROP n");
    a.exec("CREATE TABLE p (id int PRIMARY KEY)");
    a.exec("CREATE TABLE c (p int PRIMARY KEY)");
    a.exec("ALTER TABLE c ADD FOREIGN KEY (p) REFERENCES p DEFERRABLE INITIALLY DEFERRED");
    assert_eq!(a.err("ALTER TABLE p ALTER id TYPE bigint").code(), "2BP01");
    a.exec("ALTER TABLE p ADD n int");
    a.exec("CREATE INDEX ON c (p)");
    a.exec("BEGIN; INSERT INTO c VALUES (1); INSERT INTO p VALUES (1); COMMIT");
    assert_eq!(a.err("DELETE FROM p").constraint(), "c_p_fkey");
    assert_eq!(a.exec("TRUNCATE p, c").tags(), ["TRUNCATE TABLE"]);
    a.exec("DROP TABLE c, p");
    commit(&mut a, "tree");

    // On a nested branch, whose parent table is its own.
    a.exec("SELECT * FROM epoch_branch('nested')");
    let mut nested = f.on("nested");
    nested.exec("CREATE TABLE bud (id int PRIMARY KEY, leaf int REFERENCES leaf)");
    assert_eq!(nested.err("INSERT INTO bud VALUES (1, 11)").code(), "23503");
    nested.exec("INSERT INTO bud VALUES (1, 10)");
    assert_eq!(nested.err("DELETE FROM leaf WHERE id = 10").code(), "23503");
    assert_eq!(a.exec("DELETE FROM leaf WHERE id = 10").tags(), ["DELETE 1"]);
    assert_eq!(a.exec("INSERT INTO leaf VALUES (10, 1, NULL)").tags(), ["INSERT 0 1"]);
    commit(&mut nested, "bud");
    // What was dropped holds nobody back.
    nested.exec("DROP TABLE bud");
    assert_eq!(nested.exec("DELETE FROM leaf WHERE id = 10").tags(), ["DELETE 1"]);
    nested.exec("SELECT * FROM epoch_reset('--hard')");
    assert_eq!(nested.lines("SELECT * FROM bud"), ["1|10"]);
    assert_eq!(nested.err("DELETE FROM leaf WHERE id = 10").code(), "23503");
    a.exec("DROP TABLE leaf, tree");
    commit(&mut a, "no trees");
    assert_eq!(a.exec("DELETE FROM base").tags(), ["DELETE 1"]);
    a.exec("SELECT * FROM epoch_reset('--hard', 'a~1')");
    assert_eq!(a.lines("SELECT * FROM leaf ORDER BY id"), ["10|1|", "20|3|5"]);
    assert_eq!(a.exec("DELETE FROM tree WHERE id = 2").tags(), ["DELETE 1"]);
    assert_eq!(a.lines("SELECT id FROM leaf"), ["10"]);
    a.exec("SELECT * FROM epoch_reset('--hard')");

    // Registered tables that they refer to can't go; on main, PostgreSQL keeps the keys.
    let mut main = f.main();
    direct.exec("CREATE TABLE more (id int PRIMARY KEY)");
    main.exec("SELECT * FROM epoch_register('more')");
    let error = main.err("SELECT * FROM epoch_unregister('base')");
    assert_eq!(error.code(), "55000");
    assert_eq!(main.call("epoch_merge('nested')", "fast_forward"), ["t"]);
    assert_eq!(direct.lines("SELECT * FROM leaf ORDER BY id"), ["10|1|", "20|3|5"]);
    assert_eq!(direct.lines("SELECT * FROM bud"), ["1|10"]);
    let keys = "SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint WHERE contype = 'f' AND connamespace = 'public'::regnamespace ORDER BY 1";
    assert_eq!(
        direct.lines(keys),
        [
            "bud_leaf_fkey|FOREIGN KEY (leaf) REFERENCES leaf(id)",
            "hangs|FOREIGN KEY (tree_id) REFERENCES tree(id) ON DELETE CASCADE",
            "leaf_b_fkey|FOREIGN KEY (b) REFERENCES base(id) ON UPDATE CASCADE ON DELETE SET NULL",
            "tree_base_id_fkey|FOREIGN KEY (base_id) REFERENCES base(id)",
            "tree_parent_fkey|FOREIGN KEY (parent) REFERENCES tree(id) ON DELETE CASCADE",
        ]
    );
    assert_eq!(direct.err("DELETE FROM leaf").constraint(), "bud_leaf_fkey");
    // And on branches as before.
    assert_eq!(nested.err("DELETE FROM leaf WHERE id = 10").constraint(), "bud_leaf_fkey");
    let mut later = f.branch("later");
    assert_eq!(later.err("INSERT INTO leaf VALUES (1, 77, NULL)").constraint(), "hangs");
    later.exec("DELETE FROM bud");
    later.exec("DELETE FROM tree WHERE id = 1");
    assert_eq!(later.one("SELECT count(*) FROM leaf"), "0");
    assert_eq!(direct.one("SELECT count(*) FROM leaf"), "2");
}

/// Branches don't meet: each has its own table of a name, also one that main makes later.
#[test]
fn branches_have_tables_of_one_name() {
    need_postgres!();
    let f = Fixture::registered(BASE);
    let (mut a, mut b, mut same) = (f.branch("a"), f.branch("b"), f.branch("same"));
    a.exec("CREATE TABLE t (id int PRIMARY KEY, v text)");
    b.exec("CREATE TABLE t (k text PRIMARY KEY, id int)");
    same.exec("CREATE TABLE IF NOT EXISTS t (id int PRIMARY KEY, v text)");
    assert_eq!(same.exec("CREATE TABLE IF NOT EXISTS t (other int PRIMARY KEY)").tags(), ["CREATE TABLE"]);
    a.exec("INSERT INTO t VALUES (1, 'a')");
    b.exec("INSERT INTO t VALUES ('b', 2)");
    same.exec("INSERT INTO t VALUES (2, 'same')");
    assert_eq!(a.lines("SELECT * FROM t"), ["1|a"]);
    assert_eq!(b.lines("SELECT * FROM t"), ["b|2"]);
    for conn in [&mut a, &mut b, &mut same] {
        commit(conn, "t");
    }
    let mut main = f.main();
    main.exec("SELECT * FROM epoch_merge('a')");
    // A table that main has now isn't the branches'.
    main.exec("INSERT INTO t VALUES (9, 'main')");
    assert_eq!(b.lines("SELECT * FROM t"), ["b|2"]);
    let waits = main.call("epoch_merge('b')", "message").concat();
    assert!(waits.starts_with("1 conflicts (table \"t\": made differently on both sides)"), "{waits}");
    main.exec("SELECT * FROM epoch_merge('--abort')");
    commit(&mut main, "nine");
    // The same definition on both sides is one table.
    assert_eq!(main.call("epoch_merge('same')", "conflicts"), ["0"]);
    assert_eq!(f.direct().lines("SELECT * FROM t ORDER BY id"), ["1|a", "2|same", "9|main"]);
    // A table that somebody made on main without us.
    b.exec("CREATE TABLE mine (id int PRIMARY KEY)");
    commit(&mut b, "mine");
    b.exec("DROP TABLE t");
    commit(&mut b, "no t");
    f.direct().exec("CREATE TABLE mine (other int)");
    assert_eq!(b.one("SELECT count(*) FROM mine"), "0");
    let error = main.err("SELECT * FROM epoch_merge('b')");
    assert_eq!((error.code(), error.message()), ("42P07", "table \"mine\" cannot be created on main"));
    assert_eq!(status(&mut main), Vec::<String>::new());
    f.direct().exec("DROP TABLE mine");
    main.exec("SELECT * FROM epoch_merge('b')");
    assert_eq!(f.direct().one("SELECT count(*) FROM mine"), "0");
}

/// What a commit shows stays; a reset brings tables back and takes them away.
#[test]
fn commits_nested_branches_and_resets() {
    need_postgres!();
    let f = Fixture::registered(BASE);
    let mut a = f.branch("a");
    let empty = a.one("SELECT hash FROM epoch.branches WHERE name = 'a'");
    a.exec("CREATE TABLE t (id int PRIMARY KEY, v text)");
    let bare = commit(&mut a, "a table without rows");
    a.exec("INSERT INTO t VALUES (1, 'one'), (2, 'two')");
    let two = commit(&mut a, "rows");

    // A branch of the branch has it as of the fork.
    a.exec("SELECT * FROM epoch_branch('nested')");
    let mut nested = f.on("nested");
    a.exec("UPDATE t SET v = 'later' WHERE id = 1");
    assert_eq!(nested.lines("SELECT * FROM t ORDER BY id"), ["1|one", "2|two"]);
    nested.exec("UPDATE t SET v = 'nested' WHERE id = 2");
    nested.exec("CREATE TABLE own (id int PRIMARY KEY)");
    assert_eq!(a.err("SELECT * FROM own").code(), "42P01");
    commit(&mut nested, "nested");
    assert_eq!(a.lines("SELECT * FROM t ORDER BY id"), ["1|later", "2|two"]);

    // DROP TABLE is a change, committed as any other.
    assert_eq!(a.exec("DROP TABLE t").tags(), ["DROP TABLE"]);
    assert_eq!(a.err("SELECT * FROM t").code(), "42P01");
    assert_eq!(status(&mut a), ["t|removed|0|0|2"]);
    a.exec("SELECT * FROM epoch_reset('--hard')");
    assert_eq!(a.lines("SELECT * FROM t ORDER BY id"), ["1|one", "2|two"], "as of the last commit");
    assert_eq!(status(&mut a), Vec::<String>::new());
    a.exec("UPDATE t SET v = 'changed' WHERE id = 1; ");
    a.exec("DROP TABLE t");
    let dropped = commit(&mut a, "dropped");
    assert_eq!(
        a.lines(&format!(
            "SELECT table_name, diff_type, schema_change FROM epoch_diff_summary('{two}', '{dropped}')"
        )),
        ["t|removed|t"]
    );
    assert_eq!(
        a.lines(&format!(
            "SELECT diff_type, from_id, to_id FROM epoch_diff('{two}', '{dropped}', 't') ORDER BY 2"
        )),
        ["removed|1|", "removed|2|"]
    );
    a.exec("CREATE TABLE t (other text PRIMARY KEY)");
    a.exec("INSERT INTO t VALUES ('new')");
    let again = commit(&mut a, "another t");

    // Every commit as it was.
    assert_eq!(f.on(&empty).err("SELECT * FROM t").code(), "42P01");
    assert_eq!(f.on(&bare).one("SELECT count(*) FROM t"), "0");
    assert_eq!(f.on(&two).lines("SELECT * FROM t ORDER BY id"), ["1|one", "2|two"]);
    assert_eq!(f.on(&two).err("CREATE TABLE x (id int PRIMARY KEY)").code(), "25006");
    assert_eq!(f.on(&dropped).err("SELECT * FROM t").code(), "42P01");
    assert_eq!(f.on(&again).lines("SELECT * FROM t"), ["new"]);
    assert_eq!(nested.lines("SELECT * FROM t ORDER BY id"), ["1|one", "2|nested"]);

    // Back and forth.
    for (target, rows) in
        [(&two, Some(vec!["1|one", "2|two"])), (&dropped, None), (&bare, Some(vec![])), (&empty, None)]
    {
        a.exec(&format!("SELECT * FROM epoch_reset('--hard', '{target}')"));
        match rows {
            Some(rows) => assert_eq!(a.lines("SELECT * FROM t ORDER BY id"), rows, "{target}"),
            None => assert_eq!(a.err("SELECT * FROM t").code(), "42P01", "{target}"),
        }
        assert_eq!(status(&mut a), Vec::<String>::new());
    }
    a.exec(&format!("SELECT * FROM epoch_reset('--hard', '{again}')"));
    assert_eq!(a.lines("SELECT * FROM t"), ["new"]);
    assert_eq!(a.lines(&format!("SELECT * FROM epoch_at('t', '{two}') ORDER BY id")), ["1|one", "2|two"]);
    assert_eq!(a.err(&format!("SELECT * FROM epoch_diff('{bare}', '{two}', 't')")).code(), "55000");

    // The head alone goes back, then an amended commit says it all.
    a.exec(&format!("SELECT * FROM epoch_reset('--soft', '{empty}')"));
    assert_eq!(status(&mut a), ["t|added|1|0|0"]);
    commit(&mut a, "all at once");
    a.exec("INSERT INTO t VALUES ('more')");
    a.exec("CREATE TABLE u (id int PRIMARY KEY)");
    a.exec("SELECT * FROM epoch_commit('--amend', '-m', 'amended')");
    assert_eq!(
        a.lines(&format!("SELECT table_name, diff_type FROM epoch_diff_summary('{empty}', 'a') ORDER BY 1")),
        ["t|added", "u|added"]
    );
    assert_eq!(a.lines("SELECT message FROM epoch_log('main..a')"), ["amended"]);
    a.exec(&format!("SELECT * FROM epoch_reset('--hard', '{again}')"));
    assert_eq!(a.lines("SELECT * FROM t"), ["new"]);
    assert_eq!(a.err("SELECT * FROM u").code(), "42P01");

    // Into the branch from its branch, and a table that the other side changed meanwhile.
    assert_eq!(a.call("epoch_merge('nested')", "conflicts"), ["1"]);
    assert_eq!(a.lines("SELECT * FROM epoch.conflicts"), ["t|1"]);
    a.exec("SELECT * FROM epoch_merge('--abort')");
    a.exec(&format!("SELECT * FROM epoch_reset('--hard', '{two}')"));
    assert_eq!(a.call("epoch_merge('nested')", "fast_forward"), ["t"]);
    assert_eq!(a.lines("SELECT * FROM t ORDER BY id"), ["1|one", "2|nested"]);
    assert_eq!(a.one("SELECT count(*) FROM own"), "0");
}

/// A three-way merge on a branch brings tables of the other side, and drops what it dropped.
#[test]
fn merges_between_branches() {
    need_postgres!();
    let f = Fixture::registered(BASE);
    let mut a = f.branch("a");
    a.exec("CREATE TABLE old (id int PRIMARY KEY)");
    a.exec("INSERT INTO old VALUES (1)");
    commit(&mut a, "old");
    a.exec("SELECT * FROM epoch_branch('b')");
    let mut b = f.on("b");
    b.exec("CREATE TABLE t (id int PRIMARY KEY, v text)");
    b.exec("INSERT INTO t VALUES (1, 'b'), (2, 'b')");
    b.exec("DROP TABLE old");
    commit(&mut b, "t instead of old");
    a.exec("UPDATE base SET v = 'a' WHERE id = 1");
    commit(&mut a, "base");
    a.exec("CREATE TABLE pending (id int PRIMARY KEY)");
    assert_eq!(a.err("SELECT * FROM epoch_merge('b')").code(), "55000");
    a.exec("DROP TABLE pending");
    assert_eq!(a.call("epoch_merge('b')", "fast_forward, conflicts"), ["f|0"]);
    assert_eq!(a.lines("SELECT * FROM t ORDER BY id"), ["1|b", "2|b"]);
    assert_eq!(a.err("SELECT * FROM old").code(), "42P01");
    assert_eq!(a.one("SELECT count(*) FROM epoch_at('old', 'HEAD~1')"), "1");
    // Both go on with it, and meet in one row.
    a.exec("UPDATE t SET v = 'a' WHERE id = 1");
    commit(&mut a, "a");
    b.exec("UPDATE t SET v = 'bb' WHERE id IN (1, 2)");
    commit(&mut b, "bb");
    assert_eq!(a.call("epoch_merge('b')", "conflicts"), ["1"]);
    a.exec("SELECT * FROM epoch_conflicts_resolve('theirs')");
    a.exec("SELECT * FROM epoch_merge('--continue')");
    assert_eq!(a.lines("SELECT * FROM t ORDER BY id"), ["1|bb", "2|bb"]);
    f.main().exec("SELECT * FROM epoch_merge('a')");
    assert_eq!(f.direct().lines("SELECT * FROM t ORDER BY id"), ["1|bb", "2|bb"]);
    assert_eq!(f.direct().err("SELECT * FROM old").code(), "42P01");
}

/// What a branch can't do is refused by name, and changes nothing.
#[test]
fn what_is_refused() {
    need_postgres!();
    let f = Fixture::registered(BASE);
    let mut direct = f.direct();
    direct.exec("CREATE SCHEMA sales; CREATE VIEW reads AS SELECT * FROM base; CREATE TABLE loose (id int PRIMARY KEY)");
    let before = catalog(&mut direct);
    let mut branch = f.branch("x");
    branch.exec("CREATE TABLE t (id int PRIMARY KEY)");
    for (sql, code, message) in [
        ("CREATE TABLE u (id int)", "42830", "table \"u\" has no usable key"),
        (
            "CREATE TABLE u (id int PRIMARY KEY REFERENCES loose)",
            "0A000",
            "a foreign key to \"loose\", which is not versioned, on a branch",
        ),
        (
            "CREATE TABLE u (id text PRIMARY KEY REFERENCES base (v))",
            "42830",
            "there is no unique constraint matching given keys for referenced table \"base\"",
        ),
        (
            "CREATE TABLE u (id text PRIMARY KEY REFERENCES base)",
            "42804",
            "foreign key constraint \"u_id_fkey\" cannot be implemented",
        ),
        (
            "CREATE TABLE u (id int PRIMARY KEY REFERENCES nothing)",
            "42P01",
            "relation \"nothing\" does not exist",
        ),
        (
            "CREATE TABLE u (id int PRIMARY KEY) PARTITION BY RANGE (id)",
            "0A000",
            "CREATE TABLE with INHERITS, OF or PARTITION on a branch",
        ),
        (
            "CREATE TABLE u () INHERITS (base)",
            "0A000",
            "CREATE TABLE with INHERITS, OF or PARTITION on a branch",
        ),
        ("ALTER TABLE base_v RENAME TO u", "42P01", "relation \"base_v\" does not exist"),
        ("ALTER TABLE t ENABLE ROW LEVEL SECURITY", "0A000", "this form of ALTER TABLE on a branch"),
        (
            "CREATE TABLE u WITH (fillfactor = 50) AS SELECT 1 AS id",
            "0A000",
            "CREATE TABLE AS with USING, WITH, ON COMMIT or TABLESPACE on a branch",
        ),
        ("CREATE TABLE nowhere.u (id int PRIMARY KEY)", "3F000", "schema \"nowhere\" does not exist"),
        ("CREATE TABLE epoch_public.u (id int PRIMARY KEY)", "42501", ""),
        ("CREATE TABLE u (id int PRIMARY KEY, n nothing)", "42704", "type \"nothing\" does not exist"),
        (
            "CREATE TABLE u (id int PRIMARY KEY); SELECT epoch_commit('u')",
            "0A000",
            "CREATE TABLE together with such statements in one string on a branch",
        ),
        ("ALTER TABLE nothing ADD n int", "42P01", "relation \"nothing\" does not exist"),
        ("DROP TABLE nothing", "42P01", "table \"nothing\" does not exist"),
    ] {
        let error = branch.err(sql);
        assert_eq!(error.code(), code, "{sql}: {}", error.message());
        let message =
            if code == "0A000" { format!("{message} is not supported") } else { message.to_owned() };
        assert!(message.is_empty() || error.message() == message, "{sql}: {}", error.message());
    }
    assert_eq!(branch.exec("DROP TABLE IF EXISTS nothing").tags(), ["DROP TABLE"]);
    branch.exec("BEGIN ISOLATION LEVEL SERIALIZABLE");
    let error = branch.err("CREATE TABLE u (id int PRIMARY KEY)");
    assert_eq!(
        (error.code(), error.message()),
        (
            "0A000",
            "CREATE TABLE in a REPEATABLE READ or SERIALIZABLE transaction on a branch is not supported"
        )
    );
    branch.exec("ROLLBACK");
    branch.exec("SET default_transaction_read_only = on");
    assert_eq!(branch.err("CREATE TABLE u (id int PRIMARY KEY)").code(), "25006");
    branch.exec("RESET default_transaction_read_only");
    assert_eq!(branch.err("SELECT * FROM u").code(), "42P01");
    assert_eq!(catalog(&mut direct), before);

    // The search path says where, and what types mean.
    branch.exec("SET search_path = sales, public");
    branch.exec("CREATE TABLE t (id int PRIMARY KEY, v text DEFAULT 'sales')");
    branch.exec("INSERT INTO t VALUES (1)");
    assert_eq!(branch.lines("SELECT * FROM t"), ["1|sales"]);
    assert_eq!(branch.one("SELECT count(*) FROM public.t"), "0");
    branch.exec("SET search_path = public, sales");
    assert_eq!(branch.one("SELECT count(*) FROM t"), "0");
    // As text with a position, through the extended protocol, under other settings.
    branch.exec("SET DateStyle = 'SQL, DMY'");
    branch.extended("CREATE TABLE dated (id int PRIMARY KEY, d date DEFAULT '02/01/2026')", &[], true);
    branch.exec("RESET DateStyle");
    branch.exec("INSERT INTO dated VALUES (1)");
    assert_eq!(branch.lines("SELECT * FROM dated"), ["1|2026-01-02"]);
    let error = branch.err("  CREATE TABLE \"ä\" (id int PRIMARY KEY, CHECK (nope > 1))");
    assert_eq!((error.code(), error.0[&'P'].as_str()), ("42703", "48"));
    branch.exec("CREATE TABLE likewise (LIKE t INCLUDING ALL, more text)");
    assert_eq!(branch.lines("INSERT INTO likewise VALUES (1, 'x') RETURNING *"), ["1|x"]);
}

/// Deleting a branch takes its uncommitted tables with it; the last table of main takes all.
#[test]
fn nothing_is_left_behind() {
    need_postgres!();
    let f = Fixture::registered(BASE);
    let mut direct = f.direct();
    let ours =
        "SELECT nspname FROM pg_namespace WHERE nspname LIKE 'epoch\\_b%' OR nspname LIKE 'epoch\\_epoch%'";
    let mut branch = f.branch("x");
    branch.exec("CREATE TABLE t (id int PRIMARY KEY)");
    assert_eq!(direct.lines(ours).len(), 2);
    branch.exec("DROP TABLE t");
    assert_eq!(direct.lines(ours), Vec::<String>::new());
    branch.exec("CREATE TABLE t (id int PRIMARY KEY)");
    branch.exec("SELECT * FROM epoch_reset('--hard')");
    assert_eq!(direct.lines(ours), Vec::<String>::new());
    branch.exec("CREATE TABLE t (id int PRIMARY KEY)");
    branch.exec("INSERT INTO t VALUES (1)");
    let mut main = f.main();
    branch.terminate();
    // Until the proxy has noticed that the session ended.
    let refused = std::iter::repeat_with(|| main.err("SELECT * FROM epoch_branch('-d', 'x')"))
        .find(|e| e.code() != "55006")
        .unwrap();
    assert_eq!((refused.code(), refused.message()), ("55000", "branch \"x\" has uncommitted changes"));
    main.exec("SELECT * FROM epoch_branch('-D', 'x')");
    assert_eq!(direct.lines(ours), Vec::<String>::new());

    // A branch that another one takes the place of is deleted, too.
    let mut branch = f.branch("x");
    branch.exec("CREATE TABLE t (id int PRIMARY KEY)");
    main.exec("SELECT * FROM epoch_branch('-f', 'x')");
    assert_eq!(direct.lines(ours), Vec::<String>::new());

    let mut branch = f.branch("y");
    branch.exec("CREATE TABLE t (id int PRIMARY KEY)");
    commit(&mut branch, "t");
    let error = main.err("SELECT * FROM epoch_unregister('base')");
    assert_eq!((error.code(), error.detail()), ("55000", "Tables: t on y."));
    main.exec("SELECT * FROM epoch_unregister('base', '-f')");
    assert_eq!(
        direct.lines("SELECT nspname FROM pg_namespace WHERE nspname ~ '^epoch'"),
        Vec::<String>::new()
    );
}

/// Another proxy on the same metadata sees a definition at once; a writer and a change of the table wait for each other.
#[test]
fn two_sessions_and_two_proxies() {
    need_postgres!();
    let f = Fixture::registered(BASE);
    let mut one = f.branch("x");
    let metadata = format!("sqlite://{}", f.proxy.dir.path().join("meta.db").display());
    let second =
        Proxy::start(ProxyConfig { metadata_url: Some(metadata), ..ProxyConfig::postgres(&f.db.url()) });
    let mut two = second.connect("x");
    one.exec("CREATE TABLE t (id int PRIMARY KEY, v int)");
    assert_eq!(two.exec("INSERT INTO t VALUES (1, 10)").tags(), ["INSERT 0 1"]);
    two.exec("BEGIN");
    two.exec("UPDATE t SET v = 11");
    one.send(&[conn::query("ALTER TABLE t ADD n int DEFAULT 1")]);
    let mut direct = f.direct();
    while direct.lines("SELECT 1 FROM pg_locks WHERE NOT granted AND mode = 'AccessExclusiveLock'").is_empty()
    {
        std::thread::yield_now();
    }
    two.exec("COMMIT");
    assert_eq!(one.reply().tags(), ["ALTER TABLE"]);
    assert_eq!(two.lines("SELECT * FROM t"), ["1|11|1"]);
    two.exec("DROP TABLE t");
    assert_eq!(one.err("SELECT * FROM t").code(), "42P01");
}

/// Killed at any step, a definition or a merge that makes a table has happened or hasn't.
#[test]
fn a_crash_leaves_all_or_nothing() {
    need_postgres!();
    let mut f = Fixture::registered(BASE);
    drop(f.branch("x"));
    let make = "CREATE TABLE t (id int PRIMARY KEY, v text)";
    f.dies("table-defined", "x", make);
    assert_eq!(f.on("x").err("SELECT * FROM t").code(), "42P01");
    f.on("x").exec(make);
    f.on("x").exec("INSERT INTO t VALUES (1, 'one')");
    f.dies("table-defined", "x", "ALTER TABLE t ADD n int DEFAULT 5");
    assert_eq!(f.on("x").lines("SELECT * FROM t"), ["1|one|5"]);
    f.dies("journal-written", "x", "SELECT epoch_commit('t')");
    assert_eq!(status(&mut f.on("x")), ["t|added|1|0|0"]);
    f.dies("all-sealed", "x", "SELECT epoch_commit('t')");
    assert_eq!(status(&mut f.on("x")), Vec::<String>::new());
    f.dies("journal-written", "main", "SELECT epoch_merge('x')");
    assert_eq!(f.direct().err("SELECT * FROM t").code(), "42P01");
    assert_eq!(f.on("x").lines("SELECT * FROM t"), ["1|one|5"]);
    f.dies("all-sealed", "main", "SELECT epoch_merge('x')");
    assert_eq!(f.direct().lines("SELECT * FROM t"), ["1|one|5"]);
    assert_eq!(f.main().lines("SELECT * FROM t"), ["1|one|5"]);
    assert_eq!(f.on("x").lines("SELECT * FROM t"), ["1|one|5"]);
    f.direct().exec("INSERT INTO t VALUES (2, 'two')");
    assert_eq!(status(&mut f.main()), ["t|modified|1|0|0"], "the table on main is captured");
}

/// What every ref shows of `t`: the commit of a branch, by its hash, and the branch.
fn shown(fixture: &Fixture, branches: &[&str]) -> Vec<Vec<String>> {
    let mut all = Vec::new();
    for branch in branches {
        let mut conn = fixture.on(branch);
        let rows = conn.lines("SELECT id, v FROM t ORDER BY id");
        let hash = conn.one("SELECT epoch_hashof('HEAD')");
        assert_eq!(fixture.on(&hash).lines("SELECT id, v FROM t ORDER BY id"), rows, "{branch} at {hash}");
        all.push(rows);
    }
    all
}

#[test]
fn a_table_that_was_dropped_and_made_again_is_there_after_a_merge() {
    need_postgres!();
    for again in ["id int PRIMARY KEY, v text", "id int PRIMARY KEY, v varchar(9), n int"] {
        let fixture = Fixture::registered("CREATE TABLE other (id int PRIMARY KEY)");
        let mut p = fixture.branch("p");
        p.exec("CREATE TABLE t (id int PRIMARY KEY, v text)");
        p.exec("INSERT INTO t VALUES (1, 'old')");
        p.exec("SELECT * FROM epoch_commit('made')");
        p.exec("SELECT * FROM epoch_branch('q')");
        let mut q = fixture.on("q");
        q.exec("DROP TABLE t");
        q.exec(&format!("CREATE TABLE t ({again})"));
        q.exec("INSERT INTO t (id, v) VALUES (2, 'new')");
        q.exec("SELECT * FROM epoch_commit('again')");
        p.exec("SELECT * FROM epoch_merge('q')");
        assert_eq!(shown(&fixture, &["p", "q"]), [["2|new"], ["2|new"]], "{again}");
        fixture.main().exec("SELECT * FROM epoch_merge('q')");
        assert_eq!(shown(&fixture, &["main", "p", "q"]), [["2|new"], ["2|new"], ["2|new"]], "{again}");
        assert_eq!(fixture.direct().lines("SELECT id, v FROM t"), ["2|new"]);
    }
}

#[test]
fn tables_made_alike_on_two_branches_go_on_as_one() {
    need_postgres!();
    let fixture = Fixture::registered("CREATE TABLE other (id int PRIMARY KEY)");
    let (mut d, mut e) = (fixture.branch("d"), fixture.branch("e"));
    for (conn, row) in [(&mut d, "(1, 'd')"), (&mut e, "(2, 'e')")] {
        conn.exec("CREATE TABLE t (id int PRIMARY KEY, v text)");
        conn.exec(&format!("INSERT INTO t VALUES {row}"));
        conn.exec("SELECT * FROM epoch_commit('made')");
    }
    d.exec("SELECT * FROM epoch_merge('e')");
    assert_eq!(shown(&fixture, &["d", "e"]), [vec!["1|d", "2|e"], vec!["2|e"]]);
    e.exec("INSERT INTO t VALUES (3, 'late')");
    assert_eq!(e.err("SELECT * FROM epoch_merge('d')").code(), "55000");
    assert_eq!(e.lines("SELECT id, v FROM t ORDER BY id"), ["2|e", "3|late"]);
    e.exec("SELECT * FROM epoch_commit('late')");
    e.exec("UPDATE t SET v = 'E' WHERE id = 2");
    e.exec("SELECT * FROM epoch_commit('changed')");
    d.exec("DELETE FROM t WHERE id = 1");
    d.exec("SELECT * FROM epoch_commit('deleted')");
    d.exec("SELECT * FROM epoch_merge('e')");
    assert_eq!(shown(&fixture, &["d", "e"]), [vec!["2|E", "3|late"], vec!["2|E", "3|late"]]);
    e.exec("SELECT * FROM epoch_merge('d')");
    assert_eq!(shown(&fixture, &["d", "e"]), [vec!["2|E", "3|late"], vec!["2|E", "3|late"]]);
    fixture.main().exec("SELECT * FROM epoch_merge('e')");
    assert_eq!(shown(&fixture, &["main"]), [["2|E", "3|late"]]);
}

#[test]
fn a_merge_into_main_waits_for_a_locked_row_for_some_time_only() {
    need_postgres!();
    let fixture = Fixture::registered(
        "CREATE TABLE mp (id int PRIMARY KEY, v int); CREATE TABLE mw (id int PRIMARY KEY, v int); \
         INSERT INTO mp VALUES (1, 1); INSERT INTO mw VALUES (1, 1), (2, 2)",
    );
    let mut branch = fixture.branch("mb");
    branch.exec("CREATE TABLE mc (id int PRIMARY KEY, p int REFERENCES mp)");
    branch.exec("INSERT INTO mc VALUES (1, 1)");
    branch.exec("UPDATE mw SET v = 9 WHERE id = 2");
    branch.exec("SELECT * FROM epoch_commit('work')");
    let mut idle = fixture.direct();
    idle.exec("BEGIN; SELECT * FROM mw WHERE id = 2 FOR UPDATE");
    let mut main = fixture.main();
    main.send(&[common::conn::query("SELECT * FROM epoch_merge('mb')")]);
    // Meanwhile nobody is kept from the table that the new one refers to.
    let mut direct = fixture.direct();
    let waits = "SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype IN ('transactionid', 'tuple')";
    while direct.one(waits) == "0" {
        std::thread::yield_now();
    }
    direct.exec("SET lock_timeout = '2s'; UPDATE mp SET v = 2");
    let reply = main.reply();
    assert_eq!(reply.error().map(|e| e.code()), Some("55P03"), "{reply:?}");
    idle.exec("ROLLBACK");
    main.exec("SELECT * FROM epoch_merge('mb')");
    assert_eq!(direct.one("SELECT v FROM mw WHERE id = 2"), "9");
    assert_eq!(direct.err("INSERT INTO mc VALUES (2, 7)").code(), "23503");
}
