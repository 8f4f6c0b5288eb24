//! The two connections of a native session and the queue of replies that the server still owes.
//!
//! Every message that goes to the server leaves an entry in the queue that says whose the reply is:
//! the client's (bytes are passed on as they are), or ours (swallowed or captured). What we answer
//! ourselves stands in the same queue, so replies never change places.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use epoch_adapter::{Error, Result, sqlstate};

use super::patience::{From, Patience};
use super::reading::Reading;
use crate::query::Origins;
use crate::wire::decode::{self, Fields};
use crate::wire::encode::{self, Status};
use crate::wire::startup::lost;
use crate::wire::{Channel, frame};

/// The longest server message that we hold whole: one that we have to look into.
const WHOLE: usize = 64 << 20;

/// What kind of message a reply answers; it decides which server message ends the reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Query: ends with ReadyForQuery.
    Query,
    /// FunctionCall: ends with ReadyForQuery.
    Function,
    /// Sync: is ReadyForQuery.
    Sync,
    /// ParseComplete.
    Parse,
    /// BindComplete.
    Bind,
    /// RowDescription or NoData.
    Describe,
    /// CommandComplete, EmptyQueryResponse or PortalSuspended.
    Execute,
    /// CloseComplete.
    Close,
    /// No reply: the client ended a COPY here.
    CopyEnd,
    /// No reply: an answer of ours stands here.
    Local,
}

/// Translates an error of a rewritten statement into the client's terms.
pub type Restore = Arc<dyn Fn(&mut Fields) + Send + Sync>;

/// Whose a reply is.
pub enum To {
    /// The client's, unchanged.
    Client,
    /// The client's, with errors translated.
    Restored(Restore),
    /// As [`To::Restored`], but CommandComplete waits for the Sync's ReadyForQuery: an error at commit takes
    /// its place, as where the client's statement is a Query.
    Last(Restore),
    /// The client's, where the columns' tables are told in the server's place.
    Described(Origins),
    /// As [`To::Restored`], with another command tag.
    Tagged(&'static str, Restore),
    /// Of a Query that holds more than the client's statement.
    Steps(Box<Steps>),
    /// Nobody's, unless it is an error: then the client learns why its batch broke.
    Silent,
    /// The same, of a Parse of the client that is kept under this number.
    Kept(u64, Restore),
    /// The same, of a statement of ours.
    Ours(Restore),
    /// The same, of a statement that is kept under this number.
    Prepared(u64, Restore),
    /// Rows and errors are kept for us.
    Capture,
    /// A ParameterDescription kept for us, under this number.
    Types(u64),
    /// An error that stands for this one of ours (a frame).
    Instead(Vec<u8>),
    /// Our own answer (frames).
    Answer(Vec<u8>),
}

/// A Query made of several statements, some of them ours.
pub struct Steps {
    /// Whose the reply of each statement in the string is. Beyond the end: the client's.
    pub replies: VecDeque<Reply>,
    /// Where their columns are from, if that is to be told in the server's place.
    pub origins: VecDeque<Option<Origins>>,
    /// Whether the ReadyForQuery is the client's; after an error it always is.
    pub last: bool,
    /// For errors, with how many of the statements aren't done.
    pub restore: Box<dyn Fn(&mut Fields, usize) + Send + Sync>,
}

/// Whose the reply of one statement of a Query is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reply {
    /// Nobody's.
    Ours,
    /// The client's.
    Client,
    /// The client's, with another command tag.
    Tagged(&'static str),
}

/// One entry of the queue.
pub struct Expect {
    /// What ends it.
    pub kind: Kind,
    /// Whose it is.
    pub to: To,
}

/// What woke the session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wake {
    /// Bytes moved.
    Moved,
    /// The client ended its side.
    ClientGone,
    /// The server ended its side.
    ServerGone,
    /// The timer for giving memory back.
    Idle,
}

/// A future that ends when the proxy shuts down.
pub type Shutdown = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The two connections.
pub struct Pipe {
    /// Towards the client.
    pub client: Channel,
    /// Towards PostgreSQL.
    pub server: Channel,
    queue: VecDeque<Expect>,
    /// As of the last ReadyForQuery.
    pub status: Status,
    /// An error of the current batch was seen: the client's messages are dropped up to its Sync.
    pub skipping: bool,
    /// Messages of the extended protocol went to the server since the last Sync.
    pub batch: bool,
    /// The server waits for the client's CopyData.
    pub copy_in: bool,
    failing: bool,
    /// How the server reads texts.
    pub reading: Reading,
    /// A ReadyForQuery said that no transaction is open.
    pub settled: bool,
    /// A ReadyForQuery ended a transaction since the last look of `epoch.auto_commit`.
    pub ended: bool,
    /// Something since the last look may have taken settings back: an error, a ROLLBACK.
    pub unsure: bool,
    /// A statement of ours broke the client's batch, and the client doesn't know yet.
    pub untold: bool,
    /// The server said FATAL; it closes the connection next.
    pub said_fatal: bool,
    /// The reply that the last ReadyForQuery ended was an error.
    pub failed: bool,
    /// The open transaction is one that the client doesn't know of: its text is one.
    pub implicit: bool,
    /// Parse messages of the client that succeeded (true) or not, in their order.
    pub parsed: VecDeque<bool>,
    /// The server was told to forget all prepared statements, ours included.
    pub deallocated: bool,
    /// Statements of ours that the server has.
    pub prepared: Vec<u64>,
    /// ParameterDescriptions that were asked for.
    pub types: Vec<(u64, Vec<u32>)>,
    /// The CommandComplete of a [`To::Last`].
    held: Vec<u8>,
    captured: Vec<Vec<Option<String>>>,
    capture_error: Option<Error>,
    server_rest: usize,
    server_rest_shown: bool,
    server_whole: usize,
    /// Size of the client's frame that has to be read whole.
    pub client_whole: usize,
    patience: Patience,
    shutdown: Option<Shutdown>,
    /// The proxy is shutting down.
    pub stopping: bool,
}

impl Pipe {
    /// Two connections in their idle state.
    pub fn new(client: Channel, server: Channel, patience: Patience, shutdown: Shutdown) -> Self {
        Self {
            client,
            server,
            queue: VecDeque::with_capacity(16),
            status: Status::Idle,
            skipping: false,
            batch: false,
            copy_in: false,
            failing: false,
            reading: Reading::default(),
            settled: false,
            ended: false,
            unsure: false,
            untold: false,
            said_fatal: false,
            failed: false,
            implicit: false,
            parsed: VecDeque::new(),
            deallocated: false,
            prepared: Vec::new(),
            types: Vec::new(),
            held: Vec::new(),
            captured: Vec::new(),
            capture_error: None,
            server_rest: 0,
            server_rest_shown: false,
            server_whole: 0,
            client_whole: 0,
            patience,
            shutdown: Some(shutdown),
            stopping: false,
        }
    }

    /// Nothing is owed to anybody, outside any batch.
    pub fn is_quiet(&self) -> bool {
        self.queue.is_empty() && !self.batch && !self.skipping && self.server_rest == 0
    }

    /// Whether the server owes a reply that may end a transaction.
    pub fn ends(&self) -> bool {
        self.queue.iter().any(|e| matches!(e.kind, Kind::Query | Kind::Function | Kind::Sync))
    }

    /// The client ended its COPY.
    pub fn copy_ends(&mut self) {
        if !std::mem::take(&mut self.copy_in) {
            // It didn't wait for the server to ask for data.
            self.expect(Kind::CopyEnd, To::Silent);
        }
    }

    /// Notes a reply that the server owes.
    pub fn expect(&mut self, kind: Kind, to: To) {
        match kind {
            Kind::Sync => self.batch = false,
            Kind::Parse | Kind::Bind | Kind::Describe | Kind::Execute | Kind::Close => self.batch = true,
            Kind::Query | Kind::Function | Kind::CopyEnd | Kind::Local => {}
        }
        self.queue.push_back(Expect { kind, to });
        self.settle();
    }

    /// An answer of ours, behind the replies that the server owes.
    pub fn answer(&mut self, build: impl FnOnce(&mut Vec<u8>)) {
        if self.queue.is_empty() && self.server_rest == 0 {
            return build(self.client.output.tail());
        }
        let mut frames = Vec::new();
        build(&mut frames);
        self.expect(Kind::Local, To::Answer(frames));
    }

    /// Entries that need no reply are done as soon as they are at the head.
    fn settle(&mut self) {
        while self.server_rest == 0
            && self.queue.front().is_some_and(|e| matches!(e.kind, Kind::Local | Kind::CopyEnd))
        {
            if let Some(Expect { to: To::Answer(frames), .. }) = self.queue.pop_front() {
                self.client.output.push(&frames);
            }
        }
    }

    /// Moves what the server sent to where it belongs, until a message is incomplete or the client
    /// doesn't read.
    pub fn pump(&mut self) -> Result<()> {
        while !self.client.is_congested() {
            if self.server_rest > 0 {
                let n = self.server_rest.min(self.server.input.len());
                if n == 0 {
                    return Ok(());
                }
                self.pass(n);
                continue;
            }
            if self.pass_rows() {
                continue;
            }
            let Some(header) = frame::from_server(&self.server.input)? else { return Ok(()) };
            if self.may_stream(header.tag) && self.server.input.len() < header.size {
                self.server_rest = header.size;
                self.server_rest_shown = self.is_shown();
                continue;
            }
            if self.server.input.len() < header.size {
                if header.size > WHOLE {
                    return Err(Error::new(
                        sqlstate::PROGRAM_LIMIT_EXCEEDED,
                        "message of the backend is too large",
                    ));
                }
                self.server_whole = header.size;
                return Ok(());
            }
            self.server_whole = 0;
            self.dispatch(header.tag, header.size)?;
            self.server.input.consume(header.size);
            self.settle();
        }
        Ok(())
    }

    /// Passes `n` bytes of a message that is larger than the buffer.
    fn pass(&mut self, n: usize) {
        if self.server_rest_shown {
            self.client.output.push(self.server.input.get(..n).unwrap_or_default());
        }
        self.server.input.consume(n);
        self.server_rest -= n;
        self.settle();
    }

    /// Passes a run of whole rows in one piece; false if there is none at the front.
    fn pass_rows(&mut self) -> bool {
        if !self.is_shown() {
            return false;
        }
        let mut end = 0;
        while let Some(rest) = self.server.input.get(end..) {
            match frame::from_server(rest) {
                Ok(Some(header)) if matches!(header.tag, b'D' | b'd') && header.size <= rest.len() => {
                    end += header.size
                }
                _ => break,
            }
        }
        if end > 0 {
            self.client.output.push(self.server.input.get(..end).unwrap_or_default());
            self.server.input.consume(end);
        }
        end > 0
    }

    /// Messages that don't end a reply and aren't looked into can be passed on in pieces.
    fn may_stream(&self, tag: u8) -> bool {
        let captured = matches!(self.queue.front(), Some(Expect { to: To::Capture, .. }));
        matches!(tag, b'D' | b'd' | b'V') && !captured
    }

    /// Whether ordinary messages go to the client now.
    fn is_shown(&self) -> bool {
        match self.queue.front().map(|e| &e.to) {
            None
            | Some(
                To::Client
                | To::Restored(_)
                | To::Kept(..)
                | To::Last(_)
                | To::Described(_)
                | To::Tagged(..)
                | To::Instead(_),
            ) => true,
            Some(To::Steps(steps)) => steps.replies.front() != Some(&Reply::Ours),
            Some(_) => false,
        }
    }

    /// The command tag that the client gets in place of the server's.
    fn tag(&self) -> Option<&'static str> {
        match self.queue.front().map(|e| &e.to) {
            Some(To::Tagged(tag, _)) => Some(tag),
            Some(To::Steps(steps)) => match steps.replies.front() {
                Some(Reply::Tagged(tag)) => Some(tag),
                _ => None,
            },
            _ => None,
        }
    }

    fn show(&mut self, size: usize) {
        self.client.output.push(self.server.input.get(..size).unwrap_or_default());
    }

    /// Shows a RowDescription.
    fn show_columns(&mut self, size: usize) {
        let origins = match self.queue.front().map(|e| &e.to) {
            Some(To::Described(origins)) => Some(origins.clone()),
            Some(To::Steps(steps)) => steps.origins.front().cloned().flatten(),
            _ => None,
        };
        let Some(origins) = origins else { return self.show(size) };
        let mut frame = self.server.input.get(..size).unwrap_or_default().to_vec();
        encode::set_origins(&mut frame, &origins);
        self.client.output.push(&frame);
    }

    /// One whole message of the server.
    fn dispatch(&mut self, tag: u8, size: usize) -> Result<()> {
        match tag {
            b'Z' => self.ready(size),
            b'E' => self.error(size),
            // Not replies: they come at any time.
            b'A' | b'S' => {
                if tag == b'S' {
                    self.reading.learn(self.server.input.get(..size).unwrap_or_default());
                }
                self.show(size);
                Ok(())
            }
            b'C' | b'I' | b's' | b'1' | b'2' | b'3' | b'n' | b'T' => {
                let last = tag == b'C' && matches!(self.queue.front(), Some(Expect { to: To::Last(_), .. }));
                match self.tag().filter(|_| tag == b'C') {
                    _ if last => {
                        self.held = self.server.input.get(..size).unwrap_or_default().to_vec();
                    }
                    Some(ours) => encode::command_complete(self.client.output.tail(), ours),
                    None if self.is_shown() && tag == b'T' => self.show_columns(size),
                    None if self.is_shown() => self.show(size),
                    None => {}
                }
                let body = self.server.input.get(frame::HEADER..size).unwrap_or_default();
                self.unsure |= tag == b'C' && body.starts_with(b"ROLLBACK");
                self.deallocated |=
                    tag == b'C' && (body.starts_with(b"DEALLOCATE ALL") || body.starts_with(b"DISCARD ALL"));
                self.complete(tag);
                Ok(())
            }
            _ => {
                if matches!(tag, b'G' | b'W') {
                    self.copy_starts();
                }
                self.capture(tag, size)?;
                let notice =
                    tag == b'N' && matches!(self.queue.front(), Some(Expect { to: To::Prepared(..), .. }));
                if notice || self.is_shown() {
                    self.show(size);
                }
                Ok(())
            }
        }
    }

    /// Ends the reply at the head if `tag` is what ends it.
    fn complete(&mut self, tag: u8) {
        let Some(head) = self.queue.front_mut() else { return };
        match (head.kind, tag) {
            (Kind::Query, b'C' | b'I') => {
                if let To::Steps(steps) = &mut head.to {
                    steps.replies.pop_front();
                    steps.origins.pop_front();
                }
            }
            (Kind::Execute, b'C' | b'I' | b's')
            | (Kind::Bind, b'2')
            | (Kind::Close, b'3')
            | (Kind::Describe, b'n' | b'T')
            | (Kind::Parse, b'1') => {
                if tag == b'C' {
                    self.copy_in = false;
                }
                self.pop(true);
            }
            _ => {}
        }
    }

    fn pop(&mut self, ok: bool) -> Option<Expect> {
        let done = self.queue.pop_front();
        if let Some(Expect { kind: Kind::Parse, to: To::Client | To::Restored(_) | To::Kept(..) }) = done {
            self.parsed.push_back(ok);
        }
        if let Some(Expect { to: To::Prepared(number, _) | To::Kept(number, _), .. }) = &done
            && ok
        {
            self.prepared.push(*number);
        }
        done
    }

    fn ready(&mut self, size: usize) -> Result<()> {
        let byte = self.server.input.get(frame::HEADER).copied().unwrap_or_default();
        self.status = Status::from_byte(byte)
            .ok_or_else(|| Error::new(sqlstate::PROTOCOL_VIOLATION, "the backend sent an invalid message"))?;
        self.copy_in = false;
        self.settled |= self.status == Status::Idle;
        self.failed = std::mem::take(&mut self.failing);
        let held = std::mem::take(&mut self.held);
        if !self.failed {
            self.client.output.push(&held);
        }
        let shown = match self.queue.front().map(|e| &e.to) {
            Some(To::Steps(steps)) => steps.last || self.failed,
            Some(To::Silent | To::Capture) => false,
            _ => true,
        };
        self.ended |= shown && self.status == Status::Idle;
        match shown {
            true if self.implicit => encode::ready_for_query(self.client.output.tail(), Status::Idle),
            true => self.show(size),
            false => {}
        }
        self.pop(true);
        Ok(())
    }

    /// An ErrorResponse ends a reply: a Query's at its ReadyForQuery, all of a batch up to its Sync.
    fn error(&mut self, size: usize) -> Result<()> {
        self.failing = true;
        self.unsure = true;
        self.copy_in = false;
        self.report(size)?;
        let simple = |kind| matches!(kind, Kind::Query | Kind::Function);
        if self.queue.front().is_none_or(|head| simple(head.kind)) {
            return Ok(());
        }
        while self.queue.front().is_some_and(|head| head.kind != Kind::Sync) {
            self.pop(false);
        }
        if self.queue.is_empty() {
            self.skipping = true;
            self.batch = false;
        }
        Ok(())
    }

    fn report(&mut self, size: usize) -> Result<()> {
        let frame = self.server.input.get(..size).unwrap_or_default();
        // Severity is the first field, and not translated in the second.
        self.said_fatal |= memchr::memmem::find(frame, b"\0VFATAL\0").is_some()
            || memchr::memmem::find(frame, b"\0VPANIC\0").is_some();
        let out = self.client.output.tail();
        let restore = match self.queue.front().map(|e| &e.to) {
            Some(To::Capture) => {
                self.capture_error = Some(Fields::new(frame)?.to_error());
                self.untold = self.batch;
                return Ok(());
            }
            Some(To::Instead(ours)) => {
                out.extend_from_slice(ours);
                return Ok(());
            }
            Some(
                To::Restored(restore)
                | To::Last(restore)
                | To::Tagged(_, restore)
                | To::Ours(restore)
                | To::Prepared(_, restore)
                | To::Kept(_, restore),
            ) => Some(restore),
            Some(To::Steps(steps)) => {
                let mut fields = Fields::new(frame)?;
                (steps.restore)(&mut fields, steps.replies.len());
                fields.encode(out, b'E');
                return Ok(());
            }
            _ => None,
        };
        match restore {
            None => out.extend_from_slice(frame),
            Some(restore) => {
                let mut fields = Fields::new(frame)?;
                restore(&mut fields);
                fields.encode(out, b'E');
            }
        }
        Ok(())
    }

    /// The server reads CopyData now, and ignores each Sync until the client ends the COPY.
    fn copy_starts(&mut self) {
        let end = self.queue.iter().position(|e| e.kind == Kind::CopyEnd);
        self.copy_in = end.is_none();
        if self.queue.front().is_some_and(|head| head.kind == Kind::Execute) {
            let upto = end.unwrap_or(self.queue.len());
            let mut i = 0;
            self.queue.retain(|e| {
                i += 1;
                e.kind != Kind::Sync || i > upto
            });
            self.batch = true;
        }
    }

    fn capture(&mut self, tag: u8, size: usize) -> Result<()> {
        let frame = self.server.input.get(..size).unwrap_or_default();
        match (self.queue.front().map(|e| &e.to), tag) {
            (Some(To::Capture), b'D') => self.captured.push(decode::data_row(frame)?),
            (Some(To::Types(number)), b't') => {
                self.types.push((*number, decode::parameter_description(frame)?));
            }
            _ => {}
        }
        Ok(())
    }

    /// Waits until bytes move. `hear` says whether more of the client's messages are wanted.
    pub async fn wait(&mut self, hear: bool) -> Result<Wake> {
        if let Poll::Ready(done) = self.look(hear).await {
            return done;
        }
        if self.client.is_grown() || self.server.is_grown() {
            let quiet = std::time::Duration::from_secs(2);
            let moved = tokio::time::timeout(quiet, poll_fn(|cx| self.poll(cx, hear))).await;
            return moved.unwrap_or(Ok(Wake::Idle));
        }
        poll_fn(|cx| self.poll(cx, hear)).await
    }

    /// What there is now, or in a moment.
    async fn look(&mut self, hear: bool) -> Poll<Result<Wake>> {
        let now = poll_fn(|cx| Poll::Ready(self.poll(cx, hear))).await;
        if now.is_ready() {
            return now;
        }
        let from = if self.queue.is_empty() { From::Client } else { From::Server };
        let Some(look) = self.patience.look(from) else { return Poll::Pending };
        while look.goes_on() {
            // Others get the processor, then the event loop looks.
            std::thread::yield_now();
            tokio::task::yield_now().await;
            let found = poll_fn(|cx| Poll::Ready(self.poll(cx, hear))).await;
            if found.is_ready() {
                self.patience.learn(from, true);
                return found;
            }
        }
        self.patience.learn(from, false);
        Poll::Pending
    }

    fn poll(&mut self, cx: &mut Context<'_>, hear: bool) -> Poll<Result<Wake>> {
        let mut moved = false;
        if self.server.has_output()
            && let Poll::Ready(done) = self.server.poll_drain(cx)
        {
            if done.is_err() {
                // What the server still said is worth more than the broken pipe.
                return Poll::Ready(Ok(Wake::ServerGone));
            }
            moved = true;
        }
        if self.client.has_output()
            && let Poll::Ready(done) = self.client.poll_drain(cx)
        {
            done.map_err(lost)?;
            moved = true;
        }
        if !self.client.is_congested()
            && let Poll::Ready(n) = self.server.poll_fill(cx, self.server_whole)
        {
            match n {
                Ok(n) if n > 0 => moved = true,
                _ => return Poll::Ready(Ok(Wake::ServerGone)),
            }
        }
        if hear
            && !self.server.is_congested()
            && let Poll::Ready(n) = self.client.poll_fill(cx, self.client_whole)
        {
            if n.map_err(lost)? == 0 {
                return Poll::Ready(Ok(Wake::ClientGone));
            }
            moved = true;
        }
        if moved {
            return Poll::Ready(Ok(Wake::Moved));
        }
        if let Some(shutdown) = &mut self.shutdown
            && shutdown.as_mut().poll(cx).is_ready()
        {
            self.shutdown = None;
            self.stopping = true;
            return Poll::Ready(Ok(Wake::Moved));
        }
        Poll::Pending
    }

    /// Drives both connections until every owed reply has come. The client's further messages wait.
    pub async fn drain(&mut self) -> Result<()> {
        if self.batch && !self.queue.is_empty() {
            encode::empty(self.server.output.tail(), b'H');
        }
        loop {
            self.pump()?;
            if self.queue.is_empty() && self.server_rest == 0 {
                return Ok(());
            }
            if self.copy_in {
                return Err(Error::new(
                    sqlstate::PROTOCOL_VIOLATION,
                    "unexpected message during COPY from stdin",
                ));
            }
            match self.wait(false).await? {
                Wake::ServerGone => {
                    self.pump()?;
                    return Err(gone());
                }
                Wake::Moved | Wake::Idle | Wake::ClientGone => {}
            }
        }
    }

    /// Runs one statement of ours between the client's, in the client's transaction if it has one.
    /// The inner error is the server's.
    pub async fn ask(&mut self, sql: &str) -> Result<Result<Vec<Vec<Option<String>>>>> {
        self.drain().await?;
        if self.skipping {
            return Ok(Err(Error::new(sqlstate::IN_FAILED_SQL_TRANSACTION, "the batch has failed")));
        }
        let out = self.server.output.tail();
        if self.batch {
            // A Query would end the implicit transaction of the batch.
            const NAME: &[u8] = b"epoch_ask";
            // After an error the server skips what is behind it, and so the last one's end.
            encode::named(out, b'C', b'S', NAME);
            encode::parse(out, NAME, sql.as_bytes(), &[]);
            encode::bind(out, NAME, NAME, &[]);
            encode::execute(out, NAME);
            encode::named(out, b'C', b'P', NAME);
            encode::named(out, b'C', b'S', NAME);
            for kind in [Kind::Close, Kind::Parse, Kind::Bind, Kind::Execute, Kind::Close, Kind::Close] {
                self.expect(kind, To::Capture);
            }
        } else {
            encode::query(out, sql.as_bytes());
            self.expect(Kind::Query, To::Capture);
        }
        self.captured.clear();
        self.capture_error = None;
        self.drain().await?;
        match self.capture_error.take() {
            None => Ok(Ok(std::mem::take(&mut self.captured))),
            Some(error) => Ok(Err(error)),
        }
    }

    /// Where a message of ours to the client can go at once; `None` in the middle of another.
    pub fn between_messages(&mut self) -> Option<&mut Vec<u8>> {
        (self.server_rest == 0 || !self.server_rest_shown).then(|| self.client.output.tail())
    }

    /// Gives memory of idle connections back.
    pub fn shrink(&mut self) {
        self.client.shrink();
        self.server.shrink();
        if self.queue.is_empty() {
            self.queue.shrink_to(16);
        }
    }
}

/// The backend's connection broke.
pub fn gone() -> Error {
    Error::new(sqlstate::CONNECTION_FAILURE, "the backend closed the connection unexpectedly")
}

/// The proxy stops.
pub fn shutting_down() -> Error {
    Error::new(sqlstate::ADMIN_SHUTDOWN, "terminating connection due to administrator command")
}
