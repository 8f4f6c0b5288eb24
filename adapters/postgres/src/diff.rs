//! What differs between two views, from the keys that history says were touched between them.

use deadpool_postgres::Object;
use epoch_adapter::{
    At, ChangeStream, Column, Comparison, Image, LineageId, Ordinal, Pair, Predicate, Result, Row, RowChange,
    Segment, Side, TableDef, TableStats, Value, View, Wanted,
};
use futures::StreamExt;

use crate::layout::{PENDING, history, literal, quote};
use crate::predicate;
use crate::rows::Lookup;
use crate::stream::{self, Source};
use crate::text::{columns, join, key};

/// What is compared: two sides of one table, or of two versions of it.
struct Sides<'a> {
    /// The table whose columns the rows have.
    shape: &'a TableDef,
    from: Lookup<'a>,
    to: Lookup<'a>,
    /// The keys to look at, a query.
    touched: String,
}

impl<'a> Sides<'a> {
    fn new(
        table: &'a TableDef,
        from: &View,
        to: &View,
        segments: &[Segment],
        wanted: &Wanted,
    ) -> Result<Self> {
        let names: Vec<String> = table.schema.key_names();
        let mut touched = touched(table, &[(table, names.as_slice(), segments)], &of_keys(table, wanted)?);
        if wanted.limit.is_some() {
            // The first keys are looked up first, and no others once there are enough rows.
            touched = format!("SELECT * FROM ({touched}) k ORDER BY {}", key(table, "k."));
        }
        Ok(Self {
            shape: table,
            from: Lookup::new(table, *from, "f_"),
            to: Lookup::new(table, *to, "t_"),
            touched,
        })
    }

    /// All of them.
    fn all(table: &'a TableDef, from: &View, to: &View, segments: &[Segment]) -> Result<Self> {
        Self::new(table, from, to, segments, &Wanted::default())
    }

    fn of(pair: &'a Pair) -> Self {
        let shape = &*pair.shape;
        let lookup = |side: &'a Side, prefix: &'static str| {
            Lookup::new(&side.table, side.view, prefix).seen_as(side.columns.as_deref().map(|c| (shape, c)))
        };
        let parts: Vec<_> =
            pair.touched.iter().map(|t| (&*t.table, t.key.as_slice(), t.segments.as_slice())).collect();
        Self {
            shape,
            from: lookup(&pair.from, "f_"),
            to: lookup(&pair.to, "t_"),
            touched: touched(shape, &parts, ""),
        }
    }
}

/// The query of [`diff`]: whether each row is there before and after, and its columns on both sides, by key.
pub fn diff_sql(
    table: &TableDef,
    from: &View,
    to: &View,
    segments: &[Segment],
    wanted: &Wanted,
) -> Result<String> {
    Ok(query(&Sides::new(table, from, to, segments, wanted)?, wanted.limit))
}

/// The rows that differ and are wanted, ordered by key.
pub(crate) async fn diff(
    source: Source<'_>,
    table: &TableDef,
    from: &View,
    to: &View,
    segments: &[Segment],
    wanted: &Wanted,
) -> Result<ChangeStream> {
    changes(source, &Sides::new(table, from, to, segments, wanted)?, wanted.limit).await
}

/// As [`diff`], of two versions of a table.
pub(crate) async fn diff_versions(source: Source<'_>, pair: &Pair) -> Result<ChangeStream> {
    changes(source, &Sides::of(pair), None).await
}

fn query(sides: &Sides<'_>, limit: Option<usize>) -> String {
    let width = sides.shape.schema.columns.len();
    format!(
        "SELECT d.epoch_f, d.epoch_t, {}, {} FROM {} d WHERE {} ORDER BY {}{}",
        join(0..width, ", ", |i| format!("d.epoch_f{i}")),
        join(0..width, ", ", |i| format!("d.epoch_t{i}")),
        both_sides(sides),
        differs(sides.shape),
        key(sides.shape, "d."),
        limit.map_or_else(String::new, |n| format!(" LIMIT {n}"))
    )
}

async fn changes(source: Source<'_>, sides: &Sides<'_>, limit: Option<usize>) -> Result<ChangeStream> {
    let schema = sides.shape.schema.clone();
    let width = schema.columns.len();
    let rows = stream::rows(source, &query(sides, limit)).await?;
    let change = move |cells: Vec<Option<String>>| -> RowChange {
        let mut cells = cells.into_iter();
        let there = |flag: Option<Option<String>>| flag.flatten().is_some_and(|t| t == "t");
        let (before, after) = (there(cells.next()), there(cells.next()));
        let mut values = cells.map(|cell| cell.map_or(Value::Null, Value::Text));
        let from: Row = values.by_ref().take(width).collect();
        let to: Row = values.collect();
        let key = schema.key_of(if after { &to } else { &from });
        RowChange { key, before: before.then_some(from), after: after.then_some(to) }
    };
    Ok(rows.map(move |row| row.map(&change)).boxed())
}

/// The lineages and ordinals at which wanted keys were changed.
pub(crate) async fn changes_of_keys(
    client: &Object,
    table: &TableDef,
    wanted: &Wanted,
    lineages: &[LineageId],
) -> Result<Vec<(LineageId, Ordinal)>> {
    let sql = format!(
        "SELECT DISTINCT h.epoch_lineage, h.epoch_to FROM {} h WHERE h.epoch_lineage = ANY ('{{{}}}'::int8[]){} AND h.epoch_to < {PENDING}",
        history(table),
        join(lineages, ",", |l| l.0.to_string()),
        of_keys(table, wanted)?
    );
    let number = |cell: Option<&Option<String>>| cell?.as_deref()?.parse().ok();
    let place = |row: &Vec<Option<String>>| Some((LineageId(number(row.first())?), number(row.get(1))?));
    Ok(crate::tx::texts(client, &sql).await?.iter().filter_map(place).collect())
}

/// See [`epoch_adapter::Adapter::images_of_key`].
pub(crate) async fn images_of_key(
    client: &Object,
    table: &TableDef,
    key: &Row,
    lineages: &[LineageId],
) -> Result<Vec<Image>> {
    let sql = format!(
        "SELECT h.epoch_lineage, h.epoch_to, h.epoch_existed, {} FROM {} h WHERE h.epoch_lineage = ANY ('{{{}}}'::int8[]){} \
         AND h.epoch_to < {PENDING} ORDER BY h.epoch_lineage, h.epoch_to, h.epoch_seq",
        columns(table, "h."),
        history(table),
        join(lineages, ",", |l| l.0.to_string()),
        is_key(table, key)
    );
    let image = |cells: Vec<Option<String>>| -> Option<Image> {
        let mut cells = cells.into_iter();
        let mut number = || cells.next()??.parse().ok();
        let (lineage, until) = (LineageId(number()?), number()?);
        let existed = cells.next()?? == "t";
        let row = cells.map(|cell| cell.map_or(Value::Null, Value::Text)).collect();
        Some(Image { lineage, until, row: existed.then_some(row) })
    };
    Ok(crate::tx::texts(client, &sql).await?.into_iter().filter_map(image).collect())
}

/// Counts of what [`diff`] gives.
pub(crate) async fn stat(
    client: &Object,
    table: &TableDef,
    from: &View,
    to: &View,
    segments: &[Segment],
) -> Result<TableStats> {
    count(client, &Sides::all(table, from, to, segments)?).await
}

/// Counts of what [`diff_versions`] gives.
pub(crate) async fn stat_versions(client: &Object, pair: &Pair) -> Result<TableStats> {
    count(client, &Sides::of(pair)).await
}

async fn count(client: &Object, sides: &Sides<'_>) -> Result<TableStats> {
    let cells = join(0..sides.shape.schema.columns.len(), " + ", |i| format!("({})::int", cell_differs(i)));
    let sql = format!(
        "SELECT count(*) FILTER (WHERE NOT d.epoch_f), count(*) FILTER (WHERE d.epoch_f AND d.epoch_t), count(*) FILTER (WHERE NOT d.epoch_t), \
         coalesce(sum({cells}) FILTER (WHERE d.epoch_f AND d.epoch_t), 0)::int8 FROM {} d WHERE {}",
        both_sides(sides),
        differs(sides.shape)
    );
    let rows = crate::tx::texts(client, &sql).await?;
    Ok(rows.first().map(|row| counts(row)).unwrap_or_default())
}

/// Added, modified, removed and cells from the first cells of a row.
pub(crate) fn counts(row: &[Option<String>]) -> TableStats {
    let number = |i: usize| row.get(i).and_then(|c| c.as_deref()).and_then(|c| c.parse().ok()).unwrap_or(0);
    TableStats { added: number(0), modified: number(1), removed: number(2), cells: number(3) }
}

/// A sub-select with the key, `epoch_f` and `epoch_t` (whether the row is there on a side), and both sides'
/// columns as `epoch_f0…`, `epoch_t0…`.
fn both_sides(sides: &Sides<'_>) -> String {
    let Sides { shape, from: f, to: t, touched } = sides;
    let side = |lookup: &Lookup<'_>, prefix: &str| {
        join(shape.schema.columns.iter().enumerate(), ", ", |(i, c)| {
            format!("{} AS epoch_{prefix}{i}", lookup.shown(i, c))
        })
    };
    // OFFSET 0: each expression is worked out once, though it is used several times above.
    format!(
        "(SELECT {}, {} AS epoch_f, {} AS epoch_t, {}, {} FROM ({touched}) k{}{} OFFSET 0)",
        key(shape, "k."),
        f.exists(),
        t.exists(),
        side(f, "f"),
        side(t, "t"),
        f.joins("k"),
        t.joins("k")
    )
}

/// A condition on history: that an image is of this key.
fn is_key(table: &TableDef, row: &Row) -> String {
    let part = |(column, value): (&Column, &Value)| {
        let name = format!("h.{}", quote(&column.name));
        match value.to_text() {
            Some(text) => format!(" AND {name} {} {}", column.equals(), literal(&text)),
            None => " AND false".to_owned(),
        }
    };
    table.schema.key_columns().zip(row).map(part).collect()
}

/// Conditions on history: that an image is of a wanted key.
fn of_keys(table: &TableDef, wanted: &Wanted) -> Result<String> {
    let mut conditions = wanted.key.as_ref().map_or_else(String::new, |row| is_key(table, row));
    for predicate in &wanted.keys {
        conditions += &format!(" AND {}", predicate::sql_of(table, predicate, "h", true)?);
    }
    let first = |i: &usize| table.schema.key.first() == Some(i);
    let few = |p: &Predicate| match p {
        Predicate::Compare(i, Comparison::Eq, _) | Predicate::In(i, _) => first(i),
        _ => false,
    };
    if !wanted.keys.is_empty() && wanted.key.is_none() && !wanted.keys.iter().any(few) {
        // There may be many such keys: either index may be the better one.
        conditions += " AND h.epoch_seq >= '0/0'";
    }
    Ok(conditions)
}

/// The keys that the segments of tables touch, under the names that `shape` has for them. With each table come
/// its names.
fn touched(shape: &TableDef, tables: &[(&TableDef, &[String], &[Segment])], only: &str) -> String {
    let mut arms = Vec::new();
    for (table, key, segments) in tables {
        let keys = join(key.iter().zip(shape.schema.key_columns()), ", ", |(name, column)| {
            if *name == column.name {
                format!("h.{}", quote(name))
            } else {
                format!("h.{} AS {}", quote(name), quote(&column.name))
            }
        });
        // A commit's images end at its ordinal; pending ones have the highest end.
        arms.extend(segments.iter().map(|s| {
            let upto = match s.upto {
                At::Working => String::new(),
                At::Ordinal(ordinal) => format!(" AND h.epoch_to <= {ordinal}"),
            };
            let history = match s.lineage {
                LineageId::MAIN => crate::of_main::images(table),
                _ => history(table),
            };
            // A key is found by the index of keys, a stretch of history by the other one.
            let and = if only.is_empty() { " AND h.epoch_seq >= '0/0'" } else { only };
            format!(
                "SELECT {keys} FROM {history} h WHERE h.epoch_lineage = {} AND h.epoch_to > {}{upto}{and}",
                s.lineage.0, s.after
            )
        }));
    }
    match arms.as_slice() {
        [] => format!("SELECT {} FROM {} h WHERE false", key(shape, "h."), history(shape)),
        [one] => format!("SELECT DISTINCT {}", one.trim_start_matches("SELECT ")),
        _ => arms.join(" UNION "),
    }
}

fn cell_differs(i: usize) -> String {
    format!(
        "NOT (ROW(d.epoch_f{i})::pg_catalog.record OPERATOR(pg_catalog.*=) ROW(d.epoch_t{i})::pg_catalog.record)"
    )
}

/// Rows are compared as they are stored: 1.0 and 1.00, or 'a' and 'A' of a case-blind type, differ,
/// and types without an equality operator can be compared.
fn differs(table: &TableDef) -> String {
    let row = |prefix: &str| join(0..table.schema.columns.len(), ", ", |i| format!("d.epoch_{prefix}{i}"));
    format!(
        "(d.epoch_f <> d.epoch_t OR (d.epoch_f AND NOT (ROW({})::pg_catalog.record OPERATOR(pg_catalog.*=) ROW({})::pg_catalog.record)))",
        row("f"),
        row("t")
    )
}
