//! The PostgreSQL wire protocol: frames, start-up, TLS, SCRAM, and the messages that we decode or
//! build ourselves. Bytes that only pass through are never decoded.

pub mod buffer;
mod channel;
pub mod decode;
pub mod encode;
pub mod frame;
pub mod numeric;
pub mod scram;
pub mod startup;
pub mod tls;
pub mod value;

pub use channel::{Channel, Stream};
