//! Every kind of value survives the way through history, diff and scan.

use std::sync::Arc;

use arrow::datatypes::{DataType, TimeUnit};
use epoch_adapter::*;
use futures::TryStreamExt;

use crate::harness::*;

const TYPES: &str = "
    CREATE TYPE mood AS ENUM ('sad', 'it''s glad'); CREATE TYPE pair AS (a int, b text);
    CREATE DOMAIN positive AS int NOT NULL CHECK (VALUE > 0);
    CREATE TABLE t (id uuid PRIMARY KEY, a numeric, b numeric(30,10), c timestamptz, d timestamp, e date, f int[], g jsonb, h json,
        i mood, j bytea, k float8, l float4, m bpchar(5), n boolean, o pair, p positive, q interval, r \"char\", s time, t xml, u bit(3), v text, w point)";

const ROWS: &str = "
    INSERT INTO t VALUES
    ('00000000-0000-0000-0000-000000000001', 'NaN', 12345678901234567890.0123456789, 'infinity', '-infinity', 'infinity', '{1,NULL,3}', '{\"a\": [1, null]}',
     '{\"b\" :  1}', 'it''s glad', '\\x00ff5c', 'NaN', '-Infinity', 'ab', true, '(1,\"x,\\\"y\")', 5, '1 mon 2 days -03:04:05.6', 'x', '23:59:59.999999', '<a/>', '101', E'back\\\\slash \\n ''q''', '(1,2)'),
    ('00000000-0000-0000-0000-000000000002', 1e300, -0.0000000001, '0044-03-15 12:00:00+00 BC', '294276-12-31 23:59:59.999999', '4713-01-01 BC', '{}', 'null', '[]',
     'sad', '', '-0', 3.4028235e38, '', false, ROW(NULL, ''), 1, '-178000000 years', '', '00:00', NULL, '000', '', NULL)";

#[tokio::test(flavor = "multi_thread")]
async fn extremes_survive() {
    let Some(db) = database().await else { return };
    let client = db.client().await;
    client.batch_execute(TYPES).await.unwrap();
    client.batch_execute(ROWS).await.unwrap();
    let table = db.register("t", 1).await;
    let tables = [Arc::clone(&table)];
    let sum = "SELECT md5(string_agg(t::text, '|' ORDER BY id)) FROM t";
    let before = one(&client, sum).await;
    client.batch_execute("DELETE FROM t").await.unwrap();
    db.seal(&tables, Layer::MAIN, 1).await;
    let removed = db.diff(&table, main_at(0), main_at(1), &[segment(1, 0, At::Ordinal(1))]).await;
    assert_eq!(removed.len(), 2);
    assert_eq!(removed[0].before.as_ref().unwrap()[13], text("ab   "));
    assert_eq!(removed[0].before.as_ref().unwrap()[14], text("t"));
    // Back by changes: texts of the diff, applied.
    let changes = [TableChanges {
        table: Arc::clone(&table),
        changes: removed
            .iter()
            .map(|c| RowChange { key: c.key.clone(), before: None, after: c.before.clone() })
            .collect(),
        arrival: None,
    }];
    db.adapter.seal("back", &tables, Layer::MAIN, 2, &changes, SealMode::All).await.unwrap();
    assert_eq!(one(&client, sum).await, before);
    let none = db.diff(&table, main_at(0), main_at(2), &[segment(1, 0, At::Ordinal(2))]).await;
    assert_eq!(none, vec![], "out and in again is no change");
    // And by a transaction, on a branch.
    db.adapter.ensure_layer(&table, BRANCH, None).await.unwrap();
    let mut tx = db.adapter.begin().await.unwrap();
    let keys: Vec<_> = removed.iter().map(|c| RowWrite::Delete { key: c.key.clone() }).collect();
    assert_eq!(tx.write(&table, BRANCH, &keys).await.unwrap(), 2);
    let rows: Vec<_> = removed
        .iter()
        .map(|c| RowWrite::Insert(c.before.as_ref().unwrap().iter().map(|v| Some(v.clone())).collect()))
        .collect();
    tx.write(&table, BRANCH, &rows).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(db.adapter.pending(&tables, BRANCH).await.unwrap(), vec![]);
    db.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn scans_project_filter_and_type() {
    let Some(db) = database().await else { return };
    let client = db.client().await;
    client
        .batch_execute(
            "CREATE TABLE t (id bigint PRIMARY KEY, n numeric(10,2), at timestamptz, day date, flag bool, b bytea, v text, x float8, s smallint);
             INSERT INTO t SELECT i, i / 4.0, '2024-01-01 00:00:00.5+00'::timestamptz + i * interval '1 day', date '1960-01-01' + i, i % 2 = 0, '\\x01',
             CASE WHEN i % 10 <> 0 THEN 'v' || i END, i / 3.0, i FROM generate_series(1, 20000) i",
        )
        .await
        .unwrap();
    let table = db.register("t", 1).await;
    let types: Vec<_> = table.schema.columns.iter().map(|c| c.data_type.clone()).collect();
    assert_eq!(types[1], DataType::Decimal128(10, 2));
    assert_eq!(types[2], DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into())));
    client
        .batch_execute("UPDATE t SET v = 'changed' WHERE id = 7; DELETE FROM t WHERE id = 8")
        .await
        .unwrap();
    let scan = |projection: Option<Vec<usize>>, filters: Vec<Predicate>, limit: Option<usize>| {
        let (adapter, table) = (db.adapter.clone(), Arc::clone(&table));
        async move {
            for filter in &filters {
                assert!(adapter.supports(&table, filter), "{filter:?}");
            }
            let scan = Scan { projection, filters, limit };
            let batches = adapter.scan(&table, &main_at(0), &scan).await.unwrap();
            batches.try_collect::<Vec<arrow::record_batch::RecordBatch>>().await.unwrap()
        }
    };
    let count =
        |batches: &[arrow::record_batch::RecordBatch]| batches.iter().map(|b| b.num_rows()).sum::<usize>();
    let all = scan(None, vec![], None).await;
    assert_eq!(count(&all), 20_000);
    assert!(all.len() > 1, "in batches");
    assert_eq!(all[0].schema(), db.adapter.arrow_schema(&table));
    assert_eq!(count(&scan(Some(vec![]), vec![], None).await), 20_000);
    assert_eq!(count(&scan(Some(vec![6]), vec![], Some(5)).await), 5);
    let eq = |i: usize, v: &str| Predicate::Compare(i, Comparison::Eq, text(v));
    let cell = async |i: usize, filter: Predicate| {
        let batches = scan(Some(vec![i]), vec![filter], None).await;
        assert_eq!(count(&batches), 1);
        arrow::util::display::array_value_to_string(batches[0].column(0), 0).unwrap()
    };
    assert_eq!(cell(6, eq(0, "7")).await, "v7");
    assert_eq!(cell(0, eq(6, "v8")).await, "8");
    assert_eq!(cell(1, eq(0, "7")).await, "1.75");
    assert_eq!(cell(0, eq(1, "1.75")).await, "7");
    assert_eq!(cell(2, eq(0, "1")).await, "2024-01-02T00:00:00.500Z");
    assert_eq!(cell(0, eq(2, "2024-01-02 00:00:00.5+00")).await, "1");
    assert_eq!(cell(3, eq(0, "1")).await, "1960-01-02");
    let many = Predicate::Or(vec![
        Predicate::In(0, vec![text("1"), text("2"), text("99999")]),
        Predicate::And(vec![Predicate::IsNull(6), Predicate::Compare(0, Comparison::LtEq, text("30"))]),
    ]);
    assert_eq!(count(&scan(None, vec![many], None).await), 5);
    assert_eq!(count(&scan(None, vec![Predicate::IsNotNull(6)], None).await), 18_000);
    assert_eq!(count(&scan(None, vec![Predicate::In(0, vec![])], None).await), 0);
    let estimate = db.adapter.row_estimate(&table).await.unwrap();
    assert!(estimate > 0);
    db.drop().await;
}
