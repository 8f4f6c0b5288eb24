//! Starting and stopping to version tables.

use std::sync::Arc;

use epoch_adapter::{
    Adapter, At, BackendKind, Discovered, Error, LineageId, Location, Result, TableDef, TableId, TableName,
    UserTrigger, sqlstate,
};

use super::resolve::Named;
use super::{DiscoveredTable, Registered, Repository, Unregistered};
use crate::metadata::refs::Branch;
use crate::metadata::tables::{self, TableState};
use crate::storage::{matches, proxy_name};

/// A table to register: its name on the proxy, and where it is.
struct Candidate {
    name: TableName,
    backend: Arc<dyn Adapter>,
    found: Discovered,
}

impl Repository {
    /// Tables of a backend, registered or not: `NAME`, `kind://NAME` or `kind://NAME/pattern`.
    pub async fn discover(&self, location: &str) -> Result<Vec<DiscoveredTable>> {
        self.refresh().await?;
        self.may_all(super::Right::Admin)?;
        let (backend, pattern) = match location.split_once("://") {
            Some((_, rest)) => rest.split_once('/').unwrap_or((rest, "")),
            None => (location, ""),
        };
        let pattern = if pattern.is_empty() { "*" } else { pattern };
        let adapter = self.inner.backends.require(backend)?;
        let found = adapter.discover(pattern).await?;
        let tables = self.tables();
        let row = |d: Discovered| DiscoveredTable {
            table_name: proxy_name(&d.location).to_string(),
            registered: tables.by_id.values().any(|t| t.location == d.location),
            location: d.location.to_string(),
            key: d.key,
            reason: d.reason,
        };
        Ok(found.into_iter().map(row).collect())
    }

    /// Starts to version the tables that match `pattern`: where routing and the default backend say
    /// they are, or at `location`, which may be another name or a pattern itself. A location alone is
    /// one of tables that keep their names.
    pub async fn register(
        &self,
        pattern: &str,
        location: Option<&str>,
        key: Option<&[String]>,
    ) -> Result<Vec<Registered>> {
        self.may_all(super::Right::Admin)?;
        let _lock = self.locked_to_define().await?;
        let (pattern, location) = match (location, pattern.rsplit_once('/')) {
            (None, Some((_, table))) if pattern.contains("://") => {
                (if table.contains('*') { "*" } else { table }, Some(pattern))
            }
            _ => (pattern, location),
        };
        let candidates = match location {
            Some(location) => self.candidates_at(pattern, location).await?,
            None => self.candidates(pattern).await?,
        };
        let several = pattern.contains('*') || location.is_some_and(|l| l.contains('*'));
        let chosen = self.choose(pattern, candidates, several, key)?;
        let mut registered = Vec::new();
        for candidate in chosen {
            registered.push(self.register_one(candidate, key).await?);
        }
        Ok(registered)
    }

    /// Goes on with registered tables whose rows somebody wrote anew past the repository, because no value changed by it.
    /// 55000 if something else is wrong with one.
    pub async fn accept(&self, pattern: &str) -> Result<Vec<Registered>> {
        self.may_all(super::Right::Admin)?;
        let _lock = self.locked_to_define().await?;
        let mut accepted = Vec::new();
        for table in self.matching(pattern)? {
            let backend = self.inner.backends.require(&table.location.backend)?;
            backend.accept(&table).await?;
            self.inner.looked.remove(&table.location.backend);
            self.sound(&table).await?;
            let rows_estimate = backend.row_estimate(&table).await?;
            accepted.push(Registered { table, rows_estimate });
        }
        Ok(accepted)
    }

    /// Whether a registered table of main matches.
    pub fn has_tables(&self, pattern: &str) -> bool {
        self.tables().by_name.keys().any(|name| matches(pattern, name))
    }

    /// Makes the row triggers of registered tables run on branches, as they are now, or no longer. 0A000 if one can't.
    pub async fn run_triggers(&self, pattern: &str, on: bool) -> Result<Vec<Registered>> {
        self.may_all(super::Right::Admin)?;
        let _lock = self.locked_to_define().await?;
        let mut done = Vec::new();
        for table in self.matching(pattern)? {
            self.sound(&table).await?;
            let backend = self.inner.backends.require(&table.location.backend)?;
            backend.run_triggers(&table, on).await?;
            let rows_estimate = backend.row_estimate(&table).await?;
            done.push(Registered { table, rows_estimate });
        }
        Ok(done)
    }

    /// The user's triggers of registered tables.
    pub async fn user_triggers(&self, pattern: Option<&str>) -> Result<Vec<(Arc<TableDef>, UserTrigger)>> {
        let tables = match pattern {
            Some(pattern) => self.matching(pattern)?,
            None => self.tables().sorted(),
        };
        let main = [self.live_branch(LineageId::MAIN, "main")?.name];
        let readable = |table: &Arc<TableDef>| {
            self.may_on(&main, super::Right::Read, super::Scope::Table(&table.name)).is_ok()
        };
        let mut found = Vec::new();
        for table in tables.into_iter().filter(readable) {
            let backend = self.inner.backends.require(&table.location.backend)?;
            let triggers = backend.user_triggers(&table).await?;
            found.extend(triggers.into_iter().map(|trigger| (Arc::clone(&table), trigger)));
        }
        Ok(found)
    }

    /// The registered tables of main of this name, or that match; 42P01 if there are none.
    fn matching(&self, pattern: &str) -> Result<Vec<Arc<TableDef>>> {
        let mut tables = self.tables().sorted();
        tables.retain(|table| matches(pattern, &table.name));
        if tables.is_empty() { Err(unknown(pattern)) } else { Ok(tables) }
    }

    async fn candidates_at(&self, pattern: &str, location: &str) -> Result<Vec<Candidate>> {
        let location: Location = location.parse()?;
        let backend = self.inner.backends.require(&location.backend)?;
        if backend.kind() != location.kind {
            let message = format!("backend \"{}\" is a {} backend", location.backend, backend.kind());
            return Err(Error::new(sqlstate::INVALID_PARAMETER_VALUE, message));
        }
        let asked = match &location.schema {
            Some(schema) => format!("{schema}.{}", location.table),
            None => location.table.clone(),
        };
        let found = backend.discover(&asked).await?;
        // One table at one place may get a name of its own.
        let own_name = (!location.table.contains('*') && !pattern.contains('*')).then(|| parse_name(pattern));
        let candidate = |found: Discovered| {
            let name = own_name.clone().unwrap_or_else(|| proxy_name(&found.location));
            (own_name.is_some() || matches(pattern, &name)).then(|| Candidate {
                name,
                backend: Arc::clone(&backend),
                found,
            })
        };
        Ok(found.into_iter().filter_map(candidate).collect())
    }

    /// What the backends have under this pattern, each table on the backend it is routed to. A
    /// single name that isn't there may be on exactly one other backend.
    async fn candidates(&self, pattern: &str) -> Result<Vec<Candidate>> {
        let mut routed = Vec::new();
        let mut elsewhere = Vec::new();
        for backend in self.backends() {
            for found in backend.discover(pattern).await? {
                let name = proxy_name(&found.location);
                let here = self.inner.backends.route(&name) == Some(backend.name());
                let candidate = Candidate { name, backend: Arc::clone(&backend), found };
                if here { routed.push(candidate) } else { elsewhere.push(candidate) }
            }
        }
        if !routed.is_empty() || pattern.contains('*') {
            return Ok(routed);
        }
        if elsewhere.len() > 1 {
            let places: Vec<_> = elsewhere.iter().map(|c| c.found.location.to_string()).collect();
            return Err(Error::new(
                sqlstate::UNDEFINED_TABLE,
                format!("table \"{pattern}\" is on several backends"),
            )
            .with_detail(format!("Found: {}.", places.join(", ")))
            .with_hint("Name the one you mean: epoch_register('name', 'location')."));
        }
        Ok(elsewhere)
    }

    /// Leaves out what can't be or is registered; that is an error if one table was asked for.
    fn choose(
        &self,
        pattern: &str,
        candidates: Vec<Candidate>,
        several: bool,
        key: Option<&[String]>,
    ) -> Result<Vec<Candidate>> {
        let tables = self.tables();
        let taken: Vec<Location> = self.state().all_tables().map(|t| t.location.clone()).collect();
        let mut chosen = Vec::new();
        let mut reasons = Vec::new();
        for candidate in candidates {
            let name = &candidate.name;
            let registered = tables.by_name.contains_key(name) || taken.contains(&candidate.found.location);
            if registered && !several {
                let message = format!("table \"{name}\" is already registered");
                return Err(Error::new(sqlstate::DUPLICATE_OBJECT, message));
            }
            match &candidate.found.reason {
                _ if registered => reasons.push(format!("{name}: already registered")),
                // A key given by hand may be all that is missing; `describe` judges it.
                Some(reason) if key.is_none() || !candidate.found.key.is_empty() => {
                    reasons.push(format!("{name}: {reason}"));
                }
                _ => chosen.push(candidate),
            }
        }
        if !chosen.is_empty() {
            return Ok(chosen);
        }
        if reasons.is_empty() {
            let hint = "SELECT * FROM epoch_discover('backend') lists the tables of a backend.";
            let message = format!("no table matches \"{pattern}\"");
            return Err(Error::new(sqlstate::UNDEFINED_TABLE, message).with_hint(hint));
        }
        let message = format!("no table that matches \"{pattern}\" can be registered");
        Err(Error::new(sqlstate::INVALID_FOREIGN_KEY, message).with_detail(reasons.join("; ")))
    }

    async fn register_one(&self, candidate: Candidate, key: Option<&[String]>) -> Result<Registered> {
        let Candidate { name, backend, found } = candidate;
        let schema = backend.describe(&found.location, key).await?;
        let draft = TableDef::new(TableId(0), name, found.location, schema);
        let mut tx = self.store().write().await?;
        let table = tables::insert(&mut tx, &draft).await?;
        tx.commit().await?;
        if let Err(error) = backend.install(&table).await {
            // Half an installation must not stay; if this fails too, the next operation does it.
            if backend.uninstall(&table).await.is_ok() {
                self.set_table_state(table.id, TableState::Removed).await?;
            }
            return Err(error);
        }
        self.set_table_state(table.id, TableState::Active).await?;
        let rows_estimate = backend.row_estimate(&table).await?;
        Ok(Registered { table: self.table_by_id(table.id)?, rows_estimate })
    }

    /// Stops to version a table. Refused (55000) while a branch holds changes of it that aren't in
    /// main, unless `force`.
    pub async fn unregister(&self, table: &str, force: bool) -> Result<Vec<Unregistered>> {
        self.may_all(super::Right::Admin)?;
        let _lock = self.locked_to_define().await?;
        let table = self.tables().find(table).cloned().ok_or_else(|| unknown(table))?;
        let mut drafts = self.drafts_left_by(&table);
        drafts.extend(self.revisions_of(&table));
        let children = self.children_of(&table).await?;
        if !force {
            self.check_unused(&table).await?;
            self.check_drafts(&drafts)?;
            check_unreferenced(&table, &children)?;
        }
        drafts.extend(children);
        // Tables that refer to others were made after them; types are used by tables.
        drafts.sort_by_key(|t| (t.enumeration.is_some(), std::cmp::Reverse(t.id)));
        drafts.dedup_by_key(|t| t.id);
        let backend = self.inner.backends.require(&table.location.backend)?;
        for draft in &drafts {
            self.remove_table(draft).await?;
        }
        self.set_table_state(table.id, TableState::Removing).await?;
        if let Err(error) = backend.uninstall(&table).await {
            // There it was one transaction, which did nothing: the table is versioned as before.
            let nothing = error.code() == sqlstate::LOCK_NOT_AVAILABLE;
            if nothing && table.location.kind == BackendKind::PostgreSql {
                self.set_table_state(table.id, TableState::Active).await?;
            }
            return Err(error);
        }
        self.set_table_state(table.id, TableState::Removed).await?;
        Ok(vec![Unregistered { table_name: table.name.to_string(), status: "unregistered".to_owned() }])
    }

    /// The tables made on branches that would be the only ones left of ours on the backend: they go with the
    /// last table of main.
    fn drafts_left_by(&self, table: &TableDef) -> Vec<Arc<TableDef>> {
        let state = self.state();
        let here = |t: &&Arc<TableDef>| t.location.backend == table.location.backend && t.id != table.id;
        let (drafts, others): (Vec<_>, Vec<_>) =
            state.all_tables().filter(here).cloned().partition(|t| t.location.is_draft());
        if others.is_empty() { drafts } else { Vec::new() }
    }

    /// The tables made on branches whose foreign keys lead to a table.
    async fn children_of(&self, table: &TableDef) -> Result<Vec<Arc<TableDef>>> {
        let references = self.references().await?;
        let mut found = vec![self.state().first_version(table.id)];
        let mut at = 0;
        while let Some(parent) = found.get(at).copied() {
            let state = self.state();
            let family = state.first_version(parent);
            let children = references.iter().filter(|(_, p)| *p == family).map(|(c, _)| *c);
            // What old commits have stays.
            let kept = |c: &TableId| state.table(*c).is_some_and(|t| t.retired.is_some());
            let new: Vec<TableId> = children.filter(|c| !found.contains(c) && !kept(c)).collect();
            found.extend(new);
            at += 1;
        }
        found.iter().skip(1).map(|id| self.table_by_id(*id)).collect()
    }

    /// 55000 if a branch shows one of them.
    fn check_drafts(&self, drafts: &[Arc<TableDef>]) -> Result<()> {
        let state = self.state();
        let mut holders = Vec::new();
        for branch in state.branches() {
            for table in drafts {
                if state.shows((branch.lineage, At::Working), table.id)? {
                    holders.push(format!("{} on {}", table.name, branch.name));
                }
            }
        }
        if holders.is_empty() {
            return Ok(());
        }
        holders.sort();
        let message =
            "branches have tables, or versions of tables, of their own, which would be lost with this table";
        Err(Error::new(sqlstate::OBJECT_NOT_IN_PREREQUISITE_STATE, message)
            .with_detail(format!("Tables: {}.", holders.join(", ")))
            .with_hint("Merge or drop them first, or use -f to lose them."))
    }

    async fn check_unused(&self, table: &TableDef) -> Result<()> {
        let mut branches: Vec<Branch> = self.state().branches().cloned().collect();
        branches.retain(|b| b.lineage != LineageId::MAIN);
        branches.sort_by(|a, b| a.name.cmp(&b.name));
        let mut holders = Vec::new();
        for branch in branches {
            if self.holds_changes(&branch, table).await? {
                holders.push(branch.name);
            }
        }
        if holders.is_empty() {
            return Ok(());
        }
        Err(Error::new(
            sqlstate::OBJECT_NOT_IN_PREREQUISITE_STATE,
            format!("branches hold changes of table \"{}\" that are not in main", table.name),
        )
        .with_detail(format!("Branches: {}.", holders.join(", ")))
        .with_hint("Merge or delete them first, or use -f to lose these changes."))
    }

    /// Whether a branch has commits that main doesn't have, or working changes, on a table.
    async fn holds_changes(&self, branch: &Branch, table: &TableDef) -> Result<bool> {
        let main = self.live_branch(LineageId::MAIN, "main")?;
        let (head, main) = (branch.head.clone(), main.head);
        let committed = self.with_graph(|graph| {
            let (Some(head), Some(main)) = (graph.index(&head), graph.index(&main)) else { return Ok(false) };
            Ok(graph.range(&[head], &[main]).any(|i| graph.tables(i).contains(&table.id)))
        });
        if committed.await? {
            return Ok(true);
        }
        let tables =
            self.tables_between(&Named::Branch(branch.clone()), &Named::Working(branch.clone())).await?;
        Ok(tables.iter().any(|t| t.id == table.id))
    }

    pub(super) async fn set_table_state(&self, table: TableId, state: TableState) -> Result<()> {
        let mut tx = self.store().write().await?;
        tables::set_state(&mut tx, table, state).await?;
        tx.commit().await?;
        self.reload().await
    }
}

/// 55000 if a table made on a branch refers to the table.
fn check_unreferenced(table: &TableDef, children: &[Arc<TableDef>]) -> Result<()> {
    let Some(child) = children.first() else { return Ok(()) };
    let message =
        format!("table \"{}\", which was made on a branch, refers to table \"{}\"", child.name, table.name);
    Err(Error::new(sqlstate::OBJECT_NOT_IN_PREREQUISITE_STATE, message)
        .with_hint("Merge it first, or use -f to lose it."))
}

fn unknown(name: &str) -> Error {
    Error::new(sqlstate::UNDEFINED_TABLE, format!("table \"{name}\" is not registered"))
        .with_hint("SELECT * FROM epoch.tables lists the registered ones; epoch_register adds one.")
}

pub(super) fn parse_name(text: &str) -> TableName {
    match text.split_once('.') {
        Some((schema, name)) => TableName { schema: schema.to_owned(), name: name.to_owned() },
        None => TableName::public(text),
    }
}
