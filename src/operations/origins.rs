//! Which changes commits bring: each its own, and those of others that were picked, rebased, squashed, amended or taken
//! back. A change goes by the name of the commit that first made it, and a state is told by how often it has each:
//! merges have a change once that both of their sides have (decision 50).

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use epoch_adapter::{Error, Result};

use super::Repository;
use super::graph::Graph;
use super::sequence::Step;
use crate::metadata::origins::Origin;
use crate::metadata::refs::Branch;

/// How often a change is there; `None` if that can't be told.
pub(super) type Times = Option<i64>;

/// A change that both sides of a merge have, and the base has not, or the other way round.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Common {
    /// The commit that first made it.
    pub(super) change: String,
    /// How often both have it more than the base.
    pub(super) times: Times,
    /// The commits between base and sides that bring it again, and nothing but such changes.
    pub(super) carriers: Vec<String>,
}

/// How often a commit itself brings changes. A merge brings none: it has those of its sides.
pub(super) fn brings(graph: &Graph, at: usize) -> BTreeMap<String, Times> {
    if graph.parents(at).len() > 1 {
        return BTreeMap::new();
    }
    let origins = graph.origins(at);
    let times = |origin: &Origin| (origin.times != 0).then_some(origin.times);
    let mut brings: BTreeMap<String, Times> = origins.iter().map(|o| (o.commit.clone(), times(o))).collect();
    if origins.is_empty() || origins.iter().any(|o| !o.whole) {
        brings.insert(graph.hash(at).to_owned(), Some(1));
    }
    brings
}

/// Whether a commit brings changes of others, and none of its own.
fn is_whole(graph: &Graph, at: usize) -> bool {
    let origins = graph.origins(at);
    !origins.is_empty() && origins.iter().all(|o| o.whole)
}

/// The commits that bring a change.
fn carriers(graph: &Graph, change: &str) -> Vec<usize> {
    let own = graph.index(change).filter(|&at| !is_whole(graph, at) && graph.parents(at).len() < 2);
    own.into_iter().chain(graph.again(change).iter().copied()).collect()
}

/// What two sides that differ come to.
fn three_way(base: Times, ours: Times, theirs: Times) -> Times {
    let (base, ours, theirs) = (base?, ours?, theirs?);
    if ours == theirs || theirs == base {
        Some(ours)
    } else if ours == base {
        Some(theirs)
    } else {
        None
    }
}

/// How often some commits, and all before them that matter, have one change.
struct Counts<'a> {
    graph: &'a Graph,
    first: usize,
    counts: HashMap<usize, Times>,
}

impl<'a> Counts<'a> {
    fn of(graph: &'a Graph, change: &str, heads: &[usize]) -> Self {
        let carriers = carriers(graph, change);
        let first = carriers.iter().copied().min().unwrap_or(usize::MAX);
        let mut found: BTreeSet<usize> = heads.iter().copied().filter(|&at| at >= first).collect();
        let mut stack: Vec<usize> = found.iter().copied().collect();
        while let Some(at) = stack.pop() {
            let parents = graph.parents(at).iter().copied();
            stack.extend(parents.filter(|&p| p >= first).filter(|&p| found.insert(p)));
        }
        let mut counts = Self { graph, first, counts: HashMap::new() };
        for at in found {
            let before = counts.merged(graph.parents(at));
            let brought = match carriers.contains(&at) {
                true => brings(graph, at).get(change).copied().unwrap_or(Some(0)),
                false => Some(0),
            };
            let count = before.zip(brought).map(|(before, brought)| before + brought);
            counts.counts.insert(at, count);
        }
        counts
    }

    fn at(&self, index: usize) -> Times {
        if index < self.first {
            return Some(0);
        }
        self.counts.get(&index).copied().unwrap_or(Some(0))
    }

    /// What the merge of these commits has: of parents, or of several merge bases.
    fn merged(&self, commits: &[usize]) -> Times {
        let Some((&first, others)) = commits.split_first() else { return Some(0) };
        others.iter().fold(self.at(first), |known, &other| {
            let its = self.at(other);
            if known == its {
                return known;
            }
            three_way(self.merged(&self.graph.merge_bases(first, other)), known, its)
        })
    }
}

/// Commits that a side has and the bases have not, and the other way round.
struct Between([HashSet<usize>; 2]);

impl Between {
    fn of(graph: &Graph, bases: &[usize], side: usize) -> Self {
        Self([graph.range(&[side], bases).collect(), graph.range(bases, &[side]).collect()])
    }

    fn changes(&self, graph: &Graph) -> BTreeSet<String> {
        let Self(commits) = self;
        let mut changes: BTreeSet<String> =
            commits.iter().flatten().flat_map(|&at| brings(graph, at).into_keys()).collect();
        // What a merge counts depends on its bases: of changes that several commits bring it may have another number
        // than what lies between, though nothing there brings them.
        if commits.iter().flatten().any(|&at| graph.parents(at).len() > 1) {
            changes.extend(graph.brought_again().cloned());
        }
        changes
    }

    fn contains(&self, at: usize) -> bool {
        let Self(commits) = self;
        commits.iter().any(|commits| commits.contains(&at))
    }

    /// Whether the side has a commit, given whether the base has it.
    fn has(&self, at: usize, base: bool) -> bool {
        let Self([more, less]) = self;
        more.contains(&at) || (base && !less.contains(&at))
    }
}

/// How often base, ours and theirs have a change. What lies between is given as far as somebody knows it.
fn times(
    graph: &Graph,
    change: &str,
    bases: &[usize],
    [ours, theirs]: [usize; 2],
    [near_ours, near_theirs]: [Option<&Between>; 2],
) -> [Times; 3] {
    // One that a single commit brings is there where that is.
    if let ([only], [base]) = (carriers(graph, change).as_slice(), bases)
        && brings(graph, *only).get(change) == Some(&Some(1))
    {
        let in_base = graph.is_ancestor(*only, *base);
        let in_side = |side: usize, near: Option<&Between>| match near {
            Some(near) => near.has(*only, in_base),
            None => graph.is_ancestor(*only, side),
        };
        let there = [in_base, in_side(ours, near_ours), in_side(theirs, near_theirs)];
        return there.map(|there| Some(i64::from(there)));
    }
    let heads: Vec<usize> = bases.iter().copied().chain([ours, theirs]).collect();
    let counts = Counts::of(graph, change, &heads);
    [counts.merged(bases), counts.at(ours), counts.at(theirs)]
}

/// With this many changes to look for, ours is read once instead of once for each.
const MANY: usize = 8;

/// What a state that is merged from these has more than ours.
fn brought(graph: &Graph, bases: &[usize], ours: usize, theirs: usize) -> BTreeMap<String, Times> {
    let near_theirs = Between::of(graph, bases, theirs);
    let changes = near_theirs.changes(graph);
    let near_ours = (changes.len() > MANY).then(|| Between::of(graph, bases, ours));
    let more = |change: String| {
        let near = [near_ours.as_ref(), Some(&near_theirs)];
        let [base, our, their] = times(graph, &change, bases, [ours, theirs], near);
        let times = three_way(base, our, their).zip(our).map(|(merged, our)| merged - our);
        (change, times)
    };
    changes.into_iter().map(more).filter(|(_, times)| *times != Some(0)).collect()
}

/// The changes that both sides have and the base has not, or the other way round; with those of which that can't be told.
fn common(graph: &Graph, bases: &[usize], ours: usize, theirs: usize) -> Vec<Common> {
    let [near_ours, near_theirs] = [ours, theirs].map(|side| Between::of(graph, bases, side));
    let of_theirs = near_theirs.changes(graph);
    let mut changes = near_ours.changes(graph);
    changes.retain(|change| of_theirs.contains(change));
    let one = |change: String| {
        let near = [Some(&near_ours), Some(&near_theirs)];
        let times = match times(graph, &change, bases, [ours, theirs], near) {
            [Some(base), Some(our), Some(their)] => match (our - base, their - base) {
                (0, _) | (_, 0) => return None,
                (our, their) => (our == their).then_some(our),
            },
            _ => None,
        };
        let near = |at: usize| near_ours.contains(at) || near_theirs.contains(at);
        let again = graph.again(&change).iter().copied().filter(|&at| near(at) && is_whole(graph, at));
        let carriers = again.map(|at| graph.hash(at).to_owned()).collect();
        Some(Common { change, times, carriers })
    };
    let mut found: Vec<Common> = changes.into_iter().filter_map(one).collect();
    // A base that is a merge of its own has added its sides up, whatever they have in common.
    if let [first, others @ ..] = bases {
        for other in others {
            let below = graph.merge_bases(*first, *other);
            found.extend(
                common(graph, &below, *first, *other).into_iter().map(|c| Common { times: None, ..c }),
            );
        }
    }
    found
}

fn origins(brought: BTreeMap<String, Times>, whole: bool) -> Vec<Origin> {
    brought.into_iter().map(|(commit, times)| Origin { commit, times: times.unwrap_or(0), whole }).collect()
}

/// Adds what two commits bring.
fn together(mut first: BTreeMap<String, Times>, second: BTreeMap<String, Times>) -> BTreeMap<String, Times> {
    for (change, times) in second {
        let known = first.entry(change).or_insert(Some(0));
        *known = known.zip(times).map(|(a, b)| a + b);
    }
    first.retain(|_, times| *times != Some(0));
    first
}

/// The commits' places in the graph.
fn places(graph: &Graph, bases: &[String], ours: &str, theirs: &str) -> Result<(Vec<usize>, usize, usize)> {
    let place =
        |hash: &str| graph.index(hash).ok_or_else(|| Error::internal("a commit is missing from the graph"));
    let bases = bases.iter().map(|base| place(base)).collect::<Result<_>>()?;
    Ok((bases, place(ours)?, place(theirs)?))
}

impl Repository {
    /// The changes that a commit on top of `ours` brings which has what `theirs` has more than `bases`.
    pub(super) async fn brought(
        &self,
        bases: &[String],
        ours: &str,
        theirs: &str,
        whole: bool,
    ) -> Result<Vec<Origin>> {
        self.with_graph(|graph| {
            let (bases, ours, theirs) = places(graph, bases, ours, theirs)?;
            Ok(origins(brought(graph, &bases, ours, theirs), whole))
        })
        .await
    }

    /// The changes that a commit on top of `parent` takes up from commits that were published on a branch after it, beside
    /// its own: it amends them, or follows a soft reset.
    pub(super) async fn taken_up(&self, branch: &Branch, parent: &str) -> Result<Vec<Origin>> {
        let published = self.published(branch).await?.1;
        self.brought(&[parent.to_owned()], parent, &published, false).await
    }

    /// The changes that the commit of a step brings.
    pub(super) async fn brought_by_step(&self, target: &Branch, step: &Step) -> Result<Vec<Origin>> {
        let (base, theirs) = step.ends();
        self.with_graph(|graph| {
            let (bases, ours, theirs) = places(graph, &[base.to_owned()], &target.head, theirs)?;
            let mut all = brought(graph, &bases, ours, theirs);
            if step.action.joins() {
                // It takes the place of the commit before it.
                all = together(brings(graph, ours), all);
            }
            Ok(origins(all, true))
        })
        .await
    }

    /// The changes that both sides of a merge have, by commits that bring them again.
    pub(super) async fn common_changes(&self, bases: &str, ours: &str, theirs: &str) -> Result<Vec<Common>> {
        let bases: Vec<String> = bases.split(' ').map(str::to_owned).collect();
        self.with_graph(|graph| {
            let (bases, ours, theirs) = places(graph, &bases, ours, theirs)?;
            Ok(common(graph, &bases, ours, theirs))
        })
        .await
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;
    use crate::metadata::commits::GraphRow;

    /// Commit i has these parents, and brings these again: (commit, times, whole).
    fn graph(commits: &[(&[usize], &[(usize, i64, bool)])]) -> Graph {
        let mut graph = Graph::default();
        let rows = commits.iter().enumerate().map(|(i, (parents, origins))| GraphRow {
            seq: i as i64 + 1,
            hash: i.to_string(),
            parents: parents.iter().map(ToString::to_string).collect(),
            tables: vec![],
            origins: origins
                .iter()
                .map(|(commit, times, whole)| Origin {
                    commit: commit.to_string(),
                    times: *times,
                    whole: *whole,
                })
                .collect(),
        });
        graph.extend(rows.collect());
        graph
    }

    fn known(common: &[Common]) -> Vec<(&str, Times)> {
        common.iter().map(|c| (c.change.as_str(), c.times)).collect()
    }

    #[test]
    fn a_picked_commit_is_one_change() {
        // 0 - 1 (picks 2); 0 - 2 - 3
        let g = graph(&[(&[], &[]), (&[0], &[]), (&[0], &[]), (&[2], &[]), (&[1], &[(2, 1, true)])]);
        assert_eq!(known(&common(&g, &[0], 4, 3)), [("2", Some(1))]);
        assert_eq!(common(&g, &[0], 4, 3)[0].carriers, ["4"]);
        assert_eq!(known(&common(&g, &[0], 1, 3)), []);
        // To pick it once more brings nothing.
        assert_eq!(brought(&g, &[0], 4, 2), BTreeMap::new());
        assert_eq!(brought(&g, &[0], 1, 2), BTreeMap::from([("2".to_owned(), Some(1))]));
        // Also where it is itself.
        assert_eq!(known(&common(&g, &[0], 3, 2)), [("2", Some(1))]);
    }

    #[test]
    fn what_was_merged_is_in_the_base_from_then_on() {
        // 4 picks 2, 5 merges 3 into 4; 6 on top of 3.
        let g = graph(&[
            (&[], &[]),
            (&[0], &[]),
            (&[0], &[]),
            (&[2], &[]),
            (&[1], &[(2, 1, true)]),
            (&[4, 3], &[]),
            (&[3], &[]),
        ]);
        assert_eq!(known(&common(&g, &[3], 5, 6)), [], "5 has 2 once, as 3 has");
        // Somebody takes it back on both sides.
        let g = graph(&[
            (&[], &[]),
            (&[0], &[]),
            (&[0], &[]),
            (&[2], &[]),
            (&[1], &[(2, 1, true)]),
            (&[4, 3], &[]),
            (&[3], &[(2, -1, true)]),
            (&[5], &[(2, -1, true)]),
        ]);
        assert_eq!(known(&common(&g, &[3], 7, 6)), [("2", Some(-1))]);
        assert_eq!(known(&common(&g, &[3], 5, 6)), [], "one side takes it back");
    }

    #[test]
    fn what_was_taken_back_can_be_brought_again() {
        // 1, taken back by 2, picked again by 3.
        let g = graph(&[(&[], &[]), (&[0], &[]), (&[1], &[(1, -1, true)])]);
        assert_eq!(brought(&g, &[0], 2, 1), BTreeMap::from([("1".to_owned(), Some(1))]));
        assert_eq!(known(&common(&g, &[0], 2, 1)), []);
        // To take it back once more brings nothing.
        assert_eq!(brought(&g, &[1], 2, 0), BTreeMap::new());
        assert_eq!(known(&common(&g, &[1], 2, 0)), [("1", Some(-1))]);
    }

    #[test]
    fn an_amended_commit_has_the_old_one_and_its_own() {
        // 2 amends 1 on main; 3 is on top of 1.
        let g = graph(&[(&[], &[]), (&[0], &[]), (&[0], &[(1, 1, false)]), (&[1], &[])]);
        assert_eq!(known(&common(&g, &[0], 2, 3)), [("1", Some(1))]);
        assert!(common(&g, &[0], 2, 3)[0].carriers.is_empty(), "it may have other changes");
        let brings = brings(&g, 2);
        assert_eq!(brings, BTreeMap::from([("1".to_owned(), Some(1)), ("2".to_owned(), Some(1))]));
    }

    #[test]
    fn what_was_squashed_is_known_by_its_parts() {
        // 3 squashes 1 and 2; 4 goes on after 2.
        let mut g = graph(&[(&[], &[]), (&[0], &[]), (&[1], &[])]);
        let brought = brought(&g, &[0], 0, 2);
        assert_eq!(brought.keys().collect::<Vec<_>>(), ["1", "2"]);
        let row = |hash: &str, parent: &str, origins| GraphRow {
            seq: hash.parse::<i64>().unwrap() + 1,
            hash: hash.to_owned(),
            parents: vec![parent.to_owned()],
            tables: vec![],
            origins,
        };
        g.extend(vec![row("3", "0", origins(brought, true)), row("4", "2", vec![])]);
        assert_eq!(known(&common(&g, &[0], 3, 4)), [("1", Some(1)), ("2", Some(1))]);
        assert_eq!(known(&common(&g, &[0], 3, 1)), [("1", Some(1))]);
    }

    #[test]
    fn what_one_side_has_twice_is_not_known() {
        let g = graph(&[(&[], &[]), (&[0], &[]), (&[0], &[(1, 1, true)]), (&[2], &[(1, 1, true)])]);
        assert_eq!(known(&common(&g, &[0], 3, 1)), [("1", None)]);
        assert_eq!(brought(&g, &[0], 3, 1), BTreeMap::from([("1".to_owned(), None)]));
    }

    #[test]
    fn bases_that_have_a_change_in_common_make_it_unknown() {
        // 1 and 2 bring the same; 3 and 4 merge them criss-cross.
        let g = graph(&[(&[], &[]), (&[0], &[]), (&[0], &[(1, 1, true)]), (&[1, 2], &[]), (&[2, 1], &[])]);
        assert_eq!(known(&common(&g, &[1, 2], 3, 4)), [("1", None)]);
    }
}
