//! Constraints over layers: as on one table.

use epoch_adapter::*;

use crate::harness::*;

async fn write(db: &Db, table: &TableDef, write: RowWrite) -> Result<u64> {
    let mut tx = db.adapter.begin().await.unwrap();
    let affected = tx.write(table, BRANCH, &[write]).await?;
    tx.commit().await?;
    Ok(affected)
}

fn cells(values: &[&str]) -> RowWrite {
    RowWrite::Insert(values.iter().map(|v| Some(text(v))).collect())
}

fn set(key: &str, column: usize, value: Value) -> RowWrite {
    RowWrite::Update { key: row(&[key]), set: vec![(column, value)] }
}

#[tokio::test(flavor = "multi_thread")]
async fn unique_keys_hold_over_the_visible_base() {
    let Some(db) = database().await else { return };
    let client = db.client().await;
    client
        .batch_execute(
            "CREATE TABLE t (id int PRIMARY KEY, mail text, n int NOT NULL CHECK (n >= 0), CONSTRAINT \"one mail\" UNIQUE (mail));
             CREATE UNIQUE INDEX t_lower ON t (lower(mail)) WHERE n > 0;
             INSERT INTO t VALUES (1, 'a', 0), (2, 'b', 1), (3, 'c', 2)",
        )
        .await
        .unwrap();
    let table = db.register("t", 1).await;
    db.adapter.ensure_layer(&table, BRANCH, None).await.unwrap();
    let fails = async |w: RowWrite, code: &str, constraint: &str, detail: &str| {
        let error = write(&db, &table, w).await.unwrap_err();
        assert_eq!(
            (error.code(), error.constraint(), error.detail()),
            (code, Some(constraint), Some(detail)),
            "{error:?}"
        );
        assert_eq!((error.schema(), error.table()), (Some("public"), Some("t")));
    };
    fails(cells(&["1", "x", "0"]), "23505", "t_pkey", "Key (id)=(1) already exists.").await;
    fails(cells(&["9", "a", "0"]), "23505", "one mail", "Key (mail)=(a) already exists.").await;
    fails(cells(&["9", "B", "5"]), "23505", "t_lower", "Key (lower(mail))=(b) already exists.").await;
    fails(set("1", 1, text("b")), "23505", "one mail", "Key (mail)=(b) already exists.").await;
    fails(cells(&["9", "x", "-1"]), "23514", "t_n_check", "Failing row contains (9, x, -1).").await;
    write(&db, &table, cells(&["8", "B", "0"])).await.unwrap();
    write(&db, &table, set("1", 1, text("a"))).await.unwrap();
    write(&db, &table, set("1", 1, Value::Null)).await.unwrap();
    // Main frees and takes values: the branch still sees its fork.
    client.batch_execute("UPDATE t SET mail = 'z' WHERE id = 3; DELETE FROM t WHERE id = 2").await.unwrap();
    fails(cells(&["9", "c", "0"]), "23505", "one mail", "Key (mail)=(c) already exists.").await;
    fails(cells(&["2", "y", "0"]), "23505", "t_pkey", "Key (id)=(2) already exists.").await;
    write(&db, &table, cells(&["9", "z", "0"])).await.unwrap();
    // What the branch deleted is free.
    write(&db, &table, RowWrite::Delete { key: row(&["3"]) }).await.unwrap();
    write(&db, &table, cells(&["3", "c", "2"])).await.unwrap();
    fails(cells(&["3", "d", "2"]), "23505", "t_pkey", "Key (id)=(3) already exists.").await;
    db.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn foreign_keys_hold_on_branches() {
    let Some(db) = database().await else { return };
    let client = db.client().await;
    client
        .batch_execute(
            "CREATE TABLE live (id int PRIMARY KEY); INSERT INTO live VALUES (1);
             CREATE TABLE parent (id int PRIMARY KEY, code text UNIQUE);
             CREATE TABLE child (id int PRIMARY KEY, p int REFERENCES parent, l int REFERENCES live);
             CREATE TABLE leaf (id int PRIMARY KEY, p int REFERENCES parent ON DELETE CASCADE ON UPDATE CASCADE);
             CREATE TABLE loose (id int PRIMARY KEY, code text DEFAULT 'a' REFERENCES parent (code) ON DELETE SET NULL);
             CREATE TABLE late (id int PRIMARY KEY, p int REFERENCES parent DEFERRABLE INITIALLY DEFERRED);
             INSERT INTO parent VALUES (1, 'a'), (2, 'b'), (3, 'c'), (4, 'd');
             INSERT INTO child VALUES (1, 1, 1), (2, 2, 1); INSERT INTO leaf VALUES (1, 3), (2, 3), (3, 4); INSERT INTO loose VALUES (1, 'c'), (2, 'd')",
        )
        .await
        .unwrap();
    // The child first: its trigger changes when the parent is versioned too.
    let child = db.register("child", 1).await;
    let parent = db.register("parent", 2).await;
    let leaf = db.register("leaf", 3).await;
    let loose = db.register("loose", 4).await;
    let late = db.register("late", 5).await;
    db.adapter.ensure_layer(&parent, BRANCH, None).await.unwrap();
    // Main moves on; the branch doesn't see it.
    client
        .batch_execute(
            "UPDATE child SET p = 1; DELETE FROM parent WHERE id = 2; INSERT INTO parent VALUES (9, 'z')",
        )
        .await
        .unwrap();
    let missing = write(&db, &child, cells(&["7", "9", "1"])).await.unwrap_err();
    assert_eq!(
        (missing.code(), missing.constraint(), missing.table()),
        ("23503", Some("child_p_fkey"), Some("child"))
    );
    assert_eq!(missing.detail(), Some("Key (p)=(9) is not present in table \"parent\"."));
    assert_eq!(
        missing.message(),
        "insert or update on table \"child\" violates foreign key constraint \"child_p_fkey\""
    );
    assert_eq!(
        write(&db, &child, cells(&["7", "1", "5"])).await.unwrap_err().constraint(),
        Some("child_l_fkey")
    );
    write(&db, &child, cells(&["7", "2", "1"])).await.unwrap();
    write(&db, &child, cells(&["8", "3", "1"])).await.unwrap();
    write(&db, &child, set("8", 1, Value::Null)).await.unwrap();
    assert_eq!(write(&db, &child, set("8", 1, text("9"))).await.unwrap_err().code(), "23503");
    // The parent's side.
    let held = write(&db, &parent, RowWrite::Delete { key: row(&["2"]) }).await.unwrap_err();
    assert_eq!(
        held.message(),
        "update or delete on table \"parent\" violates foreign key constraint \"child_p_fkey\" on table \"child\""
    );
    assert_eq!(held.detail(), Some("Key (id)=(2) is still referenced from table \"child\"."));
    assert_eq!(held.code(), "23503");
    assert_eq!(write(&db, &parent, RowWrite::Delete { key: row(&["3"]) }).await.unwrap(), 1);
    write(&db, &parent, set("4", 0, text("44"))).await.unwrap();
    let leaves = db.rows(&leaf, working(BRANCH)).await;
    assert_eq!(leaves.into_values().collect::<Vec<_>>(), [row(&["3", "44"])]);
    let looses = db.rows(&loose, working(BRANCH)).await;
    assert_eq!(looses[&row(&["1"])], vec![text("1"), Value::Null]);
    assert_eq!(looses[&row(&["2"])], row(&["2", "d"]));
    // Cascaded changes are history as any other.
    assert_eq!(db.rows(&leaf, at(BRANCH, 0)).await.len(), 3);
    assert_eq!(db.rows(&leaf, View::MAIN).await.len(), 3, "main is untouched");
    // Deferred: the parent may come later.
    let mut tx = db.adapter.begin().await.unwrap();
    tx.write(&late, BRANCH, &[cells(&["1", "77"])]).await.unwrap();
    tx.write(&parent, BRANCH, &[cells(&["77", "x"])]).await.unwrap();
    tx.commit().await.unwrap();
    let mut tx = db.adapter.begin().await.unwrap();
    tx.write(&late, BRANCH, &[cells(&["2", "78"])]).await.unwrap();
    assert_eq!(tx.commit().await.unwrap_err().code(), "23503");
    // Without a child's registration the parent is free of it.
    db.adapter.uninstall(&leaf).await.unwrap();
    write(&db, &parent, set("77", 0, text("79"))).await.unwrap_err();
    write(&db, &parent, cells(&["80", "y"])).await.unwrap();
    write(&db, &parent, RowWrite::Delete { key: row(&["80"]) }).await.unwrap();
    // Without the parent's registration the live table counts.
    db.adapter.uninstall(&parent).await.unwrap();
    write(&db, &child, cells(&["9", "9", "1"])).await.unwrap();
    assert_eq!(write(&db, &child, cells(&["10", "2", "1"])).await.unwrap_err().code(), "23503");
    for table in [&child, &loose, &late] {
        db.adapter.uninstall(table).await.unwrap();
    }
    assert_eq!(one(&client, "SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'epoch%'").await, "0");
    db.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn exclusion_constraints_hold_over_the_visible_base() {
    let Some(db) = database().await else { return };
    let client = db.client().await;
    let create = "CREATE TABLE t (id int PRIMARY KEY, room int, span int4range, off bool DEFAULT false,
             CONSTRAINT \"no clash\" EXCLUDE USING gist (int4range(room, room + 1) WITH &&, span WITH &&) WHERE (NOT off));
         INSERT INTO t VALUES (1, 1, '[1,5)', false), (2, 1, '[5,9)', false), (3, 2, '[1,9)', false), (4, 1, '[1,9)', true)";
    client.batch_execute(create).await.unwrap();
    let refused = db.adapter.discover("t").await.unwrap()[0].reason.clone().unwrap();
    assert_eq!(refused, "it has an exclusion constraint, for which branches need the extension btree_gist");
    let location: Location = "postgresql://shop/public.t".parse().unwrap();
    let error = db.adapter.describe(&location, None).await.unwrap_err();
    assert_eq!((error.code(), error.hint()), ("0A000", Some("CREATE EXTENSION btree_gist;")));
    client.batch_execute("CREATE EXTENSION btree_gist").await.unwrap();
    let table = db.register("t", 1).await;
    db.adapter.ensure_layer(&table, BRANCH, None).await.unwrap();
    // As main says it.
    let said = client.batch_execute("INSERT INTO t VALUES (9, 1, '[4,6)')").await.unwrap_err();
    let said = said.as_db_error().unwrap().clone();
    assert_eq!(said.code().code(), "23P01");
    let clash = async |w: RowWrite, detail: &str| {
        let error = write(&db, &table, w).await.unwrap_err();
        assert_eq!(
            (error.code(), error.message(), error.constraint(), error.table(), error.detail()),
            (said.code().code(), said.message(), said.constraint(), said.table(), Some(detail))
        );
    };
    clash(cells(&["9", "1", "[4,6)", "false"]), said.detail().unwrap()).await;
    write(&db, &table, cells(&["9", "1", "[4,6)", "true"])).await.unwrap();
    clash(set("9", 3, text("false")), said.detail().unwrap()).await;
    let both = "Key (int4range(room, room + 1), span)=([2,3), [0,2)) conflicts with existing key (int4range(room, room + 1), span)=([2,3), [1,9)).";
    clash(cells(&["8", "2", "[0,2)", "false"]), both).await;
    // Main moves on; the branch sees its fork.
    client
        .batch_execute("DELETE FROM t WHERE id = 3; UPDATE t SET span = '[20,30)' WHERE id = 2")
        .await
        .unwrap();
    clash(cells(&["8", "2", "[0,2)", "false"]), both).await;
    write(&db, &table, cells(&["7", "1", "[20,30)", "false"])).await.unwrap();
    // What the branch moved or deleted is free, what it added isn't.
    write(&db, &table, RowWrite::Delete { key: row(&["3"]) }).await.unwrap();
    write(&db, &table, cells(&["8", "2", "[0,2)", "false"])).await.unwrap();
    write(&db, &table, set("1", 2, text("[1,3)"))).await.unwrap();
    write(&db, &table, cells(&["6", "1", "[3,5)", "false"])).await.unwrap();
    clash(cells(&["5", "1", "[3,4)", "false"]), "Key (int4range(room, room + 1), span)=([1,2), [3,4)) conflicts with existing key (int4range(room, room + 1), span)=([1,2), [3,5)).").await;
    // Other lineages have their own.
    let other = Layer { lineage: LineageId(8), base: 0 };
    db.adapter.ensure_layer(&table, other, None).await.unwrap();
    let mut tx = db.adapter.begin().await.unwrap();
    tx.write(&table, other, &[cells(&["6", "7", "[3,5)", "false"])]).await.unwrap();
    tx.commit().await.unwrap();
    db.adapter.uninstall(&table).await.unwrap();
    db.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn exclusion_constraints_by_equality_need_no_extension() {
    let Some(db) = database().await else { return };
    let client = db.client().await;
    client
        .batch_execute(
            "CREATE TABLE t (id int PRIMARY KEY, v text, CONSTRAINT same EXCLUDE USING btree (lower(v) WITH =)); INSERT INTO t VALUES (1, 'a');
             CREATE TABLE h (id int PRIMARY KEY, v text, EXCLUDE USING hash (v WITH =))",
        )
        .await
        .unwrap();
    assert_eq!(
        db.adapter.discover("h").await.unwrap()[0].reason.as_deref(),
        Some("it has an exclusion constraint whose index method takes one column only")
    );
    let table = db.register("t", 1).await;
    db.adapter.ensure_layer(&table, BRANCH, None).await.unwrap();
    let error = write(&db, &table, cells(&["2", "A"])).await.unwrap_err();
    assert_eq!(
        (error.code(), error.detail()),
        ("23P01", Some("Key (lower(v))=(a) conflicts with existing key (lower(v))=(a)."))
    );
    write(&db, &table, set("1", 1, text("b"))).await.unwrap();
    write(&db, &table, cells(&["2", "A"])).await.unwrap();
    assert_eq!(write(&db, &table, cells(&["3", "B"])).await.unwrap_err().code(), "23P01");
    db.drop().await;
}
