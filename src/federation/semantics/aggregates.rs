//! Aggregates whose types or arithmetic are others in PostgreSQL than in DataFusion.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::ScalarValue;
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, ReversedUDAF, Signature, Volatility,
};
use epoch_adapter::{Error, Result};

use super::super::errors;
use super::datum::{self, Datum};
use super::functions::undefined;
use super::kinds::Kind;
use super::number::{self, Num};
use super::operators::refused;

/// What is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Op {
    Sum,
    Avg,
    Min,
    Max,
    /// `string_agg`
    Join,
    /// Variance, of a sample, and its root.
    Variance {
        sample: bool,
        root: bool,
    },
}

fn op(name: &str) -> Option<Op> {
    Some(match name {
        "sum" => Op::Sum,
        "avg" => Op::Avg,
        "min" => Op::Min,
        "max" => Op::Max,
        "string_agg" => Op::Join,
        "variance" | "var_samp" => Op::Variance { sample: true, root: false },
        "var_pop" => Op::Variance { sample: false, root: false },
        "stddev" | "stddev_samp" => Op::Variance { sample: true, root: true },
        "stddev_pop" => Op::Variance { sample: false, root: true },
        _ => return None,
    })
}

/// DataFusion's own minimum and maximum, which know frames that slide, where they are PostgreSQL's.
pub(crate) fn sliding(name: &str, data_type: &DataType) -> Option<Arc<AggregateUDF>> {
    use datafusion::functions_aggregate::min_max::{max_udaf, min_udaf};
    let exact = matches!(
        data_type,
        DataType::Int16
            | DataType::Int32
            | DataType::Int64
            | DataType::Decimal128(..)
            | DataType::Date32
            | DataType::Timestamp(..)
    );
    match name {
        "min" if exact => Some(min_udaf()),
        "max" if exact => Some(max_udaf()),
        _ => None,
    }
}

/// Those of DataFusion that do what PostgreSQL's do.
pub(crate) fn is_allowed(name: &str) -> bool {
    matches!(name, "count" | "array_agg" | "bool_and" | "bool_or" | "bit_and" | "bit_or" | "bit_xor")
}

/// The aggregate of this name, its types not settled yet.
pub(crate) fn find(name: &str) -> Option<Arc<AggregateUDF>> {
    op(name).map(|op| udaf(name, op, Kind::Unknown, DataType::Null))
}

fn udaf(name: &str, op: Op, kind: Kind, result: DataType) -> Arc<AggregateUDF> {
    let signature = Signature::any(if op == Op::Join { 2 } else { 1 }, Volatility::Immutable);
    Arc::new(AggregateUDF::new_from_impl(Total { name: name.to_owned(), op, kind, result, signature }))
}

/// The aggregate for an argument of this type; `None` if the name isn't one of ours.
pub(crate) fn resolve(name: &str, kind: Kind, data_type: &DataType) -> Result<Option<Arc<AggregateUDF>>> {
    let Some(op) = op(name) else { return Ok(None) };
    if kind == Kind::Unknown && !matches!(op, Op::Min | Op::Max | Op::Join) {
        return Err(Error::new("42725", format!("function {name}(unknown) is not unique")));
    }
    if kind == Kind::Interval {
        return Err(refused(format!("{name}(interval)")));
    }
    result_type(op, kind, data_type)
        .map(|result| Some(udaf(name, op, kind, result)))
        .ok_or_else(|| undefined(name, &[kind]))
}

fn result_type(op: Op, kind: Kind, data_type: &DataType) -> Option<DataType> {
    Some(match (op, kind) {
        (Op::Join, k) if k.is_text() || k == Kind::Unknown => DataType::Utf8,
        (Op::Join, _) => return None,
        (Op::Min | Op::Max, Kind::Varchar | Kind::Name | Kind::Unknown) => DataType::Utf8,
        (Op::Min | Op::Max, Kind::Text | Kind::Time) => data_type.clone(),
        (Op::Min | Op::Max, Kind::Int8) => DataType::Int64,
        (Op::Min | Op::Max, k) if k.is_number() || k.is_moment() => data_type.clone(),
        (Op::Min | Op::Max, _) => return None,
        (Op::Sum, Kind::Int2 | Kind::Int4) => DataType::Int64,
        (Op::Sum, Kind::Float4) => DataType::Float32,
        (_, Kind::Float4 | Kind::Float8) => DataType::Float64,
        (Op::Sum, Kind::Int8 | Kind::Numeric) => {
            number::type_of(number::shape(data_type).map(|(p, s)| ((p + 19).max(38), s)))
        }
        (_, k) if k.is_number() => DataType::LargeUtf8,
        _ => return None,
    })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Total {
    name: String,
    op: Op,
    kind: Kind,
    result: DataType,
    signature: Signature,
}

impl AggregateUDFImpl for Total {
    fn name(&self) -> &str {
        &self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    /// Without this DataFusion leaves out the sort that `ORDER BY` in the call asks for.
    fn reverse_expr(&self) -> ReversedUDAF {
        match self.op {
            Op::Join => ReversedUDAF::Reversed(udaf(&self.name, self.op, self.kind, self.result.clone())),
            _ => ReversedUDAF::Identical,
        }
    }

    fn return_type(&self, arguments: &[DataType]) -> DfResult<DataType> {
        let argument = arguments.first().cloned().unwrap_or(DataType::Null);
        if self.result != DataType::Null {
            return Ok(self.result.clone());
        }
        // Not settled yet; whoever looks at it must be able to go on.
        Ok(result_type(self.op, super::kinds::of_arrow(&argument), &argument).unwrap_or(argument))
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> DfResult<Box<dyn Accumulator>> {
        if self.result == DataType::Null {
            return Err(errors::wrap(refused(format!("aggregate {} in this place", self.name))));
        }
        if args.is_reversed && self.op == Op::Join {
            return Err(errors::wrap(refused(format!("{}() in two opposite orders", self.name))));
        }
        Ok(Box::new(Running {
            op: self.op,
            kind: self.kind,
            result: self.result.clone(),
            count: 0,
            ints: 0,
            sum: Num::of_int(0),
            squares: Num::of_int(0),
            float: 0.0,
            spread: 0.0,
            best: Datum::Null,
            seen: args.is_distinct.then(HashSet::new),
            seen_bytes: 0,
        }))
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> DfResult<Vec<FieldRef>> {
        let field =
            |name: &str, data_type| Arc::new(Field::new(format!("{}[{name}]", args.name), data_type, true));
        Ok(vec![
            field("count", DataType::Int64),
            field("sum", DataType::LargeUtf8),
            field("squares", DataType::LargeUtf8),
            field("float", DataType::Float64),
            field("spread", DataType::Float64),
            field("best", self.result.clone()),
        ])
    }
}

#[derive(Debug)]
struct Running {
    op: Op,
    kind: Kind,
    result: DataType,
    count: i64,
    /// The sum of what came as integers, beside `sum`.
    ints: i128,
    sum: Num,
    squares: Num,
    float: f64,
    /// Of doubles: the sum of squared distances, by Youngs and Cramer.
    spread: f64,
    best: Datum<'static>,
    seen: Option<HashSet<Vec<u8>>>,
    seen_bytes: usize,
}

impl Running {
    /// Adds a text behind its delimiter.
    fn join(&mut self, value: &Datum<'_>, delimiter: &Datum<'_>) -> Result<()> {
        if value.is_null() {
            return Ok(());
        }
        if let (Datum::Text(all), Datum::Text(delimiter)) = (&mut self.best, delimiter) {
            all.to_mut().push_str(delimiter);
        }
        match &mut self.best {
            Datum::Text(all) => all.to_mut().push_str(value.as_text()?),
            first => *first = owned(value),
        }
        self.count += 1;
        self.seen_bytes = self.best.as_text()?.len();
        datum::check_length(self.seen_bytes)
    }

    fn add(&mut self, value: &Datum<'_>) -> Result<()> {
        if value.is_null() || !self.is_new(value)? {
            return Ok(());
        }
        self.count += 1;
        match self.op {
            Op::Min | Op::Max => {
                let wanted =
                    if self.op == Op::Min { std::cmp::Ordering::Less } else { std::cmp::Ordering::Greater };
                if self.best.is_null() || value.compare(&self.best) == Some(wanted) {
                    self.best = owned(value);
                }
                Ok(())
            }
            _ if self.kind.is_float() => self.add_float(value.as_float()?),
            op => {
                match value {
                    Datum::Int(value) => {
                        self.ints = self.ints.checked_add(i128::from(*value)).ok_or_else(number::overflow)?;
                    }
                    value => self.sum = self.sum.plus(&value.as_num()?).checked()?,
                }
                if matches!(op, Op::Variance { .. }) {
                    let value = value.as_num()?;
                    self.squares = self.squares.plus(&value.times(&value)?).checked()?;
                }
                Ok(())
            }
        }
    }

    fn add_float(&mut self, value: f64) -> Result<()> {
        let before = self.float;
        #[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss)]
        if self.result == DataType::Float32 {
            self.float = f64::from(before as f32 + value as f32);
        } else {
            self.float = before + value;
            let n = self.count as f64;
            if self.count > 1 {
                let distance = value * n - self.float;
                self.spread += distance * distance / (n * (n - 1.0));
            } else if !value.is_finite() {
                self.spread = f64::NAN;
            }
        }
        // PostgreSQL's average carries the spread along, too.
        let spread = self.op != Op::Sum && self.spread.is_infinite();
        if (self.float.is_infinite() || spread) && before.is_finite() && value.is_finite() {
            return Err(Error::new("22003", "value out of range: overflow"));
        }
        Ok(())
    }

    /// Whether a value of DISTINCT comes for the first time.
    fn is_new(&mut self, value: &Datum<'_>) -> Result<bool> {
        let Some(seen) = &mut self.seen else { return Ok(true) };
        let key = match value {
            Datum::Float(value) => value.to_bits().to_be_bytes().to_vec(),
            Datum::Int(value) => value.to_be_bytes().to_vec(),
            Datum::Num(value) => value.key(),
            // Minimum and maximum don't care.
            _ => return Ok(true),
        };
        self.seen_bytes += key.len() + 48;
        Ok(seen.insert(key))
    }

    fn total(&self) -> Num {
        Num::of_i128(self.ints, 0).plus(&self.sum)
    }

    fn value(&self) -> Result<Datum<'static>> {
        if self.count == 0 {
            return Ok(Datum::Null);
        }
        #[allow(clippy::cast_precision_loss)]
        let n = self.count as f64;
        Ok(match self.op {
            Op::Min | Op::Max | Op::Join => self.best.clone(),
            Op::Sum if self.kind.is_float() => Datum::float(self.float),
            Op::Avg if self.kind.is_float() => Datum::float(self.float / n),
            Op::Variance { sample, root } if self.kind.is_float() => {
                if sample && self.count == 1 {
                    return Ok(Datum::Null);
                }
                let variance = self.spread / if sample { n - 1.0 } else { n };
                Datum::float(if root { variance.sqrt() } else { variance })
            }
            Op::Sum if self.result == DataType::Int64 => {
                let sum = i64::try_from(self.ints);
                Datum::Int(sum.map_err(|_| datum::out_of_range("bigint"))?)
            }
            Op::Sum => Datum::Num(self.total()),
            Op::Avg => Datum::Num(self.total().divided(&Num::of_int(self.count))?),
            Op::Variance { sample, root } => return self.variance(sample, root),
        })
    }

    fn variance(&self, sample: bool, root: bool) -> Result<Datum<'static>> {
        if sample && self.count == 1 {
            return Ok(Datum::Null);
        }
        let (n, sum) = (Num::of_int(self.count), self.total());
        let spread = n.times(&self.squares)?.minus(&sum.times(&sum)?);
        if spread.is_zero() || spread.is_negative() {
            return Ok(Datum::Num(Num::of_int(0)));
        }
        let divisor = n.times(&Num::of_int(if sample { self.count - 1 } else { self.count }))?;
        let scale = spread.quotient_scale(&divisor);
        let variance = spread.divided_at(&divisor, scale);
        Ok(Datum::Num(if root { variance.root(scale) } else { variance }))
    }

    fn scalar(&self, value: &Datum<'_>, data_type: &DataType) -> DfResult<ScalarValue> {
        let array = datum::build(data_type, std::slice::from_ref(value)).map_err(errors::wrap)?;
        ScalarValue::try_from_array(&array, 0)
    }

    fn merge(&mut self, states: &[ArrayRef], row: usize) -> Result<()> {
        let [count, sum, squares, float, spread, best] = states else { return Ok(()) };
        let count = datum::read(count, row)?.as_int()?;
        if count == 0 {
            return Ok(());
        }
        #[allow(clippy::cast_precision_loss)]
        let (n1, n2) = (self.count as f64, count as f64);
        let other = datum::read(float, row)?.as_float()?;
        let spread = datum::read(spread, row)?.as_float()?;
        if self.count == 0 {
            self.spread = spread;
        } else {
            let distance = self.float / n1 - other / n2;
            self.spread += spread + n1 * n2 * distance * distance / (n1 + n2);
        }
        self.float += other;
        self.sum = self.sum.plus(&datum::read(sum, row)?.as_num()?);
        self.squares = self.squares.plus(&datum::read(squares, row)?.as_num()?);
        if matches!(self.op, Op::Min | Op::Max) {
            self.add(&datum::read(best, row)?)?;
            self.count -= 1;
        }
        self.count += count;
        Ok(())
    }
}

fn owned(value: &Datum<'_>) -> Datum<'static> {
    match value {
        Datum::Null => Datum::Null,
        Datum::Bool(v) => Datum::Bool(*v),
        Datum::Int(v) => Datum::Int(*v),
        Datum::Float(v) => Datum::Float(*v),
        Datum::Num(v) => Datum::Num(v.clone()),
        Datum::Text(v) => Datum::text(v.as_ref()),
        Datum::Bytes(v) => Datum::Bytes(v.to_vec().into()),
        Datum::Date(v) => Datum::Date(*v),
        Datum::Micros(v) => Datum::Micros(*v),
        Datum::Interval(v) => Datum::Interval(*v),
    }
}

impl Accumulator for Running {
    fn update_batch(&mut self, values: &[ArrayRef]) -> DfResult<()> {
        let [array, ..] = values else { return Ok(()) };
        let array = datum::normalized(array).map_err(errors::wrap)?;
        if let (Op::Join, Some(delimiters)) = (self.op, values.get(1)) {
            let one = |row| self.join(&datum::read(&array, row)?, &datum::read(delimiters, row)?);
            return (0..array.len()).try_for_each(one).map_err(errors::wrap);
        }
        for row in 0..array.len() {
            datum::read(&array, row).and_then(|value| self.add(&value)).map_err(errors::wrap)?;
        }
        Ok(())
    }

    fn evaluate(&mut self) -> DfResult<ScalarValue> {
        let value = self.value().map_err(errors::wrap)?;
        self.scalar(&value, &self.result)
    }

    fn size(&self) -> usize {
        size_of_val(self) + 64 + self.seen_bytes
    }

    fn state(&mut self) -> DfResult<Vec<ScalarValue>> {
        if self.seen.is_some() || (self.op == Op::Join && self.count > 0) {
            let message = "out of memory";
            return Err(errors::wrap(
                Error::new("53200", message).with_detail("This aggregate can't be put on disk."),
            ));
        }
        Ok(vec![
            ScalarValue::Int64(Some(self.count)),
            ScalarValue::LargeUtf8(Some(self.total().to_string())),
            ScalarValue::LargeUtf8(Some(self.squares.to_string())),
            ScalarValue::Float64(Some(self.float)),
            ScalarValue::Float64(Some(self.spread)),
            self.scalar(&self.best, &self.result)?,
        ])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> DfResult<()> {
        let rows = states.first().map_or(0, |count| count.len());
        (0..rows).try_for_each(|row| self.merge(states, row)).map_err(errors::wrap)
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> DfResult<()> {
        let [array, ..] = values else { return Ok(()) };
        for row in 0..array.len() {
            match datum::read(array, row).map_err(errors::wrap)? {
                Datum::Null => continue,
                Datum::Int(value) => self.ints -= i128::from(value),
                value => self.sum = self.sum.minus(&value.as_num().map_err(errors::wrap)?),
            }
            self.count -= 1;
        }
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        matches!(self.op, Op::Sum | Op::Avg) && !self.kind.is_float() && self.seen.is_none()
    }
}
