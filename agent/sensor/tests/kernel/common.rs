//! A sensor on the running kernel, and children that do things to be seen.
use hostward_event::fact::Input;
use hostward_event::plan::{KernelPlan, OpenClass, OpenPlan};
use hostward_event::raw::{Gap, RawBody, RawEvent, RawExec};
use hostward_event::{EventKind, KindSet};
use hostward_sensor::{Config, Sensor};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long an event may take; on a busy machine a child alone may take seconds.
const PATIENCE: Duration = Duration::from_secs(20);
/// Tells a test binary that it runs as a child, and what to do.
pub(crate) const CHILD: &str = "HOSTWARD_SENSOR_TEST_CHILD";

/// False, with a reason on stdout, where the kernel cannot be observed. Fails instead when
/// `HOSTWARD_REQUIRE` names `kernel`.
pub(crate) fn can_observe(test: &str) -> bool {
    let root = rustix::process::geteuid().is_root();
    let btf = Path::new("/sys/kernel/btf/vmlinux").exists();
    if root && btf {
        return true;
    }
    let why = if root { "this kernel has no /sys/kernel/btf/vmlinux" } else { "not root" };
    let required =
        std::env::var("HOSTWARD_REQUIRE").is_ok_and(|list| list.split(',').any(|name| name == "kernel"));
    assert!(!required, "{test}: {why}, and HOSTWARD_REQUIRE asks for kernel");
    println!("skipped {test}: {why}");
    false
}

/// The machine's owner says by `HOSTWARD_TRAMPOLINES` that programs at functions work on its kernel: then they must.
pub(crate) fn has_trampolines() -> bool {
    std::env::var_os("HOSTWARD_TRAMPOLINES").is_some()
}

/// The usual configuration: programs at functions where they work.
pub(crate) fn config() -> Config {
    Config::default()
}

/// Everything of every kind, but of closes of files none, as a busy machine has many.
pub(crate) fn everything() -> KernelPlan {
    KernelPlan {
        kinds: KindSet::ALL,
        opens: OpenPlan { all: OpenClass::ALL, ..OpenPlan::default() },
        ..KernelPlan::default()
    }
}

/// Only opens of these names and classes, and connects.
pub(crate) fn named(names: &[(&str, OpenClass)]) -> KernelPlan {
    let names = names.iter().map(|(name, class)| ((*name).into(), *class)).collect();
    KernelPlan {
        kinds: KindSet::ALL,
        opens: OpenPlan { all: OpenClass::NONE, names },
        ..KernelPlan::default()
    }
}

#[derive(Default)]
struct Seen {
    inputs: Mutex<Vec<Input>>,
    more: Condvar,
}

/// A loaded sensor whose rings are read by threads.
pub(crate) struct Watch {
    pub(crate) sensor: Sensor,
    seen: Arc<Seen>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Watch {
    pub(crate) fn new(plan: &KernelPlan) -> Self {
        Self::with(&config(), plan)
    }

    pub(crate) fn with(config: &Config, plan: &KernelPlan) -> Self {
        let mut sensor = Sensor::load(config, plan).unwrap_or_else(|why| panic!("{why} ({})", why.hint()));
        let (seen, stop) = (Arc::new(Seen::default()), Arc::new(AtomicBool::new(false)));
        let mut rings = sensor.ordered_rings();
        let (kept, told) = (Arc::clone(&seen), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            let mut inputs = Vec::new();
            let keep = |inputs: &mut Vec<Input>| {
                kept.inputs.lock().unwrap().append(inputs);
                kept.more.notify_all();
            };
            while !told.load(Ordering::Relaxed) {
                rings.poll(Duration::from_millis(50), &mut inputs).unwrap();
                keep(&mut inputs);
            }
            rings.drain(&mut inputs).unwrap();
            keep(&mut inputs);
            assert_eq!(rings.malformed(), 0);
        });
        let threads = vec![thread];
        Self { sensor, seen, stop, threads }
    }

    /// The first event that `wanted` likes.
    pub(crate) fn event(&self, what: &str, wanted: impl Fn(&RawEvent) -> bool) -> RawEvent {
        let until = Instant::now() + PATIENCE;
        let mut inputs = self.seen.inputs.lock().unwrap();
        loop {
            let found = inputs.iter().find_map(|input| match input {
                Input::Raw(event) if wanted(event) => Some(event.clone()),
                _ => None,
            });
            if let Some(event) = found {
                return event;
            }
            let left = until.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "no event after {PATIENCE:?}: {what}");
            inputs = self.seen.more.wait_timeout(inputs, left).unwrap().0;
        }
    }

    /// The exec of `pid`.
    pub(crate) fn exec(&self, pid: u32) -> (RawEvent, RawExec) {
        let event =
            self.event("exec", |event| event.task.pid == pid && matches!(event.body, RawBody::Exec(_)));
        match event.body.clone() {
            RawBody::Exec(exec) => (event, *exec),
            _ => unreachable!(),
        }
    }

    /// Events that came so far and that `wanted` likes.
    pub(crate) fn so_far(&self, wanted: impl Fn(&RawEvent) -> bool) -> Vec<RawEvent> {
        let inputs = self.seen.inputs.lock().unwrap();
        let raw = inputs.iter().filter_map(|input| match input {
            Input::Raw(event) => Some(event),
            _ => None,
        });
        raw.filter(|event| wanted(event)).cloned().collect()
    }

    /// Waits until so many events of this kind were made: some happen in an interrupt, after their maker is gone.
    pub(crate) fn made(&self, kind: EventKind, count: u64) {
        let until = Instant::now() + PATIENCE;
        let attempted = || {
            let counters = self.sensor.counters().unwrap();
            counters.iter().find(|counter| counter.kind == kind).map_or(0, |counter| counter.attempted)
        };
        while attempted() < count {
            assert!(Instant::now() < until, "{} of {count} {} after {PATIENCE:?}", attempted(), kind.name());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// How many events of this kind the ring had no room for, so far.
    pub(crate) fn lost(&self, kind: EventKind) -> u64 {
        let inputs = self.seen.inputs.lock().unwrap();
        let gaps = inputs.iter().filter_map(|input| match input {
            Input::Gap(gap) if gap.lost == kind => Some(gap.count),
            _ => None,
        });
        gaps.sum()
    }

    /// Does `work` while nobody reads the rings, so that what does not fit is lost however busy or idle the machine is.
    pub(crate) fn unread<T>(&self, work: impl FnOnce() -> T) -> T {
        // The reader waits for this lock as soon as it has read something.
        let _held = self.seen.inputs.lock().unwrap();
        work()
    }

    /// Waits for the exit of `pid`, so that all that it did came before.
    pub(crate) fn exited(&self, pid: u32) -> RawEvent {
        self.event("exit", |event| event.task.pid == pid && matches!(event.body, RawBody::Exit { .. }))
    }

    /// Detaches, reads to the end and gives all.
    pub(crate) fn finish(mut self) -> (Vec<RawEvent>, Vec<Gap>, Sensor) {
        self.sensor.detach();
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            thread.join().unwrap();
        }
        let (mut events, mut gaps) = (Vec::new(), Vec::new());
        for input in self.seen.inputs.lock().unwrap().drain(..) {
            match input {
                Input::Raw(event) => events.push(event),
                Input::Gap(gap) => gaps.push(gap),
                other => panic!("a ring gave {other:?}"),
            }
        }
        (events, gaps, self.sensor)
    }
}

/// Copies a program. By another process: a descriptor of ours, open for writing, could be inherited by a child that
/// another test starts just then, and the program would be busy.
pub(crate) fn copy(from: &str, to: &Path) {
    assert!(Command::new("cp").arg("--").arg(from).arg(to).status().unwrap().success());
}

/// Makes an executable file of this text; by another process, as [`copy`].
pub(crate) fn script(to: &Path, text: &str) {
    let write = "printf %s \"$1\" > \"$0\" && chmod 755 \"$0\"";
    assert!(Command::new("/bin/sh").args(["-c", write]).arg(to).arg(text).status().unwrap().success());
}

/// This test binary as a child that runs its test `child` with `task`; it waits for a line on stdin
/// before it begins.
pub(crate) fn child(task: &str, arguments: &[&Path]) -> Child {
    command(task, arguments).spawn().unwrap()
}

/// The command of [`child`].
pub(crate) fn command(task: &str, arguments: &[&Path]) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "child", "--nocapture", "--test-threads=1"]);
    command.env(CHILD, task).stdin(Stdio::piped()).stdout(Stdio::piped());
    for (at, argument) in arguments.iter().enumerate() {
        command.env(format!("{CHILD}_{at}"), argument);
    }
    command
}

/// What [`child`] was told to do; none in the test run itself.
pub(crate) fn task() -> Option<String> {
    std::env::var(CHILD).ok()
}

/// Argument `at` of [`child`].
pub(crate) fn argument(at: usize) -> std::path::PathBuf {
    std::env::var_os(format!("{CHILD}_{at}")).unwrap().into()
}

/// Runs `child` to its end and gives its pid and what it printed.
pub(crate) fn run(child: Child) -> (u32, String) {
    let pid = child.id();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "child failed: {}", String::from_utf8_lossy(&output.stdout));
    (pid, String::from_utf8_lossy(&output.stdout).into_owned())
}
