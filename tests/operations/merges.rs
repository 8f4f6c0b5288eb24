use epoch::operations::{CommitOptions, ConflictKind, LogQuery, MergeOptions, Resolution, Side, Strategy};
use epoch_adapter::Value;

use super::support::{Fixture, ada, commit_options};

fn take(side: Side) -> Resolution {
    Resolution { side, table: None, key: None, column: None }
}

/// main and dev both changed: t.1 in the same cell, t.2 in different cells, v.3 on dev only.
async fn diverged() -> (Fixture, epoch::operations::Checkout) {
    let f = Fixture::new().await;
    let dev = f.branch("dev", &f.main).await;
    f.set(&dev, "t", 1, "dev", Some(1)).await;
    f.set(&dev, "t", 2, "two", Some(22)).await;
    f.set(&dev, "v", 3, "dev", None).await;
    f.commit(&dev, "on dev").await;
    f.direct("one").execute_batch("UPDATE t SET a = 'main' WHERE id IN (1, 2)").unwrap();
    f.commit(&f.main, "on main").await;
    (f, dev)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fast_forward_writes_the_users_tables() {
    let f = Fixture::new().await;
    let dev = f.branch("dev", &f.main).await;
    f.set(&dev, "t", 1, "dev", None).await;
    f.delete(&dev, "v", 1).await;
    let hash = f.commit(&dev, "on dev").await.hash;
    f.set(&dev, "t", 2, "not committed", None).await;
    f.set(&f.main, "t", 3, "stays uncommitted", None).await;
    let merged = f.merge(&f.main, "dev").await;
    assert!(merged.fast_forward);
    assert_eq!(merged.hash, hash);
    let a: String = f.direct("one").query_row("SELECT a FROM t WHERE id = 1", [], |r| r.get(0)).unwrap();
    assert_eq!(a, "dev");
    assert_eq!(f.row(&f.main, "t", 2).await.unwrap().0, "two");
    assert_eq!(f.row(&f.main, "v", 1).await, None);
    let status = f.repository.status(&f.main).await.unwrap();
    assert_eq!(status.iter().map(|s| s.stats.rows()).collect::<Vec<_>>(), [1], "other work stays pending");
    assert_eq!(f.merge(&f.main, "dev").await.message, "already up to date");
    assert_eq!(f.rows(&f.checkout(&hash).await).await, {
        let mut rows = f.rows(&f.main).await;
        rows.insert(("t".to_owned(), 3), ("three".to_owned(), None));
        rows
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flags_decide_what_is_made() {
    let f = Fixture::new().await;
    let dev = f.branch("dev", &f.main).await;
    f.set(&dev, "t", 1, "dev", None).await;
    f.commit(&dev, "on dev").await;
    let merge = |options: MergeOptions| {
        let (repository, main) = (f.repository.clone(), f.main.clone());
        async move { repository.merge(&main, "dev", &options).await }
    };
    let head = f.repository.hash_of(&f.main, "HEAD").await.unwrap();
    let dry = merge(MergeOptions { dry_run: true, ..MergeOptions::default() }).await.unwrap();
    assert_eq!((dry.hash, dry.fast_forward), (head.clone(), true));
    assert!(dry.message.contains("1 modified"), "{}", dry.message);
    let both = MergeOptions { no_ff: true, ff_only: true, ..MergeOptions::default() };
    assert_eq!(merge(both).await.unwrap_err().code(), "22023");
    let squashed =
        merge(MergeOptions { squash: true, author: ada(), ..MergeOptions::default() }).await.unwrap();
    let log = f.repository.log(&f.main, &LogQuery::default()).await.unwrap();
    assert_eq!((&log[0].hash, &log[0].parents), (&squashed.hash, &vec![head]));
    assert_eq!(log[0].author, "Ada");
    f.set(&dev, "t", 1, "dev2", None).await;
    f.commit(&dev, "on dev again").await;
    let only = MergeOptions { ff_only: true, ..MergeOptions::default() };
    assert_eq!(merge(only).await.unwrap_err().code(), "55000");
    let theirs = MergeOptions { strategy: Strategy::Theirs, ..MergeOptions::default() };
    let merged = merge(theirs).await.unwrap();
    assert_eq!((merged.conflicts, merged.fast_forward), (0, false));
    assert_eq!(f.row(&f.main, "t", 1).await.unwrap().0, "dev2");
    f.set(&dev, "u", 1, "dev3", None).await;
    f.commit(&dev, "on dev").await;
    merge(MergeOptions { no_ff: true, ..MergeOptions::default() }).await.unwrap();
    let log = f.repository.log(&f.main, &LogQuery::default()).await.unwrap();
    assert_eq!((log[0].parents.len(), log[0].message.as_str()), (2, "Merge branch 'dev' into main"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conflicts_wait_and_are_resolved() {
    let (f, _dev) = diverged().await;
    let before = f.rows(&f.main).await;
    let merged = f.merge(&f.main, "dev").await;
    assert_eq!(merged.conflicts, 1);
    assert_eq!(f.rows(&f.main).await, before, "nothing is applied");
    let conflicts = f.repository.conflicts(&f.main, Some("t")).await.unwrap();
    assert_eq!(conflicts.len(), 1);
    let conflict = &conflicts[0];
    assert_eq!(
        (conflict.kind, conflict.columns.as_slice()),
        (ConflictKind::ModifyModify, &["a".to_owned()][..])
    );
    assert_eq!(conflict.theirs.as_ref().unwrap()[1], Value::Text("dev".to_owned()));
    let status = f.repository.status(&f.main).await.unwrap();
    assert_eq!((status[0].change.as_str(), status[0].conflicts), ("conflict", 1));

    let repository = &f.repository;
    let open = repository.merge_continue(&f.main, &ada(), None).await.unwrap_err();
    assert_eq!(open.code(), "55000");
    assert_eq!(repository.commit(&f.main, &commit_options("no")).await.unwrap_err().code(), "55000");
    let second = repository.merge(&f.main, "dev", &MergeOptions::default()).await.unwrap_err();
    assert_eq!(second.code(), "55000");
    let nowhere = Resolution { key: Some(vec!["99".to_owned()]), ..take(Side::Ours) };
    assert_eq!(repository.resolve_conflicts(&f.main, &nowhere).await.unwrap_err().code(), "22023");
    let value = Resolution {
        table: Some("t".to_owned()),
        key: Some(vec!["1".to_owned()]),
        column: Some("a".to_owned()),
        side: Side::Value(Value::Text("both".to_owned())),
    };
    let resolved = repository.resolve_conflicts(&f.main, &value).await.unwrap();
    assert_eq!((resolved.resolved, resolved.remaining), (1, 0));
    // Another process does the rest.
    let other = epoch::operations::Repository::open(&super::support::config(f.folder.path())).await.unwrap();
    let committed = other.commit(&f.main, &commit_options("merged")).await.unwrap();
    assert_eq!(committed.tables.len(), 2);
    assert_eq!(f.row(&f.main, "t", 1).await.unwrap().0, "both");
    assert_eq!(f.row(&f.main, "t", 2).await.unwrap(), ("main".to_owned(), Some(22)));
    assert_eq!(f.row(&f.main, "v", 3).await.unwrap().0, "dev");
    assert!(repository.conflicts(&f.main, None).await.unwrap().is_empty());
    assert_eq!(f.merge(&f.main, "dev").await.message, "already up to date");
    let log = repository.log(&f.main, &LogQuery::default()).await.unwrap();
    assert_eq!(log[0].parents.len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_side_can_be_taken() {
    for (side, expected) in [(Side::Ours, "main"), (Side::Theirs, "dev"), (Side::Base, "one")] {
        let (f, _) = diverged().await;
        f.merge(&f.main, "dev").await;
        f.repository.resolve_conflicts(&f.main, &take(side)).await.unwrap();
        f.repository.merge_continue(&f.main, &ada(), Some("done")).await.unwrap();
        assert_eq!(f.row(&f.main, "t", 1).await.unwrap().0, expected);
        assert!(f.repository.status(&f.main).await.unwrap().is_empty());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_merge_is_aborted_without_a_trace() {
    let (f, dev) = diverged().await;
    let before = f.rows(&f.main).await;
    f.merge(&f.main, "dev").await;
    f.repository.merge_abort(&f.main).await.unwrap();
    assert_eq!(f.repository.merge_abort(&f.main).await.unwrap_err().code(), "55000");
    assert_eq!(f.rows(&f.main).await, before);
    assert!(f.repository.conflicts(&f.main, None).await.unwrap().is_empty());
    // The other way round the same conflict waits on dev, and main isn't concerned.
    assert_eq!(f.merge(&dev, "main").await.conflicts, 1);
    f.set(&f.main, "u", 1, "free", None).await;
    f.commit(&f.main, "main goes on").await;
    f.repository.resolve_conflicts(&dev, &take(Side::Theirs)).await.unwrap();
    f.repository.merge_continue(&dev, &ada(), None).await.unwrap();
    assert_eq!(f.row(&dev, "t", 1).await.unwrap().0, "main");
    assert_eq!(f.row(&dev, "u", 1).await.unwrap().0, "one");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn uncommitted_rows_are_not_overwritten() {
    let (f, _) = diverged().await;
    f.set(&f.main, "v", 3, "uncommitted", None).await;
    let theirs = MergeOptions { strategy: Strategy::Theirs, ..MergeOptions::default() };
    let before = f.rows(&f.main).await;
    let error = f.repository.merge(&f.main, "dev", &theirs).await.unwrap_err();
    assert_eq!(error.code(), "55000");
    assert_eq!(error.message(), "uncommitted changes to table \"v\" would be overwritten by merge");
    assert_eq!(error.hint(), Some("Commit them first."));
    assert_eq!(f.rows(&f.main).await, before, "no backend was touched");
    f.commit(&f.main, "now it is committed").await;
    f.set(&f.main, "u", 3, "elsewhere", None).await;
    f.repository.merge(&f.main, "dev", &theirs).await.unwrap();
    let status = f.repository.status(&f.main).await.unwrap();
    assert_eq!(status.iter().map(|s| s.table_name.as_str()).collect::<Vec<_>>(), ["u"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_backend_alone_refuses_too() {
    let f = Fixture::new().await;
    let dev = f.branch("dev", &f.main).await;
    f.set(&dev, "t", 1, "dev", None).await;
    f.commit(&dev, "dev").await;
    f.set(&f.main, "t", 1, "uncommitted", None).await;
    let error = f.repository.merge(&f.main, "dev", &MergeOptions::default()).await.unwrap_err();
    assert_eq!(error.code(), "55000", "{error}");
    assert!(error.message().contains("would be overwritten by merge"), "{error}");
    assert_eq!(f.row(&f.main, "t", 1).await.unwrap().0, "uncommitted");
    f.repository.commit(&f.main, &CommitOptions { author: ada(), ..commit_options("mine") }).await.unwrap();
    assert_eq!(f.merge(&f.main, "dev").await.conflicts, 1);
}

/// a and b have merged each other: two merge bases.
async fn criss_crossed(a_sets: &str, b_sets: &str) -> (Fixture, [epoch::operations::Checkout; 2]) {
    let f = Fixture::new().await;
    let (a, b) = (f.branch("a", &f.main).await, f.branch("b", &f.main).await);
    f.set(&a, "t", 1, a_sets, None).await;
    f.set(&b, "t", 1, b_sets, None).await;
    f.set(&b, "v", 2, "b", None).await;
    let (on_a, on_b) = (f.commit(&a, "a").await.hash, f.commit(&b, "b").await.hash);
    let ours = MergeOptions { strategy: Strategy::Ours, ..MergeOptions::default() };
    f.repository.merge(&a, &on_b, &ours).await.unwrap();
    f.repository.merge(&b, &on_a, &ours).await.unwrap();
    (f, [a, b])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn criss_cross_merges_with_the_merge_of_the_bases() {
    let (f, [a, b]) = criss_crossed("same", "same").await;
    f.set(&a, "t", 2, "a", None).await;
    f.set(&b, "t", 3, "b", None).await;
    f.set(&b, "v", 2, "b again", None).await;
    f.commit(&a, "a again").await;
    f.commit(&b, "b again").await;
    let merged = f.merge(&a, "b").await;
    assert_eq!(merged.conflicts, 0);
    for (table, key, expected) in [("t", 1, "same"), ("t", 2, "a"), ("t", 3, "b"), ("v", 2, "b again")] {
        assert_eq!(f.row(&a, table, key).await.unwrap().0, expected, "{table}.{key}");
    }
    assert!(f.merge(&b, "a").await.fast_forward);
}

/// The bases were once merged without the rules, so that what both had added was added again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn criss_cross_adds_a_sum_once() {
    let f = Fixture::new().await;
    f.set(&f.main, "t", 1, "x", Some(10)).await;
    f.commit(&f.main, "ten").await;
    f.repository.set_merge_rule(&f.main, "t", "n", Some("sum")).await.unwrap();
    let (a, b) = (f.branch("a", &f.main).await, f.branch("b", &f.main).await);
    f.set(&a, "t", 1, "x", Some(15)).await;
    f.set(&b, "t", 1, "x", Some(15)).await;
    let (on_a, on_b) = (f.commit(&a, "five more").await.hash, f.commit(&b, "five more").await.hash);
    assert_eq!(f.merge(&a, &on_b).await.conflicts, 0);
    assert_eq!(f.merge(&b, &on_a).await.conflicts, 0);
    assert_eq!(f.row(&a, "t", 1).await.unwrap().1, Some(20));
    f.set(&b, "t", 1, "x", Some(21)).await;
    f.commit(&b, "one more").await;
    assert_eq!(f.merge(&a, "b").await.conflicts, 0);
    assert_eq!(f.row(&a, "t", 1).await.unwrap().1, Some(21));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn criss_cross_does_not_choose_between_two_answers() {
    // Each has taken its own side of the conflict: neither is the base of the other.
    let (f, [a, _]) = criss_crossed("a", "b").await;
    let merged = f.merge(&a, "b").await;
    assert_eq!(merged.conflicts, 1);
    let conflicts = f.repository.conflicts(&a, Some("t")).await.unwrap();
    assert_eq!(conflicts[0].base, None);
    f.repository.resolve_conflicts(&a, &take(Side::Theirs)).await.unwrap();
    f.repository.merge_continue(&a, &ada(), None).await.unwrap();
    assert_eq!(f.row(&a, "t", 1).await.unwrap().0, "b");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_merge_without_a_commit_waits_to_be_continued() {
    let f = Fixture::new().await;
    let dev = f.branch("dev", &f.main).await;
    f.set(&dev, "t", 1, "dev", None).await;
    f.commit(&dev, "dev").await;
    f.set(&f.main, "t", 2, "main", None).await;
    f.commit(&f.main, "main").await;
    let before = f.rows(&f.main).await;
    let options = MergeOptions { no_commit: true, ..MergeOptions::default() };
    let stopped = f.repository.merge(&f.main, "dev", &options).await.unwrap();
    assert_eq!((stopped.conflicts, stopped.fast_forward), (0, false));
    assert_eq!(f.rows(&f.main).await, before);
    f.repository.merge_abort(&f.main).await.unwrap();
    f.repository.merge(&f.main, "dev", &options).await.unwrap();
    f.repository.merge_continue(&f.main, &ada(), Some("with a message")).await.unwrap();
    let log = f.repository.log(&f.main, &LogQuery::default()).await.unwrap();
    assert_eq!((log[0].parents.len(), log[0].message.as_str()), (2, "with a message"));
    assert_eq!(f.row(&f.main, "t", 1).await.unwrap().0, "dev");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rules_decide_columns_before_a_conflict_is_made() {
    for f in [Some(Fixture::new().await), Fixture::postgres().await].into_iter().flatten() {
        let r = &f.repository;
        f.set(&f.main, "t", 1, "one", Some(100)).await;
        f.commit(&f.main, "an account").await;
        let dev = f.branch("dev", &f.main).await;
        for (column, rule, code) in [
            ("n", "average", "22023"),
            ("a", "sum", "42804"),
            ("id", "sum", "22023"),
            ("nothing", "sum", "42703"),
        ] {
            assert_eq!(r.set_merge_rule(&f.main, "t", column, Some(rule)).await.unwrap_err().code(), code);
        }
        assert_eq!(r.set_merge_rule(&f.main, "x", "n", Some("sum")).await.unwrap_err().code(), "42P01");
        assert_eq!(r.set_merge_rule(&f.main, "t", "n", None).await.unwrap_err().code(), "42704");
        r.set_merge_rule(&f.main, "t", "n", Some("max")).await.unwrap();
        r.set_merge_rule(&f.main, "t", "n", Some("sum")).await.unwrap();
        assert_eq!(r.merge_rules().await.unwrap().len(), 1);
        f.set(&dev, "t", 1, "one", Some(70)).await;
        f.commit(&dev, "minus 30").await;
        f.set(&f.main, "t", 1, "one", Some(70)).await;
        f.commit(&f.main, "minus 30, too").await;
        let row = MergeOptions { strategy: Strategy::Row, ..MergeOptions::default() };
        let merged = r.merge(&f.main, "dev", &row).await.unwrap();
        assert_eq!(merged.conflicts, 0);
        assert_eq!(f.row(&f.main, "t", 1).await.unwrap().1, Some(40), "no money is made");
        // With a conflict in another column the rule still holds for its own.
        r.merge(&dev, "main", &MergeOptions::default()).await.unwrap();
        f.set(&dev, "t", 1, "dev", Some(50)).await;
        f.commit(&dev, "plus 10").await;
        f.set(&f.main, "t", 1, "main", Some(45)).await;
        f.commit(&f.main, "plus 5").await;
        assert_eq!(f.merge(&f.main, "dev").await.conflicts, 1);
        // The merge goes by the rules that it began with.
        r.set_merge_rule(&f.main, "t", "n", None).await.unwrap();
        r.resolve_conflicts(&f.main, &take(Side::Theirs)).await.unwrap();
        r.merge_continue(&f.main, &ada(), None).await.unwrap();
        assert_eq!(f.row(&f.main, "t", 1).await.unwrap(), ("dev".to_owned(), Some(55)));
        r.set_merge_rule(&f.main, "t", "a", Some("latest")).await.unwrap();
        let late = f.branch("late", &f.main).await;
        f.set(&f.main, "t", 1, "earlier", Some(55)).await;
        f.commit(&f.main, "earlier").await;
        f.set(&late, "t", 1, "later", Some(55)).await;
        f.commit(&late, "later").await;
        assert_eq!(f.merge(&f.main, "late").await.conflicts, 0);
        assert_eq!(f.row(&f.main, "t", 1).await.unwrap().0, "later");
        f.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_preview_says_what_a_merge_would_do() {
    let (f, dev) = diverged().await;
    let before = (f.rows(&f.main).await, f.repository.hash_of(&f.main, "HEAD").await.unwrap());
    for on in [&f.main, &dev] {
        let tables = f.repository.preview_merge(on, "dev", Some("main"), None, false).await.unwrap().tables;
        let names: Vec<_> = tables.iter().map(|t| t.table.name.to_string()).collect();
        assert_eq!(names, ["t", "v"]);
        let rows = &tables[0].rows;
        assert_eq!(rows.iter().filter(|r| r.conflict.is_some()).count(), 1);
        let clean = rows.iter().find(|r| r.conflict.is_none()).unwrap();
        let cell = |row: &Option<epoch_adapter::Row>, i: usize| row.as_ref().unwrap()[i].to_text().unwrap();
        assert_eq!((cell(&clean.base, 1), cell(&clean.ours, 1)), ("two".to_owned(), "main".to_owned()));
        assert_eq!((cell(&clean.theirs, 2), cell(&clean.result, 2)), ("22".to_owned(), "22".to_owned()));
        assert_eq!(cell(&clean.result, 1), "main");
    }
    assert_eq!((f.rows(&f.main).await, f.repository.hash_of(&f.main, "HEAD").await.unwrap()), before);
    assert!(f.repository.conflicts(&f.main, None).await.unwrap().is_empty());
    let missing = f.repository.preview_merge(&f.main, "dev", Some("nowhere"), None, true).await.unwrap_err();
    assert_eq!(missing.code(), "3D000");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_of_the_second_backend_takes_back_the_first() {
    let f = Fixture::new().await;
    let dev = f.branch("dev", &f.main).await;
    f.set(&dev, "t", 1, "dev", None).await;
    f.delete(&dev, "u", 2).await;
    f.set(&dev, "v", 99, "refused", None).await;
    f.commit(&dev, "dev").await;
    f.set(&f.main, "t", 3, "uncommitted", None).await;
    let refuse =
        "CREATE TRIGGER refuse BEFORE INSERT ON v WHEN NEW.id = 99 BEGIN SELECT RAISE(ABORT, 'refused'); END";
    f.direct("two").execute_batch(refuse).unwrap();
    let before = f.rows(&f.main).await;
    let head = f.repository.hash_of(&f.main, "HEAD").await.unwrap();
    let error = f.repository.merge(&f.main, "dev", &MergeOptions::default()).await.unwrap_err();
    assert!(error.to_string().contains("refused"), "{error}");
    assert_eq!(f.rows(&f.main).await, before);
    assert_eq!(f.repository.hash_of(&f.main, "HEAD").await.unwrap(), head);
    let status = f.repository.status(&f.main).await.unwrap();
    assert_eq!(
        status.iter().map(|s| (s.table_name.as_str(), s.stats.rows())).collect::<Vec<_>>(),
        [("t", 1)]
    );
    let at_head = f.rows(&f.checkout(&head).await).await;
    assert_eq!(at_head[&("t".to_owned(), 1)].0, "one");
    assert_eq!(at_head[&("t".to_owned(), 3)].0, "three");
    f.direct("two").execute_batch("DROP TRIGGER refuse").unwrap();
    assert!(f.merge(&f.main, "dev").await.fast_forward);
    assert_eq!(f.row(&f.main, "v", 99).await.unwrap().0, "refused");
    assert_eq!(f.row(&f.main, "t", 1).await.unwrap().0, "dev");
    assert_eq!(f.row(&f.main, "t", 3).await.unwrap().0, "uncommitted");
}

/// A trigger of main's changed rows that a merge wrote: one commit had two contents.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_triggers_of_main_make_of_a_merge_is_a_commit_of_its_own() {
    let f = Fixture::new().await;
    let dev = f.branch("dev", &f.main).await;
    f.set(&dev, "t", 1, "dev", Some(1)).await;
    f.set(&dev, "u", 1, "dev", Some(1)).await;
    f.set(&dev, "v", 1, "dev", Some(1)).await;
    let theirs = f.commit(&dev, "on dev").await.hash;
    f.direct("one")
        .execute_batch(
            "CREATE TRIGGER upper AFTER UPDATE ON t WHEN NEW.a <> upper(NEW.a) BEGIN UPDATE t SET a = upper(a) WHERE id = NEW.id; END",
        )
        .unwrap();
    let only = MergeOptions { ff_only: true, ..MergeOptions::default() };
    let refused = f.repository.merge(&f.main, "dev", &only).await.unwrap_err();
    assert_eq!(refused.code(), "55000");
    assert_eq!(refused.message(), "trigger \"upper\" of table \"t\" changes rows beside what is written");
    assert_eq!(refused.detail(), Some("Key (id)=(1) would not be as it is in the commit."));
    for (table, a) in [("t", "one"), ("u", "one"), ("v", "one")] {
        assert_eq!(f.row(&f.main, table, 1).await.unwrap().0, a, "nothing is applied");
    }
    let merged = f.merge(&f.main, "dev").await;
    assert_eq!((merged.fast_forward, merged.altered, merged.conflicts), (false, true, 0));
    assert_ne!(merged.hash, theirs);
    let at = |hash: String| {
        let f = &f;
        async move { f.row(&f.checkout(&hash).await, "t", 1).await.unwrap().0 }
    };
    assert_eq!(f.row(&f.main, "t", 1).await.unwrap().0, "DEV");
    assert_eq!((at(merged.hash.clone()).await, at(theirs).await), ("DEV".to_owned(), "dev".to_owned()));
    assert_eq!(f.repository.status(&f.main).await.unwrap().len(), 0);
    // The branch gets it as any other commit of main's; then there is nothing to be changed any more.
    let back = f.merge(&dev, "main").await;
    assert!(back.fast_forward);
    assert_eq!(f.row(&dev, "t", 1).await.unwrap().0, "DEV");
    f.set(&dev, "u", 2, "dev", None).await;
    f.commit(&dev, "more").await;
    assert!(f.merge(&f.main, "dev").await.fast_forward);
}
