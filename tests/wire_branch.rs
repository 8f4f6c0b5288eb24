//! The protocol on a branch: what is injected for it is never seen.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod wire_support;

use futures::{SinkExt, pin_mut};
use tokio_postgres::{Client, SimpleQueryMessage};
use wire_support::*;

async fn shop(url: &str) -> Proxy {
    let proxy = Proxy::start(url).await;
    let main = proxy.client().await;
    main.batch_execute(
        "CREATE TABLE users (id int PRIMARY KEY, name text NOT NULL, age int CHECK (age > 0));
         INSERT INTO users SELECT i, 'u' || i, i FROM generate_series(1, 100) i",
    )
    .await
    .unwrap();
    main.query("SELECT * FROM epoch_register('users')", &[]).await.unwrap();
    main.query("SELECT * FROM epoch_branch('dev')", &[]).await.unwrap();
    proxy
}

async fn count(client: &Client) -> i64 {
    client.query_one("SELECT count(*) FROM users", &[]).await.unwrap().get(0)
}

fn code(error: &tokio_postgres::Error) -> &str {
    error.code().map_or("", |code| code.code())
}

#[tokio::test]
async fn both_protocols_write_to_the_branch_only() {
    let Some(url) = server_url() else { return };
    let proxy = shop(&url).await;
    let (main, dev) = (proxy.client().await, proxy.on("shop/dev").await);
    dev.batch_execute("UPDATE users SET age = 7 WHERE id = 1; DELETE FROM users WHERE id = 2").await.unwrap();
    let update = dev.prepare("UPDATE users SET name = $2 WHERE id = $1 RETURNING name").await.unwrap();
    for id in [3i32, 4] {
        let row = dev.query_one(&update, &[&id, &format!("new{id}")]).await.unwrap();
        assert_eq!(row.get::<_, String>(0), format!("new{id}"));
    }
    assert_eq!(dev.execute("INSERT INTO users VALUES ($1, $2, $3)", &[&500, &"x", &5]).await.unwrap(), 1);
    assert_eq!(count(&dev).await, 100);
    assert_eq!(count(&main).await, 100);
    let row = main
        .query_one("SELECT age, (SELECT name FROM users WHERE id = 3) FROM users WHERE id = 1", &[])
        .await
        .unwrap();
    assert_eq!((row.get::<_, i32>(0), row.get::<_, String>(1)), (1, "u3".to_owned()));
    assert!(main.query_opt("SELECT 1 FROM users WHERE id = 500", &[]).await.unwrap().is_none());
    proxy.end().await;
}

#[tokio::test]
async fn replies_have_the_shape_of_the_clients_statements() {
    let Some(url) = server_url() else { return };
    let proxy = shop(&url).await;
    let mut raw = Raw::open(&proxy.address.to_string(), "tester", "shop/dev").await;
    raw.send(&[query("UPDATE users SET age = 9 WHERE id = 1; SELECT age FROM users WHERE id = 1; SELECT 1")])
        .await;
    assert_eq!(shape(&raw.until(b'Z').await), "CTDCTDCZ");
    raw.send(&[
        parse("s", "UPDATE users SET age = $1 WHERE id = $2"),
        describe(b'S', "s"),
        bind("", "s", &["5", "6"]),
        describe(b'P', ""),
        execute("", 0),
        bind("", "s", &["7", "8"]),
        execute("", 0),
        sync(),
    ])
    .await;
    assert_eq!(shape(&raw.until(b'Z').await), "1tn2nC2CZ");
    // An error in the middle: what follows it in the batch is skipped, what was before it undone.
    raw.send(&[
        bind("", "s", &["11", "20"]),
        execute("", 0),
        bind("", "s", &["-1", "21"]),
        execute("", 0),
        bind("", "s", &["12", "22"]),
        execute("", 0),
        sync(),
        query("SELECT age FROM users WHERE id IN (6, 20, 21, 22) ORDER BY id"),
    ])
    .await;
    let messages = raw.until(b'Z').await;
    assert_eq!(shape(&messages), "2C2EZ");
    assert_eq!(sqlstate(&messages).as_deref(), Some("23514"));
    let rows = raw.until(b'Z').await;
    let ages: Vec<_> = rows
        .iter()
        .filter(|(t, _)| *t == b'D')
        .map(|(_, b)| String::from_utf8_lossy(&b[6..]).into_owned())
        .collect();
    assert_eq!(ages, ["5", "20", "21", "22"]);
    proxy.end().await;
}

/// What asks for names in a pipeline stayed prepared after an error of the planner, and couldn't be prepared again.
#[tokio::test]
async fn pipelines_go_on_after_one_that_could_not_be_planned() {
    let Some(url) = server_url() else { return };
    let proxy = shop(&url).await;
    let mut raw = Raw::open(&proxy.address.to_string(), "tester", "shop/dev").await;
    let two = |second: &str| {
        [
            parse("", "SELECT 1"),
            bind("", "", &[]),
            execute("", 0),
            parse("", second),
            bind("", "", &[]),
            execute("", 0),
            sync(),
        ]
    };
    raw.send(&two("SELECT count(*) FROM users WHERE age = 1 / 0")).await;
    assert_eq!(sqlstate(&raw.until(b'Z').await).as_deref(), Some("22012"));
    for n in 0..3 {
        raw.send(&two(&format!("SELECT count(*) FROM users WHERE abs(age) = {n} AND id > {n}"))).await;
        assert_eq!(shape(&raw.until(b'Z').await), "12DC12DCZ");
    }
    proxy.end().await;
}

#[tokio::test]
async fn our_refusals_undo_the_batch_and_fail_the_transaction() {
    let Some(url) = server_url() else { return };
    let proxy = shop(&url).await;
    let mut raw = Raw::open(&proxy.address.to_string(), "tester", "shop/dev").await;
    let refused = "TRUNCATE users RESTART IDENTITY";
    raw.send(&[query(refused)]).await;
    let messages = raw.until(b'Z').await;
    assert_eq!((shape(&messages).as_str(), sqlstate(&messages).as_deref()), ("EZ", Some("0A000")));
    raw.send(&[
        parse("", "UPDATE users SET age = 99 WHERE id = 1"),
        bind("", "", &[]),
        execute("", 0),
        parse("", refused),
        bind("", "", &[]),
        execute("", 0),
        sync(),
        query("SELECT age FROM users WHERE id = 1"),
    ])
    .await;
    let messages = raw.until(b'Z').await;
    assert_eq!((shape(&messages).as_str(), sqlstate(&messages).as_deref()), ("12CEZ", Some("0A000")));
    assert_eq!(raw.until(b'Z').await[1].1, b"\0\x01\0\0\0\x011");
    raw.send(&[query("BEGIN")]).await;
    raw.until(b'Z').await;
    raw.send(&[query(refused)]).await;
    let messages = raw.until(b'Z').await;
    assert_eq!(messages.last().unwrap().1, b"E");
    raw.send(&[query("SELECT 1")]).await;
    assert_eq!(sqlstate(&raw.until(b'Z').await).as_deref(), Some("25P02"));
    raw.send(&[query("ROLLBACK")]).await;
    assert_eq!(raw.until(b'Z').await.last().unwrap().1, b"I");
    proxy.end().await;
}

#[tokio::test]
async fn errors_read_as_on_the_table_itself() {
    let Some(url) = server_url() else { return };
    let proxy = shop(&url).await;
    let (main, dev) = (proxy.client().await, proxy.on("shop/dev").await);
    for sql in [
        "INSERT INTO users VALUES (1, 'x', 1)",
        "INSERT INTO users VALUES (1000, NULL, 1)",
        "INSERT INTO users VALUES (1000, 'x', -1)",
        "SELECT nothing FROM users",
        "UPDATE users SET age = 5 WHERE nothing = 1",
        "SELECT 'é', nix FROM users WHERE id = 1",
    ] {
        let on = |e: tokio_postgres::Error| {
            let e = e.as_db_error().unwrap();
            let own = |s: Option<&str>| s.map(str::to_owned);
            let position = e.position().map(|p| format!("{p:?}"));
            (
                e.code().clone(),
                e.message().to_owned(),
                own(e.detail()),
                own(e.schema()),
                own(e.table()),
                own(e.constraint()),
                position,
            )
        };
        let mut expected = on(main.simple_query(sql).await.unwrap_err());
        assert_eq!(on(dev.query(sql, &[]).await.unwrap_err()), expected, "{sql}");
        if sql.starts_with("UPDATE") {
            // The copy-up meets the error first, and has no place in the client's text.
            expected.6 = None;
        }
        assert_eq!(on(dev.simple_query(sql).await.unwrap_err()), expected, "{sql}");
    }
    proxy.end().await;
}

#[tokio::test]
async fn a_switch_moves_prepared_statements_and_discard_takes_it_back() {
    let Some(url) = server_url() else { return };
    let proxy = shop(&url).await;
    let client = proxy.client().await;
    let read = client.prepare("SELECT age FROM users WHERE id = $1").await.unwrap();
    let write = client.prepare("UPDATE users SET age = $1 WHERE id = 1").await.unwrap();
    let age = async || client.query_one(&read, &[&1]).await.unwrap().get::<_, i32>(0);
    assert_eq!(age().await, 1);
    client.query("SELECT * FROM epoch_checkout('dev')", &[]).await.unwrap();
    client.execute(&write, &[&42]).await.unwrap();
    assert_eq!(age().await, 42);
    client.batch_execute("SET epoch.branch = 'main'").await.unwrap();
    assert_eq!(age().await, 1);
    client
        .batch_execute("SET epoch.branch = 'dev'; UPDATE users SET age = 43 WHERE id = 1; DISCARD ALL")
        .await
        .unwrap();
    let shown = client.query_one("SHOW epoch.branch", &[]).await.unwrap();
    assert_eq!(shown.get::<_, String>(0), "main");
    assert_eq!(
        client.query_one("SELECT age FROM users WHERE id = 1", &[]).await.unwrap().get::<_, i32>(0),
        1
    );
    let dev = proxy.on("shop/dev").await;
    assert_eq!(dev.query_one("SELECT age FROM users WHERE id = 1", &[]).await.unwrap().get::<_, i32>(0), 43);
    assert_eq!(dev.query_one("SHOW epoch.branch", &[]).await.unwrap().get::<_, String>(0), "dev");
    proxy.end().await;
}

#[tokio::test]
async fn calls_in_both_protocols() {
    let Some(url) = server_url() else { return };
    let proxy = shop(&url).await;
    let dev = proxy.on("shop/dev").await;
    dev.batch_execute("UPDATE users SET age = 7 WHERE id = 1").await.unwrap();
    let commit = dev.prepare("SELECT * FROM epoch_commit($1)").await.unwrap();
    let row = dev.query_one(&commit, &[&"first"]).await.unwrap();
    assert_eq!(row.get::<_, i64>("rows_modified"), 1);
    let error = dev.query(&commit, &[&"again"]).await.unwrap_err();
    assert!(error.as_db_error().unwrap().message().contains("nothing to commit"));
    // Refused where it could neither see nor follow what the transaction did.
    dev.batch_execute("BEGIN; UPDATE users SET age = 8 WHERE id = 1").await.unwrap();
    assert_eq!(code(&dev.query("SELECT * FROM epoch_commit('x')", &[]).await.unwrap_err()), "25001");
    assert_eq!(code(&dev.query("SELECT 1", &[]).await.unwrap_err()), "25P02");
    dev.batch_execute("ROLLBACK").await.unwrap();
    assert_eq!(code(&dev.simple_query("BEGIN; SET epoch.branch = 'main'").await.unwrap_err()), "25001");
    dev.batch_execute("ROLLBACK").await.unwrap();
    let error = dev.simple_query("SET epoch.branch = 'deb'").await.unwrap_err();
    assert_eq!(code(&error), "3D000");
    assert_eq!(code(&dev.query("SELECT * FROM epoch_branch('-d', 'dev')", &[]).await.unwrap_err()), "55006");
    proxy.end().await;
}

#[tokio::test]
async fn copy_on_a_branch() {
    let Some(url) = server_url() else { return };
    let proxy = shop(&url).await;
    let (main, dev) = (proxy.client().await, proxy.on("shop/dev").await);
    let sink = dev.copy_in("COPY users FROM STDIN").await.unwrap();
    pin_mut!(sink);
    sink.send(bytes::Bytes::from_static(b"1001\ta\t1\n1002\tb\t2\n")).await.unwrap();
    assert_eq!(sink.finish().await.unwrap(), 2);
    assert_eq!((count(&dev).await, count(&main).await), (102, 100));
    proxy.end().await;
}

#[tokio::test]
async fn a_view_that_gives_other_rows_each_time_does_not_hide_rows_to_be_written() {
    let Some(url) = server_url() else { return };
    let proxy = shop(&url).await;
    let main = proxy.client().await;
    main.batch_execute("CREATE VIEW pick AS SELECT 1 + floor(random() * 100)::int AS id").await.unwrap();
    let branch = proxy.on("shop/dev").await;
    for _ in 0..10 {
        branch.batch_execute("BEGIN").await.unwrap();
        let deleted = branch.execute("DELETE FROM users USING pick WHERE users.id = pick.id", &[]).await;
        assert_eq!(deleted.unwrap(), 1);
        branch.batch_execute("ROLLBACK").await.unwrap();
    }
    proxy.end().await;
}

#[tokio::test]
async fn a_temporary_view_made_on_main_shows_the_branch_and_writes_to_nothing_else() {
    let Some(url) = server_url() else { return };
    let proxy = shop(&url).await;
    let client = proxy.client().await;
    client
        .batch_execute(
            "CREATE TABLE plain (id int PRIMARY KEY); INSERT INTO plain VALUES (1);
             CREATE TEMP VIEW of_users AS SELECT * FROM users; CREATE TEMP VIEW of_plain AS SELECT * FROM plain;",
        )
        .await
        .unwrap();
    client.query("SELECT epoch_checkout('dev')", &[]).await.unwrap();
    client.execute("DELETE FROM users WHERE id > 10", &[]).await.unwrap();
    let shown: i64 = client.query_one("SELECT count(*) FROM of_users", &[]).await.unwrap().get(0);
    assert_eq!(shown, 10);
    for sql in ["DELETE FROM of_plain", "INSERT INTO of_plain VALUES (2)"] {
        let error = client.execute(sql, &[]).await.unwrap_err();
        assert_eq!(error.code().map(|c| c.code()), Some("0A000"), "{sql}");
    }
    assert_eq!(client.execute("DELETE FROM of_users", &[]).await.unwrap(), 10);
    assert_eq!(count(&client).await, 0);
    assert_eq!(count(&proxy.direct().await).await, 100, "the base");
    client.batch_execute("DROP VIEW of_users").await.unwrap();
    proxy.end().await;
}

#[tokio::test]
async fn a_prepared_statement_notices_another_search_path() {
    let Some(url) = server_url() else { return };
    let proxy = shop(&url).await;
    let main = proxy.client().await;
    main.batch_execute("CREATE SCHEMA other; CREATE TABLE other.users (id int PRIMARY KEY)").await.unwrap();
    let branch = proxy.on("shop/dev").await;
    let all = branch.prepare("SELECT count(*) FROM users").await.unwrap();
    assert_eq!(branch.query_one(&all, &[]).await.unwrap().get::<_, i64>(0), 100);
    branch.batch_execute("SET search_path = other").await.unwrap();
    assert_eq!(branch.query_one(&all, &[]).await.unwrap().get::<_, i64>(0), 0);
    proxy.end().await;
}

#[tokio::test]
async fn a_table_made_on_main_after_it_was_missed_is_not_written_to() {
    let Some(url) = server_url() else { return };
    let proxy = shop(&url).await;
    let (main, branch) = (proxy.client().await, proxy.on("shop/dev").await);
    for sql in ["TRUNCATE late", "DELETE FROM late", "INSERT INTO late VALUES (1)"] {
        let error = branch.batch_execute(sql).await.unwrap_err();
        assert_eq!(error.code().map(|c| c.code()), Some("42P01"), "{sql}");
    }
    main.batch_execute("CREATE TABLE late (id int); INSERT INTO late VALUES (5)").await.unwrap();
    for sql in ["TRUNCATE late", "DELETE FROM late", "INSERT INTO late VALUES (1)"] {
        let error = branch.batch_execute(sql).await.unwrap_err();
        assert_eq!(error.code().map(|c| c.code()), Some("0A000"), "{sql}");
    }
    assert_eq!(main.query_one("SELECT count(*) FROM late", &[]).await.unwrap().get::<_, i64>(0), 1);
    proxy.end().await;
}

#[tokio::test]
async fn writes_that_come_again_are_kept_prepared_with_their_copy_up() {
    let Some(url) = server_url() else { return };
    let proxy = shop(&url).await;
    let (dev, direct) = (proxy.on("shop/dev").await, proxy.direct().await);
    for id in 1..=20 {
        let sql = format!("UPDATE users SET age = age * 2 - {id} + 1 WHERE id = {id}");
        assert_eq!(tag(&dev, &sql).await, 1, "{sql}");
        // Once more on rows that the branch holds, and on one that isn't there.
        assert_eq!(tag(&dev, &format!("UPDATE users SET age = age + 3 WHERE id = {id}")).await, 1);
        assert_eq!(tag(&dev, &format!("UPDATE users SET age = age + 3 WHERE id = {}", 1000 + id)).await, 0);
    }
    for id in 30..=35 {
        let rows = dev.simple_query(&format!("DELETE FROM users WHERE id = {id} RETURNING id, name")).await;
        let name = rows.unwrap().iter().find_map(|m| match m {
            SimpleQueryMessage::Row(row) => row.get("name").map(str::to_owned),
            _ => None,
        });
        assert_eq!(name, Some(format!("u{id}")));
    }
    // What fails is the client's error, and what it did is undone.
    for round in 0..3 {
        for sql in
            ["UPDATE users SET age = age - 5000 WHERE id = 40", "UPDATE users SET name = NULL WHERE id = 41"]
        {
            let error = dev.simple_query(sql).await.unwrap_err();
            let expected = if sql.contains("NULL") { "23502" } else { "23514" };
            assert_eq!(code(&error), expected, "{sql}, round {round}");
        }
        dev.batch_execute("BEGIN").await.unwrap();
        assert_eq!(tag(&dev, "UPDATE users SET age = age + 1 WHERE id = 42").await, 1);
        dev.batch_execute("ROLLBACK").await.unwrap();
    }
    let kept = "SELECT count(*) FROM pg_prepared_statements WHERE name LIKE 'epoch_prepared_%' AND statement LIKE 'WITH epoch_k%'";
    assert_ne!(number(&dev, kept).await, 0, "copy-ups are kept");
    let sums =
        "SELECT sum(age) FILTER (WHERE id <= 20), sum(age) FILTER (WHERE id > 20), count(*) FROM users";
    let row = dev.query_one(sums, &[]).await.unwrap();
    // 2 * id - id + 1 + 3 for each of the first twenty.
    assert_eq!((row.get::<_, i64>(0), row.get::<_, i64>(2)), (210 + 80, 94));
    assert_eq!(row.get::<_, i64>(1), (21..=100).sum::<i64>() - (30..=35).sum::<i64>());
    let row = direct.query_one(sums, &[]).await.unwrap();
    assert_eq!((row.get::<_, i64>(0), row.get::<_, i64>(2)), (210, 100), "the base is untouched");
    proxy.end().await;
}

async fn tag(client: &Client, sql: &str) -> u64 {
    let messages = client.simple_query(sql).await.unwrap();
    messages
        .iter()
        .find_map(|m| if let SimpleQueryMessage::CommandComplete(n) = m { Some(*n) } else { None })
        .unwrap()
}

async fn number(client: &Client, sql: &str) -> i64 {
    client.query_one(sql, &[]).await.unwrap().get(0)
}

#[tokio::test]
async fn an_error_at_commit_takes_the_place_of_the_tag_of_a_kept_write() {
    let Some(url) = server_url() else { return };
    let proxy = shop(&url).await;
    let main = proxy.client().await;
    main.batch_execute(
        "CREATE TABLE seats (id int PRIMARY KEY, place int, CONSTRAINT seats_place_key UNIQUE (place) DEFERRABLE INITIALLY DEFERRED);
         INSERT INTO seats SELECT i, i FROM generate_series(1, 20) i",
    )
    .await
    .unwrap();
    main.query("SELECT * FROM epoch_register('seats')", &[]).await.unwrap();
    main.query("SELECT * FROM epoch_branch('late')", &[]).await.unwrap();
    let mut raw = Raw::open(&proxy.address.to_string(), "tester", "shop/late").await;
    for id in 1..=4 {
        raw.send(&[query(&format!("UPDATE seats SET place = 15 WHERE id = {id}"))]).await;
        let messages = raw.until(b'Z').await;
        assert_eq!(
            (shape(&messages).as_str(), sqlstate(&messages).as_deref()),
            ("EZ", Some("23505")),
            "{id}"
        );
        let text = messages.iter().map(|(_, b)| String::from_utf8_lossy(b).into_owned()).collect::<String>();
        assert!(!text.contains("epoch"), "{text}");
    }
    proxy.end().await;
}

/// Drivers that prepare nothing send a Parse of the same text each time. It is planned once.
#[tokio::test]
async fn unnamed_statements_that_come_again_are_planned_once() {
    let Some(url) = server_url() else { return };
    let proxy = shop(&url).await;
    let mut raw = Raw::open(&proxy.address.to_string(), "tester", "shop/dev").await;
    let read = |id: &str| {
        [
            parse("", "SELECT age FROM users WHERE id = $1"),
            describe(b'S', ""),
            bind("", "", &[id]),
            execute("", 0),
            sync(),
        ]
    };
    let write = |age: &str, id: &str| {
        [
            parse("", "UPDATE users SET age = $1 WHERE id = $2"),
            bind("", "", &[age, id]),
            execute("", 0),
            sync(),
        ]
    };
    for id in ["3", "4", "5", "6"] {
        raw.send(&read(id)).await;
        let reply = raw.until(b'Z').await;
        assert_eq!(shape(&reply), "1tT2DCZ");
        assert_eq!(cell(&reply), id);
        raw.send(&write(&format!("1{id}"), id)).await;
        assert_eq!(shape(&raw.until(b'Z').await), "12CZ");
    }
    raw.send(&[query("SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE '%users%' AND name LIKE 'epoch_prepared_%' AND generic_plans + custom_plans >= 2")]).await;
    assert_eq!(cell(&raw.until(b'Z').await), "3", "the query, the update, and what copies rows up for it");
    // In one batch, closed in between, and under another meaning of the name.
    let batch: Vec<_> =
        ["3", "4"].iter().flat_map(|id| read(id).into_iter().take(4)).chain([sync()]).collect();
    raw.send(&batch).await;
    assert_eq!(shape(&raw.until(b'Z').await), "1tT2DC1tT2DCZ");
    raw.send(&[
        parse("", "SELECT age FROM users WHERE id = $1"),
        close(b'S', ""),
        bind("", "", &["3"]),
        sync(),
    ])
    .await;
    let reply = raw.until(b'Z').await;
    assert_eq!((shape(&reply).as_str(), sqlstate(&reply).as_deref()), ("13EZ", Some("26000")));
    raw.send(&[parse("", "SELECT age FROM users WHERE id = $1"), sync(), query("DEALLOCATE ALL")]).await;
    raw.until(b'Z').await;
    raw.until(b'Z').await;
    raw.send(&[bind("", "", &["3"]), execute("", 0), sync()]).await;
    assert_eq!(shape(&raw.until(b'Z').await), "2DCZ");
    raw.send(&[query("CREATE TEMP TABLE users (id int, age int)")]).await;
    raw.until(b'Z').await;
    raw.send(&read("3")).await;
    assert_eq!(shape(&raw.until(b'Z').await), "1tT2CZ");
    raw.send(&[query("DROP TABLE pg_temp.users")]).await;
    raw.until(b'Z').await;
    raw.send(&read("3")).await;
    assert_eq!(cell(&raw.until(b'Z').await), "13");
    proxy.end().await;
}
