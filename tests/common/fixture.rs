//! A shop on a fresh PostgreSQL database behind a fresh proxy.

use std::time::Duration;

use super::conn::{self, Conn};
use super::database::Database;
use super::proxy::{Proxy, ProxyConfig};

pub const SCHEMA: &str = "
CREATE TABLE customers (
  id bigint PRIMARY KEY,
  email text NOT NULL CONSTRAINT customers_email_key UNIQUE,
  name text NOT NULL,
  city text,
  credit numeric(12,2) NOT NULL DEFAULT 0 CONSTRAINT customers_credit_check CHECK (credit >= 0),
  since date NOT NULL DEFAULT DATE '2020-01-01'
);
CREATE INDEX customers_city_idx ON customers (city);
CREATE TABLE orders (
  id bigint PRIMARY KEY,
  customer_id bigint NOT NULL CONSTRAINT orders_customer_id_fkey REFERENCES customers (id),
  total numeric(12,2) NOT NULL,
  status text NOT NULL DEFAULT 'new',
  placed timestamptz NOT NULL DEFAULT TIMESTAMPTZ '2026-01-01 00:00:00+00'
);
CREATE INDEX orders_customer_id_idx ON orders (customer_id);
";

/// Rows `1..=customers`, three orders for each third customer.
pub fn rows(customers: u32) -> String {
    format!(
        "INSERT INTO customers SELECT g, 'c' || g || '@example.com', 'Customer ' || g, \
           (ARRAY['Oslo','Rome','Lima','Pune',NULL])[1 + g % 5], (g * 7 % 1000)::numeric, DATE '2020-01-01' + g % 1000 \
         FROM generate_series(1, {customers}) g;\n\
         INSERT INTO orders SELECT g, 1 + (g * 3) % {customers}, (g % 500)::numeric + 0.5, \
           (ARRAY['new','paid','sent'])[1 + g % 3], TIMESTAMPTZ '2026-01-01 00:00:00+00' + g * interval '1 minute' \
         FROM generate_series(1, {customers}) g;\n\
         ANALYZE customers; ANALYZE orders;"
    )
}

pub struct Fixture {
    // Dropped in this order: the proxy's connections end before the database goes.
    pub proxy: Proxy,
    pub db: Database,
}

impl Fixture {
    /// The shop, nothing registered.
    pub fn shop(customers: u32) -> Self {
        let db = Database::create();
        let mut direct = db.connect();
        direct.exec(SCHEMA);
        direct.exec(&rows(customers));
        let proxy = Proxy::start(ProxyConfig::postgres(&db.url()));
        Self { proxy, db }
    }

    /// Any schema, `public.*` registered.
    pub fn registered(sql: &str) -> Self {
        let db = Database::create();
        db.connect().exec(sql);
        let proxy = Proxy::start(ProxyConfig::postgres(&db.url()));
        let fixture = Self { proxy, db };
        fixture.main().exec("SELECT * FROM epoch_register('public.*')");
        fixture
    }

    pub fn direct(&self) -> Conn {
        self.db.connect()
    }

    pub fn main(&self) -> Conn {
        self.proxy.connect("main")
    }

    pub fn on(&self, reference: &str) -> Conn {
        self.proxy.connect(reference)
    }

    /// Runs `sql` on `reference` so that the proxy dies at `point`, and starts it again.
    pub fn dies(&mut self, point: &str, reference: &str, sql: &str) {
        self.proxy.restart(&[("EPOCH_FAILPOINT", point)]);
        let mut conn = self.on(reference);
        conn.send(&[conn::query(sql)]);
        let reply = conn.try_reply();
        assert!(reply.is_err(), "it dies at {point}: {:?}", reply.map(|r| r.essence()));
        assert!(self.proxy.await_end(Duration::from_secs(20)).is_some());
        self.proxy.restart(&[]);
    }

    /// Makes a branch off main and connects to it.
    pub fn branch(&self, name: &str) -> Conn {
        self.main().exec(&format!("SELECT * FROM epoch_branch('{name}')"));
        self.on(name)
    }
}
