//! The threads that relaying sessions live on.
//!
//! A session stays on one thread with an event loop of its own: bytes that arrive are handled by the
//! thread that waited for them, without waking another. What a session starts beside the relay
//! (pools, the federated engine) runs on the runtime that the proxy was started in.

use std::future::poll_fn;
use std::sync::Arc;
use std::thread;

use epoch_adapter::{Error, Result, sqlstate};
use futures::FutureExt;
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

/// The parser of statements recurses.
const STACK: usize = 16 << 20;

/// One thread; it ends when this is dropped.
struct Reactor {
    handle: Handle,
    /// One count per session, and our own.
    sessions: Arc<()>,
    _stop: oneshot::Sender<()>,
}

/// All of them.
pub(super) struct Reactors(Vec<Reactor>);

/// The place of one session on a reactor.
pub(super) struct Place {
    /// The reactor.
    pub handle: Handle,
    _counted: Option<Arc<()>>,
}

impl Reactors {
    /// Starts `count` threads.
    pub fn start(count: usize) -> Result<Self> {
        (0..count).map(|_| Reactor::start()).collect::<Result<_>>().map(Self)
    }

    /// A place on the thread with the fewest sessions; on the current runtime if there are none.
    pub fn place(&self) -> Place {
        let least = self.0.iter().min_by_key(|reactor| Arc::strong_count(&reactor.sessions));
        match least {
            Some(reactor) => {
                Place { handle: reactor.handle.clone(), _counted: Some(reactor.sessions.clone()) }
            }
            None => Place { handle: Handle::current(), _counted: None },
        }
    }
}

impl Reactor {
    fn start() -> Result<Self> {
        let failed = |e| Error::new(sqlstate::IO_ERROR, format!("cannot start threads: {e}"));
        let runtime = Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel::<()>();
        let work = move || {
            // Either way it is over.
            let _ = runtime.block_on(stopped);
        };
        thread::Builder::new().name("session".to_owned()).stack_size(STACK).spawn(work).map_err(failed)?;
        Ok(Self { handle, sessions: Arc::default(), _stop: stop })
    }
}

/// Runs `work` where it is, while what it starts (tasks, sockets, timers) belongs to `handle`.
pub(super) async fn within<T>(handle: Handle, work: impl Future<Output = T> + Send) -> T {
    let mut work = work.boxed();
    poll_fn(move |cx| {
        let _entered = handle.enter();
        work.poll_unpin(cx)
    })
    .await
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn sessions_are_spread_and_what_they_start_belongs_to_the_proxy() {
        let reactors = Reactors::start(2).unwrap();
        let main = Handle::current().id();
        let (first, second) = (reactors.place(), reactors.place());
        assert_ne!(first.handle.id(), second.handle.id());
        drop(first);
        let third = reactors.place();
        assert_ne!(third.handle.id(), second.handle.id());

        let home = Handle::current();
        let on_reactor = third.handle.spawn(async move {
            let before = Handle::current().id();
            let inside = within(home, async { tokio::spawn(async { Handle::current().id() }).await }).await;
            (before, inside.unwrap(), Handle::current().id())
        });
        let (before, inside, after) = on_reactor.await.unwrap();
        assert_eq!((before, inside, after), (third.handle.id(), main, third.handle.id()));
    }
}
