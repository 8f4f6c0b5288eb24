//! A PostgreSQL and a PgBouncer of our own, in a temporary folder, on free ports.

use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::common::conn::{Conn, Target};
use crate::common::server::{Server, as_server, free_port};

pub struct Servers {
    pub postgres: Target,
    /// `None` if it isn't installed.
    pub pgbouncer: Option<Target>,
    bouncer: Option<Child>,
    // Dropped last.
    server: Server,
}

impl Servers {
    pub fn start() -> Self {
        let settings = "-c max_connections=700 -c shared_buffers=1GB -c max_wal_size=8GB -c checkpoint_timeout=30min -c autovacuum=off";
        let server = Server::start(settings, |_| {});
        server.target.connect().exec("CREATE DATABASE bench");
        let mut servers =
            Self { postgres: server.target.database("bench"), pgbouncer: None, bouncer: None, server };
        servers.start_pgbouncer();
        servers
    }

    fn start_pgbouncer(&mut self) {
        let port = free_port();
        let config = self.server.dir.path().join("pgbouncer.ini");
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
    }
}
