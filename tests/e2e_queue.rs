//! Queues of jobs on a branch: sessions that take jobs with FOR UPDATE SKIP LOCKED get different ones, and
//! nobody waits for anybody.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::collections::HashSet;
use std::time::Duration;

use common::Fixture;
use common::conn::Conn;

const JOBS: &str = "CREATE TABLE job (id int PRIMARY KEY, state text NOT NULL DEFAULT 'new', worker int); \
                    CREATE INDEX ON job (state, id); INSERT INTO job (id) SELECT generate_series(1, 2000); ANALYZE job";
const TAKE: &str = "UPDATE job SET state = 'taken' WHERE id IN (SELECT id FROM job WHERE state = 'new' ORDER BY id LIMIT 2 \
                    FOR UPDATE SKIP LOCKED) RETURNING id";

fn shop() -> Fixture {
    let shop = Fixture::registered(JOBS);
    shop.main().exec("SELECT * FROM epoch_branch('b')");
    shop
}

/// A session that fails rather than waits.
fn worker(shop: &Fixture) -> Conn {
    let mut conn = shop.on("b");
    conn.set_patience(Duration::from_secs(20));
    conn.exec("SET lock_timeout = '5s'");
    conn
}

/// Nobody promised an order of what is returned.
fn sorted(mut jobs: Vec<String>) -> Vec<String> {
    jobs.sort_unstable();
    jobs
}

/// How many rows of jobs the branch holds itself.
fn held(shop: &Fixture) -> String {
    shop.direct().one("SELECT count(*) FROM epoch_public.job WHERE epoch_lineage > 0")
}

#[test]
fn sessions_take_different_jobs_without_waiting() {
    need_postgres!();
    let shop = shop();
    let mut workers: Vec<Conn> = (0..4).map(|_| worker(&shop)).collect();
    let mut taken = Vec::new();
    for conn in &mut workers {
        conn.exec("BEGIN");
        taken.extend(sorted(conn.lines(TAKE)));
    }
    assert_eq!(taken, ["1", "2", "3", "4", "5", "6", "7", "8"]);
    // What is given back is taken next; what is committed isn't.
    workers[1].exec("ROLLBACK");
    workers[0].exec("COMMIT");
    let mut late = worker(&shop);
    assert_eq!(sorted(late.lines(TAKE)), ["3", "4"]);
    for conn in &mut workers[2..] {
        conn.exec("COMMIT");
    }
    assert_eq!(sorted(late.lines(TAKE)), ["10", "9"]);
    assert_eq!(held(&shop), "10", "a job that nobody takes is not copied up");
    assert_eq!(shop.direct().one("SELECT count(*) FROM job WHERE state <> 'new'"), "0", "main's jobs");
}

#[test]
fn nowait_fails_at_once_on_a_job_that_another_session_copies_up() {
    need_postgres!();
    let shop = shop();
    let (mut first, mut second) = (worker(&shop), worker(&shop));
    first.exec("BEGIN");
    first.exec("UPDATE job SET worker = 1 WHERE id = 1");
    for sql in [
        "SELECT id FROM job WHERE id = 1 FOR UPDATE NOWAIT",
        "DELETE FROM job WHERE id = (SELECT id FROM job WHERE id < 5 ORDER BY id LIMIT 1 FOR UPDATE NOWAIT)",
    ] {
        let error = second.err(sql);
        assert_eq!(
            (error.code(), error.message()),
            ("55P03", "could not obtain lock on row in relation \"job\""),
            "{sql}"
        );
    }
    assert!(second.lines("SELECT id FROM job WHERE id = 1 FOR UPDATE SKIP LOCKED").is_empty());
    assert_eq!(second.one("SHOW lock_timeout"), "5s");
    first.exec("COMMIT");
    assert_eq!(second.lines("SELECT worker FROM job WHERE id = 1 FOR UPDATE NOWAIT"), ["1"]);
}

/// Without SKIP LOCKED, the second one waits; jobs that the first one took meanwhile don't count.
#[test]
fn a_session_that_waits_takes_the_next_job() {
    need_postgres!();
    let shop = shop();
    let take = TAKE.replace(" SKIP LOCKED", "");
    let (mut first, mut second) = (worker(&shop), worker(&shop));
    first.exec("BEGIN");
    assert_eq!(sorted(first.lines(&take)), ["1", "2"]);
    second.send(&[common::conn::query(&take)]);
    let waits = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    let mut direct = shop.direct();
    while direct.one(waits) == "0" {}
    first.exec("COMMIT");
    let reply = second.reply();
    assert!(reply.error().is_none(), "{reply:?}");
    assert_eq!(
        shop.on("b").one("SELECT string_agg(id::text, ',' ORDER BY id) FROM job WHERE state = 'taken'"),
        "1,2,3,4"
    );
}

#[test]
fn no_job_is_taken_twice_or_left() {
    need_postgres!();
    let shop = shop();
    shop.on("b")
        .exec("DELETE FROM job WHERE id > 300; INSERT INTO job (id) SELECT generate_series(5000, 5020)");
    let forms = [
        TAKE.to_owned(),
        "WITH q AS (SELECT id FROM job WHERE state = 'new' ORDER BY id LIMIT 3 FOR UPDATE SKIP LOCKED) \
         UPDATE job SET state = 'taken' FROM q WHERE job.id = q.id RETURNING job.id"
            .to_owned(),
        "DELETE FROM job USING (SELECT id FROM job WHERE state = 'new' LIMIT 1 FOR UPDATE SKIP LOCKED) q WHERE q.id = job.id RETURNING job.id"
            .to_owned(),
        TAKE.replace(" SKIP LOCKED", ""),
    ];
    let taken: Vec<Vec<String>> = std::thread::scope(|scope| {
        let run = |form: &String| {
            let (form, shop) = (form.clone(), &shop);
            scope.spawn(move || {
                let mut conn = worker(shop);
                let mut mine = Vec::new();
                // Jobs of others that are given back come again: one look in vain isn't the end.
                for _ in 0..3 {
                    loop {
                        conn.exec("BEGIN");
                        let jobs = conn.lines(&form);
                        let none = jobs.is_empty();
                        if mine.len() % 7 == 3 && !none {
                            conn.exec("ROLLBACK");
                            mine.extend(conn.lines(&form));
                            continue;
                        }
                        conn.exec("COMMIT");
                        mine.extend(jobs);
                        if none {
                            break;
                        }
                    }
                }
                mine
            })
        };
        let threads: Vec<_> = forms.iter().map(run).collect();
        threads.into_iter().map(|t| t.join().unwrap()).collect()
    });
    let all: Vec<String> = taken.into_iter().flatten().collect();
    let different: HashSet<&String> = all.iter().collect();
    assert_eq!(all.len(), different.len(), "a job was taken twice");
    assert_eq!(all.len(), 321, "every job was taken");
    assert_eq!(shop.direct().one("SELECT count(*) FROM job WHERE state = 'new'"), "2000", "main's jobs");
}
