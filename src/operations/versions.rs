//! Versions of a table: which there are, and how to compare them.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use epoch_adapter::{
    At, Column, Error, Homecoming, LineageId, Location, Origin, Pair, Replay, Result, Retired, Side, Source,
    TableDef, TableId, Touched, compose, sqlstate, unchanged,
};

use super::DiffViews;
use super::state::{Spot, State};

impl State {
    /// A table and the versions that it was made from, newest first.
    pub(super) fn versions(&self, table: TableId) -> Vec<Arc<TableDef>> {
        let mut found: BTreeMap<Reverse<TableId>, Arc<TableDef>> = BTreeMap::new();
        let mut open = vec![table];
        while let Some(table) = open.pop().and_then(|id| self.table(id)) {
            // Numbers grow, so this is the order in which they were made.
            if found.insert(Reverse(table.id), Arc::clone(table)).is_none() {
                open.extend(table.revision.iter().flat_map(|r| r.ways().map(|(of, _)| of)));
            }
        }
        found.into_values().collect()
    }

    /// Whether a version was made from `older` step by step, and not by a merge that found `older` on the other side.
    pub(super) fn is_in_line(&self, table: TableId, older: TableId) -> bool {
        let mut next = Some(table);
        while let Some(id) = next.filter(|id| *id > older) {
            next = self.table(id).and_then(|t| t.revision.as_ref()).map(|r| r.of);
        }
        next == Some(older)
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
        self.origins(shape, older.id).map(Some).ok_or_else(lost)
    }

    /// Where the columns of a version come from, in terms of one that it was made from.
    pub(super) fn origins(&self, shape: &TableDef, older: TableId) -> Option<Vec<Origin>> {
        let revision = shape.revision.as_ref()?;
        let way = |(of, columns): (TableId, &[Origin])| {
            if of == older {
                return Some(columns.to_vec());
            }
            let middle = self.table(of).filter(|middle| self.is_made_from(middle.id, older))?;
            Some(compose(columns, &middle.schema, &self.origins(middle, older)?))
        };
        revision.ways().find_map(way)
    }

    /// What makes one version of a table another one, each statement under its number; `None` if that one wasn't made
    /// from it.
    pub(super) fn steps(&self, newer: &TableDef, older: TableId) -> Option<Vec<(TableId, Replay)>> {
        if newer.id == older {
            return Some(Vec::new());
        }
        let revision = newer.revision.as_ref()?;
        let also = revision
            .also
            .iter()
            .map(|also| (also.of, also.statements.iter().map(|s| (newer.id, s.clone())).collect::<Vec<_>>()));
        let mut ways = std::iter::once((revision.of, revision.numbered(newer.id))).chain(also);
        ways.find_map(|(of, own)| {
            let middle = self.table(of).filter(|t| t.id == older || self.is_made_from(t.id, older))?;
            Some([self.steps(middle, older)?, own].concat())
        })
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

    /// How to compare what a lineage holds of a table, whether it is there or not, with a version of it. The lineage may
    /// have nothing of the table but what main has, whatever it changed in another version.
    pub(super) fn compare_stored(
        &self,
        (from, left): (Spot, TableId),
        (to, right): (Spot, TableId),
    ) -> Result<DiffViews> {
        let mut paths = vec![(from, to)];
        let versions = self.table(left).is_some_and(|t| t.revision.is_some());
        if versions && from.0 != LineageId::MAIN {
            paths.push(((LineageId::MAIN, At::Ordinal(self.layer(from.0)?.base)), from));
        }
        self.compare_over((from, left), (to, right), left, &paths)
    }

    /// How to compare versions of a table, whether they are there or not.
    pub(super) fn compare_versions(
        &self,
        (from, left): (Spot, TableId),
        (to, right): (Spot, TableId),
        shape: TableId,
    ) -> Result<DiffViews> {
        self.compare_over((from, left), (to, right), shape, &[(from, to)])
    }

    /// As [`State::compare_versions`], with the history on these ways.
    fn compare_over(
        &self,
        (from, left): (Spot, TableId),
        (to, right): (Spot, TableId),
        shape: TableId,
        paths: &[(Spot, Spot)],
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
            let mut segments = Vec::new();
            for (from, to) in paths {
                segments.extend(self.stored_segments(*from, *to, version.id)?);
            }
            // Main's history is one line, which each version has.
            segments.retain(|s| s.lineage != LineageId::MAIN || version.id == newest.id);
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

/// Where main's rows and history of a table with several versions are, in its columns; `None` if they are its own
/// alone.
pub(super) fn source(table: &TableDef, tables: Tables<'_>) -> Option<Source> {
    let found = line(table, tables)?;
    let trivial = found.rows.is_none() && found.images.len() == 1;
    (!trivial).then_some(found)
}

/// Finds a table by its registration.
pub(super) type Tables<'a> = &'a dyn Fn(TableId) -> Option<Arc<TableDef>>;

/// Whether a version is, or was, main's table (or a draft that isn't a version of another table).
fn was_home(table: &TableDef) -> bool {
    table.revision.is_none() || table.retired.is_some() || !table.location.is_draft()
}

fn line(table: &TableDef, tables: Tables<'_>) -> Option<Source> {
    if !was_home(table) {
        let revision = table.revision.as_ref()?;
        let older = tables(revision.of)?;
        let source = line(&older, tables);
        return Some(Source::of(&TableDef { source, ..TableDef::clone(&older) }, &revision.columns));
    }
    let mut images = earlier(table, tables)?;
    images.extend(later(table, tables)?);
    let next = table.retired.as_ref().and_then(|r| Some((r.by, r.columns.as_ref()?)));
    let Some((by, columns)) = next else { return Some(Source { table: table.id, rows: None, images }) };
    let newer = tables(by)?;
    let of_newer = line(&newer, tables)?;
    let rows = match of_newer.rows {
        None => (newer.location.clone(), columns.clone()),
        Some((place, inner)) => (place, compose(columns, &newer.schema, &inner)),
    };
    Some(Source { table: of_newer.table, rows: Some(rows), images })
}

type Images = Vec<(TableId, Vec<Origin>)>;

/// The history of a version that was main's, and of those before it.
fn earlier(table: &TableDef, tables: Tables<'_>) -> Option<Images> {
    let mut images = vec![(table.id, unchanged(&table.schema))];
    let Some(revision) = &table.revision else { return Some(images) };
    let (mut columns, mut older) = (revision.columns.clone(), tables(revision.of)?);
    while !was_home(&older) {
        let revision = older.revision.as_ref()?;
        columns = compose(&columns, &older.schema, &revision.columns);
        older = tables(revision.of)?;
    }
    let before = earlier(&older, tables)?;
    images.extend(before.into_iter().map(|(id, inner)| (id, compose(&columns, &older.schema, &inner))));
    Some(images)
}

/// The history of the versions that took the place of one.
fn later(table: &TableDef, tables: Tables<'_>) -> Option<Images> {
    let Some((by, columns)) = table.retired.as_ref().and_then(|r| Some((r.by, r.columns.as_ref()?))) else {
        return Some(Vec::new());
    };
    let newer = tables(by)?;
    let mut images = vec![(by, columns.clone())];
    let after = later(&newer, tables)?;
    images.extend(after.into_iter().map(|(id, inner)| (id, compose(columns, &newer.schema, &inner))));
    Some(images)
}

impl State {
    /// A revision as main's table, and what else changes when it becomes that: nothing, if main has no version of it.
    pub(super) fn homecoming(&self, id: TableId) -> Result<(Arc<TableDef>, Option<Homecoming>)> {
        let lost = || Error::internal("a version of a table is not known");
        let versions = self.versions(id);
        let draft = versions.first().cloned().ok_or_else(lost)?;
        let home = TableDef { location: draft.location.home(), ..TableDef::clone(&draft) };
        let Some(before) = versions.iter().skip(1).find(|t| !t.location.is_draft()).cloned() else {
            let tables = |other: TableId| {
                if other == id { Some(Arc::new(home.clone())) } else { self.table(other).cloned() }
            };
            let source = source(&home, &tables);
            return Ok((Arc::new(TableDef { source, ..home.clone() }), None));
        };
        let columns = self.seen_as(&draft, &before)?.ok_or_else(lost)?;
        let back =
            before.schema.columns.iter().map(|c| carried(&columns, &draft, c)).collect::<Option<Vec<_>>>();
        let retired = TableDef {
            location: Location::draft(&before.location.backend, before.id, &before.name)?,
            retired: Some(Retired { by: id, columns: back }),
            ..TableDef::clone(&before)
        };
        let then = |other: TableId| match other {
            other if other == id => Some(Arc::new(home.clone())),
            other if other == retired.id => Some(Arc::new(retired.clone())),
            other => self.table(other).cloned(),
        };
        let after = |table: &TableDef| Arc::new(TableDef { source: source(table, &then), ..table.clone() });
        let family =
            self.all_tables().filter(|t| self.are_related(t.id, id) && t.id != id && t.id != retired.id);
        let statements = self.steps(&draft, retired.id).ok_or_else(lost)?;
        let homecoming = Homecoming {
            retired: after(&retired),
            draft,
            statements,
            others: family.map(|t| after(t)).collect(),
            before,
        };
        Ok((after(&home), Some(homecoming)))
    }

    /// Whether two tables are versions of one, by whatever ways.
    pub(super) fn are_related(&self, a: TableId, b: TableId) -> bool {
        self.first_version(a) == self.first_version(b)
    }

    /// The first version of a table.
    pub(super) fn first_version(&self, table: TableId) -> TableId {
        self.versions(table).last().map_or(table, |t| t.id)
    }
}

/// The column of a newer version that a column is there still, unchanged.
fn carried(columns: &[Origin], newer: &TableDef, column: &Column) -> Option<Origin> {
    let same =
        |o: &Origin| matches!(o, Origin::Column { name, casts } if *name == column.name && casts.is_empty());
    let found = columns.iter().position(same).and_then(|i| newer.schema.columns.get(i))?;
    Some(Origin::Column { name: found.name.clone(), casts: Vec::new() })
}
