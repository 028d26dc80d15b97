//! Plans in force: killing at exec, swapping, losses that add up, seeds, and what the verifier pays.
use crate::common::{Watch, argument, can_observe, config, everything, has_trampolines, named};
use hostward_event::plan::{KernelPlan, OpenClass};
use hostward_event::raw::{RawBody, Rung};
use hostward_event::{EventKind, KindSet, Text};
use hostward_sensor::{Config, ProbeState, ProbeStatus, Sensor};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;

fn program(directory: &Path, name: &str) -> PathBuf {
    let to = directory.join(name);
    crate::common::copy("/bin/true", &to);
    to
}

fn text(path: &Path) -> Text {
    Text::copy(path.as_os_str().as_bytes())
}

fn killing(paths: &[&Path], comms: &[&str]) -> KernelPlan {
    KernelPlan {
        kill_paths: paths.iter().map(|path| text(path)).collect(),
        kill_comms: comms.iter().map(|comm| Text::from(*comm)).collect(),
        ..KernelPlan::default()
    }
}

/// Runs `program`: was it killed, and does its exec say so?
fn outcome(watch: &Watch, program: &Path) -> (bool, bool) {
    let mut child = Command::new(program).spawn().unwrap();
    let pid = child.id();
    let killed = child.wait().unwrap().signal() == Some(9);
    let (_, exec) = watch.exec(pid);
    (killed, exec.killed)
}

#[test]
fn maps_take_no_more_memory_than_is_calculated() {
    if !can_observe("maps_take_no_more_memory_than_is_calculated") {
        return;
    }
    const RING: u64 = 1 << 20;
    let config = Config {
        process_ring_bytes: Some(RING),
        urgent_ring_bytes: Some(RING),
        bulk_ring_bytes: Some(RING),
        network_ring_bytes: Some(RING),
        ..crate::common::config()
    };
    let sensor = Sensor::load(&config, &everything()).unwrap();
    let possible = std::fs::read_to_string("/sys/devices/system/cpu/possible").unwrap();
    let cpus = possible.trim().rsplit(['-', ',']).next().unwrap().parse::<u64>().unwrap() + 1;
    // A ring has some pages besides its data.
    let most = Sensor::calculated_bytes(cpus) + 4 * (RING + (1 << 14));
    let taken = sensor.kernel_bytes();
    assert!(taken <= most, "{taken} bytes are more than the {most} of the calculation");
    assert!(
        taken * 10 >= most * 9,
        "{taken} bytes are so few that the calculation of {most} is of something else"
    );
}

#[test]
fn a_program_dies_at_exec_by_path_or_name() {
    if !can_observe("a_program_dies_at_exec_by_path_or_name") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let evil = program(directory.path(), "by-path");
    let evil_too = program(directory.path(), "by-path-too");
    let named = program(directory.path(), "hw-test-miner");
    let good = program(directory.path(), "by-pat");
    let mut watch = Watch::new(&killing(&[&evil], &["hw-test-miner"]));
    assert_eq!(outcome(&watch, &evil), (true, true));
    assert_eq!(outcome(&watch, &named), (true, true));
    assert_eq!(outcome(&watch, &good), (false, false));
    assert_eq!(outcome(&watch, &evil_too), (false, false), "a longer name is another program");

    // Swapped while attached; a path that is too long is told.
    let long = PathBuf::from(format!("/{}", "x/".repeat(300)));
    let left_out = watch.sensor.apply(&killing(&[&evil_too, &long], &[])).unwrap();
    assert_eq!(left_out, [text(&long)]);
    assert_eq!(outcome(&watch, &evil), (false, false));
    assert_eq!(outcome(&watch, &named), (false, false));
    assert_eq!(outcome(&watch, &evil_too), (true, true));

    // Nothing of the program may run: were it late once, a file would appear.
    let trace = directory.path().join("late");
    let shell = directory.path().join("hw-test-shell");
    crate::common::copy("/bin/sh", &shell);
    watch.sensor.apply(&killing(&[&shell], &[])).unwrap();
    for _ in 0..50 {
        let status = Command::new(&shell).arg("-c").arg(format!(": > {}", trace.display())).status().unwrap();
        assert_eq!(status.signal(), Some(9));
    }
    assert!(!trace.exists());
}

#[test]
fn a_plan_is_swapped_without_detaching() {
    if !can_observe("a_plan_is_swapped_without_detaching") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    for name in ["hw-one", "hw-two"] {
        fs::write(directory.path().join(name), "x").unwrap();
    }
    let seen = |watch: &Watch| {
        let (pid, _) = crate::common::run(crate::common::child("two", &[directory.path()]));
        watch.exited(pid);
        let opens = watch.so_far(|event| event.task.pid == pid && matches!(event.body, RawBody::Open(_)));
        let names = opens.iter().map(|event| match &event.body {
            RawBody::Open(open) => open.path.to_string().rsplit('/').next().unwrap().to_owned(),
            _ => unreachable!(),
        });
        names.collect::<Vec<_>>()
    };
    let mut watch = Watch::new(&named(&[("hw-one", OpenClass::READ)]));
    assert_eq!(seen(&watch), ["hw-one"]);
    watch.sensor.apply(&named(&[("hw-two", OpenClass::ALL), ("hw-one", OpenClass::WRITE)])).unwrap();
    assert_eq!(seen(&watch), ["hw-two"]);
    watch.sensor.apply(&named(&[("hw-two", OpenClass::READ), ("hw-one", OpenClass::READ)])).unwrap();
    assert_eq!(seen(&watch), ["hw-one", "hw-two"]);

    // A kind that nobody wants costs nothing: its probes are detached, and come back.
    let mut plan = named(&[("hw-one", OpenClass::READ)]);
    plan.kinds = KindSet::of(&[EventKind::Connect]);
    watch.sensor.apply(&plan).unwrap();
    assert_eq!(seen(&watch), [""; 0]);
    assert!(!watch.sensor.observed().contains(EventKind::Open));
    assert!(watch.sensor.observed().contains(EventKind::Connect));
    plan.kinds = KindSet::ALL;
    watch.sensor.apply(&plan).unwrap();
    assert_eq!(seen(&watch), ["hw-one"]);
}

#[test]
fn losses_are_told_to_the_last_event() {
    if !can_observe("losses_are_told_to_the_last_event") {
        return;
    }
    let config = Config { process_ring_bytes: Some(4096), bulk_ring_bytes: Some(4096), ..config() };
    let watch = Watch::with(&config, &everything());
    let directory = tempfile::tempdir().unwrap();
    let children: Vec<_> = (0..3).map(|_| crate::common::child("flood", &[directory.path()])).collect();
    let mut children = children.into_iter();
    watch.unread(|| children.next().map(crate::common::run));
    children.for_each(|child| drop(crate::common::run(child)));
    let (events, gaps, sensor) = watch.finish();
    let counters = sensor.counters().unwrap();
    assert!(counters.iter().any(|kind| kind.kind == EventKind::Open && kind.dropped > 0), "{counters:?}");
    for kind in counters {
        let came = events.iter().filter(|event| event.kind() == kind.kind).count() as u64;
        let lost: u64 = gaps.iter().filter(|gap| gap.lost == kind.kind).map(|gap| gap.count).sum();
        assert_eq!((came, lost), (kind.attempted - kind.dropped, kind.dropped), "{kind:?}");
    }
    // Number by number: each came once or is in one gap.
    let mut numbers: BTreeMap<(EventKind, u8, u16), BTreeSet<u64>> = BTreeMap::new();
    let mut add = |stream: (EventKind, u8, u16), seq| {
        assert!(numbers.entry(stream).or_default().insert(seq), "{stream:?} {seq} twice")
    };
    for event in &events {
        add((event.kind(), event.source.stream, event.source.cpu), event.source.seq);
    }
    for gap in &gaps {
        assert_eq!(gap.count, gap.last - gap.first + 1);
        (gap.first..=gap.last).for_each(|seq| add((gap.lost, gap.stream, gap.cpu), seq));
    }
    for (stream, seqs) in numbers {
        assert_eq!(seqs.last().map(|last| last + 1), Some(seqs.len() as u64), "{stream:?}");
    }
}

/// Processes in /proc that are no zombies.
fn living() -> BTreeSet<u32> {
    let numbers =
        fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let alive = |pid: &u32| {
        let stat = fs::read(format!("/proc/{pid}/stat")).unwrap_or_default();
        let state = stat.rsplit(|byte| *byte == b')').next().and_then(|rest| rest.get(1)).copied();
        state.is_some_and(|state| !b"ZX".contains(&state))
    };
    numbers.filter(alive).collect()
}

#[test]
fn seeds_are_what_proc_says() {
    if !can_observe("seeds_are_what_proc_says") {
        return;
    }
    let sensor = Sensor::load(&config(), &named(&[])).unwrap();
    let mut child = Command::new("/bin/sleep").arg("100").current_dir("/usr").spawn().unwrap();
    // Its exec is over when its name is there.
    while fs::read_to_string(format!("/proc/{}/comm", child.id())).unwrap() != "sleep\n" {}
    let before = living();
    let seeds = sensor.seeds().unwrap();
    let by_pid: BTreeMap<u32, _> = seeds.iter().map(|seed| (seed.pid, seed)).collect();
    assert_eq!(by_pid.len(), seeds.len(), "a process twice");

    let sleep = by_pid[&child.id()];
    assert_eq!(sleep.ppid, std::process::id());
    assert_eq!(sleep.comm, Text::from("sleep"));
    assert_eq!(sleep.path, text(&fs::canonicalize("/bin/sleep").unwrap()));
    assert_eq!(sleep.cwd, Text::from("/usr"));
    assert_eq!((sleep.creds.euid, sleep.vpid), (0, child.id()));
    assert_ne!(sleep.exe.ino, 0);
    let stat = fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    assert_eq!(sleep.start_boot_ns / 10_000_000, fields[19].parse::<u64>().unwrap());
    assert_eq!((sleep.pgid.to_string(), sleep.sid.to_string()), (fields[2].to_owned(), fields[3].to_owned()));
    assert_eq!(sleep.tty.to_string(), fields[4]);
    assert!(by_pid.contains_key(&std::process::id()));
    child.kill().unwrap();
    child.wait().unwrap();

    // All that lives, kernel threads included: each long-lived process of /proc is there.
    // Every process that lived before and after is there. (A hardened kernel may hide the first one
    // from the iterator; the agent then knows it from /proc.)
    for pid in before.intersection(&living()).filter(|pid| **pid != 1) {
        assert!(by_pid.contains_key(pid), "process {pid} is missing");
    }
    for seed in &seeds {
        if seed.ppid == 2 {
            assert_eq!(seed.path, Text::EMPTY, "a kernel thread has no program: {seed:?}");
        }
    }
}

#[test]
fn the_ladder_tells_what_is_attached_within_its_verifier_budget() {
    if !can_observe("the_ladder_tells_what_is_attached_within_its_verifier_budget") {
        return;
    }
    let mut sensor = Sensor::load(&config(), &everything()).unwrap();
    let ladder = sensor.ladder();
    for probe in &ladder {
        let (rung, status) = (probe.rung.name(), probe.status.name());
        println!("{} {status} by {rung} at {} {}{}", probe.kind.name(), probe.hook, probe.why, probe.passed);
    }
    let status = |hook: &str| ladder.iter().find(|probe| probe.hook == hook).unwrap().status;
    let [openat, connect] = if has_trampolines() {
        ["__x64_sys_openat", "__x64_sys_connect"]
    } else {
        ["sys_exit_openat", "sys_exit_connect"]
    };
    for hook in ["sched_process_exec", "sched_process_fork", "sched_process_exit", openat, connect] {
        assert_eq!(status(hook), ProbeStatus::Attached, "{hook}");
    }
    for probe in ladder.iter().filter(|probe| probe.attached()) {
        let slow = probe.rung == Rung::SyscallTracepoint;
        assert_eq!(slow, !probe.passed.is_empty(), "why no better rung: {probe:?}");
        // 5.10 keeps no type of some functions.
        let untyped = probe.passed.starts_with("unknown BTF type");
        assert!(!slow || untyped || !has_trampolines(), "{probe:?}");
    }
    for probe in &ladder {
        assert_eq!(probe.status == ProbeStatus::Attached, probe.why.is_empty(), "{probe:?}");
    }
    let guessed: Vec<_> = sensor.notes().iter().filter(|note| note.contains("own process id")).collect();
    assert!(guessed.is_empty(), "the agent's process id is the kernel's word: {guessed:?}");
    programs_stay_within_their_verifier_budget(&sensor, &ladder);
    sensor.detach();
    assert!(sensor.observed().is_empty());
}

/// Verified instructions on the kernel they were recorded on. A rise of more than a quarter means
/// that a loop got more ways through it: find out why before raising a figure.
fn programs_stay_within_their_verifier_budget(sensor: &Sensor, ladder: &[ProbeState]) {
    let recorded = BTreeMap::from([
        ("call", 164_500),
        ("call_fexit", 164_500),
        ("call_ia32", 164_500),
        ("close", 133_000),
        ("close_fentry", 133_000),
        ("connect", 35_500),
        ("connection", 5_900),
        ("connect_fexit", 35_500),
        ("connect_ia32", 35_500),
        ("cgroup_mkdir", 650),
        ("cgroup_rmdir", 650),
        ("dns_answer", 980),
        ("dns_question", 1_570),
        ("udp_send4", 1_000),
        ("udp_send6", 1_000),
        ("signal", 740),
        ("exec", 34_600),
        ("exit", 650),
        ("fork", 410),
        ("open", 183_500),
        ("open_fexit", 183_500),
        ("open_ia32", 183_500),
        ("uring_complete", 137_400),
        ("uring_submit", 135_900),
    ]);
    const CHECK: u32 = 31_900;
    let counted = sensor.verified_instructions();
    if counted.is_empty() {
        println!(
            "skipped programs_stay_within_their_verifier_budget: this kernel (before 5.16) does not tell"
        );
        return;
    }
    // Requests of io_uring do not tell enough before 6.0.
    let refused =
        ladder.iter().filter(|probe| probe.program.starts_with("uring") && !probe.attached()).count();
    let is_check = |probe: &&ProbeState| {
        let of_checks = ["path_", "sb_", "move_mount", "vfs_utimes", "inode_", "mnt_want_write"];
        probe.attached() && of_checks.iter().any(|name| probe.program.starts_with(name))
    };
    let checks: Vec<&str> = ladder.iter().filter(is_check).map(|probe| probe.program).collect();
    // Before 6.2 access control lists have no functions of their own.
    let symbols = fs::read_to_string("/proc/kallsyms").unwrap();
    let most = if symbols.contains(" security_inode_set_acl\n") { 21 } else { 19 };
    assert_eq!(checks.len(), if has_trampolines() { most } else { 0 }, "{checks:?}");
    // None where the kernel takes no calls of i386, that of connects alone where it has no one function for them.
    let of_ia32 = ladder.iter().filter(|probe| probe.program.ends_with("_ia32") && probe.attached()).count();
    let expected = recorded.len() - 4 - refused - (3 - of_ia32) + checks.len();
    assert_eq!(
        counted.len(),
        expected,
        "each system call's program, and that of closes, by one rung: {counted:?}"
    );
    for (name, count) in counted {
        let budget = if checks.contains(&name.as_str()) { CHECK } else { recorded[name.as_str()] };
        println!("{name}: {count} of {budget}");
        assert!(count <= budget + budget / 4, "{name}: {count} verified instructions, {budget} recorded");
    }
}

/// What the children of the tests above do.
pub(crate) fn child(task: &str) {
    match task {
        "two" => {
            for name in ["hw-one", "hw-two"] {
                fs::File::open(argument(0).join(name)).unwrap();
            }
        }
        "flood" => {
            let long = argument(0).join("n".repeat(200));
            fs::write(&long, "x").unwrap();
            for _ in 0..5000 {
                fs::File::open(&long).unwrap();
            }
            for _ in 0..50 {
                Command::new("/bin/true").arg("x".repeat(3000)).status().unwrap();
            }
        }
        _ => {}
    }
}
