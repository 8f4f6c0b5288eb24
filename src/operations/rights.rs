//! Who may do what on which branch with which table: the one place that decides, for every interface.
//!
//! A [`Repository`] is a handle of somebody ([`Repository::acting`]); each of its operations asks here before it
//! shows or changes anything. Without any grant everybody may do everything.

use std::collections::HashSet;
use std::sync::Arc;

use epoch_adapter::{Error, LineageId, Result, TableName, sqlstate};

use super::resolve::Named;
use super::{Checkout, Repository, Target};
use crate::metadata::refs::{self, Branch};
use crate::metadata::rights::{Protection, StoredGrant};
use crate::storage::{glob, matches};

/// For how many commits it is remembered which refs show them.
const MOST_COMMITS: usize = 10_000;

/// What a grant gives. Each of the others includes reading; `Admin` includes all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Right {
    /// To see rows and history.
    Read,
    /// To change rows and commit them; to make, move and delete the branch.
    Write,
    /// To merge into the branch.
    Merge,
    /// To give rights and protect branches.
    Admin,
}

impl Right {
    /// As in `epoch_grant`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Merge => "merge",
            Self::Admin => "admin",
        }
    }

    fn includes(self, other: Self) -> bool {
        self == other || self == Self::Admin || other == Self::Read
    }
}

impl std::str::FromStr for Right {
    type Err = Error;

    /// 22023 if there is no such right.
    fn from_str(name: &str) -> Result<Self> {
        let all = [Self::Read, Self::Write, Self::Merge, Self::Admin];
        all.into_iter().find(|right| right.as_str() == name).ok_or_else(|| {
            Error::new(sqlstate::INVALID_PARAMETER_VALUE, format!("invalid right \"{name}\""))
                .with_hint("Rights are read, write, merge and admin.")
        })
    }
}

/// Of which tables a right is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope<'a> {
    /// Of any.
    Some,
    /// Of all that there are and will be.
    All,
    /// Of this one.
    Table(&'a TableName),
}

/// Who acts, and from where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    /// The name that they logged in with.
    pub user: String,
    /// Where they are: an address, `command line`, `proxy`.
    pub client: String,
    /// They hold the repository itself: rights are not asked of them.
    pub owner: bool,
}

/// How closely statements of a session must be looked at, beside what each table asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Watch {
    /// Not at all.
    Nothing,
    /// Nothing may be written that isn't seen.
    Writes,
    /// Nor may anything be read.
    Everything,
}

/// All rights, as they are stored.
#[derive(Debug, Default)]
pub(super) struct Rights {
    pub(super) grants: Vec<(Right, StoredGrant)>,
    pub(super) members: Vec<(String, String)>,
    pub(super) protections: Vec<Protection>,
}

/// What protects a branch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Guard {
    pub(super) no_writes: bool,
    pub(super) merge_only: bool,
    pub(super) checks: Vec<String>,
}

impl Rights {
    /// A user, everybody, and the roles that the user is a member of.
    pub(super) fn roles<'a>(&'a self, user: &'a str) -> HashSet<&'a str> {
        let mut roles = HashSet::from([user, "public"]);
        loop {
            let found = self
                .members
                .iter()
                .filter(|(role, member)| roles.contains(member.as_str()) && !roles.contains(role.as_str()));
            let more: Vec<&str> = found.map(|(role, _)| role.as_str()).collect();
            if more.is_empty() {
                return roles;
            }
            roles.extend(more);
        }
    }

    /// Whether a user has a right on something that has one of these names.
    pub(super) fn allow(&self, user: &str, right: Right, names: &[String], scope: Scope<'_>) -> bool {
        if self.grants.is_empty() {
            return true;
        }
        let roles = self.roles(user);
        self.grants.iter().any(|(given, grant)| {
            roles.contains(grant.grantee.as_str())
                && given.includes(right)
                && names.iter().any(|name| glob(&grant.branches, name))
                && match scope {
                    Scope::Some => true,
                    Scope::All => grant.tables == "*",
                    Scope::Table(table) => matches(&grant.tables, table),
                }
        })
    }

    /// Whether a user has a right on all branches and tables.
    pub(super) fn allow_all(&self, user: &str, right: Right) -> bool {
        if self.grants.is_empty() {
            return true;
        }
        let roles = self.roles(user);
        self.grants.iter().any(|(given, grant)| {
            roles.contains(grant.grantee.as_str())
                && given.includes(right)
                && grant.branches == "*"
                && grant.tables == "*"
        })
    }

    /// What protects a branch, if anything does.
    pub(super) fn guard(&self, branch: &str) -> Option<Guard> {
        let mut found = self.protections.iter().filter(|p| glob(&p.branches, branch)).peekable();
        found.peek()?;
        Some(found.fold(Guard::default(), |mut guard, p| {
            guard.no_writes |= p.no_writes;
            guard.merge_only |= p.merge_only;
            guard
                .checks
                .extend(p.checks.iter().filter(|c| !guard.checks.contains(c)).cloned().collect::<Vec<_>>());
            guard
        }))
    }
}

impl Repository {
    /// This repository in the hands of somebody.
    #[must_use]
    pub fn acting(&self, actor: Actor) -> Self {
        Self { actor: Some(Arc::new(actor)), ..self.clone() }
    }

    /// This repository in the hands of somebody, unless it is in somebody's already.
    #[must_use]
    pub fn acting_for(&self, actor: Actor) -> Self {
        if self.actor.is_some() { self.clone() } else { self.acting(actor) }
    }

    /// Who acts.
    pub(super) fn actor(&self) -> Actor {
        let own = || Actor { user: self.inner.author.name.clone(), client: "proxy".to_owned(), owner: true };
        self.actor.as_deref().cloned().unwrap_or_else(own)
    }

    pub(super) fn rights(&self) -> Arc<Rights> {
        Arc::clone(&self.state().rights)
    }

    /// Whose rights are asked; `None` if nobody's.
    fn subject(&self) -> Option<(&Actor, Arc<Rights>)> {
        let actor = self.actor.as_deref().filter(|actor| !actor.owner)?;
        let rights = self.rights();
        (!rights.grants.is_empty()).then_some((actor, rights))
    }

    /// How closely statements on a checkout must be looked at. On main nothing stands between a statement and
    /// what the server can reach, so only an admin of everything is trusted there with what isn't understood.
    pub fn watch(&self, checkout: &Checkout) -> Watch {
        if self.subject().is_some_and(|(actor, rights)| !rights.allow_all(&actor.user, Right::Admin)) {
            return Watch::Everything;
        }
        if checkout.is_main() && self.rights().guard("main").is_some_and(|guard| guard.no_writes) {
            return Watch::Writes;
        }
        Watch::Nothing
    }

    /// 42501 unless whoever acts has the right on the checkout.
    pub fn may(&self, checkout: &Checkout, right: Right, scope: Scope<'_>) -> Result<()> {
        let Some((actor, rights)) = self.subject() else { return Ok(()) };
        let mut names = self.names_of(checkout);
        if rights.allow(&actor.user, right, &names, scope) {
            return Ok(());
        }
        if !checkout.is_branch() {
            names.retain(|name| self.sees(name));
        }
        Err(denied(&actor.user, right, &names, scope))
    }

    /// As [`Repository::may`], of what has these names.
    pub(super) fn may_on(&self, names: &[String], right: Right, scope: Scope<'_>) -> Result<()> {
        match self.subject() {
            Some((actor, rights)) if !rights.allow(&actor.user, right, names, scope) => {
                Err(denied(&actor.user, right, names, scope))
            }
            _ => Ok(()),
        }
    }

    /// As [`Repository::may`], of a branch.
    pub(super) fn may_branch(&self, branch: &Branch, right: Right, scope: Scope<'_>) -> Result<()> {
        if self.subject().is_none() {
            return Ok(());
        }
        self.may_on(std::slice::from_ref(&branch.name), right, scope)
    }

    /// 42501 unless whoever acts has the right on everything.
    pub(super) fn may_all(&self, right: Right) -> Result<()> {
        match self.subject() {
            Some((actor, rights)) if !rights.allow_all(&actor.user, right) => {
                Err(denied(&actor.user, right, &["*".to_owned()], Scope::All))
            }
            _ => Ok(()),
        }
    }

    /// Whether whoever acts may read all branches and tables, so that nothing has to be hidden but for the sake of what a ref shows.
    pub fn sees_all(&self) -> bool {
        self.subject().is_none_or(|(actor, rights)| rights.allow_all(&actor.user, Right::Read))
    }

    /// Whether whoever acts may see something of a ref.
    pub(super) fn sees(&self, name: &str) -> bool {
        self.may_on(&[name.to_owned()], Right::Read, Scope::Some).is_ok()
    }

    /// Which refs whoever acts sees something of; `None` if all. It takes no lock, as [`Repository::sees`] does.
    pub(super) fn sight(&self) -> Option<impl Fn(&str) -> bool + use<>> {
        let (actor, rights) = self.subject()?;
        let user = actor.user.clone();
        Some(move |name: &str| rights.allow(&user, Right::Read, &[name.to_owned()], Scope::Some))
    }

    /// 42501 unless what a ref names may be read.
    pub(super) async fn may_read(&self, named: &Named, scope: Scope<'_>) -> Result<()> {
        if self.subject().is_none() {
            return Ok(());
        }
        let names = self.names_of_ref(named).await?;
        self.may_on(&names, Right::Read, scope).map_err(|error| self.discreet(error, named, &names, scope))
    }

    /// An error that denies reading a ref, without the names of refs that whoever acts doesn't see: a hash that
    /// somebody knows tells nothing of who shows it.
    fn discreet(&self, error: Error, named: &Named, names: &[String], scope: Scope<'_>) -> Error {
        let (Named::Commit(_), Some((actor, _))) = (named, self.subject()) else { return error };
        let seen: Vec<String> = names.iter().filter(|name| self.sees(name)).cloned().collect();
        denied(&actor.user, Right::Read, &seen, scope)
    }

    /// 42501 if somebody could read under a new name what neither they nor whoever acts may read where it is.
    pub(super) async fn may_carry(&self, from: &Named, to: &str) -> Result<()> {
        let Some((actor, rights)) = self.subject() else { return Ok(()) };
        let names = self.names_of_ref(from).await?;
        if rights.allow(&actor.user, Right::Read, &names, Scope::All) {
            return Ok(());
        }
        let to = [to.to_owned()];
        let mut readers: Vec<&str> = rights.grants.iter().map(|(_, grant)| grant.grantee.as_str()).collect();
        readers.push(&actor.user);
        for table in self.every_table() {
            let scope = Scope::Table(&table.name);
            let hidden = !rights.allow(&actor.user, Right::Read, &names, scope);
            let gains = |reader: &&str| {
                rights.allow(reader, Right::Read, &to, scope)
                    && !rights.allow(reader, Right::Read, &names, scope)
            };
            if hidden && readers.iter().any(gains) {
                let error = denied(&actor.user, Right::Read, &names, scope);
                return Err(self.discreet(error, from, &names, scope));
            }
        }
        Ok(())
    }

    /// Notes under which names a commit may be read: what a user named is found again by its hash.
    pub(super) async fn note_names(&self, start: &Named, found: &Named) -> Result<()> {
        if self.subject().is_none() {
            return Ok(());
        }
        let names = self.names_of_ref(start).await?;
        let may = self.may_on(&names, Right::Read, Scope::Some);
        may.map_err(|error| self.discreet(error, start, &names, Scope::Some))?;
        if let Named::Commit(hash) = found {
            if self.inner.names.len() >= MOST_COMMITS {
                self.inner.names.clear();
            }
            let mut known = self.inner.names.entry(hash.clone()).or_default();
            known.extend(names);
            known.sort_unstable();
            known.dedup();
        }
        Ok(())
    }

    /// The names that rights on a checkout go by: of a commit, those of the refs that show it.
    fn names_of(&self, checkout: &Checkout) -> Vec<String> {
        match &checkout.target {
            Target::Branch { layer } => {
                let name = self.state().branch_on(layer.lineage).map(|b| b.name.clone());
                vec![name.unwrap_or_else(|| checkout.name.clone())]
            }
            Target::Commit { hash, .. } => {
                self.inner.names.get(hash).map(|names| names.clone()).unwrap_or_default()
            }
        }
    }

    async fn names_of_ref(&self, named: &Named) -> Result<Vec<String>> {
        let hash = match named {
            Named::Branch(branch) | Named::Working(branch) => return Ok(vec![branch.name.clone()]),
            Named::Commit(hash) => hash,
        };
        let mut tx = self.store().read().await?;
        let tags = refs::tags(&mut tx).await?;
        tx.commit().await?;
        let mut heads: Vec<(String, String)> =
            self.state().branches().map(|b| (b.name.clone(), b.head.clone())).collect();
        heads.extend(tags.into_iter().map(|t| (t.name, t.hash)));
        let known = self.inner.names.get(hash).map(|names| names.clone()).unwrap_or_default();
        let mut names = self
            .with_graph(|graph| {
                let Some(at) = graph.index(hash) else { return Ok(Vec::new()) };
                let shows = |head: &str| graph.index(head).is_some_and(|head| graph.is_ancestor(at, head));
                Ok(heads
                    .into_iter()
                    .filter(|(_, head)| shows(head))
                    .map(|(name, _)| name)
                    .collect::<Vec<_>>())
            })
            .await?;
        names.extend(known);
        Ok(names)
    }

    /// What protects a branch, whoever acts.
    pub(super) fn guard(&self, branch: &str) -> Guard {
        self.rights().guard(branch).unwrap_or_default()
    }

    /// Whether a branch is protected.
    pub(super) fn is_protected(&self, branch: &str) -> bool {
        self.rights().guard(branch).is_some()
    }

    /// 42501 if a ref is one that nobody deletes, moves away or rewrites.
    pub(super) fn check_unprotected(&self, name: &str, what: &str) -> Result<()> {
        if self.is_protected(name) { Err(protected(name, what)) } else { Ok(()) }
    }

    /// 42501 unless tables of a checkout may be written to directly.
    pub fn may_write(&self, checkout: &Checkout, table: &TableName) -> Result<()> {
        self.may(checkout, Right::Write, Scope::Table(table))?;
        let Target::Branch { layer } = checkout.target else { return Ok(()) };
        self.check_writes(layer.lineage)
    }

    /// 42501 if the branch on a lineage isn't written to directly.
    pub(super) fn check_writes(&self, lineage: LineageId) -> Result<()> {
        let Some(name) = self.state().branch_on(lineage).map(|b| b.name.clone()) else { return Ok(()) };
        if self.guard(&name).no_writes { Err(protected(&name, "written to directly")) } else { Ok(()) }
    }

    /// 42501 if commits aren't to be applied to a branch again, as nothing could be asked of what comes of it.
    pub(super) fn check_unchecked(&self, branch: &Branch) -> Result<()> {
        self.check_not_merge_only(branch)?;
        if self.guard(&branch.name).checks.is_empty() {
            return Ok(());
        }
        Err(protected(&branch.name, "changed by single commits, for which its checks cannot be asked")
            .with_hint(format!("Apply them to another branch, and merge it into \"{}\".", branch.name)))
    }

    /// 42501 if commits come to the branch by merges alone.
    pub(super) fn check_not_merge_only(&self, branch: &Branch) -> Result<()> {
        if self.guard(&branch.name).merge_only {
            return Err(protected(&branch.name, "committed to directly")
                .with_hint(format!("Commit on another branch, and merge it into \"{}\".", branch.name)));
        }
        Ok(())
    }
}

/// 42501, as PostgreSQL says it.
fn denied(user: &str, right: Right, names: &[String], scope: Scope<'_>) -> Error {
    let place = match names {
        // That none shows, or none that the user sees.
        [] => "this commit".to_owned(),
        [name] if name == "*" => "all branches".to_owned(),
        [name] => format!("branch \"{name}\""),
        [name, ..] => format!("what \"{name}\" shows"),
    };
    let (message, of) = match scope {
        Scope::Table(table) => {
            (format!("permission denied for table {table}"), format!(" with table \"{table}\""))
        }
        Scope::All => (format!("permission denied for {place}"), " with all tables".to_owned()),
        Scope::Some => (format!("permission denied for {place}"), String::new()),
    };
    Error::new(sqlstate::INSUFFICIENT_PRIVILEGE, message)
        .with_detail(format!("User \"{user}\" lacks the right to {} on {place}{of}.", verb(right)))
        .with_hint(format!(
            "An admin can give it: SELECT epoch_grant('{}', '{}', …).",
            user.replace('\'', "''"),
            right.as_str()
        ))
}

fn verb(right: Right) -> &'static str {
    match right {
        Right::Admin => "administer",
        other => other.as_str(),
    }
}

/// 42501: a branch is protected.
fn protected(name: &str, what: &str) -> Error {
    Error::new(sqlstate::INSUFFICIENT_PRIVILEGE, format!("\"{name}\" is protected: it cannot be {what}"))
        .with_detail("SELECT * FROM epoch.protections says what protects it.")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn rights(grants: &[(&str, &str, &str, &str)], members: &[(&str, &str)]) -> Rights {
        let grant = |(grantee, right, branches, tables): &(&str, &str, &str, &str)| {
            let stored = StoredGrant {
                grantee: (*grantee).to_owned(),
                privilege: (*right).to_owned(),
                branches: (*branches).to_owned(),
                tables: (*tables).to_owned(),
                grantor: String::new(),
                created: 0,
            };
            (right.parse().unwrap(), stored)
        };
        let member = |(role, member): &(&str, &str)| ((*role).to_owned(), (*member).to_owned());
        Rights {
            grants: grants.iter().map(grant).collect(),
            members: members.iter().map(member).collect(),
            protections: Vec::new(),
        }
    }

    #[test]
    fn without_grants_everybody_may_everything() {
        let open = rights(&[], &[]);
        assert!(open.allow("anybody", Right::Admin, &["main".to_owned()], Scope::All));
        assert!(open.allow_all("anybody", Right::Admin));
    }

    #[test]
    fn a_right_is_of_a_user_a_branch_and_a_table() {
        let some = rights(
            &[
                ("ada", "write", "dev/*", "*"),
                ("bob", "merge", "main", "public.*"),
                ("root", "admin", "*", "*"),
            ],
            &[],
        );
        let table = |name: &str| TableName { schema: "public".to_owned(), name: name.to_owned() };
        let orders = table("orders");
        let may = |user: &str, right, name: &str, scope| some.allow(user, right, &[name.to_owned()], scope);
        assert!(may("ada", Right::Write, "dev/x", Scope::All));
        assert!(may("ada", Right::Read, "dev/x", Scope::Table(&orders)));
        assert!(!may("ada", Right::Merge, "dev/x", Scope::All));
        assert!(!may("ada", Right::Read, "main", Scope::Some));
        assert!(!may("ada", Right::Read, "dev", Scope::Some));
        assert!(may("bob", Right::Merge, "main", Scope::Table(&orders)));
        assert!(!may("bob", Right::Merge, "main", Scope::All));
        assert!(!may("bob", Right::Write, "main", Scope::Some));
        assert!(may("root", Right::Merge, "main", Scope::All) && some.allow_all("root", Right::Admin));
        assert!(!may("eve", Right::Read, "main", Scope::Some));
    }

    #[test]
    fn roles_give_what_they_have_to_members_of_members() {
        let some = rights(
            &[("readers", "read", "*", "*"), ("public", "read", "open", "*")],
            &[("readers", "staff"), ("staff", "ada"), ("ada", "staff")],
        );
        let may = |user: &str, name: &str| some.allow(user, Right::Read, &[name.to_owned()], Scope::All);
        assert!(may("ada", "main") && may("staff", "main"));
        assert!(!may("bob", "main") && may("bob", "open"));
    }

    #[test]
    fn protections_of_several_patterns_add_up() {
        let one = |branches: &str, no_writes, merge_only, check: &str| Protection {
            branches: branches.to_owned(),
            no_writes,
            merge_only,
            checks: vec![check.to_owned()],
        };
        let protections =
            vec![one("main", true, false, "a"), one("m*", false, true, "a"), one("x", true, true, "b")];
        let rights = Rights { protections, ..Rights::default() };
        let guard = Guard { no_writes: true, merge_only: true, checks: vec!["a".to_owned()] };
        assert_eq!(rights.guard("main"), Some(guard));
        assert_eq!(rights.guard("dev"), None);
    }
}
