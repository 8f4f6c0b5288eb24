//! Data definition on a branch, which the repository does at once, or in the client's own transaction.

use std::collections::HashSet;
use std::sync::Arc;

use epoch_adapter::{Error, Location, Result, Statement as Text, TableDef, TableId, TableName, sqlstate};
use futures::FutureExt;

use super::local::Done;
use super::native::Native;
use crate::operations::Tables;
use crate::query::{Action, Definition, Views};
use crate::wire::encode::Status;

/// Settings that the meaning of a definition's text may depend on.
const SETTINGS: &[&str] = &[
    "search_path",
    "DateStyle",
    "IntervalStyle",
    "TimeZone",
    "timezone_abbreviations",
    "array_nulls",
    "backslash_quote",
    "bytea_output",
    "check_function_bodies",
    "default_table_access_method",
    "default_tablespace",
    "default_text_search_config",
    "default_toast_compression",
    "extra_float_digits",
    "lc_monetary",
    "lc_numeric",
    "lc_time",
    "standard_conforming_strings",
    "transform_null_equals",
    "xmloption",
];

/// What the session is, as the server says it.
#[derive(Clone)]
pub(super) struct Setting {
    pub(super) settings: Vec<(String, String)>,
    pub(super) schema: Option<String>,
    /// The schema is there.
    pub(super) found: bool,
    pub(super) may_create: bool,
    /// The server has a relation of the name.
    pub(super) taken: bool,
}

impl Native {
    /// The inner error is the client's.
    pub(super) async fn define(&mut self, definition: &Arc<Definition>, text: &str) -> Result<Result<Done>> {
        let idle = self.pipe.status == Status::Idle;
        if idle && self.pipe.batch {
            return Ok(Err(Error::unsupported(format!(
                "{} in a pipeline without a transaction block on a branch",
                definition.tag
            ))
            .with_hint("BEGIN first, or send a Sync message before.")));
        }
        if idle && !definition.alone {
            return Ok(Err(Error::unsupported(format!(
                "{} together with such statements in one string on a branch",
                definition.tag
            ))
            .with_hint("Send it alone, or in a transaction block.")));
        }
        let (schema, name) = match &definition.action {
            Action::Create { schema, name, .. } => (schema.as_deref(), name.as_str()),
            Action::CreateAs(made) => (made.schema.as_deref(), made.name.as_str()),
            Action::CreateType { schema, name, .. } => (schema.as_deref(), name.as_str()),
            Action::Views(Views { create: Some(made), .. }) => (made.schema.as_deref(), made.name.as_str()),
            Action::Move { to, .. } => (Some(to.schema.as_str()), to.name.as_str()),
            _ => (None, ""),
        };
        let setting = match self.setting(definition.tag, schema, name).await? {
            Ok(setting) => setting,
            Err(error) => return Ok(Err(error)),
        };
        let seat = &mut self.planner.seat;
        let names = names_of(definition, &seat.repository.every_table());
        let noted = seat.repository.noting(definition.tag, &names, Some(&seat.checkout));
        let own = std::mem::replace(&mut seat.repository, noted.clone());
        let done = match &definition.action {
            Action::CreateAs(made) => self.create_as(definition.tag, made, text, &setting).boxed().await,
            _ => self.run_definition(definition, text, setting).boxed().await,
        };
        self.planner.seat.repository = own;
        let types = self.planner.type_names.clone();
        let done = done.map(|done| done.map_err(|error| types.restored(error)));
        noted.settle(done.as_ref().map_or_else(Some, |done| done.as_ref().err())).await;
        self.planner.forget_names();
        done
    }

    /// Whether a transaction block is open.
    pub(super) fn is_within(&self) -> bool {
        self.pipe.status != Status::Idle
    }

    /// The tables that the session sees.
    pub(super) fn shown(&self) -> Arc<Tables> {
        match &self.planner.block {
            Some(block) => block.tables(),
            None => self.planner.seat.repository.tables_on(&self.planner.seat.checkout),
        }
    }

    /// CREATE TABLE. The inner error is the client's.
    pub(super) async fn create(&mut self, place: &TableName, text: Text) -> Result<Result<()>> {
        if self.is_within() {
            return Ok(self.create_within(place, text).await?.map(drop));
        }
        let backend = self.planner.backend().to_owned();
        let seat = &self.planner.seat;
        Ok(seat.repository.create_table(&seat.checkout, &backend, place, text).await)
    }

    async fn run_definition(
        &mut self,
        definition: &Definition,
        text: &str,
        setting: Setting,
    ) -> Result<Result<Done>> {
        let mut done = Done::command(definition.tag);
        let settings = setting.settings.clone();
        let with = |text: &Text| Text { settings, ..text.clone() };
        match &definition.action {
            Action::Create { name, if_not_exists, text: create, .. } => {
                // What came to main by a merge may not be there on this branch.
                let shown = self.shown();
                let made = match place(&setting, name, self.planner.backend(), &shown.absent) {
                    Ok(place) if shown.by_name.contains_key(&place) => Err(taken(name)),
                    Ok(place) => self.create(&place, with(create)).await?,
                    Err(error) => Err(error),
                };
                match made {
                    Err(error)
                        if *if_not_exists
                            && error.message() == taken(name).message()
                            && self.pipe.status != Status::Failed =>
                    {
                        let text = format!("{}, skipping", error.message());
                        done.notices.push(Error::new("42P07", text));
                    }
                    Err(error) => return Ok(Err(positioned(error, definition, text))),
                    Ok(()) => {}
                }
            }
            Action::Views(views) => {
                if let Err(error) = self.define_views(views, &setting).await? {
                    // Only CREATE VIEW runs the client's text.
                    let own = views.create.is_some();
                    return Ok(Err(if own {
                        positioned(error, definition, text)
                    } else {
                        error.without_position()
                    }));
                }
                done.notices.extend(cascaded(views));
                for name in &views.missing {
                    let text = format!("view \"{name}\" does not exist, skipping");
                    done.notices.push(Error::new("00000", text));
                }
            }
            Action::CreateType { name, labels, text: create, .. } => {
                let made = self.create_type(name, labels, with(create), &setting).await?;
                if let Err(error) = made {
                    return Ok(Err(positioned(error, definition, text)));
                }
            }
            Action::DropType { types, missing } => {
                if let Err(error) = self.drop_types(types).await? {
                    return Ok(Err(error));
                }
                for name in missing {
                    let text = format!("type \"{name}\" does not exist, skipping");
                    done.notices.push(Error::new("00000", text));
                }
            }
            Action::Move { table, to, schema } => {
                if let Err(error) = self.move_table(*table, (to, *schema), &setting).await? {
                    return Ok(Err(error.without_position()));
                }
            }
            Action::Nothing(notice) => {
                done.notices.extend(notice.as_ref().map(|text| Error::new("00000", text.clone())));
            }
            // Done by create_as.rs.
            Action::CreateAs(_) => {}
            Action::Alter { table, text: alter } => {
                let altered = if self.is_within() {
                    self.alter_within(*table, with(alter)).await?.map(drop)
                } else {
                    let seat = &self.planner.seat;
                    seat.repository.alter_table(&seat.checkout, *table, with(alter)).await
                };
                if let Err(error) = altered {
                    return Ok(Err(positioned(error, definition, text)));
                }
            }
            Action::Drop { tables, missing, views, cascade } => {
                let dropped = match tables.is_empty() {
                    true => Ok(()),
                    false if self.is_within() => match self.define_views(views, &setting).await? {
                        Ok(()) => self.drop_within(tables).await?,
                        failed => failed,
                    },
                    false => {
                        let seat = &self.planner.seat;
                        let views = (self.planner.backend(), views.steps.clone(), views.forgotten.as_slice());
                        seat.repository.drop_tables(&seat.checkout, tables, views).await
                    }
                };
                if let Err(error) = dropped {
                    return Ok(Err(if *cascade { to_keys(error) } else { error }));
                }
                done.notices.extend(cascaded(views));
                let kind = if definition.tag == "DROP INDEX" { "index" } else { "table" };
                for name in missing {
                    let text = format!("{kind} \"{name}\" does not exist, skipping");
                    done.notices.push(Error::new("00000", text));
                }
            }
        }
        Ok(Ok(done))
    }

    /// Gives a table another name or schema. The inner error is the client's.
    async fn move_table(
        &mut self,
        table: TableId,
        (to, schema): (&TableName, bool),
        setting: &Setting,
    ) -> Result<Result<()>> {
        let shown = self.shown();
        let is_taken = match place(setting, &to.name, self.planner.backend(), &shown.absent) {
            Ok(place) => shown.by_name.contains_key(&place),
            Err(error) if error.message() == taken(&to.name).message() => true,
            Err(error) => return Ok(Err(error)),
        };
        if is_taken {
            let there = if schema { format!(" in schema \"{}\"", to.schema) } else { String::new() };
            return Ok(Err(Error::new("42P07", format!("relation \"{}\" already exists{there}", to.name))));
        }
        if self.is_within() {
            return Ok(self.rename_within(table, to).await?.map(drop));
        }
        let seat = &self.planner.seat;
        Ok(seat.repository.rename_table(&seat.checkout, table, to).await)
    }

    /// Asks the server about the session. `schema`, `name`: of a table to be made.
    async fn setting(&mut self, command: &str, schema: Option<&str>, name: &str) -> Result<Result<Setting>> {
        use epoch_adapter_postgres::layout::literal;
        let names: Vec<String> = SETTINGS.iter().map(|s| literal(s)).collect();
        let sql = format!(
            "SELECT (SELECT pg_catalog.json_agg(pg_catalog.json_build_array(s.name, s.setting)) FROM pg_catalog.pg_settings s \
                 WHERE s.name IN ({})), n.s, p.oid IS NOT NULL, coalesce(pg_catalog.has_schema_privilege(p.oid, 'CREATE'), false), \
             EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.relnamespace = p.oid AND c.relname = {}), \
             pg_catalog.current_setting('transaction_read_only') = 'on', \
             coalesce((SELECT a.usesysid FROM pg_catalog.pg_stat_get_activity(pg_catalog.pg_backend_pid()) a) \
                 = (SELECT r.oid FROM pg_catalog.pg_roles r WHERE r.rolname = current_user), false), \
             pg_catalog.current_setting('transaction_isolation') = 'read committed' \
             FROM (SELECT coalesce({}, pg_catalog.current_schema()::text)) n(s) LEFT JOIN pg_catalog.pg_namespace p ON p.nspname = n.s",
            names.join(", "),
            literal(name),
            schema.map_or_else(|| "NULL::text".to_owned(), literal),
        );
        let row = match self.pipe.ask(&sql).await? {
            Ok(rows) => rows.into_iter().next().unwrap_or_default(),
            Err(error) => return Ok(Err(error)),
        };
        let cell = |i: usize| row.get(i).cloned().flatten();
        let is = |i: usize| cell(i).as_deref() == Some("t");
        if is(5) {
            let message = format!("cannot execute {command} in a read-only transaction");
            return Ok(Err(Error::new(sqlstate::READ_ONLY_SQL_TRANSACTION, message)));
        }
        if !is(6) {
            return Ok(Err(Error::unsupported(format!("{command} under another role on a branch"))
                .with_hint("RESET ROLE or RESET SESSION AUTHORIZATION first.")));
        }
        if self.is_within() && !is(7) {
            return Ok(Err(Error::unsupported(format!(
                "{command} in a REPEATABLE READ or SERIALIZABLE transaction on a branch"
            ))
            .with_hint("Use READ COMMITTED.")));
        }
        let settings = cell(0).map(|json| serde_json::from_str(&json)).transpose();
        let settings = settings.map_err(|e| Error::internal(format!("settings of the server: {e}")));
        Ok(settings.map(|settings| Setting {
            settings: settings.unwrap_or_default(),
            schema: cell(1),
            found: is(2),
            may_create: is(3),
            taken: is(4),
        }))
    }
}

/// The tables that a definition is about, for the audit: its text may hold anything.
fn names_of(definition: &Definition, tables: &[Arc<TableDef>]) -> String {
    let named = |id: &TableId| tables.iter().find(|t| t.id == *id).map(|t| t.name.to_string());
    match &definition.action {
        Action::Create { name, .. } => name.clone(),
        Action::CreateAs(made) => made.name.clone(),
        Action::Alter { table, .. } => named(table).unwrap_or_default(),
        Action::Move { table, to, .. } => format!("{}, {to}", named(table).unwrap_or_default()),
        Action::Nothing(_) => String::new(),
        Action::CreateType { name, .. } => name.clone(),
        Action::DropType { types, .. } => types.iter().filter_map(named).collect::<Vec<_>>().join(", "),
        Action::Views(views) => {
            let made = views.create.iter().map(|view| view.name.clone());
            let changed = views.steps.iter().map(|step| step.name.to_string());
            made.chain(changed).chain(views.forgotten.iter().filter_map(named)).collect::<Vec<_>>().join(", ")
        }
        Action::Drop { tables, .. } => tables.iter().filter_map(named).collect::<Vec<_>>().join(", "),
    }
}

/// CASCADE doesn't drop foreign keys.
fn to_keys(error: Error) -> Error {
    if error.code() != "2BP01" {
        return error;
    }
    let what = "DROP TABLE … CASCADE of a table that foreign keys refer to, on a branch";
    Error::unsupported(what)
        .with_detail(error.detail().unwrap_or_default())
        .with_hint("Drop the foreign keys first.")
}

/// What PostgreSQL says of CASCADE.
fn cascaded(views: &Views) -> Option<Error> {
    match views.cascaded.as_slice() {
        [] => None,
        [one] => Some(Error::new("00000", format!("drop cascades to view {one}"))),
        all => {
            let lines: Vec<String> = all.iter().map(|name| format!("drop cascades to view {name}")).collect();
            let message = format!("drop cascades to {} other objects", all.len());
            Some(Error::new("00000", message).with_detail(lines.join("\n")))
        }
    }
}

fn taken(name: &str) -> Error {
    Error::new("42P07", format!("relation \"{name}\" already exists"))
}

/// Where a table is made; PostgreSQL's own errors if it can't be.
pub(super) fn place(
    setting: &Setting,
    name: &str,
    backend: &str,
    absent: &HashSet<Location>,
) -> Result<TableName> {
    let Some(schema) = &setting.schema else {
        return Err(Error::new("3F000", "no schema has been selected to create in"));
    };
    if !setting.found {
        return Err(Error::new("3F000", format!("schema \"{schema}\" does not exist")));
    }
    if crate::query::is_reserved(schema) || !setting.may_create {
        return Err(Error::new(
            sqlstate::INSUFFICIENT_PRIVILEGE,
            format!("permission denied for schema {schema}"),
        ));
    }
    let place = TableName { schema: schema.clone(), name: name.to_owned() };
    let same = |l: &Location| l.backend == backend && l.schema.as_ref() == Some(schema) && l.table == name;
    if setting.taken && !absent.iter().any(same) {
        return Err(taken(name));
    }
    Ok(place)
}

/// An error's position in the client's text, of which the definition is a part.
fn positioned(error: Error, definition: &Definition, text: &str) -> Error {
    let before = text.get(..definition.range.start).unwrap_or_default().chars().count();
    match error.position() {
        Some(position) => error.with_position(before + position),
        None => error,
    }
}
