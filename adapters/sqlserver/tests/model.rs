//! The model of `epoch_conformance::model` against a server.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod common;

use common::model::{Parts, Shape, run, seed, unique_value};
use common::{int, text};

fn foreign(kind: usize, p: &Parts) -> String {
    let Parts { values, keys: _, matches, sets, unique, unique_value, value } = p;
    match kind {
        0 => format!("DELETE FROM t WHERE {matches}; INSERT INTO t VALUES ({values})"),
        1 => format!(
            "MERGE t USING (SELECT 1 AS one) AS s ON ({matches}) WHEN MATCHED THEN DELETE \
             WHEN NOT MATCHED THEN INSERT VALUES ({values});"
        ),
        2 => format!(
            "MERGE t USING (SELECT 1 AS one) AS s ON ({matches}) WHEN MATCHED THEN UPDATE SET {value} = {value} + 10 \
             WHEN NOT MATCHED THEN INSERT VALUES ({values});"
        ),
        3 => format!("INSERT INTO t VALUES ({values}), ({values})"),
        4 => format!("UPDATE t SET {sets} WHERE {matches}"),
        5 => format!("UPDATE t SET {unique} = {unique_value} WHERE {matches}"),
        6 => format!("UPDATE t SET {sets}"),
        7 => format!("UPDATE t SET {value} = {value} + 1 WHERE {value} < 3"),
        8 => format!("DELETE FROM t WHERE {matches}"),
        9 => format!(
            "DELETE a FROM t AS a JOIN t AS b ON a.{value} = b.{value} WHERE a.{value} = 1; INSERT INTO t VALUES ({values})"
        ),
        _ => {
            format!("BEGIN TRANSACTION; DELETE FROM t; INSERT INTO t VALUES ({values}); ROLLBACK TRANSACTION")
        }
    }
}

// A unique index over all rows would let in one NULL only.
const SHAPES: [Shape; 3] = [
    Shape {
        ddl: "CREATE TABLE t (id int NOT NULL PRIMARY KEY, u nvarchar(20) NULL, v int NULL); \
              CREATE UNIQUE INDEX uu ON t (u) WHERE u IS NOT NULL",
        key_columns: &[0],
        unique: 1,
        value: 2,
        row: |r| vec![int(r.below(14) as i64), unique_value(r), int(r.below(5) as i64)],
        fold: false,
        foreign,
    },
    Shape {
        ddl: "CREATE TABLE t (v bigint NULL, k varchar(9) COLLATE Latin1_General_CI_AS NOT NULL, n smallint NOT NULL, \
              u nvarchar(20) NULL, PRIMARY KEY (n, k)); CREATE UNIQUE INDEX uu ON t (u) WHERE u IS NOT NULL; \
              CREATE INDEX vv ON t (v)",
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
        ddl: "CREATE TABLE t (k nvarchar(20) COLLATE Latin1_General_BIN2 NOT NULL, u nvarchar(20) NULL, v int NULL); \
              CREATE UNIQUE INDEX kk ON t (k); CREATE UNIQUE INDEX uu ON t (u) WHERE u IS NOT NULL",
        key_columns: &[0],
        unique: 1,
        value: 2,
        row: |r| {
            let key = text(["a", "A", "b", "B", "c", "f", "g"][r.below(7)]);
            vec![key, unique_value(r), int(r.below(5) as i64)]
        },
        fold: false,
        foreign,
    },
];

const STEPS: usize = 80;

async fn check(shape: &'static Shape, seeds: [u64; 2]) {
    for seed in seeds {
        run(database!(shape.ddl), shape, seed, STEPS).await;
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
async fn text_keys_without_a_primary_key() {
    check(&SHAPES[2], [seed(), 9]).await;
}
