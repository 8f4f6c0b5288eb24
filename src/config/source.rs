//! Where settings come from, and which one wins: flags, then environment, then file, then defaults.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use super::options::{Opt, options};
use super::{Config, build, file};
use crate::Result;

/// What the process was started with.
#[derive(Clone)]
pub struct Environment {
    variables: BTreeMap<String, String>,
    /// The working directory.
    pub directory: PathBuf,
}

impl Environment {
    /// That of this process. Variables that aren't UTF-8 are left out.
    pub fn current() -> Result<Self> {
        let directory = std::env::current_dir()
            .map_err(|e| file::error(format!("cannot read the current directory: {e}")))?;
        let utf8 = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        Ok(Self { variables: std::env::vars_os().filter_map(utf8).collect(), directory })
    }

    /// A variable.
    pub fn variable(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str)
    }

    #[cfg(test)]
    pub(super) fn for_tests<'a>(
        directory: impl Into<PathBuf>,
        variables: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Self {
        let variables = variables.into_iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect();
        Self { variables, directory: directory.into() }
    }
}

/// What flags of the command line say.
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    /// `--config`.
    pub file: Option<PathBuf>,
    /// Dotted key, value, and the flag that set it.
    pub settings: Vec<(String, String, &'static str)>,
}

/// A configuration and where it came from.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The checked configuration.
    pub config: Config,
    /// The file, if there was one.
    pub file: Option<PathBuf>,
    /// What relative paths are relative to: the file's directory, else the working directory.
    pub root: PathBuf,
}

/// Finds, merges and checks. F0000 naming file, key and what is allowed.
pub fn load(environment: &Environment, overrides: &Overrides) -> Result<Loaded> {
    let path = file::locate(environment, overrides.file.as_deref())?;
    let mut settings = match &path {
        Some(path) => file::read(environment, path)?,
        None => Vec::new(),
    };
    for setting in from_environment(environment, &settings)? {
        replace(&mut settings, setting);
    }
    for (key, value, flag) in &overrides.settings {
        let path = key.split('.').map(str::to_owned).collect();
        let origin = Origin::Flag(flag, environment.directory.clone());
        replace(&mut settings, Setting { path, value: toml::Value::String(value.clone()), origin });
    }
    let root = path.as_deref().and_then(Path::parent).unwrap_or(&environment.directory).to_owned();
    let config = build::build(settings, &root)?;
    Ok(Loaded { config, file: path, root })
}

fn replace(settings: &mut Vec<Setting>, new: Setting) {
    match settings.iter_mut().find(|old| old.path == new.path) {
        Some(old) => *old = new,
        None => settings.push(new),
    }
}

/// One leaf.
pub(super) struct Setting {
    pub(super) path: Vec<String>,
    pub(super) value: toml::Value,
    pub(super) origin: Origin,
}

/// Who said so, for errors and for relative paths.
pub(super) enum Origin {
    File(PathBuf),
    Variable(String, PathBuf),
    Flag(&'static str, PathBuf),
}

impl Origin {
    /// What a relative path is relative to.
    pub(super) fn directory(&self) -> &Path {
        match self {
            Self::File(path) => path.parent().unwrap_or(Path::new("/")),
            Self::Variable(_, directory) | Self::Flag(_, directory) => directory,
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Variable(name, _) => write!(f, "environment variable {name}"),
            Self::Flag(name, _) => f.write_str(name),
        }
    }
}

/// `EPOCH_PROXY_LISTEN` is `proxy.listen`. A backend's or user's name in a variable means the one
/// in the file that is written alike but for its case; if there is none, the name in lower case.
fn from_environment(environment: &Environment, in_file: &[Setting]) -> Result<Vec<Setting>> {
    let mut settings = Vec::new();
    for (name, value) in &environment.variables {
        let Some(words) = name.strip_prefix("EPOCH_") else { continue };
        let usable = options().iter().filter(|option| option.from_environment);
        let Some(path) = usable.clone().find_map(|option| path_of(option, words)) else {
            let sections: Vec<String> = usable.map(section).collect();
            if sections.iter().any(|section| words.starts_with(section)) {
                return Err(unknown_variable(name));
            }
            continue;
        };
        let path = spelled_as_in_file(path, in_file);
        let origin = Origin::Variable(name.clone(), environment.directory.clone());
        settings.push(Setting { path, value: toml::Value::String(value.clone()), origin });
    }
    Ok(settings)
}

/// `PROXY_`, the start of all variables of an option's section.
fn section(option: &Opt) -> String {
    format!("{}_", option.key.split('.').next().unwrap_or_default().to_uppercase())
}

fn path_of(option: &Opt, words: &str) -> Option<Vec<String>> {
    let upper = option.key.to_uppercase().replace('.', "_");
    let parts = option.key.split('.').map(str::to_owned);
    match upper.split_once("NAME").filter(|_| option.key.contains("NAME")) {
        None => (upper == words).then(|| parts.collect()),
        Some((before, after)) => {
            let name = words.strip_prefix(before)?.strip_suffix(after)?;
            let name = (!name.is_empty()).then(|| name.to_lowercase())?;
            Some(parts.map(|part| if part == "NAME" { name.clone() } else { part }).collect())
        }
    }
}

/// Storage backends and users have their name in the third place.
fn spelled_as_in_file(mut path: Vec<String>, in_file: &[Setting]) -> Vec<String> {
    const NAME: usize = 2;
    // A variable can't hold the dash that a name may.
    let same = |(a, b): (&String, &String)| a.replace('-', "_").eq_ignore_ascii_case(b);
    let alike = |setting: &&Setting| {
        setting.path.len() > NAME && setting.path.iter().zip(&path).take(NAME + 1).all(same)
    };
    let found = in_file.iter().find(alike).and_then(|setting| setting.path.get(NAME)).cloned();
    if let (Some(name), Some(found)) = (path.get_mut(NAME), found) {
        *name = found;
    }
    path
}

fn unknown_variable(name: &str) -> crate::Error {
    let known: Vec<String> = options()
        .iter()
        .filter(|option| option.from_environment)
        .map(|option| format!("EPOCH_{}", option.key.to_uppercase().replace('.', "_")))
        .collect();
    let near = super::near(name, known.iter().map(String::as_str)).join(", ");
    let error = file::error(format!("environment variable {name} sets no option"));
    match near.is_empty() {
        true => error.with_hint(format!("Known ones: {}.", known.join(", "))),
        false => error.with_hint(format!("Near names: {near}.")),
    }
}
