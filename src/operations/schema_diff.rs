//! How the definitions of tables differ between two refs.

use std::sync::Arc;

use epoch_adapter::{Error, Part, Replay, Result, TableDef, TableId, TableName, at_home, sqlstate};

use super::{Checkout, Repository, SchemaDiff, Scope, Tables};
use super::{type_diff, view_diff};

type Sides = (Option<Arc<TableDef>>, Option<Arc<TableDef>>);

impl Repository {
    /// The tables and views, or the one of this name, that two refs define in different ways.
    pub async fn schema_diff(
        &self,
        checkout: &Checkout,
        from: &str,
        to: &str,
        name: Option<&str>,
    ) -> Result<Vec<SchemaDiff>> {
        let (from, to) = self.two(checkout, from, to).await?;
        let (left, right) = (self.tables_of_ref(&from).await?, self.tables_of_ref(&to).await?);
        let mut pairs = self.pairs(&left, &right);
        let mut views = view_diff::between(&left, &right);
        let [mut types, mut gone] = type_diff::between(&left, &right);
        if let Some(name) = name {
            let named = [left.find(name), right.find(name)].map(|found| found.map(|t| t.id));
            let wanted = TableName::from_sql(name);
            for rowless in [&mut views, &mut types, &mut gone] {
                rowless.retain(|one| Some(&one.table) == wanted.as_ref());
            }
            let is_view = wanted.is_some_and(|name| {
                [&left, &right].iter().any(|t| view_diff::has(t, &name) || type_diff::has(t, &name))
            });
            if named == [None, None] && !is_view {
                let message = format!("table \"{name}\" is on neither side");
                return Err(Error::new(sqlstate::UNDEFINED_TABLE, message));
            }
            let is_named =
                |table: &Option<Arc<TableDef>>| table.as_ref().is_some_and(|t| named.contains(&Some(t.id)));
            pairs.retain(|(left, right)| is_named(left) || is_named(right));
        }
        for one in views.iter().chain(&types).chain(&gone) {
            self.may_compare(&from, &to, Scope::Table(&one.table)).await?;
        }
        // Before the tables that use them.
        let mut found = types;
        for (left, right) in pairs {
            let Some(table) = right.as_ref().or(left.as_ref()).map(|t| t.name.clone()) else { continue };
            for (named, side) in [(&from, &left), (&to, &right)] {
                self.may_read(named, Scope::Table(side.as_ref().map_or(&table, |t| &t.name))).await?;
            }
            let (before, after) = (self.created(left.as_ref()).await?, self.created(right.as_ref()).await?);
            let statements = match (&left, &right) {
                (None, _) => after.clone().map(|statement| vec![statement]),
                (Some(left), None) => Some(vec![format!("DROP TABLE {};", name_of(left))]),
                (Some(left), Some(right)) => self.statements_between(left, right),
            };
            found.push(SchemaDiff { table, from: before, to: after, statements });
        }
        // Behind the tables that they read, and that used them.
        found.extend(views);
        found.extend(gone);
        Ok(found)
    }

    /// Tables of which the two sides have other versions, or one side none.
    fn pairs(&self, left: &Tables, right: &Tables) -> Vec<Sides> {
        let state = self.state();
        let mut gone: Vec<_> =
            left.sorted().into_iter().filter(|t| !right.by_id.contains_key(&t.id)).collect();
        let mut pairs: Vec<Sides> = Vec::new();
        for table in right.sorted().into_iter().filter(|t| !left.by_id.contains_key(&t.id)) {
            let before = gone.iter().position(|other| state.are_related(other.id, table.id));
            pairs.push((before.map(|at| gone.remove(at)), Some(table)));
        }
        pairs.extend(gone.into_iter().map(|table| (Some(table), None)));
        let name = |(left, right): &Sides| right.as_ref().or(left.as_ref()).map(|t| (t.name.clone(), t.id));
        pairs.sort_by_key(name);
        pairs
    }

    async fn created(&self, table: Option<&Arc<TableDef>>) -> Result<Option<String>> {
        let Some(table) = table else { return Ok(None) };
        let backend = self.inner.backends.require(&table.location.backend)?;
        let mut text = backend.create_statement(table).await?;
        // What a table made on a branch refers to stands in for its parents.
        let state = self.state();
        let mut parents: Vec<&Arc<TableDef>> = state.all_tables().collect();
        parents.sort_by_key(|t| std::cmp::Reverse(t.id));
        for parent in parents {
            let stand_in = format!("REFERENCES parent_{}(", parent.id.0);
            text = text.replace(&stand_in, &format!("REFERENCES {}(", name_of(parent)));
        }
        Ok(Some(text))
    }

    /// What clients did to make one version of a table the other.
    fn statements_between(&self, left: &TableDef, right: &TableDef) -> Option<Vec<String>> {
        let state = self.state();
        if !state.is_made_from(right.id, left.id) {
            return None;
        }
        let steps = state.steps(right, left.id)?;
        let named = |id: TableId| state.table(id).map(|t| name_of(t));
        let mut now = name_in(left);
        let mut all = Vec::new();
        for (_, replay) in &steps {
            match &replay.to {
                Some(to) => {
                    all.extend(renames(&now, to));
                    now = to.clone();
                }
                None => all.push(written(&now, replay, &named)),
            }
        }
        Some(all)
    }
}

fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// The name by which statements name a table.
fn name_of(table: &TableDef) -> String {
    let home = table.location.home();
    match &home.schema {
        Some(schema) => format!("{}.{}", quote(schema), quote(&home.table)),
        None => quote(&home.table),
    }
}

/// The name that a table has where it is.
fn name_in(table: &TableDef) -> TableName {
    let home = table.location.home();
    TableName { schema: home.schema.unwrap_or_default(), name: home.table }
}

fn written_name(name: &TableName) -> String {
    format!("{}.{}", quote(&name.schema), quote(&name.name))
}

/// The statements that give a table another name or schema.
fn renames(from: &TableName, to: &TableName) -> Vec<String> {
    let mut all = Vec::new();
    let mut at = from.clone();
    if at.schema != to.schema {
        all.push(format!("ALTER TABLE {} SET SCHEMA {};", written_name(&at), quote(&to.schema)));
        at.schema.clone_from(&to.schema);
    }
    if at.name != to.name {
        all.push(format!("ALTER TABLE {} RENAME TO {};", written_name(&at), quote(&to.name)));
    }
    all
}

/// A statement of a client's, with the names that the tables have.
fn written(table: &TableName, replay: &Replay, named: &dyn Fn(TableId) -> Option<String>) -> String {
    let part = |part: &Part| match part {
        Part::Text(text) => text.clone(),
        Part::Own => written_name(table),
        Part::Beside(name) => format!("{}.{}", quote(&table.schema), quote(name)),
        Part::Parent(id) => named(*id).unwrap_or_default(),
    };
    let text: String = replay.parts.iter().map(part).collect();
    let text = at_home(&text);
    format!("{};", text.trim().trim_end_matches(';').trim_end())
}
