//! What reading functions ask their backend for: the adapter is one that counts.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod federation;

use std::any::Any;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use epoch::federation::Session;
use epoch::functions::{self, Arg, Args, Asked, Condition};
use epoch::operations::{Author, Checkout, CommitOptions, Repository, Strategy};
use epoch::storage::Backends;
use epoch::{Error, Result};
use epoch_adapter::{
    Adapter, BackendKind, BatchStream, ChangeStream, Comparison, Discovered, Health, Layer, Leftover,
    LineageId, Location, Ordinal, Predicate, RowWrite, Scan, SealMode, Sealed, SeenTable, Segment,
    TableChanges, TableDef, TableId, TableSchema, TableStats, Transaction, Value, View, Violation, Wanted,
};
use epoch_adapter_sqlite::SqliteAdapter;
use futures::{StreamExt, TryStreamExt};

/// What was asked of an adapter.
#[derive(Debug, Default, Clone)]
struct Count {
    /// What each diff was asked for.
    diffs: Vec<Wanted>,
    /// Rows that diffs gave.
    changes: usize,
    scans: Vec<Scan>,
    scanned: usize,
}

#[derive(Debug)]
struct Counting {
    inner: SqliteAdapter,
    count: Arc<Mutex<Count>>,
}

macro_rules! passed_on {
    ($($name:ident($($arg:ident: $ty:ty),*) -> $out:ty;)*) => {
        #[async_trait]
        impl Adapter for Counting {
            fn kind(&self) -> BackendKind { self.inner.kind() }
            fn name(&self) -> &str { self.inner.name() }
            fn as_any(&self) -> &dyn Any { self.inner.as_any() }
            fn belong_to(&self, repository: &str) { self.inner.belong_to(repository) }
            fn supports(&self, table: &TableDef, predicate: &Predicate) -> bool { self.inner.supports(table, predicate) }
            async fn diff(
                &self,
                table: &TableDef,
                from: &View,
                to: &View,
                segments: &[Segment],
                wanted: &Wanted,
            ) -> Result<ChangeStream> {
                self.count.lock().unwrap().diffs.push(wanted.clone());
                let count = Arc::clone(&self.count);
                let changes = self.inner.diff(table, from, to, segments, wanted).await?;
                Ok(changes.inspect(move |_| count.lock().unwrap().changes += 1).boxed())
            }
            async fn scan(&self, table: &TableDef, view: &View, scan: &Scan) -> Result<BatchStream> {
                self.count.lock().unwrap().scans.push(scan.clone());
                let count = Arc::clone(&self.count);
                let batches = self.inner.scan(table, view, scan).await?;
                let rows = move |batch: &Result<arrow::record_batch::RecordBatch>| {
                    count.lock().unwrap().scanned += batch.as_ref().map_or(0, |b| b.num_rows());
                };
                Ok(batches.inspect(rows).boxed())
            }
            $(async fn $name(&self, $($arg: $ty),*) -> $out { self.inner.$name($($arg),*).await })*
        }
    };
}

passed_on! {
    health() -> Result<Health>;
    risks() -> Result<Vec<String>>;
    discover(pattern: &str) -> Result<Vec<Discovered>>;
    describe(location: &Location, key: Option<&[String]>) -> Result<TableSchema>;
    install(table: &TableDef) -> Result<()>;
    uninstall(table: &TableDef) -> Result<()>;
    ensure_layer(table: &TableDef, layer: Layer, parent: Option<&View>) -> Result<()>;
    related(table: &TableDef) -> Result<Vec<TableId>>;
    begin() -> Result<Box<dyn Transaction>>;
    pending(tables: &[Arc<TableDef>], layer: Layer) -> Result<Vec<(TableId, TableStats)>>;
    seal(operation: &str, tables: &[Arc<TableDef>], layer: Layer, ordinal: Ordinal, changes: &[TableChanges], mode: SealMode) -> Result<Sealed>;
    sealed(operation: &str) -> Result<Option<Sealed>>;
    changes_of_keys(table: &TableDef, wanted: &Wanted, lineages: &[LineageId]) -> Result<Vec<(LineageId, Ordinal)>>;
    diff_stat(table: &TableDef, from: &View, to: &View, segments: &[Segment]) -> Result<TableStats>;
    drift(tables: &[Arc<TableDef>]) -> Result<Vec<(TableId, String)>>;
    violations(table: &TableDef, view: &View, others: &[SeenTable], limit: usize) -> Result<Vec<Violation>>;
    create_statement(table: &TableDef) -> Result<String>;
    measure(table: &TableDef, what: &Leftover) -> Result<u64>;
    remove(table: &TableDef, what: &Leftover, limit: usize) -> Result<usize>;
    abandon(lineages: &[LineageId]) -> Result<()>;
    forget_lineages(lineages: &[LineageId]) -> Result<()>;
    row_estimate(table: &TableDef) -> Result<i64>;
}

/// How many rows `t` has; commit `all` changes every one of them.
const ROWS: usize = 5_000;
/// Rows that an adapter reads ahead of who takes them.
const AHEAD: usize = 2_500;

struct Fixture {
    repository: Repository,
    main: Checkout,
    count: Arc<Mutex<Count>>,
    _folder: tempfile::TempDir,
}

impl Fixture {
    /// Commits: `start`, `all` (every row), `one` (row 7), `two` (rows 7 and 8); branch `b` without 7.
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("shop.db");
        federation::make(
            &path,
            &format!(
                "CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT); CREATE TABLE s (k TEXT COLLATE NOCASE PRIMARY KEY, n INTEGER); \
                 WITH RECURSIVE g(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM g WHERE i < {ROWS}) INSERT INTO t SELECT i, 'v' FROM g; \
                 INSERT INTO s VALUES ('Ann', 1), ('bob', 2)"
            ),
        );
        let count = Arc::new(Mutex::new(Count::default()));
        let inner = SqliteAdapter::open("shop", &path).unwrap();
        let adapter = Arc::new(Counting { inner, count: Arc::clone(&count) });
        let config = federation::config(folder.path(), &["shop"]);
        let backends = Backends::new(vec![adapter], vec![], Some("shop".to_owned()));
        let repository = Repository::open_with(&config, backends).await.unwrap();
        repository.register("*", Some("sqlite://shop/*"), None).await.unwrap();
        let main = repository.checkout("main", None).await.unwrap();
        let f = Self { repository, main, count, _folder: folder };
        f.commit("start", vec![]).await;
        f.commit("all", (1..=ROWS as i64).collect()).await;
        f.commit("one", vec![7]).await;
        f.commit("two", vec![7, 8]).await;
        f.repository.create_branch(&f.main, "b", None, false).await.unwrap();
        let b = f.repository.checkout("b", None).await.unwrap();
        let table = f.table("t");
        let layer = f.repository.writable(&b, &table).await.unwrap();
        let mut tx = f.repository.backend("shop").unwrap().begin().await.unwrap();
        tx.write(&table, layer, &[RowWrite::Delete { key: vec![Value::Int(7)] }]).await.unwrap();
        tx.commit().await.unwrap();
        f
    }

    fn table(&self, name: &str) -> Arc<TableDef> {
        self.repository.tables().find(name).unwrap().clone()
    }

    async fn commit(&self, message: &str, ids: Vec<i64>) {
        let table = self.table("t");
        let mut tx = self.repository.backend("shop").unwrap().begin().await.unwrap();
        let set = vec![(1, Value::Text(message.to_owned()))];
        let writes: Vec<RowWrite> =
            ids.iter().map(|id| RowWrite::Update { key: vec![Value::Int(*id)], set: set.clone() }).collect();
        if !writes.is_empty() {
            tx.prepare_write(&table, Layer::MAIN, false).await.unwrap();
            tx.write(&table, Layer::MAIN, &writes).await.unwrap();
        }
        tx.commit().await.unwrap();
        let options =
            CommitOptions { message: message.to_owned(), allow_empty: true, ..CommitOptions::default() };
        self.repository.commit(&self.main, &options).await.unwrap();
    }

    /// What a call returns under conditions, and what it asked for.
    async fn asked(&self, name: &str, args: &[&str], asked: &Asked) -> (Vec<Vec<Option<String>>>, Count) {
        *self.count.lock().unwrap() = Count::default();
        let in_use = |_: &str| false;
        let session = functions::Session {
            repository: &self.repository,
            checkout: &self.main,
            author: Author::default(),
            read_only: false,
            in_transaction: false,
            branch_in_use: &in_use,
            strategy: Strategy::Field,
            explain: None,
        };
        let positional = args.iter().map(|a| Arg::Text((*a).to_owned())).collect();
        let args = Args { positional, ..Args::default() };
        let opened = functions::open(&session, name, &args, asked).await.unwrap();
        let rows = opened.rows.try_collect().await.unwrap();
        (rows, self.count.lock().unwrap().clone())
    }

    /// What a statement of the federated route returns, and what it asked for.
    async fn sql(&self, sql: &str) -> (Vec<String>, Count) {
        *self.count.lock().unwrap() = Count::default();
        let mut session = Session::new(self.repository.clone(), "ann", "shop");
        let outcome = session.simple(&self.main, sql).await.unwrap_or_else(|e: Error| panic!("{sql}: {e}"));
        let rows = federation::rows(outcome).await.unwrap();
        (rows.lines(), self.count.lock().unwrap().clone())
    }
}

fn term(names: &[&str]) -> Vec<String> {
    names.iter().map(|n| (*n).to_owned()).collect()
}

fn is(names: &[&str], value: &str) -> Asked {
    let condition = Condition::Compare(vec![term(names)], Comparison::Eq, vec![value.to_owned()]);
    Asked { conditions: vec![condition], ..Asked::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_condition_on_the_key_reads_the_changes_of_that_key_alone() {
    let f = Fixture::new().await;
    for (name, args, column, rows) in [
        ("epoch_diff", &["HEAD~3", "HEAD", "t"][..], &["to_id"][..], 1),
        ("epoch_diff", &["HEAD~3", "HEAD", "t"], &["to_id", "from_id"], 1),
        ("epoch_history", &["t"], &["id"], 3),
        ("epoch_blame", &["t"], &["id"], 1),
    ] {
        let (found, count) = f.asked(name, args, &is(column, "7")).await;
        assert_eq!(found.len(), rows, "{name}");
        assert!(count.changes <= 3, "{name}: {count:?}");
        assert!(count.scanned <= 1, "{name}: {count:?}");
        assert!(!count.diffs.is_empty() && count.diffs.iter().all(Wanted::selects), "{name}: {count:?}");
        // All of them without it.
        let (all, count) = f.asked(name, args, &Asked::default()).await;
        assert!(all.len() >= ROWS && count.changes >= ROWS, "{name}: {count:?}");
    }
    // A commit that didn't change the key isn't compared at all.
    let (found, count) = f.asked("epoch_history", &["t"], &is(&["id"], "8")).await;
    assert_eq!((found.len(), count.diffs.len()), (2, 2), "{count:?}");
    // What the backend takes for equal is for who asks to judge.
    let s = f.table("s");
    let mut tx = f.repository.backend("shop").unwrap().begin().await.unwrap();
    let update = RowWrite::Update { key: vec![Value::Text("Ann".to_owned())], set: vec![(1, Value::Int(5))] };
    tx.write(&s, Layer::MAIN, &[update]).await.unwrap();
    tx.commit().await.unwrap();
    let first = Asked { limit: Some(1), ..is(&["to_k"], "ANN") };
    let (found, count) = f.asked("epoch_diff", &["HEAD~3", "WORKING", "s"], &first).await;
    assert_eq!((found.len(), count.diffs[0].limit), (1, None), "{count:?}");
    let both = "SELECT to_n FROM epoch_diff('HEAD~3', 'WORKING', 's') WHERE to_k = ";
    assert_eq!(f.sql(&format!("{both}'ANN' LIMIT 1")).await.0, Vec::<String>::new());
    assert_eq!(f.sql(&format!("{both}'Ann' LIMIT 1")).await.0, ["5"]);
    // A column that is no part of the key.
    let (found, _) = f.asked("epoch_diff", &["HEAD~3", "HEAD", "t"], &is(&["to_v"], "two")).await;
    assert_eq!(found.len(), ROWS, "not asked of the backend");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_stops_early() {
    let f = Fixture::new().await;
    let first = |limit, order: &[(&[&str], bool)]| {
        let order = order.iter().map(|(names, falling)| (term(names), *falling)).collect();
        Asked { limit: Some(limit), order, ..Asked::default() }
    };
    let key = &["to_id", "from_id"][..];
    let (found, count) = f.asked("epoch_diff", &["HEAD~3", "HEAD", "t"], &first(5, &[])).await;
    assert_eq!((found.len(), count.changes), (5, 5), "{count:?}");
    let (found, count) = f.asked("epoch_diff", &["HEAD~3", "HEAD", "t"], &first(5, &[(key, false)])).await;
    assert_eq!((found.len(), count.changes), (5, 5), "{count:?}");
    // In another order it takes all of them.
    for order in [&[(key, true)][..], &[(&["to_v"][..], false)]] {
        let (found, _) = f.asked("epoch_diff", &["HEAD~3", "HEAD", "t"], &first(5, order)).await;
        assert_eq!(found.len(), ROWS);
    }
    let (found, count) = f.asked("epoch_history", &["t"], &first(4, &[])).await;
    assert_eq!(found.len(), 4);
    assert!(count.changes <= AHEAD, "{count:?}");
    let (found, _) = f.asked("epoch_blame", &["t"], &first(3, &[(&["id"], false)])).await;
    let ids: Vec<_> = found.iter().map(|row| row[0].clone().unwrap()).collect();
    assert_eq!(ids, ["1", "2", "3"]);
    let (found, count) = f.asked("epoch_all_branches", &["t"], &first(3, &[])).await;
    assert_eq!(found.len(), 3);
    assert!(count.scanned <= AHEAD && count.scans.len() == 1, "{count:?}");
    // Pages by a key that stays what it is.
    let mut last = "0".to_owned();
    let mut seen = Vec::new();
    for _ in 0..3 {
        let after = Condition::Compare(vec![term(key)], Comparison::Gt, vec![last.clone()]);
        let page = Asked { conditions: vec![after], ..first(2, &[(key, false)]) };
        let (found, count) = f.asked("epoch_diff", &["HEAD~3", "HEAD", "t"], &page).await;
        assert_eq!(count.changes, 2, "{count:?}");
        seen.extend(found.iter().map(|row| row[3].clone().unwrap()));
        last.clone_from(seen.last().unwrap());
    }
    assert_eq!(seen, ["1", "2", "3", "4", "5", "6"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_the_log_begin_where_the_last_one_ended() {
    let f = Fixture::new().await;
    let (all, _) = f.sql("SELECT message, commit_order FROM epoch_log() ORDER BY commit_order DESC").await;
    assert_eq!(
        all.iter().map(|l| l.split('|').next().unwrap()).collect::<Vec<_>>()[..3],
        ["two", "one", "all"]
    );
    let order = all[1].split('|').nth(1).unwrap();
    f.commit("later", vec![]).await;
    let page = format!(
        "SELECT message FROM epoch.log WHERE commit_order < {order} ORDER BY commit_order DESC LIMIT 2"
    );
    // The call's own limit comes before the condition of the query.
    let own = format!("SELECT message FROM epoch_log('-n', '1') WHERE commit_order < {order}");
    assert_eq!(f.sql(&own).await.0, Vec::<String>::new());
    assert_eq!(f.sql(&page).await.0, ["all", "start"], "a commit that came meanwhile moves nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn federated_queries_ask_for_what_they_need() {
    let f = Fixture::new().await;
    for (sql, expected) in [
        ("SELECT to_v FROM epoch_diff('HEAD~3', 'HEAD', 't') WHERE to_id = 7", &["two"][..]),
        (
            "SELECT to_v FROM epoch_diff('HEAD~3', 'HEAD', 't') d WHERE d.to_id IN (7, 8) ORDER BY d.to_id",
            &["two", "two"],
        ),
        (
            "SELECT to_id FROM epoch_diff('HEAD~3', 'HEAD', 't') WHERE coalesce(to_id, from_id) BETWEEN 7 AND 8 ORDER BY 1",
            &["7", "8"],
        ),
        ("SELECT count(*) FROM epoch_history('t') WHERE id = 7 AND diff_type = 'modified'", &["3"]),
        ("SELECT message FROM epoch_blame('t') WHERE id = 8", &["two"]),
        ("SELECT b.message FROM t JOIN epoch_blame('t') b ON b.id = t.id WHERE b.id = 9", &["all"]),
    ] {
        let (found, count) = f.sql(sql).await;
        assert_eq!(found, expected, "{sql}");
        assert!(count.changes <= 6, "{sql}: {count:?}");
    }
    let (found, count) =
        f.sql("SELECT _branch FROM epoch_all_branches('t') WHERE id = 7 AND _branch <> 'x'").await;
    assert_eq!(found, ["main"]);
    assert!(count.scanned <= 1, "{count:?}");
    let (found, count) = f.sql("SELECT count(*) FROM epoch_all_branches('t') WHERE _branch = 'b'").await;
    assert_eq!((found, count.scans.len()), (vec![(ROWS - 1).to_string()], 1), "only that branch is read");
    let (found, count) = f.sql("SELECT diff_type FROM epoch_diff('HEAD~3', 'HEAD', 't') LIMIT 2").await;
    assert_eq!((found.len(), count.changes), (2, 2), "{count:?}");
    // Conditions that aren't all understood, and texts.
    let (found, _) = f
        .sql("SELECT to_id FROM epoch_diff('HEAD~3', 'HEAD', 't') WHERE to_id = 7 OR to_id = 9 ORDER BY 1")
        .await;
    assert_eq!(found, ["7", "9"]);
    let (found, _) = f.sql("SELECT k FROM epoch_at('s', 'HEAD') WHERE k = 'ann' OR k = 'bob'").await;
    assert_eq!(found, ["bob"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn counts_of_branches_need_one_scan_of_main() {
    let f = Fixture::new().await;
    for name in ["c", "d"] {
        f.repository.create_branch(&f.main, name, None, false).await.unwrap();
    }
    let (found, count) = f.asked("epoch_all_branches", &["t", "--count"], &Asked::default()).await;
    let found: Vec<String> =
        found.iter().map(|row| row.iter().flatten().cloned().collect::<Vec<_>>().join("|")).collect();
    assert_eq!(
        found,
        [format!("b|{}", ROWS - 1), format!("c|{ROWS}"), format!("d|{ROWS}"), format!("main|{ROWS}")]
    );
    assert_eq!(count.scans.len(), 1, "{count:?}");
    let (found, _) = f.asked("epoch_all_branches", &["t", "--count", "--total"], &Asked::default()).await;
    assert_eq!(found, [[Some((4 * ROWS - 1).to_string())]]);
}
