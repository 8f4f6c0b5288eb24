//! Expressions, from the leaves up.

use arrow::array::Array;
use datafusion::common::tree_node::{Transformed, TreeNodeRewriter};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::expr::{AggregateFunction, Like, ScalarFunction, Sort, WindowFunction};
use datafusion::logical_expr::{Expr, WindowFunctionDefinition};
use epoch_adapter::{Error, Result, sqlstate};

use super::super::errors;
use super::super::functions::{Fixed, SINGLE_VALUE};
use super::assign::Assign;
use super::call::Call;
use super::kinds::{self, Kind};
use super::operators::{self, refused};
use super::{aggregates, casts, choice, functions, plans, subselects};

pub(crate) struct Resolver<'a> {
    pub(crate) schema: &'a DFSchema,
    pub(crate) zone: &'a str,
    /// A query of the catalogs: what isn't known stays as it is.
    pub(crate) lenient: bool,
}

impl TreeNodeRewriter for Resolver<'_> {
    type Node = Expr;

    fn f_up(&mut self, expr: Expr) -> DfResult<Transformed<Expr>> {
        let before = self.lenient.then(|| expr.clone());
        match (self.resolved(expr), before) {
            (Ok(expr), _) => Ok(Transformed::yes(expr)),
            (Err(_), Some(before)) => Ok(Transformed::no(functions::of_datafusion(before))),
            (Err(error), None) => Err(errors::wrap(error)),
        }
    }
}

impl Resolver<'_> {
    fn resolved(&self, expr: Expr) -> Result<Expr> {
        let (schema, zone) = (self.schema, self.zone);
        Ok(match expr {
            Expr::Literal(value, None) => literal(value),
            Expr::BinaryExpr(binary) => operators::binary(binary, schema, zone)?,
            Expr::Negative(inner) => operators::negative(*inner, schema, zone)?,
            Expr::Exists(exists) => {
                subselects::check_exists(&exists.subquery)?;
                Expr::Exists(exists)
            }
            Expr::ScalarSubquery(subquery) => {
                subselects::check_scalar(&subquery)?;
                Expr::ScalarSubquery(subquery)
            }
            Expr::Not(inner) => Expr::Not(Box::new(self.negated(*inner)?)),
            Expr::IsTrue(inner) => Expr::IsTrue(self.tested(*inner, "IS TRUE")?),
            Expr::IsFalse(inner) => Expr::IsFalse(self.tested(*inner, "IS FALSE")?),
            Expr::IsUnknown(inner) => Expr::IsUnknown(self.tested(*inner, "IS UNKNOWN")?),
            Expr::IsNotTrue(inner) => Expr::IsNotTrue(self.tested(*inner, "IS NOT TRUE")?),
            Expr::IsNotFalse(inner) => Expr::IsNotFalse(self.tested(*inner, "IS NOT FALSE")?),
            Expr::IsNotUnknown(inner) => Expr::IsNotUnknown(self.tested(*inner, "IS NOT UNKNOWN")?),
            Expr::Between(between) => choice::between(between, schema, zone)?,
            Expr::InList(list) => choice::in_list(list, schema, zone)?,
            Expr::Case(case) => choice::case(case, schema, zone)?,
            Expr::Cast(cast) => casts::explicit(*cast.expr, &cast.field, schema, zone)?,
            Expr::Like(like) => self.like(like)?,
            Expr::ScalarFunction(function) => self.function(function)?,
            Expr::AggregateFunction(aggregate) => Expr::AggregateFunction(self.aggregate(aggregate)?),
            Expr::WindowFunction(window) => Expr::WindowFunction(Box::new(self.window(*window)?)),
            Expr::InSubquery(mut subquery) => {
                plans::check_in(&mut subquery, schema, zone)?;
                subselects::check_in(&subquery.subquery, subquery.negated)?;
                Expr::InSubquery(subquery)
            }
            Expr::SetComparison(_) => return Err(refused("ANY or ALL of a sub-select")),
            Expr::SimilarTo(_) => return Err(refused("SIMILAR TO")),
            Expr::TryCast(_) => {
                return Err(Error::new(sqlstate::SYNTAX_ERROR, "TRY_CAST isn't PostgreSQL's"));
            }
            Expr::Unnest(_) => return Err(refused("unnest")),
            Expr::HigherOrderFunction(_) | Expr::Lambda(_) | Expr::LambdaVariable(_) => {
                return Err(refused("a lambda"));
            }
            other => other,
        })
    }

    /// What NOT stands before.
    fn negated(&self, expr: Expr) -> Result<Expr> {
        if let Expr::InSubquery(subquery) = &expr {
            subselects::check_in(&subquery.subquery, true)?;
        }
        operators::boolean(expr, "NOT", self.schema, self.zone)
    }

    fn tested(&self, expr: Expr, what: &str) -> Result<Box<Expr>> {
        operators::boolean(expr, what, self.schema, self.zone).map(Box::new)
    }

    fn like(&self, like: Like) -> Result<Expr> {
        let escape = like.escape_char.map_or_else(|| "\\".to_owned(), String::from);
        let mut args = vec![*like.expr, *like.pattern, Expr::Literal(escape.into(), None)];
        if like.case_insensitive {
            args.push(Expr::Literal(ScalarValue::Null, None));
        }
        let call = functions::resolve("epoch_like", args, self.schema, self.zone)?;
        let call = call.ok_or_else(|| Error::internal("LIKE"))?;
        Ok(if like.negated { Expr::Not(Box::new(call)) } else { call })
    }

    fn function(&self, function: ScalarFunction) -> Result<Expr> {
        let udf = function.func.inner();
        if let Some(assign) = udf.downcast_ref::<Assign>() {
            return assign.resolve(function.args.clone(), self.schema, self.zone);
        }
        let name = function.func.name().to_owned();
        if name == "gen_random_uuid" {
            return Ok(casts::tagged(Expr::ScalarFunction(function), Kind::Uuid, self.zone));
        }
        if udf.downcast_ref::<Call>().is_some() || udf.downcast_ref::<Fixed>().is_some() {
            return Ok(Expr::ScalarFunction(function));
        }
        let args = function.args.clone();
        match functions::resolve(&name, args, self.schema, self.zone)? {
            Some(call) => Ok(call),
            None if name == "make_array" => self.array(function),
            None if name == "array_has" => self.any(function),
            None => Err(refused(format!("function {name}"))),
        }
    }

    /// `ARRAY[a, b]`
    fn array(&self, mut function: ScalarFunction) -> Result<Expr> {
        let (args, kind) =
            choice::unified(std::mem::take(&mut function.args), "ARRAY", self.schema, self.zone)?;
        if kind.tag().is_some() || kind == Kind::Numeric {
            return Err(refused(format!("an array of {}", kind.name())));
        }
        function.args = args;
        Ok(Expr::ScalarFunction(function))
    }

    /// `x = ANY (ARRAY[a, b])` is `x IN (a, b)`; so is ANY of an array parameter.
    fn any(&self, function: ScalarFunction) -> Result<Expr> {
        let [list, value] =
            <[Expr; 2]>::try_from(function.args).map_err(|_| refused("function array_has"))?;
        let items = match list {
            Expr::ScalarFunction(array) if array.func.name() == "make_array" => array.args,
            Expr::Literal(ScalarValue::List(array), _) if array.len() == 1 && array.is_valid(0) => {
                let values = array.value(0);
                let item =
                    |row| ScalarValue::try_from_array(&values, row).map_err(|e| errors::datafusion(&e));
                let item = |row| item(row).map(|v| Expr::Literal(v, Some(super::typed())));
                (0..values.len()).map(item).collect::<Result<_>>()?
            }
            _ => return Err(refused("ANY of an array that is no constant")),
        };
        if items.is_empty() {
            return Ok(Expr::Literal(ScalarValue::Boolean(Some(false)), None));
        }
        let list = datafusion::logical_expr::expr::InList::new(Box::new(value), items, false);
        choice::in_list(list, self.schema, self.zone)
    }

    fn aggregate(&self, mut aggregate: AggregateFunction) -> Result<AggregateFunction> {
        let name = aggregate.func.name().to_owned();
        if name == SINGLE_VALUE {
            return Ok(aggregate);
        }
        if aggregate.params.null_treatment.is_some() {
            return Err(refused("IGNORE NULLS and RESPECT NULLS"));
        }
        for sort in &mut aggregate.params.order_by {
            self.order(sort)?;
        }
        if let Some(func) = self.settled(&name, &mut aggregate.params.args, aggregate.params.distinct)? {
            aggregate.func = func;
        }
        Ok(aggregate)
    }

    /// Checks an aggregate's arguments; ours come back with their types settled.
    fn settled(
        &self,
        name: &str,
        args: &mut Vec<Expr>,
        distinct: bool,
    ) -> Result<Option<std::sync::Arc<datafusion::logical_expr::AggregateUDF>>> {
        let kinds = args.iter().map(|a| kinds::of(a, self.schema)).collect::<Result<Vec<_>>>()?;
        if name == "string_agg" {
            if distinct {
                return Err(refused("string_agg(DISTINCT …)"));
            }
            if kinds.iter().any(|k| !k.is_text() && *k != Kind::Unknown) {
                return Err(functions::undefined(name, &kinds));
            }
            for arg in args.iter_mut() {
                *arg = casts::coerce(std::mem::take(arg), Kind::Text, self.schema, self.zone)?;
            }
        }
        if let ([arg, ..], [kind, ..]) = (args.as_slice(), kinds.as_slice()) {
            let data_type = kinds::type_of(arg, self.schema)?;
            if let Some(func) = aggregates::resolve(name, *kind, &data_type)? {
                return Ok(Some(func));
            }
        }
        if !aggregates::is_allowed(name) {
            return Err(refused(format!("aggregate {name}")));
        }
        let first = kinds.first().copied().unwrap_or(Kind::Unknown);
        match name {
            "count" if distinct => {
                if args.len() > 1 {
                    return Err(refused("count(DISTINCT) of several values"));
                }
                for arg in args.iter_mut() {
                    *arg = plans::grouped(std::mem::take(arg), first, self.schema, self.zone)?;
                }
            }
            "bool_and" | "bool_or" if !matches!(first, Kind::Bool | Kind::Unknown) => {
                return Err(functions::undefined(name, &kinds));
            }
            "bit_and" | "bit_or" | "bit_xor" if !first.is_integer() => {
                return Err(functions::undefined(name, &kinds));
            }
            "array_agg"
                if first.tag().is_some()
                    || matches!(first, Kind::Numeric | Kind::Array | Kind::Interval)
                    || distinct =>
            {
                return Err(refused(format!("array_agg of {}", first.name())));
            }
            _ => {}
        }
        Ok(None)
    }

    fn window(&self, mut window: WindowFunction) -> Result<WindowFunction> {
        let params = &mut window.params;
        if params.null_treatment.is_some() || params.distinct {
            return Err(refused("IGNORE NULLS, RESPECT NULLS and DISTINCT in a window function"));
        }
        for expr in &mut params.partition_by {
            let kind = kinds::of(expr, self.schema)?;
            *expr = plans::grouped(std::mem::take(expr), kind, self.schema, self.zone)?;
        }
        let offsets = params.window_frame.units == datafusion::logical_expr::WindowFrameUnits::Range
            && !params.window_frame.start_bound.is_unbounded()
            && format!("{:?}", params.window_frame.start_bound) != "CurrentRow";
        let ranks = matches!(&window.fun, WindowFunctionDefinition::WindowUDF(f) if is_rank(f.name()));
        for sort in &mut params.order_by {
            let kind = kinds::of(&sort.expr, self.schema)?;
            if kinds::type_of(&sort.expr, self.schema)? == arrow::datatypes::DataType::LargeUtf8 {
                if !ranks {
                    return Err(refused("a window sorted by a numeric whose scale differs from row to row"));
                }
                // A rank has no frame; DataFusion's default one can't be of keys.
                params.window_frame = datafusion::logical_expr::WindowFrame::new(None);
            }
            if offsets && !kind.is_integer() {
                return Err(refused(format!("a RANGE frame over {}", kind.name())));
            }
            self.order(sort)?;
        }
        let fun = match &window.fun {
            WindowFunctionDefinition::AggregateUDF(func) => {
                let name = func.name().to_owned();
                let func = self.settled(&name, &mut window.params.args, false)?;
                let func = match window.params.args.first() {
                    Some(value) => aggregates::sliding(&name, &kinds::type_of(value, self.schema)?).or(func),
                    None => func,
                };
                func.map(WindowFunctionDefinition::AggregateUDF)
            }
            WindowFunctionDefinition::WindowUDF(func) => {
                const KNOWN: [&str; 11] = [
                    "row_number",
                    "rank",
                    "dense_rank",
                    "percent_rank",
                    "cume_dist",
                    "ntile",
                    "lag",
                    "lead",
                    "first_value",
                    "last_value",
                    "nth_value",
                ];
                if !KNOWN.contains(&func.name()) {
                    return Err(refused(format!("window function {}", func.name())));
                }
                self.window_positions(func.name(), &window.params.args)?;
                self.window_arguments(&mut window.params.args)?;
                None
            }
        };
        window.fun = fun.unwrap_or(window.fun);
        Ok(window)
    }

    /// `ntile(n)` and `nth_value(x, n)` count from one.
    fn window_positions(&self, name: &str, args: &[Expr]) -> Result<()> {
        let (position, code) = match (name, args) {
            ("ntile", [count]) => (count, "22014"),
            ("nth_value", [_, nth]) => (nth, "22016"),
            _ => return Ok(()),
        };
        if let Expr::Literal(value, _) = position
            && value.is_null()
        {
            return Err(refused(format!("{name} of NULL")));
        }
        match functions::constant_int(position) {
            Some(1..) => Ok(()),
            Some(_) => Err(Error::new(code, format!("argument of {name} must be greater than zero"))),
            None => Err(refused(format!("{name} of what is no constant"))),
        }
    }

    /// The offset is a constant of 64 bits; a default has the value's type.
    fn window_arguments(&self, args: &mut [Expr]) -> Result<()> {
        if let [value, _, default] = args {
            let (v, d) = (kinds::of(value, self.schema)?, kinds::of(default, self.schema)?);
            if v != d && d != Kind::Unknown && !(v.is_integer() && d.is_integer()) {
                return Err(refused("a default of another type in lag or lead"));
            }
        }
        for arg in args {
            if let Expr::Literal(ScalarValue::Int32(value), _) = arg {
                *arg = Expr::Literal(ScalarValue::Int64(value.map(i64::from)), None);
            }
        }
        Ok(())
    }

    fn order(&self, sort: &mut Sort) -> Result<()> {
        let kind = kinds::of(&sort.expr, self.schema)?;
        sort.expr = plans::ordered(std::mem::take(&mut sort.expr), kind, self.schema, self.zone)?;
        Ok(())
    }
}

/// Window functions that go by the whole partition, whatever the frame is.
fn is_rank(name: &str) -> bool {
    matches!(
        name,
        "row_number" | "rank" | "dense_rank" | "percent_rank" | "cume_dist" | "ntile" | "lag" | "lead"
    )
}

/// A constant as PostgreSQL types it.
fn literal(value: ScalarValue) -> Expr {
    let value = match value {
        ScalarValue::Int64(Some(v)) => match i32::try_from(v) {
            Ok(narrow) => ScalarValue::Int32(Some(narrow)),
            Err(_) => ScalarValue::Int64(Some(v)),
        },
        ScalarValue::UInt64(Some(v)) => ScalarValue::Decimal128(Some(i128::from(v)), 20, 0),
        ScalarValue::Float64(Some(v)) => ScalarValue::Float64(Some(super::plain_float(v))),
        ScalarValue::Decimal128(Some(v), p, s) if s < 0 => {
            let places = u32::from(s.unsigned_abs());
            match 10_i128.checked_pow(places).and_then(|power| v.checked_mul(power)) {
                Some(whole) => ScalarValue::Decimal128(Some(whole), 38, 0),
                None => ScalarValue::Decimal128(Some(v), p, s),
            }
        }
        other => other,
    };
    Expr::Literal(value, None)
}
