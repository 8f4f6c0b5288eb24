//! Partitions of a partitioned table: PostgreSQL fires the statement triggers of the relation that a
//! statement names, so each partition has the base's. Partitions may come at any time: until they
//! are adopted, a row trigger that they inherit captures what is written to them.

use deadpool_postgres::Object;
use epoch_adapter::{Result, TableDef};

use crate::capture;
use crate::error::pg;
use crate::layout::{base, history, literal};
use crate::text::{columns, fill, key, same_key};

const PARTITIONS_SQL: &str = include_str!("../../../sql/postgres/partitions.sql");
const PARTITIONED_SQL: &str = include_str!("../../../sql/postgres/partitioned.sql");
const ADOPTED_SQL: &str = include_str!("../../../sql/postgres/adopted.sql");

/// A partition at any level.
pub(crate) struct Partition {
    oid: u32,
    /// Quoted and qualified.
    pub name: String,
    /// It holds rows itself.
    pub leaf: bool,
    /// It has triggers of ours.
    known: bool,
}

/// Whether a table is partitioned.
pub(crate) async fn is_partitioned(client: &Object, table: &TableDef) -> Result<bool> {
    let sql = "SELECT c.relkind = 'p' FROM pg_class c WHERE c.oid = $1::text::regclass";
    let row = client.query_one(sql, &[&base(table)]).await.map_err(pg)?;
    row.try_get(0).map_err(pg)
}

async fn tree(client: &Object, table: &TableDef) -> Result<Vec<Partition>> {
    let rows = client.query(PARTITIONS_SQL, &[&base(table), &table.id.0]).await.map_err(pg)?;
    let partition = |row: &tokio_postgres::Row| -> Result<Partition> {
        Ok(Partition {
            oid: row.try_get(0).map_err(pg)?,
            name: row.try_get(1).map_err(pg)?,
            leaf: row.try_get(2).map_err(pg)?,
            known: row.try_get(3).map_err(pg)?,
        })
    };
    rows.iter().map(partition).collect()
}

/// The triggers of a partitioned base itself and of all its partitions. The functions are there.
pub(crate) async fn install(client: &Object, table: &TableDef) -> Result<()> {
    let script = fill(
        PARTITIONED_SQL,
        &[
            ("base", &base(table)),
            ("id", &table.id.0.to_string()),
            ("history", &history(table)),
            ("key", &key(table, "")),
            ("key_old", &key(table, "OLD.")),
            ("key_new", &key(table, "NEW.")),
            ("columns", &columns(table, "")),
            ("columns_old", &columns(table, "OLD.")),
            ("match_old", &same_key(table, "h", "OLD")),
            ("match_new", &same_key(table, "h", "NEW")),
        ],
    );
    client.batch_execute(&script).await.map_err(pg)?;
    for partition in tree(client, table).await? {
        client.batch_execute(&triggers(table, &partition)).await.map_err(pg)?;
    }
    Ok(())
}

/// Gives partitions that came since the last look what the others have, and notes that rows which
/// came with them weren't there before.
pub(crate) async fn adopt(client: &Object, table: &TableDef) -> Result<()> {
    // Writers wait behind us for as long as we wait for one that came before.
    client.batch_execute("SET LOCAL lock_timeout = '2s'").await.map_err(pg)?;
    crate::install::lock(client).await?;
    for partition in tree(client, table).await?.iter().filter(|p| !p.known) {
        // No writer is in flight once we hold this.
        let lock = format!("LOCK TABLE ONLY {} IN SHARE ROW EXCLUSIVE MODE", partition.name);
        client.batch_execute(&lock).await.map_err(pg)?;
    }
    // Again: one that was detached meanwhile is none of ours, one that came stays for the next look.
    let tree = tree(client, table).await?;
    for partition in tree.iter().filter(|p| !p.known) {
        client.batch_execute(&triggers(table, partition)).await.map_err(pg)?;
        if partition.leaf {
            let rows = fill(
                ADOPTED_SQL,
                &[
                    ("base", &base(table)),
                    ("target", &partition.name),
                    ("history", &history(table)),
                    ("key", &key(table, "")),
                    ("key_o", &key(table, "o.")),
                    ("match_o", &same_key(table, "h", "o")),
                ],
            );
            client.batch_execute(&rows).await.map_err(pg)?;
        }
    }
    Ok(())
}

/// What a partition gets.
fn triggers(table: &TableDef, partition: &Partition) -> String {
    let (id, name) = (table.id.0, &partition.name);
    let mut script = capture::base_triggers(table, name, &format!("b{id}p{}", partition.oid));
    if partition.leaf {
        script += &capture::truncate_trigger(table, name);
        // Copied to partitions of this one, so only where there can't be any.
        script += &format!("ALTER TABLE ONLY {name} DISABLE TRIGGER zz_epoch_fresh;\n");
    }
    script + &format!("INSERT INTO epoch.partition VALUES ({id}, {}, {});\n", partition.oid, literal(name))
}
