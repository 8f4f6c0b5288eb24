//! A call of one of our functions, with its types settled.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::array::timezone::Tz;
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::ScalarValue;
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    TypeSignature, Volatility,
};
use epoch_adapter::{Error, Result};

use super::super::errors;
use super::super::types::PG_TYPE;
use super::datum::{self, Budget, Datum};
use super::kinds::Kind;

/// What a function may know beside its arguments.
#[derive(Debug, Clone)]
pub(crate) struct Context {
    /// The session's time zone.
    pub(crate) zone: Tz,
    /// The type of the result.
    pub(crate) result: DataType,
}

pub(crate) type Body = for<'a> fn(&[Datum<'a>], &Context) -> Result<Datum<'a>>;

/// The function.
pub(crate) struct Call {
    name: String,
    result: DataType,
    tag: Option<&'static str>,
    /// NULL if an argument is.
    strict: bool,
    zone: Arc<str>,
    body: Body,
    signature: Signature,
}

/// How a call is made.
#[derive(Clone, Copy)]
pub(crate) struct Spec<'s> {
    pub(crate) name: &'s str,
    pub(crate) strict: bool,
    pub(crate) body: Body,
    pub(crate) zone: &'s str,
}

impl Spec<'_> {
    /// The call as an expression.
    pub(crate) fn call(self, args: Vec<Expr>, kind: Kind, result: DataType) -> Expr {
        let udf = ScalarUDF::new_from_impl(Call {
            // DataFusion takes calls of one name and the same arguments for the same.
            name: format!("{}[{result},{}]", self.name, self.zone),
            result,
            tag: kind.tag(),
            strict: self.strict,
            zone: self.zone.into(),
            body: self.body,
            signature: Signature::one_of(
                vec![TypeSignature::VariadicAny, TypeSignature::Nullary],
                Volatility::Immutable,
            ),
        });
        let call = Expr::ScalarFunction(ScalarFunction::new_udf(Arc::new(udf), args));
        folded(call)
    }
}

/// A call of constants as its value. An error stays where it is: nobody may ever come there.
fn folded(call: Expr) -> Expr {
    let Expr::ScalarFunction(function) = &call else { return call };
    let Some(udf) = function.func.inner().downcast_ref::<Call>() else { return call };
    if udf.tag.is_some() || function.args.is_empty() {
        return call;
    }
    let constant = |arg: &Expr| match arg {
        Expr::Literal(value, _) => value.to_array().ok(),
        _ => None,
    };
    let Some(arrays) = function.args.iter().map(constant).collect::<Option<Vec<_>>>() else { return call };
    let value = udf.run(&arrays, 1).ok().and_then(|array| ScalarValue::try_from_array(&array, 0).ok());
    match value {
        // A text is no literal of unknown type any more: it says so in its metadata.
        Some(value) => Expr::Literal(value, Some(typed())),
        None => call,
    }
}

/// The metadata of a constant whose type is known.
pub(crate) fn typed() -> datafusion::common::metadata::FieldMetadata {
    let one = std::collections::BTreeMap::from([(TYPED.to_owned(), String::new())]);
    datafusion::common::metadata::FieldMetadata::new(one)
}

/// The same, of a parameter of this type.
pub(crate) fn typed_as(pg_type: &postgres_types::Type) -> datafusion::common::metadata::FieldMetadata {
    use postgres_types::Type;
    let mut metadata = std::collections::BTreeMap::from([(TYPED.to_owned(), String::new())]);
    if matches!(*pg_type, Type::UUID | Type::JSON | Type::JSONB | Type::VARCHAR | Type::NAME) {
        metadata.insert(PG_TYPE.to_owned(), pg_type.name().to_owned());
    }
    datafusion::common::metadata::FieldMetadata::new(metadata)
}

/// Metadata key of constants that are no bare literals of the statement: parameters, and what was computed.
pub(crate) const TYPED: &str = "epoch.typed";

/// Functions of ours that have a value for all arguments, by the start of their names.
const NEVER_FAIL: &[&str] = &[
    "numeric_key",
    "as_type",
    "truth",
    "code",
    "case",
    "textcat",
    "concat",
    "upper(",
    "lower(",
    "length(",
    "char_length(",
    "character_length(",
    "octet_length(",
    "reverse(",
    "ascii(",
    "left(",
    "right(",
    "strpos(",
    "starts_with(",
    "btrim(",
    "ltrim(",
    "rtrim(",
    "trim(",
    "replace(",
    "greatest_",
    "least_",
    "intand",
    "intor",
];

/// Whether the function that is called here (its arguments aside) fails for some values.
pub(crate) fn may_fail(expr: &Expr) -> bool {
    let Expr::ScalarFunction(function) = expr else { return false };
    let Some(call) = function.func.inner().downcast_ref::<Call>() else {
        return matches!(function.func.name(), "byteain" | "current_setting" | "format_type");
    };
    let name = call.name.as_str();
    let own = name.split('[').next().unwrap_or(name);
    if own == "like" || own == "ilike" {
        // A pattern that ends with the escape character fails.
        let text = |index: usize| match function.args.get(index) {
            Some(Expr::Literal(value, _)) => value.try_as_str().flatten(),
            _ => None,
        };
        return match (text(1), text(2)) {
            (Some(pattern), Some(escape)) => !escape.is_empty() && pattern.ends_with(escape),
            _ => true,
        };
    }
    let printed = own.starts_with("cast_") && own.ends_with("_text");
    !printed && own != "numeric" && !NEVER_FAIL.iter().any(|known| own.starts_with(known))
}

/// The error of a call of constants, if it is one.
pub(crate) fn error_of(call: &Expr) -> Option<Error> {
    let Expr::ScalarFunction(function) = call else { return None };
    let udf = function.func.inner().downcast_ref::<Call>()?;
    let constant = |arg: &Expr| match arg {
        Expr::Literal(value, _) => value.to_array().ok(),
        _ => None,
    };
    let arrays = function.args.iter().map(constant).collect::<Option<Vec<_>>>()?;
    udf.run(&arrays, 1).err()
}

impl Call {
    fn run(&self, arrays: &[ArrayRef], rows: usize) -> Result<ArrayRef> {
        let arrays = arrays.iter().map(datum::normalized).collect::<Result<Vec<_>>>()?;
        let zone: Tz = self.zone.parse().map_err(|_| Error::internal("no such time zone"))?;
        let context = Context { zone, result: self.result.clone() };
        let mut budget = Budget::default();
        let mut values = Vec::with_capacity(rows);
        let mut arguments = Vec::with_capacity(arrays.len());
        for row in 0..rows {
            arguments.clear();
            for array in &arrays {
                arguments.push(datum::read(array, row)?);
            }
            let value = if self.strict && arguments.iter().any(Datum::is_null) {
                Datum::Null
            } else {
                (self.body)(&arguments, &context)?
            };
            budget.take(&value)?;
            values.push(value);
        }
        datum::build(&self.result, &values)
    }
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl PartialEq for Call {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
            && self.result == other.result
            && self.tag == other.tag
            && self.zone == other.zone
            && std::ptr::fn_addr_eq(self.body, other.body)
    }
}

impl Eq for Call {}

impl Hash for Call {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
        self.result.hash(state);
    }
}

impl ScalarUDFImpl for Call {
    fn name(&self) -> &str {
        &self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> DfResult<DataType> {
        Ok(self.result.clone())
    }

    fn return_field_from_args(&self, _: ReturnFieldArgs<'_>) -> DfResult<FieldRef> {
        let field = Field::new(&self.name, self.result.clone(), true);
        Ok(Arc::new(match self.tag {
            Some(tag) => field.with_metadata([(PG_TYPE.to_owned(), tag.to_owned())].into()),
            None => field,
        }))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let all_constant =
            !args.args.is_empty() && args.args.iter().all(|a| matches!(a, ColumnarValue::Scalar(_)));
        if args.number_rows == 0 {
            // Nobody asks: a branch that no row takes.
            return Ok(ColumnarValue::Array(arrow::array::new_empty_array(&self.result)));
        }
        let rows = if all_constant { 1 } else { args.number_rows };
        let arrays = args.args.iter().map(|a| a.to_array(rows)).collect::<DfResult<Vec<_>>>()?;
        let result = self.run(&arrays, rows).map_err(errors::wrap)?;
        if all_constant {
            return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&result, 0)?));
        }
        Ok(ColumnarValue::Array(result))
    }
}
