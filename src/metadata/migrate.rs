//! Numbered migrations and the contents of a new repository.

use epoch_adapter::{Error, LineageId, Result, sqlstate};

use super::commits::{self, NewCommit};
use super::{Store, micros, now, params};

/// In order; the number is the position. A released file is never edited.
const MIGRATIONS: &[&str] = &[
    include_str!("../../sql/metadata/001_initial.sql"),
    include_str!("../../sql/metadata/002_drafts.sql"),
    include_str!("../../sql/metadata/003_verbs.sql"),
    include_str!("../../sql/metadata/004_rights.sql"),
    include_str!("../../sql/metadata/005_gc.sql"),
    include_str!("../../sql/metadata/006_origins.sql"),
    include_str!("../../sql/metadata/007_renames.sql"),
];

pub(super) async fn run(store: &Store, name: &str) -> Result<()> {
    let mut tx = store.write().await?;
    tx.alone().await?;
    tx.script("CREATE TABLE IF NOT EXISTS migrations (number BIGINT PRIMARY KEY, applied BIGINT NOT NULL)")
        .await?;
    let newest = tx.first("SELECT COALESCE(MAX(number), 0) FROM migrations", &[]).await?;
    let newest = newest.map_or(Ok(0), |r| r.int(0))?;
    if newest > MIGRATIONS.len() as i64 {
        return Err(Error::new(
            sqlstate::OBJECT_NOT_IN_PREREQUISITE_STATE,
            "the metadata store was written by a newer version",
        )
        .with_detail(format!("It has schema {newest}, this version knows {}.", MIGRATIONS.len())));
    }
    for (number, sql) in (1_i64..).zip(MIGRATIONS).filter(|(number, _)| *number > newest) {
        tx.script(sql).await?;
        let applied = micros(now());
        tx.execute("INSERT INTO migrations (number, applied) VALUES ($1, $2)", params![number, applied])
            .await?;
    }
    if tx.first("SELECT id FROM repository", &[]).await?.is_none() {
        initialize(&mut tx, name).await?;
    }
    tx.commit().await
}

async fn initialize(tx: &mut super::Tx, name: &str) -> Result<()> {
    let date = now();
    tx.execute(
        "INSERT INTO repository (id, name, created, generation, structure, next_lineage, next_table, next_commit, next_conflict)
         VALUES (1, $1, $2, 1, 1, 1, 0, 0, 0)",
        params![name, micros(date)],
    )
    .await?;
    let main = LineageId::MAIN.0;
    tx.execute(
        "INSERT INTO lineages (id, parent, fork, base, latest, generation) VALUES ($1, NULL, 0, 0, 0, 1)",
        params![main],
    )
    .await?;
    let root = NewCommit {
        parents: vec![],
        author: "Horizon Epoch".to_owned(),
        email: String::new(),
        date,
        message: "Initialize repository".to_owned(),
        tables: vec![],
        origins: vec![],
    };
    let hash = commits::insert(tx, &root).await?;
    commits::add_position(tx, LineageId::MAIN, 0, &hash).await?;
    tx.execute(
        "INSERT INTO branches (name, lineage, head, parent, created, generation) VALUES ('main', $1, $2, NULL, $3, 1)",
        params![main, &hash, micros(date)],
    )
    .await?;
    super::refs::log_move(tx, LineageId::MAIN, None, &hash, "Horizon Epoch", "initialize").await
}
