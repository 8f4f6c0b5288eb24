//! Makes and removes our objects for one table.

use epoch_adapter::{Error, Result, TableDef, TableId, sqlstate};
use rusqlite::{Connection, TransactionBehavior};

use crate::describe::obstacle;
use crate::error::map;
use crate::layout::{LINEAGE, fill, history, list, literal, overlay, quote};
use crate::meta::{self, Meta, Part, Unique, numbered};

const SHARED: &str = include_str!("../../../sql/sqlite/shared.sql");
const TABLE: &str = include_str!("../../../sql/sqlite/table.sql");
const CAPTURE: &str = include_str!("../../../sql/sqlite/capture.sql");
const CAPTURE_NEW: &str = include_str!("../../../sql/sqlite/capture_new.sql");

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
    if let Some(reason) = &meta.drift {
        return Err(Error::drifted(&meta.def.name.to_string(), reason));
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
    for trigger in triggers(&meta) {
        run(&trigger.sql)?;
    }
    let text = serde_json::to_string(def).map_err(|e| Error::internal(e.to_string()))?;
    conn.execute(
        "INSERT INTO epoch_registered (id, name, definition) VALUES (?1, ?2, ?3)",
        (def.id.0, meta.name(), text),
    )
    .map_err(map)?;
    Ok(())
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

/// A trigger of ours, as it is made and as the catalog must have it.
#[derive(Debug, PartialEq)]
pub(crate) struct Trigger {
    pub name: String,
    pub sql: String,
    pub on: On,
    /// If not empty: a trigger that has all of these does, too. Unique indexes may have gone since.
    pub parts: Vec<String>,
}

/// What a trigger is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum On {
    Base,
    /// On the base, and made last: of triggers of one time the newest fires first.
    BaseLast,
    Overlay,
}

impl Trigger {
    fn new(sql: String, on: On, parts: Vec<String>) -> Self {
        let name = sql.split_whitespace().nth(2).unwrap_or_default().to_owned();
        Self { name, sql, on, parts }
    }
}

/// All triggers of a table, in the order in which they are made: those of the base, which go with it,
/// before those of the overlay, which stay.
pub(crate) fn triggers(meta: &Meta) -> Vec<Trigger> {
    let base = |sql| Trigger::new(sql, On::Base, Vec::new());
    let mut out: Vec<_> = new_row_sql(meta).into_iter().chain(null_key_sql(meta)).map(base).collect();
    out.extend(replace_sql(meta));
    let mut own = capture_sql(meta, false);
    let last = own.pop();
    out.extend(own.into_iter().map(base));
    out.extend(capture_sql(meta, true).into_iter().map(|sql| Trigger::new(sql, On::Overlay, Vec::new())));
    out.extend(last.map(|sql| Trigger::new(sql, On::BaseLast, Vec::new())));
    out
}

/// The statements of a template of triggers. Split before names are put in, which may hold anything.
fn statements(template: &str, parts: &[(&str, &str)]) -> Vec<String> {
    let text =
        |piece: &str| Some(fill(&format!("{}END", piece.get(piece.find("CREATE TRIGGER")?..)?), parts));
    template.split("END;").filter_map(text).collect()
}

/// The value that a column is going to have, before it is there: `OR REPLACE` puts the default for NULL.
fn soon(meta: &Meta, name: &str) -> String {
    let column = meta.physical.columns.iter().find(|c| c.name == name);
    match column.and_then(|c| c.default.as_ref().filter(|_| c.not_null && !c.generated)) {
        Some(default) => format!("coalesce(NEW.{}, ({default}))", quote(name)),
        None => format!("NEW.{}", quote(name)),
    }
}

/// `alias.k1 = value AND …` over the key.
fn key_is(meta: &Meta, alias: &str, value: impl Fn(&str) -> String) -> String {
    let one = |k: &String| format!("{alias}.{} = {}", quote(k), value(k));
    meta.key.iter().map(one).collect::<Vec<_>>().join(" AND ")
}

fn each_key(meta: &Meta, value: impl Fn(&str) -> String) -> String {
    meta.key.iter().map(|k| value(k)).collect::<Vec<_>>().join(", ")
}

/// The triggers of [`CAPTURE`]; the last one is the AFTER trigger.
fn capture_sql(meta: &Meta, on_overlay: bool) -> Vec<String> {
    let id = meta.id().0.to_string();
    let of = |side: &str| if on_overlay { format!("{side}.{LINEAGE}") } else { "1".to_owned() };
    let image = |side: &str, value: &dyn Fn(&str) -> String| {
        format!("epoch_h.{LINEAGE} = {} AND {}", of(side), key_is(meta, "epoch_h", value))
    };
    let soon = |k: &str| soon(meta, k);
    let there = match on_overlay {
        true => format!("epoch_b.{LINEAGE} = NEW.{LINEAGE} AND {}", key_is(meta, "epoch_b", soon)),
        false => key_is(meta, "epoch_b", soon),
    };
    let changed: Vec<_> = meta.key.iter().map(|k| format!("{} IS NOT OLD.{}", soon(k), quote(k))).collect();
    let known: String = meta.key.iter().map(|k| format!(" AND {} IS NOT NULL", soon(k))).collect();
    let table = if on_overlay { overlay(meta.id()) } else { quote(meta.name()) };
    let name = if on_overlay { format!("{id}_overlay") } else { id.clone() };
    statements(
        CAPTURE,
        &[
            ("id", &id),
            ("name", &name),
            ("table", &table),
            ("insert_when", if on_overlay { "NEW.epoch_copied = 0 AND" } else { "" }),
            ("new_lineage", &of("NEW")),
            ("old_lineage", &of("OLD")),
            ("h_is_new", &image("NEW", &|k| format!("NEW.{}", quote(k)))),
            ("h_is_soon", &image("NEW", &soon)),
            ("h_is_old", &image("OLD", &|k| format!("OLD.{}", quote(k)))),
            ("b_is_soon", &there),
            ("key", &prefixed("", &meta.key)),
            ("new_key", &prefixed("NEW", &meta.key)),
            ("soon_key", &each_key(meta, soon)),
            ("columns", &prefixed("", &meta.columns)),
            ("old_columns", &prefixed("OLD", &meta.columns)),
            ("key_changed", &format!("({}){known}", changed.join(" OR "))),
        ],
    )
}

/// The triggers of [`CAPTURE_NEW`]; the second one only where SQLite numbers rows in the key.
fn new_row_sql(meta: &Meta) -> Vec<String> {
    let alias = meta.physical.alias.filter(|i| meta.def.schema.key.contains(i));
    let alias = alias.and_then(|i| meta.physical.columns.get(i)).map(|c| c.name.as_str());
    let soon = |k: &str| soon(meta, k);
    let next = alias.map(|k| next_rowid(meta, k)).unwrap_or_default();
    let of_next = |k: &str| if Some(k) == alias { next.clone() } else { soon(k) };
    let known = |k: &String| match Some(k.as_str()) == alias {
        true => format!("NEW.{} <> -1 AND ", quote(k)),
        false => format!("{} IS NOT NULL AND ", soon(k)),
    };
    let image = |value: &dyn Fn(&str) -> String| {
        format!("epoch_h.{LINEAGE} = 1 AND {}", key_is(meta, "epoch_h", value))
    };
    let mut out = statements(
        CAPTURE_NEW,
        &[
            ("id", &meta.id().0.to_string()),
            ("table", &quote(meta.name())),
            ("is_known", meta.key.iter().map(known).collect::<String>().trim_end()),
            ("b_is_soon", &key_is(meta, "epoch_b", soon)),
            ("h_is_soon", &image(&soon)),
            ("key", &prefixed("", &meta.key)),
            ("soon_key", &each_key(meta, soon)),
            ("alias", &alias.map(quote).unwrap_or_default()),
            ("next", &next),
            ("h_is_next", &image(&of_next)),
            ("next_key", &each_key(meta, of_next)),
        ],
    );
    if alias.is_none() {
        out.truncate(1);
    }
    out
}

/// The rowid that SQLite gives the next row. It is no integer if there is none left.
fn next_rowid(meta: &Meta, alias: &str) -> String {
    let largest = format!(
        "SELECT coalesce(max(epoch_b.{}), 0) + 1 FROM {} AS epoch_b",
        quote(alias),
        quote(meta.name())
    );
    if !meta.physical.ddl.autoincrement {
        return format!("({largest})");
    }
    let name = literal(&meta.physical.name);
    format!("max(({largest}), coalesce((SELECT seq FROM sqlite_sequence WHERE name = {name}), 0) + 1)")
}

/// The condition under which a row of the base collides with NEW in a unique index.
fn collision(meta: &Meta, unique: &Unique) -> String {
    let table = quote(meta.name());
    let new: Vec<_> = meta.columns.iter().map(|c| format!("{} AS {}", soon(meta, c), quote(c))).collect();
    let one = |p: &Part| {
        let collate = quote(&p.collation);
        match p.column.and_then(|i| meta.physical.columns.get(i)) {
            Some(c) => format!("{table}.{} COLLATE {collate} = {}", p.sql, soon(meta, &c.name)),
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

/// The name by which a rowid that isn't a column can be written; any of the three may be a column's.
fn hidden_rowid(meta: &Meta) -> Option<&'static str> {
    let hidden = !meta.physical.ddl.without_rowid && meta.physical.alias.is_none();
    ["rowid", "oid", "_rowid_"].into_iter().find(|n| hidden && meta.physical.index_of(n).is_none())
}

/// `INSERT OR REPLACE` and `UPDATE OR REPLACE` delete rows without firing delete triggers: their
/// images are taken before. A row that survives after all has an image equal to it, which the seal
/// drops.
fn replace_sql(meta: &Meta) -> Vec<Trigger> {
    let table = quote(meta.name());
    let mut collisions: Vec<_> = meta.physical.uniques.iter().map(|u| collision(meta, u)).collect();
    collisions.extend(hidden_rowid(meta).map(|rowid| format!("{table}.{rowid} = NEW.{rowid}")));
    // The updated row itself isn't replaced.
    let other = format!(" AND NOT ({})", key_is(meta, &table, |k| format!("OLD.{}", quote(k))));
    let trigger = |name: &str, event: &str, other: &str| {
        let when: Vec<_> =
            collisions.iter().map(|c| format!("EXISTS (SELECT 1 FROM {table} WHERE {c}{other})")).collect();
        let body: Vec<_> = collisions.iter().map(|c| replaced_sql(meta, &format!("{c}{other}"))).collect();
        let sql = format!(
            "CREATE TRIGGER epoch_capture_{}_{name} BEFORE {event} ON {table}\nWHEN {}\nBEGIN\n{}END",
            meta.id().0,
            when.join(" OR "),
            body.concat(),
        );
        Trigger::new(sql, On::Base, when.into_iter().chain(body).collect())
    };
    vec![trigger("replace_insert", "INSERT", ""), trigger("replace_update", "UPDATE", &other)]
}

/// Takes the images of the rows of the base that meet a condition.
fn replaced_sql(meta: &Meta, condition: &str) -> String {
    let table = quote(meta.name());
    let history = history(meta.id());
    let key = key_is(meta, "epoch_h", |k| format!("{table}.{}", quote(k)));
    let last = format!(
        "coalesce((SELECT epoch_h.epoch_to FROM {history} AS epoch_h WHERE epoch_h.{LINEAGE} = 1 AND {key} \
         ORDER BY epoch_h.epoch_from DESC LIMIT 1), 0)"
    );
    format!(
        "  INSERT INTO {history} ({LINEAGE}, {columns}, epoch_existed, epoch_from, epoch_to)\n  \
         SELECT 1, {mine}, 1, {last}, 9223372036854775807 FROM {table}\n  \
         WHERE {condition} AND {last} < 9223372036854775807;\n",
        columns = prefixed("", &meta.columns),
        mine = prefixed(&table, &meta.columns),
    )
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
        for (kind, event) in [("insert", "INSERT"), ("update", "UPDATE")] {
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
