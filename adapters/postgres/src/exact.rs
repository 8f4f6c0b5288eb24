//! Whether rows of main became what a merge computed. The user's own triggers fire for it as for any other write, so they
//! may have become something else; then a commit that exists doesn't say what main has (decision 48).

use epoch_adapter::{Error, Result, TableChanges, TableDef};

use crate::apply::staged;
use crate::layout::{base, literal, quote};
use crate::text::{join, key, same_key};
use crate::tx::{Tx, texts};

/// Triggers of the user's that fire, of a table and its partitions, and rules.
const TRIGGERS_SQL: &str = "SELECT DISTINCT g.tgname::text FROM pg_trigger g JOIN pg_proc p ON p.oid = g.tgfoid \
    WHERE (g.tgrelid = {{table}}::regclass OR g.tgrelid IN (SELECT x.relid FROM pg_partition_tree({{table}}::regclass) x)) \
    AND NOT g.tgisinternal AND g.tgenabled <> 'D' AND p.pronamespace <> 'epoch'::regnamespace \
    UNION SELECT r.rulename::text FROM pg_rewrite r WHERE r.ev_class = {{table}}::regclass AND r.ev_enabled <> 'D' ORDER BY 1";

/// The first row that isn't what the changes of these tables say, as the error that it may be.
pub(crate) async fn first_other(tx: &Tx, changes: &[TableChanges], tables: &[i64]) -> Result<Option<Error>> {
    for change in changes.iter().filter(|c| !c.changes.is_empty() && tables.contains(&c.table.id.0)) {
        let table = &change.table;
        let triggers = triggers(tx, table).await?;
        if triggers.is_empty() {
            continue;
        }
        if let Some(row) = texts(tx, &other_sql(table)).await?.into_iter().next() {
            let names = join(table.schema.key_names(), ", ", |n| n);
            let values = join(row, ", ", |v| v.unwrap_or_default());
            let key = format!("({names})=({values})");
            return Ok(Some(Error::altered(&table.name.to_string(), &triggers, Some(&key))));
        }
    }
    Ok(None)
}

/// As [`first_other`], of a row that nothing was to be written to.
pub(crate) async fn beside(tx: &Tx, table: &TableDef) -> Result<Error> {
    Ok(Error::altered(&table.name.to_string(), &triggers(tx, table).await?, None))
}

async fn triggers(tx: &Tx, table: &TableDef) -> Result<Vec<String>> {
    let sql = TRIGGERS_SQL.replace("{{table}}", &literal(&base(table)));
    Ok(texts(tx, &sql).await?.into_iter().flatten().flatten().collect())
}

/// The first key among a table's changes whose row isn't what they say. What the server computes is as it computes it.
fn other_sql(table: &TableDef) -> String {
    let stored = || table.schema.columns.iter().enumerate().filter(|(_, c)| !c.generated);
    let now = join(stored(), ", ", |(_, c)| format!("t.{}", quote(&c.name)));
    let after = join(stored(), ", ", |(i, _)| format!("s.epoch_a{i}"));
    format!(
        "SELECT {} FROM {} s LEFT JOIN LATERAL (SELECT ROW({now})::text AS epoch_row FROM {} t WHERE {} OFFSET 0) t ON true \
         WHERE t.epoch_row IS DISTINCT FROM CASE WHEN s.epoch_a THEN ROW({after})::text END ORDER BY s.epoch_n LIMIT 1",
        key(table, "s."),
        staged(table),
        base(table),
        same_key(table, "t", "s"),
    )
}
