//! Opens are told by the names on their paths, wherever on the way up these are, and no others.

use crate::common::{Watch, argument, can_observe, named, run};
use crate::paths::private_mounts;
use hostward_event::plan::OpenClass;
use hostward_event::raw::RawBody;
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::mount::{MountFlags, mount};
use std::fs;
use std::os::fd::{AsRawFd, IntoRawFd};
use std::os::unix::ffi::OsStringExt;
use std::sync::atomic::{AtomicBool, Ordering};

/// What is looked for; the kernel looks at the first 16 bytes of the longest.
const WANTED: &str = "hw-wanted";
const LONG: &str = "hw-a-name-that-is-longer-than-what-a-dentry-has-room-for";
const MEMORY: &str = "memfd:hw-memory";
/// More names, and more mounts, than a first look takes.
const DEEP: usize = 40;
/// Opens of a file that another thread closes.
const CLOSED: usize = 2_000;

/// What the child opens, and whether that is told.
fn opened() -> Vec<(String, bool)> {
    let deep = |top: &str, name: &str| format!("{top}{}/file", name.repeat(DEEP));
    vec![
        ("plain/file".into(), false),
        (format!("plain/{WANTED}"), true),
        (format!("plain/{WANTED}s"), false),
        ("plain/hw-wante".into(), false),
        (format!("{WANTED}/file"), true),
        (format!("{WANTED}/mount/file"), true),
        ("plain/mount/file".into(), false),
        (format!("plain/mount/{WANTED}"), true),
        (format!("plain/{LONG}/file"), true),
        (deep("plain", "/d"), false),
        (deep(WANTED, "/d"), true),
        (deep("plain", "/m"), false),
        (deep(WANTED, "/m"), true),
    ]
}

#[test]
fn opens_are_told_by_the_names_on_their_way_up() {
    if !can_observe("opens_are_told_by_the_names_on_their_way_up") {
        return;
    }
    let names = [WANTED, LONG, MEMORY].map(|name| (name, OpenClass::READ));
    let watch = Watch::new(&named(&names));
    let directory = tempfile::tempdir().unwrap();
    let (pid, _) = run(crate::common::child("names", &[directory.path()]));
    watch.exited(pid);
    let told: Vec<String> = watch
        .so_far(|event| event.task.pid == pid)
        .iter()
        .filter_map(|event| match &event.body {
            RawBody::Open(open) => Some(open.path.to_string()),
            _ => None,
        })
        .collect();
    let top = directory.path().display();
    let mut expected: Vec<String> = opened()
        .into_iter()
        .filter(|(_, is_told)| *is_told)
        .map(|(path, _)| format!("{top}/{path}"))
        .collect();
    expected.push(format!("/{MEMORY}"));
    // Of a process with another root: what is above that is none of its paths.
    expected.push(format!("/inside/{WANTED}"));
    assert_eq!(told, expected);
}

/// Whoever closes the descriptor before the call is over may have made a copy of it.
#[test]
fn an_open_is_told_though_another_thread_closes_it_meanwhile() {
    if !can_observe("an_open_is_told_though_another_thread_closes_it_meanwhile") {
        return;
    }
    let watch = Watch::new(&named(&[(WANTED, OpenClass::READ)]));
    let directory = tempfile::tempdir().unwrap();
    let (pid, _) = run(crate::common::child("closed", &[directory.path()]));
    watch.exited(pid);
    let path = directory.path().join(WANTED);
    let mut resolved = 0;
    let mut told = 0;
    for event in watch.so_far(|event| event.task.pid == pid) {
        if let RawBody::Open(open) = &event.body {
            let (text, place) = (open.arg.to_string(), open.path.to_string());
            assert_eq!(text, path.display().to_string());
            assert!(place.is_empty() || place == text, "{place}");
            told += 1;
            resolved += usize::from(!place.is_empty());
        }
    }
    assert_eq!(told, CLOSED, "{resolved} of them with a file");
    println!("{} of {told} were closed before their call was over", told - resolved);
}

/// What the children of the tests above do.
pub(crate) fn child(task: &str) {
    match task {
        "names" => names(),
        "closed" => closed(),
        _ => {}
    }
}

/// Opens a file again and again while another thread closes whatever has its descriptor.
#[expect(unsafe_code, reason = "a descriptor that another thread closes is nobody's to own")]
fn closed() {
    let path = argument(0).join(WANTED);
    fs::write(&path, "x").unwrap();
    let next = rustix::io::dup(std::io::stdin()).unwrap().into_raw_fd();
    // SAFETY: nobody else has the number that was just let go.
    let close = move || unsafe { libc::close(next) };
    close();
    let path = std::ffi::CString::new(path.into_os_string().into_vec()).unwrap();
    let is_over = AtomicBool::new(false);
    std::thread::scope(|threads| {
        threads.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                close();
            }
        });
        for _ in 0..CLOSED {
            // SAFETY: the text ends in NUL. What is opened has the number that is closed, as it is the lowest that is free.
            assert_eq!(unsafe { libc::open(path.as_ptr(), libc::O_RDONLY) }, next);
            while close() == 0 {}
        }
        is_over.store(true, Ordering::Relaxed);
    });
}

fn names() {
    private_mounts();
    std::env::set_current_dir(argument(0)).unwrap();
    let on_memory = |at: &str| {
        fs::create_dir_all(at).unwrap();
        mount("none", at, "tmpfs", MountFlags::empty(), None).unwrap();
    };
    for top in ["plain", WANTED] {
        on_memory(&format!("{top}/mount"));
        fs::create_dir_all(format!("{top}{}", "/d".repeat(DEEP))).unwrap();
        (1..=DEEP).for_each(|depth| on_memory(&format!("{top}{}", "/m".repeat(depth))));
    }
    fs::create_dir(format!("plain/{LONG}")).unwrap();
    let inside = format!("{WANTED}/mount/inside");
    fs::create_dir(&inside).unwrap();
    let in_root = ["file", WANTED].map(|name| format!("{inside}/{name}"));
    let files = opened().into_iter().map(|(path, _)| path);
    // Made by writing, which nobody wants here.
    files.clone().chain(in_root).for_each(|path| fs::write(path, "x").unwrap());

    files.for_each(|path| drop(fs::File::open(path).unwrap()));
    let memory = memfd_create("hw-memory", MemfdFlags::empty()).unwrap();
    fs::File::open(format!("/proc/self/fd/{}", memory.as_raw_fd())).unwrap();
    rustix::process::chroot(format!("{WANTED}/mount")).unwrap();
    for name in ["file", WANTED] {
        fs::File::open(format!("/inside/{name}")).unwrap();
    }
}
