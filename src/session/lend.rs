//! Lends the connection to the backend to one of our own clients of it, within the session's transaction: what that one
//! sends goes to the server as the session's messages do, and what it did is a part of the transaction.

use std::future::poll_fn;
use std::pin::pin;
use std::task::{Context, Poll};

use epoch_adapter::{Error, Result, sqlstate};
use futures::future::{Either, select};
use tokio::io::DuplexStream;

use super::pipe::{Pipe, gone};
use crate::wire::encode::{self, Status};
use crate::wire::{Channel, decode, frame};

/// In front of names of statements, which the session's client may use, too.
const PREFIX: &[u8] = b"epoch_lent_";

/// What is in the hands of the borrower.
struct Loan {
    near: Channel<DuplexStream>,
    /// The start-up message was answered.
    started: bool,
    /// Messages that the server answers with ReadyForQuery, and hasn't.
    owed: usize,
    status: Status,
    /// Statements that the server keeps.
    kept: Vec<Vec<u8>>,
    near_whole: usize,
    server_whole: usize,
}

impl Pipe {
    /// Runs `work` with a stream at whose other end the server is, as one whose transaction is open. The outer error ends
    /// the session.
    pub(super) async fn lend<T, W>(&mut self, work: impl FnOnce(DuplexStream) -> W) -> Result<Result<T>>
    where
        W: Future<Output = Result<T>> + Send,
    {
        self.drain().await?;
        let (theirs, ours) = tokio::io::duplex(64 << 10);
        let mut loan = Loan {
            near: Channel::new(ours),
            started: false,
            owed: 0,
            status: self.status,
            kept: Vec::new(),
            near_whole: 0,
            server_whole: 0,
        };
        let mut work = pin!(work(theirs));
        let done = loop {
            loan.pass_to_server(self)?;
            loan.pass_to_borrower(self)?;
            let moved = pin!(poll_fn(|cx| loan.poll(self, cx, true)));
            match select(work.as_mut(), moved).await {
                Either::Left((done, _)) => break done,
                Either::Right((moved, _)) => moved?,
            }
        };
        // What the server keeps for the borrower goes, and its last words are waited for.
        for name in std::mem::take(&mut loan.kept) {
            encode::named(self.server.output.tail(), b'C', b'S', &name);
        }
        encode::empty(self.server.output.tail(), b'S');
        loan.owed += 1;
        loop {
            loan.pass_to_borrower(self)?;
            let unread = loan.near.output.len();
            loan.near.output.consume(unread);
            if loan.owed == 0 {
                break;
            }
            poll_fn(|cx| loan.poll(self, cx, false)).await?;
        }
        self.status = loan.status;
        self.unsure = true;
        Ok(done)
    }
}

impl Loan {
    /// Moves bytes. `hear`: whether the borrower is still there.
    fn poll(&mut self, pipe: &mut Pipe, cx: &mut Context<'_>, hear: bool) -> Poll<Result<()>> {
        let mut moved = false;
        let lost = |_: std::io::Error| gone();
        if pipe.server.has_output()
            && let Poll::Ready(done) = pipe.server.poll_drain(cx)
        {
            done.map_err(lost)?;
            moved = true;
        }
        if let Poll::Ready(n) = pipe.server.poll_fill(cx, self.server_whole) {
            if n.map_err(lost)? == 0 {
                return Poll::Ready(Err(gone()));
            }
            moved = true;
        }
        if hear {
            if self.near.has_output()
                && let Poll::Ready(Ok(())) = self.near.poll_drain(cx)
            {
                moved = true;
            }
            if !pipe.server.is_congested()
                && let Poll::Ready(Ok(n)) = self.near.poll_fill(cx, self.near_whole)
            {
                moved |= n > 0;
            }
        }
        if moved { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    /// Passes on what the borrower sent.
    fn pass_to_server(&mut self, pipe: &mut Pipe) -> Result<()> {
        if !self.started && !self.start() {
            return Ok(());
        }
        while let Some(header) = frame::from_client(&self.near.input)? {
            if self.near.input.len() < header.size {
                self.near_whole = header.size;
                return Ok(());
            }
            self.near_whole = 0;
            let message = self.near.input.get(..header.size).unwrap_or_default().to_vec();
            self.near.input.consume(header.size);
            match header.tag {
                // The connection isn't its own to end.
                b'X' => {}
                b'P' | b'B' | b'D' | b'C' => {
                    let message = self.renamed(header.tag, &message)?;
                    pipe.server.output.push(&message);
                }
                tag => {
                    self.owed += usize::from(matches!(tag, b'Q' | b'S'));
                    pipe.server.output.push(&message);
                }
            }
        }
        Ok(())
    }

    /// Answers the start-up message, once it is here.
    fn start(&mut self) -> bool {
        let length = self.near.input.get(..4).and_then(|b| <[u8; 4]>::try_from(b).ok());
        let length = length.map_or(usize::MAX, |b| u32::from_be_bytes(b) as usize);
        if self.near.input.len() < length {
            return false;
        }
        self.near.input.consume(length);
        let out = self.near.output.tail();
        // AuthenticationOk.
        out.extend_from_slice(b"R\0\0\0\x08\0\0\0\0");
        encode::ready_for_query(out, self.status);
        self.started = true;
        true
    }

    /// A message with the name of its statement in front of which is ours.
    fn renamed(&mut self, tag: u8, message: &[u8]) -> Result<Vec<u8>> {
        let invalid = || Error::new(sqlstate::PROTOCOL_VIOLATION, "a message of ours has no name");
        let body = message.get(frame::HEADER..).ok_or_else(invalid)?;
        let skipped = match tag {
            b'P' => 0,
            b'B' => body.iter().position(|b| *b == 0).ok_or_else(invalid)? + 1,
            _ if body.first() == Some(&b'S') => 1,
            _ => return Ok(message.to_vec()),
        };
        let (before, rest) = body.split_at_checked(skipped).ok_or_else(invalid)?;
        let end = rest.iter().position(|b| *b == 0).ok_or_else(invalid)?;
        let (name, rest) = rest.split_at_checked(end).ok_or_else(invalid)?;
        if name.is_empty() {
            return Ok(message.to_vec());
        }
        let name = [PREFIX, name].concat();
        match tag {
            b'P' => self.kept.push(name.clone()),
            b'C' => self.kept.retain(|kept| *kept != name),
            _ => {}
        }
        let length = (4 + before.len() + name.len() + rest.len()) as u32;
        Ok([&[tag], length.to_be_bytes().as_slice(), before, &name, rest].concat())
    }

    /// Passes on what the server sent.
    fn pass_to_borrower(&mut self, pipe: &mut Pipe) -> Result<()> {
        while !self.near.is_congested() {
            let Some(header) = frame::from_server(&pipe.server.input)? else { return Ok(()) };
            if pipe.server.input.len() < header.size {
                self.server_whole = header.size;
                return Ok(());
            }
            self.server_whole = 0;
            let message = pipe.server.input.get(..header.size).unwrap_or_default();
            if header.tag == b'Z' {
                let byte = message.get(frame::HEADER).copied().unwrap_or_default();
                self.status = Status::from_byte(byte).ok_or_else(|| {
                    Error::new(sqlstate::PROTOCOL_VIOLATION, "the backend sent an invalid message")
                })?;
                self.owed = self.owed.saturating_sub(1);
            }
            if header.tag == b'E' && decode::Fields::new(message).is_ok_and(|f| f.get(b'V') == Some("FATAL"))
            {
                pipe.said_fatal = true;
            }
            self.near.output.push(message);
            pipe.server.input.consume(header.size);
        }
        Ok(())
    }
}
