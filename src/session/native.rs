//! A session whose default backend is PostgreSQL: frames are relayed; a statement is looked at only
//! if the gate isn't sure that it is the backend's alone.

use std::collections::{HashMap, HashSet};

use epoch_adapter::{Error, Result, sqlstate};
use futures::FutureExt;

use super::local::Portal;
use super::pipe::{Kind, Pipe, To, Wake, gone, shutting_down};
use super::plan::{Planner, Route};
use super::prepared::Prepared;
use super::statement::Statements;
use crate::query::{self, Origins};
use crate::wire::decode;
use crate::wire::encode::{self, Severity, Status};
use crate::wire::frame::{self, Header};
use crate::wire::startup::lost;

/// Whether the session goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flow {
    /// It does.
    Next,
    /// The client said goodbye.
    End,
}

/// The state machine of one client connection.
pub struct Native {
    pub(super) pipe: Pipe,
    pub(super) planner: Planner,
    pub(super) statements: Statements<Route>,
    pub(super) prepared: Prepared,
    /// Portals that we answer ourselves.
    pub(super) portals: HashMap<Vec<u8>, Portal>,
    /// Command tags of portals whose statements are others on the server.
    pub(super) tags: HashMap<Vec<u8>, &'static str>,
    /// Where the columns of portals are from.
    pub(super) origins: HashMap<Vec<u8>, Origins>,
    /// Portals that were bound since the open transaction defined tables.
    pub(super) bound: HashSet<Vec<u8>>,
    /// Bytes of the client's current frame that only have to be passed on (or dropped).
    client_rest: usize,
    client_rest_kept: bool,
}

impl Native {
    /// A session on connections that are ready for queries.
    pub fn new(pipe: Pipe, planner: Planner) -> Self {
        Self {
            pipe,
            planner,
            statements: Statements::default(),
            prepared: Prepared::default(),
            portals: HashMap::new(),
            tags: HashMap::new(),
            origins: HashMap::new(),
            bound: HashSet::new(),
            client_rest: 0,
            client_rest_kept: false,
        }
    }

    /// Serves the client until it leaves. An error ends the connection; the caller reports it.
    pub async fn run(&mut self) -> Result<()> {
        loop {
            self.pipe.pump()?;
            self.take_notes();
            if self.pipe.ended {
                self.commit_transaction().await?;
            }
            if self.pipe.stopping && self.pipe.is_quiet() && self.pipe.status == Status::Idle {
                return Err(shutting_down());
            }
            if let Some(header) = self.next()? {
                match self.message(header).await? {
                    Flow::Next => continue,
                    Flow::End => return self.finish().await,
                }
            }
            match self.pipe.wait(true).await? {
                Wake::Moved => {}
                Wake::Idle => self.pipe.shrink(),
                Wake::ClientGone => return self.finish().await,
                Wake::ServerGone => return self.server_gone().await,
            }
        }
    }

    /// Where a transaction ended, `epoch.auto_commit` has its turn, before the client's next message.
    async fn commit_transaction(&mut self) -> Result<()> {
        if !self.pipe.is_quiet() || self.pipe.status != Status::Idle {
            return Ok(());
        }
        self.pipe.ended = false;
        if !self.planner.seat.commits_by_itself() {
            return Ok(());
        }
        // The transaction's own result need not wait.
        self.pipe.client.flush().await.map_err(lost)?;
        if let Some(warning) = self.planner.seat.commit_transaction().boxed().await {
            encode::error(self.pipe.client.output.tail(), Severity::Warning, &warning);
        }
        Ok(())
    }

    /// What the connection to the client is, for the caller's last words.
    pub fn pipe(&mut self) -> &mut Pipe {
        &mut self.pipe
    }

    /// What the replies so far said about the client's statements.
    pub(super) fn take_notes(&mut self) {
        while let Some(ok) = self.pipe.parsed.pop_front() {
            self.statements.settle(ok);
        }
        if std::mem::take(&mut self.pipe.deallocated) {
            self.prepared.forget();
        }
        for number in self.pipe.prepared.drain(..) {
            self.prepared.confirm(number);
        }
        if std::mem::take(&mut self.pipe.settled) {
            self.planner.settle();
        }
        for (number, types) in self.pipe.types.drain(..) {
            if let Some(statement) = self.statements.numbered(number) {
                if let Some(kept) = statement.kept {
                    self.prepared.describe(kept, &types);
                }
                statement.described = Some(types);
            }
        }
    }

    /// The client's next frame, if there is enough of it to act on.
    fn next(&mut self) -> Result<Option<Header>> {
        if self.client_rest > 0 {
            self.pass_on();
            if self.client_rest > 0 {
                return Ok(None);
            }
        }
        if self.pipe.server.is_congested() {
            return Ok(None);
        }
        // Each transaction is a commit of its own, however many the client has sent.
        if self.planner.seat.commits_by_itself() && self.pipe.ends() && !self.pipe.copy_in {
            return Ok(None);
        }
        let Some(header) = frame::from_client(&self.pipe.client.input)? else { return Ok(None) };
        if self.pipe.client.input.len() >= header.size || self.may_stream(header) {
            self.pipe.client_whole = 0;
            return Ok(Some(header));
        }
        self.pipe.client_whole = header.size;
        Ok(None)
    }

    /// Frames that need not be looked into can be passed on in pieces.
    fn may_stream(&mut self, header: Header) -> bool {
        match header.tag {
            b'd' => true,
            _ if self.pipe.skipping => true,
            b'F' => self.planner.passes_calls(),
            b'B' => {
                let Native { pipe, statements, planner, .. } = self;
                let Some((_, name)) = decode::bind_names(&pipe.client.input) else { return false };
                match statements.get(name) {
                    Some(statement) => statement.route.is_relay() && statement.stamp == planner.stamp(),
                    None => planner.passes_calls(),
                }
            }
            _ => false,
        }
    }

    fn pass_on(&mut self) {
        let input = &mut self.pipe.client.input;
        let n = self.client_rest.min(input.len());
        if self.client_rest_kept {
            self.pipe.server.output.push(input.get(..n).unwrap_or_default());
        }
        input.consume(n);
        self.client_rest -= n;
    }

    /// Passes the frame on; what isn't here yet follows as it comes.
    pub(super) fn forward(&mut self, header: Header) {
        self.client_rest = header.size;
        self.client_rest_kept = true;
        self.pass_on();
    }

    /// Drops the frame.
    pub(super) fn discard(&mut self, header: Header) {
        self.client_rest = header.size;
        self.client_rest_kept = false;
        self.pass_on();
    }

    /// The frame's bytes, which are all here, taken out of the buffer.
    pub(super) fn take(&mut self, header: Header) -> Vec<u8> {
        let frame = self.frame(header).to_vec();
        self.pipe.client.input.consume(header.size);
        frame
    }

    /// The frame's bytes, as many as are here.
    pub(super) fn frame(&self, header: Header) -> &[u8] {
        let input = &self.pipe.client.input;
        input.get(..header.size.min(input.len())).unwrap_or_default()
    }

    async fn message(&mut self, header: Header) -> Result<Flow> {
        let tag = header.tag;
        if self.pipe.skipping && !matches!(tag, b'S' | b'X') {
            self.discard(header);
            return Ok(Flow::Next);
        }
        if self.pipe.copy_in && matches!(tag, b'Q' | b'P' | b'B' | b'D' | b'E' | b'C' | b'F') {
            return Err(violation(format!("unexpected message type 0x{tag:02X} during COPY from stdin")));
        }
        match tag {
            b'X' => {
                self.forward(header);
                return Ok(Flow::End);
            }
            b'Q' => self.query(header).await?,
            b'P' => self.parse(header).await?,
            b'B' => self.bind(header).await?,
            b'D' => self.describe(header).await?,
            b'E' => self.execute(header).await?,
            b'C' => self.close(header)?,
            b'S' => self.sync(header),
            b'd' | b'H' => self.forward(header),
            b'c' | b'f' => {
                self.forward(header);
                self.pipe.copy_ends();
            }
            b'F' if self.planner.passes_calls() => {
                self.forward(header);
                self.pipe.expect(Kind::Function, To::Client);
            }
            b'F' => {
                self.discard(header);
                let place = if self.planner.is_relaying() { "without all rights" } else { "on a branch" };
                let error =
                    Error::unsupported(format!("a function-call message {place}")).with_hint("Use SELECT.");
                self.fail_simple(error).await?;
            }
            _ => return Err(violation(format!("unexpected message type 0x{tag:02X}"))),
        }
        Ok(Flow::Next)
    }

    fn sync(&mut self, header: Header) {
        self.forward(header);
        // While it reads a COPY, the server ignores it.
        if !self.pipe.copy_in {
            self.pipe.skipping = false;
            self.pipe.expect(Kind::Sync, self.planner.restore().map_or(To::Client, To::Restored));
        }
        if self.pipe.status == Status::Idle {
            self.portals.clear();
            self.tags.clear();
            self.origins.clear();
        }
    }

    async fn query(&mut self, header: Header) -> Result<()> {
        if !self.portals.is_empty() {
            self.portals.remove(&b""[..]);
        }
        let sql = decode::query(self.pipe.client.input.get(..header.size).unwrap_or_default())?;
        if self.planner.clears(sql) && !query::has_as_of(sql) {
            self.forward(header);
            self.pipe.expect(Kind::Query, To::Client);
            return Ok(());
        }
        let sql = sql.to_vec();
        self.discard(header);
        self.simple(&sql).boxed().await
    }

    /// The client left: the server gets everything that it sent and ends in its own way, as it
    /// would without us.
    async fn finish(&mut self) -> Result<()> {
        if self.pipe.server.close().await.is_err() {
            return Ok(());
        }
        let wrote = self.planner.seat.commits_by_itself() && (self.pipe.ended || self.pipe.ends());
        loop {
            self.pipe.pump()?;
            // Whether the client still reads its last replies is its business.
            match self.pipe.wait(false).await {
                Ok(Wake::Moved | Wake::Idle) => {}
                Ok(Wake::ClientGone | Wake::ServerGone) | Err(_) => break,
            }
        }
        self.pipe.pump()?;
        if wrote && let Some(warning) = self.planner.seat.commit_transaction().boxed().await {
            tracing::warn!(%warning, "the last transaction of a session");
        }
        let _ = self.pipe.client.close().await;
        Ok(())
    }

    /// The server's last words, usually a FATAL error, are passed on.
    async fn server_gone(&mut self) -> Result<()> {
        loop {
            let before = self.pipe.server.input.len();
            self.pipe.pump()?;
            if self.pipe.server.input.len() == before {
                break;
            }
            self.pipe.client.flush().await.map_err(lost)?;
        }
        if !self.pipe.said_fatal {
            return Err(gone());
        }
        self.pipe.client.close().await.map_err(lost)
    }
}

pub(super) fn violation(message: String) -> Error {
    Error::new(sqlstate::PROTOCOL_VIOLATION, message)
}
