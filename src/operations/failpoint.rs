//! Steps at which a test may kill the process: `EPOCH_FAILPOINT=name` in a debug build.

/// The fail points of a publication, in the order in which it passes them.
pub const FAIL_POINTS: &[&str] = &[
    // the journal entry is durable, no backend knows of the operation
    "journal-written",
    // one backend published, others haven't
    "first-sealed",
    // all backends published, no ref says so
    "all-sealed",
    // the refs moved, the client doesn't know yet
    "published",
];

/// The fail points of garbage collection, in the order in which it passes them.
pub const GC_FAIL_POINTS: &[&str] = &[
    // deleted branches whose time is over can't be brought back any more
    "gc-lost",
    // some commits are gone, their rows are there
    "gc-commits",
    // a lineage is shown by nothing, its rows are there
    "gc-lineages",
    // nothing shows the garbage any more, all of its rows are there
    "gc-marked",
    // some of its rows are gone
    "gc-removing",
    // all of its rows are gone, tables of branches are there
    "gc-removed",
    // the backends are clean, the metadata store remembers
    "gc-tables",
];

/// A backend has a table that was made or changed on a branch, the metadata store doesn't know.
pub(super) const TABLE_DEFINED: &str = "table-defined";

/// A client's transaction that defined tables is committed, the metadata store doesn't know.
pub(super) const BLOCK_COMMITTED: &str = "block-committed";

/// Aborts the process if the environment asks for it here.
pub(super) fn hit(name: &str) {
    #[cfg(debug_assertions)]
    {
        debug_assert!(
            [TABLE_DEFINED, BLOCK_COMMITTED].contains(&name)
                || FAIL_POINTS.contains(&name)
                || GC_FAIL_POINTS.contains(&name),
            "{name} is not listed"
        );
        if std::env::var_os("EPOCH_FAILPOINT").is_some_and(|wanted| wanted == name) {
            std::process::abort();
        }
    }
    #[cfg(not(debug_assertions))]
    let _ = name;
}
