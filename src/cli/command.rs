//! The commands, flags and help texts.

use clap::builder::ValueParser;
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

use crate::functions::{self, Args, Flag, Function, Parameter, Takes};

/// Verbs that are a function of the SQL surface. The first word may be a group.
const VERBS: &[(&[&str], &str)] = &[
    (&["status"], "epoch_status"),
    (&["branch"], "epoch_branch"),
    (&["checkout"], "epoch_checkout"),
    (&["commit"], "epoch_commit"),
    (&["log"], "epoch_log"),
    (&["diff"], "epoch_diff"),
    (&["merge"], "epoch_merge"),
    (&["conflicts"], "epoch_conflicts"),
    (&["conflicts", "resolve"], "epoch_conflicts_resolve"),
    (&["preview-merge"], "epoch_preview_merge"),
    (&["merge-rule"], "epoch_merge_rule"),
    (&["merge-rules"], "epoch_merge_rules"),
    (&["cherry-pick"], "epoch_cherry_pick"),
    (&["revert"], "epoch_revert"),
    (&["rebase"], "epoch_rebase"),
    (&["rebase-plan"], "epoch_rebase_plan"),
    (&["rebase-edit"], "epoch_rebase_edit"),
    (&["stash"], "epoch_stash"),
    (&["tag"], "epoch_tag"),
    (&["promote"], "epoch_promote"),
    (&["reset"], "epoch_reset"),
    (&["squash-history"], "epoch_squash_history"),
    (&["reflog"], "epoch_reflog"),
    (&["undrop"], "epoch_undrop"),
    (&["gc"], "epoch_gc"),
    (&["verify-constraints"], "epoch_verify_constraints"),
    (&["constraint-violations"], "epoch_constraint_violations"),
    (&["schema-diff"], "epoch_schema_diff"),
    (&["history"], "epoch_history"),
    (&["blame"], "epoch_blame"),
    (&["patch"], "epoch_patch"),
    (&["bisect"], "epoch_bisect"),
    (&["all-branches"], "epoch_all_branches"),
    (&["hash-table"], "epoch_hashof_table"),
    (&["grant"], "epoch_grant"),
    (&["revoke"], "epoch_revoke"),
    (&["grants"], "epoch_grants"),
    (&["members"], "epoch_members"),
    (&["protect"], "epoch_protect"),
    (&["protections"], "epoch_protections"),
    (&["audit"], "epoch_audit"),
    (&["hook-runs"], "epoch_hook_runs"),
    (&["table", "add"], "epoch_register"),
    (&["table", "remove"], "epoch_unregister"),
    (&["table", "list"], "epoch_tables"),
    (&["table", "discover"], "epoch_discover"),
    (&["table", "triggers"], "epoch_triggers"),
];

/// What all commands are.
pub(super) fn command() -> Command {
    let mut command = Command::new("epoch")
        .about("Git-like version control for data that stays where it lives")
        .version(env!("CARGO_PKG_VERSION"))
        .subcommand_required(true)
        .arg_required_else_help(true)
        .args(global().into_iter().map(|arg| arg.display_order(900)))
        .after_help("Exit codes: 0 done, 1 error, 2 wrong usage, 3 stopped at conflicts.")
        .subcommand(init())
        .subcommand(serve())
        .subcommand(demo())
        .subcommand(user());
    for (verb, function) in VERBS {
        if let ([verb], Some(function)) = (verb, functions::find(function)) {
            command = command.subcommand(extended(of_function(verb, function)));
        }
    }
    command.subcommand(table()).subcommand(query()).subcommand(completions()).subcommand(man())
}

/// The function behind a verb.
pub(super) fn function_of(verb: &[&str]) -> Option<&'static Function> {
    let found = VERBS.iter().find(|(words, _)| *words == verb);
    found.and_then(|(_, function)| functions::find(function))
}

fn global() -> Vec<Arg> {
    vec![
        Arg::new("config")
            .long("config")
            .value_name("FILE")
            .global(true)
            .help("The configuration file [default: ./epoch.toml and others]"),
        Arg::new("on")
            .long("on")
            .value_name("REF")
            .global(true)
            .help("Work on this branch, tag or commit instead of the checked-out one"),
        Arg::new("as")
            .long("as")
            .value_name("USER")
            .global(true)
            .help("With the rights of this user instead of the owner's"),
        Arg::new("no-pager")
            .long("no-pager")
            .global(true)
            .action(ArgAction::SetTrue)
            .help("Don't page long output on a terminal (by $EPOCH_PAGER, $PAGER, or less)"),
        Arg::new("json").long("json").global(true).action(ArgAction::SetTrue).help("Print JSON"),
        Arg::new("color")
            .long("color")
            .value_name("WHEN")
            .value_parser(["auto", "always", "never"])
            .default_value("auto")
            .global(true)
            .help("Colour; auto is on a terminal, unless NO_COLOR is set"),
    ]
}

fn init() -> Command {
    Command::new("init")
        .about("Write epoch.toml and create the repository")
        .arg(Arg::new("name").help("The repository's name [default: the folder's name]"))
        .arg(repeated("postgres", "NAME=URL", "A PostgreSQL backend; write ${VAR} for the password"))
        .arg(repeated("sqlite", "NAME=PATH", "A SQLite backend"))
        .arg(repeated("mysql", "NAME=URL", "A MySQL or MariaDB backend; write ${VAR} for the password"))
        .arg(repeated("sqlserver", "NAME=URL", "A SQL Server backend; write ${VAR} for the password"))
        .arg(repeated("local", "NAME=PATH", "A folder with Delta tables"))
        .arg(repeated("s3", "NAME=BUCKET", "A bucket of an S3-compatible store with Delta tables"))
        .arg(repeated(
            "azure",
            "NAME=ACCOUNT/CONTAINER",
            "A container of Azure Blob Storage with Delta tables",
        ))
        .arg(repeated("gcs", "NAME=BUCKET", "A bucket of Google Cloud Storage with Delta tables"))
        .arg(
            Arg::new("listen")
                .long("listen")
                .value_name("ADDRESS")
                .help("Where clients connect [default: 127.0.0.1:6543]"),
        )
}

fn serve() -> Command {
    Command::new("serve")
        .about("Run the proxy until SIGTERM or Ctrl-C")
        .arg(
            Arg::new("listen")
                .long("listen")
                .value_name("ADDRESS")
                .help("Where clients connect, e.g. 127.0.0.1:6543"),
        )
        .arg(
            Arg::new("log")
                .long("log")
                .value_name("FILTER")
                .help("What is logged, e.g. info or warn,epoch=debug"),
        )
}

fn demo() -> Command {
    Command::new("demo")
        .about("Create a repository with a shop of 100,000 rows, and serve it")
        .arg(
            Arg::new("dir")
                .long("dir")
                .value_name("FOLDER")
                .default_value("demo-data")
                .value_parser(value_parser!(std::path::PathBuf))
                .help("Where its files are; a second run goes on with them"),
        )
        .arg(
            Arg::new("listen")
                .long("listen")
                .value_name("ADDRESS")
                .default_value("127.0.0.1:6543")
                .help("Where clients connect"),
        )
        .arg(Arg::new("no-serve").long("no-serve").action(ArgAction::SetTrue).help("Create only"))
}

fn user() -> Command {
    let add = Command::new("add")
        .about("Make a SCRAM verifier for [auth.users]; the password comes from a prompt, stdin or EPOCH_PASSWORD")
        .arg(Arg::new("name").required(true).help("The user"))
        .arg(Arg::new("write").long("write").action(ArgAction::SetTrue).help("Put it into the configuration file"));
    Command::new("user").about("Users of the proxy").subcommand_required(true).subcommand(add)
}

fn table() -> Command {
    let mut table = Command::new("table").about("Registered tables").subcommand_required(true);
    for (verb, function) in VERBS {
        if let (["table", verb], Some(function)) = (verb, functions::find(function)) {
            table = table.subcommand(of_function(verb, function));
        }
    }
    table
}

fn query() -> Command {
    Command::new("query")
        .about("Run SQL on the checked-out branch, as a client of the proxy would")
        .arg(Arg::new("sql").num_args(0..).help("Statements [default: stdin]"))
        .arg(
            Arg::new("file")
                .short('f')
                .long("file")
                .value_name("FILE")
                .conflicts_with("sql")
                .help("Read them from a file"),
        )
}

fn completions() -> Command {
    Command::new("completions").about("Print a completion script").arg(
        Arg::new("shell")
            .required(true)
            .value_parser(value_parser!(clap_complete::Shell))
            .help("bash, zsh, fish, …"),
    )
}

fn man() -> Command {
    Command::new("man").about("Print the manual page: epoch man | man -l -")
}

fn repeated(name: &'static str, value: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).value_name(value).action(ArgAction::Append).help(help)
}

/// What only the command line has.
fn extended(command: Command) -> Command {
    let switch = |name: &'static str, help| Arg::new(name).long(name).action(ArgAction::SetTrue).help(help);
    match command.get_name() {
        "log" => command.arg(switch("oneline", "One line per commit")),
        "diff" => command.arg(switch("stat", "Only how much differs, per table")),
        "conflicts" => {
            let interactive =
                switch("interactive", "Show one after the other, and ask what to take").short('i');
            let interactive =
                interactive.conflicts_with_all(["ours", "theirs", "base", "key", "column", "value"]);
            let resolve = functions::find("epoch_conflicts_resolve")
                .map(|f| of_function("resolve", f).arg(interactive));
            command.args_conflicts_with_subcommands(true).subcommands(resolve)
        }
        _ => command,
    }
}

/// A command with the parameters and flags of a function. From its first list on, parameters are
/// options: a list has no end among positional arguments.
fn of_function(verb: &'static str, function: &'static Function) -> Command {
    let mut command = Command::new(verb).about(function.summary);
    for (index, parameter) in function.parameters.iter().enumerate() {
        command = command.arg(match is_option(function, index) {
            true => option_of(parameter),
            false => Arg::new(parameter.name).required(parameter.required).help(parameter.help),
        });
    }
    if function.variadic {
        command = command.arg(Arg::new("rest").num_args(0..).value_name(rest_name(function)));
    }
    // `merge REF -m x` has the flag that `commit MESSAGE` has as a parameter too.
    let flags = function.flags.iter().map(|flag| flag_of(function, flag));
    command.args(flags)
}

fn is_option(function: &Function, index: usize) -> bool {
    function.parameters.iter().take(index + 1).any(|p| p.takes == Takes::List)
}

fn option_of(parameter: &'static Parameter) -> Arg {
    let arg = Arg::new(parameter.name).long(parameter.name).help(parameter.help).allow_hyphen_values(true);
    match parameter.takes {
        Takes::List => arg.action(ArgAction::Append),
        _ => arg,
    }
}

fn rest_name(function: &Function) -> &'static str {
    match function.name {
        "epoch_branch" => "NAME",
        "epoch_reset" => "REF or TABLE",
        "epoch_history" => "KEY",
        "epoch_verify_constraints" | "epoch_constraint_violations" => "TABLE",
        _ => "REF",
    }
}

/// A flag's id; a parameter of the same name keeps its own.
fn flag_id(function: &Function, flag: &'static Flag) -> &'static str {
    match function.parameters.iter().any(|p| p.name == flag.name()) {
        true => "message-flag",
        false => flag.name(),
    }
}

fn flag_of(function: &Function, flag: &'static Flag) -> Arg {
    let mut arg = Arg::new(flag_id(function, flag)).help(flag.help);
    if let Some(short) = flag.short {
        arg = arg.short(short);
    }
    if !flag.long.is_empty() {
        arg = arg.long(flag.long);
    }
    match flag.takes {
        Takes::Nothing => arg.action(ArgAction::SetTrue),
        Takes::Text => arg.value_name("TEXT").allow_hyphen_values(true),
        Takes::Count => arg.value_name("COUNT").value_parser(ValueParser::new(value_parser!(i64).range(0..))),
        Takes::List => arg.value_name("NAMES").action(ArgAction::Append).value_delimiter(','),
    }
}

/// What was typed, as arguments of the function.
pub(super) fn args_of(function: &'static Function, matches: &ArgMatches) -> Args {
    let texts =
        |id: &str| -> Vec<String> { matches.get_many::<String>(id).into_iter().flatten().cloned().collect() };
    let mut args = Args::default();
    for parameter in function.parameters {
        match (parameter.takes, texts(parameter.name)) {
            (_, values) if values.is_empty() => {}
            (Takes::List, values) => args = args.with(parameter.name, functions::Arg::Array(values)),
            // What follows is positional, so this is too.
            (_, values) if function.variadic => args.positional.push(functions::Arg::Text(values.concat())),
            (_, values) => args = args.with(parameter.name, functions::Arg::Text(values.concat())),
        }
    }
    if function.variadic {
        args.positional.extend(texts("rest").into_iter().map(functions::Arg::Text));
    }
    for flag in function.flags {
        let id = flag_id(function, flag);
        let value = match flag.takes {
            Takes::Nothing => matches.get_flag(id).then_some(functions::Arg::Bool(true)),
            Takes::Count => matches.get_one::<i64>(id).map(|count| functions::Arg::Int(*count)),
            Takes::Text => texts(id).pop().map(functions::Arg::Text),
            Takes::List => Some(texts(id)).filter(|v| !v.is_empty()).map(functions::Arg::Array),
        };
        if let Some(value) = value {
            args = args.with(flag.name(), value);
        }
    }
    args
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;
    use crate::functions::Arg as Value;

    fn typed(line: &[&str]) -> Args {
        let matches = command().try_get_matches_from([&["epoch"], line].concat()).unwrap();
        let (verb, matches) = matches.subcommand().unwrap();
        match matches.subcommand() {
            Some((second, inner)) => args_of(function_of(&[verb, second]).unwrap(), inner),
            None => args_of(function_of(&[verb]).unwrap(), matches),
        }
    }

    #[test]
    fn the_command_is_well_formed() {
        command().debug_assert();
    }

    #[test]
    fn flags_become_arguments_of_the_function() {
        let yes = Value::Bool(true);
        assert_eq!(
            typed(&["commit", "-am", "x"]),
            Args::default().with("message", "x".into()).with("all", yes.clone())
        );
        assert_eq!(typed(&["branch", "-d", "a", "b"]), Args::texts(["a", "b"]).with("delete", yes.clone()));
        assert_eq!(
            typed(&["checkout", "-b", "a"]),
            Args::default().with("ref", "a".into()).with("b", yes.clone())
        );
        assert_eq!(
            typed(&["merge", "x", "--no-ff"]),
            Args::default().with("ref", "x".into()).with("no-ff", yes)
        );
        assert_eq!(typed(&["log", "-n", "3", "a..b"]), Args::texts(["a..b"]).with("limit", Value::Int(3)));
        assert_eq!(typed(&["history", "t", "1", "x"]), Args::texts(["t", "1", "x"]));
        let keys = Value::Array(vec!["a".into(), "b".into()]);
        assert_eq!(
            typed(&["table", "add", "t", "--key", "a,b"]),
            Args::default().with("pattern", "t".into()).with("key", keys)
        );
    }

    #[test]
    fn keys_and_values_of_a_resolution_may_start_with_a_dash() {
        let line = ["conflicts", "resolve", "value", "t", "--key", "-5", "--column", "c", "--value", "-1"];
        let expected = Args::default()
            .with("side", "value".into())
            .with("table", "t".into())
            .with("key", Value::Array(vec!["-5".into()]))
            .with("column", "c".into())
            .with("value", "-1".into());
        assert_eq!(typed(&line), expected);
    }

    #[test]
    fn what_is_unknown_is_wrong_usage() {
        for line in
            [&["merge", "--fast"][..], &["frobnicate"], &["log", "-n", "many"], &["commit", "a", "b"], &[]]
        {
            let error = command().try_get_matches_from([&["epoch"], line].concat()).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{line:?}");
        }
    }
}
