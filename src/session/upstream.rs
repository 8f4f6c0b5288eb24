//! Connections to a PostgreSQL backend: one per client session, opened with the client's own
//! start-up parameters.

use std::path::PathBuf;
use std::time::Duration;

use epoch_adapter::{Error, Result, sqlstate};
use postgres_protocol::authentication::md5_hash;
use postgres_protocol::authentication::sasl::{ChannelBinding, SCRAM_SHA_256, ScramSha256};
use rustls::pki_types::ServerName;
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsStream;

use crate::config::Secret;
use crate::wire::decode::{Body, Fields};
use crate::wire::startup::lost;
use crate::wire::tls::{self, SslMode};
use crate::wire::{Channel, Stream, encode, frame};

/// Where a backend is and how to get in.
#[derive(Debug, Clone)]
pub struct Target {
    name: String,
    hosts: Vec<(Host, u16)>,
    user: String,
    password: Option<Secret>,
    database: String,
    options: Option<String>,
    ssl: SslMode,
    root: Option<PathBuf>,
    timeout: Duration,
}

#[derive(Debug, Clone)]
enum Host {
    Tcp(String),
    Unix(PathBuf),
}

/// A connection that is ready for queries.
#[derive(Debug)]
pub struct Upstream {
    /// The connection.
    pub channel: Channel,
    /// ParameterStatus and NoticeResponse messages of the start, as they came.
    pub greeting: Vec<u8>,
    /// How to cancel what runs on it.
    pub cancel: CancelKey,
}

/// What it takes to cancel a statement upstream.
#[derive(Debug, Clone)]
pub struct CancelKey {
    target: Target,
    host: usize,
    pid: i32,
    secret: Vec<u8>,
}

impl Target {
    /// Reads a backend's URL. `name` is its name in the configuration, for messages.
    pub fn parse(name: &str, url: &Secret) -> Result<Self> {
        let bad = |detail: &str| {
            Error::new(sqlstate::CONFIG_FILE_ERROR, format!("invalid URL of backend \"{name}\""))
                .with_detail(detail)
        };
        let (url, ssl, root) = split_ssl(url.expose())?;
        let config: tokio_postgres::Config =
            url.parse().map_err(|_| bad("It can't be read as a PostgreSQL URL."))?;
        let user = config.get_user().ok_or_else(|| bad("It lacks a user."))?.to_owned();
        let password =
            config.get_password().map(|p| String::from_utf8_lossy(p).into_owned()).map(Secret::new);
        let ports = config.get_ports();
        let port = |i: usize| ports.get(i).or(ports.first()).copied().unwrap_or(5432);
        let hosts: Vec<_> = config
            .get_hosts()
            .iter()
            .enumerate()
            .map(|(i, host)| match host {
                tokio_postgres::config::Host::Tcp(host) => (Host::Tcp(host.clone()), port(i)),
                tokio_postgres::config::Host::Unix(path) => (Host::Unix(path.clone()), port(i)),
            })
            .collect();
        if hosts.is_empty() {
            return Err(bad("It lacks a host."));
        }
        Ok(Self {
            name: name.to_owned(),
            hosts,
            database: config.get_dbname().unwrap_or(&user).to_owned(),
            user,
            password,
            options: config.get_options().map(str::to_owned),
            ssl,
            root,
            timeout: config.get_connect_timeout().copied().unwrap_or(Duration::from_secs(10)),
        })
    }

    /// Connects and logs in. `parameters` go into the start-up packet beside user and database;
    /// `options` are appended to those of the URL.
    pub async fn connect(&self, parameters: &[(&str, &str)], options: &str) -> Result<Upstream> {
        let mut last = self.unreachable("It has no host.");
        for (i, (host, port)) in self.hosts.iter().enumerate() {
            let opened = tokio::time::timeout(self.timeout, self.open(host, *port));
            match opened.await.unwrap_or_else(|_| Err(self.unreachable("The connection timed out."))) {
                Ok(stream) => return self.log_in(Channel::new(stream), i, parameters, options).await,
                Err(error) => last = error,
            }
        }
        tracing::warn!(backend = %self.name, detail = last.detail(), "could not connect to the backend");
        Err(last)
    }

    fn unreachable(&self, detail: impl Into<String>) -> Error {
        Error::new(
            sqlstate::SQLCLIENT_UNABLE_TO_ESTABLISH,
            format!("could not connect to backend \"{}\"", self.name),
        )
        .with_detail(detail)
    }

    async fn open(&self, host: &Host, port: u16) -> Result<Stream> {
        let refused = |e: std::io::Error| self.unreachable(e.to_string());
        match host {
            Host::Unix(directory) => {
                let path = directory.join(format!(".s.PGSQL.{port}"));
                Ok(Stream::Unix(UnixStream::connect(path).await.map_err(refused)?))
            }
            Host::Tcp(host) => {
                let tcp = TcpStream::connect((host.as_str(), port)).await.map_err(refused)?;
                tcp.set_nodelay(true).map_err(refused)?;
                self.encrypt(tcp, host).await
            }
        }
    }

    async fn encrypt(&self, tcp: TcpStream, host: &str) -> Result<Stream> {
        if self.ssl == SslMode::Disable {
            return Ok(Stream::Tcp(tcp));
        }
        let mut channel = Channel::new(tcp);
        channel.output.push(&[0, 0, 0, 8, 4, 210, 22, 47]);
        channel.flush().await.map_err(lost)?;
        channel.fill(0).await.map_err(lost)?;
        // Exactly one byte: what came behind it was sent in the clear.
        match &channel.input[..] {
            b"S" => {
                let name = ServerName::try_from(host.to_owned())
                    .map_err(|_| self.unreachable("The host's name is invalid."))?;
                let connector = tls::connector(self.ssl, self.root.as_deref())?;
                let stream = connector
                    .connect(name, channel.into_stream())
                    .await
                    .map_err(|e| self.unreachable(e.to_string()))?;
                Ok(Stream::Tls(Box::new(TlsStream::Client(stream))))
            }
            b"N" if self.ssl == SslMode::Prefer => Ok(Stream::Tcp(channel.into_stream())),
            b"N" => Err(self.unreachable("The server does not support TLS, but sslmode requires it.")),
            _ => Err(self.unreachable("The server's answer to the TLS request is invalid.")),
        }
    }

    async fn log_in(
        &self,
        mut channel: Channel,
        host: usize,
        parameters: &[(&str, &str)],
        options: &str,
    ) -> Result<Upstream> {
        let options = [self.options.as_deref().unwrap_or_default(), options].join(" ");
        encode::prefixed(channel.output.tail(), |out| {
            out.extend_from_slice(&(3i32 << 16).to_be_bytes());
            let own =
                [("user", self.user.as_str()), ("database", &self.database), ("options", options.trim())];
            for (name, value) in own.iter().chain(parameters).filter(|(_, value)| !value.is_empty()) {
                encode::cstr(out, name.as_bytes());
                encode::cstr(out, value.as_bytes());
            }
            out.push(0);
        });
        let mut scram = None;
        let mut greeting = Vec::new();
        let mut key = (0, Vec::new());
        loop {
            channel.flush().await.map_err(lost)?;
            let message = message(&mut channel).await?;
            let mut body = Body::of(&message);
            match message.first() {
                Some(b'R') => self.authenticate(&mut channel, &mut scram, body)?,
                Some(b'K') => key = (body.int32()?, body.0.to_vec()),
                Some(b'S' | b'N') => greeting.extend_from_slice(&message),
                Some(b'E') => return Err(self.refused(&Fields::new(&message)?)),
                Some(b'Z') => {
                    let cancel = CancelKey { target: self.clone(), host, pid: key.0, secret: key.1 };
                    return Ok(Upstream { channel, greeting, cancel });
                }
                _ => return Err(self.unreachable("The server sent an unexpected message during start-up.")),
            }
        }
    }

    /// Errors about our own credentials are the operator's; all others are the client's to read.
    fn refused(&self, fields: &Fields) -> Error {
        let error = fields.to_error();
        if !error.code().starts_with("28") {
            return error;
        }
        tracing::warn!(backend = %self.name, code = error.code(), "the backend refused our credentials");
        self.unreachable(format!("The server refused the proxy's credentials: {}.", error.message()))
    }

    fn authenticate(
        &self,
        channel: &mut Channel,
        scram: &mut Option<ScramSha256>,
        mut body: Body<'_>,
    ) -> Result<()> {
        let out = channel.output.tail();
        match body.int32()? {
            0 => {}
            3 => {
                let password = self.password()?;
                encode::frame(out, b'p', |out| encode::cstr(out, password));
            }
            5 => {
                let salt = body.take(4)?.try_into().unwrap_or_default();
                let hash = md5_hash(self.user.as_bytes(), self.password()?, salt);
                encode::frame(out, b'p', |out| encode::cstr(out, hash.as_bytes()));
            }
            10 => {
                let mut offered = std::iter::from_fn(|| body.cstr().ok().filter(|name| !name.is_empty()));
                if !offered.any(|name| name == SCRAM_SHA_256.as_bytes()) {
                    return Err(self.unreachable("The server offers no SASL mechanism that we know."));
                }
                let client = ScramSha256::new(self.password()?, ChannelBinding::unsupported());
                encode::frame(out, b'p', |out| {
                    encode::cstr(out, SCRAM_SHA_256.as_bytes());
                    encode::cell(out, Some(client.message()));
                });
                *scram = Some(client);
            }
            step @ (11 | 12) => {
                let failed = |_| self.unreachable("The server's SCRAM message is invalid.");
                let client = scram.as_mut().ok_or_else(|| self.unreachable("Unexpected SCRAM message."))?;
                if step == 12 {
                    return client.finish(body.0).map_err(failed);
                }
                client.update(body.0).map_err(failed)?;
                encode::frame(out, b'p', |out| out.extend_from_slice(client.message()));
            }
            other => {
                return Err(self.unreachable(format!(
                    "The server asks for authentication method {other}, which we don't have."
                )));
            }
        }
        Ok(())
    }

    fn password(&self) -> Result<&[u8]> {
        let password = self.password.as_ref().map(|p| p.expose().as_bytes());
        password
            .ok_or_else(|| self.unreachable("The server asks for a password; the backend's URL has none."))
    }
}

/// Takes `sslmode` and `sslrootcert` out of a URL: the driver's parser knows only some of them.
fn split_ssl(url: &str) -> Result<(String, SslMode, Option<PathBuf>)> {
    let (mut mode, mut root) = (SslMode::Prefer, None);
    let Some((base, query)) = url.split_once('?') else { return Ok((url.to_owned(), mode, root)) };
    let mut rest = Vec::new();
    for pair in query.split('&') {
        match pair.split_once('=') {
            Some(("sslmode", value)) => mode = SslMode::parse(value)?,
            Some(("sslrootcert", value)) => {
                root = Some(PathBuf::from(value.replace("%2F", "/").replace("%20", " ")))
            }
            _ => rest.push(pair),
        }
    }
    let url = if rest.is_empty() { base.to_owned() } else { format!("{base}?{}", rest.join("&")) };
    Ok((url, mode, root))
}

async fn message(channel: &mut Channel) -> Result<Vec<u8>> {
    loop {
        if let Some(header) = frame::from_server(&channel.input)? {
            if header.size > frame::SMALL * 10 {
                return Err(Error::new(sqlstate::PROTOCOL_VIOLATION, "the backend sent an invalid message"));
            }
            if let Some(message) = channel.input.get(..header.size) {
                let message = message.to_vec();
                channel.input.consume(header.size);
                return Ok(message);
            }
        }
        if channel.fill(0).await.map_err(lost)? == 0 {
            return Err(Error::new(
                sqlstate::CONNECTION_FAILURE,
                "the backend closed the connection during start-up",
            ));
        }
    }
}

impl CancelKey {
    /// Asks the server to stop what runs on the connection. There is no answer.
    pub async fn send(&self) -> Result<()> {
        let Some((host, port)) = self.target.hosts.get(self.host) else { return Ok(()) };
        let stream = tokio::time::timeout(self.target.timeout, self.target.open(host, *port))
            .await
            .unwrap_or_else(|_| Err(self.target.unreachable("The connection timed out.")))?;
        let mut channel = Channel::new(stream);
        encode::prefixed(channel.output.tail(), |out| {
            out.extend_from_slice(&80_877_102i32.to_be_bytes());
            out.extend_from_slice(&self.pid.to_be_bytes());
            out.extend_from_slice(&self.secret);
        });
        channel.flush().await.map_err(lost)?;
        // The server closes the connection once it has dealt with the request.
        while channel.fill(0).await.unwrap_or(0) > 0 {}
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn ssl_parameters_are_taken_out_of_the_url() {
        let (url, mode, root) =
            split_ssl("postgresql://u@h/d?sslmode=verify-full&options=-c%20a%3Db&sslrootcert=/x").unwrap();
        assert_eq!(url, "postgresql://u@h/d?options=-c%20a%3Db");
        assert_eq!((mode, root), (SslMode::VerifyFull, Some(PathBuf::from("/x"))));
    }

    #[test]
    fn passwords_are_in_no_message() {
        let url = Secret::new("postgresql://me:hunter2@localhost:1/db");
        let target = Target::parse("pg", &url).unwrap();
        assert!(!format!("{target:?}").contains("hunter2"));
        let error = Target::parse("pg", &Secret::new("postgresql://me:hunter2@h/d?bad=1")).unwrap_err();
        assert!(!format!("{error:?}").contains("hunter2"));
    }
}
