//! `epoch init`.

use std::path::PathBuf;

use clap::ArgMatches;

use super::output::{BOLD, Output, paint};
use super::{Done, place};
use crate::operations::Repository;
use crate::{Error, Result, sqlstate};

/// Writes `epoch.toml` and creates the metadata.
pub(super) async fn init(matches: &ArgMatches, output: &Output) -> Result<Done> {
    let file = matches.get_one::<String>("config").map_or_else(|| PathBuf::from("epoch.toml"), PathBuf::from);
    let io =
        |e: std::io::Error| Error::new(sqlstate::IO_ERROR, format!("cannot write {}: {e}", file.display()));
    if file.exists() {
        return Err(Error::new(sqlstate::DUPLICATE_OBJECT, format!("{} exists already", file.display()))
            .with_hint("Edit it, or remove it first."));
    }
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder).map_err(io)?;
    }
    std::fs::write(&file, text(matches)?).map_err(io)?;
    let opened = async {
        let environment = crate::config::Environment::current()?;
        let overrides = crate::config::Overrides { file: Some(file.clone()), settings: Vec::new() };
        let loaded = crate::config::load(&environment, &overrides)?;
        Repository::open(&loaded.config).await?;
        Ok(loaded.config)
    };
    let config = match opened.await {
        Ok(config) => config,
        Err(error) => {
            // Else a second try would stumble over the file of the first.
            let _ = std::fs::remove_file(&file);
            return Err(error);
        }
    };
    let author = place::author(&config).name;
    let next = match !config.has_backends() {
        true => "Add a backend to it: a section [storage.postgres.NAME], [storage.sqlite.NAME], [storage.mysql.NAME], \
                 [storage.sqlserver.NAME], [storage.local.NAME], [storage.s3.NAME], [storage.azure.NAME] or [storage.gcs.NAME]."
            .to_owned(),
        false => "Next: `epoch table discover`, `epoch table add 'PATTERN'`, `epoch commit -m 'first'`, `epoch serve`.".to_owned(),
    };
    output.print(&format!(
        "{} holds repository {}; commits are by {author}.\n{next}\n",
        file.display(),
        paint(BOLD, &config.name),
    ))
}

/// The file's text. URLs and paths are as they were typed, with their `${VAR}`.
fn text(matches: &ArgMatches) -> Result<String> {
    let quoted = |text: &str| toml::Value::from(text).to_string();
    let name = match matches.get_one::<String>("name") {
        Some(name) => name.clone(),
        None => folder_name(),
    };
    let mut text = format!("[repository]\nname = {}\n", quoted(&name));
    if let Some(listen) = matches.get_one::<String>("listen") {
        text.push_str(&format!("\n[proxy]\nlisten = {}\n", quoted(listen)));
    }
    let kinds = [
        ("postgres", "url"),
        ("sqlite", "path"),
        ("mysql", "url"),
        ("sqlserver", "url"),
        ("local", "path"),
        ("s3", "bucket"),
        ("azure", "container"),
        ("gcs", "bucket"),
    ];
    for (kind, key) in kinds {
        for given in matches.get_many::<String>(kind).into_iter().flatten() {
            let (name, value) = given.split_once('=').ok_or_else(|| {
                Error::new(
                    sqlstate::INVALID_PARAMETER_VALUE,
                    format!("--{kind} needs NAME={}", key.to_uppercase()),
                )
            })?;
            text.push_str(&format!("\n[storage.{kind}.{}]\n", quoted(name)));
            let value = match value.split_once('/') {
                Some((account, container)) if kind == "azure" => {
                    text.push_str(&format!("account = {}\n", quoted(account)));
                    container
                }
                _ => value,
            };
            text.push_str(&format!("{key} = {}\n", quoted(value)));
        }
    }
    Ok(text)
}

/// What of the working folder's name may be a repository's.
fn folder_name() -> String {
    let folder = std::env::current_dir().ok();
    let name = folder.as_deref().and_then(|f| f.file_name()).and_then(|n| n.to_str()).unwrap_or_default();
    let name: String = name.chars().filter(|c| c.is_ascii_alphanumeric() || "_-".contains(*c)).collect();
    if name.is_empty() { "epoch".to_owned() } else { name }
}
