//! One binary for all: linking the engine takes longer than most of what is tested.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cloned_ref_to_slice_refs,
    clippy::cast_possible_wrap,
    missing_docs
)]

#[allow(dead_code)]
mod bucket;
#[allow(dead_code)]
mod common;
mod kill;
mod model;
mod stores;
mod tables;
