//! Figures of the proxy in one run, as ratios against the same work on PostgreSQL itself and
//! through PgBouncer: `cargo bench`, or `cargo bench --bench epoch -- --quick`.
//!
//! Starts its own servers in temporary folders and stops them. Writes `docs/benchmarks.md` unless
//! `--quick` or a section is given (`main`, `branch`, `versions`, `history`, `workloads`, `memory`).

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_precision_loss
)]

#[path = "../tests/common/mod.rs"]
mod common;
mod history;
mod measure;
mod memory;
mod relay;
mod report;
mod servers;
mod versions;
mod views;
mod workloads;

use common::proxy::{Proxy, ProxyConfig};
use report::Report;
use servers::Servers;

/// What runs, how much of it.
pub struct Options {
    pub quick: bool,
    pub sections: Vec<String>,
}

impl Options {
    fn from_args() -> Self {
        let args: Vec<_> = std::env::args().skip(1).collect();
        let sections = args.iter().filter(|a| !a.starts_with("--")).cloned().collect();
        Self { quick: args.iter().any(|a| a == "--quick"), sections }
    }

    fn wants(&self, section: &str) -> bool {
        self.sections.is_empty() || self.sections.iter().any(|s| s == section)
    }

    /// One of two sizes.
    pub fn size(&self, full: u32, quick: u32) -> u32 {
        if self.quick { quick } else { full }
    }
}

fn main() {
    let options = Options::from_args();
    let servers = Servers::start();
    let url = servers.postgres.url();
    let proxy = Proxy::start(ProxyConfig { name: "bench".to_owned(), ..ProxyConfig::postgres(&url) });
    let mut report = Report::new(&servers, options.quick);
    // Before anything was done, so that "idle" is idle.
    if options.wants("memory") {
        memory::idle(&proxy, &mut report);
    }
    if options.wants("main") {
        relay::run(&servers, &proxy, &options, &mut report);
    }
    if options.wants("branch") || options.wants("versions") {
        views::prepare(&servers, &proxy, &options);
    }
    if options.wants("branch") {
        views::reads(&servers, &proxy, &options, &mut report);
        views::writes(&servers, &proxy, &options, &mut report);
    }
    if options.wants("versions") {
        versions::run(&servers, &proxy, &options, &mut report);
    }
    if options.wants("history") {
        history::run(&servers, &proxy, &options, &mut report);
    }
    if options.wants("workloads") {
        workloads::run(&servers, &proxy, &options, &mut report);
    }
    if options.wants("memory") {
        memory::streams(&proxy, &options, &mut report);
    }
    report.finish();
    if !options.quick && options.sections.is_empty() {
        report.write(std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/benchmarks.md")));
    }
}
