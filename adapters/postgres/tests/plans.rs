//! Plans that must not depend on when ANALYZE ran.

use epoch_adapter::Adapter;
use epoch_adapter_postgres::relation;
use tokio_postgres::Client;

use crate::harness::*;

async fn plan(client: &Client, sql: &str) -> String {
    text(client, &format!("EXPLAIN (COSTS OFF) {sql}")).await
}

async fn text(client: &Client, sql: &str) -> String {
    let messages = client.simple_query(sql).await.unwrap();
    let line = |m: &tokio_postgres::SimpleQueryMessage| match m {
        tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
        _ => None,
    };
    messages.iter().filter_map(line).collect::<Vec<_>>().join("\n")
}

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
    // A table that was analyzed empty was taken for empty from then on.
    client.batch_execute("VACUUM ANALYZE").await.unwrap();
    let fill = |lineage: i64, n: i64| {
        format!(
            "SET epoch.lineage = '{lineage}';
             INSERT INTO epoch_public.t (id, email, made, epoch_copied) SELECT id, email, made, true FROM t WHERE id <= {n};
             INSERT INTO epoch.mask_1 SELECT {lineage}, id FROM t WHERE id <= {n};
             INSERT INTO epoch.history_1 (epoch_lineage, id, email, made, epoch_existed) SELECT {lineage}, id, email, made, true FROM t WHERE id <= {n};"
        )
    };
    for (lineage, n) in [(2, 10000), (3, 5000)] {
        client.batch_execute(&fill(lineage, n)).await.unwrap();
        by_key(&client, lineage).await;
        client.batch_execute("ANALYZE").await.unwrap();
    }
    client.batch_execute("RESET epoch.lineage").await.unwrap();
    db.drop().await;
}

/// Probes of all tables of ours are by key.
async fn by_key(client: &Client, lineage: i64) {
    for table in ["epoch_public.t", "epoch.mask_1", "epoch.history_1"] {
        let sql = format!(
            "EXPLAIN (FORMAT JSON) SELECT (SELECT b.epoch_lineage FROM {table} b WHERE b.epoch_lineage = {lineage} AND b.id = k OFFSET 0) \
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
}

/// A mask of 30 rows on one page was scanned for each row of the base: 20,000 of them that a statement copied up
/// made it quadratic, because the pages it filled were scanned too (a test hung for 9 minutes).
#[tokio::test(flavor = "multi_thread")]
async fn a_mask_of_a_few_rows_is_probed_by_its_index() {
    let Some(db) = database().await else { return };
    let client = db.client().await;
    client
        .batch_execute(
            "CREATE DOMAIN sure AS text NOT NULL;
             CREATE TABLE t (id bigint PRIMARY KEY, email text UNIQUE NOT NULL, made timestamptz DEFAULT now(), n int GENERATED ALWAYS AS (1 / length(email)) STORED);
             INSERT INTO t SELECT g, 'u' || g FROM generate_series(1, 10000) g;
             CREATE TABLE strict (id bigint PRIMARY KEY, name sure, CHECK (name IS NOT NULL))",
        )
        .await
        .unwrap();
    let table = db.register("t", 1).await;
    db.adapter.ensure_layer(&table, BRANCH, None).await.unwrap();
    for statement in [
        "SET epoch.lineage = '7'",
        "INSERT INTO epoch_public.t (id, email, epoch_copied) SELECT id, email, true FROM t WHERE id <= 30",
        "INSERT INTO epoch.mask_1 SELECT 7, id FROM t WHERE id <= 30",
        "INSERT INTO epoch.history_1 (epoch_lineage, id, email, epoch_existed) SELECT 1, id, email, true FROM t WHERE id <= 30",
        "VACUUM ANALYZE",
    ] {
        client.batch_execute(statement).await.unwrap();
    }
    let shown = relation::selective(&table, &working(BRANCH));
    for query in ["id = 4711", "id > 100 ORDER BY id LIMIT 50", "email = 'u7'"] {
        let plan = plan(&client, &format!("SELECT * FROM {shown} t WHERE {query}")).await;
        assert!(
            !plan.contains("Seq Scan on mask") && !plan.contains("Seq Scan on history"),
            "{query}: {plan}"
        );
    }
    // Even where one row is expected: a thousand may come.
    let rows = format!("SELECT * FROM {} t WHERE id = 4711", relation::base_part(&table, BRANCH));
    let plan = plan(&client, &relation::copy_up(&table, BRANCH, &rows)).await;
    assert!(!plan.contains("Nested Loop") && !plan.contains("Seq Scan on mask"), "{plan}");
    // What it does calls none of our functions, and what follows does again.
    let run = format!("EXPLAIN (ANALYZE) {}", relation::copy_up(&table, BRANCH, &rows));
    let ran = text(&client, &run).await;
    assert!(!ran.contains("Trigger zz_epoch"), "{ran}");
    let insert = "EXPLAIN (ANALYZE) INSERT INTO epoch_public.t (id, email) VALUES (-1, 'new')";
    let ran = text(&client, insert).await;
    assert!(
        ran.contains("Trigger zz_epoch_insert") && ran.contains("Trigger zz_epoch_1_unique_insert"),
        "{ran}"
    );
    // A table whose columns don't bear NULL is registered all the same.
    db.register("strict", 2).await;
    client.batch_execute("RESET epoch.lineage").await.unwrap();
    db.drop().await;
}
