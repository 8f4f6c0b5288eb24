//! The adapter against a real server: `EPOCH_TEST_POSTGRES_URL` names one, each test makes its own
//! database there.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod harness;

mod branches;
mod capture;
mod commits;
mod constraints;
mod drift;
mod partitions;
mod plans;
mod roundtrip;
mod values;
mod versions;
