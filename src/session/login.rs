//! From the start-up packet to a session that is ready for queries.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use epoch_adapter::{Error, Result, sqlstate};
use futures::FutureExt;
use tokio::runtime::Handle;

use super::federated::Federated;
use super::native::Native;
use super::patience::Patience;
use super::pipe::{Pipe, Shutdown};
use super::plan::Planner;
use super::reactor::within;
use super::reading::Reading;
use super::registry::Ticket;
use super::seat::Seat;
use super::server::Shared;
use crate::federation;
use crate::operations::{Actor, Checkout, Repository};
use crate::wire::decode::Body;
use crate::wire::encode::{self, Severity, Status};
use crate::wire::scram::{Exchange, MECHANISM, Verifier};
use crate::wire::startup::{Parameters, lost, refuse};
use crate::wire::{Channel, frame};

/// Logs the client in and serves it.
pub async fn session(
    mut channel: Channel,
    parameters: &Parameters,
    shared: &Arc<Shared>,
    peer: SocketAddr,
    reactor: Handle,
    limit: Duration,
) {
    let prepared = tokio::time::timeout(limit, prepare(&mut channel, parameters, shared, peer).boxed()).await;
    let (ticket, start) = match prepared {
        Ok(Ok(prepared)) => prepared,
        Ok(Err(error)) => {
            tracing::info!(%error, "login refused");
            refuse(&mut channel, error).await;
            return;
        }
        Err(_) => return,
    };
    tracing::debug!(pid = ticket.live.pid, checkout = %start.checkout.name, "session starts");
    let result = match &shared.upstream {
        Some((backend, target)) => {
            native(channel, parameters, shared, &ticket, start, backend, target, reactor).boxed().await
        }
        None => federated(channel, parameters, shared, &ticket, start).boxed().await,
    };
    match result {
        Ok(()) => tracing::debug!("session ends"),
        Err(error) => tracing::debug!(%error, "session ends"),
    }
}

/// What a session starts with.
pub(super) struct Start {
    /// The repository, in the hands of who logged in.
    pub repository: Repository,
    /// The ref of the connection.
    pub checkout: Checkout,
    /// The client's options without ours.
    pub options: String,
    /// Settings of ours among the options (`epoch.author` …).
    pub settings: Vec<(String, String)>,
    /// Who logged in.
    pub user: String,
    /// The database's name as the client wrote it.
    pub database: String,
}

/// Authenticates, and finds the ref.
async fn prepare(
    channel: &mut Channel,
    parameters: &Parameters,
    shared: &Arc<Shared>,
    peer: SocketAddr,
) -> Result<(Ticket, Start)> {
    let user = parameters.get("user").filter(|user| !user.is_empty()).ok_or_else(|| {
        Error::new(sqlstate::INVALID_AUTHORIZATION, "no PostgreSQL user name specified in startup packet")
    })?;
    let database = parameters.get("database").filter(|d| !d.is_empty()).unwrap_or(user);
    let span = tracing::Span::current();
    span.record("user", user).record("database", database);
    authenticate(channel, user, shared).await?;
    let actor = Actor { user: user.to_owned(), client: peer.to_string(), owner: false };
    let repository = shared.repository.acting_for(actor);
    let start = start(parameters, user, database, repository).await?;
    let ticket = shared.registry.enter(parameters.minor);
    ticket.live.set_branch(branch_of(&start.checkout));
    Ok((ticket, start))
}

/// The branch that a checkout is on.
pub(super) fn branch_of(checkout: &Checkout) -> Option<String> {
    checkout.is_branch().then(|| checkout.name.clone())
}

async fn start(parameters: &Parameters, user: &str, database: &str, repository: Repository) -> Result<Start> {
    let (options, mut settings) = split_options(parameters.get("options").unwrap_or_default());
    settings
        .extend(parameters.iter().filter(|(name, _)| is_ours(name)).map(|(n, v)| (spelled(n), v.to_owned())));
    let (name, spec) = database.split_once('/').map_or((database, None), |(name, spec)| (name, Some(spec)));
    if name != repository.name() {
        return Err(Error::new(
            sqlstate::INVALID_CATALOG_NAME,
            format!("database \"{database}\" does not exist"),
        )
        .with_hint(format!(
            "This proxy serves the repository \"{0}\": connect to {0}, or to {0}/BRANCH.",
            repository.name()
        )));
    }
    let set = settings.iter().rev().find(|(name, _)| name == "epoch.branch").map(|(_, value)| value.as_str());
    let spec = spec.or(set).unwrap_or("main");
    repository.refresh().await?;
    let checkout = repository.checkout(spec, None).await?;
    let (user, database) = (user.to_owned(), database.to_owned());
    Ok(Start { repository, checkout, options, settings, user, database })
}

/// A setting's name as PostgreSQL reads it among options.
fn spelled(name: &str) -> String {
    name.replace('-', "_").to_ascii_lowercase()
}

/// Whether a setting is ours: never passed on, whatever it is.
fn is_ours(name: &str) -> bool {
    spelled(name).starts_with("epoch.")
}

/// The start-up parameters that the backend gets.
fn passed(parameters: &Parameters) -> impl Iterator<Item = (&str, &str)> {
    parameters.iter().filter(|(name, _)| {
        !matches!(*name, "user" | "database" | "options" | "replication") && !is_ours(name)
    })
}

/// Separates settings of ours from the other options: `-c epoch.branch=x`, `--epoch.branch=x`.
fn split_options(options: &str) -> (String, Vec<(String, String)>) {
    let (mut rest, mut ours) = (Vec::new(), Vec::new());
    for switch in switches(options) {
        match switch.setting() {
            Some((name, value)) if is_ours(name) => ours.push((spelled(name), value.to_owned())),
            _ => rest.push(switch.raw()),
        }
    }
    (rest.join(" "), ours)
}

/// One of the options of a start-up packet, as getopt takes them apart.
enum Switch {
    /// A flag, with its argument if it has one.
    Flag(char, Option<String>),
    /// Anything else.
    Word(String),
}

/// The flags of a backend that have an argument (PostgreSQL 14 to 18).
const WITH_ARGUMENT: &str = "BCDcdfhkNprStvW-";

fn switches(options: &str) -> Vec<Switch> {
    let mut all = Vec::new();
    let mut words = words(options).into_iter();
    while let Some(word) = words.next() {
        let Some(mut flags) = word.strip_prefix('-').filter(|rest| !rest.is_empty() && word != "--") else {
            all.push(Switch::Word(word));
            continue;
        };
        while let Some(flag) = flags.chars().next() {
            flags = flags.strip_prefix(flag).unwrap_or_default();
            let argument = match WITH_ARGUMENT.contains(flag) {
                false => None,
                true if flags.is_empty() => words.next(),
                true => Some(std::mem::take(&mut flags).to_owned()),
            };
            all.push(Switch::Flag(flag, argument));
        }
    }
    all
}

impl Switch {
    /// Name and value, if it is a setting.
    fn setting(&self) -> Option<(&str, &str)> {
        match self {
            Self::Flag('c' | '-', Some(setting)) => setting.split_once('='),
            _ => None,
        }
    }

    /// As it can be written.
    fn raw(&self) -> String {
        let escape = |text: &str| {
            text.chars().fold(String::new(), |mut out, c| {
                if c.is_ascii_whitespace() || c == '\\' {
                    out.push('\\');
                }
                out.push(c);
                out
            })
        };
        match self {
            Self::Flag(flag, Some(argument)) => format!("-{flag}{}", escape(argument)),
            Self::Flag(flag, None) => format!("-{flag}"),
            Self::Word(word) => escape(word),
        }
    }
}

/// Words as PostgreSQL splits them: at white space, with `\` as escape.
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            _ if c.is_ascii_whitespace() => words.extend(word.take()),
            '\\' => word.get_or_insert_default().extend(chars.next()),
            _ => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

/// Asks for the password if the configuration says so, and sends AuthenticationOk.
async fn authenticate(channel: &mut Channel, user: &str, shared: &Shared) -> Result<()> {
    if let Some(verifiers) = &shared.verifiers {
        let known = verifiers.get(user);
        let verifier = known.cloned().unwrap_or_else(|| Verifier::mock(&shared.mock, user));
        scram(channel, verifier).await.map_err(|error| match error.code() {
            sqlstate::INVALID_PASSWORD => Error::new(
                sqlstate::INVALID_PASSWORD,
                format!("password authentication failed for user \"{user}\""),
            ),
            _ => error,
        })?;
    }
    authentication(channel, 0, |_| {});
    Ok(())
}

async fn scram(channel: &mut Channel, verifier: Verifier) -> Result<()> {
    authentication(channel, 10, |out| {
        encode::cstr(out, MECHANISM.as_bytes());
        out.push(0);
    });
    let message = password_message(channel).await?;
    let mut body = Body::of(&message);
    if body.cstr()? != MECHANISM.as_bytes() {
        return Err(Error::new(
            sqlstate::PROTOCOL_VIOLATION,
            "client selected an invalid SASL authentication mechanism",
        ));
    }
    let length = usize::try_from(body.int32()?).unwrap_or(0);
    let (exchange, first) = Exchange::start(verifier, body.take(length)?)?;
    authentication(channel, 11, |out| out.extend_from_slice(first.as_bytes()));
    let message = password_message(channel).await?;
    let last = exchange.finish(Body::of(&message).0)?;
    authentication(channel, 12, |out| out.extend_from_slice(last.as_bytes()));
    Ok(())
}

fn authentication(channel: &mut Channel, kind: i32, body: impl FnOnce(&mut Vec<u8>)) {
    encode::frame(channel.output.tail(), b'R', |out| {
        out.extend_from_slice(&kind.to_be_bytes());
        body(out);
    });
}

async fn password_message(channel: &mut Channel) -> Result<Vec<u8>> {
    channel.flush().await.map_err(lost)?;
    loop {
        if let Some(header) = frame::from_client(&channel.input)? {
            if header.tag != b'p' {
                let text = format!("expected SASL response, got message type {}", header.tag);
                return Err(Error::new(sqlstate::PROTOCOL_VIOLATION, text));
            }
            if let Some(message) = channel.input.get(..header.size) {
                let message = message.to_vec();
                channel.input.consume(header.size);
                return Ok(message);
            }
        }
        if channel.fill(0).await.map_err(lost)? == 0 {
            return Err(Error::new(sqlstate::CONNECTION_FAILURE, "the client left during authentication"));
        }
    }
}

/// Connects to the backend with the client's parameters and serves the session.
#[allow(clippy::too_many_arguments)]
async fn native(
    mut channel: Channel,
    parameters: &Parameters,
    shared: &Arc<Shared>,
    ticket: &Ticket,
    start: Start,
    backend: &str,
    target: &super::upstream::Target,
    reactor: Handle,
) -> Result<()> {
    let passed: Vec<_> = passed(parameters).collect();
    if parameters.get("replication").is_some_and(|v| !matches!(v, "false" | "off" | "no" | "0")) {
        return Err(refuse(&mut channel, Error::unsupported("a replication connection")).await);
    }
    let options = format!("{} {}", start.options, lineage_option(&start.checkout));
    let upstream = match within(reactor, target.connect(&passed, options.trim())).await {
        Ok(upstream) => upstream,
        Err(error) => return Err(refuse(&mut channel, error).await),
    };
    // What the session reads of a branch is the server's own business from here on.
    if let Some(adapter) = start.repository.backend(backend)
        && let Err(error) = adapter.settle().await
    {
        return Err(refuse(&mut channel, error).await);
    }
    let planner = match Planner::new(shared.clone(), ticket.live.clone(), backend, &start) {
        Ok(planner) => planner,
        Err(error) => return Err(refuse(&mut channel, error).await),
    };
    ticket.live.set_upstream(Some(upstream.cancel));
    channel.output.push(&upstream.greeting);
    let out = channel.output.tail();
    encode::backend_key_data(out, ticket.live.pid, &ticket.live.secret);
    encode::ready_for_query(out, Status::Idle);
    let mut pipe = Pipe::new(channel, upstream.channel, Patience::new(shared.turns.clone()), stopped(shared));
    pipe.reading = Reading::of_greeting(&upstream.greeting);
    let mut session = Native::new(pipe, planner);
    let result = session.run().await;
    if let Err(error) = &result {
        last_words(session.pipe(), error).await;
    }
    result
}

/// Serves a session without a PostgreSQL backend.
async fn federated(
    mut channel: Channel,
    parameters: &Parameters,
    shared: &Arc<Shared>,
    ticket: &Ticket,
    start: Start,
) -> Result<()> {
    let mut engine = federation::Session::new(start.repository.clone(), &start.user, &start.database);
    let seat = Seat::new(shared.clone(), ticket.live.clone(), &start).and_then(|seat| {
        for (name, value) in passed(parameters) {
            engine.set_default(name, value)?;
        }
        for (name, value) in settings_of(&start.options) {
            engine.set_default(&name, &value)?;
        }
        Ok(seat)
    });
    let seat = match seat {
        Ok(seat) => seat,
        Err(error) => return Err(refuse(&mut channel, error).await),
    };
    Federated::new(channel, seat, engine).run(stopped(shared)).await
}

/// The settings among options that aren't ours.
fn settings_of(options: &str) -> Vec<(String, String)> {
    let all = switches(options);
    all.iter()
        .filter_map(Switch::setting)
        .map(|(name, value)| (name.replace('-', "_"), value.to_owned()))
        .collect()
}

/// The option that gives branch rows their lineage.
fn lineage_option(checkout: &Checkout) -> String {
    match super::plan::lineage(checkout) {
        main if main.is_empty() => main,
        // Quotes must mean what the lexer takes them for, whatever the role's settings say.
        lineage => {
            let base = super::plan::base(checkout);
            format!(
                "-c epoch.lineage={lineage} -c epoch.base={base} -c standard_conforming_strings=on -c jit=off"
            )
        }
    }
}

/// Completes when the proxy stops.
pub(super) fn stopped(shared: &Shared) -> Shutdown {
    let mut stop = shared.stop.clone();
    Box::pin(async move {
        // An error means that the sender is gone, which is a stop too.
        let _ = stop.wait_for(|stop| *stop).await;
    })
}

/// Tells the client why the connection ends, if it still listens and isn't in mid-message.
async fn last_words(pipe: &mut Pipe, error: &Error) {
    let Some(out) = pipe.between_messages() else { return };
    encode::error(out, Severity::Fatal, error);
    let _ = tokio::time::timeout(Duration::from_secs(1), pipe.client.close()).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_ours_or_the_servers() {
        let (rest, ours) = split_options(
            r"-c epoch.branch=feature/x -c work_mem=4MB --epoch.author=A\ B -cEPOCH.email=e -e -c a.b=x\\\ y",
        );
        assert_eq!(rest, r"-cwork_mem=4MB -e -ca.b=x\\\ y");
        let ours: Vec<_> = ours.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        assert_eq!(ours, [("epoch.branch", "feature/x"), ("epoch.author", "A B"), ("epoch.email", "e")]);
    }

    #[test]
    fn a_setting_of_ours_behind_another_flag_is_not_passed_on() {
        for hidden in
            ["-ec epoch.lineage=3", "-eEcepoch.lineage=3", "-c  Epoch.lineage=3", "--epoch.lineage=3"]
        {
            let (rest, ours) = split_options(hidden);
            assert!(!rest.to_lowercase().contains("epoch"), "{hidden}: {rest}");
            assert_eq!(ours, [("epoch.lineage".to_owned(), "3".to_owned())], "{hidden}");
        }
        assert_eq!(split_options("-f s -- -c").0, "-fs -- -c");
    }
}
