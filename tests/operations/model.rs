//! Random operations on a repository and on a model that simply copies everything.

use std::collections::{BTreeMap, BTreeSet};

use epoch::operations::RowVersion;
use epoch::operations::{
    Author, Checkout, CommitOptions, GcOptions, LogQuery, MergeOptions, PickOptions, Picked, RebaseOptions,
    ResetOptions, Resolution, Side, Strategy, Verb,
};
use epoch_adapter::Wanted;
use futures::TryStreamExt;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

use super::gc::at_once;
use super::support::{Fixture, Rows, TABLES, commit_options};

type Cell = (String, Option<i64>);

struct Branch {
    checkout: Checkout,
    head: String,
    working: Rows,
}

struct World {
    f: Fixture,
    random: StdRng,
    branches: BTreeMap<String, Branch>,
    commits: BTreeMap<String, Rows>,
    /// Newest last: what the stash was made on, and what it holds.
    stashes: Vec<(Rows, Rows)>,
    /// The commits that tags name.
    tags: Vec<String>,
    /// A branch was reset softly: what it published last stays.
    softly: bool,
    made: usize,
    counts: BTreeMap<&'static str, usize>,
}

impl World {
    async fn new(f: Fixture, seed: u64) -> Self {
        let working = f.rows(&f.main).await;
        let head = f.repository.hash_of(&f.main, "HEAD").await.unwrap();
        let main = Branch { checkout: f.main.clone(), head: head.clone(), working: working.clone() };
        Self {
            f,
            random: StdRng::seed_from_u64(seed),
            branches: BTreeMap::from([("main".to_owned(), main)]),
            commits: BTreeMap::from([(head, working)]),
            stashes: Vec::new(),
            tags: Vec::new(),
            softly: false,
            made: 0,
            counts: BTreeMap::new(),
        }
    }

    async fn step(&mut self) {
        let name = self.any_branch();
        let what = match self.random.random_range(0..128) {
            0..45 => self.write(&name).await,
            45..60 => self.commit(&name).await,
            60..70 => self.branch(&name).await,
            70..85 => self.merge(&name).await,
            85..92 => self.reset(&name).await,
            92..94 => self.delete_branch(&name).await,
            94..97 => self.tag(&name).await,
            97..99 => self.diff(&name).await,
            99..100 => self.history(&name).await,
            100..105 => self.pick(&name, Verb::CherryPick).await,
            105..110 => self.pick(&name, Verb::Revert).await,
            110..115 => self.rebase(&name).await,
            115..119 => self.stash(&name).await,
            119..123 => self.unstash(&name).await,
            123..125 => self.squash(&name).await,
            _ => self.gc().await,
        };
        *self.counts.entry(what).or_default() += 1;
    }

    fn any_branch(&mut self) -> String {
        let names: Vec<_> = self.branches.keys().cloned().collect();
        names.choose(&mut self.random).unwrap().clone()
    }

    fn any_commit(&mut self) -> String {
        let hashes: Vec<_> = self.commits.keys().cloned().collect();
        hashes.choose(&mut self.random).unwrap().clone()
    }

    async fn write(&mut self, name: &str) -> &'static str {
        let (table, backend) = TABLES[self.random.random_range(0..TABLES.len())];
        let key = self.random.random_range(1..8);
        let a = ["x", "y", "z"][self.random.random_range(0..3)];
        let n = self.random.random_bool(0.7).then(|| self.random.random_range(0..3));
        let delete = self.random.random_bool(0.25);
        let branch = self.branches.get_mut(name).unwrap();
        let slot = (table.to_owned(), key);
        let direct = name == "main" && self.random.random_bool(0.5);
        if delete {
            branch.working.remove(&slot);
            if direct {
                self.f.direct_sql(backend, &format!("DELETE FROM {table} WHERE id = {key}")).await;
            } else {
                self.f.delete(&branch.checkout, table, key).await;
            }
        } else {
            branch.working.insert(slot, (a.to_owned(), n));
            if direct {
                let n = n.map_or("NULL".to_owned(), |n| n.to_string());
                let sql = format!(
                    "INSERT INTO {table} VALUES ({key}, '{a}', {n}) ON CONFLICT (id) DO UPDATE SET a = '{a}', n = {n}"
                );
                self.f.direct_sql(backend, &sql).await;
            } else {
                self.f.set(&branch.checkout, table, key, a, n).await;
            }
        }
        if direct { "direct write" } else { "write" }
    }

    async fn commit(&mut self, name: &str) -> &'static str {
        let branch = self.branches.get_mut(name).unwrap();
        let amend = self.random.random_bool(0.1);
        let options = CommitOptions { amend, ..commit_options("random") };
        match self.f.repository.commit(&branch.checkout, &options).await {
            Ok(committed) => {
                let before = &self.commits[&branch.head];
                if !amend {
                    let changed: i64 = committed.tables.iter().map(|(_, s)| s.rows()).sum();
                    assert_eq!(
                        changed as usize,
                        differing(before, &branch.working).len(),
                        "counts of a commit"
                    );
                }
                branch.head = committed.hash.clone();
                let known = self.commits.insert(committed.hash, branch.working.clone());
                assert!(known.is_none_or(|k| k == branch.working), "one hash for two contents");
                "commit"
            }
            Err(error) if error.message().starts_with("nothing to commit") => {
                assert_eq!(self.commits[&branch.head], branch.working, "there was something to commit");
                "nothing to commit"
            }
            Err(error) => {
                assert!(amend && error.message().contains("cannot be amended"), "{error}");
                "no amend"
            }
        }
    }

    async fn branch(&mut self, name: &str) -> &'static str {
        if self.branches.len() > 8 {
            return "enough branches";
        }
        self.made += 1;
        let new = format!("b{}", self.made);
        let start = if self.random.random_bool(0.3) { self.any_commit() } else { name.to_owned() };
        let from = &self.branches[name];
        self.f.repository.create_branch(&from.checkout, &new, Some(&start), false).await.unwrap();
        let head = if start == name { from.head.clone() } else { start };
        let checkout = self.f.checkout(&new).await;
        let working = self.commits[&head].clone();
        self.branches.insert(new, Branch { checkout, head, working });
        "branch"
    }

    async fn merge(&mut self, name: &str) -> &'static str {
        let source = if self.random.random_bool(0.8) { self.any_branch() } else { self.any_commit() };
        let theirs = self.branches.get(&source).map_or(source.clone(), |b| b.head.clone());
        let branch = &self.branches[name];
        let strategy = [Strategy::Field, Strategy::Field, Strategy::Ours, Strategy::Theirs, Strategy::Row];
        let strategy = *strategy.choose(&mut self.random).unwrap();
        let no_ff = self.random.random_bool(0.3);
        let options = MergeOptions { strategy, no_ff, ..MergeOptions::default() };
        let (checkout, head) = (branch.checkout.clone(), branch.head.clone());
        let graph = self.graph(&checkout, &[&head, &theirs]).await;
        let bases = graph.merge_bases(&head, &theirs);
        let base = Base::of(&self.commits, &graph, &bases);
        let strategy = if bases == [head.clone()] { Strategy::Field } else { strategy };
        let options = MergeOptions { strategy, ..options };
        let merged = match self.f.repository.merge(&checkout, &source, &options).await {
            Ok(merged) => merged,
            Err(error) => return self.judge_refusal(name, &base, &theirs, strategy, &error),
        };
        if merged.message == "already up to date" {
            assert_eq!(bases, [theirs]);
            return "up to date";
        }
        let expected = Merge::of(&base, &self.commits[&head], &self.commits[&theirs], strategy);
        assert_eq!(merged.conflicts as usize, expected.conflicts.len(), "conflicts");
        if expected.conflicts.is_empty() {
            self.note_merge(name, merged.hash, expected.result);
            return match (merged.fast_forward, bases.len()) {
                (true, _) => "fast-forward",
                (_, 1) => "merge",
                _ => "criss-cross",
            };
        }
        if self.random.random_bool(0.3) {
            self.f.repository.merge_abort(&checkout).await.unwrap();
            return "aborted";
        }
        let (side, hash) =
            [(Side::Ours, &head), (Side::Theirs, &theirs)][self.random.random_range(0..2)].clone();
        let resolution = Resolution { side, table: None, key: None, column: None };
        self.f.repository.resolve_conflicts(&checkout, &resolution).await.unwrap();
        let result = expected.resolved(
            &base,
            &self.commits[&head],
            &self.commits[&theirs],
            &self.commits[hash],
            strategy,
        );
        let touched = differing(&self.commits[&head], &result);
        match self.f.repository.merge_continue(&checkout, &Default::default(), None).await {
            Ok(merged) => self.note_merge(name, merged.hash, result),
            Err(error) => {
                assert_eq!(error.code(), "55000", "{error}");
                self.assert_dirty(name, &touched);
                self.f.repository.merge_abort(&checkout).await.unwrap();
                return "resolved, but dirty";
            }
        }
        "resolved"
    }

    /// The head shows the merge; uncommitted rows stay.
    fn note_merge(&mut self, name: &str, hash: String, result: Rows) {
        let branch = self.branches.get_mut(name).unwrap();
        let head = &self.commits[&branch.head];
        for key in differing(head, &result) {
            assert_eq!(head.get(&key), branch.working.get(&key), "an uncommitted row was overwritten");
            put(&mut branch.working, &key, result.get(&key));
        }
        branch.head = hash.clone();
        self.commits.insert(hash, result);
    }

    fn judge_refusal(
        &self,
        name: &str,
        base: &Base,
        theirs: &str,
        strategy: Strategy,
        error: &epoch::Error,
    ) -> &'static str {
        assert_eq!(error.code(), "55000", "{error}");
        if error.message().contains("soft reset") {
            return "softly reset";
        }
        assert!(error.message().contains("would be overwritten"), "{error}");
        let head = &self.branches[name].head;
        let expected = Merge::of(base, &self.commits[head], &self.commits[theirs], strategy);
        self.assert_dirty(name, &differing(&self.commits[head], &expected.result));
        "would be overwritten"
    }

    async fn graph(&self, on: &Checkout, heads: &[&String]) -> Graph {
        let revisions = heads.iter().map(|h| (*h).clone()).collect();
        let log = self.f.repository.log(on, &LogQuery { revisions, ..LogQuery::default() }).await.unwrap();
        Graph(log.into_iter().map(|c| (c.hash, (c.commit_order, c.parents))).collect())
    }

    /// Picks or reverts one commit.
    async fn pick(&mut self, name: &str, verb: Verb) -> &'static str {
        let commit = self.any_commit();
        let branch = &self.branches[name];
        let (checkout, head) = (branch.checkout.clone(), branch.head.clone());
        let parents = self.graph(&checkout, &[&commit]).await.0[&commit].1.clone();
        let options = PickOptions { mainline: (parents.len() > 1).then_some(1), ..PickOptions::default() };
        let specs = [commit.clone()];
        let picked = match verb {
            Verb::Revert => self.f.repository.revert(&checkout, &specs, &options).await,
            _ => self.f.repository.cherry_pick(&checkout, &specs, &options).await,
        };
        let Some(parent) = parents.first() else {
            let code = picked.unwrap_err().code().to_owned();
            assert!(code == "22023" || code == "55000");
            return "no parent";
        };
        let (base, theirs) = if verb == Verb::Revert { (&commit, parent) } else { (parent, &commit) };
        let base = Base::plain(&self.commits[base]);
        let picked = match picked {
            Ok(picked) => picked,
            Err(error) => return self.judge_refusal(name, &base, theirs, Strategy::Field, &error),
        };
        let expected = Merge::of(&base, &self.commits[&head], &self.commits[theirs], Strategy::Field);
        assert_eq!(picked.conflicts as usize, expected.conflicts.len(), "conflicts of a {verb}");
        if expected.conflicts.is_empty() {
            return self.note_pick(name, &head, &picked, expected.result);
        }
        if self.random.random_bool(0.4) {
            self.f.repository.sequence_abort(&checkout, verb).await.unwrap();
            return "pick aborted";
        }
        let resolution = Resolution { side: Side::Theirs, table: None, key: None, column: None };
        self.f.repository.resolve_conflicts(&checkout, &resolution).await.unwrap();
        let theirs = &self.commits[theirs];
        let result = expected.resolved(&base, &self.commits[&head], theirs, theirs, Strategy::Field);
        let touched = differing(&self.commits[&head], &result);
        match self.f.repository.sequence_continue(&checkout, verb, &Author::default(), None).await {
            Ok(picked) => self.note_pick(name, &head, &picked, result),
            Err(error) => {
                assert_eq!(error.code(), "55000", "{error}");
                self.assert_dirty(name, &touched);
                self.f.repository.sequence_abort(&checkout, verb).await.unwrap();
                "resolved, but dirty"
            }
        }
    }

    fn note_pick(&mut self, name: &str, head: &str, picked: &Picked, result: Rows) -> &'static str {
        let changes = result != self.commits[head];
        assert_eq!(picked.done == 1, changes, "a commit is made if there is something to commit");
        assert_eq!(picked.hash != head, changes);
        if !changes {
            return "nothing to pick";
        }
        self.note_merge(name, picked.hash.clone(), result);
        "pick"
    }

    async fn rebase(&mut self, name: &str) -> &'static str {
        let upstream = self.any_branch();
        let onto = self.branches[&upstream].head.clone();
        let branch = &self.branches[name];
        let (checkout, head) = (branch.checkout.clone(), branch.head.clone());
        let done = match self.f.repository.rebase(&checkout, &upstream, &RebaseOptions::default()).await {
            Ok(done) => done,
            Err(error) => {
                assert_eq!(error.code(), "55000", "{error}");
                let dirty = self.commits[&head] != branch.working;
                assert!(dirty || error.message().contains("soft reset"), "{error}");
                return "not rebased: dirty";
            }
        };
        let graph = self.graph(&checkout, &[&head, &onto]).await;
        let theirs = graph.ancestors(&onto);
        let mut own: Vec<_> = graph.ancestors(&head).into_iter().filter(|c| !theirs.contains(c)).collect();
        own.sort_by_key(|c| graph.0[c].0);
        own.retain(|c| graph.0[c].1.len() == 1);
        let mut states = vec![self.commits[&onto].clone()];
        for commit in own {
            let base = Base::plain(&self.commits[&graph.0[&commit].1[0]]);
            let ours = states.last().unwrap();
            let merge = Merge::of(&base, ours, &self.commits[&commit], Strategy::Field);
            if !merge.conflicts.is_empty() {
                assert_eq!(done.conflicts as usize, merge.conflicts.len(), "conflicts of a rebase");
                assert_eq!(self.f.rows(&checkout).await, self.commits[&head], "a rebase that stopped shows");
                self.f.repository.sequence_abort(&checkout, Verb::Rebase).await.unwrap();
                return "rebase aborted";
            }
            if merge.result != *ours {
                states.push(merge.result);
            }
        }
        assert_eq!(done.conflicts, 0, "conflicts of a rebase");
        let last = states.last().unwrap().clone();
        if done.hash == head {
            assert_eq!(last, self.commits[&head]);
            return "rebased already";
        }
        let mut hash = done.hash.clone();
        for state in states.iter().rev() {
            let known = self.commits.insert(hash.clone(), state.clone());
            assert!(known.is_none_or(|k| k == *state), "one hash for two contents");
            let parents = self.graph(&checkout, &[&hash]).await.0[&hash].1.clone();
            if hash == onto {
                break;
            }
            hash = parents[0].clone();
        }
        let branch = self.branches.get_mut(name).unwrap();
        branch.head = done.hash;
        branch.working = last;
        "rebase"
    }

    async fn stash(&mut self, name: &str) -> &'static str {
        let branch = self.branches.get_mut(name).unwrap();
        let head = &self.commits[&branch.head];
        match self.f.repository.stash_push(&branch.checkout, None, &Author::default()).await {
            Ok(_) => {
                assert_ne!(*head, branch.working);
                self.stashes.push((head.clone(), std::mem::replace(&mut branch.working, head.clone())));
                "stash"
            }
            Err(error) => {
                assert_eq!(error.code(), "55000", "{error}");
                assert!(*head == branch.working || error.message().contains("soft reset"), "{error}");
                "no stash"
            }
        }
    }

    async fn unstash(&mut self, name: &str) -> &'static str {
        let branch = self.branches.get_mut(name).unwrap();
        let popped =
            self.f.repository.stash_pop(&branch.checkout, None, Strategy::Field, &Author::default()).await;
        let Some((base, stashed)) = self.stashes.last() else {
            assert_eq!(popped.unwrap_err().code(), "55000");
            return "nothing to pop";
        };
        let head = &self.commits[&branch.head];
        let merge = Merge::of(&Base::plain(base), head, stashed, Strategy::Field);
        let touched = differing(head, &merge.result);
        match popped {
            Err(error) if error.message().contains("soft reset") => "pop after a soft reset",
            Err(error) => {
                assert_eq!(error.code(), "55000", "{error}");
                assert!(merge.conflicts.is_empty());
                self.assert_dirty(name, &touched);
                "pop, but dirty"
            }
            Ok((_, picked)) if picked.conflicts > 0 => {
                assert_eq!(picked.conflicts as usize, merge.conflicts.len());
                self.f.repository.sequence_abort(&branch.checkout, Verb::Stash).await.unwrap();
                "pop aborted"
            }
            Ok(_) => {
                assert!(merge.conflicts.is_empty());
                for key in touched {
                    assert_eq!(
                        head.get(&key),
                        branch.working.get(&key),
                        "an uncommitted row was overwritten"
                    );
                    put(&mut branch.working, &key, merge.result.get(&key));
                }
                self.stashes.pop();
                "pop"
            }
        }
    }

    async fn squash(&mut self, name: &str) -> &'static str {
        let since = format!("HEAD~{}", self.random.random_range(1..5));
        let branch = self.branches.get_mut(name).unwrap();
        let repository = &self.f.repository;
        match repository.squash_history(&branch.checkout, &since, Some("squashed"), &Author::default()).await
        {
            Ok(hash) => {
                let rows = self.commits[&branch.head].clone();
                branch.head = hash.clone();
                self.commits.insert(hash, rows);
                "squash"
            }
            Err(error) => {
                assert!(error.code() == "3D000" || error.message().contains("soft reset"), "{error}");
                "no squash"
            }
        }
    }

    fn assert_dirty(&self, name: &str, touched: &BTreeSet<(String, i64)>) {
        let branch = &self.branches[name];
        let head = &self.commits[&branch.head];
        let dirty = touched.iter().any(|key| head.get(key) != branch.working.get(key));
        assert!(dirty, "no row that the merge touches was uncommitted");
    }

    async fn reset(&mut self, name: &str) -> &'static str {
        let hard = self.random.random_bool(0.7);
        let target = self.random.random_bool(0.5).then(|| self.any_commit());
        let branch = self.branches.get_mut(name).unwrap();
        let options = ResetOptions { hard, target: target.clone(), ..ResetOptions::default() };
        let done = self.f.repository.reset(&branch.checkout, &options).await.unwrap();
        let target = target.unwrap_or_else(|| branch.head.clone());
        assert_eq!(done.hash, target);
        let old = std::mem::replace(&mut branch.head, target.clone());
        if hard {
            branch.working = self.commits[&target].clone();
        }
        if let Some(safety) = done.safety_branch {
            let checkout = self.f.checkout(&safety).await;
            let working = self.commits[&old].clone();
            self.branches.insert(safety, Branch { checkout, head: old, working });
        }
        self.softly |= !hard;
        if hard { "hard reset" } else { "soft reset" }
    }

    async fn delete_branch(&mut self, name: &str) -> &'static str {
        if name == "main" {
            return "main stays";
        }
        self.f.repository.delete_branch(&self.f.main, name, true, false).await.unwrap();
        self.branches.remove(name);
        "delete"
    }

    async fn tag(&mut self, name: &str) -> &'static str {
        self.made += 1;
        let tag = format!("v{}", self.made);
        let branch = &self.branches[name];
        self.f.repository.tag(&branch.checkout, &tag, None, None).await.unwrap();
        assert_eq!(self.f.repository.hash_of(&self.f.main, &tag).await.unwrap(), branch.head);
        self.tags.push(branch.head.clone());
        "tag"
    }

    /// Two commits, or a commit and the working state.
    async fn diff(&mut self, name: &str) -> &'static str {
        let from = self.any_commit();
        let to = if self.random.random_bool(0.5) { self.any_commit() } else { "WORKING".to_owned() };
        let branch = &self.branches[name];
        let before = &self.commits[&from];
        let after = if to == "WORKING" { &branch.working } else { &self.commits[&to] };
        let mut found = BTreeSet::new();
        let mut listed = BTreeSet::new();
        let changed = self.f.repository.changed_tables(&branch.checkout, &from, &to).await.unwrap();
        let changed: BTreeSet<_> = changed.iter().map(|t| t.name.to_string()).collect();
        for (table, _) in TABLES {
            let def = self.f.repository.tables().find(table).unwrap().clone();
            let changes = self.f.repository.diff(&branch.checkout, &from, &to, &def).await.unwrap();
            for change in changes.try_collect::<Vec<_>>().await.unwrap() {
                let key = change.key[0].to_text().unwrap().parse().unwrap();
                assert!(found.insert((table.to_owned(), key)), "a key is there twice");
                let slot = (table.to_owned(), key);
                assert_eq!(change.before.is_some(), before.contains_key(&slot));
                assert_eq!(change.after.is_some(), after.contains_key(&slot));
                listed.insert(table.to_owned());
            }
        }
        assert_eq!(found, differing(before, after), "diff of {from} and {to}");
        assert!(listed.is_subset(&changed), "{listed:?} {changed:?}");
        "diff"
    }

    /// The history of one key is what the whole history says of it.
    async fn history(&mut self, name: &str) -> &'static str {
        let commit = self.any_commit();
        let (table, _) = *TABLES.choose(&mut self.random).unwrap();
        let repository = &self.f.repository;
        let (on, def) = (&self.branches[name].checkout, repository.tables().find(table).unwrap().clone());
        let versions = async |wanted| -> Vec<RowVersion> {
            let found = repository.row_history(on, &def, wanted, Some(&commit)).await.unwrap();
            found.try_collect().await.unwrap()
        };
        let all = versions(Wanted::default()).await;
        let keys: BTreeSet<_> = all.iter().map(|v| v.change.key.clone()).collect();
        for key in keys.into_iter().take(3) {
            let of_key = versions(Wanted::of_key(key.clone())).await;
            let expected: Vec<_> = all.iter().filter(|v| v.change.key == key).collect();
            let said: Vec<_> = of_key.iter().map(|v| (&v.commit.hash, &v.change)).collect();
            let expected: Vec<_> = expected.iter().map(|v| (&v.commit.hash, &v.change)).collect();
            assert_eq!(said, expected, "history of {key:?} of {table} at {commit}");
        }
        "history"
    }

    /// Collects garbage: what is led to stays, everything else goes.
    async fn gc(&mut self) -> &'static str {
        let repository = &self.f.repository;
        let all: Vec<&String> = self.commits.keys().collect();
        let graph = self.graph(&self.f.main, &all).await;
        let mut heads: Vec<String> = self.branches.values().map(|b| b.head.clone()).collect();
        heads.extend(self.tags.iter().cloned());
        heads.extend(repository.stashes().await.unwrap().into_iter().map(|s| s.hash));
        let mut kept = BTreeSet::new();
        for head in &heads {
            match graph.0.contains_key(head) {
                true => kept.extend(graph.ancestors(head)),
                false => kept.extend(self.graph(&self.f.main, &[head]).await.ancestors(head)),
            }
        }
        let told = |rows: Vec<epoch::operations::Collected>| -> Vec<(String, i64)> {
            rows.into_iter().map(|r| (r.object, r.bytes)).collect()
        };
        let dry = GcOptions { dry_run: true, ..at_once() };
        let said = told(repository.gc(&dry).await.unwrap());
        assert_eq!(told(repository.gc(&dry).await.unwrap()), said, "a dry run changes nothing");
        let removed = repository.gc(&at_once()).await.unwrap();
        assert!(removed.iter().all(|r| r.status == "removed"), "{removed:?}");
        assert_eq!(told(removed), said, "a dry run tells the same");
        assert_eq!(told(repository.gc(&dry).await.unwrap()), [], "nothing is left");
        let mut gone = Vec::new();
        for hash in self.commits.keys() {
            match repository.checkout(hash, None).await {
                Ok(_) => assert!(kept.contains(hash) || self.softly, "{hash} is garbage"),
                Err(error) => {
                    assert_eq!(error.code(), "3D000");
                    assert!(!kept.contains(hash), "{hash} was needed");
                    gone.push(hash.clone());
                }
            }
        }
        gone.iter().for_each(|hash| drop(self.commits.remove(hash)));
        for (hash, rows) in &self.commits {
            assert_eq!(self.f.rows(&self.f.checkout(hash).await).await, *rows, "rows of commit {hash}");
        }
        if gone.is_empty() { "nothing to collect" } else { "gc" }
    }

    async fn check(&mut self) {
        for (name, branch) in &self.branches {
            assert_eq!(self.f.rows(&branch.checkout).await, branch.working, "working state of {name}");
            assert_eq!(self.f.repository.hash_of(&branch.checkout, "HEAD").await.unwrap(), branch.head);
            let status = self.f.repository.status(&branch.checkout).await.unwrap();
            let uncommitted: i64 = status.iter().map(|s| s.stats.rows()).sum();
            let expected = differing(&self.commits[&branch.head], &branch.working).len();
            assert_eq!(uncommitted as usize, expected, "status of {name}");
        }
        for _ in 0..3 {
            let hash = self.any_commit();
            let shown = self.f.rows(&self.f.checkout(&hash).await).await;
            assert_eq!(shown, self.commits[&hash], "rows of commit {hash}");
        }
    }
}

/// The three-way merge, as simply as it can be said.
struct Merge {
    /// With the rows in conflict as on our side.
    result: Rows,
    conflicts: BTreeSet<(String, i64)>,
}

/// Commits by hash: number and parents.
struct Graph(BTreeMap<String, (i64, Vec<String>)>);

impl Graph {
    fn ancestors(&self, of: &str) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        let mut open = vec![of.to_owned()];
        while let Some(at) = open.pop() {
            if found.insert(at.clone()) {
                open.extend(self.0[&at].1.clone());
            }
        }
        found
    }

    /// Newest first.
    fn merge_bases(&self, a: &str, b: &str) -> Vec<String> {
        let (a, b) = (self.ancestors(a), self.ancestors(b));
        let common: Vec<_> = a.intersection(&b).cloned().collect();
        let below = |c: &String| common.iter().any(|o| o != c && self.ancestors(o).contains(c));
        let mut bases: Vec<_> = common.iter().filter(|c| !below(c)).cloned().collect();
        bases.sort_by_key(|c| std::cmp::Reverse(self.0[c].0));
        bases
    }
}

/// What both sides have in common.
struct Base {
    rows: Rows,
    /// Rows on which several merge bases don't agree.
    contested: BTreeSet<(String, i64)>,
}

impl Base {
    fn plain(rows: &Rows) -> Self {
        Self { rows: rows.clone(), contested: BTreeSet::new() }
    }

    /// Several merge bases are merged, as git's recursive strategy does.
    fn of(commits: &BTreeMap<String, Rows>, graph: &Graph, bases: &[String]) -> Self {
        let mut base = Self::plain(&commits[&bases[0]]);
        for other in &bases[1..] {
            let below = Self::of(commits, graph, &graph.merge_bases(&bases[0], other));
            let merge = Merge::of(&below, &base.rows, &commits[other], Strategy::Field);
            base.rows = merge.result;
            base.contested.extend(merge.conflicts);
            base.contested.extend(below.contested);
        }
        base
    }

    fn row(&self, key: &(String, i64)) -> Option<&Cell> {
        self.rows.get(key).filter(|_| !self.contested.contains(key))
    }
}

impl Merge {
    fn of(base: &Base, ours: &Rows, theirs: &Rows, strategy: Strategy) -> Self {
        let mut merge = Self { result: ours.clone(), conflicts: BTreeSet::new() };
        let mut keys = differing(&base.rows, theirs);
        keys.extend(base.contested.iter().filter(|k| ours.get(*k) != base.rows.get(*k)).cloned());
        for key in keys {
            let contested = base.contested.contains(&key);
            let (b, o, t) = (base.row(&key), ours.get(&key), theirs.get(&key));
            if o == b && !contested {
                put(&mut merge.result, &key, t);
            } else if o == t && (strategy != Strategy::Row || o.is_none()) {
            } else {
                match (by_cell(b, o, t).filter(|_| strategy != Strategy::Row), strategy) {
                    (Some(row), _) => put(&mut merge.result, &key, Some(&row)),
                    (None, Strategy::Ours) => put(&mut merge.result, &key, pick(b, o, t, o).as_ref()),
                    (None, Strategy::Theirs) => put(&mut merge.result, &key, pick(b, o, t, t).as_ref()),
                    (None, Strategy::Field | Strategy::Row) => drop(merge.conflicts.insert(key)),
                }
            }
        }
        merge
    }

    fn resolved(&self, base: &Base, ours: &Rows, theirs: &Rows, side: &Rows, strategy: Strategy) -> Rows {
        let mut result = self.result.clone();
        for key in &self.conflicts {
            let (b, o, t, s) = (base.row(key), ours.get(key), theirs.get(key), side.get(key));
            let row = if strategy == Strategy::Row { s.cloned() } else { pick(b, o, t, s) };
            put(&mut result, key, row.as_ref());
        }
        result
    }
}

/// The row if all cells merge.
fn by_cell(base: Option<&Cell>, ours: Option<&Cell>, theirs: Option<&Cell>) -> Option<Cell> {
    let (base, ours, theirs) = (base?, ours?, theirs?);
    let clean = |b: bool, o: bool, ot: bool| b || o || ot;
    let a = clean(base.0 == ours.0, base.0 == theirs.0, ours.0 == theirs.0);
    let n = clean(base.1 == ours.1, base.1 == theirs.1, ours.1 == theirs.1);
    (a && n).then(|| pick(Some(base), Some(ours), Some(theirs), Some(ours)).unwrap())
}

/// Cells that one side changed from that side, the others from `side`.
fn pick(
    base: Option<&Cell>,
    ours: Option<&Cell>,
    theirs: Option<&Cell>,
    side: Option<&Cell>,
) -> Option<Cell> {
    let (Some(b), Some(o), Some(t), Some(s)) = (base, ours, theirs, side) else { return side.cloned() };
    let a = if o.0 == b.0 {
        &t.0
    } else if t.0 == b.0 {
        &o.0
    } else {
        &s.0
    };
    let n = if o.1 == b.1 {
        t.1
    } else if t.1 == b.1 {
        o.1
    } else {
        s.1
    };
    Some((a.clone(), n))
}

fn put(rows: &mut Rows, key: &(String, i64), row: Option<&Cell>) {
    match row {
        Some(row) => drop(rows.insert(key.clone(), row.clone())),
        None => drop(rows.remove(key)),
    }
}

fn differing(a: &Rows, b: &Rows) -> BTreeSet<(String, i64)> {
    a.keys().chain(b.keys()).filter(|key| a.get(*key) != b.get(*key)).cloned().collect()
}

async fn run(f: Fixture, seed: u64, steps: usize) {
    println!("seed {seed} (set EPOCH_TEST_SEED to repeat it)");
    let mut world = World::new(f, seed).await;
    for step in 0..steps {
        world.step().await;
        if step % 5 == 0 {
            world.check().await;
        }
    }
    world.check().await;
    println!("{:?}", world.counts);
    for expected in ["write", "commit", "branch"] {
        assert!(world.counts.contains_key(expected), "{expected} did not happen: {:?}", world.counts);
    }
    world.f.finish().await;
}

fn seed() -> u64 {
    std::env::var("EPOCH_TEST_SEED")
        .ok()
        .and_then(|s| s.parse().ok())
        .unwrap_or_else(|| rand::rng().random_range(0..1_000_000))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_operations_on_sqlite() {
    run(Fixture::new().await, seed(), 300).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_operations_on_postgres() {
    if let Some(f) = Fixture::postgres().await {
        run(f, seed(), 300).await;
    }
}
