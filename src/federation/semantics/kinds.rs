//! PostgreSQL's types as the resolution of operators and functions sees them.

use arrow::datatypes::{DataType, Field, IntervalUnit, TimeUnit};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::logical_expr::{Expr, ExprSchemable};
use epoch_adapter::{Error, Result};
use postgres_types::Type;

use super::super::types::{OID_ALIAS, PG_CHAR, PG_TYPE};
use super::super::{errors, types};

/// A type, without its modifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// A string literal, or NULL: it becomes what it stands beside.
    Unknown,
    Bool,
    Int2,
    Int4,
    Int8,
    Numeric,
    Float4,
    Float8,
    Text,
    Varchar,
    Bpchar,
    Name,
    Bytea,
    Date,
    Time,
    Timestamp,
    Timestamptz,
    Interval,
    Uuid,
    Json,
    Jsonb,
    Array,
    Record,
    /// Of the catalogs, or of DataFusion's own doings: left to DataFusion.
    Internal,
    /// Kept as text, without a meaning here (`inet`, an enum).
    Other,
}

impl Kind {
    pub(crate) fn is_text(self) -> bool {
        matches!(self, Self::Text | Self::Varchar | Self::Name)
    }

    pub(crate) fn is_integer(self) -> bool {
        matches!(self, Self::Int2 | Self::Int4 | Self::Int8)
    }

    pub(crate) fn is_float(self) -> bool {
        matches!(self, Self::Float4 | Self::Float8)
    }

    pub(crate) fn is_number(self) -> bool {
        self.is_integer() || self.is_float() || self == Self::Numeric
    }

    pub(crate) fn is_moment(self) -> bool {
        matches!(self, Self::Date | Self::Timestamp | Self::Timestamptz)
    }

    /// PostgreSQL has operators and functions of these that we don't know.
    pub(crate) fn is_foreign(self) -> bool {
        matches!(self, Self::Other | Self::Bpchar)
    }

    /// Among numbers, and among moments: the later takes the earlier.
    pub(crate) fn rank(self) -> u8 {
        match self {
            Self::Int2 => 1,
            Self::Int4 => 2,
            Self::Int8 => 3,
            Self::Numeric => 4,
            Self::Float4 => 5,
            Self::Float8 => 6,
            Self::Date => 1,
            Self::Timestamp => 2,
            Self::Timestamptz => 3,
            _ => 0,
        }
    }

    /// As PostgreSQL's messages name it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Bool => "boolean",
            Self::Int2 => "smallint",
            Self::Int4 => "integer",
            Self::Int8 => "bigint",
            Self::Numeric => "numeric",
            Self::Float4 => "real",
            Self::Float8 => "double precision",
            Self::Text => "text",
            Self::Varchar => "character varying",
            Self::Bpchar => "character",
            Self::Name => "name",
            Self::Bytea => "bytea",
            Self::Date => "date",
            Self::Time => "time without time zone",
            Self::Timestamp => "timestamp without time zone",
            Self::Timestamptz => "timestamp with time zone",
            Self::Interval => "interval",
            Self::Uuid => "uuid",
            Self::Json => "json",
            Self::Jsonb => "jsonb",
            Self::Array => "anyarray",
            Self::Record => "record",
            Self::Internal | Self::Other => "this type",
        }
    }

    /// The Arrow type of what is computed.
    pub(crate) fn data_type(self, zone: &str) -> DataType {
        match self {
            Self::Bool => DataType::Boolean,
            Self::Int2 => DataType::Int16,
            Self::Int4 => DataType::Int32,
            Self::Int8 => DataType::Int64,
            Self::Numeric => DataType::LargeUtf8,
            Self::Float4 => DataType::Float32,
            Self::Float8 => DataType::Float64,
            Self::Bytea => DataType::Binary,
            Self::Date => DataType::Date32,
            Self::Time => DataType::Time64(TimeUnit::Microsecond),
            Self::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, None),
            Self::Timestamptz => DataType::Timestamp(TimeUnit::Microsecond, Some(zone.into())),
            Self::Interval => DataType::Interval(IntervalUnit::MonthDayNano),
            _ => DataType::Utf8,
        }
    }

    /// The name in a field's metadata, for what is text in Arrow and something else in PostgreSQL.
    pub(crate) fn tag(self) -> Option<&'static str> {
        match self {
            Self::Varchar => Some("character varying"),
            Self::Name => Some("name"),
            Self::Uuid => Some("uuid"),
            Self::Json => Some("json"),
            Self::Jsonb => Some("jsonb"),
            _ => None,
        }
    }
}

/// The kind of a column.
pub(crate) fn of_field(field: &Field) -> Kind {
    let metadata = field.metadata();
    if metadata.contains_key(OID_ALIAS) || metadata.contains_key(PG_CHAR) {
        return Kind::Internal;
    }
    match field.data_type() {
        DataType::Utf8 => match metadata.get(PG_TYPE) {
            Some(name) => of_text(name),
            None => Kind::Text,
        },
        other => of_arrow(other),
    }
}

/// Whether two columns are of one type, as far as it matters to what they have in common.
pub(crate) fn same(left: &Field, right: &Field) -> bool {
    of_field(left) == of_field(right)
}

/// What a text column with a declared type is.
fn of_text(declared: &str) -> Kind {
    match types::parse_type(declared).map(|(pg_type, _)| pg_type) {
        Some(Type::TEXT) => Kind::Text,
        Some(Type::VARCHAR) => Kind::Varchar,
        Some(Type::BPCHAR) => Kind::Bpchar,
        Some(Type::NAME) => Kind::Name,
        Some(Type::UUID) => Kind::Uuid,
        Some(Type::JSON) => Kind::Json,
        Some(Type::JSONB) => Kind::Jsonb,
        _ => Kind::Other,
    }
}

pub(crate) fn of_arrow(data_type: &DataType) -> Kind {
    match data_type {
        DataType::Null => Kind::Unknown,
        DataType::Boolean => Kind::Bool,
        DataType::Int16 => Kind::Int2,
        DataType::Int32 => Kind::Int4,
        DataType::Int64 | DataType::UInt64 => Kind::Int8,
        DataType::Float32 => Kind::Float4,
        DataType::Float64 => Kind::Float8,
        DataType::Decimal128(..) | DataType::Decimal256(..) | DataType::LargeUtf8 => Kind::Numeric,
        DataType::Utf8 => Kind::Text,
        DataType::Binary => Kind::Bytea,
        DataType::Date32 => Kind::Date,
        DataType::Time64(_) => Kind::Time,
        DataType::Timestamp(_, None) => Kind::Timestamp,
        DataType::Timestamp(_, Some(_)) => Kind::Timestamptz,
        DataType::Interval(_) | DataType::Duration(_) => Kind::Interval,
        DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(..) => Kind::Array,
        DataType::Struct(_) => Kind::Record,
        _ => Kind::Internal,
    }
}

/// An expression's kind, whose parts are resolved already.
pub(crate) fn of(expr: &Expr, schema: &DFSchema) -> Result<Kind> {
    match expr {
        Expr::Literal(ScalarValue::Utf8(_), None) | Expr::Literal(ScalarValue::Null, _) => Ok(Kind::Unknown),
        Expr::Alias(alias) => of(&alias.expr, schema),
        Expr::Placeholder(placeholder) => {
            Ok(placeholder.field.as_ref().map_or(Kind::Unknown, |field| of_field(field)))
        }
        Expr::ScalarSubquery(subquery) => match subquery.subquery.schema().fields().first() {
            Some(field) => Ok(of_field(field)),
            None => Err(Error::internal("a subquery without columns")),
        },
        other => {
            let (_, field) = other.to_field(schema).map_err(|e| errors::datafusion(&e))?;
            Ok(of_field(&field))
        }
    }
}

/// The Arrow type of an expression.
pub(crate) fn type_of(expr: &Expr, schema: &DFSchema) -> Result<DataType> {
    match expr {
        Expr::ScalarSubquery(subquery) => match subquery.subquery.schema().fields().first() {
            Some(field) => Ok(field.data_type().clone()),
            None => Err(Error::internal("a subquery without columns")),
        },
        other => other.get_type(schema).map_err(|e| errors::datafusion(&e)),
    }
}
