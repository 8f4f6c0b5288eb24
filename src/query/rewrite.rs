//! References to registered tables are spliced onto what the session's ref shows of them.

use std::sync::Arc;

use epoch_adapter::TableDef;
use epoch_adapter_postgres::layout::{overlay, quote};
use epoch_adapter_postgres::relation;

use super::form::{self, Form};
use super::lift::{self, Lifted};
use super::names::{Catalog, Meaning};
use super::parse::{Kind, Parsed, Role, Statement, TableRef, Wrap};
use super::plan::{Context, Plan, Prelude, Rewritten, state};
use super::text::{Edits, compact_parameters};
use super::{catalogs, check, constraints, lock, psql, relations, views, write};
use crate::{Error, Result};

/// A statement while it is rewritten.
pub(super) struct Rewriter<'a> {
    pub sql: &'a str,
    pub parsed: &'a Parsed,
    pub statement: &'a Statement,
    pub edits: Edits,
    pub form: Form,
    /// Statements that run before it.
    pub prelude: Vec<String>,
    pub writes: bool,
    /// What the client is told that it was.
    pub tag: Option<&'static str>,
}

/// Rewrites a statement; relays it if there is nothing to rewrite.
pub(super) async fn statement(
    ctx: &mut Context<'_>,
    catalog: &mut dyn Catalog,
    sql: &str,
    parsed: &Parsed,
    statement: &Statement,
) -> Result<Plan> {
    let range = statement.range.clone();
    let mut rewriter = Rewriter::new(sql, parsed, statement, Form::Selective);
    let late = relations::splice(ctx, &mut rewriter).await?;
    psql::list_functions(&mut rewriter);
    catalogs::hide(ctx, &mut rewriter);
    if ctx.checkout.is_main() {
        rewriter.columns(ctx)?;
    } else {
        on_branch(ctx, catalog, &mut rewriter).await?;
    }
    note_wrap(ctx, statement);
    if rewriter.edits.is_empty() && rewriter.prelude.is_empty() {
        return Ok(Plan::Relay { range });
    }
    let worthwhile = !ctx.checkout.is_main() && !late && rewriter.form != Form::Scanning;
    let lifted = if worthwhile { lifted(ctx, catalog, &rewriter).await? } else { None };
    rewriter.finish(late, lifted).map(|rewritten| Plan::Rewritten(Arc::new(rewritten)))
}

/// Everything but relations of ours.
async fn on_branch(
    ctx: &mut Context<'_>,
    catalog: &mut dyn Catalog,
    rewriter: &mut Rewriter<'_>,
) -> Result<()> {
    let (sql, parsed, statement) = (rewriter.sql, rewriter.parsed, rewriter.statement);
    let mut tables = rewriter.registered(ctx);
    tables.extend(views::tables(ctx, statement));
    if !tables.is_empty() {
        rewriter.form = form::choose(ctx, catalog, sql, parsed, statement, &tables).await?;
    }
    write::prepare(ctx, statement).await?;
    views::splice(ctx, catalog, rewriter).await?;
    let locked = rewriter.reads(ctx)?;
    rewriter.columns(ctx)?;
    if !statement.nested.is_empty() && statement.locks.is_some() {
        return Err(Error::unsupported("FOR UPDATE or FOR SHARE beside a data-modifying WITH on a branch"));
    }
    lock::rows(ctx, rewriter, &locked).await?;
    write::targets(ctx, catalog, rewriter).await?;
    if statement.kind == Kind::Lock {
        rewriter.lock_tables(ctx);
    }
    if let Kind::Constraints(names) = &statement.kind {
        constraints::set(catalog, rewriter, names).await?;
    }
    if let Kind::Truncate { cascade, restart } = statement.kind {
        write::truncate::tables(ctx, catalog, rewriter, cascade, restart).await?;
    }
    Ok(())
}

/// The form of the statement that the server can keep prepared. One that writes is rewritten once more,
/// with parameters in the place of constants from the beginning, so that its prelude has them too.
async fn lifted(
    ctx: &mut Context<'_>,
    catalog: &mut dyn Catalog,
    plain: &Rewriter<'_>,
) -> Result<Option<Lifted>> {
    let Some(constants) = lift::constants(plain.sql, plain.parsed, plain.statement) else { return Ok(None) };
    let mut rewriter = Rewriter::new(plain.sql, plain.parsed, plain.statement, plain.form);
    rewriter.edits = constants.edits;
    if plain.prelude.is_empty() {
        rewriter.edits.append(plain.edits.clone());
    } else {
        on_branch(ctx, catalog, &mut rewriter).await?;
    }
    let (sql, kept) = rewriter.edits.render(rewriter.sql, &rewriter.statement.range);
    let prelude = rewriter.prelude.into_iter().map(numbered).collect::<Result<_>>()?;
    let (types, values) = (constants.types, constants.values);
    Ok(Some(Lifted { prelude, sql, types, values, returns: constants.returns, kept }))
}

fn numbered(text: String) -> Result<Prelude> {
    compact_parameters(&text).map(|(sql, params)| Prelude { sql, params })
}

/// What a statement around the query does to the session.
fn note_wrap(ctx: &mut Context<'_>, statement: &Statement) {
    match &statement.wrap {
        Wrap::CreateTemp => ctx.names.unsettle(),
        Wrap::Prepare(name) if !ctx.checkout.is_main() => {
            let state = state(ctx);
            ctx.names.prepare(name, state);
        }
        _ => {}
    }
    if check::sets_search_path(statement) {
        ctx.names.unsettle();
    }
}

impl<'a> Rewriter<'a> {
    /// Nothing rewritten yet.
    pub fn new(sql: &'a str, parsed: &'a Parsed, statement: &'a Statement, form: Form) -> Self {
        let edits = Edits::default();
        Self { sql, parsed, statement, edits, form, prelude: Vec::new(), writes: false, tag: None }
    }
}

impl Rewriter<'_> {
    /// The registered tables of the statement.
    fn registered(&self, ctx: &Context<'_>) -> Vec<Arc<TableDef>> {
        let found = self.statement.tables.iter().filter_map(|t| match ctx.names.table(t) {
            Meaning::Registered(def) if relations::find(t).is_none() => Some(def),
            _ => None,
        });
        found.collect()
    }

    /// What the session's ref shows of a table, in brackets (or its plain name).
    pub fn shown(&self, ctx: &Context<'_>, table: &TableDef) -> Result<String> {
        let view = ctx.repository.view(ctx.checkout, table)?;
        Ok(match self.form {
            Form::Selective => relation::selective(table, &view),
            Form::Scanning => relation::scanning(table, &view),
        })
    }

    /// Splices the tables that are read; returns those whose rows are locked, which are not.
    pub fn reads(&mut self, ctx: &Context<'_>) -> Result<Vec<(TableRef, Arc<TableDef>)>> {
        let locks = self.statement.locks.as_ref();
        let mut locked = Vec::new();
        for table in &self.statement.tables {
            if table.role != Role::Read || relations::find(table).is_some() {
                continue;
            }
            let Meaning::Registered(def) = ctx.names.table(table) else { continue };
            if table.only && ctx.names.is_partitioned(&def) {
                // It has no rows itself, on any ref.
                continue;
            }
            if locks
                .is_some_and(|l| table.level == 0 && (l.is_empty() || l.iter().any(|n| n == table.called())))
            {
                locked.push((table.clone(), def));
                continue;
            }
            let relation = self.shown(ctx, &def)?;
            self.put(table, &relation);
        }
        if let Some(names) = locks
            && self.locks_more(ctx, names)
        {
            return Err(Error::unsupported("FOR UPDATE or FOR SHARE of a sub-select on a branch"));
        }
        Ok(locked)
    }

    /// Whether a lock reaches into sub-selects of FROM that read registered tables.
    fn locks_more(&self, ctx: &Context<'_>, names: &[String]) -> bool {
        let inner = |t: &TableRef| t.level > 0 && matches!(ctx.names.table(t), Meaning::Registered(_));
        let outer = |n: &String| self.statement.tables.iter().any(|t| t.level == 0 && t.called() == n);
        let everything = names.is_empty() || !names.iter().all(outer);
        everything && self.statement.tables.iter().any(inner)
    }

    /// Puts a relation in the place of a table's name, which stays its alias.
    pub fn put(&mut self, table: &TableRef, relation: &str) {
        let alias = if table.alias.is_some() { String::new() } else { format!(" AS {}", quote(&table.name)) };
        let from = if table.command { "SELECT * FROM " } else { "" };
        self.edits.replace(table.range.clone(), format!("{from}{relation}{alias}"));
    }

    /// LOCK TABLE keeps out who writes the table on any branch; nobody on main waits.
    fn lock_tables(&mut self, ctx: &Context<'_>) {
        for table in &self.statement.tables {
            if let Meaning::Registered(def) = ctx.names.table(table) {
                self.edits.replace(table.range.clone(), overlay(&def));
            }
        }
    }

    /// `public.users.id` is a column of what has the alias `users` now.
    pub fn columns(&mut self, ctx: &Context<'_>) -> Result<()> {
        for column in &self.statement.columns {
            let [.., schema, table, _] = column.fields.as_slice() else { continue };
            let (Some(schema), Some(table)) = (schema, table) else { continue };
            let named = |t: &&TableRef| t.alias.is_none() && t.name == *table;
            let Some(found) = self.statement.tables.iter().find(|t| {
                let here = match ctx.names.table(t) {
                    Meaning::Registered(d) => d.location.schema.as_deref() == Some(schema),
                    _ if catalogs::schema(ctx, t) == Some(schema.as_str()) => true,
                    _ => t.schema.as_ref() == Some(schema) && views::definition(ctx, t).is_some(),
                };
                named(t) && here
            }) else {
                continue;
            };
            let others = self
                .statement
                .tables
                .iter()
                .filter(named)
                .any(|t| ctx.names.table(t) != ctx.names.table(found));
            if column.fields.len() > 3 || others || self.statement.aliases.iter().any(|a| a == table) {
                return Err(Error::unsupported(format!(
                    "the column name {schema}.{table}.… where {table} names several things"
                )));
            }
            let first = self.parsed.tokens.at(column.start);
            let (Some(start), Some(end)) = (self.parsed.tokens.get(first), self.parsed.tokens.get(first + 2))
            else {
                continue;
            };
            self.edits.replace(start.start..end.start, "");
        }
        Ok(())
    }

    fn finish(self, late: bool, lifted: Option<Lifted>) -> Result<Rewritten> {
        let range = self.statement.range.clone();
        let (sql, kept) = self.edits.render(self.sql, &range);
        let runs = match &self.statement.wrap {
            Wrap::None => true,
            Wrap::Explain { analyze } => *analyze,
            Wrap::CopyTo => true,
            _ if self.prelude.is_empty() => true,
            _ => return Err(Error::unsupported("this statement inside of another one on a branch")),
        };
        let prelude = if runs { self.prelude } else { Vec::new() };
        Ok(Rewritten {
            range,
            prelude: prelude.into_iter().map(numbered).collect::<Result<_>>()?,
            sql,
            command: check::command(self.statement),
            tag: self.tag,
            late,
            writes: self.writes && runs,
            settings: if matches!(self.statement.kind, Kind::Copy { .. }) {
                Vec::new()
            } else {
                form::settings(self.form)
            },
            lifted,
            kept,
        })
    }
}
