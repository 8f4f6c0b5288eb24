//! A table that two branches altered, each in its own way: a merge makes one table of both, or names what doesn't fit.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use common::Fixture;
use common::conn::Conn;
use common::database::{base_rows, catalog};

const ITEMS: &str = "CREATE TABLE items (id int PRIMARY KEY, name text NOT NULL, qty int DEFAULT 1, \
    price numeric CONSTRAINT price_check CHECK (price >= 0), code varchar(10)); \
    CREATE INDEX items_code ON items (code); CREATE TABLE other (id int PRIMARY KEY, v text); \
    INSERT INTO other VALUES (1, 'one'), (2, 'two'); \
    INSERT INTO items SELECT g, 'item ' || g, g % 5, g, 'c' || g FROM generate_series(1, 12) g";

fn commit(conn: &mut Conn, message: &str) -> String {
    conn.one(&format!("SELECT hash FROM epoch_commit('{message}')"))
}

fn merge(conn: &mut Conn, from: &str) {
    assert_eq!(conn.call(&format!("epoch_merge('{from}')"), "conflicts"), ["0"], "{from}");
}

/// The definition of the table on main, but for the order of its columns.
fn definition(direct: &mut Conn) -> Vec<String> {
    let columns = "SELECT format('%s %s %s %s %s', attname, format_type(atttypid, atttypmod), attnotnull, attstattarget, \
            pg_get_expr(adbin, adrelid)) FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum \
        WHERE attrelid = 'items'::regclass AND attnum > 0 AND NOT attisdropped";
    let rest = "SELECT format('%s %s', conname, pg_get_constraintdef(oid)) FROM pg_constraint WHERE conrelid = 'items'::regclass \
        UNION ALL SELECT pg_get_indexdef(indexrelid) FROM pg_index WHERE indrelid = 'items'::regclass \
        UNION ALL SELECT description FROM pg_description WHERE objoid = 'items'::regclass \
        UNION ALL SELECT reloptions::text FROM pg_class WHERE oid = 'items'::regclass AND reloptions IS NOT NULL";
    direct.lines(&format!("{columns} UNION ALL {rest} ORDER BY 1"))
}

struct Case {
    name: &'static str,
    ours: &'static [&'static str],
    theirs: &'static [&'static str],
    /// What a plain table takes to be what comes out.
    both: &'static [&'static str],
}

/// What fits together: each side's statements, and those that do both to a plain table.
const FIT: &[Case] = &[
    Case {
        name: "different columns",
        ours: &[
            "ALTER TABLE items ADD color text DEFAULT 'red'",
            "UPDATE items SET color = 'blue' WHERE id IN (1, 2)",
        ],
        theirs: &[
            "ALTER TABLE items ADD size int NOT NULL DEFAULT 7, ADD note text",
            "UPDATE items SET size = 8, note = 'n' WHERE id IN (2, 3)",
        ],
        both: &[
            "ALTER TABLE items ADD color text DEFAULT 'red'; ALTER TABLE items ADD size int NOT NULL DEFAULT 7, ADD note text; \
            UPDATE items SET color = 'blue' WHERE id IN (1, 2); UPDATE items SET size = 8, note = 'n' WHERE id IN (2, 3)",
        ],
    },
    Case {
        name: "one column alike, and others",
        ours: &["ALTER TABLE items ADD color text DEFAULT 'red'", "ALTER TABLE items ADD a int"],
        theirs: &["ALTER TABLE items ADD b int", "ALTER TABLE items ADD color text DEFAULT 'red'"],
        both: &["ALTER TABLE items ADD color text DEFAULT 'red', ADD a int, ADD b int"],
    },
    Case {
        name: "a column is dropped that the other side left alone",
        ours: &["ALTER TABLE items DROP COLUMN price", "UPDATE items SET qty = 50 WHERE id = 1"],
        theirs: &["ALTER TABLE items ADD note text", "UPDATE items SET note = 'x' WHERE id = 1"],
        both: &[
            "ALTER TABLE items DROP COLUMN price, ADD note text; UPDATE items SET qty = 50, note = 'x' WHERE id = 1",
        ],
    },
    Case {
        name: "a column is dropped on the other side",
        ours: &["ALTER TABLE items ADD note text", "UPDATE items SET note = 'x' WHERE id = 1"],
        theirs: &["ALTER TABLE items DROP COLUMN price", "UPDATE items SET qty = 50 WHERE id = 2"],
        both: &[
            "ALTER TABLE items DROP COLUMN price, ADD note text; UPDATE items SET note = 'x' WHERE id = 1; UPDATE items SET qty = 50 WHERE id = 2",
        ],
    },
    Case {
        name: "renamed here, another type there",
        ours: &["ALTER TABLE items RENAME qty TO amount", "UPDATE items SET amount = 9 WHERE id = 4"],
        theirs: &[
            "ALTER TABLE items ALTER qty TYPE bigint",
            "UPDATE items SET qty = 5000000000 WHERE id = 5",
        ],
        both: &["ALTER TABLE items RENAME qty TO amount; ALTER TABLE items ALTER amount TYPE bigint; \
            UPDATE items SET amount = 9 WHERE id = 4; UPDATE items SET amount = 5000000000 WHERE id = 5"],
    },
    Case {
        name: "another type here, renamed there",
        ours: &["ALTER TABLE items ALTER qty TYPE bigint", "UPDATE items SET qty = 5000000000 WHERE id = 5"],
        theirs: &["ALTER TABLE items RENAME qty TO amount", "UPDATE items SET amount = 9 WHERE id = 4"],
        both: &["ALTER TABLE items RENAME qty TO amount; ALTER TABLE items ALTER amount TYPE bigint; \
            UPDATE items SET amount = 9 WHERE id = 4; UPDATE items SET amount = 5000000000 WHERE id = 5"],
    },
    Case {
        name: "renamed here, a constraint and an index on it there",
        ours: &["ALTER TABLE items RENAME price TO cost", "ALTER TABLE items RENAME code TO tag"],
        theirs: &[
            "ALTER TABLE items ADD CONSTRAINT cheap CHECK (price < 1000)",
            "CREATE UNIQUE INDEX items_price ON items (price, lower(code)) WHERE id > 0",
        ],
        both: &["ALTER TABLE items RENAME price TO cost; ALTER TABLE items RENAME code TO tag; \
            ALTER TABLE items ADD CONSTRAINT cheap CHECK (cost < 1000); CREATE UNIQUE INDEX items_price ON items (cost, lower(tag)) WHERE id > 0"],
    },
    Case {
        name: "an index and a column",
        ours: &["CREATE INDEX items_name ON items (name)", "DROP INDEX items_code"],
        theirs: &["ALTER TABLE items ADD at date DEFAULT '2026-01-01'"],
        both: &[
            "CREATE INDEX items_name ON items (name); DROP INDEX items_code; ALTER TABLE items ADD at date DEFAULT '2026-01-01'",
        ],
    },
    Case {
        name: "different properties of one column",
        ours: &["ALTER TABLE items ALTER qty SET DEFAULT 3"],
        theirs: &["UPDATE items SET qty = 0 WHERE qty IS NULL", "ALTER TABLE items ALTER qty SET NOT NULL"],
        both: &["ALTER TABLE items ALTER qty SET DEFAULT 3, ALTER qty SET NOT NULL"],
    },
    Case {
        name: "constraints, defaults, comments, options",
        ours: &[
            "ALTER TABLE items DROP CONSTRAINT price_check",
            "COMMENT ON TABLE items IS 'ours'",
            "ALTER TABLE items ALTER name SET DEFAULT 'x'",
        ],
        theirs: &[
            "ALTER TABLE items ADD CONSTRAINT items_code_key UNIQUE (code)",
            "COMMENT ON COLUMN items.qty IS 'theirs'",
            "ALTER TABLE items ALTER price SET DEFAULT 1, ALTER name DROP NOT NULL",
            "ALTER TABLE items SET (fillfactor = 70)",
            "ALTER TABLE items ALTER name SET STATISTICS 50",
        ],
        both: &["ALTER TABLE items DROP CONSTRAINT price_check; COMMENT ON TABLE items IS 'ours'; \
            ALTER TABLE items ALTER name SET DEFAULT 'x', ADD CONSTRAINT items_code_key UNIQUE (code); \
            COMMENT ON COLUMN items.qty IS 'theirs'; ALTER TABLE items ALTER price SET DEFAULT 1, ALTER name DROP NOT NULL, SET (fillfactor = 70), \
            ALTER name SET STATISTICS 50"],
    },
    Case {
        name: "a foreign key and a column",
        ours: &["ALTER TABLE items ADD note text"],
        theirs: &[
            "ALTER TABLE items ADD o int",
            "ALTER TABLE items ADD CONSTRAINT items_o FOREIGN KEY (o) REFERENCES other ON DELETE SET NULL",
            "UPDATE items SET o = 1 WHERE id = 3",
        ],
        both: &[
            "ALTER TABLE items ADD note text, ADD o int; ALTER TABLE items ADD CONSTRAINT items_o FOREIGN KEY (o) REFERENCES other ON DELETE SET NULL; \
            UPDATE items SET o = 1 WHERE id = 3",
        ],
    },
    Case {
        name: "a default that was set after the column",
        ours: &["ALTER TABLE items ADD note text"],
        theirs: &[
            "ALTER TABLE items ADD a int DEFAULT 4, ADD b int, ADD c text DEFAULT 'c d', ADD d timestamptz DEFAULT '2026-01-01 00:00:00+00'",
            "ALTER TABLE items ALTER a SET DEFAULT 5, ALTER b SET DEFAULT 6, ALTER c DROP DEFAULT, ALTER d SET DEFAULT now()",
        ],
        both: &[
            "ALTER TABLE items ADD note text, ADD a int DEFAULT 4, ADD b int, ADD c text DEFAULT 'c d', ADD d timestamptz DEFAULT '2026-01-01 00:00:00+00'; \
            ALTER TABLE items ALTER a SET DEFAULT 5, ALTER b SET DEFAULT 6, ALTER c DROP DEFAULT, ALTER d SET DEFAULT now()",
        ],
    },
    Case {
        name: "the same in another order",
        ours: &["ALTER TABLE items ADD a int DEFAULT 1", "ALTER TABLE items RENAME code TO tag"],
        theirs: &["ALTER TABLE items RENAME code TO tag", "ALTER TABLE items ADD b int, ADD a int DEFAULT 1"],
        both: &["ALTER TABLE items RENAME code TO tag; ALTER TABLE items ADD a int DEFAULT 1, ADD b int"],
    },
];

/// All rows, with the columns by name.
fn rows(conn: &mut Conn) -> Vec<String> {
    conn.lines("SELECT to_jsonb(i)::text FROM (SELECT * FROM items) i ORDER BY (to_jsonb(i) ->> 'id')::int")
}

/// Between branches, and into main, one side after the other.
#[test]
fn what_two_branches_did_to_a_table_is_taken_together() {
    need_postgres!();
    let (next, failed) = (&AtomicUsize::new(0), &Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(move || {
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    let Some(case) = FIT.get(n) else { break };
                    let way = ["both", "a"][n % 2];
                    if std::panic::catch_unwind(|| fits(case, way)).is_err() {
                        failed.lock().unwrap().push(format!("{} by way of {way}", case.name));
                    }
                }
            });
        }
    });
    assert_eq!(*failed.lock().unwrap(), Vec::<String>::new());
}

/// `way`: which branch comes to main after the one.
fn fits(case: &Case, way: &str) {
    let plain = common::database::Database::create();
    let mut plain = (plain.connect(), plain);
    plain.0.exec(ITEMS);
    plain.0.exec(case.both[0]);
    let (expected, defined) = (rows(&mut plain.0), definition(&mut plain.0));

    let f = Fixture::registered(ITEMS);
    let (mut direct, mut main) = (f.direct(), f.main());
    let (mut old, mut a, mut b) = (f.branch("old"), f.branch("a"), f.branch("b"));
    let (old_rows, before) = (rows(&mut old), (catalog(&mut direct), base_rows(&mut direct)));
    for (conn, statements) in [(&mut a, case.ours), (&mut b, case.theirs)] {
        statements.iter().for_each(|sql| drop(conn.exec(sql)));
        commit(conn, "altered");
    }
    let (of_a, of_b) = (rows(&mut a), rows(&mut b));
    let at_b = b.one("SELECT epoch_hashof('HEAD')");

    // Between branches.
    a.exec("SELECT * FROM epoch_branch('both')");
    let mut both = f.on("both");
    assert_eq!(
        both.one("SELECT count(*) FROM epoch_preview_merge('b') WHERE conflicts > 0"),
        "0",
        "{}",
        case.name
    );
    merge(&mut both, "b");
    assert_eq!(rows(&mut both), expected, "{}", case.name);
    assert_eq!(both.one("SELECT count(*) FROM epoch.status"), "0", "{}", case.name);
    assert_eq!(both.call("epoch_merge('b')", "message"), ["already up to date"]);
    assert_eq!(
        (catalog(&mut direct), base_rows(&mut direct)),
        before,
        "{}: main has nothing of it",
        case.name
    );
    assert_eq!((rows(&mut a), rows(&mut b)), (of_a.clone(), of_b.clone()), "{}", case.name);
    // It goes on, and back.
    both.exec("UPDATE items SET name = 'goes on' WHERE id = 12");
    both.exec("ALTER TABLE items ADD later int DEFAULT 1");
    commit(&mut both, "later");
    both.exec("SELECT * FROM epoch_reset('--hard', 'HEAD~1')");
    assert_eq!(rows(&mut both), expected, "{}", case.name);
    both.exec("SELECT * FROM epoch_reset('--hard', 'HEAD~1')");
    assert_eq!(rows(&mut both), of_a, "{}", case.name);
    merge(&mut both, "b");
    assert_eq!(rows(&mut both), expected, "{}", case.name);

    // Into main: one, then the other, or what the branch made of both, with its columns in another order.
    merge(&mut main, "b");
    merge(&mut main, way);
    assert_eq!(rows(&mut direct), expected, "{}", case.name);
    assert_eq!(definition(&mut direct), defined, "{}", case.name);
    assert_eq!(main.one("SELECT count(*) FROM epoch.status"), "0", "{}", case.name);
    direct.exec("UPDATE items SET name = 'main' WHERE id = 11");
    commit(&mut main, "main goes on");
    if way == "both" {
        merge(&mut both, "main");
        let found = rows(&mut both);
        assert_eq!(found.iter().filter(|row| expected.contains(row)).count(), 11, "{}", case.name);
        assert_eq!(found, rows(&mut main), "{}", case.name);
    }
    assert_eq!(definition(&mut direct), defined, "{}", case.name);
    // Nobody else noticed.
    assert_eq!((rows(&mut a), rows(&mut b)), (of_a, of_b.clone()), "{}", case.name);
    assert_eq!(rows(&mut f.on(&at_b)), of_b, "{}", case.name);
    assert_eq!(rows(&mut old), old_rows, "{}", case.name);
    // Those that have one of the versions get the other one, too.
    merge(&mut a, "main");
    assert_eq!(rows(&mut a), rows(&mut main), "{}", case.name);
    for conn in [old, a, b, both] {
        conn.terminate();
    }
    main.exec("SELECT * FROM epoch_unregister('items', '-f')");
    main.exec("SELECT * FROM epoch_unregister('other', '-f')");
    assert_eq!(
        direct.lines("SELECT nspname FROM pg_namespace WHERE nspname ~ '^epoch'"),
        Vec::<String>::new()
    );
}

/// What doesn't fit, and what names it.
const UNFIT: &[(&[&str], &[&str], &str)] = &[
    (
        &["ALTER TABLE items ADD note text"],
        &["ALTER TABLE items ADD note int"],
        "altered differently on both sides (column \"note\")",
    ),
    (
        &["ALTER TABLE items ADD note int DEFAULT 1"],
        &["ALTER TABLE items ADD note int DEFAULT 2", "ALTER TABLE items ALTER note SET DEFAULT 1"],
        "altered differently on both sides (column \"note\")",
    ),
    (
        &["ALTER TABLE items RENAME qty TO amount"],
        &["ALTER TABLE items RENAME qty TO number"],
        "altered differently on both sides (column \"qty\")",
    ),
    (
        &["ALTER TABLE items DROP qty"],
        &["ALTER TABLE items RENAME qty TO number"],
        "altered differently on both sides (column \"qty\")",
    ),
    (
        &["ALTER TABLE items ALTER qty TYPE bigint"],
        &["ALTER TABLE items DROP qty"],
        "altered differently on both sides (column \"qty\")",
    ),
    (
        &["ALTER TABLE items RENAME qty TO number"],
        &["ALTER TABLE items ADD number int"],
        "altered differently on both sides (column \"number\")",
    ),
    (
        &["ALTER TABLE items ALTER qty TYPE bigint"],
        &["ALTER TABLE items ALTER qty TYPE numeric"],
        "altered differently on both sides (column \"qty\")",
    ),
    (
        &["ALTER TABLE items ALTER qty SET DEFAULT 5"],
        &["ALTER TABLE items ALTER qty DROP DEFAULT"],
        "altered differently on both sides (column \"qty\")",
    ),
    (
        &["ALTER TABLE items ADD CONSTRAINT k CHECK (qty < 100)"],
        &["ALTER TABLE items ADD CONSTRAINT k CHECK (qty < 200)"],
        "altered differently on both sides (constraint \"k\")",
    ),
    (
        &["CREATE INDEX i ON items (qty)"],
        &["CREATE INDEX i ON items (name)"],
        "altered differently on both sides (index \"i\")",
    ),
    (
        &["ALTER TABLE items DROP qty"],
        &["CREATE INDEX i ON items (qty)"],
        "altered differently on both sides (index \"i\")",
    ),
    (
        &["CREATE INDEX i ON items (qty)"],
        &["ALTER TABLE items DROP qty"],
        "altered differently on both sides (index \"i\")",
    ),
    (
        &["ALTER TABLE items ADD CONSTRAINT k CHECK (qty < 100)"],
        &["ALTER TABLE items DROP qty"],
        "altered differently on both sides (constraint \"k\")",
    ),
    (
        &["COMMENT ON COLUMN items.qty IS 'a'"],
        &["COMMENT ON COLUMN items.qty IS 'b'"],
        "altered differently on both sides (comment on \"qty\")",
    ),
    (
        &["ALTER TABLE items ADD t int GENERATED ALWAYS AS (qty * 2) STORED"],
        &["ALTER TABLE items ADD note text"],
        "altered differently on both sides (its rows were written anew)",
    ),
];

/// A merge that waits with the table as a whole in conflict; it is given up again.
fn conflict(conn: &mut Conn, from: &str, more: &str, what: &str) {
    let message = |conn: &mut Conn, more: &str| {
        let call = format!("epoch_merge('{from}'{more})");
        conn.call(&call, "conflicts, message").concat()
    };
    let dry = message(conn, &format!("{more}, '--dry-run'"));
    assert_eq!(dry, format!("1|would have schema conflicts: {what}"));
    let waits = message(conn, more);
    let rest = "nothing was changed; resolve them, then continue the merge";
    assert_eq!(waits, format!("1|1 conflicts ({what}): {rest}"));
    assert_eq!(conn.lines("SELECT * FROM epoch.conflicts"), ["items|1"]);
    conn.exec("SELECT * FROM epoch_merge('--abort')");
}

#[test]
fn what_does_not_fit_is_named_and_changes_nothing() {
    need_postgres!();
    let f = Fixture::registered(ITEMS);
    let mut direct = f.direct();
    let before = catalog(&mut direct);
    for (n, (ours, theirs, detail)) in UNFIT.iter().enumerate() {
        let (mut a, mut b) = (f.branch(&format!("a{n}")), f.branch(&format!("b{n}")));
        for (conn, statements) in [(&mut a, ours), (&mut b, theirs)] {
            statements.iter().for_each(|sql| drop(conn.exec(sql)));
            commit(conn, "altered");
        }
        let (of_a, schemas) = (rows(&mut a), "SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'epoch%'");
        let made = direct.one(schemas);
        conflict(&mut a, &format!("b{n}"), "", &format!("table \"items\": {detail}"));
        assert_eq!(rows(&mut a), of_a);
        assert_eq!(direct.one(schemas), made, "{ours:?} {theirs:?}: nothing is left");
        assert_eq!(a.one("SELECT count(*) FROM epoch.status"), "0");
    }
    assert_eq!(catalog(&mut direct), before);
}

/// What one side changed in a column that the other one dropped was lost by the merge without a word.
#[test]
fn a_change_in_a_column_that_the_other_side_dropped_is_a_conflict() {
    need_postgres!();
    let f = Fixture::registered(ITEMS);
    let change = "UPDATE items SET code = 'new' WHERE id IN (1, 2)";
    for (n, (dropped, changed)) in [
        (&["ALTER TABLE items DROP code"][..], &[change][..]),
        (
            &["ALTER TABLE items DROP code", "ALTER TABLE items ADD code varchar(10) DEFAULT 'fresh'"],
            &[change],
        ),
        (&["ALTER TABLE items DROP code"], &[change, "ALTER TABLE items ADD size int"]),
    ]
    .iter()
    .enumerate()
    {
        let (mut a, mut b) = (f.branch(&format!("la{n}")), f.branch(&format!("lb{n}")));
        for (conn, statements) in [(&mut a, dropped), (&mut b, changed)] {
            statements.iter().for_each(|sql| drop(conn.exec(sql)));
            commit(conn, "done");
        }
        let (of_a, of_b) = (rows(&mut a), rows(&mut b));
        for (conn, from, other) in [(&mut a, format!("lb{n}"), "ours"), (&mut b, format!("la{n}"), "theirs")]
        {
            for more in ["", if other == "ours" { ", strategy => 'theirs'" } else { ", strategy => 'ours'" }]
            {
                let what =
                    "table \"items\": changed in rows on one side, dropped on the other (column \"code\")";
                conflict(conn, &from, more, what);
            }
            assert_eq!(
                conn.call(&format!("epoch_merge('{from}', '--dry-run', strategy => '{other}')"), "conflicts"),
                ["0"],
                "who takes the side that dropped it gives the values up"
            );
        }
        assert_eq!((rows(&mut a), rows(&mut b)), (of_a, of_b));
        // The way on: the other side drops it, too; or takes that side.
        if n == 0 {
            b.exec("ALTER TABLE items DROP code");
            commit(&mut b, "dropped, too");
            merge(&mut a, &format!("lb{n}"));
        } else {
            assert_eq!(a.call(&format!("epoch_merge('lb{n}', strategy => 'ours')"), "conflicts"), ["0"]);
        }
    }
    // What isn't lost is no conflict: other columns, other values that were taken back, rows that came or went.
    let (mut a, mut b) = (f.branch("lost_a"), f.branch("lost_b"));
    a.exec("ALTER TABLE items DROP code");
    commit(&mut a, "dropped");
    b.exec("UPDATE items SET code = 'x' WHERE id = 3; UPDATE items SET name = 'x' WHERE id = 4; DELETE FROM items WHERE id = 5");
    b.exec("UPDATE items SET code = 'c3' WHERE id = 3; INSERT INTO items VALUES (77, 'new', 1, 1, 'c77')");
    commit(&mut b, "other rows");
    merge(&mut a, "lost_b");
    assert_eq!(
        a.lines("SELECT * FROM items WHERE id IN (3, 4, 5, 77) ORDER BY id"),
        ["3|item 3|3|3", "4|x|4|4", "77|new|1|1"]
    );
    // Main dropped it; the branch goes on with the older version.
    let mut main = f.main();
    main.exec("SELECT * FROM epoch_merge('lost_a')");
    b.exec("UPDATE items SET code = 'y' WHERE id = 3");
    commit(&mut b, "late");
    let what = "table \"items\": changed in rows on one side, dropped on the other (column \"code\")";
    conflict(&mut main, "lost_b", "", what);
    assert_eq!(main.call("epoch_merge('lost_b', strategy => 'ours')", "conflicts"), ["0"]);
}

/// Rows in conflict wait with the version that both became; nothing of it is swept away meanwhile, and it goes with
/// what needed it.
#[test]
fn conflicts_of_rows_wait_in_the_columns_of_both() {
    need_postgres!();
    let mut f = Fixture::registered(ITEMS);
    let (mut a, mut b) = (f.branch("a"), f.branch("b"));
    a.exec("ALTER TABLE items ADD color text DEFAULT 'red'");
    a.exec("UPDATE items SET name = 'a', color = 'blue' WHERE id = 1");
    commit(&mut a, "a");
    b.exec("ALTER TABLE items ADD size int DEFAULT 3");
    b.exec("UPDATE items SET name = 'b', size = 4 WHERE id = 1");
    commit(&mut b, "b");
    let schemas = "SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'epoch\\_b%'";
    let (mut direct, made) = (f.direct(), f.direct().one(schemas));
    assert_eq!(a.call("epoch_merge('b', '--dry-run')", "conflicts"), ["1"]);
    assert_eq!(
        a.lines("SELECT our_id, our_color, our_name, their_name, conflict FROM epoch_preview_merge('b', 'a', 'items')"),
        ["1|blue|a|b|modify/modify"]
    );
    assert_eq!(direct.one(schemas), made, "a dry run and a preview leave nothing");
    assert_eq!(a.call("epoch_merge('b')", "conflicts"), ["1"]);
    // What sweeps, and a new process.
    b.exec("ALTER TABLE items ADD gone int");
    b.exec("SELECT * FROM epoch_reset('--hard')");
    a.terminate();
    f.proxy.restart(&[]);
    let mut a = f.on("a");
    assert_eq!(
        a.lines("SELECT our_name, their_name, our_color, their_color, conflicting_columns FROM epoch_conflicts('items')"),
        ["a|b|blue|red|{name}"]
    );
    a.exec("SELECT * FROM epoch_conflicts_resolve('theirs')");
    a.exec("SELECT * FROM epoch_merge('--continue')");
    assert_eq!(
        a.lines("SELECT name, color, size FROM items WHERE id < 3 ORDER BY id"),
        ["b|blue|4", "item 2|red|3"]
    );
    // Aborted, it leaves nothing.
    let mut c = f.branch("c");
    c.exec("ALTER TABLE items ADD other int");
    c.exec("UPDATE items SET name = 'c', other = 5 WHERE id = 1");
    commit(&mut c, "c");
    merge(&mut f.main(), "b");
    let made = direct.one(schemas);
    // Here main's columns come first.
    assert_eq!(c.call("epoch_merge('main')", "conflicts"), ["1"]);
    assert_eq!(
        c.lines("SELECT our_name, our_other, their_name, their_other FROM epoch_conflicts('items')"),
        ["c|5|b|"]
    );
    assert_ne!(direct.one(schemas), made);
    c.exec("SELECT * FROM epoch_merge('--abort')");
    c.exec("ALTER TABLE items ADD gone int");
    c.exec("SELECT * FROM epoch_reset('--hard')");
    assert_eq!(direct.one(schemas), made);
}

/// Killed at any step, the merge of two versions has happened or hasn't, and can be made again.
#[test]
fn a_crash_of_a_merge_of_two_versions() {
    need_postgres!();
    let mut f = Fixture::registered(ITEMS);
    for (branch, column) in [("a", "color"), ("b", "size"), ("c", "weight")] {
        let mut conn = f.branch(branch);
        conn.exec(&format!("ALTER TABLE items ADD {column} int DEFAULT 3"));
        conn.exec(&format!("UPDATE items SET {column} = 4 WHERE id = 1"));
        commit(&mut conn, branch);
        conn.terminate();
    }
    f.dies("table-defined", "a", "SELECT epoch_merge('b')");
    f.dies("journal-written", "a", "SELECT epoch_merge('b')");
    assert_eq!(f.on("a").err("SELECT size FROM items").code(), "42703");
    let schemas = "SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'epoch\\_b%'";
    assert_eq!(f.direct().one(schemas), "3");
    f.dies("all-sealed", "a", "SELECT epoch_merge('b')");
    let shown = "SELECT id, color, size FROM items WHERE id < 3 ORDER BY id";
    assert_eq!(f.on("a").lines(shown), ["1|4|4", "2|3|3"]);
    merge(&mut f.main(), "a");
    for point in ["journal-written", "all-sealed"] {
        f.dies(point, "main", "SELECT epoch_merge('c')");
    }
    assert_eq!(
        f.direct().lines("SELECT id, color, size, weight FROM items WHERE id < 3 ORDER BY id"),
        ["1|4|4|4", "2|3|3|3"]
    );
    assert_eq!(f.on("a").lines(shown), ["1|4|4", "2|3|3"]);
}

/// Picks, rebases and promotions, too; and what says how the table became what it is.
#[test]
fn other_verbs_take_two_versions_together() {
    need_postgres!();
    let f = Fixture::registered(ITEMS);
    let mut direct = f.direct();
    let (mut a, mut b) = (f.branch("a"), f.branch("b"));
    a.exec("ALTER TABLE items ADD color text DEFAULT 'red'");
    commit(&mut a, "color");
    a.exec("ALTER TABLE items RENAME color TO colour");
    a.exec("UPDATE items SET colour = 'blue' WHERE id = 2");
    commit(&mut a, "colour");
    b.exec("ALTER TABLE items ADD size int DEFAULT 3");
    let size = commit(&mut b, "size");
    b.exec("SELECT * FROM epoch_branch('picked', 'a')");
    let mut picked = f.on("picked");
    picked.exec(&format!("SELECT * FROM epoch_cherry_pick('{size}')"));
    assert_eq!(
        picked.lines("SELECT id, colour, size FROM items WHERE id < 3 ORDER BY id"),
        ["1|red|3", "2|blue|3"]
    );
    assert_eq!(
        picked.one("SELECT string_agg(column_name, ',' ORDER BY ordinal_position) FROM information_schema.columns WHERE table_name = 'items'"),
        "id,name,qty,price,code,colour,size"
    );
    assert_eq!(
        picked.one("SELECT alter_statements FROM epoch_schema_diff('a', 'picked', 'items')"),
        "{\"ALTER TABLE \\\"public\\\".\\\"items\\\" ADD COLUMN \\\"size\\\" integer DEFAULT 3;\"}"
    );
    assert_eq!(
        picked
            .one("SELECT alter_statements FROM epoch_schema_diff('b', 'picked', 'items')")
            .matches("colour")
            .count(),
        1
    );
    a.exec("SELECT * FROM epoch_rebase('b')");
    assert_eq!(
        a.lines("SELECT id, colour, size FROM items WHERE id < 3 ORDER BY id"),
        ["1|red|3", "2|blue|3"]
    );
    a.exec("SELECT * FROM epoch_promote('a', 'main')");
    assert_eq!(
        direct.lines("SELECT id, size, colour FROM items WHERE id < 3 ORDER BY id"),
        ["1|3|red", "2|3|blue"]
    );
    merge(&mut picked, "main");
    assert_eq!(picked.one("SELECT count(*) FROM items WHERE size = 3"), "12");
}
