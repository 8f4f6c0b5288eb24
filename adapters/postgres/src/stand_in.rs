//! Foreign keys of drafts and of versions of tables: they refer to stand-ins, empty tables with a parent's columns and
//! unique keys, so that PostgreSQL checks the definition and adds nothing to the parent. What a key demands of rows is the
//! work of the triggers on the overlays.

use deadpool_postgres::Object;
use epoch_adapter::{At, Error, Layer, Piece, Result, Statement, TableDef, TableId, View};

use crate::error::pg;
use crate::foreign_keys::{self, ForeignKey};
use crate::layout::{base, literal, overlay, overlay_schema, quote};
use crate::relation;
use crate::text::join;
use crate::tx::{Tx, is_true, texts};
use crate::versions::{self, Version};

/// The name of what stands for a parent in a draft's foreign keys.
pub(crate) fn stand_in(table: &TableDef, parent: &TableDef) -> String {
    format!("{}.{}", quote(&overlay_schema(table)), quote(&format!("parent_{}", parent.id.0)))
}

/// Whether relation `r` is a stand-in, given that its name is one.
pub(crate) const STANDS_IN: &str = "EXISTS (SELECT FROM pg_namespace s WHERE s.oid = r.relnamespace AND s.nspname LIKE 'epoch\\_epoch\\_b%')";

/// A query for all foreign keys to versioned tables: the child's registration (NULL: it isn't versioned), schema and name, and
/// the parent's family.
pub const FOREIGN_KEYS: &str = "SELECT c.id, cn.nspname, cc.relname, p.family \
     FROM pg_catalog.pg_constraint k JOIN pg_catalog.pg_class r ON r.oid = k.confrelid JOIN pg_catalog.pg_namespace s ON s.oid = r.relnamespace \
     JOIN pg_catalog.pg_class cc ON cc.oid = k.conrelid JOIN pg_catalog.pg_namespace cn ON cn.oid = cc.relnamespace \
     LEFT JOIN epoch.registered c ON c.schema_name OPERATOR(pg_catalog.=) cn.nspname AND c.table_name OPERATOR(pg_catalog.=) cc.relname \
     JOIN epoch.registered p ON (p.schema_name OPERATOR(pg_catalog.=) s.nspname AND p.table_name OPERATOR(pg_catalog.=) r.relname) \
         OR (r.relname OPERATOR(pg_catalog.=) ('parent_' || p.id) AND s.nspname LIKE 'epoch\\_epoch\\_b%') \
     WHERE k.contype = 'f' AND k.conparentid = 0 ORDER BY k.oid";

/// What stands for a parent.
pub(crate) struct StandIn {
    name: String,
    parent: TableDef,
    /// Its columns, and what they are in the parent, where that has them.
    columns: Vec<(String, Option<String>)>,
    /// The key that refers to it, with what the parent calls the columns; `None`: one that isn't there yet.
    key: Option<(ForeignKey, Vec<String>)>,
}

/// Makes what stands for the parents that a statement names.
pub(crate) async fn make(tx: &Tx, table: &TableDef, statement: &Statement) -> Result<Vec<StandIn>> {
    let mut made = Vec::new();
    for piece in &statement.pieces {
        let Piece::Parent(parent, _) = piece else { continue };
        made.push(create(tx, table, parent).await?);
    }
    Ok(made)
}

async fn create(tx: &Tx, table: &TableDef, parent: &TableDef) -> Result<StandIn> {
    let name = stand_in(table, parent);
    let there = format!("SELECT to_regclass({}) IS NOT NULL", literal(&name));
    if !is_true(tx, &there).await? {
        let script = format!(
            "CREATE SCHEMA IF NOT EXISTS {}; CREATE TABLE {name} (LIKE {} INCLUDING INDEXES)",
            quote(&overlay_schema(table)),
            base(parent)
        );
        tx.batch_execute(&script).await.map_err(pg)?;
    }
    let columns = parent.schema.columns.iter().map(|c| (c.name.clone(), Some(c.name.clone()))).collect();
    Ok(StandIn { name, parent: parent.clone(), columns, key: None })
}

/// Gives a clone of a table the foreign keys of that one: to the versions of the parents that the layer shows, or to
/// those that the keys name.
pub(crate) async fn like(
    tx: &Tx,
    of: &TableDef,
    table: &TableDef,
    layer: Option<Layer>,
) -> Result<Vec<StandIn>> {
    let family = versions::family(tx, of.id).await?.unwrap_or(of.id.0);
    let mut made = Vec::new();
    for key in foreign_keys::read(tx, of, family).await?.into_iter().filter(|k| k.child.id == of.id) {
        let Some(parent_family) = key.parent_family else {
            return Err(Error::unsupported(format!(
                "changing a table that refers to \"{}\", which is not versioned, on a branch",
                key.parent_name.1
            )));
        };
        if parent_family == key.child_family {
            add(tx, table, &key.definition(&base(table), &key.referenced)).await?;
            continue;
        }
        let versions = versions::all(tx, parent_family).await?;
        let wanted = match layer {
            Some(layer) => versions::shown(tx, layer, parent_family, &versions).await?.map(|v| v.table.id),
            None => key.named,
        };
        let parent = key.parents.iter().find(|p| Some(p.table.id) == wanted);
        let parent = parent.ok_or_else(|| {
            Error::internal(format!("the parent of foreign key \"{}\" is not known", key.name))
        })?;
        let stand_in = create(tx, table, &parent.table).await?;
        add(tx, table, &key.definition(&stand_in.name, &parent.referenced)).await?;
        let referenced = parent.referenced.clone();
        made.push(StandIn { key: Some((key, referenced)), ..stand_in });
    }
    Ok(made)
}

async fn add(tx: &Tx, table: &TableDef, definition: &str) -> Result<()> {
    tx.batch_execute(&format!("ALTER TABLE {} ADD {definition}", base(table))).await.map_err(pg)
}

/// What stands for the parents of a draft, as the layer sees them.
pub(crate) async fn of(tx: &Tx, table: &TableDef, layer: Layer) -> Result<Vec<StandIn>> {
    let mut found = Vec::new();
    for key in foreign_keys::of(tx, table).await? {
        let Some(parent_family) = key.parent_family.filter(|f| *f != key.child_family) else { continue };
        let versions = versions::all(tx, parent_family).await?;
        let shown = versions::shown(tx, layer, parent_family, &versions).await?;
        let named = versions.iter().find(|v| Some(v.table.id) == key.named);
        let (Some(shown), Some(named)) = (shown, named) else { continue };
        let referenced = shown.called(named, &key.referenced).unwrap_or_default();
        let columns = named.table.schema.columns.iter().map(|c| {
            let now =
                shown.called(named, std::slice::from_ref(&c.name)).and_then(|names| names.into_iter().next());
            (c.name.clone(), now)
        });
        found.push(StandIn {
            name: stand_in(table, &named.table),
            parent: shown.table.clone(),
            columns: columns.collect(),
            key: Some((key, referenced)),
        });
    }
    Ok(found)
}

/// Puts the parents' rows there that `rows`, a relation with the child's columns, refers to, so that rows can be in
/// the base.
pub(crate) async fn fill(tx: &Tx, stand_ins: &[StandIn], layer: Layer, rows: &str) -> Result<()> {
    for stand_in in stand_ins {
        let wanted = match &stand_in.key {
            None => "true".to_owned(),
            Some((key, referenced)) => {
                format!(
                    "EXISTS (SELECT FROM {rows} epoch_c WHERE {})",
                    key.joined(referenced, "epoch_p", "epoch_c")
                )
            }
        };
        let view = View { layer, at: At::Working };
        let sql = format!(
            "INSERT INTO {} ({}) SELECT {} FROM {} epoch_p WHERE {wanted} ON CONFLICT DO NOTHING",
            stand_in.name,
            join(&stand_in.columns, ", ", |(name, _)| quote(name)),
            join(&stand_in.columns, ", ", |(_, now)| now
                .as_ref()
                .map_or_else(|| "NULL".to_owned(), |now| format!("epoch_p.{}", quote(now)))),
            relation::scanning(&stand_in.parent, &view)
        );
        tx.batch_execute(&sql).await.map_err(pg)?;
    }
    Ok(())
}

/// Takes all rows out again.
pub(crate) async fn empty(tx: &Tx, stand_ins: &[StandIn]) -> Result<()> {
    let script = join(stand_ins, "", |s| format!("DELETE FROM {};\n", s.name));
    tx.batch_execute(&script).await.map_err(pg)
}

/// An error that names what stands for a parent, as if it named the parent.
pub(crate) fn unveiled(error: Error, stand_ins: &[StandIn]) -> Error {
    let mut message = error.message().to_owned();
    let mut detail = error.detail().map(str::to_owned);
    for one in stand_ins {
        let veiled = format!("\"parent_{}\"", one.parent.id.0);
        let name = format!("\"{}\"", one.parent.location.table);
        message = message.replace(&veiled, &name);
        detail = detail.map(|d| d.replace(&veiled, &name));
    }
    let error = error.with_message(message);
    match detail {
        Some(detail) => error.with_detail(detail),
        None => error,
    }
}

/// 2BP01 if a foreign key that the layer shows needs what the table doesn't have any more; `now`: the table's columns by
/// what they are in the family.
pub(crate) async fn check_children(
    tx: &Tx,
    table: &TableDef,
    layer: Layer,
    (family, now): (i64, &Version),
) -> Result<()> {
    for key in foreign_keys::read(tx, table, family).await? {
        if key.parent_family != Some(family) || key.child.id == table.id {
            continue;
        }
        let children = versions::all(tx, key.child_family).await?;
        let shown = versions::shown(tx, layer, key.child_family, &children).await?;
        if shown.is_none_or(|s| s.table.id != key.child.id) || key.child_family == family {
            continue;
        }
        let own = versions::all(tx, family).await?;
        let named = own.iter().find(|v| Some(v.table.id) == key.named);
        let referenced = named.and_then(|named| now.called(named, &key.referenced));
        let kept = match &referenced {
            Some(names) => same_types(tx, now, names, &key).await? && has_key(tx, table, names).await?,
            None => false,
        };
        if !kept {
            return Err(depends(table, &key));
        }
    }
    Ok(())
}

/// Whether the columns have the types that a foreign key was made with.
async fn same_types(tx: &Tx, now: &Version, names: &[String], key: &ForeignKey) -> Result<bool> {
    let sql = format!(
        "SELECT format_type(a.atttypid, a.atttypmod) FROM pg_constraint k, unnest(k.confkey) WITH ORDINALITY x (n, ord) \
         JOIN pg_attribute a ON a.attnum = x.n WHERE k.oid = {} AND a.attrelid = k.confrelid ORDER BY x.ord",
        key.oid
    );
    let before: Vec<String> = texts(tx, &sql).await?.into_iter().flatten().flatten().collect();
    let of = |name: &String| now.table.schema.columns.iter().find(|c| c.name == *name).map(|c| &c.type_name);
    Ok(names.len() == before.len()
        && names.iter().zip(&before).all(|(name, before)| of(name) == Some(before)))
}

/// Whether the table has a unique index that a foreign key may refer to.
async fn has_key(tx: &Tx, table: &TableDef, columns: &[String]) -> Result<bool> {
    let sql = format!(
        "SELECT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = {}::regclass AND i.indisunique AND i.indimmediate AND i.indpred IS NULL \
             AND i.indexprs IS NULL AND i.indnkeyatts = {} AND NOT EXISTS (SELECT FROM unnest(i.indkey::int2[]) WITH ORDINALITY k (attnum, ord) \
                 JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum \
                 WHERE k.ord <= i.indnkeyatts AND a.attname NOT IN ({})))",
        literal(&base(table)),
        columns.len(),
        join(columns, ", ", |c| literal(c))
    );
    is_true(tx, &sql).await
}

fn depends(table: &TableDef, key: &ForeignKey) -> Error {
    Error::new(
        "2BP01",
        format!(
            "cannot change the key of table \"{}\" because other objects depend on it",
            table.location.table
        ),
    )
    .with_detail(format!(
        "constraint {} on table {} depends on columns ({}) of table {}",
        key.name,
        key.child.location.table,
        key.referenced.join(", "),
        table.location.table
    ))
    .with_hint("Drop the foreign key first.")
}

/// A foreign key of a draft that has come to main.
pub(crate) struct Key(ForeignKey);

/// The foreign keys of a draft, before what they refer to goes.
pub(crate) async fn foreign_keys(tx: &Tx, draft: &TableDef) -> Result<Vec<Key>> {
    // One to the table itself comes with it.
    let to_others = |key: &ForeignKey| key.parent_family != Some(key.child_family);
    Ok(foreign_keys::of(tx, draft).await?.into_iter().filter(to_others).map(Key).collect())
}

impl Key {
    /// Makes it between the tables as main has them now.
    pub(crate) async fn add(&self, tx: &Tx) -> Result<()> {
        let child = &self.0.child;
        let family = self.0.parent_family.unwrap_or_default();
        let versions = versions::all(tx, family).await?;
        let home = home(tx, family).await?;
        let parent = versions.iter().find(|v| Some(v.table.id) == home);
        let of_named = versions.iter().find(|v| Some(v.table.id) == self.0.named);
        let (Some(parent), Some(of_named)) = (parent, of_named) else { return Err(lost(&self.0)) };
        let referenced = parent.called(of_named, &self.0.referenced).ok_or_else(|| lost(&self.0))?;
        let place = TableDef { location: child.location.home(), ..child.clone() };
        add(tx, &place, &self.0.definition(&base(&parent.table), &referenced)).await
    }
}

fn lost(key: &ForeignKey) -> Error {
    Error::new("42830", format!("foreign key \"{}\" cannot be made on main", key.name))
        .with_detail(format!("Table \"{}\" does not have what it refers to.", key.parent_name.1))
}

/// The version of a table that main has.
pub(crate) async fn home(tx: &Tx, family: i64) -> Result<Option<TableId>> {
    let sql = format!("SELECT id FROM epoch.registered WHERE family = {family} AND until = {}", i64::MAX);
    let id = texts(tx, &sql).await?.into_iter().flatten().flatten().next();
    Ok(id.and_then(|id| id.parse().ok()).map(TableId))
}

/// Before a version of a table goes: what stands for it in foreign keys stands for another version from then on.
pub(crate) async fn inherit(client: &Object, table: &TableDef, family: i64) -> Result<()> {
    let sql = format!(
        "SELECT n.nspname FROM pg_class r JOIN pg_namespace n ON n.oid = r.relnamespace \
         WHERE r.relname = 'parent_{}' AND n.nspname LIKE 'epoch\\_epoch\\_b%'",
        table.id.0
    );
    let schemas: Vec<String> = texts(client, &sql).await?.into_iter().flatten().flatten().collect();
    if schemas.is_empty() {
        return Ok(());
    }
    let versions = versions::all(client, family).await?;
    let Some(own) = versions.iter().find(|v| v.table.id == table.id) else { return Ok(()) };
    for schema in schemas {
        for heir in versions.iter().rev().filter(|v| v.table.id != table.id) {
            let name = format!("parent_{}", heir.table.id.0);
            let place = format!("{}.{}", quote(&schema), quote(&name));
            let taken = format!("SELECT FROM pg_class WHERE oid = to_regclass({})", literal(&place));
            if !texts(client, &taken).await?.is_empty() {
                continue;
            }
            let before = format!("{}.{}", quote(&schema), quote(&format!("parent_{}", table.id.0)));
            let script =
                renames(&before, own, heir) + &format!("ALTER TABLE {before} RENAME TO {}", quote(&name));
            client.batch_execute(&script).await.map_err(pg)?;
            break;
        }
    }
    Ok(())
}

/// Gives the columns of what stands for one version the names that another version has for them.
fn renames(stand_in: &str, own: &Version, heir: &Version) -> String {
    let mut pairs = Vec::new();
    for column in &own.table.schema.columns {
        let now = heir.called(own, std::slice::from_ref(&column.name)).and_then(|n| n.into_iter().next());
        pairs.extend(now.filter(|now| *now != column.name).map(|now| (column.name.clone(), now)));
    }
    let rename = |from: &str, to: &str| {
        format!("ALTER TABLE {stand_in} RENAME COLUMN {} TO {};\n", quote(from), quote(to))
    };
    // By way of names that nothing has, because two may have changed places.
    let away = join(pairs.iter().enumerate(), "", |(i, (from, _))| rename(from, &format!("epoch_{i}")));
    let back = join(pairs.iter().enumerate(), "", |(i, (_, to))| rename(&format!("epoch_{i}"), to));
    away + &back
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
    between(client, STANDS_IN).await
}

/// See [`epoch_adapter::Adapter::foreign_keys`].
pub(crate) async fn all(client: &Object) -> Result<Vec<(TableId, TableId)>> {
    between(client, "true").await
}

async fn between(client: &Object, which: &str) -> Result<Vec<(TableId, TableId)>> {
    if !is_true(client, "SELECT to_regclass('epoch.registered') IS NOT NULL").await? {
        return Ok(Vec::new());
    }
    let sql = format!(
        "SELECT DISTINCT c.id, p.id FROM pg_constraint k JOIN pg_class r ON r.oid = k.confrelid JOIN pg_namespace rn ON rn.oid = r.relnamespace \
         JOIN epoch.registered p ON (p.schema_name = rn.nspname AND p.table_name = r.relname) \
             OR (r.relname = 'parent_' || p.id AND rn.nspname LIKE 'epoch\\_epoch\\_b%') \
         JOIN pg_class cc ON cc.oid = k.conrelid JOIN pg_namespace cn ON cn.oid = cc.relnamespace \
         JOIN epoch.registered c ON c.schema_name = cn.nspname AND c.table_name = cc.relname \
         WHERE k.contype = 'f' AND k.conparentid = 0 AND {which}"
    );
    let mut found = Vec::new();
    for row in texts(client, &sql).await? {
        let mut ids = row.into_iter().flatten().filter_map(|id| id.parse().ok()).map(TableId);
        found.extend(ids.next().zip(ids.next()));
    }
    Ok(found)
}
