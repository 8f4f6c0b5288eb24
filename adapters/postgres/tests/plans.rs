//! Plans that must not depend on when ANALYZE ran.

use crate::harness::*;

/// A branch made after ANALYZE looked as if it had no rows, so that probes by key took any index that
/// begins with the lineage and read all of the branch each time: a commit of 10,000 rows took 50 s.
#[tokio::test(flavor = "multi_thread")]
async fn a_lineage_that_analyze_never_saw_is_probed_by_key() {
    let Some(db) = database().await else { return };
    let client = db.client().await;
    client
        .batch_execute(
            "CREATE TABLE t (id bigint PRIMARY KEY, email text UNIQUE, made timestamptz);
             CREATE INDEX t_made ON t (made);
             INSERT INTO t SELECT g, 'u' || g, now() FROM generate_series(1, 10000) g",
        )
        .await
        .unwrap();
    db.register("t", 1).await;
    let fill = |lineage: i64, n: i64| {
        format!(
            "SET epoch.lineage = '{lineage}';
             INSERT INTO epoch_public.t (id, email, made, epoch_copied) SELECT id, email, made, true FROM t WHERE id <= {n};
             INSERT INTO epoch.mask_1 SELECT {lineage}, id FROM t WHERE id <= {n};
             INSERT INTO epoch.history_1 (epoch_lineage, id, email, made, epoch_existed) SELECT {lineage}, id, email, made, true FROM t WHERE id <= {n};"
        )
    };
    client.batch_execute(&fill(2, 10000)).await.unwrap();
    client.batch_execute("ANALYZE").await.unwrap();
    client.batch_execute(&fill(3, 5000)).await.unwrap();
    for table in ["epoch_public.t", "epoch.mask_1", "epoch.history_1"] {
        let sql = format!(
            "EXPLAIN (FORMAT JSON) SELECT (SELECT b.epoch_lineage FROM {table} b WHERE b.epoch_lineage = 3 AND b.id = k OFFSET 0) \
             FROM generate_series(1, 5000) k"
        );
        let plan = client.simple_query(&sql).await.unwrap();
        let text = plan.iter().find_map(|m| match m {
            tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
            _ => None,
        });
        let text = text.unwrap();
        assert!(!text.contains("Filter"), "{table}: {text}");
        assert!(text.contains("(id = k.k)"), "{table}: {text}");
    }
    client.batch_execute("RESET epoch.lineage").await.unwrap();
    db.drop().await;
}
