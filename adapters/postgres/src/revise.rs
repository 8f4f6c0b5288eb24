//! Revisions: versions of a table that exist on branches.
//!
//! The base of a revision is an empty clone of the version before, on which the client's statement has run; so names,
//! types and errors are PostgreSQL's. What main has of the table is seen through the clone's columns (see `main`),
//! what the branch holds is copied. A change that works out each row anew, as PostgreSQL does it by writing the
//! table again, is done on the rows that the branch sees, and the branch's layer holds all of them then.

use epoch_adapter::{
    Definition, Error, Layer, Location, Origin, Part, Replay, Result, Revision, Source, Statement, TableDef,
    TableId, View, sqlstate,
};

use crate::error::pg;
use crate::install::Index;
use crate::layout::{base, history, literal, mask, overlay, quote};
use crate::text::{join, key, writable};
use crate::tx::{Tx, texts};
use crate::versions::{self, Version};
use crate::{catalog, draft, fk_check, install, layer, of_main, partitions, relation, stand_in, violations};

const COLUMNS_SQL: &str = include_str!("../../../sql/postgres/revised_columns.sql");

/// What ALTER TABLE has to say to give another table the options of one, and its columns their statistics targets.
const OPTIONS_SQL: &str = "SELECT format('SET (%I = %L)', split_part(o, '=', 1), substr(o, strpos(o, '=') + 1)) \
    FROM pg_class c, unnest(c.reloptions) o WHERE c.oid = {{table}}::regclass \
    UNION ALL SELECT format('ALTER COLUMN %I SET STATISTICS %s', a.attname, a.attstattarget) \
    FROM pg_attribute a WHERE a.attrelid = {{table}}::regclass AND a.attnum > 0 AND NOT a.attisdropped AND a.attstattarget >= 0";

/// The rows of a table that is written anew.
const ROWS: &str = "pg_temp.epoch_rows";

/// Makes `table` from `of`, which the layer holds rows of and sees as `view`. Without a statement it is the same but for
/// its name or schema.
pub(crate) async fn revise(
    tx: &Tx,
    table: &TableDef,
    layer: Layer,
    (of, view): (&TableDef, &View),
    statement: Option<&Statement>,
) -> Result<Definition> {
    let replay = replay(tx, table, statement).await?;
    check(tx, of).await?;
    // Nobody changes what any branch holds of it from here on.
    let lock = format!("LOCK TABLE {} IN SHARE ROW EXCLUSIVE MODE", overlay(of));
    tx.batch_execute(&lock).await.map_err(pg)?;
    match statement {
        Some(_) => clone(tx, of, table).await?,
        None => clone_under_another_name(tx, of, table).await?,
    }
    let mut stand_ins = stand_in::like(tx, of, table, Some(layer)).await?;
    if let Some(statement) = statement {
        stand_ins.extend(stand_in::make(tx, table, statement).await?);
    }
    let converts = statement.is_some_and(converts);
    let known = known(tx, table).await?;
    tx.batch_execute("SAVEPOINT epoch_empty").await.map_err(pg)?;
    let entries = texts(tx, &entries_sql(table)).await?;
    run(tx, table, statement, &stand_ins).await?;
    let given = if converts { given(tx, table, &entries).await? } else { Vec::new() };
    let mut columns = columns(tx, table, of, converts).await?;
    forget(&mut columns, &given);
    let mut whole = columns.iter().any(|c| c.origin.is_none()) || known.new_exclusion(tx, table).await?;
    if whole {
        tx.batch_execute("ROLLBACK TO epoch_empty").await.map_err(pg)?;
        stand_in::fill(tx, &stand_ins, layer, &relation::scanning(of, view)).await?;
        fill(tx, of, view, table).await?;
        run(tx, table, statement, &stand_ins).await?;
        columns = self::columns(tx, table, of, converts).await?;
        forget(&mut columns, &given);
        let save = format!(
            "CREATE TEMPORARY TABLE epoch_rows ON COMMIT DROP AS TABLE {0}; TRUNCATE {0}",
            base(table)
        );
        tx.batch_execute(&save).await.map_err(pg)?;
        stand_in::empty(tx, &stand_ins).await?;
    }
    tx.batch_execute("RELEASE epoch_empty").await.map_err(pg)?;
    let origins: Vec<Origin> = columns.iter().map(Found::origin).collect();
    let table = described(tx, table, of, &origins).await?;
    if !whole {
        known.check_rows(tx, (&table, of), &columns, &rows(of, view, &table, &origins)).await?;
    }
    let entry = entry(tx, of, &table, &columns).await?;
    let now = Version { table: table.clone(), columns: entry.columns.clone() };
    stand_in::check_children(tx, &table, layer, (entry.family, &now)).await?;
    // First, so that what follows knows which version the branch shows.
    install::install_in(tx, &table, &entry).await?;
    copy(tx, &table, layer, of, whole, &origins).await?;
    if whole {
        tx.batch_execute(&format!("DROP TABLE {ROWS}")).await.map_err(pg)?;
    }
    layer::record(tx, layer).await?;
    replace(tx, &table, (of, entry.family), layer).await?;
    let new = known.new_keys(tx, &table).await?;
    fk_check::verify(tx, &table, layer, |key| new.contains(&key.oid)).await?;
    let text = draft::text(tx, &table.location).await?.unwrap_or_default();
    // What it was made from may have been written anew itself.
    whole |= of.revision.as_ref().is_some_and(|r| r.whole);
    let own_values = columns.iter().any(|c| c.own_values);
    let revision = Revision {
        of: of.id,
        columns: origins,
        whole,
        own_values,
        statements: vec![replay],
        made: Vec::new(),
        also: None,
    };
    Ok(Definition { schema: table.schema, text, revision: Some(revision), view: None, enumeration: None })
}

/// What makes the version once more.
async fn replay(tx: &Tx, table: &TableDef, statement: Option<&Statement>) -> Result<Replay> {
    let Some(statement) = statement else { return Ok(Replay::moved(&table.name)) };
    let replay = Replay::of(statement)
        .ok_or_else(|| Error::internal("a statement that alters a table names others than parents"))?;
    by_family(tx, replay).await
}

/// Parents by their families: the version that is meant may be gone when it is done again.
async fn by_family(tx: &Tx, mut replay: Replay) -> Result<Replay> {
    for part in &mut replay.parts {
        if let Part::Parent(id) = part {
            *id = TableId(versions::family(tx, *id).await?.unwrap_or(id.0));
        }
    }
    Ok(replay)
}

async fn run(
    tx: &Tx,
    table: &TableDef,
    statement: Option<&Statement>,
    stand_ins: &[stand_in::StandIn],
) -> Result<()> {
    let Some(statement) = statement else { return Ok(()) };
    draft::run(tx, table, statement).await.map_err(|e| stand_in::unveiled(e, stand_ins))
}

/// What is noted of the version beside its place.
async fn entry(tx: &Tx, of: &TableDef, table: &TableDef, columns: &[Found]) -> Result<versions::Entry> {
    let before = |found: &Found| {
        let column = found.before.and_then(|i| of.schema.columns.get(i));
        (found.name.clone(), column.map(|c| c.name.clone()))
    };
    let columns: Vec<_> = columns.iter().map(before).collect();
    Ok(versions::entry(tx, of).await?.after(table.id, &columns))
}

/// 0A000 for tables that can't be revised.
pub(crate) async fn check(tx: &Tx, of: &TableDef) -> Result<()> {
    let refused = |what: &str| {
        Err(Error::unsupported(format!("changing a table {what} on a branch"))
            .with_detail(format!("Table \"{}\" is one.", of.name)))
    };
    let name = literal(&base(of));
    if partitions::is_partitioned(tx, of).await? {
        return refused("that is partitioned");
    }
    let secured = format!("SELECT relrowsecurity FROM pg_class WHERE oid = {name}::regclass");
    if is_true(tx, &secured).await? { refused("with row level security") } else { Ok(()) }
}

async fn is_true(tx: &Tx, query: &str) -> Result<bool> {
    Ok(texts(tx, query).await?.into_iter().flatten().flatten().any(|t| t == "t"))
}

/// Makes an empty table like another one, with indexes and constraints of the same names.
pub(crate) async fn clone(tx: &Tx, of: &TableDef, table: &TableDef) -> Result<()> {
    let (to, schema) = (base(table), table.location.schema.as_deref().unwrap_or_default());
    let mut script = format!(
        "CREATE SCHEMA {}; CREATE TABLE {to} (LIKE {} INCLUDING ALL EXCLUDING INDEXES);\n",
        quote(schema),
        base(of)
    );
    for index in install::indexes(tx, of).await? {
        script += &like(&index, &to);
    }
    // What LIKE leaves out.
    let options = OPTIONS_SQL.replace("{{table}}", &literal(&base(of)));
    for option in texts(tx, &options).await?.into_iter().flatten().flatten() {
        script += &format!("ALTER TABLE {to} {option};\n");
    }
    let comment = format!("SELECT obj_description({}::regclass, 'pg_class')", literal(&base(of)));
    if let Some(comment) = texts(tx, &comment).await?.into_iter().flatten().flatten().next() {
        script += &format!("COMMENT ON TABLE {to} IS {};\n", literal(&comment));
    }
    tx.batch_execute(&script).await.map_err(pg)
}

/// As [`clone`], of a table that gets another name: what belongs to it keeps the names that it has, as PostgreSQL leaves
/// them, and the name may be that of one of them.
pub(crate) async fn clone_under_another_name(tx: &Tx, of: &TableDef, table: &TableDef) -> Result<()> {
    let location = Location { table: of.location.table.clone(), ..table.location.clone() };
    let before = TableDef { location, ..table.clone() };
    clone(tx, of, &before).await?;
    if before.location == table.location {
        return Ok(());
    }
    let rename = format!("ALTER TABLE {} RENAME TO {}", base(&before), quote(&table.location.table));
    tx.batch_execute(&rename).await.map_err(pg)
}

/// The statements that make an index, and the constraint that it is of, on another table.
fn like(index: &Index, to: &str) -> String {
    let (name, method) = (quote(&index.name), quote(&index.method));
    if let (Some(constraint), Some(rest)) = (&index.constraint, &index.exclusion) {
        return format!(
            "ALTER TABLE {to} ADD CONSTRAINT {} EXCLUDE USING {method} ({rest};\n",
            quote(constraint)
        );
    }
    let unique = if index.unique { "UNIQUE " } else { "" };
    let predicate = index.predicate.as_ref().map(|p| format!(" WHERE {p}")).unwrap_or_default();
    let mut script =
        format!("CREATE {unique}INDEX {name} ON {to} USING {method} ({}{predicate};\n", index.tail);
    if let Some(constraint) = &index.constraint {
        let kind = if index.primary { "PRIMARY KEY" } else { "UNIQUE" };
        script += &format!(
            "ALTER TABLE {to} ADD CONSTRAINT {} {kind} USING INDEX {name}{};\n",
            quote(constraint),
            index.deferrable
        );
    }
    script
}

/// Puts the rows that the branch sees into the clone.
async fn fill(tx: &Tx, of: &TableDef, view: &View, table: &TableDef) -> Result<()> {
    let columns = writable(of, "");
    let sql = format!(
        "INSERT INTO {} ({columns}) OVERRIDING SYSTEM VALUE SELECT {columns} FROM {} epoch_s",
        base(table),
        relation::scanning(of, view)
    );
    tx.batch_execute(&sql).await.map_err(pg)?;
    draft::settle(tx, table).await
}

/// Whether a statement may say what makes values of a new type.
fn converts(statement: &Statement) -> bool {
    statement.pieces.iter().any(|p| match p {
        epoch_adapter::Piece::Text(text) => text.to_ascii_lowercase().contains("using"),
        _ => false,
    })
}

/// The file of a clone's rows, and where the entry of each column is, by name.
fn entries_sql(table: &TableDef) -> String {
    let name = literal(&base(table));
    format!(
        "SELECT '', relfilenode::text FROM pg_class WHERE oid = {name}::regclass UNION ALL \
         SELECT attname::text, ctid::text FROM pg_attribute WHERE attrelid = {name}::regclass AND attnum > 0 AND NOT attisdropped"
    )
}

/// The columns whose values a statement may have worked out, though they have the type that they had.
async fn given(tx: &Tx, table: &TableDef, before: &[Vec<Option<String>>]) -> Result<Vec<String>> {
    let after = texts(tx, &entries_sql(table)).await?;
    if after.first() == before.first() {
        return Ok(Vec::new());
    }
    let new = after.into_iter().skip(1).filter(|entry| !before.contains(entry));
    Ok(new.filter_map(|entry| entry.into_iter().next().flatten()).collect())
}

fn forget(columns: &mut [Found], given: &[String]) {
    for column in columns.iter_mut().filter(|c| c.before.is_some() && given.contains(&c.name)) {
        column.origin = None;
    }
}

/// A column of the clone after the statement.
pub(crate) struct Found {
    pub name: String,
    type_name: String,
    not_null: bool,
    /// `None`: its values are worked out for each row.
    pub origin: Option<Origin>,
    /// The column of the version before that it is.
    before: Option<usize>,
    /// Of that column, whether it is the same type still.
    same_type: bool,
    /// Of a new column, whether rows have values of their own in it.
    own_values: bool,
}

impl Found {
    fn origin(&self) -> Origin {
        let unknown = || Origin::Value(format!("NULL::{}", self.type_name));
        self.origin.clone().unwrap_or_else(unknown)
    }
}

/// The columns of the clone. Their numbers say which column of the version before they are: the clone began
/// with the same ones in the same order.
///
/// `converts`: a type may have been given with what makes values of it.
pub(crate) async fn columns(tx: &Tx, table: &TableDef, of: &TableDef, converts: bool) -> Result<Vec<Found>> {
    // So that texts of values mean the same whatever the session's settings are.
    const FORMS: &str = "SET LOCAL DateStyle = 'ISO, MDY'; SET LOCAL IntervalStyle = 'iso_8601'; SET LOCAL extra_float_digits = 1; \
        SET LOCAL bytea_output = 'hex'; SET LOCAL TimeZone = 'UTC'";
    tx.batch_execute(FORMS).await.map_err(pg)?;
    let (new, old) = (literal(&base(table)), literal(&base(of)));
    let sql = COLUMNS_SQL.replace("{{new}}", &new).replace("{{old}}", &old);
    let mut out = Vec::new();
    for row in texts(tx, &sql).await? {
        let cell = |i: usize| row.get(i).cloned().flatten();
        let is = |i: usize| cell(i).as_deref() == Some("t");
        let before = cell(0).and_then(|n| n.parse::<usize>().ok()).and_then(|n| n.checked_sub(1));
        let before = before.filter(|&i| i < of.schema.columns.len());
        let type_name = cell(2).unwrap_or_default();
        let (same_type, widens) = (is(4), is(5));
        let origin = match before.and_then(|i| of.schema.columns.get(i)) {
            Some(column) if same_type => {
                Some(Origin::Column { name: column.name.clone(), casts: Vec::new() })
            }
            Some(column) if widens && !converts => {
                Some(Origin::Column { name: column.name.clone(), casts: vec![type_name.clone()] })
            }
            Some(_) => None,
            None => cell(6).map(Origin::Value),
        };
        let name = cell(1).unwrap_or_default();
        out.push(Found { name, type_name, not_null: is(3), origin, before, same_type, own_values: is(7) });
    }
    Ok(out)
}

/// The revision as the server has it now. 0A000 if its key isn't the one of the version before.
pub(crate) async fn described(
    tx: &Tx,
    table: &TableDef,
    of: &TableDef,
    origins: &[Origin],
) -> Result<TableDef> {
    let schema = table.location.schema.as_deref().unwrap_or_default();
    let now = catalog::columns(tx, schema, &table.location.table).await?;
    let renamed = |key: &epoch_adapter::Column| {
        let same =
            |o: &Origin| matches!(o, Origin::Column { name, casts } if *name == key.name && casts.is_empty());
        origins.iter().position(same).and_then(|i| now.get(i)).map(|c| c.name.clone())
    };
    let refused = || {
        Error::unsupported("dropping or retyping a column of a table's key on a branch").with_detail(format!(
            "Branches find the rows of table \"{}\" by ({}).",
            of.name,
            of.schema.key_names().join(", ")
        ))
    };
    let key = of.schema.key_columns().map(renamed).collect::<Option<Vec<_>>>().ok_or_else(refused)?;
    let schema = catalog::describe(tx, &table.location, Some(&key)).await;
    let schema = schema.map_err(|e| match e.code() {
        sqlstate::INVALID_FOREIGN_KEY => {
            Error::unsupported("dropping the key of a table on a branch").with_detail(e.message().to_owned())
        }
        _ => e,
    })?;
    Ok(TableDef { schema, source: Some(Source::of(of, origins)), ..table.clone() })
}

/// What the branch sees, in the revision's columns.
fn rows(of: &TableDef, view: &View, table: &TableDef, origins: &[Origin]) -> String {
    format!(
        "(SELECT {} FROM {} epoch_s) {}",
        of_main::columns(table, origins, "epoch_s"),
        relation::scanning(of, view),
        quote(&table.location.table)
    )
}

/// What the clone had before the statement: constraints that are checked and unique indexes, by number.
struct Known {
    constraints: Vec<String>,
    indexes: Vec<u32>,
}

async fn known(tx: &Tx, table: &TableDef) -> Result<Known> {
    let sql = format!(
        "SELECT oid FROM pg_constraint WHERE conrelid = {}::regclass AND (convalidated OR contype = 'x')",
        literal(&base(table))
    );
    let constraints = texts(tx, &sql).await?.into_iter().flatten().flatten().collect();
    let indexes = install::indexes(tx, table).await?.iter().map(|i| i.oid).collect();
    Ok(Known { constraints, indexes })
}

impl Known {
    async fn new_exclusion(&self, tx: &Tx, table: &TableDef) -> Result<bool> {
        let indexes = install::indexes(tx, table).await?;
        Ok(indexes.iter().any(|i| i.exclusion.is_some() && !self.indexes.contains(&i.oid)))
    }

    /// The foreign keys that are new, or that hold for all rows only now.
    async fn new_keys(&self, tx: &Tx, table: &TableDef) -> Result<Vec<i64>> {
        let sql = format!(
            "SELECT oid FROM pg_constraint WHERE conrelid = {}::regclass AND contype = 'f' AND convalidated",
            literal(&base(table))
        );
        let all = texts(tx, &sql).await?.into_iter().flatten().flatten();
        Ok(all.filter(|oid| !self.constraints.contains(oid)).filter_map(|oid| oid.parse().ok()).collect())
    }

    /// What PostgreSQL would have checked, had the rows been in the table.
    async fn check_rows(
        &self,
        tx: &Tx,
        (table, of): (&TableDef, &TableDef),
        columns: &[Found],
        rows: &str,
    ) -> Result<()> {
        let was_not_null = |c: &Found| {
            let before = c.before.and_then(|i| of.schema.columns.get(i));
            before.is_some_and(|before| !before.nullable && c.same_type)
        };
        for column in columns.iter().filter(|c| c.not_null && !was_not_null(c)) {
            check_not_null(tx, table, &column.name, rows).await?;
        }
        let sql = format!(
            "SELECT oid, conname, convalidated, pg_get_expr(conbin, conrelid) FROM pg_constraint \
             WHERE conrelid = {}::regclass AND contype = 'c' ORDER BY conname",
            literal(&base(table))
        );
        for row in texts(tx, &sql).await? {
            let cell = |i: usize| row.get(i).cloned().flatten().unwrap_or_default();
            if !self.constraints.contains(&cell(0)) {
                check_constraint(tx, table, &cell(1), cell(2) == "t", &cell(3), rows).await?;
            }
        }
        for index in install::indexes(tx, table).await? {
            if index.unique && !self.indexes.contains(&index.oid) {
                check_unique(tx, table, &index, rows).await?;
            }
        }
        Ok(())
    }
}

/// What all constraints of a revision demand of the rows that a branch sees, which are another branch's than those it
/// was made over.
pub(crate) async fn verify(tx: &Tx, table: &TableDef, layer: Layer) -> Result<()> {
    let view = View { layer, at: epoch_adapter::At::Working };
    let rows = format!("{} {}", relation::scanning(table, &view), quote(&table.location.table));
    for column in table.schema.columns.iter().filter(|c| !c.nullable) {
        check_not_null(tx, table, &column.name, &rows).await?;
    }
    let none = Known { constraints: Vec::new(), indexes: Vec::new() };
    none.check_rows(tx, (table, table), &[], &rows).await?;
    fk_check::verify(tx, table, layer, |_| true).await
}

/// 23502 if the branch sees a row without a value.
async fn check_not_null(tx: &Tx, table: &TableDef, column: &str, rows: &str) -> Result<()> {
    let sql = format!("SELECT EXISTS (SELECT FROM {rows} WHERE {} IS NULL)", quote(column));
    if !is_true(tx, &sql).await? {
        return Ok(());
    }
    let message =
        format!("column \"{column}\" of relation \"{}\" contains null values", table.location.table);
    Err(of_table(Error::new(sqlstate::NOT_NULL_VIOLATION, message), table).with_column(column))
}

fn of_table(error: Error, table: &TableDef) -> Error {
    error.with_schema(&table.name.schema).with_table(&table.location.table)
}

async fn check_constraint(
    tx: &Tx,
    table: &TableDef,
    name: &str,
    validated: bool,
    condition: &str,
    rows: &str,
) -> Result<()> {
    if !is_true(tx, &format!("SELECT EXISTS (SELECT FROM {rows} WHERE NOT ({condition}))")).await? {
        return Ok(());
    }
    if !validated {
        return Err(Error::unsupported("a NOT VALID constraint that rows violate on a branch"));
    }
    let message = format!(
        "check constraint \"{name}\" of relation \"{}\" is violated by some row",
        table.location.table
    );
    Err(of_table(Error::new(sqlstate::CHECK_VIOLATION, message), table).with_constraint(name))
}

async fn check_unique(tx: &Tx, table: &TableDef, index: &Index, rows: &str) -> Result<()> {
    let parts = join(&index.parts, ", ", |p| format!("({p})"));
    let given = if index.nulls_not_distinct {
        "true".to_owned()
    } else {
        join(&index.parts, " AND ", |p| format!("({p}) IS NOT NULL"))
    };
    let predicate = index.predicate.as_deref().unwrap_or("true");
    let shown = violations::shown_key(index);
    let sql = format!(
        "SELECT {shown} FROM {rows} WHERE ({predicate}) AND {given} GROUP BY {parts} HAVING count(*) > 1 LIMIT 1"
    );
    let Some(values) = texts(tx, &sql).await?.into_iter().flatten().flatten().next() else { return Ok(()) };
    let error =
        Error::new(sqlstate::UNIQUE_VIOLATION, format!("could not create unique index \"{}\"", index.name))
            .with_detail(format!("Key ({})=({values}) is duplicated.", index.shown.join(", ")));
    Err(of_table(error, table).with_constraint(&index.name))
}

/// Keeps statements of the branch that began before this off the version before, and snapshots that are older off
/// the new one.
async fn replace(tx: &Tx, table: &TableDef, (of, family): (&TableDef, i64), layer: Layer) -> Result<()> {
    let script = format!(
        "{fence} \
         UPDATE epoch.shown SET there = there WHERE lineage = {lineage} AND family = {family}; {show} \
         INSERT INTO epoch.layer (lineage, table_id) VALUES ({lineage}, {new}) ON CONFLICT DO NOTHING",
        fence = versions::fence(of, family),
        show = versions::show(layer, &[(table.id, true)], false),
        new = table.id.0,
        lineage = layer.lineage.0,
    );
    tx.batch_execute(&script).await.map_err(pg)
}

/// What the branch holds of the version before: rows, masked keys and history.
async fn copy(
    tx: &Tx,
    table: &TableDef,
    layer: Layer,
    of: &TableDef,
    whole: bool,
    origins: &[Origin],
) -> Result<()> {
    let lineage = layer.lineage.0;
    let pick = |wanted: &dyn Fn(usize) -> bool| {
        let chosen = origins.iter().enumerate().filter(|(i, _)| wanted(*i));
        join(chosen, ", ", |(_, origin)| of_main::expression(origin, "epoch_s"))
    };
    let stored = |i: usize| table.schema.columns.get(i).is_some_and(|c| !c.generated);
    let columns = writable(table, "");
    let held = if whole {
        format!("SELECT {columns}, {lineage}, true FROM {ROWS}")
    } else {
        format!(
            "SELECT {}, {lineage}, true FROM {} epoch_s WHERE epoch_s.epoch_lineage = {lineage}",
            pick(&stored),
            overlay(of)
        )
    };
    let keys = join(&table.schema.key, ", ", |i| {
        origins.get(*i).map(|o| of_main::expression(o, "epoch_s")).unwrap_or_default()
    });
    let mut script = format!(
        "INSERT INTO {} ({columns}, epoch_lineage, epoch_copied) {held};\n\
         INSERT INTO {mask} (epoch_lineage, {key}) SELECT {lineage}, {keys} FROM {} epoch_s WHERE epoch_s.epoch_lineage = {lineage};\n",
        overlay(table),
        crate::layout::mask(of),
        mask = mask(table),
        key = key(table, ""),
    );
    if whole {
        script += &format!(
            "INSERT INTO {} (epoch_lineage, {}) SELECT {lineage}, {keys} FROM {} epoch_s;\n",
            mask(table),
            key(table, ""),
            relation::base_part_scanning(of, layer)
        );
    }
    script += &format!(
        "INSERT INTO {} (epoch_lineage, {}, epoch_existed, epoch_seq, epoch_xid, epoch_from, epoch_to, epoch_depth) \
         SELECT {lineage}, {}, epoch_s.epoch_existed, epoch_s.epoch_seq, epoch_s.epoch_xid, epoch_s.epoch_from, epoch_s.epoch_to, epoch_s.epoch_depth \
         FROM {} epoch_s WHERE epoch_s.epoch_lineage = {lineage}",
        history(table),
        crate::text::columns(table, ""),
        pick(&|_| true),
        history(of),
    );
    tx.batch_execute(&script).await.map_err(pg)
}
