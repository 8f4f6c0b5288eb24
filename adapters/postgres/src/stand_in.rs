//! Foreign keys of drafts: they refer to stand-ins, empty tables with a parent's columns and unique keys, so that
//! PostgreSQL checks the definition and adds nothing to the parent. What a key demands of rows is the work of the
//! triggers on the overlays.

use deadpool_postgres::Object;
use epoch_adapter::{Error, Layer, Piece, Result, Statement, TableDef, TableId};

use crate::error::pg;
use crate::layout::{base, literal, overlay, overlay_schema, quote};
use crate::tx::{Tx, texts};

/// The name of what stands for a parent in a draft's foreign keys.
pub(crate) fn stand_in(table: &TableDef, parent: &TableDef) -> String {
    format!("{}.{}", quote(&overlay_schema(table)), quote(&format!("parent_{}", parent.id.0)))
}

/// Whether relation `r` is a stand-in, given that its name is one.
pub(crate) const STANDS_IN: &str = "EXISTS (SELECT FROM pg_namespace s WHERE s.oid = r.relnamespace AND s.nspname LIKE 'epoch\\_epoch\\_b%')";

/// A query for all foreign keys of a database, `conrelid` and `confrelid`, with parents in the place of what
/// stands for them.
pub const FOREIGN_KEYS: &str = "SELECT k.conrelid, CASE WHEN g.id IS NULL THEN k.confrelid ELSE pg_catalog.to_regclass(pg_catalog.format('%I.%I', g.schema_name, g.table_name))::pg_catalog.oid END \
     FROM pg_catalog.pg_constraint k JOIN pg_catalog.pg_class r ON r.oid = k.confrelid JOIN pg_catalog.pg_namespace s ON s.oid = r.relnamespace \
     LEFT JOIN epoch.registered g ON r.relname OPERATOR(pg_catalog.=) ('parent_' || g.id) AND s.nspname LIKE 'epoch\\_epoch\\_b%' \
     WHERE k.contype = 'f' AND k.conparentid = 0";

/// Makes what stands for the parents that a statement names.
pub(crate) async fn make(tx: &Tx, table: &TableDef, statement: &Statement) -> Result<()> {
    for piece in &statement.pieces {
        let Piece::Parent(parent, _) = piece else { continue };
        let name = stand_in(table, parent);
        let there = format!("SELECT to_regclass({}) IS NOT NULL", literal(&name));
        if is_true(tx, &there).await? {
            continue;
        }
        let script = format!(
            "CREATE SCHEMA IF NOT EXISTS {}; CREATE TABLE {name} (LIKE {} INCLUDING INDEXES)",
            quote(&overlay_schema(table)),
            base(parent)
        );
        tx.batch_execute(&script).await.map_err(pg)?;
    }
    Ok(())
}

async fn is_true(tx: &Tx, query: &str) -> Result<bool> {
    Ok(texts(tx, query).await?.into_iter().flatten().flatten().any(|t| t == "t"))
}

/// Stand-ins have no rows, so rows can't be in the base of a table with foreign keys.
pub(crate) async fn check_keys(tx: &Tx, table: &TableDef, layer: Layer, statement: &Statement) -> Result<()> {
    let new = statement.pieces.iter().any(|p| matches!(p, Piece::Parent(..)));
    let sql = format!(
        "SELECT ({new} OR EXISTS (SELECT FROM pg_constraint k JOIN pg_class r ON r.oid = k.confrelid \
             WHERE k.conrelid = {}::regclass AND k.contype = 'f' AND r.relname LIKE 'parent\\_%' AND {STANDS_IN})) \
         AND EXISTS (SELECT FROM {} WHERE epoch_lineage = {})",
        literal(&base(table)),
        overlay(table),
        layer.lineage.0
    );
    if !is_true(tx, &sql).await? {
        return Ok(());
    }
    Err(Error::unsupported("changing a table with rows and foreign keys on a branch")
        .with_hint("Change it before rows are inserted."))
}

/// 2BP01 if a foreign key of another draft needs what the table doesn't have any more.
pub(crate) async fn check_children(tx: &Tx, table: &TableDef) -> Result<()> {
    let columns = |relation: &str, numbers: &str| {
        format!(
            "(SELECT array_agg(format('%s %s', a.attname, a.atttypid) ORDER BY a.attname) FROM pg_attribute a \
             WHERE a.attrelid = {relation} AND a.attnum = ANY ({numbers}))"
        )
    };
    let sql = format!(
        "SELECT c.relname FROM pg_constraint k JOIN pg_class r ON r.oid = k.confrelid JOIN pg_class c ON c.oid = k.conrelid \
         WHERE k.contype = 'f' AND r.relname = 'parent_{}' AND {STANDS_IN} \
         AND NOT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = {}::regclass AND i.indisunique AND i.indpred IS NULL \
             AND i.indexprs IS NULL AND {} = {}) LIMIT 1",
        table.id.0,
        literal(&base(table)),
        columns("i.indrelid", "i.indkey::int2[]"),
        columns("k.confrelid", "k.confkey"),
    );
    let Some(child) = texts(tx, &sql).await?.into_iter().flatten().flatten().next() else { return Ok(()) };
    Err(Error::new(
        "2BP01",
        format!("cannot change the key of table \"{}\" because other objects depend on it", table.name),
    )
    .with_detail(format!("A foreign key of table \"{child}\" refers to it.")))
}

/// A foreign key of a draft to a stand-in.
pub(crate) struct ForeignKey {
    child: String,
    name: String,
    parent: String,
    /// As PostgreSQL writes it, with the stand-in's name.
    definition: String,
    stand_in: String,
}

pub(crate) async fn foreign_keys(tx: &Tx, draft: &TableDef) -> Result<Vec<ForeignKey>> {
    let sql = format!(
        "SELECT c.id, k.conname, p.id, pg_get_constraintdef(k.oid), k.confrelid::regclass \
         FROM pg_constraint k JOIN pg_class r ON r.oid = k.confrelid JOIN epoch.registered p ON r.relname = 'parent_' || p.id \
         JOIN epoch.registered c ON c.id = {} WHERE k.conrelid = {}::regclass AND k.contype = 'f' AND {STANDS_IN} ORDER BY k.oid",
        draft.id.0,
        literal(&base(draft))
    );
    let rows = texts(tx, &sql).await?;
    let key = |row: Vec<Option<String>>| {
        let mut cells = row.into_iter().map(Option::unwrap_or_default);
        let mut next = || cells.next().unwrap_or_default();
        ForeignKey { child: next(), name: next(), parent: next(), definition: next(), stand_in: next() }
    };
    Ok(rows.into_iter().map(key).collect())
}

impl ForeignKey {
    /// Makes it between the tables as they are now.
    pub(crate) async fn add(&self, tx: &Tx) -> Result<()> {
        let sql = format!(
            "SELECT quote_ident(schema_name) || '.' || quote_ident(table_name) FROM epoch.registered WHERE id IN ({}, {}) \
             ORDER BY id = {}",
            self.child, self.parent, self.parent
        );
        let mut names = texts(tx, &sql).await?.into_iter().flatten().flatten();
        let child = names.next().unwrap_or_default();
        let parent = names.next().unwrap_or_else(|| child.clone());
        let definition = self.definition.replace(&self.stand_in, &parent);
        let add = format!("ALTER TABLE {child} ADD CONSTRAINT {} {definition}", quote(&self.name));
        tx.batch_execute(&add).await.map_err(pg)
    }
}

/// Drops what stands for a draft's parents, and with it its foreign keys.
pub(crate) async fn remove(tx: &Tx, draft: &TableDef) -> Result<()> {
    let sql = format!(
        "SELECT r.oid::regclass FROM pg_class r JOIN pg_namespace n ON n.oid = r.relnamespace \
         WHERE n.nspname = {} AND r.relkind = 'r' AND r.relname LIKE 'parent\\_%' AND r.oid <> {}::regclass",
        literal(&overlay_schema(draft)),
        literal(&overlay(draft))
    );
    for name in texts(tx, &sql).await?.into_iter().flatten().flatten() {
        tx.batch_execute(&format!("DROP TABLE {name} CASCADE")).await.map_err(pg)?;
    }
    Ok(())
}

/// See [`epoch_adapter::Adapter::references`].
pub(crate) async fn references(client: &Object) -> Result<Vec<(TableId, TableId)>> {
    let ours = texts(client, "SELECT to_regclass('epoch.registered') IS NOT NULL").await?;
    if !ours.into_iter().flatten().flatten().any(|t| t == "t") {
        return Ok(Vec::new());
    }
    let sql = format!(
        "SELECT DISTINCT c.id, p.id FROM pg_constraint k JOIN pg_class r ON r.oid = k.confrelid \
         JOIN epoch.registered p ON r.relname = 'parent_' || p.id \
         JOIN pg_class cc ON cc.oid = k.conrelid JOIN pg_namespace cn ON cn.oid = cc.relnamespace \
         JOIN epoch.registered c ON c.schema_name = cn.nspname AND c.table_name = cc.relname \
         WHERE k.contype = 'f' AND {STANDS_IN}"
    );
    let mut found = Vec::new();
    for row in texts(client, &sql).await? {
        let mut ids = row.into_iter().flatten().filter_map(|id| id.parse().ok()).map(TableId);
        found.extend(ids.next().zip(ids.next()));
    }
    Ok(found)
}
