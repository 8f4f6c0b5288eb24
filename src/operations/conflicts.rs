//! The conflicts of a waiting merge, and choosing between their sides.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::DataType;
use epoch_adapter::{
    BackendKind, Column, Error, Result, Row, TableDef, TableId, TableSchema, Value, sqlstate,
};
use serde::{Deserialize, Serialize};

use super::merge::{Pick, RowConflict, Sides, combine, differing_columns, with};
use super::merging::no_merge;
use super::schema::{TableChoices, TableSide, kind_of};
use super::{Checkout, Conflict, ConflictKind, Repository, Resolution, Resolved, Right, Scope, Side};
use crate::metadata::refs::Branch;
use crate::metadata::{merges, to_json};

/// A conflict with what was chosen so far.
#[derive(Debug)]
pub(super) struct Choice {
    pub(super) id: i64,
    pub(super) table: TableId,
    pub(super) conflict: RowConflict,
    picks: Picks,
    pub(super) resolved: bool,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
struct Picks {
    /// For everything in conflict that isn't in `columns`.
    whole: Option<Pick>,
    columns: BTreeMap<usize, Pick>,
}

impl Choice {
    fn sides(&self) -> Sides {
        let c = &self.conflict;
        Sides { base: c.base.clone(), ours: c.ours.clone(), theirs: c.theirs.clone() }
    }

    /// The columns that a choice can be made for; none if the row is there on one side only.
    fn open_columns(&self, schema: &TableSchema) -> Vec<usize> {
        if self.conflict.ours.is_none() || self.conflict.theirs.is_none() {
            return vec![];
        }
        if self.conflict.columns.is_empty() {
            return differing_columns(schema, &self.sides());
        }
        self.conflict.columns.clone()
    }

    pub(super) fn is_of_schema(&self) -> bool {
        self.conflict.kind == ConflictKind::Schema
    }

    fn is_complete(&self, schema: &TableSchema) -> bool {
        let columns = self.open_columns(schema);
        self.picks.whole.is_some()
            || (!columns.is_empty() && columns.iter().all(|c| self.picks.columns.contains_key(c)))
    }

    /// A row with what was picked for the columns in conflict: also for those of which both sides say the same.
    fn picked(&self, mut row: Row, pick: impl Fn(usize) -> Pick) -> Row {
        let side = |row: &Option<Row>, i: usize| row.as_ref().and_then(|r| r.get(i)).cloned();
        for &i in &self.conflict.columns {
            let value = match pick(i) {
                Pick::Ours => side(&self.conflict.ours, i),
                Pick::Theirs => side(&self.conflict.theirs, i),
                Pick::Base => side(&self.conflict.base, i),
                Pick::Value(value) => Some(value),
            };
            if let (Some(cell), Some(value)) = (row.get_mut(i), value) {
                *cell = value;
            }
        }
        row
    }

    /// The row that the merge takes.
    pub(super) fn result(&self, schema: &TableSchema) -> Option<Row> {
        let by_row = self.conflict.columns.is_empty();
        let mut row = match (&self.picks.whole, by_row) {
            (Some(Pick::Theirs), true) => self.conflict.theirs.clone(),
            (Some(Pick::Base), true) => self.conflict.base.clone(),
            (Some(Pick::Ours | Pick::Value(_)), true) => self.conflict.ours.clone(),
            (whole, _) => {
                let whole = whole.clone().unwrap_or(Pick::Ours);
                let pick = |i: usize| self.picks.columns.get(&i).cloned().unwrap_or_else(|| whole.clone());
                let row = with(combine(&self.sides(), pick), &self.conflict.decided);
                return Some(self.picked(row, pick));
            }
        }?;
        for (&i, pick) in self.picks.columns.iter().filter(|(i, _)| self.open_columns(schema).contains(i)) {
            let side = match pick {
                Pick::Ours => self.conflict.ours.as_ref(),
                Pick::Theirs => self.conflict.theirs.as_ref(),
                Pick::Base => self.conflict.base.as_ref(),
                Pick::Value(_) => None,
            };
            let value = match pick {
                Pick::Value(value) => Some(value.clone()),
                _ => side.and_then(|row| row.get(i).cloned()),
            };
            if let (Some(cell), Some(value)) = (row.get_mut(i), value) {
                *cell = value;
            }
        }
        Some(row)
    }
}

impl Repository {
    /// The conflicts that wait on the checkout's branch; none on a commit.
    pub async fn conflicts(&self, checkout: &Checkout, table: Option<&str>) -> Result<Vec<Conflict>> {
        self.refresh().await?;
        if !checkout.is_branch() {
            return Ok(vec![]);
        }
        let branch = self.head_branch(Some(checkout))?;
        self.may_branch(&branch, Right::Read, Scope::All)?;
        let choices = self.choices(&branch).await?;
        let wanted = table.map(|name| self.wanted(checkout, &choices, name)).transpose()?;
        choices
            .into_iter()
            .filter(|c| wanted.as_ref().is_none_or(|w| self.is_of(c, w)))
            .map(|c| self.describe_conflict(c))
            .collect()
    }

    /// The table that a name means: the branch's, one that only conflicts are about (or a view or type), or that of
    /// another branch, of which there are none.
    fn wanted(&self, checkout: &Checkout, choices: &[Choice], name: &str) -> Result<Arc<TableDef>> {
        let here = self.table(checkout, name);
        here.or_else(|error| {
            let named = super::registration::parse_name(name);
            let mut tables = choices.iter().filter_map(|c| self.table_by_id(c.table).ok());
            let elsewhere = || self.find_table(checkout, name).or_else(|| self.find_rowless(name));
            tables.find(|t| t.name == named).or_else(elsewhere).ok_or(error)
        })
    }

    /// Whether a conflict is one of a table, in whatever version the merge makes of it.
    fn is_of(&self, choice: &Choice, table: &TableDef) -> bool {
        let same = choice.table == table.id || self.state().are_versions(choice.table, table.id);
        // What both sides made of a name may be unrelated.
        same || (choice.is_of_schema() && self.table_by_id(choice.table).is_ok_and(|t| t.name == table.name))
    }

    /// The sides that were chosen for tables, by their first versions.
    pub(super) fn chosen_tables(&self, choices: &[Choice]) -> TableChoices {
        let side = |choice: &Choice| match choice.picks.whole {
            Some(Pick::Theirs) => TableSide::Theirs,
            _ => TableSide::Ours,
        };
        let of_tables = choices.iter().filter(|c| c.is_of_schema() && c.resolved);
        of_tables.map(|c| (self.state().first_version(c.table), side(c))).collect()
    }

    fn describe_conflict(&self, choice: Choice) -> Result<Conflict> {
        let table = self.table_by_id(choice.table)?;
        let name = |&i: &usize| table.schema.columns.get(i).map(|c| c.name.clone());
        let decided = choice.resolved && !choice.is_of_schema();
        let result = decided.then(|| choice.result(&table.schema)).flatten();
        let conflict = choice.conflict;
        let columns = conflict.columns.iter().filter_map(name);
        Ok(Conflict {
            id: choice.id,
            kind: conflict.kind,
            columns: columns.chain(conflict.parts).collect(),
            key: conflict.key,
            base: conflict.base,
            ours: conflict.ours,
            theirs: conflict.theirs,
            resolved: choice.resolved,
            result,
            table,
        })
    }

    /// All conflicts of the merge that waits on a branch.
    pub(super) async fn choices(&self, branch: &Branch) -> Result<Vec<Choice>> {
        let mut tx = self.store().read().await?;
        let rows = merges::conflicts(&mut tx, branch.lineage, None).await?;
        tx.commit().await?;
        let corrupt = |e: serde_json::Error| {
            Error::new(sqlstate::DATA_CORRUPTED, "a stored conflict cannot be read")
                .with_detail(e.to_string())
        };
        rows.into_iter()
            .map(|row| {
                Ok(Choice {
                    id: row.id,
                    table: row.table,
                    conflict: serde_json::from_str(&row.body).map_err(corrupt)?,
                    picks: serde_json::from_str(&row.resolution).map_err(corrupt)?,
                    resolved: row.resolved,
                })
            })
            .collect()
    }

    /// Who may merge into a branch or commit to it may say how.
    fn may_resolve(&self, branch: &Branch) -> Result<()> {
        let merge = self.may_branch(branch, Right::Merge, Scope::All);
        merge.or_else(|_| self.may_branch(branch, Right::Write, Scope::All))
    }

    /// Chooses a side for conflicts: all, of one table, one key, one column.
    pub async fn resolve_conflicts(&self, checkout: &Checkout, resolution: &Resolution) -> Result<Resolved> {
        let _lock = self.locked().await?;
        let branch = self.head_branch(Some(checkout))?;
        self.may_resolve(&branch)?;
        if self.waiting(&branch).await?.is_none() {
            return Err(no_merge(&branch));
        }
        if matches!(resolution.side, Side::Value(_)) && resolution.column.is_none() {
            let message = "a value resolves one column: name the column";
            return Err(Error::new(sqlstate::INVALID_PARAMETER_VALUE, message));
        }
        let mut choices = self.choices(&branch).await?;
        let table =
            resolution.table.as_deref().map(|name| self.wanted(checkout, &choices, name)).transpose()?;
        let (mut wanted, mut stored) = (Vec::new(), Stored::new());
        for choice in &choices {
            let def = self.table_by_id(choice.table)?;
            let meant = table.as_ref().is_none_or(|t| self.is_of(choice, t));
            if meant && key_matches(choice, &def, resolution) {
                let column = resolution.column.as_deref();
                let side = self.as_stored(&def, column, &resolution.side, &mut stored).await?;
                wanted.push((choice.id, def, Resolution { side, ..resolution.clone() }));
            }
        }
        let mut tx = self.store().write().await?;
        let (mut matched, mut resolved) = (false, 0);
        for (id, def, resolution) in &wanted {
            let Some(choice) = choices.iter_mut().find(|c| c.id == *id) else { continue };
            let was = choice.resolved;
            if !choose(choice, def, resolution)? {
                continue;
            }
            matched = true;
            choice.resolved = choice.is_complete(&def.schema);
            resolved += i64::from(choice.resolved && !was);
            merges::resolve(&mut tx, choice.id, &to_json(&choice.picks)?, choice.resolved).await?;
        }
        if !matched {
            return Err(Error::new(sqlstate::INVALID_PARAMETER_VALUE, "no conflict matches")
                .with_hint("SELECT * FROM epoch_conflicts('table') lists the conflicts of a table."));
        }
        tx.concludes();
        tx.commit().await?;
        let remaining = choices.iter().filter(|c| !c.resolved).count() as i64;
        Ok(Resolved { resolved, remaining })
    }
}

/// What is chosen for one conflict: of columns, or (`None`) of all that is in conflict. With nothing, ours stays where
/// nothing else was chosen before.
pub type Chosen = (i64, Vec<(Option<String>, Side)>);

impl Repository {
    /// Chooses for these conflicts, all of them or none. 22023 for a column that isn't in conflict.
    pub async fn resolve_these(&self, checkout: &Checkout, wanted: &[Chosen]) -> Result<Resolved> {
        let _lock = self.locked().await?;
        let branch = self.head_branch(Some(checkout))?;
        self.may_resolve(&branch)?;
        if self.waiting(&branch).await?.is_none() {
            return Err(no_merge(&branch));
        }
        let mut choices = self.choices(&branch).await?;
        let wanted = self.all_as_stored(&choices, wanted).await?;
        let mut tx = self.store().write().await?;
        let mut resolved = 0;
        for (id, sides) in &wanted {
            let choice = choices.iter_mut().find(|c| c.id == *id).ok_or_else(changed_meanwhile)?;
            let def = self.table_by_id(choice.table)?;
            let was = choice.resolved;
            if sides.is_empty() && choice.picks.whole.is_none() {
                choice.picks.whole = Some(Pick::Ours);
            }
            for (column, side) in sides {
                let resolution =
                    Resolution { side: side.clone(), table: None, key: None, column: column.clone() };
                if !choose(choice, &def, &resolution)? {
                    return Err(not_in_conflict(choice, &def, column.as_deref().unwrap_or_default()));
                }
            }
            choice.resolved = choice.is_complete(&def.schema);
            resolved += i64::from(choice.resolved && !was);
            merges::resolve(&mut tx, choice.id, &to_json(&choice.picks)?, choice.resolved).await?;
        }
        tx.concludes();
        tx.commit().await?;
        let remaining = choices.iter().filter(|c| !c.resolved).count() as i64;
        Ok(Resolved { resolved, remaining })
    }
}

/// What columns make of values, by table and column.
type Stored = BTreeMap<(TableId, usize, Value), Value>;

impl Repository {
    /// As `wanted`, the values as their columns hold them.
    async fn all_as_stored(&self, choices: &[Choice], wanted: &[Chosen]) -> Result<Vec<Chosen>> {
        let (mut all, mut stored) = (Vec::with_capacity(wanted.len()), Stored::new());
        for (id, sides) in wanted {
            let choice = choices.iter().find(|c| c.id == *id).ok_or_else(changed_meanwhile)?;
            let def = self.table_by_id(choice.table)?;
            let mut chosen = Vec::with_capacity(sides.len());
            for (column, side) in sides {
                let side = self.as_stored(&def, column.as_deref(), side, &mut stored).await?;
                chosen.push((column.clone(), side));
            }
            all.push((*id, chosen));
        }
        Ok(all)
    }

    /// A side; a value as the column holds it. What the column can't hold is refused with the error of a statement that
    /// stores it there. The backend is asked once for each value of a column.
    async fn as_stored(
        &self,
        table: &TableDef,
        column: Option<&str>,
        side: &Side,
        stored: &mut Stored,
    ) -> Result<Side> {
        let place = column.and_then(|name| table.schema.index_of(name));
        let (Side::Value(value), Some(place)) = (side, place) else { return Ok(side.clone()) };
        let Some(column) = table.schema.columns.get(place) else { return Ok(side.clone()) };
        if value.is_null() {
            return if column.nullable { Ok(side.clone()) } else { Err(not_null(table, column)) };
        }
        let asked = (table.id, place, value.clone());
        if let Some(known) = stored.get(&asked) {
            return Ok(Side::Value(known.clone()));
        }
        let name = &table.location.backend;
        let missing = || Error::internal(format!("backend \"{name}\" is not configured"));
        let backend = self.backend(name).ok_or_else(missing)?;
        let value = match table.location.kind {
            BackendKind::PostgreSql => value.clone(),
            _ => coerce(value, column)?,
        };
        let value = backend.stored(column, &value).await?;
        stored.insert(asked, value.clone());
        Ok(Side::Value(value))
    }
}

fn not_null(table: &TableDef, column: &Column) -> Error {
    let (column, table) = (&column.name, &table.name.name);
    let message =
        format!("null value in column \"{column}\" of relation \"{table}\" violates not-null constraint");
    Error::new(sqlstate::NOT_NULL_VIOLATION, message)
}

/// Somebody ended the merge that a choice was about, and maybe began another one.
fn changed_meanwhile() -> Error {
    Error::new(sqlstate::SERIALIZATION_FAILURE, "the conflicts changed in the meantime").with_hint("Retry.")
}

fn as_a_whole(table: &TableDef) -> Error {
    let message = format!("{} \"{}\" is in conflict as a whole", kind_of(table), table.name);
    Error::new(sqlstate::INVALID_PARAMETER_VALUE, message)
        .with_hint("Choose ours or theirs of it: the definition, and a table's rows with it.")
}

fn not_in_conflict(choice: &Choice, table: &TableDef, column: &str) -> Error {
    if choice.is_of_schema() {
        return as_a_whole(table);
    }
    let key: Vec<String> = choice.conflict.key.iter().map(|v| v.to_text().unwrap_or_default()).collect();
    let message = format!("column \"{column}\" of table \"{}\" is not in conflict", table.name);
    Error::new(sqlstate::INVALID_PARAMETER_VALUE, message)
        .with_detail(format!("The conflict is that of key ({}).", key.join(", ")))
        .with_hint(
            "conflicting_columns of epoch_conflicts('table') says which are; resolution sets all of the row.",
        )
}

fn key_matches(choice: &Choice, table: &TableDef, resolution: &Resolution) -> bool {
    let Some(wanted) = &resolution.key else { return true };
    let key = &choice.conflict.key;
    let same = |((column, value), wanted): ((&Column, &Value), &String)| {
        let text = value.to_text().unwrap_or_default();
        // Moments that are kept without an offset are shown with one.
        let moment = column.pg_type.ends_with("with time zone");
        text == *wanted || (moment && wanted.strip_suffix("+00") == Some(text.as_str()))
    };
    key.len() == wanted.len() && table.schema.key_columns().zip(key).zip(wanted).all(same)
}

/// Notes the choice; false if it isn't about this conflict.
fn choose(choice: &mut Choice, table: &TableDef, resolution: &Resolution) -> Result<bool> {
    if choice.is_of_schema() && (resolution.column.is_some() || resolution.side == Side::Base) {
        if resolution.table.is_none() && resolution.side != Side::Base {
            return Ok(false);
        }
        return Err(as_a_whole(table));
    }
    let Some(name) = &resolution.column else {
        // The last word on everything: earlier choices for single columns go.
        choice.picks.columns.clear();
        choice.picks.whole = Some(to_pick(&resolution.side));
        return Ok(true);
    };
    let index = table.schema.index_of(name).ok_or_else(|| {
        let message = format!("column \"{name}\" of table \"{}\" does not exist", table.name);
        Error::new(sqlstate::UNDEFINED_COLUMN, message)
    })?;
    if !choice.open_columns(&table.schema).contains(&index) {
        return Ok(false);
    }
    choice.picks.columns.insert(index, to_pick(&resolution.side));
    Ok(true)
}

fn to_pick(side: &Side) -> Pick {
    match side {
        Side::Ours => Pick::Ours,
        Side::Theirs => Pick::Theirs,
        Side::Base => Pick::Base,
        Side::Value(value) => Pick::Value(value.clone()),
    }
}

fn in_range(number: i64, data_type: &DataType) -> bool {
    match data_type {
        DataType::Int8 => i8::try_from(number).is_ok(),
        DataType::Int16 => i16::try_from(number).is_ok(),
        DataType::Int32 => i32::try_from(number).is_ok(),
        DataType::UInt8 => u8::try_from(number).is_ok(),
        DataType::UInt16 => u16::try_from(number).is_ok(),
        DataType::UInt32 => u32::try_from(number).is_ok(),
        _ => true,
    }
}

/// A text that a user wrote, as backends other than PostgreSQL store values of this column.
fn coerce(value: &Value, column: &Column) -> Result<Value> {
    let text = match value {
        Value::Int(number) if !in_range(*number, &column.data_type) => {
            let message = format!("value \"{number}\" is out of range for type {}", column.pg_type);
            return Err(Error::new(sqlstate::NUMERIC_VALUE_OUT_OF_RANGE, message));
        }
        Value::Text(text) => text,
        other => return Ok(other.clone()),
    };
    let bad = |_| {
        let message = format!("invalid value for column \"{}\" of type {}", column.name, column.pg_type);
        Error::new(sqlstate::INVALID_TEXT_REPRESENTATION, message)
    };
    let trimmed = text.trim();
    match &column.data_type {
        DataType::Boolean => match trimmed.to_ascii_lowercase().as_str() {
            "t" | "true" | "1" | "on" | "yes" => Ok(Value::Int(1)),
            "f" | "false" | "0" | "off" | "no" => Ok(Value::Int(0)),
            _ => Err(bad(())),
        },
        t if t.is_integer() => coerce(&trimmed.parse().map(Value::Int).map_err(|_| bad(()))?, column),
        t if t.is_floating() => trimmed.parse().map(Value::Real).map_err(|_| bad(())),
        DataType::Binary | DataType::LargeBinary => {
            let hex = trimmed.strip_prefix("\\x").ok_or(()).map_err(bad)?;
            let byte = |i: usize| hex.get(i..i + 2).and_then(|b| u8::from_str_radix(b, 16).ok()).ok_or(());
            (0..hex.len()).step_by(2).map(byte).collect::<Result<_, _>>().map(Value::Blob).map_err(bad)
        }
        _ => Ok(value.clone()),
    }
}
