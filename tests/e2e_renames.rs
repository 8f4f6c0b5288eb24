//! ALTER TABLE … RENAME TO and SET SCHEMA, and ALTER INDEX … RENAME, on branches: the same table under another name, on
//! this branch only, until a merge does it to main's table.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use common::Fixture;
use common::conn::Conn;
use common::database::{Database, base_rows, catalog};
use common::proxy::{Proxy, ProxyConfig};
use common::verbs::status;

const ITEMS: &str = "CREATE SCHEMA shop; CREATE TABLE items (id int PRIMARY KEY, name text NOT NULL, qty int DEFAULT 1 CHECK (qty < 1000)); \
    CREATE INDEX items_name ON items (name); CREATE TABLE other (id int PRIMARY KEY, v text); \
    INSERT INTO other VALUES (1, 'one'); INSERT INTO items SELECT g, 'item ' || g, g % 5 FROM generate_series(1, 20) g";

fn commit(conn: &mut Conn, message: &str) -> String {
    conn.one(&format!("SELECT hash FROM epoch_commit('{message}')"))
}

fn merge(conn: &mut Conn, from: &str) {
    assert_eq!(conn.call(&format!("epoch_merge('{from}')"), "conflicts"), ["0"], "{from}");
}

fn nobody_left_a_schema(direct: &mut Conn) {
    let left = direct.lines("SELECT nspname FROM pg_namespace WHERE nspname LIKE 'epoch%' ORDER BY 1");
    assert_eq!(left, Vec::<String>::new());
}

/// The error of a statement, or what it says when it is done.
fn outcome(conn: &mut Conn, sql: &str) -> Vec<String> {
    let reply = conn.simple(sql);
    match reply.error() {
        Some(error) => vec![error.code().to_owned(), error.message().to_owned(), error.detail().to_owned()],
        None => {
            // In any order, where the statement doesn't say one.
            let mut rows: Vec<String> = reply.rows().iter().map(|row| format!("{row:?}")).collect();
            rows.sort();
            reply.tags().iter().map(|tag| (*tag).to_owned()).chain(rows).collect()
        }
    }
}

/// What PostgreSQL answers to each statement is what a branch answers; main has nothing of it.
#[test]
fn a_branch_renames_as_postgresql_does() {
    need_postgres!();
    let f = Fixture::registered(ITEMS);
    let plain = Database::create();
    let mut plain = plain.connect();
    plain.exec(ITEMS);
    let mut direct = f.direct();
    let before = (catalog(&mut direct), base_rows(&mut direct));
    let mut x = f.branch("x");
    for sql in [
        "UPDATE items SET qty = 9 WHERE id = 3",
        "ALTER TABLE items RENAME TO other",
        "ALTER TABLE items RENAME TO items",
        "ALTER TABLE items RENAME TO items_name",
        "ALTER TABLE items SET SCHEMA nowhere",
        "ALTER TABLE items SET SCHEMA public",
        "ALTER TABLE nothing RENAME TO something",
        "ALTER TABLE nothing SET SCHEMA shop",
        "ALTER TABLE IF EXISTS nothing RENAME TO something",
        "ALTER TABLE IF EXISTS nothing SET SCHEMA shop",
        "ALTER TABLE items RENAME TO goods",
        "SELECT * FROM items",
        "SELECT * FROM goods ORDER BY id",
        "INSERT INTO items VALUES (30, 'x')",
        "INSERT INTO goods VALUES (30, 'thirty', 3), (31, 'more', DEFAULT) RETURNING *",
        "INSERT INTO goods AS g VALUES (30, 'again', 4), (4, 'four', 4) ON CONFLICT (id) DO UPDATE SET name = g.name || excluded.name RETURNING *",
        "INSERT INTO goods VALUES (30, 'again', 4)",
        "INSERT INTO goods VALUES (32, 'much', 4000)",
        "INSERT INTO goods VALUES (33, NULL, 4)",
        "UPDATE goods SET qty = goods.qty + 1 WHERE goods.id BETWEEN 2 AND 6 RETURNING *",
        "DELETE FROM public.goods WHERE id IN (7, 30) RETURNING id",
        "SELECT g.id, o.v FROM goods g JOIN other o USING (id)",
        "ALTER TABLE items ADD n int",
        "ALTER TABLE goods ADD note text DEFAULT 'new', RENAME TO ware",
        "ALTER TABLE goods ADD note text DEFAULT 'new'",
        "ALTER TABLE goods RENAME COLUMN qty TO amount",
        "ALTER TABLE \"goods\" RENAME TO \"Odd \"\"name\"",
        "SELECT id, note, amount FROM \"Odd \"\"name\" WHERE id < 6 ORDER BY id",
        "ALTER TABLE \"Odd \"\"name\" RENAME TO goods",
        "CREATE TABLE items (id int PRIMARY KEY, only_here text)",
        "INSERT INTO items VALUES (1, 'another') RETURNING *",
        "SELECT count(*) FROM goods",
        "ALTER TABLE items RENAME TO goods",
        "ALTER TABLE goods RENAME TO between",
        "ALTER TABLE items RENAME TO goods",
        "ALTER TABLE between RENAME TO items",
        "SELECT * FROM goods",
        "SELECT id, name, amount, note FROM items ORDER BY id",
        "ALTER TABLE items SET SCHEMA shop",
        "SELECT count(*) FROM shop.items",
        "SELECT count(*) FROM items",
        "SET search_path = shop, public",
        "SELECT count(*) FROM items",
        "UPDATE items SET amount = 77 WHERE id = 11 RETURNING *",
        "ALTER TABLE items RENAME TO stock",
        "SELECT count(*), sum(amount) FROM stock",
        "SET search_path = public",
        "ALTER TABLE shop.stock SET SCHEMA public",
        "SELECT count(*), sum(amount) FROM stock",
        "ALTER INDEX items_name RENAME TO stock_name",
        "ALTER INDEX items_name RENAME TO stock_name",
        "ALTER INDEX IF EXISTS items_name RENAME TO stock_name",
        "ALTER INDEX other RENAME TO o2",
        "ALTER INDEX items_pkey RENAME TO stock_pk",
        "INSERT INTO stock VALUES (11, 'again', 4)",
        "ALTER TABLE stock RENAME CONSTRAINT items_qty_check TO few",
        "UPDATE stock SET amount = 4000 WHERE id = 11",
        "DROP INDEX stock_name",
        "SELECT indexrelid::regclass::text FROM pg_index WHERE indrelid = 'stock'::regclass ORDER BY 1",
        "SELECT table_schema, table_name FROM information_schema.tables WHERE table_schema IN ('public', 'shop') ORDER BY 1, 2",
        "SELECT to_regclass('items'), to_regclass('stock'), to_regclass('shop.items')",
        "DROP TABLE stock",
        "SELECT * FROM stock",
    ] {
        assert_eq!(outcome(&mut x, sql), outcome(&mut plain, sql), "{sql}");
    }
    assert_eq!((catalog(&mut direct), base_rows(&mut direct)), before, "main has nothing of it");
    assert_eq!(f.main().one("SELECT count(*) FROM items"), "20");
    x.exec("SELECT * FROM epoch_reset('--hard')");
    assert_eq!(x.one("SELECT count(*) FROM items"), "20");
    let left = direct.one("SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'epoch\\_b%'");
    assert_eq!(left, "0", "nothing is left of what was never committed");
}

/// It is one table in status, commits, differences and merges; on main it is the same relation under another name.
#[test]
fn a_renamed_table_is_the_same_table() {
    need_postgres!();
    let f = Fixture::registered(ITEMS);
    let (mut direct, mut main) = (f.direct(), f.main());
    let (mut x, mut older) = (f.branch("x"), f.branch("older"));
    let oid = direct.one("SELECT 'items'::regclass::oid");
    x.exec("UPDATE items SET qty = 100 WHERE id = 1");
    commit(&mut x, "first");
    x.exec("ALTER TABLE items RENAME TO goods");
    assert_eq!(status(&mut x), ["goods|altered"]);
    x.exec("UPDATE goods SET qty = 200 WHERE id = 2; DELETE FROM goods WHERE id = 3");
    let renamed = commit(&mut x, "renamed");
    assert_eq!(status(&mut x), Vec::<String>::new());
    x.exec("ALTER TABLE goods SET SCHEMA shop; INSERT INTO shop.goods VALUES (21, 'last', 1)");
    commit(&mut x, "moved");

    // By either name, from either side.
    let diff = |conn: &mut Conn, table: &str| {
        conn.lines(&format!(
            "SELECT diff_type, coalesce(to_id, from_id) FROM epoch_diff('main', 'x', '{table}') ORDER BY 2"
        ))
    };
    let expected = ["modified|1", "modified|2", "removed|3", "added|21"];
    assert_eq!(diff(&mut x, "shop.goods"), expected);
    assert_eq!(diff(&mut main, "shop.goods"), expected);
    assert_eq!(diff(&mut main, "items"), expected);
    assert_eq!(
        x.one("SELECT alter_statements FROM epoch_schema_diff('main', 'x', 'shop.goods')"),
        "{\"ALTER TABLE \\\"public\\\".\\\"items\\\" RENAME TO \\\"goods\\\";\",\"ALTER TABLE \\\"public\\\".\\\"goods\\\" SET SCHEMA \\\"shop\\\";\"}"
    );
    assert_eq!(x.one(&format!("SELECT count(*) FROM epoch_at('goods', '{renamed}')")), "19");
    let mut then = f.on(&renamed);
    assert_eq!(then.one("SELECT qty FROM goods WHERE id = 2"), "200");
    assert_eq!(then.err("SELECT * FROM shop.goods").code(), "42P01");
    assert_eq!(f.on("x~2").one("SELECT qty FROM items WHERE id = 1"), "100");

    // A branch of the branch has it, and main's own work goes on.
    let mut child = {
        x.exec("SELECT * FROM epoch_branch('child')");
        f.on("child")
    };
    child.exec("UPDATE shop.goods SET name = 'child' WHERE id = 4");
    commit(&mut child, "child");
    older.exec("UPDATE items SET name = 'older' WHERE id = 5");
    commit(&mut older, "older");
    main.exec("UPDATE items SET name = 'main' WHERE id = 6");
    commit(&mut main, "main");

    merge(&mut main, "x");
    assert_eq!(direct.one("SELECT 'shop.goods'::regclass::oid"), oid, "it is the same relation");
    assert_eq!(main.err("SELECT * FROM items").code(), "42P01");
    assert_eq!(
        main.lines("SELECT id, name, qty FROM shop.goods WHERE id IN (1, 2, 3, 6, 21) ORDER BY id"),
        ["1|item 1|100", "2|item 2|200", "6|main|1", "21|last|1"]
    );
    assert_eq!(status(&mut main), Vec::<String>::new());
    // What forked before goes on under the name that it knows, and merges into the table that it is.
    assert_eq!(older.one("SELECT count(*) FROM items"), "20");
    older.exec("DELETE FROM items WHERE id = 7");
    commit(&mut older, "later");
    merge(&mut main, "older");
    merge(&mut main, "child");
    assert_eq!(
        main.lines("SELECT id, name FROM shop.goods WHERE id BETWEEN 4 AND 7 ORDER BY id"),
        ["4|child", "5|older", "6|main"]
    );
    assert_eq!(f.on("main~3").one("SELECT count(*) FROM items"), "20");
    main.exec("INSERT INTO shop.goods VALUES (40, 'by main', 1)");
    assert_eq!(status(&mut main), ["shop.goods|modified"]);
    commit(&mut main, "by main");
    // Main's table is captured under its new name.
    assert_eq!(
        main.lines("SELECT diff_type, to_id FROM epoch_diff('HEAD~1', 'HEAD', 'shop.goods')"),
        ["added|40"]
    );
    let mut late = f.branch("late");
    late.exec("UPDATE shop.goods SET qty = 3 WHERE id = 40");
    assert_eq!(late.one("SELECT qty FROM shop.goods WHERE id = 40"), "3");

    // Unregistering leaves no trace, in the schema that it came from either.
    main.exec("SELECT * FROM epoch_unregister('shop.goods', '-f')");
    main.exec("SELECT * FROM epoch_unregister('other', '-f')");
    nobody_left_a_schema(&mut direct);
    assert_eq!(direct.one("SELECT count(*) FROM shop.goods"), "20");
}

/// The name that a table left is free: for another table of the branch, and of main after the merge.
#[test]
fn the_name_that_a_table_left_can_be_taken() {
    need_postgres!();
    let f = Fixture::registered(ITEMS);
    let (mut direct, mut main) = (f.direct(), f.main());
    let (mut x, mut older) = (f.branch("x"), f.branch("older"));
    x.exec("ALTER TABLE items RENAME TO items_old");
    x.exec("CREATE TABLE items (id bigint PRIMARY KEY, old_id int REFERENCES items_old, note text)");
    x.exec("INSERT INTO items SELECT id * 10, id, name FROM items_old WHERE id < 4");
    commit(&mut x, "another");
    let expected = x.lines("SELECT * FROM items ORDER BY id");
    merge(&mut main, "x");
    assert_eq!(main.lines("SELECT * FROM items ORDER BY id"), expected);
    assert_eq!(direct.lines("SELECT * FROM items ORDER BY id"), expected);
    assert_eq!(direct.one("SELECT count(*) FROM items_old"), "20");
    assert_eq!(direct.err("INSERT INTO items VALUES (1, 99, 'x')").code(), "23503");
    assert_eq!(older.one("SELECT name FROM items WHERE id = 4"), "item 4");
    older.exec("UPDATE items SET name = 'older' WHERE id = 4");
    commit(&mut older, "older");
    merge(&mut main, "older");
    assert_eq!(direct.one("SELECT name FROM items_old WHERE id = 4"), "older");

    // By a table of main that is registered later.
    let mut y = f.branch("y");
    y.exec("ALTER TABLE other RENAME TO others");
    commit(&mut y, "others");
    merge(&mut main, "y");
    main.exec("CREATE TABLE other (id int PRIMARY KEY, w int); INSERT INTO other VALUES (5, 5)");
    main.exec("SELECT * FROM epoch_register('other')");
    assert_eq!(main.lines("SELECT * FROM other"), ["5|5"]);
    assert_eq!(older.lines("SELECT * FROM other"), ["1|one"], "on a branch it is the one that it was");
    older.exec("UPDATE other SET v = 'uno'");
    commit(&mut older, "uno");
    merge(&mut main, "older");
    assert_eq!(main.lines("SELECT * FROM others"), ["1|uno"]);
    assert_eq!(f.branch("z").lines("SELECT * FROM other"), ["5|5"]);
}

/// Tables that changed places do so on main.
#[test]
fn tables_change_places() {
    need_postgres!();
    let f = Fixture::registered(ITEMS);
    let (mut direct, mut main, mut x) = (f.direct(), f.main(), f.branch("x"));
    let oids = "SELECT 'items'::regclass::oid, 'other'::regclass::oid";
    let before = direct.one(oids);
    x.exec(
        "ALTER TABLE items RENAME TO between; ALTER TABLE other RENAME TO items; ALTER TABLE between RENAME TO other",
    );
    x.exec("UPDATE items SET v = 'changed'; UPDATE other SET qty = 8 WHERE id = 8");
    commit(&mut x, "swapped");
    merge(&mut main, "x");
    let after = direct.one(oids);
    assert_ne!(before, after);
    assert_eq!(direct.one("SELECT 'other'::regclass::oid, 'items'::regclass::oid"), before);
    assert_eq!(main.lines("SELECT * FROM items"), ["1|changed"]);
    assert_eq!(main.one("SELECT qty FROM other WHERE id = 8"), "8");
    main.exec("UPDATE items SET v = 'main'; UPDATE other SET qty = 9 WHERE id = 8");
    assert_eq!(status(&mut main), ["items|modified", "other|modified"]);
    commit(&mut main, "main");
    assert_eq!(x.lines("SELECT * FROM items"), ["1|changed"]);
    let mut late = f.branch("late");
    assert_eq!(late.one("SELECT qty FROM other WHERE id = 8"), "9");
}

/// The rows of a merge's matrix that names have.
#[test]
fn what_both_sides_did_to_a_name() {
    need_postgres!();
    let f = Fixture::registered(ITEMS);
    let mut direct = f.direct();
    let case = |name: &str, ours: &str, theirs: &str| {
        let (a, b) = (format!("a{name}"), format!("b{name}"));
        let mut conns = [f.branch(&a), f.branch(&b)];
        for (conn, sql) in conns.iter_mut().zip([ours, theirs]) {
            conn.exec(sql);
            commit(conn, sql.split_once(';').map_or(sql, |(first, _)| first));
        }
        let [ours, _] = conns;
        (ours, b)
    };
    // They wait for a side to be chosen, as others do.
    for (at, (ours, theirs, named, parts, kept, taken)) in [
        (
            "ALTER TABLE items RENAME TO one",
            "ALTER TABLE items RENAME TO two; UPDATE two SET qty = 7",
            "two",
            "{\"name of the table\"}",
            "one",
            "two",
        ),
        (
            "ALTER TABLE items RENAME TO one",
            "ALTER TABLE items SET SCHEMA shop; UPDATE shop.items SET qty = 7",
            "shop.items",
            "{\"name of the table\"}",
            "one",
            "shop.items",
        ),
        (
            "ALTER TABLE items RENAME TO one",
            "ALTER TABLE items ADD n int; ALTER TABLE items RENAME TO two; UPDATE two SET qty = 7",
            "two",
            "{\"name of the table\"}",
            "one",
            "two",
        ),
        (
            "DROP TABLE items",
            "ALTER TABLE items RENAME TO two; UPDATE two SET qty = 7",
            "two",
            "{}",
            "",
            "two",
        ),
        ("ALTER TABLE items RENAME TO one", "DROP TABLE items", "items", "{}", "one", ""),
    ]
    .into_iter()
    .enumerate()
    {
        for side in ["ours", "theirs"] {
            let (mut conn, from) = case(&format!("{at}{side}"), ours, theirs);
            assert_eq!(conn.call(&format!("epoch_merge('{from}')"), "conflicts"), ["1"], "{ours} / {theirs}");
            assert_eq!(
                conn.lines(&format!("SELECT kind, conflicting_columns FROM epoch_conflicts('{named}')")),
                [format!("schema|{parts}")],
                "{ours} / {theirs}"
            );
            conn.exec(&format!("SELECT * FROM epoch_conflicts_resolve('{side}', '{named}')"));
            conn.exec("SELECT * FROM epoch_merge('--continue')");
            let (there, gone) = if side == "ours" { (kept, taken) } else { (taken, kept) };
            if !there.is_empty() {
                let sum = if side == "theirs" && theirs.contains("= 7") { "140" } else { "40" };
                assert_eq!(
                    conn.one(&format!("SELECT sum(qty) FROM {there}")),
                    sum,
                    "{ours} / {theirs}: {side}"
                );
                conn.exec(&format!("UPDATE {there} SET qty = 3 WHERE id = 1"));
                commit(&mut conn, "after");
            }
            for gone in [gone, "items"].into_iter().filter(|name| !name.is_empty()) {
                assert_eq!(
                    conn.err(&format!("SELECT * FROM {gone}")).code(),
                    "42P01",
                    "{ours} / {theirs}: {side}"
                );
            }
        }
    }
    for (at, (ours, theirs, what)) in [
        (
            "CREATE TABLE two (id int PRIMARY KEY)",
            "ALTER TABLE items RENAME TO two",
            "table \"two\": two tables would have this name",
        ),
        (
            "ALTER TABLE items RENAME TO two",
            "CREATE TABLE two (id int PRIMARY KEY)",
            "table \"two\": two tables would have this name",
        ),
        (
            "ALTER TABLE other RENAME TO two",
            "ALTER TABLE items RENAME TO two",
            "table \"two\": two tables would have this name",
        ),
        (
            "CREATE VIEW seen AS SELECT id FROM items",
            "ALTER TABLE items RENAME TO two",
            "view \"seen\" reads table \"items\", which would not be there",
        ),
        (
            "CREATE VIEW two AS SELECT 1 AS one",
            "ALTER TABLE items RENAME TO two",
            "view \"two\": a table on one side",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let (mut conn, from) = case(&format!("error{at}"), ours, theirs);
        let message = conn.call(&format!("epoch_merge('{from}')"), "message").concat();
        assert!(message.contains(&format!("1 conflicts ({what})")), "{ours} / {theirs}: {message}");
        // Ours alone always fits.
        let mut tries = 0;
        loop {
            conn.exec("SELECT * FROM epoch_conflicts_resolve('ours')");
            let refused = conn.simple("SELECT * FROM epoch_merge('--continue')").error().is_some();
            tries += 1;
            match refused {
                true => assert!(tries < 3, "{ours} / {theirs}"),
                false => break,
            }
        }
        assert_eq!(conn.one("SELECT count(*) FROM epoch.status"), "0", "{ours} / {theirs}");
        assert_eq!(conn.one("SELECT count(*) FROM epoch_diff_summary('HEAD~1', 'HEAD')"), "0");
    }

    // The same on both sides, and what fits.
    for (at, (ours, theirs, name, rows)) in [
        (
            "ALTER TABLE items RENAME TO same; UPDATE same SET qty = 50 WHERE id = 1",
            "ALTER TABLE items RENAME TO same; UPDATE same SET qty = 60 WHERE id = 2",
            "same",
            "SELECT qty FROM same WHERE id < 3 ORDER BY id",
        ),
        (
            "ALTER TABLE items RENAME TO renamed; UPDATE renamed SET qty = 50 WHERE id = 1",
            "ALTER TABLE items ADD note text; UPDATE items SET qty = 60, note = 'n' WHERE id = 2",
            "renamed",
            "SELECT qty FROM renamed WHERE id = 1 UNION ALL SELECT qty FROM renamed WHERE note = 'n'",
        ),
        (
            "ALTER TABLE items ADD note text; UPDATE items SET qty = 50, note = 'n' WHERE id = 1",
            "ALTER TABLE items RENAME TO renamed; UPDATE renamed SET qty = 60 WHERE id = 2",
            "renamed",
            "SELECT qty FROM renamed WHERE note = 'n' UNION ALL SELECT qty FROM renamed WHERE id = 2",
        ),
        (
            "UPDATE items SET qty = 50 WHERE id = 1",
            "ALTER TABLE items SET SCHEMA shop; UPDATE shop.items SET qty = 60 WHERE id = 2",
            "shop.items",
            "SELECT qty FROM shop.items WHERE id < 3 ORDER BY id",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let (mut conn, from) = case(&format!("fit{at}"), ours, theirs);
        merge(&mut conn, &from);
        assert_eq!(conn.lines(rows), ["50", "60"], "{ours} / {theirs}");
        assert_eq!(status(&mut conn), Vec::<String>::new(), "{name}");
    }

    // Main has got the name in the meantime.
    let mut x = f.branch("x");
    x.exec("ALTER TABLE items RENAME TO taken");
    commit(&mut x, "taken");
    direct.exec("CREATE TABLE taken (id int)");
    let before = (catalog(&mut direct), base_rows(&mut direct));
    let error = f.main().err("SELECT * FROM epoch_merge('x')");
    assert_eq!(error.code(), "42P07");
    assert_eq!(error.message(), "table \"items\" cannot become \"public.taken\" on main");
    assert_eq!(error.detail(), "relation \"taken\" already exists");
    assert_eq!((catalog(&mut direct), base_rows(&mut direct)), before);
    direct.exec("DROP TABLE taken");
    merge(&mut f.main(), "x");
    assert_eq!(direct.one("SELECT count(*) FROM taken"), "20");
}

/// One side's name and the other one's column come to main together, whichever is there first.
#[test]
fn main_gets_a_name_from_one_branch_and_a_column_from_another() {
    need_postgres!();
    for first in ["name", "column"] {
        let f = Fixture::registered(ITEMS);
        let (mut direct, mut main) = (f.direct(), f.main());
        let (mut name, mut column) = (f.branch("name"), f.branch("column"));
        name.exec("ALTER TABLE items RENAME TO goods; UPDATE goods SET qty = 70 WHERE id = 7");
        commit(&mut name, "name");
        column.exec("ALTER TABLE items ADD note text DEFAULT 'd'; UPDATE items SET note = 'n' WHERE id = 8; CREATE INDEX noted ON items (note)");
        commit(&mut column, "column");
        let second = if first == "name" { "column" } else { "name" };
        merge(&mut main, first);
        merge(&mut main, second);
        let expected = ["7|70|d", "8|3|n"];
        let read = "SELECT id, qty, note FROM goods WHERE id IN (7, 8) ORDER BY id";
        assert_eq!(main.lines(read), expected, "{first} first");
        assert_eq!(direct.lines(read), expected);
        assert_eq!(
            direct.one("SELECT indrelid::regclass FROM pg_index WHERE indexrelid = 'noted'::regclass"),
            "goods"
        );
        assert_eq!(name.err("SELECT note FROM goods").code(), "42703");
        assert_eq!(column.one("SELECT count(*) FROM items WHERE note = 'd'"), "19");
        // Both take main's, which has all of it.
        for conn in [&mut name, &mut column] {
            merge(conn, "main");
            assert_eq!(conn.lines(read), expected);
        }
    }
}

/// Foreign keys follow the tables, on branches and on main.
#[test]
fn foreign_keys_follow() {
    need_postgres!();
    let f = Fixture::registered(
        "CREATE TABLE parent (id int PRIMARY KEY, v text); \
         CREATE TABLE child (id int PRIMARY KEY, p int REFERENCES parent ON UPDATE CASCADE, self int REFERENCES child); \
         INSERT INTO parent SELECT g, 'p' || g FROM generate_series(1, 9) g; INSERT INTO child SELECT g, g, g FROM generate_series(1, 5) g",
    );
    let (mut direct, mut main, mut x, mut older) = (f.direct(), f.main(), f.branch("x"), f.branch("older"));
    x.exec("ALTER TABLE parent RENAME TO father");
    let error = x.err("INSERT INTO child VALUES (20, 20, NULL)");
    assert_eq!((error.code(), error.detail()), ("23503", "Key (p)=(20) is not present in table \"father\"."));
    let error = x.err("DELETE FROM father WHERE id = 1");
    assert_eq!(
        error.message(),
        "update or delete on table \"father\" violates foreign key constraint \"child_p_fkey\" on table \"child\""
    );
    x.exec("ALTER TABLE child RENAME TO son");
    let error = x.err("INSERT INTO son VALUES (20, 20, NULL)");
    assert_eq!(
        (error.message(), error.detail()),
        (
            "insert or update on table \"son\" violates foreign key constraint \"child_p_fkey\"",
            "Key (p)=(20) is not present in table \"father\"."
        )
    );
    x.exec("UPDATE father SET id = 101 WHERE id = 1; INSERT INTO father VALUES (20, 'twenty'); INSERT INTO son VALUES (20, 20, 20)");
    assert_eq!(x.one("SELECT p FROM son WHERE id = 1"), "101");
    x.exec("CREATE TABLE grandson (id int PRIMARY KEY, s int REFERENCES son); INSERT INTO grandson VALUES (1, 20)");
    let error = older.err("INSERT INTO child VALUES (20, 20, NULL)");
    assert_eq!(error.detail(), "Key (p)=(20) is not present in table \"parent\".");
    commit(&mut x, "family");
    merge(&mut main, "x");
    assert_eq!(
        direct.lines("SELECT conrelid::regclass, conname, confrelid::regclass FROM pg_constraint WHERE contype = 'f' AND connamespace = 'public'::regnamespace ORDER BY conrelid::regclass::text, 2"),
        ["grandson|grandson_s_fkey|son", "son|child_p_fkey|father", "son|child_self_fkey|son"]
    );
    assert_eq!(main.err("INSERT INTO son VALUES (30, 30, NULL)").code(), "23503");
    let error = older.err("INSERT INTO child VALUES (20, 20, NULL)");
    assert_eq!(error.detail(), "Key (p)=(20) is not present in table \"parent\".");
    older.exec("INSERT INTO parent VALUES (50, 'fifty'); INSERT INTO child VALUES (50, 50, 50)");
    commit(&mut older, "older");
    merge(&mut main, "older");
    assert_eq!(direct.one("SELECT p FROM son WHERE id = 50"), "50");
    let mut late = f.branch("late");
    assert_eq!(
        late.err("INSERT INTO son VALUES (31, 31, NULL)").detail(),
        "Key (p)=(31) is not present in table \"father\"."
    );
    assert_eq!(late.err("DELETE FROM son WHERE id = 20").code(), "23503");
}

/// It is a part of the client's transaction, and of one text; what was prepared means what it says.
#[test]
fn renames_in_transactions() {
    need_postgres!();
    let f = Fixture::registered(ITEMS);
    let (mut x, mut y, mut direct) = (f.branch("x"), f.on("main"), f.direct());
    let before = (catalog(&mut direct), base_rows(&mut direct));
    y.exec("SELECT * FROM epoch_checkout('x')");
    x.exec("PREPARE q AS SELECT count(*) FROM items");
    x.exec("BEGIN; ALTER TABLE items RENAME TO goods; INSERT INTO goods VALUES (50, 'fifty', 5)");
    assert_eq!(x.one("SELECT count(*) FROM goods"), "21");
    assert_eq!(y.one("SELECT count(*) FROM items"), "20", "nobody else sees it yet");
    x.exec("SAVEPOINT s; ALTER TABLE goods RENAME TO ware; CREATE TABLE goods (id int PRIMARY KEY); INSERT INTO goods VALUES (1)");
    assert_eq!(x.one("SELECT (SELECT count(*) FROM goods) + (SELECT count(*) FROM ware)"), "22");
    x.exec("ROLLBACK TO s");
    assert_eq!(x.err("SELECT * FROM ware").code(), "42P01");
    x.exec("ROLLBACK TO s");
    assert_eq!(x.one("SELECT count(*) FROM goods"), "21");
    x.exec("COMMIT");
    assert_eq!(y.err("SELECT * FROM items").code(), "42P01");
    assert_eq!(y.one("SELECT count(*) FROM goods"), "21");
    assert_eq!(x.err("EXECUTE q").code(), "42P01");
    assert_eq!(status(&mut y), ["goods|altered"]);

    x.exec("BEGIN; ALTER TABLE goods RENAME TO gone; ROLLBACK");
    assert_eq!(x.one("SELECT count(*) FROM goods"), "21");
    // Made, renamed and filled in one go, as migrations do it.
    x.exec("CREATE TABLE new_other (id int PRIMARY KEY, v text, w int DEFAULT 3); INSERT INTO new_other (id, v) SELECT * FROM other; \
        DROP TABLE other; ALTER TABLE new_other RENAME TO other");
    assert_eq!(y.lines("SELECT * FROM other"), ["1|one|3"]);
    x.exec("BEGIN; CREATE TABLE a (id int PRIMARY KEY); ALTER TABLE a RENAME TO b; ALTER TABLE b ADD n int DEFAULT 2; \
        ALTER TABLE b SET SCHEMA shop; INSERT INTO shop.b VALUES (1); COMMIT");
    assert_eq!(y.lines("SELECT * FROM shop.b"), ["1|2"]);
    x.exec("ALTER TABLE shop.b RENAME TO c");
    assert_eq!(y.lines("SELECT * FROM shop.c"), ["1|2"]);
    assert_eq!(status(&mut x), ["goods|altered", "other|added", "other|removed", "shop.c|added"]);
    // Two at once: one of them is told.
    x.exec("BEGIN; ALTER TABLE goods RENAME TO one");
    y.exec("SET lock_timeout = '200ms'");
    assert_eq!(y.err("BEGIN; ALTER TABLE goods RENAME TO two").code(), "55P03");
    y.exec("ROLLBACK");
    x.exec("ROLLBACK");
    commit(&mut x, "all");
    assert_eq!(status(&mut x), Vec::<String>::new());
    assert_eq!((catalog(&mut direct), base_rows(&mut direct)), before);
    // Statements of the protocol that were prepared before.
    assert_eq!(x.extended("SELECT count(*) FROM goods", &[], false).rows().len(), 1);
    assert_eq!(x.extended("SELECT count(*) FROM items", &[], false).error().unwrap().code(), "42P01");
    x.exec("ALTER TABLE goods RENAME TO items");
    assert_eq!(x.extended("SELECT count(*) FROM items", &[], false).rows().len(), 1);
}

/// Tables that were made on the branch, committed or not, come to main under the name that they have.
#[test]
fn tables_of_the_branch_are_renamed() {
    need_postgres!();
    let f = Fixture::registered(ITEMS);
    let (mut direct, mut main, mut x) = (f.direct(), f.main(), f.branch("x"));
    x.exec("CREATE TABLE fresh (id serial PRIMARY KEY, v text UNIQUE); INSERT INTO fresh (v) VALUES ('a'), ('b')");
    x.exec("ALTER TABLE fresh RENAME TO fresher");
    assert_eq!(status(&mut x), ["fresher|added"]);
    assert_eq!(x.err("INSERT INTO fresher (v) VALUES ('a')").constraint(), "fresh_v_key");
    x.exec("INSERT INTO fresher (v) VALUES ('c')");
    commit(&mut x, "fresher");
    x.exec("ALTER TABLE fresher SET SCHEMA shop; ALTER TABLE shop.fresher ADD n int DEFAULT 1");
    assert_eq!(status(&mut x), ["shop.fresher|altered"]);
    commit(&mut x, "moved");
    merge(&mut main, "x");
    assert_eq!(main.lines("SELECT v, n FROM shop.fresher ORDER BY v"), ["a|1", "b|1", "c|1"]);
    assert_eq!(direct.lines("SELECT v, n FROM shop.fresher ORDER BY v"), ["a|1", "b|1", "c|1"]);
    assert_eq!(direct.one("SELECT count(*) FROM pg_class WHERE relname IN ('fresh', 'fresher') AND relnamespace = 'public'::regnamespace"), "0");
    direct.exec("INSERT INTO shop.fresher (v) VALUES ('d')");
    assert_eq!(status(&mut main), ["shop.fresher|modified"]);
    commit(&mut main, "d");
    assert_eq!(f.on("x~1").one("SELECT count(*) FROM fresher"), "3");
    x.exec("DROP TABLE shop.fresher");
    commit(&mut x, "dropped");
    for table in ["shop.fresher", "items", "other"] {
        main.exec(&format!("SELECT * FROM epoch_unregister('{table}', '-f')"));
    }
    nobody_left_a_schema(&mut direct);
}

/// What a rename can't do is refused by name.
#[test]
fn what_is_refused() {
    need_postgres!();
    let f = Fixture::registered(ITEMS);
    let mut direct = f.direct();
    direct.exec("CREATE VIEW seen AS SELECT id FROM items; CREATE TABLE plain (id int PRIMARY KEY); CREATE SEQUENCE seq; \
        CREATE TABLE parts (id int PRIMARY KEY) PARTITION BY RANGE (id)");
    f.main().exec("SELECT * FROM epoch_register('parts')");
    let before = catalog(&mut direct);
    let mut x = f.branch("x");
    x.exec("CREATE VIEW own AS SELECT id FROM other; CREATE TABLE third (id int PRIMARY KEY)");
    for (sql, code, message) in [
        (
            "ALTER TABLE items RENAME TO goods",
            "0A000",
            "renaming table \"items\", which view \"seen\" reads, on a branch is not supported",
        ),
        (
            "ALTER TABLE items SET SCHEMA shop",
            "0A000",
            "renaming table \"items\", which view \"seen\" reads, on a branch is not supported",
        ),
        (
            "ALTER TABLE other RENAME TO goods",
            "0A000",
            "renaming table \"other\", which view \"own\" reads, on a branch is not supported",
        ),
        ("ALTER TABLE plain RENAME TO goods", "0A000", "ALTER TABLE on a branch is not supported"),
        ("ALTER TABLE plain SET SCHEMA shop", "0A000", "ALTER TABLE on a branch is not supported"),
        (
            "ALTER TABLE parts RENAME TO goods",
            "0A000",
            "changing a table that is partitioned on a branch is not supported",
        ),
        (
            "ALTER INDEX plain_pkey RENAME TO goods",
            "0A000",
            "ALTER INDEX of a table that is not versioned on a branch is not supported",
        ),
        ("ALTER SEQUENCE seq RENAME TO goods", "0A000", ""),
        ("ALTER TABLE third SET SCHEMA epoch", "42501", "permission denied for schema epoch"),
        ("ALTER TABLE third SET SCHEMA pg_catalog", "42501", "permission denied for schema pg_catalog"),
    ] {
        let error = x.err(sql);
        assert_eq!(error.code(), code, "{sql}: {}", error.message());
        assert!(message.is_empty() || error.message() == message, "{sql}: {}", error.message());
    }
    x.exec("ALTER TABLE own RENAME TO mine");
    assert_eq!(x.lines("SELECT * FROM mine"), ["1"], "a view has a name, too");
    x.exec("DROP VIEW mine; ALTER TABLE other RENAME TO goods; CREATE VIEW own AS SELECT id FROM goods");
    assert_eq!(x.lines("SELECT * FROM own"), ["1"]);
    commit(&mut x, "goods");
    assert_eq!(f.on("x~0").err("ALTER TABLE goods RENAME TO other").code(), "25006");
    assert_eq!(catalog(&mut direct), before);
    merge(&mut f.main(), "x");
    assert_eq!(direct.lines("SELECT * FROM own"), ["1"]);
}

/// Killed between the backend and the store, or at any step of a merge, it is done or it isn't.
#[test]
fn killed_while_a_table_is_renamed() {
    need_postgres!();
    let mut f = Fixture::registered(ITEMS);
    f.main().exec("SELECT * FROM epoch_branch('x')");
    f.dies("table-defined", "x", "ALTER TABLE items RENAME TO goods");
    let mut x = f.on("x");
    assert_eq!(x.one("SELECT count(*) FROM items"), "20", "the store doesn't know of it");
    x.exec("ALTER TABLE items RENAME TO goods; UPDATE goods SET qty = 7 WHERE id = 1");
    drop(x);
    f.dies(
        "block-committed",
        "x",
        "BEGIN; ALTER TABLE goods SET SCHEMA shop; CREATE TABLE goods (id int PRIMARY KEY); COMMIT",
    );
    let mut x = f.on("x");
    assert_eq!(status(&mut x), ["goods|added", "shop.goods|altered"], "it was committed");
    commit(&mut x, "goods");
    drop(x);
    for (point, done) in [("journal-written", false), ("all-sealed", true)] {
        f.dies(point, "main", "SELECT * FROM epoch_merge('x')");
        let mut main = f.main();
        assert_eq!(main.simple("SELECT qty FROM shop.goods WHERE id = 1").error().is_none(), done, "{point}");
        assert_eq!(main.simple("SELECT count(*) FROM items").error().is_none(), !done, "{point}");
    }
    assert_eq!(f.main().one("SELECT count(*) FROM goods"), "0");
    assert_eq!(status(&mut f.main()), Vec::<String>::new());
    let mut main = f.main();
    for table in ["shop.goods", "goods", "other"] {
        main.exec(&format!("SELECT * FROM epoch_unregister('{table}', '-f')"));
    }
    nobody_left_a_schema(&mut f.direct());
}

/// A branch goes back to where a table had its old name, takes its rename back, or goes away with it.
#[test]
fn renames_are_taken_back() {
    need_postgres!();
    let f = Fixture::registered(ITEMS);
    let (mut direct, mut main, mut x) = (f.direct(), f.main(), f.branch("x"));
    x.exec("ALTER TABLE items RENAME TO goods; UPDATE goods SET qty = 9 WHERE id = 1");
    commit(&mut x, "renamed");
    x.exec("ALTER TABLE goods RENAME TO items; UPDATE items SET qty = 10 WHERE id = 2");
    commit(&mut x, "back");
    assert_eq!(x.lines("SELECT qty FROM items WHERE id < 3 ORDER BY id"), ["9", "10"]);
    x.exec("SELECT * FROM epoch_reset('HEAD~1', '--hard')");
    assert_eq!(x.lines("SELECT qty FROM goods WHERE id < 3 ORDER BY id"), ["9", "2"]);
    x.exec("SELECT * FROM epoch_reset('HEAD~1', '--hard')");
    assert_eq!(x.one("SELECT qty FROM items WHERE id = 1"), "1");
    x.exec("ALTER TABLE items RENAME TO goods; ALTER TABLE goods RENAME TO items; UPDATE items SET qty = 33 WHERE id = 3");
    commit(&mut x, "there and back");
    merge(&mut main, "x");
    assert_eq!(direct.one("SELECT qty FROM items WHERE id = 3"), "33");
}

/// What reads at a ref, or over refs, finds the table whatever it is called there.
#[test]
fn history_is_read_by_either_name() {
    need_postgres!();
    let f = Fixture::registered(ITEMS);
    let (mut main, mut x) = (f.main(), f.branch("x"));
    x.exec("UPDATE items SET qty = 100 WHERE id = 1");
    let first = commit(&mut x, "first");
    x.exec("ALTER TABLE items RENAME TO goods; UPDATE goods SET qty = 101 WHERE id = 1");
    let second = commit(&mut x, "second");
    for (conn, table, at, expected) in [
        ("x", "goods", "x", "101"),
        ("x", "goods", "x~1", "100"),
        ("x", "goods", "main", "1"),
        ("x", "items", "main", "1"),
        ("main", "items", "x", "101"),
        ("main", "goods", "x", "101"),
        ("main", "items", "main", "1"),
    ] {
        let conn = if conn == "x" { &mut x } else { &mut main };
        let sql = format!("SELECT qty FROM epoch_at('{table}', '{at}') WHERE id = 1");
        assert_eq!(conn.lines(&sql), [expected], "{table} at {at}");
        // With another function beside it the server doesn't read it by itself.
        let sql = format!(
            "SELECT a.qty FROM epoch_at('{table}', '{at}') a JOIN epoch_log() l ON l.commit_order >= 0 WHERE a.id = 1 LIMIT 1"
        );
        assert_eq!(conn.lines(&sql), [expected], "{table} at {at}");
    }
    assert_eq!(
        x.lines("SELECT commit_hash, diff_type, qty FROM epoch_history('goods') WHERE id = 1"),
        [format!("{second}|modified|101"), format!("{first}|modified|100")]
    );
    assert_eq!(x.one("SELECT commit_hash FROM epoch_blame('goods') WHERE id = 1"), second);
    assert_eq!(x.lines("SELECT table_name, rows_modified FROM epoch_diff_stat('main', 'x')"), ["goods|1"]);
    assert_eq!(x.err("SELECT * FROM epoch_patch('main', 'x')").code(), "0A000", "as of any altered table");
    // After the merge the old name is found where it was.
    merge(&mut main, "x");
    assert_eq!(main.one("SELECT qty FROM epoch_at('items', 'main~2') WHERE id = 1"), "1");
    assert_eq!(main.one("SELECT qty FROM epoch_at('goods', 'main~2') WHERE id = 1"), "1");
    assert_eq!(main.lines("SELECT qty FROM epoch_history('goods') WHERE id = 1"), ["101", "100"]);
    assert_eq!(main.one("SELECT table_name FROM epoch.tables WHERE table_name <> 'other'"), "goods");
}

/// Commits that rename are picked, rebased and merged by way of other branches; conflicts of rows wait as others do.
#[test]
fn renames_on_their_way() {
    need_postgres!();
    let f = Fixture::registered(ITEMS);
    let (mut direct, mut main) = (f.direct(), f.main());
    let (mut x, mut y, mut z) = (f.branch("x"), f.branch("y"), f.branch("z"));
    let start = main.one("SELECT commit_hash FROM epoch_log() LIMIT 1");
    x.exec("ALTER TABLE items RENAME TO goods; UPDATE goods SET qty = 11, name = 'x' WHERE id = 1");
    let renamed = commit(&mut x, "renamed");
    y.exec("UPDATE items SET qty = 22 WHERE id = 2");
    commit(&mut y, "y");
    y.exec(&format!("SELECT * FROM epoch_cherry_pick('{renamed}')"));
    assert_eq!(y.lines("SELECT qty FROM goods WHERE id < 3 ORDER BY id"), ["11", "22"]);
    assert_eq!(status(&mut y), Vec::<String>::new());

    z.exec("UPDATE items SET name = 'z' WHERE id = 1");
    commit(&mut z, "z");
    assert_eq!(z.call("epoch_merge('x')", "conflicts"), ["1"]);
    assert_eq!(z.lines("SELECT table_name FROM epoch.conflicts"), ["goods"]);
    z.exec("SELECT * FROM epoch_conflicts_resolve('theirs', 'goods')");
    z.exec("SELECT * FROM epoch_merge('--continue')");
    assert_eq!(z.lines("SELECT name, qty FROM goods WHERE id = 1"), ["x|11"]);

    // A branch of a branch, by way of its parent.
    let mut parent = f.branch("parent");
    parent.exec("UPDATE items SET qty = 33 WHERE id = 3");
    commit(&mut parent, "parent");
    parent.exec("SELECT * FROM epoch_branch('child')");
    let mut child = f.on("child");
    child.exec("ALTER TABLE items SET SCHEMA shop; ALTER TABLE shop.items RENAME TO \"Odd \"\"name\"; UPDATE shop.\"Odd \"\"name\" SET qty = 44 WHERE id = 4");
    commit(&mut child, "child");
    parent.exec("UPDATE items SET qty = 55 WHERE id = 5");
    commit(&mut parent, "more");
    merge(&mut parent, "child");
    assert_eq!(status(&mut parent), Vec::<String>::new());
    let read = "SELECT qty FROM shop.\"Odd \"\"name\" WHERE id BETWEEN 3 AND 5 ORDER BY id";
    assert_eq!(parent.lines(read), ["33", "44", "55"]);
    main.exec("UPDATE items SET qty = 66 WHERE id = 6");
    commit(&mut main, "main");
    merge(&mut main, "parent");
    assert_eq!(direct.lines(read), ["33", "44", "55"]);
    assert_eq!(direct.one("SELECT qty FROM shop.\"Odd \"\"name\" WHERE id = 6"), "66");

    // Main renames again; what forked before the first time still fits.
    let mut late = f.branch("late");
    late.exec("ALTER TABLE shop.\"Odd \"\"name\" RENAME TO third; ALTER TABLE shop.third SET SCHEMA public");
    commit(&mut late, "third");
    merge(&mut main, "late");
    assert_eq!(main.call("epoch_merge('y')", "conflicts"), ["1"]);
    main.exec("SELECT * FROM epoch_conflicts_resolve('ours', 'goods')");
    main.exec("SELECT * FROM epoch_merge('--continue')");
    assert_eq!(direct.one("SELECT qty FROM third WHERE id = 1"), "1", "what main has, with its rows");
    main.exec(&format!("SELECT * FROM epoch_branch('past', '{start}')"));
    let mut past = f.on("past");
    past.exec("UPDATE items SET qty = 77 WHERE id = 7");
    commit(&mut past, "past");
    merge(&mut main, "past");
    assert_eq!(direct.one("SELECT qty FROM third WHERE id = 7"), "77");
    // Taken back as a whole, or not at all.
    x.exec(&format!("SELECT * FROM epoch_revert('{renamed}')"));
    assert_eq!(x.lines("SELECT kind FROM epoch_conflicts('items')"), ["schema"]);
    x.exec("SELECT * FROM epoch_conflicts_resolve('theirs', 'items')");
    x.exec("SELECT * FROM epoch_revert('--continue')");
    assert_eq!(x.lines("SELECT name, qty FROM items WHERE id = 1"), ["item 1|1"]);
    assert_eq!(x.err("SELECT * FROM goods").code(), "42P01");
    assert_eq!(status(&mut x), Vec::<String>::new());
}

/// Sequences go along with their tables.
#[test]
fn sequences_of_a_moved_table_go_along() {
    need_postgres!();
    let f = Fixture::registered(
        "CREATE SCHEMA shop; CREATE TABLE s (id serial PRIMARY KEY, n int GENERATED ALWAYS AS IDENTITY, v text); INSERT INTO s (v) VALUES ('a'), ('b')",
    );
    let (mut direct, mut main, mut x, mut older) = (f.direct(), f.main(), f.branch("x"), f.branch("older"));
    x.exec(
        "ALTER TABLE s SET SCHEMA shop; ALTER TABLE shop.s RENAME TO t; INSERT INTO shop.t (v) VALUES ('c')",
    );
    assert_eq!(x.lines("SELECT id, n, v FROM shop.t WHERE v = 'c'"), ["3|3|c"]);
    commit(&mut x, "moved");
    merge(&mut main, "x");
    main.exec("INSERT INTO shop.t (v) VALUES ('d')");
    older.exec("INSERT INTO s (v) VALUES ('e')");
    x.exec("INSERT INTO shop.t (v) VALUES ('f')");
    let mut late = f.branch("late");
    late.exec("INSERT INTO shop.t (v) VALUES ('g')");
    assert_eq!(direct.lines("SELECT id, n, v FROM shop.t WHERE id > 3"), ["4|4|d"]);
    assert_eq!(older.lines("SELECT id, n FROM s WHERE v = 'e'"), ["5|5"]);
    assert_eq!(x.lines("SELECT id, n FROM shop.t WHERE v = 'f'"), ["6|6"]);
    assert_eq!(late.lines("SELECT id, n FROM shop.t WHERE v = 'g'"), ["7|7"]);
    for conn in [&mut main, &mut late] {
        assert_eq!(conn.one("SELECT pg_get_serial_sequence('shop.t', 'id')"), "shop.s_id_seq");
    }
    commit(&mut older, "older");
    merge(&mut main, "older");
    assert_eq!(direct.one("SELECT count(*) FROM shop.t"), "5");
    commit(&mut main, "d");
    late.exec("ALTER TABLE shop.t ADD w int DEFAULT 1; INSERT INTO shop.t (v) VALUES ('h')");
    commit(&mut late, "late");
    merge(&mut main, "late");
    assert_eq!(direct.one("SELECT w FROM shop.t WHERE v = 'h'"), "1");
}

/// A table that is registered under another name keeps it.
#[test]
fn a_table_with_another_name_on_the_proxy() {
    need_postgres!();
    let db = Database::create();
    db.connect().exec(ITEMS);
    let proxy = Proxy::start(ProxyConfig::postgres(&db.url()));
    let mut main = proxy.connect("main");
    main.exec("SELECT * FROM epoch_register('alias', 'postgresql://main/public.items')");
    main.exec("SELECT * FROM epoch_branch('x')");
    let error = proxy.connect("x").err("ALTER TABLE items RENAME TO goods");
    assert_eq!(
        error.message(),
        "renaming table \"alias\", which is registered under another name than it has, on a branch is not supported"
    );
}

/// A name that somebody may read once showed, in a difference, what main has under one that they may not.
#[test]
fn another_name_gives_no_right() {
    need_postgres!();
    let (db, meta) = (Database::create(), Database::create());
    db.connect().exec(
        "CREATE TABLE salary (id int PRIMARY KEY, amount int); INSERT INTO salary VALUES (1, 5000); CREATE TABLE free (id int PRIMARY KEY)",
    );
    let config = ProxyConfig { metadata_url: Some(meta.url()), ..ProxyConfig::postgres(&db.url()) };
    let proxy = Proxy::start(config);
    let mut root = proxy.connect("main");
    root.exec("SELECT * FROM epoch_register('public.*')");
    for sql in [
        "SELECT epoch_grant('postgres', 'admin')",
        "SELECT epoch_grant('ann', 'read', 'main', tables => array['note', 'free'])",
        "SELECT epoch_grant('ann', 'write', 'ann', tables => array['salary', 'note', 'free'])",
        "SELECT epoch_grant('bob', 'write', 'ann', tables => array['note', 'free'])",
        "SELECT epoch_branch('ann')",
    ] {
        root.exec(sql);
    }
    let user = |name: &str, reference: &str| {
        let mut target = proxy.target(reference);
        target.user = name.to_owned();
        target.try_connect().unwrap()
    };
    let (mut ann, mut bob) = (user("ann", "ann"), user("bob", "ann"));
    assert_eq!(bob.err("ALTER TABLE salary RENAME TO note").code(), "42501");
    assert_eq!(ann.err("ALTER TABLE salary RENAME TO other").code(), "42501");
    ann.exec("ALTER TABLE salary RENAME TO note");
    root.exec("UPDATE salary SET amount = 6000; SELECT epoch_commit('raise')");
    proxy.connect("ann").exec("SELECT epoch_commit('note')");
    assert_eq!(ann.lines("SELECT * FROM note"), ["1|5000"]);
    for sql in [
        "SELECT * FROM epoch_diff('main', 'ann', 'note')",
        "SELECT * FROM epoch_diff('ann', 'main', 'note')",
        "SELECT * FROM epoch_diff_stat('main', 'ann', 'note')",
        "SELECT * FROM epoch_schema_diff('main', 'ann', 'note')",
        "SELECT * FROM epoch_at('note', 'main')",
        "SELECT * FROM epoch_history('note', ref => 'main')",
        "SELECT * FROM epoch_blame('note', 'main')",
        "SELECT * FROM epoch_patch('main', 'ann', 'note')",
        "SELECT * FROM epoch_preview_merge('ann', 'main', 'note')",
    ] {
        let error = ann.err(sql);
        assert_eq!(error.code(), "42501", "{sql}: {error:?}");
    }
}

/// Nothing is left of a rename that nobody can show any more; what main has of it stays.
#[test]
fn garbage_takes_renamed_tables_along() {
    need_postgres!();
    let db = Database::create();
    db.connect().exec(ITEMS);
    let extra = "[retention]\n\"*\" = \"none\"\n".to_owned();
    let proxy = Proxy::start(ProxyConfig { extra, ..ProxyConfig::postgres(&db.url()) });
    let f = Fixture { proxy, db };
    let (mut direct, mut main) = (f.direct(), f.main());
    main.exec("SELECT * FROM epoch_register('public.*')");
    let mut gone = f.branch("gone");
    gone.exec("ALTER TABLE items RENAME TO never; CREATE TABLE fresh (id int PRIMARY KEY); ALTER TABLE fresh RENAME TO stale");
    commit(&mut gone, "never");
    let (mut x, older) = (f.branch("x"), f.branch("older"));
    x.exec("ALTER TABLE items RENAME TO goods; UPDATE goods SET qty = 8 WHERE id = 8");
    commit(&mut x, "goods");
    merge(&mut main, "x");
    drop((gone, x, older));
    for branch in ["gone", "x", "older"] {
        main.exec(&format!("SELECT epoch_branch('-D', '{branch}')"));
    }
    main.exec("SELECT * FROM epoch_gc()");
    assert_eq!(direct.one("SELECT count(*) FROM pg_class WHERE relname IN ('never', 'fresh', 'stale')"), "0");
    assert_eq!(main.one("SELECT qty FROM goods WHERE id = 8"), "8");
    assert_eq!(f.on("main~1").one("SELECT count(*) FROM items"), "20", "an older commit of main's");
    let mut late = f.branch("late");
    late.exec("UPDATE goods SET qty = 9 WHERE id = 8");
    commit(&mut late, "late");
    merge(&mut main, "late");
    assert_eq!(direct.one("SELECT qty FROM goods WHERE id = 8"), "9");
}
