//! Functions and casts that write or read the names of relations: on a branch, tables that it made or altered have the
//! names that they are known by there, not those of the schemas that they are kept in.

use std::cmp::Reverse;
use std::ops::Range;

use epoch_adapter_postgres::layout::{literal, quote};

use super::map::Map;
use super::rows::oids;
use crate::query::lexer::{Token, TokenKind};
use crate::query::parse::{FunctionRef, Site};
use crate::query::rewrite::Rewriter;

/// Functions whose result has names, and whether with their schemas even if these are in the search path; a number:
/// with so many arguments.
const WRITE_NAMES: &[(&str, Qualified)] = &[
    ("pg_get_indexdef", Qualified::WithArguments(1)),
    ("pg_get_triggerdef", Qualified::WithArguments(1)),
    ("pg_get_constraintdef", Qualified::Hidden),
    ("pg_get_expr", Qualified::Hidden),
    ("pg_get_viewdef", Qualified::Hidden),
    ("pg_get_ruledef", Qualified::Hidden),
    ("pg_get_partkeydef", Qualified::Hidden),
    ("pg_get_statisticsobjdef", Qualified::Always),
    ("pg_get_serial_sequence", Qualified::Always),
    ("pg_describe_object", Qualified::Hidden),
    ("format_type", Qualified::Hidden),
];

/// Functions with the name of a relation as an argument, and which one, counted from the end for negative ones.
const READ_NAMES: &[(&str, isize)] = &[
    ("to_regclass", 0),
    ("nextval", 0),
    ("currval", 0),
    ("pg_get_serial_sequence", 0),
    ("pg_get_viewdef", 0),
    ("pg_relation_size", 0),
    ("pg_table_size", 0),
    ("pg_indexes_size", 0),
    ("pg_total_relation_size", 0),
    ("pg_sequence_last_value", 0),
    ("has_table_privilege", -2),
    ("has_any_column_privilege", -2),
    ("has_sequence_privilege", -2),
    ("has_column_privilege", -3),
];

/// Functions that say whether something is found by its name, and where its schema is.
const VISIBLE: &[(&str, &str, &str)] =
    &[("pg_table_is_visible", "pg_class", "relnamespace"), ("pg_type_is_visible", "pg_type", "typnamespace")];

/// When a name is written with its schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Qualified {
    Always,
    /// If it isn't in the search path.
    Hidden,
    /// Always if the call has so many arguments, else if it isn't in the search path.
    WithArguments(usize),
}

/// Whether a function is one of these.
pub(super) fn concerns(function: &FunctionRef) -> bool {
    let name = function.name.as_str();
    matches!(function.schema.as_deref(), None | Some("pg_catalog"))
        && (WRITE_NAMES.iter().any(|(n, _)| *n == name)
            || READ_NAMES.iter().any(|(n, _)| *n == name)
            || VISIBLE.iter().any(|(n, ..)| *n == name))
}

/// Something around a part of the text.
pub(super) struct Wrap {
    pub range: Range<usize>,
    /// Of those around the same part, the inner ones come first.
    pub rank: u8,
    pub before: String,
    pub after: String,
}

/// Puts what is needed around calls and casts.
pub(super) fn wrap(map: &Map, rewriter: &mut Rewriter<'_>) {
    let mut wraps = super::casts::casts(map, rewriter);
    wraps.extend(super::regtypes::wraps(map, rewriter));
    let statement = rewriter.statement;
    for function in statement.functions.iter().filter(|f| f.site == Site::Expression && concerns(f)) {
        call(map, rewriter, function, &mut wraps);
    }
    // The outer one first where they begin, the inner one first where they end.
    wraps.sort_by_key(|w| (w.range.start, Reverse((w.range.end, w.rank))));
    wraps.iter().for_each(|w| rewriter.edits.insert(w.range.start, w.before.clone()));
    wraps.sort_by_key(|w| (w.range.end, Reverse(w.range.start), w.rank));
    wraps.iter().for_each(|w| rewriter.edits.insert(w.range.end, w.after.clone()));
}

fn call(map: &Map, rewriter: &mut Rewriter<'_>, function: &FunctionRef, wraps: &mut Vec<Wrap>) {
    let name = function.name.as_str();
    let arguments = arguments(rewriter, function);
    if let Some((_, of)) = READ_NAMES.iter().find(|(n, _)| *n == name)
        && let Some(argument) = chosen(&arguments, *of)
        && is_computed(rewriter, argument)
    {
        let text = matches!(name, "to_regclass" | "pg_get_serial_sequence");
        wraps.push(computed(map, argument, text));
    }
    if let Some((_, qualified)) = WRITE_NAMES.iter().find(|(n, _)| *n == name) {
        let always = match qualified {
            Qualified::Always => true,
            Qualified::Hidden => false,
            Qualified::WithArguments(count) => arguments.len() == *count,
        };
        let (before, after) = written(map, always);
        let (first, second) = match drawn(map, rewriter, function, &arguments) {
            Some(more) => ("coalesce(", format!(", {more})")),
            None => ("", String::new()),
        };
        wraps.push(Wrap {
            range: function.range.clone(),
            rank: 0,
            before: format!("(SELECT {before}{first}"),
            after: format!("{second}{after} AS {})", quote(name)),
        });
    }
    if let (Some((_, catalog, schema)), [argument]) =
        (VISIBLE.iter().find(|(n, ..)| *n == name), arguments.as_slice())
    {
        visible(map, rewriter, function, argument, (catalog, schema));
    }
}

/// What `pg_get_serial_sequence` says of an altered table whose sequence is main's, which belongs to main's table.
fn drawn(
    map: &Map,
    rewriter: &Rewriter<'_>,
    function: &FunctionRef,
    arguments: &[Range<usize>],
) -> Option<String> {
    let [table, column] = arguments else { return None };
    let text = |range: &Range<usize>| rewriter.sql.get(range.clone());
    if function.name != "pg_get_serial_sequence" {
        return None;
    }
    let (_, name) = super::literals::name(text(table)?.strip_prefix('\'')?.strip_suffix('\'')?)?;
    let altered = |(_, to): &&(u32, u32)| map.relations.iter().any(|r| r.oid == *to && r.name == name);
    let (main, _) =
        map.tables.iter().filter(altered).find(|(from, _)| map.hidden.iter().any(|h| h.oid == *from))?;
    Some(format!(
        "(SELECT pg_catalog.format('%I.%I', epoch_n.nspname, epoch_q.relname) FROM pg_catalog.pg_depend epoch_d \
         JOIN pg_catalog.pg_class epoch_q ON epoch_q.oid OPERATOR(pg_catalog.=) epoch_d.objid AND epoch_q.relkind OPERATOR(pg_catalog.=) 'S' \
         JOIN pg_catalog.pg_namespace epoch_n ON epoch_n.oid OPERATOR(pg_catalog.=) epoch_q.relnamespace \
         JOIN pg_catalog.pg_attribute epoch_a ON epoch_a.attrelid OPERATOR(pg_catalog.=) epoch_d.refobjid AND epoch_a.attnum OPERATOR(pg_catalog.=) epoch_d.refobjsubid \
         WHERE epoch_d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass AND epoch_d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass \
         AND epoch_d.refobjid OPERATOR(pg_catalog.=) {main}::pg_catalog.oid AND epoch_d.deptype OPERATOR(pg_catalog.=) ANY ('{{a,i}}'::pg_catalog.\"char\"[]) \
         AND epoch_q.oid OPERATOR(pg_catalog.<>) ALL ({}) AND epoch_a.attname::pg_catalog.text OPERATOR(pg_catalog.=) ({})::pg_catalog.text)",
        oids(map.hidden.iter().map(|h| h.oid)),
        text(column)?
    ))
}

/// Whether it is in a schema of the branch's tables whose home is in the search path.
fn visible(
    map: &Map,
    rewriter: &mut Rewriter<'_>,
    function: &FunctionRef,
    argument: &Range<usize>,
    (catalog, schema): (&str, &str),
) {
    let one = |(home, name): (u32, &str)| {
        let places = oids(map.schemas.iter().filter(|s| s.home == home).map(|s| s.oid));
        format!("epoch_c.{schema} OPERATOR(pg_catalog.=) ANY ({places}) AND {}", is_in_path(name))
    };
    let any: Vec<String> = map.homes().into_iter().map(one).collect();
    if any.is_empty() {
        return;
    }
    let name = quote(&function.name);
    let before = format!(
        "(SELECT pg_catalog.{name}(epoch_o) OR EXISTS (SELECT FROM pg_catalog.{catalog} epoch_c \
         WHERE epoch_c.oid OPERATOR(pg_catalog.=) epoch_o AND ({})) AS {name} FROM (SELECT (",
        any.join(" OR ")
    );
    rewriter.edits.replace(function.range.start..argument.start, before);
    rewriter.edits.replace(argument.end..function.range.end, ")::pg_catalog.oid) epoch_s(epoch_o))");
}

fn is_in_path(schema: &str) -> String {
    format!(
        "{}::pg_catalog.name OPERATOR(pg_catalog.=) ANY (pg_catalog.current_schemas(true))",
        literal(schema)
    )
}

/// What is put around a text to have names in it as the branch knows them. `always`: with their schemas.
pub(super) fn written(map: &Map, always: bool) -> (String, String) {
    let (mut before, mut after) = (String::new(), String::new());
    // With its schema a type is written if it isn't found without, whatever is said of tables.
    for of in map.enumerations.iter().filter(|_| always) {
        let name = format!("pg_catalog.quote_ident({})", literal(&of.name));
        before.insert_str(0, "pg_catalog.replace(");
        after += &format!(", {}, {})", literal(&of.spelled), with_schema(&of.home, false, &name));
    }
    for stand_in in &map.stand_ins {
        let plain = format!("{}.{}", quote_if_needed(&stand_in.schema), quote_if_needed(&stand_in.name));
        let name = format!("pg_catalog.quote_ident({})", literal(&stand_in.table));
        before.insert_str(0, "pg_catalog.replace(");
        after += &format!(", {}, {})", literal(&plain), with_schema(&stand_in.home, always, &name));
    }
    for (_, home) in map.homes() {
        let place = format!("epoch_b[0-9]+_{}", escaped(home));
        let pattern = if quote_if_needed(home) == home {
            format!("\\m{place}\\.")
        } else {
            format!("\"{}\"\\.", place.replace('"', "\"\""))
        };
        before.insert_str(0, "pg_catalog.regexp_replace(");
        after += &format!(", {}, {}, 'g')", literal(&pattern), replacement(home, always));
    }
    (before, after)
}

/// A name, with its schema or without.
fn with_schema(schema: &str, always: bool, name: &str) -> String {
    format!("{} OPERATOR(pg_catalog.||) {name}", replacement(schema, always))
}

/// What stands before a name: its schema and a dot, or nothing.
fn replacement(schema: &str, always: bool) -> String {
    let qualified = format!("(pg_catalog.quote_ident({}) OPERATOR(pg_catalog.||) '.')", literal(schema));
    if always { qualified } else { format!("CASE WHEN {} THEN '' ELSE {qualified} END", is_in_path(schema)) }
}

/// As a regular expression that only it matches.
fn escaped(text: &str) -> String {
    let one = |c: char| {
        if c.is_alphanumeric() || c == '_' { c.to_string() } else { format!("\\{c}") }
    };
    text.chars().map(one).collect()
}

/// As PostgreSQL writes names that aren't keywords; with a prefix, none is one.
fn quote_if_needed(name: &str) -> String {
    let plain = name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    if plain { name.to_owned() } else { quote(name) }
}

/// An argument that may be a relation's name or number, looked up as the branch has it: a text, or else a regclass.
/// (The cast of a text to regclass takes digits for a name, unlike that of a constant or of an oid.)
pub(super) fn computed(map: &Map, argument: &Range<usize>, text: bool) -> Wrap {
    let one = |s: &super::map::Schema| format!("({}::pg_catalog.oid, {})", s.oid, literal(&s.home_name));
    let places: Vec<String> = map.schemas.iter().map(one).collect();
    let found = if places.is_empty() {
        "NULL::pg_catalog.text".to_owned()
    } else {
        format!(
            "(SELECT pg_catalog.format('%I.%I', epoch_n.nspname, epoch_c.relname) FROM (VALUES {}) epoch_d(place, home) \
             JOIN pg_catalog.pg_namespace epoch_n ON epoch_n.oid OPERATOR(pg_catalog.=) epoch_d.place \
             JOIN pg_catalog.pg_class epoch_c ON epoch_c.relnamespace OPERATOR(pg_catalog.=) epoch_d.place \
             CROSS JOIN pg_catalog.parse_ident(epoch_t) epoch_i(p) \
             WHERE epoch_c.relname::pg_catalog.text OPERATOR(pg_catalog.=) epoch_i.p[pg_catalog.array_length(epoch_i.p, 1)] \
             AND CASE WHEN pg_catalog.array_length(epoch_i.p, 1) OPERATOR(pg_catalog.=) 1 \
                 THEN epoch_d.home::pg_catalog.name OPERATOR(pg_catalog.=) ANY (pg_catalog.current_schemas(true)) \
                 ELSE epoch_d.home OPERATOR(pg_catalog.=) epoch_i.p[1] END LIMIT 1)",
            places.join(", ")
        )
    };
    Wrap {
        range: argument.clone(),
        rank: 1,
        before: if text {
            format!(
                "(SELECT CASE WHEN epoch_t OPERATOR(pg_catalog.~) '^([0-9]+|-)$' THEN epoch_t ELSE coalesce({found}, epoch_t) END FROM (SELECT ("
            )
        } else {
            format!(
                "(SELECT CASE WHEN epoch_t OPERATOR(pg_catalog.~) '^[0-9]+$' THEN epoch_t::pg_catalog.oid::pg_catalog.regclass \
                 WHEN epoch_t OPERATOR(pg_catalog.=) '-' THEN 0::pg_catalog.oid::pg_catalog.regclass \
                 ELSE coalesce({found}, epoch_t)::pg_catalog.regclass END FROM (SELECT ("
            )
        },
        after: ")::pg_catalog.text) epoch_s(epoch_t))".to_owned(),
    }
}

/// The arguments of a call, as bytes of the text.
pub(super) fn arguments(rewriter: &Rewriter<'_>, function: &FunctionRef) -> Vec<Range<usize>> {
    let tokens = &rewriter.parsed.tokens;
    let (first, end) = (tokens.at(function.range.start), tokens.at(function.range.end));
    let Some(open) = tokens.list.get(first..end).and_then(|list| list.iter().position(|t| t.is_symbol(b'(')))
    else {
        return Vec::new();
    };
    let inside = tokens.list.get(first + open + 1..end.saturating_sub(1)).unwrap_or_default();
    let depth = tokens.get(first + open).map_or(0, |t| t.depth + 1);
    let parts = inside.split(|t| t.depth == depth && t.is_symbol(b','));
    parts.filter_map(|part| Some(part.first()?.start..part.last()?.end)).collect()
}

/// The argument at a place, counted from the end for a negative one.
pub(super) fn chosen(arguments: &[Range<usize>], at: isize) -> Option<&Range<usize>> {
    let index = match usize::try_from(at) {
        Ok(index) => index,
        Err(_) => arguments.len().checked_sub(at.unsigned_abs())?,
    };
    arguments.get(index)
}

/// Which argument of a function is the name of a relation.
pub(super) fn reads(function: &FunctionRef) -> Option<isize> {
    let known = matches!(function.schema.as_deref(), None | Some("pg_catalog"));
    READ_NAMES.iter().find(|(name, _)| known && *name == function.name).map(|(_, at)| *at)
}

fn tokens<'a>(rewriter: &'a Rewriter<'_>, range: &Range<usize>) -> &'a [Token] {
    let tokens = &rewriter.parsed.tokens;
    tokens.list.get(tokens.at(range.start)..tokens.at(range.end)).unwrap_or_default()
}

/// Whether an argument may be a name that is only known when it is evaluated: not a constant, nor an oid.
pub(super) fn is_computed(rewriter: &Rewriter<'_>, argument: &Range<usize>) -> bool {
    let mut list = tokens(rewriter, argument);
    while let [open, inside @ .., close] = list
        && open.is_symbol(b'(')
        && close.is_symbol(b')')
        && inside.iter().all(|t| t.depth > open.depth)
    {
        list = inside;
    }
    let constant = list.first().is_some_and(|t| matches!(t.kind, TokenKind::Str | TokenKind::Number));
    let last = list.last().map(|t| t.text(rewriter.sql).to_ascii_lowercase()).unwrap_or_default();
    let oid = ["oid", "relid", "oid\"", "relid\"", "regclass"].iter().any(|end| last.ends_with(end));
    !(constant && list.len() == 1 || oid || list.is_empty() || is_cast_constant(rewriter, list))
}

/// `'x'::something`
fn is_cast_constant(rewriter: &Rewriter<'_>, list: &[Token]) -> bool {
    let cast = list.get(1).is_some_and(|t| t.text(rewriter.sql) == "::");
    cast && list.first().is_some_and(|t| t.kind == TokenKind::Str)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::map::{Relation, Schema, StandIn};
    use super::*;
    use crate::query::form::Form;
    use crate::query::parse;

    fn map() -> Map {
        let text = |t: &str| t.to_owned();
        let schema = Schema { oid: 70, name: text("epoch_b7_public"), home: 22, home_name: text("public") };
        Map {
            schemas: vec![schema],
            relations: vec![Relation { oid: 71, name: text("notes"), schema: 70 }],
            ..Map::default()
        }
    }

    /// The statement with `<` and `>` where something was put around a part, and `name` after what was named.
    fn wrapped(sql: &str) -> String {
        let parsed = parse::parse(sql).unwrap();
        let statement = parsed.statements.first().unwrap();
        let mut rewriter = Rewriter::new(sql, &parsed, statement, Form::Selective);
        wrap(&map(), &mut rewriter);
        let (mut text, _) = rewriter.edits.render(sql, &statement.range);
        for always in [true, false] {
            let (before, after) = written(&map(), always);
            text = text.replace(&format!("(SELECT {before}"), "<").replace(&after, ">");
        }
        for kind in [true, false] {
            let computed = computed(&map(), &(0..0), kind);
            text = text.replace(&computed.before, "{").replace(&computed.after, "}");
        }
        text
    }

    #[test]
    fn what_is_put_around_calls_and_casts() {
        for (sql, shown) in [
            ("SELECT pg_get_indexdef(x.oid)", "SELECT <pg_get_indexdef(x.oid)> AS \"pg_get_indexdef\")"),
            (
                "SELECT max(pg_get_expr(a, b, true)) m FROM t",
                "SELECT max(<pg_get_expr(a, b, true)> AS \"pg_get_expr\")) m FROM t",
            ),
            (
                "SELECT c.oid::regclass FROM t c",
                "SELECT <c.oid::regclass::pg_catalog.text> AS \"oid\") FROM t c",
            ),
            (
                "SELECT conrelid::pg_catalog.regclass AS x, 1",
                "SELECT <conrelid::pg_catalog.regclass::pg_catalog.text> AS \"conrelid\") AS x, 1",
            ),
            (
                "SELECT 1 WHERE (c.oid)::regclass::text = 'x'",
                "SELECT 1 WHERE <(c.oid)::regclass::text> AS \"text\") = 'x'",
            ),
            (
                "SELECT 1 WHERE c.oid::regclass = 'x'::regclass",
                "SELECT 1 WHERE c.oid::regclass = 'x'::regclass",
            ),
            ("SELECT 1 WHERE $1::regclass = y", "SELECT 1 WHERE {$1}::regclass = y"),
            ("SELECT (a || b)::regclass::text", "SELECT <{(a || b)}::regclass::text> AS \"text\")"),
            ("SELECT to_regclass($1)", "SELECT <to_regclass({$1})::pg_catalog.text> AS \"to_regclass\")"),
            ("SELECT 1 WHERE to_regclass('x') IS NULL", "SELECT 1 WHERE to_regclass('x') IS NULL"),
            ("SELECT pg_get_viewdef($1)", "SELECT <pg_get_viewdef({$1})> AS \"pg_get_viewdef\")"),
            ("SELECT pg_get_viewdef(c.oid)", "SELECT <pg_get_viewdef(c.oid)> AS \"pg_get_viewdef\")"),
            (
                "SELECT length(to_regclass('x')::text)",
                "SELECT length(<to_regclass('x')::text> AS \"to_regclass\"))",
            ),
            (
                "SELECT a::regclass FROM t UNION SELECT b FROM u",
                "SELECT {a}::regclass FROM t UNION SELECT b FROM u",
            ),
            ("SELECT 1 WHERE oid = cast($1 as regclass)", "SELECT 1 WHERE oid = cast({$1} as regclass)"),
            (
                "SELECT CAST(CAST(CAST(a.attrelid AS regclass) AS text) AS pg_catalog.regclass)",
                "SELECT CAST({CAST(CAST(a.attrelid AS regclass) AS text)} AS pg_catalog.regclass)",
            ),
            ("SELECT array_agg(x::regclass[])", "SELECT array_agg(x::regclass[])"),
        ] {
            assert_eq!(wrapped(sql), shown);
        }
    }

    #[test]
    fn a_call_in_a_cast_is_inside() {
        assert_eq!(
            wrapped("SELECT pg_get_serial_sequence($1, 'id')::regclass::text"),
            "SELECT <{<pg_get_serial_sequence({$1}, 'id')> AS \"pg_get_serial_sequence\")}::regclass::text> AS \"pg_get_serial_sequence\")"
        );
    }

    #[test]
    fn names_of_stand_ins_come_first() {
        let stand_in = StandIn {
            schema: "epoch_epoch_b7_public".to_owned(),
            name: "parent_3".to_owned(),
            home: "public".to_owned(),
            table: "users".to_owned(),
        };
        let map = Map { stand_ins: vec![stand_in], ..map() };
        let (before, _) = written(&map, true);
        assert_eq!(before, "pg_catalog.regexp_replace(pg_catalog.replace(");
        assert_eq!(escaped("a.b$"), "a\\.b\\$");
    }
}
