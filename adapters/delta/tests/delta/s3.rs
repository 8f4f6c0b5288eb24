//! The main job on the S3-compatible store of `EPOCH_TEST_S3_URL`.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, StringArray};
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use epoch_adapter::{Adapter, BackendKind, Layer, Location, Row, RowChange, SealMode, View};
use epoch_adapter_delta::{DeltaAdapter, S3, make_table};
use epoch_conformance::*;
use futures::TryStreamExt;
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload};

struct Bucket {
    adapter: DeltaAdapter,
    settings: S3,
    store: AmazonS3,
}

/// `None` if there is no server.
fn endpoint() -> Option<String> {
    let url = std::env::var("EPOCH_TEST_S3_URL").ok().filter(|u| !u.is_empty());
    if url.is_none() {
        println!("skipped: set EPOCH_TEST_S3_URL or run make test");
    }
    url
}

fn make_bucket(endpoint: &str, name: &str) {
    let host = endpoint.strip_prefix("http://").unwrap().trim_end_matches('/');
    let mut stream = TcpStream::connect(host).unwrap();
    let request =
        format!("PUT /{name} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

fn rows() -> RecordBatch {
    let columns: [(&str, ArrayRef); 2] = [
        ("id", Arc::new(Int64Array::from(vec![1, 2, 3]))),
        ("what", Arc::new(StringArray::from(vec!["a", "b", "c"]))),
    ];
    RecordBatch::try_from_iter(columns).unwrap()
}

impl Bucket {
    /// With the table `lake/sales/t`.
    async fn new(endpoint: &str) -> Self {
        let name = format!("epoch-{}", uuid::Uuid::new_v4().simple());
        make_bucket(endpoint, &name);
        let builder = AmazonS3Builder::new().with_bucket_name(&name).with_region("us-east-1");
        let builder = builder.with_endpoint(endpoint).with_allow_http(true);
        let store = builder.with_access_key_id("key").with_secret_access_key("secret").build().unwrap();
        let settings = S3 {
            bucket: name,
            prefix: Some("lake".into()),
            region: Some("us-east-1".into()),
            endpoint: Some(endpoint.into()),
            access_key: Some("key".into()),
            secret_key: Some("secret".into()),
        };
        let adapter = DeltaAdapter::s3("bucket", &settings).unwrap();
        adapter.belong_to("tests");
        let bucket = Self { adapter, settings, store };
        bucket.upload().await;
        bucket
    }

    async fn upload(&self) {
        let folder = tempfile::tempdir().unwrap();
        make_table(folder.path(), rows()).await.unwrap();
        let mut open = vec![folder.path().to_owned()];
        while let Some(at) = open.pop() {
            for entry in std::fs::read_dir(at).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    open.push(path);
                    continue;
                }
                let name = path.strip_prefix(folder.path()).unwrap().display().to_string();
                let body = PutPayload::from(std::fs::read(&path).unwrap());
                self.store.put(&Path::from(format!("lake/sales/t/{name}")), body).await.unwrap();
            }
        }
    }

    fn reopened(&self) -> Self {
        let adapter = DeltaAdapter::s3("bucket", &self.settings).unwrap();
        adapter.belong_to("tests");
        Self { adapter, settings: self.settings.clone(), store: self.store.clone() }
    }

    async fn objects(&self) -> Vec<String> {
        let all: Vec<_> =
            self.store.list(None).map_ok(|m| m.location.to_string()).try_collect().await.unwrap();
        let mut ours: Vec<String> = all.into_iter().filter(|n: &String| n.contains("_epoch")).collect();
        ours.sort();
        ours
    }
}

#[async_trait]
impl Database for Bucket {
    fn adapter(&self) -> &dyn Adapter {
        &self.adapter
    }

    fn location(&self, table: &str) -> Location {
        Location { kind: BackendKind::S3, backend: "bucket".into(), schema: None, table: table.into() }
    }

    async fn direct(&self, _: &str) -> Result<(), String> {
        Err("nobody else writes here".into())
    }

    async fn base(&self, _: &str) -> Vec<Row> {
        Vec::new()
    }
}

fn row(id: i64, what: &str) -> Row {
    vec![int(id), text(what)]
}

#[tokio::test(flavor = "multi_thread")]
async fn main_job() {
    let Some(endpoint) = endpoint() else { return };
    let bucket = Bucket::new(&endpoint).await;
    let found = bucket.adapter.discover("*").await.unwrap();
    assert_eq!(found[0].location.to_string(), "s3://bucket/sales/t");
    let def = bucket.define(1, "sales/t", Some(&["id"])).await.unwrap();
    bucket.adapter.install(&def).await.unwrap();
    let t = Arc::new(def);
    let dev = branch(2, 0);
    bucket.adapter.ensure_layer(&t, dev, None).await.unwrap();
    bucket.write(&t, dev, &[update(1, 1, text("x")), delete(2), insert(row(9, "n"))]).await.unwrap();
    let own = [row(1, "x"), row(3, "c"), row(9, "n")];
    assert_eq!(bucket.rows(&t, working(dev)).await, own);
    assert_eq!(bucket.rows(&t, View::MAIN).await.len(), 3);
    let tasks: Vec<_> = (20..26_i64)
        .map(|id| {
            let (bucket, t) = (bucket.reopened(), t.clone());
            tokio::spawn(async move { bucket.write(&t, dev, &[insert(row(id, "w"))]).await })
        })
        .collect();
    for task in tasks {
        assert_eq!(task.await.unwrap().unwrap(), 1);
    }
    let sealed = bucket.seal(&[t.clone()], dev, 1).await;
    assert_eq!(sealed.tables[0].1.rows(), 9);
    assert_eq!(bucket.reopened().rows(&t, at(dev, 1)).await.len(), 9);
    let change = RowChange { key: vec![int(1)], before: Some(row(1, "a")), after: Some(row(1, "merged")) };
    bucket.apply(&t, Layer::MAIN, 1, vec![change], SealMode::Own).await.unwrap();
    assert_eq!(bucket.reopened().rows(&t, View::MAIN).await[0], row(1, "merged"));
    assert_eq!(bucket.rows(&t, main_at(0)).await[0], row(1, "a"));
    assert!(!bucket.objects().await.is_empty());
    bucket.adapter.uninstall(&t).await.unwrap();
    assert_eq!(bucket.objects().await, Vec::<String>::new());
}
