//! Which tables can be registered, what is put beside them and taken away again, types, constraints, drift.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod common;

use common::*;
use epoch_adapter::{
    Adapter, At, Comparison, Layer, Leftover, LineageId, Predicate, RowWrite, Rule, Scan, SealMode, Value,
    View,
};

#[tokio::test(flavor = "multi_thread")]
async fn unregistering_leaves_the_database_as_it_was() {
    let db = database!(
        "CREATE TABLE [o]]d 't] ([k\"1] int NOT NULL, [sel?ect] nvarchar(9) NOT NULL, g AS ([k\"1] * 2), \
           CONSTRAINT [pk ]]1] PRIMARY KEY ([k\"1], [sel?ect])); CREATE INDEX g ON [o]]d 't] (g); \
         CREATE TABLE s (id int IDENTITY PRIMARY KEY, t datetime2 DEFAULT SYSUTCDATETIME(), x nvarchar(max), CHECK (x <> 'no'))"
    );
    let before = db.dump().await;
    let odd = db.register(1, "o]d 't").await;
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
    assert_eq!(db.dump().await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_registered_is_said_to_be_so() {
    let db = database!(
        "CREATE TABLE ok (id int PRIMARY KEY); CREATE TABLE keyless (id int); \
         CREATE TABLE child (id int PRIMARY KEY, p int CONSTRAINT to_ok REFERENCES ok (id) ON DELETE CASCADE); \
         CREATE TABLE versioned (id int PRIMARY KEY, r rowversion); CREATE TABLE inexact (f float PRIMARY KEY); \
         CREATE TABLE variant (id int PRIMARY KEY, v sql_variant); CREATE TABLE ours (id int PRIMARY KEY, epoch_x int); \
         CREATE TABLE fine_grained (at datetime2(7) PRIMARY KEY)"
    );
    let found = db.adapter.discover("*").await.unwrap();
    let reason = |table: &str| {
        let one = found.iter().find(|d| d.location.table == table).unwrap_or_else(|| panic!("{table}"));
        one.reason.clone().unwrap_or_default()
    };
    assert_eq!(reason("ok"), "");
    assert!(reason("keyless").contains("no primary key"), "{}", reason("keyless"));
    assert!(reason("child").contains("to_ok has ON DELETE CASCADE, which branches don't carry out"));
    assert!(reason("versioned").contains("has the type"), "{}", reason("versioned"));
    assert!(reason("variant").contains("sql_variant"));
    assert!(
        reason("inexact").contains("no primary key") && reason("fine_grained").contains("no primary key")
    );
    assert!(reason("ours").contains("epoch_x"));
    for table in ["child", "versioned", "variant"] {
        let def = db.define(1, table, None).await.unwrap();
        assert_eq!(error(db.adapter.install(&def).await).code(), "0A000", "{table}");
    }
    // Nothing is left of what was refused.
    assert!(db.dump().await.iter().all(|text| !text.contains("epoch.") && !text.contains("schema")));
    assert_eq!(error(db.define(1, "nothere", None).await).code(), "42P01");
    assert_eq!(error(db.define(1, "keyless", None).await).code(), "42830");
    assert_eq!(error(db.define(1, "ok", Some(&["id", "x"])).await).code(), "42703");
}

/// Every type with its extremes: read from main, from a branch and from history, written to a branch, merged back.
#[tokio::test(flavor = "multi_thread")]
async fn every_type_goes_round() {
    let db = database!(
        "CREATE TABLE t (id int PRIMARY KEY, ti tinyint, si smallint, i int, bi bigint, b bit, r real, f float, d1 decimal(10,2), \
         d2 numeric(38,10), m money, sm smallmoney, da date, tm time(7), t0 time(0), d7 datetime2(7), d3 datetime2(3), dt datetime, \
         sd smalldatetime, dto datetimeoffset(7), c char(5) COLLATE Latin1_General_CI_AS, vc varchar(20) COLLATE Latin1_General_CI_AS, \
         vm varchar(max), nc nchar(5), nv nvarchar(20), nm nvarchar(max), bn binary(4), vb varbinary(10), vx varbinary(max), \
         u uniqueidentifier, x xml)"
    );
    for sql in [
        "INSERT INTO t VALUES (1, 255, -32768, -2147483648, -9223372036854775808, 1, -3.4E38, 1.7976931348623157E308, -99999999.99, \
         9999999999999999999999999999.9999999999, 922337203685477.5807, -214748.3648, '9999-12-31', '23:59:59.9999999', '23:59:59', \
         '9999-12-31T23:59:59.9999999', '2024-02-29T12:00:00.123', '9999-12-31T23:59:59.997', '2079-06-06T23:59:00', \
         '2024-02-29T12:00:00.1234567+05:30', 'ab', 'Grüße', REPLICATE(CAST('x' AS varchar(max)), 20000), N'ab', N'Grüße 😀', \
         REPLICATE(CAST(N'ü' AS nvarchar(max)), 20000), 0x00FF, 0x, 0x00FF5C27, '6F9619FF-8B86-D011-B42D-00C04FC964FF', '<a b=\"1\">ü</a>')",
        "INSERT INTO t VALUES (2, 0, 32767, 2147483647, 9223372036854775807, 0, 1.18E-38, -2.23E-308, 0.01, -0.0000000001, -922337203685477.5808, \
         214748.3647, '0001-01-01', '00:00:00', '00:00:00', '0001-01-01', '1970-01-01', '1753-01-01', '1900-01-01', \
         '0001-01-02T00:00:00-14:00', '', '', '', N'', N'', N'', 0x00, 0x00, 0x, '00000000-0000-0000-0000-000000000000', '')",
        "INSERT INTO t (id) VALUES (3)",
    ] {
        db.run(sql).await;
    }
    let t = db.register(1, "t").await;
    let main = db.rows(&t, View::MAIN).await;
    let cell = |row: usize, name: &str| main[row][t.schema.index_of(name).unwrap()].clone();
    assert_eq!(cell(0, "m"), text("922337203685477.5807"));
    assert_eq!(cell(0, "d2"), text("9999999999999999999999999999.9999999999"));
    assert_eq!(cell(0, "tm"), text("23:59:59.999999"));
    assert_eq!(cell(0, "d7"), text("9999-12-31 23:59:59.999999"));
    assert_eq!(cell(0, "dt"), text("9999-12-31 23:59:59.997"));
    assert_eq!(cell(0, "dto"), text("2024-02-29 06:30:00.123456+00:00"));
    assert_eq!((cell(0, "c"), cell(0, "vc"), cell(0, "nv")), (text("ab"), text("Grüße"), text("Grüße 😀")));
    assert_eq!(cell(0, "bn"), Value::Blob(vec![0, 0xff, 0, 0]));
    assert_eq!(cell(0, "u"), text("6f9619ff-8b86-d011-b42d-00c04fc964ff"));
    assert!(main[2][1..].iter().all(Value::is_null));
    // The whole of it is copied up, committed, merged and kept in history.
    let dev = branch(2, 0);
    db.adapter.ensure_layer(&t, dev, None).await.unwrap();
    let n = t.schema.index_of("i").unwrap();
    let writes: Vec<_> = (1..=3).map(|id| update(id, n, int(id * 7))).collect();
    db.write(&t, dev, &writes).await.unwrap();
    let seen = db.rows(&t, working(dev)).await;
    for (row, before) in seen.iter().zip(&main) {
        let others = |r: &Vec<Value>| {
            r.iter().enumerate().filter(|(i, _)| *i != n).map(|(_, v)| v.clone()).collect::<Vec<_>>()
        };
        assert_eq!(others(row), others(before));
    }
    // And rows that are written as they were read, under other keys.
    let copies: Vec<_> = main
        .iter()
        .map(|row| {
            let Value::Int(id) = row[0] else { panic!() };
            insert(std::iter::once(int(id + 10)).chain(row[1..].iter().cloned()).collect())
        })
        .collect();
    db.write(&t, dev, &copies).await.unwrap();
    let seen = db.rows(&t, working(dev)).await;
    for (copy, row) in seen[3..].iter().zip(&main) {
        assert_eq!(copy[1..], row[1..]);
    }
    db.seal(std::slice::from_ref(&t), dev, 1).await;
    let changes = db.diff(&t, main_at(0), at(dev, 1), &[segment(2, 0, At::Ordinal(1))]).await;
    assert_eq!(changes.len(), 6);
    db.apply(&t, Layer::MAIN, 1, changes, SealMode::All).await.unwrap();
    assert_eq!(db.rows(&t, View::MAIN).await, seen);
    // What isn't shown wasn't lost on the way.
    let kept =
        "SELECT CONVERT(nvarchar(40), d7, 121) + N' ' + CONVERT(nvarchar(40), dto, 121) FROM t WHERE id = 1";
    assert_eq!(db.texts(kept).await, ["9999-12-31 23:59:59.9999999 2024-02-29 12:00:00.1234567 +05:30"]);
    db.run("DELETE FROM t").await;
    assert_eq!(db.rows(&t, main_at(1)).await, seen);
}

#[tokio::test(flavor = "multi_thread")]
async fn characters_that_a_code_page_does_not_have_are_refused() {
    let db = database!(
        "CREATE TABLE t (id int PRIMARY KEY, v varchar(20) COLLATE Latin1_General_CI_AS, n nvarchar(20))"
    );
    let t = db.register(1, "t").await;
    let dev = branch(2, 0);
    for layer in [Layer::MAIN, dev] {
        db.write(&t, layer, &[insert(vec![int(1), text("Grüße"), text("漢")])]).await.unwrap();
        let e = error(db.write(&t, layer, &[insert(vec![int(2), text("漢"), text("漢")])]).await);
        assert_eq!((e.code(), e.column()), ("22P05", Some("v")), "{layer:?}");
        let e = error(db.write(&t, layer, &[update(1, 1, text("漢"))]).await);
        assert_eq!(e.code(), "22P05", "{layer:?}");
        assert_eq!(db.rows(&t, working(layer)).await, [[int(1), text("Grüße"), text("漢")]]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pushed_predicates_mean_what_postgresqls_do() {
    let db = database!(
        "CREATE TABLE t (id int PRIMARY KEY, s nvarchar(20) COLLATE Latin1_General_CI_AS, c varchar(5) COLLATE Latin1_General_CI_AS, \
         d decimal(20,4), m datetime2(3), b varbinary(9)); \
         INSERT INTO t VALUES (1, N'a', 'a', 1.5, '2024-01-01T00:00:00.5', 0x01), (2, N'A', 'A', 1.25, NULL, 0x0100), \
         (3, N'a ', 'a ', 9007199254740993.0001, '2024-01-02', NULL), (4, NULL, NULL, NULL, NULL, NULL), \
         (5, N'b', 'b', 9007199254740993.0002, '2024-01-03', 0x)"
    );
    let t = db.register(1, "t").await;
    db.run("UPDATE t SET d = d + 0").await;
    let column = |name: &str| t.schema.index_of(name).unwrap();
    use Comparison::{Eq, Gt};
    let cases = [
        (Predicate::Compare(column("s"), Eq, text("a")), vec![1]),
        (Predicate::Compare(column("s"), Eq, text("a ")), vec![3]),
        (Predicate::Compare(column("c"), Eq, text("A")), vec![2]),
        (Predicate::Compare(column("c"), Eq, text("漢")), vec![]),
        (Predicate::In(column("s"), vec![text("A"), text("b")]), vec![2, 5]),
        (Predicate::Compare(column("d"), Eq, text("9007199254740993.0002")), vec![5]),
        (Predicate::In(column("d"), vec![text("1.5000"), text("1.2500")]), vec![1, 2]),
        (Predicate::Compare(column("m"), Gt, text("2024-01-01 00:00:00.499")), vec![1, 3, 5]),
        (Predicate::Compare(column("b"), Eq, Value::Blob(vec![1])), vec![1]),
        (Predicate::IsNull(column("s")), vec![4]),
        (
            Predicate::Or(vec![Predicate::IsNull(column("m")), Predicate::Compare(0, Eq, int(1))]),
            vec![1, 2, 4],
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
    let none = Scan { projection: Some(vec![]), ..Scan::default() };
    assert_eq!(db.scan(&t, View::MAIN, &none).await.unwrap().len(), 5);
    let limited = Scan { limit: Some(2), ..Scan::default() };
    assert_eq!(db.scan(&t, View::MAIN, &limited).await.unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn constraints_hold_on_a_branch_as_on_main() {
    let db = database!(
        "CREATE TABLE p (id int CONSTRAINT p_pk PRIMARY KEY, name nvarchar(20) COLLATE Latin1_General_CI_AS NOT NULL CONSTRAINT p_name UNIQUE); \
         CREATE TABLE c (id int IDENTITY CONSTRAINT c_pk PRIMARY KEY, p int CONSTRAINT c_p REFERENCES p (id), n int CONSTRAINT low CHECK (n < 10)); \
         INSERT INTO p VALUES (1, N'a'), (2, N'b'); INSERT INTO c (p, n) VALUES (1, 1)"
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
            ("23505", Some("p_pk"), Some("Key (id)=(1) already exists.")),
            "{layer:?}"
        );
        let e = fails(p.clone(), insert(vec![int(9), text("A")])).await;
        assert_eq!((e.code(), e.constraint()), ("23505", Some("p_name")), "{layer:?}");
        let e = fails(p.clone(), insert(vec![int(9), Value::Null])).await;
        assert_eq!((e.code(), e.column()), ("23502", Some("name")), "{layer:?}");
        let e = fails(c.clone(), row([None, Some(int(1)), Some(int(10))])).await;
        assert_eq!((e.code(), e.constraint()), ("23514", Some("low")), "{layer:?}");
        let e = fails(c.clone(), row([None, Some(int(7)), None])).await;
        assert_eq!((e.code(), e.constraint()), ("23503", Some("c_p")), "{layer:?}");
        assert_eq!(e.detail(), Some("Key (p)=(7) is not present in table \"p\"."), "{layer:?}");
        let e = fails(p.clone(), delete(1)).await;
        assert_eq!((e.code(), e.constraint()), ("23503", Some("c_p")), "{layer:?}");
        assert_eq!(e.detail(), Some("Key (id)=(1) is still referenced from table \"c\"."), "{layer:?}");
        let e = fails(p.clone(), update(1, 1, text("a name that is longer than twenty"))).await;
        assert_eq!(e.code(), "22001", "{layer:?}");
        let e = fails(c.clone(), update(1, 0, int(99))).await;
        assert_eq!((e.code(), e.column()), ("428C9", Some("id")), "{layer:?}");
    }
    // Numbers that branches give and main's own ones differ.
    let mut tx = db.adapter.begin().await.unwrap();
    let new = tx.write_returning(&c, dev, &[row([None, Some(int(2)), None])]).await.unwrap();
    tx.commit().await.unwrap();
    let Value::Int(first) = new[0][0] else { panic!("{new:?}") };
    let mut tx = db.adapter.begin().await.unwrap();
    let new = tx.write_returning(&c, Layer::MAIN, &[row([None, None, None])]).await.unwrap();
    tx.commit().await.unwrap();
    assert!(matches!(new[0][0], Value::Int(n) if n > first), "{new:?}");
    assert_eq!(db.adapter.violations(&c, &working(dev), &[(p.clone(), working(dev))], 10).await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_of_a_column_that_counts_down_are_given_once() {
    let db = database!(
        "CREATE TABLE t (id int IDENTITY (-1, -1) PRIMARY KEY, v int); INSERT INTO t (v) VALUES (1), (2), (3)"
    );
    let t = db.register(1, "t").await;
    let row = || RowWrite::Insert(vec![None, Some(int(0))]);
    for layer in [branch(2, 0), branch(3, 0), Layer::MAIN] {
        db.write(&t, layer, &[row(), row()]).await.unwrap();
    }
    for layer in [branch(2, 0), branch(3, 0), Layer::MAIN] {
        assert_eq!(db.rows(&t, working(layer)).await.len(), 5, "{layer:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn merges_bring_tables_that_refer_to_each_other() {
    let db = database!(
        "CREATE TABLE p (id int PRIMARY KEY, v int); CREATE TABLE c (id int PRIMARY KEY, p int REFERENCES p (id)); \
         INSERT INTO p VALUES (1, 1); INSERT INTO c VALUES (1, 1)"
    );
    let (p, c) = (db.register(1, "p").await, db.register(2, "c").await);
    let dev = branch(2, 0);
    // The child moves to a new parent, and the old one goes.
    db.write(&p, dev, &[insert(vec![int(2), int(2)])]).await.unwrap();
    db.write(&c, dev, &[update(1, 1, int(2)), insert(vec![int(2), int(2)])]).await.unwrap();
    db.write(&p, dev, &[delete(1)]).await.unwrap();
    let both = [c.clone(), p.clone()];
    db.seal(&both, dev, 1).await;
    let mut changes = Vec::new();
    for table in &both {
        let rows = db.diff(table, main_at(0), at(dev, 1), &[segment(2, 0, At::Ordinal(1))]).await;
        changes.push(epoch_adapter::TableChanges { table: table.clone(), changes: rows, arrival: None });
    }
    db.adapter.seal("merge", &both, Layer::MAIN, 1, &changes, SealMode::Own).await.unwrap();
    assert_eq!(db.rows(&p, View::MAIN).await, [[int(2), int(2)]]);
    assert_eq!(db.rows(&c, View::MAIN).await, [[int(1), int(2)], [int(2), int(2)]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_break_constraints_are_found() {
    let db = database!(
        "CREATE TABLE p (id int PRIMARY KEY); CREATE TABLE c (id int PRIMARY KEY, p int CONSTRAINT c_p REFERENCES p (id), \
         n int CONSTRAINT small CHECK (n < 10)); INSERT INTO p VALUES (1)"
    );
    let (p, c) = (db.register(1, "p").await, db.register(2, "c").await);
    // Past all checks, as a restored table might be.
    db.run("INSERT INTO c VALUES (1, 1, 1); ALTER TABLE c NOCHECK CONSTRAINT ALL").await;
    db.run("INSERT INTO c VALUES (2, 9, 99); ALTER TABLE c CHECK CONSTRAINT ALL").await;
    let others = [(p.clone(), View::MAIN)];
    let found = db.adapter.violations(&c, &View::MAIN, &others, 10).await.unwrap();
    let rules: Vec<_> = found.iter().map(|v| (v.rule, v.constraint.as_str(), v.key.clone())).collect();
    assert_eq!(rules, [(Rule::Check, "small", vec![int(2)]), (Rule::ForeignKey, "c_p", vec![int(2)])]);
    assert_eq!(db.adapter.violations(&c, &View::MAIN, &others, 1).await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happens_past_us_is_drift() {
    let setup =
        "CREATE TABLE t (id int CONSTRAINT t_pk PRIMARY KEY, v int); INSERT INTO t VALUES (1, 1), (2, 2)";
    let cases = [
        ("TRUNCATE TABLE t", "truncated"),
        ("TRUNCATE TABLE t; INSERT INTO t VALUES (1, 1)", "truncated"),
        ("ALTER TABLE t ADD w int", "column \"w\" was added"),
        ("ALTER TABLE t ALTER COLUMN v bigint", "has the type"),
        ("EXEC sp_rename 't.v', 'w', 'COLUMN'", "dropped or renamed"),
        ("ALTER TABLE t DROP CONSTRAINT t_pk", "no longer unique"),
        ("DROP TRIGGER epoch_capture_1_update", "was dropped"),
        ("DISABLE TRIGGER epoch_capture_1_update ON t", "is disabled"),
        (
            "DISABLE TRIGGER epoch_capture_1_insert ON t; INSERT INTO t VALUES (3, 3); ENABLE TRIGGER epoch_capture_1_insert ON t",
            "without firing triggers",
        ),
        ("EXEC sp_rename 't', 'other'", "dropped or renamed"),
        ("DROP TABLE t; CREATE TABLE t (id int PRIMARY KEY, v int)", "was dropped"),
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
        let seal = db.adapter.seal("x", std::slice::from_ref(&t), Layer::MAIN, 1, &[], SealMode::All).await;
        assert!(["55000", "42P01"].contains(&error(seal).code()), "{sql}");
        // It can be unregistered all the same.
        db.adapter.uninstall(&t).await.unwrap();
    }
    // What keeps all rows and our triggers is none.
    let db = database!(setup);
    let t = db.register(1, "t").await;
    let before = db.rows(&t, View::MAIN).await;
    db.run("CREATE INDEX vv ON t (v)").await;
    db.run("ALTER TABLE t REBUILD").await;
    db.run("EXEC (N'CREATE TRIGGER own ON t AFTER UPDATE AS UPDATE t SET v = v + 1 WHERE id IN (SELECT id FROM inserted)')").await;
    assert_eq!(db.adapter.drift(std::slice::from_ref(&t)).await.unwrap(), []);
    db.run("UPDATE t SET v = 10").await;
    assert_eq!(db.rows(&t, working(branch(2, 0))).await, before);
    assert_eq!(db.rows(&t, View::MAIN).await, [[int(1), int(11)], [int(2), int(11)]]);
}

/// What is made and not committed is in the server's catalog, and whoever reads that waits for it.
#[tokio::test(flavor = "multi_thread")]
async fn reads_of_branches_do_not_wait_for_a_registration_that_waits() {
    let db = std::sync::Arc::new(database!(
        "CREATE TABLE s (id int PRIMARY KEY); INSERT INTO s VALUES (1); \
         CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t VALUES (1, 1)"
    ));
    let s = db.register(1, "s").await;
    let t = db.define(2, "t", None).await.unwrap();
    let mut client = db.client().await;
    on(&mut client, "BEGIN TRANSACTION; UPDATE t SET v = 2").await;
    let (other, def) = (std::sync::Arc::clone(&db), t.clone());
    let install = tokio::spawn(async move { other.adapter.install(&def).await });
    let since = std::time::Instant::now();
    while since.elapsed() < std::time::Duration::from_secs(2) {
        let looked = std::time::Instant::now();
        assert_eq!(db.adapter.drift(std::slice::from_ref(&s)).await.unwrap(), []);
        assert_eq!(db.rows(&s, working(branch(2, 0))).await, [[int(1)]]);
        assert!(looked.elapsed() < std::time::Duration::from_secs(2), "{:?}", looked.elapsed());
    }
    assert!(!install.is_finished(), "somebody has rows of the table");
    on(&mut client, "COMMIT TRANSACTION").await;
    install.await.unwrap().unwrap();
    assert_eq!(db.rows(&t, main_at(0)).await, [[int(1), int(2)]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_goes_and_what_is_seen_stays() {
    let db = database!("CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t VALUES (1, 0), (2, 0)");
    // Where reads are of versions, locked rows are passed over in another way. A server that has no other reads refuses.
    let _ = db.direct("ALTER DATABASE CURRENT SET READ_COMMITTED_SNAPSHOT ON WITH ROLLBACK IMMEDIATE").await;
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
    let db = database!("CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE s (id int PRIMARY KEY)");
    db.adapter.belong_to("ours");
    let t = db.register(1, "t").await;
    let other = epoch_adapter_sqlserver::SqlServerAdapter::new("shop", &db.url, 2).unwrap();
    other.belong_to("theirs");
    let s = db.define(1, "s", None).await.unwrap();
    assert_eq!(error(other.install(&s).await).code(), "55006");
    other.uninstall(&t).await.unwrap();
    assert_eq!(db.adapter.drift(&[t]).await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_a_collation_takes_for_one_have_one_form() {
    let db = database!(
        "CREATE TABLE t (name nvarchar(20) COLLATE Latin1_General_CI_AS, n int, PRIMARY KEY (name, n))"
    );
    let t = db.register(1, "t").await;
    let key = |name: &str, n: i64| vec![text(name), int(n)];
    let keys = vec![key("Ann", 1), key("ANN", 1), key("ann ", 1), key("Ann", 2), key("Anna", 1)];
    let forms = db.adapter.key_forms(&t, keys).await.unwrap();
    let same = |a: usize, b: usize| forms[a] == forms[b];
    assert!(same(0, 1) && same(0, 2) && !same(0, 3) && !same(0, 4) && !same(3, 4), "{forms:?}");
    // More than are sent at once.
    let many: Vec<_> = (0..1200).map(|n| key(if n % 2 == 0 { "x" } else { "X" }, n / 2)).collect();
    let forms = db.adapter.key_forms(&t, many).await.unwrap();
    assert!(forms.chunks(2).all(|pair| pair[0] == pair[1]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_tells_its_version_and_the_text_of_a_table() {
    let db = database!(
        "CREATE TABLE t (id int NOT NULL CONSTRAINT pk PRIMARY KEY, v decimal(9,2) CONSTRAINT ck CHECK (v > 0))"
    );
    let health = db.adapter.health().await.unwrap();
    assert!(health.version.starts_with("SQL Server ") && health.connections.1 == 8);
    assert_eq!(db.adapter.risks().await.unwrap(), Vec::<String>::new());
    let t = db.register(1, "t").await;
    let sql = db.adapter.create_statement(&t).await.unwrap();
    assert!(sql.contains("CREATE TABLE [dbo].[t] (") && sql.contains("[v] decimal(9,2) NULL"), "{sql}");
    db.run("INSERT INTO t VALUES (1, 1), (2, 1)").await;
    assert_eq!(db.adapter.row_estimate(&t).await.unwrap(), 2);
}
