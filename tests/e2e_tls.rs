//! TLS towards PostgreSQL: what each `sslmode` accepts, for sessions and for connections of our own.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::path::Path;

use common::server::{is_installed, put};
use common::{Proxy, ProxyConfig, Server};
use rcgen::{BasicConstraints, Certificate, CertificateParams, IsCa, Issuer, KeyPair};

struct Authority {
    certificate: Certificate,
    issuer: Issuer<'static, KeyPair>,
}

fn authority() -> Authority {
    let mut params = CertificateParams::new(vec![]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    Authority { certificate, issuer: Issuer::new(params, key) }
}

/// A server that takes encrypted connections only, with a certificate for `localhost`.
fn server(authority: &Authority) -> Server {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &authority.issuer).unwrap();
    let prepare = |data: &Path| {
        put(&data.join("server.crt"), &certificate.pem());
        put(&data.join("server.key"), &key.serialize_pem());
        put(&data.join("pg_hba.conf"), "hostssl all all 127.0.0.1/32 trust\nlocal all all trust\n");
    };
    Server::start("-c ssl=on", prepare)
}

/// Whether a session, and then a registration by a connection of ours, works with this URL; else the error.
fn tried(url: &str) -> Result<(), String> {
    let proxy = Proxy::start(ProxyConfig::postgres(url));
    let mut session = proxy.target("main").try_connect().map_err(|e| format!("{e:?}"))?;
    let encrypted = session.exec("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()");
    assert_eq!(encrypted.rows(), [[Some("t".to_owned())]]);
    session.exec("CREATE TABLE t (id int PRIMARY KEY)");
    session.exec("SELECT * FROM epoch_register('t')");
    let all = session.exec("SELECT bool_and(s.ssl), count(*) > 1 FROM pg_stat_ssl s JOIN pg_stat_activity a USING (pid) WHERE a.client_addr IS NOT NULL");
    assert_eq!(all.rows(), [[Some("t".to_owned()), Some("t".to_owned())]]);
    session.exec("SELECT * FROM epoch_unregister('t')");
    session.exec("DROP TABLE t");
    Ok(())
}

#[test]
fn what_each_sslmode_accepts() {
    need_postgres!();
    if !is_installed() {
        println!("skipped: initdb isn't here");
        return;
    }
    let (ours, other) = (authority(), authority());
    let server = server(&ours);
    let place = tempfile::tempdir().unwrap();
    let (right, wrong) = (place.path().join("right.pem"), place.path().join("wrong.pem"));
    std::fs::write(&right, ours.certificate.pem()).unwrap();
    std::fs::write(&wrong, other.certificate.pem()).unwrap();
    let port = server.target.port;
    let url = |host: &str, rest: &str| format!("postgresql://postgres:hush@{host}:{port}/postgres?{rest}");
    let root = |mode: &str, file: &Path| format!("sslmode={mode}&sslrootcert={}", file.display());

    for accepted in [
        url("127.0.0.1", "sslmode=prefer"),
        url("127.0.0.1", "sslmode=require"),
        url("127.0.0.1", &root("verify-ca", &right)),
        url("localhost", &root("verify-full", &right)),
    ] {
        tried(&accepted).unwrap_or_else(|e| panic!("{accepted}: {e}"));
    }
    for (refused, why) in [
        (url("127.0.0.1", "sslmode=disable"), "no encryption"),
        (url("127.0.0.1", &root("verify-ca", &wrong)), "certificate"),
        (url("127.0.0.1", &root("verify-full", &right)), "certificate"),
    ] {
        let error = tried(&refused).expect_err(&refused);
        assert!(error.contains(why) && !error.contains("hush"), "{refused}: {error}");
    }
}

/// Connections of our own asked for a host's name for TLS, and failed.
#[test]
fn a_server_behind_a_socket() {
    need_postgres!();
    if !is_installed() {
        println!("skipped: initdb isn't here");
        return;
    }
    let server = server(&authority());
    let directory = server.dir.path().display().to_string().replace('/', "%2F");
    for mode in ["prefer", "require"] {
        let port = server.target.port;
        let url = format!("postgresql://postgres@{directory}:{port}/postgres?sslmode={mode}");
        let proxy = Proxy::start(ProxyConfig::postgres(&url));
        let mut main = proxy.connect("main");
        main.exec("CREATE TABLE t (id int PRIMARY KEY)");
        main.exec("SELECT * FROM epoch_register('t')");
        main.exec("SELECT * FROM epoch_branch('b')");
        let mut branch = proxy.connect("b");
        assert_eq!(branch.exec("INSERT INTO t VALUES (1)").tags(), ["INSERT 0 1"]);
        assert_eq!(branch.one("SELECT id FROM t"), "1");
        assert_eq!(main.one("SELECT count(*) FROM t"), "0");
        drop((main, branch));
        let mut main = proxy.connect("main");
        main.exec("SELECT * FROM epoch_branch('b', '--delete', '--force')");
        main.exec("SELECT * FROM epoch_unregister('t')");
        main.exec("DROP TABLE t");
    }
}
