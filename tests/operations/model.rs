//! Random operations on a repository and on a model that simply copies everything.

use std::collections::{BTreeMap, BTreeSet};

use epoch::operations::{Checkout, CommitOptions, MergeOptions, ResetOptions, Resolution, Side, Strategy};
use futures::TryStreamExt;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

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
            made: 0,
            counts: BTreeMap::new(),
        }
    }

    async fn step(&mut self) {
        let name = self.any_branch();
        let what = match self.random.random_range(0..100) {
            0..45 => self.write(&name).await,
            45..60 => self.commit(&name).await,
            60..70 => self.branch(&name).await,
            70..85 => self.merge(&name).await,
            85..92 => self.reset(&name).await,
            92..94 => self.delete_branch(&name).await,
            94..97 => self.tag(&name).await,
            _ => self.diff(&name).await,
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
        let base = self.f.repository.merge_base(&branch.checkout, "HEAD", &theirs).await.unwrap().unwrap();
        let options = MergeOptions { strategy, no_ff, ..MergeOptions::default() };
        let (checkout, head) = (branch.checkout.clone(), branch.head.clone());
        let merged = match self.f.repository.merge(&checkout, &source, &options).await {
            Ok(merged) => merged,
            Err(error) => return self.judge_refusal(name, &base, &theirs, strategy, &error),
        };
        if merged.message == "already up to date" {
            assert_eq!(base, theirs);
            return "up to date";
        }
        let expected = Merge::of(
            &self.commits,
            &base,
            &head,
            &theirs,
            if base == head { Strategy::Field } else { strategy },
        );
        assert_eq!(merged.conflicts as usize, expected.conflicts.len(), "conflicts");
        if expected.conflicts.is_empty() {
            self.note_merge(name, merged.hash, expected.result);
            return if merged.fast_forward { "fast-forward" } else { "merge" };
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
            &self.commits[&base],
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
        base: &str,
        theirs: &str,
        strategy: Strategy,
        error: &epoch::Error,
    ) -> &'static str {
        if error.code() == "0A000" {
            assert!(error.message().contains("criss-cross"), "{error}");
            return "criss-cross";
        }
        assert_eq!(error.code(), "55000", "{error}");
        if error.message().contains("soft reset") {
            return "softly reset";
        }
        assert!(error.message().contains("would be overwritten"), "{error}");
        let head = &self.branches[name].head;
        let strategy = if base == head { Strategy::Field } else { strategy };
        let expected = Merge::of(&self.commits, base, head, theirs, strategy);
        self.assert_dirty(name, &differing(&self.commits[head], &expected.result));
        "would be overwritten"
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

impl Merge {
    fn of(
        commits: &BTreeMap<String, Rows>,
        base: &str,
        ours: &str,
        theirs: &str,
        strategy: Strategy,
    ) -> Self {
        let (base, ours, theirs) = (&commits[base], &commits[ours], &commits[theirs]);
        let mut merge = Self { result: ours.clone(), conflicts: BTreeSet::new() };
        for key in differing(base, theirs) {
            let (b, o, t) = (base.get(&key), ours.get(&key), theirs.get(&key));
            if o == b {
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

    fn resolved(&self, base: &Rows, ours: &Rows, theirs: &Rows, side: &Rows, strategy: Strategy) -> Rows {
        let mut result = self.result.clone();
        for key in &self.conflicts {
            let (b, o, t, s) = (base.get(key), ours.get(key), theirs.get(key), side.get(key));
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
    run(Fixture::new().await, seed(), 250).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_operations_on_postgres() {
    if let Some(f) = Fixture::postgres().await {
        run(f, seed(), 250).await;
    }
}
