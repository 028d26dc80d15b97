//! Named places at which a test has the process killed: between two steps on the disk that a crash must
//! not come between unprepared.
//!
//! A build with debug assertions reads `HOSTWARD_TEST_KILL_AT=NAME:N` once, and sends itself SIGKILL when it comes
//! to NAME the Nth time. In a release build the calls are empty, and the variable means nothing.
//! `tests/spool/kill.rs` goes through all names.

/// A named place is reached.
#[cfg(not(debug_assertions))]
#[inline(always)]
pub(super) const fn reached(_: &str) {}

/// A named place in the middle of a write is reached: `half` is done before the end, and only then.
#[cfg(not(debug_assertions))]
#[inline(always)]
pub(super) fn reached_within(_: &str, _: impl FnOnce()) {}

#[cfg(debug_assertions)]
pub(super) use armed::{reached, reached_within};

#[cfg(debug_assertions)]
mod armed {
    use rustix::process::{Signal, getpid, kill_process};
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicU32, Ordering};

    struct Plan {
        name: String,
        left: AtomicU32,
    }

    static PLAN: LazyLock<Option<Plan>> = LazyLock::new(|| {
        let text = std::env::var("HOSTWARD_TEST_KILL_AT").ok()?;
        let (name, times) = text.rsplit_once(':')?;
        Some(Plan { name: name.to_owned(), left: AtomicU32::new(times.parse().ok()?) })
    });

    pub(in crate::spool) fn reached(name: &str) {
        reached_within(name, || {});
    }

    pub(in crate::spool) fn reached_within(name: &str, half: impl FnOnce()) {
        let Some(plan) = PLAN.as_ref().filter(|plan| plan.name == name) else { return };
        if plan.left.fetch_sub(1, Ordering::Relaxed) == 1 {
            half();
            // It does not return; if it did, the test would see a process that lives.
            let _ = kill_process(getpid(), Signal::KILL);
        }
    }
}
