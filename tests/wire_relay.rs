//! What a client sees on main through the proxy is what it sees without it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod wire_support;

use std::time::Duration;

use futures::{SinkExt, StreamExt, TryStreamExt, pin_mut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_postgres::{AsyncMessage, NoTls, SimpleQueryMessage};
use wire_support::*;

/// Sends the same frames directly and through the proxy and compares every byte of the answers.
async fn same(proxy: &Proxy, conversation: &[Vec<Vec<u8>>]) -> Vec<String> {
    let direct = url_parts(&proxy.direct);
    let mut a = Raw::open(&direct.0, &direct.1, &direct.2).await;
    let mut b = Raw::open(&proxy.address.to_string(), "tester", "shop").await;
    let mut shapes = Vec::new();
    for frames in conversation {
        a.send(frames).await;
        b.send(frames).await;
        let (expected, got) = (a.until(b'Z').await, b.until(b'Z').await);
        assert_eq!(shape(&expected), shape(&got), "{:?}", String::from_utf8_lossy(&frames.concat()));
        assert_eq!(expected, got);
        shapes.push(shape(&got));
    }
    shapes
}

fn url_parts(url: &str) -> (String, String, String) {
    let rest = url.split_once("://").unwrap().1;
    let (user, rest) = rest.split_once('@').unwrap();
    let (address, database) = rest.split_once('/').unwrap();
    (address.to_owned(), user.split(':').next().unwrap().to_owned(), database.to_owned())
}

#[tokio::test]
async fn simple_statements_and_errors() {
    let Some(url) = server_url() else { return };
    let proxy = Proxy::start(&url).await;
    let shapes = same(
        &proxy,
        &[
            vec![query("SELECT 1, NULL, 'é'")],
            vec![query("")],
            vec![query("CREATE TEMP TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'a')")],
            vec![query("SELECT 1/0")],
            vec![query("SELECT * FROM nothing WHERE x = 1")],
            vec![query("BEGIN")],
            vec![query("SELECT 1/0")],
            vec![query("SELECT 1")],
            vec![query("ROLLBACK")],
            vec![query("SET application_name = 'x'; SELECT 2")],
            vec![query("SELECT generate_series(1, 3); SELECT 1/0; SELECT 2")],
            vec![query("DO $$ BEGIN RAISE NOTICE 'hello'; END $$")],
        ],
    )
    .await;
    assert_eq!(shapes[..4], ["TDCZ", "IZ", "CCZ", "EZ"]);
    proxy.end().await;
}

#[tokio::test]
async fn pipelines_portals_and_errors_in_the_middle() {
    let Some(url) = server_url() else { return };
    let proxy = Proxy::start(&url).await;
    same(
        &proxy,
        &[
            vec![parse("s", "SELECT generate_series(1, $1::int)"), describe(b'S', "s"), sync()],
            vec![bind("", "s", &["3"]), describe(b'P', ""), execute("", 0), sync()],
            // An error skips to Sync; what follows it runs.
            vec![
                parse("", "SELECT 1/0"),
                bind("", "", &[]),
                execute("", 0),
                parse("", "SELECT 1"),
                bind("", "", &[]),
                execute("", 0),
                sync(),
            ],
            vec![bind("", "s", &["2"]), execute("", 0), sync()],
            vec![query("BEGIN")],
            vec![bind("p", "s", &["5"]), execute("p", 2), sync()],
            vec![execute("p", 2), sync()],
            vec![execute("p", 2), sync()],
            vec![frame(b'C', &[b"Pp\0"]), sync()],
            vec![query("COMMIT")],
            vec![frame(b'C', &[b"Ss\0"]), sync()],
            vec![bind("", "s", &["2"]), execute("", 0), sync()],
            // A function call: abs(-7).
            vec![frame(b'F', &[&1397i32.to_be_bytes(), &[0, 0, 0, 1, 0, 0, 0, 2], b"-7", &[0, 0]])],
        ],
    )
    .await;
    // Two batches in one go, the first of them fails.
    let mut raw = Raw::open(&proxy.address.to_string(), "tester", "shop").await;
    raw.send(&[
        parse("", "SELECT 1/0"),
        bind("", "", &[]),
        execute("", 0),
        sync(),
        parse("", "SELECT 2"),
        bind("", "", &[]),
        execute("", 0),
        sync(),
        query("SELECT 3"),
    ])
    .await;
    assert_eq!(shape(&raw.until(b'Z').await), "1EZ");
    assert_eq!(shape(&raw.until(b'Z').await), "12DCZ");
    assert_eq!(shape(&raw.until(b'Z').await), "TDCZ");
    proxy.end().await;
}

#[tokio::test]
async fn an_error_is_sent_before_the_sync() {
    let Some(url) = server_url() else { return };
    let proxy = Proxy::start(&url).await;
    let mut raw = Raw::open(&proxy.address.to_string(), "tester", "shop").await;
    raw.send(&[parse("", "SELEKT")]).await;
    assert_eq!(raw.next().await.unwrap().0, b'E');
    raw.send(&[bind("", "", &[]), sync()]).await;
    assert_eq!(shape(&raw.until(b'Z').await), "Z");
    raw.send(&[parse("", "SELECT 1"), frame(b'H', &[])]).await;
    assert_eq!(raw.next().await.unwrap().0, b'1');
    proxy.end().await;
}

#[tokio::test]
async fn the_driver_works() {
    let Some(url) = server_url() else { return };
    let proxy = Proxy::start(&url).await;
    let client = proxy.client().await;
    client.batch_execute("CREATE TABLE t (id int PRIMARY KEY, v text)").await.unwrap();
    let insert = client.prepare("INSERT INTO t VALUES ($1, $2)").await.unwrap();
    let inserts = (0..100).map(|i| {
        let (client, insert) = (&client, &insert);
        async move { client.execute(insert, &[&i, &format!("v{i}")]).await.unwrap() }
    });
    assert_eq!(futures::future::join_all(inserts).await.iter().sum::<u64>(), 100);
    let rows = client.query("SELECT v FROM t WHERE id = $1", &[&7]).await.unwrap();
    assert_eq!(rows[0].get::<_, String>(0), "v7");
    let error = client.execute(&insert, &[&7, &"x"]).await.unwrap_err();
    assert_eq!(error.code().unwrap().code(), "23505");
    proxy.end().await;
}

#[tokio::test]
async fn copy_both_ways() {
    let Some(url) = server_url() else { return };
    let proxy = Proxy::start(&url).await;
    let client = proxy.client().await;
    client.batch_execute("CREATE TABLE t (id int, v text)").await.unwrap();
    let sink = client.copy_in("COPY t FROM STDIN").await.unwrap();
    pin_mut!(sink);
    for i in 0..2000 {
        sink.send(bytes::Bytes::from(format!("{i}\t{}\n", "x".repeat(100)))).await.unwrap();
    }
    assert_eq!(sink.finish().await.unwrap(), 2000);
    let out = client.copy_out("COPY t TO STDOUT").await.unwrap();
    let bytes: usize = out.map_ok(|b| b.len()).try_fold(0, |a, b| async move { Ok(a + b) }).await.unwrap();
    assert_eq!(bytes, (0..2000).map(|i| format!("{i}").len() + 102).sum::<usize>());
    // A COPY that fails, and one that the client gives up.
    let sink = client.copy_in::<_, bytes::Bytes>("COPY t FROM STDIN").await.unwrap();
    pin_mut!(sink);
    sink.send(bytes::Bytes::from_static(b"not a number\tx\n")).await.unwrap();
    assert_eq!(sink.finish().await.unwrap_err().code().unwrap().code(), "22P02");
    drop(client.copy_in::<_, bytes::Bytes>("COPY t FROM STDIN").await.unwrap());
    assert_eq!(client.query_one("SELECT count(*) FROM t", &[]).await.unwrap().get::<_, i64>(0), 2000);

    same(
        &proxy,
        &[
            vec![query("COPY t FROM STDIN"), frame(b'd', &[b"1\ta\n"]), frame(b'c', &[])],
            vec![query("COPY t FROM STDIN"), frame(b'd', &[b"x\ta\n"]), frame(b'c', &[])],
            vec![query("COPY t FROM STDIN"), frame(b'f', &[b"no\0"])],
            // As libpq: the first Sync is eaten by the COPY.
            vec![
                parse("", "COPY t FROM STDIN"),
                bind("", "", &[]),
                execute("", 0),
                sync(),
                frame(b'd', &[b"1\ta\n"]),
                frame(b'c', &[]),
                sync(),
            ],
            vec![query("SELECT 1")],
            vec![parse("", "COPY (SELECT 1) TO STDOUT"), bind("", "", &[]), execute("", 0), sync()],
        ],
    )
    .await;
    proxy.end().await;
}

#[tokio::test]
async fn a_copy_that_waits_for_the_server() {
    let Some(url) = server_url() else { return };
    let proxy = Proxy::start(&url).await;
    proxy.direct().await.batch_execute("CREATE TABLE t (id int, v text)").await.unwrap();
    let mut raw = Raw::open(&proxy.address.to_string(), "tester", "shop").await;
    for data in ["1\ta\n", "x\ta\n"] {
        raw.send(&[parse("", "COPY t FROM STDIN"), bind("", "", &[]), execute("", 0), sync()]).await;
        assert_eq!(shape(&raw.until(b'G').await), "12G");
        raw.send(&[frame(b'd', &[data.as_bytes()]), frame(b'c', &[]), sync()]).await;
        let end = shape(&raw.until(b'Z').await);
        assert_eq!(end, if data.starts_with('1') { "CZ" } else { "EZ" });
        raw.send(&[query("SELECT 1")]).await;
        assert_eq!(shape(&raw.until(b'Z').await), "TDCZ");
    }
    proxy.end().await;
}

#[tokio::test]
async fn cancel_reaches_the_right_statement() {
    let Some(url) = server_url() else { return };
    let proxy = Proxy::start(&url).await;
    let (client, other) = (proxy.client().await, proxy.client().await);
    let token = client.cancel_token();
    let sleeping = tokio::spawn(async move { client.simple_query("SELECT pg_sleep(60)").await });
    let running = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%' AND state = 'active' AND datname = current_database()";
    while other.query_one(running, &[]).await.unwrap().get::<_, i64>(0) == 0 {}
    token.cancel_query(NoTls).await.unwrap();
    let error = sleeping.await.unwrap().unwrap_err();
    assert_eq!(error.code().unwrap().code(), "57014");
    // A wrong key does nothing.
    let mut tcp = tokio::net::TcpStream::connect(proxy.address).await.unwrap();
    let packet = [16i32.to_be_bytes(), 80_877_102i32.to_be_bytes(), 1i32.to_be_bytes(), [0; 4]].concat();
    tcp.write_all(&packet).await.unwrap();
    assert_eq!(tcp.read(&mut [0]).await.unwrap(), 0);
    assert_eq!(other.query_one("SELECT 1", &[]).await.unwrap().get::<_, i32>(0), 1);
    proxy.end().await;
}

#[tokio::test]
async fn notifications_reach_an_idle_client() {
    let Some(url) = server_url() else { return };
    let proxy = Proxy::start(&url).await;
    let (client, mut connection) = tokio_postgres::connect(&proxy.url("shop"), NoTls).await.unwrap();
    let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        let mut messages = futures::stream::poll_fn(|cx| connection.poll_message(cx));
        while let Some(Ok(message)) = messages.next().await {
            if let AsyncMessage::Notification(n) = message {
                sender.send(n.payload().to_owned()).unwrap();
            }
        }
    });
    client.batch_execute("LISTEN c").await.unwrap();
    proxy.direct().await.batch_execute("NOTIFY c, 'hello'").await.unwrap();
    let payload = tokio::time::timeout(Duration::from_secs(10), receiver.recv()).await.unwrap();
    assert_eq!(payload.as_deref(), Some("hello"));
    proxy.end().await;
}

#[tokio::test]
async fn start_up_parameters_reach_the_server() {
    let Some(url) = server_url() else { return };
    let proxy = Proxy::start(&url).await;
    let url = format!(
        "{}?application_name=app&options=-c%20work_mem%3D5MB%20-c%20epoch.branch%3Dmain",
        proxy.url("shop")
    );
    let client = connect(&url).await;
    for (setting, value) in [("application_name", "app"), ("work_mem", "5MB")] {
        let row = client.query_one(&format!("SHOW {setting}"), &[]).await.unwrap();
        assert_eq!(row.get::<_, String>(0), value);
    }
    for (database, code) in [("nowhere", "3D000"), ("shop/nowhere", "3D000")] {
        let error = tokio_postgres::connect(&proxy.url(database), NoTls).await.err().unwrap();
        let error = error.as_db_error().unwrap();
        assert_eq!(error.code().code(), code);
        assert!(error.hint().is_some(), "{database}");
    }
    proxy.end().await;
}

#[tokio::test]
async fn a_row_larger_than_any_buffer() {
    let Some(url) = server_url() else { return };
    let proxy = Proxy::start(&url).await;
    let client = proxy.client().await;
    let row = client.query_one("SELECT repeat('x', 20000000)", &[]).await.unwrap();
    assert_eq!(row.get::<_, &str>(0).len(), 20_000_000);
    let big = "y".repeat(20_000_000);
    let row = client.query_one("SELECT length($1::text)", &[&big]).await.unwrap();
    assert_eq!(row.get::<_, i32>(0), 20_000_000);
    let messages = client.simple_query(&format!("SELECT length('{big}')")).await.unwrap();
    assert!(messages.iter().any(|m| matches!(m, SimpleQueryMessage::Row(r) if r.get(0) == Some("20000000"))));
    proxy.end().await;
}

#[tokio::test]
async fn garbage_ends_one_connection_and_no_other() {
    let Some(url) = server_url() else { return };
    let proxy = Proxy::start(&url).await;
    let client = proxy.client().await;
    let garbage: [&[u8]; 5] = [
        b"Q\x7f\xff\xff\xff",
        b"Q\0\0\0\0",
        b"\xff\xff\xff\xff\xff\xff",
        b"B\0\0\0\x08abcd",
        b"P\0\0\0\x06a\0",
    ];
    for bytes in garbage {
        let mut raw = Raw::open(&proxy.address.to_string(), "tester", "shop").await;
        raw.tcp.write_all(bytes).await.unwrap();
        let messages = raw.until(b'E').await;
        assert_eq!(sqlstate(&messages).as_deref(), Some("08P01"), "{bytes:?}");
        assert!(raw.next().await.is_none());
    }
    // Cut in the middle of a frame.
    let mut raw = Raw::open(&proxy.address.to_string(), "tester", "shop").await;
    raw.tcp.write_all(b"Q\0\0\0\x20SELECT").await.unwrap();
    drop(raw);
    assert_eq!(client.query_one("SELECT 1", &[]).await.unwrap().get::<_, i32>(0), 1);
    proxy.end().await;
}

#[tokio::test]
async fn too_many_clients_are_told_so() {
    let Some(url) = server_url() else { return };
    let proxy = Proxy::with(&url, Options { max_connections: Some(1), ..Options::default() }).await;
    let client = proxy.client().await;
    let error = tokio_postgres::connect(&proxy.url("shop"), NoTls).await.err().unwrap();
    assert_eq!(error.code().unwrap().code(), "53300");
    assert_eq!(client.query_one("SELECT 1", &[]).await.unwrap().get::<_, i32>(0), 1);
    proxy.end().await;
}

#[tokio::test]
async fn a_stop_waits_for_transactions() {
    let Some(url) = server_url() else { return };
    let mut proxy = Proxy::start(&url).await;
    let mut idle = Raw::open(&proxy.address.to_string(), "tester", "shop").await;
    let mut busy = Raw::open(&proxy.address.to_string(), "tester", "shop").await;
    busy.send(&[query("BEGIN")]).await;
    busy.until(b'Z').await;
    let stopped = proxy.stop();
    assert_eq!(sqlstate(&idle.until(b'E').await).as_deref(), Some("57P01"));
    busy.send(&[query("SELECT 1")]).await;
    assert_eq!(shape(&busy.until(b'Z').await), "TDCZ");
    busy.send(&[query("COMMIT")]).await;
    assert_eq!(shape(&busy.until(b'E').await), "CZE");
    stopped.await.unwrap().unwrap();
    proxy.end().await;
}
