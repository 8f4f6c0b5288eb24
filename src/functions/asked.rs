//! What of a reading function's rows is asked for, and what a backend can leave out because of it.

use arrow::datatypes::DataType;
use epoch_adapter::{Adapter, BackendKind, Column, Comparison, Predicate, TableDef, Value};

/// The first of these columns that isn't NULL.
pub type Term = Vec<String>;

/// What of a reading function's rows is asked for. All of it is a wish: who asks applies it to what comes.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Asked {
    /// Conditions that all rows have to meet.
    pub conditions: Vec<Condition>,
    /// How many rows that meet the conditions are wanted, if there are no conditions but these.
    pub limit: Option<usize>,
    /// The order that the rows are wanted in, each term falling or not. Empty is the function's own.
    pub order: Vec<(Term, bool)>,
    /// The columns that are looked at; all for none.
    pub columns: Option<Vec<String>>,
}

/// A condition on columns of a result, with values in PostgreSQL's text form.
#[derive(Debug, Clone, PartialEq)]
pub enum Condition {
    /// A comparison, of rows if there are several terms.
    Compare(Vec<Term>, Comparison, Vec<String>),
    /// One of these.
    In(Term, Vec<String>),
}

/// What backends are asked for because of conditions.
#[derive(Debug, Default)]
pub(super) struct Pushed {
    pub(super) predicates: Vec<Predicate>,
    /// The predicates say exactly what the conditions say.
    pub(super) whole: bool,
}

/// How predicates are made for a table.
pub(super) struct Push<'a> {
    pub(super) table: &'a TableDef,
    pub(super) backend: &'a dyn Adapter,
    /// The column of the table that a term is.
    pub(super) column: &'a dyn Fn(&Term) -> Option<usize>,
}

impl Asked {
    /// The conditions as predicates, as far as they are about columns of the table.
    pub(super) fn push(&self, push: &Push<'_>) -> Pushed {
        let made: Vec<_> = self.conditions.iter().map(|condition| push.predicate(condition)).collect();
        let whole = made.iter().all(Option::is_some) && self.conditions.iter().all(|c| push.is_exact(c));
        Pushed { predicates: made.into_iter().flatten().flatten().collect(), whole }
    }

    /// The limit, where the rows come in the order that is wanted. `natural`: their own.
    pub(super) fn limit_in(&self, natural: &[(Term, bool)]) -> Option<usize> {
        self.limit.filter(|_| natural.starts_with(&self.order))
    }
}

impl Push<'_> {
    /// Whether the backend finds no more than meets a condition: texts may be equal to it that aren't equal to who asks.
    fn is_exact(&self, condition: &Condition) -> bool {
        let terms = match condition {
            Condition::Compare(terms, ..) => terms.as_slice(),
            Condition::In(term, _) => std::slice::from_ref(term),
        };
        terms.iter().all(|term| (self.column)(term).is_some_and(|column| !self.is_text(column)))
    }

    /// What all together mean a condition, or more; `None` if there is nothing that does.
    fn predicate(&self, condition: &Condition) -> Option<Vec<Predicate>> {
        let made = match condition {
            Condition::In(term, values) => {
                let column = (self.column)(term)?;
                let values =
                    values.iter().map(|text| self.value(column, text, false)).collect::<Option<_>>()?;
                vec![Predicate::In(column, values)]
            }
            Condition::Compare(terms, comparison, texts) => self.compare(terms, *comparison, texts)?,
        };
        made.iter().all(|p| self.backend.supports(self.table, p)).then_some(made)
    }

    fn compare(&self, terms: &[Term], comparison: Comparison, texts: &[String]) -> Option<Vec<Predicate>> {
        if comparison == Comparison::NotEq || terms.len() != texts.len() {
            return None;
        }
        let ranged = comparison != Comparison::Eq;
        let mut pairs = Vec::new();
        for (term, text) in terms.iter().zip(texts) {
            let column = (self.column)(term)?;
            // Who compares may order them otherwise than the backend does.
            if ranged && self.is_text(column) {
                return None;
            }
            pairs.push((column, self.value(column, text, ranged)?));
        }
        let equal =
            |(column, value): &(usize, Value)| Predicate::Compare(*column, Comparison::Eq, value.clone());
        if !ranged {
            return Some(pairs.iter().map(equal).collect());
        }
        let (first, rest) = pairs.split_first()?;
        if rest.is_empty() {
            return Some(vec![Predicate::Compare(first.0, comparison, first.1.clone())]);
        }
        // (a, b) > (1, 2): a >= 1, which an index can begin at, and a > 1 or a = 1 and b > 2.
        let (strict, loose) = match comparison {
            Comparison::Gt | Comparison::GtEq => (Comparison::Gt, Comparison::GtEq),
            _ => (Comparison::Lt, Comparison::LtEq),
        };
        let mut any = Vec::new();
        for (i, (column, value)) in pairs.iter().enumerate() {
            let last = i + 1 == pairs.len();
            let op = if last { comparison } else { strict };
            let mut all: Vec<_> = pairs.iter().take(i).map(equal).collect();
            all.push(Predicate::Compare(*column, op, value.clone()));
            any.push(Predicate::And(all));
        }
        Some(vec![Predicate::Compare(first.0, loose, first.1.clone()), Predicate::Or(any)])
    }

    fn is_text(&self, column: usize) -> bool {
        self.table.schema.columns.get(column).is_none_or(|c| c.data_type == DataType::Utf8)
    }

    fn value(&self, column: usize, text: &str, ranged: bool) -> Option<Value> {
        literal(self.table.location.kind, self.table.schema.columns.get(column)?, text, ranged)
    }
}

/// A value that means the same to the backend as the text does to whoever compares it; `None` if that isn't sure.
fn literal(kind: BackendKind, column: &Column, text: &str, ranged: bool) -> Option<Value> {
    let postgres = kind == BackendKind::PostgreSql;
    let as_text = |text: &str| Some(Value::Text(text.to_owned()));
    match &column.data_type {
        DataType::Int16 | DataType::Int32 | DataType::Int64 => {
            let number: i64 = text.parse().ok()?;
            if postgres { as_text(&number.to_string()) } else { Some(Value::Int(number)) }
        }
        DataType::Boolean if postgres && !ranged => match text {
            "t" | "true" => as_text("t"),
            "f" | "false" => as_text("f"),
            _ => None,
        },
        DataType::Decimal128(..) if postgres && is_decimal(text) => as_text(text),
        DataType::Date32 if postgres && is_date(text) => as_text(text),
        DataType::Utf8 => as_text(text),
        _ => None,
    }
}

fn is_decimal(text: &str) -> bool {
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    let text = text.strip_prefix('-').unwrap_or(text);
    match text.split_once('.') {
        Some((whole, fraction)) => digits(whole) && digits(fraction),
        None => digits(text),
    }
}

/// `2026-11-01`, which no setting reads otherwise.
fn is_date(text: &str) -> bool {
    text.len() == 10 && chrono::NaiveDate::parse_from_str(text, "%Y-%m-%d").is_ok()
}

/// The term of a column by itself.
pub(super) fn term(name: &str) -> Term {
    vec![name.to_owned()]
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn column(pg_type: &str, data_type: DataType) -> Column {
        Column {
            name: "c".to_owned(),
            type_name: pg_type.to_owned(),
            pg_type: pg_type.to_owned(),
            data_type,
            nullable: false,
            generated: false,
            default: None,
            equality: None,
        }
    }

    #[test]
    fn only_values_that_everybody_reads_alike_are_pushed() {
        let of = |ty: DataType, text: &str| literal(BackendKind::PostgreSql, &column("x", ty), text, true);
        assert_eq!(of(DataType::Int64, "5"), Some(Value::Text("5".into())));
        assert_eq!(of(DataType::Int64, "5.5"), None);
        assert_eq!(of(DataType::Date32, "2026-11-01"), Some(Value::Text("2026-11-01".into())));
        for text in ["01/02/2026", "today", "2026-1-1", "infinity"] {
            assert_eq!(of(DataType::Date32, text), None, "{text}");
        }
        assert_eq!(of(DataType::Decimal128(10, 2), "-1.50"), Some(Value::Text("-1.50".into())));
        for text in ["NaN", "1e5", "", "-", "1."] {
            assert_eq!(of(DataType::Decimal128(10, 2), text), None, "{text}");
        }
        let sqlite = |ty: DataType, text: &str| literal(BackendKind::Sqlite, &column("x", ty), text, false);
        assert_eq!(sqlite(DataType::Int64, "5"), Some(Value::Int(5)));
        assert_eq!(sqlite(DataType::Boolean, "t"), None);
    }

    #[test]
    fn a_limit_counts_only_in_the_order_that_rows_have() {
        let by = |names: &[&str]| names.iter().map(|n| (term(n), false)).collect::<Vec<_>>();
        let asked = |order| Asked { limit: Some(5), order, ..Asked::default() };
        assert_eq!(asked(vec![]).limit_in(&by(&["a", "b"])), Some(5));
        assert_eq!(asked(by(&["a"])).limit_in(&by(&["a", "b"])), Some(5));
        assert_eq!(asked(by(&["b"])).limit_in(&by(&["a", "b"])), None);
        assert_eq!(asked(vec![(term("a"), true)]).limit_in(&by(&["a"])), None);
    }
}
