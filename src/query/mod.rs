//! From a client's SQL text to what is sent to PostgreSQL. See `docs/architecture.md`.
//!
//! On main, [`gate`] clears most texts without a parse. Everything else goes through [`plan`]: the
//! text is parsed with PostgreSQL's own grammar ([`parse`]), its names are resolved as the session
//! would resolve them ([`names`]), and references to registered tables are spliced onto what the
//! branch shows ([`rewrite`]); the rest of the client's text stays as it is. On a branch, what isn't
//! understood is refused.

pub mod errors;
pub mod gate;
pub mod parse;
pub mod stable;
mod text;
mod views;

mod as_of;
mod barrier;
mod cache;
mod catalogs;
mod check;
mod constraints;
mod create_as;
mod define;
mod define_type;
mod define_view;
mod execute;
mod fixed;
mod form;
mod grouped;
mod inlining;
mod keywords;
mod lift;
mod lock;
mod names;
mod origin;
mod plan;
mod psql;
mod relations;
mod rewrite;
mod rights;
mod serializable;
mod shape;
mod snapshot;
mod types;
mod write;

pub use epoch_adapter_postgres::lexer;

pub use as_of::{as_of, has_as_of};
pub use create_as::{CreateAs, ROWS as CREATE_AS_ROWS};
pub use define::{Action, Definition, is_reserved};
pub use define_view::{NewView, Views};
pub use gate::{Gate, GateState, gate};
pub use lift::Lifted;
pub use names::{Catalog, NameCache};
pub use origin::Origins;
pub use parse::{Argument, Constant, Setting};
pub use plan::{
    Call, Context, Plan, Prelude, Rewritten, State, defines_with_others, only_sets, plan,
    plan_without_backend,
};

#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice
)]
mod tests;
