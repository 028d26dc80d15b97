//! What the sensor costs those who do nothing that it looks at.
use crate::common::{Watch, can_observe, has_trampolines};
use hostward_event::plan::{KernelPlan, OpenClass, OpenPlan};
use hostward_event::raw::Rung;
use hostward_event::{EventKind, KindSet};
use std::time::{Duration, Instant};

/// Calls between two looks at the clock.
const CALLS: u32 = 1_000;
/// A timer's interrupt falls into some batches, so the least of many is what the calls alone take.
const BATCHES: u32 = 200;

fn untouched() -> Duration {
    let batch = || {
        let began = Instant::now();
        for _ in 0..CALLS {
            std::hint::black_box(rustix::process::getppid());
        }
        began.elapsed()
    };
    (0..BATCHES).map(|_| batch()).min().unwrap()
}

/// `HOSTWARD_COUNTS` says that this machine's clocks count instructions, one a nanosecond; elsewhere a comparison of
/// times would be one of the machine's moods.
#[test]
fn an_untouched_call_has_no_more_instructions() {
    let name = "an_untouched_call_has_no_more_instructions";
    if !can_observe(name) {
        return;
    }
    if std::env::var_os("HOSTWARD_COUNTS").is_none() || !has_trampolines() {
        println!("skipped {name}: the clocks of this machine do not count instructions");
        return;
    }
    let watched = [
        EventKind::Exec,
        EventKind::Fork,
        EventKind::Exit,
        EventKind::Open,
        EventKind::Connect,
        EventKind::ConnectionEnd,
        EventKind::Unlink,
        EventKind::Rename,
        EventKind::Setuid,
        EventKind::Ptrace,
    ];
    let plan = KernelPlan {
        kinds: KindSet::of(&watched),
        opens: OpenPlan { all: OpenClass::ALL, ..OpenPlan::default() },
        ..KernelPlan::default()
    };
    let before = untouched();
    let watch = Watch::new(&plan);
    for probe in watch.sensor.ladder().iter().filter(|probe| probe.attached()) {
        assert_ne!(probe.rung, Rung::SyscallTracepoint, "{} is a tracepoint of system calls", probe.hook);
    }
    let during = untouched();
    drop(watch.finish());
    let after = untouched();
    // What is measured here would be seen: one tracepoint puts every call on the slow path.
    let tracepoints = hostward_sensor::Config { trampolines: false, ..crate::common::config() };
    let watch = Watch::with(&tracepoints, &plan);
    let slow = untouched();
    drop(watch.finish());
    println!(
        "instructions of {CALLS} calls: {before:?} before, {during:?} with programs at functions, {after:?} after, {slow:?} with tracepoints"
    );
    let most = before.max(after);
    let one_a_call = Duration::from_nanos(u64::from(CALLS));
    assert!(during < most + one_a_call / 2, "{during:?} against {most:?}");
    assert!(slow > most + one_a_call * 10, "{slow:?} against {most:?}: nothing is counted here");
}
