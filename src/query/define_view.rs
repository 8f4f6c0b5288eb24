//! CREATE VIEW, ALTER VIEW, COMMENT ON VIEW and DROP VIEW on a branch.
//!
//! Each of them defines a view anew: the first by the client's text, the others by what the view is, with what stands for
//! the relations that its query reads in the place of their names.

use std::collections::HashSet;
use std::ops::Range;

use epoch_adapter::{Piece, Statement as Text, TableDef, TableId, TableName, ViewChange};
use epoch_adapter_postgres::layout::{base, literal, quote};

use super::define::{Action, missing, pieces, width};
use super::names::{Catalog, Meaning, Place, registered};
use super::parse::{self, Altered, Role, Statement, TableRef, ViewHow};
use super::plan::Context;
use super::{check, lexer, relations, types, views};
use crate::operations::{ViewStep, is_read};
use crate::{Error, Result, sqlstate};

/// What is done to views.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Views {
    /// A view that is made where the session makes relations.
    pub create: Option<NewView>,
    /// Views whose place is known.
    pub steps: Vec<ViewStep>,
    /// What the branch says no more.
    pub forgotten: Vec<TableId>,
    /// What isn't there, with IF EXISTS.
    pub missing: Vec<String>,
    /// The names of views that go with CASCADE.
    pub cascaded: Vec<String>,
}

/// A view to be made.
#[derive(Debug, Clone, PartialEq)]
pub struct NewView {
    /// The schema, if it is written.
    pub schema: Option<String>,
    /// The name.
    pub name: String,
    /// What is known of it without the place.
    pub change: ViewChange,
}

/// `None` if all are temporary.
pub(super) async fn action(
    ctx: &mut Context<'_>,
    catalog: &mut dyn Catalog,
    sql: &str,
    statement: &Statement,
    how: &ViewHow,
) -> Result<Option<Action>> {
    let Some((view, _)) = statement.tables.split_first() else {
        return Err(Error::internal("a statement about views without one"));
    };
    let done = match how {
        ViewHow::Create { replace } => {
            let mut change = query(ctx, sql, statement)?;
            change.replace = *replace;
            let (schema, name) = (view.schema.clone(), view.name.clone());
            Some(Views { create: Some(NewView { schema, name, change }), ..Views::default() })
        }
        ViewHow::Rename(name) => rename(ctx, catalog, view, (None, Some(name))).await?,
        ViewHow::Move(schema) => {
            check_schema(catalog, schema).await?;
            rename(ctx, catalog, view, (Some(schema), None)).await?
        }
        ViewHow::Alter(column) => alter(ctx, catalog, sql, statement, (view, column.as_ref())).await?,
        ViewHow::Comment(comment) => self::comment(ctx, catalog, view, comment.as_ref()).await?,
        ViewHow::Drop { if_exists, cascade } => drop(ctx, catalog, statement, *if_exists, *cascade).await?,
    };
    Ok(done.map(Action::Views))
}

/// The statement that makes a view, with what stands for what it reads.
fn query(ctx: &Context<'_>, sql: &str, statement: &Statement) -> Result<ViewChange> {
    let Some((view, reads)) = statement.tables.split_first() else {
        return Err(Error::internal("CREATE VIEW without a view"));
    };
    if statement.functions.iter().any(parse::is_ours) {
        return Err(Error::unsupported("a view over functions of Horizon Epoch on a branch"));
    }
    let mut names = vec![(view.range.clone(), Piece::Own(width(sql, view)))];
    let mut change = ViewChange::default();
    for table in reads {
        let Some((piece, reaches)) = source(ctx, sql, table)? else { continue };
        names.push((table.range.clone(), piece));
        change.reaches.extend(reaches);
    }
    change.reaches = all_reached(ctx, std::mem::take(&mut change.reaches));
    names.extend(qualifiers(sql, statement)?);
    names.extend(types::spelled(ctx, sql, statement)?);
    let text = Text { pieces: pieces(sql, &statement.range, names), settings: Vec::new() };
    Ok(ViewChange { statement: Some(text), ..change })
}

/// Relations, and what the branch's views among them reach by now: one of them may have been replaced since another
/// one was defined.
fn all_reached(ctx: &Context<'_>, mut reached: Vec<Place>) -> Vec<Place> {
    let ours = registered(ctx);
    let mut known: HashSet<Place> = reached.iter().cloned().collect();
    let mut at = 0;
    while let Some(place) = reached.get(at).cloned() {
        at += 1;
        let further = ours.view(&place).and_then(|own| own.view.as_ref()).map(|view| &view.reaches);
        reached.extend(further.into_iter().flatten().filter(|place| known.insert((*place).clone())).cloned());
    }
    reached.sort();
    reached.dedup();
    reached
}

/// A relation that a view reads, and all that it reads itself; `None` if its name is good as it is.
fn source(ctx: &Context<'_>, sql: &str, table: &TableRef) -> Result<Option<(Piece, Vec<Place>)>> {
    if relations::find(table).is_some() {
        return Err(Error::unsupported("a view over relations of Horizon Epoch on a branch"));
    }
    if table.role != Role::Read || table.catalog.is_some() {
        return Err(Error::unsupported("a view with TABLESAMPLE or the name of a database on a branch"));
    }
    let read = |(schema, name): Place, like: String| {
        let words = [(table.command, "TABLE "), (table.only, "ONLY ")];
        let lead = words.into_iter().filter(|(there, _)| *there).map(|(_, word)| word).collect();
        Piece::Read { schema, name, like, lead, width: width(sql, table) }
    };
    match ctx.names.table(table) {
        Meaning::Registered(def) => {
            let place = super::names::location(&def);
            Ok(Some((read(place.clone(), base(&def)), vec![place])))
        }
        Meaning::System => Ok(None),
        Meaning::Missing | Meaning::Elsewhere => {
            Err(missing("relation", table).with_position(table.position))
        }
        Meaning::Other { kind, place, mut reads, calls, temporary: false, .. } => {
            if views::definition(ctx, table).is_none() {
                check::reads_past(ctx, &table.name, kind, &reads, calls.as_deref())?;
            }
            let (schema, name) = &place;
            let like = match registered(ctx).view(&place) {
                Some(own) => base(own),
                None => format!("{}.{}", quote(schema), quote(name)),
            };
            reads.push(place.clone());
            Ok(Some((read(place, like), reads)))
        }
        Meaning::Temporary | Meaning::Other { .. } => Err(Error::unsupported(format!(
            "a view over the temporary relation \"{}\" on a branch",
            table.name
        ))),
        Meaning::Internal => Err(super::names::internal(&table.name)),
    }
}

/// `public.` in `public.users.id`: what stands for the table is in another schema.
fn qualifiers(sql: &str, statement: &Statement) -> Result<Vec<(Range<usize>, Piece)>> {
    let tokens = lexer::tokens(sql)?;
    let mut found = Vec::new();
    for column in &statement.columns {
        let [Some(schema), Some(name), _] = column.fields.as_slice() else { continue };
        let named = |t: &&TableRef| t.schema.as_ref() == Some(schema) && t.called() == name;
        let Some(dot) = tokens.get(tokens.at(column.start) + 1) else { continue };
        if statement.tables.iter().skip(1).any(|t| named(&t)) {
            let range = column.start..dot.end;
            let width = sql.get(range.clone()).unwrap_or_default().chars().count();
            found.push((range, Piece::Other(String::new(), width)));
        }
    }
    Ok(found)
}

/// A view as it is.
struct Known {
    place: Place,
    query: String,
    options: Vec<String>,
    comment: Option<String>,
}

/// What a name means as a view; `None`: one of the session's own. As PostgreSQL says it if it is none.
fn place(ctx: &Context<'_>, view: &TableRef, what: &str) -> Result<Option<Place>> {
    let wrong = || {
        let error = Error::new("42809", format!("\"{}\" is not a view", view.name));
        if what == "view" { error.with_hint("Use DROP TABLE to remove a table.") } else { error }
    };
    if relations::find(view).is_some() {
        return Err(super::names::internal(&view.name));
    }
    match ctx.names.table(view) {
        Meaning::Other { kind: 'v', temporary: true, .. } => Ok(None),
        Meaning::Other { kind: 'v', place, .. } => Ok(Some(place)),
        Meaning::Missing | Meaning::Elsewhere => Err(missing(what, view)),
        Meaning::Internal => Err(super::names::internal(&view.name)),
        Meaning::Registered(_) => Err(wrong()),
        Meaning::Temporary | Meaning::System | Meaning::Other { .. } => {
            Err(Error::new("42809", format!("\"{}\" is not a view", view.name)))
        }
    }
}

async fn known(
    ctx: &Context<'_>,
    catalog: &mut dyn Catalog,
    view: &TableRef,
    what: &str,
) -> Result<Option<Known>> {
    let Some(place) = place(ctx, view, what)? else { return Ok(None) };
    if let Some(own) = registered(ctx).view(&place)
        && let Some(def) = &own.view
        && let Some(query) = &def.query
    {
        let (query, options, comment) = (query.clone(), def.options.clone(), def.comment.clone());
        return Ok(Some(Known { place, query, options, comment }));
    }
    let sql = format!(
        "SELECT pg_catalog.pg_get_viewdef(c.oid), coalesce(pg_catalog.to_json(c.reloptions), '[]')::pg_catalog.text, pg_catalog.obj_description(c.oid, 'pg_class') \
         FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = {} AND c.relname = {}",
        literal(&place.0),
        literal(&place.1)
    );
    let row = catalog.query(&sql).await?.into_iter().next().unwrap_or_default();
    let cell = |i: usize| row.get(i).cloned().flatten();
    let lost = || Error::internal("a view is gone from the server's catalog");
    let options = cell(1).and_then(|json| serde_json::from_str(&json).ok()).ok_or_else(lost)?;
    let query = cell(0).ok_or_else(lost)?.trim_end().trim_end_matches(';').to_owned();
    Ok(Some(Known { place, query, options, comment: cell(2) }))
}

/// Defines a view as it is, under a name.
async fn again(
    ctx: &mut Context<'_>,
    catalog: &mut dyn Catalog,
    known: &Known,
    name: &str,
    replace: bool,
) -> Result<ViewChange> {
    let options = match known.options.is_empty() {
        true => String::new(),
        false => format!(" WITH ({})", known.options.join(", ")),
    };
    let replace_word = if replace { "OR REPLACE " } else { "" };
    let text = format!("CREATE {replace_word}VIEW {}{options} AS {}", quote(name), known.query);
    let parsed = parse::parse(&text)?;
    let statement = parsed.alone()?;
    let tables = ctx.repository.tables(ctx.checkout);
    ctx.names.learn(&[statement], &tables, ctx.backend, ctx.repository.generation(), catalog).await?;
    check::statement(ctx, statement)?;
    let change = query(ctx, &text, statement)?;
    Ok(ViewChange { replace, comment: known.comment.clone(), ..change })
}

/// The same name in a schema.
fn named((schema, name): &Place) -> TableName {
    TableName { schema: schema.clone(), name: name.clone() }
}

/// Completes a change of a name with what the branch says of it.
fn step(ctx: &Context<'_>, place: &Place, change: ViewChange) -> ViewStep {
    let name = named(place);
    ctx.repository.tables(ctx.checkout).view_step(ctx.backend, name, change)
}

/// Gives a view another name or schema.
pub(super) async fn rename(
    ctx: &mut Context<'_>,
    catalog: &mut dyn Catalog,
    view: &TableRef,
    (schema, name): (Option<&String>, Option<&String>),
) -> Result<Option<Views>> {
    let Some(known) = known(ctx, catalog, view, "relation").await? else { return Ok(None) };
    let to = (schema.unwrap_or(&known.place.0).clone(), name.unwrap_or(&known.place.1).clone());
    if to == known.place || taken(ctx, catalog, view, &to).await? {
        let place = if to.0 == known.place.0 { String::new() } else { format!(" in schema \"{}\"", to.0) };
        return Err(Error::new("42P07", format!("relation \"{}\" already exists{place}", to.1)));
    }
    let change = again(ctx, catalog, &known, &to.1, false).await?;
    let mut done = Views { steps: vec![step(ctx, &to, change)], ..Views::default() };
    let live = live(catalog, &known.place).await?;
    if let Some(reader) = readers(ctx, &live, &known.place).into_iter().next() {
        return Err(Error::unsupported(format!(
            "renaming the view \"{}\", which another one reads, on a branch",
            view.name
        ))
        .with_detail(format!("{} {} depends on view {}", reader.kind, reader.place.1, view.name)));
    }
    leave(ctx, &known.place, is_view(&live), &mut done);
    Ok(Some(done))
}

/// 3F000 unless a schema is there.
pub(super) async fn check_schema(catalog: &mut dyn Catalog, schema: &str) -> Result<()> {
    if super::define::is_reserved(schema) {
        return Err(Error::new(
            sqlstate::INSUFFICIENT_PRIVILEGE,
            format!("permission denied for schema {schema}"),
        ));
    }
    let sql = format!("SELECT FROM pg_catalog.pg_namespace n WHERE n.nspname = {}", literal(schema));
    match catalog.query(&sql).await?.is_empty() {
        true => Err(Error::new("3F000", format!("schema \"{schema}\" does not exist"))),
        false => Ok(()),
    }
}

/// Has the server do the client's ALTER VIEW to the view as it is.
async fn alter(
    ctx: &mut Context<'_>,
    catalog: &mut dyn Catalog,
    sql: &str,
    statement: &Statement,
    (view, column): (&TableRef, Option<&String>),
) -> Result<Option<Views>> {
    let Some(known) = known(ctx, catalog, view, "relation").await? else { return Ok(None) };
    let live = live(catalog, &known.place).await?;
    let reader = readers(ctx, &live, &known.place).into_iter().next();
    if let (Some(reader), Some(column)) = (reader, column) {
        return Err(Error::unsupported(format!(
            "renaming column \"{column}\" of the view \"{}\", which another one reads, on a branch",
            view.name
        ))
        .with_detail(format!("{} {} depends on view {}", reader.kind, reader.place.1, view.name)));
    }
    let name = known.place.1.clone();
    let mut change = again(ctx, catalog, &known, &name, true).await?;
    let own = vec![(view.range.clone(), Piece::Own(width(sql, view)))];
    change.then = Some(Text { pieces: pieces(sql, &statement.range, own), settings: Vec::new() });
    Ok(Some(Views { steps: vec![step(ctx, &known.place, change)], ..Views::default() }))
}

/// Whether a branch has a relation of this name.
async fn taken(
    ctx: &mut Context<'_>,
    catalog: &mut dyn Catalog,
    view: &TableRef,
    (schema, name): &Place,
) -> Result<bool> {
    let other = TableRef { schema: Some(schema.clone()), name: name.clone(), ..view.clone() };
    let text = format!("TABLE {}.{}", quote(schema), quote(name));
    let parsed = parse::parse(&text)?;
    let tables = ctx.repository.tables(ctx.checkout);
    let statements: Vec<&Statement> = parsed.statements.iter().collect();
    ctx.names.learn(&statements, &tables, ctx.backend, ctx.repository.generation(), catalog).await?;
    Ok(!matches!(ctx.names.table(&other), Meaning::Missing | Meaning::Elsewhere))
}

async fn comment(
    ctx: &mut Context<'_>,
    catalog: &mut dyn Catalog,
    view: &TableRef,
    comment: Option<&String>,
) -> Result<Option<Views>> {
    let Some(known) = known(ctx, catalog, view, "relation").await? else { return Ok(None) };
    // An empty one is none.
    let comment = comment.filter(|text| !text.is_empty()).cloned();
    let known = Known { comment, ..known };
    let name = known.place.1.clone();
    let change = again(ctx, catalog, &known, &name, true).await?;
    Ok(Some(Views { steps: vec![step(ctx, &known.place, change)], ..Views::default() }))
}

async fn drop(
    ctx: &Context<'_>,
    catalog: &mut dyn Catalog,
    statement: &Statement,
    if_exists: bool,
    cascade: bool,
) -> Result<Option<Views>> {
    let mut missing = Vec::new();
    let mut places: Vec<(&'static str, Place)> = Vec::new();
    let mut temporary = false;
    for view in &statement.tables {
        let absent = matches!(ctx.names.table(view), Meaning::Missing | Meaning::Elsewhere);
        if if_exists && absent {
            missing.push(view.name.clone());
            continue;
        }
        match place(ctx, view, "view")? {
            Some(place) if places.iter().any(|(_, known)| *known == place) => {}
            Some(place) => places.push(("view", place)),
            None => temporary = true,
        }
    }
    if temporary {
        if places.is_empty() && missing.is_empty() {
            return Ok(None);
        }
        return Err(Error::unsupported("DROP VIEW of temporary and other views together on a branch"));
    }
    let mut done = leaving(ctx, catalog, places.clone(), cascade).await?;
    done.missing = missing;
    for (_, place) in &places {
        let live = live(catalog, place).await?;
        leave(ctx, place, is_view(&live), &mut done);
    }
    Ok(Some(done))
}

/// The views that go with relations that are dropped: with CASCADE all that read them, else none may.
pub(super) async fn leaving(
    ctx: &Context<'_>,
    catalog: &mut dyn Catalog,
    dropped: Vec<(&'static str, Place)>,
    cascade: bool,
) -> Result<Views> {
    let mut done = Views::default();
    let mut going = dropped.clone();
    let mut at = 0;
    while let Some((kind, place)) = going.get(at).cloned() {
        at += 1;
        let live = live(catalog, &place).await?;
        if at > dropped.len() {
            leave(ctx, &place, is_view(&live), &mut done);
            done.cascaded.push(place.1.clone());
        }
        for reader in readers(ctx, &live, &place) {
            if going.iter().any(|(_, known)| *known == reader.place) {
                continue;
            }
            if !cascade {
                let message = format!("cannot drop {kind} {} because other objects depend on it", place.1);
                return Err(Error::new("2BP01", message)
                    .with_detail(format!("{} {} depends on {kind} {}", reader.kind, reader.place.1, place.1))
                    .with_hint("Use DROP ... CASCADE to drop the dependent objects too."));
            }
            if reader.kind != "view" {
                return Err(Error::unsupported(format!(
                    "DROP … CASCADE of what the {} \"{}\" reads on a branch",
                    reader.kind, reader.place.1
                )));
            }
            going.push(("view", reader.place));
        }
    }
    Ok(done)
}

/// A name means no view any more. `there`: main has a view of this name (a table that came there later is none of it).
fn leave(ctx: &Context<'_>, place: &Place, there: bool, done: &mut Views) {
    let own = ctx.repository.tables(ctx.checkout).own_view(ctx.backend, &named(place)).map(|t| t.id);
    match own {
        // What there was before is nothing.
        Some(id) if !there => done.forgotten.push(id),
        _ => done.steps.push(step(ctx, place, ViewChange::default())),
    }
}

/// What reads a relation.
struct Reader {
    kind: &'static str,
    place: Place,
}

/// Main's relation of a name, if main has one.
type Live = Option<Relation>;

struct Relation {
    is_view: bool,
    /// What reads it.
    readers: Vec<Reader>,
}

/// Whether main has a view of the name.
fn is_view(live: &Live) -> bool {
    live.as_ref().is_some_and(|relation| relation.is_view)
}

/// The views that read a relation on the branch: its own, and main's that it has, too.
fn readers(ctx: &Context<'_>, live: &Live, (schema, name): &Place) -> Vec<Reader> {
    let tables = ctx.repository.tables(ctx.checkout);
    let reads = |t: &&std::sync::Arc<TableDef>| {
        t.location.backend == ctx.backend
            && t.view.as_ref().is_some_and(|view| view.names(schema, name).is_some())
    };
    let own = tables.own_views().filter(reads);
    let mut found: Vec<Reader> =
        own.map(|t| Reader { kind: "view", place: super::names::location(t) }).collect();
    let ours = registered(ctx);
    let mains =
        live.iter().flat_map(|relation| &relation.readers).filter(|reader| !ours.concerns(&reader.place));
    found.extend(mains.map(|reader| Reader { kind: reader.kind, place: reader.place.clone() }));
    found
}

async fn live(catalog: &mut dyn Catalog, (schema, name): &Place) -> Result<Live> {
    let sql = format!(
        "SELECT (SELECT pg_catalog.json_agg(DISTINCT pg_catalog.jsonb_build_array(s.nspname, v.relname, v.relkind)) FROM pg_catalog.pg_depend d \
           JOIN pg_catalog.pg_rewrite r ON r.oid = d.objid JOIN pg_catalog.pg_class v ON v.oid = r.ev_class JOIN pg_catalog.pg_namespace s ON s.oid = v.relnamespace \
           WHERE d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass \
             AND d.refobjid = c.oid AND v.oid <> c.oid AND v.relpersistence <> 't')::pg_catalog.text, (c.relkind = 'v')::pg_catalog.text \
         FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = {} AND c.relname = {}",
        literal(schema),
        literal(name)
    );
    let Some(row) = catalog.query(&sql).await?.into_iter().next() else { return Ok(None) };
    let cell = |i: usize| row.get(i).and_then(Option::as_deref);
    let found: Vec<(String, String, String)> =
        cell(0).and_then(|json| serde_json::from_str(json).ok()).unwrap_or_default();
    let kind = |relkind: &str| match relkind {
        "v" => "view",
        "m" => "materialized view",
        _ => "rule on table",
    };
    let reader = |(s, n, relkind): (String, String, String)| Reader { kind: kind(&relkind), place: (s, n) };
    Ok(Some(Relation { is_view: cell(1) == Some("true"), readers: found.into_iter().map(reader).collect() }))
}

/// Refuses to rename a table that a view of the branch reads, which would go on reading it by the name that it had.
pub(super) async fn keeps_name(ctx: &Context<'_>, catalog: &mut dyn Catalog, table: &TableDef) -> Result<()> {
    let place = super::names::location(table);
    let live = live(catalog, &place).await?;
    match readers(ctx, &live, &place).into_iter().next() {
        Some(reader) => Err(is_read(&named(&place), (reader.kind, &reader.place.1))),
        None => Ok(()),
    }
}

/// A view that uses a column of a table.
struct Use {
    view: String,
    column: String,
}

/// What the branch's own views, and main's that it has, too, use of a table.
async fn uses(ctx: &Context<'_>, catalog: &mut dyn Catalog, table: &TableDef) -> Result<Vec<Use>> {
    let (schema, name) = super::names::location(table);
    let shown = ctx.repository.tables(ctx.checkout);
    let here = shown.own_views().filter(|t| t.location.backend == ctx.backend);
    let mut found = Vec::new();
    for view in here {
        let read = view.view.as_ref().and_then(|def| def.names(&schema, &name));
        let columns = read.iter().flat_map(|read| &read.columns);
        found.extend(columns.map(|c| Use { view: view.name.name.clone(), column: c.clone() }));
    }
    let sql = format!(
        "SELECT DISTINCT s.nspname, v.relname, a.attname FROM pg_catalog.pg_depend d \
           JOIN pg_catalog.pg_rewrite r ON r.oid = d.objid JOIN pg_catalog.pg_class v ON v.oid = r.ev_class JOIN pg_catalog.pg_namespace s ON s.oid = v.relnamespace \
           JOIN pg_catalog.pg_class c ON c.oid = d.refobjid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
           JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum = d.refobjsubid AND a.attnum > 0 \
         WHERE d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass \
           AND v.oid <> c.oid AND v.relpersistence <> 't' AND n.nspname = {} AND c.relname = {} ORDER BY 1, 2, 3",
        literal(&schema),
        literal(&name)
    );
    let ours = registered(ctx);
    for row in catalog.query(&sql).await? {
        let [Some(schema), Some(view), Some(column)] = row.as_slice() else { continue };
        if !ours.concerns(&(schema.clone(), view.clone())) {
            found.push(Use { view: view.clone(), column: column.clone() });
        }
    }
    Ok(found)
}

/// Refuses what would take a column from a view that the branch has, or make another one of it.
pub(super) async fn keeps_views(
    ctx: &Context<'_>,
    catalog: &mut dyn Catalog,
    table: &TableDef,
    text: &str,
) -> Result<()> {
    let altered = parse::altered(text);
    if altered.is_empty() {
        return Ok(());
    }
    let name = &table.name.name;
    let uses = uses(ctx, catalog, table).await?;
    for altered in altered {
        let (Altered::Dropped(column) | Altered::Retyped(column) | Altered::Renamed(column)) = &altered;
        let Some(Use { view, .. }) = uses.iter().find(|used| used.column == *column) else { continue };
        return Err(match altered {
            Altered::Dropped(_) => {
                let message =
                    format!("cannot drop column {column} of table {name} because other objects depend on it");
                Error::new("2BP01", message)
                    .with_detail(format!("view {view} depends on column {column} of table {name}"))
                    .with_hint("Drop the view first.")
            }
            Altered::Retyped(_) => Error::new(
                sqlstate::FEATURE_NOT_SUPPORTED,
                "cannot alter type of a column used by a view or rule",
            )
            .with_detail(format!("rule _RETURN on view {view} depends on column \"{column}\"")),
            Altered::Renamed(_) => Error::unsupported(format!(
                "renaming column \"{column}\", which view \"{view}\" reads, on a branch"
            ))
            .with_hint("Drop the view, and define it again."),
        });
    }
    Ok(())
}
