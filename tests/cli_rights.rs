//! Rights, protections and the audit from the command line.

#![allow(missing_docs, clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::process::{Command, Output};

use serde_json::Value;

struct Repo(tempfile::TempDir);

impl Repo {
    fn new() -> Self {
        let repo = Self(tempfile::tempdir().unwrap());
        let database = rusqlite::Connection::open(repo.0.path().join("shop.db")).unwrap();
        database
            .execute_batch(
                "CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT NOT NULL);
                 CREATE TABLE secrets (id INTEGER PRIMARY KEY, text TEXT);
                 INSERT INTO users VALUES (1, 'Ada'), (2, 'Ben');",
            )
            .unwrap();
        repo.ok(&["init", "shop", "--sqlite", "shop=shop.db"]);
        repo.ok(&["table", "add", "*"]);
        repo.ok(&["commit", "-m", "first", "--allow-empty"]);
        repo
    }

    fn run(&self, args: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_epoch"));
        command.args(args).current_dir(self.0.path()).env("HOME", self.0.path()).env("USER", "tester");
        for name in ["EPOCH_CONFIG_FILE", "EPOCH_PASSWORD", "NO_COLOR"] {
            command.env_remove(name);
        }
        command.output().unwrap()
    }

    fn ok(&self, args: &[&str]) -> String {
        let out = self.run(args);
        assert!(out.status.success(), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8(out.stdout).unwrap()
    }

    fn json(&self, args: &[&str]) -> Value {
        serde_json::from_str(&self.ok(&[args, &["--json"]].concat())).unwrap()
    }

    /// The SQLSTATE of a failure.
    fn fails(&self, args: &[&str]) -> String {
        let out = self.run(&[args, &["--json"]].concat());
        assert!(!out.status.success(), "{args:?}");
        let error: Value = serde_json::from_slice(&out.stderr)
            .unwrap_or_else(|e| panic!("{args:?}: {e}: {}", String::from_utf8_lossy(&out.stderr)));
        error["error"]["code"].as_str().unwrap().to_owned()
    }
}

#[test]
fn the_owner_may_everything_and_a_user_what_is_granted() {
    let repo = Repo::new();
    assert_eq!(repo.fails(&["grant", "ann", "read", "main"]), "55000");
    repo.ok(&["grant", "root", "admin"]);
    repo.ok(&["grant", "ann", "read", "main", "--tables", "users"]);
    repo.ok(&["grant", "staff", "write", "dev/*"]);
    repo.ok(&["grant", "staff", "--to", "ann"]);
    assert_eq!(repo.json(&["members"])[0]["member"], "ann");
    assert_eq!(repo.json(&["grants"]).as_array().unwrap().len(), 3);
    assert_eq!(repo.json(&["grants", "--as", "ann"]).as_array().unwrap().len(), 2);
    assert_eq!(repo.fails(&["commit", "-m", "x", "--allow-empty", "--as", "ann"]), "42501");
    assert_eq!(repo.fails(&["log", "--as", "eve"]), "42501");
    assert_eq!(repo.fails(&["audit", "--as", "ann"]), "42501");
    repo.ok(&["log", "--as", "ann"]);
    repo.ok(&["query", "--as", "ann", "SELECT * FROM users"]);
    assert_eq!(repo.fails(&["query", "--as", "ann", "SELECT * FROM secrets"]), "42501");
    // Her branch would show her what she may not read on main.
    assert_eq!(repo.fails(&["branch", "dev/x", "--as", "ann"]), "42501");
    repo.ok(&["branch", "dev/x"]);
    repo.ok(&["query", "--as", "ann", "--on", "dev/x", "UPDATE users SET name = 'Ann' WHERE id = 1"]);
    repo.ok(&["commit", "--as", "ann", "--on", "dev/x", "-m", "Ann"]);
    assert_eq!(repo.fails(&["merge", "dev/x", "--as", "ann"]), "42501");
    repo.ok(&["merge", "dev/x"]);
    repo.ok(&["revoke", "ann", "all", "main", "--tables", "users"]);
    assert_eq!(repo.fails(&["query", "--as", "ann", "SELECT * FROM users"]), "42501");
    let audit = repo.json(&["audit", "-n", "3"]);
    let shown: Vec<_> = audit
        .as_array()
        .unwrap()
        .iter()
        .map(|row| {
            [&row["user_name"], &row["client"], &row["operation"], &row["result"]].map(Value::to_string)
        })
        .collect();
    let row = |user: &str, operation: &str, result: &str| {
        [user, "command line", operation, result].map(|text| format!("\"{text}\""))
    };
    assert_eq!(
        shown,
        [
            row("tester", "epoch_revoke", "ok"),
            row("tester", "epoch_merge", "ok"),
            row("ann", "epoch_merge", "42501")
        ]
    );
}

#[test]
fn a_protected_branch_is_protected_from_its_owner_too() {
    let repo = Repo::new();
    repo.ok(&["branch", "dev"]);
    repo.ok(&["protect", "main"]);
    assert_eq!(repo.json(&["protections"])[0]["branches"], "main");
    assert_eq!(repo.fails(&["commit", "-m", "x", "--allow-empty"]), "42501");
    assert_eq!(repo.fails(&["query", "DELETE FROM users"]), "42501");
    repo.ok(&["query", "--on", "dev", "DELETE FROM users WHERE id = 2"]);
    repo.ok(&["commit", "--on", "dev", "-m", "Ben left"]);
    repo.ok(&["merge", "dev"]);
    repo.ok(&["protect", "-d", "main"]);
    repo.ok(&["query", "DELETE FROM users"]);
    repo.ok(&["commit", "-m", "all left"]);
}

#[test]
fn hooks_of_the_configuration_have_a_say() {
    let repo = Repo::new();
    let file = repo.0.path().join("epoch.toml");
    let text = std::fs::read_to_string(&file).unwrap()
        + "\n[hooks.someone]\nevent = \"pre-commit\"\nsql = \"SELECT count(*) > 0 FROM users\"\n\
           [hooks.words]\nevent = \"pre-commit\"\ncommand = \"grep -q '\\\"message\\\":\\\"[A-Z]'\"\n";
    std::fs::write(&file, text).unwrap();
    repo.ok(&["query", "DELETE FROM users"]);
    assert_eq!(repo.fails(&["commit", "-m", "Nobody is left"]), "P0001");
    repo.ok(&["query", "INSERT INTO users VALUES (3, 'Cleo')"]);
    assert_eq!(repo.fails(&["commit", "-m", "small"]), "P0001");
    repo.ok(&["commit", "-m", "Cleo is here"]);
    let results: Vec<_> =
        repo.json(&["hook-runs"]).as_array().unwrap().iter().map(|r| r["result"].clone()).collect();
    assert_eq!(results, ["ok", "ok", "refused", "ok", "refused"]);
}
