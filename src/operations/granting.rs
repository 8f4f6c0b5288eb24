//! Giving rights, taking them back, and protecting branches.

use epoch_adapter::{Error, Result, sqlstate};
use futures::FutureExt;

use super::{Repository, Right, Scope};
use crate::metadata::Tx;
use crate::metadata::rights::{self, Protection, StoredGrant};

/// Longest name or pattern.
const LONGEST: usize = 400;

impl Repository {
    /// Gives `grantee` (a user, a role or `public`) a right on the branches and tables of two patterns.
    pub async fn grant(&self, grantee: &str, right: Right, branches: &str, tables: &[String]) -> Result<()> {
        [grantee, branches].into_iter().chain(tables.iter().map(String::as_str)).try_for_each(check_text)?;
        let _lock = self.locked().await?;
        self.may_grant(branches)?;
        let mut tx = self.store().write().await?;
        for tables in tables {
            let grant = StoredGrant {
                grantee: grantee.to_owned(),
                privilege: right.as_str().to_owned(),
                branches: branches.to_owned(),
                tables: tables.clone(),
                grantor: self.actor().user,
                created: 0,
            };
            rights::grant(&mut tx, &grant).await?;
        }
        self.changed_rights(tx).await
    }

    /// Takes a right (all of them for none) on just these patterns back. 42704 if it wasn't given.
    pub async fn revoke(
        &self,
        grantee: &str,
        right: Option<Right>,
        branches: &str,
        tables: &[String],
    ) -> Result<()> {
        let _lock = self.locked().await?;
        self.may_grant(branches)?;
        let all = [Right::Read, Right::Write, Right::Merge, Right::Admin];
        let wanted: Vec<Right> = right.map_or_else(|| all.to_vec(), |right| vec![right]);
        let mut tx = self.store().write().await?;
        let mut any = false;
        for tables in tables {
            for right in &wanted {
                any |= rights::revoke(&mut tx, grantee, right.as_str(), branches, tables).await?;
            }
        }
        if !any {
            let what = right.map_or("right", Right::as_str);
            let message = format!("\"{grantee}\" was not granted {what} on \"{branches}\"");
            return Err(Error::new(sqlstate::UNDEFINED_OBJECT, message)
                .with_hint("SELECT * FROM epoch.grants lists what was granted."));
        }
        self.changed_rights(tx).await
    }

    /// Makes a user or role a member of a role, or (`joins` false) ends that.
    pub async fn set_member(&self, role: &str, member: &str, joins: bool) -> Result<()> {
        [role, member].into_iter().try_for_each(check_text)?;
        let public = |name: &str| name == "public";
        if public(role) || public(member) || role == member {
            let message = format!("\"{member}\" cannot be a member of \"{role}\"");
            return Err(Error::new(sqlstate::INVALID_PARAMETER_VALUE, message));
        }
        let _lock = self.locked().await?;
        self.may_grant("*")?;
        let mut tx = self.store().write().await?;
        if joins {
            rights::join(&mut tx, role, member).await?;
        } else if !rights::leave(&mut tx, role, member).await? {
            let message = format!("\"{member}\" is not a member of \"{role}\"");
            return Err(Error::new(sqlstate::UNDEFINED_OBJECT, message));
        }
        self.changed_rights(tx).await
    }

    /// Protects the branches of a pattern, instead of what protected them by this pattern before.
    pub async fn protect(&self, protection: &Protection) -> Result<()> {
        check_text(&protection.branches)?;
        if !protection.checks.is_empty() {
            // A check sees every table of every ref, and what it says of them is shown.
            self.refresh().await?;
            self.may_all(Right::Admin)?;
        }
        // What can't be asked would refuse everything from here on.
        for check in &protection.checks {
            self.check_assertion(check).boxed().await?;
        }
        let _lock = self.locked().await?;
        self.may_grant(&protection.branches)?;
        if !protection.checks.is_empty() {
            self.may_all(Right::Admin)?;
        }
        let mut tx = self.store().write().await?;
        rights::protect(&mut tx, protection).await?;
        self.changed_rights(tx).await
    }

    /// Ends the protection by a pattern; 42704 if there is none.
    pub async fn unprotect(&self, branches: &str) -> Result<()> {
        let _lock = self.locked().await?;
        self.may_grant(branches)?;
        let mut tx = self.store().write().await?;
        if !rights::unprotect(&mut tx, branches).await? {
            let message = format!("nothing protects \"{branches}\"");
            return Err(Error::new(sqlstate::UNDEFINED_OBJECT, message)
                .with_hint("SELECT * FROM epoch.protections lists the patterns."));
        }
        self.changed_rights(tx).await
    }

    /// What was granted: all to admins, to others what concerns them.
    pub async fn grants(&self) -> Result<Vec<StoredGrant>> {
        self.refresh().await?;
        let mut tx = self.store().read().await?;
        let all = rights::grants(&mut tx).await?;
        tx.commit().await?;
        let roles = self.own_roles();
        Ok(all.into_iter().filter(|g| roles.as_ref().is_none_or(|own| own.contains(&g.grantee))).collect())
    }

    /// Who is a member of which role, as (role, member): all to admins, to others what concerns them.
    pub async fn members(&self) -> Result<Vec<(String, String)>> {
        self.refresh().await?;
        let roles = self.own_roles();
        let rights = self.rights();
        let shown = |pair: &&(String, String)| roles.as_ref().is_none_or(|own| own.contains(&pair.1));
        Ok(rights.members.iter().filter(shown).cloned().collect())
    }

    /// What protects branches.
    pub async fn protections(&self) -> Result<Vec<Protection>> {
        self.refresh().await?;
        Ok(self.rights().protections.clone())
    }

    /// The roles of whoever acts; `None`: an admin of everything.
    fn own_roles(&self) -> Option<Vec<String>> {
        if self.may_all(Right::Admin).is_ok() {
            return None;
        }
        let user = self.actor().user;
        Some(self.rights().roles(&user).into_iter().map(str::to_owned).collect())
    }

    /// An admin of just this pattern, or of everything, may say who has rights on it.
    pub(super) fn may_grant(&self, branches: &str) -> Result<()> {
        if self.may_all(Right::Admin).is_ok() {
            return Ok(());
        }
        let user = self.actor().user;
        let rights = self.rights();
        let roles = rights.roles(&user);
        let own = rights.grants.iter().any(|(right, grant)| {
            *right == Right::Admin
                && roles.contains(grant.grantee.as_str())
                && grant.branches == branches
                && grant.tables == "*"
        });
        if own { Ok(()) } else { self.may_on(&[], Right::Admin, Scope::All) }
    }

    /// Ends a change of rights. 55000 if nobody could change them any more.
    async fn changed_rights(&self, mut tx: Tx) -> Result<()> {
        tx.next_generation().await?;
        tx.structure_changed().await?;
        let grants = rights::grants(&mut tx).await?;
        let rules =
            |g: &StoredGrant| g.privilege == Right::Admin.as_str() && g.branches == "*" && g.tables == "*";
        if !grants.is_empty() && !grants.iter().any(rules) {
            return Err(Error::new(
                sqlstate::OBJECT_NOT_IN_PREREQUISITE_STATE,
                "nobody would be an admin of all branches",
            )
            .with_detail("With the first grant, everybody loses what isn't granted to them.")
            .with_hint("First: SELECT epoch_grant('NAME', 'admin')."));
        }
        tx.concludes();
        tx.commit().await?;
        self.reload().await
    }
}

/// 22023 for what can't be a name or a pattern.
fn check_text(text: &str) -> Result<()> {
    if text.trim().is_empty() || text.len() > LONGEST || text.contains(char::is_control) {
        let shown: String = text.chars().take(40).collect();
        let message = format!("invalid name or pattern \"{}\"", shown.escape_debug());
        return Err(Error::new(sqlstate::INVALID_PARAMETER_VALUE, message));
    }
    Ok(())
}
