//! A pool of threads that take tasks off one counter.
//!
//! One job is under way at a time. The thread that has it publishes it and works on it too; helpers that are awake join,
//! those that are late find nothing left. So a helper that the system does not run costs nothing, and a task is never
//! handed to anybody. Helpers look out for the next job for some hundred microseconds, the pause between two products, then
//! return to whoever had them help, to wait until the turn changes: between messages they take no time at all, and in a
//! browser they can be ended at once, which a thread that sleeps inside of WebAssembly can't.

use std::hint::spin_loop;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};

/// Looks at the turn before a helper gives up.
const LOOKS: u32 = if cfg!(target_arch = "wasm32") { 100_000 } else { 2_000 };

/// Work that helpers may join.
struct Job {
    run: *const (dyn Fn(usize) + Sync),
    tasks: usize,
}

/// The pool. There is one in a WebAssembly module.
pub struct Pool {
    /// Threads besides the one that asks.
    helpers: AtomicUsize,
    /// Even: no job; odd: one may be joined. Goes up by one whenever that changes.
    turn: AtomicU32,
    /// The next task that nobody has taken.
    next: AtomicUsize,
    /// Helpers that look at the job.
    inside: AtomicUsize,
    /// Whether a helper broke off in a task.
    broken: AtomicBool,
    /// The job; read only by helpers that are counted in `inside`, written only while `turn` is even and nobody is.
    job: Slot,
    /// Helpers that wait for another turn.
    asleep: AtomicUsize,
}

/// The job's place: nothing but a pointer and a number, behind `turn` and `inside`.
struct Slot(std::cell::UnsafeCell<Option<Job>>);

// SAFETY: see `Pool::job`: the protocol of `turn` and `inside` keeps readers and the writer apart.
unsafe impl Sync for Slot {}

impl Pool {
    /// A pool without helpers.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            helpers: AtomicUsize::new(0),
            turn: AtomicU32::new(0),
            next: AtomicUsize::new(0),
            inside: AtomicUsize::new(0),
            broken: AtomicBool::new(false),
            job: Slot(std::cell::UnsafeCell::new(None)),
            asleep: AtomicUsize::new(0),
        }
    }

    /// Threads that work is shared out to, the caller's included.
    #[must_use]
    pub fn threads(&self) -> usize {
        1 + self.helpers.load(Ordering::Acquire)
    }

    /// Says that a helper broke off: nobody may wait for it.
    pub fn break_off(&self) {
        self.broken.store(true, Ordering::SeqCst);
    }

    /// Calls `run` once for each of `0..tasks`, on any thread and in any order, and returns when all are done. Only one
    /// thread may be in here, and `run` must not call this.
    ///
    /// # Panics
    /// Where a helper broke off: its task was not done.
    pub fn for_each(&self, tasks: usize, run: &(dyn Fn(usize) + Sync)) {
        if tasks <= 1 || self.helpers.load(Ordering::Acquire) == 0 {
            (0..tasks).for_each(run);
            return;
        }
        // SAFETY: only the lifetime is left out. No helper reads it after this function: it waits for all of them.
        let erased =
            unsafe { std::mem::transmute::<&(dyn Fn(usize) + Sync), &'static (dyn Fn(usize) + Sync)>(run) };
        // SAFETY: the turn is even and nobody is inside, so nobody reads.
        unsafe { *self.job.0.get() = Some(Job { run: erased, tasks }) };
        self.next.store(0, Ordering::SeqCst);
        self.turn.fetch_add(1, Ordering::SeqCst);
        // A helper that goes to sleep after this look sees the turn that was made before it.
        if self.asleep.load(Ordering::SeqCst) > 0 {
            wake(&self.turn);
        }
        self.take(run, tasks);
        self.turn.fetch_add(1, Ordering::SeqCst);
        while self.inside.load(Ordering::SeqCst) > 0 {
            assert!(!self.broken.load(Ordering::SeqCst), "a thread of the pool broke off");
            spin_loop();
        }
        assert!(!self.broken.load(Ordering::SeqCst), "a thread of the pool broke off");
    }

    /// Counts the calling thread as a helper: it must [`help`](Self::help) from now on.
    pub fn join(&self) {
        self.asleep.fetch_add(1, Ordering::SeqCst);
        self.helpers.fetch_add(1, Ordering::SeqCst);
    }

    /// Helps until there is nothing to do. Returns the turn; the helper is to come back when [`turn`](Self::turn) is
    /// another.
    pub fn help(&self) -> u32 {
        self.asleep.fetch_sub(1, Ordering::SeqCst);
        let mut seen = 0;
        while let Some(turn) = self.await_job(seen) {
            seen = turn;
            self.inside.fetch_add(1, Ordering::SeqCst);
            // Only now is it sure that the job stays: its owner waits for all who are inside, and closes it first.
            if self.turn.load(Ordering::SeqCst) == seen {
                // SAFETY: the turn is odd and this thread is inside, so nobody writes.
                if let Some(job) = unsafe { &*self.job.0.get() } {
                    // SAFETY: its owner is still in `for_each`.
                    self.take(unsafe { &*job.run }, job.tasks);
                }
            }
            self.inside.fetch_sub(1, Ordering::SeqCst);
        }
        self.asleep.fetch_add(1, Ordering::SeqCst);
        // After it counts as asleep: whoever makes another turn wakes it.
        self.turn.load(Ordering::SeqCst)
    }

    /// Goes up when a job begins and when it ends.
    pub fn turn(&self) -> &AtomicU32 {
        &self.turn
    }

    /// Does tasks until none is left.
    fn take(&self, run: &(dyn Fn(usize) + Sync), tasks: usize) {
        loop {
            let task = self.next.fetch_add(1, Ordering::SeqCst);
            if task >= tasks {
                return;
            }
            run(task);
        }
    }

    /// Looks out for a turn with a job that is not `seen`.
    fn await_job(&self, seen: u32) -> Option<u32> {
        for _ in 0..LOOKS {
            let turn = self.turn.load(Ordering::SeqCst);
            if turn % 2 == 1 && turn != seen {
                return Some(turn);
            }
            spin_loop();
        }
        None
    }
}

/// Wakes all helpers that wait for `turn` to change.
#[cfg(all(target_arch = "wasm32", target_feature = "atomics"))]
fn wake(turn: &AtomicU32) {
    use wasm_bindgen::JsCast;

    let memory: js_sys::WebAssembly::Memory = wasm_bindgen::memory().unchecked_into();
    let words = js_sys::Int32Array::new(&memory.buffer());
    // It fails only outside of the memory.
    let _ = js_sys::Atomics::notify(&words, turn.as_ptr() as u32 / 4);
}

/// The threads of the tests look by themselves.
#[cfg(not(all(target_arch = "wasm32", target_feature = "atomics")))]
fn wake(_: &AtomicU32) {}

impl Default for Pool {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(all(target_arch = "wasm32", target_feature = "atomics"))]
static POOL: Pool = Pool::new();

/// Threads that work is shared out to, the caller's included.
#[cfg(all(target_arch = "wasm32", target_feature = "atomics"))]
#[must_use]
pub fn threads() -> usize {
    POOL.threads()
}

/// [`Pool::for_each`] of this module's pool.
#[cfg(all(target_arch = "wasm32", target_feature = "atomics"))]
pub fn for_each(tasks: usize, run: &(dyn Fn(usize) + Sync)) {
    POOL.for_each(tasks, run);
}

/// [`Pool::join`] of this module's pool.
#[cfg(all(target_arch = "wasm32", target_feature = "atomics"))]
pub fn join() {
    POOL.join();
}

/// [`Pool::help`] of this module's pool.
#[cfg(all(target_arch = "wasm32", target_feature = "atomics"))]
pub fn help() -> u32 {
    POOL.help()
}

/// Address of [`Pool::turn`] of this module's pool.
#[cfg(all(target_arch = "wasm32", target_feature = "atomics"))]
#[must_use]
pub fn turn_address() -> u32 {
    POOL.turn().as_ptr() as u32
}

/// [`Pool::break_off`] of this module's pool.
#[cfg(all(target_arch = "wasm32", target_feature = "atomics"))]
pub fn break_off() {
    POOL.break_off();
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Duration;

    use super::Pool;

    /// A pool with helpers, which live as long as the process.
    fn pool(helpers: usize) -> &'static Pool {
        let pool: &'static Pool = Box::leak(Box::default());
        for _ in 0..helpers {
            std::thread::spawn(|| {
                pool.join();
                loop {
                    let turn = pool.help();
                    while pool.turn().load(Ordering::SeqCst) == turn {
                        std::thread::sleep(Duration::from_micros(50));
                    }
                }
            });
        }
        while pool.threads() < 1 + helpers {
            std::thread::yield_now();
        }
        pool
    }

    #[test]
    fn every_task_is_done_once() {
        for helpers in [0, 1, 3] {
            let pool = pool(helpers);
            for round in 0..2_000 {
                let tasks = round % 17;
                let done: Vec<AtomicU64> = (0..tasks).map(|_| AtomicU64::new(0)).collect();
                pool.for_each(tasks, &|task| {
                    done[task].fetch_add(1, Ordering::Relaxed);
                });
                assert!(done.iter().all(|count| count.load(Ordering::Relaxed) == 1), "round {round}");
                if round % 500 == 0 {
                    // Long enough for all to fall asleep.
                    std::thread::sleep(Duration::from_millis(20));
                }
            }
        }
    }

    #[test]
    fn helpers_do_part_of_the_work() {
        let pool = pool(1);
        let caller = std::thread::current().id();
        let others = AtomicU64::new(0);
        pool.for_each(64, &|_| {
            std::thread::sleep(Duration::from_millis(1));
            others.fetch_add(u64::from(std::thread::current().id() != caller), Ordering::Relaxed);
        });
        assert!(others.load(Ordering::Relaxed) > 0);
    }

    #[test]
    #[should_panic(expected = "broke off")]
    fn nobody_waits_for_a_helper_that_broke_off() {
        let pool = pool(1);
        pool.break_off();
        pool.for_each(4, &|_| {});
    }
}
