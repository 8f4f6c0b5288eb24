//! The user's row triggers on branches: by default they run on main only; where a table asks for them, a branch's rows
//! are what the triggers would have made of them on a plain table.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use common::Fixture;
use common::database::{Database, base_rows};
use common::proxy::{Proxy, ProxyConfig};

const SETUP: &str = r#"
    CREATE TYPE mood AS ENUM ('sad', 'happy');
    CREATE TABLE t (id int PRIMARY KEY, a text, n int NOT NULL DEFAULT 0, changes int NOT NULL DEFAULT 0, place text, m mood, "Note" text,
        twice int GENERATED ALWAYS AS (n * 2) STORED);
    CREATE TABLE child (id int PRIMARY KEY, t int REFERENCES t ON DELETE CASCADE ON UPDATE CASCADE, seen int NOT NULL DEFAULT 0);
    INSERT INTO t (id, a, n) SELECT i, 'row ' || i, i FROM generate_series(1, 20) i;
    INSERT INTO child SELECT i, i FROM generate_series(1, 20) i;
    CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS $$
    DECLARE was text := 'new'; BEGIN
        IF TG_OP = 'UPDATE' THEN
            IF NEW.n IS NOT DISTINCT FROM OLD.n AND NEW IS NOT DISTINCT FROM OLD THEN RETURN NULL; END IF;
            was := OLD.a; NEW.changes := OLD.changes + TG_ARGV[0]::int;
        END IF;
        NEW.place := TG_TABLE_SCHEMA || '.' || TG_TABLE_NAME || ' ' || TG_NAME || ' ' || TG_WHEN || ' ' || upper(was);
        NEW.m := CASE WHEN NEW.n > 10 THEN 'happy' ELSE 'sad' END;
        RETURN NEW;
    END $$;
    CREATE TRIGGER b_stamp BEFORE INSERT OR UPDATE ON t FOR EACH ROW EXECUTE FUNCTION stamp('3');
    -- In the order of names.
    CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW."Note" := coalesce(NEW.place, 'nothing yet'); RETURN NEW; END $$;
    CREATE TRIGGER a_note BEFORE INSERT OR UPDATE OF a ON t FOR EACH ROW EXECUTE FUNCTION note();
    CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        IF OLD.n % 7 = 0 THEN RETURN NULL; END IF;
        IF OLD.n = 5 THEN RAISE EXCEPTION 'row % stays', OLD.id USING ERRCODE = 'EP001', HINT = 'It is five.'; END IF;
        RETURN OLD; END $$;
    CREATE TRIGGER keep BEFORE DELETE ON t FOR EACH ROW EXECUTE FUNCTION keep();
    CREATE FUNCTION late() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'n is % in the end', NEW.n; END $$;
    CREATE CONSTRAINT TRIGGER late AFTER INSERT OR UPDATE ON t FOR EACH ROW WHEN (NEW.n < 0) EXECUTE FUNCTION late();
    CREATE FUNCTION seen() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.seen := OLD.seen + 1; RETURN NEW; END $$;
    CREATE TRIGGER seen BEFORE UPDATE ON child FOR EACH ROW WHEN (OLD.* IS DISTINCT FROM NEW.*) EXECUTE FUNCTION seen();
    CREATE FUNCTION off() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
    CREATE TRIGGER off BEFORE INSERT OR UPDATE OR DELETE ON t FOR EACH ROW EXECUTE FUNCTION off();
    ALTER TABLE t DISABLE TRIGGER off;
"#;

/// Each is run on a plain table and on a branch; what it says and what is there after it is compared.
const CASES: &[&str] = &[
    "INSERT INTO t (id, a, n) VALUES (21, 'x', 11), (22, 'y', 1) RETURNING *",
    "UPDATE t SET n = n + 1 WHERE id = 1 RETURNING *",
    "UPDATE t SET a = 'again' WHERE id IN (1, 2) RETURNING id, a, changes, \"Note\", twice",
    "UPDATE t SET n = n WHERE id < 5",
    "UPDATE t SET a = 'b' FROM child c WHERE c.t = t.id AND c.id = 3 RETURNING t.*, c.id",
    "DELETE FROM t WHERE id IN (6, 7, 8) RETURNING id",
    "DELETE FROM t WHERE n = 5",
    "INSERT INTO t (id, a) VALUES (1, 'twice') ON CONFLICT (id) DO UPDATE SET a = excluded.a, n = 70 RETURNING *",
    "INSERT INTO t (id, a) VALUES (2, 'twice') ON CONFLICT DO NOTHING RETURNING *",
    "INSERT INTO t (id, a, n) VALUES (31, 'neg', -1)",
    "UPDATE t SET n = -n WHERE id = 9",
    "UPDATE t SET id = id + 100 WHERE id IN (10, 11) RETURNING *",
    "UPDATE child SET seen = seen WHERE id = 12",
    "WITH moved AS (DELETE FROM t WHERE id = 13 RETURNING *) INSERT INTO t (id, a, n) SELECT id + 1000, a, n FROM moved RETURNING *",
    "MERGE INTO t USING (VALUES (15, 'm'), (50, 'new')) s (id, a) ON t.id = s.id WHEN MATCHED THEN UPDATE SET a = s.a WHEN NOT MATCHED THEN INSERT (id, a) VALUES (s.id, s.a)",
    "BEGIN; UPDATE t SET n = 12 WHERE id = 16; SAVEPOINT s; UPDATE t SET n = 13 WHERE id = 16; ROLLBACK TO s; COMMIT",
    "DELETE FROM t WHERE id = 17",
    "INSERT INTO t (id, a, n) VALUES (17, 'back', 17) RETURNING *",
    "TRUNCATE t, child",
    "INSERT INTO t (id, a, n) VALUES (5, 'five', 5)",
];

fn state(conn: &mut common::conn::Conn) -> Vec<String> {
    let mut all = conn.lines("SELECT t.* FROM t ORDER BY id");
    all.extend(conn.lines("SELECT child.* FROM child ORDER BY id"));
    all
}

fn shop() -> Fixture {
    let shop = Fixture::registered(SETUP);
    shop.main().exec("SELECT * FROM epoch_register('t', triggers => 'on')");
    shop.main().exec("SELECT * FROM epoch_register('child', triggers => 'on')");
    shop
}

#[test]
fn rows_of_a_branch_are_what_triggers_make_of_them() {
    need_postgres!();
    let plain = Database::create();
    plain.connect().exec(SETUP);
    let shop = shop();
    shop.main().exec("SELECT * FROM epoch_branch('below')");
    shop.main().exec("SELECT * FROM epoch_branch('parent')");
    // What a nested branch starts with is copied, and fires nothing.
    shop.on("parent").exec("UPDATE child SET id = id");
    shop.on("parent").exec("SELECT * FROM epoch_commit('x', '--allow-empty')");
    shop.on("parent").exec("SELECT * FROM epoch_branch('nested')");
    let before = base_rows(&mut shop.direct());
    let mut plain = plain.connect();
    let mut routes = [("below", shop.on("below")), ("nested", shop.on("nested"))];
    let mut problems = Vec::new();
    for case in CASES {
        let wanted = (plain.simple(case).essence(), state(&mut plain));
        for (name, conn) in &mut routes {
            let got = (conn.simple(case).essence(), state(conn));
            if got != wanted {
                problems.push(format!("{name}: {case}\n  wanted {wanted:?}\n  got    {got:?}"));
            }
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    assert_eq!(base_rows(&mut shop.direct()), before, "main was written to");
}

#[test]
fn off_is_the_default_and_can_be_had_again() {
    need_postgres!();
    let shop = Fixture::registered(SETUP);
    let mut main = shop.main();
    let triggers = "SELECT table_name, trigger_name, function_name, on_branches, reason FROM epoch.triggers WHERE table_name = 't'";
    let off = main.lines(triggers);
    assert_eq!(
        off,
        [
            "t|a_note|public.note()|f|",
            "t|b_stamp|public.stamp()|f|",
            "t|keep|public.keep()|f|",
            "t|late|public.late()|f|"
        ]
    );
    main.exec("SELECT * FROM epoch_branch('a')");
    assert_eq!(shop.on("a").one("UPDATE t SET n = 100 WHERE id = 1 RETURNING changes"), "0");
    main.exec("SELECT * FROM epoch_register('t', triggers => 'on')");
    assert!(main.lines(triggers).iter().all(|line| line.ends_with("|t|")));
    assert_eq!(shop.on("a").one("UPDATE t SET n = 101 WHERE id = 1 RETURNING changes"), "3");
    // As they were when it was said, whatever they are made later.
    shop.direct().exec("CREATE OR REPLACE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN DELETE FROM child; RETURN NEW; END $$");
    assert_eq!(shop.on("a").one("UPDATE t SET n = 102 WHERE id = 1 RETURNING changes"), "6");
    let error = main.err("SELECT * FROM epoch_register('t', triggers => 'on')");
    assert_eq!((error.code(), error.message()), ("0A000", "triggers of table \"t\" can't run on branches"));
    assert_eq!(error.detail(), "b_stamp: function public.stamp(): it names delete.");
    assert_eq!(
        main.one("SELECT reason FROM epoch_triggers('t') WHERE trigger_name = 'b_stamp'"),
        "function public.stamp(): it names delete"
    );
    // What was there stays until it is said otherwise.
    assert_eq!(shop.on("a").one("UPDATE t SET n = 103 WHERE id = 1 RETURNING changes"), "9");
    let error = shop.on("a").err("ALTER TABLE t ADD more int");
    assert_eq!(error.code(), "0A000", "{error:?}");
    main.exec("SELECT * FROM epoch_register('t', triggers => 'off')");
    assert_eq!(shop.on("a").one("UPDATE t SET n = 104 WHERE id = 1 RETURNING changes"), "9");
    shop.on("a").exec("ALTER TABLE t ADD more int");
    assert_eq!(main.err("SELECT * FROM epoch_register('t', triggers => 'maybe')").code(), "22023");
}

#[test]
fn merges_and_resets_write_rows_as_they_are() {
    need_postgres!();
    let shop = shop();
    let mut main = shop.main();
    main.exec("SELECT * FROM epoch_branch('a')");
    main.exec("SELECT * FROM epoch_branch('b')");
    let (mut a, mut b) = (shop.on("a"), shop.on("b"));
    a.exec("UPDATE t SET n = 50 WHERE id = 1; DELETE FROM t WHERE id = 2");
    a.exec("SELECT * FROM epoch_commit('a')");
    b.exec("UPDATE t SET n = 60 WHERE id = 3");
    b.exec("SELECT * FROM epoch_commit('b')");
    b.exec("SELECT * FROM epoch_merge('a')");
    let rows = "SELECT id, n, changes FROM t WHERE id < 4 ORDER BY id";
    assert_eq!(b.lines(rows), ["1|50|3", "3|60|3"]);
    b.exec("SELECT * FROM epoch_reset('--hard', 'HEAD~1')");
    assert_eq!(b.lines(rows), ["1|1|0", "2|2|0", "3|60|3"]);
    b.exec("SELECT * FROM epoch_gc()");
    assert_eq!(a.lines(rows), ["1|50|3", "3|3|0"]);
}

#[test]
fn nothing_is_left_of_them() {
    need_postgres!();
    let shop = shop();
    shop.main()
        .exec("SELECT * FROM epoch_unregister('child', '-f'); SELECT * FROM epoch_unregister('t', '-f')");
    let left = "SELECT (SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'epoch%') + (SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'zz_epoch%')";
    assert_eq!(shop.direct().one(left), "0");
}

#[test]
fn a_table_is_not_registered_without_the_triggers_that_were_asked_for() {
    need_postgres!();
    let db = Database::create();
    db.connect().exec("CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE log (id int);
        CREATE FUNCTION audit() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO log VALUES (NEW.id); RETURN NULL; END $$;
        CREATE FUNCTION low() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.id := abs(NEW.id); RETURN NEW; END $$;
        CREATE TRIGGER low BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION low();
        CREATE CONSTRAINT TRIGGER late AFTER INSERT ON t DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION low();
        CREATE TRIGGER audit AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION audit();
        CREATE TRIGGER whole AFTER INSERT ON t EXECUTE FUNCTION audit()");
    let shop = Fixture { proxy: Proxy::start(ProxyConfig::postgres(&db.url())), db };
    let error = shop.main().err("SELECT * FROM epoch_register('t', triggers => 'on')");
    assert_eq!(
        error.detail(),
        "audit: function public.audit(): it names insert; late: it is deferrable; low: function public.low(): it changes column id of new rows, which conflicts of INSERT are found by; whole: it fires for each statement."
    );
    assert_eq!(shop.main().lines("SELECT * FROM epoch.tables"), Vec::<String>::new());
    shop.main().exec("SELECT * FROM epoch_register('t')");
    shop.main().exec("SELECT * FROM epoch_branch('a')");
    shop.on("a").exec("INSERT INTO t VALUES (1)");
    assert_eq!(shop.direct().one("SELECT count(*) FROM log"), "0");
}

/// What would be the user's own code on main, or on the branch: bodies that look harmless and aren't.
#[test]
fn code_of_the_users_does_not_run_on_branches() {
    need_postgres!();
    let shop = Fixture::registered(
        "CREATE TABLE t (id int PRIMARY KEY, n int, m int, s text); CREATE TABLE log (x text);
         CREATE FUNCTION plus(text, int) RETURNS text LANGUAGE plpgsql AS $$ BEGIN INSERT INTO log VALUES ($1); RETURN $1; END $$;
         CREATE FUNCTION body() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.s := NEW.s || NEW.n; RETURN NEW; END $$;
         CREATE TRIGGER body BEFORE INSERT OR UPDATE ON t FOR EACH ROW EXECUTE FUNCTION body()",
    );
    let mut main = shop.main();
    let on = "SELECT * FROM epoch_register('t', triggers => 'on')";
    main.exec(on);
    for (make, why) in [
        ("CREATE OPERATOR || (LEFTARG = text, RIGHTARG = int, FUNCTION = plus)", "it uses operator ||, of which there is another one"),
        ("DROP OPERATOR || (text, int); CREATE FUNCTION lower(int) RETURNS text LANGUAGE sql AS 'SELECT plus(''x'', 1)';
          CREATE OR REPLACE FUNCTION body() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.s := lower(NEW.s); RETURN NEW; END $$", "it calls function lower, of which there is another one"),
        ("DROP FUNCTION lower(int); CREATE FUNCTION to_int(text) RETURNS int LANGUAGE sql AS 'SELECT 1'; CREATE CAST (text AS int) WITH FUNCTION to_int(text) AS ASSIGNMENT", "there is a cast from text to integer"),
        ("DROP CAST (text AS int); CREATE DOMAIN d AS int CHECK (plus('x', VALUE) IS NOT NULL);
          CREATE OR REPLACE FUNCTION body() RETURNS trigger LANGUAGE plpgsql AS $$ DECLARE v d; BEGIN v := NEW.n; RETURN NEW; END $$", "it names d"),
    ] {
        shop.direct().exec(make);
        let error = main.err(on);
        let detail = format!("body: function public.body(): {why}.");
        assert_eq!((error.code(), error.detail()), ("0A000", detail.as_str()));
    }
}

/// What a statement over several backends was to write is not what the backend's triggers make of it.
#[test]
fn rows_that_triggers_change_are_not_returned_by_statements_over_several_backends() {
    need_postgres!();
    let db = Database::create();
    db.connect().exec(
        "CREATE TABLE t (id int PRIMARY KEY, n int); INSERT INTO t VALUES (1, 1), (2, 2);
         CREATE FUNCTION once() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF NEW.id = 1 THEN RETURN NULL; END IF; NEW.n := -1; RETURN NEW; END $$;
         CREATE TRIGGER once BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION once();
         CREATE TABLE u (id int PRIMARY KEY, n int); INSERT INTO u VALUES (1, 1)",
    );
    let config = ProxyConfig { sqlite: vec!["shop".to_owned()], ..ProxyConfig::postgres(&db.url()) };
    let shop = Fixture { proxy: Proxy::start(config), db };
    let file = rusqlite::Connection::open(shop.proxy.sqlite_path("shop")).unwrap();
    file.execute_batch(
        "CREATE TABLE s (id INTEGER PRIMARY KEY, k INTEGER); INSERT INTO s VALUES (1, 5), (2, 7)",
    )
    .unwrap();
    drop(file);
    let mut main = shop.main();
    main.exec(
        "SELECT * FROM epoch_register('public.*'); SELECT * FROM epoch_register('*', 'sqlite://shop/*')",
    );
    let update = "UPDATE t SET n = s.k FROM s WHERE s.id = t.id";
    assert_eq!(main.err(&format!("{update} RETURNING t.*")).code(), "0A000");
    assert_eq!(main.lines("SELECT * FROM t ORDER BY id"), ["1|1", "2|2"]);
    main.exec(update);
    assert_eq!(main.lines("SELECT * FROM t ORDER BY id"), ["1|1", "2|-1"]);
    assert_eq!(main.lines("UPDATE u SET n = s.k FROM s WHERE s.id = u.id RETURNING u.*"), ["1|5"]);
    // On a branch the triggers run where they are asked for, whatever route a statement takes.
    main.exec("SELECT * FROM epoch_register('t', triggers => 'on'); SELECT * FROM epoch_branch('a')");
    let mut a = shop.on("a");
    a.exec("UPDATE t SET n = s.k + 1 FROM s WHERE s.id = t.id");
    assert_eq!(a.lines("SELECT * FROM t ORDER BY id"), ["1|1", "2|-1"]);
}
