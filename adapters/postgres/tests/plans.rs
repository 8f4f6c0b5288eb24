//! Plans that must not depend on when ANALYZE ran.

use epoch_adapter::{Adapter, At, Comparison, Layer, LineageId, Predicate, View, Wanted};
use epoch_adapter_postgres::{compare_sql, diff_sql, relation};
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
    assert!(ran.contains("Trigger zz_epoch_1_insert"), "{ran}");
    // A table whose columns don't bear NULL is registered all the same.
    db.register("strict", 2).await;
    client.batch_execute("RESET epoch.lineage").await.unwrap();
    db.drop().await;
}

/// Each row of a range was looked for in mask and history, though most tables of most branches are untouched.
#[tokio::test(flavor = "multi_thread")]
async fn a_range_of_an_untouched_table_is_read_without_probes() {
    let Some(db) = database().await else { return };
    let client = db.client().await;
    client
        .batch_execute(
            "CREATE TABLE t (id bigint PRIMARY KEY, name text);
             INSERT INTO t SELECT g, 'n' || g FROM generate_series(1, 5000) g",
        )
        .await
        .unwrap();
    let table = db.register("t", 1).await;
    db.adapter.ensure_layer(&table, BRANCH, None).await.unwrap();
    client.batch_execute("VACUUM ANALYZE").await.unwrap();
    let view = working(BRANCH);
    let range =
        |relation: String| format!("SELECT id, name FROM {relation} t WHERE id > 1000 ORDER BY id LIMIT 50");
    let ranging = range(relation::ranging(&table, &view));
    // Whether the probes of mask and history ran, and rows as the other forms show them.
    let probed = async || {
        let rows = text(&client, &ranging).await;
        for other in [relation::selective(&table, &view), relation::scanning(&table, &view)] {
            assert_eq!(rows, text(&client, &range(other)).await);
        }
        let plan = text(&client, &format!("EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF) {ranging}")).await;
        assert!(!plan.contains("Seq Scan"), "{plan}");
        let ran = |probe: &str| {
            let lines = plan.lines().filter(|l| l.contains("Index Only Scan") && l.contains(probe));
            lines.filter(|l| l.contains("rows=0") && !l.contains("loops=1)")).count() > 0
        };
        (ran("mask_1"), ran("history_1"))
    };
    assert_eq!(probed().await, (false, false));
    client.batch_execute("UPDATE t SET name = 'moved' WHERE id IN (1010, 1011, 4000)").await.unwrap();
    assert_eq!(probed().await, (false, true));
    for statement in [
        "SET epoch.lineage = '7'",
        "INSERT INTO epoch_public.t (id, name, epoch_copied) SELECT id, 'mine', true FROM t WHERE id IN (1020, 1021)",
        "INSERT INTO epoch.mask_1 SELECT 7, id FROM t WHERE id IN (1020, 1021, 1030)",
        "RESET epoch.lineage",
    ] {
        client.batch_execute(statement).await.unwrap();
    }
    assert_eq!(probed().await, (true, true));
    db.drop().await;
}

/// With an index on another column, an UPDATE by key on a new branch took that index and walked over all rows that the
/// branch had: 16 times as long as on the plain table after 5,000 of them.
#[tokio::test(flavor = "multi_thread")]
async fn rows_of_a_new_branch_are_found_by_the_index_of_what_is_asked_for() {
    let Some(db) = database().await else { return };
    let client = db.client().await;
    let texts: Vec<String> = (0..10).map(|i| format!("f{i} text NOT NULL")).collect();
    for (name, rows) in [("filled", 1000), ("one", 1)] {
        client
            .batch_execute(&format!(
                "CREATE TABLE {name} (id bigint PRIMARY KEY, owner bigint NOT NULL, email text UNIQUE CHECK (email <> ''), {});
                 CREATE INDEX {name}_owner ON {name} (owner);
                 INSERT INTO {name} SELECT g, g, g{} FROM generate_series(1, {rows}) g",
                texts.join(", "),
                ", repeat('x', 100)".repeat(10)
            ))
            .await
            .unwrap();
    }
    for (id, name) in [(1, "filled"), (2, "one")] {
        let table = db.register(name, id).await;
        db.adapter.ensure_layer(&table, BRANCH, None).await.unwrap();
        for analyze in ["SELECT 1".to_owned(), format!("VACUUM ANALYZE epoch_public.{name}")] {
            client.batch_execute(&analyze).await.unwrap();
            for (condition, index) in
                [("id = 5", "pkey"), ("owner = 5", "owner"), ("email = '5'", "email_key")]
            {
                let sql = format!(
                    "UPDATE epoch_public.{name} SET f3 = 'x' WHERE epoch_lineage = 7 AND {condition}"
                );
                let plan = plan(&client, &sql).await;
                let expected = format!("{name}_{index}");
                assert!(plan.contains(&expected), "{name}, {condition}, {analyze}: {plan}");
            }
        }
        // Nobody's rows are nobody's.
        let shown = relation::scanning(&table, &working(BRANCH));
        let expected = text(&client, &format!("SELECT count(*) FROM {name}")).await;
        assert_eq!(text(&client, &format!("SELECT count(*) FROM {shown} t")).await, expected);
    }
    db.drop().await;
}

/// How many rows the nodes of a plan read from a relation, all loops together, as the server counted them.
fn read(plan: &serde_json::Value, relation: &str) -> f64 {
    let number = |name: &str| plan[name].as_f64().unwrap_or(0.0);
    let own = match plan["Relation Name"].as_str() {
        Some(name) if name == relation => {
            (number("Actual Rows") + number("Rows Removed by Filter")) * number("Actual Loops")
        }
        _ => 0.0,
    };
    let below = plan["Plans"].as_array().map_or(0.0, |all| all.iter().map(|p| read(p, relation)).sum());
    own + below
}

/// A diff of one key or of a range reads what these have of history, not what changed besides.
#[tokio::test(flavor = "multi_thread")]
async fn a_diff_of_some_keys_reads_the_history_of_these_alone() {
    let Some(db) = database().await else { return };
    let client = db.client().await;
    let fill = "CREATE TABLE t (id bigint PRIMARY KEY, n int); INSERT INTO t SELECT g, g FROM generate_series(1, 20000) g";
    client.batch_execute(fill).await.unwrap();
    let table = db.register("t", 1).await;
    client.batch_execute("UPDATE t SET n = n + 1").await.unwrap();
    db.seal(std::slice::from_ref(&table), epoch_adapter::Layer::MAIN, 1).await;
    client.batch_execute("UPDATE t SET n = n + 1 WHERE id <= 10").await.unwrap();
    db.seal(std::slice::from_ref(&table), epoch_adapter::Layer::MAIN, 2).await;
    client.batch_execute("VACUUM ANALYZE").await.unwrap();
    let keys = |keys: Vec<Predicate>| Wanted { keys, ..Wanted::default() };
    let is = |op, value: &str| Predicate::Compare(0, op, crate::harness::text(value));
    let some = ["5", "17000", "17001", "99999"].map(crate::harness::text).to_vec();
    let range = vec![is(Comparison::Gt, "15000"), is(Comparison::LtEq, "15020")];
    for (wanted, rows, most) in [
        (Wanted::of_key(row(&["5"])), 1, 10.0),
        (keys(vec![is(Comparison::Eq, "5")]), 1, 10.0),
        // For several keys the server rather walks the index in its order, which the result has to have, too.
        (keys(vec![Predicate::In(0, some)]), 3, 30_000.0),
        (keys(range.clone()), 20, 120.0),
        (Wanted { limit: Some(7), ..keys(range) }, 7, 120.0),
        (Wanted::default(), 20000, 1e6),
    ] {
        let segments = [segment(1, 0, At::Ordinal(2))];
        let sql = diff_sql(&table, &main_at(0), &View::MAIN, &segments, &wanted).unwrap();
        let explained = one(&client, &format!("EXPLAIN (ANALYZE, FORMAT JSON) {sql}")).await;
        let explained: serde_json::Value = serde_json::from_str(&explained).unwrap();
        let plan = &explained[0]["Plan"];
        assert_eq!(plan["Actual Rows"].as_f64().unwrap() as i64, rows, "{wanted:?}: {plan:#}");
        let history = read(plan, "history_1");
        assert!(history <= most, "{wanted:?}: {history} rows of history: {plan:#}");
        let base = read(plan, "t");
        // (A range of twenty keys may be looked up before it is cut.)
        assert!(base <= rows.max(20) as f64 * 2.0, "{wanted:?}: {base} rows of the table: {plan:#}");
        let changes = db.adapter.diff(&table, &main_at(0), &View::MAIN, &segments, &wanted).await.unwrap();
        let changes: Vec<_> = futures::TryStreamExt::try_collect(changes).await.unwrap();
        assert_eq!(changes.len() as i64, rows, "{wanted:?}");
        let main = epoch_adapter::LineageId::MAIN;
        let mut places = db.adapter.changes_of_keys(&table, &wanted, &[main]).await.unwrap();
        places.sort();
        let both = rows <= 3 || rows == 20000;
        assert_eq!(places, if both { vec![(main, 1), (main, 2)] } else { vec![(main, 1)] }, "{wanted:?}");
    }
    db.drop().await;
}

/// A merge of 10,000 rows into a table of a million read all of the table by its index to lock them.
#[tokio::test(flavor = "multi_thread")]
async fn rows_that_a_merge_compares_are_found_by_key() {
    let Some(db) = database().await else { return };
    let client = db.client().await;
    client
        .batch_execute(
            "CREATE TABLE t (id bigint PRIMARY KEY, n int);
             INSERT INTO t SELECT g, g FROM generate_series(1, 50000) g; ANALYZE t",
        )
        .await
        .unwrap();
    let table = db.register("t", 1).await;
    client
        .batch_execute(
            "CREATE TEMPORARY TABLE epoch_changes_1 AS SELECT id AS epoch_n, true AS epoch_b, true AS epoch_a, id, id AS epoch_b0, n AS epoch_b1 \
             FROM t WHERE id > 40000; ANALYZE epoch_changes_1; SET enable_seqscan = off; SET enable_bitmapscan = off",
        )
        .await
        .unwrap();
    for lineage in [LineageId::MAIN, LineageId(2)] {
        let sql = compare_sql(&table, Layer { lineage, base: 0 });
        let plan = plan(&client, &sql).await;
        assert!(plan.contains("(id = s.id)"), "{plan}");
        assert!(!plan.contains("Merge Join") && !plan.contains("Seq Scan on t"), "{plan}");
    }
    db.drop().await;
}
