//! The extended protocol.

use epoch_adapter::{Error, Result, sqlstate};
use futures::FutureExt;

use super::local::{self, Portal};
use super::native::{Native, violation};
use super::pipe::{Kind, To};
use super::plan::{Planned, Route};
use super::prepared::{description_to, name as kept_name};
use super::simple::FAILURE;
use super::statement::Statement;
use crate::query::{self, Rewritten};
use crate::wire::decode;
use crate::wire::encode::{self, Severity, Status};
use crate::wire::frame::Header;

/// Statement and portal of preludes, on the server.
const PRELUDE: &[u8] = b"epoch_prelude";

impl Native {
    pub(super) async fn parse(&mut self, header: Header) -> Result<()> {
        let Native { pipe, statements, planner, .. } = self;
        let frame = pipe.client.input.get(..header.size).unwrap_or_default();
        let parse = decode::Parse::new(frame)?;
        let sql = query::as_of(parse.sql);
        let mut statement = statements.begin(&sql, parse.types());
        if planner.clears(&sql) {
            statement.stamp = planner.stamp();
            statement.route = Route::Relay;
            statements.sent(parse.name, statement);
            self.forward(header);
            self.pipe.expect(Kind::Parse, To::Client);
            return Ok(());
        }
        let name = parse.name.to_vec();
        self.discard(header);
        match self.route(&statement.sql, &statement.types, None).await? {
            Err(error) => self.fail_extended(error).await,
            // The batch broke while we asked the server about the statement.
            Ok(_) if self.pipe.skipping => Ok(()),
            Ok(route) => {
                statement.stamp = self.planner.stamp();
                statement.route = route;
                self.prepare(name, statement).await
            }
        }
    }

    /// How one statement text is run; the inner error is the client's.
    async fn route(
        &mut self,
        sql: &[u8],
        types: &[u32],
        parameters: Option<&[Option<String>]>,
    ) -> Result<Result<Route>> {
        let text = match decode::utf8(sql) {
            Ok(text) => text,
            Err(error) => return Ok(Err(error)),
        };
        let Planned { mut steps, rest } = match self.plan(text, types, parameters).boxed().await? {
            Ok(planned) => planned,
            Err(error) => return Ok(Err(error)),
        };
        Ok(match (steps.pop(), steps.is_empty() && rest.is_none()) {
            (None, _) => Ok(Route::Relay),
            (Some(step), true) => Ok(step.route),
            (Some(_), false) => Err(Error::new(
                sqlstate::SYNTAX_ERROR,
                "cannot insert multiple commands into a prepared statement",
            )),
        })
    }

    /// Sends what the statement became, or keeps it for ourselves.
    async fn prepare(&mut self, name: Vec<u8>, statement: Statement<Route>) -> Result<()> {
        let restore = match &statement.route {
            Route::Local(_) => {
                if !name.is_empty() && self.statements.get(&name).is_some() {
                    let text =
                        format!("prepared statement \"{}\" already exists", String::from_utf8_lossy(&name));
                    return self.fail_extended(Error::new("42P05", text)).await;
                }
                // A Parse of the same name that is still on its way would come out on top.
                self.pipe.drain().await?;
                self.take_notes();
                if self.pipe.skipping {
                    return Ok(());
                }
                self.statements.insert(name, statement);
                self.pipe.answer(|out| encode::empty(out, b'1'));
                return Ok(());
            }
            Route::Relay => {
                let out = self.pipe.server.output.tail();
                encode::parse(out, &name, &statement.sql, &statement.types);
                None
            }
            Route::Rewritten(rewritten) if name.is_empty() && self.keeps_unnamed(rewritten) => {
                let rewritten = rewritten.clone();
                return self.prepare_kept(statement, &rewritten).await;
            }
            Route::Rewritten(rewritten) => {
                let out = self.pipe.server.output.tail();
                encode::parse(out, &name, rewritten.sql.as_bytes(), &statement.types);
                let text = std::str::from_utf8(&statement.sql).unwrap_or_default();
                Some(self.planner.restore_rewritten(rewritten, text))
            }
        };
        let restore = restore.or_else(|| self.planner.restore());
        self.pipe.expect(Kind::Parse, restore.map_or(To::Client, To::Restored));
        if let Route::Rewritten(rewritten) = &statement.route
            && statement.needs_types(rewritten)
        {
            encode::named(self.pipe.server.output.tail(), b'D', b'S', &name);
            self.pipe.expect(Kind::Describe, To::Types(statement.number));
        }
        self.statements.sent(&name, statement);
        Ok(())
    }

    pub(super) async fn bind(&mut self, header: Header) -> Result<()> {
        let Native { pipe, statements, planner, .. } = self;
        let (portal, name) = decode::bind_names(&pipe.client.input)
            .ok_or_else(|| violation("invalid string in message".to_owned()))?;
        if planner.block.is_some() {
            self.bound.insert(portal.to_vec());
        }
        if !self.portals.is_empty() {
            self.portals.remove(portal);
        }
        if !self.tags.is_empty() {
            self.tags.remove(portal);
        }
        if !self.origins.is_empty() {
            self.origins.remove(portal);
        }
        match statements.get(name) {
            Some(s) if s.route.is_relay() && s.stamp == planner.stamp() && !planner.is_fragile() => {}
            None if planner.passes_calls() => {}
            None => {
                // What the server knows under this name was prepared behind our back.
                let text = match name {
                    b"" => "unnamed prepared statement does not exist".to_owned(),
                    _ => format!("prepared statement \"{}\" does not exist", String::from_utf8_lossy(name)),
                };
                self.discard(header);
                return self.fail_extended(Error::new(sqlstate::INVALID_SQL_STATEMENT_NAME, text)).await;
            }
            Some(_) => {
                let frame = self.take(header);
                return self.bind_planned(&frame).boxed().await;
            }
        }
        self.tune(&[]);
        self.forward(header);
        self.pipe.expect(Kind::Bind, self.planner.restore().map_or(To::Client, To::Restored));
        Ok(())
    }

    async fn bind_planned(&mut self, frame: &[u8]) -> Result<()> {
        let bind = decode::Bind::new(frame)?;
        if !self.refresh_route(&bind).await? {
            return Ok(());
        }
        self.prepare_lost(bind.statement);
        let Some(statement) = self.statements.get(bind.statement) else { return Ok(()) };
        match &statement.route {
            Route::Local(local) => match Portal::new(local.clone(), &statement.types, &bind) {
                Ok(portal) => {
                    self.portals.insert(bind.portal.to_vec(), portal);
                    self.pipe.answer(|out| encode::empty(out, b'2'));
                    Ok(())
                }
                Err(error) => self.fail_extended(error).await,
            },
            Route::Relay => {
                self.tune(&[]);
                self.pass_bind(frame);
                Ok(())
            }
            Route::Rewritten(rewritten) => {
                let rewritten = rewritten.clone();
                if statement.needs_types(&rewritten) {
                    self.pipe.drain().await?;
                    self.take_notes();
                    if self.pipe.skipping {
                        return Ok(());
                    }
                }
                self.tune(&rewritten.settings);
                self.send_preludes(&rewritten, &bind).boxed().await?;
                if self.pipe.skipping {
                    return Ok(());
                }
                match self.statements.get(bind.statement).and_then(|s| s.kept) {
                    Some(number) => self.bind_kept(frame, &bind, number),
                    None => self.pass_bind(frame),
                }
                if let Some(origins) = &rewritten.origins {
                    self.origins.insert(bind.portal.to_vec(), origins.clone());
                }
                if let Some(tag) = rewritten.tag {
                    self.tags.insert(bind.portal.to_vec(), tag);
                }
                Ok(())
            }
        }
    }

    fn pass_bind(&mut self, frame: &[u8]) {
        self.pipe.server.output.push(frame);
        self.pipe.expect(Kind::Bind, self.planner.restore().map_or(To::Client, To::Restored));
    }

    /// The client's Bind, of a statement that the server has under a name of ours.
    fn bind_kept(&mut self, frame: &[u8], bind: &decode::Bind<'_>, number: u64) {
        encode::bind_to(
            self.pipe.server.output.tail(),
            frame,
            bind.portal,
            bind.statement,
            &kept_name(number),
        );
        let restore = self.restore_kept();
        self.pipe.expect(Kind::Bind, To::Restored(restore));
    }

    /// Prepares a statement again whose kept form is gone.
    fn prepare_lost(&mut self, name: &[u8]) {
        let kept = self.statements.get(name).and_then(|s| s.kept);
        if kept.is_some_and(|number| !self.prepared.has(number)) {
            self.prepare_again(name);
        }
    }

    /// Plans again what was planned for another branch or schema, or shows the repository's state,
    /// and prepares it again under its name. False if that failed; the client was told.
    async fn refresh_route(&mut self, bind: &decode::Bind<'_>) -> Result<bool> {
        let (name, stamp) = (bind.statement, self.planner.stamp());
        let Some(statement) = self.statements.get(name) else { return Ok(false) };
        let late = matches!(&statement.route, Route::Rewritten(r) if r.late);
        if statement.stamp == stamp && !late && !self.planner.is_fragile() {
            return Ok(true);
        }
        let (sql, types) = (statement.sql.clone(), statement.types.clone());
        if late && statement.described.is_none() {
            self.pipe.drain().await?;
            self.take_notes();
            if self.pipe.skipping {
                return Ok(false);
            }
        }
        let Some(statement) = self.statements.get(name) else { return Ok(false) };
        let texts = match late.then(|| local::texts(&statement.known_types(), bind)).transpose() {
            Ok(texts) => texts,
            Err(error) => {
                self.fail_extended(error).await?;
                return Ok(false);
            }
        };
        let route = match self.route(&sql, &types, texts.as_deref()).await? {
            Ok(_) if self.pipe.skipping => return Ok(false),
            Ok(route) => route,
            Err(error) => {
                self.fail_extended(error).await?;
                return Ok(false);
            }
        };
        let Some(statement) = self.statements.get(name) else { return Ok(false) };
        let was_upstream = !matches!(statement.route, Route::Local(_));
        let same = was_upstream
            && match (&statement.route, &route) {
                (Route::Relay, Route::Relay) => true,
                (Route::Rewritten(old), Route::Rewritten(new)) => !late && old.sql == new.sql,
                _ => false,
            };
        statement.stamp = stamp;
        statement.route = route;
        if same || matches!(statement.route, Route::Local(_)) {
            return Ok(true);
        }
        self.prepare_again(name);
        Ok(true)
    }

    fn prepare_again(&mut self, name: &[u8]) {
        let Some(statement) = self.statements.get(name) else { return };
        statement.kept = None;
        let out = self.pipe.server.output.tail();
        encode::named(out, b'C', b'S', name);
        let text = match &statement.route {
            Route::Rewritten(rewritten) => rewritten.sql.as_bytes(),
            _ => &statement.sql,
        };
        encode::parse(out, name, text, &statement.types);
        let describe = match &statement.route {
            Route::Rewritten(rewritten) if statement.needs_types(rewritten) => Some(statement.number),
            _ => None,
        };
        self.pipe.expect(Kind::Close, To::Silent);
        self.pipe.expect(Kind::Parse, To::Silent);
        if let Some(number) = describe {
            encode::named(self.pipe.server.output.tail(), b'D', b'S', name);
            self.pipe.expect(Kind::Describe, To::Types(number));
        }
    }

    /// Sets the planner for the statement that is bound next.
    fn tune(&mut self, wanted: &[(&'static str, &'static str)]) {
        if self.planner.is_relaying() {
            return;
        }
        let unsure = std::mem::take(&mut self.pipe.unsure);
        if let Some(sql) = self.planner.tune(wanted, unsure) {
            self.inject(&sql, "this statement", &[], &[]);
        }
    }

    /// Runs a statement of ours in the client's batch.
    fn inject(&mut self, sql: &str, command: &'static str, types: &[u32], values: &[(i16, Option<&[u8]>)]) {
        let out = self.pipe.server.output.tail();
        // After an error the server passed over the Close behind it. (Closing what isn't there is no error.)
        encode::named(out, b'C', b'S', PRELUDE);
        encode::parse(out, PRELUDE, sql.as_bytes(), types);
        encode::bind(out, PRELUDE, PRELUDE, values);
        encode::execute(out, PRELUDE);
        encode::named(out, b'C', b'P', PRELUDE);
        encode::named(out, b'C', b'S', PRELUDE);
        for kind in [Kind::Close, Kind::Parse, Kind::Bind, Kind::Execute, Kind::Close, Kind::Close] {
            self.pipe.expect(kind, To::Ours(self.planner.restore_ours(command)));
        }
    }

    /// What must run before the statement, in its batch, with the parameters of its Bind. From its
    /// second time on it is kept prepared.
    async fn send_preludes(&mut self, rewritten: &Rewritten, bind: &decode::Bind<'_>) -> Result<()> {
        for prelude in &rewritten.prelude {
            let statement = self.statements.get(bind.statement);
            let types: Vec<u32> = match &statement {
                Some(s) => prelude.params.iter().map(|&i| s.type_of(i)).collect(),
                None => Vec::new(),
            };
            let values: Vec<_> = prelude
                .params
                .iter()
                .map(|&i| (encode::format(&bind.formats, i), bind.values.get(i).copied().flatten()))
                .collect();
            // Its strings are the client's, if that has any.
            if !(rewritten.strings && prelude.strings) && self.worth_keeping(&prelude.sql) {
                let key = (prelude.sql.clone(), types);
                self.settle_kept(&key).await?;
                if self.pipe.skipping {
                    return Ok(());
                }
                let restore = self.planner.restore_ours(rewritten.command);
                self.run_kept(key, restore, &values);
            } else {
                self.inject(&prelude.sql, rewritten.command, &types, &values);
            }
        }
        Ok(())
    }

    pub(super) async fn describe(&mut self, header: Header) -> Result<()> {
        let (kind, name) = decode::named(self.pipe.client.input.get(..header.size).unwrap_or_default())?;
        let described = if kind == b'S' {
            match self.statements.get(name) {
                Some(Statement { route: Route::Local(local), types, .. }) => {
                    Some((local.clone(), Some(types.clone()), Vec::new(), Vec::new()))
                }
                _ => None,
            }
        } else {
            let portal = self.portals.get(name);
            portal.map(|p| (p.statement.clone(), None, p.texts.clone(), p.formats.clone()))
        };
        let Some((statement, types, parameters, formats)) = described else {
            let name = name.to_vec();
            if kind == b'S' {
                self.prepare_lost(&name);
            }
            let name = name.as_slice();
            let kept = if kind == b'S' { self.statements.get(name).and_then(|s| s.kept) } else { None };
            let to = if kind == b'S' {
                match self.statements.get(name).map(|s| &s.route) {
                    Some(Route::Rewritten(rewritten)) => description_to(rewritten.origins.as_ref()),
                    _ => To::Client,
                }
            } else {
                description_to(self.origins.get(name))
            };
            if let Some(number) = kept {
                self.discard(header);
                encode::named(self.pipe.server.output.tail(), b'D', b'S', &kept_name(number));
            } else {
                self.forward(header);
            }
            self.pipe.expect(Kind::Describe, to);
            return Ok(());
        };
        self.discard(header);
        let columns = match self.planner.columns(&statement, &parameters) {
            Ok(columns) => columns,
            Err(error) => return self.fail_extended(error).await,
        };
        self.pipe.answer(|out| {
            if let Some(types) = types {
                encode::parameter_description(out, &statement.parameters(&types));
            }
            local::describe(out, columns.as_deref(), &formats);
        });
        Ok(())
    }

    pub(super) async fn execute(&mut self, header: Header) -> Result<()> {
        let (name, most) = decode::execute(self.pipe.client.input.get(..header.size).unwrap_or_default())?;
        if self.portals.is_empty() || !self.portals.contains_key(name) {
            if self.planner.block.is_some() && !self.bound.contains(name) {
                // It may end the transaction, or reach what is another table by now.
                self.discard(header);
                let what =
                    "a portal that was bound before data definition, in the same transaction on a branch";
                return self.fail_extended(Error::unsupported(what)).await;
            }
            let tag = if self.tags.is_empty() { None } else { self.tags.get(name).copied() };
            self.forward(header);
            let to = match (self.planner.restore(), tag) {
                (Some(restore), Some(tag)) => To::Tagged(tag, restore),
                (restore, _) => restore.map_or(To::Client, To::Restored),
            };
            self.pipe.expect(Kind::Execute, to);
            return Ok(());
        }
        let name = name.to_vec();
        self.discard(header);
        let Some(mut portal) = self.portals.remove(&name) else { return Ok(()) };
        self.pipe.drain().await?;
        if self.pipe.skipping {
            return Ok(());
        }
        let mut done = match portal.done.take() {
            Some(done) => done,
            None => match self.run_local(&mut portal).boxed().await? {
                Ok(done) => done,
                Err(error) => return self.fail_extended(error).await,
            },
        };
        let live = self.planner.seat.live.clone();
        if let Err(error) = done.send(&mut self.pipe.client, &live, &portal.formats, most).await? {
            return self.fail_extended(error).await;
        }
        portal.done = Some(done);
        self.portals.insert(name, portal);
        Ok(())
    }

    pub(super) fn close(&mut self, header: Header) -> Result<()> {
        let (kind, name) = decode::named(self.pipe.client.input.get(..header.size).unwrap_or_default())?;
        let ours = if kind == b'S' {
            let found = self.statements.get(name);
            let ours = found.is_some_and(|s| matches!(s.route, Route::Local(_)) || s.kept.is_some());
            self.statements.close(name);
            ours
        } else {
            self.portals.remove(name).is_some()
        };
        if ours {
            self.discard(header);
            self.pipe.answer(|out| encode::empty(out, b'3'));
        } else {
            self.forward(header);
            self.pipe.expect(Kind::Close, To::Client);
        }
        Ok(())
    }

    /// Reports an error of ours within a batch: what follows up to Sync is skipped, and what the
    /// batch did on the server is undone with it.
    pub(super) async fn fail_extended(&mut self, error: Error) -> Result<()> {
        // Whether something of this batch has run on the server.
        let running = self.pipe.batch;
        self.pipe.drain().await?;
        let mut ours = Vec::new();
        encode::error(&mut ours, Severity::Error, &error);
        if self.pipe.skipping {
            // The server failed first. If that was a statement of ours, nobody told the client.
            if self.pipe.untold {
                self.pipe.untold = false;
                self.pipe.client.output.push(&ours);
            }
            return Ok(());
        }
        if running || self.pipe.status != Status::Idle {
            encode::parse(self.pipe.server.output.tail(), PRELUDE, FAILURE, &[]);
            self.pipe.expect(Kind::Parse, To::Instead(ours));
        } else {
            self.pipe.answer(|out| out.extend_from_slice(&ours));
            self.pipe.skipping = true;
        }
        Ok(())
    }
}
