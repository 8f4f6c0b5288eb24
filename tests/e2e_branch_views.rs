//! Views that are defined on branches of a PostgreSQL backend: seen there only, merged as definitions, made on main by a
//! merge.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use common::Fixture;
use common::conn::Target;
use common::database::catalog;
use common::psql::psql;
use common::verbs::{commit, fails, places, status};

const BASE: &str = "CREATE TABLE users (id int PRIMARY KEY, name text NOT NULL, age int); \
    CREATE TABLE posts (id int PRIMARY KEY, author int NOT NULL, title text); \
    INSERT INTO users VALUES (1, 'ann', 30), (2, 'bob', 12); \
    INSERT INTO posts VALUES (10, 1, 'x'), (11, 1, 'y'), (12, 2, 'z'); \
    CREATE VIEW grown AS SELECT id, name FROM users WHERE age >= 18; COMMENT ON VIEW grown IS 'of age'; \
    CREATE VIEW named AS SELECT name FROM grown";

/// From CREATE VIEW on a branch to the view on main, and no trace after all is unregistered.
#[test]
fn a_view_defined_on_a_branch_comes_to_main_by_a_merge() {
    need_postgres!();
    let f = Fixture::registered(BASE);
    let mut direct = f.direct();
    let mut main = f.main();
    let mut x = f.branch("x");
    let before = catalog(&mut direct);

    x.exec("UPDATE users SET age = 19 WHERE id = 2");
    x.exec("CREATE TABLE tags (id int PRIMARY KEY, post int, tag text)");
    x.exec("INSERT INTO tags VALUES (1, 10, 'red'), (2, 12, 'blue')");
    assert_eq!(x.exec("CREATE VIEW written (who, what) AS SELECT u.name, p.title FROM users u JOIN public.posts p ON p.author = u.id").tags(), ["CREATE VIEW"]);
    assert_eq!(x.exec("CREATE VIEW tagged AS SELECT written.*, tag FROM written JOIN posts ON title = what JOIN tags ON post = posts.id").tags(), ["CREATE VIEW"]);
    assert_eq!(x.lines("SELECT * FROM written ORDER BY 2"), ["ann|x", "ann|y", "bob|z"]);
    assert_eq!(x.lines("SELECT * FROM tagged ORDER BY what"), ["ann|x|red", "bob|z|blue"]);
    // Over a view of main's, which shows the branch.
    x.exec("CREATE VIEW adults AS SELECT upper(name) AS n, count(*) OVER () FROM grown");
    assert_eq!(x.lines("SELECT * FROM adults ORDER BY 1"), ["ANN|2", "BOB|2"]);
    assert_eq!(x.extended("SELECT n FROM adults WHERE n > $1", &[Some("B")], false).tags(), ["SELECT 1"]);
    x.exec("UPDATE users SET name = 'eve' WHERE id = 1");
    assert_eq!(x.lines("SELECT who FROM written WHERE what = 'x'"), ["eve"]);
    assert_eq!(
        status(&mut x),
        ["adults|added", "tagged|added", "tags|added", "users|modified", "written|added"]
    );
    // Recursion, grouping by a key, set operations, constants of the session's settings.
    x.exec("CREATE RECURSIVE VIEW upto (n) AS VALUES (1) UNION ALL SELECT n + 1 FROM upto WHERE n < 3");
    assert_eq!(x.lines("SELECT * FROM upto"), ["1", "2", "3"]);
    x.exec("CREATE VIEW counts AS SELECT u.name, count(p.id) FROM users u LEFT JOIN posts p ON p.author = u.id GROUP BY u.id");
    assert_eq!(x.lines("SELECT * FROM counts ORDER BY 1"), ["bob|1", "eve|2"]);
    x.exec(
        "CREATE VIEW odd AS TABLE users UNION ALL SELECT public.users.id, 'q', NULL FROM ONLY public.users",
    );
    assert_eq!(x.one("SELECT count(*) FROM odd"), "4");

    // PostgreSQL's own errors, at their places in the client's text.
    let error = x.err("  CREATE VIEW bad AS SELECT nope FROM users");
    assert_eq!(
        (error.code(), error.message(), error.0[&'P'].as_str()),
        ("42703", "column \"nope\" does not exist", "29")
    );
    let error = x.err("CREATE VIEW bad AS SELECT 1 FROM nothing");
    assert_eq!(
        (error.code(), error.message(), error.0[&'P'].as_str()),
        ("42P01", "relation \"nothing\" does not exist", "34")
    );
    fails(&mut x, "CREATE VIEW written AS SELECT 1", "42P07", "relation \"written\" already exists");
    fails(&mut x, "CREATE VIEW grown AS SELECT 1", "42P07", "relation \"grown\" already exists");
    fails(&mut x, "CREATE VIEW users AS SELECT 1", "42P07", "relation \"users\" already exists");
    fails(&mut x, "CREATE OR REPLACE VIEW users AS SELECT 1", "42809", "\"users\" is not a view");
    fails(
        &mut x,
        "CREATE TABLE written (id int PRIMARY KEY)",
        "42P07",
        "relation \"written\" already exists",
    );
    fails(
        &mut x,
        "CREATE OR REPLACE VIEW written AS SELECT 1 AS who",
        "42P16",
        "cannot drop columns from view",
    );
    fails(
        &mut x,
        "CREATE OR REPLACE VIEW written AS SELECT name, title FROM users, posts",
        "42P16",
        "cannot change name of view column \"who\" to \"name\"",
    );
    fails(
        &mut x,
        "CREATE OR REPLACE VIEW grown AS SELECT id::text, name FROM users",
        "42P16",
        "cannot change data type of view column \"id\" from integer to text",
    );
    fails(
        &mut x,
        "CREATE VIEW w AS SELECT count(*) FROM users WITH CHECK OPTION",
        "0A000",
        "WITH CHECK OPTION is supported only on automatically updatable views",
    );
    fails(&mut x, "DROP VIEW nothing", "42P01", "view \"nothing\" does not exist");
    fails(&mut x, "DROP VIEW users", "42809", "\"users\" is not a view");
    assert_eq!(x.exec("DROP VIEW IF EXISTS nothing").tags(), ["DROP VIEW"]);
    let error = x.err("DROP VIEW written");
    assert_eq!(
        (error.code(), error.message(), error.detail()),
        (
            "2BP01",
            "cannot drop view written because other objects depend on it",
            "view tagged depends on view written"
        )
    );
    let error = x.err("DROP TABLE tags");
    assert_eq!((error.code(), error.detail()), ("2BP01", "view tagged depends on table tags"));
    let error = x.err("ALTER TABLE posts DROP COLUMN title");
    assert_eq!(error.code(), "2BP01", "{}", error.message());
    fails(
        &mut x,
        "ALTER TABLE posts ALTER title TYPE varchar",
        "0A000",
        "cannot alter type of a column used by a view or rule",
    );
    assert_eq!(x.err("ALTER TABLE users RENAME COLUMN name TO called").code(), "0A000");
    x.exec("ALTER TABLE users ADD COLUMN mail text DEFAULT 'none'");
    assert_eq!(x.lines("SELECT * FROM odd WHERE name = 'bob'"), ["2|bob|19"]);
    x.exec("DROP VIEW odd, upto");
    fails(&mut x, "SELECT * FROM odd", "42P01", "relation \"odd\" does not exist");

    // Nobody else sees it.
    for other in [&mut main, &mut direct] {
        assert_eq!(other.err("SELECT * FROM written").code(), "42P01");
        assert_eq!(other.lines("SELECT * FROM grown"), ["1|ann"]);
    }
    assert_eq!(catalog(&mut direct), before, "nothing changes outside our schemas");
    // Main's tables can still be altered.
    direct.exec("BEGIN; ALTER TABLE posts DROP COLUMN title; ROLLBACK");

    let hash = commit(&mut x, "views");
    assert_eq!(status(&mut x), Vec::<String>::new());
    assert_eq!(
        main.lines("SELECT table_name, diff_type, data_change, schema_change FROM epoch_diff_summary('main', 'x') ORDER BY 1"),
        ["adults|added|f|t", "counts|added|f|t", "tagged|added|f|t", "tags|added|t|t", "users|modified|t|t", "written|added|f|t"]
    );
    let mut at = f.on(&hash);
    assert_eq!(at.lines("SELECT * FROM written ORDER BY 2"), ["eve|x", "eve|y", "bob|z"]);
    assert_eq!(at.err("DROP VIEW written").code(), "25006");

    assert_eq!(main.call("epoch_merge('x')", "fast_forward, conflicts"), ["t|0"]);
    for who in [&mut main, &mut direct, &mut x] {
        assert_eq!(who.lines("SELECT * FROM written ORDER BY 2"), ["eve|x", "eve|y", "bob|z"]);
        assert_eq!(who.lines("SELECT * FROM tagged ORDER BY what"), ["eve|x|red", "bob|z|blue"]);
        assert_eq!(who.lines("SELECT * FROM counts ORDER BY 1"), ["bob|1", "eve|2"]);
        assert_eq!(who.lines("SELECT * FROM adults ORDER BY 1"), ["BOB|2", "EVE|2"]);
    }
    assert_eq!(status(&mut main), Vec::<String>::new());
    // It is main's own now, and what branches begin with.
    direct.exec("CREATE OR REPLACE VIEW written (who, what) AS SELECT 'main', 'main'");
    assert_eq!(main.lines("SELECT * FROM written"), ["main|main"]);
    let mut later = f.branch("later");
    assert_eq!(status(&mut later), Vec::<String>::new());
    assert_eq!(later.lines("SELECT * FROM written"), ["main|main"]);
    assert_eq!(x.lines("SELECT * FROM written ORDER BY 2"), ["eve|x", "eve|y", "bob|z"]);

    for conn in [x, at, later] {
        conn.terminate();
    }
    main.exec("SELECT * FROM epoch_unregister('users', '-f')");
    main.exec("SELECT * FROM epoch_unregister('tags', '-f')");
    main.exec("SELECT * FROM epoch_unregister('posts', '-f')");
    assert_eq!(
        direct.lines("SELECT nspname FROM pg_namespace WHERE nspname ~ '^epoch'"),
        Vec::<String>::new()
    );
}

/// Replacing, dropping, renaming and commenting views of main's and of the branch.
#[test]
fn views_of_main_on_a_branch() {
    need_postgres!();
    let f = Fixture::registered(BASE);
    let mut direct = f.direct();
    let mut main = f.main();
    let mut x = f.branch("x");
    let mut y = f.branch("y");

    // Another definition, which views of main's show on the branch.
    x.exec("CREATE OR REPLACE VIEW grown AS SELECT id, name, age FROM users WHERE age >= 10");
    assert_eq!(x.lines("SELECT * FROM grown ORDER BY 1"), ["1|ann|30", "2|bob|12"]);
    assert_eq!(x.lines("SELECT * FROM named ORDER BY 1"), ["ann", "bob"]);
    assert_eq!(x.one("SELECT obj_description('grown'::regclass)"), "of age");
    for who in [&mut main, &mut y, &mut direct] {
        assert_eq!(who.lines("SELECT * FROM grown"), ["1|ann"]);
        assert_eq!(who.lines("SELECT * FROM named"), ["ann"]);
    }
    x.exec("COMMENT ON VIEW grown IS 'half of age'");
    assert_eq!(x.one("SELECT obj_description('grown'::regclass)"), "half of age");
    assert_eq!(direct.one("SELECT obj_description('grown'::regclass)"), "of age");
    x.exec("COMMENT ON VIEW named IS 'names'");
    assert_eq!(x.lines("SELECT * FROM named ORDER BY 1"), ["ann", "bob"]);
    commit(&mut x, "grown");
    assert_eq!(
        main.lines("SELECT table_name, diff_type FROM epoch_diff_summary('main', 'x') ORDER BY 1"),
        ["grown|added", "named|added"]
    );
    main.exec("SELECT * FROM epoch_merge('x')");
    assert_eq!(direct.lines("SELECT * FROM named ORDER BY 1"), ["ann", "bob"]);
    assert_eq!(direct.one("SELECT obj_description('grown'::regclass)"), "half of age");
    assert_eq!(direct.one("SELECT obj_description('named'::regclass)"), "names");

    // A second time, by the same branch.
    x.exec("CREATE OR REPLACE VIEW grown AS SELECT id, name, age FROM users WHERE age >= 20");
    commit(&mut x, "older");
    main.exec("SELECT * FROM epoch_merge('x')");
    assert_eq!(direct.lines("SELECT * FROM named"), ["ann"]);

    // What another branch began with isn't there any more.
    y.exec("CREATE OR REPLACE VIEW grown AS SELECT id, name, age, 'y' AS y FROM users");
    commit(&mut y, "y");
    let waits = main.one("SELECT message FROM epoch_merge('y')");
    assert!(waits.contains("1 conflicts (view \"grown\": defined differently on both sides)"), "{waits}");
    main.exec("SELECT * FROM epoch_merge('--abort')");

    // Dropped.
    let mut z = f.branch("z");
    assert_eq!(z.err("DROP VIEW grown").detail(), "view named depends on view grown");
    z.exec("DROP VIEW grown, named");
    fails(&mut z, "SELECT * FROM grown", "42P01", "relation \"grown\" does not exist");
    fails(&mut z, "SELECT * FROM named", "42P01", "relation \"named\" does not exist");
    assert_eq!(z.lines("SELECT viewname FROM pg_views WHERE schemaname = 'public'"), Vec::<String>::new());
    assert_eq!(status(&mut z), ["grown|removed", "named|removed"]);
    assert_eq!(main.lines("SELECT * FROM named"), ["ann"]);
    z.exec("CREATE VIEW grown AS SELECT 1 AS one");
    assert_eq!(z.lines("SELECT * FROM grown"), ["1"]);
    z.exec("DROP VIEW grown");
    fails(&mut z, "SELECT * FROM grown", "42P01", "relation \"grown\" does not exist");
    z.exec("CREATE TABLE grown (id int PRIMARY KEY)");
    z.exec("INSERT INTO grown VALUES (7)");
    assert_eq!(z.lines("SELECT * FROM grown"), ["7"]);
    z.exec("DROP TABLE grown");
    let child = {
        commit(&mut z, "none");
        let mut child = f.on("z");
        child.exec("SELECT * FROM epoch_checkout('-b', 'child')");
        child
    };
    let mut child = child;
    fails(&mut child, "SELECT * FROM grown", "42P01", "relation \"grown\" does not exist");
    main.exec("SELECT * FROM epoch_merge('z')");
    assert_eq!(
        direct.lines("SELECT viewname FROM pg_views WHERE schemaname = 'public'"),
        Vec::<String>::new()
    );

    // Renamed, main's and its own.
    direct.exec("CREATE VIEW first AS SELECT id FROM users; COMMENT ON VIEW first IS 'the first'");
    let mut r = f.branch("r");
    r.exec("ALTER VIEW first RENAME TO second");
    assert_eq!(r.lines("SELECT * FROM second"), ["1", "2"]);
    assert_eq!(r.one("SELECT obj_description('second'::regclass)"), "the first");
    fails(&mut r, "SELECT * FROM first", "42P01", "relation \"first\" does not exist");
    r.exec("ALTER VIEW second RENAME TO third");
    fails(&mut r, "SELECT * FROM second", "42P01", "relation \"second\" does not exist");
    fails(&mut r, "ALTER VIEW third RENAME TO users", "42P07", "relation \"users\" already exists");
    assert_eq!(status(&mut r), ["first|removed", "third|added"]);
    commit(&mut r, "renamed");
    main.exec("SELECT * FROM epoch_merge('r')");
    assert_eq!(direct.lines("SELECT viewname FROM pg_views WHERE schemaname = 'public'"), ["third"]);
    assert_eq!(direct.lines("SELECT * FROM third"), ["1", "2"]);
}

#[test]
fn a_table_takes_the_place_of_a_view_of_main() {
    need_postgres!();
    let f = Fixture::registered(BASE);
    let mut x = f.branch("x");
    x.exec("DROP VIEW named, grown");
    x.exec("CREATE TABLE grown (id int PRIMARY KEY)");
    x.exec("INSERT INTO grown VALUES (7)");
    commit(&mut x, "a table");
    f.main().exec("SELECT * FROM epoch_merge('x')");
    for who in [&mut f.direct(), &mut f.main(), &mut x, &mut f.branch("y")] {
        assert_eq!(who.lines("SELECT * FROM grown"), ["7"]);
    }
}

/// CASCADE takes the views along that read what goes, and says so.
#[test]
fn what_reads_a_relation_that_is_dropped() {
    need_postgres!();
    let f = Fixture::registered(BASE);
    let mut direct = f.direct();
    let mut x = f.branch("x");
    x.exec("CREATE VIEW lengths AS SELECT length(name) FROM named");
    x.exec("CREATE VIEW titles AS SELECT title FROM posts");
    for (sql, detail) in [
        ("DROP TABLE users", "view grown depends on table users"),
        ("DROP TABLE posts", "view titles depends on table posts"),
        ("DROP VIEW grown", "view named depends on view grown"),
        ("DROP VIEW named, grown", "view lengths depends on view named"),
    ] {
        let error = x.err(sql);
        assert_eq!((error.code(), error.detail()), ("2BP01", detail), "{sql}");
    }
    for round in ["ROLLBACK", "COMMIT", ""] {
        if !round.is_empty() {
            x.exec("BEGIN");
        }
        assert_eq!(x.exec("DROP VIEW grown CASCADE").tags(), ["DROP VIEW"]);
        assert_eq!(x.exec("DROP TABLE posts CASCADE").tags(), ["DROP TABLE"]);
        for gone in ["grown", "named", "lengths", "titles", "posts"] {
            if round.is_empty() {
                assert_eq!(x.err(&format!("SELECT * FROM {gone}")).code(), "42P01", "{gone}");
            }
        }
        assert_eq!(
            x.lines("SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'v') ORDER BY 1"),
            ["users"]
        );
        if !round.is_empty() {
            x.exec(round);
        }
        if round == "COMMIT" {
            x.exec("SELECT * FROM epoch_reset('--hard')");
            x.exec("CREATE VIEW lengths AS SELECT length(name) FROM named");
            x.exec("CREATE VIEW titles AS SELECT title FROM posts");
        }
        assert_eq!(direct.lines("SELECT * FROM named"), ["ann"]);
    }
    assert_eq!(status(&mut x), ["grown|removed", "named|removed", "posts|removed"]);
    let mut y = f.branch("y");
    y.exec("CREATE TABLE child (id int PRIMARY KEY REFERENCES users)");
    let error = y.err("DROP TABLE users CASCADE");
    assert_eq!((error.code(), error.detail()), ("0A000", "A foreign key of table child depends on it."));
    assert_eq!(y.lines("SELECT * FROM named"), ["ann"], "nothing went");
}

/// Columns, options and schemas of views.
#[test]
fn views_are_altered() {
    need_postgres!();
    let f = Fixture::registered(BASE);
    let mut direct = f.direct();
    direct.exec("CREATE SCHEMA other");
    let mut x = f.branch("x");
    x.exec("ALTER VIEW named RENAME COLUMN name TO called");
    x.exec("ALTER VIEW named SET (security_barrier = true, check_option = local)");
    x.exec("ALTER VIEW named RESET (check_option)");
    assert_eq!(x.lines("SELECT called FROM named"), ["ann"]);
    assert_eq!(
        x.one("SELECT reloptions FROM pg_class WHERE oid = 'named'::regclass"),
        "{security_barrier=true}"
    );
    fails(&mut x, "ALTER VIEW named RENAME COLUMN nope TO n", "42703", "column \"nope\" does not exist");
    fails(&mut x, "ALTER VIEW named SET SCHEMA nowhere", "3F000", "schema \"nowhere\" does not exist");
    x.exec("ALTER VIEW named SET SCHEMA other");
    assert_eq!(x.lines("SELECT called FROM other.named"), ["ann"]);
    assert_eq!(x.err("SELECT * FROM named").code(), "42P01");
    assert_eq!(status(&mut x), ["named|removed", "other.named|added"]);
    x.exec("BEGIN");
    x.exec("ALTER VIEW other.named RENAME called TO who");
    assert_eq!(x.lines("SELECT who FROM other.named"), ["ann"]);
    x.exec("ROLLBACK");
    commit(&mut x, "altered");
    f.main().exec("SELECT * FROM epoch_merge('x')");
    assert_eq!(direct.lines("SELECT called FROM other.named"), ["ann"]);
    assert_eq!(direct.err("SELECT * FROM named").code(), "42P01");
}

/// A merge doesn't overwrite what somebody did to main's view meanwhile.
#[test]
fn views_changed_on_main_are_not_overwritten() {
    need_postgres!();
    let f = Fixture::registered(BASE);
    let mut direct = f.direct();
    let mut main = f.main();
    let mut x = f.branch("x");
    x.exec("CREATE OR REPLACE VIEW grown AS SELECT id, name FROM users");
    x.exec("CREATE VIEW fresh AS SELECT 1 AS one");
    x.exec("DROP VIEW named");
    commit(&mut x, "views");
    direct.exec("CREATE VIEW fresh AS SELECT 2 AS two");
    fails(&mut main, "SELECT * FROM epoch_merge('x')", "42P07", "view \"fresh\" cannot be created on main");
    direct.exec("DROP VIEW fresh; CREATE OR REPLACE VIEW named AS SELECT name FROM users");
    fails(&mut main, "SELECT * FROM epoch_merge('x')", "55000", "view \"named\" was changed on main");
    assert_eq!(
        direct.lines("SELECT viewname FROM pg_views WHERE schemaname = 'public' ORDER BY 1"),
        ["grown", "named"]
    );
    direct.exec("CREATE OR REPLACE VIEW named AS SELECT name FROM grown");
    // As the branch has it is fine, too.
    direct.exec("CREATE VIEW fresh AS SELECT 1 AS one");
    main.exec("SELECT * FROM epoch_merge('x')");
    assert_eq!(
        direct.lines("SELECT viewname FROM pg_views WHERE schemaname = 'public' ORDER BY 1"),
        ["fresh", "grown"]
    );
    assert_eq!(direct.one("SELECT count(*) FROM grown"), "2");
}

/// Writing through them, with a check option; what a barrier hides.
#[test]
fn views_of_a_branch_are_written_to() {
    need_postgres!();
    let f = Fixture::registered(BASE);
    let mut direct = f.direct();
    let mut x = f.branch("x");
    x.exec("CREATE VIEW young AS SELECT id AS number, name, age FROM users WHERE age < 18 WITH CHECK OPTION");
    assert_eq!(x.exec("INSERT INTO young VALUES (3, 'cid', 3)").tags(), ["INSERT 0 1"]);
    assert_eq!(x.err("INSERT INTO young VALUES (4, 'dan', 40)").code(), "44000");
    assert_eq!(x.exec("UPDATE young SET age = age + 1 WHERE number = 2").tags(), ["UPDATE 1"]);
    assert_eq!(x.exec("DELETE FROM young WHERE number = 1").tags(), ["DELETE 0"]);
    assert_eq!(x.lines("SELECT * FROM users ORDER BY id"), ["1|ann|30", "2|bob|13", "3|cid|3"]);
    assert_eq!(x.lines("SELECT number FROM young ORDER BY 1 FOR UPDATE"), ["2", "3"]);
    assert_eq!(direct.one("SELECT count(*) FROM users"), "2");

    x.exec("CREATE VIEW safe WITH (security_barrier) AS SELECT id, name FROM users WHERE age < 18");
    assert_eq!(x.lines("SELECT * FROM safe WHERE 1 / (id - 1) > 0 ORDER BY id"), ["2|bob"]);
    assert_eq!(
        x.one("SELECT reloptions FROM pg_class WHERE oid = 'safe'::regclass"),
        "{security_barrier=true}"
    );
    commit(&mut x, "views");
    f.main().exec("SELECT * FROM epoch_merge('x')");
    assert_eq!(
        direct.one("SELECT reloptions FROM pg_class WHERE oid = 'safe'::regclass"),
        "{security_barrier=true}"
    );
    assert_eq!(direct.err("INSERT INTO young VALUES (4, 'dan', 40)").code(), "44000");
}

/// In transaction blocks, taken back to a savepoint, and by the end.
#[test]
fn views_in_transaction_blocks() {
    need_postgres!();
    let f = Fixture::registered(BASE);
    let mut direct = f.direct();
    let mut x = f.branch("x");
    let mut watcher = f.on("x");
    x.exec("BEGIN");
    x.exec("CREATE TABLE t (id int PRIMARY KEY, v text)");
    x.exec("CREATE VIEW v AS SELECT * FROM t");
    x.exec("INSERT INTO v VALUES (1, 'a')");
    assert_eq!(x.lines("SELECT * FROM v"), ["1|a"]);
    x.exec("SAVEPOINT s");
    x.exec("CREATE OR REPLACE VIEW v AS SELECT id, v, 'more' AS m FROM t");
    x.exec("DROP VIEW grown, named");
    x.exec("CREATE VIEW w AS SELECT m FROM v");
    assert_eq!(x.lines("SELECT * FROM v, w"), ["1|a|more|more"]);
    assert_eq!(x.lines("SELECT relname FROM pg_class WHERE relkind = 'v' AND relnamespace = 'public'::regnamespace ORDER BY 1"), ["v", "w"]);
    x.exec("ROLLBACK TO s");
    assert_eq!(x.lines("SELECT * FROM v"), ["1|a"]);
    assert_eq!(x.lines("SELECT * FROM grown"), ["1|ann"]);
    fails(&mut watcher, "SELECT * FROM v", "42P01", "relation \"v\" does not exist");
    x.exec("ROLLBACK");
    fails(&mut x, "SELECT * FROM v", "42P01", "relation \"v\" does not exist");
    assert_eq!(places(&mut direct), Vec::<String>::new());

    x.exec("BEGIN");
    x.exec("CREATE VIEW v AS SELECT name FROM users");
    x.exec("CREATE OR REPLACE VIEW v AS SELECT name, age FROM users");
    x.exec("DROP VIEW named");
    x.exec("ALTER VIEW grown RENAME TO big");
    x.exec("CREATE VIEW gone AS SELECT 1");
    x.exec("DROP VIEW gone");
    x.exec("COMMIT");
    assert_eq!(watcher.lines("SELECT * FROM v ORDER BY 1"), ["ann|30", "bob|12"]);
    assert_eq!(watcher.lines("SELECT * FROM big"), ["1|ann"]);
    for gone in ["named", "grown", "gone"] {
        fails(
            &mut watcher,
            &format!("SELECT * FROM {gone}"),
            "42P01",
            &format!("relation \"{gone}\" does not exist"),
        );
    }
    assert_eq!(status(&mut watcher), ["big|added", "grown|removed", "named|removed", "v|added"]);
    assert_eq!(places(&mut direct).len(), 4, "two views and what they read");
    x.exec("CREATE VIEW one AS SELECT 1 AS n; CREATE VIEW two AS SELECT n + 1 AS n FROM one");
    assert_eq!(watcher.one("SELECT n FROM two"), "2");
    x.exec("SELECT * FROM epoch_reset('--hard')");
    assert_eq!(watcher.lines("SELECT * FROM named"), ["ann"]);
    assert_eq!(places(&mut direct), Vec::<String>::new());
}

/// Between branches: either side's, the same on both, different ones, and what a view reads.
#[test]
fn views_are_merged_between_branches() {
    need_postgres!();
    let f = Fixture::registered(BASE);
    let mut a = f.branch("a");
    let mut b = f.branch("b");
    a.exec("CREATE VIEW same AS SELECT name FROM users; CREATE VIEW of_a AS SELECT title FROM posts");
    b.exec("CREATE VIEW same AS SELECT users.name FROM public.users; DROP VIEW named");
    commit(&mut a, "a");
    commit(&mut b, "b");
    assert_eq!(a.call("epoch_merge('b')", "fast_forward, conflicts"), ["f|0"]);
    assert_eq!(a.lines("SELECT * FROM same ORDER BY 1"), ["ann", "bob"]);
    assert_eq!(a.lines("SELECT * FROM of_a ORDER BY 1"), ["x", "y", "z"]);
    fails(&mut a, "SELECT * FROM named", "42P01", "relation \"named\" does not exist");
    assert_eq!(b.call("epoch_merge('a')", "fast_forward, conflicts"), ["t|0"]);
    assert_eq!(b.lines("SELECT * FROM of_a ORDER BY 1"), ["x", "y", "z"]);

    // What the other side's view reads is gone here.
    b.exec("DROP VIEW of_a");
    b.exec("ALTER TABLE posts DROP COLUMN title");
    commit(&mut b, "no titles");
    a.exec("CREATE VIEW titles AS SELECT title FROM posts");
    commit(&mut a, "titles");
    let waits = b.one("SELECT message FROM epoch_merge('a')");
    let what = "view \"titles\" reads column \"title\" of \"posts\", which would not be there";
    assert!(waits.contains(what), "{waits}");
    b.exec("SELECT * FROM epoch_merge('--abort')");
    a.exec("DROP VIEW titles");
    commit(&mut a, "no view");
    b.exec("SELECT * FROM epoch_merge('a')");
    fails(&mut b, "SELECT * FROM titles", "42P01", "relation \"titles\" does not exist");

    // Nested, reset and reverted.
    let mut c = f.on("b");
    c.exec("SELECT * FROM epoch_checkout('-b', 'c')");
    c.exec("CREATE OR REPLACE VIEW same AS SELECT name, id FROM users");
    let hash = commit(&mut c, "other");
    assert_eq!(c.lines("SELECT * FROM same ORDER BY id"), ["ann|1", "bob|2"]);
    assert_eq!(b.lines("SELECT * FROM same ORDER BY 1"), ["ann", "bob"]);
    c.exec(&format!("SELECT * FROM epoch_revert('{hash}')"));
    assert_eq!(c.lines("SELECT * FROM same ORDER BY 1"), ["ann", "bob"]);
    c.exec(&format!("SELECT * FROM epoch_reset('--hard', '{hash}')"));
    assert_eq!(c.lines("SELECT * FROM same ORDER BY id"), ["ann|1", "bob|2"]);
    b.exec(&format!("SELECT * FROM epoch_cherry_pick('{hash}')"));
    assert_eq!(b.lines("SELECT * FROM same ORDER BY id"), ["ann|1", "bob|2"]);
    assert_eq!(f.main().call("epoch_merge('b')", "conflicts"), ["0"]);
    assert_eq!(f.direct().lines("SELECT * FROM same ORDER BY id"), ["ann|1", "bob|2"]);
}

/// psql and the catalogs say of the branch's views what they say of a database's own.
#[test]
fn catalogs_show_the_branchs_views() {
    need_postgres!();
    let f = Fixture::registered(BASE);
    let changes = [
        "CREATE VIEW written (who, what) AS SELECT u.name, p.title FROM users u JOIN posts p ON p.author = u.id",
        "COMMENT ON VIEW written IS 'who wrote what'",
        "CREATE OR REPLACE VIEW grown AS SELECT id, name, age FROM users WHERE age >= 10",
        "CREATE VIEW young AS SELECT * FROM users WHERE age < 18 WITH LOCAL CHECK OPTION",
        "DROP VIEW named",
    ];
    let mut x = f.branch("x");
    let plain = common::Database::create();
    let mut direct = plain.connect();
    direct.exec(BASE);
    for sql in changes {
        x.exec(sql);
        direct.exec(sql);
    }
    let branch = f.proxy.target("x");
    let other = Target::parse(&plain.url());
    for command in [
        "\\d",
        "\\d written",
        "\\d+ written",
        "\\dv",
        "\\d+ grown",
        "\\d+ young",
        "\\d named",
        "\\dd",
        "\\sv written",
    ] {
        let of = |target| String::from_utf8(psql(target, &["-At"], command).stdout).unwrap();
        assert_eq!(of(&branch), of(&other), "{command}");
    }
    for sql in [
        "SELECT table_schema, table_name, view_definition, check_option, is_updatable FROM information_schema.views WHERE table_schema = 'public' ORDER BY 2",
        "SELECT table_name, table_type FROM information_schema.tables WHERE table_schema = 'public' ORDER BY 1",
        "SELECT table_name, column_name, data_type FROM information_schema.columns WHERE table_schema = 'public' ORDER BY 1, ordinal_position",
        "SELECT viewname, definition FROM pg_views WHERE schemaname = 'public' ORDER BY 1",
        "SELECT pg_get_viewdef('written'::regclass)",
        "SELECT pg_get_viewdef('written'), pg_get_viewdef('public.written', true)",
        "SELECT pg_get_viewdef(name, true) FROM (VALUES ('written'), ('grown')) v (name)",
        "SELECT 'written'::regclass::text, to_regclass('named')::text",
        "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = 'written'::regclass AND attnum > 0 ORDER BY attnum",
    ] {
        assert_eq!(x.lines(sql), direct.lines(sql), "{sql}");
    }
    assert_eq!(
        f.direct().lines("SELECT viewname FROM pg_views WHERE schemaname = 'public' ORDER BY 1"),
        ["grown", "named"]
    );
    assert_eq!(
        f.main().lines("SELECT nspname FROM pg_namespace WHERE nspname ~ '^epoch'"),
        Vec::<String>::new()
    );
}

/// Views of main's that another session redefines, and sessions that race.
#[test]
fn a_view_that_another_session_defined_first() {
    need_postgres!();
    let f = Fixture::registered(BASE);
    let mut one = f.branch("x");
    let mut two = f.on("x");
    one.exec("CREATE VIEW v AS SELECT 1 AS n");
    assert_eq!(two.one("SELECT n FROM v"), "1");
    fails(&mut two, "CREATE VIEW v AS SELECT 2 AS n", "42P07", "relation \"v\" already exists");
    two.exec("CREATE OR REPLACE VIEW v AS SELECT 2 AS n");
    assert_eq!(one.one("SELECT n FROM v"), "2");
    one.exec("BEGIN");
    one.exec("CREATE OR REPLACE VIEW v AS SELECT 3 AS n");
    commit(&mut two, "v");
    assert_eq!(one.err("COMMIT").code(), "40001");
    assert_eq!(one.one("SELECT n FROM v"), "2");
}

/// What isn't possible says so, and nothing reaches main.
#[test]
fn what_is_refused_of_views() {
    need_postgres!();
    let f = Fixture::registered(BASE);
    let mut direct = f.direct();
    direct.exec("CREATE MATERIALIZED VIEW kept AS SELECT * FROM users; CREATE TABLE loose (id int)");
    let mut x = f.branch("x");
    let before = catalog(&mut direct);
    for sql in [
        "CREATE VIEW v AS SELECT * FROM kept",
        "CREATE VIEW v AS SELECT * FROM epoch.log",
        "CREATE VIEW v AS SELECT * FROM epoch_at('users', 'HEAD')",
        "CREATE TEMP VIEW v AS SELECT * FROM users",
        "CREATE VIEW v AS SELECT * FROM users TABLESAMPLE SYSTEM (10)",
        "CREATE MATERIALIZED VIEW v AS SELECT 1",
        "ALTER VIEW grown RENAME COLUMN name TO n",
        "ALTER VIEW named ALTER COLUMN name SET DEFAULT 'x'",
        "DROP TABLE users CASCADE",
        "ALTER VIEW grown RENAME TO big",
        "COMMENT ON COLUMN grown.name IS 'x'",
    ] {
        let error = x.err(sql);
        assert_eq!(error.code(), "0A000", "{sql}: {}", error.message());
    }
    assert_eq!(catalog(&mut direct), before);
    // Tables that aren't registered are main's.
    x.exec("CREATE VIEW v AS SELECT id FROM loose");
    direct.exec("INSERT INTO loose VALUES (7); ALTER TABLE loose ALTER id TYPE bigint");
    assert_eq!(x.lines("SELECT * FROM v"), ["7"]);
    assert_eq!(places(&mut direct).len(), 2);
}

/// Killed at any step, a definition of views or a merge of them has happened or hasn't.
#[test]
fn a_crash_leaves_views_as_they_were_or_as_they_are() {
    need_postgres!();
    let mut f = Fixture::registered(BASE);
    f.branch("x").terminate();
    f.dies("table-defined", "x", "ALTER VIEW named RENAME TO called");
    let mut x = f.on("x");
    assert_eq!(x.lines("SELECT * FROM named"), ["ann"]);
    assert_eq!(x.err("SELECT * FROM called").code(), "42P01");
    x.exec("CREATE VIEW v AS SELECT name FROM users");
    assert_eq!(places(&mut f.direct()).len(), 2, "what was made before the crash is gone");
    commit(&mut x, "v");
    x.terminate();
    let views = "SELECT viewname FROM pg_views WHERE schemaname = 'public' ORDER BY 1";
    f.dies("journal-written", "main", "SELECT * FROM epoch_merge('x')");
    assert_eq!(f.main().one("SELECT count(*) FROM epoch_log()"), "1");
    assert_eq!(f.direct().lines(views), ["grown", "named"]);
    f.dies("all-sealed", "main", "SELECT * FROM epoch_merge('x')");
    assert_eq!(f.main().call("epoch_merge('x')", "message"), ["already up to date"]);
    assert_eq!(f.direct().lines(views), ["grown", "named", "v"]);
    assert_eq!(f.main().lines("SELECT * FROM v ORDER BY 1"), ["ann", "bob"]);
    assert_eq!(f.on("x").lines("SELECT * FROM v ORDER BY 1"), ["ann", "bob"]);

    // A transaction that is committed, of which nobody was told.
    let mut x = f.on("x");
    x.terminate();
    f.dies("block-committed", "x", "BEGIN; CREATE VIEW one AS SELECT 1 AS n; DROP VIEW named; COMMIT");
    x = f.on("x");
    x.exec("SELECT * FROM epoch_branch('recovered')");
    assert_eq!(x.lines("SELECT n FROM one"), ["1"]);
    assert_eq!(x.err("SELECT * FROM named").code(), "42P01");
}
