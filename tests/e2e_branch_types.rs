//! Types that are made on branches of a PostgreSQL backend (CREATE TYPE … AS ENUM): seen there only, used by tables that are
//! made or altered there, and moved to main by a merge.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::process::Command;

use common::Fixture;
use common::conn::{self, Conn, Target};
use common::database::catalog;
use common::message::Message;
use common::proxy::{Proxy, ProxyConfig};
use common::psql::{psql, tool};
use common::verbs::{commit, fails, places, status};

const BASE: &str = "CREATE TABLE users (id int PRIMARY KEY, name text NOT NULL); \
    INSERT INTO users VALUES (1, 'ann'), (2, 'bob'); \
    CREATE TYPE size AS ENUM ('small', 'large'); CREATE TABLE boxes (id int PRIMARY KEY, s size)";

/// What main has of types.
fn types(direct: &mut Conn) -> Vec<String> {
    direct.lines(
        "SELECT t.typname, (SELECT string_agg(enumlabel, ',' ORDER BY enumsortorder) FROM pg_enum WHERE enumtypid = t.oid) \
         FROM pg_type t WHERE typtype = 'e' AND typnamespace = 'public'::regnamespace ORDER BY 1",
    )
}

/// From CREATE TYPE on a branch to the type on main, and no trace after all is unregistered.
#[test]
fn a_type_made_on_a_branch_comes_to_main_by_a_merge() {
    need_postgres!();
    let f = Fixture::registered(BASE);
    let (mut direct, mut main, mut x) = (f.direct(), f.main(), f.branch("x"));
    let before = catalog(&mut direct);

    assert_eq!(x.exec("CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy')").tags(), ["CREATE TYPE"]);
    assert_eq!(status(&mut x), ["mood|added"]);
    // In tables that are made and altered, in constants, casts, arrays, defaults, checks, indexes.
    x.exec("CREATE TABLE days (id int PRIMARY KEY, m mood NOT NULL DEFAULT 'ok', all_m mood[], CHECK (m <> 'sad'::mood OR id > 1))");
    x.exec("CREATE INDEX ON days (m) WHERE m > 'sad'::mood");
    x.exec("INSERT INTO days VALUES (1, 'happy', '{sad,ok}'), (2, DEFAULT, ARRAY['ok', 'sad']::mood[]), (3, CAST('sad' AS mood), NULL)");
    x.exec("ALTER TABLE users ADD COLUMN m mood DEFAULT 'ok'");
    x.exec("UPDATE users SET m = 'sad'::public.mood WHERE id = 2");
    assert_eq!(
        x.lines("SELECT id, m, all_m FROM days ORDER BY m, id"),
        ["3|sad|", "2|ok|{ok,sad}", "1|happy|{sad,ok}"]
    );
    assert_eq!(x.lines("SELECT id FROM days WHERE m >= mood 'ok' ORDER BY 1"), ["1", "2"]);
    assert_eq!(x.lines("SELECT id, m FROM users ORDER BY 1"), ["1|ok", "2|sad"]);
    assert_eq!(x.lines("SELECT d.id FROM days d JOIN users u ON u.m = d.m ORDER BY 1"), ["2", "3"]);
    assert_eq!(x.one("SELECT array_agg(e)::text FROM unnest(enum_range(NULL::mood)) e"), "{sad,ok,happy}");
    assert_eq!(x.one("SELECT max(m) FROM days"), "happy");
    assert_eq!(x.one("SELECT (ARRAY['ok', 'sad']::mood[])[2] < ALL ('{ok}'::mood[])"), "t");
    assert_eq!(
        x.extended("SELECT id FROM days WHERE m = $1::mood", &[Some("happy")], false).tags(),
        ["SELECT 1"]
    );
    assert_eq!(
        x.extended("SELECT id FROM days WHERE m = ANY ($1::mood[])", &[Some("{ok,happy}")], false).tags(),
        ["SELECT 2"]
    );
    assert_eq!(
        x.lines("SELECT a, b FROM json_to_record('{\"a\": \"ok\", \"b\": 1}') AS r (a mood, b int)"),
        ["ok|1"]
    );
    x.exec("PREPARE p (mood) AS SELECT id FROM days WHERE m = $1");
    assert_eq!(x.lines("EXECUTE p ('sad')"), ["3"]);
    x.exec(
        "ALTER TABLE users ALTER name TYPE mood USING CASE name WHEN 'ann' THEN 'happy' ELSE 'sad' END::mood",
    );
    assert_eq!(x.lines("SELECT name FROM users ORDER BY name DESC"), ["happy", "sad"]);
    x.exec("ALTER TABLE users ALTER name TYPE text USING name::text");
    x.exec("UPDATE users SET name = CASE id WHEN 1 THEN 'ann' ELSE 'bob' END");

    // Nobody else sees it.
    fails(&mut main, "SELECT 'ok'::mood", "42704", "type \"mood\" does not exist");
    let mut y = f.branch("y");
    fails(&mut y, "SELECT 'ok'::mood", "42704", "type \"mood\" does not exist");
    fails(&mut y, "CREATE TABLE d (id int PRIMARY KEY, m mood)", "42704", "type \"mood\" does not exist");
    assert_eq!(types(&mut direct), ["size|small,large"]);

    commit(&mut x, "moods");
    assert_eq!(
        x.lines(
            "SELECT table_name, diff_type, schema_change FROM epoch_diff_summary('main', 'x') ORDER BY 1"
        ),
        ["days|added|t", "mood|added|t", "users|modified|t"]
    );
    // A branch of it has it, too.
    x.exec("SELECT * FROM epoch_branch('z')");
    let mut z = f.on("z");
    assert_eq!(z.one("SELECT count(*) FROM days WHERE m = 'sad'::mood"), "1");
    z.exec("INSERT INTO days VALUES (7, 'sad'::mood)");
    commit(&mut z, "more");

    assert_eq!(main.call("epoch_merge('x')", "fast_forward, conflicts"), ["t|0"]);
    assert_eq!(types(&mut direct), ["mood|sad,ok,happy", "size|small,large"]);
    for conn in [&mut main, &mut direct] {
        assert_eq!(conn.lines("SELECT id, m FROM days ORDER BY 1"), ["1|happy", "2|ok", "3|sad"]);
        assert_eq!(conn.lines("SELECT id, name, m FROM users ORDER BY 1"), ["1|ann|ok", "2|bob|sad"]);
        assert_eq!(conn.one("SELECT 'ok'::mood = m FROM users WHERE id = 1"), "t");
    }
    direct.exec("INSERT INTO days VALUES (4, 'ok')");
    assert_eq!(direct.err("INSERT INTO days VALUES (0, 'sad')").code(), "23514");
    assert_eq!(
        direct.lines("SELECT column_name, udt_schema, udt_name, column_default FROM information_schema.columns WHERE table_schema = 'public' AND table_name = 'days' ORDER BY ordinal_position"),
        ["id|pg_catalog|int4|", "m|public|mood|'ok'::mood", "all_m|public|_mood|"]
    );
    // The branches go on with it, also one that has it from the branch.
    x.exec("INSERT INTO days VALUES (5, 'happy'::mood)");
    assert_eq!(x.one("SELECT count(*) FROM days"), "4");
    assert_eq!(z.lines("SELECT id FROM days WHERE m = 'sad'::mood ORDER BY 1"), ["3", "7"]);
    z.exec("UPDATE users SET m = 'happy'::public.mood WHERE id = 1");
    commit(&mut z, "again");
    // One that began before doesn't have it.
    fails(&mut y, "SELECT 'ok'::mood", "42704", "type \"mood\" does not exist");
    fails(&mut y, "SELECT 'ok'::public.mood", "42704", "type \"public.mood\" does not exist");
    assert_eq!(y.lines("SELECT * FROM users ORDER BY 1"), ["1|ann", "2|bob"]);
    // A new one has main's.
    let mut w = f.branch("w");
    w.exec("INSERT INTO days VALUES (9, 'ok'::mood)");
    assert_eq!(w.one("SELECT count(*) FROM days WHERE m = 'ok'::mood"), "2");
    main.exec("SELECT epoch_commit('main')");
    assert_eq!(main.call("epoch_merge('z')", "conflicts"), ["0"]);
    assert_eq!(direct.lines("SELECT id, m FROM users ORDER BY 1"), ["1|happy", "2|sad"]);
    assert_eq!(direct.lines("SELECT id FROM days ORDER BY 1"), ["1", "2", "3", "4", "7"]);

    for table in ["days", "users", "boxes"] {
        main.exec(&format!("SELECT * FROM epoch_unregister('{table}', '-f')"));
    }
    assert_eq!(places(&mut direct), Vec::<String>::new());
    direct.exec("DROP TABLE days; ALTER TABLE users DROP m; DROP TYPE mood");
    drop(main);
    let _ = (before, catalog(&mut direct));
}

/// PostgreSQL's own errors, with the names that the client knows.
#[test]
fn what_is_wrong_is_said_as_postgresql_says_it() {
    need_postgres!();
    let f = Fixture::registered(BASE);
    let mut x = f.branch("x");
    x.exec("CREATE TYPE mood AS ENUM ('sad', 'ok')");
    x.exec("CREATE TABLE days (id int PRIMARY KEY, m mood)");
    fails(&mut x, "CREATE TYPE mood AS ENUM ('sad')", "42710", "type \"mood\" already exists");
    fails(&mut x, "CREATE TYPE public.mood AS ENUM ('sad')", "42710", "type \"mood\" already exists");
    fails(&mut x, "CREATE TYPE size AS ENUM ('sad')", "42710", "type \"size\" already exists");
    fails(&mut x, "CREATE TYPE users AS ENUM ('sad')", "42710", "type \"users\" already exists");
    fails(&mut x, "CREATE TYPE days AS ENUM ('sad')", "42710", "type \"days\" already exists");
    fails(&mut x, "CREATE TABLE mood (id int PRIMARY KEY)", "42710", "type \"mood\" already exists");
    fails(&mut x, "CREATE VIEW mood AS SELECT 1", "42710", "type \"mood\" already exists");
    fails(&mut x, "ALTER TABLE users RENAME TO mood", "42710", "type \"mood\" already exists");
    fails(&mut x, "CREATE TYPE nowhere.m AS ENUM ('a')", "3F000", "schema \"nowhere\" does not exist");
    fails(&mut x, "SELECT 'bad'::mood", "22P02", "invalid input value for enum mood: \"bad\"");
    fails(
        &mut x,
        "INSERT INTO days VALUES (1, 'bad')",
        "22P02",
        "invalid input value for enum mood: \"bad\"",
    );
    fails(
        &mut x,
        "INSERT INTO days VALUES (1, 5)",
        "42804",
        "column \"m\" is of type mood but expression is of type integer",
    );
    let error = x.err("SELECT  5::mood");
    assert_eq!(
        (error.code(), error.message(), error.0[&'P'].as_str()),
        ("42846", "cannot cast type integer to mood", "10")
    );
    let error = x.err("SELECT 'a'::mood + 1");
    assert_eq!((error.code(), error.message()), ("22P02", "invalid input value for enum mood: \"a\""));
    let error = x.err("CREATE TABLE e (id int PRIMARY KEY, m mood DEFAULT 'bad')");
    assert_eq!((error.code(), error.message()), ("22P02", "invalid input value for enum mood: \"bad\""));
    let error = x.err("ALTER TABLE users ALTER name TYPE mood USING name::mood");
    assert_eq!((error.code(), error.message()), ("22P02", "invalid input value for enum mood: \"ann\""));
    let error = x.err("CREATE TYPE twice AS ENUM ('a', 'a')");
    assert_eq!(error.code(), "23505", "{}", error.message());
    fails(&mut x, "DROP TYPE nothing", "42704", "type \"nothing\" does not exist");
    let reply = x.exec("DROP TYPE IF EXISTS nothing");
    assert_eq!(reply.tags(), ["DROP TYPE"]);
    // Outside of the search path it has its schema.
    x.exec("SET search_path = pg_catalog");
    fails(&mut x, "SELECT 'sad'::mood", "42704", "type \"mood\" does not exist");
    fails(&mut x, "SELECT 'bad'::public.mood", "22P02", "invalid input value for enum public.mood: \"bad\"");
    x.exec("RESET search_path");

    let error = x.err("DROP TYPE mood");
    assert_eq!(
        (error.code(), error.message(), error.detail(), error.0[&'H'].as_str()),
        (
            "2BP01",
            "cannot drop type mood because other objects depend on it",
            "column m of table days depends on type mood",
            "Use DROP ... CASCADE to drop the dependent objects too."
        )
    );
    // What can't be done is named.
    for (sql, what) in [
        ("DROP TYPE mood CASCADE", "DROP TYPE … CASCADE on a branch"),
        ("ALTER TYPE mood ADD VALUE 'happy'", "ALTER TYPE on a branch"),
        ("ALTER TYPE mood RENAME VALUE 'ok' TO 'fine'", "ALTER TYPE on a branch"),
        ("ALTER TYPE mood RENAME TO temper", "ALTER TYPE on a branch"),
        ("ALTER TYPE size ADD VALUE 'huge'", "ALTER TYPE on a branch"),
        ("COMMENT ON TYPE mood IS 'x'", "COMMENT on a branch"),
        ("CREATE TYPE pair AS (a int, b int)", "CREATE TYPE on a branch"),
        ("CREATE TYPE shell", "CREATE TYPE on a branch"),
        ("DROP TYPE size", "DROP TYPE of a type that main has, on a branch"),
        ("CREATE TYPE pg_temp.m AS ENUM ('a')", "CREATE TYPE in pg_temp on a branch"),
        ("CREATE DOMAIN d AS mood", "CREATE DOMAIN on a branch"),
    ] {
        let error = x.err(sql);
        assert_eq!(
            (error.code(), error.message()),
            ("0A000", format!("{what} is not supported").as_str()),
            "{sql}"
        );
    }
    x.exec("ALTER TABLE days DROP m");
    assert_eq!(x.exec("DROP TYPE public.mood").tags(), ["DROP TYPE"]);
    fails(&mut x, "SELECT 'sad'::mood", "42704", "type \"mood\" does not exist");
    // On a commit nothing is made.
    let hash = commit(&mut x, "none");
    let mut old = f.on(&hash);
    assert_eq!(old.err("CREATE TYPE m AS ENUM ('a')").code(), "25006");
    assert_eq!(old.err("DROP TYPE size").code(), "25006");
}

/// The catalogs have a branch's type under its own name.
#[test]
fn catalogs_show_a_branchs_types() {
    need_postgres!();
    let f = Fixture::registered(BASE);
    let mut x = f.branch("x");
    x.exec("CREATE TYPE mood AS ENUM ('sad', 'ok')");
    x.exec("CREATE TABLE days (id int PRIMARY KEY, m mood DEFAULT 'ok', l mood[] CHECK ('sad'::mood <> ALL (l)))");
    x.exec("CREATE INDEX days_m ON days (m) WHERE m <> 'sad'::mood");
    x.exec("INSERT INTO days VALUES (1, 'sad', '{ok}')");
    // The same of a database that has it.
    let plain = common::Database::create();
    let mut p = plain.connect();
    p.exec(BASE);
    p.exec("CREATE TYPE mood AS ENUM ('sad', 'ok')");
    p.exec("CREATE TABLE days (id int PRIMARY KEY, m mood DEFAULT 'ok', l mood[] CHECK ('sad'::mood <> ALL (l)))");
    p.exec("CREATE INDEX days_m ON days (m) WHERE m <> 'sad'::mood");
    p.exec("INSERT INTO days VALUES (1, 'sad', '{ok}')");
    for sql in [
        "SELECT n.nspname, format_type(t.oid, NULL), pg_type_is_visible(t.oid) FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace WHERE t.typtype = 'e' ORDER BY 2",
        "SELECT typname, typarray::regtype::text FROM pg_type WHERE oid = 'mood'::regtype",
        "SELECT enumlabel FROM pg_enum WHERE enumtypid = 'public.mood'::regtype ORDER BY enumsortorder",
        "SELECT enumlabel FROM pg_enum e JOIN pg_type t ON t.oid = e.enumtypid WHERE t.typname = 'mood' ORDER BY enumsortorder",
        "SELECT column_name, data_type, udt_schema, udt_name, column_default FROM information_schema.columns WHERE table_name = 'days' ORDER BY ordinal_position",
        "SELECT attname, format_type(atttypid, atttypmod), atttypid::regtype FROM pg_attribute WHERE attrelid = 'days'::regclass AND attnum > 0 ORDER BY attnum",
        "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = 'days'::regclass ORDER BY conname",
        "SELECT pg_get_indexdef('days_m'::regclass), (SELECT pg_get_expr(adbin, adrelid) FROM pg_attrdef WHERE adrelid = 'days'::regclass)",
        "SELECT indexdef FROM pg_indexes WHERE tablename = 'days' ORDER BY 1",
        "SELECT pg_typeof(m), pg_typeof(l), pg_typeof(id) FROM days",
        "SELECT pg_typeof(max(m))::text AS t FROM days",
        "SELECT pg_typeof(m) = 'mood'::regtype, pg_typeof(l) = 'mood[]'::regtype FROM days",
        "SELECT 'mood'::regtype, regtype 'mood[]', CAST('mood' AS regtype), to_regtype('mood'), to_regtype('nothing'), 'int'::regtype",
        "SELECT t::regtype FROM unnest(ARRAY['mood', 'public.mood', 'mood[]', 'int4', 'timestamp with time zone']) t",
        "SELECT to_regtype(t) FROM unnest(ARRAY['mood', 'nothing', 'character varying(3)']) t",
        "SELECT t.typname, n.nspname FROM pg_type t LEFT JOIN pg_namespace n ON t.typnamespace = n.oid WHERE t.oid = to_regtype('mood')",
        "SELECT typcategory, typelem::regtype FROM pg_type WHERE typname = '_mood'",
    ] {
        assert_eq!(x.lines(sql), p.lines(sql), "{sql}");
    }
    let error = x.err("SELECT 'nothing'::regtype");
    assert_eq!((error.code(), error.message()), ("42704", "type \"nothing\" does not exist"));
    // psql's own.
    let shown = |target: &Target, script: &str| {
        let output = psql(target, &["-X"], script);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let on_x = f.proxy.target("x");
    for script in ["\\dT", "\\dT+ mood", "\\d days", "\\d+ days", "\\dT public.*"] {
        assert_eq!(shown(&on_x, script), shown(&plain.target, script), "{script}");
    }
    // By the oid that a result has, drivers find it.
    let reply = x.simple("SELECT m FROM days");
    let oid = reply.0.iter().find_map(|m| match m {
        Message::RowDescription(columns) => Some(columns[0].type_oid),
        _ => None,
    });
    let oid = oid.unwrap();
    assert_eq!(
        x.one(&format!("SELECT n.nspname || '.' || t.typname FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace WHERE t.oid = {oid}")),
        "public.mood"
    );
    // Main has none of it.
    let mut main = f.main();
    assert_eq!(
        main.lines("SELECT typname FROM pg_type WHERE typname IN ('mood', '_mood')"),
        Vec::<String>::new()
    );
    assert_eq!(main.lines("SELECT to_regtype('mood') IS NULL"), ["t"]);
}

/// A definition is a part of the client's transaction.
#[test]
fn types_are_made_and_dropped_in_transactions() {
    need_postgres!();
    let f = Fixture::registered(BASE);
    let (mut x, mut other, mut direct) = (f.branch("x"), f.on("x"), f.direct());
    x.exec("BEGIN");
    x.exec("CREATE TYPE mood AS ENUM ('sad', 'ok')");
    x.exec("CREATE TABLE days (id int PRIMARY KEY, m mood)");
    x.exec("INSERT INTO days VALUES (1, 'ok'::mood)");
    x.exec("ALTER TABLE users ADD m mood DEFAULT 'sad'");
    x.exec("SAVEPOINT s");
    x.exec("CREATE TYPE kind AS ENUM ('a')");
    assert_eq!(x.one("SELECT 'a'::kind"), "a");
    x.exec("CREATE TABLE k (id int PRIMARY KEY, k kind)");
    x.exec("ROLLBACK TO s");
    assert_eq!(x.lines("SELECT id, m FROM users WHERE m = 'sad'::mood ORDER BY 1"), ["1|sad", "2|sad"]);
    fails(&mut other, "SELECT 'ok'::mood", "42704", "type \"mood\" does not exist");
    x.exec("COMMIT");
    assert_eq!(other.one("SELECT m FROM days WHERE m = 'ok'::mood"), "ok");
    fails(&mut x, "SELECT 'a'::kind", "42704", "type \"kind\" does not exist");
    assert_eq!(status(&mut x), ["days|added", "mood|added", "users|altered"]);

    // Nothing of it stays.
    x.exec("BEGIN");
    x.exec("CREATE TYPE kind AS ENUM ('a')");
    x.exec("CREATE TABLE k (id int PRIMARY KEY, k kind)");
    x.exec("ROLLBACK");
    assert_eq!(direct.one("SELECT count(*) FROM pg_type WHERE typname IN ('kind', 'k')"), "0");
    // Nor after an error.
    x.exec("BEGIN");
    x.exec("CREATE TYPE kind AS ENUM ('a')");
    assert_eq!(x.err("SELECT 'b'::kind").message(), "invalid input value for enum kind: \"b\"");
    assert_eq!(x.err("SELECT 'a'::kind").code(), "25P02");
    x.exec("ROLLBACK");
    fails(&mut x, "SELECT 'a'::kind", "42704", "type \"kind\" does not exist");

    // Dropped and made anew in one transaction.
    x.exec("BEGIN");
    let error = x.err("DROP TYPE mood");
    assert_eq!(
        (error.code(), error.detail()),
        (
            "2BP01",
            "column m of table days depends on type mood\ncolumn m of table users depends on type mood"
        )
    );
    x.exec("ROLLBACK");
    x.exec("BEGIN; ALTER TABLE days DROP m; ALTER TABLE users DROP m; DROP TYPE mood; CREATE TYPE mood AS ENUM ('sad', 'ok', 'more')");
    x.exec("ALTER TABLE days ADD m mood DEFAULT 'more'");
    x.exec("COMMIT");
    assert_eq!(other.lines("SELECT * FROM days"), ["1|more"]);
    // In one string, and with autocommit after it.
    x.exec("CREATE TYPE side AS ENUM ('left', 'right'); CREATE TABLE walls (id int PRIMARY KEY, s side); INSERT INTO walls VALUES (1, 'left'::side)");
    assert_eq!(other.one("SELECT s FROM walls"), "left");
    // What another session made, a block doesn't make again.
    x.exec("BEGIN");
    x.exec("CREATE TYPE e AS ENUM ('e')");
    other.send(&[conn::query("CREATE TYPE e AS ENUM ('e')")]);
    x.exec("COMMIT");
    let reply = other.reply();
    assert_eq!(reply.error().map(|e| e.message().to_owned()).as_deref(), Some("type \"e\" already exists"));
}

/// Types that two branches made alike are one.
#[test]
fn types_made_alike_on_two_branches_are_one() {
    need_postgres!();
    let f = Fixture::registered(BASE);
    let (mut a, mut b, mut direct, mut main) = (f.branch("a"), f.branch("b"), f.direct(), f.main());
    a.exec("CREATE TYPE mood AS ENUM ('sad', 'ok')");
    a.exec("CREATE TABLE days (id int PRIMARY KEY, m mood)");
    a.exec("INSERT INTO days VALUES (1, 'ok')");
    b.exec("BEGIN; CREATE TYPE mood AS ENUM ('sad', 'ok'); CREATE TABLE nights (id int PRIMARY KEY, m mood DEFAULT 'sad'::mood); INSERT INTO nights VALUES (1); COMMIT");
    b.exec("ALTER TABLE users ADD m mood");
    assert_eq!(direct.one("SELECT count(*) FROM pg_type WHERE typname = 'mood'"), "1");
    commit(&mut a, "a");
    commit(&mut b, "b");
    // One of them doesn't take it away from the other.
    assert_eq!(a.call("epoch_merge('b')", "fast_forward, conflicts"), ["f|0"]);
    assert_eq!(a.lines("SELECT d.m = 'ok'::mood, n.m < d.m FROM days d, nights n"), ["t|t"]);
    assert_eq!(main.call("epoch_merge('b')", "conflicts"), ["0"]);
    assert_eq!(direct.lines("SELECT * FROM nights"), ["1|sad"]);
    assert_eq!(main.call("epoch_merge('a')", "conflicts"), ["0"]);
    assert_eq!(direct.lines("SELECT d.m = 'ok'::mood, n.m < d.m FROM days d, nights n"), ["t|t"]);
    // Made after main has it, on a branch that began before.
    assert_eq!(types(&mut direct), ["mood|sad,ok", "size|small,large"]);
}

/// What doesn't fit is a schema conflict that waits, or PostgreSQL's error, and nothing is done.
#[test]
fn types_that_do_not_fit_are_named() {
    need_postgres!();
    let f = Fixture::registered(BASE);
    let (mut direct, mut main) = (f.direct(), f.main());
    let conflict = |conn: &mut Conn, merge: &str| {
        let message = conn.call(merge, "message").concat();
        conn.exec("SELECT * FROM epoch_merge('--abort')");
        let what = message.strip_prefix("1 conflicts (").and_then(|m| m.split_once("): nothing"));
        what.unwrap_or_else(|| panic!("{message}")).0.to_owned()
    };
    // Other values.
    let (mut a, mut b) = (f.branch("a"), f.branch("b"));
    a.exec("CREATE TYPE mood AS ENUM ('sad', 'ok')");
    b.exec("CREATE TYPE mood AS ENUM ('ok', 'sad')");
    b.exec("CREATE TABLE nights (id int PRIMARY KEY, m mood)");
    commit(&mut a, "a");
    commit(&mut b, "b");
    assert_eq!(conflict(&mut a, "epoch_merge('b')"), "type \"mood\": made differently on both sides");
    // Dropped here, used there.
    a.exec("SELECT * FROM epoch_branch('c')");
    let mut c = f.on("c");
    c.exec("CREATE TABLE days (id int PRIMARY KEY, m mood)");
    commit(&mut c, "c");
    a.exec("DROP TYPE mood");
    commit(&mut a, "dropped");
    assert_eq!(
        conflict(&mut a, "epoch_merge('c')"),
        "type \"mood\": table \"days\" uses one that would not be there"
    );
    assert_eq!(
        conflict(&mut c, "epoch_merge('a')"),
        "type \"mood\": table \"days\" uses one that would not be there"
    );
    // A table on the other side.
    let mut d = f.branch("d");
    d.exec("CREATE TABLE mood (id int PRIMARY KEY)");
    commit(&mut d, "d");
    assert_eq!(conflict(&mut d, "epoch_merge('b')"), "type \"mood\": a table or view on one side");
    // Dropped on both sides, or only on one.
    a.exec("SELECT * FROM epoch_branch('e')");
    assert_eq!(a.call("epoch_merge('e')", "conflicts"), ["0"]);

    // Main has got one of the name meanwhile.
    direct.exec("CREATE TYPE mood AS ENUM ('red', 'green')");
    assert_eq!(b.lines("SELECT enum_range(NULL::mood)"), ["{ok,sad}"]);
    assert_eq!(b.one("SELECT array_length(enum_range(NULL::public.mood), 1)"), "2");
    let error = main.err("SELECT * FROM epoch_merge('b')");
    assert_eq!(
        (error.code(), error.message(), error.detail()),
        ("42710", "type \"mood\" cannot be created on main", "type \"mood\" already exists")
    );
    assert_eq!(direct.lines("SELECT enum_range(NULL::mood)"), ["{red,green}"]);
    assert_eq!(b.exec("INSERT INTO nights VALUES (1, 'ok'::mood)").tags(), ["INSERT 0 1"]);
    direct.exec("DROP TYPE mood");
    assert_eq!(main.call("epoch_merge('b')", "conflicts"), ["0"]);
    assert_eq!(types(&mut direct), ["mood|ok,sad", "size|small,large"]);
    // Main doesn't lose it by a merge.
    let mut w = f.branch("w");
    fails(
        &mut w,
        "DROP TYPE mood",
        "0A000",
        "DROP TYPE of a type that main has, on a branch is not supported",
    );
    fails(
        &mut b,
        "DROP TYPE mood",
        "0A000",
        "DROP TYPE of a type that main has, on a branch is not supported",
    );
}

/// Commits, resets, reverts, branches of branches, and what garbage collection leaves.
#[test]
fn history_goes_on_with_its_types() {
    need_postgres!();
    let f = Fixture::registered(BASE);
    let (mut x, mut direct) = (f.branch("x"), f.direct());
    let empty = commit(&mut x, "empty");
    x.exec("CREATE TYPE mood AS ENUM ('sad', 'ok')");
    x.exec("CREATE TABLE days (id int PRIMARY KEY, m mood)");
    x.exec("INSERT INTO days VALUES (1, 'sad'), (2, 'ok')");
    x.exec("ALTER TABLE users ADD m mood DEFAULT 'ok'");
    let made = commit(&mut x, "made");
    // A sub-branch drops it, with what uses it.
    x.exec("SELECT * FROM epoch_branch('y')");
    let mut y = f.on("y");
    let error = y.err("DROP TYPE mood");
    assert_eq!(error.code(), "2BP01");
    y.exec("ALTER TABLE days ALTER m TYPE text USING m::text");
    y.exec("ALTER TABLE users DROP m");
    y.exec("DROP TYPE mood");
    fails(&mut y, "SELECT 'sad'::mood", "42704", "type \"mood\" does not exist");
    assert_eq!(y.lines("SELECT * FROM days WHERE m = 'sad'"), ["1|sad"]);
    let dropped = commit(&mut y, "dropped");
    y.exec("CREATE TYPE mood AS ENUM ('up', 'down')");
    y.exec("ALTER TABLE users ADD mood mood DEFAULT 'down'");
    let again = commit(&mut y, "again");
    assert_eq!(y.lines("SELECT mood FROM users WHERE mood = 'down'::mood"), ["down", "down"]);
    for (reference, text) in
        [(&made, Some("{sad,ok}")), (&dropped, None), (&again, Some("{up,down}")), (&empty, None)]
    {
        let mut at = f.on(reference);
        match text {
            Some(text) => assert_eq!(at.one("SELECT enum_range(NULL::mood)"), text),
            None => fails(&mut at, "SELECT enum_range(NULL::mood)", "42704", "type \"mood\" does not exist"),
        }
    }
    assert_eq!(
        f.on(&made).lines("SELECT * FROM users WHERE m = 'ok'::mood ORDER BY 1"),
        ["1|ann|ok", "2|bob|ok"]
    );
    assert_eq!(
        x.lines(&format!(
            "SELECT table_name, diff_type FROM epoch_diff_summary('{made}', '{dropped}') ORDER BY 1"
        )),
        ["days|modified", "mood|removed", "users|modified"]
    );
    let statements = |conn: &mut Conn, from: &str, to: &str| {
        conn.lines(&format!(
            "SELECT table_name, to_create_statement, alter_statements FROM epoch_schema_diff('{from}', '{to}') ORDER BY 1"
        ))
    };
    let shown = statements(&mut x, &empty, &made);
    assert!(
        shown.iter().any(|line| line.contains("CREATE TYPE \"public\".\"mood\" AS ENUM ('sad', 'ok');")),
        "{shown:?}"
    );
    assert!(!shown.iter().any(|line| line.contains("epoch_b")), "{shown:?}");
    let shown = statements(&mut x, &dropped, &again);
    assert!(shown.iter().any(|line| line.contains("mood|") || line.contains("'up', 'down'")), "{shown:?}");

    // Back and forth.
    y.exec(&format!("SELECT * FROM epoch_reset('--hard', '{made}')"));
    assert_eq!(y.lines("SELECT id, m FROM days WHERE m = 'ok'::mood"), ["2|ok"]);
    y.exec(&format!("SELECT * FROM epoch_reset('--hard', '{again}')"));
    assert_eq!(y.lines("SELECT enum_range(NULL::mood)"), ["{up,down}"]);
    y.exec(&format!("SELECT * FROM epoch_reset('--hard', '{empty}')"));
    fails(&mut y, "SELECT 'sad'::mood", "42704", "type \"mood\" does not exist");
    // What is uncommitted goes.
    x.exec("CREATE TYPE other AS ENUM ('a')");
    x.exec("SELECT * FROM epoch_reset('--hard')");
    fails(&mut x, "SELECT 'a'::other", "42704", "type \"other\" does not exist");
    assert_eq!(direct.one("SELECT count(*) FROM pg_type WHERE typname = 'other'"), "0");
    // A version of a table isn't reverted, and so its type isn't.
    assert_eq!(x.call("epoch_revert('HEAD')", "data_conflicts, schema_conflicts"), ["0|1"]);
    assert_eq!(x.lines("SELECT table_name FROM epoch.conflicts"), ["users"]);
    x.exec("SELECT * FROM epoch_revert('--abort')");
    x.exec("CREATE TYPE kind AS ENUM ('a')");
    x.exec("CREATE TABLE kinds (id int PRIMARY KEY, k kind)");
    commit(&mut x, "kinds");
    x.exec("SELECT * FROM epoch_revert('HEAD')");
    fails(&mut x, "SELECT 'a'::kind", "42704", "type \"kind\" does not exist");
    x.exec("SELECT * FROM epoch_revert('HEAD')");
    assert_eq!(x.lines("SELECT 'a'::kind FROM (SELECT count(*) FROM kinds) k"), ["a"]);
    // Nothing reaches it any more.
    assert_ne!(places(&mut direct), Vec::<String>::new());
}

/// Deleted branches leave no types, once they are collected.
#[test]
fn garbage_collection_takes_types() {
    need_postgres!();
    let db = common::Database::create();
    db.connect().exec(BASE);
    let extra = "[retention]\n\"*\" = \"none\"\n".to_owned();
    let proxy = Proxy::start(ProxyConfig { extra, ..ProxyConfig::postgres(&db.url()) });
    let f = Fixture { proxy, db };
    let (mut main, mut direct) = (f.main(), f.direct());
    main.exec("SELECT * FROM epoch_register('public.*')");
    let mut x = f.branch("x");
    x.exec("CREATE TYPE mood AS ENUM ('sad', 'ok')");
    x.exec("CREATE TABLE days (id int PRIMARY KEY, m mood)");
    commit(&mut x, "made");
    // What is dropped and committed is in the history still.
    x.exec("DROP TABLE days");
    x.exec("DROP TYPE mood");
    commit(&mut x, "dropped");
    let count = "SELECT count(*) FROM pg_type WHERE typname IN ('mood', '_mood')";
    assert_eq!(direct.one(count), "2");
    drop(x);
    main.exec("SELECT * FROM epoch_branch('-D', 'x')");
    assert_eq!(direct.one(count), "2");
    main.exec("SELECT * FROM epoch_gc()");
    assert_eq!(direct.one(count), "0");
    assert_eq!(places(&mut direct), Vec::<String>::new());
    // Uncommitted ones go with their last user.
    let mut y = f.branch("y");
    y.exec("CREATE TYPE kind AS ENUM ('a', 'b')");
    y.exec("CREATE TABLE k (id int PRIMARY KEY, k kind)");
    y.exec("CREATE TEMP TABLE t (k kind)");
    y.exec("INSERT INTO t VALUES ('a'::kind)");
    y.exec("ALTER TABLE k ALTER k TYPE text USING k::text");
    // A client's temporary table keeps it in the server, not on the branch.
    y.exec("DROP TYPE kind");
    fails(&mut y, "SELECT 'a'::kind", "42704", "type \"kind\" does not exist");
    assert_eq!(y.lines("SELECT k FROM t"), ["a"]);
    assert_eq!(direct.one("SELECT count(*) FROM pg_type WHERE typname = 'kind'"), "1");
    y.exec("DROP TABLE t");
    y.exec("DROP TABLE k");
    assert_eq!(direct.one("SELECT count(*) FROM pg_type WHERE typname = 'kind'"), "0");
}

/// Views, temporary tables, COPY, CREATE TABLE AS and cursors with a type of the branch.
#[test]
fn everything_else_that_has_columns_may_have_the_type() {
    need_postgres!();
    let f = Fixture::registered(BASE);
    let (mut x, mut main, mut direct) = (f.branch("x"), f.main(), f.direct());
    x.exec("CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy')");
    x.exec("CREATE TABLE days (id int PRIMARY KEY, m mood)");
    x.exec("INSERT INTO days SELECT g, (ARRAY['sad', 'ok', 'happy']::mood[])[1 + g % 3] FROM generate_series(1, 6) g");
    x.exec("CREATE VIEW good AS SELECT id, m, 'ok'::mood AS least FROM days WHERE m >= 'ok'::mood");
    assert_eq!(x.lines("SELECT * FROM good WHERE m = 'ok'::mood ORDER BY 1"), ["1|ok|ok", "4|ok|ok"]);
    x.exec("UPDATE good SET m = 'happy'::mood WHERE id = 1");
    assert_eq!(x.one("SELECT m FROM days WHERE id = 1"), "happy");
    x.exec("CREATE OR REPLACE VIEW good AS SELECT id, m, 'happy'::mood AS least, m::text AS t FROM days WHERE m >= 'ok'::mood");
    assert_eq!(x.lines("SELECT * FROM good WHERE id = 4"), ["4|ok|happy|ok"]);
    let error = x.err("DROP TYPE mood");
    assert!(error.detail().contains("of view good depends on type mood"), "{}", error.detail());
    x.exec("CREATE VIEW checked AS SELECT * FROM days WHERE m > 'sad'::mood WITH CHECK OPTION");
    assert_eq!(x.err("INSERT INTO checked VALUES (10, 'ok')").code(), "0A000");
    assert_eq!(x.one("SELECT count(*) FROM checked"), "4");
    x.exec("DROP VIEW checked");
    // Temporary tables.
    x.exec("CREATE TEMP TABLE t (id int, m mood DEFAULT 'ok'::mood)");
    x.exec("INSERT INTO t VALUES (1, DEFAULT), (2, 'sad')");
    x.exec("ALTER TABLE t ADD COLUMN n mood");
    assert_eq!(
        x.lines("SELECT t.id, d.id FROM t JOIN days d USING (m) WHERE t.m = 'sad'::mood ORDER BY 2"),
        ["2|3", "2|6"]
    );
    x.exec("CREATE TEMP TABLE u AS SELECT m, 'sad'::mood AS s FROM days");
    assert_eq!(x.one("SELECT count(*) FROM u WHERE m > s"), "4");
    // CREATE TABLE AS.
    x.exec("CREATE TABLE copied AS SELECT id, m, 'ok'::mood AS o FROM days WHERE m <> 'sad'::mood");
    assert_eq!(
        x.lines("SELECT id, m, o FROM copied ORDER BY 1"),
        ["1|happy|ok", "2|happy|ok", "4|ok|ok", "5|happy|ok"]
    );
    // COPY, text and binary.
    x.copy_in("COPY days FROM STDIN", &[b"7\tsad\n"]);
    let reply = x.simple("COPY (SELECT id, m FROM days ORDER BY id) TO STDOUT (FORMAT binary)");
    assert!(reply.error().is_none(), "{:?}", reply.error());
    let bytes = reply.copy_data();
    x.exec("CREATE TABLE back (id int PRIMARY KEY, m mood)");
    x.copy_in("COPY back FROM STDIN (FORMAT binary)", &[&bytes]);
    assert_eq!(
        x.lines("SELECT m, count(*) FROM back GROUP BY m ORDER BY m"),
        x.lines("SELECT m, count(*) FROM days GROUP BY m ORDER BY m")
    );
    x.exec("BEGIN; DECLARE c CURSOR FOR SELECT id FROM days WHERE m = 'sad'::mood ORDER BY id");
    assert_eq!(x.lines("FETCH ALL FROM c"), ["3", "6", "7"]);
    x.exec("COMMIT");
    // With constants that the server keeps plans for, several times.
    for _ in 0..4 {
        assert_eq!(x.lines("SELECT id FROM days WHERE id = 3 AND m = 'sad'::mood"), ["3"]);
        assert_eq!(x.lines("SELECT id FROM days WHERE m = 'happy' AND id < 2"), ["1"]);
    }
    assert_eq!(x.exec("UPDATE days SET m = 'ok'::mood WHERE id IN (SELECT id FROM days WHERE m = 'sad'::mood) RETURNING id").tags(), ["UPDATE 3"]);
    assert_eq!(x.exec("INSERT INTO days VALUES (3, 'sad') ON CONFLICT (id) DO UPDATE SET m = excluded.m WHERE excluded.m < 'ok'::mood").tags(), ["INSERT 0 1"]);
    assert_eq!(x.exec("DELETE FROM days WHERE m = ANY ('{sad}'::mood[])").tags(), ["DELETE 1"]);
    // PostgreSQL 14 has no MERGE.
    if direct.one("SELECT current_setting('server_version_num')::int >= 150000") == "t" {
        x.exec("MERGE INTO days d USING (VALUES (1, 'sad'::mood)) v (id, m) ON v.id = d.id WHEN MATCHED AND d.m > 'sad'::mood THEN UPDATE SET m = v.m");
        assert_eq!(x.one("SELECT m FROM days WHERE id = 1"), "sad");
    }
    commit(&mut x, "all");
    assert_eq!(main.call("epoch_merge('x')", "conflicts"), ["0"]);
    assert_eq!(direct.lines("SELECT * FROM good WHERE id = 4"), ["4|ok|happy|ok"]);
    let query = direct.one("SELECT pg_get_viewdef('good')");
    assert!(query.contains("'happy'::mood AS \"least\""), "{query}");
    assert_eq!(
        direct.lines("SELECT m, count(*) FROM days GROUP BY m ORDER BY m"),
        x.lines("SELECT m, count(*) FROM days GROUP BY m ORDER BY m")
    );
    x.exec("INSERT INTO good (id, m) VALUES (20, 'ok'::mood)");
    commit(&mut x, "more");
    assert_eq!(main.call("epoch_merge('x')", "conflicts"), ["0"]);
    assert_eq!(direct.one("SELECT m FROM days WHERE id = 20"), "ok");
}

/// Both sides alter and write tables with the type.
#[test]
fn rows_and_columns_with_the_type_are_merged() {
    need_postgres!();
    let f = Fixture::registered(BASE);
    let (mut x, mut main, mut direct) = (f.branch("x"), f.main(), f.direct());
    x.exec("CREATE TYPE mood AS ENUM ('sad', 'ok')");
    x.exec("ALTER TABLE users ADD m mood NOT NULL DEFAULT 'ok'");
    commit(&mut x, "x");
    x.exec("SELECT * FROM epoch_branch('y')");
    let mut y = f.on("y");
    y.exec("ALTER TABLE users ADD l mood[]");
    y.exec("UPDATE users SET l = '{sad}'");
    y.exec("UPDATE users SET m = 'sad' WHERE id = 2");
    commit(&mut y, "y");
    x.exec("ALTER TABLE users ADD CHECK (m >= 'sad'::mood), ADD n mood DEFAULT 'sad'::mood");
    x.exec("INSERT INTO users VALUES (3, 'eve', 'sad')");
    commit(&mut x, "x2");
    direct.exec("INSERT INTO users VALUES (4, 'zoe')");
    main.exec("SELECT epoch_commit('main')");
    let merged = x.call("epoch_merge('y')", "conflicts");
    assert_eq!(merged, ["0"], "{:?}", x.lines("SELECT * FROM epoch_conflicts('users')"));
    assert_eq!(
        x.lines("SELECT id, m, n, l FROM users ORDER BY 1"),
        ["1|ok|sad|{sad}", "2|sad|sad|{sad}", "3|sad|sad|"]
    );
    assert_eq!(main.call("epoch_merge('x')", "conflicts"), ["0"]);
    assert_eq!(
        direct.lines("SELECT id, m, n, l FROM users ORDER BY 1"),
        ["1|ok|sad|{sad}", "2|sad|sad|{sad}", "3|sad|sad|", "4|ok|sad|"]
    );
    // A conflict of cells, and its resolution.
    let mut a = f.branch("a");
    a.exec("UPDATE users SET m = 'sad'::mood WHERE id = 1");
    commit(&mut a, "a");
    direct.exec("UPDATE users SET m = 'ok', n = 'ok' WHERE id = 1; UPDATE users SET n = 'ok' WHERE id = 2");
    main.exec("SELECT epoch_commit('main 2')");
    assert_eq!(main.call("epoch_merge('a')", "conflicts"), ["0"]);
    assert_eq!(direct.lines("SELECT m, n FROM users WHERE id < 3 ORDER BY id"), ["sad|ok", "sad|ok"]);
    assert_eq!(main.lines("SELECT from_m, to_m FROM epoch_diff('HEAD~1', 'HEAD', 'users')"), ["ok|sad"]);
    // The older version still reads.
    let mut old = f.on("main~4");
    let _ = old.simple("SELECT * FROM users");
}

/// What says where main's rows of a version are, and our triggers, name the type: it has another name once it is main's.
#[test]
fn a_version_made_before_its_type_came_to_main_goes_on() {
    need_postgres!();
    let f = Fixture::registered(
        "CREATE TABLE users (id int PRIMARY KEY, name text); INSERT INTO users VALUES (1, 'ann'), (2, 'bob'); \
         CREATE TABLE posts (id int PRIMARY KEY, author int REFERENCES users); INSERT INTO posts VALUES (10, 1), (11, 2)",
    );
    let (mut x, mut main, mut direct) = (f.branch("x"), f.main(), f.direct());
    x.exec("CREATE TYPE mood AS ENUM ('sad', 'ok')");
    commit(&mut x, "type");
    x.exec("SELECT * FROM epoch_branch('y')");
    let mut y = f.on("y");
    y.exec("ALTER TABLE users ADD m mood NOT NULL DEFAULT 'ok'");
    y.exec("ALTER TABLE posts ADD m mood");
    y.exec("UPDATE users SET m = 'sad' WHERE id = 1");
    commit(&mut y, "y");
    y.exec("CREATE TABLE t (id int PRIMARY KEY, m mood DEFAULT 'ok'::mood)");
    y.exec("INSERT INTO t VALUES (1)");
    assert_eq!(main.call("epoch_merge('x')", "conflicts"), ["0"]);
    direct.exec("INSERT INTO users VALUES (3, 'eve'); UPDATE users SET name = 'BOB' WHERE id = 2; DELETE FROM posts WHERE id = 11");
    main.exec("SELECT epoch_commit('main')");
    assert_eq!(
        y.lines("SELECT u.*, p.id, p.m FROM users u JOIN posts p ON author = u.id ORDER BY 1"),
        ["1|ann|sad|10|", "2|bob|ok|11|"]
    );
    assert_eq!(y.err("INSERT INTO posts VALUES (12, 3, 'ok'::mood)").code(), "23503");
    assert_eq!(y.err("DELETE FROM users WHERE id = 1").code(), "23503");
    y.exec("INSERT INTO users VALUES (9, 'nine', 'sad'::mood)");
    y.exec("INSERT INTO posts VALUES (12, 9, 'ok'::mood)");
    y.exec("INSERT INTO t VALUES (2, 'sad')");
    commit(&mut y, "y2");
    assert_eq!(
        y.lines("SELECT diff_type, to_id, from_m, to_m FROM epoch_diff('x', 'y', 'users') ORDER BY to_id"),
        ["modified|1|ok|sad", "added|9||sad"]
    );
    assert_eq!(main.call("epoch_merge('y')", "conflicts"), ["0"]);
    assert_eq!(
        direct.lines("SELECT * FROM users ORDER BY 1"),
        ["1|ann|sad", "2|BOB|ok", "3|eve|ok", "9|nine|sad"]
    );
    assert_eq!(direct.lines("SELECT * FROM posts ORDER BY 1"), ["10|1|", "12|9|ok"]);
    assert_eq!(direct.lines("SELECT * FROM t ORDER BY m"), ["2|sad", "1|ok"]);
    assert_eq!(main.lines("SELECT * FROM epoch.status"), Vec::<String>::new());
    // Back to before the type, and another one of its name.
    x.exec("CREATE TABLE other (id int PRIMARY KEY)");
    commit(&mut x, "other");
    x.exec("SELECT * FROM epoch_reset('--hard', 'x~2')");
    fails(&mut x, "SELECT 'ok'::mood", "42704", "type \"mood\" does not exist");
    assert_eq!(x.lines("SELECT to_regtype('mood') IS NULL"), ["t"]);
    x.exec("CREATE TYPE mood AS ENUM ('other')");
    assert_eq!(x.lines("SELECT enum_range(NULL::mood), 'mood'::regtype::text"), ["{other}|mood"]);
    assert_eq!(
        x.lines("SELECT nspname, typname FROM pg_type t JOIN pg_namespace n ON n.oid = typnamespace WHERE typname LIKE '%mood' ORDER BY 2"),
        ["public|_mood", "public|mood"]
    );
    commit(&mut x, "another");
    let waits = main.call("epoch_merge('x')", "message").concat();
    assert!(waits.contains("1 conflicts (type \"mood\": made differently on both sides)"), "{waits}");
    // Main's own stays: a merge makes types there, it drops none.
    main.exec("SELECT * FROM epoch_conflicts_resolve('theirs', 'mood')");
    let error = main.err("SELECT * FROM epoch_merge('--continue')");
    assert_eq!(
        (error.code(), error.message()),
        ("0A000", "a merge into main that drops a type is not supported")
    );
    main.exec("SELECT * FROM epoch_conflicts_resolve('ours', 'mood')");
    main.exec("SELECT * FROM epoch_merge('--continue')");
    assert_eq!(main.one("SELECT enum_range(NULL::mood)::text <> '{other}'"), "t");
}

/// A kill between the backend and the metadata store, at each step.
#[test]
fn a_crash_between_two_steps_is_made_good() {
    need_postgres!();
    let mut f = Fixture::registered(BASE);
    let mut direct = f.direct();
    drop(f.branch("x"));
    f.dies("table-defined", "x", "CREATE TYPE mood AS ENUM ('sad', 'ok')");
    let mut x = f.on("x");
    x.exec("CREATE TYPE mood AS ENUM ('sad', 'ok')");
    assert_eq!(direct.one("SELECT count(*) FROM pg_type WHERE typname = 'mood'"), "1");
    drop(x);
    f.proxy.restart(&[("EPOCH_FAILPOINT", "block-committed")]);
    let mut x = f.on("x");
    x.exec("BEGIN; CREATE TYPE kind AS ENUM ('a'); CREATE TABLE k (id int PRIMARY KEY, k kind); INSERT INTO k VALUES (1, 'a'::kind)");
    x.send(&[conn::query("COMMIT")]);
    assert!(x.try_reply().is_err());
    f.proxy.await_end(std::time::Duration::from_secs(20));
    f.proxy.restart(&[]);
    let mut x = f.on("x");
    assert_eq!(x.lines("SELECT k FROM k WHERE k = 'a'::kind"), ["a"]);
    x.exec("ALTER TABLE users ADD m mood DEFAULT 'ok'");
    commit(&mut x, "made");
    drop(x);
    f.dies("all-sealed", "main", "SELECT * FROM epoch_merge('x')");
    let mut main = f.main();
    assert_eq!(types(&mut direct), ["kind|a", "mood|sad,ok", "size|small,large"]);
    assert_eq!(main.lines("SELECT m FROM users WHERE m = 'ok'::mood"), ["ok", "ok"]);
    main.exec("UPDATE users SET m = 'sad' WHERE id = 1");
    main.exec("SELECT epoch_commit('after')");
    let mut x = f.on("x");
    assert_eq!(x.lines("SELECT m FROM users WHERE m = 'ok'::mood"), ["ok", "ok"]);
    assert_eq!(x.lines("SELECT k FROM k WHERE k = 'a'::kind"), ["a"]);
    x.exec("UPDATE users SET name = 'zoe' WHERE id = 2");
    commit(&mut x, "x");
    assert_eq!(main.call("epoch_merge('x')", "conflicts"), ["0"]);
    assert_eq!(direct.lines("SELECT name, m FROM users ORDER BY id"), ["ann|sad", "zoe|ok"]);
}

/// A database that was made from a dump goes on with the types of its branches.
#[test]
fn a_dump_has_the_types_of_branches() {
    need_postgres!();
    let mut f = Fixture::registered(BASE);
    let mut x = f.branch("x");
    x.exec("CREATE TYPE mood AS ENUM ('sad', 'ok')");
    x.exec("CREATE TABLE days (id int PRIMARY KEY, m mood DEFAULT 'ok'::mood)");
    x.exec("INSERT INTO days VALUES (1, 'sad')");
    x.exec("ALTER TABLE users ADD m mood DEFAULT 'ok'");
    commit(&mut x, "made");
    drop(x);
    let copy = common::Database::create();
    let dump = Command::new(tool("pg_dump")).arg("-d").arg(f.db.target.conninfo()).output().unwrap();
    assert!(dump.status.success(), "{}", String::from_utf8_lossy(&dump.stderr));
    let read = psql(&copy.target, &["-q", "-v", "ON_ERROR_STOP=1"], &String::from_utf8_lossy(&dump.stdout));
    assert!(read.status.success(), "{}", String::from_utf8_lossy(&read.stderr));
    f.proxy.restart(&[("EPOCH_STORAGE_POSTGRES_MAIN_URL", &copy.url())]);
    let mut x = f.on("x");
    x.exec("INSERT INTO days VALUES (2)");
    assert_eq!(x.lines("SELECT id FROM days WHERE m = 'ok'::mood"), ["2"]);
    assert_eq!(x.lines("SELECT id, m FROM users WHERE m = 'ok'::mood ORDER BY 1"), ["1|ok", "2|ok"]);
    commit(&mut x, "after");
    assert_eq!(f.main().call("epoch_merge('x')", "conflicts"), ["0"]);
    assert_eq!(
        copy.connect().lines("SELECT d.m, u.m FROM days d JOIN users u USING (id)"),
        ["sad|ok", "ok|ok"]
    );
}

/// What was prepared before the type came to main, was dropped, or was made anew.
#[test]
fn prepared_statements_follow_their_types() {
    need_postgres!();
    let f = Fixture::registered(BASE);
    let (mut x, mut other, mut main) = (f.branch("x"), f.on("x"), f.main());
    x.exec("CREATE TYPE mood AS ENUM ('sad', 'ok')");
    x.exec("CREATE TABLE days (id int PRIMARY KEY, m mood)");
    x.exec("INSERT INTO days VALUES (1, 'sad'), (2, 'ok')");
    let prepare = |conn: &mut Conn| {
        conn.send(&[conn::parse("s", "SELECT id FROM days WHERE m = $1::mood", &[]), conn::sync()]);
        assert!(conn.reply().error().is_none());
    };
    let run = |conn: &mut Conn, value: &str| {
        conn.send(&[conn::bind("", "s", &[Some(value)], false), conn::execute("", 0), conn::sync()]);
        conn.reply()
    };
    prepare(&mut x);
    prepare(&mut other);
    assert_eq!(run(&mut x, "ok").tags(), ["SELECT 1"]);
    commit(&mut x, "made");
    main.exec("SELECT * FROM epoch_merge('x')");
    assert_eq!(run(&mut x, "ok").tags(), ["SELECT 1"]);
    assert_eq!(run(&mut other, "sad").tags(), ["SELECT 1"]);
    let error = run(&mut other, "bad").error().map(|e| e.message().to_owned());
    assert_eq!(error.as_deref(), Some("invalid input value for enum mood: \"bad\""));
}

/// A schema that isn't `public`, and names that need quotes.
#[test]
fn types_of_other_schemas_and_with_odd_names() {
    need_postgres!();
    let f = Fixture::registered(
        "CREATE SCHEMA \"Odd one\"; CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'it''s')",
    );
    let (mut x, mut main, mut direct) = (f.branch("x"), f.main(), f.direct());
    x.exec("CREATE TYPE \"Odd one\".\"Mo\"\"od\" AS ENUM ('it''s', 'two words', '')");
    fails(&mut x, "SELECT ''::\"Mo\"\"od\"", "42704", "type \"Mo\"od\" does not exist");
    x.exec("ALTER TABLE t ADD m \"Odd one\".\"Mo\"\"od\" DEFAULT 'two words'");
    x.exec("ALTER TABLE t ADD l \"Odd one\".\"Mo\"\"od\"[]");
    assert_eq!(x.one("SELECT m FROM t WHERE m = 'two words'::\"Odd one\".\"Mo\"\"od\""), "two words");
    fails(
        &mut x,
        "SELECT 'x'::\"Odd one\".\"Mo\"\"od\"",
        "22P02",
        "invalid input value for enum \"Odd one\".\"Mo\"\"od\": \"x\"",
    );
    x.exec("SET search_path = public, \"Odd one\"");
    assert_eq!(x.one("SELECT 'it''s'::\"Mo\"\"od\" < ''::\"Mo\"\"od\""), "t");
    assert_eq!(x.lines("SELECT pg_typeof(m), pg_typeof(l) FROM t"), ["\"Mo\"\"od\"|\"Mo\"\"od\"[]"]);
    fails(&mut x, "SELECT 'x'::\"Mo\"\"od\"", "22P02", "invalid input value for enum \"Mo\"\"od\": \"x\"");
    x.exec("CREATE TYPE \"user\" AS ENUM ('a', 'b')");
    x.exec("CREATE TABLE public.q (id int PRIMARY KEY, u \"user\" DEFAULT 'b')");
    x.exec("INSERT INTO q VALUES (1, 'a'::public.\"user\"), (2, DEFAULT)");
    commit(&mut x, "odd");
    assert_eq!(main.call("epoch_merge('x')", "conflicts"), ["0"]);
    assert_eq!(
        direct.lines("SELECT m FROM t WHERE m = 'two words'::\"Odd one\".\"Mo\"\"od\""),
        ["two words"]
    );
    assert_eq!(direct.lines("SELECT u FROM q ORDER BY 1"), ["a", "b"]);
    main.exec("UPDATE t SET m = '' WHERE id = 1");
    main.exec("SELECT epoch_commit('after')");
    assert_eq!(x.one("SELECT m FROM t"), "two words");
    x.exec("UPDATE t SET l = '{it''s,\"\"}' WHERE id = 1");
    commit(&mut x, "after");
    assert_eq!(main.call("epoch_merge('x')", "conflicts"), ["0"]);
    assert_eq!(direct.lines("SELECT m, l FROM t"), ["|{it's,\"\"}"]);
}

/// PostgreSQL gives arrays names of its own making, and takes them back when somebody wants one.
#[test]
fn a_type_gets_a_name_that_main_has_for_an_array() {
    need_postgres!();
    let f = Fixture::registered(&format!("CREATE TYPE pair AS (a int, b int); {BASE}"));
    let (mut x, mut main, mut direct) = (f.branch("x"), f.main(), f.direct());
    assert_eq!(x.exec("CREATE TYPE _pair AS ENUM ('one', 'other')").tags(), ["CREATE TYPE"]);
    x.exec("ALTER TABLE users ADD p _pair NOT NULL DEFAULT 'one'");
    assert_eq!(x.one("SELECT p FROM users WHERE id = 1"), "one");
    commit(&mut x, "x");
    assert_eq!(main.call("epoch_merge('x')", "conflicts"), ["0"]);
    assert_eq!(types(&mut direct), ["_pair|one,other", "size|small,large"]);
    assert_eq!(direct.one("SELECT p FROM users WHERE id = 1"), "one");
    assert_eq!(direct.one("SELECT ARRAY[ROW(1, 2)]::pair[]"), "{\"(1,2)\"}");
    // Not one that was made.
    fails(&mut x, "CREATE TYPE size AS ENUM ('x')", "42710", "type \"size\" already exists");
}
