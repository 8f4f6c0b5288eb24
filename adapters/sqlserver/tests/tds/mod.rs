//! A server that speaks as much of TDS as a client's first minutes need, and goes wrong where a test wants it to. What it
//! says is what the protocol's description says of each token; it knows nothing of SQL.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::cast_possible_truncation,
    missing_docs
)]

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

/// What the server does with one message.
#[derive(Clone)]
pub enum Answer {
    /// Sends it whole.
    Tokens(Vec<u8>),
    /// Sends so much of it, then closes the connection.
    Cut(Vec<u8>, usize),
    /// Sends the first where a transaction has begun on the connection, the second elsewhere: what a snapshot has, and what there is.
    Within(Vec<u8>, Vec<u8>),
    /// Closes the connection.
    Gone,
}

/// How the server is.
#[derive(Clone)]
pub struct Script {
    /// What it says of encryption: 0 off, 1 on, 2 not supported, 3 required.
    pub encryption: u8,
    pub prelogin: Option<Answer>,
    pub login: Answer,
    /// By the text of a statement; everything else is done without a result.
    pub statements: Vec<(&'static str, Answer)>,
    /// A certificate, for TLS from the first byte on.
    pub tls: Option<Arc<ServerConfig>>,
}

impl Default for Script {
    fn default() -> Self {
        Self {
            encryption: 2,
            prelogin: None,
            login: Answer::Tokens([login_ack(), done()].concat()),
            statements: Vec::new(),
            tls: None,
        }
    }
}

/// A server until its end.
pub struct Server {
    pub address: SocketAddr,
    /// The statements that it was sent.
    pub heard: Arc<Mutex<Vec<String>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    pub async fn start(script: Script) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&heard);
        let task = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let (script, noted) = (script.clone(), Arc::clone(&noted));
                tokio::spawn(async move {
                    // A client that leaves is none of our business.
                    let _ = match &script.tls {
                        None => speak(socket, &script, &noted).await,
                        Some(config) => match TlsAcceptor::from(Arc::clone(config)).accept(socket).await {
                            Ok(stream) => speak(stream, &script, &noted).await,
                            Err(e) => Err(e),
                        },
                    };
                });
            }
        });
        Self { address, heard, task }
    }

    /// A url of a user with a password that must not be seen.
    pub fn url(&self, parameters: &str) -> String {
        format!("sqlserver://sa:hunter2@127.0.0.1:{}/shop?{parameters}", self.address.port())
    }

    pub fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap().clone()
    }
}

async fn speak(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    script: &Script,
    heard: &Mutex<Vec<String>>,
) -> std::io::Result<()> {
    let mut begun = false;
    loop {
        let (kind, payload) = message(&mut stream).await?;
        let answer = match kind {
            0x12 => script.prelogin.clone().unwrap_or_else(|| Answer::Tokens(prelogin(script.encryption))),
            0x10 => script.login.clone(),
            // An attention is acknowledged.
            0x06 => Answer::Tokens(done_with(0x20, 0)),
            _ => {
                let text = utf16(&payload);
                let found = script.statements.iter().find(|(part, _)| text.contains(part));
                // Ends are written like that, as whoever ends may not know whether there is one.
                begun = text.contains("BEGIN TRANSACTION") || begun && !text.contains("IF @@TRANCOUNT > 0");
                heard.lock().unwrap().push(text.clone());
                found.map_or_else(|| Answer::Tokens(done()), |(_, answer)| answer.clone())
            }
        };
        match answer {
            Answer::Tokens(tokens) => stream.write_all(&packet(&tokens)).await?,
            Answer::Within(tokens, _) if begun => stream.write_all(&packet(&tokens)).await?,
            Answer::Within(_, tokens) => stream.write_all(&packet(&tokens)).await?,
            Answer::Cut(tokens, at) => {
                stream.write_all(&packet(&tokens)[..at]).await?;
                stream.flush().await?;
                return Ok(());
            }
            Answer::Gone => return Ok(()),
        }
        stream.flush().await?;
    }
}

/// One message, which may come in several packets.
async fn message(stream: &mut (impl AsyncRead + Unpin)) -> std::io::Result<(u8, Vec<u8>)> {
    let mut payload = Vec::new();
    loop {
        let mut header = [0; 8];
        stream.read_exact(&mut header).await?;
        let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
        let mut part = vec![0; length - 8];
        stream.read_exact(&mut part).await?;
        payload.extend(part);
        if header[1] & 1 == 1 {
            return Ok((header[0], payload));
        }
    }
}

/// As the packets of an answer.
pub fn packet(tokens: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let parts = tokens.chunks(4_000);
    let last = parts.len().saturating_sub(1);
    for (n, part) in parts.enumerate() {
        out.extend([0x04, u8::from(n == last)]);
        out.extend(((part.len() + 8) as u16).to_be_bytes());
        out.extend([0, 0, n as u8, 0]);
        out.extend(part);
    }
    out
}

/// What of a message is text: enough to find a statement in it.
fn utf16(payload: &[u8]) -> String {
    let even: Vec<u16> = payload.chunks_exact(2).map(|b| u16::from_le_bytes([b[0], b[1]])).collect();
    let shifted = payload.get(1..).unwrap_or_default();
    let odd: Vec<u16> = shifted.chunks_exact(2).map(|b| u16::from_le_bytes([b[0], b[1]])).collect();
    format!("{} {}", String::from_utf16_lossy(&even), String::from_utf16_lossy(&odd))
}

/// A version, and what it says of encryption.
pub fn prelogin(encryption: u8) -> Vec<u8> {
    let mut out = vec![0, 0, 11, 0, 6, 1, 0, 17, 0, 1, 0xff];
    out.extend([14, 0, 0x0f, 0xa0, 0, 0]);
    out.push(encryption);
    out
}

fn short_text(text: &str) -> Vec<u8> {
    let units: Vec<u16> = text.encode_utf16().collect();
    let mut out = vec![units.len() as u8];
    out.extend(units.iter().flat_map(|u| u.to_le_bytes()));
    out
}

fn with_length(token: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![token];
    out.extend((body.len() as u16).to_le_bytes());
    out.extend(body);
    out
}

pub fn login_ack() -> Vec<u8> {
    let mut body = vec![1, 0x74, 0, 0, 4];
    body.extend(short_text("Mock"));
    body.extend([15, 0, 0, 0]);
    with_length(0xad, &body)
}

/// An error: its number, class and text.
pub fn error(number: u32, class: u8, text: &str) -> Vec<u8> {
    let mut body = number.to_le_bytes().to_vec();
    body.extend([1, class]);
    let units: Vec<u16> = text.encode_utf16().collect();
    body.extend((units.len() as u16).to_le_bytes());
    body.extend(units.iter().flat_map(|u| u.to_le_bytes()));
    body.extend(short_text("mock"));
    body.extend(short_text(""));
    body.extend(1_u32.to_le_bytes());
    with_length(0xaa, &body)
}

pub fn done() -> Vec<u8> {
    done_with(0, 0)
}

pub fn done_with(status: u16, rows: u64) -> Vec<u8> {
    let mut out = vec![0xfd];
    out.extend(status.to_le_bytes());
    out.extend(0_u16.to_le_bytes());
    out.extend(rows.to_le_bytes());
    out
}

/// That one statement of several changed rows.
pub fn counted(rows: u64) -> Vec<u8> {
    let mut out = done_with(0x11, rows);
    out[0] = 0xff;
    out
}

/// The end of all statements of a call.
pub fn done_all() -> Vec<u8> {
    let mut out = done();
    out[0] = 0xfe;
    out
}

/// That an error ended it.
pub fn failed() -> Vec<u8> {
    done_with(2, 0)
}

/// Go and ask another server.
pub fn routed(host: &str, port: u16) -> Vec<u8> {
    let units: Vec<u16> = host.encode_utf16().collect();
    let mut value = vec![0];
    value.extend(port.to_le_bytes());
    value.extend((units.len() as u16).to_le_bytes());
    value.extend(units.iter().flat_map(|u| u.to_le_bytes()));
    let mut body = vec![20];
    body.extend((value.len() as u16).to_le_bytes());
    body.extend(value);
    body.extend([0, 0]);
    with_length(0xe3, &body)
}

/// Rows of texts.
pub fn rows(columns: &[&str], rows: &[&[Option<&str>]]) -> Vec<u8> {
    let kinds = vec![Kind::Text; columns.len()];
    let cell = |text: &Option<&str>| text.map_or(Cell::Null, |t| Cell::Text(t.to_owned()));
    let rows: Vec<Vec<Cell>> = rows.iter().map(|row| row.iter().map(cell).collect()).collect();
    mixed(&kinds, &rows)
}

/// What a column of a result is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Text,
    Number,
}

/// A value of a result.
#[derive(Debug, Clone)]
pub enum Cell {
    Null,
    Text(String),
    Number(i64),
}

/// Rows of texts (of any length) and numbers.
pub fn mixed(kinds: &[Kind], rows: &[Vec<Cell>]) -> Vec<u8> {
    let mut out = vec![0x81];
    out.extend((kinds.len() as u16).to_le_bytes());
    for kind in kinds {
        out.extend([0, 0, 0, 0, 1, 0]);
        match kind {
            Kind::Number => out.extend([0x26, 8]),
            Kind::Text => {
                out.extend([0xe7, 0xff, 0xff]);
                out.extend([9, 4, 208, 0, 52]);
            }
        }
        out.extend(short_text("c"));
    }
    for row in rows {
        out.push(0xd1);
        for (cell, kind) in row.iter().zip(kinds) {
            match (cell, kind) {
                (Cell::Number(v), _) => {
                    out.push(8);
                    out.extend(v.to_le_bytes());
                }
                (Cell::Text(text), _) => {
                    let bytes: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
                    out.extend((bytes.len() as u64).to_le_bytes());
                    out.extend((bytes.len() as u32).to_le_bytes());
                    out.extend(&bytes);
                    // An empty part ends it, and is all there is of an empty text.
                    if !bytes.is_empty() {
                        out.extend(0_u32.to_le_bytes());
                    }
                }
                (Cell::Null, Kind::Number) => out.push(0),
                (Cell::Null, Kind::Text) => out.extend(u64::MAX.to_le_bytes()),
            }
        }
    }
    out.extend(done_with(0x10, rows.len() as u64));
    out
}

/// A certificate for a host, and the same as PEM for clients that trust it.
pub fn certificate(host: &str) -> (Arc<ServerConfig>, String) {
    let made = rcgen::generate_simple_self_signed(vec![host.to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = tokio_rustls::rustls::crypto::ring::default_provider();
    let mut config = ServerConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    config.alpn_protocols = vec![b"tds/8.0".to_vec()];
    (Arc::new(config), made.cert.pem())
}
