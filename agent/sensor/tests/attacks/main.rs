//! What a program can do to be told wrongly, on the running kernel. Apart from the other tests of the sensor, as a flood
//! costs whoever observes at the same time its events.
#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

#[expect(dead_code, reason = "shared with the other tests of the sensor, which need more of it")]
#[path = "../kernel/common.rs"]
mod common;
mod laws;

/// Not a test: this binary as a child of its tests.
#[test]
fn child() {
    if let Some(task) = common::task() {
        laws::child(&task);
    }
}
