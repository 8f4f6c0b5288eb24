//! The commit graph in memory: what only needs parents, never rows. Commits are immutable, so it
//! only ever grows. A commit's index is smaller than its children's: walks by falling index are
//! topological, and a commit's flags are final when it is reached.

use std::collections::{BinaryHeap, HashMap, HashSet};

use epoch_adapter::TableId;

use crate::metadata::commits::GraphRow;
use crate::metadata::origins::Origin;

/// All commits of a repository.
#[derive(Debug, Default)]
pub(super) struct Graph {
    nodes: Vec<Node>,
    by_hash: HashMap<String, usize>,
    /// The commits that bring a change of another one again, by the commit that first made it.
    again: HashMap<String, Vec<usize>>,
}

#[derive(Debug)]
struct Node {
    seq: i64,
    hash: String,
    parents: Vec<usize>,
    /// Tables that differ from the first parent.
    tables: Vec<TableId>,
    origins: Vec<Origin>,
}

impl Graph {
    /// The newest commit's number.
    pub(super) fn last_seq(&self) -> i64 {
        self.nodes.last().map_or(0, |n| n.seq)
    }

    /// Adds commits, oldest first.
    pub(super) fn extend(&mut self, rows: Vec<GraphRow>) {
        for row in rows {
            if row.seq <= self.last_seq() {
                continue;
            }
            let parents = row.parents.iter().filter_map(|p| self.index(p)).collect();
            self.by_hash.insert(row.hash.clone(), self.nodes.len());
            for origin in &row.origins {
                self.again.entry(origin.commit.clone()).or_default().push(self.nodes.len());
            }
            let GraphRow { seq, hash, tables, origins, .. } = row;
            self.nodes.push(Node { seq, hash, parents, tables, origins });
        }
    }

    pub(super) fn index(&self, hash: &str) -> Option<usize> {
        self.by_hash.get(hash).copied()
    }

    /// The commit's number, which stays its own whatever is collected.
    pub(super) fn seq(&self, index: usize) -> i64 {
        self.nodes.get(index).map_or(0, |n| n.seq)
    }

    pub(super) fn hash(&self, index: usize) -> &str {
        self.nodes.get(index).map_or("", |n| n.hash.as_str())
    }

    pub(super) fn parents(&self, index: usize) -> &[usize] {
        self.nodes.get(index).map_or(&[], |n| n.parents.as_slice())
    }

    pub(super) fn tables(&self, index: usize) -> &[TableId] {
        self.nodes.get(index).map_or(&[], |n| n.tables.as_slice())
    }

    /// The changes of others that a commit brings again.
    pub(super) fn origins(&self, index: usize) -> &[Origin] {
        self.nodes.get(index).map_or(&[], |n| n.origins.as_slice())
    }

    /// The commits whose changes others bring again.
    pub(super) fn brought_again(&self) -> impl Iterator<Item = &String> {
        self.again.keys()
    }

    /// The commits that bring the change of a commit again.
    pub(super) fn again(&self, hash: &str) -> &[usize] {
        self.again.get(hash).map_or(&[], Vec::as_slice)
    }

    /// The `n`th ancestor by first parents.
    pub(super) fn ancestor(&self, index: usize, n: usize) -> Option<usize> {
        (0..n).try_fold(index, |at, _| self.parents(at).first().copied())
    }

    /// Whether `a` is `b` or one of its ancestors.
    pub(super) fn is_ancestor(&self, a: usize, b: usize) -> bool {
        let mut stack = vec![b];
        let mut seen = HashSet::new();
        while let Some(at) = stack.pop() {
            if at == a {
                return true;
            }
            stack.extend(self.parents(at).iter().copied().filter(|&p| p >= a && seen.insert(p)));
        }
        false
    }

    /// Commits that can be reached from `include` and not from `exclude`, newest first.
    pub(super) fn range(&self, include: &[usize], exclude: &[usize]) -> Range<'_> {
        let mut range = Range { graph: self, queue: BinaryHeap::new(), excluded: HashMap::new(), wanted: 0 };
        exclude.iter().for_each(|&i| range.push(i, true));
        include.iter().for_each(|&i| range.push(i, false));
        range
    }

    /// The best common ancestors: those that are no ancestor of another common ancestor.
    pub(super) fn merge_bases(&self, a: usize, b: usize) -> Vec<usize> {
        const A: u8 = 1;
        const B: u8 = 2;
        const STALE: u8 = 4;
        let mut flags: HashMap<usize, u8> = HashMap::new();
        let mut queue = BinaryHeap::new();
        for (index, flag) in [(a, A), (b, B)] {
            if flags.insert(index, flags.get(&index).copied().unwrap_or(0) | flag).is_none() {
                queue.push(index);
            }
        }
        let mut bases = Vec::new();
        while let Some(at) = queue.pop() {
            let mut flag = flags.get(&at).copied().unwrap_or(0);
            if flag & (A | B) == A | B {
                if flag & STALE == 0 {
                    bases.push(at);
                }
                flag |= STALE;
            }
            for &parent in self.parents(at) {
                let known = flags.get(&parent).copied();
                flags.insert(parent, known.unwrap_or(0) | flag);
                if known.is_none() {
                    queue.push(parent);
                }
            }
            if queue.iter().all(|i| flags.get(i).is_some_and(|f| f & STALE != 0)) {
                break;
            }
        }
        bases
    }

    /// Tables whose content may differ between two commits. A commit names its tables against its
    /// first parent, so the two chains of first parents down to where they meet say it all.
    pub(super) fn changed_tables(&self, a: usize, b: usize) -> HashSet<TableId> {
        let mut tables = HashSet::new();
        let (mut a, mut b) = (Some(a), Some(b));
        while a != b {
            // The newer one can't be an ancestor of the older one, so it steps.
            let newer = if a > b { &mut a } else { &mut b };
            let Some(at) = *newer else { break };
            tables.extend(self.tables(at).iter().copied());
            *newer = self.parents(at).first().copied();
        }
        tables
    }
}

/// See [`Graph::range`].
pub(super) struct Range<'a> {
    graph: &'a Graph,
    queue: BinaryHeap<usize>,
    /// Everything that was ever queued, and whether it is excluded.
    excluded: HashMap<usize, bool>,
    /// Queued and not excluded.
    wanted: usize,
}

impl Range<'_> {
    fn push(&mut self, index: usize, excluded: bool) {
        match self.excluded.get_mut(&index) {
            None => {
                self.excluded.insert(index, excluded);
                self.queue.push(index);
                self.wanted += usize::from(!excluded);
            }
            Some(known) if excluded && !*known => {
                *known = true;
                self.wanted -= 1;
            }
            Some(_) => {}
        }
    }
}

impl Iterator for Range<'_> {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        while self.wanted > 0 {
            let at = self.queue.pop()?;
            let excluded = self.excluded.get(&at).copied().unwrap_or(true);
            self.wanted -= usize::from(!excluded);
            let graph = self.graph;
            for &parent in graph.parents(at) {
                self.push(parent, excluded);
            }
            if !excluded {
                return Some(at);
            }
        }
        None
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// Commit i has the parents given, and changed table i.
    fn graph(parents: &[&[usize]]) -> Graph {
        let mut graph = Graph::default();
        let rows = parents.iter().enumerate().map(|(i, parents)| GraphRow {
            seq: i as i64 + 1,
            hash: i.to_string(),
            parents: parents.iter().map(ToString::to_string).collect(),
            tables: vec![TableId(i as i64)],
            origins: vec![],
        });
        graph.extend(rows.collect());
        graph
    }

    fn reachable(graph: &Graph, from: usize) -> HashSet<usize> {
        let mut seen = HashSet::from([from]);
        let mut stack = vec![from];
        while let Some(at) = stack.pop() {
            stack.extend(graph.parents(at).iter().copied().filter(|&p| seen.insert(p)));
        }
        seen
    }

    #[test]
    fn bases_of_known_shapes() {
        // 0-1-2-4, 1-3-5 with 5 merging 2
        let g = graph(&[&[], &[0], &[1], &[1], &[2], &[3, 2]]);
        assert_eq!(g.merge_bases(4, 3), vec![1]);
        assert_eq!(g.merge_bases(4, 5), vec![2]);
        assert_eq!(g.merge_bases(2, 4), vec![2]);
        assert_eq!(g.merge_bases(4, 4), vec![4]);
        // criss-cross: 3 merges 1 into 2, 4 merges 2 into 1
        let g = graph(&[&[], &[0], &[0], &[2, 1], &[1, 2]]);
        let mut bases = g.merge_bases(3, 4);
        bases.sort_unstable();
        assert_eq!(bases, vec![1, 2]);
    }

    #[test]
    fn walks_agree_with_a_plain_search_on_random_graphs() {
        let mut seed = 42_u64;
        let mut random = move |n: usize| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) as usize % n
        };
        for _ in 0..60 {
            let size = 3 + random(14);
            let mut parents: Vec<Vec<usize>> = vec![vec![]];
            for i in 1..size {
                let first = random(i);
                let second = random(i);
                parents.push(if first != second && random(3) == 0 {
                    vec![first, second]
                } else {
                    vec![first]
                });
            }
            let slices: Vec<&[usize]> = parents.iter().map(Vec::as_slice).collect();
            let g = graph(&slices);
            for a in 0..size {
                for b in 0..size {
                    let (from_a, from_b) = (reachable(&g, a), reachable(&g, b));
                    assert_eq!(g.is_ancestor(a, b), from_b.contains(&a));
                    let range: Vec<_> = g.range(&[a], &[b]).collect();
                    let expected: HashSet<_> = from_a.difference(&from_b).copied().collect();
                    assert_eq!(range.iter().copied().collect::<HashSet<_>>(), expected);
                    assert!(range.is_sorted_by(|x, y| x > y));
                    let common: HashSet<_> = from_a.intersection(&from_b).copied().collect();
                    let best = |c: &&usize| !common.iter().any(|d| d != *c && reachable(&g, *d).contains(*c));
                    let best: HashSet<_> = common.iter().filter(best).copied().collect();
                    assert_eq!(g.merge_bases(a, b).into_iter().collect::<HashSet<_>>(), best);
                }
            }
        }
    }

    #[test]
    fn changed_tables_stop_where_the_first_parents_meet() {
        let g = graph(&[&[], &[0], &[1], &[1], &[2], &[3, 2]]);
        let tables = |a, b| {
            let mut ids: Vec<_> = g.changed_tables(a, b).into_iter().map(|t| t.0).collect();
            ids.sort_unstable();
            ids
        };
        assert_eq!(tables(4, 5), vec![2, 3, 4, 5]);
        assert_eq!(tables(2, 4), vec![4]);
        assert_eq!(tables(5, 5), Vec::<i64>::new());
    }
}
