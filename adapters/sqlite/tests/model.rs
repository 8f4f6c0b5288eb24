//! The model of `epoch_conformance::model` against a file.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod common;

use common::model::{Parts, Shape, run, seed, unique_value};
use common::{Db, int, text};

fn foreign(kind: usize, p: &Parts) -> String {
    let Parts { values, keys, matches, sets, unique, unique_value, value } = p;
    match kind {
        0 => format!("INSERT OR REPLACE INTO t VALUES ({values})"),
        1 => format!("INSERT OR IGNORE INTO t VALUES ({values})"),
        2 => {
            format!(
                "INSERT INTO t VALUES ({values}) ON CONFLICT ({keys}) DO UPDATE SET {value} = {value} + 10"
            )
        }
        3 => format!("INSERT INTO t VALUES ({values}) ON CONFLICT DO NOTHING"),
        4 => format!("UPDATE OR REPLACE t SET {sets} WHERE {matches}"),
        5 => format!("UPDATE OR REPLACE t SET {unique} = {unique_value} WHERE {matches}"),
        6 => format!("UPDATE OR IGNORE t SET {sets}"),
        7 => format!("UPDATE t SET {value} = {value} + 1 WHERE {value} < 3"),
        8 => format!("DELETE FROM t WHERE {matches}"),
        9 => format!("DELETE FROM t WHERE {value} = 1; INSERT OR FAIL INTO t VALUES ({values})"),
        _ => format!("BEGIN; DELETE FROM t; INSERT INTO t VALUES ({values}); ROLLBACK"),
    }
}

const SHAPES: [Shape; 3] = [
    Shape {
        ddl: "CREATE TABLE t (id INTEGER PRIMARY KEY, u TEXT UNIQUE, v INT)",
        key_columns: &[0],
        unique: 1,
        value: 2,
        row: |r| vec![int(r.below(14) as i64), unique_value(r), int(r.below(5) as i64)],
        fold: false,
        foreign,
    },
    Shape {
        ddl: "CREATE TABLE t (v INT, k TEXT COLLATE NOCASE, n INT, u TEXT, PRIMARY KEY (n, k)) WITHOUT ROWID;
              CREATE UNIQUE INDEX uu ON t (u)",
        key_columns: &[2, 1],
        unique: 3,
        value: 0,
        row: |r| {
            let name = ["a", "A", "b", "B", "c"][r.below(5)];
            vec![int(r.below(5) as i64), text(name), int(r.below(4) as i64), unique_value(r)]
        },
        fold: true,
        foreign,
    },
    Shape {
        ddl: "CREATE TABLE t (k TEXT PRIMARY KEY, u TEXT, v INT); CREATE UNIQUE INDEX uu ON t (u) WHERE u IS NOT NULL",
        key_columns: &[0],
        unique: 1,
        value: 2,
        row: |r| {
            vec![
                text(["a", "b", "c", "d", "e", "f", "g"][r.below(7)]),
                unique_value(r),
                int(r.below(5) as i64),
            ]
        },
        fold: false,
        foreign,
    },
];

const STEPS: usize = 120;

async fn check(shape: &'static Shape, seeds: [u64; 2]) {
    for seed in seeds {
        run(Db::new(shape.ddl), shape, seed, STEPS).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn integer_keys() {
    check(&SHAPES[0], [seed(), 7]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn composite_keys_that_ignore_case() {
    check(&SHAPES[1], [seed(), 8]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn text_keys_with_a_partial_index() {
    check(&SHAPES[2], [seed(), 9]).await;
}
