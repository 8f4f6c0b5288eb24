//! Tables for tests.

use std::sync::Arc;

use epoch_adapter::{BackendKind, Column, Location, TableDef, TableId, TableName, TableSchema};

use super::types;

/// A table of a SQLite backend from columns like `id bigint key` and `price numeric(10,2)`.
#[allow(clippy::unwrap_used)]
pub(crate) fn table(name: &str, columns: &[&str]) -> Arc<TableDef> {
    let key = columns.iter().enumerate().filter(|(_, c)| c.ends_with(" key")).map(|(i, _)| i).collect();
    let column = |text: &&str| {
        let text = text.trim_end_matches(" key");
        let (name, pg_type) = text.split_once(' ').unwrap();
        let (kind, modifier) = types::parse_type(pg_type).unwrap();
        let data_type = match types::arrow_of(&kind) {
            arrow::datatypes::DataType::Decimal128(..) => {
                let packed = modifier - 4;
                arrow::datatypes::DataType::Decimal128(
                    u8::try_from(packed >> 16).unwrap(),
                    i8::try_from(packed & 0x7ff).unwrap(),
                )
            }
            other => other,
        };
        Column {
            name: name.to_owned(),
            type_name: pg_type.to_owned(),
            pg_type: pg_type.to_owned(),
            data_type,
            nullable: true,
            generated: false,
            default: None,
            equality: None,
        }
    };
    Arc::new(TableDef::new(
        TableId(1),
        TableName::public(name),
        Location { kind: BackendKind::Sqlite, backend: "shop".into(), schema: None, table: name.into() },
        TableSchema { columns: columns.iter().map(column).collect(), key },
    ))
}
