//! Long output on a terminal goes through a pager, as git's does.

use std::ffi::OsString;
use std::io::{IsTerminal, Write};
use std::process::{Command, Stdio};

use clap::ArgMatches;

/// Commands whose output is for reading.
const PAGED: &[&str] = &[
    "diff",
    "log",
    "history",
    "blame",
    "patch",
    "reflog",
    "schema-diff",
    "audit",
    "constraint-violations",
    "all-branches",
];

/// The pager for a command, if it has one.
pub(super) fn of(matches: &ArgMatches) -> Option<String> {
    let verb = matches.subcommand_name()?;
    let wanted = PAGED.contains(&verb) && !matches.get_flag("no-pager") && !matches.get_flag("json");
    (wanted && std::io::stdout().is_terminal()).then(|| chosen(&|name| std::env::var_os(name)))?
}

/// `EPOCH_PAGER`, else `PAGER`, else `less`. Empty, or `cat`: none.
fn chosen(variable: &dyn Fn(&str) -> Option<OsString>) -> Option<String> {
    let named = ["EPOCH_PAGER", "PAGER"].iter().find_map(|name| variable(name));
    let pager = match named {
        Some(named) => named.into_string().ok()?,
        None => "less".to_owned(),
    };
    let pager = pager.trim();
    (!pager.is_empty() && pager != "cat").then(|| pager.to_owned())
}

/// Shows a text in a pager and waits for its end; false if there is no such program.
pub(super) fn show(pager: &str, text: &str) -> bool {
    let mut command = if cfg!(windows) { Command::new("cmd") } else { Command::new("sh") };
    command.args([if cfg!(windows) { "/C" } else { "-c" }, pager]);
    // What fits on the screen isn't paged, and colours are shown.
    for (name, value) in [("LESS", "FRX"), ("LV", "-c")] {
        if std::env::var_os(name).is_none() {
            command.env(name, value);
        }
    }
    let Ok(mut child) = command.stdin(Stdio::piped()).spawn() else { return false };
    if let Some(mut input) = child.stdin.take() {
        // Who has read enough leaves.
        let _ = input.write_all(text.as_bytes());
    }
    // A shell that doesn't find it says 127.
    child.wait().is_ok_and(|status| status.code() != Some(127))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_variable_that_is_set_says_which() {
        let chosen = |epoch: Option<&str>, pager: Option<&str>| {
            chosen(&|name| {
                let value = if name == "PAGER" { pager } else { epoch };
                value.map(OsString::from)
            })
        };
        assert_eq!(chosen(None, None).as_deref(), Some("less"));
        assert_eq!(chosen(None, Some("more -s")).as_deref(), Some("more -s"));
        assert_eq!(chosen(Some("bat"), Some("more")).as_deref(), Some("bat"));
        assert_eq!(chosen(Some(""), Some("more")), None);
        assert_eq!(chosen(Some(" cat "), None), None);
    }
}
