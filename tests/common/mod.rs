//! What the end-to-end tests and benches share: a real proxy (the built binary), fresh PostgreSQL
//! databases, and a client that shows every message of the protocol.

#![allow(
    dead_code,
    unused_imports,
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice
)]

pub mod conn;
pub mod database;
pub mod fixture;
pub mod judge;
pub mod message;
pub mod mysql;
pub mod proxy;
pub mod psql;
pub mod server;
pub mod sqlserver;
pub mod verbs;

pub use conn::{Conn, Target};
pub use database::{Database, postgres_url};
pub use fixture::Fixture;
pub use message::{Message, PgError, Reply};
pub use mysql::Mysql;
pub use proxy::{Proxy, ProxyConfig};
pub use server::Server;
pub use sqlserver::SqlServer;

/// Returns from a test that needs a PostgreSQL server if there is none.
#[macro_export]
macro_rules! need_postgres {
    () => {
        if $crate::common::postgres_url().is_none() {
            println!("skipped: set EPOCH_TEST_POSTGRES_URL or run make test");
            return;
        }
    };
}
