//! The repository library against real backends: behaviour, a model that copies everything, crashes,
//! and two processes at once.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice
)]

#[path = "operations/support.rs"]
mod support;

#[path = "operations/basics.rs"]
mod basics;
#[path = "operations/crashes.rs"]
mod crashes;
#[path = "operations/gc.rs"]
mod gc;
#[path = "operations/merges.rs"]
mod merges;
#[path = "operations/model.rs"]
mod model;
#[path = "operations/picks.rs"]
mod picks;
#[path = "operations/resets.rs"]
mod resets;
#[path = "operations/soundness.rs"]
mod soundness;
#[path = "operations/stores.rs"]
mod stores;
#[path = "operations/sums.rs"]
mod sums;
#[path = "operations/verbs.rs"]
mod verbs;
