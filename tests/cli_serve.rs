//! `epoch serve` as a service manager sees it.

#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

use std::io::{BufRead, BufReader, Read};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let text = "[repository]\nname = \"shop\"\n[storage.sqlite.shop]\npath = \"shop.db\"\n";
    std::fs::write(folder.path().join("epoch.toml"), text).unwrap();
    folder
}

fn serve(folder: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_epoch"));
    command.arg("serve").args(args).current_dir(folder).env("HOME", folder).env_remove("EPOCH_CONFIG_FILE");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// The address of the readiness line.
fn ready(child: &mut Child) -> String {
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    let url = line.strip_prefix("ready: postgresql://").unwrap_or_else(|| panic!("{line:?}"));
    url.strip_suffix("/shop\n").unwrap().to_owned()
}

fn signal(child: &Child, name: &str) {
    let sent = Command::new("kill").args([name, &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
}

/// The end of the process; killed if it takes a minute.
fn end(mut child: Child) -> (ExitStatus, String) {
    let begun = std::time::Instant::now();
    while child.try_wait().unwrap().is_none() {
        if begun.elapsed().as_secs() > 60 {
            child.kill().unwrap();
            panic!("it doesn't stop");
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    let mut log = String::new();
    child.stderr.take().unwrap().read_to_string(&mut log).unwrap();
    (child.wait().unwrap(), log)
}

#[test]
fn it_says_when_it_is_ready_and_stops_on_a_signal() {
    let folder = folder();
    for name in ["-TERM", "-INT"] {
        let mut child = serve(folder.path(), &["--listen", "127.0.0.1:0"]).spawn().unwrap();
        let address = ready(&mut child);
        // A client that says nothing doesn't hold it up.
        let idle = TcpStream::connect(&address).unwrap();
        let begun = std::time::Instant::now();
        signal(&child, name);
        let (status, log) = end(child);
        assert!(status.success(), "{name}: {status} {log}");
        assert!(begun.elapsed().as_secs() < 8, "{:?}", begun.elapsed());
        assert!(log.contains("stopped"), "{log}");
        assert!(TcpStream::connect(&address).is_err());
        drop(idle);
    }
}

#[test]
fn what_cannot_be_served_is_said_and_ends_with_1() {
    let folder = folder();
    let fails = |args: &[&str]| {
        let (status, log) = end(serve(folder.path(), args).spawn().unwrap());
        assert_eq!(status.code(), Some(1), "{log}");
        log
    };
    assert!(fails(&["--listen", "0.0.0.0:0"]).contains("scram-sha-256"));
    assert!(fails(&["--listen", "nonsense"]).contains("--listen: proxy.listen"));
    assert!(fails(&["--config", "none.toml"]).contains("none.toml"));
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    assert!(fails(&["--listen", &address]).contains(&address));
}

#[test]
fn logs_are_json_if_wanted() {
    let folder = folder();
    let mut child = serve(folder.path(), &["--listen", "127.0.0.1:0"])
        .env("EPOCH_LOGGING_FORMAT", "json")
        .spawn()
        .unwrap();
    ready(&mut child);
    signal(&child, "-TERM");
    let (_, log) = end(child);
    assert!(!log.is_empty());
    for line in log.lines() {
        serde_json::from_str::<serde_json::Value>(line).unwrap_or_else(|e| panic!("{e}: {line}"));
    }
}
