//! The value of a scalar subquery: NULL for no row, an error for more than one.

use std::sync::{Arc, OnceLock};

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Field, FieldRef, Int64Type};
use datafusion::common::ScalarValue;
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, Signature, Volatility};
use epoch_adapter::Error;

use super::super::errors;

/// The aggregate's name in rewritten statements.
pub(crate) const NAME: &str = "epoch_single_value";

/// The aggregate. DataFusion decorrelates subqueries that aggregate, and only those.
pub(crate) fn single_value() -> Arc<AggregateUDF> {
    static UDF: OnceLock<Arc<AggregateUDF>> = OnceLock::new();
    UDF.get_or_init(|| Arc::new(AggregateUDF::new_from_impl(SingleValue::new()))).clone()
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct SingleValue {
    signature: Signature,
}

impl SingleValue {
    fn new() -> Self {
        Self { signature: Signature::any(1, Volatility::Immutable) }
    }
}

impl AggregateUDFImpl for SingleValue {
    fn name(&self) -> &str {
        NAME
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arguments: &[DataType]) -> DfResult<DataType> {
        Ok(arguments.first().cloned().unwrap_or(DataType::Null))
    }

    fn return_field(&self, arguments: &[FieldRef]) -> DfResult<FieldRef> {
        let field = arguments.first().map(|f| f.as_ref().clone());
        let field = field.unwrap_or_else(|| Field::new(NAME, DataType::Null, true));
        Ok(Arc::new(field.with_name(NAME).with_nullable(true)))
    }

    fn accumulator(&self, arguments: AccumulatorArgs<'_>) -> DfResult<Box<dyn Accumulator>> {
        let value = ScalarValue::try_from(arguments.return_field.data_type())?;
        Ok(Box::new(Value { value, rows: 0 }))
    }

    fn state_fields(&self, arguments: StateFieldsArgs<'_>) -> DfResult<Vec<FieldRef>> {
        let value = Field::new("value", arguments.return_field.data_type().clone(), true);
        Ok(vec![Arc::new(value), Arc::new(Field::new("rows", DataType::Int64, false))])
    }
}

#[derive(Debug)]
struct Value {
    value: ScalarValue,
    rows: i64,
}

impl Value {
    fn add(&mut self, values: &ArrayRef, row: usize, rows: i64) -> DfResult<()> {
        self.rows += rows;
        if self.rows > 1 {
            let message = "more than one row returned by a subquery used as an expression";
            return Err(errors::wrap(Error::new("21000", message)));
        }
        self.value = ScalarValue::try_from_array(values, row)?;
        Ok(())
    }
}

impl Accumulator for Value {
    fn update_batch(&mut self, values: &[ArrayRef]) -> DfResult<()> {
        match values.first() {
            Some(values) if !values.is_empty() => {
                self.add(values, 0, i64::try_from(values.len()).unwrap_or(i64::MAX))
            }
            _ => Ok(()),
        }
    }

    fn evaluate(&mut self) -> DfResult<ScalarValue> {
        Ok(self.value.clone())
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.value.size()
    }

    fn state(&mut self) -> DfResult<Vec<ScalarValue>> {
        Ok(vec![self.value.clone(), ScalarValue::Int64(Some(self.rows))])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> DfResult<()> {
        let [values, rows] = states else { return Ok(()) };
        for (row, count) in rows.as_primitive::<Int64Type>().iter().enumerate() {
            if count.unwrap_or(0) > 0 {
                self.add(values, row, count.unwrap_or(0))?;
            }
        }
        Ok(())
    }
}
