//! Random queries over three tables `a`, `b`, `c` of the same columns: joins, sub-selects, groups, windows, unions.

use super::random::Random;

/// The tables with their rows, for a dialect's name of 64-bit integers.
pub fn setup(seed: u64, integer: &str) -> String {
    let mut r = Random::new(seed);
    let mut sql = String::new();
    for table in ["a", "b", "c"] {
        sql.push_str(&format!(
            "CREATE TABLE {table} (id {integer} PRIMARY KEY, x {integer}, y {integer}, s TEXT);\n"
        ));
        for id in 1..=5 + r.below(4) {
            let (x, y) = (r.pick(&["NULL", "1", "2", "3", "4"]), r.pick(&["NULL", "0", "1", "2", "5"]));
            let s = r.pick(&["NULL", "'p'", "'q'", "'r'", "''", "'12'"]);
            sql.push_str(&format!("INSERT INTO {table} VALUES ({id}, {x}, {y}, {s});\n"));
        }
    }
    sql
}

/// What is being written: names of relations are used once.
pub struct Writer {
    r: Random,
    names: usize,
}

impl Writer {
    pub fn new(seed: u64) -> Self {
        Self { r: Random::new(seed), names: 0 }
    }

    fn name(&mut self) -> String {
        self.names += 1;
        format!("q{}", self.names)
    }

    fn column(&mut self, of: &str) -> String {
        format!("{of}.{}", self.r.pick(&["id", "x", "y"]))
    }

    fn one_of(&mut self, names: &[String]) -> String {
        names[self.r.below(names.len())].clone()
    }

    /// A number.
    fn value(&mut self, of: &str) -> String {
        match self.r.below(11) {
            0..4 => self.column(of),
            4 => format!("{of}.x + {of}.y"),
            5 => format!("coalesce({of}.x, 0)"),
            6 => format!("CASE WHEN {of}.x > 2 THEN {of}.y ELSE {of}.id END"),
            7 => format!("nullif({of}.x, 2)"),
            8 => format!("greatest({of}.x, {of}.y)"),
            9 => format!("CASE WHEN {of}.y <> 0 THEN {of}.id / {of}.y END"),
            _ => format!("{of}.x * 2 - {of}.id"),
        }
    }

    /// Something of which a condition is asked.
    fn relation(&mut self, depth: usize) -> String {
        let table = self.r.pick(&["a", "b", "c"]).to_owned();
        if depth == 0 {
            return table;
        }
        let below = depth - 1;
        match self.r.below(100) {
            0..45 => table,
            45..58 => {
                let inner = self.relation(below);
                format!("(SELECT id, x, y, s FROM {inner} z WHERE {})", self.condition("z", below))
            }
            58..72 => {
                let id = self.r.pick(&["min(id)", "max(id)", "count(*)"]);
                let y = self.r.pick(&["max(y)", "count(y)", "min(y)", "sum(y)::bigint"]);
                let s = self.r.pick(&["max(s)", "min(s)"]);
                let having = self.r.pick(&["", " HAVING count(*) > 1", " HAVING max(y) > 1"]);
                let inner = self.relation(below);
                format!("(SELECT {id} AS id, x, {y} AS y, {s} AS s FROM {inner} z GROUP BY x{having})")
            }
            72..78 => {
                let inner = self.relation(below);
                format!("(SELECT DISTINCT ON (x) id, x, y, s FROM {inner} z ORDER BY x, id, y, s)")
            }
            78..88 => {
                let op = self.r.pick(&["UNION", "UNION ALL", "EXCEPT", "INTERSECT"]);
                let (inner, id) = (self.relation(below), self.r.pick(&["id", "x"]));
                format!("(SELECT id, x, y, s FROM {table} {op} SELECT {id}, x, y, s FROM {inner} z)")
            }
            88..94 => {
                let inner = self.relation(below);
                format!(
                    "(SELECT id, x, row_number() OVER (PARTITION BY x ORDER BY id, y, s) AS y, s FROM {inner} z)"
                )
            }
            _ => {
                let (inner, n) = (self.relation(below), self.r.pick(&["1", "2", "3", "5"]));
                format!("(SELECT id, x, y, s FROM {inner} z ORDER BY id, x, y, s LIMIT {n})")
            }
        }
    }

    fn condition(&mut self, of: &str, depth: usize) -> String {
        let below = depth.saturating_sub(1);
        let case = if depth == 0 { self.r.below(45) } else { self.r.below(100) };
        match case {
            0..45 => {
                let op =
                    self.r.pick(&["=", "<", ">", "<>", "<=", "IS DISTINCT FROM", "IS NOT DISTINCT FROM"]);
                let right = if self.r.percent(50) {
                    self.value(of)
                } else {
                    self.r.pick(&["1", "2", "3"]).to_owned()
                };
                format!("({} {op} {right})", self.value(of))
            }
            45..60 => {
                let (left, right) = (self.condition(of, below), self.condition(of, below));
                format!("({left} {} {right})", self.r.pick(&["AND", "OR"]))
            }
            60..66 => format!("NOT ({})", self.condition(of, below)),
            66..74 => {
                let (column, op) = (self.column(of), self.r.pick(&["IN", "NOT IN"]));
                let (list, inner) = (self.r.pick(&["id", "x", "y"]), self.relation(below));
                let known = self.r.pick(&["", " WHERE w.x IS NOT NULL"]);
                format!("{column} {op} (SELECT {list} FROM {inner} w{known})")
            }
            74..82 => {
                let what = self.r.pick(&["max(x)", "min(y)", "count(*)", "sum(id)"]);
                let (value, op, inner) =
                    (self.value(of), self.r.pick(&["=", "<", ">"]), self.relation(below));
                format!("{value} {op} (SELECT {what} FROM {inner} w)")
            }
            82..88 => {
                let (op, text) =
                    (self.r.pick(&["=", "<>", "<", "LIKE"]), self.r.pick(&["'p'", "'q'", "''", "'%'"]));
                format!("{of}.s {op} {text}")
            }
            88..92 => format!("{} IS {}NULL", self.value(of), self.r.pick(&["", "NOT "])),
            92..96 => format!("({of}.s = '12' AND {of}.s::int > 5)"),
            _ => format!("({of}.y <> 0 AND {of}.id / {of}.y {} 1)", self.r.pick(&[">", "<"])),
        }
    }

    /// A sub-select that reads columns of the queries around it.
    fn sub_select(&mut self, outer: &[String], depth: usize, list: &str) -> String {
        let own = self.name();
        let mut from = format!("{} {own}", self.r.pick(&["a", "b", "c"]));
        let mut within = vec![own.clone()];
        if self.r.percent(20) {
            let other = self.name();
            let (kind, table) = (self.r.pick(&["JOIN", "LEFT JOIN"]), self.r.pick(&["a", "b", "c"]));
            from.push_str(&format!(
                " {kind} {table} {other} ON {own}.x = {other}.{}",
                self.r.pick(&["id", "x"])
            ));
            within.push(other);
        }
        let list = match list {
            "any" => self.r.pick(&["1", "*", "NULL"]).to_owned(),
            "one" => self.column(&own),
            _ => {
                let column = self.column(&own);
                let name = self.r.pick(&["count", "max", "min", "sum"]);
                if self.r.percent(30) { "count(*)".to_owned() } else { format!("{name}({column})") }
            }
        };
        format!("SELECT {list} FROM {from} WHERE {}", self.correlated(&within, outer, depth))
    }

    fn correlated(&mut self, own: &[String], outer: &[String], depth: usize) -> String {
        let below = depth.saturating_sub(1);
        let mut around = own.to_vec();
        around.extend_from_slice(outer);
        let first = self.one_of(own);
        match if depth == 0 { self.r.below(40) } else { self.r.below(100) } {
            0..40 => {
                let op = self.r.pick(&["=", "=", "=", "<", ">", "<>"]);
                let right = if self.r.percent(70) && !outer.is_empty() {
                    let other = self.one_of(outer);
                    self.column(&other)
                } else {
                    self.r.pick(&["1", "2", "3"]).to_owned()
                };
                format!("{} {op} {right}", self.column(&first))
            }
            40..58 => {
                let (left, right) = (self.correlated(own, outer, below), self.correlated(own, outer, below));
                format!("({left} {} {right})", self.r.pick(&["AND", "AND", "OR"]))
            }
            58..63 => format!("NOT ({})", self.correlated(own, outer, below)),
            63..76 => {
                let not = self.r.pick(&["", "NOT "]);
                format!("{not}EXISTS ({})", self.sub_select(&around, below, "any"))
            }
            76..86 => {
                let (column, op) = (self.column(&first), self.r.pick(&["IN", "IN", "NOT IN"]));
                format!("{column} {op} ({})", self.sub_select(&around, below, "one"))
            }
            86..94 => {
                let (column, op) = (self.column(&first), self.r.pick(&["=", "<", ">", "<>"]));
                format!("{column} {op} ({})", self.sub_select(&around, below, "aggregate"))
            }
            _ => format!("{first}.x IS {}NULL", self.r.pick(&["", "NOT "])),
        }
    }

    /// FROM, and the names in it.
    fn from(&mut self) -> (String, Vec<String>) {
        let first = self.name();
        let mut from = format!("{} {first}", self.relation(2));
        let mut names = vec![first];
        for _ in 0..[0, 0, 1, 1, 2][self.r.below(5)] {
            let other = self.name();
            let kind = self.r.pick(&["JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN", "CROSS JOIN"]);
            from.push_str(&format!(" {kind} {} {other}", self.relation(1)));
            if kind != "CROSS JOIN" {
                let before = self.one_of(&names);
                let (l, r) = (self.r.pick(&["id", "x"]), self.r.pick(&["id", "x", "y"]));
                from.push_str(&format!(" ON {before}.{l} = {other}.{r}"));
                if self.r.percent(30) && matches!(kind, "JOIN" | "LEFT JOIN") {
                    from.push_str(&format!(" AND {} > {}", self.value(&other), self.value(&before)));
                }
            }
            names.push(other);
        }
        (from, names)
    }

    /// Joins whose columns are merged.
    fn merged(&mut self) -> String {
        let kind = self.r.pick(&["JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN"]);
        let (l, r) = (self.relation(1), self.relation(1));
        let name = self.r.pick(&["id", "x"]);
        let columns = self.r.pick(&["id, x", "y, id, x", "x, y AS z, id"]);
        let left = format!("(SELECT {columns} FROM {l} l) q1");
        let right = format!("(SELECT s, {name} FROM {r} r) q2");
        let join = match self.r.below(3) {
            0 => format!("{left} NATURAL {kind} {right}"),
            _ => format!("{left} {kind} {right} USING ({name})"),
        };
        match self.r.below(5) {
            0 | 1 => format!("SELECT * FROM {join}"),
            2 => format!("SELECT {name}, count(*) FROM {join} WHERE {name} > 1 GROUP BY {name}"),
            3 => format!(
                "SELECT {name}, q1.{name} AS l, q2.{name} AS r, s FROM {join} WHERE {name} IS NOT NULL"
            ),
            _ => format!("SELECT count({name}), max({name} + 1) FROM {join}"),
        }
    }

    /// One query.
    pub fn query(&mut self) -> String {
        self.names = 0;
        if self.r.percent(10) {
            return self.merged();
        }
        let (from, names) = self.from();
        let (first, last) = (names[0].clone(), names[names.len() - 1].clone());
        let condition = match self.r.below(10) {
            0..3 => String::new(),
            3..6 => format!(" WHERE {}", self.correlated(&names, &[], 2)),
            _ => {
                let name = self.one_of(&names);
                format!(" WHERE {}", self.condition(&name, 2))
            }
        };
        match self.r.below(100) {
            0..38 => {
                let list: Vec<_> = names.iter().map(|name| self.value(name)).collect();
                format!("SELECT {} FROM {from}{condition}", list.join(", "))
            }
            38..54 => {
                let having = self.r.pick(&["", " HAVING count(*) > 1"]);
                let (group, sum) = (self.value(&first), self.value(&last));
                format!(
                    "SELECT {group} AS g, count(*), sum({sum}), max({last}.s) FROM {from}{condition} GROUP BY 1{having}"
                )
            }
            54..62 => format!("SELECT DISTINCT {} AS e, {last}.s FROM {from}{condition}", self.value(&first)),
            62..72 => {
                let inner = self.sub_select(&names, 2, "aggregate");
                format!("SELECT {first}.id, ({inner}) FROM {from}{condition}")
            }
            72..80 => {
                let value = self.value(&first);
                format!(
                    "SELECT {first}.id, sum({value}) OVER (PARTITION BY {last}.s), rank() OVER (ORDER BY {first}.x) FROM {from}{condition}"
                )
            }
            80..90 => {
                let op = self.r.pick(&["UNION", "UNION ALL", "EXCEPT", "INTERSECT"]);
                let (l, r) = (self.value("l"), self.value(&first));
                format!("SELECT {l} FROM {} l {op} SELECT {r} FROM {from}{condition}", self.relation(1))
            }
            _ => {
                let value = self.value(&first);
                format!(
                    "SELECT count(*), sum({value}), avg({value}), min({last}.s), count(DISTINCT {last}.x) FROM {from}{condition}"
                )
            }
        }
    }
}
