//! What a column makes of a value.

use epoch_adapter::{Column, Error, Result};

use crate::error::pg;
use crate::layout::literal;
use crate::tx::Tx;

/// The text form of what an assignment of `text` to the column stores, by the server's rules: those of its type, of the
/// type's modifier and of a domain. The transaction is to be rolled back.
pub(crate) async fn stored(tx: &Tx, column: &Column, text: &str) -> Result<String> {
    // A cast would cut off what is too long; PL/pgSQL assigns. Its blocks have neither parameters nor results.
    let block = format!(
        "DECLARE epoch_v {}; BEGIN \
         epoch_v := pg_catalog.current_setting('epoch.stored'); \
         PERFORM pg_catalog.set_config('epoch.stored', pg_catalog.format('%s', epoch_v), true); END",
        column.type_name
    );
    tx.query("SELECT pg_catalog.set_config('epoch.stored', $1, true)", &[&text]).await.map_err(pg)?;
    tx.batch_execute(&format!("DO {}", literal(&block))).await.map_err(pg)?;
    let row = tx.query_one("SELECT pg_catalog.current_setting('epoch.stored')", &[]).await.map_err(pg)?;
    row.try_get(0).map_err(|e| Error::internal(e.to_string()))
}
