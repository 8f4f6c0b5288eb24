//! What the repository's operations take and return.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use epoch_adapter::{
    Layer, LineageId, Location, Ordinal, Pair, Row, Segment, TableDef, TableId, TableName, TableStats, Value,
    View, Writers,
};

use crate::metadata::rights::Protection;

/// The versioned tables that there are for a checkout, at one generation.
#[derive(Debug, Default)]
pub struct Tables {
    /// By name on the proxy.
    pub by_name: HashMap<TableName, Arc<TableDef>>,
    /// By registration.
    pub by_id: HashMap<TableId, Arc<TableDef>>,
    /// Where tables are that came to main by a merge and aren't there for the checkout.
    pub absent: HashSet<Location>,
    /// Views that branches define, by registration.
    pub views: HashMap<TableId, super::ShownView>,
    /// Types that branches made, by registration.
    pub types: HashMap<TableId, super::ShownType>,
    /// Types that came to main by a merge and aren't there for the checkout, by backend.
    pub absent_types: HashSet<(String, TableName)>,
}

impl Tables {
    /// These tables.
    pub fn new(by_id: HashMap<TableId, Arc<TableDef>>) -> Self {
        let by_name = by_id.values().map(|t| (t.name.clone(), Arc::clone(t))).collect();
        let (views, types) = (HashMap::new(), HashMap::new());
        Self { by_name, by_id, absent: HashSet::new(), views, types, absent_types: HashSet::new() }
    }

    /// Finds `users` (schema `public`) or `sales.users`, as `table_name` columns print names; else as SQL
    /// has them, `"Odd.Name"` or `Users`.
    pub fn find(&self, text: &str) -> Option<&Arc<TableDef>> {
        let (schema, name) = text.split_once('.').unwrap_or(("public", text));
        let printed = TableName { schema: schema.to_owned(), name: name.to_owned() };
        self.by_name.get(&printed).or_else(|| self.by_name.get(&TableName::from_sql(text)?))
    }

    /// All tables, sorted by name.
    pub fn sorted(&self) -> Vec<Arc<TableDef>> {
        let mut all: Vec<_> = self.by_id.values().cloned().collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }
}

/// What a session is on. Immutable; a branch's head may move under it, its working state with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkout {
    /// The ref as the user wrote it; the branch's name for a branch.
    pub name: String,
    /// What it is.
    pub target: Target,
}

/// What a checkout points at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A branch: read-write, shows its working state.
    Branch {
        /// The branch's lineage, with the base it reads below its layers.
        layer: Layer,
    },
    /// A commit (by hash, tag, `~n`): read-only.
    Commit {
        /// Full hash, 64 hex digits.
        hash: String,
        /// A position that shows the commit's rows.
        layer: Layer,
        /// The ordinal on that lineage.
        ordinal: Ordinal,
    },
}

impl Checkout {
    /// Whether this is the branch `main` (its working state is the user's own tables).
    pub fn is_main(&self) -> bool {
        matches!(self.target, Target::Branch { layer } if layer.lineage == LineageId::MAIN)
    }
    /// Whether statements may write here.
    pub fn is_branch(&self) -> bool {
        matches!(self.target, Target::Branch { .. })
    }
}

/// Two views of one table and what lies between them.
#[derive(Debug, Clone, PartialEq)]
pub struct DiffViews {
    /// The left side.
    pub from: View,
    /// The right side.
    pub to: View,
    /// History to look at.
    pub segments: Vec<Segment>,
    /// If these are different versions of the table, or versions that branches made: how they are compared.
    pub versions: Option<Box<Pair>>,
}

/// Who commits.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct Author {
    /// Name.
    pub name: String,
    /// Email, may be empty.
    pub email: String,
}

/// A row of `epoch_register`.
#[derive(Debug, Clone)]
pub struct Registered {
    /// The table.
    pub table: Arc<TableDef>,
    /// An estimate from the backend's statistics.
    pub rows_estimate: i64,
}

/// A row of `epoch_unregister`.
#[derive(Debug, Clone)]
pub struct Unregistered {
    /// `users`.
    pub table_name: String,
    /// `unregistered`.
    pub status: String,
}

/// A row of `epoch_discover`.
#[derive(Debug, Clone)]
pub struct DiscoveredTable {
    /// The name it would get on the proxy.
    pub table_name: String,
    /// Where it is.
    pub location: String,
    /// The key registration would take.
    pub key: Vec<String>,
    /// Whether it is registered already.
    pub registered: bool,
    /// Why it can't be registered as it is.
    pub reason: Option<String>,
}

/// What is said of a branch that is made.
#[derive(Debug, Clone, Default)]
pub struct NewBranch {
    /// It takes the place of one of this name.
    pub force: bool,
    /// It is deleted some time after this.
    pub expires: Option<DateTime<Utc>>,
    /// It is protected from the start; of its name alone, whatever is said of `branches`.
    pub protection: Option<Protection>,
}

/// A row of `epoch.branches`.
#[derive(Debug, Clone)]
pub struct BranchInfo {
    /// Name.
    pub name: String,
    /// Hash of the head commit.
    pub hash: String,
    /// The branch it was made from, if that still exists.
    pub parent_branch: Option<String>,
    /// Author of the head commit.
    pub latest_author: String,
    /// Date of the head commit.
    pub latest_date: DateTime<Utc>,
    /// Message of the head commit.
    pub latest_message: String,
    /// The lineage.
    pub layer: Layer,
    /// Commits that the parent branch (main for none) doesn't have, and the other way round.
    pub ahead: i64,
    /// See `ahead`.
    pub behind: i64,
    /// When it is to be deleted.
    pub expires_at: Option<DateTime<Utc>>,
    /// Whether something protects it.
    pub protected: bool,
}

/// A row of `epoch.tags`.
#[derive(Debug, Clone)]
pub struct TagInfo {
    /// Name.
    pub name: String,
    /// The commit.
    pub hash: String,
    /// Who made it.
    pub tagger: String,
    /// When.
    pub date: DateTime<Utc>,
    /// Of an annotated tag.
    pub message: Option<String>,
}

/// Which commits `epoch_log` lists.
#[derive(Debug, Clone, Default)]
pub struct LogQuery {
    /// Refs, `a..b` ranges, `^x` exclusions; empty is HEAD.
    pub revisions: Vec<String>,
    /// Start from every branch and tag.
    pub all: bool,
    /// Only commits that changed one of these tables; empty is any.
    pub tables: Vec<String>,
    /// At most this many.
    pub limit: Option<usize>,
    /// Only commits with a smaller `commit_order`: the page after the commit that has it.
    pub before: Option<i64>,
}

/// A row of `epoch_log`.
#[derive(Debug, Clone)]
pub struct CommitInfo {
    /// Full hash.
    pub hash: String,
    /// Parents, first parent first.
    pub parents: Vec<String>,
    /// Author's name.
    pub author: String,
    /// Author's email.
    pub email: String,
    /// When.
    pub date: DateTime<Utc>,
    /// Message.
    pub message: String,
    /// Branches and tags (`tag: v1`) that point here, HEAD first.
    pub refs: Vec<String>,
    /// Topological order: parents have smaller numbers.
    pub commit_order: i64,
    /// What the commit changed against its first parent.
    pub tables: Vec<(String, TableStats)>,
}

/// A row of `epoch.status`.
#[derive(Debug, Clone)]
pub struct StatusEntry {
    /// Table.
    pub table_name: String,
    /// Where its rows are.
    pub location: String,
    /// `modified`; `added` or `removed` for a table that was made or dropped; `conflict` while a merge waits.
    pub change: String,
    /// Net counts of the uncommitted changes.
    pub stats: TableStats,
    /// Open conflicts.
    pub conflicts: i64,
    /// On main, what is known of who wrote to it.
    pub writers: Option<Writers>,
}

/// A row of `epoch_diff_stat`.
#[derive(Debug, Clone)]
pub struct DiffStat {
    /// Table.
    pub table: Arc<TableDef>,
    /// Rows that are the same, from the backend's estimate of the table's size.
    pub rows_unmodified: i64,
    /// The rest.
    pub stats: TableStats,
    /// Whether only one side has the table.
    pub defined: Defined,
}

/// Whether a table is there on both sides of a difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Defined {
    /// It is.
    #[default]
    Same,
    /// On the right side only.
    Added,
    /// On the left side only.
    Removed,
    /// Each side has a version of its own.
    Altered,
}

/// How to commit.
#[derive(Debug, Clone, Default)]
pub struct CommitOptions {
    /// The message; must not be empty.
    pub message: String,
    /// Who.
    pub author: Author,
    /// When, instead of now.
    pub date: Option<DateTime<Utc>>,
    /// Commit even if nothing changed.
    pub allow_empty: bool,
    /// No error if nothing changed; nothing is committed.
    pub skip_empty: bool,
    /// Replace the head commit.
    pub amend: bool,
    /// Only these tables; empty is all.
    pub tables: Vec<String>,
}

/// A commit that was made (or skipped: then `hash` is the unmoved head and all counts are 0).
#[derive(Debug, Clone)]
pub struct Committed {
    /// The branch's head now.
    pub hash: String,
    /// Per table.
    pub tables: Vec<(String, TableStats)>,
}

/// How two-sided changes to one row are judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub enum Strategy {
    /// Different columns merge; the same column to different values conflicts.
    #[default]
    Field,
    /// Any two-sided change to one row conflicts, also to equal values.
    Row,
    /// Conflicts go to the target branch.
    Ours,
    /// Conflicts go to the merged branch.
    Theirs,
}

/// How to merge.
#[derive(Debug, Clone, Default)]
pub struct MergeOptions {
    /// A merge commit even where a fast-forward is possible.
    pub no_ff: bool,
    /// Refuse unless it is a fast-forward.
    pub ff_only: bool,
    /// One commit with the changes, without the source as a parent.
    pub squash: bool,
    /// Stop before the commit, also without conflicts.
    pub no_commit: bool,
    /// Compute and report only.
    pub dry_run: bool,
    /// Conflict handling.
    pub strategy: Strategy,
    /// Instead of `Merge branch 'x' into y`.
    pub message: Option<String>,
    /// Who.
    pub author: Author,
}

/// What a merge did.
#[derive(Debug, Clone)]
pub struct Merged {
    /// The branch's head now; unchanged while conflicts wait.
    pub hash: String,
    /// Whether the head simply moved.
    pub fast_forward: bool,
    /// Conflicts that wait.
    pub conflicts: i64,
    /// Whether triggers of main's made other rows than the merge: its commit has them as they are.
    pub altered: bool,
    /// For people.
    pub message: String,
}

/// How to apply commits again.
#[derive(Debug, Clone, Default)]
pub struct PickOptions {
    /// The parent to compare with, counted from 1; needed for merges.
    pub mainline: Option<usize>,
    /// Conflict handling.
    pub strategy: Strategy,
    /// Who reverts. A commit that is picked keeps its author.
    pub author: Author,
}

/// How far a cherry-pick, revert, rebase or stash came.
#[derive(Debug, Clone)]
pub struct Picked {
    /// The head now, of the branch that the commits are made on.
    pub hash: String,
    /// Conflicts that wait.
    pub conflicts: i64,
    /// How many of them are of tables, not of rows.
    pub schema_conflicts: i64,
    /// Commits that were made.
    pub done: usize,
    /// Commits that are left.
    pub left: usize,
    /// For people.
    pub message: String,
}

/// How to rebase.
#[derive(Debug, Clone, Default)]
pub struct RebaseOptions {
    /// Stop before the first commit, so that the plan can be edited.
    pub interactive: bool,
    /// Conflict handling.
    pub strategy: Strategy,
    /// Who.
    pub author: Author,
}

/// A row of `epoch.rebase_plan`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanStep {
    /// Its place, from 1.
    pub order: i64,
    /// `pick`, `reword`, `squash`, `fixup` or `drop`.
    pub action: String,
    /// The commit.
    pub commit: String,
    /// The message that it gets.
    pub message: String,
}

/// A row of `epoch_stash('list')`.
#[derive(Debug, Clone)]
pub struct StashInfo {
    /// Its own name, or its place in the list.
    pub name: String,
    /// A commit with the changes.
    pub hash: String,
    /// The branch that it was made on.
    pub branch: String,
    /// When.
    pub date: DateTime<Utc>,
}

/// A row of `epoch_reflog`.
#[derive(Debug, Clone)]
pub struct HeadMove {
    /// `main@{2}`.
    pub selector: String,
    /// The head after it.
    pub hash: String,
    /// The head before it; `None` for the first.
    pub previous: Option<String>,
    /// Who.
    pub author: String,
    /// When.
    pub date: DateTime<Utc>,
    /// What happened.
    pub action: String,
}

/// What a promotion did.
#[derive(Debug, Clone)]
pub struct Promoted {
    /// The target's head now.
    pub hash: String,
    /// The tag on it.
    pub tag: String,
    /// Whether the head simply moved.
    pub fast_forward: bool,
}

/// A merge that isn't made.
#[derive(Debug, Clone, Default)]
pub struct Preview {
    /// The tables whose rows the other side changed.
    pub tables: Vec<PreviewedTable>,
    /// How many rows would not keep to constraints, by table; `None` if that wasn't asked, or a backend can't tell.
    pub violations: Option<Vec<(TableName, usize)>>,
}

/// One table of a merge that isn't made.
#[derive(Debug, Clone)]
pub struct PreviewedTable {
    /// The table.
    pub table: Arc<TableDef>,
    /// The rows that the other side changed.
    pub rows: Vec<PreviewedRow>,
}

/// One row of a merge that isn't made.
#[derive(Debug, Clone)]
pub struct PreviewedRow {
    /// Its key.
    pub key: Row,
    /// On the three sides.
    pub base: Option<Row>,
    /// See `base`.
    pub ours: Option<Row>,
    /// See `base`.
    pub theirs: Option<Row>,
    /// What the merge makes of it; ours if it is in conflict.
    pub result: Option<Row>,
    /// Whether it is in conflict.
    pub conflict: Option<ConflictKind>,
}

/// A commit that changed a row, with the row.
#[derive(Debug, Clone)]
pub struct RowVersion {
    /// The commit.
    pub commit: Arc<CommitSummary>,
    /// What it did.
    pub change: epoch_adapter::RowChange,
}

/// What a commit says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitSummary {
    /// Full hash.
    pub hash: String,
    /// Author's name.
    pub author: String,
    /// When.
    pub date: DateTime<Utc>,
    /// Message.
    pub message: String,
}

/// A kind of conflict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum ConflictKind {
    /// One cell to different values.
    #[serde(rename = "modify/modify")]
    ModifyModify,
    /// Changed here, deleted there.
    #[serde(rename = "modify/delete")]
    ModifyDelete,
    /// One key inserted twice with different rows.
    #[serde(rename = "insert/insert")]
    InsertInsert,
    /// The table itself, which both sides made something else of.
    #[serde(rename = "schema")]
    Schema,
}

impl ConflictKind {
    /// As in the `kind` column.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ModifyModify => "modify/modify",
            Self::ModifyDelete => "modify/delete",
            Self::InsertInsert => "insert/insert",
            Self::Schema => "schema",
        }
    }
}

/// A conflict of the merge that waits on a branch.
#[derive(Debug, Clone)]
pub struct Conflict {
    /// Unique in the repository.
    pub id: i64,
    /// Table.
    pub table: Arc<TableDef>,
    /// What happened.
    pub kind: ConflictKind,
    /// The key.
    pub key: Row,
    /// The row at the merge base.
    pub base: Option<Row>,
    /// The row on the target branch.
    pub ours: Option<Row>,
    /// The row on the merged branch.
    pub theirs: Option<Row>,
    /// Columns in conflict (names); empty for whole rows.
    pub columns: Vec<String>,
    /// Whether it is resolved.
    pub resolved: bool,
    /// Of one that is resolved: the row that the merge takes; none if it takes none.
    pub result: Option<Row>,
}

/// Which side a resolution takes.
#[derive(Debug, Clone, PartialEq)]
pub enum Side {
    /// The target branch's.
    Ours,
    /// The merged branch's.
    Theirs,
    /// The merge base's.
    Base,
    /// A value of the user's for one column.
    Value(Value),
}

/// Resolves conflicts: all, of one table, one key, one column.
#[derive(Debug, Clone)]
pub struct Resolution {
    /// Side.
    pub side: Side,
    /// Only this table.
    pub table: Option<String>,
    /// Only this key: its columns' texts, in key order.
    pub key: Option<Vec<String>>,
    /// Only this column (the other conflicting columns stay open).
    pub column: Option<String>,
}

/// What a resolution did.
#[derive(Debug, Clone, Copy)]
pub struct Resolved {
    /// Conflicts closed by it.
    pub resolved: i64,
    /// Still open on the branch.
    pub remaining: i64,
}

/// How to reset.
#[derive(Debug, Clone, Default)]
pub struct ResetOptions {
    /// Drop working changes and move the working state too; else only the head moves.
    pub hard: bool,
    /// Where to; `None` is HEAD.
    pub target: Option<String>,
    /// Drop the working changes of one table only.
    pub table: Option<String>,
    /// Who, for the safety branch and the reflog.
    pub author: Author,
}

/// What a reset did.
#[derive(Debug, Clone)]
pub struct ResetDone {
    /// The head now.
    pub hash: String,
    /// The branch that keeps the commits that the head left, if there are any.
    pub safety_branch: Option<String>,
    /// For people.
    pub status: String,
}

/// A table or view that is defined in another way on each side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchemaDiff {
    /// Its name, on the right side if it is there.
    pub table: TableName,
    /// The statements that make it as it is on the left side.
    pub from: Option<String>,
    /// The statements that make it as it is on the right side.
    pub to: Option<String>,
    /// What makes the left one the right one; `None` if the one wasn't made from the other.
    pub statements: Option<Vec<String>>,
}
