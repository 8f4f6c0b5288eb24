//! `epoch demo`: a repository with a shop in it, on embedded backends only.

mod shop;

use std::io::Write;
use std::path::Path;

use clap::ArgMatches;

use super::{Done, serve};
use crate::config::{self, Config, Environment, Overrides};
use crate::operations::{Author, CommitOptions, Repository};
use crate::{Error, Result, sqlstate};

const TABLES: [&str; 4] = ["customers", "products", "orders", "order_items"];

/// Creates what isn't there yet, and serves it.
pub(super) async fn demo(matches: &ArgMatches) -> Result<Done> {
    let folder = matches.get_one::<std::path::PathBuf>("dir").ok_or_else(|| Error::internal("no folder"))?;
    let listen = matches.get_one::<String>("listen").map(String::as_str).unwrap_or_default();
    let file = prepare(folder)?;
    let mut config = load(&file, listen)?;
    if config.log_filter == "info" {
        // What people want to see here is psql's window.
        config.log_filter = "warn".to_owned();
    }
    serve::log_to_stderr(&config)?;
    let repository = Repository::open(&config).await?;
    publish(&repository).await?;
    if matches.get_flag("no-serve") {
        return Ok(Done::Well);
    }
    let greeting = greeting(&config, folder);
    serve::run(config, repository, &greeting).await
}

/// The folder with configuration and database; what is there already stays.
fn prepare(folder: &Path) -> Result<std::path::PathBuf> {
    let io = |e: std::io::Error| {
        Error::new(sqlstate::IO_ERROR, format!("cannot write to {}: {e}", folder.display()))
    };
    std::fs::create_dir_all(folder).map_err(io)?;
    let database = folder.join("shop.db");
    if !database.exists() {
        say(&format!("Creating {} with 100,000 rows …\n", database.display()));
        shop::create(&database)?;
    }
    let file = folder.join("epoch.toml");
    if !file.exists() {
        let text = "# The repository of `epoch demo`.\n\n\
            [repository]\nname = \"shop\"\n\n\
            [metadata]\nurl = \"sqlite://epoch.db\"\n\n\
            [storage.sqlite.shop]\npath = \"shop.db\"\n\n\
            [defaults]\nauthor = \"Demo\"\nemail = \"demo@example.com\"\n";
        std::fs::write(&file, text).map_err(io)?;
    }
    Ok(file)
}

fn load(file: &Path, listen: &str) -> Result<Config> {
    let settings = vec![("proxy.listen".to_owned(), listen.to_owned(), "--listen")];
    let overrides = Overrides { file: Some(file.to_owned()), settings };
    Ok(config::load(&Environment::current()?, &overrides)?.config)
}

/// Registers the tables and commits, unless an earlier run did.
async fn publish(repository: &Repository) -> Result<()> {
    let registered = repository.tables();
    let missing: Vec<&str> = TABLES.into_iter().filter(|t| registered.find(t).is_none()).collect();
    for table in &missing {
        repository.register(table, Some(&format!("sqlite://shop/{table}")), None).await?;
    }
    if missing.is_empty() {
        return Ok(());
    }
    let main = repository.checkout("main", None).await?;
    let options = CommitOptions {
        message: "The shop opens".to_owned(),
        author: Author { name: "Demo".to_owned(), email: "demo@example.com".to_owned() },
        allow_empty: true,
        ..CommitOptions::default()
    };
    repository.commit(&main, &options).await.map(|_| ())
}

fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// What to try.
fn greeting(config: &Config, folder: &Path) -> String {
    let (host, port, name) = (config.listen.ip(), config.listen.port(), &config.name);
    format!(
        r#"
The demo shop is being served from {folder}. In another terminal:

    psql -h {host} -p {port} {name}

    SELECT epoch_branch('sale');                          -- costs nothing, copies nothing
    SELECT epoch_checkout('sale');
    UPDATE products SET price = price * 0.9 WHERE category = 'tea';
    SELECT epoch_commit('tea is 10 % off');
    SELECT * FROM epoch_diff('main', 'sale', 'products') LIMIT 5;
    SELECT count(*), min(price) FROM epoch_at('products', 'main') WHERE category = 'tea';
    SELECT epoch_checkout('main');
    SELECT * FROM epoch_merge('sale');
    SELECT * FROM epoch.log;
    SELECT * FROM epoch_help();

    psql -h {host} -p {port} {name}/sale                       # a branch is a database name
    epoch --config {file} log                    # the same from the command line

Ctrl-C stops it; `epoch demo` goes on where it was.
"#,
        folder = folder.display(),
        file = folder.join("epoch.toml").display(),
    )
}
