//! SELECT over SQLite tables, with PostgreSQL's results, names and errors.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod federation;

use federation::{Fixture, SHOP};

#[tokio::test]
async fn rows_come_in_postgresql_text() {
    let mut f = Fixture::new(SHOP).await;
    assert_eq!(
        f.lines("SELECT * FROM customers ORDER BY id").await,
        ["1|Ann|Paris|t", "2|Bob|-|f", "3|Cid|Rome|f"]
    );
    assert_eq!(f.lines("SELECT * FROM products ORDER BY sku").await, ["a|1.50|2024-02-29", "b|20.00|-"]);
    assert_eq!(
        f.lines("SELECT at, total FROM public.orders ORDER BY id").await,
        ["2024-03-01 10:00:00|21.5", "-|3.25", "2024-03-02 12:30:00.5|0.1"]
    );
    assert_eq!(f.lines("SELECT data FROM items ORDER BY 1 NULLS LAST").await, ["\\x", "\\x00ff", "-"]);
    let r = f.run("SELECT id, name, city, vip FROM customers").await.unwrap();
    assert_eq!(r.types, ["int8", "text", "varchar", "bool"]);
    assert_eq!(r.tag, "SELECT 3");
}

#[tokio::test]
async fn joins_aggregates_and_subqueries() {
    let mut f = Fixture::new(SHOP).await;
    let sql =
        "SELECT c.name, count(o.id), sum(o.total) FROM customers c LEFT JOIN orders o ON o.customer_id = c.id
               GROUP BY c.name HAVING count(*) > 0 ORDER BY c.name";
    assert_eq!(f.lines(sql).await, ["Ann|2|24.75", "Bob|0|-", "Cid|1|0.1"]);
    assert_eq!(
        f.lines("SELECT name FROM customers WHERE id IN (SELECT customer_id FROM orders) ORDER BY 1").await,
        ["Ann", "Cid"]
    );
    let sql = "WITH big AS (SELECT * FROM orders WHERE total > 1) SELECT count(*), max(at) FROM big";
    assert_eq!(f.lines(sql).await, ["2|2024-03-01 10:00:00"]);
    assert_eq!(f.lines("SELECT count(*) FROM orders").await, ["3"]);
    assert_eq!(
        f.lines("SELECT name FROM customers ORDER BY city, name LIMIT 2 OFFSET 1").await,
        ["Cid", "Bob"]
    );
    let sql = "SELECT id, (SELECT name FROM customers c WHERE c.id = o.customer_id) FROM orders o ORDER BY 1 DESC LIMIT 1";
    let r = f.run(sql).await.unwrap();
    assert_eq!((r.lines(), r.columns), (vec!["12|Cid".to_owned()], vec!["id".to_owned(), "name".to_owned()]));
    let sql = "SELECT (SELECT o.id FROM orders o WHERE o.customer_id = c.id) FROM customers c";
    assert_eq!(f.fails(sql).await.code(), "21000");
    assert_eq!(f.fails("SELECT (SELECT id FROM customers)").await.code(), "21000");
    assert_eq!(f.lines("SELECT id, *, id FROM customers WHERE id = 1").await, ["1|1|Ann|Paris|t|1"]);
}

#[tokio::test]
async fn simple_statements_without_tables() {
    let mut f = Fixture::new(SHOP).await;
    let r = f.run("SELECT 1").await.unwrap();
    assert_eq!(
        (r.columns[0].as_str(), r.types[0].as_str(), r.lines()),
        ("?column?", "int4", vec!["1".to_owned()])
    );
    assert_eq!(f.lines("SELECT 1 + 1, 'a' || 'b', 1.5, 2.50 * 2, true, NULL").await, ["2|ab|1.5|5.00|t|-"]);
    assert_eq!(f.lines("SELECT 1, 1, count(*), count(*) FROM customers").await, ["1|1|3|3"]);
    assert_eq!(f.lines("VALUES (1, 'a'), (2, NULL)").await, ["1|a", "2|-"]);
    assert_eq!(f.run("  ; ").await.unwrap().tag, "");
    let r = f
        .run("SELECT now(), current_database(), current_user, version(), pg_backend_pid() > 0")
        .await
        .unwrap();
    assert_eq!(r.types, ["timestamptz", "text", "text", "text", "bool"]);
    assert_eq!(r.columns, ["now", "current_database", "current_user", "version", "?column?"]);
    assert_eq!(f.lines("SELECT current_setting('server_version_num')").await, ["150013"]);
    assert_eq!(f.lines("SHOW TimeZone").await, ["UTC"]);
    assert_eq!(
        f.lines("SELECT '\\x00ff'::bytea, '2024-02-29'::date + 1, '1 day'::interval").await,
        ["\\x00ff|2024-03-01|1 day"]
    );
    assert_eq!(f.tag("SET TimeZone = 'America/New_York'").await, "SET");
    assert_eq!(f.lines("SELECT '2024-01-01 00:00:00+00'::timestamptz").await, ["2023-12-31 19:00:00-05"]);
    assert_eq!(f.lines("SELECT '2024-01-01 00:00:00'::timestamptz").await, ["2024-01-01 00:00:00-05"]);
}

#[tokio::test]
async fn errors_are_postgresqls() {
    let mut f = Fixture::new(SHOP).await;
    let cases = [
        ("SELECT * FROM nothing", "42P01", "relation \"nothing\" does not exist"),
        ("SELECT * FROM other.customers", "42P01", "relation \"other.customers\" does not exist"),
        ("SELECT nope FROM customers", "42703", "column \"nope\" does not exist"),
        ("SELECT c.nope FROM customers c", "42703", "column c.nope does not exist"),
        ("SELECT id FROM customers, orders", "42702", "column reference \"id\" is ambiguous"),
        ("SELECT foo(1)", "42883", "function foo does not exist"),
        ("SELECT 1 / 0", "22012", "division by zero"),
        ("SELECT id / 0 FROM customers", "22012", "division by zero"),
        ("SELECT 'abc'::bigint", "22P02", "invalid input syntax for type bigint: \"abc\""),
        ("SELECT id + 9223372036854775807 FROM customers", "22003", "bigint out of range"),
        (
            "SELECT * FROM db.public.customers",
            "0A000",
            "cross-database references are not implemented: \"db.public.customers\"",
        ),
        ("SELECT name, count(*) FROM customers", "42803", ""),
        ("SELECT * FROM customers WHERE id = 'x'", "22P02", ""),
        ("CREATE TABLE x (a int)", "0A000", ""),
        ("SELECT pg_advisory_lock(1)", "0A000", ""),
    ];
    for (sql, code, message) in cases {
        let error = f.fails(sql).await;
        assert_eq!(error.code(), code, "{sql}: {error}");
        assert!(message.is_empty() || error.message() == message, "{sql}: {error}");
        assert!(!error.message().contains("DataFusion"), "{sql}: {error}");
    }
}

#[tokio::test]
async fn parameters_take_their_types_from_the_statement() {
    let mut f = Fixture::new(SHOP).await;
    let sql = "SELECT name FROM customers WHERE id = $1 AND vip = $2";
    let prepared = f.session.prepare(&f.main.clone(), sql, &[]).await.unwrap();
    let types: Vec<_> = prepared.parameters().iter().map(|t| t.name()).collect();
    assert_eq!(types, ["int8", "bool"]);
    assert_eq!(prepared.columns().unwrap()[0].name, "name");
    assert_eq!(f.bind(sql, &[Some("1"), Some("t")]).await.unwrap().lines(), ["Ann"]);
    assert_eq!(f.bind(sql, &[Some("1"), None]).await.unwrap().lines(), [""; 0]);
    assert_eq!(f.bind(sql, &[Some("x"), None]).await.unwrap_err().code(), "22P02");
    assert_eq!(f.bind(sql, &[Some("1")]).await.unwrap_err().code(), "08P01");
    assert_eq!(f.bind("SELECT $1::int + 1", &[Some("41")]).await.unwrap().lines(), ["42"]);
    assert_eq!(
        f.bind("SELECT id FROM customers ORDER BY id LIMIT $1", &[Some("2")]).await.unwrap().lines(),
        ["1", "2"]
    );
    assert_eq!(
        f.bind("SELECT sku FROM products WHERE price > $1", &[Some("1.5")]).await.unwrap().lines(),
        ["b"]
    );
    assert_eq!(
        f.bind("SELECT sku FROM products WHERE added = $1", &[Some("2024-02-29")]).await.unwrap().lines(),
        ["a"]
    );
}

#[tokio::test]
async fn filters_go_to_the_backend() {
    let mut f = Fixture::new(SHOP).await;
    let plan = f.lines("EXPLAIN SELECT name FROM customers WHERE id = 1 AND name LIKE 'A%'").await.join("\n");
    assert!(
        plan.contains("SELECT id, name FROM customers WHERE id = 1")
            || plan.contains("SELECT name FROM customers WHERE id = 1"),
        "{plan}"
    );
    let main = f.main.clone();
    let parts =
        f.session.explain(&main, "SELECT count(*) FROM orders WHERE customer_id IN (1, 2)").await.unwrap();
    assert_eq!(parts[0].backend.as_deref(), Some("shop"));
    assert!(parts[0].sql.contains("customer_id"), "{parts:?}");
}

#[tokio::test]
async fn cursors_stream_inside_a_block() {
    let mut f = Fixture::new(SHOP).await;
    assert_eq!(f.fails("DECLARE c CURSOR FOR SELECT 1").await.code(), "25P01");
    f.tag("BEGIN").await;
    f.tag("DECLARE c CURSOR FOR SELECT id FROM customers ORDER BY id").await;
    assert_eq!(f.lines("FETCH 2 FROM c").await, ["1", "2"]);
    assert_eq!(f.tag("MOVE 1 FROM c").await, "MOVE 1");
    let rest = f.run("FETCH ALL FROM c").await.unwrap();
    assert_eq!((rest.rows.len(), rest.tag.as_str()), (0, "FETCH 0"));
    assert_eq!(f.tag("CLOSE c").await, "CLOSE CURSOR");
    assert_eq!(f.fails("FETCH c").await.code(), "34000");
}

#[tokio::test]
async fn a_result_is_made_as_it_is_taken() {
    use epoch::federation::Outcome;
    use futures::StreamExt;

    let mut f = Fixture::new(SHOP).await;
    let main = f.main.clone();
    // A billion rows: only a stream that stops when it is dropped ends this test.
    let sql = "SELECT g, c.id FROM customers c, generate_series(1, 1000000000) AS t(g)";
    let Outcome::Rows { mut rows, .. } = f.session.simple(&main, sql).await.unwrap() else {
        panic!("no rows")
    };
    let first = rows.next().await.unwrap();
    assert!(first.is_ok(), "{:?}", first.err());
    drop(rows);
    assert_eq!(f.tag("DELETE FROM items").await, "DELETE 3", "the dropped statement holds nothing");
    assert_eq!(
        f.lines("SELECT upper(c.name) AS name FROM customers c ORDER BY c.name DESC").await,
        ["CID", "BOB", "ANN"]
    );
    assert_eq!(f.lines("SELECT c.id::text FROM customers c ORDER BY c.id LIMIT 1").await, ["1"]);
}
