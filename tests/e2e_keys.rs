//! Keys of an extension's types, whose equality isn't what `=` means in every search path: on a branch they are
//! the same keys as on a table.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use common::conn::Conn;
use common::{Database, Fixture};

const SETUP: &str = "CREATE SCHEMA ext; CREATE EXTENSION citext SCHEMA ext; CREATE EXTENSION hstore SCHEMA ext; \
    CREATE DOMAIN email AS ext.citext CHECK (VALUE::text LIKE '%@%'); CREATE TYPE mood AS ENUM ('ok', 'sad'); \
    CREATE TABLE person (mail email PRIMARY KEY, nick ext.citext CONSTRAINT person_nick_key UNIQUE, money int NOT NULL); \
    CREATE TABLE letter (id int PRIMARY KEY, mail email NOT NULL CONSTRAINT letter_mail_fkey REFERENCES person ON UPDATE CASCADE, \
        nick ext.citext CONSTRAINT letter_nick_fkey REFERENCES person (nick)); \
    CREATE TABLE tagged (tags ext.hstore, mood mood, n int, PRIMARY KEY (tags, mood)); \
    INSERT INTO person VALUES ('Ann@x', 'Ann', 1), ('bob@x', 'BOB', 2), ('cy@x', NULL, 3), ('dee@x', 'dee', 4); \
    INSERT INTO letter VALUES (1, 'ann@X', 'ANN'), (2, 'BOB@x', NULL); \
    INSERT INTO tagged VALUES ('a=>1, b=>2', 'ok', 1), ('a=>2', 'sad', 2)";

const STEPS: &[&str] = &[
    "SELECT money FROM person WHERE mail = 'ANN@X'",
    "UPDATE person SET money = money + 1 WHERE mail = 'ANN@x'",
    "UPDATE person SET money = money + 1 WHERE mail = 'ann@x' RETURNING mail, money",
    "INSERT INTO person VALUES ('BOB@X', 'new', 1)",
    "INSERT INTO person VALUES ('new@x', 'bob', 1)",
    "INSERT INTO person VALUES ('CY@X', 'cyrus', 9) ON CONFLICT (mail) DO UPDATE SET money = excluded.money RETURNING *",
    "INSERT INTO person VALUES ('Dee@X', 'DEE', 9) ON CONFLICT DO NOTHING",
    "INSERT INTO person VALUES ('eve@x', 'DEE', 9) ON CONFLICT (nick) DO UPDATE SET money = 40 RETURNING *",
    "INSERT INTO letter VALUES (3, 'NOBODY@x', NULL)",
    "INSERT INTO letter VALUES (3, 'Dee@X', 'bOb')",
    "DELETE FROM person WHERE mail = 'DEE@x'",
    "DELETE FROM letter WHERE id = 3",
    "DELETE FROM person WHERE mail = 'DEE@x' RETURNING mail",
    "INSERT INTO person VALUES ('DEE@X', 'dee', 5)",
    "UPDATE person SET mail = 'BOB@x' WHERE mail = 'bob@x' RETURNING mail",
    "UPDATE person SET mail = 'CY@x' WHERE mail = 'cy@x' RETURNING mail",
    "UPDATE person SET mail = 'cyril@x' WHERE mail = 'Cy@x' RETURNING mail",
    "MERGE INTO person p USING (VALUES ('ANN@X'::email), ('fay@x')) s(m) ON p.mail = s.m WHEN MATCHED THEN UPDATE SET money = 0 WHEN NOT MATCHED THEN INSERT VALUES (s.m, NULL, 7)",
    "SELECT p.mail, l.id FROM person p JOIN letter l USING (mail) ORDER BY l.id",
    "SELECT mail, money FROM person WHERE mail = 'FAY@x' FOR UPDATE",
    "SELECT * FROM person ORDER BY money, mail LIMIT 2 FOR UPDATE SKIP LOCKED",
    "UPDATE tagged SET n = n + 1 WHERE tags = 'b=>2,a=>1' RETURNING *",
    "INSERT INTO tagged VALUES ('b=>2, a=>1', 'ok', 5)",
    "INSERT INTO tagged VALUES ('b=>2, a=>1', 'sad', 5)",
    "INSERT INTO tagged VALUES ('a=>2', 'sad', 7) ON CONFLICT (tags, mood) DO UPDATE SET n = excluded.n RETURNING *",
    "DELETE FROM tagged WHERE n = 7 RETURNING tags",
];

fn rows(conn: &mut Conn) -> Vec<String> {
    let mut all = Vec::new();
    for sql in [
        "SELECT * FROM person ORDER BY money, mail",
        "SELECT * FROM letter ORDER BY id",
        "SELECT * FROM tagged ORDER BY n, tags",
    ] {
        all.extend(conn.lines(sql));
    }
    all
}

fn answers(conn: &mut Conn) -> Vec<String> {
    let one = |sql: &&str| {
        let reply = conn.simple(sql);
        match reply.error() {
            Some(e) => format!("{sql}: {} {} {}", e.code(), e.message(), e.detail()),
            None => format!("{sql}: {:?} {:?}", reply.tags(), reply.rows()),
        }
    };
    STEPS.iter().map(one).collect()
}

fn compare(path: &str) {
    need_postgres!();
    let plain = Database::create();
    plain.connect().exec(SETUP);
    let shop = Fixture::registered(SETUP);
    let mut direct = shop.direct();
    direct.exec("SET search_path = public, ext");
    let before = rows(&mut direct);
    let mut branch = shop.branch("b");
    let mut plain = plain.connect();
    for conn in [&mut branch, &mut plain] {
        conn.exec(&format!("SET search_path = {path}"));
    }
    assert_eq!(answers(&mut branch), answers(&mut plain));
    let expected = rows(&mut plain);
    assert_eq!(rows(&mut branch), expected);
    assert_eq!(rows(&mut direct), before, "the base");
    // Commit, a branch of it, and a merge into main keep the keys apart as the type does.
    branch.exec("SELECT * FROM epoch_commit('all')");
    assert_eq!(rows(&mut branch), expected);
    branch.exec("SELECT * FROM epoch_branch('nested')");
    let mut nested = shop.on("nested");
    nested.exec("SET search_path = public, ext");
    nested.exec("UPDATE person SET money = money WHERE mail = 'ANN@x'");
    assert_eq!(rows(&mut nested), expected);
    let mut main = shop.main();
    main.exec("SELECT * FROM epoch_merge('b')");
    assert_eq!(rows(&mut direct), expected);
    direct.exec("UPDATE person SET money = 100 WHERE mail = 'CYRIL@x'");
    assert_eq!(rows(&mut branch), expected, "the branch doesn't move with main");
}

#[test]
fn with_the_extensions_in_the_search_path() {
    compare("public, ext");
}

#[test]
fn two_branches_change_one_row_by_keys_that_are_written_differently() {
    need_postgres!();
    let shop = Fixture::registered(SETUP);
    let (mut a, mut b) = (shop.branch("a"), shop.branch("b"));
    a.exec("SET search_path = public, ext; UPDATE person SET money = 10 WHERE mail = 'ANN@x'");
    b.exec("SET search_path = public, ext; UPDATE person SET nick = 'Anna' WHERE mail = 'dee@X'");
    a.exec("SELECT * FROM epoch_commit('a')");
    b.exec("SELECT * FROM epoch_commit('b')");
    let mut main = shop.main();
    main.exec("SELECT * FROM epoch_merge('a')");
    main.exec("SELECT * FROM epoch_merge('b')");
    let mut direct = shop.direct();
    direct.exec("SET search_path = public, ext");
    assert_eq!(
        direct.lines("SELECT mail, nick, money FROM person ORDER BY mail"),
        ["Ann@x|Ann|10", "bob@x|BOB|2", "cy@x||3", "dee@x|Anna|4"]
    );
}

/// The types of its columns were once noted without their schema, which looked like drift.
#[test]
fn a_table_made_on_a_branch_has_such_a_key() {
    need_postgres!();
    let shop = Fixture::registered(SETUP);
    let mut branch = shop.branch("b");
    branch.exec("SET search_path = public, ext");
    branch.exec("CREATE TABLE login (mail email PRIMARY KEY, mood mood DEFAULT 'ok', tags hstore)");
    branch.exec("INSERT INTO login VALUES ('Zed@x')");
    assert_eq!(branch.err("INSERT INTO login VALUES ('zed@X')").code(), "23505");
    branch.exec("SELECT * FROM epoch_commit('login')");
    assert_eq!(branch.lines("SELECT * FROM login WHERE mail = 'ZED@X'"), ["Zed@x|ok|"]);
    shop.main().exec("SELECT * FROM epoch_merge('b')");
    assert_eq!(shop.direct().one("SELECT count(*) FROM login"), "1");
}
