//! Every system call of the table, made by a child and compared with what the sensor tells.
use crate::common::{Watch, argument, can_observe, everything};
use hostward_event::call;
use hostward_event::plan::{CallPlan, Chosen, KernelPlan, OpenClass, OpenPlan};
use hostward_event::raw::{Endpoint, RawBody, RawCall, RawEvent};
use hostward_event::{EventKind, KindSet, Text};
use std::collections::BTreeSet;
use std::ffi::CString;
use std::fs::File;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::str::FromStr;

/// The calls of `pid` of one kind.
fn calls(watch: &Watch, pid: u32, kind: EventKind) -> Vec<(RawEvent, RawCall)> {
    let all = watch.so_far(|event| event.task.pid == pid && event.kind() == kind);
    all.into_iter()
        .filter_map(|event| match event.body.clone() {
            RawBody::Call(call) => Some((event, *call)),
            _ => None,
        })
        .collect()
}

/// The one that `wanted` likes.
fn only(watch: &Watch, pid: u32, kind: EventKind, wanted: impl Fn(&RawCall) -> bool) -> RawCall {
    let all = calls(watch, pid, kind);
    let mut found: Vec<&RawCall> = all.iter().map(|(_, call)| call).filter(|call| wanted(call)).collect();
    assert_eq!(found.len(), 1, "{}: {all:#?}", kind.name());
    found.remove(0).clone()
}

fn text(path: &Path) -> Text {
    Text::copy(path.as_os_str().as_bytes())
}

#[test]
fn every_call_of_the_table_is_told() {
    if !can_observe("every_call_of_the_table_is_told") {
        return;
    }
    // The opens of a busy host would leave the ring no room for what is looked for here.
    let watch = Watch::new(&KernelPlan { opens: OpenPlan::default(), ..everything() });
    let place = tempfile::tempdir().unwrap();
    let (pid, said) = crate::common::run(crate::common::child("catalogue", &[place.path()]));
    watch.exited(pid);
    let place = place.path();
    let any = |_: &RawCall| true;

    // What the kernel has no tracepoint for cannot be told; the ladder says so.
    let missing: BTreeSet<EventKind> = watch
        .sensor
        .ladder()
        .into_iter()
        .filter(|probe| probe.kind.is_call() && !probe.attached())
        .map(|probe| {
            println!("{} is not observed here: {}", probe.kind.name(), probe.why);
            probe.kind
        })
        .collect();
    let made: BTreeSet<&str> = said.lines().filter_map(|line| line.strip_prefix("made ")).collect();
    for spec in call::TABLE {
        let name = spec.kind.name();
        if missing.contains(&spec.kind) {
            continue;
        }
        assert!(made.contains(name), "the test makes no {name}");
        let lost = watch.lost(spec.kind);
        assert!(!calls(&watch, pid, spec.kind).is_empty(), "{name} was made and not told; {lost} lost");
    }

    let at = |name: &str| text(&place.join(name));
    let unlink = only(&watch, pid, EventKind::Unlink, |call| call.result == 0);
    assert_eq!((&unlink.texts[0], &unlink.bases[0]), (&at("file"), &Text::EMPTY));
    let refused = only(&watch, pid, EventKind::Unlink, |call| call.result != 0);
    assert_eq!((refused.result, refused.texts[0].as_bytes()), (-2, &b"absent"[..]));
    assert_eq!(refused.bases[0], text(place), "a relative path starts in the working directory");
    let rename = only(&watch, pid, EventKind::Renameat, any);
    assert_eq!((rename.texts[0].as_bytes(), rename.texts[1].as_bytes()), (&b"old"[..], &b"new\xff"[..]));
    assert_eq!((&rename.bases[0], &rename.bases[1]), (&at("dir"), &text(place)));
    let link = only(&watch, pid, EventKind::Symlinkat, any);
    assert_eq!((link.texts[0].as_bytes(), link.texts[1].as_bytes()), (&b"/etc/shadow"[..], &b"soft2"[..]));
    assert_eq!(link.bases[1], at("dir"));
    let chmod = only(&watch, pid, EventKind::Fchmod, any);
    assert_eq!(chmod.file.as_ref().unwrap().path, at("modes"));
    assert_eq!((chmod.args[1], chmod.file.as_ref().unwrap().inode.mode & 0o7777), (0o4755, 0o4755));
    for kind in [EventKind::Fchmodat2, EventKind::Fchownat, EventKind::Linkat] {
        if !missing.contains(&kind) {
            let call = only(&watch, pid, kind, |call| call.texts[0].is_empty());
            assert_eq!(call.file.as_ref().map(|file| &file.path), Some(&at("modes")), "{}", kind.name());
        }
    }
    let xattr = only(&watch, pid, EventKind::Fsetxattr, any);
    assert_eq!(xattr.texts[0].as_bytes(), b"user.note");
    let mount = only(&watch, pid, EventKind::Mount, |call| call.texts[2].as_bytes() == b"tmpfs");
    assert_eq!((mount.texts[0].as_bytes(), &mount.texts[1], mount.result), (&b"none"[..], &at("mnt"), 0));

    let ids = only(&watch, pid, EventKind::Setresuid, any);
    assert_eq!((&ids.args[..3], ids.result), (&[0, 0, 0][..], 0));
    let caps = only(&watch, pid, EventKind::Capset, any);
    assert_eq!(caps.data.as_bytes().len(), 24);
    let unshare = only(&watch, pid, EventKind::Unshare, any);
    assert_eq!(unshare.args[0], 0x2_0000 | 0x200);
    let setns = only(&watch, pid, EventKind::Setns, any);
    let namespace = said.lines().find_map(|line| line.strip_prefix("namespace ")).unwrap();
    assert_eq!(setns.file.as_ref().unwrap().inode.ino.to_string(), namespace);
    let attach = only(&watch, pid, EventKind::Ptrace, |call| call.args[0] == 0x4206);
    assert!(attach.result < 0, "no process has this number");
    let memfd = only(&watch, pid, EventKind::MemfdCreate, any);
    assert_eq!(memfd.texts[0].as_bytes(), b"ghost");
    let map = only(&watch, pid, EventKind::Mmap, |call| call.args[1] == 3 * 4096);
    assert_eq!(map.args[2], 7, "readable, writable, executable");
    if !missing.contains(&EventKind::FinitModule) {
        let module = only(&watch, pid, EventKind::FinitModule, any);
        assert!(module.result < 0);
        assert_eq!(module.file.as_ref().unwrap().path, at("modes"));
        assert_eq!(module.texts[0].as_bytes(), b"option=1");
    }
    let kill = only(&watch, pid, EventKind::Kill, any);
    assert_eq!((kill.args[0] as u32, kill.args[1]), (pid, 23), "a signal 0 is a question and not told");

    let port = |name: &str| {
        let line = said.lines().find_map(|line| line.strip_prefix(&format!("{name} "))).unwrap();
        line.parse::<std::net::SocketAddr>().unwrap()
    };
    let (server, client) = (port("server"), port("client"));
    let bind = only(&watch, pid, EventKind::Bind, |call| call.socket.as_ref().is_some_and(|s| s.family == 2));
    let bound = bind.socket.unwrap();
    assert_eq!(bound.local, Some(Endpoint::Ip("127.0.0.1:0".parse().unwrap())), "as it was asked for");
    assert!(bound.server);
    let listen = only(&watch, pid, EventKind::Listen, any).socket.unwrap();
    assert_eq!((listen.local, listen.remote), (Some(Endpoint::Ip(server)), None));
    let accept = only(&watch, pid, EventKind::Accept, any);
    let accepted = accept.socket.unwrap();
    assert_eq!((i64::from(accepted.fd), accepted.server), (accept.result, true));
    assert_eq!((accepted.local, accepted.remote), (Some(Endpoint::Ip(server)), Some(Endpoint::Ip(client))));
    let unix = only(&watch, pid, EventKind::Bind, |call| call.socket.as_ref().is_some_and(|s| s.family == 1));
    assert_eq!(unix.socket.unwrap().local, Some(Endpoint::Unix(at("unix"))));
    let sent = only(&watch, pid, EventKind::Sendto, |call| call.args[2] == 5).socket.unwrap();
    assert_eq!(sent.remote, Some(Endpoint::Ip("127.0.0.1:9".parse().unwrap())));
    let dup = only(&watch, pid, EventKind::Dup2, any);
    assert_eq!((dup.result, dup.socket.is_some()), (0, true), "a file on standard input is not told");

    let exec = only(&watch, pid, EventKind::ExecveFailed, any);
    assert_eq!((exec.result, &exec.texts[0]), (-2, &at("no-program")));
    let (event, _) = calls(&watch, pid, EventKind::Unlink).remove(0);
    assert_eq!(event.task.pid, pid);
    assert!(unlink.shared_memory, "the harness has more threads");
    let (_, gaps, sensor) = watch.finish();
    // Others may flood the host with opens meanwhile, which have the rings' rest.
    let calls = |kind: EventKind| kind != EventKind::Open;
    assert!(!gaps.iter().any(|gap| calls(gap.lost)), "{gaps:?}");
    let told = sensor.counters().unwrap();
    let lost = told.iter().find(|kind| calls(kind.kind) && (kind.dropped, kind.starved) != (0, 0));
    assert_eq!(lost, None);
}

#[test]
fn only_calls_that_the_plan_chooses_are_told() {
    if !can_observe("only_calls_that_the_plan_chooses_are_told") {
        return;
    }
    let kinds = [EventKind::Unlinkat, EventKind::Renameat, EventKind::Fchmod, EventKind::Prctl];
    let mut plan = KernelPlan { kinds: KindSet::of(&kinds), ..KernelPlan::default() };
    let named = CallPlan { named: true, ..CallPlan::default() };
    for kind in [EventKind::Unlinkat, EventKind::Renameat, EventKind::Fchmod] {
        plan.calls.insert(kind, named);
    }
    plan.calls.insert(EventKind::Unlinkat, CallPlan { failed: false, ..named });
    let chosen = Some(Chosen { at: 0, values: 1 << 15, above: false });
    plan.calls.insert(EventKind::Prctl, CallPlan { chosen, ..CallPlan::default() });
    plan.opens.names =
        ["hw-wanted", "hw-second", "hw-folder"].map(|name| (name.into(), OpenClass::CALL)).into();
    let watch = Watch::new(&plan);
    let place = tempfile::tempdir().unwrap();
    let (pid, _) = crate::common::run(crate::common::child("chosen", &[place.path()]));
    watch.exited(pid);
    let names = |kind| {
        let all = calls(&watch, pid, kind);
        all.iter().map(|(_, call)| call.texts[0].to_string()).collect::<Vec<_>>()
    };
    assert_eq!(names(EventKind::Unlinkat), ["hw-wanted", "inside"], "by name, by folder; not what failed");
    assert_eq!(names(EventKind::Renameat), ["x1", "y1"], "by the second path, also when it is relative");
    assert_eq!(calls(&watch, pid, EventKind::Fchmod).len(), 1, "by the path of the descriptor");
    assert!(calls(&watch, pid, EventKind::Prctl).iter().all(|(_, call)| call.args[0] == 15));
    assert!(!calls(&watch, pid, EventKind::Prctl).is_empty());

    // Without a plan for them all are told, and a new plan is in force without attaching anew.
    let mut watch = watch;
    plan.calls.clear();
    watch.sensor.apply(&plan).unwrap();
    let place = tempfile::tempdir().unwrap();
    let (pid, _) = crate::common::run(crate::common::child("chosen", &[place.path()]));
    watch.exited(pid);
    assert_eq!(calls(&watch, pid, EventKind::Unlinkat).len(), 4);
    assert_eq!(calls(&watch, pid, EventKind::Renameat).len(), 3);
}

/// Makes calls of which a plan chooses some.
fn chosen() {
    let place = argument(0);
    std::env::set_current_dir(&place).unwrap();
    for name in ["hw-wanted", "other", "x0", "x1", "y1"] {
        std::fs::write(name, "x").unwrap();
    }
    std::fs::create_dir("hw-folder").unwrap();
    std::fs::write("hw-folder/inside", "x").unwrap();
    let folder = File::open("hw-folder").unwrap();
    let folder = i64::from(folder.as_raw_fd());
    let names: Vec<CString> =
        ["hw-wanted", "other", "inside", "x0", "x1", "y1", "plain", "hw-second", "hw-gone"]
            .map(|name| CString::new(name).unwrap())
            .into();
    let s = |name: &str| {
        let at = names.iter().position(|known| known.to_bytes() == name.as_bytes()).unwrap();
        names[at].as_ptr() as i64
    };
    let absolute = CString::new(place.join("hw-second").as_os_str().as_bytes()).unwrap();
    make("unlinkat", &[CWD, s("hw-wanted"), 0]);
    make("unlinkat", &[CWD, s("hw-wanted"), 0]);
    make("unlinkat", &[CWD, s("other"), 0]);
    make("unlinkat", &[folder, s("inside"), 0]);
    make("renameat", &[CWD, s("x0"), CWD, s("plain")]);
    make("renameat", &[CWD, s("x1"), CWD, absolute.as_ptr() as i64]);
    make("renameat", &[CWD, s("y1"), CWD, s("hw-second")]);
    let (wanted, other) = (File::open("hw-second").unwrap(), File::open("plain").unwrap());
    make("fchmod", &[i64::from(wanted.as_raw_fd()), 0o600]);
    make("fchmod", &[i64::from(other.as_raw_fd()), 0o600]);
    make("prctl", &[15, s("plain"), 0, 0, 0]);
    make("prctl", &[3, 0, 0, 0, 0]);
    make("prctl", &[0x5356_4d41, 0, 0, 0, 0]);
}

/// Makes one call and says so. Numbers and pointers alike are words.
#[expect(unsafe_code, reason = "calls that no library makes")]
pub(crate) fn make(name: &str, arguments: &[i64]) -> i64 {
    let Ok(number) = syscalls::Sysno::from_str(name) else { return -38 };
    println!("made {name}");
    let word = |at: usize| arguments.get(at).copied().unwrap_or_default();
    // SAFETY: every pointer is of memory that lives, and what is asked for is done to this child alone.
    unsafe { libc::syscall(number.id().into(), word(0), word(1), word(2), word(3), word(4), word(5)) }
}

/// Results are the kernel's business, but for those that the test compares.
pub(crate) fn child(task: &str) {
    match task {
        "catalogue" => {}
        "chosen" => return chosen(),
        _ => return,
    }
    let place = argument(0);
    std::env::set_current_dir(&place).unwrap();
    for name in ["file", "r1", "r2", "l", "modes", "own", "x"] {
        std::fs::write(place.join(name), "x").unwrap();
    }
    std::fs::create_dir(place.join("dir")).unwrap();
    std::fs::create_dir(place.join("mnt")).unwrap();
    std::fs::write(place.join("dir/old"), "x").unwrap();
    let names = std::cell::RefCell::new(Vec::new());
    // A pointer to a string that lives as long as the child.
    let s = |text: &[u8]| {
        let text = CString::new(text).unwrap();
        let at = text.as_ptr() as i64;
        names.borrow_mut().push(text);
        at
    };
    let at = |name: &str| s(place.join(name).as_os_str().as_bytes());
    files(&place, &s, &at);
    network(&at);
    privilege(&s, &at);
    memory_and_kernel(&s, &place);
    make("execve", &[at("no-program"), 0, 0]);
    make("execveat", &[CWD, at("no-program"), 0, 0, 0]);
}

type Pointer<'a> = &'a dyn Fn(&[u8]) -> i64;
type Place<'a> = &'a dyn Fn(&str) -> i64;
const CWD: i64 = -100;

fn files(place: &Path, s: Pointer<'_>, at: Place<'_>) {
    let opened = |name: &str| File::open(place.join(name)).unwrap();
    let (dir_file, modes) = (opened("dir"), File::options().write(true).open(place.join("modes")).unwrap());
    let (dir, file) = (i64::from(dir_file.as_raw_fd()), i64::from(modes.as_raw_fd()));
    let value = s(b"value");
    make("unlink", &[at("file")]);
    make("unlink", &[s(b"absent")]);
    make("rename", &[at("r1"), at("r1b")]);
    make("link", &[at("l"), at("l2")]);
    make("symlink", &[s(b"/etc/passwd"), at("soft")]);
    make("mkdir", &[at("made"), 0o750]);
    make("rmdir", &[at("made")]);
    make("chmod", &[at("modes"), 0o600]);
    make("chown", &[at("own"), 0, 0]);
    make("lchown", &[at("own"), 0, 0]);
    make("utime", &[at("x"), 0]);
    make("utimes", &[at("x"), 0]);
    make("futimesat", &[CWD, at("x"), 0]);
    make("mknod", &[at("fifo"), 0o010_600, 0]);
    make("unlinkat", &[dir, s(b"none"), 0]);
    make("renameat", &[dir, s(b"old"), CWD, s(b"new\xff")]);
    make("renameat2", &[CWD, at("r2"), CWD, at("r2b"), 1]);
    make("linkat", &[CWD, at("l"), dir, s(b"l3"), 0]);
    make("symlinkat", &[s(b"/etc/shadow"), dir, s(b"soft2")]);
    make("mkdirat", &[dir, s(b"sub"), 0o700]);
    make("fchmod", &[file, 0o4755]);
    make("fchmodat", &[dir, s(b"sub"), 0o711]);
    make("fchmodat2", &[dir, s(b"sub"), 0o700, 0]);
    make("fchown", &[file, 0, 0]);
    make("fchownat", &[dir, s(b"sub"), 0, 0, 0]);
    // AT_EMPTY_PATH: the file is what the descriptor stands for.
    make("fchmodat2", &[file, s(b""), 0o4755, 0x1000]);
    make("fchownat", &[file, s(b""), 0, 0, 0x1000]);
    make("linkat", &[file, s(b""), CWD, at("l4"), 0x1000]);
    make("truncate", &[at("x"), 1]);
    make("ftruncate", &[file, 1]);
    make("setxattr", &[at("x"), s(b"user.a"), value, 5, 0]);
    make("lsetxattr", &[at("x"), s(b"user.b"), value, 5, 0]);
    make("fsetxattr", &[file, s(b"user.note"), value, 5, 0]);
    make("removexattr", &[at("x"), s(b"user.a")]);
    make("lremovexattr", &[at("x"), s(b"user.b")]);
    make("fremovexattr", &[file, s(b"user.note")]);
    make("utimensat", &[CWD, at("x"), 0, 0]);
    make("mknodat", &[dir, s(b"fifo2"), 0o010_600, 0]);
}

fn network(at: Place<'_>) {
    // SAFETY of the words: each is a live array.
    let address = |port: u16| {
        let [high, low] = port.to_be_bytes();
        [2_u8, 0, high, low, 127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]
    };
    let any = address(0);
    let fd = make("socket", &[2, 1, 0]);
    make("bind", &[fd, any.as_ptr() as i64, 16]);
    make("listen", &[fd, 4]);
    // SAFETY: the descriptor is ours and stays open.
    let listener = own::<TcpListener>(fd);
    let server = listener.local_addr().unwrap();
    println!("server {server}");
    let first = TcpStream::connect(server).unwrap();
    println!("client {}", first.local_addr().unwrap());
    let accepted = make("accept", &[fd, 0, 0]);
    let second = TcpStream::connect(server).unwrap();
    make("accept4", &[fd, 0, 0, 0]);
    let udp = make("socket", &[2, 2, 0]);
    let nine = address(9);
    let text = b"hello";
    make("sendto", &[udp, text.as_ptr() as i64, 5, 0, nine.as_ptr() as i64, 16]);
    make("sendmsg", &[udp, 0, 0]);
    make("sendmmsg", &[udp, 0, 0, 0]);
    let unix = make("socket", &[1, 1, 0]);
    let mut name = vec![1_u8, 0];
    // SAFETY of the read: `at` gives strings that end in NUL and live.
    let path = place_text(at("unix"));
    name.extend_from_slice(path.to_bytes_with_nul());
    make("bind", &[unix, name.as_ptr() as i64, name.len() as i64]);
    // A file on standard input is not told, a socket is.
    let file = File::open("/dev/null").unwrap();
    make("dup2", &[i64::from(file.as_raw_fd()), 0]);
    make("dup2", &[accepted, 0]);
    make("dup3", &[accepted, 2, 0]);
    std::mem::drop(std::io::stdin());
    make("close", &[0]);
    make("dup", &[accepted]);
    drop((first, second));
    std::mem::forget(listener);
}

#[expect(unsafe_code, reason = "a descriptor that a raw call gave")]
fn own<T: From<std::os::fd::OwnedFd>>(fd: i64) -> T {
    // SAFETY: the call just gave it, and nobody else closes it.
    unsafe { std::os::fd::OwnedFd::from_raw_fd(i32::try_from(fd).unwrap()) }.into()
}

#[expect(unsafe_code, reason = "the string behind a word")]
fn place_text(pointer: i64) -> CString {
    // SAFETY: `child` keeps its strings.
    unsafe { std::ffi::CStr::from_ptr(pointer as *const _) }.to_owned()
}

fn privilege(s: Pointer<'_>, at: Place<'_>) {
    let minus = -1;
    make("setuid", &[0]);
    make("setgid", &[0]);
    make("setreuid", &[minus, 0]);
    make("setregid", &[minus, 0]);
    make("setresuid", &[0, 0, 0]);
    make("setresgid", &[0, 0, 0]);
    make("setfsuid", &[0]);
    make("setfsgid", &[0]);
    make("setgroups", &[0, 0]);
    let header = [0x2008_0522_u32, 0];
    let mut sets = [0_u32; 6];
    make("capget", &[header.as_ptr() as i64, sets.as_mut_ptr() as i64]);
    make("capset", &[header.as_ptr() as i64, sets.as_ptr() as i64]);
    make("unshare", &[0x2_0000 | 0x200]);
    let own = File::open("/proc/thread-self/ns/mnt").unwrap();
    println!("namespace {}", own.metadata().unwrap().ino());
    make("setns", &[i64::from(own.as_raw_fd()), 0x2_0000]);
    make("mount", &[0, s(b"/"), 0, 0x4_0000 | 0x4000, 0]);
    make("mount", &[s(b"none"), at("mnt"), s(b"tmpfs"), 0, 0]);
    make("umount2", &[at("mnt"), 2]);
    make("pivot_root", &[s(b"/none"), s(b"/none/old")]);
    make("chroot", &[s(b"/")]);
    make("move_mount", &[CWD, s(b"/none"), CWD, s(b"/none"), 0]);
    make("open_tree", &[CWD, s(b"/none"), 0]);
    make("fsopen", &[s(b"none"), 0]);
    make("fsmount", &[minus, 0, 0]);
    make("mount_setattr", &[CWD, s(b"/none"), 0, 0, 0]);
    make("prctl", &[15, s(b"renamed-thread"), 0, 0, 0]);
}

fn memory_and_kernel(s: Pointer<'_>, place: &Path) {
    let (pid, minus, nobody) = (i64::from(std::process::id()), -1, 0x3fff_fff0);
    make("ptrace", &[0x4206, nobody, 0, 0]);
    make("process_vm_writev", &[pid, 0, 0, 0, 0, 0]);
    make("process_vm_readv", &[pid, 0, 0, 0, 0, 0]);
    make("memfd_create", &[s(b"ghost"), 1]);
    let map = make("mmap", &[0, 3 * 4096, 7, 0x22, minus, 0]);
    make("mprotect", &[map, 4096, 7]);
    make("pkey_mprotect", &[map, 4096, 7, minus]);
    make("userfaultfd", &[0]);
    make("pidfd_getfd", &[minus, 0, 0]);
    let file = File::open(place.join("modes")).unwrap();
    let file = i64::from(file.as_raw_fd());
    make("init_module", &[0, 0, s(b"")]);
    make("finit_module", &[file, s(b"option=1"), 0]);
    make("delete_module", &[s(b"no_such_module"), 0]);
    make("bpf", &[11, 0, 0]);
    make("perf_event_open", &[0, 0, minus, minus, 0]);
    make("kexec_load", &[0, 0, 0, 0xffff]);
    make("kexec_file_load", &[file, minus, 0, 0, 0xffff]);
    make("keyctl", &[0, minus, 0]);
    make("add_key", &[s(b"no-type"), s(b"x"), 0, 0, 0]);
    make("request_key", &[s(b"no-type"), s(b"x"), 0, 0]);
    make("io_uring_setup", &[0, 0]);
    // SIGURG is ignored where nobody asks for it.
    let urgent = 23;
    make("kill", &[pid, urgent]);
    make("kill", &[pid, 0]);
    let tid = i64::from(rustix::thread::gettid().as_raw_nonzero().get());
    make("tkill", &[tid, urgent]);
    make("tgkill", &[pid, tid, urgent]);
    let pidfd = make("pidfd_open", &[pid, 0]);
    make("pidfd_send_signal", &[pidfd, urgent, 0, 0]);
    make("rt_sigqueueinfo", &[pid, urgent, 0]);
}
