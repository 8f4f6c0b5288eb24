//! One POST, as HTTP/1.1 over TCP or TLS: all that a webhook needs.

use std::path::Path;
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::wire::tls;

/// The most of an answer that is read, in bytes.
const MOST_ANSWER: u64 = 64 << 10;

/// An address as it is written.
#[derive(Debug, PartialEq, Eq)]
struct Address<'a> {
    tls: bool,
    /// For the `Host` header.
    authority: &'a str,
    host: &'a str,
    port: u16,
    /// Path and query.
    path: String,
    /// `user:password`.
    login: Option<&'a str>,
}

impl<'a> Address<'a> {
    fn parse(url: &'a str) -> Option<Self> {
        let (tls, rest) = match url.strip_prefix("https://") {
            Some(rest) => (true, rest),
            None => (false, url.strip_prefix("http://")?),
        };
        let rest = rest.split('#').next().unwrap_or_default();
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at_checked(end)?;
        let (login, authority) = match authority.rsplit_once('@') {
            Some((login, authority)) => (Some(login), authority),
            None => (None, authority),
        };
        let (host, port) = match authority.strip_prefix('[') {
            Some(v6) => {
                let (host, after) = v6.split_once(']')?;
                (host, after.strip_prefix(':'))
            }
            None => match authority.rsplit_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (authority, None),
            },
        };
        let port = match port {
            Some(port) => port.parse().ok()?,
            None if tls => 443,
            None => 80,
        };
        let plain = !url.contains(|c: char| c.is_whitespace() || c.is_control());
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        (plain && !host.is_empty()).then_some(Self { tls, authority, host, port, path, login })
    }
}

/// What was answered.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: String,
}

/// Sends a JSON text. The error says why there is no answer; it doesn't quote the address.
pub(super) async fn post(
    url: &str,
    root: Option<&Path>,
    headers: &[(&str, &str)],
    body: &str,
    limit: Duration,
) -> Result<Answer, String> {
    let sent = tokio::time::timeout(limit, send(url, root, headers, body)).await;
    sent.unwrap_or_else(|_| Err(format!("no answer within {} s", limit.as_secs())))
}

async fn send(
    url: &str,
    root: Option<&Path>,
    headers: &[(&str, &str)],
    body: &str,
) -> Result<Answer, String> {
    let address = Address::parse(url).ok_or("the address is not understood")?;
    let tcp = TcpStream::connect((address.host, address.port)).await;
    let tcp = tcp.map_err(|e| format!("could not connect: {e}"))?;
    let request = request(&address, headers, body);
    if !address.tls {
        return exchange(tcp, &request).await;
    }
    let connector = tls::web_connector(root).map_err(|e| e.message().to_owned())?;
    let name = ServerName::try_from(address.host.to_owned()).map_err(|e| e.to_string())?;
    let stream = connector.connect(name, tcp).await.map_err(|e| format!("could not connect by TLS: {e}"))?;
    exchange(stream, &request).await
}

fn request(address: &Address<'_>, headers: &[(&str, &str)], body: &str) -> String {
    use base64::Engine as _;
    let mut text = format!(
        "POST {} HTTP/1.1\r\nHost: {}\r\nUser-Agent: horizon-epoch/{}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\nConnection: close\r\nAccept: */*\r\n",
        address.path,
        address.authority,
        env!("CARGO_PKG_VERSION"),
        body.len()
    );
    if let Some(login) = address.login {
        let login = base64::engine::general_purpose::STANDARD.encode(login);
        text.push_str(&format!("Authorization: Basic {login}\r\n"));
    }
    for (name, value) in headers {
        let value: String = value.chars().filter(|c| !c.is_control()).collect();
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str("\r\n");
    text.push_str(body);
    text
}

async fn exchange(mut stream: impl AsyncRead + AsyncWrite + Unpin, request: &str) -> Result<Answer, String> {
    let lost = |e: std::io::Error| format!("the connection was lost: {e}");
    stream.write_all(request.as_bytes()).await.map_err(lost)?;
    stream.flush().await.map_err(lost)?;
    let mut answer = Vec::new();
    let mut limited = stream.take(MOST_ANSWER);
    let mut failed = None;
    // The other side need not close the connection.
    while !is_whole(&answer) {
        match limited.read_buf(&mut answer).await {
            Ok(0) => break,
            Ok(_) => {}
            // Some servers end TLS without a word.
            Err(error) => {
                failed = Some(error);
                break;
            }
        }
    }
    match parse(&answer) {
        Some(answer) => Ok(answer),
        None => Err(failed.map_or_else(|| "the answer is not HTTP".to_owned(), lost)),
    }
}

/// Whether the end of an answer was read, by what its head says. (Without a length, it ends with the connection.)
fn is_whole(answer: &[u8]) -> bool {
    let text = String::from_utf8_lossy(answer);
    let mut rest = text.as_ref();
    while let Some((head, body)) = rest.split_once("\r\n\r\n") {
        let status = head.split(' ').nth(1).unwrap_or_default();
        if status.starts_with('1') {
            rest = body;
            continue;
        }
        let length: Option<usize> = header(head, "content-length").and_then(|value| value.parse().ok());
        return matches!(status, "204" | "304")
            || if is_chunked(head) {
                body.ends_with("0\r\n\r\n")
            } else {
                length.is_some_and(|length| body.len() >= length)
            };
    }
    false
}

/// The value of a header.
fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let lines = head.split("\r\n").filter_map(|line| line.split_once(':'));
    lines.filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).next()
}

fn is_chunked(head: &str) -> bool {
    header(head, "transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked"))
}

fn parse(answer: &[u8]) -> Option<Answer> {
    let text = String::from_utf8_lossy(answer);
    let mut rest = text.as_ref();
    loop {
        let (head, body) = rest.split_once("\r\n\r\n")?;
        let mut lines = head.split("\r\n");
        let mut first = lines.next()?.splitn(3, ' ');
        if !first.next()?.starts_with("HTTP/1.") {
            return None;
        }
        let status: u16 = first.next()?.parse().ok()?;
        if (100..200).contains(&status) {
            rest = body;
            continue;
        }
        let body = if is_chunked(head) { unchunked(body) } else { body.to_owned() };
        return Some(Answer { status, body });
    }
}

/// The chunks of a body, as far as they came.
fn unchunked(mut body: &str) -> String {
    let mut out = String::new();
    while let Some((size, rest)) = body.split_once("\r\n") {
        let size = usize::from_str_radix(size.split(';').next().unwrap_or_default().trim(), 16).unwrap_or(0);
        let (chunk, rest) = rest.split_at_checked(size).unwrap_or((rest, ""));
        if size == 0 {
            break;
        }
        out.push_str(chunk);
        body = rest.strip_prefix("\r\n").unwrap_or_default();
    }
    out
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_taken_apart() {
        let address = Address::parse("https://me:p@w@example.com/a/b?c=d#e").unwrap();
        assert_eq!((address.tls, address.host, address.port), (true, "example.com", 443));
        assert_eq!((address.path.as_str(), address.login), ("/a/b?c=d", Some("me:p@w")));
        let address = Address::parse("http://[::1]:8080?x").unwrap();
        assert_eq!(
            (address.tls, address.host, address.port, address.path.as_str()),
            (false, "::1", 8080, "/?x")
        );
        assert_eq!(address.authority, "[::1]:8080");
        assert_eq!(Address::parse("http://h").unwrap().path, "/");
        for wrong in [
            "ftp://h/",
            "http:///x",
            "http://h:port/",
            "http://h:99999/",
            "http://h/a b",
            "http://h/\r\nX: y",
        ] {
            assert_eq!(Address::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn answers_are_read_in_all_their_forms() {
        let answer = |text: &str| parse(text.as_bytes()).map(|a| (a.status, a.body));
        assert_eq!(answer("HTTP/1.1 204 No Content\r\n\r\n"), Some((204, String::new())));
        assert_eq!(
            answer("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 422 No\r\nX: y\r\n\r\nnot today"),
            Some((422, "not today".to_owned()))
        );
        let chunked =
            "HTTP/1.1 500 Oh\r\ntransfer-encoding: Chunked\r\n\r\n4;x=y\r\nnot \r\n5\r\ntoday\r\n0\r\n\r\n";
        assert_eq!(answer(chunked), Some((500, "not today".to_owned())));
        for wrong in ["", "HTTP/1.1 200 OK\r\n", "SSH-2.0\r\n\r\n", "HTTP/1.1 abc\r\n\r\n"] {
            assert_eq!(answer(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn an_answer_ends_where_its_head_says() {
        for (answer, whole) in [
            ("HTTP/1.1 204 No Content\r\n\r\n", true),
            ("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\no", false),
            ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", true),
            ("HTTP/1.1 100 Continue\r\n\r\n", false),
            ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", true),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n", false),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", true),
            ("HTTP/1.1 200 OK\r\n\r\nuntil the end", false),
            ("HTTP/1.1 200 OK\r\nContent-Le", false),
        ] {
            assert_eq!(is_whole(answer.as_bytes()), whole, "{answer}");
        }
    }

    #[test]
    fn headers_can_not_be_smuggled_in() {
        let address = Address::parse("http://h/").unwrap();
        let text = request(&address, &[("X-Epoch-Event", "a\r\nX-Evil: 1")], "{}");
        assert!(text.contains("X-Epoch-Event: aX-Evil: 1\r\n\r\n{}"), "{text}");
    }
}
