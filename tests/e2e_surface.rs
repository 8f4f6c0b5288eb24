//! The rest of the SQL surface through the proxy, on both routes: conflicts that are written to, and settings.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use common::Fixture;
use common::conn::Conn;
use common::message::Message;
use common::proxy::{Proxy, ProxyConfig};

const POSTGRES: &str = "CREATE TABLE account (id int PRIMARY KEY, owner text NOT NULL, balance int NOT NULL); \
     CREATE TABLE note (id int PRIMARY KEY, body text); \
     INSERT INTO account SELECT i, 'owner ' || i, 100 FROM generate_series(1, 5) i; INSERT INTO note VALUES (1, 'first')";

const SQLITE: &str = "CREATE TABLE account (id INTEGER PRIMARY KEY, owner TEXT NOT NULL, balance INTEGER NOT NULL); \
     CREATE TABLE note (id INTEGER PRIMARY KEY, body TEXT); \
     INSERT INTO account VALUES (1, 'owner 1', 100), (2, 'owner 2', 100), (3, 'owner 3', 100), (4, 'owner 4', 100), \
     (5, 'owner 5', 100); INSERT INTO note VALUES (1, 'first');";

/// Runs a test on both routes: with main, and a way to other refs.
fn on_both(test: impl Fn(&mut Conn, &dyn Fn(&str) -> Conn)) {
    let proxy = Proxy::start(ProxyConfig::embedded());
    rusqlite::Connection::open(proxy.sqlite_path("shop")).unwrap().execute_batch(SQLITE).unwrap();
    let mut main = proxy.connect("main");
    for table in ["account", "note"] {
        main.exec(&format!("SELECT * FROM epoch_register('{table}', 'sqlite://shop/{table}')"));
    }
    test(&mut main, &|reference| proxy.connect(reference));
    need_postgres!();
    let shop = Fixture::registered(POSTGRES);
    test(&mut shop.main(), &|reference| shop.on(reference));
}

/// Three rows of account in conflict, and one of note: accounts 1 and 2 have other owners and balances on both sides, 3
/// is gone on main.
fn diverge(main: &mut Conn, on: &dyn Fn(&str) -> Conn) {
    main.exec("SELECT * FROM epoch_branch('dev')");
    let mut dev = on("dev");
    for (conn, name) in [(&mut dev, "dev"), (&mut *main, "main")] {
        conn.exec(&format!("UPDATE account SET owner = '{name} ' || id WHERE id IN (1, 2)"));
        let balance = if name == "dev" { 120 } else { 110 };
        conn.exec(&format!("UPDATE account SET balance = {balance} WHERE id IN (1, 2)"));
        conn.exec(&format!("UPDATE note SET body = 'of {name}' WHERE id = 1"));
        match name {
            "dev" => conn.exec("UPDATE account SET balance = 3 WHERE id = 3"),
            _ => conn.exec("DELETE FROM account WHERE id = 3"),
        };
        conn.exec(&format!("SELECT epoch_commit('on {name}')"));
    }
}

fn tag(conn: &mut Conn, sql: &str) -> String {
    conn.exec(sql).tags().join(" ")
}

#[test]
fn conflicts_are_resolved_by_update_and_delete() {
    on_both(|main, on| {
        diverge(main, on);
        assert_eq!(main.lines("SELECT conflicts FROM epoch_merge('dev')"), ["4"]);
        let open = "SELECT table_name, num_conflicts FROM epoch.conflicts ORDER BY 1";
        assert_eq!(main.lines(open), ["account|3", "note|1"]);
        // Another session has the same rights; a whole row, a table, one column after the other.
        let mut other = on("main");
        assert_eq!(
            tag(&mut other, "UPDATE epoch.conflicts SET resolution = 'theirs' WHERE table_name = 'note'"),
            "UPDATE 1"
        );
        assert_eq!(main.lines(open), ["account|3"]);
        let sql = "UPDATE epoch.conflicts SET our_owner = their_owner WHERE table_name = 'account' AND our_id IN (1, 2)";
        assert_eq!(tag(main, sql), "UPDATE 2");
        assert_eq!(main.lines(open), ["account|3"], "their balances are open");
        let reply = main.extended(
            "UPDATE epoch.conflicts SET our_balance = $1 WHERE table_name = $2 AND id = $3",
            &[Some("115"), Some("account"), Some("1")],
            false,
        );
        assert_eq!(reply.tags(), ["UPDATE 1"], "{:?}", reply.error());
        assert!(reply.columns().is_empty());
        assert_eq!(main.lines(open), ["account|2"]);
        // What is taken as it is: account 2's balance is ours, its owner was chosen before.
        assert_eq!(
            tag(main, "DELETE FROM epoch.conflicts WHERE table_name = 'account' AND our_id = 2"),
            "DELETE 1"
        );
        let by_id =
            main.one("SELECT conflict_id FROM epoch_conflicts('account') WHERE kind = 'modify/delete'");
        assert_eq!(
            tag(
                main,
                &format!("UPDATE epoch.conflicts SET resolution = 'theirs' WHERE conflict_id = {by_id}")
            ),
            "UPDATE 1"
        );
        assert!(main.lines(open).is_empty());
        assert_eq!(
            tag(
                main,
                "UPDATE epoch.conflicts SET resolution = 'ours' WHERE table_name = 'account' AND our_id = 77"
            ),
            "UPDATE 0"
        );
        main.exec("SELECT epoch_merge('--continue')");
        let rows = main.lines("SELECT id, owner, balance FROM account ORDER BY id LIMIT 3");
        assert_eq!(rows, ["1|dev 1|115", "2|dev 2|110", "3|owner 3|3"]);
        assert_eq!(main.one("SELECT body FROM note"), "of dev");
        let audited =
            "SELECT count(*) FROM epoch.audit WHERE operation LIKE '%epoch.conflicts' AND result = 'ok'";
        assert_eq!(main.one(audited), "6");
    });
}

#[test]
fn conflicts_are_not_written_to_in_other_ways() {
    on_both(|main, on| {
        assert_eq!(tag(main, "DELETE FROM epoch.conflicts"), "DELETE 0");
        diverge(main, on);
        main.exec("SELECT epoch_merge('dev')");
        for (sql, code) in [
            ("DELETE FROM epoch.conflicts RETURNING table_name", "0A000"),
            ("UPDATE epoch.conflicts SET resolution = 'ours' RETURNING *", "0A000"),
            ("UPDATE epoch.conflicts SET our_balance = our_balance + 1", "0A000"),
            ("UPDATE epoch.conflicts SET resolution = 'ours' WHERE our_id > 1", "0A000"),
            ("WITH x AS (SELECT 1) DELETE FROM epoch.conflicts", "0A000"),
            ("UPDATE epoch.conflicts SET resolution = 'both'", "22023"),
            ("UPDATE epoch.conflicts SET resolution = NULL", "22023"),
            ("UPDATE epoch.conflicts SET their_balance = 1 WHERE table_name = 'account'", "22023"),
            ("UPDATE epoch.conflicts SET our_id = 9 WHERE table_name = 'account' AND id = 1", "22023"),
            ("UPDATE epoch.conflicts SET our_balance = 1 WHERE table_name = 'account' AND id = 3", "22023"),
            ("UPDATE epoch.conflicts SET our_nothing = 1 WHERE table_name = 'account'", "42703"),
            ("UPDATE epoch.conflicts SET resolution = 'ours' WHERE nothing = 1", "42703"),
            ("DELETE FROM epoch.conflicts WHERE table_name = 'nothing'", "42P01"),
        ] {
            assert_eq!(main.err(sql).code(), code, "{sql}");
        }
        // All or nothing: note has no balance.
        assert_eq!(main.err("UPDATE epoch.conflicts SET our_balance = 1").code(), "42703");
        let open = "SELECT table_name, num_conflicts FROM epoch.conflicts ORDER BY 1";
        assert_eq!(main.lines(open), ["account|3", "note|1"]);
        main.exec("BEGIN");
        main.exec("UPDATE account SET balance = 1 WHERE id = 5");
        assert_eq!(main.err("DELETE FROM epoch.conflicts").code(), "25001");
        main.exec("ROLLBACK");
        main.exec("SELECT epoch_tag('v1')");
        assert_eq!(on("v1").err("DELETE FROM epoch.conflicts").code(), "25006");
        assert_eq!(main.lines(open), ["account|3", "note|1"]);
        // Without a condition it is about all of them.
        assert_eq!(tag(main, "DELETE FROM epoch.conflicts"), "DELETE 4");
        main.exec("SELECT epoch_merge('--continue')");
        assert_eq!(main.lines("SELECT id, balance FROM account ORDER BY id LIMIT 2"), ["1|110", "2|110"]);
        assert_eq!(main.one("SELECT body FROM note"), "of main");
    });
}

#[test]
fn what_was_chosen_for_a_conflict_can_be_read() {
    on_both(|main, on| {
        diverge(main, on);
        main.exec("SELECT epoch_merge('dev')");
        let shown = "SELECT id.our_id, our_balance, result_id, result_owner, result_balance, resolved \
                     FROM epoch_conflicts('account') id WHERE base_id IN (1, 3) ORDER BY base_id";
        assert_eq!(main.lines(shown), ["1|110||||f", "|||||f"]);
        main.exec("UPDATE epoch.conflicts SET our_balance = 42 WHERE table_name = 'account' AND id = 1");
        assert_eq!(main.lines(shown), ["1|110||||f", "|||||f"], "the owner is open");
        main.exec(
            "UPDATE epoch.conflicts SET our_owner = their_owner WHERE table_name = 'account' AND id = 1",
        );
        main.exec("UPDATE epoch.conflicts SET resolution = 'theirs' WHERE table_name = 'account' AND id = 3");
        let chosen = ["1|110|1|dev 1|42|t", "||3|owner 3|3|t"];
        assert_eq!(main.lines(shown), chosen);
        assert_eq!(on("main").lines(shown), chosen, "by somebody else, too");
        assert_eq!(
            tag(main, "DELETE FROM epoch.conflicts WHERE table_name = 'account' AND result_balance = 42"),
            "DELETE 1"
        );
        assert_eq!(
            main.err("UPDATE epoch.conflicts SET result_balance = 1 WHERE table_name = 'account' AND id = 2")
                .code(),
            "22023"
        );
        main.exec("UPDATE epoch.conflicts SET resolution = 'ours' WHERE table_name = 'note'");
        main.exec("UPDATE epoch.conflicts SET resolution = 'ours' WHERE table_name = 'account' AND id = 2");
        main.exec("SELECT epoch_merge('--continue')");
        assert_eq!(
            main.lines("SELECT id, owner, balance FROM account WHERE id IN (1, 3) ORDER BY id"),
            ["1|dev 1|42", "3|owner 3|3"]
        );
    });
}

#[test]
fn a_value_that_the_column_cannot_hold_resolves_nothing() {
    need_postgres!();
    let shop = Fixture::registered(
        "CREATE DOMAIN even AS int CHECK (VALUE % 2 = 0); CREATE TYPE mood AS ENUM ('sad', 'glad'); \
         CREATE TABLE t (id int PRIMARY KEY, n int, price numeric(6,2), code varchar(3), e even, m mood, \
           tags text[], ok boolean NOT NULL, at timestamptz); \
         INSERT INTO t VALUES (1, 0, 0, '', 0, NULL, NULL, false, NULL)",
    );
    let mut main = shop.main();
    main.exec("SELECT * FROM epoch_branch('dev')");
    let mut dev = shop.on("dev");
    dev.exec("UPDATE t SET n = 1, price = 1, code = 'a', e = 2, m = 'sad', tags = '{a}', ok = true, at = '2020-01-01'");
    dev.exec("SELECT epoch_commit('dev')");
    main.exec("UPDATE t SET n = 2, price = 2, code = 'b', e = 4, m = 'glad', tags = '{b}', ok = NOT ok, at = '2021-01-01'");
    main.exec("UPDATE t SET ok = true");
    main.exec("SELECT epoch_commit('main')");
    assert_eq!(main.one("SELECT conflicts FROM epoch_merge('dev')"), "1");
    for (set, code) in [
        ("our_n = 'abc'", "22P02"),
        ("our_n = 99999999999", "22003"),
        ("our_price = 12345.67", "22003"),
        ("our_code = 'long'", "22001"),
        ("our_e = 3", "23514"),
        ("our_m = 'angry'", "22P02"),
        ("our_tags = 'x'", "22P02"),
        ("our_at = 'someday'", "22007"),
    ] {
        let error = main.err(&format!("UPDATE epoch.conflicts SET {set}"));
        assert_eq!(error.code(), code, "{set}: {error:?}");
        let column = set.trim_start_matches("our_").split(' ').next().unwrap();
        let value = set.split(" = ").nth(1).unwrap().trim_matches('\'');
        let call = format!("SELECT epoch_conflicts_resolve('value', 't', ARRAY['1'], '{column}', '{value}')");
        assert_eq!(main.err(&call).code(), code, "{call}");
    }
    assert_eq!(main.one("SELECT num_conflicts FROM epoch.conflicts"), "1");
    // As an assignment would have it.
    main.exec(
        "UPDATE epoch.conflicts SET our_n = ' 7 ', our_price = 1.239, our_code = 'x  ', our_e = 8, our_m = 'sad', \
         our_tags = '{ a , \"b c\" }', our_at = '2026-01-02 03:04 UTC'",
    );
    let result = "SELECT result_n, result_price, result_code || '.', result_e, result_m, result_tags, result_ok, \
                  result_at = '2026-01-02 03:04:00+00' FROM epoch_conflicts('t')";
    let chosen = "7|1.24|x  .|8|sad|{a,\"b c\"}|t|t";
    assert_eq!(main.lines(result), [chosen]);
    main.exec("SELECT epoch_merge('--continue')");
    let stored = "SELECT n, price, code || '.', e, m, tags, ok, at = '2026-01-02 03:04:00+00' FROM t";
    assert_eq!(main.lines(stored), [chosen]);
}

#[test]
fn a_lock_that_is_waited_for_in_vain_names_the_table() {
    need_postgres!();
    let shop =
        Fixture::registered("CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE u (id int PRIMARY KEY)");
    let (mut main, mut other) = (shop.main(), shop.main());
    other.exec("BEGIN");
    other.exec("INSERT INTO u VALUES (1)");
    let error = main.err("SELECT * FROM epoch_unregister('u', '--force')");
    assert_eq!((error.code(), error.message()), ("55P03", "table \"u\" is in use"), "{error:?}");
    other.exec("COMMIT");
    assert_eq!(main.one("SELECT rows_added FROM epoch.status WHERE table_name = 'u'"), "1", "it goes on");
    main.exec("SELECT * FROM epoch_branch('dev')");
    assert_eq!(shop.on("dev").one("SELECT count(*) FROM u"), "0");
    main.exec("SELECT * FROM epoch_unregister('u', '--force')");
}

#[test]
fn a_long_log_is_read_page_by_page() {
    on_both(|main, _| {
        for i in 0..150 {
            main.exec(&format!("SELECT epoch_commit('-m', 'no {i}', '--allow-empty')"));
        }
        let all = main.lines("SELECT commit_order, message FROM epoch_log()");
        let made: Vec<&str> = all.iter().map(|line| line.split_once('|').unwrap().1).take(150).collect();
        let expected: Vec<String> = (0..150).rev().map(|i| format!("no {i}")).collect();
        assert_eq!(made, expected);
        let newest = "SELECT commit_order, message FROM epoch_log() ORDER BY commit_order DESC LIMIT 100";
        assert_eq!(main.lines(newest), all[..100]);
        let oldest = "SELECT commit_order, message FROM epoch_log() ORDER BY commit_order LIMIT 3";
        assert_eq!(main.lines(oldest), all.iter().rev().take(3).cloned().collect::<Vec<_>>());
        let next = format!(
            "SELECT commit_order, message FROM epoch_log() WHERE commit_order < {} ORDER BY commit_order DESC LIMIT 70",
            all[9].split_once('|').unwrap().0
        );
        assert_eq!(main.lines(&next), all[10..80]);
        assert_eq!(main.lines("SELECT commit_order, message FROM epoch_log('-n', '65')"), all[..65]);
    });
}

#[test]
fn the_newest_commits_are_not_sorted() {
    let proxy = Proxy::start(ProxyConfig::embedded());
    let mut main = proxy.connect("main");
    let plan = main.lines("EXPLAIN SELECT message FROM epoch_log() ORDER BY commit_order DESC LIMIT 5");
    assert!(!plan.iter().any(|line| line.contains("SortExec")), "{plan:#?}");
    let plan = main.lines("EXPLAIN SELECT message FROM epoch_log() ORDER BY date DESC LIMIT 5");
    assert!(plan.iter().any(|line| line.contains("SortExec")), "{plan:#?}");
}

#[test]
fn numbers_of_embedded_tables_are_numbers_however_they_are_asked_for() {
    let proxy = Proxy::start(ProxyConfig::embedded());
    let table =
        "CREATE TABLE item (id INTEGER PRIMARY KEY, price NUMERIC(10,2)); INSERT INTO item VALUES (1, 2.5)";
    rusqlite::Connection::open(proxy.sqlite_path("shop")).unwrap().execute_batch(table).unwrap();
    let mut main = proxy.connect("main");
    main.exec("SELECT * FROM epoch_register('item', 'sqlite://shop/item')");
    main.exec("SELECT epoch_commit('-m', 'all', '--skip-empty')");
    for sql in [
        "SELECT price FROM item",
        "SELECT * FROM epoch_at('item', 'main')",
        "SELECT * FROM epoch_at('item', 'main') LIMIT 1",
        "SELECT * FROM epoch_at('item', 'main') WHERE id = 1",
    ] {
        let reply = main.exec(sql);
        let types: Vec<(&str, u32)> = (reply.0.iter())
            .filter_map(|m| if let Message::RowDescription(c) = m { Some(c) } else { None })
            .flatten()
            .map(|c| (c.name.as_str(), c.type_oid))
            .collect();
        assert!(types.contains(&("price", 1700)), "{sql}: {types:?}");
        let binary = main.extended(sql, &[], true);
        assert!(binary.error().is_none(), "{sql}: {:?}", binary.error());
    }
}

#[test]
fn a_commit_follows_each_transaction_if_the_session_wants_it() {
    on_both(|main, on| {
        main.exec("SELECT * FROM epoch_branch('dev')");
        let mut dev = on("dev");
        assert_eq!(dev.one("SHOW epoch.auto_commit"), "off");
        dev.exec("SET epoch.auto_commit = on");
        assert_eq!(dev.one("SHOW epoch.auto_commit"), "on");
        dev.exec("SET epoch.auto_commit_message = 'by itself'");
        let log = "SELECT count(*) FROM epoch_log('main..dev')";
        dev.exec("UPDATE account SET balance = 1 WHERE id = 1");
        assert_eq!(dev.one(log), "1");
        assert_eq!(dev.one("SELECT count(*) FROM account"), "5");
        assert_eq!(dev.one(log), "1", "what changes nothing is no commit");
        dev.exec("BEGIN");
        dev.exec("UPDATE account SET balance = 2 WHERE id = 1");
        dev.exec("UPDATE account SET balance = 2 WHERE id = 2");
        dev.exec("COMMIT");
        dev.exec("BEGIN");
        dev.exec("UPDATE account SET balance = 3 WHERE id = 1");
        dev.exec("ROLLBACK");
        assert_eq!(dev.lines("SELECT message FROM epoch_log('main..dev')"), ["by itself", "by itself"]);
        assert!(dev.lines("SELECT table_name FROM epoch.status").is_empty());
        // By the extended protocol, and several that are sent at once.
        let reply = dev.extended("UPDATE account SET balance = 4 WHERE id = $1", &[Some("1")], false);
        assert_eq!(reply.tags(), ["UPDATE 1"], "{:?}", reply.error());
        assert_eq!(dev.one(log), "3");
        dev.send(&[
            common::conn::query("UPDATE account SET balance = 5 WHERE id = 1"),
            common::conn::query("UPDATE account SET balance = 6 WHERE id = 1"),
        ]);
        dev.reply();
        dev.reply();
        assert_eq!(dev.one(log), "5");
        // A merge that waits isn't concluded by it.
        main.exec("UPDATE account SET balance = 77 WHERE id = 1");
        main.exec("SELECT epoch_commit('on main')");
        assert_eq!(dev.lines("SELECT conflicts FROM epoch_merge('main')"), ["1"]);
        dev.exec("DELETE FROM epoch.conflicts");
        dev.exec("UPDATE account SET balance = 8 WHERE id = 4");
        assert_eq!(dev.lines("SELECT table_name FROM epoch.status"), ["account"]);
        dev.exec("SELECT epoch_merge('--abort')");
        dev.exec("RESET epoch.auto_commit");
        dev.exec("UPDATE account SET balance = 9 WHERE id = 4");
        assert_eq!(dev.lines("SELECT table_name FROM epoch.status"), ["account"]);
        assert_eq!(dev.err("SET epoch.auto_commit = 'perhaps'").code(), "22023");
        assert_eq!(dev.err("SET epoch.auto_commit_message = ''").code(), "22023");
        assert_eq!(dev.err("SET epoch.nothing = 1").code(), "42704");
    });
}

#[test]
fn tables_that_are_not_versioned_are_written_to_if_the_session_wants_it() {
    need_postgres!();
    let shop = Fixture::registered(POSTGRES);
    let mut direct = shop.direct();
    direct.exec(
        "CREATE TABLE plain (id int PRIMARY KEY, n int); CREATE VIEW plain_view AS SELECT * FROM plain",
    );
    let mut dev = shop.branch("dev");
    assert_eq!(dev.one("SHOW epoch.unversioned_writes"), "deny");
    let insert = "INSERT INTO plain VALUES (1, 10)";
    let error = dev.err(insert);
    assert_eq!(error.code(), "0A000");
    assert!(error.hint().contains("epoch.unversioned_writes"), "{}", error.hint());
    dev.exec("SET epoch.unversioned_writes = 'allow'");
    dev.exec(insert);
    dev.exec("INSERT INTO plain SELECT id + 10, balance FROM account");
    dev.exec("UPDATE plain SET n = n + 1 WHERE id = 1");
    let reply = dev.extended("UPDATE plain SET n = $1 WHERE id = 15", &[Some("7")], false);
    assert_eq!(reply.tags(), ["UPDATE 1"], "{:?}", reply.error());
    dev.exec("DELETE FROM plain WHERE id = 14");
    assert_eq!(
        direct.lines("SELECT id, n FROM plain ORDER BY id"),
        ["1|11", "11|100", "12|100", "13|100", "15|7"]
    );
    // Versioned tables are the branch's as before, and nothing else is let through.
    dev.exec("UPDATE account SET balance = 0");
    assert_eq!(direct.one("SELECT sum(balance) FROM account"), "500");
    for sql in [
        "TRUNCATE plain",
        "ALTER TABLE plain ADD x int",
        "INSERT INTO plain_view VALUES (9, 9)",
        "DROP TABLE plain",
    ] {
        assert_eq!(dev.err(sql).code(), "0A000", "{sql}");
    }
    let mut other = shop.on("dev");
    assert_eq!(other.err(insert).code(), "0A000", "another session has a setting of its own");
    dev.exec("RESET epoch.unversioned_writes");
    assert_eq!(dev.err("INSERT INTO plain VALUES (2, 10)").code(), "0A000");
    assert_eq!(dev.err("SET epoch.unversioned_writes = 'maybe'").code(), "22023");
}

/// Who might write to one branch only wrote to tables that all see, by the setting; and so did everybody where main was protected.
#[test]
fn tables_that_are_not_versioned_are_written_to_by_who_may_write_to_main() {
    need_postgres!();
    let shop = Fixture::registered(POSTGRES);
    shop.direct().exec("CREATE TABLE plain (id int PRIMARY KEY, n int); INSERT INTO plain VALUES (1, 1)");
    let mut main = shop.main();
    main.exec("SELECT status FROM epoch_grant('postgres', 'admin')");
    main.exec("SELECT status FROM epoch_grant('ann', 'write', 'dev')");
    let mut dev = shop.branch("dev");
    let mut target = shop.proxy.target("dev");
    target.user = "ann".to_owned();
    let mut ann = target.try_connect().unwrap();
    let update = "UPDATE plain SET n = n + 1 WHERE id = 1";
    for conn in [&mut dev, &mut ann] {
        conn.exec("SET epoch.unversioned_writes = 'allow'");
    }
    for _ in 0..3 {
        assert_eq!(dev.simple(update).tags(), ["UPDATE 1"]);
        assert_eq!(ann.err(update).code(), "42501");
        let reply = ann.extended("UPDATE plain SET n = $1 WHERE id = 1", &[Some("9")], false);
        assert_eq!(reply.error().unwrap().code(), "42501");
    }
    main.exec("SELECT * FROM epoch_protect('main', '--no-writes')");
    assert_eq!(dev.err(update).code(), "42501");
    assert_eq!(shop.direct().one("SELECT n FROM plain"), "4");
}

/// A branch wrote to main's rows of a versioned table by the parent that somebody had given it.
#[test]
fn parents_of_versioned_tables_are_not_written_to_past_the_branch() {
    need_postgres!();
    let shop = Fixture::registered(POSTGRES);
    let mut direct = shop.direct();
    direct.exec("CREATE TABLE parent (id int NOT NULL, owner text NOT NULL, balance int NOT NULL)");
    let mut dev = shop.branch("dev");
    dev.exec("SET epoch.unversioned_writes = 'allow'");
    dev.exec("INSERT INTO parent VALUES (70, 'x', 1)");
    direct.exec("ALTER TABLE account INHERIT parent");
    for sql in
        ["UPDATE parent SET balance = 0", "DELETE FROM parent", "INSERT INTO parent VALUES (71, 'x', 1)"]
    {
        assert!(dev.simple(sql).error().is_some(), "{sql}");
    }
    assert_eq!(direct.one("SELECT sum(balance) FROM ONLY account"), "500");
}

#[test]
fn rows_of_all_branches_are_counted_without_reading_them() {
    on_both(|main, on| {
        for (name, sql) in
            [("a", "DELETE FROM account WHERE id = 1"), ("b", "DELETE FROM account"), ("c", "SELECT 1")]
        {
            main.exec(&format!("SELECT * FROM epoch_branch('{name}')"));
            on(name).exec(sql);
        }
        assert_eq!(main.one("SELECT count(*) FROM epoch_all_branches('account')"), "14");
        let by_branch = "SELECT _branch, count(*) AS n FROM epoch_all_branches('account') GROUP BY _branch";
        let mut counted = main.lines(by_branch);
        counted.sort();
        // A branch without rows isn't among the groups.
        assert_eq!(counted, ["a|4", "c|5", "main|5"]);
        assert_eq!(main.lines(&format!("{by_branch} ORDER BY 1")), counted, "as when rows are read");
        assert_eq!(main.one("SELECT count(*) FROM epoch_all_branches('account') WHERE id > 0"), "14");
        let reply = main.extended("SELECT count(*) FROM epoch_all_branches($1)", &[Some("account")], false);
        assert_eq!(reply.rows(), [[Some("14".to_owned())]], "{:?}", reply.error());
        let all = "SELECT * FROM epoch_all_branches('account', '--count') ORDER BY 1";
        assert_eq!(main.lines(all), ["a|4", "b|0", "c|5", "main|5"]);
        assert_eq!(main.err("SELECT * FROM epoch_all_branches('account', '--present')").code(), "22023");
    });
}

#[test]
fn branches_are_listed_among_the_databases_if_the_session_wants_it() {
    on_both(|main, on| {
        main.exec("SELECT * FROM epoch_branch('feature/x')");
        let listed = "SELECT datname FROM pg_database WHERE datname LIKE 'shop/%'";
        for mut conn in [on("main"), on("feature/x")] {
            // In a session on the branch its own database is listed anyway, where there is no server that knows better.
            let before = conn.lines(listed).len();
            assert_eq!(conn.one("SHOW epoch.show_branch_databases"), "off");
            conn.exec("SET epoch.show_branch_databases = on");
            assert_eq!(conn.lines(listed), ["shop/feature/x"]);
            let reply = conn.extended(
                "SELECT count(*) FROM pg_database d WHERE d.datname = $1",
                &[Some("shop/feature/x")],
                false,
            );
            assert_eq!(reply.rows(), [[Some("1".to_owned())]], "{:?}", reply.error());
            assert_eq!(conn.one("SELECT count(DISTINCT oid) = count(*) FROM pg_database"), "t");
            conn.exec("RESET epoch.show_branch_databases");
            assert_eq!(conn.lines(listed).len(), before);
        }
    });
}

/// A count over all branches was refused to who may read some of them, but not main.
#[test]
fn branches_that_one_may_read_are_counted_without_main() {
    need_postgres!();
    let shop = Fixture::registered(POSTGRES);
    let mut main = shop.main();
    main.exec("SELECT status FROM epoch_grant('postgres', 'admin')");
    main.exec("SELECT status FROM epoch_grant('ann', 'read', 'dev')");
    shop.branch("dev").exec("DELETE FROM account WHERE id = 1");
    let mut target = shop.proxy.target("dev");
    target.user = "ann".to_owned();
    let mut ann = target.try_connect().unwrap();
    assert_eq!(ann.one("SELECT count(*) FROM epoch_all_branches('account')"), "4");
    assert_eq!(ann.lines("SELECT * FROM epoch_all_branches('account', '--count')"), ["dev|4"]);
}

#[test]
fn branches_say_whether_they_hold_uncommitted_changes() {
    on_both(|main, on| {
        main.exec("SELECT * FROM epoch_branch('dev')");
        let all = "SELECT name, dirty, overlay_bytes > 0 FROM epoch.branches ORDER BY 1";
        assert_eq!(main.lines(all), ["dev|f|f", "main|f|f"]);
        let mut dev = on("dev");
        dev.exec("UPDATE account SET balance = 1 WHERE id = 1");
        assert_eq!(main.lines(all), ["dev|t|t", "main|f|f"]);
        // As anything else of the relation.
        assert_eq!(main.lines("SELECT name FROM epoch.branches WHERE dirty"), ["dev"]);
        dev.exec("SELECT epoch_commit('one')");
        assert_eq!(main.lines(all), ["dev|f|t", "main|f|f"]);
        dev.exec("UPDATE account SET balance = 2 WHERE id = 1");
        dev.exec("UPDATE account SET balance = 1 WHERE id = 1");
        assert_eq!(main.lines(all), ["dev|f|t", "main|f|f"], "nothing on balance");
        main.exec("UPDATE account SET balance = 7 WHERE id = 2");
        assert_eq!(main.lines("SELECT name FROM epoch.branches WHERE dirty"), ["main"]);
        dev.exec("SELECT epoch_reset('--soft', 'HEAD~1')");
        assert_eq!(dev.lines("SELECT name FROM epoch.branches WHERE dirty"), ["dev", "main"]);
    });
}

#[test]
fn a_dry_run_said_that_a_conflict_waits() {
    on_both(|main, on| {
        diverge(main, on);
        let notices = |reply: common::message::Reply| {
            reply.essence().iter().filter(|line| line.starts_with("notice ")).count()
        };
        let dry = main.exec("SELECT * FROM epoch_merge('dev', '--dry-run')");
        assert_eq!(notices(dry), 0);
        assert_eq!(main.one("SELECT count(*) FROM epoch.conflicts"), "0");
        let merge = main.exec("SELECT * FROM epoch_merge('dev')");
        assert_eq!(notices(merge), 1);
        main.exec("SELECT * FROM epoch_merge('--abort')");
    });
}

/// Drivers open a block before each statement: what it only read is nothing to be lost.
#[test]
fn a_block_that_wrote_nothing_commits_on_both_routes() {
    on_both(|main, on| {
        main.exec("SELECT * FROM epoch_branch('dev')");
        let mut dev = on("dev");
        dev.exec("BEGIN");
        assert_eq!(dev.one("SELECT count(*) FROM account"), "5");
        dev.exec("SELECT epoch_commit('in a block', '--allow-empty')");
        dev.exec("COMMIT");
        assert_eq!(dev.one("SELECT message FROM epoch_log('-n', 1)"), "in a block");
        dev.exec("BEGIN");
        dev.exec("UPDATE account SET balance = 3 WHERE id = 1");
        for call in ["epoch_commit('x')", "epoch_tag('x')", "epoch_merge('main')", "epoch_checkout('main')"] {
            assert_eq!(dev.simple(&format!("SELECT {call}")).error().unwrap().code(), "25001", "{call}");
            dev.exec("ROLLBACK");
            dev.exec("BEGIN");
            dev.exec("UPDATE account SET balance = 3 WHERE id = 1");
        }
        dev.exec("ROLLBACK");
        dev.exec("BEGIN");
        assert_eq!(dev.err("SELECT epoch_checkout('main')").code(), "25001");
        dev.exec("ROLLBACK");
        // What would put the session elsewhere does nothing at all.
        for call in [
            "epoch_checkout('-b', 'made')",
            "epoch_branch('-m', 'moved')",
            "epoch_branch('-f', 'dev', 'main')",
        ] {
            dev.exec("BEGIN");
            assert_eq!(dev.err(&format!("SELECT {call}")).code(), "25001", "{call}");
            dev.exec("ROLLBACK");
        }
        assert_eq!(dev.lines("SELECT name FROM epoch.branches ORDER BY 1"), ["dev", "main"]);
        assert_eq!(dev.one("SELECT balance FROM account WHERE id = 1"), "100");
    });
}

#[test]
fn messages_had_the_parsers_types_in_them() {
    let proxy = Proxy::start(ProxyConfig::embedded());
    rusqlite::Connection::open(proxy.sqlite_path("shop")).unwrap().execute_batch(SQLITE).unwrap();
    let mut main = proxy.connect("main");
    main.exec("SELECT * FROM epoch_register('account', 'sqlite://shop/account')");
    for (sql, code) in [
        ("SELECT owner COLLATE \"C\" FROM account", "0A000"),
        ("SELECT id OPERATOR(pg_catalog.+) 1 FROM account", "0A000"),
        ("SELECT 'a' ~~~ 'b' FROM account", "0A000"),
        ("SELECT U&'d\\0061t' FROM account", "0A000"),
        ("SELECT B'101' FROM account", "0A000"),
        ("SELECT (account).id FROM account", "0A000"),
        ("SELECT id[1] FROM account", "42804"),
        ("SELECT account.* FROM account a", "42P01"),
        ("SELECT string_agg(owner) FROM account", "42883"),
        ("SELECT * FROM account GROUP BY owner", "42803"),
        ("SELECT id FROM account WHERE max(id) > 1", "42803"),
        ("SELECT id FROM account ORDER BY 7", "42P10"),
        ("SELECT id FROM account LIMIT 'x'", "42804"),
        ("SELECT * FROM account WHERE owner LIKE ANY (ARRAY['a'])", "0A000"),
        // Nothing is locked there, so nothing says so.
        ("SELECT id FROM account FOR UPDATE", "0A000"),
        ("SELECT id FROM account WHERE id IN (SELECT id FROM account FOR SHARE)", "0A000"),
    ] {
        let error = main.err(sql);
        assert_eq!(error.code(), code, "{sql}: {error:?}");
        let said = format!("{} {} {}", error.message(), error.detail(), error.hint());
        for internal in ["Ident", "Span", "{", "Utf8", "Int64", "sqltorel", "Custom", "Literal", "DataFusion"]
        {
            assert!(!said.contains(internal), "{sql}: {said}");
        }
    }
}

#[test]
fn a_table_is_read_as_of_a_ref() {
    on_both(|main, on| {
        main.exec("SELECT * FROM epoch_tag('v1')");
        main.exec("SELECT * FROM epoch_branch('dev')");
        let mut dev = on("dev");
        dev.exec("UPDATE account SET balance = 7 WHERE id = 1");
        dev.exec("SELECT epoch_commit('seven')");
        for conn in [main, &mut dev] {
            assert_eq!(conn.one("SELECT balance FROM account AS OF 'v1' WHERE id = 1"), "100");
            assert_eq!(conn.one("SELECT account.balance FROM account as of 'dev' WHERE account.id = 1"), "7");
            let joined = "SELECT a.balance, b.balance FROM account AS OF 'v1' a JOIN account AS OF 'dev' AS b USING (id) WHERE id < 3 ORDER BY id";
            assert_eq!(conn.lines(joined), ["100|7", "100|100"]);
            let bound = conn.extended(
                "SELECT balance FROM account AS OF $1 WHERE id = $2",
                &[Some("dev~0"), Some("1")],
                false,
            );
            assert_eq!(bound.rows(), [[Some("7".to_owned())]], "{:?}", bound.error());
            assert_eq!(conn.err("SELECT * FROM account AS OF 'nothing'").code(), "3D000");
            assert_eq!(conn.err("SELECT * FROM nothing AS OF 'v1'").code(), "42P01");
            assert_eq!(conn.err("UPDATE account AS OF 'v1' SET balance = 1").code(), "42601");
            assert_eq!(conn.err("SELECT * FROM account AS OF now()").code(), "42601");
        }
    });
}

#[test]
fn json_merges_part_by_part_if_the_column_wants_it() {
    let test = |main: &mut Conn, on: &dyn Fn(&str) -> Conn| {
        main.exec("SELECT * FROM epoch_branch('dev')");
        let mut dev = on("dev");
        for (conn, key) in [(&mut *main, "main"), (&mut dev, "dev")] {
            let one = format!("{{\"kept\": 1.10, \"{key}\": [1]}}");
            conn.exec(&format!("UPDATE doc SET body = '{one}' WHERE id = 1"));
            conn.exec(&format!("UPDATE doc SET body = '{{\"kept\": \"{key}\"}}' WHERE id = 2"));
            conn.exec(&format!("SELECT epoch_commit('{key}')"));
        }
        assert_eq!(
            main.call("epoch_merge('dev', '--dry-run')", "conflicts"),
            ["2"],
            "as a whole, without the rule"
        );
        assert_eq!(main.err("SELECT epoch_merge_rule('doc', 'note', 'union')").code(), "42804");
        assert_eq!(main.lines("SELECT rule FROM epoch_merge_rule('doc', 'body', 'union')"), ["union"]);
        assert_eq!(main.call("epoch_merge('dev')", "conflicts"), ["1"]);
        assert_eq!(main.lines("SELECT our_id FROM epoch_conflicts('doc')"), ["2"]);
        main.exec("SELECT epoch_conflicts_resolve('theirs')");
        main.exec("SELECT epoch_merge('--continue')");
        assert_eq!(
            main.lines("SELECT body FROM doc ORDER BY id"),
            ["{\"dev\": [1], \"kept\": 1.10, \"main\": [1]}", "{\"kept\": \"dev\"}"]
        );
        assert_eq!(main.call("epoch_merge('dev')", "message"), ["already up to date"]);
        assert_eq!(main.one("SELECT count(*) FROM epoch.status"), "0");
    };
    let rows = "INSERT INTO doc VALUES (1, '{\"kept\": 1.10}', ''), (2, '{\"kept\": 1}', '')";
    let proxy = Proxy::start(ProxyConfig::embedded());
    let create = format!("CREATE TABLE doc (id INTEGER PRIMARY KEY, body JSON, note TEXT); {rows}");
    rusqlite::Connection::open(proxy.sqlite_path("shop")).unwrap().execute_batch(&create).unwrap();
    let mut main = proxy.connect("main");
    main.exec("SELECT * FROM epoch_register('doc', 'sqlite://shop/doc')");
    test(&mut main, &|reference| proxy.connect(reference));
    need_postgres!();
    let shop =
        Fixture::registered(&format!("CREATE TABLE doc (id int PRIMARY KEY, body jsonb, note text); {rows}"));
    test(&mut shop.main(), &|reference| shop.on(reference));
}
