//! The rows that differ between two views: only keys in the history between them are looked at.
//!
//! One SELECT: the keys, LEFT JOINed with every place where a row of either side may be. Which place
//! wins is decided here, key by key, so the work is a few index lookups per key that changed.

use epoch_adapter::{At, LineageId, Ordinal, Segment, Value, View, Wanted};

use crate::names::LINEAGE;
use crate::view::{Dialect, Filter, Places};

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

/// A row of the statement's result.
pub trait Cells {
    /// What reading it can fail with.
    type Error;
    /// A truth value.
    fn truth(&self, at: usize) -> Result<bool, Self::Error>;
    /// Whether two cells hold the same value.
    fn same(&self, a: usize, b: usize) -> Result<bool, Self::Error>;
}

/// Two sides that differ: where their rows begin (`None`: there is none), and how many cells of two rows differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Difference {
    /// On the `from` side.
    pub before: Option<usize>,
    /// On the `to` side.
    pub after: Option<usize>,
    /// Cells.
    pub cells: i64,
}

/// The statement and where its columns are.
#[derive(Debug)]
pub struct Plan {
    /// The statement; its rows are ordered by key.
    pub sql: String,
    /// Its parameters.
    pub params: Vec<Value>,
    /// How many columns a row of the table has.
    pub width: usize,
    /// No more differences than these are wanted.
    pub limit: Option<usize>,
    key: usize,
    joined: Vec<Place>,
    sides: [Vec<(Place, usize)>; 2],
}

impl Plan {
    /// See [`epoch_adapter::Adapter::diff`]. `keys`: what the dialect makes of [`Wanted::keys`].
    pub fn new(
        tables: &Places,
        (from, to): (&View, &View),
        segments: &[Segment],
        keys: Filter,
        wanted: &Wanted,
    ) -> Self {
        let limit = wanted.limit;
        let wanted = &Filter::wanted(tables, keys, wanted);
        let sides = [places(from), places(to)];
        let mut joined: Vec<Place> = Vec::new();
        for place in sides.iter().flatten() {
            if !joined.contains(place) {
                joined.push(*place);
            }
        }
        let mut params = Vec::new();
        let keys = keys_sql(tables, segments, wanted, &mut params);
        let mut what = vec![tables.dialect.list("k", tables.key.iter().map(String::as_str))];
        let mut joins = String::new();
        for (n, place) in joined.iter().enumerate() {
            let p = format!("p{n}");
            joins.push_str(&join_sql(tables, *place, &p, &mut params));
            let there = match place {
                Place::Base => {
                    format!("{p}.{}", tables.key.first().map(|k| tables.dialect.quote(k)).unwrap_or_default())
                }
                _ => format!("{p}.{LINEAGE}"),
            };
            let existed =
                if matches!(place, Place::Image(..)) { format!("{p}.epoch_existed") } else { "1".into() };
            what.push(format!("{}, {existed}", tables.dialect.truth(&format!("{there} IS NOT NULL"))));
            if !matches!(place, Place::Mask(_)) {
                what.push(tables.row(&p));
            }
        }
        let mut sql = format!("SELECT {} FROM ({keys}) AS k{joins}", what.join(", "));
        if tables.dialect != Dialect::Sqlite {
            sql.push_str(&format!(
                " ORDER BY {}",
                tables.dialect.list("k", tables.key.iter().map(String::as_str))
            ));
        }
        let mut plan = Self {
            sql,
            params,
            joined,
            key: tables.key.len(),
            sides: Default::default(),
            width: tables.columns.len(),
            limit,
        };
        plan.sides = sides.map(|side| side.into_iter().map(|p| (p, plan.offset(p))).collect());
        plan
    }

    /// Where a place's flags and columns begin.
    fn offset(&self, place: Place) -> usize {
        let before = self.joined.iter().take_while(|p| **p != place);
        self.key + before.map(|p| 2 + if matches!(p, Place::Mask(_)) { 0 } else { self.width }).sum::<usize>()
    }

    /// Where the columns of a side's row begin; `None` if there is no row.
    fn resolve<C: Cells>(row: &C, side: &[(Place, usize)]) -> Result<Option<usize>, C::Error> {
        for (place, at) in side {
            if !row.truth(*at)? {
                continue;
            }
            let existed = !matches!(place, Place::Mask(_)) && row.truth(*at + 1)?;
            return Ok(existed.then_some(*at + 2));
        }
        Ok(None)
    }

    /// How the two sides of a row of the result differ; `None` if they don't.
    pub fn compare<C: Cells>(&self, row: &C) -> Result<Option<Difference>, C::Error> {
        let [from, to] = &self.sides;
        let (before, after) = (Self::resolve(row, from)?, Self::resolve(row, to)?);
        let mut cells = 0;
        match (before, after) {
            (None, None) => return Ok(None),
            (Some(a), Some(b)) => {
                if a != b {
                    for i in 0..self.width {
                        cells += i64::from(!row.same(a + i, b + i)?);
                    }
                }
                if cells == 0 {
                    return Ok(None);
                }
            }
            _ => {}
        }
        Ok(Some(Difference { before, after, cells }))
    }
}

/// The keys of all segments; of SQLite in order, which the LIMIT keeps it from dropping.
fn keys_sql(tables: &Places, segments: &[Segment], wanted: &Filter, params: &mut Vec<Value>) -> String {
    let filter = wanted.and();
    // A plus sign keeps SQLite's planner from the index on ordinals.
    let plus = if wanted.keyed && tables.dialect == Dialect::Sqlite { "+" } else { "" };
    let keys = tables.dialect.list("", tables.key.iter().map(String::as_str));
    let mut parts = Vec::new();
    for segment in segments {
        parts.push(format!(
            "SELECT {keys} FROM {} AS x WHERE x.{LINEAGE} = ? AND {plus}x.epoch_to > ? AND {plus}x.epoch_to <= ?{filter}",
            tables.history
        ));
        let upto = match segment.upto {
            At::Working => i64::MAX,
            At::Ordinal(s) => s,
        };
        params.extend([segment.lineage.0, segment.after, upto].map(Value::Int));
        params.extend(wanted.params.iter().cloned());
    }
    let nothing = format!("SELECT {keys} FROM {} WHERE 1 = 0", tables.history);
    if parts.is_empty() {
        return nothing;
    }
    // UNION with itself is how a single segment loses its repeated keys.
    parts.push(nothing);
    match tables.dialect {
        Dialect::Sqlite => format!("{} ORDER BY {keys} LIMIT -1", parts.join(" UNION ")),
        Dialect::Mysql | Dialect::SqlServer => parts.join(" UNION "),
    }
}

fn join_sql(tables: &Places, place: Place, p: &str, params: &mut Vec<Value>) -> String {
    let on = tables.dialect.equal(&tables.key, p, "k");
    match place {
        Place::Base => format!(" LEFT JOIN {} AS {p} ON {on}", tables.base),
        Place::Overlay(l) | Place::Mask(l) => {
            params.push(Value::Int(l.0));
            let table = if matches!(place, Place::Mask(_)) { &tables.mask } else { &tables.overlay };
            format!(" LEFT JOIN {table} AS {p} ON {p}.{LINEAGE} = ? AND {on}")
        }
        Place::Image(l, s) => {
            let history = &tables.history;
            let visible = match tables.dialect {
                Dialect::Sqlite => {
                    params.extend([l.0, s, s].map(Value::Int));
                    format!("{p}.epoch_from <= ? AND +{p}.epoch_to > ?")
                }
                Dialect::Mysql | Dialect::SqlServer => {
                    params.extend([l.0, l.0, s].map(Value::Int));
                    format!(
                        "{p}.epoch_to = (SELECT min(q.epoch_to) FROM {history} AS q WHERE q.{LINEAGE} = ? AND {} \
                         AND q.epoch_to > ?)",
                        tables.dialect.equal(&tables.key, "q", "k")
                    )
                }
            };
            format!(" LEFT JOIN {history} AS {p} ON {p}.{LINEAGE} = ? AND {on} AND {visible}")
        }
    }
}
