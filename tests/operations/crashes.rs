//! A process that dies at each step of an operation leaves all of it or nothing.

use std::path::Path;
use std::process::Command;

use epoch::operations::{Checkout, CommitOptions, FAIL_POINTS, MergeOptions, Repository, ResetOptions};

use super::support::{Fixture, Rows, commit_options, config, rows};

/// What the child does.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Operation {
    Commit,
    FastForward,
    Merge,
    Reset,
}

impl Operation {
    const ALL: [Self; 4] = [Self::Commit, Self::FastForward, Self::Merge, Self::Reset];

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
        }
    }

    fn branch(self) -> &'static str {
        match self {
            Self::Commit | Self::Reset => "dev",
            Self::FastForward => "behind",
            Self::Merge => "main",
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
    for fail_point in FAIL_POINTS {
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
        if *fail_point == "journal-written" {
            assert_eq!(after, before, "nothing: {context}");
            operation.run(&repository).await.unwrap();
        } else {
            assert_ne!(after.2, before.2, "all: {context}");
        }
        let done = look(&repository, operation.branch()).await;
        assert_eq!(done.0, done.1, "the head shows all of it: {context}");
        assert_ne!(done.0, before.0, "{context}");
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
