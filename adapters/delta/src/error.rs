//! Errors of the store, of delta-rs and of the engine as ours.

use datafusion::error::DataFusionError;
use deltalake_core::DeltaTableError;
use deltalake_core::kernel::transaction::TransactionError;
use epoch_adapter::{Error, sqlstate};

/// The store didn't do what was asked. Its messages name objects, never keys.
pub(crate) fn store(error: object_store::Error) -> Error {
    of_store(&error)
}

fn of_store(error: &object_store::Error) -> Error {
    Error::new(sqlstate::IO_ERROR, "the store of a Delta table failed").with_detail(error.to_string())
}

/// What delta-rs says.
pub(crate) fn delta(error: DeltaTableError) -> Error {
    match error {
        DeltaTableError::ObjectStore { source } => store(source),
        DeltaTableError::NotATable(_) => {
            Error::new(sqlstate::UNDEFINED_TABLE, "there is no Delta table at this place")
        }
        DeltaTableError::Transaction { source } => transaction(&source),
        DeltaTableError::VersionAlreadyExists(_) | DeltaTableError::VersionMismatch(..) => {
            Error::new(sqlstate::SERIALIZATION_FAILURE, "another writer committed to the Delta table first")
        }
        DeltaTableError::InvalidVersion(version) => gone(version),
        DeltaTableError::InvalidData { message } => {
            Error::new(sqlstate::CHECK_VIOLATION, "new row violates a constraint of the Delta table")
                .with_detail(message)
        }
        DeltaTableError::UnsupportedColumnMapping { mode, .. } => {
            Error::unsupported(format!("column mapping ({mode}) of a Delta table"))
        }
        other => below(&other),
    }
}

/// 58030: a version that the table's log doesn't have any more.
pub(crate) fn gone(version: u64) -> Error {
    Error::new(sqlstate::IO_ERROR, format!("version {version} of the Delta table is not there any more"))
        .with_detail("The table's log was cleaned up, or its files were vacuumed, before they were kept aside.")
        .with_hint("Raise delta.logRetentionDuration and delta.deletedFileRetentionDuration of tables with branches.")
}

fn transaction(error: &TransactionError) -> Error {
    match error {
        TransactionError::UnsupportedTableFeatures(features) => {
            Error::unsupported(format!("a Delta table with {features:?}"))
        }
        TransactionError::TableFeaturesRequired(feature) => {
            Error::unsupported(format!("a Delta table without {feature:?}"))
        }
        TransactionError::DeltaTableAppendOnly => {
            Error::new(sqlstate::OBJECT_NOT_IN_PREREQUISITE_STATE, "the Delta table is append-only")
        }
        TransactionError::VersionAlreadyExists(_)
        | TransactionError::CommitConflict(_)
        | TransactionError::MaxCommitAttempts(_) => {
            Error::new(sqlstate::SERIALIZATION_FAILURE, "another writer changed the Delta table meanwhile")
                .with_detail(error.to_string())
                .with_hint("The operation might succeed if retried.")
        }
        TransactionError::ObjectStore { source } => of_store(source),
        other => Error::internal(format!("delta: {other}")),
    }
}

/// What the engine says, which may be what the others said to it.
pub(crate) fn engine(error: DataFusionError) -> Error {
    match error {
        DataFusionError::ObjectStore(source) => store(*source),
        DataFusionError::External(source) => match source.downcast::<DeltaTableError>() {
            Ok(known) => delta(*known),
            Err(source) => match source.downcast::<object_store::Error>() {
                Ok(known) => store(*known),
                Err(source) => below(&*source),
            },
        },
        DataFusionError::Context(_, inner) => engine(*inner),
        other => below(&other),
    }
}

/// What the store said to a reader of files that told it on in a form of its own.
fn below(error: &(dyn std::error::Error + 'static)) -> Error {
    let mut cause = Some(error);
    while let Some(one) = cause {
        if let Some(known) = one.downcast_ref() {
            return of_store(known);
        }
        cause = one.source();
    }
    Error::internal(format!("delta: {error}"))
}

/// What Arrow says.
pub(crate) fn arrow(error: arrow::error::ArrowError) -> Error {
    Error::internal(format!("delta: {error}"))
}

/// XX001: one of our files isn't what we wrote.
pub(crate) fn damaged(name: &str, error: impl std::fmt::Display) -> Error {
    Error::new(sqlstate::DATA_CORRUPTED, format!("{name} is damaged")).with_detail(error.to_string())
}
