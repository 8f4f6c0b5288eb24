//! The same rows in PostgreSQL and, through the proxy, in SQLite: what is asked of one is asked of the other.

use super::conn::{Conn, bind, describe, execute, parse, sync};
use super::database::Database;
use super::message::{Message, Reply};
use super::proxy::{Proxy, ProxyConfig};

/// Both sessions, in the same time zone.
pub struct Two {
    pub plain: Conn,
    pub ours: Conn,
    _database: Database,
    _proxy: Proxy,
}

impl Two {
    pub fn new(postgres: &str, sqlite: &str) -> Self {
        let database = Database::create();
        let mut plain = database.connect();
        plain.exec(postgres);
        let proxy = Proxy::start(ProxyConfig::embedded());
        let file = rusqlite::Connection::open(proxy.sqlite_path("shop")).unwrap();
        file.execute_batch(sqlite).unwrap();
        drop(file);
        let mut ours = proxy.connect("main");
        ours.exec("SELECT * FROM epoch_register('*', 'sqlite://shop/*')");
        for conn in [&mut plain, &mut ours] {
            conn.exec("SET TimeZone = 'Europe/Berlin'");
        }
        Self { plain, ours, _database: database, _proxy: proxy }
    }
}

/// Columns with their types, rows, and the error's SQLSTATE.
pub fn essence(reply: &Reply) -> Vec<String> {
    let one = |m: &Message| match m {
        Message::RowDescription(columns) => {
            let columns: Vec<_> = columns.iter().map(|c| format!("{}:{}", c.name, c.type_oid)).collect();
            Some(format!("columns {}", columns.join(", ")))
        }
        Message::DataRow(cells) => {
            let cell = |c: &Option<Vec<u8>>| match c {
                Some(bytes) => match std::str::from_utf8(bytes) {
                    Ok(text) if !text.contains(|c: char| c.is_control()) => text.to_owned(),
                    _ => bytes.iter().map(|b| format!("{b:02x}")).collect(),
                },
                None => "NULL".to_owned(),
            };
            Some(format!("row {}", cells.iter().map(cell).collect::<Vec<_>>().join(" | ")))
        }
        Message::Error(e) => Some(format!("error {}", e.code())),
        _ => None,
    };
    let mut all: Vec<_> = reply.0.iter().filter_map(one).collect();
    // Rows before an error, and columns before one, depend on when it is found.
    if let Some(error) = all.iter().position(|m| m.starts_with("error ")) {
        all.drain(..error);
    }
    all
}

/// One statement by the extended protocol.
pub fn prepared(conn: &mut Conn, sql: &str, params: &[Option<&str>], binary: bool) -> Reply {
    let messages =
        vec![parse("", sql, &[]), describe(b'S', ""), bind("", "", params, binary), execute("", 0), sync()];
    conn.send(&messages);
    conn.reply()
}
