//! Peak memory while loading, counted at the allocator.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use relayops_intent::loader::Loader;
use relayops_intent::pack::IntentConfig;
use relayops_testkit::{QWEN_05B, QWEN_15B, real_model};

struct Counting;

static NOW: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

fn grown(bytes: usize) {
    let now = NOW.fetch_add(bytes, Ordering::Relaxed) + bytes;
    PEAK.fetch_max(now, Ordering::Relaxed);
}

// SAFETY: every call goes to the system's allocator unchanged; only sizes are counted beside it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        grown(layout.size());
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // Both blocks at once: a block that moves is copied.
        grown(size);
        NOW.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// One test, so that nothing else allocates meanwhile.
#[test]
fn loading_peaks_below_1_3_times_the_file() {
    for file in [QWEN_05B, QWEN_15B] {
        let Some(path) = real_model(&format!("loading_peaks_below_1_3_times_the_file ({file})"), file) else {
            continue;
        };
        let size = usize::try_from(std::fs::metadata(&path).unwrap().len()).unwrap();
        let before = NOW.load(Ordering::Relaxed);
        PEAK.store(before, Ordering::Relaxed);
        let classifier = Loader::read_file(&path, IntentConfig::default()).unwrap().finish().unwrap();
        let peak = PEAK.load(Ordering::Relaxed) - before;
        let ratio = peak as f64 / size as f64;
        println!("{file}: peak {} MiB, {ratio:.3} of the file", peak >> 20);
        assert!(ratio <= 1.3, "{file}: {peak} bytes are {ratio:.3} of the file");
        drop(classifier);
    }
}
