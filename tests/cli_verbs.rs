//! The verbs that apply commits again, from the command line.

#![allow(missing_docs, clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::process::{Command, Output};

use serde_json::Value;

struct Repo(tempfile::TempDir);

impl Repo {
    /// Users, and a branch dev with a commit of its own that main contradicts.
    fn new() -> Self {
        let repo = Self(tempfile::tempdir().unwrap());
        let database = rusqlite::Connection::open(repo.0.path().join("shop.db")).unwrap();
        database
            .execute_batch(
                "CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT NOT NULL, visits INTEGER);
                 INSERT INTO users VALUES (1, 'Ada', 1), (2, 'Ben', 2);",
            )
            .unwrap();
        repo.ok(&["init", "shop", "--sqlite", "shop=shop.db"]);
        repo.ok(&["table", "add", "users"]);
        repo.ok(&["commit", "-m", "first", "--allow-empty"]);
        repo.ok(&["branch", "dev"]);
        repo.change("dev", "UPDATE users SET name = 'Adele' WHERE id = 1", "renamed on dev");
        repo.change("dev", "INSERT INTO users VALUES (3, 'Chloe', 3)", "Chloe");
        repo.change("main", "UPDATE users SET name = 'Ada L.' WHERE id = 1", "renamed on main");
        repo
    }

    fn change(&self, on: &str, sql: &str, message: &str) {
        self.ok(&["query", "--on", on, sql]);
        self.ok(&["commit", "--on", on, "-m", message]);
    }

    fn run(&self, args: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_epoch"));
        command.args(args).current_dir(self.0.path()).env("HOME", self.0.path()).env("USER", "tester");
        for name in ["EPOCH_CONFIG_FILE", "EPOCH_PASSWORD", "NO_COLOR"] {
            command.env_remove(name);
        }
        command.output().unwrap()
    }

    fn ends(&self, code: i32, args: &[&str]) -> String {
        let out = self.run(args);
        let stderr = String::from_utf8_lossy(&out.stderr);
        assert_eq!(out.status.code(), Some(code), "{args:?}: {stderr}");
        String::from_utf8(out.stdout).unwrap()
    }

    fn ok(&self, args: &[&str]) -> String {
        self.ends(0, args)
    }

    fn json(&self, args: &[&str]) -> Value {
        serde_json::from_str(&self.ok(&[args, &["--json"]].concat())).unwrap()
    }
}

#[test]
fn a_pick_that_stops_exits_with_3_and_goes_on() {
    let repo = Repo::new();
    repo.ends(3, &["cherry-pick", "main..dev"]);
    assert_eq!(repo.json(&["conflicts"])[0]["num_conflicts"], 1);
    repo.ends(1, &["merge", "dev"]);
    repo.ok(&["cherry-pick", "--abort"]);
    repo.ends(3, &["cherry-pick", "main..dev"]);
    repo.ok(&["conflicts", "resolve", "--theirs"]);
    repo.ok(&["cherry-pick", "--continue"]);
    let log = repo.ok(&["log", "--oneline", "-n", "2"]);
    assert!(log.contains("Chloe") && log.contains("renamed on dev"), "{log}");
    repo.ok(&["revert", "HEAD"]);
    assert_eq!(repo.json(&["query", "SELECT count(*) AS n FROM users"])[0]["n"], "2");
    repo.ends(1, &["cherry-pick", "nowhere"]);
    repo.ends(2, &["cherry-pick"]);
    repo.ends(2, &["revert", "--frobnicate"]);
}

#[test]
fn rebase_stash_and_the_rest_do_as_the_functions() {
    let repo = Repo::new();
    repo.ok(&["checkout", "dev"]);
    repo.ok(&["rebase", "-i", "main"]);
    assert_eq!(repo.json(&["rebase-plan"]).as_array().unwrap().len(), 2);
    repo.ok(&["rebase-edit", "1", "drop"]);
    repo.ok(&["rebase", "--continue"]);
    let history = repo.json(&["history", "users", "1"]);
    assert_eq!((history[0]["name"].as_str(), history.as_array().unwrap().len()), (Some("Ada L."), 1));
    repo.ok(&["query", "UPDATE users SET visits = 9 WHERE id = 2"]);
    repo.ok(&["stash", "push", "nine"]);
    assert!(repo.ok(&["status"]).contains("nothing to commit"));
    assert_eq!(repo.json(&["stash", "list"])[0]["name"], "nine");
    repo.ok(&["stash", "pop"]);
    repo.ok(&["commit", "-m", "nine visits"]);
    let blame = repo.json(&["blame", "users"]);
    let messages: Vec<_> = blame.as_array().unwrap().iter().map(|r| r["message"].as_str().unwrap()).collect();
    assert_eq!(messages, ["renamed on main", "nine visits", "Chloe"]);
    let bisect = repo.json(&["bisect", "main~1", "dev", "SELECT count(*) = 2 FROM users"]);
    assert_eq!(bisect[0]["message"], "Chloe");
    let patch = repo.ok(&["patch", "main", "dev"]);
    assert!(patch.contains("UPDATE \"users\" SET \"visits\" = 9 WHERE \"id\" = 2;"), "{patch}");
    assert_eq!(repo.json(&["preview-merge", "dev", "main"])[0]["rows_added"], 1);
    repo.ok(&["merge-rule", "users", "visits", "max"]);
    assert_eq!(repo.json(&["merge-rules"])[0]["rule"], "max");
    repo.ok(&["squash-history", "main", "-m", "all of dev"]);
    assert!(repo.ok(&["reflog"]).contains("squash history"));
    assert_eq!(repo.json(&["promote", "dev", "main", "--tag", "v1"])[0]["tag"], "v1");
    let hashes = ["main", "dev"].map(|on| repo.ok(&["hash-table", "users", "--on", on, "--json"]));
    assert_eq!(hashes[0], hashes[1]);
    assert_eq!(repo.json(&["all-branches", "users"]).as_array().unwrap().len(), 6);
    repo.ok(&["checkout", "main"]);
    repo.ok(&["branch", "-D", "dev"]);
    repo.ok(&["undrop", "dev"]);
    repo.ok(&["branch", "short", "--ttl", "1 hour"]);
    assert!(repo.json(&["branch"])[2]["expires_at"].is_string());
}

#[test]
fn conflicts_are_resolved_one_after_the_other() {
    use std::io::Write;
    let repo = Repo::new();
    repo.change("dev", "UPDATE users SET name = 'Benno', visits = 20 WHERE id = 2", "Ben on dev");
    repo.change("main", "UPDATE users SET name = 'Benny', visits = 10 WHERE id = 2", "Ben on main");
    repo.ends(3, &["merge", "dev"]);
    let answers = |args: &[&str], text: &str| -> (Option<i32>, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_epoch"));
        command.args(["conflicts", "resolve", "--interactive"]).args(args).current_dir(repo.0.path());
        command.env("HOME", repo.0.path()).env("USER", "tester").env_remove("EPOCH_CONFIG_FILE");
        command.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        let out = child.wait_with_output().unwrap();
        (out.status.code(), String::from_utf8(out.stdout).unwrap())
    };
    // The end of the input leaves the rest as it is.
    let (code, said) = answers(&["users"], "what\ns\n");
    assert_eq!(code, Some(3));
    assert!(said.contains("1/2 users  id=1  modify/modify") && said.contains("theirs  name=Adele"), "{said}");
    assert!(said.ends_with("0 conflicts resolved, 2 left\n"), "{said}");
    let (code, said) = answers(&[], "t\nc\n=Benjamin\n=many\nt\n");
    assert_eq!(code, Some(0), "{said}");
    assert!(said.ends_with("2 conflicts resolved, 0 left\n"), "{said}");
    repo.ok(&["merge", "--continue"]);
    let rows = repo.json(&["query", "SELECT name, visits FROM users WHERE id < 3 ORDER BY id"]);
    assert_eq!(
        rows,
        serde_json::json!([{"name": "Adele", "visits": "1"}, {"name": "Benjamin", "visits": "20"}])
    );
    repo.ends(2, &["conflicts", "resolve", "--interactive", "--ours"]);
}

#[test]
fn the_manual_page_is_made_from_the_commands() {
    let repo = Repo(tempfile::tempdir().unwrap());
    let page = repo.ok(&["man"]);
    assert!(page.starts_with(".TH EPOCH 1 ") && page.contains(".SS epoch merge\n"), "{page}");
}
