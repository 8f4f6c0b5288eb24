//! Rules that decide what both sides of a merge changed in one column, before a conflict is made.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use epoch_adapter::{Column, Error, Result, Row, TableDef, TableSchema, Value, sqlstate};

use super::merge::{Sides, cell};
use super::{Checkout, Repository, json_merge};
use crate::metadata::rules::{self, ColumnRule};

/// What happens to a column that both sides changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rule {
    /// Both deltas are added to the base.
    Sum,
    /// The greater value.
    Max,
    /// The lesser value.
    Min,
    /// The value of the side that committed to the table last.
    Latest,
    /// Of JSON: what both sides did to different parts of it.
    Union,
}

impl Rule {
    pub(super) fn parse(text: &str) -> Option<Self> {
        match text {
            "sum" => Some(Self::Sum),
            "max" => Some(Self::Max),
            "min" => Some(Self::Min),
            "latest" => Some(Self::Latest),
            "union" => Some(Self::Union),
            _ => None,
        }
    }
}

/// The rules of one table.
#[derive(Debug, Default)]
pub(super) struct Rules {
    by_column: BTreeMap<usize, Rule>,
    /// Whether the other side committed to the table last.
    theirs_newer: bool,
    /// Cells of which no sum can be told: which of what both sides changed is one and the same change isn't known.
    unsure: BTreeMap<Row, Vec<usize>>,
}

impl Rules {
    /// Those of a table among all. What `theirs_newer` says matters to `latest` only.
    pub(super) fn of(table: &TableDef, all: &[ColumnRule], theirs_newer: bool) -> Self {
        let own = all.iter().filter(|r| r.table == table.name);
        let by_column = own.filter_map(|r| Some((table.schema.index_of(&r.column)?, Rule::parse(&r.rule)?)));
        Self { by_column: by_column.collect(), theirs_newer, unsure: BTreeMap::new() }
    }

    /// Those that say what merge bases come to.
    pub(super) fn of_bases(table: &TableDef, all: &[ColumnRule]) -> Self {
        let mut rules = Self::of(table, all, false);
        rules.by_column.retain(|_, rule| *rule != Rule::Latest);
        rules
    }

    /// The columns whose deltas are added up.
    pub(super) fn sums(&self) -> Vec<usize> {
        self.by_column.iter().filter(|(_, rule)| **rule == Rule::Sum).map(|(i, _)| *i).collect()
    }

    /// Makes cells conflicts, whatever the sides say of them.
    pub(super) fn doubt(&mut self, key: Row, column: usize) {
        let columns = self.unsure.entry(key).or_default();
        if !columns.contains(&column) {
            columns.push(column);
        }
    }

    /// The columns of a row that are conflicts, whatever the sides say of them.
    pub(super) fn unsure(&self, key: &Row) -> &[usize] {
        self.unsure.get(key).map_or(&[], Vec::as_slice)
    }

    /// The columns that both sides changed and a rule decides, with their values.
    pub(super) fn decide(&self, schema: &TableSchema, sides: &Sides) -> Vec<(usize, Value)> {
        let one = |(&i, rule): (&usize, &Rule)| {
            let column = schema.columns.get(i)?;
            let (base, ours, theirs) =
                (cell(&sides.base, i)?, cell(&sides.ours, i)?, cell(&sides.theirs, i)?);
            if ours == base || theirs == base {
                return None;
            }
            let value = match rule {
                Rule::Latest if self.theirs_newer => Some(theirs.clone()),
                Rule::Latest => Some(ours.clone()),
                Rule::Sum => sum(column, base, ours, theirs),
                Rule::Max => pick(column, ours, theirs, Ordering::Less),
                Rule::Min => pick(column, ours, theirs, Ordering::Greater),
                Rule::Union => match (base, ours, theirs) {
                    (Value::Text(base), Value::Text(ours), Value::Text(theirs)) => {
                        json_merge::merged(base, ours, theirs).map(Value::Text)
                    }
                    _ => None,
                },
            };
            Some((i, value?))
        };
        self.by_column.iter().filter_map(one).collect()
    }

    /// The columns whose sum is no number that they can hold.
    pub(super) fn too_large(&self, schema: &TableSchema, sides: &Sides) -> impl Iterator<Item = usize> {
        self.sums().into_iter().filter(|&i| {
            let cells = (cell(&sides.base, i), cell(&sides.ours, i), cell(&sides.theirs, i));
            let (Some(column), (Some(base), Some(ours), Some(theirs))) = (schema.columns.get(i), cells)
            else {
                return false;
            };
            let whole = [base, ours, theirs].iter().all(|value| matches!(value, Value::Int(_)));
            ours != base
                && theirs != base
                && sum(column, base, ours, theirs).map_or(whole, |sum| !fits(column, &sum))
        })
    }

    /// Whether every column that a side changed has a rule, which could be followed: then even a strategy
    /// that merges no rows merges the row.
    pub(super) fn decide_all(&self, sides: &Sides, decided: &[(usize, Value)]) -> bool {
        if self.by_column.is_empty() || sides.base.is_none() {
            return false;
        }
        let width = sides.ours.as_ref().map_or(0, Vec::len);
        (0..width).all(|i| {
            let (base, ours, theirs) = (cell(&sides.base, i), cell(&sides.ours, i), cell(&sides.theirs, i));
            match (ours != base, theirs != base) {
                (false, false) => true,
                (true, true) => decided.iter().any(|(known, _)| *known == i),
                _ => self.by_column.contains_key(&i),
            }
        })
    }
}

/// Types by what can be done with their values.
enum Class {
    Whole,
    Decimal,
    Floating,
    /// Texts that sort as the values do.
    Time,
}

fn class(column: &Column) -> Option<Class> {
    match column.pg_type.split('(').next().unwrap_or_default().trim() {
        "smallint" | "integer" | "bigint" => Some(Class::Whole),
        "numeric" => Some(Class::Decimal),
        "real" | "double precision" => Some(Class::Floating),
        "date" | "timestamp" | "timestamp without time zone" | "timestamp with time zone" => {
            Some(Class::Time)
        }
        _ => None,
    }
}

/// `ours + theirs - base`; `None` if a value is NULL or the result doesn't fit.
fn sum(column: &Column, base: &Value, ours: &Value, theirs: &Value) -> Option<Value> {
    match (base, ours, theirs) {
        (Value::Int(b), Value::Int(o), Value::Int(t)) => {
            let sum = i128::from(*o) + i128::from(*t) - i128::from(*b);
            i64::try_from(sum).ok().map(Value::Int)
        }
        (Value::Text(b), Value::Text(o), Value::Text(t)) => match class(column)? {
            Class::Whole | Class::Decimal => {
                let (b, o, t) = (Decimal::parse(b)?, Decimal::parse(o)?, Decimal::parse(t)?);
                o.plus(&t)?.plus(&b.negated()?)?.to_text().map(Value::Text)
            }
            Class::Floating => {
                let sum = o.parse::<f64>().ok()? + t.parse::<f64>().ok()? - b.parse::<f64>().ok()?;
                sum.is_finite().then(|| Value::Text(sum.to_string()))
            }
            Class::Time => None,
        },
        _ => {
            let sum = real(ours)? + real(theirs)? - real(base)?;
            sum.is_finite().then_some(Value::Real(sum))
        }
    }
}

/// Whether a column can hold a number that is a sum of its own.
fn fits(column: &Column, number: &Value) -> bool {
    let text = match number {
        Value::Text(text) => text.clone(),
        Value::Int(number) => number.to_string(),
        _ => return true,
    };
    let (name, modifier) = column.pg_type.split_once('(').unwrap_or((&column.pg_type, ""));
    match name.trim() {
        "smallint" => text.parse::<i16>().is_ok(),
        "integer" => text.parse::<i32>().is_ok(),
        "bigint" => text.parse::<i64>().is_ok(),
        "numeric" => whole_digits(modifier).is_none_or(|most| {
            let whole = text.trim_start_matches('-').split('.').next().unwrap_or_default();
            i64::try_from(whole.trim_start_matches('0').len()).is_ok_and(|len| len <= most.max(0))
        }),
        _ => true,
    }
}

/// How many digits `numeric(10,2)` has before the point; `None` for any number of them.
fn whole_digits(modifier: &str) -> Option<i64> {
    let modifier = modifier.strip_suffix(')')?;
    let (precision, scale) = modifier.split_once(',').unwrap_or((modifier, "0"));
    Some(precision.trim().parse::<i64>().ok()? - scale.trim().parse::<i64>().ok()?)
}

/// What takes one number to another; `None` if one is NULL, or none.
pub(super) fn difference(column: &Column, from: &Value, to: &Value) -> Option<Value> {
    sum(column, from, to, &zero(to))
}

/// `a + b`, as [`difference`].
pub(super) fn plus(column: &Column, a: &Value, b: &Value) -> Option<Value> {
    sum(column, &zero(a), a, b)
}

/// Whether two numbers are the same, written as they may be. Floating ones may differ by what additions leave.
pub(super) fn same_number(column: &Column, a: &Value, b: &Value) -> bool {
    let Some(gap) = difference(column, a, b) else { return false };
    match (&gap, class(column)) {
        (Value::Text(text), Some(Class::Whole | Class::Decimal)) => {
            Decimal::parse(text).is_some_and(|d| d.digits == 0)
        }
        (Value::Int(gap), _) => *gap == 0,
        _ => {
            let number = |value: &Value| match value {
                Value::Text(text) => text.parse().ok(),
                other => real(other),
            };
            let sizes = [number(&gap), number(a), number(b)];
            let [Some(gap), Some(a), Some(b)] = sizes else { return false };
            gap.abs() <= 1e-9 * a.abs().max(b.abs()).max(1.0)
        }
    }
}

/// Nothing, in the form that a number has.
fn zero(like: &Value) -> Value {
    match like {
        Value::Text(_) => Value::Text("0".to_owned()),
        _ => Value::Int(0),
    }
}

fn real(value: &Value) -> Option<f64> {
    match value {
        Value::Int(v) => Some(*v as f64),
        Value::Real(v) => Some(*v),
        _ => None,
    }
}

/// Ours, or theirs if ours compares to it as `theirs_if`; `None` if the two can't be compared.
fn pick(column: &Column, ours: &Value, theirs: &Value, theirs_if: Ordering) -> Option<Value> {
    let order = match (ours, theirs) {
        (Value::Null, other) | (other, Value::Null) => return Some(other.clone()),
        (Value::Text(a), Value::Text(b)) => match class(column)? {
            Class::Whole | Class::Decimal => Decimal::parse(a)?.compare(&Decimal::parse(b)?)?,
            Class::Floating => a.parse::<f64>().ok()?.partial_cmp(&b.parse::<f64>().ok()?)?,
            Class::Time if sortable(a) && sortable(b) => a.cmp(b),
            Class::Time => return None,
        },
        (Value::Int(a), Value::Int(b)) => a.cmp(b),
        (a, b) => real(a)?.partial_cmp(&real(b)?)?,
    };
    Some(if order == theirs_if { theirs } else { ours }.clone())
}

/// Dates as texts sort by time, except for `infinity`, years before Christ and those of five digits.
fn sortable(text: &str) -> bool {
    let year = text.split('-').next().unwrap_or_default();
    year.len() == 4 && year.bytes().all(|b| b.is_ascii_digit()) && !text.ends_with("BC")
}

/// A decimal number: `digits` divided by ten to the power of `scale`.
#[derive(Debug, PartialEq)]
struct Decimal {
    digits: i128,
    scale: u32,
}

impl Decimal {
    fn parse(text: &str) -> Option<Self> {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let digits = format!("{whole}{fraction}").parse().ok()?;
        Some(Self { digits, scale: u32::try_from(fraction.len()).ok()? })
    }

    fn negated(&self) -> Option<Self> {
        Some(Self { digits: self.digits.checked_neg()?, scale: self.scale })
    }

    fn scaled(&self, scale: u32) -> Option<i128> {
        self.digits.checked_mul(10_i128.checked_pow(scale.checked_sub(self.scale)?)?)
    }

    fn plus(&self, other: &Self) -> Option<Self> {
        let scale = self.scale.max(other.scale);
        Some(Self { digits: self.scaled(scale)?.checked_add(other.scaled(scale)?)?, scale })
    }

    fn compare(&self, other: &Self) -> Option<Ordering> {
        let scale = self.scale.max(other.scale);
        Some(self.scaled(scale)?.cmp(&other.scaled(scale)?))
    }

    fn to_text(&self) -> Option<String> {
        if self.scale == 0 {
            return Some(self.digits.to_string());
        }
        let width = usize::try_from(self.scale).ok()? + 1;
        let text = format!("{:0>width$}", self.digits.unsigned_abs());
        let (whole, fraction) = text.split_at_checked(text.len() - (width - 1))?;
        let sign = if self.digits < 0 { "-" } else { "" };
        Some(format!("{sign}{whole}.{fraction}"))
    }
}

impl Repository {
    /// All rules by table and column.
    pub async fn merge_rules(&self) -> Result<Vec<ColumnRule>> {
        let mut tx = self.store().read().await?;
        let found = rules::all(&mut tx).await?;
        tx.commit().await?;
        Ok(found)
    }

    /// Sets the rule of a column (`sum`, `max`, `min`, `latest`, `union`), or forgets it (`None`). 42804 if the
    /// column's values can't be added or compared.
    pub async fn set_merge_rule(
        &self,
        checkout: &Checkout,
        table: &str,
        column: &str,
        rule: Option<&str>,
    ) -> Result<ColumnRule> {
        let _lock = self.locked().await?;
        self.may_all(super::Right::Admin)?;
        let table = self.table(checkout, table)?;
        let index = table.schema.index_of(column);
        let found = index.and_then(|i| table.schema.columns.get(i)).ok_or_else(|| {
            let message = format!("column \"{column}\" of table \"{}\" does not exist", table.name);
            Error::new(sqlstate::UNDEFINED_COLUMN, message)
        })?;
        if index.is_some_and(|i| table.schema.key.contains(&i)) || found.generated {
            let message = format!("column \"{column}\" is a key or generated: merges never decide it");
            return Err(Error::new(sqlstate::INVALID_PARAMETER_VALUE, message));
        }
        if let Some(text) = rule {
            check_rule(text, found)?;
        }
        let mut tx = self.store().write().await?;
        let stored = ColumnRule {
            table: table.name.clone(),
            column: column.to_owned(),
            rule: rule.unwrap_or("none").to_owned(),
        };
        match rule {
            Some(_) => rules::set(&mut tx, &stored).await?,
            None if !rules::delete(&mut tx, &table.name, column).await? => {
                let message = format!("column \"{column}\" of table \"{}\" has no merge rule", table.name);
                return Err(Error::new(sqlstate::UNDEFINED_OBJECT, message));
            }
            None => {}
        }
        tx.commit().await?;
        Ok(stored)
    }
}

fn check_rule(text: &str, column: &Column) -> Result<()> {
    let rule = Rule::parse(text).ok_or_else(|| {
        Error::new(sqlstate::INVALID_PARAMETER_VALUE, format!("invalid merge rule \"{text}\""))
            .with_hint("Rules are sum, max, min, latest and union.")
    })?;
    let fits = match (rule, class(column)) {
        (Rule::Latest, _) => true,
        (Rule::Union, _) => matches!(column.pg_type.as_str(), "json" | "jsonb"),
        (Rule::Sum, Some(Class::Time)) | (_, None) => false,
        _ => true,
    };
    if fits {
        return Ok(());
    }
    let message =
        format!("merge rule {text} does not fit column \"{}\" of type {}", column.name, column.pg_type);
    Err(Error::new(sqlstate::DATATYPE_MISMATCH, message).with_hint(
        "sum takes numbers; max and min take numbers, dates and timestamps; union takes json and jsonb.",
    ))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use epoch_adapter::{Row, RowChange};

    use super::super::Strategy;
    use super::super::merge::merge_table;
    use super::*;

    fn schema(pg_type: &str) -> TableSchema {
        let column = |name: &str, pg_type: &str| Column {
            name: name.to_owned(),
            type_name: pg_type.to_owned(),
            pg_type: pg_type.to_owned(),
            data_type: arrow::datatypes::DataType::Utf8,
            nullable: true,
            generated: false,
            default: None,
            equality: None,
        };
        TableSchema {
            columns: vec![column("id", "bigint"), column("v", pg_type), column("w", "text")],
            key: vec![0],
        }
    }

    fn text(text: &str) -> Value {
        if text == "-" { Value::Null } else { Value::Text(text.to_owned()) }
    }

    /// What `v` becomes; `None` for a conflict.
    fn merged(rule: Rule, pg_type: &str, base: &str, ours: &str, theirs: &str) -> Option<Value> {
        let rules = Rules { by_column: BTreeMap::from([(1, rule)]), theirs_newer: true, ..Rules::default() };
        let row = |v: &str| -> Option<Row> { Some(vec![text("1"), text(v), text("w")]) };
        let sides = Sides { base: row(base), ours: row(ours), theirs: row(theirs) };
        rules.decide(&schema(pg_type), &sides).pop().map(|(_, value)| value)
    }

    #[test]
    fn deltas_add_up_exactly() {
        let sum = |ty, b, o, t| merged(Rule::Sum, ty, b, o, t).and_then(|v| v.to_text());
        assert_eq!(sum("numeric(10,2)", "100.00", "90.00", "115.50").as_deref(), Some("105.50"));
        assert_eq!(sum("numeric", "0.1", "0.3", "-0.25").as_deref(), Some("-0.05"));
        assert_eq!(
            sum("bigint", "9223372036854775806", "9223372036854775807", "9223372036854775805").as_deref(),
            Some("9223372036854775806")
        );
        assert_eq!(sum("bigint", "100", "90", "90").as_deref(), Some("80"), "equal deltas are two deltas");
        assert_eq!(sum("double precision", "1", "1.5", "2").as_deref(), Some("2.5"));
        assert_eq!(sum("numeric", "1", "-", "2"), None);
        assert_eq!(sum("numeric", "1", "NaN", "2"), None);
        assert_eq!(sum("numeric", "1", "1", "2"), None, "one side alone needs no rule");
    }

    #[test]
    fn a_sum_that_the_column_cannot_hold_is_a_conflict() {
        let table = |ty: &str, base: &str, ours: &str, theirs: &str| {
            let rules = Rules { by_column: BTreeMap::from([(1, Rule::Sum)]), ..Rules::default() };
            let row = |v: &str| -> Row { vec![text("1"), text(v), text("w")] };
            let change = |v| RowChange { key: vec![text("1")], before: Some(row(base)), after: Some(row(v)) };
            let merged =
                merge_table(&schema(ty), Strategy::Field, &rules, vec![change(ours)], vec![change(theirs)]);
            merged.conflicts.first().map(|c| c.columns.clone())
        };
        assert_eq!(table("integer", "2147483640", "2147483647", "2147483641"), Some(vec![1]));
        assert_eq!(table("integer", "2147483640", "2147483647", "2147483647"), Some(vec![1]), "equal deltas");
        assert_eq!(table("integer", "2147483640", "2147483641", "2147483641"), None);
        assert_eq!(table("smallint", "-32768", "-32768", "-32767"), None, "one side alone");
        assert_eq!(table("numeric(4,2)", "90.00", "99.99", "90.01"), Some(vec![1]));
        assert_eq!(table("numeric(4,2)", "90.00", "99.98", "90.01"), None);
    }

    #[test]
    fn the_greater_and_the_lesser_compare_as_their_type_does() {
        let of = |rule, ty, o, t| merged(rule, ty, "5", o, t).and_then(|v| v.to_text());
        assert_eq!(of(Rule::Max, "integer", "9", "10").as_deref(), Some("10"));
        assert_eq!(of(Rule::Min, "integer", "9", "10").as_deref(), Some("9"));
        assert_eq!(of(Rule::Max, "numeric", "9.10", "9.2").as_deref(), Some("9.2"));
        assert_eq!(of(Rule::Max, "date", "2026-01-02", "2026-01-10").as_deref(), Some("2026-01-10"));
        assert_eq!(of(Rule::Max, "date", "infinity", "2026-01-10"), None);
        assert_eq!(of(Rule::Min, "integer", "-", "10").as_deref(), Some("10"));
        assert_eq!(of(Rule::Latest, "text", "a", "b").as_deref(), Some("b"));
    }

    #[test]
    fn json_merges_part_by_part() {
        let union = |b, o, t| merged(Rule::Union, "jsonb", b, o, t).and_then(|v| v.to_text());
        assert_eq!(union("{}", r#"{"a": 1}"#, r#"{"b": 1}"#).as_deref(), Some(r#"{"a": 1, "b": 1}"#));
        assert_eq!(union("{}", r#"{"a": 1}"#, r#"{"a": 2}"#), None);
        assert_eq!(union("{}", "-", r#"{"a": 2}"#), None);
    }

    #[test]
    fn a_strategy_by_row_follows_rules_if_they_cover_all() {
        let rules = Rules { by_column: BTreeMap::from([(1, Rule::Sum)]), ..Rules::default() };
        let row = |v: &str, w: &str| -> Option<Row> { Some(vec![text("1"), text(v), text(w)]) };
        let change = |after| RowChange { key: vec![text("1")], before: row("10", "w"), after };
        let merge = |ours, theirs| {
            merge_table(&schema("integer"), Strategy::Row, &rules, vec![change(ours)], vec![change(theirs)])
        };
        let merged = merge(row("7", "w"), row("12", "w"));
        assert_eq!(merged.changes.first().unwrap().after, row("9", "w"));
        assert_eq!(merge(row("7", "x"), row("12", "w")).conflicts.len(), 1);
        assert_eq!(merge(row("-", "w"), row("12", "w")).conflicts.len(), 1);
    }

    #[test]
    fn a_conflict_elsewhere_keeps_what_rules_decided() {
        let rules = Rules { by_column: BTreeMap::from([(1, Rule::Sum)]), ..Rules::default() };
        let row = |v: &str, w: &str| -> Option<Row> { Some(vec![text("1"), text(v), text(w)]) };
        let change = |after| RowChange { key: vec![text("1")], before: row("10", "w"), after };
        let (ours, theirs) = (change(row("7", "x")), change(row("12", "y")));
        let merged = merge_table(&schema("integer"), Strategy::Field, &rules, vec![ours], vec![theirs]);
        let conflict = merged.conflicts.first().unwrap();
        assert_eq!(
            (conflict.columns.as_slice(), conflict.decided.as_slice()),
            (&[2][..], &[(1, text("9"))][..])
        );
    }
}
