//! SET CONSTRAINTS on a branch: what the base's constraints are checked by there goes with them.

use epoch_adapter_postgres::layout::{literal, quote};

use super::names::Catalog;
use super::rewrite::Rewriter;
use crate::{Error, Result};

/// Adds the constraints and constraint triggers of overlays to a list of names. The list itself stays, for
/// what the server says of names that mean nothing or can't be deferred, and for temporary tables.
pub(super) async fn set(
    catalog: &mut dyn Catalog,
    rewriter: &mut Rewriter<'_>,
    names: &[(Option<String>, String)],
) -> Result<()> {
    if names.is_empty() {
        return Ok(());
    }
    let rows = catalog.query(&sql(names)).await?;
    let mut more = String::new();
    for row in &rows {
        if let [Some(schema), Some(name)] = row.as_slice() {
            more.push_str(&format!("{}.{}, ", quote(schema), quote(name)));
        }
    }
    if more.is_empty() {
        return Ok(());
    }
    // Before DEFERRED or IMMEDIATE.
    let tokens = &rewriter.parsed.tokens;
    let before_end = tokens.list.get(..tokens.at(rewriter.statement.range.end)).and_then(<[_]>::last);
    let last = before_end.ok_or_else(|| Error::internal("SET CONSTRAINTS without an end"))?.start;
    rewriter.edits.insert(last, format!(", {} ", more.trim_end_matches(", ")));
    Ok(())
}

/// The names, as the server finds them on the search path, and what stands for them in our schemas.
fn sql(names: &[(Option<String>, String)]) -> String {
    let text = |s: &Option<String>| s.as_deref().map_or_else(|| "NULL::text".to_owned(), literal);
    let values: Vec<String> =
        names.iter().map(|(schema, name)| format!("({}, {})", text(schema), literal(name))).collect();
    format!(
        "WITH n (schema, name) AS (VALUES {}), \
         k AS (SELECT k.oid, k.conname, k.contype, k.conindid, s.nspname, r.relname \
             FROM n JOIN pg_catalog.pg_constraint k ON k.conname = n.name AND k.condeferrable \
             JOIN pg_catalog.pg_namespace s ON s.oid = k.connamespace JOIN pg_catalog.pg_class r ON r.oid = k.conrelid \
             WHERE CASE WHEN n.schema IS NULL THEN pg_catalog.array_position(pg_catalog.current_schemas(true), s.nspname) = \
                 (SELECT min(pg_catalog.array_position(pg_catalog.current_schemas(true), s.nspname)) FROM pg_catalog.pg_constraint f \
                  JOIN pg_catalog.pg_namespace s ON s.oid = f.connamespace WHERE f.conname = n.name) \
                 ELSE s.nspname = n.schema END) \
         SELECT DISTINCT s.nspname, t.conname FROM k JOIN pg_catalog.pg_constraint t ON t.conname = ANY (CASE k.contype \
             WHEN 'f' THEN ARRAY['zz_epoch_fk' || k.oid || '_insert', 'zz_epoch_fk' || k.oid || '_update', \
                 'zz_epoch_ref' || k.oid || '_delete', 'zz_epoch_ref' || k.oid || '_update']::pg_catalog.name[] \
             ELSE ARRAY[k.conname, 'zz_epoch_1_u' || k.conindid || '_insert', 'zz_epoch_1_u' || k.conindid || '_update']::pg_catalog.name[] END) \
         JOIN pg_catalog.pg_namespace s ON s.oid = t.connamespace JOIN pg_catalog.pg_class r ON r.oid = t.conrelid \
         WHERE t.condeferrable AND s.nspname LIKE 'epoch\\_%' AND (t.contype = 't' OR (s.nspname = 'epoch_' || k.nspname AND r.relname = k.relname))",
        values.join(", ")
    )
}
