//! For who may not read everything: nothing that the client wrote is evaluated on a hidden row, however dear it looks.
//!
//! What costs say in which order conditions are evaluated, the client can change (`SET cpu_tuple_cost = 0`), and even what can't fail by
//! itself tells by failing beside something else. So the relation in a table's place ends with OFFSET 0, which PostgreSQL moves no
//! condition through. Comparisons of its columns with constants are written into it once more, as they find rows by index.

use std::ops::Range;

use epoch_adapter::TableDef;
use epoch_adapter_postgres::layout::quote;

use super::super::lexer::TokenKind;
use super::super::parse::TableRef;
use super::super::plan::Context;
use super::super::rewrite::Rewriter;
use super::clauses;
use super::operands::{Level, conjuncts};

/// A relation that shows what is in the place of a table of the statement, for whoever asks.
pub(in crate::query) fn relation(
    ctx: &Context<'_>,
    rewriter: &Rewriter<'_>,
    (table, def): (&TableRef, &TableDef),
    shown: String,
) -> String {
    if ctx.repository.sees_all() || !shown.starts_with('(') {
        return shown;
    }
    let level = Level { sql: rewriter.sql, tokens: &rewriter.parsed.tokens.list };
    let own = |operator: &str| ctx.names.is_own_operator(operator);
    let found = comparisons(level, table, def, own);
    let condition = if found.is_empty() { String::new() } else { format!(" WHERE {}", found.join(" AND ")) };
    format!("(SELECT epoch_y.* FROM {shown} epoch_y{condition} OFFSET 0)")
}

/// A relation of which nothing is asked that could be written into it.
pub(in crate::query) fn whole(ctx: &Context<'_>, shown: String) -> String {
    if ctx.repository.sees_all() || !shown.starts_with('(') {
        return shown;
    }
    format!("(SELECT epoch_y.* FROM {shown} epoch_y OFFSET 0)")
}

const COMPARISONS: [&str; 5] = ["=", "<", ">", "<=", ">="];

/// What WHERE, joined by AND, says of columns of a table in FROM by comparing them with constants. It holds of no row in which the
/// column is NULL, so that joins give nothing else.
fn comparisons(
    level: Level<'_>,
    table: &TableRef,
    def: &TableDef,
    own: impl Fn(&str) -> bool,
) -> Vec<String> {
    let at = level.at(table.range.end);
    let depth = level.depth(level.at(table.range.start));
    const ENDS: &[&str] = &["union", "intersect", "except", "returning", "conflict", "select", "where"];
    let place = level.stop(at, depth, |i| level.is_any(i, ENDS));
    // `t x (a, b)` gives the columns other names.
    let alias = if level.is_word(at, "as") { at + 1 } else { at };
    let renamed = table.alias.is_some() && level.is_symbol(alias + 1, b'(');
    if table.command || renamed || !level.is(place, "where") || level.depth(place) != depth {
        return Vec::new();
    }
    let condition = place + 1..clauses::end(level, place + 1, false);
    let one =
        |range: Range<usize>| comparison(level, table, def, range).filter(|(operator, _)| !own(operator));
    conjuncts(level, &condition).into_iter().filter_map(one).map(|(_, text)| text).collect()
}

/// `column = constant` or `column IN (constants)`, with its operator.
fn comparison<'l>(
    level: Level<'l>,
    table: &TableRef,
    def: &TableDef,
    range: Range<usize>,
) -> Option<(&'l str, String)> {
    let named = level.is_symbol(range.start + 1, b'.');
    let column = if named { range.start + 2 } else { range.start };
    if named && name(level, range.start)? != table.called() {
        return None;
    }
    let found = def.schema.columns.iter().find(|c| name(level, column).is_some_and(|n| n == c.name))?;
    let operator = column + 1;
    let constants = operator + 1..range.end;
    let list = level.is(operator, "in") && is_list(level, &constants);
    let single = level.is_kind(operator, TokenKind::Operator)
        && COMPARISONS.contains(&level.text(operator))
        && constants.len() == 1
        && is_constant(level, constants.start);
    if !list && !single {
        return None;
    }
    let text = level.sql.get(level.get(operator)?.start..level.get(range.end - 1)?.end)?;
    let operator = if list { "=" } else { level.text(operator) };
    Some((operator, format!("epoch_y.{} {text}", quote(&found.name))))
}

fn is_list(level: Level<'_>, range: &Range<usize>) -> bool {
    let inside = range.start + 1..range.end.saturating_sub(1);
    level.is_symbol(range.start, b'(')
        && level.is_symbol(inside.end, b')')
        && !inside.is_empty()
        && inside.clone().all(|at| match (at - inside.start) % 2 {
            0 => is_constant(level, at),
            _ => level.is_symbol(at, b','),
        })
}

fn is_constant(level: Level<'_>, at: usize) -> bool {
    [TokenKind::Str, TokenKind::Number, TokenKind::Param].iter().any(|&kind| level.is_kind(at, kind))
}

/// What a name means; none of one whose quotes or escapes would have to be decoded.
fn name(level: Level<'_>, at: usize) -> Option<String> {
    let text = level.text(at);
    match level.get(at)?.kind {
        TokenKind::Word => Some(text.to_lowercase()),
        TokenKind::Quoted => {
            let inside = text.strip_prefix('"')?.strip_suffix('"')?;
            (!inside.contains('"')).then(|| inside.to_owned())
        }
        _ => None,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::query::parse;
    use epoch_adapter::{BackendKind, Column, Location, TableId, TableName, TableSchema};

    fn def() -> TableDef {
        let column = |name: &str| Column {
            name: name.to_owned(),
            type_name: "integer".to_owned(),
            pg_type: "integer".to_owned(),
            data_type: arrow::datatypes::DataType::Int32,
            nullable: true,
            generated: false,
            default: None,
            equality: None,
        };
        let schema = TableSchema { columns: vec![column("id"), column("A b")], key: vec![0] };
        let location = Location {
            kind: BackendKind::PostgreSql,
            backend: "main".into(),
            schema: Some("public".into()),
            table: "t".into(),
        };
        let (id, name) = (TableId(1), TableName::public("t"));
        TableDef::new(id, name, location, schema)
    }

    fn of(sql: &str) -> String {
        let parsed = parse::parse(sql).unwrap();
        let statement = parsed.statements.first().unwrap();
        let table = statement.tables.iter().find(|t| t.name == "t").unwrap();
        let level = Level { sql, tokens: &parsed.tokens.list };
        comparisons(level, table, &def(), |operator| operator == ">").join(" AND ")
    }

    #[test]
    fn what_is_written_into_a_relation_compares_its_columns_with_constants() {
        let cases = [
            (
                "SELECT 1 FROM t WHERE ID = 7 AND \"A b\" >= '5'",
                "epoch_y.\"id\" = 7 AND epoch_y.\"A b\" >= '5'",
            ),
            (
                "SELECT 1 FROM u JOIN t x ON true WHERE x.id IN (1, $2) AND u.id = 3 ORDER BY 1",
                "epoch_y.\"id\" IN (1, $2)",
            ),
            ("SELECT 1 FROM t WHERE id = 7 OR id = 8", ""),
            (
                "SELECT 1 FROM t WHERE id = 7 AND 1 / id = 1 AND b = 2 AND id IS NULL AND id = 3 + 1",
                "epoch_y.\"id\" = 7",
            ),
            ("SELECT 1 FROM t WHERE id = '7'::int AND id > 7 AND t.id < u.id AND id IN (1, u.id)", ""),
            ("SELECT 1 FROM t UNION SELECT 1 FROM u WHERE id = 1", ""),
            ("SELECT 1 FROM u WHERE id = 1 AND EXISTS (SELECT FROM t)", ""),
            ("UPDATE t SET id = 4 FROM u WHERE t.id = 5 AND u.id = 6 RETURNING t.id", "epoch_y.\"id\" = 5"),
            ("INSERT INTO u SELECT * FROM t ON CONFLICT (id) DO UPDATE SET id = 1 WHERE t.id = 5", ""),
            ("SELECT 1 FROM t x (\"A b\", id) WHERE id = 7", ""),
            ("SELECT 1 FROM u, t AS x (id) WHERE x.id = 7", ""),
            ("SELECT 1 FROM u, t AS x WHERE x.id = 7", "epoch_y.\"id\" = 7"),
            ("TABLE t", ""),
        ];
        for (sql, expected) in cases {
            assert_eq!(of(sql), expected, "{sql}");
        }
    }
}
