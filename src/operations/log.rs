//! Listing commits.

use std::collections::{HashMap, HashSet};

use epoch_adapter::{Error, Result, TableId, sqlstate};

use super::{Checkout, CommitInfo, LogQuery, Repository, Right, Target};
use crate::metadata::{Tx, commits, refs, tables};

/// A commit to list: number, hash and parents.
struct Listed {
    order: i64,
    hash: String,
    parents: Vec<String>,
}

/// A listing of commits, children before parents, that is read page by page. What it starts from stays what it was when the
/// listing began.
pub struct Log {
    repository: Repository,
    include: Vec<String>,
    exclude: Vec<String>,
    wanted: Option<HashSet<TableId>>,
    decorations: HashMap<String, Vec<String>>,
    names: HashMap<TableId, String>,
    /// The number that the next page is below.
    before: Option<i64>,
    /// How many more there may be.
    left: usize,
}

impl Log {
    /// The next commits, at most so many; none at the end.
    pub async fn page(&mut self, most: usize) -> Result<Vec<CommitInfo>> {
        let most = most.min(self.left);
        if most == 0 {
            return Ok(Vec::new());
        }
        let listed = self.walk(most).await?;
        // What is shorter than asked for is the last one.
        self.left = if listed.len() < most { 0 } else { self.left.saturating_sub(listed.len()) };
        self.before = listed.last().map(|commit| commit.order).or(self.before);
        let mut tx = self.repository.store().read().await?;
        let mut page = Vec::with_capacity(listed.len());
        for some in listed.chunks(commits::MOST_AT_ONCE) {
            self.describe(&mut tx, some, &mut page).await?;
        }
        tx.commit().await?;
        Ok(page)
    }

    /// Each page walks from the start again: that is cheap in memory, and a first page costs no more than it must.
    async fn walk(&self, most: usize) -> Result<Vec<Listed>> {
        let wanted = self.wanted.as_ref();
        self.repository
            .with_graph(|graph| {
                let concerns =
                    |i: &usize| wanted.is_none_or(|w| graph.tables(*i).iter().any(|t| w.contains(t)));
                let in_page = |i: &usize| self.before.is_none_or(|before| graph.seq(*i) < before);
                let list = |i: usize| Listed {
                    order: graph.seq(i),
                    hash: graph.hash(i).to_owned(),
                    parents: graph.parents(i).iter().map(|&p| graph.hash(p).to_owned()).collect(),
                };
                let places =
                    |hashes: &[String]| hashes.iter().filter_map(|h| graph.index(h)).collect::<Vec<_>>();
                let range = graph.range(&places(&self.include), &places(&self.exclude));
                Ok(range.filter(in_page).filter(concerns).take(most).map(list).collect())
            })
            .await
    }

    async fn describe(&self, tx: &mut Tx, listed: &[Listed], page: &mut Vec<CommitInfo>) -> Result<()> {
        let hashes: Vec<&str> = listed.iter().map(|commit| commit.hash.as_str()).collect();
        let mut rows = commits::read_all(tx, &hashes).await?;
        let mut tables = commits::tables_of_all(tx, &hashes).await?;
        let name = |id: TableId| self.names.get(&id).cloned().unwrap_or_else(|| format!("#{}", id.0));
        for Listed { order, hash, parents } in listed {
            let row = rows.remove(hash);
            let commit = row.ok_or_else(|| Error::internal(format!("commit {hash} is missing")))?;
            let tables = tables.remove(hash).unwrap_or_default();
            page.push(CommitInfo {
                refs: self.decorations.get(hash).cloned().unwrap_or_default(),
                hash: hash.clone(),
                parents: parents.clone(),
                author: commit.author,
                email: commit.email,
                date: commit.date,
                message: commit.message,
                commit_order: *order,
                tables: tables.into_iter().map(|(id, stats)| (name(id), stats)).collect(),
            });
        }
        Ok(())
    }
}

impl Repository {
    /// All commits of a listing.
    pub async fn log(&self, checkout: &Checkout, query: &LogQuery) -> Result<Vec<CommitInfo>> {
        self.log_pages(checkout, query).await?.page(usize::MAX).await
    }

    /// Begins a listing of commits.
    pub async fn log_pages(&self, checkout: &Checkout, query: &LogQuery) -> Result<Log> {
        self.refresh().await?;
        let mut tx = self.store().read().await?;
        let tags = refs::tags(&mut tx).await?;
        let names: HashMap<_, _> =
            tables::names(&mut tx).await?.into_iter().map(|(id, name)| (id, name.to_string())).collect();
        tx.commit().await?;
        let (mut include, exclude) = self.revisions(checkout, &query.revisions).await?;
        if query.all {
            self.may_all(Right::Read)?;
            include.extend(self.state().branches().map(|b| b.head.clone()));
            include.extend(tags.iter().map(|t| t.hash.clone()));
        } else if include.is_empty() {
            include.push(self.named("HEAD", Some(checkout)).await?.hash().to_owned());
        }
        let wanted = wanted_tables(&query.tables, &names)?;
        let decorations = self.decorations(checkout, &tags);
        Ok(Log {
            repository: self.clone(),
            include,
            exclude,
            wanted,
            decorations,
            names,
            before: query.before,
            left: query.limit.unwrap_or(usize::MAX),
        })
    }

    /// Splits refs, `a..b`, `a...b` and `^x` into what to start from and what to leave out.
    pub(super) async fn revisions(
        &self,
        checkout: &Checkout,
        texts: &[String],
    ) -> Result<(Vec<String>, Vec<String>)> {
        let (mut include, mut exclude) = (Vec::new(), Vec::new());
        let or_head = |text: &str| if text.is_empty() { "HEAD".to_owned() } else { text.to_owned() };
        for text in texts {
            if let Some((a, b)) = text.split_once("...") {
                let (a, b) = (or_head(a), or_head(b));
                exclude.extend(self.merge_base(checkout, &a, &b).await?);
                include.push(self.hash_of(checkout, &a).await?);
                include.push(self.hash_of(checkout, &b).await?);
            } else if let Some((a, b)) = text.split_once("..") {
                exclude.push(self.hash_of(checkout, &or_head(a)).await?);
                include.push(self.hash_of(checkout, &or_head(b)).await?);
            } else if let Some(not) = text.strip_prefix('^') {
                exclude.push(self.hash_of(checkout, not).await?);
            } else {
                include.push(self.hash_of(checkout, text).await?);
            }
        }
        Ok((include, exclude))
    }

    /// Branches and tags that may be seen by the commit they point at, HEAD's branch first.
    fn decorations(&self, checkout: &Checkout, tags: &[refs::Tag]) -> HashMap<String, Vec<String>> {
        let mut decorations = HashMap::<String, Vec<String>>::new();
        let sees = self.sight();
        let seen = |name: &str| sees.as_ref().is_none_or(|sees| sees(name));
        let state = self.state();
        let on = |b: &refs::Branch| matches!(checkout.target, Target::Branch { layer } if layer.lineage == b.lineage);
        let mut branches: Vec<_> = state.branches().filter(|b| seen(&b.name)).collect();
        branches.sort_by_key(|b| (!on(b), b.name.clone()));
        for branch in branches {
            decorations.entry(branch.head.clone()).or_default().push(branch.name.clone());
        }
        for tag in tags.iter().filter(|tag| seen(&tag.name)) {
            decorations.entry(tag.hash.clone()).or_default().push(format!("tag: {}", tag.name));
        }
        decorations
    }
}

/// The registrations, past ones too, that a list of table names means; `None` for all.
fn wanted_tables(texts: &[String], names: &HashMap<TableId, String>) -> Result<Option<HashSet<TableId>>> {
    if texts.is_empty() {
        return Ok(None);
    }
    let mut wanted = HashSet::new();
    for text in texts {
        let plain = text.strip_prefix("public.").unwrap_or(text);
        let before = wanted.len();
        wanted.extend(names.iter().filter(|(_, name)| name.as_str() == plain).map(|(id, _)| *id));
        if wanted.len() == before {
            let message = format!("table \"{text}\" was never registered");
            return Err(Error::new(sqlstate::UNDEFINED_TABLE, message));
        }
    }
    Ok(Some(wanted))
}
