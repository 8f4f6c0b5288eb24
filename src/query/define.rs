//! Data definition on a branch: what is passed on, because it concerns the session's temporary tables, and
//! what the repository does to tables made on the branch.

use std::ops::Range;
use std::sync::Arc;

use epoch_adapter::{Piece, Statement as Text, TableDef, TableName};
use epoch_adapter_postgres::layout::{self, base, literal, quote};

use super::create_as;
use super::define_type;
use super::define_view::{self, Views};
use super::names::{Catalog, Meaning};
use super::parse::{Define, How, Role, Statement, TableRef};
use super::plan::{Context, Plan};
use super::types;
use crate::{Error, Result, sqlstate};

/// Data definition that the repository does.
#[derive(Debug, Clone, PartialEq)]
pub struct Definition {
    /// Where it is in the client's text.
    pub range: Range<usize>,
    /// Its command tag.
    pub tag: &'static str,
    /// What is done.
    pub action: Action,
    /// The text has no other statement.
    pub alone: bool,
}

/// What data definition does.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Makes a table.
    Create {
        /// The schema, if it is written.
        schema: Option<String>,
        /// The name.
        name: String,
        /// IF NOT EXISTS.
        if_not_exists: bool,
        /// The statement.
        text: Text,
    },
    /// Makes a table of what a query returns.
    CreateAs(create_as::CreateAs),
    /// Changes a table.
    Alter {
        /// The table's registration.
        table: epoch_adapter::TableId,
        /// The statement.
        text: Text,
    },
    /// Gives a table another name or schema.
    Move {
        /// The table's registration.
        table: epoch_adapter::TableId,
        /// What it is called from then on.
        to: TableName,
        /// SET SCHEMA.
        schema: bool,
    },
    /// Makes a type.
    CreateType {
        /// The schema, if it is written.
        schema: Option<String>,
        /// The name.
        name: String,
        /// Its values.
        labels: Vec<String>,
        /// The statement.
        text: Text,
    },
    /// Drops types.
    DropType {
        /// Their registrations.
        types: Vec<epoch_adapter::TableId>,
        /// What isn't there, with IF EXISTS.
        missing: Vec<String>,
    },
    /// There is nothing to be done; perhaps a notice says so.
    Nothing(Option<String>),
    /// Makes, changes and drops views.
    Views(Views),
    /// Drops tables.
    Drop {
        /// Their registrations.
        tables: Vec<epoch_adapter::TableId>,
        /// What isn't there, with IF EXISTS.
        missing: Vec<String>,
        /// Views that go with them.
        views: Views,
        /// CASCADE.
        cascade: bool,
    },
}

/// Plans data definition. `alone`: the text has no other statement.
pub(super) async fn plan(
    ctx: &mut Context<'_>,
    catalog: &mut dyn Catalog,
    sql: &str,
    statement: &Statement,
    define: &Define,
    alone: bool,
) -> Result<Plan> {
    let action = match &define.how {
        How::CreateAs(made) => Some(create_as::action(ctx, catalog, sql, statement, made).await?),
        How::Create { if_not_exists } => Some(create(ctx, sql, statement, *if_not_exists)?),
        How::DropIndex { if_exists } => drop_index(ctx, catalog, statement, *if_exists).await?,
        How::DropTable { if_exists, cascade } => {
            drop_tables(ctx, catalog, statement, *if_exists, *cascade).await?
        }
        How::Alter => alter(ctx, catalog, sql, statement).await?,
        How::Move { schema, name, if_exists } => {
            move_table(ctx, catalog, statement, (schema.as_ref(), name.as_ref()), *if_exists).await?
        }
        How::RenameIndex { name, if_exists } => {
            rename_index(ctx, catalog, statement, name, *if_exists).await?
        }
        How::View(how) => define_view::action(ctx, catalog, sql, statement, how).await?,
        How::Type(how) => Some(define_type::action(ctx, catalog, sql, statement, how).await?),
        How::Never(_) => None,
    };
    let range = statement.range.clone();
    let Some(action) = action else {
        let plan = types::relayed(ctx, sql, statement)?;
        ctx.names.unsettle();
        return Ok(plan);
    };
    Ok(Plan::Define(Arc::new(Definition { range, tag: define.what, action, alone })))
}

fn create(ctx: &Context<'_>, sql: &str, statement: &Statement, if_not_exists: bool) -> Result<Action> {
    let Some((table, others)) = statement.tables.split_first() else {
        return Err(Error::internal("CREATE TABLE without a table"));
    };
    let mut names = vec![(table.range.clone(), Piece::Own(width(sql, table)))];
    for other in others {
        let piece = if other.role == Role::Parent {
            parent(ctx, sql, table, None, other)
        } else {
            source(ctx, sql, other)
        };
        names.extend(piece?.map(|piece| (other.range.clone(), piece)));
    }
    names.extend(types::spelled(ctx, sql, statement)?);
    Ok(Action::Create {
        schema: table.schema.clone(),
        name: table.name.clone(),
        if_not_exists,
        text: Text { pieces: pieces(sql, &statement.range, names), settings: Vec::new() },
    })
}

/// How many characters a name has in the text.
pub(super) fn width(sql: &str, table: &TableRef) -> usize {
    sql.get(table.range.clone()).unwrap_or_default().chars().count()
}

/// The statement with pieces in the place of names.
pub(super) fn pieces(sql: &str, range: &Range<usize>, mut names: Vec<(Range<usize>, Piece)>) -> Vec<Piece> {
    names.sort_by_key(|(range, _)| range.start);
    let mut out = Vec::new();
    let mut at = range.start;
    let text = |range: Range<usize>| Piece::Text(sql.get(range).unwrap_or_default().to_owned());
    for (name, piece) in names {
        out.push(text(at..name.start));
        out.push(piece);
        at = name.end;
    }
    out.push(text(at..range.end));
    out
}

/// The table of LIKE; `None` if its name is good as it is.
fn source(ctx: &Context<'_>, sql: &str, table: &TableRef) -> Result<Option<Piece>> {
    match ctx.names.table(table) {
        Meaning::Registered(def) => Ok(Some(Piece::Other(base(&def), width(sql, table)))),
        Meaning::Temporary => Err(Error::unsupported("CREATE TABLE … LIKE a temporary table on a branch")),
        Meaning::Missing | Meaning::Elsewhere => Err(missing("relation", table)),
        Meaning::System | Meaning::Other { .. } | Meaning::Internal => Ok(None),
    }
}

/// The parent of a foreign key of `child`, which is `def` if it is there already.
fn parent(
    ctx: &Context<'_>,
    sql: &str,
    child: &TableRef,
    def: Option<&TableDef>,
    table: &TableRef,
) -> Result<Option<Piece>> {
    let width = width(sql, table);
    let new = def.is_none() && table.name == child.name && table.schema == child.schema;
    match ctx.names.table(table) {
        _ if new => Ok(Some(Piece::Own(width))),
        Meaning::Registered(parent) if def.is_some_and(|d| d.id == parent.id) => Ok(Some(Piece::Own(width))),
        Meaning::Registered(parent) => Ok(Some(Piece::Parent(parent, width))),
        Meaning::Missing | Meaning::Elsewhere => Err(missing("relation", table)),
        _ => Err(Error::unsupported(format!(
            "a foreign key to \"{}\", which is not versioned, on a branch",
            table.name
        ))),
    }
}

/// `None` for a temporary table.
async fn alter(
    ctx: &Context<'_>,
    catalog: &mut dyn Catalog,
    sql: &str,
    statement: &Statement,
) -> Result<Option<Action>> {
    let Some((table, parents)) = statement.tables.split_first() else { return Ok(None) };
    let def = match ctx.names.table(table) {
        Meaning::Registered(def) => def,
        Meaning::Missing | Meaning::Elsewhere => return Err(missing("relation", table)),
        _ => return Ok(None),
    };
    let text = sql.get(statement.range.clone()).unwrap_or_default();
    define_view::keeps_views(ctx, catalog, &def, text).await?;
    let mut names = vec![(table.range.clone(), Piece::Own(width(sql, table)))];
    for other in parents {
        let piece = parent(ctx, sql, table, Some(&def), other)?;
        names.extend(piece.map(|piece| (other.range.clone(), piece)));
    }
    names.extend(types::spelled(ctx, sql, statement)?);
    let text = Text { pieces: pieces(sql, &statement.range, names), settings: Vec::new() };
    Ok(Some(Action::Alter { table: def.id, text }))
}

/// `None` for a temporary table.
async fn move_table(
    ctx: &mut Context<'_>,
    catalog: &mut dyn Catalog,
    statement: &Statement,
    (schema, name): (Option<&String>, Option<&String>),
    if_exists: bool,
) -> Result<Option<Action>> {
    let Some(table) = statement.tables.first() else { return Ok(None) };
    let def = match ctx.names.table(table) {
        Meaning::Registered(def) => def,
        Meaning::Missing | Meaning::Elsewhere if if_exists => return Ok(Some(skipping(table))),
        Meaning::Missing | Meaning::Elsewhere => return Err(missing("relation", table)),
        Meaning::Other { kind: 'v', temporary: false, .. } => {
            if let Some(schema) = schema {
                define_view::check_schema(catalog, schema).await?;
            }
            let renamed = define_view::rename(ctx, catalog, table, (schema, name)).await?;
            return Ok(renamed.map(Action::Views));
        }
        _ => return Ok(None),
    };
    let (from_schema, from_name) = super::names::location(&def);
    let to = TableName {
        schema: schema.unwrap_or(&from_schema).clone(),
        name: name.unwrap_or(&from_name).clone(),
    };
    if schema.is_some() && to.schema == from_schema {
        return Ok(Some(Action::Nothing(None)));
    }
    define_view::keeps_name(ctx, catalog, &def).await?;
    Ok(Some(Action::Move { table: def.id, to, schema: schema.is_some() }))
}

/// IF EXISTS of what isn't there.
fn skipping(table: &TableRef) -> Action {
    Action::Nothing(Some(format!("relation \"{}\" does not exist, skipping", table.name)))
}

/// `None` if all are temporary.
async fn drop_tables(
    ctx: &Context<'_>,
    catalog: &mut dyn Catalog,
    statement: &Statement,
    if_exists: bool,
    cascade: bool,
) -> Result<Option<Action>> {
    let mut tables = Vec::new();
    let mut places = Vec::new();
    let mut absent = Vec::new();
    let mut temporary = false;
    for table in &statement.tables {
        match ctx.names.table(table) {
            Meaning::Registered(def) => {
                tables.push(def.id);
                places.push(("table", super::names::location(&def)));
            }
            Meaning::Missing | Meaning::Elsewhere if if_exists => absent.push(table.name.clone()),
            Meaning::Missing | Meaning::Elsewhere => return Err(missing("table", table)),
            _ => temporary = true,
        }
    }
    if temporary {
        if tables.is_empty() && absent.is_empty() {
            return Ok(None);
        }
        return Err(Error::unsupported("DROP TABLE of temporary and other tables together on a branch"));
    }
    tables.dedup();
    let views = define_view::leaving(ctx, catalog, places, cascade).await?;
    Ok(Some(Action::Drop { tables, missing: absent, views, cascade }))
}

/// The versioned table of an index, which has a name of its own; 0A000 for one of another table, named `what`.
async fn table_of_index(
    ctx: &Context<'_>,
    catalog: &mut dyn Catalog,
    index: &TableRef,
    what: &str,
) -> Result<Option<Arc<TableDef>>> {
    let tables = ctx.repository.tables(ctx.checkout);
    let schema = index.schema.as_deref();
    let here: Vec<&Arc<TableDef>> = tables
        .by_id
        .values()
        .filter(|t| t.location.backend == ctx.backend)
        .filter(|t| schema.is_none() || t.location.home().schema.as_deref() == schema)
        .collect();
    let found = if here.is_empty() { None } else { with_index(catalog, &here, &index.name).await? };
    if found.is_none()
        && let Meaning::Other { kind: 'i', .. } = ctx.names.table(index)
        && !here.iter().any(|t| t.revision.is_some())
    {
        return Err(Error::unsupported(format!("{what} of a table that is not versioned on a branch")));
    }
    Ok(found.cloned())
}

/// `None` for one of a temporary table.
async fn rename_index(
    ctx: &mut Context<'_>,
    catalog: &mut dyn Catalog,
    statement: &Statement,
    name: &str,
    if_exists: bool,
) -> Result<Option<Action>> {
    let Some(index) = statement.tables.first() else { return Ok(None) };
    match ctx.names.table(index) {
        Meaning::Temporary => return Ok(None),
        // It means that as well to PostgreSQL.
        Meaning::Registered(_) => {
            return move_table(ctx, catalog, statement, (None, Some(&name.to_owned())), if_exists).await;
        }
        _ => {}
    }
    let Some(table) = table_of_index(ctx, catalog, index, "ALTER INDEX").await? else {
        return if if_exists { Ok(Some(skipping(index))) } else { Err(missing("relation", index)) };
    };
    let pieces = vec![
        Piece::Text("ALTER INDEX ".to_owned()),
        Piece::Beside(index.name.clone()),
        Piece::Text(format!(" RENAME TO {}", quote(name))),
    ];
    Ok(Some(Action::Alter { table: table.id, text: Text { pieces, settings: Vec::new() } }))
}

/// `None` for one of a temporary table.
async fn drop_index(
    ctx: &Context<'_>,
    catalog: &mut dyn Catalog,
    statement: &Statement,
    if_exists: bool,
) -> Result<Option<Action>> {
    let Some(index) = statement.tables.first() else { return Ok(None) };
    if ctx.names.table(index) == Meaning::Temporary {
        return Ok(None);
    }
    let Some(table) = table_of_index(ctx, catalog, index, "DROP INDEX").await? else {
        if if_exists {
            let missing = vec![index.name.clone()];
            let (tables, views) = (Vec::new(), Views::default());
            return Ok(Some(Action::Drop { tables, missing, views, cascade: false }));
        }
        let message = format!("index \"{}\" does not exist", index.name);
        return Err(Error::new(sqlstate::UNDEFINED_OBJECT, message));
    };
    let pieces = vec![Piece::Text("DROP INDEX ".to_owned()), Piece::Beside(index.name.clone())];
    Ok(Some(Action::Alter { table: table.id, text: Text { pieces, settings: Vec::new() } }))
}

/// The table that has an index of this name.
async fn with_index<'a>(
    catalog: &mut dyn Catalog,
    tables: &[&'a Arc<TableDef>],
    index: &str,
) -> Result<Option<&'a Arc<TableDef>>> {
    let places: Vec<String> = tables.iter().map(|t| literal(&base(t))).collect();
    let sql = format!(
        "SELECT t.n FROM pg_catalog.unnest(ARRAY[{}]::pg_catalog.text[]) WITH ORDINALITY t (place, n) \
         JOIN pg_catalog.pg_index i ON i.indrelid = pg_catalog.to_regclass(t.place)::pg_catalog.oid \
         JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid \
         WHERE c.relname = {} ORDER BY pg_catalog.array_position(pg_catalog.current_schemas(true), (SELECT n.nspname FROM pg_catalog.pg_namespace n WHERE n.oid = c.relnamespace)), t.n",
        places.join(", "),
        literal(index)
    );
    let rows = catalog.query(&sql).await?;
    let found = rows.first().and_then(|row| row.first()).cloned().flatten();
    Ok(found.and_then(|n| n.parse::<usize>().ok()).and_then(|n| tables.get(n.checked_sub(1)?)).copied())
}

/// As PostgreSQL says it.
pub(super) fn missing(what: &str, table: &TableRef) -> Error {
    let shown = table.schema.as_deref().map_or_else(|| table.name.clone(), |s| format!("{s}.{}", table.name));
    Error::new(sqlstate::UNDEFINED_TABLE, format!("{what} \"{shown}\" does not exist"))
}

/// Whether a schema is PostgreSQL's own, or ours.
pub fn is_reserved(schema: &str) -> bool {
    schema.starts_with("pg_")
        || schema == "information_schema"
        || schema == layout::SCHEMA
        || schema.starts_with("epoch_")
}
