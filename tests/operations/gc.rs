//! Garbage collection: what is needed stays as it was, what isn't goes, and who still has it in hand is told.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use chrono::TimeDelta;
use epoch::functions::{self, Args, Session};
use epoch::metadata::Store;
use epoch::operations::{
    Actor, Author, Checkout, CommitOptions, GC_FAIL_POINTS, GcOptions, MergeOptions, Repository,
    ResetOptions, Right, Strategy,
};
use epoch_adapter::{RowWrite, Value};

use super::support::{Fixture, ada, commit_options, config, rows, set};

/// Nobody else is there whom it would have to wait for.
pub fn at_once() -> GcOptions {
    GcOptions { settle: Duration::ZERO, ..GcOptions::default() }
}

fn dry() -> GcOptions {
    GcOptions { dry_run: true, ..at_once() }
}

async fn gc(f: &Fixture) -> Vec<String> {
    objects(&f.repository, &at_once()).await
}

async fn objects(repository: &Repository, options: &GcOptions) -> Vec<String> {
    repository.gc(options).await.unwrap().into_iter().map(|r| r.object).collect()
}

async fn on_all(test: impl AsyncFn(&Fixture)) {
    let f = Fixture::new().await;
    test(&f).await;
    f.finish().await;
    if let Some(f) = Fixture::postgres().await {
        test(&f).await;
        f.finish().await;
    }
}

/// A branch with a commit and uncommitted rows, on both backends.
async fn branch_with_rows(f: &Fixture, name: &str) -> Checkout {
    let branch = f.branch(name, &f.main).await;
    for table in ["t", "u", "v"] {
        f.set(&branch, table, 1, name, None).await;
        f.delete(&branch, table, 2).await;
    }
    f.commit(&branch, name).await;
    f.set(&branch, "t", 7, "uncommitted", Some(7)).await;
    branch
}

async fn delete(f: &Fixture, name: &str) {
    f.repository.delete_branch(&f.main, name, true, false).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_branch_goes_with_all_its_rows() {
    on_all(async |f| {
        let before = (f.beside("t").await, f.beside("u").await, f.beside("v").await);
        let on_main = f.rows(&f.main).await;
        let gone = branch_with_rows(f, "gone").await;
        let hash = f.repository.hash_of(&gone, "HEAD").await.unwrap();
        assert!(gc(f).await.is_empty(), "a branch that is there is needed");
        delete(f, "gone").await;
        let rows = f.beside("t").await;
        let said = f.repository.gc(&dry()).await.unwrap();
        assert_eq!(f.beside("t").await, rows, "a dry run changes nothing");
        assert!(said.iter().all(|r| r.status == "garbage" && r.bytes > 0), "{said:?}");
        let done = f.repository.gc(&at_once()).await.unwrap();
        let numbers = |rows: &[epoch::operations::Collected]| -> Vec<_> {
            rows.iter().map(|r| (r.object.clone(), r.bytes)).collect()
        };
        assert_eq!(numbers(&done), numbers(&said), "a dry run tells the same");
        assert_eq!(numbers(&done).into_iter().map(|n| n.0).collect::<Vec<_>>(), ["branch gone", "1 commit"]);
        assert_eq!((f.beside("t").await, f.beside("u").await, f.beside("v").await), before);
        assert_eq!(f.rows(&f.main).await, on_main);
        let error = f.repository.undrop_branch("gone").await.unwrap_err();
        assert_eq!(error.code(), "3D000");
        assert_eq!(error.message(), "branch \"gone\" cannot be brought back: garbage collection removed it");
        assert!(error.hint().unwrap().contains("[retention]"));
        assert_eq!(f.repository.checkout(&hash, None).await.unwrap_err().code(), "3D000");
        assert!(gc(f).await.is_empty(), "nothing is left");
        // The name is free, and the repository goes on.
        let again = branch_with_rows(f, "gone").await;
        f.commit(&again, "again").await;
        assert_eq!(f.merge(&f.main, "gone").await.conflicts, 0);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_branch_stays_for_its_time() {
    on_all(async |f| {
        let kept = branch_with_rows(f, "kept/for-ever").await;
        let rows = f.rows(&kept).await;
        delete(f, "kept/for-ever").await;
        assert!(gc(f).await.is_empty());
        f.repository.undrop_branch("kept/for-ever").await.unwrap();
        assert_eq!(f.rows(&kept).await, rows, "uncommitted rows too");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_tags_children_stashes_and_waiting_merges_need_stays() {
    on_all(async |f| {
        // A tag.
        let tagged = branch_with_rows(f, "tagged").await;
        f.repository.tag(&tagged, "v1", None, None).await.unwrap();
        let at_tag = f.checkout("v1").await;
        let of_tag = f.rows(&at_tag).await;
        // A branch of a branch.
        let parent = branch_with_rows(f, "parent").await;
        let child = f.branch("child", &parent).await;
        let of_child = f.rows(&child).await;
        // A stash.
        let stashed = branch_with_rows(f, "stashed").await;
        f.repository.stash_push(&stashed, Some("aside"), &Author::default()).await.unwrap();
        // A merge that waits.
        let theirs = branch_with_rows(f, "theirs").await;
        let ours = branch_with_rows(f, "ours").await;
        f.commit(&theirs, "more").await;
        f.commit(&ours, "more").await;
        assert!(f.merge(&ours, "theirs").await.conflicts > 0);
        for name in ["tagged", "parent", "stashed", "theirs"] {
            delete(f, name).await;
        }
        gc(f).await;
        assert_eq!(f.rows(&at_tag).await, of_tag, "a session on the tag goes on");
        assert_eq!(f.rows(&f.checkout("v1").await).await, of_tag);
        assert_eq!(f.rows(&child).await, of_child);
        let resolution = epoch::operations::Resolution {
            side: epoch::operations::Side::Theirs,
            table: None,
            key: None,
            column: None,
        };
        f.repository.resolve_conflicts(&ours, &resolution).await.unwrap();
        f.repository.merge_continue(&ours, &ada(), None).await.unwrap();
        assert_eq!(f.row(&ours, "t", 1).await.unwrap().0, "theirs");
        // What has no branch any more still merges and compares.
        let base = f.repository.merge_base(&f.main, "v1", "child").await.unwrap().unwrap();
        assert_eq!(base, f.repository.hash_of(&f.main, "main").await.unwrap());
        let stat = f.repository.diff_stat(&f.main, "main", "v1", None).await.unwrap();
        assert_eq!(stat.iter().map(|s| s.stats.rows()).sum::<i64>(), 6);
        let (_, picked) =
            f.repository.stash_pop(&child, Some("aside"), Strategy::Theirs, &ada()).await.unwrap();
        assert_eq!(picked.conflicts, 0);
        assert_eq!(f.row(&child, "t", 7).await.unwrap().0, "uncommitted");
        // Popped, the stash is garbage; merged, so is what the merge waited for, but for its commits.
        assert!(gc(f).await.iter().any(|o| o.starts_with("lineage ")));
        assert_eq!(f.row(&ours, "t", 1).await.unwrap().0, "theirs");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn history_that_an_amended_or_left_commit_alone_needs_goes() {
    on_all(async |f| {
        for on in [f.main.clone(), f.branch("b", &f.main).await] {
            let start = f.rows(&f.checkout(&f.repository.hash_of(&on, "HEAD").await.unwrap()).await).await;
            let old = f.repository.hash_of(&on, "HEAD").await.unwrap();
            f.set(&on, "t", 1, "first", Some(1)).await;
            f.set(&on, "t", 20, "came and went", None).await;
            let left = f.commit(&on, "first").await.hash;
            let at_left = f.checkout(&left).await;
            let shown = f.rows(&at_left).await;
            f.set(&on, "t", 1, "second", Some(2)).await;
            f.delete(&on, "t", 20).await;
            let options = CommitOptions { amend: true, ..commit_options("amended") };
            f.repository.commit(&on, &options).await.unwrap();
            assert_eq!(f.rows(&at_left).await, shown);
            let images = f.beside("t").await;
            let found = gc(f).await;
            assert_eq!(found, ["history of t", "1 commit"]);
            assert_eq!(f.beside("t").await, images - 2);
            // Who had it checked out is told, and shown nothing else.
            let table = f.repository.tables().find("t").unwrap().clone();
            let error = f.repository.view(&at_left, &table).unwrap_err();
            assert_eq!(error.code(), "3D000");
            assert!(error.message().contains("garbage collection removed it"), "{error}");
            assert_eq!(f.repository.hash_of(&at_left, "HEAD").await.unwrap_err().code(), "3D000");
            // What stays is as it was, and so is what lies between.
            assert_eq!(f.rows(&f.checkout(&old).await).await, start);
            assert_eq!(f.row(&on, "t", 1).await.unwrap().0, "second");
            let stat = f.repository.diff_stat(&on, &old, "HEAD", None).await.unwrap();
            let stat: Vec<_> =
                stat.iter().map(|s| (s.stats.added, s.stats.modified, s.stats.removed)).collect();
            assert_eq!(stat, [(0, 1, 0)]);
            // Pending changes of the same rows, and a commit of them.
            f.set(&on, "t", 20, "again", None).await;
            f.set(&on, "t", 1, "third", None).await;
            f.commit(&on, "third").await;
            assert_eq!(f.rows(&f.checkout(&old).await).await, start);
            assert_eq!(f.row(&f.checkout("HEAD~1").await, "t", 20).await, None);
            assert!(gc(f).await.is_empty());
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_published_before_a_soft_reset_stays() {
    on_all(async |f| {
        let dev = branch_with_rows(f, "dev").await;
        let shown = f.rows(&dev).await;
        let options = ResetOptions { target: Some("HEAD~1".to_owned()), ..ResetOptions::default() };
        f.repository.reset(&dev, &options).await.unwrap();
        gc(f).await;
        assert_eq!(f.rows(&dev).await, shown);
        let changed: i64 = f.repository.status(&dev).await.unwrap().iter().map(|s| s.stats.rows()).sum();
        assert_eq!(changed, 7, "six rows of the commit, and one that was uncommitted");
        f.commit(&dev, "all of it").await;
        assert!(f.repository.status(&dev).await.unwrap().is_empty());
    })
    .await;
}

/// What one process collects, the other refuses.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_process_is_told() {
    on_all(async |f| {
        let gone = branch_with_rows(f, "gone").await;
        let hash = f.repository.hash_of(&gone, "HEAD").await.unwrap();
        let other = f.again().await;
        let there = other.checkout(&hash, None).await.unwrap();
        let on_branch = other.checkout("gone", None).await.unwrap();
        assert!(!rows(&other, &there).await.is_empty());
        delete(f, "gone").await;
        gc(f).await;
        other.refresh().await.unwrap();
        let table = other.tables().find("t").unwrap().clone();
        assert_eq!(other.view(&there, &table).unwrap_err().code(), "3D000");
        assert_eq!(other.view(&on_branch, &table).unwrap_err().code(), "3D000");
        assert_eq!(other.writable(&on_branch, &table).await.unwrap_err().code(), "3D000");
        let branch = other.create_branch(&there, "from-there", None, false).await;
        assert_eq!(branch.unwrap_err().code(), "3D000");
        assert_eq!(other.tag(&there, "tagged", None, None).await.unwrap_err().code(), "3D000");
        let main = other.checkout("main", None).await.unwrap();
        set(&other, &main, "t", 1, "on it goes", None).await;
        other.commit(&main, &commit_options("on it goes")).await.unwrap();
    })
    .await;
}

/// What another process had committed between a step and its look at the store counted as seen: the next step took
/// lineages that new branches were on, and these showed rows of main only.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_branch_that_is_made_between_two_steps_shows_its_commit() {
    const COMMITS: usize = 45; // more than two steps of lineages
    let f = Fixture::new().await;
    let kept = f.branch("kept", &f.main).await;
    let mut commits = Vec::new();
    for i in 0..COMMITS {
        let name = format!("b{i}");
        let branch = f.branch(&name, &kept).await;
        f.set(&branch, "t", 100, &name, None).await;
        f.commit(&branch, &name).await;
        f.merge(&kept, &name).await;
        delete(&f, &name).await;
        commits.push((name, f.repository.hash_of(&kept, "HEAD").await.unwrap()));
    }
    let other = f.again().await;
    let collecting = gc(&f);
    let branching = async {
        let main = other.checkout("main", None).await.unwrap();
        for (round, (name, hash)) in (0..4).flat_map(|round| commits.iter().map(move |c| (round, c))) {
            other.create_branch(&main, &format!("n{round}-{name}"), Some(hash), false).await.unwrap();
        }
    };
    let (found, ()) = tokio::join!(collecting, branching);
    assert!(found.iter().any(|o| o.starts_with("branch ")), "{found:?}");
    for round in 0..4 {
        for (name, _) in &commits {
            let branch = f.checkout(&format!("n{round}-{name}")).await;
            assert_eq!(f.row(&branch, "t", 100).await, Some((name.clone(), None)), "n{round}-{name}");
        }
    }
    f.finish().await;
}

/// A transaction that began before may leave rows: the next run removes them, and a later one forgets the lineage.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_come_late_are_removed_by_the_next_run() {
    on_all(async |f| {
        let before = f.beside("t").await;
        let gone = branch_with_rows(f, "gone").await;
        let table = f.repository.tables().find("t").unwrap().clone();
        let layer = f.repository.writable(&gone, &table).await.unwrap();
        if !f.is_postgres() {
            return; // a writer of a SQLite file keeps all others waiting
        }
        let mut late = f.repository.backend("one").unwrap().begin().await.unwrap();
        let key = Value::Text("1".to_owned());
        let update = RowWrite::Update { key: vec![key], set: vec![(1, Value::Text("late".to_owned()))] };
        late.write(&table, layer, &[update]).await.unwrap();
        delete(f, "gone").await;
        let begun = Instant::now();
        gc(f).await;
        assert!(begun.elapsed() < Duration::from_secs(20), "it doesn't wait for the transaction");
        late.commit().await.unwrap();
        assert!(f.beside("t").await > before);
        let now = GcOptions { linger: TimeDelta::zero(), ..at_once() };
        assert_eq!(objects(&f.repository, &now).await.len(), 1);
        assert_eq!(f.beside("t").await, before);
        let store = Store::open(config(f.folder.path()).metadata_url.expose(), "shop").await.unwrap();
        let mut tx = store.read().await.unwrap();
        let lineages = tx.query("SELECT id FROM lineages", &[]).await.unwrap();
        assert_eq!(lineages.len(), 1, "only main's is left");
        assert_eq!(f.count("one", "SELECT count(*) FROM epoch.lineage").await, 0);
        drop(tx);
        let again = branch_with_rows(f, "again").await;
        f.commit(&again, "again").await;
    })
    .await;
}

/// Foreign keys of a branch that is gone have no say, whatever the order in which rows go.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parents_and_children_of_a_deleted_branch_go_in_any_order() {
    on_all(async |f| {
        f.direct_sql(
            "one",
            "CREATE TABLE p (id INTEGER PRIMARY KEY);
             CREATE TABLE a (id INTEGER PRIMARY KEY, p INTEGER REFERENCES p (id));
             CREATE TABLE z (id INTEGER PRIMARY KEY, p INTEGER REFERENCES p (id) ON DELETE CASCADE);
             INSERT INTO p VALUES (1)",
        )
        .await;
        let scheme = if f.is_postgres() { ("postgresql", "public.") } else { ("sqlite", "") };
        for table in ["p", "a", "z"] {
            let location = format!("{}://one/{}{table}", scheme.0, scheme.1);
            f.repository.register(table, Some(&location), None).await.unwrap();
        }
        let gone = f.branch("gone", &f.main).await;
        let number = |n: i64| if f.is_postgres() { Value::Text(n.to_string()) } else { Value::Int(n) };
        let insert = |cells: &[i64]| RowWrite::Insert(cells.iter().map(|n| Some(number(*n))).collect());
        let write = async |table: &str, row: RowWrite| {
            super::support::write(&f.repository, &gone, table, vec![row]).await;
        };
        write("p", insert(&[2])).await;
        for table in ["a", "z"] {
            write(table, insert(&[1, 2])).await;
        }
        f.commit(&gone, "rows").await;
        delete(f, "gone").await;
        let done = f.repository.gc(&at_once()).await.unwrap();
        assert!(done.iter().all(|r| r.status == "removed"), "{done:?}");
        assert!(f.repository.gc(&dry()).await.unwrap().is_empty());
    })
    .await;
}

/// More rows than one batch, beside a writer that is never kept waiting for long.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writers_go_on_beside_it() {
    on_all(async |f| {
        let gone = f.branch("gone", &f.main).await;
        let number = |n: i64| if f.is_postgres() { Value::Text(n.to_string()) } else { Value::Int(n) };
        let insert = |n: i64| {
            RowWrite::Insert(vec![Some(number(n)), Some(Value::Text("x".repeat(50))), Some(number(n))])
        };
        let many = (100..5_100).map(insert).collect();
        super::support::write(&f.repository, &gone, "t", many).await;
        f.commit(&gone, "many").await;
        delete(f, "gone").await;
        let before = f.beside("t").await;
        assert!(before > 5_000);
        let other = f.again().await;
        let main = other.checkout("main", None).await.unwrap();
        let stop = std::sync::atomic::AtomicBool::new(false);
        let writing = async {
            let (mut written, mut longest) = (0, Duration::ZERO);
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                let begun = Instant::now();
                set(&other, &main, "t", 1, &format!("w{written}"), None).await;
                longest = longest.max(begun.elapsed());
                written += 1;
                tokio::task::yield_now().await;
            }
            (written, longest)
        };
        let collecting = async {
            let done = f.repository.gc(&at_once()).await.unwrap();
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
            done
        };
        let (done, (written, longest)) = tokio::join!(collecting, writing);
        assert!(done.iter().all(|r| r.status == "removed"), "{done:?}");
        println!("{written} writes meanwhile, the longest took {longest:?}");
        assert!(written > 10, "{written} writes meanwhile");
        assert!(longest < Duration::from_secs(2), "a write waited for {longest:?}");
        assert!(f.repository.gc(&dry()).await.unwrap().is_empty());
        // What is left are the images of what was written meanwhile.
        assert!(f.beside("t").await <= i64::from(written));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_for_admins_and_is_noted() {
    let f = Fixture::new().await;
    branch_with_rows(&f, "gone").await;
    delete(&f, "gone").await;
    f.repository.grant("root", Right::Admin, "*", &["*".to_owned()]).await.unwrap();
    f.repository.grant("ann", Right::Write, "*", &["*".to_owned()]).await.unwrap();
    let by = |user: &str| {
        let actor = Actor { user: user.to_owned(), client: "here".to_owned(), owner: false };
        f.repository.acting(actor)
    };
    let call = async |user: &str, args: &[&str], read_only: bool, in_transaction: bool| {
        let repository = by(user);
        let session = Session {
            repository: &repository,
            checkout: &f.main,
            author: ada(),
            read_only,
            in_transaction,
            branch_in_use: &|_| false,
            strategy: Strategy::Field,
            explain: None,
        };
        functions::call(&session, "epoch_gc", &Args::texts(args.iter().copied())).await
    };
    let code = async |user, args: &[&str], read_only, open| {
        call(user, args, read_only, open).await.unwrap_err().code().to_owned()
    };
    assert_eq!(code("ann", &[], false, false).await, "42501");
    assert_eq!(code("ann", &["--dry-run"], false, false).await, "42501");
    assert_eq!(code("root", &["--everything"], false, false).await, "22023");
    assert_eq!(code("root", &["now"], false, false).await, "22023");
    assert_eq!(code("root", &[], true, false).await, "25006");
    assert_eq!(code("root", &[], false, true).await, "25001");
    let outcome = call("root", &["--dry-run"], false, false).await.unwrap();
    let names: Vec<_> = outcome.columns.iter().map(|c| c.name.as_str()).collect();
    assert_eq!(names, ["object", "bytes", "status"]);
    assert_eq!(outcome.rows[0][0].as_deref(), Some("branch gone"));
    assert_eq!(outcome.rows[0][2].as_deref(), Some("garbage"));
    let done = call("root", &[], false, false).await.unwrap();
    assert_eq!(done.rows[0][1], outcome.rows[0][1]);
    assert_eq!(done.rows[0][2].as_deref(), Some("removed"));
    let noted = by("root").audit(Some(3)).await.unwrap();
    let noted: Vec<_> = noted.iter().map(|a| (a.note.user.as_str(), a.result.as_str())).collect();
    assert_eq!(noted[0], ("root", "ok"));
    assert!(noted.contains(&("root", "25001")), "{noted:?}");
}

/// Runs in the child process only.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "started by the other tests of this module"]
async fn child() {
    let Some(folder) = std::env::var_os("EPOCH_TEST_FOLDER") else { return };
    let repository = Repository::open(&config(Path::new(&folder))).await.unwrap();
    repository.gc(&at_once()).await.unwrap();
}

/// What a process that dies in the middle leaves is garbage still, or gone; nothing else is touched.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_dies_is_finished_by_the_next() {
    for fail_point in GC_FAIL_POINTS {
        let f = Fixture::new().await;
        let before = (f.beside("t").await, f.beside("v").await);
        branch_with_rows(&f, "gone").await;
        f.set(&f.main, "t", 1, "first", None).await;
        f.commit(&f.main, "first").await;
        f.set(&f.main, "t", 1, "second", None).await;
        let options = CommitOptions { amend: true, ..commit_options("second") };
        f.repository.commit(&f.main, &options).await.unwrap();
        let kept = f.branch("dev", &f.main).await;
        f.set(&kept, "t", 3, "dev", None).await;
        delete(&f, "gone").await;
        let (on_main, on_dev) = (f.rows(&f.main).await, f.rows(&kept).await);
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "gc::child", "--ignored", "--test-threads=1"])
            .env("EPOCH_TEST_FOLDER", f.folder.path())
            .env("EPOCH_FAILPOINT", fail_point)
            .output()
            .unwrap();
        assert!(!output.status.success(), "the child must die: {fail_point}");
        let repository = f.again().await;
        assert_eq!(rows(&repository, &f.main).await, on_main, "{fail_point}");
        assert_eq!(rows(&repository, &kept).await, on_dev, "{fail_point}");
        let start = repository.checkout("main~1", None).await.unwrap();
        assert_eq!(rows(&repository, &start).await[&("t".to_owned(), 1)].0, "one", "{fail_point}");
        repository.gc(&at_once()).await.unwrap();
        assert!(repository.gc(&dry()).await.unwrap().is_empty(), "{fail_point}");
        assert_eq!(rows(&repository, &f.main).await, on_main, "{fail_point}");
        assert_eq!(rows(&repository, &kept).await, on_dev, "{fail_point}");
        let start = repository.checkout("main~1", None).await.unwrap();
        assert_eq!(rows(&repository, &start).await[&("t".to_owned(), 1)].0, "one", "{fail_point}");
        // One image of main's row; the row of dev, its mask and image.
        assert_eq!((f.beside("t").await, f.beside("v").await), (before.0 + 4, before.1), "{fail_point}");
        repository.commit(&kept, &commit_options("on it goes")).await.unwrap();
        let merge = MergeOptions::default();
        assert_eq!(repository.merge(&f.main, "dev", &merge).await.unwrap().conflicts, 0, "{fail_point}");
    }
}
