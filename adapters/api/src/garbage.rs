use crate::{LineageId, Ordinal};

/// What nobody can look at any more of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Leftover {
    /// Everything that a lineage holds.
    Lineage(LineageId),
    /// History of a lineage that is shown nowhere but at these ordinals: from the first up to, but not including, the
    /// second.
    Holes(LineageId, Vec<(Ordinal, Ordinal)>),
}
