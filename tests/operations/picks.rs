//! Commits applied again: cherry-pick, revert, rebase, squash; and stashes.

use epoch::operations::{
    Author, Checkout, LogQuery, MergeOptions, PickOptions, RebaseOptions, Resolution, Side, Strategy, Verb,
};

use super::support::{Fixture, ada, commit_options};

fn take(side: Side) -> Resolution {
    Resolution { side, table: None, key: None, column: None }
}

fn specs(specs: &[&str]) -> Vec<String> {
    specs.iter().map(|s| (*s).to_owned()).collect()
}

async fn subjects(f: &Fixture, on: &Checkout) -> Vec<String> {
    let log = f.repository.log(on, &LogQuery::default()).await.unwrap();
    log.iter().map(|c| c.message.lines().next().unwrap_or_default().to_owned()).collect()
}

async fn is_clean(f: &Fixture, on: &Checkout) -> bool {
    f.repository.status(on).await.unwrap().is_empty()
}

/// dev has three commits of its own: t.1, then u.1 and v.1, then t.2; main has another for t.3.
async fn forked(f: &Fixture) -> Checkout {
    let dev = f.branch("dev", &f.main).await;
    f.set(&dev, "t", 1, "dev", Some(11)).await;
    f.repository
        .commit(&dev, &epoch::operations::CommitOptions { author: ada(), ..commit_options("first") })
        .await
        .unwrap();
    f.set(&dev, "u", 1, "dev", None).await;
    f.set(&dev, "v", 1, "dev", None).await;
    f.commit(&dev, "second").await;
    f.set(&dev, "t", 2, "dev", Some(22)).await;
    f.commit(&dev, "third").await;
    f.set(&f.main, "t", 3, "main", None).await;
    f.commit(&f.main, "on main").await;
    dev
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cherry_pick_brings_one_commit_with_its_author() {
    on_all(async |f| {
        forked(f).await;
        f.set(&f.main, "t", 2, "uncommitted", None).await;
        let picked =
            f.repository.cherry_pick(&f.main, &specs(&["dev~2"]), &PickOptions::default()).await.unwrap();
        assert_eq!((picked.conflicts, picked.done, picked.left), (0, 1, 0));
        assert_eq!(f.row(&f.main, "t", 1).await.unwrap(), ("dev".to_owned(), Some(11)));
        assert_eq!(f.row(&f.main, "t", 2).await.unwrap().0, "uncommitted");
        assert_eq!(f.row(&f.main, "v", 1).await.unwrap().0, "one", "other commits stay where they are");
        let log = f.repository.log(&f.main, &LogQuery::default()).await.unwrap();
        assert_eq!((log[0].message.as_str(), log[0].author.as_str()), ("first", "Ada"));
        assert_eq!(log[0].parents.len(), 1);
        // Again: there is nothing left of it.
        let again =
            f.repository.cherry_pick(&f.main, &specs(&["dev~2"]), &PickOptions::default()).await.unwrap();
        assert_eq!((again.done, again.hash), (0, picked.hash));
        assert!(f.repository.status(&f.main).await.unwrap().len() == 1, "the uncommitted row is still one");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_range_is_picked_oldest_first_and_reverted_newest_first() {
    on_all(async |f| {
        forked(f).await;
        let before = f.rows(&f.main).await;
        let options = PickOptions { author: ada(), ..PickOptions::default() };
        let picked = f.repository.cherry_pick(&f.main, &specs(&["main..dev"]), &options).await.unwrap();
        assert_eq!(picked.done, 3);
        assert_eq!(subjects(f, &f.main).await[..4], ["third", "second", "first", "on main"]);
        assert_eq!(f.row(&f.main, "v", 1).await.unwrap().0, "dev");
        let reverted = f.repository.revert(&f.main, &specs(&["HEAD~3..HEAD"]), &options).await.unwrap();
        assert_eq!(reverted.done, 3);
        assert_eq!(f.rows(&f.main).await, before);
        let expected = ["Revert \"first\"", "Revert \"second\"", "Revert \"third\"", "third"];
        assert_eq!(subjects(f, &f.main).await[..4], expected);
        let log =
            f.repository.log(&f.main, &LogQuery { limit: Some(1), ..LogQuery::default() }).await.unwrap();
        assert_eq!(log[0].author, "Ada");
        assert!(log[0].message.contains("This reverts commit "), "{}", log[0].message);
        assert!(is_clean(f, &f.main).await);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_merge_is_reverted_and_picked_by_its_mainline() {
    let f = Fixture::new().await;
    forked(&f).await;
    let before = f.rows(&f.main).await;
    let merge = f.merge(&f.main, "dev").await.hash;
    let revert = |mainline| {
        let (f, options) = (&f, PickOptions { mainline, ..PickOptions::default() });
        async move { f.repository.revert(&f.main, &specs(&["HEAD"]), &options).await }
    };
    let error = revert(None).await.unwrap_err();
    assert_eq!(error.code(), "22023");
    assert!(error.message().contains("is a merge"), "{error}");
    for wrong in [0, 3] {
        assert_eq!(revert(Some(wrong)).await.unwrap_err().code(), "22023");
    }
    revert(Some(1)).await.unwrap();
    assert_eq!(f.rows(&f.main).await, before);
    let other =
        f.repository.create_branch(&f.main, "other", Some(&format!("{merge}^1")), false).await.unwrap();
    let other = f.checkout(&other.name).await;
    let options = PickOptions { mainline: Some(1), ..PickOptions::default() };
    f.repository.cherry_pick(&other, &[merge], &options).await.unwrap();
    assert_eq!(f.row(&other, "v", 1).await.unwrap().0, "dev");
    let root = f.repository.log(&f.main, &LogQuery::default()).await.unwrap().pop().unwrap().hash;
    let error = f.repository.revert(&f.main, &[root], &PickOptions::default()).await.unwrap_err();
    assert_eq!(error.code(), "22023");
    let unknown = f.repository.revert(&f.main, &specs(&["nowhere"]), &PickOptions::default()).await;
    assert_eq!(unknown.unwrap_err().code(), "3D000");
}

/// main conflicts with the second of dev's commits.
async fn conflicting(f: &Fixture) -> Checkout {
    let dev = forked(f).await;
    f.set(&f.main, "u", 1, "main", None).await;
    f.commit(&f.main, "conflicts with second").await;
    dev
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cherry_pick_waits_at_a_conflict_and_goes_on() {
    on_all(async |f| {
        conflicting(f).await;
        let stopped =
            f.repository.cherry_pick(&f.main, &specs(&["main..dev"]), &PickOptions::default()).await.unwrap();
        assert_eq!((stopped.conflicts, stopped.done, stopped.left), (1, 1, 2));
        assert_eq!(f.row(&f.main, "t", 1).await.unwrap().0, "dev", "what came before is committed");
        assert_eq!(f.row(&f.main, "v", 1).await.unwrap().0, "one", "nothing of the stopped commit shows");
        let r = &f.repository;
        assert_eq!(r.conflicts(&f.main, Some("u")).await.unwrap().len(), 1);
        // Nothing else goes on meanwhile, and only the right verb ends it.
        for error in [
            r.merge(&f.main, "dev", &MergeOptions::default()).await.unwrap_err(),
            r.commit(&f.main, &commit_options("no")).await.unwrap_err(),
            r.cherry_pick(&f.main, &specs(&["dev"]), &PickOptions::default()).await.unwrap_err(),
            r.merge_continue(&f.main, &ada(), None).await.unwrap_err(),
            r.merge_abort(&f.main).await.unwrap_err(),
            r.sequence_continue(&f.main, Verb::Revert, &ada(), None).await.unwrap_err(),
            r.sequence_continue(&f.main, Verb::CherryPick, &ada(), None).await.unwrap_err(),
        ] {
            assert_eq!(error.code(), "55000", "{error}");
        }
        r.resolve_conflicts(&f.main, &take(Side::Theirs)).await.unwrap();
        let done = r
            .sequence_continue(&f.main, Verb::CherryPick, &Author::default(), Some("second, resolved"))
            .await
            .unwrap();
        assert_eq!((done.conflicts, done.done, done.left), (0, 3, 0));
        assert_eq!(subjects(f, &f.main).await[..3], ["third", "second, resolved", "first"]);
        assert_eq!(f.row(&f.main, "u", 1).await.unwrap().0, "dev");
        assert!(is_clean(f, &f.main).await);
        let error = r.sequence_abort(&f.main, Verb::CherryPick).await.unwrap_err();
        assert_eq!(
            (error.code(), error.message()),
            ("55000", "no cherry-pick is waiting on branch \"main\"")
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_aborted_cherry_pick_takes_back_what_it_committed() {
    on_all(async |f| {
        conflicting(f).await;
        let (before, head) = (f.rows(&f.main).await, f.repository.hash_of(&f.main, "HEAD").await.unwrap());
        f.repository.cherry_pick(&f.main, &specs(&["main..dev"]), &PickOptions::default()).await.unwrap();
        f.set(&f.main, "t", 7, "uncommitted", None).await;
        let aborted = f.repository.sequence_abort(&f.main, Verb::CherryPick).await.unwrap();
        assert_eq!(aborted.hash, head);
        let mut expected = before;
        expected.insert(("t".to_owned(), 7), ("uncommitted".to_owned(), None));
        assert_eq!(f.rows(&f.main).await, expected);
        assert!(f.repository.conflicts(&f.main, None).await.unwrap().is_empty());
        f.commit(&f.main, "goes on").await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rebase_moves_commits_and_the_branch_once() {
    on_all(async |f| {
        let dev = forked(f).await;
        let (theirs, old) = (f.rows(&dev).await, f.repository.hash_of(&dev, "HEAD").await.unwrap());
        let done = f.repository.rebase(&dev, "main", &RebaseOptions::default()).await.unwrap();
        assert_eq!((done.conflicts, done.done, done.left), (0, 3, 0));
        assert_eq!(subjects(f, &dev).await[..4], ["third", "second", "first", "on main"]);
        let mut expected = theirs.clone();
        expected.insert(("t".to_owned(), 3), ("main".to_owned(), None));
        assert_eq!(f.rows(&dev).await, expected);
        assert!(is_clean(f, &dev).await);
        assert_eq!(f.rows(&f.checkout(&old).await).await, theirs, "the old commits are as they were");
        for (commit, expected) in [("dev~1", "two"), ("dev", "dev")] {
            assert_eq!(
                f.row(&f.checkout(&f.repository.hash_of(&dev, commit).await.unwrap()).await, "t", 2)
                    .await
                    .unwrap()
                    .0,
                expected
            );
        }
        let again = f.repository.rebase(&dev, "main", &RebaseOptions::default()).await.unwrap();
        assert_eq!((again.done, again.hash), (0, done.hash));
        assert!(again.message.contains("up to date"), "{}", again.message);
        let names: Vec<_> = f.repository.branches().await.unwrap().into_iter().map(|b| b.name).collect();
        assert_eq!(names, ["dev", "main"], "no branch of ours is left or shown");
        assert!(f.merge(&f.main, "dev").await.fast_forward);
        assert_eq!(f.rows(&f.main).await, f.rows(&dev).await);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rebase_stops_at_a_conflict_that_the_branch_does_not_show() {
    on_all(async |f| {
        let dev = conflicting(f).await;
        let (before, head) = (f.rows(&dev).await, f.repository.hash_of(&dev, "HEAD").await.unwrap());
        let r = &f.repository;
        let stopped = r.rebase(&dev, "main", &RebaseOptions::default()).await.unwrap();
        assert_eq!((stopped.conflicts, stopped.done, stopped.left), (1, 1, 2));
        assert_eq!(f.rows(&dev).await, before);
        assert_eq!(r.hash_of(&dev, "HEAD").await.unwrap(), head);
        r.sequence_abort(&dev, Verb::Rebase).await.unwrap();
        assert_eq!(f.rows(&dev).await, before);
        assert_eq!(r.rebase(&dev, "main", &RebaseOptions::default()).await.unwrap().conflicts, 1);
        // Ours is what the commits are applied to, as in git.
        r.resolve_conflicts(&dev, &take(Side::Ours)).await.unwrap();
        let done = r.sequence_continue(&dev, Verb::Rebase, &Author::default(), None).await.unwrap();
        assert_eq!((done.conflicts, done.left), (0, 0));
        assert_eq!(f.row(&dev, "u", 1).await.unwrap().0, "main");
        assert_eq!(f.row(&dev, "v", 1).await.unwrap().0, "dev");
        assert!(is_clean(f, &dev).await);
        assert_eq!(subjects(f, &dev).await[..4], ["third", "second", "first", "conflicts with second"]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plan_is_edited_before_the_rebase() {
    on_all(async |f| {
        let dev = forked(f).await;
        let r = &f.repository;
        let before = f.rows(&dev).await;
        let options = RebaseOptions { interactive: true, ..RebaseOptions::default() };
        assert_eq!(r.rebase(&dev, "main", &options).await.unwrap().left, 3);
        assert_eq!(f.rows(&dev).await, before);
        let plan = r.rebase_plan(&dev).await.unwrap();
        let shown: Vec<_> = plan.iter().map(|s| (s.order, s.action.as_str(), s.message.as_str())).collect();
        assert_eq!(shown, [(1, "pick", "first"), (2, "pick", "second"), (3, "pick", "third")]);
        for (order, action, to) in [
            (4, Some("drop"), None),
            (0, Some("drop"), None),
            (1, Some("exec"), None),
            (1, Some("reword"), None),
            (1, None, Some(9)),
        ] {
            assert_eq!(r.rebase_edit(&dev, order, action, None, to).await.unwrap_err().code(), "22023");
        }
        // third, first; second becomes a part of first
        r.rebase_edit(&dev, 3, None, Some("third, reworded"), Some(1)).await.unwrap();
        let plan = r.rebase_edit(&dev, 3, Some("squash"), None, None).await.unwrap();
        let shown: Vec<_> = plan.iter().map(|s| (s.action.as_str(), s.message.as_str())).collect();
        assert_eq!(shown, [("reword", "third, reworded"), ("pick", "first"), ("squash", "second")]);
        let done = r.sequence_continue(&dev, Verb::Rebase, &Author::default(), None).await.unwrap();
        assert_eq!((done.conflicts, done.done, done.left), (0, 2, 0));
        let log = r.log(&dev, &LogQuery::default()).await.unwrap();
        let messages: Vec<_> = log.iter().map(|c| c.message.as_str()).collect();
        assert_eq!(messages[..3], ["first\n\nsecond", "third, reworded", "on main"]);
        assert_eq!(log[0].author, "Ada");
        let tables: Vec<_> =
            log[0].tables.iter().map(|(name, stats)| (name.as_str(), stats.rows())).collect();
        assert_eq!(tables, [("t", 1), ("u", 1), ("v", 1)], "the squashed commit says what both changed");
        let mut expected = before;
        expected.insert(("t".to_owned(), 3), ("main".to_owned(), None));
        assert_eq!(f.rows(&dev).await, expected);
        assert!(r.rebase_plan(&dev).await.unwrap().is_empty());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn steps_are_dropped_and_fixed_up() {
    let f = Fixture::new().await;
    let dev = forked(&f).await;
    let r = &f.repository;
    let options = RebaseOptions { interactive: true, ..RebaseOptions::default() };
    r.rebase(&dev, "main", &options).await.unwrap();
    r.rebase_edit(&dev, 1, Some("fixup"), None, None).await.unwrap();
    let error = r.sequence_continue(&dev, Verb::Rebase, &Author::default(), None).await.unwrap_err();
    assert_eq!(error.code(), "22023", "the first step has nothing to become a part of: {error}");
    r.rebase_edit(&dev, 1, Some("drop"), None, None).await.unwrap();
    r.rebase_edit(&dev, 3, Some("fixup"), None, None).await.unwrap();
    r.sequence_continue(&dev, Verb::Rebase, &Author::default(), None).await.unwrap();
    assert_eq!(subjects(&f, &dev).await[..2], ["second", "on main"]);
    assert_eq!(f.row(&dev, "t", 1).await.unwrap().0, "one", "dropped");
    assert_eq!(f.row(&dev, "t", 2).await.unwrap().0, "dev");
    // A plan of nothing but drops leaves the branch at the upstream.
    r.rebase(&dev, "main", &options).await.unwrap();
    r.rebase_edit(&dev, 1, Some("drop"), None, None).await.unwrap();
    let done = r.sequence_continue(&dev, Verb::Rebase, &Author::default(), None).await.unwrap();
    assert_eq!(done.hash, r.hash_of(&f.main, "HEAD").await.unwrap());
    assert_eq!(f.rows(&dev).await, f.rows(&f.main).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rebase_is_refused_where_work_could_be_lost() {
    let f = Fixture::new().await;
    let dev = forked(&f).await;
    let r = &f.repository;
    f.set(&dev, "t", 9, "uncommitted", None).await;
    let error = r.rebase(&dev, "main", &RebaseOptions::default()).await.unwrap_err();
    assert_eq!(error.code(), "55000");
    assert!(error.message().contains("uncommitted"), "{error}");
    f.delete(&dev, "t", 9).await;
    let options = RebaseOptions { interactive: true, ..RebaseOptions::default() };
    r.rebase(&dev, "main", &options).await.unwrap();
    // A row that somebody writes meanwhile isn't overwritten by the end of it.
    f.set(&dev, "t", 3, "meanwhile", None).await;
    let error = r.sequence_continue(&dev, Verb::Rebase, &Author::default(), None).await.unwrap_err();
    assert_eq!(error.code(), "55000", "{error}");
    assert_eq!(f.row(&dev, "t", 3).await.unwrap().0, "meanwhile");
    r.sequence_abort(&dev, Verb::Rebase).await.unwrap();
    f.commit(&dev, "mine").await;
    assert_eq!(r.rebase(&dev, "nowhere", &RebaseOptions::default()).await.unwrap_err().code(), "3D000");
    let tag = f.checkout("main~1").await;
    assert_eq!(r.rebase(&tag, "main", &RebaseOptions::default()).await.unwrap_err().code(), "25006");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stash_goes_and_comes_back_uncommitted() {
    on_all(async |f| {
        let r = &f.repository;
        let dev = forked(f).await;
        for on in [&f.main, &dev] {
            let clean = f.rows(on).await;
            assert_eq!(r.stash_push(on, None, &ada()).await.unwrap_err().code(), "55000", "nothing to stash");
            f.set(on, "t", 2, "stashed", Some(5)).await;
            f.delete(on, "t", 3).await;
            f.set(on, "v", 9, "stashed", None).await;
            let dirty = f.rows(on).await;
            let status = r.status(on).await.unwrap().len();
            r.stash_push(on, Some("mine"), &ada()).await.unwrap();
            assert_eq!(f.rows(on).await, clean);
            assert!(is_clean(f, on).await);
            f.set(on, "u", 3, "elsewhere", None).await;
            f.commit(on, "goes on").await;
            let (popped, picked) = r.stash_pop(on, Some("mine"), Strategy::Field, &ada()).await.unwrap();
            assert_eq!((popped.name.as_str(), picked.conflicts), ("mine", 0));
            let mut expected = dirty;
            expected.insert(("u".to_owned(), 3), ("elsewhere".to_owned(), None));
            assert_eq!(f.rows(on).await, expected);
            assert_eq!(r.status(on).await.unwrap().len(), status, "it is uncommitted again");
            let head = r.hash_of(on, "HEAD").await.unwrap();
            assert_eq!(
                f.row(&f.checkout(&head).await, "t", 2).await.unwrap().0,
                if on.is_main() { "two" } else { "dev" }
            );
            assert!(r.stashes().await.unwrap().is_empty());
            let committed = f.commit(on, "what was stashed").await;
            assert_eq!(committed.tables.iter().map(|(_, s)| s.rows()).sum::<i64>(), 3);
            assert!(is_clean(f, on).await);
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stash_in_conflict_waits_and_stays() {
    on_all(async |f| {
        let r = &f.repository;
        f.set(&f.main, "t", 1, "stashed", None).await;
        r.stash_push(&f.main, None, &ada()).await.unwrap();
        f.set(&f.main, "t", 1, "committed", None).await;
        f.commit(&f.main, "the same row").await;
        let head = r.hash_of(&f.main, "HEAD").await.unwrap();
        let (_, picked) = r.stash_pop(&f.main, None, Strategy::Field, &ada()).await.unwrap();
        assert_eq!(picked.conflicts, 1);
        r.sequence_abort(&f.main, Verb::Stash).await.unwrap();
        assert_eq!(r.stashes().await.unwrap().len(), 1, "the stash stays");
        r.stash_pop(&f.main, Some("stash@{0}"), Strategy::Field, &ada()).await.unwrap();
        r.resolve_conflicts(&f.main, &take(Side::Theirs)).await.unwrap();
        r.sequence_continue(&f.main, Verb::Stash, &ada(), None).await.unwrap();
        assert_eq!(f.row(&f.main, "t", 1).await.unwrap().0, "stashed");
        assert_eq!(r.hash_of(&f.main, "HEAD").await.unwrap(), head, "no commit is made");
        assert_eq!(r.status(&f.main).await.unwrap().len(), 1);
        assert!(r.stashes().await.unwrap().is_empty());
        // An uncommitted row isn't overwritten.
        r.stash_push(&f.main, None, &ada()).await.unwrap();
        f.set(&f.main, "t", 1, "in the way", None).await;
        let error = r.stash_pop(&f.main, None, Strategy::Theirs, &ada()).await.unwrap_err();
        assert_eq!(error.code(), "55000", "{error}");
        assert_eq!(f.row(&f.main, "t", 1).await.unwrap().0, "in the way");
        assert_eq!(r.stashes().await.unwrap().len(), 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stashes_are_listed_dropped_and_cleared() {
    let f = Fixture::new().await;
    let r = &f.repository;
    assert_eq!(r.stash_pop(&f.main, None, Strategy::Field, &ada()).await.unwrap_err().code(), "55000");
    for name in [Some("a"), None, Some("b")] {
        f.set(&f.main, "t", 1, name.unwrap_or("none"), None).await;
        r.stash_push(&f.main, name, &ada()).await.unwrap();
    }
    let names = async || r.stashes().await.unwrap().into_iter().map(|s| s.name).collect::<Vec<_>>();
    assert_eq!(names().await, ["b", "stash@{1}", "a"]);
    f.set(&f.main, "t", 1, "again", None).await;
    assert_eq!(r.stash_push(&f.main, Some("a"), &ada()).await.unwrap_err().code(), "42710");
    assert_eq!(r.stash_push(&f.main, Some("x@{1}"), &ada()).await.unwrap_err().code(), "42602");
    assert_eq!(f.row(&f.main, "t", 1).await.unwrap().0, "again");
    assert_eq!(r.stash_drop(Some("nowhere")).await.unwrap_err().code(), "42704");
    assert_eq!(r.stash_drop(Some("stash@{1}")).await.unwrap().name, "stash@{1}");
    assert_eq!(names().await, ["b", "a"]);
    assert_eq!(r.stash_clear().await.unwrap().len(), 2);
    assert!(names().await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn history_is_squashed_without_a_change_of_rows() {
    on_all(async |f| {
        let dev = forked(f).await;
        let r = &f.repository;
        f.set(&dev, "t", 7, "uncommitted", None).await;
        let (rows, old) = (f.rows(&dev).await, r.hash_of(&dev, "HEAD").await.unwrap());
        let hash = r.squash_history(&dev, "dev~3", None, &ada()).await.unwrap();
        let log = r.log(&dev, &LogQuery::default()).await.unwrap();
        assert_eq!(log[0].hash, hash);
        assert_eq!(log[0].message, "Squash 3 commits\n\nfirst\n\nsecond\n\nthird");
        assert_eq!(log[0].tables.iter().map(|(_, s)| s.rows()).sum::<i64>(), 4);
        assert_eq!(log[1].hash, r.hash_of(&dev, "main~1").await.unwrap());
        assert_eq!(f.rows(&dev).await, rows);
        assert_eq!(r.status(&dev).await.unwrap().iter().map(|s| s.stats.rows()).sum::<i64>(), 1);
        assert_eq!(f.rows(&f.checkout(&old).await).await, f.rows(&f.checkout(&hash).await).await);
        for wrong in ["HEAD", "main"] {
            assert_eq!(
                r.squash_history(&dev, wrong, None, &ada()).await.unwrap_err().code(),
                "22023",
                "{wrong}"
            );
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_promotion_is_whole_or_nothing() {
    let f = Fixture::new().await;
    let dev = conflicting(&f).await;
    let r = &f.repository;
    let (before, head) = (f.rows(&f.main).await, r.hash_of(&f.main, "HEAD").await.unwrap());
    let error = r.promote(&f.main, "dev", "main", None, &ada()).await.unwrap_err();
    assert_eq!(error.code(), "55000", "{error}");
    assert_eq!((f.rows(&f.main).await, r.hash_of(&f.main, "HEAD").await.unwrap()), (before, head));
    assert!(r.conflicts(&f.main, None).await.unwrap().is_empty());
    assert!(r.tags().await.unwrap().is_empty());
    r.merge(&dev, "main", &MergeOptions { strategy: Strategy::Ours, ..MergeOptions::default() })
        .await
        .unwrap();
    let done = r.promote(&dev, "dev", "main", Some("v1"), &ada()).await.unwrap();
    assert_eq!((done.tag.as_str(), done.fast_forward), ("v1", true));
    assert_eq!(r.hash_of(&f.main, "v1").await.unwrap(), r.hash_of(&f.main, "main").await.unwrap());
    assert_eq!(f.rows(&f.main).await, f.rows(&dev).await);
    assert_eq!(r.promote(&dev, "dev", "main", Some("v1"), &ada()).await.unwrap_err().code(), "42710");
    assert_eq!(r.promote(&dev, "dev", "nowhere", None, &ada()).await.unwrap_err().code(), "3D000");
    assert_eq!(r.promote(&dev, "nowhere", "main", None, &ada()).await.unwrap_err().code(), "3D000");
    let again = r.promote(&dev, "dev", "main", None, &ada()).await.unwrap();
    assert_eq!((again.hash, again.fast_forward), (done.hash, false));
    assert_eq!(r.tags().await.unwrap().len(), 2);
}
