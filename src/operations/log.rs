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

impl Repository {
    /// Commits, children before parents.
    pub async fn log(&self, checkout: &Checkout, query: &LogQuery) -> Result<Vec<CommitInfo>> {
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
        let listed = self.walk(&include, &exclude, wanted.as_ref(), query).await?;
        let decorations = self.decorations(checkout, &tags);
        let mut tx = self.store().read().await?;
        let mut log = Vec::with_capacity(listed.len());
        for commit in listed {
            log.push(describe(&mut tx, commit, &decorations, &names).await?);
        }
        tx.commit().await?;
        Ok(log)
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

    async fn walk(
        &self,
        include: &[String],
        exclude: &[String],
        wanted: Option<&HashSet<TableId>>,
        query: &LogQuery,
    ) -> Result<Vec<Listed>> {
        self.with_graph(|graph| {
            let indexes =
                |hashes: &[String]| hashes.iter().filter_map(|h| graph.index(h)).collect::<Vec<_>>();
            let concerns = |i: &usize| wanted.is_none_or(|w| graph.tables(*i).iter().any(|t| w.contains(t)));
            let in_page = |i: &usize| query.before.is_none_or(|before| graph.seq(*i) < before);
            let list = |i: usize| Listed {
                order: graph.seq(i),
                hash: graph.hash(i).to_owned(),
                parents: graph.parents(i).iter().map(|&p| graph.hash(p).to_owned()).collect(),
            };
            let range = graph.range(&indexes(include), &indexes(exclude));
            let listed = range.filter(in_page).filter(concerns).take(query.limit.unwrap_or(usize::MAX));
            Ok(listed.map(list).collect())
        })
        .await
    }

    /// Branches and tags by the commit they point at, HEAD's branch first.
    fn decorations(&self, checkout: &Checkout, tags: &[refs::Tag]) -> HashMap<String, Vec<String>> {
        let mut decorations = HashMap::<String, Vec<String>>::new();
        let state = self.state();
        let on = |b: &refs::Branch| matches!(checkout.target, Target::Branch { layer } if layer.lineage == b.lineage);
        let mut branches: Vec<_> = state.branches().collect();
        branches.sort_by_key(|b| (!on(b), b.name.clone()));
        for branch in branches {
            decorations.entry(branch.head.clone()).or_default().push(branch.name.clone());
        }
        for tag in tags {
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

async fn describe(
    tx: &mut Tx,
    listed: Listed,
    decorations: &HashMap<String, Vec<String>>,
    names: &HashMap<TableId, String>,
) -> Result<CommitInfo> {
    let commit = commits::read(tx, &listed.hash).await?;
    let commit = commit.ok_or_else(|| Error::internal(format!("commit {} is missing", listed.hash)))?;
    let name = |id: TableId| names.get(&id).cloned().unwrap_or_else(|| format!("#{}", id.0));
    let tables = commits::tables_of(tx, &listed.hash).await?;
    Ok(CommitInfo {
        refs: decorations.get(&listed.hash).cloned().unwrap_or_default(),
        hash: listed.hash,
        parents: listed.parents,
        author: commit.author,
        email: commit.email,
        date: commit.date,
        message: commit.message,
        commit_order: listed.order,
        tables: tables.into_iter().map(|(id, stats)| (name(id), stats)).collect(),
    })
}
