//! DataFusion's errors as PostgreSQL's: SQLSTATE and wording.

use arrow::error::ArrowError;
use datafusion::common::SchemaError;
use datafusion::error::DataFusionError;
use epoch_adapter::{Error, sqlstate};

use super::wording;

const DIVISION_BY_ZERO: &str = "22012";
const NUMERIC_OUT_OF_RANGE: &str = "22003";
const AMBIGUOUS_COLUMN: &str = "42702";
const DUPLICATE_ALIAS: &str = "42712";
const GROUPING_ERROR: &str = "42803";
const CARDINALITY_VIOLATION: &str = "21000";
const OUT_OF_MEMORY: &str = "53200";

/// Wraps an error of ours to travel through DataFusion.
pub(crate) fn wrap(error: Error) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

/// What a client gets for a DataFusion error.
pub(crate) fn datafusion(error: &DataFusionError) -> Error {
    match error {
        DataFusionError::External(source) => match source.downcast_ref::<Error>() {
            Some(ours) => ours.clone(),
            None => match source.downcast_ref::<ArrowError>() {
                Some(inner) => arrow(inner),
                None => from_text(&source.to_string()),
            },
        },
        DataFusionError::ArrowError(inner, _) => arrow(inner),
        DataFusionError::SchemaError(inner, _) => schema(inner),
        DataFusionError::SQL(inner, _) => Error::new(sqlstate::SYNTAX_ERROR, inner.to_string()),
        DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner) => datafusion(inner),
        DataFusionError::Shared(inner) => datafusion(inner),
        DataFusionError::Collection(all) => {
            all.first().map_or_else(|| Error::internal("an unknown error"), datafusion)
        }
        DataFusionError::NotImplemented(what) => wording::known(what).unwrap_or_else(|| {
            Error::new(sqlstate::FEATURE_NOT_SUPPORTED, wording::plain(&lower(first_line(what))))
        }),
        DataFusionError::ResourcesExhausted(what) => Error::new(OUT_OF_MEMORY, lower(first_line(what))),
        DataFusionError::Plan(what) | DataFusionError::Execution(what) => from_text(what),
        DataFusionError::Internal(what) => {
            from_text(what.split("\nThis issue was likely").next().unwrap_or(what))
        }
        other => Error::internal(wording::plain(&lower(first_line(&other.strip_backtrace())))),
    }
}

/// What a client gets for an Arrow error.
pub(crate) fn arrow(error: &ArrowError) -> Error {
    match error {
        ArrowError::DivideByZero => division_by_zero(),
        ArrowError::ArithmeticOverflow(_) => Error::new(NUMERIC_OUT_OF_RANGE, "value out of range"),
        ArrowError::ExternalError(source) => match source.downcast_ref::<DataFusionError>() {
            Some(inner) => datafusion(inner),
            None => source.downcast_ref::<Error>().cloned().unwrap_or_else(|| from_text(&source.to_string())),
        },
        ArrowError::CastError(what)
        | ArrowError::ParseError(what)
        | ArrowError::ComputeError(what)
        | ArrowError::InvalidArgumentError(what) => from_text(what),
        ArrowError::NotYetImplemented(what) => {
            Error::new(sqlstate::FEATURE_NOT_SUPPORTED, wording::plain(&lower(what)))
        }
        other => Error::internal(wording::plain(&lower(&other.to_string()))),
    }
}

fn division_by_zero() -> Error {
    Error::new(DIVISION_BY_ZERO, "division by zero")
}

fn schema(error: &SchemaError) -> Error {
    match error {
        SchemaError::FieldNotFound { field, .. } => {
            let name = match &field.relation {
                Some(relation) => format!("column {}.{} does not exist", relation.table(), field.name),
                None => format!("column \"{}\" does not exist", field.name),
            };
            Error::new(sqlstate::UNDEFINED_COLUMN, name)
        }
        SchemaError::AmbiguousReference { field } => {
            Error::new(AMBIGUOUS_COLUMN, format!("column reference \"{}\" is ambiguous", field.name))
        }
        SchemaError::DuplicateQualifiedField { qualifier, .. } => Error::new(
            DUPLICATE_ALIAS,
            format!("table name \"{}\" specified more than once", qualifier.table()),
        ),
        SchemaError::DuplicateUnqualifiedField { name } => {
            Error::new(AMBIGUOUS_COLUMN, format!("column name \"{name}\" specified more than once"))
        }
    }
}

/// The class of an error that DataFusion only tells in words.
fn from_text(what: &str) -> Error {
    let text = strip_prefixes(what);
    let lowered = text.to_ascii_lowercase();
    let has = |needle: &str| lowered.contains(needle);
    if has("divide by zero") || has("division by zero") {
        return division_by_zero();
    }
    if let Some(name) = between(text, "Invalid function '", "'") {
        return Error::new(sqlstate::UNDEFINED_FUNCTION, format!("function {name} does not exist"))
            .with_hint("No function matches the given name and argument types.");
    }
    if let Some(value) = between(text, "Cannot cast string '", "' to value of ") {
        let type_name = between(text, "to value of ", " type").map_or("unknown", pg_name);
        return Error::new(
            sqlstate::INVALID_TEXT_REPRESENTATION,
            format!("invalid input syntax for type {type_name}: \"{value}\""),
        );
    }
    if let Some(error) = wording::known(text) {
        return error;
    }
    let (code, message) = classify(text, &lowered);
    Error::new(code, wording::plain(&message))
}

fn classify(text: &str, lowered: &str) -> (&'static str, String) {
    let has = |needle: &str| lowered.contains(needle);
    let message = lower(first_line(text));
    if has("error parsing timestamp") || has("error parsing date") || has("parser error") {
        return ("22007", message);
    }
    if has("cannot cast string") || has("cannot parse") {
        return (sqlstate::INVALID_TEXT_REPRESENTATION, message);
    }
    if has("overflow") || has("can't cast value") || has("out of range") || has("too large to store") {
        return (NUMERIC_OUT_OF_RANGE, "value out of range".to_owned());
    }
    if has("more than one row") {
        let message = "more than one row returned by a subquery used as an expression";
        return (CARDINALITY_VIOLATION, message.to_owned());
    }
    if has("limit must be") {
        return ("2201W", "LIMIT must not be negative".to_owned());
    }
    if has("offset must be") {
        return ("2201X", "OFFSET must not be negative".to_owned());
    }
    if has("order by column out of bounds")
        || has("order by position")
        || has("for select distinct")
        || has("select distinct on expressions must match")
    {
        return ("42P10", message);
    }
    if has("different number of columns") || has("must have the same number of") {
        return (sqlstate::SYNTAX_ERROR, message);
    }
    if has("correlated scalar subquery must be aggregated") {
        let message =
            "a sub-select for one value that may have several rows for a row of the query around it";
        return (sqlstate::FEATURE_NOT_SUPPORTED, message.to_owned());
    }
    if has("having clause references: boolean(") {
        return (sqlstate::FEATURE_NOT_SUPPORTED, "HAVING of a constant".to_owned());
    }
    if has("logical boolean operation")
        || has("requires a boolean expression")
        || has("non-boolean predicate")
    {
        return (sqlstate::DATATYPE_MISMATCH, message);
    }
    if has("negation only supports") || has("only supports signed numeric") {
        return (sqlstate::UNDEFINED_FUNCTION, message);
    }
    if has("aggregate function") && (has("not allowed") || has("nested")) {
        return (GROUPING_ERROR, message);
    }
    if has("must appear in the group by clause") || has("must be in group by") {
        return (GROUPING_ERROR, message);
    }
    if has("cannot infer common") || has("cannot coerce arithmetic") {
        return (sqlstate::UNDEFINED_FUNCTION, format!("operator does not exist: {message}"));
    }
    if has("failed to coerce arguments") || has("no function matches") || has("does not support") {
        return (sqlstate::UNDEFINED_FUNCTION, message);
    }
    if has("table function") && has("not found") {
        return (sqlstate::UNDEFINED_FUNCTION, message);
    }
    if has("type mismatch") || has("cannot automatically convert") || has("unsupported cast") {
        return (sqlstate::DATATYPE_MISMATCH, message);
    }
    if has("not supported") || has("not implemented") || has("unsupported") {
        return (sqlstate::FEATURE_NOT_SUPPORTED, message);
    }
    if has("not found") && has("column") {
        return (sqlstate::UNDEFINED_COLUMN, message);
    }
    // PostgreSQL's grammar has taken the statement, so it is what we can't do.
    (sqlstate::FEATURE_NOT_SUPPORTED, message)
}

/// PostgreSQL's name of an Arrow type in a message.
pub(super) fn pg_name(arrow: &str) -> &str {
    match arrow {
        "Int8" | "Int16" | "UInt8" => "smallint",
        "Int32" | "UInt16" => "integer",
        "Int64" | "UInt32" => "bigint",
        "Float16" | "Float32" => "real",
        "Float64" => "double precision",
        "Boolean" => "boolean",
        "Utf8" | "LargeUtf8" | "Utf8View" => "text",
        "Binary" | "LargeBinary" | "BinaryView" => "bytea",
        "Null" => "unknown",
        "Date32" | "Date64" => "date",
        t if t.starts_with("Decimal") || t == "UInt64" => "numeric",
        t if t.starts_with("Timestamp") && t.contains("None") => "timestamp without time zone",
        t if t.starts_with("Timestamp") => "timestamp with time zone",
        t if t.starts_with("Time") => "time without time zone",
        t if t.starts_with("Interval") => "interval",
        other => other,
    }
}

fn strip_prefixes(mut text: &str) -> &str {
    const PREFIXES: [&str; 9] = [
        "DataFusion error: ",
        "Error during planning: ",
        "Execution error: ",
        "Optimizer rule '",
        "Arrow error: ",
        "Cast error: ",
        "Compute error: ",
        "Internal error: ",
        "External error: ",
    ];
    while let Some(rest) = PREFIXES.iter().find_map(|prefix| text.strip_prefix(prefix)) {
        text = rest;
    }
    text
}

pub(super) fn between<'a>(text: &'a str, start: &str, end: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(start)?;
    rest.split_once(end).map(|(inside, _)| inside)
}

pub(super) fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or(text).trim_end_matches('.')
}

/// PostgreSQL's messages start in lower case.
fn lower(text: &str) -> String {
    let text = strip_prefixes(text);
    let mut chars = text.chars();
    match (chars.next(), chars.clone().next()) {
        (Some(first), Some(second)) if first.is_uppercase() && second.is_lowercase() => {
            first.to_lowercase().chain(chars).collect()
        }
        _ => text.to_owned(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn casts_of_bad_text_name_the_postgresql_type() {
        let error = arrow(&ArrowError::CastError("Cannot cast string 'abc' to value of Int64 type".into()));
        assert_eq!(
            (error.code(), error.message()),
            ("22P02", "invalid input syntax for type bigint: \"abc\"")
        );
    }

    #[test]
    fn our_own_errors_come_back_unchanged() {
        let ours = Error::new("42P01", "relation \"x\" does not exist").with_hint("h");
        let wrapped = DataFusionError::Context("c".into(), Box::new(wrap(ours.clone())));
        assert_eq!(datafusion(&wrapped), ours);
        let through_arrow = ArrowError::ExternalError(Box::new(wrap(ours.clone())));
        assert_eq!(arrow(&through_arrow), ours);
    }

    #[test]
    fn classes_and_wording() {
        let cases = [
            (
                "Error during planning: Invalid function 'foo'.\nDid you mean 'floor'?",
                "42883",
                "function foo does not exist",
            ),
            (
                "Cannot coerce arithmetic expression Int64 + Boolean to valid types",
                "42883",
                "operator does not exist: cannot coerce arithmetic expression bigint + boolean to valid types",
            ),
            ("Arrow error: Divide by zero error", "22012", "division by zero"),
        ];
        for (text, code, message) in cases {
            let error = datafusion(&DataFusionError::Plan(text.to_owned()));
            assert_eq!((error.code(), error.message()), (code, message));
        }
    }
}
