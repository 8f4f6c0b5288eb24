//! `epoch_all_branches`: a table on every branch.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use epoch_adapter::{At, Comparison, LayerSize, LineageId, Ordinal, Scan, TableDef, View, sqlstate};
use futures::{StreamExt, TryStreamExt, stream};

use super::args::Parsed;
use super::asked::term;
use super::{Asked, Condition, RowStream, Session, columns, rows};
use crate::operations::{Checkout, Repository, Right, Scope};
use crate::{Error, Result};

/// Branches that are counted at the same time.
const CONCURRENT: usize = 8;

/// `epoch_all_branches`: the rows of one branch after the other, as they are read.
pub(super) async fn all_branches(session: &Session<'_>, args: &Parsed, asked: &Asked) -> Result<RowStream> {
    let table = columns::table(session, &args.required("table")?)?;
    if (args.flag("total") || args.flag("present")) && !args.flag("count") {
        return Err(args.invalid("--total and --present are of --count"));
    }
    let (conditions, names) = of_branches(asked);
    let there = showing(session.repository, &table, names.as_deref()).await?;
    if args.flag("count") {
        let mut counts = counts(session.repository, &table, there).await?;
        counts.retain(|(_, count)| *count != 0 || !args.flag("present"));
        return Ok(shown(counts, args.flag("total")));
    }
    let asked = Asked { conditions, ..asked.clone() };
    let scan = rows::scan(session.repository, &table, &asked)?;
    let limit = scan.limit.unwrap_or(usize::MAX);
    let repository = session.repository.clone();
    let of_branch = move |branch: Checkout| {
        let (repository, table, scan) = (repository.clone(), Arc::clone(&table), scan.clone());
        async move {
            let rows = rows::of_view(&repository, &table, &branch, scan).await?;
            let named = move |row: Vec<Option<String>>| {
                std::iter::once(Some(branch.name.clone())).chain(row).collect::<Vec<_>>()
            };
            Ok::<_, Error>(rows.map_ok(named))
        }
    };
    let rows = stream::iter(there.into_iter().map(Ok)).and_then(of_branch).try_flatten();
    Ok(rows.take(limit).boxed())
}

/// The conditions on the table's rows, and the names that others ask for.
fn of_branches(asked: &Asked) -> (Vec<Condition>, Option<Vec<String>>) {
    let mut names: Option<Vec<String>> = None;
    let mut rest = Vec::new();
    for condition in &asked.conditions {
        let wanted = match condition {
            Condition::Compare(terms, Comparison::Eq, values) if *terms == [term("_branch")] => values,
            Condition::In(one, values) if *one == term("_branch") => values,
            _ => {
                rest.push(condition.clone());
                continue;
            }
        };
        names = Some(match names {
            None => wanted.clone(),
            Some(known) => known.into_iter().filter(|name| wanted.contains(name)).collect(),
        });
    }
    (rest, names)
}

/// The branches that show this version of a table, by name.
async fn showing(
    repository: &Repository,
    table: &TableDef,
    names: Option<&[String]>,
) -> Result<Vec<Checkout>> {
    let mut there = Vec::new();
    for name in repository.branch_names().await? {
        if names.is_some_and(|names| !names.contains(&name)) {
            continue;
        }
        let branch = repository.checkout(&name, None).await?;
        if repository.tables_on(&branch).by_id.contains_key(&table.id) {
            there.push(branch);
        }
    }
    Ok(there)
}

/// How many rows branches show: main's are counted, of the others what differs from them.
async fn counts(
    repository: &Repository,
    table: &Arc<TableDef>,
    there: Vec<Checkout>,
) -> Result<Vec<(String, i64)>> {
    let main = match repository.checkout("main", None).await {
        Err(error) if error.code() == sqlstate::INSUFFICIENT_PRIVILEGE => None,
        main => Some(main?),
    };
    let is_there = |main: &Checkout| {
        repository.tables_on(main).by_id.contains_key(&table.id)
            && repository.may(main, Right::Read, Scope::Table(&table.name)).is_ok()
    };
    let Some(main) = main.filter(is_there) else {
        // No branch has anything in common with main, or nothing is to be told of it.
        let mut counts = Vec::new();
        for branch in there {
            counts.push((branch.name.clone(), count(repository, table, &branch).await?));
        }
        return Ok(counts);
    };
    let base = count(repository, table, &main).await?;
    let mut shares = Vec::new();
    for branch in &there {
        shares.push(Share::of(&repository.view(branch, table)?));
    }
    let layers = Layers::read(repository, table, &shares).await?;
    let of_branch = |(branch, share): (Checkout, Share)| {
        let known = layers.as_ref().and_then(|layers| layers.differ(share));
        async move {
            let differ = match known {
                Some(differ) => differ,
                None => {
                    let stats = repository.stats_from_main(&branch, table).await?;
                    stats.added - stats.removed
                }
            };
            Ok::<_, Error>((branch.name, base + differ))
        }
    };
    stream::iter(there.into_iter().zip(shares)).map(of_branch).buffered(CONCURRENT).try_collect().await
}

/// What a branch has in common with others.
#[derive(Clone, Copy)]
enum Share {
    /// It is main.
    Main,
    /// Main as of an ordinal, and a layer of its own if it holds anything.
    Below(Ordinal, Option<LineageId>),
    /// Another branch's layer as of an ordinal.
    Other,
}

impl Share {
    fn of(view: &View) -> Self {
        match view.at {
            At::Working if view.layer.is_main() => Self::Main,
            At::Working => Self::Below(view.layer.base, Some(view.layer.lineage)),
            At::Ordinal(ordinal) if view.layer.is_main() => Self::Below(ordinal, None),
            At::Ordinal(_) => Self::Other,
        }
    }
}

/// By how many rows branches differ from main: those below once for all that have the same, those of the layers in one query.
struct Layers {
    /// What main had more at ordinals than it has now.
    below: HashMap<Ordinal, i64>,
    sizes: HashMap<LineageId, LayerSize>,
}

impl Layers {
    /// `None` if the backend can't tell sizes.
    async fn read(repository: &Repository, table: &Arc<TableDef>, shares: &[Share]) -> Result<Option<Self>> {
        let (mut ordinals, mut lineages) = (BTreeSet::new(), Vec::new());
        for share in shares {
            if let Share::Below(ordinal, lineage) = share {
                ordinals.insert(*ordinal);
                lineages.extend(lineage);
            }
        }
        let sizes = rows::backend(repository, table)?.layer_sizes(table, &lineages).await?;
        let Some(sizes) = sizes else { return Ok(None) };
        repository.sound(table).await?;
        let more = |ordinal| async move {
            Ok::<_, Error>((ordinal, repository.more_on_main_at(table, ordinal).await?))
        };
        let below = stream::iter(ordinals).map(more).buffered(CONCURRENT).try_collect().await?;
        Ok(Some(Self { below, sizes }))
    }

    fn differ(&self, share: Share) -> Option<i64> {
        match share {
            Share::Main => Some(0),
            Share::Below(ordinal, lineage) => {
                let own = lineage.and_then(|lineage| self.sizes.get(&lineage)).copied().unwrap_or_default();
                self.below.get(&ordinal).map(|below| below + own.rows - own.masked)
            }
            Share::Other => None,
        }
    }
}

async fn count(repository: &Repository, table: &TableDef, there: &Checkout) -> Result<i64> {
    let view = repository.view(there, table)?;
    if !view.is_plain() {
        repository.sound(table).await?;
    }
    let first = table.schema.key.iter().take(1).copied().collect();
    let scan = Scan { projection: Some(first), ..Scan::default() };
    let mut batches = rows::backend(repository, table)?.scan(table, &view, &scan).await?;
    let mut count = 0;
    while let Some(batch) = batches.try_next().await? {
        count += i64::try_from(batch.num_rows()).unwrap_or(i64::MAX);
    }
    Ok(count)
}

fn shown(counts: Vec<(String, i64)>, total: bool) -> RowStream {
    let rows: Vec<Vec<Option<String>>> = if total {
        let sum: i128 = counts.iter().map(|(_, count)| i128::from(*count)).sum();
        vec![vec![Some(sum.to_string())]]
    } else {
        counts.into_iter().map(|(name, count)| vec![Some(name), Some(count.to_string())]).collect()
    };
    stream::iter(rows.into_iter().map(Ok)).boxed()
}
