//! The metadata store, the same on both engines, and several handles at once.

use std::time::Duration;

use epoch::metadata::Store;
use epoch::operations::{CommitOptions, LogQuery, MergeOptions, Repository};

use super::support::{TABLES, commit_options, config_with_store, create_tables, rows, run_sql, set};

/// A store's URL, and what keeps it alive.
struct Place {
    url: String,
    folder: tempfile::TempDir,
    /// Server, and the database to drop in the end.
    database: Option<(String, String)>,
}

impl Place {
    fn sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", folder.path().join("deep/er/epoch.db").display());
        Self { url, folder, database: None }
    }

    async fn postgres() -> Option<Self> {
        let Ok(server) = std::env::var("EPOCH_TEST_POSTGRES_URL") else {
            println!("skipped: set EPOCH_TEST_POSTGRES_URL or run make test");
            return None;
        };
        let name = format!("epoch_ops_{}", uuid::Uuid::new_v4().simple());
        run_sql(&server, &format!("CREATE DATABASE {name}")).await;
        let (base, _) = server.rsplit_once('/').unwrap();
        let url = format!("{base}/{name}?sslmode=disable");
        Some(Self { url, folder: tempfile::tempdir().unwrap(), database: Some((server, name)) })
    }

    async fn finish(self) {
        if let Some((server, name)) = &self.database {
            run_sql(server, &format!("DROP DATABASE {name} WITH (FORCE)")).await;
        }
    }

    async fn open(&self) -> Repository {
        Repository::open(&config_with_store(self.folder.path(), &self.url)).await.unwrap()
    }
}

macro_rules! on_both_engines {
    ($($name:ident;)*) => {
        mod on_sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                let place = super::Place::sqlite();
                super::$name(&place).await;
                place.finish().await;
            })*
        }
        mod on_postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                let Some(place) = super::Place::postgres().await else { return };
                super::$name(&place).await;
                place.finish().await;
            })*
        }
    };
}

on_both_engines! {
    the_lock_is_exclusive_and_dies_with_its_holder;
    a_transaction_is_all_or_nothing;
    opening_twice_keeps_everything;
    the_main_job_works;
    other_handles_are_told;
    handles_that_commit_at_once_lose_nothing;
}

async fn the_lock_is_exclusive_and_dies_with_its_holder(place: &Place) {
    let (a, b) = (Store::open(&place.url, "r").await.unwrap(), Store::open(&place.url, "r").await.unwrap());
    let held = a.lock().await.unwrap();
    held.check().unwrap();
    assert!(b.try_lock().await.unwrap().is_none());
    assert!(tokio::time::timeout(Duration::from_millis(60), b.lock()).await.is_err(), "it waits");
    let waiting = tokio::spawn(async move { b.lock().await.map(|lock| (lock, b)) });
    drop(held);
    let (got, b) = tokio::time::timeout(Duration::from_secs(10), waiting).await.unwrap().unwrap().unwrap();
    assert!(a.try_lock().await.unwrap().is_none());
    drop(got);
    drop(b.lock().await.unwrap());
    drop(a.lock().await.unwrap());
}

async fn a_transaction_is_all_or_nothing(place: &Place) {
    let store = Store::open(&place.url, "r").await.unwrap();
    let generation = async |store: &Store| {
        let mut tx = store.read().await.unwrap();
        let row = tx.first("SELECT generation FROM repository", &[]).await.unwrap().unwrap();
        row.int(0).unwrap()
    };
    let before = generation(&store).await;
    let mut tx = store.write().await.unwrap();
    tx.next_generation().await.unwrap();
    drop(tx);
    assert_eq!(generation(&store).await, before);
    let mut tx = store.write().await.unwrap();
    tx.next_generation().await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(generation(&store).await, before + 1);
    let mut tx = store.write().await.unwrap();
    assert!(tx.execute("INSERT INTO nowhere VALUES (1)", &[]).await.is_err());
    drop(tx);
    assert_eq!(generation(&store).await, before + 1);
}

async fn opening_twice_keeps_everything(place: &Place) {
    create_tables(place.folder.path());
    let (one, two) = tokio::join!(place.open(), place.open());
    let hash = |r: &Repository| {
        let r = r.clone();
        async move { r.checkout("main~0", None).await.unwrap().target }
    };
    assert_eq!(hash(&one).await, hash(&two).await);
    drop((one, two));
    let again = place.open().await;
    let main = again.checkout("main", None).await.unwrap();
    let log = again.log(&main, &LogQuery::default()).await.unwrap();
    assert_eq!(log.len(), 1);
    assert_eq!(log[0].message, "Initialize repository");
}

async fn register(repository: &Repository) {
    for (table, backend) in TABLES {
        let location = format!("sqlite://{backend}/{table}");
        repository.register(table, Some(&location), None).await.unwrap();
    }
}

async fn the_main_job_works(place: &Place) {
    create_tables(place.folder.path());
    let repository = place.open().await;
    register(&repository).await;
    let main = repository.checkout("main", None).await.unwrap();
    repository.create_branch(&main, "dev", None, false).await.unwrap();
    let dev = repository.checkout("dev", None).await.unwrap();
    set(&repository, &dev, "t", 1, "dev", None).await;
    set(&repository, &dev, "v", 1, "dev", None).await;
    repository.commit(&dev, &commit_options("dev")).await.unwrap();
    set(&repository, &main, "t", 1, "main", None).await;
    repository.commit(&main, &commit_options("main")).await.unwrap();
    let merged = repository.merge(&main, "dev", &MergeOptions::default()).await.unwrap();
    assert_eq!(merged.conflicts, 1);
    repository.merge_abort(&main).await.unwrap();
    let strategy = epoch::operations::Strategy::Theirs;
    repository.merge(&main, "dev", &MergeOptions { strategy, ..MergeOptions::default() }).await.unwrap();
    assert_eq!(rows(&repository, &main).await, rows(&repository, &dev).await);
    repository.tag(&main, "v1", None, None).await.unwrap();
    let branches = repository.branches().await.unwrap();
    assert_eq!(branches.iter().map(|b| (b.ahead, b.behind)).collect::<Vec<_>>(), [(0, 2), (0, 0)]);
    repository.delete_branch(&main, "dev", false, false).await.unwrap();
    let log = repository.log(&main, &LogQuery { all: true, ..LogQuery::default() }).await.unwrap();
    assert_eq!(log.len(), 4);
    assert_eq!(log[0].refs, ["main", "tag: v1"]);
    assert_eq!(repository.checkout("v2", None).await.unwrap_err().hint(), Some("Did you mean \"v1\"?"));
}

async fn other_handles_are_told(place: &Place) {
    create_tables(place.folder.path());
    let (one, two) = (place.open().await, place.open().await);
    register(&one).await;
    // On PostgreSQL the news arrive a moment after the commit.
    let mut found = false;
    for _ in 0..200 {
        two.refresh().await.unwrap();
        found = two.tables().by_id.len() == TABLES.len();
        if found {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(found);
}

/// Two handles, each with a branch of its own and both on a third one and on main.
async fn handles_that_commit_at_once_lose_nothing(place: &Place) {
    create_tables(place.folder.path());
    let first = place.open().await;
    register(&first).await;
    let main = first.checkout("main", None).await.unwrap();
    first.create_branch(&main, "both", None, false).await.unwrap();
    let second = place.open().await;
    let work = |repository: Repository, start: i64| async move {
        for branch in ["both", "main"] {
            let on = repository.checkout(branch, None).await.unwrap();
            for i in 0..5 {
                set(&repository, &on, "t", start + i, "x", None).await;
                set(&repository, &on, "v", start + i, "x", None).await;
                let options = CommitOptions { skip_empty: true, ..commit_options("at once") };
                repository.commit(&on, &options).await.unwrap();
            }
        }
    };
    let (a, b) = tokio::join!(tokio::spawn(work(first.clone(), 100)), tokio::spawn(work(second, 200)));
    a.unwrap();
    b.unwrap();
    for branch in ["both", "main"] {
        let on = first.checkout(branch, None).await.unwrap();
        let head = first.checkout(&format!("{branch}~0"), None).await.unwrap();
        let shown = rows(&first, &head).await;
        assert_eq!(shown.keys().filter(|(_, key)| *key >= 100).count(), 20);
        assert_eq!(shown, rows(&first, &on).await);
        let log = first.log(&on, &LogQuery::default()).await.unwrap();
        let added: i64 = log.iter().flat_map(|c| &c.tables).map(|(_, s)| s.added).sum();
        assert_eq!(added, 20, "each row is in exactly one commit");
    }
}
