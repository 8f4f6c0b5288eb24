//! Data definition on branches for tables that main, or a commit, has: what PostgreSQL does to a plain table of the
//! same rows is what the branch shows; main and all others see nothing of it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::time::Duration;

use common::Fixture;
use common::conn::{self, Conn};
use common::database::{Database, base_rows, catalog};

const ITEMS: &str = "CREATE TABLE items (id bigint PRIMARY KEY, name text NOT NULL, \
    price numeric(8,2) NOT NULL DEFAULT 1 CONSTRAINT items_price_check CHECK (price >= 0), \
    code varchar(10) CONSTRAINT items_code_key UNIQUE, qty int DEFAULT 1, made date NOT NULL DEFAULT '2026-01-01'); \
    CREATE INDEX items_made_idx ON items (made); \
    CREATE TABLE other (id int PRIMARY KEY, v text); INSERT INTO other VALUES (1, 'one')";

fn rows(count: u32) -> String {
    format!(
        "INSERT INTO items SELECT g, 'item ' || g, g % 90 + 0.5, 'c' || g, nullif(g % 7, 0), DATE '2026-01-01' + g % 300 \
         FROM generate_series(1, {count}) g; ANALYZE items"
    )
}

fn commit(conn: &mut Conn, message: &str) -> String {
    conn.one(&format!("SELECT hash FROM epoch_commit('{message}')"))
}

fn status(conn: &mut Conn) -> Vec<String> {
    conn.lines(
        "SELECT table_name, change, rows_added, rows_modified, rows_deleted FROM epoch.status ORDER BY 1",
    )
}

/// A branch beside a database whose only table has the rows that the branch shows.
struct Mirror {
    branch: Conn,
    plain: Conn,
    _db: Database,
}

impl Mirror {
    fn new(branch: Conn, count: u32) -> Self {
        let db = Database::create();
        let mut plain = db.connect();
        plain.exec(ITEMS);
        plain.exec(&rows(count));
        Self { branch, plain, _db: db }
    }

    /// The same answer on both sides: tags and rows, or the error with all its fields.
    fn both(&mut self, sql: &str) {
        let fields = "CMDsct n".replace(' ', "");
        let essence = |conn: &mut Conn| {
            let reply = conn.simple(sql);
            match reply.error() {
                // Which of several duplicates is found is anybody's guess.
                Some(error) if error.message().starts_with("could not create unique index") => {
                    assert!(error.detail().ends_with(" is duplicated."), "{}", error.detail());
                    vec![error.code().to_owned(), error.message().to_owned(), error.constraint().to_owned()]
                }
                Some(error) => fields
                    .chars()
                    .map(|f| format!("{f}: {}", error.0.get(&f).cloned().unwrap_or_default()))
                    .collect(),
                None => {
                    let mut lines: Vec<String> = reply.tags().iter().map(|t| (*t).to_owned()).collect();
                    lines.extend(reply.rows().iter().map(|r| format!("{r:?}")));
                    // In any order, where the statement doesn't say one.
                    lines.sort();
                    lines
                }
            }
        };
        let (plain, branch) = (essence(&mut self.plain), essence(&mut self.branch));
        assert_eq!(branch, plain, "{sql}");
        self.same();
    }

    /// The same rows, by each way to read them.
    fn same(&mut self) {
        for sql in [
            "SELECT * FROM items ORDER BY id",
            "SELECT count(*), sum(id) FROM items",
            "SELECT * FROM items WHERE id = 17",
            "SELECT * FROM items WHERE id BETWEEN 10 AND 20 ORDER BY id",
            "SELECT * FROM items WHERE id > 5 ORDER BY id LIMIT 7",
        ] {
            assert_eq!(self.branch.lines(sql), self.plain.lines(sql), "{sql}");
        }
    }
}

/// Every form of ALTER TABLE that there is here, between writes of every kind.
#[test]
fn a_table_of_main_is_altered_on_a_branch_as_postgresql_alters_it() {
    need_postgres!();
    let f = Fixture::registered(ITEMS);
    let mut direct = f.direct();
    direct.exec(&rows(300));
    let mut main = f.main();
    commit(&mut main, "rows");
    let other = f.branch("other");
    let mut m = Mirror::new(f.branch("x"), 300);
    // Committed and uncommitted changes of the branch, and changes of main that it doesn't see.
    m.both("UPDATE items SET price = price + 1 WHERE id <= 10");
    commit(&mut m.branch, "prices");
    m.both("DELETE FROM items WHERE id IN (3, 30)");
    m.both("INSERT INTO items (id, name) VALUES (1001, 'new')");
    direct.exec("UPDATE items SET name = 'main', qty = NULL WHERE id BETWEEN 5 AND 15; DELETE FROM items WHERE id = 17; INSERT INTO items (id, name) VALUES (2000, 'main')");
    commit(&mut main, "main goes on");
    let before = (catalog(&mut direct), base_rows(&mut direct));

    for sql in [
        "ALTER TABLE items ADD COLUMN note text, ADD stars int DEFAULT 3, ADD flag bool NOT NULL DEFAULT false",
        "UPDATE items SET note = 'n' || id, stars = stars + 1 WHERE id % 50 = 0",
        "INSERT INTO items (id, name, note) VALUES (1002, 'two', 'x') RETURNING *",
        "ALTER TABLE items RENAME COLUMN price TO cost",
        "UPDATE items SET cost = cost * 2 WHERE id IN (17, 1002) RETURNING id, cost",
        "UPDATE items SET cost = -1 WHERE id = 40",
        "SELECT price FROM items",
        "ALTER TABLE items ALTER code TYPE varchar(20)",
        "ALTER TABLE items ALTER COLUMN code TYPE text",
        "UPDATE items SET code = 'a code that is longer than ten' WHERE id = 41",
        "UPDATE items SET code = 'c50' WHERE id = 42",
        "ALTER TABLE items ALTER qty TYPE bigint",
        "UPDATE items SET qty = 5000000000 WHERE id = 43",
        "ALTER TABLE items ALTER qty SET NOT NULL",
        "UPDATE items SET qty = 0 WHERE qty IS NULL",
        "ALTER TABLE items ALTER qty SET NOT NULL",
        "INSERT INTO items (id, name, qty) VALUES (1003, 'three', NULL)",
        "ALTER TABLE items ADD CONSTRAINT few CHECK (qty < 7)",
        "ALTER TABLE items ADD CONSTRAINT many CHECK (qty < 6000000000)",
        "UPDATE items SET qty = 7000000000 WHERE id = 44",
        "ALTER TABLE items ADD CONSTRAINT many CHECK (qty < 1)",
        "ALTER TABLE items DROP CONSTRAINT items_price_check",
        "UPDATE items SET cost = -1 WHERE id = 40",
        "CREATE UNIQUE INDEX items_made_u ON items (made)",
        "CREATE UNIQUE INDEX items_name_u ON items (lower(name)) WHERE id < 5000",
        "INSERT INTO items (id, name) VALUES (1004, 'ITEM 99')",
        "INSERT INTO items (id, name) VALUES (1004, 'ITEM 99') ON CONFLICT DO NOTHING",
        "INSERT INTO items AS i (id, name, stars) VALUES (50, 'fifty', 9), (1005, 'five', 1) ON CONFLICT (id) DO UPDATE SET name = excluded.name, stars = i.stars + excluded.stars RETURNING *",
        "DROP INDEX items_name_u",
        "DROP INDEX items_made_idx",
        "DROP INDEX items_made_idx",
        "CREATE INDEX ON items (stars, id)",
        "ALTER TABLE items DROP COLUMN note",
        "SELECT note FROM items",
        "ALTER TABLE items ALTER stars SET DEFAULT 4, ALTER flag DROP DEFAULT",
        "INSERT INTO items (id, name, flag) VALUES (1006, 'six', true)",
        "INSERT INTO items (id, name) VALUES (1007, 'seven')",
        "DELETE FROM items WHERE stars = 4 AND id % 100 = 0 RETURNING id",
        "MERGE INTO items i USING (VALUES (60, 1), (1008, 2)) v (id, n) ON i.id = v.id WHEN MATCHED THEN UPDATE SET stars = v.n \
         WHEN NOT MATCHED THEN INSERT (id, name, flag) VALUES (v.id, 'merged', true)",
        "ALTER TABLE items ALTER name TYPE int USING length(name)",
        "UPDATE items SET name = name + 1 WHERE id BETWEEN 70 AND 75",
        "ALTER TABLE items ADD total numeric GENERATED ALWAYS AS (cost * qty) STORED",
        "UPDATE items SET qty = 3 WHERE id BETWEEN 76 AND 80 RETURNING id, total",
        "ALTER TABLE items ALTER name TYPE text, ADD stamp text DEFAULT upper('later')",
        "ALTER TABLE items ALTER made TYPE timestamp",
        "ALTER TABLE items ADD CONSTRAINT items_name_key UNIQUE (name)",
        "ALTER TABLE items ALTER stamp TYPE int",
        "ALTER TABLE items ADD nothing no_type",
        "ALTER TABLE items ADD id int",
        "ALTER TABLE items DROP nothing",
        "COMMENT ON COLUMN items.total IS 'all of it'",
        "BEGIN; TRUNCATE items; ROLLBACK",
        "SELECT id, cost FROM items WHERE id IN (17, 90) ORDER BY id FOR UPDATE",
        "SELECT stars, count(*) FROM items GROUP BY 1 ORDER BY 1",
        "SELECT o.v, i.id FROM items i JOIN (VALUES (60, 'x')) o (id, v) USING (id)",
    ] {
        m.both(sql);
    }
    assert_eq!(
        m.branch.copy_in("COPY items (id, name, flag) FROM STDIN", &[b"3001\tcopied\tt\n"]).tags(),
        ["COPY 1"]
    );
    m.plain.exec("INSERT INTO items (id, name, flag) VALUES (3001, 'copied', true)");
    m.same();
    // Values of which each row has its own, in whatever order.
    m.branch.exec("ALTER TABLE items ADD serial serial, ADD gen int GENERATED ALWAYS AS IDENTITY");
    m.branch.exec("INSERT INTO items (id, name, flag) VALUES (3002, 'last', true)");
    assert_eq!(
        m.branch.one("SELECT count(*) = max(serial) AND count(DISTINCT serial) = count(*) AND count(DISTINCT gen) = count(*) AND min(gen) = 1 FROM items"),
        "t"
    );
    m.branch.exec("ALTER TABLE items DROP serial, DROP gen");
    m.branch.exec("DELETE FROM items WHERE id = 3002");
    m.same();

    assert_eq!((catalog(&mut direct), base_rows(&mut direct)), before, "main has nothing of it");
    let mut plain = Mirror::new(other, 300);
    plain.same();
    plain.both("UPDATE items SET price = 5 WHERE id = 17");
    assert_eq!(main.err("SELECT cost FROM items").code(), "42703");

    // It is committed, and goes on.
    assert!(status(&mut m.branch)[0].starts_with("items|altered|"), "{:?}", status(&mut m.branch));
    commit(&mut m.branch, "altered");
    assert_eq!(status(&mut m.branch), Vec::<String>::new());
    m.same();
    for sql in [
        "ALTER TABLE items ADD after text",
        "UPDATE items SET after = 'x' WHERE id < 5",
        "ALTER TABLE items DROP COLUMN total",
    ] {
        m.both(sql);
    }
}

/// What a commit shows stays; diffs, logs, resets and branches of the branch go across an ALTER TABLE.
#[test]
fn commits_diffs_resets_and_nested_branches() {
    need_postgres!();
    let f = Fixture::registered(ITEMS);
    f.direct().exec(&rows(20));
    let mut main = f.main();
    commit(&mut main, "rows");
    let mut a = f.branch("a");
    a.exec("UPDATE items SET qty = 9 WHERE id = 1");
    let one = commit(&mut a, "one");
    a.exec("SELECT * FROM epoch_branch('before')");
    a.exec("UPDATE items SET qty = 8 WHERE id = 2");
    a.exec("ALTER TABLE items ADD color text DEFAULT 'red'");
    a.exec("ALTER TABLE items RENAME qty TO amount");
    assert_eq!(status(&mut a), ["items|altered|0|1|0"]);
    a.exec("UPDATE items SET color = 'blue' WHERE id IN (3, 4)");
    a.exec("DELETE FROM items WHERE id = 5");
    assert_eq!(status(&mut a), ["items|altered|0|3|1"]);
    let diff = "SELECT diff_type, from_id, to_id, from_amount, to_amount, from_color, to_color, changed_columns FROM epoch_diff('HEAD', 'WORKING', 'items') ORDER BY coalesce(from_id, to_id)";
    let changes = [
        "modified|2|2|2|8|red|red|{amount}",
        "modified|3|3|3|3|red|blue|{color}",
        "modified|4|4|4|4|red|blue|{color}",
        "removed|5||5||red||{}",
    ];
    assert_eq!(a.lines(diff), changes);
    let two = commit(&mut a, "two");
    assert_eq!(status(&mut a), Vec::<String>::new());
    assert_eq!(a.lines(&diff.replace("'HEAD', 'WORKING'", &format!("'{one}', '{two}'"))), changes);
    assert_eq!(
        main.lines(&diff.replace("'HEAD', 'WORKING'", "'main', 'a'"))[0],
        "modified|1|1|1|9|red|red|{amount}"
    );
    assert_eq!(
        a.lines(&format!("SELECT table_name, diff_type, data_change, schema_change FROM epoch_diff_summary('{one}', '{two}')")),
        ["items|modified|t|t"]
    );
    assert_eq!(
        a.lines(&format!("SELECT table_name, rows_added, rows_deleted, rows_modified FROM epoch_diff_stat('{one}', '{two}')")),
        ["items|0|1|3"]
    );
    assert_eq!(a.lines("SELECT message FROM epoch_log(tables => ARRAY['items'])")[..2], ["two", "one"]);
    // An ALTER TABLE alone is a commit's change, without rows.
    a.exec("CREATE INDEX items_color ON items (color)");
    assert_eq!(status(&mut a), ["items|altered|0|0|0"]);
    let three = commit(&mut a, "three");
    assert_eq!(
        a.lines(&format!("SELECT table_name, diff_type, data_change, schema_change FROM epoch_diff_summary('{two}', '{three}')")),
        ["items|modified|f|t"]
    );
    assert_eq!(a.err("SELECT * FROM epoch_commit('nothing')").code(), "55000");

    // Older commits and branches have the older version.
    assert_eq!(f.on(&one).one("SELECT sum(qty) FROM items WHERE id < 5"), "18");
    assert_eq!(
        f.on(&two).lines("SELECT id, amount, color FROM items WHERE id < 4 ORDER BY id"),
        ["1|9|red", "2|8|red", "3|3|blue"]
    );
    assert_eq!(f.on(&one).err("SELECT color FROM items").code(), "42703");
    assert_eq!(a.lines(&format!("SELECT qty FROM epoch_at('items', '{one}') WHERE id = 2")), ["2"]);
    let mut before = f.on("before");
    assert_eq!(before.one("SELECT sum(qty) FROM items WHERE id < 5"), "18");
    before.exec("UPDATE items SET qty = 100 WHERE id = 6");
    assert_eq!(a.one("SELECT amount FROM items WHERE id = 6"), "6");

    // A branch of the branch, which alters the table again.
    a.exec("SELECT * FROM epoch_branch('nested')");
    let mut nested = f.on("nested");
    a.exec("UPDATE items SET color = 'later' WHERE id = 7");
    let shown = "SELECT id, amount, color FROM items WHERE id IN (1, 3, 7) ORDER BY id";
    assert_eq!(nested.lines(shown), ["1|9|red", "3|3|blue", "7|<NULL>|red"].map(|l| l.replace("<NULL>", "")));
    nested.exec("UPDATE items SET color = 'green' WHERE id = 1");
    nested.exec("ALTER TABLE items ALTER amount TYPE bigint, ADD size int");
    nested.exec("UPDATE items SET size = 4 WHERE id IN (1, 8)");
    assert_eq!(status(&mut nested), ["items|altered|0|2|0"]);
    commit(&mut nested, "nested");
    assert_eq!(
        nested.lines("SELECT diff_type, to_id, to_size, changed_columns FROM epoch_diff('a', 'nested', 'items') ORDER BY 2"),
        ["modified|1|4|{color,size}", "modified|8|4|{size}"]
    );
    assert_eq!(a.err("SELECT size FROM items").code(), "42703");
    commit(&mut a, "four");

    // Back and forth.
    a.exec("ALTER TABLE items DROP color");
    a.exec("UPDATE items SET amount = 0 WHERE id = 1");
    a.exec("SELECT * FROM epoch_reset('--hard')");
    assert_eq!(a.lines(shown)[0], "1|9|red");
    assert_eq!(status(&mut a), Vec::<String>::new());
    for _ in 0..2 {
        a.exec(&format!("SELECT * FROM epoch_reset('--hard', '{one}')"));
        assert_eq!(
            a.lines("SELECT id, qty FROM items WHERE id IN (1, 2, 5) ORDER BY id"),
            ["1|9", "2|2", "5|5"]
        );
        assert_eq!(status(&mut a), Vec::<String>::new());
        a.exec("UPDATE items SET qty = 77 WHERE id = 3");
        commit(&mut a, "another way");
        a.exec(&format!("SELECT * FROM epoch_reset('--hard', '{three}')"));
        assert_eq!(a.lines(shown), ["1|9|red", "3|3|blue", "7||red"]);
        assert_eq!(status(&mut a), Vec::<String>::new());
    }
    let (one_now, three_now) =
        (f.on(&one).one("SELECT sum(qty) FROM items"), f.on(&three).one("SELECT sum(amount) FROM items"));
    assert_eq!((one_now.as_str(), three_now.as_str()), ("71", "72"));

    // Nothing is left of what no commit has.
    let mut direct = f.direct();
    let count = "SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'epoch\\_b%'";
    let committed = direct.one(count);
    a.exec("ALTER TABLE items ADD x int");
    a.exec("ALTER TABLE items ADD y int");
    a.exec("SELECT * FROM epoch_reset('--hard')");
    assert_eq!(direct.one(count), committed);
    let error = main.err("SELECT * FROM epoch_unregister('items')");
    assert_eq!(error.code(), "55000", "{}", error.message());
    main.exec("SELECT * FROM epoch_unregister('items', '-f')");
    main.exec("SELECT * FROM epoch_unregister('other', '-f')");
    assert_eq!(
        direct.lines("SELECT nspname FROM pg_namespace WHERE nspname ~ '^epoch'"),
        Vec::<String>::new()
    );
    assert_eq!(direct.lines("SELECT tgname FROM pg_trigger WHERE NOT tgisinternal"), Vec::<String>::new());
}

/// DROP TABLE of a table of main hides it on the branch, and brings it back with a reset.
#[test]
fn a_table_of_main_is_dropped_on_a_branch() {
    need_postgres!();
    let f = Fixture::registered(ITEMS);
    f.direct().exec(&rows(20));
    commit(&mut f.main(), "rows");
    let mut a = f.branch("a");
    a.exec("UPDATE items SET qty = 9 WHERE id = 1");
    assert_eq!(a.exec("DROP TABLE items").tags(), ["DROP TABLE"]);
    assert_eq!(a.err("SELECT * FROM items").code(), "42P01");
    assert_eq!(a.err("DROP TABLE items").code(), "42P01");
    assert_eq!(status(&mut a), ["items|removed|0|0|0"]);
    a.exec("SELECT * FROM epoch_reset('--hard')");
    assert_eq!(a.one("SELECT qty FROM items WHERE id = 1"), "1");
    a.exec("DROP TABLE items");
    a.exec("CREATE TABLE items (key text PRIMARY KEY)");
    a.exec("INSERT INTO items VALUES ('mine')");
    let dropped = commit(&mut a, "mine");
    assert_eq!(a.lines("SELECT * FROM items"), ["mine"]);
    assert_eq!(f.direct().one("SELECT count(*) FROM items"), "20");
    assert_eq!(f.branch("b").one("SELECT count(*) FROM items"), "20");
    let error = f.main().err("SELECT * FROM epoch_merge('a')");
    assert!(["0A000", "55000"].contains(&error.code()), "{}", error.message());
    a.exec("SELECT * FROM epoch_reset('--hard', 'a~1')");
    assert_eq!(a.one("SELECT count(*) FROM items"), "20");
    assert_eq!(f.on(&dropped).lines("SELECT * FROM items"), ["mine"]);
}

/// What a revision reads of main is found by index, as on main.
#[test]
fn reads_of_a_revision_use_mains_indexes() {
    need_postgres!();
    let f = Fixture::registered(ITEMS);
    let mut direct = f.direct();
    direct.exec(&rows(60_000));
    commit(&mut f.main(), "rows");
    let mut a = f.branch("a");
    a.exec("UPDATE items SET qty = 5 WHERE id < 200");
    a.exec("ALTER TABLE items ADD note text DEFAULT 'n', ALTER qty TYPE bigint, ALTER code TYPE text");
    a.exec("ALTER TABLE items RENAME made TO since");
    direct.exec("UPDATE items SET qty = 6 WHERE id BETWEEN 500 AND 600");
    direct.exec("VACUUM ANALYZE items");
    for sql in [
        "SELECT * FROM items WHERE id = 30000",
        "SELECT * FROM items WHERE id BETWEEN 30000 AND 30010",
        "SELECT * FROM items WHERE id > 30000 ORDER BY id LIMIT 20",
        "SELECT id, note FROM items WHERE since = '2026-03-01' AND id < 1000",
        "SELECT max(id) FROM items WHERE id < 50000",
        "UPDATE items SET qty = qty + 1 WHERE id = 40000",
        "DELETE FROM items WHERE id IN (41000, 42000)",
        "INSERT INTO items (id, name) VALUES (50000, 'x') ON CONFLICT (id) DO UPDATE SET name = excluded.name",
    ] {
        let scans =
            "SELECT seq_scan FROM pg_stat_user_tables WHERE schemaname = 'public' AND relname = 'items'";
        let plan = a.lines(&format!("EXPLAIN {sql}")).join("\n");
        assert!(!plan.contains("Seq Scan on items"), "{sql}\n{plan}");
        direct.exec("SELECT pg_stat_clear_snapshot()");
        let before = direct.one(scans);
        a.exec(sql);
        direct.exec("SELECT pg_stat_clear_snapshot()");
        assert_eq!(direct.one(scans), before, "{sql}\n{plan}");
    }
}

/// Runs `sql` on `reference` so that the proxy dies at `point`, and starts it again.
fn dies(f: &mut Fixture, point: &str, reference: &str, sql: &str) {
    f.proxy.restart(&[("EPOCH_FAILPOINT", point)]);
    let mut conn = f.on(reference);
    conn.send(&[conn::query(sql)]);
    assert!(conn.try_reply().is_err(), "it dies at {point}");
    assert!(f.proxy.await_end(Duration::from_secs(20)).is_some());
    f.proxy.restart(&[]);
}

/// Killed at any step, an ALTER TABLE or its commit has happened or hasn't.
#[test]
fn a_crash_leaves_the_old_version_or_the_new_one() {
    need_postgres!();
    let mut f = Fixture::registered(ITEMS);
    f.direct().exec(&rows(20));
    commit(&mut f.main(), "rows");
    f.branch("x").exec("UPDATE items SET qty = 50 WHERE id = 5");
    dies(&mut f, "table-defined", "x", "ALTER TABLE items ADD n int DEFAULT 5");
    assert_eq!(f.on("x").err("SELECT n FROM items").code(), "42703");
    assert_eq!(f.direct().one("SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'epoch\\_b%'"), "0");
    f.on("x").exec("ALTER TABLE items ADD n int DEFAULT 5");
    f.on("x").exec("UPDATE items SET n = 6 WHERE id = 6");
    dies(&mut f, "table-defined", "x", "ALTER TABLE items RENAME n TO m");
    let shown = "SELECT id, qty, n FROM items WHERE id IN (5, 6, 7) ORDER BY id";
    let rows = ["5|50|5", "6|6|6", "7||5"];
    assert_eq!(f.on("x").lines(shown), rows);
    for point in ["journal-written", "all-sealed"] {
        assert_eq!(status(&mut f.on("x")), ["items|altered|0|2|0"]);
        dies(&mut f, point, "x", "SELECT epoch_commit('n')");
    }
    assert_eq!(status(&mut f.on("x")), Vec::<String>::new());
    assert_eq!(f.on("x").lines(shown), rows);
    assert_eq!(f.on("x~1").err("SELECT n FROM items").code(), "42703");
}

/// A writer on the branch and an ALTER TABLE there wait for each other; no write is lost.
#[test]
fn a_write_that_waited_for_the_alter_table_is_not_lost() {
    need_postgres!();
    let f = Fixture::registered(ITEMS);
    f.direct().exec(&rows(20));
    commit(&mut f.main(), "rows");
    let mut one = f.branch("x");
    let (mut two, mut three) = (f.on("x"), f.on("x"));
    let mut direct = f.direct();
    let mut waits = |count: &str| {
        while direct.one("SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database WHERE NOT l.granted AND l.locktype = 'relation' AND d.datname = current_database()") != count {
            std::thread::yield_now();
        }
    };
    two.exec("BEGIN; UPDATE items SET qty = 11 WHERE id = 1");
    one.send(&[conn::query("ALTER TABLE items ADD n int DEFAULT 1")]);
    waits("1");
    three.send(&[conn::query("UPDATE items SET qty = 12 WHERE id = 2")]);
    waits("2");
    two.exec("COMMIT");
    assert_eq!(one.reply().tags(), ["ALTER TABLE"]);
    let reply = three.reply();
    let expected = match reply.error() {
        Some(error) => {
            assert_eq!(error.code(), "40001");
            "2"
        }
        None => "12",
    };
    assert_eq!(
        two.lines("SELECT id, qty, n FROM items WHERE id < 3 ORDER BY id"),
        ["1|11|1".to_owned(), format!("2|{expected}|1")]
    );
    three.exec("UPDATE items SET qty = 13 WHERE id = 2");
    assert_eq!(two.one("SELECT qty FROM items WHERE id = 2"), "13");
}

/// What a branch can't do is refused by name, and changes nothing.
#[test]
fn what_is_refused() {
    need_postgres!();
    let f = Fixture::registered(
        "CREATE TABLE p (id int PRIMARY KEY, v text, u int UNIQUE); CREATE TABLE c (id int PRIMARY KEY, p int REFERENCES p); \
         CREATE TABLE parts (id int PRIMARY KEY, n int) PARTITION BY RANGE (id); CREATE TABLE part PARTITION OF parts FOR VALUES FROM (0) TO (9); \
         CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'one')",
    );
    let mut direct = f.direct();
    let before = catalog(&mut direct);
    let mut x = f.branch("x");
    for (sql, message) in [
        ("ALTER TABLE p ADD n int", "changing a table that has or is the target of foreign keys on a branch"),
        ("ALTER TABLE c ADD n int", "changing a table that has or is the target of foreign keys on a branch"),
        ("DROP TABLE c", "dropping a table of main that has or is the target of foreign keys on a branch"),
        ("ALTER TABLE parts ADD n2 int", "changing a table that is partitioned on a branch"),
        (
            "ALTER TABLE t ADD p int REFERENCES p",
            "adding a foreign key to a table that is in a commit on a branch",
        ),
        ("ALTER TABLE t DROP id", "dropping or retyping a column of a table's key on a branch"),
        ("ALTER TABLE t ALTER id TYPE bigint", "dropping or retyping a column of a table's key on a branch"),
        ("ALTER TABLE t DROP CONSTRAINT t_pkey", "dropping the key of a table on a branch"),
        ("ALTER TABLE t RENAME TO u", "ALTER … RENAME of a table or an index on a branch"),
        ("ALTER TABLE t ENABLE ROW LEVEL SECURITY", "this form of ALTER TABLE on a branch"),
        ("CREATE INDEX CONCURRENTLY ON t (v)", "CREATE INDEX CONCURRENTLY on a branch"),
        (
            "BEGIN; ALTER TABLE t ADD n int",
            "ALTER TABLE together with other statements in one string on a branch",
        ),
    ] {
        let error = x.err(sql);
        assert_eq!(
            (error.code(), error.message()),
            ("0A000", format!("{message} is not supported").as_str()),
            "{sql}"
        );
    }
    x.exec("ROLLBACK; ");
    assert_eq!(catalog(&mut direct), before);
    assert_eq!(direct.one("SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'epoch\\_b%'"), "0");
    x.exec("ALTER TABLE t ADD n int");
    let error = x.err("CREATE TABLE u (id int PRIMARY KEY REFERENCES t)");
    assert_eq!(error.code(), "0A000");
    commit(&mut x, "n");
    assert_eq!(f.on("x~0").err("ALTER TABLE t ADD m int").code(), "25006");
}
