//! A line on stderr that says how far long work is, on a terminal.

use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Work that takes less says nothing.
const PATIENCE: Duration = Duration::from_millis(700);
/// Between two looks.
const EVERY: Duration = Duration::from_millis(200);
/// Of the bar, in characters.
const WIDTH: usize = 24;

/// How far work is. Whoever does it counts; clones count together.
#[derive(Debug, Clone, Default)]
pub(super) struct Progress(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    rows: AtomicU64,
    /// 0: nobody knows.
    total: AtomicU64,
    bytes: AtomicU64,
}

impl Progress {
    /// There will be this many rows more.
    pub(super) fn expect(&self, rows: u64) {
        self.0.total.fetch_add(rows, Ordering::Relaxed);
    }

    /// A row is done, of so many bytes.
    pub(super) fn row(&self, bytes: usize) {
        self.0.rows.fetch_add(1, Ordering::Relaxed);
        self.0.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Waits for work and shows how far it is, until it is done.
    pub(super) async fn show<T>(&self, what: &str, work: impl Future<Output = T>) -> T {
        if !std::io::stderr().is_terminal() {
            return work.await;
        }
        tokio::pin!(work);
        let start = Instant::now();
        let mut shown = false;
        loop {
            tokio::select! {
                biased;
                done = &mut work => {
                    if shown {
                        say("\r\x1b[K");
                    }
                    return done;
                }
                () = tokio::time::sleep(EVERY) => {
                    if start.elapsed() >= PATIENCE {
                        say(&format!("\r{}\x1b[K", self.line(what, start.elapsed())));
                        shown = true;
                    }
                }
            }
        }
    }

    fn line(&self, what: &str, elapsed: Duration) -> String {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let (rows, total, bytes) = (get(&self.0.rows), get(&self.0.total), get(&self.0.bytes));
        if rows == 0 {
            return format!("{what}  {}", clock(elapsed));
        }
        let counted = format!("{rows} rows  {}", size(bytes));
        if total == 0 || rows > total {
            return format!("{what}  {counted}  {}", clock(elapsed));
        }
        let part = rows as f64 / total as f64;
        let full = ((part * WIDTH as f64) as usize).min(WIDTH);
        let left = elapsed.mul_f64((1.0 - part) / part);
        format!(
            "{what} [{}{}] {:.0} %  {rows} of {total} rows  {}  {} left",
            "#".repeat(full),
            " ".repeat(WIDTH - full),
            part * 100.0,
            size(bytes),
            clock(left)
        )
    }
}

fn say(text: &str) {
    let mut out = std::io::stderr().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// `1:02:03`, `2:03`.
fn clock(time: Duration) -> String {
    let seconds = time.as_secs();
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours > 0 { format!("{hours}:{minutes:02}:{seconds:02}") } else { format!("{minutes}:{seconds:02}") }
}

fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["B", "kB", "MB", "GB"];
    let (mut value, mut unit) = (bytes as f64, 0);
    while value >= 1000.0 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    let name = UNITS.get(unit).copied().unwrap_or_default();
    if unit == 0 { format!("{bytes} B") } else { format!("{value:.1} {name}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_what_is_known() {
        let progress = Progress::default();
        let line = |seconds| progress.line("diff", Duration::from_secs(seconds));
        assert_eq!(line(3), "diff  0:03");
        progress.row(1500);
        assert_eq!(line(3), "diff  1 rows  1.5 kB  0:03");
        progress.expect(4);
        assert_eq!(
            line(10),
            format!("diff [{}{}] 25 %  1 of 4 rows  1.5 kB  0:30 left", "#".repeat(6), " ".repeat(18))
        );
        (0..9).for_each(|_| progress.row(0));
        assert_eq!(line(3725), "diff  10 rows  1.5 kB  1:02:05");
    }
}
