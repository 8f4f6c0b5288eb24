//! What nothing needs any more: the pure part of garbage collection.
//!
//! A commit is kept if a ref, a stash or something that waits leads to it. A lineage is kept if a branch is on it, if
//! a kept lineage forked from it, or if a kept commit can be seen nowhere else. Of a kept lineage, ordinals matter at
//! which a kept commit is seen or another lineage forked, and 0, over which comparisons go from one lineage to the
//! other; the stretches between are holes. An image that was visible in a hole only, nobody will look at again: where
//! two ordinals that matter differ in a row, the image that the older one shows ends between them.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use chrono::{DateTime, TimeDelta, Utc};
use epoch_adapter::{LineageId, Ordinal};

use crate::metadata::commits::GraphRow;
use crate::metadata::gc::{Dropped, Holes, Line};
use crate::metadata::refs::Branch;

/// What there is.
#[derive(Debug, Default)]
pub(super) struct Facts {
    pub(super) lines: Vec<Line>,
    pub(super) branches: Vec<Branch>,
    pub(super) dropped: Vec<Dropped>,
    /// Oldest first.
    pub(super) commits: Vec<GraphRow>,
    pub(super) positions: Vec<(LineageId, Ordinal, String)>,
    /// What heads were, and until when.
    pub(super) left: Vec<(LineageId, String, DateTime<Utc>)>,
    pub(super) tags: Vec<String>,
    pub(super) stashes: Vec<String>,
    /// Texts with hashes in them.
    pub(super) under_way: Vec<String>,
    pub(super) collected: BTreeSet<LineageId>,
    pub(super) now: DateTime<Utc>,
}

/// What of it is garbage.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Garbage {
    /// Deleted branches whose time is over.
    pub(super) lost: Vec<Dropped>,
    /// Commits that nothing leads to: children before their parents.
    pub(super) commits: Vec<String>,
    /// Lineages: those that forked from others before those.
    pub(super) lineages: Vec<LineageId>,
    /// Of the lineages that are kept.
    pub(super) holes: Holes,
}

/// For how long what a branch of this name has left is kept; `None`: for ever.
pub(super) type Retention<'a> = &'a dyn Fn(&str) -> Option<TimeDelta>;

/// Finds the garbage.
pub(super) fn find(facts: &Facts, retention: Retention<'_>) -> Garbage {
    let kept_for =
        |name: &str, when: DateTime<Utc>| retention(name).is_none_or(|time| when + time > facts.now);
    let (kept, lost): (Vec<&Dropped>, Vec<&Dropped>) =
        facts.dropped.iter().partition(|d| kept_for(&d.name, d.dropped));
    let mut by_line: HashMap<LineageId, Vec<(Ordinal, &str)>> = HashMap::new();
    for (lineage, ordinal, hash) in &facts.positions {
        by_line.entry(*lineage).or_default().push((*ordinal, hash.as_str()));
    }
    let lines: HashMap<LineageId, &Line> = facts.lines.iter().map(|l| (l.id, l)).collect();
    let heads = facts.branches.iter().map(|b| (b.lineage, b.name.as_str(), b.head.as_str()));
    let heads: Vec<_> =
        heads.chain(kept.iter().map(|d| (d.lineage, d.name.as_str(), d.head.as_str()))).collect();

    let mut roots: HashSet<&str> = facts.tags.iter().chain(&facts.stashes).map(String::as_str).collect();
    roots.extend(facts.under_way.iter().flat_map(|text| hashes_in(text)));
    for (lineage, name, head) in &heads {
        roots.insert(head);
        roots.extend(start_of(*lineage, &by_line, &lines));
        let left = facts.left.iter().filter(|(l, _, when)| l == lineage && kept_for(name, *when));
        roots.extend(left.map(|(_, hash, _)| hash.as_str()));
    }
    let needed = reached(&facts.commits, &roots);
    let on: BTreeSet<LineageId> = heads.iter().map(|(lineage, _, _)| *lineage).collect();
    let lines_kept = lines_kept(facts, &lines, &needed, &on);
    Garbage {
        lost: lost.into_iter().cloned().collect(),
        commits: facts
            .commits
            .iter()
            .rev()
            .filter(|c| !needed.contains(c.hash.as_str()))
            .map(|c| c.hash.clone())
            .collect(),
        lineages: facts
            .lines
            .iter()
            .rev()
            .map(|l| l.id)
            .filter(|id| !lines_kept.contains(id) && !facts.collected.contains(id))
            .collect(),
        holes: holes(facts, &by_line, &needed, &lines_kept, &on),
    }
}

/// The commit that was published last on a lineage, or where it forked: what its uncommitted changes begin at.
fn start_of<'a>(
    lineage: LineageId,
    by_line: &HashMap<LineageId, Vec<(Ordinal, &'a str)>>,
    lines: &HashMap<LineageId, &Line>,
) -> Option<&'a str> {
    if let Some((_, hash)) = by_line.get(&lineage).and_then(|all| all.last()) {
        return Some(hash);
    }
    let (parent, fork) = lines.get(&lineage)?.fork?;
    by_line.get(&parent)?.iter().find(|(ordinal, _)| *ordinal == fork).map(|(_, hash)| *hash)
}

/// The hashes in a text.
fn hashes_in(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_ascii_hexdigit()).filter(|word| word.len() == 64)
}

/// The commits that these lead to.
fn reached<'a>(commits: &'a [GraphRow], roots: &HashSet<&str>) -> HashSet<&'a str> {
    let mut reached = HashSet::new();
    // Parents are older than their children, so a commit's fate is known when it is its turn.
    let mut wanted: HashSet<&str> = HashSet::new();
    for commit in commits.iter().rev() {
        if roots.contains(commit.hash.as_str()) || wanted.contains(commit.hash.as_str()) {
            reached.insert(commit.hash.as_str());
            wanted.extend(commit.parents.iter().map(String::as_str));
        }
    }
    reached
}

/// The lineages that are kept, with all that they forked from.
fn lines_kept(
    facts: &Facts,
    lines: &HashMap<LineageId, &Line>,
    needed: &HashSet<&str>,
    on: &BTreeSet<LineageId>,
) -> BTreeSet<LineageId> {
    let mut kept = BTreeSet::new();
    let keep = |kept: &mut BTreeSet<LineageId>, lineage: LineageId| {
        let mut next = Some(lineage);
        while let Some(lineage) = next.filter(|l| kept.insert(*l)) {
            next = lines.get(&lineage).and_then(|l| l.fork).map(|(parent, _)| parent);
        }
    };
    keep(&mut kept, LineageId::MAIN);
    on.iter().for_each(|lineage| keep(&mut kept, *lineage));
    let mut places: BTreeMap<&str, Vec<LineageId>> = BTreeMap::new();
    for (lineage, _, hash) in facts.positions.iter().filter(|(_, _, hash)| needed.contains(hash.as_str())) {
        places.entry(hash).or_default().push(*lineage);
    }
    // Where sessions on a tag read it, they go on doing so: on main, or else on the first lineage that shows it.
    for places in facts.tags.iter().filter_map(|tag| places.get(tag.as_str())) {
        if let Some(first) = places.first() {
            keep(&mut kept, *first);
        }
    }
    for places in places.values() {
        if let (false, Some(first)) = (places.iter().any(|l| kept.contains(l)), places.first()) {
            keep(&mut kept, *first);
        }
    }
    kept
}

fn holes(
    facts: &Facts,
    by_line: &HashMap<LineageId, Vec<(Ordinal, &str)>>,
    needed: &HashSet<&str>,
    kept: &BTreeSet<LineageId>,
    on: &BTreeSet<LineageId>,
) -> Holes {
    let mut pins: BTreeMap<LineageId, BTreeSet<Ordinal>> =
        kept.iter().map(|lineage| (*lineage, BTreeSet::from([0]))).collect();
    let mut pin = |lineage: LineageId, ordinal: Ordinal| {
        if let Some(pins) = pins.get_mut(&lineage) {
            pins.insert(ordinal);
        }
    };
    for (lineage, ordinal, _) in facts.positions.iter().filter(|(_, _, h)| needed.contains(h.as_str())) {
        pin(*lineage, *ordinal);
    }
    for line in facts.lines.iter().filter(|l| kept.contains(&l.id)) {
        pin(LineageId::MAIN, line.base);
        if let Some((parent, fork)) = line.fork {
            pin(parent, fork);
        }
    }
    let mut holes = Holes::new();
    for line in &facts.lines {
        let Some(pins) = pins.get(&line.id) else { continue };
        // What is being published has an ordinal already. Where no branch is, nothing is published any more.
        let published = by_line.get(&line.id).and_then(|all| all.last()).map_or(0, |(ordinal, _)| *ordinal);
        let end = if on.contains(&line.id) { published } else { line.latest + 1 };
        let ends = pins.iter().copied().skip(1).filter(|pin| *pin < end).chain([end]);
        let between: Vec<_> =
            pins.iter().map(|pin| pin + 1).zip(ends).filter(|(since, until)| since < until).collect();
        if !between.is_empty() {
            holes.insert(line.id, between);
        }
    }
    holes
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    const MAIN: LineageId = LineageId::MAIN;

    fn hash(n: i64) -> String {
        format!("{n:064x}")
    }

    /// main has commits 1 and 2; branch b (lineage 2) forked at 1 and has 3 and 4; its branch c (lineage 3) forked at 3
    /// and has 5.
    fn facts() -> Facts {
        let line = |id, fork: Option<(i64, i64)>, base, latest| Line {
            id: LineageId(id),
            fork: fork.map(|(parent, fork)| (LineageId(parent), fork)),
            base,
            latest,
        };
        let branch = |name: &str, lineage, head| Branch {
            name: name.to_owned(),
            lineage: LineageId(lineage),
            head: hash(head),
            parent: None,
            expires: None,
        };
        let commit = |seq: i64, parents: &[i64]| GraphRow {
            seq,
            hash: hash(seq),
            parents: parents.iter().map(|p| hash(*p)).collect(),
            tables: vec![],
            origins: vec![],
        };
        let at = |lineage, ordinal, commit| (LineageId(lineage), ordinal, hash(commit));
        Facts {
            lines: vec![line(1, None, 0, 1), line(2, Some((1, 0)), 0, 2), line(3, Some((2, 1)), 0, 1)],
            branches: vec![branch("main", 1, 2), branch("b", 2, 4), branch("c", 3, 5)],
            commits: vec![commit(1, &[]), commit(2, &[1]), commit(3, &[1]), commit(4, &[3]), commit(5, &[3])],
            positions: vec![at(1, 0, 1), at(1, 1, 2), at(2, 1, 3), at(2, 2, 4), at(3, 1, 5)],
            now: DateTime::from_timestamp(1_000_000, 0).unwrap(),
            ..Facts::default()
        }
    }

    /// Deletes the branch of a name.
    fn delete(facts: &mut Facts, name: &str, seconds_ago: i64) {
        let at = facts.branches.iter().position(|b| b.name == name).unwrap();
        let branch = facts.branches.remove(at);
        facts.dropped.push(Dropped {
            lineage: branch.lineage,
            name: branch.name,
            head: branch.head,
            dropped: facts.now - TimeDelta::seconds(seconds_ago),
        });
    }

    fn garbage(facts: &Facts) -> Garbage {
        find(facts, &|name| (name != "forever").then(|| TimeDelta::seconds(100)))
    }

    fn ids(garbage: &Garbage) -> Vec<i64> {
        garbage.lineages.iter().map(|l| l.0).collect()
    }

    #[test]
    fn what_branches_lead_to_is_kept() {
        assert_eq!(garbage(&facts()), Garbage::default());
    }

    #[test]
    fn a_deleted_branch_is_kept_for_its_time() {
        let mut facts = facts();
        delete(&mut facts, "c", 99);
        assert_eq!(garbage(&facts), Garbage::default());
        let mut facts = self::facts();
        delete(&mut facts, "c", 101);
        let found = garbage(&facts);
        assert_eq!((ids(&found), &found.commits, found.lost.len()), (vec![3], &vec![hash(5)], 1));
        let mut facts = self::facts();
        delete(&mut facts, "c", 101);
        facts.dropped[0].name = "forever".to_owned();
        assert_eq!(garbage(&facts), Garbage::default());
    }

    #[test]
    fn children_go_before_their_parents() {
        let mut facts = facts();
        delete(&mut facts, "b", 101);
        delete(&mut facts, "c", 101);
        let found = garbage(&facts);
        assert_eq!(ids(&found), [3, 2]);
        assert_eq!(found.commits, [hash(5), hash(4), hash(3)]);
    }

    #[test]
    fn a_lineage_that_another_forked_from_stays_with_a_hole() {
        let mut facts = facts();
        delete(&mut facts, "b", 101);
        let found = garbage(&facts);
        assert_eq!(ids(&found), Vec::<i64>::new());
        assert_eq!(found.commits, [hash(4)]);
        assert_eq!(found.holes, Holes::from([(LineageId(2), vec![(2, 3)])]));
    }

    #[test]
    fn tags_stashes_and_what_waits_keep_commits_and_where_they_are_seen() {
        let keepers: [fn(&mut Facts); 3] = [
            |f| f.tags.push(hash(4)),
            |f| f.stashes.push(hash(4)),
            |f| f.under_way.push(format!("{{\"todo\":[\"{}\"]}}", hash(4))),
        ];
        for keep in keepers {
            let mut facts = facts();
            delete(&mut facts, "b", 101);
            delete(&mut facts, "c", 101);
            keep(&mut facts);
            let found = garbage(&facts);
            assert_eq!((ids(&found), found.commits), (vec![3], vec![hash(5)]));
            assert_eq!(found.holes, Holes::new());
        }
    }

    #[test]
    fn a_commit_that_main_shows_too_needs_no_other_lineage() {
        let mut facts = facts();
        facts.positions.insert(2, (MAIN, 2, hash(3)));
        facts.positions.insert(3, (MAIN, 3, hash(4)));
        facts.lines[0].latest = 3;
        facts.branches[0].head = hash(4);
        delete(&mut facts, "b", 101);
        delete(&mut facts, "c", 101);
        let found = garbage(&facts);
        assert_eq!(ids(&found), [3, 2]);
        // 2 isn't reached any more, as after a reset of main
        assert_eq!(found.commits, [hash(5), hash(2)]);
        assert_eq!(found.holes, Holes::from([(MAIN, vec![(1, 2)])]));
    }

    #[test]
    fn what_a_head_left_is_kept_for_its_time_and_then_is_a_hole() {
        let mut facts = facts();
        // main was amended: 6 in the place of 2
        facts.commits.push(GraphRow {
            seq: 6,
            hash: hash(6),
            parents: vec![hash(1)],
            tables: vec![],
            origins: vec![],
        });
        facts.positions.insert(2, (MAIN, 2, hash(6)));
        facts.lines[0].latest = 2;
        facts.branches[0].head = hash(6);
        facts.left.push((MAIN, hash(2), facts.now - TimeDelta::seconds(99)));
        assert_eq!(garbage(&facts), Garbage::default());
        facts.left[0].2 = facts.now - TimeDelta::seconds(101);
        let found = garbage(&facts);
        assert_eq!((found.commits, found.lineages), (vec![hash(2)], vec![]));
        assert_eq!(found.holes, Holes::from([(MAIN, vec![(1, 2)])]));
    }

    #[test]
    fn what_was_published_last_is_kept_after_a_soft_reset() {
        let mut facts = facts();
        facts.branches[1].head = hash(1);
        delete(&mut facts, "c", 101);
        let found = garbage(&facts);
        assert_eq!((found.commits, found.holes), (vec![hash(5)], Holes::new()));
    }

    #[test]
    fn what_was_collected_is_not_found_again() {
        let mut facts = facts();
        delete(&mut facts, "c", 101);
        facts.collected.insert(LineageId(3));
        assert_eq!(ids(&garbage(&facts)), Vec::<i64>::new());
    }
}
