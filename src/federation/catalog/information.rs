//! `information_schema`.

use std::sync::Arc;

use datafusion::catalog::TableProvider;
use epoch_adapter::Result;
use postgres_types::Type;

use super::build::{Row, row, table};
use super::objects::{Attribute, Objects, Relation};
use crate::federation::planner::Planner;
use crate::federation::types;

/// A view of `information_schema`.
pub(super) fn find(planner: &Planner, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
    let objects = Objects::new(planner);
    Ok(Some(match name {
        "tables" => table(TABLES, &tables(&objects))?,
        "columns" => table(COLUMNS, &columns(&objects))?,
        "schemata" => table(SCHEMATA, &schemata(&objects))?,
        "table_constraints" => table(TABLE_CONSTRAINTS, &constraints(&objects))?,
        "key_column_usage" => table(KEY_COLUMN_USAGE, &key_columns(&objects))?,
        "constraint_column_usage" => table(CONSTRAINT_COLUMN_USAGE, &key_columns(&objects))?,
        "views" => table(VIEWS, &views(&objects))?,
        "referential_constraints" => table(
            "constraint_catalog:name constraint_schema:name constraint_name:name unique_constraint_name:name",
            &[],
        )?,
        "routines" => table("routine_schema:name routine_name:name routine_type:text data_type:text", &[])?,
        "sequences" => table("sequence_schema:name sequence_name:name data_type:text", &[])?,
        "triggers" => table("trigger_schema:name trigger_name:name event_object_table:name", &[])?,
        "character_sets" => table("character_set_name:name=UTF8", &[])?,
        "information_schema_catalog_name" => {
            table("catalog_name:name", &[row([("catalog_name", objects.database.clone())])])?
        }
        _ => return Ok(None),
    }))
}

const TABLES: &str = "table_catalog:name table_schema:name table_name:name table_type:text \
    self_referencing_column_name:name reference_generation:text user_defined_type_catalog:name \
    user_defined_type_schema:name user_defined_type_name:name is_insertable_into:text is_typed:text=NO commit_action:text";

fn tables(objects: &Objects) -> Vec<Row> {
    let one = |r: &Relation| {
        row([
            ("table_catalog", objects.database.clone()),
            ("table_schema", r.schema.clone()),
            ("table_name", r.name.clone()),
            ("table_type", if r.view { "VIEW" } else { "BASE TABLE" }.to_owned()),
            ("is_insertable_into", if r.view { "NO" } else { "YES" }.to_owned()),
        ])
    };
    objects.relations.iter().map(one).collect()
}

const COLUMNS: &str = "table_catalog:name table_schema:name table_name:name column_name:name ordinal_position:int4 \
    column_default:text is_nullable:text data_type:text character_maximum_length:int4 character_octet_length:int4 \
    numeric_precision:int4 numeric_precision_radix:int4 numeric_scale:int4 datetime_precision:int4 interval_type:text \
    udt_catalog:name udt_schema:name=pg_catalog udt_name:name is_identity:text=NO is_generated:text is_updatable:text=YES";

fn columns(objects: &Objects) -> Vec<Row> {
    let of = |r: &Relation| {
        let one = |(index, a): (usize, &Attribute)| column(objects, r, index + 1, a);
        r.attributes.iter().enumerate().map(one).collect::<Vec<_>>()
    };
    objects.relations.iter().flat_map(of).collect()
}

fn column(objects: &Objects, r: &Relation, number: usize, a: &Attribute) -> Row {
    let is_array = matches!(a.pg_type.kind(), postgres_types::Kind::Array(_));
    let data_type = if is_array { "ARRAY".to_owned() } else { types::display_name(&a.pg_type) };
    let mut cells = row([
        ("table_catalog", objects.database.clone()),
        ("table_schema", r.schema.clone()),
        ("table_name", r.name.clone()),
        ("column_name", a.name.clone()),
        ("ordinal_position", number.to_string()),
        ("is_nullable", if a.not_null { "NO" } else { "YES" }.to_owned()),
        ("data_type", data_type),
        ("udt_catalog", objects.database.clone()),
        ("udt_name", a.pg_type.name().to_owned()),
        ("is_generated", if a.generated { "ALWAYS" } else { "NEVER" }.to_owned()),
    ]);
    if let Some(default) = &a.default {
        cells.insert("column_default", default.clone());
    }
    match a.pg_type {
        Type::VARCHAR | Type::BPCHAR if a.modifier >= 4 => {
            cells.insert("character_maximum_length", (a.modifier - 4).to_string());
        }
        Type::NUMERIC if a.modifier >= 4 => {
            cells.insert("numeric_precision", ((a.modifier - 4) >> 16).to_string());
            cells.insert("numeric_scale", ((a.modifier - 4) & 0x7ff).to_string());
            cells.insert("numeric_precision_radix", "10".to_owned());
        }
        Type::INT2 | Type::INT4 | Type::INT8 => {
            let bits = i32::from(types::type_length(&a.pg_type)) * 8;
            cells.insert("numeric_precision", bits.to_string());
            cells.insert("numeric_precision_radix", "2".to_owned());
            cells.insert("numeric_scale", "0".to_owned());
        }
        _ => {}
    }
    cells
}

const SCHEMATA: &str = "catalog_name:name schema_name:name schema_owner:name default_character_set_name:name";

fn schemata(objects: &Objects) -> Vec<Row> {
    let one = |(_, name): &(i64, String)| {
        row([
            ("catalog_name", objects.database.clone()),
            ("schema_name", name.clone()),
            ("schema_owner", objects.user.clone()),
        ])
    };
    objects.schemas.iter().map(one).collect()
}

const TABLE_CONSTRAINTS: &str = "constraint_catalog:name constraint_schema:name constraint_name:name \
    table_catalog:name table_schema:name table_name:name constraint_type:text is_deferrable:text=NO \
    initially_deferred:text=NO enforced:text=YES";

fn constraints(objects: &Objects) -> Vec<Row> {
    let one = |r: &Relation| {
        row([
            ("constraint_catalog", objects.database.clone()),
            ("constraint_schema", r.schema.clone()),
            ("constraint_name", r.index_name()),
            ("table_catalog", objects.database.clone()),
            ("table_schema", r.schema.clone()),
            ("table_name", r.name.clone()),
            ("constraint_type", "PRIMARY KEY".to_owned()),
        ])
    };
    objects.relations.iter().filter(|r| !r.key.is_empty()).map(one).collect()
}

const KEY_COLUMN_USAGE: &str = "constraint_catalog:name constraint_schema:name constraint_name:name \
    table_catalog:name table_schema:name table_name:name column_name:name ordinal_position:int4 \
    position_in_unique_constraint:int4";
const CONSTRAINT_COLUMN_USAGE: &str = "table_catalog:name table_schema:name table_name:name column_name:name \
    constraint_catalog:name constraint_schema:name constraint_name:name";

fn key_columns(objects: &Objects) -> Vec<Row> {
    let of = |r: &Relation| {
        let one = |(index, name): (usize, &str)| {
            row([
                ("constraint_catalog", objects.database.clone()),
                ("constraint_schema", r.schema.clone()),
                ("constraint_name", r.index_name()),
                ("table_catalog", objects.database.clone()),
                ("table_schema", r.schema.clone()),
                ("table_name", r.name.clone()),
                ("column_name", name.to_owned()),
                ("ordinal_position", (index + 1).to_string()),
            ])
        };
        r.key_names().into_iter().enumerate().map(one).collect::<Vec<_>>()
    };
    objects.relations.iter().flat_map(of).collect()
}

const VIEWS: &str = "table_catalog:name table_schema:name table_name:name view_definition:text";

fn views(objects: &Objects) -> Vec<Row> {
    let one = |r: &Relation| {
        row([
            ("table_catalog", objects.database.clone()),
            ("table_schema", r.schema.clone()),
            ("table_name", r.name.clone()),
        ])
    };
    objects.relations.iter().filter(|r| r.view).map(one).collect()
}
