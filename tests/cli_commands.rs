//! `epoch` on a repository of its own, from the outside.

#![allow(missing_docs, clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

/// A folder with a SQLite database of two tables, registered and committed.
struct Repo(TempDir);

impl Repo {
    fn empty() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn with_users() -> Self {
        let repo = Self::empty();
        let database = rusqlite::Connection::open(repo.path().join("shop.db")).unwrap();
        database
            .execute_batch(
                "CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT NOT NULL, city TEXT);
                 INSERT INTO users VALUES (1, 'Ada', 'Lisbon'), (2, 'Ben', 'Oslo'), (3, 'Chloe', NULL);
                 CREATE TABLE notes (text TEXT);",
            )
            .unwrap();
        repo.ok(&["init", "shop", "--sqlite", "shop=shop.db"]);
        repo.ok(&["table", "add", "users"]);
        repo.ok(&["commit", "-m", "first", "--allow-empty"]);
        repo
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_epoch"));
        command.args(args).current_dir(self.path()).env("HOME", self.path()).env("USER", "tester");
        for name in ["EPOCH_CONFIG_FILE", "EPOCH_PASSWORD", "NO_COLOR"] {
            command.env_remove(name);
        }
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// Succeeds; its stdout.
    fn ok(&self, args: &[&str]) -> String {
        let out = self.run(args);
        assert!(out.status.success(), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8(out.stdout).unwrap()
    }

    /// Fails with this exit code; its stderr.
    fn fails(&self, code: i32, args: &[&str]) -> String {
        let out = self.run(args);
        let stderr = String::from_utf8(out.stderr).unwrap();
        assert_eq!(out.status.code(), Some(code), "{args:?}: {stderr}");
        stderr
    }

    fn json(&self, args: &[&str]) -> Value {
        serde_json::from_str(&self.ok(&[args, &["--json"]].concat())).unwrap()
    }

    fn sql(&self, sql: &str) {
        self.ok(&["query", sql]);
    }
}

#[test]
fn a_working_day() {
    let repo = Repo::with_users();
    assert!(repo.ok(&["checkout", "-b", "feature/x"]).contains("switched to a new branch 'feature/x'"));
    repo.sql("UPDATE users SET city = 'Porto' WHERE id = 1");
    repo.sql("INSERT INTO users VALUES (4, 'Dev', 'Pune')");
    repo.sql("DELETE FROM users WHERE id = 2");
    let status = repo.ok(&["status"]);
    assert!(status.contains("On branch feature/x") && status.contains("+1 ~1 -1"), "{status}");
    repo.ok(&["commit", "-m", "Ada moves"]);
    assert!(repo.ok(&["status"]).contains("nothing to commit"));

    let diff = repo.ok(&["diff", "main..feature/x"]);
    for line in ["~ id=1  city: Lisbon → Porto", "+ id=4  name=Dev  city=Pune", "- id=2  name=Ben  city=Oslo"]
    {
        assert!(diff.contains(line), "{diff}");
    }
    repo.ok(&["checkout", "main"]);
    let rows = repo.json(&["query", "SELECT city FROM users WHERE id = 1"]);
    assert_eq!(rows[0]["city"], "Lisbon");
    assert!(repo.ok(&["merge", "feature/x"]).contains("feature/x") || !repo.ok(&["log"]).is_empty());
    let rows = repo.json(&["query", "SELECT id, city FROM users ORDER BY id"]);
    assert_eq!(rows.as_array().unwrap().len(), 3);
    assert_eq!(rows[0]["city"], "Porto");
    assert!(repo.ok(&["log", "--oneline"]).contains("Ada moves"));
    repo.ok(&["tag", "v1", "-m", "one"]);
    assert_eq!(repo.json(&["tag"])[0]["name"], "v1");
    repo.ok(&["branch", "-d", "feature/x"]);
    let branches = repo.json(&["branch"]);
    assert_eq!(branches.as_array().unwrap().len(), 1);
    assert_eq!(branches[0]["name"], "main");
}

#[test]
fn a_merge_with_a_conflict_exits_with_3_until_it_is_resolved() {
    let repo = Repo::with_users();
    repo.ok(&["checkout", "-b", "other"]);
    repo.sql("UPDATE users SET name = 'Theirs' WHERE id = 1");
    repo.ok(&["commit", "-m", "theirs"]);
    repo.ok(&["checkout", "main"]);
    repo.sql("UPDATE users SET name = 'Ours', city = 'Rome' WHERE id = 1");
    repo.ok(&["commit", "-m", "ours"]);

    assert_eq!(repo.run(&["merge", "other"]).status.code(), Some(3));
    assert_eq!(repo.json(&["conflicts"])[0]["num_conflicts"], 1);
    let conflict = &repo.json(&["conflicts", "users"])[0];
    assert_eq!((&conflict["our_name"], &conflict["their_name"]), (&"Ours".into(), &"Theirs".into()));
    repo.fails(1, &["merge", "--continue"]);
    repo.ok(&["conflicts", "resolve", "value", "users", "--key", "1", "--column", "name", "--value", "Both"]);
    repo.ok(&["merge", "--continue"]);
    let rows = repo.json(&["query", "SELECT name, city FROM users WHERE id = 1"]);
    assert_eq!((&rows[0]["name"], &rows[0]["city"]), (&"Both".into(), &"Rome".into()));
}

#[test]
fn what_is_checked_out_is_remembered_and_may_be_overridden() {
    let repo = Repo::with_users();
    repo.ok(&["branch", "a"]);
    assert!(repo.ok(&["status", "--on", "a"]).contains("On branch a"));
    assert!(repo.ok(&["status"]).contains("On branch main"));
    repo.ok(&["checkout", "a"]);
    assert!(repo.ok(&["status"]).contains("On branch a"));
    repo.ok(&["branch", "-D", "a", "--on", "main"]);
    assert!(repo.fails(1, &["status"]).contains("epoch checkout main"));
    repo.ok(&["checkout", "main"]);
    assert!(repo.ok(&["status"]).contains("On branch main"));
}

#[test]
fn exit_codes_tell_usage_from_failure() {
    let repo = Repo::with_users();
    for args in [&["frobnicate"][..], &["merge", "--fast"], &["reset"], &["branch", "-d"]] {
        repo.fails(2, args);
    }
    for args in
        [&["checkout", "nowhere"][..], &["commit", "-m", "nothing changed"], &["table", "add", "notes"]]
    {
        repo.fails(1, args);
    }
    assert!(repo.fails(1, &["checkout", "mian"]).contains("main"));
    let error: Value = serde_json::from_str(&repo.fails(1, &["checkout", "nowhere", "--json"])).unwrap();
    assert_eq!(error["error"]["code"], "3D000");
}

#[test]
fn without_a_configuration_it_says_what_to_do() {
    assert!(Repo::empty().fails(1, &["status"]).contains("epoch init"));
}

#[test]
fn init_does_not_overwrite() {
    let repo = Repo::with_users();
    assert!(repo.fails(1, &["init"]).contains("exists already"));
}

#[test]
fn discover_says_what_can_be_registered() {
    let repo = Repo::with_users();
    let tables = repo.json(&["table", "discover"]);
    let of = |name: &str| {
        let found = tables.as_array().unwrap().iter().find(|t| t["table_name"] == name);
        found.unwrap_or_else(|| panic!("{name} in {tables}")).clone()
    };
    assert_eq!((&of("users")["registered"], &of("users")["key"]), (&true.into(), &serde_json::json!(["id"])));
    assert!(of("notes")["reason"].is_string(), "a table without a key");
    repo.ok(&["table", "remove", "users"]);
    assert_eq!(repo.json(&["table", "list"]), serde_json::json!([]));
}

#[test]
fn colour_is_for_terminals_or_on_demand() {
    let repo = Repo::with_users();
    assert!(!repo.ok(&["log"]).contains('\u{1b}'));
    assert!(repo.ok(&["log", "--color", "always"]).contains('\u{1b}'));
}

#[test]
fn a_user_is_made_without_echoing_the_password() {
    let repo = Repo::with_users();
    let out = repo.command(&["user", "add", "ann"]).env("EPOCH_PASSWORD", "hunter2").output().unwrap();
    let line = String::from_utf8(out.stdout).unwrap();
    assert!(line.starts_with("ann = \"SCRAM-SHA-256$4096:") && !line.contains("hunter2"), "{line}");
    let add = |name: &str| {
        let mut command = repo.command(&["user", "add", name, "--write"]);
        assert!(command.env("EPOCH_PASSWORD", "hunter2").output().unwrap().status.success());
    };
    add("ann");
    add("bob");
    add("ann");
    let file = std::fs::read_to_string(repo.path().join("epoch.toml")).unwrap();
    assert_eq!(file.matches("SCRAM-SHA-256$").count(), 2, "{file}");
    assert!(repo.ok(&["status"]).contains("On branch main"), "the file still loads");
}

#[test]
fn completions_name_the_verbs() {
    let repo = Repo::empty();
    for shell in ["bash", "zsh", "fish"] {
        let script = repo.ok(&["completions", shell]);
        assert!(script.contains("checkout") && script.contains("discover"), "{shell}");
    }
}

#[test]
fn the_demo_is_made_once() {
    let repo = Repo::empty();
    repo.ok(&["demo", "--no-serve"]);
    let config = ["--config", "demo-data/epoch.toml"];
    let tables = repo.json(&[&["table", "list"], &config[..]].concat());
    assert_eq!(tables.as_array().unwrap().len(), 5);
    let log = repo.json(&[&["log"], &config[..]].concat());
    let database = repo.path().join("demo-data/shop.db");
    let open = || rusqlite::Connection::open(&database).unwrap();
    open().execute("UPDATE customers SET name = 'Still here' WHERE id = 7", []).unwrap();
    repo.ok(&["demo", "--no-serve"]);
    assert_eq!(repo.json(&[&["log"], &config[..]].concat()), log);
    let name = open().query_row("SELECT name FROM customers WHERE id = 7", [], |row| row.get::<_, String>(0));
    assert_eq!(name.unwrap(), "Still here");
}

/// On a terminal, which `script` makes; elsewhere nothing is between the command and who reads.
#[test]
fn a_diff_is_paged_on_a_terminal() {
    let repo = Repo::with_users();
    let database = rusqlite::Connection::open(repo.path().join("shop.db")).unwrap();
    database.execute_batch("UPDATE users SET city = 'Porto' WHERE id = 1").unwrap();
    let epoch = env!("CARGO_BIN_EXE_epoch");
    let on_terminal = |arguments: &str, pager: &str| {
        let mut command = Command::new("script");
        command.args(["-qec", &format!("{epoch} {arguments}"), "/dev/null"]);
        command.current_dir(repo.path()).env("HOME", repo.path()).env("USER", "tester");
        command.env("TERM", "xterm").env("EPOCH_PAGER", pager).env_remove("NO_COLOR");
        let output = command.stdin(std::process::Stdio::null()).output();
        output.ok().map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let pager = "sed s/^/paged:/";
    let Some(paged) = on_terminal("diff", pager) else {
        println!("skipped: there is no program script");
        return;
    };
    assert!(paged.contains("paged:") && paged.contains("Porto"), "{paged}");
    assert!(paged.contains("\u{1b}["), "colours stay: {paged}");
    for (arguments, pager) in
        [("--no-pager diff", pager), ("--json diff", pager), ("diff", ""), ("status", pager)]
    {
        let shown = on_terminal(arguments, pager).unwrap();
        assert!(!shown.contains("paged:") && shown.contains("users"), "{arguments}: {shown}");
    }
    // A pager that isn't there hides nothing.
    assert!(on_terminal("diff", "no-such-pager-here").unwrap().contains("Porto"));
    let piped = repo.command(&["diff"]).env("EPOCH_PAGER", pager).output().unwrap();
    let piped = String::from_utf8(piped.stdout).unwrap();
    assert!(!piped.contains("paged:") && piped.contains("Porto"), "{piped}");
}
