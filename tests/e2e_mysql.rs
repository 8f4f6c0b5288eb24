//! The main job on a MySQL backend, and together with the others.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use common::conn::Conn;
use common::{Database, Mysql, Proxy, ProxyConfig, postgres_url};

const SCHEMA: &str = "
CREATE TABLE customers (
  id INT AUTO_INCREMENT PRIMARY KEY, email VARCHAR(80) NOT NULL UNIQUE, name VARCHAR(40) NOT NULL, city VARCHAR(20),
  credit DECIMAL(12,2) NOT NULL DEFAULT 0 CHECK (credit >= 0), since TIMESTAMP(6) NULL, KEY city (city));
CREATE TABLE orders (
  id BIGINT UNSIGNED PRIMARY KEY, customer_id INT NOT NULL, total DOUBLE NOT NULL, status ENUM('new', 'paid') NOT NULL DEFAULT 'new',
  FOREIGN KEY (customer_id) REFERENCES customers (id));
CREATE TABLE keyless (a INT);
INSERT INTO customers (id, email, name, city, credit)
  SELECT seq, CONCAT('c', seq, '@example.com'), CONCAT('Customer ', seq), ELT(seq % 3, 'Rome', 'Oslo'), seq * 7 % 1000 FROM seq_1_to_2000;
INSERT INTO orders SELECT id, 1 + id * 3 % 2000, id % 500 + 0.5, 'new' FROM customers";

struct Shop {
    proxy: Proxy,
    mysql: Mysql,
}

impl Shop {
    /// `None` if there is no server. (`make test`'s may lose commits.)
    fn new(others: ProxyConfig) -> Option<Self> {
        let mysql = Mysql::create(SCHEMA)?;
        let extra = format!(
            "[storage.mysql.web]\nurl = \"{}\"\nallow_unsafe_source = {}\n",
            mysql.url, others.unsafe_source
        );
        Some(Self { proxy: Proxy::start(ProxyConfig { extra, ..others }), mysql })
    }

    fn alone() -> Option<Self> {
        Self::new(ProxyConfig { sqlite: vec![], ..ProxyConfig::embedded() })
    }

    fn main(&self) -> Conn {
        self.proxy.connect("main")
    }

    fn on(&self, reference: &str) -> Conn {
        self.proxy.connect(reference)
    }

    fn everything(&self) -> Vec<String> {
        let mut all = self.mysql.lines("SELECT * FROM customers ORDER BY id");
        all.extend(self.mysql.lines("SELECT * FROM orders ORDER BY id"));
        all
    }

    fn objects(&self) -> Vec<String> {
        self.mysql.lines(
            "SELECT TABLE_NAME FROM information_schema.TABLES WHERE TABLE_SCHEMA = DATABASE() UNION ALL \
             SELECT TRIGGER_NAME FROM information_schema.TRIGGERS WHERE TRIGGER_SCHEMA = DATABASE() ORDER BY 1",
        )
    }
}

fn sums(conn: &mut Conn) -> Vec<String> {
    let mut all =
        conn.lines("SELECT count(*), sum(credit), count(city), min(name), max(name) FROM customers");
    all.extend(conn.lines("SELECT count(*), sum(total), sum(customer_id) FROM orders"));
    all
}

#[test]
fn main_job() {
    let Some(shop) = Shop::alone() else { return };
    let (objects, plain) = (shop.objects(), shop.everything());
    let mut main = shop.main();
    let found =
        main.lines("SELECT location, registered, reason FROM epoch_discover('mysql://web/*') ORDER BY 1");
    assert_eq!(found.len(), 3, "{found:?}");
    assert!(found[1].contains("keyless") && found[1].contains("no primary key"), "{found:?}");
    main.exec("SELECT * FROM epoch_register('*', 'mysql://web/*')");
    main.exec("SELECT * FROM epoch_branch('feature/x')");
    let mut branch = shop.on("feature/x");
    let fork = sums(&mut branch);
    assert_eq!(sums(&mut main), fork);

    assert_eq!(
        branch.exec("UPDATE customers SET credit = credit + 1000 WHERE id IN (10, 11, 12)").tags(),
        ["UPDATE 3"]
    );
    assert_eq!(branch.exec("DELETE FROM orders WHERE id = 77").tags(), ["DELETE 1"]);
    let new =
        "INSERT INTO customers (email, name) VALUES ('new@example.com', 'New') RETURNING id, credit, since";
    assert_eq!(branch.lines(new), ["2001|0.00|"]);
    let deleted = branch.lines("DELETE FROM orders WHERE id = 79 RETURNING id, status");
    assert_eq!(deleted, ["79|new"]);
    let e = branch.err("INSERT INTO customers (id, email, name) VALUES (1, 'x', 'y')");
    assert_eq!((e.code(), e.constraint()), ("23505", "customers_pkey"));
    let upsert = "INSERT INTO customers (id, email, name) VALUES (10, 'c10@example.com', 'Ten') ON CONFLICT (id) DO UPDATE SET name = excluded.name";
    branch.exec(upsert);
    assert_eq!(branch.err("UPDATE customers SET credit = -1 WHERE id = 1").code(), "23514");
    assert_eq!(branch.err("INSERT INTO orders VALUES (5000, 99999, 1, 'new')").code(), "23503");
    assert_eq!(shop.everything(), plain, "main doesn't change by what a branch does");
    assert_eq!(sums(&mut main), fork);
    let own = sums(&mut branch);
    assert_ne!(own, fork);

    // Another program moves main.
    shop.mysql.run(
        "UPDATE customers SET credit = 5 WHERE id = 10; UPDATE customers SET city = 'Quito' WHERE id IN (11, 12); \
         REPLACE INTO orders VALUES (500, 1, 1.5, 'paid'); DELETE FROM orders WHERE id = 78; \
         INSERT INTO orders VALUES (18446744073709551615, 1, 9.5, 'new')",
    );
    assert_eq!(sums(&mut branch), own, "the branch shows main as of the fork");

    let columns = "tables_changed, rows_added, rows_modified, rows_deleted";
    assert_eq!(branch.call("epoch_commit('work on x')", columns), ["2|1|3|2"]);
    assert_eq!(main.call("epoch_commit('direct work')", columns), ["2|1|4|1"]);
    assert!(branch.err("SELECT * FROM epoch_commit('again')").message().starts_with("nothing to commit"));
    let diff = main.lines(
        "SELECT diff_type, to_id, from_credit, to_credit FROM epoch_diff('feature/x~1', 'feature/x', 'customers') ORDER BY to_id",
    );
    assert_eq!(
        diff,
        [
            "modified|10|70.00|1070.00",
            "modified|11|77.00|1077.00",
            "modified|12|84.00|1084.00",
            "added|2001||0.00"
        ]
    );
    let before_merge = shop.everything();
    assert_eq!(main.call("epoch_merge('feature/x')", "fast_forward, conflicts"), ["f|1"]);
    assert_eq!(shop.everything(), before_merge, "nothing is applied while a conflict waits");
    assert_eq!(main.call("epoch_conflicts_resolve('theirs')", "resolved, remaining"), ["1|0"]);
    assert_eq!(main.call("epoch_merge('--continue')", "fast_forward, conflicts"), ["f|0"]);
    let merged = "SELECT id, name, credit, city FROM customers WHERE id IN (10, 11, 12, 2001) ORDER BY id";
    assert_eq!(
        shop.mysql.lines(merged),
        [
            "10|Ten|1070.00|Rome",
            "11|Customer 11|1077.00|Quito",
            "12|Customer 12|1084.00|Quito",
            "2001|New|0.00|"
        ]
    );
    let rest = "SELECT id FROM orders WHERE id IN (77, 78, 79, 18446744073709551615)";
    assert_eq!(shop.mysql.lines(rest), ["18446744073709551615"]);
    assert_eq!(main.lines("SELECT id FROM orders WHERE id = 18446744073709551615"), ["18446744073709551615"]);
    assert_eq!(sums(&mut branch), own, "a merge into main doesn't move the branch");

    drop(branch);
    let merged = shop.everything();
    main.exec("SELECT * FROM epoch_branch('-D', 'feature/x')");
    main.exec("SELECT * FROM epoch_unregister('orders')");
    main.exec("SELECT * FROM epoch_unregister('customers')");
    assert_eq!(shop.objects(), objects, "the database is as it was before registration");
    assert_eq!(shop.everything(), merged, "with the rows of the merge");
}

#[test]
fn one_commit_and_one_join_over_several_backends() {
    let mut config = ProxyConfig::embedded();
    let postgres = postgres_url().map(|_| Database::create());
    if let Some(db) = &postgres {
        db.connect().exec("CREATE TABLE notes (customer_id int PRIMARY KEY, note text)");
        db.connect().exec("INSERT INTO notes VALUES (1, 'first'), (2, 'second')");
        config.postgres = vec![("pg".to_owned(), db.url())];
    }
    let Some(shop) = Shop::new(config) else { return };
    let file = rusqlite::Connection::open(shop.proxy.sqlite_path("shop")).unwrap();
    file.execute_batch("CREATE TABLE visits (customer_id INTEGER PRIMARY KEY, n INT); INSERT INTO visits VALUES (1, 10), (2, 20), (3, 30)")
        .unwrap();
    let mut main = shop.main();
    main.exec("SELECT * FROM epoch_register('customers', 'mysql://web/customers')");
    main.exec("SELECT * FROM epoch_register('visits', 'sqlite://shop/visits')");
    if postgres.is_some() {
        main.exec("SELECT * FROM epoch_register('notes', 'postgresql://pg/public.notes')");
    }
    main.exec("SELECT * FROM epoch_branch('both')");
    let mut branch = shop.on("both");
    branch.exec("UPDATE customers SET credit = 1.25 WHERE id = 2");
    branch.exec("UPDATE visits SET n = n + 1 WHERE customer_id = 2");
    let join = "SELECT c.id, c.credit, v.n FROM customers c JOIN visits v ON v.customer_id = c.id WHERE c.id < 4 ORDER BY 1";
    assert_eq!(main.lines(join), ["1|7.00|10", "2|14.00|20", "3|21.00|30"]);
    assert_eq!(branch.lines(join), ["1|7.00|10", "2|1.25|21", "3|21.00|30"]);
    if postgres.is_some() {
        branch.exec("UPDATE notes SET note = 'changed' WHERE customer_id = 2");
        let three = "SELECT n.note, c.credit, v.n FROM notes n JOIN customers c ON c.id = n.customer_id JOIN visits v ON v.customer_id = c.id ORDER BY c.id";
        assert_eq!(main.lines(three), ["first|7.00|10", "second|14.00|20"]);
        assert_eq!(branch.lines(three), ["first|7.00|10", "changed|1.25|21"]);
    }
    let tables = if postgres.is_some() { "3" } else { "2" };
    assert_eq!(branch.call("epoch_commit('one')", "tables_changed"), [tables]);
    assert_eq!(main.call("epoch_merge('both')", "conflicts"), ["0"]);
    assert_eq!(main.lines(join), ["1|7.00|10", "2|1.25|21", "3|21.00|30"]);
    assert_eq!(shop.mysql.lines("SELECT credit FROM customers WHERE id = 2"), ["1.25"]);
    let count: i64 =
        file.query_row("SELECT n FROM visits WHERE customer_id = 2", [], |row| row.get(0)).unwrap();
    assert_eq!(count, 21);
    let location = "SELECT table_name, location FROM epoch.tables WHERE table_name = 'customers'";
    assert_eq!(main.lines(location), ["customers|mysql://web/customers"]);
    assert!(
        main.lines("SELECT * FROM epoch.backends")
            .iter()
            .any(|line| line.contains("web") && line.contains("mysql"))
    );
}

#[test]
fn transactions_and_prepared_statements() {
    let Some(shop) = Shop::alone() else { return };
    shop.main().exec("SELECT * FROM epoch_register('*', 'mysql://web/*')");
    shop.main().exec("SELECT * FROM epoch_branch('x')");
    for reference in ["main", "x"] {
        let mut conn = shop.on(reference);
        let credit = "SELECT credit FROM customers WHERE id = 5";
        conn.exec("BEGIN");
        conn.exec("UPDATE customers SET credit = 1 WHERE id = 5");
        conn.exec("SAVEPOINT a");
        conn.exec("UPDATE customers SET credit = 2 WHERE id = 5");
        assert_eq!(conn.one(credit), "2.00");
        assert_eq!(conn.err("INSERT INTO customers (id, email, name) VALUES (5, 'e', 'n')").code(), "23505");
        assert_eq!(conn.err(credit).code(), "25P02");
        conn.exec("ROLLBACK TO a");
        assert_eq!(conn.one(credit), "1.00");
        assert_eq!(shop.on(reference).one(credit), "35.00");
        conn.exec("COMMIT");
        assert_eq!(shop.on(reference).one(credit), "1.00");
        conn.exec("BEGIN; UPDATE customers SET credit = 3 WHERE id = 5; ROLLBACK");
        assert_eq!(conn.one(credit), "1.00");
        let reply =
            conn.extended("UPDATE customers SET name = $1 WHERE id = $2", &[Some("Grüße"), Some("5")], false);
        assert_eq!(reply.tags(), ["UPDATE 1"]);
        let reply = conn.extended(
            "SELECT name FROM customers WHERE id = $1 AND city = $2",
            &[Some("5"), Some("Oslo")],
            false,
        );
        assert_eq!(reply.rows(), [[Some("Grüße".to_owned())]]);
    }
    // Increments from two sessions lose nothing.
    for reference in ["main", "x"] {
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    let mut conn = shop.on(reference);
                    for _ in 0..10 {
                        assert_eq!(
                            conn.exec("UPDATE customers SET credit = credit + 1 WHERE id = 6").tags(),
                            ["UPDATE 1"]
                        );
                    }
                });
            }
        });
        assert_eq!(shop.on(reference).one("SELECT credit FROM customers WHERE id = 6"), "72.00");
    }
}

#[test]
fn a_merge_into_main_is_refused_where_a_crash_could_lose_it() {
    let others = ProxyConfig { sqlite: vec![], unsafe_source: false, ..ProxyConfig::embedded() };
    let Some(shop) = Shop::new(others) else { return };
    let log = shop.mysql.lines("SELECT CAST(@@innodb_flush_log_at_trx_commit AS CHAR)");
    assert_eq!(log, ["0"], "the tests' server is one that may lose commits");
    let mut main = shop.main();
    main.exec("SELECT * FROM epoch_register('*', 'mysql://web/*')");
    main.exec("SELECT * FROM epoch_branch('b')");
    let mut b = shop.on("b");
    b.exec("DELETE FROM orders WHERE id = 1");
    b.exec("SELECT * FROM epoch_commit('one less')");
    let before = main.one("SELECT count(*) FROM orders");
    let error = main.err("SELECT * FROM epoch_merge('b')");
    let message = "backend \"web\" may lose commits, so main's tables are not written to";
    assert_eq!((error.code(), error.message()), ("55000", message));
    assert!(error.detail().contains("innodb_flush_log_at_trx_commit is 0"), "{error:?}");
    assert!(error.hint().contains("[storage.mysql.web]"), "{error:?}");
    assert_eq!(main.one("SELECT count(*) FROM orders"), before);
}

#[test]
fn keys_that_differ_in_case_only_are_merged_or_in_conflict() {
    let schema = "CREATE TABLE t (name VARCHAR(20) COLLATE utf8mb4_general_ci PRIMARY KEY, v INT); \
        INSERT INTO t VALUES ('Ann', 1), ('Bob', 1)";
    let Some(mysql) = Mysql::create(schema) else { return };
    let extra = format!("[storage.mysql.web]\nurl = \"{}\"\nallow_unsafe_source = true\n", mysql.url);
    let proxy = Proxy::start(ProxyConfig { sqlite: vec![], extra, ..ProxyConfig::embedded() });
    let mut main = proxy.connect("main");
    main.exec("SELECT * FROM epoch_register('t', 'mysql://web/t')");
    main.exec("SELECT * FROM epoch_branch('b')");
    let mut b = proxy.connect("b");
    // One side writes a key otherwise, the other one changes the row.
    mysql.run("UPDATE t SET name = 'ANN' WHERE name = 'Ann'");
    main.exec("SELECT * FROM epoch_commit('ANN')");
    b.exec("UPDATE t SET v = 2 WHERE name = 'Ann'");
    b.exec("SELECT * FROM epoch_commit('two')");
    assert_eq!(b.call("epoch_merge('main')", "conflicts"), ["0"]);
    assert_eq!(b.lines("SELECT name, v FROM t ORDER BY name"), ["ANN|2", "Bob|1"]);
    main.exec("SELECT * FROM epoch_merge('b')");
    assert_eq!(mysql.lines("SELECT name, v FROM t ORDER BY name"), ["ANN|2", "Bob|1"]);
    // Both make the same row, each in its own way.
    mysql.run("INSERT INTO t VALUES ('carl', 5)");
    main.exec("SELECT * FROM epoch_commit('carl')");
    b.exec("INSERT INTO t VALUES ('CARL', 6)");
    b.exec("SELECT * FROM epoch_commit('CARL')");
    assert_eq!(main.call("epoch_merge('b')", "conflicts"), ["1"]);
    let columns = "SELECT kind, our_name, their_name FROM epoch_conflicts('t')";
    assert_eq!(main.lines(columns), ["insert/insert|carl|CARL"]);
    main.exec("SELECT * FROM epoch_conflicts_resolve('theirs')");
    main.exec("SELECT * FROM epoch_merge('--continue')");
    assert_eq!(mysql.lines("SELECT name, v FROM t ORDER BY name"), ["ANN|2", "Bob|1", "CARL|6"]);
}
