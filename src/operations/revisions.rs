//! Revisions: what ALTER TABLE and the like make of a table that main, or a commit, has.
//!
//! A revision is a registration of its own, which the branch shows in the place of the version before. That one
//! stays as it is, with all that branches hold of it: older commits and other branches go on reading it.

use std::sync::Arc;

use epoch_adapter::{
    Also, At, DraftChange, Error, Layer, Piece, Result, Revision, Statement, TableDef, TableId, TableName,
    View, compose,
};

use super::drafts::{check_free, gone};
use super::failpoint::{TABLE_DEFINED, hit};
use super::{Checkout, Repository, Tables};
use crate::metadata::spans;
use crate::metadata::tables;

/// What makes another version of a table.
#[derive(Debug, Clone)]
pub(super) enum Revising {
    /// A statement of the client's.
    By(Statement),
    /// Another name or schema.
    To(TableName),
}

impl Revising {
    /// The tables that a statement names.
    pub(super) fn pieces(&self) -> &[Piece] {
        match self {
            Self::By(statement) => &statement.pieces,
            Self::To(_) => &[],
        }
    }

    /// What the version is called.
    pub(super) fn name<'a>(&'a self, table: &'a TableDef) -> &'a TableName {
        match self {
            Self::By(_) => &table.name,
            Self::To(name) => name,
        }
    }

    /// As the backend does it.
    pub(super) fn of(self, of: Arc<TableDef>, view: View) -> DraftChange {
        match self {
            Self::By(statement) => DraftChange::Revise { of, view, statement },
            Self::To(_) => DraftChange::Move { of, view },
        }
    }
}

impl Repository {
    /// Gives a table another name or schema on the checkout's branch: ALTER TABLE … RENAME TO and SET SCHEMA. 42P07 if the
    /// branch has something of that name.
    pub async fn rename_table(&self, checkout: &Checkout, table: TableId, to: &TableName) -> Result<()> {
        let _lock = self.locked_to_define().await?;
        let shown = self.tables_on(checkout);
        let table = shown.by_id.get(&table).cloned().ok_or_else(gone)?;
        let (_, layer) = self.definable(checkout, &[&table.name, to])?;
        check_renamable(&shown, &table, to)?;
        self.revise_table(layer, &table, Revising::To(to.clone())).await
    }

    /// Makes a version of `table` that the layer's branch shows from now on, uncommitted.
    pub(super) async fn revise_table(
        &self,
        layer: Layer,
        table: &Arc<TableDef>,
        revising: Revising,
    ) -> Result<()> {
        self.sound(table).await?;
        self.ensure_layer(layer, table).await?;
        for other in self.tied_by_keys(layer, table, revising.pieces()).await? {
            self.ensure_layer(layer, &other).await?;
        }
        let lineage = layer.lineage;
        let view = self.state().stored_view((lineage, At::Working), table.id)?;
        let adapter = self.inner.backends.require(&table.location.backend)?;
        let mut tx = self.store().write().await?;
        let name = revising.name(table).clone();
        let draft = tables::insert_draft(&mut tx, &table.location.backend, &name, lineage).await?;
        tx.commit().await?;
        let change = revising.of(Arc::clone(table), view);
        let definition = self.defined(&*adapter, &draft, layer, &change).await?;
        let revision = definition.revision.clone();
        let revision =
            revision.ok_or_else(|| Error::internal("a version of a table without what it is made from"))?;
        hit(TABLE_DEFINED);
        let replaces = self.state().is_uncommitted(lineage, table.id);
        let revision = if replaces { over(table, revision, draft.id) } else { revision };
        let new = TableDef { schema: definition.schema, revision: Some(revision), ..draft };
        let mut tx = self.store().write().await?;
        tables::redefine(&mut tx, &new, &definition.text).await?;
        tables::add_layer(&mut tx, lineage, new.id).await?;
        spans::set(&mut tx, lineage, spans::PENDING, table.id, false).await?;
        spans::set(&mut tx, lineage, spans::PENDING, new.id, true).await?;
        tx.commit().await?;
        self.reload().await?;
        // A version that was never committed is gone.
        self.sweep().await;
        Ok(())
    }

    /// The tables that foreign keys of a table, or to it, tie to it on a branch, and those that a statement names.
    pub(super) async fn tied_by_keys(
        &self,
        layer: Layer,
        table: &TableDef,
        pieces: &[Piece],
    ) -> Result<Vec<Arc<TableDef>>> {
        let adapter = self.inner.backends.require(&table.location.backend)?;
        let keys = adapter.foreign_keys().await?;
        let state = self.state();
        let first = |id| state.first_version(id);
        let mut families: Vec<_> =
            keys.into_iter().map(|(child, parent)| (first(child), first(parent))).collect();
        for piece in pieces {
            if let Piece::Parent(parent, _) = piece {
                families.push((first(table.id), first(parent.id)));
            }
        }
        let own = first(table.id);
        let tied = |id: TableId| families.contains(&(own, id)) || families.contains(&(id, own));
        let tables = state.tables_at((layer.lineage, At::Working))?.sorted();
        Ok(tables.into_iter().filter(|t| t.id != table.id && tied(first(t.id))).collect())
    }

    /// The other versions of a table.
    pub(super) fn revisions_of(&self, table: &TableDef) -> Vec<Arc<TableDef>> {
        let state = self.state();
        state
            .all_tables()
            .filter(|t| t.id != table.id && state.are_related(t.id, table.id))
            .cloned()
            .collect()
    }
}

/// Whether a table can get another name: 42P07 if something has it, 0A000 if a view of the branch reads the table, or if it
/// isn't registered under the name that it has.
pub(super) fn check_renamable(shown: &Tables, table: &TableDef, to: &TableName) -> Result<()> {
    let home = table.location.home();
    if home.schema.as_ref() != Some(&table.name.schema) || home.table != table.name.name {
        return Err(Error::unsupported(format!(
            "renaming table \"{}\", which is registered under another name than it has, on a branch",
            table.name
        )));
    }
    let backend = &table.location.backend;
    check_free(shown, backend, to)?;
    let reads = |t: &&Arc<TableDef>| {
        let view = t.view.as_ref().filter(|_| t.location.backend == *backend);
        view.is_some_and(|view| view.names(&table.name.schema, &table.name.name).is_some())
    };
    match shown.own_views().find(reads) {
        Some(view) => Err(is_read(&table.name, ("view", &view.name.name))),
        None => Ok(()),
    }
}

/// 0A000: something, of a kind, reads a table by its name.
pub fn is_read(table: &TableName, (kind, reader): (&str, &str)) -> Error {
    Error::unsupported(format!("renaming table \"{table}\", which {kind} \"{reader}\" reads, on a branch"))
        .with_hint(format!("Drop the {kind}, and define it again."))
}

/// A revision of a revision that nobody will see again: one of the version before that.
pub(super) fn over(table: &TableDef, new: Revision, id: TableId) -> Revision {
    let Some(old) = &table.revision else { return new };
    let numbered: Vec<_> = old.numbered(table.id).into_iter().chain(new.numbered(id)).collect();
    let also = old.also.as_ref().map(|also| {
        let columns = compose(&new.columns, &table.schema, &also.columns);
        let statements = also.statements.iter().chain(&new.statements).cloned().collect();
        Box::new(Also { of: also.of, columns, statements })
    });
    Revision {
        of: old.of,
        columns: compose(&new.columns, &table.schema, &old.columns),
        whole: old.whole || new.whole,
        own_values: old.own_values || new.own_values,
        made: numbered.iter().map(|(id, _)| *id).collect(),
        statements: numbered.into_iter().map(|(_, statement)| statement).collect(),
        also,
    }
}
