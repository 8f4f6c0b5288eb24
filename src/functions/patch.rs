//! `epoch_patch`: a difference as statements of the table's backend.

use epoch_adapter::{BackendKind, ChangeKind, Row, RowChange, TableDef, Value};
use futures::TryStreamExt;

use super::args::Parsed;
use super::{Rows, Session, diff};
use crate::operations::Defined;
use crate::{Error, Result};

/// `epoch_patch`: what makes `from` into `to`. Rows go before others change, and come last: so unique values
/// are free when they are taken.
pub(super) async fn patch(session: &Session<'_>, args: &Parsed) -> Result<Rows> {
    let range = diff::range(session, args).await?;
    let table = diff::table_of(args);
    let repository = session.repository;
    let stats = repository.diff_stat(session.checkout, &range.from, &range.to, table.as_deref()).await?;
    let mut statements: [Vec<(String, &'static str, String)>; 3] = Default::default();
    for stat in stats {
        let table = &stat.table;
        if stat.defined != Defined::Same {
            return Err(Error::unsupported("epoch_patch between refs that have different tables")
                .with_detail(format!("Table \"{}\" is on one side only.", table.name)));
        }
        let mut changes = repository.diff(session.checkout, &range.from, &range.to, table).await?;
        while let Some(change) = changes.try_next().await? {
            let kind = change.kind();
            let Some(statement) = statement(table, &change) else { continue };
            let [removed, modified, added] = &mut statements;
            let list = match kind {
                ChangeKind::Removed => removed,
                ChangeKind::Modified => modified,
                ChangeKind::Added => added,
            };
            list.push((table.name.to_string(), kind.as_str(), statement));
        }
    }
    let numbered = statements.into_iter().flatten().zip(1..);
    let row = |((table, kind, statement), order): ((String, &str, String), i64)| {
        vec![Some(order.to_string()), Some(table), Some(kind.to_owned()), Some(statement)]
    };
    Ok(numbered.map(row).collect())
}

/// `None` if only what the backend computes differs.
fn statement(table: &TableDef, change: &RowChange) -> Option<String> {
    let name = name(table);
    let columns = || table.schema.columns.iter().enumerate().filter(|(_, c)| !c.generated);
    let cell = |row: &Row, i: usize| row.get(i).map_or_else(|| "NULL".to_owned(), |v| literal(table, v));
    match (&change.before, &change.after) {
        (None, Some(row)) => {
            let names: Vec<_> = columns().map(|(_, c)| quote(&c.name)).collect();
            let values: Vec<_> = columns().map(|(i, _)| cell(row, i)).collect();
            Some(format!("INSERT INTO {name} ({}) VALUES ({});", names.join(", "), values.join(", ")))
        }
        (Some(before), Some(after)) => {
            let differ = columns().filter(|(i, _)| before.get(*i) != after.get(*i));
            let set: Vec<_> =
                differ.map(|(i, c)| format!("{} = {}", quote(&c.name), cell(after, i))).collect();
            let update =
                || format!("UPDATE {name} SET {} WHERE {};", set.join(", "), condition(table, &change.key));
            (!set.is_empty()).then(update)
        }
        (Some(_), None) => Some(format!("DELETE FROM {name} WHERE {};", condition(table, &change.key))),
        (None, None) => None,
    }
}

fn name(table: &TableDef) -> String {
    let home = table.location.home();
    match &home.schema {
        Some(schema) => format!("{}.{}", quote(schema), quote(&home.table)),
        None => quote(&home.table),
    }
}

fn condition(table: &TableDef, key: &Row) -> String {
    let one = |(column, value): (&epoch_adapter::Column, &Value)| {
        format!("{} = {}", quote(&column.name), literal(table, value))
    };
    table.schema.key_columns().zip(key).map(one).collect::<Vec<_>>().join(" AND ")
}

fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn literal(table: &TableDef, value: &Value) -> String {
    match value {
        Value::Null => "NULL".to_owned(),
        Value::Int(number) => number.to_string(),
        Value::Real(number) if number.is_infinite() => {
            if *number > 0.0 { "9e999" } else { "-9e999" }.to_owned()
        }
        // SQLite takes 1 for an integer.
        Value::Real(number) => format!("{number:?}"),
        Value::Text(text) if table.location.kind == BackendKind::PostgreSql && text.contains('\\') => {
            format!("E'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
        }
        Value::Text(text) => format!("'{}'", text.replace('\'', "''")),
        Value::Blob(bytes) => {
            let hex: String = bytes.iter().map(|b| format!("{b:02X}")).collect();
            format!("X'{hex}'")
        }
    }
}

#[cfg(test)]
mod tests {
    use epoch_adapter::{Column, TableId, TableName, TableSchema};

    use super::*;

    fn table(location: &str) -> Option<TableDef> {
        let column = |name: &str, generated| Column {
            name: name.to_owned(),
            type_name: "text".to_owned(),
            pg_type: "text".to_owned(),
            data_type: arrow::datatypes::DataType::Utf8,
            nullable: true,
            generated,
            default: None,
            equality: None,
        };
        Some(TableDef::new(
            TableId(1),
            TableName::public("t"),
            location.parse().ok()?,
            TableSchema {
                columns: vec![column("id", false), column("a\"b", false), column("g", true)],
                key: vec![0],
            },
        ))
    }

    fn row(a: Value) -> Option<Row> {
        Some(vec![Value::Int(1), a, Value::Int(7)])
    }

    fn of(location: &str, before: Option<Row>, after: Option<Row>) -> Option<String> {
        statement(&table(location)?, &RowChange { key: vec![Value::Int(1)], before, after })
    }

    #[test]
    fn statements_are_those_of_the_backend() {
        let text = |t: &str| row(Value::Text(t.to_owned()));
        let pg = "postgresql://main/sales.t";
        assert_eq!(
            of(pg, None, text("it's \\ so")).as_deref(),
            Some(r#"INSERT INTO "sales"."t" ("id", "a""b") VALUES (1, E'it''s \\ so');"#)
        );
        let lite = "sqlite://main/t";
        assert_eq!(
            of(lite, text("x"), row(Value::Blob(vec![10, 255]))).as_deref(),
            Some(r#"UPDATE "t" SET "a""b" = X'0AFF' WHERE "id" = 1;"#)
        );
        assert_eq!(
            of(lite, row(Value::Null), row(Value::Real(2.0))).as_deref(),
            Some(r#"UPDATE "t" SET "a""b" = 2.0 WHERE "id" = 1;"#)
        );
        assert_eq!(of(lite, text("x"), None).as_deref(), Some(r#"DELETE FROM "t" WHERE "id" = 1;"#));
        let computed = Some(vec![Value::Int(1), Value::Text("x".to_owned()), Value::Int(8)]);
        assert_eq!(of(lite, text("x"), computed), None);
    }
}
