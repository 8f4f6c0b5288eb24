//! The rows that differ between two views: only keys in the history between them are looked at.
//!
//! One SELECT: the keys, LEFT JOINed with every place where a row of either side may be. Which place
//! wins is decided here, key by key, so the work is a few index lookups per key that changed.

use epoch_adapter::{At, LineageId, Ordinal, Result, Row, RowChange, Segment, TableStats, Value, View};
use rusqlite::Connection;

use crate::error::map;
use crate::layout::{LINEAGE, equal, list, quote};
use crate::meta::Meta;
use crate::view::{bind, value};

/// A place where one side's row may be, in order of precedence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// A before-image visible at an ordinal: the row, or that there was none.
    Image(LineageId, Ordinal),
    /// The overlay of a branch.
    Overlay(LineageId),
    /// Hides what is below.
    Mask(LineageId),
    /// The user's table.
    Base,
}

fn places(view: &View) -> Vec<Place> {
    let lineage = view.layer.lineage;
    let mut out = Vec::new();
    if let At::Ordinal(s) = view.at {
        out.push(Place::Image(lineage, s));
    }
    if !view.layer.is_main() {
        out.extend([
            Place::Overlay(lineage),
            Place::Mask(lineage),
            Place::Image(LineageId::MAIN, view.layer.base),
        ]);
    }
    out.push(Place::Base);
    out
}

/// The statement and where its columns are.
pub(crate) struct Plan {
    pub sql: String,
    pub params: Vec<Value>,
    joined: Vec<Place>,
    sides: [Vec<Place>; 2],
    width: usize,
}

impl Plan {
    pub(crate) fn new(meta: &Meta, from: &View, to: &View, segments: &[Segment], only: Option<&Row>) -> Self {
        let sides = [places(from), places(to)];
        let mut joined: Vec<Place> = Vec::new();
        for place in sides.iter().flatten() {
            if !joined.contains(place) {
                joined.push(*place);
            }
        }
        let mut params = Vec::new();
        let keys = keys_sql(meta, segments, only, &mut params);
        let mut what = vec![list("k", meta.key.iter().map(String::as_str))];
        let mut joins = String::new();
        for (n, place) in joined.iter().enumerate() {
            let p = format!("p{n}");
            joins.push_str(&join_sql(meta, *place, &p, &mut params));
            let there = match place {
                Place::Base => format!("{p}.{}", meta.key.first().map(|k| quote(k)).unwrap_or_default()),
                _ => format!("{p}.{LINEAGE}"),
            };
            let existed =
                if matches!(place, Place::Image(..)) { format!("{p}.epoch_existed") } else { "1".into() };
            what.push(format!("{there} IS NOT NULL, {existed}"));
            if !matches!(place, Place::Mask(_)) {
                what.push(list(&p, meta.columns.iter().map(String::as_str)));
            }
        }
        let sql = format!("SELECT {} FROM ({keys}) AS k{joins}", what.join(", "));
        Self { sql, params, joined, sides, width: meta.columns.len() }
    }

    /// Where a place's flags and columns begin.
    fn offset(&self, place: Place, key: usize) -> usize {
        let before = self.joined.iter().take_while(|p| **p != place);
        key + before.map(|p| 2 + if matches!(p, Place::Mask(_)) { 0 } else { self.width }).sum::<usize>()
    }

    /// Where the columns of each side's row begin; `None` if there is no row.
    fn resolve(&self, row: &rusqlite::Row<'_>, side: &[(Place, usize)]) -> rusqlite::Result<Option<usize>> {
        for (place, at) in side {
            if !row.get::<_, bool>(*at)? {
                continue;
            }
            let existed = !matches!(place, Place::Mask(_)) && row.get::<_, bool>(*at + 1)?;
            return Ok(existed.then_some(*at + 2));
        }
        Ok(None)
    }

    /// Calls `visit` for each key that differs, with the row and where its sides begin, until it says
    /// no.
    fn each(
        &self,
        conn: &Connection,
        meta: &Meta,
        mut visit: impl FnMut(&rusqlite::Row<'_>, Option<usize>, Option<usize>) -> Result<bool>,
    ) -> Result<()> {
        let sides = self
            .sides
            .each_ref()
            .map(|side| side.iter().map(|p| (*p, self.offset(*p, meta.key.len()))).collect::<Vec<_>>());
        let [from, to] = &sides;
        let mut stmt = conn.prepare_cached(&self.sql).map_err(map)?;
        let mut rows = stmt.query(bind(&self.params)).map_err(map)?;
        while let Some(row) = rows.next().map_err(map)? {
            let a = self.resolve(row, from).map_err(map)?;
            let b = self.resolve(row, to).map_err(map)?;
            let same = match (a, b) {
                (None, None) => true,
                (Some(a), Some(b)) => a == b || differing(row, a, b, self.width).map_err(map)? == 0,
                _ => false,
            };
            if !same && !visit(row, a, b)? {
                return Ok(());
            }
        }
        Ok(())
    }
}

fn differing(row: &rusqlite::Row<'_>, a: usize, b: usize, width: usize) -> rusqlite::Result<i64> {
    let mut n = 0;
    for i in 0..width {
        n += i64::from(row.get_ref(a + i)? != row.get_ref(b + i)?);
    }
    Ok(n)
}

/// The keys of all segments, ordered. The LIMIT keeps SQLite from dropping the order.
fn keys_sql(meta: &Meta, segments: &[Segment], only: Option<&Row>, params: &mut Vec<Value>) -> String {
    let is_key = if only.is_some() { is_key(meta) } else { String::new() };
    let keys = list("", meta.key.iter().map(String::as_str));
    let mut parts = Vec::new();
    for segment in segments {
        parts.push(format!(
            "SELECT {keys} FROM {} WHERE {LINEAGE} = ? AND epoch_to > ? AND epoch_to <= ?{is_key}",
            meta.history
        ));
        let upto = match segment.upto {
            At::Working => i64::MAX,
            At::Ordinal(s) => s,
        };
        params.extend([segment.lineage.0, segment.after, upto].map(Value::Int));
        params.extend(only.into_iter().flatten().cloned());
    }
    if parts.is_empty() {
        return format!("SELECT {keys} FROM {} WHERE 0", meta.history);
    }
    // UNION with itself is how a single segment loses its repeated keys.
    parts.push(format!("SELECT {keys} FROM {} WHERE 0", meta.history));
    format!("{} ORDER BY {keys} LIMIT -1", parts.join(" UNION "))
}

fn join_sql(meta: &Meta, place: Place, p: &str, params: &mut Vec<Value>) -> String {
    let on = equal(&meta.key, p, "k");
    match place {
        Place::Base => format!(" LEFT JOIN {} AS {p} ON {on}", meta.base),
        Place::Overlay(l) | Place::Mask(l) => {
            params.push(Value::Int(l.0));
            let table = if matches!(place, Place::Mask(_)) { &meta.mask } else { &meta.overlay };
            format!(" LEFT JOIN {table} AS {p} ON {p}.{LINEAGE} = ? AND {on}")
        }
        Place::Image(l, s) => {
            params.extend([l.0, s, s].map(Value::Int));
            format!(
                " LEFT JOIN {} AS {p} ON {p}.{LINEAGE} = ? AND {on} AND {p}.epoch_from <= ? AND +{p}.epoch_to > ?",
                meta.history
            )
        }
    }
}

/// Sends the differing rows in chunks, until the reader has gone.
pub(crate) fn run(
    conn: &Connection,
    meta: &Meta,
    plan: &Plan,
    mut send: impl FnMut(Vec<RowChange>) -> bool,
) -> Result<()> {
    const CHUNK: usize = 512;
    let mut chunk = Vec::new();
    let mut open = true;
    plan.each(conn, meta, |row, a, b| {
        let cells = |at: Option<usize>| -> Result<Option<Row>> {
            let Some(at) = at else { return Ok(None) };
            (at..at + plan.width)
                .map(|i| value(row.get_ref(i).map_err(map)?))
                .collect::<Result<Row>>()
                .map(Some)
        };
        let (before, after) = (cells(a)?, cells(b)?);
        let key = after.as_ref().or(before.as_ref()).map(|r| meta.def.schema.key_of(r)).unwrap_or_default();
        chunk.push(RowChange { key, before, after });
        if chunk.len() == CHUNK {
            open = send(std::mem::take(&mut chunk));
        }
        Ok(open)
    })?;
    if open && !chunk.is_empty() {
        send(chunk);
    }
    Ok(())
}

/// The lineages and ordinals at which a key was changed.
pub(crate) fn changes_of_key(
    conn: &Connection,
    meta: &Meta,
    key: &Row,
    lineages: &[LineageId],
) -> Result<Vec<(LineageId, Ordinal)>> {
    let sql = format!(
        "SELECT epoch_to FROM {} WHERE {LINEAGE} = ?{} AND epoch_to < {}",
        meta.history,
        is_key(meta),
        i64::MAX
    );
    let mut stmt = conn.prepare_cached(&sql).map_err(map)?;
    let mut found = Vec::new();
    for lineage in lineages {
        let params: Vec<_> = std::iter::once(Value::Int(lineage.0)).chain(key.iter().cloned()).collect();
        let ordinals = stmt.query_map(bind(&params), |row| row.get(0)).map_err(map)?;
        for ordinal in ordinals {
            found.push((*lineage, ordinal.map_err(map)?));
        }
    }
    Ok(found)
}

/// A condition on history: that an image is of a key, given by parameters.
fn is_key(meta: &Meta) -> String {
    meta.key.iter().map(|c| format!(" AND {} = ?", quote(c))).collect()
}

/// Counts what [`run`] would send.
pub(crate) fn stat(conn: &Connection, meta: &Meta, plan: &Plan) -> Result<TableStats> {
    let mut stats = TableStats::default();
    plan.each(conn, meta, |row, a, b| {
        match (a, b) {
            (Some(a), Some(b)) => {
                stats.modified += 1;
                stats.cells += differing(row, a, b, plan.width).map_err(map)?;
            }
            (None, _) => stats.added += 1,
            (_, None) => stats.removed += 1,
        }
        Ok(true)
    })?;
    Ok(stats)
}
