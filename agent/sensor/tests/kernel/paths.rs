//! Paths of system calls as the kernel had resolved them, where programs at its functions work; and only there.
use crate::catalogue::make;
use crate::common::{Watch, argument, can_observe, child as start, has_trampolines, run};
use hostward_event::plan::{CallPlan, KernelPlan, OpenClass};
use hostward_event::raw::{RawBody, RawCall};
use hostward_event::{EventKind, KindSet, Text, call};
use std::ffi::CString;
use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// The directory that the child works in, and that no text of its calls names.
const REAL: &str = "hw-real-dir";
const CWD: i64 = -100;

fn text(path: &Path) -> Text {
    Text::copy(path.as_os_str().as_bytes())
}

/// What the child did below its place: call, result, and the paths that the kernel then used.
fn made(said: &str, place: &Path) -> Vec<(EventKind, i64, [Text; 2])> {
    let path = |name: Option<&str>| match name {
        None => Text::EMPTY,
        // After the root was changed.
        Some(name) if name.starts_with('/') => Text::from(name),
        Some(name) => text(&place.join(name)),
    };
    let line = |line: &str| {
        let mut words = line.strip_prefix("did ")?.split_whitespace();
        let kind = words.next().and_then(|name| call::TABLE.iter().find(|spec| spec.kind.name() == name));
        let result = words.next().unwrap().parse().unwrap();
        Some((kind.unwrap().kind, result, [path(words.next()), path(words.next())]))
    };
    said.lines().filter_map(line).collect()
}

fn told(watch: &Watch, pid: u32) -> Vec<RawCall> {
    let all = watch.so_far(|event| event.task.pid == pid);
    let call = |event: hostward_event::raw::RawEvent| match event.body {
        RawBody::Call(call) => Some(*call),
        _ => None,
    };
    all.into_iter().filter_map(call).collect()
}

/// Calls of which the child makes some below its directory.
const KINDS: [EventKind; 35] = [
    EventKind::Unlink,
    EventKind::Unlinkat,
    EventKind::Rename,
    EventKind::Renameat,
    EventKind::Renameat2,
    EventKind::Link,
    EventKind::Linkat,
    EventKind::Symlink,
    EventKind::Symlinkat,
    EventKind::Mkdir,
    EventKind::Mkdirat,
    EventKind::Rmdir,
    EventKind::Chmod,
    EventKind::Fchmodat,
    EventKind::Fchmodat2,
    EventKind::Chown,
    EventKind::Lchown,
    EventKind::Fchownat,
    EventKind::Truncate,
    EventKind::Mknod,
    EventKind::Mknodat,
    EventKind::Mount,
    EventKind::Umount2,
    EventKind::PivotRoot,
    EventKind::Chroot,
    EventKind::MoveMount,
    EventKind::OpenTree,
    EventKind::Setxattr,
    EventKind::Lsetxattr,
    EventKind::Removexattr,
    EventKind::Lremovexattr,
    EventKind::Utime,
    EventKind::Utimes,
    EventKind::Futimesat,
    EventKind::Utimensat,
];

/// The program that tells the paths of this call runs; of open_tree it is the one at its end.
fn is_resolved(watch: &Watch, kind: EventKind) -> bool {
    if kind == EventKind::OpenTree {
        return true;
    }
    let program = match kind.name().trim_end_matches('2') {
        "mount" => "sb_mount".to_owned(),
        "umount" => "sb_umount".to_owned(),
        "pivot_root" => "sb_pivotroot".to_owned(),
        "move_mount" => "move_mount".to_owned(),
        "setxattr" | "lsetxattr" => "inode_setxattr".to_owned(),
        "removexattr" | "lremovexattr" => "inode_removexattr".to_owned(),
        "utime" | "utimes" | "futimesat" | "utimensat" => "vfs_utimes".to_owned(),
        name => {
            let name = name.trim_end_matches("at");
            let name = if matches!(name, "lchown" | "fchown" | "fchmod") { &name[1..] } else { name };
            format!("path_{name}")
        }
    };
    let ladder = watch.sensor.ladder();
    let check = ladder.iter().find(|probe| probe.program == program);
    let attached = check.is_some_and(|check| check.attached());
    assert_eq!(attached, has_trampolines(), "{program}: {check:?} {:?}", watch.sensor.notes());
    attached
}

#[test]
fn paths_of_calls_are_those_that_the_kernel_used() {
    if !can_observe("paths_of_calls_are_those_that_the_kernel_used") {
        return;
    }
    let watch = Watch::new(&KernelPlan { kinds: KindSet::of(&KINDS), ..KernelPlan::default() });
    let place = tempfile::tempdir().unwrap();
    let (pid, said) = run(start("paths", &[place.path()]));
    watch.exited(pid);
    let made = made(&said, place.path());
    let (told, ladder) = (told(&watch, pid), watch.sensor.ladder());
    let mut tried = KindSet::NONE;
    for (kind, result, paths) in &made {
        tried = tried.union(KindSet::of(&[*kind]));
        if !ladder
            .iter()
            .any(|probe| probe.kind == *kind && probe.program.starts_with("call") && probe.attached())
        {
            continue;
        }
        let of_kind: Vec<&RawCall> =
            told.iter().filter(|call| call.kind == *kind && call.result == *result).collect();
        let expected = if is_resolved(&watch, *kind) { paths.clone() } else { Default::default() };
        assert!(
            of_kind.iter().any(|call| call.resolved == expected),
            "{} {result}: {expected:?} in {of_kind:#?}",
            kind.name()
        );
    }
    assert!(KINDS.iter().all(|kind| tried.contains(*kind)), "each call is made: {tried:?}");
    if !said.lines().any(|line| line == "stacked") {
        println!("skipped files of a stacked file system: this kernel mounts no overlay");
    }
    assert_eq!(watch.sensor.missed(), [], "no path was missed");
}

/// No text of the child's calls has the name, so only what the kernel resolved can let them pass.
#[test]
fn names_are_looked_for_in_the_paths_that_the_kernel_used() {
    if !can_observe("names_are_looked_for_in_the_paths_that_the_kernel_used") {
        return;
    }
    let files: Vec<EventKind> =
        KINDS.into_iter().filter(|kind| call::find(*kind).unwrap().group.is_bulk()).collect();
    let mut plan = KernelPlan { kinds: KindSet::of(&files), ..KernelPlan::default() };
    plan.opens.names = [(REAL.into(), OpenClass::CALL)].into();
    for kind in &files {
        plan.calls.insert(*kind, CallPlan { named: true, ..CallPlan::default() });
    }
    let watch = Watch::new(&plan);
    let place = tempfile::tempdir().unwrap();
    let (pid, said) = run(start("paths", &[place.path()]));
    watch.exited(pid);
    let told = told(&watch, pid);
    let absent = |watch: &Watch, kind| {
        watch.sensor.ladder().iter().all(|probe| probe.kind != kind || !probe.attached())
    };
    for (kind, result, paths) in made(&said, place.path()) {
        if !files.contains(&kind) || absent(&watch, kind) || paths[0].is_empty() {
            continue;
        }
        let inside =
            paths.iter().any(|path| path.as_bytes().windows(REAL.len()).any(|part| part == REAL.as_bytes()));
        let found =
            told.iter().any(|call| call.kind == kind && call.result == result && call.resolved == paths);
        assert_eq!(found, inside && is_resolved(&watch, kind), "{} {result} {paths:?}", kind.name());
    }
}

/// Makes the calls, by a link to the directory, by its descriptor, or by another mount of it.
fn paths() {
    let place = argument(0);
    std::env::set_current_dir(&place).unwrap();
    let s = |text: &str| CString::new(text).unwrap().into_raw() as i64;
    let real = |name: &str| format!("{REAL}/{name}");
    fs::create_dir(REAL).unwrap();
    for directory in ["d1", "d2", "d3", "full", "full/x", "mnt", "moved", "root", "twin"] {
        fs::create_dir(real(directory)).unwrap();
    }
    for file in ["a", "u1", "u2", "o1", "o2", "o3"] {
        fs::write(real(file), "x").unwrap();
    }
    fs::create_dir("bind").unwrap();
    fs::write("out", "x").unwrap();
    std::os::unix::fs::symlink(REAL, "link").unwrap();
    std::os::unix::fs::symlink(real("a"), "sym").unwrap();
    private_mounts();
    let none = rustix::mount::MountFlags::BIND;
    rustix::mount::mount(REAL, "bind", "", none, None).unwrap();
    let directory = File::open(REAL).unwrap();
    let dir = i64::from(directory.as_raw_fd());
    let did = |name: &str, arguments: &[i64], paths: &[&str]| {
        let result = make(name, arguments);
        // libc turned it round.
        let result = if result == -1 {
            -i64::from(std::io::Error::last_os_error().raw_os_error().unwrap())
        } else {
            result
        };
        println!("did {name} {result} {}", paths.join(" "));
        result
    };
    let r = |name: &str| real(name);
    did("unlink", &[s("link/u1")], &[&r("u1")]);
    did("unlink", &[s("absent")], &[]);
    did("unlink", &[s("out")], &["out"]);
    did("unlinkat", &[dir, s("u2"), 0], &[&r("u2")]);
    did("unlinkat", &[dir, s("d2"), 0x200], &[&r("d2")]);
    did("rmdir", &[s("bind/d1")], &["bind/d1"]);
    did("rmdir", &[s("link/full")], &[&r("full")]);
    did("mkdir", &[s("link/../link/m1"), 0o700], &[&r("m1")]);
    did("mkdirat", &[dir, s("m2"), 0o700], &[&r("m2")]);
    did("mknod", &[s("link/fifo"), 0o010_600, 0], &[&r("fifo")]);
    did("mknodat", &[dir, s("fifo2"), 0o010_600, 0], &[&r("fifo2")]);
    did("symlink", &[s("to"), s("link/s1")], &[&r("s1")]);
    did("symlinkat", &[s("to"), dir, s("s2")], &[&r("s2")]);
    did("link", &[s("link/a"), s("link/a1")], &[&r("a"), &r("a1")]);
    did("linkat", &[CWD, s("sym"), dir, s("a2"), 0x400], &[&r("a"), &r("a2")]);
    did("rename", &[s("link/o1"), s("link/n1")], &[&r("o1"), &r("n1")]);
    did("renameat", &[dir, s("o2"), CWD, s("link/n2")], &[&r("o2"), &r("n2")]);
    did("renameat2", &[CWD, s("link/o3"), dir, s("n3"), 1], &[&r("o3"), &r("n3")]);
    did("chmod", &[s("sym"), 0o600], &[&r("a")]);
    did("fchmodat", &[dir, s("a1"), 0o600], &[&r("a1")]);
    did("fchmodat2", &[CWD, s("sym"), 0o600, 0], &[&r("a")]);
    did("chown", &[s("sym"), 0, 0], &[&r("a")]);
    did("lchown", &[s("sym"), 0, 0], &["sym"]);
    did("fchownat", &[dir, s("a1"), 0, 0, 0], &[&r("a1")]);
    did("truncate", &[s("bind/a"), 1], &["bind/a"]);
    attributes(did, s, dir);
    let tree = did("open_tree", &[CWD, s("bind/../link/d3"), 0], &[&r("d3")]);
    assert!(tree >= 0, "open_tree: {tree}");
    did("open_tree", &[dir, s("a"), 0], &[&r("a")]);
    // A copy is in no tree.
    did("open_tree", &[CWD, s("link"), 1], &[]);
    did("mount", &[s("none"), s("link/mnt"), s("tmpfs"), 0, 0], &[&r("mnt")]);
    did("umount2", &[s("link/mnt"), 2], &[&r("mnt")]);
    did("mount", &[s("none"), s("link/root"), s("tmpfs"), 0, 0], &[&r("root")]);
    did("move_mount", &[CWD, s("bind"), CWD, s("link/moved"), 0], &["bind", &r("moved")]);
    fs::create_dir(real("root/old")).unwrap();
    did("pivot_root", &[s("link/root"), s("link/root/old")], &[&r("root"), &r("root/old")]);
    did("chroot", &[s("/old")], &["/old"]);
}

/// Extended attributes, access control lists and times; each call once on a file of a stacked file system too, whose
/// own call on the file below is no second one.
fn attributes(did: impl Fn(&str, &[i64], &[&str]) -> i64, s: impl Fn(&str) -> i64, dir: i64) {
    let r = |name: &str| format!("{REAL}/{name}");
    let (name, value) = (s("trusted.hw"), s("value"));
    // Version, then tag, permissions and id of owner, group and others: linux/posix_acl_xattr.h.
    let list: [u32; 7] = [2, 6 << 16 | 1, u32::MAX, 4 << 16 | 4, u32::MAX, 4 << 16 | 0x20, u32::MAX];
    let (acl, access) = (list.as_ptr() as i64, s("system.posix_acl_access"));
    did("setxattr", &[s("sym"), name, value, 5, 0], &[&r("a")]);
    did("setxattr", &[s("bind/a"), name, value, 4, 0], &["bind/a"]);
    did("setxattr", &[s("link/a1"), access, acl, 28, 0], &[&r("a1")]);
    did("setxattr", &[s("absent"), name, value, 5, 0], &[]);
    did("lsetxattr", &[s("sym"), name, value, 5, 0], &["sym"]);
    did("lremovexattr", &[s("sym"), name], &["sym"]);
    did("removexattr", &[s("link/a"), name], &[&r("a")]);
    did("removexattr", &[s("bind/a1"), access], &["bind/a1"]);
    did("utime", &[s("link/a"), 0], &[&r("a")]);
    did("utimes", &[s("bind/a"), 0], &["bind/a"]);
    did("futimesat", &[dir, s("a"), 0], &[&r("a")]);
    did("utimensat", &[CWD, s("sym"), 0, 0], &[&r("a")]);
    did("utimensat", &[CWD, s("sym"), 0, 0x100], &["sym"]);
    did("utimensat", &[dir, 0, 0, 0], &[REAL]);
    if !stacked() {
        return;
    }
    println!("stacked");
    did("setxattr", &[s("stack/to"), name, value, 5, 0], &["stack/merged/file"]);
    did("removexattr", &[s("stack/to"), name], &["stack/merged/file"]);
    did("setxattr", &[s("stack/to"), access, acl, 28, 0], &["stack/merged/file"]);
    did("utimensat", &[CWD, s("stack/to"), 0, 0], &["stack/merged/file"]);
}

/// Mounts an overlay on memory, as it cannot lie on another one's upper layer, with a link beside it.
fn stacked() -> bool {
    use rustix::mount::{MountFlags, mount};
    fs::create_dir("stack").unwrap();
    mount("none", "stack", "tmpfs", MountFlags::empty(), None).unwrap();
    for directory in ["lower", "upper", "work", "merged"] {
        fs::create_dir(format!("stack/{directory}")).unwrap();
    }
    fs::write("stack/lower/file", "x").unwrap();
    std::os::unix::fs::symlink("merged/file", "stack/to").unwrap();
    let options = c"lowerdir=stack/lower,upperdir=stack/upper,workdir=stack/work";
    mount("overlay", "stack/merged", "overlay", MountFlags::empty(), Some(options)).is_ok()
}

pub(crate) fn private_mounts() {
    #[expect(unsafe_code, reason = "unshare of the mount namespace has no safe wrapper")]
    // SAFETY: affects this single-purpose process only.
    unsafe {
        rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNS).unwrap();
    }
    let flags = rustix::mount::MountPropagationFlags::REC | rustix::mount::MountPropagationFlags::PRIVATE;
    rustix::mount::mount_change("/", flags).unwrap();
}

/// What the child of the tests above does.
pub(crate) fn child(task: &str) {
    if task == "paths" {
        paths();
    }
}
