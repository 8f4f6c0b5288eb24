//! CREATE TABLE AS and SELECT INTO on branches of a PostgreSQL backend.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use common::conn::{self, Conn};
use common::{Database, Fixture, Message, PgError, Reply};

const BASE: &str = "CREATE TABLE item (id int PRIMARY KEY, name varchar(20) NOT NULL, price numeric(8,2), shelf text NOT NULL); \
    INSERT INTO item SELECT g, 'item ' || g, g * 1.5, 'shelf ' || g % 3 FROM generate_series(1, 9) g; \
    CREATE TABLE pair (a int, b int, note text, PRIMARY KEY (a, b)); INSERT INTO pair VALUES (1, 1, 'x'), (1, 2, 'y')";

/// Columns of a table as a client sees them: names, types, lengths.
fn columns(conn: &mut Conn, table: &str) -> Vec<(String, u32, i16, i32)> {
    let reply = conn.exec(&format!("SELECT * FROM {table} LIMIT 0"));
    let shown = |m: &Message| match m {
        Message::RowDescription(columns) => Some(columns.clone()),
        _ => None,
    };
    let columns = reply.0.iter().find_map(shown).unwrap();
    columns.into_iter().map(|c| (c.name, c.type_oid, c.type_len, c.typmod)).collect()
}

fn notices(reply: &Reply) -> Vec<String> {
    let text = |m: &Message| match m {
        Message::Notice(notice) => Some(notice.message().to_owned()),
        _ => None,
    };
    reply.0.iter().filter_map(text).collect()
}

fn position(error: &PgError) -> Option<String> {
    error.0.get(&'P').cloned()
}

fn base(conn: &mut Conn) -> Vec<String> {
    let mut all = conn.lines("SELECT * FROM item ORDER BY id");
    all.extend(conn.lines("SELECT * FROM pair ORDER BY 1, 2"));
    all
}

/// Statement, and the key that the table gets.
const MADE: &[(&str, &str)] = &[
    ("CREATE TABLE made AS SELECT * FROM item", "id"),
    ("CREATE TABLE made AS SELECT i.* FROM item i WHERE price > 4 ORDER BY name LIMIT 3", "id"),
    (
        "CREATE TABLE made (k, \"What\", z) AS SELECT id, upper(name), 1.5::numeric(4,1) AS x FROM item WHERE id < 5",
        "k",
    ),
    ("CREATE TABLE IF NOT EXISTS public.made AS TABLE item", "id"),
    ("SELECT id, name AS title INTO made FROM item WHERE id <> 3", "id"),
    ("SELECT item.id, shelf INTO TABLE made FROM public.item", "id"),
    ("CREATE TABLE made AS SELECT shelf, count(*) AS n, max(price) FROM item GROUP BY shelf", "shelf"),
    (
        "CREATE TABLE made AS SELECT count(*), shelf AS s, name FROM item GROUP BY 2, item.name HAVING count(*) > 0",
        "s, name",
    ),
    ("CREATE TABLE made AS SELECT b, a, note || '!' AS note FROM pair", "a, b"),
    ("CREATE TABLE made AS SELECT *, row_number() OVER (ORDER BY id DESC) FROM item", "id"),
    ("CREATE TABLE made AS SELECT * FROM item WITH NO DATA", "id"),
];

/// A crash of the server would empty it, on main after a merge, and what commits say of it.
#[test]
fn unlogged_tables_are_refused() {
    need_postgres!();
    let shop = Fixture::registered(BASE);
    let mut branch = shop.branch("b");
    for sql in ["CREATE UNLOGGED TABLE made AS TABLE item", "CREATE UNLOGGED TABLE made (id int PRIMARY KEY)"]
    {
        assert_eq!(branch.err(sql).code(), "0A000", "{sql}");
        assert_eq!(branch.err("TABLE made").code(), "42P01", "{sql}");
    }
}

#[test]
fn a_table_made_of_a_query_has_its_columns_and_rows() {
    need_postgres!();
    let plain = Database::create();
    plain.connect().exec(BASE);
    let shop = Fixture::registered(BASE);
    let mut direct = shop.direct();
    let before = base(&mut direct);
    for (i, (sql, key)) in MADE.iter().enumerate() {
        let mut plain = plain.connect();
        let mut branch = shop.branch(&format!("b{i}"));
        // The branch's own rows are among them.
        for conn in [&mut plain, &mut branch] {
            conn.exec("UPDATE item SET price = price + 1 WHERE id = 2; INSERT INTO item VALUES (10, 'ten', 7, 'shelf 1'); DELETE FROM pair WHERE b = 2");
        }
        let (expected, got) = (plain.exec(sql), branch.exec(sql));
        assert_eq!(got.tags(), expected.tags(), "{sql}");
        let key: Vec<String> = key.split(", ").map(|k| format!("\"{k}\"")).collect();
        assert_eq!(
            notices(&got),
            [format!("table \"made\" gets the primary key ({})", key.join(", "))],
            "{sql}"
        );
        assert_eq!(columns(&mut branch, "made"), columns(&mut plain, "made"), "{sql}");
        const ROWS: &str = "SELECT m::text FROM (SELECT * FROM made) m ORDER BY 1";
        assert_eq!(branch.lines(ROWS), plain.lines(ROWS), "{sql}");
        // It is a table as others.
        assert_eq!(branch.exec("DELETE FROM made").tags(), plain.exec("DELETE FROM made").tags());
        plain.exec("DROP TABLE made; UPDATE item SET price = price - 1 WHERE id = 2; DELETE FROM item WHERE id = 10; INSERT INTO pair VALUES (1, 2, 'y')");
    }
    assert_eq!(base(&mut direct), before, "the base");
}

#[test]
fn it_is_the_branchs_alone_and_comes_to_main_by_a_merge() {
    need_postgres!();
    let shop = Fixture::registered(BASE);
    let mut branch = shop.branch("b");
    branch.exec("CREATE TABLE cheap AS SELECT * FROM item WHERE price < 5");
    assert_eq!(branch.one("SELECT count(*) FROM cheap"), "3");
    let mut main = shop.main();
    assert_eq!(main.err("SELECT * FROM cheap").code(), "42P01");
    branch.exec("SELECT * FROM epoch_commit('cheap')");
    main.exec("SELECT * FROM epoch_merge('b')");
    assert_eq!(shop.direct().lines("SELECT id FROM cheap ORDER BY id"), ["1", "2", "3"]);
    assert_eq!(main.err("INSERT INTO cheap SELECT * FROM cheap").code(), "23505");
}

#[test]
fn what_postgresql_refuses_is_refused_alike_and_leaves_nothing() {
    need_postgres!();
    let plain = Database::create();
    plain.connect().exec(BASE);
    let shop = Fixture::registered(BASE);
    let (mut plain, mut branch) = (plain.connect(), shop.branch("b"));
    for sql in [
        "CREATE TABLE item AS SELECT * FROM pair",
        "CREATE TABLE IF NOT EXISTS item AS SELECT * FROM pair",
        "CREATE TABLE new AS SELECT id, 1 / (id - 5) AS x FROM item",
        "CREATE TABLE new AS SELECT id, nope FROM item",
        "CREATE TABLE new (a, b, c, d, e) AS SELECT * FROM item",
        "CREATE TABLE new AS SELECT id, name AS id FROM item",
        "CREATE TABLE nowhere.new AS SELECT id FROM item",
        "SELECT id, 1 / (id - 5) AS x INTO new FROM item",
    ] {
        let shown = |reply: Reply| {
            let error = reply.error().map(|e| (e.code().to_owned(), e.message().to_owned(), position(e)));
            let tags: Vec<String> = reply.tags().into_iter().map(str::to_owned).collect();
            (error, tags, notices(&reply))
        };
        assert_eq!(shown(branch.simple(sql)), shown(plain.simple(sql)), "{sql}");
        assert_eq!(branch.err("SELECT * FROM new").code(), "42P01", "{sql}");
    }
    assert_eq!(shop.direct().one("SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'epoch\\_b%'"), "0");
    assert_eq!(branch.one("SELECT to_regclass('pg_temp.epoch_as') IS NULL"), "t");
}

/// As CREATE TABLE without a key is refused.
#[test]
fn a_result_without_a_known_key_is_refused() {
    need_postgres!();
    let shop = Fixture::registered(&format!("{BASE}; CREATE TABLE loose (a int NOT NULL)"));
    let mut branch = shop.branch("b");
    branch.exec("PREPARE p AS SELECT * FROM item");
    for sql in [
        "CREATE TABLE new AS SELECT name FROM item",
        "CREATE TABLE new AS SELECT i.id FROM item i, pair",
        "CREATE TABLE new AS SELECT id FROM item UNION ALL SELECT a FROM pair",
        "CREATE TABLE new AS SELECT id, unnest(ARRAY[1, 2]) FROM item",
        "CREATE TABLE new AS SELECT price, count(*) FROM item GROUP BY price",
        "CREATE TABLE new AS SELECT a FROM loose",
        "CREATE TABLE new AS VALUES (1)",
        "CREATE TABLE new AS WITH item AS (SELECT 1 AS id UNION ALL SELECT 1) SELECT id FROM item",
        "CREATE TABLE new AS EXECUTE p",
        "SELECT 1 AS one INTO new",
    ] {
        let error = branch.err(sql);
        assert_eq!((error.code(), error.message()), ("42830", "table \"new\" has no usable key"), "{sql}");
    }
    for sql in [
        "CREATE TABLE new WITH (fillfactor = 50) AS SELECT * FROM item",
        "CREATE MATERIALIZED VIEW new AS SELECT * FROM item",
    ] {
        assert_eq!(branch.err(sql).code(), "0A000", "{sql}");
        branch.simple("ROLLBACK");
    }
    // In a transaction block it is a part of the transaction.
    branch.exec("BEGIN; CREATE TABLE new AS SELECT * FROM item");
    assert_eq!(branch.one("SELECT count(*) FROM new"), branch.one("SELECT count(*) FROM item"));
    branch.exec("ROLLBACK");
    assert_eq!(branch.err("SELECT * FROM new").code(), "42P01");
    branch
        .send(&[conn::parse("", "CREATE TABLE new AS SELECT * FROM item WHERE id = $1", &[]), conn::sync()]);
    assert_eq!(branch.reply().error().unwrap().code(), "0A000");
}

#[test]
fn temporary_tables_are_made_natively() {
    need_postgres!();
    let shop = Fixture::registered(BASE);
    let mut branch = shop.branch("b");
    branch.exec("UPDATE item SET name = 'mine' WHERE id = 1");
    branch.exec("PREPARE p(int) AS SELECT id, name FROM item WHERE id <= $1");
    assert_eq!(
        branch.exec("CREATE TEMP TABLE t1 AS SELECT id, name FROM item WHERE id <= 2").tags(),
        ["SELECT 2"]
    );
    assert_eq!(branch.exec("CREATE TEMP TABLE t2 AS EXECUTE p(2)").tags(), ["SELECT 2"]);
    assert_eq!(branch.exec("SELECT id, name INTO TEMP t3 FROM item WHERE id <= 2").tags(), ["SELECT 2"]);
    for table in ["t1", "t2", "t3"] {
        assert_eq!(branch.lines(&format!("SELECT * FROM {table} ORDER BY id")), ["1|mine", "2|item 2"]);
    }
    // One that takes the name of a table over.
    assert_eq!(branch.one("SELECT count(*) FROM item"), "9");
    branch.exec("CREATE TEMP TABLE item AS EXECUTE p(1)");
    assert_eq!(branch.one("SELECT count(*) FROM item"), "1");
}

#[test]
fn by_the_extended_protocol_too() {
    need_postgres!();
    let shop = Fixture::registered(BASE);
    let mut branch = shop.branch("b");
    let sql = "CREATE TABLE new AS SELECT * FROM item";
    branch.send(&[
        conn::parse("", sql, &[]),
        conn::describe(b'S', ""),
        conn::bind("", "", &[], false),
        conn::execute("", 0),
        conn::sync(),
    ]);
    assert_eq!(branch.reply().tags(), ["SELECT 9"]);
    assert_eq!(branch.one("SELECT count(*) FROM new"), "9");
    // A commit never changes.
    branch.exec("SELECT * FROM epoch_commit('new')");
    let hash = branch.one("SELECT epoch_hashof('HEAD')");
    assert_eq!(shop.on(&hash).err("CREATE TABLE more AS SELECT * FROM item").code(), "25006");
}
