//! Registered tables and the backends they live on.

use std::sync::Arc;

use super::args::Parsed;
use super::{Rows, Session, text};
use crate::Result;
use crate::operations::{DiscoveredTable, Registered, Right, Scope};

/// `epoch_register`.
pub(super) async fn register(session: &Session<'_>, args: &Parsed) -> Result<Rows> {
    let pattern = args.required("pattern")?;
    let location = args.text("location");
    let key = args.list("key");
    let key = (!key.is_empty()).then_some(key.as_slice());
    let triggers = match args.text("triggers").as_deref() {
        None => None,
        Some("on") => Some(true),
        Some("off") => Some(false),
        Some(_) => return Err(args.invalid("triggers of epoch_register is on or off")),
    };
    let made = match (args.flag("accept"), &location, key, triggers) {
        (false, _, _, None) => session.repository.register(&pattern, location.as_deref(), key).await?,
        (false, None, None, Some(on)) if session.repository.has_tables(&pattern) => {
            session.repository.run_triggers(&pattern, on).await?
        }
        (false, _, _, Some(on)) => {
            register_with_triggers(session, &pattern, location.as_deref(), key, on).await?
        }
        (true, None, None, None) => session.repository.accept(&pattern).await?,
        _ => return Err(args.invalid("--accept of epoch_register takes names of registered tables only")),
    };
    let row = |r: Registered| {
        vec![
            Some(r.table.name.to_string()),
            Some(r.table.location.to_string()),
            Some(text::array(&r.table.schema.key_names())),
            Some(r.rows_estimate.to_string()),
        ]
    };
    Ok(made.into_iter().map(row).collect())
}

/// Registers tables if their triggers can be had as they are wanted.
async fn register_with_triggers(
    session: &Session<'_>,
    pattern: &str,
    location: Option<&str>,
    key: Option<&[String]>,
    on: bool,
) -> Result<Vec<Registered>> {
    let made = session.repository.register(pattern, location, key).await?;
    for table in &made {
        if let Err(error) = session.repository.run_triggers(&table.table.name.to_string(), on).await {
            for table in &made {
                session.repository.unregister(&table.table.name.to_string(), true).await?;
            }
            return Err(error);
        }
    }
    Ok(made)
}

/// `epoch_triggers`.
pub(super) async fn triggers(session: &Session<'_>, args: &Parsed) -> Result<Rows> {
    let found = session.repository.user_triggers(args.text("table").as_deref()).await?;
    let row = |(table, trigger): (Arc<epoch_adapter::TableDef>, epoch_adapter::UserTrigger)| {
        vec![
            Some(table.name.to_string()),
            Some(trigger.name),
            Some(trigger.function),
            Some(text::boolean(trigger.on_branches)),
            trigger.reason,
        ]
    };
    Ok(found.into_iter().map(row).collect())
}

/// `epoch_unregister`.
pub(super) async fn unregister(session: &Session<'_>, args: &Parsed) -> Result<Rows> {
    let gone = session.repository.unregister(&args.required("table")?, args.flag("force")).await?;
    Ok(gone.into_iter().map(|u| vec![Some(u.table_name), Some(u.status)]).collect())
}

/// `epoch_discover`.
pub(super) async fn discover(session: &Session<'_>, args: &Parsed) -> Result<Rows> {
    let locations = match args.text("location") {
        Some(location) => vec![location],
        None => session.repository.backends().iter().map(|backend| backend.name().to_owned()).collect(),
    };
    let mut rows = Vec::new();
    for location in locations {
        let found = session.repository.discover(&location).await?;
        rows.extend(found.into_iter().map(discovered));
    }
    Ok(rows)
}

fn discovered(table: DiscoveredTable) -> Vec<Option<String>> {
    vec![
        Some(table.table_name),
        Some(table.location),
        Some(text::array(&table.key)),
        Some(text::boolean(table.registered)),
        table.reason,
    ]
}

/// `epoch.tables`.
pub(super) fn tables(session: &Session<'_>) -> Result<Rows> {
    let mut tables = session.repository.tables_on(session.checkout).sorted();
    tables.retain(|table| {
        session.repository.may(session.checkout, Right::Read, Scope::Table(&table.name)).is_ok()
    });
    let row = |table: &Arc<epoch_adapter::TableDef>| {
        let columns: Vec<&str> = table.schema.columns.iter().map(|c| c.name.as_str()).collect();
        vec![
            Some(table.name.to_string()),
            Some(table.location.home().to_string()),
            Some(text::array(&table.schema.key_names())),
            Some(text::array(&columns)),
        ]
    };
    Ok(tables.iter().map(row).collect())
}

/// `epoch.backends`. One that doesn't answer is a row, not an error.
pub(super) async fn backends(session: &Session<'_>) -> Result<Rows> {
    let tables = session.repository.tables();
    let mut rows = Vec::new();
    for backend in session.repository.backends() {
        let here = |t: &&Arc<epoch_adapter::TableDef>| t.location.backend == backend.name();
        let count = tables.by_id.values().filter(here).count();
        let mut row = vec![Some(backend.name().to_owned()), Some(backend.kind().to_string())];
        match backend.health().await {
            Ok(health) => row.extend([
                Some("up".to_owned()),
                Some(health.version),
                Some(health.connections.0.to_string()),
                Some(health.connections.1.to_string()),
                Some(count.to_string()),
                None,
            ]),
            Err(error) => row.extend([
                Some("down".to_owned()),
                None,
                None,
                None,
                Some(count.to_string()),
                Some(error.message().to_owned()),
            ]),
        }
        rows.push(row);
    }
    Ok(rows)
}
