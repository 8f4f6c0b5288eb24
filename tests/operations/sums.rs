//! One and the same change on both sides of a merge counts once where deltas are added up.

use std::collections::{BTreeMap, BTreeSet};

use epoch::operations::{
    Checkout, CommitOptions, MergeOptions, PickOptions, RebaseOptions, Resolution, Side, Strategy, Verb,
};
use epoch_adapter::Value;

use super::support::{Fixture, ada, commit_options};

async fn on_all(test: impl AsyncFn(&Fixture)) {
    let f = Fixture::new().await;
    test(&f).await;
    f.finish().await;
    if let Some(f) = Fixture::postgres().await {
        test(&f).await;
        f.finish().await;
    }
}

/// `t.1` begins with 100, and its `n` is a sum.
async fn start(f: &Fixture) -> Checkout {
    f.set(&f.main, "t", 1, "one", Some(100)).await;
    f.commit(&f.main, "a hundred").await;
    f.repository.set_merge_rule(&f.main, "t", "n", Some("sum")).await.unwrap();
    f.branch("dev", &f.main).await
}

/// Adds to `t.1` and commits; the commit's hash.
async fn add(f: &Fixture, on: &Checkout, delta: i64) -> String {
    f.set(on, "t", 1, "one", Some(total(f, on).await + delta)).await;
    f.commit(on, &format!("{delta} more")).await.hash
}

async fn total(f: &Fixture, on: &Checkout) -> i64 {
    f.row(on, "t", 1).await.unwrap().1.unwrap()
}

async fn pick(f: &Fixture, on: &Checkout, commit: &str) -> usize {
    let done = f.repository.cherry_pick(on, &[commit.to_owned()], &PickOptions::default()).await.unwrap();
    assert_eq!(done.conflicts, 0);
    done.done
}

async fn revert(f: &Fixture, on: &Checkout, commit: &str) -> usize {
    let done = f.repository.revert(on, &[commit.to_owned()], &PickOptions::default()).await.unwrap();
    assert_eq!(done.conflicts, 0);
    done.done
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_picked_delta_was_counted_twice_by_the_merge() {
    on_all(async |f| {
        let dev = start(f).await;
        let ten = add(f, &dev, 10).await;
        add(f, &f.main, 5).await;
        assert_eq!(pick(f, &f.main, &ten).await, 1);
        assert_eq!(total(f, &f.main).await, 115);
        assert_eq!(pick(f, &f.main, &ten).await, 0, "the branch has it already");
        add(f, &dev, -2).await;
        assert_eq!(f.merge(&f.main, "dev").await.conflicts, 0);
        assert_eq!(total(f, &f.main).await, 113);
        // From here on it is in the base.
        add(f, &dev, 1).await;
        add(f, &f.main, 30).await;
        assert_eq!(f.merge(&f.main, "dev").await.conflicts, 0);
        assert_eq!(total(f, &f.main).await, 144);
        assert_eq!(f.merge(&dev, "main").await.conflicts, 0);
        assert_eq!(total(f, &dev).await, 144);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_picked_delta_counts_once_where_the_sum_of_a_side_is_nothing() {
    on_all(async |f| {
        let dev = start(f).await;
        let ten = add(f, &dev, 10).await;
        add(f, &f.main, 3).await;
        pick(f, &f.main, &ten).await;
        add(f, &f.main, -13).await;
        assert_eq!(f.merge(&f.main, "dev").await.conflicts, 0);
        assert_eq!(total(f, &f.main).await, 100, "ten once, and ten less");
    })
    .await;
    on_all(async |f| {
        let dev = start(f).await;
        let ten = add(f, &dev, 10).await;
        add(f, &f.main, 3).await;
        pick(f, &f.main, &ten).await;
        add(f, &f.main, -13).await;
        add(f, &dev, -10).await;
        // So that there is something to merge.
        f.set(&dev, "t", 2, "other", Some(7)).await;
        f.commit(&dev, "another row").await;
        assert_eq!(f.merge(&f.main, "dev").await.conflicts, 0);
        assert_eq!(total(f, &f.main).await, 90, "ten once, and twice ten less");
        assert_eq!(f.row(&f.main, "t", 2).await.unwrap().1, Some(7));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_picks_of_one_commit_are_one_change() {
    on_all(async |f| {
        let dev = start(f).await;
        let other = f.branch("other", &f.main).await;
        let third = f.branch("third", &f.main).await;
        let ten = add(f, &dev, 10).await;
        add(f, &other, 2).await;
        pick(f, &other, &ten).await;
        // A pick of a pick.
        let head = f.repository.hash_of(&other, "HEAD").await.unwrap();
        add(f, &third, 1).await;
        pick(f, &third, &head).await;
        assert_eq!(f.merge(&other, "third").await.conflicts, 0);
        assert_eq!(total(f, &other).await, 113);
        assert_eq!(f.merge(&dev, "other").await.conflicts, 0);
        assert_eq!(total(f, &dev).await, 113);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_both_sides_take_back_is_taken_back_once() {
    on_all(async |f| {
        start(f).await;
        let ten = add(f, &f.main, 10).await;
        let late = f.branch("late", &f.main).await;
        assert_eq!(revert(f, &f.main, &ten).await, 1);
        assert_eq!(revert(f, &f.main, &ten).await, 0, "it is taken back already");
        assert_eq!(revert(f, &late, &ten).await, 1);
        add(f, &late, 1).await;
        assert_eq!(f.merge(&f.main, "late").await.conflicts, 0);
        assert_eq!(total(f, &f.main).await, 101);
        // And what was taken back can be brought again.
        assert_eq!(pick(f, &f.main, &ten).await, 1);
        assert_eq!(total(f, &f.main).await, 111);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_amended_commit_and_the_old_one_have_a_delta_in_common() {
    on_all(async |f| {
        let dev = start(f).await;
        add(f, &dev, 10).await;
        let old = f.branch("old", &dev).await;
        f.set(&dev, "t", 1, "one", Some(115)).await;
        let amend = CommitOptions { amend: true, ..commit_options("fifteen") };
        f.repository.commit(&dev, &amend).await.unwrap();
        add(f, &old, 1).await;
        assert_eq!(f.merge(&dev, "old").await.conflicts, 0);
        assert_eq!(total(f, &dev).await, 116);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rebased_branch_and_one_of_its_old_commits_have_deltas_in_common() {
    on_all(async |f| {
        let dev = start(f).await;
        add(f, &dev, 10).await;
        let old = f.branch("old", &dev).await;
        add(f, &dev, 20).await;
        add(f, &f.main, 1000).await;
        let done = f.repository.rebase(&dev, "main", &RebaseOptions::default()).await.unwrap();
        assert_eq!((done.conflicts, total(f, &dev).await), (0, 1130));
        add(f, &old, 1).await;
        assert_eq!(f.merge(&dev, "old").await.conflicts, 0);
        assert_eq!(total(f, &dev).await, 1131);
        // A rebase onto what has a commit already leaves it out.
        let again = f.branch("again", &old).await;
        let done = f.repository.rebase(&again, "dev", &RebaseOptions::default()).await.unwrap();
        assert_eq!((done.conflicts, total(f, &again).await), (0, 1131));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_squashed_branch_can_be_merged_on() {
    on_all(async |f| {
        let dev = start(f).await;
        add(f, &dev, 10).await;
        add(f, &dev, 20).await;
        add(f, &f.main, 1000).await;
        let squash = MergeOptions { squash: true, ..MergeOptions::default() };
        assert_eq!(f.repository.merge(&f.main, "dev", &squash).await.unwrap().conflicts, 0);
        assert_eq!(total(f, &f.main).await, 1130);
        add(f, &dev, 1).await;
        // Squashed once more it brings what is new.
        assert_eq!(f.repository.merge(&f.main, "dev", &squash).await.unwrap().conflicts, 0);
        assert_eq!(total(f, &f.main).await, 1131);
        add(f, &dev, 2).await;
        assert_eq!(f.merge(&f.main, "dev").await.conflicts, 0);
        assert_eq!(total(f, &f.main).await, 1133);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_squashed_history_has_what_its_old_commits_have() {
    on_all(async |f| {
        let dev = start(f).await;
        add(f, &dev, 10).await;
        let old = f.branch("old", &dev).await;
        add(f, &dev, 20).await;
        f.repository.squash_history(&dev, "main", None, &ada()).await.unwrap();
        assert_eq!(total(f, &dev).await, 130);
        add(f, &old, 1).await;
        assert_eq!(f.merge(&dev, "old").await.conflicts, 0);
        assert_eq!(total(f, &dev).await, 131);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pick_that_was_resolved_by_hand_makes_the_sum_a_conflict() {
    on_all(async |f| {
        let dev = start(f).await;
        f.repository.set_merge_rule(&f.main, "t", "n", None).await.unwrap();
        let ten = add(f, &dev, 10).await;
        add(f, &f.main, 5).await;
        let stopped = f.repository.cherry_pick(&f.main, &[ten], &PickOptions::default()).await.unwrap();
        assert_eq!(stopped.conflicts, 1);
        let value = if f.is_postgres() { Value::Text("112".to_owned()) } else { Value::Int(112) };
        let by_hand = Resolution {
            side: Side::Value(value.clone()),
            table: Some("t".to_owned()),
            key: None,
            column: Some("n".to_owned()),
        };
        f.repository.resolve_conflicts(&f.main, &by_hand).await.unwrap();
        f.repository.sequence_continue(&f.main, Verb::CherryPick, &ada(), None).await.unwrap();
        assert_eq!(total(f, &f.main).await, 112);
        f.repository.set_merge_rule(&f.main, "t", "n", Some("sum")).await.unwrap();
        add(f, &dev, 1).await;
        // 7 and 10 are said to be one change.
        assert_eq!(f.merge(&f.main, "dev").await.conflicts, 1);
        let found = f.repository.conflicts(&f.main, Some("t")).await.unwrap();
        assert_eq!((found.len(), found[0].columns.as_slice()), (1, &["n".to_owned()][..]));
        f.repository.resolve_conflicts(&f.main, &by_hand).await.unwrap();
        f.repository.merge_continue(&f.main, &ada(), None).await.unwrap();
        assert_eq!(total(f, &f.main).await, 112);
    })
    .await;
}

/// Both sides say 110: that their tens are one change isn't known, that they are two isn't, either.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_conflict_of_equal_values_takes_the_value_that_is_chosen() {
    on_all(async |f| {
        let dev = start(f).await;
        f.repository.set_merge_rule(&f.main, "t", "n", None).await.unwrap();
        let ten = add(f, &dev, 10).await;
        // What main has done of its own makes the pick one of nothing in this column.
        add(f, &f.main, 10).await;
        f.set(&dev, "t", 2, "two", Some(8)).await;
        let amend = CommitOptions { amend: true, ..commit_options("ten, and another row") };
        let more = f.repository.commit(&dev, &amend).await.unwrap().hash;
        assert_ne!(more, ten);
        assert_eq!(pick(f, &f.main, &more).await, 1);
        assert_eq!(total(f, &f.main).await, 110);
        f.repository.set_merge_rule(&f.main, "t", "n", Some("sum")).await.unwrap();
        let ours = MergeOptions { strategy: Strategy::Ours, dry_run: true, ..MergeOptions::default() };
        assert_eq!(f.repository.merge(&f.main, "dev", &ours).await.unwrap().conflicts, 0);
        let row = MergeOptions { strategy: Strategy::Row, dry_run: true, ..MergeOptions::default() };
        assert!(f.repository.merge(&f.main, "dev", &row).await.unwrap().conflicts > 0);
        assert_eq!(f.merge(&f.main, "dev").await.conflicts, 1);
        let value = if f.is_postgres() { Value::Text("120".to_owned()) } else { Value::Int(120) };
        let resolution = Resolution {
            side: Side::Value(value),
            table: Some("t".to_owned()),
            key: None,
            column: Some("n".to_owned()),
        };
        f.repository.resolve_conflicts(&f.main, &resolution).await.unwrap();
        f.repository.merge_continue(&f.main, &ada(), None).await.unwrap();
        assert_eq!(total(f, &f.main).await, 120);
    })
    .await;
}

/// A commit as the model knows it: how often it has which change.
struct Known {
    hash: String,
    parents: Vec<usize>,
    counts: BTreeMap<usize, i64>,
}

/// States are sums of changes, each so many times; what a change does is known from when it was made.
struct Model {
    commits: Vec<Known>,
    deltas: Vec<i64>,
    heads: Vec<usize>,
}

impl Model {
    fn total(&self, counts: &BTreeMap<usize, i64>) -> i64 {
        100 + counts.iter().map(|(change, n)| self.deltas[*change] * n).sum::<i64>()
    }

    fn above(&self, from: usize) -> BTreeSet<usize> {
        let mut seen = BTreeSet::from([from]);
        let mut stack = vec![from];
        while let Some(at) = stack.pop() {
            stack.extend(self.commits[at].parents.iter().copied().filter(|p| seen.insert(*p)));
        }
        seen
    }

    /// The best common ancestors.
    fn bases(&self, a: usize, b: usize) -> Vec<usize> {
        let common: BTreeSet<usize> = self.above(a).intersection(&self.above(b)).copied().collect();
        let best = |c: &&usize| !common.iter().any(|d| d != *c && self.above(*d).contains(*c));
        common.iter().filter(best).copied().collect()
    }

    /// What merging comes to; `None` for a conflict.
    fn merged(&self, base: usize, ours: usize, theirs: usize) -> Option<BTreeMap<usize, i64>> {
        let [base, ours, theirs] = [base, ours, theirs].map(|at| &self.commits[at].counts);
        let mut merged = BTreeMap::new();
        for change in 0..self.deltas.len() {
            let [b, o, t] = [base, ours, theirs].map(|counts| counts.get(&change).copied().unwrap_or(0));
            let count = match (o - b, t - b) {
                (x, y) if x == y => o,
                (0, _) => t,
                (_, 0) => o,
                _ => return None,
            };
            merged.insert(change, count);
        }
        Some(merged)
    }

    fn commit(&mut self, hash: String, parents: Vec<usize>, counts: BTreeMap<usize, i64>) -> usize {
        // The same commit may come about twice.
        if let Some(known) = self.commits.iter().position(|c| c.hash == hash) {
            assert_eq!(self.total(&self.commits[known].counts), self.total(&counts));
            return known;
        }
        self.commits.push(Known { hash, parents, counts });
        self.commits.len() - 1
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sums_agree_with_a_model_of_changes_that_are_picked_reverted_amended_and_merged() {
    for seed in [1_u64, 2] {
        let f = Fixture::new().await;
        agrees(&f, seed).await;
    }
}

async fn agrees(f: &Fixture, seed: u64) {
    let mut state = seed;
    let mut random = move |n: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % n
    };
    let r = &f.repository;
    let branches = [f.main.clone(), start(f).await, f.branch("third", &f.main).await];
    let hash = r.hash_of(&f.main, "HEAD").await.unwrap();
    let root = Known { hash, parents: vec![], counts: BTreeMap::new() };
    let mut model = Model { commits: vec![root], deltas: vec![], heads: vec![0; 3] };
    let (mut merges, mut picks) = (0, 0);
    for step in 0..120 {
        let at = random(3);
        let (branch, head) = (&branches[at], model.heads[at]);
        let ordinary: Vec<usize> =
            (0..model.commits.len()).filter(|i| model.commits[*i].parents.len() == 1).collect();
        let some = (!ordinary.is_empty()).then(|| ordinary[random(ordinary.len().max(1))]);
        match (random(10), some) {
            (0..4, _) | (_, None) => {
                let delta = random(50) as i64 + 1;
                let hash = add(f, branch, delta).await;
                let mut counts = model.commits[head].counts.clone();
                counts.insert(model.deltas.len(), 1);
                model.deltas.push(delta);
                model.heads[at] = model.commit(hash, vec![head], counts);
            }
            (4, _) if model.commits[head].parents.len() == 1 => {
                let delta = random(50) as i64 + 1;
                let n = total(f, branch).await + delta;
                f.set(branch, "t", 1, "one", Some(n)).await;
                let amend = CommitOptions { amend: true, ..commit_options(&format!("amended {step}")) };
                let hash = r.commit(branch, &amend).await.unwrap().hash;
                let mut counts = model.commits[head].counts.clone();
                counts.insert(model.deltas.len(), 1);
                model.deltas.push(delta);
                let parents = model.commits[head].parents.clone();
                model.heads[at] = model.commit(hash, parents, counts);
            }
            (kind @ (4..8), Some(commit)) => {
                let (revert, parent) = (kind > 6, model.commits[commit].parents[0]);
                let (base, theirs) = if revert { (commit, parent) } else { (parent, commit) };
                let specs = [model.commits[commit].hash.clone()];
                let options = PickOptions::default();
                let (verb, done) = match revert {
                    true => (Verb::Revert, r.revert(branch, &specs, &options).await.unwrap()),
                    false => (Verb::CherryPick, r.cherry_pick(branch, &specs, &options).await.unwrap()),
                };
                picks += 1;
                match model.merged(base, head, theirs) {
                    None => {
                        assert_eq!(done.conflicts, 1, "seed {seed}, step {step}");
                        r.sequence_abort(branch, verb).await.unwrap();
                    }
                    Some(counts) => {
                        assert_eq!(done.conflicts, 0, "seed {seed}, step {step}");
                        // What changes nothing is no commit.
                        if model.total(&counts) != model.total(&model.commits[head].counts) {
                            assert_eq!(done.done, 1, "seed {seed}, step {step}");
                            model.heads[at] = model.commit(done.hash, vec![head], counts);
                        }
                    }
                }
            }
            _ => {
                let other = (at + 1 + random(2)) % 3;
                let theirs = model.heads[other];
                let bases = model.bases(head, theirs);
                let [base] = bases[..] else { continue };
                let source = branches[other].name.clone();
                let done = r.merge(branch, &source, &MergeOptions::default()).await.unwrap();
                merges += 1;
                if base == theirs {
                    continue;
                }
                if base == head {
                    model.heads[at] = theirs;
                    continue;
                }
                match model.merged(base, head, theirs) {
                    None => {
                        assert_eq!(done.conflicts, 1, "seed {seed}, step {step}");
                        r.merge_abort(branch).await.unwrap();
                    }
                    Some(counts) => {
                        assert_eq!(done.conflicts, 0, "seed {seed}, step {step}");
                        model.heads[at] = model.commit(done.hash, vec![head, theirs], counts);
                    }
                }
            }
        }
        let expected = model.total(&model.commits[model.heads[at]].counts);
        assert_eq!(total(f, branch).await, expected, "seed {seed}, step {step}");
        assert_eq!(r.hash_of(branch, "HEAD").await.unwrap(), model.commits[model.heads[at]].hash);
    }
    assert!(merges > 8 && picks > 20, "seed {seed}: {merges} {picks}");
}
