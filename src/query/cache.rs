//! Plans that were made before, for any session: a text's plan holds as long as its names mean the
//! same, and its tables show the same views.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use dashmap::DashMap;
use epoch_adapter::{Layer, TableDef, View};

use super::names::{Catalog, Meaning};
use super::parse::{Kind, Role, Statement, TableRef, Wrap};
use super::plan::{Context, Plan};
use super::{catalogs, check, parse, relations, serializable, snapshot, views};
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
    /// It is another one on a branch that has other tables than the server's catalogs.
    catalogs: bool,
    plan: Plan,
}

type Key = (String, String, String, String);

static PLANS: LazyLock<DashMap<Key, Entry>> = LazyLock::new(DashMap::new);
static BYTES: AtomicUsize = AtomicUsize::new(0);

fn key(ctx: &Context<'_>, sql: &str) -> Key {
    let target = match &ctx.checkout.target {
        Target::Branch { layer } => format!("b{}", layer.lineage.0),
        Target::Commit { hash, .. } => hash.clone(),
    };
    (sql.to_owned(), target, ctx.backend.to_owned(), ctx.repository.name().to_owned())
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
    let Some(entry) = PLANS.get(&key(ctx, sql)).map(|e| e.clone()) else { return Ok(None) };
    if entry.made.elapsed() > HOLDS || (entry.catalogs && catalogs::differs(ctx)) {
        return Ok(None);
    }
    let tables = ctx.repository.tables(ctx.checkout);
    ctx.names.learn(&[&entry.statement], &tables, ctx.backend, ctx.repository.generation(), catalog).await?;
    serializable::prepare(ctx, catalog, &entry.statement).await?;
    if check::statement(ctx, &entry.statement).is_err() || shown(ctx, &entry.statement) != *entry.tables {
        return Ok(None);
    }
    check::sound(ctx, &entry.statement).await?;
    for (table, layer) in entry.targets.iter() {
        if ctx.repository.writable(ctx.checkout, table).await? != *layer {
            return Ok(None);
        }
    }
    snapshot::check(ctx, catalog, &entry.statement).await?;
    Ok(Some(entry.plan))
}

/// Keeps a plan that doesn't depend on anything else.
pub(super) fn keep(ctx: &Context<'_>, sql: &str, statement: &Statement, plan: &Plan) {
    let Plan::Rewritten(rewritten) = plan else { return };
    let ours = statement.functions.iter().any(parse::is_ours)
        || statement.tables.iter().any(|t| relations::find(t).is_some());
    let passing = statement.wrap != Wrap::None
        || check::sets_search_path(statement)
        || ours
        || views::any(ctx, statement);
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
    let bytes = 2 * sql.len()
        + rewritten.sql.len()
        + rewritten.prelude.iter().map(|p| p.sql.len()).sum::<usize>()
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
        catalogs,
        plan: plan.clone(),
    };
    PLANS.insert(key(ctx, sql), entry);
}

/// A table that a branch's statement writes to, and its layer.
fn target(ctx: &Context<'_>, table: &TableRef) -> Option<(Arc<TableDef>, Layer)> {
    match (ctx.names.table(table), &ctx.checkout.target) {
        (Meaning::Registered(table), Target::Branch { layer }) => Some((table, *layer)),
        _ => None,
    }
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
