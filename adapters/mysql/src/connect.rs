//! From a URL to what the driver wants.

use std::path::PathBuf;

use epoch_adapter::{Error, Result, sqlstate};
use mysql_async::{Opts, OptsBuilder, SslOpts};
use url::Url;

/// What every connection of ours is set to: values have one form, whatever the server's defaults are.
/// `NO_AUTO_VALUE_ON_ZERO`: a row whose number is 0 keeps it.
pub(crate) const MODE: &str = "ANSI_QUOTES,PIPES_AS_CONCAT,NO_BACKSLASH_ESCAPES,STRICT_ALL_TABLES,\
    STRICT_TRANS_TABLES,NO_ZERO_IN_DATE,NO_ZERO_DATE,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION,\
    ONLY_FULL_GROUP_BY,NO_AUTO_VALUE_ON_ZERO";

/// Seconds that a statement waits for a lock.
const LOCK_WAIT: u32 = 10;
/// Statements that each connection keeps prepared.
const STATEMENTS: usize = 256;

/// How connections are encrypted, as the `ssl-mode` of MySQL's own clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SslMode {
    Disabled,
    Preferred,
    Required,
    VerifyCa,
    VerifyIdentity,
}

impl SslMode {
    fn parse(text: &str) -> Option<Self> {
        Some(match text.to_ascii_lowercase().replace('-', "_").as_str() {
            "disabled" => Self::Disabled,
            "preferred" => Self::Preferred,
            "required" => Self::Required,
            "verify_ca" => Self::VerifyCa,
            "verify_identity" => Self::VerifyIdentity,
            _ => return None,
        })
    }
}

/// A server, a database and how to get there.
#[derive(Clone)]
pub(crate) struct Target {
    pub opts: Opts,
    /// Without TLS, for [`SslMode::Preferred`] and a server that has none.
    pub plain: Option<Opts>,
}

impl std::fmt::Debug for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Target")
    }
}

fn invalid(backend: &str, what: &str) -> Error {
    Error::new(sqlstate::CONFIG_FILE_ERROR, format!("storage.mysql.{backend}.url: invalid {what}")).with_hint(
        "Write mysql://user:password@host:3306/database?ssl-mode=disabled|preferred|required|verify_ca|verify_identity&ssl-ca=FILE.",
    )
}

/// Reads a URL; F0000 if it isn't one, without showing any of it.
pub(crate) fn target(backend: &str, text: &str) -> Result<Target> {
    // The driver takes the process's own, which is this one unless somebody chose another; other crates bring theirs along.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let bad = |what: &str| invalid(backend, what);
    let url = Url::parse(text).map_err(|_| bad("url"))?;
    if !matches!(url.scheme(), "mysql" | "mariadb") {
        return Err(bad("scheme"));
    }
    let decode = |text: &str| decoded(text).ok_or_else(|| bad("escape"));
    let database = decode(url.path().trim_start_matches('/'))?;
    if database.is_empty() || database.contains('/') {
        return Err(bad("database"));
    }
    let host = url.host_str().filter(|h| !h.is_empty()).ok_or_else(|| bad("host"))?;
    let (mut mode, mut ca, mut socket) = (SslMode::Preferred, None, None);
    for (name, value) in url.query_pairs() {
        match name.as_ref() {
            "ssl-mode" => mode = SslMode::parse(&value).ok_or_else(|| bad("ssl-mode"))?,
            "ssl-ca" => ca = Some(PathBuf::from(value.as_ref())),
            "socket" => socket = Some(value.into_owned()),
            _ => return Err(bad("parameter")),
        }
    }
    let password = url.password().map(decode).transpose()?;
    let user = if url.username().is_empty() { None } else { Some(decode(url.username())?) };
    let builder = OptsBuilder::default()
        .ip_or_hostname(host.trim_start_matches('[').trim_end_matches(']'))
        .tcp_port(url.port().unwrap_or(3306))
        .user(user)
        .pass(password)
        .db_name(Some(database))
        .prefer_socket(false)
        .stmt_cache_size(STATEMENTS)
        .client_found_rows(true)
        .tcp_nodelay(true)
        .setup(vec![format!(
            "SET SESSION sql_mode = '{MODE}', time_zone = '+00:00', innodb_lock_wait_timeout = {LOCK_WAIT}, \
             lock_wait_timeout = {LOCK_WAIT}, foreign_key_checks = 1, unique_checks = 1, autocommit = 1"
        )]);
    let local = socket.is_some();
    let builder = builder.socket(socket);
    if local || mode == SslMode::Disabled {
        return Ok(Target { opts: builder.into(), plain: None });
    }
    let mut tls = SslOpts::default();
    if matches!(mode, SslMode::Preferred | SslMode::Required) {
        tls = tls.with_danger_accept_invalid_certs(true).with_danger_skip_domain_validation(true);
    }
    if mode == SslMode::VerifyCa {
        tls = tls.with_danger_skip_domain_validation(true);
    }
    if let Some(ca) = ca {
        tls = tls.with_root_certs(vec![ca.into()]).with_disable_built_in_roots(true);
    }
    let plain = (mode == SslMode::Preferred).then(|| builder.clone().into());
    Ok(Target { opts: builder.ssl_opts(tls).into(), plain })
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
        let t =
            target("crm", "mysql://u:p%40ss@db.example.com:3307/shop?ssl-mode=verify_identity&ssl-ca=ca.pem")
                .unwrap();
        assert_eq!((t.opts.ip_or_hostname(), t.opts.tcp_port()), ("db.example.com", 3307));
        assert_eq!((t.opts.user(), t.opts.pass(), t.opts.db_name()), (Some("u"), Some("p@ss"), Some("shop")));
        let tls = t.opts.ssl_opts().unwrap();
        assert!(!tls.accept_invalid_certs() && !tls.skip_domain_validation() && tls.disable_built_in_roots());
        assert!(t.plain.is_none());
        let t = target("crm", "mysql://u@h/shop").unwrap();
        assert!(t.opts.ssl_opts().unwrap().accept_invalid_certs() && t.plain.is_some());
        assert!(target("crm", "mysql://h/shop?ssl-mode=DISABLED").unwrap().opts.ssl_opts().is_none());
    }

    #[test]
    fn errors_show_no_password() {
        for url in [
            "mysql://u:hunter2@h:x/d",
            "mysql://u:hunter2@h/",
            "postgresql://u:hunter2@h/d",
            "mysql://u:hunter2@h/d?ssl-mode=hunter2",
            "mysql://u:hunter2@h/d?hunter2=1",
            "mysql://u:hunter2%4@h/d",
        ] {
            let error = target("crm", url).unwrap_err();
            assert_eq!(error.code(), "F0000");
            assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
        }
    }
}
