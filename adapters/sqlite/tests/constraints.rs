//! Constraints on main and over the layers of a branch, with PostgreSQL's codes and messages.
#![allow(
    clippy::unwrap_used,
    clippy::cloned_ref_to_slice_refs,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

mod common;

use std::sync::Arc;

use common::*;
use epoch_adapter::{Adapter, Error, Layer, RowChange, RowWrite, SealMode, TableDef, Value, View};

struct Users {
    db: Db,
    users: Arc<TableDef>,
}

/// The same table with the same rows on main and on a branch that reads it from below; main itself
/// has moved since, so that the rows below are images.
async fn users() -> Users {
    let db = Db::new(
        "CREATE TABLE users (id INTEGER PRIMARY KEY, email TEXT NOT NULL UNIQUE, age INT CHECK (age >= 0),
            nick TEXT DEFAULT 'none', up TEXT AS (upper(nick)) STORED, CONSTRAINT sane CHECK (age < 200));
        CREATE UNIQUE INDEX users_nick ON users (lower(nick)) WHERE nick <> 'none';
        INSERT INTO users (id, email, age, nick) VALUES (1, 'a@x', 10, 'Al'), (2, 'b@x', 20, 'Bo'), (3, 'c@x', 30, 'none');",
    );
    let users = db.register(1, "users").await;
    Users { db, users }
}

const DEV: Layer = Layer { lineage: epoch_adapter::LineageId(2), base: 0 };

impl Users {
    async fn fail(&self, layer: Layer, writes: &[RowWrite]) -> Error {
        error(self.db.write(&self.users, layer, writes).await)
    }
}

fn new(id: Option<i64>, email: Option<&str>, age: i64, nick: Option<&str>) -> RowWrite {
    let cells =
        vec![id.map(int), Some(email.map_or(Value::Null, text)), Some(int(age)), nick.map(text), None];
    RowWrite::Insert(cells)
}

#[tokio::test]
async fn the_same_errors_on_main_and_on_a_branch() {
    let u = users().await;
    u.db.adapter.ensure_layer(&u.users, DEV, None).await.unwrap();
    for layer in [Layer::MAIN, DEV] {
        let e = u.fail(layer, &[new(Some(1), Some("n@x"), 1, None)]).await;
        assert_eq!(e.code(), "23505");
        assert_eq!(e.message(), "duplicate key value violates unique constraint \"users_pkey\"");
        assert_eq!(e.detail(), Some("Key (id)=(1) already exists."));
        assert_eq!((e.table(), e.constraint()), (Some("users"), Some("users_pkey")));

        let e = u.fail(layer, &[new(Some(9), Some("b@x"), 1, None)]).await;
        assert_eq!((e.code(), e.constraint()), ("23505", Some("users_email_key")));
        assert_eq!(e.detail(), Some("Key (email)=(b@x) already exists."));
        let e = u.fail(layer, &[update(1, 1, text("c@x"))]).await;
        assert_eq!(
            (e.constraint(), e.detail()),
            (Some("users_email_key"), Some("Key (email)=(c@x) already exists."))
        );
        let e = u.fail(layer, &[update(1, 0, int(3))]).await;
        assert_eq!((e.constraint(), e.detail()), (Some("users_pkey"), Some("Key (id)=(3) already exists.")));

        let e = u.fail(layer, &[new(Some(9), Some("n@x"), 1, Some("AL"))]).await;
        assert_eq!((e.code(), e.constraint()), ("23505", Some("users_nick")));
        let e = u.fail(layer, &[update(3, 3, text("bO"))]).await;
        assert_eq!((e.code(), e.constraint()), ("23505", Some("users_nick")));

        let e = u.fail(layer, &[new(Some(9), None, 1, None)]).await;
        assert_eq!(e.code(), "23502");
        assert_eq!(
            e.message(),
            "null value in column \"email\" of relation \"users\" violates not-null constraint"
        );
        assert_eq!(
            (e.column(), e.detail()),
            (Some("email"), Some("Failing row contains (9, null, 1, null, null)."))
        );
        let e = u.fail(layer, &[update(2, 1, Value::Null)]).await;
        assert_eq!(e.detail(), Some("Failing row contains (2, null, 20, Bo, BO)."));

        let e = u.fail(layer, &[update(2, 2, int(-1))]).await;
        assert_eq!(e.code(), "23514");
        assert_eq!(
            e.message(),
            "new row for relation \"users\" violates check constraint \"users_age_check\""
        );
        let e = u.fail(layer, &[update(2, 2, int(200))]).await;
        assert_eq!((e.code(), e.constraint()), ("23514", Some("sane")));
        let e = u.fail(layer, &[new(None, Some("n@x"), 1, None), update(2, 0, text("x"))]).await;
        assert_eq!(e.code(), "42804");
    }
    assert_eq!(u.db.rows(&u.users, working(DEV)).await, u.db.rows(&u.users, View::MAIN).await);
}

#[tokio::test]
async fn uniqueness_against_rows_that_main_has_no_more() {
    let u = users().await;
    u.db.adapter.ensure_layer(&u.users, DEV, None).await.unwrap();
    u.db.run("DELETE FROM users WHERE id = 1; UPDATE users SET email = 'new@x', nick = 'Cy' WHERE id = 2");
    let e = u.fail(DEV, &[new(Some(1), Some("n@x"), 1, None)]).await;
    assert_eq!(e.constraint(), Some("users_pkey"));
    let e = u.fail(DEV, &[new(Some(9), Some("b@x"), 1, None)]).await;
    assert_eq!(e.constraint(), Some("users_email_key"));
    let e = u.fail(DEV, &[new(Some(9), Some("n@x"), 1, Some("bo"))]).await;
    assert_eq!(e.constraint(), Some("users_nick"));
    // What only main has now is free on the branch; so is what the branch gave up itself.
    u.db.write(
        &u.users,
        DEV,
        &[new(Some(9), Some("new@x"), 1, Some("cy")), delete(1), new(Some(1), Some("a@x"), 2, Some("al"))],
    )
    .await
    .unwrap();
    let rows = u.db.rows(&u.users, working(DEV)).await;
    assert_eq!(rows[0], [int(1), text("a@x"), int(2), text("al"), text("AL")]);
    assert_eq!(rows.len(), 4);
}

#[tokio::test]
async fn keys_never_collide() {
    let u = users().await;
    u.db.run("INSERT INTO users (id, email) VALUES (100, 'z')");
    u.db.seal(&[u.users.clone()], Layer::MAIN, 1).await;
    let (a, b) = (branch(2, 1), branch(3, 1));
    u.db.adapter.ensure_layer(&u.users, a, None).await.unwrap();
    u.db.adapter.ensure_layer(&u.users, b, None).await.unwrap();
    u.db.run("DELETE FROM users WHERE id = 100");
    let mut keys = Vec::new();
    for (layer, mail) in [(a, "1"), (b, "2"), (Layer::MAIN, "3"), (a, "4"), (Layer::MAIN, "5")] {
        let mut tx = u.db.adapter.begin().await.unwrap();
        let rows = tx.write_returning(&u.users, layer, &[new(None, Some(mail), 1, None)]).await.unwrap();
        keys.push(rows[0][0].clone());
        tx.commit().await.unwrap();
    }
    assert_eq!(keys, [101, 102, 103, 104, 105].map(int));
    u.db.write(&u.users, a, &[new(Some(500), Some("6"), 1, None)]).await.unwrap();
    let mut tx = u.db.adapter.begin().await.unwrap();
    let rows = tx.write_returning(&u.users, b, &[new(None, Some("7"), 1, None)]).await.unwrap();
    assert_eq!(rows[0][0], int(106));
    tx.rollback().await.unwrap();
    // A key that a statement names isn't given out again on its branch.
    u.db.write(&u.users, a, &[new(Some(106), Some("8"), 1, None)]).await.unwrap();
    let mut tx = u.db.adapter.begin().await.unwrap();
    let rows = tx.write_returning(&u.users, a, &[new(None, Some("9"), 1, None)]).await.unwrap();
    assert_eq!(rows[0][0], int(107));
}

/// The largest key there is, on a branch: main's INSERTs failed for ever ("database or disk is full").
#[tokio::test]
async fn a_branch_cannot_use_up_the_keys_of_main() {
    for sql in ["AUTOINCREMENT", ""] {
        let db = Db::new(&format!(
            "CREATE TABLE t (id INTEGER PRIMARY KEY {sql}, x); INSERT INTO t (x) VALUES (1)"
        ));
        let t = db.register(1, "t").await;
        let (dev, other) = (branch(2, 0), branch(3, 0));
        db.write(
            &t,
            dev,
            &[RowWrite::Insert(vec![Some(int(i64::MAX)), None]), update(1, 0, int(i64::MAX - 1))],
        )
        .await
        .unwrap();
        db.run("INSERT INTO t (x) VALUES (2)");
        for layer in [Layer::MAIN, other, dev] {
            db.write(&t, layer, &[RowWrite::Insert(vec![None, None])]).await.unwrap();
        }
        db.run("INSERT INTO t (x) VALUES (3)");
        let keys: Vec<_> = db.rows(&t, View::MAIN).await.into_iter().map(|r| r[0].clone()).collect();
        let last = if sql.is_empty() { 4 } else { 6 };
        assert_eq!(keys, [1, 2, 3, last].map(int), "{sql}");
        let keys: Vec<_> = db.rows(&t, working(dev)).await.into_iter().map(|r| r[0].clone()).collect();
        assert_eq!(keys, [5, i64::MAX - 1, i64::MAX].map(int), "{sql}");
    }
}

#[tokio::test]
async fn autoincrement_goes_on_behind_the_branches() {
    let db = Db::new(
        "CREATE TABLE t (id INTEGER PRIMARY KEY AUTOINCREMENT, x); INSERT INTO t (x) VALUES (1), (2); DELETE FROM t",
    );
    let t = db.register(1, "t").await;
    let dev = branch(2, 0);
    db.adapter.ensure_layer(&t, dev, None).await.unwrap();
    db.write(&t, dev, &[RowWrite::Insert(vec![None, Some(int(7))])]).await.unwrap();
    db.run("INSERT INTO t (x) VALUES (8)");
    assert_eq!(db.rows(&t, working(dev)).await[0][0], int(3));
    assert_eq!(db.rows(&t, View::MAIN).await[0][0], int(4));
}

const SHOP: &str = "CREATE TABLE customers (id INTEGER PRIMARY KEY, code TEXT UNIQUE, boss INT REFERENCES customers);
    CREATE TABLE orders (id INTEGER PRIMARY KEY, customer_id INT NOT NULL, CONSTRAINT by_customer FOREIGN KEY (customer_id) REFERENCES customers);
    CREATE TABLE items (id INTEGER PRIMARY KEY, order_id INT REFERENCES orders (id) ON DELETE CASCADE ON UPDATE CASCADE,
        code TEXT DEFAULT 'd' REFERENCES customers (code) ON DELETE SET NULL ON UPDATE SET DEFAULT,
        note INT REFERENCES notes (id) DEFERRABLE INITIALLY DEFERRED);
    CREATE TABLE notes (id INTEGER PRIMARY KEY);
    INSERT INTO customers VALUES (1, 'a', NULL), (2, 'b', 1), (3, 'd', 3);
    INSERT INTO orders VALUES (10, 1), (11, 2); INSERT INTO notes VALUES (5);
    INSERT INTO items VALUES (100, 10, 'a', NULL), (101, 10, 'b', 5), (102, 11, NULL, NULL);";

struct Shop {
    db: Db,
    customers: Arc<TableDef>,
    orders: Arc<TableDef>,
    items: Arc<TableDef>,
}

impl Shop {
    async fn new() -> Self {
        let db = Db::new(SHOP);
        let (customers, orders, items) = (
            db.register(1, "customers").await,
            db.register(2, "orders").await,
            db.register(3, "items").await,
        );
        let shop = Self { db, customers, orders, items };
        for table in [&shop.customers, &shop.orders, &shop.items] {
            shop.db.adapter.ensure_layer(table, DEV, None).await.unwrap();
        }
        shop
    }
}

#[tokio::test]
async fn foreign_keys_from_the_child_and_from_the_parent() {
    let s = Shop::new().await;
    for layer in [Layer::MAIN, DEV] {
        let e = error(s.db.write(&s.orders, layer, &[insert(vec![int(12), int(9)])]).await);
        assert_eq!(e.code(), "23503");
        assert_eq!(
            e.message(),
            "insert or update on table \"orders\" violates foreign key constraint \"by_customer\""
        );
        assert_eq!(e.detail(), Some("Key (customer_id)=(9) is not present in table \"customers\"."));
        let e = error(s.db.write(&s.orders, layer, &[update(10, 1, int(9))]).await);
        assert_eq!((e.code(), e.constraint()), ("23503", Some("by_customer")));

        let e = error(s.db.write(&s.customers, layer, &[delete(2)]).await);
        assert_eq!(e.code(), "23503");
        assert_eq!(
            e.message(),
            "update or delete on table \"customers\" violates foreign key constraint \"by_customer\" on table \"orders\""
        );
        assert_eq!(e.detail(), Some("Key (id)=(2) is still referenced from table \"orders\"."));
        let e = error(s.db.write(&s.customers, layer, &[update(2, 0, int(20))]).await);
        assert_eq!((e.code(), e.constraint()), ("23503", Some("by_customer")));

        // One statement may take parent and child of the same table away, in any order.
        s.db.write(&s.orders, layer, &[delete(11), delete(10)]).await.unwrap();
        assert_eq!(s.db.rows(&s.items, working(layer)).await.len(), 0);
        s.db.write(&s.customers, layer, &[delete(1), delete(2)]).await.unwrap();
        let e = error(s.db.write(&s.customers, layer, &[insert(vec![int(7), Value::Null, int(8)])]).await);
        assert_eq!((e.code(), e.constraint()), ("23503", Some("customers_boss_fkey")));
        s.db.write(
            &s.customers,
            layer,
            &[insert(vec![int(7), Value::Null, int(8)]), insert(vec![int(8), Value::Null, int(7)])],
        )
        .await
        .unwrap();
    }
}

#[tokio::test]
async fn cascades_write_the_branch() {
    let s = Shop::new().await;
    let start = s.db.rows(&s.items, View::MAIN).await;
    for layer in [DEV, Layer::MAIN] {
        // ON UPDATE CASCADE, SET DEFAULT, then SET NULL.
        s.db.write(&s.orders, layer, &[update(10, 0, int(15))]).await.unwrap();
        s.db.write(&s.customers, layer, &[update(1, 1, text("z")), update(2, 1, text("y"))]).await.unwrap();
        let rows = s.db.rows(&s.items, working(layer)).await;
        assert_eq!(rows[0], [int(100), int(15), text("d"), Value::Null]);
        assert_eq!(rows[1][1..3], [int(15), text("d")]);
        s.db.write(&s.customers, layer, &[delete(3)]).await.unwrap();
        let rows = s.db.rows(&s.items, working(layer)).await;
        assert_eq!(rows[0][2], Value::Null);
        if layer == DEV {
            assert_eq!(s.db.rows(&s.items, View::MAIN).await, start);
            assert_eq!(s.db.rows(&s.items, at(DEV, 0)).await, start);
        }
    }
}

#[tokio::test]
async fn deferred_keys_are_checked_at_commit() {
    let s = Shop::new().await;
    let item = |id, note| insert(vec![int(id), Value::Null, Value::Null, int(note)]);
    for layer in [Layer::MAIN, DEV] {
        let mut tx = s.db.adapter.begin().await.unwrap();
        tx.write(&s.items, layer, &[item(200, 6)]).await.unwrap();
        let e = error(tx.commit().await);
        assert_eq!((e.code(), e.constraint()), ("23503", Some("items_note_fkey")));
        let mut tx = s.db.adapter.begin().await.unwrap();
        tx.savepoint("a").await.unwrap();
        tx.write(&s.items, layer, &[item(200, 6)]).await.unwrap();
        tx.rollback_to("a").await.unwrap();
        tx.write(&s.items, layer, &[item(201, 6), update(201, 3, int(5))]).await.unwrap();
        tx.commit().await.unwrap();
    }
}

#[tokio::test]
async fn a_merge_is_checked_and_does_not_cascade() {
    let s = Shop::new().await;
    let gone =
        |before: Vec<Value>| RowChange { key: vec![before[0].clone()], before: Some(before), after: None };
    for layer in [Layer::MAIN, DEV] {
        let order = vec![int(10), int(1)];
        let e = error(s.db.apply(&s.orders, layer, 1, vec![gone(order.clone())], SealMode::All).await);
        assert_eq!((e.code(), e.constraint()), ("23503", Some("items_order_id_fkey")));
        let new = RowChange { key: vec![int(40)], before: None, after: Some(vec![int(40), int(99)]) };
        let e = error(s.db.apply(&s.orders, layer, 1, vec![new], SealMode::All).await);
        assert_eq!((e.code(), e.constraint()), ("23503", Some("by_customer")));
        let items: Vec<_> = s.db.rows(&s.items, working(layer)).await.into_iter().take(2).map(gone).collect();
        let changes = [
            epoch_adapter::TableChanges {
                table: s.orders.clone(),
                changes: vec![gone(order)],
                arrival: None,
            },
            epoch_adapter::TableChanges { table: s.items.clone(), changes: items, arrival: None },
        ];
        let tables = [s.customers.clone(), s.orders.clone(), s.items.clone()];
        let done =
            s.db.adapter
                .seal(&format!("m{}", layer.lineage.0), &tables, layer, 1, &changes, SealMode::Own)
                .await
                .unwrap();
        assert_eq!(done.tables.iter().map(|t| t.1.removed).collect::<Vec<_>>(), [1, 2]);
    }
    // The connection's own checks are on again.
    let e = error(s.db.write(&s.customers, Layer::MAIN, &[delete(2)]).await);
    assert_eq!(e.code(), "23503");
}

#[tokio::test]
async fn a_nested_branch_sees_its_parents_rows_in_keys() {
    let s = Shop::new().await;
    s.db.write(&s.customers, DEV, &[insert(vec![int(50), Value::Null, Value::Null])]).await.unwrap();
    s.db.write(&s.orders, DEV, &[insert(vec![int(60), int(50)])]).await.unwrap();
    let all = [s.customers.clone(), s.orders.clone(), s.items.clone()];
    s.db.seal(&all, DEV, 1).await;
    s.db.write(&s.orders, DEV, &[delete(60)]).await.unwrap();
    s.db.write(&s.customers, DEV, &[delete(50)]).await.unwrap();
    let nested = branch(3, 0);
    // The tables that foreign keys tie together get their layers together.
    let related = s.db.adapter.related(&s.orders).await.unwrap();
    assert_eq!(related, [s.customers.id, s.items.id]);
    for table in [&s.customers, &s.items, &s.orders] {
        s.db.adapter.ensure_layer(table, nested, Some(&at(DEV, 1))).await.unwrap();
    }
    s.db.write(&s.orders, nested, &[insert(vec![int(61), int(50)])]).await.unwrap();
    assert_eq!(error(s.db.write(&s.orders, nested, &[insert(vec![int(62), int(51)])]).await).code(), "23503");
}
