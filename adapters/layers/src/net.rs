//! What a pending image comes to, beside the row as it is now.

use epoch_adapter::TableStats;

/// The net of everything that happened to a row since it was last sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Net {
    /// It is as it was.
    Nothing,
    /// It wasn't there.
    Added,
    /// It differs.
    Modified,
    /// It isn't there any more.
    Removed,
}

impl Net {
    /// From whether there was a row and is one now, and whether two that are there are the same.
    pub fn of(existed: bool, there: bool, same: bool) -> Self {
        match (existed, there) {
            (false, false) => Self::Nothing,
            (false, true) => Self::Added,
            (true, false) => Self::Removed,
            (true, true) if same => Self::Nothing,
            (true, true) => Self::Modified,
        }
    }

    /// Counts it.
    pub fn count(self, stats: &mut TableStats) {
        match self {
            Self::Nothing => {}
            Self::Added => stats.added += 1,
            Self::Modified => stats.modified += 1,
            Self::Removed => stats.removed += 1,
        }
    }
}
