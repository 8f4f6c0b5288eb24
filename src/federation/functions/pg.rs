//! PostgreSQL's functions about the session and its catalogs.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, ListBuilder, StringArray, StringBuilder};
use arrow::datatypes::{DataType, Field, Int64Type};
use chrono::{DateTime, Utc};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::{ScalarUDF, Volatility};
use epoch_adapter::{Error, Result};

use super::super::planner::Planner;
use super::super::{catalog, convert, relations, settings, types};
use super::scalar::{Fixed, text_result};

/// The function of this name, if it is one of ours.
pub(crate) fn find(planner: &Planner, name: &str) -> Option<Arc<ScalarUDF>> {
    if relations::is_known(name) {
        return Some(refused(name, "a function of the repository in an expression"));
    }
    catalog::function(planner, name)
        .or_else(|| about_session(planner, name))
        .or_else(|| about_objects(name))
        .or_else(|| about_text(name))
}

fn constant(name: &str, value: impl Into<ScalarValue>) -> Option<Arc<ScalarUDF>> {
    Some(Fixed::constant(name, 0, Volatility::Stable, value.into()))
}

fn moment(at: DateTime<Utc>) -> ScalarValue {
    ScalarValue::TimestampMicrosecond(Some(at.timestamp_micros()), Some("UTC".into()))
}

fn about_session(planner: &Planner, name: &str) -> Option<Arc<ScalarUDF>> {
    let info = &planner.session;
    match name {
        "version" => constant(name, version().as_str()),
        "current_database" | "current_catalog" => constant(name, info.database.as_str()),
        "current_user" | "session_user" | "user" | "current_role" => constant(name, info.user.as_str()),
        "pg_backend_pid" => constant(name, info.pid),
        "current_schema" => constant(name, first_schema(planner).as_deref()),
        "now" | "transaction_timestamp" | "statement_timestamp" | "current_timestamp" => {
            constant(name, moment(info.started))
        }
        "localtimestamp" => constant(name, ScalarValue::TimestampMicrosecond(Some(info.local().ok()?), None)),
        "current_date" => {
            let days = i32::try_from(info.local().ok()?.div_euclid(86_400_000_000)).ok()?;
            constant(name, ScalarValue::Date32(Some(days)))
        }
        "clock_timestamp" => {
            let body = |_: &[ArrayRef], rows: usize| {
                moment(Utc::now()).to_array_of_size(rows).map_err(|e| super::super::errors::datafusion(&e))
            };
            Some(Fixed::udf(name, vec![], 0, moment(Utc::now()).data_type(), Volatility::Volatile, body))
        }
        "pg_is_in_recovery" | "pg_is_other_temp_schema" => constant(name, false),
        "pg_my_temp_schema" => constant(name, 0_i32),
        "txid_current" => constant(name, info.started.timestamp_micros()),
        "inet_server_addr" | "inet_client_addr" => constant(name, None::<&str>),
        "inet_server_port" | "inet_client_port" => constant(name, None::<i32>),
        "pg_postmaster_start_time" | "pg_conf_load_time" => constant(name, moment(info.started)),
        "current_schemas" => Some(current_schemas(planner)),
        "current_setting" => Some(current_setting(planner)),
        _ => None,
    }
}

/// What `SELECT version()` says.
pub(crate) fn version() -> String {
    format!("PostgreSQL {} (Horizon Epoch {})", settings::SERVER_VERSION, env!("CARGO_PKG_VERSION"))
}

fn first_schema(planner: &Planner) -> Option<String> {
    planner.session.search_path.iter().find(|s| *s != &planner.session.user).cloned()
}

fn current_schemas(planner: &Planner) -> Arc<ScalarUDF> {
    let path: Vec<_> =
        planner.session.search_path.iter().filter(|s| **s != planner.session.user).cloned().collect();
    let result = DataType::List(Arc::new(Field::new("item", DataType::Utf8, true)));
    let body = move |arguments: &[ArrayRef], rows: usize| {
        let mut lists = ListBuilder::new(StringBuilder::new());
        for row in 0..rows {
            if arguments.first().is_some_and(|a| a.as_boolean().value(row)) {
                lists.values().append_value("pg_catalog");
            }
            path.iter().for_each(|schema| lists.values().append_value(schema));
            lists.append(true);
        }
        Ok(Arc::new(lists.finish()) as ArrayRef)
    };
    Fixed::udf("current_schemas", vec![DataType::Boolean], 1, result, Volatility::Stable, body)
}

fn current_setting(planner: &Planner) -> Arc<ScalarUDF> {
    let settings = planner.session.settings.clone();
    let body = move |arguments: &[ArrayRef], rows: usize| {
        let [names, missing_ok @ ..] = arguments else { return Err(Error::internal("no arguments")) };
        let names = names.as_string::<i32>();
        let value = |row: usize| {
            let Some(name) = names.iter().nth(row).flatten() else { return Ok(None) };
            let missing_ok = missing_ok.first().is_some_and(|m| m.as_boolean().value(row));
            match settings.show(&name.to_lowercase()) {
                Ok(value) => Ok(Some(value)),
                Err(_) if missing_ok => Ok(None),
                Err(error) => Err(error),
            }
        };
        Ok(Arc::new((0..rows).map(value).collect::<Result<StringArray>>()?) as ArrayRef)
    };
    let arguments = vec![DataType::Utf8, DataType::Boolean];
    Fixed::udf("current_setting", arguments, 1, DataType::Utf8, Volatility::Stable, body)
}

/// Functions about catalog objects that don't depend on which there are.
fn about_objects(name: &str) -> Option<Arc<ScalarUDF>> {
    let always = |arguments: usize, value: ScalarValue| {
        Some(Fixed::constant(name, arguments, Volatility::Stable, value))
    };
    let yes = || ScalarValue::Boolean(Some(true));
    let null = || ScalarValue::Utf8(None);
    match name {
        "pg_table_is_visible"
        | "pg_type_is_visible"
        | "pg_function_is_visible"
        | "pg_operator_is_visible" => always(1, yes()),
        "pg_collation_is_visible" | "pg_opclass_is_visible" | "pg_ts_config_is_visible" => always(1, yes()),
        "has_table_privilege" | "has_schema_privilege" | "has_database_privilege" => always(3, yes()),
        "has_any_column_privilege" | "has_function_privilege" | "has_sequence_privilege" => always(3, yes()),
        "has_column_privilege" => always(4, yes()),
        "pg_relation_is_publishable" => always(1, ScalarValue::Boolean(Some(false))),
        "obj_description" | "shobj_description" | "col_description" => always(2, null()),
        "pg_get_statisticsobjdef_columns" | "pg_get_partkeydef" => always(1, null()),
        "pg_get_viewdef" | "pg_get_ruledef" | "pg_get_triggerdef" | "pg_get_functiondef" => always(2, null()),
        "pg_get_serial_sequence" => always(2, null()),
        "pg_get_expr" => Some(first_text(name, 3)),
        "pg_encoding_to_char" => always(1, ScalarValue::from("UTF8")),
        "pg_relation_size"
        | "pg_total_relation_size"
        | "pg_table_size"
        | "pg_indexes_size"
        | "pg_database_size" => always(2, ScalarValue::Int64(Some(0))),
        "pg_stat_get_numscans" => always(1, ScalarValue::Int64(Some(0))),
        "format_type" => Some(format_type()),
        _ => None,
    }
}

/// The first argument as text: expressions are kept in their printed form.
fn first_text(name: &str, arguments: usize) -> Arc<ScalarUDF> {
    let body = |arguments: &[ArrayRef], rows: usize| {
        let [first, ..] = arguments else { return Err(Error::internal("no arguments")) };
        text_result(std::slice::from_ref(first), rows, |cells| cells.first()?.map(str::to_owned))
    };
    Fixed::udf(name, vec![DataType::Null; arguments], 1, DataType::Utf8, Volatility::Stable, body)
}

fn format_type() -> Arc<ScalarUDF> {
    let body = |arguments: &[ArrayRef], rows: usize| {
        let [oids, modifiers @ ..] = arguments else { return Err(Error::internal("no arguments")) };
        let oids = oids.as_primitive::<Int64Type>();
        let modifiers = modifiers.first().map(|m| m.as_primitive::<Int64Type>());
        let cell = |row: usize| {
            let oid = oids.iter().nth(row).flatten()?;
            let modifier = modifiers.and_then(|m| m.iter().nth(row).flatten()).unwrap_or(-1);
            Some(type_text(oid, modifier))
        };
        Ok(Arc::new((0..rows).map(cell).collect::<StringArray>()) as ArrayRef)
    };
    let arguments = vec![DataType::Int64, DataType::Int64];
    Fixed::udf("format_type", arguments, 1, DataType::Utf8, Volatility::Stable, body)
}

/// A type by OID and modifier, as `format_type` prints it.
fn type_text(oid: i64, modifier: i64) -> String {
    use postgres_types::Type;
    let Some(pg_type) = u32::try_from(oid).ok().and_then(Type::from_oid) else {
        return if oid == 0 { "-".to_owned() } else { "???".to_owned() };
    };
    let name = types::display_name(&pg_type);
    if modifier < 0 {
        return name;
    }
    match pg_type {
        Type::NUMERIC => format!("{name}({},{})", (modifier - 4) >> 16, (modifier - 4) & 0x7ff),
        Type::VARCHAR | Type::BPCHAR => format!("{name}({})", modifier - 4),
        Type::TIMESTAMP | Type::TIMESTAMPTZ | Type::TIME | Type::TIMETZ => match name.split_once(' ') {
            Some((first, rest)) => format!("{first}({modifier}) {rest}"),
            None => name,
        },
        _ => name,
    }
}

fn about_text(name: &str) -> Option<Arc<ScalarUDF>> {
    let text = |least, body: fn(&[Option<&str>]) -> Option<String>| {
        let body = move |arguments: &[ArrayRef], rows: usize| text_result(arguments, rows, body);
        Some(Fixed::udf(name, vec![DataType::Null], least, DataType::Utf8, Volatility::Immutable, body))
    };
    match name {
        "quote_ident" => text(1, |cells| cells.first()?.map(quote_ident)),
        "quote_literal" => text(1, |cells| cells.first()?.map(quote_literal)),
        "quote_nullable" => {
            text(1, |cells| Some(cells.first()?.map_or_else(|| "NULL".to_owned(), quote_literal)))
        }
        "pg_size_pretty" => text(1, |cells| cells.first()?.and_then(|c| c.parse().ok()).map(size_pretty)),
        "gen_random_uuid" => {
            let body = |_: &[ArrayRef], rows: usize| {
                let uuids = (0..rows).map(|_| Some(uuid::Uuid::new_v4().to_string()));
                Ok(Arc::new(uuids.collect::<StringArray>()) as ArrayRef)
            };
            Some(Fixed::udf(name, vec![], 0, DataType::Utf8, Volatility::Volatile, body))
        }
        "byteain" => Some(bytea_in()),
        "pg_sleep" => Some(refused(name, "pg_sleep")),
        "pg_advisory_lock" | "pg_advisory_xact_lock" | "pg_try_advisory_lock" | "pg_advisory_unlock" => {
            Some(refused(name, "an advisory lock"))
        }
        "nextval" | "currval" | "setval" | "lastval" => Some(refused(name, "a sequence")),
        _ => None,
    }
}

/// PostgreSQL's text input of `bytea`; a cast in DataFusion would take the text's own bytes.
fn bytea_in() -> Arc<ScalarUDF> {
    let body = |arguments: &[ArrayRef], _: usize| {
        let [text] = arguments else { return Err(Error::internal("no arguments")) };
        convert::cast_array(text, &DataType::Binary)
    };
    Fixed::udf("byteain", vec![DataType::Utf8], 1, DataType::Binary, Volatility::Immutable, body)
}

/// A function that clients know and that can't be honoured here: refused, never ignored.
fn refused(name: &str, what: &'static str) -> Arc<ScalarUDF> {
    let body = move |_: &[ArrayRef], _: usize| {
        Err(Error::unsupported(format!("{what} in a session without a PostgreSQL backend")))
    };
    Fixed::udf(name, vec![DataType::Null; 3], 0, DataType::Int64, Volatility::Volatile, body)
}

/// Quoted if it must be.
pub(crate) fn quote_ident(name: &str) -> String {
    let plain = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    if plain { name.to_owned() } else { format!("\"{}\"", name.replace('"', "\"\"")) }
}

fn quote_literal(text: &str) -> String {
    let quoted = text.replace('\'', "''");
    if text.contains('\\') { format!("E'{}'", quoted.replace('\\', "\\\\")) } else { format!("'{quoted}'") }
}

fn size_pretty(bytes: i64) -> String {
    let mut size = bytes;
    for unit in ["bytes", "kB", "MB", "GB"] {
        if size.abs() < 10240 {
            return format!("{size} {unit}");
        }
        size /= 1024;
    }
    format!("{size} TB")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_printed_with_their_modifiers() {
        assert_eq!(type_text(1700, 655_366), "numeric(10,2)");
        assert_eq!(type_text(1043, 24), "character varying(20)");
        assert_eq!(type_text(1184, 3), "timestamp(3) with time zone");
        assert_eq!(type_text(1007, -1), "integer[]");
        assert_eq!(type_text(0, -1), "-");
    }

    #[test]
    fn quoting() {
        assert_eq!(quote_ident("users"), "users");
        assert_eq!(quote_ident("Users"), "\"Users\"");
        assert_eq!(quote_literal("it's \\"), "E'it''s \\\\'");
        assert_eq!(size_pretty(20480), "20 kB");
    }
}
