//! SQLite's errors as PostgreSQL's.

use epoch_adapter::{Error, sqlstate};
use rusqlite::ffi;

/// Disk full, in PostgreSQL's appendix "Error Codes".
const DISK_FULL: &str = "53100";

/// Maps an error that isn't about a row that is being written (see `constraint.rs` for those).
pub(crate) fn map(error: rusqlite::Error) -> Error {
    let rusqlite::Error::SqliteFailure(failure, message) = &error else {
        return match error {
            rusqlite::Error::SqlInputError { msg, .. } => map_input(&msg),
            other => Error::internal(format!("sqlite: {other}")),
        };
    };
    let text = message.clone().unwrap_or_else(|| failure.to_string());
    match failure.extended_code {
        ffi::SQLITE_BUSY_SNAPSHOT => return snapshot_conflict(),
        ffi::SQLITE_CONSTRAINT_TRIGGER => return raised(&text),
        _ => {}
    }
    match failure.extended_code & 0xff {
        ffi::SQLITE_BUSY | ffi::SQLITE_LOCKED => lock_not_available(),
        ffi::SQLITE_INTERRUPT => {
            Error::new(sqlstate::QUERY_CANCELED, "canceling statement due to user request")
        }
        ffi::SQLITE_CORRUPT | ffi::SQLITE_NOTADB => {
            Error::new(sqlstate::DATA_CORRUPTED, format!("sqlite: {text}"))
        }
        ffi::SQLITE_FULL => Error::new(DISK_FULL, format!("sqlite: {text}")),
        ffi::SQLITE_READONLY | ffi::SQLITE_PERM | ffi::SQLITE_AUTH => {
            Error::new(sqlstate::INSUFFICIENT_PRIVILEGE, format!("sqlite: {text}"))
        }
        ffi::SQLITE_CANTOPEN => {
            Error::new(sqlstate::SQLCLIENT_UNABLE_TO_ESTABLISH, format!("sqlite: {text}"))
        }
        ffi::SQLITE_IOERR => Error::new(sqlstate::IO_ERROR, format!("sqlite: {text}")),
        ffi::SQLITE_TOOBIG => Error::new(sqlstate::PROGRAM_LIMIT_EXCEEDED, format!("sqlite: {text}")),
        ffi::SQLITE_MISMATCH => Error::new(sqlstate::DATATYPE_MISMATCH, format!("sqlite: {text}")),
        ffi::SQLITE_CONSTRAINT => Error::new("23000", format!("sqlite: {text}")),
        _ => map_input(&text),
    }
}

fn map_input(text: &str) -> Error {
    if text.starts_with("no such table") {
        return Error::new(sqlstate::UNDEFINED_TABLE, format!("sqlite: {text}"));
    }
    if text.starts_with("no such column") {
        return Error::new(sqlstate::UNDEFINED_COLUMN, format!("sqlite: {text}"));
    }
    if text.contains("no such collation") {
        return Error::unsupported(format!("a collation that SQLite doesn't have built in ({text})"));
    }
    Error::internal(format!("sqlite: {text}"))
}

/// What a trigger says with RAISE: the user's own text (PostgreSQL's code for RAISE is P0001).
fn raised(text: &str) -> Error {
    Error::new("P0001", text.to_owned())
}

/// 40001: somebody else committed between our first read and our first write.
pub(crate) fn snapshot_conflict() -> Error {
    Error::new(sqlstate::SERIALIZATION_FAILURE, "could not serialize access due to concurrent update")
        .with_hint("The transaction might succeed if retried.")
}

/// 55P03: another writer held the file for longer than the busy timeout.
pub(crate) fn lock_not_available() -> Error {
    Error::new(sqlstate::LOCK_NOT_AVAILABLE, "could not obtain the write lock of the SQLite file")
        .with_detail("Another connection has been writing for longer than the busy timeout.")
}

/// Whether SQLite gave up waiting for a lock.
pub(crate) fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(error, rusqlite::Error::SqliteFailure(f, _) if f.extended_code == ffi::SQLITE_BUSY)
}
