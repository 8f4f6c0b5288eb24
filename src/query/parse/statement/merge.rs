//! Where the clauses of a MERGE are.

use std::ops::Range;

use pg_raw_parse::{Node, nodes};

use super::clauses::{self, Level, item_names};
use super::{Describer, Kind, Overriding, Star, Width, relax, width};

/// The clauses of a MERGE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Merge {
    /// What follows USING.
    pub source: Range<usize>,
    /// What follows ON.
    pub condition: Range<usize>,
    /// Its WHEN clauses.
    pub whens: Vec<When>,
    /// Stars in RETURNING.
    pub stars: Vec<Star>,
    /// The aliases of the source's items, if `alias.*` of each in turn is what `*` shows of it.
    pub starrable: Option<Vec<String>>,
}

/// A WHEN clause.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct When {
    /// Of WHEN NOT MATCHED BY SOURCE: after SOURCE, and its condition.
    pub by_source: Option<(usize, Option<Range<usize>>)>,
    /// The columns that are set or given.
    pub columns: Vec<String>,
    /// After INSERT without a column list, and how many values follow, if that can be told.
    pub list_at: Option<(usize, Option<Width>)>,
    /// Whose values identity columns get from an INSERT.
    pub overriding: Overriding,
    /// The values of an INSERT.
    pub values: Option<Vec<Range<usize>>>,
    /// The columns that an UPDATE sets to DEFAULT.
    pub defaults: Vec<String>,
}

impl Describer<'_, '_> {
    pub(super) fn merge(&mut self, merge: &nodes::MergeStmt) -> Kind {
        let around = self.begin(merge.relation(), merge.with_clause());
        self.walker.node(merge.source_relation());
        self.walker.node(merge.join_condition());
        for when in merge.merge_when_clauses().iter() {
            self.walker.node(when.condition());
            for item in when.target_list().iter() {
                if let Node::ResTarget(target) = item {
                    self.walker.node(target.val());
                }
            }
            self.walker.list(when.values());
        }
        let stars = self.returning(merge.returning_clause());
        relax::item(self.walker, merge.source_relation());
        relax::condition(self.walker, merge.join_condition());
        self.end(around, merge.with_clause());
        match self.merge_clauses(merge, stars) {
            Some(found) => Kind::Merge(found),
            None => Kind::Refused("this form of MERGE".to_owned()),
        }
    }

    fn merge_clauses(&self, merge: &nodes::MergeStmt, stars: Vec<Star>) -> Option<Merge> {
        let level = Level::new(self.walker, &self.range, self.target)?;
        let starts = when_words(&level);
        let first = *starts.first()?;
        let using = level.keyword(level.first, "using")?;
        // Joins in the source have theirs before it, and no expression has one.
        let on = (using..first).rev().find(|&i| level.keyword(i, "on") == Some(i))?;
        let end = level.keyword(*starts.last()?, "returning").unwrap_or(level.last);
        let ends = starts.iter().skip(1).copied().chain([end]);
        let clauses = merge.merge_when_clauses();
        if clauses.len() != starts.len() {
            return None;
        }
        let each = clauses.iter().zip(starts.iter().copied().zip(ends));
        let width = |when: &nodes::MergeWhenClause| {
            width::of_values(self.walker, merge.with_clause(), when.values().iter(), merge.source_relation())
        };
        let whens = each
            .map(|(when, (start, end))| clause(&level, start, end, when, width))
            .collect::<Option<_>>()?;
        let mut names = Vec::new();
        let starrable = item_names(merge.source_relation(), &mut names).map(|()| names);
        Some(Merge {
            source: level.bytes(using + 1, on)?,
            condition: level.bytes(on + 1, first)?,
            whens,
            stars,
            starrable,
        })
    }
}

/// The WHENs of `WHEN MATCHED` and `WHEN NOT MATCHED`; those of CASE are others.
fn when_words(level: &Level<'_>) -> Vec<usize> {
    let mut found = Vec::new();
    let mut at = level.first;
    while let Some(when) = level.keyword(at, "when") {
        let not = usize::from(level.is(when + 1, "not"));
        if level.is(when + 1 + not, "matched") {
            found.push(when);
        }
        at = when + 1;
    }
    found
}

fn clause(
    level: &Level<'_>,
    start: usize,
    end: usize,
    when: &nodes::MergeWhenClause,
    width: impl Fn(&nodes::MergeWhenClause) -> Option<Width>,
) -> Option<When> {
    let unmatched = when.match_kind == nodes::MergeMatchKind::MERGE_WHEN_NOT_MATCHED_BY_SOURCE;
    let then = last_then(level, start, end)?;
    let by_source = if unmatched {
        let source = (start..then).find(|&i| level.is(i, "source"))?;
        let condition = match when.condition() {
            Node::None => None,
            _ => Some(level.bytes(source + 2, then)?),
        };
        Some((level.tokens.get(source)?.end, condition))
    } else {
        None
    };
    let name = |n: Node<'_>| match n {
        Node::ResTarget(target) => target.name().map(str::to_owned),
        _ => None,
    };
    let columns: Vec<String> = when.target_list().iter().filter_map(name).collect();
    let insert = when.command_type == nodes::CmdType::CMD_INSERT && columns.is_empty();
    let list_at = match insert && !when.values().is_empty() {
        true => Some((level.tokens.get(then + 1)?.end, width(when))),
        false => None,
    };
    let targets = when.target_list().iter().filter_map(|n| match n {
        Node::ResTarget(target) => Some(target),
        _ => None,
    });
    let values = (then..end).find(|&i| level.is(i, "values") && level.keyword_at(i));
    let values = values.and_then(|i| clauses::rows(level, i + 1, end)?.pop());
    Some(When {
        by_source,
        columns,
        list_at,
        overriding: Overriding::new(when.override_),
        values: values.filter(|_| !when.values().is_empty()),
        defaults: clauses::defaults(targets),
    })
}

/// The THEN of the clause itself: those of CASE in its condition come before it, those in what it sets
/// after the verb.
fn last_then(level: &Level<'_>, start: usize, end: usize) -> Option<usize> {
    const VERBS: &[&str] = &["insert", "update", "delete", "do"];
    let mut at = start;
    loop {
        let then = level.keyword(at, "then").filter(|&t| t < end)?;
        if VERBS.iter().any(|verb| level.is(then + 1, verb)) {
            return Some(then);
        }
        at = then + 1;
    }
}
