//! What branches hold: whether something of it isn't committed, and how much it is.

use epoch_adapter::{Leftover, LineageId};

use super::{BranchInfo, Repository};

impl Repository {
    /// Whether a branch has uncommitted changes; `None` where it can't be told: a table was changed past us, or a backend
    /// doesn't answer.
    pub async fn is_changed(&self, info: &BranchInfo) -> Option<bool> {
        let branch = self.live_branch(info.layer.lineage, &info.name).ok()?;
        let is_here = self.published(&branch).await.ok()?.1 == branch.head;
        if is_here
            && self.state().pending_tables(branch.lineage).is_empty()
            && self.touched_of(&branch, |_| true).await.ok()?.is_empty()
        {
            return Some(false);
        }
        self.is_dirty(&branch).await.ok()
    }

    /// How many bytes the backends hold of a branch's own rows and their history; `None` where one can't tell. Main's rows
    /// are the user's tables.
    pub async fn bytes_of(&self, info: &BranchInfo) -> Option<u64> {
        if info.layer.lineage == LineageId::MAIN {
            return Some(0);
        }
        let mut bytes = 0;
        for (backend, tables) in self.tables_by_backend(info.layer) {
            let backend = self.inner.backends.require(&backend).ok()?;
            for table in tables {
                bytes += backend.measure(&table, &Leftover::Lineage(info.layer.lineage)).await.ok()?;
            }
        }
        Some(bytes)
    }
}
