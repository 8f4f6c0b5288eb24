//! Who gets in, and how: SCRAM and TLS.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod wire_support;

use std::collections::BTreeMap;
use std::sync::Arc;

use epoch::config::{Secret, TlsFiles};
use epoch::wire::scram::Verifier;
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_postgres::{Config, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;
use wire_support::*;

fn users() -> Option<BTreeMap<String, Secret>> {
    Some(BTreeMap::from([("ann".to_owned(), Secret::new(Verifier::from_password("correct horse")))]))
}

fn config(proxy: &Proxy, user: &str, password: &str) -> Config {
    let mut config = Config::new();
    config.host("localhost").port(proxy.address.port()).user(user).password(password).dbname("shop");
    config
}

#[tokio::test]
async fn scram_lets_the_right_ones_in() {
    let Some(url) = server_url() else { return };
    let proxy = Proxy::with(&url, Options { users: users(), ..Options::default() }).await;
    let (client, connection) = config(&proxy, "ann", "correct horse").connect(NoTls).await.unwrap();
    tokio::spawn(connection);
    assert_eq!(client.query_one("SELECT 1", &[]).await.unwrap().get::<_, i32>(0), 1);
    for (user, password) in [("ann", "wrong"), ("bob", "correct horse")] {
        let error = config(&proxy, user, password).connect(NoTls).await.err().unwrap();
        let error = error.as_db_error().unwrap();
        assert_eq!(error.code().code(), "28P01");
        assert_eq!(error.message(), format!("password authentication failed for user \"{user}\""));
    }
    proxy.end().await;
}

#[tokio::test]
async fn a_session_over_tls() {
    let Some(url) = server_url() else { return };
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let tls = TlsFiles { cert: directory.path().join("cert.pem"), key: directory.path().join("key.pem") };
    std::fs::write(&tls.cert, made.cert.pem()).unwrap();
    std::fs::write(&tls.key, made.signing_key.serialize_pem()).unwrap();
    let proxy = Proxy::with(&url, Options { users: users(), tls: Some(tls), ..Options::default() }).await;

    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(made.cert.der().to_vec())).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let client_config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let mut config = config(&proxy, "ann", "correct horse");
    config.ssl_mode(tokio_postgres::config::SslMode::Require);
    let (client, connection) = config.connect(MakeRustlsConnect::new(client_config)).await.unwrap();
    tokio::spawn(connection);
    let row =
        client.query_one("SELECT repeat('x', 5000000), $1::text", &[&"y".repeat(3_000_000)]).await.unwrap();
    assert_eq!((row.get::<_, &str>(0).len(), row.get::<_, &str>(1).len()), (5_000_000, 3_000_000));

    // Bytes behind the request, in the clear, never get into the session.
    let mut tcp = tokio::net::TcpStream::connect(proxy.address).await.unwrap();
    let mut packet = [8i32.to_be_bytes(), 80_877_103i32.to_be_bytes()].concat();
    packet.extend(query("SELECT 1"));
    tcp.write_all(&packet).await.unwrap();
    let mut answer = Vec::new();
    tcp.read_to_end(&mut answer).await.unwrap();
    assert_eq!(answer[0], b'E');
    proxy.end().await;
}
