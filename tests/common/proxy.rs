//! A real `epoch serve` on a port of its own.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::conn::{Conn, Target};

const START: Duration = Duration::from_secs(60);

/// What goes into `epoch.toml`.
#[derive(Debug, Clone)]
pub struct ProxyConfig {
    pub name: String,
    /// PostgreSQL backends: name and URL.
    pub postgres: Vec<(String, String)>,
    /// Whether the server's own durability is left out of it (the tests' servers have none).
    pub unsafe_source: bool,
    /// SQLite backends by name; the files are made in the proxy's folder.
    pub sqlite: Vec<String>,
    /// Instead of a SQLite file in the proxy's folder.
    pub metadata_url: Option<String>,
    /// Lines appended as they are.
    pub extra: String,
    pub env: Vec<(String, String)>,
}

impl ProxyConfig {
    pub fn postgres(url: &str) -> Self {
        Self { postgres: vec![("main".to_owned(), url.to_owned())], sqlite: vec![], ..Self::empty() }
    }

    pub fn embedded() -> Self {
        Self { sqlite: vec!["shop".to_owned()], ..Self::empty() }
    }

    fn empty() -> Self {
        Self {
            name: "shop".to_owned(),
            postgres: vec![],
            unsafe_source: true,
            sqlite: vec![],
            metadata_url: None,
            extra: String::new(),
            env: vec![],
        }
    }

    fn toml(&self, dir: &std::path::Path) -> String {
        let metadata = self
            .metadata_url
            .clone()
            .unwrap_or_else(|| format!("sqlite://{}", dir.join("meta.db").display()));
        let mut text = format!(
            "[repository]\nname = \"{}\"\n\n[proxy]\nlisten = \"127.0.0.1:0\"\n\n[metadata]\nurl = \"{metadata}\"\n\n",
            self.name
        );
        for (name, url) in &self.postgres {
            let risk = if self.unsafe_source { "allow_unsafe_source = true\n" } else { "" };
            write!(text, "[storage.postgres.{name}]\nurl = \"{url}\"\n{risk}\n").unwrap();
        }
        for name in &self.sqlite {
            let path = dir.join(format!("{name}.db"));
            write!(text, "[storage.sqlite.{name}]\npath = \"{}\"\n\n", path.display()).unwrap();
        }
        text + &self.extra
    }
}

/// Stops with the value.
pub struct Proxy {
    child: Child,
    pub port: u16,
    pub dir: Arc<TempDir>,
    config: ProxyConfig,
    log: Arc<Mutex<String>>,
    binary: PathBuf,
}

impl Proxy {
    /// Starts the binary under test (or `EPOCH_TEST_BIN`) and waits for its readiness line.
    pub fn start(config: ProxyConfig) -> Self {
        let given = std::env::var_os("EPOCH_TEST_BIN").map(PathBuf::from);
        Self::start_binary(config, given.unwrap_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_epoch"))))
    }

    pub fn start_binary(config: ProxyConfig, binary: PathBuf) -> Self {
        let dir = Arc::new(tempfile::Builder::new().prefix("epoch-test-").tempdir().unwrap());
        std::fs::write(dir.path().join("epoch.toml"), config.toml(dir.path())).unwrap();
        Self::spawn(config, dir, binary, &[]).unwrap_or_else(|e| panic!("epoch serve didn't get ready: {e}"))
    }

    /// In a folder of one that was there before.
    fn spawn(
        config: ProxyConfig,
        dir: Arc<TempDir>,
        binary: PathBuf,
        env: &[(&str, &str)],
    ) -> Result<Self, String> {
        let mut child = Command::new(&binary)
            .args(["serve", "--config"])
            .arg(dir.path().join("epoch.toml"))
            .current_dir(dir.path())
            .env_remove("EPOCH_CONFIG_FILE")
            .env_remove("EPOCH_FAILPOINT")
            .envs(config.env.iter().map(|(k, v)| (k, v)))
            .envs(env.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|e| format!("{}: {e}", binary.display()))?;
        let log = Arc::new(Mutex::new(String::new()));
        let lines = lines_of(child.stdout.take().unwrap(), Arc::clone(&log));
        let _unused = lines_of(child.stderr.take().unwrap(), Arc::clone(&log));
        let mut proxy = Self { child, port: 0, dir, config, log, binary };
        proxy.port = proxy.await_ready(&lines)?;
        Ok(proxy)
    }

    fn await_ready(&mut self, lines: &Receiver<String>) -> Result<u16, String> {
        let until = Instant::now() + START;
        loop {
            match lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    if let Some(url) = line.strip_prefix("ready: ") {
                        let port = url.rsplit_once(':').and_then(|(_, rest)| rest.split('/').next());
                        return port
                            .and_then(|p| p.parse().ok())
                            .ok_or_else(|| format!("odd readiness line: {line}"));
                    }
                }
                Err(RecvTimeoutError::Timeout) => return Err(format!("timeout\n{}", self.log())),
                Err(RecvTimeoutError::Disconnected) => {
                    let status = self.child.wait().map(|s| s.to_string()).unwrap_or_default();
                    return Err(format!("it ended ({status})\n{}", self.log()));
                }
            }
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it printed so far.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// SIGKILL, and wait for the end.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Waits until the process ends by itself.
    pub fn await_end(&mut self, patience: Duration) -> Option<ExitStatus> {
        let until = Instant::now() + patience;
        while Instant::now() < until {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Some(status);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        None
    }

    /// SIGTERM, and how it ended.
    pub fn terminate(&mut self) -> ExitStatus {
        let done = Command::new("kill").args(["-TERM", &self.pid().to_string()]).status().unwrap();
        assert!(done.success());
        self.await_end(Duration::from_secs(30)).expect("it stops on SIGTERM")
    }

    /// Kills it and starts it again on the same folder, with further environment.
    pub fn restart(&mut self, env: &[(&str, &str)]) {
        self.try_restart(env).unwrap_or_else(|e| panic!("epoch serve didn't get ready again: {e}"));
    }

    pub fn try_restart(&mut self, env: &[(&str, &str)]) -> Result<(), String> {
        self.kill();
        let next = Self::spawn(self.config.clone(), Arc::clone(&self.dir), self.binary.clone(), env)?;
        *self = next;
        Ok(())
    }

    /// The ref of this name; main for `main`.
    pub fn target(&self, reference: &str) -> Target {
        let name = &self.config.name;
        self.database(&if reference == "main" { name.clone() } else { format!("{name}/{reference}") })
    }

    pub fn database(&self, dbname: &str) -> Target {
        Target {
            host: "127.0.0.1".to_owned(),
            port: self.port,
            user: "postgres".to_owned(),
            password: None,
            dbname: dbname.to_owned(),
            params: Vec::new(),
        }
    }

    pub fn connect(&self, reference: &str) -> Conn {
        self.target(reference).connect()
    }

    pub fn sqlite_path(&self, name: &str) -> PathBuf {
        self.dir.path().join(format!("{name}.db"))
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let log = self.log();
            let tail: Vec<_> = log.lines().rev().take(40).collect();
            eprintln!("--- epoch serve printed:");
            tail.into_iter().rev().for_each(|line| eprintln!("{line}"));
        }
    }
}

fn lines_of(stream: impl std::io::Read + Send + 'static, log: Arc<Mutex<String>>) -> Receiver<String> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            let mut log = log.lock().unwrap();
            log.push_str(&line);
            log.push('\n');
            drop(log);
            let _ = sender.send(line);
        }
    });
    receiver
}
