//! The metadata store, the same on both engines, and several handles at once.

use std::time::Duration;

use epoch::metadata::Store;
use epoch::operations::{
    Author, Checkout, CommitOptions, LogQuery, MergeOptions, NewBranch, PickOptions, RebaseOptions,
    Repository, Resolution, Side, Strategy, Verb,
};

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
    what_waits_is_gone_on_with_by_another_handle;
    what_is_kept_beside_branches_is_there_for_another_handle;
    what_one_handle_collects_another_refuses;
    a_transaction_that_is_given_up_while_it_begins_is_over;
}

/// Cherry-pick, rebase and stash, each begun by one handle and finished by another.
async fn what_waits_is_gone_on_with_by_another_handle(place: &Place) {
    create_tables(place.folder.path());
    let (a, b) = (place.open().await, place.open().await);
    for (table, backend) in TABLES {
        a.register(table, Some(&format!("sqlite://{backend}/{table}")), None).await.unwrap();
    }
    b.refresh().await.unwrap();
    let main = a.checkout("main", None).await.unwrap();
    a.create_branch(&main, "dev", None, false).await.unwrap();
    let dev = a.checkout("dev", None).await.unwrap();
    for (table, key) in [("t", 1), ("v", 2), ("u", 3)] {
        set(&a, &dev, table, key, "dev", None).await;
        a.commit(&dev, &commit_options(table)).await.unwrap();
    }
    set(&b, &main, "v", 2, "main", None).await;
    b.commit(&main, &commit_options("on main")).await.unwrap();
    let author = Author::default();
    let theirs = Resolution { side: Side::Theirs, table: None, key: None, column: None };
    let picked = a.cherry_pick(&main, &["main..dev".to_owned()], &PickOptions::default()).await.unwrap();
    assert_eq!((picked.conflicts, picked.done, picked.left), (1, 1, 2));
    b.resolve_conflicts(&main, &theirs).await.unwrap();
    let done = b.sequence_continue(&main, Verb::CherryPick, &author, None).await.unwrap();
    assert_eq!((done.conflicts, done.done, done.left), (0, 3, 0));
    assert_eq!(rows(&a, &main).await, rows(&b, &dev).await);

    let options = RebaseOptions { interactive: true, ..RebaseOptions::default() };
    b.rebase(&dev, "main~3", &options).await.unwrap();
    assert_eq!(a.rebase_plan(&dev).await.unwrap().len(), 3);
    a.rebase_edit(&dev, 1, Some("drop"), None, None).await.unwrap();
    assert_eq!(b.rebase_plan(&dev).await.unwrap()[0].action, "drop");
    let stopped = b.sequence_continue(&dev, Verb::Rebase, &author, None).await.unwrap();
    assert_eq!(stopped.conflicts, 1);
    assert!(b.commit(&dev, &commit_options("no")).await.is_err());
    a.resolve_conflicts(&dev, &theirs).await.unwrap();
    a.sequence_continue(&dev, Verb::Rebase, &author, None).await.unwrap();
    let log = b.log(&dev, &LogQuery::default()).await.unwrap();
    let messages: Vec<_> = log.iter().take(3).map(|c| c.message.as_str()).collect();
    assert_eq!(messages, ["u", "v", "on main"]);

    set(&a, &dev, "t", 1, "stashed", None).await;
    set(&a, &dev, "v", 7, "stashed", None).await;
    let dirty = rows(&a, &dev).await;
    b.stash_push(&dev, Some("mine"), &author).await.unwrap();
    set(&a, &dev, "t", 1, "in the way", None).await;
    a.commit(&dev, &commit_options("in the way")).await.unwrap();
    assert_eq!(a.stash_pop(&dev, Some("mine"), Strategy::Field, &author).await.unwrap().1.conflicts, 1);
    b.resolve_conflicts(&dev, &theirs).await.unwrap();
    b.sequence_continue(&dev, Verb::Stash, &author, None).await.unwrap();
    assert_eq!(rows(&a, &dev).await, dirty);
    assert!(a.stashes().await.unwrap().is_empty());
}

/// Rules, reflogs, deleted branches, times to live, tags of promotions.
async fn what_is_kept_beside_branches_is_there_for_another_handle(place: &Place) {
    create_tables(place.folder.path());
    let (a, b) = (place.open().await, place.open().await);
    a.register("t", Some("sqlite://one/t"), None).await.unwrap();
    let main = a.checkout("main", None).await.unwrap();
    a.set_merge_rule(&main, "t", "n", Some("max")).await.unwrap();
    a.set_merge_rule(&main, "t", "n", Some("sum")).await.unwrap();
    let rules = b.merge_rules().await.unwrap();
    assert_eq!((rules.len(), rules[0].column.as_str(), rules[0].rule.as_str()), (1, "n", "sum"));
    b.set_merge_rule(&main, "t", "n", None).await.unwrap();
    assert!(a.merge_rules().await.unwrap().is_empty());

    let expires = chrono::Utc::now() - chrono::TimeDelta::minutes(1);
    let until = |expires| NewBranch { expires: Some(expires), ..NewBranch::default() };
    a.create_branch_with(&main, "over", None, until(expires)).await.unwrap();
    a.create_branch_with(&main, "soon", None, until(expires + chrono::TimeDelta::hours(1))).await.unwrap();
    let over = b.checkout("over", None).await.unwrap();
    set(&b, &over, "t", 1, "kept", None).await;
    assert_eq!(b.reap(&|_| false).await.unwrap(), ["over"]);
    assert!(a.reap(&|_| false).await.unwrap().is_empty());
    assert_eq!(a.checkout("over", None).await.unwrap_err().code(), "3D000");
    a.undrop_branch("over").await.unwrap();
    let over = b.checkout("over", None).await.unwrap();
    assert_eq!(rows_of_t(&b, &over).await, "kept");
    let branches = b.branches().await.unwrap();
    let ends: Vec<_> = branches.iter().map(|b| (b.name.as_str(), b.expires_at.is_some())).collect();
    assert_eq!(ends, [("main", false), ("over", false), ("soon", true)]);

    b.commit(&over, &commit_options("kept")).await.unwrap();
    let promoted = b.promote(&main, "over", "main", Some("v1"), &Author::default()).await.unwrap();
    assert_eq!(a.tags().await.unwrap()[0].hash, promoted.hash);
    let reflog = a.reflog(&main, None).await.unwrap();
    let moves: Vec<_> = reflog.iter().map(|m| (m.selector.as_str(), m.action.as_str())).collect();
    assert_eq!(moves, [("main@{0}", "promote over"), ("main@{1}", "initialize")]);
}

async fn rows_of_t(repository: &Repository, on: &Checkout) -> String {
    let table = repository.tables().find("t").unwrap().clone();
    let changes = repository.diff(on, "main", "WORKING", &table).await.unwrap();
    let changes: Vec<_> = futures::TryStreamExt::try_collect(changes).await.unwrap();
    let change: &epoch_adapter::RowChange = &changes[0];
    change.after.as_ref().unwrap()[1].to_text().unwrap()
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

/// A session that ended at the wrong moment left the only connection of a SQLite store in a transaction for ever.
async fn a_transaction_that_is_given_up_while_it_begins_is_over(place: &Place) {
    let store = Store::open(&place.url, "shop").await.unwrap();
    for patience in 0..60 {
        let patience = Duration::from_micros(patience * 10);
        drop(tokio::time::timeout(patience, store.read()).await);
        drop(tokio::time::timeout(patience, store.write()).await);
    }
    for _ in 0..20 {
        let mut tx = store.write().await.unwrap();
        tx.next_generation().await.unwrap();
        tx.commit().await.unwrap();
    }
}

/// Two handles collect at once, while both go on; one of them has a commit in hand that goes.
async fn what_one_handle_collects_another_refuses(place: &Place) {
    create_tables(place.folder.path());
    let one = place.open().await;
    register(&one).await;
    let two = place.open().await;
    let main = one.checkout("main", None).await.unwrap();
    for name in ["gone", "gone-too", "stays"] {
        one.create_branch(&main, name, None, false).await.unwrap();
        let on = one.checkout(name, None).await.unwrap();
        set(&one, &on, "t", 1, name, None).await;
        set(&one, &on, "v", 9, name, None).await;
        one.commit(&on, &commit_options(name)).await.unwrap();
    }
    let there = two.checkout("gone", None).await.unwrap();
    let hash = two.hash_of(&there, "HEAD").await.unwrap();
    let there = two.checkout(&hash, None).await.unwrap();
    for name in ["gone", "gone-too"] {
        one.delete_branch(&main, name, true, false).await.unwrap();
    }
    let options = super::gc::at_once();
    let writing = async {
        let on = one.checkout("stays", None).await.unwrap();
        for i in 0..5 {
            set(&one, &on, "t", 50 + i, "meanwhile", None).await;
            one.commit(&on, &commit_options("meanwhile")).await.unwrap();
        }
    };
    let (a, b, ()) = tokio::join!(one.gc(&options), two.gc(&options), writing);
    let found: Vec<_> = a.unwrap().into_iter().chain(b.unwrap()).collect();
    assert!(found.iter().all(|r| r.status == "removed"), "{found:?}");
    assert!(found.iter().any(|r| r.object == "branch gone"), "{found:?}");
    for handle in [&one, &two] {
        let dry = epoch::operations::GcOptions { dry_run: true, ..super::gc::at_once() };
        assert!(handle.gc(&dry).await.unwrap().is_empty());
        let table = handle.tables().find("t").unwrap().clone();
        assert_eq!(handle.view(&there, &table).unwrap_err().code(), "3D000");
        assert_eq!(handle.undrop_branch("gone").await.unwrap_err().code(), "3D000");
        let stays = handle.checkout("stays", None).await.unwrap();
        assert_eq!(rows(handle, &stays).await[&("t".to_owned(), 1)].0, "stays");
        assert_eq!(rows(handle, &stays).await[&("t".to_owned(), 54)].0, "meanwhile");
    }
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
