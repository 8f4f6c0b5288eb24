use crate::TableId;

/// Who wrote to a table of main without us, as far as it isn't committed yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Writers {
    /// The table.
    pub table: TableId,
    /// When the first of these transactions wrote first, in microseconds since 1970 (UTC).
    pub first: i64,
    /// When the last one did.
    pub last: i64,
    /// The roles that logged in, by name.
    pub roles: Vec<String>,
}
