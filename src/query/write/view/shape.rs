//! What a view shows that can be written to: columns of one registered table, some of them under other names or
//! computed, and the conditions on the way there. A view over such a view is one, too.

use std::sync::Arc;

use epoch_adapter::TableDef;
use epoch_adapter_postgres::layout::{base, literal, quote};
use futures::FutureExt;
use futures::future::BoxFuture;

use crate::query::names::{Catalog, Meaning, registered};
use crate::query::parse::{self, Output, Role, Simple, Statement, TableRef};
use crate::query::plan::Context;
use crate::query::text::Edits;
use crate::query::{check, types, views};
use crate::{Error, Result};

/// Stands for the table's alias in texts.
const ALIAS: char = '\u{1}';
/// How many views over views are followed.
const DEEPEST: usize = 16;

/// What a column of a view is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Shown {
    /// A column of the table.
    Base(String),
    /// Computed, by a view and a column that PostgreSQL names if it is written to.
    Computed { text: String, view: String, column: String },
}

impl Shown {
    /// As an expression over the table, which has an alias.
    pub fn text(&self, alias: &str) -> String {
        match self {
            Self::Base(column) => format!("{alias}.{}", quote(column)),
            Self::Computed { text, .. } => format!("({})", text.replace(ALIAS, alias)),
        }
    }
}

/// WITH CHECK OPTION.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Checked {
    No,
    Local,
    Cascaded,
}

/// One view of several over each other.
struct Level {
    view: String,
    condition: Option<String>,
    checked: Checked,
}

/// A view that can be written to.
pub(super) struct Shape {
    pub table: Arc<TableDef>,
    /// Its columns, by name.
    pub columns: Vec<(String, Shown)>,
    /// From the view over the table up to the one that is named.
    levels: Vec<Level>,
    /// A query of them names a type that branches made.
    of_types: bool,
}

impl Shape {
    /// `None` if the view isn't such a one, has triggers, rules or defaults of its own, or isn't understood.
    pub fn of<'a>(
        ctx: &'a mut Context<'_>,
        catalog: &'a mut dyn Catalog,
        view: &'a TableRef,
        depth: usize,
    ) -> BoxFuture<'a, Result<Option<Self>>> {
        async move {
            let Some(definition) = views::definition(ctx, view).filter(|d| !d.contains(ALIAS)) else {
                return Ok(None);
            };
            let (parsed, simple) = (parse::parse(&definition)?, parse::simple(&definition));
            let ([query], Some(simple)) = (parsed.statements.as_slice(), simple) else { return Ok(None) };
            let tables = ctx.repository.tables(ctx.checkout);
            ctx.names.learn(&[query], &tables, ctx.backend, ctx.repository.generation(), catalog).await?;
            check::statement(ctx, query)?;
            let [source] = query.tables.as_slice() else { return Ok(None) };
            if source.only || query.scopes.len() != 1 || depth > DEEPEST {
                return Ok(None);
            }
            let below = match ctx.names.table(source) {
                Meaning::Registered(table) => Self::table(table),
                _ => match Self::of(ctx, catalog, source, depth + 1).await? {
                    Some(below) => below,
                    None => return Ok(None),
                },
            };
            let Some(checked) = is_checked(catalog, &place(ctx, view)).await? else { return Ok(None) };
            let mut below = below;
            below.of_types |= types::any(ctx, query);
            let checks = checked != Checked::No || below.levels.iter().any(|l| l.checked != Checked::No);
            if checks && below.of_types {
                // The trigger would not know it by this name.
                return Err(Error::unsupported(format!(
                    "writing through the view \"{}\" WITH CHECK OPTION, which names a type of the branch,",
                    view.name
                )));
            }
            Ok(below.above(view, &definition, query, &simple, checked))
        }
        .boxed()
    }

    /// All columns of a table.
    fn table(table: Arc<TableDef>) -> Self {
        let columns = table.schema.columns.iter();
        let columns = columns.map(|c| (c.name.clone(), Shown::Base(c.name.clone()))).collect();
        Self { table, columns, levels: Vec::new(), of_types: false }
    }

    /// A view over this.
    fn above(
        mut self,
        view: &TableRef,
        definition: &str,
        query: &Statement,
        simple: &Simple,
        checked: Checked,
    ) -> Option<Self> {
        let mut columns = Vec::new();
        for (output, (value, name)) in simple.outputs.iter().zip(&simple.values) {
            match output {
                Output::Star => columns.extend(self.columns.iter().cloned()),
                Output::Column { column, name, .. } => {
                    columns.push((name.clone(), self.column(column)?.clone()));
                }
                Output::Other => {
                    let column = name.clone()?;
                    let text = self.mapped(definition, query, value)?;
                    let computed = Shown::Computed { text, view: view.name.clone(), column: column.clone() };
                    columns.push((column, computed));
                }
            }
        }
        let condition = match &simple.condition {
            Some(range) => Some(self.mapped(definition, query, range)?),
            None => None,
        };
        self.levels.push(Level { view: view.name.clone(), condition, checked });
        self.columns = columns;
        Some(self)
    }

    /// The column of a name.
    pub fn column(&self, name: &str) -> Option<&Shown> {
        self.columns.iter().find(|(n, _)| n == name).map(|(_, shown)| shown)
    }

    /// A part of a view's query over this, as an expression over the table.
    fn mapped(&self, definition: &str, query: &Statement, range: &std::ops::Range<usize>) -> Option<String> {
        let mut edits = Edits::default();
        for column in query.columns.iter().filter(|c| range.contains(&c.start)) {
            let shown = self.column(column.fields.last()?.as_deref()?)?;
            let tokens = 2 * column.fields.len() - 1;
            let text = definition.get(column.start..)?;
            let end = crate::query::lexer::tokens(text).ok()?.list.get(tokens - 1)?.end;
            edits.replace(column.start..column.start + end, shown.text(&ALIAS.to_string()));
        }
        Some(edits.render(definition, range).0)
    }

    /// The conditions of all views, over the table's alias.
    pub fn condition(&self, alias: &str) -> Option<String> {
        let all: Vec<String> = self.levels.iter().filter_map(|l| l.condition.clone()).collect();
        let one = |c: &String| format!("({}\n)", c.replace(ALIAS, alias));
        (!all.is_empty()).then(|| all.iter().map(one).collect::<Vec<_>>().join(" AND "))
    }

    /// What new rows are checked against, as the trigger wants it: names of views and conditions over `$1`, in
    /// PostgreSQL's order, from the innermost.
    pub fn checks(&self) -> Option<String> {
        let mut cascaded = false;
        let mut checks = Vec::new();
        for level in self.levels.iter().rev() {
            cascaded |= level.checked == Checked::Cascaded;
            if let (true, Some(condition)) = (cascaded || level.checked == Checked::Local, &level.condition) {
                checks.push((level.view.clone(), condition.replace(ALIAS, "($1)")));
            }
        }
        checks.reverse();
        if checks.is_empty() { None } else { serde_json::to_string(&checks).ok() }
    }
}

/// Where the server has a view.
fn place(ctx: &Context<'_>, view: &TableRef) -> String {
    if let Meaning::Other { place, .. } = ctx.names.table(view)
        && let Some(own) = registered(ctx).view(&place)
    {
        return base(own);
    }
    let schema = view.schema.as_ref().map_or_else(String::new, |s| format!("{}.", quote(s)));
    format!("{schema}{}", quote(&view.name))
}

/// WITH CHECK OPTION; `None` if the view has triggers, rules or defaults of its own.
async fn is_checked(catalog: &mut dyn Catalog, place: &str) -> Result<Option<Checked>> {
    let name = literal(place);
    let rows = catalog
        .query(&format!(
            "SELECT (SELECT o FROM pg_catalog.unnest(c.reloptions) o(o) WHERE o LIKE 'check_option=%'), \
             EXISTS (SELECT FROM pg_catalog.pg_trigger t WHERE t.tgrelid = c.oid) \
             OR EXISTS (SELECT FROM pg_catalog.pg_rewrite r WHERE r.ev_class = c.oid AND r.ev_type <> '1') \
             OR EXISTS (SELECT FROM pg_catalog.pg_attrdef d WHERE d.adrelid = c.oid) \
             FROM pg_catalog.pg_class c WHERE c.oid = pg_catalog.to_regclass({name})"
        ))
        .await?;
    let cell = |i: usize| rows.first().and_then(|row| row.get(i)).and_then(Option::as_deref);
    if cell(1) != Some("f") {
        return Ok(None);
    }
    Ok(match cell(0) {
        None => Some(Checked::No),
        Some("check_option=local") => Some(Checked::Local),
        Some("check_option=cascaded") => Some(Checked::Cascaded),
        Some(_) => None,
    })
}

/// The view, as if it were read.
pub(super) fn as_read(target: &TableRef) -> TableRef {
    TableRef { role: Role::Read, ..target.clone() }
}
