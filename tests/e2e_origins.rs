//! Which column of which table a result's column is, as RowDescription tells it: on a branch as on main, because
//! clients (JDBC's updatable results, ODBC, some ORMs) look up keys by it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use common::conn::{self, Conn};
use common::{Fixture, Message, Reply};

// A column that was dropped: numbers aren't places.
const SETUP: &str = "CREATE TABLE item (gone int, id int PRIMARY KEY, name text, price numeric(8,2) DEFAULT 1); ALTER TABLE item DROP gone; \
    INSERT INTO item VALUES (1, 'one', 1), (2, 'two', 2), (3, 'three', 3); \
    CREATE TABLE sale (id int PRIMARY KEY, item_id int REFERENCES item, qty int); INSERT INTO sale VALUES (1, 1, 5), (2, 2, 6); \
    CREATE TABLE plain (a int, b int); INSERT INTO plain VALUES (1, 2)";

const SAME: &[&str] = &[
    "SELECT * FROM item",
    "SELECT id, name AS title, price * 2, upper(name), item.price FROM item WHERE id < 3 ORDER BY id",
    "SELECT i.*, s.qty FROM item i JOIN sale s ON s.item_id = i.id",
    "SELECT * FROM sale, item WHERE item.id = sale.item_id",
    "SELECT qty, name, i.id FROM item i LEFT JOIN sale s ON s.item_id = i.id ORDER BY i.id",
    "SELECT public.item.id FROM public.item",
    "SELECT name FROM item GROUP BY name ORDER BY name",
    "SELECT id, name FROM item WHERE id = 1 FOR UPDATE",
    "SELECT DISTINCT price FROM item",
    "WITH q AS (SELECT 1 AS x) SELECT item.id FROM item, q",
    "SELECT id, (SELECT name FROM item i WHERE i.id = item_id) AS name FROM sale",
    "INSERT INTO item VALUES (10, 'ten', 10) RETURNING *",
    "INSERT INTO item (id, name) VALUES (11, 'x') RETURNING name, id + 1, id",
    "UPDATE item SET price = 7 WHERE id = 1 RETURNING *",
    "UPDATE item SET price = 8 FROM sale WHERE sale.item_id = item.id RETURNING sale.qty, item.name, item.*",
    "DELETE FROM sale USING item WHERE item.id = sale.item_id AND item.id = 2 RETURNING *",
    "SELECT count(*), 1 AS one FROM item",
];

/// Where less is told than on main.
const LESS: &[&str] = &[
    "SELECT id FROM item UNION SELECT id FROM sale",
    "SELECT * FROM (SELECT id, name FROM item) x",
    "SELECT * FROM item JOIN sale USING (id)",
    "SELECT name FROM item, (SELECT 1) y",
];

/// Names of tables and numbers of columns.
fn origins(reply: &Reply, direct: &mut Conn) -> Vec<(String, i16)> {
    let columns = reply.0.iter().find_map(|m| match m {
        Message::RowDescription(columns) => Some(columns.clone()),
        _ => None,
    });
    let name = |oid: u32, direct: &mut Conn| match oid {
        0 => String::new(),
        oid => direct.one(&format!("SELECT {oid}::regclass")),
    };
    columns.unwrap().iter().map(|c| (name(c.table_oid, direct), c.attnum)).collect()
}

fn extended(conn: &mut Conn, sql: &str, what: u8) -> Reply {
    conn.send(&[
        conn::parse("s", sql, &[]),
        conn::bind("p", "s", &[], false),
        conn::describe(what, if what == b'S' { "s" } else { "p" }),
        conn::execute("p", 0),
        conn::close(b'S', "s"),
        conn::sync(),
    ]);
    conn.reply()
}

#[test]
fn a_results_columns_are_those_of_mains_tables() {
    need_postgres!();
    let shop = Fixture::registered(SETUP);
    let (mut direct, mut main) = (shop.direct(), shop.main());
    for (i, rows) in ["main's", "own"].into_iter().enumerate() {
        let mut branch = shop.branch(&format!("b{i}"));
        if rows == "own" {
            branch.exec("UPDATE item SET name = name; UPDATE sale SET qty = qty");
        }
        for sql in SAME {
            for how in ["simple", "again", "statement", "portal"] {
                let mut ask = |conn: &mut Conn| {
                    conn.exec("BEGIN");
                    let reply = match how {
                        "statement" => extended(conn, sql, b'S'),
                        "portal" => extended(conn, sql, b'P'),
                        _ => conn.simple(sql),
                    };
                    assert!(reply.error().is_none(), "{sql}: {:?}", reply.error());
                    conn.exec("ROLLBACK");
                    origins(&reply, &mut direct)
                };
                let expected = ask(&mut main);
                assert_eq!(ask(&mut branch), expected, "{rows} {how}: {sql}");
            }
        }
        for sql in LESS {
            let expected = main.exec(sql);
            let expected = origins(&expected, &mut direct);
            let got = branch.exec(sql);
            for (got, expected) in origins(&got, &mut direct).iter().zip(expected) {
                assert!(got.0.is_empty() || *got == expected, "{sql}: {got:?}");
            }
        }
    }
}

/// Several statements of one string, and a cursor's FETCH, each tell their own.
#[test]
fn each_statement_of_a_string_tells_its_own() {
    need_postgres!();
    let shop = Fixture::registered(SETUP);
    let mut branch = shop.branch("b");
    let reply = branch.exec(
        "SELECT qty FROM sale; SELECT 1; UPDATE item SET price = 3 WHERE id = 1; SELECT name FROM item",
    );
    let shown = |m: &Message| match m {
        Message::RowDescription(columns) => Some((columns[0].table_oid, columns[0].attnum)),
        _ => None,
    };
    let got: Vec<_> = reply.0.iter().filter_map(shown).collect();
    let mut direct = shop.direct();
    let oid = |name: &str, direct: &mut Conn| {
        direct.one(&format!("SELECT '{name}'::regclass::oid")).parse::<u32>().unwrap()
    };
    let (sale, item) = (oid("sale", &mut direct), oid("item", &mut direct));
    assert_eq!(got, [(sale, 3), (0, 0), (item, 3)]);
}
