//! `epoch demo`: a repository with a shop in it, on embedded backends only: a SQLite file and a Delta table.

mod lake;
mod shop;

use std::io::Write;
use std::path::Path;

use clap::ArgMatches;

use super::{Done, serve};
use crate::config::{self, Config, Environment, Overrides};
use crate::operations::{Author, CommitOptions, Repository};
use crate::{Error, Result, sqlstate};

/// The tables, where they are and, where the table itself doesn't say it, their keys.
const TABLES: [(&str, &str, Option<&str>); 5] = [
    ("customers", "sqlite://shop/customers", None),
    ("products", "sqlite://shop/products", None),
    ("orders", "sqlite://shop/orders", None),
    ("order_items", "sqlite://shop/order_items", None),
    ("events", "local://lake/events", Some("id")),
];

/// Creates what isn't there yet, and serves it.
pub(super) async fn demo(matches: &ArgMatches) -> Result<Done> {
    let folder = matches.get_one::<std::path::PathBuf>("dir").ok_or_else(|| Error::internal("no folder"))?;
    let listen = matches.get_one::<String>("listen").map(String::as_str).unwrap_or_default();
    let file = prepare(folder).await?;
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
async fn prepare(folder: &Path) -> Result<std::path::PathBuf> {
    let io = |e: std::io::Error| {
        Error::new(sqlstate::IO_ERROR, format!("cannot write to {}: {e}", folder.display()))
    };
    std::fs::create_dir_all(folder).map_err(io)?;
    let database = folder.join("shop.db");
    if !database.exists() {
        say(&format!("Creating {} with 100,000 rows …\n", database.display()));
        shop::create(&database)?;
    }
    let events = folder.join("lake").join("events");
    if !events.exists() {
        say(&format!("Creating the Delta table {} with {} rows …\n", events.display(), lake::EVENTS));
        lake::create(&events).await?;
    }
    let file = folder.join("epoch.toml");
    if !file.exists() {
        let text = "# The repository of `epoch demo`.\n\n\
            [repository]\nname = \"shop\"\n\n\
            [metadata]\nurl = \"sqlite://epoch.db\"\n\n\
            [storage.sqlite.shop]\npath = \"shop.db\"\n\n\
            [storage.local.lake]\npath = \"lake\"\n\n\
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
    // A folder that an older version made has no lake in its configuration.
    let configured = |location: &str| {
        let backends = repository.backends();
        backends.iter().any(|b| location.starts_with(&format!("{}://{}/", b.kind(), b.name())))
    };
    let missing: Vec<_> = TABLES
        .into_iter()
        .filter(|(table, location, _)| registered.find(table).is_none() && configured(location))
        .collect();
    for (table, location, key) in &missing {
        let key = key.map(|k| vec![k.to_owned()]);
        repository.register(table, Some(*location), key.as_deref()).await?;
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
    DELETE FROM events WHERE kind = 'bot';                -- a Delta table beside SQLite's, in the same commit
    SELECT epoch_commit('tea is 10 % off, without bots');
    SELECT * FROM epoch_diff('main', 'sale', 'products') LIMIT 5;
    SELECT count(*), min(price) FROM epoch_at('products', 'main') WHERE category = 'tea';
    SELECT p.name, count(*) FROM events e JOIN products p ON p.id = e.product_id
        WHERE e.kind = 'view' GROUP BY p.name ORDER BY 2 DESC, 1 LIMIT 5;
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
