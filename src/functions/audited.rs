//! Calls that change something leave a note in the audit, whatever becomes of them.

use super::args::{Arg, Args, Parsed};
use super::{Function, Kind, Outcome, Session, only_moves};
use crate::Result;
use crate::operations::without_passwords;

/// The longest arguments that are kept, in characters.
const LONGEST: usize = 2_000;

/// Whether a call is one that leaves a note.
pub(super) fn is_noted(function: &Function, parsed: &Parsed) -> bool {
    function.kind == Kind::Mutating && !parsed.lists(function) && !only_moves(function, parsed)
}

/// Runs a call as an operation of its own.
pub(super) async fn run(
    session: &Session<'_>,
    function: &Function,
    args: &Args,
    parsed: &Parsed,
) -> Result<Outcome> {
    let repository = session.repository.noting(function.name, &shown(args), Some(session.checkout));
    let inner = Session { repository: &repository, author: session.author.clone(), ..*session };
    let outcome = super::run(&inner, function, parsed).await;
    repository.settle(outcome.as_ref().err()).await;
    outcome
}

/// Arguments as they were written, without passwords.
pub(super) fn shown(args: &Args) -> String {
    let positional = args.positional.iter().map(value);
    let named = args.named.iter().map(|(name, arg)| format!("{name} => {}", value(arg)));
    let all = positional.chain(named).collect::<Vec<_>>().join(", ");
    match all.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", all.get(..end).unwrap_or_default()),
        None => all,
    }
}

fn value(arg: &Arg) -> String {
    let quoted = |text: &str| format!("'{}'", without_passwords(text).replace('\'', "''"));
    match arg {
        Arg::Text(text) => quoted(text),
        Arg::Bool(value) => value.to_string(),
        Arg::Int(number) => number.to_string(),
        Arg::Array(items) => {
            format!("array[{}]", items.iter().map(|item| quoted(item)).collect::<Vec<_>>().join(", "))
        }
        Arg::Null => "NULL".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_shown_as_they_were_written() {
        let args =
            Args::texts(["it's"]).with("no_ff", Arg::Bool(true)).with("tables", Arg::Array(vec!["a".into()]));
        assert_eq!(shown(&args), "'it''s', no_ff => true, tables => array['a']");
        assert_eq!(shown(&Args::texts(["é".repeat(3_000)])).chars().count(), LONGEST + 1);
    }
}
