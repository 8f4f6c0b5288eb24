//! Hooks that are signed requests.

use std::path::Path;
use std::time::Duration;

use epoch_adapter::{Error, Result};
use hmac::{Hmac, Mac};
use sha2::Sha256;

use super::{Payload, http, message};

/// How long to wait before the first repetition; each further one waits twice as long.
const PAUSE: Duration = Duration::from_millis(200);

/// One try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// The status of the answer, if there was one.
    pub status: Option<u16>,
    /// Why it isn't good; `None` if it is.
    pub problem: Option<String>,
}

/// Sends the payload until it is answered with 2xx (yes) or 4xx (no), at most `retries` times more. All attempts are
/// returned; the last one decides.
pub async fn webhook(
    url: &str,
    secret: &str,
    root: Option<&Path>,
    payload: &Payload,
    limit: Duration,
    retries: usize,
) -> Result<Vec<Attempt>> {
    let body = serde_json::to_string(payload).map_err(|e| Error::internal(e.to_string()))?;
    let mut attempts = Vec::new();
    let mut pause = PAUSE;
    loop {
        let timestamp = chrono::Utc::now().timestamp().to_string();
        let signature = format!("sha256={}", sign(secret, &timestamp, &body)?);
        let headers = [
            ("X-Epoch-Event", payload.event.as_str()),
            ("X-Epoch-Delivery", payload.delivery.as_str()),
            ("X-Epoch-Timestamp", timestamp.as_str()),
            ("X-Epoch-Signature", signature.as_str()),
        ];
        let attempt = judge(http::post(url, root, &headers, &body, limit).await);
        let again = attempt.problem.is_some() && !attempt.status.is_some_and(|s| (400..500).contains(&s));
        attempts.push(attempt);
        if !again || attempts.len() > retries {
            return Ok(attempts);
        }
        tokio::time::sleep(pause).await;
        pause *= 2;
    }
}

fn judge(answer: std::result::Result<http::Answer, String>) -> Attempt {
    match answer {
        Err(problem) => Attempt { status: None, problem: Some(problem) },
        Ok(answer) if (200..300).contains(&answer.status) => {
            Attempt { status: Some(answer.status), problem: None }
        }
        Ok(answer) => {
            let said = message(&answer.body);
            let problem = if said.is_empty() { format!("the answer is {}", answer.status) } else { said };
            Attempt { status: Some(answer.status), problem: Some(problem) }
        }
    }
}

/// HMAC-SHA256 of time and body, in hexadecimal digits.
fn sign(secret: &str, timestamp: &str, body: &str) -> Result<String> {
    let mut mac =
        Hmac::<Sha256>::new_from_slice(secret.as_bytes()).map_err(|e| Error::internal(e.to_string()))?;
    mac.update(timestamp.as_bytes());
    mac.update(b".");
    mac.update(body.as_bytes());
    Ok(mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    const SECRET: &str = "0123456789abcdef";

    /// Answers one request after the other, and returns them.
    async fn server(answers: Vec<&'static str>) -> (String, tokio::task::JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let served = tokio::spawn(async move {
            let mut requests = Vec::new();
            for answer in answers {
                let (mut tcp, _) = listener.accept().await.unwrap();
                let mut text = String::new();
                while !text.ends_with('}') {
                    let mut part = [0; 4096];
                    let n = tcp.read(&mut part).await.unwrap();
                    text.push_str(std::str::from_utf8(&part[..n]).unwrap());
                }
                requests.push(text);
                tcp.write_all(answer.as_bytes()).await.unwrap();
            }
            requests
        });
        (url, served)
    }

    async fn send(url: &str, retries: usize) -> Vec<Attempt> {
        let payload = Payload { event: "pre-tag".to_owned(), delivery: "7".to_owned(), ..Payload::default() };
        webhook(url, SECRET, None, &payload, Duration::from_secs(20), retries).await.unwrap()
    }

    #[test]
    fn the_signature_is_the_one_of_rfc_2104() {
        // As `printf '%s' '12.{}' | openssl dgst -sha256 -hmac 0123456789abcdef` says.
        let signature = sign(SECRET, "12", "{}").unwrap();
        let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
        mac.update(b"12.{}");
        let bytes: Vec<u8> = (0..32)
            .map(|i| u8::from_str_radix(signature.get(2 * i..2 * i + 2).unwrap(), 16).unwrap())
            .collect();
        mac.verify_slice(&bytes).unwrap();
    }

    #[tokio::test]
    async fn a_request_is_signed_and_sent_until_it_is_answered() {
        let (url, served) = server(vec![
            "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        ])
        .await;
        let attempts = send(&url, 3).await;
        assert_eq!(attempts.len(), 2);
        assert_eq!(attempts[0], Attempt { status: Some(503), problem: Some("the answer is 503".to_owned()) });
        assert_eq!(attempts[1], Attempt { status: Some(200), problem: None });
        for request in served.await.unwrap() {
            let header = |name: &str| {
                let line = request.lines().find_map(|line| line.strip_prefix(name)).unwrap();
                line.trim().to_owned()
            };
            let body = request.split_once("\r\n\r\n").unwrap().1;
            let expected = sign(SECRET, &header("X-Epoch-Timestamp:"), body).unwrap();
            assert_eq!(header("X-Epoch-Signature:"), format!("sha256={expected}"));
            assert!(body.contains("\"event\":\"pre-tag\""), "{body}");
            assert!(!request.contains(SECRET), "{request}");
        }
    }

    #[tokio::test]
    async fn a_refusal_is_not_asked_again() {
        let (url, served) = server(vec!["HTTP/1.1 422 No\r\n\r\nnot today"]).await;
        let attempts = send(&url, 3).await;
        assert_eq!(attempts, [Attempt { status: Some(422), problem: Some("not today".to_owned()) }]);
        served.await.unwrap();
    }

    #[tokio::test]
    async fn nobody_there_is_a_no_after_the_last_try() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        drop(listener);
        let attempts = send(&url, 1).await;
        assert_eq!(attempts.len(), 2);
        assert!(attempts[1].problem.as_deref().unwrap().starts_with("could not connect"));
    }
}
