//! Identity columns on a branch. Those of an overlay are plain columns that draw from the base's sequences by
//! their defaults; what GENERATED ALWAYS and OVERRIDING mean is seen to here, by PostgreSQL's rules.

use std::ops::Range;

use epoch_adapter_postgres::layout::quote;

use super::Write;
use crate::query::parse::{Insert, Overriding, Source, When};
use crate::query::plan::Context;
use crate::query::rewrite::Rewriter;
use crate::{Error, Result};

impl Write<'_> {
    /// Whether a column is an identity column, and if so whether GENERATED ALWAYS.
    fn identity(&self, ctx: &Context<'_>, column: &str) -> Option<bool> {
        ctx.names.facts(&self.table).and_then(|facts| facts.identity(column))
    }

    /// The names of the columns that the rows of an INSERT give values for.
    fn named<'n>(&'n self, insert: &'n Insert) -> Vec<&'n str> {
        if !insert.columns.is_empty() {
            return insert.columns.iter().map(String::as_str).collect();
        }
        let width = self.width.unwrap_or(usize::MAX);
        self.table.schema.columns.iter().take(width).map(|c| c.name.as_str()).collect()
    }

    /// 428C9 if an INSERT gives a value that it must not; else the columns whose values aren't used.
    pub(super) fn identity_values(
        &self,
        ctx: &Context<'_>,
        sql: &str,
        insert: &Insert,
    ) -> Result<Vec<String>> {
        // What is wrong with the names, or the number of values, the server says first.
        let unknown = insert.columns.iter().any(|c| self.table.schema.index_of(c).is_none());
        if unknown || insert.source == Source::Default || insert.overriding == Overriding::System {
            return Ok(Vec::new());
        }
        let given = self.width.unwrap_or(usize::MAX);
        if !insert.columns.is_empty() && self.width.is_some_and(|width| width != insert.columns.len()) {
            return Ok(Vec::new());
        }
        let mut overridden = Vec::new();
        for (i, name) in self.named(insert).into_iter().enumerate().filter(|(i, _)| *i < given) {
            match (self.identity(ctx, name), insert.overriding) {
                (Some(_), Overriding::User) => overridden.push(name.to_owned()),
                (Some(true), Overriding::None) if !all_default(sql, insert, i) => {
                    return Err(given_value(name));
                }
                _ => {}
            }
        }
        Ok(overridden)
    }

    /// The column list of an INSERT on the overlay, quoted. More values than columns are PostgreSQL's error.
    pub(super) fn listed(&self, insert: &Insert) -> Vec<String> {
        let query = matches!(insert.source, Source::Query(..));
        let kept = |name: &&str| !query || !self.overridden.iter().any(|o| o == name);
        self.named(insert).into_iter().filter(kept).map(quote).collect()
    }

    /// The columns that the rows give values for, quoted and in order, where a value that isn't used has no name.
    pub(super) fn places(&self, insert: &Insert) -> Vec<String> {
        let place = |name: &str| {
            if self.overridden.iter().any(|o| o == name) { String::new() } else { quote(name) }
        };
        self.named(insert).into_iter().map(place).collect()
    }

    /// Takes the values away that OVERRIDING USER VALUE leaves out.
    pub(super) fn override_values(&self, rewriter: &mut Rewriter<'_>, insert: &Insert) -> Result<()> {
        if self.overridden.is_empty() {
            return Ok(());
        }
        let named = self.named(insert);
        let left_out = |i: &usize| named.get(*i).is_some_and(|n| self.overridden.iter().any(|o| o == n));
        match &insert.source {
            Source::Default => {}
            Source::Values(rows) => {
                for row in rows {
                    for (_, value) in row.iter().enumerate().filter(|(i, _)| left_out(i)) {
                        rewriter.edits.replace(value.clone(), "DEFAULT");
                    }
                }
            }
            Source::Query(..) if insert.conflict.is_some() => {
                return Err(Error::unsupported(
                    "ON CONFLICT with OVERRIDING USER VALUE of a query, on a branch",
                ));
            }
            Source::Query(range, _) => {
                let all: Vec<String> = (0..named.len()).map(|i| format!("epoch_c{i}")).collect();
                let kept: Vec<String> =
                    (0..named.len()).filter(|i| !left_out(i)).map(|i| format!("epoch_c{i}")).collect();
                if kept.is_empty() {
                    return Err(Error::unsupported(
                        "OVERRIDING USER VALUE of a query that gives nothing else, on a branch",
                    ));
                }
                rewriter.edits.insert(range.start, format!("SELECT {} FROM (", kept.join(", ")));
                rewriter.edits.insert(range.end, format!("\n) epoch_u({})", all.join(", ")));
            }
        }
        Ok(())
    }

    /// 428C9 if a column that is GENERATED ALWAYS is set to something else than DEFAULT.
    pub(super) fn check_identity(
        &self,
        ctx: &Context<'_>,
        sets: &[String],
        defaults: &[String],
    ) -> Result<()> {
        // What is wrong with the names, the server says first.
        if sets.iter().any(|c| self.table.schema.index_of(c).is_none()) {
            return Ok(());
        }
        let always = |c: &&String| self.identity(ctx, c) == Some(true) && !defaults.contains(c);
        match sets.iter().find(always) {
            None => Ok(()),
            Some(name) => {
                Err(Error::new("428C9", format!("column \"{name}\" can only be updated to DEFAULT"))
                    .with_detail(always_identity(name)))
            }
        }
    }

    /// The same of a WHEN clause of MERGE. `width`: how many values it inserts without a column list.
    pub(super) fn merge_identity(
        &self,
        ctx: &Context<'_>,
        rewriter: &mut Rewriter<'_>,
        when: &When,
        width: Option<usize>,
    ) -> Result<()> {
        let Some(values) = &when.values else {
            return self.check_identity(ctx, &when.columns, &when.defaults);
        };
        let all = self.table.schema.columns.iter().take(width.unwrap_or(usize::MAX)).map(|c| &c.name);
        let named: Vec<&String> =
            if when.columns.is_empty() { all.collect() } else { when.columns.iter().collect() };
        if named.iter().any(|c| self.table.schema.index_of(c).is_none()) {
            return Ok(());
        }
        for (name, value) in named.into_iter().zip(values) {
            match (self.identity(ctx, name), when.overriding) {
                (Some(_), Overriding::User) => rewriter.edits.replace(value.clone(), "DEFAULT"),
                (Some(true), Overriding::None) if !is_default(rewriter.sql, value) => {
                    return Err(given_value(name));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// Whether all rows of an INSERT have DEFAULT in one place.
fn all_default(sql: &str, insert: &Insert, place: usize) -> bool {
    match &insert.source {
        Source::Values(rows) => rows.iter().all(|row| row.get(place).is_some_and(|v| is_default(sql, v))),
        _ => false,
    }
}

/// Whether a value is the word DEFAULT.
fn is_default(sql: &str, value: &Range<usize>) -> bool {
    sql.get(value.clone()).is_some_and(|text| text.trim().eq_ignore_ascii_case("default"))
}

fn given_value(name: &str) -> Error {
    Error::new("428C9", format!("cannot insert a non-DEFAULT value into column \"{name}\""))
        .with_detail(always_identity(name))
        .with_hint("Use OVERRIDING SYSTEM VALUE to override.")
}

fn always_identity(name: &str) -> String {
    format!("Column \"{name}\" is an identity column defined as GENERATED ALWAYS.")
}
