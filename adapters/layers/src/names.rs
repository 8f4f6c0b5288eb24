//! Names of our objects beside the user's tables, and quoting.

use epoch_adapter::TableId;

/// The prefix of everything of ours; a user's table must not start with it.
pub const PREFIX: &str = "epoch_";
/// The hidden column with the branch's lineage, in overlay, mask and history.
pub const LINEAGE: &str = "epoch_lineage";
/// `epoch_to` of pending history.
pub const PENDING: i64 = i64::MAX;

/// Quotes an identifier.
pub fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Quotes a string literal.
pub fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// The table of live rows of branches.
pub fn overlay(id: TableId) -> String {
    format!("epoch_overlay_{}", id.0)
}

/// The table of keys that branches hide.
pub fn mask(id: TableId) -> String {
    format!("epoch_mask_{}", id.0)
}

/// The table of before-images.
pub fn history(id: TableId) -> String {
    format!("epoch_history_{}", id.0)
}

/// `left."k1" = right."k1" AND …` over the given columns.
pub fn equal(columns: &[String], left: &str, right: &str) -> String {
    let one = |c: &String| format!("{left}.{c} = {right}.{c}", c = quote(c));
    columns.iter().map(one).collect::<Vec<_>>().join(" AND ")
}

/// `p."a", p."b"`, without the prefix if `alias` is empty.
pub fn list<'a>(alias: &str, columns: impl IntoIterator<Item = &'a str>) -> String {
    let dot = if alias.is_empty() { String::new() } else { format!("{alias}.") };
    columns.into_iter().map(|c| format!("{dot}{}", quote(c))).collect::<Vec<_>>().join(", ")
}

/// Puts parts into the places `{name}` of a template. What is put in may hold braces: it isn't looked at again.
pub fn fill(template: &str, parts: &[(&str, &str)]) -> String {
    let mut out = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        out.push_str(before);
        match after.split_once('}').and_then(|(k, tail)| Some((parts.iter().find(|p| p.0 == k)?, tail))) {
            Some((part, tail)) => {
                out.push_str(part.1);
                rest = tail;
            }
            None => {
                out.push('{');
                rest = after;
            }
        }
    }
    out.push_str(rest);
    out
}

/// Whether `name` matches a pattern in which `*` stands for anything.
pub fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((head, tail)) => name.strip_prefix(head).is_some_and(|rest| {
            (0..=rest.len()).filter_map(|i| rest.get(i..)).any(|rest| matches(tail, rest))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        assert!(matches("*", "users") && matches("u*s", "users") && matches("users", "users"));
        assert!(!matches("u*x", "users") && !matches("user", "users"));
        assert!(matches("*ü*", "büro"));
    }

    #[test]
    fn what_is_put_into_a_template_is_not_looked_at_again() {
        assert_eq!(fill("a {b} {c}", &[("b", "{b}{c}")]), "a {b}{c} {c}");
    }
}
