//! `epoch completions`.

use clap::ArgMatches;

use super::output::Output;
use super::{Done, command};
use crate::{Error, Result};

/// Prints the script of the shell.
pub(super) fn print(matches: &ArgMatches, output: &Output) -> Result<Done> {
    let shell = matches.get_one::<clap_complete::Shell>("shell");
    let shell = *shell.ok_or_else(|| Error::internal("no shell"))?;
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command::command(), "epoch", &mut script);
    output.print(&String::from_utf8_lossy(&script))
}
