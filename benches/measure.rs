//! Latencies of statements, the routes taken in turns so that a busy moment hits all of them.

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

/// How statements follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// As a busy session's: a turn of some statements, each right after the answer to the last.
    InARow,
    /// As those of a session that thinks for a millisecond before each.
    Rested,
}

/// Statements of a turn, unless they are slow.
const TURN: u32 = 25;

/// Runs `sql` on every connection in turn until `budget` is used up; the parameter changes with
/// each statement. With `prepared` off each is a Query message with the parameter in its text.
pub fn race(
    conns: &mut [&mut Conn],
    sql: &str,
    (prepared, pace): (bool, Pace),
    budget: Duration,
    param: impl Fn(u32) -> String,
) -> Vec<Samples> {
    let with_param = sql.contains("$1");
    if prepared {
        conns.iter_mut().for_each(|c| prepare(c, sql));
    }
    let run = |conn: &mut Conn, value: &str| {
        let text = if prepared { String::new() } else { sql.replace("$1", value) };
        if pace == Pace::Rested {
            std::thread::sleep(Duration::from_millis(1));
        }
        let work = || {
            if prepared {
                execute(conn, with_param.then_some(value));
            } else {
                conn.send(&[conn::query(&text)]);
                drain(conn);
            }
        };
        time(work).0
    };
    // The first ones warm caches (PostgreSQL plans generically from the sixth on), and show what is slow.
    let mut slowest = Duration::ZERO;
    for round in 0..8 {
        let took = conns.iter_mut().map(|conn| run(conn, &param(round)));
        slowest = slowest.max(took.max().unwrap_or_default());
        if slowest > budget / 8 {
            break;
        }
    }
    let turn = if slowest > Duration::from_millis(2) { 1 } else { TURN };
    let mut all = vec![Vec::new(); conns.len()];
    let start = Instant::now();
    let mut round = 8;
    while all.iter().any(|s| s.len() < 5) || start.elapsed() < budget {
        for (samples, conn) in all.iter_mut().zip(conns.iter_mut()) {
            samples.extend((round..round + turn).map(|i| run(conn, &param(i))));
        }
        round += turn;
        if start.elapsed() > budget * 4 {
            break;
        }
    }
    all.into_iter().map(Samples::new).collect()
}
