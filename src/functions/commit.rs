//! Commits and resets.

use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime, Utc};

use super::args::Parsed;
use super::{Outcome, Session};
use crate::operations::{Author, CommitOptions, Committed, LogQuery, ResetDone, ResetOptions};
use crate::{Error, Result, sqlstate};

/// `epoch_commit`.
pub(super) async fn commit(session: &Session<'_>, args: &Parsed) -> Result<Outcome> {
    let amend = args.flag("amend");
    let message = match args.text("message") {
        Some(message) => message,
        None if amend => head_message(session).await?,
        None => return Err(args.missing("message")),
    };
    if message.trim().is_empty() {
        return Err(args.invalid("the commit message is empty"));
    }
    let options = CommitOptions {
        message,
        author: author(session, args)?,
        date: args.text("date").map(|text| date(&text)).transpose()?,
        allow_empty: args.flag("allow-empty"),
        skip_empty: args.flag("skip-empty"),
        amend,
        tables: args.list("tables"),
    };
    let done = session.repository.commit(session.checkout, &options).await?;
    let notices = match done.tables.is_empty() && options.skip_empty {
        true => vec!["nothing to commit".to_owned()],
        false => Vec::new(),
    };
    Ok(Outcome { rows: vec![row(done)], notices, ..Outcome::default() })
}

fn row(done: Committed) -> Vec<Option<String>> {
    let sum = |count: fn(&epoch_adapter::TableStats) -> i64| -> i64 {
        done.tables.iter().map(|(_, stats)| count(stats)).sum()
    };
    vec![
        Some(done.hash.clone()),
        Some(done.tables.len().to_string()),
        Some(sum(|s| s.added).to_string()),
        Some(sum(|s| s.modified).to_string()),
        Some(sum(|s| s.removed).to_string()),
    ]
}

/// The message that an amended commit keeps.
async fn head_message(session: &Session<'_>) -> Result<String> {
    let query = LogQuery { limit: Some(1), ..LogQuery::default() };
    let head = session.repository.log(session.checkout, &query).await?;
    Ok(head.into_iter().next().map(|commit| commit.message).unwrap_or_default())
}

/// The session's author unless the call names another.
fn author(session: &Session<'_>, args: &Parsed) -> Result<Author> {
    let Some(text) = args.text("author") else { return Ok(session.author.clone()) };
    let bad = || args.invalid(format!("invalid author \"{text}\", write 'Name <email>'"));
    let (name, email) = match text.split_once('<') {
        Some((name, rest)) => (name.trim(), rest.trim().strip_suffix('>').ok_or_else(bad)?),
        None => (text.trim(), ""),
    };
    if name.is_empty() || email.contains(['<', '>']) {
        return Err(bad());
    }
    Ok(Author { name: name.to_owned(), email: email.to_owned() })
}

/// A date as people write it; without an offset it is UTC.
fn date(text: &str) -> Result<DateTime<Utc>> {
    let text = text.trim();
    if let Some(seconds) = text.strip_prefix('@').and_then(|s| s.parse().ok()) {
        return DateTime::from_timestamp(seconds, 0).ok_or_else(|| bad_date(text));
    }
    if let Ok(date) = text.parse::<NaiveDate>() {
        return Ok(date.and_time(NaiveTime::MIN).and_utc());
    }
    for format in ["%Y-%m-%d %H:%M:%S%.f%#z", "%Y-%m-%dT%H:%M:%S%.f%#z", "%Y-%m-%d %H:%M%#z"] {
        if let Ok(date) = DateTime::parse_from_str(text, format) {
            return Ok(date.to_utc());
        }
    }
    for format in ["%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M"] {
        if let Ok(date) = NaiveDateTime::parse_from_str(text.trim_end_matches('Z'), format) {
            return Ok(date.and_utc());
        }
    }
    Err(bad_date(text))
}

fn bad_date(text: &str) -> Error {
    Error::new(sqlstate::INVALID_PARAMETER_VALUE, format!("invalid date \"{text}\""))
        .with_hint("Write 2026-11-01, 2026-11-01 12:30, 2026-11-01T12:30:00+02:00 or @1793534400.")
}

/// `epoch_reset`.
pub(super) async fn reset(session: &Session<'_>, args: &Parsed) -> Result<Outcome> {
    let (soft, hard) = (args.flag("soft"), args.flag("hard"));
    let author = session.author.clone();
    let all = match (soft, hard, args.rest.as_slice()) {
        (true, true, _) => return Err(args.invalid("--soft and --hard of epoch_reset don't go together")),
        (false, false, []) => {
            return Err(args.invalid("epoch_reset needs '--soft', '--hard' or the name of a table"));
        }
        (false, false, tables) => tables
            .iter()
            .map(|table| ResetOptions {
                hard: true,
                table: Some(table.clone()),
                target: None,
                author: author.clone(),
            })
            .collect(),
        (_, hard, []) => vec![ResetOptions { hard, author, ..ResetOptions::default() }],
        (_, hard, [target]) => {
            vec![ResetOptions { hard, target: Some(target.clone()), table: None, author }]
        }
        _ => return Err(args.invalid("too many arguments for epoch_reset")),
    };
    let mut outcome = Outcome::default();
    for options in all {
        let done: ResetDone = session.repository.reset(session.checkout, &options).await?;
        if let Some(branch) = &done.safety_branch {
            outcome.notices.push(format!("the commits left behind are kept on branch \"{branch}\""));
        }
        outcome.rows.push(vec![Some(done.hash), done.safety_branch, Some(done.status)]);
    }
    Ok(outcome)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_read_as_people_write_them() {
        for text in [
            "2026-11-01 12:30",
            "2026-11-01T12:30:00Z",
            "2026-11-01 12:30:00+00",
            "2026-11-01 14:30:00.000+02:00",
            "@1793536200",
        ] {
            assert_eq!(date(text).unwrap().to_rfc3339(), "2026-11-01T12:30:00+00:00", "{text}");
        }
        assert_eq!(date("2026-11-01").unwrap().to_rfc3339(), "2026-11-01T00:00:00+00:00");
        assert_eq!(date("yesterday").unwrap_err().code(), "22023");
    }
}
