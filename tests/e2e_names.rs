//! What names mean while it changes: temporary tables that go, schemas, odd names.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use common::conn::{self, Conn};
use common::fixture::Fixture;

/// Table `h` of main, changed there after branch `b` was made; `ta.acc` and `tb.acc`; `un.h`, which isn't
/// registered.
fn setup() -> Fixture {
    let fixture = Fixture::registered(
        "CREATE TABLE h (id int PRIMARY KEY, v text); INSERT INTO h VALUES (1, 'branch'); \
         CREATE SCHEMA ta; CREATE SCHEMA tb; CREATE SCHEMA un; \
         CREATE TABLE ta.acc (id int PRIMARY KEY, v text); INSERT INTO ta.acc VALUES (1, 'ta'), (2, 'ta'); \
         CREATE TABLE tb.acc (id int PRIMARY KEY, v text); INSERT INTO tb.acc VALUES (1, 'tb'), (2, 'tb');",
    );
    let mut main = fixture.main();
    for table in ["ta.acc", "tb.acc"] {
        main.exec(&format!("SELECT * FROM epoch_register('{table}')"));
    }
    main.exec("SELECT * FROM epoch_commit('--allow-empty', '-m', 'start')");
    drop(fixture.branch("b"));
    drop(fixture.branch("d"));
    let mut direct = fixture.direct();
    direct.exec("UPDATE h SET v = 'MAIN'; CREATE TABLE un.h (id int PRIMARY KEY, v text); INSERT INTO un.h VALUES (1, 'un')");
    fixture
}

fn main_is_whole(fixture: &Fixture) {
    let mut direct = fixture.direct();
    assert_eq!(direct.rows("SELECT * FROM h"), [[Some("1".to_owned()), Some("MAIN".to_owned())]]);
    assert_eq!(direct.one("SELECT count(*) FROM pg_index WHERE indrelid = 'h'::regclass"), "1");
    for table in ["ta", "tb"] {
        let sql = format!("SELECT string_agg(v, ',') FROM {table}.acc");
        assert_eq!(direct.one(&sql), format!("{table},{table}"));
    }
}

#[test]
fn a_temporary_table_that_went_hides_nothing_any_more() {
    need_postgres!();
    let fixture = setup();
    for before in [
        "BEGIN; CREATE TEMP TABLE h (id int, v text); ROLLBACK",
        "BEGIN; CREATE TEMP TABLE h (id int, v text) ON COMMIT DROP; COMMIT",
        "BEGIN; CREATE TEMP TABLE h (id int, v text); ROLLBACK AND CHAIN",
        "BEGIN; SAVEPOINT x; CREATE TEMP TABLE h (id int, v text); ROLLBACK TO x",
        "BEGIN; SAVEPOINT x; CREATE TEMP TABLE h AS SELECT 1 AS id; ROLLBACK TO x",
    ] {
        let mut conn = fixture.on("b");
        let reply = conn.simple(&format!("{before}; SELECT v FROM h"));
        let rows = reply.rows();
        assert_eq!(rows.last(), Some(&vec![Some("branch".to_owned())]), "{before}: {reply:?}");
        drop(conn);
        for definition in ["DROP TABLE h", "ALTER TABLE h ADD COLUMN evil int", "CREATE INDEX i ON h (v)"] {
            let mut conn = fixture.on("d");
            // Whatever it is on the branch, it isn't the temporary table's.
            conn.simple(&format!("{before}; {definition}"));
            main_is_whole(&fixture);
            conn.simple("ROLLBACK");
            conn.exec("SELECT * FROM epoch_reset('--hard')");
        }
        let mut conn = fixture.on("b");
        let reply = conn.simple(&format!("{before}; UPDATE h SET v = 'again'"));
        assert_eq!(reply.error(), None, "{before}");
        conn.simple("ROLLBACK");
        conn.exec("SELECT * FROM epoch_reset('--hard')");
        main_is_whole(&fixture);
    }
}

#[test]
fn a_schema_that_was_set_for_a_transaction_is_left_with_it() {
    need_postgres!();
    let fixture = setup();
    let mut conn = fixture.on("b");
    conn.exec("SET search_path = ta");
    conn.exec("BEGIN; SET LOCAL search_path = tb; ROLLBACK; UPDATE acc SET v = 'right' WHERE id = 1");
    assert_eq!(conn.one("SELECT v FROM ta.acc WHERE id = 1"), "right");
    assert_eq!(conn.one("SELECT v FROM tb.acc WHERE id = 1"), "tb");
    main_is_whole(&fixture);
}

/// The rows of a batch's answers, by cell.
fn cells(conn: &mut Conn, messages: &[Vec<u8>]) -> Vec<String> {
    conn.send(messages);
    let reply = conn.reply();
    assert_eq!(reply.error(), None, "{reply:?}");
    reply.rows().into_iter().flatten().flatten().collect()
}

fn run(sql: &str) -> Vec<Vec<u8>> {
    vec![conn::parse("", sql, &[]), conn::bind("", "", &[], false), conn::execute("", 0)]
}

#[test]
fn a_statement_that_was_parsed_while_a_temporary_table_hid_a_table() {
    need_postgres!();
    let fixture = setup();
    let mut conn = fixture.on("b");
    let then = [conn::bind("", "g", &[], false), conn::execute("", 0), conn::sync()];
    conn.exec("BEGIN");
    conn.exec("SAVEPOINT x");
    conn.exec("CREATE TEMP TABLE h (id int, v text)");
    assert_eq!(cells(&mut conn, &[conn::parse("g", "SELECT v FROM h", &[]), conn::sync()]), [""; 0]);
    conn.exec("ROLLBACK TO x");
    assert_eq!(cells(&mut conn, &then), ["branch"]);
    conn.exec("ROLLBACK");

    // All in one batch; what is parsed before the end of the transaction is bound after it.
    let mut conn = fixture.on("b");
    let mut batch: Vec<Vec<u8>> = [run("BEGIN"), run("CREATE TEMP TABLE h (id int, v text)")].concat();
    batch.push(conn::parse("g", "SELECT v FROM h", &[]));
    batch.extend(run("ROLLBACK"));
    batch.extend(then.clone());
    assert_eq!(cells(&mut conn, &batch), ["branch"]);

    let mut conn = fixture.on("b");
    conn.exec("SET search_path = ta");
    let mut batch: Vec<Vec<u8>> = [run("BEGIN"), run("SET LOCAL search_path = tb")].concat();
    batch.push(conn::parse("g", "SELECT v FROM acc WHERE id = 1", &[]));
    batch.extend(run("COMMIT"));
    batch.extend(then);
    assert_eq!(cells(&mut conn, &batch), ["ta"]);
    main_is_whole(&fixture);
}

#[test]
fn an_executed_statement_means_what_its_names_mean_now() {
    need_postgres!();
    let fixture = setup();
    let mut conn = fixture.on("b");
    for end in ["DROP TABLE pg_temp.h", "DISCARD TEMP"] {
        conn.exec("CREATE TEMP TABLE h (id int, v text)");
        conn.exec("PREPARE k AS SELECT v FROM h");
        assert_eq!(conn.lines("EXECUTE k"), [""; 0]);
        conn.exec(end);
        assert_eq!(conn.lines("EXECUTE k"), ["branch"], "{end}");
        assert_eq!(conn.lines("EXECUTE k"), ["branch"], "{end}, again");
        conn.exec("DEALLOCATE k");
    }
    conn.exec("SET search_path = un");
    conn.exec("PREPARE k AS SELECT v FROM h");
    assert_eq!(conn.lines("EXECUTE k"), ["un"]);
    conn.exec("SET search_path = public");
    assert_eq!(conn.lines("EXECUTE k"), ["branch"]);
    conn.exec("BEGIN; SET LOCAL search_path = un");
    assert_eq!(conn.lines("EXECUTE k"), ["un"]);
    conn.exec("COMMIT");
    assert_eq!(conn.lines("EXECUTE k"), ["branch"]);
    conn.exec("CREATE TEMP TABLE copy AS EXECUTE k");
    assert_eq!(conn.lines("SELECT v FROM copy"), ["branch"]);

    conn.exec("SET search_path = ta");
    conn.exec("PREPARE u AS UPDATE acc SET v = $2 WHERE id = $1");
    conn.exec("EXECUTE u(1, 'x')");
    conn.exec("SET search_path = tb");
    conn.exec("EXECUTE u(2, 'y')");
    assert_eq!(conn.lines("SELECT v FROM ta.acc ORDER BY id"), ["x", "ta"]);
    assert_eq!(conn.lines("SELECT v FROM tb.acc ORDER BY id"), ["tb", "y"]);
    main_is_whole(&fixture);
}

#[test]
fn a_table_that_hid_another_and_that_somebody_drops() {
    need_postgres!();
    let fixture = setup();
    let mut conn = fixture.on("b");
    conn.exec("SET search_path = un, public");
    assert_eq!(conn.lines("SELECT v FROM h"), ["un"]);
    fixture.direct().exec("DROP TABLE un.h");
    assert_eq!(conn.lines("SELECT v FROM h"), ["branch"]);
}

#[test]
fn a_line_break_in_a_name_ends_no_comment() {
    need_postgres!();
    let fixture = setup();
    let mut conn = fixture.on("b");
    for break_ in ['\n', '\r'] {
        conn.exec(&format!(
            "CREATE TABLE \"a{break_}DELETE FROM public.h;--\" (id int PRIMARY KEY, u int UNIQUE, \"$epoch$\" int UNIQUE)"
        ));
        main_is_whole(&fixture);
        let table = format!("\"z{break_}CREATE TABLE public.pwned();--\"");
        let mut direct = fixture.direct();
        direct.exec(&format!(
            "CREATE TABLE {table} (id int PRIMARY KEY, u int UNIQUE); CREATE TABLE \"c{break_}1\" (id int PRIMARY KEY, \
             p int CONSTRAINT \"k{break_}CREATE TABLE public.pwned();--\" REFERENCES {table})"
        ));
        fixture.main().exec("SELECT * FROM epoch_register('public.*')");
        let mut other = fixture.branch(&format!("o{}", u32::from(break_)));
        other.exec(&format!("INSERT INTO {table} VALUES (1, 1); INSERT INTO \"c{break_}1\" VALUES (1, 1)"));
        assert_eq!(other.err(&format!("INSERT INTO \"c{break_}1\" VALUES (2, 2)")).code(), "23503");
        assert_eq!(direct.one("SELECT to_regclass('public.pwned') IS NULL"), "t");
    }
    main_is_whole(&fixture);
}

#[test]
fn main_takes_every_form_of_alter_table() {
    need_postgres!();
    let fixture = setup();
    let mut main = fixture.main();
    main.exec("CREATE TABLE part (id int) PARTITION BY RANGE (id); CREATE TABLE epoch_logs (id int); CREATE TABLE x_pg_class (id int NOT NULL)");
    main.exec("ALTER TABLE part ATTACH PARTITION epoch_logs FOR VALUES FROM (10) TO (20)");
    main.exec("ALTER TABLE part ATTACH PARTITION x_pg_class FOR VALUES FROM (0) TO (10)");
    main.exec("ALTER TABLE part DETACH PARTITION epoch_logs");
    main.exec("ALTER TABLE epoch_logs REPLICA IDENTITY FULL");
    assert!(!fixture.proxy.log().contains("panicked"), "{}", fixture.proxy.log());
}

#[test]
fn tables_are_not_made_under_another_role() {
    need_postgres!();
    let fixture = setup();
    let role = format!("epoch_test_{}", std::process::id());
    let mut direct = fixture.direct();
    direct.exec(&format!("CREATE ROLE {role}; GRANT ALL ON SCHEMA public TO {role}"));
    let mut conn = fixture.on("b");
    for how in ["SESSION AUTHORIZATION", "ROLE"] {
        conn.exec(&format!("SET {how} {role}"));
        assert_eq!(conn.err("CREATE TABLE q1 (id int PRIMARY KEY)").code(), "0A000", "{how}");
        conn.exec(&format!("RESET {how}"));
    }
    conn.exec("CREATE TABLE q1 (id int PRIMARY KEY)");
    direct.exec(&format!("DROP OWNED BY {role}; DROP ROLE {role}"));
}

#[test]
fn a_name_with_a_dollar_quote_ends_no_block() {
    need_postgres!();
    let fixture = setup();
    let table = "\"z$epoch$; DROP TABLE public.h; --\"";
    fixture
        .direct()
        .exec(&format!("CREATE TABLE {table} (id int PRIMARY KEY); INSERT INTO {table} VALUES (1)"));
    fixture.main().exec("SELECT * FROM epoch_register('public.*')");
    let mut conn = fixture.branch("c");
    conn.exec(&format!("TRUNCATE {table}"));
    assert_eq!(conn.one(&format!("SELECT count(*) FROM {table}")), "0");
    assert_eq!(fixture.direct().one(&format!("SELECT count(*) FROM {table}")), "1");
    main_is_whole(&fixture);
}
