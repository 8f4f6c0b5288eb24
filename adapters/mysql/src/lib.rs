//! MySQL and MariaDB databases as backends of Horizon Epoch.
//!
//! Beside the user's tables, which are main, the database holds per registered table `epoch_overlay_<id>` (live rows of
//! branches), `epoch_mask_<id>` (keys that a branch hides), `epoch_history_<id>` (before-images) and row triggers that
//! write the latter whoever writes to the table; once per database `epoch_registered`, `epoch_lineage`, `epoch_number`
//! and `epoch_seal`. All of it is gone after the last table is uninstalled. The DDL is in `sql/mysql/`.

mod adapter;
mod connect;
mod constraint;
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
#[cfg(test)]
mod plan_tests;
mod pool;
mod scan;
mod seal;
mod sum;
mod tx;
mod types;
mod view;
mod violations;
mod write;

pub use adapter::MysqlAdapter;
