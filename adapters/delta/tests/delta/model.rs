//! The model of `epoch_conformance::model` against Delta tables, which another engine writes to, compacts and vacuums.

use crate::common::model::{Parts, Random, Shape, run, seed};
use crate::common::{Db, int, text};
use epoch_adapter::{Row, Value};

/// Delta knows no unique constraints: what other clients do keeps keys unique by itself, and the unique column is NULL.
fn foreign(kind: usize, p: &Parts) -> String {
    let Parts { values, keys: _, matches, sets: _, unique, unique_value: _, value } = p;
    match kind {
        0 => format!("PUT ({values}) KEY {matches}"),
        1 => format!("ADD ({values}) UNLESS {matches}"),
        2 => format!("UPDATE {value} = {value} + 10 WHERE {matches}; ADD ({values}) UNLESS {matches}"),
        3 => "OPTIMIZE".to_owned(),
        4 => format!("UPDATE {value} = 4 WHERE {matches}"),
        5 => format!("UPDATE {unique} = NULL WHERE {matches}"),
        6 => format!("OVERWRITE ({values})"),
        7 => format!("UPDATE {value} = {value} + 1 WHERE {value} < 3"),
        8 => format!("DELETE {matches}"),
        9 => format!("DELETE {value} = 1; ADD ({values}) UNLESS {matches}"),
        _ => "VACUUM".to_owned(),
    }
}

pub const SHAPES: [Shape; 3] = [
    Shape {
        ddl: "id integer not null, u string, v integer | key: id",
        key_columns: &[0],
        unique: 1,
        value: 2,
        row: |r| vec![int(r.below(14) as i64), Value::Null, int(r.below(5) as i64)],
        fold: false,
        foreign,
    },
    Shape {
        ddl: "v long, k string, n short, u string | partition: n | key: n, k",
        key_columns: &[2, 1],
        unique: 3,
        value: 0,
        row: composite,
        fold: false,
        foreign,
    },
    Shape {
        ddl: "k string, u string, v integer | key: k | delta.enableChangeDataFeed=true",
        key_columns: &[0],
        unique: 1,
        value: 2,
        row: |r| {
            let key = text(["a", "A", "b", "B", "c", "f", "g"][r.below(7)]);
            vec![key, Value::Null, int(r.below(5) as i64)]
        },
        fold: false,
        foreign,
    },
];

fn composite(r: &mut Random) -> Row {
    let name = ["a", "A", "b", "ü", "c"][r.below(5)];
    vec![int(r.below(5) as i64), text(name), int(r.below(4) as i64), Value::Null]
}

const STEPS: usize = 30;

async fn check(shape: &'static Shape, seeds: [u64; 2]) {
    for seed in seeds {
        run(Db::new(shape.ddl).await, shape, seed, STEPS).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn integer_keys() {
    check(&SHAPES[0], [seed(), 7]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn composite_keys_of_a_partitioned_table() {
    check(&SHAPES[1], [seed(), 8]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn text_keys_of_a_table_with_a_change_feed() {
    check(&SHAPES[2], [seed(), 9]).await;
}
