//! `epoch diff`: one line per row, coloured by cell.

use epoch_adapter::TableDef;
use futures::TryStreamExt;

use super::Done;
use super::output::{BOLD, DIM, GREEN, Output, RED, YELLOW, cell, grid, one_line, paint};
use super::place::Place;
use super::progress::Progress;
use crate::functions::{Arg, Args, Opened, Outcome};
use crate::{Error, Result};

/// Prints the diff of one table or of all that differ.
pub(super) async fn diff(place: &Place, args: &Args, stat: bool, output: &Output) -> Result<Done> {
    let args = table_last(place, args);
    if stat {
        return output.show(&place.call("epoch_diff_stat", &args).await?, grid);
    }
    if output.json {
        return output.show(&place.call("epoch_diff", &args).await?, grid);
    }
    let progress = Progress::default();
    let text = progress.show("diff", text(place, &args, &progress)).await?;
    output.print(&text)
}

async fn text(place: &Place, args: &Args, progress: &Progress) -> Result<String> {
    let mut text = String::new();
    let stats = place.call("epoch_diff_stat", args).await?;
    let counts = ["rows_added", "rows_modified", "rows_deleted"];
    for row in 0..stats.rows.len() {
        let counted = counts.iter().filter_map(|column| cell(&stats, row, column)?.parse::<u64>().ok());
        progress.expect(counted.sum());
    }
    for row in 0..stats.rows.len() {
        let get = |column| cell(&stats, row, column).unwrap_or_default();
        let name = get("table_name");
        let table = place.repository.find_table(&place.checkout, name);
        let table = table.ok_or_else(|| Error::internal(format!("table {name} is gone")))?;
        let Opened { columns, mut rows } = place.open_rows("epoch_diff", &of_table(args, name)).await?;
        let mut changes = Outcome { columns, ..Outcome::default() };
        let mut lines = String::new();
        while let Some(row) = rows.try_next().await? {
            changes.rows = vec![row];
            let line = line(&table, &changes, 0);
            progress.row(line.len());
            lines.push_str(&line);
        }
        if lines.is_empty() {
            continue;
        }
        let heading = format!("{} {}", paint(BOLD, name), paint(DIM, get("location")));
        let counts = format!(
            "{} {} {}",
            paint(GREEN, format!("+{}", get("rows_added"))),
            paint(YELLOW, format!("~{}", get("rows_modified"))),
            paint(RED, format!("-{}", get("rows_deleted"))),
        );
        text.push_str(&format!("{heading}  {counts}\n"));
        text.push_str(&lines);
    }
    Ok(text)
}

/// `epoch diff users`: a lone registered table, as `git diff PATH` takes it.
fn table_last(place: &Place, args: &Args) -> Args {
    let mut args = args.clone();
    if let [(name, Arg::Text(text))] = args.named.as_mut_slice()
        && name == "from"
        && place.repository.find_table(&place.checkout, text).is_some()
    {
        "table".clone_into(name);
    }
    args
}

fn of_table(args: &Args, table: &str) -> Args {
    let mut args = args.clone();
    let range = args
        .named
        .iter()
        .any(|(name, value)| name == "from" && matches!(value, Arg::Text(text) if text.contains("..")));
    args.named.retain(|(name, _)| name != "table" && !(range && name == "to"));
    args.with("table", Arg::Text(table.to_owned()))
}

/// One row: `+` added, `-` removed, `~` with the cells that changed.
fn line(table: &TableDef, changes: &Outcome, row: usize) -> String {
    let kind = cell(changes, row, "diff_type").unwrap_or_default();
    let shown = |side: &str, column: &str| match cell(changes, row, &format!("{side}_{column}")) {
        Some(text) => one_line(text),
        None => "NULL".to_owned(),
    };
    let whole = |side: &str| {
        let cells = table.schema.columns.iter().map(|c| format!("{}={}", c.name, shown(side, &c.name)));
        cells.collect::<Vec<_>>().join("  ")
    };
    match kind {
        "added" => format!("{}\n", paint(GREEN, format!("+ {}", whole("to")))),
        "removed" => format!("{}\n", paint(RED, format!("- {}", whole("from")))),
        _ => {
            let key: Vec<String> =
                table.schema.key_columns().map(|c| format!("{}={}", c.name, shown("to", &c.name))).collect();
            let changed =
                cell(changes, row, "changed_columns").map(super::json::elements).unwrap_or_default();
            let cells = changed.iter().map(|column| {
                format!(
                    "{column}: {} → {}",
                    paint(RED, shown("from", column)),
                    paint(GREEN, shown("to", column))
                )
            });
            let cells: Vec<String> = cells.collect();
            format!("{} {}  {}\n", paint(YELLOW, "~"), key.join("  "), cells.join("  "))
        }
    }
}
