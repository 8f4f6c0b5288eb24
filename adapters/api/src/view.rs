use serde::{Deserialize, Serialize};

/// The storage line of one branch; unique in a repository, never reused, unaffected by renames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LineageId(pub i64);

impl LineageId {
    /// Main: the user's own tables.
    pub const MAIN: Self = Self(1);
}

/// A publication number on a lineage. Main starts at 0 when a table is registered; the first commit
/// after that is 1. A branch lineage starts at 0 at its fork.
pub type Ordinal = i64;

/// A moment of a lineage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum At {
    /// As it stands now, uncommitted changes included.
    Working,
    /// As published under this ordinal.
    Ordinal(Ordinal),
}

/// A branch lineage as something to write to. For main, `base` is 0 and means nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Layer {
    /// The lineage.
    pub lineage: LineageId,
    /// The ordinal of main that everything below this lineage's layers is read at.
    pub base: Ordinal,
}

impl Layer {
    /// The user's own tables.
    pub const MAIN: Self = Self { lineage: LineageId::MAIN, base: 0 };

    /// Whether writing to this layer writes to the user's own tables.
    pub fn is_main(&self) -> bool {
        self.lineage == LineageId::MAIN
    }
}

/// How many rows a layer holds of a table itself, and how many of main's it hides: each of them is one that main has at the layer's
/// base. So a branch shows as many rows as main at the base, and these, less those.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LayerSize {
    /// Rows of its own.
    pub rows: i64,
    /// Keys of main that it hides.
    pub masked: i64,
}

/// What a reader of one table sees.
///
/// The rows of a view of main at ordinal `s`: history images of main visible at `s`, and base rows
/// without such an image. Of a branch: overlay rows (at an ordinal: history images of the lineage
/// visible there, and overlay rows without such an image), then main at `layer.base` without the
/// keys that the layer masks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct View {
    /// The lineage, with the base below it. Always one whose layer is complete for the table, or
    /// one that holds nothing of it.
    pub layer: Layer,
    /// The moment.
    pub at: At,
}

impl View {
    /// Main as it stands now: the plain table.
    pub const MAIN: Self = Self { layer: Layer::MAIN, at: At::Working };

    /// The plain table, nothing of ours involved.
    pub fn is_plain(&self) -> bool {
        self.layer.is_main() && self.at == At::Working
    }
}

/// A stretch of one lineage's history: what was published after `after`, up to and including
/// `upto` ([`At::Working`] includes uncommitted changes).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Segment {
    /// The lineage.
    pub lineage: LineageId,
    /// Exclusive lower end.
    pub after: Ordinal,
    /// Inclusive upper end.
    pub upto: At,
}
