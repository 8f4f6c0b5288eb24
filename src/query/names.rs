//! What names mean in a session: one catalog query per set of new names, remembered until something
//! may have changed it.

mod asked;
mod bodies;
mod facts;
mod ours;
mod own_types;
mod proof;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use epoch_adapter::{TableDef, TableId};
use epoch_adapter_postgres::layout;

use asked::Asked;
pub(super) use bodies::{Body, Returns, TYPED};
pub(super) use epoch_adapter_postgres::runs_text;
pub(super) use facts::Facts;
use ours::draft;
pub(super) use ours::{Ours, Place, location, registered};
pub(super) use own_types::{TypeMeaning, differ as types_differ};
use proof::Name;

use super::catalogs;
use super::execute::Prepared;
use super::parse::{Attribute, Isolation, Role, Statement, TableRef};
use crate::operations::Tables;
use crate::{Error, Result, sqlstate};

/// The session's own connection to PostgreSQL, for what only the server knows.
#[async_trait]
pub trait Catalog: Send {
    /// Runs one text (it may hold several statements, unless in a batch) and returns the rows of all
    /// of them in text form. Nothing of it reaches the client.
    async fn query(&mut self, sql: &str) -> Result<Vec<Vec<Option<String>>>>;

    /// Whether a transaction block is open, so that a failing query would end it.
    fn in_transaction(&self) -> bool;

    /// Whether statements of the client that aren't followed by a Sync yet would be undone if a query
    /// failed, and [`Catalog::query`] can take one statement only.
    fn in_batch(&self) -> bool {
        self.in_transaction()
    }
}

/// How long a name is taken to mean what it meant, as other sessions may run DDL.
const TRUSTED: Duration = Duration::from_secs(30);

/// How many statements of one name are remembered until it is known which of them there is.
const MOST_PREPARED: usize = 16;

/// What a table's name means.
#[derive(Debug, Clone, PartialEq)]
pub enum Meaning {
    /// A registered table of the session's backend.
    Registered(Arc<TableDef>),
    /// A table of the session.
    Temporary,
    /// A system catalog.
    System,
    /// Any other relation. The flags of what it reads are checked at the time of use.
    Other {
        /// `r`, `v`, `m`, `p`, `f` …
        kind: char,
        /// Its schema and name.
        place: Place,
        /// The relations that reading it reads too, as (schema, name).
        reads: Vec<(String, String)>,
        /// A function that it calls and that may read anything.
        calls: Option<String>,
        /// The query of a view, as its text in this session.
        definition: Option<String>,
        /// It is the session's own.
        temporary: bool,
    },
    /// In a schema of ours.
    Internal,
    /// Nothing on this backend.
    Missing,
    /// A table of main that isn't there for the session's ref.
    Elsewhere,
}

/// What is wrong with calling a function on a branch; `None` if nothing is.
type Verdict = Option<String>;

/// What names mean in one session.
#[derive(Debug, Default)]
pub struct NameCache {
    generation: u64,
    version: u64,
    tables: HashMap<(Option<String>, String), (Instant, Meaning)>,
    functions: HashMap<(Option<String>, String), (Instant, Function)>,
    /// Bodies of functions, as far as they were asked.
    bodies: HashMap<Name, (Instant, bodies::Found)>,
    operators: HashMap<String, (Instant, Operator)>,
    types: HashMap<(Option<String>, String), (Instant, Verdict)>,
    /// The schemas in which names without one are looked for, if that was asked.
    path: Option<Vec<String>>,
    /// Those that may be types that branches made.
    own_types: HashMap<(Option<String>, String), (Instant, TypeMeaning)>,
    /// Functions that take a row and may be called like a column of it.
    attributes: HashMap<String, (Instant, Verdict)>,
    /// What the server says of the columns of registered tables.
    facts: HashMap<TableId, Arc<Facts>>,
    /// Registered tables that are partitioned.
    partitioned: HashSet<TableId>,
    /// Names may mean something else when the open transaction ends, or already do.
    fragile: bool,
    /// The repository's generation when the open transaction began, if that is known.
    began: Option<Option<u64>>,
    /// Whether the open transaction is SERIALIZABLE, and whether the session's are that don't say.
    serializable: (Option<bool>, Option<bool>),
    /// Statements prepared with PREPARE on a branch, by name: the last one, and those that have its name
    /// if it failed.
    prepared: HashMap<String, Vec<Prepared>>,
    /// Cursors of the open transaction that were declared on a branch, and the tables whose rows they lock.
    cursors: HashMap<String, Vec<TableId>>,
    /// What is different from the server's catalogs, in a state of the repository.
    catalogs: Option<(String, Instant, Arc<catalogs::Map>)>,
    /// Whether names of PostgreSQL's own may mean others: another schema is searched first.
    overlaid: bool,
    /// The queries of the server's own views, by schema and name.
    system_views: HashMap<(String, String), Arc<str>>,
    /// On branches, tables that aren't versioned may be written to (`epoch.unversioned_writes`).
    unversioned: bool,
    /// Branches are among the databases (`epoch.show_branch_databases`).
    databases: bool,
}

/// What is known of an operator's name.
#[derive(Debug, Default)]
struct Operator {
    verdict: Verdict,
    /// Whether one of them is neither PostgreSQL's nor an extension's.
    own: bool,
}

/// What a call of a function may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Calls {
    /// Of an aggregate, of a window function, of one that returns many rows.
    pub placed: bool,
    /// Of a function that is neither PostgreSQL's nor an extension's.
    pub own: bool,
}

/// What is known of a function's name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Function {
    /// Why it can't be called on a branch.
    pub unsafe_because: Option<String>,
    /// Whether there is one.
    pub exists: bool,
    /// Whether a call may return something else each time.
    pub volatile: bool,
    /// What a call of it may be.
    pub(super) calls: Calls,
    /// What those that can't be called use; `None` if one of them may touch a table by itself.
    needs: Option<proof::Needs>,
}

impl NameCache {
    /// Forgets everything: after DDL, `SET search_path`, DISCARD, a switch of the role.
    pub fn invalidate(&mut self) {
        self.version += 1;
        // On main, what has their names may become something else unseen.
        self.prepared.values_mut().flatten().for_each(|prepared| prepared.confirmed = false);
        self.tables.clear();
        self.functions.clear();
        self.bodies.clear();
        self.operators.clear();
        self.types.clear();
        self.own_types.clear();
        self.path = None;
        self.attributes.clear();
        self.catalogs = None;
        // Their texts depend on the search path.
        self.system_views.clear();
    }

    /// Whether names are looked for in a schema, as far as that was asked: else in `public` alone.
    pub fn finds(&self, schema: &str) -> bool {
        match &self.path {
            Some(path) => path.iter().any(|s| s == schema),
            None => schema == "public",
        }
    }

    /// Whether tables that aren't versioned may be written to on branches; plans say so from now on.
    pub fn allow_unversioned(&mut self, allowed: bool) {
        if self.unversioned != allowed {
            self.unversioned = allowed;
            self.version += 1;
        }
    }

    /// Whether branches are among the databases that catalogs list.
    pub fn show_databases(&mut self, shown: bool) {
        if self.databases != shown {
            self.databases = shown;
            self.version += 1;
        }
    }

    /// Whether branches are among the databases that catalogs list.
    pub fn shows_databases(&self) -> bool {
        self.databases
    }

    /// Whether tables that aren't versioned may be written to on branches.
    pub(super) fn writes_unversioned(&self) -> bool {
        self.unversioned
    }

    /// What is different from the server's catalogs, if it was asked in this state.
    pub(super) fn catalogs(&self, state: &str) -> Option<Arc<catalogs::Map>> {
        let known = self.catalogs.as_ref()?;
        (known.0 == state && known.1.elapsed() < TRUSTED).then(|| Arc::clone(&known.2))
    }

    pub(super) fn keep_catalogs(&mut self, state: String, map: Arc<catalogs::Map>) {
        self.catalogs = Some((state, Instant::now(), map));
    }

    /// The query of a view of the server's own, if it was asked.
    pub(super) fn system_view(&self, schema: &str, name: &str) -> Option<Arc<str>> {
        self.system_views.get(&(schema.to_owned(), name.to_owned())).cloned()
    }

    pub(super) fn keep_system_view(&mut self, schema: &str, name: &str, query: Arc<str>) {
        self.system_views.insert((schema.to_owned(), name.to_owned()), query);
    }

    /// Whether names may mean something else when the open transaction, or a part of it, ends. Then what was
    /// planned holds for no later execution.
    pub fn is_fragile(&self) -> bool {
        self.fragile
    }

    /// Whether a schema is searched before PostgreSQL's own, as far as that was asked.
    pub(super) fn is_overlaid(&self) -> bool {
        self.overlaid
    }

    /// Changes when names may mean something else.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// To be called when the server says that no transaction is open (ReadyForQuery `I`).
    pub fn settle(&mut self) {
        self.began = None;
        self.serializable.0 = None;
        self.cursors.clear();
        if std::mem::take(&mut self.fragile) {
            self.invalidate();
        }
    }

    /// A text is planned at this generation of the repository, or inside of a transaction (`None`): notes
    /// what there was when the transaction began.
    pub(super) fn begin(&mut self, generation: Option<u64>) {
        self.began.get_or_insert(generation);
    }

    /// Whether the repository is what it was when the open transaction began.
    pub(super) fn began_at(&self, generation: u64) -> bool {
        self.began == Some(Some(generation))
    }

    /// A transaction begins, or something says how it or later ones are isolated.
    pub(super) fn isolation(&mut self, isolation: Isolation) {
        match isolation {
            Isolation::Begin(own) => self.serializable.0 = own,
            Isolation::Set(own) => self.serializable.0 = Some(own),
            Isolation::Other => self.serializable = (None, None),
        }
        // Plans of other transactions may not do for this one.
        let same = matches!(isolation, Isolation::Begin(None | Some(false)) | Isolation::Set(false));
        self.version += u64::from(!same);
    }

    /// Whether what is planned runs in a SERIALIZABLE transaction.
    pub(super) async fn is_serializable(&mut self, catalog: &mut dyn Catalog) -> Result<bool> {
        match self.serializable {
            (Some(own), _) => return Ok(own),
            (None, Some(default)) => return Ok(default),
            (None, None) => {}
        }
        const ASK: &str = "SELECT pg_catalog.current_setting('transaction_isolation'), \
            pg_catalog.current_setting('default_transaction_isolation')";
        let rows = catalog.query(ASK).await?;
        let is = |i: usize| {
            let cell = rows.first().and_then(|row| row.get(i)).and_then(Option::as_deref);
            Some(cell == Some("serializable"))
        };
        self.serializable = (is(0).filter(|_| catalog.in_transaction()), is(1));
        Ok(is(0) == Some(true))
    }

    /// Something in the open transaction changes what names mean: nothing is remembered until
    /// [`NameCache::settle`].
    pub(super) fn unsettle(&mut self) {
        self.fragile = true;
        self.serializable = (None, None);
        self.invalidate();
    }

    /// A statement is being prepared, unless the server refuses it. Plans of its EXECUTE don't hold
    /// any more.
    pub(super) fn prepare(&mut self, name: &str, mut prepared: Prepared) {
        self.version += 1;
        prepared.names = self.version;
        let same = self.prepared.entry(name.to_owned()).or_default();
        if same.len() == MOST_PREPARED {
            same.remove(0);
        }
        same.push(prepared);
    }

    /// What a prepared statement may be, the last PREPARE last.
    pub(super) fn prepared(&self, name: &str) -> &[Prepared] {
        self.prepared.get(name).map_or(&[], Vec::as_slice)
    }

    /// What a prepared statement is, as the server knows; `None`: nothing that was prepared on a branch.
    pub(super) fn settle_prepared(&mut self, name: &str, prepared: Option<Prepared>) {
        match prepared {
            Some(prepared) => self.prepared.insert(name.to_owned(), vec![prepared]),
            None => self.prepared.remove(name),
        };
    }

    /// A cursor is being declared. If one of its name may be there already, what both lock counts.
    pub(super) fn declare(&mut self, name: &str, mut tables: Vec<TableId>) {
        if let Some(before) = self.cursors.get(name) {
            tables.retain(|table| before.contains(table));
        }
        self.cursors.insert(name.to_owned(), tables);
    }

    /// The tables whose rows a cursor locks, if it is known.
    pub(super) fn cursor(&self, name: &str) -> Option<&[TableId]> {
        self.cursors.get(name).map(Vec::as_slice)
    }

    /// Whether statements were prepared with PREPARE on a branch: then EXECUTE isn't cleared by the
    /// gate on main.
    pub fn has_prepared(&self) -> bool {
        !self.prepared.is_empty()
    }

    pub(super) fn forget_prepared(&mut self) {
        self.prepared.clear();
    }

    /// The meaning of a table's name, after [`NameCache::learn`].
    pub(super) fn table(&self, table: &TableRef) -> Meaning {
        let found = self.tables.get(&(table.schema.clone(), table.name.clone()));
        found.map_or(Meaning::Missing, |(_, meaning)| meaning.clone())
    }

    /// Whether a registered table is partitioned, after [`NameCache::learn`].
    pub(super) fn is_partitioned(&self, table: &TableDef) -> bool {
        self.partitioned.contains(&table.id)
    }

    /// What the server says of a registered table's columns, after [`NameCache::learn`].
    pub(super) fn facts(&self, table: &TableDef) -> Option<&Arc<Facts>> {
        self.facts.get(&table.id)
    }

    pub(super) fn function(&self, schema: Option<&str>, name: &str) -> Option<&Function> {
        self.functions.get(&(schema.map(str::to_owned), name.to_owned())).map(|(_, f)| f)
    }

    pub(super) fn operator(&self, name: &str) -> Option<&str> {
        self.operators.get(name).and_then(|(_, operator)| operator.verdict.as_deref())
    }

    /// Whether an operator of this name is neither PostgreSQL's nor an extension's.
    pub(super) fn is_own_operator(&self, name: &str) -> bool {
        self.operators.get(name).is_some_and(|(_, operator)| operator.own)
    }

    /// A function that a value of the type may call: in a domain's check, or in a cast.
    pub(super) fn type_calls(&self, name: &(Option<String>, String)) -> Option<&str> {
        self.types.get(name).and_then(|(_, verdict)| verdict.as_deref())
    }

    /// Why a name behind a dot may be that of a function that isn't harmless.
    pub(super) fn attribute(&self, attribute: &Attribute) -> Option<&str> {
        let name = &attribute.name;
        if attribute.of_row {
            return self.attributes.get(name).and_then(|(_, verdict)| verdict.as_deref());
        }
        let found = self.function(None, name)?;
        let harmful = proof::is_harmful(name).then_some("internal");
        found.unsafe_because.as_deref().or(harmful)
    }

    /// Learns what the names of `statements` mean, with one query if any is new.
    pub(super) async fn learn(
        &mut self,
        statements: &[&Statement],
        tables: &Tables,
        backend: &str,
        generation: u64,
        catalog: &mut dyn Catalog,
    ) -> Result<()> {
        if self.generation != generation || self.fragile {
            self.invalidate();
            self.generation = generation;
        }
        let now = Instant::now();
        let fresh = |at: &Instant| now.duration_since(*at) < TRUSTED;
        let mut asked = Asked::default();
        for statement in statements {
            for table in &statement.tables {
                let key = (table.schema.clone(), table.name.clone());
                // What wasn't there may have been made since; what hides a versioned table may have gone.
                let known = |(at, meaning): &(Instant, Meaning)| match meaning {
                    Meaning::Registered(_) => fresh(at),
                    Meaning::Missing | Meaning::Elsewhere => false,
                    // A versioned table may have become a child of it.
                    Meaning::Other { .. } if self.unversioned && table.role == Role::Target => false,
                    _ => {
                        let mut ours = tables.by_id.values().chain(tables.own_views());
                        fresh(at) && !ours.any(|t| t.location.table == table.name)
                    }
                };
                if !self.tables.get(&key).is_some_and(known) && !asked.tables.contains(&key) {
                    asked.tables.push(key);
                }
            }
            for function in &statement.functions {
                let key = (function.schema.clone(), function.name.clone());
                let ours = super::parse::is_ours(function);
                if !ours
                    && !self.functions.get(&key).is_some_and(|(at, _)| fresh(at))
                    && !asked.functions.contains(&key)
                {
                    asked.functions.push(key);
                }
            }
            for Attribute { name, of_row } in &statement.attributes {
                let key = (None, name.clone());
                if *of_row {
                    if !self.attributes.get(name).is_some_and(|(at, _)| fresh(at))
                        && !asked.attributes.contains(name)
                    {
                        asked.attributes.push(name.clone());
                    }
                } else if !self.functions.get(&key).is_some_and(|(at, _)| fresh(at))
                    && !asked.functions.contains(&key)
                {
                    asked.functions.push(key);
                }
            }
            for operator in &statement.operators {
                if !self.operators.get(operator).is_some_and(|(at, _)| fresh(at))
                    && !asked.operators.contains(operator)
                {
                    asked.operators.push(operator.clone());
                }
            }
            for name in &statement.types {
                if !self.types.get(name).is_some_and(|(at, _)| fresh(at)) && !asked.types.contains(name) {
                    asked.types.push(name.clone());
                }
            }
        }
        self.learn_types(statements, tables, backend, now, catalog).await?;
        if asked.is_empty() {
            return Ok(());
        }
        let ours = Ours::new(tables, backend);
        self.ask(&asked, &ours, now, catalog).await?;
        self.prove(&asked.functions, &ours, now, catalog).await
    }

    async fn ask(
        &mut self,
        asked: &Asked,
        ours: &Ours,
        now: Instant,
        catalog: &mut dyn Catalog,
    ) -> Result<()> {
        let rows = catalog.query(&asked.sql(ours.has_drafts())).await?;
        let path = search_path(&rows)?;
        if !path.is_empty() {
            self.path = Some(path.clone());
        }
        // Nothing is known before all of it is.
        let more = asked.more(&rows, ours, &path)?;
        let rest = if more.is_empty() { Vec::new() } else { catalog.query(&more.more_sql()).await? };
        if let Some(first) = path.iter().find(|schema| !schema.starts_with("pg_temp")) {
            self.overlaid = first != "pg_catalog";
        }
        for key in &asked.functions {
            self.functions.insert(key.clone(), (now, Function::default()));
        }
        for operator in &asked.operators {
            self.operators.insert(operator.clone(), (now, Operator::default()));
        }
        for name in &asked.types {
            self.types.insert(name.clone(), (now, None));
        }
        for name in &asked.attributes {
            self.attributes.insert(name.clone(), (now, None));
        }
        for row in rows {
            self.note(asked, &row, ours, &path, now)?;
        }
        for row in rest {
            self.note(&more, &row, ours, &path, now)?;
        }
        self.learn_facts(asked, catalog).await
    }

    /// Of tables made on branches, which the server knows under other names.
    async fn learn_facts(&mut self, asked: &Asked, catalog: &mut dyn Catalog) -> Result<()> {
        let draft = |key: &Name| match self.tables.get(key) {
            Some((_, Meaning::Registered(table))) if table.location.is_draft() => Some(table.clone()),
            _ => None,
        };
        let mut drafts: Vec<Arc<TableDef>> = asked.tables.iter().filter_map(draft).collect();
        drafts.sort_by_key(|table| table.id);
        drafts.dedup_by_key(|table| table.id);
        if drafts.is_empty() {
            return Ok(());
        }
        for row in catalog.query(&facts::sql(&drafts)).await? {
            let cell = |i: usize| row.get(i).and_then(Option::as_deref);
            let index: Option<usize> = cell(0).and_then(|t| t.parse().ok());
            if let (Some(table), Some(json)) = (index.and_then(|i| drafts.get(i)), cell(1)) {
                self.facts.insert(table.id, Arc::new(Facts::read(json)?));
            }
        }
        Ok(())
    }

    /// Clears functions whose bodies touch no table, by themselves or by what they use.
    async fn prove(
        &mut self,
        functions: &[Name],
        ours: &Ours,
        now: Instant,
        catalog: &mut dyn Catalog,
    ) -> Result<()> {
        let mut open: HashSet<Name> =
            functions.iter().filter(|name| self.provable(name).is_some()).cloned().collect();
        let mut next: Vec<Name> = open.iter().cloned().collect();
        for _ in 0..DEEPEST {
            let asked = self.unknown(&next, now);
            if asked.is_empty() {
                break;
            }
            self.ask(&asked, ours, now, catalog).await?;
            next = asked.functions.into_iter().filter(|name| self.provable(name).is_some()).collect();
            open.extend(next.iter().cloned());
        }
        // Functions that call each other are harmless unless one of them isn't.
        while let Some(bad) = open.iter().find(|name| !self.holds(name, &open, ours)).cloned() {
            open.remove(&bad);
        }
        for name in &open {
            if let Some((_, function)) = self.functions.get_mut(name) {
                function.unsafe_because = None;
            }
        }
        Ok(())
    }

    fn provable(&self, name: &Name) -> Option<&proof::Needs> {
        let (_, function) = self.functions.get(name)?;
        function.unsafe_because.as_ref().and(function.needs.as_ref())
    }

    /// What these functions use and nothing is known of yet.
    fn unknown(&self, functions: &[Name], now: Instant) -> Asked {
        let fresh = |at: &Instant| now.duration_since(*at) < TRUSTED;
        let mut asked = Asked::default();
        for needs in functions.iter().filter_map(|name| self.provable(name)) {
            let unknown = |name: &&Name| !self.functions.get(*name).is_some_and(|(at, _)| fresh(at));
            asked.functions.extend(needs.functions.iter().filter(unknown).cloned());
            let unknown = |name: &&String| !self.operators.get(*name).is_some_and(|(at, _)| fresh(at));
            asked.operators.extend(needs.operators.iter().filter(unknown).cloned());
            let unknown = |name: &&Name| !self.types.get(*name).is_some_and(|(at, _)| fresh(at));
            asked.types.extend(needs.types.iter().filter(unknown).cloned());
        }
        asked.dedup();
        asked
    }

    /// Whether all that a function uses is harmless, given that those in `open` are.
    fn holds(&self, name: &Name, open: &HashSet<Name>, ours: &Ours) -> bool {
        let Some(needs) = self.provable(name) else { return false };
        let function = |used: &Name| {
            let safe = |(_, f): &(Instant, Function)| f.unsafe_because.is_none() || open.contains(used);
            !proof::is_harmful(&used.1) && self.functions.get(used).is_some_and(safe)
        };
        needs.functions.iter().all(function)
            && needs.operators.iter().all(|o| self.operators.get(o).is_some_and(|(_, o)| o.verdict.is_none()))
            && needs.types.iter().all(|t| {
                // By its name, a function of main's means main's type.
                !ours.has_type(&t.1) && self.types.get(t).is_some_and(|(_, v)| v.is_none())
            })
    }

    fn note(
        &mut self,
        asked: &Asked,
        row: &[Option<String>],
        ours: &Ours,
        path: &[String],
        now: Instant,
    ) -> Result<()> {
        let cell = |i: usize| row.get(i).and_then(Option::as_deref);
        let unexpected = || Error::internal("the server's catalog answered in an unexpected form");
        let index: usize = cell(1).and_then(|t| t.parse().ok()).ok_or_else(unexpected)?;
        match cell(0) {
            Some("t") => {
                let key = asked.tables.get(index).ok_or_else(unexpected)?;
                let meaning = meaning(key, row, ours, path)?;
                if let Meaning::Registered(table) = &meaning
                    && !table.location.is_draft()
                {
                    if cell(4) == Some("p") {
                        self.partitioned.insert(table.id);
                    }
                    if let Some(json) = cell(9) {
                        self.facts.insert(table.id, Arc::new(Facts::read(json)?));
                    }
                }
                self.tables.insert(key.clone(), (now, meaning));
            }
            Some("s") => {}
            Some("f") => {
                let key = asked.functions.get(index).ok_or_else(unexpected)?;
                let found =
                    &mut self.functions.entry(key.clone()).or_insert_with(|| (now, Function::default())).1;
                found.exists = true;
                found.volatile |= cell(2) == Some("v");
                found.calls.placed |= cell(7) == Some("t");
                found.calls.own |= cell(8) == Some("t");
                if let Some(language) = cell(3) {
                    // All that have the name must be proven.
                    let needs = cell(4).and_then(|body| proof::needs(language, body, cell(5), cell(6)));
                    let first = found.unsafe_because.is_none();
                    found.needs = match (first, found.needs.take(), needs) {
                        (true, _, needs) => needs,
                        (false, Some(known), Some(more)) => Some(known.and(more)),
                        _ => None,
                    };
                    found.unsafe_because.get_or_insert_with(|| language.to_owned());
                }
            }
            Some("o") => {
                let operator = asked.operators.get(index).ok_or_else(unexpected)?;
                let found = Operator { verdict: cell(2).map(str::to_owned), own: true };
                self.operators.insert(operator.clone(), (now, found));
            }
            Some("y") => {
                let name = asked.types.get(index).ok_or_else(unexpected)?;
                self.types.insert(name.clone(), (now, cell(2).map(str::to_owned)));
            }
            Some("a") => {
                let name = asked.attributes.get(index).ok_or_else(unexpected)?;
                self.attributes.insert(name.clone(), (now, cell(2).map(str::to_owned)));
            }
            _ => return Err(unexpected()),
        }
        Ok(())
    }
}

impl Asked {
    /// What of it has to be asked more of, from the answer to [`Asked::sql`].
    fn more(&self, rows: &[Vec<Option<String>>], ours: &Ours, path: &[String]) -> Result<Self> {
        let mut more = Self::default();
        for row in rows {
            let cell = |i: usize| row.get(i).and_then(Option::as_deref);
            let Some(index) = cell(1).and_then(|t| t.parse::<usize>().ok()) else { continue };
            match cell(0) {
                Some("t") => {
                    let Some(key) = self.tables.get(index) else { continue };
                    let own = draft(key, cell(2), ours, path).is_some();
                    if !own && matches!(meaning(key, row, ours, path)?, Meaning::Other { .. }) {
                        more.tables.push(key.clone());
                    }
                }
                Some("o") => more.operators.extend(self.operators.get(index).cloned()),
                _ => {}
            }
        }
        Ok(more)
    }
}

/// How far functions are followed.
const DEEPEST: usize = 16;

/// The schemas in which names without one are looked for, if that was asked.
fn search_path(rows: &[Vec<Option<String>>]) -> Result<Vec<String>> {
    let row = rows.iter().find(|row| row.first().is_some_and(|kind| kind.as_deref() == Some("s")));
    match row.and_then(|row| row.get(2)).and_then(Option::as_deref) {
        None => Ok(Vec::new()),
        Some(json) => serde_json::from_str(json).map_err(|e| {
            Error::internal(format!("the server's catalog answered in an unexpected form: {e}"))
        }),
    }
}

/// What a view is that a branch defined.
fn own_view(table: &TableDef) -> Option<Meaning> {
    let view = table.view.as_ref()?;
    let query = view.query.as_ref()?;
    let definition = match view.is_barrier() {
        true => format!("SELECT * FROM ({query}\n) AS {} OFFSET 0", layout::quote(&table.name.name)),
        false => query.clone(),
    };
    Some(Meaning::Other {
        kind: 'v',
        place: location(table),
        reads: view.reaches.clone(),
        // Looked for where the query is put in its place.
        calls: None,
        definition: Some(definition),
        temporary: false,
    })
}

fn meaning(
    key: &(Option<String>, String),
    row: &[Option<String>],
    ours: &Ours,
    path: &[String],
) -> Result<Meaning> {
    let cell = |i: usize| row.get(i).and_then(Option::as_deref);
    if let Some(table) = draft(key, cell(2), ours, path) {
        return Ok(own_view(table).unwrap_or_else(|| Meaning::Registered(table.clone())));
    }
    let (Some(schema), Some(name)) = (cell(2), cell(3)) else { return Ok(Meaning::Missing) };
    let temporary = cell(5) == Some("t");
    // A temporary view may read, and write to, any table.
    if temporary && cell(4) != Some("v") {
        return Ok(Meaning::Temporary);
    }
    let place = (schema.to_owned(), name.to_owned());
    if let Some(table) = ours.get(&place) {
        return Ok(Meaning::Registered(table.clone()));
    }
    if ours.lacks(&place) {
        return Ok(Meaning::Elsewhere);
    }
    if matches!(schema, "pg_catalog" | "information_schema" | "pg_toast") {
        return Ok(Meaning::System);
    }
    if schema == layout::SCHEMA || schema.starts_with("epoch_") {
        return Ok(Meaning::Internal);
    }
    let kind = cell(4).and_then(|k| k.chars().next()).unwrap_or('?');
    let reads: Vec<(String, String)> = match cell(6) {
        Some(json) => serde_json::from_str(json).map_err(|e| {
            Error::internal(format!("the server's catalog answered in an unexpected form: {e}"))
        })?,
        None => Vec::new(),
    };
    Ok(Meaning::Other {
        kind,
        place,
        reads,
        calls: cell(7).map(str::to_owned),
        definition: cell(8).map(str::to_owned),
        temporary,
    })
}

/// 42501 for objects of ours.
pub(super) fn internal(name: &str) -> Error {
    Error::new(
        sqlstate::INSUFFICIENT_PRIVILEGE,
        format!("relation \"{name}\" belongs to the storage of branches"),
    )
    .with_hint(
        "Branches, history and diffs are shown by the relations of schema epoch and the functions epoch_….",
    )
}
