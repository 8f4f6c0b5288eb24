//! The main job on a SQL Server backend, and together with another one; what can be seen without a server, too.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use common::conn::Conn;
use common::{Proxy, ProxyConfig, SqlServer};

const SCHEMA: &str = "
CREATE TABLE customers (
  id int IDENTITY CONSTRAINT customers_pk PRIMARY KEY, email nvarchar(80) NOT NULL CONSTRAINT customers_email UNIQUE,
  name nvarchar(40) NOT NULL, city nvarchar(20), credit decimal(12,2) NOT NULL DEFAULT 0 CONSTRAINT positive CHECK (credit >= 0),
  since datetimeoffset(6) NULL);
CREATE INDEX city ON customers (city);
CREATE TABLE orders (
  id bigint PRIMARY KEY, customer_id int NOT NULL CONSTRAINT of_customer REFERENCES customers (id), total float NOT NULL,
  status nvarchar(10) NOT NULL DEFAULT N'new');
CREATE TABLE keyless (a int);
WITH n AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM n WHERE n < 500)
INSERT INTO customers (email, name, city, credit)
  SELECT N'c' + CAST(n AS nvarchar(9)) + N'@example.com', N'Customer ' + CAST(n AS nvarchar(9)),
    CASE n % 3 WHEN 1 THEN N'Rome' WHEN 2 THEN N'Oslo' END, n * 7 % 1000 FROM n ORDER BY n OPTION (MAXRECURSION 0);
INSERT INTO orders SELECT id, 1 + id * 3 % 500, id % 50 + 0.5, N'new' FROM customers";

struct Shop {
    proxy: Proxy,
    server: SqlServer,
}

impl Shop {
    /// `None` if there is no server.
    fn new(others: ProxyConfig) -> Option<Self> {
        let server = SqlServer::create(SCHEMA)?;
        let extra = format!("[storage.sqlserver.erp]\nurl = \"{}\"\n", server.url);
        Some(Self { proxy: Proxy::start(ProxyConfig { extra, ..others }), server })
    }

    fn main(&self) -> Conn {
        self.proxy.connect("main")
    }

    fn everything(&self) -> Vec<String> {
        let mut all = self.server.lines("SELECT id, email, name, city, credit FROM customers ORDER BY id");
        all.extend(self.server.lines("SELECT * FROM orders ORDER BY id"));
        all
    }

    fn objects(&self) -> Vec<String> {
        self.server
            .lines("SELECT CAST(name AS nvarchar(200)) FROM sys.objects WHERE is_ms_shipped = 0 ORDER BY 1")
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
    let Some(shop) = Shop::new(ProxyConfig { sqlite: vec![], ..ProxyConfig::embedded() }) else { return };
    let (objects, plain) = (shop.objects(), shop.everything());
    let mut main = shop.main();
    let found =
        main.lines("SELECT location, registered, reason FROM epoch_discover('sqlserver://erp/*') ORDER BY 1");
    assert_eq!(found.len(), 3, "{found:?}");
    assert!(found[1].contains("keyless") && found[1].contains("no primary key"), "{found:?}");
    main.exec("SELECT * FROM epoch_register('*', 'sqlserver://erp/dbo.*')");
    main.exec("SELECT * FROM epoch_branch('feature/x')");
    let mut branch = shop.proxy.connect("feature/x");
    let fork = sums(&mut branch);
    assert_eq!(sums(&mut main), fork);

    let update = "UPDATE customers SET credit = credit + 1000 WHERE id IN (10, 11, 12)";
    assert_eq!(branch.exec(update).tags(), ["UPDATE 3"]);
    assert_eq!(branch.exec("DELETE FROM orders WHERE id = 77").tags(), ["DELETE 1"]);
    let new =
        "INSERT INTO customers (email, name) VALUES ('new@example.com', 'New') RETURNING id, credit, since";
    assert_eq!(branch.lines(new), ["501|0.00|"]);
    let e = branch.err("INSERT INTO customers (id, email, name) VALUES (1, 'x', 'y')");
    assert_eq!((e.code(), e.constraint()), ("23505", "customers_pk"));
    assert_eq!(branch.err("UPDATE customers SET credit = -1 WHERE id = 1").code(), "23514");
    assert_eq!(branch.err("INSERT INTO orders VALUES (5000, 99999, 1, 'new')").code(), "23503");
    assert_eq!(shop.everything(), plain, "main doesn't change by what a branch does");
    assert_eq!(sums(&mut main), fork);
    let own = sums(&mut branch);
    assert_ne!(own, fork);

    // Another program moves main.
    shop.server.run(
        "UPDATE customers SET credit = 5 WHERE id = 10; UPDATE customers SET city = N'Quito' WHERE id IN (11, 12); \
         DELETE FROM orders WHERE id = 78; INSERT INTO orders VALUES (9223372036854775807, 1, 9.5, N'new')",
    );
    assert_eq!(sums(&mut branch), own, "the branch shows main as of the fork");
    let columns = "tables_changed, rows_added, rows_modified, rows_deleted";
    assert_eq!(branch.call("epoch_commit('work on x')", columns), ["2|1|3|1"]);
    assert_eq!(main.call("epoch_commit('direct work')", columns), ["2|1|3|1"]);
    let before_merge = shop.everything();
    assert_eq!(main.call("epoch_merge('feature/x')", "fast_forward, conflicts"), ["f|1"]);
    assert_eq!(shop.everything(), before_merge, "nothing is applied while a conflict waits");
    assert_eq!(main.call("epoch_conflicts_resolve('theirs')", "resolved, remaining"), ["1|0"]);
    assert_eq!(main.call("epoch_merge('--continue')", "fast_forward, conflicts"), ["f|0"]);
    let merged = "SELECT id, name, credit, city FROM customers WHERE id IN (10, 11, 12, 501) ORDER BY id";
    let expected = [
        "10|Customer 10|1070.00|Rome",
        "11|Customer 11|1077.00|Quito",
        "12|Customer 12|1084.00|Quito",
        "501|New|0.00|",
    ];
    assert_eq!(shop.server.lines(merged), expected);
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
fn one_commit_and_one_join_over_two_backends() {
    let Some(shop) = Shop::new(ProxyConfig::embedded()) else { return };
    let file = rusqlite::Connection::open(shop.proxy.sqlite_path("shop")).unwrap();
    file.execute_batch("CREATE TABLE visits (customer_id INTEGER PRIMARY KEY, n INT); INSERT INTO visits VALUES (1, 10), (2, 20), (3, 30)")
        .unwrap();
    let mut main = shop.main();
    main.exec("SELECT * FROM epoch_register('customers', 'sqlserver://erp/dbo.customers')");
    main.exec("SELECT * FROM epoch_register('visits', 'sqlite://shop/visits')");
    main.exec("SELECT * FROM epoch_branch('both')");
    let mut branch = shop.proxy.connect("both");
    branch.exec("UPDATE customers SET credit = 1.25 WHERE id = 2");
    branch.exec("UPDATE visits SET n = n + 1 WHERE customer_id = 2");
    let join = "SELECT c.id, c.credit, v.n FROM customers c JOIN visits v ON v.customer_id = c.id WHERE c.id < 4 ORDER BY 1";
    assert_eq!(main.lines(join), ["1|7.00|10", "2|14.00|20", "3|21.00|30"]);
    assert_eq!(branch.lines(join), ["1|7.00|10", "2|1.25|21", "3|21.00|30"]);
    assert_eq!(branch.call("epoch_commit('one')", "tables_changed"), ["2"]);
    assert_eq!(main.call("epoch_merge('both')", "conflicts"), ["0"]);
    assert_eq!(main.lines(join), ["1|7.00|10", "2|1.25|21", "3|21.00|30"]);
    let location = "SELECT table_name, location FROM epoch.tables WHERE table_name = 'customers'";
    assert_eq!(main.lines(location), ["customers|sqlserver://erp/dbo.customers"]);
}

/// Through the proxy as clients see it, and without what the url says.
#[test]
fn a_server_that_is_not_there_is_named_without_its_url() {
    let extra = "[storage.sqlserver.erp]\nurl = \"sqlserver://sa:hunter2@127.0.0.1:1/erp\"\n".to_owned();
    let proxy = Proxy::start(ProxyConfig { sqlite: vec![], extra, ..ProxyConfig::embedded() });
    let mut main = proxy.connect("main");
    let error = main.err("SELECT * FROM epoch_register('*', 'sqlserver://erp/dbo.*')");
    assert_eq!((error.code(), error.message()), ("08001", "could not connect to backend \"erp\""));
    assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
    let backends = main.lines("SELECT * FROM epoch.backends");
    assert!(backends.iter().any(|line| line.contains("erp") && line.contains("sqlserver")), "{backends:?}");
    assert!(!format!("{backends:?}").contains("hunter2"), "{backends:?}");
}
