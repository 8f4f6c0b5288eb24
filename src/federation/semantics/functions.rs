//! Functions: which there are, and which of several of one name is meant.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::error::Result as DfResult;
use datafusion::execution::SessionStateDefaults;
use datafusion::logical_expr::expr::Placeholder;
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion::logical_expr::{
    BinaryExpr, Cast, ColumnarValue, Expr, ExprSchemable, Operator, ReturnFieldArgs, ScalarFunctionArgs,
    ScalarUDF, ScalarUDFImpl, Signature, TypeSignature, Volatility,
};
use datafusion::sql::sqlparser::ast::BinaryOperator;
use epoch_adapter::{Error, Result, sqlstate};

use super::super::errors;
use super::call::{Body, Spec};
use super::kinds::{self, Kind};
use super::{casts, choice, math, number, operators, strings, times};

/// One function of a name.
pub(crate) struct Overload {
    pub(crate) args: &'static [Kind],
    pub(crate) result: Kind,
    pub(crate) body: Body,
}

/// Functions with rules of their own for their types.
const SPECIAL: &[&str] = &[
    "coalesce",
    "nullif",
    "greatest",
    "least",
    "concat",
    "concat_ws",
    "round",
    "trunc",
    "abs",
    "ceil",
    "ceiling",
    "floor",
    "sign",
    "mod",
    "div",
    "epoch_extract",
    "date_part",
    "date_trunc",
    "timezone",
    "epoch_like",
    "epoch_+",
    "epoch_-",
    "epoch_*",
    "epoch_/",
    "epoch_%",
    "epoch_||",
];

/// PostgreSQL has these, and we don't: refused by name, and not said to be unknown.
const MISSING: &[&str] = &[
    "to_char",
    "to_date",
    "to_timestamp",
    "to_number",
    "age",
    "format",
    "regexp_replace",
    "regexp_matches",
    "regexp_match",
    "regexp_split_to_array",
    "regexp_split_to_table",
    "make_date",
    "make_time",
    "make_timestamp",
    "make_timestamptz",
    "make_interval",
    "justify_days",
    "justify_hours",
    "justify_interval",
    "date_bin",
    "encode",
    "decode",
    "sha256",
    "md5",
    "to_json",
    "to_jsonb",
    "json_build_object",
    "jsonb_build_object",
    "json_build_array",
    "jsonb_build_array",
    "row_to_json",
    "jsonb_set",
    "json_extract_path",
    "json_extract_path_text",
    "jsonb_typeof",
    "json_typeof",
    "json_array_length",
    "jsonb_array_length",
    "json_agg",
    "jsonb_agg",
    "json_object_agg",
    "percentile_cont",
    "percentile_disc",
    "mode",
    "corr",
    "covar_pop",
    "covar_samp",
    "regr_slope",
    "regr_intercept",
    "random",
    "setseed",
    "width_bucket",
    "exp",
    "ln",
    "log",
    "power",
    "pow",
    "gcd",
    "lcm",
    "factorial",
    "scale",
    "trim_scale",
    "min_scale",
    "isfinite",
    "overlaps",
    "timeofday",
    "normalize",
    "unistr",
    "convert_from",
    "convert_to",
    "bit_count",
    "get_byte",
    "set_byte",
    "string_to_array",
    "array_to_string",
    "array_length",
    "cardinality",
    "array_position",
    "array_append",
    "array_prepend",
    "array_cat",
    "unnest",
    "to_ascii",
    "pg_typeof",
    "num_nulls",
    "num_nonnulls",
    "sinh",
    "cosh",
    "tanh",
    "cbrt",
    "degrees",
    "radians",
    "xmlelement",
];

pub(crate) fn missing(name: &str) -> bool {
    MISSING.contains(&name)
}

/// Names that DataFusion's planner uses for PostgreSQL's special forms.
fn postgres_name(name: &str) -> &str {
    match name {
        "substr" => "substring",
        "character_length" | "char_length" => "length",
        "ceiling" => "ceil",
        other => other,
    }
}

fn overloads(name: &str) -> Vec<Overload> {
    let mut found = strings::overloads(name);
    found.extend(math::overloads(name));
    found
}

/// A function of ours by its name; its types are settled later ([`resolve`]).
pub(crate) fn find(name: &str) -> Option<Arc<ScalarUDF>> {
    let known = SPECIAL.contains(&name) || missing(name) || !overloads(postgres_name(name)).is_empty();
    known.then(|| {
        let signatures = vec![TypeSignature::VariadicAny, TypeSignature::Nullary];
        let signature = Signature::one_of(signatures, Volatility::Immutable);
        Arc::new(ScalarUDF::new_from_impl(Named { name: name.to_owned(), signature }))
    })
}

/// A call by name alone, as DataFusion's own function of this name, if it has one.
pub(crate) fn of_datafusion(expr: Expr) -> Expr {
    static THEIRS: OnceLock<HashMap<String, Arc<ScalarUDF>>> = OnceLock::new();
    let Expr::ScalarFunction(mut call) = expr else { return expr };
    if let (Some(op), [left, right]) = (operator(call.func.name()), call.args.as_slice()) {
        return Expr::BinaryExpr(BinaryExpr::new(Box::new(left.clone()), op, Box::new(right.clone())));
    }
    if call.func.inner().downcast_ref::<Named>().is_some() {
        let theirs = THEIRS.get_or_init(|| {
            let all = SessionStateDefaults::default_scalar_functions();
            let names = |udf: &Arc<ScalarUDF>| {
                let all = udf.aliases().iter().cloned().chain([udf.name().to_owned()]);
                all.map(|name| (name, Arc::clone(udf))).collect::<Vec<_>>()
            };
            all.iter().flat_map(names).collect()
        });
        if let Some(udf) = theirs.get(call.func.name()) {
            call.func = Arc::clone(udf);
        }
    }
    Expr::ScalarFunction(call)
}

/// The call with its types settled; `None` for a function that isn't ours.
pub(crate) fn resolve(name: &str, args: Vec<Expr>, schema: &DFSchema, zone: &str) -> Result<Option<Expr>> {
    if missing(name) {
        return Err(operators::refused(format!("function {name}")));
    }
    if SPECIAL.contains(&name) {
        return special(name, args, schema, zone).map(Some);
    }
    let found = overloads(postgres_name(name));
    if found.is_empty() {
        return Ok(None);
    }
    let kinds = args.iter().map(|a| kinds::of(a, schema)).collect::<Result<Vec<_>>>()?;
    let best =
        found.into_iter().filter_map(|o| Some((cost(o.args, &kinds)?, o))).min_by_key(|(cost, _)| *cost);
    let Some((_, overload)) = best else { return Err(undefined(name, &kinds)) };
    let args = args.into_iter().zip(overload.args);
    let args = args.map(|(a, k)| casts::coerce(a, *k, schema, zone)).collect::<Result<Vec<_>>>()?;
    let arguments: Vec<_> = overload.args.iter().map(|k| k.name()).collect();
    let own = format!("{name}({})", arguments.join(","));
    let spec = Spec { name: &own, strict: true, body: overload.body, zone };
    Ok(Some(spec.call(args, overload.result, overload.result.data_type(zone))))
}

pub(crate) fn undefined(name: &str, kinds: &[Kind]) -> Error {
    if kinds.iter().any(|k| k.is_foreign()) {
        return operators::refused(format!("function {name} of a type that only PostgreSQL knows"));
    }
    let kinds: Vec<_> = kinds.iter().map(|k| k.name()).collect();
    let message = format!("function {name}({}) does not exist", kinds.join(", "));
    Error::new(sqlstate::UNDEFINED_FUNCTION, message).with_hint(
        "No function matches the given name and argument types. You might need to add explicit type casts.",
    )
}

/// How far the arguments are from the parameters; `None` if a cast would have to be written.
fn cost(parameters: &[Kind], arguments: &[Kind]) -> Option<u32> {
    if parameters.len() != arguments.len() {
        return None;
    }
    let one = |(to, from): (&Kind, &Kind)| match (*from, *to) {
        (f, t) if f == t => Some(0),
        (Kind::Unknown, _) => Some(1),
        (f, t) if f.is_text() && t.is_text() => Some(1),
        // An integer is rather a double than a numeric.
        (f, Kind::Numeric) if f.is_integer() => Some(10),
        (f, t) if f.is_number() && t.is_number() && f.rank() < t.rank() => {
            Some(u32::from(t.rank() - f.rank()))
        }
        (f, t) if f.is_moment() && t.is_moment() && f.rank() < t.rank() => Some(1),
        _ => None,
    };
    parameters.iter().zip(arguments).map(one).sum()
}

fn special(name: &str, mut args: Vec<Expr>, schema: &DFSchema, zone: &str) -> Result<Expr> {
    let kinds = args.iter().map(|a| kinds::of(a, schema)).collect::<Result<Vec<_>>>()?;
    let fail = || Err(undefined(name.trim_start_matches("epoch_"), &kinds));
    match (name, args.len()) {
        ("coalesce", _) => choice::coalesce(args, schema, zone),
        ("nullif", _) => choice::nullif(args, schema, zone),
        ("greatest" | "least", _) => choice::extreme(args, name == "greatest", schema, zone),
        ("concat" | "concat_ws", 1..) => strings::concat(name, args, schema, zone),
        ("epoch_like", 3..) => strings::like(args, schema, zone),
        ("epoch_+" | "epoch_-" | "epoch_*" | "epoch_/" | "epoch_%" | "epoch_||", 2) => {
            let right = args.pop().unwrap_or_default();
            let left = args.pop().unwrap_or_default();
            let op = operator(name).ok_or_else(|| Error::internal("no such operator"))?;
            operators::binary(BinaryExpr::new(Box::new(left), op, Box::new(right)), schema, zone)
        }
        ("mod", 2) => {
            let right = args.pop().unwrap_or_default();
            let left = args.pop().unwrap_or_default();
            if !kinds.iter().all(|k| k.is_integer() || matches!(k, Kind::Numeric | Kind::Unknown)) {
                return fail();
            }
            operators::arithmetic(left, datafusion::logical_expr::Operator::Modulo, right, schema, zone)
        }
        ("epoch_extract" | "date_part" | "date_trunc" | "timezone", 2) => {
            let value = args.pop().unwrap_or_default();
            let field = args.pop().unwrap_or_default();
            match name {
                "date_trunc" => times::trunc(field, value, schema, zone),
                "timezone" => times::at_zone(field, value, schema, zone),
                _ => times::part(field, value, name == "date_part", schema, zone),
            }
        }
        ("round" | "trunc" | "abs" | "ceil" | "ceiling" | "floor" | "sign" | "div", _) => {
            match math::numeric(postgres_name(name), args, &kinds, schema, zone)? {
                Some(call) => Ok(call),
                None => fail(),
            }
        }
        _ => fail(),
    }
}

/// The type that a call has before its types are settled, for plans that are made up to there.
fn provisional(name: &str, types: &[DataType]) -> DataType {
    match name {
        "coalesce" | "greatest" | "least" | "nullif" | "abs" | "round" | "trunc" | "ceil" | "floor"
        | "mod" => types.iter().find(|t| **t != DataType::Null).cloned().unwrap_or(DataType::Utf8),
        "epoch_+" | "epoch_-" | "epoch_*" | "epoch_/" | "epoch_%" => sum_type(types),
        "epoch_extract" => DataType::LargeUtf8,
        "date_part" => DataType::Float64,
        "epoch_like" => DataType::Boolean,
        "date_trunc" => types.get(1).cloned().unwrap_or(DataType::Null),
        "timezone" => match types.get(1) {
            Some(DataType::Timestamp(unit, Some(_))) => DataType::Timestamp(*unit, None),
            other => other.cloned().unwrap_or(DataType::Null),
        },
        _ => {
            let kinds: Vec<_> = types.iter().map(kinds::of_arrow).collect();
            let found = overloads(postgres_name(name)).into_iter();
            let best =
                found.filter_map(|o| Some((cost(o.args, &kinds)?, o.result))).min_by_key(|(cost, _)| *cost);
            best.map_or(DataType::Utf8, |(_, result)| result.data_type("UTC"))
        }
    }
}

/// A function by its name alone.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Named {
    name: String,
    signature: Signature,
}

impl ScalarUDFImpl for Named {
    fn name(&self) -> &str {
        &self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> DfResult<DataType> {
        Ok(provisional(&self.name, types))
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> DfResult<FieldRef> {
        let types: Vec<_> = args.arg_fields.iter().map(|f| f.data_type().clone()).collect();
        Ok(Arc::new(Field::new(&self.name, provisional(&self.name, &types), true)))
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        Err(errors::wrap(operators::refused(format!("function {} in this place", self.name))))
    }
}

/// An integer constant.
pub(crate) fn constant_int(expr: &Expr) -> Option<i64> {
    match expr {
        Expr::Literal(ScalarValue::Int32(value), _) => value.map(i64::from),
        Expr::Literal(ScalarValue::Int64(value), _) => *value,
        _ => None,
    }
}

/// The decimal type of `round(x, n)`.
pub(crate) fn rounded_type(data_type: &DataType, digits: Option<i64>) -> DataType {
    let Some(digits) = digits.map(|d| u16::try_from(d.clamp(0, 100)).unwrap_or(0)) else {
        return DataType::LargeUtf8;
    };
    match number::shape(data_type) {
        Some((p, s)) => number::type_of(Some((p - s + digits + 1, digits))),
        // What an average rounded to cents can be grouped and joined by.
        None if digits <= 30 => DataType::Decimal256(76, i8::try_from(digits).unwrap_or(0)),
        None => DataType::LargeUtf8,
    }
}

fn operator(name: &str) -> Option<Operator> {
    Some(match name.strip_prefix("epoch_")? {
        "+" => Operator::Plus,
        "-" => Operator::Minus,
        "*" => Operator::Multiply,
        "/" => Operator::Divide,
        "%" => Operator::Modulo,
        "||" => Operator::StringConcat,
        _ => return None,
    })
}

/// The provisional type of an operator's result.
fn sum_type(types: &[DataType]) -> DataType {
    let rank = |t: &&DataType| kinds::of_arrow(t).rank();
    types.iter().filter(|t| **t != DataType::Null).max_by_key(rank).cloned().unwrap_or(DataType::Null)
}

/// Arithmetic becomes calls of ours at once: DataFusion would refuse some of it before the rule sees it.
#[derive(Debug)]
pub(crate) struct Arithmetic;

impl ExprPlanner for Arithmetic {
    fn plan_binary_op(
        &self,
        expr: RawBinaryExpr,
        schema: &DFSchema,
    ) -> DfResult<PlannerResult<RawBinaryExpr>> {
        let name = match expr.op {
            BinaryOperator::Plus => "epoch_+",
            BinaryOperator::Minus => "epoch_-",
            BinaryOperator::Multiply => "epoch_*",
            BinaryOperator::Divide => "epoch_/",
            BinaryOperator::Modulo => "epoch_%",
            BinaryOperator::StringConcat if !has_list(&expr, schema) => "epoch_||",
            _ => return Ok(PlannerResult::Original(with_boolean(expr, schema))),
        };
        let Some(function) = find(name) else { return Ok(PlannerResult::Original(expr)) };
        let RawBinaryExpr { left, right, .. } = expr;
        if name == "epoch_||" {
            return Ok(PlannerResult::Planned(function.call(vec![left, right])));
        }
        let (left, right) = (beside(left, &right, schema), right);
        let right = beside(right, &left, schema);
        Ok(PlannerResult::Planned(function.call(vec![left, right])))
    }
}

/// Whether an operand is an array.
fn has_list(expr: &RawBinaryExpr, schema: &DFSchema) -> bool {
    let list = |e: &Expr| e.get_type(schema).is_ok_and(|t| kinds::of_arrow(&t) == Kind::Array);
    list(&expr.left) || list(&expr.right)
}

/// A string literal beside a boolean is one; DataFusion would refuse to compare them.
fn with_boolean(expr: RawBinaryExpr, schema: &DFSchema) -> RawBinaryExpr {
    let RawBinaryExpr { op, left, right } = expr;
    let is_bool = |e: &Expr| e.get_type(schema).is_ok_and(|t| t == DataType::Boolean);
    let literal = |e: Expr, beside: bool| match e {
        Expr::Literal(ScalarValue::Utf8(_), None) if beside => {
            let field = Field::new("cast", DataType::Boolean, true);
            Expr::Cast(Cast::new_from_field(Box::new(e), Arc::new(field)))
        }
        e => e,
    };
    let (l, r) = (is_bool(&left), is_bool(&right));
    RawBinaryExpr { op, left: literal(left, r), right: literal(right, l) }
}

/// A parameter takes the type of the number beside it.
fn beside(expr: Expr, other: &Expr, schema: &DFSchema) -> Expr {
    match expr {
        Expr::Placeholder(Placeholder { id, field: None }) => {
            let field = other.to_field(schema).ok().map(|(_, field)| field);
            let field = field.filter(|f| kinds::of_field(f).is_number());
            Expr::Placeholder(Placeholder { id, field })
        }
        other => other,
    }
}
