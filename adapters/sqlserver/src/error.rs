//! SQL Server's errors as PostgreSQL's.

use epoch_adapter::{Error, sqlstate};
use tiberius::error::{Error as Raw, TokenError};

/// In PostgreSQL's appendix "Error Codes".
pub(crate) const DEADLOCK: &str = "40P01";
const STRING_TOO_LONG: &str = "22001";
const NUMERIC_OUT_OF_RANGE: &str = "22003";
const DATETIME_OUT_OF_RANGE: &str = "22008";
const DIVISION_BY_ZERO: &str = "22012";
const GENERATED_ALWAYS: &str = "428C9";
const DISK_FULL: &str = "53100";
const OUT_OF_MEMORY: &str = "53200";

/// Numbers of SQL Server's errors that are looked for elsewhere.
pub(crate) const DUPLICATE_KEY: u32 = 2627;
pub(crate) const DUPLICATE_INDEX: u32 = 2601;
pub(crate) const NOT_NULL: u32 = 515;
pub(crate) const CONFLICT: u32 = 547;
pub(crate) const NO_SUCH_OBJECT: u32 = 208;
/// THROW, with our own text before it.
pub(crate) const OURS: u32 = 50_000;
/// What our triggers' errors begin with.
pub(crate) const PREFIX: &str = "epoch: ";

/// The server's number of an error.
pub(crate) fn number(error: &Raw) -> Option<u32> {
    error.code()
}

/// Maps an error that isn't about a row that is being written (see `constraint.rs` for those).
pub(crate) fn map(error: Raw) -> Error {
    match error {
        Raw::Server(e) => server(&e),
        Raw::Io { .. } => connection_lost(),
        Raw::Tls(e) => Error::new(sqlstate::CONNECTION_FAILURE, format!("sqlserver: TLS: {e}")),
        Raw::Routing { .. } => Error::unsupported("a SQL Server that sends its clients to another address")
            .with_hint("Give the address of the server itself in the backend's url."),
        // What the driver says of these may show values.
        Raw::Protocol(_) => {
            Error::new(sqlstate::PROTOCOL_VIOLATION, "sqlserver: the server's answer is not understood")
        }
        Raw::Utf8 | Raw::Utf16 | Raw::Encoding(_) => {
            Error::new(sqlstate::INVALID_TEXT_REPRESENTATION, "sqlserver: a text is not in its encoding")
        }
        _ => Error::internal("sqlserver: an error of the driver"),
    }
}

pub(crate) fn connection_lost() -> Error {
    Error::new(sqlstate::CONNECTION_FAILURE, "the connection to the SQL Server was lost")
}

fn server(e: &TokenError) -> Error {
    let text = e.message().trim_end_matches('.');
    let say = |code: &'static str| Error::new(code, format!("sqlserver: {text}"));
    match e.code() {
        1222 => lock_not_available(),
        1205 => Error::new(DEADLOCK, "deadlock detected")
            .with_detail("The SQL Server rolled this transaction back.")
            .with_hint("The transaction might succeed if retried."),
        // An update conflict; a definition that changed under a snapshot.
        3960 | 3961 | 3958 => snapshot_conflict(),
        3952 => no_snapshots(),
        NO_SUCH_OBJECT | 3701 | 4902 => say(sqlstate::UNDEFINED_TABLE),
        207 => say(sqlstate::UNDEFINED_COLUMN),
        18_456 | 18_452 | 18_486 | 18_487 | 18_488 => say(sqlstate::INVALID_PASSWORD),
        4060 | 911 => say(sqlstate::INVALID_CATALOG_NAME),
        229 | 230 | 262 | 297 | 300 | 916 | 1088 | 2760 | 15_247 => say(sqlstate::INSUFFICIENT_PRIVILEGE),
        10_928 | 10_929 | 17_809 => say(sqlstate::TOO_MANY_CONNECTIONS),
        596 | 6005 | 6006 => say(sqlstate::ADMIN_SHUTDOWN),
        3906 => say(sqlstate::READ_ONLY_SQL_TRANSACTION),
        8152 | 2628 => Error::new(STRING_TOO_LONG, format!("sqlserver: {}", without_value(text))),
        220 | 232 | 244 | 248 | 8115 | 1007 | 237 => say(NUMERIC_OUT_OF_RANGE),
        242 | 517 => say(DATETIME_OUT_OF_RANGE),
        8134 => say(DIVISION_BY_ZERO),
        241 | 245 | 295 | 8114 | 8169 | 9807 => say(sqlstate::INVALID_TEXT_REPRESENTATION),
        544 | 8102 | 271 => say(GENERATED_ALWAYS),
        1105 | 9002 | 1101 => say(DISK_FULL),
        701 | 802 => say(OUT_OF_MEMORY),
        // A user's THROW or RAISERROR; PostgreSQL's code for RAISE is P0001.
        OURS.. => match text.strip_prefix(PREFIX) {
            Some(ours) if ours.starts_with("locked") => lock_not_available(),
            Some(ours) => Error::unsupported(ours.trim_end_matches(" is not supported")),
            None => Error::new("P0001", text.to_owned()),
        },
        _ => Error::internal(format!("sqlserver: {text} (error {})", e.code())),
    }
}

/// 2628 shows what was cut, up to the part that fits.
fn without_value(text: &str) -> &str {
    text.split(". Truncated value").next().unwrap_or(text)
}

/// 55P03: another transaction held what this one needs for too long.
pub(crate) fn lock_not_available() -> Error {
    Error::new(sqlstate::LOCK_NOT_AVAILABLE, "could not obtain a lock of the SQL Server")
        .with_detail("Another transaction has been writing for longer than the lock timeout.")
}

const CONCURRENT: &str = "could not serialize access due to concurrent update";

/// 40001: somebody else wrote since this transaction's snapshot.
pub(crate) fn snapshot_conflict() -> Error {
    Error::new(sqlstate::SERIALIZATION_FAILURE, CONCURRENT)
        .with_hint("The transaction might succeed if retried.")
}

/// Whether an error is [`snapshot_conflict`], which another snapshot may not have; that the rows of a merge have changed
/// is not.
pub(crate) fn is_snapshot_conflict(error: &Error) -> bool {
    error.code() == sqlstate::SERIALIZATION_FAILURE && error.message() == CONCURRENT
}

/// 55000: without snapshots no read of a branch is of one moment.
pub(crate) fn no_snapshots() -> Error {
    Error::new(
        sqlstate::OBJECT_NOT_IN_PREREQUISITE_STATE,
        "the SQL Server database does not allow snapshot isolation",
    )
    .with_detail("Branches and commits are read as of one moment, beside others who write.")
    .with_hint(
        "ALTER DATABASE CURRENT SET ALLOW_SNAPSHOT_ISOLATION ON; nothing changes for other clients by it.",
    )
}

#[cfg(test)]
mod tests {
    use epoch_adapter::{RowChange, Value};

    use super::*;

    #[test]
    fn a_seal_begins_again_after_a_conflict_of_snapshots_but_not_of_rows() {
        let change = RowChange { key: vec![Value::Int(1)], before: None, after: None };
        let rows = epoch_layers::errors::changed_since("t", &["id".to_owned()], &change);
        assert_eq!(rows.code(), snapshot_conflict().code());
        assert!(is_snapshot_conflict(&snapshot_conflict().with_table("t")) && !is_snapshot_conflict(&rows));
    }
}
