//! References to registered tables are spliced onto what the session's ref shows of them.

use std::ops::Range;
use std::sync::Arc;

use epoch_adapter::{Layer, TableDef};
use epoch_adapter_postgres::layout::{overlay, quote};
use epoch_adapter_postgres::relation;

use super::form::{self, Form};
use super::lexer::{self, TokenKind};
use super::lift::{self, Lifted};
use super::lock::{self, Locked};
use super::names::{Catalog, Meaning, location};
use super::parse::{Kind, Parsed, Role, Statement, TableRef, Wrap};
use super::plan::{Context, Plan, Prelude, Rewritten};
use super::text::{Edits, compact_parameters};
use super::{
    barrier, catalogs, check, constraints, execute, fixed, grouped, origin, psql, relations, serializable,
    types, views, write,
};
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
    /// Tables whose rows it locks.
    pub locked: Vec<Locked>,
    /// It must be planned each time that it is bound.
    pub late: bool,
    /// What new rows are checked against, because they are written through a view.
    pub checks: Option<String>,
    /// It holds what the branch's catalogs are now.
    pub mapped: bool,
}

/// Rewrites a statement; relays it if there is nothing to rewrite. `checks`: what new rows are checked against.
pub(super) async fn statement(
    ctx: &mut Context<'_>,
    catalog: &mut dyn Catalog,
    sql: &str,
    parsed: &Parsed,
    statement: &Statement,
    checks: Option<String>,
) -> Result<Plan> {
    let range = statement.range.clone();
    let mut rewriter = Rewriter::new(sql, parsed, statement, Form::Selective);
    rewriter.checks = checks;
    rewriter.late = relations::splice(ctx, catalog, &mut rewriter).await?;
    psql::list_functions(&mut rewriter);
    let late = catalogs::show(ctx, catalog, &mut rewriter).await?;
    rewriter.late |= late;
    if ctx.checkout.is_main() {
        if rewriter.late {
            // Which functions return many rows must be known.
            let tables = ctx.repository.tables(ctx.checkout);
            let generation = ctx.repository.generation();
            ctx.names.learn(&[statement], &tables, ctx.backend, generation, catalog).await?;
            barrier::raise(ctx, &mut rewriter, false);
        }
        rewriter.columns(ctx)?;
    } else {
        on_branch(ctx, catalog, &mut rewriter).await?;
    }
    note_wrap(ctx, statement);
    if rewriter.is_unchanged() {
        execute::note(ctx, sql, statement, None);
        return Ok(Plan::Relay { range });
    }
    let worthwhile = !ctx.checkout.is_main()
        && !rewriter.late
        && rewriter.checks.is_none()
        && !rewriter.mapped
        // Constants are in strict relations, too.
        && ctx.repository.sees_all()
        && rewriter.form != Form::Scanning;
    let lifted = if worthwhile { lifted(ctx, catalog, &rewriter).await? } else { None };
    let fixed = fixed::result(ctx, statement);
    let mut rewritten = rewriter.finish(lifted.filter(|l| fixed || !l.returns))?;
    rewritten.fixed = fixed;
    if !ctx.checkout.is_main() {
        rewritten.origins = origin::of(ctx, statement);
    }
    execute::note(ctx, sql, statement, Some(&mut rewritten));
    Ok(Plan::Rewritten(Arc::new(rewritten)))
}

/// Everything but relations of ours.
async fn on_branch(
    ctx: &mut Context<'_>,
    catalog: &mut dyn Catalog,
    rewriter: &mut Rewriter<'_>,
) -> Result<()> {
    let (sql, parsed, statement) = (rewriter.sql, rewriter.parsed, rewriter.statement);
    rewriter.edits.append(types::edits(ctx, sql, statement)?);
    let mut tables = rewriter.registered(ctx);
    tables.extend(views::tables(ctx, statement));
    if !tables.is_empty() {
        rewriter.form = form::choose(ctx, catalog, sql, parsed, statement, &tables).await?;
    }
    write::prepare(ctx, statement).await?;
    serializable::prepare(ctx, catalog, statement).await?;
    if rewriter.late || !tables.is_empty() {
        barrier::raise(ctx, rewriter, false);
    }
    views::splice(ctx, catalog, rewriter).await?;
    let locked = rewriter.reads(ctx)?;
    rewriter.columns(ctx)?;
    grouped::columns(ctx, rewriter)?;
    lock::rows(ctx, rewriter, locked).await?;
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
    write::cursor::declare(ctx, rewriter);
    lock::once(rewriter);
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
    let lift::Constants { edits, types, values, places, returns, .. } = constants;
    let mut rewriter = Rewriter::new(plain.sql, plain.parsed, plain.statement, plain.form);
    rewriter.edits = edits;
    if plain.prelude.is_empty() {
        rewriter.edits.append(plain.edits.clone());
    } else {
        on_branch(ctx, catalog, &mut rewriter).await?;
    }
    let (sql, kept) = rewriter.edits.render(rewriter.sql, &rewriter.statement.range);
    let prelude = rewriter.prelude.into_iter().map(numbered).collect::<Result<_>>()?;
    Ok(Some(Lifted { prelude, sql, types, values, places, returns, kept }))
}

fn numbered(text: String) -> Result<Prelude> {
    let tokens = lexer::tokens(&text)?;
    let clients = |t: &lexer::Token| t.kind == TokenKind::Str && !relation::is_own_string(t.text(&text));
    let strings = tokens.list.iter().any(clients);
    let (sql, params) = compact_parameters(&text, &tokens);
    Ok(Prelude { sql, params, strings })
}

/// What a statement around the query does to the session.
fn note_wrap(ctx: &mut Context<'_>, statement: &Statement) {
    if statement.wrap == Wrap::CreateTemp {
        ctx.names.unsettle();
    }
    if check::sets_search_path(statement) {
        ctx.names.unsettle();
    }
}

impl<'a> Rewriter<'a> {
    /// Nothing rewritten yet.
    pub fn new(sql: &'a str, parsed: &'a Parsed, statement: &'a Statement, form: Form) -> Self {
        let edits = Edits::default();
        let (prelude, locked) = (Vec::new(), Vec::new());
        Self {
            sql,
            parsed,
            statement,
            edits,
            form,
            prelude,
            writes: false,
            tag: None,
            locked,
            late: false,
            checks: None,
            mapped: false,
        }
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

    /// What the session's ref shows of a table of the statement, in brackets (or its plain name).
    pub fn shown(&self, ctx: &Context<'_>, table: &TableRef, def: &TableDef) -> Result<String> {
        let view = ctx.repository.view(ctx.checkout, def)?;
        let shown = match self.form {
            Form::Selective => relation::selective(def, &view),
            Form::Ranging => relation::ranging(def, &view),
            Form::Scanning => relation::scanning(def, &view),
        };
        Ok(barrier::strict::relation(ctx, self, (table, def), shown))
    }

    /// What of main a branch still shows of a table of the statement.
    pub fn below(&self, ctx: &Context<'_>, table: &TableRef, (def, layer): (&TableDef, Layer)) -> String {
        let shown = match self.form {
            Form::Selective | Form::Ranging => relation::base_part(def, layer),
            Form::Scanning => relation::base_part_scanning(def, layer),
        };
        barrier::strict::relation(ctx, self, (table, def), shown)
    }

    /// Splices the tables that are read; returns those whose rows are locked, which are not.
    pub fn reads(&mut self, ctx: &Context<'_>) -> Result<Vec<(usize, Arc<TableDef>)>> {
        let mut locked = Vec::new();
        for (index, table) in self.statement.tables.iter().enumerate() {
            if table.role != Role::Read || relations::find(table).is_some() {
                continue;
            }
            let Meaning::Registered(def) = ctx.names.table(table) else { continue };
            if table.only && ctx.names.is_partitioned(&def) {
                // It has no rows itself, on any ref.
                continue;
            }
            if lock::is_locked(&self.statement.locking, index) {
                locked.push((index, def));
                continue;
            }
            let relation = self.shown(ctx, table, &def)?;
            self.put(table, &relation);
        }
        Ok(locked)
    }

    /// Puts a relation in the place of a table's name, which stays its alias.
    pub fn put(&mut self, table: &TableRef, relation: &str) {
        self.edits.replace(table.range.clone(), placed(table, relation));
    }

    /// A part of the text as it is evaluated before the statement runs: whose rows are locked is read as
    /// the branch shows it, and what may be left out is.
    pub fn evaluated(&self, range: &Range<usize>) -> String {
        self.evaluate(range, |locked| &locked.shown)
    }

    /// As [`Rewriter::evaluated`], with another relation in the place of one of the locked tables.
    pub fn evaluated_with(&self, range: &Range<usize>, index: usize, relation: &str) -> String {
        self.evaluate(range, |locked| if locked.index == index { relation } else { &locked.shown })
    }

    fn evaluate<'r>(&'r self, range: &Range<usize>, relation: impl Fn(&'r Locked) -> &'r str) -> String {
        let relaxed = &self.statement.relaxed;
        if self.locked.is_empty() && relaxed.cuts.is_empty() {
            return self.edits.render(self.sql, range).0;
        }
        let mut edits = self.edits.clone();
        for locked in &self.locked {
            if let Some(table) = self.statement.tables.get(locked.index) {
                edits.replace(table.range.clone(), placed(table, relation(locked)));
            }
        }
        relaxed.cuts.iter().for_each(|cut| edits.replace(cut.clone(), ""));
        relaxed.anys.iter().for_each(|&at| edits.insert(at, "ANY "));
        edits.render(self.sql, range).0
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
                    Meaning::Registered(d) => location(&d).0 == *schema,
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

    /// Whether the server can run it as it is.
    fn is_unchanged(&self) -> bool {
        self.edits.is_empty() && self.prelude.is_empty() && self.locked.is_empty()
    }

    /// Whether the client's text has string constants. Their meaning is found when the server prepares them, and may
    /// depend on the time and on settings: `'today'`, `'01/02/2026'`.
    fn has_strings(&self) -> bool {
        let tokens = &self.parsed.tokens;
        let (first, last) = (tokens.at(self.statement.range.start), tokens.at(self.statement.range.end));
        tokens.list.get(first..last).is_none_or(|inside| inside.iter().any(|t| t.kind == TokenKind::Str))
    }

    fn finish(mut self, lifted: Option<Lifted>) -> Result<Rewritten> {
        for locked in &self.locked {
            if let Some(table) = self.statement.tables.get(locked.index) {
                self.edits.replace(table.range.clone(), placed(table, &locked.own));
            }
        }
        let range = self.statement.range.clone();
        let strings = self.has_strings();
        let (sql, kept) = self.edits.render(self.sql, &range);
        // What PREPARE makes runs later.
        let runs = !matches!(self.statement.wrap, Wrap::Explain { analyze: false });
        let prelude = if runs { self.prelude } else { Vec::new() };
        Ok(Rewritten {
            range,
            prelude: prelude.into_iter().map(numbered).collect::<Result<_>>()?,
            sql,
            command: check::command(self.statement),
            tag: self.tag,
            late: self.late,
            writes: self.writes && runs && !matches!(self.statement.wrap, Wrap::Prepare(_)),
            settings: if matches!(self.statement.kind, Kind::Copy { .. }) {
                Vec::new()
            } else {
                form::settings(self.form)
            },
            origins: None,
            strings,
            fixed: false,
            lifted,
            fails: None,
            kept,
        })
    }
}

/// A relation in the place of a table's name, which stays its alias.
fn placed(table: &TableRef, relation: &str) -> String {
    let alias = if table.alias.is_some() { String::new() } else { format!(" AS {}", quote(&table.name)) };
    let from = if table.command { "SELECT * FROM " } else { "" };
    format!("{from}{relation}{alias}")
}
