//! What is written to a column: PostgreSQL's assignment casts.
//!
//! Statements that write put [`assigned`] around each value. Types are settled by the rule, from the leaves up, so only
//! then it is known what a value is; [`resolve`] puts the cast in the place of the call, or refuses it.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::DFSchema;
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::{
    Cast, ColumnarValue, Expr, ExprSchemable, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl,
    Signature, TypeSignature, Volatility,
};
use epoch_adapter::{Column, Error, Result, sqlstate};

use super::super::types::PG_TYPE;
use super::super::{errors, types};
use super::casts;
use super::kinds::{self, Kind};
use super::operators::refused;

/// The value as one of the column.
pub(crate) fn assigned(expr: Expr, column: &Column) -> Expr {
    let signature = Signature::one_of(vec![TypeSignature::VariadicAny], Volatility::Immutable);
    ScalarUDF::new_from_impl(Assign { field: field_of(column), signature }).call(vec![expr])
}

/// The column as a field of a plan; see `FederatedTable` for numerics of any scale.
pub(crate) fn field_of(column: &Column) -> FieldRef {
    let data_type = match (column.pg_type.as_str(), &column.data_type) {
        ("numeric", DataType::Utf8) => DataType::LargeUtf8,
        (_, own) => own.clone(),
    };
    let field = Field::new(&column.name, data_type, true);
    Arc::new(field.with_metadata([(PG_TYPE.to_owned(), column.pg_type.clone())].into()))
}

/// The call, until its types are settled.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct Assign {
    field: FieldRef,
    signature: Signature,
}

impl Assign {
    /// The cast.
    pub(crate) fn resolve(&self, args: Vec<Expr>, schema: &DFSchema, zone: &str) -> Result<Expr> {
        let [expr] = <[Expr; 1]>::try_from(args).map_err(|_| Error::internal("one value for a column"))?;
        let to = kinds::of_field(&self.field);
        let from = kinds::of(&expr, schema)?;
        let same_type = kinds::type_of(&expr, schema)? == *self.field.data_type();
        let given = matches!(expr, Expr::Literal(..) | Expr::Placeholder(_)) && from.is_text();
        let fit = match fits(from, to) {
            // A parameter that the client knows as text.
            Fit::Refused if given && matches!(to, Kind::Other | Kind::Bpchar) => Fit::Text,
            Fit::Refused if from == Kind::Other && to == Kind::Other && self.declares(&expr, schema)? => {
                Fit::Same
            }
            fit => fit,
        };
        match fit {
            Fit::Same if same_type => Ok(expr),
            // Their input is the backend's.
            Fit::Text => casts::coerce(expr, Kind::Text, schema, zone),
            Fit::Json => {
                let json = casts::coerce(expr, Kind::Json, schema, zone)?;
                Ok(casts::tagged(json, to, zone))
            }
            Fit::Same | Fit::Cast => casts::convert(expr, from, to, self.field.data_type(), schema, zone),
            Fit::Plain => Ok(Expr::Cast(Cast::new_from_field(
                Box::new(expr),
                Arc::new(Field::new("cast", self.field.data_type().clone(), true)),
            ))),
            Fit::Refused => Err(refused(format!(
                "a value of {} for column \"{}\" of type {}",
                from.name(),
                self.field.name(),
                self.declared()
            ))),
            Fit::No => Err(self.mismatch(from)),
        }
    }

    /// Whether an expression is declared to be of the column's type.
    fn declares(&self, expr: &Expr, schema: &DFSchema) -> Result<bool> {
        let (_, field) = expr.to_field(schema).map_err(|e| errors::datafusion(&e))?;
        Ok(field.metadata().get(PG_TYPE) == self.field.metadata().get(PG_TYPE))
    }

    fn declared(&self) -> &str {
        let declared = self.field.metadata().get(PG_TYPE).map_or("", String::as_str);
        match types::parse_type(declared) {
            // Without its modifier.
            Some(_) => declared.split('(').next().unwrap_or(declared).trim(),
            None => declared,
        }
    }

    fn mismatch(&self, from: Kind) -> Error {
        let message = format!(
            "column \"{}\" is of type {} but expression is of type {}",
            self.field.name(),
            self.declared(),
            from.name()
        );
        Error::new(sqlstate::DATATYPE_MISMATCH, message)
            .with_hint("You will need to rewrite or cast the expression.")
            .with_column(self.field.name().as_str())
    }
}

/// How a value gets into a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fit {
    Same,
    Cast,
    /// As text, which the backend reads.
    Text,
    /// As text that is JSON.
    Json,
    /// As Arrow casts it.
    Plain,
    /// PostgreSQL does it, nobody has compared it.
    Refused,
    /// 42804
    No,
}

/// Casts that PostgreSQL makes in an assignment.
fn fits(from: Kind, to: Kind) -> Fit {
    use Kind::{
        Array, Bpchar, Internal, Interval, Json, Jsonb, Other, Record, Time, Timestamp, Timestamptz, Unknown,
    };
    match (from, to) {
        (Internal, _) | (_, Internal) | (Array | Unknown, Array) => Fit::Plain,
        (Unknown, Jsonb) | (Json, Jsonb) | (Jsonb, Json) => Fit::Json,
        (Unknown, Bpchar | Other) => Fit::Text,
        (Unknown, Record) | (Record, _) => Fit::Refused,
        (Unknown, _) => Fit::Cast,
        // One enum isn't another.
        (Other, Other) => Fit::Refused,
        (f, t) if f == t => Fit::Same,
        // Anything is written as text.
        (Other, t) if t.is_text() => Fit::Refused,
        (Bpchar, t) if t.is_text() => Fit::Refused,
        (f, Bpchar) if f.is_text() => Fit::Text,
        (_, Bpchar) => Fit::Refused,
        (_, t) if t.is_text() => Fit::Cast,
        (f, Other) if f.is_text() => Fit::Refused,
        (f, t) if f.is_number() && t.is_number() => Fit::Cast,
        (f, t) if f.is_moment() && t.is_moment() => Fit::Cast,
        (Timestamp | Timestamptz, Time) | (Time, Interval) => Fit::Cast,
        (Interval, Time) => Fit::Refused,
        _ => Fit::No,
    }
}

impl ScalarUDFImpl for Assign {
    fn name(&self) -> &str {
        "assigned"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> DfResult<DataType> {
        Ok(self.field.data_type().clone())
    }

    fn return_field_from_args(&self, _: ReturnFieldArgs<'_>) -> DfResult<FieldRef> {
        Ok(self.field.clone())
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        Err(errors::wrap(Error::internal("the type of a value for a column wasn't settled")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn casts_of_assignments_are_postgresqls() {
        assert_eq!(fits(Kind::Text, Kind::Uuid), Fit::No);
        assert_eq!(fits(Kind::Varchar, Kind::Json), Fit::No);
        assert_eq!(fits(Kind::Text, Kind::Int8), Fit::No);
        assert_eq!(fits(Kind::Unknown, Kind::Uuid), Fit::Cast);
        assert_eq!(fits(Kind::Uuid, Kind::Text), Fit::Cast);
        assert_eq!(fits(Kind::Numeric, Kind::Int4), Fit::Cast);
        assert_eq!(fits(Kind::Date, Kind::Timestamptz), Fit::Cast);
        assert_eq!(fits(Kind::Timestamptz, Kind::Date), Fit::Cast);
        assert_eq!(fits(Kind::Bool, Kind::Int4), Fit::No);
        assert_eq!(fits(Kind::Int4, Kind::Bool), Fit::No);
        assert_eq!(fits(Kind::Int8, Kind::Date), Fit::No);
        assert_eq!(fits(Kind::Json, Kind::Jsonb), Fit::Json);
        assert_eq!(fits(Kind::Text, Kind::Other), Fit::Refused);
    }
}
