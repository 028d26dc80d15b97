//! Programs that outlive the agent: what they do and keep meanwhile, and how the next one goes on.
use crate::common::{argument, can_observe, config, has_trampolines};
use hostward_event::fact::Input;
use hostward_event::plan::{KernelPlan, OpenClass, OpenPlan};
use hostward_event::raw::{RawBody, RawEvent};
use hostward_event::{EventKind, KindSet, Text};
use hostward_sensor::{Config, Drained, Inherited, Marks, Rings, Sensor, pinned_at};
use rustix::process::{Resource, Rlimit, setrlimit};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A BPF file system of this test alone.
pub(crate) struct Bpffs(tempfile::TempDir);

impl Bpffs {
    pub(crate) fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("hw-bpffs-").tempdir().unwrap();
        let (none, data) = (rustix::mount::MountFlags::empty(), None);
        rustix::mount::mount("bpf", dir.path(), "bpf", none, data).unwrap();
        Self(dir)
    }

    pub(crate) fn pins(&self) -> PathBuf {
        self.0.path().join("pins")
    }

    pub(crate) fn config(&self) -> Config {
        let ring = Some(1 << 20);
        Config { persist: true, persist_dir: self.pins(), process_ring_bytes: ring, ..config() }
    }

    /// The one set that is pinned.
    pub(crate) fn set(&self) -> PathBuf {
        let sets: Vec<_> = fs::read_dir(self.pins()).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert_eq!(sets.len(), 1, "{sets:?}");
        sets[0].clone()
    }
}

impl Drop for Bpffs {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(self.0.path(), rustix::mount::UnmountFlags::DETACH);
    }
}

/// A sensor as an agent has it. Dropped, it goes as an agent that is killed.
pub(crate) struct Agent {
    pub(crate) sensor: Sensor,
    rings: Rings,
    marks: Option<Marks>,
    pub(crate) inherited: Inherited,
    pub(crate) seen: Vec<Input>,
}

impl Agent {
    pub(crate) fn new(config: &Config, plan: &KernelPlan) -> Self {
        let mut sensor = Sensor::load(config, plan).unwrap_or_else(|why| panic!("{why} ({})", why.hint()));
        let (rings, marks, inherited) = (sensor.ordered_rings(), sensor.marks(), sensor.inherited());
        assert_eq!(sensor.unpinned(), None);
        let base = ["exec", "fork", "exit", "cgroup_mkdir", "cgroup_rmdir"];
        let ladder = sensor.ladder();
        let base = ladder.iter().filter(|probe| base.contains(&probe.program));
        assert_eq!(base.inspect(|probe| assert!(probe.attached(), "{probe:?}")).count(), 5);
        Self { sensor, rings, marks, inherited, seen: Vec::new() }
    }

    pub(crate) fn poll(&mut self) {
        let mut inputs = Vec::new();
        self.rings.poll(Duration::from_millis(20), &mut inputs).unwrap();
        self.keep(inputs);
    }

    fn keep(&mut self, inputs: Vec<Input>) {
        if let Some(marks) = &self.marks {
            inputs.iter().for_each(|input| marks.handled(input));
        }
        self.seen.extend(inputs);
    }

    pub(crate) fn until<T>(&mut self, what: &str, mut found: impl FnMut(&mut Self) -> Option<T>) -> T {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = found(self) {
                return found;
            }
            assert!(Instant::now() < until, "not after {PATIENCE:?}: {what}");
            self.poll();
        }
    }

    pub(crate) fn exit_of(&mut self, pid: u32) {
        self.until("the exit", |agent| {
            stories(&agent.seen).get(&pid)?.contains(&EventKind::Exit).then_some(())
        });
    }

    pub(crate) fn drained(&mut self) -> Drained {
        self.until("the end of what was kept", |agent| agent.rings.drained())
    }

    /// Stops in order, as the agent does.
    pub(crate) fn stop(mut self) -> Vec<Input> {
        self.sensor.detach();
        let mut inputs = Vec::new();
        self.rings.drain(&mut inputs).unwrap();
        self.keep(inputs);
        self.sensor.leave();
        self.seen
    }
}

pub(crate) fn raw(inputs: &[Input]) -> impl Iterator<Item = &RawEvent> {
    inputs.iter().filter_map(|input| match input {
        Input::Raw(event) => Some(event),
        _ => None,
    })
}

/// By process, what was told of it, in order.
fn stories(inputs: &[Input]) -> BTreeMap<u32, Vec<EventKind>> {
    let mut all: BTreeMap<u32, Vec<EventKind>> = BTreeMap::new();
    raw(inputs).for_each(|event| all.entry(event.task.pid).or_default().push(event.kind()));
    all
}

/// Each process is told from its fork to its end, once.
fn whole(pids: &[u32], inputs: &[Input]) {
    let stories = stories(inputs);
    for pid in pids {
        assert_eq!(
            stories.get(pid).map(Vec::as_slice),
            Some([EventKind::Fork, EventKind::Exec, EventKind::Exit].as_slice()),
            "process {pid}"
        );
    }
}

/// Every number of each CPU, kind and stream is there once, as an event or in a gap. Gives how many are in gaps.
pub(crate) fn accounted(inputs: &[Input]) -> u64 {
    let mut numbers: BTreeMap<(u16, EventKind, u8), Vec<u64>> = BTreeMap::new();
    let mut lost = 0;
    for input in inputs {
        match input {
            Input::Raw(event) => {
                let source = &event.source;
                numbers.entry((source.cpu, event.kind(), source.stream)).or_default().push(source.seq);
            }
            Input::Gap(gap) => {
                lost += gap.count;
                numbers.entry((gap.cpu, gap.lost, gap.stream)).or_default().extend(gap.first..=gap.last);
            }
            _ => {}
        }
    }
    for (of, mut all) in numbers {
        all.sort_unstable();
        let expected: Vec<u64> = (0..all.len() as u64).collect();
        assert_eq!(all, expected, "{of:?}");
    }
    lost
}

/// The link at the end of openat.
pub(crate) fn open_link() -> &'static str {
    match (has_trampolines(), cfg!(target_arch = "aarch64")) {
        (false, _) => "link-sys-sys_exit_openat",
        (true, false) => "link-sys-__x64_sys_openat",
        (true, true) => "link-sys-__arm64_sys_openat",
    }
}

fn killing(path: &Path) -> KernelPlan {
    let path = Text::copy(path.as_os_str().as_bytes());
    KernelPlan { kill_paths: [path].into(), ..KernelPlan::default() }
}

fn run(program: &Path) -> (u32, Option<i32>) {
    let mut child = Command::new(program).spawn().unwrap();
    let pid = child.id();
    (pid, child.wait().unwrap().signal())
}

fn evil(directory: &Path) -> PathBuf {
    let evil = directory.join("hw-persist-evil");
    crate::common::copy("/bin/true", &evil);
    evil
}

fn trues(count: usize) -> Vec<u32> {
    (0..count).map(|_| run(Path::new("/bin/true")).0).collect()
}

#[test]
fn pinned_programs_kill_and_collect_while_nobody_reads() {
    if !can_observe("pinned_programs_kill_and_collect_while_nobody_reads") {
        return;
    }
    let (bpffs, directory) = (Bpffs::new(), tempfile::tempdir().unwrap());
    let evil = evil(directory.path());
    let plan = killing(&evil);

    let mut first = Agent::new(&bpffs.config(), &plan);
    assert_eq!(first.sensor.pinned(), Some(bpffs.set().as_path()));
    assert_eq!(fs::metadata(bpffs.pins()).unwrap().mode() & 0o777, 0o700);
    assert!(first.inherited.since_boot_ns.is_none() && !first.inherited.goes_on);
    let before = trues(3);
    first.exit_of(before[2]);
    let mut all = std::mem::take(&mut first.seen);
    drop(first);

    // Nobody is there.
    assert!(pinned_at(&bpffs.config()).is_some());
    let (victim, signal) = run(&evil);
    assert_eq!(signal, Some(9));
    let meanwhile = trues(20);

    let mut second = Agent::new(&bpffs.config(), &plan);
    assert!(second.inherited.goes_on && second.inherited.killed && second.inherited.inputs.is_empty());
    let drained = second.drained();
    assert!(drained.events >= 3 * 21, "{drained:?}");
    // What other processes of the host did at that moment, which the first one had read and not handed over.
    let in_hand = drained.lost;
    assert!(drained.first_boot_ns > 0 && drained.first_boot_ns < drained.last_boot_ns, "{drained:?}");
    let (_, signal) = run(&evil);
    assert_eq!(signal, Some(9), "the plan of the second is in force");
    let after = trues(2);
    second.exit_of(after[1]);
    let killed = raw(&second.seen).find(|event| event.task.pid == victim && event.kind() == EventKind::Exec);
    assert!(matches!(&killed.unwrap().body, RawBody::Exec(exec) if exec.killed));
    // The plan is brought by the agent, not by the programs.
    second.sensor.apply(&KernelPlan::default()).unwrap();
    assert_eq!(run(&evil).1, None);
    all.extend(second.stop());
    let unseen = trues(2);

    let mut third = Agent::new(&bpffs.config(), &plan);
    assert!(third.inherited.goes_on && !third.inherited.killed);
    assert!(third.drained().events >= 6);
    all.extend(third.stop());
    for pids in [&before, &meanwhile, &after, &unseen] {
        whole(pids, &all);
    }
    assert_eq!(accounted(&all), in_hand);

    // Without the key what is left is read and goes.
    let last = trues(1);
    let off = Config { persist: false, ..bpffs.config() };
    let fourth = Agent::new(&off, &KernelPlan::default());
    assert!(!bpffs.pins().exists());
    whole(&last, &fourth.inherited.inputs);
    assert!(!fourth.inherited.goes_on && !fourth.inherited.killed);
    assert!(fourth.inherited.troubles.is_empty(), "{:?}", fourth.inherited.troubles);
    all.extend(fourth.inherited.inputs.iter().cloned());
    assert_eq!(accounted(&all), in_hand);
    drop(fourth);
    assert_eq!(run(&evil).1, None);
}

/// Raises a flag when it is dropped.
pub(crate) struct Raise<'a>(pub(crate) &'a AtomicBool);

impl Drop for Raise<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Programs come and go while processes do: each event is told once.
#[test]
fn other_settings_take_the_programs_over_without_a_loss_or_a_repeat() {
    if !can_observe("other_settings_take_the_programs_over_without_a_loss_or_a_repeat") {
        return;
    }
    let bpffs = Bpffs::new();
    let first = Agent::new(&bpffs.config(), &KernelPlan::default());
    let set = bpffs.set();
    drop(first);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let load = scope.spawn(|| {
            let mut pids = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                pids.extend(trues(1));
                std::thread::sleep(Duration::from_millis(1));
            }
            pids
        });
        // Also when the test fails, or the load would go on for ever.
        let ends = Raise(&stop);
        std::thread::sleep(Duration::from_millis(200));
        let larger = Config { process_ring_bytes: Some(1 << 21), ..bpffs.config() };
        let mut second = Agent::new(&larger, &KernelPlan::default());
        drop(ends);
        let pids = load.join().unwrap();
        assert_ne!(bpffs.set(), set, "the old set is gone, a new one is there");
        let inherited = std::mem::take(&mut second.inherited);
        assert!(inherited.killed && !inherited.goes_on, "{inherited:?}");
        assert!(inherited.troubles.is_empty(), "{:?}", inherited.troubles);
        second.exit_of(*pids.last().unwrap());
        let (told, seen) = (stories(&inherited.inputs).len(), second.seen.len());
        let mut all = inherited.inputs;
        println!("missed: {:?}", second.sensor.missed());
        all.extend(second.stop());
        println!("{} processes: {told} told by the old programs, {seen} events by the new", pids.len());
        let gaps: Vec<_> = all.iter().filter(|input| matches!(input, Input::Gap(_))).collect();
        assert!(gaps.is_empty(), "{gaps:?}");
        whole(&pids, &all);
    });
}

#[test]
fn what_does_not_fit_and_what_was_in_hand_is_a_gap() {
    if !can_observe("what_does_not_fit_and_what_was_in_hand_is_a_gap") {
        return;
    }
    let bpffs = Bpffs::new();
    let small = Config { process_ring_bytes: Some(4096), ..bpffs.config() };
    let first = Agent::new(&small, &KernelPlan::default());
    drop(first);
    trues(30);
    let mut second = Agent::new(&small, &KernelPlan::default());
    let drained = second.drained();
    assert!(drained.lost >= 60 && drained.events > 0, "{drained:?}");
    let mut all = second.stop();
    assert!(accounted(&all) >= drained.lost);

    // Read and not handled: the next one finds neither record nor note.
    let mut third = Agent::new(&small, &KernelPlan::default());
    third.marks = None;
    // The end of one may not fit.
    let mut pids = Vec::new();
    third.until("the end of one", |agent| {
        pids.extend(trues(1));
        let stories = stories(&agent.seen);
        let ended = |pid| stories.get(pid).is_some_and(|story| story.contains(&EventKind::Exit));
        pids.iter().any(ended).then_some(())
    });
    drop(third);
    let mut fourth = Agent::new(&small, &KernelPlan::default());
    let lost = fourth.drained().lost;
    assert!(lost >= 3, "{lost}");
    all.extend(fourth.stop());
    accounted(&all);
}

#[test]
fn pins_of_which_a_part_is_gone_are_made_whole() {
    if !can_observe("pins_of_which_a_part_is_gone_are_made_whole") {
        return;
    }
    let (bpffs, directory) = (Bpffs::new(), tempfile::tempdir().unwrap());
    let evil = evil(directory.path());
    let opens = OpenPlan { names: [("hw-nobody".into(), OpenClass::READ)].into(), ..OpenPlan::default() };
    let plan = KernelPlan { kinds: KindSet::of(&[EventKind::Open]), opens, ..killing(&evil) };
    drop(Agent::new(&bpffs.config(), &plan));
    for part in [
        "link-base-exec-sched_process_exec",
        "program-base-fork-sched_process_fork",
        "map-base-PROCESS",
        "marks",
        "link-sys-sys_exit_openat",
        "map-sys-BULK",
        "map-net-COUNTERS",
    ] {
        fs::remove_file(bpffs.set().join(part)).unwrap();
        let mut agent = Agent::new(&bpffs.config(), &plan);
        let lost = part.starts_with("ma");
        assert_eq!(
            agent.inherited.troubles.len(),
            usize::from(lost),
            "{part}: {:?}",
            agent.inherited.troubles
        );
        let pids = trues(2);
        agent.exit_of(pids[1]);
        whole(&pids, &agent.seen);
        drop(agent);
        assert_eq!(run(&evil).1, Some(9), "without {part}");
        assert!(bpffs.set().join(part).exists());
    }
}

#[test]
fn a_second_agent_and_a_look_leave_pins_alone() {
    if !can_observe("a_second_agent_and_a_look_leave_pins_alone") {
        return;
    }
    let bpffs = Bpffs::new();
    let first = Agent::new(&bpffs.config(), &KernelPlan::default());
    let busy = Sensor::load(&bpffs.config(), &KernelPlan::default()).unwrap();
    assert_eq!(busy.pinned(), None);
    assert!(busy.unpinned().unwrap().contains("another agent"), "{:?}", busy.unpinned());
    let off = Config { persist: false, ..bpffs.config() };
    drop(Sensor::load(&off, &KernelPlan::default()).unwrap());
    drop(first);
    drop(Sensor::load_apart(&bpffs.config(), &KernelPlan::default()).unwrap());
    drop(Sensor::load_apart(&off, &KernelPlan::default()).unwrap());
    bpffs.set();

    let nowhere = Config { persist_dir: "/tmp/hw-persist-nowhere".into(), ..bpffs.config() };
    let unpinned = Sensor::load(&nowhere, &KernelPlan::default()).unwrap();
    assert!(unpinned.unpinned().unwrap().contains("mount -t bpf"), "{:?}", unpinned.unpinned());
    assert!(!Path::new("/tmp/hw-persist-nowhere").exists());
}

/// What children of these tests do.
pub(crate) fn child(task: &str) {
    if task == "persist_refused" {
        refused(&argument(0));
    }
}

/// An agent that may have so few files that the kernel gives it neither maps nor programs.
fn refused(pins: &Path) {
    let larger = Some(1 << 21);
    let config =
        Config { persist: true, persist_dir: pins.to_owned(), process_ring_bytes: larger, ..config() };
    let open = fs::read_dir("/proc/self/fd").unwrap().count() as u64;
    let few = Rlimit { current: Some(open + 5), maximum: Some(open + 5) };
    setrlimit(Resource::Nofile, few).unwrap();
    let why = Sensor::load(&config, &KernelPlan::default()).map(drop).unwrap_err();
    // The harness has begun a line.
    println!("\nrefused: {why}");
}

#[test]
fn an_agent_that_sees_nothing_leaves_the_programs_of_the_one_before() {
    if !can_observe("an_agent_that_sees_nothing_leaves_the_programs_of_the_one_before") {
        return;
    }
    let (bpffs, directory) = (Bpffs::new(), tempfile::tempdir().unwrap());
    let evil = evil(directory.path());
    let plan = killing(&evil);
    drop(Agent::new(&bpffs.config(), &plan));
    let links = |set: &Path| {
        let files = fs::read_dir(set).unwrap().map(|entry| entry.unwrap().file_name());
        files.filter(|name| name.as_bytes().starts_with(b"link-")).collect::<BTreeSet<_>>()
    };
    let (set, before) = (bpffs.set(), links(&bpffs.set()));
    let (_, said) = crate::common::run(crate::common::child("persist_refused", &[&bpffs.pins()]));
    let why = said.lines().find_map(|line| line.strip_prefix("refused: ")).unwrap();
    assert!(why.contains("sched_process_exec"), "{why}");
    assert_eq!(links(&set), before);
    assert_eq!(run(&evil).1, Some(9), "who sees nothing lets live what the old programs kill");
    let pids = trues(2);

    let mut next = Agent::new(&bpffs.config(), &plan);
    assert_eq!(bpffs.set(), set);
    assert!(next.inherited.goes_on && next.inherited.troubles.is_empty(), "{:?}", next.inherited);
    next.drained();
    whole(&pids, &next.stop());
}

/// Records of another version: what cannot be read is said, and goes.
#[test]
fn pins_of_a_version_that_cannot_be_read_are_replaced_and_said_to_be_lost() {
    if !can_observe("pins_of_a_version_that_cannot_be_read_are_replaced_and_said_to_be_lost") {
        return;
    }
    let (bpffs, directory) = (Bpffs::new(), tempfile::tempdir().unwrap());
    let evil = evil(directory.path());
    drop(Agent::new(&bpffs.config(), &killing(&evil)));
    let foreign = bpffs.pins().join("base1-0-0123456789abcdef");
    fs::rename(bpffs.set(), &foreign).unwrap();
    trues(2);
    assert_eq!(run(&evil).1, Some(9), "they go on by any name");
    let mut agent = Agent::new(&bpffs.config(), &KernelPlan::default());
    let troubles = std::mem::take(&mut agent.inherited.troubles);
    assert!(troubles.len() == 1 && troubles[0].contains("cannot be read and is lost"), "{troubles:?}");
    assert!(agent.inherited.inputs.is_empty() && !agent.inherited.goes_on);
    assert_ne!(bpffs.set(), foreign);
    assert_eq!(run(&evil).1, None, "the old programs are gone");
    let pids = trues(2);
    agent.exit_of(pids[1]);
    whole(&pids, &agent.seen);
}
