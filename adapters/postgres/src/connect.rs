//! The pool of connections to one server, and how each is set up.

use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::{Hook, HookError, Manager, ManagerConfig, Object, Pool, RecyclingMethod, Runtime};
use epoch_adapter::{Error, Result, sqlstate};
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, SignatureScheme};
use tokio_postgres::NoTls;
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres_rustls::MakeRustlsConnect;

/// What every connection of ours is set to: values have one output form, names resolve to the
/// system's own, no estimate of a big diff makes the server compile it.
pub(crate) const SESSION: &str = "SET search_path = pg_catalog, pg_temp; SET DateStyle = 'ISO, MDY'; \
    SET IntervalStyle = postgres; SET TimeZone = 'UTC'; SET extra_float_digits = 1; SET bytea_output = hex; \
    SET xmloption = content; SET standard_conforming_strings = on; SET client_min_messages = warning; \
    SET row_security = off; SET jit = off; SET default_transaction_read_only = off; \
    SET default_transaction_isolation = 'read committed'; SET epoch.known = 'on'";

/// For the rest of a transaction, what triggers of the user's, and defaults, go by: what any new session of the role has.
pub(crate) const THEIRS: &str = "SET LOCAL search_path TO DEFAULT; SET LOCAL TimeZone TO DEFAULT; \
    SET LOCAL DateStyle TO DEFAULT; SET LOCAL IntervalStyle TO DEFAULT";

/// [`SESSION`] again, after [`THEIRS`].
pub(crate) fn ours() -> String {
    SESSION.replace("SET ", "SET LOCAL ")
}

/// A lazy pool for `url`; nothing connects before [`get`].
pub(crate) fn pool(backend: &str, url: &str, size: usize) -> Result<Pool> {
    let (plain, tls) = split_tls(backend, url)?;
    let mut config: tokio_postgres::Config = plain.parse().map_err(|_| invalid(backend, "url"))?;
    // As libpq: what goes through a socket of this machine isn't encrypted, whatever the mode.
    let sockets = config.get_hosts().iter().all(|h| matches!(h, Host::Unix(_)));
    config.ssl_mode(if sockets { SslMode::Disable } else { tls.mode.driver() });
    if config.get_application_name().is_none() {
        config.application_name("epoch");
    }
    if config.get_connect_timeout().is_none() {
        config.connect_timeout(Duration::from_secs(10));
    }
    let recycling = ManagerConfig { recycling_method: RecyclingMethod::Fast };
    let manager = if sockets {
        Manager::from_config(config, NoTls, recycling)
    } else {
        Manager::from_config(config, MakeRustlsConnect::new(tls.client(backend)?), recycling)
    };
    Pool::builder(manager)
        .max_size(size.max(1))
        .runtime(Runtime::Tokio1)
        .wait_timeout(Some(Duration::from_secs(30)))
        .post_create(Hook::async_fn(|client, _| {
            Box::pin(async move { client.batch_execute(SESSION).await.map_err(HookError::Backend) })
        }))
        .build()
        .map_err(|_| Error::internal("the connection pool could not be built"))
}

/// A connection from the pool.
pub(crate) async fn get(pool: &Pool, backend: &str) -> Result<Object> {
    pool.get().await.map_err(|e| crate::error::pool(backend, e))
}

fn invalid(backend: &str, what: &str) -> Error {
    Error::new(sqlstate::CONFIG_FILE_ERROR, format!("invalid {what} of backend \"{backend}\""))
        .with_hint("Write postgresql://user:password@host:port/database?sslmode=disable|prefer|require|verify-ca|verify-full.")
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Disable,
    Prefer,
    Require,
    VerifyCa,
    VerifyFull,
}

impl Mode {
    fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "disable" => Self::Disable,
            "allow" | "prefer" => Self::Prefer,
            "require" => Self::Require,
            "verify-ca" => Self::VerifyCa,
            "verify-full" => Self::VerifyFull,
            _ => return None,
        })
    }

    fn driver(self) -> SslMode {
        match self {
            Self::Disable => SslMode::Disable,
            Self::Prefer => SslMode::Prefer,
            _ => SslMode::Require,
        }
    }
}

#[derive(Debug)]
struct Tls {
    mode: Mode,
    root: Option<String>,
}

/// The URL without the TLS parameters that the driver doesn't know, and these.
fn split_tls(backend: &str, url: &str) -> Result<(String, Tls)> {
    let mut tls = Tls { mode: Mode::Prefer, root: None };
    let Some((start, query)) = url.split_once('?') else { return Ok((url.to_owned(), tls)) };
    let mut rest = Vec::new();
    for parameter in query.split('&').filter(|p| !p.is_empty()) {
        match parameter.split_once('=') {
            Some(("sslmode", mode)) => {
                tls.mode = Mode::parse(mode).ok_or_else(|| invalid(backend, "sslmode"))?;
            }
            Some(("sslrootcert", file)) => {
                tls.root = Some(percent_decode(file).ok_or_else(|| invalid(backend, "sslrootcert"))?);
            }
            _ => rest.push(parameter),
        }
    }
    // As libpq: a root certificate makes `require` check the chain.
    if tls.mode == Mode::Require && tls.root.is_some() {
        tls.mode = Mode::VerifyCa;
    }
    let url = if rest.is_empty() { start.to_owned() } else { format!("{start}?{}", rest.join("&")) };
    Ok((url, tls))
}

fn percent_decode(text: &str) -> Option<String> {
    let mut bytes = text.bytes();
    let mut out = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let hex = [bytes.next()?, bytes.next()?];
            out.push(u8::from_str_radix(std::str::from_utf8(&hex).ok()?, 16).ok()?);
        } else {
            out.push(byte);
        }
    }
    String::from_utf8(out).ok()
}

impl Tls {
    fn client(&self, backend: &str) -> Result<rustls::ClientConfig> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|e| Error::internal(format!("TLS: {e}")))?;
        let config = match self.mode {
            Mode::VerifyFull => builder.with_root_certificates(self.roots(backend)?),
            Mode::VerifyCa => {
                let inner =
                    WebPkiServerVerifier::builder_with_provider(Arc::new(self.roots(backend)?), provider)
                        .build()
                        .map_err(|_| invalid(backend, "sslrootcert"))?;
                builder.dangerous().with_custom_certificate_verifier(Arc::new(ChainOnly(inner)))
            }
            _ => builder.dangerous().with_custom_certificate_verifier(Arc::new(Unverified(provider))),
        };
        Ok(config.with_no_client_auth())
    }

    fn roots(&self, backend: &str) -> Result<RootCertStore> {
        let mut store = RootCertStore::empty();
        match self.root.as_deref().filter(|r| *r != "system") {
            Some(file) => {
                let certificates =
                    CertificateDer::pem_file_iter(file).map_err(|_| invalid(backend, "sslrootcert"))?;
                for certificate in certificates {
                    let certificate = certificate.map_err(|_| invalid(backend, "sslrootcert"))?;
                    store.add(certificate).map_err(|_| invalid(backend, "sslrootcert"))?;
                }
            }
            None => {
                store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            }
        }
        if store.is_empty() {
            return Err(invalid(backend, "sslrootcert")
                .with_detail("There is no certificate to verify the server with."));
        }
        Ok(store)
    }
}

/// `verify-ca`: the chain is checked, the host's name isn't.
#[derive(Debug)]
struct ChainOnly(Arc<WebPkiServerVerifier>);

impl ServerCertVerifier for ChainOnly {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        use rustls::Error::InvalidCertificate;
        match self.0.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            Err(InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

/// `prefer` and `require`: encrypted, the server's identity isn't checked (as libpq).
#[derive(Debug)]
struct Unverified(Arc<CryptoProvider>);

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn tls_parameters_are_taken_out_of_the_url() {
        let (url, tls) = split_tls(
            "a",
            "postgresql://u:p@h/d?sslmode=verify-full&sslrootcert=%2Fca.pem&application_name=x",
        )
        .unwrap();
        assert_eq!(url, "postgresql://u:p@h/d?application_name=x");
        assert_eq!((tls.mode, tls.root.as_deref()), (Mode::VerifyFull, Some("/ca.pem")));
    }

    #[test]
    fn a_root_certificate_makes_require_check_the_chain() {
        let (_, tls) = split_tls("a", "postgresql://h/d?sslmode=require&sslrootcert=ca.pem").unwrap();
        assert_eq!(tls.mode, Mode::VerifyCa);
    }

    #[test]
    fn errors_never_show_the_password() {
        for url in ["postgresql://u:hunter2@h:x/d", "postgresql://u:hunter2@h/d?sslmode=hunter2"] {
            let error = pool("a", url, 1).err().unwrap();
            assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
        }
    }
}
