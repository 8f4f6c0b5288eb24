//! SQL for what a view shows of given keys. (`relation` has the whole table.)

use epoch_adapter::{At, Column, Origin, TableDef, View};

use crate::layout::{history, mask, overlay, quote};
use crate::of_main;
use crate::text::{join, key, same_key};

/// Joins that find the row of each key of a relation in a view, and expressions over them. All are
/// index probes per key, whatever the planner believes: work is proportional to the keys.
pub(crate) struct Lookup<'a> {
    table: &'a TableDef,
    view: View,
    prefix: &'static str,
    /// The table whose columns and key names are asked for, and where they come from.
    shape: Option<(&'a TableDef, &'a [Origin])>,
}

impl<'a> Lookup<'a> {
    /// `prefix` keeps the aliases of several lookups in one statement apart.
    pub(crate) fn new(table: &'a TableDef, view: View, prefix: &'static str) -> Self {
        Self { table, view, prefix, shape: None }
    }

    /// As [`Lookup::new`], in the columns of another version of the table. Relations of keys name them as that
    /// version does.
    pub(crate) fn seen_as(self, shape: Option<(&'a TableDef, &'a [Origin])>) -> Self {
        Self { shape, ..self }
    }

    /// Whether `a` has the key that `k` has.
    fn same_key(&self, a: &str, k: &str) -> String {
        let Some((shape, origins)) = self.shape else { return same_key(self.table, a, k) };
        join(
            shape.schema.key.iter().filter_map(|&i| shape.schema.columns.get(i).zip(origins.get(i))),
            " AND ",
            |(c, origin)| format!("{} = {k}.{}", of_main::expression(origin, a), quote(&c.name)),
        )
    }

    /// The history with a lineage's images, as something to select from.
    fn image(&self, k: &str, alias: &str, lineage: i64, ordinal: i64, needed: &str) -> String {
        let history = if lineage == MAIN { of_main::images(self.table) } else { history(self.table) };
        image(&history, &self.same_key("h", k), alias, lineage, ordinal, needed)
    }

    /// `LEFT JOIN …` for the keys of relation `k`.
    pub(crate) fn joins(&self, k: &str) -> String {
        let (table, p) = (self.table, self.prefix);
        let mut out = String::new();
        let main_at = if self.view.layer.is_main() {
            self.view.at
        } else {
            let lineage = self.view.layer.lineage.0;
            let mut absent = Vec::new();
            if let At::Ordinal(ordinal) = self.view.at {
                out += &self.image(k, &format!("{p}i"), lineage, ordinal, "true");
                absent.push(format!("{p}i.epoch_existed IS NULL"));
            }
            out += &probe(
                &format!("{p}o"),
                "o.*",
                &format!("{} o", overlay(table)),
                &format!("o.epoch_lineage = {lineage} AND {}", self.same_key("o", k)),
                &all(&absent),
            );
            absent.push(format!("{p}o.epoch_lineage IS NULL"));
            out += &probe(
                &format!("{p}m"),
                "m.epoch_lineage",
                &format!("{} m", mask(table)),
                &format!("m.epoch_lineage = {lineage} AND {}", self.same_key("m", k)),
                &all(&absent),
            );
            At::Ordinal(self.view.layer.base)
        };
        let mut needed = self.main_needed();
        if let At::Ordinal(ordinal) = main_at {
            out += &self.image(k, &format!("{p}h"), MAIN, ordinal, &needed);
            needed = format!("{needed} AND {p}h.epoch_existed IS NULL");
        }
        out += &probe(
            &format!("{p}b"),
            "true AS epoch_there, b.*",
            &format!("{} b", of_main::rows(table)),
            &self.same_key("b", k),
            &needed,
        );
        out
    }

    /// When the row comes from main.
    fn main_needed(&self) -> String {
        let p = self.prefix;
        match (self.view.layer.is_main(), self.view.at) {
            (true, _) => "true".to_owned(),
            (false, At::Working) => format!("{p}o.epoch_lineage IS NULL AND {p}m.epoch_lineage IS NULL"),
            (false, At::Ordinal(_)) => {
                format!(
                    "{p}i.epoch_existed IS NULL AND {p}o.epoch_lineage IS NULL AND {p}m.epoch_lineage IS NULL"
                )
            }
        }
    }

    /// Aliases in the order in which they answer, with the expression that says so.
    fn sources(&self) -> Vec<(String, String)> {
        let p = self.prefix;
        let mut out = Vec::new();
        if !self.view.layer.is_main() {
            if self.view.at != At::Working {
                out.push((format!("{p}i"), format!("{p}i.epoch_existed")));
            }
            out.push((format!("{p}o"), format!("{p}o.epoch_lineage IS NOT NULL")));
        }
        if !self.view.is_plain() {
            out.push((format!("{p}h"), format!("{p}h.epoch_existed")));
        }
        out
    }

    /// Whether the row is there: never NULL.
    pub(crate) fn exists(&self) -> String {
        let there = self.sources().into_iter().map(|(_, test)| format!("coalesce({test}, false)"));
        join(there.chain([format!("coalesce({}b.epoch_there, false)", self.prefix)]), " OR ", |t| t)
    }

    /// A column of the row: NULL if there is none.
    pub(crate) fn column(&self, column: &Column) -> String {
        let name = quote(&column.name);
        self.chosen(|alias| format!("{alias}.{name}{}", cast(column)))
    }

    /// A column of the version that the row is shown as: NULL if there is no row.
    pub(crate) fn shown(&self, index: usize, column: &Column) -> String {
        let Some(origin) = self.shape.and_then(|(_, origins)| origins.get(index)) else {
            return self.column(column);
        };
        let value =
            self.chosen(|alias| format!("{}::{}", of_main::expression(origin, alias), column.pg_type));
        match origin {
            Origin::Column { .. } => value,
            Origin::Value(_) => format!("CASE WHEN {} THEN {value} END", self.exists()),
        }
    }

    /// What `value` makes of the alias that has the row.
    fn chosen(&self, value: impl Fn(&str) -> String) -> String {
        let plain = value(&format!("{}b", self.prefix));
        let cases = join(self.sources(), " ", |(alias, test)| format!("WHEN {test} THEN {}", value(&alias)));
        if cases.is_empty() { plain } else { format!("CASE {cases} ELSE {plain} END") }
    }
}

const MAIN: i64 = epoch_adapter::LineageId::MAIN.0;

/// History holds domains as their base types; everything else is brought to them.
fn cast(column: &Column) -> String {
    if column.type_name == column.pg_type { String::new() } else { format!("::{}", column.pg_type) }
}

fn all(conditions: &[String]) -> String {
    if conditions.is_empty() { "true".to_owned() } else { conditions.join(" AND ") }
}

fn probe(alias: &str, columns: &str, from: &str, condition: &str, needed: &str) -> String {
    format!(
        "\nLEFT JOIN LATERAL (SELECT {columns} FROM {from} WHERE {condition} AND {needed} OFFSET 0) {alias} ON true"
    )
}

/// The image of a lineage that was visible at an ordinal: the first that is valid beyond it.
/// Pending ones have the highest end, and among them the first one counts.
fn image(history: &str, same: &str, alias: &str, lineage: i64, ordinal: i64, needed: &str) -> String {
    format!(
        "\nLEFT JOIN LATERAL (SELECT h.* FROM {history} h WHERE h.epoch_lineage = {lineage} AND {same} AND h.epoch_to > {ordinal} \
         AND {needed} ORDER BY h.epoch_to, h.epoch_seq LIMIT 1) {alias} ON true"
    )
}

/// What a branch lineage itself holds of the table as of a view: a query of `columns`.
pub(crate) fn held(table: &TableDef, view: &View, columns: &[&Column]) -> String {
    branch_arms(table, view, columns).join("\nUNION ALL ")
}

fn branch_arms(table: &TableDef, view: &View, columns: &[&Column]) -> Vec<String> {
    let lineage = view.layer.lineage.0;
    let live = format!(
        "SELECT {} FROM {} b WHERE b.epoch_lineage = {lineage}",
        select(columns, "b"),
        overlay(table)
    );
    match view.at {
        At::Working => vec![live],
        At::Ordinal(ordinal) => vec![
            format!("{live} AND {}", no_image(table, lineage, ordinal)),
            images(table, lineage, ordinal, columns),
        ],
    }
}

fn images(table: &TableDef, lineage: i64, ordinal: i64, columns: &[&Column]) -> String {
    format!(
        "SELECT {} FROM (SELECT DISTINCT ON ({key}) h.* FROM {} h WHERE h.epoch_lineage = {lineage} \
         AND h.epoch_to > {ordinal} ORDER BY {key}, h.epoch_to, h.epoch_seq) b WHERE b.epoch_existed",
        select(columns, "b"),
        history(table),
        key = key(table, "h.")
    )
}

fn no_image(table: &TableDef, lineage: i64, ordinal: i64) -> String {
    format!(
        "NOT EXISTS (SELECT FROM {} h WHERE h.epoch_lineage = {lineage} AND {} AND h.epoch_to > {ordinal})",
        history(table),
        same_key(table, "h", "b")
    )
}

fn select(columns: &[&Column], alias: &str) -> String {
    join(columns, ", ", |c| {
        let name = quote(&c.name);
        match cast(c).as_str() {
            "" => format!("{alias}.{name}"),
            cast => format!("{alias}.{name}{cast} AS {name}"),
        }
    })
}
