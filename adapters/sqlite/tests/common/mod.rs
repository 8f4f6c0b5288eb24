//! What the integration tests share: a file with a schema, its adapter, and short ways to use both (those that tests of
//! every adapter have are in `epoch_conformance`).
#![allow(
    dead_code,
    unused_imports,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]

use std::path::PathBuf;

use async_trait::async_trait;
use epoch_adapter::{Adapter, BackendKind, Location, Row, Value};
use epoch_adapter_sqlite::SqliteAdapter;
pub use epoch_conformance::*;

pub struct Db {
    pub dir: tempfile::TempDir,
    pub adapter: SqliteAdapter,
}

impl Db {
    pub fn new(sql: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("test.db");
        rusqlite::Connection::open(&path).unwrap().execute_batch(sql).unwrap();
        let adapter = SqliteAdapter::open("shop", &path).unwrap();
        Self { dir, adapter }
    }

    pub fn path(&self) -> PathBuf {
        self.dir.path().join("test.db")
    }

    /// A foreign client: knows nothing of us, with SQLite's own defaults.
    pub fn direct(&self) -> rusqlite::Connection {
        let conn = rusqlite::Connection::open(self.path()).unwrap();
        conn.busy_timeout(std::time::Duration::from_secs(5)).unwrap();
        conn.pragma_update(None, "foreign_keys", false).unwrap();
        conn
    }

    pub fn run(&self, sql: &str) {
        self.direct().execute_batch(sql).unwrap();
    }

    /// Everything that the file's schema says.
    pub fn dump_schema(&self) -> Vec<(String, String, String, Option<String>)> {
        let conn = self.direct();
        let mut stmt =
            conn.prepare("SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY 1, 2").unwrap();
        stmt.query_map([], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?)))
            .unwrap()
            .map(Result::unwrap)
            .collect()
    }
}

#[async_trait]
impl Database for Db {
    fn adapter(&self) -> &dyn Adapter {
        &self.adapter
    }

    fn location(&self, table: &str) -> Location {
        Location { kind: BackendKind::Sqlite, backend: "shop".into(), schema: None, table: table.into() }
    }

    async fn direct(&self, sql: &str) -> Result<(), String> {
        Db::direct(self).execute_batch(sql).map_err(|e| e.to_string())
    }

    async fn base(&self, table: &str) -> Vec<Row> {
        let conn = Db::direct(self);
        let mut stmt = conn.prepare(&format!("SELECT * FROM {table}")).unwrap();
        let n = stmt.column_count();
        let mut rows = stmt.query([]).unwrap();
        let mut out = Vec::new();
        while let Some(row) = rows.next().unwrap() {
            let cell = |i| match row.get_ref(i).unwrap() {
                rusqlite::types::ValueRef::Null => Value::Null,
                rusqlite::types::ValueRef::Integer(v) => int(v),
                rusqlite::types::ValueRef::Text(v) => text(std::str::from_utf8(v).unwrap()),
                other => panic!("{other:?}"),
            };
            out.push((0..n).map(cell).collect());
        }
        out
    }
}
