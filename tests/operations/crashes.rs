//! A process that dies at each step of an operation leaves all of it or nothing.

use std::path::Path;
use std::process::Command;

use epoch::operations::{
    Checkout, CommitOptions, FAIL_POINTS, MergeOptions, PickOptions, RebaseOptions, Repository, ResetOptions,
    Strategy, Verb,
};

use super::support::{Fixture, Rows, commit_options, config, rows};

/// What the child does.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Operation {
    Commit,
    FastForward,
    Merge,
    Reset,
    CherryPick,
    Revert,
    Squash,
    Promote,
    StashPush,
    StashPop,
}

impl Operation {
    const ALL: [Self; 10] = [
        Self::Commit,
        Self::FastForward,
        Self::Merge,
        Self::Reset,
        Self::CherryPick,
        Self::Revert,
        Self::Squash,
        Self::Promote,
        Self::StashPush,
        Self::StashPop,
    ];

    /// The branch it happens on, and that it shows afterwards.
    async fn run(self, repository: &Repository) -> epoch::Result<()> {
        let on = |name: &'static str| repository.checkout(name, None);
        match self {
            Self::Commit => {
                let options = CommitOptions { skip_empty: true, ..commit_options("by the child") };
                repository.commit(&on("dev").await?, &options).await.map(drop)
            }
            Self::FastForward => {
                repository.merge(&on("behind").await?, "dev", &MergeOptions::default()).await.map(drop)
            }
            Self::Merge => {
                repository.merge(&on("main").await?, "dev", &MergeOptions::default()).await.map(drop)
            }
            Self::Reset => {
                let target = Some("dev~1".to_owned());
                let options = ResetOptions { hard: true, target, ..ResetOptions::default() };
                repository.reset(&on("dev").await?, &options).await.map(drop)
            }
            Self::CherryPick => {
                let options = PickOptions::default();
                repository.cherry_pick(&on("main").await?, &["dev".to_owned()], &options).await.map(drop)
            }
            Self::Revert => {
                let options = PickOptions::default();
                repository.revert(&on("dev").await?, &["dev".to_owned()], &options).await.map(drop)
            }
            Self::Squash => {
                let author = epoch::operations::Author::default();
                repository.squash_history(&on("dev").await?, "dev~1", None, &author).await.map(drop)
            }
            Self::Promote => {
                let author = epoch::operations::Author::default();
                let main = on("main").await?;
                repository.promote(&main, "dev", "main", Some("promoted"), &author).await.map(drop)
            }
            Self::StashPush => {
                let author = epoch::operations::Author::default();
                repository.stash_push(&on("dev").await?, None, &author).await.map(drop)
            }
            Self::StashPop => {
                let author = epoch::operations::Author::default();
                repository.stash_pop(&on("dev").await?, None, Strategy::Field, &author).await.map(drop)
            }
        }
    }

    fn branch(self) -> &'static str {
        match self {
            Self::Commit | Self::Reset | Self::Revert | Self::Squash | Self::StashPush | Self::StashPop => {
                "dev"
            }
            Self::FastForward => "behind",
            Self::Merge | Self::CherryPick | Self::Promote => "main",
        }
    }
}

/// Runs in the child process only.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "started by the other tests of this module"]
async fn child() {
    let Some(folder) = std::env::var_os("EPOCH_TEST_FOLDER") else { return };
    let wanted = std::env::var("EPOCH_TEST_OPERATION").unwrap();
    let operation = Operation::ALL.into_iter().find(|o| format!("{o:?}") == wanted).unwrap();
    let repository = Repository::open(&config(Path::new(&folder))).await.unwrap();
    operation.run(&repository).await.unwrap();
}

fn run_child(folder: &Path, operation: Operation, fail_point: &str) -> bool {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "crashes::child", "--ignored", "--test-threads=1"])
        .env("EPOCH_TEST_FOLDER", folder)
        .env("EPOCH_TEST_OPERATION", format!("{operation:?}"))
        .env("EPOCH_FAILPOINT", fail_point)
        .output()
        .unwrap();
    output.status.success()
}

/// main, dev ahead of it by a commit and with uncommitted changes, main ahead by another commit.
async fn prepare(two_backends: bool) -> Fixture {
    let f = Fixture::new().await;
    let dev = f.branch("dev", &f.main).await;
    f.branch("behind", &f.main).await;
    f.set(&dev, "t", 1, "dev", None).await;
    f.delete(&dev, "u", 1).await;
    if two_backends {
        f.set(&dev, "v", 1, "dev", None).await;
    }
    f.commit(&dev, "dev").await;
    f.set(&f.main, "t", 2, "main", None).await;
    f.commit(&f.main, "main").await;
    f
}

async fn make_pending(f: &Fixture, two_backends: bool) {
    let dev = f.checkout("dev").await;
    f.set(&dev, "t", 3, "pending", None).await;
    f.set(&dev, "u", 7, "pending", None).await;
    if two_backends {
        f.set(&dev, "v", 2, "pending", None).await;
    }
}

/// What the branch's head and working state show, and its head.
async fn look(repository: &Repository, branch: &str) -> (Rows, Rows, String) {
    let on: Checkout = repository.checkout(branch, None).await.unwrap();
    let hash = repository.hash_of(&on, "HEAD").await.unwrap();
    let head = repository.checkout(&hash, None).await.unwrap();
    (rows(repository, &head).await, rows(repository, &on).await, hash)
}

async fn all_or_nothing(operation: Operation, two_backends: bool) {
    // No backend seals anything for a squash.
    let seals = operation != Operation::Squash;
    for fail_point in FAIL_POINTS.iter().filter(|f| seals || **f != "first-sealed") {
        let context = format!("{operation:?} at {fail_point}, two backends: {two_backends}");
        let f = prepare(two_backends).await;
        if operation == Operation::Commit {
            make_pending(&f, two_backends).await;
        }
        let before = look(&f.repository, operation.branch()).await;
        let Fixture { folder, repository, .. } = f;
        drop(repository);
        assert!(!run_child(folder.path(), operation, fail_point), "the child must die: {context}");

        let repository = Repository::open(&config(folder.path())).await.unwrap();
        let after = look(&repository, operation.branch()).await;
        if *fail_point == "journal-written" || (*fail_point == "all-sealed" && !seals) {
            assert_eq!(after, before, "nothing: {context}");
            operation.run(&repository).await.unwrap();
        } else {
            assert_ne!(after.2, before.2, "all: {context}");
        }
        let done = look(&repository, operation.branch()).await;
        assert_eq!(done.0, done.1, "the head shows all of it: {context}");
        if operation == Operation::Squash {
            assert_eq!(done.0, before.0, "{context}");
        } else {
            assert_ne!(done.0, before.0, "{context}");
        }
        if operation == Operation::Promote {
            let tagged =
                repository.hash_of(&repository.checkout("main", None).await.unwrap(), "promoted").await;
            assert_eq!(tagged.unwrap(), done.2, "the tag comes with the head: {context}");
        }
        if operation == Operation::Commit {
            assert_eq!(done.1, before.1, "{context}");
        }
        let on = repository.checkout(operation.branch(), None).await.unwrap();
        assert!(repository.status(&on).await.unwrap().is_empty(), "{context}");
        // The repository goes on.
        super::support::set(&repository, &on, "u", 50, "next", None).await;
        repository.commit(&on, &commit_options("next")).await.unwrap();
    }
}

macro_rules! crash_tests {
    ($($name:ident: $operation:ident, $two:literal;)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            all_or_nothing(Operation::$operation, $two).await;
        }
    )*};
}

crash_tests! {
    a_commit_on_one_backend: Commit, false;
    a_commit_on_two_backends: Commit, true;
    a_fast_forward_on_one_backend: FastForward, false;
    a_fast_forward_on_two_backends: FastForward, true;
    a_merge_on_one_backend: Merge, false;
    a_merge_on_two_backends: Merge, true;
    a_reset_on_two_backends: Reset, true;
    a_cherry_pick_on_two_backends: CherryPick, true;
    a_revert_on_one_backend: Revert, false;
    a_revert_on_two_backends: Revert, true;
    a_squash_on_two_backends: Squash, true;
    a_promotion_on_two_backends: Promote, true;
}

/// What is stashed goes when the stash is safe, and the next stash isn't in the way of what a crash left.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stash_that_dies_loses_no_row() {
    for fail_point in FAIL_POINTS {
        let f = prepare(true).await;
        make_pending(&f, true).await;
        let before = look(&f.repository, "dev").await;
        let Fixture { folder, repository, .. } = f;
        drop(repository);
        assert!(
            !run_child(folder.path(), Operation::StashPush, fail_point),
            "the child must die: {fail_point}"
        );
        let repository = Repository::open(&config(folder.path())).await.unwrap();
        assert_eq!(look(&repository, "dev").await, before, "{fail_point}");
        let names: Vec<_> = repository.branches().await.unwrap().into_iter().map(|b| b.name).collect();
        assert_eq!(names, ["behind", "dev", "main"], "{fail_point}");
        Operation::StashPush.run(&repository).await.unwrap();
        let stashed = look(&repository, "dev").await;
        assert_eq!(stashed.0, stashed.1, "{fail_point}");
        Operation::StashPop.run(&repository).await.unwrap();
        assert_eq!(look(&repository, "dev").await, before, "{fail_point}");
    }
}

/// A stash that comes back half on a crash would lose the other half: it is there or it is back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stash_is_there_or_back() {
    for fail_point in FAIL_POINTS {
        let f = prepare(true).await;
        make_pending(&f, true).await;
        let dev = f.checkout("dev").await;
        let dirty = f.rows(&dev).await;
        f.repository.stash_push(&dev, None, &epoch::operations::Author::default()).await.unwrap();
        let clean = f.rows(&dev).await;
        assert_ne!(clean, dirty);
        let Fixture { folder, repository, .. } = f;
        drop(repository);
        assert!(
            !run_child(folder.path(), Operation::StashPop, fail_point),
            "the child must die: {fail_point}"
        );
        let repository = Repository::open(&config(folder.path())).await.unwrap();
        let there = repository.stashes().await.unwrap().len() == 1;
        assert_eq!(there, *fail_point == "journal-written", "{fail_point}");
        assert_eq!(
            look(&repository, "dev").await.1,
            if there { clean } else { dirty.clone() },
            "{fail_point}"
        );
        if there {
            Operation::StashPop.run(&repository).await.unwrap();
        }
        assert_eq!(look(&repository, "dev").await.1, dirty, "{fail_point}");
        repository.commit(&dev, &commit_options("what was stashed")).await.unwrap();
        assert!(repository.status(&dev).await.unwrap().is_empty());
        let done = look(&repository, "dev").await;
        assert_eq!((&done.0, &done.1), (&dirty, &dirty), "{fail_point}");
    }
}

/// What a child that dies somewhere in a sequence of commits leaves can be continued, or aborted, and ends the same.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Many {
    CherryPick,
    Rebase,
}

impl Many {
    async fn start(self, repository: &Repository) {
        let main = repository.checkout("main", None).await.unwrap();
        let dev = repository.checkout("dev", None).await.unwrap();
        match self {
            Self::CherryPick => {
                let range = ["main..dev".to_owned()];
                repository.cherry_pick(&main, &range, &PickOptions::default()).await.map(drop).unwrap();
            }
            Self::Rebase => {
                repository.rebase(&dev, "main", &RebaseOptions::default()).await.map(drop).unwrap()
            }
        }
    }

    fn verb(self) -> Verb {
        if self == Self::Rebase { Verb::Rebase } else { Verb::CherryPick }
    }

    fn branch(self) -> &'static str {
        if self == Self::Rebase { "dev" } else { "main" }
    }
}

/// Runs in the child process only.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "started by the other tests of this module"]
async fn child_of_many() {
    let Some(folder) = std::env::var_os("EPOCH_TEST_FOLDER") else { return };
    let wanted = std::env::var("EPOCH_TEST_OPERATION").unwrap();
    let many = [Many::CherryPick, Many::Rebase].into_iter().find(|m| format!("{m:?}") == wanted).unwrap();
    many.start(&Repository::open(&config(Path::new(&folder))).await.unwrap()).await;
}

async fn continued_or_aborted(many: Many) {
    let whole = prepare_many().await;
    many.start(&whole.repository).await;
    let whole = whole.rows(&whole.checkout(many.branch()).await).await;
    for (fail_point, abort) in FAIL_POINTS.iter().flat_map(|f| [(f, false), (f, true)]) {
        let context = format!("{many:?} at {fail_point}, abort: {abort}");
        let f = prepare_many().await;
        let before = look(&f.repository, many.branch()).await;
        let Fixture { folder, repository, .. } = f;
        drop(repository);
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "crashes::child_of_many", "--ignored", "--test-threads=1"])
            .env("EPOCH_TEST_FOLDER", folder.path())
            .env("EPOCH_TEST_OPERATION", format!("{many:?}"))
            .env("EPOCH_FAILPOINT", fail_point)
            .output()
            .unwrap();
        assert!(!output.status.success(), "the child must die: {context}");
        let repository = Repository::open(&config(folder.path())).await.unwrap();
        let on = repository.checkout(many.branch(), None).await.unwrap();
        if many == Many::Rebase {
            assert_eq!(
                look(&repository, many.branch()).await,
                before,
                "the branch moves at the end: {context}"
            );
        }
        let author = epoch::operations::Author::default();
        // A cherry-pick that died before its first commit never began.
        let began = many == Many::Rebase || *fail_point != "journal-written";
        if abort {
            let aborted = repository.sequence_abort(&on, many.verb()).await;
            assert_eq!(aborted.is_ok(), began, "{context}: {aborted:?}");
            assert_eq!(look(&repository, many.branch()).await, before, "{context}");
            continue;
        }
        match began {
            true => drop(repository.sequence_continue(&on, many.verb(), &author, None).await.unwrap()),
            false => many.start(&repository).await,
        }
        let done = look(&repository, many.branch()).await;
        assert_eq!((&done.0, &done.1), (&whole, &whole), "{context}");
        let log = repository.log(&on, &epoch::operations::LogQuery::default()).await.unwrap();
        let messages: Vec<_> = log.iter().take(4).map(|c| c.message.as_str()).collect();
        assert_eq!(messages, ["c", "b", "a", "main"], "{context}");
    }
}

/// Three commits on dev, each on other backends; one on main.
async fn prepare_many() -> Fixture {
    let f = Fixture::new().await;
    let dev = f.branch("dev", &f.main).await;
    for (message, tables) in [("a", &["t"][..]), ("b", &["u", "v"]), ("c", &["t", "v"])] {
        for table in tables {
            f.set(&dev, table, 5, message, None).await;
        }
        f.commit(&dev, message).await;
    }
    f.set(&f.main, "t", 2, "main", None).await;
    f.commit(&f.main, "main").await;
    f
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cherry_pick_of_many_commits_goes_on_after_a_crash() {
    continued_or_aborted(Many::CherryPick).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rebase_goes_on_after_a_crash() {
    continued_or_aborted(Many::Rebase).await;
}

/// A child that isn't told to die finishes: otherwise the tests above would show nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_fail_point_the_child_finishes() {
    let f = prepare(true).await;
    make_pending(&f, true).await;
    assert!(run_child(f.folder.path(), Operation::Commit, "none"));
    let dev = f.checkout("dev").await;
    assert!(f.repository.status(&dev).await.unwrap().is_empty());
}
