//! `epoch table add`.

use super::output::{BOLD, DIM, cell, counted, paint};
use crate::functions::Outcome;

/// What was registered, or accepted as it is.
pub(super) fn added(outcome: &Outcome, done: &str) -> String {
    let line = |row: usize| {
        let get = |column| cell(outcome, row, column).unwrap_or_default();
        let estimate = format!("about {}", counted(get("rows_estimate").parse().unwrap_or(0), "row"));
        let key = super::json::elements(get("key")).join(", ");
        format!(
            "{}  {}  key ({key})  {}\n",
            paint(BOLD, get("table_name")),
            get("location"),
            paint(DIM, estimate)
        )
    };
    let mut text: String = (0..outcome.rows.len()).map(line).collect();
    text.push_str(&format!("{} {done}\n", counted(outcome.rows.len() as i64, "table")));
    text
}
