//! `epoch user`: logins of the proxy.

use std::io::{BufRead, IsTerminal, Write};
use std::path::Path;

use clap::ArgMatches;

use super::output::Output;
use super::{Done, place};
use crate::wire::scram::Verifier;
use crate::{Error, Result, sqlstate};

/// `epoch user add`.
pub(super) fn user(matches: &ArgMatches, output: &Output) -> Result<Done> {
    let Some(("add", matches)) = matches.subcommand() else {
        return Err(Error::internal("no such command"));
    };
    let name = matches.get_one::<String>("name").map(String::as_str).unwrap_or_default();
    if name.is_empty() || name.contains(|c: char| c.is_control() || c == '"' || c == '\\') {
        return Err(Error::new(sqlstate::INVALID_PARAMETER_VALUE, "invalid user name"));
    }
    let verifier = Verifier::from_password(&password()?);
    let line = format!("{} = \"{verifier}\"", key(name));
    if !matches.get_flag("write") {
        return output.print(&format!("{line}\n"));
    }
    let loaded = place::configuration(matches, &[])?;
    let file = loaded.file.ok_or_else(|| {
        Error::new(sqlstate::CONFIG_FILE_ERROR, "there is no configuration file to write to")
            .with_hint("`epoch init` makes one; without --write the line is printed.")
    })?;
    write(&file, name, &line)?;
    output.print(&format!("user {name} is in {}; restart the proxy to let it in\n", file.display()))
}

fn key(name: &str) -> String {
    let bare = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    if bare { name.to_owned() } else { format!("\"{name}\"") }
}

/// From `EPOCH_PASSWORD`, a prompt that doesn't echo, or the first line of stdin.
fn password() -> Result<String> {
    let password = match std::env::var("EPOCH_PASSWORD") {
        Ok(password) => password,
        Err(_) if std::io::stdin().is_terminal() => prompt()?,
        Err(_) => read_line()?,
    };
    match password.is_empty() {
        true => Err(Error::new(sqlstate::INVALID_PARAMETER_VALUE, "the password is empty")),
        false => Ok(password),
    }
}

fn prompt() -> Result<String> {
    let ask = |text: &str| {
        let _ = write!(std::io::stderr(), "{text}: ");
        let line = read_line();
        let _ = writeln!(std::io::stderr());
        line
    };
    let quiet = Quiet::new();
    let first = ask("Password")?;
    let second = ask("Again")?;
    drop(quiet);
    match first == second {
        true => Ok(first),
        false => Err(Error::new(sqlstate::INVALID_PARAMETER_VALUE, "the passwords differ")),
    }
}

fn read_line() -> Result<String> {
    let mut line = String::new();
    std::io::stdin()
        .lock()
        .read_line(&mut line)
        .map_err(|e| Error::new(sqlstate::IO_ERROR, format!("cannot read the password: {e}")))?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

/// The terminal doesn't echo while this lives.
struct Quiet;

impl Quiet {
    fn new() -> Self {
        stty("-echo");
        Self
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        stty("echo");
    }
}

fn stty(mode: &str) {
    let _ = std::process::Command::new("stty").arg(mode).status();
}

/// Puts the line into `[auth.users]`, in place of the user's old one; the rest stays as it is.
fn write(file: &Path, name: &str, line: &str) -> Result<()> {
    let io =
        |e: std::io::Error| Error::new(sqlstate::IO_ERROR, format!("cannot change {}: {e}", file.display()));
    let text = std::fs::read_to_string(file).map_err(io)?;
    let changed = inserted(&text, name, line);
    let parsed = changed.parse::<toml::Table>().ok();
    let there = parsed.as_ref().and_then(|t| t.get("auth")?.get("users")?.get(name)?.as_str());
    if !there.is_some_and(|verifier| line.contains(verifier)) {
        return Err(Error::new(
            sqlstate::CONFIG_FILE_ERROR,
            format!("cannot add a user to {}: its [auth] section has an unusual form", file.display()),
        )
        .with_hint("Without --write the line is printed; put it there by hand."));
    }
    let temporary = file.with_extension("toml.new");
    std::fs::write(&temporary, changed).map_err(io)?;
    let rights = std::fs::metadata(file).map_err(io)?.permissions();
    std::fs::set_permissions(&temporary, rights).map_err(io)?;
    std::fs::rename(&temporary, file).map_err(io)
}

fn inserted(text: &str, name: &str, line: &str) -> String {
    let mut lines: Vec<&str> = text.lines().collect();
    let Some(section) = lines.iter().position(|l| l.trim() == "[auth.users]") else {
        return format!("{}\n\n[auth.users]\n{line}\n", text.trim_end());
    };
    let end = lines.iter().skip(section + 1).position(|l| l.trim_start().starts_with('['));
    let end = end.map_or(lines.len(), |n| section + 1 + n);
    let mine = |l: &&str| {
        let written = l.split_once('=').map(|(key, _)| key.trim().trim_matches(['"', '\'']));
        written == Some(name)
    };
    match lines.iter().take(end).skip(section + 1).position(mine).map(|n| section + 1 + n) {
        Some(old) => lines.splice(old..=old, [line]).for_each(drop),
        None => lines.insert(section + 1, line),
    }
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_added_replaced_and_the_rest_stays() {
        let ann = "ann = \"new\"";
        assert_eq!(
            inserted("[proxy]\nlisten = \"x\"\n", "ann", ann),
            "[proxy]\nlisten = \"x\"\n\n[auth.users]\nann = \"new\"\n"
        );
        let old = "[auth.users]\n# people\nbob = \"b\"\nann = \"old\"\n\n[logging]\nann = \"not a user\"\n";
        let new = "[auth.users]\n# people\nbob = \"b\"\nann = \"new\"\n\n[logging]\nann = \"not a user\"\n";
        assert_eq!(inserted(old, "ann", ann), new);
        let other = "[auth.users]\nbob = \"b\"\n[logging]\nann = \"not a user\"\n";
        assert_eq!(
            inserted(other, "ann", ann),
            "[auth.users]\nann = \"new\"\nbob = \"b\"\n[logging]\nann = \"not a user\"\n"
        );
    }
}
