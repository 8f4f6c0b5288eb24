//! Words by which the clauses of a query are found among its tokens.

/// What ends the list or condition before it.
pub(super) const CLAUSES: &[&str] = &[
    "into",
    "from",
    "where",
    "group",
    "having",
    "window",
    "order",
    "limit",
    "offset",
    "fetch",
    "for",
    "union",
    "intersect",
    "except",
    "returning",
    "on",
    "when",
];
/// What a join begins with.
pub(super) const JOINS: &[&str] = &["join", "inner", "left", "right", "full", "cross", "natural"];
/// What joins queries.
pub(super) const SET_OPERATIONS: &[&str] = &["union", "intersect", "except"];
