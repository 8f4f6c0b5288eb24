//! Main's tables aren't written to while their server may lose what it says it has committed.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use common::conn::Conn;
use common::proxy::{Proxy, ProxyConfig};
use common::server::{Server, is_installed};

const SETTINGS: &str = "-c max_connections=50 -c max_wal_size=1GB";

/// A server of its own with `t` in a repository that doesn't allow an unsafe one, and branch `b` with a commit.
struct Fixture {
    proxy: Proxy,
    server: Server,
}

impl Fixture {
    /// `None` if PostgreSQL isn't installed.
    fn new() -> Option<Self> {
        if !is_installed() {
            println!("skipped: PostgreSQL isn't installed here");
            return None;
        }
        let server = Server::start(SETTINGS, |_| {});
        server.target.connect().exec(
            "CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'one'), (2, 'two'); CREATE TABLE u (id int PRIMARY KEY)",
        );
        let config = ProxyConfig { unsafe_source: false, ..ProxyConfig::postgres(&server.target.url()) };
        let proxy = Proxy::start(config);
        let mut main = proxy.connect("main");
        main.exec("SELECT * FROM epoch_register('public.*')");
        main.exec("SELECT * FROM epoch_commit('start', '--allow-empty')");
        main.exec("SELECT * FROM epoch_branch('b')");
        let mut b = proxy.connect("b");
        b.exec("UPDATE t SET v = 'by b' WHERE id = 1");
        b.exec("SELECT * FROM epoch_commit('by b')");
        Some(Self { proxy, server })
    }

    /// Changes settings of the server, and waits until its sessions have them.
    fn set(&self, settings: &[(&str, &str)]) {
        let mut direct = self.server.target.connect();
        for (name, value) in settings {
            direct.exec(&format!("ALTER SYSTEM SET {name} = {value}"));
        }
        direct.exec("SELECT pg_reload_conf()");
        for (name, value) in settings {
            let started = std::time::Instant::now();
            while direct.one(&format!("SHOW {name}")) != *value {
                assert!(started.elapsed().as_secs() < 20, "{name} stays");
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
        }
    }
}

#[track_caller]
fn refused(conn: &mut Conn, sql: &str, detail: &str) {
    let error = conn.err(sql);
    let message = "backend \"main\" may lose commits, so main's tables are not written to";
    assert_eq!((error.code(), error.message()), ("55000", message), "{sql}");
    assert_eq!(error.detail(), detail, "{sql}");
    assert!(error.hint().contains("allow_unsafe_source = true in [storage.postgres.main]"), "{error:?}");
}

#[test]
fn a_merge_into_main_is_refused_where_a_crash_could_lose_it() {
    let Some(mut f) = Fixture::new() else { return };
    let (mut main, mut b) = (f.proxy.connect("main"), f.proxy.connect("b"));
    let rows = "SELECT v FROM t ORDER BY id";
    for (settings, detail) in [
        (&[("fsync", "off")][..], "On its server fsync is off."),
        (&[("full_page_writes", "off")], "On its server full_page_writes is off."),
        (
            &[("synchronous_commit", "off"), ("fsync", "off")],
            "On its server fsync is off, synchronous_commit is off.",
        ),
    ] {
        f.set(settings);
        for sql in [
            "SELECT * FROM epoch_merge('b')",
            "SELECT * FROM epoch_merge('b', '--no-ff')",
            "SELECT * FROM epoch_merge('b', '--squash')",
            "SELECT * FROM epoch_cherry_pick('b')",
            "SELECT * FROM epoch_promote('b', 'main')",
        ] {
            refused(&mut main, sql, detail);
        }
        assert_eq!(main.lines(rows), ["one", "two"]);
        let back: Vec<(&str, &str)> = settings.iter().map(|(name, _)| (*name, "on")).collect();
        f.set(&back);
    }
    f.set(&[("fsync", "off")]);
    let detail = "On its server fsync is off.";
    // What doesn't write to main's tables works.
    assert_eq!(main.lines("SELECT conflicts FROM epoch_merge('b', '--dry-run')"), ["0"]);
    main.exec("UPDATE t SET v = 'by main' WHERE id = 1");
    main.exec("SELECT * FROM epoch_commit('by main')");
    // With conflicts it is said before anybody resolves them.
    refused(&mut main, "SELECT * FROM epoch_merge('b')", detail);
    assert_eq!(main.lines("SELECT * FROM epoch.conflicts"), Vec::<String>::new());
    refused(&mut main, "SELECT * FROM epoch_revert('HEAD')", detail);
    refused(&mut main, "SELECT * FROM epoch_reset('--hard', 'HEAD~1')", detail);
    assert_eq!(main.lines(rows), ["by main", "two"]);
    main.exec("SELECT * FROM epoch_branch('c')");
    let mut c = f.proxy.connect("c");
    c.exec("INSERT INTO u VALUES (1)");
    c.exec("SELECT * FROM epoch_commit('by c')");
    assert_eq!(b.lines("SELECT conflicts FROM epoch_merge('c', strategy => 'ours')"), ["0"]);
    // Of a role's and a database's settings those of the proxy's connections count.
    f.set(&[("fsync", "on")]);
    f.server.target.connect().exec("ALTER ROLE postgres SET synchronous_commit = off");
    f.proxy.restart(&[]);
    let mut main = f.proxy.connect("main");
    refused(&mut main, "SELECT * FROM epoch_merge('c')", "On its server synchronous_commit is off.");
    // Unless it is allowed.
    f.proxy.restart(&[("EPOCH_STORAGE_POSTGRES_MAIN_ALLOW_UNSAFE_SOURCE", "true")]);
    let mut main = f.proxy.connect("main");
    assert_eq!(main.lines("SELECT conflicts FROM epoch_merge('c')"), ["0"]);
    assert_eq!(f.server.target.connect().lines("SELECT id FROM u"), ["1"]);
}
