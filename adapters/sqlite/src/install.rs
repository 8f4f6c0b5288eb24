//! Makes and removes our objects for one table.

use epoch_adapter::{Error, Result, TableDef, TableId, sqlstate};
use rusqlite::{Connection, TransactionBehavior};

use crate::describe::obstacle;
use crate::error::map;
use crate::layout::{LINEAGE, history, list, literal, overlay, quote};
use crate::meta::{self, Meta, Part, Unique, numbered};

const SHARED: &str = include_str!("../../../sql/sqlite/shared.sql");
const TABLE: &str = include_str!("../../../sql/sqlite/table.sql");
const CAPTURE: &str = include_str!("../../../sql/sqlite/capture.sql");

/// The overlay's check that a key column which is the rowid in the base holds integers only.
pub(crate) const KEY_TYPE_CHECK: &str = "epoch_key_is_integer";

/// Installs everything for a table, in one transaction. Idempotent. 55006 if the file has registrations of
/// another repository than `owner`.
pub(crate) fn install(conn: &mut Connection, def: &TableDef, owner: Option<&String>) -> Result<()> {
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate).map_err(map)?;
    tx.execute_batch(SHARED).map_err(map)?;
    if others(&tx, owner)? {
        let message =
            format!("the database of table \"{}\" belongs to another repository", def.location.table);
        return Err(Error::new(sqlstate::OBJECT_IN_USE, message)
            .with_detail("The SQLite file holds history and branches of tables that the other repository registered.")
            .with_hint(
                "Unregister the tables there first; if that repository is gone, drop the triggers and tables whose names begin with epoch_.",
            ));
    }
    if let Some(owner) = owner {
        tx.execute("DELETE FROM epoch_repository", []).map_err(map)?;
        tx.execute("INSERT INTO epoch_repository VALUES (?1)", [owner]).map_err(map)?;
    }
    // Another repository on the same file would have its own numbers for the same tables.
    let sql = "SELECT id, name FROM epoch_registered WHERE id = ?1 OR name = ?2 COLLATE NOCASE";
    let known: Vec<(i64, String)> = tx
        .prepare(sql)
        .and_then(|mut s| {
            s.query_map((def.id.0, &def.location.table), |r| Ok((r.get(0)?, r.get(1)?)))?.collect()
        })
        .map_err(map)?;
    if known.iter().any(|(id, name)| *id != def.id.0 || !name.eq_ignore_ascii_case(&def.location.table)) {
        let message = format!("table \"{}\" is in use by another repository", def.location.table);
        return Err(Error::new(sqlstate::OBJECT_IN_USE, message).with_detail(
            "The SQLite file holds the registrations of a repository with other table numbers.",
        ));
    }
    if known.is_empty() {
        create(&tx, def)?;
    }
    tx.commit().map_err(map)
}

fn create(conn: &Connection, def: &TableDef) -> Result<()> {
    let table = meta::read(conn, &def.location.table)?.ok_or_else(|| {
        Error::new(sqlstate::UNDEFINED_TABLE, format!("relation \"{}\" does not exist", def.location.table))
    })?;
    if let Some(why) = obstacle(conn, &table, &def.schema.key)? {
        return Err(Error::unsupported(format!("registering table \"{}\"", table.name)).with_detail(why));
    }
    let meta = Meta::new(def.clone(), table);
    if let Some(drift) = &meta.drift {
        return Err(drift.clone());
    }
    let run = |sql: &str| {
        conn.execute_batch(sql).map_err(|e| {
            Error::unsupported(format!("registering table \"{}\"", meta.name()))
                .with_detail(map(e).message().to_owned())
        })
    };
    run(&table_sql(&meta))?;
    for sql in index_sql(&meta) {
        run(&sql)?;
    }
    run(&capture_sql(&meta, false))?;
    run(&capture_sql(&meta, true))?;
    for sql in replace_sql(&meta).into_iter().chain(null_key_sql(&meta)) {
        run(&sql)?;
    }
    let text = serde_json::to_string(def).map_err(|e| Error::internal(e.to_string()))?;
    conn.execute(
        "INSERT INTO epoch_registered (id, name, definition) VALUES (?1, ?2, ?3)",
        (def.id.0, meta.name(), text),
    )
    .map_err(map)?;
    Ok(())
}

fn fill(template: &str, parts: &[(&str, &str)]) -> String {
    // The values are put in piece by piece, so that braces in a name are not taken for a place.
    let mut out = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        out.push_str(before);
        match after.split_once('}').and_then(|(k, tail)| Some((parts.iter().find(|p| p.0 == k)?, tail))) {
            Some((part, tail)) => {
                out.push_str(part.1);
                rest = tail;
            }
            None => {
                out.push('{');
                rest = after;
            }
        }
    }
    out.push_str(rest);
    out
}

fn table_sql(meta: &Meta) -> String {
    let columns = &meta.physical.columns;
    let typed = |i: usize| {
        columns.get(i).map_or_else(String::new, |c| {
            format!("{} {} COLLATE {}", quote(&c.name), c.affinity.type_name(), quote(&c.collation))
        })
    };
    let kept: Vec<_> =
        meta.physical.ddl.columns.iter().map(|c| format!("{} {}", quote(&c.name), c.kept)).collect();
    let mut checks: String = check_names(meta)
        .iter()
        .map(|(name, expr)| format!("CONSTRAINT {} CHECK {expr},\n  ", quote(name)))
        .collect();
    if let Some(c) = meta.physical.alias.and_then(|i| columns.get(i)) {
        checks.push_str(&format!(
            "CONSTRAINT {KEY_TYPE_CHECK} CHECK (typeof({}) = 'integer'),\n  ",
            quote(&c.name)
        ));
    }
    let options = if meta.physical.ddl.strict { "STRICT, WITHOUT ROWID" } else { "WITHOUT ROWID" };
    let mask: Vec<_> = meta.def.schema.key.iter().map(|&i| typed(i)).collect();
    let history: Vec<_> = (0..columns.len()).map(typed).collect();
    fill(
        TABLE,
        &[
            ("id", &meta.id().0.to_string()),
            ("base", &meta.base),
            ("overlay_columns", &kept.join(",\n  ")),
            ("overlay_checks", &checks),
            ("overlay_options", options),
            ("mask_columns", &mask.join(",\n  ")),
            ("history_columns", &history.join(",\n  ")),
            ("key", &list("", meta.key.iter().map(String::as_str))),
        ],
    )
}

/// The CHECKs of a table with the names PostgreSQL would give them.
pub(crate) fn check_names(meta: &Meta) -> Vec<(String, String)> {
    let mut used = Vec::new();
    let mut out = Vec::new();
    for check in &meta.physical.ddl.checks {
        let wanted = match (&check.name, &check.column) {
            (Some(name), _) => name.clone(),
            (None, Some(column)) => format!("{}_{column}_check", meta.name()),
            (None, None) => format!("{}_check", meta.name()),
        };
        let name = if check.name.is_some() { wanted } else { numbered(&wanted, &used) };
        used.push(name.clone());
        out.push((name, check.expr.clone()));
    }
    out
}

/// The base's indexes on the overlay, per lineage.
fn index_sql(meta: &Meta) -> Vec<String> {
    let is_key = |u: &Unique| {
        u.condition.is_none()
            && u.parts.len() == meta.key.len()
            && u.parts.iter().zip(&meta.def.schema.key).all(|(p, k)| p.column == Some(*k))
    };
    let uniques =
        meta.physical.uniques.iter().filter(|u| !is_key(u)).map(|u| ("UNIQUE ", &u.parts, &u.condition));
    let plain = meta.physical.indexes.iter().map(|i| ("", &i.parts, &i.condition));
    let one = |(n, (unique, parts, condition)): (usize, (&str, &Vec<Part>, &Option<String>))| {
        let parts: Vec<_> =
            parts.iter().map(|p| format!("{} COLLATE {}", p.sql, quote(&p.collation))).collect();
        let condition = condition.as_ref().map(|c| format!(" WHERE {c}")).unwrap_or_default();
        let table = overlay(meta.id());
        let name = overlay_index(meta.id(), n);
        format!("CREATE {unique}INDEX {name} ON {table} ({LINEAGE}, {}){condition}", parts.join(", "))
    };
    uniques.chain(plain).enumerate().map(one).collect()
}

/// The name of the overlay's n-th index; the unique ones that aren't the key come first.
pub(crate) fn overlay_index(id: TableId, n: usize) -> String {
    format!("{}_{n}", overlay(id))
}

fn prefixed(prefix: &str, names: &[String]) -> String {
    list(prefix, names.iter().map(String::as_str))
}

fn capture_sql(meta: &Meta, on_overlay: bool) -> String {
    let id = meta.id().0.to_string();
    let of = |side: &str| if on_overlay { format!("{side}.{LINEAGE}") } else { "1".to_owned() };
    let is = |side: &str| {
        let keys: Vec<_> = meta.key.iter().map(|k| format!("epoch_h.{0} = {side}.{0}", quote(k))).collect();
        format!("epoch_h.{LINEAGE} = {} AND {}", of(side), keys.join(" AND "))
    };
    let changed: Vec<_> = meta.key.iter().map(|k| format!("NEW.{0} IS NOT OLD.{0}", quote(k))).collect();
    let table = if on_overlay { overlay(meta.id()) } else { quote(meta.name()) };
    let name = if on_overlay { format!("{id}_overlay") } else { id.clone() };
    fill(
        CAPTURE,
        &[
            ("id", &id),
            ("name", &name),
            ("table", &table),
            ("insert_when", if on_overlay { "NEW.epoch_copied = 0 AND" } else { "" }),
            ("new_lineage", &of("NEW")),
            ("old_lineage", &of("OLD")),
            ("h_is_new", &is("NEW")),
            ("h_is_old", &is("OLD")),
            ("key", &prefixed("", &meta.key)),
            ("new_key", &prefixed("NEW", &meta.key)),
            ("columns", &prefixed("", &meta.columns)),
            ("old_columns", &prefixed("OLD", &meta.columns)),
            ("key_changed", &format!("({})", changed.join(" OR "))),
        ],
    )
}

/// The condition under which a row of the base collides with NEW in a unique index.
fn collision(meta: &Meta, unique: &Unique) -> String {
    let table = quote(meta.name());
    let new: Vec<_> = meta.columns.iter().map(|c| format!("NEW.{0} AS {0}", quote(c))).collect();
    let one = |p: &Part| {
        let collate = quote(&p.collation);
        match p.column {
            Some(_) => format!("{table}.{} COLLATE {collate} = NEW.{}", p.sql, p.sql),
            None => format!(
                "{0} COLLATE {collate} = (SELECT {0} FROM (SELECT {1}) AS {table})",
                p.sql,
                new.join(", ")
            ),
        }
    };
    let mut parts: Vec<_> = unique.parts.iter().map(one).collect();
    parts.extend(unique.condition.as_ref().map(|c| format!("({c})")));
    parts.join(" AND ")
}

/// `INSERT OR REPLACE` and `UPDATE OR REPLACE` delete rows without firing delete triggers: their
/// images are taken before. A row that survives after all has an image equal to it, which the seal
/// drops.
fn replace_sql(meta: &Meta) -> Vec<String> {
    let table = quote(meta.name());
    let history = history(meta.id());
    let mut collisions: Vec<_> = meta.physical.uniques.iter().map(|u| collision(meta, u)).collect();
    let hidden_rowid = !meta.physical.ddl.without_rowid
        && meta.physical.alias.is_none()
        && meta.physical.index_of("rowid").is_none();
    if hidden_rowid {
        collisions.push(format!("{table}.rowid = NEW.rowid"));
    }
    let keys: Vec<_> = meta.key.iter().map(|k| format!("epoch_h.{0} = {table}.{0}", quote(k))).collect();
    let last = format!(
        "coalesce((SELECT epoch_h.epoch_to FROM {history} AS epoch_h WHERE epoch_h.{LINEAGE} = 1 AND {} \
         ORDER BY epoch_h.epoch_from DESC LIMIT 1), 0)",
        keys.join(" AND ")
    );
    let when: Vec<_> =
        collisions.iter().map(|c| format!("EXISTS (SELECT 1 FROM {table} WHERE {c})")).collect();
    let body: String = collisions
        .iter()
        .map(|c| {
            format!(
                "  INSERT INTO {history} ({LINEAGE}, {columns}, epoch_existed, epoch_from, epoch_to)\n  \
                 SELECT 1, {mine}, 1, {last}, 9223372036854775807 FROM {table}\n  \
                 WHERE {c} AND {last} < 9223372036854775807;\n",
                columns = prefixed("", &meta.columns),
                mine = prefixed(&table, &meta.columns),
            )
        })
        .collect();
    let trigger = |name: &str, event: &str| {
        format!(
            "CREATE TRIGGER epoch_capture_{}_{name} BEFORE {event} ON {table}\nWHEN {}\nBEGIN\n{body}END",
            meta.id().0,
            when.join(" OR "),
        )
    };
    vec![
        trigger("replace_insert", "INSERT"),
        trigger("replace_update", &format!("UPDATE{}", unique_columns(meta))),
    ]
}

/// ` OF a, b` if only plain columns can make a row collide.
fn unique_columns(meta: &Meta) -> String {
    let mut names = Vec::new();
    for unique in &meta.physical.uniques {
        for part in &unique.parts {
            let column = part.column.and_then(|i| meta.physical.columns.get(i));
            match column {
                Some(c) if !c.generated && unique.condition.is_none() => names.push(c.name.clone()),
                _ => return String::new(),
            }
        }
    }
    names.sort_unstable();
    names.dedup();
    if names.is_empty() { String::new() } else { format!(" OF {}", prefixed("", &names)) }
}

/// SQLite lets NULL into primary keys of ordinary tables. Such a row has no identity: it is refused,
/// as PostgreSQL would.
fn null_key_sql(meta: &Meta) -> Vec<String> {
    if meta.physical.ddl.without_rowid {
        return Vec::new();
    }
    let nullable: Vec<_> = (meta.def.schema.key.iter())
        .filter(|i| Some(**i) != meta.physical.alias)
        .filter_map(|&i| meta.physical.columns.get(i))
        .filter(|c| !c.not_null)
        .collect();
    let mut out = Vec::new();
    for (n, column) in nullable.iter().enumerate() {
        let name = quote(&column.name);
        let text = format!(
            "null value in column \"{}\" of relation \"{}\" violates not-null constraint",
            column.name,
            meta.name()
        );
        for (kind, event) in [("insert", "INSERT".to_owned()), ("update", format!("UPDATE OF {name}"))] {
            out.push(format!(
                "CREATE TRIGGER epoch_capture_{}_null_{kind}_{n} BEFORE {event} ON {} WHEN NEW.{name} IS NULL\n\
                 BEGIN SELECT RAISE(ABORT, {}); END",
                meta.id().0,
                quote(meta.name()),
                literal(&text),
            ));
        }
    }
    out
}

/// Whether the registrations in the file are another repository's.
fn others(conn: &Connection, owner: Option<&String>) -> Result<bool> {
    let Some(owner) = owner else { return Ok(false) };
    if !meta::exists(conn, "epoch_registered")? {
        return Ok(false);
    }
    if !meta::exists(conn, "epoch_repository")? {
        return Ok(true);
    }
    let sql = "SELECT EXISTS (SELECT 1 FROM epoch_registered)
        AND NOT EXISTS (SELECT 1 FROM epoch_repository WHERE id = ?1)";
    conn.query_row(sql, [owner], |row| row.get(0)).map_err(map)
}

/// Whether this number is this table's: an install that another repository's table refused must not be
/// followed by an uninstall of that table.
fn is_ours(conn: &Connection, def: &TableDef) -> Result<bool> {
    if !meta::exists(conn, "epoch_registered")? {
        return Ok(false);
    }
    let sql = "SELECT 1 FROM epoch_registered WHERE id = ?1 AND name = ?2 COLLATE NOCASE";
    conn.prepare(sql).and_then(|mut s| s.exists((def.id.0, &def.location.table))).map_err(map)
}

/// Removes everything of a table, and the rest of our objects with the last one. Idempotent.
pub(crate) fn uninstall(conn: &mut Connection, def: &TableDef, owner: Option<&String>) -> Result<()> {
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate).map_err(map)?;
    let id = def.id;
    if others(&tx, owner)? || !is_ours(&tx, def)? {
        return Ok(());
    }
    let sql = "SELECT name FROM main.sqlite_schema WHERE type = 'trigger' AND name GLOB ?1";
    let triggers: Vec<String> = tx
        .prepare(sql)
        .and_then(|mut s| s.query_map([format!("epoch_capture_{}_*", id.0)], |r| r.get(0))?.collect())
        .map_err(map)?;
    for trigger in triggers {
        tx.execute_batch(&format!("DROP TRIGGER main.{}", quote(&trigger))).map_err(map)?;
    }
    for table in [overlay(id), crate::layout::mask(id), history(id)] {
        tx.execute_batch(&format!("DROP TABLE IF EXISTS main.{table}")).map_err(map)?;
    }
    tx.execute("DELETE FROM epoch_lineage WHERE table_id = ?1", [id.0]).map_err(map)?;
    tx.execute("DELETE FROM epoch_registered WHERE id = ?1", [id.0]).map_err(map)?;
    let left: i64 = tx.query_row("SELECT count(*) FROM epoch_registered", [], |r| r.get(0)).map_err(map)?;
    if left == 0 {
        tx.execute_batch("DROP TABLE epoch_registered; DROP TABLE epoch_lineage; DROP TABLE epoch_seal; DROP TABLE IF EXISTS epoch_repository;")
            .map_err(map)?;
    }
    tx.commit().map_err(map)
}
