//! The simple protocol, for strings that the gate didn't clear.

use std::collections::VecDeque;
use std::sync::Arc;

use epoch_adapter::{Error, Result};
use futures::FutureExt;

use super::local::{self, LocalStatement, Portal};
use super::native::Native;
use super::pipe::{Kind, Reply, Restore, Steps, To};
use super::plan::{Route, Step};
use crate::federation::Params;
use crate::query::{self, gate};
use crate::wire::decode::{self, Fields};
use crate::wire::encode::{self, Severity, Status};

/// A statement that fails on any server, to bring a transaction into the state that our own error
/// asks for. The client never sees its message.
pub(super) const FAILURE: &[u8] = b"refused by horizon epoch";

impl Native {
    /// Runs a string. Statements for the server go there together, as one Query; what we run
    /// ourselves stands between such groups.
    pub(super) async fn simple(&mut self, sql: &[u8]) -> Result<()> {
        let sql = query::as_of(sql);
        let text = std::str::from_utf8(&sql).unwrap_or_default();
        let implicit = self.begin_implicit(text).boxed().await?;
        match self.try_simple(&sql).await? {
            Ok(()) => {}
            Err(error) => self.fail_simple(error).await?,
        }
        if implicit { self.end_implicit().boxed().await } else { Ok(()) }
    }

    /// The end of a text: commits what was begun for it.
    async fn finish_text(&mut self) -> Result<Result<()>> {
        if self.pipe.implicit
            && let Err(error) = self.commit_block("COMMIT").boxed().await?
        {
            return Ok(Err(error));
        }
        let status = self.pipe.status;
        self.pipe.answer(|out| encode::ready_for_query(out, status));
        Ok(Ok(()))
    }

    /// The outer error ends the connection, the inner one is the statement's.
    async fn try_simple(&mut self, sql: &[u8]) -> Result<Result<()>> {
        let sql = match decode::utf8(sql) {
            Ok(sql) => sql,
            Err(error) => return Ok(Err(error)),
        };
        // Its answer comes too late for a client that sends on without waiting for it.
        if gate::contains(sql.as_bytes(), b"deallocate") {
            self.prepared.clear();
        }
        let mut start = 0;
        loop {
            let rest = sql.get(start..).unwrap_or_default();
            let before = sql.get(..start).unwrap_or_default().chars().count();
            let planned = match self.plan(rest, &[], None).await? {
                Ok(planned) => planned,
                Err(error) => return Ok(Err(error)),
            };
            let steps = &planned.steps;
            let group = steps.iter().position(|s| matches!(s.route, Route::Local(_))).unwrap_or(steps.len());
            let last = group == steps.len() && planned.rest.is_none() && !self.pipe.implicit;
            if let ([Step { route: Route::Rewritten(rewritten), .. }], true) = (steps.as_slice(), last)
                && self.pipe.status != Status::Failed
                && self.send_prepared(rest, before, rewritten).boxed().await?
            {
                return Ok(Ok(()));
            }
            if last || group > 0 {
                self.send_group(rest, before, steps.get(..group).unwrap_or_default(), last);
            }
            if last {
                return Ok(Ok(()));
            }
            self.pipe.drain().await?;
            self.take_notes();
            if group > 0 && self.pipe.failed {
                return Ok(Ok(()));
            }
            let next = match steps.get(group) {
                Some(step) => {
                    let Route::Local(statement) = &step.route else { return Ok(Ok(())) };
                    if let Err(error) = self.answer_local(statement.clone()).await? {
                        return Ok(Err(error));
                    }
                    steps.get(group + 1).map(|s| s.range.start).or(planned.rest)
                }
                None => planned.rest,
            };
            let Some(next) = next else { return self.finish_text().await };
            start += next;
        }
    }

    /// Runs a statement of ours and sends its result, without ReadyForQuery.
    async fn answer_local(&mut self, statement: Arc<LocalStatement>) -> Result<Result<()>> {
        let mut portal = Portal {
            statement,
            params: Params::default(),
            texts: Vec::new(),
            formats: Vec::new(),
            done: None,
        };
        match self.run_local(&mut portal).await? {
            Err(error) => Ok(Err(error)),
            Ok(mut done) => {
                let client = &mut self.pipe.client;
                if done.columns.is_some() {
                    local::describe(client.output.tail(), done.columns.as_deref(), &[]);
                }
                done.send(client, &self.planner.seat.live, &[], 0).await
            }
        }
    }

    /// One Query with the group's statements, preludes before them. `before`: characters of the
    /// client's string before `text`.
    fn send_group(&mut self, text: &str, before: usize, steps: &[Step], last: bool) {
        let branch = !self.planner.is_relaying();
        if !branch && last && steps.iter().all(|s| s.route.is_relay()) {
            encode::query(self.pipe.server.output.tail(), text.as_bytes());
            return self.pipe.expect(Kind::Query, To::Client);
        }
        let mut sql = String::new();
        let mut replies = VecDeque::new();
        let mut origins = VecDeque::new();
        let mut parts = Vec::new();
        // A server that shows the text of a statement (pg_prepared_statements) shows the client's.
        let alone = steps.len() == 1 && last;
        for step in steps {
            let source = text.get(step.range.clone()).unwrap_or_default();
            let (body, restore, offset) = match &step.route {
                Route::Rewritten(rewritten) => {
                    let unsure = std::mem::take(&mut self.pipe.unsure);
                    let tune = self.planner.tune(&rewritten.settings, unsure);
                    for ours in tune.iter().chain(rewritten.prelude.iter().map(|p| &p.sql)) {
                        let start = sql.chars().count();
                        sql.push_str(ours);
                        let end = start + ours.chars().count();
                        let restore = Some(self.planner.restore_ours(rewritten.command));
                        parts.push(Part { start, end, offset: 0, restore });
                        sql.push_str(";\n");
                        replies.push_back(Reply::Ours);
                        origins.push_back(None);
                    }
                    (rewritten.sql.as_str(), Some(self.planner.restore_rewritten(rewritten, text)), before)
                }
                _ if alone => (text, self.planner.restore(), before),
                _ => {
                    let start = text.get(..step.range.start).unwrap_or_default().chars().count();
                    (source, self.planner.restore(), before + start)
                }
            };
            let start = sql.chars().count();
            sql.push_str(body);
            let (reply, from) = match &step.route {
                Route::Rewritten(rewritten) => {
                    (rewritten.tag.map_or(Reply::Client, Reply::Tagged), rewritten.origins.clone())
                }
                _ => (Reply::Client, None),
            };
            replies.push_back(reply);
            origins.push_back(from);
            parts.push(Part { start, end: start + body.chars().count(), offset, restore });
            if !alone {
                sql.push_str("\n;\n");
            }
        }
        encode::query(self.pipe.server.output.tail(), sql.as_bytes());
        let steps = Steps { replies, origins, last, restore: Box::new(placed(parts)) };
        self.pipe.expect(Kind::Query, To::Steps(Box::new(steps)));
    }

    /// Reports an error of ours for a Query, with what it does to a transaction.
    pub(super) async fn fail_simple(&mut self, error: Error) -> Result<()> {
        self.pipe.drain().await?;
        if self.pipe.status == Status::Idle {
            self.pipe.answer(|out| {
                encode::error(out, Severity::Error, &error);
                encode::ready_for_query(out, Status::Idle);
            });
            return Ok(());
        }
        let mut ours = Vec::new();
        encode::error(&mut ours, Severity::Error, &error);
        encode::query(self.pipe.server.output.tail(), FAILURE);
        self.pipe.expect(Kind::Query, To::Instead(ours));
        Ok(())
    }
}

/// Where a statement is in the string that the server gets, in characters.
struct Part {
    start: usize,
    end: usize,
    /// What is before it in the client's string.
    offset: usize,
    restore: Option<Restore>,
}

/// Puts error positions back to where they are in the client's string. An error without a position is
/// of the statement that runs.
fn placed(parts: Vec<Part>) -> impl Fn(&mut Fields, usize) {
    move |fields: &mut Fields, left: usize| {
        let position = |fields: &Fields| fields.get(b'P').and_then(|p| p.parse::<usize>().ok());
        let sent = position(fields);
        // Positions count from 1.
        let part = sent.and_then(|p| parts.iter().find(|part| part.start < p && p <= part.end + 1));
        fields.set(b'P', sent.zip(part).map(|(p, part)| (p - part.start).to_string()));
        let running = || parts.len().checked_sub(left).and_then(|i| parts.get(i));
        if let Some(restore) = part.or_else(running).and_then(|part| part.restore.as_ref()) {
            restore(fields);
        }
        let within = position(fields);
        fields.set(b'P', within.zip(part).map(|(p, part)| (p + part.offset).to_string()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_those_of_the_clients_string() {
        // "PRELUDE;\n" is 9 characters, "SELECT 1; " before the statement 10.
        let restore = placed(vec![Part { start: 9, end: 30, offset: 10, restore: None }]);
        let at = |p: &str| {
            let mut fields = Fields(vec![(b'P', p.to_owned())]);
            restore(&mut fields, 1);
            fields.get(b'P').map(str::to_owned)
        };
        assert_eq!(at("17").as_deref(), Some("18"));
        assert_eq!(at("3"), None);
    }
}
