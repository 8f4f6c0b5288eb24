//! Rows that a ref doesn't show take no part in its queries: no condition on them fails or tells what they hold, in any form
//! of the relation that stands in a table's place. Compared with a plain database that has only the rows shown.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use common::Fixture;
use common::conn::{Conn, bind, execute, parse, sync};
use common::database::Database;

/// `k` is read by index, `big` as a whole. Numbers as names; no `n` is 0.
const SCHEMA: &str = "
CREATE TABLE k (id int PRIMARY KEY, n int NOT NULL, name text NOT NULL, doc jsonb NOT NULL DEFAULT '{\"a\": 1}');
CREATE INDEX k_n ON k (n);
CREATE TABLE big (id int PRIMARY KEY, n int NOT NULL, name text NOT NULL, doc jsonb NOT NULL DEFAULT '{\"a\": 1}');
CREATE VIEW k_view AS SELECT id, 100 / n AS share, name::int AS number FROM k;
CREATE VIEW k_groups AS SELECT 100 / n AS share, count(*) AS many FROM k GROUP BY 100 / n;
CREATE VIEW big_view AS SELECT id, 100 / n AS share, name::int AS number FROM big;
CREATE VIEW big_groups AS SELECT 100 / n AS share, count(*) AS many FROM big GROUP BY 100 / n;
CREATE FUNCTION strict_even(i int) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN IF i < 0 THEN RAISE EXCEPTION 'negative: %', i; END IF; RETURN i % 2 = 0; END $$;
CREATE FUNCTION share_of(i int) RETURNS SETOF int LANGUAGE sql IMMUTABLE AS 'SELECT 10 / i';
INSERT INTO k SELECT i, 1 + i % 7, i::text FROM generate_series(1, 30) i;
INSERT INTO big SELECT i, 1 + i % 7, i::text FROM generate_series(1, 6000) i;
ANALYZE k; ANALYZE big";

/// What the branch does, and the plain database too.
const ON_THE_BRANCH: &str = "UPDATE @ SET n = 7, name = '77' WHERE id = 3; DELETE FROM @ WHERE id = 4; \
    INSERT INTO @ VALUES (9001, 2, '9001')";

/// Before the branch; the branch takes it away again (its masked rows of main are bad ones).
const MASKED: &str = "INSERT INTO @ VALUES (8001, 0, 'masked secret'), (8002, -5, 'other secret')";

/// What main does after the fork.
const ON_MAIN: &str = "INSERT INTO @ VALUES (9100, 0, 'main secret', '{}'), (9101, -7, 'x', '[]'); \
    UPDATE @ SET n = 0, name = 'changed secret' WHERE id = 5; DELETE FROM @ WHERE id = 6; \
    INSERT INTO @ VALUES (6, -6, 'again secret')";

const QUERIES: &[&str] = &[
    "SELECT count(*) FROM @ WHERE 10 / n >= 1",
    "SELECT id FROM @ WHERE id = 9100 AND name::int = 1",
    "SELECT id FROM @ WHERE id = 5 AND name::int = 5",
    "SELECT id FROM @ WHERE id = 8001 AND 1 / n = 1",
    "SELECT id FROM @ WHERE id IN (3, 4, 5, 6, 8001, 9001, 9100) AND 100 / n > 1 ORDER BY id",
    "SELECT count(*) FROM @ WHERE n BETWEEN 10 / n AND 100 AND NOT (name::int = 7 OR name::int % 2 = 1)",
    "SELECT count(*) FROM @ WHERE CASE WHEN id > 0 THEN 10 / n END > 2",
    "SELECT count(*) FROM @ WHERE strict_even(n)",
    "SELECT count(*) FROM @ WHERE (doc->>'a')::int = 1 AND name::int IN (SELECT id FROM @)",
    "SELECT count(*) FROM @ a JOIN @ b ON a.id = b.name::int AND 100 / b.n > 20",
    "SELECT count(*), count(b.id) FROM @ a LEFT JOIN @ b ON a.id = b.name::int AND strict_even(b.n)",
    "SELECT count(*) FROM @ a, @ b WHERE a.id = b.id AND a.n / b.n > 0",
    "SELECT count(*) FROM @ a WHERE EXISTS (SELECT FROM @ b WHERE b.id = a.name::int AND 10 / b.n > 2)",
    "SELECT count(*) FROM @ a WHERE a.id IN (SELECT name::int FROM @ b WHERE b.n < 4)",
    "SELECT count(*) FROM @ a WHERE a.id NOT IN (SELECT name::int FROM @ b WHERE b.n < 4)",
    "SELECT count(*) FROM (SELECT id, 10 / n AS share FROM @) s WHERE share > 3",
    "WITH s AS (SELECT id, name::int AS number FROM @) SELECT id FROM s WHERE number = 77 ORDER BY id",
    "SELECT share, many FROM (SELECT 10 / n AS share, count(*) AS many FROM @ GROUP BY 10 / n) s WHERE share > 3 ORDER BY 1",
    "SELECT share FROM (SELECT DISTINCT 10 / n AS share FROM @) s WHERE share > 3 ORDER BY 1",
    "SELECT n, count(*) FROM @ GROUP BY n HAVING 10 / n > 3 AND count(*) > 1 ORDER BY 1",
    "SELECT count(*) FROM (SELECT 10 / n AS share FROM @ UNION ALL SELECT name::int FROM @) s WHERE share > 3",
    "SELECT count(*) FROM (SELECT 10 / n FROM @ GROUP BY 10 / n UNION SELECT n FROM @) s(share) WHERE share > 3",
    "SELECT count(*), max(share) FROM @_view WHERE share > 20",
    "SELECT id, share FROM @_view WHERE number = 77",
    "SELECT id, share FROM @_view WHERE id IN (3, 4, 5, 9100) ORDER BY id",
    "SELECT share, many FROM @_groups WHERE share > 20 ORDER BY 1",
    "SELECT id, n FROM @ x (n, id) WHERE n = 7",
    "SELECT count(*) FROM @ a WHERE (SELECT a.name)::int > 5 AND (SELECT 10 / a.n) > 2",
    "SELECT count(*) FROM @ a WHERE (SELECT sum(v / a.n) FROM (VALUES (10), (20)) w(v)) > 5",
    "SELECT count(*) FROM @ a WHERE EXISTS (SELECT FROM generate_series(2, 10 / a.n))",
    "SELECT count(*) FROM @ a WHERE a.n IN (SELECT v FROM (VALUES (2), (3)) w(v) ORDER BY v / a.n LIMIT 1)",
    "SELECT count(*) FROM @ a WHERE EXISTS (SELECT FROM (VALUES (2), (3)) w(v) GROUP BY v / a.n HAVING 10 / a.n > 2)",
    "SELECT count(*) FROM @ a JOIN @ b ON (a.id, a.n) = (b.name::int, 10 / (10 / b.n)) WHERE b.id < 100",
    "SELECT count(*) FROM @ a WHERE (a.n / 1, 10 / a.n) IN (SELECT n, 10 / n FROM @) AND (a.n, 10 / a.n) = ANY (SELECT n, 10 / n FROM @)",
    "SELECT q, m FROM (SELECT 10 / n AS q, n, count(*) AS m FROM @ GROUP BY 10 / n, n) s WHERE n = 2 AND q > 1",
    "SELECT count(*) FROM @ a FULL JOIN @ b ON (a.id, 1) = (b.name::int, 1) AND a.n = b.n",
    "WITH RECURSIVE r AS (SELECT n FROM @ WHERE 10 / n > 5 UNION SELECT n + 1 FROM r WHERE n < 5 GROUP BY n HAVING 10 / n > 0) SELECT * FROM r",
    "SELECT count(*) FROM @ WHERE substr(name, 1) COLLATE \"C\" < 'x' COLLATE \"C\" AND n BETWEEN CASE WHEN n > 1 AND n < 3 THEN 1 / n END AND 5",
    "SELECT count(*) FROM @ a, LATERAL (VALUES (10 / a.n)) v(q) WHERE q > 3",
    "SELECT count(*) FROM @ a, LATERAL share_of(a.n) v(q) WHERE q > 3",
    "SELECT count(*) FROM @ a WHERE 5 IN (VALUES (10 / a.n)) OR EXISTS (SELECT FROM (VALUES (10 / a.n)) v(x) WHERE x >= 4)",
    "SELECT count(*) FROM @ a WHERE EXISTS (SELECT FROM jsonb_each(a.doc) e WHERE e.key = 'a')",
    "SELECT count(*) FROM @ a, jsonb_each(a.doc) e WHERE e.key = 'a' AND (e.value)::int > 0",
    "SELECT q FROM (SELECT (SELECT sum(v / a.n) FROM (VALUES (10), (20)) w(v)) AS q FROM @ a) s WHERE q > 9 ORDER BY 1",
    "SELECT id, 100 / n FROM @ WHERE n < 3 AND 10 / n > 0 ORDER BY 100 / n DESC, id LIMIT 3",
    "SELECT id FROM @ WHERE 100 / n > 20 ORDER BY id LIMIT 2 FOR UPDATE",
    "SELECT count(*) FROM @ WHERE array_position(ARRAY[n, id], 10 / n) IS NULL",
    "UPDATE @ SET n = n + 1 WHERE 10 / n > 5 AND id < 20 RETURNING id, 10 / n",
    "UPDATE @ SET name = '0' FROM @ s WHERE s.id = @.id AND s.name::int = 77 AND 10 / s.n > 0 RETURNING @.id",
    "DELETE FROM @ WHERE strict_even(n) AND name::int < 9 RETURNING id",
    "INSERT INTO @ SELECT id + 20000, n, name FROM @ WHERE 10 / n = 2 AND id < 20 ON CONFLICT (id) DO NOTHING RETURNING id",
    "SELECT count(*), sum(n), min(name::int) FROM @",
];

/// The same statements on the branch (or commit) as on the plain database.
fn compare(branch: &mut Conn, plain: &mut Conn, table: &str, only_reads: bool) {
    for query in QUERIES {
        if only_reads
            && (!query.starts_with("SELECT") && !query.starts_with("WITH") || query.contains("FOR UPDATE"))
        {
            continue;
        }
        let sql = of(query, table);
        let sorted = |mut lines: Vec<String>| {
            lines.sort();
            lines
        };
        let expected = sorted(plain.lines(&sql));
        assert_eq!(sorted(branch.lines(&sql)), expected, "{sql}");
    }
}

fn of(text: &str, table: &str) -> String {
    text.replace('@', table)
}

/// Two databases of the schema: the shop, where the branch hides rows, and one that has only what the branch shows.
fn forked(table: &str) -> (Fixture, Database, Conn) {
    let plain = Database::create();
    let mut conn = plain.connect();
    conn.exec(SCHEMA);
    conn.exec(&of(ON_THE_BRANCH, table));
    let shop = Fixture::registered(SCHEMA);
    shop.main().exec(&of(MASKED, table));
    let mut branch = shop.branch("b");
    branch.exec(&of(ON_THE_BRANCH, table));
    branch.exec(&format!("DELETE FROM {table} WHERE id IN (8001, 8002)"));
    branch.exec("SELECT * FROM epoch_commit('shown')");
    shop.main().exec(&of(ON_MAIN, table));
    (shop, plain, conn)
}

#[test]
fn hidden_rows_take_no_part_in_what_is_read_by_index() {
    need_postgres!();
    let (shop, _db, mut plain) = forked("k");
    compare(&mut shop.on("b"), &mut plain, "k", false);
}

#[test]
fn hidden_rows_take_no_part_in_what_is_read_as_a_whole() {
    need_postgres!();
    let (shop, _db, mut plain) = forked("big");
    compare(&mut shop.on("b"), &mut plain, "big", false);
}

#[test]
fn hidden_rows_take_no_part_in_what_commits_show() {
    need_postgres!();
    for table in ["k", "big"] {
        let (shop, _db, mut plain) = forked(table);
        let hash = shop.on("b").one("SELECT epoch_hashof('HEAD')");
        // After the commit the branch's own rows turn bad, too.
        shop.on("b").exec(&format!(
            "UPDATE {table} SET n = 0, name = 'later secret' WHERE id IN (3, 8, 9001); INSERT INTO {table} VALUES (9500, 0, 'x')"
        ));
        compare(&mut shop.on(&hash), &mut plain, table, true);
        // From main, by its name.
        let mut main = shop.main();
        let shown = format!(
            "SELECT count(*) FROM epoch_at('{table}', '{hash}') t WHERE 10 / t.n > 2 AND t.name::int > 0"
        );
        assert_eq!(main.one(&shown), plain.one(&format!("SELECT count(*) FROM {table} WHERE 10 / n > 2")));
        // Functions with many rows stay where they are.
        let many = format!(
            "SELECT count(*) FROM (SELECT generate_series(1, t.n / 7), 7 / t.n AS q FROM epoch_at('{table}', '{hash}') t WHERE t.id < 20) s WHERE q > 0"
        );
        let expected = plain.one(&many.replace(&format!("epoch_at('{table}', '{hash}')"), table));
        assert_eq!(main.one(&many), expected);
        let diffs = format!(
            "SELECT count(*) FROM epoch_diff('b~1', 'b', '{table}') WHERE 10 / to_n > 0 AND to_name::int > 0"
        );
        assert_eq!(main.one(&diffs), "2");
    }
}

/// Who may read the branch only gets nothing out of conditions either, whatever the planner is told of costs, and by nothing that
/// fails beside a condition on a hidden row.
#[test]
fn who_may_not_read_main_learns_nothing_of_its_rows() {
    need_postgres!();
    const PROBES: &[&str] = &[
        "SELECT id FROM @ WHERE id = 9100 AND name::int = 1",
        "SELECT id FROM @ WHERE name > 'main s' AND name < 'main t' AND 1 / (random() * 0)::int = 1",
        "SELECT count(*) FROM @ WHERE CASE WHEN name = 'main secret' THEN now()::text::int = 1 ELSE false END",
        "SELECT count(*) FROM @ WHERE name = 'main secret' AND set_config('my.leak', 'yes', false) = 'yes'",
        "SELECT count(*) FROM @ WHERE CASE WHEN name = 'main secret' THEN 5 = (SELECT x FROM generate_series(1, 2) x) ELSE false END",
        "SELECT count(*) FROM @ WHERE name LIKE 'main se\\'",
        "SELECT count(*) FROM @ WHERE CASE WHEN name = 'main secret' THEN date_trunc('foo', now()) > now() ELSE false END",
        "SELECT count(*) FROM @ WHERE id = 9100 AND to_tsquery(name) IS NOT NULL",
        "SELECT count(*) FROM @ t, LATERAL (VALUES (t.name || 'x')) v(q) WHERE q LIKE 'main secretx\\'",
        "SELECT count(*) FROM @_view WHERE id = 9100 AND number > 0",
        "UPDATE @ SET n = n WHERE id = 9100 AND name::int = 1",
        "DELETE FROM @ WHERE name LIKE 'main se\\'",
        "DELETE FROM @ WHERE name LIKE 'of another br\\'",
        "SELECT id FROM @ WHERE id = 9100 AND name::int = 1 FOR UPDATE",
    ];
    const COSTS: &[&str] = &[
        "SET cpu_tuple_cost = 0",
        "SET cpu_operator_cost = 0",
        "SET seq_page_cost = 1000; SET random_page_cost = 1000",
        "SET enable_indexscan = off; SET enable_bitmapscan = off; SET enable_indexonlyscan = off; SET enable_seqscan = off",
    ];
    for table in ["k", "big"] {
        let (shop, _db, mut plain) = forked(table);
        let mut main = shop.main();
        main.exec("SELECT status FROM epoch_grant('postgres', 'admin')");
        main.exec("SELECT status FROM epoch_grant('bob', 'write', 'b')");
        let mut other = shop.branch("other");
        other.exec(&of("INSERT INTO @ VALUES (9700, 0, 'of another branch')", table));
        let mut target = shop.proxy.target("b");
        target.user = "bob".to_owned();
        let mut bob = target.try_connect().unwrap();
        bob.exec("SET my.leak = 'no'");
        for costs in [""].iter().chain(COSTS) {
            if !costs.is_empty() {
                bob.exec(costs);
            }
            for probe in PROBES {
                let rows = bob.lines(&of(probe, table));
                assert!(rows.iter().all(|row| row == "0"), "{probe} with {costs}: {rows:?}");
            }
            assert_eq!(bob.one("SHOW my.leak"), "no", "{costs}");
        }
        bob.exec("RESET ALL");
        // What is there is found by index.
        let plan =
            bob.lines(&format!("EXPLAIN SELECT n FROM {table} WHERE id = 7 AND 10 / n > 0")).join("\n");
        assert!(!plan.contains(&format!("Seq Scan on {table} ")), "{plan}");
        compare(&mut bob, &mut plain, table, false);
    }
}

/// Statements that come with parameters are planned for any value.
#[test]
fn hidden_rows_take_no_part_in_prepared_statements() {
    need_postgres!();
    for table in ["k", "big"] {
        let (shop, _db, mut plain) = forked(table);
        let mut branch = shop.on("b");
        for conn in [&mut branch, &mut plain] {
            conn.exec(&format!("PREPARE p(int, int) AS SELECT id FROM {table} WHERE id BETWEEN $1 AND $2 AND $1 / n >= 0 AND name::int > 0 ORDER BY id"));
            conn.exec(&format!(
                "PREPARE q(int) AS DELETE FROM {table} WHERE id = $1 AND 1 / n >= 0 RETURNING id, n"
            ));
        }
        for _ in 0..7 {
            for run in [
                "EXECUTE p(1, 9)",
                "EXECUTE p(9000, 9999)",
                "EXECUTE p(8000, 8999)",
                "EXECUTE q(9100)",
                "EXECUTE q(5)",
            ] {
                assert_eq!(branch.lines(run), plain.lines(run), "{run} on {table}");
            }
        }
    }
}

/// A statement that was prepared while its user might read everything is another one when that is taken away.
#[test]
fn what_is_prepared_obeys_rights_that_are_taken_away_later() {
    need_postgres!();
    const PROBE: &str =
        "SELECT count(*) FROM k WHERE id = 9100 AND now()::text <> name AND to_tsquery(name) IS NOT NULL";
    let (shop, _db, _) = forked("k");
    let mut main = shop.main();
    main.exec("SELECT status FROM epoch_grant('postgres', 'admin')");
    main.exec("SELECT status FROM epoch_grant('bob', 'write', 'b')");
    main.exec("SELECT status FROM epoch_grant('bob', 'read')");
    let mut target = shop.proxy.target("b");
    target.user = "bob".to_owned();
    let mut bob = target.try_connect().unwrap();
    bob.exec("SET cpu_operator_cost = 0");
    bob.exec(&format!("PREPARE p AS {PROBE}"));
    bob.send(&[parse("named", PROBE, &[]), sync()]);
    assert!(bob.reply().error().is_none());
    let by_name = |bob: &mut Conn| {
        bob.send(&[bind("", "named", &[], false), execute("", 0), sync()]);
        bob.reply().rows()[0][0].clone().unwrap()
    };
    for taken in [false, true] {
        if taken {
            main.exec("SELECT status FROM epoch_revoke('bob', 'read')");
        }
        for _ in 0..7 {
            assert_eq!(bob.one("EXECUTE p"), "0", "taken: {taken}");
            assert_eq!(by_name(&mut bob), "0", "taken: {taken}");
        }
        let plan = bob.lines("EXPLAIN EXECUTE p").join("\n");
        assert_eq!(plan.contains("Subquery Scan"), taken, "{plan}");
    }
}
