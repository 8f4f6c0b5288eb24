//! Resident memory of the proxy: idle, with large results, rows and copies, with many sessions.

use std::fs;

use crate::Options;
use crate::common::conn::{self, Conn};
use crate::common::message::Message;
use crate::common::proxy::Proxy;
use crate::measure::{drain, time};
use crate::report::Report;

/// `VmRSS` or `VmHWM`, in MB.
fn memory(proxy: &Proxy, field: &str) -> f64 {
    let status = fs::read_to_string(format!("/proc/{}/status", proxy.pid())).unwrap();
    let line = status.lines().find_map(|l| l.strip_prefix(field)?.strip_prefix(':')).expect("the field");
    line.split_whitespace().next().unwrap().parse::<f64>().unwrap() / 1024.0
}

/// Makes the next `VmHWM` the peak from here on.
fn reset_peak(proxy: &Proxy) {
    fs::write(format!("/proc/{}/clear_refs", proxy.pid()), "5").unwrap();
}

pub fn idle(proxy: &Proxy, report: &mut Report) {
    let rss = memory(proxy, "VmRSS");
    report.aim(rss <= 60.0, format!("idle proxy at most 60 MB: {rss:.0} MB"));
}

pub fn streams(proxy: &Proxy, options: &Options, report: &mut Report) {
    report.table(
        "Memory",
        "Resident memory of the proxy in MB: before, the peak while it ran, and after.",
        &["work", "before", "peak", "after", "seconds"],
    );
    let mut main = proxy.connect("main");
    main.exec("CREATE UNLOGGED TABLE sink (id bigint, v text)");
    let rows = options.size(5_000_000, 500_000);
    let select = format!("SELECT g, repeat('x', 100) FROM generate_series(1, {rows}) g");
    watch(proxy, report, &format!("SELECT of {rows} rows"), || read(&mut main, &select));
    let megabytes = options.size(1024, 100) as usize;
    watch(proxy, report, &format!("COPY in of {megabytes} MB"), || copy_in(&mut main, megabytes));
    watch(proxy, report, &format!("COPY out of {megabytes} MB"), || read(&mut main, "COPY sink TO STDOUT"));
    let row = options.size(200, 50);
    watch(proxy, report, &format!("a row of {row} MB"), || {
        read(&mut main, &format!("SELECT repeat('x', {row} * 1024 * 1024)"))
    });
    main.exec("DROP TABLE sink");
    if options.wants("branch") {
        let mut branch = proxy.connect("o100");
        watch(proxy, report, "every order, on a branch", || read(&mut branch, "SELECT * FROM orders"));
    }
    let sessions = options.size(500, 100);
    let mut idle = Vec::new();
    watch(proxy, report, &format!("{sessions} idle sessions"), || {
        idle.extend((0..sessions).map(|_| proxy.connect("main")))
    });
    assert_eq!(idle.last_mut().unwrap().one("SELECT 1"), "1");
}

fn watch(proxy: &Proxy, report: &mut Report, name: &str, work: impl FnOnce()) {
    let before = memory(proxy, "VmRSS");
    reset_peak(proxy);
    let (took, ()) = time(work);
    let (peak, after) = (memory(proxy, "VmHWM"), memory(proxy, "VmRSS"));
    report.aim(peak - before <= 32.0, format!("flat memory: {name}: +{:.0} MB", peak - before));
    let mb = |value: f64| format!("{value:.0}");
    report.row(vec![name.to_owned(), mb(before), mb(peak), mb(after), format!("{:.1}", took.as_secs_f64())]);
}

fn read(conn: &mut Conn, sql: &str) {
    conn.send(&[conn::query(sql)]);
    drain(conn);
}

fn copy_in(conn: &mut Conn, megabytes: usize) {
    conn.send(&[conn::query("COPY sink FROM STDIN")]);
    loop {
        match conn.recv().expect("an answer to COPY") {
            Message::CopyIn(_) => break,
            Message::Error(e) => panic!("{e:?}"),
            _ => {}
        }
    }
    let line = format!("1\t{}\n", "y".repeat(1021));
    let piece = conn::frame(b'd', &[line.repeat(64).as_bytes()]);
    for _ in 0..megabytes * 16 {
        conn.send_raw(&piece).expect("sending COPY data");
    }
    conn.send(&[conn::frame(b'c', &[])]);
    drain(conn);
}
