//! MySQL's errors as PostgreSQL's.

use epoch_adapter::{Error, sqlstate};
use mysql_async::{DriverError, Error as Raw, ServerError};

/// In PostgreSQL's appendix "Error Codes".
const DEADLOCK: &str = "40P01";
const STRING_TOO_LONG: &str = "22001";
const NUMERIC_OUT_OF_RANGE: &str = "22003";
const DIVISION_BY_ZERO: &str = "22012";
const DISK_FULL: &str = "53100";

/// Numbers of MySQL's errors that are looked for elsewhere.
pub(crate) const DUPLICATE_ENTRY: u16 = 1062;
pub(crate) const LOCK_WAIT_TIMEOUT: u16 = 1205;
pub(crate) const DEADLOCK_FOUND: u16 = 1213;
pub(crate) const NO_SUCH_TABLE: u16 = 1146;
/// `NOWAIT` of MySQL 8; MariaDB says [`LOCK_WAIT_TIMEOUT`].
pub(crate) const LOCK_NOWAIT: u16 = 3572;

/// The server's number of an error.
pub(crate) fn number(error: &Raw) -> Option<u16> {
    match error {
        Raw::Server(ServerError { code, .. }) => Some(*code),
        _ => None,
    }
}

/// Maps an error that isn't about a row that is being written (see `constraint.rs` for those).
pub(crate) fn map(error: Raw) -> Error {
    match error {
        Raw::Server(e) => server(&e),
        Raw::Driver(DriverError::ConnectionClosed) | Raw::Io(_) => connection_lost(),
        // A driver's error may show parameters.
        Raw::Url(_) => Error::new(sqlstate::CONFIG_FILE_ERROR, "mysql: invalid connection URL"),
        Raw::Driver(e) => Error::internal(format!("mysql: {e}")),
        Raw::Other(_) => Error::internal("mysql: an error of the driver"),
    }
}

pub(crate) fn connection_lost() -> Error {
    Error::new(sqlstate::CONNECTION_FAILURE, "the connection to the MySQL server was lost")
}

fn server(e: &ServerError) -> Error {
    let text = &e.message;
    let say = |code: &'static str| Error::new(code, format!("mysql: {text}"));
    match e.code {
        LOCK_WAIT_TIMEOUT | LOCK_NOWAIT => lock_not_available(),
        DEADLOCK_FOUND => Error::new(DEADLOCK, "deadlock detected")
            .with_detail("The MySQL server rolled this transaction back.")
            .with_hint("The transaction might succeed if retried."),
        1020 => {
            Error::new(sqlstate::SERIALIZATION_FAILURE, "could not serialize access due to concurrent update")
        }
        1317 | 3024 => Error::new(sqlstate::QUERY_CANCELED, "canceling statement due to user request"),
        NO_SUCH_TABLE | 1051 => say(sqlstate::UNDEFINED_TABLE),
        1054 => say(sqlstate::UNDEFINED_COLUMN),
        1045 => say(sqlstate::INVALID_PASSWORD),
        1044 | 1142 | 1143 | 1227 | 1370 | 1419 => say(sqlstate::INSUFFICIENT_PRIVILEGE),
        1049 => say(sqlstate::INVALID_CATALOG_NAME),
        1040 | 1203 | 1226 => say(sqlstate::TOO_MANY_CONNECTIONS),
        1053 | 1927 => say(sqlstate::ADMIN_SHUTDOWN),
        1290 | 1792 => say(sqlstate::READ_ONLY_SQL_TRANSACTION),
        1406 => say(STRING_TOO_LONG),
        1264 | 1690 => say(NUMERIC_OUT_OF_RANGE),
        1365 => say(DIVISION_BY_ZERO),
        1265 | 1292 | 1366 | 1411 | 1525 => say(sqlstate::INVALID_TEXT_REPRESENTATION),
        1021 | 1114 => say(DISK_FULL),
        // SIGNAL in a user's trigger; PostgreSQL's code for RAISE is P0001.
        1644 => Error::new("P0001", text.clone()),
        _ => Error::internal(format!("mysql: {text} (error {})", e.code)),
    }
}

/// 55P03: another transaction held what this one needs for too long.
pub(crate) fn lock_not_available() -> Error {
    Error::new(sqlstate::LOCK_NOT_AVAILABLE, "could not obtain a lock of the MySQL server")
        .with_detail("Another transaction has been writing for longer than the lock wait timeout.")
}

/// 40001: somebody else wrote since this transaction's snapshot.
pub(crate) fn snapshot_conflict() -> Error {
    Error::new(sqlstate::SERIALIZATION_FAILURE, "could not serialize access due to concurrent update")
        .with_hint("The transaction might succeed if retried.")
}
