//! A catalog's rows as a branch has them: a sub-select over the catalog, which the planner pulls up.

use epoch_adapter_postgres::layout::{literal, quote};

use super::map::{Map, Pairs};
use super::{CATALOGS, Owner, PG_CATALOG, condition};

/// How a column that refers to something refers to it on the branch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refers {
    /// The oid of a schema.
    Schema,
    /// The name of a schema.
    SchemaName,
    /// The oid of a relation.
    Relation,
    /// The oid of an index.
    Index,
    /// Either.
    Any,
    /// Numbers of columns of the relation that another column has.
    Columns(&'static str),
    /// The number of a column of the relation that another column has.
    Column(&'static str),
    /// Privileges: those on main's table.
    Privileges,
}

/// What rows of main are left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Without {
    Nothing,
    /// Those of relations in a column.
    Relation(&'static str),
    Types,
    /// Those of tables by the names of schema and table.
    Names(&'static str, &'static str),
}

struct Catalog {
    name: &'static str,
    columns: &'static [(&'static str, Refers)],
    without: Without,
}

const fn catalog(
    name: &'static str,
    columns: &'static [(&'static str, Refers)],
    without: Without,
) -> Catalog {
    Catalog { name, columns, without }
}

const SCHEMA_NAME: &[(&str, Refers)] = &[("schemaname", Refers::SchemaName)];

/// Catalogs of schema pg_catalog whose rows are others on a branch. Views over them that are looked up by their
/// definition aren't here.
const ROWS: &[Catalog] = &[
    catalog(
        "pg_class",
        &[("relnamespace", Refers::Schema), ("relacl", Refers::Privileges)],
        Without::Relation("oid"),
    ),
    catalog("pg_type", &[("typnamespace", Refers::Schema)], Without::Types),
    catalog(
        "pg_constraint",
        &[
            ("connamespace", Refers::Schema),
            ("confrelid", Refers::Relation),
            ("conindid", Refers::Index),
            ("confkey", Refers::Columns("confrelid")),
        ],
        Without::Relation("conrelid"),
    ),
    catalog("pg_index", &[], Without::Relation("indexrelid")),
    catalog("pg_rewrite", &[("ev_class", Refers::Relation)], Without::Relation("ev_class")),
    catalog("pg_trigger", &[("tgrelid", Refers::Relation)], Without::Nothing),
    catalog(
        "pg_depend",
        &[("refobjid", Refers::Any), ("refobjsubid", Refers::Column("refobjid"))],
        // An identity column's sequence of main, where the branch's version has its own.
        Without::Relation("objid"),
    ),
    catalog("pg_statistic_ext", &[("stxnamespace", Refers::Schema)], Without::Relation("stxrelid")),
    catalog("pg_namespace", &[], Without::Nothing),
    catalog("pg_proc", &[], Without::Nothing),
    catalog("pg_stats", SCHEMA_NAME, Without::Names("schemaname", "tablename")),
    catalog("pg_stat_all_tables", SCHEMA_NAME, Without::Relation("relid")),
    catalog("pg_stat_user_tables", SCHEMA_NAME, Without::Relation("relid")),
    catalog("pg_stat_xact_all_tables", SCHEMA_NAME, Without::Relation("relid")),
    catalog("pg_stat_xact_user_tables", SCHEMA_NAME, Without::Relation("relid")),
    catalog("pg_statio_all_tables", SCHEMA_NAME, Without::Relation("relid")),
    catalog("pg_statio_user_tables", SCHEMA_NAME, Without::Relation("relid")),
    catalog("pg_stat_all_indexes", SCHEMA_NAME, Without::Relation("relid")),
    catalog("pg_stat_user_indexes", SCHEMA_NAME, Without::Relation("relid")),
    catalog("pg_statio_all_indexes", SCHEMA_NAME, Without::Relation("relid")),
    catalog("pg_statio_user_indexes", SCHEMA_NAME, Without::Relation("relid")),
    catalog("pg_statio_all_sequences", SCHEMA_NAME, Without::Relation("relid")),
    catalog("pg_statio_user_sequences", SCHEMA_NAME, Without::Relation("relid")),
    catalog("pg_stat_user_functions", &[], Without::Nothing),
];

/// Their names.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    ROWS.iter().map(|catalog| catalog.name)
}

/// By what a catalog's own columns are called in the sub-select.
const ALIAS: &str = "epoch_c";

/// The rows that a branch has of a catalog of schema pg_catalog, in brackets; `None` if they are the server's.
/// `ours`: quoted names of the schemas of ours. `system`: system columns to carry along.
pub(super) fn shown(map: &Map, name: &str, ours: &[String], system: &str) -> Option<String> {
    let catalog = ROWS.iter().find(|c| c.name == name)?;
    let columns = map.columns.get(name)?;
    let one = |column: &String| {
        let refers = catalog.columns.iter().find(|(c, _)| c == column).map(|(_, refers)| *refers);
        match refers.and_then(|refers| referring(map, column, refers)) {
            Some(sql) => format!("{sql} AS {}", quote(column)),
            None => format!("{ALIAS}.{}", quote(column)),
        }
    };
    let list: Vec<String> = columns.iter().map(one).collect();
    let mut conditions = Vec::new();
    let hides = CATALOGS.iter().find(|(schema, n, _)| *schema == PG_CATALOG && *n == name).map(|(.., o)| *o);
    let hides = hides.or((name == "pg_statistic_ext").then_some(Owner::Namespace("stxnamespace")));
    // The schemas of the branch's tables aren't there, what is in them is.
    let holds = |schema: &&String| map.schemas.iter().any(|s| literal(&s.name) == **schema);
    let left = ours.iter().filter(|schema| name == "pg_namespace" || !holds(schema)).cloned();
    let ours: Vec<String> = left.collect();
    if !ours.is_empty() {
        conditions.extend(hides.map(|owner| condition(owner, &ours)));
    }
    conditions.extend(without(map, catalog.without));
    let filter =
        if conditions.is_empty() { String::new() } else { format!(" WHERE {}", conditions.join(" AND ")) };
    Some(format!("(SELECT {system}{} FROM pg_catalog.{name} {ALIAS}{filter})", list.join(", ")))
}

/// `None` if the column is good as it is.
fn referring(map: &Map, column: &str, refers: Refers) -> Option<String> {
    let own = format!("{ALIAS}.{}", quote(column));
    match refers {
        Refers::Schema => schema(map, &own),
        Refers::SchemaName => schema_name(map, &own),
        Refers::Relation => pairs(&[&map.tables], &own),
        Refers::Index => pairs(&[&map.indexes], &own),
        Refers::Any => pairs(&[&map.tables, &map.indexes], &own),
        Refers::Columns(of) => {
            let of = format!("{ALIAS}.{}", quote(of));
            let to = pairs(&[&map.tables], &of)?;
            let numbers = format!("pg_catalog.unnest({own}) WITH ORDINALITY epoch_u(n, o)");
            Some(format!(
                "CASE WHEN {} THEN (SELECT pg_catalog.array_agg(epoch_t.attnum ORDER BY epoch_u.o) FROM {numbers} {}) ELSE {own} END",
                is_one_of(&map.tables, &of),
                same_named(&of, "epoch_u.n", &to)
            ))
        }
        Refers::Column(of) => {
            let of = format!("{ALIAS}.{}", quote(of));
            let to = pairs(&[&map.tables], &of)?;
            Some(format!(
                "CASE WHEN {} AND {own} OPERATOR(pg_catalog.>) 0 THEN coalesce((SELECT epoch_t.attnum::pg_catalog.int4 FROM (SELECT {own}) epoch_u(n) {}), {own}) ELSE {own} END",
                is_one_of(&map.tables, &of),
                same_named(&of, "epoch_u.n", &to)
            ))
        }
        Refers::Privileges => {
            let of_main: Pairs = map
                .tables
                .iter()
                .filter(|(from, _)| map.hidden.iter().any(|h| h.oid == *from))
                .map(|&(from, to)| (to, from))
                .collect();
            let from = pairs(&[&of_main], &format!("{ALIAS}.oid"))?;
            Some(format!(
                "CASE WHEN {} THEN (SELECT epoch_m.relacl FROM pg_catalog.pg_class epoch_m WHERE epoch_m.oid OPERATOR(pg_catalog.=) {from}) ELSE {own} END",
                is_one_of(&of_main, &format!("{ALIAS}.oid"))
            ))
        }
    }
}

/// Joins a column by its number with the one of its name in another table, `epoch_t`.
fn same_named(of: &str, number: &str, to: &str) -> String {
    format!(
        "JOIN pg_catalog.pg_attribute epoch_f ON epoch_f.attrelid OPERATOR(pg_catalog.=) {of} AND epoch_f.attnum OPERATOR(pg_catalog.=) {number} \
         JOIN pg_catalog.pg_attribute epoch_t ON epoch_t.attrelid OPERATOR(pg_catalog.=) {to} AND epoch_t.attname OPERATOR(pg_catalog.=) epoch_f.attname"
    )
}

fn is_one_of(pairs: &[(u32, u32)], column: &str) -> String {
    format!("{column} OPERATOR(pg_catalog.=) ANY ({})", oids(pairs.iter().map(|(from, _)| *from)))
}

/// An array of oids.
pub(super) fn oids(list: impl Iterator<Item = u32>) -> String {
    let list: Vec<String> = list.map(|oid| oid.to_string()).collect();
    format!("'{{{}}}'::pg_catalog.oid[]", list.join(","))
}

fn pairs(lists: &[&[(u32, u32)]], column: &str) -> Option<String> {
    let one = |(from, to): &(u32, u32)| {
        format!(" WHEN {column} OPERATOR(pg_catalog.=) {from}::pg_catalog.oid THEN {to}::pg_catalog.oid")
    };
    let whens: String = lists.iter().flat_map(|list| list.iter()).map(one).collect();
    (!whens.is_empty()).then(|| format!("CASE{whens} ELSE {column} END"))
}

fn schema(map: &Map, column: &str) -> Option<String> {
    let one = |(home, _): (u32, &str)| {
        let places = map.schemas.iter().filter(|s| s.home == home).map(|s| s.oid);
        format!(" WHEN {column} OPERATOR(pg_catalog.=) ANY ({}) THEN {home}::pg_catalog.oid", oids(places))
    };
    let whens: String = map.homes().into_iter().map(one).collect();
    (!whens.is_empty()).then(|| format!("CASE{whens} ELSE {column} END"))
}

fn schema_name(map: &Map, column: &str) -> Option<String> {
    let one = |(home, name): (u32, &str)| {
        let places: Vec<String> =
            map.schemas.iter().filter(|s| s.home == home).map(|s| literal(&s.name)).collect();
        format!(
            " WHEN {column}::pg_catalog.text OPERATOR(pg_catalog.=) ANY (ARRAY[{}]::pg_catalog.text[]) THEN {}::pg_catalog.name",
            places.join(", "),
            literal(name)
        )
    };
    let whens: String = map.homes().into_iter().map(one).collect();
    (!whens.is_empty()).then(|| format!("CASE{whens} ELSE {column} END"))
}

fn without(map: &Map, what: Without) -> Option<String> {
    let none_of =
        |column: &str, oids: String| format!("{ALIAS}.{column} OPERATOR(pg_catalog.<>) ALL ({oids})");
    match what {
        Without::Relation(column) if !map.hidden.is_empty() => {
            Some(none_of(column, oids(map.hidden.iter().map(|h| h.oid))))
        }
        Without::Types if !map.hidden_types.is_empty() => {
            let types = oids(map.hidden_types.iter().copied());
            Some(format!("{} AND {}", none_of("oid", types.clone()), none_of("typelem", types)))
        }
        Without::Names(schema, name) if !map.hidden.is_empty() => {
            let one = |h: &super::map::Hidden| format!("({}, {})", literal(&h.schema), literal(&h.name));
            let list: Vec<String> = map.hidden.iter().map(one).collect();
            Some(format!(
                "NOT EXISTS (SELECT FROM (VALUES {}) epoch_h(s, t) WHERE epoch_h.s OPERATOR(pg_catalog.=) {ALIAS}.{schema}::pg_catalog.text \
                 AND epoch_h.t OPERATOR(pg_catalog.=) {ALIAS}.{name}::pg_catalog.text)",
                list.join(", ")
            ))
        }
        _ => None,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::map::{Hidden, Schema};
    use super::*;

    fn map() -> Map {
        let mut map = Map::default();
        let schema = |oid, home, name: &str, home_name: &str| Schema {
            oid,
            name: name.to_owned(),
            home,
            home_name: home_name.to_owned(),
        };
        map.schemas =
            vec![schema(70, 22, "epoch_b7_public", "public"), schema(80, 22, "epoch_b8_public", "public")];
        map.hidden = vec![Hidden { oid: 16, schema: "public".to_owned(), name: "users".to_owned() }];
        map.tables = vec![(16, 71)];
        let columns = ["oid", "relname", "relnamespace", "relacl"].map(str::to_owned);
        map.columns.insert("pg_class".to_owned(), columns.to_vec());
        map.columns.insert("pg_trigger".to_owned(), vec!["tgrelid".to_owned()]);
        map
    }

    #[test]
    fn rows_belong_to_the_tables_schema_and_mains_are_left_out() {
        let shown = shown(&map(), "pg_class", &["'epoch'".to_owned()], "xmin, ").unwrap();
        assert!(
            shown.starts_with("(SELECT xmin, epoch_c.\"oid\", epoch_c.\"relname\", CASE WHEN"),
            "{shown}"
        );
        assert!(shown.contains("ANY ('{70,80}'::pg_catalog.oid[]) THEN 22::pg_catalog.oid"), "{shown}");
        assert!(
            shown.contains("epoch_c.oid OPERATOR(pg_catalog.<>) ALL ('{16}'::pg_catalog.oid[])"),
            "{shown}"
        );
        assert!(shown.contains("SELECT epoch_m.relacl"), "{shown}");
    }

    #[test]
    fn what_refers_to_mains_table_refers_to_the_branchs() {
        let shown = shown(&map(), "pg_trigger", &[], "").unwrap();
        assert!(shown.contains("=) 16::pg_catalog.oid THEN 71::pg_catalog.oid"), "{shown}");
    }

    #[test]
    fn others_are_as_they_are() {
        assert_eq!(shown(&map(), "pg_attribute", &[], ""), None);
        assert_eq!(shown(&Map::default(), "pg_class", &[], ""), None, "columns aren't known");
        assert_eq!(schema(&Map::default(), "x"), None);
    }
}
