//! DataFusion over all backends, for everything that isn't native PostgreSQL: sessions without a
//! PostgreSQL backend, and statements over tables of several backends.
//!
//! A statement is parsed by DataFusion's own parser ([`parse`]), its names are resolved against one
//! snapshot of the session ([`planner`]), its rows are streamed from the adapters ([`table`]) and
//! encoded as PostgreSQL's DataRow messages ([`encode`]). Writes are found by a query and made by key
//! in the backend's own transaction ([`dml`], [`transaction`]).

mod ahead;
mod asked;
mod assertion;
mod block;
mod catalog;
mod convert;
mod cursor;
mod described;
mod dml;
mod encode;
mod errors;
mod explain;
mod filter;
mod functions;
mod merged;
mod names;
mod only;
mod params;
mod parse;
mod planner;
mod relations;
mod semantics;
mod session;
mod settings;
mod table;
#[cfg(test)]
mod testing;
mod text;
mod transaction;
mod types;
mod wording;
mod yielding;

pub use assertion::{assertions, holds};
pub use encode::Column;
pub use explain::Part;
pub use params::Params;
pub use parse::split;
pub use planner::set_memory_limit;
pub use session::{Outcome, Prepared, RowStream, Session, Tag};
pub use settings::SERVER_VERSION;
