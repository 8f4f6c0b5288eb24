//! Whether a server may lose what it has committed.

use std::collections::BTreeMap;

use epoch_adapter::{Error, Result};

use crate::pool::Session;

const NAMES: &str = "SHOW GLOBAL VARIABLES WHERE Variable_name IN \
    ('innodb_flush_log_at_trx_commit', 'innodb_doublewrite', 'innodb_flush_method', 'log_bin', 'sync_binlog')";

/// Settings with which it may, as clauses.
pub(crate) async fn risks(session: &mut Session) -> Result<Vec<String>> {
    let mut settings = BTreeMap::new();
    for row in session.rows(NAMES, &[]).await? {
        let unexpected = |_| Error::internal("mysql: a setting has another form than expected");
        let (name, value): (String, String) = mysql_async::from_row_opt(row).map_err(unexpected)?;
        settings.insert(name.to_ascii_lowercase(), value.to_ascii_lowercase());
    }
    Ok(judge(&settings))
}

/// A log that is written once a second loses that second; pages torn by a crash can't be mended without the doublewrite
/// buffer; and a transaction that the binary log has lost is rolled back, though InnoDB has it.
fn judge(settings: &BTreeMap<String, String>) -> Vec<String> {
    let is = |name: &str, values: &[&str]| settings.get(name).is_some_and(|v| values.contains(&v.as_str()));
    let risky = [
        ("innodb_flush_log_at_trx_commit", is("innodb_flush_log_at_trx_commit", &["0", "2"])),
        ("innodb_doublewrite", is("innodb_doublewrite", &["off", "0", "detect_only"])),
        ("innodb_flush_method", is("innodb_flush_method", &["nosync", "littlesync"])),
        ("sync_binlog", is("log_bin", &["on", "1"]) && !is("sync_binlog", &["1"])),
    ];
    let clause = |name: &str| format!("{name} is {}", settings.get(name).map_or("unknown", String::as_str));
    risky.into_iter().filter(|(_, risky)| *risky).map(|(name, _)| clause(name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(settings: &[(&str, &str)]) -> String {
        let settings = settings.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        judge(&settings).join(", ")
    }

    #[test]
    fn what_may_lose_commits_is_named() {
        let safe =
            [("innodb_flush_log_at_trx_commit", "1"), ("innodb_doublewrite", "on"), ("log_bin", "off")];
        assert_eq!(judged(&safe), "");
        // MariaDB's 3 syncs as 1 does; without a binary log its syncing doesn't matter.
        assert_eq!(
            judged(&[("innodb_flush_log_at_trx_commit", "3"), ("log_bin", "off"), ("sync_binlog", "0")]),
            ""
        );
        assert_eq!(judged(&[("log_bin", "on"), ("sync_binlog", "1")]), "");
        assert_eq!(judged(&[("innodb_flush_log_at_trx_commit", "2")]), "innodb_flush_log_at_trx_commit is 2");
        assert_eq!(judged(&[("log_bin", "on"), ("sync_binlog", "1000")]), "sync_binlog is 1000");
        let both = [("innodb_flush_log_at_trx_commit", "0"), ("innodb_doublewrite", "detect_only")];
        assert_eq!(judged(&both), "innodb_flush_log_at_trx_commit is 0, innodb_doublewrite is detect_only");
    }
}
