//! Grants, roles and protections of branches.

use epoch_adapter::Result;

use super::{Tx, micros, now, params, to_json};

/// A right that was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredGrant {
    /// A user, a role, or `public`.
    pub grantee: String,
    /// `read`, `write`, `merge` or `admin`.
    pub privilege: String,
    /// A pattern of branches and tags.
    pub branches: String,
    /// A pattern of tables.
    pub tables: String,
    /// Who gave it.
    pub grantor: String,
    /// When, in microseconds.
    pub created: i64,
}

/// What nobody may do with the branches of a pattern, beside deleting and rewriting them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Protection {
    /// A pattern of branches and tags.
    pub branches: String,
    /// Tables aren't written to directly.
    pub no_writes: bool,
    /// Commits come by merges alone.
    pub merge_only: bool,
    /// Assertions that must hold for what is merged or committed.
    pub checks: Vec<String>,
}

/// All grants, by grantee.
pub async fn grants(tx: &mut Tx) -> Result<Vec<StoredGrant>> {
    let sql = "SELECT grantee, privilege, branches, tables, grantor, created FROM grants
               ORDER BY grantee, branches, tables, privilege";
    let rows = tx.query(sql, &[]).await?;
    rows.iter()
        .map(|r| {
            Ok(StoredGrant {
                grantee: r.text(0)?,
                privilege: r.text(1)?,
                branches: r.text(2)?,
                tables: r.text(3)?,
                grantor: r.text(4)?,
                created: r.int(5)?,
            })
        })
        .collect()
}

/// Gives a right; one that is there already stays as it is.
pub async fn grant(tx: &mut Tx, grant: &StoredGrant) -> Result<()> {
    tx.execute(
        "INSERT INTO grants (grantee, privilege, branches, tables, grantor, created) VALUES ($1, $2, $3, $4, $5, $6)
         ON CONFLICT (grantee, privilege, branches, tables) DO NOTHING",
        params![
            &grant.grantee,
            &grant.privilege,
            &grant.branches,
            &grant.tables,
            &grant.grantor,
            micros(now())
        ],
    )
    .await
    .map(drop)
}

/// Takes a right back; false if it wasn't given.
pub async fn revoke(
    tx: &mut Tx,
    grantee: &str,
    privilege: &str,
    branches: &str,
    tables: &str,
) -> Result<bool> {
    let sql = "DELETE FROM grants WHERE grantee = $1 AND privilege = $2 AND branches = $3 AND tables = $4";
    Ok(tx.execute(sql, params![grantee, privilege, branches, tables]).await? > 0)
}

/// All memberships as (role, member).
pub async fn members(tx: &mut Tx) -> Result<Vec<(String, String)>> {
    let rows = tx.query("SELECT role, member FROM members ORDER BY role, member", &[]).await?;
    rows.iter().map(|r| Ok((r.text(0)?, r.text(1)?))).collect()
}

/// Makes a user or role a member of a role.
pub async fn join(tx: &mut Tx, role: &str, member: &str) -> Result<()> {
    let sql = "INSERT INTO members (role, member) VALUES ($1, $2) ON CONFLICT (role, member) DO NOTHING";
    tx.execute(sql, params![role, member]).await.map(drop)
}

/// Ends a membership; false if there was none.
pub async fn leave(tx: &mut Tx, role: &str, member: &str) -> Result<bool> {
    let sql = "DELETE FROM members WHERE role = $1 AND member = $2";
    Ok(tx.execute(sql, params![role, member]).await? > 0)
}

/// All protections, by pattern.
pub async fn protections(tx: &mut Tx) -> Result<Vec<Protection>> {
    let sql = "SELECT branches, no_writes, merge_only, checks FROM protections ORDER BY branches";
    let rows = tx.query(sql, &[]).await?;
    rows.iter()
        .map(|r| {
            Ok(Protection {
                branches: r.text(0)?,
                no_writes: r.int(1)? != 0,
                merge_only: r.int(2)? != 0,
                checks: r.json(3)?,
            })
        })
        .collect()
}

/// Sets the protection of a pattern.
pub async fn protect(tx: &mut Tx, protection: &Protection) -> Result<()> {
    unprotect(tx, &protection.branches).await?;
    tx.execute(
        "INSERT INTO protections (branches, no_writes, merge_only, checks) VALUES ($1, $2, $3, $4)",
        params![
            &protection.branches,
            i64::from(protection.no_writes),
            i64::from(protection.merge_only),
            to_json(&protection.checks)?
        ],
    )
    .await
    .map(drop)
}

/// Ends the protection of a pattern; false if there was none.
pub async fn unprotect(tx: &mut Tx, branches: &str) -> Result<bool> {
    Ok(tx.execute("DELETE FROM protections WHERE branches = $1", params![branches]).await? > 0)
}
