//! SQL text of what a view shows: the relation that stands in the place of a table's name.
//!
//! Two forms of one relation (`docs/decisions` says why, with plans):
//!
//! * [`selective`]: the arms of the UNION ALL are bare tables with constant tag columns, and every
//!   condition stands above the union. PostgreSQL then flattens it: join clauses, sort orders and
//!   LIMIT go into each arm as index scans. What a row costs more are correlated index probes,
//!   kept as such by `OFFSET 0`.
//! * [`scanning`]: the conditions stand in the arms as anti-joins, which hash well over everything.
//!
//! Both are sub-selects in parentheses, without an alias, with the table's columns in their order.

use epoch_adapter::{At, Layer, LineageId, TableDef, View};

use crate::layout::{PENDING, claim_function, copying_setting, history, mask, overlay, quote};
use crate::of_main;

const MAIN: i64 = LineageId::MAIN.0;

/// The relation of `view` for statements that touch few rows. The plain table's name for main's
/// working state.
pub fn selective(table: &TableDef, view: &View) -> String {
    if view.is_plain() {
        return of_main::rows(table);
    }
    Parts::of(view).selective(table, &columns(table))
}

/// As [`selective`], for statements that read more than a few rows: whether the layer masks anything and main changed
/// anything is asked once, and only if so for each row.
pub fn ranging(table: &TableDef, view: &View) -> String {
    if view.is_plain() {
        return of_main::rows(table);
    }
    Parts { guarded: true, ..Parts::of(view) }.selective(table, &columns(table))
}

/// The relation of `view` for statements that read much of the table.
pub fn scanning(table: &TableDef, view: &View) -> String {
    if view.is_plain() {
        return of_main::rows(table);
    }
    Parts::of(view).scanning(table, &columns(table))
}

/// What `layer` shows of main (its base part): main at `layer.base` without the masked keys, in the
/// selective form. Rows of it are what a write on the branch copies up.
pub fn base_part(table: &TableDef, layer: Layer) -> String {
    Parts::below(layer).selective(table, &columns(table))
}

/// [`base_part`] in the scanning form.
pub fn base_part_scanning(table: &TableDef, layer: Layer) -> String {
    Parts::below(layer).scanning(table, &columns(table))
}

/// The statement that copies rows up: `source` is a query that yields the table's columns, named as
/// such, of rows of the base part (a row may come more than once). A second writer of a key waits on
/// the mask's unique index, as it would on the row itself.
///
/// FULL JOIN, with a condition that the planner can't reduce it by, is never a nested loop: how many rows
/// come can't be foreseen (a new branch looks empty), and a loop over two CTEs is quadratic.
///
/// The setting is made once, before the first row, and taken back by the overlay's triggers (`capture_triggers.sql`).
pub fn copy_up(table: &TableDef, layer: Layer, source: &str) -> String {
    let key = names(table.schema.key_columns().map(|c| &c.name), "");
    let stored = || table.schema.columns.iter().filter(|c| !c.generated).map(|c| &c.name);
    format!(
        "WITH epoch_k AS MATERIALIZED (SELECT DISTINCT ON ({key}) * FROM ({source}) epoch_q ORDER BY {key}), \
         epoch_m AS (INSERT INTO {mask} (epoch_lineage, {key}) SELECT {lineage}, {key} FROM epoch_k \
         ON CONFLICT DO NOTHING RETURNING {key}, true AS epoch_won) \
         INSERT INTO {overlay} ({columns}, epoch_lineage, epoch_copied) OVERRIDING SYSTEM VALUE \
         SELECT {values}, {lineage}, true FROM epoch_k FULL JOIN epoch_m ON {same} WHERE COALESCE(epoch_won, false) \
         AND (SELECT pg_catalog.set_config('{copying}', 'on', true)) IS NOT NULL",
        copying = copying_setting(table),
        same = same_key(table, "epoch_k", "epoch_m"),
        mask = mask(table),
        overlay = overlay(table),
        lineage = layer.lineage.0,
        columns = names(stored(), ""),
        values = names(stored(), "epoch_k."),
    )
}

/// Whether a string constant in a [`copy_up`] is none of the client's, or means the same whenever it is read.
pub fn is_own_string(constant: &str) -> bool {
    let setting = constant.strip_prefix("'epoch.c").and_then(|rest| rest.strip_suffix('\''));
    constant == "'on'" || setting.is_some_and(|id| id.bytes().all(|b| b.is_ascii_digit()))
}

/// What a copy-up does about rows that another transaction is copying up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// Waits for it.
    Wait,
    /// Leaves them to it.
    Skip,
    /// Fails with 55P03.
    Fail,
}

/// As [`copy_up`], row by row in the order of `source`, until `most` (an expression) rows have been
/// copied. Rows that are left to another transaction, or that it has copied meanwhile, don't count.
pub fn claim(table: &TableDef, layer: Layer, source: &str, claim: Claim, most: Option<&str>) -> String {
    let policy = match claim {
        Claim::Wait => "wait",
        Claim::Skip => "skip",
        Claim::Fail => "fail",
    };
    let stored = || table.schema.columns.iter().filter(|c| !c.generated).map(|c| &c.name);
    // OFFSET keeps the rows' order and their conditions below the call, LIMIT ends the calls.
    format!(
        "WITH epoch_k AS MATERIALIZED (SELECT * FROM ({source} OFFSET 0) epoch_q \
         WHERE {claim}('{policy}', {lineage}, {key}){most}) \
         INSERT INTO {overlay} ({columns}, epoch_lineage, epoch_copied) OVERRIDING SYSTEM VALUE \
         SELECT {columns}, {lineage}, true FROM epoch_k",
        claim = claim_function(table),
        lineage = layer.lineage.0,
        key = names(table.schema.key_columns().map(|c| &c.name), "epoch_q."),
        most = most.map_or_else(String::new, |most| format!(" LIMIT {most}")),
        overlay = overlay(table),
        columns = names(stored(), ""),
    )
}

fn columns(table: &TableDef) -> Vec<String> {
    table.schema.columns.iter().map(|c| quote(&c.name)).collect()
}

fn names<'a>(columns: impl Iterator<Item = &'a String>, prefix: &str) -> String {
    columns.map(|c| format!("{prefix}{}", quote(c))).collect::<Vec<_>>().join(", ")
}

/// `a.key = b.key AND …`.
fn same_key(table: &TableDef, a: &str, b: &str) -> String {
    let pair = |c: &epoch_adapter::Column| format!("{a}.{0} {1} {b}.{0}", quote(&c.name), c.equals());
    table.schema.key_columns().map(pair).collect::<Vec<_>>().join(" AND ")
}

/// The parts a view is made of.
struct Parts {
    /// A branch lineage's overlay, and the ordinal it is read at (`None`: its working state).
    own: Option<(i64, Option<i64>)>,
    /// Main below it, at this ordinal.
    main: i64,
    /// The lineage whose mask hides keys of main.
    mask: Option<i64>,
    /// Whether the selective form asks once if there is anything to look for.
    guarded: bool,
}

impl Parts {
    /// What a layer shows of main.
    fn below(layer: Layer) -> Self {
        Self { own: None, main: layer.base, mask: Some(layer.lineage.0), guarded: false }
    }

    fn of(view: &View) -> Self {
        let at = match view.at {
            At::Working => None,
            At::Ordinal(ordinal) => Some(ordinal),
        };
        if view.layer.is_main() {
            return Self { own: None, main: at.unwrap_or(PENDING - 1), mask: None, guarded: false };
        }
        let lineage = view.layer.lineage.0;
        Self { own: Some((lineage, at)), ..Self::below(view.layer) }
    }

    /// That `any` isn't so, with `OR` behind it; nothing without guards.
    fn unless(&self, any: &str) -> String {
        if self.guarded { format!("({any}) IS NOT TRUE OR ") } else { String::new() }
    }

    fn selective(&self, table: &TableDef, columns: &[String]) -> String {
        let list = columns.join(", ");
        // Tags: ol/hl lineage of own arms/of main's history; of, ot and hf, ht the image's validity
        // on either lineage; sq its sequence; ex existed; m masked by the layer; b base row; o overlay row.
        let arm = |relation: &str, tags: [&str; 11]| {
            let names = ["ol", "hl", "of", "ot", "hf", "ht", "sq", "ex", "m", "b", "o"];
            let tags: Vec<_> =
                tags.iter().zip(names).map(|(tag, name)| format!("{tag} AS epoch_{name}")).collect();
            let alias = if relation.starts_with('(') { " epoch_a" } else { "" };
            format!("SELECT {list}, {} FROM {relation}{alias}", tags.join(", "))
        };
        let own =
            self.own.map_or_else(|| "0::bigint".to_owned(), |(lineage, _)| format!("{lineage}::bigint"));
        let (own, main, zero, inf) =
            (own.as_str(), format!("{MAIN}::bigint"), "0::bigint", format!("{PENDING}::bigint"));
        let (main, inf, none) = (main.as_str(), inf.as_str(), "NULL::pg_lsn");
        let mut arms = vec![];
        if let Some((_, at)) = self.own {
            let (o, overlay) = (if at.is_some() { "1" } else { "0" }, overlay(table));
            arms.push(arm(
                &overlay,
                ["epoch_lineage", main, zero, inf, zero, inf, none, "true", "0", "0", o],
            ));
            if at.is_some() {
                let tags = [
                    "epoch_lineage",
                    main,
                    "epoch_from",
                    "epoch_to",
                    zero,
                    inf,
                    "epoch_seq",
                    "epoch_existed",
                    "0",
                    "0",
                    "0",
                ];
                arms.push(arm(&history(table), tags));
            }
        }
        let tags = [
            own,
            "epoch_lineage",
            zero,
            inf,
            "epoch_from",
            "epoch_to",
            "epoch_seq",
            "epoch_existed",
            "1",
            "0",
            "0",
        ];
        arms.extend(of_main::parts_of_images(table).iter().map(|part| arm(part, tags)));
        arms.push(arm(&of_main::rows(table), [own, main, zero, inf, zero, inf, none, "true", "1", "1", "0"]));
        format!(
            "(SELECT {list} FROM ({}) epoch_x WHERE {})",
            arms.join(" UNION ALL "),
            self.conditions(table).join(" AND ")
        )
    }

    /// The conditions above the union of the selective form.
    fn conditions(&self, table: &TableDef) -> Vec<String> {
        let mut all = vec![format!("epoch_x.epoch_hl = {MAIN}"), "epoch_x.epoch_ex".to_owned()];
        if let Some((lineage, at)) = self.own {
            all.push(format!("epoch_x.epoch_ol = {lineage}"));
            if let Some(at) = at {
                all.push(visible_image(table, lineage, at, "epoch_of", "epoch_ot"));
                let (none, image) =
                    (self.unless(&any_image(table, lineage, at)), image_exists(table, lineage, at));
                all.push(format!("(epoch_x.epoch_o = 0 OR {none}NOT EXISTS ({image}))"));
            }
        }
        all.push(visible_image(table, MAIN, self.main, "epoch_hf", "epoch_ht"));
        if let Some(lineage) = self.mask {
            let key = same_key(table, "epoch_h", "epoch_x");
            let masked = format!(
                "SELECT 1 FROM {} epoch_h WHERE epoch_h.epoch_lineage = {lineage} AND {key} OFFSET 0",
                mask(table)
            );
            let none = self.unless(&any_masked(table, lineage));
            all.push(format!("(epoch_x.epoch_m = 0 OR {none}NOT EXISTS ({masked}))"));
        }
        let (none, image) =
            (self.unless(&any_image(table, MAIN, self.main)), image_exists(table, MAIN, self.main));
        all.push(format!("(epoch_x.epoch_b = 0 OR {none}NOT EXISTS ({image}))"));
        all
    }

    fn scanning(&self, table: &TableDef, columns: &[String]) -> String {
        let list = columns.join(", ");
        let of = |alias: &str| columns.iter().map(|c| format!("{alias}.{c}")).collect::<Vec<_>>().join(", ");
        let unmasked = self.mask.map_or_else(String::new, |lineage| {
            let key = same_key(table, "epoch_h", "epoch_b");
            format!(" AND NOT EXISTS (SELECT 1 FROM {} epoch_h WHERE epoch_h.epoch_lineage = {lineage} AND {key})", mask(table))
        });
        let without_image = |lineage: i64, at: i64| {
            let key = same_key(table, "epoch_h", "epoch_b");
            format!(
                "NOT EXISTS (SELECT 1 FROM {} epoch_h WHERE epoch_h.epoch_lineage = {lineage} AND epoch_h.epoch_to > {at} AND {key})",
                history_of(table, lineage)
            )
        };
        let mut arms = vec![];
        match self.own {
            Some((lineage, None)) => {
                arms.push(format!("SELECT {list} FROM {} WHERE epoch_lineage = {lineage}", overlay(table)));
            }
            Some((lineage, Some(at))) => {
                let not = without_image(lineage, at);
                arms.push(format!(
                    "SELECT {} FROM {} epoch_b WHERE epoch_b.epoch_lineage = {lineage} AND {not}",
                    of("epoch_b"),
                    overlay(table)
                ));
                arms.push(format!(
                    "SELECT {} FROM {} epoch_b WHERE epoch_b.epoch_existed",
                    of("epoch_b"),
                    images(table, lineage, at)
                ));
            }
            None => {}
        }
        arms.push(format!(
            "SELECT {} FROM {} epoch_b WHERE epoch_b.epoch_existed{unmasked}",
            of("epoch_b"),
            images(table, MAIN, self.main)
        ));
        arms.push(format!(
            "SELECT {} FROM {} epoch_b WHERE {}",
            of("epoch_b"),
            of_main::rows(table),
            self.not_below(table)
        ));
        format!("({})", arms.join(" UNION ALL "))
    }

    /// That a base row `epoch_b` has neither an image nor is masked. One anti-join over all such keys: a
    /// second one costs as much again for every row of the base.
    fn not_below(&self, table: &TableDef) -> String {
        let key = names(table.schema.key_columns().map(|c| &c.name), "");
        let mut gone = format!(
            "SELECT {key} FROM {} epoch_g WHERE epoch_lineage = {MAIN} AND epoch_to > {}",
            of_main::images(table),
            self.main
        );
        if let Some(lineage) = self.mask {
            gone += &format!(" UNION ALL SELECT {key} FROM {} WHERE epoch_lineage = {lineage}", mask(table));
        }
        format!("NOT EXISTS (SELECT 1 FROM ({gone}) epoch_h WHERE {})", same_key(table, "epoch_h", "epoch_b"))
    }
}

/// Per key the image of `lineage` that is visible at `at`: the first that ends after it.
fn images(table: &TableDef, lineage: i64, at: i64) -> String {
    let key = names(table.schema.key_columns().map(|c| &c.name), "");
    format!(
        "(SELECT DISTINCT ON ({key}) * FROM {} epoch_h WHERE epoch_lineage = {lineage} AND epoch_to > {at} AND epoch_seq >= '0/0' \
         ORDER BY {key}, epoch_to, epoch_seq)",
        history_of(table, lineage)
    )
}

/// Whether the lineage masks any key. Asked in an order that one index has: what the planner thinks how many rows there are
/// doesn't matter then, and the answer costs one descent.
fn any_masked(table: &TableDef, lineage: i64) -> String {
    let key = names(table.schema.key_columns().map(|c| &c.name), "epoch_h.");
    format!(
        "(SELECT true FROM {} epoch_h WHERE epoch_h.epoch_lineage = {lineage} ORDER BY {key} LIMIT 1)",
        mask(table)
    )
}

/// Whether the lineage holds any image that is visible at `at`, as [`any_masked`]. (The index by ordinals has a condition that
/// holds always.)
fn any_image(table: &TableDef, lineage: i64, at: i64) -> String {
    format!(
        "(SELECT epoch_h.epoch_to FROM {} epoch_h WHERE epoch_h.epoch_lineage = {lineage} AND epoch_h.epoch_seq >= '0/0' \
         ORDER BY epoch_h.epoch_to DESC LIMIT 1) > {at}",
        history_of(table, lineage)
    )
}

/// A query with a row iff the lineage holds an image of `epoch_x`'s key that is visible at `at`.
fn image_exists(table: &TableDef, lineage: i64, at: i64) -> String {
    format!(
        "SELECT 1 FROM {} epoch_h WHERE epoch_h.epoch_lineage = {lineage} AND {} AND epoch_h.epoch_to > {at} OFFSET 0",
        history_of(table, lineage),
        same_key(table, "epoch_h", "epoch_x")
    )
}

/// Whether an arm's image (rows that are no image have 0 and infinity) is the one visible at `at`. A
/// pending image is if it is its key's first after `at`.
fn visible_image(table: &TableDef, lineage: i64, at: i64, from: &str, to: &str) -> String {
    let key = same_key(table, "epoch_h", "epoch_x");
    format!(
        "epoch_x.{to} > {at} AND (epoch_x.{from} <= {at} OR (epoch_x.{to} = {PENDING} AND NOT EXISTS (SELECT 1 FROM {} epoch_h \
         WHERE epoch_h.epoch_lineage = {lineage} AND {key} AND epoch_h.epoch_to > {at} \
         AND (epoch_h.epoch_to < {PENDING} OR epoch_h.epoch_seq < epoch_x.epoch_sq) OFFSET 0)))",
        history_of(table, lineage)
    )
}

/// The history with a lineage's images.
fn history_of(table: &TableDef, lineage: i64) -> String {
    if lineage == MAIN { of_main::images(table) } else { history(table) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use epoch_adapter::{BackendKind, Column, Location, TableId, TableName, TableSchema};

    fn users() -> TableDef {
        let column = |name: &str| Column {
            name: name.to_owned(),
            type_name: "bigint".to_owned(),
            pg_type: "bigint".to_owned(),
            data_type: arrow::datatypes::DataType::Int64,
            nullable: false,
            generated: false,
            default: None,
            equality: None,
        };
        TableDef::new(
            TableId(4),
            TableName::public("users"),
            Location {
                kind: BackendKind::PostgreSql,
                backend: "crm".into(),
                schema: Some("public".into()),
                table: "users".into(),
            },
            TableSchema { columns: vec![column("id"), column("odd \" name")], key: vec![0] },
        )
    }

    #[test]
    fn the_working_state_of_main_is_the_table_itself() {
        assert_eq!(selective(&users(), &View::MAIN), "\"public\".\"users\"");
        assert_eq!(scanning(&users(), &View::MAIN), "\"public\".\"users\"");
    }

    #[test]
    fn arms_of_the_selective_form_have_no_condition() {
        let view = View { layer: Layer { lineage: LineageId(7), base: 100 }, at: At::Ordinal(3) };
        let sql = selective(&users(), &view);
        let union = sql.split(" epoch_x WHERE ").next().unwrap_or_default();
        assert_eq!(union.matches("UNION ALL").count(), 3);
        assert!(!union.contains("WHERE"), "{union}");
        assert!(sql.contains("\"odd \"\" name\""));
    }
}
