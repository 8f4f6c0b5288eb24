//! Versions of a table: which there are, and how to compare them.

use std::sync::Arc;

use epoch_adapter::{
    Error, LineageId, Origin, Pair, Result, Side, TableDef, TableId, Touched, compose, sqlstate,
};

use super::DiffViews;
use super::state::{Spot, State};

impl State {
    /// A table and the versions that it was made from, newest first.
    pub(super) fn versions(&self, table: TableId) -> Vec<Arc<TableDef>> {
        let mut found = Vec::new();
        let mut next = Some(table);
        while let Some(table) = next.and_then(|id| self.table(id)) {
            next = table.revision.as_ref().map(|r| r.of);
            found.push(Arc::clone(table));
        }
        found
    }

    /// Whether one of two tables was made from the other, or both are one.
    pub(super) fn are_versions(&self, a: TableId, b: TableId) -> bool {
        a == b || self.is_made_from(a, b) || self.is_made_from(b, a)
    }

    /// Whether `older` is a version that `table` was made from.
    pub(super) fn is_made_from(&self, table: TableId, older: TableId) -> bool {
        // Numbers grow.
        older < table && self.versions(table).iter().any(|t| t.id == older)
    }

    /// The version of a table that is there at a spot.
    pub(super) fn version_at(&self, spot: Spot, table: TableId) -> Result<Option<Arc<TableDef>>> {
        let tables = self.tables_at(spot)?;
        if let Some(same) = tables.by_id.get(&table) {
            return Ok(Some(Arc::clone(same)));
        }
        Ok(tables.by_id.values().find(|t| self.are_versions(t.id, table)).cloned())
    }

    /// Where the columns of a version come from, in terms of an older one; `None` if it is the same.
    fn seen_as(&self, shape: &TableDef, older: &TableDef) -> Result<Option<Vec<Origin>>> {
        if shape.id == older.id {
            return Ok(None);
        }
        let lost = || {
            let message =
                format!("table \"{}\" of these refs is not the one that the session has", shape.name);
            Error::new(sqlstate::OBJECT_NOT_IN_PREREQUISITE_STATE, message)
                .with_hint("Check out one of the refs first.")
        };
        let revision = shape.revision.as_ref().ok_or_else(lost)?;
        let (mut columns, mut of) = (revision.columns.clone(), revision.of);
        while of != older.id {
            let middle = self.table(of).ok_or_else(lost)?;
            let revision = middle.revision.as_ref().ok_or_else(lost)?;
            (columns, of) = (compose(&columns, &middle.schema, &revision.columns), revision.of);
        }
        Ok(Some(columns))
    }

    /// How to compare a table at two spots, in the columns of the newest version of it that is there or asked for.
    pub(super) fn compare(&self, from: Spot, to: Spot, table: TableId) -> Result<DiffViews> {
        let (left, right) = (self.version_at(from, table)?, self.version_at(to, table)?);
        match (left, right) {
            (Some(left), Some(right)) => {
                let newest = [table, left.id, right.id].into_iter().max().unwrap_or(table);
                self.compare_versions((from, left.id), (to, right.id), newest)
            }
            _ if self.made(table).is_some_and(|m| m.table.revision.is_none()) => Ok(DiffViews {
                from: self.view(from, table)?,
                to: self.view(to, table)?,
                segments: self.segments(from, to, table)?,
                versions: None,
            }),
            // It came or went as a whole; its rows are main's and aren't listed.
            _ => Ok(DiffViews {
                from: self.stored_view(from, table)?,
                to: self.stored_view(to, table)?,
                segments: Vec::new(),
                versions: None,
            }),
        }
    }

    /// As [`State::compare`], where the right side has this version whatever is known of it.
    pub(super) fn compare_shown(&self, from: Spot, (to, right): (Spot, TableId)) -> Result<DiffViews> {
        match self.version_at(from, right)? {
            Some(left) => self.compare_versions((from, left.id), (to, right), left.id.max(right)),
            None => {
                let from = self.seen_from(from, right)?;
                self.compare_versions((from, right), (to, right), right)
            }
        }
    }

    /// How to compare versions of a table, whether they are there or not.
    pub(super) fn compare_versions(
        &self,
        (from, left): (Spot, TableId),
        (to, right): (Spot, TableId),
        shape: TableId,
    ) -> Result<DiffViews> {
        let views = DiffViews {
            from: self.stored_view(from, left)?,
            to: self.stored_view(to, right)?,
            segments: self.stored_segments(from, to, shape)?,
            versions: None,
        };
        let versions = self.versions(shape);
        let Some(newest) = versions.first().filter(|_| versions.len() > 1) else { return Ok(views) };
        let side = |id: TableId, view| {
            let table = self
                .table(id)
                .cloned()
                .ok_or_else(|| Error::internal("a version of a table is not known"))?;
            Ok::<_, Error>(Side { columns: self.seen_as(newest, &table)?, table, view })
        };
        let mut touched = Vec::new();
        for version in &versions {
            let mut segments = self.stored_segments(from, to, version.id)?;
            // Main's history is the first version's.
            segments.retain(|s| s.lineage != LineageId::MAIN || version.source.is_none());
            if !segments.is_empty() {
                let key = key_in(newest, self.seen_as(newest, version)?.as_deref());
                touched.push(Touched { table: Arc::clone(version), key, segments });
            }
        }
        let pair = Pair {
            shape: Arc::clone(newest),
            from: side(left, views.from)?,
            to: side(right, views.to)?,
            touched,
        };
        Ok(DiffViews { versions: Some(Box::new(pair)), ..views })
    }
}

/// The names of the key's columns in the version that the columns come from.
fn key_in(shape: &TableDef, columns: Option<&[Origin]>) -> Vec<String> {
    let Some(columns) = columns else { return shape.schema.key_names() };
    let name = |i: &usize| match columns.get(*i) {
        Some(Origin::Column { name, .. }) => Some(name.clone()),
        _ => None,
    };
    shape.schema.key.iter().filter_map(name).collect()
}

impl DiffViews {
    /// Whether there is no history between the two.
    pub(super) fn is_same(&self) -> bool {
        match &self.versions {
            Some(pair) => pair.touched.is_empty(),
            None => self.segments.is_empty(),
        }
    }
}
