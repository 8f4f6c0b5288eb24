//! Layers: what a branch lineage holds of a table, and where a nested branch's one comes from.

use epoch_adapter::{At, Layer, Result, TableId, Value, View, sqlstate};

use epoch_layers::view::{Filter, union};

use crate::connect::LOCK_WAIT;
use crate::error::{DUPLICATE_KEY, map, number, snapshot_conflict};
use crate::layout::{LINEAGE, list, turn};
use crate::meta::Meta;
use crate::pool::Session;
use crate::view::facts;

/// Makes a layer: one row, and (for a nested branch) a copy of the parent's layer as of the fork. Does nothing if the
/// layer is there. In a transaction of the session's, of one snapshot.
pub(crate) async fn ensure(
    session: &mut Session,
    meta: &Meta,
    layer: Layer,
    parent: Option<&View>,
) -> Result<()> {
    if layer.is_main() {
        return Ok(());
    }
    let parent = parent.filter(|p| !p.layer.is_main());
    let at = parent.map(|p| match p.at {
        At::Ordinal(s) => s,
        At::Working => i64::MAX,
    });
    let ids = [Value::Int(meta.id().0), Value::Int(layer.lineage.0)];
    if session
        .exists("SELECT 1 FROM [epoch].[epoch_lineage] WHERE table_id = ? AND lineage = ?", &ids)
        .await?
    {
        return Ok(());
    }
    let maybe = |n: Option<i64>| n.map_or(Value::Null, Value::Int);
    let [id, lineage] = ids;
    let params = [id, lineage, Value::Int(layer.base), maybe(parent.map(|p| p.layer.lineage.0)), maybe(at)];
    let sql = "INSERT INTO [epoch].[epoch_lineage] (table_id, lineage, base, parent, parent_at) VALUES (?, ?, ?, ?, ?)";
    match (session.raw_exec(sql, &params).await?, parent) {
        // Somebody else made it meanwhile.
        (Err(e), _) if number(&e) == Some(DUPLICATE_KEY) => Ok(()),
        (Err(e), _) => Err(map(e)),
        (Ok(_), Some(parent)) => copy(session, meta, layer, parent).await,
        (Ok(_), None) => Ok(()),
    }
}

/// The statements of [`copy`], with their parameters.
fn copy_sql(
    meta: &Meta,
    layer: Layer,
    parent: &View,
    facts: epoch_layers::view::Facts,
) -> [(String, Vec<Value>); 2] {
    let names: Vec<&str> =
        meta.writable.iter().filter_map(|i| meta.columns.get(*i).map(String::as_str)).collect();
    let arms = meta.own(parent.layer.lineage, parent.at, facts.own_moved);
    let what = format!("{}, {}, 1", list("x", names.iter().copied()), layer.lineage.0);
    let (rows, params) = union(&arms, &what, &Filter::default(), None);
    let own = list("", names);
    let overlay = format!("INSERT INTO {} ({own}, {LINEAGE}, epoch_copied) {rows}", meta.overlay);
    let keys = meta.key_columns("");
    let mask = format!(
        "INSERT INTO {0} ({keys}, {LINEAGE}) SELECT {keys}, {1} FROM {0} WHERE {LINEAGE} = ?",
        meta.mask, layer.lineage.0
    );
    [(overlay, params), (mask, vec![Value::Int(parent.layer.lineage.0)])]
}

/// In the session's snapshot, so nobody is waited for.
async fn copy(session: &mut Session, meta: &Meta, layer: Layer, parent: &View) -> Result<()> {
    let facts = facts(session, meta, parent).await?;
    for (sql, params) in copy_sql(meta, layer, parent, facts) {
        session.exec(&sql, &params).await?;
    }
    Ok(())
}

/// Waits until no other transaction writes to these tables of a branch, and keeps them from it. Those that are new are added to `new` as they
/// come: a turn stays the session's if the next one doesn't come, and whatever the transaction goes back to.
pub(crate) async fn take_turns(
    session: &mut Session,
    tables: &[TableId],
    layer: Layer,
    new: &mut Vec<TableId>,
) -> Result<()> {
    if layer.is_main() {
        return Ok(());
    }
    for table in tables {
        let name = turn(*table, layer.lineage.0);
        if !session.has_turn(&name) {
            session.take_turn(&name, LOCK_WAIT).await?;
            new.push(*table);
        }
    }
    Ok(())
}

/// 40001 if another transaction has written to these tables of a branch since the session's snapshot. What is there now,
/// another session sees.
pub(crate) async fn unchanged(session: &mut Session, tables: &[TableId], layer: Layer) -> Result<()> {
    if tables.is_empty() {
        return Ok(());
    }
    let sql = "SELECT stamp FROM [epoch].[epoch_lineage] WHERE table_id = ? AND lineage = ?";
    let mut other = session.pool.get().await?;
    for table in tables {
        let ids = [Value::Int(table.0), Value::Int(layer.lineage.0)];
        if session.number(sql, &ids).await? != other.number(sql, &ids).await? {
            return Err(snapshot_conflict());
        }
    }
    Ok(())
}

/// Notes that a transaction that has its turn wrote to a table of a branch.
pub(crate) async fn stamp(session: &mut Session, table: TableId, layer: Layer) -> Result<()> {
    if layer.is_main() {
        return Ok(());
    }
    let sql = "UPDATE [epoch].[epoch_lineage] SET stamp = stamp + 1 WHERE table_id = ? AND lineage = ?";
    session.exec(sql, &[Value::Int(table.0), Value::Int(layer.lineage.0)]).await.map(drop)
}

/// Whether an error says that a turn wasn't there within its time.
pub(crate) fn is_wait(code: &str) -> bool {
    matches!(code, sqlstate::LOCK_NOT_AVAILABLE | crate::error::DEADLOCK)
}
