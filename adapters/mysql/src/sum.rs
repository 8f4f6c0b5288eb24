//! What main's rows come to as of its last commit: a sum over all rows, which commits keep up by what changed. A table
//! that was altered or rebuilt past us has kept its rows if they still come to it.

use epoch_adapter::{Result, TableId, Value};
pub(crate) use epoch_layers::sum::Sum;
use epoch_layers::sum::statements;
use mysql_async::prelude::Queryable;

use crate::error::map;
use crate::meta::Meta;
use crate::pool::Session;
use crate::types::bind_all;

/// Reads the whole table, in the session's snapshot.
async fn of_rows(session: &mut Session, meta: &Meta) -> Result<Sum> {
    let mut sum = Sum::default();
    for sql in statements(meta) {
        let mut result = session.conn()?.exec_iter(sql, bind_all(&[])).await.map_err(map)?;
        while let Some(mut row) = result.next().await.map_err(map)? {
            sum.add(&meta.row(&mut row, 0)?);
        }
        result.drop_result().await.map_err(map)?;
    }
    Ok(sum)
}

/// The sum that is noted of a table.
async fn noted(session: &mut Session, id: TableId) -> Result<Option<Sum>> {
    let sql = "SELECT rows_sum FROM epoch_registered WHERE id = ?";
    let text = session.one::<String>(sql, &[Value::Int(id.0)]).await?;
    text.as_deref().map(|text| Sum::parse(text, "epoch_registered")).transpose()
}

async fn note(session: &mut Session, id: TableId, sum: Sum) -> Result<()> {
    let sql = "UPDATE epoch_registered SET rows_sum = ? WHERE id = ?";
    session.exec(sql, &[Value::Text(sum.text()), Value::Int(id.0)]).await.map(drop)
}

/// What is noted of a table beside what its rows come to, both as of one moment. In a transaction of its own.
async fn both(session: &mut Session, meta: &Meta) -> Result<(Option<Sum>, Sum)> {
    session.run("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ").await?;
    session.run("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY").await?;
    let noted = noted(session, meta.id()).await?;
    let sum = of_rows(session, meta).await?;
    session.run("COMMIT").await?;
    Ok((noted, sum))
}

/// Notes what the rows of a table that is being registered come to. Nobody commits on it yet.
pub(crate) async fn begin(session: &mut Session, meta: &Meta) -> Result<()> {
    if noted(session, meta.id()).await?.is_some() {
        return Ok(());
    }
    let (_, sum) = both(session, meta).await?;
    note(session, meta.id(), sum).await
}

/// Whether a table that isn't as it was still has the rows of its last commit.
pub(crate) async fn holds(session: &mut Session, meta: &Meta) -> Result<bool> {
    let (noted, sum) = both(session, meta).await?;
    Ok(noted == Some(sum))
}

/// Notes what a commit of main changed, in its transaction, which nobody else's commits.
pub(crate) async fn moved(session: &mut Session, meta: &Meta, moved: Sum) -> Result<()> {
    match noted(session, meta.id()).await? {
        Some(sum) if moved != Sum::default() => note(session, meta.id(), sum.plus(moved)).await,
        _ => Ok(()),
    }
}
