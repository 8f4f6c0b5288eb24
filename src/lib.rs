//! Horizon Epoch: Git-like version control for data that stays where it lives, behind a PostgreSQL
//! endpoint. `docs/architecture.md` holds the invariants and the code map.

#![warn(missing_docs)]

pub mod cli;
pub mod config;
pub mod federation;
pub mod functions;
pub mod hooks;
pub mod metadata;
pub mod operations;
pub mod query;
pub mod session;
pub mod storage;
pub mod wire;

pub use epoch_adapter::{Error, Result, sqlstate};
