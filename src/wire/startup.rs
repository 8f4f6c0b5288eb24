//! What comes before the first message: encryption requests, cancel requests, the start-up packet.

use std::io;

use epoch_adapter::{Error, Result, sqlstate};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsStream};

use super::channel::{Channel, Stream};
use super::decode::Body;
use super::encode::{self, Severity};

const CANCEL: i32 = 80_877_102;
const SSL: i32 = 80_877_103;
const GSSENC: i32 = 80_877_104;
/// PostgreSQL's limit of a start-up packet.
const LONGEST: i32 = 10_000;
/// The newest minor version of protocol 3 that we speak.
pub const MINOR: u16 = 2;

/// What a client came for.
#[derive(Debug)]
pub enum Startup {
    /// A session.
    Session(Box<Channel>, Parameters),
    /// To stop a statement of another connection.
    Cancel {
        /// The process id that we gave out.
        pid: i32,
        /// The secret that we gave out.
        secret: Vec<u8>,
    },
}

/// A start-up packet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Parameters {
    /// Minor version of protocol 3, at most [`MINOR`].
    pub minor: u16,
    entries: Vec<(String, String)>,
}

impl Parameters {
    /// A parameter that the client sent.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.entries.iter().rev().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// All parameters, in the client's order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.entries.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

/// Reads up to and including the start-up packet. `None`: the client went away. An error was
/// already sent to the client as FATAL.
pub async fn accept(tcp: TcpStream, tls: Option<&TlsAcceptor>) -> Result<Option<Startup>> {
    let mut first = [0];
    if tcp.peek(&mut first).await.map_err(lost)? == 0 {
        return Ok(None);
    }
    let mut channel = match tls {
        // A TLS ClientHello instead of an SSLRequest.
        Some(tls) if first == [0x16] => {
            let stream = tls.accept(tcp).await.map_err(lost)?;
            if stream.get_ref().1.alpn_protocol() != Some(super::tls::ALPN) {
                return Err(violation("direct TLS connection without ALPN protocol negotiation"));
            }
            Channel::new(Stream::Tls(Box::new(TlsStream::Server(stream))))
        }
        _ => Channel::new(Stream::Tcp(tcp)),
    };
    let mut asked = (channel.stream().is_tls(), false);
    loop {
        let Some(packet) = packet(&mut channel).await? else { return Ok(None) };
        let mut body = Body(&packet);
        match body.int32()? {
            SSL if !asked.0 => {
                asked.0 = true;
                channel = match encrypt(channel, tls).await? {
                    Some(channel) => channel,
                    None => return Ok(None),
                };
            }
            GSSENC if !asked.1 => {
                asked.1 = true;
                answer(&mut channel, b'N').await?;
            }
            CANCEL => {
                let pid = body.int32()?;
                return Ok(Some(Startup::Cancel { pid, secret: body.0.to_vec() }));
            }
            version => {
                let parameters = match parameters(&mut channel, version, body) {
                    Ok(parameters) => parameters,
                    Err(error) => return Err(refuse(&mut channel, error).await),
                };
                return Ok(Some(Startup::Session(Box::new(channel), parameters)));
            }
        }
    }
}

/// A packet's bytes behind its length word.
async fn packet<S: AsyncRead + AsyncWrite + Unpin>(channel: &mut Channel<S>) -> Result<Option<Vec<u8>>> {
    loop {
        if let Ok(length) = Body(&channel.input).int32() {
            if !(8..=LONGEST).contains(&length) {
                return Err(refuse(channel, violation("invalid length of startup packet")).await);
            }
            let length = usize::try_from(length).unwrap_or(0);
            if let Some(packet) = channel.input.get(4..length) {
                let packet = packet.to_vec();
                channel.input.consume(length);
                return Ok(Some(packet));
            }
        }
        if channel.fill(0).await.map_err(lost)? == 0 {
            return Ok(None);
        }
    }
}

/// Answers an SSLRequest, and an encrypted channel if we can.
async fn encrypt(mut channel: Channel, tls: Option<&TlsAcceptor>) -> Result<Option<Channel>> {
    // Bytes that came with the request were sent in the clear, perhaps by somebody in between.
    if !channel.input.is_empty() {
        let error = violation("received unencrypted data after SSL request").with_detail(
            "This could be either a client-software bug or evidence of an attempted man-in-the-middle attack.",
        );
        return Err(refuse(&mut channel, error).await);
    }
    let Some(tls) = tls else {
        answer(&mut channel, b'N').await?;
        return Ok(Some(channel));
    };
    answer(&mut channel, b'S').await?;
    match channel.into_stream() {
        Stream::Tcp(tcp) => {
            let stream = tls.accept(tcp).await.map_err(lost)?;
            Ok(Some(Channel::new(Stream::Tls(Box::new(TlsStream::Server(stream))))))
        }
        Stream::Unix(_) | Stream::Tls(_) => Ok(None),
    }
}

async fn answer(channel: &mut Channel, byte: u8) -> Result<()> {
    channel.output.push(&[byte]);
    channel.flush().await.map_err(lost)
}

/// Reads the parameters; queues a NegotiateProtocolVersion if the client asks for more than we know.
fn parameters<S: AsyncRead + AsyncWrite + Unpin>(
    channel: &mut Channel<S>,
    version: i32,
    mut body: Body<'_>,
) -> Result<Parameters> {
    let (major, minor) = (version >> 16, u16::try_from(version & 0xffff).unwrap_or(u16::MAX));
    if major != 3 {
        return Err(Error::new(
            sqlstate::FEATURE_NOT_SUPPORTED,
            format!("unsupported frontend protocol {major}.{minor}: server supports 3.0 to 3.{MINOR}"),
        ));
    }
    let mut entries = Vec::new();
    let mut unknown = Vec::new();
    loop {
        let name = text(body.cstr()?)?;
        if name.is_empty() {
            break;
        }
        let value = text(body.cstr()?)?;
        if name.starts_with("_pq_.") { unknown.push(name) } else { entries.push((name, value)) }
    }
    body.end().map_err(|_| violation("invalid startup packet layout: expected terminator as last byte"))?;
    if minor > MINOR || !unknown.is_empty() {
        encode::frame(channel.output.tail(), b'v', |out| {
            out.extend_from_slice(&((3 << 16) | i32::from(minor.min(MINOR))).to_be_bytes());
            out.extend_from_slice(&u32::try_from(unknown.len()).unwrap_or(u32::MAX).to_be_bytes());
            for name in &unknown {
                encode::cstr(out, name.as_bytes());
            }
        });
    }
    Ok(Parameters { minor: minor.min(MINOR), entries })
}

fn text(bytes: &[u8]) -> Result<String> {
    Ok(super::decode::utf8(bytes)?.to_owned())
}

/// Sends a FATAL error and ends the stream.
pub async fn refuse<S: AsyncRead + AsyncWrite + Unpin>(channel: &mut Channel<S>, error: Error) -> Error {
    encode::error(channel.output.tail(), Severity::Fatal, &error);
    // The client may be gone; the error is the caller's either way.
    let _ = channel.close().await;
    error
}

fn violation(message: &str) -> Error {
    Error::new(sqlstate::PROTOCOL_VIOLATION, message)
}

/// A connection that broke.
pub fn lost(error: io::Error) -> Error {
    Error::new(sqlstate::CONNECTION_FAILURE, "connection lost").with_detail(error.to_string())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    fn startup(version: i32, pairs: &[(&str, &str)]) -> Vec<u8> {
        let mut out = Vec::new();
        encode::prefixed(&mut out, |out| {
            out.extend(version.to_be_bytes());
            for (name, value) in pairs {
                encode::cstr(out, name.as_bytes());
                encode::cstr(out, value.as_bytes());
            }
            out.push(0);
        });
        out
    }

    /// What the server makes of `pieces`, sent one after the other, and what it answers.
    async fn talk(pieces: Vec<Vec<u8>>) -> (Result<Option<Startup>>, Vec<u8>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        client.set_nodelay(true).unwrap();
        let (tcp, _) = listener.accept().await.unwrap();
        let server = tokio::spawn(async move {
            let mut result = accept(tcp, None).await;
            if let Ok(Some(Startup::Session(channel, _))) = &mut result {
                channel.close().await.unwrap();
            }
            result
        });
        for piece in pieces {
            client.write_all(&piece).await.unwrap();
            tokio::task::yield_now().await;
        }
        client.shutdown().await.unwrap();
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).await.unwrap();
        (server.await.unwrap(), answer)
    }

    const V30: i32 = 3 << 16;

    #[tokio::test]
    async fn a_packet_is_read_byte_by_byte() {
        let packet = startup(V30, &[("user", "u"), ("database", "shop/x")]);
        let (result, answer) = talk(packet.iter().map(|b| vec![*b]).collect()).await;
        let Startup::Session(_, parameters) = result.unwrap().unwrap() else { panic!() };
        assert_eq!(parameters.get("database"), Some("shop/x"));
        assert!(answer.is_empty());
    }

    #[tokio::test]
    async fn newer_versions_are_negotiated() {
        let (result, answer) = talk(vec![startup(V30 | 9999, &[("user", "u"), ("_pq_.x", "1")])]).await;
        let Startup::Session(_, parameters) = result.unwrap().unwrap() else { panic!() };
        assert_eq!(parameters.minor, 2);
        assert_eq!(answer, b"v\0\0\0\x13\0\x03\0\x02\0\0\0\x01_pq_.x\0");
    }

    #[tokio::test]
    async fn encryption_is_refused_without_a_certificate() {
        let ask = |code: i32| [8i32.to_be_bytes(), code.to_be_bytes()].concat();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (tcp, _) = listener.accept().await.unwrap();
        let server = tokio::spawn(async move { accept(tcp, None).await });
        for code in [GSSENC, SSL] {
            client.write_all(&ask(code)).await.unwrap();
            assert_eq!(client.read_u8().await.unwrap(), b'N');
        }
        client.write_all(&startup(V30, &[("user", "u")])).await.unwrap();
        assert!(matches!(server.await.unwrap().unwrap(), Some(Startup::Session(..))));
    }

    #[tokio::test]
    async fn bytes_behind_an_ssl_request_are_refused() {
        let mut packet = [8i32.to_be_bytes(), SSL.to_be_bytes()].concat();
        packet.extend(startup(V30, &[("user", "u")]));
        let (result, answer) = talk(vec![packet]).await;
        assert_eq!(result.unwrap_err().code(), "08P01");
        assert_eq!(answer[0], b'E');
    }

    #[tokio::test]
    async fn garbage_is_refused() {
        for garbage in
            [b"GET / HTTP/1.1\r\n\r\n".to_vec(), vec![0; 8], vec![0xff; 8], vec![0, 0, 0, 4, 0, 0, 0, 0]]
        {
            let (result, answer) = talk(vec![garbage]).await;
            assert_eq!(result.unwrap_err().code(), "08P01");
            assert_eq!(answer[0], b'E');
        }
        let (result, _) = talk(vec![startup(2 << 16, &[("user", "u")])]).await;
        assert_eq!(result.unwrap_err().code(), "0A000");
        let (result, _) = talk(vec![vec![0, 0, 0]]).await;
        assert!(result.unwrap().is_none());
    }

    #[tokio::test]
    async fn a_cancel_request_carries_its_key() {
        let packet = [16i32.to_be_bytes(), CANCEL.to_be_bytes(), 7i32.to_be_bytes(), [1, 2, 3, 4]].concat();
        let (result, _) = talk(vec![packet]).await;
        assert!(
            matches!(result.unwrap(), Some(Startup::Cancel { pid: 7, secret }) if secret == [1, 2, 3, 4])
        );
    }
}
