//! Registration, types, constraints, branches, other engines' writes and vacuums, seals and their repetition.

use std::sync::Arc;

use crate::common::*;
use epoch_adapter::{
    Adapter, At, Comparison, Layer, Leftover, LineageId, Predicate, Row, RowChange, RowWrite, Rule, Scan,
    SealMode, TableChanges, TableDef, TableStats, Value, View, Wanted,
};

const EVENTS: &str = "id long not null, what string not null, n integer | key: id";

fn event(id: i64, what: &str, n: i64) -> Row {
    vec![int(id), text(what), int(n)]
}

async fn events() -> (Db, Arc<TableDef>) {
    let db = Db::new(EVENTS).await;
    db.run("INSERT (1, 'a', 10), (2, 'b', 20), (3, 'c', 30)").await;
    let table = db.register(1, "t").await;
    (db, table)
}

fn change(before: Option<Row>, after: Option<Row>) -> RowChange {
    let key = vec![before.as_ref().or(after.as_ref()).unwrap()[0].clone()];
    RowChange { key, before, after }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_folder_is_as_before_after_the_last_table() {
    let db = Db::new(EVENTS).await;
    db.create("deep/er/u", "k string | key: k").await;
    db.run("INSERT (1, 'a', 10)").await;
    let before = db.files();
    let t = db.register(1, "t").await;
    db.adapter.install(&t).await.unwrap();
    let u = db.register_as(2, "deep/er/u", &["k"]).await;
    let dev = branch(2, 0);
    db.adapter.ensure_layer(&t, dev, None).await.unwrap();
    db.write(&t, dev, &[insert(event(2, "b", 2))]).await.unwrap();
    db.write(&u, dev, &[insert(vec![text("x")])]).await.unwrap();
    db.seal(&[t.clone(), u.clone()], dev, 1).await;
    assert!(db.files().len() > before.len() + 3);
    db.adapter.uninstall(&u).await.unwrap();
    assert_eq!(db.rows(&t, working(dev)).await, [event(1, "a", 10), event(2, "b", 2)]);
    db.adapter.uninstall(&t).await.unwrap();
    db.adapter.uninstall(&t).await.unwrap();
    assert_eq!(db.files(), before);
    assert!(!db.folder.path().join("_epoch").exists());
    // And again, by whoever knew the folder from before.
    let again = db.register(3, "t").await;
    assert_eq!(db.reopened().rows(&again, View::MAIN).await, [event(1, "a", 10)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_belongs_to_one_repository() {
    let (db, table) = events().await;
    let other = epoch_adapter_delta::DeltaAdapter::local("lake", db.folder.path()).unwrap();
    other.belong_to("another");
    let mut def = (*table).clone();
    def.id = epoch_adapter::TableId(9);
    assert_eq!(error(other.install(&def).await).code(), "55000");
    assert_eq!(error(other.scan(&def, &View::MAIN, &Scan::default()).await.map(drop)).code(), "55000");
    // A registration that was refused is taken back: of what has the same number here, nothing.
    other.uninstall(&table).await.unwrap();
    assert_eq!(db.reopened().rows(&table, main_at(0)).await.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_registered_is_said_to_be_so() {
    let (db, _) = events().await;
    db.create("odd/f", "k float, v string").await;
    db.create("odd/ours", "k long, epoch_x long").await;
    let found = db.adapter.discover("*").await.unwrap();
    let names: Vec<_> = found.iter().map(|d| d.location.to_string()).collect();
    assert_eq!(names, ["local://lake/odd/f", "local://lake/odd/ours", "local://lake/t"]);
    assert!(found[1].reason.as_deref().unwrap().contains("epoch_x"));
    assert_eq!(db.adapter.discover("odd/*").await.unwrap().len(), 2);
    assert_eq!(db.adapter.discover("ours").await.unwrap().len(), 1);
    assert_eq!(db.adapter.discover("nothing").await.unwrap().len(), 0);
    assert_eq!(error(db.define(2, "t", None).await).code(), "42830");
    assert_eq!(error(db.define(2, "t", Some(&["x"])).await).code(), "42703");
    assert_eq!(error(db.define(2, "odd/f", Some(&["k"])).await).code(), "42830");
    assert_eq!(error(db.define(2, "odd/ours", Some(&["k"])).await).code(), "0A000");
    assert_eq!(error(db.define(2, "nowhere", Some(&["k"])).await).code(), "42P01");
    db.run("INSERT (3, 'again', 1)").await;
    let twice = db.define(2, "t", Some(&["id"])).await.unwrap();
    let refused = error(db.adapter.install(&twice).await);
    assert_eq!((refused.code(), refused.detail()), ("42830", Some("Key (id)=(3) is there twice.")));
    db.run("INSERT (4, 'x', NULL)").await;
    let null = db.define(2, "t", Some(&["n"])).await.unwrap();
    assert_eq!(error(db.adapter.install(&null).await).code(), "42830");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_branch_stays_where_it_is_whatever_other_engines_do() {
    let (db, t) = events().await;
    let all = [t.clone()];
    db.run("UPDATE n = 11 WHERE id = 1; DELETE id = 2; INSERT (4, 'd', 40)").await;
    let sealed = db.seal(&all, Layer::MAIN, 1).await;
    assert_eq!(sealed.tables[0].1, TableStats { added: 1, modified: 1, removed: 1, cells: 0 });
    let fork = vec![event(1, "a", 11), event(3, "c", 30), event(4, "d", 40)];
    let dev = branch(2, 1);
    db.adapter.ensure_layer(&t, dev, None).await.unwrap();
    db.run("OVERWRITE (3, 'e', 5), (7, 'a', 11)").await;
    assert_eq!(db.adapter.pending(&all, Layer::MAIN).await.unwrap()[0].1.rows(), 4);
    db.run("VACUUM").await;
    // What was read is in memory; another process reads it from the files.
    for db in [&db, &db.reopened()] {
        assert_eq!(db.rows(&t, working(dev)).await, fork);
        assert_eq!(db.rows(&t, main_at(1)).await, fork);
        let first = [event(1, "a", 10), event(2, "b", 20), event(3, "c", 30)];
        assert_eq!(db.rows(&t, main_at(0)).await, first);
        assert_eq!(db.rows(&t, View::MAIN).await, [event(3, "e", 5), event(7, "a", 11)]);
    }
    let writes =
        [update(1, 2, int(12)), delete(3), insert(event(9, "n", 1)), update(77, 2, int(1)), delete(77)];
    assert_eq!(db.write(&t, dev, &writes).await.unwrap(), 3);
    let now = vec![event(1, "a", 12), event(4, "d", 40), event(9, "n", 1)];
    assert_eq!(db.rows(&t, working(dev)).await, now);
    db.seal(&all, dev, 1).await;
    db.write(&t, dev, &[delete(9), insert(event(3, "c", 31))]).await.unwrap();
    for db in [&db, &db.reopened()] {
        assert_eq!(db.rows(&t, at(dev, 1)).await, now);
        assert_eq!(db.rows(&t, at(dev, 0)).await, fork);
        assert_eq!(
            db.rows(&t, working(dev)).await,
            [event(1, "a", 12), event(3, "c", 31), event(4, "d", 40)]
        );
    }
    assert_eq!(db.base("t").await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_branch_outlives_the_clean_up_of_the_log() {
    let db = Db::new(&format!("{EVENTS} | delta.checkpointInterval=5")).await;
    db.run("INSERT (1, 'a', 10), (2, 'b', 20)").await;
    let t = db.register(1, "t").await;
    for n in 1..=7 {
        db.run(&format!("UPDATE n = {n} WHERE id = 1")).await;
    }
    db.seal(&[t.clone()], Layer::MAIN, 1).await;
    let dev = branch(2, 1);
    db.adapter.ensure_layer(&t, dev, None).await.unwrap();
    for n in 8..=15 {
        db.run(&format!("UPDATE n = {n} WHERE id = 1")).await;
        assert_eq!(db.rows(&t, View::MAIN).await[0], event(1, "a", n));
    }
    db.run("VACUUM").await;
    let newest = db.foreign("t").await.version().unwrap();
    let log = db.folder.path().join("t/_delta_log");
    let name = |file: &str, v: u64| log.join(format!("{v:020}.{file}"));
    let checkpoint = (0..=newest).rev().find(|v| name("checkpoint.parquet", *v).exists()).unwrap();
    assert!(checkpoint > 10, "{checkpoint}");
    for v in 0..checkpoint {
        let _ = std::fs::remove_file(name("checkpoint.parquet", v));
        std::fs::remove_file(name("json", v)).unwrap();
    }
    for db in [&db, &db.reopened()] {
        assert_eq!(db.rows(&t, working(dev)).await, [event(1, "a", 7), event(2, "b", 20)]);
        assert_eq!(db.rows(&t, main_at(0)).await, [event(1, "a", 10), event(2, "b", 20)]);
        assert_eq!(db.rows(&t, View::MAIN).await, [event(1, "a", 15), event(2, "b", 20)]);
    }
    assert_eq!(db.foreign("t").await.version(), Some(newest));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_merge_is_one_commit_that_other_engines_read() {
    let (db, t) = events().await;
    let changes = vec![
        change(Some(event(1, "a", 10)), Some(event(1, "a", 100))),
        change(Some(event(2, "b", 20)), None),
        change(None, Some(event(5, "e", 50))),
    ];
    db.run("UPDATE n = 31 WHERE id = 3").await;
    let before = db.foreign("t").await.version().unwrap();
    let sealed = db.apply(&t, Layer::MAIN, 1, changes.clone(), SealMode::Own).await.unwrap();
    assert_eq!(sealed.tables[0].1, TableStats { added: 1, modified: 1, removed: 1, cells: 0 });
    assert_eq!(db.foreign("t").await.version(), Some(before + 1));
    let mut base = db.base("t").await;
    base.sort();
    assert_eq!(base, [event(1, "a", 100), event(3, "c", 31), event(5, "e", 50)]);
    // What somebody else changed isn't in the commit.
    let at_one = vec![event(1, "a", 100), event(3, "c", 30), event(5, "e", 50)];
    assert_eq!(db.rows(&t, main_at(1)).await, at_one);
    assert_eq!(db.reopened().rows(&t, main_at(1)).await, at_one);
    assert_eq!(db.adapter.pending(&[t.clone()], Layer::MAIN).await.unwrap()[0].1.rows(), 1);
    // The same operation again changes nothing.
    let again = db.apply(&t, Layer::MAIN, 1, changes.clone(), SealMode::Own).await.unwrap();
    assert_eq!(again, sealed);
    assert_eq!(db.adapter.sealed("apply-1-1").await.unwrap(), Some(sealed));
    assert_eq!(db.foreign("t").await.version(), Some(before + 1));
    // Another one finds other rows than it was computed from.
    let refused = error(db.apply(&t, Layer::MAIN, 2, changes, SealMode::Own).await);
    assert_eq!(refused.code(), "40001");
    assert!(refused.detail().unwrap().contains("(id)=(1)"), "{refused}");
    assert_eq!(db.foreign("t").await.version(), Some(before + 1));
    let of_two = Wanted::of_key(vec![int(2)]);
    let where_changed = db.adapter.changes_of_keys(&t, &of_two, &[LineageId::MAIN]).await.unwrap();
    assert_eq!(where_changed, [(LineageId::MAIN, 1)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_table_refuses_is_taken_back_from_another() {
    let (db, t) = events().await;
    db.create("u", "k long not null, v integer | key: k | delta.constraints.small=v < 10").await;
    let u = db.register_as(2, "u", &["k"]).await;
    let one = |table: &Arc<TableDef>, changes| TableChanges { table: table.clone(), changes, arrival: None };
    let changes = |v: i64| {
        [
            one(&t, vec![change(None, Some(event(8, "h", 80)))]),
            one(&u, vec![change(None, Some(vec![int(1), int(v)]))]),
        ]
    };
    let tables = [t.clone(), u.clone()];
    let seal = async |operation: &str, ordinal, v| {
        db.adapter.seal(operation, &tables, Layer::MAIN, ordinal, &changes(v), SealMode::Own).await
    };
    let refused = error(seal("bad", 1, 10).await);
    assert_eq!((refused.code(), refused.constraint()), ("23514", Some("small")));
    assert_eq!(db.adapter.sealed("bad").await.unwrap(), None);
    assert_eq!(db.base("t").await.len(), 3);
    assert!(db.adapter.pending(&tables, Layer::MAIN).await.unwrap().is_empty());
    assert_eq!(seal("good", 2, 9).await.unwrap().tables.len(), 2);
    assert_eq!(db.base("t").await.len(), 4);
    assert_eq!(db.rows(&u, main_at(2)).await, [[int(1), int(9)]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn constraints_hold_on_main_and_on_branches() {
    let db = Db::new(
        "id long not null, what string not null, n integer | key: id | delta.constraints.low=n < 100",
    )
    .await;
    db.run("INSERT (1, 'a', 1)").await;
    let t = db.register(1, "t").await;
    let dev = branch(2, 0);
    db.adapter.ensure_layer(&t, dev, None).await.unwrap();
    for layer in [Layer::MAIN, dev] {
        let refused = |writes: Vec<RowWrite>| {
            let (db, t) = (&db, &t);
            async move { error(db.write(t, layer, &writes).await) }
        };
        let duplicate = refused(vec![insert(event(1, "x", 1))]).await;
        assert_eq!((duplicate.code(), duplicate.constraint()), ("23505", Some("t_key")));
        assert_eq!(duplicate.detail(), Some("Key (id)=(1) already exists."));
        let null = refused(vec![RowWrite::Insert(vec![Some(int(2)), None, None])]).await;
        assert_eq!((null.code(), null.column()), ("23502", Some("what")));
        let check = refused(vec![update(1, 2, int(100))]).await;
        assert_eq!((check.code(), check.constraint()), ("23514", Some("low")));
        // A condition that is NULL isn't kept to.
        assert_eq!(refused(vec![update(1, 2, Value::Null)]).await.code(), "23514");
        assert_eq!(refused(vec![insert(event(2, "x", 5)), update(1, 0, int(2))]).await.code(), "23505");
        assert_eq!(db.rows(&t, working(layer)).await, [event(1, "a", 1)]);
        assert_eq!(db.write(&t, layer, &[update(1, 0, int(7))]).await.unwrap(), 1);
        assert_eq!(db.rows(&t, working(layer)).await, [event(7, "a", 1)]);
        assert_eq!(db.write(&t, layer, &[update(7, 0, int(1))]).await.unwrap(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_another_engine_wrote_twice_is_found() {
    let (db, t) = events().await;
    db.run("INSERT (3, 'again', 1)").await;
    let found = db.adapter.violations(&t, &View::MAIN, &[], 10).await.unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].rule, &found[0].key), (Rule::Unique, &vec![int(3)]));
    let refused = error(db.adapter.seal("op", &[t.clone()], Layer::MAIN, 1, &[], SealMode::All).await);
    assert_eq!((refused.code(), refused.constraint()), ("23505", Some("t_key")));
    db.run("DELETE what = 'again'").await;
    db.seal(&[t.clone()], Layer::MAIN, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn transactions_see_themselves_and_nobody_else() {
    let (db, t) = events().await;
    db.create("u", "k long not null, v integer | key: k").await;
    let u = db.register_as(2, "u", &["k"]).await;
    let dev = branch(2, 0);
    for table in [&t, &u] {
        db.adapter.ensure_layer(table, dev, None).await.unwrap();
    }
    let mut a = db.adapter.begin().await.unwrap();
    let mut b = db.adapter.begin().await.unwrap();
    a.write(&t, dev, &[update(1, 2, int(11))]).await.unwrap();
    a.savepoint("s").await.unwrap();
    a.write(&t, dev, &[delete(2)]).await.unwrap();
    assert_eq!(error(a.write(&t, dev, &[insert(event(3, "x", 1))]).await).code(), "23505");
    assert_eq!(error(a.write(&t, dev, &[delete(3)]).await).code(), "25P02");
    a.rollback_to("s").await.unwrap();
    a.write(&u, dev, &[insert(vec![int(1), int(1)])]).await.unwrap();
    let seen = collect(a.scan(&t, &working(dev), &Scan::default()).await.unwrap()).await.unwrap();
    assert_eq!(seen, [event(1, "a", 11), event(2, "b", 20), event(3, "c", 30)]);
    b.write(&t, dev, &[update(1, 2, int(12))]).await.unwrap();
    let mut c = db.adapter.begin().await.unwrap();
    c.write(&t, dev, &[update(3, 2, int(33))]).await.unwrap();
    assert_eq!(db.rows(&t, working(dev)).await[0], event(1, "a", 10));
    a.commit().await.unwrap();
    // Both tables at once.
    assert_eq!(db.reopened().rows(&u, working(dev)).await, [[int(1), int(1)]]);
    assert_eq!(error(b.commit().await).code(), "40001");
    c.commit().await.unwrap();
    let now = [event(1, "a", 11), event(2, "b", 20), event(3, "c", 33)];
    assert_eq!(db.rows(&t, working(dev)).await, now);

    let mut d = db.adapter.begin().await.unwrap();
    d.write(&t, Layer::MAIN, &[delete(1)]).await.unwrap();
    assert_eq!(error(d.write(&u, Layer::MAIN, &[delete(1)]).await).code(), "0A000");
    d.rollback().await.unwrap();
    let mut e = db.adapter.begin().await.unwrap();
    e.write(&t, Layer::MAIN, &[update(1, 2, int(1))]).await.unwrap();
    db.run("UPDATE n = 2 WHERE id = 1").await;
    assert_eq!(error(e.commit().await).code(), "40001");
    let mut f = db.adapter.begin().await.unwrap();
    f.write(&t, Layer::MAIN, &[update(1, 2, int(3))]).await.unwrap();
    db.run("UPDATE n = 4 WHERE id = 2").await;
    f.commit().await.unwrap();
    assert_eq!(db.rows(&t, View::MAIN).await, [event(1, "a", 3), event(2, "b", 4), event(3, "c", 30)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_writers_of_a_branch_lose_nothing() {
    let (db, t) = events().await;
    let dev = branch(2, 0);
    db.adapter.ensure_layer(&t, dev, None).await.unwrap();
    let write = |id: i64| {
        let (db, t) = (db.reopened(), t.clone());
        tokio::spawn(async move { db.write(&t, dev, &[insert(event(id, "w", id))]).await })
    };
    let tasks: Vec<_> = (10..40).map(write).collect();
    for task in tasks {
        assert_eq!(task.await.unwrap().unwrap(), 1);
    }
    assert_eq!(db.rows(&t, working(dev)).await.len(), 33);
    let same = |_| {
        let (db, t) = (db.reopened(), t.clone());
        tokio::spawn(
            async move { db.write(&t, dev, &[update(1, 2, int(1)), insert(event(99, "x", 1))]).await },
        )
    };
    let tasks: Vec<_> = (0..6).map(same).collect();
    let mut done = 0;
    for task in tasks {
        match task.await.unwrap() {
            Ok(n) => done += n,
            Err(e) => assert!(["40001", "23505"].contains(&e.code()), "{e}"),
        }
    }
    assert_eq!(done, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn types_and_their_extremes_come_back() {
    let ddl = "id long not null, b byte, s short, i integer, f float, d double, m decimal(38.10), z decimal(5.0), \
               t string, y binary, o boolean, a date, w timestamp, n timestamp_ntz | key: id";
    let db = Db::new(ddl).await;
    let t = db.register(1, "t").await;
    let types: Vec<_> = t.schema.columns.iter().map(|c| c.pg_type.as_str()).collect();
    let expected = [
        "bigint",
        "smallint",
        "smallint",
        "integer",
        "real",
        "double precision",
        "numeric(38,10)",
        "numeric(5,0)",
        "text",
        "bytea",
        "boolean",
        "date",
        "timestamp with time zone",
        "timestamp without time zone",
    ];
    assert_eq!(types, expected);
    let digits = |whole: usize, scale: usize| format!("{}.{}", "9".repeat(whole), "9".repeat(scale));
    let row = |id: i64, low: bool| -> Row {
        let pick = |a: i64, b: i64| int(if low { a } else { b });
        let sign = if low { "-" } else { "" };
        vec![
            int(id),
            pick(i8::MIN.into(), i8::MAX.into()),
            pick(i16::MIN.into(), i16::MAX.into()),
            pick(i32::MIN.into(), i32::MAX.into()),
            Value::Real(f64::from(if low { f32::MIN } else { f32::MAX })),
            Value::Real(if low { f64::NEG_INFINITY } else { f64::MIN_POSITIVE }),
            text(&format!("{sign}{}", digits(28, 10))),
            text(&format!("{sign}99999")),
            text(if low { "" } else { "ü\u{10ffff}\0" }),
            Value::Blob(if low { vec![] } else { vec![0, 255] }),
            pick(0, 1),
            text(if low { "0001-01-01" } else { "9999-12-31" }),
            text(if low { "0001-01-01 00:00:00+00:00" } else { "9999-12-31 23:59:59.999999+00:00" }),
            text(if low { "0001-01-01 00:00:00" } else { "9999-12-31 23:59:59.999999" }),
        ]
    };
    let mut nan = vec![Value::Null; 14];
    (nan[0], nan[5]) = (int(i64::MIN), Value::Real(f64::NAN));
    let nulls = |id| std::iter::once(int(id)).chain(vec![Value::Null; 13]).collect::<Row>();
    let rows = vec![nan, nulls(-1), row(1, true), row(2, false), nulls(i64::MAX)];
    let dev = branch(2, 0);
    db.adapter.ensure_layer(&t, dev, None).await.unwrap();
    let writes: Vec<_> = rows.iter().cloned().map(insert).collect();
    db.write(&t, Layer::MAIN, &writes).await.unwrap();
    db.write(&t, dev, &writes).await.unwrap();
    for view in [View::MAIN, working(dev)] {
        assert_eq!(db.reopened().rows(&t, view).await, rows);
    }
    let mut base = db.base("t").await;
    base.sort();
    assert_eq!(base, rows);
    // Each value finds its row, where it is compared at all.
    for index in 0..rows[3].len() {
        let predicate = Predicate::Compare(index, Comparison::Eq, rows[3][index].clone());
        if !db.adapter.supports(&t, &predicate) {
            assert!([4, 5].contains(&index), "{index}");
            continue;
        }
        for view in [View::MAIN, working(dev)] {
            let scan = Scan { filters: vec![predicate.clone()], ..Scan::default() };
            assert_eq!(db.scan(&t, view, &scan).await.unwrap(), [rows[3].clone()], "{index}");
        }
    }
    assert_eq!(error(db.write(&t, dev, &[update(1, 1, int(128))]).await).code(), "22003");
    assert_eq!(error(db.write(&t, dev, &[update(1, 3, int(1 << 40))]).await).code(), "22P02");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_was_altered_is_not_committed() {
    let (db, t) = events().await;
    let column =
        deltalake_core::kernel::StructField::nullable("extra", deltalake_core::kernel::DataType::LONG);
    db.foreign("t").await.add_columns().with_fields([column]).await.unwrap();
    let drift = db.adapter.drift(&[t.clone()]).await.unwrap();
    assert_eq!(drift[0].1, "column \"extra\" was added");
    let refused = error(db.adapter.seal("op", &[t.clone()], Layer::MAIN, 1, &[], SealMode::All).await);
    assert_eq!(refused.code(), "55000");
    // What branches show is from before.
    let dev = branch(2, 0);
    db.adapter.ensure_layer(&t, dev, None).await.unwrap();
    assert_eq!(db.rows(&t, working(dev)).await.len(), 3);
    std::fs::remove_dir_all(db.folder.path().join("t")).unwrap();
    assert_eq!(db.adapter.drift(&[t.clone()]).await.unwrap()[0].1, "the table was dropped");
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_is_measured_and_removed() {
    let (db, t) = events().await;
    let (dev, all) = (branch(2, 0), [t.clone()]);
    db.adapter.ensure_layer(&t, dev, None).await.unwrap();
    for n in 1..=4 {
        db.write(&t, dev, &[update(1, 2, int(n))]).await.unwrap();
        db.seal(&all, dev, n).await;
        db.run(&format!("UPDATE n = {n} WHERE id = 2")).await;
        db.seal(&all, Layer::MAIN, n).await;
    }
    let value = |rows: Vec<Row>, at: usize| rows[at][2].clone();
    for what in [Leftover::Holes(dev.lineage, vec![(2, 4)]), Leftover::Holes(LineageId::MAIN, vec![(2, 4)])] {
        assert!(db.adapter.measure(&t, &what).await.unwrap() > 0);
        assert!(db.adapter.remove(&t, &what, 1000).await.unwrap() > 0);
        assert_eq!(db.adapter.measure(&t, &what).await.unwrap(), 0);
        assert_eq!(db.adapter.remove(&t, &what, 1000).await.unwrap(), 0);
    }
    db.run("OPTIMIZE; VACUUM").await;
    for db in [&db, &db.reopened()] {
        for n in [1, 4] {
            assert_eq!(value(db.rows(&t, at(dev, n)).await, 0), int(n));
            assert_eq!(value(db.rows(&t, main_at(n)).await, 1), int(n));
        }
        assert_eq!(value(db.rows(&t, at(dev, 0)).await, 0), int(10));
        let diff = db.diff(&t, at(dev, 1), at(dev, 4), &[segment(2, 1, At::Ordinal(4))]).await;
        assert_eq!(diff, [change(Some(event(1, "a", 1)), Some(event(1, "a", 4)))]);
    }
    let what = Leftover::Lineage(dev.lineage);
    assert!(db.adapter.measure(&t, &what).await.unwrap() > 0);
    assert!(db.adapter.remove(&t, &what, 1000).await.unwrap() > 0);
    assert_eq!(db.adapter.measure(&t, &what).await.unwrap(), 0);
    assert!(db.files().iter().all(|f| !f.starts_with("_epoch/rows/1/2/")));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_merge_replaces_is_kept_for_commits_before() {
    let (db, t) = events().await;
    let dev = branch(2, 0);
    db.adapter.ensure_layer(&t, dev, None).await.unwrap();
    let changes = vec![change(Some(event(1, "a", 10)), Some(event(1, "a", 100)))];
    db.apply(&t, Layer::MAIN, 1, changes, SealMode::Own).await.unwrap();
    db.write(&t, Layer::MAIN, &[update(2, 2, int(200))]).await.unwrap();
    db.run("VACUUM").await;
    for db in [&db, &db.reopened()] {
        let first = [event(1, "a", 10), event(2, "b", 20), event(3, "c", 30)];
        assert_eq!(db.rows(&t, main_at(0)).await, first);
        assert_eq!(db.rows(&t, working(dev)).await, first);
        assert_eq!(db.rows(&t, main_at(1)).await[..2], [event(1, "a", 100), event(2, "b", 20)]);
        assert_eq!(db.rows(&t, View::MAIN).await[1], event(2, "b", 200));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_table_at_the_same_place_is_not_taken_for_the_one_before() {
    let (db, t) = events().await;
    for n in 0..4 {
        db.run(&format!("UPDATE n = {n} WHERE id = 1")).await;
    }
    db.seal(&[t.clone()], Layer::MAIN, 1).await;
    let dev = branch(2, 1);
    db.adapter.ensure_layer(&t, dev, None).await.unwrap();
    db.run("OVERWRITE (8, 'later', 8)").await;
    assert_eq!(db.rows(&t, View::MAIN).await, [event(8, "later", 8)]);
    std::fs::remove_dir_all(db.folder.path().join("t")).unwrap();
    db.create("t", EVENTS).await;
    db.run("INSERT (9, 'other', 9)").await;
    for db in [&db, &db.reopened()] {
        let drift = db.adapter.drift(&[t.clone()]).await.unwrap();
        assert_eq!(drift[0].1, "the table was dropped and made anew");
        assert_eq!(db.rows(&t, View::MAIN).await, [event(9, "other", 9)]);
        assert_eq!(db.rows(&t, working(dev)).await[0], event(1, "a", 3));
        assert_eq!(db.rows(&t, working(dev)).await.len(), 3);
        let refused = error(db.adapter.seal("op", &[t.clone()], Layer::MAIN, 2, &[], SealMode::All).await);
        assert_eq!(refused.code(), "55000");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn values_of_partitions_may_have_any_form() {
    let db = Db::new("k string not null, v integer | partition: k | key: k").await;
    let odd = ["a b", "ü/x", "50%", "=?#", "%2F", "a", "/"];
    for (n, k) in odd.iter().enumerate() {
        db.run(&format!("INSERT ('{k}', {n})")).await;
    }
    let t = db.register(1, "t").await;
    let row = |k: &str, n: usize| vec![text(k), int(n as i64)];
    let mut rows: Vec<Row> = odd.iter().enumerate().map(|(n, k)| row(k, n)).collect();
    rows.sort();
    assert_eq!(db.rows(&t, View::MAIN).await, rows);
    db.run("UPDATE v = v + 1 WHERE v < 6").await;
    let pending = db.adapter.pending(&[t.clone()], Layer::MAIN).await.unwrap();
    assert_eq!(pending[0].1.modified, 6);
    db.run("VACUUM").await;
    assert_eq!(db.reopened().rows(&t, main_at(0)).await, rows);
    let change =
        |k: &str, n| RowChange { key: vec![text(k)], before: Some(row(k, n)), after: Some(row(k, n + 10)) };
    let changes = odd.iter().take(5).enumerate().map(|(n, k)| change(k, n + 1)).collect();
    db.apply(&t, Layer::MAIN, 1, changes, SealMode::All).await.unwrap();
    let mut merged: Vec<Row> =
        odd.iter().enumerate().map(|(n, k)| row(k, [11, 12, 13, 14, 15, 6, 6][n])).collect();
    merged.sort();
    assert_eq!(db.rows(&t, main_at(1)).await, merged);
    assert_eq!(db.reopened().rows(&t, View::MAIN).await, merged);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wanted_of_a_diff_is_what_comes() {
    let (db, t) = events().await;
    let dev = branch(2, 0);
    db.adapter.ensure_layer(&t, dev, None).await.unwrap();
    db.write(&t, dev, &(10..20).map(|id| insert(event(id, "x", id))).collect::<Vec<_>>()).await.unwrap();
    db.seal(&[t.clone()], dev, 1).await;
    db.write(&t, dev, &[update(12, 2, int(0)), update(1, 2, int(0))]).await.unwrap();
    db.seal(&[t.clone()], dev, 2).await;
    let main: Vec<String> = (20..30).map(|id| format!("({id}, 'y', {id})")).collect();
    db.run(&format!("INSERT {}", main.join(", "))).await;
    db.seal(&[t.clone()], Layer::MAIN, 1).await;
    let between = |low: i64, high: i64| {
        vec![
            Predicate::Compare(0, Comparison::GtEq, int(low)),
            Predicate::Compare(0, Comparison::Lt, int(high)),
        ]
    };
    let keys = async |to: View, segment, wanted: &Wanted| {
        let changes = db.adapter.diff(&t, &main_at(0), &to, &[segment], wanted).await.unwrap();
        let changes: Vec<RowChange> = futures::TryStreamExt::try_collect(changes).await.unwrap();
        changes.into_iter().map(|c| c.key[0].clone()).collect::<Vec<_>>()
    };
    let ints = |all: &[i64]| all.iter().map(|n| int(*n)).collect::<Vec<_>>();
    let (of_dev, of_main) = (segment(2, 0, At::Ordinal(2)), segment(1, 0, At::Ordinal(1)));
    let some = Wanted { keys: between(12, 25), ..Wanted::default() };
    assert_eq!(keys(at(dev, 2), of_dev, &some).await, ints(&[12, 13, 14, 15, 16, 17, 18, 19]));
    assert_eq!(keys(main_at(1), of_main, &some).await, ints(&[20, 21, 22, 23, 24]));
    let few = Wanted { limit: Some(2), ..some.clone() };
    assert_eq!(keys(at(dev, 2), of_dev, &few).await, ints(&[12, 13]));
    assert_eq!(keys(main_at(1), of_main, &few).await, ints(&[20, 21]));
    assert_eq!(keys(at(dev, 2), of_dev, &Wanted::of_key(vec![int(15)])).await, ints(&[15]));
    assert_eq!(keys(main_at(1), of_main, &Wanted::of_key(vec![int(3)])).await, ints(&[]));
    let lineages = [dev.lineage, LineageId::MAIN];
    let places = async |wanted: &Wanted| db.adapter.changes_of_keys(&t, wanted, &lineages).await.unwrap();
    let twelve = Wanted { keys: between(12, 13), ..Wanted::default() };
    assert_eq!(places(&twelve).await, [(dev.lineage, 1), (dev.lineage, 2)]);
    assert_eq!(places(&Wanted { keys: between(25, 99), ..Wanted::default() }).await, [(LineageId::MAIN, 1)]);
    assert_eq!(places(&Wanted::of_key(vec![int(2)])).await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn names_with_capitals_and_keywords_are_as_they_are() {
    let db = Db::new("Id long not null, Select string, group integer, Ünï string | key: Id, Select").await;
    let t = db.register(1, "t").await;
    let row = |id: i64, select: &str, group: i64| vec![int(id), text(select), int(group), text("ü")];
    db.write(&t, Layer::MAIN, &[insert(row(1, "A", 1)), insert(row(2, "a", 2))]).await.unwrap();
    let set = |id: i64, select: &str, group: i64| RowWrite::Update {
        key: vec![int(id), text(select)],
        set: vec![(2, int(group))],
    };
    db.write(&t, Layer::MAIN, &[set(1, "A", 10)]).await.unwrap();
    let dev = branch(2, 0);
    db.seal(&[t.clone()], Layer::MAIN, 1).await;
    let later = branch(3, 1);
    for layer in [dev, later] {
        db.adapter.ensure_layer(&t, layer, None).await.unwrap();
    }
    assert_eq!(db.rows(&t, working(dev)).await.len(), 0);
    db.write(&t, later, &[set(2, "a", 20)]).await.unwrap();
    let filter = Predicate::Compare(1, Comparison::Eq, text("a"));
    let scan = Scan { filters: vec![filter], projection: Some(vec![2, 0]), limit: None };
    assert_eq!(db.scan(&t, working(later), &scan).await.unwrap(), [[int(20), int(2)]]);
    let mut change = change(Some(row(2, "a", 2)), Some(row(2, "a", 20)));
    change.key = vec![int(2), text("a")];
    db.apply(&t, Layer::MAIN, 2, vec![change], SealMode::Own).await.unwrap();
    assert_eq!(db.reopened().rows(&t, View::MAIN).await, [row(1, "A", 10), row(2, "a", 20)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_may_have_any_exact_type() {
    let ddl = "d date, m decimal(10.2), w timestamp, o boolean, y binary, n timestamp_ntz, b byte, v integer \
               | key: d, m, w, o, y, n, b";
    let db = Db::new(ddl).await;
    let t = db.register(1, "t").await;
    let key = |day: &str, money: &str, bytes: &[u8]| -> Row {
        vec![
            text(day),
            text(money),
            text("2026-02-03 04:05:06.789123+00:00"),
            int(1),
            Value::Blob(bytes.to_vec()),
            text("1999-12-31 23:59:59"),
            int(-5),
        ]
    };
    let keys =
        [key("2026-01-01", "1.50", b"a"), key("2026-01-01", "1.50", b""), key("2026-01-02", "-0.01", b"a")];
    let row = |key: &Row, v: i64| key.iter().cloned().chain([int(v)]).collect::<Row>();
    let inserts: Vec<_> = keys.iter().map(|k| insert(row(k, 1))).collect();
    db.write(&t, Layer::MAIN, &inserts).await.unwrap();
    db.seal(&[t.clone()], Layer::MAIN, 1).await;
    let dev = branch(2, 1);
    db.adapter.ensure_layer(&t, dev, None).await.unwrap();
    let writes = [
        RowWrite::Update { key: keys[0].clone(), set: vec![(7, int(2))] },
        RowWrite::Delete { key: keys[1].clone() },
    ];
    for layer in [dev, Layer::MAIN] {
        assert_eq!(db.write(&t, layer, &writes).await.unwrap(), 2);
        let mut expected = vec![row(&keys[0], 2), row(&keys[2], 1)];
        expected.sort();
        assert_eq!(db.reopened().rows(&t, working(layer)).await, expected);
    }
}
