//! Finding and reading `epoch.toml`.

use std::path::{Path, PathBuf};

use super::source::{Environment, Origin, Setting};
use crate::{Error, Result, sqlstate};

/// The file that `explicit` names, else the first of the usual places that exists.
pub(super) fn locate(environment: &Environment, explicit: Option<&Path>) -> Result<Option<PathBuf>> {
    let named = explicit
        .map(Path::to_owned)
        .or_else(|| environment.variable("EPOCH_CONFIG_FILE").filter(|v| !v.is_empty()).map(PathBuf::from));
    if let Some(named) = named {
        let path = environment.directory.join(named);
        return match path.is_file() {
            true => Ok(Some(path)),
            false => Err(error(format!("configuration file {} does not exist", path.display()))),
        };
    }
    let mut places: Vec<PathBuf> = ["epoch.toml", "config/epoch.toml", ".epoch/config.toml"]
        .iter()
        .map(|place| environment.directory.join(place))
        .collect();
    if let Some(home) = environment.variable("HOME") {
        places.push(Path::new(home).join(".config/epoch/config.toml"));
    }
    places.push(PathBuf::from("/etc/epoch/config.toml"));
    Ok(places.into_iter().find(|place| place.is_file()))
}

/// The leaves of the file, with variables filled in.
pub(super) fn read(environment: &Environment, path: &Path) -> Result<Vec<Setting>> {
    let text = std::fs::read_to_string(path)
        .map_err(|e| error(format!("cannot read configuration file {}: {e}", path.display())))?;
    // The parser's own rendering quotes the line, which may hold a password.
    let table: toml::Table = text.parse().map_err(|e: toml::de::Error| {
        let line =
            e.span().map_or(0, |span| text.bytes().take(span.start).filter(|b| *b == b'\n').count()) + 1;
        error(format!("{} line {line}: {}", path.display(), e.message()))
    })?;
    let mut settings = Vec::new();
    flatten(environment, path, &mut Vec::new(), table, &mut settings)?;
    Ok(settings)
}

fn flatten(
    environment: &Environment,
    file: &Path,
    prefix: &mut Vec<String>,
    table: toml::Table,
    settings: &mut Vec<Setting>,
) -> Result<()> {
    for (key, value) in table {
        prefix.push(key);
        match value {
            // An empty table of a known shape sets nothing; one that is unknown is reported as a key.
            toml::Value::Table(inner) if !inner.is_empty() || prefix.len() == 1 => {
                flatten(environment, file, prefix, inner, settings)?;
            }
            value => {
                let origin = Origin::File(file.to_owned());
                let value = match value {
                    toml::Value::String(text) => toml::Value::String(
                        expand(environment, &text)
                            .map_err(|why| error(format!("{origin}: {}: {why}", prefix.join("."))))?,
                    ),
                    other => other,
                };
                settings.push(Setting { path: prefix.clone(), value, origin });
            }
        }
        prefix.pop();
    }
    Ok(())
}

/// Fills in `${VAR}` and `${VAR:-default}`; `$${` is a literal `${`.
fn expand(environment: &Environment, text: &str) -> Result<String, String> {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        if let Some(before) = before.strip_suffix('$') {
            out.push_str(before);
            out.push_str("${");
            rest = after;
            continue;
        }
        let (inside, tail) = after.split_once('}').ok_or("${ without }")?;
        let (name, default) = match inside.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (inside, None),
        };
        let valid = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        if !valid {
            return Err("between ${ and } must be the name of a variable, or NAME:-default".to_owned());
        }
        let set = environment.variable(name).filter(|value| !value.is_empty() || default.is_none());
        let value = set.or(default).ok_or_else(|| format!("environment variable {name} is not set"))?;
        out.push_str(before);
        out.push_str(value);
        rest = tail;
    }
    out.push_str(rest);
    Ok(out)
}

pub(super) fn error(message: String) -> Error {
    Error::new(sqlstate::CONFIG_FILE_ERROR, message)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_filled_in() {
        let environment = Environment::for_tests("/", [("HOST", "db"), ("EMPTY", "")]);
        let expand = |text| expand(&environment, text);
        assert_eq!(expand("a ${HOST}:${PORT:-5432} b").unwrap(), "a db:5432 b");
        assert_eq!(expand("${EMPTY:-x}${EMPTY}").unwrap(), "x");
        assert_eq!(expand("SCRAM-SHA-256$4096:a$b:c").unwrap(), "SCRAM-SHA-256$4096:a$b:c");
        assert_eq!(expand("$${HOST}").unwrap(), "${HOST}");
        assert!(expand("${NONE}").unwrap_err().contains("NONE"));
        assert!(expand("${HOST").is_err());
        assert!(expand("${a b}").is_err());
    }
}
