//! Layers of tables that foreign keys tie together, through the repository: what a cascade changes on a
//! branch is seen there, and a transaction that is under way is never waited for.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

use std::collections::BTreeMap;
use std::sync::Arc;

use epoch::config::{Auth, Config, Secret, SqliteBackend};
use epoch::operations::{Checkout, CommitOptions, Repository};
use epoch_adapter::{RowWrite, Scan, TableDef, Transaction, Value};
use futures::TryStreamExt;

struct Shop {
    folder: tempfile::TempDir,
    repository: Repository,
    main: Checkout,
}

impl Shop {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("shop.db");
        rusqlite::Connection::open(&path)
            .unwrap()
            .execute_batch(
                "CREATE TABLE customers (id INTEGER PRIMARY KEY, name TEXT);
                 CREATE TABLE orders (id INTEGER PRIMARY KEY, customer INT REFERENCES customers ON DELETE CASCADE);
                 CREATE TABLE notes (id INTEGER PRIMARY KEY);
                 INSERT INTO customers VALUES (1, 'Ann'), (2, 'Bob'); INSERT INTO orders VALUES (10, 1), (20, 2);",
            )
            .unwrap();
        let config = Config {
            name: "shop".to_owned(),
            listen: "127.0.0.1:0".parse().unwrap(),
            tls: None,
            max_connections: 10,
            busy_poll: std::time::Duration::ZERO,
            memory_limit: 1 << 30,
            auth: Auth::Trust,
            metadata_url: Secret::new(format!("sqlite://{}", folder.path().join("meta.db").display())),
            postgres: BTreeMap::new(),
            sqlite: BTreeMap::from([("shop".to_owned(), SqliteBackend { path })]),
            mysql: BTreeMap::new(),
            sqlserver: BTreeMap::new(),
            local: BTreeMap::new(),
            s3: BTreeMap::new(),
            azure: BTreeMap::new(),
            gcs: BTreeMap::new(),
            routing: vec![],
            default_backend: None,
            author: Some("Tester".to_owned()),
            email: None,
            log_filter: "info".to_owned(),
            log_json: false,
            retention: vec![],
            hooks: vec![],
        };
        let repository = Repository::open(&config).await.unwrap();
        for table in ["customers", "orders", "notes"] {
            repository.register(table, Some(&format!("sqlite://shop/{table}")), None).await.unwrap();
        }
        let main = repository.checkout("main", None).await.unwrap();
        Self { folder, repository, main }
    }

    async fn branch(&self, name: &str, from: &Checkout) -> Checkout {
        self.repository.create_branch(from, name, None, false).await.unwrap();
        self.repository.checkout(name, Some(&self.main)).await.unwrap()
    }

    fn table(&self, name: &str) -> Arc<TableDef> {
        self.repository.tables().find(name).unwrap().clone()
    }

    async fn begin(&self) -> Box<dyn Transaction> {
        self.repository.backend("shop").unwrap().begin().await.unwrap()
    }

    async fn write(&self, tx: &mut Box<dyn Transaction>, on: &Checkout, table: &str, write: RowWrite) {
        let table = self.table(table);
        let layer = self.repository.writable(on, &table).await.unwrap();
        assert_eq!(tx.write(&table, layer, &[write]).await.unwrap(), 1);
    }

    /// The number of rows that a checkout shows.
    async fn count(&self, on: &Checkout, table: &str) -> usize {
        let table = self.table(table);
        let view = self.repository.view(on, &table).unwrap();
        let backend = self.repository.backend("shop").unwrap();
        let batches: Vec<_> =
            backend.scan(&table, &view, &Scan::default()).await.unwrap().try_collect().await.unwrap();
        batches.iter().map(|b| b.num_rows()).sum()
    }

    async fn commit(&self, on: &Checkout) {
        let options = CommitOptions { message: "work".to_owned(), ..CommitOptions::default() };
        self.repository.commit(on, &options).await.unwrap();
    }
}

fn row(id: i64, second: Value) -> RowWrite {
    RowWrite::Insert(vec![Some(Value::Int(id)), Some(second)])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cascade_on_a_branch_is_seen_there() {
    let shop = Shop::new().await;
    let dev = shop.branch("dev", &shop.main).await;
    let mut tx = shop.begin().await;
    shop.write(&mut tx, &dev, "customers", RowWrite::Delete { key: vec![Value::Int(1)] }).await;
    tx.commit().await.unwrap();
    assert_eq!((shop.count(&dev, "orders").await, shop.count(&shop.main, "orders").await), (1, 2));
    let status = shop.repository.status(&dev).await.unwrap();
    let status: Vec<_> = status.iter().map(|s| (s.table_name.as_str(), s.stats.removed)).collect();
    assert_eq!(status, [("customers", 1), ("orders", 1)]);
    shop.commit(&dev).await;
    let merged = shop.repository.merge(&shop.main, "dev", &Default::default()).await.unwrap();
    assert_eq!((merged.conflicts, shop.count(&shop.main, "orders").await), (0, 1));
    let conn = rusqlite::Connection::open(shop.folder.path().join("shop.db")).unwrap();
    let left: Vec<i64> = conn
        .prepare("SELECT id FROM orders")
        .and_then(|mut s| s.query_map([], |r| r.get(0))?.collect())
        .unwrap();
    assert_eq!(left, [20]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_nested_branch_writes_table_after_table_in_one_transaction() {
    let shop = Shop::new().await;
    let dev = shop.branch("dev", &shop.main).await;
    let mut tx = shop.begin().await;
    shop.write(&mut tx, &dev, "customers", row(3, Value::Text("Cy".into()))).await;
    shop.write(&mut tx, &dev, "notes", RowWrite::Insert(vec![Some(Value::Int(7))])).await;
    tx.commit().await.unwrap();
    shop.commit(&dev).await;
    let nested = shop.branch("nested", &dev).await;
    let mut tx = shop.begin().await;
    // The customer is the parent branch's; the notes' layer is copied, too, before the lock is taken.
    shop.write(&mut tx, &nested, "orders", row(30, Value::Int(3))).await;
    shop.write(&mut tx, &nested, "notes", RowWrite::Delete { key: vec![Value::Int(7)] }).await;
    tx.commit().await.unwrap();
    assert_eq!((shop.count(&nested, "orders").await, shop.count(&nested, "customers").await), (3, 3));
    assert_eq!((shop.count(&nested, "notes").await, shop.count(&dev, "notes").await), (0, 1));
}
