//! What the integration tests share: a folder with a Delta table of its own, its adapter, and a client that knows nothing
//! of us: delta-rs itself, by a path of its own.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::bucket::{Bucket, Settings};
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use datafusion::prelude::SessionContext;
use deltalake_core::kernel::{DataType, PrimitiveType, StructField};
use deltalake_core::operations::vacuum::VacuumMode;
use deltalake_core::protocol::SaveMode;
use deltalake_core::{DeltaTable, DeltaTableBuilder};
use epoch_adapter::{Adapter, BackendKind, Location, Row, TableDef};
use epoch_adapter_delta::DeltaAdapter;
pub use epoch_conformance::*;
use epoch_layers::cells::value_at;
use tempfile::TempDir;
use url::Url;

pub struct Db {
    pub adapter: DeltaAdapter,
    /// Where the tables are, unless they are in a bucket.
    pub folder: Arc<TempDir>,
    pub bucket: Option<Bucket>,
    pub keys: Vec<String>,
}

fn primitive(name: &str) -> DataType {
    DataType::Primitive(match name {
        "long" => PrimitiveType::Long,
        "integer" => PrimitiveType::Integer,
        "short" => PrimitiveType::Short,
        "byte" => PrimitiveType::Byte,
        "float" => PrimitiveType::Float,
        "double" => PrimitiveType::Double,
        "boolean" => PrimitiveType::Boolean,
        "binary" => PrimitiveType::Binary,
        "date" => PrimitiveType::Date,
        "timestamp" => PrimitiveType::Timestamp,
        "timestamp_ntz" => PrimitiveType::TimestampNtz,
        "string" => PrimitiveType::String,
        decimal => {
            let inside = decimal.strip_prefix("decimal(").unwrap().strip_suffix(')').unwrap();
            let (precision, scale) = inside.split_once('.').unwrap();
            return DataType::decimal(precision.parse().unwrap(), scale.parse().unwrap()).unwrap();
        }
    })
}

/// `name type [not null], …`, then `| partition: name`, `| key: name, …` and `| property=value`. A decimal is `decimal(p.s)`.
pub struct Ddl {
    pub columns: Vec<StructField>,
    pub partition: Option<String>,
    pub keys: Vec<String>,
    pub properties: Vec<(String, String)>,
}

impl Ddl {
    pub fn parse(text: &str) -> Self {
        let mut parts = text.split('|').map(str::trim);
        let column = |text: &str| {
            let mut words = text.split_whitespace();
            let (name, type_name) = (words.next().unwrap(), words.next().unwrap());
            StructField::new(name, primitive(type_name), words.next().is_none())
        };
        let columns = parts.next().unwrap().split(',').map(column).collect();
        let mut ddl = Self { columns, partition: None, keys: Vec::new(), properties: Vec::new() };
        for part in parts {
            if let Some(name) = part.strip_prefix("partition: ") {
                ddl.partition = Some(name.to_owned());
            } else if let Some(names) = part.strip_prefix("key: ") {
                ddl.keys = names.split(", ").map(str::to_owned).collect();
            } else {
                let (name, value) = part.split_once('=').unwrap();
                ddl.properties.push((name.to_owned(), value.to_owned()));
            }
        }
        ddl
    }
}

impl Db {
    /// A folder with the table `t`.
    pub async fn new(ddl: &str) -> Self {
        let folder = Arc::new(tempfile::tempdir().unwrap());
        let adapter = DeltaAdapter::local("lake", folder.path()).unwrap();
        adapter.belong_to("tests");
        let db = Self { adapter, folder, bucket: None, keys: Ddl::parse(ddl).keys };
        db.create("t", ddl).await;
        db
    }

    /// A bucket with one table.
    pub async fn on(bucket: Bucket, path: &str, ddl: &str) -> Self {
        let adapter = bucket.adapter();
        adapter.belong_to("tests");
        let folder = Arc::new(tempfile::tempdir().unwrap());
        let db = Self { adapter, folder, bucket: Some(bucket), keys: Ddl::parse(ddl).keys };
        db.create(path, ddl).await;
        db
    }

    pub async fn create(&self, path: &str, ddl: &str) {
        let ddl = Ddl::parse(ddl);
        let create =
            self.unopened(path).create().with_columns(ddl.columns).with_partition_columns(ddl.partition);
        let is_check = |(name, _): &(String, String)| name.starts_with("delta.constraints.");
        let (checks, properties): (Vec<_>, Vec<_>) = ddl.properties.into_iter().partition(is_check);
        let mut table =
            create.with_configuration(properties.into_iter().map(|(k, v)| (k, Some(v)))).await.unwrap();
        for (name, condition) in checks {
            let name = name.trim_start_matches("delta.constraints.");
            table = table.add_constraint().with_constraint(name, condition).await.unwrap();
        }
    }

    pub fn url(&self, path: &str) -> Url {
        Url::from_directory_path(self.folder.path().join(path)).unwrap()
    }

    fn unopened(&self, path: &str) -> DeltaTable {
        if let Some(bucket) = &self.bucket {
            return bucket.table(path);
        }
        std::fs::create_dir_all(self.folder.path().join(path)).unwrap();
        DeltaTableBuilder::from_url(self.url(path)).unwrap().build().unwrap()
    }

    /// The table as another engine sees it.
    pub async fn foreign(&self, path: &str) -> DeltaTable {
        let mut table = self.unopened(path);
        table.load().await.unwrap();
        table
    }

    /// As if by another process.
    pub fn reopened(&self) -> Self {
        let adapter = match &self.bucket {
            None => DeltaAdapter::local("lake", self.folder.path()).unwrap(),
            Some(bucket) => bucket.adapter(),
        };
        adapter.belong_to("tests");
        let (folder, bucket) = (Arc::clone(&self.folder), self.bucket.clone());
        Self { adapter, folder, bucket, keys: self.keys.clone() }
    }

    pub async fn register_as(&self, id: i64, path: &str, keys: &[&str]) -> Arc<TableDef> {
        let def = self.define(id, path, Some(keys)).await.unwrap();
        self.adapter.install(&def).await.unwrap();
        Arc::new(def)
    }

    /// All files of the folder, with their sizes, except those of Delta tables' own logs.
    pub fn files(&self) -> BTreeSet<String> {
        let mut out = BTreeSet::new();
        let mut open = vec![self.folder.path().to_owned()];
        while let Some(folder) = open.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    open.push(path);
                } else {
                    let name = path.strip_prefix(self.folder.path()).unwrap();
                    out.insert(format!("{} {}", name.display(), path.metadata().unwrap().len()));
                }
            }
        }
        out
    }

    async fn rows_of(&self, sql: &str) -> Vec<RecordBatch> {
        let context = SessionContext::new();
        let provider = self.foreign("t").await.table_provider().build().await.unwrap();
        context.register_table("t", Arc::new(provider)).unwrap();
        context.sql(sql).await.unwrap().collect().await.unwrap()
    }

    /// Another engine adds rows.
    pub async fn insert(&self, path: &str, values: &str) {
        self.append(path, values, SaveMode::Append).await.unwrap();
    }

    async fn append(&self, path: &str, values: &str, mode: SaveMode) -> Result<(), String> {
        let table = self.foreign(path).await;
        let schema = table.snapshot().unwrap().snapshot().arrow_schema();
        let columns: Vec<String> = schema
            .fields()
            .iter()
            .enumerate()
            .map(|(i, f)| format!("arrow_cast(column{}, '{}') AS \"{}\"", i + 1, f.data_type(), f.name()))
            .collect();
        let sql = format!("SELECT {} FROM (VALUES {values})", columns.join(", "));
        let batches = SessionContext::new().sql(&sql).await.map_err(|e| e.to_string())?;
        let batches = batches.collect().await.map_err(|e| e.to_string())?;
        table.write(batches).with_save_mode(mode).await.map(drop).map_err(|e| e.to_string())
    }

    async fn exists(&self, predicate: &str) -> bool {
        let found = self.rows_of(&format!("SELECT 1 FROM t WHERE {predicate}")).await;
        found.iter().any(|b| b.num_rows() > 0)
    }

    async fn statement(&self, text: &str) -> Result<(), String> {
        let (verb, rest) = text.split_once(' ').unwrap_or((text, ""));
        let table = self.foreign("t").await;
        let failed = |e: deltalake_core::DeltaTableError| e.to_string();
        match verb {
            "DELETE" => table.delete().with_predicate(rest).await.map(drop).map_err(failed),
            "UPDATE" => {
                let (set, predicate) = rest.split_once(" WHERE ").unwrap();
                let (column, value) = set.split_once(" = ").unwrap();
                let update = table.update().with_predicate(predicate).with_update(column, value);
                update.await.map(drop).map_err(failed)
            }
            "INSERT" => self.append("t", rest, SaveMode::Append).await,
            "OVERWRITE" => self.append("t", rest, SaveMode::Overwrite).await,
            "PUT" => {
                let (values, key) = rest.split_once(" KEY ").unwrap();
                table.delete().with_predicate(key).await.map_err(failed)?;
                self.append("t", values, SaveMode::Append).await
            }
            "ADD" => {
                let (values, key) = rest.split_once(" UNLESS ").unwrap();
                match self.exists(key).await {
                    true => Ok(()),
                    false => self.append("t", values, SaveMode::Append).await,
                }
            }
            "OPTIMIZE" => table.optimize().await.map(drop).map_err(failed),
            "VACUUM" => {
                let vacuum = table.vacuum().with_retention_period(chrono::Duration::zero());
                let vacuum = vacuum.with_enforce_retention_duration(false).with_mode(VacuumMode::Full);
                vacuum.await.map(drop).map_err(failed)
            }
            other => panic!("{other}"),
        }
    }
}

#[async_trait]
impl Database for Db {
    fn adapter(&self) -> &dyn Adapter {
        &self.adapter
    }

    fn location(&self, table: &str) -> Location {
        let kind = match self.bucket.as_ref().map(|bucket| &bucket.settings) {
            None => BackendKind::Local,
            Some(Settings::S3(_)) => BackendKind::S3,
            Some(Settings::Azure(_)) => BackendKind::Azure,
            Some(Settings::Gcs(_)) => BackendKind::Gcs,
        };
        Location { kind, backend: "lake".into(), schema: None, table: table.into() }
    }

    /// Delta has no keys: they are said.
    async fn register(&self, id: i64, table: &str) -> Arc<TableDef> {
        let keys: Vec<&str> = self.keys.iter().map(String::as_str).collect();
        self.register_as(id, table, &keys).await
    }

    async fn direct(&self, sql: &str) -> Result<(), String> {
        for statement in sql.split("; ") {
            self.statement(statement).await?;
        }
        Ok(())
    }

    async fn base(&self, table: &str) -> Vec<Row> {
        let keys: Vec<&str> = self.keys.iter().map(String::as_str).collect();
        let target = self.define(0, table, Some(&keys)).await.unwrap().schema.arrow();
        let mut out = Vec::new();
        for batch in self.rows_of("SELECT * FROM t").await {
            let columns = batch.columns().iter().zip(target.fields());
            let columns: Vec<_> =
                columns.map(|(c, f)| arrow::compute::cast(c, f.data_type()).unwrap()).collect();
            for r in 0..batch.num_rows() {
                out.push(columns.iter().map(|c| value_at(c, r).unwrap()).collect::<Row>());
            }
        }
        out
    }
}
