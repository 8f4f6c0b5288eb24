//! Type names in casts.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, IntervalUnit, TimeUnit};
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::planner::TypePlanner;
use datafusion::sql::sqlparser::ast::{CharacterLength, DataType as SqlType, ExactNumberInfo, TimezoneInfo};
use epoch_adapter::{Error, sqlstate};

use super::super::types::{OID_ALIAS, PG_TYPE};
use super::super::{errors, types};

/// PostgreSQL's types that DataFusion has no name for, or another width.
#[derive(Debug)]
pub(crate) struct PgTypes {
    /// The session's zone: moments without an offset are read in it.
    pub(crate) zone: Arc<str>,
}

impl TypePlanner for PgTypes {
    fn plan_type_field(&self, sql_type: &SqlType) -> DfResult<Option<FieldRef>> {
        let field = |data_type: DataType| Arc::new(Field::new("cast", data_type, true));
        let named = |name: &str| {
            let metadata = HashMap::from([(PG_TYPE.to_owned(), name.to_owned())]);
            Arc::new(Field::new("cast", DataType::Utf8, true).with_metadata(metadata))
        };
        Ok(match sql_type {
            SqlType::Timestamp(Some(precision), _) | SqlType::Time(Some(precision), _) if *precision < 6 => {
                return Err(refused(format!("a precision of {precision} digits of seconds")));
            }
            SqlType::Time(_, TimezoneInfo::Tz | TimezoneInfo::WithTimeZone) => {
                return Err(refused("time with time zone".to_owned()));
            }
            SqlType::Timestamp(_, TimezoneInfo::None | TimezoneInfo::WithoutTimeZone) => {
                Some(field(DataType::Timestamp(TimeUnit::Microsecond, None)))
            }
            SqlType::Timestamp(..) => {
                Some(field(DataType::Timestamp(TimeUnit::Microsecond, Some(self.zone.clone()))))
            }
            SqlType::Time(_, TimezoneInfo::None | TimezoneInfo::WithoutTimeZone) => {
                Some(field(DataType::Time64(TimeUnit::Microsecond)))
            }
            SqlType::Numeric(info) | SqlType::Decimal(info) | SqlType::Dec(info) => {
                Some(field(numeric(info)?))
            }
            SqlType::Float(ExactNumberInfo::Precision(1..=24)) => Some(field(DataType::Float32)),
            SqlType::Float(_) => Some(field(DataType::Float64)),
            SqlType::Varchar(length) | SqlType::CharVarying(length) | SqlType::CharacterVarying(length) => {
                Some(named(&lengthy("character varying", length.as_ref())?))
            }
            SqlType::Char(length) | SqlType::Character(length) => {
                Some(named(&lengthy("character", length.as_ref())?))
            }
            SqlType::DoublePrecision | SqlType::Float8 => Some(field(DataType::Float64)),
            SqlType::Text => Some(field(DataType::Utf8)),
            SqlType::Interval { .. } => Some(field(DataType::Interval(IntervalUnit::MonthDayNano))),
            SqlType::JSON => Some(named("json")),
            SqlType::JSONB => Some(named("jsonb")),
            SqlType::Uuid => Some(named("uuid")),
            SqlType::Regclass => Some(oid("regclass")),
            SqlType::Custom(name, _) => {
                let last = name.0.last().and_then(|part| part.as_ident()).map(|i| i.value.to_lowercase());
                match last.as_deref() {
                    Some("name") => Some(named("name")),
                    Some("bpchar") => Some(named("bpchar")),
                    Some("varchar") => Some(named("character varying")),
                    Some("text" | "citext" | "cstring") => Some(field(DataType::Utf8)),
                    Some("json") => Some(named("json")),
                    Some("jsonb") => Some(named("jsonb")),
                    Some("uuid") => Some(named("uuid")),
                    Some("int2") => Some(field(DataType::Int16)),
                    Some("int4") => Some(field(DataType::Int32)),
                    Some("int8") => Some(field(DataType::Int64)),
                    Some("float4") => Some(field(DataType::Float32)),
                    Some("float8") => Some(field(DataType::Float64)),
                    Some("bool") => Some(field(DataType::Boolean)),
                    Some("bytea") => Some(field(DataType::Binary)),
                    Some("timestamptz") => {
                        Some(field(DataType::Timestamp(TimeUnit::Microsecond, Some(self.zone.clone()))))
                    }
                    Some("char") => Some(field(DataType::Utf8)),
                    Some("oid" | "xid" | "cid") => Some(oid("oid")),
                    Some(alias @ ("regclass" | "regtype" | "regproc" | "regnamespace" | "regrole")) => {
                        Some(oid(alias))
                    }
                    Some(unknown) if name.0.len() == 1 => return Err(unknown_type(unknown)),
                    _ => None,
                }
            }
            _ => None,
        })
    }
}

fn oid(alias: &str) -> FieldRef {
    let metadata = HashMap::from([(OID_ALIAS.to_owned(), alias.to_owned())]);
    Arc::new(Field::new("cast", DataType::Int32, true).with_metadata(metadata))
}

fn refused(what: String) -> datafusion::error::DataFusionError {
    errors::wrap(Error::unsupported(format!("{what} on tables that are not in PostgreSQL")))
}

/// `numeric` alone keeps the digits of each value; see `semantics::number`.
fn numeric(info: &ExactNumberInfo) -> DfResult<DataType> {
    let (precision, scale) = match info {
        ExactNumberInfo::None => return Ok(DataType::LargeUtf8),
        ExactNumberInfo::Precision(precision) => (*precision, 0),
        ExactNumberInfo::PrecisionAndScale(precision, scale) => (*precision, *scale),
    };
    let out_of_range = || {
        let message = format!("NUMERIC precision {precision} must be between 1 and 1000");
        errors::wrap(Error::new("22023", message))
    };
    match (u8::try_from(precision), i8::try_from(scale)) {
        (Ok(1..=38), Ok(0..)) if scale.unsigned_abs() <= precision => {
            Ok(DataType::Decimal128(u8::try_from(precision).unwrap_or(38), i8::try_from(scale).unwrap_or(0)))
        }
        (Ok(39..=76), Ok(0..)) if scale.unsigned_abs() <= precision => {
            Ok(DataType::Decimal256(u8::try_from(precision).unwrap_or(76), i8::try_from(scale).unwrap_or(0)))
        }
        _ if !(1..=1000).contains(&precision) => Err(out_of_range()),
        _ => Err(refused(format!("numeric({precision},{scale})"))),
    }
}

/// `character varying(20)`
fn lengthy(name: &str, length: Option<&CharacterLength>) -> DfResult<String> {
    match length {
        None if name == "character" => Ok("character(1)".to_owned()),
        None => Ok(name.to_owned()),
        Some(CharacterLength::IntegerLength { length, unit: None }) => Ok(format!("{name}({length})")),
        Some(other) => Err(refused(format!("{name}({other})"))),
    }
}

/// A type that only PostgreSQL has, or nobody.
fn unknown_type(name: &str) -> datafusion::error::DataFusionError {
    match types::parse_type(name) {
        Some(_) => refused(format!("type {name}")),
        None => {
            errors::wrap(Error::new(sqlstate::UNDEFINED_OBJECT, format!("type \"{name}\" does not exist")))
        }
    }
}
