//! The grammar of refs, and of names of branches and tags.

use chrono::{DateTime, NaiveDate, NaiveDateTime, Utc};
use epoch_adapter::{Error, Result, sqlstate};

/// A parsed ref: a name and what to do from there.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Revision<'a> {
    /// A branch, a tag, a hash, `HEAD` or `WORKING`.
    pub(super) name: &'a str,
    pub(super) steps: Vec<Step>,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Step {
    /// `~n`
    Ancestor(usize),
    /// `^n`; 0 is the commit itself.
    Parent(usize),
    /// `@{2026-11-01 12:00}`
    AtTime(DateTime<Utc>),
    /// `@{n}`
    Moves(i64),
}

/// Parses `name`, `HEAD~2`, `main^2`, `branch@{time}` and combinations.
pub(super) fn parse(text: &str) -> Result<Revision<'_>> {
    let bad = || {
        Error::new(sqlstate::INVALID_PARAMETER_VALUE, format!("invalid ref \"{text}\"")).with_hint(
            "Write a branch, a tag, a commit hash, HEAD, main~2, main^2 or branch@{2026-11-01 12:00}.",
        )
    };
    let end = [text.find(['~', '^']), text.find("@{")].into_iter().flatten().min();
    let (name, mut rest) = text.split_at_checked(end.unwrap_or(text.len())).ok_or_else(bad)?;
    let mut steps = Vec::new();
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix("@{") {
            let (moment, after) = after.split_once('}').ok_or_else(bad)?;
            steps.push(parse_moment(moment.trim()).ok_or_else(bad)?);
            rest = after;
            continue;
        }
        let mut characters = rest.chars();
        let kind = characters.next();
        let after = characters.as_str();
        let digits = after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len());
        let (number, after) = after.split_at_checked(digits).ok_or_else(bad)?;
        let number = if number.is_empty() { 1 } else { number.parse().map_err(|_| bad())? };
        steps.push(match kind {
            Some('~') => Step::Ancestor(number),
            Some('^') => Step::Parent(number),
            _ => return Err(bad()),
        });
        rest = after;
    }
    match name {
        "" if steps.is_empty() => Err(bad()),
        "" | "@" => Ok(Revision { name: "HEAD", steps }),
        _ => Ok(Revision { name, steps }),
    }
}

fn parse_moment(text: &str) -> Option<Step> {
    if let Ok(n) = text.parse::<u32>() {
        return Some(Step::Moves(n.into()));
    }
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return Some(Step::AtTime(time.to_utc()));
    }
    for format in ["%Y-%m-%d %H:%M:%S%.f%#z", "%Y-%m-%d %H:%M%#z"] {
        if let Ok(time) = DateTime::parse_from_str(text, format) {
            return Some(Step::AtTime(time.to_utc()));
        }
    }
    for format in ["%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M"] {
        if let Ok(time) = NaiveDateTime::parse_from_str(text, format) {
            return Some(Step::AtTime(time.and_utc()));
        }
    }
    let day = NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?;
    Some(Step::AtTime(day.and_hms_opt(0, 0, 0)?.and_utc()))
}

/// Whether a text can be (the beginning of) a commit's hash.
pub(super) fn is_hash_prefix(text: &str) -> bool {
    (7..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_hexdigit())
}

/// 42602 unless `name` is a good name for a branch or a tag (rules of `git check-ref-format`).
pub(super) fn check_name(kind: &str, name: &str) -> Result<()> {
    let component = |c: &str| !c.is_empty() && !c.starts_with('.') && !c.ends_with(".lock");
    let forbidden = |c: char| c.is_ascii_control() || " ~^:?*[\\".contains(c);
    let good = (1..=200).contains(&name.len())
        && name.split('/').all(component)
        && !name.contains(forbidden)
        && !name.contains("..")
        && !name.contains("@{")
        && !name.ends_with('.')
        && !name.starts_with('-')
        && !["@", "HEAD", "WORKING"].contains(&name);
    if good {
        return Ok(());
    }
    Err(Error::new(sqlstate::INVALID_NAME, format!("\"{name}\" is not a valid {kind} name"))
        .with_hint("Names follow git check-ref-format and have 1 to 200 bytes; HEAD and WORKING are taken."))
}

/// 3D000 with the names that a typing error may have been about.
pub(super) fn unknown<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Error {
    let limit = 1 + name.chars().count() / 4;
    let mut near: Vec<_> = known
        .map(|k| (distance(&name.to_lowercase(), &k.to_lowercase()), k))
        .filter(|(d, k)| *d <= limit || (name.len() >= 3 && k.contains(name)))
        .collect();
    near.sort();
    let near: Vec<_> = near.iter().take(3).map(|(_, k)| format!("\"{k}\"")).collect();
    let error = Error::new(
        sqlstate::INVALID_CATALOG_NAME,
        format!("\"{name}\" is not a branch, tag or commit of this repository"),
    );
    if near.is_empty() {
        error.with_hint("SELECT name FROM epoch.branches lists the branches.")
    } else {
        error.with_hint(format!("Did you mean {}?", near.join(" or ")))
    }
}

/// Levenshtein.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        let mut next = vec![left];
        for (y, &above) in b.iter().zip(row.iter().skip(1)) {
            left = (diagonal + usize::from(x != *y)).min(above + 1).min(left + 1);
            next.push(left);
            diagonal = above;
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn refs_parse() {
        let ok = |text, name, steps: &[Step]| {
            assert_eq!(parse(text).unwrap(), Revision { name, steps: steps.to_vec() }, "{text}");
        };
        ok("main", "main", &[]);
        ok("feature/ä@home", "feature/ä@home", &[]);
        ok("HEAD~", "HEAD", &[Step::Ancestor(1)]);
        ok("@~3", "HEAD", &[Step::Ancestor(3)]);
        ok("main~2^2^", "main", &[Step::Ancestor(2), Step::Parent(2), Step::Parent(1)]);
        ok("@{2}", "HEAD", &[Step::Moves(2)]);
        let noon = "2026-11-01T12:00:00Z".parse::<DateTime<Utc>>().unwrap();
        ok("main@{2026-11-01 12:00}", "main", &[Step::AtTime(noon)]);
        ok("main@{2026-11-01 13:00:00+01}~1", "main", &[Step::AtTime(noon), Step::Ancestor(1)]);
        ok("main@{2026-11-01T12:00:00Z}", "main", &[Step::AtTime(noon)]);
        for text in ["", "main@{", "main@{soon}", "main~x", "main~99999999999999999999", "main^~a"] {
            assert_eq!(parse(text).unwrap_err().code(), "22023", "{text}");
        }
    }

    #[test]
    fn names_follow_git() {
        for name in ["a", "feature/x", "v1.2", "ä", "a@b", &"x".repeat(200)] {
            assert!(check_name("branch", name).is_ok(), "{name}");
        }
        for name in [
            "",
            "/a",
            "a/",
            "a//b",
            ".a",
            "a/.b",
            "a..b",
            "a.",
            "a.lock",
            "a/b.lock/c",
            "a b",
            "a~",
            "a^",
            "a:b",
            "a?",
            "a*",
            "a[",
            "a\\b",
            "a@{b",
            "@",
            "-a",
            "HEAD",
            "WORKING",
            "a\tb",
            "a\u{7f}",
            &"x".repeat(201),
        ] {
            assert_eq!(check_name("branch", name).unwrap_err().code(), "42602", "{name}");
        }
    }

    #[test]
    fn near_names_are_offered() {
        let known = ["main", "feature/login", "dev"];
        let hint = |name| unknown(name, known.into_iter()).hint().unwrap().to_owned();
        assert_eq!(hint("mian"), "Did you mean \"main\"?");
        assert_eq!(hint("login"), "Did you mean \"feature/login\"?");
        assert!(hint("zzz").starts_with("SELECT"));
        assert_eq!(unknown("x", known.into_iter()).code(), "3D000");
        assert_eq!(distance("kitten", "sitting"), 3);
    }
}
