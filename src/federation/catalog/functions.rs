//! Functions about catalog objects, and `pg_proc` for our own functions.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int32Array, StringArray};
use arrow::datatypes::{DataType, Int64Type};
use datafusion::catalog::TableProvider;
use datafusion::logical_expr::{ScalarUDF, Volatility};
use epoch_adapter::{Error, Result};

use super::build::{Row, row, table};
use super::objects::{EPOCH, Objects, function_oid};
use super::system::{constraint_definition, index_definition};
use crate::federation::functions::Fixed;
use crate::federation::planner::Planner;
use crate::functions::{self, Function, Kind};

/// The function of this name, if it is about catalog objects.
pub(crate) fn find(planner: &Planner, name: &str) -> Option<Arc<ScalarUDF>> {
    let objects = || Objects::new(planner);
    match name {
        "pg_get_indexdef" => {
            let objects = objects();
            Some(of_oid(name, move |oid| objects.of_index(oid).map(index_definition)))
        }
        "pg_get_constraintdef" => {
            let objects = objects();
            Some(of_oid(name, move |oid| objects.of_index(oid).map(constraint_definition)))
        }
        "pg_get_userbyid" => {
            let user = planner.session.user.clone();
            Some(of_oid(name, move |_| Some(user.clone())))
        }
        "pg_get_function_result" => Some(of_oid(name, |oid| function(oid).map(Function::result_type))),
        "pg_get_function_arguments" | "pg_get_function_identity_arguments" => {
            Some(of_oid(name, |oid| function(oid).map(Function::argument_types)))
        }
        "regclassin" | "to_regclass" => Some(regclass(name, objects(), name == "to_regclass")),
        _ => None,
    }
}

/// A text about the object whose oid is the first argument.
fn of_oid(name: &str, text: impl Fn(i64) -> Option<String> + Send + Sync + 'static) -> Arc<ScalarUDF> {
    let body = move |arguments: &[ArrayRef], _: usize| {
        let [oids, ..] = arguments else { return Err(Error::internal("no arguments")) };
        let cell = |oid: Option<i64>| oid.and_then(&text);
        Ok(Arc::new(oids.as_primitive::<Int64Type>().iter().map(cell).collect::<StringArray>()) as ArrayRef)
    };
    let arguments = vec![DataType::Int64, DataType::Null, DataType::Null];
    Fixed::udf(name, arguments, 1, DataType::Utf8, Volatility::Stable, body)
}

fn regclass(name: &str, objects: Objects, missing_ok: bool) -> Arc<ScalarUDF> {
    let body = move |arguments: &[ArrayRef], _: usize| {
        let [names] = arguments else { return Err(Error::internal("no arguments")) };
        let cell = |text: Option<&str>| match text.map(|t| objects.find(t)) {
            None => Ok(None),
            Some(Ok(oid)) => Ok(i32::try_from(oid).ok()),
            Some(Err(_)) if missing_ok => Ok(None),
            Some(Err(error)) => Err(error),
        };
        let cells = names.as_string::<i32>().iter().map(cell);
        Ok(Arc::new(cells.collect::<Result<Int32Array>>()?) as ArrayRef)
    };
    Fixed::udf(name, vec![DataType::Utf8], 1, DataType::Int32, Volatility::Stable, body)
}

fn function(oid: i64) -> Option<&'static Function> {
    functions::catalog().iter().enumerate().find(|(index, _)| function_oid(*index) == oid).map(|(_, f)| f)
}

const PG_PROC: &str = "oid:oid proname:name pronamespace:oid proowner:oid=10 prolang:oid=12 procost:float4=1 \
    prorows:float4=0 provariadic:oid=0 prosupport:oid=0 prokind:char=f prosecdef:bool=f proleakproof:bool=f \
    proisstrict:bool=f proretset:bool=f provolatile:char=v proparallel:char=u pronargs:int2=0 pronargdefaults:int2=0 \
    prorettype:oid=2249 proargtypes:text= proallargtypes:text proargmodes:text proargnames:text[] proargdefaults:text \
    protrftypes:text prosrc:text probin:text prosqlbody:text proconfig:text[] proacl:text[]";

/// Our own functions. Those of PostgreSQL are not listed: most of them are not here.
pub(super) fn procedures() -> Result<Arc<dyn TableProvider>> {
    let one = |(index, f): (usize, &Function)| -> Row {
        row([
            ("oid", function_oid(index).to_string()),
            ("proname", f.name.to_owned()),
            ("pronamespace", EPOCH.to_string()),
            ("proretset", if f.kind == Kind::Scalar { "f" } else { "t" }.to_owned()),
            ("prosrc", f.summary.to_owned()),
        ])
    };
    let rows: Vec<_> = functions::catalog().iter().enumerate().map(one).collect();
    table(PG_PROC, &rows)
}
