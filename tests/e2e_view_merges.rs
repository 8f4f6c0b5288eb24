//! What views of a branch do to main and to other refs, found by a hostile reading: each test is named after what went
//! wrong.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use common::Fixture;
use common::conn::Conn;
use common::psql::tool;
use common::verbs::commit;

const BASE: &str = "CREATE TABLE t (id int PRIMARY KEY, v text, x int); INSERT INTO t VALUES (1, 'one', 1), (2, 'two', 2); \
    CREATE VIEW mv AS SELECT id, v FROM t; CREATE VIEW mw AS SELECT id, v FROM mv";

fn merge(into: &mut Conn, source: &str) {
    into.exec(&format!("SELECT * FROM epoch_merge('{source}')"));
}

#[test]
fn a_view_that_reads_itself_ended_the_proxy() {
    need_postgres!();
    let f = Fixture::registered(BASE);
    let mut b = f.branch("b");
    for sql in
        ["CREATE OR REPLACE VIEW mv AS SELECT * FROM mv", "CREATE OR REPLACE VIEW mv AS SELECT id, v FROM mw"]
    {
        assert_eq!(b.err(sql).code(), "42P17", "{sql}");
    }
    b.exec("CREATE VIEW a AS SELECT 1 AS id; CREATE VIEW c AS SELECT id FROM a; CREATE VIEW d AS SELECT id FROM c");
    assert_eq!(b.err("CREATE OR REPLACE VIEW a AS SELECT id FROM d").code(), "42P17");
    b.exec("BEGIN");
    assert_eq!(b.err("CREATE OR REPLACE VIEW a AS SELECT id FROM c").code(), "42P17");
    b.exec("ROLLBACK");
    assert_eq!(b.one("SELECT id FROM d"), "1");
    // By a merge.
    commit(&mut b, "views");
    b.exec("SELECT * FROM epoch_branch('e')");
    let mut e = f.on("e");
    b.exec("CREATE OR REPLACE VIEW a AS SELECT 1 AS id FROM t; CREATE VIEW p AS SELECT 1 AS id; CREATE VIEW q AS SELECT id FROM p");
    commit(&mut b, "q reads p");
    e.exec("CREATE VIEW q AS SELECT 1 AS id; CREATE VIEW p AS SELECT id FROM q");
    commit(&mut e, "p reads q");
    assert_eq!(e.call("epoch_merge('b')", "conflicts"), ["2"]);
    e.exec("SELECT * FROM epoch_conflicts_resolve('ours', 'p')");
    e.exec("SELECT * FROM epoch_conflicts_resolve('theirs', 'q')");
    let refused = e.simple("SELECT * FROM epoch_merge('--continue')");
    if refused.error().is_none() {
        assert_eq!(e.err("SELECT * FROM p").code(), "42P17");
    }
    assert_eq!(e.one("SELECT 1"), "1", "the proxy goes on");
}

#[test]
fn a_view_of_a_branch_broke_dumps_of_main() {
    need_postgres!();
    let f = Fixture::registered(BASE);
    let mut b = f.branch("b");
    b.exec("CREATE VIEW o1 AS SELECT id, v FROM t");
    let mut c = f.branch("c");
    for (name, conn) in [("main", &mut f.main()), ("c", &mut c)] {
        let target = f.proxy.target(name);
        let dump = std::process::Command::new(tool("pg_dump")).arg("-s").arg(target.url()).output().unwrap();
        let text = String::from_utf8_lossy(&dump.stdout);
        assert!(dump.status.success(), "{name}: {}", String::from_utf8_lossy(&dump.stderr));
        assert!(text.contains("VIEW public.mv") && !text.contains("o1"), "{name}: {text}");
        assert_eq!(conn.one("SELECT count(*) FROM pg_views WHERE viewname = 'o1'"), "0", "{name}");
        let rules = "SELECT count(*) FROM pg_rewrite r WHERE NOT EXISTS (SELECT FROM pg_class c WHERE c.oid = r.ev_class)";
        assert_eq!(conn.one(rules), "0", "{name}");
    }
    assert_eq!(b.one("SELECT count(*) FROM pg_views WHERE viewname = 'o1'"), "1");
}

#[test]
fn a_commit_showed_what_main_made_of_a_view_later() {
    need_postgres!();
    let f = Fixture::registered(BASE);
    let (mut main, mut h) = (f.main(), f.branch("h"));
    h.exec("CREATE VIEW hv AS SELECT 1 AS first");
    let hash = commit(&mut h, "hv");
    h.exec("SELECT * FROM epoch_tag('t1')");
    merge(&mut main, "h");
    main.exec("CREATE OR REPLACE VIEW hv AS SELECT 2 AS first");
    for reference in ["t1", &hash] {
        assert_eq!(f.proxy.connect(reference).one("SELECT * FROM hv"), "1", "{reference}");
    }
    main.exec("DROP VIEW hv");
    assert_eq!(f.proxy.connect("t1").one("SELECT * FROM hv"), "1");
    assert_eq!(main.err("SELECT * FROM hv").code(), "42P01");
}

#[test]
fn a_merge_dropped_what_belonged_to_mains_view() {
    need_postgres!();
    let f = Fixture::registered(BASE);
    let mut direct = f.direct();
    direct.exec(
        "CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'; \
         CREATE VIEW a AS SELECT id, v FROM t; CREATE TRIGGER tr INSTEAD OF INSERT ON a FOR EACH ROW EXECUTE FUNCTION nothing(); \
         ALTER VIEW a ALTER COLUMN v SET DEFAULT 'x'; GRANT SELECT ON a TO PUBLIC; \
         CREATE VIEW r AS SELECT id, v FROM t; CREATE RULE ru AS ON INSERT TO r DO INSTEAD NOTHING; GRANT SELECT ON r TO PUBLIC; \
         CREATE VIEW s AS SELECT id, v FROM t; GRANT SELECT ON s TO PUBLIC",
    );
    let (mut main, mut b) = (f.main(), f.branch("b"));
    b.exec("ALTER VIEW a RENAME TO a2; ALTER VIEW r RENAME COLUMN v TO w");
    commit(&mut b, "renamed");
    merge(&mut main, "b");
    let kept = "SELECT c.relname, c.relacl IS NOT NULL, (SELECT count(*) FROM pg_trigger t WHERE t.tgrelid = c.oid), \
        (SELECT count(*) FROM pg_attrdef d WHERE d.adrelid = c.oid), (SELECT count(*) FROM pg_rewrite r WHERE r.ev_class = c.oid) \
        FROM pg_class c WHERE c.relname IN ('a', 'a2', 'r') AND c.relkind = 'v' AND c.relnamespace = 'public'::regnamespace ORDER BY 1";
    assert_eq!(direct.lines(kept), ["a2|t|1|1|1", "r|t|0|0|2"]);
    assert_eq!(direct.lines("SELECT w FROM r ORDER BY 1"), ["one", "two"]);
    // What can't be kept is said.
    b.exec("DROP VIEW s; CREATE VIEW s AS SELECT id FROM t");
    commit(&mut b, "narrower");
    let error = main.err("SELECT * FROM epoch_merge('b')");
    assert_eq!((error.code(), error.message()), ("55000", "view \"s\" cannot be replaced on main"));
    assert!(error.detail().contains("privileges"), "{error:?}");
    direct.exec("REVOKE ALL ON s FROM PUBLIC; DROP VIEW s; CREATE VIEW s AS SELECT id, v FROM t");
    merge(&mut main, "b");
    assert_eq!(direct.lines("SELECT * FROM s ORDER BY 1"), ["1", "2"]);
}

#[test]
fn mains_views_were_not_asked_when_a_column_went() {
    need_postgres!();
    let f = Fixture::registered(BASE);
    let mut b = f.branch("b");
    assert_eq!(b.err("ALTER TABLE t RENAME COLUMN v TO val").code(), "0A000");
    assert_eq!(b.err("ALTER TABLE t DROP COLUMN v").code(), "2BP01");
    assert_eq!(b.err("ALTER TABLE t ALTER COLUMN v TYPE varchar(9)").code(), "0A000");
    b.exec("ALTER TABLE t DROP COLUMN x");
    assert_eq!(b.lines("SELECT * FROM mw ORDER BY 1"), ["1|one", "2|two"]);
}

#[test]
fn a_view_in_the_way_of_a_table_of_main_could_not_leave() {
    need_postgres!();
    let f = Fixture::registered(BASE);
    let (mut main, mut b) = (f.main(), f.branch("b"));
    b.exec("CREATE VIEW nn AS SELECT 1 AS a");
    commit(&mut b, "nn");
    main.exec("CREATE TABLE nn (id int PRIMARY KEY)");
    main.exec("SELECT * FROM epoch_register('nn')");
    main.exec("INSERT INTO nn VALUES (1)");
    commit(&mut main, "nn");
    assert_eq!(b.call("epoch_merge('main')", "conflicts"), ["1"]);
    b.exec("SELECT * FROM epoch_merge('--abort')");
    assert_eq!(b.lines("SELECT * FROM nn"), ["1"]);
    // The view leaves with its side, or by itself.
    b.exec("SELECT * FROM epoch_branch('c')");
    let mut c = f.on("c");
    assert_eq!(c.call("epoch_merge('main')", "conflicts"), ["1"]);
    c.exec("SELECT * FROM epoch_conflicts_resolve('theirs', 'nn')");
    c.exec("SELECT * FROM epoch_merge('--continue')");
    assert_eq!(c.lines("SELECT id FROM nn"), ["1"]);
    b.exec("DROP VIEW nn");
    commit(&mut b, "no nn");
    merge(&mut b, "main");
    assert_eq!(b.lines("SELECT * FROM nn"), ["1"]);
}

#[test]
fn a_view_that_is_made_again_after_an_alter_was_in_the_merges_way() {
    need_postgres!();
    let f = Fixture::registered(&format!(
        "{BASE}; CREATE VIEW k1 AS SELECT id, v, x FROM t; CREATE VIEW k2 AS SELECT * FROM k1"
    ));
    let (mut main, mut b) = (f.main(), f.branch("b"));
    b.exec("DROP VIEW k2; DROP VIEW k1; ALTER TABLE t ALTER COLUMN x TYPE text; CREATE VIEW k1 AS SELECT id, v, x FROM t; CREATE VIEW k2 AS SELECT * FROM k1");
    commit(&mut b, "wider");
    merge(&mut main, "b");
    let mut direct = f.direct();
    assert_eq!(direct.lines("SELECT x, pg_typeof(x) FROM k2 ORDER BY 1"), ["1|text", "2|text"]);
    b.exec("DROP VIEW k2; DROP VIEW k1; ALTER TABLE t DROP COLUMN x; CREATE VIEW k1 AS SELECT id, v FROM t");
    commit(&mut b, "narrower");
    merge(&mut main, "b");
    assert_eq!(direct.lines("SELECT * FROM k1 ORDER BY 1"), ["1|one", "2|two"]);
}

#[test]
fn a_revert_on_main_said_that_a_view_was_gone_which_was_there() {
    need_postgres!();
    let f = Fixture::registered(&format!("{BASE}; CREATE VIEW gone AS SELECT 1 AS one"));
    let (mut main, mut b) = (f.main(), f.branch("b"));
    b.exec("CREATE VIEW nv AS SELECT id, v FROM t");
    b.exec("INSERT INTO t VALUES (3, 'three', 3)");
    commit(&mut b, "nv");
    b.exec("DROP VIEW gone");
    commit(&mut b, "no gone");
    merge(&mut main, "b");
    let head = main.one("SELECT epoch_hashof('HEAD')");
    let refused = |main: &mut Conn, sql: &str, view: &str| {
        let error = main.err(sql);
        let message = format!("taking back on main what a merge did to view \"{view}\" is not supported");
        assert_eq!((error.code(), error.message()), ("0A000", message.as_str()), "{sql}");
    };
    // What a merge dropped or made stays so, and nothing else is taken back either.
    refused(&mut main, "SELECT * FROM epoch_revert('HEAD')", "gone");
    refused(&mut main, "SELECT * FROM epoch_revert('HEAD~1')", "nv");
    assert_eq!(main.one("SELECT epoch_hashof('HEAD')"), head);
    assert_eq!(main.lines("SELECT * FROM nv ORDER BY 1"), ["1|one", "2|two", "3|three"]);
}

#[test]
fn a_dump_of_a_branch_had_views_before_what_they_read() {
    need_postgres!();
    let f = Fixture::registered(
        "CREATE SCHEMA \"A a\"; CREATE TABLE zt (id int PRIMARY KEY, v text); INSERT INTO zt VALUES (1, 'one'); \
         CREATE TABLE \"A a\".\"T\" (id int PRIMARY KEY, \"a b\" text); INSERT INTO \"A a\".\"T\" VALUES (1, 'x')",
    );
    f.main().exec("SELECT * FROM epoch_register('A a.*')");
    let mut b = f.branch("b");
    b.exec("ALTER TABLE zt ADD COLUMN n int DEFAULT 7");
    b.exec("CREATE TABLE zz (id int PRIMARY KEY)");
    b.exec("INSERT INTO zz VALUES (1)");
    b.exec("CREATE VIEW \"A a\".\"V z\" AS SELECT y.\"a b\", t.v, t.n FROM \"A a\".\"T\" y JOIN zt t USING (id) JOIN zz USING (id)");
    b.exec("CREATE VIEW \"A a\".a2 AS SELECT * FROM \"A a\".\"V z\"");
    let usage = "SELECT table_name, column_name FROM information_schema.view_column_usage WHERE view_name = 'V z' ORDER BY 1, 2";
    assert_eq!(b.lines(usage), ["T|a b", "T|id", "zt|id", "zt|n", "zt|v", "zz|id"]);
    let target = f.proxy.target("b");
    let dump = std::process::Command::new(tool("pg_dump")).arg(target.url()).output().unwrap();
    assert!(dump.status.success(), "{}", String::from_utf8_lossy(&dump.stderr));
    let restored = common::Database::create();
    let into = common::conn::Target::parse(&restored.url());
    common::psql::psql_ok(&into, &String::from_utf8_lossy(&dump.stdout));
    assert_eq!(restored.connect().lines("SELECT * FROM \"A a\".a2"), ["x|one|7"]);
}

#[test]
fn a_view_with_a_row_as_a_whole_failed_once_its_table_was_altered() {
    need_postgres!();
    let f = Fixture::registered(&format!("{BASE}; CREATE VIEW mr AS SELECT t, t.id AS i FROM t"));
    let mut b = f.branch("b");
    b.exec("CREATE VIEW early AS SELECT u, row_to_json(u)::text AS j FROM t u WHERE id = 1 AND v <> 'x.*::public.t'");
    b.exec("ALTER TABLE t ADD COLUMN n int DEFAULT 7");
    b.exec("CREATE VIEW late AS SELECT t FROM t WHERE id = 2");
    assert_eq!(b.lines("SELECT * FROM early"), ["(1,one,1,7)|{\"id\":1,\"v\":\"one\",\"x\":1,\"n\":7}"]);
    assert_eq!(b.lines("SELECT * FROM late"), ["(2,two,2,7)"]);
    assert_eq!(b.lines("SELECT * FROM mr ORDER BY i"), ["(1,one,1,7)|1", "(2,two,2,7)|2"]);
    commit(&mut b, "rows");
    merge(&mut f.main(), "b");
    assert_eq!(f.direct().lines("SELECT (t).n FROM late"), ["7"]);
}

#[test]
fn a_view_of_a_branch_called_what_the_search_path_put_before_postgresqls_own() {
    need_postgres!();
    let f = Fixture::registered(&format!(
        "{BASE}; CREATE SCHEMA evil; CREATE FUNCTION evil.lower(text) RETURNS text IMMUTABLE LANGUAGE sql AS $$ SELECT 'EVIL' $$; \
         CREATE VIEW m1 AS SELECT id, lower(v) AS l FROM t"
    ));
    let mut b = f.branch("b");
    b.exec("CREATE VIEW o1 AS SELECT id, lower(v) AS l FROM t");
    let read = |b: &mut Conn, view: &str| b.lines(&format!("SELECT l FROM public.{view} ORDER BY id"));
    assert_eq!(read(&mut b, "o1"), ["one", "two"]);
    b.exec("SET search_path = evil, public, pg_catalog");
    assert_eq!(read(&mut b, "m1"), ["one", "two"]);
    let error = b.err("SELECT l FROM public.o1");
    assert_eq!(error.code(), "0A000");
    assert!(error.message().contains("search_path"), "{error:?}");
    b.exec("CREATE VIEW public.o2 AS SELECT l FROM public.m1");
    for path in ["evil, public", "pg_catalog, evil", "DEFAULT"] {
        b.exec(&format!("SET search_path = {path}"));
        assert_eq!(read(&mut b, "o1"), ["one", "two"], "{path}");
    }
}

#[test]
fn a_schema_diff_left_views_out() {
    need_postgres!();
    let f = Fixture::registered(BASE);
    let (mut main, mut b) = (f.main(), f.branch("b"));
    commit(&mut main, "start");
    b.exec("CREATE VIEW n1 AS SELECT id FROM t; COMMENT ON VIEW n1 IS 'new'; CREATE OR REPLACE VIEW mw AS SELECT id, v FROM t");
    commit(&mut b, "views");
    b.exec("CREATE OR REPLACE VIEW n1 AS SELECT id, v FROM t WHERE id > 1");
    let names = "SELECT table_name, from_create_statement IS NULL FROM epoch_schema_diff('main', 'HEAD')";
    assert_eq!(b.lines(names), ["mw|f", "n1|t"]);
    let made = "SELECT to_create_statement FROM epoch_schema_diff('main', 'WORKING', 'n1')";
    assert!(b.one(made).starts_with("CREATE VIEW \"public\".\"n1\" AS\n SELECT"), "{}", b.one(made));
    let statements = "SELECT unnest(alter_statements) FROM epoch_schema_diff('HEAD', 'WORKING')";
    let replaced = b.lines(statements);
    assert!(
        replaced.len() == 1 && replaced[0].starts_with("CREATE OR REPLACE VIEW \"public\".\"n1\""),
        "{replaced:?}"
    );
    // The statements make it elsewhere.
    b.exec("SELECT * FROM epoch_branch('c', 'main')");
    let mut c = f.on("c");
    for statement in
        b.lines("SELECT s FROM epoch_schema_diff('main', 'WORKING') d, unnest(d.alter_statements) WITH ORDINALITY u(s, n) ORDER BY d.table_name, n")
    {
        c.exec(&statement.replace('\n', " "));
    }
    for view in ["n1", "mw"] {
        let rows = format!("SELECT * FROM {view} ORDER BY 1");
        assert_eq!(c.lines(&rows), b.lines(&rows), "{view}");
    }
    assert_eq!(b.err("SELECT * FROM epoch_schema_diff('main', 'b', 'none')").code(), "42P01");
}
