//! Type names in casts.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, TimeUnit};
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::planner::TypePlanner;
use datafusion::sql::sqlparser::ast::{DataType as SqlType, TimezoneInfo};

use super::super::types::{OID_ALIAS, PG_TYPE};

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
            SqlType::Timestamp(_, TimezoneInfo::None | TimezoneInfo::WithoutTimeZone) => {
                Some(field(DataType::Timestamp(TimeUnit::Microsecond, None)))
            }
            SqlType::Timestamp(..) => {
                Some(field(DataType::Timestamp(TimeUnit::Microsecond, Some(self.zone.clone()))))
            }
            SqlType::Time(_, TimezoneInfo::None | TimezoneInfo::WithoutTimeZone) => {
                Some(field(DataType::Time64(TimeUnit::Microsecond)))
            }
            SqlType::JSON => Some(named("json")),
            SqlType::JSONB => Some(named("jsonb")),
            SqlType::Uuid => Some(named("uuid")),
            SqlType::Regclass => Some(oid("regclass")),
            SqlType::Custom(name, _) => {
                let last = name.0.last().and_then(|part| part.as_ident()).map(|i| i.value.to_lowercase());
                match last.as_deref() {
                    Some("name") => Some(named("name")),
                    Some("bpchar") => Some(field(DataType::Utf8)),
                    Some("text" | "varchar" | "citext" | "cstring") => Some(field(DataType::Utf8)),
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
