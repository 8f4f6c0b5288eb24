//! The main job on Delta tables in S3-compatible stores, in Azure Blob Storage and in Google Cloud Storage, with a SQLite table
//! in the same commit, as far as the environment names servers. The other engine that reads and writes there is delta-rs, by a
//! client and a path of its own.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "../adapters/delta/tests/delta/bucket.rs"]
#[allow(dead_code)]
mod bucket;
mod common;

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, StringArray};
use arrow::record_batch::RecordBatch;
use bucket::{Bucket, Server};
use common::{Proxy, ProxyConfig};
use datafusion::prelude::SessionContext;
use tokio::runtime::Runtime;

const PATH: &str = "crm/customers";

fn customers() -> RecordBatch {
    let ids = || 1..=500_i64;
    let columns: [(&str, ArrayRef); 3] = [
        ("id", Arc::new(ids().collect::<Int64Array>())),
        ("name", Arc::new(ids().map(|id| Some(format!("Customer {id}"))).collect::<StringArray>())),
        ("credit", Arc::new(ids().map(|id| id * 7 % 100).collect::<Int64Array>())),
    ];
    RecordBatch::try_from_iter(columns).unwrap()
}

struct Lake {
    bucket: Bucket,
    runtime: Runtime,
}

impl Lake {
    fn new(server: Server, kind: &str) -> Option<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let bucket = runtime.block_on(server.bucket(kind))?;
        runtime.block_on(async { bucket.table(PATH).write([customers()]).await }).unwrap();
        Some(Self { bucket, runtime })
    }

    fn set(&self, credit: &str, predicate: &str) {
        let update = async {
            let mut table = self.bucket.table(PATH);
            table.load().await?;
            table.update().with_predicate(predicate).with_update("credit", credit).await
        };
        self.runtime.block_on(update).unwrap();
    }

    /// What another engine reads.
    fn read(&self, sql: &str) -> Vec<String> {
        self.runtime.block_on(async {
            let mut table = self.bucket.table(PATH);
            table.load().await.unwrap();
            let context = SessionContext::new();
            let provider = table.table_provider().build().await.unwrap();
            context.register_table("customers", Arc::new(provider)).unwrap();
            let batches = context.sql(sql).await.unwrap().collect().await.unwrap();
            let text = arrow::util::pretty::pretty_format_batches(&batches).unwrap().to_string();
            let rows = text.lines().filter(|l| l.starts_with('|')).skip(1);
            rows.map(|l| l.trim_matches('|').split('|').map(str::trim).collect::<Vec<_>>().join("|"))
                .collect()
        })
    }
}

fn main_job(server: Server, kind: &str) {
    let Some(lake) = Lake::new(server, kind) else { return };
    let scheme = server.scheme();
    let config = ProxyConfig { extra: lake.bucket.toml("lake"), ..ProxyConfig::embedded() };
    let proxy = Proxy::start(config);
    let file = rusqlite::Connection::open(proxy.sqlite_path("shop")).unwrap();
    file.execute_batch("CREATE TABLE visits (customer_id INTEGER PRIMARY KEY, n INT); INSERT INTO visits VALUES (1, 10), (2, 20)")
        .unwrap();
    let mut main = proxy.connect("main");
    let location = format!("{scheme}://lake/{PATH}");
    let found = format!("SELECT location, registered FROM epoch_discover('{scheme}://lake/*')");
    assert_eq!(main.lines(&found), [format!("{location}|f")]);
    main.exec(&format!("SELECT * FROM epoch_register('customers', '{location}', key => ARRAY['id'])"));
    main.exec("SELECT * FROM epoch_register('visits', 'sqlite://shop/visits')");
    let known = "SELECT location FROM epoch.tables WHERE table_name = 'customers'";
    assert_eq!(main.lines(known), [location]);
    main.exec("SELECT * FROM epoch_branch('x')");
    let mut branch = proxy.connect("x");
    assert_eq!(branch.exec("UPDATE customers SET credit = credit + 1000 WHERE id < 4").tags(), ["UPDATE 3"]);
    branch.exec("DELETE FROM customers WHERE id = 100");
    branch.exec("INSERT INTO customers VALUES (501, 'New', 1)");
    branch.exec("UPDATE visits SET n = n + 1 WHERE customer_id = 2");
    let sums = "SELECT count(*), sum(credit) FROM customers";
    let fork = main.lines(sums);
    // Another engine writes to main meanwhile.
    lake.set("5", "id = 400");
    assert_eq!(lake.read("SELECT credit FROM customers WHERE id = 400"), ["5"]);
    assert_eq!(branch.lines("SELECT credit FROM customers WHERE id = 400"), ["0"]);
    let columns = "tables_changed, rows_added, rows_modified, rows_deleted";
    assert_eq!(branch.call("epoch_commit('work')", columns), ["2|1|4|1"]);
    assert_eq!(main.call("epoch_commit('by hand')", columns), ["1|0|1|0"]);
    assert_eq!(main.call("epoch_merge('x')", "conflicts"), ["0"]);
    let join = "SELECT c.id, c.credit, v.n FROM customers c JOIN visits v ON v.customer_id = c.id ORDER BY 1";
    assert_eq!(main.lines(join), ["1|1007|10", "2|1014|21"]);
    let some = "SELECT id, name, credit FROM customers WHERE id IN (1, 100, 400, 501) ORDER BY id";
    let expected = ["1|Customer 1|1007", "400|Customer 400|5", "501|New|1"];
    assert_eq!(main.lines(some), expected);
    assert_eq!(lake.read(some), expected);
    // Main by hand, and another process that reads what there is.
    assert_eq!(main.exec("UPDATE customers SET credit = 2 WHERE id = 501").tags(), ["UPDATE 1"]);
    assert_eq!(lake.read("SELECT credit FROM customers WHERE id = 501"), ["2"]);
    let first = "SELECT count(*), sum(credit) FROM epoch_at('customers', 'x~1')";
    assert_eq!(main.lines(first), fork);
    drop(branch);
    main.exec("SELECT * FROM epoch_branch('-D', 'x')");
    main.exec("SELECT * FROM epoch_unregister('customers')");
}

#[test]
fn main_job_on_s3() {
    main_job(Server::S3, "epoch");
}

#[test]
fn main_job_on_azure() {
    main_job(Server::Azure, "epoch");
}

#[test]
fn main_job_on_gcs() {
    main_job(Server::Gcs, "epoch");
}

/// Each object that is made under a condition is made, but its writer isn't told.
#[test]
fn main_job_when_answers_are_lost() {
    main_job(Server::Gcs, "forgetful");
}

#[test]
fn a_store_that_loses_commits_is_refused() {
    let Some(lake) = Lake::new(Server::Gcs, "careless") else { return };
    let config = ProxyConfig { extra: lake.bucket.toml("lake"), sqlite: vec![], ..ProxyConfig::embedded() };
    let proxy = Proxy::start(config);
    let e = proxy
        .connect("main")
        .err(&format!("SELECT * FROM epoch_register('customers', 'gcs://lake/{PATH}', key => ARRAY['id'])"));
    assert_eq!(e.code(), "55000");
}
