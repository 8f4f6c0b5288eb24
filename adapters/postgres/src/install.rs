//! Installs and removes what belongs to one versioned table.

use std::time::Duration;

use deadpool_postgres::Object;
use epoch_adapter::{Error, Result, TableDef, sqlstate};

use crate::error::pg;
use crate::layout::{
    LAYOUT, SCHEMA, base, claim_function, history, literal, mask, overlay, overlay_schema, quote,
};
use crate::text::{fill, join, key, writable};
use crate::tx::{Tx, is_true};
use crate::versions::{self, Entry};
use crate::writers::WRITERS_SQL;
use crate::{capture, partitions};

const SCHEMA_SQL: &str = include_str!("../../../sql/postgres/schema.sql");
const TABLES_SQL: &str = include_str!("../../../sql/postgres/tables_of_ours.sql");
const OVERLAY_ROWS_SQL: &str = include_str!("../../../sql/postgres/overlay_rows.sql");
const PAGES_SQL: &str = include_str!("../../../sql/postgres/pages.sql");
const CLAIM_SQL: &str = include_str!("../../../sql/postgres/claim.sql");
const INDEXES_SQL: &str = include_str!("../../../sql/postgres/indexes.sql");

/// Serialises installs and uninstalls in one database that isn't prepared yet ('epoc' in ASCII, 0). Any client can hold
/// it; so when there is a table of ours, that one is locked, which no client can.
const FIRST_LOCK: &str = "SELECT pg_advisory_xact_lock(1701867363, 0)";
const TABLE_LOCK: &str = "LOCK TABLE epoch.registered IN SHARE ROW EXCLUSIVE MODE";

/// Everything in one transaction; nothing if it is there already.
pub(crate) async fn install(tx: Tx, table: &TableDef) -> Result<()> {
    let done = install_in(&tx, table, &Entry::first(table)).await;
    tx.finish(done).await
}

/// Until the transaction ends, nobody else installs or removes anything.
pub(crate) async fn lock(client: &Object) -> Result<()> {
    if !is_prepared(client).await? {
        client.batch_execute(FIRST_LOCK).await.map_err(pg)?;
        // Whoever had it may have prepared the database.
        if !is_prepared(client).await? {
            return Ok(());
        }
    }
    client.batch_execute(TABLE_LOCK).await.map_err(pg)
}

/// Whether the lock is free, or gets free before `patience` is over. The transaction can do nothing more if it isn't.
pub(crate) async fn await_lock(client: &Object, patience: Duration) -> Result<bool> {
    if !is_prepared(client).await? {
        return Ok(true);
    }
    let limit = match patience {
        Duration::ZERO => format!("{TABLE_LOCK} NOWAIT"),
        _ => format!("SET LOCAL lock_timeout = {}; {TABLE_LOCK}", patience.as_millis().max(1)),
    };
    match client.batch_execute(&limit).await.map_err(pg) {
        Ok(()) => Ok(true),
        Err(error) if error.code() == sqlstate::LOCK_NOT_AVAILABLE => Ok(false),
        Err(error) => Err(error),
    }
}

async fn is_prepared(client: &Object) -> Result<bool> {
    is_true(client, "SELECT to_regclass('epoch.registered') IS NOT NULL").await
}

/// `entry`: what is noted of it beside its place.
pub(crate) async fn install_in(client: &Object, table: &TableDef, entry: &Entry) -> Result<()> {
    lock(client).await?;
    if registered(client, table, entry).await? {
        return Ok(());
    }
    // No writer is in flight once we hold this, so no change escapes.
    let lock = format!("LOCK TABLE {} IN SHARE ROW EXCLUSIVE MODE", base(table));
    client.batch_execute(&lock).await.map_err(pg)?;
    client.batch_execute(&tables(table)).await.map_err(pg)?;
    client.batch_execute(&defaults(client, table).await?).await.map_err(pg)?;
    client.batch_execute(&overlay_rows(table)).await.map_err(pg)?;
    for statement in index_statements(table, &indexes(client, table).await?)? {
        client.batch_execute(&statement).await.map_err(pg)?;
    }
    guards(client, table).await
}

/// The triggers on base and overlay, and their functions.
pub(crate) async fn guards(client: &Object, table: &TableDef) -> Result<()> {
    let indexes = indexes(client, table).await?;
    let partitioned = partitions::is_partitioned(client, table).await?;
    let (checks, path) = crate::constraints::of_inserted(table, &indexes);
    let script = capture::script(table, partitioned, (&checks, path)) + &claim(table);
    let script = script + &crate::constraints::unique(table, &indexes);
    let script = script + &crate::constraints::views(table);
    client.batch_execute(&script).await.map_err(pg)?;
    if partitioned {
        partitions::install(client, table).await?;
    }
    crate::written::note(client, table).await?;
    crate::foreign_keys::refresh(client, table, None).await
}

/// Makes what all versioned tables share, if it isn't there.
pub(crate) async fn shared_part(client: &Object) -> Result<()> {
    if has_shared_part(client).await? {
        if other_owner(client).await? {
            return Err(others("database"));
        }
        return match other_layout(client).await? {
            None => client.batch_execute(WRITERS_SQL).await.map_err(pg),
            Some(reason) => Err(Error::new(
                sqlstate::OBJECT_NOT_IN_PREREQUISITE_STATE,
                "the tables of this database were registered by another version of Horizon Epoch",
            )
            .with_detail(format!("The {reason}."))
            .with_hint("Unregister them all, then register them again.")),
        };
    }
    let written = [crate::written::WRITTEN_SQL, WRITERS_SQL].join("\n");
    let script = fill(SCHEMA_SQL, &[("layout", &LAYOUT.to_string()), ("written", &written)]);
    client.batch_execute(&script).await.map_err(pg)
}

/// Whether the registrations here are another repository's.
async fn other_owner(client: &Object) -> Result<bool> {
    // Older layouts, which don't say it, are refused for what they are.
    if other_layout(client).await?.is_some() {
        return Ok(false);
    }
    let sql =
        "SELECT EXISTS (SELECT FROM epoch.repository WHERE current_setting('epoch.repository', true) <> id)";
    client.query_one(sql, &[]).await.map_err(pg)?.try_get(0).map_err(pg)
}

/// 55000
fn others(what: &str) -> Error {
    let message = format!("the {what} already belongs to another repository");
    Error::new(sqlstate::OBJECT_NOT_IN_PREREQUISITE_STATE, message)
        .with_detail("It holds history and branches of tables that the other repository registered.")
        .with_hint("Unregister the tables there first, or drop the schemas epoch and epoch_* if that repository is gone.")
}

/// What is different if another version of ours prepared the database.
pub(crate) async fn other_layout(client: &Object) -> Result<Option<String>> {
    const COMMENT: &str = "SELECT substring(d.description FROM 'layout ([0-9]+)$') FROM pg_namespace n
        LEFT JOIN pg_description d ON d.objoid = n.oid AND d.classoid = 'pg_namespace'::regclass WHERE n.nspname = 'epoch'";
    let statement = client.prepare_cached(COMMENT).await.map_err(pg)?;
    let Some(row) = client.query_opt(&statement, &[]).await.map_err(pg)? else { return Ok(None) };
    let found: Option<String> = row.try_get(0).map_err(pg)?;
    if found.as_deref() == Some(LAYOUT.to_string().as_str()) {
        return Ok(None);
    }
    let found = found.map_or_else(|| "an older layout".to_owned(), |found| format!("layout {found}"));
    Ok(Some(format!("history has {found}, this version works with layout {LAYOUT}")))
}

/// Makes the shared part if need be; whether this table is there already, after entering it.
async fn registered(client: &Object, table: &TableDef, entry: &Entry) -> Result<bool> {
    shared_part(client).await?;
    let schema = table.location.schema.as_deref().unwrap_or("public");
    let name = &table.location.table;
    let rows = client
        .query(
            "SELECT id, schema_name = $2 AND table_name = $3 FROM epoch.registered
             WHERE id = $1 OR (schema_name = $2 AND table_name = $3)",
            &[&table.id.0, &schema, &name],
        )
        .await
        .map_err(pg)?;
    for row in &rows {
        let (id, same): (i64, bool) = (row.try_get(0).map_err(pg)?, row.try_get(1).map_err(pg)?);
        if id != table.id.0 || !same {
            return Err(others(&format!("database of table \"{schema}.{name}\"")));
        }
    }
    if !rows.is_empty() {
        return Ok(true);
    }
    let until = (!table.location.is_draft()).then_some(i64::MAX);
    client
        .execute(
            "INSERT INTO epoch.registered (id, schema_name, table_name, family, columns, source, until) \
             VALUES ($1, $2, $3, $4, $5::text::jsonb, $6::text::jsonb, $7)",
            &[
                &table.id.0,
                &schema,
                &name,
                &entry.family,
                &entry.columns_json(),
                &versions::source_json(table),
                &until,
            ],
        )
        .await
        .map_err(pg)?;
    Ok(false)
}

/// Whether the schema `epoch` is there; 42P06 if it is somebody else's.
async fn has_shared_part(client: &Object) -> Result<bool> {
    let row = client
        .query_one(
            "SELECT to_regnamespace('epoch') IS NOT NULL, to_regclass('epoch.registered') IS NOT NULL",
            &[],
        )
        .await
        .map_err(pg)?;
    let (schema, ours): (bool, bool) = (row.try_get(0).map_err(pg)?, row.try_get(1).map_err(pg)?);
    if schema && !ours {
        return Err(Error::new("42P06", format!("schema \"{SCHEMA}\" already exists"))
            .with_hint("Rename it: Horizon Epoch keeps history in a schema of this name."));
    }
    Ok(schema)
}

fn tables(table: &TableDef) -> String {
    let typed =
        |c: &epoch_adapter::Column| format!("b.{name}::{} AS {name}", c.pg_type, name = quote(&c.name));
    let pages = |target: &str, columns: &str, values: &str| {
        let name = literal(target);
        fill(
            PAGES_SQL,
            &[("target", target), ("target_name", &name), ("columns", columns), ("values", values)],
        )
    };
    // As images of rows that were there, so that the partial indexes have entries too.
    let of_history = pages(
        &history(table),
        ", epoch_existed, epoch_seq, epoch_xid, epoch_from, epoch_to, epoch_depth",
        ", true, '0/0', NULL, 0, 0, 0",
    );
    fill(
        TABLES_SQL,
        &[
            ("history_pages", &of_history),
            ("mask_pages", &pages(&mask(table), "", "")),
            ("overlay_schema", &quote(&overlay_schema(table))),
            ("overlay", &overlay(table)),
            ("history", &history(table)),
            ("mask", &mask(table)),
            ("base", &base(table)),
            ("key", &key(table, "")),
            ("typed_columns", &join(&table.schema.columns, ", ", typed)),
            ("typed_key", &join(table.schema.key_columns(), ", ", typed)),
        ],
    )
}

fn overlay_rows(table: &TableDef) -> String {
    fill(
        OVERLAY_ROWS_SQL,
        &[
            ("base", &base(table)),
            ("overlay", &overlay(table)),
            ("columns", &writable(table, "")),
            ("columns_b", &writable(table, "epoch_b.")),
        ],
    )
}

/// Identity columns of the base draw from the same sequence on branches.
async fn defaults(client: &Object, table: &TableDef) -> Result<String> {
    let schema = table.location.schema.as_deref().unwrap_or("public");
    let rows = client
        .query(
            "SELECT a.attname::text, pg_get_serial_sequence(quote_ident(n.nspname) || '.' || quote_ident(c.relname), a.attname)
             FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
             WHERE n.nspname = $1 AND c.relname = $2 AND a.attidentity <> '' AND NOT a.attisdropped",
            &[&schema, &table.location.table],
        )
        .await
        .map_err(pg)?;
    let mut script = String::new();
    for row in &rows {
        let (column, sequence): (String, String) = (row.try_get(0).map_err(pg)?, row.try_get(1).map_err(pg)?);
        let sequence = main_sequence(client, table, &column).await?.unwrap_or(sequence);
        script += &format!(
            "ALTER TABLE {} ALTER {} SET DEFAULT nextval({}::regclass);\n",
            overlay(table),
            quote(&column),
            literal(&sequence)
        );
    }
    Ok(script)
}

/// The sequence that a column of a revision draws from on main, if it is a column of main's table.
async fn main_sequence(client: &Object, table: &TableDef, column: &str) -> Result<Option<String>> {
    let source = table.source.as_ref().zip(table.schema.index_of(column));
    let Some((location, name)) = source.and_then(|(s, i)| s.column_on_main(i)) else { return Ok(None) };
    let place = crate::of_main::place(location);
    let row =
        client.query_one("SELECT pg_get_serial_sequence($1, $2)", &[&place, &name]).await.map_err(pg)?;
    row.try_get(0).map_err(pg)
}

/// An index of the base.
pub(crate) struct Index {
    pub oid: u32,
    pub name: String,
    pub method: String,
    pub unique: bool,
    pub primary: bool,
    pub nulls_not_distinct: bool,
    pub constraint: Option<String>,
    /// ` DEFERRABLE`, perhaps with ` INITIALLY DEFERRED`; else empty.
    pub deferrable: String,
    pub predicate: Option<String>,
    /// What stands after `USING method (` and before the predicate.
    pub tail: String,
    /// The key's columns or expressions over bare column names.
    pub parts: Vec<String>,
    /// The same as error messages show them.
    pub shown: Vec<String>,
    /// The key's columns; empty if one part is an expression.
    pub names: Vec<String>,
    /// The equality operator of each part of a btree's key, or those of an exclusion constraint.
    pub operators: Vec<String>,
    /// What stands after `EXCLUDE USING method (` in the definition of an exclusion constraint.
    pub exclusion: Option<String>,
}

pub(crate) async fn indexes(client: &Object, table: &TableDef) -> Result<Vec<Index>> {
    let schema = table.location.schema.as_deref().unwrap_or("public");
    let rows = client.query(INDEXES_SQL, &[&schema, &table.location.table]).await.map_err(pg)?;
    let read = |row: &tokio_postgres::Row| -> Result<Index> {
        let name: String = row.try_get(0).map_err(pg)?;
        let tail = row.try_get::<_, Option<String>>(8).map_err(pg)?;
        Ok(Index {
            method: row.try_get(1).map_err(pg)?,
            unique: row.try_get(2).map_err(pg)?,
            primary: row.try_get(3).map_err(pg)?,
            nulls_not_distinct: row.try_get(4).map_err(pg)?,
            constraint: row.try_get(5).map_err(pg)?,
            deferrable: row.try_get(6).map_err(pg)?,
            predicate: row.try_get(7).map_err(pg)?,
            tail: tail.ok_or_else(|| {
                Error::internal(format!("the definition of index \"{name}\" was not understood"))
            })?,
            parts: row.try_get(9).map_err(pg)?,
            names: row.try_get(10).map_err(pg)?,
            operators: row.try_get(11).map_err(pg)?,
            exclusion: row.try_get(12).map_err(pg)?,
            oid: row.try_get(13).map_err(pg)?,
            shown: row.try_get(14).map_err(pg)?,
            name,
        })
    };
    rows.iter().map(read).collect()
}

/// Whether the access method takes our lineage column in front; others index the columns alone.
fn takes_lineage(method: &str) -> bool {
    method == "btree"
}

fn index_statements(table: &TableDef, indexes: &[Index]) -> Result<Vec<String>> {
    let mut out = Vec::new();
    // In their order: of several that a row violates, PostgreSQL names the first.
    for index in indexes {
        if let (Some(constraint), Some(rest)) = (&index.constraint, &index.exclusion) {
            out.push(format!(
                "ALTER TABLE {} ADD CONSTRAINT {} EXCLUDE USING {} (epoch_lineage WITH =, {rest}",
                overlay(table),
                quote(constraint),
                quote(&index.method)
            ));
            out.push(history_index(
                table,
                index,
                if takes_lineage(&index.method) { "epoch_lineage, " } else { "" },
            ));
            continue;
        }
        let lineage = if takes_lineage(&index.method) { "epoch_lineage, " } else { "" };
        let predicate = index.predicate.as_ref().map(|p| format!(" WHERE {p}")).unwrap_or_default();
        let unique = if index.unique { "UNIQUE " } else { "" };
        let name = quote(&index.name);
        out.push(format!(
            "CREATE {unique}INDEX {name} ON {} USING {} ({lineage}{}{predicate}",
            overlay(table),
            quote(&index.method),
            index.tail
        ));
        if let Some(constraint) = &index.constraint {
            let kind = if index.primary { "PRIMARY KEY" } else { "UNIQUE" };
            out.push(format!(
                "ALTER TABLE {} ADD CONSTRAINT {} {kind} USING INDEX {name}{}",
                overlay(table),
                quote(constraint),
                index.deferrable
            ));
        }
        if index.names != table.schema.key_names() {
            out.push(history_index(table, index, lineage));
        }
    }
    // The key must be found by lineage, whatever the indexes of the base are.
    if !indexes.iter().any(|i| i.names == table.schema.key_names() && i.predicate.is_none()) {
        out.push(format!("CREATE INDEX ON {} (epoch_lineage, {})", overlay(table), key(table, "")));
    }
    Ok(out)
}

fn history_index(table: &TableDef, index: &Index, lineage: &str) -> String {
    // History repeats values, so the clause that only unique indexes may have goes.
    let tail = if index.nulls_not_distinct {
        index.tail.replace(" NULLS NOT DISTINCT", "")
    } else {
        index.tail.clone()
    };
    let predicate = index.predicate.as_ref().map(|p| format!(" AND ({p})")).unwrap_or_default();
    format!(
        "CREATE INDEX ON {} USING {} ({lineage}{tail} WHERE epoch_existed{predicate}",
        history(table),
        quote(&index.method)
    )
}

fn claim(table: &TableDef) -> String {
    let keys = table.schema.key_columns().count();
    let message = format!("could not obtain lock on row in relation \"{}\"", table.location.table);
    fill(
        CLAIM_SQL,
        &[
            ("fn", &claim_function(table)),
            ("mask", &mask(table)),
            ("key", &key(table, "")),
            ("key_types", &join(table.schema.key_columns(), ", ", |c| c.pg_type.clone())),
            ("key_values", &(3..3 + keys).map(|n| format!("${n}")).collect::<Vec<_>>().join(", ")),
            ("message", &literal(&message)),
        ],
    )
}

/// Takes away what [`install`] made; the last table takes the shared part with it.
pub(crate) async fn uninstall(tx: Tx, table: &TableDef) -> Result<()> {
    let done = uninstall_in(&tx, table).await;
    tx.finish(done).await
}

/// Drops what belongs to the table alone, but for the triggers of its foreign keys on their parents; false if there is nothing.
pub(crate) async fn take_away(client: &Object, table: &TableDef) -> Result<bool> {
    let removed =
        client.execute("DELETE FROM epoch.registered WHERE id = $1", &[&table.id.0]).await.map_err(pg)?;
    if removed == 0 {
        return Ok(false);
    }
    drop_triggers(client, table).await?;
    let script = format!(
        "DROP TABLE IF EXISTS {}, {}, {}; DELETE FROM epoch.layer WHERE table_id = {id};
         DO $epoch$ BEGIN
             -- Older layouts have none.
             IF to_regclass('epoch.partition') IS NOT NULL THEN DELETE FROM epoch.partition WHERE table_id = {id}; END IF;
             IF to_regclass('epoch.written') IS NOT NULL THEN DELETE FROM epoch.written WHERE table_id = {id}; END IF;
             IF to_regclass('epoch.fk_write') IS NOT NULL THEN DELETE FROM epoch.fk_write WHERE family = {id}; END IF;
         END $epoch$",
        overlay(table),
        mask(table),
        history(table),
        id = table.id.0
    );
    client.batch_execute(&script).await.map_err(pg)?;
    Ok(true)
}

async fn uninstall_in(client: &Object, table: &TableDef) -> Result<()> {
    lock(client).await?;
    if !has_shared_part(client).await? || other_owner(client).await? {
        return Ok(());
    }
    // Older layouts know of no versions.
    let family = match other_layout(client).await? {
        None => versions::family(client, table.id).await?.unwrap_or(table.id.0),
        Some(_) => table.id.0,
    };
    if other_layout(client).await?.is_none() {
        crate::stand_in::inherit(client, table, family).await?;
        crate::foreign_keys::remove(client, table).await?;
    }
    let registered = take_away(client, table).await?;
    // A view or a type has a place, but no entry.
    if !registered && !table.location.is_draft() {
        return Ok(());
    }
    if table.enumeration.is_some() {
        return crate::enums::remove(client, table).await;
    }
    crate::draft::drop_base(client, table).await?;
    if registered {
        // Children of this table look at other versions, or at the live one, from now on.
        let hide = format!(
            "DO $epoch$ BEGIN IF to_regclass('epoch.shown') IS NOT NULL THEN DELETE FROM epoch.shown WHERE table_id = {}; END IF; END $epoch$",
            table.id.0
        );
        client.batch_execute(&hide).await.map_err(pg)?;
        if other_layout(client).await?.is_none() {
            crate::foreign_keys::refresh(client, table, Some(family)).await?;
        }
    }
    let schema = literal(table.location.schema.as_deref().unwrap_or("public"));
    let row = client
        .query_one(
            &format!("SELECT count(*) FILTER (WHERE schema_name = {schema}), count(*) FROM epoch.registered"),
            &[],
        )
        .await
        .map_err(pg)?;
    let (in_schema, all): (i64, i64) = (row.try_get(0).map_err(pg)?, row.try_get(1).map_err(pg)?);
    if in_schema == 0 {
        let statement = format!("DROP SCHEMA IF EXISTS {}", quote(&overlay_schema(table)));
        client.batch_execute(&statement).await.map_err(pg)?;
    }
    if all == 0 {
        client
            .batch_execute(
                "DROP TABLE IF EXISTS epoch.lineage, epoch.registered, epoch.partition, epoch.layer, epoch.replaced, epoch.shown, epoch.block, epoch.own, epoch.fk_write, epoch.seal, epoch.written_by, epoch.written, epoch.writer;
                 -- Older layouts have no owner, but a sequence.
                 DROP TABLE IF EXISTS epoch.repository; DROP SEQUENCE IF EXISTS epoch.seq, epoch.numbers; DROP FUNCTION IF EXISTS epoch.version_of(int8, int8, int8);
                 DROP FUNCTION epoch.nothing(); DROP FUNCTION epoch.refuse();
                 DROP FUNCTION IF EXISTS epoch.refuse_replaced(), epoch.note_child(int8, int8), epoch.note_parent(int8, int8); DROP SCHEMA epoch",
            )
            .await
            .map_err(pg)?;
    }
    Ok(())
}

/// Drops our triggers on the base, its partitions and the overlay, and all functions of the table's.
pub(crate) async fn drop_triggers(client: &Object, table: &TableDef) -> Result<()> {
    let id = table.id.0;
    // Wherever they are: the table may have been renamed, a partition detached.
    let rows = client
        .query(
            "SELECT DISTINCT 1, format('DROP TRIGGER %I ON %I.%I', t.tgname, n.nspname, c.relname)
             FROM pg_trigger f JOIN pg_proc p ON p.oid = f.tgfoid
             JOIN pg_trigger t ON t.tgrelid = f.tgrelid
             JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace
             WHERE p.pronamespace = 'epoch'::regnamespace AND p.proname ~ $1
             AND t.tgname LIKE 'zz\\_epoch\\_%' AND NOT t.tgisinternal AND t.tgparentid = 0
             UNION ALL
             SELECT 2, format('DROP FUNCTION %s', p.oid::regprocedure) FROM pg_proc p
             WHERE p.pronamespace = 'epoch'::regnamespace AND p.proname ~ $2 ORDER BY 1",
            &[&format!("^(capture|overlay)_{id}_"), &format!("^[a-z]+_{id}_")],
        )
        .await
        .map_err(pg)?;
    let mut script = String::new();
    for row in &rows {
        let statement: String = row.try_get(1).map_err(pg)?;
        script += &format!("{statement};\n");
    }
    client.batch_execute(&script).await.map_err(pg)
}
