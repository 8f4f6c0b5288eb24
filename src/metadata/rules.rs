//! How merges judge single columns.

use epoch_adapter::{Result, TableName};

use super::{Tx, params};

/// A rule of one column.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ColumnRule {
    /// The table's name: it holds on every branch, also for a table that is registered anew.
    pub table: TableName,
    /// The column.
    pub column: String,
    /// `sum`, `max`, `min`, `latest` or `union`.
    pub rule: String,
}

/// All rules, by table and column.
pub async fn all(tx: &mut Tx) -> Result<Vec<ColumnRule>> {
    let sql = "SELECT schema_name, table_name, column_name, rule FROM merge_rules
               ORDER BY schema_name, table_name, column_name";
    let rows = tx.query(sql, &[]).await?;
    rows.iter()
        .map(|r| {
            let table = TableName { schema: r.text(0)?, name: r.text(1)? };
            Ok(ColumnRule { table, column: r.text(2)?, rule: r.text(3)? })
        })
        .collect()
}

/// Sets the rule of a column.
pub async fn set(tx: &mut Tx, rule: &ColumnRule) -> Result<()> {
    delete(tx, &rule.table, &rule.column).await?;
    tx.execute(
        "INSERT INTO merge_rules (schema_name, table_name, column_name, rule) VALUES ($1, $2, $3, $4)",
        params![&rule.table.schema, &rule.table.name, &rule.column, &rule.rule],
    )
    .await
    .map(drop)
}

/// Forgets the rule of a column; false if it has none.
pub async fn delete(tx: &mut Tx, table: &TableName, column: &str) -> Result<bool> {
    let deleted = tx
        .execute(
            "DELETE FROM merge_rules WHERE schema_name = $1 AND table_name = $2 AND column_name = $3",
            params![&table.schema, &table.name, column],
        )
        .await?;
    Ok(deleted > 0)
}
