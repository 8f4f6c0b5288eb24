//! Plans that were made before, for any session: a text's plan holds as long as its names mean the
//! same, and its tables show the same views.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use dashmap::DashMap;
use epoch_adapter::{Layer, TableDef, View};

use super::names::{Calls, Catalog, Meaning};
use super::parse::{FunctionRef, Kind, Role, Statement, TableRef, Wrap};
use super::plan::{Context, Plan, Rewritten};
use super::shape::{Shape, Template};
use super::{catalogs, check, inlining, parse, relations, serializable, snapshot, types, views};
use crate::Result;
use crate::operations::Target;

/// The most bytes that are kept.
const MOST_BYTES: usize = 32 << 20;
/// The longest text whose plan is kept.
const LONGEST: usize = 32 << 10;
/// How long a plan holds, as its form depends on statistics.
const HOLDS: Duration = Duration::from_secs(60);

#[derive(Clone)]
struct Entry {
    made: Instant,
    statement: Arc<Statement>,
    tables: Arc<Vec<(Meaning, Option<View>)>>,
    targets: Arc<Vec<(Arc<TableDef>, Layer)>>,
    calls: Arc<Vec<Calls>>,
    /// It is another one on a branch that has other tables than the server's catalogs.
    catalogs: bool,
    plan: Arc<Rewritten>,
    /// For texts of the same shape.
    template: Option<Arc<Template>>,
}

/// By [`key`].
static PLANS: LazyLock<DashMap<String, Entry>> = LazyLock::new(DashMap::new);
static BYTES: AtomicUsize = AtomicUsize::new(0);

/// What a plan is kept by.
#[derive(Clone, Copy)]
enum By<'a> {
    /// The client's text.
    Text(&'a str),
    /// Its shape, which may look like the text of another.
    Shape(&'a Shape),
}

fn key(ctx: &Context<'_>, by: By<'_>) -> String {
    let (backend, repository) = (ctx.backend, ctx.repository.name());
    let (kind, text) = match by {
        By::Text(text) => ('t', text),
        By::Shape(shape) => ('s', shape.text.as_str()),
    };
    // Others get other relations.
    let kind = if ctx.repository.sees_all() { kind } else { kind.to_ascii_uppercase() };
    let kind = format!("{kind}{}", if ctx.names.writes_unversioned() { "u" } else { "" });
    let kind = format!("{kind}{}", if ctx.names.shows_databases() { "d" } else { "" });
    match &ctx.checkout.target {
        Target::Branch { layer } => format!("{kind}{}\0{backend}\0{repository}\0{text}", layer.lineage.0),
        Target::Commit { hash, .. } => format!("{kind}{hash}\0{backend}\0{repository}\0{text}"),
    }
}

/// What was planned of a text, or of one of its shape.
fn known(ctx: &Context<'_>, sql: &str) -> Option<(Entry, Option<Shape>)> {
    let find = |by: By<'_>| {
        let entry = PLANS.get(&key(ctx, by)).map(|e| e.clone())?;
        let holds = entry.made.elapsed() <= HOLDS && !(entry.catalogs && catalogs::differs(ctx));
        holds.then_some(entry)
    };
    if let Some(entry) = find(By::Text(sql)) {
        return Some((entry, None));
    }
    let shape = Shape::of(sql)?;
    Some((find(By::Shape(&shape))?, Some(shape)))
}

/// A plan that still holds for this session.
pub(super) async fn find(
    ctx: &mut Context<'_>,
    catalog: &mut dyn Catalog,
    sql: &str,
) -> Result<Option<Plan>> {
    if ctx.checkout.is_main() || sql.len() > LONGEST {
        return Ok(None);
    }
    let Some((entry, shape)) = known(ctx, sql) else { return Ok(None) };
    let plan = match (&shape, &entry.template) {
        (None, _) => entry.plan.clone(),
        (Some(shape), Some(template)) => match template.fill(sql, shape) {
            Some(rewritten) => Arc::new(rewritten),
            None => return Ok(None),
        },
        (Some(_), None) => return Ok(None),
    };
    let tables = ctx.repository.tables(ctx.checkout);
    ctx.names.learn(&[&entry.statement], &tables, ctx.backend, ctx.repository.generation(), catalog).await?;
    serializable::prepare(ctx, catalog, &entry.statement).await?;
    if check::statement(ctx, &entry.statement).is_err()
        || shown(ctx, &entry.statement) != *entry.tables
        || calls(ctx, &entry.statement) != *entry.calls
    {
        return Ok(None);
    }
    check::sound(ctx, &entry.statement).await?;
    for (table, layer) in entry.targets.iter() {
        if ctx.repository.writable(ctx.checkout, table).await? != *layer {
            return Ok(None);
        }
    }
    snapshot::check(ctx, catalog, &entry.statement).await?;
    Ok(Some(Plan::Rewritten(plan)))
}

/// Keeps a plan that doesn't depend on anything else.
pub(super) fn keep(ctx: &Context<'_>, sql: &str, statement: &Statement, plan: &Plan) {
    let Plan::Rewritten(rewritten) = plan else { return };
    let ours = statement.functions.iter().any(parse::is_ours)
        || statement.tables.iter().any(|t| relations::find(t).is_some());
    let passing = statement.wrap != Wrap::None
        || check::sets_search_path(statement)
        || ours
        || views::any(ctx, statement)
        || inlining::any(ctx, statement)
        || types::any(ctx, statement);
    if rewritten.late || passing || sql.len() > LONGEST || ctx.checkout.is_main() {
        return;
    }
    let catalogs = catalogs::concerns(ctx, sql, statement);
    if catalogs && catalogs::differs(ctx) {
        return;
    }
    let known = matches!(
        statement.kind,
        Kind::Query | Kind::Insert(_) | Kind::Update(_) | Kind::Delete(_) | Kind::Merge(_)
    );
    let written = statement.tables.iter().filter(|t| t.role == Role::Target);
    let targets: Option<Vec<_>> = written.map(|t| target(ctx, t)).collect();
    let Some(targets) = targets.filter(|_| known) else { return };
    let shape = rewritten.lifted.as_ref().and_then(|_| Shape::of(sql)).filter(|s| !is_taken(ctx, sql, s));
    let template = shape.as_ref().and_then(|shape| Template::new(shape, rewritten)).map(Arc::new);
    let by = shape.as_ref().filter(|_| template.is_some()).map_or(By::Text(sql), By::Shape);
    let key = key(ctx, by);
    let bytes = key.len()
        + rewritten.sql.len()
        + rewritten.prelude.iter().map(|p| p.sql.len()).sum::<usize>()
        + template.as_ref().map_or(0, |t| t.size())
        + 2048;
    if BYTES.fetch_add(bytes, Ordering::Relaxed) > MOST_BYTES {
        PLANS.clear();
        BYTES.store(bytes, Ordering::Relaxed);
    }
    let entry = Entry {
        made: Instant::now(),
        statement: Arc::new(statement.clone()),
        tables: Arc::new(shown(ctx, statement)),
        targets: Arc::new(targets),
        calls: Arc::new(calls(ctx, statement)),
        catalogs,
        plan: rewritten.clone(),
        template,
    };
    PLANS.insert(key, entry);
}

/// Whether a plan of this shape is known that differs in other constants than parameters. The text gets an entry of its
/// own then, so that two of them don't drive each other out.
fn is_taken(ctx: &Context<'_>, sql: &str, shape: &Shape) -> bool {
    PLANS.get(&key(ctx, By::Shape(shape))).is_some_and(|entry| {
        let fits = entry.template.as_ref().is_some_and(|t| t.fill(sql, shape).is_some());
        entry.made.elapsed() <= HOLDS && !fits
    })
}

/// A table that a branch's statement writes to, and its layer.
fn target(ctx: &Context<'_>, table: &TableRef) -> Option<(Arc<TableDef>, Layer)> {
    match (ctx.names.table(table), &ctx.checkout.target) {
        (Meaning::Registered(table), Target::Branch { layer }) => Some((table, *layer)),
        _ => None,
    }
}

/// What the statement's functions and operators are for this session.
fn calls(ctx: &Context<'_>, statement: &Statement) -> Vec<Calls> {
    let function = |f: &FunctionRef| ctx.names.function(f.schema.as_deref(), &f.name).map(|f| f.calls);
    let functions = statement.functions.iter().map(|f| function(f).unwrap_or_default());
    let operators =
        statement.operators.iter().map(|o| Calls { own: ctx.names.is_own_operator(o), placed: false });
    functions.chain(operators).collect()
}

/// What each table of the statement means, and shows on the session's ref.
fn shown(ctx: &Context<'_>, statement: &Statement) -> Vec<(Meaning, Option<View>)> {
    let one = |t: &TableRef| {
        let meaning = ctx.names.table(t);
        let view = match &meaning {
            Meaning::Registered(table) => ctx.repository.view(ctx.checkout, table).ok(),
            _ => None,
        };
        (meaning, view)
    };
    statement.tables.iter().map(one).collect()
}
