//! Random writes by everybody, against a model that copies everything. After each step every branch, every ordinal and
//! the base are compared. The seed is printed; EPOCH_TEST_SEED repeats a run.

use std::collections::BTreeMap;
use std::sync::Arc;

use epoch_adapter::{
    At, Layer, Ordinal, Row, RowChange, RowWrite, SealMode, Segment, TableDef, TableStats, Value, View,
};

use crate::{Database, branch, insert, sql_value, text};

/// SplitMix64.
pub struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below another.
    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }
}

type State = BTreeMap<Row, Row>;

/// A kind of table `t`: how keys, unique values and rows look.
pub struct Shape {
    pub ddl: &'static str,
    pub key_columns: &'static [usize],
    pub unique: usize,
    pub value: usize,
    pub row: fn(&mut Random) -> Row,
    /// Whether keys ignore case.
    pub fold: bool,
    /// What clients that don't know us do.
    pub foreign: fn(usize, &Parts) -> String,
}

/// How many kinds of statements [`Shape::foreign`] knows.
pub const FOREIGN: usize = 11;

/// What statements are made of, as SQL.
pub struct Parts {
    pub values: String,
    pub keys: String,
    /// `key = value AND …`
    pub matches: String,
    /// `key = other value, …`
    pub sets: String,
    /// The unique column and a value for it.
    pub unique: String,
    pub unique_value: String,
    /// The column with small numbers.
    pub value: String,
}

pub fn unique_value(r: &mut Random) -> Value {
    match r.below(12) {
        0..=3 => Value::Null,
        n => text(&format!("u{n}")),
    }
}

struct Line {
    layer: Layer,
    parent: Option<(usize, Ordinal)>,
    has_layer: bool,
    working: State,
    /// The first is the state at the fork.
    ordinals: Vec<State>,
}

struct World<D> {
    db: D,
    table: Arc<TableDef>,
    shape: &'static Shape,
    random: Random,
    lines: Vec<Line>,
    operations: usize,
}

impl<D: Database> World<D> {
    async fn new(db: D, shape: &'static Shape, seed: u64) -> Self {
        let table = db.register(1, "t").await;
        let main = Line {
            layer: Layer::MAIN,
            parent: None,
            has_layer: true,
            working: State::new(),
            ordinals: vec![State::new()],
        };
        Self { db, table, shape, random: Random(seed), lines: vec![main], operations: 0 }
    }

    fn key(&self, row: &Row) -> Row {
        self.shape.key_columns.iter().map(|&i| row[i].clone()).collect()
    }

    fn folded(&self, key: &Row) -> Row {
        let fold = |v: &Value| match v {
            Value::Text(t) if self.shape.fold => text(&t.to_lowercase()),
            other => other.clone(),
        };
        key.iter().map(fold).collect()
    }

    fn new_row(&mut self) -> Row {
        (self.shape.row)(&mut self.random)
    }

    async fn step(&mut self) -> String {
        match self.random.below(20) {
            0..=6 => self.direct().await,
            7..=12 => self.on_branch().await,
            13 => self.rolled_back().await,
            14 | 15 => self.fork(),
            16 | 17 => self.seal().await,
            _ => self.merge().await,
        }
    }

    /// A client that doesn't know us. What the server makes of it is its business: the model copies the
    /// result.
    async fn direct(&mut self) -> String {
        let row = self.new_row();
        let key_names: Vec<_> = self.shape.key_columns.iter().map(|&i| self.name(i)).collect();
        let values: Vec<_> = row.iter().map(sql_value).collect();
        let values = values.join(", ");
        let (unique, value) = (self.name(self.shape.unique), self.name(self.shape.value));
        let key = self.key(&row);
        let matches: Vec<_> =
            key_names.iter().zip(&key).map(|(n, v)| format!("{n} = {}", sql_value(v))).collect();
        let matches = matches.join(" AND ");
        let other_key = self.new_row();
        let sets: Vec<_> = key_names
            .iter()
            .zip(self.key(&other_key))
            .map(|(n, v)| format!("{n} = {}", sql_value(&v)))
            .collect();
        let u = sql_value(&row[self.shape.unique]);
        let parts = Parts {
            values,
            keys: key_names.join(", "),
            matches,
            sets: sets.join(", "),
            unique,
            unique_value: u,
            value,
        };
        let sql = (self.shape.foreign)(self.random.below(FOREIGN), &parts);
        // An error of a constraint is as good as any other outcome.
        let _ = self.db.direct(&sql).await;
        self.lines[0].working = self.read_base().await;
        sql
    }

    fn name(&self, column: usize) -> String {
        self.table.schema.columns[column].name.clone()
    }

    async fn read_base(&self) -> State {
        self.db.base("t").await.into_iter().map(|row| (self.folded(&self.key(&row)), row)).collect()
    }

    fn random_write(&mut self) -> RowWrite {
        let row = self.new_row();
        let key = self.key(&row);
        match self.random.below(6) {
            0 | 1 => insert(row),
            2 => RowWrite::Delete { key },
            3 => {
                let to = self.new_row();
                let set = self.shape.key_columns.iter().map(|&i| (i, to[i].clone())).collect();
                RowWrite::Update { key, set }
            }
            4 => RowWrite::Update { key, set: vec![(self.shape.unique, row[self.shape.unique].clone())] },
            _ => RowWrite::Update { key, set: vec![(self.shape.value, row[self.shape.value].clone())] },
        }
    }

    /// What a write does to a state: the number of rows, or `None` for a duplicate.
    fn apply(&self, state: &mut State, write: &RowWrite) -> Option<u64> {
        let (old, row) = match write {
            RowWrite::Insert(cells) => (None, cells.iter().map(|c| c.clone().unwrap()).collect::<Row>()),
            RowWrite::Delete { key } => return Some(u64::from(state.remove(&self.folded(key)).is_some())),
            RowWrite::Update { key, set } => {
                let old = self.folded(key);
                let Some(mut row) = state.get(&old).cloned() else { return Some(0) };
                for (i, v) in set {
                    row[*i] = v.clone();
                }
                (Some(old), row)
            }
        };
        let new = self.folded(&self.key(&row));
        let unique = &row[self.shape.unique];
        let taken = state.iter().any(|(k, r)| {
            Some(k) != old.as_ref() && (*k == new || (!unique.is_null() && r[self.shape.unique] == *unique))
        });
        if taken {
            return None;
        }
        if let Some(old) = old {
            state.remove(&old);
        }
        state.insert(new, row);
        Some(1)
    }

    fn view(&self, line: usize, at: At) -> View {
        let l = &self.lines[line];
        match (l.has_layer, l.parent) {
            (false, Some((parent, fork))) => self.view(parent, At::Ordinal(fork)),
            _ => View { layer: l.layer, at },
        }
    }

    async fn ensure(&mut self, line: usize) {
        let l = &self.lines[line];
        if l.has_layer {
            return;
        }
        let (parent, fork) = l.parent.unwrap();
        let parent = self.view(parent, At::Ordinal(fork));
        let parent = (!parent.layer.is_main()).then_some(parent);
        self.db.adapter().ensure_layer(&self.table, l.layer, parent.as_ref()).await.unwrap();
        self.lines[line].has_layer = true;
    }

    async fn on_branch(&mut self) -> String {
        let line = self.random.below(self.lines.len());
        self.ensure(line).await;
        let layer = self.lines[line].layer;
        let mut tx = self.db.adapter().begin().await.unwrap();
        let mut state = self.lines[line].working.clone();
        let mut log = format!("line {line}:");
        for n in 0..1 + self.random.below(3) {
            let write = self.random_write();
            log.push_str(&format!(" {write:?}"));
            let before = state.clone();
            let expected = self.apply(&mut state, &write);
            let name = format!("s{n}");
            tx.savepoint(&name).await.unwrap();
            match (tx.write(&self.table, layer, std::slice::from_ref(&write)).await, expected) {
                (Ok(n), Some(m)) => assert_eq!(n, m, "{log}"),
                (Err(e), None) => {
                    assert_eq!(e.code(), "23505", "{log}: {e}");
                    tx.rollback_to(&name).await.unwrap();
                    state = before;
                }
                (got, want) => panic!("{log}: {got:?}, not {want:?}"),
            }
        }
        tx.commit().await.unwrap();
        self.lines[line].working = state;
        log
    }

    async fn rolled_back(&mut self) -> String {
        let line = self.random.below(self.lines.len());
        self.ensure(line).await;
        let mut tx = self.db.adapter().begin().await.unwrap();
        let write = self.random_write();
        let _ = tx.write(&self.table, self.lines[line].layer, &[write]).await;
        if self.random.below(2) == 0 {
            tx.rollback().await.unwrap();
        }
        format!("line {line}: rolled back")
    }

    fn fork(&mut self) -> String {
        if self.lines.len() > 6 {
            return "no more forks".into();
        }
        let parent = self.random.below(self.lines.len());
        let ordinal = self.random.below(self.lines[parent].ordinals.len());
        let state = self.lines[parent].ordinals[ordinal].clone();
        let ordinal = ordinal as Ordinal;
        let base = if parent == 0 { ordinal } else { self.lines[parent].layer.base };
        let layer = branch(self.lines.len() as i64 + 1, base);
        self.lines.push(Line {
            layer,
            parent: Some((parent, ordinal)),
            has_layer: false,
            working: state.clone(),
            ordinals: vec![state],
        });
        format!("line {} from {parent} at {ordinal}", self.lines.len() - 1)
    }

    async fn seal(&mut self) -> String {
        let line = self.random.below(self.lines.len());
        self.publish(line, Vec::new(), SealMode::All).await;
        format!("line {line} sealed")
    }

    async fn publish(&mut self, line: usize, changes: Vec<RowChange>, mode: SealMode) {
        self.ensure(line).await;
        self.operations += 1;
        let own: Vec<Row> = changes.iter().map(|c| self.folded(&c.key)).collect();
        let (layer, ordinal) = (self.lines[line].layer, self.lines[line].ordinals.len() as Ordinal);
        let changes = [epoch_adapter::TableChanges { table: self.table.clone(), changes, arrival: None }];
        let operation = format!("op{}", self.operations);
        let tables = [self.table.clone()];
        let sealed =
            self.db.adapter().seal(&operation, &tables, layer, ordinal, &changes, mode).await.unwrap();
        let l = &self.lines[line];
        let before = l.ordinals.last().unwrap();
        let mut after = l.working.clone();
        if mode == SealMode::Own {
            after = before.clone();
            for key in own {
                match l.working.get(&key) {
                    Some(row) => after.insert(key, row.clone()),
                    None => after.remove(&key),
                };
            }
        }
        let expected = stats(&difference(before, &after));
        let got = sealed.tables.first().map(|t| t.1).unwrap_or_default();
        assert_eq!(got, TableStats { cells: 0, ..expected });
        self.lines[line].ordinals.push(after);
    }

    /// Makes one line's working rows those of another.
    async fn merge(&mut self) -> String {
        let (line, other) = (self.random.below(self.lines.len()), self.random.below(self.lines.len()));
        let target = self.lines[other].working.clone();
        let changes: Vec<_> = difference(&self.lines[line].working, &target);
        let changes = changes.into_iter().map(|mut c| {
            c.key = self.key(c.after.as_ref().or(c.before.as_ref()).unwrap());
            c
        });
        let changes: Vec<_> = changes.collect();
        let mode = if self.random.below(2) == 0 { SealMode::All } else { SealMode::Own };
        self.lines[line].working = target;
        let log = format!("line {line} made as {other}, {mode:?}: {changes:?}");
        self.publish(line, changes, mode).await;
        log
    }

    /// Everything that can be seen is what the model says.
    async fn compare(&mut self, log: &str) {
        for line in 0..self.lines.len() {
            let l = &self.lines[line];
            let moments = std::iter::once((At::Working, &l.working))
                .chain(l.ordinals.iter().enumerate().map(|(s, o)| (At::Ordinal(s as Ordinal), o)));
            for (at, state) in moments {
                let mut expected: Vec<_> = state.values().cloned().collect();
                expected.sort();
                let got = self.db.rows(&self.table, self.view(line, at)).await;
                assert_eq!(got, expected, "line {line} at {at:?} after {log}");
            }
            let pending = self.db.adapter().pending(&[self.table.clone()], l.layer).await.unwrap();
            let expected = stats(&difference(l.ordinals.last().unwrap(), &l.working));
            let got = pending.first().map(|p| p.1).unwrap_or_default();
            assert_eq!(got, TableStats { cells: 0, ..expected }, "pending of line {line} after {log}");
        }
        for _ in 0..4 {
            self.compare_diff(log).await;
        }
    }

    async fn compare_diff(&mut self, log: &str) {
        let (a, b) = (self.random_moment(), self.random_moment());
        let segments = self.path(a, b);
        let (from, to) = (self.view(a.0, a.1), self.view(b.0, b.1));
        let mut got = self.db.diff(&self.table, from, to, &segments).await;
        let stat = self.db.adapter().diff_stat(&self.table, &from, &to, &segments).await.unwrap();
        for change in &mut got {
            change.key = self.folded(&change.key);
        }
        got.sort_by(|a, b| a.key.cmp(&b.key));
        let expected = difference(self.state(a), self.state(b));
        assert_eq!(got, expected, "diff of {a:?} and {b:?} after {log}");
        assert_eq!(stat, stats(&expected));
    }

    fn state(&self, (line, at): (usize, At)) -> &State {
        match at {
            At::Working => &self.lines[line].working,
            At::Ordinal(s) => &self.lines[line].ordinals[s as usize],
        }
    }

    fn random_moment(&mut self) -> (usize, At) {
        let line = self.random.below(self.lines.len());
        let n = self.lines[line].ordinals.len();
        match self.random.below(n + 1) {
            s if s == n => (line, At::Working),
            s => (line, At::Ordinal(s as Ordinal)),
        }
    }

    /// The history between two moments, through the nearest common ancestor.
    fn path(&self, a: (usize, At), b: (usize, At)) -> Vec<Segment> {
        let chain = |mut spot: (usize, At)| {
            let mut out = vec![spot];
            while let Some((parent, fork)) = self.lines[spot.0].parent {
                spot = (parent, At::Ordinal(fork));
                out.push(spot);
            }
            out
        };
        let (a, b) = (chain(a), chain(b));
        let mut out = Vec::new();
        let meeting = a.iter().find(|(l, _)| b.iter().any(|(m, _)| m == l)).unwrap().0;
        let own = |spots: &[(usize, At)], out: &mut Vec<Segment>| {
            for (l, at) in spots.iter().take_while(|(l, _)| *l != meeting) {
                out.push(Segment { lineage: self.lines[*l].layer.lineage, after: 0, upto: *at });
            }
        };
        own(&a, &mut out);
        own(&b, &mut out);
        let at = |spots: &[(usize, At)]| match spots.iter().find(|(l, _)| *l == meeting).unwrap().1 {
            At::Working => i64::MAX,
            At::Ordinal(s) => s,
        };
        let (low, high) = (at(&a).min(at(&b)), at(&a).max(at(&b)));
        if low < high {
            let upto = if high == i64::MAX { At::Working } else { At::Ordinal(high) };
            out.push(Segment { lineage: self.lines[meeting].layer.lineage, after: low, upto });
        }
        out
    }
}

/// By folded key.
fn difference(a: &State, b: &State) -> Vec<RowChange> {
    let keys: std::collections::BTreeSet<_> = a.keys().chain(b.keys()).collect();
    keys.into_iter()
        .map(|k| RowChange { key: k.clone(), before: a.get(k).cloned(), after: b.get(k).cloned() })
        .filter(|c| c.before != c.after)
        .collect()
}

fn stats(changes: &[RowChange]) -> TableStats {
    let mut out = TableStats::default();
    for c in changes {
        match (&c.before, &c.after) {
            (Some(a), Some(b)) => {
                out.modified += 1;
                out.cells += a.iter().zip(b).filter(|(x, y)| x != y).count() as i64;
            }
            (None, _) => out.added += 1,
            _ => out.removed += 1,
        }
    }
    out
}

/// Runs steps on a fresh database, whose table is there but not registered: as many as are wanted, and more until
/// there were branches and commits among them, for which few random steps may have no luck.
pub async fn run<D: Database>(db: D, shape: &'static Shape, seed: u64, steps: usize) {
    println!("{} with EPOCH_TEST_SEED={seed}", shape.ddl);
    let mut world = World::new(db, shape, seed).await;
    let mut step = 0;
    while step < steps || world.lines.len() <= 2 || world.operations <= 2 {
        assert!(step < 20 * steps, "seed {seed} does nothing");
        let log = format!("seed {seed}, step {step}: {}", world.step().await);
        world.compare(&log).await;
        step += 1;
    }
}

/// Another one each time, unless it is given.
pub fn seed() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    std::env::var("EPOCH_TEST_SEED")
        .ok()
        .and_then(|s| s.parse().ok())
        .unwrap_or(now.as_nanos() as u64 % 1_000_000)
}
