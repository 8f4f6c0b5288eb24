//! What a query says of a table's rows is evaluated on the rows that its ref shows, and on no others.
//!
//! The relation in the place of a table reads rows of main that the ref doesn't show (newer ones, masked ones) and leaves
//! them out by conditions. PostgreSQL evaluates the client's conditions among those, the cheapest first: one that may fail, or
//! tell something by failing, would do so for rows that nobody may see there. Comparisons can't. Everything else becomes a
//! sub-select with the expression in it, which means the same and has two properties: PostgreSQL never moves it into a
//! sub-query, and it looks dearer than the relation's own conditions, so that it is evaluated behind them. It is what
//! `security_barrier` is for views, for parts of a statement (decision 42).

mod clauses;
mod operands;
mod risk;
pub(super) mod strict;

use std::ops::Range;

use clauses::Part;
use operands::{Level, Operands, conjuncts, operands};
use risk::{Judge, Risk};

use super::form::Form;
use super::names::NameCache;
use super::parse::{Kind, Parsed, Statement, Wrap};
use super::plan::Context;
use super::rewrite::Rewriter;
use super::text::Edits;

/// What ends the sub-select where the relations are selective: as an estimate it costs some 20 units, more than twice a probe of
/// an index. No function is called but once, and it returns nothing, so OFFSET is 0.
const DEAR: &str = " OFFSET (SELECT pg_catalog.count(*) FROM (SELECT FROM pg_catalog.json_array_elements_text('[]') epoch_1, \
    pg_catalog.json_array_elements_text('[]') epoch_2 LIMIT 600) epoch_3))";

/// What ends it where they are sub-queries.
const PLAIN: &str = " OFFSET 0)";

/// Raises barriers in a statement. `inner`: it stands in FROM of another one, which may use what it returns in conditions.
pub(super) fn raise(ctx: &Context<'_>, rewriter: &mut Rewriter<'_>, inner: bool) {
    let (parsed, statement) = (rewriter.parsed, rewriter.statement);
    let end = if rewriter.form == Form::Scanning { PLAIN } else { DEAR };
    let edits = edits(ctx.names, (rewriter.sql, parsed, statement), inner, ("(SELECT ", end));
    rewriter.edits.append(edits);
}

fn edits(
    names: &NameCache,
    (sql, parsed, statement): (&str, &Parsed, &Statement),
    inner: bool,
    marks: (&str, &str),
) -> Edits {
    let reads = matches!(
        statement.kind,
        Kind::Query | Kind::Insert(_) | Kind::Update(_) | Kind::Delete(_) | Kind::Merge(_)
    );
    if !reads {
        return Edits::default();
    }
    let tokens = &parsed.tokens;
    let (first, last) = (tokens.at(statement.range.start), tokens.at(statement.range.end));
    let level = Level { sql, tokens: tokens.list.get(..last).unwrap_or_default() };
    let judge = Judge::new(names, statement, level);
    let inner = inner || statement.wrap == Wrap::CopyTo;
    let mut found = Found::default();
    for part in clauses::parts(level, statement, first..last, inner) {
        match part {
            Part::Condition(range) => found.condition(&judge, range),
            Part::Having(range) => found.having(&judge, range),
            Part::List(list) => found.list(&judge, &list),
            Part::Rows(items) => found.expressions.extend(items.into_iter().filter(|item| judge.tells(item))),
            Part::Idle(items) => found.idle.extend(items),
        }
    }
    found.expressions.extend(judge.arguments_in_from());
    found.queries_inside(&judge);
    found.edits(level, marks)
}

/// Expressions that get a sub-select around them, conditions and items of groups that get something volatile, and queries that get an
/// OFFSET, by their tokens.
#[derive(Default)]
struct Found {
    expressions: Vec<Range<usize>>,
    groups: Vec<Range<usize>>,
    queries: Vec<clauses::List>,
    /// What is never evaluated.
    idle: Vec<Range<usize>>,
    /// What gets none by itself, but may by a query inside of it.
    left: Vec<Operands>,
}

impl Found {
    fn condition(&mut self, judge: &Judge<'_>, range: Range<usize>) {
        for part in operands(judge.level, range) {
            if judge.calls(&part.all) == Risk::Placed {
                // The server refuses it.
                continue;
            }
            let part = part.without_collations(judge.level);
            if judge.is_whole(&part) {
                self.expressions.push(part.all);
                continue;
            }
            self.expressions.extend(part.sides.iter().filter(|side| judge.tells(side)).cloned());
            if part.all.clone().any(|at| judge.level.opens_query(at)) {
                self.left.push(part);
            }
        }
    }

    /// Without an aggregate in it, it would be evaluated before rows are grouped. In a sub-select, what is grouped by wouldn't
    /// be known as such; what may be another one each time stays where it is, too.
    fn having(&mut self, judge: &Judge<'_>, range: Range<usize>) {
        let early = |part: &Range<usize>| judge.tells(part) && judge.calls(part) == Risk::Scalar;
        if conjuncts(judge.level, &range).iter().any(early) {
            self.groups.push(range);
        }
    }

    fn list(&mut self, judge: &Judge<'_>, list: &clauses::List) {
        // Conditions on what aggregates, windows and functions with many rows give aren't moved below them.
        let tells = |item: &Range<usize>| judge.tells(item) && judge.calls(item) == Risk::Scalar;
        let telling: Vec<_> = list.items.iter().zip(&list.named).filter(|(item, _)| tells(item)).collect();
        let star = telling.iter().any(|(item, _)| ends_in_star(judge.level, item));
        // What is grouped by must be found again. Nor can a name be lost.
        let bound = star || list.distinct || list.grouped && telling.iter().any(|(_, named)| !**named);
        let items = telling.into_iter().map(|(item, _)| item.clone());
        if bound {
            if items.count() > 0 && !list.limited {
                self.queries.push(list.clone());
            }
            return;
        }
        if list.grouped {
            self.groups.extend(items);
            return;
        }
        self.expressions.extend(items);
        self.left.extend(
            list.items.iter().filter(|item| !ends_in_star(judge.level, item)).cloned().map(Operands::whole),
        );
    }

    /// Queries in expressions that depend on rows around them: what in them may fail and has no barrier (an aggregate, what is
    /// grouped or sorted by, a function in FROM) makes the expression one that may.
    fn queries_inside(&mut self, judge: &Judge<'_>) {
        let mut left = std::mem::take(&mut self.left);
        // Those inside of others come first.
        left.sort_by_key(|part| part.all.len());
        for part in left {
            let open = |range: &Range<usize>| {
                let known =
                    |at: usize| self.expressions.iter().chain(&self.idle).any(|known| known.contains(&at));
                !known(range.start) && judge.tells_inside(range, known)
            };
            if part.fixed.as_ref().is_some_and(open) || part.sides.is_empty() && open(&part.all) {
                self.expressions.retain(|known| !part.sides.contains(known));
                self.expressions.push(part.all);
            } else {
                let sides: Vec<_> = part.sides.into_iter().filter(open).collect();
                self.expressions.extend(sides);
            }
        }
    }

    /// `marks`: what is put before and after an expression.
    fn edits(&self, level: Level<'_>, marks: (&str, &str)) -> Edits {
        let mut edits = Edits::default();
        for bytes in self.expressions.iter().filter_map(|range| level.bytes(range)) {
            edits.wrap(bytes, marks.0, marks.1);
        }
        for bytes in self.groups.iter().filter_map(|range| level.bytes(range)) {
            edits.wrap(bytes, "CASE WHEN pg_catalog.clock_timestamp() IS NOT NULL THEN (", ") END");
        }
        for list in &self.queries {
            let Some(bytes) = level.bytes(&list.query) else { continue };
            let (before, after) = if list.is_arm { ("(", PLAIN) } else { ("", " OFFSET 0") };
            edits.wrap(bytes, before, after);
        }
        edits
    }
}

/// `(f(a)).*` is several items.
fn ends_in_star(level: Level<'_>, item: &Range<usize>) -> bool {
    item.end.checked_sub(1).is_some_and(|last| item.contains(&last) && level.text(last) == "*")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::query::parse;

    fn raised(sql: &str, inner: bool) -> String {
        let parsed = parse::parse(sql).unwrap();
        let statement = parsed.statements.first().unwrap();
        let edits = edits(&NameCache::default(), (sql, &parsed, statement), inner, ("<", ">"));
        edits.render(sql, &statement.range).0
    }

    #[test]
    fn what_cannot_fail_stays_as_it_is() {
        let cases = [
            "SELECT 10 / n FROM t WHERE id = 7 AND name LIKE 'a%' AND ok AND b IS NULL ORDER BY 1 / n LIMIT 1",
            "SELECT a FROM t WHERE b BETWEEN now() - interval '1 day' AND now() OR b > $1::date - 7",
            "SELECT a FROM t JOIN u ON t.id = u.id AND t.x IN (1, 2, -3) WHERE u.y = ANY ('{1,2}'::int[])",
            "SELECT a FROM t WHERE lower(name) = 'x' AND doc->>'k' = 'v' AND doc @> '{}'::jsonb AND id::text = '7'",
            "SELECT a FROM t WHERE to_tsvector('english', a) @@ to_tsquery('x & y') AND f(1) < a AND b @> g('{}', $1)",
            "EXPLAIN (COSTS ON, ANALYZE) SELECT n / 2 FROM t",
            "SELECT a FROM t WHERE NOT (a = 1 AND (b = 2 OR c IS DISTINCT FROM d)) AND (a, b) = (1, 2)",
            "SELECT a, count(*) FILTER (WHERE 10 / n > 1) FROM t GROUP BY a HAVING count(*) / a > 1 AND count(*) > 1",
            "SELECT a FROM (SELECT *, t.*, CASE WHEN a = 1 THEN 1 ELSE n END q FROM t) s WHERE s.q = 1",
            "UPDATE t SET n = 10 / n WHERE id = 7 RETURNING 10 / n",
            "INSERT INTO t SELECT id, 10 / n FROM u ON CONFLICT (id) WHERE n / 1 > 0 DO UPDATE SET n = 1 WHERE 10 / t.n > 1",
            "SELECT a FROM t WHERE a = (SELECT count(*) / 2 + f(u.b) FROM u) OR b IN (SELECT count(*) / u.a FROM u GROUP BY u.a)",
            "SELECT a FROM t WHERE EXISTS (SELECT 10 / n FROM u WHERE u.id = t.id) AND a = (SELECT id FROM u LIMIT 1)",
        ];
        for sql in cases {
            assert_eq!(raised(sql, false), sql);
        }
    }

    #[test]
    fn what_may_fail_is_evaluated_behind_what_hides_rows() {
        let cases = [
            ("SELECT a FROM t WHERE id = 7 AND 10/n > 1", "SELECT a FROM t WHERE id = 7 AND <10/n> > 1"),
            (
                "SELECT a FROM t JOIN u ON t.id = u.name::int AND (t.x = 1 OR NOT f(u.y)) LEFT JOIN w ON abs(w.a) < 1 WHERE a",
                "SELECT a FROM t JOIN u ON t.id = <u.name::int> AND (t.x = 1 OR NOT <f(u.y)>) LEFT JOIN w ON <abs(w.a)> < 1 WHERE a",
            ),
            (
                "SELECT 1 FROM t WHERE n % 2 BETWEEN a AND b+1 AND n*2 NOT IN (1, 2) AND c IN (1, n-1) AND a = ANY (f(n))",
                "SELECT 1 FROM t WHERE <n % 2> BETWEEN a AND <b+1> AND <n*2> NOT IN (1, 2) AND <c IN (1, n-1)> AND <a = ANY (f(n))>",
            ),
            (
                "SELECT 1 FROM t WHERE name LIKE pat AND f(name) LIKE 'x' AND (a, 1/b) = (c, d) AND ROW(1/a) = ROW(b)",
                "SELECT 1 FROM t WHERE <name LIKE pat> AND <f(name)> LIKE 'x' AND (a, <1/b>) = (c, d) AND ROW(<1/a>) = ROW(b)",
            ),
            (
                "SELECT 1 FROM t WHERE CASE WHEN a = 1 AND b = 2 OR c THEN 10/n ELSE 0 END = 1 AND 1/a IS NOT DISTINCT FROM 1/b",
                "SELECT 1 FROM t WHERE <CASE WHEN a = 1 AND b = 2 OR c THEN 10/n ELSE 0 END> = 1 AND <1/a> IS NOT DISTINCT FROM <1/b>",
            ),
            (
                "SELECT 1 FROM t WHERE (f(t.a)).b IS NOT NULL AND extract(day FROM f(a)) = 1 AND f(a) IN (SELECT 1/n FROM u WHERE 1/u.n > 1)",
                "SELECT 1 FROM t WHERE <(f(t.a)).b IS NOT NULL> AND <extract(day FROM f(a))> = 1 AND <f(a)> IN (SELECT <1/n> FROM u WHERE <1/u.n> > 1)",
            ),
            (
                "SELECT 1 FROM t WHERE tsv @@ to_tsquery(a) AND date_trunc(unit, b) = c AND date_trunc('day', b) = c",
                "SELECT 1 FROM t WHERE <tsv @@ to_tsquery(a)> AND <date_trunc(unit, b)> = c AND date_trunc('day', b) = c",
            ),
            (
                "SELECT 1 FROM t, LATERAL (VALUES (t.a, 1 / t.b), (1, 2)) v(a, b) WHERE t.bits & B'1' = t.bits",
                "SELECT 1 FROM t, LATERAL (VALUES (t.a, <1 / t.b>), (1, 2)) v(a, b) WHERE <t.bits & B'1'> = t.bits",
            ),
            ("SELECT 1 FROM t WHERE (SELECT t.a)::int = 1", "SELECT 1 FROM t WHERE <(SELECT t.a)::int> = 1"),
            (
                "SELECT 1 FROM t WHERE 1 = (SELECT count(*) / t.n FROM u) AND a IN (SELECT b FROM u ORDER BY 1 / t.n LIMIT 1)",
                "SELECT 1 FROM t WHERE 1 = <(SELECT count(*) / t.n FROM u)> AND <a IN (SELECT b FROM u ORDER BY 1 / t.n LIMIT 1)>",
            ),
            (
                "SELECT 1 FROM t WHERE EXISTS (SELECT FROM g(1, t.n)) AND b / 2 = (SELECT (SELECT 1 / t.n) LIMIT 1)",
                "SELECT 1 FROM t WHERE <EXISTS (SELECT FROM g(1, t.n))> AND <b / 2> = (SELECT (SELECT <1 / t.n>) LIMIT 1)",
            ),
            (
                "SELECT 1 FROM t WHERE n BETWEEN CASE WHEN n>1 AND n<3 THEN 1/n END AND 5 AND n BETWEEN ASYMMETRIC n/2 AND 5",
                "SELECT 1 FROM t WHERE n BETWEEN <CASE WHEN n>1 AND n<3 THEN 1/n END> AND 5 AND n BETWEEN ASYMMETRIC <n/2> AND 5",
            ),
            (
                r#"SELECT 1 FROM t WHERE (n/2, a) = ANY (SELECT n, a FROM u) AND f(a) COLLATE "C" < b AND a < f(a COLLATE "C")"#,
                r#"SELECT 1 FROM t WHERE (<n/2>, a) = ANY (SELECT n, a FROM u) AND <f(a)> COLLATE "C" < b AND <a < f(a COLLATE "C")>"#,
            ),
            (
                "SELECT 1 FROM t FULL JOIN u ON (t.a, 1/t.b) = (u.a, u.b) JOIN (v CROSS JOIN w JOIN x USING (a)) ON 1/v.b = 1",
                "SELECT 1 FROM t FULL JOIN u ON (t.a, 1/t.b) = (u.a, u.b) JOIN (v CROSS JOIN w JOIN x USING (a)) ON <1/v.b> = 1",
            ),
            (
                "SELECT 1 FROM t JOIN u ON left(t.a, 1) = f(u.a) JOIN (SELECT id FROM v) x ON x.id = t.id LEFT JOIN LATERAL (SELECT 1) y ON true",
                "SELECT 1 FROM t JOIN u ON left(t.a, 1) = <f(u.a)> JOIN (SELECT id FROM v) x ON x.id = t.id LEFT JOIN LATERAL (SELECT 1) y ON true",
            ),
            (
                "SELECT 1 FROM t JOIN u ON conflict = t.id AND set / t.n > 1 AND over + filter * t.a = 1",
                "SELECT 1 FROM t JOIN u ON conflict = t.id AND <set / t.n> > 1 AND <over + filter * t.a> = 1",
            ),
            (
                "CREATE TEMP TABLE x ON COMMIT DROP AS SELECT 1 FROM t WHERE 1/a = 1",
                "CREATE TEMP TABLE x ON COMMIT DROP AS SELECT 1 FROM t WHERE <1/a> = 1",
            ),
            (
                "DELETE FROM t USING u WHERE t.a = u.b::int RETURNING 1/a",
                "DELETE FROM t USING u WHERE t.a = <u.b::int> RETURNING 1/a",
            ),
            (
                "MERGE INTO t USING u ON t.a = u.b::int WHEN MATCHED AND 1/t.a = 1 THEN DELETE",
                "MERGE INTO t USING u ON t.a = <u.b::int> WHEN MATCHED AND 1/t.a = 1 THEN DELETE",
            ),
            (
                "SELECT n/2 FROM t GROUP BY n/2 HAVING n/2 > 1 ORDER BY 1",
                "SELECT n/2 FROM t GROUP BY n/2 HAVING CASE WHEN pg_catalog.clock_timestamp() IS NOT NULL THEN (n/2 > 1) END ORDER BY 1",
            ),
        ];
        for (sql, expected) in cases {
            assert_eq!(raised(sql, false), expected);
        }
    }

    #[test]
    fn what_a_query_in_from_returns_may_come_into_conditions_around_it() {
        let cases = [
            ("SELECT id, 10/n AS q, n::int FROM t", "SELECT id, <10/n> AS q, <n::int> FROM t"),
            ("SELECT id, 10/n q FROM t LIMIT 1", "SELECT id, <10/n> q FROM t LIMIT 1"),
            ("SELECT 1/n FROM t GROUP BY 1/n", "SELECT 1/n FROM t GROUP BY 1/n OFFSET 0"),
            (
                "SELECT 1/n AS q, n FROM t GROUP BY 1/n, n",
                "SELECT CASE WHEN pg_catalog.clock_timestamp() IS NOT NULL THEN (1/n) END AS q, n FROM t GROUP BY 1/n, n",
            ),
            ("SELECT DISTINCT 1/n FROM t", "SELECT DISTINCT <1/n> FROM t"),
            ("SELECT 1/n AS q FROM t GROUP BY q", "SELECT 1/n AS q FROM t GROUP BY q OFFSET 0"),
            ("SELECT 1/n AS q FROM t GROUP BY 1", "SELECT 1/n AS q FROM t GROUP BY 1 OFFSET 0"),
            (
                "SELECT DISTINCT 1/n q FROM t ORDER BY 1/n",
                "SELECT DISTINCT 1/n q FROM t ORDER BY 1/n OFFSET 0",
            ),
            (
                r#"SELECT 1/n AS U&"d!0061ta" UESCAPE '!' FROM t"#,
                r#"SELECT <1/n> AS U&"d!0061ta" UESCAPE '!' FROM t"#,
            ),
            ("SELECT DISTINCT ON (a) 1/n FROM t LIMIT 2", "SELECT DISTINCT ON (a) 1/n FROM t LIMIT 2"),
            (
                "SELECT DISTINCT ON (a) a, 1/n q FROM t ORDER BY a",
                "SELECT DISTINCT ON (a) a, CASE WHEN pg_catalog.clock_timestamp() IS NOT NULL THEN (1/n) END q FROM t ORDER BY a",
            ),
            ("SELECT (f(a)).*, t.* FROM t", "SELECT (f(a)).*, t.* FROM t OFFSET 0"),
            (
                "SELECT CASE WHEN a THEN 1/n END x, t.a * t.b FROM t",
                "SELECT <CASE WHEN a THEN 1/n END> x, <t.a * t.b> FROM t",
            ),
            (
                "SELECT 1/n, sum(1/n) OVER (ORDER BY id), a IS DISTINCT FROM 1/n FROM t",
                "SELECT <1/n>, sum(1/n) OVER (ORDER BY id), <a IS DISTINCT FROM 1/n> FROM t",
            ),
            (
                "SELECT 1/a FROM t GROUP BY 1/a UNION ALL SELECT 1/b FROM u ORDER BY 1",
                "(SELECT 1/a FROM t GROUP BY 1/a OFFSET 0) UNION ALL SELECT <1/b> FROM u ORDER BY 1",
            ),
        ];
        for (sql, expected) in cases {
            assert_eq!(raised(sql, true), expected);
            let within = |text: &str| format!("WITH w AS ({text}) SELECT 1/a FROM ({text}) s, w");
            assert_eq!(raised(&within(sql), false), within(expected));
        }
        let top = "SELECT 1/a FROM t UNION SELECT DISTINCT 1/n FROM t";
        assert_eq!(raised(top, false), top);
    }
}
