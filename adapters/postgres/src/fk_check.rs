//! Whether the rows that a branch sees keep foreign keys: those that are new, and all after a merge.

use deadpool_postgres::Object;
use epoch_adapter::{At, Error, Layer, Result, TableDef, View, sqlstate};

use crate::foreign_keys::{self, ForeignKey, Parent};
use crate::layout::quote;
use crate::relation;
use crate::text::join;
use crate::tx::texts;
use crate::versions;

/// 23503 if a row that the layer shows has no parent there: of the keys of `table`, or of all that its versions take
/// part in. `which`: the keys to look at.
pub(crate) async fn verify(
    client: &Object,
    table: &TableDef,
    layer: Layer,
    which: impl Fn(&ForeignKey) -> bool,
) -> Result<()> {
    let family = versions::family(client, table.id).await?.unwrap_or(table.id.0);
    for key in foreign_keys::read(client, table, family).await? {
        if !key.validated || !which(&key) {
            continue;
        }
        let children = versions::all(client, key.child_family).await?;
        let child = versions::shown(client, layer, key.child_family, &children).await?;
        if child.is_none_or(|c| c.table.id != key.child.id) {
            continue;
        }
        let Some(parent_family) = key.parent_family else { continue };
        let parents = versions::all(client, parent_family).await?;
        let shown = versions::shown(client, layer, parent_family, &parents).await?;
        let parent = shown.and_then(|s| key.parents.iter().find(|p| p.table.id == s.table.id));
        let parent = parent.ok_or_else(|| without_parent(&key))?;
        rows(client, &key, parent, layer).await?;
    }
    Ok(())
}

fn without_parent(key: &ForeignKey) -> Error {
    let message =
        format!("foreign key \"{}\" of table \"{}\" has nothing to refer to", key.name, key.child.name);
    Error::new(sqlstate::OBJECT_NOT_IN_PREREQUISITE_STATE, message)
        .with_detail(format!("Table \"{}\" does not have its columns.", key.parent_name.1))
}

async fn rows(client: &Object, key: &ForeignKey, parent: &Parent, layer: Layer) -> Result<()> {
    let view = View { layer, at: At::Working };
    let given = |separator: &str| join(&key.columns, separator, |c| format!("c.{} IS NOT NULL", quote(c)));
    let mixed = join(&key.columns, " OR ", |c| format!("c.{} IS NULL", quote(c)));
    let exists = format!(
        "EXISTS (SELECT FROM {} p WHERE {})",
        relation::scanning(&parent.table, &view),
        key.joined(&parent.referenced, "p", "c")
    );
    let wrong = if key.full {
        format!("({}) AND (({mixed}) OR NOT {exists})", given(" OR "))
    } else {
        format!("{} AND NOT {exists}", given(" AND "))
    };
    let sql = format!(
        "SELECT {} FROM {} c WHERE {wrong} LIMIT 1",
        join(&key.columns, ", ", |c| format!("c.{}", quote(c))),
        relation::scanning(&key.child, &view)
    );
    let Some(values) = texts(client, &sql).await?.into_iter().next() else { return Ok(()) };
    let detail = if values.iter().any(Option::is_none) {
        "MATCH FULL does not allow mixing of null and nonnull key values.".to_owned()
    } else {
        format!(
            "Key ({})=({}) is not present in table \"{}\".",
            key.columns.join(", "),
            values.into_iter().flatten().collect::<Vec<_>>().join(", "),
            parent.table.location.table
        )
    };
    let message = format!(
        "insert or update on table \"{}\" violates foreign key constraint \"{}\"",
        key.child.location.table, key.name
    );
    Err(Error::new(sqlstate::FOREIGN_KEY_VIOLATION, message)
        .with_detail(detail)
        .with_schema(&key.child.name.schema)
        .with_table(&key.child.location.table)
        .with_constraint(&key.name))
}
