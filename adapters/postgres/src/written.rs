//! Whether somebody wrote a table's rows anew. `ALTER TABLE … ALTER COLUMN … TYPE … USING …` gives rows other values
//! past all triggers, and may leave names and types as they were; `VACUUM FULL`, `CLUSTER` and `TRUNCATE` move
//! the table to another file, too, and mustn't be taken for it.
//!
//! No catalog says what happened, so what several of them say is compared with what they said when the table
//! was last known to be sound (decision 47).

use std::collections::{BTreeMap, BTreeSet};

use deadpool_postgres::Object;
use epoch_adapter::{Result, TableDef};
use serde::Deserialize;

use crate::error::pg;
use crate::layout::{base, literal};
use crate::text::{fill, join};
use crate::tx::{is_true, texts};

const TRACES_SQL: &str = include_str!("../../../sql/postgres/traces.sql");

/// The table that holds what is known.
pub(crate) const WRITTEN_SQL: &str = include_str!("../../../sql/postgres/written.sql");

/// Pages of a table that are looked at, at most about.
const PAGES: u32 = 200;

/// SQL for the traces of a relation, whose number `relation` is.
pub(crate) fn traces_sql(relation: &str) -> String {
    fill(TRACES_SQL, &[("relation", relation)])
}

/// What the catalogs say of who wrote a table.
#[derive(Debug, Clone, PartialEq, Deserialize)]
struct Traces {
    /// By number, the transaction that wrote the column's entry last, with an `m` while it has a value for rows that
    /// don't hold one. Whatever writes the rows anew takes that away, and with it the entry's transaction is another.
    columns: BTreeMap<String, String>,
    /// By number, the tables that hold rows.
    files: BTreeMap<String, File>,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
struct File {
    file: String,
    /// The number of the table of its large values, or 0. ALTER TABLE makes another one when it writes the rows anew; VACUUM
    /// FULL, CLUSTER and TRUNCATE keep it.
    toast: String,
    /// By number, the transaction that wrote the index' entry last: all are written when the rows are.
    indexes: BTreeMap<String, String>,
}

/// What a comparison comes to.
#[derive(Debug, PartialEq)]
enum Verdict {
    /// Nobody wrote the rows anew.
    Sound,
    /// By a change of the column with this number.
    Rewritten(String),
    /// That is so if a row of one of these tables was written by the transaction that changed a column.
    Open { tables: Vec<String>, columns: Vec<(String, String)> },
}

fn judge(known: &Traces, now: &Traces) -> Verdict {
    let transaction = |entry: &String| entry.trim_end_matches('m').to_owned();
    let changed: Vec<(String, String)> = known
        .columns
        .iter()
        .filter_map(|(number, before)| Some((number, before, now.columns.get(number)?)))
        .filter(|(_, before, after)| transaction(before) != transaction(after))
        .map(|(number, _, after)| (number.clone(), transaction(after)))
        .collect();
    let Some((first, _)) = changed.first() else { return Verdict::Sound };
    let filled = |number: &String| known.columns.get(number).is_some_and(|entry| entry.ends_with('m'));
    let mut open = Vec::new();
    for (number, before) in &known.files {
        let Some(after) = now.files.get(number).filter(|after| after.file != before.file) else { continue };
        if before.toast != "0" {
            if after.toast != before.toast {
                return Verdict::Rewritten(first.clone());
            }
            continue;
        }
        let with_it = after.rewritten_by(before);
        let cause = changed.iter().find(|(number, by)| with_it.contains(by) && !filled(number));
        if let Some((column, _)) = cause {
            return Verdict::Rewritten(column.clone());
        }
        open.push(number.clone());
    }
    if open.is_empty() { Verdict::Sound } else { Verdict::Open { tables: open, columns: changed } }
}

impl File {
    /// The transactions that may have written the rows: those of the indexes that were there before; of all, if those were
    /// made anew.
    fn rewritten_by(&self, before: &Self) -> BTreeSet<String> {
        let still = self.indexes.iter().filter(|(number, _)| before.indexes.contains_key(*number));
        let still: BTreeSet<String> = still.map(|(_, by)| by.clone()).collect();
        if still.is_empty() { self.indexes.values().cloned().collect() } else { still }
    }
}

/// The name of a column whose change wrote the rows anew since the table was last known to be sound. If none did, what
/// there is now is what is known from here on.
pub(crate) async fn look(
    client: &Object,
    table: &TableDef,
    known: Option<serde_json::Value>,
    now: serde_json::Value,
) -> Result<Option<String>> {
    if known.as_ref() == Some(&now) {
        return Ok(None);
    }
    if let Some(known) = &known {
        let read = |value: &serde_json::Value| Traces::deserialize(value).ok();
        let verdict = match (read(known), read(&now)) {
            (Some(known), Some(now)) => judge(&known, &now),
            _ => Verdict::Sound,
        };
        let column = match verdict {
            Verdict::Sound => None,
            Verdict::Rewritten(column) => Some(column),
            Verdict::Open { tables, columns } => by_rows(client, &tables, &columns).await?,
        };
        if let Some(column) = column {
            return named(client, table, &column).await.map(Some);
        }
    }
    // Whoever else looked or noted meanwhile knows better, or the same.
    let sql = match known {
        None => {
            "INSERT INTO epoch.written (table_id, traces) SELECT $1::int8, $2::jsonb WHERE $3::jsonb IS NULL ON CONFLICT DO NOTHING"
        }
        Some(_) => {
            "UPDATE epoch.written w SET traces = $2 FROM \
             (SELECT x.table_id FROM epoch.written x WHERE x.table_id = $1 AND x.traces = $3 FOR UPDATE SKIP LOCKED) l WHERE w.table_id = l.table_id"
        }
    };
    let statement = client.prepare_cached(sql).await.map_err(pg)?;
    client.execute(&statement, &[&table.id.0, &now, &known]).await.map_err(pg)?;
    Ok(None)
}

/// The column whose change wrote rows of these tables, as some of their rows say, if any does.
async fn by_rows(client: &Object, tables: &[String], columns: &[(String, String)]) -> Result<Option<String>> {
    let by = join(columns, ", ", |(_, by)| literal(by));
    for table in tables {
        let place = format!(
            "SELECT {table}::regclass::text, (100.0 * {PAGES} / greatest({PAGES}, pg_relation_size({table}::regclass) / current_setting('block_size')::int8))::text"
        );
        let Some(row) = texts(client, &place).await?.into_iter().next() else { continue };
        let [Some(name), Some(share)] = row.as_slice() else { continue };
        let rows = format!(
            "SELECT o.xmin::text FROM ONLY {name} o TABLESAMPLE SYSTEM ({share}) WHERE o.xmin::text IN ({by}) LIMIT 1"
        );
        if let Some(found) = texts(client, &rows).await?.into_iter().flatten().flatten().next() {
            return Ok(columns.iter().find(|(_, by)| *by == found).map(|(column, _)| column.clone()));
        }
    }
    Ok(None)
}

async fn named(client: &Object, table: &TableDef, column: &str) -> Result<String> {
    let sql = format!(
        "SELECT a.attname::text FROM pg_attribute a WHERE a.attrelid = {}::regclass AND a.attnum = {}",
        literal(&base(table)),
        literal(column)
    );
    Ok(texts(client, &sql).await?.into_iter().flatten().flatten().next().unwrap_or_default())
}

/// Takes the table's rows for what they should be.
pub(crate) async fn note(client: &Object, table: &TableDef) -> Result<()> {
    let relation = format!("{}::regclass::oid", literal(&base(table)));
    let sql = format!(
        "INSERT INTO epoch.written (table_id, traces) SELECT {}, {} ON CONFLICT (table_id) DO UPDATE SET traces = excluded.traces",
        table.id.0,
        traces_sql(&relation)
    );
    client.batch_execute(&sql).await.map_err(pg)
}

/// Makes the table that holds what is known, in a database that was prepared before there was one.
pub(crate) async fn prepare(client: &Object) -> Result<()> {
    let missing =
        "SELECT to_regclass('epoch.written_by') IS NOT NULL AND to_regclass('epoch.written') IS NULL";
    if !is_true(client, missing).await? {
        return Ok(());
    }
    crate::install::lock(client).await?;
    // Another proxy may have done it meanwhile.
    if is_true(client, missing).await? {
        client.batch_execute(WRITTEN_SQL).await.map_err(pg)?;
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// Columns as `number:transaction`, then one file: `file toast index:transaction …`.
    fn traces(columns: &str, file: &str) -> Traces {
        let pairs = |text: &str| -> BTreeMap<String, String> {
            text.split_whitespace()
                .filter_map(|pair| pair.split_once(':'))
                .map(|(a, b)| (a.to_owned(), b.to_owned()))
                .collect()
        };
        let mut words = file.splitn(3, ' ');
        let mut word = || words.next().unwrap_or_default().to_owned();
        let (file, toast, indexes) = (word(), word(), word());
        let file = File { file, toast, indexes: pairs(&indexes) };
        Traces { columns: pairs(columns), files: BTreeMap::from([("7".to_owned(), file)]) }
    }

    #[track_caller]
    fn check(known: (&str, &str), now: (&str, &str), expected: &str) {
        let found = match judge(&traces(known.0, known.1), &traces(now.0, now.1)) {
            Verdict::Sound => "sound".to_owned(),
            Verdict::Rewritten(column) => format!("by {column}"),
            Verdict::Open { columns, .. } => {
                format!("open {}", join(columns, " ", |(column, by)| format!("{column}:{by}")))
            }
        };
        assert_eq!(found, expected);
    }

    #[test]
    fn what_only_moves_the_rows_or_only_changes_a_column_is_sound() {
        for toast in ["50", "0"] {
            let (known, file) = (("1:5 2:5", format!("10 {toast} 60:5")), format!("11 {toast} 60:8"));
            let known = (known.0, known.1.as_str());
            check(known, ("1:5 2:5", &file), "sound");
            check(known, ("1:5 2:9", known.1), "sound");
            // A column that came or went is told by its name.
            check(known, ("1:5", &file), "sound");
            check(known, ("1:5 2:5 3:8", &file), "sound");
        }
        // SET LOGGED, pg_repack
        check(("1:5 2:5", "10 50 60:5"), ("1:5 2:5", "11 51 60:8"), "sound");
    }

    #[test]
    fn a_change_that_writes_rows_is_told_by_the_table_of_large_values_if_there_is_one() {
        check(("1:5 2:5", "10 50 60:5"), ("1:5 2:8", "11 51 60:8"), "by 2");
        check(("1:5 2:5", "10 50 60:5"), ("1:5 2:8", "12 51 60:9"), "by 2");
        // VACUUM FULL, and SET DEFAULT before or after it, or with a TRUNCATE.
        check(("1:5 2:5", "10 50 60:5"), ("1:5 2:7", "11 50 60:8"), "sound");
        check(("1:5 2:5", "10 50 60:5"), ("1:5 2:8", "11 50 60:8"), "sound");
    }

    #[test]
    fn without_one_it_is_told_by_the_indexes() {
        check(("1:5 2:5", "10 0 60:5"), ("1:5 2:8", "11 0 60:8"), "by 2");
        // The only index was of that column, and was made anew.
        check(("1:5", "10 0 60:5"), ("1:8", "11 0 61:8"), "by 1");
        // VACUUM FULL, then an index that was made with a default.
        check(("1:5 2:5", "10 0 60:5"), ("1:5 2:9", "11 0 60:8 61:9"), "open 2:9");
        check(("1:5 2:5", "10 0 60:5"), ("1:5 2:7", "11 0 60:8"), "open 2:7");
        // What VACUUM FULL does to a column that was added with a default.
        check(("1:5 2:6m", "10 0 60:5"), ("1:5 2:8", "11 0 60:8"), "open 2:8");
        check(("1:5 2:6m", "10 0 60:5"), ("1:8 2:8", "11 0 60:8"), "by 1");
    }
}
