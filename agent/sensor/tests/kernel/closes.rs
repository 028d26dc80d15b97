//! Files that were open for writing: each is told once, by its last close, and what is no such close is not.
use crate::common::{Watch, argument, can_observe, child, config, has_trampolines, named, run};
use hostward_event::plan::{KernelPlan, OpenClass, OpenPlan};
use hostward_event::raw::{RawBody, RawCloseWrite, RawEvent, Rung};
use hostward_event::{EventKind, KindSet, Text};
use hostward_sensor::{Config, Ignore};
use std::ffi::CString;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

const KINDS: [EventKind; 1] = [EventKind::CloseWrite];

/// Every close.
fn all() -> KernelPlan {
    let opens = OpenPlan { all: OpenClass::CLOSE, ..OpenPlan::default() };
    KernelPlan { kinds: KindSet::of(&KINDS), opens, ..KernelPlan::default() }
}

fn closed(event: RawEvent) -> Option<(RawEvent, RawCloseWrite)> {
    match event.body.clone() {
        RawBody::CloseWrite(close) => Some((event, *close)),
        _ => None,
    }
}

/// Closes by `pid` of files of this name.
fn closes(watch: &Watch, pid: u32, name: &str) -> Vec<(RawEvent, RawCloseWrite)> {
    let end = format!("/{name}");
    let all = watch.so_far(|event| event.task.pid == pid).into_iter().filter_map(closed);
    all.filter(|(_, close)| close.path.as_bytes().ends_with(end.as_bytes())).collect()
}

fn only(watch: &Watch, pid: u32, name: &str) -> (RawEvent, RawCloseWrite) {
    let mut found = closes(watch, pid, name);
    assert_eq!(found.len(), 1, "closes of {name}: {found:#?}");
    found.remove(0)
}

fn text(path: &Path) -> Text {
    Text::copy(path.as_os_str().as_bytes())
}

/// Where closes are seen here.
fn rung(watch: &Watch) -> Rung {
    let ladder = watch.sensor.ladder();
    let probe = ladder.iter().find(|probe| probe.kind == EventKind::CloseWrite && probe.attached());
    let rung = probe.unwrap_or_else(|| panic!("closes are seen: {ladder:#?}")).rung;
    assert_eq!(rung, if has_trampolines() { Rung::Fentry } else { Rung::SyscallTracepoint });
    rung
}

#[test]
fn a_written_file_is_told_once_by_its_last_close() {
    if !can_observe("a_written_file_is_told_once_by_its_last_close") {
        return;
    }
    let mut plan = named(&[("hw-closes", OpenClass::CLOSE)]);
    plan.kinds = KindSet::of(&KINDS);
    let watch = Watch::new(&plan);
    let rung = rung(&watch);
    let at_function = rung == Rung::Fentry;
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().join("hw-closes");
    fs::create_dir(&place).unwrap();
    let (pid, said) = run(child("hw-closes", &[&place]));
    watch.exited(pid);

    let (event, fresh) = only(&watch, pid, "fresh");
    let meta = fs::metadata(place.join("fresh")).unwrap();
    assert_eq!((event.source.rung, event.task.ppid), (rung, std::process::id()));
    assert_eq!(fresh.path, text(&place.join("fresh")));
    assert_eq!((fresh.inode.ino, fresh.inode.mode, fresh.inode.nlink), (meta.ino(), meta.mode(), 1));
    assert_eq!((fresh.size_bytes, fresh.created), (5, true));
    assert_eq!(fresh.flags & 0o2003, 1, "O_WRONLY, and not O_APPEND: {:o}", fresh.flags);
    let number: i32 = said.lines().find_map(|line| line.strip_prefix("fresh ")).unwrap().parse().unwrap();
    assert_eq!(fresh.fd, if at_function { -1 } else { number });

    let (_, again) = only(&watch, pid, "again");
    assert_eq!(
        (again.size_bytes, again.created, again.flags & 0o2003),
        (6, false, 0o2002),
        "O_RDWR|O_APPEND"
    );
    let (_, link) = only(&watch, pid, "target");
    assert_eq!(link.path, text(&place.join("target")), "the file, and not the link to it");
    let (_, removed) = only(&watch, pid, "removed");
    assert_eq!(removed.inode.nlink, 0);
    // The first of two descriptors is no close of the file.
    let (_, twice) = only(&watch, pid, "twice");
    assert_eq!(twice.size_bytes, 4, "the second descriptor wrote once more");
    for name in ["replaced", "replaced3"] {
        let (_, replaced) = only(&watch, pid, name);
        assert!(at_function || replaced.fd >= 0);
    }
    for name in ["read", "fifo", "kept", "outside"] {
        assert_eq!(closes(&watch, pid, name), [], "{name}");
    }
    // What only the function tells.
    for name in ["ranged", "mapped", "at-exit"] {
        if at_function {
            let is = |event: &RawEvent| {
                let RawBody::CloseWrite(close) = &event.body else { return false };
                event.task.pid == pid && close.path == text(&place.join(name))
            };
            watch.event(name, is);
            assert_eq!(only(&watch, pid, name).0.task.start_boot_ns, event.task.start_boot_ns);
        } else {
            assert_eq!(closes(&watch, pid, name), [], "{name}");
        }
    }
}

#[test]
fn closes_are_told_of_wanted_names_while_somebody_wants_them() {
    if !can_observe("closes_are_told_of_wanted_names_while_somebody_wants_them") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let plan = |kinds: &[EventKind], names: &[(&str, OpenClass)]| {
        let mut plan = named(names);
        plan.kinds = KindSet::of(kinds);
        plan
    };
    let seen = |watch: &Watch| {
        let (pid, _) = run(child("hw-writes", &[directory.path()]));
        watch.exited(pid);
        ["one", "two"].map(|name| closes(watch, pid, name).len())
    };
    let mut watch = Watch::new(&plan(&[EventKind::Connect], &[]));
    assert_eq!(seen(&watch), [0, 0]);
    assert!(!watch.sensor.observed().contains(EventKind::CloseWrite));
    watch.sensor.apply(&plan(&KINDS, &[("one", OpenClass::CLOSE), ("two", OpenClass::ALL)])).unwrap();
    assert_eq!(seen(&watch), [1, 0], "what is wanted of opens is not of closes");
    rung(&watch);
    watch.sensor.apply(&plan(&KINDS, &[("two", OpenClass::CLOSE)])).unwrap();
    assert_eq!(seen(&watch), [0, 1]);
    watch.sensor.apply(&all()).unwrap();
    assert_eq!(seen(&watch), [1, 1]);
    watch.sensor.apply(&plan(&[EventKind::Connect], &[("one", OpenClass::CLOSE)])).unwrap();
    assert_eq!(seen(&watch), [0, 0]);
    assert!(!watch.sensor.observed().contains(EventKind::CloseWrite));
    watch.sensor.apply(&all()).unwrap();
    assert_eq!(seen(&watch), [1, 1]);
}

#[test]
fn ignored_closes_are_counted() {
    if !can_observe("ignored_closes_are_counted") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("one").to_str().unwrap().to_owned();
    let by_path = Ignore { path: vec![path], name: "path".into(), ..Ignore::default() };
    let by_event =
        Ignore { uid: vec![54_321], events: vec!["close".into()], name: "uid".into(), ..Ignore::default() };
    let plan = all();
    let watch = Watch::with(&Config { ignore: vec![by_path, by_event], ..config() }, &plan);
    let (pid, _) = run(child("hw-writes", &[directory.path()]));
    watch.exited(pid);
    assert_eq!(["one", "two"].map(|name| closes(&watch, pid, name).len()), [0, 1]);
    fs::set_permissions(directory.path(), std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    let script = format!("exec 3> {0}/three; exec 3>&-", directory.path().display());
    let mut shell = std::process::Command::new("/bin/sh");
    std::os::unix::process::CommandExt::uid(&mut shell, 54_321);
    let mut shell = shell.args(["-c", &script]).spawn().unwrap();
    assert!(shell.wait().unwrap().success());
    watch.exited(shell.id());
    assert_eq!(closes(&watch, shell.id(), "three"), []);
    let counts = watch.sensor.ignored().unwrap();
    assert!(counts.iter().all(|(_, count)| *count > 0), "{counts:?}");
}

#[test]
fn lost_closes_are_counted() {
    if !can_observe("lost_closes_are_counted") {
        return;
    }
    let config = Config { bulk_ring_bytes: Some(4096), ..config() };
    let plan = all();
    let watch = Watch::with(&config, &plan);
    let directory = tempfile::tempdir().unwrap();
    watch.unread(|| run(child("hw-many-closes", &[directory.path()])));
    let (events, gaps, sensor) = watch.finish();
    let counters = sensor.counters().unwrap();
    let own = counters.iter().find(|counter| counter.kind == EventKind::CloseWrite).unwrap();
    let came = events.iter().filter(|event| event.kind() == EventKind::CloseWrite).count() as u64;
    let lost: u64 = gaps.iter().filter(|gap| gap.lost == EventKind::CloseWrite).map(|gap| gap.count).sum();
    assert!(lost > 0 && own.attempted >= 5_000, "{own:?}");
    assert_eq!((came, lost), (own.attempted - own.dropped, own.dropped));
}

/// What the children of the tests above do.
pub(crate) fn child_does(task: &str) {
    match task {
        "hw-closes" => write_and_close(),
        "hw-writes" => {
            for name in ["one", "two"] {
                fs::write(argument(0).join(name), "x").unwrap();
            }
        }
        "hw-many-closes" => {
            let file = argument(0).join("n".repeat(200));
            for _ in 0..5_000 {
                fs::write(&file, "x").unwrap();
            }
        }
        _ => {}
    }
}

fn write_and_close() {
    let place = argument(0);
    let at = |name: &str| place.join(name);
    let mut fresh = File::create(at("fresh")).unwrap();
    fresh.write_all(b"fresh").unwrap();
    // The harness has begun a line.
    println!("\nfresh {}", fresh.as_raw_fd());
    drop(fresh);

    for (name, content) in [("again", "five!"), ("target", "x"), ("read", "x")] {
        // Not told as a close of this name: the file gets it later.
        let before = place.with_file_name(format!("before-{name}"));
        fs::write(&before, content).unwrap();
        fs::rename(before, at(name)).unwrap();
    }
    let mut again = OpenOptions::new().read(true).append(true).open(at("again")).unwrap();
    again.write_all(b"!").unwrap();
    drop(again);
    std::os::unix::fs::symlink(at("target"), at("link")).unwrap();
    drop(OpenOptions::new().write(true).open(at("link")).unwrap());
    drop(File::open(at("read")).unwrap());
    let removed = File::create(at("removed")).unwrap();
    fs::remove_file(at("removed")).unwrap();
    drop(removed);
    let mut twice = File::create(at("twice")).unwrap();
    let mut second = twice.try_clone().unwrap();
    twice.write_all(b"tw").unwrap();
    drop(twice);
    second.write_all(b"ic").unwrap();
    drop(second);
    let fifo = CString::new(at("fifo").as_os_str().as_bytes()).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, &*fifo, rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0)
        .unwrap();
    // O_NONBLOCK, so that nobody needs to write.
    drop(OpenOptions::new().read(true).write(true).custom_flags(0o4000).open(at("fifo")).unwrap());
    fs::write(place.with_file_name("outside"), "x").unwrap();

    let other = File::open("/dev/null").unwrap();
    for (name, three) in [("replaced", false), ("replaced3", true)] {
        use std::os::fd::{FromRawFd, OwnedFd};
        let file = File::create(at(name)).unwrap();
        #[expect(unsafe_code, reason = "dup2 needs an owner of the number that it replaces")]
        // SAFETY: the descriptor is given up by the file, and owned again by `number`.
        let mut number = unsafe { OwnedFd::from_raw_fd(std::os::fd::IntoRawFd::into_raw_fd(file)) };
        if three {
            rustix::io::dup3(&other, &mut number, rustix::io::DupFlags::CLOEXEC).unwrap();
        } else {
            rustix::io::dup2(&other, &mut number).unwrap();
        }
    }
    // A call that fails closes nothing.
    let kept = File::create(at("kept")).unwrap();
    #[expect(unsafe_code, reason = "a descriptor that is not open has no safe owner")]
    // SAFETY: plain numbers; the call fails, and touches no memory.
    let result = unsafe { libc::dup2(9_999, kept.as_raw_fd()) };
    assert_eq!(result, -1);
    // It is told by another name when it is closed in the end.
    fs::rename(at("kept"), at("kept-no-more")).unwrap();

    let ranged = File::create(at("ranged")).unwrap();
    let number = u32::try_from(std::os::fd::IntoRawFd::into_raw_fd(ranged)).unwrap();
    #[expect(unsafe_code, reason = "close_range has no safe wrapper")]
    // SAFETY: the descriptor was given up by its owner.
    unsafe {
        libc::syscall(libc::SYS_close_range, number, number, 0);
    }
    map_and_close(&at("mapped"));
    std::mem::forget(File::create(at("at-exit")).unwrap());
    drop(kept);
}

/// Closes the file while it is mapped, then gives the mapping up.
fn map_and_close(path: &Path) {
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path).unwrap();
    file.set_len(4096).unwrap();
    use rustix::mm::{MapFlags, ProtFlags};
    let protection = ProtFlags::READ | ProtFlags::WRITE;
    #[expect(unsafe_code, reason = "mappings have no safe wrapper")]
    // SAFETY: nothing refers to the mapping, which is whole when it is given up.
    unsafe {
        let at = rustix::mm::mmap(std::ptr::null_mut(), 4096, protection, MapFlags::SHARED, &file, 0);
        let at = at.unwrap();
        drop(file);
        rustix::mm::munmap(at, 4096).unwrap();
    }
}
