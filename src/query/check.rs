//! What is refused before anything is rewritten: on a branch, whatever could read or write past it.

use epoch_adapter::schema_of_draft;
use epoch_adapter_postgres::layout;

use super::errors::is_hidden;
use super::names::{Meaning, Place, internal, registered, runs_text};
use super::parse::{Constant, Define, How, Kind, Role, Statement, TableRef, ViewHow, Wrap};
use super::plan::Context;
use super::{relations, rights, views};
use crate::operations::Watch;
use crate::{Error, Result, sqlstate};

/// Refuses what the session may not do with `statement`.
pub(super) fn statement(ctx: &Context<'_>, statement: &Statement) -> Result<()> {
    // A table to be made isn't there yet.
    let creates = |how: &How| matches!(how, How::Create { .. } | How::View(ViewHow::Create { .. }));
    let made = usize::from(matches!(&statement.kind, Kind::Define(d) if creates(&d.how)));
    for table in statement.tables.iter().skip(made) {
        ours(ctx, table)?;
    }
    settings(ctx, statement)?;
    rights::statement(ctx, statement)?;
    if ctx.checkout.is_main() {
        return Ok(());
    }
    if let Kind::Define(define @ Define { how: How::CreateAs(_), .. }) = &statement.kind {
        // Its query is planned, and looked at, on its own.
        return if ctx.checkout.is_branch() { Ok(()) } else { Err(read_only(define.what)) };
    }
    if let Kind::Define(define @ Define { how: How::Type(_), .. }) = &statement.kind
        && !ctx.checkout.is_branch()
    {
        return Err(read_only(define.what));
    }
    if let Kind::Refused(what) = &statement.kind {
        return Err(Error::unsupported(format!("{what} on a branch")));
    }
    if let Some(what) = &statement.refused {
        return Err(Error::unsupported(format!("{what} on a branch")));
    }
    for column in &statement.columns {
        if let Some(Some(name)) = column.fields.last()
            && is_hidden(name)
        {
            return Err(Error::new(sqlstate::UNDEFINED_COLUMN, format!("column \"{name}\" does not exist")));
        }
    }
    system_columns(ctx, statement)?;
    functions(ctx, statement)?;
    for table in &statement.tables {
        self::table(ctx, statement, table)?;
    }
    Ok(())
}

/// Refuses tables that were changed past us, on whatever but main: what they would show isn't known.
pub(super) async fn sound(ctx: &Context<'_>, statement: &Statement) -> Result<()> {
    if ctx.checkout.is_main() {
        return Ok(());
    }
    for table in &statement.tables {
        if let Meaning::Registered(def) = ctx.names.table(table) {
            ctx.repository.sound(&def).await?;
        }
    }
    for def in views::tables(ctx, statement) {
        ctx.repository.sound(&def).await?;
    }
    Ok(())
}

/// A row of a branch has no place of its own, nor the transaction that wrote it: it may be main's.
fn system_columns(ctx: &Context<'_>, statement: &Statement) -> Result<()> {
    const NAMES: &[&str] = &["ctid", "xmin", "xmax", "cmin", "cmax", "tableoid"];
    let versioned = |table: &&TableRef| matches!(ctx.names.table(table), Meaning::Registered(_));
    for column in &statement.columns {
        let [of @ .., Some(name)] = column.fields.as_slice() else { continue };
        if !NAMES.contains(&name.as_str()) {
            continue;
        }
        let mut tables = statement.tables.iter().filter(versioned);
        let meant = match of.last() {
            Some(Some(of)) => tables.any(|t| t.called() == of),
            _ => tables.next().is_some(),
        };
        if meant {
            return Err(Error::unsupported(format!(
                "system column \"{name}\" of a versioned table on a branch"
            ))
            .with_hint("Use the table's key."));
        }
    }
    Ok(())
}

/// Objects of ours are read by their own relations only, on every ref.
fn ours(ctx: &Context<'_>, table: &TableRef) -> Result<()> {
    let Some(schema) = table.schema.as_deref() else { return Ok(()) };
    if schema == layout::SCHEMA {
        return match (relations::find(table), table.role) {
            (Some(_), Role::Read) => Ok(()),
            (Some(_), _) => Err(Error::unsupported(format!("changing {schema}.{}", table.name))),
            (None, _) => Err(Error::new(
                sqlstate::UNDEFINED_TABLE,
                format!("relation \"{schema}.{}\" does not exist", table.name),
            )),
        };
    }
    let Some(base) = schema.strip_prefix("epoch_") else { return Ok(()) };
    if registered(ctx).has_schema(base) || schema_of_draft(schema).is_some() {
        return Err(internal(&format!("{schema}.{}", table.name)));
    }
    Ok(())
}

/// Settings of ours can't be set by a function.
fn settings(ctx: &Context<'_>, statement: &Statement) -> Result<()> {
    for function in statement.functions.iter().filter(|f| f.name == "set_config") {
        match function.arguments.first().map(|a| &a.value) {
            Some(Constant::Text(name)) if may_be_set(ctx, name) => {}
            _ => {
                return Err(Error::unsupported(
                    "set_config() of a setting of ours, of one that isn't a constant, or of one that a branch relies on",
                )
                .with_hint("Write SET epoch.x = 'value'."));
            }
        }
    }
    Ok(())
}

/// Whether a function may set it. On a branch, bytes and quotes must mean what the lexer takes them for, and
/// triggers must fire.
fn may_be_set(ctx: &Context<'_>, name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let relied_on = matches!(
        name.as_str(),
        "client_encoding" | "standard_conforming_strings" | "session_replication_role"
    );
    let role = ctx.repository.in_block() && matches!(name.as_str(), "role" | "session_authorization");
    let watched = ctx.repository.watch(ctx.checkout) > Watch::Nothing;
    !role && !name.starts_with("epoch") && ((ctx.checkout.is_main() && !watched) || !relied_on)
}

/// Whether it calls `set_config('search_path', …)` or the like, which changes what names mean.
pub(super) fn sets_search_path(statement: &Statement) -> bool {
    statement.functions.iter().any(|f| f.name == "set_config")
}

fn functions(ctx: &Context<'_>, statement: &Statement) -> Result<()> {
    for function in &statement.functions {
        if super::parse::is_ours(function) {
            continue;
        }
        let shown = function.shown();
        if function.schema.as_deref() == Some(layout::SCHEMA) {
            return Err(Error::new(
                sqlstate::INSUFFICIENT_PRIVILEGE,
                format!("function {shown}() belongs to the storage of branches"),
            ));
        }
        if function.name == "setval" {
            return Err(Error::unsupported("function setval() on a branch")
                .with_detail("Sequences are shared by main and all branches.")
                .with_hint("Call it on main."));
        }
        if runs_text(&function.name) {
            return Err(Error::unsupported(format!("function {shown}() on a branch")));
        }
        if let Some(found) = ctx.names.function(function.schema.as_deref(), &function.name)
            && let Some(language) = &found.unsafe_because
        {
            return Err(Error::unsupported(format!("function {shown}() in language {language} on a branch"))
                .with_detail("It may read or write tables past the branch.")
                .with_hint("A function is called if it is declared IMMUTABLE, or if its body, in SQL or PL/pgSQL, is one query, or names no table and calls no function that does."));
        }
    }
    for attribute in &statement.attributes {
        if let Some(language) = ctx.names.attribute(attribute) {
            return Err(Error::unsupported(format!(
                "function {}() in language {language} as a column on a branch",
                attribute.name
            ))
            .with_detail("It may read or write tables past the branch."));
        }
    }
    for name in &statement.types {
        if let Some(schema) = name.0.as_deref().filter(|s| schema_of_draft(s).is_some()) {
            let message = format!("type \"{schema}.{}\" does not exist", name.1);
            return Err(Error::new(sqlstate::UNDEFINED_OBJECT, message));
        }
        if let Some(function) = ctx.names.type_calls(name) {
            return Err(Error::unsupported(format!("type {} on a branch", name.1)).with_detail(format!(
                "One of its casts or checks calls {function}(), which may read or write tables past the branch."
            )));
        }
    }
    for operator in &statement.operators {
        if let Some(function) = ctx.names.operator(operator) {
            return Err(Error::unsupported(format!("operator {operator} on a branch")).with_detail(format!(
                "Its function {function}() may read or write tables past the branch."
            )));
        }
    }
    Ok(())
}

fn table(ctx: &Context<'_>, statement: &Statement, table: &TableRef) -> Result<()> {
    if relations::find(table).is_some() {
        return Ok(());
    }
    if table.catalog.is_some() {
        return Err(Error::unsupported("a table name with a database on a branch"));
    }
    let shown = table.schema.as_deref().map_or_else(|| table.name.clone(), |s| format!("{s}.{}", table.name));
    let meaning = ctx.names.table(table);
    match (&statement.kind, &meaning, table.role) {
        (_, Meaning::Internal, _) => return Err(internal(&shown)),
        // Looked at when it is planned.
        (Kind::Define(_), _, Role::Parent) => return Ok(()),
        (Kind::Define(define), ..) => return definition(ctx, define, &meaning, &shown),
        (_, Meaning::Registered(_), Role::Sampled) => {
            return Err(Error::unsupported("TABLESAMPLE of a registered table on a branch"));
        }
        (kind, Meaning::Registered(def), role)
            if table.only
                && ctx.names.is_partitioned(def)
                && (role != Role::Read
                    || matches!(kind, Kind::Truncate { .. } | Kind::Lock)
                    || !statement.locking.is_empty()) =>
        {
            return Err(Error::unsupported(format!("ONLY of the partitioned table \"{shown}\" on a branch")));
        }
        (_, Meaning::Registered(_), Role::Target)
            if !ctx.checkout.is_branch() && !matches!(statement.wrap, Wrap::Explain { analyze: false }) =>
        {
            return Err(read_only(command(statement)));
        }
        (Kind::Copy { .. } | Kind::Truncate { .. }, Meaning::Other { kind: 'v', .. }, _) => {
            return Err(not_a_table(&statement.kind, &table.name));
        }
        (_, Meaning::Other { .. } | Meaning::System, Role::Target) => {
            if !ctx.checkout.is_branch() {
                return Err(read_only(command(statement)));
            }
            if views::definition(ctx, &TableRef { role: Role::Read, ..table.clone() }).is_some() {
                return Err(through_view(statement, &shown));
            }
            if let Some(place) = written_past(ctx, statement, &meaning) {
                // The table is main's: it takes the right to write to main, and that main may be written to.
                return rights::on_main_too(ctx, place);
            }
            return Err(Error::unsupported(format!(
                "writing to table \"{shown}\", which is not versioned, on a branch"
            ))
            .with_hint(format!(
                "SELECT epoch_register({}), write to it on main, or SET epoch.unversioned_writes = 'allow'.",
                layout::literal(&shown).trim()
            )));
        }
        // Not passed on: by then it may be a table of main that somebody has just made.
        (_, Meaning::Missing, Role::Target) | (_, Meaning::Elsewhere, _) => {
            return Err(missing(statement, table, &shown));
        }
        // Its query takes its place, and is checked then.
        (_, Meaning::Other { .. }, Role::Read) if views::definition(ctx, table).is_some() => {}
        (_, Meaning::Other { kind, reads, calls, .. }, _) => {
            reads_past(ctx, &shown, *kind, reads, calls.as_deref())?
        }
        _ => {}
    }
    Ok(())
}

/// The table, if the session wants to write to tables that aren't versioned, and this is one, in a statement that changes
/// rows.
fn written_past<'a>(ctx: &Context<'_>, statement: &Statement, meaning: &'a Meaning) -> Option<&'a Place> {
    let Meaning::Other { kind: 'r', place, reads, .. } = meaning else { return None };
    // Through a parent its children are written to, and these may be versioned.
    if !reads.is_empty() {
        return None;
    }
    let rows = matches!(
        statement.kind,
        Kind::Insert(_) | Kind::Update(_) | Kind::Delete(_) | Kind::Copy { from: true, .. }
    );
    (ctx.names.writes_unversioned() && rows).then_some(place)
}

/// Data definition of temporary tables is the server's, that of versioned tables ours; that of others isn't possible.
fn definition(ctx: &Context<'_>, define: &Define, meaning: &Meaning, shown: &str) -> Result<()> {
    if matches!(define.how, How::Create { .. } | How::View(_)) {
        return if ctx.checkout.is_branch() { Ok(()) } else { Err(read_only(define.what)) };
    }
    match (meaning, &define.how) {
        (Meaning::Temporary | Meaning::Missing | Meaning::Other { temporary: true, .. }, _) => Ok(()),
        (Meaning::Registered(_), how) => match how {
            _ if !ctx.checkout.is_branch() => Err(read_only(define.what)),
            How::Never(what) => Err(Error::unsupported(format!("{what} on a branch"))),
            _ => Ok(()),
        },
        // By ALTER TABLE a view is renamed as well as by ALTER VIEW.
        (Meaning::Other { kind: 'v', .. }, How::Move { .. }) if ctx.checkout.is_branch() => Ok(()),
        // An index has the name of its own.
        (Meaning::Other { kind: 'i', .. }, How::DropIndex { .. } | How::RenameIndex { .. })
            if ctx.checkout.is_branch() =>
        {
            Ok(())
        }
        (
            Meaning::Elsewhere,
            How::Alter
            | How::Move { .. }
            | How::DropTable { .. }
            | How::DropIndex { .. }
            | How::RenameIndex { .. },
        ) => Ok(()),
        _ => Err(Error::unsupported(format!("{} on a branch", define.what))
            .with_detail(format!("Table \"{shown}\" is neither a temporary one nor a versioned one."))),
    }
}

/// Of a view over versioned tables.
fn through_view(statement: &Statement, shown: &str) -> Error {
    let what = format!("{} through the view \"{shown}\" on a branch", command(statement));
    Error::unsupported(what)
        .with_detail("The view isn't one over a single table, or the statement uses names that it hides.")
        .with_hint("Write to its table.")
}

/// What PostgreSQL says of COPY and TRUNCATE of a view.
fn not_a_table(kind: &Kind, name: &str) -> Error {
    const CODE: &str = "42809";
    match kind {
        Kind::Copy { from: true, .. } => Error::new(CODE, format!("cannot copy to view \"{name}\""))
            .with_hint("To enable copying to a view, provide an INSTEAD OF INSERT trigger."),
        Kind::Copy { .. } => Error::new(CODE, format!("cannot copy from view \"{name}\""))
            .with_hint("Try the COPY (SELECT ...) TO variant."),
        _ => Error::new(CODE, format!("\"{name}\" is not a table")),
    }
}

/// As PostgreSQL says it; TRUNCATE and COPY don't say where.
fn missing(statement: &Statement, table: &TableRef, shown: &str) -> Error {
    let error = Error::new(sqlstate::UNDEFINED_TABLE, format!("relation \"{shown}\" does not exist"));
    match statement.kind {
        Kind::Truncate { .. } | Kind::Copy { .. } => error,
        _ => error.with_position(table.position),
    }
}

/// A relation that reads registered tables on its own would show main.
pub(super) fn reads_past(
    ctx: &Context<'_>,
    shown: &str,
    kind: char,
    reads: &[(String, String)],
    calls: Option<&str>,
) -> Result<()> {
    let what = match kind {
        'v' => "view",
        'm' => "materialized view",
        _ => "table",
    };
    let ours = registered(ctx);
    if let Some((_, name)) = reads.iter().find(|r| ours.concerns(r)) {
        return Err(Error::unsupported(format!("{what} \"{shown}\" on a branch"))
            .with_detail(format!("It reads the registered table \"{name}\" and would show main's rows."))
            .with_hint("Write its query in the place of its name."));
    }
    if let Some(function) = calls {
        return Err(Error::unsupported(format!("{what} \"{shown}\" on a branch")).with_detail(format!(
            "It calls the function {function}(), which may read tables past the branch."
        )));
    }
    Ok(())
}

/// What PostgreSQL calls a statement that can't be executed.
pub(super) fn command(statement: &Statement) -> &'static str {
    match statement.kind {
        Kind::Insert(_) => "INSERT",
        Kind::Update(_) => "UPDATE",
        Kind::Delete(_) => "DELETE",
        Kind::Merge(_) => "MERGE",
        Kind::Truncate { .. } => "TRUNCATE TABLE",
        Kind::Lock => "LOCK TABLE",
        Kind::Copy { .. } => "COPY FROM",
        Kind::Query if !statement.nested.is_empty() => "SELECT",
        _ if !statement.locking.is_empty() => "SELECT FOR UPDATE",
        _ => "this statement",
    }
}

/// 25006, as PostgreSQL says it.
pub(super) fn read_only(what: &str) -> Error {
    Error::new(
        sqlstate::READ_ONLY_SQL_TRANSACTION,
        format!("cannot execute {what} in a read-only transaction"),
    )
    .with_detail("The session is on a commit, which never changes.")
    .with_hint("Make a branch of it: SELECT epoch_checkout('-b', 'name').")
}
