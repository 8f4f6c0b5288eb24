//! Garbage collection, verification and differences of definitions through the proxy.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::process::Command;

use common::Fixture;
use common::database::Database;
use common::proxy::{Proxy, ProxyConfig};

const USERS: &str = "CREATE TABLE users (id int PRIMARY KEY, name text NOT NULL); \
                     CREATE TABLE orders (id int PRIMARY KEY, user_id int REFERENCES users, total numeric(12,2)); \
                     INSERT INTO users VALUES (1, 'Ada'), (2, 'Ben'); INSERT INTO orders VALUES (1, 1, 10)";

/// Nothing is kept for later, but for branches of that name.
fn shop() -> Fixture {
    let db = Database::create();
    db.connect().exec(USERS);
    let extra = "[retention]\n\"kept/*\" = \"forever\"\n\"*\" = \"none\"\n".to_owned();
    let proxy = Proxy::start(ProxyConfig { extra, ..ProxyConfig::postgres(&db.url()) });
    let fixture = Fixture { proxy, db };
    fixture.main().exec("SELECT * FROM epoch_register('public.*')");
    fixture
}

const SCHEMAS: &str = "SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'epoch\\_b%'";

#[test]
fn tables_made_and_altered_on_a_deleted_branch_go_too() {
    need_postgres!();
    let shop = shop();
    let mut main = shop.main();
    let mut dev = shop.branch("dev");
    dev.exec("CREATE TABLE note (id int PRIMARY KEY, user_id int REFERENCES users, body text)");
    dev.exec("INSERT INTO note VALUES (1, 1, 'a note')");
    dev.exec("ALTER TABLE orders ADD COLUMN paid bool NOT NULL DEFAULT false");
    dev.exec("UPDATE orders SET paid = true");
    dev.exec("SELECT epoch_commit('on dev')");
    dev.exec("ALTER TABLE orders ADD COLUMN note text");
    dev.exec("SELECT epoch_commit('more')");
    // The child has the versions of its parent, and one of its own.
    let mut child = {
        dev.exec("SELECT * FROM epoch_branch('child')");
        shop.on("child")
    };
    child.exec("ALTER TABLE note ADD COLUMN at date");
    child.exec("SELECT epoch_commit('on child')");
    assert!(main.lines("SELECT * FROM epoch_gc()").is_empty());
    let mut direct = shop.direct();
    let made: i64 = direct.one(SCHEMAS).parse().unwrap();
    assert!(made >= 4, "{made}");
    drop(dev);
    main.exec("SELECT epoch_branch('-D', 'dev')");
    // What the child stands on stays.
    main.exec("SELECT * FROM epoch_gc()");
    assert_eq!(
        child.lines("SELECT o.id, paid, o.note, body, at FROM orders o JOIN note USING (user_id)"),
        ["1|t||a note|"]
    );
    assert_eq!(shop.on("child~1").lines("SELECT body FROM note"), ["a note"]);
    let dry = "SELECT object, bytes FROM epoch_gc('--dry-run')";
    assert!(main.lines(dry).is_empty());
    drop(child);
    main.exec("SELECT epoch_branch('-D', 'child')");
    let said = main.lines(dry);
    assert!(said.iter().any(|row| row.starts_with("table note (")), "{said:?}");
    assert_eq!(main.lines("SELECT object, bytes FROM epoch_gc()"), said, "as the dry run said");
    assert_eq!(direct.one(SCHEMAS), "0");
    assert!(main.lines(dry).is_empty());
    let error = main.err("SELECT epoch_undrop('dev')");
    assert_eq!(error.code(), "3D000");
    assert!(error.message().contains("cannot be brought back"), "{error:?}");
    // All goes on.
    let mut dev = shop.branch("dev");
    dev.exec("ALTER TABLE orders ADD COLUMN paid bool");
    dev.exec("SELECT epoch_commit('again')");
    main.exec("SELECT epoch_merge('dev')");
    assert_eq!(main.lines("SELECT id, paid FROM orders"), ["1|"]);
    // The version that main had is needed for its commits.
    main.exec("SELECT * FROM epoch_gc()");
    assert_eq!(shop.on("main~1").lines("SELECT * FROM orders"), ["1|1|10.00"]);
}

#[test]
fn a_session_on_what_is_collected_is_told() {
    need_postgres!();
    let shop = shop();
    let mut main = shop.main();
    let mut dev = shop.branch("dev");
    dev.exec("UPDATE users SET name = 'Ada L.' WHERE id = 1");
    let hash = dev.one("SELECT hash FROM epoch_commit('on dev')");
    dev.exec("SELECT epoch_tag('v1')");
    let mut other = shop.branch("kept/other");
    other.exec("UPDATE users SET name = 'Benno' WHERE id = 2");
    let lost = other.one("SELECT hash FROM epoch_commit('on other')");
    other.exec("UPDATE users SET name = 'B.' WHERE id = 2");
    other.exec("SELECT epoch_commit('-m', 'amended', '--amend')");
    let (mut at_tag, mut at_hash, mut at_lost) = (shop.on("v1"), shop.on(&hash), shop.on(&lost));
    let name = "SELECT name FROM users ORDER BY id";
    let prepared = at_hash.extended(name, &[], false);
    assert_eq!(prepared.rows()[0][0].as_deref(), Some("Ada L."));
    main.exec("SELECT epoch_branch('-D', 'dev')");
    main.exec("SELECT * FROM epoch_gc()");
    // The tag keeps its commit, its branch's retention keeps what was amended.
    assert_eq!(at_tag.lines(name), ["Ada L.", "Ben"]);
    assert_eq!(at_hash.lines(name), ["Ada L.", "Ben"]);
    assert_eq!(at_lost.lines(name), ["Ada", "Benno"]);
    assert_eq!(dev.err(name).code(), "3D000");
    main.exec("SELECT epoch_tag('-d', 'v1')");
    main.exec("SELECT * FROM epoch_gc()");
    for conn in [&mut at_tag, &mut at_hash] {
        let error = conn.err(name);
        assert_eq!(error.code(), "3D000", "{error:?}");
        assert!(error.message().contains("garbage collection"), "{error:?}");
        let error = conn.extended(name, &[], false);
        assert_eq!(error.error().unwrap().code(), "3D000");
        assert_eq!(conn.lines("SELECT branch FROM epoch_checkout('main')"), ["main"]);
        assert_eq!(conn.lines(name), ["Ada", "Ben"]);
    }
    assert_eq!(at_lost.lines(name), ["Ada", "Benno"]);
    let database = format!("shop/{hash}");
    let refused = shop.proxy.database(&database).try_connect();
    assert!(refused.is_err(), "a commit that is gone can't be connected to");
}

#[test]
fn definitions_are_compared() {
    need_postgres!();
    let shop = shop();
    let mut main = shop.main();
    let mut dev = shop.branch("dev");
    dev.exec("ALTER TABLE orders ADD COLUMN paid bool NOT NULL DEFAULT false");
    dev.exec("ALTER TABLE orders RENAME COLUMN total TO amount");
    dev.exec("CREATE INDEX orders_paid ON orders (paid)");
    dev.exec("CREATE TABLE note (id int PRIMARY KEY, user_id int REFERENCES users (id), body text DEFAULT 'none' CHECK (body <> ''))");
    dev.exec("SELECT epoch_commit('on dev')");
    let rows = dev.rows("SELECT * FROM epoch_schema_diff('main', 'dev') ORDER BY table_name");
    let cell = |row: usize, column: usize| rows[row][column].clone();
    assert_eq!(rows.len(), 2);
    assert_eq!((cell(0, 0).as_deref(), cell(0, 1)), (Some("note"), None));
    let note = cell(0, 2).unwrap();
    for part in [
        "CREATE TABLE public.note (",
        "id integer NOT NULL",
        "body text DEFAULT 'none'::text",
        "CONSTRAINT note_pkey PRIMARY KEY (id)",
        "CHECK ((body <> ''::text))",
        "FOREIGN KEY (user_id) REFERENCES \"public\".\"users\"(id)",
    ] {
        assert!(note.contains(part), "{note} lacks {part}");
    }
    assert_eq!(cell(1, 0).as_deref(), Some("orders"));
    let (before, after) = (cell(1, 1).unwrap(), cell(1, 2).unwrap());
    assert!(before.contains("total numeric(12,2)") && !before.contains("paid"), "{before}");
    assert!(
        after.contains("amount numeric(12,2)") && after.contains("paid boolean DEFAULT false NOT NULL"),
        "{after}"
    );
    assert!(after.contains("CREATE INDEX orders_paid ON public.orders USING btree (paid);"), "{after}");
    let altered = dev.lines(
        "SELECT array_length(alter_statements, 1), alter_statements[1], alter_statements[2], alter_statements[3] \
         FROM epoch_schema_diff('main..dev', 'orders')",
    );
    assert_eq!(
        altered,
        ["3|ALTER TABLE \"public\".\"orders\" ADD COLUMN paid bool NOT NULL DEFAULT false;|\
          ALTER TABLE \"public\".\"orders\" RENAME COLUMN total TO amount;|\
          CREATE INDEX orders_paid ON \"public\".\"orders\" (paid);"]
    );
    // What it says makes the one from the other, on a database of its own.
    let other = Database::create();
    let mut copy = other.connect();
    copy.exec("CREATE TABLE users (id int PRIMARY KEY, name text NOT NULL)");
    copy.exec(&before);
    for table in ["orders", "note"] {
        let sql = format!("SELECT unnest(alter_statements) FROM epoch_schema_diff('main', 'dev', '{table}')");
        for statement in dev.rows(&sql) {
            copy.exec(statement[0].as_ref().unwrap());
        }
    }
    copy.exec("INSERT INTO users VALUES (1, 'Ada')");
    copy.exec("INSERT INTO orders (id, user_id, amount, paid) VALUES (1, 1, 5, true)");
    assert_eq!(copy.err("INSERT INTO note VALUES (1, 7, 'x')").code(), "23503");
    // The other way round it isn't known how.
    assert_eq!(
        dev.lines(
            "SELECT table_name, alter_statements IS NULL FROM epoch_schema_diff('dev', 'main') ORDER BY 1"
        ),
        ["note|f", "orders|t"]
    );
    assert_eq!(
        dev.lines("SELECT alter_statements[1] FROM epoch_schema_diff('dev', 'main', 'note')"),
        ["DROP TABLE \"public\".\"note\";"]
    );
    assert!(main.lines("SELECT * FROM epoch_schema_diff('main', 'WORKING')").is_empty());
    assert_eq!(dev.err("SELECT * FROM epoch_schema_diff('main', 'dev', 'nothing')").code(), "42P01");
}

#[test]
fn verification_is_a_relation() {
    need_postgres!();
    let shop = shop();
    let mut dev = shop.branch("dev");
    dev.exec("INSERT INTO users VALUES (3, 'Ada')");
    assert_eq!(dev.one("SELECT violations FROM epoch_verify_constraints()"), "0");
    shop.direct().exec("ALTER TABLE users ADD CONSTRAINT no_ada CHECK (name <> 'Ada') NOT VALID");
    let sql = "SELECT v.table_name, v.kind, v.constraint_name, v.key FROM epoch.constraint_violations v \
               WHERE v.kind = 'check' ORDER BY v.key";
    assert_eq!(dev.lines(sql), ["users|check|no_ada|{\"id\": 1}", "users|check|no_ada|{\"id\": 3}"]);
    assert_eq!(dev.one("SELECT violations FROM epoch_verify_constraints('users')"), "2");
    assert_eq!(dev.one("SELECT violations FROM epoch_verify_constraints('orders')"), "0");
}

/// Everything from the command line, on SQLite.
#[test]
fn the_command_line_does_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let database = rusqlite::Connection::open(folder.path().join("shop.db")).unwrap();
    database
        .execute_batch(
            "CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT NOT NULL CHECK (name <> '')); \
             INSERT INTO users VALUES (1, 'Ada'), (2, 'Ben');",
        )
        .unwrap();
    let run = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_epoch"));
        command.args(args).current_dir(folder.path()).env("HOME", folder.path()).env("USER", "tester");
        let output = command.env_remove("EPOCH_CONFIG_FILE").output().unwrap();
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let json = |args: &[&str]| -> serde_json::Value {
        serde_json::from_str(&run(&[args, &["--json"]].concat())).unwrap()
    };
    run(&["init", "shop", "--sqlite", "shop=shop.db"]);
    let config = folder.path().join("epoch.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, format!("{text}\n[retention]\n\"*\" = \"none\"\n")).unwrap();
    run(&["table", "add", "users"]);
    run(&["branch", "dev"]);
    run(&["query", "--on", "dev", "UPDATE users SET name = 'Ada L.' WHERE id = 1"]);
    run(&["commit", "--on", "dev", "-m", "on dev"]);
    run(&["branch", "-D", "dev"]);
    let dry = json(&["gc", "--dry-run"]);
    assert_eq!(dry[0]["object"], "branch dev");
    assert_eq!(dry[0]["status"], "garbage");
    let done = json(&["gc"]);
    assert_eq!((&done[0]["bytes"], &done[0]["status"]), (&dry[0]["bytes"], &serde_json::json!("removed")));
    assert_eq!(json(&["verify-constraints"])[0]["violations"], 0);
    database.execute_batch("PRAGMA ignore_check_constraints = on; INSERT INTO users VALUES (3, '')").unwrap();
    assert_eq!(json(&["verify-constraints", "users"])[0]["violations"], 1);
    let broken = json(&["constraint-violations"]);
    assert_eq!(
        (&broken[0]["kind"], &broken[0]["key"]["id"]),
        (&serde_json::json!("check"), &serde_json::json!(3))
    );
    assert_eq!(json(&["schema-diff", "main", "HEAD"]), serde_json::json!([]));
}
