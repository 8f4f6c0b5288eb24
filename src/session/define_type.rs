//! Data definition of types on a branch.

use epoch_adapter::{Error, Result, Statement, TableId, TableName, sqlstate};
use epoch_adapter_postgres::layout::literal;

use super::define::{Setting, place};
use super::native::Native;
use crate::operations::NewType;

impl Native {
    /// CREATE TYPE … AS ENUM where the session makes types. The inner error is the client's.
    pub(super) async fn create_type(
        &mut self,
        name: &str,
        labels: &[String],
        statement: Statement,
        setting: &Setting,
    ) -> Result<Result<()>> {
        let shown = self.shown();
        let backend = self.planner.backend().to_owned();
        // What main has there is looked at below: relations are no obstacle by themselves, their types are.
        let free = Setting { taken: false, ..setting.clone() };
        let name = match place(&free, name, &backend, &shown.absent) {
            Ok(name) => name,
            Err(error) => return Ok(Err(error)),
        };
        match self.is_taken(&name).await? {
            Ok(false) => {}
            Ok(true) => {
                let message = format!("type \"{}\" already exists", name.name);
                return Ok(Err(Error::new(sqlstate::DUPLICATE_OBJECT, message)));
            }
            Err(error) => return Ok(Err(error)),
        }
        let new = NewType { name, labels: labels.to_vec(), statement };
        if self.is_within() {
            return self.type_within(new).await;
        }
        let seat = &self.planner.seat;
        Ok(seat.repository.create_type(&seat.checkout, &backend, new).await)
    }

    /// Whether main has a type of a name that the branch has, too. One that PostgreSQL made for arrays gives way.
    async fn is_taken(&mut self, name: &TableName) -> Result<Result<bool>> {
        let shown = self.shown();
        let backend = self.planner.backend();
        let gone = shown.absent_types.contains(&(backend.to_owned(), name.clone()))
            || shown.absent.iter().any(|l| {
                l.backend == backend && l.schema.as_ref() == Some(&name.schema) && l.table == name.name
            });
        if gone {
            return Ok(Ok(false));
        }
        let sql = format!(
            "SELECT FROM pg_catalog.pg_type t JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace \
             WHERE n.nspname = {} AND t.typname = {} \
             AND NOT EXISTS (SELECT FROM pg_catalog.pg_type e WHERE e.typarray = t.oid)",
            literal(&name.schema),
            literal(&name.name)
        );
        Ok(self.pipe.ask(&sql).await?.map(|rows| !rows.is_empty()))
    }

    /// DROP TYPE. The inner error is the client's.
    pub(super) async fn drop_types(&mut self, types: &[TableId]) -> Result<Result<()>> {
        if types.is_empty() {
            return Ok(Ok(()));
        }
        if self.is_within() {
            return self.drop_types_within(types).await;
        }
        let seat = &self.planner.seat;
        Ok(seat.repository.drop_types(&seat.checkout, types).await)
    }
}
