//! The main job on Delta tables of a folder, and together with SQLite and PostgreSQL. The other engine that writes to them
//! is delta-rs, by a path of its own.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{Decimal128Array, Int64Array, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::record_batch::RecordBatch;
use common::conn::Conn;
use common::{Database, Proxy, ProxyConfig, postgres_url};
use deltalake_core::operations::vacuum::VacuumMode;
use deltalake_core::{DeltaTable, DeltaTableBuilder};
use url::Url;

/// `customers`: id, name, city, credit; 2000 of them.
fn customers() -> RecordBatch {
    let ids = || 1..=2000_i64;
    let city = |id: i64| [None, Some("Rome"), Some("Oslo")][(id % 3) as usize];
    let credit = Decimal128Array::from_iter_values(ids().map(|id| i128::from(id * 7 % 1000 * 100)));
    let schema = Schema::new(vec![
        Field::new("id", DataType::Int64, false),
        Field::new("name", DataType::Utf8, false),
        Field::new("city", DataType::Utf8, true),
        Field::new("credit", DataType::Decimal128(12, 2), true),
    ]);
    let columns: Vec<arrow::array::ArrayRef> = vec![
        Arc::new(ids().collect::<Int64Array>()),
        Arc::new(ids().map(|id| Some(format!("Customer {id}"))).collect::<StringArray>()),
        Arc::new(ids().map(city).collect::<StringArray>()),
        Arc::new(credit.with_precision_and_scale(12, 2).unwrap()),
    ];
    RecordBatch::try_new(Arc::new(schema), columns).unwrap()
}

struct Lake {
    proxy: Proxy,
    folder: tempfile::TempDir,
    runtime: tokio::runtime::Runtime,
}

impl Lake {
    fn new(config: ProxyConfig) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let path = folder.path().join("crm/customers");
        runtime.block_on(epoch_adapter_delta::make_table(&path, customers())).unwrap();
        let extra = format!("[storage.local.lake]\npath = \"{}\"\n", folder.path().display());
        Self { proxy: Proxy::start(ProxyConfig { extra, ..config }), folder, runtime }
    }

    fn alone() -> Self {
        Self::new(ProxyConfig { sqlite: vec![], ..ProxyConfig::embedded() })
    }

    fn register(&self) -> Conn {
        let mut main = self.proxy.connect("main");
        main.exec(
            "SELECT * FROM epoch_register('customers', 'local://lake/crm/customers', key => ARRAY['id'])",
        );
        main
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("crm/customers")
    }

    /// The table as another engine sees it.
    async fn table(&self) -> DeltaTable {
        let url = Url::from_directory_path(self.path()).unwrap();
        DeltaTableBuilder::from_url(url).unwrap().load().await.unwrap()
    }

    /// Another engine sets the credit of rows.
    fn set(&self, credit: &str, predicate: &str) {
        let update = async {
            self.table().await.update().with_predicate(predicate).with_update("credit", credit).await
        };
        self.runtime.block_on(update).unwrap();
    }

    fn delete(&self, predicate: &str) {
        self.runtime.block_on(async { self.table().await.delete().with_predicate(predicate).await }).unwrap();
    }

    fn vacuum(&self) {
        let vacuum = async {
            let vacuum = self.table().await.vacuum().with_retention_period(chrono::Duration::zero());
            vacuum.with_enforce_retention_duration(false).with_mode(VacuumMode::Full).await
        };
        self.runtime.block_on(vacuum).unwrap();
    }

    fn version(&self) -> u64 {
        self.runtime.block_on(self.table()).version().unwrap()
    }

    /// What another engine reads.
    fn read(&self, sql: &str) -> Vec<String> {
        self.runtime.block_on(async {
            let context = datafusion::prelude::SessionContext::new();
            let provider = self.table().await.table_provider().build().await.unwrap();
            context.register_table("customers", Arc::new(provider)).unwrap();
            let batches = context.sql(sql).await.unwrap().collect().await.unwrap();
            let text = arrow::util::pretty::pretty_format_batches(&batches).unwrap().to_string();
            let rows = text.lines().filter(|l| l.starts_with('|')).skip(1);
            rows.map(|l| l.trim_matches('|').split('|').map(str::trim).collect::<Vec<_>>().join("|"))
                .collect()
        })
    }
}

fn sums(conn: &mut Conn) -> Vec<String> {
    conn.lines("SELECT count(*), sum(credit), count(city), min(name), max(name) FROM customers")
}

#[test]
fn main_job() {
    let lake = Lake::alone();
    let mut main = lake.proxy.connect("main");
    let found = main.lines("SELECT location, registered, reason FROM epoch_discover('local://lake/*')");
    assert_eq!(found, ["local://lake/crm/customers|f|a Delta table has no key of its own"]);
    assert_eq!(
        main.err("SELECT * FROM epoch_register('customers', 'local://lake/crm/customers')").code(),
        "42830"
    );
    let mut main = lake.register();
    main.exec("SELECT * FROM epoch_branch('feature/x')");
    let mut branch = lake.proxy.connect("feature/x");
    let fork = sums(&mut branch);
    assert_eq!(fork, ["2000|999000.00|1334|Customer 1|Customer 999"]);

    let version = lake.version();
    assert_eq!(
        branch.exec("UPDATE customers SET credit = credit + 1000 WHERE id IN (10, 11, 12)").tags(),
        ["UPDATE 3"]
    );
    assert_eq!(branch.lines("DELETE FROM customers WHERE id = 79 RETURNING name"), ["Customer 79"]);
    let new = "INSERT INTO customers (id, name) VALUES (2001, 'New') RETURNING id, credit";
    assert_eq!(branch.lines(new), ["2001|"]);
    let e = branch.err("INSERT INTO customers (id, name) VALUES (1, 'x')");
    assert_eq!((e.code(), e.constraint()), ("23505", "customers_key"));
    assert_eq!(branch.err("INSERT INTO customers (id) VALUES (3000)").code(), "23502");
    branch.exec("INSERT INTO customers VALUES (10, 'Ten', NULL, 0) ON CONFLICT (id) DO UPDATE SET name = excluded.name");
    assert_eq!(lake.version(), version, "main doesn't change by what a branch does");
    assert_eq!(sums(&mut main), fork);
    let own = sums(&mut branch);
    assert_ne!(own, fork);

    // Another engine moves main, and removes what it doesn't need any more.
    lake.set("5", "id = 10");
    lake.set("6", "id = 500");
    lake.delete("id = 78");
    assert_eq!(main.lines("SELECT count(*) FROM customers"), ["1999"]);
    lake.vacuum();
    assert_eq!(sums(&mut branch), own, "the branch shows main as of the fork");

    let columns = "tables_changed, rows_added, rows_modified, rows_deleted";
    assert_eq!(branch.call("epoch_commit('work on x')", columns), ["1|1|3|1"]);
    assert_eq!(main.call("epoch_commit('direct work')", columns), ["1|0|2|1"]);
    let diff = main.lines(
        "SELECT diff_type, to_id, from_credit, to_credit FROM epoch_diff('feature/x~1', 'feature/x', 'customers') ORDER BY coalesce(to_id, 0)",
    );
    let expected = [
        "removed||553.00|",
        "modified|10|70.00|1070.00",
        "modified|11|77.00|1077.00",
        "modified|12|84.00|1084.00",
        "added|2001||",
    ];
    assert_eq!(diff, expected);
    let version = lake.version();
    assert_eq!(main.call("epoch_merge('feature/x')", "fast_forward, conflicts"), ["f|1"]);
    assert_eq!(lake.version(), version, "nothing is applied while a conflict waits");
    assert_eq!(main.call("epoch_conflicts_resolve('theirs')", "resolved, remaining"), ["1|0"]);
    assert_eq!(main.call("epoch_merge('--continue')", "fast_forward, conflicts"), ["f|0"]);
    assert_eq!(lake.version(), version + 1, "a merge is one commit of the Delta table");
    let merged = "SELECT id, name, credit FROM customers WHERE id IN (10, 11, 78, 79, 500, 2001) ORDER BY id";
    let expected = ["10|Ten|1070.00", "11|Customer 11|1077.00", "500|Customer 500|6.00", "2001|New|"];
    assert_eq!(lake.read(merged), expected);
    assert_eq!(main.lines(merged), expected);
    assert_eq!(sums(&mut branch), own, "a merge into main doesn't move the branch");
    assert_eq!(main.lines("SELECT count(*) FROM epoch_at('customers', 'main~1') WHERE id = 78"), ["0"]);

    drop(branch);
    main.exec("SELECT * FROM epoch_branch('-D', 'feature/x')");
    main.exec("SELECT * FROM epoch_unregister('customers')");
    assert!(!lake.folder.path().join("_epoch").exists(), "nothing of ours is left");
    assert_eq!(lake.read(merged), expected);
}

#[test]
fn writes_on_main_and_a_reset() {
    let lake = Lake::alone();
    let mut main = lake.register();
    main.exec("SELECT * FROM epoch_commit('start', '--allow-empty')");
    assert_eq!(main.exec("UPDATE customers SET credit = 1 WHERE id < 4").tags(), ["UPDATE 3"]);
    assert_eq!(main.exec("DELETE FROM customers WHERE city = 'Oslo' AND id < 10").tags(), ["DELETE 3"]);
    assert_eq!(
        main.exec("INSERT INTO customers SELECT id + 5000, name, city, credit FROM customers WHERE id < 4")
            .tags(),
        ["INSERT 0 2"]
    );
    assert_eq!(lake.read("SELECT count(*) FROM customers"), ["1999"]);
    let columns = "tables_changed, rows_added, rows_modified, rows_deleted";
    assert_eq!(main.call("epoch_commit('work')", columns), ["1|2|2|3"]);
    main.exec("SELECT * FROM epoch_reset('--hard', 'main~1')");
    assert_eq!(lake.read("SELECT count(*), sum(credit) FROM customers"), ["2000|999000.00"]);
    assert_eq!(sums(&mut main), ["2000|999000.00|1334|Customer 1|Customer 999"]);

    // One Delta table at a time on main; savepoints work.
    main.exec("BEGIN");
    main.exec("UPDATE customers SET credit = 1 WHERE id = 5");
    main.exec("SAVEPOINT a");
    assert_eq!(main.err("INSERT INTO customers (id, name) VALUES (5, 'e')").code(), "23505");
    main.exec("ROLLBACK TO a");
    assert_eq!(main.one("SELECT credit FROM customers WHERE id = 5"), "1.00");
    assert_eq!(lake.proxy.connect("main").one("SELECT credit FROM customers WHERE id = 5"), "35.00");
    main.exec("COMMIT");
    assert_eq!(lake.read("SELECT credit FROM customers WHERE id = 5"), ["1.00"]);
    let location = "SELECT table_name, location FROM epoch.tables";
    assert_eq!(main.lines(location), ["customers|local://lake/crm/customers"]);
    assert!(
        main.lines("SELECT * FROM epoch.backends").iter().any(|l| l.contains("lake") && l.contains("Delta"))
    );
    let plan =
        main.lines("SELECT * FROM epoch_explain('SELECT name FROM customers WHERE id = 5')").join("\n");
    assert!(plan.contains("WHERE id = 5"), "{plan}");
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
    let lake = Lake::new(config);
    let file = rusqlite::Connection::open(lake.proxy.sqlite_path("shop")).unwrap();
    file.execute_batch("CREATE TABLE visits (customer_id INTEGER PRIMARY KEY, n INT); INSERT INTO visits VALUES (1, 10), (2, 20), (3, 30)")
        .unwrap();
    let mut main = lake.register();
    main.exec("SELECT * FROM epoch_register('visits', 'sqlite://shop/visits')");
    if postgres.is_some() {
        main.exec("SELECT * FROM epoch_register('notes', 'postgresql://pg/public.notes')");
    }
    main.exec("SELECT * FROM epoch_branch('both')");
    let mut branch = lake.proxy.connect("both");
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
    assert_eq!(lake.read("SELECT credit FROM customers WHERE id = 2"), ["1.25"]);
}

#[test]
fn nested_branches_and_sessions_that_write_at_once() {
    let lake = Lake::alone();
    lake.register().exec("SELECT * FROM epoch_branch('a')");
    let mut a = lake.proxy.connect("a");
    a.exec("UPDATE customers SET credit = 0 WHERE id <= 5");
    a.exec("SELECT * FROM epoch_commit('five')");
    a.exec("SELECT * FROM epoch_branch('b', 'a')");
    let mut b = lake.proxy.connect("b");
    assert_eq!(b.one("SELECT sum(credit) FROM customers WHERE id <= 6"), "42.00");
    std::thread::scope(|scope| {
        for n in 1..=4 {
            let lake = &lake;
            scope.spawn(move || {
                let mut conn = lake.proxy.connect("b");
                for id in 0..5 {
                    let sql = format!("UPDATE customers SET credit = {n} WHERE id = {}", n * 100 + id);
                    assert_eq!(conn.exec(&sql).tags(), ["UPDATE 1"]);
                }
            });
        }
    });
    let written =
        "SELECT count(*) FROM customers WHERE credit = id / 100 AND id BETWEEN 100 AND 404 AND id % 100 < 5";
    assert_eq!(b.one(written), "20");
    assert_eq!(b.call("epoch_commit('twenty')", "rows_modified"), ["20"]);
    assert_eq!(a.call("epoch_merge('b')", "fast_forward, conflicts"), ["t|0"]);
    assert_eq!(a.one(written), "20");
    assert_eq!(lake.proxy.connect("main").one(written), "0");
}
