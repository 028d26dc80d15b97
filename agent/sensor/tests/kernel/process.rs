//! exec, fork, exit: caused by real children, every field compared with what the test knows of them.
use crate::common::{Watch, argument, can_observe, named};
use hostward_event::Text;
use hostward_event::raw::{FileType, RawBody, Rung};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

/// Field `number` (from 1, as proc(5) counts) of /proc/self/stat.
fn stat(number: usize) -> u64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let (_, rest) = stat.rsplit_once(") ").unwrap();
    rest.split(' ').nth(number - 3).unwrap().parse().unwrap()
}

fn namespace(name: &str) -> u32 {
    let link = fs::read_link(format!("/proc/self/ns/{name}")).unwrap();
    let text = link.to_str().unwrap();
    text.split(['[', ']']).nth(1).unwrap().parse().unwrap()
}

fn number(file: &str) -> u32 {
    fs::read_to_string(file).map_or(u32::MAX, |text| text.trim().parse().unwrap())
}

/// Device number as the kernel keeps it.
fn device(st_dev: u64) -> u32 {
    (rustix::fs::major(st_dev) << 20) | rustix::fs::minor(st_dev)
}

/// Where the unified hierarchy is mounted.
fn unified() -> Option<std::path::PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    let mut points = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ');
        let (_, point, kind) = (words.next()?, words.next()?, words.next()?);
        (kind == "cgroup2").then(|| point.into())
    });
    points.next()
}

#[test]
fn a_cgroup_is_told_when_it_is_made_and_when_it_is_removed() {
    if !can_observe("a_cgroup_is_told_when_it_is_made_and_when_it_is_removed") {
        return;
    }
    let Some(top) = unified() else {
        eprintln!("skipped: a_cgroup_is_told_when_it_is_made_and_when_it_is_removed: no cgroup2 is mounted");
        return;
    };
    let watch = Watch::new(&named(&[]));
    let name = format!("hostward-test-{}", std::process::id());
    let (outer, inner) = (top.join(&name), top.join(&name).join("in\u{1b}ner"));
    fs::create_dir(&outer).unwrap();
    fs::create_dir(&inner).unwrap();
    let id = fs::metadata(&inner).unwrap().ino();
    fs::remove_dir(&inner).unwrap();
    fs::remove_dir(&outer).unwrap();
    for removed in [false, true] {
        let change = |event: &hostward_event::raw::RawEvent| match &event.body {
            RawBody::Cgroup(change) if change.id == id && change.removed == removed => Some(change.clone()),
            _ => None,
        };
        let event = watch.event("the change of the cgroup", |event| change(event).is_some());
        let path = change(&event).unwrap().path;
        // In a container of its own the agent would be told a path that begins further up.
        assert!(path.to_string().ends_with(&format!("/{name}/in\\u{{1b}}ner")), "{path}");
        assert_eq!(event.task.pid, std::process::id());
    }
}

#[test]
fn exec_tells_all_about_a_program() {
    if !can_observe("exec_tells_all_about_a_program") {
        return;
    }
    let watch = Watch::new(&named(&[]));
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let name = OsString::from_vec(b"odd\xff name".to_vec());
    let program = directory.path().join(&name);
    crate::common::copy("/bin/true", &program);
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let (near, far) = UnixStream::pair().unwrap();
    let mut child = Command::new(&program)
        .arg0("zero")
        .arg(OsStr::from_bytes(b"\xfe arg"))
        .arg("")
        .arg("last")
        .current_dir(directory.path())
        .uid(1234)
        .gid(2345)
        .stdin(Stdio::from(OwnedFd::from(near)))
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let pid = child.id();
    let (event, exec) = watch.exec(pid);
    child.wait().unwrap();
    drop(far);

    assert_eq!(event.source.rung, Rung::BtfTracepoint);
    assert!(event.source.received_boot_ns >= event.source.boot_ns);
    let task = &event.task;
    assert_eq!((task.pid, task.tid, task.ppid), (pid, pid, std::process::id()));
    assert_eq!((task.euid, task.egid), (1234, 2345));
    assert_eq!(task.comm, Text::copy(b"odd\xff name"));
    assert!(task.start_boot_ns <= event.source.boot_ns);

    let path = program.as_os_str().as_bytes();
    assert_eq!(exec.path, Text::copy(path));
    assert_eq!(exec.filename, Text::copy(path));
    assert_eq!(exec.args.raw, Text::copy(b"zero\0\xfe arg\0\0last\0"));
    assert_eq!(exec.args.total_bytes, 17);
    assert_eq!(exec.cwd, Text::copy(directory.path().as_os_str().as_bytes()));
    let file = fs::metadata(&program).unwrap();
    assert_eq!(exec.exe.ino, file.ino());
    assert_eq!(exec.exe.dev, device(file.dev()));
    assert_eq!((exec.exe.mode, exec.exe.nlink), (file.mode(), 1));
    assert_eq!((exec.exe.uid, exec.exe.gid), (file.uid(), file.gid()));
    assert_eq!(exec.exe.ctime_ns, file.ctime() * 1_000_000_000 + file.ctime_nsec());
    assert_eq!(exec.exe.mtime_ns, file.mtime() * 1_000_000_000 + file.mtime_nsec());
    assert!(!exec.memfd && !exec.killed);

    let creds = exec.creds;
    assert_eq!([creds.uid, creds.euid, creds.suid, creds.fsuid], [1234; 4]);
    assert_eq!([creds.gid, creds.egid, creds.sgid, creds.fsgid], [2345; 4]);
    assert_eq!([creds.cap_inheritable, creds.cap_permitted, creds.cap_effective, creds.cap_ambient], [0; 4]);
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let bounding = status.lines().find_map(|line| line.strip_prefix("CapBnd:\t")).unwrap();
    assert_eq!(creds.cap_bounding, u64::from_str_radix(bounding, 16).unwrap());

    let ns = exec.ns;
    let ids = [ns.mnt, ns.pid, ns.net, ns.uts, ns.ipc, ns.cgroup, ns.user];
    let names = ["mnt", "pid", "net", "uts", "ipc", "cgroup", "user"];
    for (id, name) in ids.into_iter().zip(names) {
        assert_eq!(id, namespace(name), "{name}");
    }
    assert_eq!(u64::from(exec.tty), stat(7));
    assert_eq!(exec.loginuid, number("/proc/self/loginuid"));
    assert_eq!(exec.audit_session, number("/proc/self/sessionid"));
    assert_eq!(u64::from(exec.pgid), stat(5));
    assert_eq!(u64::from(exec.sid), stat(6));
    // The test runs in the initial pid namespace, or none of its numbers would be right.
    assert_eq!((exec.vpid, exec.vpgid, exec.vsid), (pid, exec.pgid, exec.sid));
    assert_eq!((exec.stdin, exec.stdout), (FileType::Socket, FileType::CharDevice));
}

#[test]
fn the_cgroup_is_the_one_in_proc() {
    if !can_observe("the_cgroup_is_the_one_in_proc") {
        return;
    }
    // As the program does: the unified hierarchy unless it knows only its root, then a v1 one.
    let own = fs::read_to_string("/proc/self/cgroup").unwrap();
    let path_of = |id: &str| own.lines().find_map(|line| Some(line.split_once(id)?.1.to_owned()));
    let places = [
        ("0::", ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"].as_slice(), false),
        (":memory:", &["/sys/fs/cgroup/memory"], true),
        (":pids:", &["/sys/fs/cgroup/pids"], true),
        (":devices:", &["/sys/fs/cgroup/devices"], true),
    ];
    let expected = places.into_iter().find_map(|(id, mounts, v1)| {
        let path = path_of(id).filter(|path| path != "/")?;
        let found = mounts.iter().find_map(|mount| fs::metadata(format!("{mount}{path}")).ok())?;
        Some((found.ino(), path, v1))
    });
    let watch = Watch::new(&named(&[]));
    let mut child = Command::new("/bin/true").spawn().unwrap();
    let (event, exec) = watch.exec(child.id());
    child.wait().unwrap();
    assert_eq!(event.task.cgroup_id, exec.cgroup.id);
    match expected {
        Some((inode, path, v1)) => {
            assert_eq!((exec.cgroup.id, exec.cgroup.v1), (inode, v1));
            let mut names = path.rsplit('/');
            assert_eq!(exec.cgroup.leaf, Text::from(names.next().unwrap_or_default()));
            assert_eq!(exec.cgroup.parent, Text::from(names.next().unwrap_or_default()));
        }
        None => assert_eq!(exec.cgroup.leaf, Text::EMPTY),
    }
}

#[test]
fn arguments_are_cut_at_4_kib_and_the_total_is_told() {
    if !can_observe("arguments_are_cut_at_4_kib_and_the_total_is_told") {
        return;
    }
    let watch = Watch::new(&named(&[]));
    let mut child = Command::new("/bin/true").args(["a".repeat(3000), "b".repeat(3000)]).spawn().unwrap();
    let (_, exec) = watch.exec(child.id());
    child.wait().unwrap();
    assert_eq!(exec.args.total_bytes as usize, "/bin/true".len() + 1 + 2 * 3001);
    assert_eq!(exec.args.raw.as_bytes().len(), 4096);
    assert!(exec.args.truncated());
    assert_eq!(exec.args.iter().nth(1).unwrap(), "a".repeat(3000).as_bytes());
}

#[test]
fn a_script_is_told_with_its_interpreter() {
    if !can_observe("a_script_is_told_with_its_interpreter") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let script = directory.path().join("script");
    crate::common::script(&script, "#!/bin/sh\nexit 0\n");
    let watch = Watch::new(&named(&[]));
    let mut child = Command::new(&script).spawn().unwrap();
    let (event, exec) = watch.exec(child.id());
    child.wait().unwrap();
    assert_eq!(exec.filename, Text::copy(script.as_os_str().as_bytes()));
    let shell = fs::canonicalize("/bin/sh").unwrap();
    assert_eq!(exec.path, Text::copy(shell.as_os_str().as_bytes()));
    assert_eq!(event.task.comm, Text::from("script"));
}

#[test]
fn a_program_without_a_file_is_known_as_memfd() {
    if !can_observe("a_program_without_a_file_is_known_as_memfd") {
        return;
    }
    let watch = Watch::new(&named(&[]));
    let memfd = rustix::fs::memfd_create("hidden", rustix::fs::MemfdFlags::empty()).unwrap();
    let mut file = fs::File::from(memfd);
    std::io::copy(&mut fs::File::open("/bin/true").unwrap(), &mut file).unwrap();
    // A file that is open for writing cannot be executed; the reopened descriptor is not.
    let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&file));
    let reader = fs::File::open(&path).unwrap();
    drop(file);
    rustix::io::fcntl_setfd(&reader, rustix::io::FdFlags::empty()).unwrap();
    let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&reader));
    let mut child = Command::new(&path).spawn().unwrap();
    let (_, exec) = watch.exec(child.id());
    child.wait().unwrap();
    assert!(exec.memfd);
    assert_eq!(exec.path, Text::from("/memfd:hidden"));
    assert_eq!(exec.filename, Text::from(path.as_str()));
    assert_eq!(exec.exe.nlink, 0);

    // Anybody may call a file so.
    let directory = tempfile::tempdir().unwrap();
    let decoy = directory.path().join("memfd:decoy");
    crate::common::copy("/bin/true", &decoy);
    let mut child = Command::new(&decoy).spawn().unwrap();
    let (_, exec) = watch.exec(child.id());
    child.wait().unwrap();
    assert!(!exec.memfd);
}

#[test]
fn fork_and_exit_frame_a_process() {
    if !can_observe("fork_and_exit_frame_a_process") {
        return;
    }
    let watch = Watch::new(&named(&[]));
    let mut child = Command::new("/bin/sh")
        .args(["-c", "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; exit 7"])
        .spawn()
        .unwrap();
    let pid = child.id();
    child.wait().unwrap();
    let exit = watch.exited(pid);
    let fork =
        watch.event("fork", |event| event.task.pid == pid && matches!(event.body, RawBody::Fork { .. }));
    let (exec, _) = watch.exec(pid);
    assert_eq!(exec.task.start_boot_ns, fork.task.start_boot_ns);
    assert_eq!(exit.task.start_boot_ns, fork.task.start_boot_ns);
    assert!(fork.source.boot_ns <= exec.source.boot_ns && exec.source.boot_ns <= exit.source.boot_ns);
    assert_eq!(fork.task.ppid, std::process::id());
    let RawBody::Fork { parent_start_boot_ns, vpid, pid_ns } = fork.body else { unreachable!() };
    assert_eq!((vpid, pid_ns), (pid, namespace("pid")));
    assert_eq!(parent_start_boot_ns / 10_000_000, stat(22));
    let RawBody::Exit { status, utime_ns, stime_ns, .. } = exit.body else { unreachable!() };
    assert_eq!(status, 7 << 8);
    let used = utime_ns + stime_ns;
    assert!((1_000_000..10_000_000_000).contains(&used), "20,000 rounds of a shell took {used} ns");
}

#[test]
fn a_signal_is_the_status() {
    if !can_observe("a_signal_is_the_status") {
        return;
    }
    let watch = Watch::new(&named(&[]));
    let mut child = Command::new("/bin/sleep").arg("100").spawn().unwrap();
    watch.exec(child.id());
    child.kill().unwrap();
    child.wait().unwrap();
    let RawBody::Exit { status, .. } = watch.exited(child.id()).body else { unreachable!() };
    assert_eq!(status & 0x7f, 9);
}

/// A thread is no process: one fork, and one exit when the last thread ends, with the leader's word.
#[test]
fn threads_are_not_reported() {
    if !can_observe("threads_are_not_reported") {
        return;
    }
    let watch = Watch::new(&named(&[]));
    let (pid, _) = crate::common::run(crate::common::child("threads", &[]));
    watch.exited(pid);
    let forks = watch.so_far(|event| event.task.pid == pid && matches!(event.body, RawBody::Fork { .. }));
    let exits = watch.so_far(|event| event.task.pid == pid && matches!(event.body, RawBody::Exit { .. }));
    assert_eq!((forks.len(), exits.len()), (1, 1));
}

/// Whose threads end at the same moment, without one that says so for all.
#[test]
fn a_process_ends_once_however_its_threads_do() {
    if !can_observe("a_process_ends_once_however_its_threads_do") {
        return;
    }
    let watch = Watch::new(&named(&[]));
    let (pid, said) = crate::common::run(crate::common::child("crowds", &[]));
    watch.exited(pid);
    let pids: Vec<u32> = said.lines().filter_map(|line| line.strip_prefix("crowd ")?.parse().ok()).collect();
    assert_eq!(pids.len(), CROWDS);
    for crowd in pids {
        watch.exited(crowd);
        let exits =
            watch.so_far(|event| event.task.pid == crowd && matches!(event.body, RawBody::Exit { .. }));
        assert_eq!(exits.len(), 1, "{exits:#?}");
    }
}

/// How many processes of many threads end.
const CROWDS: usize = 1000;

/// Makes a process that ends with its threads, all at once, and waits for it.
#[expect(unsafe_code, reason = "no library forks, or ends a thread alone")]
fn crowd() -> libc::pid_t {
    const THREADS: usize = 2;
    let here = std::sync::atomic::AtomicUsize::new(0);
    let end = || {
        here.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        while here.load(std::sync::atomic::Ordering::SeqCst) < THREADS {
            std::hint::spin_loop();
        }
        // SAFETY: ends this thread, of which nothing is used any more; what others use lives as long as the process.
        unsafe { libc::syscall(libc::SYS_exit, 0) };
    };
    // SAFETY: the one thread of the new process starts others and ends; libc lets it allocate.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        std::thread::scope(|scope| {
            (1..THREADS).for_each(|_| drop(scope.spawn(end)));
            end();
        });
    }
    // SAFETY: waits for the own child, writes nothing.
    assert_eq!(unsafe { libc::waitpid(pid, std::ptr::null_mut(), 0) }, pid);
    pid
}

#[test]
fn a_deep_path_is_whole_and_a_deeper_one_marked() {
    if !can_observe("a_deep_path_is_whole_and_a_deeper_one_marked") {
        return;
    }
    let watch = Watch::new(&named(&[]));
    let directory = tempfile::tempdir().unwrap();
    for (levels, whole) in [(60, true), (200, false)] {
        // A path in one piece may have 4 KiB, so single letters.
        let mut place = directory.path().to_path_buf();
        (0..levels).for_each(|_| place.push("d"));
        fs::create_dir_all(&place).unwrap();
        let program = place.join("deep");
        crate::common::copy("/bin/true", &program);
        let mut child = Command::new(&program).spawn().unwrap();
        let (_, exec) = watch.exec(child.id());
        child.wait().unwrap();
        let path = exec.path.as_bytes();
        if whole {
            assert_eq!(Path::new(OsStr::from_bytes(path)), program);
        } else {
            assert!(path.starts_with(b".../d/d/") && path.ends_with(b"/d/deep"), "{}", exec.path);
        }
    }
}

/// The path of a process with another root stops at that root, and crosses mounts.
#[test]
fn a_path_ends_at_the_process_root() {
    if !can_observe("a_path_ends_at_the_process_root") {
        return;
    }
    let (pid, _) = {
        let watch = Watch::new(&named(&[]));
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        let (pid, _) = crate::common::run(crate::common::child("chroot", &[root]));
        watch.exited(pid);
        let execs = watch.so_far(|event| event.task.pid == pid && matches!(event.body, RawBody::Exec(_)));
        let last = execs.last().unwrap();
        let RawBody::Exec(exec) = &last.body else { unreachable!() };
        assert_eq!(exec.path, Text::from("/inner/busy"));
        assert_eq!(exec.cwd, Text::from("/"));
        (pid, ())
    };
    assert_ne!(pid, 0);
}

/// What the children of the tests above do.
pub(crate) fn child(task: &str) {
    match task {
        "threads" => {
            let threads: Vec<_> = (0..4).map(|_| std::thread::spawn(|| std::hint::black_box(1))).collect();
            threads.into_iter().for_each(|thread| _ = thread.join().unwrap());
        }
        "crowds" => (0..CROWDS).for_each(|_| println!("\ncrowd {}", crowd())),
        "chroot" => {
            let root = argument(0);
            fs::create_dir_all(root.join("inner")).unwrap();
            // A mount of our own on the way, gone with our mount namespace.
            #[expect(unsafe_code, reason = "unshare of the mount namespace has no safe wrapper")]
            // SAFETY: affects this single-purpose process only.
            unsafe {
                rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNS).unwrap();
            }
            let flags =
                rustix::mount::MountPropagationFlags::REC | rustix::mount::MountPropagationFlags::PRIVATE;
            rustix::mount::mount_change("/", flags).unwrap();
            let none = rustix::mount::MountFlags::empty();
            rustix::mount::mount("tmpfs", root.join("inner"), "tmpfs", none, None).unwrap();
            // Statically linked, or with its loader, nothing else is needed in the new root.
            for library in libraries(Path::new("/bin/true")) {
                let to = root.join(library.strip_prefix("/").unwrap());
                fs::create_dir_all(to.parent().unwrap()).unwrap();
                fs::copy(&library, &to).unwrap();
            }
            fs::copy("/bin/true", root.join("inner/busy")).unwrap();
            rustix::process::chroot(&root).unwrap();
            std::env::set_current_dir("/").unwrap();
            let why = Command::new("/inner/busy").exec();
            panic!("{why}");
        }
        _ => {}
    }
}

/// The shared libraries and the loader that `program` needs, as ldd tells.
fn libraries(program: &Path) -> Vec<std::path::PathBuf> {
    let told = Command::new("ldd").arg(program).output().unwrap();
    let text = String::from_utf8(told.stdout).unwrap();
    text.split_whitespace().filter(|word| word.starts_with('/')).map(Into::into).collect()
}
