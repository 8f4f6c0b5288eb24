//! Three-way merges of JSON values: what the rule `union` makes of a cell.
//!
//! Objects merge key by key, arrays as sets; what isn't changed stays as it is written, so that no number loses a digit.

use std::collections::BTreeMap;

/// Nesting that is followed. PostgreSQL takes more; then the cell is a conflict.
const DEEPEST: usize = 100;

/// A value. Keys and scalars are as they are written.
#[derive(Debug, Clone, PartialEq)]
enum Json {
    Object(BTreeMap<String, Json>),
    Array(Vec<Json>),
    Scalar(String),
}

/// What two changes of one value come to, written as `jsonb` is; `None` if both changed one part of it to something else, or
/// if one of the texts is no JSON, or has a key twice.
pub(super) fn merged(base: &str, ours: &str, theirs: &str) -> Option<String> {
    let sides = [base, ours, theirs].map(parse);
    let [Some(base), Some(ours), Some(theirs)] = sides else { return None };
    merge(Some(&base), Some(&ours), Some(&theirs)).ok()?.map(|value| {
        let mut text = String::new();
        write(&value, &mut text);
        text
    })
}

/// Both sides made something else of it.
struct Conflict;

fn merge(
    base: Option<&Json>,
    ours: Option<&Json>,
    theirs: Option<&Json>,
) -> std::result::Result<Option<Json>, Conflict> {
    if ours == theirs || theirs == base {
        return Ok(ours.cloned());
    }
    if ours == base {
        return Ok(theirs.cloned());
    }
    match (base, ours, theirs) {
        (base, Some(Json::Object(ours)), Some(Json::Object(theirs))) => {
            let none = BTreeMap::new();
            let base = match base {
                Some(Json::Object(base)) => base,
                _ => &none,
            };
            let mut out = BTreeMap::new();
            for key in ours.keys().chain(theirs.keys()) {
                if let Some(value) = merge(base.get(key), ours.get(key), theirs.get(key))? {
                    out.insert(key.clone(), value);
                }
            }
            Ok(Some(Json::Object(out)))
        }
        (Some(Json::Array(base)), Some(Json::Array(ours)), Some(Json::Array(theirs))) => {
            let kept = ours.iter().filter(|item| theirs.contains(item) || !base.contains(item));
            let come = theirs.iter().filter(|item| !base.contains(item) && !ours.contains(item));
            Ok(Some(Json::Array(kept.chain(come).cloned().collect())))
        }
        _ => Err(Conflict),
    }
}

fn parse(text: &str) -> Option<Json> {
    // Whether it is JSON at all is looked at by who knows all of it; what is left is to find its parts.
    serde_json::from_str::<serde::de::IgnoredAny>(text).ok()?;
    let mut parser = Parser { text, at: 0 };
    parser.value(0)
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
}

impl Parser<'_> {
    fn value(&mut self, depth: usize) -> Option<Json> {
        if depth > DEEPEST {
            return None;
        }
        match self.next()? {
            b'{' => {
                let mut members = BTreeMap::new();
                self.each(b'}', |parser| {
                    let key = parser.scalar()?;
                    parser.skip(b':')?;
                    let value = parser.value(depth + 1)?;
                    members.insert(key, value).is_none().then_some(())
                })?;
                Some(Json::Object(members))
            }
            b'[' => {
                let mut items = Vec::new();
                self.each(b']', |parser| {
                    items.push(parser.value(depth + 1)?);
                    Some(())
                })?;
                Some(Json::Array(items))
            }
            _ => self.scalar().map(Json::Scalar),
        }
    }

    /// The parts of what a bracket begins, up to the one that ends it.
    fn each(&mut self, end: u8, mut part: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        self.at += 1;
        if self.next()? == end {
            self.at += 1;
            return Some(());
        }
        loop {
            part(self)?;
            let found = self.next()?;
            self.at += 1;
            if found == end {
                return Some(());
            }
        }
    }

    /// The next byte that isn't white space.
    fn next(&mut self) -> Option<u8> {
        let rest = self.text.as_bytes().get(self.at..)?;
        let skipped = rest.iter().take_while(|b| b.is_ascii_whitespace()).count();
        self.at += skipped;
        rest.get(skipped).copied()
    }

    fn skip(&mut self, byte: u8) -> Option<()> {
        (self.next()? == byte).then(|| self.at += 1)
    }

    fn scalar(&mut self) -> Option<String> {
        let string = self.next()? == b'"';
        let rest = self.text.get(self.at..)?;
        let length = if string {
            let mut escaped = false;
            let end = rest.bytes().skip(1).position(|b| {
                let ends = b == b'"' && !escaped;
                escaped = b == b'\\' && !escaped;
                ends
            });
            end? + 2
        } else {
            let ends = |b: u8| matches!(b, b',' | b'}' | b']' | b':') || b.is_ascii_whitespace();
            rest.bytes().position(ends).unwrap_or(rest.len())
        };
        self.at += length;
        rest.get(..length).map(str::to_owned)
    }
}

fn write(value: &Json, out: &mut String) {
    match value {
        Json::Scalar(text) => out.push_str(text),
        Json::Array(items) => {
            out.push('[');
            for (n, item) in items.iter().enumerate() {
                out.push_str(if n == 0 { "" } else { ", " });
                write(item, out);
            }
            out.push(']');
        }
        Json::Object(members) => {
            // As `jsonb` has them: short keys first.
            let mut members: Vec<_> = members.iter().collect();
            members.sort_by(|(a, _), (b, _)| (a.len(), a).cmp(&(b.len(), b)));
            out.push('{');
            for (n, (key, value)) in members.into_iter().enumerate() {
                out.push_str(if n == 0 { "" } else { ", " });
                out.push_str(key);
                out.push_str(": ");
                write(value, out);
            }
            out.push('}');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_part_is_merged_by_itself() {
        for (base, ours, theirs, result) in [
            (r#"{"a": 1}"#, r#"{"a": 2}"#, r#"{"a": 1, "b": 3}"#, Some(r#"{"a": 2, "b": 3}"#)),
            (r#"{"a": 1, "b": 2}"#, r#"{"b": 2}"#, r#"{"a": 1, "b": 3}"#, Some(r#"{"b": 3}"#)),
            (r#"{"a": 1}"#, r#"{"a": 2}"#, r#"{"a": 3}"#, None),
            (r#"{"a": 1}"#, r#"{}"#, r#"{"a": 3}"#, None),
            (
                r#"{"a": {"x": 1, "y": 1}}"#,
                r#"{"a": {"x": 2, "y": 1}}"#,
                r#"{"a": {"x": 1, "y": 2}}"#,
                Some(r#"{"a": {"x": 2, "y": 2}}"#),
            ),
            // Made by both.
            (r#"{}"#, r#"{"a": {"x": 1}}"#, r#"{"a": {"y": 1}}"#, Some(r#"{"a": {"x": 1, "y": 1}}"#)),
            (r#"{}"#, r#"{"a": 1}"#, r#"{"a": 1}"#, Some(r#"{"a": 1}"#)),
            ("[1, 2, 3]", "[1, 3, 4]", "[0, 1, 2, 3]", Some("[1, 3, 4, 0]")),
            ("[1, 2]", "[1]", "[2]", Some("[]")),
            ("1", "2", "3", None),
            ("[1]", "{}", "[2]", None),
            // Written as it was: whatever it is, and with white space or without.
            (
                r#"{"n":1.000000000000000000001,"s":"a\"b,}","u":"é"}"#,
                r#"{"n":12345678901234567890123,"s":"a\"b,}","u":"é"}"#,
                "{ \"n\" : 1.000000000000000000001 , \"s\":\"a\\\"b,}\",\"u\":\"è\"}",
                Some(r#"{"n": 12345678901234567890123, "s": "a\"b,}", "u": "è"}"#),
            ),
            (
                r#"{"bb": 1, "a": 1}"#,
                r#"{"bb": 1, "a": 2}"#,
                r#"{"bb": 2, "a": 1}"#,
                Some(r#"{"a": 2, "bb": 2}"#),
            ),
            (r#"{"a": 1, "a": 2}"#, r#"{"a": 3}"#, r#"{"b": 4}"#, None),
            ("{", "{}", "[]", None),
        ] {
            assert_eq!(merged(base, ours, theirs).as_deref(), result, "{base} {ours} {theirs}");
        }
        let deep = |n: usize| format!("{}1{}", "[".repeat(n), "]".repeat(n));
        assert_eq!(merged(&deep(101), &deep(102), "[]"), None);
    }
}
