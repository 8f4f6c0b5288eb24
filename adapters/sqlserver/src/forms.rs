//! Which keys are one row's: the server says, by its collations.

use epoch_adapter::{Error, Result, Row, TableDef, Value};

use crate::ddl::key_column_sql;
use crate::layout::list;
use crate::pool::{PARAMETERS, Session, number};
use crate::types::{Kind, kind_of, written};

/// Keys that are sent at once.
const CHUNK: usize = 500;

/// Whether several values of a key may be the same to the server.
pub(crate) fn vary(table: &TableDef) -> bool {
    let varies =
        |kind: Kind| matches!(kind, Kind::Text { .. } | Kind::Unicode { .. } | Kind::Offset(_) | Kind::Bytes);
    table.schema.key_columns().any(|c| varies(kind_of(c)))
}

/// See [`epoch_adapter::Adapter::key_forms`]: the place of the first key that is the same.
pub(crate) async fn forms(session: &mut Session, table: &TableDef, keys: &[Row]) -> Result<Vec<Row>> {
    // The temporary table ends with the connection.
    session.tainted = true;
    let columns: Vec<_> = table.schema.key_columns().map(key_column_sql).collect();
    let names = list("", table.schema.key_columns().map(|c| c.name.as_str()));
    session
        .run(&format!(
            "CREATE TABLE #epoch_forms (epoch_n bigint NOT NULL PRIMARY KEY, {})",
            columns.join(", ")
        ))
        .await?;
    let marks: Vec<_> = table.schema.key_columns().map(|c| written(&c.type_name)).collect();
    let width = marks.len() + 1;
    let mut n = 0_i64;
    for chunk in keys.chunks(CHUNK.min(PARAMETERS / width).max(1)) {
        let one = format!("(?, {})", marks.join(", "));
        let sql = format!(
            "INSERT INTO #epoch_forms (epoch_n, {names}) VALUES {}",
            vec![one; chunk.len()].join(", ")
        );
        let mut params = Vec::with_capacity(chunk.len() * width);
        for key in chunk {
            params.push(Value::Int(n));
            params.extend(key.iter().cloned());
            n += 1;
        }
        session.exec(&sql, &params).await?;
    }
    let sql = format!("SELECT min(epoch_n) OVER (PARTITION BY {names}) FROM #epoch_forms ORDER BY epoch_n");
    let rows = session.rows(&sql, &[]).await?;
    rows.iter()
        .map(|row| number(row, 0).map(|first| vec![Value::Int(first)]))
        .collect::<Option<_>>()
        .ok_or_else(|| Error::internal("sqlserver: the forms of keys aren't numbers"))
}
