//! `epoch query`: SQL as a client of the proxy would run it.
//!
//! The proxy runs in this process for as long as the statements take, on a loopback port of its own
//! and with a password that nobody else knows, so that it works without a running server and with
//! the same rules.

use std::collections::BTreeMap;
use std::io::Read;
use std::net::SocketAddr;

use clap::ArgMatches;
use tokio::sync::oneshot;
use tokio_postgres::SimpleQueryMessage;

use super::output::{Output, grid};
use super::place::Place;
use super::{Done, json};
use crate::config::{Auth, Config, Secret};
use crate::functions::{Column, Outcome, SqlType};
use crate::wire::scram::Verifier;
use crate::{Error, Result, session, sqlstate};

const USER: &str = "epoch";

/// Runs statements and prints each result.
pub(super) async fn query(matches: &ArgMatches, output: &Output) -> Result<Done> {
    let sql = statements(matches)?;
    let place = Place::open(matches, false).await?;
    let password = uuid::Uuid::new_v4().simple().to_string();
    let config = private(&place.config, &password);
    let database = format!("{}/{}", config.name, place.checkout.name);

    let (say_ready, ready) = oneshot::channel::<SocketAddr>();
    let (say_stop, stop) = oneshot::channel::<()>();
    let ready_with = |address| {
        let _ = say_ready.send(address);
    };
    let server = tokio::spawn(session::serve(config, place.repository.clone(), ready_with, async {
        let _ = stop.await;
    }));
    let done = match ready.await {
        Ok(address) => run(address, &password, &database, &sql, output).await,
        // The server's own error says why.
        Err(_) => Ok(Done::Well),
    };
    let _ = say_stop.send(());
    server.await.map_err(|e| Error::internal(format!("the session ended: {e}")))??;
    done
}

/// The configuration of a proxy for one client.
fn private(config: &Config, password: &str) -> Config {
    let verifier = Secret::new(Verifier::from_password(password));
    Config {
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        tls: None,
        auth: Auth::Scram(BTreeMap::from([(USER.to_owned(), verifier)])),
        ..config.clone()
    }
}

fn statements(matches: &ArgMatches) -> Result<String> {
    let words: Vec<&str> =
        matches.get_many::<String>("sql").into_iter().flatten().map(String::as_str).collect();
    if !words.is_empty() {
        return Ok(words.join(";\n"));
    }
    let io =
        |what: &str, e: std::io::Error| Error::new(sqlstate::IO_ERROR, format!("cannot read {what}: {e}"));
    match matches.get_one::<String>("file") {
        Some(file) => std::fs::read_to_string(file).map_err(|e| io(file, e)),
        None => {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text).map_err(|e| io("stdin", e))?;
            Ok(text)
        }
    }
}

async fn run(
    address: SocketAddr,
    password: &str,
    database: &str,
    sql: &str,
    output: &Output,
) -> Result<Done> {
    let (client, connection) = tokio_postgres::Config::new()
        .host(address.ip().to_string())
        .port(address.port())
        .user(USER)
        .password(password)
        .dbname(database)
        .application_name("epoch query")
        .connect(tokio_postgres::NoTls)
        .await
        .map_err(from_client)?;
    let connection = tokio::spawn(connection);
    let results = client.simple_query(sql).await.map_err(from_client);
    drop(client);
    let _ = connection.await;
    print(results?, output)
}

fn print(messages: Vec<SimpleQueryMessage>, output: &Output) -> Result<Done> {
    let mut current: Option<Outcome> = None;
    for message in messages {
        match message {
            SimpleQueryMessage::RowDescription(columns) => {
                let text = |c: &tokio_postgres::SimpleColumn| Column {
                    name: c.name().to_owned(),
                    ty: SqlType::Text,
                };
                current = Some(Outcome { columns: columns.iter().map(text).collect(), ..Outcome::default() });
            }
            SimpleQueryMessage::Row(row) => {
                let cells = (0..row.len()).map(|i| row.get(i).map(str::to_owned)).collect();
                if let Some(outcome) = &mut current {
                    outcome.rows.push(cells);
                }
            }
            SimpleQueryMessage::CommandComplete(rows) => {
                let text = match (current.take(), output.json) {
                    (Some(outcome), true) => format!("{}\n", json::rows(&outcome)),
                    (Some(outcome), false) => grid(&outcome),
                    (None, true) => format!("{}\n", serde_json::json!({"rows": rows})),
                    (None, false) => format!("OK, {}\n", super::output::counted(rows as i64, "row")),
                };
                output.print(&text)?;
            }
            _ => {}
        }
    }
    Ok(Done::Well)
}

/// The server's error as it sent it.
fn from_client(error: tokio_postgres::Error) -> Error {
    let Some(db) = error.as_db_error() else {
        return Error::new(sqlstate::CONNECTION_FAILURE, error.to_string());
    };
    let mut out = Error::new(db.code().code().to_owned(), db.message());
    if let Some(detail) = db.detail() {
        out = out.with_detail(detail);
    }
    if let Some(hint) = db.hint() {
        out = out.with_hint(hint);
    }
    out
}
