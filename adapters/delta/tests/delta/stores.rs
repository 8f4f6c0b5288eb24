//! The main job and the model on S3-compatible stores, Azure Blob Storage and Google Cloud Storage, as far as the environment
//! names servers; what Google's says when answers are lost, and when it doesn't keep to conditions.

use crate::bucket::{Bucket, Server, Settings, classes_on_s3};
use crate::common::model::{Shape, run};
use crate::common::*;
use crate::model::SHAPES;
use epoch_adapter::{Adapter, Layer, Row, RowChange, SealMode, View};
use futures::TryStreamExt;
use object_store::ObjectStore;

const DDL: &str = "id long not null, what string | key: id";
const STEPS: usize = 30;

fn row(id: i64, what: &str) -> Row {
    vec![int(id), text(what)]
}

async fn objects_of_ours(bucket: &Bucket) -> Vec<String> {
    let all: Vec<_> = bucket.store.list(None).map_ok(|m| m.location.to_string()).try_collect().await.unwrap();
    let mut ours: Vec<String> = all.into_iter().filter(|n: &String| n.contains("_epoch")).collect();
    ours.sort();
    ours
}

async fn main_job(server: Server, kind: &str) {
    let Some(bucket) = server.bucket(kind).await else { return };
    let db = Db::on(bucket.clone(), "sales/t", DDL).await;
    db.insert("sales/t", "(1, 'a'), (2, 'b'), (3, 'c')").await;
    let found = db.adapter.discover("*").await.unwrap();
    assert_eq!(found[0].location.to_string(), format!("{}://lake/sales/t", server.scheme()));
    let t = db.register_as(1, "sales/t", &["id"]).await;
    let dev = branch(2, 0);
    db.adapter.ensure_layer(&t, dev, None).await.unwrap();
    db.write(&t, dev, &[update(1, 1, text("x")), delete(2), insert(row(9, "n"))]).await.unwrap();
    let own = [row(1, "x"), row(3, "c"), row(9, "n")];
    assert_eq!(db.rows(&t, working(dev)).await, own);
    assert_eq!(db.rows(&t, View::MAIN).await.len(), 3);
    let tasks: Vec<_> = (20..26_i64)
        .map(|id| {
            let (db, t) = (db.reopened(), t.clone());
            tokio::spawn(async move { db.write(&t, dev, &[insert(row(id, "w"))]).await })
        })
        .collect();
    for task in tasks {
        assert_eq!(task.await.unwrap().unwrap(), 1);
    }
    let sealed = db.seal(&[t.clone()], dev, 1).await;
    assert_eq!(sealed.tables[0].1.rows(), 9);
    assert_eq!(db.reopened().rows(&t, at(dev, 1)).await.len(), 9);
    let change = RowChange { key: vec![int(1)], before: Some(row(1, "a")), after: Some(row(1, "merged")) };
    db.apply(&t, Layer::MAIN, 1, vec![change], SealMode::Own).await.unwrap();
    assert_eq!(db.reopened().rows(&t, View::MAIN).await[0], row(1, "merged"));
    assert_eq!(db.rows(&t, main_at(0)).await[0], row(1, "a"));
    db.write(&t, Layer::MAIN, &[update(1, 1, text("by hand")), insert(row(5, "e"))]).await.unwrap();
    assert_eq!(db.reopened().rows(&t, View::MAIN).await.len(), 4);
    assert_eq!(db.foreign("sales/t").await.version(), Some(3), "each change of main is one commit");
    assert!(!objects_of_ours(&bucket).await.is_empty());
    db.adapter.uninstall(&t).await.unwrap();
    assert_eq!(objects_of_ours(&bucket).await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn main_job_on_s3() {
    main_job(Server::S3, "epoch").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn main_job_on_azure() {
    main_job(Server::Azure, "epoch").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn main_job_on_gcs() {
    main_job(Server::Gcs, "epoch").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn main_job_when_answers_are_lost() {
    main_job(Server::Gcs, "forgetful").await;
}

/// One shape and seed on each: the folder of this machine has them all, and others each time.
async fn model(server: Server, shape: &'static Shape, seed: u64) {
    let Some(bucket) = server.bucket("epoch").await else { return };
    run(Db::on(bucket, "t", shape.ddl).await, shape, seed, STEPS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_model_on_s3() {
    model(Server::S3, &SHAPES[0], 7).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_model_on_azure() {
    model(Server::Azure, &SHAPES[1], 8).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_model_on_gcs() {
    model(Server::Gcs, &SHAPES[2], 9).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_overwrites_what_it_should_create_is_refused() {
    let Some(bucket) = Server::Gcs.bucket("careless").await else { return };
    let db = Db::on(bucket.clone(), "t", DDL).await;
    let def = db.define(1, "t", Some(&["id"])).await.unwrap();
    let e = error(db.adapter.install(&def).await);
    assert_eq!(
        (e.code(), e.message()),
        ("55000", "the store overwrites objects that it was asked to create")
    );
    assert_eq!(objects_of_ours(&bucket).await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_that_is_not_there_is_said() {
    let Some(mut bucket) = Server::Azure.bucket("epoch").await else { return };
    if let Settings::Azure(azure) = &mut bucket.settings {
        azure.container = "none".into();
    }
    let e = error(bucket.adapter().discover("*").await);
    assert_eq!(e.code(), "58030");
    assert!(e.detail().is_some_and(|d| d.contains("ContainerNotFound")), "{e:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_are_of_the_class_that_is_set() {
    let Some(mut bucket) = Server::S3.bucket("epoch").await else { return };
    let Settings::S3(s3) = &mut bucket.settings else { return };
    s3.storage_class = Some("STANDARD_IA".into());
    let name = s3.bucket.clone();
    let db = Db::on(bucket.clone(), "t", DDL).await;
    let t = db.register_as(1, "t", &["id"]).await;
    db.write(&t, Layer::MAIN, &[insert(row(1, "a"))]).await.unwrap();
    let (theirs, ours): (Vec<_>, Vec<_>) = classes_on_s3(&name)
        .await
        .into_iter()
        .partition(|(path, _)| path.ends_with("0000.json") && path.contains("_delta_log"));
    assert_eq!(theirs[0].1, "STANDARD", "another engine wrote this one");
    let (log, data) = ("_delta_log/00000000000000000001.json", ".parquet");
    for part in ["_epoch/log/", log, data] {
        assert!(ours.iter().any(|(path, _)| path.contains(part)), "{ours:?} lack {part}");
    }
    assert!(ours.iter().all(|(_, class)| class == "STANDARD_IA"), "{ours:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_is_taken() {
    let Some(mut bucket) = Server::S3.bucket("epoch").await else { return };
    if let Settings::S3(s3) = &mut bucket.settings {
        s3.assume_role_arn = Some("arn:aws:iam::123456789012:role/lake".into());
        s3.sts_endpoint.clone_from(&s3.endpoint);
    }
    let db = Db::on(bucket, "t", DDL).await;
    let t = db.register_as(1, "t", &["id"]).await;
    db.write(&t, Layer::MAIN, &[insert(row(1, "a"))]).await.unwrap();
    assert_eq!(db.rows(&t, View::MAIN).await, [row(1, "a")]);
}
