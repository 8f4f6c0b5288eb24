//! A PostgreSQL client that sends what it is told to and hides nothing of the answer.

use std::io::{self, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use postgres_protocol::authentication::sasl::{ChannelBinding, SCRAM_SHA_256, ScramSha256};

use super::message::{Message, PgError, Reply};

/// A silent server fails the test instead of hanging it.
const PATIENCE: Duration = Duration::from_secs(120);

/// Where to connect and as what.
#[derive(Debug, Clone)]
pub struct Target {
    pub host: String,
    pub port: u16,
    pub user: String,
    pub password: Option<String>,
    pub dbname: String,
    /// Further startup parameters, e.g. `options`.
    pub params: Vec<(String, String)>,
}

impl Target {
    pub fn parse(url: &str) -> Self {
        let config: tokio_postgres::Config = url.parse().expect("a PostgreSQL URL");
        let host = match config.get_hosts().first() {
            Some(tokio_postgres::config::Host::Tcp(host)) => host.clone(),
            _ => "127.0.0.1".to_owned(),
        };
        Self {
            host,
            port: config.get_ports().first().copied().unwrap_or(5432),
            user: config.get_user().unwrap_or("postgres").to_owned(),
            password: config.get_password().map(|p| String::from_utf8_lossy(p).into_owned()),
            dbname: config.get_dbname().unwrap_or("postgres").to_owned(),
            params: Vec::new(),
        }
    }

    #[must_use]
    pub fn database(&self, dbname: &str) -> Self {
        Self { dbname: dbname.to_owned(), ..self.clone() }
    }

    #[must_use]
    pub fn param(&self, name: &str, value: &str) -> Self {
        let mut target = self.clone();
        target.params.push((name.to_owned(), value.to_owned()));
        target
    }

    /// As a libpq connection string.
    pub fn conninfo(&self) -> String {
        let password = self.password.as_ref().map(|p| format!(" password='{p}'")).unwrap_or_default();
        format!(
            "host={} port={} user='{}' dbname='{}'{password}",
            self.host, self.port, self.user, self.dbname
        )
    }

    pub fn url(&self) -> String {
        let dbname = self.dbname.replace('/', "%2F");
        let password = self.password.as_ref().map(|p| format!(":{p}")).unwrap_or_default();
        format!("postgresql://{}{password}@{}:{}/{dbname}", self.user, self.host, self.port)
    }

    pub fn connect(&self) -> Conn {
        self.try_connect().unwrap_or_else(|e| panic!("connecting to {}: {e:?}", self.conninfo()))
    }

    pub fn try_connect(&self) -> Result<Conn, PgError> {
        let mut conn = Conn::raw(&self.host, self.port);
        conn.start(self)?;
        Ok(conn)
    }
}

/// A connection, if the server is there to take it.
pub fn connect_if_there(target: &Target) -> Option<Conn> {
    let stream = TcpStream::connect((target.host.as_str(), target.port)).ok()?;
    stream.set_nodelay(true).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    stream.set_write_timeout(Some(PATIENCE)).ok()?;
    let reader = BufReader::with_capacity(64 * 1024, stream);
    let mut conn = Conn { reader, parameters: Vec::new(), key: (0, Vec::new()), status: '?' };
    conn.start(target).ok()?;
    Some(conn)
}

pub struct Conn {
    reader: BufReader<TcpStream>,
    pub parameters: Vec<(String, String)>,
    pub key: (u32, Vec<u8>),
    pub status: char,
}

impl Conn {
    /// A socket; nothing is sent.
    pub fn raw(host: &str, port: u16) -> Self {
        let stream =
            TcpStream::connect((host, port)).unwrap_or_else(|e| panic!("connect {host}:{port}: {e}"));
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        let reader = BufReader::with_capacity(64 * 1024, stream);
        Self { reader, parameters: Vec::new(), key: (0, Vec::new()), status: '?' }
    }

    pub fn send_raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.reader.get_mut().write_all(bytes)
    }

    pub fn half_close(&mut self) {
        let _ = self.reader.get_ref().shutdown(Shutdown::Write);
    }

    pub fn set_patience(&mut self, patience: Duration) {
        self.reader.get_ref().set_read_timeout(Some(patience)).unwrap();
    }

    pub fn send(&mut self, messages: &[Vec<u8>]) {
        self.send_raw(&messages.concat()).expect("sending to the server");
    }

    /// The next message; an error if the server closed the connection.
    pub fn recv(&mut self) -> io::Result<Message> {
        let mut head = [0u8; 5];
        self.reader.read_exact(&mut head)?;
        let len = u32::from_be_bytes(head[1..].try_into().unwrap()) as usize;
        let mut body = vec![0; len - 4];
        self.reader.read_exact(&mut body)?;
        let message = Message::decode(head[0], &body);
        match &message {
            Message::ParameterStatus(k, v) => {
                self.parameters.retain(|(name, _)| name != k);
                self.parameters.push((k.clone(), v.clone()));
            }
            Message::BackendKeyData(pid, secret) => self.key = (*pid, secret.clone()),
            Message::Ready(status) => self.status = *status,
            _ => {}
        }
        Ok(message)
    }

    /// All messages up to ReadyForQuery.
    pub fn reply(&mut self) -> Reply {
        self.try_reply().unwrap_or_else(|e| panic!("reading from the server: {e}"))
    }

    pub fn try_reply(&mut self) -> io::Result<Reply> {
        let mut messages = Vec::new();
        loop {
            let message = self.recv()?;
            let done = matches!(message, Message::Ready(_));
            messages.push(message);
            if done {
                return Ok(Reply(messages));
            }
        }
    }

    fn start(&mut self, target: &Target) -> Result<(), PgError> {
        let own = [("user", target.user.as_str()), ("database", target.dbname.as_str())];
        let others = target.params.iter().map(|(k, v)| (k.as_str(), v.as_str()));
        let broken = |e: io::Error| PgError([('C', "08006".to_owned()), ('M', e.to_string())].into());
        self.send_raw(&startup(own.into_iter().chain(others))).map_err(broken)?;
        let mut scram = None;
        loop {
            match self.recv().map_err(broken)? {
                Message::Error(e) => return Err(e),
                Message::Ready(_) => return Ok(()),
                Message::Authentication(3, _) => {
                    let password = target.password.clone().unwrap_or_default();
                    self.send(&[frame(b'p', &[password.as_bytes(), &[0]])]);
                }
                Message::Authentication(10, _) => {
                    let password = target.password.clone().unwrap_or_default();
                    let state = ScramSha256::new(password.as_bytes(), ChannelBinding::unsupported());
                    let first = state.message().to_vec();
                    let len = u32::try_from(first.len()).unwrap().to_be_bytes();
                    self.send(&[frame(b'p', &[SCRAM_SHA_256.as_bytes(), &[0], &len, &first])]);
                    scram = Some(state);
                }
                Message::Authentication(11, data) => {
                    let state = scram.as_mut().expect("SASL was begun");
                    state.update(&data).expect("a SCRAM message");
                    let answer = state.message().to_vec();
                    self.send(&[frame(b'p', &[&answer])]);
                }
                Message::Authentication(12, data) => {
                    scram.as_mut().expect("SASL was begun").finish(&data).expect("the server's signature");
                }
                _ => {}
            }
        }
    }

    /// A Query message and everything that comes back.
    pub fn simple(&mut self, sql: &str) -> Reply {
        self.send(&[query(sql)]);
        self.reply()
    }

    /// Parse, Describe statement, Bind, Describe portal, Execute, Sync with text parameters.
    pub fn extended(&mut self, sql: &str, params: &[Option<&str>], binary: bool) -> Reply {
        let mut messages = vec![parse("", sql, &[]), describe(b'S', ""), bind("", "", params, binary)];
        messages.extend([describe(b'P', ""), execute("", 0), sync()]);
        self.send(&messages);
        self.reply()
    }

    /// A COPY FROM STDIN with its data in pieces.
    pub fn copy_in(&mut self, sql: &str, pieces: &[&[u8]]) -> Reply {
        self.send(&[query(sql)]);
        loop {
            match self.recv().expect("an answer to COPY") {
                Message::CopyIn(_) => break,
                Message::Error(e) => {
                    let mut reply = self.reply();
                    reply.0.insert(0, Message::Error(e));
                    return reply;
                }
                _ => {}
            }
        }
        for piece in pieces {
            self.send_raw(&frame(b'd', &[piece])).expect("sending COPY data");
        }
        self.send(&[frame(b'c', &[])]);
        self.reply()
    }

    /// Runs and panics on an error.
    pub fn exec(&mut self, sql: &str) -> Reply {
        let reply = self.simple(sql);
        assert!(reply.error().is_none(), "{sql}\n  failed: {:?}", reply.error().unwrap());
        reply
    }

    pub fn rows(&mut self, sql: &str) -> Vec<Vec<Option<String>>> {
        self.exec(sql).rows()
    }

    /// Rows as `a|b|c`, NULL as the empty text.
    pub fn lines(&mut self, sql: &str) -> Vec<String> {
        let join = |r: Vec<Option<String>>| {
            r.into_iter().map(Option::unwrap_or_default).collect::<Vec<_>>().join("|")
        };
        self.rows(sql).into_iter().map(join).collect()
    }

    /// Calls a function that changes something, and picks columns of its result: `a, length(b)`.
    pub fn call(&mut self, call: &str, columns: &str) -> Vec<String> {
        let reply = self.exec(&format!("SELECT * FROM {call}"));
        let names = reply.columns();
        let cell = |row: &[Option<String>], wanted: &str| {
            let inner = wanted.strip_prefix("length(").and_then(|w| w.strip_suffix(')'));
            let name = inner.unwrap_or(wanted);
            let at = names
                .iter()
                .position(|n| *n == name)
                .unwrap_or_else(|| panic!("{call} has no column {name}: {names:?}"));
            let value = row[at].clone().unwrap_or_default();
            if inner.is_some() { value.len().to_string() } else { value }
        };
        let line = |row: Vec<Option<String>>| {
            columns.split(", ").map(|c| cell(&row, c)).collect::<Vec<_>>().join("|")
        };
        reply.rows().into_iter().map(line).collect()
    }

    /// The first column of the only row.
    pub fn one(&mut self, sql: &str) -> String {
        let rows = self.rows(sql);
        assert_eq!(rows.len(), 1, "{sql}: one row expected, got {rows:?}");
        rows[0][0].clone().unwrap_or_default()
    }

    pub fn err(&mut self, sql: &str) -> PgError {
        let reply = self.simple(sql);
        reply.error().cloned().unwrap_or_else(|| panic!("{sql}\n  should have failed:\n{reply:?}"))
    }

    pub fn terminate(mut self) {
        let _ = self.send_raw(&frame(b'X', &[]));
    }
}

pub fn frame(kind: u8, parts: &[&[u8]]) -> Vec<u8> {
    let len: usize = parts.iter().map(|p| p.len()).sum();
    let mut out = Vec::with_capacity(len + 5);
    out.push(kind);
    out.extend(u32::try_from(len + 4).unwrap().to_be_bytes());
    for part in parts {
        out.extend_from_slice(part);
    }
    out
}

pub fn startup<'a>(params: impl Iterator<Item = (&'a str, &'a str)>) -> Vec<u8> {
    let mut body = 196_608u32.to_be_bytes().to_vec();
    for (name, value) in params {
        body.extend([name.as_bytes(), &[0], value.as_bytes(), &[0]].concat());
    }
    body.push(0);
    [&u32::try_from(body.len() + 4).unwrap().to_be_bytes()[..], &body].concat()
}

pub fn query(sql: &str) -> Vec<u8> {
    frame(b'Q', &[sql.as_bytes(), &[0]])
}

pub fn parse(name: &str, sql: &str, types: &[u32]) -> Vec<u8> {
    let mut tail = u16::try_from(types.len()).unwrap().to_be_bytes().to_vec();
    types.iter().for_each(|t| tail.extend(t.to_be_bytes()));
    frame(b'P', &[name.as_bytes(), &[0], sql.as_bytes(), &[0], &tail])
}

/// Text parameters, results in one format.
pub fn bind(portal: &str, statement: &str, params: &[Option<&str>], binary: bool) -> Vec<u8> {
    let mut tail = vec![0, 0];
    tail.extend(u16::try_from(params.len()).unwrap().to_be_bytes());
    for param in params {
        match param {
            None => tail.extend((-1i32).to_be_bytes()),
            Some(text) => {
                tail.extend(i32::try_from(text.len()).unwrap().to_be_bytes());
                tail.extend(text.as_bytes());
            }
        }
    }
    tail.extend(1u16.to_be_bytes());
    tail.extend(u16::from(binary).to_be_bytes());
    frame(b'B', &[portal.as_bytes(), &[0], statement.as_bytes(), &[0], &tail])
}

pub fn describe(what: u8, name: &str) -> Vec<u8> {
    frame(b'D', &[&[what], name.as_bytes(), &[0]])
}

pub fn execute(portal: &str, max_rows: u32) -> Vec<u8> {
    frame(b'E', &[portal.as_bytes(), &[0], &max_rows.to_be_bytes()])
}

pub fn close(what: u8, name: &str) -> Vec<u8> {
    frame(b'C', &[&[what], name.as_bytes(), &[0]])
}

pub fn sync() -> Vec<u8> {
    frame(b'S', &[])
}

pub fn flush() -> Vec<u8> {
    frame(b'H', &[])
}
