//! The rows of a table over time and over branches.

use std::collections::{BTreeMap, HashMap};

use epoch_adapter::{Error, Row, TableDef};
use sha2::{Digest, Sha256};

use super::args::Parsed;
use super::conflicts::{cells, cells_at};
use super::{Rows, Session, columns, rows, text};
use crate::Result;
use crate::operations::{PreviewedRow, RowVersion};

/// `epoch_history`.
pub(super) async fn history(session: &Session<'_>, args: &Parsed) -> Result<Rows> {
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
    let repository = session.repository;
    let found = repository.row_history(session.checkout, &table, key.as_ref(), spec.as_deref()).await?;
    Ok(found.iter().map(|version| version_row(&table, version)).collect())
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
pub(super) async fn blame(session: &Session<'_>, args: &Parsed) -> Result<Rows> {
    let table = columns::table(session, &args.required("table")?)?;
    let spec = args.text("ref").unwrap_or_else(|| "HEAD".to_owned());
    let blamed = session.repository.blame(session.checkout, &table, Some(&spec)).await?;
    let by_text: HashMap<Vec<Option<String>>, _> = blamed
        .into_iter()
        .map(|(key, commit)| {
            let texts = table.schema.key_columns().zip(&key).map(|(c, v)| text::value(c, v));
            (texts.collect(), commit)
        })
        .collect();
    // A commit, not the branch with what is uncommitted.
    let hash = session.repository.hash_of(session.checkout, &spec).await?;
    let mut keys = rows::of_ref(session, &table, &hash, Some(table.schema.key.clone())).await?;
    keys.sort_unstable();
    let row = |key: Vec<Option<String>>| {
        let commit = by_text.get(&key);
        let mut row = key;
        row.extend([
            commit.map(|c| c.hash.clone()),
            commit.map(|c| c.author.clone()),
            commit.map(|c| text::timestamp(c.date)),
            commit.map(|c| c.message.clone()),
        ]);
        row
    };
    Ok(keys.into_iter().map(row).collect())
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
    rows::each_of_ref(session, &table, &spec, None, &mut |row| {
        let hash = Sha256::digest(printed(&row)?);
        for (lane, bytes) in sum.iter_mut().zip(hash.chunks_exact(8)) {
            let bytes = <[u8; 8]>::try_from(bytes).map_err(|e| Error::internal(e.to_string()))?;
            *lane = lane.wrapping_add(u64::from_be_bytes(bytes));
        }
        Ok(())
    })
    .await?;
    let names: Vec<_> = table.schema.columns.iter().map(|c| Some(c.name.clone())).collect();
    let mut whole = Sha256::new();
    whole.update(printed(&names)?);
    sum.iter().for_each(|lane| whole.update(lane.to_be_bytes()));
    Ok(vec![vec![Some(whole.finalize().iter().map(|byte| format!("{byte:02x}")).collect())]])
}

fn printed(cells: &[Option<String>]) -> Result<Vec<u8>> {
    serde_json::to_vec(cells).map_err(|e| Error::internal(e.to_string()))
}

/// `epoch_all_branches`: main's rows are read once; of the others, what differs from them.
pub(super) async fn all_branches(session: &Session<'_>, args: &Parsed) -> Result<Rows> {
    let table = columns::table(session, &args.required("table")?)?;
    let repository = session.repository;
    let main = repository.checkout("main", None).await?;
    let mut base = BTreeMap::new();
    if repository.tables_on(&main).by_id.contains_key(&table.id) {
        let key = &table.schema.key;
        rows::each_of_view(session, &table, &main, None, &mut |row| {
            let texts: Vec<_> = key.iter().map(|&i| row.get(i).cloned().flatten()).collect();
            base.insert(texts, row);
            Ok(())
        })
        .await?;
    }
    let mut all = Rows::new();
    for branch in repository.branches().await? {
        let there = repository.checkout(&branch.name, None).await?;
        if !repository.tables_on(&there).by_id.contains_key(&table.id) {
            continue;
        }
        let mut differ = BTreeMap::new();
        for change in repository.changes_from_main(&there, &table).await? {
            let texts: Vec<_> =
                table.schema.key_columns().zip(&change.key).map(|(c, v)| text::value(c, v)).collect();
            let row = change.after.as_ref().map(|row| cells(&table, Some(row)).collect::<Vec<_>>());
            differ.insert(texts, row);
        }
        let mut push = |row: &Vec<Option<String>>| {
            let mut named = vec![Some(branch.name.clone())];
            named.extend(row.iter().cloned());
            all.push(named);
        };
        base.iter().filter(|(key, _)| !differ.contains_key(*key)).for_each(|(_, row)| push(row));
        differ.values().flatten().for_each(&mut push);
    }
    Ok(all)
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
    let tables =
        repository.preview_merge(session.checkout, &source, target.as_deref(), Some(strategy)).await?;
    let Some(wanted) = wanted else {
        return Ok(tables.iter().map(|t| previewed_table(&t.table, &t.rows)).collect());
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

fn previewed_table(table: &TableDef, rows: &[PreviewedRow]) -> Vec<Option<String>> {
    let count =
        |wanted: fn(&PreviewedRow) -> bool| Some(rows.iter().filter(|r| wanted(r)).count().to_string());
    vec![
        Some(table.name.to_string()),
        count(|r| r.ours.is_none() && r.result.is_some()),
        count(|r| r.ours.is_some() && r.result.is_some() && r.ours != r.result),
        count(|r| r.ours.is_some() && r.result.is_none()),
        count(|r| r.conflict.is_some()),
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
