//! PostgreSQL types of Arrow columns.
//!
//! A column of a registered table carries the PostgreSQL type that its backend declares in its Arrow
//! field's metadata, and DataFusion hands metadata through projections; everything that is computed
//! gets the natural PostgreSQL type of its Arrow type.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use epoch_adapter::{Error, Result, TableDef, sqlstate};
use postgres_types::{Kind, Type};

/// Metadata key: the PostgreSQL type as the adapter names it, e.g. `numeric(10,2)`.
pub(crate) const PG_TYPE: &str = "epoch.pg_type";
/// Metadata key of catalog columns that hold oids as 32-bit integers; the value names the alias type.
pub(crate) const OID_ALIAS: &str = "pg.oid_alias";
/// Metadata key of catalog columns of PostgreSQL's one-byte type `"char"`.
pub(crate) const PG_CHAR: &str = "pg.char";

/// The Arrow schema of a registered table, with the PostgreSQL types in the fields' metadata.
pub(crate) fn table_schema(table: &TableDef, arrow: &Schema) -> SchemaRef {
    let fields = arrow.fields().iter().zip(&table.schema.columns).map(|(field, column)| {
        let metadata = HashMap::from([(PG_TYPE.to_owned(), column.pg_type.clone())]);
        Arc::new(field.as_ref().clone().with_metadata(metadata))
    });
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// The PostgreSQL type of a result column. 0A000 if there is no way to send it.
pub(crate) fn field_type(field: &Field) -> Result<Type> {
    let natural = arrow_type(field.data_type())?;
    let metadata = field.metadata();
    if metadata.contains_key(PG_CHAR) {
        return Ok(Type::CHAR);
    }
    if let Some(kind) = metadata.get(OID_ALIAS).filter(|_| natural == Type::INT4) {
        return Ok(parse_type(kind).map_or(Type::OID, |(t, _)| t));
    }
    let declared = metadata.get(PG_TYPE).and_then(|name| parse_type(name)).map(|(t, _)| t);
    Ok(declared.filter(|t| carries(&natural, t)).unwrap_or(natural))
}

/// Whether a value whose natural type is `natural` can be sent as `declared`.
pub(crate) fn carries(natural: &Type, declared: &Type) -> bool {
    if natural == declared {
        return true;
    }
    match *natural {
        Type::TEXT => matches!(
            *declared,
            Type::VARCHAR
                | Type::BPCHAR
                | Type::NAME
                | Type::JSON
                | Type::JSONB
                | Type::UUID
                | Type::NUMERIC
                | Type::XML
        ),
        _ => false,
    }
}

/// The PostgreSQL type that an Arrow type is sent as.
pub(crate) fn arrow_type(data_type: &DataType) -> Result<Type> {
    Ok(match data_type {
        DataType::Null => Type::TEXT,
        DataType::Boolean => Type::BOOL,
        DataType::Int8 | DataType::Int16 | DataType::UInt8 => Type::INT2,
        DataType::Int32 | DataType::UInt16 => Type::INT4,
        DataType::Int64 | DataType::UInt32 | DataType::UInt64 => Type::INT8,
        DataType::Decimal32(..) | DataType::Decimal64(..) => Type::NUMERIC,
        DataType::Decimal128(..) | DataType::Decimal256(..) => Type::NUMERIC,
        DataType::Float16 | DataType::Float32 => Type::FLOAT4,
        DataType::Float64 => Type::FLOAT8,
        // Numerics whose scale differs from value to value: nothing else is of this type.
        DataType::LargeUtf8 => Type::NUMERIC,
        DataType::Utf8 | DataType::Utf8View => Type::TEXT,
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => {
            Type::BYTEA
        }
        DataType::Date32 | DataType::Date64 => Type::DATE,
        DataType::Time32(_) | DataType::Time64(_) => Type::TIME,
        DataType::Timestamp(_, None) => Type::TIMESTAMP,
        DataType::Timestamp(_, Some(_)) => Type::TIMESTAMPTZ,
        DataType::Interval(_) | DataType::Duration(_) => Type::INTERVAL,
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            array_of(&arrow_type(item.data_type())?)?
        }
        DataType::Dictionary(_, value) => arrow_type(value)?,
        DataType::Struct(_) => Type::RECORD,
        other => return Err(Error::unsupported(format!("a result column of type {other}"))),
    })
}

/// The array type over an element type.
fn array_of(element: &Type) -> Result<Type> {
    const ARRAYS: [Type; 15] = [
        Type::TEXT_ARRAY,
        Type::INT2_ARRAY,
        Type::INT4_ARRAY,
        Type::INT8_ARRAY,
        Type::BOOL_ARRAY,
        Type::FLOAT4_ARRAY,
        Type::FLOAT8_ARRAY,
        Type::NUMERIC_ARRAY,
        Type::BYTEA_ARRAY,
        Type::DATE_ARRAY,
        Type::TIME_ARRAY,
        Type::TIMESTAMP_ARRAY,
        Type::TIMESTAMPTZ_ARRAY,
        Type::INTERVAL_ARRAY,
        Type::RECORD_ARRAY,
    ];
    let of = |array: &Type| matches!(array.kind(), Kind::Array(item) if item == element);
    match ARRAYS.into_iter().find(of) {
        Some(array) => Ok(array),
        // Nested lists are one array type in PostgreSQL, whatever their dimensions.
        None if matches!(element.kind(), Kind::Array(_)) => Ok(element.clone()),
        None => Err(Error::unsupported(format!("an array of {}", element.name()))),
    }
}

/// The Arrow type in which a parameter of this PostgreSQL type is bound; text for what DataFusion
/// has no type for.
pub(crate) fn arrow_of(pg_type: &Type) -> DataType {
    match *pg_type {
        Type::BOOL => DataType::Boolean,
        Type::INT2 => DataType::Int16,
        Type::INT4 => DataType::Int32,
        Type::INT8 | Type::OID => DataType::Int64,
        Type::FLOAT4 => DataType::Float32,
        Type::FLOAT8 => DataType::Float64,
        Type::NUMERIC => DataType::Decimal128(38, 10),
        Type::BYTEA => DataType::Binary,
        Type::DATE => DataType::Date32,
        Type::TIME => DataType::Time64(TimeUnit::Microsecond),
        Type::TIMESTAMP => DataType::Timestamp(TimeUnit::Microsecond, None),
        Type::TIMESTAMPTZ => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        Type::INTERVAL => DataType::Interval(arrow::datatypes::IntervalUnit::MonthDayNano),
        _ => match pg_type.kind() {
            Kind::Array(item) => DataType::List(Arc::new(Field::new("item", arrow_of(item), true))),
            _ => DataType::Utf8,
        },
    }
}

/// The type of an OID; 0A000 if it isn't one of PostgreSQL's own.
pub(crate) fn type_of_oid(oid: u32) -> Result<Type> {
    Type::from_oid(oid).ok_or_else(|| {
        Error::new(sqlstate::FEATURE_NOT_SUPPORTED, format!("parameter type with OID {oid} is not supported"))
    })
}

/// Reads a type as PostgreSQL prints it (`numeric(10,2)`, `character varying(20)`,
/// `timestamp(3) with time zone`, `integer[]`); the second part is the type modifier, -1 for none.
pub(crate) fn parse_type(text: &str) -> Option<(Type, i32)> {
    let text = text.trim().to_ascii_lowercase();
    if let Some(element) = text.strip_suffix("[]") {
        let (element, modifier) = parse_type(element)?;
        let array = array_of(&element).ok().or_else(|| named_array(&element))?;
        return Some((array, modifier));
    }
    let (name, arguments) = split_modifier(&text);
    let pg_type = match name.as_str() {
        "bool" | "boolean" => Type::BOOL,
        "smallint" | "int2" | "smallserial" => Type::INT2,
        "integer" | "int" | "int4" | "serial" => Type::INT4,
        "bigint" | "int8" | "bigserial" => Type::INT8,
        "real" | "float4" => Type::FLOAT4,
        "double precision" | "float8" | "float" => Type::FLOAT8,
        "numeric" | "decimal" => Type::NUMERIC,
        "text" => Type::TEXT,
        "character varying" | "varchar" => Type::VARCHAR,
        "character" | "char" | "bpchar" => Type::BPCHAR,
        "\"char\"" => Type::CHAR,
        "name" => Type::NAME,
        "bytea" => Type::BYTEA,
        "date" => Type::DATE,
        "time" | "time without time zone" => Type::TIME,
        "timetz" | "time with time zone" => Type::TIMETZ,
        "timestamp" | "timestamp without time zone" => Type::TIMESTAMP,
        "timestamptz" | "timestamp with time zone" => Type::TIMESTAMPTZ,
        "interval" => Type::INTERVAL,
        "uuid" => Type::UUID,
        "json" => Type::JSON,
        "jsonb" => Type::JSONB,
        "xml" => Type::XML,
        "inet" => Type::INET,
        "cidr" => Type::CIDR,
        "oid" => Type::OID,
        "regclass" => Type::REGCLASS,
        "regtype" => Type::REGTYPE,
        "regproc" => Type::REGPROC,
        "regnamespace" => Type::REGNAMESPACE,
        "regrole" => Type::REGROLE,
        _ => return None,
    };
    let modifier = modifier_of(&pg_type, &arguments);
    Some((pg_type, modifier))
}

fn named_array(element: &Type) -> Option<Type> {
    Some(match *element {
        Type::VARCHAR => Type::VARCHAR_ARRAY,
        Type::BPCHAR => Type::BPCHAR_ARRAY,
        Type::UUID => Type::UUID_ARRAY,
        Type::JSON => Type::JSON_ARRAY,
        Type::JSONB => Type::JSONB_ARRAY,
        _ => return None,
    })
}

/// `timestamp(3) with time zone` is `timestamp with time zone` with the argument 3.
fn split_modifier(text: &str) -> (String, Vec<i32>) {
    let Some((before, rest)) = text.split_once('(') else { return (text.to_owned(), Vec::new()) };
    let Some((inside, after)) = rest.split_once(')') else { return (text.to_owned(), Vec::new()) };
    let arguments = inside.split(',').filter_map(|a| a.trim().parse().ok()).collect();
    (format!("{}{after}", before.trim_end()), arguments)
}

/// PostgreSQL's packing of type arguments into `atttypmod`.
fn modifier_of(pg_type: &Type, arguments: &[i32]) -> i32 {
    match (pg_type, arguments) {
        (&Type::NUMERIC, [precision]) => (precision << 16) + 4,
        (&Type::NUMERIC, [precision, scale, ..]) => ((precision << 16) | (scale & 0x7ff)) + 4,
        (&Type::VARCHAR | &Type::BPCHAR, [length, ..]) => length + 4,
        (&Type::TIME | &Type::TIMETZ | &Type::TIMESTAMP | &Type::TIMESTAMPTZ, [precision, ..]) => *precision,
        _ => -1,
    }
}

/// How PostgreSQL's messages name a type, e.g. `integer`.
pub(crate) fn display_name(pg_type: &Type) -> String {
    match *pg_type {
        Type::BOOL => "boolean",
        Type::INT2 => "smallint",
        Type::INT4 => "integer",
        Type::INT8 => "bigint",
        Type::FLOAT4 => "real",
        Type::FLOAT8 => "double precision",
        Type::VARCHAR => "character varying",
        Type::BPCHAR => "character",
        Type::TIME => "time without time zone",
        Type::TIMETZ => "time with time zone",
        Type::TIMESTAMP => "timestamp without time zone",
        Type::TIMESTAMPTZ => "timestamp with time zone",
        _ => match pg_type.kind() {
            Kind::Array(item) => return format!("{}[]", display_name(item)),
            _ => pg_type.name(),
        },
    }
    .to_owned()
}

/// Bytes of the type's values on the wire, -1 where they vary: `pg_type.typlen`.
pub(crate) fn type_length(pg_type: &Type) -> i16 {
    match *pg_type {
        Type::BOOL | Type::CHAR => 1,
        Type::INT2 => 2,
        Type::INT4 | Type::FLOAT4 | Type::DATE | Type::OID => 4,
        Type::REGCLASS | Type::REGTYPE | Type::REGPROC | Type::REGNAMESPACE | Type::REGROLE => 4,
        Type::INT8 | Type::FLOAT8 | Type::TIME | Type::TIMESTAMP | Type::TIMESTAMPTZ => 8,
        Type::UUID | Type::INTERVAL => 16,
        Type::NAME => 64,
        _ => -1,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn types_are_read_as_postgresql_prints_them() {
        assert_eq!(parse_type("numeric(10,2)").unwrap(), (Type::NUMERIC, 655_366));
        assert_eq!(parse_type("character varying(20)").unwrap(), (Type::VARCHAR, 24));
        assert_eq!(parse_type("timestamp(3) with time zone").unwrap(), (Type::TIMESTAMPTZ, 3));
        assert_eq!(parse_type("Integer[]").unwrap(), (Type::INT4_ARRAY, -1));
        assert_eq!(parse_type("varchar[]").unwrap(), (Type::VARCHAR_ARRAY, -1));
        assert_eq!(parse_type("tsvector"), None);
    }

    #[test]
    fn a_declared_type_counts_only_where_the_values_fit_it() {
        let field = |arrow, name: &str| {
            Field::new("x", arrow, true).with_metadata(HashMap::from([(PG_TYPE.to_owned(), name.to_owned())]))
        };
        assert_eq!(field_type(&field(DataType::Utf8, "varchar(3)")).unwrap(), Type::VARCHAR);
        assert_eq!(field_type(&field(DataType::Utf8View, "uuid")).unwrap(), Type::UUID);
        assert_eq!(field_type(&field(DataType::Int64, "uuid")).unwrap(), Type::INT8);
        assert_eq!(field_type(&field(DataType::Utf8, "tsvector")).unwrap(), Type::TEXT);
    }
}
