//! One state machine per client connection, and the listener.

mod auto_commit;
mod block;
mod create_as;
mod define;
mod define_type;
mod define_view;
mod explain;
mod extended;
mod federated;
mod lend;
mod local;
mod login;
mod native;
mod patience;
mod pipe;
mod plan;
mod prepared;
mod reactor;
mod reading;
mod reaper;
mod registry;
mod seat;
mod server;
mod simple;
mod statement;
mod type_names;
mod upstream;

pub use registry::Registry;
pub use server::serve;
