//! What people and programs see.

use std::io::{ErrorKind, Write};

use anstyle::{AnsiColor, Style};
use clap::ArgMatches;

use super::{Done, json, pager};
use crate::functions::{Outcome, SqlType};
use crate::{Error, Result, sqlstate};

pub(super) const GREEN: Style = AnsiColor::Green.on_default();
pub(super) const RED: Style = AnsiColor::Red.on_default();
pub(super) const YELLOW: Style = AnsiColor::Yellow.on_default();
pub(super) const CYAN: Style = AnsiColor::Cyan.on_default();
pub(super) const BOLD: Style = Style::new().bold();
pub(super) const DIM: Style = Style::new().dimmed();

/// Text in a style; whoever prints it drops the style where colour isn't wanted.
pub(super) fn paint(style: Style, text: impl std::fmt::Display) -> String {
    format!("{style}{text}{style:#}")
}

/// Where results go.
pub(super) struct Output {
    pub(super) json: bool,
    /// What shows it page by page.
    pager: Option<String>,
}

impl Output {
    /// As the flags say.
    pub(super) fn new(matches: &ArgMatches) -> Self {
        let choice = match matches.get_one::<String>("color").map(String::as_str) {
            Some("always") => anstream::ColorChoice::Always,
            Some("never") => anstream::ColorChoice::Never,
            _ => anstream::ColorChoice::Auto,
        };
        choice.write_global();
        Self { json: matches.get_flag("json"), pager: pager::of(matches) }
    }

    /// Prints text. A reader that has gone away (`| head`) is not an error.
    pub(super) fn print(&self, text: &str) -> Result<Done> {
        if let Some(pager) = self.pager.as_ref().filter(|_| !text.is_empty()) {
            let plain = anstream::AutoStream::choice(&std::io::stdout()) == anstream::ColorChoice::Never;
            let plain = plain.then(|| anstream::adapter::strip_str(text).to_string());
            if pager::show(pager, plain.as_deref().unwrap_or(text)) {
                return Ok(Done::Well);
            }
        }
        let mut out = anstream::stdout().lock();
        match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
            Err(e) if e.kind() != ErrorKind::BrokenPipe => {
                Err(Error::new(sqlstate::IO_ERROR, format!("cannot write the output: {e}")))
            }
            _ => Ok(Done::Well),
        }
    }

    /// Prints a result: JSON, or what `human` makes of it.
    pub(super) fn show(&self, outcome: &Outcome, human: impl FnOnce(&Outcome) -> String) -> Result<Done> {
        for notice in &outcome.notices {
            let _ = writeln!(anstream::stderr(), "{} {notice}", paint(DIM, "note:"));
        }
        match self.json {
            true => self.print(&format!("{}\n", json::rows(outcome))),
            false => self.print(&human(outcome)),
        }
    }

    /// Prints an error to stderr.
    pub(super) fn error(&self, error: &Error) {
        let text = match self.json {
            true => format!("{}\n", json::error(error)),
            false => {
                let mut text = format!("{} {}\n", paint(RED.bold(), "error:"), error.message());
                for (name, part) in [("detail", error.detail()), ("hint", error.hint())] {
                    if let Some(part) = part {
                        text.push_str(&format!("{} {part}\n", paint(DIM, format!("{name}:"))));
                    }
                }
                text
            }
        };
        let _ = anstream::stderr().write_all(text.as_bytes());
    }
}

/// A result as an aligned table; numbers to the right.
pub(super) fn grid(outcome: &Outcome) -> String {
    let headers: Vec<&str> = outcome.columns.iter().map(|c| c.name.as_str()).collect();
    let right: Vec<bool> = outcome.columns.iter().map(|c| is_number(&c.ty)).collect();
    table(&headers, &right, &outcome.rows)
}

fn is_number(ty: &SqlType) -> bool {
    match ty {
        SqlType::Int8 => true,
        SqlType::Named(name) => {
            ["smallint", "integer", "bigint", "numeric", "real", "double"].iter().any(|n| name.starts_with(n))
        }
        _ => false,
    }
}

/// Rows under headers.
pub(super) fn table(headers: &[&str], right: &[bool], rows: &[Vec<Option<String>>]) -> String {
    let cell = |cell: &Option<String>| one_line(cell.as_deref().unwrap_or(""));
    let rows: Vec<Vec<String>> = rows.iter().map(|row| row.iter().map(cell).collect()).collect();
    let width = |index: usize, header: &str| {
        let cells = rows.iter().filter_map(|row| row.get(index)).map(|cell| cell.chars().count());
        cells.chain([header.chars().count()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = headers.iter().enumerate().map(|(i, h)| width(i, h)).collect();
    let line = |cells: &[String]| -> String {
        let padded = cells.iter().zip(&widths).enumerate().map(|(i, (cell, &width))| match right.get(i) {
            Some(true) => format!("{cell:>width$}"),
            _ => format!("{cell:<width$}"),
        });
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    let headers: Vec<String> = headers.iter().map(|h| (*h).to_owned()).collect();
    let mut text = format!("{}\n", paint(BOLD, line(&headers)));
    for row in &rows {
        text.push_str(&line(row));
        text.push('\n');
    }
    text.push_str(&paint(DIM, format!("({} {})", rows.len(), if rows.len() == 1 { "row" } else { "rows" })));
    text.push('\n');
    text
}

/// Control characters, which a terminal might obey, as escapes.
pub(super) fn one_line(text: &str) -> String {
    if !text.contains(char::is_control) {
        return text.to_owned();
    }
    text.chars()
        .map(|c| if c.is_control() { c.escape_default().to_string() } else { c.to_string() })
        .collect()
}

/// A cell of the result by its column's name.
pub(super) fn cell<'a>(outcome: &'a Outcome, row: usize, column: &str) -> Option<&'a str> {
    let index = outcome.columns.iter().position(|c| c.name == column)?;
    outcome.rows.get(row)?.get(index)?.as_deref()
}

/// The first digits of a hash.
pub(super) fn short(hash: &str) -> &str {
    hash.get(..10).unwrap_or(hash)
}

/// `1 row`, `2 rows`.
pub(super) fn counted(count: i64, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {what}{plural}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_align_and_escape() {
        let rows = vec![
            vec![Some("a".to_owned()), Some("10".to_owned())],
            vec![Some("b\u{1b}[31m\n".to_owned()), None],
        ];
        let text = anstream::adapter::strip_str(&table(&["name", "n"], &[false, true], &rows)).to_string();
        assert_eq!(text, "name            n\na              10\nb\\u{1b}[31m\\n\n(2 rows)\n");
    }
}
