//! Runs the statements of [`epoch_layers::sum`], and keeps what is noted of a table.

use epoch_adapter::{Result, TableId, Value};
pub(crate) use epoch_layers::sum::Sum;
use epoch_layers::sum::statements;

use crate::meta::Meta;
use crate::pool::{Session, number, text};
use crate::scan::each_row;

/// What is noted of main's rows: how many they are, and what they come to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Rows {
    pub count: i64,
    pub sum: Sum,
}

impl Rows {
    pub(crate) fn add(&mut self, row: &epoch_adapter::Row) {
        self.count += 1;
        self.sum.add(row);
    }

    pub(crate) fn take(&mut self, row: &epoch_adapter::Row) {
        self.count -= 1;
        self.sum.take(row);
    }
}

/// Reads the whole table, in the session's snapshot.
async fn of_rows(session: &mut Session, meta: &Meta) -> Result<Rows> {
    let mut rows = Rows::default();
    for sql in statements(meta) {
        each_row(session, &sql, &[], |mut row| {
            rows.add(&meta.read_row(&mut row, 0)?);
            Ok(())
        })
        .await?;
    }
    Ok(rows)
}

/// What is noted of a table.
async fn noted(session: &mut Session, id: TableId) -> Result<Option<Rows>> {
    let sql = "SELECT row_count, rows_sum FROM [epoch].[epoch_registered] WHERE id = ?";
    let rows = session.rows(sql, &[Value::Int(id.0)]).await?;
    let Some((count, sum)) = rows.first().and_then(|row| Some((number(row, 0)?, text(row, 1)?))) else {
        return Ok(None);
    };
    Ok(Some(Rows { count, sum: Sum::parse(&sum, "epoch_registered")? }))
}

async fn note(session: &mut Session, id: TableId, rows: Rows) -> Result<()> {
    let sql = "UPDATE [epoch].[epoch_registered] SET row_count = ?, rows_sum = ? WHERE id = ?";
    let params = [Value::Int(rows.count), Value::Text(rows.sum.text()), Value::Int(id.0)];
    session.exec(sql, &params).await.map(drop)
}

/// What is noted of a table beside what its rows come to, both as of one moment. In a transaction of its own.
async fn both(session: &mut Session, meta: &Meta) -> Result<(Option<Rows>, Rows)> {
    session.begin_snapshot().await?;
    let result = async { Ok((noted(session, meta.id()).await?, of_rows(session, meta).await?)) }.await;
    session
        .run(&format!("IF @@TRANCOUNT > 0 ROLLBACK TRANSACTION; {}", crate::connect::idle_settings()))
        .await?;
    result
}

/// Notes what the rows of a table that is being registered come to. Nobody commits on it yet.
pub(crate) async fn begin(session: &mut Session, meta: &Meta) -> Result<()> {
    if noted(session, meta.id()).await?.is_some() {
        return Ok(());
    }
    let (_, rows) = both(session, meta).await?;
    note(session, meta.id(), rows).await
}

/// Whether a table that isn't as it was still has the rows of its last commit.
pub(crate) async fn holds(session: &mut Session, meta: &Meta) -> Result<bool> {
    let (noted, rows) = both(session, meta).await?;
    Ok(noted == Some(rows))
}

/// Notes what a commit of main changed, in its transaction, which nobody else's commits.
pub(crate) async fn moved(session: &mut Session, meta: &Meta, moved: Rows) -> Result<()> {
    match noted(session, meta.id()).await? {
        Some(rows) if moved != Rows::default() => {
            let rows = Rows { count: rows.count + moved.count, sum: rows.sum.plus(moved.sum) };
            note(session, meta.id(), rows).await
        }
        _ => Ok(()),
    }
}
