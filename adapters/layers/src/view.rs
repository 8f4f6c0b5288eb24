//! The rows of a view as arms: one SELECT per place where rows may be, with the caller's conditions in each, so that
//! each gets its own indexes. In each arm the rows are called `x`.

use epoch_adapter::{At, Error, Layer, LineageId, Ordinal, Result, Value, View, Wanted};

use crate::names::{self, LINEAGE};

/// How a backend's history is asked, which follows from how its capture triggers can write it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// Writers take turns: a pending image knows where it begins (`epoch_from`). The history's primary key is
    /// (lineage, key, `epoch_from`).
    Sqlite,
    /// Writers are concurrent, and what a trigger reads may be older than the last seal: an image begins where the
    /// key's image before it ends. The history's primary key is (lineage, key, `epoch_to`).
    Mysql,
    /// As [`Self::Mysql`], in T-SQL: names are in brackets, truth values are no values, and what limits a result comes first.
    SqlServer,
}

impl Dialect {
    /// Quotes an identifier.
    pub fn quote(self, name: &str) -> String {
        match self {
            Self::SqlServer => format!("[{}]", name.replace(']', "]]")),
            _ => names::quote(name),
        }
    }

    /// `left.k1 = right.k1 AND …` over the given columns.
    pub fn equal(self, columns: &[String], left: &str, right: &str) -> String {
        let one = |c: &String| format!("{left}.{c} = {right}.{c}", c = self.quote(c));
        columns.iter().map(one).collect::<Vec<_>>().join(" AND ")
    }

    /// `p.a, p.b`, without the prefix if `alias` is empty.
    pub fn list<'a>(self, alias: &str, columns: impl IntoIterator<Item = &'a str>) -> String {
        let dot = if alias.is_empty() { String::new() } else { format!("{alias}.") };
        columns.into_iter().map(|c| format!("{dot}{}", self.quote(c))).collect::<Vec<_>>().join(", ")
    }

    /// `epoch_to` of pending history. T-SQL takes a constant of so many digits for a decimal, which a column would be
    /// converted to before it is compared.
    pub const fn pending(self) -> &'static str {
        match self {
            Self::SqlServer => "CAST(9223372036854775807 AS bigint)",
            _ => "9223372036854775807",
        }
    }

    /// A condition as a value of a result: 1 or 0.
    pub fn truth(self, condition: &str) -> String {
        match self {
            Self::SqlServer => format!("CASE WHEN {condition} THEN 1 ELSE 0 END"),
            _ => condition.to_owned(),
        }
    }
}

/// The tables of one registration, quoted where they need it, and its columns.
#[derive(Debug, Clone, PartialEq)]
pub struct Places {
    /// How history is asked.
    pub dialect: Dialect,
    /// The user's table.
    pub base: String,
    /// See [`crate::names::overlay`].
    pub overlay: String,
    /// See [`crate::names::mask`].
    pub mask: String,
    /// See [`crate::names::history`].
    pub history: String,
    /// Names of all columns, in order.
    pub columns: Vec<String>,
    /// Names of the key's columns, in key order.
    pub key: Vec<String>,
    /// What stands for a value of each key column: a `?`, with a cast if the column needs it.
    pub marks: Vec<String>,
    /// Columns that are read as another type, which has all of their digits on the wire: index and type.
    pub read_as: Vec<(usize, &'static str)>,
}

/// One place where rows of a view may be.
#[derive(Debug, Clone, PartialEq)]
pub struct Arm {
    /// `table AS x`
    pub from: String,
    /// Which of its rows belong to the view; may be empty.
    pub condition: String,
    /// The parameters of `condition`.
    pub params: Vec<i64>,
    /// How history is asked.
    pub dialect: Dialect,
}

/// What of a view's places can hold rows at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    /// The branch changed since the ordinal that is looked at.
    pub own_moved: bool,
    /// The branch hides keys.
    pub masked: bool,
    /// Main isn't what it was at the ordinal that is looked at, or below the branch.
    pub main_moved: bool,
}

impl Facts {
    /// Nothing may be left out.
    pub const ALL: Self = Self { own_moved: true, masked: true, main_moved: true };
}

impl Places {
    /// Indexes of columns given by name.
    ///
    /// # Errors
    /// XX000 for a column that the table doesn't have.
    pub fn indexes(&self, names: &[String]) -> Result<Vec<usize>> {
        let unknown = |n: &String| Error::internal(format!("column \"{n}\" of {} is unknown", self.base));
        names
            .iter()
            .map(|n| self.columns.iter().position(|c| c.eq_ignore_ascii_case(n)).ok_or_else(|| unknown(n)))
            .collect()
    }

    /// What is selected of a row, all columns in order.
    pub fn row(&self, alias: &str) -> String {
        let all: Vec<usize> = (0..self.columns.len()).collect();
        self.cells(alias, &all)
    }

    /// What is selected of some columns.
    pub fn cells(&self, alias: &str, columns: &[usize]) -> String {
        let one = |i: &usize| {
            let name = self.dialect.list(alias, self.columns.get(*i).map(String::as_str));
            match self.read_as.iter().find(|(column, _)| column == i) {
                Some((_, ty)) => format!("CAST({name} AS {ty})"),
                None => name,
            }
        };
        columns.iter().map(one).collect::<Vec<_>>().join(", ")
    }

    /// `x."k1" = ? AND …`, without `x.` if `alias` is empty.
    pub fn is_key(&self, alias: &str) -> String {
        let dot = if alias.is_empty() { String::new() } else { format!("{alias}.") };
        let one = |(k, mark): (&String, &String)| format!("{dot}{} = {mark}", self.dialect.quote(k));
        self.key.iter().zip(&self.marks).map(one).collect::<Vec<_>>().join(" AND ")
    }

    /// The plain table.
    pub fn plain(&self) -> Arm {
        Arm::whole(format!("{} AS x", self.base), self.dialect)
    }

    /// The query of a view's [`Facts`], in their order.
    pub fn facts_sql(&self, view: &View) -> (String, Vec<i64>) {
        let lineage = view.layer.lineage.0;
        let moved = |lineage: i64, since: Ordinal| {
            let what = format!("{} WHERE {LINEAGE} = ? AND epoch_to > ?", self.history);
            (self.dialect.truth(&format!("EXISTS (SELECT 1 FROM {what})")), vec![lineage, since])
        };
        let never = || ("0".to_owned(), Vec::new());
        let masked = self.dialect.truth(&format!("EXISTS (SELECT 1 FROM {} WHERE {LINEAGE} = ?)", self.mask));
        let facts = match (view.layer.is_main(), view.at) {
            (true, At::Working) => [never(), never(), never()],
            (true, At::Ordinal(s)) => [never(), never(), moved(LineageId::MAIN.0, s)],
            (false, at) => [
                match at {
                    At::Working => never(),
                    At::Ordinal(s) => moved(lineage, s),
                },
                (masked, vec![lineage]),
                moved(LineageId::MAIN.0, view.layer.base),
            ],
        };
        let sql = facts.iter().map(|(sql, _)| sql.as_str()).collect::<Vec<_>>().join(", ");
        (format!("SELECT {sql}"), facts.into_iter().flat_map(|(_, params)| params).collect())
    }

    /// The arms of a view. Parts that the facts say are empty are left out, so they must be of one moment with the
    /// scan.
    pub fn arms(&self, view: &View, facts: Facts) -> Vec<Arm> {
        let lineage = view.layer.lineage;
        if view.layer.is_main() {
            return match view.at {
                At::Working => vec![self.plain()],
                At::Ordinal(s) => self.below(lineage, false, s, facts.main_moved),
            };
        }
        let mut out = self.own(lineage, view.at, facts.own_moved);
        out.extend(self.below(lineage, facts.masked, view.layer.base, facts.main_moved));
        out
    }

    /// What a branch's own layer holds at a moment, without what is below.
    pub fn own(&self, lineage: LineageId, at: At, moved: bool) -> Vec<Arm> {
        let (At::Ordinal(s), true) = (at, moved) else { return vec![self.overlaid(lineage)] };
        let unmoved = Arm {
            from: format!("{} AS x", self.overlay),
            condition: format!("x.{LINEAGE} = ? AND {}", self.unmoved("?")),
            params: vec![lineage.0, lineage.0, s],
            dialect: self.dialect,
        };
        vec![unmoved, self.images(lineage, s)]
    }

    /// The live rows of a branch.
    pub fn overlaid(&self, lineage: LineageId) -> Arm {
        let condition = format!("x.{LINEAGE} = ?");
        let from = format!("{} AS x", self.overlay);
        Arm { from, condition, params: vec![lineage.0], dialect: self.dialect }
    }

    /// What a branch sees of main: main at an ordinal without the keys that the branch hides.
    pub fn below(&self, lineage: LineageId, masked: bool, at: Ordinal, moved: bool) -> Vec<Arm> {
        let mut base = self.plain();
        let mut conditions = Vec::new();
        if masked {
            conditions.push(self.unmasked());
            base.params.push(lineage.0);
        }
        if moved {
            conditions.push(self.unmoved("1"));
            base.params.push(at);
        }
        base.condition = conditions.join(" AND ");
        let mut out = vec![base];
        if moved {
            let mut past = self.images(LineageId::MAIN, at);
            if masked {
                past.condition = format!("{} AND {}", past.condition, self.unmasked());
                past.params.push(lineage.0);
            }
            out.push(past);
        }
        out
    }

    /// Same as [`Self::below`] for writes: the mask may get its first key at any moment.
    pub fn below_for_write(&self, layer: Layer, moved: bool) -> Vec<Arm> {
        self.below(layer.lineage, true, layer.base, moved)
    }

    fn unmasked(&self) -> String {
        let same = self.dialect.equal(&self.key, "m", "x");
        format!("NOT EXISTS (SELECT 1 FROM {} AS m WHERE m.{LINEAGE} = ? AND {same})", self.mask)
    }

    /// The key's last image ends at or before the ordinal, so the live row was there then. Parameters: the lineage if
    /// it is one, and the ordinal.
    fn unmoved(&self, lineage: &str) -> String {
        let (history, same) = (&self.history, self.dialect.equal(&self.key, "h", "x"));
        match self.dialect {
            Dialect::Sqlite => format!(
                "coalesce((SELECT h.epoch_to FROM {history} AS h WHERE h.{LINEAGE} = {lineage} AND {same} \
                 ORDER BY h.epoch_from DESC LIMIT 1), 0) <= ?"
            ),
            Dialect::Mysql | Dialect::SqlServer => format!(
                "NOT EXISTS (SELECT 1 FROM {history} AS h WHERE h.{LINEAGE} = {lineage} AND {same} AND h.epoch_to > ?)"
            ),
        }
    }

    /// The rows that a lineage had at an ordinal and that changed since.
    fn images(&self, lineage: LineageId, at: Ordinal) -> Arm {
        let visible = match self.dialect {
            Dialect::Sqlite => "x.epoch_from <= ? AND x.epoch_to > ?".to_owned(),
            Dialect::Mysql | Dialect::SqlServer => format!(
                "x.epoch_to > ? AND NOT EXISTS (SELECT 1 FROM {} AS q WHERE q.{LINEAGE} = x.{LINEAGE} AND {} \
                 AND q.epoch_to > ? AND q.epoch_to < x.epoch_to)",
                self.history,
                self.dialect.equal(&self.key, "q", "x")
            ),
        };
        Arm {
            from: format!("{} AS x", self.history),
            condition: format!("x.{LINEAGE} = ? AND {visible} AND x.epoch_existed = 1"),
            params: vec![lineage.0, at, at],
            dialect: self.dialect,
        }
    }
}

/// A condition over `x` with its parameters.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Filter {
    /// Joined by AND.
    pub sql: Vec<String>,
    /// In the order of their places.
    pub params: Vec<Value>,
    /// Whether it names rows by key: then no arm must be read by ordinal, whatever the statistics say.
    pub keyed: bool,
}

impl Filter {
    /// The row with a key.
    pub fn key(places: &Places, key: &[Value]) -> Self {
        Self { sql: vec![places.is_key("x")], params: key.to_vec(), keyed: true }
    }

    /// That a row of `x` has a wanted key. `keys`: what the dialect makes of [`Wanted::keys`].
    #[must_use]
    pub fn wanted(places: &Places, keys: Self, wanted: &Wanted) -> Self {
        let Some(key) = &wanted.key else { return keys };
        let mut filter = Self::key(places, key);
        filter.sql.extend(keys.sql);
        filter.params.extend(keys.params);
        filter
    }

    /// Behind other conditions.
    pub fn and(&self) -> String {
        self.sql.iter().map(|sql| format!(" AND {sql}")).collect()
    }
}

impl Arm {
    /// All rows of `from`, which is of the form `table AS x`.
    pub fn whole(from: String, dialect: Dialect) -> Self {
        Self { from, condition: String::new(), params: Vec::new(), dialect }
    }

    /// The SELECT of `what` from this arm, with its parameters.
    pub fn select(&self, what: &str, filter: &Filter, limit: Option<usize>) -> (String, Vec<Value>) {
        let mut conditions: Vec<&str> = Vec::new();
        // A plus sign keeps SQLite's planner from the index on ordinals.
        let own = match filter.keyed && self.dialect == Dialect::Sqlite {
            true => self.condition.replace("x.epoch_to", "+x.epoch_to"),
            false => self.condition.clone(),
        };
        if !own.is_empty() {
            conditions.push(&own);
        }
        conditions.extend(filter.sql.iter().map(String::as_str));
        let filtered = if conditions.is_empty() {
            String::new()
        } else {
            format!(" WHERE {}", conditions.join(" AND "))
        };
        let first = self.dialect == Dialect::SqlServer;
        let (top, limited) = match limit {
            None => ("", ""),
            Some(_) if first => ("TOP (?) ", ""),
            Some(_) => ("", " LIMIT ?"),
        };
        let limit = limit.map(|n| Value::Int(i64::try_from(n).unwrap_or(i64::MAX)));
        let mut params: Vec<Value> = limit.iter().filter(|_| first).cloned().collect();
        params.extend(self.params.iter().map(|p| Value::Int(*p)));
        params.extend(filter.params.iter().cloned());
        params.extend(limit.filter(|_| !first));
        (format!("SELECT {top}{what} FROM {}{filtered}{limited}", self.from), params)
    }
}

/// All arms in one statement, which sees one moment. In T-SQL the limit is each arm's.
pub fn union(arms: &[Arm], what: &str, filter: &Filter, limit: Option<usize>) -> (String, Vec<Value>) {
    let (mut parts, mut params) = (Vec::new(), Vec::new());
    for arm in arms {
        let (sql, values) = arm.select(what, filter, limit);
        // T-SQL needs none, and not everything that speaks it takes them behind an INSERT.
        let alone = arms.len() == 1 || arm.dialect == Dialect::SqlServer;
        parts.push(if alone { sql } else { format!("({sql})") });
        params.extend(values);
    }
    let mut sql = parts.join(" UNION ALL ");
    let whole = arms.iter().all(|arm| arm.dialect != Dialect::SqlServer);
    if let (Some(n), 2.., true) = (limit, arms.len(), whole) {
        sql.push_str(" LIMIT ?");
        params.push(Value::Int(i64::try_from(n).unwrap_or(i64::MAX)));
    }
    (sql, params)
}
