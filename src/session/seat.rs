//! What a session is on and how it is set: the state of ours that both kinds of sessions have.

use std::sync::Arc;

use epoch_adapter::{Error, Result, sqlstate};
use futures::{StreamExt, TryStreamExt};

use super::local::{Done, Field, uncancelled};
use super::login::{Start, branch_of};
use super::registry::Live;
use super::server::Shared;
use crate::functions::{self, Explain};
use crate::operations::{Author, Checkout, Repository, Strategy};
use crate::query::{Call, Setting};
use crate::wire::value::Type;

/// Settings of ours that a session has.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Settings {
    author: String,
    email: String,
    strategy: String,
    auto_commit: String,
    auto_commit_message: String,
    unversioned_writes: String,
    show_branch_databases: String,
}

/// The state of one session.
pub struct Seat {
    /// What all sessions share.
    pub shared: Arc<Shared>,
    /// The repository, in the hands of who logged in.
    pub repository: Repository,
    /// The session, as others see it.
    pub live: Arc<Live>,
    /// What the session is on.
    pub checkout: Checkout,
    /// The ref of the connection.
    pub initial: Checkout,
    settings: Settings,
    initial_settings: Settings,
    /// Counts changes of the checkout.
    pub switches: u64,
}

/// What running a function or setting asks of the session.
pub enum Effect {
    /// Nothing.
    None,
    /// To be on this from now on.
    Switch(Checkout),
}

impl Seat {
    /// At the ref of the connection.
    pub(super) fn new(shared: Arc<Shared>, live: Arc<Live>, start: &Start) -> Result<Self> {
        let settings = Settings {
            author: shared.config.author.clone().unwrap_or_else(|| start.user.clone()),
            email: shared.config.email.clone().unwrap_or_default(),
            strategy: "field".to_owned(),
            auto_commit: "off".to_owned(),
            auto_commit_message: "transaction".to_owned(),
            unversioned_writes: "deny".to_owned(),
            show_branch_databases: "off".to_owned(),
        };
        let mut seat = Self {
            shared,
            repository: start.repository.clone(),
            live,
            checkout: start.checkout.clone(),
            initial: start.checkout.clone(),
            initial_settings: settings.clone(),
            settings,
            switches: 0,
        };
        for (name, value) in start.settings.iter().filter(|(name, _)| name != "epoch.branch") {
            seat.put(name, value)?;
        }
        seat.initial_settings = seat.settings.clone();
        Ok(seat)
    }

    /// Puts the session on another ref.
    pub fn switch(&mut self, checkout: Checkout) {
        self.live.set_branch(branch_of(&checkout));
        self.checkout = checkout;
        self.switches += 1;
    }

    /// Back to the connection's ref and settings.
    pub fn reset(&mut self) {
        self.settings = self.initial_settings.clone();
        let initial = self.initial.clone();
        self.switch(initial);
    }

    /// Changes whenever plans may have to be made again.
    pub fn stamp(&self) -> u64 {
        self.repository.generation().wrapping_add(self.switches << 40)
    }

    /// The columns of a call. Parameters that aren't known yet are `None`.
    pub fn columns(&self, call: &Call, parameters: &[Option<String>]) -> Result<Vec<Field>> {
        let in_use = |_: &str| false;
        let session = self.functions(false, None, &in_use);
        let columns = functions::columns(&session, &call.name, &call.args(parameters))?;
        Ok(chosen(call, fields(call, &columns))?.into_iter().map(|(_, field)| field).collect())
    }

    /// The session as functions see it.
    pub fn functions<'a>(
        &'a self,
        in_transaction: bool,
        explain: Option<&'a dyn Explain>,
        branch_in_use: &'a (dyn Fn(&str) -> bool + Send + Sync),
    ) -> functions::Session<'a> {
        functions::Session {
            repository: &self.repository,
            checkout: &self.checkout,
            author: self.author(),
            read_only: !self.checkout.is_branch(),
            in_transaction,
            branch_in_use,
            strategy: self.strategy(),
            explain,
        }
    }

    /// Who commits in this session.
    pub(super) fn author(&self) -> Author {
        Author { name: self.settings.author.clone(), email: self.settings.email.clone() }
    }

    /// Whether a commit follows each transaction.
    pub(super) fn commits_by_itself(&self) -> bool {
        self.settings.auto_commit == "on"
    }

    /// The message of such commits.
    pub(super) fn auto_commit_message(&self) -> String {
        self.settings.auto_commit_message.clone()
    }

    /// Whether statements on a branch may write to tables that aren't versioned.
    pub(super) fn writes_unversioned(&self) -> bool {
        self.settings.unversioned_writes == "allow"
    }

    /// Whether branches are among the databases that catalogs list.
    pub(super) fn shows_databases(&self) -> bool {
        self.settings.show_branch_databases == "on"
    }

    fn strategy(&self) -> Strategy {
        match self.settings.strategy.as_str() {
            "row" => Strategy::Row,
            "ours" => Strategy::Ours,
            "theirs" => Strategy::Theirs,
            _ => Strategy::Field,
        }
    }

    /// Runs a function.
    pub async fn call(
        &self,
        call: &Call,
        parameters: &[Option<String>],
        in_transaction: bool,
        explain: Option<&dyn Explain>,
    ) -> Result<(Done, Effect)> {
        self.repository.refresh().await?;
        let registry = self.shared.registry.clone();
        let in_use = move |branch: &str| registry.in_use(branch);
        let session = self.functions(in_transaction, explain, &in_use);
        if let Some(command) = call.command() {
            let args = call.args(parameters);
            let (count, notices) = functions::write_conflicts(&session, command == "DELETE", &args).await?;
            let mut done = Done::command(&format!("{command} {count}"));
            done.notices = notices.into_iter().map(|text| Error::new("00000", text)).collect();
            return Ok((done, Effect::None));
        }
        // What can't be answered must not run.
        chosen(call, fields(call, &functions::columns(&session, &call.name, &call.args(parameters))?))?;
        let args = call.args(parameters);
        let streaming = functions::stream(&session, &call.name, &args);
        if let Some(rows) = uncancelled(&self.live, streaming).await?? {
            let columns = functions::columns(&session, &call.name, &args)?;
            let chosen = chosen(call, fields(call, &columns))?;
            let fields = chosen.iter().map(|(_, field)| field.clone()).collect();
            let pick = move |row: Vec<Option<String>>| {
                chosen.iter().map(|(i, _)| row.get(*i).cloned().flatten()).collect()
            };
            return Ok((Done::read(fields, rows.map_ok(pick).boxed()), Effect::None));
        }
        let running = functions::call(&session, &call.name, &args);
        let outcome = match functions::is_cancellable(&call.name) {
            true => uncancelled(&self.live, running).await??,
            false => running.await?,
        };
        let chosen = chosen(call, fields(call, &outcome.columns))?;
        let pick =
            |row: Vec<Option<String>>| chosen.iter().map(|(i, _)| row.get(*i).cloned().flatten()).collect();
        let rows = outcome.rows.into_iter().map(pick).collect();
        let mut done = Done::rows(chosen.iter().map(|(_, field)| field.clone()).collect(), rows);
        done.notices = outcome.notices.into_iter().map(|text| Error::new("00000", text)).collect();
        Ok((done, outcome.checkout.map_or(Effect::None, Effect::Switch)))
    }

    /// Runs a setting of ours; those that also concern a backend are the caller's.
    pub async fn set(&mut self, setting: &Setting, in_transaction: bool) -> Result<(Done, Effect)> {
        match setting {
            Setting::Show(name) => {
                let row = vec![vec![Some(self.show(name)?)]];
                Ok((Done::rows(vec![Field::new(name, Type::Text)], row).tagged("SHOW"), Effect::None))
            }
            Setting::Set { local: true, name, .. } => Err(Error::unsupported(format!("SET LOCAL {name}"))),
            Setting::Set { name, value, .. } if name == "epoch.branch" => {
                Ok((Done::command("SET"), Effect::Switch(self.find(value, in_transaction).await?)))
            }
            Setting::Set { name, value, .. } => {
                self.put(name, value)?;
                Ok((Done::command("SET"), Effect::None))
            }
            Setting::Reset(name) if name == "epoch.branch" => {
                let initial = self.initial.name.clone();
                Ok((Done::command("RESET"), Effect::Switch(self.find(&initial, in_transaction).await?)))
            }
            Setting::Reset(name) => {
                let initial = self.initial_settings.clone();
                let (own, initial) = (&mut self.settings, initial);
                *own.place(name)? = initial.value(name)?.to_owned();
                Ok((Done::command("RESET"), Effect::None))
            }
            Setting::DiscardAll | Setting::ResetAll => Ok((Done::command("RESET"), Effect::None)),
        }
    }

    async fn find(&self, spec: &str, in_transaction: bool) -> Result<Checkout> {
        if in_transaction {
            return Err(Error::new(
                sqlstate::ACTIVE_SQL_TRANSACTION,
                "the branch of a session cannot be changed inside a transaction block",
            )
            .with_hint("COMMIT or ROLLBACK first."));
        }
        self.repository.refresh().await?;
        self.repository.checkout(spec, Some(&self.checkout)).await
    }

    fn show(&self, name: &str) -> Result<String> {
        Ok(match name {
            "epoch.branch" => self.checkout.name.clone(),
            _ => self.settings.value(name)?.to_owned(),
        })
    }

    fn put(&mut self, name: &str, value: &str) -> Result<()> {
        let place = self.settings.place(name)?;
        let value = match name {
            "epoch.merge_strategy" => one_of(name, value, &["field", "row", "ours", "theirs"])?,
            "epoch.unversioned_writes" => one_of(name, value, &["deny", "allow"])?,
            "epoch.auto_commit" | "epoch.show_branch_databases" => {
                match value.to_ascii_lowercase().as_str() {
                    "on" | "true" | "yes" | "1" => "on",
                    "off" | "false" | "no" | "0" => "off",
                    _ => {
                        let message = format!("parameter \"{name}\" requires a Boolean value");
                        return Err(Error::new(sqlstate::INVALID_PARAMETER_VALUE, message));
                    }
                }
            }
            "epoch.auto_commit_message" if value.trim().is_empty() => {
                let message = format!("invalid value for parameter \"{name}\": \"{value}\"");
                return Err(Error::new(sqlstate::INVALID_PARAMETER_VALUE, message)
                    .with_detail("A commit has a message."));
            }
            _ => value,
        };
        value.clone_into(place);
        Ok(())
    }
}

impl Settings {
    fn place(&mut self, name: &str) -> Result<&mut String> {
        Ok(match name {
            "epoch.author" => &mut self.author,
            "epoch.email" => &mut self.email,
            "epoch.merge_strategy" => &mut self.strategy,
            "epoch.auto_commit" => &mut self.auto_commit,
            "epoch.auto_commit_message" => &mut self.auto_commit_message,
            "epoch.unversioned_writes" => &mut self.unversioned_writes,
            "epoch.show_branch_databases" => &mut self.show_branch_databases,
            _ => return Err(unknown(name)),
        })
    }

    fn value(&self, name: &str) -> Result<&str> {
        Ok(match name {
            "epoch.author" => &self.author,
            "epoch.email" => &self.email,
            "epoch.merge_strategy" => &self.strategy,
            "epoch.auto_commit" => &self.auto_commit,
            "epoch.auto_commit_message" => &self.auto_commit_message,
            "epoch.unversioned_writes" => &self.unversioned_writes,
            "epoch.show_branch_databases" => &self.show_branch_databases,
            _ => return Err(unknown(name)),
        })
    }
}

/// 22023 for a value that isn't one of these.
fn one_of<'a>(name: &str, value: &'a str, known: &[&str]) -> Result<&'a str> {
    if known.contains(&value) {
        return Ok(value);
    }
    let message = format!("invalid value for parameter \"{name}\": \"{value}\"");
    Err(Error::new(sqlstate::INVALID_PARAMETER_VALUE, message)
        .with_hint(format!("Available values: {}.", known.join(", "))))
}

fn unknown(name: &str) -> Error {
    Error::new(sqlstate::UNDEFINED_OBJECT, format!("unrecognized configuration parameter \"{name}\""))
        .with_hint(
            "Settings of a session: epoch.branch, epoch.author, epoch.email, epoch.merge_strategy, epoch.auto_commit, \
             epoch.auto_commit_message, epoch.unversioned_writes, epoch.show_branch_databases.",
        )
}

/// The columns, under the names that the statement gives them.
fn fields(call: &Call, columns: &[functions::Column]) -> Vec<Field> {
    let mut fields: Vec<_> =
        columns.iter().map(|c| Field::new(&c.name, Type::from_name(c.ty.name()))).collect();
    if let ([only], Some(alias)) = (fields.as_mut_slice(), &call.alias) {
        only.name.clone_from(alias);
    }
    for (field, name) in fields.iter_mut().zip(&call.columns) {
        field.name.clone_from(name);
    }
    fields
}

/// The columns that the statement asks for, with their places in the function's rows.
fn chosen(call: &Call, fields: Vec<Field>) -> Result<Vec<(usize, Field)>> {
    if call.chosen.is_empty() {
        return Ok(fields.into_iter().enumerate().collect());
    }
    let one = |(name, called): &(String, String)| {
        let found = fields.iter().enumerate().find(|(_, field)| field.name == *name);
        found.map(|(i, field)| (i, Field { name: called.clone(), ..field.clone() })).ok_or_else(|| {
            Error::new(sqlstate::UNDEFINED_COLUMN, format!("column \"{name}\" does not exist"))
        })
    };
    call.chosen.iter().map(one).collect()
}
