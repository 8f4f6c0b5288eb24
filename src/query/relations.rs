//! Relations and reading functions of ours inside of larger statements: spliced in as sub-selects.

use std::ops::Range;

use epoch_adapter_postgres::layout::{literal, quote};
use epoch_adapter_postgres::relation;
use futures::TryStreamExt;

use super::barrier;
use super::lexer;
use super::names::Catalog;
use super::parse::{
    self, AskedFor, ColumnUse, FunctionRef, Kind, Parsed, Role, Site, Statement, TableRef, Wrap,
};
use super::plan::{Context, args};
use super::rewrite::Rewriter;
use super::snapshot;
use crate::functions::{self, Args, Asked, Column, Condition, Function};
use crate::query::parse::Constant;
use crate::{Error, Result, sqlstate};

/// The relation of schema `epoch` that a name means.
pub(super) fn find(table: &TableRef) -> Option<&'static Function> {
    if table.schema.as_deref() != Some("epoch") {
        return None;
    }
    functions::relations().find(|(name, _)| *name == table.name).map(|(_, function)| function)
}

/// Splices in what the statement shows of the repository. Returns whether it shows anything.
pub(super) async fn splice(
    ctx: &mut Context<'_>,
    catalog: &mut dyn Catalog,
    rewriter: &mut Rewriter<'_>,
) -> Result<bool> {
    let statement = rewriter.statement;
    let mut any = false;
    for table in statement.tables.iter().filter(|t| t.role == Role::Read) {
        if let Some(function) = find(table) {
            let wish = Wish::of(ctx, rewriter, table.range.start);
            let shown = result(ctx, function.name, &[], &wish).await?;
            rewriter.put(table, &shown);
            any = true;
        }
    }
    let mut outer: Option<Range<usize>> = None;
    for function in statement.functions.iter().filter(|f| parse::is_ours(f)) {
        if outer.as_ref().is_some_and(|o| o.contains(&function.range.start)) {
            return Err(Error::unsupported(format!(
                "{}() as an argument of a function of ours",
                function.name
            )));
        }
        one(ctx, catalog, rewriter, function).await?;
        outer = Some(function.range.clone());
        any = true;
    }
    if any && matches!(statement.kind, Kind::Copy { .. }) {
        return Err(Error::unsupported("a function of ours in COPY"));
    }
    if any && matches!(statement.wrap, Wrap::Prepare(_)) {
        return Err(Error::unsupported("a relation of ours in PREPARE")
            .with_hint("Use a prepared statement of the driver."));
    }
    Ok(any)
}

async fn one(
    ctx: &mut Context<'_>,
    catalog: &mut dyn Catalog,
    rewriter: &mut Rewriter<'_>,
    function: &FunctionRef,
) -> Result<()> {
    let name = function.name.as_str();
    let Some(found) = functions::find(name) else {
        return Err(Error::new(sqlstate::UNDEFINED_FUNCTION, format!("function {name}() does not exist"))
            .with_hint("SELECT * FROM epoch_help() lists all functions."));
    };
    if found.kind == functions::Kind::Mutating {
        return Err(Error::unsupported(format!("{name}() as a part of a larger query"))
            .with_hint(format!("Write SELECT {name}(…), SELECT * FROM {name}(…) or CALL {name}(…).")));
    }
    if function.arguments.iter().any(|a| a.value == Constant::Expression) {
        return Err(Error::unsupported(format!("an expression as an argument of {name}()"))
            .with_hint("Give a constant or a parameter."));
    }
    let wish = Wish::of(ctx, rewriter, function.range.start);
    let shown = match at(ctx, catalog, function).await? {
        Some(relation) => relation,
        None => result(ctx, name, &function.arguments, &wish).await?,
    };
    match &function.site {
        Site::From { special: true, .. } => {
            Err(Error::unsupported(format!("WITH ORDINALITY, ROWS FROM or column definitions with {name}()")))
        }
        Site::From { alias, .. } => {
            let alias = if alias.is_some() { String::new() } else { format!(" AS {}", quote(name)) };
            rewriter.edits.replace(function.range.clone(), format!("{shown}{alias}"));
            Ok(())
        }
        Site::Expression if found.kind == functions::Kind::Scalar => {
            rewriter.edits.replace(function.range.clone(), shown);
            Ok(())
        }
        Site::Expression => Err(Error::unsupported(format!("{name}() outside of FROM"))
            .with_hint(format!("Write … FROM {name}(…)."))),
    }
}

/// `epoch_at(table, ref)` is the relation of a view: the server reads it.
///
/// Not in a transaction that keeps its snapshot: ordinals and layers may be younger, and it would show what never was. Only
/// what the transaction itself writes to is read there.
async fn at(ctx: &Context<'_>, catalog: &mut dyn Catalog, function: &FunctionRef) -> Result<Option<String>> {
    if function.name != "epoch_at" || function.arguments.iter().any(|a| a.name.is_some()) {
        return Ok(None);
    }
    let values = args(&function.arguments, ctx.parameters.unwrap_or_default());
    let [functions::Arg::Text(name), spec] = values.positional.as_slice() else { return Ok(None) };
    let spec = match spec {
        functions::Arg::Text(spec) => spec.as_str(),
        // Not bound yet: any ref shows the same columns.
        _ if ctx.parameters.is_none() => "HEAD",
        _ => return Ok(None),
    };
    let checkout = ctx.repository.checkout(functions::shown_at(spec), Some(ctx.checkout)).await?;
    let there = ctx.repository.tables(&checkout).find(name).cloned();
    let table = match there {
        Some(table) => table,
        // It may have another name there, or none.
        None => match ctx.repository.find_table(ctx.checkout, name) {
            Some(table) => ctx.repository.version_on(&checkout, &table).unwrap_or(table),
            None => return Ok(None),
        },
    };
    if table.location.backend != ctx.backend {
        return Ok(None);
    }
    let view = ctx.repository.view(&checkout, &table)?;
    if !view.is_plain() {
        let own = checkout.target == ctx.checkout.target && checkout.is_branch();
        if !own && snapshot::is_kept(catalog).await? {
            return Ok(None);
        }
        ctx.repository.sound(&table).await?;
    }
    let shown = barrier::strict::whole(ctx, relation::selective(&table, &view));
    let shown = if view.is_plain() { format!("(SELECT * FROM {shown})") } else { shown };
    Ok(Some(with_types(shown, function)))
}

/// What the statement asks of one of them.
#[derive(Debug, Default)]
struct Wish {
    asked: Asked,
    /// It depends on parameters that aren't bound yet.
    open: bool,
}

impl Wish {
    /// What is asked of the item of FROM that starts there.
    fn of(ctx: &Context<'_>, rewriter: &Rewriter<'_>, start: usize) -> Self {
        let Some(asking) = rewriter.statement.asking.iter().find(|asking| asking.at == start) else {
            return Self::default();
        };
        let columns = || looked_at(rewriter.sql, rewriter.parsed, rewriter.statement);
        let Some(parameters) = ctx.parameters else {
            if asking.parameters().next().is_some() {
                return Self { open: true, ..Self::default() };
            }
            return Self { asked: Asked { columns: columns(), ..asked(asking, &[]) }, open: false };
        };
        Self { asked: Asked { columns: columns(), ..asked(asking, parameters) }, open: false }
    }
}

/// The names of columns that a statement uses, of whatever; `None` if it uses some without their names: all of an item's, its
/// row, or those that two items have in common.
fn looked_at(sql: &str, parsed: &Parsed, statement: &Statement) -> Option<Vec<String>> {
    let joins = |t: &lexer::Token| t.is_word(sql, "natural") || t.is_word(sql, "using");
    if statement.tables.iter().any(|t| t.command) || parsed.tokens.list.iter().any(joins) {
        return None;
    }
    let called = |f: &FunctionRef| match &f.site {
        Site::From { alias, .. } => Some(alias.as_ref().unwrap_or(&f.name).clone()),
        Site::Expression => None,
    };
    let functions = statement.functions.iter().filter_map(called);
    let items: Vec<String> =
        statement.tables.iter().map(|t| t.called().to_owned()).chain(functions).collect();
    let name = |column: &ColumnUse| match column.fields.as_slice() {
        [Some(name)] if items.contains(name) => None,
        fields => fields.last()?.clone(),
    };
    statement.columns.iter().map(name).collect()
}

/// With the values of parameters. What isn't known isn't asked; then more rows are needed than the query returns.
fn asked(asking: &parse::Asking, parameters: &[Option<String>]) -> Asked {
    let text = |value: &Constant| match value {
        Constant::Text(text) => Some(text.clone()),
        Constant::Int(number) => Some(number.to_string()),
        Constant::Bool(truth) => Some(if *truth { "t" } else { "f" }.to_owned()),
        Constant::Param(n) => parameters.get(*n).cloned().flatten(),
        Constant::Array(_) | Constant::Null | Constant::Expression => None,
    };
    let texts = |values: &[Constant]| values.iter().map(text).collect::<Option<Vec<String>>>();
    let one = |condition: &AskedFor| match condition {
        AskedFor::Compare(terms, op, values) => Some(Condition::Compare(terms.clone(), *op, texts(values)?)),
        AskedFor::In(term, values) => Some(Condition::In(term.clone(), texts(values)?)),
        AskedFor::Any(term, Constant::Array(items)) => Some(Condition::In(term.clone(), items.clone())),
        AskedFor::Any(term, value) => Some(Condition::In(term.clone(), parse::array_literal(&text(value)?)?)),
    };
    let conditions: Vec<Condition> = asking.conditions.iter().filter_map(one).collect();
    let number = |value: &Constant| text(value)?.parse::<usize>().ok();
    let limit = asking.limit.as_ref().and_then(|(count, offset)| {
        let skipped = offset.as_ref().map_or(Some(0), number)?;
        number(count)?.checked_add(skipped)
    });
    let limit = limit.filter(|_| conditions.len() == asking.conditions.len());
    Asked { conditions, limit, order: asking.order.clone(), columns: None }
}

/// Keeps the parameters of a call in the text, so that the server can tell their type.
fn with_types(shown: String, function: &FunctionRef) -> String {
    let number = |a: &parse::Argument| if let Constant::Param(n) = a.value { Some(n + 1) } else { None };
    let params: Vec<String> = function
        .arguments
        .iter()
        .filter_map(number)
        .map(|n| format!("${n}::pg_catalog.text IS NULL"))
        .collect();
    if params.is_empty() {
        return shown;
    }
    format!("(SELECT epoch_p.* FROM {shown} epoch_p WHERE {} OR true)", params.join(" OR "))
}

/// What a function returns, as a query over constants; without rows while parameters are unknown.
async fn result(ctx: &Context<'_>, name: &str, arguments: &[parse::Argument], wish: &Wish) -> Result<String> {
    let Some(session) = ctx.functions else {
        return Err(Error::unsupported(format!("{name}() in this place")));
    };
    let unbound = arguments.iter().any(|a| matches!(a.value, Constant::Param(_)));
    let open = wish.open || (unbound && ctx.parameters.is_none());
    let values: Args = args(arguments, ctx.parameters.unwrap_or_default());
    let (columns, rows) = if open {
        (functions::columns(session, name, &values)?, Vec::new())
    } else {
        let opened = functions::open(session, name, &values, &wish.asked).await?;
        (opened.columns, opened.rows.try_collect().await?)
    };
    let shown = constant_rows(&columns, &rows);
    let number = |a: &parse::Argument| if let Constant::Param(n) = a.value { Some(n + 1) } else { None };
    let params: Vec<String> =
        arguments.iter().filter_map(number).map(|n| format!("${n}::pg_catalog.text IS NULL")).collect();
    if params.is_empty() {
        return Ok(format!("({shown})"));
    }
    Ok(format!("({shown} WHERE {} OR true)", params.join(" OR ")))
}

/// Rows of known types as a query: one JSON text, each cell in PostgreSQL's text form.
fn constant_rows(columns: &[Column], rows: &[Vec<Option<String>>]) -> String {
    let cells: Vec<String> = columns
        .iter()
        .enumerate()
        .map(|(i, c)| {
            format!("(epoch_r OPERATOR(pg_catalog.->>) {i})::{} AS {}", c.ty.name(), quote(&c.name))
        })
        .collect();
    let json = serde_json::to_string(rows).unwrap_or_else(|_| "[]".to_owned());
    format!(
        "SELECT {} FROM pg_catalog.json_array_elements({}::pg_catalog.json) epoch_r",
        cells.join(", "),
        literal(&json)
    )
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn columns_that_are_used_without_a_name_are_all_of_them() {
        let used = |sql: &str| {
            let parsed = parse::parse(sql).unwrap();
            looked_at(sql, &parsed, parsed.alone().unwrap())
        };
        let names = |names: &[&str]| Some(names.iter().map(|n| (*n).to_owned()).collect());
        assert_eq!(used("SELECT count(*) FROM epoch.branches"), names(&[]));
        assert_eq!(
            used("SELECT b.name FROM epoch.branches b WHERE behind > 0 ORDER BY dirty"),
            names(&["name", "behind", "dirty"])
        );
        for all in [
            "SELECT * FROM epoch.branches",
            "SELECT b.* FROM epoch.branches b",
            "SELECT b FROM epoch.branches b",
            "SELECT row_to_json(branches) FROM epoch.branches",
            "SELECT (b).dirty FROM epoch.branches b",
            "TABLE epoch.branches",
            "SELECT name FROM epoch.branches JOIN t USING (dirty)",
            "SELECT name FROM epoch.branches NATURAL JOIN t",
            "SELECT name FROM (SELECT * FROM epoch.branches) b",
            "SELECT to_json(f) FROM epoch_history('t') f",
        ] {
            assert_eq!(used(all), None, "{all}");
        }
    }
}
