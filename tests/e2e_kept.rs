//! Statements that come as text more than once are kept prepared on a branch, with their constants as parameters: what
//! they find, change and complain of is what the same text does without us, each time.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use common::Database;
use common::conn::{self, Conn};
use common::message::Message;
use common::proxy::{Proxy, ProxyConfig};

const SETUP: &str = "CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy'); \
    CREATE TABLE k (id int PRIMARY KEY, name text, code char(4), short varchar(5), day date, at timestamptz, feeling mood, \
      doc jsonb, n numeric, tags text[], flag boolean); \
    INSERT INTO k SELECT g, 'it''s ' || g, 'c' || g, 's' || g, current_date + g - 3, now() + g * interval '1 hour', \
      (ARRAY['sad', 'ok', 'happy']::mood[])[1 + g % 3], jsonb_build_object('g', g), g / 2.0, ARRAY['t' || g], g % 2 = 0 \
      FROM generate_series(1, 40) g; \
    CREATE INDEX ON k (name)";

/// A proxy on a branch, and the same table without us.
fn both() -> (Proxy, Conn, Conn, [Database; 2]) {
    let (ours, plain) = (Database::create(), Database::create());
    for db in [&ours, &plain] {
        db.connect().exec(SETUP);
    }
    let proxy = Proxy::start(ProxyConfig::postgres(&ours.url()));
    proxy.connect("main").exec("SELECT * FROM epoch_register('k')");
    proxy.connect("main").exec("SELECT * FROM epoch_branch('b')");
    let (branch, direct) = (proxy.connect("b"), plain.connect());
    (proxy, branch, direct, [ours, plain])
}

/// Rows, tag, or all that is said of an error. The first time, what runs before a write can't say where its constant is.
fn outcome(conn: &mut Conn, sql: &str, first: bool) -> String {
    let unsaid = if first && !sql.starts_with("SELECT") { "FLRP" } else { "FLR" };
    let reply = conn.simple(sql);
    match reply.error() {
        // Everything but where the server's source says so.
        Some(e) => {
            format!("{:?}", e.0.iter().filter(|(field, _)| !unsaid.contains(**field)).collect::<Vec<_>>())
        }
        None => format!("{:?} {:?}", reply.tags(), reply.rows()),
    }
}

/// `{}` is another number with each round.
const STATEMENTS: &[&str] = &[
    "SELECT id, name FROM k WHERE name = 'it''s {}'",
    "SELECT id FROM k WHERE name = 'it''s {}' AND code = 'c{}' AND short = 's{}'",
    // Alike, of two types.
    "SELECT id FROM k WHERE id = '{}' OR name = '{}' OR n = '{}' ORDER BY id",
    "SELECT id FROM k WHERE code = 'c{}  '",
    "SELECT id FROM k WHERE short = 's{} '",
    "SELECT id FROM k WHERE name IN ('it''s {}', 'it''s 4') ORDER BY id",
    "SELECT id FROM k WHERE name BETWEEN 'it''s {}' AND 'it''s 4' ORDER BY id",
    "SELECT id FROM k WHERE name NOT BETWEEN 'a' AND 'it''s {}' ORDER BY id LIMIT 3",
    "SELECT id FROM k WHERE feeling = 'happy' AND id < {} ORDER BY id",
    "SELECT id FROM k WHERE feeling > 'sad' AND id < {} ORDER BY id",
    "SELECT id FROM k WHERE doc = '{\"g\": {}}'",
    "SELECT id FROM k WHERE tags = '{t{}}'",
    "SELECT id FROM k WHERE flag = 'yes' AND id < {} ORDER BY id",
    "SELECT id FROM k WHERE n >= '{}.5' ORDER BY id LIMIT 2",
    "SELECT day = 'today' AS is_today, id FROM k WHERE day >= 'today' ORDER BY id LIMIT {}",
    "SELECT id FROM k WHERE at > 'now' ORDER BY id LIMIT {}",
    "SELECT id FROM k WHERE day <> '2026-02-03' AND id = {}",
    "SELECT name = 'it''s {}', count(*) FROM k GROUP BY name = 'it''s {}' ORDER BY 1",
    "SELECT DISTINCT name > 'it''s {}' FROM k ORDER BY name > 'it''s {}'",
    "UPDATE k SET name = 'new {}' WHERE id = {}",
    "UPDATE k SET name = 'back\\slash \"{}\"', short = '{}', feeling = 'ok' WHERE name = 'new {}'",
    "UPDATE k SET day = '2026-01-0{}', n = '{}.25' WHERE code = 'c{}' RETURNING id, day, n",
    "UPDATE k SET short = 'much too long {}' WHERE id = {}",
    "UPDATE k SET feeling = 'angry {}' WHERE id = {}",
    "UPDATE k SET id = 'no number {}' WHERE name = 'x'",
    "SELECT id FROM k WHERE id = 'no number {}'",
    "SELECT id, 'ü' AS ü FROM k WHERE name = 'x' AND id = '{}x'",
    "SELECT id FROM k WHERE feeling = 'furious {}'",
    "DELETE FROM k WHERE id = '{} things'",
    "DELETE FROM k WHERE name = 'x' AND day < 'day {}'",
    "SELECT id FROM k WHERE doc = '{'",
    "DELETE FROM k WHERE name = 'it''s 2{}' RETURNING id",
    "SELECT id FROM k WHERE '{}' = name OR name = '' ORDER BY id",
    "SELECT id FROM k WHERE nothing = 'x{}'",
    "SELECT id FROM k WHERE name = 'a{}' COLLATE \"C\"",
    "SELECT count(*) FROM k WHERE (name, code) = ('it''s {}', 'c{}')",
];

/// Parts of statements that must have been kept.
const KEPT: &[&str] = &["WHERE tags = $1", "WHERE flag = $1", "WHERE n >= $1", "SET name = $1"];

#[test]
fn strings_mean_the_same_each_time() {
    need_postgres!();
    let (_proxy, mut branch, mut direct, _dbs) = both();
    let mut shown = 0;
    for (number, template) in STATEMENTS.iter().enumerate() {
        for round in 1..=8 {
            let sql = template.replace("{}", &(1 + (number + round) % 9).to_string());
            let (got, expected) =
                (outcome(&mut branch, &sql, round == 1), outcome(&mut direct, &sql, round == 1));
            assert_eq!(got, expected, "{sql} (round {round})");
        }
        // It was kept, or this test shows nothing.
        if let Some(part) = KEPT.iter().find(|part| template.contains(&part.replace("$1", "'"))) {
            let kept = branch.lines("SELECT statement FROM pg_prepared_statements");
            assert!(kept.iter().any(|s| s.contains(part)), "{part}: {kept:#?}");
            shown += 1;
        }
    }
    assert!(shown >= KEPT.len());
    let all = "SELECT id, name, code, short, feeling, n, day FROM k ORDER BY id";
    assert_eq!(outcome(&mut branch, all, false), outcome(&mut direct, all, false));
}

#[test]
fn a_string_means_what_it_means_now() {
    need_postgres!();
    let (_proxy, mut branch, mut direct, _dbs) = both();
    let ask = [
        "SELECT id FROM k WHERE day = '03/02/2026'",
        "SELECT id FROM k WHERE at = '2026-02-03 12:00'",
        "SELECT count(*) FROM k WHERE at <= 'now' AND at >= 'now'",
        "UPDATE k SET name = name WHERE day = '02/03/2026'",
    ];
    for conn in [&mut branch, &mut direct] {
        conn.exec("UPDATE k SET day = '2026-02-03', at = '2026-02-03 12:00+00' WHERE id = 7");
        conn.exec("UPDATE k SET day = '2026-03-02', at = '2026-02-03 12:00-05' WHERE id = 8");
    }
    for setting in [
        "SET DateStyle = 'ISO, MDY'",
        "SET DateStyle = 'ISO, DMY'",
        "SET TimeZone = 'UTC'",
        "SET TimeZone = '+5'",
        "BEGIN",
        "UPDATE k SET at = 'now' WHERE id = 9",
        "COMMIT",
        "SET DateStyle = 'ISO, MDY'",
    ] {
        for _ in 0..3 {
            for sql in ask {
                assert_eq!(
                    outcome(&mut branch, sql, true),
                    outcome(&mut direct, sql, true),
                    "{sql} before {setting}"
                );
            }
        }
        assert_eq!(outcome(&mut branch, setting, true), outcome(&mut direct, setting, true));
    }
}

/// What ran before an UPDATE with a string among its constants was parsed and planned anew with each execution, also of
/// a statement that the client had prepared: it took 19 times as long as on the plain table.
#[test]
fn the_copy_up_of_a_prepared_update_is_kept_beside_strings() {
    need_postgres!();
    let (_proxy, mut branch, _direct, _dbs) = both();
    let sql = "UPDATE k SET name = 'changed' WHERE id = $1";
    branch.send(&[conn::parse("s", sql, &[23]), conn::sync()]);
    assert!(branch.reply().error().is_none());
    for id in ["1", "2", "3"] {
        branch.send(&[conn::bind("", "s", &[Some(id)], false), conn::execute("", 0), conn::sync()]);
        assert_eq!(branch.reply().tags(), ["UPDATE 1"]);
    }
    let kept = branch.lines("SELECT statement FROM pg_prepared_statements WHERE name LIKE 'epoch_prepared%'");
    assert!(kept.iter().any(|s| s.contains("INSERT INTO epoch.mask_")), "{kept:#?}");
    branch.send(&[conn::bind("", "s", &[Some("x")], false), conn::execute("", 0), conn::sync()]);
    let failed = loop {
        match branch.recv().unwrap() {
            Message::Error(e) => break e,
            Message::Ready(_) => panic!("no error"),
            _ => {}
        }
    };
    assert_eq!((failed.code(), failed.message()), ("22P02", "invalid input syntax for type integer: \"x\""));
}

/// What runs before a write had a name that it kept on the server if it failed: each write after it was told that the
/// statement exists already.
#[test]
fn after_a_write_that_fails_others_go_on() {
    need_postgres!();
    let (_proxy, mut branch, mut direct, _dbs) = both();
    let statements = [
        "UPDATE k SET n = 1 WHERE 10 / (id - 7) > 1",
        "UPDATE k SET n = 2 WHERE id = 3",
        "DELETE FROM k WHERE id = 5 AND 1 / (id - 5) > 0",
        "DELETE FROM k WHERE id = 6",
        "INSERT INTO k (id, name) VALUES (8, 'x') ON CONFLICT (id) DO UPDATE SET n = 1 / (k.id - 8)",
        "INSERT INTO k (id, name) VALUES (8, 'x') ON CONFLICT (id) DO UPDATE SET name = excluded.name",
        "UPDATE k SET n = 3 WHERE id = 7",
    ];
    for round in 0..3 {
        for sql in statements {
            let [got, expected] = [&mut branch, &mut direct].map(|conn| {
                let reply = conn.extended(sql, &[], false);
                format!("{:?} {:?}", reply.tags(), reply.error().map(|e| e.code().to_owned()))
            });
            assert_eq!(got, expected, "{sql} (round {round})");
        }
    }
}

/// Texts that differ in constants share a plan.
#[test]
fn a_text_is_not_taken_for_one_of_another_shape() {
    need_postgres!();
    let (_proxy, mut branch, mut direct, _dbs) = both();
    let statements = [
        "SELECT id FROM k WHERE id = 5",
        "SELECT id FROM k WHERE id = 5000000000",
        "SELECT id FROM k WHERE id = \u{1}4",
        "UPDATE k SET n = 77 WHERE id = 9",
        "UPDATE k SET n = \u{1}4 WHERE id = \u{1}4",
        "UPDATE k SET n = n + 1 WHERE id = 8",
        "UPDATE k SET n = n - 1 WHERE id = 8",
        "UPDATE k SET n = -5 WHERE id = 10",
        "UPDATE k SET n = -15 WHERE id = 11",
        "UPDATE k SET n = id::numeric(10, -1) WHERE id = 15",
        "UPDATE k SET n = id::numeric(10, -1) WHERE id = 16",
        "UPDATE k SET n = (SELECT id FROM k ORDER BY -1 LIMIT 1) WHERE id = 17",
        "SELECT id FROM k WHERE id = 1 OR n = 1",
        "SELECT id FROM k WHERE id = 2 OR n = 3",
        "SELECT id FROM k WHERE id > 3 ORDER BY id LIMIT 2",
        "SELECT id FROM k WHERE id > 3 ORDER BY id LIMIT 4",
        "SELECT id FROM k WHERE name = 'it''s 1'",
        "SELECT id FROM k WHERE name = E'it\\'s 1'",
        "SELECT id FROM k /* 5 */ WHERE id = 5 -- 6",
        "SELECT id FROM k /* 6 */ WHERE id = 5 -- 6",
        "SELECT id, 1 / (id - 4) FROM k WHERE id = 4",
        "SELECT id, 1 / (id - 4) FROM k WHERE id = 40",
        "SELECT id, id < 'x1' FROM k WHERE id = 4",
        "SELECT id, id < 'xyz' FROM k WHERE id = 4000",
    ];
    for round in 0..4 {
        for sql in statements {
            let (got, expected) = (outcome(&mut branch, sql, true), outcome(&mut direct, sql, true));
            assert_eq!(got, expected, "{sql} (round {round})");
        }
    }
    let all = "SELECT id, n FROM k ORDER BY id";
    assert_eq!(outcome(&mut branch, all, false), outcome(&mut direct, all, false));
}

/// Main's ALTER TABLE of a table that isn't versioned made a plain text fail once, and took its transaction along.
#[test]
fn a_text_over_a_table_that_main_alters_goes_on() {
    need_postgres!();
    let (_proxy, mut branch, _, [ours, _]) = both();
    let mut direct = ours.connect();
    direct.exec("CREATE TABLE un (a int, b int); INSERT INTO un VALUES (2, 5)");
    let joined = "SELECT un.*, k.code FROM un JOIN k ON k.id = un.a WHERE k.id = 2";
    let alone = "SELECT k.name FROM k WHERE k.id = 2";
    for round in 0..3 {
        assert_eq!(branch.lines(joined), ["2|5|c2  "], "{round}");
        assert_eq!(branch.extended(joined, &[], false).rows().len(), 1);
        assert_eq!(branch.lines(alone), ["it's 2"]);
    }
    branch.exec("BEGIN");
    assert_eq!(branch.lines(alone), ["it's 2"]);
    direct.exec("ALTER TABLE un ADD COLUMN zz int DEFAULT 4");
    assert_eq!(branch.lines(joined), ["2|5|4|c2  "]);
    let reply = branch.extended(joined, &[], false);
    assert_eq!(reply.rows().len(), 1, "{reply:?}");
    branch.exec("COMMIT");
    direct.exec("ALTER TABLE un ALTER b TYPE text");
    assert_eq!(branch.lines(joined), ["2|5|4|c2  "]);
}
