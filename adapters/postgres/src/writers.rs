//! Who wrote to main's tables, and when: the first trigger of ours in a transaction notes it, unless the transaction is one
//! of ours. (Of clients of the proxy, too: on main it sends the server nothing of its own that would tell them from others.)
//! Notes are for what isn't committed yet, and no part of history.

use std::sync::Arc;

use deadpool_postgres::Object;
use epoch_adapter::{Error, Ordinal, Result, TableDef, Writers, sqlstate};

use crate::error::pg;
use crate::layout::{PENDING, history};
use crate::tx::{Tx, is_true, texts};

/// The table of notes. Databases that were prepared before there were any get it with the next registration.
pub(crate) const WRITERS_SQL: &str =
    "CREATE TABLE IF NOT EXISTS epoch.writer (xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
    at timestamptz NOT NULL DEFAULT clock_timestamp(), role text NOT NULL DEFAULT session_user);";

/// What the functions of main's triggers do first. The setting is the transaction's, or all the session's if it is ours.
/// (A condition is evaluated by itself, PERFORM as a query.)
pub(crate) const NOTE_SQL: &str =
    "IF (CASE WHEN coalesce(pg_catalog.current_setting('epoch.known', true), '') OPERATOR(pg_catalog.=) ''
        THEN pg_catalog.set_config('epoch.known', 'on', true) IS NOT NULL END) THEN
        INSERT INTO epoch.writer DEFAULT VALUES;
    END IF;";

/// [`NOTE_SQL`] where it is known that nothing is noted.
pub(crate) const NOTE_FIRST_SQL: &str = "INSERT INTO epoch.writer DEFAULT VALUES;
        IF pg_catalog.set_config('epoch.known', 'on', true) IS NULL THEN END IF;";

/// Commits between two times that notes nobody needs are removed.
const EVERY: Ordinal = 16;

/// See [`epoch_adapter::Adapter::writers`].
pub(crate) async fn writers(client: &Object, tables: &[Arc<TableDef>]) -> Result<Vec<Writers>> {
    if !is_true(client, "SELECT to_regclass('epoch.writer') IS NOT NULL").await? {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    for table in tables {
        let sql = format!(
            "SELECT (extract(epoch FROM min(w.at)) * 1000000)::int8, (extract(epoch FROM max(w.at)) * 1000000)::int8, \
             json_agg(DISTINCT w.role)::text FROM epoch.writer w WHERE EXISTS (SELECT FROM {} h \
             WHERE h.epoch_lineage = 1 AND h.epoch_to = {PENDING} AND h.epoch_seq >= '0/0' AND h.epoch_xid = w.xid)",
            history(table)
        );
        let rows = texts(client, &sql).await?;
        let Some([Some(first), Some(last), Some(roles)]) = rows.first().map(Vec::as_slice) else { continue };
        let corrupt = |_| Error::new(sqlstate::DATA_CORRUPTED, "epoch.writer cannot be read");
        found.push(Writers {
            table: table.id,
            first: first.parse().map_err(|_| corrupt(()))?,
            last: last.parse().map_err(|_| corrupt(()))?,
            roles: serde_json::from_str(roles).map_err(|_| corrupt(()))?,
        });
    }
    Ok(found)
}

/// Removes notes of what a seal of these tables has published, if there are no others; now and then, as they are small.
pub(crate) async fn clean(tx: &Tx, tables: usize, ordinal: Ordinal, snapshot: &str) -> Result<()> {
    if ordinal % EVERY != 0 || !is_true(tx, "SELECT to_regclass('epoch.writer') IS NOT NULL").await? {
        return Ok(());
    }
    let sql = format!(
        "DELETE FROM epoch.writer w WHERE pg_visible_in_snapshot(w.xid, '{snapshot}') \
         AND (SELECT count(*) FROM epoch.registered r WHERE r.until = {PENDING}) <= {tables}"
    );
    tx.batch_execute(&sql).await.map_err(pg)
}
