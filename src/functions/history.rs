//! The rows of a table over time and over branches.

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::ControlFlow;

use epoch_adapter::{Error, Predicate, Row, Scan, TableDef, TableName, Value, Wanted};
use futures::{StreamExt, TryStreamExt};
use sha2::{Digest, Sha256};

use super::args::Parsed;
use super::asked::{Push, Pushed, Term, term};
use super::conflicts::{cells, cells_at};
use super::{Asked, RowStream, Rows, Session, columns, rows, text};
use crate::Result;
use crate::operations::{Preview, PreviewedRow, PreviewedTable, RowVersion};

/// The columns of `epoch_history` that aren't the table's.
const OF_COMMIT: [&str; 4] = ["commit_hash", "author", "date", "diff_type"];

/// `epoch_history`.
pub(super) async fn history(session: &Session<'_>, args: &Parsed, asked: &Asked) -> Result<RowStream> {
    let table = columns::table(session, &args.required("table")?)?;
    let key = (!args.rest.is_empty()).then_some(args.rest.as_slice());
    if let Some(key) = key.filter(|key| key.len() != table.schema.key.len()) {
        let names = table.schema.key_names().join(", ");
        return Err(args.invalid(format!(
            "the key of table \"{}\" is ({names}), but {} values are given",
            table.name,
            key.len()
        )));
    }
    let key = key.map(|texts| key_of(&table, texts)).transpose()?;
    let spec = args.text("ref");
    let pushed = of_key(session, &table, asked, &OF_COMMIT)?;
    // Of versions of a table more rows may come than meet the conditions.
    let whole = pushed.whole && (asked.conditions.is_empty() || !session.repository.has_versions());
    let limit = asked.limit_in(&[]).filter(|_| whole);
    let wanted = Wanted { key, keys: pushed.predicates, limit };
    let found = session.repository.row_history(session.checkout, &table, wanted, spec.as_deref()).await?;
    Ok(found.map_ok(move |version| version_row(&table, &version)).boxed())
}

/// Conditions on key columns. `others`: names that aren't the table's in the result.
fn of_key(session: &Session<'_>, table: &TableDef, asked: &Asked, others: &[&str]) -> Result<Pushed> {
    let column = |term: &Term| match term.as_slice() {
        [name] if !others.contains(&name.as_str()) => {
            table.schema.index_of(name).filter(|index| table.schema.key.contains(index))
        }
        _ => None,
    };
    let backend = rows::backend(session.repository, table)?;
    Ok(asked.push(&Push { table, backend: &*backend, column: &column }))
}

/// A key in the form in which the table's backend keeps it.
fn key_of(table: &TableDef, texts: &[String]) -> Result<Row> {
    let typed = |(column, text): (_, &String)| text::typed(table.location.kind, column, text);
    table.schema.key_columns().zip(texts).map(typed).collect()
}

/// The row as the commit left it; of one that it removed, as it was before.
fn version_row(table: &TableDef, version: &RowVersion) -> Vec<Option<String>> {
    let RowVersion { commit, change } = version;
    let mut row = vec![
        Some(commit.hash.clone()),
        Some(commit.author.clone()),
        Some(text::timestamp(commit.date)),
        Some(change.kind().as_str().to_owned()),
    ];
    row.extend(cells(table, change.after.as_ref().or(change.before.as_ref())));
    row
}

/// `epoch_blame`.
pub(super) async fn blame(session: &Session<'_>, args: &Parsed, asked: &Asked) -> Result<Rows> {
    let table = columns::table(session, &args.required("table")?)?;
    let spec = args.text("ref").unwrap_or_else(|| "HEAD".to_owned());
    let keys = keys_of(session, &table, &spec, asked).await?;
    let mut wanted =
        Wanted { keys: of_key(session, &table, asked, &OF_COMMIT)?.predicates, ..Wanted::default() };
    wanted.keys.extend(one_of(session, &table, &keys)?);
    let mut open: HashSet<&Vec<Option<String>>> = keys.iter().collect();
    let mut blamed = HashMap::new();
    let mut each = |key: &Row, commit: &std::sync::Arc<crate::operations::CommitSummary>| {
        let texts: Vec<_> = table.schema.key_columns().zip(key).map(|(c, v)| text::value(c, v)).collect();
        if open.remove(&texts) {
            blamed.insert(texts, std::sync::Arc::clone(commit));
        }
        if open.is_empty() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    if !keys.is_empty() {
        session.repository.blame(session.checkout, &table, wanted, Some(&spec), &mut each).await?;
    }
    let row = |key: Vec<Option<String>>| {
        let commit = blamed.get(&key);
        let mut row = key;
        row.extend([
            commit.map(|c| c.hash.clone()),
            commit.map(|c| c.author.clone()),
            commit.map(|c| text::timestamp(c.date)),
            commit.map(|c| c.message.clone()),
        ]);
        row
    };
    Ok(keys.clone().into_iter().map(row).collect())
}

/// The keys of a table at a ref that are asked for, in order.
async fn keys_of(
    session: &Session<'_>,
    table: &TableDef,
    spec: &str,
    asked: &Asked,
) -> Result<Vec<Vec<Option<String>>>> {
    let natural: Vec<(Term, bool)> = match table.schema.key_columns().all(|c| c.data_type.is_integer()) {
        true => table.schema.key_columns().map(|c| (term(&c.name), false)).collect(),
        false => Vec::new(),
    };
    let pushed = of_key(session, table, asked, &OF_COMMIT)?;
    let limit = asked.limit_in(&natural).filter(|_| pushed.whole).unwrap_or(usize::MAX);
    let scan = Scan { projection: Some(table.schema.key.clone()), filters: pushed.predicates, limit: None };
    // A commit, not the branch with what is uncommitted.
    let hash = session.repository.hash_of(session.checkout, spec).await?;
    let mut found = rows::of_ref(session, table, &hash, scan).await?;
    let mut keys = Vec::new();
    let order = |a: &Vec<Option<String>>, b: &Vec<Option<String>>| by_key(table, a, b);
    while let Some(key) = found.try_next().await? {
        keys.push(key);
        // No more than the first ones are held.
        if keys.len() >= limit.saturating_mul(2).saturating_add(1_000) {
            keys.sort_unstable_by(order);
            keys.truncate(limit);
        }
    }
    keys.sort_unstable_by(order);
    keys.truncate(limit);
    Ok(keys)
}

/// Keys by their numbers, then by their texts.
fn by_key(table: &TableDef, a: &[Option<String>], b: &[Option<String>]) -> Ordering {
    let numbers = table.schema.key_columns().map(|c| c.data_type.is_integer());
    let cells = numbers.zip(a.iter().zip(b)).map(|(number, (a, b))| {
        let parse = |cell: &Option<String>| cell.as_deref().and_then(|text| text.parse::<i64>().ok());
        if number { parse(a).cmp(&parse(b)) } else { a.cmp(b) }
    });
    cells.fold(Ordering::Equal, Ordering::then)
}

/// That a key is one of a few, if the backend can be asked for these.
fn one_of(
    session: &Session<'_>,
    table: &TableDef,
    keys: &[Vec<Option<String>>],
) -> Result<Option<Predicate>> {
    const FEW: usize = 500;
    let ([index], true) = (table.schema.key.as_slice(), keys.len() <= FEW) else { return Ok(None) };
    let Some(column) = table.schema.columns.get(*index) else { return Ok(None) };
    if !column.data_type.is_integer() {
        return Ok(None);
    }
    let value =
        |key: &Vec<Option<String>>| text::typed(table.location.kind, column, key.first()?.as_deref()?).ok();
    let Some(values) = keys.iter().map(value).collect::<Option<Vec<Value>>>() else { return Ok(None) };
    let predicate = Predicate::In(*index, values);
    let supported = rows::backend(session.repository, table)?.supports(table, &predicate);
    Ok(supported.then_some(predicate))
}

/// `epoch_hashof_table`: the sum of the rows' hashes, so that their order doesn't matter.
pub(super) async fn hash_of_table(session: &Session<'_>, args: &Parsed) -> Result<Rows> {
    let table = columns::table(session, &args.required("table")?)?;
    // A branch's name is its commit, as in a diff.
    let spec = match args.text("ref") {
        Some(spec) if spec != "WORKING" => session.repository.hash_of(session.checkout, &spec).await?,
        _ => "WORKING".to_owned(),
    };
    let mut sum = [0_u64; 4];
    let mut shown = rows::of_ref(session, &table, &spec, Scan::default()).await?;
    while let Some(row) = shown.try_next().await? {
        let hash = Sha256::digest(printed(&row)?);
        for (lane, bytes) in sum.iter_mut().zip(hash.chunks_exact(8)) {
            let bytes = <[u8; 8]>::try_from(bytes).map_err(|e| Error::internal(e.to_string()))?;
            *lane = lane.wrapping_add(u64::from_be_bytes(bytes));
        }
    }
    let names: Vec<_> = table.schema.columns.iter().map(|c| Some(c.name.clone())).collect();
    let mut whole = Sha256::new();
    whole.update(printed(&names)?);
    sum.iter().for_each(|lane| whole.update(lane.to_be_bytes()));
    Ok(vec![vec![Some(whole.finalize().iter().map(|byte| format!("{byte:02x}")).collect())]])
}

fn printed(cells: &[Option<String>]) -> Result<Vec<u8>> {
    serde_json::to_vec(cells).map_err(|e| Error::internal(e.to_string()))
}

/// `epoch_preview_merge`.
pub(super) async fn preview(session: &Session<'_>, args: &Parsed) -> Result<Rows> {
    let source = args.required("source")?;
    let (target, table) = (args.text("target"), args.text("table"));
    let strategy = match args.text("strategy") {
        Some(name) => super::merge::strategy(&name)?,
        None => session.strategy,
    };
    let wanted = table.map(|name| columns::table(session, &name)).transpose()?;
    let repository = session.repository;
    let constraints = wanted.is_none();
    let Preview { tables, violations } = repository
        .preview_merge(session.checkout, &source, target.as_deref(), Some(strategy), constraints)
        .await?;
    let Some(wanted) = wanted else {
        return Ok(previewed_tables(&tables, violations));
    };
    let mut rows = Vec::new();
    for table in &tables {
        // The merge may give it another version.
        if let Some(places) = repository.columns_in(&wanted, &table.table) {
            rows.extend(table.rows.iter().map(|row| previewed_row(&wanted, &places, row)));
        }
    }
    Ok(rows)
}

/// With tables that the merge doesn't change, but whose rows it would leave without a parent.
fn previewed_tables(tables: &[PreviewedTable], violations: Option<Vec<(TableName, usize)>>) -> Rows {
    let told = violations.is_some();
    let mut violations: BTreeMap<String, usize> =
        violations.unwrap_or_default().into_iter().map(|(name, count)| (name.to_string(), count)).collect();
    let mut rows = Vec::new();
    for table in tables {
        let broken = violations.remove(&table.table.name.to_string()).unwrap_or_default();
        rows.push(previewed_table(&table.table, &table.rows, told.then_some(broken)));
    }
    for (name, count) in violations {
        let mut row = vec![Some(name)];
        row.extend(vec![Some("0".to_owned()); 4]);
        row.push(Some(count.to_string()));
        rows.push(row);
    }
    rows
}

fn previewed_table(
    table: &TableDef,
    rows: &[PreviewedRow],
    violations: Option<usize>,
) -> Vec<Option<String>> {
    let count =
        |wanted: fn(&PreviewedRow) -> bool| Some(rows.iter().filter(|r| wanted(r)).count().to_string());
    vec![
        Some(table.name.to_string()),
        count(|r| r.ours.is_none() && r.result.is_some()),
        count(|r| r.ours.is_some() && r.result.is_some() && r.ours != r.result),
        count(|r| r.ours.is_some() && r.result.is_none()),
        count(|r| r.conflict.is_some()),
        violations.map(|count| count.to_string()),
    ]
}

fn previewed_row(table: &TableDef, places: &[Option<usize>], row: &PreviewedRow) -> Vec<Option<String>> {
    // What a row in conflict becomes isn't known.
    let result = row.result.as_ref().filter(|_| row.conflict.is_none());
    let mut out = Vec::new();
    for side in [row.base.as_ref(), row.ours.as_ref(), row.theirs.as_ref(), result] {
        out.extend(cells_at(table, places, side));
    }
    out.push(row.conflict.map(|kind| kind.as_str().to_owned()));
    out
}
