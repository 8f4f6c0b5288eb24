//! Commits: exact under concurrent writers, idempotent, with changes applied first.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use epoch_adapter::*;
use rand_like::Random;

use crate::capture::expected;
use crate::harness::*;

/// A small generator: tests are repeatable, up to the server's scheduling.
mod rand_like {
    pub struct Random(pub u64);
    impl Random {
        pub fn below(&mut self, n: u64) -> u64 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            self.0 % n
        }
    }
}

const SUM: &str = "SELECT md5(coalesce(string_agg(ROW(id, v, n)::text, '|' ORDER BY id), '')) FROM t";

async fn write_until(url: String, stop: Arc<AtomicBool>, seed: u64) {
    let client = connect(&url).await;
    let mut random = Random(seed);
    while !stop.load(Ordering::Relaxed) {
        let mut script = "BEGIN;".to_owned();
        for _ in 0..=random.below(4) {
            let k = random.below(120);
            script += &match random.below(8) {
                0..=2 => format!("UPDATE t SET n = n + {} WHERE id = {k};", random.below(3)),
                3 => format!("DELETE FROM t WHERE id = {k};"),
                4 | 5 => {
                    format!("INSERT INTO t VALUES ({k}, 'e{}', 1) ON CONFLICT DO NOTHING;", random.below(9))
                }
                6 => format!("UPDATE t SET n = n + 1 WHERE id BETWEEN {k} AND {};", k + 3),
                _ => format!(
                    "SAVEPOINT s; UPDATE t SET v = 'no' WHERE id = {k}; ROLLBACK TO s; UPDATE t SET id = id + 1000 WHERE id = {k} AND NOT EXISTS (SELECT FROM t WHERE id = {k} + 1000);"
                ),
            };
        }
        script += if random.below(5) == 0 { "ROLLBACK" } else { "COMMIT" };
        if let Err(error) = client.batch_execute(&script).await {
            let code = error.code().map(|c| c.code().to_owned()).unwrap_or_default();
            assert!(["40P01", "23505"].contains(&code.as_str()), "{error:?}");
            client.batch_execute("ROLLBACK").await.unwrap();
        }
        tokio::time::sleep(Duration::from_millis(random.below(5))).await;
    }
}

/// Writers go on all the time. In the same instant as a commit nobody can take a checksum, so the
/// commit's content is compared with two others that must be equal: what it showed right after it
/// was made and what it shows at the end; and it must lie between checksums by balance: every
/// writer's transactions are whole in it.
#[tokio::test(flavor = "multi_thread")]
async fn commits_are_exact_under_concurrent_writers() {
    let Some(db) = database().await else { return };
    let client = db.client().await;
    client
        .batch_execute(
            "CREATE TABLE t (id int PRIMARY KEY, v text, n int); INSERT INTO t SELECT i, 'x', 0 FROM generate_series(1, 100) i;
             CREATE TABLE pair (id int PRIMARY KEY, n int); INSERT INTO pair VALUES (1, 0), (2, 0)",
        )
        .await
        .unwrap();
    let table = db.register("t", 1).await;
    let pair = db.register("pair", 2).await;
    let stop = Arc::new(AtomicBool::new(false));
    let mut writers = Vec::new();
    for seed in 1..=4 {
        writers.push(tokio::spawn(write_until(db.url.clone(), Arc::clone(&stop), seed * 7919)));
    }
    // Each transaction moves both rows of another table: a commit must never hold one of them only.
    let (url, flag) = (db.url.clone(), Arc::clone(&stop));
    writers.push(tokio::spawn(async move {
        let client = connect(&url).await;
        while !flag.load(Ordering::Relaxed) {
            client.batch_execute("BEGIN; UPDATE pair SET n = n + 1 WHERE id = 1; SELECT pg_sleep(0.002); UPDATE pair SET n = n + 1 WHERE id = 2; COMMIT").await.unwrap();
        }
    }));
    let tables = [Arc::clone(&table), Arc::clone(&pair)];
    let mut seen = Vec::new();
    for ordinal in 1..=25 {
        tokio::time::sleep(Duration::from_millis(30)).await;
        db.seal(&tables, Layer::MAIN, ordinal).await;
        seen.push((ordinal, db.rows(&table, main_at(ordinal)).await, db.rows(&pair, main_at(ordinal)).await));
    }
    // A checksum in the same snapshot as a commit: nobody may write while it is taken.
    let locked = db.client().await;
    locked.batch_execute("BEGIN; LOCK TABLE t IN EXCLUSIVE MODE").await.unwrap();
    let sum = one(&locked, SUM).await;
    db.seal(&tables, Layer::MAIN, 26).await;
    locked.batch_execute("COMMIT").await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    stop.store(true, Ordering::Relaxed);
    for writer in writers {
        writer.await.unwrap();
    }
    let last = db.rows(&table, main_at(26)).await;
    let texts = last.values().map(|r| {
        format!("({})", r.iter().map(|v| v.to_text().unwrap_or_default()).collect::<Vec<_>>().join(","))
    });
    let mut texts: Vec<_> = texts.collect();
    texts.sort_by_key(|t| t.trim_start_matches('(').split(',').next().unwrap().parse::<i64>().unwrap());
    assert_eq!(one(&client, &format!("SELECT md5('{}')", texts.join("|"))).await, sum);
    let mut previous: Option<(i64, BTreeMap<Row, Row>)> = None;
    for (ordinal, rows, pairs) in seen {
        assert_eq!(db.rows(&table, main_at(ordinal)).await, rows, "commit {ordinal} changed");
        assert_eq!(db.rows(&pair, main_at(ordinal)).await, pairs, "commit {ordinal} changed");
        let numbers: Vec<_> = pairs.values().map(|r| r[1].clone()).collect();
        assert_eq!(numbers[0], numbers[1], "commit {ordinal} holds half of a transaction");
        if let Some((before, older)) = previous {
            let segments = [segment(1, before, At::Ordinal(ordinal))];
            let diff = db.diff(&table, main_at(before), main_at(ordinal), &segments).await;
            assert_eq!(diff, expected(&older, &rows), "diff {before}..{ordinal}");
        }
        previous = Some((ordinal, rows));
    }
    let (before, rows) = previous.unwrap();
    let now = db.rows(&table, View::MAIN).await;
    let diff = db.diff(&table, main_at(before), View::MAIN, &[segment(1, before, At::Working)]).await;
    assert_eq!(diff, expected(&rows, &now));
    db.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_in_flight_falls_into_the_next_commit() {
    let Some(db) = database().await else { return };
    let client = db.client().await;
    client
        .batch_execute("CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'a'), (2, 'b')")
        .await
        .unwrap();
    let table = db.register("t", 1).await;
    let tables = [Arc::clone(&table)];
    client.batch_execute("UPDATE t SET v = 'committed' WHERE id = 1").await.unwrap();
    let other = db.client().await;
    other.batch_execute("BEGIN; UPDATE t SET v = 'in flight' WHERE id = 2").await.unwrap();
    let first = db.seal(&tables, Layer::MAIN, 1).await;
    assert_eq!(first.tables[0].1, TableStats { modified: 1, ..TableStats::default() });
    other.batch_execute("UPDATE t SET v = 'more' WHERE id = 1; COMMIT").await.unwrap();
    assert_eq!(db.rows(&table, main_at(1)).await[&row(&["1"])], row(&["1", "committed"]));
    assert_eq!(db.rows(&table, main_at(1)).await[&row(&["2"])], row(&["2", "b"]));
    let second = db.seal(&tables, Layer::MAIN, 2).await;
    assert_eq!(second.tables[0].1.modified, 2);
    // The same again: the first result, nothing done.
    client.batch_execute("UPDATE t SET v = 'later'").await.unwrap();
    assert_eq!(db.seal(&tables, Layer::MAIN, 2).await, second);
    assert_eq!(db.adapter.sealed("op-1-2").await.unwrap(), Some(second));
    assert_eq!(db.adapter.sealed("op-unknown").await.unwrap(), None);
    assert_eq!(db.adapter.pending(&tables, Layer::MAIN).await.unwrap()[0].1.modified, 2);
    // Another operation can't take the ordinal.
    let taken = db.adapter.seal("other", &tables, Layer::MAIN, 2, &[], SealMode::All).await.unwrap_err();
    assert_eq!(taken.code(), "40001");
    db.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_change_on_balance_is_no_change() {
    let Some(db) = database().await else { return };
    let client = db.client().await;
    client
        .batch_execute(
            "CREATE TABLE t (id int PRIMARY KEY, v numeric); INSERT INTO t VALUES (1, 1.0), (2, 2)",
        )
        .await
        .unwrap();
    let table = db.register("t", 1).await;
    let tables = [Arc::clone(&table)];
    client
        .batch_execute("UPDATE t SET v = 9 WHERE id = 2; UPDATE t SET v = 2 WHERE id = 2; INSERT INTO t VALUES (3, 3); DELETE FROM t WHERE id = 3")
        .await
        .unwrap();
    assert_eq!(db.adapter.pending(&tables, Layer::MAIN).await.unwrap(), vec![]);
    assert_eq!(db.seal(&tables, Layer::MAIN, 1).await, Sealed::default());
    // Equal numbers that print differently are a change.
    client.batch_execute("UPDATE t SET v = 1.00 WHERE id = 1").await.unwrap();
    assert_eq!(db.seal(&tables, Layer::MAIN, 2).await.tables[0].1.modified, 1);
    assert_eq!(db.rows(&table, main_at(1)).await[&row(&["1"])], row(&["1", "1.0"]));
    db.drop().await;
}

fn change(key: &[&str], before: Option<&[&str]>, after: Option<&[&str]>) -> RowChange {
    RowChange { key: row(key), before: before.map(row), after: after.map(row) }
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_are_applied_before_a_commit() {
    let Some(db) = database().await else { return };
    let client = db.client().await;
    client
        .batch_execute(
            "CREATE TABLE parent (id int PRIMARY KEY, u text UNIQUE); CREATE TABLE child (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
             p int REFERENCES parent, twice int GENERATED ALWAYS AS (p * 2) STORED, u int UNIQUE);
             INSERT INTO parent VALUES (1, 'a'), (2, 'b'); INSERT INTO child (p, u) VALUES (1, 1), (2, 2)",
        )
        .await
        .unwrap();
    let tables = [db.register("child", 1).await, db.register("parent", 2).await];
    let changes = [
        TableChanges {
            table: Arc::clone(&tables[0]),
            changes: vec![
                change(&["1"], Some(&["1", "1", "2", "1"]), Some(&["1", "3", "6", "2"])),
                change(&["2"], Some(&["2", "2", "4", "2"]), Some(&["2", "2", "4", "1"])),
                change(&["9"], None, Some(&["9", "3", "6", "9"])),
            ],
            arrival: None,
        },
        TableChanges {
            table: Arc::clone(&tables[1]),
            changes: vec![
                change(&["1"], Some(&["1", "a"]), None),
                change(&["3"], None, Some(&["3", "it's \\ new"])),
            ],
            arrival: None,
        },
    ];
    client.batch_execute("INSERT INTO parent VALUES (7, 'other work')").await.unwrap();
    let sealed = db.adapter.seal("merge", &tables, Layer::MAIN, 1, &changes, SealMode::Own).await.unwrap();
    let stats: BTreeMap<i64, TableStats> =
        sealed.tables.iter().map(|(id, stats, _)| (id.0, *stats)).collect();
    assert_eq!(stats[&1], TableStats { added: 1, modified: 2, ..TableStats::default() });
    assert_eq!(stats[&2], TableStats { added: 1, removed: 1, ..TableStats::default() });
    assert_eq!(
        one(&client, "SELECT string_agg(c::text, ' ' ORDER BY id) FROM child c").await,
        "(1,3,6,2) (2,2,4,1) (9,3,6,9)"
    );
    assert_eq!(
        one(&client, "SELECT string_agg(u, ' ' ORDER BY id) FROM parent").await,
        "b it's \\ new other work"
    );
    // The other work is still pending.
    assert_eq!(
        db.adapter.pending(&tables, Layer::MAIN).await.unwrap(),
        vec![(TableId(2), TableStats { added: 1, ..TableStats::default() })]
    );
    assert_eq!(db.rows(&tables[1], main_at(0)).await.len(), 2);
    assert_eq!(db.rows(&tables[1], main_at(1)).await.len(), 2);
    db.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_changed_meanwhile_stops_everything() {
    let Some(db) = database().await else { return };
    let client = db.client().await;
    client
        .batch_execute("CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'a'), (2, 'b')")
        .await
        .unwrap();
    let table = db.register("t", 1).await;
    let tables = [Arc::clone(&table)];
    for (key, before, after) in [
        ("2", Some(row(&["2", "was"])), Some(row(&["2", "c"]))),
        ("2", None, Some(row(&["2", "c"]))),
        ("3", Some(row(&["3", "gone"])), None),
    ] {
        let changes = [TableChanges {
            table: Arc::clone(&table),
            changes: vec![
                change(&["1"], Some(&["1", "a"]), Some(&["1", "z"])),
                RowChange { key: row(&[key]), before, after },
            ],
            arrival: None,
        }];
        let error = db.adapter.seal("x", &tables, Layer::MAIN, 1, &changes, SealMode::All).await.unwrap_err();
        assert_eq!(error.code(), "40001");
        assert!(error.detail().unwrap().contains(&format!("(id)=({key})")), "{error:?}");
    }
    assert_eq!(one(&client, "SELECT string_agg(v, '' ORDER BY id) FROM t").await, "ab");
    assert_eq!(db.adapter.pending(&tables, Layer::MAIN).await.unwrap(), vec![]);
    db.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn equal_changes_give_equal_digests() {
    let Some(db) = database().await else { return };
    let client = db.client().await;
    client.batch_execute("CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t SELECT i, 'a' FROM generate_series(1, 9) i").await.unwrap();
    let table = db.register("t", 1).await;
    let tables = [Arc::clone(&table)];
    client.batch_execute("UPDATE t SET v = 'b' WHERE id < 4; DELETE FROM t WHERE id = 9").await.unwrap();
    let first = db.seal(&tables, Layer::MAIN, 1).await.tables[0].2.clone();
    client.batch_execute("UPDATE t SET v = 'c' WHERE id < 4; INSERT INTO t VALUES (9, 'x')").await.unwrap();
    let other = db.seal(&tables, Layer::MAIN, 2).await.tables[0].2.clone();
    client.batch_execute("DELETE FROM t WHERE id = 9; UPDATE t SET v = 'b' WHERE id < 4").await.unwrap();
    let again = db.seal(&tables, Layer::MAIN, 3).await.tables[0].2.clone();
    assert_eq!(first.len(), 64);
    assert_eq!(first, again);
    assert_ne!(first, other);
    db.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_rows_in_one_commit() {
    let Some(db) = database().await else { return };
    let client = db.client().await;
    client
        .batch_execute(
            "CREATE TABLE t (id int PRIMARY KEY, mail text UNIQUE, org int, n numeric, at timestamptz);
             CREATE INDEX ON t (org); CREATE INDEX ON t (at);
             INSERT INTO t SELECT i, 'user' || i || '@example.com', i % 1000, i / 7.0, '2024-01-01'::timestamptz + i * interval '1 minute' FROM generate_series(1, 40000) i",
        )
        .await
        .unwrap();
    let table = db.register("t", 1).await;
    let tables = [Arc::clone(&table)];
    client.batch_execute("VACUUM ANALYZE").await.unwrap();
    let start = std::time::Instant::now();
    client.batch_execute("UPDATE t SET n = n + 1 WHERE id <= 20000").await.unwrap();
    println!("20,000 rows captured: {:?}", start.elapsed());
    let start = std::time::Instant::now();
    let sealed = db.seal(&tables, Layer::MAIN, 1).await;
    println!("20,000 rows committed: {:?}", start.elapsed());
    assert_eq!(sealed.tables[0].1.modified, 20_000);
    client.batch_execute("UPDATE t SET org = org + 1 WHERE id BETWEEN 10001 AND 12000").await.unwrap();
    db.seal(&tables, Layer::MAIN, 2).await;
    let start = std::time::Instant::now();
    let diff = db.diff(&table, main_at(1), main_at(2), &[segment(1, 1, At::Ordinal(2))]).await;
    println!("2,000 rows in a diff: {:?}", start.elapsed());
    assert_eq!(diff.len(), 2_000);
    let start = std::time::Instant::now();
    let stat = db
        .adapter
        .diff_stat(&table, &main_at(0), &main_at(2), &[segment(1, 0, At::Ordinal(2))])
        .await
        .unwrap();
    println!("20,000 rows in a diff_stat: {:?}", start.elapsed());
    assert_eq!(stat, TableStats { modified: 20_000, cells: 22_000, ..TableStats::default() });
    // The same changes as a merge would bring them, onto a branch.
    let changes = [TableChanges {
        table: Arc::clone(&table),
        changes: diff
            .into_iter()
            .map(|c| RowChange { key: c.key, before: c.after, after: c.before })
            .collect(),
        arrival: None,
    }];
    let layer = Layer { lineage: LineageId(7), base: 2 };
    let start = std::time::Instant::now();
    let sealed = db.adapter.seal("merge", &tables, layer, 1, &changes, SealMode::All).await.unwrap();
    println!("2,000 rows applied to a branch: {:?}", start.elapsed());
    assert_eq!(sealed.tables[0].1.modified, 2_000);
    let start = std::time::Instant::now();
    let sealed =
        db.adapter.seal("merge main", &tables, Layer::MAIN, 3, &changes, SealMode::All).await.unwrap();
    println!("2,000 rows applied to main: {:?}", start.elapsed());
    assert_eq!(sealed.tables[0].1.modified, 2_000);
    let start = std::time::Instant::now();
    client.batch_execute("UPDATE t SET n = 0 WHERE id = 1").await.unwrap();
    println!("1 row written: {:?}", start.elapsed());
    let start = std::time::Instant::now();
    db.seal(&tables, Layer::MAIN, 4).await;
    println!("1 row committed: {:?}", start.elapsed());
    db.drop().await;
}

/// What a seal makes of changes of `t` on main, by rows of main afterwards; `None`: refused because of triggers.
async fn with_triggers(
    triggers: &str,
    changes: &[RowChange],
    mode: SealMode,
) -> Option<(Option<bool>, Vec<String>)> {
    let db = database().await?;
    let client = db.client().await;
    client
        .batch_execute(&format!(
            "CREATE TABLE t (id int PRIMARY KEY, v text, twice text GENERATED ALWAYS AS (v || v) STORED); \
             INSERT INTO t SELECT i, 'v' || i FROM generate_series(1, 3) i; \
             CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN {triggers}"
        ))
        .await
        .unwrap();
    let table = db.register("t", 1).await;
    let given = TableChanges { table: table.clone(), changes: changes.to_vec(), arrival: None };
    let seal = db.adapter.seal("op", std::slice::from_ref(&table), Layer::MAIN, 1, &[given], mode).await;
    let altered = match seal {
        Ok(sealed) => Some(sealed.altered),
        Err(error) => {
            assert_eq!(error.code(), "55000", "{triggers}: {error}");
            assert_eq!(error.message(), "trigger \"own\" of table \"t\" changes rows beside what is written");
            assert_eq!(
                one(&client, "SELECT count(*) FROM epoch.history_1 WHERE epoch_lineage = 1").await,
                "0"
            );
            None
        }
    };
    let rows = db.rows(&table, main_at(1)).await.into_values();
    let rows =
        rows.map(|row| row.iter().map(|v| v.to_text().unwrap_or_default()).collect::<Vec<_>>().join("|"));
    let rows = rows.collect();
    db.drop().await;
    Some((altered, rows))
}

/// Main's own triggers changed what a merge wrote, and the commit had two contents.
#[tokio::test(flavor = "multi_thread")]
async fn rows_that_triggers_of_main_change_are_told() {
    let old = |i: usize| [["1", "v1", "v1v1"], ["2", "v2", "v2v2"], ["3", "v3", "v3v3"]][i - 1];
    let update = change(&["1"], Some(&old(1)), Some(&["1", "low", "lowlow"]));
    let insert = change(&["9"], None, Some(&["9", "new", "newnew"]));
    let delete = change(&["2"], Some(&old(2)), None);
    let all = [update.clone(), insert, delete];
    let upper = "NEW.v = upper(NEW.v); RETURN NEW; END$$; CREATE TRIGGER own BEFORE INSERT OR UPDATE ON t FOR EACH ROW EXECUTE FUNCTION f()";
    let same = "RETURN coalesce(NEW, OLD); END$$; CREATE TRIGGER own BEFORE INSERT OR UPDATE OR DELETE ON t FOR EACH ROW EXECUTE FUNCTION f()";
    let keep = "RETURN NULL; END$$; CREATE TRIGGER own BEFORE DELETE ON t FOR EACH ROW EXECUTE FUNCTION f()";
    let other = "UPDATE t SET v = 'seen' WHERE id = 3; RETURN NULL; END$$; CREATE TRIGGER own AFTER UPDATE ON t FOR EACH ROW WHEN (NEW.id = 1) EXECUTE FUNCTION f()";
    let off = format!("{upper}; ALTER TABLE t DISABLE TRIGGER own");
    for (triggers, changes, altered, rows) in [
        (upper, &all[..], true, &["1|LOW|LOWLOW", "3|v3|v3v3", "9|NEW|NEWNEW"][..]),
        (same, &all, false, &["1|low|lowlow", "3|v3|v3v3", "9|new|newnew"]),
        (&off, &all, false, &["1|low|lowlow", "3|v3|v3v3", "9|new|newnew"]),
        (keep, &all, true, &["1|low|lowlow", "2|v2|v2v2", "3|v3|v3v3", "9|new|newnew"]),
        (other, std::slice::from_ref(&update), true, &["1|low|lowlow", "2|v2|v2v2", "3|seen|seenseen"]),
    ] {
        let Some(found) = with_triggers(triggers, changes, SealMode::Own).await else { return };
        assert_eq!(found, (Some(altered), rows.iter().map(|r| (*r).to_owned()).collect()), "{triggers}");
        let Some((exact, _)) = with_triggers(triggers, changes, SealMode::Exact).await else { return };
        assert_eq!(exact, (!altered).then_some(false), "{triggers}");
    }
}
