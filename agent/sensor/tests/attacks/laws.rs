//! What a program can do to be told wrongly: each attack is made for real, and its law asserted.
//!
//! The law: what is told is true, or says that it may not be; and told + lost = made.
use crate::common::{self, Watch, argument, can_observe, named, run};
use hostward_event::plan::{CallPlan, OpenClass};
use hostward_event::raw::{RawBody, RawCall, RawEvent, RawOpen};
use hostward_event::{EventKind, KindSet, Text};
use hostward_sensor::Config;
use std::ffi::{CString, OsStr, OsString};
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How often a race is tried; with two CPUs some hundreds of them are won.
const ROUNDS: usize = 8000;
/// After so many a pause, as on a busy machine the other thread may not run just then.
const BATCH: usize = 200;
/// On a busy machine all of them may be lost; then again.
const TRIES: usize = 20;

/// Tries a race until what was told differed from what was asked for; `race` asserts the law each time and gives how often
/// it did.
fn until_won(what: &str, race: impl Fn() -> usize) {
    let won = (0..TRIES).map(|_| race()).find(|won| *won > 0).unwrap_or_default();
    println!("{won} of {ROUNDS} {what}");
    assert!(won > 0, "the path was never rewritten in time: the test does not test");
}

/// Lets this thread run on the CPU of that number, of those it may run on.
fn pin(nth: usize) {
    let allowed = rustix::thread::sched_getaffinity(None).unwrap();
    let cpus: Vec<usize> = (0..rustix::thread::CpuSet::MAX_CPU).filter(|cpu| allowed.is_set(*cpu)).collect();
    let mut own = rustix::thread::CpuSet::new();
    own.set(cpus[nth % cpus.len()]);
    rustix::thread::sched_setaffinity(None, &own).unwrap();
}

fn opens(events: &[RawEvent], pid: u32) -> Vec<RawOpen> {
    let open = |event: &RawEvent| match &event.body {
        RawBody::Open(open) if event.task.pid == pid => Some((**open).clone()),
        _ => None,
    };
    events.iter().filter_map(open).collect()
}

fn text(path: &Path) -> Text {
    Text::copy(path.as_os_str().as_bytes())
}

/// A directory below which nobody else opens anything, and its name: no longer than the kernel compares.
fn place() -> (tempfile::TempDir, String) {
    let directory = tempfile::Builder::new().prefix("hw-attack-").tempdir().unwrap();
    let name = directory.path().file_name().unwrap().to_str().unwrap().to_owned();
    (directory, name)
}

/// The file that was opened is what is told, whatever the argument says by then; of a refused open the argument is
/// all there is, and it says that it may differ.
#[test]
fn a_path_rewritten_during_the_open_does_not_hide_the_file() {
    if !can_observe("a_path_rewritten_during_the_open_does_not_hide_the_file") {
        return;
    }
    let (directory, name) = place();
    fs::write(directory.path().join("0"), "x").unwrap();
    fs::write(directory.path().join("1"), "x").unwrap();
    let inodes = ["0", "1"].map(|name| fs::metadata(directory.path().join(name)).unwrap().ino());
    until_won("arguments were not what was opened", || opens_while_moving(directory.path(), &name, inodes));
}

fn opens_while_moving(directory: &Path, name: &str, inodes: [u64; 2]) -> usize {
    let watch = Watch::new(&named(&[(name, OpenClass::ALL)]));
    let (pid, said) = run(common::child("attack-race-open", &[directory]));
    watch.exited(pid);
    let (events, gaps, _) = watch.finish();
    assert!(gaps.iter().all(|gap| gap.lost != EventKind::Open), "{gaps:?}");
    let made: Vec<&str> = said.lines().filter_map(|line| line.strip_prefix("opened ")).collect();
    let told = opens(&events, pid);
    assert_eq!((made.len(), told.len()), (ROUNDS, ROUNDS), "told + lost = made");
    let mut lies = 0;
    for (made, told) in made.iter().zip(&told) {
        assert!(told.shared_memory, "{told:?}");
        if *made == "refused" {
            assert_eq!((told.result, told.inode.ino), (-2, 0), "{told:?}");
            continue;
        }
        let inode: u64 = made.parse().unwrap();
        let which = inodes.iter().position(|ino| *ino == inode).unwrap().to_string();
        assert_eq!((told.inode.ino, &told.path), (inode, &text(&directory.join(which))));
        lies += usize::from(told.arg != told.path);
    }
    lies
}

/// What the kernel removed is what is told, where programs at its functions work; elsewhere the text is all there is, and
/// it says that it may differ.
#[test]
fn a_path_rewritten_during_an_unlink_does_not_hide_the_file() {
    if !can_observe("a_path_rewritten_during_an_unlink_does_not_hide_the_file") {
        return;
    }
    let (directory, name) = place();
    until_won("paths were not what was removed", || unlinks_while_moving(directory.path(), &name));
}

fn unlinks_while_moving(directory: &Path, name: &str) -> usize {
    let mut plan = named(&[(name, OpenClass::CALL)]);
    plan.kinds = KindSet::of(&[EventKind::Unlink]);
    plan.calls.insert(EventKind::Unlink, CallPlan { named: true, ..CallPlan::default() });
    let watch = Watch::new(&plan);
    let (pid, said) = run(common::child("attack-race-unlink", &[directory]));
    watch.exited(pid);
    let (events, gaps, _) = watch.finish();
    assert!(gaps.is_empty(), "{gaps:?}");
    let removed: Vec<&str> = said.lines().filter_map(|line| line.strip_prefix("removed ")).collect();
    let told: Vec<&RawCall> = events
        .iter()
        .filter_map(|event| match &event.body {
            RawBody::Call(call) if event.task.pid == pid && call.kind == EventKind::Unlink => Some(&**call),
            _ => None,
        })
        .collect();
    assert_eq!((removed.len(), told.len()), (ROUNDS, ROUNDS), "told + lost = made");
    let mut lies = 0;
    for (removed, told) in removed.iter().zip(told) {
        assert_eq!(told.result, 0);
        let true_one = text(&directory.join(removed));
        assert!(told.texts[0] == true_one || told.shared_memory, "{told:?}");
        let resolved = if common::has_trampolines() { &true_one } else { &Text::EMPTY };
        assert_eq!(&told.resolved[0], resolved, "{told:?}");
        lies += usize::from(told.texts[0] != true_one);
    }
    lies
}

#[test]
fn a_path_through_many_mounts_is_whole_or_says_that_it_is_cut() {
    if !can_observe("a_path_through_many_mounts_is_whole_or_says_that_it_is_cut") {
        return;
    }
    let (directory, name) = place();
    let watch = Watch::new(&named(&[(&name, OpenClass::ALL), ("deepest", OpenClass::ALL)]));
    let (pid, _) = run(common::child("attack-mounts", &[directory.path()]));
    watch.exited(pid);
    let (events, _, _) = watch.finish();
    let told = |argument: &Path| {
        let found: Vec<RawOpen> =
            opens(&events, pid).into_iter().filter(|open| open.arg == text(argument)).collect();
        assert_eq!(found.len(), 2, "made and read: {found:?}");
        found[1].clone()
    };
    for (levels, whole) in [(40, true), (64, false)] {
        let file = nested(directory.path(), levels).join("deepest");
        let open = told(&file);
        assert!(open.result >= 0);
        if whole {
            assert_eq!(open.path, text(&file));
        } else {
            assert!(open.path.as_bytes().starts_with(b".../m/m/"), "{}", open.path);
            assert!(open.path.as_bytes().ends_with(b"/m/m/deepest"), "{}", open.path);
        }
    }
    let file = directory.path().join("stacked/deepest");
    assert_eq!(told(&file).path, text(&file), "64 mounts on one directory");
}

/// A place below `levels` mounts, each on a directory of the one before.
fn nested(top: &Path, levels: usize) -> PathBuf {
    (0..levels).fold(top.to_owned(), |place, _| place.join("m"))
}

#[test]
fn longest_names_are_whole_up_to_4_kib_and_marked_beyond() {
    if !can_observe("longest_names_are_whole_up_to_4_kib_and_marked_beyond") {
        return;
    }
    let (directory, name) = place();
    let watch = Watch::new(&named(&[(&name, OpenClass::ALL), ("zz", OpenClass::ALL)]));
    let (pid, said) = run(common::child("attack-longest", &[directory.path()]));
    watch.exited(pid);
    let (events, gaps, _) = watch.finish();
    assert!(gaps.is_empty(), "{gaps:?}");
    let lengths: Vec<usize> =
        said.lines().filter_map(|line| line.strip_prefix("bytes ")).map(|n| n.parse().unwrap()).collect();
    let told: Vec<RawOpen> =
        opens(&events, pid).into_iter().filter(|open| open.arg.as_bytes() == b"zz").collect();
    assert_eq!(told.len(), lengths.len());
    assert!(lengths.iter().any(|bytes| *bytes > 4096) && lengths.iter().any(|bytes| *bytes > 3800));
    for (open, bytes) in told.iter().zip(lengths) {
        let path = open.path.as_bytes();
        assert!(path.ends_with(b"n/zz"), "{}", open.path);
        if bytes < 4096 {
            assert_eq!(path.len(), bytes, "{}", open.path);
            assert!(path.starts_with(text(directory.path()).as_bytes()));
        } else {
            assert!(path.starts_with(b".../") && path.len() > 3800, "{bytes}: {}", open.path);
        }
    }
}

#[test]
fn names_of_any_bytes_are_told_as_they_are() {
    if !can_observe("names_of_any_bytes_are_told_as_they_are") {
        return;
    }
    let (directory, name) = place();
    let watch = Watch::new(&named(&[(&name, OpenClass::ALL)]));
    let (pid, _) = run(common::child("attack-bytes", &[directory.path()]));
    watch.exited(pid);
    let (events, gaps, _) = watch.finish();
    assert!(gaps.is_empty(), "{gaps:?}");
    let names = names();
    let told: Vec<RawOpen> = opens(&events, pid).into_iter().filter(|open| open.flags & 3 == 0).collect();
    assert_eq!(told.len(), names.len());
    for (open, name) in told.iter().zip(&names) {
        let file = directory.path().join(OsStr::from_bytes(name));
        assert_eq!((&open.path, &open.arg), (&text(&file), &text(&file)));
    }
    let comms: Vec<&Text> = events
        .iter()
        .filter(|event| {
            event.task.pid == pid && matches!(&event.body, RawBody::Open(open) if open.flags & 3 == 0)
        })
        .map(|event| &event.task.comm)
        .collect();
    for (comm, name) in comms.iter().zip(&names) {
        assert_eq!(comm.as_bytes(), &name[..name.len().min(15)], "the first 15 bytes");
    }
}

/// Every byte that a name may have, in names of sixteen, and what readers choke on.
fn names() -> Vec<Vec<u8>> {
    let allowed: Vec<u8> = (1..=255).filter(|byte| *byte != b'/').collect();
    let mut names: Vec<Vec<u8>> = allowed.chunks(16).map(<[u8]>::to_vec).collect();
    names.push(b"\x1b]0;owned\x07\x1b[2J".to_vec());
    names.push("\u{202e}gpj.exe".as_bytes().to_vec());
    names.push(vec![0xff; 255]);
    names
}

/// Two threads open as fast as they can, with a ring that is far too small.
#[test]
fn of_a_flood_of_opens_each_is_told_or_counted() {
    if !can_observe("of_a_flood_of_opens_each_is_told_or_counted") {
        return;
    }
    let (directory, name) = place();
    fs::write(directory.path().join("file"), "x").unwrap();
    let config = Config { bulk_ring_bytes: Some(1 << 14), ..common::config() };
    let watch = Watch::with(&config, &named(&[(&name, OpenClass::READ)]));
    let (pid, said) = run(common::child("attack-flood", &[directory.path()]));
    let exit = watch.exited(pid);
    assert_eq!(exit.task.pid, pid, "the end of a process does not wait behind opens");
    let (events, gaps, _) = watch.finish();
    let made: u64 = said.lines().find_map(|line| line.strip_prefix("made ")).unwrap().parse().unwrap();
    let told = opens(&events, pid).len() as u64;
    let lost: u64 = gaps.iter().filter(|gap| gap.lost == EventKind::Open).map(|gap| gap.count).sum();
    println!("{made} made, {told} told, {lost} lost");
    assert_eq!(told + lost, made);
    assert!(lost > 0, "nothing was lost: the test does not test");
    let processes =
        gaps.iter().filter(|gap| matches!(gap.lost, EventKind::Exec | EventKind::Fork | EventKind::Exit));
    assert_eq!(processes.count(), 0, "a flood of opens costs no process");
}

/// What the children of the tests above do.
pub(crate) fn child(task: &str) {
    match task {
        "attack-race-open" => race_open(&argument(0)),
        "attack-race-unlink" => race_unlink(&argument(0)),
        "attack-mounts" => mounts(&argument(0)),
        "attack-longest" => longest(&argument(0)),
        "attack-bytes" => bytes(&argument(0)),
        "attack-flood" => flood(&argument(0)),
        _ => {}
    }
}

/// Prints on a line of its own; the harness has begun one.
fn say(what: &str) {
    println!("\n{what}");
}

/// A path whose last byte another thread changes all the time.
struct Moving {
    path: Box<[AtomicU8]>,
    stop: AtomicBool,
}

impl Moving {
    fn new(path: &Path) -> Self {
        let path = CString::new(path.as_os_str().as_bytes()).unwrap();
        Self {
            path: path.as_bytes_with_nul().iter().map(|byte| AtomicU8::new(*byte)).collect(),
            stop: AtomicBool::new(false),
        }
    }

    fn pointer(&self) -> *const libc::c_char {
        self.path.as_ptr().cast()
    }

    /// Does `work` again and again while the last byte is one of `bytes` in turn; gives what it said.
    fn while_moving(&self, bytes: &[u8], work: impl Fn() -> String) -> Vec<String> {
        std::thread::scope(|scope| {
            let last = &self.path[self.path.len() - 2];
            scope.spawn(move || {
                pin(0);
                let mut turn = bytes.iter().cycle();
                while !self.stop.load(Ordering::Relaxed) {
                    last.store(*turn.next().unwrap(), Ordering::Relaxed);
                    (0..20).for_each(|_| std::hint::spin_loop());
                }
            });
            pin(1);
            let turn = |round: usize| {
                if round.is_multiple_of(BATCH) {
                    std::thread::sleep(Duration::from_millis(20));
                }
                work()
            };
            let given = (0..ROUNDS).map(turn).collect();
            self.stop.store(true, Ordering::Relaxed);
            given
        })
    }
}

#[expect(unsafe_code, reason = "safe wrappers copy the path, so that nobody could rewrite it")]
fn race_open(place: &Path) {
    let path = Moving::new(&place.join("0"));
    let made = path.while_moving(b"012", || {
        // SAFETY: the path ends in NUL, which nobody changes; the kernel copies it.
        let fd = unsafe { libc::open(path.pointer(), libc::O_RDONLY | libc::O_CLOEXEC) };
        if fd < 0 {
            return "opened refused".to_owned();
        }
        // SAFETY: a descriptor that was just opened and is nobody else's.
        let file: fs::File = unsafe { std::os::fd::FromRawFd::from_raw_fd(fd) };
        format!("opened {}", file.metadata().unwrap().ino())
    });
    say(&made.join("\n"));
}

#[expect(unsafe_code, reason = "safe wrappers copy the path, so that nobody could rewrite it")]
fn race_unlink(place: &Path) {
    let path = Moving::new(&place.join("0"));
    let made = path.while_moving(b"01", || {
        for name in ["0", "1"] {
            fs::write(place.join(name), "").unwrap();
        }
        // SAFETY: the path ends in NUL, which nobody changes; the kernel copies it.
        assert_eq!(unsafe { libc::unlink(path.pointer()) }, 0);
        format!("removed {}", u8::from(place.join("0").exists()))
    });
    say(&made.join("\n"));
}

fn mounts(place: &Path) {
    #[expect(unsafe_code, reason = "unshare of the mount namespace has no safe wrapper")]
    // SAFETY: affects this single-purpose process only.
    unsafe {
        rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNS).unwrap();
    }
    let flags = rustix::mount::MountPropagationFlags::REC | rustix::mount::MountPropagationFlags::PRIVATE;
    rustix::mount::mount_change("/", flags).unwrap();
    let mount = |at: &Path| {
        let none = rustix::mount::MountFlags::empty();
        rustix::mount::mount("tmpfs", at, "tmpfs", none, None).unwrap();
    };
    let touch = |file: &Path| {
        fs::write(file, "x").unwrap();
        fs::File::open(file).unwrap();
    };
    for level in 1..=64 {
        let here = nested(place, level);
        fs::create_dir(&here).unwrap();
        mount(&here);
        if [40, 64].contains(&level) {
            touch(&here.join("deepest"));
        }
    }
    let stacked = place.join("stacked");
    fs::create_dir(&stacked).unwrap();
    (0..64).for_each(|_| mount(&stacked));
    touch(&stacked.join("deepest"));
}

fn longest(place: &Path) {
    let name = "n".repeat(255);
    let mut bytes = place.as_os_str().len();
    std::env::set_current_dir(place).unwrap();
    for _ in 0..20 {
        fs::create_dir(&name).unwrap();
        std::env::set_current_dir(&name).unwrap();
        bytes += 256;
        fs::write("zz", "x").unwrap();
        say(&format!("bytes {}", bytes + 3));
    }
}

fn bytes(place: &Path) {
    for name in names() {
        let file = place.join(OsString::from_vec(name.clone()));
        fs::write(&file, "x").unwrap();
        let mut comm = name;
        comm.truncate(15);
        rustix::thread::set_name(&CString::new(comm).unwrap()).unwrap();
        fs::File::open(&file).unwrap();
    }
}

fn flood(place: &Path) {
    let (file, made) = (place.join("file"), AtomicU64::new(0));
    let until = Instant::now() + Duration::from_secs(2);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while Instant::now() < until {
                    fs::File::open(&file).unwrap();
                    made.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    say(&format!("made {}", made.into_inner()));
}
