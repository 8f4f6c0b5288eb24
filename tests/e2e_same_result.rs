//! The same statements on plain PostgreSQL, through main and through a branch, simple and extended,
//! text and binary: the same messages come back.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use common::conn::{self, Conn};
use common::database::Database;
use common::message::{Column, Message};
use common::{Fixture, PgError};

/// The tables of the cases. NULLS NOT DISTINCT came with PostgreSQL 15.
fn setup(plain: &mut Conn) -> String {
    let sql = include_str!("sql/same/00_setup.sql");
    let old = plain.one("SELECT current_setting('server_version_num')::int < 150000") == "t";
    if old { sql.replace(" NULLS NOT DISTINCT", "") } else { sql.to_owned() }
}

const CASES: &str = concat!(
    include_str!("sql/same/10_cases.sql"),
    include_str!("sql/same/20_forms.sql"),
    include_str!("sql/same/30_columns.sql"),
    include_str!("sql/same/40_views.sql"),
    include_str!("sql/same/50_types.sql")
);

#[derive(Clone, Copy, Debug, PartialEq)]
enum How {
    Simple,
    ExtendedText,
    ExtendedBinary,
    /// As [`How::ExtendedText`], of statements that came before, so that the server has them already.
    ExtendedKept,
}

/// A numbered case: statements that run in order on one connection, one per line.
struct Case {
    name: &'static str,
    lines: Vec<&'static str>,
}

fn cases() -> Vec<Case> {
    let mut all: Vec<Case> = Vec::new();
    for line in CASES.lines().filter(|l| !l.is_empty()) {
        match line.strip_prefix("-- ") {
            Some(name) => all.push(Case { name, lines: vec![] }),
            None => all.last_mut().expect("a case begins with its name").lines.push(line),
        }
    }
    all
}

#[test]
fn simple_protocol() {
    compare(How::Simple);
}

#[test]
fn extended_protocol_text() {
    compare(How::ExtendedText);
}

#[test]
fn extended_protocol_binary() {
    compare(How::ExtendedBinary);
}

#[test]
fn extended_protocol_of_kept_statements() {
    compare(How::ExtendedKept);
}

/// What a line's mark says of a branch; main is always compared whole.
#[derive(Clone, Copy, PartialEq)]
enum Mark {
    /// The same messages.
    Same,
    /// `~ `: the same rows and SQLSTATE; types or words differ.
    Like,
    /// `! `: refused with 0A000. Elsewhere it is undone, so that all go on from the same rows.
    Refused,
}

fn marked(line: &'static str) -> (Mark, &'static str) {
    match (line.strip_prefix("~ "), line.strip_prefix("! ")) {
        (Some(sql), _) => (Mark::Like, sql),
        (_, Some(sql)) => (Mark::Refused, sql),
        _ => (Mark::Same, line),
    }
}

/// Runs it and, if a branch refuses it, undoes it.
fn run_marked(conn: &mut Conn, sql: &str, how: How, mark: Mark) -> Vec<Message> {
    if mark != Mark::Refused {
        return run(conn, sql, how);
    }
    conn.exec("BEGIN");
    let answer = run(conn, sql, how);
    conn.simple("ROLLBACK");
    answer
}

/// What is left to compare of a [`Mark::Like`].
fn essence(messages: &[Message]) -> Vec<String> {
    let one = |m: &Message| match m {
        Message::DataRow(_) => Some(show(m, true)),
        Message::Error(e) => Some(e.code().to_owned()),
        _ => None,
    };
    messages.iter().filter_map(one).collect()
}

/// On a branch rows are copied up before the statement is bound, so an error of that comes before
/// the acknowledgements of Parse and Bind.
fn without_acknowledgements(messages: &mut Vec<String>) {
    if messages.iter().any(|m| m.starts_with("error ")) {
        messages.retain(|m| {
            m != "ParseComplete"
                && m != "BindComplete"
                && m != "NoData"
                && !m.starts_with("ParameterDescription")
        });
    }
}

/// What is compared of an answer. On a branch the origin of a column (table and attribute number)
/// is an overlay's or nothing: names, types and formats must be the same.
fn comparable(messages: &[Message], on_branch: bool) -> Vec<String> {
    let shown = messages.iter().filter(|m| !m.is_asynchronous() && !matches!(m, Message::Ready(_)));
    shown.map(|m| show(m, on_branch)).collect()
}

fn sort_rows(messages: &mut [String]) {
    let is_row = |m: &String| m.starts_with("row ");
    messages.chunk_by_mut(|a, b| is_row(a) && is_row(b)).for_each(<[String]>::sort_unstable);
}

fn show(message: &Message, on_branch: bool) -> String {
    match message {
        Message::RowDescription(columns) => {
            let one = |c: &Column| {
                // The oids of user types differ between databases.
                let type_oid = if on_branch && c.type_oid >= 16384 { 16384 } else { c.type_oid };
                let origin = if on_branch { String::new() } else { format!("@{}.{}", c.table_oid, c.attnum) };
                format!("{}:{type_oid}/{}/{}/{}{origin}", c.name, c.type_len, c.typmod, c.format)
            };
            format!("columns {}", columns.iter().map(one).collect::<Vec<_>>().join(", "))
        }
        Message::DataRow(cells) => {
            let one =
                |c: &Option<Vec<u8>>| c.as_ref().map_or("NULL".to_owned(), |b| b.escape_ascii().to_string());
            format!("row {}", cells.iter().map(one).collect::<Vec<_>>().join(" | "))
        }
        Message::CopyData(data) => format!("data {}", data.escape_ascii()),
        Message::Error(e) => format!("error {}", fields(e, on_branch)),
        Message::Notice(e) => format!("notice {}", fields(e, on_branch)),
        other => format!("{other:?}"),
    }
}

/// All fields that a client may rely on. The position is the client's own text's.
fn fields(error: &PgError, _on_branch: bool) -> String {
    let kept = error.0.iter().filter(|(k, _)| !matches!(k, 'F' | 'L' | 'R'));
    kept.map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>().join(" ")
}

fn run(conn: &mut Conn, sql: &str, how: How) -> Vec<Message> {
    match how {
        How::Simple => conn.simple(sql).0,
        How::ExtendedKept => {
            // Of TRUNCATE a branch finds errors when it is prepared, which would end a transaction.
            let times = if sql.starts_with("TRUNCATE") { 0 } else { 2 };
            for _ in 0..times {
                conn.send(&[conn::parse("", sql, &[]), conn::sync()]);
                conn.reply();
            }
            run(conn, sql, How::ExtendedText)
        }
        How::ExtendedText | How::ExtendedBinary => {
            let binary = how == How::ExtendedBinary;
            let messages = [
                conn::parse("", sql, &[]),
                conn::describe(b'S', ""),
                conn::bind("", "", &[], binary),
                conn::describe(b'P', ""),
                conn::execute("", 0),
                conn::sync(),
            ];
            conn.send(&messages);
            conn.reply().0
        }
    }
}

struct World {
    plain: Database,
    main: Fixture,
    branch: Fixture,
}

/// Of several foreign keys that a row breaks PostgreSQL names the one whose trigger comes first by name, and names end with
/// the trigger's oid: 100000 comes before 99999. All three databases are to have oids of the same length.
fn leave_the_next_digit_behind(plain: &mut Conn) {
    let near = "SELECT length((oid::int8 + 20000)::text) > length(oid::text) FROM lo_creat(-1) oid";
    while plain.one(near) == "t" {
        // Few enough for the table of locks.
        plain.exec("SELECT count(lo_unlink(lo_creat(-1))) FROM generate_series(1, 1000)");
    }
}

/// Each case starts from the same rows: three databases with one history.
fn compare(how: How) {
    need_postgres!();
    let plain = Database::create();
    leave_the_next_digit_behind(&mut plain.connect());
    let setup = setup(&mut plain.connect());
    plain.connect().exec(&setup);
    let world = World { plain, main: Fixture::registered(&setup), branch: Fixture::registered(&setup) };
    world.branch.main().exec("SELECT * FROM epoch_branch('b')");
    let mut problems = Vec::new();
    let mut count = 0;
    let is_old = "SELECT current_setting('server_version_num')::int < 150000";
    // PostgreSQL 14 has no MERGE: what is wrong with its columns is said before it is asked.
    let unknown =
        |sql: &str| sql.starts_with("MERGE INTO ticket") && world.plain.connect().one(is_old) == "t";
    for case in cases() {
        let mut plain = world.plain.connect();
        let mut main = world.main.main();
        let mut branch = world.branch.on("b");
        for line in &case.lines {
            let (mark, sql) = marked(line);
            if (how != How::Simple && sql.contains("COPY")) || unknown(sql) {
                continue;
            }
            count += 1;
            let expected = run_marked(&mut plain, sql, how, mark);
            let through_main = run_marked(&mut main, sql, how, mark);
            let through_branch = run(&mut branch, sql, how);
            // The oids of tables differ between databases: main is compared without them here and
            // with them in `main_is_invisible`.
            for (route, got) in [("main", through_main), ("branch", through_branch)] {
                let on_branch = route == "branch";
                let (mut expected, mut got) = match mark {
                    Mark::Like if on_branch => (essence(&expected), essence(&got)),
                    _ => (comparable(&expected, true), comparable(&got, true)),
                };
                if on_branch {
                    without_acknowledgements(&mut expected);
                    without_acknowledgements(&mut got);
                }
                if !sql.contains("ORDER BY") || sql.contains("RETURNING") {
                    // Nobody promised an order.
                    sort_rows(&mut expected);
                    sort_rows(&mut got);
                }
                let refused = mark == Mark::Refused && on_branch;
                let wrong = if refused { !is_refusal(&got) } else { expected != got };
                if wrong {
                    problems.push(format!(
                        "[{}] {route} {how:?}: {sql}\n{}",
                        case.name,
                        first_difference(&expected, &got)
                    ));
                }
            }
        }
    }
    assert!(count > 100, "{count} statements");
    assert!(problems.is_empty(), "{} of {count} differ:\n{}", problems.len(), problems.join("\n"));
}

fn is_refusal(got: &[String]) -> bool {
    got.iter().any(|m| m.contains("C=0A000"))
}

fn first_difference(expected: &[String], got: &[String]) -> String {
    let at = (0..expected.len().max(got.len())).find(|&i| expected.get(i) != got.get(i)).unwrap_or(0);
    let none = "(nothing)".to_owned();
    format!("    plain: {}\n    epoch: {}", expected.get(at).unwrap_or(&none), got.get(at).unwrap_or(&none))
}

/// A query that comes again as plain text is kept prepared on the server: it goes on showing the
/// same as the server, whatever is deallocated or rolled back between.
#[test]
fn queries_that_come_again() {
    need_postgres!();
    let plain = Database::create();
    let setup = setup(&mut plain.connect());
    plain.connect().exec(&setup);
    let shop = Fixture::registered(&setup);
    shop.main().exec("SELECT * FROM epoch_branch('b')");
    for mut direct in [plain.connect(), shop.direct()] {
        direct.exec("CREATE TABLE outsider AS SELECT 1 AS a UNION ALL SELECT 2");
    }
    let (mut plain, mut branch) = (plain.connect(), shop.on("b"));
    let reads =
        |sql: &&str| (sql.starts_with("SELECT") || sql.starts_with("WITH")) && !sql.contains("nextval");
    let mut problems = Vec::new();
    let mut count = 0;
    for case in cases() {
        for (mark, sql) in case.lines.iter().map(|line| marked(line)).filter(|(_, sql)| reads(sql)) {
            if mark != Mark::Same {
                continue;
            }
            let between =
                ["SELECT 1", "DEALLOCATE ALL", "BEGIN; SELECT 1/0", "ROLLBACK", "DISCARD ALL", "SELECT 2"];
            for (between, how) in between.iter().flat_map(|b| [(b, How::Simple), (b, How::ExtendedText)]) {
                if how == How::Simple {
                    plain.simple(between);
                    branch.simple(between);
                }
                count += 1;
                let mut expected = comparable(&run(&mut plain, sql, how), true);
                let mut got = comparable(&run(&mut branch, sql, how), true);
                without_acknowledgements(&mut expected);
                without_acknowledgements(&mut got);
                sort_rows(&mut expected);
                sort_rows(&mut got);
                if expected != got {
                    problems.push(format!(
                        "[{}] {how:?} after {between}: {sql}\n{}",
                        case.name,
                        first_difference(&expected, &got)
                    ));
                }
            }
        }
    }
    // A temporary table takes a name over that a kept query uses.
    for conn in [&mut plain, &mut branch] {
        for _ in 0..3 {
            conn.one("SELECT count(*) FROM outsider o, item i WHERE i.id = 1");
        }
        conn.exec("CREATE TEMP TABLE outsider (a int)");
        assert_eq!(conn.one("SELECT count(*) FROM outsider o, item i WHERE i.id = 1"), "0");
        conn.exec("DROP TABLE pg_temp.outsider");
        assert_eq!(conn.one("SELECT count(*) FROM outsider o, item i WHERE i.id = 1"), "2");
    }
    assert!(count > 300, "{count} queries");
    assert!(problems.is_empty(), "{} of {count} differ:\n{}", problems.len(), problems.join("\n"));
}

/// Through main of the same database even oids, positions and origins are the same.
#[test]
fn main_is_invisible() {
    need_postgres!();
    let shop = Fixture::registered(&setup(&mut Database::create().connect()));
    let mut problems = Vec::new();
    for how in [How::Simple, How::ExtendedText, How::ExtendedBinary] {
        let (mut direct, mut main) = (shop.direct(), shop.main());
        for case in cases() {
            for sql in case
                .lines
                .iter()
                .map(|line| marked(line).1)
                .filter(|sql| sql.starts_with("SELECT") || sql.starts_with("TABLE"))
            {
                let expected = comparable(&run(&mut direct, sql, how), false);
                let got = comparable(&run(&mut main, sql, how), false);
                if expected != got {
                    problems.push(format!("{how:?} {sql}\n{}", first_difference(&expected, &got)));
                }
            }
        }
    }
    assert!(problems.is_empty(), "{} differ:\n{}", problems.len(), problems.join("\n"));
}

/// Prepared statements, portals with row limits, pipelines with an error in the middle, on main and
/// on a branch as on the server.
#[test]
fn protocol_exchanges() {
    need_postgres!();
    let plain = Database::create();
    let setup = setup(&mut plain.connect());
    plain.connect().exec(&setup);
    let shop = Fixture::registered(&setup);
    shop.main().exec("SELECT * FROM epoch_branch('b')");
    let mut problems = Vec::new();
    for (name, messages, syncs) in exchanges() {
        let mut answers = vec![];
        for mut conn in [plain.connect(), shop.main(), shop.on("b")] {
            conn.send(&messages);
            let all: Vec<Message> = (0..syncs).flat_map(|_| conn.reply().0).collect();
            answers.push(comparable(&all, true));
            conn.simple("ROLLBACK");
            conn.exec("UPDATE item SET price = 1 WHERE id = 999");
        }
        for (route, got) in [("main", &answers[1]), ("branch", &answers[2])] {
            if *got != answers[0] {
                problems.push(format!(
                    "{name} on {route}\n{}\n  {answers:#?}",
                    first_difference(&answers[0], got)
                ));
            }
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

fn exchanges() -> Vec<(&'static str, Vec<Vec<u8>>, usize)> {
    use conn::{bind, close, describe, execute, flush, parse, query, sync};
    let by_id = "SELECT id, name, price FROM item WHERE id = $1";
    let run = |id: &str| [bind("", "s", &[Some(id)], false), execute("", 0)];
    vec![
        (
            "a named statement, twice",
            [
                vec![parse("s", by_id, &[]), describe(b'S', "s")],
                run("1").to_vec(),
                run("2").to_vec(),
                vec![sync()],
            ]
            .concat(),
            1,
        ),
        (
            "a statement that outlives its batch",
            [vec![parse("s", by_id, &[]), sync()], run("3").to_vec(), vec![sync(), close(b'S', "s"), sync()]]
                .concat(),
            3,
        ),
        (
            "a statement name taken twice",
            vec![parse("s", by_id, &[]), parse("s", "SELECT 1", &[]), sync(), close(b'S', "s"), sync()],
            2,
        ),
        (
            "a closed statement",
            vec![parse("s", by_id, &[]), close(b'S', "s"), bind("", "s", &[Some("1")], false), sync()],
            1,
        ),
        (
            "an error that the planner meets first, behind a BEGIN of the same batch",
            vec![
                parse("", "BEGIN", &[]),
                bind("", "", &[], false),
                execute("", 0),
                parse("", "SELECT nope FROM sale WHERE id = 5", &[]),
                bind("", "", &[], false),
                execute("", 0),
                sync(),
            ],
            1,
        ),
        (
            "a COPY of a DELETE behind another statement of the batch",
            vec![
                parse("", "UPDATE item SET price = 2 WHERE id = 999", &[]),
                bind("", "", &[], false),
                execute("", 0),
                parse("", "COPY (DELETE FROM part WHERE id = 3 RETURNING id) TO STDOUT", &[]),
                bind("", "", &[], false),
                execute("", 0),
                sync(),
            ],
            1,
        ),
        ("an unknown statement", vec![bind("", "nowhere", &[], false), execute("", 0), sync()], 1),
        ("an unknown portal", vec![execute("nowhere", 0), sync()], 1),
        ("closing nothing is fine", vec![close(b'S', "nowhere"), close(b'P', "nowhere"), sync()], 1),
        ("too few parameters", vec![parse("", by_id, &[]), bind("", "", &[], false), sync()], 1),
        (
            "a bad parameter",
            vec![parse("", by_id, &[]), bind("", "", &[Some("x")], false), execute("", 0), sync()],
            1,
        ),
        (
            "a NULL parameter",
            vec![parse("", by_id, &[]), bind("", "", &[None], false), execute("", 0), sync()],
            1,
        ),
        (
            "rows in portions",
            vec![
                query("BEGIN"),
                parse("", "SELECT id FROM item ORDER BY id", &[]),
                bind("p", "", &[], false),
                execute("p", 2),
                execute("p", 2),
                execute("p", 0),
                sync(),
                query("COMMIT"),
            ],
            3,
        ),
        (
            "a portal across Sync in a transaction",
            vec![
                query("BEGIN"),
                parse("", "SELECT id FROM item ORDER BY id", &[]),
                bind("p", "", &[], false),
                execute("p", 1),
                sync(),
                execute("p", 1),
                sync(),
                query("COMMIT"),
            ],
            4,
        ),
        (
            "an error skips to Sync",
            vec![
                parse("", "SELECT 1/0", &[]),
                bind("", "", &[], false),
                execute("", 0),
                parse("", "SELECT 2", &[]),
                bind("", "", &[], false),
                execute("", 0),
                sync(),
                query("SELECT 3"),
            ],
            2,
        ),
        (
            "an error rolls a pipeline back",
            vec![
                parse("", "UPDATE item SET price = 77 WHERE id = 1", &[]),
                bind("", "", &[], false),
                execute("", 0),
                parse("", "SELECT 1/0", &[]),
                bind("", "", &[], false),
                execute("", 0),
                sync(),
                query("SELECT price FROM item WHERE id = 1"),
            ],
            2,
        ),
        (
            "a pipeline of three units",
            vec![
                parse("", "UPDATE item SET price = price + 1 WHERE id = 2 RETURNING price", &[]),
                bind("", "", &[], true),
                execute("", 0),
                sync(),
                parse("", "INSERT INTO item VALUES (1, 'dup')", &[]),
                bind("", "", &[], false),
                execute("", 0),
                sync(),
                parse("", "SELECT count(*) FROM item", &[]),
                bind("", "", &[], false),
                execute("", 0),
                sync(),
            ],
            3,
        ),
        (
            "an empty query",
            vec![
                query(""),
                query(" ; ; "),
                parse("", "", &[]),
                bind("", "", &[], false),
                execute("", 0),
                sync(),
            ],
            3,
        ),
        ("a broken statement in Parse", vec![parse("", "SELEC 1", &[]), describe(b'S', ""), sync()], 1),
        ("an unknown table in Parse", vec![parse("", "SELECT * FROM nowhere", &[]), sync()], 1),
        (
            "typed parameters",
            vec![
                parse("", "SELECT $1 + 1, $2", &[20, 25]),
                describe(b'S', ""),
                bind("", "", &[Some("41"), Some("x")], false),
                execute("", 0),
                sync(),
            ],
            1,
        ),
        (
            "Describe of a DML with RETURNING",
            vec![
                parse("", "UPDATE item SET price = $1 WHERE id = $2 RETURNING *", &[]),
                describe(b'S', ""),
                sync(),
            ],
            1,
        ),
        (
            "Describe of a DML without",
            vec![parse("", "DELETE FROM item WHERE id = $1", &[]), describe(b'S', ""), sync()],
            1,
        ),
        ("two statements in Parse", vec![parse("", "SELECT 1; SELECT 2", &[]), sync()], 1),
        (
            "a failed transaction",
            vec![
                query("BEGIN"),
                query("SELECT 1/0"),
                parse("", "SELECT 1", &[]),
                bind("", "", &[], false),
                execute("", 0),
                sync(),
                query("COMMIT"),
            ],
            4,
        ),
        (
            "several statements, an error in the third",
            vec![
                query(
                    "UPDATE item SET price = 5 WHERE id = 3; SELECT price FROM item WHERE id = 3; SELECT 1/0; SELECT 4",
                ),
                query("SELECT price FROM item WHERE id = 3"),
            ],
            2,
        ),
        (
            "a transaction in one message",
            vec![query(
                "BEGIN; UPDATE item SET price = 6 WHERE id = 4; COMMIT; SELECT price FROM item WHERE id = 4",
            )],
            1,
        ),
        (
            "savepoints",
            vec![
                query("BEGIN"),
                query("SAVEPOINT a"),
                query("UPDATE item SET price = 9 WHERE id = 5"),
                query("ROLLBACK TO a"),
                query("SELECT price FROM item WHERE id = 5"),
                query("RELEASE a"),
                query("COMMIT"),
            ],
            7,
        ),
        (
            "PREPARE and EXECUTE in SQL",
            vec![
                query("PREPARE q (int) AS SELECT name FROM item WHERE id = $1"),
                query("EXECUTE q (3)"),
                query("DEALLOCATE q"),
                query("EXECUTE q (3)"),
            ],
            4,
        ),
        (
            "Flush shows an error before Sync",
            vec![parse("", "SELECT 1/0", &[]), bind("", "", &[], false), execute("", 0), flush(), sync()],
            1,
        ),
    ]
}
