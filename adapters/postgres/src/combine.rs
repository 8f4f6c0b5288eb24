//! One version of a table out of two that were made from the same one: what was done to each is compared part by part
//! (columns and what they are, constraints, indexes, comments), as rows are in a merge. What one side did is done to the
//! other side's version by statements of ours; so types, names and errors are PostgreSQL's here too, and a merge into main
//! does the same to main's table.

use std::collections::BTreeMap;

use epoch_adapter::{
    Also, Combined, Definition, Error, Location, Origin, Piece, Replay, Result, Revision, Siblings,
    Statement, TableDef, TableId,
};

use crate::combined_names::{Names, renames};
use crate::combined_parts::{Change, Kind, Parts, changes, merge, unlike};
use crate::combined_steps::statements;
use crate::error::pg;
use crate::foreign_keys::{self, ForeignKey};
use crate::install::{self, Index};
use crate::layout::{base, literal, quote};
use crate::text::join;
use crate::tx::{Tx, texts};
use crate::versions::Entry;
use crate::{draft, revise, stand_in, versions};

const PARTS_SQL: &str = include_str!("../../../sql/postgres/parts.sql");

/// See [`epoch_adapter::Adapter::combine`].
pub(crate) async fn combine(tx: &Tx, table: &TableDef, siblings: &Siblings) -> Result<Combined> {
    install::lock(tx).await?;
    install::shared_part(tx).await?;
    revise::check(tx, &siblings.first).await?;
    let names = match Names::of(siblings) {
        Ok(names) => names,
        Err(differs) => return Ok(Combined::Differs(differs)),
    };
    let before = version(tx, table, &siblings.base, &|c| names.of_base(c)).await?;
    let first = version(tx, table, &siblings.first, &|c| names.of_first(c)).await?;
    let second = version(tx, table, &siblings.second, &|c| names.of_second(c)).await?;
    let mut merged = merge(&before.parts, &first.parts, &second.parts, &names);
    merged.differs.extend(names.other_values());
    if !merged.differs.is_empty() {
        return Ok(Combined::Differs(merged.differs.into_iter().collect()));
    }
    let steps = steps(&names, &merged.changes, &second);
    let back = changes(&second.parts, &merged.expected, &names);
    let back = self::steps(&names.reversed(), &back, &first);
    revise::clone_under_another_name(tx, &siblings.first, table).await?;
    stand_in::like(tx, &siblings.first, table, None).await?;
    for step in &steps {
        match run(tx, table, step).await {
            Err(error) if is_about_the_table(&error) => {
                return Ok(Combined::Differs(vec![step.about.clone()]));
            }
            done => done?,
        }
    }
    let mut found = read(tx, table).await?;
    for name in names_of_keys(tx, table).await? {
        found.insert((Kind::ForeignKey, name), String::new());
    }
    let differs = unlike(&merged.expected, &found);
    if !differs.is_empty() {
        return Ok(Combined::Differs(differs.into_iter().collect()));
    }
    made(tx, table, siblings, &names, (steps, back)).await
}

/// Whether an error says that a statement can't be run on the other side's version.
fn is_about_the_table(error: &Error) -> bool {
    ["0A", "22", "23", "2B", "42"].iter().any(|class| error.code().starts_with(class))
}

/// Installs what came out.
async fn made(
    tx: &Tx,
    table: &TableDef,
    siblings: &Siblings,
    names: &Names,
    (steps, back): (Vec<Step>, Vec<Step>),
) -> Result<Combined> {
    let Siblings { first, second, numbers: [number, last], .. } = siblings;
    let mut origins = Vec::new();
    for column in revise::columns(tx, table, first, false).await? {
        let expected = names.value(&column.name);
        match column.origin {
            Some(origin) if expected.is_none_or(|value| *value == origin) => origins.push(origin),
            // It has got its default since.
            None if expected.is_some_and(is_null) => origins.extend(expected.cloned()),
            _ => return Ok(Combined::Differs(vec![Kind::Type.shown(&column.name)])),
        }
    }
    let table = revise::described(tx, table, first, &origins).await?;
    let Some(columns) = names.second_origins(&table.schema, siblings) else {
        return Ok(Combined::Differs(vec!["types of columns".to_owned()]));
    };
    let entry = entry(tx, siblings, &table, (&origins, &columns)).await?;
    install::install_in(tx, &table, &entry).await?;
    let text = draft::text(tx, &table.location).await?.unwrap_or_default();
    let whole = |t: &TableDef| t.revision.as_ref().is_some_and(|r| r.whole);
    // The name that it has is one side's.
    let replays = |steps: Vec<Step>, of: &TableDef| {
        let renamed = (of.name != table.name).then(|| Replay::moved(&table.name));
        steps.into_iter().map(|s| s.replay).chain(renamed).collect::<Vec<_>>()
    };
    let made = steps.iter().map(|s| if s.refers { *last } else { *number });
    let revision = Revision {
        of: first.id,
        columns: origins,
        whole: whole(first) || whole(second),
        own_values: false,
        made: made.chain((first.name != table.name).then_some(*number)).collect(),
        statements: replays(steps, first),
        also: Some(Box::new(Also { of: second.id, columns, statements: replays(back, second) })),
    };
    let definition =
        Definition { schema: table.schema, text, revision: Some(revision), view: None, enumeration: None };
    Ok(Combined::Made(Box::new(definition)))
}

fn is_null(origin: &Origin) -> bool {
    matches!(origin, Origin::Value(value) if value.starts_with("NULL::"))
}

/// What is noted of the version: each column is what it is in the version that it is from.
async fn entry(
    tx: &Tx,
    siblings: &Siblings,
    table: &TableDef,
    (of_first, of_second): (&[Origin], &[Origin]),
) -> Result<Entry> {
    let first = versions::entry(tx, &siblings.first).await?;
    let second = versions::entry(tx, &siblings.second).await?;
    let known = |entry: &Entry, origin: Option<&Origin>| match origin {
        Some(Origin::Column { name, .. }) => entry.columns.get(name).cloned(),
        _ => None,
    };
    let mut columns = BTreeMap::new();
    for (i, column) in table.schema.columns.iter().enumerate() {
        let found = known(&first, of_first.get(i)).or_else(|| known(&second, of_second.get(i)));
        let found = found.ok_or_else(|| Error::internal("a column of two versions is of neither"))?;
        columns.insert(column.name.clone(), found);
    }
    Ok(Entry { family: first.family, columns })
}

/// One version, with the names that columns have in the end.
pub(crate) struct Version {
    pub parts: Parts,
    pub keys: Vec<ForeignKey>,
}

/// Reads a version from an empty copy of it, whose columns get their names: then the server writes them everywhere.
async fn version(
    tx: &Tx,
    table: &TableDef,
    version: &TableDef,
    name: &(dyn Fn(&str) -> String + Sync),
) -> Result<Version> {
    let schema = format!("epoch_b{}_", table.id.0);
    let location = Location { schema: Some(schema.clone()), ..version.location.clone() };
    let copy = TableDef { location, ..version.clone() };
    revise::clone(tx, version, &copy).await?;
    let pairs: Vec<_> = version.schema.columns.iter().map(|c| (c.name.clone(), name(&c.name))).collect();
    let script = join(renames(&pairs), "", |(from, to)| {
        format!("ALTER TABLE {} RENAME COLUMN {} TO {};\n", base(&copy), quote(&from), quote(&to))
    });
    tx.batch_execute(&script).await.map_err(pg)?;
    let mut parts = read(tx, &copy).await?;
    let keys = foreign_keys::of(tx, version).await?;
    let keys: Vec<ForeignKey> = keys.into_iter().map(|key| key.renamed(name)).collect();
    for key in &keys {
        // Whatever version of the parent it names.
        let parent = key.parent_family.map_or_else(|| key.parent_name.0.clone(), |family| family.to_string());
        parts.insert((Kind::ForeignKey, key.name.clone()), key.definition(&parent, &key.referenced));
    }
    tx.batch_execute(&format!("DROP SCHEMA {} CASCADE", quote(&schema))).await.map_err(pg)?;
    Ok(Version { parts, keys })
}

/// The parts of a table, but for its foreign keys.
async fn read(tx: &Tx, table: &TableDef) -> Result<Parts> {
    let schema = table.location.schema.as_deref().unwrap_or("public");
    let mut parts = Parts::new();
    for row in tx.query(PARTS_SQL, &[&schema, &table.location.table]).await.map_err(pg)? {
        let text = |i: usize| row.try_get::<_, Option<String>>(i).map_err(pg).map(Option::unwrap_or_default);
        if let Some(kind) = Kind::named(&text(0)?) {
            parts.insert((kind, text(1)?), text(2)?);
        }
    }
    for index in install::indexes(tx, table).await?.iter().filter(|i| i.constraint.is_none()) {
        parts.insert((Kind::Index, index.name.clone()), tail(index));
    }
    Ok(parts)
}

async fn names_of_keys(tx: &Tx, table: &TableDef) -> Result<Vec<String>> {
    let sql = format!(
        "SELECT conname FROM pg_constraint WHERE contype = 'f' AND conrelid = {}::regclass",
        literal(&base(table))
    );
    Ok(texts(tx, &sql).await?.into_iter().flatten().flatten().collect())
}

/// What stands behind the table's name in the statement that makes an index, with UNIQUE in front.
fn tail(index: &Index) -> String {
    let predicate = index.predicate.as_ref().map(|p| format!(" WHERE {p}")).unwrap_or_default();
    let unique = if index.unique { "UNIQUE " } else { "" };
    format!("{unique}USING {} ({}{predicate}", quote(&index.method), index.tail)
}

/// A statement that does on one side what was done on the other.
struct Step {
    about: String,
    /// It makes a foreign key.
    refers: bool,
    statement: Statement,
    replay: Replay,
}

async fn run(tx: &Tx, table: &TableDef, step: &Step) -> Result<()> {
    stand_in::make(tx, table, &step.statement).await?;
    draft::run(tx, table, &step.statement).await
}

/// What brings the one side's version what the other one, `from`, has, in an order in which it can be done.
fn steps(names: &Names, changes: &[Change], from: &Version) -> Vec<Step> {
    let step = |(about, refers, pieces): (String, bool, Vec<Piece>)| {
        let statement = Statement { pieces, settings: Vec::new() };
        let replay = by_family(&statement, from)?;
        Some(Step { about, refers, statement, replay })
    };
    statements(names, changes, from).into_iter().filter_map(step).collect()
}

/// As it is done again: parents by their families, as the version that is meant may be gone then.
fn by_family(statement: &Statement, from: &Version) -> Option<Replay> {
    let mut replay = Replay::of(statement)?;
    for part in &mut replay.parts {
        if let epoch_adapter::Part::Parent(id) = part {
            let names = |key: &&ForeignKey| key.parents.iter().any(|p| p.table.id == *id);
            let family = from.keys.iter().find(names).and_then(|key| key.parent_family);
            *id = family.map_or(*id, TableId);
        }
    }
    Some(replay)
}
