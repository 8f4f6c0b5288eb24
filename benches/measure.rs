//! Latencies of prepared statements, interleaved so that a busy moment hits all routes.

use std::time::{Duration, Instant};

use crate::common::conn::{self, Conn};
use crate::common::message::Message;

/// Sorted samples.
#[derive(Debug, Clone, Default)]
pub struct Samples(Vec<Duration>);

impl Samples {
    pub fn new(mut all: Vec<Duration>) -> Self {
        all.sort_unstable();
        Self(all)
    }

    pub fn quantile(&self, q: f64) -> Duration {
        let at = ((self.0.len().saturating_sub(1)) as f64 * q).round() as usize;
        self.0.get(at).copied().unwrap_or_default()
    }

    pub fn p50(&self) -> Duration {
        self.quantile(0.5)
    }
}

pub fn time<T>(work: impl FnOnce() -> T) -> (Duration, T) {
    let start = Instant::now();
    let out = work();
    (start.elapsed(), out)
}

pub fn ms(duration: Duration) -> String {
    let ms = duration.as_secs_f64() * 1000.0;
    if ms < 10.0 { format!("{ms:.3}") } else { format!("{ms:.1}") }
}

pub fn ratio(a: Duration, b: Duration) -> f64 {
    a.as_secs_f64() / b.as_secs_f64().max(1e-9)
}

pub fn times(value: f64) -> String {
    if value < 100.0 { format!("{value:.2}x") } else { format!("{value:.0}x") }
}

/// Bind, Execute, Sync of the prepared statement `s`; panics on an error.
pub fn execute(conn: &mut Conn, param: Option<&str>) {
    let params: Vec<_> = param.into_iter().map(Some).collect();
    conn.send(&[conn::bind("", "s", &params, false), conn::execute("", 0), conn::sync()]);
    drain(conn);
}

pub fn prepare(conn: &mut Conn, sql: &str) {
    conn.send(&[conn::close(b'S', "s"), conn::parse("s", sql, &[]), conn::sync()]);
    drain(conn);
}

/// Reads to ReadyForQuery without keeping rows.
pub fn drain(conn: &mut Conn) {
    loop {
        match conn.recv().expect("an answer") {
            Message::Ready(_) => return,
            Message::Error(e) => panic!("{e:?}"),
            _ => {}
        }
    }
}

/// Runs `sql` on every connection in turn until `budget` is used up; the parameter changes with
/// each round. With `prepared` off each round is a Query message with the parameter in its text.
pub fn race(
    conns: &mut [&mut Conn],
    sql: &str,
    prepared: bool,
    budget: Duration,
    param: impl Fn(u32) -> String,
) -> Vec<Samples> {
    let with_param = sql.contains("$1");
    if prepared {
        conns.iter_mut().for_each(|c| prepare(c, sql));
    }
    let mut all = vec![Vec::new(); conns.len()];
    let start = Instant::now();
    let mut round = 0;
    // The first rounds warm caches (PostgreSQL plans generically from the sixth on).
    let warm_up = 8;
    while round < warm_up + 5 || (start.elapsed() < budget && round < 5000) {
        let value = param(round);
        for (i, conn) in conns.iter_mut().enumerate() {
            let text = if prepared { String::new() } else { sql.replace("$1", &value) };
            let (took, ()) = time(|| {
                if prepared {
                    execute(conn, with_param.then_some(value.as_str()));
                } else {
                    conn.send(&[conn::query(&text)]);
                    drain(conn);
                }
            });
            if round >= warm_up || (took > budget / 8) {
                all[i].push(took);
            }
        }
        round += 1;
        if start.elapsed() > budget * 4 && all.iter().all(|s| !s.is_empty()) {
            break;
        }
    }
    all.into_iter().map(Samples::new).collect()
}
