//! One connection with a bounded buffer each way.

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsStream;

use super::buffer::Buffer;

/// What an incoming buffer grows to under load. It only gets larger for a message that must be
/// whole before it is looked at.
const LARGE: usize = 64 << 10;
/// Outgoing bytes above which the sender has to wait.
const HIGH_WATER: usize = 64 << 10;

/// The transport under a connection.
#[derive(Debug)]
pub enum Stream {
    /// TCP.
    Tcp(TcpStream),
    /// A Unix socket.
    Unix(UnixStream),
    /// TLS over TCP.
    Tls(Box<TlsStream<TcpStream>>),
}

impl Stream {
    /// Whether the bytes are encrypted.
    pub fn is_tls(&self) -> bool {
        matches!(self, Self::Tls(_))
    }
}

macro_rules! each {
    ($self:ident, $stream:ident => $call:expr) => {
        match $self.get_mut() {
            Stream::Tcp(s) => {
                let $stream = Pin::new(s);
                $call
            }
            Stream::Unix(s) => {
                let $stream = Pin::new(s);
                $call
            }
            Stream::Tls(s) => {
                let $stream = Pin::new(s.as_mut());
                $call
            }
        }
    };
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        each!(self, s => s.poll_read(cx, buf))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        each!(self, s => s.poll_write(cx, buf))
    }
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, s => s.poll_flush(cx))
    }
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, s => s.poll_shutdown(cx))
    }
}

/// A stream with what was read and not yet consumed, and what is to be written.
#[derive(Debug)]
pub struct Channel<S = Stream> {
    stream: S,
    /// Read, not consumed.
    pub input: Buffer,
    /// To be written.
    pub output: Buffer,
    unflushed: bool,
    closed: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Channel<S> {
    /// Wraps a stream.
    pub fn new(stream: S) -> Self {
        Self { stream, input: Buffer::new(), output: Buffer::new(), unflushed: false, closed: false }
    }

    /// The stream, for a change of transport. What was read and not consumed is lost: the caller
    /// has made sure that there is nothing, or refuses it.
    pub fn into_stream(self) -> S {
        self.stream
    }

    /// The stream.
    pub fn stream(&self) -> &S {
        &self.stream
    }

    /// Whether the peer ended the stream.
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// Whether more output should wait until the peer reads.
    pub fn is_congested(&self) -> bool {
        self.output.len() >= HIGH_WATER
    }

    /// Whether something waits to be written.
    pub fn has_output(&self) -> bool {
        self.unflushed || !self.output.is_empty()
    }

    /// Whether a buffer grew beyond what an idle connection should hold.
    pub fn is_grown(&self) -> bool {
        self.input.is_grown() || self.output.is_grown()
    }

    /// Gives the memory of empty buffers back.
    pub fn shrink(&mut self) {
        self.input.shrink();
        self.output.shrink();
    }

    /// Reads once; 0 is the end of the stream. `whole` is the size of a frame that must get into
    /// the buffer entirely; the buffer grows as its bytes arrive, not on the header's word.
    /// Pending without a wake-up if the buffer is full.
    pub fn poll_fill(&mut self, cx: &mut Context<'_>, whole: usize) -> Poll<io::Result<usize>> {
        if self.closed || !self.input.make_room(whole.max(LARGE)) {
            return Poll::Pending;
        }
        let n = ready!(pin!(self.stream.read_buf(self.input.tail())).poll(cx))?;
        self.closed = n == 0;
        Poll::Ready(Ok(n))
    }

    /// Writes once; ready when at least one byte was taken or everything is flushed.
    pub fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.output.is_empty() {
            let n = ready!(Pin::new(&mut self.stream).poll_write(cx, &self.output))?;
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.output.consume(n);
            self.unflushed = true;
        }
        if self.output.is_empty() {
            ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    /// Reads more; 0 is the end of the stream.
    pub async fn fill(&mut self, whole: usize) -> io::Result<usize> {
        if self.closed {
            return Ok(0);
        }
        poll_fn(|cx| self.poll_fill(cx, whole)).await
    }

    /// Writes everything.
    pub async fn flush(&mut self) -> io::Result<()> {
        while self.has_output() {
            poll_fn(|cx| self.poll_drain(cx)).await?;
        }
        Ok(())
    }

    /// Writes everything and ends the stream.
    pub async fn close(&mut self) -> io::Result<()> {
        self.flush().await?;
        poll_fn(|cx| Pin::new(&mut self.stream).poll_shutdown(cx)).await
    }
}
