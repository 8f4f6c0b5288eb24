//! The listener.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use epoch_adapter::{Error, Result, sqlstate};
use futures::FutureExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::login;
use super::patience::Turns;
use super::reactor::{Place, Reactors, within};
use super::registry::Registry;
use super::upstream::Target;
use crate::config::{Auth, Config};
use crate::federation;
use crate::operations::Repository;
use crate::wire::scram::Verifier;
use crate::wire::startup::{self, Startup};
use crate::wire::tls;

/// How long a client may take to log in.
const LOGIN: Duration = Duration::from_secs(60);
/// How long sessions get to finish their transactions when the proxy stops.
const GRACE: Duration = Duration::from_secs(10);
/// Connections beyond the limit that are told so at the same time.
const REFUSALS: usize = 64;

/// What all sessions share.
pub struct Shared {
    /// The configuration.
    pub config: Config,
    /// The repository.
    pub repository: Repository,
    /// The live sessions.
    pub registry: Arc<Registry>,
    /// The default backend, if it is PostgreSQL.
    pub upstream: Option<(String, Target)>,
    /// SCRAM verifiers by user; `None` trusts everybody.
    pub(super) verifiers: Option<std::collections::BTreeMap<String, Verifier>>,
    /// Makes salts for users that don't exist.
    pub(super) mock: [u8; 32],
    /// Who may look for bytes without sleeping.
    pub(super) turns: Arc<Turns>,
    pub(super) tls: Option<TlsAcceptor>,
    pub(super) stop: watch::Receiver<bool>,
}

/// Serves clients until `shutdown` completes. `ready` is told the address once clients can connect.
pub async fn serve(
    config: Config,
    repository: Repository,
    ready: impl FnOnce(SocketAddr),
    shutdown: impl Future<Output = ()>,
) -> Result<()> {
    if matches!(config.auth, Auth::Trust) && !config.listen.ip().is_loopback() {
        return Err(Error::new(
            sqlstate::CONFIG_FILE_ERROR,
            format!("auth method \"trust\" is refused on {}", config.listen),
        )
        .with_hint("Listen on 127.0.0.1, or set [auth] method = \"scram-sha-256\"."));
    }
    let listener = TcpListener::bind(config.listen).await.map_err(|e| {
        Error::new(sqlstate::IO_ERROR, format!("could not listen on {}", config.listen))
            .with_detail(e.to_string())
    })?;
    let address = listener.local_addr().map_err(startup::lost)?;
    repository.assert_by(crate::federation::assertions());
    let (stop, stopped) = watch::channel(false);
    let shared = Arc::new(share(config, repository, stopped)?);
    let reactors = Reactors::start(reactors(&shared))?;
    ready(address);
    let reaper = tokio::spawn(super::reaper::run(shared.clone()));
    let mut sessions = accept_until(&listener, &shared, &reactors, shutdown).await;
    drop(listener);
    let _ = stop.send(true);
    if let Err(error) = reaper.await {
        tracing::error!(%error, "what deletes branches ended early");
    }
    let all_ended = async { while sessions.join_next().await.is_some() {} };
    if tokio::time::timeout(GRACE, all_ended).await.is_err() {
        tracing::warn!(
            sessions = shared.registry.len(),
            "stopped with transactions open; they are rolled back"
        );
    }
    Ok(())
}

fn share(config: Config, repository: Repository, stop: watch::Receiver<bool>) -> Result<Shared> {
    let verifiers = match &config.auth {
        Auth::Trust => None,
        Auth::Scram(users) => {
            let parsed = users.iter().map(|(name, text)| Ok((name.clone(), Verifier::parse(text.expose())?)));
            Some(parsed.collect::<Result<_>>()?)
        }
    };
    let default = config.default_backend.as_ref();
    let upstream = match default.and_then(|name| config.postgres.get_key_value(name)) {
        Some((name, backend)) => Some((name.clone(), Target::parse(name, &backend.url)?)),
        None => None,
    };
    federation::set_memory_limit(config.memory_limit);
    let turns = Arc::new(Turns::new(config.busy_poll));
    let tls = config.tls.as_ref().map(tls::acceptor).transpose()?;
    let mut mock = [0; 32];
    rand::RngCore::fill_bytes(&mut rand::rng(), &mut mock);
    Ok(Shared { config, repository, registry: Arc::default(), upstream, verifiers, mock, turns, tls, stop })
}

/// One thread per processor for sessions that relay; the others stay on the proxy's runtime.
fn reactors(shared: &Shared) -> usize {
    let processors = || std::thread::available_parallelism().map_or(1, usize::from);
    shared.upstream.as_ref().map_or(0, |_| processors())
}

/// Starts a task per connection until `shutdown` completes.
async fn accept_until(
    listener: &TcpListener,
    shared: &Arc<Shared>,
    reactors: &Reactors,
    shutdown: impl Future<Output = ()>,
) -> JoinSet<()> {
    let slots = Arc::new(Semaphore::new(shared.config.max_connections));
    let refusals = Arc::new(Semaphore::new(REFUSALS));
    let mut sessions = JoinSet::new();
    tokio::pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut shutdown => return sessions,
            Some(_) = sessions.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        let (tcp, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, most likely: others must end first.
                tracing::error!(%error, "could not accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let shared = shared.clone();
        // Cancel requests are served beyond the limit too: they may be what frees a place.
        let slot = slots.clone().try_acquire_owned().ok();
        let Some(_refusal) =
            (if slot.is_some() { Some(None) } else { refusals.clone().try_acquire_owned().ok().map(Some) })
        else {
            continue;
        };
        let (place, home) = (reactors.place(), Handle::current());
        let reactor = place.handle.clone();
        let session = async move {
            let _held = (&slot, _refusal);
            // The event loop of this thread is to watch it, not the listener's.
            let Ok(tcp) = tcp.into_std().and_then(TcpStream::from_std) else { return };
            within(home, connection(tcp, peer, &shared, place, slot.is_some())).await;
        };
        sessions.spawn_on(session, &reactor);
    }
}

#[tracing::instrument(name = "session", skip_all, fields(%peer, user, database))]
async fn connection(tcp: TcpStream, peer: SocketAddr, shared: &Arc<Shared>, place: Place, room: bool) {
    let _ = tcp.set_nodelay(true);
    let started = tokio::time::timeout(LOGIN, startup::accept(tcp, shared.tls.as_ref()));
    // A client that hasn't said anything yet has nothing to finish when the proxy stops.
    let mut stop = shared.stop.clone();
    let started = tokio::select! {
        started = started => started,
        _ = stop.wait_for(|stop| *stop) => return,
    };
    let (mut channel, parameters) = match started {
        Ok(Ok(Some(Startup::Session(channel, parameters)))) => (*channel, parameters),
        Ok(Ok(Some(Startup::Cancel { pid, secret }))) => return shared.registry.cancel(pid, &secret).await,
        Ok(Err(error)) => return tracing::debug!(%error, "start-up failed"),
        Ok(Ok(None)) | Err(_) => return,
    };
    if !room {
        let error = Error::new(sqlstate::TOO_MANY_CONNECTIONS, "sorry, too many clients already");
        startup::refuse(&mut channel, error).await;
        return;
    }
    login::session(channel, &parameters, shared, peer, place.handle.clone(), LOGIN).boxed().await;
}
