//! INSERT, UPDATE, DELETE and transactions on SQLite tables.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod federation;

use epoch::federation::Session;
use epoch::operations::Repository;
use federation::{Fixture, SHOP, config, make, rows};

#[tokio::test]
async fn inserts_of_all_shapes() {
    let mut f = Fixture::new(SHOP).await;
    assert_eq!(
        f.tag("INSERT INTO customers VALUES (4, 'Dan', 'Oslo', true), (5, 'Eve', NULL, false)").await,
        "INSERT 0 2"
    );
    assert_eq!(f.tag("INSERT INTO customers (name, id) VALUES ('Fay', '6')").await, "INSERT 0 1");
    assert_eq!(
        f.lines("SELECT * FROM customers WHERE id > 3 ORDER BY id").await,
        ["4|Dan|Oslo|t", "5|Eve|-|f", "6|Fay|-|f"]
    );
    let r = f
        .run("INSERT INTO customers (name, vip) VALUES ('Gus', DEFAULT) RETURNING id, upper(name), *")
        .await
        .unwrap();
    assert_eq!((r.lines(), r.tag.as_str()), (vec!["7|GUS|7|Gus|-|f".to_owned()], "INSERT 0 1"));
    assert_eq!(r.columns, ["id", "upper", "id", "name", "city", "vip"]);
    assert_eq!(
        f.tag("INSERT INTO products SELECT name, id * 1.5, '2024-01-01' FROM customers WHERE id < 3").await,
        "INSERT 0 2"
    );
    assert_eq!(
        f.lines("SELECT * FROM products WHERE sku IN ('Ann', 'Bob') ORDER BY 1").await,
        ["Ann|1.50|2024-01-01", "Bob|3.00|2024-01-01"]
    );
    assert_eq!(f.tag("INSERT INTO items VALUES (1, 1, 'a', '\\x0a')").await, "INSERT 0 1");
    let hex: String = f
        .direct("shop")
        .query_row("SELECT hex(data) FROM items WHERE order_id = 1", [], |r| r.get(0))
        .unwrap();
    assert_eq!(hex, "0A");
    let types: String = f
        .direct("shop")
        .query_row("SELECT typeof(price) || typeof(added) FROM products WHERE sku = 'Bob'", [], |r| r.get(0))
        .unwrap();
    assert!(types == "integertext" || types == "realtext", "{types}");
}

#[tokio::test]
async fn updates_and_deletes() {
    let mut f = Fixture::new(SHOP).await;
    assert_eq!(f.tag("UPDATE customers SET city = 'Bern', vip = NOT vip WHERE id < 3").await, "UPDATE 2");
    assert_eq!(
        f.lines("SELECT * FROM customers ORDER BY id").await,
        ["1|Ann|Bern|f", "2|Bob|Bern|t", "3|Cid|Rome|f"]
    );
    let sql = "UPDATE orders AS o SET total = total * 2, note = c.name FROM customers c
               WHERE c.id = o.customer_id AND c.name = 'Cid' RETURNING o.id, total, c.name";
    let r = f.run(sql).await.unwrap();
    assert_eq!((r.lines(), r.tag.as_str()), (vec!["12|0.2|Cid".to_owned()], "UPDATE 1"));
    assert_eq!(r.columns, ["id", "total", "name"]);
    assert_eq!(f.tag("UPDATE products SET price = 9.999 WHERE sku = 'a'").await, "UPDATE 1");
    assert_eq!(f.lines("SELECT price FROM products WHERE sku = 'a'").await, ["10.00"]);
    assert_eq!(f.tag("UPDATE items SET line = line + 10 WHERE order_id = 10").await, "UPDATE 2");
    assert_eq!(f.lines("SELECT line FROM items WHERE order_id = 10 ORDER BY 1").await, ["11", "12"]);
    let r = f
        .run("DELETE FROM items USING orders o WHERE o.id = items.order_id AND o.id = 12 RETURNING items.*")
        .await
        .unwrap();
    assert_eq!((r.lines(), r.tag.as_str()), (vec!["12|1|a|\\x".to_owned()], "DELETE 1"));
    assert_eq!(f.tag("DELETE FROM items").await, "DELETE 2");
    assert_eq!(f.tag("UPDATE customers SET name = 'x' WHERE false").await, "UPDATE 0");
    assert_eq!(f.tag("UPDATE customers SET vip = DEFAULT, city = NULL").await, "UPDATE 3");
    assert_eq!(f.lines("SELECT DISTINCT vip, city FROM customers").await, ["f|-"]);
}

#[tokio::test]
async fn conflicts_of_inserts() {
    let mut f = Fixture::new(SHOP).await;
    let sql = "INSERT INTO customers (id, name) VALUES (1, 'X'), (8, 'Y'), (8, 'Z') ON CONFLICT DO NOTHING";
    assert_eq!(f.tag(sql).await, "INSERT 0 1");
    assert_eq!(
        f.tag("INSERT INTO orders VALUES (99, 1, NULL, 1, 'x') ON CONFLICT DO NOTHING").await,
        "INSERT 0 0"
    );
    let sql = "INSERT INTO customers AS c (id, name, city) VALUES (1, 'Ann2', 'Nice'), (9, 'New', 'Lyon')
               ON CONFLICT (id) DO UPDATE SET name = excluded.name || '/' || c.name, city = EXCLUDED.city RETURNING id, name, city";
    let r = f.run(sql).await.unwrap();
    assert_eq!(
        (r.lines(), r.tag.as_str()),
        (vec!["1|Ann2/Ann|Nice".to_owned(), "9|New|Lyon".to_owned()], "INSERT 0 2")
    );
    let sql = "INSERT INTO customers (id, name) VALUES (2, 'no') ON CONFLICT (id) DO UPDATE SET name = 'no' WHERE customers.vip";
    assert_eq!(f.tag(sql).await, "INSERT 0 0");
    let sql = "INSERT INTO customers (id, name) VALUES (2, 'a'), (2, 'b') ON CONFLICT (id) DO UPDATE SET name = excluded.name";
    assert_eq!(f.fails(sql).await.code(), "21000");
    let sql = "INSERT INTO orders (id, note, customer_id) VALUES (1, 'x', 1) ON CONFLICT (note) DO NOTHING";
    assert_eq!(f.fails(sql).await.code(), "0A000");
}

#[tokio::test]
async fn errors_of_writes() {
    let mut f = Fixture::new(SHOP).await;
    let cases = [
        ("INSERT INTO customers VALUES (1, 'dup', NULL, NULL)", "23505"),
        ("INSERT INTO customers (id) VALUES (50)", "23502"),
        ("INSERT INTO products VALUES ('x', -1, NULL)", "23514"),
        ("INSERT INTO orders (id, customer_id) VALUES (77, 999)", "23503"),
        ("INSERT INTO customers (id, nope) VALUES (1, 2)", "42703"),
        ("INSERT INTO customers (id, id) VALUES (1, 2)", "42701"),
        ("INSERT INTO customers (id, name) VALUES (1)", "42601"),
        ("INSERT INTO customers (id) VALUES (1, 2)", "42601"),
        ("INSERT INTO customers (id, name) VALUES ('x', 'y')", "22P02"),
        ("INSERT INTO customers (id, vip) SELECT id, id FROM customers", "42804"),
        ("INSERT INTO nothing VALUES (1)", "42P01"),
        ("UPDATE customers SET nope = 1", "42703"),
        ("UPDATE customers SET id = name", "42804"),
        ("UPDATE customers SET name = 'a', name = 'b'", "42601"),
        ("UPDATE customers SET id = 1 WHERE id = 2", "23505"),
        ("DELETE FROM customers WHERE id = 1", "23503"),
        ("DELETE FROM nothing", "42P01"),
        ("UPDATE products SET price = 123456789.99", "22003"),
    ];
    for (sql, code) in cases {
        let error = f.fails(sql).await;
        assert_eq!(error.code(), code, "{sql}: {error}");
    }
    assert_eq!(f.lines("SELECT count(*) FROM customers").await, ["3"]);
}

#[tokio::test]
async fn blocks_commit_and_roll_back() {
    let mut f = Fixture::new(SHOP).await;
    assert_eq!(f.tag("BEGIN").await, "BEGIN");
    assert_eq!(f.session.transaction_status(), b'T');
    f.tag("INSERT INTO customers VALUES (4, 'Dan', NULL, NULL)").await;
    assert_eq!(f.lines("SELECT count(*) FROM customers").await, ["4"], "own writes are seen");
    let seen: i64 = f.direct("shop").query_row("SELECT count(*) FROM customers", [], |r| r.get(0)).unwrap();
    assert_eq!(seen, 3, "others don't see them");
    assert_eq!(f.tag("ROLLBACK").await, "ROLLBACK");
    assert_eq!(f.session.transaction_status(), b'I');
    assert_eq!(f.lines("SELECT count(*) FROM customers").await, ["3"]);

    f.tag("BEGIN").await;
    f.tag("INSERT INTO customers VALUES (4, 'Dan', NULL, NULL)").await;
    f.tag("SAVEPOINT a").await;
    f.tag("UPDATE customers SET name = 'x'").await;
    assert_eq!(f.fails("SELECT nope").await.code(), "42703");
    assert_eq!(f.session.transaction_status(), b'E');
    assert_eq!(f.fails("SELECT 1").await.code(), "25P02");
    assert_eq!(f.tag("ROLLBACK TO a").await, "ROLLBACK");
    assert_eq!(f.session.transaction_status(), b'T');
    f.tag("RELEASE a").await;
    assert_eq!(f.tag("COMMIT").await, "COMMIT");
    assert_eq!(f.lines("SELECT name FROM customers ORDER BY id").await, ["Ann", "Bob", "Cid", "Dan"]);

    f.tag("BEGIN").await;
    f.tag("DELETE FROM items").await;
    f.fails("SELECT 1/0").await;
    assert_eq!(f.tag("COMMIT").await, "ROLLBACK");
    assert_eq!(f.lines("SELECT count(*) FROM items").await, ["3"]);
    assert_eq!(f.fails("ROLLBACK TO nothing").await.code(), "25P01");
    f.tag("BEGIN READ ONLY").await;
    assert_eq!(f.fails("DELETE FROM items").await.code(), "25006");
    f.tag("ROLLBACK").await;
    assert_eq!(f.tag("COMMIT").await, "COMMIT");
    assert_eq!(f.session.take_notices().last().unwrap().code(), "25P01");
}

#[tokio::test]
async fn an_error_in_a_row_fails_the_block() {
    let mut f = Fixture::new(SHOP).await;
    f.tag("BEGIN").await;
    let error = f.fails("SELECT 1 / (id - 2) FROM customers").await;
    assert_eq!(error.code(), "22012");
    assert_eq!(f.session.transaction_status(), b'E');
}

#[tokio::test]
async fn a_statement_reads_its_table_while_it_writes_it() {
    let mut f = Fixture::new(SHOP).await;
    f.tag("BEGIN").await;
    for _ in 0..4 {
        f.tag("INSERT INTO customers (name) SELECT a.name FROM customers a JOIN customers b ON a.id <> -b.id LIMIT 500").await;
    }
    let before: i64 = f.lines("SELECT count(*) FROM customers").await[0].parse().unwrap();
    assert_eq!(
        f.tag("INSERT INTO customers (name) SELECT name FROM customers").await,
        format!("INSERT 0 {before}")
    );
    f.tag("DELETE FROM orders").await;
    assert_eq!(f.tag("UPDATE customers SET id = id + 100000").await, format!("UPDATE {}", before * 2));
    f.tag("COMMIT").await;
    assert_eq!(
        f.lines("SELECT count(*), min(id) > 100000 FROM customers").await,
        [format!("{}|t", before * 2)]
    );
}

#[tokio::test]
async fn a_branch_has_its_own_rows() {
    let mut f = Fixture::new(SHOP).await;
    f.repository.create_branch(&f.main, "x", None, false).await.unwrap();
    let x = f.repository.checkout("x", None).await.unwrap();
    assert_eq!(
        f.run_on(&x, "UPDATE customers SET name = 'branch' WHERE id = 1").await.unwrap().tag,
        "UPDATE 1"
    );
    assert_eq!(f.run_on(&x, "DELETE FROM customers WHERE id = 2").await.unwrap().tag, "DELETE 1");
    assert_eq!(
        f.run_on(&x, "SELECT id, name FROM customers ORDER BY id").await.unwrap().lines(),
        ["1|branch", "3|Cid"]
    );
    assert_eq!(f.lines("SELECT id, name FROM customers ORDER BY id").await, ["1|Ann", "2|Bob", "3|Cid"]);
    let head = f.repository.hash_of(&f.main, "main").await.unwrap();
    let commit = f.repository.checkout(&head, None).await.unwrap();
    let error = f.run_on(&commit, "DELETE FROM customers").await.unwrap_err();
    assert_eq!(error.code(), "25006");
}

#[tokio::test]
async fn two_backends_join_but_dont_commit_as_one() {
    let folder = tempfile::tempdir().unwrap();
    make(&folder.path().join("shop.db"), SHOP);
    make(
        &folder.path().join("crm.db"),
        "CREATE TABLE notes (id INTEGER PRIMARY KEY, customer INTEGER, body TEXT); INSERT INTO notes VALUES (1, 1, 'hi'), (2, 3, 'ho')",
    );
    let repository = Repository::open(&config(folder.path(), &["shop", "crm"])).await.unwrap();
    repository.register("*", Some("sqlite://shop/*"), None).await.unwrap();
    repository.register("*", Some("sqlite://crm/*"), None).await.unwrap();
    let main = repository.checkout("main", None).await.unwrap();
    let mut session = Session::new(repository, "ann", "shop");
    let sql = "SELECT c.name, n.body FROM notes n JOIN customers c ON c.id = n.customer ORDER BY 1";
    let joined = rows(session.simple(&main, sql).await.unwrap()).await.unwrap();
    assert_eq!(joined.lines(), ["Ann|hi", "Cid|ho"]);
    let sql = "UPDATE notes SET body = c.name FROM customers c WHERE c.id = notes.customer";
    assert_eq!(rows(session.simple(&main, sql).await.unwrap()).await.unwrap().tag, "UPDATE 2");
    session.simple(&main, "BEGIN").await.unwrap();
    session.simple(&main, "DELETE FROM notes").await.unwrap();
    let Err(error) = session.simple(&main, "DELETE FROM items").await else {
        panic!("wrote to two backends")
    };
    assert_eq!(error.code(), "0A000");
    session.abandon().await;
    assert_eq!(session.transaction_status(), b'I');
}
