//! The gate on main: whether a text is PostgreSQL's alone, without a parse.

use super::catalogs;
use crate::operations::Tables;

/// What the gate looks for beside `epoch`.
#[derive(Debug, Clone, Default)]
pub struct GateState {
    /// Names, in lower case, of tables that live on other backends.
    names: Vec<String>,
    /// Statements were prepared with PREPARE on a branch.
    prepared: bool,
    /// The backend's catalogs hold objects of ours.
    registered: bool,
    /// Branches are among the databases.
    databases: bool,
}

impl GateState {
    /// For a session on main of `backend`. To be made anew when the repository's generation changes.
    pub fn new(tables: &Tables, backend: &str) -> Self {
        let registered = tables.by_id.values().any(|t| t.location.backend == backend);
        let elsewhere = tables.by_id.values().filter(|t| t.location.backend != backend);
        let mut names: Vec<String> = elsewhere.map(|t| t.name.name.to_ascii_lowercase()).collect();
        names.sort();
        names.dedup();
        Self { names, prepared: false, registered, databases: false }
    }

    /// As [`NameCache::has_prepared`](super::NameCache::has_prepared) says.
    #[must_use]
    pub fn with_prepared(mut self, prepared: bool) -> Self {
        self.prepared = prepared;
        self
    }
}

impl GateState {
    /// As [`NameCache::shows_databases`](super::NameCache::shows_databases) says.
    #[must_use]
    pub fn with_databases(mut self, databases: bool) -> Self {
        self.databases = databases;
        self
    }
}

/// What the gate says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gate {
    /// The text is the server's: relay it as it is.
    Relay,
    /// It may be ours, or not: plan it.
    Parse,
}

/// Looks for words that may concern us anywhere in the text, comments and quotes included, so that
/// nothing slips through; what is found by chance costs a parse.
pub fn gate(sql: &[u8], state: &GateState) -> Gate {
    // A name may hide behind Unicode escapes.
    let escaped = || !state.names.is_empty() && contains(sql, b"u&");
    let found = contains(sql, b"epoch")
        || contains(sql, b"discard")
        || contains(sql, b"reset")
        || contains(sql, b"u&\"")
        || (state.prepared && contains(sql, b"execute"))
        || state.names.iter().any(|name| contains(sql, name.as_bytes()))
        || (state.registered && catalogs::named_in(sql))
        || (state.databases && contains(sql, b"pg_database"))
        || escaped();
    if found { Gate::Parse } else { Gate::Relay }
}

/// Whether `needle` (in lower case) is in the text in any case of ASCII letters.
pub fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    let Some((&first, rest)) = needle.split_first() else { return true };
    let other = first.to_ascii_uppercase();
    let hit = |at: usize| {
        let tail = haystack.get(at + 1..at + 1 + rest.len());
        tail.is_some_and(|t| t.eq_ignore_ascii_case(rest))
    };
    memchr::memchr2_iter(first, other, haystack).any(hit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_cleared_and_what_is_not() {
        let state = GateState { names: vec!["events".into()], ..GateState::default() };
        for sql in ["SELECT 1", "UPDATE users SET x = 1", "EXECUTE p", "", "SELECT 'epoc'", "BEGIN"] {
            assert_eq!(gate(sql.as_bytes(), &state), Gate::Relay, "{sql}");
        }
        for sql in [
            "SELECT * FROM ePoch.log",
            "select epoch_commit('x')",
            "SELECT extract(EPOCH FROM now())",
            "SET \"epoch.branch\"='x'",
            "SELECT * FROM Events",
            "/* events */ SELECT 1",
            "DISCARD ALL",
            "reset all",
            "SELECT * FROM U&\"\\0065vents\"",
            "SELECT * FROM \"events\"",
        ] {
            assert_eq!(gate(sql.as_bytes(), &state), Gate::Parse, "{sql}");
        }
        let lists = b"SELECT * FROM pg_catalog.pg_trigger";
        assert_eq!(gate(lists, &state), Gate::Relay);
        assert_eq!(gate(lists, &GateState { registered: true, ..state.clone() }), Gate::Parse);
        assert_eq!(gate(b"EXECUTE p", &state.with_prepared(true)), Gate::Parse);
    }
}
