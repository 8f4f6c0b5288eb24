//! From a URL to what the driver wants.

use std::path::PathBuf;

use epoch_adapter::{Error, Result, sqlstate};
use tiberius::{AuthMethod, Config, EncryptionLevel};
use url::Url;

/// Milliseconds that a statement waits for a lock.
pub(crate) const LOCK_WAIT: u32 = 10_000;

/// What every connection of ours is set to: values and messages have one form, whatever the server's and the user's
/// defaults are; the settings that indexed views and indexes on computed columns ask for are on.
pub(crate) fn settings() -> String {
    format!(
        "SET ANSI_NULLS, ANSI_PADDING, ANSI_WARNINGS, ARITHABORT, CONCAT_NULL_YIELDS_NULL, QUOTED_IDENTIFIER ON; \
         SET NUMERIC_ROUNDABORT, XACT_ABORT, IMPLICIT_TRANSACTIONS OFF; SET LANGUAGE us_english; SET DATEFORMAT ymd; \
         SET TEXTSIZE 2147483647; SET NOCOUNT OFF; {}",
        idle_settings()
    )
}

/// What is set again when a connection is given back.
pub(crate) fn idle_settings() -> String {
    format!(
        "SET TRANSACTION ISOLATION LEVEL READ COMMITTED; SET LOCK_TIMEOUT {LOCK_WAIT}; SET DEADLOCK_PRIORITY NORMAL"
    )
}

/// A server, a database and how to get there.
#[derive(Clone)]
pub(crate) struct Target {
    pub config: Config,
    pub address: String,
}

impl std::fmt::Debug for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Target")
    }
}

fn invalid(backend: &str, what: &str) -> Error {
    Error::new(sqlstate::CONFIG_FILE_ERROR, format!("storage.sqlserver.{backend}.url: invalid {what}")).with_hint(
        "Write sqlserver://user:password@host:1433/database?encrypt=yes|login|no|strict&trust_server_certificate=true|false&ca=FILE&host_name_in_certificate=NAME.",
    )
}

/// What a URL says of TLS.
#[derive(Default)]
struct Tls {
    encrypt: Option<EncryptionLevel>,
    trust: bool,
    ca: Option<PathBuf>,
    host: Option<String>,
}

fn tls(url: &Url) -> std::result::Result<Tls, &'static str> {
    let mut tls = Tls::default();
    for (name, value) in url.query_pairs() {
        match name.as_ref() {
            "encrypt" => {
                tls.encrypt = Some(match value.to_ascii_lowercase().as_str() {
                    "yes" | "true" | "mandatory" => EncryptionLevel::Required,
                    "login" => EncryptionLevel::Off,
                    "no" | "false" | "optional" => EncryptionLevel::NotSupported,
                    "strict" => EncryptionLevel::Strict,
                    _ => return Err("encrypt"),
                });
            }
            "trust_server_certificate" => {
                tls.trust = match value.to_ascii_lowercase().as_str() {
                    "true" | "yes" => true,
                    "false" | "no" => false,
                    _ => return Err("trust_server_certificate"),
                };
            }
            "ca" if !value.is_empty() => tls.ca = Some(PathBuf::from(value.as_ref())),
            "host_name_in_certificate" if !value.is_empty() => tls.host = Some(value.into_owned()),
            _ => return Err("parameter"),
        }
    }
    if tls.trust && (tls.ca.is_some() || tls.encrypt == Some(EncryptionLevel::Strict)) {
        return Err("trust_server_certificate, which goes neither with ca nor with encrypt=strict");
    }
    Ok(tls)
}

/// Reads a URL; F0000 if it isn't one, without showing any of it.
pub(crate) fn target(backend: &str, text: &str) -> Result<Target> {
    // The driver takes the process's own, which is this one unless somebody chose another; other crates bring theirs along.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let bad = |what: &str| invalid(backend, what);
    let url = Url::parse(text).map_err(|_| bad("url"))?;
    if !matches!(url.scheme(), "sqlserver" | "mssql") {
        return Err(bad("scheme"));
    }
    let decode = |text: &str| decoded(text).ok_or_else(|| bad("escape"));
    let database = decode(url.path().trim_start_matches('/'))?;
    if database.is_empty() || database.contains('/') {
        return Err(bad("database"));
    }
    let host = url.host_str().filter(|h| !h.is_empty()).ok_or_else(|| bad("host"))?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    if url.username().is_empty() {
        return Err(bad("user"));
    }
    let password = url.password().map(decode).transpose()?.unwrap_or_default();
    let tls = tls(&url).map_err(bad)?;
    let mut config = Config::new();
    config.host(host);
    config.port(url.port().unwrap_or(1433));
    config.database(database);
    config.application_name("Horizon Epoch");
    config.authentication(AuthMethod::sql_server(decode(url.username())?, password));
    // A statement may take its time; what waits for locks has a limit of its own.
    config.command_timeout(None);
    config.encryption(tls.encrypt.unwrap_or(EncryptionLevel::Required));
    if tls.trust {
        config.trust_cert();
    }
    if let Some(ca) = tls.ca {
        config.trust_cert_ca(ca.display());
    }
    if let Some(name) = tls.host {
        config.hostname_in_certificate(name);
    }
    let port = url.port().unwrap_or(1433);
    let address = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    Ok(Target { config, address })
}

/// `%41` is an `A`.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let digits = std::str::from_utf8(after.get(..2)?).ok()?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        rest = after.get(2..)?;
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read() {
        let shown = |url: &str| format!("{:?}", target("crm", url).unwrap().config);
        let plain = shown("sqlserver://sa:p%40ss@db.example.com/shop");
        assert!(
            plain.contains("host: Some(\"db.example.com\")") && plain.contains("port: Some(1433)"),
            "{plain}"
        );
        assert!(
            plain.contains("database: Some(\"shop\")") && plain.contains("encryption: Required"),
            "{plain}"
        );
        assert!(plain.contains("bypass: false") && plain.contains("command_timeout: None"), "{plain}");
        let all = shown(
            "mssql://sa:x@h:1444/shop?encrypt=strict&ca=%2Fetc%2Fca.pem&host_name_in_certificate=db.example.com",
        );
        assert!(all.contains("port: Some(1444)") && all.contains("encryption: Strict"), "{all}");
        assert!(
            all.contains("/etc/ca.pem") && all.contains("hostname_in_certificate: Some(\"db.example.com\")"),
            "{all}"
        );
        assert!(shown("sqlserver://sa:x@h/d?trust_server_certificate=true").contains("bypass: true"));
        assert!(shown("sqlserver://sa:x@h/d?encrypt=no").contains("encryption: NotSupported"));
        assert!(shown("sqlserver://sa:x@h/d?encrypt=login").contains("encryption: Off"));
        assert_eq!(target("crm", "sqlserver://sa:x@[::1]/d").unwrap().address, "[::1]:1433");
    }

    #[test]
    fn errors_show_no_password() {
        for url in [
            "sqlserver://u:hunter2@h:x/d",
            "sqlserver://u:hunter2@h/",
            "sqlserver://:hunter2@h/d",
            "postgresql://u:hunter2@h/d",
            "sqlserver://u:hunter2@h/d?encrypt=hunter2",
            "sqlserver://u:hunter2@h/d?trust_server_certificate=hunter2",
            "sqlserver://u:hunter2@h/d?hunter2=1",
            "sqlserver://u:hunter2@h/d?trust_server_certificate=true&ca=hunter2",
            "sqlserver://u:hunter2@h/d?trust_server_certificate=true&encrypt=strict",
            "sqlserver://u:hunter2%4@h/d",
        ] {
            let error = target("crm", url).unwrap_err();
            assert_eq!(error.code(), "F0000");
            assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
        }
        let target = target("crm", "sqlserver://u:hunter2@h/d").unwrap();
        assert!(!format!("{target:?} {:?}", target.config).contains("hunter2"));
    }
}
