//! Data definition on branches for tables that main, or a commit, has: what PostgreSQL does to a plain table of the
//! same rows is what the branch shows; main and all others see nothing of it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

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

/// What versions of a table read of main is found by index, as on main.
#[test]
fn reads_of_versions_use_mains_indexes() {
    need_postgres!();
    let f = Fixture::registered(ITEMS);
    let mut direct = f.direct();
    direct.exec(&rows(60_000));
    let mut main = f.main();
    commit(&mut main, "rows");
    let mut old = f.branch("old");
    old.exec("UPDATE items SET qty = 5 WHERE id < 200");
    let mut a = f.branch("a");
    a.exec("UPDATE items SET qty = 5 WHERE id < 200");
    a.exec("ALTER TABLE items ADD note text DEFAULT 'n'");
    a.exec("ALTER TABLE items RENAME made TO since");
    direct.exec("UPDATE items SET qty = 6 WHERE id BETWEEN 500 AND 600");
    direct.exec("VACUUM ANALYZE items");
    let shapes = |note: &str, since: &str| {
        [
            "SELECT * FROM items WHERE id = 30000".to_owned(),
            "SELECT * FROM items WHERE id BETWEEN 30000 AND 30010".to_owned(),
            "SELECT * FROM items WHERE id > 30000 ORDER BY id LIMIT 20".to_owned(),
            format!("SELECT id, {note} FROM items WHERE {since} = '2026-03-01' AND id < 1000"),
            "SELECT max(id) FROM items WHERE id < 50000".to_owned(),
            "UPDATE items SET qty = qty + 1 WHERE id = 40000".to_owned(),
            "DELETE FROM items WHERE id IN (41000, 42000)".to_owned(),
            "INSERT INTO items (id, name) VALUES (50000, 'x') ON CONFLICT (id) DO UPDATE SET name = excluded.name".to_owned(),
        ]
    };
    let check = |conn: &mut Conn, shapes: [String; 8]| {
        let scans =
            "SELECT seq_scan FROM pg_stat_user_tables WHERE schemaname = 'public' AND relname = 'items'";
        let mut direct = f.direct();
        for sql in shapes {
            let plan = conn.lines(&format!("EXPLAIN {sql}")).join("\n");
            assert!(!plan.contains("Seq Scan on items"), "{sql}\n{plan}");
            direct.exec("SELECT pg_stat_clear_snapshot()");
            let before = direct.one(scans);
            conn.exec(&sql);
            direct.exec("SELECT pg_stat_clear_snapshot()");
            assert_eq!(direct.one(scans), before, "{sql}\n{plan}");
        }
    };
    check(&mut a, shapes("note", "since"));
    commit(&mut a, "altered");
    commit(&mut main, "six");
    assert_eq!(main.call("epoch_merge('a')", "conflicts"), ["0"]);
    direct.exec("UPDATE items SET qty = 7 WHERE id BETWEEN 700 AND 800");
    direct.exec("VACUUM ANALYZE items");
    commit(&mut main, "seven");
    check(&mut old, shapes("name", "made"));
    check(&mut a, shapes("note", "since"));
    check(&mut f.branch("new"), shapes("note", "since"));
}

/// Killed at any step, an ALTER TABLE or its commit has happened or hasn't.
#[test]
fn a_crash_leaves_the_old_version_or_the_new_one() {
    need_postgres!();
    let mut f = Fixture::registered(ITEMS);
    f.direct().exec(&rows(20));
    commit(&mut f.main(), "rows");
    f.branch("x").exec("UPDATE items SET qty = 50 WHERE id = 5");
    f.dies("table-defined", "x", "ALTER TABLE items ADD n int DEFAULT 5");
    assert_eq!(f.on("x").err("SELECT n FROM items").code(), "42703");
    assert_eq!(f.direct().one("SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'epoch\\_b%'"), "0");
    f.on("x").exec("ALTER TABLE items ADD n int DEFAULT 5");
    f.on("x").exec("UPDATE items SET n = 6 WHERE id = 6");
    f.dies("table-defined", "x", "ALTER TABLE items RENAME n TO m");
    let shown = "SELECT id, qty, n FROM items WHERE id IN (5, 6, 7) ORDER BY id";
    let rows = ["5|50|5", "6|6|6", "7||5"];
    assert_eq!(f.on("x").lines(shown), rows);
    for point in ["journal-written", "all-sealed"] {
        assert_eq!(status(&mut f.on("x")), ["items|altered|0|2|0"]);
        f.dies(point, "x", "SELECT epoch_commit('n')");
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
    direct.exec(
        "CREATE TABLE plain (id int PRIMARY KEY); CREATE TABLE stray (id int PRIMARY KEY REFERENCES plain)",
    );
    f.main().exec("SELECT * FROM epoch_register('stray')");
    let before = catalog(&mut direct);
    let mut x = f.branch("x");
    for (sql, message) in [
        (
            "ALTER TABLE stray ADD n int",
            "changing a table that refers to \"plain\", which is not versioned, on a branch",
        ),
        ("ALTER TABLE parts ADD n2 int", "changing a table that is partitioned on a branch"),
        ("ALTER TABLE t DROP id", "dropping or retyping a column of a table's key on a branch"),
        ("ALTER TABLE t ALTER id TYPE bigint", "dropping or retyping a column of a table's key on a branch"),
        ("ALTER TABLE t DROP CONSTRAINT t_pkey", "dropping the key of a table on a branch"),
        ("ALTER TABLE parts RENAME TO u", "changing a table that is partitioned on a branch"),
        ("ALTER TABLE t ENABLE ROW LEVEL SECURITY", "this form of ALTER TABLE on a branch"),
        ("CREATE INDEX CONCURRENTLY ON t (v)", "CREATE INDEX CONCURRENTLY on a branch"),
        (
            "ALTER TABLE t ADD n int; SELECT epoch_commit('n')",
            "ALTER TABLE together with such statements in one string on a branch",
        ),
    ] {
        let error = x.err(sql);
        assert_eq!(
            (error.code(), error.message()),
            ("0A000", format!("{message} is not supported").as_str()),
            "{sql}"
        );
    }
    assert_eq!(catalog(&mut direct), before);
    assert_eq!(direct.one("SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'epoch\\_b%'"), "0");
    x.exec("ALTER TABLE t ADD n int");
    commit(&mut x, "n");
    assert_eq!(f.on("x~0").err("ALTER TABLE t ADD m int").code(), "25006");
}

/// Main, as it was when a commit was made, and after the merge.
fn items(conn: &mut Conn, columns: &str) -> Vec<String> {
    conn.lines(&format!("SELECT {columns} FROM items ORDER BY id LIMIT 8"))
}

/// A merge into main alters main's table in its own transaction; old branches and commits stay as they were, with
/// main's changes before and after, whether the older version can be told from the newer one or not.
fn comes_to_main(alters: &[&str], after: &str, lossless: bool) {
    let f = Fixture::registered(ITEMS);
    let mut direct = f.direct();
    direct.exec(&rows(40));
    let mut main = f.main();
    let first = commit(&mut main, "rows");
    let mut old = f.branch("old");
    let mut unread = f.branch("unread");
    old.exec("UPDATE items SET qty = 100 WHERE id = 1");
    direct
        .exec("UPDATE items SET name = 'second', qty = 2 WHERE id IN (2, 3); DELETE FROM items WHERE id = 4");
    let second = commit(&mut main, "second");
    let mut sibling = f.branch("sibling");
    sibling.exec("ALTER TABLE items ADD own text DEFAULT 'own'");
    sibling.exec("UPDATE items SET own = 'mine' WHERE id = 2");
    commit(&mut sibling, "own");
    let mut x = f.branch("x");
    x.exec("UPDATE items SET name = 'x' WHERE id = 5");
    for sql in alters {
        x.exec(sql);
    }
    x.exec("UPDATE items SET name = 'altered' WHERE id = 6");
    x.exec("DELETE FROM items WHERE id = 7");
    x.exec("INSERT INTO items (id, name) VALUES (0, 'zero')");
    let altered = commit(&mut x, "altered");
    direct.exec("UPDATE items SET name = 'third' WHERE id = 8");
    let error = main.err("SELECT * FROM epoch_merge('x')");
    assert_eq!(
        (error.code(), error.message()),
        ("55000", "table \"items\", which the merge alters, has uncommitted changes on main")
    );
    assert_eq!(direct.one("SELECT name FROM items WHERE id = 8"), "third");
    let third = commit(&mut main, "third");

    let old_columns = "id, name, price, code, qty, made";
    let mut seen: Vec<(&str, Vec<String>)> = Vec::new();
    let expected_old = items(&mut old, old_columns);
    let expected_sibling = items(&mut sibling, &format!("{old_columns}, own"));
    for commit in [&first, &second, &third] {
        seen.push((commit, items(&mut f.on(commit), old_columns)));
    }
    let expected_x = items(&mut x, after);

    let writers = direct.one("SELECT txid_current()");
    assert_eq!(main.call("epoch_merge('x')", "fast_forward, conflicts"), ["f|0"], "{writers}");
    let mut expected: Vec<String> = expected_x.clone();
    // What main did since the fork is there, too.
    for line in &mut expected {
        if line.starts_with("8|") {
            *line = line.replace("item 8", "third");
        }
    }
    for who in [&mut main, &mut direct] {
        assert_eq!(items(who, after), expected);
    }
    assert_eq!(status(&mut main), Vec::<String>::new());
    let merged = main.one("SELECT hash FROM epoch.branches WHERE name = 'main'");
    // Main goes on, and is captured.
    direct.exec("UPDATE items SET name = 'fourth' WHERE id IN (2, 6, 9); DELETE FROM items WHERE id = 3; INSERT INTO items (id, name) VALUES (4, 'again')");
    assert_eq!(status(&mut main), ["items|modified|1|3|1"]);
    for round in 0..2 {
        assert_eq!(items(&mut old, old_columns), expected_old, "{round}");
        assert_eq!(items(&mut sibling, &format!("{old_columns}, own")), expected_sibling, "{round}");
        assert_eq!(items(&mut x, after), expected_x, "{round}");
        for (commit, rows) in &seen {
            assert_eq!(items(&mut f.on(commit), old_columns), *rows, "{round}: {commit}");
            assert_eq!(
                f.on(commit).one("SELECT count(*) FROM items WHERE id > 0"),
                if *commit == first { "40" } else { "39" }
            );
        }
        assert_eq!(items(&mut f.on(&altered), after), expected_x, "{round}");
        assert_eq!(items(&mut f.on(&merged), after), expected, "{round}");
        commit(&mut main, &format!("later {round}"));
        direct.exec("UPDATE items SET name = 'fifth' WHERE id IN (1, 2, 10)");
    }
    // All branches go on.
    assert_eq!(old.exec("UPDATE items SET qty = qty + 1 WHERE id IN (1, 2)").tags(), ["UPDATE 2"]);
    assert_eq!(
        old.lines("SELECT id, name, qty FROM items WHERE id < 3 ORDER BY id"),
        ["1|item 1|101", "2|item 2|3"]
    );
    assert_eq!(
        old.err("INSERT INTO items (id, name, code) VALUES (999, 'dup', 'c30')").constraint(),
        "items_code_key"
    );
    assert_eq!(
        x.err("INSERT INTO items (id, name, code) VALUES (999, 'dup', 'c30')").constraint(),
        "items_code_key"
    );
    assert_eq!(
        sibling.err("INSERT INTO items (id, name, code) VALUES (999, 'dup', 'c30')").constraint(),
        "items_code_key"
    );
    assert_eq!(x.exec("UPDATE items SET name = 'goes on' WHERE id IN (0, 10)").tags(), ["UPDATE 2"]);
    assert_eq!(sibling.exec("DELETE FROM items WHERE id = 11").tags(), ["DELETE 1"]);
    assert_eq!(
        unread.lines("SELECT id, name FROM items WHERE id < 5 ORDER BY id"),
        ["1|item 1", "2|item 2", "3|item 3", "4|item 4"]
    );
    commit(&mut x, "goes on");
    commit(&mut old, "old");
    let count = "SELECT count(*) FROM epoch.history_1 WHERE epoch_lineage = 1 AND epoch_existed";
    assert_eq!(direct.one(count).parse::<u32>().unwrap() < 20, lossless, "{}", direct.one(count));

    // Into main again, from both sorts of branches.
    assert_eq!(main.call("epoch_merge('x')", "conflicts"), ["1"], "row 10 was changed on both sides");
    main.exec("SELECT * FROM epoch_conflicts_resolve('theirs')");
    main.exec("SELECT * FROM epoch_merge('--continue')");
    assert_eq!(
        direct.lines("SELECT id, name FROM items WHERE id IN (0, 10) ORDER BY id"),
        ["0|goes on", "10|goes on"]
    );
    // A branch that has the old version gets the new one by a merge of main.
    assert_eq!(old.call("epoch_merge('main')", "conflicts"), ["0"]);
    let qty = if after.contains("amount") { "amount" } else { "qty" };
    assert_eq!(
        old.lines(&format!("SELECT id, name, {qty} FROM items WHERE id IN (0, 1, 2, 10) ORDER BY id"))[..2],
        ["0|goes on|1", "1|fifth|101"]
    );
    assert_eq!(unread.call("epoch_merge('main')", "fast_forward"), ["t"]);
    assert_eq!(items(&mut unread, after), items(&mut main, after));
    // A branch that altered the old version in another way comes, too.
    assert_eq!(main.call("epoch_merge('sibling')", "conflicts"), ["0"]);
    assert_eq!(direct.lines("SELECT id, own FROM items WHERE id IN (1, 2) ORDER BY id"), ["1|own", "2|mine"]);
    // And a branch of the new main alters it once more.
    let mut y = f.branch("y");
    y.exec("ALTER TABLE items ADD last int DEFAULT 7");
    y.exec("UPDATE items SET last = 8 WHERE id = 2");
    commit(&mut y, "last");
    assert_eq!(main.call("epoch_merge('y')", "fast_forward"), ["t"]);
    assert_eq!(direct.lines("SELECT id, last FROM items WHERE id IN (1, 2) ORDER BY id"), ["1|7", "2|8"]);
    assert_eq!(items(&mut f.on(&first), old_columns), seen[0].1);
    assert_eq!(items(&mut f.on(&merged), after), expected);
    direct.exec("UPDATE items SET last = 9");
    assert_eq!(items(&mut f.on(&first), old_columns), seen[0].1);
    assert_eq!(items(&mut f.on(&merged), after), expected);
    assert_eq!(y.one("SELECT last FROM items WHERE id = 2"), "8");

    for conn in [old, unread, sibling, x, y] {
        conn.terminate();
    }
    main.exec("SELECT * FROM epoch_unregister('items', '-f')");
    main.exec("SELECT * FROM epoch_unregister('other', '-f')");
    assert_eq!(
        direct.lines("SELECT nspname FROM pg_namespace WHERE nspname ~ '^epoch'"),
        Vec::<String>::new()
    );
    assert_eq!(direct.lines("SELECT tgname FROM pg_trigger WHERE NOT tgisinternal"), Vec::<String>::new());
}

#[test]
fn a_merge_adds_columns_and_renames_them_on_main() {
    need_postgres!();
    comes_to_main(
        &[
            "ALTER TABLE items ADD note text, ADD stars int NOT NULL DEFAULT 3",
            "ALTER TABLE items RENAME qty TO amount",
            "CREATE INDEX items_stars ON items (stars)",
            "ALTER TABLE items ADD CONSTRAINT stars_check CHECK (stars < 6), ALTER price DROP NOT NULL",
            "COMMENT ON COLUMN items.stars IS 'of five'",
        ],
        "id, name, price, code, amount, made, note, stars",
        true,
    );
}

#[test]
fn a_merge_drops_and_widens_columns_on_main() {
    need_postgres!();
    comes_to_main(
        &[
            "ALTER TABLE items DROP COLUMN price",
            "ALTER TABLE items ALTER qty TYPE bigint, ALTER code TYPE text",
            "ALTER TABLE items DROP COLUMN made",
            "DROP INDEX IF EXISTS items_made_idx",
        ],
        "id, name, code, qty",
        false,
    );
}

/// What PostgreSQL refuses on main's rows leaves main as it was.
#[test]
fn a_merge_that_mains_rows_do_not_allow_changes_nothing() {
    need_postgres!();
    let f = Fixture::registered(ITEMS);
    let mut direct = f.direct();
    direct.exec(&rows(20));
    let mut main = f.main();
    commit(&mut main, "rows");
    let mut x = f.branch("x");
    let mut y = f.branch("y");
    x.exec("ALTER TABLE items ADD CONSTRAINT cheap CHECK (price < 50)");
    commit(&mut x, "cheap");
    direct.exec("UPDATE items SET price = 60 WHERE id = 3");
    commit(&mut main, "sixty");
    y.exec("UPDATE items SET price = 70 WHERE id = 4");
    commit(&mut y, "seventy");
    let before = catalog(&mut direct);
    let error = main.err("SELECT * FROM epoch_merge('x')");
    assert_eq!((error.code(), error.constraint()), ("23514", "cheap"), "{}", error.message());
    assert_eq!(catalog(&mut direct), before);
    assert_eq!(direct.exec("UPDATE items SET price = 80 WHERE id = 5").tags(), ["UPDATE 1"]);
    let error = y.err("SELECT * FROM epoch_merge('x')");
    assert_eq!((error.code(), error.constraint()), ("23514", "cheap"), "{}", error.message());
    assert_eq!(y.one("SELECT price FROM items WHERE id = 4"), "70.00");
    assert_eq!(status(&mut y), Vec::<String>::new());
    x.exec("ALTER TABLE items DROP CONSTRAINT cheap, ADD token uuid DEFAULT gen_random_uuid()");
    commit(&mut x, "tokens");
    commit(&mut main, "eighty");
    let error = main.err("SELECT * FROM epoch_merge('x')");
    assert_eq!(error.code(), "0A000");
    assert_eq!(catalog(&mut direct), before);
}

/// A table that was written anew on a branch is written anew on main, too.
#[test]
fn a_merge_that_writes_the_table_anew() {
    need_postgres!();
    let f = Fixture::registered(ITEMS);
    let mut direct = f.direct();
    direct.exec(&rows(20));
    let mut main = f.main();
    let first = commit(&mut main, "rows");
    let (mut old, mut x) = (f.branch("old"), f.branch("x"));
    x.exec("UPDATE items SET price = 99 WHERE id = 3");
    x.exec("ALTER TABLE items ALTER name TYPE int USING length(name), ALTER code TYPE varchar(5)");
    x.exec("ALTER TABLE items ADD total numeric GENERATED ALWAYS AS (price * qty) STORED");
    x.exec("UPDATE items SET name = 77 WHERE id = 4");
    commit(&mut x, "anew");
    direct.exec("UPDATE items SET name = 'a long name', price = 7 WHERE id = 5");
    commit(&mut main, "seven");
    let shown = "SELECT id, name, price, code, total FROM items WHERE id BETWEEN 2 AND 6 ORDER BY id";
    assert_eq!(
        x.lines(shown),
        [
            "2|6|2.50|c2|5.00",
            "3|6|99.00|c3|297.00",
            "4|77|4.50|c4|18.00",
            "5|6|5.50|c5|27.50",
            "6|6|6.50|c6|39.00"
        ]
    );
    assert_eq!(main.call("epoch_merge('x')", "conflicts"), ["0"]);
    assert_eq!(
        direct.lines(shown),
        [
            "2|6|2.50|c2|5.00",
            "3|6|99.00|c3|297.00",
            "4|77|4.50|c4|18.00",
            "5|11|7.00|c5|35.00",
            "6|6|6.50|c6|39.00"
        ]
    );
    direct.exec("UPDATE items SET price = 1");
    commit(&mut main, "one");
    assert_eq!(x.lines(shown)[0], "2|6|2.50|c2|5.00");
    let before = "SELECT id, name, price FROM items WHERE id IN (3, 5) ORDER BY id";
    for reference in [first.as_str(), "old"] {
        assert_eq!(f.on(reference).lines(before), ["3|item 3|3.50", "5|item 5|5.50"]);
    }
    assert_eq!(f.on("main~1").lines(shown)[3], "5|11|7.00|c5|35.00");
    let error = old.err("SELECT * FROM epoch_merge('main')");
    assert_eq!(
        (error.code(), error.message()),
        ("0A000", "merging rows into table \"items\", whose rows were written anew is not supported")
    );
    // Whoever has the new version goes on.
    assert_eq!(x.call("epoch_merge('main')", "fast_forward"), ["t"]);
    assert_eq!(x.one("SELECT count(*) FROM items WHERE price = 1"), "20");
    let mut y = f.branch("y");
    y.exec("UPDATE items SET qty = 2 WHERE id = 6");
    commit(&mut y, "two");
    assert_eq!(main.call("epoch_merge('y')", "fast_forward"), ["t"]);
    assert_eq!(direct.one("SELECT total FROM items WHERE id = 6"), "2.00");
}

/// Branches merge versions of a table: one side's, the same on both, and not two that don't fit (see e2e_two_alters.rs).
#[test]
fn branches_merge_versions() {
    need_postgres!();
    let f = Fixture::registered(ITEMS);
    let mut direct = f.direct();
    direct.exec(&rows(20));
    let mut main = f.main();
    commit(&mut main, "rows");
    let [mut a, mut b, mut same, mut other] = ["a", "b", "same", "other"].map(|name| f.branch(name));
    let alter = "ALTER TABLE items ADD stars int DEFAULT 3";
    a.exec("UPDATE items SET name = 'a' WHERE id = 1");
    a.exec(alter);
    a.exec("UPDATE items SET stars = 5 WHERE id IN (1, 2)");
    commit(&mut a, "stars");
    b.exec("UPDATE items SET name = 'b' WHERE id IN (2, 3)");
    b.exec("DELETE FROM items WHERE id = 4");
    commit(&mut b, "b");
    same.exec(alter);
    same.exec("UPDATE items SET stars = 1 WHERE id = 6");
    commit(&mut same, "the same");
    other.exec("ALTER TABLE items ADD stars text");
    commit(&mut other, "other");

    let shown = "SELECT id, name, stars FROM items WHERE id < 7 ORDER BY id";
    assert_eq!(b.call("epoch_merge('a')", "fast_forward, conflicts"), ["f|0"]);
    assert_eq!(b.lines(shown), ["1|a|5", "2|b|5", "3|b|3", "5|item 5|3", "6|item 6|3"]);
    assert_eq!(status(&mut b), Vec::<String>::new());
    assert_eq!(b.one("SELECT count(*) FROM items WHERE stars = 3"), "17");
    assert_eq!(f.on("b~1").err(shown).code(), "42703");
    assert_eq!(b.call("epoch_merge('same')", "conflicts"), ["0"]);
    assert_eq!(b.lines(shown)[4], "6|item 6|1");
    let waits = b.call("epoch_merge('other')", "conflicts, message").concat();
    let what = "1|1 conflicts (table \"items\": altered differently on both sides (column \"stars\"))";
    assert!(waits.starts_with(what), "{waits}");
    b.exec("SELECT * FROM epoch_merge('--abort')");
    // Rows of main come to a branch that altered the table.
    direct.exec("UPDATE items SET qty = 50 WHERE id IN (1, 9)");
    commit(&mut main, "fifty");
    assert_eq!(b.call("epoch_merge('main')", "conflicts"), ["0"]);
    assert_eq!(
        b.lines("SELECT id, name, stars, qty FROM items WHERE id IN (1, 9) ORDER BY id"),
        ["1|a|5|50", "9|item 9|3|50"]
    );
    // Forwards, and back.
    a.exec("SELECT * FROM epoch_branch('later', 'main~1')");
    let mut later = f.on("later");
    assert_eq!(later.call("epoch_merge('a')", "fast_forward"), ["t"]);
    assert_eq!(later.lines(shown)[..2], ["1|a|5", "2|item 2|5"]);
    later.exec("UPDATE items SET stars = 0 WHERE id = 5");
    commit(&mut later, "zero");
    assert_eq!(a.call("epoch_merge('later')", "fast_forward"), ["t"]);
    assert_eq!(a.one("SELECT stars FROM items WHERE id = 5"), "0");
    later.exec("SELECT * FROM epoch_reset('--hard', 'main~1')");
    assert_eq!(later.one("SELECT count(*) FROM items WHERE name = 'a'"), "0");
    assert_eq!(later.err(shown).code(), "42703");
}

/// Killed at any step, the merge has altered main's table or hasn't.
#[test]
fn a_crash_of_a_merge_that_alters_main() {
    need_postgres!();
    let mut f = Fixture::registered(ITEMS);
    f.direct().exec(&rows(20));
    let first = commit(&mut f.main(), "rows");
    let mut x = f.branch("x");
    x.exec("ALTER TABLE items ADD n int DEFAULT 5, DROP made");
    x.exec("UPDATE items SET n = 6 WHERE id = 6");
    commit(&mut x, "n");
    x.terminate();
    let before = catalog(&mut f.direct());
    f.dies("journal-written", "main", "SELECT epoch_merge('x')");
    assert_eq!(catalog(&mut f.direct()), before);
    f.dies("all-sealed", "main", "SELECT epoch_merge('x')");
    assert_eq!(f.direct().lines("SELECT id, n FROM items WHERE id IN (6, 7) ORDER BY id"), ["6|6", "7|5"]);
    assert_eq!(f.on("x").lines("SELECT id, n FROM items WHERE id IN (6, 7) ORDER BY id"), ["6|6", "7|5"]);
    assert_eq!(f.on(&first).one("SELECT made FROM items WHERE id = 6"), "2026-01-07");
    f.direct().exec("UPDATE items SET n = 1 WHERE id = 8");
    assert_eq!(status(&mut f.main()), ["items|modified|0|1|0"]);
    assert_eq!(f.on("x").one("SELECT n FROM items WHERE id = 8"), "5");
}

/// Who was at work on a branch with the old version when main's table was altered loses nothing, and sees nothing wrong.
#[test]
fn sessions_on_old_versions_while_a_merge_alters_main() {
    need_postgres!();
    let f = Fixture::registered(ITEMS);
    let mut direct = f.direct();
    direct.exec(&rows(20));
    let mut main = f.main();
    commit(&mut main, "rows");
    let (mut old, mut x) = (f.branch("old"), f.branch("x"));
    let mut snapshot = f.on("old");
    let mut waiting = f.on("old");
    old.exec("UPDATE items SET qty = 11 WHERE id = 1");
    x.exec("ALTER TABLE items DROP made, ADD n int DEFAULT 5");
    commit(&mut x, "n");
    snapshot.exec("BEGIN ISOLATION LEVEL REPEATABLE READ");
    snapshot.exec("SELECT count(*) FROM other");
    old.exec("BEGIN; UPDATE items SET qty = 12 WHERE id = 2");
    main.send(&[conn::query("SELECT * FROM epoch_merge('x')")]);
    let waits = |direct: &mut Conn, count: &str| {
        while direct.one("SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database WHERE NOT l.granted AND l.locktype = 'relation' AND d.datname = current_database()") != count {
            std::thread::yield_now();
        }
    };
    waits(&mut direct, "1");
    waiting.send(&[conn::query("UPDATE items SET qty = 13 WHERE id = 3")]);
    waits(&mut direct, "2");
    old.exec("COMMIT");
    assert!(main.reply().error().is_none());
    let reply = waiting.reply();
    let third = if reply.error().is_none() { "13" } else { "3" };
    let shown = "SELECT id, qty, made FROM items WHERE id < 4 ORDER BY id";
    let rows = ["1|11|2026-01-02".to_owned(), "2|12|2026-01-03".to_owned(), format!("3|{third}|2026-01-04")];
    assert_eq!(old.lines(shown), rows);
    assert_eq!(snapshot.err("SELECT count(*) FROM items").code(), "40001");
    snapshot.exec("ROLLBACK");
    assert_eq!(snapshot.one("SELECT count(*) FROM items"), "20");
    waiting.exec("UPDATE items SET qty = 14 WHERE id = 3");
    assert_eq!(old.one("SELECT qty FROM items WHERE id = 3"), "14");
    assert_eq!(x.one("SELECT qty FROM items WHERE id = 3"), "3");
    assert_eq!(x.exec("UPDATE items SET qty = 15 WHERE id = 3").tags(), ["UPDATE 1"]);
    assert_eq!(direct.one("SELECT qty FROM items WHERE id = 3"), "3");
}

/// A table that was made on a branch, committed, and altered there comes to main as it is.
#[test]
fn a_committed_table_of_a_branch_is_altered() {
    need_postgres!();
    let f = Fixture::registered("CREATE TABLE base (id int PRIMARY KEY)");
    let mut x = f.branch("x");
    x.exec("CREATE TABLE t (id serial PRIMARY KEY, v text)");
    x.exec("INSERT INTO t (v) VALUES ('one'), ('two')");
    let made = commit(&mut x, "t");
    x.exec("ALTER TABLE t ADD n int DEFAULT 7");
    x.exec("ALTER TABLE t ALTER v TYPE int USING length(v)");
    x.exec("INSERT INTO t (v) VALUES (9)");
    x.exec("UPDATE t SET n = 8 WHERE id = 1");
    let altered = commit(&mut x, "altered");
    assert_eq!(x.lines("SELECT * FROM t ORDER BY id"), ["1|3|8", "2|3|7", "3|9|7"]);
    assert_eq!(f.on(&made).lines("SELECT * FROM t ORDER BY id"), ["1|one", "2|two"]);
    let mut main = f.main();
    assert_eq!(main.call("epoch_merge('x')", "fast_forward"), ["t"]);
    let mut direct = f.direct();
    assert_eq!(direct.lines("SELECT * FROM t ORDER BY id"), ["1|3|8", "2|3|7", "3|9|7"]);
    direct.exec("INSERT INTO t (v) VALUES (10); DELETE FROM t WHERE id = 2");
    assert_eq!(status(&mut main), ["t|modified|1|0|1"]);
    for at in [&altered, "x"] {
        assert_eq!(f.on(at).lines("SELECT * FROM t ORDER BY id"), ["1|3|8", "2|3|7", "3|9|7"]);
    }
    assert_eq!(f.on(&made).lines("SELECT * FROM t ORDER BY id"), ["1|one", "2|two"]);
}
