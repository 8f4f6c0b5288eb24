//! The functions of the SQL surface that came with the verbs: arguments, columns, refusals.

use epoch::functions::{self, Arg, Args, Kind, Outcome, Session};
use epoch::operations::{Checkout, Strategy};

use super::support::{Fixture, ada};

fn session<'a>(f: &'a Fixture, on: &'a Checkout) -> Session<'a> {
    Session {
        repository: &f.repository,
        checkout: on,
        author: ada(),
        read_only: !on.is_branch(),
        in_transaction: false,
        branch_in_use: &|_| false,
        strategy: Strategy::Field,
        explain: None,
    }
}

async fn call(f: &Fixture, on: &Checkout, name: &str, args: &[&str]) -> epoch::Result<Outcome> {
    functions::call(&session(f, on), name, &Args::texts(args.iter().copied())).await
}

/// Cells as text, some columns only.
fn cells(outcome: &Outcome, columns: &[&str]) -> Vec<Vec<String>> {
    let index = |name: &&str| outcome.columns.iter().position(|c| c.name == **name).unwrap();
    let wanted: Vec<_> = columns.iter().map(index).collect();
    let text = |row: &Vec<Option<String>>, i: usize| row[i].clone().unwrap_or_else(|| "NULL".to_owned());
    outcome.rows.iter().map(|row| wanted.iter().map(|&i| text(row, i)).collect()).collect()
}

async fn ask(f: &Fixture, on: &Checkout, name: &str, args: &[&str], columns: &[&str]) -> Vec<Vec<String>> {
    let outcome = call(f, on, name, args).await.unwrap_or_else(|e| panic!("{name} {args:?}: {e}"));
    for row in &outcome.rows {
        assert_eq!(row.len(), outcome.columns.len(), "{name}: cells and columns");
    }
    cells(&outcome, columns)
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

const NEW: &[(&str, &[&str])] = &[
    ("epoch_cherry_pick", &["main"]),
    ("epoch_revert", &["main"]),
    ("epoch_rebase", &["main"]),
    ("epoch_rebase_edit", &["1", "drop"]),
    ("epoch_stash", &["push"]),
    ("epoch_squash_history", &["main"]),
    ("epoch_promote", &["dev", "main"]),
    ("epoch_undrop", &["gone"]),
    ("epoch_merge_rule", &["t", "n", "sum"]),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changing_functions_are_refused_where_they_cannot_work() {
    let f = Fixture::new().await;
    let commit = f.checkout(&f.repository.hash_of(&f.main, "HEAD").await.unwrap()).await;
    for (name, args) in NEW {
        let function = functions::find(name).unwrap();
        assert_eq!(function.kind, Kind::Mutating, "{name}");
        assert_eq!(call(&f, &commit, name, args).await.unwrap_err().code(), "25006", "{name}");
        let open = Session { in_transaction: true, ..session(&f, &f.main) };
        let args = Args::texts(args.iter().copied());
        assert_eq!(functions::call(&open, name, &args).await.unwrap_err().code(), "25001", "{name}");
        let error = functions::relation(&session(&f, &f.main), name, &args).await.unwrap_err();
        assert_eq!(error.code(), "0A000", "{name} in a larger query");
        let error = call(&f, &f.main, name, &["--frobnicate"]).await.unwrap_err();
        assert_eq!(error.code(), "22023", "{name}");
        assert!(error.hint().unwrap().contains("knows"), "{name}: {error:?}");
    }
    assert!(call(&f, &commit, "epoch_stash", &["list"]).await.unwrap().rows.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn arguments_that_make_no_sense_are_refused() {
    let f = Fixture::new().await;
    for (name, args) in [
        ("epoch_cherry_pick", &[][..]),
        ("epoch_cherry_pick", &["--continue", "--abort"]),
        ("epoch_cherry_pick", &["main", "--abort"]),
        ("epoch_cherry_pick", &["main", "-m", "first"]),
        ("epoch_cherry_pick", &["main", "--message", "x"]),
        ("epoch_revert", &["--continue", "-m", "1"]),
        ("epoch_revert", &["main", "--strategy", "best"]),
        ("epoch_rebase", &[]),
        ("epoch_rebase", &["-i"]),
        ("epoch_rebase", &["main", "--continue"]),
        ("epoch_rebase_edit", &["1"]),
        ("epoch_rebase_edit", &["one", "drop"]),
        ("epoch_stash", &[]),
        ("epoch_stash", &["apply"]),
        ("epoch_stash", &["list", "x"]),
        ("epoch_stash", &["pop", "--abort"]),
        ("epoch_squash_history", &[]),
        ("epoch_squash_history", &["main", "-m", " "]),
        ("epoch_promote", &["main"]),
        ("epoch_merge_rule", &["t", "n"]),
        ("epoch_merge_rule", &["-d", "t", "n", "sum"]),
        ("epoch_merge", &["main", "--no-commit", "--dry-run"]),
        ("epoch_branch", &["x", "--ttl", "soon"]),
        ("epoch_branch", &["-d", "x", "--ttl", "1 day"]),
        ("epoch_history", &["t", "1", "2"]),
        ("epoch_preview_merge", &["main", "--strategy", "best"]),
    ] {
        let error = call(&f, &f.main, name, args).await.unwrap_err();
        assert_eq!(error.code(), "22023", "{name} {args:?}: {error}");
    }
    for (name, args) in [
        ("epoch_cherry_pick", &["nowhere"][..]),
        ("epoch_rebase", &["nowhere"]),
        ("epoch_undrop", &["nowhere"]),
        ("epoch_blame", &["t", "nowhere"]),
        ("epoch_history", &["t", "--ref", "nowhere"]),
        ("epoch_hashof_table", &["t", "nowhere"]),
        ("epoch_patch", &["nowhere", "main"]),
        ("epoch_reflog", &["nowhere"]),
        ("epoch_preview_merge", &["nowhere"]),
    ] {
        let error = call(&f, &f.main, name, args).await.unwrap_err();
        assert_eq!(error.code(), "3D000", "{name} {args:?}: {error}");
    }
    for name in ["epoch_blame", "epoch_history", "epoch_hashof_table", "epoch_all_branches"] {
        assert_eq!(call(&f, &f.main, name, &["nothing"]).await.unwrap_err().code(), "42P01", "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn picks_and_rebases_report_their_columns() {
    let f = Fixture::new().await;
    let dev = f.branch("dev", &f.main).await;
    f.set(&dev, "t", 1, "dev", None).await;
    let hash = f.commit(&dev, "on dev").await.hash;
    f.set(&f.main, "t", 1, "main", None).await;
    f.commit(&f.main, "on main").await;
    let columns = ["data_conflicts", "schema_conflicts", "constraint_violations"];
    assert_eq!(ask(&f, &f.main, "epoch_cherry_pick", &["dev"], &columns).await, [["1", "0", "0"]]);
    assert_eq!(ask(&f, &f.main, "epoch_conflicts", &["t"], &["our_a", "their_a"]).await, [["main", "dev"]]);
    let resolved = call(&f, &f.main, "epoch_conflicts_resolve", &["ours"]).await.unwrap();
    let notice = "all conflicts are resolved: epoch_cherry_pick('--continue') finishes";
    assert_eq!(resolved.notices, [notice]);
    call(&f, &f.main, "epoch_cherry_pick", &["--abort"]).await.unwrap();
    assert_eq!(
        ask(&f, &f.main, "epoch_cherry_pick", &["dev", "--strategy", "theirs"], &columns).await,
        [["0", "0", "0"]]
    );
    assert_eq!(f.row(&f.main, "t", 1).await.unwrap().0, "dev");
    assert_eq!(ask(&f, &f.main, "epoch_revert", &["HEAD"], &columns).await, [["0", "0", "0"]]);
    assert_eq!(f.row(&f.main, "t", 1).await.unwrap().0, "main");
    let status = ["status"];
    assert_eq!(ask(&f, &dev, "epoch_rebase", &["-i", "main"], &status).await, [["planned"]]);
    let plan =
        ask(&f, &dev, "epoch.rebase_plan", &[], &["rebase_order", "action", "commit_hash", "commit_message"])
            .await;
    assert_eq!(plan, [["1", "pick", &hash, "on dev"]]);
    let edited =
        ask(&f, &dev, "epoch_rebase_edit", &["1", "reword", "renamed"], &["action", "commit_message"]).await;
    assert_eq!(edited, [["reword", "renamed"]]);
    assert_eq!(ask(&f, &dev, "epoch_rebase", &["--continue"], &status).await, [["conflicts"]]);
    assert_eq!(ask(&f, &dev, "epoch_rebase", &["--abort"], &status).await, [["aborted"]]);
    assert_eq!(ask(&f, &dev, "epoch_rebase", &["main", "--strategy", "theirs"], &status).await, [["done"]]);
    assert_eq!(f.row(&dev, "t", 1).await.unwrap().0, "dev");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stashes_report_their_columns() {
    let f = Fixture::new().await;
    f.set(&f.main, "t", 1, "stashed", None).await;
    assert_eq!(
        ask(&f, &f.main, "epoch_stash", &["push", "mine"], &["name", "status"]).await,
        [["mine", "pushed"]]
    );
    assert_eq!(ask(&f, &f.main, "epoch.stashes", &[], &["name", "branch"]).await, [["mine", "main"]]);
    assert_eq!(ask(&f, &f.main, "epoch_stash", &["list"], &["name", "status"]).await, [["mine", "on main"]]);
    assert_eq!(
        ask(&f, &f.main, "epoch_stash", &["pop", "mine"], &["name", "status"]).await,
        [["mine", "popped"]]
    );
    f.repository.stash_push(&f.main, None, &ada()).await.unwrap();
    assert_eq!(
        ask(&f, &f.main, "epoch_stash", &["drop"], &["name", "status"]).await,
        [["stash@{0}", "dropped"]]
    );
    assert!(call(&f, &f.main, "epoch_stash", &["clear"]).await.unwrap().rows.is_empty());
}

/// A table of the same name got the same number, and with it the old repository's branches: their rows showed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_repository_does_not_take_over_what_another_one_left() {
    on_all(async |f| {
        let dev = f.branch("dev", &f.main).await;
        f.set(&dev, "t", 1, "ours", None).await;
        let other = f.stranger().await;
        for table in ["t", "v"] {
            let error = other.register(table, None, None).await.unwrap_err();
            assert!(error.message().contains("belongs to another repository"), "{error}");
            assert_ne!(error.code(), "XX000");
        }
        assert_eq!(f.row(&dev, "t", 1).await.unwrap().0, "ours");
        for table in ["t", "u", "v"] {
            f.repository.unregister(table, true).await.unwrap();
        }
        other.register("t", None, None).await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn history_and_blame_follow_a_row_through_merges() {
    on_all(async |f| {
        let dev = f.branch("dev", &f.main).await;
        f.set(&f.main, "t", 1, "main", None).await;
        f.commit(&f.main, "one on main").await;
        f.set(&dev, "t", 1, "dev", None).await;
        f.set(&dev, "t", 2, "dev", None).await;
        f.commit(&dev, "one and two on dev").await;
        let ours = Args::texts(["dev", "--strategy", "ours"]);
        functions::call(&session(f, &f.main), "epoch_merge", &ours).await.unwrap();
        f.delete(&f.main, "t", 2).await;
        f.set(&f.main, "t", 4, "four", Some(4)).await;
        f.commit(&f.main, "two goes, four comes").await;
        f.set(&f.main, "t", 3, "uncommitted", None).await;
        let blame = ask(f, &f.main, "epoch_blame", &["t"], &["id", "message", "author"]).await;
        let expected =
            [["1", "one on main", "Tester"], ["3", "NULL", "NULL"], ["4", "two goes, four comes", "Tester"]];
        assert_eq!(blame, expected, "not the commit whose change the merge dropped");
        let blame = ask(f, &f.main, "epoch_blame", &["t", "HEAD~1"], &["id", "message"]).await;
        assert_eq!(blame, [["1", "one on main"], ["2", "one and two on dev"], ["3", "NULL"]]);
        let history = ask(f, &f.main, "epoch_history", &["t", "2"], &["diff_type", "id", "a"]).await;
        assert_eq!(history, [["removed", "2", "dev"], ["modified", "2", "dev"]]);
        let all = call(f, &f.main, "epoch_history", &["t"]).await.unwrap();
        let names: Vec<_> = all.columns.iter().map(|c| c.name.as_str()).collect();
        assert_eq!(names, ["commit_hash", "author", "date", "diff_type", "id", "a", "n"]);
        let kinds = cells(&all, &["id", "diff_type"]);
        assert_eq!(
            kinds,
            [["2", "removed"], ["4", "added"], ["1", "modified"], ["2", "modified"], ["1", "modified"]]
        );
        assert!(ask(f, &f.main, "epoch_history", &["t", "3"], &["id"]).await.is_empty());
        let early = ask(f, &f.main, "epoch_history", &["t", "--ref", "HEAD~2"], &["id", "a"]).await;
        assert_eq!(early, [["1", "main"]]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_hash_of_a_table_is_that_of_its_rows() {
    on_all(async |f| {
        let dev = f.branch("dev", &f.main).await;
        let hash = async |on: &Checkout, args: &[&str]| {
            ask(f, on, "epoch_hashof_table", args, &["epoch_hashof_table"]).await[0][0].clone()
        };
        let start = hash(&f.main, &["t"]).await;
        assert_eq!(start.len(), 64);
        assert_eq!(hash(&dev, &["t"]).await, start);
        assert_eq!(hash(&dev, &["u"]).await, start, "same columns, same rows");
        f.set(&dev, "t", 1, "dev", None).await;
        let changed = hash(&dev, &["t"]).await;
        assert_ne!(changed, start);
        assert_eq!(hash(&dev, &["t", "HEAD"]).await, start);
        f.set(&f.main, "t", 1, "dev", None).await;
        assert_eq!(hash(&f.main, &["t"]).await, changed);
        f.delete(&dev, "t", 3).await;
        assert_ne!(hash(&dev, &["t"]).await, changed);
        f.set(&dev, "t", 3, "three", None).await;
        assert_eq!(hash(&dev, &["t"]).await, changed);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_patch_makes_one_ref_of_another() {
    on_all(async |f| {
        let dev = f.branch("dev", &f.main).await;
        f.set(&dev, "t", 1, "it's \\ a 'quote'", Some(-5)).await;
        f.set(&dev, "t", 2, "two", None).await;
        f.delete(&dev, "t", 3).await;
        f.set(&dev, "t", 9, "new", Some(9)).await;
        f.set(&dev, "u", 1, "u", None).await;
        f.commit(&dev, "many changes").await;
        let patch = call(f, &f.main, "epoch_patch", &["main", "dev"]).await.unwrap();
        let kinds = cells(&patch, &["statement_order", "table_name", "diff_type"]);
        let expected = [
            ["1", "t", "removed"],
            ["2", "t", "modified"],
            ["3", "t", "modified"],
            ["4", "u", "modified"],
            ["5", "t", "added"],
        ];
        assert_eq!(kinds, expected);
        for statement in cells(&patch, &["statement"]).concat() {
            f.direct_sql("one", &statement).await;
        }
        assert_eq!(f.rows(&f.main).await, f.rows(&dev).await);
        assert!(call(f, &f.main, "epoch_patch", &["dev", "WORKING"]).await.unwrap().rows.is_empty());
        assert_eq!(call(f, &f.main, "epoch_patch", &["main..dev", "u"]).await.unwrap().rows.len(), 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_branches_show_one_table() {
    on_all(async |f| {
        let dev = f.branch("dev", &f.main).await;
        f.set(&dev, "t", 1, "dev", None).await;
        f.delete(&dev, "t", 2).await;
        let nested = f.branch("nested", &dev).await;
        f.set(&nested, "t", 9, "nested", Some(1)).await;
        f.commit(&dev, "dev").await;
        f.set(&f.main, "t", 3, "main", None).await;
        let mut rows = ask(f, &dev, "epoch_all_branches", &["t"], &["_branch", "id", "a"]).await;
        rows.sort();
        let mut expected = Vec::new();
        for on in [&dev, &f.main, &nested] {
            for ((table, id), (a, _)) in f.rows(on).await {
                if table == "t" {
                    expected.push(vec![on.name.clone(), id.to_string(), a]);
                }
            }
        }
        expected.sort();
        assert_eq!(rows, expected);
        assert_eq!(rows.len(), 2 + 3 + 4);
    })
    .await;
}

/// Layers are counted together, what is below them once for all that have the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn counts_of_branches_are_those_of_their_rows() {
    on_all(async |f| {
        let mut on = vec![f.main.clone(), f.branch("early", &f.main).await];
        f.set(&on[1], "t", 20, "early", None).await;
        f.delete(&on[1], "t", 1).await;
        f.delete(&on[1], "t", 2).await;
        f.set(&on[1], "t", 2, "again", None).await;
        on.push(f.branch("untouched", &f.main).await);
        f.set(&f.main, "t", 10, "main", None).await;
        f.delete(&f.main, "t", 3).await;
        f.commit(&f.main, "main moves").await;
        on.push(f.branch("late", &f.main).await);
        f.delete(&on[3], "t", 10).await;
        f.commit(&on[1], "early").await;
        // One that has a layer of its own, and one that has its parent's as of the fork.
        on.push(f.branch("nested", &on[1]).await);
        f.delete(&on[4], "t", 20).await;
        on.push(f.branch("reader", &on[1]).await);
        f.set(&on[1], "t", 21, "after the fork", None).await;
        f.set(&f.main, "t", 11, "uncommitted", None).await;
        f.delete(&f.main, "t", 1).await;
        let mut expected = Vec::new();
        for on in &on {
            let rows = f.rows(on).await;
            let count = rows.iter().filter(|((table, _), _)| table == "t").count();
            expected.push(vec![on.name.clone(), count.to_string()]);
        }
        expected.sort();
        let counted = ask(f, &f.main, "epoch_all_branches", &["t", "--count"], &["_branch", "count"]).await;
        assert_eq!(counted, expected);
        assert_ne!(counted[0][1], counted[1][1], "they differ");
    })
    .await;
}

/// The history of one key is told by its images; it is that part of the history of all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_history_of_a_key_is_its_part_of_all_history() {
    on_all(async |f| {
        let dev = f.branch("dev", &f.main).await;
        for round in 0..3 {
            f.set(&f.main, "t", 1, &format!("main {round}"), Some(round)).await;
            f.set(&f.main, "t", 7 + round, "new", None).await;
            f.commit(&f.main, "main").await;
            f.set(&dev, "t", 2, &format!("dev {round}"), None).await;
            f.commit(&dev, "dev").await;
        }
        f.delete(&dev, "t", 2).await;
        f.commit(&dev, "gone").await;
        f.set(&dev, "t", 2, "back", None).await;
        f.commit(&dev, "back").await;
        let nested = f.branch("nested", &dev).await;
        f.set(&nested, "t", 2, "nested", None).await;
        f.set(&nested, "t", 1, "nested", None).await;
        f.commit(&nested, "nested").await;
        call(f, &f.main, "epoch_merge", &["nested", "--strategy", "theirs"]).await.unwrap();
        f.set(&f.main, "t", 2, "after the merge", None).await;
        f.commit(&f.main, "after the merge").await;
        call(f, &f.main, "epoch_revert", &["HEAD"]).await.unwrap();
        call(f, &f.main, "epoch_reset", &["--hard", "HEAD~1"]).await.unwrap();
        f.set(&f.main, "t", 1, "pending", None).await;
        let columns = ["commit_hash", "diff_type", "id", "a", "n"];
        for on in [&f.main, &dev, &nested] {
            let all = ask(f, on, "epoch_history", &["t"], &columns).await;
            assert!(all.len() >= 5, "{all:?}");
            for key in 1..11 {
                let key = key.to_string();
                let of_key: Vec<_> = all.iter().filter(|row| row[2] == key).cloned().collect();
                assert_eq!(
                    ask(f, on, "epoch_history", &["t", &key], &columns).await,
                    of_key,
                    "{} {key}",
                    on.name
                );
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deleted_branches_come_back_with_their_rows() {
    on_all(async |f| {
        let dev = f.branch("dev", &f.main).await;
        f.set(&dev, "t", 1, "committed", None).await;
        let hash = f.commit(&dev, "dev").await.hash;
        f.set(&dev, "u", 1, "uncommitted", None).await;
        let rows = f.rows(&dev).await;
        call(f, &f.main, "epoch_branch", &["-D", "dev"]).await.unwrap();
        assert_eq!(f.repository.checkout("dev", None).await.unwrap_err().code(), "3D000");
        let error = call(f, &f.main, "epoch_undrop", &["deb"]).await.unwrap_err();
        assert!(error.hint().unwrap().contains("dev"), "{error:?}");
        let back = ask(f, &f.main, "epoch_undrop", &["dev"], &["name", "hash", "status"]).await;
        assert_eq!(back, [["dev", &hash, "restored"]]);
        let dev = f.checkout("dev").await;
        assert_eq!(f.rows(&dev).await, rows);
        f.commit(&dev, "what was uncommitted").await;
        assert_eq!(call(f, &f.main, "epoch_undrop", &["dev"]).await.unwrap_err().code(), "3D000", "once");
        call(f, &f.main, "epoch_branch", &["-D", "dev"]).await.unwrap();
        f.branch("dev", &f.main).await;
        assert_eq!(call(f, &f.main, "epoch_undrop", &["dev"]).await.unwrap_err().code(), "42710");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_reflog_says_where_a_head_was() {
    let f = Fixture::new().await;
    let dev = f.branch("dev", &f.main).await;
    f.set(&dev, "t", 1, "dev", None).await;
    let first = f.commit(&dev, "first").await.hash;
    f.repository.squash_history(&dev, "HEAD~1", Some("squashed"), &ada()).await.unwrap();
    let log = ask(&f, &dev, "epoch_reflog", &[], &["selector", "action", "previous_hash"]).await;
    assert_eq!(log[0], ["dev@{0}", "squash history", &first]);
    assert_eq!(log[1][..2], ["dev@{1}", "commit: first"]);
    assert_eq!(log.len(), 3);
    assert_eq!(f.repository.hash_of(&dev, "dev@{1}").await.unwrap(), first);
    assert_eq!(ask(&f, &f.main, "epoch_reflog", &["dev"], &["selector"]).await.len(), 3);
    assert_eq!(call(&f, &f.main, "epoch_reflog", &[&first]).await.unwrap_err().code(), "22023");
    let tag = f.checkout(&first).await;
    assert!(call(&f, &tag, "epoch.reflog", &[]).await.unwrap().rows.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn branches_end_when_their_time_is_over() {
    on_all(async |f| {
        call(f, &f.main, "epoch_branch", &["short", "--ttl", "1 second"]).await.unwrap();
        let args = Args::texts(["long"]).with("ttl", Arg::Text("7 days".to_owned()));
        functions::call(&session(f, &f.main), "epoch_branch", &args).await.unwrap();
        call(f, &f.main, "epoch_branch", &["ever"]).await.unwrap();
        let expiries = ask(f, &f.main, "epoch.branches", &[], &["name", "expires_at"]).await;
        let ends: Vec<_> = expiries.iter().map(|row| (row[0].as_str(), row[1] != "NULL")).collect();
        assert_eq!(ends, [("ever", false), ("long", true), ("main", false), ("short", true)]);
        // Whoever is on a branch keeps it.
        let reaped = loop {
            assert!(f.repository.reap(&|name| name == "short").await.unwrap().is_empty());
            let reaped = f.repository.reap(&|_| false).await.unwrap();
            if !reaped.is_empty() {
                break reaped;
            }
            tokio::task::yield_now().await;
        };
        assert_eq!(reaped, ["short"]);
        assert_eq!(f.repository.checkout("short", None).await.unwrap_err().code(), "3D000");
        call(f, &f.main, "epoch_undrop", &["short"]).await.unwrap();
        assert!(f.repository.reap(&|_| false).await.unwrap().is_empty(), "what was brought back stays");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn branches_are_renamed_copied_and_forced() {
    let f = Fixture::new().await;
    let dev = f.branch("dev", &f.main).await;
    f.set(&dev, "t", 1, "dev", None).await;
    let hash = f.commit(&dev, "dev").await.hash;
    let moved = ask(&f, &dev, "epoch_branch", &["-m", "feature"], &["name", "status"]).await;
    assert_eq!(moved, [["feature", "renamed"]]);
    let feature = f.checkout("feature").await;
    assert_eq!(f.row(&feature, "t", 1).await.unwrap().0, "dev");
    assert_eq!(f.repository.checkout("dev", None).await.unwrap_err().code(), "3D000");
    let copied = ask(&f, &f.main, "epoch_branch", &["-c", "feature", "copy"], &["name", "hash"]).await;
    assert_eq!(copied, [["copy", &hash]]);
    let copy = f.checkout("copy").await;
    f.set(&copy, "t", 1, "copy", None).await;
    assert_eq!(f.row(&feature, "t", 1).await.unwrap().0, "dev", "a copy is a branch of its own");
    for args in [&["copy", "main"][..], &["-m", "feature", "copy"], &["-c", "feature", "copy"]] {
        assert_eq!(call(&f, &f.main, "epoch_branch", args).await.unwrap_err().code(), "42710", "{args:?}");
    }
    call(&f, &f.main, "epoch_branch", &["-f", "copy", "main"]).await.unwrap();
    assert_eq!(f.row(&f.checkout("copy").await, "t", 1).await.unwrap().0, "one");
    call(&f, &f.main, "epoch_branch", &["-m", "-f", "feature", "copy"]).await.unwrap();
    assert_eq!(f.row(&f.checkout("copy").await, "t", 1).await.unwrap().0, "dev");
    for args in [&["-m", "main", "x"][..], &["-f", "main", "copy"]] {
        assert_eq!(call(&f, &f.main, "epoch_branch", args).await.unwrap_err().code(), "55000", "{args:?}");
    }
    call(&f, &f.main, "epoch_tag", &["v1", "copy", "-m", "the first"]).await.unwrap();
    assert_eq!(
        ask(&f, &f.main, "epoch.tags", &[], &["name", "hash", "message"]).await,
        [["v1", &hash, "the first"]]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rules_and_previews_report_their_columns() {
    let f = Fixture::new().await;
    assert_eq!(
        ask(&f, &f.main, "epoch_merge_rule", &["t", "n", "sum"], &["table_name", "column_name", "rule"])
            .await,
        [["t", "n", "sum"]]
    );
    assert_eq!(ask(&f, &f.main, "epoch.merge_rules", &[], &["table_name", "rule"]).await, [["t", "sum"]]);
    let dev = f.branch("dev", &f.main).await;
    f.set(&dev, "t", 1, "dev", Some(3)).await;
    f.delete(&dev, "t", 2).await;
    f.set(&dev, "v", 9, "new", None).await;
    f.commit(&dev, "dev").await;
    f.set(&f.main, "t", 1, "main", Some(5)).await;
    f.commit(&f.main, "main").await;
    let columns = ["table_name", "rows_added", "rows_modified", "rows_deleted", "conflicts"];
    let tables = ask(&f, &f.main, "epoch_preview_merge", &["dev"], &columns).await;
    assert_eq!(tables, [["t", "0", "0", "1", "1"], ["v", "1", "0", "0", "0"]]);
    let columns = ["base_a", "our_a", "their_a", "result_a", "conflict"];
    let rows =
        ask(&f, &f.main, "epoch_preview_merge", &["dev", "main", "t", "--strategy", "theirs"], &columns)
            .await;
    assert_eq!(rows, [["one", "main", "dev", "dev", "NULL"], ["two", "two", "NULL", "NULL", "NULL"]]);
    let rows =
        ask(&f, &dev, "epoch_preview_merge", &["dev", "main", "t"], &["our_n", "result_n", "conflict"]).await;
    assert_eq!(rows[0], ["5", "NULL", "modify/modify"]);
    assert_eq!(ask(&f, &f.main, "epoch_merge_rule", &["-d", "t", "n"], &["rule"]).await, [["none"]]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn status_names_who_wrote_to_main_and_when() {
    let Some(f) = Fixture::postgres().await else { return };
    let before = chrono::Utc::now() - chrono::TimeDelta::seconds(60);
    f.set(&f.main, "u", 1, "ours", Some(1)).await;
    f.direct_sql("one", "UPDATE t SET n = 7 WHERE id = 1; UPDATE t SET n = 8 WHERE id IN (1, 2)").await;
    f.direct_sql("one", "DELETE FROM t WHERE id = 3").await;
    let status = f.repository.status(&f.main).await.unwrap();
    let of = |name: &str| status.iter().find(|s| s.table_name == name).unwrap().clone();
    assert_eq!(of("u").writers, None);
    let writers = of("t").writers.unwrap();
    let user = f.text("one", "SELECT session_user::text").await;
    assert_eq!(writers.roles, std::slice::from_ref(&user));
    assert!(before.timestamp_micros() < writers.first && writers.first < writers.last, "{writers:?}");
    assert!(writers.last < (chrono::Utc::now() + chrono::TimeDelta::seconds(60)).timestamp_micros());
    assert_eq!(f.count("one", "SELECT count(*) FROM epoch.writer").await, 2, "once per transaction");
    let columns = ["table_name", "changed_by"];
    let told = ask(&f, &f.main, "epoch_status", &[], &columns).await;
    assert_eq!(told, [["t".to_owned(), format!("{{{user}}}")], ["u".to_owned(), "NULL".to_owned()]]);
    f.commit(&f.main, "all").await;
    assert!(f.repository.status(&f.main).await.unwrap().is_empty());
    // What is committed needs no note.
    for n in 0..20 {
        f.direct_sql("one", &format!("UPDATE t SET n = {n} + 100 WHERE id = 1")).await;
        f.commit(&f.main, "another").await;
    }
    assert!(f.count("one", "SELECT count(*) FROM epoch.writer").await < 17);
    f.finish().await;
}
