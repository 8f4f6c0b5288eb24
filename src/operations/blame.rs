//! Which commits changed the rows of a table.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::ControlFlow;
use std::sync::Arc;

use epoch_adapter::{
    At, ChangeStream, Error, LineageId, Ordinal, Result, Row, RowChange, Segment, TableDef, TableId, Value,
    Wanted,
};
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt, stream};

use super::resolve::Named;
use super::state::Spot;
use super::{Checkout, CommitSummary, DiffViews, Repository, RowVersion, Scope};
use crate::metadata::commits;

/// Commits that are read at once.
const CHUNK: usize = 500;

/// Changes of a table's rows with their commits, as they are read.
pub type VersionStream = BoxStream<'static, Result<RowVersion>>;

/// A commit that may have changed a table, with its parents.
struct Candidate {
    hash: String,
    parents: Vec<String>,
}

/// A commit on the way back.
struct Ancestor {
    hash: String,
    parents: Vec<String>,
    /// Whether the table differs from the first parent's.
    changed: bool,
}

/// The keys that history is asked of.
struct Keyed {
    wanted: Wanted,
    /// Where they were changed, if that is known.
    changed: Option<HashSet<(LineageId, Ordinal)>>,
    /// Of one key, what the row was up to the ordinals at which it was changed, if that is known.
    images: HashMap<LineageId, BTreeMap<Ordinal, Option<Row>>>,
}

impl Keyed {
    fn may_be_in(&self, segments: &[Segment]) -> bool {
        let Some(changed) = &self.changed else { return true };
        segments.iter().any(|s| {
            let upto = match s.upto {
                At::Working => return true,
                At::Ordinal(ordinal) => ordinal,
            };
            changed.iter().any(|(lineage, at)| *lineage == s.lineage && (s.after + 1..=upto).contains(at))
        })
    }

    /// What a stretch of one lineage's history did to the one key, if images tell it: they tell what the row was, not what it is now.
    fn change_in(&self, table: &TableDef, views: &DiffViews) -> Option<Option<RowChange>> {
        let [Segment { lineage, after, upto }] = views.segments.as_slice() else { return None };
        let (from, to) = (&views.from, &views.to);
        let along = [from, to].iter().all(|view| view.layer.lineage == *lineage)
            && (from.at, to.at) == (At::Ordinal(*after), *upto);
        let (true, At::Ordinal(upto)) = (along, upto) else { return None };
        let images = self.images.get(lineage)?;
        let at = |ordinal: &Ordinal| images.range(ordinal + 1..).next().map(|(_, row)| row.clone());
        let (before, after) = (at(after)?, at(upto)?);
        if before == after {
            return Some(None);
        }
        let key = table.schema.key_of(after.as_ref().or(before.as_ref())?);
        Some(Some(RowChange { key, before, after }))
    }
}

/// The rows that are as a commit shows them. Each row is open at one commit at a time.
enum Keys {
    /// All but these.
    Except(HashSet<Row>),
    Only(HashSet<Row>),
}

impl Default for Keys {
    fn default() -> Self {
        Self::Except(HashSet::new())
    }
}

impl Keys {
    fn none() -> Self {
        Self::Only(HashSet::new())
    }

    /// Takes a key out; false if it wasn't there.
    fn take(&mut self, key: &Row) -> bool {
        match self {
            Self::Except(gone) => gone.insert(key.clone()),
            Self::Only(keys) => keys.remove(key),
        }
    }

    fn join(&mut self, other: Self) {
        match (&mut *self, other) {
            (Self::Only(keys), Self::Only(more)) => keys.extend(more),
            (Self::Except(gone), Self::Only(more)) => gone.retain(|key| !more.contains(key)),
            (Self::Only(keys), Self::Except(mut gone)) => {
                gone.retain(|key| !keys.contains(key));
                *self = Self::Except(gone);
            }
            (Self::Except(gone), Self::Except(also)) => gone.retain(|key| also.contains(key)),
        }
    }
}

impl Repository {
    /// 42501 unless a table may be read at a ref under every name that it had up to there.
    async fn may_read_all(&self, named: &Named, table: &TableDef) -> Result<()> {
        let mut names: Vec<_> = self.state().versions(table.id).iter().map(|t| t.name.clone()).collect();
        names.dedup();
        for name in names {
            self.may_read(named, Scope::Table(&name)).await?;
        }
        Ok(())
    }

    /// Whether a branch has made, altered or dropped tables.
    pub fn has_versions(&self) -> bool {
        self.state().has_made()
    }

    /// Every change of a table's rows (of wanted keys), newest first, as of a ref (HEAD for none), each commit's by
    /// key. Of a merge only what differs from all its parents is its own. Of versions of a table it is all of them,
    /// unless one key is wanted.
    pub async fn row_history(
        &self,
        checkout: &Checkout,
        table: &Arc<TableDef>,
        wanted: Wanted,
        spec: Option<&str>,
    ) -> Result<VersionStream> {
        self.refresh().await?;
        let named = self.named(spec.unwrap_or("HEAD"), Some(checkout)).await?;
        self.may_read_all(&named, table).await?;
        let commits = self.changers(named.hash(), table).await?;
        let limit = wanted.limit.unwrap_or(usize::MAX);
        let keyed = Arc::new(self.keyed(table, wanted).await?);
        if keyed.changed.as_ref().is_some_and(HashSet::is_empty) {
            return Ok(stream::empty().boxed());
        }
        if !keyed.images.is_empty() {
            let versions = self.versions_of_key(commits, table, &keyed, limit).await?;
            return Ok(stream::iter(versions.into_iter().map(Ok)).boxed());
        }
        let (repository, table) = (self.clone(), Arc::clone(table));
        let of_commit = move |commit: Candidate| {
            let (repository, table, keyed) = (repository.clone(), Arc::clone(&table), Arc::clone(&keyed));
            async move { repository.versions_of(commit, &table, &keyed).await }
        };
        let versions = stream::iter(commits.into_iter().map(Ok)).and_then(of_commit).try_flatten();
        Ok(versions.take(limit).boxed())
    }

    /// Tells which commit changed each row last, newest first, as of a ref (HEAD for none), until nobody wants to know
    /// more. Rows that no commit changed were there before the first one. Of versions of a table it may be more rows
    /// than are wanted.
    pub async fn blame(
        &self,
        checkout: &Checkout,
        table: &TableDef,
        wanted: Wanted,
        spec: Option<&str>,
        each: &mut (dyn FnMut(&Row, &Arc<CommitSummary>) -> ControlFlow<()> + Send),
    ) -> Result<()> {
        self.refresh().await?;
        let named = self.named(spec.unwrap_or("HEAD"), Some(checkout)).await?;
        self.may_read_all(&named, table).await?;
        let head = named.hash().to_owned();
        let keyed = self.keyed(table, wanted).await?;
        let mut open = HashMap::from([(head.clone(), Keys::default())]);
        for commit in self.ancestry(&head, table).await? {
            let Some(mut keys) = open.remove(&commit.hash) else { continue };
            let Some(first) = commit.parents.first() else { continue };
            let to = Named::Commit(commit.hash.clone());
            let mut own = Vec::new();
            if commit.changed {
                let changes = self.changed_keys(table, &keyed, &Named::Commit(first.clone()), &to).await?;
                own.extend(changes.into_iter().filter(|key| keys.take(key)));
            }
            open.entry(first.clone()).or_insert_with(Keys::none).join(keys);
            for other in commit.parents.iter().skip(1) {
                if own.is_empty() {
                    break;
                }
                let changes = self.changed_keys(table, &keyed, &Named::Commit(other.clone()), &to).await?;
                let differ: HashSet<_> = changes.into_iter().collect();
                let (mine, theirs): (Vec<_>, Vec<_>) = own.into_iter().partition(|key| differ.contains(key));
                own = mine;
                let theirs = Keys::Only(theirs.into_iter().collect());
                open.entry(other.clone()).or_insert_with(Keys::none).join(theirs);
            }
            if own.is_empty() {
                continue;
            }
            let summary = self.summary(&commit.hash).await?;
            for key in own {
                if each(&key, &summary).is_break() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// A table and the versions that it was made from: commits name the one that they had.
    fn made_from(&self, table: &TableDef) -> HashSet<TableId> {
        let versions = self.state().versions(table.id);
        versions.iter().map(|version| version.id).chain([table.id]).collect()
    }

    /// A commit and all before it, newest first.
    async fn ancestry(&self, head: &str, table: &TableDef) -> Result<Vec<Ancestor>> {
        let versions = self.made_from(table);
        self.with_graph(|graph| {
            let head =
                graph.index(head).ok_or_else(|| Error::internal("a commit is missing from the graph"))?;
            let ancestor = |i: usize| Ancestor {
                hash: graph.hash(i).to_owned(),
                parents: graph.parents(i).iter().map(|&p| graph.hash(p).to_owned()).collect(),
                changed: graph.tables(i).iter().any(|id| versions.contains(id)),
            };
            Ok(graph.range(&[head], &[]).map(ancestor).collect())
        })
        .await
    }

    /// The commits up to `head` that changed a table, newest first.
    async fn changers(&self, head: &str, table: &TableDef) -> Result<Vec<Candidate>> {
        let versions = self.made_from(table);
        self.with_graph(|graph| {
            let head =
                graph.index(head).ok_or_else(|| Error::internal("a commit is missing from the graph"))?;
            let changes = |i: &usize| graph.tables(*i).iter().any(|id| versions.contains(id));
            let changed = graph.range(&[head], &[]).filter(changes);
            let candidate = |i: usize| Candidate {
                hash: graph.hash(i).to_owned(),
                parents: graph.parents(i).iter().map(|&p| graph.hash(p).to_owned()).collect(),
            };
            Ok(changed.map(candidate).collect())
        })
        .await
    }

    /// Every change of one key whose images are known. What the metadata store knows of the commits is read for many at once.
    async fn versions_of_key(
        &self,
        commits: Vec<Candidate>,
        table: &TableDef,
        keyed: &Keyed,
        limit: usize,
    ) -> Result<Vec<RowVersion>> {
        self.sound(table).await?;
        let mut versions = Vec::new();
        for chunk in commits.chunks(CHUNK) {
            let mut changes = Vec::new();
            let spots = self.spots_of(chunk).await?;
            for commit in chunk {
                let own = match commit.parents.as_slice() {
                    [] => Vec::new(),
                    [parent] => self.change_of_key(&spots, parent, &commit.hash, table, keyed).await?,
                    parents => {
                        let to = Named::Commit(commit.hash.clone());
                        self.own_changes(parents, &to, table, keyed).await?
                    }
                };
                changes.extend(own.into_iter().map(|change| (commit.hash.as_str(), change)));
            }
            let hashes: Vec<&str> = changes.iter().map(|(hash, _)| *hash).collect();
            let mut tx = self.store().read().await?;
            let known = commits::read_all(&mut tx, &hashes).await?;
            tx.commit().await?;
            for (hash, change) in changes {
                let commit = known.get(hash).ok_or_else(|| missing(hash))?;
                versions.push(RowVersion { commit: Arc::new(summary_of(hash, commit.clone())), change });
            }
            if versions.len() >= limit {
                versions.truncate(limit);
                break;
            }
        }
        Ok(versions)
    }

    /// Where commits and their parents are.
    async fn spots_of(&self, commits: &[Candidate]) -> Result<HashMap<String, Vec<Spot>>> {
        let parents = commits.iter().flat_map(|commit| &commit.parents);
        let hashes: HashSet<&str> =
            commits.iter().map(|commit| &commit.hash).chain(parents).map(String::as_str).collect();
        let hashes: Vec<&str> = hashes.into_iter().collect();
        let mut spots = HashMap::new();
        let mut tx = self.store().read().await?;
        for hashes in hashes.chunks(CHUNK) {
            for (hash, positions) in commits::positions_of_all(&mut tx, hashes).await? {
                let at = |(lineage, ordinal)| (lineage, At::Ordinal(ordinal));
                spots.insert(hash, positions.into_iter().map(at).collect());
            }
        }
        tx.commit().await?;
        Ok(spots)
    }

    /// What a commit with one parent did to the key, by its images if they tell.
    async fn change_of_key(
        &self,
        spots: &HashMap<String, Vec<Spot>>,
        parent: &str,
        commit: &str,
        table: &TableDef,
        keyed: &Keyed,
    ) -> Result<Vec<RowChange>> {
        let of = |hash: &str| spots.get(hash).ok_or_else(|| super::gc::removed(hash));
        let views = {
            let state = self.state();
            let (from, to) = state.nearest(of(parent)?, of(commit)?)?;
            state.compare(from, to, table.id)?
        };
        if !keyed.may_be_in(&views.segments) {
            return Ok(Vec::new());
        }
        match keyed.change_in(table, &views) {
            Some(change) => Ok(change.into_iter().collect()),
            None => self.diff_of(table, &views, &keyed.wanted).await?.try_collect().await,
        }
    }

    /// A commit's own changes, as they are read.
    async fn versions_of(&self, commit: Candidate, table: &TableDef, keyed: &Keyed) -> Result<VersionStream> {
        let to = Named::Commit(commit.hash.clone());
        let changes = match commit.parents.as_slice() {
            [] => return Ok(stream::empty().boxed()),
            [parent] => self.changes_of_keys(table, keyed, &Named::Commit(parent.clone()), &to).await?,
            parents => {
                let own = self.own_changes(parents, &to, table, keyed).await?;
                stream::iter(own.into_iter().map(Ok)).boxed()
            }
        };
        let Some(changes) = not_empty(changes).await? else { return Ok(stream::empty().boxed()) };
        let summary = self.summary(&commit.hash).await?;
        Ok(changes.map_ok(move |change| RowVersion { commit: Arc::clone(&summary), change }).boxed())
    }

    /// What differs from all parents.
    async fn own_changes(
        &self,
        parents: &[String],
        to: &Named,
        table: &TableDef,
        keyed: &Keyed,
    ) -> Result<Vec<RowChange>> {
        let mut own: Option<Vec<RowChange>> = None;
        for parent in parents {
            let from = Named::Commit(parent.clone());
            own = Some(match own {
                None => self.changes_of_keys(table, keyed, &from, to).await?.try_collect().await?,
                Some(known) => {
                    let differ = self.changed_keys(table, keyed, &from, to).await?;
                    let differ: HashSet<_> = differ.into_iter().collect();
                    known.into_iter().filter(|c| differ.contains(&c.key)).collect()
                }
            });
            if own.as_ref().is_some_and(Vec::is_empty) {
                break;
            }
        }
        Ok(own.unwrap_or_default())
    }

    async fn keyed(&self, table: &TableDef, wanted: Wanted) -> Result<Keyed> {
        let lineages = {
            let state = self.state();
            // Of versions of a table each has a history of its own.
            (wanted.selects() && !state.has_made()).then(|| state.holders(table.id))
        };
        // The first rows of each commit are others than those of all.
        let mut keyed =
            Keyed { wanted: Wanted { limit: None, ..wanted }, changed: None, images: HashMap::new() };
        let Some(lineages) = lineages else { return Ok(keyed) };
        let backend = self.inner.backends.require(&table.location.backend)?;
        if let (Some(key), true) = (&keyed.wanted.key, keyed.wanted.keys.is_empty())
            && let Some(images) = backend.images_of_key(table, key, &lineages).await?
        {
            keyed.changed = Some(images.iter().map(|image| (image.lineage, image.until)).collect());
            for image in images {
                keyed.images.entry(image.lineage).or_default().entry(image.until).or_insert(image.row);
            }
            return Ok(keyed);
        }
        keyed.changed =
            Some(backend.changes_of_keys(table, &keyed.wanted, &lineages).await?.into_iter().collect());
        Ok(keyed)
    }

    /// What differs between two commits, of wanted keys.
    async fn changes_of_keys(
        &self,
        table: &TableDef,
        keyed: &Keyed,
        from: &Named,
        to: &Named,
    ) -> Result<ChangeStream> {
        let views = self.views_between(from, to, table).await?;
        if !keyed.may_be_in(&views.segments) {
            return Ok(stream::empty().boxed());
        }
        let changes = self.diff_of(table, &views, &keyed.wanted).await?;
        match &keyed.wanted.key {
            Some(key) if views.versions.is_some() => {
                let key = key.clone();
                Ok(changes.try_filter(move |c| std::future::ready(same_texts(&c.key, &key))).boxed())
            }
            _ => Ok(changes),
        }
    }

    /// The wanted keys whose rows differ between two commits.
    async fn changed_keys(
        &self,
        table: &TableDef,
        keyed: &Keyed,
        from: &Named,
        to: &Named,
    ) -> Result<Vec<Row>> {
        self.changes_of_keys(table, keyed, from, to).await?.map_ok(|change| change.key).try_collect().await
    }

    async fn summary(&self, hash: &str) -> Result<Arc<CommitSummary>> {
        let mut tx = self.store().read().await?;
        let commit = commits::read(&mut tx, hash).await?;
        tx.commit().await?;
        Ok(Arc::new(summary_of(hash, commit.ok_or_else(|| missing(hash))?)))
    }
}

/// The stream, if there is anything in it.
async fn not_empty(mut changes: ChangeStream) -> Result<Option<ChangeStream>> {
    match changes.try_next().await? {
        Some(first) => Ok(Some(stream::iter([Ok(first)]).chain(changes).boxed())),
        None => Ok(None),
    }
}

fn same_texts(a: &Row, b: &Row) -> bool {
    a.iter().map(Value::to_text).eq(b.iter().map(Value::to_text))
}

fn missing(hash: &str) -> Error {
    Error::internal(format!("commit {hash} is missing"))
}

fn summary_of(hash: &str, commit: commits::CommitRow) -> CommitSummary {
    CommitSummary { hash: hash.to_owned(), author: commit.author, date: commit.date, message: commit.message }
}
