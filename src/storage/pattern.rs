//! Table patterns of the routing rules and of `epoch_register`.

use epoch_adapter::TableName;

/// Whether `users`, `public.*`, `sales.order_*` or `*` matches a table. A pattern without a schema
/// is about schema `public`, except `*` alone, which is about everything.
pub fn matches(pattern: &str, table: &TableName) -> bool {
    match pattern.split_once('.') {
        Some((schema, name)) => glob(schema, &table.schema) && glob(name, &table.name),
        None if pattern == "*" => true,
        None => table.schema == "public" && glob(pattern, &table.name),
    }
}

/// `*` stands for any text, everything else for itself.
pub fn glob(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(rest) = parts.next().and_then(|first| text.strip_prefix(first)) else { return false };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    let mut rest = rest;
    for part in parts {
        let Some((_, after)) = rest.split_once(part) else { return false };
        rest = after;
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_documented() {
        let table = |schema: &str, name: &str| TableName { schema: schema.to_owned(), name: name.to_owned() };
        let users = table("public", "users");
        let orders = table("sales", "order_items");
        for (pattern, user, order) in [
            ("users", true, false),
            ("user", false, false),
            ("*", true, true),
            ("public.*", true, false),
            ("sales.order_*", false, true),
            ("sales.*items", false, true),
            ("sales.o*_*s", false, true),
            ("sales.o*x*s", false, false),
            ("order_*", false, false),
            ("*.*", true, true),
            ("us*ers", true, false),
            ("usersusers*", false, false),
        ] {
            assert_eq!(matches(pattern, &users), user, "{pattern} on users");
            assert_eq!(matches(pattern, &orders), order, "{pattern} on sales.order_items");
        }
    }

    #[test]
    fn a_star_does_not_use_text_twice() {
        assert!(!glob("ab*b", "ab"));
        assert!(glob("ab*b", "abb"));
        assert!(glob("a*", "a"));
    }
}
