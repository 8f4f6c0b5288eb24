use epoch::operations::{Checkout, ResetDone, ResetOptions, Resolution, Side};

use super::support::Fixture;

async fn reset(f: &Fixture, on: &Checkout, hard: bool, target: Option<&str>) -> ResetDone {
    let options = ResetOptions { hard, target: target.map(ToOwned::to_owned), ..ResetOptions::default() };
    f.repository.reset(on, &options).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hard_reset_keeps_what_it_leaves_in_a_safety_branch() {
    let f = Fixture::new().await;
    let start = f.rows(&f.main).await;
    f.set(&f.main, "t", 1, "first", None).await;
    f.set(&f.main, "v", 1, "first", None).await;
    f.commit(&f.main, "first").await;
    let first = f.rows(&f.main).await;
    f.delete(&f.main, "t", 1).await;
    f.set(&f.main, "v", 2, "uncommitted", None).await;
    let done = reset(&f, &f.main, true, Some("HEAD~1")).await;
    assert_eq!(f.rows(&f.main).await, start);
    assert!(f.repository.status(&f.main).await.unwrap().is_empty());
    let safety = done.safety_branch.unwrap();
    assert!(safety.starts_with("main_before_reset_"));
    assert_eq!(f.rows(&f.checkout(&safety).await).await, first);
    assert_eq!(f.rows(&f.checkout("main@{1}").await).await, first);
    let a: String = f.direct("one").query_row("SELECT a FROM t WHERE id = 1", [], |r| r.get(0)).unwrap();
    assert_eq!(a, "one");
    assert!(f.merge(&f.main, &safety).await.fast_forward);
    assert_eq!(f.rows(&f.main).await, first);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hard_reset_to_head_drops_working_changes() {
    let f = Fixture::new().await;
    let dev = f.branch("dev", &f.main).await;
    f.set(&dev, "t", 1, "kept", None).await;
    f.commit(&dev, "kept").await;
    let kept = f.rows(&dev).await;
    f.set(&dev, "t", 1, "dropped", None).await;
    f.set(&dev, "t", 9, "dropped", None).await;
    f.delete(&dev, "v", 1).await;
    let done = reset(&f, &dev, true, None).await;
    assert_eq!(done.safety_branch, None);
    assert_eq!(f.rows(&dev).await, kept);
    assert!(f.repository.status(&dev).await.unwrap().is_empty());
}

/// Where the working state equals the target in a row that the head has differently.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hard_reset_is_exact_where_working_equals_the_target() {
    let f = Fixture::new().await;
    let dev = f.branch("dev", &f.main).await;
    f.set(&dev, "t", 1, "x", Some(1)).await;
    f.commit(&dev, "x").await;
    f.set(&dev, "t", 1, "one", Some(1)).await; // as on main
    reset(&f, &dev, true, Some("main")).await;
    f.set(&dev, "u", 1, "later", None).await;
    f.commit(&dev, "later").await;
    assert_eq!(f.row(&f.checkout("dev~1").await, "t", 1).await.unwrap().0, "one");
    let stat = f.repository.diff_stat(&dev, "main", "dev", None).await.unwrap();
    assert_eq!(stat.iter().map(|s| s.table.name.to_string()).collect::<Vec<_>>(), ["u"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_soft_reset_moves_only_the_head() {
    let f = Fixture::new().await;
    let dev = f.branch("dev", &f.main).await;
    for (key, a) in [(1, "first"), (2, "second")] {
        f.set(&dev, "t", key, a, None).await;
        f.commit(&dev, a).await;
    }
    let working = f.rows(&dev).await;
    let done = reset(&f, &dev, false, Some("main")).await;
    assert_eq!(done.hash, f.repository.hash_of(&dev, "main").await.unwrap());
    assert_eq!(f.rows(&dev).await, working);
    let status = f.repository.status(&dev).await.unwrap();
    assert_eq!(status.iter().map(|s| s.stats.modified).collect::<Vec<_>>(), [2]);
    let error = f.repository.merge(&dev, "main~0", &Default::default()).await.unwrap_err();
    assert_eq!(error.code(), "55000");
    let one = f.commit(&dev, "both in one").await;
    assert_eq!(one.tables[0].1.modified, 2);
    assert_eq!(f.rows(&f.checkout(&one.hash).await).await, working);
    assert!(f.repository.status(&dev).await.unwrap().is_empty());
    assert!(f.merge(&f.main, "dev").await.fast_forward);
    assert_eq!(f.rows(&f.main).await, working);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_table_is_reset_alone() {
    let f = Fixture::new().await;
    let before = f.rows(&f.main).await;
    f.set(&f.main, "t", 1, "dropped", None).await;
    f.set(&f.main, "u", 1, "stays", None).await;
    let options = ResetOptions { table: Some("t".to_owned()), ..ResetOptions::default() };
    f.repository.reset(&f.main, &options).await.unwrap();
    let after = f.rows(&f.main).await;
    assert_eq!(after[&("t".to_owned(), 1)], before[&("t".to_owned(), 1)]);
    assert_eq!(after[&("u".to_owned(), 1)].0, "stays");
    let committed = f.commit(&f.main, "u").await;
    assert_eq!(committed.tables.iter().map(|(t, _)| t.as_str()).collect::<Vec<_>>(), ["u"]);
    assert_eq!(f.rows(&f.checkout("main~1").await).await, before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hard_reset_ends_a_waiting_merge() {
    let f = Fixture::new().await;
    let dev = f.branch("dev", &f.main).await;
    f.set(&dev, "t", 1, "dev", None).await;
    f.commit(&dev, "dev").await;
    f.set(&f.main, "t", 1, "main", None).await;
    f.commit(&f.main, "main").await;
    assert_eq!(f.merge(&f.main, "dev").await.conflicts, 1);
    let soft = ResetOptions { target: Some("HEAD~1".to_owned()), ..ResetOptions::default() };
    assert_eq!(f.repository.reset(&f.main, &soft).await.unwrap_err().code(), "55000");
    reset(&f, &f.main, true, None).await;
    let resolution = Resolution { side: Side::Ours, table: None, key: None, column: None };
    assert_eq!(f.repository.resolve_conflicts(&f.main, &resolution).await.unwrap_err().code(), "55000");
    f.set(&f.main, "t", 1, "goes on", None).await;
    f.commit(&f.main, "goes on").await;
}
