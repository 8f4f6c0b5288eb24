//! A database that was made from a dump of another, or of itself: places in the log, numbers of transactions and oids
//! that were noted there mean nothing here.

use deadpool_postgres::Pool;
use epoch_adapter::Result;

use crate::install;
use crate::text::fill;
use crate::tx::{self, Tx, is_true};
use crate::written;

const MOVED_SQL: &str = include_str!("../../../sql/postgres/moved.sql");

/// Whether what is here was written by another database. (Before it is known who wrote it, by this one.)
const ELSEWHERE: &str = "SELECT NOT EXISTS (SELECT FROM epoch.written_by w, pg_control_system() c, pg_database d \
    WHERE d.datname = current_database() AND w.system_identifier = c.system_identifier AND w.database = d.oid)";

/// Finds out, once per process, whether the database is the one that wrote its histories; if not, makes it so.
pub(crate) async fn settle(pool: &Pool, backend: &str) -> Result<()> {
    let tx = Tx::begin_ddl(pool, backend).await?;
    let done = settle_in(&tx).await;
    tx.finish(done).await
}

async fn settle_in(tx: &Tx) -> Result<()> {
    written::prepare(tx).await?;
    if !is_true(tx, "SELECT to_regclass('epoch.written_by') IS NOT NULL").await?
        || !is_true(tx, ELSEWHERE).await?
    {
        return Ok(());
    }
    install::lock(tx).await?;
    // Another proxy may have done it meanwhile.
    if !is_true(tx, ELSEWHERE).await? {
        return Ok(());
    }
    tracing::info!("the database was made from a dump: its uncommitted changes are put in order");
    let histories = "SELECT c.oid::regclass::text FROM pg_class c WHERE c.relnamespace = 'epoch'::regnamespace \
        AND c.relkind = 'r' AND c.relname ~ '^history_[0-9]+$' ORDER BY 1";
    for history in tx::texts(tx, histories).await?.into_iter().flatten().flatten() {
        tx.affected(&fill(MOVED_SQL, &[("history", &history)])).await?;
    }
    // Transactions have other numbers here.
    if is_true(tx, "SELECT to_regclass('epoch.writer') IS NOT NULL").await? {
        tx.affected("DELETE FROM epoch.writer").await?;
    }
    // Columns that were dropped aren't in a dump, so the others are elsewhere.
    let guarded = "SELECT g.tgrelid::regclass::text FROM pg_trigger g WHERE g.tgname = 'zz_epoch_guard' AND g.tgnargs = 1 ORDER BY 1";
    for relation in tx::texts(tx, guarded).await?.into_iter().flatten().flatten() {
        tx.affected(&crate::capture::guard(&relation)).await?;
    }
    tx.affected(
        "UPDATE epoch.partition p SET relation = to_regclass(p.name) WHERE to_regclass(p.name) IS NOT NULL; \
         DELETE FROM epoch.written; \
         UPDATE epoch.written_by w SET system_identifier = c.system_identifier, database = d.oid \
         FROM pg_control_system() c, pg_database d WHERE d.datname = current_database()",
    )
    .await?;
    Ok(())
}
