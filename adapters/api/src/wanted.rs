use crate::{LineageId, Ordinal, Predicate, Row};

/// Which rows of a diff are wanted; by default all of them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Wanted {
    /// Only that of this key.
    pub key: Option<Row>,
    /// Only those whose keys meet all of these, which name key columns alone, without [`Predicate::IsNull`]. Values are
    /// compared as the backend compares keys, texts with their column's collation: what means the same key is found
    /// by any of its spellings.
    pub keys: Vec<Predicate>,
    /// At most this many, the first ones. More may be read, but not in proportion to all there are.
    pub limit: Option<usize>,
}

impl Wanted {
    /// The row of one key.
    pub fn of_key(key: Row) -> Self {
        Self { key: Some(key), ..Self::default() }
    }

    /// Whether it says anything of keys.
    pub fn selects(&self) -> bool {
        self.key.is_some() || !self.keys.is_empty()
    }
}

/// What a row was before a change of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Image {
    /// The lineage that was changed.
    pub lineage: LineageId,
    /// The ordinal that the change was published under: up to the one before it, the lineage showed this.
    pub until: Ordinal,
    /// `None`: the row wasn't there.
    pub row: Option<Row>,
}
