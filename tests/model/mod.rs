//! What the repository should hold: a model that copies everything, always.

use std::collections::{BTreeMap, BTreeSet};

pub type Value = Option<String>;
/// Key `id`, columns `a` (integer), `b` (text), `c` (integer).
pub type Rows = BTreeMap<i64, [Value; 3]>;

#[derive(Debug, Clone)]
pub struct Commit {
    pub parents: Vec<String>,
    pub rows: Rows,
}

#[derive(Debug, Clone)]
pub struct Branch {
    pub head: String,
    pub working: Rows,
}

#[derive(Debug, Default)]
pub struct Model {
    pub commits: BTreeMap<String, Commit>,
    pub branches: BTreeMap<String, Branch>,
}

/// What a merge must find.
#[derive(Debug)]
pub struct Merge {
    pub rows: Rows,
    pub conflicts: BTreeSet<i64>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Side {
    Ours,
    Theirs,
}

impl Model {
    pub fn head_rows(&self, branch: &str) -> &Rows {
        &self.commits[&self.branches[branch].head].rows
    }

    pub fn dirty(&self, branch: &str) -> bool {
        self.branches[branch].working != *self.head_rows(branch)
    }

    pub fn ancestors(&self, hash: &str) -> BTreeSet<String> {
        let mut all = BTreeSet::new();
        let mut todo = vec![hash.to_owned()];
        while let Some(hash) = todo.pop() {
            if all.insert(hash.clone()) {
                todo.extend(self.commits[&hash].parents.iter().cloned());
            }
        }
        all
    }

    /// The best common ancestors; more than one after criss-cross merges.
    pub fn merge_bases(&self, a: &str, b: &str) -> Vec<String> {
        let (left, right) = (self.ancestors(a), self.ancestors(b));
        let common: Vec<_> = left.intersection(&right).cloned().collect();
        let best =
            |c: &&String| !common.iter().any(|other| other != *c && self.ancestors(other).contains(*c));
        common.iter().filter(best).cloned().collect()
    }

    /// By field, conflicts going to one side.
    pub fn merge(&self, base: &Rows, ours: &Rows, theirs: &Rows, side: Side) -> Merge {
        let keys: BTreeSet<i64> = [base, ours, theirs].iter().flat_map(|r| r.keys().copied()).collect();
        let mut merge = Merge { rows: Rows::new(), conflicts: BTreeSet::new() };
        for key in keys {
            let (b, o, t) = (base.get(&key), ours.get(&key), theirs.get(&key));
            let (row, conflict) = merge_row(b, o, t, side);
            if conflict {
                merge.conflicts.insert(key);
            }
            if let Some(row) = row {
                merge.rows.insert(key, row);
            }
        }
        merge
    }
}

fn merge_row(
    b: Option<&[Value; 3]>,
    o: Option<&[Value; 3]>,
    t: Option<&[Value; 3]>,
    side: Side,
) -> (Option<[Value; 3]>, bool) {
    if o == t || t == b {
        return (o.cloned(), false);
    }
    if o == b {
        return (t.cloned(), false);
    }
    let (Some(b), Some(o), Some(t)) = (b, o, t) else {
        return (if side == Side::Ours { o } else { t }.cloned(), true);
    };
    let mut conflict = false;
    let cell = |i: usize, conflict: &mut bool| {
        if o[i] == t[i] || t[i] == b[i] {
            return o[i].clone();
        }
        if o[i] == b[i] {
            return t[i].clone();
        }
        *conflict = true;
        if side == Side::Ours { o[i].clone() } else { t[i].clone() }
    };
    let row = [cell(0, &mut conflict), cell(1, &mut conflict), cell(2, &mut conflict)];
    (Some(row), conflict)
}
