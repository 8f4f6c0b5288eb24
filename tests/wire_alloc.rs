//! Frames that are relayed cost no allocation.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, unsafe_code)]

mod wire_support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};

use wire_support::*;

struct Counting;

static COUNT: AtomicU64 = AtomicU64::new(0);

thread_local! {
    /// Whether this thread is the proxy's.
    static COUNTED: Cell<bool> = const { Cell::new(false) };
}

fn count() {
    if COUNTED.try_with(Cell::get).unwrap_or(false) {
        COUNT.fetch_add(1, Ordering::Relaxed);
    }
}

// SAFETY: everything is the system allocator's.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: as the caller's.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as the caller's.
        unsafe { System.dealloc(pointer, layout) }
    }
    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: as the caller's.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn relayed_frames_cost_no_allocation() {
    let Some(url) = server_url() else { return };
    let (say, hear) = std::sync::mpsc::channel();
    let (end, ended) = tokio::sync::oneshot::channel::<()>();
    let server = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let proxy = Proxy::start(&url).await;
            say.send(proxy.address).unwrap();
            COUNTED.set(true);
            let _ = ended.await;
            COUNTED.set(false);
            proxy.end().await;
        });
    });
    let address = hear.recv().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut raw = Raw::open(&address.to_string(), "tester", "shop").await;
        raw.send(&[parse("s", "SELECT g, repeat('x', 300) FROM generate_series(1, $1::int) g"), sync()])
            .await;
        raw.until(b'Z').await;
        let mut round = async |n: usize| {
            for _ in 0..n {
                raw.send(&[bind("", "s", &["40"]), describe(b'P', ""), execute("", 0), sync()]).await;
                assert_eq!(raw.until(b'Z').await.len(), 44);
                raw.send(&[query("SELECT 1")]).await;
                assert_eq!(raw.until(b'Z').await.len(), 4);
            }
        };
        // Buffers find their size first.
        round(50).await;
        let before = COUNT.load(Ordering::Relaxed);
        round(200).await;
        let allocations = COUNT.load(Ordering::Relaxed) - before;
        // 200 rounds relay 9,600 messages; the runtime itself may allocate now and then.
        assert!(allocations < 20, "{allocations} allocations");
    });
    let _ = end.send(());
    server.join().unwrap();
}
