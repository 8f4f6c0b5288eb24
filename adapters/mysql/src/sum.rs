//! What main's rows come to as of its last commit: a sum over all rows, which commits keep up by what changed. A table
//! that was altered or rebuilt past us has kept its rows if they still come to it.

use epoch_adapter::{Error, Result, Row, TableId, Value, sqlstate};
use epoch_layers::cells::Cell;
use epoch_layers::digest::feed;
use mysql_async::prelude::Queryable;
use sha2::{Digest, Sha256};

use crate::error::map;
use crate::layout::{LINEAGE, PENDING, equal};
use crate::meta::Meta;
use crate::pool::Session;
use crate::types::bind_all;

/// A sum of rows, in no order: adding and taking are each other's reverse.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Sum(u128);

impl Sum {
    pub(crate) fn add(&mut self, row: &Row) {
        self.0 = self.0.wrapping_add(weight(row));
    }

    pub(crate) fn take(&mut self, row: &Row) {
        self.0 = self.0.wrapping_sub(weight(row));
    }

    fn plus(self, moved: Self) -> Self {
        Self(self.0.wrapping_add(moved.0))
    }

    fn text(self) -> String {
        format!("{:032x}", self.0)
    }

    fn parse(text: &str) -> Result<Self> {
        u128::from_str_radix(text, 16).map(Self).map_err(|e| {
            Error::new(sqlstate::DATA_CORRUPTED, format!("epoch_registered is damaged: a sum of rows: {e}"))
        })
    }
}

/// A row's part in a sum.
fn weight(row: &Row) -> u128 {
    let mut hash = Sha256::new();
    row.iter().for_each(|value| feed(&mut hash, Cell::from(value)));
    hash.finalize().iter().take(16).fold(0, |sum, byte| (sum << 8) | u128::from(*byte))
}

/// The rows of main as of its last commit: those that nobody changed since, and those that were, as they were.
fn statements(meta: &Meta) -> [String; 2] {
    let pending = format!("{LINEAGE} = 1 AND h.epoch_to = {PENDING}");
    [
        format!(
            "SELECT {} FROM {} AS x WHERE NOT EXISTS (SELECT 1 FROM {} AS h WHERE h.{pending} AND {})",
            meta.all_columns("x"),
            meta.base,
            meta.history,
            equal(&meta.key, "h", "x")
        ),
        format!(
            "SELECT {} FROM {} AS h WHERE h.{pending} AND h.epoch_existed = 1",
            meta.all_columns("h"),
            meta.history
        ),
    ]
}

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
    text.as_deref().map(Sum::parse).transpose()
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn sums_forget_the_order_and_tell_rows_apart() {
        let row = |a: i64, b: &str| vec![Value::Int(a), Value::Text(b.to_owned())];
        let of = |rows: &[Row]| {
            let mut sum = Sum::default();
            rows.iter().for_each(|row| sum.add(row));
            sum
        };
        let all = of(&[row(1, "a"), row(2, "b"), row(3, "c")]);
        assert_eq!(all, of(&[row(3, "c"), row(1, "a"), row(2, "b")]));
        // Values that change places are other rows.
        assert_ne!(all, of(&[row(1, "b"), row(2, "a"), row(3, "c")]));
        let mut moved = Sum::default();
        moved.take(&row(2, "b"));
        moved.add(&row(2, "z"));
        assert_eq!(all.plus(moved), of(&[row(1, "a"), row(2, "z"), row(3, "c")]));
        assert_eq!(Sum::parse(&all.text()).unwrap(), all);
        assert_ne!(weight(&vec![Value::Null]), weight(&vec![Value::Text(String::new())]));
    }
}
