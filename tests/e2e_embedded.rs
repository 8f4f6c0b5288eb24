//! The main job on the embedded default: SQLite backend, SQLite metadata, no server but ours.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use common::conn::Conn;
use common::proxy::{Proxy, ProxyConfig};
use common::psql::psql_ok;

const CUSTOMERS: u32 = 20_000;

const SCHEMA: &str = "
CREATE TABLE customers (
  id INTEGER PRIMARY KEY, email TEXT NOT NULL UNIQUE, name TEXT NOT NULL, city TEXT,
  credit REAL NOT NULL DEFAULT 0 CHECK (credit >= 0));
CREATE INDEX customers_city ON customers (city);
CREATE TABLE orders (
  id INTEGER PRIMARY KEY, customer_id INTEGER NOT NULL REFERENCES customers (id), total REAL NOT NULL, status TEXT NOT NULL DEFAULT 'new');
CREATE INDEX orders_customer ON orders (customer_id);
CREATE TABLE keyless (a, b);
";

struct Shop {
    proxy: Proxy,
}

impl Shop {
    fn new(customers: u32) -> Self {
        let proxy = Proxy::start(ProxyConfig::embedded());
        let shop = Self { proxy };
        let file = shop.file();
        file.execute_batch(SCHEMA).unwrap();
        file.execute_batch(&format!(
            "WITH RECURSIVE g(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM g WHERE i < {customers}) \
             INSERT INTO customers SELECT i, 'c' || i || '@example.com', 'Customer ' || i, \
               CASE i % 3 WHEN 0 THEN 'Oslo' WHEN 1 THEN 'Rome' END, i * 7 % 1000 FROM g; \
             INSERT INTO orders SELECT id, 1 + id * 3 % {customers}, id % 500 + 0.5, 'new' FROM customers;"
        ))
        .unwrap();
        shop
    }

    /// The database as another program sees it.
    fn file(&self) -> rusqlite::Connection {
        let file = rusqlite::Connection::open(self.proxy.sqlite_path("shop")).unwrap();
        file.busy_timeout(std::time::Duration::from_secs(30)).unwrap();
        file.pragma_update(None, "foreign_keys", true).unwrap();
        file
    }

    fn main(&self) -> Conn {
        self.proxy.connect("main")
    }

    fn on(&self, reference: &str) -> Conn {
        self.proxy.connect(reference)
    }
}

/// Rows of a query on the file, as `a|b|c`.
fn lines(file: &rusqlite::Connection, sql: &str) -> Vec<String> {
    let mut statement = file.prepare(sql).unwrap();
    let columns = statement.column_count();
    let rows = statement.query_map([], |row| {
        let text = |i| match row.get_ref(i).unwrap() {
            rusqlite::types::ValueRef::Null => String::new(),
            rusqlite::types::ValueRef::Integer(n) => n.to_string(),
            rusqlite::types::ValueRef::Real(f) => f.to_string(),
            rusqlite::types::ValueRef::Text(t) => String::from_utf8_lossy(t).into_owned(),
            rusqlite::types::ValueRef::Blob(b) => format!("{b:?}"),
        };
        Ok((0..columns).map(text).collect::<Vec<_>>().join("|"))
    });
    rows.unwrap().map(Result::unwrap).collect()
}

const ALL_CUSTOMERS: &str = "SELECT id, email, name, city, credit FROM customers ORDER BY id";

fn schema(file: &rusqlite::Connection) -> Vec<String> {
    lines(file, "SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY 1, 2")
}

fn everything(file: &rusqlite::Connection) -> Vec<String> {
    let mut all = lines(file, ALL_CUSTOMERS);
    all.extend(lines(file, "SELECT * FROM orders ORDER BY id"));
    all
}

fn sums(conn: &mut Conn) -> Vec<String> {
    let mut all =
        conn.lines("SELECT count(*), sum(credit), count(city), min(name), max(name) FROM customers");
    all.extend(conn.lines("SELECT count(*), sum(total), sum(customer_id) FROM orders"));
    all
}

#[test]
fn main_job() {
    let shop = Shop::new(CUSTOMERS);
    let file = shop.file();
    let schema_before = schema(&file);
    let plain = everything(&file);
    let mut main = shop.main();

    let registered = [
        main.call("epoch_register('customers')", "table_name"),
        main.call("epoch_register('orders')", "table_name"),
    ]
    .concat();
    assert_eq!(registered, ["customers", "orders"]);
    main.exec("SELECT * FROM epoch_branch('feature/x')");
    let mut branch = shop.on("feature/x");
    let fork = sums(&mut branch);
    assert_eq!(sums(&mut main), fork);

    assert_eq!(
        branch.exec("UPDATE customers SET credit = credit + 1000 WHERE id IN (10, 11, 12)").tags(),
        ["UPDATE 3"]
    );
    assert_eq!(branch.exec("DELETE FROM orders WHERE id = 77").tags(), ["DELETE 1"]);
    let reply = branch.exec(
        "INSERT INTO customers (id, email, name) VALUES (900001, 'new@example.com', 'New') RETURNING id",
    );
    assert_eq!((reply.tags(), reply.rows()), (vec!["INSERT 0 1"], vec![vec![Some("900001".to_owned())]]));
    assert_eq!(everything(&file), plain, "the file doesn't change by what a branch does");
    assert_eq!(sums(&mut main), fork);
    let own = sums(&mut branch);
    assert_ne!(own, fork);

    // Another program moves main.
    file.execute_batch(
        "UPDATE customers SET credit = 5 WHERE id = 10; UPDATE customers SET city = 'Quito' WHERE id IN (11, 12); \
         UPDATE customers SET name = 'Changed on main' WHERE id = 500; DELETE FROM orders WHERE id = 78; \
         INSERT INTO orders VALUES (900002, 1, 9.5, 'new');",
    )
    .unwrap();
    assert_eq!(sums(&mut branch), own, "the branch shows main as of the fork");

    let columns = "tables_changed, rows_added, rows_modified, rows_deleted";
    assert_eq!(branch.call("epoch_commit('work on x')", columns), ["2|1|3|1"]);
    assert_eq!(main.call("epoch_commit('direct work')", columns), ["2|1|4|1"]);
    assert_eq!(sums(&mut branch), own);
    assert!(branch.err("SELECT * FROM epoch_commit('again')").message().starts_with("nothing to commit"));

    let diff = main.lines(
        "SELECT diff_type, from_id, to_id, from_credit, to_credit FROM epoch_diff('feature/x~1', 'feature/x', 'customers') ORDER BY to_id",
    );
    assert_eq!(
        diff,
        ["modified|10|10|70|1070", "modified|11|11|77|1077", "modified|12|12|84|1084", "added||900001||0"]
    );
    let all = main
        .lines("SELECT diff_type, key FROM epoch_diff('feature/x~1..feature/x') WHERE table_name = 'orders'");
    assert_eq!(all.len(), 1);
    assert!(all[0].starts_with("removed|") && all[0].contains("77"), "{all:?}");
    let joined = main.lines(
        "SELECT c.name, d.to_credit FROM epoch_diff('feature/x~1', 'feature/x', 'customers') d JOIN customers c ON c.id = d.to_id WHERE c.id = 11",
    );
    assert_eq!(joined, ["Customer 11|1077"]);

    let before_merge = everything(&file);
    assert_eq!(main.call("epoch_merge('feature/x')", "fast_forward, conflicts"), ["f|1"]);
    assert_eq!(everything(&file), before_merge, "nothing is applied while a conflict waits");
    assert_eq!(main.lines("SELECT table_name, num_conflicts FROM epoch.conflicts"), ["customers|1"]);
    let conflict = main.lines(
        "SELECT kind, base_id, base_credit, our_credit, their_credit FROM epoch_conflicts('customers')",
    );
    assert_eq!(conflict, ["modify/modify|10|70|5|1070"]);
    assert_eq!(main.call("epoch_conflicts_resolve('theirs')", "resolved, remaining"), ["1|0"]);
    assert_eq!(main.call("epoch_merge('--continue')", "fast_forward, conflicts"), ["f|0"]);
    let merged =
        lines(&file, "SELECT id, credit, city FROM customers WHERE id IN (10, 11, 12, 900001) ORDER BY id");
    assert_eq!(merged, ["10|1070|Rome", "11|1077|Quito", "12|1084|Quito", "900001|0|"]);
    assert_eq!(lines(&file, "SELECT id FROM orders WHERE id IN (77, 78, 900002)"), ["900002"]);
    assert_eq!(sums(&mut branch), own, "a merge into main doesn't move the branch");

    drop(branch);
    let merged = everything(&file);
    main.exec("SELECT * FROM epoch_branch('-D', 'feature/x')");
    main.exec("SELECT * FROM epoch_unregister('orders')");
    main.exec("SELECT * FROM epoch_unregister('customers')");
    assert_eq!(schema(&file), schema_before, "the file's schema is as it was before registration");
    assert_eq!(everything(&file), merged, "with the rows of the merge");
}

#[test]
fn every_way_to_a_branch() {
    let shop = Shop::new(10);
    shop.main().exec("SELECT * FROM epoch_register('customers')");
    shop.main().exec("SELECT * FROM epoch_branch('feature/x')");
    shop.on("feature/x").exec("UPDATE customers SET name = 'On x' WHERE id = 1");
    let name = "SELECT name FROM customers WHERE id = 1";
    let options = shop.proxy.target("main").param("options", "-c epoch.branch=feature/x");
    assert_eq!(options.connect().one(name), "On x");
    assert_eq!(psql_ok(&shop.proxy.target("feature/x"), &format!("{name};\n")), "On x\n");
    let mut conn = shop.main();
    assert_eq!(conn.one(name), "Customer 1");
    conn.exec("SET epoch.branch = 'feature/x'");
    assert_eq!(conn.one(name), "On x");
    conn.exec("RESET epoch.branch");
    assert_eq!(conn.one(name), "Customer 1");
    conn.exec("SELECT * FROM epoch_checkout('feature/x')");
    assert_eq!(conn.one(name), "On x");
    conn.exec("DISCARD ALL");
    assert_eq!(conn.one(name), "Customer 1");
    conn.exec("BEGIN");
    assert_eq!(conn.err("SET epoch.branch = 'feature/x'").code(), "25001");
    conn.exec("ROLLBACK");
    let mut x = shop.on("feature/x");
    x.exec("SELECT * FROM epoch_commit('on x')");
    x.exec("SELECT * FROM epoch_tag('v1')");
    let mut tag = shop.on("v1");
    assert_eq!(tag.one(name), "On x");
    assert_eq!(tag.err("DELETE FROM customers WHERE id = 1").code(), "25006");
}

#[test]
fn transactions_and_errors() {
    let shop = Shop::new(10);
    let mut main = shop.main();
    main.exec("SELECT * FROM epoch_register('customers')");
    main.exec("SELECT * FROM epoch_register('orders')");
    main.exec("SELECT * FROM epoch_branch('b')");
    for reference in ["main", "b"] {
        let mut conn = shop.on(reference);
        conn.exec("BEGIN");
        conn.exec("UPDATE customers SET name = 'one' WHERE id = 1");
        assert_eq!(
            conn.one("SELECT name FROM customers WHERE id = 1"),
            "one",
            "{reference}: sees its own write"
        );
        conn.exec("SAVEPOINT s");
        conn.exec("DELETE FROM orders WHERE id = 2");
        assert_eq!(conn.one("SELECT count(*) FROM orders"), "9");
        conn.exec("ROLLBACK TO s");
        assert_eq!(conn.one("SELECT count(*) FROM orders"), "10");
        conn.exec("ROLLBACK");
        assert_eq!(conn.one("SELECT name FROM customers WHERE id = 1"), "Customer 1", "{reference}");

        conn.exec("BEGIN");
        let error = conn.err("INSERT INTO customers (id, email, name) VALUES (1, 'z', 'z')");
        assert_eq!(error.code(), "23505", "{reference}: {error:?}");
        assert_eq!(conn.err("SELECT 1").code(), "25P02");
        assert_eq!(conn.exec("COMMIT").tags(), ["ROLLBACK"]);
        assert_eq!(conn.err("UPDATE customers SET credit = -1 WHERE id = 3").code(), "23514", "{reference}");
        assert_eq!(conn.err("UPDATE customers SET name = NULL WHERE id = 3").code(), "23502", "{reference}");
    }
    for (sql, code) in [
        ("SELEC 1", "42601"),
        ("SELECT * FROM nowhere", "42P01"),
        ("SELECT nothing FROM customers", "42703"),
        ("SELECT * FROM epoch_register('keyless')", "42830"),
        ("SELECT * FROM epoch_merge('not/there')", "3D000"),
        ("SELECT * FROM epoch_commit('--nonsense')", "22023"),
        ("SELECT 1/0", "22012"),
    ] {
        let error = main.err(sql);
        assert_eq!(error.code(), code, "{sql}: {error:?}");
        assert_eq!(main.one("SELECT 1"), "1");
    }
    assert_eq!(lines(&shop.file(), "SELECT count(*) FROM customers"), ["10"]);
}

/// `\d` and friends, and rows through the extended protocol with parameters.
#[test]
fn psql_and_drivers_find_their_way() {
    let shop = Shop::new(50);
    let mut main = shop.main();
    main.exec("SELECT * FROM epoch_register('customers')");
    let text = psql_ok(&shop.proxy.target("main"), "\\dt\n");
    assert!(text.contains("customers"), "{text}");
    let text = psql_ok(&shop.proxy.target("main"), "\\d customers\n");
    assert!(text.contains("email"), "{text}");
    let reply = main.extended("SELECT id, name FROM customers WHERE id = $1", &[Some("7")], false);
    assert_eq!(reply.rows(), [[Some("7".to_owned()), Some("Customer 7".to_owned())]], "{reply:?}");
    let reply = main.extended("SELECT id FROM customers WHERE id = $1", &[Some("7")], true);
    assert_eq!(reply.raw_rows(), [&vec![Some(7i64.to_be_bytes().to_vec())]], "{reply:?}");
}

/// A table of SQLite and one of PostgreSQL in one statement.
#[test]
fn join_across_backends() {
    need_postgres!();
    let db = common::Database::create();
    db.connect().exec(
        "CREATE TABLE regions (city text PRIMARY KEY, region text NOT NULL); INSERT INTO regions VALUES ('Oslo','North'),('Rome','South')",
    );
    let config = ProxyConfig { postgres: vec![("pg".into(), db.url())], ..ProxyConfig::embedded() };
    let proxy = Proxy::start(config);
    let file = rusqlite::Connection::open(proxy.sqlite_path("shop")).unwrap();
    file.execute_batch(
        "CREATE TABLE people (id INTEGER PRIMARY KEY, city TEXT); INSERT INTO people VALUES (1,'Oslo'),(2,'Rome'),(3,'Oslo')",
    )
    .unwrap();
    let mut main = proxy.connect("main");
    main.exec("SELECT * FROM epoch_register('regions', 'postgresql://pg/public.regions')");
    main.exec("SELECT * FROM epoch_register('people', 'sqlite://shop/people')");
    let join = "SELECT r.region, count(*) FROM people p JOIN regions r ON r.city = p.city GROUP BY r.region ORDER BY 1";
    assert_eq!(main.lines(join), ["North|2", "South|1"]);
    main.exec("SELECT * FROM epoch_branch('b')");
    let mut branch = proxy.connect("b");
    branch.exec("UPDATE people SET city = 'Rome' WHERE id = 1");
    branch.exec("UPDATE regions SET region = 'Far South' WHERE city = 'Rome'");
    assert_eq!(branch.lines(join), ["Far South|2", "North|1"]);
    assert_eq!(main.lines(join), ["North|2", "South|1"]);
    assert_eq!(branch.call("epoch_commit('both')", "tables_changed"), ["2"]);
    assert_eq!(main.call("epoch_merge('b')", "fast_forward, conflicts"), ["t|0"]);
    assert_eq!(db.connect().one("SELECT region FROM regions WHERE city = 'Rome'"), "Far South");
    assert_eq!(lines(&file, "SELECT city FROM people WHERE id = 1"), ["Rome"]);
}
