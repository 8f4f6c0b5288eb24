//! Which rows of a view don't keep to what is declared of the table.

use std::collections::HashSet;
use std::sync::Arc;

use epoch_adapter::{Result, Row, Rule, Scan, TableDef, Value, View, Violation};
use epoch_layers::errors;
use futures::TryStreamExt;

use crate::apply::{key_name, twice};
use crate::check::{Check, broken, checks};
use crate::hub::Hub;
use crate::types::rows;

/// See [`epoch_adapter::Adapter::violations`].
pub(crate) async fn violations(
    hub: &Hub,
    table: &TableDef,
    view: &View,
    limit: usize,
) -> Result<Vec<Violation>> {
    let mut state = hub.state(table).await?;
    let seen = hub.see(&mut state, table, view).await?;
    let checks = checks(&hub.context, &table.schema, &seen.base.version)?;
    // What isn't NOT NULL in truth is what is looked for.
    let mut loose = table.clone();
    loose.schema.columns.iter_mut().for_each(|c| c.nullable = true);
    let mut stream = seen.scan(hub, &loose, &Scan::default()).await?;
    let (mut found, mut keys) = (Vec::new(), HashSet::new());
    while let Some(batch) = stream.try_next().await? {
        let all: Vec<Arc<Row>> = rows(&batch)?.into_iter().map(Arc::new).collect();
        for row in &all {
            found.extend(not_null(table, row));
            found.extend(unique(table, row, &mut keys));
        }
        for check in &checks {
            found.extend(of_check(hub, table, check, &all, limit).await?);
        }
        if found.len() >= limit {
            break;
        }
    }
    found.truncate(limit);
    Ok(found)
}

fn detail(error: &epoch_adapter::Error) -> String {
    error.detail().unwrap_or_default().to_owned()
}

fn not_null<'a>(table: &'a TableDef, row: &'a Row) -> impl Iterator<Item = Violation> + 'a {
    let columns = table.schema.columns.iter().enumerate();
    let null = columns.filter(move |(i, c)| !c.nullable && row.get(*i).is_none_or(Value::is_null));
    null.map(move |(_, column)| {
        let known = row.iter().cloned().map(Some).collect();
        Violation {
            rule: Rule::NotNull,
            constraint: column.name.clone(),
            key: table.schema.key_of(row),
            detail: detail(&errors::not_null(&table.name.name, &column.name, &known)),
        }
    })
}

fn unique(table: &TableDef, row: &Row, keys: &mut HashSet<Row>) -> Option<Violation> {
    let key = table.schema.key_of(row);
    if keys.insert(key.clone()) {
        return None;
    }
    let detail = detail(&twice(table, &key));
    Some(Violation { rule: Rule::Unique, constraint: key_name(table), key, detail })
}

async fn of_check(
    hub: &Hub,
    table: &TableDef,
    check: &Check,
    all: &[Arc<Row>],
    limit: usize,
) -> Result<Vec<Violation>> {
    let rows = broken(&hub.context, &table.schema, check, all, limit).await?;
    let violation = |row: Row| {
        let key = table.schema.key_of(&row);
        let known = row.into_iter().map(Some).collect();
        Violation {
            rule: Rule::Check,
            constraint: check.name.clone(),
            key,
            detail: detail(&errors::check(&table.name.name, &check.name, &known)),
        }
    };
    Ok(rows.into_iter().map(violation).collect())
}
