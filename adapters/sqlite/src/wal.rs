//! Switching a file to write-ahead logging.

use std::time::{Duration, Instant};

use rusqlite::Connection;

use crate::error::is_busy;

const RETRY: Duration = Duration::from_millis(5);

/// Puts the file in WAL mode, which stays with it. While others have the file open in another mode
/// SQLite gives up without its busy timeout (two connections that switch at the same time would wait
/// for each other), so this waits: up to `patience`, on the calling thread.
pub fn use_wal(conn: &Connection, patience: Duration) -> rusqlite::Result<()> {
    let until = Instant::now() + patience;
    loop {
        match conn.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(())) {
            Err(e) if is_busy(&e) && Instant::now() < until => std::thread::sleep(RETRY),
            other => return other,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn many_that_switch_at_once_all_succeed() {
        let folder = tempfile::tempdir().unwrap();
        for round in 0..20 {
            let path = folder.path().join(format!("{round}.db"));
            Connection::open(&path).unwrap().execute_batch("CREATE TABLE t (a)").unwrap();
            let start = std::sync::Barrier::new(6);
            std::thread::scope(|scope| {
                for _ in 0..6 {
                    scope.spawn(|| {
                        let conn = Connection::open(&path).unwrap();
                        conn.busy_timeout(Duration::from_secs(20)).unwrap();
                        start.wait();
                        use_wal(&conn, Duration::from_secs(20)).unwrap();
                    });
                }
            });
        }
    }
}
