//! Numbers of IDENTITY columns that branches give.

use std::sync::Arc;

use epoch_adapter::{Error, Result, Value};

use crate::error::{DUPLICATE_KEY, map, number};
use crate::meta::Meta;
use crate::pool::{Pool, number as cell};

/// The largest that main ever gave, or the first that it will give, which stays the largest if it counts down.
const OF_MAIN: &str =
    "SELECT CAST(CASE WHEN IDENT_INCR(?) < 0 THEN IDENT_SEED(?) ELSE IDENT_CURRENT(?) END AS bigint)";
const NEXT: &str = "UPDATE [epoch].[epoch_number] SET last = CASE WHEN last < ? THEN ? ELSE last END + 1 \
    OUTPUT inserted.last WHERE table_id = ?";

/// A number above those that main has had and branches were given, in a transaction of its own: branches don't wait for
/// each other, and no number is given twice.
pub(crate) async fn next_number(pool: &Arc<Pool>, meta: &Meta) -> Result<i64> {
    let mut session = pool.get().await?;
    let name = || Value::Text(meta.base.clone());
    let of_main = session.number(OF_MAIN, &[name(), name(), name()]).await?.unwrap_or(0);
    let id = Value::Int(meta.id().0);
    loop {
        let params = [Value::Int(of_main), Value::Int(of_main), id.clone()];
        if let Some(next) = session.rows(NEXT, &params).await?.first().and_then(|row| cell(row, 0)) {
            return Ok(next);
        }
        let sql = "INSERT INTO [epoch].[epoch_number] (table_id, last) VALUES (?, ?)";
        match session.raw_exec(sql, &[id.clone(), Value::Int(of_main)]).await? {
            // Whoever comes second finds it done.
            Err(e) if number(&e) == Some(DUPLICATE_KEY) => {}
            Ok(0) => return Err(Error::internal("sqlserver: a table's numbers can't be kept")),
            done => drop(done.map_err(map)?),
        }
    }
}
