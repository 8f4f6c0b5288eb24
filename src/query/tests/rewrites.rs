//! Rewritten texts, word by word.

use super::*;

async fn check(checkout: &Checkout, cases: &[(&str, &str)]) {
    for (sql, expected) in cases {
        assert_eq!(rewritten(checkout, sql).await, *expected, "{sql}");
    }
}

#[tokio::test]
async fn reads() {
    check(&branch(), &[
        ("SELECT 1", "relay SELECT 1"),
        ("SELECT * FROM plain", "relay SELECT * FROM plain"),
        ("SELECT * FROM users", r#"SELECT * FROM <branch users> AS "users""#),
        ("select u.* from public.users u where u.id=$1", "select u.* from <branch users> u where u.id=$1"),
        ("SELECT * FROM ONLY users AS x", "SELECT * FROM <branch users> AS x"),
        ("SELECT * FROM ONLY (users)", r#"SELECT * FROM <branch users> AS "users""#),
        ("SELECT * FROM users * WHERE true", r#"SELECT * FROM <branch users> AS "users" WHERE true"#),
        ("TABLE users", r#"SELECT * FROM <branch users> AS "users""#),
        ("TABLE users ORDER BY id LIMIT 1;", r#"SELECT * FROM <branch users> AS "users" ORDER BY id LIMIT 1"#),
        (r#"SELECT "users"."id" FROM "users""#, r#"SELECT "users"."id" FROM <branch users> AS "users""#),
        ("SELECT public.users.id FROM public.users", r#"SELECT users.id FROM <branch users> AS "users""#),
        ("SELECT public . users . id, public.users.* FROM users", r#"SELECT users . id, users.* FROM <branch users> AS "users""#),
        ("SELECT 'users', $$ FROM users $$ /* users */ FROM users u -- users", "SELECT 'users', $$ FROM users $$ /* users */ FROM <branch users> u"),
        ("WITH users AS (SELECT 1 id) SELECT * FROM users", "relay WITH users AS (SELECT 1 id) SELECT * FROM users"),
        ("WITH users AS (SELECT * FROM users) SELECT * FROM users", r#"WITH users AS (SELECT * FROM <branch users> AS "users") SELECT * FROM users"#),
        ("WITH RECURSIVE users AS (SELECT 1 id UNION SELECT id+1 FROM users) SELECT * FROM users", "relay WITH RECURSIVE users AS (SELECT 1 id UNION SELECT id+1 FROM users) SELECT * FROM users"),
        ("WITH users AS (SELECT 1 id) SELECT * FROM public.users", r#"WITH users AS (SELECT 1 id) SELECT * FROM <branch users> AS "users""#),
        ("SELECT (SELECT max(id) FROM orders) FROM users u JOIN LATERAL (SELECT * FROM orders o WHERE o.user_id = u.id) x ON true", r#"SELECT (SELECT max(id) FROM <branch orders> AS "orders") FROM <branch users> u JOIN LATERAL (SELECT * FROM <branch orders> o WHERE o.user_id = u.id) x ON true"#),
        ("SELECT * FROM users NATURAL JOIN orders", r#"SELECT * FROM <branch users> AS "users" NATURAL JOIN <branch orders> AS "orders""#),
        ("SELECT 1 FROM users UNION ALL (SELECT 2 FROM orders)", r#"SELECT 1 FROM <branch users> AS "users" UNION ALL (SELECT 2 FROM <branch orders> AS "orders")"#),
        ("EXPLAIN SELECT * FROM users", r#"EXPLAIN SELECT * FROM <branch users> AS "users""#),
        ("DECLARE c CURSOR WITH HOLD FOR SELECT * FROM users", r#"DECLARE c CURSOR WITH HOLD FOR SELECT * FROM <branch users> AS "users""#),
        ("COPY users TO STDOUT", r#"COPY (SELECT "id", "email", "balance" FROM <branch scan users> AS "users") TO STDOUT"#),
        ("COPY users (email) TO STDOUT WITH CSV", r#"COPY (SELECT "email" FROM <branch scan users> AS "users") TO STDOUT WITH CSV"#),
        ("CREATE TEMP TABLE x AS SELECT * FROM users", r#"CREATE TEMP TABLE x AS SELECT * FROM <branch scan users> AS "users""#),
    ]).await;
}

#[tokio::test]
async fn who_groups_by_a_primary_key_may_show_the_row() {
    let users = r#"FROM <branch users> AS "users""#;
    check(&branch(), &[
        ("SELECT email FROM users GROUP BY id ORDER BY max(balance)", &format!(r#"SELECT email {users} GROUP BY "users"."email", "users"."balance", id ORDER BY max(balance)"#)),
        ("SELECT u.id AS k, email FROM users u GROUP BY k", r#"SELECT u.id AS k, email FROM <branch users> u GROUP BY "u"."email", k"#),
        ("SELECT id, email FROM users WHERE balance > 1 GROUP BY 1", &format!(r#"SELECT id, email {users} WHERE balance > 1 GROUP BY "users"."email", 1"#)),
        ("SELECT users.* FROM users GROUP BY public.users.id", &format!(r#"SELECT users.* {users} GROUP BY "users"."email", "users"."balance", users.id"#)),
        ("SELECT (SELECT u.email) FROM users u, orders o GROUP BY o.amount, u.id", r#"SELECT (SELECT u.email) FROM <branch users> u, <branch orders> o GROUP BY o.amount, "u"."email", u.id"#),
        // Not by the key; of a table whose columns have other names; in sets.
        ("SELECT email FROM users GROUP BY email", &format!("SELECT email {users} GROUP BY email")),
        ("SELECT e FROM users u(id, e) GROUP BY id", "SELECT e FROM <branch users> u(id, e) GROUP BY id"),
        ("SELECT email FROM users GROUP BY ROLLUP (id)", &format!("SELECT email {users} GROUP BY ROLLUP (id)")),
        ("SELECT j.email FROM (users JOIN orders USING (id)) j GROUP BY j.id", r#"SELECT j.email FROM (<branch users> AS "users" JOIN <branch orders> AS "orders" USING (id)) j GROUP BY j.id"#),
    ]).await;
}

#[tokio::test]
async fn commits_are_read_only() {
    check(
        &commit(),
        &[
            ("SELECT * FROM users", r#"SELECT * FROM <commit users> AS "users""#),
            ("UPDATE users SET id = 1", "25006: cannot execute UPDATE in a read-only transaction"),
            ("INSERT INTO plain VALUES (1)", "25006: cannot execute INSERT in a read-only transaction"),
            ("COPY users FROM STDIN", "25006: cannot execute COPY FROM in a read-only transaction"),
            ("UPDATE scratch SET id = 1", "relay UPDATE scratch SET id = 1"),
        ],
    )
    .await;
}

#[tokio::test]
async fn inserts() {
    let overlay = r#""epoch_public"."users" AS "users""#;
    check(&branch(), &[
        ("INSERT INTO users VALUES (1, 'a')", &format!(r#"INSERT INTO {overlay} ("id", "email") VALUES (1, 'a')"#)),
        ("INSERT INTO users AS u (id) VALUES ($1) RETURNING *", r#"INSERT INTO "epoch_public"."users" AS u (id) VALUES ($1) RETURNING "u"."id", "u"."email", "u"."balance""#),
        ("INSERT INTO users DEFAULT VALUES RETURNING users.*, 1 AS returning", &format!(r#"INSERT INTO {overlay} DEFAULT VALUES RETURNING "users"."id", "users"."email", "users"."balance", 1 AS returning"#)),
        ("INSERT INTO users SELECT * FROM users u", &format!(r#"INSERT INTO {overlay} ("id", "email", "balance") SELECT * FROM <branch users> u"#)),
        ("INSERT INTO users (SELECT 1, 'x' AS where)", &format!(r#"INSERT INTO {overlay} ("id", "email") (SELECT 1, 'x' AS where)"#)),
        ("WITH n AS (SELECT 1 a) INSERT INTO users (id) OVERRIDING SYSTEM VALUE SELECT a FROM n", &format!("WITH n AS (SELECT 1 a) INSERT INTO {overlay} (id) OVERRIDING SYSTEM VALUE SELECT a FROM n")),
        ("INSERT INTO users (id, epoch_lineage) VALUES (1, 3)", "42703: column \"epoch_lineage\" of relation \"users\" does not exist"),
        ("INSERT INTO plain VALUES (1)", "0A000: writing to table \"plain\", which is not versioned, on a branch is not supported"),
        ("INSERT INTO scratch SELECT id FROM users", r#"INSERT INTO scratch SELECT id FROM <branch users> AS "users""#),
    ]).await;
}

#[tokio::test]
async fn upserts_copy_up_what_conflicts() {
    check(&branch(), &[
        ("INSERT INTO users (email, id) VALUES ('a', $2), (DEFAULT, 3) ON CONFLICT (id) DO UPDATE SET email = excluded.email || users.email",
         "<copy up users: SELECT epoch_b.\"id\", epoch_b.\"email\", epoch_b.\"balance\" FROM (SELECT * FROM (VALUES (($1\n)::bigint), ((3\n)::bigint)) epoch_u(epoch_0)) epoch_v JOIN <below users> epoch_b ON epoch_b.\"id\" = epoch_v.epoch_0> [1] ;; INSERT INTO \"epoch_public\".\"users\" AS \"users\" (email, id) VALUES ('a', $2), (DEFAULT, 3) ON CONFLICT (epoch_lineage, id) DO UPDATE SET email = excluded.email || users.email"),
        ("INSERT INTO users SELECT id, email FROM plain ON CONFLICT (email) WHERE id > 1 DO NOTHING",
         "<copy up users: SELECT epoch_b.\"id\", epoch_b.\"email\", epoch_b.\"balance\" FROM (SELECT c1::text AS epoch_0 FROM (SELECT id, email FROM plain\n) epoch_u(c0, c1)) epoch_v JOIN <below users> epoch_b ON epoch_b.\"email\" = epoch_v.epoch_0> [] ;; INSERT INTO \"epoch_public\".\"users\" AS \"users\" (\"id\", \"email\") SELECT id, email FROM plain ON CONFLICT (epoch_lineage, email) WHERE id > 1 DO NOTHING"),
    ]).await;
    let all = rewritten(&branch(), "INSERT INTO users VALUES (1, 'a') ON CONFLICT DO NOTHING").await;
    assert_eq!(all.matches("<below users>").count(), 3, "{all}");
    assert!(all.contains("(epoch_b.\"balance\" = epoch_v.epoch_0 OR (epoch_b.\"balance\" IS NULL AND epoch_v.epoch_0 IS NULL))"), "NULLS NOT DISTINCT: {all}");
}

#[tokio::test]
async fn updates_and_deletes() {
    check(&branch(), &[
        ("UPDATE users SET balance = balance + 1 WHERE id = $2 OR email = $1 -- why\n",
         "<copy up users: SELECT \"users\".\"id\", \"users\".\"email\", \"users\".\"balance\" FROM <below users> AS \"users\" WHERE (id = $2 OR email = $1\n)> [0, 1] ;; UPDATE \"epoch_public\".\"users\" AS \"users\" SET balance = balance + 1 WHERE \"users\".epoch_lineage = 7 AND (id = $2 OR email = $1)"),
        ("UPDATE ONLY public.users u SET balance = $1 WHERE u.id = $2 RETURNING *",
         "<copy up users: SELECT \"u\".\"id\", \"u\".\"email\", \"u\".\"balance\" FROM <below users> AS \"u\" WHERE (u.id = $1\n)> [1] ;; UPDATE \"epoch_public\".\"users\" u SET balance = $1 WHERE \"u\".epoch_lineage = 7 AND (u.id = $2) RETURNING \"u\".\"id\", \"u\".\"email\", \"u\".\"balance\""),
        ("UPDATE users SET email = CASE WHEN a IS DISTINCT FROM b THEN 'x' END FROM orders o WHERE o.user_id = users.id RETURNING *",
         "<copy up users: SELECT \"users\".\"id\", \"users\".\"email\", \"users\".\"balance\" FROM <below users> AS \"users\", <branch orders> o WHERE (o.user_id = users.id\n)> [] ;; UPDATE \"epoch_public\".\"users\" AS \"users\" SET email = CASE WHEN a IS DISTINCT FROM b THEN 'x' END FROM <branch orders> o WHERE \"users\".epoch_lineage = 7 AND (o.user_id = users.id) RETURNING \"users\".\"id\", \"users\".\"email\", \"users\".\"balance\", \"o\".*"),
        ("UPDATE users SET balance = 0",
         "<copy up users: SELECT \"users\".\"id\", \"users\".\"email\", \"users\".\"balance\" FROM <below users> AS \"users\"> [] ;; UPDATE \"epoch_public\".\"users\" AS \"users\" SET balance = 0 WHERE \"users\".epoch_lineage = 7"),
        ("DELETE FROM users u USING orders o, plain WHERE o.user_id = u.id AND u.id BETWEEN 1 AND 5 AND random() < 0.5 RETURNING u.id",
         "<copy up users: SELECT \"u\".\"id\", \"u\".\"email\", \"u\".\"balance\" FROM <below users> AS \"u\", <branch orders> o, plain WHERE (o.user_id = u.id\n) AND (u.id BETWEEN 1 AND 5\n)> [] ;; DELETE FROM \"epoch_public\".\"users\" u USING <branch orders> o, plain WHERE \"u\".epoch_lineage = 7 AND (o.user_id = u.id AND u.id BETWEEN 1 AND 5 AND random() < 0.5) RETURNING u.id"),
        ("DELETE FROM users WHERE id IN (SELECT id FROM users LIMIT 5)",
         "<copy up users: SELECT \"users\".\"id\", \"users\".\"email\", \"users\".\"balance\" FROM <below users> AS \"users\" WHERE (id IN (SELECT id FROM <branch users> AS \"users\" )\n)> [] ;; DELETE FROM \"epoch_public\".\"users\" AS \"users\" WHERE \"users\".epoch_lineage = 7 AND (id IN (SELECT id FROM <branch users> AS \"users\" LIMIT 5))"),
        ("WITH x AS (SELECT 5 AS n) DELETE FROM users USING x WHERE public.users.id = n RETURNING users.*, x.*",
         "<copy up users: WITH x AS (SELECT 5 AS n) SELECT \"users\".\"id\", \"users\".\"email\", \"users\".\"balance\" FROM <below users> AS \"users\", x WHERE (users.id = n\n)> [] ;; WITH x AS (SELECT 5 AS n) DELETE FROM \"epoch_public\".\"users\" AS \"users\" USING x WHERE \"users\".epoch_lineage = 7 AND (users.id = n) RETURNING \"users\".\"id\", \"users\".\"email\", \"users\".\"balance\", x.*"),
        ("WITH o AS (SELECT 5 AS n), d AS (DELETE FROM users u USING o WHERE u.id = o.n RETURNING *), p AS (SELECT id FROM d) UPDATE orders SET amount = 0 FROM p WHERE orders.user_id = p.id AND amount > 1 RETURNING *",
         "<copy up users: WITH o AS (SELECT 5 AS n) SELECT \"u\".\"id\", \"u\".\"email\", \"u\".\"balance\" FROM <below users> AS \"u\", o WHERE (u.id = o.n\n)> [] ;; <copy up orders: SELECT \"orders\".\"id\", \"orders\".\"user_id\", \"orders\".\"amount\", \"orders\".\"total\" FROM <below orders> AS \"orders\"> [] ;; WITH o AS (SELECT 5 AS n), d AS (DELETE FROM \"epoch_public\".\"users\" u USING o WHERE \"u\".epoch_lineage = 7 AND (u.id = o.n) RETURNING \"u\".\"id\", \"u\".\"email\", \"u\".\"balance\", \"o\".*), p AS (SELECT id FROM d) UPDATE \"epoch_public\".\"orders\" AS \"orders\" SET amount = 0 FROM p WHERE \"orders\".epoch_lineage = 7 AND (orders.user_id = p.id AND amount > 1) RETURNING \"orders\".\"id\", \"orders\".\"user_id\", \"orders\".\"amount\", \"orders\".\"total\", \"p\".*"),
        ("EXPLAIN UPDATE users SET balance = 1 WHERE id = 1", "EXPLAIN UPDATE \"epoch_public\".\"users\" AS \"users\" SET balance = 1 WHERE \"users\".epoch_lineage = 7 AND (id = 1)"),
        ("UPDATE users SET epoch_copied = true", "42703: column \"epoch_copied\" of relation \"users\" does not exist"),
        ("COPY users FROM STDIN", "COPY \"epoch_public\".\"users\" (\"id\", \"email\", \"balance\") FROM STDIN"),
        ("COPY orders (id, amount) FROM STDIN CSV", "COPY \"epoch_public\".\"orders\" (id, amount) FROM STDIN CSV"),
    ]).await;
}

#[tokio::test]
async fn merges() {
    check(&branch(), &[
        ("WITH n (id) AS (VALUES (1)) MERGE INTO users u USING n JOIN orders o ON o.id = n.id ON u.id = n.id WHEN MATCHED AND CASE WHEN u.id > 1 THEN true END THEN DELETE WHEN NOT MATCHED THEN INSERT VALUES (n.id, 'x')",
         "<copy up users: WITH n (id) AS (VALUES (1)) SELECT \"u\".\"id\", \"u\".\"email\", \"u\".\"balance\" FROM <below users> AS \"u\", n JOIN <branch orders> o ON o.id = n.id WHERE (u.id = n.id\n)> [] ;; WITH n (id) AS (VALUES (1)) MERGE INTO \"epoch_public\".\"users\" u USING n JOIN <branch orders> o ON o.id = n.id ON (u.id = n.id\n) AND \"u\".epoch_lineage = 7 WHEN MATCHED AND CASE WHEN u.id > 1 THEN true END THEN DELETE WHEN NOT MATCHED THEN INSERT (\"id\", \"email\") VALUES (n.id, 'x')"),
        ("MERGE INTO users USING plain ON users.id = plain.a WHEN NOT MATCHED BY SOURCE AND balance = 0 THEN DELETE WHEN NOT MATCHED BY SOURCE THEN UPDATE SET balance = 0",
         "<copy up users: SELECT \"users\".\"id\", \"users\".\"email\", \"users\".\"balance\" FROM <below users> AS \"users\"> [] ;; MERGE INTO \"epoch_public\".\"users\" AS \"users\" USING plain ON (users.id = plain.a\n) AND \"users\".epoch_lineage = 7 WHEN NOT MATCHED BY SOURCE AND (balance = 0\n) AND \"users\".epoch_lineage = 7 THEN DELETE WHEN NOT MATCHED BY SOURCE AND \"users\".epoch_lineage = 7 THEN UPDATE SET balance = 0"),
    ]).await;
}

#[tokio::test]
async fn locked_rows_are_copied_up_and_read_from_the_overlay() {
    check(&branch(), &[
        ("WITH x AS (SELECT 1) SELECT u.id IS DISTINCT FROM 5 FROM users u JOIN orders ON user_id = u.id WHERE u.id = $2 ORDER BY 1 LIMIT 1 FOR NO KEY UPDATE OF u",
         "<copy up users: SELECT \"u\".\"id\", \"u\".\"email\", \"u\".\"balance\" FROM <below users> u JOIN <branch orders> AS \"orders\" ON user_id = u.id WHERE (u.id = $1\n) AND \"u\".\"id\" IS NOT NULL> [1] ;; WITH x AS (SELECT 1) SELECT u.id IS DISTINCT FROM 5 FROM (SELECT \"id\", \"email\", \"balance\" FROM \"epoch_public\".\"users\" WHERE epoch_lineage = 7) u JOIN <branch orders> AS \"orders\" ON user_id = u.id WHERE u.id = $2 ORDER BY 1 LIMIT 1 FOR NO KEY UPDATE OF u"),
        ("SELECT * FROM plain FOR UPDATE", "relay SELECT * FROM plain FOR UPDATE"),
    ]).await;
    let both = rewritten(&branch(), "SELECT * FROM users, orders WHERE random() > 0 FOR SHARE").await;
    assert_eq!((both.matches("<below").count(), both.matches("<branch").count()), (2, 2), "{both}");
    check(
        &commit(),
        &[(
            "SELECT * FROM users FOR SHARE",
            "25006: cannot execute SELECT FOR UPDATE in a read-only transaction",
        )],
    )
    .await;
}

const OWN: &str = r#"(SELECT "id", "email", "balance" FROM "epoch_public"."users" WHERE epoch_lineage = 7)"#;

fn own(text: &str) -> String {
    text.replace("<own users>", OWN)
}

#[tokio::test]
async fn queues_copy_up_what_they_take() {
    let source = |rest: &str| {
        format!(
            r#"SELECT "users"."id", "users"."email", "users"."balance" FROM <below users> AS "users" WHERE {rest}"#
        )
    };
    let keyed = |condition: &str| source(&format!("({condition}\n) AND \"users\".\"id\" IS NOT NULL"));
    let new = keyed("email = 'new'") + " ORDER BY id\n";
    let queue = |end: &str| format!("SELECT id FROM users WHERE email = 'new' ORDER BY id {end}");
    let locked = |end: &str| {
        let query =
            own(&format!("SELECT id FROM <own users> AS \"users\" WHERE email = 'new' ORDER BY id {end}"));
        // One with a LIMIT is evaluated once.
        match end.starts_with("LIMIT ALL") {
            true => query,
            false => format!("WITH epoch_once AS MATERIALIZED ({query}) SELECT * FROM epoch_once"),
        }
    };
    let update = |condition: &str| {
        format!(
            "UPDATE \"epoch_public\".\"users\" AS \"users\" SET balance = 1 WHERE \"users\".epoch_lineage = 7 AND ({condition})"
        )
    };
    for (end, prelude) in [
        ("LIMIT 5 FOR UPDATE SKIP LOCKED", format!("<skip users: {new} LIMIT (5\n)::pg_catalog.int8>")),
        (
            "FOR UPDATE NOWAIT LIMIT 2 OFFSET 1",
            format!("<fail users: {new} LIMIT (2\n)::pg_catalog.int8 + (1\n)::pg_catalog.int8>"),
        ),
        ("FETCH FIRST 3 ROWS ONLY FOR UPDATE", format!("<claim users: {new} LIMIT (3\n)::pg_catalog.int8>")),
        ("LIMIT ALL FOR UPDATE", format!("<copy up users: {}>", keyed("email = 'new'"))),
    ] {
        let whole =
            rewritten(&branch(), &format!("UPDATE users SET balance = 1 WHERE id IN ({})", queue(end))).await;
        assert_eq!(
            whole,
            format!("{prelude} [] ;; {}", update(&format!("id IN ({})", locked(end)))),
            "{end}"
        );
        let whole =
            rewritten(&branch(), &format!("UPDATE users SET balance = 1 WHERE id = ({})", queue(end))).await;
        assert_eq!(whole, format!("{prelude} [] ;; {}", update(&format!("id = ({})", locked(end)))), "{end}");
        for from in [
            "WITH q AS (#) UPDATE users SET balance = 1 FROM q WHERE q.id = users.id".to_owned(),
            "UPDATE users SET balance = 1 FROM (#) q WHERE q.id = users.id".to_owned(),
            "WITH q AS (#) DELETE FROM users WHERE id = ANY (ARRAY(SELECT q.id FROM q))".to_owned(),
        ] {
            let whole = rewritten(&branch(), &from.replace('#', &queue(end))).await;
            assert_eq!(whole.split(" ;; ").count(), 2, "the target has been copied up: {whole}");
            assert!(whole.starts_with(&prelude), "{whole}");
        }
    }
    // Other keys than those that are locked are looked for in all that may be locked.
    let other = rewritten(
        &branch(),
        &format!("DELETE FROM orders WHERE user_id = ({})", queue("LIMIT 1 FOR UPDATE")),
    )
    .await;
    assert!(other.contains("WHERE (user_id = ANY (SELECT id FROM <branch users> AS \"users\" WHERE email = 'new' ORDER BY id  )"), "{other}");
    // What can't be looked at beforehand: an aggregate's rows, NOT IN, a row of the query around it.
    for sql in [
        "DELETE FROM orders WHERE user_id NOT IN (SELECT id FROM users WHERE email = 'new' LIMIT 2 FOR UPDATE)",
        "DELETE FROM orders WHERE user_id IN (SELECT count(*) FROM (SELECT id FROM users LIMIT 2 FOR UPDATE) x)",
    ] {
        let whole = rewritten(&branch(), sql).await;
        assert!(whole.contains("FROM <below orders> AS \"orders\"> []"), "all orders: {whole}");
    }
    let around = rewritten(&branch(), "SELECT (SELECT email FROM users WHERE users.id = orders.user_id AND balance > 1 FOR UPDATE) FROM orders").await;
    assert!(around.starts_with(&format!("<copy up users: {}>", keyed("balance > 1"))), "{around}");
    let around = rewritten(
        &branch(),
        "SELECT (SELECT email FROM users WHERE id = user_id LIMIT 1 FOR UPDATE SKIP LOCKED) FROM orders",
    )
    .await;
    assert!(around.contains(&source("\"users\".\"id\" IS NOT NULL")), "without LIMIT: {around}");
}

#[tokio::test]
async fn rows_of_sub_selects_are_locked() {
    for sql in [
        "SELECT * FROM (SELECT * FROM users) u FOR UPDATE",
        "SELECT * FROM orders, (SELECT * FROM users) u FOR UPDATE OF u",
        "SELECT * FROM (SELECT * FROM users FOR UPDATE) x",
        "SELECT * FROM (SELECT * FROM users FOR SHARE) x FOR UPDATE",
        "WITH q AS (SELECT * FROM users FOR UPDATE) SELECT * FROM q",
        "SELECT 1 FROM orders WHERE EXISTS (SELECT FROM users FOR UPDATE)",
        "WITH d AS (DELETE FROM orders RETURNING *) SELECT * FROM users FOR UPDATE",
        "TABLE users FOR UPDATE",
        "(SELECT * FROM users) FOR UPDATE",
    ] {
        let whole = rewritten(&branch(), sql).await;
        assert!(whole.starts_with("<copy up users: "), "{sql}: {whole}");
        assert_eq!(whole.matches(OWN).count(), 1, "{sql}: {whole}");
    }
    for sql in ["SELECT DISTINCT id FROM users FOR UPDATE", "SELECT 1 FROM users GROUP BY id FOR UPDATE"] {
        let whole = rewritten(&branch(), sql).await;
        assert!(!whole.contains(";;"), "the server refuses it: {whole}");
    }
}

#[tokio::test]
async fn rows_as_a_whole_have_the_tables_columns_and_type() {
    let row = |of: &str| format!(r#"(ROW({of}."id", {of}."email", {of}."balance")::"public"."users")"#);
    let target = row("\"users\"");
    for (sql, end) in [
        ("UPDATE users SET balance = 1 RETURNING users", format!("RETURNING {target} AS \"users\"")),
        (
            "UPDATE users SET balance = 1 RETURNING users::text, 2",
            format!("RETURNING {target}::text AS \"users\", 2"),
        ),
        (
            "UPDATE users SET balance = 1 RETURNING to_jsonb(users.*), users.*",
            format!(
                "RETURNING to_jsonb({target}), \"users\".\"id\", \"users\".\"email\", \"users\".\"balance\""
            ),
        ),
        ("UPDATE users u SET email = (u).email RETURNING u AS x", format!("RETURNING {} AS x", row("\"u\""))),
        (
            "UPDATE users SET id = 1 RETURNING old.*, new",
            format!(
                "RETURNING old.\"id\", old.\"email\", old.\"balance\", (CASE WHEN new.epoch_lineage IS NOT NULL THEN {} END) AS \"new\"",
                row("new")
            ),
        ),
        (
            "INSERT INTO users VALUES (1) ON CONFLICT (id) DO UPDATE SET email = excluded::text",
            format!("SET email = {}::text", row("excluded")),
        ),
        (
            "UPDATE users SET balance = 1 FROM orders users_2 WHERE EXISTS (SELECT users FROM orders users)",
            "\"users\".epoch_lineage = 7 AND (EXISTS (SELECT users FROM <branch orders> users))".to_owned(),
        ),
    ] {
        let whole = rewritten(&branch(), sql).await;
        assert!(whole.ends_with(&end), "{sql}: {whole}");
    }
}

#[tokio::test]
async fn rows_of_any_width_are_inserted() {
    let columns = |list: &str| format!("INSERT INTO \"epoch_public\".\"users\" AS \"users\" ({list}) ");
    for (sql, list) in [
        ("INSERT INTO users SELECT * FROM plain", r#""id", "email""#),
        ("INSERT INTO users SELECT p.*, 1 FROM plain p, orders", r#""id", "email", "balance""#),
        ("WITH x AS (SELECT 1) INSERT INTO users SELECT * FROM x", r#""id""#),
        ("INSERT INTO users SELECT * FROM (VALUES (1, 'a')) v", r#""id", "email""#),
        ("INSERT INTO users SELECT * FROM generate_series(1, 2)", r#""id", "email", "balance""#),
        ("INSERT INTO users TABLE plain", r#""id", "email""#),
    ] {
        let whole = rewritten(&branch(), sql).await;
        assert!(whole.contains(&columns(list)), "{sql}: {whole}");
    }
    let merge = rewritten(&branch(), "MERGE INTO users USING (VALUES (1, 'a')) s (id, name) ON users.id = s.id WHEN NOT MATCHED THEN INSERT VALUES (s.*) RETURNING *").await;
    assert!(merge.ends_with(r#"THEN INSERT ("id", "email") VALUES (s.*) RETURNING "s".*, "users"."id", "users"."email", "users"."balance""#), "{merge}");
}

#[tokio::test]
async fn tables_that_reference_each_other_are_emptied_by_one_statement() {
    let whole = rewritten(&branch(), "TRUNCATE users, orders").await;
    assert!(whole.contains("WITH epoch_0 AS (DELETE FROM \"epoch_public\".\"users\" WHERE epoch_lineage = 7) DELETE FROM \"epoch_public\".\"orders\" WHERE epoch_lineage = 7;"), "{whole}");
    assert_eq!(whole.matches("<copy up").count(), 2, "{whole}");
}

/// Texts planned one after the other in one session.
async fn session(server: &mut Server, names: &mut NameCache, checkout: &Checkout, sql: &str) -> String {
    let state = Fake::new();
    let (backend, functions, parameters) = ("crm", None, None);
    let mut ctx = Context { repository: &state, checkout, backend, names, functions, parameters };
    match plan(&mut ctx, server, sql).await {
        Ok(plans) => plans.iter().map(|p| super::shown(p, sql)).collect::<Vec<_>>().join(" ;; "),
        Err(error) => format!("{}: {}", error.code(), error.message()),
    }
}

#[tokio::test]
async fn prepared_statements_copy_up_at_each_execute() {
    let (mut server, mut names) = (Server::new(), NameCache::default());
    let checkout = branch();
    let mut run = async |server: &mut Server, sql: &str| session(server, &mut names, &checkout, sql).await;
    let sent = run(&mut server, "PREPARE p AS UPDATE users SET balance = $1 WHERE id = $2").await;
    let text = "PREPARE p AS UPDATE \"epoch_public\".\"users\" AS \"users\" SET balance = $1 WHERE \"users\".epoch_lineage = 7 AND (id = $2)";
    assert_eq!(sent, text);
    server.prepared = vec![[text.to_owned(), r#"["numeric", "bigint"]"#.to_owned()]];
    let executed = run(&mut server, "EXECUTE p (lower('1'), 1 + (2))").await;
    assert_eq!(
        executed,
        "<copy up users: SELECT \"users\".\"id\", \"users\".\"email\", \"users\".\"balance\" FROM <below users> AS \"users\" WHERE (id = CAST((1 + (2)\n) AS bigint)\n)> [] ;; EXECUTE p (lower('1'), 1 + (2))"
    );
    assert_eq!(run(&mut server, "EXPLAIN EXECUTE p (1, 2)").await, "relay EXPLAIN EXECUTE p (1, 2)");
    assert_eq!(
        run(&mut server, "EXECUTE p (1)").await,
        "relay EXECUTE p (1)",
        "the server says what is missing"
    );
    assert!(run(&mut server, "EXECUTE p (random(), 1)").await.starts_with("0A000: random() as an argument"));
    // The second PREPARE failed, because the name was taken.
    run(&mut server, "PREPARE p AS DELETE FROM orders").await;
    assert_eq!(run(&mut server, "EXECUTE p (lower('1'), 1 + (2))").await, executed);
    server.prepared.clear();
    assert_eq!(run(&mut server, "EXECUTE p (1, 2)").await, "relay EXECUTE p (1, 2)", "it was deallocated");
}

#[tokio::test]
async fn statements_prepared_on_main_are_prepared_again() {
    let (mut server, mut names) = (Server::new(), NameCache::default());
    let text = "SELECT 1; PREPARE p (int) AS DELETE FROM users WHERE id = $1; SELECT 2".to_owned();
    server.prepared = vec![[text, r#"["integer"]"#.to_owned()]];
    let executed = session(&mut server, &mut names, &branch(), "EXECUTE p (5)").await;
    assert!(
        executed.starts_with("<copy up users: ")
            && executed.contains("WHERE (id = CAST((5\n) AS integer)\n)"),
        "{executed}"
    );
    assert!(executed.ends_with(";; EXECUTE p (5)"), "{executed}");
}

#[tokio::test]
async fn a_cursor_has_a_place_on_a_branch_if_it_locks() {
    let (mut server, mut names) = (Server::new(), NameCache::default());
    let checkout = branch();
    let mut run = async |sql: &str| session(&mut server, &mut names, &checkout, sql).await;
    assert!(
        run("DECLARE c CURSOR FOR SELECT * FROM users FOR UPDATE")
            .await
            .contains("DECLARE c CURSOR FOR SELECT * FROM (SELECT")
    );
    assert_eq!(
        run("UPDATE users SET balance = 1 WHERE CURRENT OF c RETURNING *").await,
        "UPDATE \"epoch_public\".\"users\" AS \"users\" SET balance = 1 WHERE CURRENT OF c RETURNING \"users\".\"id\", \"users\".\"email\", \"users\".\"balance\""
    );
    assert_eq!(
        run("DELETE FROM orders WHERE CURRENT OF c").await,
        "DELETE FROM \"epoch_public\".\"orders\" AS \"orders\" WHERE CURRENT OF c",
        "the server says that it locks other rows"
    );
    let refused = "0A000: WHERE CURRENT OF c, which does not lock rows, on a branch is not supported";
    // Which of them is there now isn't known.
    run("DECLARE c CURSOR FOR SELECT * FROM users").await;
    assert_eq!(run("UPDATE users SET balance = 1 WHERE CURRENT OF c").await, refused);
    assert_eq!(
        run("DELETE FROM users WHERE CURRENT OF nobody").await,
        "DELETE FROM \"epoch_public\".\"users\" AS \"users\" WHERE CURRENT OF nobody",
        "the server says that there is none"
    );
}

#[tokio::test]
async fn calls_and_settings() {
    for checkout in [branch(), main_branch()] {
        check(&checkout, &[
            ("SELECT epoch_commit('msg', '-a')", "call epoch_commit Args { positional: [Text(\"msg\"), Text(\"-a\")], named: [] } []"),
            ("select * from EPOCH_LOG('main', \"all\" => true) AS l(a, b);", "call epoch_log Args { positional: [Text(\"main\")], named: [(\"all\", Bool(true))] } [\"a\", \"b\"]"),
            ("CALL epoch_register('users', key => ARRAY['id','b'])", "call epoch_register Args { positional: [Text(\"users\")], named: [(\"key\", Array([\"id\", \"b\"]))] } []"),
            ("SELECT epoch_branch($1, NULL, -5, '{a,b}'::text[])", "call epoch_branch Args { positional: [Null, Null, Int(-5), Array([\"a\", \"b\"])], named: [] } []"),
            ("SET epoch.branch = 'feature/x'", "Set { name: \"epoch.branch\", value: \"feature/x\", local: false }"),
            ("SET LOCAL Epoch.Author TO ann", "Set { name: \"epoch.author\", value: \"ann\", local: true }"),
            ("RESET epoch.branch", "Reset(\"epoch.branch\")"),
            ("SET epoch.branch TO DEFAULT", "Reset(\"epoch.branch\")"),
            ("SHOW epoch.branch", "Show(\"epoch.branch\")"),
            ("DISCARD ALL", "DiscardAll"),
            ("RESET ALL", "ResetAll"),
            ("SELECT epoch_checkout('x'); SELECT * FROM users", "call epoch_checkout Args { positional: [Text(\"x\")], named: [] } [] ;; rest SELECT * FROM users"),
            ("SELECT * FROM events", "federated SELECT * FROM events"),
            ("SELECT * FROM users, events", "federated SELECT * FROM users, events"),
        ]).await;
    }
}

#[tokio::test]
async fn main_is_relayed() {
    check(&main_branch(), &[
        ("SELECT extract(epoch FROM now()) FROM users", "relay SELECT extract(epoch FROM now()) FROM users"),
        ("DROP TABLE users", "relay DROP TABLE users"),
        ("DO $$ epoch $$", "relay DO $$ epoch $$"),
        ("SELECT * FROM epoch_times.t", "relay SELECT * FROM epoch_times.t"),
        ("UPDATE epoch_public.users SET id = 1", "42501: relation \"epoch_public.users\" belongs to the storage of branches"),
        ("SELECT * FROM epoch_at('users', 'v1') u JOIN orders o ON o.user_id = u.id", "SELECT * FROM <main@5 users> u JOIN orders o ON o.user_id = u.id"),
        ("SELECT * FROM epoch_at('users', $1) WHERE id = $2", "SELECT * FROM (SELECT epoch_p.* FROM <main@5 users> epoch_p WHERE $1::pg_catalog.text IS NULL OR true) AS \"epoch_at\" WHERE id = $2"),
        ("SELECT * FROM epoch_nothing('a') x, users", "relay SELECT * FROM epoch_nothing('a') x, users"),
        ("SELECT epoch_commit('a') FROM users", "0A000: epoch_commit() as a part of a larger query is not supported"),
        ("SELECT set_config('epoch.branch', 'x', false)", "0A000: set_config() of a setting of ours, of one that isn't a constant, or of one that a branch relies on is not supported"),
    ]).await;
}

#[tokio::test]
async fn several_statements() {
    check(
        &branch(),
        &[
            (
                "BEGIN; SELECT * FROM users; COMMIT",
                r#"relay BEGIN ;; SELECT * FROM <branch users> AS "users" ;; relay COMMIT"#,
            ),
            (";;", ""),
            (
                "SET search_path = a; SELECT * FROM users",
                "relay SET search_path = a ;; rest SELECT * FROM users",
            ),
            (
                "CREATE TEMP TABLE users (id int); SELECT * FROM users",
                "relay CREATE TEMP TABLE users (id int) ;; rest SELECT * FROM users",
            ),
        ],
    )
    .await;
}

#[tokio::test]
async fn temporary_tables_shadow() {
    let mut server = Server::with_temporary_users();
    let plans = plans_on(&mut server, &branch(), "UPDATE users SET id = 1 WHERE id = 2").await.unwrap();
    assert!(matches!(plans.as_slice(), [Plan::Relay { .. }]), "{plans:?}");
    let plans = plans_on(&mut server, &branch(), "SELECT * FROM public.users").await.unwrap();
    assert!(matches!(plans.as_slice(), [Plan::Relay { .. }]), "the made-up server has one users: {plans:?}");
}

#[tokio::test]
async fn a_plan_is_made_once_and_checked_by_names() {
    let state = Fake::new();
    let (mut server, checkout) = (Server::new(), branch());
    let mut names = NameCache::default();
    let sql = "SELECT * FROM users WHERE id = 4711";
    let mut texts = Vec::new();
    for _ in 0..2 {
        let mut ctx = context(&state, &checkout, &mut names);
        let plans = plan(&mut ctx, &mut server, sql).await.unwrap();
        let [Plan::Rewritten(rewritten)] = plans.as_slice() else { panic!("{plans:?}") };
        texts.push((rewritten.sql.clone(), rewritten.lifted.clone()));
    }
    assert_eq!(texts[0], texts[1]);
    // The second time neither names nor costs were asked for.
    assert_eq!(server.asked, 2);
    let mut shadowed = Server::with_temporary_users();
    let plans = plans_on(&mut shadowed, &checkout, sql).await.unwrap();
    assert!(matches!(plans.as_slice(), [Plan::Relay { .. }]), "another session's plan: {plans:?}");
}
