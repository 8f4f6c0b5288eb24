//! Which tables can be registered, what is put beside them and taken away again, types, constraints, drift and plans.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod common;

use common::*;
use epoch_adapter::{
    Adapter, Comparison, Layer, Leftover, LineageId, Predicate, RowWrite, Rule, Scan, Value, View,
};
use mysql_async::prelude::Queryable;

#[tokio::test(flavor = "multi_thread")]
async fn unregistering_leaves_the_database_as_it_was() {
    let db = database!(
        "CREATE TABLE `o\"d t` (`k\"1` INT NOT NULL, `select` VARCHAR(9) NOT NULL, g INT AS (`k\"1` * 2), PRIMARY KEY (`k\"1`, `select`), KEY g (g)); \
         CREATE TABLE s (id INT AUTO_INCREMENT PRIMARY KEY, t TIMESTAMP(6) DEFAULT CURRENT_TIMESTAMP(6), FULLTEXT f (x), x TEXT, CHECK (x <> 'no'))"
    );
    let before = db.dump().await;
    let odd = db.register(1, "o\"d t").await;
    let s = db.register(2, "s").await;
    db.adapter.install(&odd).await.unwrap();
    db.write(&odd, Layer::MAIN, &[RowWrite::Insert(vec![Some(int(1)), Some(text("x")), None])])
        .await
        .unwrap();
    assert_eq!(db.rows(&odd, View::MAIN).await, [[int(1), text("x"), int(2)]]);
    let dev = branch(2, 0);
    db.adapter.ensure_layer(&odd, dev, None).await.unwrap();
    assert_eq!(db.rows(&odd, working(dev)).await, Vec::<Vec<Value>>::new());
    assert!(db.dump().await.len() > before.len());
    db.adapter.uninstall(&odd).await.unwrap();
    db.adapter.uninstall(&s).await.unwrap();
    db.adapter.uninstall(&s).await.unwrap();
    db.run("DELETE FROM `o\"d t`").await;
    assert_eq!(db.dump().await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_registered_is_said_to_be_so() {
    let db = database!(
        "CREATE TABLE ok (id INT PRIMARY KEY); CREATE TABLE keyless (id INT); \
         CREATE TABLE myisam (id INT PRIMARY KEY) ENGINE = MyISAM; \
         CREATE TABLE child (id INT PRIMARY KEY, p INT, CONSTRAINT to_ok FOREIGN KEY (p) REFERENCES ok (id) ON DELETE CASCADE); \
         CREATE TABLE nulls (id INT PRIMARY KEY, p INT, CONSTRAINT too FOREIGN KEY (p) REFERENCES ok (id) ON UPDATE SET NULL); \
         CREATE TABLE shape (id INT PRIMARY KEY, g GEOMETRY); CREATE TABLE inexact (f FLOAT PRIMARY KEY); \
         CREATE TABLE parts (id INT PRIMARY KEY) PARTITION BY HASH (id) PARTITIONS 2; \
         CREATE TABLE ours (id INT PRIMARY KEY, epoch_x INT); CREATE VIEW v AS SELECT 1"
    );
    let found = db.adapter.discover("*").await.unwrap();
    let reason = |table: &str| {
        let one = found.iter().find(|d| d.location.table == table).unwrap_or_else(|| panic!("{table}"));
        one.reason.clone().unwrap_or_default()
    };
    assert_eq!(reason("ok"), "");
    assert!(reason("keyless").contains("no primary key"), "{}", reason("keyless"));
    assert!(reason("myisam").contains("MyISAM"));
    assert!(
        reason("child").contains("to_ok has ON DELETE CASCADE, which changes rows without firing triggers")
    );
    assert!(reason("nulls").contains("ON UPDATE SET NULL"));
    assert!(reason("shape").contains("geometry"));
    assert!(reason("inexact").contains("no primary key"));
    assert!(reason("parts").contains("partitioned"));
    assert!(reason("ours").contains("epoch_x"));
    assert!(found.iter().all(|d| d.location.table != "v"));
    for table in ["child", "myisam", "parts", "shape"] {
        let def = db.define(1, table, None).await.unwrap();
        assert_eq!(error(db.adapter.install(&def).await).code(), "0A000", "{table}");
    }
    // Nothing is left of what was refused.
    assert!(db.dump().await.iter().all(|text| !text.contains("epoch_registered")));
    assert_eq!(error(db.define(1, "nothere", None).await).code(), "42P01");
    assert_eq!(error(db.define(1, "keyless", None).await).code(), "42830");
    assert_eq!(error(db.define(1, "ok", Some(&["id", "x"])).await).code(), "42703");
}

/// Every type with its extremes: read from main, from a branch and from history, written to a branch, merged back.
#[tokio::test(flavor = "multi_thread")]
async fn every_type_goes_round() {
    let db = database!(
        "CREATE TABLE t (id INT PRIMARY KEY, ti TINYINT, tu TINYINT UNSIGNED, si SMALLINT, su SMALLINT UNSIGNED, \
         mi MEDIUMINT, mu MEDIUMINT UNSIGNED, i INT, iu INT UNSIGNED, bi BIGINT, bu BIGINT UNSIGNED, \
         d1 DECIMAL(10,2), d2 DECIMAL(38,10), d3 DECIMAL(65,30), f FLOAT, d DOUBLE, bo BOOLEAN, b1 BIT(1), b2 BIT(64), \
         y YEAR, da DATE, tm TIME(6), dt DATETIME(6), ts TIMESTAMP(6) NULL, c CHAR(5), vc VARCHAR(20), \
         la VARCHAR(20) CHARACTER SET latin1, tx LONGTEXT, bn BINARY(4), vb VARBINARY(10), bl LONGBLOB, \
         en ENUM('a', 'it''s', 'c'), se SET('x', 'y', 'z'), js JSON)"
    );
    let mut direct = db.client().await;
    direct.query_drop("SET time_zone = '+00:00', NAMES utf8mb4").await.unwrap();
    for sql in [
        "INSERT INTO t VALUES (1, -128, 255, -32768, 65535, -8388608, 16777215, -2147483648, 4294967295, -9223372036854775808, \
         18446744073709551615, -99999999.99, 9999999999999999999999999999.9999999999, \
         99999999999999999999999999999999999.999999999999999999999999999999, -3.4e38, 1.7976931348623157e308, TRUE, b'1', \
         18446744073709551615, 2155, '9999-12-31', '838:59:58.999999', '9999-12-31 23:59:59.999999', \
         '2038-01-19 03:14:07.999999', 'ab   ', 'Grüße 😀', 'Grüße', REPEAT('ü', 70000), x'00ff00', x'', x'00ff5c27', \
         'it''s', 'x,z', '{\"a\": [1, null, \"ü\"]}')",
        "INSERT INTO t VALUES (2, 127, 0, 32767, 0, 8388607, 0, 2147483647, 0, 9223372036854775807, 0, 0.01, \
         -0.0000000001, -0.000000000000000000000000000001, 1.17549435e-38, -5e-324, FALSE, b'0', 0, 1901, '1000-01-01', \
         '-838:59:59', '1000-01-01 00:00:00', '1970-01-01 00:00:01', '', '', '', '', x'', x'00', x'', 'a', '', '1')",
        "INSERT INTO t (id) VALUES (3)",
    ] {
        direct.query_drop(sql).await.unwrap();
    }
    let t = db.register(1, "t").await;
    let main = db.rows(&t, View::MAIN).await;
    let cell = |row: usize, name: &str| main[row][t.schema.index_of(name).unwrap()].clone();
    assert_eq!(cell(0, "bu"), text("18446744073709551615"));
    assert_eq!(cell(0, "b2"), text("18446744073709551615"));
    assert_eq!(cell(0, "d3"), text("99999999999999999999999999999999999.999999999999999999999999999999"));
    assert_eq!(cell(0, "tm"), text("838:59:58.999999"));
    assert_eq!(cell(1, "tm"), text("-838:59:59"));
    assert_eq!(cell(0, "ts"), text("2038-01-19 03:14:07.999999+00:00"));
    assert_eq!(cell(0, "vc"), text("Grüße 😀"));
    assert_eq!(cell(0, "bn"), Value::Blob(vec![0, 0xff, 0, 0]));
    assert_eq!(cell(0, "bl"), Value::Blob(vec![0, 0xff, 0x5c, 0x27]));
    assert_eq!(cell(1, "d"), Value::Real(-5e-324));
    assert_eq!(cell(0, "se"), text("x,z"));
    assert_eq!(cell(0, "ti"), int(-128));
    assert!(main[2][1..].iter().all(Value::is_null));

    // On a branch the same rows under other keys, written from what was read.
    let dev = branch(2, 0);
    db.adapter.ensure_layer(&t, dev, None).await.unwrap();
    let mut copies = Vec::new();
    for row in &main {
        let mut row: Vec<Value> = row.iter().map(written).collect();
        row[0] = match &row[0] {
            Value::Int(n) => int(n + 10),
            other => other.clone(),
        };
        copies.push(row);
    }
    db.write(&t, dev, &copies.iter().cloned().map(insert).collect::<Vec<_>>()).await.unwrap();
    // And each row of main set to itself, which copies it up.
    for (n, row) in main.iter().enumerate() {
        let set = row.iter().enumerate().skip(1).map(|(i, v)| (i, written(v))).collect();
        db.write(&t, dev, &[RowWrite::Update { key: vec![int(n as i64 + 1)], set }]).await.unwrap();
    }
    let seen = db.rows(&t, working(dev)).await;
    assert_eq!(seen[..3], main[..]);
    for (row, copy) in seen[3..].iter().zip(&main) {
        assert_eq!(row[1..], copy[1..]);
    }
    let sealed = db.seal(std::slice::from_ref(&t), dev, 1).await;
    assert_eq!(
        (sealed.tables[0].1.added, sealed.tables[0].1.modified),
        (3, 0),
        "setting rows to themselves is no change"
    );
    let changes = db.diff(&t, main_at(0), at(dev, 1), &[segment(2, 0, epoch_adapter::At::Ordinal(1))]).await;
    db.apply(&t, Layer::MAIN, 1, changes, epoch_adapter::SealMode::All).await.unwrap();
    assert_eq!(db.rows(&t, View::MAIN).await, seen);
    // In the server's own eyes, too.
    let same: Option<u64> = direct
        .query_first(
            "SELECT count(*) FROM t AS a JOIN t AS b ON b.id = a.id + 10 WHERE a.bu <=> b.bu AND a.d3 <=> b.d3 AND a.f <=> b.f \
             AND a.tm <=> b.tm AND a.ts <=> b.ts AND a.b2 <=> b.b2 AND a.bl <=> b.bl AND a.js <=> b.js AND a.en <=> b.en AND a.la <=> b.la",
        )
        .await
        .unwrap();
    assert_eq!(same, Some(3));
    // History has them when they are gone.
    direct.query_drop("DELETE FROM t").await.unwrap();
    assert_eq!(db.rows(&t, main_at(1)).await, seen);
}

/// As a value of a scan is written: moments of a `timestamp` without their offset.
fn written(value: &Value) -> Value {
    match value {
        Value::Text(t) => text(t.strip_suffix("+00:00").unwrap_or(t)),
        other => other.clone(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pushed_predicates_mean_what_postgresqls_do() {
    let db = database!(
        "CREATE TABLE t (id INT PRIMARY KEY, s VARCHAR(20) COLLATE utf8mb4_general_ci, bu BIGINT UNSIGNED, d DECIMAL(20,4), m DATETIME(3), e ENUM('b','a')); \
         INSERT INTO t VALUES (1, 'a', 18446744073709551615, 1.5, '2024-01-01 00:00:00.5', 'a'), (2, 'A', 18446744073709551614, 1.25, NULL, 'b'), \
         (3, 'a ', 0, 9007199254740993.0001, '2024-01-02', NULL), (4, NULL, NULL, NULL, NULL, NULL), (5, 'b', 1, 9007199254740993.0002, '2024-01-03', 'a')"
    );
    let t = db.register(1, "t").await;
    db.run("UPDATE t SET id = id + 0, d = d + 0").await;
    let column = |name: &str| t.schema.index_of(name).unwrap();
    use Comparison::{Eq, Gt, Lt, NotEq};
    let cases = [
        (Predicate::Compare(column("s"), Eq, text("a")), vec![1]),
        (Predicate::Compare(column("s"), Gt, text("A")), vec![1, 3, 5]),
        (Predicate::Compare(column("s"), NotEq, text("a")), vec![2, 3, 5]),
        (Predicate::In(column("s"), vec![text("A"), text("b")]), vec![2, 5]),
        (Predicate::Compare(column("bu"), Eq, text("18446744073709551615")), vec![1]),
        (Predicate::Compare(column("bu"), Lt, text("18446744073709551615")), vec![2, 3, 5]),
        (Predicate::Compare(column("d"), Eq, text("9007199254740993.0002")), vec![5]),
        (Predicate::In(column("d"), vec![text("1.5000"), text("1.2500")]), vec![1, 2]),
        (Predicate::Compare(column("m"), Gt, text("2024-01-01 00:00:00.499")), vec![1, 3, 5]),
        (Predicate::Compare(column("e"), Eq, text("a")), vec![1, 5]),
        (Predicate::Compare(column("e"), Lt, text("b")), vec![1, 5]),
        (Predicate::IsNull(column("s")), vec![4]),
        (
            Predicate::Or(vec![Predicate::IsNull(column("e")), Predicate::Compare(0, Eq, int(2))]),
            vec![2, 3, 4],
        ),
    ];
    for view in [View::MAIN, working(branch(2, 0)), main_at(0)] {
        for (predicate, expected) in &cases {
            assert!(db.adapter.supports(&t, predicate), "{predicate:?}");
            let scan = Scan { projection: Some(vec![0]), filters: vec![predicate.clone()], limit: None };
            let expected: Vec<_> = expected.iter().map(|id| vec![int(*id)]).collect();
            assert_eq!(db.scan(&t, view, &scan).await.unwrap(), expected, "{predicate:?} in {view:?}");
        }
    }
    let limited = Scan { limit: Some(2), ..Scan::default() };
    assert_eq!(db.scan(&t, working(branch(2, 0)), &limited).await.unwrap().len(), 2);
    let none = Scan { projection: Some(vec![]), ..Scan::default() };
    assert_eq!(db.scan(&t, View::MAIN, &none).await.unwrap().len(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn constraints_hold_on_a_branch_as_on_main() {
    let db = database!(
        "CREATE TABLE p (id INT PRIMARY KEY, name VARCHAR(20) NOT NULL UNIQUE); \
         CREATE TABLE c (id INT AUTO_INCREMENT PRIMARY KEY, p INT, n INT CHECK (n < 10), \
           CONSTRAINT c_p FOREIGN KEY (p) REFERENCES p (id), CONSTRAINT low CHECK (n > -10)); \
         INSERT INTO p VALUES (1, 'a'), (2, 'b'); INSERT INTO c VALUES (1, 1, 1)"
    );
    let (p, c) = (db.register(1, "p").await, db.register(2, "c").await);
    assert_eq!(db.adapter.related(&p).await.unwrap(), [c.id]);
    let dev = branch(2, 0);
    for table in [&p, &c] {
        db.adapter.ensure_layer(table, dev, None).await.unwrap();
    }
    let row = |cells: [Option<Value>; 3]| RowWrite::Insert(cells.into());
    for layer in [Layer::MAIN, dev] {
        let fails = |table: std::sync::Arc<epoch_adapter::TableDef>, write: RowWrite| {
            let db = &db;
            async move { error(db.write(&table, layer, &[write]).await) }
        };
        let e = fails(p.clone(), insert(vec![int(1), text("x")])).await;
        assert_eq!(
            (e.code(), e.constraint(), e.detail()),
            ("23505", Some("p_pkey"), Some("Key (id)=(1) already exists.")),
            "{layer:?}"
        );
        let e = fails(p.clone(), insert(vec![int(9), text("A")])).await;
        assert_eq!((e.code(), e.constraint()), ("23505", Some("name")), "{layer:?}");
        let e = fails(p.clone(), RowWrite::Insert(vec![Some(int(9)), None])).await;
        assert_eq!((e.code(), e.column()), ("23502", Some("name")), "{layer:?}");
        let e = fails(p.clone(), insert(vec![int(9), Value::Null])).await;
        assert_eq!((e.code(), e.column()), ("23502", Some("name")), "{layer:?}");
        let e = fails(c.clone(), row([None, Some(int(1)), Some(int(10))])).await;
        assert_eq!((e.code(), e.constraint()), ("23514", Some("c_n_check")), "{layer:?}");
        let e = fails(c.clone(), row([None, Some(int(1)), Some(int(-10))])).await;
        assert_eq!((e.code(), e.constraint()), ("23514", Some("low")), "{layer:?}");
        let e = fails(c.clone(), row([None, Some(int(7)), None])).await;
        assert_eq!((e.code(), e.constraint()), ("23503", Some("c_p")), "{layer:?}");
        assert_eq!(e.detail(), Some("Key (p)=(7) is not present in table \"p\"."), "{layer:?}");
        let e = fails(p.clone(), delete(1)).await;
        assert_eq!((e.code(), e.constraint()), ("23503", Some("c_p")), "{layer:?}");
        assert_eq!(e.detail(), Some("Key (id)=(1) is still referenced from table \"c\"."), "{layer:?}");
        let e = fails(p.clone(), update(1, 0, int(5))).await;
        assert_eq!((e.code(), e.constraint()), ("23503", Some("c_p")), "{layer:?}");
        let e = fails(p.clone(), update(1, 1, text("a name that is longer than twenty"))).await;
        assert_eq!(e.code(), "22001", "{layer:?}");
    }
    // Numbers that branches give and main's own ones differ.
    let mut tx = db.adapter.begin().await.unwrap();
    let new = tx
        .write_returning(&c, dev, &[row([None, Some(int(2)), None]), row([None, None, None])])
        .await
        .unwrap();
    tx.commit().await.unwrap();
    // Refused rows took numbers, too.
    let Value::Int(first) = new[0][0] else { panic!("{new:?}") };
    assert_eq!(new, [[int(first), int(2), Value::Null], [int(first + 1), Value::Null, Value::Null]]);
    let mut tx = db.adapter.begin().await.unwrap();
    let new = tx.write_returning(&c, Layer::MAIN, &[row([None, None, None])]).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(new[0][0], int(first + 2));
    assert_eq!(db.adapter.violations(&c, &working(dev), &[(p.clone(), working(dev))], 10).await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_break_constraints_are_found() {
    let db = database!(
        "CREATE TABLE p (id INT PRIMARY KEY); CREATE TABLE c (id INT PRIMARY KEY, u VARCHAR(9), p INT, n INT, UNIQUE uu (u), \
         CONSTRAINT c_p FOREIGN KEY (p) REFERENCES p (id), CONSTRAINT small CHECK (n < 10)); INSERT INTO p VALUES (1)"
    );
    let (p, c) = (db.register(1, "p").await, db.register(2, "c").await);
    db.run("INSERT INTO c VALUES (1, 'a', 1, 1), (2, 'b', 1, 2)").await;
    // Past all checks, as a restored dump might be.
    db.run(
        "SET foreign_key_checks = 0, check_constraint_checks = 0; UPDATE c SET p = 9, n = 99 WHERE id = 2",
    )
    .await;
    let others = [(p.clone(), View::MAIN)];
    let found = db.adapter.violations(&c, &View::MAIN, &others, 10).await.unwrap();
    let rules: Vec<_> = found.iter().map(|v| (v.rule, v.constraint.as_str(), v.key.clone())).collect();
    assert_eq!(rules, [(Rule::Check, "small", vec![int(2)]), (Rule::ForeignKey, "c_p", vec![int(2)])]);
    assert_eq!(db.adapter.violations(&c, &View::MAIN, &others, 1).await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happens_past_us_is_drift() {
    let setup = "CREATE TABLE t (id INT PRIMARY KEY, v INT); INSERT INTO t VALUES (1, 1), (2, 2)";
    let cases = [
        ("TRUNCATE t", "truncated"),
        ("TRUNCATE t; INSERT INTO t VALUES (1, 1)", "truncated"),
        ("ALTER TABLE t ADD COLUMN w INT", "column \"w\" was added"),
        ("ALTER TABLE t MODIFY v BIGINT", "has the type"),
        ("ALTER TABLE t CHANGE v w INT", "dropped or renamed"),
        ("ALTER TABLE t DROP PRIMARY KEY", "no longer unique"),
        ("DROP TRIGGER epoch_capture_1_update", "was dropped"),
        ("RENAME TABLE t TO other", "dropped or renamed"),
    ];
    for (sql, expected) in cases {
        let db = database!(setup);
        let t = db.register(1, "t").await;
        assert_eq!(db.adapter.drift(std::slice::from_ref(&t)).await.unwrap(), []);
        db.run(sql).await;
        let drift = db.adapter.drift(std::slice::from_ref(&t)).await.unwrap();
        assert!(drift.first().is_some_and(|(_, why)| why.contains(expected)), "{sql}: {drift:?}");
        let dev = working(branch(2, 0));
        let code = error(db.scan(&t, dev, &Scan::default()).await).code().to_owned();
        assert!(["55000", "42P01"].contains(&code.as_str()), "{sql}: {code}");
        let seal = db
            .adapter
            .seal("x", std::slice::from_ref(&t), Layer::MAIN, 1, &[], epoch_adapter::SealMode::All)
            .await;
        assert!(["55000", "42P01"].contains(&error(seal).code()), "{sql}");
        // It can be unregistered all the same.
        db.adapter.uninstall(&t).await.unwrap();
    }
    // What keeps all rows and our triggers is none.
    let db = database!(setup);
    let t = db.register(1, "t").await;
    let before = db.rows(&t, View::MAIN).await;
    db.run("OPTIMIZE TABLE t").await;
    db.run("ALTER TABLE t ADD INDEX vv (v), ENGINE = InnoDB").await;
    db.run("CREATE TRIGGER own BEFORE UPDATE ON t FOR EACH ROW SET NEW.v = NEW.v + 1").await;
    assert_eq!(db.adapter.drift(std::slice::from_ref(&t)).await.unwrap(), []);
    db.run("UPDATE t SET v = 10").await;
    assert_eq!(db.rows(&t, working(branch(2, 0))).await, before);
    assert_eq!(db.rows(&t, View::MAIN).await, [[int(1), int(11)], [int(2), int(11)]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_goes_and_what_is_seen_stays() {
    let db = database!("CREATE TABLE t (id INT PRIMARY KEY, v INT); INSERT INTO t VALUES (1, 0), (2, 0)");
    let t = db.register(1, "t").await;
    for ordinal in 1..=4 {
        db.run(&format!("UPDATE t SET v = {ordinal}")).await;
        db.seal(std::slice::from_ref(&t), Layer::MAIN, ordinal).await;
    }
    let dev = branch(2, 2);
    db.adapter.ensure_layer(&t, dev, None).await.unwrap();
    db.write(&t, dev, &[update(1, 1, int(9))]).await.unwrap();
    let holes = Leftover::Holes(LineageId::MAIN, vec![(1, 2), (3, 4)]);
    assert!(db.adapter.measure(&t, &holes).await.unwrap() > 0);
    assert_eq!(db.adapter.remove(&t, &holes, 3).await.unwrap(), 3);
    assert_eq!(db.adapter.remove(&t, &holes, 3).await.unwrap(), 1);
    assert_eq!(db.adapter.measure(&t, &holes).await.unwrap(), 0);
    for ordinal in [0, 2, 4] {
        assert_eq!(db.rows(&t, main_at(ordinal)).await[0], [int(1), int(ordinal)]);
    }
    assert_eq!(db.rows(&t, working(dev)).await, [[int(1), int(9)], [int(2), int(2)]]);
    let all = Leftover::Lineage(dev.lineage);
    while db.adapter.remove(&t, &all, 2).await.unwrap() == 2 {}
    assert_eq!(db.adapter.measure(&t, &all).await.unwrap(), 0);
    db.adapter.forget_lineages(&[dev.lineage]).await.unwrap();
    assert_eq!(db.rows(&t, View::MAIN).await, [[int(1), int(4)], [int(2), int(4)]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_repositorys_database_is_left_alone() {
    let db = database!("CREATE TABLE t (id INT PRIMARY KEY); CREATE TABLE s (id INT PRIMARY KEY)");
    db.adapter.belong_to("ours");
    let t = db.register(1, "t").await;
    let other = epoch_adapter_mysql::MysqlAdapter::new("shop", &db.url, 2).unwrap();
    other.belong_to("theirs");
    let s = db.define(1, "s", None).await.unwrap();
    assert_eq!(error(other.install(&s).await).code(), "55006");
    other.uninstall(&t).await.unwrap();
    assert_eq!(db.adapter.drift(&[t]).await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_not_there_is_said_to_be_so() {
    let adapter =
        epoch_adapter_mysql::MysqlAdapter::new("gone", "mysql://u:hunter2@127.0.0.1:1/x", 2).unwrap();
    let e = error(adapter.health().await);
    assert_eq!(e.code(), "08001");
    assert!(!format!("{e:?}").contains("hunter2"));
    let db = database!("SELECT 1");
    let health = db.adapter.health().await.unwrap();
    assert!(health.version.contains('.') && health.connections.1 == 8);
}
