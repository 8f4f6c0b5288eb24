//! What a statement needs rights for: every table that it reads or writes, by whatever way, and nothing else.
//!
//! The server does what the proxy's role may do, whoever the client is. So of a client that doesn't have all rights, a
//! statement reaches the server only if it is shown to touch just what the client may touch. What isn't shown is
//! refused, on main too.

use epoch_adapter::{Layer, TableName};

use super::lexer::{self, TokenKind};
use super::names::{Meaning, Place, runs_text};
use super::parse::{self, Ending, How, Kind, Role, Statement, TableRef, Wrap};
use super::plan::Context;
use super::{check, lock, relations};
use crate::operations::{Checkout, Right, Target, Watch};
use crate::{Error, Result, sqlstate};

/// Refuses a statement that needs more than the session has.
pub(super) fn statement(ctx: &Context<'_>, statement: &Statement) -> Result<()> {
    let watch = ctx.repository.watch(ctx.checkout);
    if watch == Watch::Nothing {
        return Ok(());
    }
    if ctx.checkout.is_main() {
        on_main(statement)?;
        uses(ctx, statement)?;
    }
    if watch == Watch::Everything {
        two_phase(statement)?;
        let called = statement.functions.iter().map(|f| &f.name);
        let is_function = |name: &str| ctx.names.function(None, name).is_some_and(|f| f.exists);
        let attributes = statement.attributes.iter().filter(|a| !a.of_row && is_function(&a.name));
        called.chain(attributes.map(|a| &a.name)).try_for_each(|name| reaching(name))?;
    }
    for (index, table) in statement.tables.iter().enumerate() {
        if relations::find(table).is_none() {
            // As in PostgreSQL, rows are locked by who may change them.
            let locked = watch == Watch::Everything && lock::is_locked(&statement.locking, index);
            self::table(ctx, statement, table, (watch, locked))?;
        }
    }
    Ok(())
}

/// Refuses what the text of a statement shows: files and programs of the server.
pub(super) fn utility(ctx: &Context<'_>, text: &str, statement: &Statement) -> Result<()> {
    let copies = matches!(statement.kind, Kind::Copy { .. }) || statement.wrap == Wrap::CopyTo;
    if !copies || ctx.repository.watch(ctx.checkout) == Watch::Nothing {
        return Ok(());
    }
    let tokens = lexer::tokens(text)?.list;
    let outside = tokens.iter().zip(tokens.iter().skip(1)).filter(|(token, _)| token.depth == 0);
    let to_client = |word: &lexer::Token| word.is_word(text, "stdin") || word.is_word(text, "stdout");
    for (token, next) in outside {
        let place = token.is_word(text, "to") || token.is_word(text, "from");
        if place && token.kind == TokenKind::Word && !to_client(next) {
            return Err(unproven("COPY of a file or program of the server"));
        }
    }
    Ok(())
}

/// What may run on main without all rights: statements whose tables are known.
fn on_main(statement: &Statement) -> Result<()> {
    if let Wrap::Prepare(_) = statement.wrap {
        return Err(unproven("PREPARE").with_hint("Use prepared statements of the protocol."));
    }
    if let Some(what) = &statement.refused {
        return Err(unproven(what));
    }
    match &statement.kind {
        Kind::Execute { .. } => {
            Err(unproven("EXECUTE").with_hint("Use prepared statements of the protocol."))
        }
        Kind::Refused(what) => Err(unproven(what)),
        Kind::Define(define) => Err(unproven(define.what)),
        Kind::Query
        | Kind::Insert(_)
        | Kind::Update(_)
        | Kind::Delete(_)
        | Kind::Merge(_)
        | Kind::Truncate { .. }
        | Kind::Lock
        | Kind::Copy { .. }
        | Kind::Call { .. }
        | Kind::Setting(_)
        | Kind::Constraints(_)
        | Kind::Isolation(_)
        | Kind::Pass
        | Kind::TwoPhase(_)
        | Kind::Names
        | Kind::Ends(_) => Ok(()),
    }
}

/// Refuses functions, types and operators that may touch a table by themselves. (On a branch they are refused to
/// everybody.)
fn uses(ctx: &Context<'_>, statement: &Statement) -> Result<()> {
    for function in statement.functions.iter().filter(|f| !parse::is_ours(f)) {
        let found = ctx.names.function(function.schema.as_deref(), &function.name);
        let proven = found.is_some_and(|found| found.unsafe_because.is_none());
        if !proven || runs_text(&function.name) || function.name == "setval" {
            return Err(unproven(&format!("function {}()", function.name)));
        }
    }
    for attribute in &statement.attributes {
        if ctx.names.attribute(attribute).is_some() {
            return Err(unproven(&format!("function {}()", attribute.name)));
        }
    }
    for name in &statement.types {
        if let Some(function) = ctx.names.type_calls(name) {
            return Err(unproven(&format!("type {}, which calls {function}()", name.1)));
        }
    }
    for operator in &statement.operators {
        if let Some(function) = ctx.names.operator(operator) {
            return Err(unproven(&format!("operator {operator}, which calls {function}()")));
        }
    }
    Ok(())
}

/// Refuses to prepare transactions, and to end them: the server would let everybody end those of others.
fn two_phase(statement: &Statement) -> Result<()> {
    match statement.kind {
        Kind::TwoPhase(what) => Err(unproven(what)),
        Kind::Ends(Ending::Prepare) => Err(unproven("PREPARE TRANSACTION")),
        _ => Ok(()),
    }
}

/// Functions that show rows, files or what other sessions do, or that end them.
fn reaching(name: &str) -> Result<()> {
    const NAMES: &[&str] = &[
        "loread",
        "lo_get",
        "lo_export",
        "lo_open",
        "pg_stat_get_activity",
        "pg_stat_get_backend_activity",
        "pg_terminate_backend",
        "pg_cancel_backend",
        "pg_reload_conf",
        "pg_promote",
        "pg_import_system_collations",
        "get_raw_page",
        "heap_page_items",
        "bt_page_items",
        "pg_get_publication_tables",
        "pg_hba_file_rules",
        "pg_show_all_file_settings",
        "binary_upgrade_create_empty_extension",
    ];
    const BEGINNINGS: &[&str] = &[
        "pg_read_",
        "pg_ls_",
        "pg_stat_file",
        "pg_file_",
        "pg_logical_",
        "pg_replication_",
        "pg_create_",
        "pg_drop_",
        "pg_copy_",
        "pg_wal_",
        "pg_switch_",
        "pg_walfile",
        "pg_stat_statements",
        "pg_stat_reset",
        "pg_backup_",
        "pg_start_backup",
        "pg_stop_backup",
        "pg_rotate_",
        "pg_current_logfile",
        "pg_mcv_list_items",
        "pg_control_",
        "file_",
        "heap_",
        "bt_",
        "brin_",
        "gin_",
        "gist_",
        "hash_page",
        "lo_",
        "dblink",
        "postgres_fdw",
    ];
    if NAMES.contains(&name) || BEGINNINGS.iter().any(|start| name.starts_with(start)) {
        return Err(unproven(&format!("function {name}()")));
    }
    Ok(())
}

fn table(
    ctx: &Context<'_>,
    statement: &Statement,
    table: &TableRef,
    (watch, locked): (Watch, bool),
) -> Result<()> {
    let creates = matches!(&statement.kind, Kind::Define(d) if matches!(d.how, How::Create { .. } | How::CreateAs(_) | How::View(_)));
    let right = match table.role {
        _ if locked => Right::Write,
        Role::Read | Role::Sampled => Right::Read,
        // COPY … TO has its table by name only.
        Role::Named if matches!(statement.kind, Kind::Copy { from: false, .. }) => Right::Read,
        Role::Named | Role::Target | Role::Parent => Right::Write,
    };
    if right == Right::Read && watch < Watch::Everything {
        return Ok(());
    }
    match ctx.names.table(table) {
        Meaning::Temporary => Ok(()),
        Meaning::Registered(def) => ctx.repository.may(ctx.checkout, right, &def.name),
        Meaning::System if right == Right::Read => system(&table.name),
        Meaning::System | Meaning::Internal => Err(no_table(&table.name)),
        // Looked at when it is made.
        Meaning::Missing | Meaning::Elsewhere if creates => Ok(()),
        Meaning::Missing | Meaning::Elsewhere if ctx.checkout.is_main() => Err(missing(table)),
        Meaning::Missing | Meaning::Elsewhere => Ok(()),
        Meaning::Other { kind, place, reads, calls, temporary, .. } => {
            if let Some(function) = calls {
                return Err(unproven(&format!("\"{}\", which calls {function}()", place.1)));
            }
            if !temporary {
                ctx.repository.may(ctx.checkout, right, &named(&place))?;
                if right == Right::Write && matches!(kind, 'r' | 'p') {
                    on_main_too(ctx, &place)?;
                }
            }
            if right == Right::Write && kind == 'v' && ctx.checkout.is_main() {
                return Err(unproven(&format!("{} through view \"{}\"", check::command(statement), place.1)));
            }
            // A view shows what is below it to whoever reads it.
            reads.iter().filter(|read| !is_system(read)).try_for_each(|read| {
                let right = if kind == 'v' || kind == 'm' { Right::Read } else { right };
                ctx.repository.may(ctx.checkout, right, &named(read))
            })
        }
    }
}

/// 42501 unless the session may write to a table on main, wherever it is.
pub(super) fn on_main_too(ctx: &Context<'_>, place: &Place) -> Result<()> {
    let main = Checkout { name: "main".to_owned(), target: Target::Branch { layer: Layer::MAIN } };
    ctx.repository.may(&main, Right::Write, &named(place))
}

fn named((schema, name): &Place) -> TableName {
    TableName { schema: schema.clone(), name: name.clone() }
}

fn is_system((schema, _): &Place) -> bool {
    matches!(schema.as_str(), "pg_catalog" | "information_schema" | "pg_toast")
}

/// System catalogs that show rows of tables, secrets or what others do.
fn system(name: &str) -> Result<()> {
    const NAMES: &[&str] = &[
        "pg_authid",
        "pg_shadow",
        "pg_largeobject",
        "pg_user_mapping",
        "pg_user_mappings",
        "user_mapping_options",
        "_pg_user_mappings",
        "pg_subscription",
        "pg_foreign_server",
        "pg_hba_file_rules",
        "pg_ident_file_mappings",
        "pg_file_settings",
        "pg_prepared_xacts",
        "pg_seclabel",
    ];
    let shows = NAMES.contains(&name)
        || (name.starts_with("pg_statistic") && name != "pg_statistic_ext")
        || name.starts_with("pg_stats")
        || name.starts_with("pg_stat_activity")
        || name.starts_with("pg_stat_statements")
        || name.starts_with("pg_toast");
    if shows { Err(no_table(name)) } else { Ok(()) }
}

fn no_table(name: &str) -> Error {
    Error::new(sqlstate::INSUFFICIENT_PRIVILEGE, format!("permission denied for table {name}"))
        .with_detail("It shows what rights on single tables do not cover.")
}

fn missing(table: &TableRef) -> Error {
    let schema = table.schema.as_ref().map(|s| format!("{s}.")).unwrap_or_default();
    let message = format!("relation \"{schema}{}\" does not exist", table.name);
    Error::new(sqlstate::UNDEFINED_TABLE, message)
}

/// 42501: nothing shows that it keeps to what the session may touch.
fn unproven(what: &str) -> Error {
    Error::new(sqlstate::INSUFFICIENT_PRIVILEGE, format!("permission denied for {what}")).with_detail(
        "It is not known which tables it touches, or it needs the right to administer all branches.",
    )
}
