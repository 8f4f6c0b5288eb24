//! The demo's database: 100,000 rows that are the same on every machine.

use std::path::Path;

use rusqlite::{Connection, params};

use crate::{Error, Result, sqlstate};

const CUSTOMERS: i64 = 10_000;
const PRODUCTS: i64 = 1_000;
const ORDERS: i64 = 29_000;
const ITEMS: i64 = 60_000;

const SCHEMA: &str = "
CREATE TABLE customers (
    id         INTEGER PRIMARY KEY,
    name       TEXT NOT NULL,
    email      TEXT NOT NULL UNIQUE,
    city       TEXT NOT NULL,
    newsletter BOOLEAN NOT NULL DEFAULT 0
);
CREATE TABLE products (
    id       INTEGER PRIMARY KEY,
    sku      TEXT NOT NULL UNIQUE,
    name     TEXT NOT NULL,
    category TEXT NOT NULL,
    price    NUMERIC(10,2) NOT NULL CHECK (price >= 0),
    stock    INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE orders (
    id          INTEGER PRIMARY KEY,
    customer_id INTEGER NOT NULL REFERENCES customers (id),
    status      TEXT NOT NULL CHECK (status IN ('new', 'paid', 'shipped', 'returned')),
    ordered_at  TIMESTAMP NOT NULL,
    note        TEXT
);
CREATE TABLE order_items (
    order_id   INTEGER NOT NULL REFERENCES orders (id) ON DELETE CASCADE,
    line       INTEGER NOT NULL,
    product_id INTEGER NOT NULL REFERENCES products (id),
    quantity   INTEGER NOT NULL CHECK (quantity > 0),
    price      NUMERIC(10,2) NOT NULL,
    PRIMARY KEY (order_id, line)
);
CREATE INDEX orders_customer ON orders (customer_id);
CREATE INDEX orders_time ON orders (ordered_at);
CREATE INDEX items_product ON order_items (product_id);
CREATE INDEX products_category ON products (category);
";

/// Makes the file, or nothing at all.
pub(super) fn create(path: &Path) -> Result<()> {
    let draft = path.with_extension("new");
    let _ = std::fs::remove_file(&draft);
    let failed = |what: &dyn std::fmt::Display| {
        Error::new(sqlstate::IO_ERROR, format!("cannot create {}: {what}", path.display()))
    };
    fill(&draft).map_err(|e| failed(&e))?;
    std::fs::rename(&draft, path).map_err(|e| failed(&e))
}

fn fill(path: &Path) -> rusqlite::Result<()> {
    let mut connection = Connection::open(path)?;
    let transaction = connection.transaction()?;
    transaction.execute_batch(SCHEMA)?;
    let mut dice = Dice(20_260_101);
    customers(&transaction, &mut dice)?;
    products(&transaction, &mut dice)?;
    orders(&transaction, &mut dice)?;
    transaction.commit()?;
    connection.close().map_err(|(_, error)| error)
}

fn customers(to: &Connection, dice: &mut Dice) -> rusqlite::Result<()> {
    const FIRST: &[&str] =
        &["Ada", "Ben", "Chloe", "Dev", "Emma", "Femi", "Grace", "Hugo", "Ines", "Jun", "Kofi", "Lena"];
    const LAST: &[&str] =
        &["Abel", "Braun", "Costa", "Dubois", "Eze", "Fischer", "Garcia", "Haddad", "Ito", "Jansen"];
    const CITIES: &[&str] =
        &["Lisbon", "Accra", "Oslo", "Kyoto", "Lima", "Berlin", "Pune", "Lyon", "Quito", "Leeds"];
    let mut insert = to.prepare("INSERT INTO customers VALUES (?1, ?2, ?3, ?4, ?5)")?;
    for id in 1..=CUSTOMERS {
        let (first, last) = (dice.pick(FIRST), dice.pick(LAST));
        let email = format!("{}.{}{id}@example.com", first.to_lowercase(), last.to_lowercase());
        insert.execute(params![
            id,
            format!("{first} {last}"),
            email,
            dice.pick(CITIES),
            dice.below(3) == 0
        ])?;
    }
    Ok(())
}

fn products(to: &Connection, dice: &mut Dice) -> rusqlite::Result<()> {
    const KINDS: &[(&str, &str)] = &[
        ("tea", "tea"),
        ("coffee", "coffee"),
        ("cup", "kitchen"),
        ("pot", "kitchen"),
        ("honey", "pantry"),
        ("biscuit", "pantry"),
    ];
    const ADJECTIVES: &[&str] =
        &["green", "black", "smoky", "sweet", "tall", "blue", "wild", "mild", "golden", "small"];
    let mut insert = to.prepare("INSERT INTO products VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?;
    for id in 1..=PRODUCTS {
        let (kind, category) = dice.pick(KINDS);
        let name = format!("{} {} {kind}", dice.pick(ADJECTIVES), dice.pick(ADJECTIVES));
        let price = (200 + dice.below(4_000)) as f64 / 100.0;
        insert.execute(params![id, format!("SKU-{id:05}"), name, category, price, dice.below(500)])?;
    }
    Ok(())
}

/// Each order has one to three items, until there are as many as there shall be.
fn orders(to: &Connection, dice: &mut Dice) -> rusqlite::Result<()> {
    const STATUS: &[&str] = &["new", "paid", "shipped", "shipped", "shipped", "returned"];
    let mut order = to.prepare("INSERT INTO orders VALUES (?1, ?2, ?3, datetime('2025-01-01', ?4), NULL)")?;
    let mut item =
        to.prepare("INSERT INTO order_items SELECT ?1, ?2, id, ?4, price FROM products WHERE id = ?3")?;
    let mut left = ITEMS;
    for id in 1..=ORDERS {
        let minute = format!("{} minutes", id * 18 + dice.below(15));
        order.execute(params![id, 1 + dice.below(CUSTOMERS), dice.pick(STATUS), minute])?;
        let orders_left = ORDERS - id;
        let items = (1 + dice.below(3)).clamp(left - 3 * orders_left, left - orders_left);
        for line in 1..=items {
            item.execute(params![id, line, 1 + dice.below(PRODUCTS), 1 + dice.below(4)])?;
        }
        left -= items;
    }
    Ok(())
}

/// Repeatable pseudo-random numbers (a linear congruential generator, Knuth's constants).
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn below(&mut self, sides: i64) -> i64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as i64) % sides.max(1)
    }

    pub(super) fn pick<T: Copy + Default>(&mut self, from: &[T]) -> T {
        let index = self.below(from.len() as i64);
        usize::try_from(index).ok().and_then(|i| from.get(i)).copied().unwrap_or_default()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_shop_has_100_000_rows_that_fit_together() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("shop.db");
        create(&path).unwrap();
        let connection = Connection::open(&path).unwrap();
        let count = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
        let tables = ["customers", "products", "orders", "order_items"];
        let total: i64 = tables.iter().map(|t| count(&format!("SELECT count(*) FROM {t}"))).sum();
        assert_eq!(total, 100_000);
        assert_eq!(count("SELECT count(*) FROM pragma_foreign_key_check"), 0);
        assert_eq!(
            count("SELECT count(*) FROM orders WHERE id NOT IN (SELECT order_id FROM order_items)"),
            0
        );
    }
}
