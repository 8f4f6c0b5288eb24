//! Whether what a ref shows keeps to the constraints of its tables, and what a merge would have broken.

use std::collections::BTreeMap;
use std::sync::Arc;

use epoch_adapter::{Error, Row, Rule, SeenTable, TableDef, View, Violation, sqlstate};

use super::publish::{Publication, Published};
use super::{Checkout, Repository, Right, Scope};
use crate::Result;
use crate::metadata::OperationLock;
use crate::metadata::refs::Branch;
use crate::metadata::violations::{self, Broken};

/// The most rows that are listed.
const MOST: usize = 100_000;

/// A row of `epoch.constraint_violations`.
#[derive(Debug, Clone)]
pub struct Unsound {
    /// The table's name.
    pub table_name: String,
    /// `not null`, `check`, `unique` or `foreign key`.
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
        if let (super::Target::Branch { layer }, []) = (&checkout.target, tables) {
            let mut tx = self.store().read().await?;
            let broken = violations::of(&mut tx, layer.lineage).await?;
            tx.commit().await?;
            let broken = broken.into_iter().filter(|b| self.may_see(checkout, b));
            found.extend(broken.map(|b| Unsound {
                table_name: b.table_name,
                kind: b.kind,
                constraint: b.constraint,
                row: None,
                detail: b.detail,
            }));
        }
        Ok(found)
    }

    /// Whether what a constraint's message quotes may be read. It names the table without its schema.
    fn may_see(&self, checkout: &Checkout, broken: &Broken) -> bool {
        let shown = self.tables_on(checkout);
        let mut named = shown.by_id.values().filter(|t| t.name.name == broken.table_name).peekable();
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

    /// Publishes the result of a merge. If it breaks a constraint, that is noted for `epoch.constraint_violations`.
    pub(super) async fn publish_merged(
        &self,
        lock: &OperationLock,
        branch: &Branch,
        publication: Publication,
    ) -> Result<Option<Published>> {
        let published = self.publish(lock, branch.lineage, publication).await;
        let broken = match &published {
            Ok(_) => None,
            Err(error) => match broken_by(error) {
                Some(broken) => Some(broken),
                None => return published,
            },
        };
        let mut tx = self.store().read().await?;
        let noted = violations::of(&mut tx, branch.lineage).await?;
        tx.commit().await?;
        if noted != broken {
            let mut tx = self.store().write().await?;
            violations::replace(&mut tx, branch.lineage, broken.as_ref()).await?;
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
        detail: error.detail().unwrap_or_else(|| error.message()).to_owned(),
    })
}
