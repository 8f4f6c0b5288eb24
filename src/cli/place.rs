//! Where a command works: configuration, repository, and the ref that is checked out here.

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use clap::ArgMatches;

use crate::config::{self, Config, Environment, Loaded, Overrides};
use crate::federation;
use crate::functions::{self, Args, Asked, Explain, ExplainPart, Opened, Outcome, Session};
use crate::operations::{Actor, Author, Checkout, Repository, Strategy};
use crate::{Error, Result, sqlstate};

/// The configuration that the flags of a command lead to.
pub(super) fn configuration(matches: &ArgMatches, settings: &[(&str, &'static str, &str)]) -> Result<Loaded> {
    let mut overrides = Overrides { file: None, settings: Vec::new() };
    overrides.file = matches.get_one::<String>("config").map(PathBuf::from);
    for (id, flag, key) in settings {
        if let Some(value) = matches.get_one::<String>(id) {
            overrides.settings.push(((*key).to_owned(), value.clone(), flag));
        }
    }
    config::load(&Environment::current()?, &overrides)
}

/// An open repository and what is checked out.
pub(super) struct Place {
    pub(super) repository: Repository,
    pub(super) config: Config,
    pub(super) checkout: Checkout,
    head: PathBuf,
    /// `--on` was given: what is checked out stays as it is.
    elsewhere: bool,
}

impl Place {
    /// Opens the repository on `--on`, else on what is checked out, else on main.
    /// `moving`: it is about to be left, so that it is gone doesn't matter.
    pub(super) async fn open(matches: &ArgMatches, moving: bool) -> Result<Self> {
        let loaded = configuration(matches, &[])?;
        if loaded.file.is_none() && !has_backends(&loaded.config) {
            return Err(Error::new(sqlstate::CONFIG_FILE_ERROR, "there is no epoch.toml here")
                .with_hint("`epoch init` writes one; --config names one elsewhere."));
        }
        let head = head_file(&loaded);
        let repository = Repository::open(&loaded.config).await?.acting(actor(matches, &loaded.config));
        repository.refresh().await?;
        repository.assert_by(federation::assertions());
        let named = matches.get_one::<String>("on");
        let checkout = match named {
            Some(name) => repository.checkout(name, None).await?,
            None => checked_out(&repository, &head, moving).await?,
        };
        Ok(Self { repository, config: loaded.config, checkout, head, elsewhere: named.is_some() })
    }

    /// The rows of a function that returns them as they are read, with its columns; none after these.
    pub(super) async fn open_rows(&self, function: &str, args: &Args) -> Result<Opened> {
        let session = Session {
            repository: &self.repository,
            checkout: &self.checkout,
            author: self.author(),
            read_only: true,
            in_transaction: false,
            branch_in_use: &|_| false,
            strategy: Strategy::default(),
            explain: None,
        };
        functions::open(&session, function, args, &Asked::default()).await
    }

    /// Runs a function as this place's session. A checkout is remembered for the next command.
    pub(super) async fn call(&self, function: &str, args: &Args) -> Result<Outcome> {
        let runner = Runner(&self.repository);
        let session = Session {
            repository: &self.repository,
            checkout: &self.checkout,
            author: self.author(),
            read_only: false,
            in_transaction: false,
            branch_in_use: &|_| false,
            strategy: Strategy::default(),
            explain: Some(&runner),
        };
        let outcome = functions::call(&session, function, args).await?;
        match &outcome.checkout {
            Some(checkout) if !self.elsewhere => remember(&self.head, &checkout.name)?,
            _ => {}
        }
        Ok(outcome)
    }

    fn author(&self) -> Author {
        author(&self.config)
    }
}

/// Runs assertions; there is no session whose planner could explain.
struct Runner<'a>(&'a Repository);

#[async_trait]
impl Explain for Runner<'_> {
    async fn explain(&self, _: &str) -> Result<Vec<ExplainPart>> {
        Err(Error::unsupported("epoch_explain outside a server session")
            .with_hint("Connect with psql to a running server."))
    }

    async fn holds(&self, checkout: &Checkout, sql: &str) -> Result<bool> {
        federation::holds(self.0, checkout, sql).await
    }
}

/// Who holds the configuration holds the repository, unless `--as` names somebody whose rights are to be asked.
fn actor(matches: &ArgMatches, config: &Config) -> Actor {
    let named = matches.get_one::<String>("as").cloned();
    let owner = named.is_none();
    let user = named.unwrap_or_else(|| author(config).name);
    Actor { user, client: "command line".to_owned(), owner }
}

/// The configured author, else the user of this machine.
pub(super) fn author(config: &Config) -> Author {
    let login = || ["USER", "LOGNAME"].iter().find_map(|name| std::env::var(name).ok());
    Author {
        name: config.author.clone().or_else(login).unwrap_or_else(|| "epoch".to_owned()),
        email: config.email.clone().unwrap_or_default(),
    }
}

fn has_backends(config: &Config) -> bool {
    config.has_backends()
}

/// Beside the metadata file; for metadata on a server, in `.epoch` beside the configuration.
fn head_file(loaded: &Loaded) -> PathBuf {
    match loaded.config.metadata_url.expose().strip_prefix("sqlite://") {
        Some(path) => PathBuf::from(format!("{path}.HEAD")),
        None => loaded.root.join(".epoch/HEAD"),
    }
}

async fn checked_out(repository: &Repository, head: &Path, moving: bool) -> Result<Checkout> {
    let name = match std::fs::read_to_string(head) {
        Ok(text) => text.trim().to_owned(),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => "main".to_owned(),
        Err(e) => return Err(unreadable(head, &e)),
    };
    match repository.checkout(&name, None).await {
        Err(error) if error.code() == sqlstate::INVALID_CATALOG_NAME && name != "main" => {
            if moving {
                return repository.checkout("main", None).await;
            }
            Err(error
                .with_detail(format!("\"{name}\" was checked out here, but it is gone."))
                .with_hint("`epoch checkout main` goes back to main."))
        }
        found => found,
    }
}

fn remember(head: &Path, name: &str) -> Result<()> {
    let folder = head.parent().unwrap_or(Path::new("."));
    let temporary = head.with_extension("HEAD.new");
    std::fs::create_dir_all(folder)
        .and_then(|()| std::fs::write(&temporary, format!("{name}\n")))
        .and_then(|()| std::fs::rename(&temporary, head))
        .map_err(|e| unreadable(head, &e))
}

fn unreadable(path: &Path, error: &std::io::Error) -> Error {
    Error::new(sqlstate::IO_ERROR, format!("cannot use {}: {error}", path.display()))
}
