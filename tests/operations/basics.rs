use std::time::Instant;

use epoch::operations::{CommitOptions, LogQuery};
use epoch_adapter::ChangeKind;
use futures::TryStreamExt;

use super::support::{Fixture, commit_options, config, write};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_branch_is_isolated_and_a_commit_stays() {
    let f = Fixture::new().await;
    let start = f.rows(&f.main).await;
    let dev = f.branch("dev", &f.main).await;
    f.set(&dev, "t", 1, "changed", Some(10)).await;
    f.set(&dev, "v", 9, "new", None).await;
    f.delete(&dev, "t", 2).await;
    f.direct("one").execute("UPDATE t SET a = 'direct' WHERE id = 3", []).unwrap();
    f.direct("two").execute("DELETE FROM v WHERE id = 1", []).unwrap();

    let on_main = f.rows(&f.main).await;
    assert_eq!(on_main[&("t".to_owned(), 1)].0, "one");
    assert_eq!(on_main[&("t".to_owned(), 3)].0, "direct");
    let on_dev = f.rows(&dev).await;
    assert_eq!(on_dev[&("t".to_owned(), 1)], ("changed".to_owned(), Some(10)));
    assert_eq!(on_dev[&("t".to_owned(), 3)].0, "three", "main as of the fork");
    assert_eq!(on_dev[&("v".to_owned(), 1)].0, "one", "main as of the fork");
    assert!(!on_dev.contains_key(&("t".to_owned(), 2)));

    let status = f.repository.status(&dev).await.unwrap();
    let counts: Vec<_> = status.iter().map(|s| (s.table_name.as_str(), s.stats.rows())).collect();
    assert_eq!(counts, [("t", 2), ("v", 1)]);
    let committed = f.commit(&dev, "first").await;
    assert_eq!(committed.tables.len(), 2);
    assert!(f.repository.status(&dev).await.unwrap().is_empty());
    f.set(&dev, "t", 1, "again", None).await;
    f.commit(&f.main, "direct changes").await;
    f.set(&f.main, "t", 1, "later", None).await;
    f.commit(&f.main, "more").await;

    assert_eq!(f.rows(&f.checkout(&committed.hash).await).await, on_dev);
    assert_eq!(f.rows(&f.checkout("main~1").await).await, on_main);
    assert_eq!(f.rows(&f.checkout("main~2").await).await, start);
    assert_eq!(f.rows(&f.checkout("dev~1").await).await, start);
    assert_eq!(f.rows(&f.checkout(&committed.hash[..7]).await).await, on_dev);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn diff_and_log_show_what_happened() {
    let f = Fixture::new().await;
    let dev = f.branch("dev", &f.main).await;
    f.set(&dev, "t", 1, "changed", Some(1)).await;
    f.delete(&dev, "t", 2).await;
    f.set(&dev, "t", 7, "new", None).await;
    f.commit(&dev, "three changes").await;
    f.set(&dev, "u", 1, "pending", None).await;
    let table = f.repository.tables().find("t").unwrap().clone();
    let kinds = |from: &'static str, to: &'static str| {
        let (repository, dev, table) = (f.repository.clone(), dev.clone(), table.clone());
        async move {
            let changes = repository.diff(&dev, from, to, &table).await.unwrap();
            let changes: Vec<_> = changes.try_collect().await.unwrap();
            let mut kinds: Vec<_> = changes.iter().map(|c| (c.key.clone(), c.kind())).collect();
            kinds.sort_by(|a, b| a.0.cmp(&b.0));
            kinds.into_iter().map(|(_, kind)| kind).collect::<Vec<_>>()
        }
    };
    use ChangeKind::{Added, Modified, Removed};
    assert_eq!(kinds("main", "dev").await, [Modified, Removed, Added]);
    assert_eq!(kinds("dev", "main").await, [Modified, Added, Removed]);
    assert_eq!(kinds("HEAD~1", "HEAD").await, [Modified, Removed, Added]);
    assert_eq!(kinds("HEAD", "WORKING").await, []);
    let stat = f.repository.diff_stat(&dev, "main", "WORKING", None).await.unwrap();
    let stat: Vec<_> = stat.iter().map(|s| (s.table.name.to_string(), s.stats.rows())).collect();
    assert_eq!(stat, [("t".to_owned(), 3), ("u".to_owned(), 1)]);

    let log = f.repository.log(&dev, &LogQuery::default()).await.unwrap();
    let messages: Vec<_> = log.iter().map(|c| c.message.as_str()).collect();
    assert_eq!(messages, ["three changes", "Initialize repository"]);
    assert_eq!(log[0].refs, ["dev"]);
    assert_eq!(log[0].parents, [log[1].hash.clone()]);
    assert_eq!(log[0].tables[0].1.rows(), 3);
    assert!(log[0].commit_order > log[1].commit_order);
    let range = LogQuery { revisions: vec!["main..dev".to_owned()], ..LogQuery::default() };
    assert_eq!(f.repository.log(&dev, &range).await.unwrap().len(), 1);
    let of_u = LogQuery { tables: vec!["u".to_owned()], all: true, ..LogQuery::default() };
    assert!(f.repository.log(&dev, &of_u).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_nested_branch_reads_its_parent_as_of_the_fork() {
    let f = Fixture::new().await;
    let a = f.branch("a", &f.main).await;
    f.set(&a, "t", 1, "a1", None).await;
    f.commit(&a, "a1").await;
    f.set(&a, "t", 2, "pending on a", None).await;
    let b = f.branch("b", &a).await;
    let c = f.branch("c", &b).await;
    assert_eq!(f.row(&b, "t", 1).await.unwrap().0, "a1");
    assert_eq!(f.row(&b, "t", 2).await.unwrap().0, "two", "pending changes of the parent are not taken");
    f.commit(&a, "a2").await;
    f.set(&a, "t", 1, "a3", None).await;
    assert_eq!(f.row(&c, "t", 1).await.unwrap().0, "a1");
    f.set(&c, "t", 3, "c", None).await;
    assert_eq!(f.row(&c, "t", 1).await.unwrap().0, "a1", "copied with the layer");
    assert_eq!(f.row(&c, "t", 2).await.unwrap().0, "two");
    assert_eq!(f.row(&b, "t", 3).await.unwrap().0, "three");
    f.commit(&c, "c").await;
    f.repository.delete_branch(&f.main, "a", true, false).await.unwrap();
    assert_eq!(f.row(&c, "t", 1).await.unwrap().0, "a1");
    assert_eq!(f.row(&b, "t", 1).await.unwrap().0, "a1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refs_resolve_or_say_what_is_near() {
    let f = Fixture::new().await;
    let dev = f.branch("feature/x", &f.main).await;
    f.set(&dev, "t", 1, "x", None).await;
    let hash = f.commit(&dev, "x").await.hash;
    f.repository.tag(&dev, "v1", None, Some("first")).await.unwrap();
    for spec in
        ["feature/x", "HEAD", "v1", "feature/x^0", &hash, &hash[..9], "@{0}", "feature/x@{2199-01-01}"]
    {
        assert_eq!(f.repository.hash_of(&dev, spec).await.unwrap(), hash, "{spec}");
    }
    let root = f.repository.hash_of(&f.main, "HEAD").await.unwrap();
    for spec in ["main", "v1~1", "HEAD^", "feature/x@{1}"] {
        assert_eq!(f.repository.hash_of(&dev, spec).await.unwrap(), root, "{spec}");
    }
    let error = f.repository.checkout("feature/y", None).await.unwrap_err();
    assert_eq!(error.code(), "3D000");
    assert_eq!(error.hint(), Some("Did you mean \"feature/x\"?"));
    for spec in ["main~5", "main^2", "deadbeef", "main@{1999-01-01}", "v1@{0}"] {
        assert_eq!(f.repository.checkout(spec, None).await.unwrap_err().code(), "3D000", "{spec}");
    }
    assert_eq!(f.repository.tag(&dev, "v1", None, None).await.unwrap_err().code(), "42710");
    let tag = f.checkout("v1").await;
    let table = f.repository.tables().find("t").unwrap().clone();
    assert_eq!(f.repository.writable(&tag, &table).await.unwrap_err().code(), "25006");
    assert_eq!(f.repository.commit(&tag, &commit_options("no")).await.unwrap_err().code(), "25006");
    f.repository.delete_tag("v1").await.unwrap();
    assert_eq!(f.repository.delete_tag("v1").await.unwrap_err().code(), "42704");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn branches_are_deleted_and_renamed_with_care() {
    let f = Fixture::new().await;
    let dev = f.branch("dev", &f.main).await;
    f.set(&dev, "t", 1, "x", None).await;
    let repository = &f.repository;
    let delete = |force, in_use| repository.delete_branch(&f.main, "dev", force, in_use);
    assert_eq!(delete(false, false).await.unwrap_err().code(), "55000", "uncommitted changes");
    f.commit(&dev, "x").await;
    assert_eq!(delete(false, false).await.unwrap_err().code(), "55000", "un-merged commits");
    assert_eq!(delete(false, true).await.unwrap_err().code(), "55006");
    repository.rename_branch("dev", "work", false).await.unwrap();
    assert_eq!(f.row(&dev, "t", 1).await.unwrap().0, "x", "the session stays on it");
    assert_eq!(repository.create_branch(&f.main, "work", None, false).await.unwrap_err().code(), "42710");
    assert_eq!(repository.create_branch(&f.main, "no good", None, false).await.unwrap_err().code(), "42602");
    for error in [
        repository.delete_branch(&f.main, "main", true, false).await.unwrap_err(),
        repository.rename_branch("main", "x", false).await.unwrap_err(),
        repository.create_branch(&dev, "main", None, true).await.unwrap_err(),
    ] {
        assert_eq!(error.code(), "55000");
    }
    repository.delete_branch(&f.main, "work", true, false).await.unwrap();
    let table = repository.tables().find("t").unwrap().clone();
    assert_eq!(repository.view(&dev, &table).unwrap_err().code(), "3D000");
    assert_eq!(repository.writable(&dev, &table).await.unwrap_err().code(), "3D000");
    let again = f.branch("work", &f.main).await;
    assert_eq!(f.row(&again, "t", 1).await.unwrap().0, "one", "nothing of the old one");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commits_are_judged() {
    let f = Fixture::new().await;
    let dev = f.branch("dev", &f.main).await;
    let commit = |options: CommitOptions| {
        let (repository, dev) = (f.repository.clone(), dev.clone());
        async move { repository.commit(&dev, &options).await }
    };
    let error = commit(commit_options("nothing")).await.unwrap_err();
    assert!(error.message().starts_with("nothing to commit"), "{error}");
    assert_eq!(commit(commit_options(" ")).await.unwrap_err().code(), "22023");
    let head = f.repository.hash_of(&dev, "HEAD").await.unwrap();
    let skipped = commit(CommitOptions { skip_empty: true, ..commit_options("skip") }).await.unwrap();
    assert_eq!(skipped.hash, head);
    let empty = commit(CommitOptions { allow_empty: true, ..commit_options("empty") }).await.unwrap();
    assert_ne!(empty.hash, head);

    f.set(&dev, "t", 1, "x", None).await;
    f.set(&dev, "u", 1, "y", None).await;
    let only_u = commit(CommitOptions { tables: vec!["u".to_owned()], ..commit_options("u") }).await.unwrap();
    assert_eq!(only_u.tables.len(), 1);
    let status = f.repository.status(&dev).await.unwrap();
    assert_eq!(status.iter().map(|s| s.table_name.as_str()).collect::<Vec<_>>(), ["t"]);
    let amended = commit(CommitOptions { amend: true, ..commit_options("t and u") }).await.unwrap();
    assert_eq!(amended.tables.iter().map(|(t, _)| t.as_str()).collect::<Vec<_>>(), ["t", "u"]);
    assert_eq!(f.repository.hash_of(&dev, "HEAD~1").await.unwrap(), empty.hash);
    assert_eq!(f.rows(&f.checkout(&only_u.hash).await).await[&("t".to_owned(), 1)].0, "one");
    assert_eq!(f.rows(&f.checkout(&amended.hash).await).await[&("t".to_owned(), 1)].0, "x");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_handle_sees_everything_after_a_refresh() {
    let f = Fixture::new().await;
    let other = epoch::operations::Repository::open(&config(f.folder.path())).await.unwrap();
    let dev = f.branch("dev", &f.main).await;
    f.set(&dev, "t", 1, "x", None).await;
    let theirs = other.checkout("dev", None).await.unwrap();
    assert_eq!(super::support::rows(&other, &theirs).await, f.rows(&dev).await);
    other.commit(&theirs, &commit_options("by the other")).await.unwrap();
    assert!(f.repository.status(&dev).await.unwrap().is_empty());
    let generation = f.repository.generation();
    f.repository.refresh().await.unwrap();
    other.unregister("u", true).await.unwrap();
    f.repository.refresh().await.unwrap();
    assert!(f.repository.tables().find("u").is_none());
    assert!(f.repository.generation() > generation);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_are_registered_and_unregistered() {
    let f = Fixture::new().await;
    let repository = &f.repository;
    let error = repository.register("t", None, None).await.unwrap_err();
    assert_eq!(error.code(), "42710", "{error}");
    assert_eq!(repository.register("missing", None, None).await.unwrap_err().code(), "42P01");
    f.direct("two")
        .execute_batch("CREATE TABLE w (a TEXT); CREATE TABLE x (id INTEGER PRIMARY KEY)")
        .unwrap();
    let found = repository.register("x", None, None).await.unwrap();
    assert_eq!(found[0].table.location.to_string(), "sqlite://two/x", "found where it is");
    assert_eq!(repository.register("w", None, None).await.unwrap_err().code(), "42830");
    repository.register("w2", Some("sqlite://two/w"), Some(&["a".to_owned()])).await.ok();
    let discovered = repository.discover("two").await.unwrap();
    let registered: Vec<_> =
        discovered.iter().filter(|d| d.registered).map(|d| d.table_name.as_str()).collect();
    assert!(registered.contains(&"v") && registered.contains(&"x"), "{registered:?}");

    let dev = f.branch("dev", &f.main).await;
    f.set(&dev, "t", 1, "x", None).await;
    let error = repository.unregister("t", false).await.unwrap_err();
    assert_eq!((error.code(), error.detail()), ("55000", Some("Branches: dev.")));
    f.commit(&dev, "x").await;
    assert_eq!(repository.unregister("t", false).await.unwrap_err().code(), "55000");
    repository.merge(&f.main, "dev", &epoch::operations::MergeOptions::default()).await.unwrap();
    repository.unregister("t", false).await.unwrap();
    assert_eq!(repository.unregister("t", false).await.unwrap_err().code(), "42P01");
    let log = repository.log(&f.main, &LogQuery::default()).await.unwrap();
    assert_eq!(log[0].tables[0].0, "t", "commits still name it");
    repository.register("t", None, None).await.unwrap();
    let again = f.branch("again", &f.main).await;
    f.set(&again, "t", 1, "y", None).await;
    assert_eq!(f.row(&f.main, "t", 1).await.unwrap().0, "x");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_branch_costs_the_same_with_500_tables() {
    let f = Fixture::new().await;
    let connection = f.direct("one");
    connection.execute_batch("BEGIN").unwrap();
    for i in 0..500 {
        connection.execute_batch(&format!("CREATE TABLE many{i} (id INTEGER PRIMARY KEY, a TEXT)")).unwrap();
    }
    connection.execute_batch("COMMIT").unwrap();
    drop(connection);
    let rows_of = |repository: &epoch::operations::Repository| {
        let path = f.folder.path().join("meta/epoch.db");
        let _ = repository;
        let connection = rusqlite::Connection::open(path).unwrap();
        let count = |table: &str| {
            connection
                .query_row(&format!("SELECT COUNT(*) FROM {table}"), [], |r| r.get::<_, i64>(0))
                .unwrap()
        };
        ["branches", "lineages", "layers", "positions", "commits", "reflog"].map(count)
    };
    let before = rows_of(&f.repository);
    f.branch("few", &f.main).await;
    let few = rows_of(&f.repository);
    let repository = &f.repository;
    repository.register("many*", None, None).await.unwrap();
    assert_eq!(repository.tables().by_id.len(), 503);
    let with_tables = rows_of(repository);
    let start = Instant::now();
    for i in 0..10 {
        repository.create_branch(&f.main, &format!("many{i}"), None, false).await.unwrap();
    }
    println!("a branch with 503 tables: {:?}", start.elapsed() / 10);
    let many = rows_of(repository);
    for (i, table) in ["branches", "lineages", "layers", "positions", "commits", "reflog"].iter().enumerate()
    {
        assert_eq!(many[i] - with_tables[i], 10 * (few[i] - before[i]), "{table}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_tasks_make_one_layer() {
    let f = Fixture::new().await;
    let dev = f.branch("dev", &f.main).await;
    let tasks = (0..8).map(|i| {
        let (repository, dev) = (f.repository.clone(), dev.clone());
        tokio::spawn(async move {
            let insert = epoch_adapter::RowWrite::Insert(vec![
                Some(epoch_adapter::Value::Int(100 + i)),
                Some(epoch_adapter::Value::Text("x".to_owned())),
                None,
            ]);
            assert_eq!(write(&repository, &dev, "t", vec![insert]).await, 1);
        })
    });
    futures::future::try_join_all(tasks).await.unwrap();
    assert_eq!(f.rows(&dev).await.keys().filter(|(t, k)| t == "t" && *k >= 100).count(), 8);
    assert_eq!(f.commit(&dev, "eight").await.tables[0].1.added, 8);
}
