//! The sensor on the running kernel: real children do things, and what it tells is compared with what
//! they did. Needs root; says by name what it skips, or fails where `HOSTWARD_REQUIRE` names `kernel`.
#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod calls;
mod catalogue;
mod closes;
mod common;
mod cost;
mod datagrams;
#[cfg(target_arch = "x86_64")]
mod ia32;
mod ignored;
mod lean;
mod names;
mod network;
mod paths;
mod persist;
mod persist_calls;
mod persist_kinds;
mod persist_takeover;
mod plans;
mod preempted;
mod process;
mod programs;
mod scopes;
mod signals;
mod uring;

/// Not a test: this binary as a child of its tests.
#[test]
fn child() {
    if let Some(task) = common::task() {
        calls::child(&task);
        catalogue::child(&task);
        closes::child_does(&task);
        datagrams::child(&task);
        #[cfg(target_arch = "x86_64")]
        ia32::child(&task);
        ignored::child_does(&task);
        names::child(&task);
        network::child(&task);
        paths::child(&task);
        persist::child(&task);
        persist_calls::child(&task);
        persist_kinds::child(&task);
        persist_takeover::child(&task);
        plans::child(&task);
        preempted::child(&task);
        process::child(&task);
        uring::child(&task);
    }
}
