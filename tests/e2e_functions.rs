//! Functions that read versioned tables: on a branch they read the branch, as on a plain copy of its rows.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use common::Fixture;
use common::conn::Conn;
use common::database::{Database, base_rows};

const SETUP: &str = r#"
    CREATE TABLE users (id int PRIMARY KEY, name text NOT NULL, org int, score int NOT NULL DEFAULT 0);
    CREATE TABLE orders (id int PRIMARY KEY, user_id int REFERENCES users, total numeric(12,2) NOT NULL);
    CREATE TABLE notes (org int, note text);
    INSERT INTO users SELECT g, 'user ' || g, g % 5, g FROM generate_series(1, 30) g;
    INSERT INTO orders SELECT g, 1 + g % 30, g * 1.5 FROM generate_series(1, 90) g;
    INSERT INTO notes SELECT g, 'note ' || g FROM generate_series(0, 3) g;
    CREATE DOMAIN small AS int CHECK (VALUE < 100000);
    CREATE FUNCTION name_of(int) RETURNS text LANGUAGE sql AS 'SELECT name FROM users WHERE id = $1';
    CREATE FUNCTION spent(who int) RETURNS numeric LANGUAGE sql STABLE AS
        'SELECT coalesce(sum(total), 0) FROM orders WHERE user_id = who -- of one
        ; ';
    CREATE FUNCTION score(id int) RETURNS int LANGUAGE sql STABLE AS 'SELECT users.score FROM users WHERE users.id = score.id';
    CREATE FUNCTION peers(org int, lowest int) RETURNS SETOF text STABLE LANGUAGE sql AS
        'SELECT u.name FROM users u WHERE u.org = $1 AND u.score >= lowest ORDER BY u.id';
    CREATE FUNCTION best(n int) RETURNS TABLE (who int, sum numeric) LANGUAGE sql STABLE AS
        'SELECT user_id, sum(total) FROM orders GROUP BY user_id ORDER BY 2 DESC, 1 LIMIT n';
    CREATE FUNCTION of_org(int) RETURNS SETOF users LANGUAGE sql STABLE AS 'SELECT * FROM users WHERE org = $1';
    CREATE FUNCTION one_user(int) RETURNS users LANGUAGE sql STABLE AS 'SELECT * FROM users WHERE id = $1';
    CREATE FUNCTION pair_of(i int, OUT n text, OUT s int) LANGUAGE sql STABLE AS 'SELECT name, score FROM users WHERE users.id = i';
    CREATE FUNCTION lone(i int, OUT s int) LANGUAGE sql STABLE AS 'SELECT score FROM users WHERE users.id = i';
    CREATE FUNCTION careful(int, int) RETURNS bigint STRICT STABLE LANGUAGE sql AS 'SELECT count(*) FROM users WHERE org = $1 OR org = $2';
    CREATE FUNCTION careful_set(int) RETURNS SETOF int STRICT STABLE LANGUAGE sql AS 'SELECT id FROM users WHERE org = coalesce($1, org)';
    CREATE FUNCTION atomic(i int) RETURNS text STABLE LANGUAGE sql BEGIN ATOMIC SELECT users.name FROM users WHERE users.id = atomic.i; END;
    CREATE FUNCTION returned(i int) RETURNS numeric STABLE LANGUAGE sql RETURN (SELECT sum(o.total) FROM orders o WHERE o.user_id = i);
    CREATE FUNCTION through(i int) RETURNS text STABLE LANGUAGE sql AS 'SELECT name_of(i) || '' spent '' || spent(i)::text';
    CREATE FUNCTION in_pl(i int) RETURNS text STABLE LANGUAGE plpgsql AS 'BEGIN RETURN (SELECT name FROM users WHERE id = i); END';
    CREATE FUNCTION set_in_pl(o int) RETURNS SETOF int STABLE LANGUAGE plpgsql AS 'BEGIN
        RETURN QUERY SELECT id FROM users WHERE org = o ORDER BY id; END;';
    CREATE FUNCTION noted(int) RETURNS text STABLE LANGUAGE sql AS 'SELECT note FROM notes WHERE org = $1';
    CREATE FUNCTION as_small(int) RETURNS small STABLE LANGUAGE sql AS 'SELECT score * 1000 FROM users WHERE id = $1';
    CREATE FUNCTION cast_back(int) RETURNS int STABLE LANGUAGE sql AS 'SELECT total::int FROM orders WHERE id = $1';
    CREATE FUNCTION longest() RETURNS int STABLE LANGUAGE sql AS 'WITH l AS (SELECT id, length(name) AS n FROM users) SELECT max(l.n) FROM l';
    CREATE FUNCTION many() RETURNS int STABLE LANGUAGE sql AS 'SELECT id FROM users ORDER BY score DESC';
    CREATE VIEW ranking AS SELECT u.id, spent(u.id) AS spent FROM users u;
"#;

/// What makes the branch another than main; done to the plain copy, too.
const CHANGES: &[&str] = &[
    "UPDATE users SET name = 'new ' || id, score = score + 100 WHERE id % 3 = 0",
    "DELETE FROM orders WHERE id % 7 = 0",
    "INSERT INTO users VALUES (31, 'thirty-one', 1, 5)",
    "INSERT INTO orders VALUES (91, 31, 1000)",
];

const CASES: &[&str] = &[
    "SELECT name_of(3), name_of(4), name_of(99)",
    "SELECT id, name_of(id), spent(id), score(id) FROM users ORDER BY id",
    "SELECT name_of(31)::varchar(6), upper(name_of(31)) AS u, coalesce(name_of(0), 'nobody')",
    "SELECT public.name_of(3) FROM orders WHERE user_id = 3 ORDER BY id LIMIT 2",
    "SELECT id FROM users WHERE spent(id) > 100 AND score(users.id) > 5 ORDER BY spent(id) DESC, id",
    "SELECT spent(user_id) FROM orders GROUP BY user_id HAVING spent(user_id) > 150 ORDER BY 1",
    "SELECT name_of((SELECT max(id) FROM users)), spent(length(name_of(1)))",
    "SELECT name_of(score(1)), spent(score(1) + score(2))",
    "SELECT u.id, p FROM users u, peers(u.org, 100) p WHERE u.id < 4 ORDER BY 1, 2",
    "SELECT peers FROM peers(1, 0) ORDER BY 1",
    "SELECT p.x FROM LATERAL peers(1, 0) AS p (x) ORDER BY 1",
    "SELECT * FROM best(3)",
    "SELECT b.sum, u.name FROM best(5) b JOIN users u ON u.id = b.who ORDER BY 1",
    "SELECT count(*), max(o.score) FROM of_org(1) o WHERE o.name LIKE 'n%'",
    "SELECT u.id, o.id FROM users u LEFT JOIN of_org(u.org) o ON o.id > u.id AND o.score > 100 WHERE u.id < 6 ORDER BY 1, 2",
    "SELECT * FROM one_user(3)",
    "SELECT * FROM one_user(99)",
    "SELECT x.name FROM one_user(31) x",
    "SELECT * FROM pair_of(6)",
    "SELECT * FROM lone(6) AS l",
    "SELECT lone(6), s FROM lone(9)",
    "SELECT * FROM name_of(3)",
    "SELECT n FROM name_of(99) AS n",
    "SELECT careful(1, 2), careful(1, NULL), careful(NULL, NULL)",
    "SELECT count(*) FROM careful_set(NULL)",
    "SELECT count(*) FROM careful_set(2)",
    "SELECT atomic(3), returned(3), through(6)",
    "SELECT in_pl(3), (SELECT count(*) FROM set_in_pl(1)), noted(1)",
    "SELECT as_small(30), as_small(1)",
    "SELECT as_small(id) FROM users WHERE id > 2",
    "SELECT cast_back(1), longest(), many()",
    "SELECT * FROM ranking WHERE spent > 200 ORDER BY id",
    "SELECT count(*) FROM generate_series(1, spent(1)::int / 10) g",
    "SELECT CASE WHEN id > 2 THEN name_of(id) END FROM users WHERE id < 5 ORDER BY 1",
    "WITH w AS (SELECT id, spent(id) AS s FROM users) SELECT max(s) FROM w",
    "SELECT max(spent(id)) OVER (ORDER BY id), sum(score(id)) OVER () FROM users ORDER BY id LIMIT 3",
    "SELECT spent('3'), name_of('31')",
    "SELECT name_of(1.5)",
    "SELECT name_of('x')",
    "SELECT nowhere(1), name_of(1)",
    "SELECT name_of(id) FROM orders WHERE idd = 1",
    "VALUES (name_of(3)), (in_pl(31))",
    "EXPLAIN (COSTS OFF, ANALYZE OFF) SELECT 1 WHERE name_of(1) IS NULL AND false",
    // Writes.
    "UPDATE users SET name = name || ' ' || spent(id) WHERE spent(id) > 150 RETURNING id, name",
    "INSERT INTO orders SELECT 1000 + id, id, spent(id) FROM users WHERE id < 4 RETURNING *",
    "DELETE FROM orders WHERE user_id IN (SELECT best.who FROM best(2)) RETURNING id, spent(user_id)",
    "UPDATE orders SET total = total + score(user_id) WHERE id < 4 RETURNING total, name_of(user_id)",
    "INSERT INTO users (id, name) VALUES (40, in_pl(3)) RETURNING name, score(3)",
    "INSERT INTO orders SELECT 2000 + id, id, length(name_of(id)) FROM users WHERE id < 3 RETURNING *",
    "MERGE INTO users u USING best(3) b ON u.id = b.who WHEN MATCHED THEN UPDATE SET score = b.sum::int",
    "INSERT INTO users VALUES (3, 'again') ON CONFLICT (id) DO UPDATE SET name = excluded.name || in_pl(excluded.id) RETURNING name",
    "BEGIN; UPDATE users SET name = 'in a block' WHERE id = 5; SELECT name_of(5), in_pl(5); ROLLBACK",
];

fn outcome(conn: &mut Conn, sql: &str, extended: bool) -> Vec<String> {
    let reply = if extended { conn.extended(sql, &[], false) } else { conn.simple(sql) };
    let mut said: Vec<String> = reply.tags().iter().map(|tag| (*tag).to_owned()).collect();
    match reply.error() {
        Some(error) => said.push(format!("{} {}", error.code(), error.message())),
        None => {
            said.push(format!("{:?}", reply.columns()));
            let mut rows: Vec<String> = reply.rows().iter().map(|row| format!("{row:?}")).collect();
            if !sql.contains("ORDER BY") {
                rows.sort();
            }
            said.extend(rows);
        }
    }
    said
}

/// Each statement on a branch that differs from main is what it is on a plain database with the branch's rows.
#[test]
fn functions_read_the_branch() {
    need_postgres!();
    let shop = Fixture::registered(SETUP);
    let mut branch = shop.branch("b");
    let db = Database::create();
    let mut plain = db.connect();
    plain.exec(SETUP);
    for sql in CHANGES {
        branch.exec(sql);
        plain.exec(sql);
    }
    let mut wrong = Vec::new();
    let before = base_rows(&mut shop.direct());
    for extended in [false, true] {
        for sql in CASES.iter().filter(|sql| !(extended && sql.contains("; "))) {
            for conn in [&mut branch, &mut plain] {
                conn.exec("BEGIN");
            }
            let (there, here) = (outcome(&mut plain, sql, extended), outcome(&mut branch, sql, extended));
            if here != there {
                wrong.push(format!("{sql}\n    here  {here:?}\n    there {there:?}"));
            }
            for conn in [&mut branch, &mut plain] {
                conn.exec("ROLLBACK");
            }
        }
    }
    assert_eq!(base_rows(&mut shop.direct()), before);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What can't be put in the place of a call, and why.
#[test]
fn other_functions_are_refused_with_the_reason() {
    need_postgres!();
    let shop = Fixture::registered(
        "CREATE TABLE t (id int PRIMARY KEY, v text, n int); INSERT INTO t SELECT g, 'v' || g, g FROM generate_series(1, 5) g; \
         CREATE TABLE log (id int PRIMARY KEY); \
         CREATE FUNCTION writes(int) RETURNS text LANGUAGE sql AS 'UPDATE t SET v = v || ''!'' WHERE id = $1 RETURNING v'; \
         CREATE FUNCTION two(int) RETURNS text LANGUAGE sql AS 'INSERT INTO log VALUES ($1); SELECT v FROM t WHERE id = $1'; \
         CREATE FUNCTION locks(int) RETURNS text LANGUAGE sql AS 'SELECT v FROM t WHERE id = $1 FOR UPDATE'; \
         CREATE FUNCTION owners(int) RETURNS text SECURITY DEFINER LANGUAGE sql AS 'SELECT v FROM t WHERE id = $1'; \
         CREATE FUNCTION with_path(int) RETURNS text SET search_path = public LANGUAGE sql AS 'SELECT v FROM t WHERE id = $1'; \
         CREATE FUNCTION over_(int) RETURNS text LANGUAGE sql AS 'SELECT v FROM t WHERE id = $1'; \
         CREATE FUNCTION over_(text) RETURNS text LANGUAGE sql AS 'SELECT v FROM t WHERE v = $1'; \
         CREATE FUNCTION any_of(anyelement) RETURNS anyelement LANGUAGE sql AS 'SELECT $1 FROM t'; \
         CREATE FUNCTION row_of(t) RETURNS text LANGUAGE sql AS 'SELECT v FROM t x WHERE x.id = $1.id'; \
         CREATE FUNCTION looped(int) RETURNS int LANGUAGE sql AS 'SELECT n FROM t WHERE id = 1'; \
         CREATE OR REPLACE FUNCTION looped(int) RETURNS int LANGUAGE sql AS 'SELECT n + looped($1) FROM t WHERE id = 1'; \
         CREATE FUNCTION has_default(int, x int DEFAULT 2) RETURNS text LANGUAGE sql AS 'SELECT v FROM t WHERE id = $1 + x'; \
         CREATE FUNCTION all_of() RETURNS SETOF t STABLE LANGUAGE sql AS 'SELECT * FROM t'; \
         CREATE FUNCTION v_of(int) RETURNS text LANGUAGE sql AS 'SELECT v FROM t WHERE id = $1'; \
         CREATE FUNCTION computed(int) RETURNS text LANGUAGE plpgsql AS 'DECLARE x text; BEGIN SELECT v INTO x FROM t WHERE id = $1; RETURN x; END'; \
         CREATE FUNCTION ambiguous(id int) RETURNS text LANGUAGE plpgsql AS 'BEGIN RETURN (SELECT v FROM t WHERE id = 1); END'; \
         CREATE FUNCTION sums(VARIADIC int[]) RETURNS bigint LANGUAGE sql AS 'SELECT count(*) FROM t WHERE id = ANY ($1)'",
    );
    let mut branch = shop.branch("b");
    branch.exec("UPDATE t SET v = 'b' || id");
    let before = base_rows(&mut shop.direct());
    for (sql, why) in [
        ("SELECT writes(1)", "its body is another statement than a query"),
        ("SELECT two(1)", "its body isn't one query"),
        ("SELECT locks(1)", "its query locks rows"),
        ("SELECT owners(1)", "it is SECURITY DEFINER"),
        ("SELECT with_path(1)", "it has settings of its own"),
        ("SELECT over_(1)", "there are several functions of this name"),
        ("SELECT any_of(1)", "it has VARIADIC or INOUT arguments, or ones that are rows or polymorphic"),
        ("SELECT sums(1, 2)", "it has VARIADIC or INOUT arguments, or ones that are rows or polymorphic"),
        (
            "SELECT row_of(t) FROM t",
            "it has VARIADIC or INOUT arguments, or ones that are rows or polymorphic",
        ),
        ("SELECT has_default(1)", "it has 2 arguments, and is called with 1"),
        ("SELECT has_default(1, x => 2)", "it is called with VARIADIC or names of arguments"),
        ("SELECT computed(1)", "its body isn't BEGIN, one RETURN, END"),
        ("SELECT ambiguous(1)", "\"id\" is a column's name in it, and a variable's"),
        ("SELECT all_of()", "it returns a set, and isn't in FROM"),
        ("SELECT a FROM all_of() a", "its row is used as a whole"),
        (
            "SELECT * FROM all_of() WITH ORDINALITY",
            "it is called by ROWS FROM, with ordinality or with a list of columns",
        ),
        ("SELECT v_of(max(id)) FROM t", "max() is among its arguments"),
        ("SELECT v_of(generate_series(1, 2))", "generate_series() is among its arguments"),
        ("UPDATE t SET v = v_of(1)", "it is VOLATILE, and may read what the statement writes"),
        (
            "WITH t AS (SELECT 1 AS id, 'no' AS v) SELECT v_of(1) FROM t",
            "the statement's WITH has the name of table \"t\", which it reads",
        ),
    ] {
        let error = branch.err(sql);
        assert_eq!(error.code(), "0A000", "{sql}: {error:?}");
        let detail = format!(
            "It may read or write tables past the branch, and its query can't stand in its place: {why}."
        );
        assert_eq!(error.detail(), detail, "{sql}");
    }
    // What marks a call that nobody makes is a comment of ours, not a part of somebody's name.
    shop.direct().exec(
        "CREATE FUNCTION marked(\"/*epoch:typed*/EXISTS (\" int, \"b)\" int) RETURNS bigint LANGUAGE sql AS 'SELECT count(*) FROM t WHERE length(writes($1)) > $2'",
    );
    for sql in ["SELECT marked(1, 0)", "SELECT U&\"marked\"(1, 0)"] {
        let error = branch.err(sql);
        assert_eq!(
            (error.code(), error.message()),
            ("0A000", "function writes() in language sql on a branch is not supported"),
            "{sql}"
        );
    }
    assert_eq!(branch.err("SELECT looped(1)").code(), "54001");
    assert_eq!(branch.err("PREPARE p AS SELECT v_of(1)").code(), "0A000");
    assert_eq!(branch.err("SELECT /*epoch:typed*/EXISTS (SELECT FROM writes(1)), v_of(1)").code(), "0A000");
    assert_eq!(branch.err("SELECT /*epoch:typed*/EXISTS (SELECT FROM writes(1))").code(), "0A000");
    assert_eq!(base_rows(&mut shop.direct()), before);
    assert_eq!(branch.one("SELECT v_of(2)"), "b2");
}

/// A commit's functions read the commit; a table that a branch altered is read as altered, and a column that is gone isn't
/// looked for in the statement around the call.
#[test]
fn functions_read_what_the_session_is_on() {
    need_postgres!();
    let shop = Fixture::registered(
        "CREATE TABLE t (id int PRIMARY KEY, v text, gone int); INSERT INTO t SELECT g, 'main ' || g, g FROM generate_series(1, 5) g; \
         CREATE TABLE o (id int PRIMARY KEY, gone int); INSERT INTO o VALUES (1, 77); \
         CREATE FUNCTION v_of(int) RETURNS text LANGUAGE sql AS 'SELECT v FROM t WHERE id = $1'; \
         CREATE FUNCTION gone_of(int) RETURNS int LANGUAGE sql AS 'SELECT gone FROM t WHERE id = $1'; \
         CREATE FUNCTION all_of() RETURNS SETOF t STABLE LANGUAGE sql AS 'SELECT * FROM t'; \
         CREATE FUNCTION share(int) RETURNS int STABLE LANGUAGE sql AS 'SELECT 100 / gone FROM t WHERE id > $1 ORDER BY id LIMIT 1'",
    );
    let mut main = shop.main();
    let mut a = shop.branch("a");
    a.exec("UPDATE t SET v = 'a ' || id WHERE id < 3");
    let hash = a.one("SELECT hash FROM epoch_commit('first')");
    a.exec("UPDATE t SET v = 'later' WHERE id < 4");
    let mut inner = shop.on("a");
    inner.exec("SELECT * FROM epoch_checkout('-b', 'inner')");
    assert_eq!(inner.one("SELECT v_of(1) || v_of(3)"), "a 1main 3", "a branch is made of a commit");
    let mut commit = shop.on(&hash);
    assert_eq!(commit.one("SELECT v_of(1) || v_of(3)"), "a 1main 3");
    assert_eq!(a.one("SELECT v_of(1) || v_of(3)"), "laterlater");
    assert_eq!(main.one("SELECT v_of(1) || v_of(3)"), "main 1main 3");
    // Main goes on; what the branch doesn't show makes nothing fail.
    shop.direct().exec("INSERT INTO t VALUES (0, 'zero', 0)");
    assert_eq!(a.one("SELECT share(-1)"), "100");
    assert_eq!(main.err("SELECT share(-1)").code(), "22012");
    // The type of the argument is the function's, not that of what it is compared with.
    let reply = a.extended("SELECT v_of($1), v_of($2 + 1)", &[Some("1"), Some("2")], true);
    assert_eq!(reply.rows(), [[Some("later".to_owned()), Some("later".to_owned())]]);
    a.exec("ALTER TABLE t DROP COLUMN gone");
    assert_eq!(a.err("SELECT gone_of(1)").code(), "42703");
    assert_eq!(a.err("SELECT gone_of(o.id) FROM o").code(), "0A000", "not o.gone");
    assert_eq!(a.one("SELECT v_of(o.id) FROM o"), "later");
    a.exec("DROP TABLE t");
    assert_eq!(a.err("SELECT v_of(1)").code(), "42P01");
    assert_eq!(inner.one("SELECT count(*) FROM all_of() WHERE v LIKE 'a%'"), "2");
}

/// By key, as the function itself would.
#[test]
fn a_functions_query_is_planned_with_the_statement() {
    need_postgres!();
    let shop = Fixture::registered(
        "CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t SELECT g, 'main ' || g FROM generate_series(1, 20000) g; ANALYZE t; \
         CREATE FUNCTION v_of(int) RETURNS text LANGUAGE sql AS 'SELECT v FROM t WHERE id = $1'; \
         CREATE FUNCTION near(i int, far int) RETURNS SETOF t STABLE LANGUAGE sql AS 'SELECT * FROM t WHERE t.id BETWEEN i - far AND i + far'",
    );
    let mut branch = shop.branch("b");
    branch.exec("UPDATE t SET v = 'b' WHERE id % 1000 = 0");
    for sql in [
        "SELECT v_of(7)",
        "SELECT v_of(id) FROM t WHERE id = 5000",
        "SELECT n.v FROM t, near(t.id, 1) n WHERE t.id = 7000",
    ] {
        let plan = branch.lines(&format!("EXPLAIN {sql}"));
        assert!(!plan.iter().any(|line| line.contains("Seq Scan")), "{sql}\n{}", plan.join("\n"));
    }
    assert_eq!(
        branch.lines("SELECT n.v FROM t, near(t.id, 1) n WHERE t.id = 7000 ORDER BY n.id"),
        ["main 6999", "b", "main 7001"]
    );
}

/// Whoever may not read a table can't read it by a function.
#[test]
fn functions_have_their_callers_rights() {
    need_postgres!();
    let shop = Fixture::registered(
        "CREATE TABLE salary (id int PRIMARY KEY, amount int); INSERT INTO salary VALUES (1, 100); \
         CREATE TABLE open (id int PRIMARY KEY, v text); INSERT INTO open VALUES (1, 'x'); \
         CREATE FUNCTION paid(int) RETURNS int LANGUAGE sql AS 'SELECT amount FROM salary WHERE id = $1'; \
         CREATE FUNCTION v_of(int) RETURNS text LANGUAGE sql AS 'SELECT v FROM open WHERE id = $1'",
    );
    let mut main = shop.main();
    main.exec("SELECT * FROM epoch_branch('b')");
    main.exec("SELECT epoch_grant('postgres', 'admin')");
    main.exec("SELECT epoch_grant('ann', 'read', 'b', tables => array['open'])");
    let mut target = shop.proxy.target("b");
    target.user = "ann".to_owned();
    let mut ann = target.connect();
    assert_eq!(ann.one("SELECT v_of(1)"), "x");
    assert_eq!(ann.err("SELECT paid(1)").code(), "42501");
}
