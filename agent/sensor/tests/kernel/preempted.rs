//! Programs of tasks of which one is preempted in the middle of its own.

use crate::common::{Watch, can_observe, everything, run};
use hostward_event::EventKind;
use hostward_event::raw::RawBody;
use std::collections::BTreeMap;
use std::ffi::CStr;

/// Calls of each thread.
const CALLS: usize = 3_000;
const ENOENT: i64 = 2;

/// A call and the name it is made with, which nothing has.
const KINDS: [(EventKind, i64, &CStr); 6] = [
    (EventKind::Unlinkat, libc::SYS_unlinkat, c"hw-unlinkat"),
    (EventKind::Renameat, libc::SYS_renameat, c"hw-renameat"),
    (EventKind::Fchmodat, libc::SYS_fchmodat, c"hw-fchmodat"),
    (EventKind::Fchownat, libc::SYS_fchownat, c"hw-fchownat"),
    (EventKind::Symlinkat, libc::SYS_symlinkat, c"hw-symlinkat"),
    (EventKind::Truncate, libc::SYS_truncate, c"hw-truncate"),
];

/// Threads on one CPU make calls of several kinds all the time: what is told of one is never another's, and nobody dies.
#[test]
fn calls_of_tasks_that_preempt_each_other_are_told_apart() {
    if !can_observe("calls_of_tasks_that_preempt_each_other_are_told_apart") {
        return;
    }
    let watch = Watch::new(&everything());
    let (pid, _) = run(crate::common::child("preempted", &[]));
    watch.exited(pid);
    let mut told: BTreeMap<EventKind, usize> = BTreeMap::new();
    for event in watch.so_far(|event| event.task.pid == pid) {
        let RawBody::Call(call) = &event.body else { continue };
        let Some((kind, _, name)) = KINDS.into_iter().find(|(kind, ..)| *kind == call.kind) else { continue };
        let said = (call.texts[0].as_bytes(), call.result);
        assert_eq!(said, (name.to_bytes(), -ENOENT), "{}", kind.name());
        *told.entry(kind).or_default() += 1;
    }
    // How many are skipped differs by kernel, and health counts them.
    println!("told of {CALLS} calls each: {:?}", told.values());
    assert_eq!(told.len(), KINDS.len(), "{told:?}");
}

/// What the child of the test above does.
pub(crate) fn child(task: &str) {
    if task != "preempted" {
        return;
    }
    let cpus = rustix::thread::sched_getaffinity(None).unwrap();
    let first = (0..rustix::thread::CpuSet::MAX_CPU).find(|cpu| cpus.is_set(*cpu)).unwrap();
    let mut one = rustix::thread::CpuSet::new();
    one.set(first);
    // Threads inherit it.
    rustix::thread::sched_setaffinity(None, &one).unwrap();
    let threads = KINDS.map(|(_, number, name)| {
        std::thread::spawn(move || (0..CALLS).for_each(|_| assert_eq!(fails(number, name), -1)))
    });
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

#[expect(unsafe_code, reason = "no library makes every one of these calls")]
fn fails(number: i64, name: &CStr) -> i64 {
    let (here, path) = (libc::AT_FDCWD, name.as_ptr());
    // SAFETY: the texts end in NUL, and the calls have no others.
    unsafe {
        match number {
            libc::SYS_truncate => libc::syscall(number, path, 0),
            libc::SYS_symlinkat => libc::syscall(number, path, here, c"hw-absent/link".as_ptr()),
            libc::SYS_renameat => libc::syscall(number, here, path, here, path),
            _ => libc::syscall(number, here, path, 0, 0, 0),
        }
    }
}
