//! Errors of the driver and the server as ours.

use epoch_adapter::{Error, schema_of_draft, sqlstate};
use tokio_postgres::error::{DbError, ErrorPosition};

/// Maps an error of the driver. Server errors keep SQLSTATE, texts and fields.
pub(crate) fn pg(error: tokio_postgres::Error) -> Error {
    match error.as_db_error() {
        Some(db) => present(server(db)),
        None if error.is_closed() => {
            Error::new(sqlstate::CONNECTION_FAILURE, "the connection to the backend was lost")
        }
        None => Error::new(sqlstate::CONNECTION_FAILURE, format!("backend connection: {error}")),
    }
}

/// Maps a failure to get a connection.
pub(crate) fn pool(backend: &str, error: deadpool_postgres::PoolError) -> Error {
    use deadpool_postgres::PoolError;
    match error {
        PoolError::Backend(e) => connect(backend, &e),
        PoolError::PostCreateHook(deadpool_postgres::HookError::Backend(e)) => connect(backend, &e),
        PoolError::Timeout(_) => {
            Error::new(sqlstate::TOO_MANY_CONNECTIONS, format!("no free connection to backend \"{backend}\""))
                .with_hint("Raise pool_size of the backend, or retry.")
        }
        _ => Error::new(
            sqlstate::SQLCLIENT_UNABLE_TO_ESTABLISH,
            format!("could not connect to backend \"{backend}\""),
        ),
    }
}

fn connect(backend: &str, error: &tokio_postgres::Error) -> Error {
    let message = format!("could not connect to backend \"{backend}\"");
    match error.as_db_error() {
        Some(db) => Error::new(db.code().code().to_owned(), message)
            .with_detail(format!("The server says: {}.", db.message())),
        None => {
            let cause = std::error::Error::source(error).map(|s| format!(": {s}")).unwrap_or_default();
            Error::new(sqlstate::SQLCLIENT_UNABLE_TO_ESTABLISH, message)
                .with_detail(format!("{error}{cause}."))
        }
    }
}

fn server(db: &DbError) -> Error {
    let mut error = Error::new(db.code().code().to_owned(), db.message());
    if let Some(detail) = db.detail() {
        error = error.with_detail(detail);
    }
    if let Some(hint) = db.hint() {
        error = error.with_hint(hint);
    }
    if let Some(ErrorPosition::Original(position)) = db.position() {
        error = error.with_position(*position as usize);
    }
    if let Some(schema) = db.schema() {
        error = error.with_schema(schema);
    }
    if let Some(table) = db.table() {
        error = error.with_table(table);
    }
    if let Some(column) = db.column() {
        error = error.with_column(column);
    }
    if let Some(constraint) = db.constraint() {
        error = error.with_constraint(constraint);
    }
    error
}

/// An error that the server raised about an overlay table, as it would read about the base: its
/// schema, and a DETAIL without our hidden columns.
pub fn present(error: Error) -> Error {
    // The base of a draft has no columns of ours.
    if let Some(home) = error.schema().and_then(schema_of_draft).map(str::to_owned) {
        return error.with_schema(home);
    }
    let Some(schema) = error.schema().and_then(|s| s.strip_prefix("epoch_")).map(str::to_owned) else {
        return error;
    };
    let schema = schema_of_draft(&schema).map(str::to_owned).unwrap_or(schema);
    let detail = error.detail().and_then(present_detail);
    let error = error.with_schema(schema);
    match detail {
        Some(detail) => error.with_detail(detail),
        None => error,
    }
}

/// A DETAIL about an overlay row without our hidden columns; `None` if it mentions none.
pub fn present_detail(detail: &str) -> Option<String> {
    if let Some(rest) = detail.strip_prefix("Key (") {
        // An exclusion constraint shows a second key.
        let Some((new, old)) = rest.split_once(" conflicts with existing key (") else {
            return Some(format!("Key ({}", without_lineage(rest)?));
        };
        let (new, old) = (without_lineage(new)?, without_lineage(old)?);
        return Some(format!("Key ({new} conflicts with existing key ({old}"));
    }
    let row = detail.strip_prefix("Failing row contains (")?.strip_suffix(").")?;
    let (row, _copied) = row.rsplit_once(", ")?;
    let (row, _lineage) = row.rsplit_once(", ")?;
    Some(format!("Failing row contains ({row})."))
}

/// `epoch_lineage, a)=(7, 1)…` without our column and its value.
fn without_lineage(key: &str) -> Option<String> {
    let (columns, values) = key.strip_prefix("epoch_lineage, ")?.split_once(")=(")?;
    let (_, values) = values.split_once(", ")?;
    Some(format!("{columns})=({values}"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn errors_about_an_overlay_read_as_about_the_base() {
        let error = Error::new("23505", "duplicate key value violates unique constraint \"t_pkey\"")
            .with_schema("epoch_public")
            .with_detail("Key (epoch_lineage, a, b)=(7, 1, x, y) already exists.");
        let error = present(error);
        assert_eq!(error.schema(), Some("public"));
        assert_eq!(error.detail(), Some("Key (a, b)=(1, x, y) already exists."));
        assert_eq!(
            present_detail("Failing row contains (1, a, b, 7, f).").unwrap(),
            "Failing row contains (1, a, b)."
        );
        assert_eq!(
            present_detail(
                "Key (epoch_lineage, a)=(7, 1) conflicts with existing key (epoch_lineage, a)=(7, 2)."
            )
            .unwrap(),
            "Key (a)=(1) conflicts with existing key (a)=(2)."
        );
        assert_eq!(present_detail("Array value must start with \"{\"."), None);
    }

    #[test]
    fn errors_about_drafts_name_their_home() {
        let detail = "Failing row contains (1, a, b, 7, f).";
        let error = Error::new("23514", "x").with_detail(detail);
        let base = present(error.clone().with_schema("epoch_b2_sales"));
        assert_eq!((base.schema(), base.detail()), (Some("sales"), Some(detail)));
        let overlay = present(error.with_schema("epoch_epoch_b2_sales"));
        assert_eq!(
            (overlay.schema(), overlay.detail()),
            (Some("sales"), Some("Failing row contains (1, a, b)."))
        );
    }

    #[test]
    fn errors_about_other_tables_stay_as_they_are() {
        let error =
            Error::new("23505", "x").with_schema("public").with_detail("Key (epoch_lineage, a)=(1, 2)");
        assert_eq!(present(error.clone()), error);
    }
}
