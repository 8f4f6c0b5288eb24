//! Hooks that are commands.

use std::path::Path;
use std::process::Stdio;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use epoch_adapter::{Error, Result};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};

use super::{Payload, message};

/// The most output that is looked at, in bytes.
const MOST_OUTPUT: usize = 64 << 10;
/// How long what a command said may take to arrive when it has ended.
const REST: Duration = Duration::from_millis(100);

/// Runs a line by `/bin/sh`. It gets the payload as JSON, and in `EPOCH_…` variables; of the proxy's own environment,
/// where secrets may be, it gets `PATH` alone. The error is what it said, in the inner result.
pub async fn command(
    line: &str,
    folder: &Path,
    payload: &Payload,
    limit: Duration,
) -> Result<std::result::Result<(), String>> {
    let text = serde_json::to_string(payload).map_err(|e| Error::internal(e.to_string()))?;
    let mut command = Command::new("/bin/sh");
    command.arg("-c").arg(line).current_dir(folder).env_clear().envs(variables(payload));
    if let Some(path) = std::env::var_os("PATH") {
        command.env("PATH", path);
    }
    // With what it started itself, as a group of its own.
    command.process_group(0).kill_on_drop(true);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(e) => return Ok(Err(format!("the command could not be started: {e}"))),
    };
    let ended = tokio::time::timeout(limit, talk(&mut child, &text)).await;
    match ended {
        Ok(result) => Ok(result),
        Err(_) => {
            kill(&mut child).await;
            Ok(Err(format!("the command took longer than {} s", limit.as_secs())))
        }
    }
}

/// Ends it and what it started.
async fn kill(child: &mut Child) {
    if let Some(pid) = child.id() {
        let group = Command::new("/bin/kill").arg("-KILL").arg("--").arg(format!("-{pid}")).status().await;
        if group.is_ok_and(|status| status.success()) {
            let _ = child.wait().await;
            return;
        }
    }
    let _ = child.kill().await;
}

async fn talk(child: &mut Child, text: &str) -> std::result::Result<(), String> {
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let write = async {
        if let Some(mut stdin) = stdin {
            // It need not read what it doesn't want to know.
            let _ = stdin.write_all(text.as_bytes()).await;
        }
    };
    let (out, err) = (Mutex::default(), Mutex::default());
    let talked = async { tokio::join!(write, all(stdout, &out), all(stderr, &err)) };
    tokio::pin!(talked);
    let status = tokio::select! {
        _ = &mut talked => child.wait().await,
        status = child.wait() => {
            // What it started may go on and keep its output open. What it said itself is there by now.
            let _ = tokio::time::timeout(REST, talked).await;
            status
        }
    };
    let status = status.map_err(|e| format!("the command was lost: {e}"))?;
    if status.success() {
        return Ok(());
    }
    let text = |bytes: &Mutex<Vec<u8>>| {
        String::from_utf8_lossy(&bytes.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    };
    let (out, err) = (text(&out), text(&err));
    let said = if err.trim().is_empty() { out } else { err };
    let said = message(&said);
    Err(if said.is_empty() { format!("the command ended with {status}") } else { said })
}

/// Keeps what comes out, up to a limit; the rest is read and dropped, so that the other side doesn't wait.
async fn all(from: Option<impl AsyncRead + Unpin>, kept: &Mutex<Vec<u8>>) {
    let Some(mut from) = from else { return };
    let mut piece = vec![0; 8 << 10];
    while let Ok(n @ 1..) = from.read(&mut piece).await {
        let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
        let room = MOST_OUTPUT.saturating_sub(kept.len());
        kept.extend(piece.iter().take(n.min(room)));
    }
}

fn variables(payload: &Payload) -> Vec<(&'static str, String)> {
    // A variable can't hold NUL.
    let clean = |text: &str| text.replace('\0', "");
    let mut all = vec![
        ("EPOCH_HOOK", clean(&payload.hook)),
        ("EPOCH_EVENT", clean(&payload.event)),
        ("EPOCH_DELIVERY", clean(&payload.delivery)),
        ("EPOCH_REPOSITORY", clean(&payload.repository)),
        ("EPOCH_BRANCH", clean(&payload.branch)),
        ("EPOCH_ACTION", clean(&payload.action)),
        ("EPOCH_USER", clean(&payload.user)),
    ];
    let some = [
        ("EPOCH_SOURCE", &payload.source),
        ("EPOCH_MESSAGE", &payload.message),
        ("EPOCH_HASH", &payload.hash),
    ];
    all.extend(some.into_iter().filter_map(|(name, value)| Some((name, clean(value.as_deref()?)))));
    all
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    async fn run(line: &str) -> std::result::Result<(), String> {
        let payload =
            Payload { event: "pre-commit".to_owned(), branch: "a'; exit 7".to_owned(), ..Payload::default() };
        command(line, Path::new("/"), &payload, Duration::from_secs(20)).await.unwrap()
    }

    #[tokio::test]
    async fn a_command_says_yes_or_no() {
        assert_eq!(run("true").await, Ok(()));
        assert_eq!(run("echo 'not on Fridays' >&2; exit 1").await, Err("not on Fridays".to_owned()));
        assert_eq!(run("exit 3").await, Err("the command ended with exit status: 3".to_owned()));
        assert!(run("/no/such/file").await.is_err());
    }

    #[tokio::test]
    async fn it_knows_what_happens_and_nothing_else() {
        assert_eq!(
            run("test \"$EPOCH_EVENT\" = pre-commit && test \"$EPOCH_BRANCH\" = \"a'; exit 7\"").await,
            Ok(())
        );
        assert_eq!(run("grep -q '\"event\":\"pre-commit\"'").await, Ok(()));
        // cargo sets this one for each test.
        assert!(std::env::var_os("CARGO_MANIFEST_DIR").is_some());
        assert_eq!(run("test -z \"$CARGO_MANIFEST_DIR\"").await, Ok(()));
    }

    #[tokio::test]
    async fn one_that_takes_too_long_is_ended_with_all_that_it_started() {
        let folder = std::env::temp_dir();
        let limit = Duration::from_millis(300);
        let started = std::time::Instant::now();
        // The pipe stays open as long as the inner one lives.
        let ended = command("sleep 300 & sleep 300", &folder, &Payload::default(), limit).await.unwrap();
        assert!(ended.unwrap_err().contains("longer"));
        assert!(started.elapsed() < Duration::from_secs(60));
    }

    /// As git: it is the hook that is waited for.
    #[tokio::test]
    async fn what_it_leaves_running_is_not_waited_for() {
        assert_eq!(run("sleep 300 & exit 0").await, Ok(()));
        assert_eq!(run("sleep 300 & echo no; exit 1").await, Err("no".to_owned()));
    }

    #[tokio::test]
    async fn a_flood_of_output_is_cut() {
        let ended = run("head -c 3000000 /dev/zero | tr '\\0' x >&2; exit 1").await;
        assert_eq!(ended.unwrap_err().len(), 1_000);
    }
}
