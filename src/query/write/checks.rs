//! WITH CHECK OPTION of a view that is written through: the statement says by a setting what the new rows must
//! fulfil, and a trigger of the overlay looks (sql/postgres/view_check.sql). The setting is made by a value of the statement
//! itself, so that it concerns this statement alone; the trigger takes it back at the statement's end.

use epoch_adapter_postgres::layout::{COPIED, literal};

use super::Write;
use crate::query::parse::{Insert, Modify, Source};
use crate::query::rewrite::Rewriter;
use crate::{Error, Result};

/// False, after the setting was made.
fn setting(checks: &str) -> String {
    format!("(pg_catalog.set_config('epoch.checks', {}, true) IS NULL)", literal(checks))
}

impl Write<'_> {
    /// To be called when nothing of the statement is evaluated before it any more.
    pub(super) fn check_inserted(&self, rewriter: &mut Rewriter<'_>, insert: &Insert) -> Result<()> {
        let Some(checks) = rewriter.checks.clone() else { return Ok(()) };
        let setting = setting(&checks);
        let unsupported = |what: &str| {
            Err(Error::unsupported(format!("{what} through a view WITH CHECK OPTION on a branch")))
        };
        let Some(list) = &insert.list else { return unsupported("INSERT … DEFAULT VALUES") };
        match &insert.source {
            Source::Default => return unsupported("INSERT … DEFAULT VALUES"),
            Source::Query(..) if !self.overridden.is_empty() => {
                return unsupported("OVERRIDING USER VALUE of a query");
            }
            Source::Values(rows) => {
                for last in rows.iter().filter_map(|row| row.last()) {
                    rewriter.edits.insert(last.end, format!(", {setting}"));
                }
            }
            Source::Query(range, _) => {
                rewriter.edits.insert(range.start, format!("SELECT epoch_u.*, {setting} FROM ("));
                rewriter.edits.insert(range.end, "\n) epoch_u");
            }
        }
        let listed = self.listed(insert).join(", ");
        rewriter.edits.replace(list.clone(), format!("({listed}, {COPIED})"));
        Ok(())
    }

    pub(super) fn check_updated(&self, rewriter: &mut Rewriter<'_>, modify: &Modify) {
        if let (Some(checks), Some(at)) = (rewriter.checks.clone(), modify.set_at.1) {
            let own = format!("{}.{COPIED}", self.alias());
            rewriter.edits.insert(at, format!(" {COPIED} = ({} OR {own}),", setting(&checks)));
        }
    }
}
