//! Whether what a ref shows keeps to the constraints of its tables, and what a merge would have broken.

use std::collections::BTreeMap;
use std::sync::Arc;

use epoch_adapter::{
    Error, Row, RowChange, Rule, SeenTable, TableChanges, TableDef, TableId, View, Violation, sqlstate,
};

use super::publish::{Publication, Published};
use super::{Checkout, Repository, Right, Scope, Target};
use crate::Result;
use crate::metadata::OperationLock;
use crate::metadata::refs::Branch;
use crate::metadata::to_json;
use crate::metadata::violations::{self, Broken};

/// The most rows that are listed.
const MOST: usize = 100_000;

/// The most that is noted of a merge that wasn't made.
const NOTED: usize = 1_000;

/// The kind of the row that says that there are more than are listed.
const MORE: &str = "more";

/// A row of `epoch.constraint_violations`.
#[derive(Debug, Clone)]
pub struct Unsound {
    /// The table's name.
    pub table_name: String,
    /// `not null`, `check`, `unique` or `foreign key`; `more` for the last one, if not all are listed.
    pub kind: String,
    /// The constraint's name; of NOT NULL, the column's.
    pub constraint: String,
    /// The row, if it is there: the table that it is in, and its key.
    pub row: Option<(Arc<TableDef>, Row)>,
    /// What is wrong with it.
    pub detail: String,
}

impl Repository {
    /// Rows that a checkout shows and that don't keep to constraints, of some tables or of all that may be read; and,
    /// if all are asked for, what kept the last merge into the branch from being made.
    pub async fn violations(&self, checkout: &Checkout, tables: &[String]) -> Result<Vec<Unsound>> {
        self.refresh().await?;
        let mut found = self.found_violations(checkout, tables).await?;
        if found.len() >= MOST {
            let detail = format!("Only the first {MOST} rows are listed.");
            found.push(Unsound {
                table_name: found.last().map(|u| u.table_name.clone()).unwrap_or_default(),
                kind: MORE.to_owned(),
                constraint: String::new(),
                row: None,
                detail,
            });
        }
        if let (Target::Branch { layer }, []) = (&checkout.target, tables) {
            let mut tx = self.store().read().await?;
            let broken = violations::of(&mut tx, layer.lineage).await?;
            tx.commit().await?;
            let broken = broken.into_iter().filter(|b| self.may_see(checkout, b));
            let shown = self.tables_on(checkout);
            found.extend(broken.map(|b| {
                let key = b.key.as_deref().and_then(|key| serde_json::from_str::<Row>(key).ok());
                Unsound {
                    row: shown.find(&b.table_name).cloned().zip(key),
                    table_name: b.table_name,
                    kind: b.kind,
                    constraint: b.constraint,
                    detail: b.detail,
                }
            }));
        }
        Ok(found)
    }

    /// Whether what a constraint's message quotes may be read. It may name the table without its schema.
    fn may_see(&self, checkout: &Checkout, broken: &Broken) -> bool {
        if broken.kind == MORE {
            return true;
        }
        let shown = self.tables_on(checkout);
        let is =
            |t: &&Arc<TableDef>| t.name.name == broken.table_name || t.name.to_string() == broken.table_name;
        let mut named = shown.by_id.values().filter(is).peekable();
        match named.peek() {
            Some(_) => named.all(|table| self.view(checkout, table).is_ok()),
            None => self.may(checkout, Right::Read, Scope::All).is_ok(),
        }
    }

    /// How many rows that a checkout shows don't keep to constraints.
    pub async fn verify_constraints(&self, checkout: &Checkout, tables: &[String]) -> Result<usize> {
        self.refresh().await?;
        Ok(self.found_violations(checkout, tables).await?.len())
    }

    async fn found_violations(&self, checkout: &Checkout, tables: &[String]) -> Result<Vec<Unsound>> {
        let shown = self.tables_on(checkout);
        let wanted = match tables {
            [] => self.readable(checkout, shown.sorted())?,
            names => {
                let named = |name: &String| {
                    let found = shown.find(name).cloned();
                    found.ok_or_else(|| {
                        Error::new(sqlstate::UNDEFINED_TABLE, format!("table \"{name}\" is not registered"))
                            .with_hint("SELECT * FROM epoch.tables lists the registered ones.")
                    })
                };
                names.iter().map(named).collect::<Result<_>>()?
            }
        };
        // Parents are looked into, whoever may read them: the child's key says what is wrong.
        let all = Self { actor: None, ..self.clone() };
        let mut seen: BTreeMap<String, Vec<SeenTable>> = BTreeMap::new();
        for table in shown.sorted() {
            let view: View = all.view(checkout, &table)?;
            seen.entry(table.location.backend.clone()).or_default().push((table, view));
        }
        let mut found = Vec::new();
        for table in wanted {
            self.sound(&table).await?;
            let view = self.view(checkout, &table)?;
            let backend = self.inner.backends.require(&table.location.backend)?;
            let others = seen.get(&table.location.backend).map(Vec::as_slice).unwrap_or_default();
            let left = MOST.saturating_sub(found.len());
            let broken = backend.violations(&table, &view, others, left).await?;
            found.extend(broken.into_iter().map(|violation| of(&table, violation)));
        }
        Ok(found)
    }

    /// Those of these tables that may be read.
    fn readable(&self, checkout: &Checkout, tables: Vec<Arc<TableDef>>) -> Result<Vec<Arc<TableDef>>> {
        let mut readable = Vec::new();
        for table in tables {
            match self.view(checkout, &table) {
                Ok(_) => readable.push(table),
                Err(error) if error.code() == sqlstate::INSUFFICIENT_PRIVILEGE => {}
                Err(error) => return Err(error),
            }
        }
        Ok(readable)
    }

    /// Publishes the result of a merge. What constraints it breaks, if any, is noted for `epoch.constraint_violations`.
    pub(super) async fn publish_merged(
        &self,
        lock: &OperationLock,
        branch: &Branch,
        publication: Publication,
    ) -> Result<Option<Published>> {
        let changes = self.tellable(&publication);
        let published = self.publish(lock, branch.lineage, publication).await;
        let broken = match &published {
            Ok(_) => Vec::new(),
            Err(error) => match broken_by(error) {
                Some(first) => self.all_broken(branch, changes, first).await,
                None => return published,
            },
        };
        let mut tx = self.store().read().await?;
        let noted = violations::of(&mut tx, branch.lineage).await?;
        tx.commit().await?;
        if noted != broken {
            let mut tx = self.store().write().await?;
            violations::replace(&mut tx, branch.lineage, &broken).await?;
            tx.commit().await?;
        }
        published.map_err(|error| match error.hint() {
            None => {
                error.with_hint("SELECT * FROM epoch.constraint_violations shows what the merge would break.")
            }
            Some(_) => error,
        })
    }
}

impl Repository {
    /// The changes of a publication, if it is one of rows alone, of not too many.
    fn tellable(&self, publication: &Publication) -> Vec<TableChanges> {
        let Publication { schema, parts, .. } = publication;
        let rows: usize = parts.iter().flat_map(|p| &p.changes).map(|(_, rows)| rows.len()).sum();
        if rows > MOST || !schema.added.is_empty() || !schema.removed.is_empty() {
            return Vec::new();
        }
        let of_table = |(id, rows): &(TableId, Vec<RowChange>)| {
            let table = self.state().table(*id).cloned()?;
            Some(TableChanges { table, changes: rows.clone(), arrival: None })
        };
        parts.iter().flat_map(|p| &p.changes).filter_map(of_table).collect()
    }

    /// What a merge breaks that was refused for the `first` one.
    async fn all_broken(&self, branch: &Branch, changes: Vec<TableChanges>, first: Broken) -> Vec<Broken> {
        let all = match changes.is_empty() {
            true => Ok(None),
            false => self.would_break(branch, changes, NOTED + 1).await,
        };
        // What the refusal said is known whatever becomes of the question.
        let Ok(Some(all)) = all else { return vec![first] };
        let mut broken: Vec<Broken> =
            all.into_iter().map(|(table, violation)| broken(&table, violation)).collect();
        // Of what isn't looked at the refusal alone tells.
        if !broken.iter().any(|one| one.kind == first.kind) {
            broken.insert(0, first.clone());
        }
        if broken.len() > NOTED {
            broken.truncate(NOTED);
            broken.push(Broken {
                table_name: String::new(),
                kind: MORE.to_owned(),
                constraint: String::new(),
                key: None,
                detail: format!("Only the first {NOTED} rows that the merge would break are listed."),
            });
        }
        broken
    }

    /// Rows of a branch that would not keep to constraints after changes; `None` if a backend can't tell.
    pub(super) async fn would_break(
        &self,
        branch: &Branch,
        changes: Vec<TableChanges>,
        limit: usize,
    ) -> Result<Option<Vec<(Arc<TableDef>, Violation)>>> {
        let target = Target::Branch { layer: self.state().layer(branch.lineage)? };
        let checkout = Checkout { name: branch.name.clone(), target };
        let all = Self { actor: None, ..self.clone() };
        let mut by_backend: BTreeMap<String, Vec<TableChanges>> = BTreeMap::new();
        for change in changes.into_iter().filter(|c| c.table.is_table()) {
            by_backend.entry(change.table.location.backend.clone()).or_default().push(change);
        }
        let tables = self.tables_on(&checkout).sorted();
        let mut found = Vec::new();
        for (backend, changes) in by_backend {
            let mut shown: Vec<SeenTable> = Vec::new();
            for table in tables.iter().filter(|t| t.location.backend == backend && t.is_table()) {
                shown.push((Arc::clone(table), all.view(&checkout, table)?));
            }
            let backend = self.inner.backends.require(&backend)?;
            let left = limit.saturating_sub(found.len());
            let Some(broken) = backend.would_break(&shown, &changes, left).await? else { return Ok(None) };
            for (id, violation) in broken {
                found.push((self.table_by_id(id)?, violation));
            }
        }
        Ok(Some(found))
    }
}

fn broken(table: &TableDef, violation: Violation) -> Broken {
    Broken {
        table_name: table.name.to_string(),
        kind: violation.rule.as_str().to_owned(),
        constraint: violation.constraint,
        key: to_json(&violation.key).ok(),
        detail: violation.detail,
    }
}

fn of(table: &Arc<TableDef>, violation: Violation) -> Unsound {
    Unsound {
        table_name: table.name.to_string(),
        kind: violation.rule.as_str().to_owned(),
        constraint: violation.constraint,
        row: Some((Arc::clone(table), violation.key)),
        detail: violation.detail,
    }
}

/// What a refusal says of the constraint; `None` if it was for something else.
fn broken_by(error: &Error) -> Option<Broken> {
    let rule = match error.code() {
        sqlstate::NOT_NULL_VIOLATION => Rule::NotNull,
        sqlstate::CHECK_VIOLATION => Rule::Check,
        sqlstate::UNIQUE_VIOLATION => Rule::Unique,
        sqlstate::FOREIGN_KEY_VIOLATION => Rule::ForeignKey,
        _ => return None,
    };
    let constraint = error.constraint().or(error.column()).unwrap_or_default();
    Some(Broken {
        table_name: error.table().unwrap_or_default().to_owned(),
        kind: rule.as_str().to_owned(),
        constraint: constraint.to_owned(),
        key: None,
        detail: error.detail().unwrap_or_else(|| error.message()).to_owned(),
    })
}
