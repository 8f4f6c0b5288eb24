//! The verbs of version control through the proxy: as statements, in joins, prepared, on both routes.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use common::Fixture;
use common::conn::Conn;
use common::proxy::{Proxy, ProxyConfig};

const ACCOUNTS: &str = "CREATE TABLE account (id int PRIMARY KEY, owner text NOT NULL, balance numeric(12,2) NOT NULL); \
                        INSERT INTO account SELECT i, 'owner ' || i, 100 FROM generate_series(1, 5) i";

/// Three commits on dev: 30 leave account 1, account 2 changes its owner, account 5 goes.
fn history(main: &mut Conn, dev: &mut Conn) {
    main.exec("SELECT epoch_commit('start', '--allow-empty')");
    for (sql, message) in [
        ("UPDATE account SET balance = balance - 30 WHERE id = 1", "withdraw"),
        ("UPDATE account SET owner = 'Ada' WHERE id = 2", "sell"),
        ("DELETE FROM account WHERE id = 5", "close"),
    ] {
        dev.exec(sql);
        dev.exec(&format!("SELECT epoch_commit('{message}')"));
    }
}

fn dev_of(main: &mut Conn, on: impl Fn(&str) -> Conn) -> Conn {
    main.exec("SELECT * FROM epoch_branch('dev')");
    on("dev")
}

/// What must be the same on both routes.
fn verbs(main: &mut Conn, on: &dyn Fn(&str) -> Conn) {
    let mut dev = dev_of(main, on);
    history(main, &mut dev);
    assert_eq!(main.lines("SELECT data_conflicts FROM epoch_cherry_pick('dev~2')"), ["0"]);
    assert_eq!(main.one("SELECT balance FROM account WHERE id = 1"), "70.00");
    // Reading functions join with tables, are filtered, and may be prepared.
    let joined = "SELECT a.owner, h.message FROM account a JOIN epoch_blame('account') b ON b.id = a.id \
                  JOIN epoch.log h ON h.commit_hash = b.commit_hash ORDER BY a.id";
    assert_eq!(main.lines(joined), ["owner 1|withdraw"]);
    assert_eq!(dev.lines(joined), ["owner 1|withdraw", "Ada|sell"]);
    let sql = "SELECT diff_type, owner FROM epoch_history('account') WHERE id = $1";
    for (id, expected) in [("2", &["modified|Ada"][..]), ("5", &["removed|owner 5"]), ("3", &[])] {
        let reply = dev.extended(sql, &[Some(id)], false);
        let rows: Vec<String> = reply
            .rows()
            .into_iter()
            .map(|row| row.into_iter().flatten().collect::<Vec<_>>().join("|"))
            .collect();
        assert_eq!(rows, expected, "{:?}", reply.error());
    }
    let key = dev.extended("SELECT balance FROM epoch_history('account', $1)", &[Some("1")], false);
    assert_eq!(key.rows(), [[Some("70.00".to_owned())]], "{:?}", key.error());
    let count =
        "SELECT _branch, count(*), sum(balance) FROM epoch_all_branches('account') GROUP BY 1 ORDER BY 1";
    assert_eq!(main.lines(count), ["dev|4|370.00", "main|5|470.00"]);
    assert_eq!(main.one("SELECT epoch_hashof_table('account') = epoch_hashof_table('account', 'HEAD')"), "t");
    // The first commit with fewer than five accounts.
    let bisect = "SELECT message FROM epoch_bisect('main', 'dev', 'SELECT count(*) = 5 FROM account')";
    assert_eq!(dev.lines(bisect), ["close"]);
    let wrong = "SELECT * FROM epoch_bisect('dev', 'main', 'SELECT count(*) = 5 FROM account')";
    assert_eq!(dev.err(wrong).code(), "22023");
    assert_eq!(dev.err("SELECT * FROM epoch_bisect('main', 'dev', 'SELECT 1')").code(), "22023");
    let write = "SELECT * FROM epoch_bisect('main', 'dev', 'DELETE FROM account')";
    assert_eq!(dev.err(write).code(), "25006");
    let tag = "SELECT tag FROM epoch_tag('v1', 'dev')";
    assert_eq!(main.one(tag), "v1");
    assert_eq!(on("v1").err("SELECT epoch_revert('HEAD')").code(), "25006");
    // Rebase: dev's first commit is on main already.
    assert_eq!(dev.lines("SELECT status FROM epoch_rebase('-i', 'main')"), ["planned"]);
    let plan = "SELECT rebase_order, action, commit_message FROM epoch.rebase_plan ORDER BY 1";
    assert_eq!(dev.lines(plan), ["1|pick|withdraw", "2|pick|sell", "3|pick|close"]);
    dev.exec("SELECT * FROM epoch_rebase_edit(3, 'reword', 'close account 5')");
    assert_eq!(dev.err("SELECT epoch_commit('no', '--allow-empty')").code(), "55000");
    assert_eq!(dev.lines("SELECT status FROM epoch_rebase('--continue')"), ["done"]);
    assert_eq!(dev.lines("SELECT message FROM epoch_log('main..dev')"), ["close account 5", "sell"]);
    dev.exec("UPDATE account SET owner = 'Bob' WHERE id = 3");
    assert_eq!(dev.lines("SELECT name, status FROM epoch_stash('push')"), ["stash@{0}|pushed"]);
    assert_eq!(dev.one("SELECT owner FROM account WHERE id = 3"), "owner 3");
    assert_eq!(dev.lines("SELECT status FROM epoch_stash('pop')"), ["popped"]);
    assert_eq!(dev.one("SELECT owner FROM account WHERE id = 3"), "Bob");
    assert_eq!(dev.lines("SELECT table_name, rows_modified FROM epoch.status"), ["account|1"]);
    dev.exec("SELECT epoch_commit('Bob')");
    let patch = "SELECT count(*) FROM epoch_patch('main', 'dev') WHERE statement LIKE 'UPDATE%'";
    assert_eq!(dev.one(patch), "2");
    assert_eq!(main.lines("SELECT fast_forward FROM epoch_promote('dev', 'main', '--tag', 'v2')"), ["t"]);
    assert_eq!(main.one("SELECT count(*) FROM account"), "4");
    main.exec("BEGIN");
    main.exec("UPDATE account SET owner = 'nobody' WHERE id = 4");
    assert_eq!(main.err("SELECT epoch_cherry_pick('dev')").code(), "25001");
    main.exec("ROLLBACK");
}

#[test]
fn verbs_work_on_postgresql() {
    need_postgres!();
    let shop = Fixture::registered(ACCOUNTS);
    verbs(&mut shop.main(), &|reference| shop.on(reference));
}

#[test]
fn verbs_work_on_sqlite() {
    let proxy = Proxy::start(ProxyConfig::embedded());
    let file = rusqlite::Connection::open(proxy.sqlite_path("shop")).unwrap();
    file.execute_batch(
        "CREATE TABLE account (id INTEGER PRIMARY KEY, owner TEXT NOT NULL, balance NUMERIC(12,2) NOT NULL); \
         INSERT INTO account VALUES (1, 'owner 1', 100), (2, 'owner 2', 100), (3, 'owner 3', 100), \
         (4, 'owner 4', 100), (5, 'owner 5', 100);",
    )
    .unwrap();
    let mut main = proxy.connect("main");
    main.exec("SELECT * FROM epoch_register('account', 'sqlite://shop/account')");
    verbs(&mut main, &|reference| proxy.connect(reference));
}

#[test]
fn tables_made_on_branches_are_picked_reverted_and_rebased() {
    need_postgres!();
    let shop = Fixture::registered(ACCOUNTS);
    let mut main = shop.main();
    main.exec("SELECT epoch_commit('start', '--allow-empty')");
    let (mut dev, mut other) = (shop.branch("dev"), shop.branch("other"));
    dev.exec("CREATE TABLE note (id int PRIMARY KEY, body text)");
    dev.exec("INSERT INTO note VALUES (1, 'made on dev')");
    dev.exec("SELECT epoch_commit('notes')");
    assert_eq!(dev.err("SELECT epoch_stash('push')").code(), "55000", "nothing to stash");
    let body = "SELECT body FROM note";
    other.exec("SELECT epoch_cherry_pick('dev')");
    assert_eq!(other.lines(body), ["made on dev"]);
    assert_eq!(main.err(body).code(), "42P01");
    other.exec("SELECT epoch_revert('HEAD')");
    assert_eq!(other.err(body).code(), "42P01");
    main.exec("UPDATE account SET balance = 1 WHERE id = 1");
    main.exec("SELECT epoch_commit('main goes on')");
    assert_eq!(dev.lines("SELECT status FROM epoch_rebase('main')"), ["done"]);
    assert_eq!(dev.lines(body), ["made on dev"]);
    assert_eq!(dev.one("SELECT balance FROM account WHERE id = 1"), "1.00");
    dev.exec("CREATE TABLE draft (id int PRIMARY KEY)");
    assert_eq!(dev.err("SELECT epoch_stash('push')").code(), "55000", "tables are not stashed");
    assert_eq!(dev.err("SELECT epoch_rebase('main')").code(), "55000", "nor rebased");
    dev.exec("DROP TABLE draft");
    main.exec("SELECT epoch_cherry_pick('dev')");
    assert_eq!(shop.direct().lines("SELECT body FROM public.note"), ["made on dev"]);
    assert_eq!(main.lines("SELECT message FROM epoch_log('-n', '1')"), ["notes"]);
}

#[test]
fn a_branch_ends_when_its_time_is_over_and_nobody_is_on_it() {
    let proxy = Proxy::start(ProxyConfig::embedded());
    let mut main = proxy.connect("main");
    main.exec("SELECT * FROM epoch_branch('used', ttl => '1 second')");
    main.exec("SELECT * FROM epoch_branch('unused', ttl => '1 second')");
    let used = proxy.connect("used");
    let names = "SELECT name FROM epoch.branches ORDER BY 1";
    let until = |main: &mut Conn, expected: &[&str]| {
        let started = std::time::Instant::now();
        while main.lines(names) != expected {
            assert!(started.elapsed().as_secs() < 60, "{:?}", main.lines(names));
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
    };
    until(&mut main, &["main", "used"]);
    used.terminate();
    until(&mut main, &["main"]);
    assert_eq!(main.lines("SELECT status FROM epoch_undrop('used')"), ["restored"]);
}

/// Asks again and again, because what isn't under way yet can't be cancelled.
fn cancelled(proxy: &Proxy, conn: &mut Conn, sql: &str) -> String {
    let (pid, secret) = conn.key.clone();
    let over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let length = 12 + u32::try_from(secret.len()).unwrap();
            let parts =
                [&length.to_be_bytes()[..], &80_877_102_u32.to_be_bytes(), &pid.to_be_bytes(), &secret];
            while !over.load(std::sync::atomic::Ordering::Relaxed) {
                Conn::raw("127.0.0.1", proxy.port).send_raw(&parts.concat()).unwrap();
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
        });
        let code = conn.err(sql).code().to_owned();
        over.store(true, std::sync::atomic::Ordering::Relaxed);
        code
    })
}

const ENDLESS: &str =
    "SELECT * FROM epoch_bisect('HEAD~1', 'HEAD', 'SELECT count(*) > 0 FROM w a, w b, w c, w e, w f')";

#[test]
fn a_bisect_could_not_be_cancelled() {
    let rows = "INSERT INTO w WITH RECURSIVE s(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM s WHERE i < 400) SELECT i FROM s;";
    let proxy = Proxy::start(ProxyConfig::embedded());
    let file = rusqlite::Connection::open(proxy.sqlite_path("shop")).unwrap();
    file.execute_batch(&format!("CREATE TABLE w (id INTEGER PRIMARY KEY); {rows}")).unwrap();
    let mut main = proxy.connect("main");
    main.exec("SELECT * FROM epoch_register('w', 'sqlite://shop/w')");
    main.exec("SELECT * FROM epoch_commit('start', '--allow-empty')");
    main.exec("SELECT * FROM epoch_commit('next', '--allow-empty')");
    assert_eq!(cancelled(&proxy, &mut main, ENDLESS), "57014");
    assert_eq!(main.one("SELECT count(*) FROM w"), "400", "the session goes on");
}

#[test]
fn a_bisect_could_not_be_cancelled_in_a_native_session() {
    need_postgres!();
    let shop = Fixture::registered(
        "CREATE TABLE w (id int PRIMARY KEY); INSERT INTO w SELECT generate_series(1, 400)",
    );
    let mut main = shop.main();
    main.exec("SELECT * FROM epoch_commit('start', '--allow-empty')");
    main.exec("SELECT * FROM epoch_commit('next', '--allow-empty')");
    assert_eq!(cancelled(&shop.proxy, &mut main, ENDLESS), "57014");
    assert_eq!(main.one("SELECT count(*) FROM w"), "400", "the session goes on");
}

/// A trigger of main's changed rows that a merge wrote: one commit had two contents, and nothing said so.
#[test]
fn what_triggers_of_main_make_of_a_merge_is_a_commit_of_its_own() {
    need_postgres!();
    let shop = Fixture::registered(
        "CREATE TABLE t (id int PRIMARY KEY, v text, at int); INSERT INTO t VALUES (1, 'one', 0), (2, 'two', 0), (3, 'three', 0); \
         CREATE TABLE seen (id int PRIMARY KEY); \
         CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN NEW.at = NEW.at + 1; RETURN NEW; END$$; \
         CREATE TRIGGER touch BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION touch(); \
         CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN INSERT INTO seen VALUES (NEW.id) ON CONFLICT DO NOTHING; RETURN NULL; END$$; \
         CREATE TRIGGER note AFTER INSERT OR UPDATE ON t FOR EACH ROW EXECUTE FUNCTION note()",
    );
    let (mut main, mut b) = (shop.main(), shop.branch("b"));
    let start = main.one("SELECT hash FROM epoch_commit('start', '--allow-empty')");
    // A new row is what it was to be: a fast-forward.
    b.exec("SELECT * FROM epoch_merge('main')");
    b.exec("INSERT INTO t VALUES (9, 'nine', 0)");
    let theirs = b.one("SELECT hash FROM epoch_commit('insert')");
    assert_eq!(main.lines("SELECT hash, fast_forward FROM epoch_merge('b')"), [format!("{theirs}|t")]);
    // What a trigger did elsewhere is main's, and isn't committed yet.
    assert_eq!(main.lines("SELECT table_name, change FROM epoch.status"), ["seen|modified"]);
    main.exec("SELECT * FROM epoch_commit('seen')");
    b.exec("SELECT * FROM epoch_merge('main')");

    b.exec("UPDATE t SET v = 'b' WHERE id = 1");
    let theirs = b.one("SELECT hash FROM epoch_commit('update')");
    let only = main.err("SELECT * FROM epoch_merge('b', '--ff-only')");
    assert_eq!(
        (only.code(), only.message()),
        ("55000", "triggers of table \"t\" change rows beside what is written")
    );
    assert_eq!(only.detail(), "Key (id)=(1) would not be as it is in the commit. Triggers: note, touch.");
    assert_eq!(main.lines("SELECT count(*) FROM epoch.status"), ["0"]);
    let reply = main.exec("SELECT * FROM epoch_merge('b')");
    let notices: Vec<String> = reply.essence().into_iter().filter(|m| m.starts_with("notice")).collect();
    assert_eq!(
        notices,
        ["notice triggers of main changed rows of the merge; its commit has them as they are now"]
    );
    let row: Vec<String> = reply.rows()[0].iter().flatten().cloned().collect();
    let merge = row[0].clone();
    assert_eq!(row[1..], ["f", "0", "merged"]);
    assert_ne!(merge, theirs);
    // Each position of each commit has the same rows, and whatever compares them says what differs.
    let t = "SELECT * FROM t WHERE id = 1";
    assert_eq!((main.lines(t), b.lines(t)), (vec!["1|b|1".to_owned()], vec!["1|b|0".to_owned()]));
    assert_eq!(shop.on(&theirs).lines(t), ["1|b|0"]);
    assert_eq!(shop.on(&merge).lines(t), ["1|b|1"]);
    assert_eq!(shop.branch("new").lines(t), ["1|b|1"]);
    assert_eq!(main.lines("SELECT from_at, to_at FROM epoch_diff('b', 'main', 't')"), ["0|1"]);
    assert_eq!(
        main.lines("SELECT message FROM epoch_log() LIMIT 2"),
        ["Merge branch 'b' into main", "update"]
    );
    // Again, and the other way round.
    b.exec("SELECT * FROM epoch_merge('main')");
    assert_eq!(b.lines(t), ["1|b|1"]);
    b.exec("UPDATE t SET v = 'c' WHERE id = 1");
    b.exec("SELECT epoch_commit('again')");
    main.exec("SELECT * FROM epoch_commit('the note', '--allow-empty')");
    assert_eq!(main.call("epoch_merge('b')", "conflicts"), ["0"]);
    assert_eq!(main.lines(t), ["1|c|2"]);

    // A commit can't be what main is reset to then; what no trigger touches can.
    let head = main.one("SELECT epoch_hashof('HEAD')");
    let reset = main.err(&format!("SELECT * FROM epoch_reset('--hard', '{start}')"));
    assert_eq!(reset.code(), "55000");
    main.exec("UPDATE t SET v = 'uncommitted' WHERE id = 2");
    assert_eq!(main.err("SELECT * FROM epoch_reset('--hard')").code(), "55000");
    assert_eq!(main.lines("SELECT id, v, at FROM t WHERE id = 2"), ["2|uncommitted|1"]);
    shop.direct().exec("ALTER TABLE t DISABLE TRIGGER touch");
    main.exec("SELECT * FROM epoch_reset('--hard')");
    assert_eq!(main.lines("SELECT id, v, at FROM t WHERE id = 2"), ["2|two|0"]);
    assert_eq!(main.one("SELECT epoch_hashof('HEAD')"), head);
}

/// The proxy ends between the two: what the seal found is kept with it.
#[test]
fn a_merge_that_triggers_changed_is_finished_as_its_own_commit() {
    need_postgres!();
    let mut shop = Fixture::registered(
        "CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'one'); CREATE TABLE log (v text); \
         CREATE FUNCTION up() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN INSERT INTO log VALUES (NEW.v); NEW.v = upper(NEW.v); RETURN NEW; END$$; \
         CREATE TRIGGER up BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION up(); ALTER TABLE log ADD PRIMARY KEY (v)",
    );
    let mut b = shop.branch("b");
    b.exec("UPDATE t SET v = 'b'");
    let theirs = b.one("SELECT hash FROM epoch_commit('b')");
    b.terminate();
    shop.dies("all-sealed", "main", "SELECT * FROM epoch_merge('b')");
    let mut main = shop.main();
    main.exec("SELECT * FROM epoch_commit('what the trigger logged')");
    let log = main.lines("SELECT message FROM epoch_log() LIMIT 3");
    assert_eq!(log[..2], ["what the trigger logged", "Merge branch 'b' into main"]);
    assert_eq!(main.lines("SELECT * FROM t"), ["1|B"]);
    assert_eq!(shop.on("HEAD~1").lines("SELECT * FROM t"), ["1|B"]);
    assert_eq!(shop.on(&theirs).lines("SELECT * FROM t"), ["1|b"]);
}

/// HEAD showed what no commit has, where every other function shows the commit.
#[test]
fn head_is_a_commit_and_a_branch_is_its_working_state() {
    need_postgres!();
    let f =
        Fixture::registered("CREATE TABLE t (id int PRIMARY KEY, a text); INSERT INTO t VALUES (1, 'one')");
    let mut main = f.main();
    main.exec("UPDATE t SET a = 'uncommitted'");
    for (reference, shown) in [("HEAD", "one"), ("HEAD~0", "one"), ("main", "uncommitted")] {
        assert_eq!(main.one(&format!("SELECT a FROM epoch_at('t', '{reference}')")), shown, "{reference}");
        let joined = format!("SELECT max(a) FROM epoch_at('t', '{reference}') x WHERE id > 0");
        assert_eq!(main.one(&joined), shown, "{reference}");
    }
}
