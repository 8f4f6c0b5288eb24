//! DataFusion's filters as predicates that a backend evaluates.

use arrow::array::ArrayRef;
use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::{Between, BinaryExpr, Expr, Operator, expr::InList};
use epoch_adapter::{BackendKind, Comparison, Predicate, TableDef, Value};

use super::convert;

/// The predicate that means exactly `filter`, if there is one.
pub(crate) fn predicate(table: &TableDef, filter: &Expr) -> Option<Predicate> {
    match filter {
        Expr::Alias(alias) => predicate(table, &alias.expr),
        Expr::IsNull(inner) => Some(Predicate::IsNull(column(table, inner)?)),
        Expr::IsNotNull(inner) => Some(Predicate::IsNotNull(column(table, inner)?)),
        Expr::Column(_) => boolean(table, filter, true),
        Expr::Not(inner) => boolean(table, inner, false),
        Expr::InList(list) => in_list(table, list),
        Expr::Between(between) => range(table, between),
        Expr::BinaryExpr(binary) => match binary.op {
            Operator::And => {
                Some(Predicate::And(vec![predicate(table, &binary.left)?, predicate(table, &binary.right)?]))
            }
            Operator::Or => {
                Some(Predicate::Or(vec![predicate(table, &binary.left)?, predicate(table, &binary.right)?]))
            }
            _ => compare(table, binary),
        },
        _ => None,
    }
}

fn column(table: &TableDef, expr: &Expr) -> Option<usize> {
    match expr {
        Expr::Column(column) => table.schema.index_of(&column.name),
        _ => None,
    }
}

/// A boolean column by itself.
fn boolean(table: &TableDef, expr: &Expr, value: bool) -> Option<Predicate> {
    let index = column(table, expr)?;
    let literal = literal(table, index, &ScalarValue::Boolean(Some(value)))?;
    let is_boolean = table.schema.columns.get(index)?.data_type == DataType::Boolean;
    is_boolean.then_some(Predicate::Compare(index, Comparison::Eq, literal))
}

fn compare(table: &TableDef, binary: &BinaryExpr) -> Option<Predicate> {
    let comparison = comparison(binary.op)?;
    match (binary.left.as_ref(), binary.right.as_ref()) {
        (left, Expr::Literal(value, _)) => {
            let index = column(table, left)?;
            Some(Predicate::Compare(index, comparison, literal(table, index, value)?))
        }
        (Expr::Literal(value, _), right) => {
            let index = column(table, right)?;
            Some(Predicate::Compare(index, flipped(comparison), literal(table, index, value)?))
        }
        _ => None,
    }
}

fn comparison(op: Operator) -> Option<Comparison> {
    Some(match op {
        Operator::Eq => Comparison::Eq,
        Operator::NotEq => Comparison::NotEq,
        Operator::Lt => Comparison::Lt,
        Operator::LtEq => Comparison::LtEq,
        Operator::Gt => Comparison::Gt,
        Operator::GtEq => Comparison::GtEq,
        _ => return None,
    })
}

fn flipped(comparison: Comparison) -> Comparison {
    match comparison {
        Comparison::Lt => Comparison::Gt,
        Comparison::LtEq => Comparison::GtEq,
        Comparison::Gt => Comparison::Lt,
        Comparison::GtEq => Comparison::LtEq,
        same => same,
    }
}

fn in_list(table: &TableDef, list: &InList) -> Option<Predicate> {
    if list.negated || list.list.is_empty() {
        return None;
    }
    let index = column(table, &list.expr)?;
    let value = |item: &Expr| match item {
        Expr::Literal(value, _) => literal(table, index, value),
        _ => None,
    };
    Some(Predicate::In(index, list.list.iter().map(value).collect::<Option<_>>()?))
}

fn range(table: &TableDef, between: &Between) -> Option<Predicate> {
    let (Expr::Literal(low, _), Expr::Literal(high, _)) = (between.low.as_ref(), between.high.as_ref())
    else {
        return None;
    };
    let index = column(table, &between.expr)?;
    let (low, high) = (literal(table, index, low)?, literal(table, index, high)?);
    Some(if between.negated {
        let below = Predicate::Compare(index, Comparison::Lt, low);
        Predicate::Or(vec![below, Predicate::Compare(index, Comparison::Gt, high)])
    } else {
        let above = Predicate::Compare(index, Comparison::GtEq, low);
        Predicate::And(vec![above, Predicate::Compare(index, Comparison::LtEq, high)])
    })
}

/// The literal in the column's own type, if it is one of its values exactly. NULL never is: such a
/// comparison is left to DataFusion, which knows that it yields nothing.
fn literal(table: &TableDef, index: usize, value: &ScalarValue) -> Option<Value> {
    let data_type = &table.schema.columns.get(index)?.data_type;
    // Other backends than PostgreSQL compare the texts of UUIDs, which may be written in several ways.
    let is_uuid = table.schema.columns.get(index)?.pg_type == "uuid";
    if value.is_null() || (is_uuid && table.location.kind != BackendKind::PostgreSql) {
        return None;
    }
    let array: ArrayRef = value.to_array().ok()?;
    let own = arrow::compute::cast_with_options(&array, data_type, &convert::STRICT).ok()?;
    let back = arrow::compute::cast_with_options(&own, array.data_type(), &convert::STRICT).ok()?;
    if back != array {
        return None;
    }
    let value = convert::value_of(&own, 0, table.location.kind).ok()?;
    (!value.is_null()).then_some(value)
}

/// A predicate in words of SQL, for people.
pub(crate) fn sql(table: &TableDef, predicate: &Predicate) -> String {
    let name = |index: &usize| table.schema.columns.get(*index).map_or("?", |c| c.name.as_str());
    let all = |parts: &[Predicate], word: &str| {
        let parts: Vec<_> = parts.iter().map(|p| sql(table, p)).collect();
        format!("({})", parts.join(word))
    };
    match predicate {
        Predicate::Compare(index, op, value) => format!("{} {} {}", name(index), op.as_sql(), quoted(value)),
        Predicate::In(index, values) => {
            let values: Vec<_> = values.iter().map(quoted).collect();
            format!("{} IN ({})", name(index), values.join(", "))
        }
        Predicate::IsNull(index) => format!("{} IS NULL", name(index)),
        Predicate::IsNotNull(index) => format!("{} IS NOT NULL", name(index)),
        Predicate::And(parts) => all(parts, " AND "),
        Predicate::Or(parts) => all(parts, " OR "),
    }
}

fn quoted(value: &Value) -> String {
    match value {
        Value::Int(_) | Value::Real(_) => value.to_text().unwrap_or_default(),
        other => other.to_text().map_or("NULL".to_owned(), |t| format!("'{}'", t.replace('\'', "''"))),
    }
}

#[cfg(test)]
mod tests {
    use datafusion::prelude::{col, lit};

    use super::super::testing::table;
    use super::*;

    #[test]
    fn comparisons_lists_and_ranges_are_translated() {
        let t = table("t", &["id bigint key", "name text", "price numeric(10,2)", "ok boolean"]);
        let of = |e: Expr| predicate(&t, &e);
        let int = |v| Value::Int(v);
        assert_eq!(of(col("id").eq(lit(1_i64))), Some(Predicate::Compare(0, Comparison::Eq, int(1))));
        assert_eq!(of(lit(1_i64).lt(col("id"))), Some(Predicate::Compare(0, Comparison::Gt, int(1))));
        assert_eq!(
            of(col("id").in_list(vec![lit(1_i64), lit(2_i64)], false)),
            Some(Predicate::In(0, vec![int(1), int(2)]))
        );
        assert_eq!(
            of(col("id").between(lit(1_i64), lit(5_i64))),
            Some(Predicate::And(vec![
                Predicate::Compare(0, Comparison::GtEq, int(1)),
                Predicate::Compare(0, Comparison::LtEq, int(5)),
            ]))
        );
        assert_eq!(of(col("name").is_null()), Some(Predicate::IsNull(1)));
        assert_eq!(of(col("ok")), Some(Predicate::Compare(3, Comparison::Eq, int(1))));
        assert_eq!(of(Expr::Not(Box::new(col("ok")))), Some(Predicate::Compare(3, Comparison::Eq, int(0))));
        let money = ScalarValue::Decimal128(Some(1250), 10, 2);
        assert_eq!(
            of(col("price").gt_eq(Expr::Literal(money, None))),
            Some(Predicate::Compare(2, Comparison::GtEq, Value::Text("12.50".into())))
        );
    }

    #[test]
    fn what_has_no_exact_predicate_is_not_translated() {
        let t = table("t", &["id bigint key", "name text"]);
        let of = |e: Expr| predicate(&t, &e);
        assert_eq!(of(col("id").eq(lit(1.5))), None);
        assert_eq!(of(col("id").eq(Expr::Literal(ScalarValue::Int64(None), None))), None);
        assert_eq!(of(col("name").like(lit("a%"))), None);
        assert_eq!(of(col("id").in_list(vec![lit(1_i64)], true)), None);
        assert_eq!(of(col("id").eq(col("id"))), None);
        assert_eq!(of(Expr::Not(Box::new(col("id")))), None);
    }
}
