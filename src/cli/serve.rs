//! `epoch serve`.

use std::io::{IsTerminal, Write};

use clap::ArgMatches;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use super::{Done, place};
use crate::config::Config;
use crate::operations::Repository;
use crate::{Error, Result, session, sqlstate};

/// Serves until SIGTERM or SIGINT.
pub(super) async fn serve(matches: &ArgMatches) -> Result<Done> {
    let flags = [("listen", "--listen", "proxy.listen"), ("log", "--log", "logging.filter")];
    let loaded = place::configuration(matches, &flags)?;
    log_to_stderr(&loaded.config)?;
    match &loaded.file {
        Some(file) => tracing::info!(file = %file.display(), "configuration"),
        None => tracing::warn!("no configuration file was found; running with defaults"),
    }
    let repository = Repository::open(&loaded.config).await?;
    run(loaded.config, repository, "").await
}

/// Listens, prints the readiness line followed by `greeting`, and ends cleanly on a signal.
pub(super) async fn run(config: Config, repository: Repository, greeting: &str) -> Result<Done> {
    let stop = stop_signal()?;
    let name = config.name.clone();
    let ready = |address: std::net::SocketAddr| {
        tracing::info!(%address, repository = name, "ready");
        let mut out = std::io::stdout().lock();
        // Nobody has to read it.
        let _ = write!(out, "ready: postgresql://{address}/{name}\n{greeting}").and_then(|()| out.flush());
    };
    session::serve(config, repository, ready, stop).await?;
    tracing::info!("stopped");
    Ok(Done::Well)
}

/// Completes at the first SIGTERM or SIGINT.
fn stop_signal() -> Result<impl Future<Output = ()>> {
    let listen = |kind| {
        signal(kind).map_err(|e| Error::new(sqlstate::IO_ERROR, format!("cannot listen for signals: {e}")))
    };
    let mut terminate = listen(SignalKind::terminate())?;
    let mut interrupt = listen(SignalKind::interrupt())?;
    Ok(async move {
        let name = tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        };
        tracing::info!(signal = name, "stopping");
    })
}

/// The log of the process.
pub(super) fn log_to_stderr(config: &Config) -> Result<()> {
    let filter = EnvFilter::try_new(&config.log_filter)
        .map_err(|e| Error::new(sqlstate::CONFIG_FILE_ERROR, format!("logging.filter: {e}")))?;
    let format = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let set = match config.log_json {
        true => format.json().try_init(),
        false => format.with_ansi(std::io::stderr().is_terminal()).try_init(),
    };
    set.map_err(|e| Error::internal(format!("cannot start logging: {e}")))
}
