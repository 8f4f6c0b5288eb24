//! SQLite files as a backend of Horizon Epoch.
//!
//! Beside the user's tables, which are main, the file holds per registered table `epoch_overlay_<id>`
//! (live rows of branches), `epoch_mask_<id>` (keys that a branch hides), `epoch_history_<id>`
//! (before-images) and row triggers that write the latter whoever writes to the table, with nothing
//! but built-in SQL; once per file `epoch_registered`, `epoch_lineage` and `epoch_seal`. All of it is
//! gone after the last table is uninstalled. The DDL is in `sql/sqlite/`.

mod adapter;
mod constraint;
mod ddl;
mod describe;
mod diff;
mod drift;
mod error;
mod foreign;
mod garbage;
mod install;
mod keys;
mod layer;
mod layout;
mod meta;
#[cfg(test)]
mod plan_tests;
mod pool;
mod scan;
mod seal;
mod tx;
pub mod types;
mod view;
mod violations;
mod wal;
mod would_break;
mod write;

pub use adapter::SqliteAdapter;
pub use epoch_layers::cells::{record_batch, value_at};
pub use wal::use_wal;
