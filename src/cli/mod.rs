//! `epoch`: the command line over the same library that the proxy uses.
//!
//! The version-control verbs are generated from [`crate::functions::catalog`], so a flag means the
//! same here and in SQL. Exit codes: 0 done, 1 error, 2 wrong usage, 3 a merge stopped at conflicts.

mod command;
mod completions;
mod demo;
mod diff;
mod history;
mod init;
mod interactive;
mod json;
mod man;
mod output;
mod pager;
mod place;
mod progress;
mod query;
mod serve;
mod table;
mod user;
mod verbs;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::ArgMatches;

use crate::{Error, Result, sqlstate};
use output::Output;

/// How a command ended, if it didn't fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Done {
    Well,
    /// A merge waits for its conflicts to be resolved.
    Conflicts,
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    run(std::env::args_os())
}

fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let matches = match command::command().try_get_matches_from(args) {
        Ok(matches) => matches,
        Err(error) => {
            // Prints help and version too, which are no failures.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let output = Output::new(&matches);
    match start(&matches, &output) {
        Ok(Done::Well) => ExitCode::SUCCESS,
        Ok(Done::Conflicts) => ExitCode::from(3),
        Err(error) => {
            output.error(&error);
            ExitCode::from(if error.code() == sqlstate::INVALID_PARAMETER_VALUE { 2 } else { 1 })
        }
    }
}

fn start(matches: &ArgMatches, output: &Output) -> Result<Done> {
    let Some((verb, inner)) = matches.subcommand() else {
        return Err(Error::internal("no command"));
    };
    if verb == "completions" {
        return completions::print(inner, output);
    }
    if verb == "man" {
        return man::print(output);
    }
    // The parser of statements recurses; so does the planner.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_stack_size(16 << 20)
        .build()
        .map_err(|e| Error::new(sqlstate::IO_ERROR, format!("cannot start threads: {e}")))?;
    let done = runtime.block_on(async {
        let work = dispatch(verb, inner, output);
        tokio::pin!(work);
        work.await
    });
    // What a dependency still does in the background must not hold up the end.
    runtime.shutdown_background();
    done
}

async fn dispatch(verb: &str, matches: &ArgMatches, output: &Output) -> Result<Done> {
    match verb {
        "init" => init::init(matches, output).await,
        "serve" => serve::serve(matches).await,
        "demo" => demo::demo(matches).await,
        "user" => user::user(matches, output),
        "query" => query::query(matches, output).await,
        _ => verbs::run(verb, matches, output).await,
    }
}
