//! What a process remembers of the metadata store between two looks: tables, branches, lineages,
//! layers. Everything that planning a statement needs, without a round trip.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use epoch_adapter::{
    At, Error, Layer, LineageId, Ordinal, Result, Segment, TableDef, TableId, TableName, View,
};

use super::Tables;
use super::rights::Rights;
use crate::metadata::gc::{self, Holes};
use crate::metadata::refs::{self, Branch, Lineage};
use crate::metadata::spans::{self, Span};
use crate::metadata::tables::Stored;
use crate::metadata::{Tx, rights, tables};

/// For how many spots it is remembered which tables there are.
const MOST_SEEN: usize = 1_000;

/// A place in the lineage tree.
pub(super) type Spot = (LineageId, At);

#[derive(Debug, Default)]
pub(super) struct State {
    generation: i64,
    structure: i64,
    /// Grows whenever tables or layers change.
    pub(super) plans: u64,
    pub(super) tables: Arc<Tables>,
    /// Who may do what.
    pub(super) rights: Arc<Rights>,
    branches: HashMap<LineageId, Branch>,
    by_name: HashMap<String, LineageId>,
    lineages: HashMap<LineageId, Lineage>,
    layers: HashSet<(LineageId, TableId)>,
    /// Tables made on branches, with the texts of their definitions.
    made: HashMap<TableId, Made>,
    spans: HashMap<LineageId, Vec<Span>>,
    /// Lineages that nothing shows any more.
    collected: HashSet<LineageId>,
    /// Ordinals that nothing shows any more.
    holes: Holes,
    /// What [`State::tables_at`] said.
    seen: Mutex<HashMap<Spot, Arc<Tables>>>,
}

/// A table made on a branch.
#[derive(Debug, Clone)]
pub(super) struct Made {
    pub(super) table: Arc<epoch_adapter::TableDef>,
    /// Its definition.
    pub(super) text: String,
}

/// What changed since a generation.
pub(super) struct Update {
    generation: i64,
    structure: i64,
    /// Replace instead of adding.
    whole: bool,
    branches: Vec<Branch>,
    lineages: Vec<Lineage>,
    layers: Vec<(LineageId, TableId)>,
    tables: Vec<Stored>,
    /// Read only if everything is.
    spans: Vec<Span>,
    /// Read only if everything is.
    rights: Option<Rights>,
    /// Read only if everything is.
    garbage: Option<(HashSet<LineageId>, Holes)>,
}

async fn read_rights(tx: &mut Tx) -> Result<Rights> {
    let grants = rights::grants(tx).await?;
    Ok(Rights {
        grants: grants.into_iter().map(|g| Ok((g.privilege.parse()?, g))).collect::<Result<_>>()?,
        members: rights::members(tx).await?,
        protections: rights::protections(tx).await?,
    })
}

impl State {
    /// Reads what changed since `known` (generation, structure); `None` if nothing did.
    pub(super) async fn read(tx: &mut Tx, known: (i64, i64)) -> Result<Option<Update>> {
        let row = tx.first("SELECT generation, structure FROM repository", &[]).await?;
        let row = row.ok_or_else(|| Error::internal("the metadata store has no repository"))?;
        let (generation, structure) = (row.int(0)?, row.int(1)?);
        if (generation, structure) == known {
            return Ok(None);
        }
        let whole = structure != known.1;
        let since = if whole { 0 } else { known.0 };
        Ok(Some(Update {
            generation,
            structure,
            whole,
            branches: refs::branches_since(tx, since).await?,
            lineages: refs::lineages_since(tx, since).await?,
            layers: tables::layers_since(tx, since).await?,
            tables: tables::since(tx, since).await?,
            spans: if whole { spans::all(tx).await? } else { Vec::new() },
            rights: if whole { Some(read_rights(tx).await?) } else { None },
            garbage: match whole {
                true => Some((gc::collected(tx).await?.into_keys().collect(), gc::holes(tx).await?)),
                false => None,
            },
        }))
    }

    pub(super) fn version(&self) -> (i64, i64) {
        (self.generation, self.structure)
    }

    pub(super) fn apply(&mut self, update: Update) {
        if let Some(rights) = update.rights {
            self.rights = Arc::new(rights);
        }
        if let Some((collected, holes)) = update.garbage {
            (self.collected, self.holes) = (collected, holes);
        }
        let update = Update { rights: None, garbage: None, ..update };
        if update.whole {
            self.lineages.clear();
            self.branches.clear();
            self.by_name.clear();
            self.layers.clear();
            self.spans.clear();
            for span in &update.spans {
                self.spans.entry(span.lineage).or_default().push(*span);
            }
        }
        if update.whole || !update.layers.is_empty() || !update.tables.is_empty() {
            self.plans += 1;
        }
        if update.whole || !update.tables.is_empty() {
            self.made_after(&update);
            self.tables = Arc::new(self.tables_after(&update));
            self.find_sources();
            self.seen.get_mut().unwrap_or_else(PoisonError::into_inner).clear();
        }
        self.lineages.extend(update.lineages.into_iter().map(|l| (l.id, l)));
        self.layers.extend(update.layers);
        for branch in update.branches {
            self.by_name.insert(branch.name.clone(), branch.lineage);
            self.branches.insert(branch.lineage, branch);
        }
        self.generation = update.generation;
        self.structure = update.structure;
    }

    fn tables_after(&self, update: &Update) -> Tables {
        let mut by_id = if update.whole { HashMap::new() } else { self.tables.by_id.clone() };
        for stored in update.tables.iter().filter(|s| !s.made) {
            if stored.active {
                by_id.insert(stored.table.id, Arc::new(stored.table.clone()));
            } else {
                by_id.remove(&stored.table.id);
            }
        }
        Tables::new(by_id)
    }

    fn made_after(&mut self, update: &Update) {
        if update.whole {
            self.made.clear();
        }
        for stored in update.tables.iter().filter(|s| s.made) {
            if stored.active {
                let text = stored.text.clone().unwrap_or_default();
                let made = Made { table: Arc::new(stored.table.clone()), text };
                self.made.insert(stored.table.id, made);
            } else {
                self.made.remove(&stored.table.id);
            }
        }
    }

    /// Says of tables with several versions where their rows on main are now.
    fn find_sources(&mut self) {
        let versions = self.all_tables().filter(|t| t.revision.is_some() || t.retired.is_some());
        let find = |table: &Arc<TableDef>| {
            let source = super::versions::source(table, &|id| self.table(id).cloned());
            (table.source != source).then(|| Arc::new(TableDef { source, ..TableDef::clone(table) }))
        };
        let found: Vec<Arc<TableDef>> = versions.filter_map(find).collect();
        let mut of_main = self.tables.by_id.clone();
        for table in found {
            match self.made.get_mut(&table.id) {
                Some(made) => made.table = table,
                None => drop(of_main.insert(table.id, table)),
            }
        }
        self.tables = Arc::new(Tables::new(of_main));
    }

    /// A table, whoever sees it.
    pub(super) fn table(&self, id: TableId) -> Option<&Arc<epoch_adapter::TableDef>> {
        self.made.get(&id).map(|made| &made.table).or_else(|| self.tables.by_id.get(&id))
    }

    /// All tables, whoever sees them.
    pub(super) fn all_tables(&self) -> impl Iterator<Item = &Arc<epoch_adapter::TableDef>> {
        self.tables.by_id.values().chain(self.made.values().map(|made| &made.table))
    }

    /// Whether branches may differ in which tables there are.
    pub(super) fn has_made(&self) -> bool {
        !self.made.is_empty() || !self.spans.is_empty()
    }

    /// A table that was made on a branch.
    pub(super) fn made(&self, id: TableId) -> Option<&Made> {
        self.made.get(&id)
    }

    /// Tables made on branches that nobody sees, nor will see again.
    pub(super) fn orphans(&self) -> Vec<Arc<epoch_adapter::TableDef>> {
        self.orphans_without(&HashSet::new(), &Holes::new())
    }

    /// As [`State::orphans`], once these lineages, and these ordinals of others, are gone.
    pub(super) fn orphans_without(
        &self,
        gone: &HashSet<LineageId>,
        holes: &Holes,
    ) -> Vec<Arc<epoch_adapter::TableDef>> {
        let goes = |s: &Span| {
            let holes = holes.get(&s.lineage).into_iter().flatten();
            gone.contains(&s.lineage)
                || s.until < spans::PENDING
                    && holes.into_iter().any(|(since, until)| *since <= s.since && s.until <= *until)
        };
        let shown = self.spans.values().flatten().filter(|s| s.shown && !goes(s)).map(|s| s.table);
        let mut kept: HashSet<TableId> = self.tables.by_id.keys().copied().chain(shown).collect();
        // A version is read through the one that it was made from, or through the one that took its place.
        let mut open: Vec<TableId> = kept.iter().copied().collect();
        while let Some(id) = open.pop() {
            let Some(table) = self.table(id) else { continue };
            let of = table.revision.iter().flat_map(|r| r.ways().map(|(of, _)| of));
            let by = table.retired.as_ref().map(|r| r.by);
            open.extend(of.chain(by).filter(|id| kept.insert(*id)));
        }
        let tables: Vec<_> = kept.iter().filter_map(|id| self.table(*id)).collect();
        let used = |m: &Made| m.table.enumeration.as_ref().is_some_and(|e| tables.iter().any(|t| t.uses(e)));
        let orphans = self.made.values().filter(|m| !kept.contains(&m.table.id) && !used(m));
        let mut orphans: Vec<_> = orphans.map(|m| Arc::clone(&m.table)).collect();
        // Tables that refer to others were made after them; types are used by tables.
        orphans.sort_by_key(|t| (t.enumeration.is_some(), std::cmp::Reverse(t.id)));
        orphans
    }

    /// 3D000 if what a lineage showed at an ordinal, a commit, is garbage.
    pub(super) fn check_kept(&self, hash: &str, lineage: LineageId, ordinal: Ordinal) -> Result<()> {
        let gone = !self.lineages.contains_key(&lineage) || self.collected.contains(&lineage);
        let mut holes = self.holes.get(&lineage).into_iter().flatten();
        if gone || holes.any(|(since, until)| (*since..*until).contains(&ordinal)) {
            return Err(super::gc::removed(hash));
        }
        Ok(())
    }

    /// The tables of which a lineage holds rows.
    pub(super) fn held_by(&self, lineage: LineageId) -> Vec<Arc<epoch_adapter::TableDef>> {
        let mut held: Vec<_> = self.all_tables().filter(|t| self.has_layer(lineage, t.id)).cloned().collect();
        held.sort_by(|a, b| (&a.name, a.id).cmp(&(&b.name, b.id)));
        held
    }

    /// Whether a lineage has uncommitted changes of which tables there are.
    pub(super) fn pending_tables(&self, lineage: LineageId) -> Vec<TableId> {
        let spans = self.spans.get(&lineage).into_iter().flatten();
        let pending = |s: &&Span| s.since == spans::PENDING || s.until == spans::PENDING;
        let mut ids: Vec<_> = spans.filter(pending).map(|s| s.table).collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    /// Whether a table made on a branch is known to a lineage by an uncommitted CREATE TABLE alone.
    pub(super) fn is_uncommitted(&self, lineage: LineageId, table: TableId) -> bool {
        let mut spans = self.spans.values().flatten().filter(|s| s.table == table && s.shown).peekable();
        spans.peek().is_some() && spans.all(|s| s.lineage == lineage && s.since == spans::PENDING)
    }

    /// Whether a table made on a branch has come to main.
    pub(super) fn is_on_main(&self, table: TableId) -> bool {
        self.spans.get(&LineageId::MAIN).is_some_and(|s| s.iter().any(|s| s.table == table && s.shown))
    }

    /// Whether a table is there at a spot.
    pub(super) fn shows(&self, spot: Spot, table: TableId) -> Result<bool> {
        if let Some(span) = self.span_at(spot, table)? {
            return Ok(span.shown);
        }
        // What main has registered is there unless a lineage says otherwise.
        Ok(!self.made.contains_key(&table) && self.tables.by_id.contains_key(&table))
    }

    /// The nearest lineage that says that a table made on a branch is there at a spot, if it is.
    fn shown_by(&self, spot: Spot, table: TableId) -> Result<Option<LineageId>> {
        Ok(self.span_at(spot, table)?.filter(|s| s.shown).map(|s| s.lineage))
    }

    fn span_at(&self, spot: Spot, table: TableId) -> Result<Option<&Span>> {
        for (lineage, at) in self.chain(spot)? {
            let at = match at {
                At::Working => spans::PENDING,
                At::Ordinal(ordinal) => ordinal,
            };
            let found = self.spans.get(&lineage).into_iter().flatten();
            if let Some(span) = found.into_iter().find(|s| s.table == table && s.holds(at)) {
                return Ok(Some(span));
            }
        }
        Ok(None)
    }

    /// Whether two registrations are versions of one table, or definitions of one view or type.
    pub(super) fn are_one(&self, a: TableId, b: TableId) -> bool {
        let named = |id| self.made(id).map(|made| &made.table).filter(|t| !t.is_table());
        match (named(a), named(b)) {
            (Some(a), Some(b)) => {
                let same_kind = a.view.is_some() == b.view.is_some();
                same_kind && a.name == b.name && a.location.backend == b.location.backend
            }
            _ => self.are_versions(a, b),
        }
    }

    /// Whether a registration is a view's or a type's, which has no rows.
    pub(super) fn is_rowless(&self, id: TableId) -> bool {
        self.made(id).is_some_and(|made| !made.table.is_table())
    }

    /// All types that branches made, whoever shows them.
    pub(super) fn types(&self) -> impl Iterator<Item = (&Arc<TableDef>, &epoch_adapter::EnumDef)> {
        self.made.values().filter_map(|made| Some((&made.table, made.table.enumeration.as_deref()?)))
    }

    /// What a nested lineage began with, where that wasn't what main has: tables of a backend, and whether they were
    /// there.
    pub(super) fn inherited(&self, lineage: LineageId, backend: &str) -> Result<Vec<(TableId, bool)>> {
        let Some((parent, fork)) = self.fork(lineage)? else { return Ok(Vec::new()) };
        self.differs((parent, At::Ordinal(fork)), backend)
    }

    /// As [`State::inherited`], for what is there at a spot.
    pub(super) fn differs(&self, spot: Spot, backend: &str) -> Result<Vec<(TableId, bool)>> {
        let mut ids: Vec<TableId> = Vec::new();
        for (lineage, _) in self.chain(spot)?.iter().filter(|(l, _)| *l != LineageId::MAIN) {
            ids.extend(self.spans.get(lineage).into_iter().flatten().map(|s| s.table));
        }
        ids.sort_unstable();
        ids.dedup();
        let mut found = Vec::new();
        for id in ids {
            let here = self.table(id).is_some_and(|t| t.location.backend == backend && t.is_table());
            if here {
                found.push((id, self.shows(spot, id)?));
            }
        }
        // A family that has a version there isn't gone.
        let there: HashSet<TableId> =
            found.iter().filter(|(_, there)| *there).map(|(id, _)| self.first_version(*id)).collect();
        found.retain(|(id, shown)| *shown || !there.contains(&self.first_version(*id)));
        Ok(found)
    }

    /// The tables that there are at a spot.
    pub(super) fn tables_at(&self, spot: Spot) -> Result<Arc<Tables>> {
        if !self.has_made() {
            return Ok(Arc::clone(&self.tables));
        }
        let seen = || self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = seen().get(&spot) {
            return Ok(Arc::clone(known));
        }
        let mut by_id = self.tables.by_id.clone();
        let mut absent = HashSet::new();
        for id in self.spans.values().flatten().map(|s| s.table).collect::<HashSet<_>>() {
            // Tables of main that a lineage has dropped, or has another version of.
            if by_id.contains_key(&id)
                && !self.shows(spot, id)?
                && let Some(table) = by_id.remove(&id)
            {
                absent.insert(table.location.home());
            }
        }
        only_first(&mut by_id);
        let mut views = Vec::new();
        let (mut types, mut absent_types) = (HashMap::new(), HashSet::new());
        for made in self.made.values() {
            if let Some(enumeration) = &made.table.enumeration {
                let (lineage, table) = (self.shown_by(spot, made.table.id)?, &made.table);
                // As of views.
                let own = lineage.is_some_and(|l| l != LineageId::MAIN) || matches!(spot.1, At::Ordinal(_));
                if lineage.is_some() {
                    types.insert(table.id, super::ShownType { table: Arc::clone(table), own });
                } else if enumeration.on_main && spot != (LineageId::MAIN, At::Working) {
                    absent_types.insert((table.location.backend.clone(), table.name.clone()));
                }
            } else if made.table.view.is_some() {
                if let Some(lineage) = self.shown_by(spot, made.table.id)? {
                    // A commit goes on showing what its history says. What main shows, and what was never
                    // committed on branches of it, is the server's.
                    let own = lineage != LineageId::MAIN || matches!(spot.1, At::Ordinal(_));
                    views.push((&made.table, own));
                }
            } else if self.shows(spot, made.table.id)? {
                // A registration on main that came later has no say on the branch.
                by_id.retain(|_, t| t.name != made.table.name);
                by_id.insert(made.table.id, Arc::clone(&made.table));
            } else if !made.table.location.is_draft() {
                absent.insert(made.table.location.clone());
            }
        }
        for (view, _) in views.iter().filter(|(_, own)| *own) {
            by_id.retain(|id, t| t.name != view.name || self.made.contains_key(id));
        }
        // Of a table that was altered, the version that is shown may be the one at its place.
        absent.retain(|place| !by_id.values().any(|t| t.location == *place));
        // Another one of its name may be there.
        absent_types.retain(|(backend, name)| {
            !types.values().any(|t| t.table.name == *name && t.table.location.backend == *backend)
        });
        let mut tables = Tables { absent, types, absent_types, ..Tables::new(by_id) };
        views.into_iter().for_each(|(view, own)| tables.show_view(view, own));
        let tables = Arc::new(tables);
        let mut seen = seen();
        if seen.len() >= MOST_SEEN {
            seen.clear();
        }
        seen.insert(spot, Arc::clone(&tables));
        Ok(tables)
    }

    /// Where to read a table for a spot: a table that isn't there has no rows, as on main at its start.
    pub(super) fn seen_from(&self, spot: Spot, table: TableId) -> Result<Spot> {
        if !self.made.contains_key(&table) || self.shows(spot, table)? {
            return Ok(spot);
        }
        Ok((LineageId::MAIN, At::Ordinal(0)))
    }

    pub(super) fn branch(&self, name: &str) -> Option<&Branch> {
        self.by_name.get(name).and_then(|l| self.branches.get(l)).filter(|b| !b.is_hidden())
    }

    /// A branch of an operation under way.
    pub(super) fn hidden(&self, name: &str) -> Option<&Branch> {
        self.by_name.get(name).and_then(|l| self.branches.get(l)).filter(|b| b.is_hidden())
    }

    pub(super) fn branch_on(&self, lineage: LineageId) -> Option<&Branch> {
        self.branches.get(&lineage)
    }

    /// All branches that users know of.
    pub(super) fn branches(&self) -> impl Iterator<Item = &Branch> {
        self.branches.values().filter(|b| !b.is_hidden())
    }

    fn lineage(&self, id: LineageId) -> Result<&Lineage> {
        self.lineages.get(&id).ok_or_else(|| Error::internal(format!("lineage {} is unknown", id.0)))
    }

    /// A lineage as something to write to.
    pub(super) fn layer(&self, lineage: LineageId) -> Result<Layer> {
        Ok(Layer { lineage, base: self.lineage(lineage)?.base })
    }

    /// Whether a lineage holds rows of a table itself.
    pub(super) fn has_layer(&self, lineage: LineageId, table: TableId) -> bool {
        lineage == LineageId::MAIN || self.layers.contains(&(lineage, table))
    }

    /// The lineages that hold rows of a table.
    pub(super) fn holders(&self, table: TableId) -> Vec<LineageId> {
        let held = self.layers.iter().filter(|(_, t)| *t == table).map(|(lineage, _)| *lineage);
        held.chain([LineageId::MAIN]).collect()
    }

    /// Where a lineage forked off.
    pub(super) fn fork(&self, lineage: LineageId) -> Result<Option<(LineageId, Ordinal)>> {
        let lineage = self.lineage(lineage)?;
        Ok(lineage.parent.map(|parent| (parent, lineage.fork)))
    }

    /// What a reader of `table` sees at a spot: the nearest lineage that holds rows of it.
    pub(super) fn view(&self, spot: Spot, table: TableId) -> Result<View> {
        self.stored_view(self.seen_from(spot, table)?, table)
    }

    /// As [`State::view`], whether the table is there or not.
    pub(super) fn stored_view(&self, spot: Spot, table: TableId) -> Result<View> {
        let (mut lineage, mut at) = spot;
        while !self.has_layer(lineage, table) {
            let Some((parent, fork)) = self.fork(lineage)? else { break };
            (lineage, at) = (parent, At::Ordinal(fork));
        }
        Ok(View { layer: self.layer(lineage)?, at })
    }

    /// What a lineage's layer of `table` starts with: the parent's layer as of the fork, if any
    /// lineage between this one and main has one.
    pub(super) fn parent_view(&self, lineage: LineageId, table: TableId) -> Result<Option<View>> {
        let Some((parent, fork)) = self.fork(lineage)? else { return Ok(None) };
        // Also of a table that wasn't there any more: it may come again.
        let view = self.stored_view((parent, At::Ordinal(fork)), table)?;
        Ok((!view.layer.is_main()).then_some(view))
    }

    /// From a spot up to main.
    fn chain(&self, spot: Spot) -> Result<Vec<Spot>> {
        let mut chain = vec![spot];
        let mut lineage = spot.0;
        while let Some((parent, fork)) = self.fork(lineage)? {
            chain.push((parent, At::Ordinal(fork)));
            lineage = parent;
        }
        Ok(chain)
    }

    /// The history on the way between two spots.
    fn path(&self, a: Spot, b: Spot) -> Result<Vec<Segment>> {
        let (a, b) = (self.chain(a)?, self.chain(b)?);
        let mut segments = Vec::new();
        for &(lineage, upto) in &a {
            if let Some(&(_, other)) = b.iter().find(|(l, _)| *l == lineage) {
                segments.extend(between(lineage, upto, other));
                let rest = b.iter().take_while(|(l, _)| *l != lineage);
                segments.extend(rest.filter_map(|&(l, upto)| between(l, At::Ordinal(0), upto)));
                return Ok(segments);
            }
            segments.extend(between(lineage, At::Ordinal(0), upto));
        }
        Err(Error::internal("two lineages have no common ancestor"))
    }

    /// The history of `table` between two spots.
    pub(super) fn segments(&self, a: Spot, b: Spot, table: TableId) -> Result<Vec<Segment>> {
        self.stored_segments(self.seen_from(a, table)?, self.seen_from(b, table)?, table)
    }

    /// As [`State::segments`], whether the table is there or not.
    pub(super) fn stored_segments(&self, a: Spot, b: Spot, table: TableId) -> Result<Vec<Segment>> {
        let mut segments = self.path(a, b)?;
        segments.retain(|s| self.has_layer(s.lineage, table));
        Ok(segments)
    }

    /// The two spots, one of each side, with the least history between them.
    pub(super) fn nearest(&self, a: &[Spot], b: &[Spot]) -> Result<(Spot, Spot)> {
        let mut best: Option<((usize, i64), Spot, Spot)> = None;
        for &from in a {
            for &to in b {
                let cost = cost(&self.path(from, to)?);
                if best.as_ref().is_none_or(|(known, _, _)| cost < *known) {
                    best = Some((cost, from, to));
                }
                if cost == (0, 0) {
                    return Ok((from, to));
                }
            }
        }
        best.map(|(_, from, to)| (from, to)).ok_or_else(|| Error::internal("a commit has no position"))
    }
}

/// Of tables that main registered under one name at different times, the first is the one that a ref shows if it shows it:
/// the other came when a merge had given that one another name.
fn only_first(tables: &mut HashMap<TableId, Arc<TableDef>>) {
    let mut first: HashMap<TableName, TableId> = HashMap::new();
    for table in tables.values() {
        let id = first.entry(table.name.clone()).or_insert(table.id);
        *id = table.id.min(*id);
    }
    tables.retain(|id, table| first.get(&table.name) == Some(id));
}

fn between(lineage: LineageId, a: At, b: At) -> Option<Segment> {
    match (a, b) {
        (At::Ordinal(a), At::Ordinal(b)) if a == b => None,
        (At::Ordinal(a), At::Ordinal(b)) => {
            Some(Segment { lineage, after: a.min(b), upto: At::Ordinal(a.max(b)) })
        }
        (At::Ordinal(after), At::Working) | (At::Working, At::Ordinal(after)) => {
            Some(Segment { lineage, after, upto: At::Working })
        }
        (At::Working, At::Working) => None,
    }
}

/// Fewer lineages first, then fewer publications.
fn cost(segments: &[Segment]) -> (usize, i64) {
    let length = |s: &Segment| match s.upto {
        At::Ordinal(upto) => upto - s.after,
        At::Working => 1,
    };
    (segments.len(), segments.iter().map(length).sum())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const T: TableId = TableId(1);

    /// main; 2 forks from main at 5; 3 from 2 at 4; 4 from 2 at 1. Lineages 2 and 3 hold rows of T.
    fn state() -> State {
        let mut state = State::default();
        for (id, parent, fork, base) in
            [(1, None, 0, 0), (2, Some(1), 5, 5), (3, Some(2), 4, 5), (4, Some(2), 1, 5)]
        {
            let lineage = Lineage { id: LineageId(id), parent: parent.map(LineageId), fork, base };
            state.lineages.insert(LineageId(id), lineage);
        }
        state.layers.extend([(LineageId(2), T), (LineageId(3), T)]);
        state
    }

    fn spot(lineage: i64, ordinal: i64) -> Spot {
        (LineageId(lineage), if ordinal < 0 { At::Working } else { At::Ordinal(ordinal) })
    }

    fn segment(lineage: i64, after: i64, upto: i64) -> Segment {
        let upto = if upto < 0 { At::Working } else { At::Ordinal(upto) };
        Segment { lineage: LineageId(lineage), after, upto }
    }

    #[test]
    fn a_branch_without_rows_of_its_own_shows_its_parent_at_the_fork() {
        let state = state();
        let view = |lineage, base, at| View { layer: Layer { lineage: LineageId(lineage), base }, at };
        assert_eq!(state.view(spot(3, -1), T).unwrap(), view(3, 5, At::Working));
        assert_eq!(state.view(spot(4, -1), T).unwrap(), view(2, 5, At::Ordinal(1)));
        assert_eq!(state.view(spot(3, -1), TableId(2)).unwrap(), view(1, 0, At::Ordinal(5)));
        assert_eq!(state.view(spot(1, -1), T).unwrap(), View::MAIN);
        assert_eq!(state.parent_view(LineageId(4), T).unwrap(), Some(view(2, 5, At::Ordinal(1))));
        assert_eq!(state.parent_view(LineageId(4), TableId(2)).unwrap(), None);
        assert_eq!(state.parent_view(LineageId(2), T).unwrap(), None);
    }

    #[test]
    fn segments_follow_the_tree() {
        let state = state();
        let path = |a, b| state.path(a, b).unwrap();
        assert_eq!(path(spot(1, 3), spot(1, 7)), vec![segment(1, 3, 7)]);
        assert_eq!(path(spot(1, 7), spot(1, 3)), vec![segment(1, 3, 7)]);
        assert_eq!(path(spot(1, -1), spot(1, 3)), vec![segment(1, 3, -1)]);
        assert_eq!(path(spot(2, 3), spot(1, 7)), vec![segment(2, 0, 3), segment(1, 5, 7)]);
        assert_eq!(path(spot(1, 5), spot(2, -1)), vec![segment(2, 0, -1)]);
        assert_eq!(path(spot(3, 2), spot(4, 3)), vec![segment(3, 0, 2), segment(2, 1, 4), segment(4, 0, 3)]);
        assert_eq!(path(spot(2, 0), spot(1, 5)), vec![]);
        // lineage 4 holds nothing of T, so its history needs no look
        let segments = state.segments(spot(3, 2), spot(4, 3), T).unwrap();
        assert_eq!(segments, vec![segment(3, 0, 2), segment(2, 1, 4)]);
    }

    #[test]
    fn the_nearest_position_is_on_the_other_sides_lineage() {
        let state = state();
        let near = state.nearest(&[spot(1, 9), spot(2, 3)], &[spot(2, -1)]).unwrap();
        assert_eq!(near, (spot(2, 3), spot(2, -1)));
        let near = state.nearest(&[spot(1, 9), spot(2, 3)], &[spot(1, -1)]).unwrap();
        assert_eq!(near, (spot(1, 9), spot(1, -1)));
    }
}
