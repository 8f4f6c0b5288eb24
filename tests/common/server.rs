//! A PostgreSQL server of the test's own.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::conn::Target;
use super::psql::tool;

/// In a temporary folder; stops with the value.
pub struct Server {
    pub target: Target,
    pub dir: tempfile::TempDir,
}

impl Server {
    /// `settings` as on the command line; `prepare` may change the data folder before the start.
    pub fn start(settings: &str, prepare: impl FnOnce(&Path)) -> Self {
        let dir = tempfile::Builder::new().prefix("epoch-server-").tempdir().unwrap();
        own(dir.path());
        let data = dir.path().join("data");
        run(as_server(&tool("initdb")).args(["--no-sync", "-A", "trust", "-U", "postgres", "-D"]).arg(&data));
        prepare(&data);
        // Somebody else may take the port before the server does.
        for _ in 0..5 {
            let port = free_port();
            if start(dir.path(), port, settings) {
                let target = Target::parse(&format!("postgresql://postgres@127.0.0.1:{port}/postgres"));
                return Self { target, dir };
            }
        }
        let log = std::fs::read_to_string(dir.path().join("log")).unwrap_or_default();
        panic!("PostgreSQL doesn't start: {log}");
    }
}

impl Server {
    /// kill -9 of all of it, then a start in the same place, which recovers what was acknowledged.
    pub fn crash(&self, settings: &str) {
        let pid = std::fs::read_to_string(self.dir.path().join("data/postmaster.pid")).unwrap();
        let pid = pid.lines().next().unwrap().trim().to_owned();
        let children =
            Command::new("pgrep").args(["-P", &pid]).output().map(|o| o.stdout).unwrap_or_default();
        let children = String::from_utf8_lossy(&children).into_owned();
        run(Command::new("kill").args(["-9", &pid]));
        for child in children.split_whitespace() {
            let _ = Command::new("kill").args(["-9", child]).stderr(Stdio::null()).status();
        }
        // The memory that its processes share is there until the last of them is gone.
        let started = (0..60).any(|_| {
            start(self.dir.path(), self.target.port, settings) || {
                std::thread::sleep(std::time::Duration::from_millis(250));
                false
            }
        });
        let log = std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
        assert!(started, "PostgreSQL doesn't come back: {log}");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let mut stop = as_server(&tool("pg_ctl"));
        let _ =
            stop.args(["-s", "-m", "immediate", "-D"]).arg(self.dir.path().join("data")).arg("stop").status();
    }
}

fn start(dir: &Path, port: u16, settings: &str) -> bool {
    let settings = format!(
        "-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={} {settings}",
        dir.display()
    );
    let mut start = as_server(&tool("pg_ctl"));
    start.args(["-w", "-s", "-D"]).arg(dir.join("data")).arg("-l").arg(dir.join("log"));
    start.args(["-o", &settings, "start"]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    start.status().is_ok_and(|status| status.success())
}

/// Writes a file that only the server may read.
pub fn put(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(path, mode).unwrap();
    own(path);
}

/// root must not run PostgreSQL: then it runs as `postgres`.
pub fn as_server(program: &Path) -> Command {
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--init-groups"]).arg(program).current_dir("/");
    command
}

fn own(path: &Path) {
    if is_root() {
        run(Command::new("chown").arg("postgres").arg(path));
    }
}

fn is_root() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status
        .lines()
        .any(|l| l.strip_prefix("Uid:").is_some_and(|ids| ids.split_whitespace().nth(1) == Some("0")))
}

pub fn run(command: &mut Command) {
    let output = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()
        .unwrap_or_else(|e| panic!("{command:?}: {e}"));
    assert!(output.success(), "{command:?} failed");
}

pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Where the server's own programs are.
pub fn is_installed() -> bool {
    let given: PathBuf = tool("initdb");
    given.exists() && given.is_absolute()
}
