//! SQL Server databases as backends of Horizon Epoch.
//!
//! Beside the user's tables, which are main, the database has a schema `epoch` with, per registered table,
//! `epoch_overlay_<id>` (live rows of branches), `epoch_mask_<id>` (keys that a branch hides), `epoch_history_<id>`
//! (before-images) and `epoch_own_<id>` (keys of a seal that is running), and on the table triggers that write history
//! whoever writes to it; once per database `epoch_registered`, `epoch_lineage`, `epoch_number` and `epoch_seal`. All of it
//! is gone after the last table is uninstalled. The DDL is in `sql/sqlserver/`.

mod adapter;
mod apply;
mod connect;
mod constraint;
mod ddl;
mod describe;
mod diff;
mod drift;
mod durability;
mod error;
mod foreign;
mod forms;
mod garbage;
mod install;
mod layer;
mod layout;
mod meta;
mod number;
#[cfg(test)]
mod order_tests;
mod parameters;
mod physical;
mod pool;
mod scan;
mod seal;
#[cfg(test)]
mod shapes;
mod sum;
#[cfg(test)]
#[path = "../tests/tds/mod.rs"]
mod tds;
mod tx;
mod types;
mod view;
mod violations;
mod write;

pub use adapter::SqlServerAdapter;
