//! Signals that one process sends to another, with the target as the host knows it.
use crate::common::{Watch, can_observe, named};
use hostward_event::plan::KernelPlan;
use hostward_event::raw::{RawBody, RawEvent, RawSignal, SignalFate};
use hostward_event::{EventKind, KindSet};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};

fn sent(event: &RawEvent) -> Option<&RawSignal> {
    if let RawBody::Signal(signal) = &event.body { Some(signal) } else { None }
}

fn sleeper() -> Child {
    Command::new("sleep").arg("1000").spawn().unwrap()
}

fn run(command: &mut Command) -> u32 {
    let child = command.stdout(Stdio::null()).spawn().unwrap();
    let pid = child.id();
    assert!(child.wait_with_output().unwrap().status.success(), "{command:?}");
    pid
}

#[test]
fn a_signal_names_its_target_as_the_host_does() {
    if !can_observe("a_signal_names_its_target_as_the_host_does") {
        return;
    }
    let watch = Watch::new(&named(&[]));
    let mut target = sleeper();
    let (exec, _) = watch.exec(target.id());
    let killer = run(Command::new("/bin/kill").args(["-TERM", &target.id().to_string()]));
    assert_eq!(target.wait().unwrap().signal(), Some(15));
    let event = watch.event("SIGTERM", |event| {
        event.task.pid == killer && sent(event).is_some_and(|signal| signal.target_pid == target.id())
    });
    let signal = sent(&event).unwrap();
    assert_eq!((signal.number, signal.code, signal.fate), (15, 0, SignalFate::Delivered));
    assert_eq!(signal.target_start_boot_ns, exec.task.start_boot_ns);
    assert_eq!(signal.target_comm.as_bytes(), b"sleep");
    assert_eq!(event.task.comm.as_bytes(), b"kill");
    // Its end is of the same process, and no signal: nor is that a child has ended.
    watch.exited(target.id());
    let of_target = watch.so_far(|event| sent(event).is_some() && event.task.pid == target.id());
    assert!(of_target.is_empty(), "{of_target:#?}");
}

#[test]
fn a_target_in_a_pid_namespace_has_the_hosts_number() {
    if !can_observe("a_target_in_a_pid_namespace_has_the_hosts_number") {
        return;
    }
    let watch = Watch::new(&named(&[]));
    // Inside, the target has another number; the shell signals by that, once it is the other program, then itself.
    let script = "sleep 1000 & until grep -q sleep /proc/$!/comm; do :; done; kill -STOP $!; kill -KILL $!; wait $! 2>/dev/null; kill -CONT $$; exit 0";
    run(Command::new("unshare").args(["--pid", "--fork", "--mount-proc", "sh", "-c", script]));
    let event = watch.event("SIGKILL", |event| {
        let is_kill = |signal: &RawSignal| signal.number == 9 && signal.target_comm.as_bytes() == b"sleep";
        event.task.comm.as_bytes() == b"sh" && sent(event).is_some_and(is_kill)
    });
    let killed = sent(&event).unwrap();
    let (exec, _) = watch.exec(killed.target_pid);
    assert_eq!(exec.task.start_boot_ns, killed.target_start_boot_ns);
    assert_eq!(exec.task.ppid, event.task.pid, "the sender is its parent, by the host's number");
    let of_sender = watch.so_far(|other| other.task.pid == event.task.pid && sent(other).is_some());
    let numbers: Vec<u32> = of_sender.iter().filter_map(sent).map(|signal| signal.number).collect();
    assert_eq!(numbers, [19, 9], "STOP and KILL; one to itself is no signal to another");
}

#[test]
fn signals_are_looked_at_only_where_they_are_wanted() {
    if !can_observe("signals_are_looked_at_only_where_they_are_wanted") {
        return;
    }
    let plan = |kinds: &[EventKind]| KernelPlan { kinds: KindSet::of(kinds), ..KernelPlan::default() };
    let mut watch = Watch::new(&plan(&[EventKind::Exec]));
    let attached = |watch: &Watch| {
        let ladder = watch.sensor.ladder();
        ladder.into_iter().find(|probe| probe.kind == EventKind::Signal).unwrap().attached()
    };
    assert!(!attached(&watch));
    watch.sensor.apply(&plan(&[EventKind::Exec, EventKind::Signal])).unwrap();
    assert!(attached(&watch));
    let mut target = sleeper();
    run(Command::new("/bin/kill").args(["-KILL", &target.id().to_string()]));
    target.wait().unwrap();
    watch.event("SIGKILL", |event| sent(event).is_some_and(|signal| signal.target_pid == target.id()));
    watch.sensor.apply(&plan(&[EventKind::Exec])).unwrap();
    assert!(!attached(&watch));
}
