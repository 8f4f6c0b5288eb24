//! Delta tables on local disk, on S3-compatible stores, on Azure Blob Storage and on Google Cloud Storage as backends of
//! Horizon Epoch.
//!
//! Main is the user's Delta table, written to by one Delta commit for each transaction of ours, and by whoever else writes
//! to it; an ordinal of main is one of its versions. What branches hold are rows in files of our own, in the folder
//! `_epoch` of the backend, and what they mean is said by a log there. All of it is gone after the last table is
//! unregistered.

mod adapter;
mod apply;
mod azure;
mod check;
mod class;
mod describe;
mod diff;
mod error;
mod garbage;
mod gcs;
mod hub;
mod install;
mod layer;
mod local;
mod log;
mod make;
mod of_main;
mod read;
mod role;
mod rows;
mod s3;
mod seal;
mod source;
mod state;
mod store;
mod tx;
mod types;
mod violations;

pub use adapter::DeltaAdapter;
pub use azure::Azure;
pub use gcs::Gcs;
pub use make::make_table;
pub use s3::S3;
