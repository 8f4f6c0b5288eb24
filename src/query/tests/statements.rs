//! Many statements: what is refused, and that nothing but references to tables changes.

use super::*;
use crate::query::parse::parse;

/// On a branch, each of these could read or write past it.
const REFUSED: &[&str] = &[
    "TRUNCATE users RESTART IDENTITY",
    "TRUNCATE users, scratch",
    "TRUNCATE plain, scratch",
    "DO $$ BEGIN DELETE FROM users; END $$",
    "CALL pay()",
    "CREATE TABLE x WITH (fillfactor = 50) AS SELECT * FROM users",
    "CREATE TABLE x AS SELECT * FROM users WHERE id = $1",
    "CREATE VIEW v AS SELECT * FROM users TABLESAMPLE SYSTEM (1)",
    "CREATE VIEW v AS SELECT * FROM scratch",
    "CREATE MATERIALIZED VIEW v AS SELECT 1",
    "REFRESH MATERIALIZED VIEW m",
    "CREATE UNIQUE INDEX CONCURRENTLY i ON plain (a)",
    "ALTER TABLE plain RENAME TO y",
    "ALTER TABLE plain SET SCHEMA y",
    "ALTER INDEX plain RENAME TO y",
    "DROP TABLE plain",
    "ALTER VIEW rich OWNER TO bob",
    "DROP SCHEMA public CASCADE",
    "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'DELETE FROM users RETURNING 1'",
    "CREATE TRIGGER t BEFORE INSERT ON users EXECUTE FUNCTION f()",
    "CREATE RULE r AS ON INSERT TO users DO INSTEAD NOTHING",
    "GRANT ALL ON users TO bob",
    "REVOKE ALL ON users FROM bob",
    "VACUUM users",
    "VACUUM FULL",
    "ANALYZE users",
    "CLUSTER users",
    "REINDEX TABLE users",
    "CHECKPOINT",
    "LOAD 'x'",
    "CREATE EXTENSION dblink",
    "CREATE DATABASE x",
    "ALTER SYSTEM SET a = 1",
    "CREATE SEQUENCE s",
    "ALTER SEQUENCE s RESTART",
    "CREATE TYPE t AS (a int)",
    "CREATE POLICY p ON users",
    "SECURITY LABEL ON TABLE users IS 'x'",
    "IMPORT FOREIGN SCHEMA x FROM SERVER y INTO z",
    "CREATE PUBLICATION p FOR TABLE users",
    "REASSIGN OWNED BY a TO b",
    "CREATE TEMP VIEW v AS SELECT * FROM users",
    "CREATE TEMP TABLE c () INHERITS (users)",
    "CREATE TEMP RECURSIVE VIEW r (a) AS SELECT 1",
    "SET session_replication_role = replica",
    "SET standard_conforming_strings = off",
    "SET search_path = epoch_public",
    "SET search_path TO a, epoch",
    "SELECT * FROM rich",
    "SELECT 1 FROM users WHERE id IN (SELECT id FROM rich)",
    "INSERT INTO rich VALUES (1)",
    "SELECT sneaky()",
    "SELECT * FROM users WHERE sneaky(id)",
    "SELECT * FROM sneaky()",
    "SELECT query_to_xml('SELECT * FROM users', true, true, '')",
    "SELECT table_to_xml('users', true, true, '')",
    "SELECT * FROM ts_stat('SELECT * FROM users')",
    "SELECT * FROM dblink('x', 'y') AS t(a int)",
    "SELECT lo_unlink(5)",
    "SELECT * FROM users TABLESAMPLE SYSTEM (10)",
    "SELECT * FROM (WITH d AS (DELETE FROM users RETURNING *) SELECT * FROM d) x",
    "WITH d AS (WITH x AS (SELECT 1) DELETE FROM users RETURNING id) SELECT * FROM d",
    "INSERT INTO users (id) SELECT id FROM orders WHERE id NOT IN (SELECT id FROM orders FOR UPDATE) ON CONFLICT (id) DO NOTHING",
    "WITH d AS (DELETE FROM orders RETURNING id) INSERT INTO users (id) SELECT id FROM d ON CONFLICT (id) DO NOTHING",
    "MERGE INTO plain USING users u ON plain.a = u.id WHEN MATCHED THEN DELETE",
    "MERGE INTO users USING orders o JOIN plain p USING (id) ON users.id = o.id WHEN MATCHED THEN DELETE RETURNING *",
    "WITH i AS (INSERT INTO plain VALUES (1) RETURNING 1) SELECT * FROM i",
    "UPDATE plain SET a = 1",
    "DELETE FROM plain",
    "INSERT INTO plain SELECT * FROM users",
    "COPY plain FROM STDIN",
    "UPDATE pg_class SET relname = 'x'",
    "EXPLAIN ANALYZE DELETE FROM plain",
    "EXPLAIN CREATE TABLE x AS SELECT 1",
    "SELECT * FROM other.public.users",
    "UPDATE users SET id = 1 FROM orders a JOIN orders b USING (id) RETURNING *",
    "UPDATE users u SET id = 1 FROM plain RETURNING u",
    "SELECT set_config('epoch.lineage', '1', true)",
    "SELECT set_config(email, '1', true) FROM users",
    "SELECT epoch_log() FROM users",
    "SELECT * FROM epoch_log(lower('X')) l, users",
    "SELECT * FROM epoch_log() WITH ORDINALITY",
    "CALL epoch_commit('a' || 'b')",
    "UPDATE epoch.log SET message = 'x'",
];

#[tokio::test]
async fn refused_on_a_branch() {
    for sql in REFUSED {
        match plans(&branch(), sql).await {
            Err(error) => assert!(matches!(error.code(), "0A000" | "42501" | "25006"), "{sql}: {error}"),
            Ok(plans) => panic!("{sql} became {plans:?}"),
        }
    }
}

/// Never another table's objects, and no way around by other spellings.
#[tokio::test]
async fn storage_is_out_of_reach() {
    for sql in [
        "SELECT * FROM epoch.history_1",
        "DELETE FROM epoch_public.users",
        "SELECT * FROM \"epoch_public\".users",
        "COPY epoch_public.users TO STDOUT",
        "SELECT epoch_lineage FROM users",
        "DELETE FROM users WHERE epoch_lineage = 3",
        "SELECT * FROM history_1",
        "SELECT epoch.seal()",
        "TABLE epoch.mask_1",
    ] {
        let error = plans(&branch(), sql).await.expect_err(sql);
        assert!(matches!(error.code(), "42501" | "42P01" | "42703"), "{sql}: {error}");
    }
}

#[tokio::test]
async fn passed_on_as_they_are() {
    for sql in [
        "BEGIN",
        "START TRANSACTION ISOLATION LEVEL SERIALIZABLE",
        "COMMIT AND CHAIN",
        "ROLLBACK TO SAVEPOINT a",
        "SAVEPOINT a",
        "RELEASE a",
        "PREPARE TRANSACTION 'x'",
        "SET TIME ZONE 'UTC'",
        "SET work_mem = '1MB'",
        "RESET work_mem",
        "SHOW work_mem",
        "SHOW ALL",
        "SET ROLE bob",
        "LISTEN a",
        "NOTIFY a, 'b'",
        "UNLISTEN *",
        "DEALLOCATE ALL",
        "FETCH 5 FROM c",
        "MOVE c",
        "CLOSE ALL",
        "SET CONSTRAINTS ALL DEFERRED",
        "DISCARD TEMP",
        "DISCARD PLANS",
        "SELECT 1",
        "VALUES (1), (2)",
        "SELECT * FROM plain p JOIN harmless h USING (id)",
        "SELECT * FROM scratch",
        "SELECT * FROM no_such_table",
        "SELECT now(), nextval('s'), lower('X') || upper('y')",
        "SELECT * FROM generate_series(1, 3) g(i)",
        "CREATE TEMP TABLE t (id int)",
        "CREATE TABLE pg_temp.t (id int)",
        "CREATE INDEX ON scratch (id)",
        "ALTER TABLE scratch ADD x int",
        "TRUNCATE scratch",
        "DROP TABLE scratch",
        "DROP TABLE IF EXISTS pg_temp_3.scratch",
        "INSERT INTO scratch VALUES (1) RETURNING *",
        "UPDATE scratch SET id = 1",
        "DELETE FROM scratch",
        "COPY scratch FROM STDIN",
        "COPY plain TO STDOUT",
        "EXPLAIN SELECT 1",
        "DECLARE c CURSOR FOR SELECT 1",
        "PREPARE q AS SELECT $1::int",
        "ANALYZE",
    ] {
        let plans = plans(&branch(), sql).await.unwrap_or_else(|e| panic!("{sql}: {e}"));
        assert!(matches!(plans.as_slice(), [Plan::Relay { .. }]), "{sql} became {plans:?}");
    }
}

/// Pieces to build queries from; `@` marks references that must change.
const ITEMS: &[&str] = &[
    "@users",
    "@users u",
    "@public.users AS u (a, b, c)",
    "@\"users\" \"U\"",
    "ONLY @users",
    "@users, plain",
    "plain p, @orders o",
    "@users u JOIN @orders o ON o.user_id = u.id",
    "@users LEFT JOIN @orders USING (id)",
    "(@users u CROSS JOIN @orders) j",
    "plain NATURAL JOIN @orders",
    "(SELECT * FROM @users) users",
    "LATERAL (SELECT * FROM @orders WHERE amount > 1) x",
    "(VALUES (1)) users(id)",
    "generate_series(1, 2) users",
    "ROWS FROM (unnest('{1}'::int[]), now()) users",
    "(TABLE @users) t",
    "(WITH orders AS (SELECT * FROM @users) SELECT * FROM orders) z",
    "unnest(ARRAY(SELECT id FROM @users)) n",
];
const SHAPES: &[&str] = &[
    "SELECT * FROM {}",
    "SELECT count(*) FILTER (WHERE true), 'users' FROM {} GROUP BY 1 HAVING count(*) > 1 ORDER BY 2 DESC NULLS LAST LIMIT 5 OFFSET 1",
    "SELECT DISTINCT ON (1) 1 FROM {} WHERE EXISTS (SELECT FROM @orders WHERE id = ANY (SELECT id FROM @users))",
    "SELECT (SELECT 1 FROM {} LIMIT 1), ARRAY(SELECT id FROM @users)",
    "WITH users AS MATERIALIZED (SELECT 1 FROM {}), x AS (SELECT * FROM users) TABLE x",
    "SELECT 1 FROM {} UNION SELECT 2 FROM @orders EXCEPT (SELECT 3 INTERSECT ALL SELECT id FROM @users)",
    "SELECT sum(1) OVER (PARTITION BY (SELECT 1 FROM @users) ORDER BY 1 ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) FROM {}",
    "SELECT CASE WHEN 1 IN (SELECT id FROM {}) THEN $1 ELSE E'\\'users' END",
    "EXPLAIN (COSTS off) SELECT 1 FROM {}",
    "DECLARE users CURSOR FOR SELECT 1 FROM {} /* FROM users */",
    "COPY (SELECT 1 FROM {}) TO STDOUT",
    "SELECT a.\"users\", $q$ FROM users $q$ FROM {} -- FROM users",
    "SELECT x[1:2], y::public.users, (z).users.id FROM {} WHERE a OPERATOR(pg_catalog.<) b IS NOT NULL",
];

/// After a rewrite, the same statement with the marked references replaced, and nothing else.
#[tokio::test]
async fn only_references_change() {
    let mut seen = 0;
    for shape in SHAPES {
        for item in ITEMS {
            let marked = shape.replace("{}", item);
            let client = marked.replace('@', "");
            let bulk = client.starts_with("COPY");
            let expected = marks(&marked, bulk);
            let got = rewritten(&branch(), &client).await;
            let got = got.strip_prefix("relay ").unwrap_or(&got).trim_end().to_owned();
            let expected = without_trailing_comment(&expected);
            assert_eq!(got, expected, "{client}");
            let plans = plans(&branch(), &client).await.unwrap();
            if let [Plan::Rewritten(rewritten)] = plans.as_slice() {
                parse(&rewritten.sql).unwrap_or_else(|e| panic!("{}: {e}", rewritten.sql));
            }
            seen += 1;
        }
    }
    assert!(seen > 200);
}

fn without_trailing_comment(sql: &str) -> String {
    let tokens = lexer::tokens(sql).unwrap().list;
    sql[..tokens.last().map_or(0, |t| t.end)].to_owned()
}

/// What the marks stand for, by a method of its own: the words after each mark.
fn marks(marked: &str, bulk: bool) -> String {
    let scan = if bulk { "scan " } else { "" };
    let mut out = String::new();
    let mut parts = marked.split('@');
    out.push_str(parts.next().unwrap());
    for part in parts {
        let only = out.ends_with("ONLY ");
        let command = out.ends_with("TABLE ");
        for (ends, len) in [(only, 5), (command, 6)] {
            if ends {
                out.truncate(out.len() - len);
            }
        }
        let end =
            part.find(|c: char| !(c.is_alphanumeric() || matches!(c, '_' | '.' | '"'))).unwrap_or(part.len());
        let (name, rest) = part.split_at(end);
        let name = name.trim_start_matches("public.").trim_matches('"');
        let next = rest.trim_start().split(|c: char| !(c.is_alphanumeric() || c == '"')).next().unwrap_or("");
        let keywords =
            ["JOIN", "LEFT", "USING", "WHERE", "GROUP", "NATURAL", "CROSS", "UNION", "EXCEPT", "LIMIT", ""];
        let alias = if keywords.contains(&next) { format!(" AS \"{name}\"") } else { String::new() };
        let select = if command { "SELECT * FROM " } else { "" };
        out.push_str(&format!("{select}<branch {scan}{name}>{alias}{rest}"));
    }
    out
}

#[tokio::test]
async fn nonsense_is_a_syntax_error_with_a_position() {
    let error = plans(&branch(), "SELECT * FRM users").await.unwrap_err();
    assert_eq!((error.code(), error.position()), ("42601", Some(10)), "{error}");
    let deep = format!("SELECT {}1{}", "(".repeat(5000), ")".repeat(5000));
    assert_eq!(plans(&branch(), &deep).await.unwrap_err().code(), "54001");
    let long = format!("SELECT 1{}", "+1".repeat(100_000));
    assert_eq!(plans(&branch(), &long).await.unwrap_err().code(), "54001");
    let fine = format!("SELECT id{} FROM users", "+1".repeat(3500));
    assert!(matches!(plans(&branch(), &fine).await.unwrap().as_slice(), [Plan::Rewritten(_)]));
    let rows = format!("INSERT INTO users (id) VALUES (1){}", ", (1)".repeat(50_000));
    assert!(matches!(plans(&branch(), &rows).await.unwrap().as_slice(), [Plan::Rewritten(_)]));
}

/// What a statement calls without naming it is looked up too.
#[test]
fn implied_operators_and_types_are_noted() {
    let of = |sql: &str| parse(sql).unwrap().statements.remove(0);
    let operators = |sql: &str| of(sql).operators;
    assert_eq!(operators("SELECT CASE a WHEN b THEN 1 END FROM t"), ["="]);
    assert!(operators("SELECT a BETWEEN 1 AND 2 FROM t").iter().any(|o| o == "<="));
    assert!(operators("SELECT * FROM t JOIN u USING (a)").iter().any(|o| o == "="));
    assert!(operators("SELECT * FROM t NATURAL JOIN u").iter().any(|o| o == "="));
    let types = |sql: &str| of(sql).types.into_iter().map(|(_, name)| name).collect::<Vec<_>>();
    assert_eq!(types("SELECT 1::checked, 2::int, CAST(a AS public.mood[])"), ["checked", "mood"]);
    assert_eq!(types("SELECT * FROM XMLTABLE('/r' PASSING x COLUMNS a checked PATH 'a')"), ["checked"]);
    assert_eq!(types("SELECT * FROM json_to_recordset('[]') x(a checked)"), ["checked"]);
    assert_eq!(types("CREATE TEMP TABLE t (a checked)"), ["checked"]);
    assert_eq!(of("CREATE TEMP TABLE t (a int DEFAULT wipe())").functions.len(), 1);
}
