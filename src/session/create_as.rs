//! CREATE TABLE AS and SELECT INTO on a branch.

use epoch_adapter::{Error, Piece, Result, Statement, TableDef, TableName, sqlstate};
use epoch_adapter_postgres::layout::{overlay, quote};
use futures::FutureExt;

use super::define::{Setting, place};
use super::local::Done;
use super::native::Native;
use super::plan::Route;
use crate::query::{CREATE_AS_ROWS, CreateAs};

/// A column of the query's result.
struct Column {
    name: String,
    pg_type: String,
    /// If it isn't the type's own.
    collation: Option<String>,
}

impl Native {
    /// The inner error is the client's. `tag`: if no rows are counted.
    pub(super) async fn create_as(
        &mut self,
        tag: &str,
        made: &CreateAs,
        text: &str,
        setting: &Setting,
    ) -> Result<Result<Done>> {
        let place = match self.free_place(made, setting) {
            Ok(place) => place,
            Err(error) if made.if_not_exists && error.code() == "42P07" => {
                let mut done = Done::command(tag);
                done.notices
                    .push(error.with_message(format!("relation \"{}\" already exists, skipping", made.name)));
                return Ok(Ok(done));
            }
            Err(error) => return Ok(Err(error)),
        };
        let Some(key) = &made.key else { return Ok(Err(made.keyless())) };
        let done = self.make_of_rows(tag, made, key, text, setting, &place).boxed().await?;
        // If it isn't there, nothing is to be done about it.
        let _ = self.pipe.ask(&format!("DROP TABLE IF EXISTS {CREATE_AS_ROWS}")).await?;
        Ok(done)
    }

    /// Where the table is made; 42P07 if the branch has one of this name.
    fn free_place(&self, made: &CreateAs, setting: &Setting) -> Result<TableName> {
        let tables = self.shown();
        let place = place(setting, &made.name, self.planner.backend(), &tables.absent)?;
        if tables.by_name.contains_key(&place) {
            return Err(Error::new("42P07", format!("relation \"{}\" already exists", made.name)));
        }
        Ok(place)
    }

    async fn make_of_rows(
        &mut self,
        tag: &str,
        made: &CreateAs,
        key: &[usize],
        text: &str,
        setting: &Setting,
        place: &TableName,
    ) -> Result<Result<Done>> {
        if let Err(error) = self.fetch(made, text).await? {
            return Ok(Err(error));
        }
        let (columns, count) = match self.fetched().await? {
            Ok(found) => found,
            Err(error) => return Ok(Err(error)),
        };
        let names: Vec<&str> = key.iter().filter_map(|&i| columns.get(i)).map(|c| c.name.as_str()).collect();
        let statement = definition(made, &columns, &names, setting);
        if let Err(error) = self.create(place, statement).await? {
            return Ok(Err(error));
        }
        let Some(table) = self.shown().by_name.get(place).cloned() else {
            return Ok(Err(Error::internal("a table that was made is not there")));
        };
        if let Err(error) = self.fill(&table).await? {
            // The first error tells more than one of taking the table away again.
            if !self.is_within() {
                let seat = &self.planner.seat;
                let none = (self.planner.backend(), Vec::new(), &[][..]);
                let _ = seat.repository.drop_tables(&seat.checkout, &[table.id], none).await;
            }
            return Ok(Err(error));
        }
        let mut done =
            if made.with_data { Done::command(&format!("SELECT {count}")) } else { Done::command(tag) };
        let names: Vec<String> = names.into_iter().map(quote).collect();
        done.notices.push(
            Error::new(
                "00000",
                format!("table \"{}\" gets the primary key ({})", made.name, names.join(", ")),
            )
            .with_detail("A versioned table needs a key."),
        );
        Ok(Ok(done))
    }

    /// Runs the query into the temporary table.
    async fn fetch(&mut self, made: &CreateAs, text: &str) -> Result<Result<()>> {
        let planned = match self.plan(&made.text, &[], None).boxed().await? {
            Ok(planned) => planned,
            Err(error) => return Ok(Err(positioned(error, |p| made.position(text, p)))),
        };
        let [step] = planned.steps.as_slice() else {
            return Ok(Err(Error::internal("CREATE TABLE AS became another number of statements")));
        };
        let answer = match &step.route {
            Route::Relay => self.pipe.ask(&made.text).await?,
            Route::Rewritten(rewritten) => {
                let mut whole: String = rewritten.prelude.iter().map(|p| format!("{};\n", p.sql)).collect();
                let before = whole.chars().count();
                whole.push_str(&rewritten.sql);
                let back = |p: usize| rewritten.position(&made.text, p.saturating_sub(before).max(1));
                self.pipe.ask(&whole).await?.map_err(|error| positioned(error, back))
            }
            Route::Local(_) => Err(Error::unsupported("CREATE TABLE AS of this query on a branch")),
        };
        Ok(answer.map(drop).map_err(|error| positioned(error, |p| made.position(text, p))))
    }

    /// The columns of the temporary table, and how many rows it has.
    async fn fetched(&mut self) -> Result<Result<(Vec<Column>, String)>> {
        let sql = format!(
            "SELECT (SELECT pg_catalog.json_agg(pg_catalog.json_build_array(a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod), \
             CASE WHEN a.attcollation NOT IN (0, t.typcollation) THEN (SELECT pg_catalog.format('%I.%I', n.nspname, k.collname) \
                 FROM pg_catalog.pg_collation k JOIN pg_catalog.pg_namespace n ON n.oid = k.collnamespace WHERE k.oid = a.attcollation) END) ORDER BY a.attnum) \
             FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_type t ON t.oid = a.atttypid \
             WHERE a.attrelid = '{CREATE_AS_ROWS}'::pg_catalog.regclass AND a.attnum > 0), (SELECT pg_catalog.count(*) FROM {CREATE_AS_ROWS})"
        );
        let row = match self.pipe.ask(&sql).await? {
            Ok(rows) => rows.into_iter().next().unwrap_or_default(),
            Err(error) => return Ok(Err(error)),
        };
        let cell = |i: usize| row.get(i).cloned().flatten();
        let columns: Option<Vec<(String, String, Option<String>)>> =
            cell(0).and_then(|json| serde_json::from_str(&json).ok());
        let Some(columns) = columns else {
            return Ok(Err(Error::new(
                sqlstate::INVALID_FOREIGN_KEY,
                "a table without columns has no usable key",
            )));
        };
        let one = |(name, pg_type, collation)| Column { name, pg_type, collation };
        Ok(Ok((columns.into_iter().map(one).collect(), cell(1).unwrap_or_default())))
    }

    async fn fill(&mut self, table: &TableDef) -> Result<Result<()>> {
        let columns: Vec<String> = table.schema.columns.iter().map(|c| quote(&c.name)).collect();
        let columns = columns.join(", ");
        let sql =
            format!("INSERT INTO {} ({columns}) SELECT {columns} FROM {CREATE_AS_ROWS}", overlay(table));
        Ok(self.pipe.ask(&sql).await?.map(drop))
    }
}

fn definition(made: &CreateAs, columns: &[Column], key: &[&str], setting: &Setting) -> Statement {
    let one = |column: &Column| {
        let collation = column.collation.as_ref().map_or_else(String::new, |c| format!(" COLLATE {c}"));
        format!("{} {}{collation}", quote(&column.name), column.pg_type)
    };
    let columns: Vec<String> = columns.iter().map(one).collect();
    let key: Vec<String> = key.iter().map(|name| quote(name)).collect();
    let head = if made.unlogged { "CREATE UNLOGGED TABLE " } else { "CREATE TABLE " };
    let body = format!(" ({}, PRIMARY KEY ({}))", columns.join(", "), key.join(", "));
    let pieces = vec![Piece::Text(head.to_owned()), Piece::Own(made.name.chars().count()), Piece::Text(body)];
    Statement { pieces, settings: setting.settings.clone() }
}

fn positioned(error: Error, back: impl Fn(usize) -> usize) -> Error {
    match error.position() {
        Some(position) => error.with_position(back(position)),
        None => error,
    }
}
