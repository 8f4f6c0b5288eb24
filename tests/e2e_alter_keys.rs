//! ALTER TABLE on branches of tables with foreign keys, from both sides: what PostgreSQL does to plain tables of the same
//! rows is what the branch shows; main and all others see nothing of it before a merge.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use common::Fixture;
use common::conn::{self, Conn};
use common::database::{Database, base_rows, catalog};
use common::verbs::commit;

const SHOP: &str = "CREATE TABLE customers (id int PRIMARY KEY, email text NOT NULL CONSTRAINT customers_email_key UNIQUE, name text); \
    CREATE TABLE orders (id int PRIMARY KEY, customer int NOT NULL CONSTRAINT orders_customer_fkey REFERENCES customers, \
        email text CONSTRAINT orders_email_fkey REFERENCES customers (email) ON UPDATE CASCADE ON DELETE SET NULL, \
        follows int CONSTRAINT orders_follows_fkey REFERENCES orders ON DELETE CASCADE, note text); \
    CREATE TABLE items (order_id int CONSTRAINT items_order_fkey REFERENCES orders ON DELETE CASCADE, line int, n int, PRIMARY KEY (order_id, line)); \
    CREATE TABLE colors (id int PRIMARY KEY, name text); \
    INSERT INTO customers SELECT g, 'c' || g || '@x', 'customer ' || g FROM generate_series(1, 20) g; \
    INSERT INTO orders SELECT g, g % 10 + 1, 'c' || (g % 10 + 1) || '@x', nullif(g - 1, 0), NULL FROM generate_series(1, 10) g; \
    INSERT INTO items SELECT o, l, l FROM generate_series(1, 10) o, generate_series(1, 2) l; \
    INSERT INTO colors VALUES (1, 'red'), (2, 'blue')";

/// A branch beside a database that has the same rows as plain tables.
struct Mirror {
    branch: Conn,
    plain: Conn,
    _db: Database,
}

impl Mirror {
    fn new(branch: Conn) -> Self {
        let db = Database::create();
        let mut plain = db.connect();
        plain.exec(SHOP);
        Self { branch, plain, _db: db }
    }

    /// The same answer on both sides: tags and rows, or the error with its fields.
    fn both(&mut self, sql: &str) {
        let essence = |conn: &mut Conn| {
            let reply = conn.simple(sql);
            match reply.error() {
                Some(error) => "CMDstn"
                    .chars()
                    .map(|f| format!("{f}: {}", error.0.get(&f).cloned().unwrap_or_default()))
                    .collect(),
                None => {
                    let mut lines: Vec<String> = reply.tags().iter().map(|t| (*t).to_owned()).collect();
                    lines.extend(reply.rows().iter().map(|r| format!("{r:?}")));
                    lines.sort();
                    lines
                }
            }
        };
        let (plain, branch) = (essence(&mut self.plain), essence(&mut self.branch));
        assert_eq!(branch, plain, "{sql}");
        self.same();
    }

    fn same(&mut self) {
        for table in ["customers", "orders", "items", "colors"] {
            let sql = format!("SELECT * FROM {table} ORDER BY 1, 2");
            assert_eq!(self.branch.lines(&sql), self.plain.lines(&sql), "{sql}");
        }
    }
}

/// Child, parent, both, keys that come and go, actions in all directions.
#[test]
fn tables_with_foreign_keys_are_altered_as_postgresql_alters_them() {
    need_postgres!();
    let f = Fixture::registered(SHOP);
    let mut direct = f.direct();
    let mut main = f.main();
    commit(&mut main, "rows");
    let mut other = Mirror::new(f.branch("other"));
    let mut m = Mirror::new(f.branch("x"));
    m.both("UPDATE orders SET note = 'mine' WHERE id = 4");
    let before = (catalog(&mut direct), base_rows(&mut direct));
    for sql in [
        // The child.
        "ALTER TABLE orders ADD COLUMN total int DEFAULT 7",
        "INSERT INTO orders (id, customer) VALUES (11, 99)",
        "INSERT INTO orders (id, customer, total) VALUES (11, 3, 1)",
        "UPDATE orders SET customer = 77 WHERE id = 5",
        "DELETE FROM customers WHERE id = 2",
        "DELETE FROM customers WHERE id = 20",
        "UPDATE customers SET email = 'new@x' WHERE id = 4",
        "UPDATE customers SET id = 400 WHERE id = 4",
        "INSERT INTO items VALUES (50, 1, 1)",
        "INSERT INTO items VALUES (11, 1, 1)",
        // The parent.
        "ALTER TABLE customers ADD COLUMN level int NOT NULL DEFAULT 1, ADD CONSTRAINT level_check CHECK (level < 9)",
        "ALTER TABLE customers RENAME COLUMN id TO number",
        "DELETE FROM customers WHERE number = 3",
        "INSERT INTO customers (number, email) VALUES (21, 'c21@x')",
        "INSERT INTO orders (id, customer) VALUES (12, 21)",
        "INSERT INTO orders (id, customer) VALUES (13, 22)",
        "UPDATE customers SET email = 'newer@x' WHERE number = 4",
        "DELETE FROM orders WHERE id = 9",
        // Keys that come, with rows that don't fit and rows that do.
        "ALTER TABLE items ADD COLUMN color int",
        "UPDATE items SET color = line WHERE order_id < 4",
        "UPDATE items SET color = 9 WHERE order_id = 4 AND line = 1",
        "ALTER TABLE items ADD CONSTRAINT items_color_fkey FOREIGN KEY (color) REFERENCES colors",
        "UPDATE items SET color = NULL WHERE color = 9",
        "ALTER TABLE items ADD CONSTRAINT items_color_fkey FOREIGN KEY (color) REFERENCES colors ON DELETE SET NULL",
        "UPDATE items SET color = 9 WHERE order_id = 1",
        "DELETE FROM colors WHERE id = 2",
        "ALTER TABLE items ADD CONSTRAINT to_nothing FOREIGN KEY (n) REFERENCES colors (name)",
        "ALTER TABLE items ADD CONSTRAINT later FOREIGN KEY (n) REFERENCES colors NOT VALID",
        "UPDATE items SET n = 5 WHERE order_id = 1 AND line = 2",
        "ALTER TABLE items VALIDATE CONSTRAINT later",
        "UPDATE items SET n = 1",
        "ALTER TABLE items VALIDATE CONSTRAINT later",
        "DELETE FROM colors",
        "ALTER TABLE items DROP CONSTRAINT later",
        "DELETE FROM colors",
        // And go.
        "ALTER TABLE orders DROP CONSTRAINT orders_customer_fkey",
        "DELETE FROM customers WHERE number = 5",
        "INSERT INTO orders (id, customer) VALUES (14, 1234)",
        "ALTER TABLE orders ADD FOREIGN KEY (customer) REFERENCES customers",
        "ALTER TABLE orders DROP COLUMN follows",
        "DELETE FROM orders WHERE id IN (1, 2)",
        "ALTER TABLE orders ADD COLUMN best int REFERENCES items",
        // Written anew, with keys that hold.
        "ALTER TABLE items ALTER n TYPE text USING 'n' || n",
        "INSERT INTO items (order_id, line, n) VALUES (77, 1, 'x')",
        "ALTER TABLE orders ADD CONSTRAINT orders_next_fkey FOREIGN KEY (total) REFERENCES orders DEFERRABLE INITIALLY DEFERRED",
        "UPDATE orders SET total = 6",
        "ALTER TABLE orders ADD CONSTRAINT orders_next_fkey FOREIGN KEY (total) REFERENCES orders DEFERRABLE INITIALLY DEFERRED",
        "BEGIN; UPDATE orders SET total = 60; INSERT INTO orders (id, customer) VALUES (60, 6); COMMIT",
        "UPDATE orders SET total = 61",
        "TRUNCATE customers",
        "BEGIN; TRUNCATE customers CASCADE; SELECT count(*) FROM items; ROLLBACK",
    ] {
        m.both(sql);
    }
    assert_eq!((catalog(&mut direct), base_rows(&mut direct)), before, "main has nothing of it");
    other.same();
    for sql in [
        "DELETE FROM customers WHERE id = 2",
        "INSERT INTO orders (id, customer) VALUES (11, 99)",
        "UPDATE customers SET email = 'new@x' WHERE id = 4",
        "DELETE FROM orders WHERE id = 5",
        "DELETE FROM colors",
    ] {
        other.both(sql);
    }
}

/// What the key of another table needs can't go, unless that key goes first.
#[test]
fn what_a_foreign_key_needs_stays() {
    need_postgres!();
    let f = Fixture::registered(SHOP);
    commit(&mut f.main(), "rows");
    let mut x = f.branch("x");
    for sql in [
        "ALTER TABLE customers DROP COLUMN email",
        "ALTER TABLE customers DROP CONSTRAINT customers_email_key",
        "ALTER TABLE customers ALTER email TYPE varchar(40)",
        "DROP TABLE customers",
        "DROP TABLE colors, orders",
    ] {
        assert_eq!(x.err(sql).code(), "2BP01", "{sql}");
    }
    x.exec("ALTER TABLE orders DROP CONSTRAINT orders_email_fkey");
    x.exec("ALTER TABLE customers DROP COLUMN email");
    // Tables of main that have keys are dropped, those that they refer to afterwards.
    x.exec("DROP TABLE items");
    assert_eq!(x.exec("DELETE FROM orders WHERE id = 10").tags(), ["DELETE 1"]);
    x.exec("SELECT * FROM epoch_reset('--hard')");
    assert_eq!(x.one("SELECT count(*) FROM items"), "20");
    assert_eq!(x.exec("DELETE FROM orders WHERE id = 10").tags(), ["DELETE 1"]);
    assert_eq!(x.one("SELECT count(*) FROM items"), "18");
    assert_eq!(x.err("DELETE FROM customers WHERE email = 'c3@x'").constraint(), "orders_customer_fkey");
    x.exec("DROP TABLE items, orders");
    assert_eq!(x.exec("DELETE FROM customers").tags(), ["DELETE 20"]);
    x.exec("DROP TABLE customers");
    commit(&mut x, "dropped");
    x.exec("SELECT * FROM epoch_reset('--hard', 'x~1')");
    assert_eq!(x.one("SELECT count(*) FROM items"), "20");
    assert_eq!(x.err("DELETE FROM customers WHERE id = 3").constraint(), "orders_customer_fkey");
    assert_eq!(f.direct().one("SELECT count(*) FROM customers"), "20");
}

/// Keys hold over commits, nested branches, resets and merges between branches, whichever side altered which table.
#[test]
fn keys_hold_on_nested_branches_and_after_merges() {
    need_postgres!();
    let f = Fixture::registered(SHOP);
    commit(&mut f.main(), "rows");
    let [mut a, mut b] = ["a", "b"].map(|name| f.branch(name));
    a.exec("INSERT INTO customers (id, email) VALUES (100, 'hundred@x')");
    a.exec("ALTER TABLE customers ADD COLUMN level int DEFAULT 1");
    let one = commit(&mut a, "level");
    a.exec("SELECT * FROM epoch_branch('nested')");
    let mut nested = f.on("nested");
    assert_eq!(nested.err("INSERT INTO orders (id, customer) VALUES (12, 101)").code(), "23503");
    nested.exec("INSERT INTO orders (id, customer) VALUES (12, 100)");
    assert_eq!(nested.err("DELETE FROM customers WHERE id = 100").constraint(), "orders_customer_fkey");
    nested.exec("ALTER TABLE orders RENAME customer TO who");
    assert_eq!(
        nested.err("DELETE FROM customers WHERE id = 100").detail(),
        "Key (id)=(100) is still referenced from table \"orders\"."
    );
    assert_eq!(
        nested.err("UPDATE orders SET who = 101 WHERE id = 12").detail(),
        "Key (who)=(101) is not present in table \"customers\"."
    );
    commit(&mut nested, "who");
    // The parent branch doesn't feel it.
    assert_eq!(a.exec("DELETE FROM customers WHERE id = 100").tags(), ["DELETE 1"]);
    a.exec("SELECT * FROM epoch_reset('--hard')");

    // Another branch altered the child, and gets the parent's version by a merge.
    b.exec("ALTER TABLE orders ADD COLUMN pay int DEFAULT 0");
    b.exec("UPDATE orders SET pay = 1 WHERE id = 3");
    commit(&mut b, "pay");
    assert_eq!(b.call("epoch_merge('a')", "conflicts"), ["0"]);
    assert_eq!(b.one("SELECT level FROM customers WHERE id = 100"), "1");
    b.exec("INSERT INTO orders (id, customer) VALUES (13, 100)");
    assert_eq!(b.err("INSERT INTO orders (id, customer) VALUES (14, 101)").code(), "23503");
    assert_eq!(b.err("DELETE FROM customers WHERE id = 100").constraint(), "orders_customer_fkey");
    commit(&mut b, "thirteen");
    b.exec(&format!("SELECT * FROM epoch_reset('--hard', '{one}')"));
    assert_eq!(b.exec("DELETE FROM customers WHERE id = 100").tags(), ["DELETE 1"]);
    assert_eq!(b.err("DELETE FROM customers WHERE id = 4").constraint(), "orders_customer_fkey");
    // A key that the other side's rows don't keep.
    let [mut c, mut d] = ["c", "d"].map(|name| {
        f.main().exec(&format!("SELECT * FROM epoch_branch('{name}')"));
        f.on(name)
    });
    c.exec("ALTER TABLE items ADD FOREIGN KEY (n) REFERENCES colors");
    commit(&mut c, "colors");
    d.exec("UPDATE items SET n = 7 WHERE order_id = 1 AND line = 1");
    commit(&mut d, "seven");
    let error = d.err("SELECT * FROM epoch_merge('c')");
    assert_eq!((error.code(), error.constraint()), ("23503", "items_n_fkey"), "{}", error.message());
    assert_eq!(error.detail(), "Key (n)=(7) is not present in table \"colors\".");
    d.exec("UPDATE items SET n = 2 WHERE n = 7");
    commit(&mut d, "two");
    assert_eq!(d.call("epoch_merge('c')", "conflicts"), ["0"]);
    assert_eq!(d.err("UPDATE items SET n = 3").constraint(), "items_n_fkey");
    assert_eq!(d.err("DELETE FROM colors").constraint(), "items_n_fkey");
}

/// A merge into main does the same to main's tables, keys included; old branches go on with the old versions.
#[test]
fn a_merge_makes_the_keys_on_main() {
    need_postgres!();
    let f = Fixture::registered(SHOP);
    let mut direct = f.direct();
    let mut main = f.main();
    let first = commit(&mut main, "rows");
    let mut old = f.branch("old");
    old.exec("UPDATE orders SET note = 'old' WHERE id = 2");
    let mut unread = f.branch("unread");
    let mut x = f.branch("x");
    x.exec("ALTER TABLE customers RENAME COLUMN id TO number");
    x.exec("ALTER TABLE customers ADD COLUMN code int CONSTRAINT customers_code_key UNIQUE");
    x.exec("UPDATE customers SET code = number + 1000");
    x.exec("ALTER TABLE orders ADD COLUMN code int CONSTRAINT orders_code_fkey REFERENCES customers (code) ON DELETE SET NULL");
    x.exec("UPDATE orders SET code = customer + 1000");
    // The version that the key was made to isn't there any more.
    x.exec("ALTER TABLE customers ADD COLUMN more int");
    x.exec("ALTER TABLE customers RENAME COLUMN code TO number2");
    x.exec("ALTER TABLE customers RENAME COLUMN number2 TO code");
    assert_eq!(x.err("UPDATE orders SET code = 5 WHERE id = 1").constraint(), "orders_code_fkey");
    x.exec("BEGIN; DELETE FROM orders; UPDATE customers SET code = 7 WHERE number = 1; ROLLBACK");
    x.exec("ALTER TABLE orders DROP CONSTRAINT orders_follows_fkey");
    x.exec("CREATE TABLE notes (id int PRIMARY KEY, about int REFERENCES customers (code), o int REFERENCES orders)");
    x.exec("INSERT INTO notes VALUES (1, 1003, 3)");
    x.exec("ALTER TABLE items ADD COLUMN note int REFERENCES notes");
    x.exec("UPDATE items SET note = 1 WHERE order_id = 1");
    commit(&mut x, "keys");
    assert_eq!(main.call("epoch_merge('x')", "conflicts"), ["0"]);
    assert_eq!(
        direct.lines("SELECT conname, conrelid::regclass, confrelid::regclass FROM pg_constraint WHERE contype = 'f' AND connamespace = 'public'::regnamespace ORDER BY 1"),
        [
            "items_note_fkey|items|notes",
            "items_order_fkey|items|orders",
            "notes_about_fkey|notes|customers",
            "notes_o_fkey|notes|orders",
            "orders_code_fkey|orders|customers",
            "orders_customer_fkey|orders|customers",
            "orders_email_fkey|orders|customers",
        ]
    );
    assert_eq!(direct.lines("SELECT * FROM notes"), ["1|1003|3"]);
    assert_eq!(direct.one("SELECT sum(code) FROM orders"), x.one("SELECT sum(code) FROM orders"));
    // Rows of two tables refer to it: which of their keys is found first is the server's.
    assert_eq!(direct.err("DELETE FROM customers WHERE number = 3").code(), "23503");
    // Whoever has the old versions has their keys.
    for conn in [&mut old, &mut unread] {
        assert_eq!(conn.err("INSERT INTO orders (id, customer) VALUES (50, 50)").code(), "23503");
        assert_eq!(conn.err("DELETE FROM customers WHERE id = 3").constraint(), "orders_customer_fkey");
        conn.exec("UPDATE customers SET email = 'three@x' WHERE id = 3");
        assert_eq!(conn.one("SELECT email FROM orders WHERE customer = 3"), "three@x");
        assert_eq!(conn.exec("DELETE FROM orders WHERE id = 8").tags(), ["DELETE 1"]);
        assert_eq!(conn.one("SELECT count(*) FROM orders"), "7", "those that followed it went with it");
        assert_eq!(conn.one("SELECT count(*) FROM items"), "14");
    }
    assert_eq!(x.exec("DELETE FROM orders WHERE id = 8").tags(), ["DELETE 1"]);
    assert_eq!(x.one("SELECT count(*) FROM orders"), "9");
    assert_eq!(x.err("DELETE FROM orders WHERE id = 3").constraint(), "notes_o_fkey");
    assert_eq!(f.on(&first).one("SELECT count(*) FROM orders WHERE follows IS NOT NULL"), "9");
    let mut new = f.branch("new");
    assert_eq!(new.err("UPDATE orders SET code = 5 WHERE id = 1").constraint(), "orders_code_fkey");
    assert_eq!(new.exec("DELETE FROM orders WHERE id = 1").tags(), ["DELETE 1"]);
    assert_eq!(direct.one("SELECT count(*) FROM orders"), "10");
    commit(&mut x, "eight");
    assert_eq!(main.call("epoch_merge('x')", "fast_forward"), ["t"]);
    assert_eq!(direct.one("SELECT count(*) FROM items"), "18");
    for conn in [old, unread, x, new] {
        conn.terminate();
    }
    for table in ["notes", "items", "orders", "customers", "colors"] {
        main.exec(&format!("SELECT * FROM epoch_unregister('{table}', '-f')"));
    }
    assert_eq!(
        direct.lines("SELECT nspname FROM pg_namespace WHERE nspname ~ '^epoch'"),
        Vec::<String>::new()
    );
    assert_eq!(direct.lines("SELECT tgname FROM pg_trigger WHERE NOT tgisinternal"), Vec::<String>::new());
}

/// A table that a branch made and has rows in is altered with its keys.
#[test]
fn an_uncommitted_table_with_rows_and_keys_is_altered() {
    need_postgres!();
    let f = Fixture::registered(SHOP);
    commit(&mut f.main(), "rows");
    let mut x = f.branch("x");
    x.exec(
        "CREATE TABLE marks (id int PRIMARY KEY, customer int REFERENCES customers, up int REFERENCES marks)",
    );
    x.exec("INSERT INTO customers (id, email) VALUES (30, 'thirty@x')");
    x.exec("INSERT INTO marks VALUES (1, 30, NULL), (2, 4, 1)");
    x.exec("ALTER TABLE marks ADD COLUMN color int DEFAULT 2");
    x.exec("ALTER TABLE marks ADD FOREIGN KEY (color) REFERENCES colors");
    assert_eq!(x.lines("SELECT * FROM marks ORDER BY 1"), ["1|30||2", "2|4|1|2"]);
    assert_eq!(
        x.err("ALTER TABLE marks ADD FOREIGN KEY (id) REFERENCES colors (id), ADD CHECK (id < 2)").code(),
        "23514"
    );
    x.exec("UPDATE marks SET color = 1 WHERE id = 2");
    let error = x.err("ALTER TABLE marks ADD FOREIGN KEY (customer) REFERENCES colors");
    assert_eq!(error.detail(), "Key (customer)=(30) is not present in table \"colors\".");
    for (sql, constraint) in [
        ("DELETE FROM customers WHERE id = 30", "marks_customer_fkey"),
        ("UPDATE marks SET color = 3", "marks_color_fkey"),
        ("DELETE FROM colors WHERE id = 1", "marks_color_fkey"),
        ("DELETE FROM marks WHERE id = 1", "marks_up_fkey"),
    ] {
        assert_eq!(x.err(sql).constraint(), constraint, "{sql}");
    }
    commit(&mut x, "marks");
    assert_eq!(f.main().call("epoch_merge('x')", "fast_forward"), ["t"]);
    assert_eq!(f.direct().lines("SELECT * FROM marks ORDER BY 1"), ["1|30||2", "2|4|1|1"]);
}

/// A write that waited for an ALTER TABLE must not go to the version before, however long it waited; and after a reset of
/// the ALTER TABLE, which the fence doesn't outlive, everybody writes at once.
#[test]
fn the_fence_goes_by_what_the_branch_shows() {
    need_postgres!();
    let f = Fixture::registered(SHOP);
    commit(&mut f.main(), "rows");
    let mut x = f.branch("x");
    let mut other = f.branch("other");
    other.exec("UPDATE colors SET name = 'o' WHERE id = 1");
    for round in 0..3 {
        x.exec("UPDATE colors SET name = 'x' WHERE id = 1");
        x.exec("ALTER TABLE colors ADD COLUMN n int");
        x.exec("UPDATE colors SET n = 1");
        x.exec("SELECT * FROM epoch_reset('--hard')");
        assert_eq!(x.exec("UPDATE colors SET name = 'again' WHERE id = 2").tags(), ["UPDATE 1"], "{round}");
        x.exec("SELECT * FROM epoch_reset('--hard')");
        assert_eq!(other.exec("UPDATE colors SET name = 'o' WHERE id = 2").tags(), ["UPDATE 1"]);
    }
    // In a transaction with a snapshot of its own.
    let mut snapshot = f.on("x");
    x.exec("UPDATE colors SET name = 'x' WHERE id = 1");
    snapshot.exec("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT * FROM colors");
    let mut writer = f.on("x");
    writer.exec("BEGIN; UPDATE colors SET name = 'y' WHERE id = 2");
    x.send(&[conn::query("ALTER TABLE colors ADD COLUMN n int")]);
    let mut direct = f.direct();
    let mut waits = |count: &str| {
        while direct.one("SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database WHERE NOT l.granted AND l.locktype = 'relation' AND d.datname = current_database()") != count {
            std::thread::yield_now();
        }
    };
    waits("1");
    snapshot.send(&[conn::query("UPDATE colors SET name = 'z' WHERE id = 1")]);
    waits("2");
    writer.exec("COMMIT");
    assert_eq!(x.reply().tags(), ["ALTER TABLE"]);
    assert_eq!(snapshot.reply().error().map(|e| e.code().to_owned()).as_deref(), Some("40001"));
    snapshot.exec("ROLLBACK");
    assert_eq!(x.lines("SELECT * FROM colors ORDER BY id"), ["1|x|", "2|y|"]);
    snapshot.exec("UPDATE colors SET name = 'z' WHERE id = 1");
    assert_eq!(x.one("SELECT name FROM colors WHERE id = 1"), "z");
}
