//! Rights, protections, the audit and hooks through the proxy, on both routes and both metadata stores.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use common::Database;
use common::conn::Conn;
use common::message::PgError;
use common::proxy::{Proxy, ProxyConfig};

const TABLES: &str = "CREATE TABLE account (id int PRIMARY KEY, owner text NOT NULL, balance numeric(12,2) NOT NULL); \
                      CREATE TABLE salary (id int PRIMARY KEY, amount int NOT NULL); \
                      INSERT INTO account SELECT i, 'owner ' || i, 100 FROM generate_series(1, 5) i; \
                      INSERT INTO salary VALUES (1, 5000)";

const TABLES_OF_SQLITE: &str = "CREATE TABLE account (id INTEGER PRIMARY KEY, owner TEXT NOT NULL, balance NUMERIC(12,2) NOT NULL); \
                      CREATE TABLE salary (id INTEGER PRIMARY KEY, amount INTEGER NOT NULL); \
                      INSERT INTO account VALUES (1, 'owner 1', 100), (2, 'owner 2', 100), (3, 'owner 3', 100), \
                      (4, 'owner 4', 100), (5, 'owner 5', 100); INSERT INTO salary VALUES (1, 5000);";

/// A user's connection, or why there is none.
fn login(proxy: &Proxy, user: &str, reference: &str) -> Result<Conn, PgError> {
    let mut target = proxy.target(reference);
    target.user = user.to_owned();
    target.try_connect()
}

fn of(proxy: &Proxy, user: &str, reference: &str) -> Conn {
    login(proxy, user, reference).unwrap_or_else(|e| panic!("{user} on {reference}: {e:?}"))
}

/// Each statement is refused for want of a right.
fn denied(conn: &mut Conn, statements: &[&str]) {
    for sql in statements {
        let error = conn.err(sql);
        assert_eq!(error.code(), "42501", "{sql}: {error:?}");
    }
}

/// Both tables on PostgreSQL, with the metadata in another database of the same server.
fn on_postgres() -> (Proxy, Database, Database) {
    let (db, meta) = (Database::create(), Database::create());
    db.connect().exec(TABLES);
    let config = ProxyConfig { metadata_url: Some(meta.url()), ..ProxyConfig::postgres(&db.url()) };
    let proxy = Proxy::start(config);
    proxy.connect("main").exec("SELECT * FROM epoch_register('public.*')");
    (proxy, db, meta)
}

fn on_sqlite(extra: &str) -> Proxy {
    let proxy = Proxy::start(ProxyConfig { extra: extra.to_owned(), ..ProxyConfig::embedded() });
    rusqlite::Connection::open(proxy.sqlite_path("shop")).unwrap().execute_batch(TABLES_OF_SQLITE).unwrap();
    let mut main = proxy.connect("main");
    for table in ["account", "salary"] {
        main.exec(&format!("SELECT * FROM epoch_register('{table}', 'sqlite://shop/{table}')"));
    }
    proxy
}

/// ann writes accounts on branches of her own and reads those of main; bob merges them; root may everything.
fn grants(root: &mut Conn) {
    for sql in [
        "SELECT status FROM epoch_grant('postgres', 'admin')",
        "SELECT status FROM epoch_grant('staff', 'read', 'main', tables => array['account'])",
        "SELECT status FROM epoch_grant('staff', '--to', 'ann')",
        "SELECT status FROM epoch_grant('ann', 'write', 'ann/*', tables => array['account'])",
        "SELECT status FROM epoch_grant('bob', 'merge', 'main')",
        "SELECT status FROM epoch_grant('bob', 'read', 'ann/*')",
    ] {
        assert_eq!(root.lines(sql).len(), 1, "{sql}");
    }
}

/// What must be the same on both routes.
fn rights(proxy: &Proxy) {
    let mut root = proxy.connect("main");
    root.exec("SELECT epoch_commit('start', '--allow-empty')");
    root.exec("SELECT * FROM epoch_branch('secret')");
    // Nobody else is locked out by accident.
    assert_eq!(root.err("SELECT epoch_grant('ann', 'write', 'ann/*')").code(), "55000");
    assert_eq!(
        of(proxy, "eve", "main").one("SELECT count(*) FROM salary"),
        "1",
        "without grants everybody may"
    );
    let mut early = of(proxy, "eve", "main");
    early.exec("SELECT 1");
    grants(&mut root);
    // At once, for sessions that are there already too.
    denied(
        &mut early,
        &["SELECT * FROM account", "SELECT * FROM epoch.log", "INSERT INTO salary VALUES (2, 1)"],
    );
    assert_eq!(login(proxy, "eve", "main").err().unwrap().code(), "42501");
    assert_eq!(login(proxy, "ann", "secret").err().unwrap().code(), "42501");

    let mut ann = of(proxy, "ann", "main");
    assert_eq!(ann.one("SELECT count(*) FROM account"), "5");
    assert_eq!(ann.one("SELECT owner FROM epoch_at('account', 'main') WHERE id = 1"), "owner 1");
    assert_eq!(ann.lines("SELECT name FROM epoch.branches"), ["main"]);
    denied(
        &mut ann,
        &[
            "SELECT * FROM salary",
            "SELECT * FROM account a JOIN salary s ON s.id = a.id",
            "SELECT (SELECT max(amount) FROM salary)",
            "WITH s AS (SELECT * FROM salary) SELECT count(*) FROM s",
            "SELECT * FROM epoch_at('salary', 'HEAD')",
            "SELECT * FROM epoch_at('account', 'secret')",
            "SELECT * FROM epoch_diff('main', 'secret')",
            "SELECT * FROM epoch_diff('main', 'WORKING', 'salary')",
            "SELECT * FROM epoch_history('salary')",
            "SELECT * FROM epoch_blame('salary')",
            "SELECT epoch_hashof_table('salary')",
            "SELECT epoch_hashof('secret')",
            "SELECT * FROM epoch_all_branches('salary')",
            "SELECT * FROM epoch_log('secret')",
            "SELECT * FROM epoch_log('--all')",
            "SELECT * FROM epoch_reflog('secret')",
            "SELECT * FROM epoch_preview_merge('secret')",
            "SELECT * FROM epoch.audit",
            "SELECT * FROM epoch.hook_runs",
            "SELECT * FROM epoch_discover()",
            "UPDATE account SET balance = 0",
            "DELETE FROM account",
            "INSERT INTO account VALUES (9, 'nine', 9)",
            "SELECT epoch_commit('x', '--allow-empty')",
            "SELECT epoch_merge('secret')",
            "SELECT epoch_tag('v1')",
            "SELECT epoch_branch('dev')",
            "SELECT epoch_branch('ann/copy', 'secret')",
            "SELECT epoch_branch('-D', 'secret')",
            "SELECT epoch_branch('-m', 'secret', 'ann/mine')",
            "SELECT epoch_reset('--hard')",
            "SELECT epoch_stash('push')",
            "SELECT epoch_stash('clear')",
            "SELECT epoch_cherry_pick('main')",
            "SELECT epoch_revert('main')",
            "SELECT epoch_rebase('main')",
            "SELECT epoch_squash_history('main')",
            "SELECT epoch_promote('main', 'secret')",
            "SELECT epoch_undrop('secret')",
            "SELECT epoch_merge_rule('account', 'balance', 'sum')",
            "SELECT epoch_register('account')",
            "SELECT epoch_unregister('account')",
            "SELECT epoch_grant('ann', 'admin')",
            "SELECT epoch_revoke('bob', 'all', 'main')",
            "SELECT epoch_protect('main')",
            "SELECT epoch_checkout('secret')",
            "SET epoch.branch = 'secret'",
        ],
    );
    ann.exec("SELECT * FROM epoch_branch('ann/x')");
    ann.exec("SELECT epoch_checkout('ann/x')");
    ann.exec("UPDATE account SET owner = 'Ann' WHERE id = 1");
    denied(
        &mut ann,
        &["SELECT * FROM salary", "UPDATE salary SET amount = 0", "SELECT epoch_commit('all of it')"],
    );
    assert_eq!(ann.lines("SELECT table_name, rows_modified FROM epoch.status"), ["account|1"]);
    ann.exec("SELECT epoch_commit('mine', tables => array['account'])");
    let commit = ann.one("SELECT epoch_hashof('HEAD')");
    // What she has may not be seen by more people under another name.
    root.exec("SELECT epoch_grant('public', 'read', 'ann/open*')");
    denied(&mut ann, &["SELECT epoch_branch('ann/open')"]);
    root.exec("SELECT epoch_revoke('public', 'read', 'ann/open*')");

    let mut bob = of(proxy, "bob", "main");
    denied(&mut bob, &["UPDATE account SET balance = 1", "SELECT epoch_commit('x', '--allow-empty')"]);
    let dry = "SELECT fast_forward FROM epoch_merge('ann/x', '--dry-run')";
    assert_eq!(bob.lines(dry), ["t"]);
    assert_eq!(bob.lines("SELECT fast_forward FROM epoch_merge('ann/x')"), ["t"]);
    assert_eq!(ann.lines("SELECT owner FROM epoch_at('account', 'main') WHERE id = 1"), ["Ann"]);
    // A commit is read by its hash by who may read a ref that shows it.
    assert_eq!(of(proxy, "ann", &commit).one("SELECT owner FROM account WHERE id = 1"), "Ann");
    denied(&mut of(proxy, "ann", &commit), &["SELECT * FROM salary"]);
    assert_eq!(login(proxy, "eve", &commit).err().unwrap().code(), "42501");
    root.exec("SELECT epoch_tag('ann/v1', 'main')");
    root.exec("SELECT epoch_tag('v1', 'secret')");
    assert_eq!(of(proxy, "ann", "ann/v1").one("SELECT count(*) FROM account"), "5");
    assert_eq!(ann.lines("SELECT name FROM epoch.tags"), ["ann/v1"]);

    // What was given is taken again.
    assert_eq!(root.err("SELECT epoch_revoke('postgres', 'admin')").code(), "55000");
    assert_eq!(root.err("SELECT epoch_revoke('ann', 'read', 'nothing')").code(), "42704");
    assert_eq!(root.err("SELECT epoch_grant('ann', 'fly')").code(), "22023");
    assert_eq!(root.err("SELECT epoch_grant('ann', 'read', '')").code(), "22023");
    assert_eq!(root.err("SELECT epoch_grant('staff', 'read', '--to', 'ann')").code(), "22023");
    assert_eq!(root.err("SELECT epoch_revoke('staff', '--from', 'nobody')").code(), "42704");
    assert_eq!(
        ann.lines("SELECT grantee, privilege, branches, tables FROM epoch.grants ORDER BY 1"),
        ["ann|write|ann/*|account", "staff|read|main|account"]
    );
    assert_eq!(root.lines("SELECT role, member FROM epoch.members"), ["staff|ann"]);
    let mut reader = of(proxy, "ann", "main");
    root.exec("SELECT epoch_revoke('staff', '--from', 'ann')");
    denied(&mut reader, &["SELECT * FROM account"]);
    root.exec("SELECT epoch_revoke('ann', 'all', 'ann/*', tables => array['account'])");
    denied(&mut ann, &["SELECT * FROM account"]);
    for (branch, sql) in [("main", "BEGIN"), ("main", "ROLLBACK")] {
        of(proxy, "postgres", branch).exec(sql);
    }
    root.exec("BEGIN");
    root.exec("UPDATE account SET balance = 7 WHERE id = 3");
    assert_eq!(root.err("SELECT epoch_grant('x', 'read')").code(), "25001");
    root.exec("ROLLBACK");
    assert_eq!(of(proxy, "postgres", "v1").err("SELECT epoch_grant('x', 'read')").code(), "25006");
}

#[test]
fn rights_are_kept_to_on_postgresql() {
    need_postgres!();
    let (proxy, _db, _meta) = on_postgres();
    rights(&proxy);
}

#[test]
fn rights_are_kept_to_on_sqlite() {
    rights(&on_sqlite(""));
}

#[test]
fn no_way_of_postgresql_leads_around_a_right() {
    need_postgres!();
    let (proxy, db, _meta) = on_postgres();
    db.connect().exec(
        "CREATE VIEW wages AS SELECT * FROM salary; CREATE VIEW owners AS SELECT owner FROM account; \
         CREATE MATERIALIZED VIEW frozen AS SELECT * FROM salary; \
         CREATE TABLE plain (id int PRIMARY KEY); \
         CREATE FUNCTION reads() RETURNS int LANGUAGE sql STABLE AS 'SELECT max(amount) FROM public.salary'; \
         CREATE FUNCTION twice(int) RETURNS int LANGUAGE sql STABLE AS 'SELECT 2 * $1'",
    );
    let mut root = proxy.connect("main");
    root.exec("SELECT epoch_commit('start', '--allow-empty')");
    grants(&mut root);
    root.exec("SELECT epoch_grant('staff', 'read', 'main', tables => array['owners', 'wages', 'frozen'])");
    root.exec("SELECT * FROM epoch_branch('ann/x')");
    let mut ann = of(&proxy, "ann", "main");
    assert_eq!(ann.one("SELECT count(*) FROM owners"), "5");
    assert_eq!(ann.one("SELECT twice(id) FROM account WHERE id = 2"), "4");
    assert_eq!(ann.one("SELECT count(*) FROM pg_catalog.pg_class WHERE relname = 'account'"), "1");
    assert!(ann.simple("COPY account TO STDOUT").error().is_none());
    let params = ann.extended("SELECT owner FROM account WHERE id = $1", &[Some("2")], false);
    assert_eq!(params.rows(), [[Some("owner 2".to_owned())]], "{:?}", params.error());
    assert!(ann.extended("SELECT amount FROM salary WHERE id = $1", &[Some("1")], false).error().is_some());
    let ways = [
        "SELECT * FROM wages",
        "SELECT * FROM frozen",
        "SELECT * FROM public.\"salary\"",
        "SELECT * FROM U&\"sal\\0061ry\"",
        "TABLE salary",
        "SELECT reads()",
        "DO $$ BEGIN PERFORM * FROM salary; END $$",
        "COPY salary TO STDOUT",
        "COPY (SELECT * FROM salary) TO STDOUT",
        "COPY account TO PROGRAM 'cat'",
        "COPY account TO '/tmp/epoch-should-not-be-there'",
        "EXPLAIN SELECT * FROM salary",
        "EXPLAIN ANALYZE SELECT * FROM salary",
        "PREPARE p AS SELECT * FROM salary",
        "PREPARE q AS SELECT * FROM account",
        "EXECUTE q",
        "SELECT query_to_xml('SELECT * FROM salary', true, true, '')",
        "SELECT table_to_xml('salary', true, true, '')",
        "SELECT pg_read_file('PG_VERSION')",
        "SELECT pg_ls_dir('.')",
        "SELECT lo_import('/etc/hostname')",
        "SELECT pg_terminate_backend(1)",
        "SELECT * FROM pg_stats",
        "SELECT * FROM pg_catalog.pg_statistic",
        "SELECT * FROM pg_authid",
        "SELECT * FROM pg_stat_activity",
        "SELECT * FROM account FOR UPDATE",
        "LOCK TABLE account",
        "TRUNCATE account",
        "INSERT INTO plain VALUES (1)",
        "SELECT * FROM plain",
        "CREATE TABLE mine AS SELECT * FROM salary",
        "CREATE TEMP TABLE mine AS SELECT * FROM salary",
        "CREATE TEMP VIEW mine AS SELECT * FROM salary",
        "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "CREATE TABLE made (id int PRIMARY KEY)",
        "ALTER TABLE account ADD COLUMN x int",
        "DROP TABLE account",
        "GRANT ALL ON salary TO public",
        "SET session_replication_role = replica",
        "WITH d AS (DELETE FROM account RETURNING *) SELECT * FROM d",
        "MERGE INTO account a USING account b ON a.id = b.id WHEN MATCHED THEN DELETE",
        "DECLARE c CURSOR FOR SELECT * FROM salary",
        "SELECT setval('s', 1)",
    ];
    denied(&mut ann, &ways);
    assert_eq!(ann.err("SELECT set_config('session_replication_role', 'replica', false)").code(), "0A000");
    assert!(["42501", "42P01"].contains(&ann.err("SELECT * FROM epoch.layer").code()));
    assert_eq!(ann.err("not even SQL").code(), "42601");
    // Nor where the open transaction has defined a table.
    let mut own = of(&proxy, "ann", "ann/x");
    for way in [
        "SELECT * FROM salary",
        "COPY salary TO STDOUT",
        "COPY account TO PROGRAM 'cat'",
        "COPY account TO '/tmp/epoch-should-not-be-there'",
        "COPY account FROM PROGRAM 'true'",
        "SELECT * FROM plain",
    ] {
        own.exec("BEGIN");
        own.exec("ALTER TABLE account ADD COLUMN y int");
        denied(&mut own, &[way]);
        own.exec("ROLLBACK");
    }
    // Temporary tables are the session's own.
    ann.exec("CREATE TEMP TABLE mine AS SELECT * FROM account");
    assert_eq!(ann.one("SELECT count(*) FROM mine"), "5");
    // A text whose second statement depends on the first is looked at when that has run.
    denied(&mut ann, &["SET search_path = public; SELECT * FROM salary"]);
    ann.exec("SET search_path = public");
    let mut on_branch = of(&proxy, "ann", "ann/x");
    on_branch.exec("UPDATE account SET balance = 1 WHERE id = 1");
    denied(
        &mut on_branch,
        &[
            "SELECT * FROM wages",
            "UPDATE salary SET amount = 1",
            "INSERT INTO salary VALUES (3, 3)",
            "SELECT * FROM pg_stats",
        ],
    );
    assert_eq!(on_branch.err("SELECT reads()").code(), "42501");
    // Statements that were prepared before a right was taken.
    let mut prepared = of(&proxy, "ann", "main");
    let ask =
        |conn: &mut Conn| conn.extended("SELECT count(*) FROM account WHERE id > $1", &[Some("0")], false);
    assert_eq!(ask(&mut prepared).rows(), [[Some("5".to_owned())]]);
    root.exec("SELECT epoch_revoke('staff', '--from', 'ann')");
    assert_eq!(ask(&mut prepared).error().unwrap().code(), "42501");
    assert_eq!(db.connect().one("SELECT count(*) FROM salary"), "1");
}

/// A protected branch changes by merges alone, whoever acts.
fn protection(proxy: &Proxy) {
    let mut root = proxy.connect("main");
    root.exec("SELECT epoch_commit('start', '--allow-empty')");
    for name in ["dev", "release/1"] {
        root.exec(&format!("SELECT * FROM epoch_branch('{name}')"));
    }
    let (mut dev, mut release) = (proxy.connect("dev"), proxy.connect("release/1"));
    root.exec("SELECT status FROM epoch_protect('release/*')");
    root.exec("SELECT status FROM epoch_protect('main', '--no-writes', '--check', 'SELECT min(balance) >= 0 FROM account')");
    assert_eq!(
        root.lines("SELECT branches, no_writes, merge_only FROM epoch.protections ORDER BY 1"),
        ["main|t|f", "release/*|t|t"]
    );
    assert_eq!(
        root.lines("SELECT name, protected FROM epoch.branches ORDER BY 1"),
        ["dev|f", "main|t", "release/1|t"]
    );
    for conn in [&mut root, &mut release] {
        denied(
            conn,
            &[
                "UPDATE account SET balance = 1",
                "INSERT INTO account VALUES (9, 'nine', 9)",
                "DELETE FROM account",
                "SELECT epoch_commit('x', '--amend')",
                "SELECT epoch_rebase('dev')",
                "SELECT epoch_cherry_pick('dev')",
                "SELECT epoch_squash_history('HEAD~1')",
            ],
        );
    }
    denied(
        &mut root,
        &[
            "SELECT epoch_branch('-D', 'release/1')",
            "SELECT epoch_branch('-m', 'release/1', 'x')",
            "SELECT epoch_branch('-f', 'release/1', 'dev')",
        ],
    );
    denied(
        &mut release,
        &["SELECT epoch_commit('x', '--allow-empty')", "SELECT epoch_reset('--hard', 'HEAD~1')"],
    );
    assert_eq!(root.one("SELECT count(*) FROM account"), "5", "reading is free");
    dev.exec("UPDATE account SET balance = balance - 200 WHERE id = 1");
    dev.exec("SELECT epoch_commit('a debt')");
    let error = root.err("SELECT epoch_merge('dev')");
    assert_eq!((error.code(), root.one("SELECT min(balance) FROM account").as_str()), ("55000", "100.00"));
    assert_eq!(root.err("SELECT epoch_promote('dev', 'main')").code(), "55000");
    assert_eq!(release.lines("SELECT fast_forward FROM epoch_merge('dev')"), ["t"]);
    dev.exec("UPDATE account SET balance = 5 WHERE id = 1");
    dev.exec("SELECT epoch_commit('paid')");
    assert_eq!(root.lines("SELECT fast_forward FROM epoch_merge('dev')"), ["t"]);
    assert_eq!(root.one("SELECT min(balance) FROM account"), "5.00");
    // What is no query of one boolean would refuse every commit.
    for (check, code) in
        [("selec", "42601"), ("SELECT 1", "22023"), ("SELECT id FROM account WHERE", "42601")]
    {
        let error = root.err(&format!("SELECT epoch_protect('release/*', '--check', '{check}')"));
        assert_eq!(error.code(), code, "{check}: {error:?}");
    }
    assert_eq!(root.one("SELECT checks FROM epoch.protections WHERE branches = 'release/*'"), "{}");
    root.exec("SELECT epoch_protect('later', '--check', 'SELECT count(*) = 0 FROM not_there_yet')");
    root.exec("SELECT epoch_protect('-d', 'later')");
    // From the start.
    root.exec("SELECT epoch_branch('kept', protect => 'merge-only')");
    root.exec("SELECT epoch_branch('closed', 'main', '--protect', 'all')");
    assert_eq!(
        root.lines("SELECT branches, no_writes, merge_only FROM epoch.protections WHERE branches IN ('kept', 'closed') ORDER BY 1"),
        ["closed|t|t", "kept|f|t"]
    );
    let mut kept = proxy.connect("kept");
    kept.exec("UPDATE account SET balance = 4 WHERE id = 1");
    denied(&mut kept, &["SELECT epoch_commit('directly')"]);
    denied(&mut proxy.connect("closed"), &["UPDATE account SET balance = 4 WHERE id = 1"]);
    for call in ["'x', protect => 'everything'", "'-d', 'kept', protect => 'all'", "protect => 'all'"] {
        assert_eq!(root.err(&format!("SELECT epoch_branch({call})")).code(), "22023", "{call}");
    }
    assert_eq!(root.one("SELECT count(*) FROM epoch.branches WHERE name = 'x'"), "0");
    assert_eq!(root.err("SELECT epoch_protect('-d', 'nothing')").code(), "42704");
    assert_eq!(root.err("SELECT epoch_protect('-d', 'main', '--no-writes')").code(), "22023");
    root.exec("SELECT epoch_protect('-d', 'main')");
    root.exec("UPDATE account SET balance = 6 WHERE id = 1");
    root.exec("SELECT epoch_commit('free again')");
}

#[test]
fn protected_branches_change_by_merges_alone_on_postgresql() {
    need_postgres!();
    let (proxy, db, _meta) = on_postgres();
    protection(&proxy);
    let mut main = proxy.connect("main");
    main.exec("SELECT epoch_protect('main', '--no-writes')");
    db.connect()
        .exec("CREATE FUNCTION w() RETURNS int LANGUAGE sql AS 'DELETE FROM public.account RETURNING 1'");
    denied(
        &mut main,
        &[
            "DO $$ BEGIN DELETE FROM account; END $$",
            "TRUNCATE account",
            "SELECT w()",
            "DROP TABLE account",
            "COPY account FROM STDIN",
        ],
    );
    assert_eq!(main.one("SELECT count(*) >= 0 FROM pg_stats"), "t", "reading is free");
    main.exec("SELECT epoch_protect('-d', 'main')");
    main.exec("DO $$ BEGIN DELETE FROM account WHERE id = 5; END $$");
}

#[test]
fn protected_branches_change_by_merges_alone_on_sqlite() {
    protection(&on_sqlite(""));
}

/// Every call that changes something is in the audit, with what became of it.
/// dev administers branches of its own, cat reads, and both have no right on anything else.
fn small_rights(root: &mut Conn) {
    for sql in [
        "SELECT epoch_grant('postgres', 'admin')",
        "SELECT epoch_grant('dev', 'admin', 'dev/*')",
        "SELECT epoch_grant('cat', 'write', 'cat/*', tables => array['account'])",
        "SELECT epoch_grant('cat', 'read', 'main', tables => array['account'])",
        "SELECT epoch_branch('dev/1')",
        "SELECT epoch_branch('cat/1')",
    ] {
        root.exec(sql);
    }
}

/// Names of branches, tags and tables that a user doesn't see are in no message and in no list.
fn hidden_names(proxy: &Proxy) {
    let mut root = proxy.connect("main");
    root.exec("SELECT epoch_commit('start', '--allow-empty')");
    for sql in [
        "epoch_branch('hidden')",
        "epoch_branch('hidden2')",
        "epoch_branch('-D', 'hidden2')",
        "epoch_tag('hidden3')",
    ] {
        root.exec(&format!("SELECT * FROM {sql}"));
    }
    let hash = proxy.connect("hidden").one("SELECT hash FROM epoch_commit('x', '--allow-empty')");
    grants(&mut root);
    root.exec("SELECT epoch_grant('dev', 'write', 'dev/*')");
    let quiet = |error: &PgError, code: &str, what: &str| {
        assert_eq!(error.code(), code, "{what}: {error:?}");
        assert!(!format!("{error:?}").contains("hidden"), "{what}: {error:?}");
    };
    let mut ann = of(proxy, "ann", "main");
    for call in [
        format!("epoch_checkout('{hash}')"),
        format!("epoch_hashof('{hash}')"),
        format!("epoch_merge_base('main', '{hash}')"),
        format!("epoch_branch('ann/mine', '{hash}')"),
        format!("epoch_tag('ann/tag', '{hash}')"),
    ] {
        quiet(&ann.err(&format!("SELECT {call}")), "42501", &call);
    }
    for from in [
        format!("epoch_log('{hash}')"),
        format!("epoch_diff('main', '{hash}')"),
        format!("epoch_at('account', '{}')", hash.get(..12).unwrap()),
        format!("epoch_preview_merge('{hash}')"),
    ] {
        quiet(&ann.err(&format!("SELECT * FROM {from}")), "42501", &from);
    }
    quiet(&login(proxy, "ann", &hash).err().unwrap(), "42501", "login");
    quiet(&login(proxy, "ann", "hidde").err().unwrap(), "3D000", "a near name");
    quiet(&ann.err("SELECT epoch_checkout('hiddn')"), "3D000", "a near name");
    quiet(&of(proxy, "dev", "dev/1").err("SELECT epoch_undrop('dev/none')"), "3D000", "deleted branches");
    // Who sees them is told.
    assert!(root.err("SELECT epoch_checkout('hiddn')").hint().contains("hidden"));
    assert!(root.err("SELECT epoch_undrop('none')").hint().contains("hidden2"));
    let refs = "SELECT refs FROM epoch_log('main', '-n', 1)";
    assert!(root.one(refs).contains("hidden3"), "{}", root.one(refs));
    assert!(!ann.one(refs).contains("hidden") && ann.one(refs).contains("main"), "{}", ann.one(refs));
    let tables = "SELECT table_name FROM epoch.tables ORDER BY 1";
    assert_eq!(root.lines(tables), ["account", "salary"]);
    assert_eq!(ann.lines(tables), ["account"]);
}

#[test]
fn names_that_one_does_not_see_were_told_on_postgresql() {
    need_postgres!();
    let (proxy, db, _meta) = on_postgres();
    db.connect().exec(
        "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'; \
         CREATE TRIGGER of_account BEFORE INSERT ON account FOR EACH ROW EXECUTE FUNCTION f(); \
         CREATE TRIGGER of_salary BEFORE INSERT ON salary FOR EACH ROW EXECUTE FUNCTION f()",
    );
    proxy.connect("main").exec("SELECT * FROM epoch_branch('dev/1')");
    hidden_names(&proxy);
    let triggers = "SELECT trigger_name FROM epoch.triggers ORDER BY 1";
    assert_eq!(proxy.connect("main").lines(triggers), ["of_account", "of_salary"]);
    assert_eq!(of(&proxy, "ann", "main").lines(triggers), ["of_account"]);
}

#[test]
fn names_that_one_does_not_see_were_told_on_sqlite() {
    let proxy = on_sqlite("");
    proxy.connect("main").exec("SELECT * FROM epoch_branch('dev/1')");
    hidden_names(&proxy);
}

#[test]
fn an_admin_of_some_branches_reads_nothing_by_a_check() {
    need_postgres!();
    let (proxy, _db, _meta) = on_postgres();
    let mut root = proxy.connect("main");
    small_rights(&mut root);
    let mut dev = of(&proxy, "dev", "dev/1");
    // Nor does it protect others, nor single ones.
    denied(&mut of(&proxy, "cat", "cat/1"), &["SELECT epoch_branch('cat/2', protect => 'all')"]);
    denied(
        &mut dev,
        &[
            "SELECT epoch_protect('dev/*', '--check', 'SELECT (SELECT amount FROM epoch_at(''salary'', ''main'') LIMIT 1)::text::boolean')",
        ],
    );
    dev.exec("SELECT epoch_protect('dev/*', '--no-writes')");
    dev.exec("SELECT epoch_protect('-d', 'dev/*')");
    // One of somebody who may see everything says no more than that it can't be asked.
    root.exec("SELECT epoch_protect('dev/*', '--check', 'SELECT (SELECT amount FROM epoch_at(''salary'', ''main'') LIMIT 1)::text::boolean')");
    let error = dev.err("SELECT epoch_commit('x', '--allow-empty')");
    assert!(!format!("{error:?}").contains("5000"), "{error:?}");
    assert_eq!(error.message(), "a check of branch \"dev/1\" could not be asked");
}

#[test]
fn who_may_not_delete_a_branch_does_not_replace_it() {
    need_postgres!();
    let (proxy, _db, _meta) = on_postgres();
    let mut root = proxy.connect("main");
    small_rights(&mut root);
    let mut cat = of(&proxy, "cat", "cat/1");
    cat.exec("SELECT epoch_branch('cat/2')");
    denied(
        &mut cat,
        &[
            "SELECT epoch_branch('-D', 'cat/2')",
            "SELECT epoch_branch('-f', 'cat/2', 'main')",
            "SELECT epoch_branch('-m', '-f', 'cat/1', 'cat/2')",
        ],
    );
    root.exec("SELECT epoch_branch('-f', 'cat/2', 'main')");
}

#[test]
fn nobody_ends_the_prepared_transactions_of_others() {
    need_postgres!();
    let (proxy, db, _meta) = on_postgres();
    let mut root = proxy.connect("main");
    small_rights(&mut root);
    if db.connect().one("SHOW max_prepared_transactions") == "0" {
        println!("skipped: the server has no prepared transactions");
        return;
    }
    let name = format!("of_root_{}", std::process::id());
    for sql in
        ["BEGIN", "UPDATE account SET balance = 7 WHERE id = 1", &format!("PREPARE TRANSACTION '{name}'")]
    {
        root.exec(sql);
    }
    let mut cat = of(&proxy, "cat", "main");
    denied(&mut cat, &[&format!("ROLLBACK PREPARED '{name}'"), &format!("COMMIT PREPARED '{name}'")]);
    root.exec(&format!("COMMIT PREPARED '{name}'"));
    assert_eq!(root.one("SELECT balance FROM account WHERE id = 1"), "7.00");
}

#[test]
fn what_waits_when_a_branch_gets_protected_waits_on() {
    need_postgres!();
    let (proxy, _db, _meta) = on_postgres();
    let mut root = proxy.connect("main");
    root.exec("SELECT epoch_grant('postgres', 'admin')");
    for sql in [
        "SELECT epoch_commit('start', '--allow-empty')",
        "SELECT epoch_branch('p')",
        "SELECT epoch_branch('q')",
    ] {
        root.exec(sql);
    }
    let mut p = proxy.connect("p");
    p.exec("UPDATE account SET balance = 1 WHERE id = 1");
    p.exec("SELECT epoch_commit('one')");
    root.exec("UPDATE account SET balance = 2 WHERE id = 2");
    root.exec("SELECT epoch_commit('on main')");
    p.exec("SELECT * FROM epoch_rebase('-i', 'main')");
    let mut q = proxy.connect("q");
    q.exec("UPDATE account SET balance = 3 WHERE id = 1");
    q.exec("SELECT epoch_commit('other')");
    q.exec("SELECT * FROM epoch_cherry_pick('p')");
    root.exec("SELECT epoch_protect('*', '--merge-only')");
    denied(
        &mut p,
        &["SELECT * FROM epoch_rebase_edit(1, 'drop')", "SELECT * FROM epoch_rebase('--continue')"],
    );
    denied(&mut q, &["SELECT * FROM epoch_cherry_pick('--continue')"]);
    p.exec("SELECT * FROM epoch_rebase('--abort')");
    q.exec("SELECT * FROM epoch_cherry_pick('--abort')");
    assert_eq!(p.one("SELECT message FROM epoch_log() LIMIT 1"), "one");
}

/// Its message quotes rows of both sides.
#[test]
fn what_a_merge_would_have_broken_is_shown_to_who_may_read_the_table() {
    need_postgres!();
    let (db, meta) = (Database::create(), Database::create());
    db.connect().exec(&format!("{TABLES}; ALTER TABLE salary ADD UNIQUE (amount)"));
    let config = ProxyConfig { metadata_url: Some(meta.url()), ..ProxyConfig::postgres(&db.url()) };
    let proxy = Proxy::start(config);
    let mut root = proxy.connect("main");
    root.exec("SELECT * FROM epoch_register('public.*')");
    root.exec("SELECT epoch_commit('start', '--allow-empty')");
    root.exec("SELECT epoch_branch('m')");
    let mut m = proxy.connect("m");
    for (conn, id) in [(&mut m, 2), (&mut root, 3)] {
        conn.exec(&format!("INSERT INTO salary VALUES ({id}, 7000)"));
        conn.exec("SELECT epoch_commit('another')");
    }
    assert_eq!(root.err("SELECT epoch_merge('m')").code(), "23505");
    small_rights(&mut root);
    let listed = "SELECT count(*) FROM epoch.constraint_violations";
    assert_eq!(root.one(listed), "2", "both rows of the amount");
    assert_eq!(of(&proxy, "cat", "main").one(listed), "0");
}

#[test]
fn a_commit_of_some_tables_does_not_get_past_a_check() {
    need_postgres!();
    let (proxy, _db, _meta) = on_postgres();
    let mut root = proxy.connect("main");
    root.exec("SELECT epoch_grant('postgres', 'admin')");
    root.exec("SELECT epoch_branch('c')");
    root.exec("SELECT epoch_protect('c', '--check', 'SELECT (SELECT sum(balance) FROM account) = (SELECT sum(amount) / 10 FROM salary)')");
    let mut c = proxy.connect("c");
    c.exec("UPDATE account SET balance = 200");
    c.exec("UPDATE salary SET amount = 10000");
    let error = c.err("SELECT epoch_commit(message => 'part', tables => array['account'])");
    assert_eq!(error.code(), "0A000", "{error:?}");
    c.exec("SELECT epoch_commit('all')");
}

fn audit(proxy: &Proxy) {
    let mut root = proxy.connect("main");
    root.exec("SELECT epoch_commit('start', '--allow-empty')");
    root.exec("SELECT * FROM epoch_branch('dev')");
    assert_eq!(root.err("SELECT epoch_branch('dev')").code(), "42710");
    assert_eq!(root.err("SELECT epoch_register('x', 'postgresql://me:hunter2@h/t')").code().len(), 5);
    root.exec("SELECT * FROM epoch_branch()");
    root.exec("SELECT epoch_grant('postgres', 'admin')");
    root.exec("SELECT epoch_grant('ann', 'read', 'main')");
    denied(&mut of(proxy, "ann", "main"), &["SELECT epoch_tag('v1')"]);
    let found = root.lines(
        "SELECT user_name, operation, arguments, branch, result FROM epoch.audit \
         WHERE operation <> 'epoch_register' OR result <> 'ok' ORDER BY audit_id",
    );
    let expected = [
        "postgres|epoch_commit|'start', '--allow-empty'|main|ok",
        "postgres|epoch_branch|'dev'|main|ok",
        "postgres|epoch_branch|'dev'|main|42710",
    ];
    assert_eq!(found[..3], expected, "{found:?}");
    assert!(
        found[3].starts_with("postgres|epoch_register|'x', 'postgresql://me:***@h/t'|main|"),
        "{found:?}"
    );
    assert_eq!(
        found[4..],
        [
            "postgres|epoch_grant|'postgres', 'admin'|main|ok",
            "postgres|epoch_grant|'ann', 'read', 'main'|main|ok",
            "ann|epoch_tag|'v1'|main|42501"
        ]
    );
    assert!(!root.lines("SELECT * FROM epoch.audit").join("\n").contains("hunter2"));
    assert_eq!(root.lines("SELECT operation FROM epoch_audit('-n', '1')"), ["epoch_tag"]);
    assert!(root.one("SELECT client FROM epoch.audit LIMIT 1").starts_with("127.0.0.1:"));
}

#[test]
fn the_audit_tells_who_did_what_on_postgresql() {
    need_postgres!();
    let (proxy, _db, _meta) = on_postgres();
    audit(&proxy);
    let mut dev = proxy.connect("dev");
    dev.exec("CREATE TABLE made (id int PRIMARY KEY, secret text DEFAULT 'hunter3')");
    assert_eq!(dev.err("CREATE TABLE made (id int PRIMARY KEY)").code(), "42P07");
    let found = dev.lines("SELECT operation, arguments, branch, result FROM epoch_audit('-n', '2')");
    assert_eq!(found, ["CREATE TABLE|made|dev|42P07", "CREATE TABLE|made|dev|ok"]);
}

#[test]
fn the_audit_tells_who_did_what_on_sqlite() {
    audit(&on_sqlite(""));
}

#[test]
fn the_audit_survives_a_crash_in_the_middle_of_a_commit() {
    for (point, result, commits) in
        [("journal-written", "undone", "2"), ("all-sealed", "ok", "3"), ("published", "ok", "3")]
    {
        let mut proxy = on_sqlite("");
        proxy.connect("main").exec("SELECT epoch_commit('start', '--allow-empty')");
        proxy.restart(&[("EPOCH_FAILPOINT", point)]);
        let mut main = proxy.connect("main");
        main.exec("UPDATE account SET balance = 1 WHERE id = 1");
        main.send(&[common::conn::query("SELECT epoch_commit('crash')")]);
        assert!(proxy.await_end(std::time::Duration::from_secs(60)).is_some(), "{point}");
        proxy.restart(&[]);
        let mut main = proxy.connect("main");
        assert_eq!(main.one("SELECT count(*) FROM epoch.log"), commits, "{point}");
        let last = "SELECT arguments, result FROM epoch_audit('-n', '1')";
        assert_eq!(main.lines(last), [format!("'crash'|{result}")], "{point}");
    }
}

const HOOKS: &str = "
[hooks.solvent]
event = \"pre-commit\"
branches = \"main\"
sql = \"SELECT count(*) = 0 FROM account WHERE balance < 0\"
[hooks.office-hours]
event = \"pre-merge\"
command = \"test \\\"$EPOCH_SOURCE\\\" != late || { echo 'come back tomorrow' >&2; exit 1; }\"
[hooks.told]
event = \"post-merge\"
command = \"cat >> told.jsonl\"
[hooks.named]
event = \"pre-branch\"
branches = \"tmp*\"
command = \"exit 1\"
[hooks.slow]
event = \"pre-tag\"
command = \"sleep 60\"
timeout = 1
";

#[test]
fn hooks_have_a_say_and_are_told() {
    let proxy = on_sqlite(HOOKS);
    let mut main = proxy.connect("main");
    main.exec("SELECT epoch_commit('start', '--allow-empty')");
    main.exec("UPDATE account SET balance = -1 WHERE id = 1");
    let error = main.err("SELECT epoch_commit('a debt')");
    assert_eq!((error.code(), error.message()), ("P0001", "the assertion of hook \"solvent\" does not hold"));
    main.exec("UPDATE account SET balance = 1 WHERE id = 1");
    main.exec("SELECT epoch_commit('none')");
    assert_eq!(main.err("SELECT epoch_branch('tmp1')").code(), "P0001");
    assert_eq!(main.err("SELECT epoch_tag('v1')").message(), "the command took longer than 1 s");
    assert_eq!(main.lines("SELECT name FROM epoch.tags"), [] as [&str; 0]);
    for name in ["late", "early"] {
        main.exec(&format!("SELECT * FROM epoch_branch('{name}')"));
        let mut branch = proxy.connect(name);
        branch.exec("UPDATE account SET owner = 'x' WHERE id = 2");
        branch.exec("SELECT epoch_commit('x')");
    }
    let error = main.err("SELECT epoch_merge('late')");
    assert_eq!((error.code(), error.message()), ("P0001", "come back tomorrow"));
    let hash = main.lines("SELECT hash FROM epoch_merge('early')").remove(0);
    let told = std::fs::read_to_string(proxy.dir.path().join("told.jsonl")).unwrap();
    assert!(told.contains("\"event\":\"post-merge\"") && told.contains(&hash), "{told}");
    assert!(told.contains("\"user\":\"postgres\""), "{told}");
    assert_eq!(
        main.lines("SELECT hook, event, branch, result FROM epoch.hook_runs ORDER BY date"),
        [
            "solvent|pre-commit|main|ok",
            "solvent|pre-commit|main|refused",
            "solvent|pre-commit|main|ok",
            "named|pre-branch|tmp1|refused",
            "slow|pre-tag|v1|refused",
            "office-hours|pre-merge|main|refused",
            "office-hours|pre-merge|main|ok",
            "told|post-merge|main|ok",
        ]
    );
}

#[test]
fn webhooks_are_asked_before_a_tag_is_made() {
    use std::io::{Read, Write};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let served = std::thread::spawn(move || {
        let mut requests = Vec::new();
        for answer in
            ["HTTP/1.1 500 Oh\r\n\r\n", "HTTP/1.1 204 Yes\r\n\r\n", "HTTP/1.1 403 No\r\n\r\nnot you"]
        {
            let (mut tcp, _) = listener.accept().unwrap();
            let mut text = String::new();
            let mut part = [0; 4096];
            while !text.ends_with('}') {
                let n = tcp.read(&mut part).unwrap();
                text.push_str(std::str::from_utf8(&part[..n]).unwrap());
            }
            tcp.write_all(answer.as_bytes()).unwrap();
            requests.push(text);
        }
        requests
    });
    let proxy = on_sqlite(&format!(
        "[hooks.deploy]\nevent = \"pre-tag\"\nurl = \"http://{address}/x\"\nsecret = \"0123456789abcdef\"\n"
    ));
    let mut main = proxy.connect("main");
    main.exec("SELECT epoch_tag('v1')");
    let error = main.err("SELECT epoch_tag('v2')");
    assert_eq!((error.code(), error.message()), ("P0001", "not you"));
    assert_eq!(main.lines("SELECT name FROM epoch.tags"), ["v1"]);
    assert_eq!(
        main.lines("SELECT attempt, result FROM epoch.hook_runs ORDER BY date, attempt"),
        ["1|failed", "2|ok", "1|refused"]
    );
    let requests = served.join().unwrap();
    assert!(
        requests.iter().all(|r| r.contains("X-Epoch-Signature: sha256=") && !r.contains("0123456789abcdef"))
    );
    assert!(requests[2].contains("\"branch\":\"v2\""), "{}", requests[2]);
}
