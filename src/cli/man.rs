//! `epoch man`: a page made from the definitions of the commands.

use clap::{Arg, Command};

use super::output::Output;
use super::{Done, command};
use crate::Result;

/// Prints the page.
pub(super) fn print(output: &Output) -> Result<Done> {
    let mut command = command::command();
    command.build();
    output.print(&page(&command))
}

fn page(command: &Command) -> String {
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    let version = command.get_version().unwrap_or_default();
    let mut text = format!(
        ".TH EPOCH 1 \"\" \"Horizon Epoch {version}\" \"Horizon Epoch\"\n.SH NAME\nepoch \\- {}\n.SH SYNOPSIS\n\\fBepoch\\fR [\\fIOPTIONS\\fR] \\fICOMMAND\\fR [\\fIARGUMENTS\\fR]\n",
        escaped(&about)
    );
    text.push_str(".SH OPTIONS\nOf all commands:\n");
    for arg in command.get_arguments().filter(|arg| arg.is_global_set()) {
        text.push_str(&option(arg));
    }
    text.push_str(".SH COMMANDS\n");
    for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help") {
        section(&mut text, "epoch", sub);
    }
    text.push_str(
        ".SH EXIT STATUS\n0 done, 1 error, 2 wrong usage, 3 stopped at conflicts.\n.SH FILES\n\\fI./epoch.toml\\fR, \\fI~/.config/epoch/config.toml\\fR, \\fI/etc/epoch/config.toml\\fR\n",
    );
    text
}

fn section(text: &mut String, before: &str, command: &Command) {
    let name = format!("{before} {}", command.get_name());
    let mut words = vec![format!("\\fB{}\\fR", escaped(&name))];
    let own: Vec<&Arg> =
        command.get_arguments().filter(|arg| !arg.is_global_set() && arg.get_id() != "help").collect();
    if own.iter().any(|arg| !arg.is_positional()) {
        words.push("[\\fIOPTIONS\\fR]".to_owned());
    }
    words.extend(own.iter().filter(|arg| arg.is_positional()).map(|arg| {
        let value = format!("\\fI{}\\fR", escaped(&value_name(arg)));
        if arg.is_required_set() { value } else { format!("[{value}]") }
    }));
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    text.push_str(&format!(".SS {}\n{}.\n.PP\n{}\n", escaped(&name), escaped(&about), words.join(" ")));
    own.iter().for_each(|arg| text.push_str(&option(arg)));
    for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help") {
        section(text, &name, sub);
    }
}

fn value_name(arg: &Arg) -> String {
    let names = arg.get_value_names().unwrap_or_default();
    match names.first() {
        Some(name) => name.to_string(),
        None => arg.get_id().to_string(),
    }
}

/// An argument with its help.
fn option(arg: &Arg) -> String {
    let mut names = Vec::new();
    if arg.is_positional() {
        names.push(format!("\\fI{}\\fR", escaped(&value_name(arg))));
    }
    names.extend(arg.get_short().map(|short| format!("\\fB\\-{short}\\fR")));
    names.extend(arg.get_long().map(|long| format!("\\fB\\-\\-{}\\fR", escaped(long))));
    let mut head = names.join(", ");
    if !arg.is_positional() && arg.get_action().takes_values() {
        head.push_str(&format!(" \\fI{}\\fR", escaped(&value_name(arg))));
    }
    let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
    format!(".TP\n{head}\n{}\n", escaped(&help))
}

/// Text as roff takes it for text.
fn escaped(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-");
    let line =
        |line: &str| if line.starts_with(['.', '\'']) { format!("\\&{line}") } else { line.to_owned() };
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_and_flag_is_there() {
        let mut command = command::command();
        command.build();
        let page = page(&command);
        for part in [
            ".SS epoch conflicts resolve\n",
            "\\fB\\-\\-interactive\\fR",
            ".SS epoch cherry\\-pick\n",
            "\\fB\\-\\-config\\fR \\fIFILE\\fR",
            ".SS epoch table add\n",
        ] {
            assert!(page.contains(part), "{part} is missing");
        }
        assert_eq!(escaped(".x - \\y"), "\\&.x \\- \\ey");
    }
}
