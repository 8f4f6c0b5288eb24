//! A PostgreSQL and a PgBouncer of our own, in a temporary folder, on free ports.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::common::conn::{Conn, Target};
use crate::common::psql::tool;

pub struct Servers {
    pub postgres: Target,
    /// `None` if it isn't installed.
    pub pgbouncer: Option<Target>,
    bouncer: Option<Child>,
    dir: tempfile::TempDir,
}

impl Servers {
    pub fn start() -> Self {
        let dir = tempfile::Builder::new().prefix("epoch-bench-").tempdir().unwrap();
        own(dir.path());
        let data = dir.path().join("data");
        run(as_server(&tool("initdb")).args(["--no-sync", "-A", "trust", "-U", "postgres", "-D"]).arg(&data));
        let port = free_port();
        let settings = format!(
            "-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={} -c max_connections=700 \
             -c shared_buffers=1GB -c max_wal_size=8GB -c checkpoint_timeout=30min -c autovacuum=off",
            dir.path().display()
        );
        let mut start = as_server(&tool("pg_ctl"));
        start
            .args(["-w", "-s", "-D"])
            .arg(&data)
            .arg("-l")
            .arg(dir.path().join("log"))
            .args(["-o", &settings, "start"]);
        run(&mut start);
        let server = Target::parse(&format!("postgresql://postgres@127.0.0.1:{port}/postgres"));
        server.connect().exec("CREATE DATABASE bench");
        let mut servers = Self { postgres: server.database("bench"), pgbouncer: None, bouncer: None, dir };
        servers.start_pgbouncer();
        servers
    }

    fn start_pgbouncer(&mut self) {
        let port = free_port();
        let config = self.dir.path().join("pgbouncer.ini");
        let text = format!(
            "[databases]\nbench = host=127.0.0.1 port={} dbname=bench user=postgres\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
             listen_port = {port}\nauth_type = any\npool_mode = session\nmax_client_conn = 1000\ndefault_pool_size = 100\n\
             unix_socket_dir =\nlog_connections = 0\nlog_disconnections = 0\n",
            self.postgres.port
        );
        std::fs::write(&config, text).unwrap();
        let binary =
            ["/usr/sbin/pgbouncer", "/usr/bin/pgbouncer"].into_iter().find(|p| Path::new(p).exists());
        let Some(binary) = binary else { return };
        let mut command = as_server(Path::new(binary));
        command.arg("-q").arg(&config).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        self.bouncer = command.spawn().ok();
        self.pgbouncer = Some(Target { port, ..self.postgres.clone() });
        let until = Instant::now() + Duration::from_secs(10);
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < until, "pgbouncer doesn't listen");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub fn direct(&self) -> Conn {
        self.postgres.connect()
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        if let Some(child) = &mut self.bouncer {
            let _ = child.kill();
            let _ = child.wait();
        }
        let mut stop = as_server(&tool("pg_ctl"));
        let _ =
            stop.args(["-s", "-m", "immediate", "-D"]).arg(self.dir.path().join("data")).arg("stop").status();
    }
}

/// root must not run PostgreSQL: then it runs as `postgres`.
fn as_server(program: &Path) -> Command {
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--init-groups"]).arg(program).current_dir("/");
    command
}

fn own(dir: &Path) {
    if is_root() {
        run(Command::new("chown").arg("postgres").arg(dir));
    }
}

fn is_root() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status
        .lines()
        .any(|l| l.strip_prefix("Uid:").is_some_and(|ids| ids.split_whitespace().nth(1) == Some("0")))
}

fn run(command: &mut Command) {
    let output = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()
        .unwrap_or_else(|e| panic!("{command:?}: {e}"));
    assert!(output.success(), "{command:?} failed");
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
