//! What the adapters of backends with row triggers have in common (SQLite, MySQL, SQL Server): the same layers in the same
//! tables, so the same questions and mostly the same SQL. Nothing here talks to a database: functions give text and
//! parameters, and read what comes back.
//!
//! Per registered table there are `epoch_overlay_<id>` (live rows of branches), `epoch_mask_<id>` (keys that a branch
//! hides) and `epoch_history_<id>` (before-images). Identifiers are quoted as the
//! dialect has it, parameters are `?`.

#![warn(missing_docs)]

pub mod cells;
pub mod diff;
pub mod digest;
pub mod errors;
pub mod foreign;
pub mod merge;
pub mod names;
pub mod net;
pub mod sum;
pub mod view;
