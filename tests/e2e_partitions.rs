//! Partitioned tables through the proxy, and what is said of tables that somebody changed past it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use common::Fixture;
use common::database::Database;

const SETUP: &str = "CREATE TABLE place (id int PRIMARY KEY, name text) PARTITION BY HASH (id);
    CREATE TABLE place_0 PARTITION OF place FOR VALUES WITH (MODULUS 2, REMAINDER 0);
    CREATE TABLE place_1 PARTITION OF place FOR VALUES WITH (MODULUS 2, REMAINDER 1);
    CREATE TABLE m (id int, day date, place int CONSTRAINT m_place REFERENCES place ON DELETE CASCADE, v int DEFAULT 0, PRIMARY KEY (id, day)) PARTITION BY RANGE (day);
    CREATE TABLE m_1 PARTITION OF m FOR VALUES FROM ('2026-01-01') TO ('2026-02-01');
    CREATE TABLE m_2 (v int, gone int, day date NOT NULL, place int, id int NOT NULL); ALTER TABLE m_2 DROP gone; ALTER TABLE m ATTACH PARTITION m_2 FOR VALUES FROM ('2026-02-01') TO ('2026-03-01');
    CREATE TABLE m_3 PARTITION OF m FOR VALUES FROM ('2026-03-01') TO ('2026-04-01') PARTITION BY HASH (id);
    CREATE TABLE m_3a PARTITION OF m_3 FOR VALUES WITH (MODULUS 2, REMAINDER 0); CREATE TABLE m_3b PARTITION OF m_3 FOR VALUES WITH (MODULUS 2, REMAINDER 1);
    CREATE INDEX m_v ON m (v);
    CREATE TABLE note (id int PRIMARY KEY, m int, day date, CONSTRAINT note_m FOREIGN KEY (m, day) REFERENCES m ON DELETE SET NULL);
    INSERT INTO place SELECT g, 'p' || g FROM generate_series(1, 20) g;
    INSERT INTO m SELECT g, date '2026-01-01' + g % 90, 1 + g % 20, g FROM generate_series(1, 3000) g;
    INSERT INTO note VALUES (1, 5, '2026-01-06'), (2, 40, '2026-02-10');
    ANALYZE";

/// On plain PostgreSQL and on a branch alike.
const SAME: &[&str] = &[
    "SELECT * FROM m WHERE id = 7 AND day = '2026-01-08'",
    "SELECT count(*), sum(v) FROM m",
    "SELECT id FROM m WHERE v BETWEEN 40 AND 45 ORDER BY v",
    "SELECT m.id, p.name FROM m JOIN place p ON p.id = m.place WHERE m.id < 4 ORDER BY 1",
    "SELECT count(*) FROM ONLY m",
    "SELECT count(*) FROM m WHERE EXISTS (SELECT FROM ONLY (place))",
    "SELECT count(*) FROM ONLY note",
    "COPY m TO STDOUT",
    "COPY (SELECT * FROM m WHERE id < 3 ORDER BY id) TO STDOUT",
    "UPDATE m SET day = '2026-03-05', v = -1 WHERE id = 7 RETURNING *",
    "UPDATE m SET place = 2 WHERE id = 7 RETURNING v",
    "INSERT INTO m VALUES (5, '2026-01-06', 1)  ON CONFLICT (id, day) DO UPDATE SET v = 99 RETURNING v",
    "DELETE FROM m WHERE id = 5 RETURNING id",
    "SELECT * FROM note ORDER BY id",
    "INSERT INTO note VALUES (3, 5, '2026-01-06')",
    "INSERT INTO note VALUES (3, 7, '2026-03-05')",
    "DELETE FROM place WHERE id = 3",
    "SELECT count(*), min(place) FROM m WHERE place < 5",
    "INSERT INTO m (id, place, day) SELECT 9000 + g, g, '2026-02-02' FROM generate_series(1, 2) g RETURNING id, day, place, v",
    "SELECT * FROM m WHERE id > 9000 ORDER BY id FOR UPDATE",
    "SELECT tableoid IS NULL FROM place WHERE false",
    "TRUNCATE m",
    "TRUNCATE m, note",
    "SELECT count(*) FROM m",
];

#[test]
fn a_partitioned_table_on_a_branch() {
    need_postgres!();
    let plain = Database::create();
    plain.connect().exec(SETUP);
    let shop = Fixture::registered(SETUP);
    let registered = "SELECT string_agg(table_name, ' ' ORDER BY table_name) FROM epoch.tables";
    assert_eq!(shop.main().one(registered), "m note place");
    let mut branch = shop.branch("b");
    let before = shop.direct().lines("SELECT tableoid::regclass, * FROM m ORDER BY id");
    let mut direct = plain.connect();
    for sql in SAME {
        let (expected, got) = (direct.simple(sql).essence(), branch.simple(sql).essence());
        // System columns are refused on a branch.
        if sql.contains("tableoid") {
            assert_eq!(branch.err(sql).code(), "0A000");
            continue;
        }
        assert_eq!(got, expected, "{sql}");
    }
    for sql in [
        "SELECT * FROM m_1",
        "DELETE FROM m_1",
        "TRUNCATE m_2",
        "UPDATE ONLY m SET v = 1",
        "DELETE FROM ONLY m",
    ] {
        assert_eq!(branch.err(sql).code(), "0A000", "{sql}");
    }
    assert_eq!(shop.direct().lines("SELECT tableoid::regclass, * FROM m ORDER BY id"), before);
    // PostgreSQL names the partition, a branch the table.
    let error = branch.err("INSERT INTO m VALUES (9001, '2026-02-02', 77)");
    assert_eq!(
        (error.code(), error.constraint(), error.detail()),
        ("23503", "m_place", "Key (place)=(77) is not present in table \"place\".")
    );
    // A merge checks what the table checks.
    branch.exec("INSERT INTO m VALUES (1, '2030-01-01', 1)");
    branch.exec("SELECT * FROM epoch_commit('b')");
    let error = shop.main().err("SELECT * FROM epoch_merge('b')");
    assert_eq!((error.code(), error.message()), ("23514", "no partition of relation \"m\" found for row"));
    branch.exec("DELETE FROM m; INSERT INTO m VALUES (1, '2026-03-01', 2), (2, '2026-02-01', 2)");
    branch.exec("SELECT * FROM epoch_commit('b')");
    shop.main().exec("SELECT * FROM epoch_merge('b')");
    assert_eq!(shop.direct().lines("SELECT tableoid::regclass, id FROM m ORDER BY id"), [format!("{}|1", shop.direct().one("SELECT CASE WHEN satisfies_hash_partition('m_3'::regclass, 2, 0, 1) THEN 'm_3a' ELSE 'm_3b' END")), "m_2|2".to_owned()]);
}

/// A point query on a branch reads one partition by its index, as on main.
#[test]
fn plans_prune_partitions() {
    need_postgres!();
    let shop = Fixture::registered(SETUP);
    let mut branch = shop.branch("b");
    branch.exec("UPDATE m SET v = v WHERE id < 10");
    shop.direct().exec("UPDATE m SET v = v + 1 WHERE id BETWEEN 100 AND 110");
    for (sql, partitions) in [
        ("SELECT * FROM m WHERE id = 50 AND day = '2026-02-20'", &["m_2"][..]),
        ("SELECT * FROM m WHERE v = 50", &["m_1", "m_2", "m_3a", "m_3b"]),
        ("SELECT name FROM place WHERE id = 4", &["place_1"]),
        ("SELECT p.name FROM place p JOIN note n ON n.m = p.id WHERE n.id = 1", &["place_0", "place_1"]),
    ] {
        let plan = branch.lines(&format!("EXPLAIN (COSTS OFF) {sql}")).join("\n");
        assert!(!plan.contains("Seq Scan on m") && !plan.contains("Seq Scan on place"), "{sql}: {plan}");
        for name in ["m_1", "m_2", "m_3a", "m_3b", "place_0", "place_1"] {
            let scanned =
                |line: &str| line.contains(&format!(" on {name} ")) || line.ends_with(&format!(" on {name}"));
            assert_eq!(plan.lines().any(scanned), partitions.contains(&name), "{sql}, {name}: {plan}");
        }
    }
}

/// Rows that come with a partition are main's, from the next look on.
#[test]
fn attached_rows_are_not_a_branchs() {
    need_postgres!();
    let shop = Fixture::registered(SETUP);
    let mut direct = shop.direct();
    direct.exec("CREATE TABLE m_4 (LIKE m); INSERT INTO m_4 VALUES (7777, '2026-04-04', 1, 1); ");
    let mut branch = shop.branch("b");
    assert_eq!(branch.one("SELECT count(*) FROM m WHERE id = 1"), "1");
    direct.exec("ALTER TABLE m ATTACH PARTITION m_4 FOR VALUES FROM ('2026-04-01') TO ('2026-05-01'); INSERT INTO m_4 VALUES (7778, '2026-04-05', 1, 1)");
    // Looks, as a session does within seconds.
    assert_eq!(
        shop.main().lines("SELECT table_name, change, rows_added FROM epoch.status"),
        ["m|modified|2"]
    );
    assert_eq!(branch.one("SELECT count(*) FROM m WHERE id > 7000"), "0");
    shop.main().exec("SELECT * FROM epoch_commit('partition')");
    assert_eq!(branch.one("SELECT count(*) FROM m WHERE id > 7000"), "0");
    assert_eq!(shop.main().one("SELECT count(*) FROM m WHERE id > 7000"), "2");
}

/// What was changed past us is said in the status, and branches refuse the table instead of showing rows that
/// they never had. Other tables go on.
#[test]
fn drift_is_reported_and_refused() {
    need_postgres!();
    let shop = Fixture::registered(SETUP);
    let mut branch = shop.branch("b");
    branch.exec("UPDATE place SET name = 'x' WHERE id = 1; INSERT INTO note VALUES (9)");
    shop.direct().exec("ALTER TABLE note DISABLE TRIGGER ALL; INSERT INTO note VALUES (50); ALTER TABLE note ENABLE TRIGGER ALL");
    let status = "SELECT table_name, change FROM epoch.status ORDER BY 1";
    let reason = "drift: trigger zz_epoch_delete of public.note is disabled";
    assert_eq!(shop.main().lines(status), [format!("note|{reason}")]);
    assert_eq!(branch.lines(status), [format!("note|{reason}"), "place|modified".to_owned()]);
    let mut fresh = shop.on("b");
    let error = wait_for_refusal(&mut fresh, "SELECT * FROM note");
    assert_eq!(error.message(), "table \"note\" was changed in a way that branches cannot follow");
    assert_eq!(error.detail(), "Trigger zz_epoch_delete of public.note is disabled.");
    assert!(error.hint().contains("epoch_unregister('note', '-f')"), "{}", error.hint());
    assert_eq!(fresh.err("INSERT INTO note VALUES (3)").code(), "55000");
    assert_eq!(fresh.one("SELECT name FROM place WHERE id = 1"), "x");
    assert_eq!(fresh.err("SELECT * FROM epoch_commit('c')").code(), "55000");
    shop.main().exec("UPDATE place SET name = 'y' WHERE id = 2");
    assert_eq!(shop.main().err("SELECT * FROM epoch_commit('c')").code(), "55000");
    shop.main().exec("SELECT * FROM epoch_commit('-m', 'c', tables => ARRAY['place'])");
    assert_eq!(shop.main().one("SELECT count(*) FROM note"), "3");
    // The way out.
    shop.main().exec("SELECT * FROM epoch_unregister('note', '-f')");
    shop.main().exec("SELECT * FROM epoch_register('note')");
    assert_eq!(fresh.one("SELECT count(*) FROM note"), "3");
    fresh.exec("SELECT * FROM epoch_commit('c')");
}

/// A changed column, and a way back: the change is undone.
#[test]
fn a_changed_column_is_drift_until_it_is_changed_back() {
    need_postgres!();
    let shop = Fixture::registered(SETUP);
    let mut branch = shop.branch("b");
    branch.exec("UPDATE place SET name = 'x' WHERE id = 1");
    shop.direct().exec("ALTER TABLE place RENAME name TO title");
    assert_eq!(
        shop.main().lines("SELECT change FROM epoch.status"),
        ["drift: column \"name\" was dropped or renamed"]
    );
    let mut fresh = shop.on("b");
    assert_eq!(wait_for_refusal(&mut fresh, "SELECT id FROM place").code(), "55000");
    assert_eq!(fresh.err("SELECT * FROM epoch_commit('c')").code(), "55000");
    shop.direct().exec("ALTER TABLE place RENAME title TO name");
    assert_eq!(fresh.one("SELECT name FROM place WHERE id = 1"), "x");
    fresh.exec("SELECT * FROM epoch_commit('c')");
    shop.main().exec("SELECT * FROM epoch_merge('b')");
    assert_eq!(shop.direct().one("SELECT name FROM place WHERE id = 1"), "x");
}

/// Branches and commits silently showed what main's ALTER TABLE … USING made of its rows.
#[test]
fn values_that_alter_table_gave_main_are_not_shown_on_branches() {
    need_postgres!();
    let shop = Fixture::registered(
        "CREATE TABLE t (id int PRIMARY KEY, x int); INSERT INTO t VALUES (1, 10), (2, 20); CREATE TABLE u (id int PRIMARY KEY, v text)",
    );
    let (mut main, mut branch) = (shop.main(), shop.branch("b"));
    branch.exec("INSERT INTO t VALUES (3, 30)");
    // Maintenance is nobody's business.
    shop.direct().exec("ALTER TABLE t ALTER x SET DEFAULT 1");
    shop.direct().exec("VACUUM FULL t");
    branch.exec("SELECT * FROM epoch_commit('c')");
    main.exec("ALTER TABLE t ALTER COLUMN x TYPE integer USING x * 3");
    assert_eq!(
        main.lines("SELECT table_name, change FROM epoch.status"),
        ["t|drift: its rows were written anew by a change of column \"x\""]
    );
    let mut fresh = shop.on("b");
    let error = wait_for_refusal(&mut fresh, "SELECT * FROM t");
    assert_eq!(error.detail(), "Its rows were written anew by a change of column \"x\".");
    assert!(
        error.hint().starts_with("If no value changed by it, SELECT epoch_register('t', '--accept')"),
        "{}",
        error.hint()
    );
    assert_eq!(main.err("SELECT * FROM epoch_merge('b')").code(), "55000");
    let past = main.simple("SELECT * FROM epoch_at('t', 'b')");
    assert_eq!(past.error().map(|e| e.code()), Some("55000"), "{past:?}");
    shop.direct().exec("VACUUM FULL t");
    assert_eq!(fresh.err("SELECT * FROM t").code(), "55000");
    fresh.exec(
        "INSERT INTO u VALUES (1, 'goes on'); SELECT * FROM epoch_commit('-m', 'u', tables => ARRAY['u'])",
    );
    // It is undone in its values, and somebody says so.
    shop.direct().exec("ALTER TABLE t ALTER COLUMN x TYPE integer USING x / 3");
    assert_eq!(fresh.err("SELECT * FROM t").code(), "55000");
    assert_eq!(main.err("SELECT * FROM epoch_register('nothing', '--accept')").code(), "42P01");
    assert_eq!(main.err("SELECT * FROM epoch_register('t', 'sqlite://x/t', '--accept')").code(), "22023");
    assert_eq!(main.lines("SELECT table_name FROM epoch_register('t', '--accept')"), ["t"]);
    assert_eq!(fresh.lines("SELECT * FROM t ORDER BY id"), ["1|10", "2|20", "3|30"]);
    assert_eq!(main.call("epoch_merge('b')", "conflicts"), ["0"]);
    assert_eq!(shop.direct().lines("SELECT * FROM t ORDER BY id"), ["1|10", "2|20", "3|30"]);
    // What a merge does to main's rows is the branch's.
    let mut other = shop.branch("c");
    other.exec("ALTER TABLE t ALTER x TYPE int USING x + 1");
    // USING with the type that the column has was taken for nothing on a branch.
    assert_eq!(other.lines("SELECT * FROM t ORDER BY id"), ["1|11", "2|21", "3|31"]);
    other.exec("SELECT * FROM epoch_commit('anew')");
    main.exec("SELECT * FROM epoch_merge('c')");
    assert_eq!(main.lines("SELECT count(*) FROM epoch.status"), ["0"]);
    assert_eq!(shop.on("c").lines("SELECT * FROM t ORDER BY id"), ["1|11", "2|21", "3|31"]);
    assert_eq!(shop.on("b").lines("SELECT * FROM t ORDER BY id"), ["1|10", "2|20", "3|30"]);
}

/// Commits once failed with "relation does not exist" for ever, those of other tables too.
#[test]
fn a_table_dropped_with_uncommitted_rows_is_named_and_others_are_committed() {
    need_postgres!();
    let shop = Fixture::registered(
        "CREATE TABLE t (id int PRIMARY KEY, v text); CREATE TABLE u (id int PRIMARY KEY, v text); \
         INSERT INTO t VALUES (1, 'a'); INSERT INTO u VALUES (1, 'a')",
    );
    let (mut main, mut branch) = (shop.main(), shop.branch("b"));
    branch.exec("UPDATE t SET v = 'b'; UPDATE u SET v = 'b'");
    main.exec("UPDATE t SET v = 'm'; UPDATE u SET v = 'm'");
    main.exec("DROP TABLE t");
    for conn in [&mut main, &mut branch] {
        let error = conn.err("SELECT * FROM epoch_commit('all')");
        assert_eq!(error.code(), "55000");
        assert_eq!(error.message(), "table \"t\" was changed in a way that branches cannot follow");
        assert_eq!(error.detail(), "The table was dropped or renamed.");
        conn.exec("SELECT * FROM epoch_commit('-m', 'u', tables => ARRAY['u'])");
    }
    main.exec("SELECT * FROM epoch_unregister('t', '-f')");
    branch.exec("UPDATE u SET v = 'c'; SELECT * FROM epoch_commit('again')");
}

/// A look holds for some seconds.
fn wait_for_refusal(conn: &mut common::conn::Conn, sql: &str) -> common::PgError {
    for _ in 0..200 {
        if let Some(error) = conn.simple(sql).error().filter(|e| e.code() == "55000") {
            return error.clone();
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    panic!("never refused: {sql}")
}
