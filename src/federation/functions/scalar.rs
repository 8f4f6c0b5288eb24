//! A scalar function made of a closure.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, StringArray};
use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, TypeSignature, Volatility,
};
use epoch_adapter::Result;

use super::super::{convert, errors};

type Body = Arc<dyn Fn(&[ArrayRef], usize) -> Result<ArrayRef> + Send + Sync>;

/// A function over arrays; every argument is cast to the type that it names.
pub(crate) struct Fixed {
    name: String,
    arguments: Vec<DataType>,
    signature: Signature,
    result: DataType,
    body: Body,
}

impl Fixed {
    /// `least`: how many of the arguments must be given.
    pub(crate) fn udf(
        name: &str,
        arguments: Vec<DataType>,
        least: usize,
        result: DataType,
        volatility: Volatility,
        body: impl Fn(&[ArrayRef], usize) -> Result<ArrayRef> + Send + Sync + 'static,
    ) -> Arc<ScalarUDF> {
        let counts = (least..=arguments.len()).map(|n| match n {
            0 => TypeSignature::Nullary,
            n => TypeSignature::Any(n),
        });
        let signature = Signature::one_of(counts.collect(), volatility);
        let name = name.to_owned();
        Arc::new(ScalarUDF::new_from_impl(Self { name, arguments, signature, result, body: Arc::new(body) }))
    }

    /// A function that yields one value whatever its rows are.
    pub(crate) fn constant(
        name: &str,
        arguments: usize,
        volatility: Volatility,
        value: ScalarValue,
    ) -> Arc<ScalarUDF> {
        let result = value.data_type();
        let body = move |_: &[ArrayRef], rows: usize| {
            value.to_array_of_size(rows).map_err(|e| errors::datafusion(&e))
        };
        Self::udf(name, vec![DataType::Null; arguments], 0, result, volatility, body)
    }
}

/// A result column of text, from what a function does with each row's arguments in text form.
pub(crate) fn text_result(
    arguments: &[ArrayRef],
    rows: usize,
    each: impl Fn(&[Option<&str>]) -> Option<String>,
) -> Result<ArrayRef> {
    let texts =
        arguments.iter().map(|a| convert::cast_array(a, &DataType::Utf8)).collect::<Result<Vec<_>>>()?;
    let cell = |row: usize| {
        let cells: Vec<_> = texts.iter().map(|t| t.as_string::<i32>().iter().nth(row).flatten()).collect();
        each(&cells)
    };
    Ok(Arc::new((0..rows).map(cell).collect::<StringArray>()))
}

impl fmt::Debug for Fixed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl PartialEq for Fixed {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && Arc::ptr_eq(&self.body, &other.body)
    }
}

impl Eq for Fixed {}

impl Hash for Fixed {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl ScalarUDFImpl for Fixed {
    fn name(&self) -> &str {
        &self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> DfResult<DataType> {
        Ok(self.result.clone())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let all_constant = args.args.iter().all(|a| matches!(a, ColumnarValue::Scalar(_)));
        let rows = if all_constant { 1 } else { args.number_rows };
        let argument = |(value, wanted): (&ColumnarValue, &DataType)| {
            let array = value.to_array(rows)?;
            match wanted {
                DataType::Null => Ok(array),
                wanted => convert::cast_array(&array, wanted).map_err(errors::wrap),
            }
        };
        let arrays = args.args.iter().zip(&self.arguments).map(argument).collect::<DfResult<Vec<_>>>()?;
        let result = (self.body)(&arrays, rows).map_err(errors::wrap)?;
        if all_constant {
            return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&result, 0)?));
        }
        Ok(ColumnarValue::Array(result))
    }
}
