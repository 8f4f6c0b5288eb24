//! Tables for the terminal and for `docs/benchmarks.md`, and whether the aims are met.

use std::fmt::Write as _;
use std::path::Path;

use crate::servers::Servers;

struct Table {
    title: String,
    note: String,
    header: Vec<String>,
    rows: Vec<Vec<String>>,
}

pub struct Report {
    machine: String,
    tables: Vec<Table>,
    aims: Vec<(bool, String)>,
}

impl Report {
    pub fn new(servers: &Servers, quick: bool) -> Self {
        let version = servers.direct().one("SHOW server_version");
        let cpus = std::thread::available_parallelism().map_or(1, usize::from);
        let memory = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let kb: u64 = memory
            .lines()
            .next()
            .and_then(|l| l.split_whitespace().nth(1))
            .and_then(|n| n.parse().ok())
            .unwrap_or(0);
        let machine = format!(
            "{} with {cpus} cores and {} GB of memory; PostgreSQL {version}, PgBouncer{}, clients, and the proxy share it; fsync on{}",
            std::env::consts::ARCH,
            kb.div_ceil(1024 * 1024),
            if servers.pgbouncer.is_some() { "" } else { " (not installed)" },
            if quick { "; quick run" } else { "" }
        );
        println!("{machine}");
        Self { machine, tables: Vec::new(), aims: Vec::new() }
    }

    pub fn table(&mut self, title: &str, note: &str, header: &[&str]) {
        println!("\n## {title}\n{note}");
        let header: Vec<_> = header.iter().map(|h| (*h).to_owned()).collect();
        println!("{}", line(&header));
        self.tables.push(Table { title: title.to_owned(), note: note.to_owned(), header, rows: Vec::new() });
    }

    pub fn row(&mut self, cells: Vec<String>) {
        println!("{}", line(&cells));
        self.tables.last_mut().expect("a table was begun").rows.push(cells);
    }

    pub fn aim(&mut self, met: bool, text: String) {
        self.aims.push((met, text));
    }

    pub fn finish(&self) {
        println!("\n## Aims");
        for (met, text) in &self.aims {
            println!("{} {text}", if *met { "met    " } else { "MISSED " });
        }
    }

    pub fn write(&self, path: &Path) {
        let mut text = String::from(
            "# Benchmarks\n\nMade by `cargo bench`, which starts its own servers and takes about ten minutes. Ratios are of medians (p50), \
             taken in turns in one run (of 25 statements, each right after the answer to the last, unless it says otherwise); absolute times say little about another machine.\n\n",
        );
        writeln!(text, "Machine: {}.\n\n## Aims\n\n| aim | |\n|---|---|", self.machine).unwrap();
        for (met, aim) in &self.aims {
            writeln!(text, "| {aim} | {} |", if *met { "met" } else { "**missed**" }).unwrap();
        }
        for table in &self.tables {
            writeln!(text, "\n## {}\n\n{}\n\n| {} |", table.title, table.note, table.header.join(" | "))
                .unwrap();
            writeln!(text, "|{}", "---|".repeat(table.header.len())).unwrap();
            for row in &table.rows {
                writeln!(text, "| {} |", row.join(" | ")).unwrap();
            }
        }
        std::fs::write(path, text).unwrap();
        println!("\nwritten to docs/benchmarks.md");
    }
}

fn line(cells: &[String]) -> String {
    cells
        .iter()
        .enumerate()
        .map(|(i, c)| if i == 0 { format!("{c:<44}") } else { format!("{c:>14}") })
        .collect::<Vec<_>>()
        .join(" ")
}
