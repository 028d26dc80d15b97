//! Real processes of this host, read through /proc.
#![cfg(test)]

use hostward_event::Text;
use hostward_event::fact::{Fact, Lookup, SeedProcess};
use hostward_host::{CgroupMode, Host, boot_ns};
use hostward_tests::need::skip;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::{fs, thread, time::Duration};

/// A child that sleeps, killed when the test ends.
struct Sleeper(Child);

impl Drop for Sleeper {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A copy of sleep(1) under the given name, so that a child has this name.
fn sleeper(dir: &Path, name: &[u8], args: &[&[u8]]) -> Sleeper {
    let program = dir.join(OsStr::from_bytes(name));
    if !program.exists() {
        // By another process: a descriptor of ours, open for writing, could be inherited by a child that another
        // test starts just then, and the program would be busy.
        let status = Command::new("cp").arg("--").arg("/bin/sleep").arg(&program).status().unwrap();
        assert!(status.success());
    }
    let mut command = Command::new(&program);
    command.current_dir(dir).stdin(Stdio::null()).args(args.iter().map(|arg| OsStr::from_bytes(arg)));
    let child = Sleeper(command.process_group(0).spawn().unwrap());
    // spawn returns when the new image takes over, a moment before its name and arguments are in place.
    let proc = format!("/proc/{}", child.0.id());
    let begun = std::time::Instant::now();
    while fs::read(format!("{proc}/cmdline")).unwrap().is_empty() {
        assert!(begun.elapsed().as_secs() < 10, "the child has no arguments");
        std::thread::yield_now();
    }
    assert!(fs::read(format!("{proc}/comm")).unwrap().len() > 1);
    child
}

fn seed(pid: u32) -> SeedProcess {
    Host::default().seed(pid).expect("a living process has a seed")
}

#[test]
fn this_process_is_told_as_it_is() {
    let me = seed(std::process::id());
    assert_eq!(me.ppid, std::os::unix::process::parent_id());
    assert_eq!(me.path.as_bytes(), std::env::current_exe().unwrap().as_os_str().as_bytes());
    assert_eq!(me.cwd.as_bytes(), std::env::current_dir().unwrap().as_os_str().as_bytes());
    let args: Vec<Vec<u8>> = std::env::args_os().map(|arg| arg.as_bytes().to_vec()).collect();
    assert_eq!(me.args.iter().map(<[u8]>::to_vec).collect::<Vec<_>>(), args);
    let file = fs::metadata("/proc/self/exe").unwrap();
    assert_eq!((me.exe.ino, me.exe.mode, u64::from(me.exe.nlink)), (file.ino(), file.mode(), file.nlink()));
    assert_eq!(me.exe.mtime_ns, file.mtime() * 1_000_000_000 + file.mtime_nsec());
    assert_eq!(u64::from(me.exe.dev >> 20), file.dev() >> 8 & 0xfff, "small majors look alike in both forms");
    assert_eq!(me.creds.euid, file_owner_of_self());
    assert_eq!(u64::from(me.ns.mnt), fs::metadata("/proc/self/ns/mnt").unwrap().ino());
    assert_eq!(u64::from(me.ns.user), fs::metadata("/proc/self/ns/user").unwrap().ino());
    let age_ns = boot_ns() - me.start_boot_ns;
    assert!(age_ns < 600_000_000_000, "started {age_ns} ns ago");
    assert!(!me.cgroup_path.is_empty());
}

fn file_owner_of_self() -> u32 {
    fs::metadata("/proc/self").unwrap().uid()
}

#[test]
fn a_hostile_name_is_told_byte_by_byte() {
    let dir = tempfile::tempdir().unwrap();
    for name in [&b") R 1 ("[..], b"a\nUid:\t0", b"\xff\xfe\\x", b"a b) S 1 2 3"] {
        let child = sleeper(dir.path(), name, &[b"1000"]);
        let told = seed(child.0.id());
        assert_eq!(told.comm.as_bytes(), name.get(..15).unwrap_or(name));
        assert_eq!(told.path.as_bytes(), dir.path().join(OsStr::from_bytes(name)).as_os_str().as_bytes());
        assert_eq!((told.ppid, told.pgid), (std::process::id(), child.0.id()));
        assert_eq!(told.cwd.as_bytes(), dir.path().as_os_str().as_bytes());
    }
}

#[test]
fn long_arguments_are_cut_and_counted() {
    let dir = tempfile::tempdir().unwrap();
    let zeros = [b'0'; 6000];
    let child = sleeper(dir.path(), b"s", &[&zeros, b"1000"]);
    let args = seed(child.0.id()).args;
    let program = dir.path().join("s").as_os_str().len();
    assert_eq!(args.raw.as_bytes().len(), 4096);
    assert_eq!(usize::try_from(args.total_bytes).unwrap(), program + 1 + 6001 + 5);
    assert!(args.truncated());
}

#[test]
fn a_deleted_program_and_one_that_is_called_deleted_are_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let gone = sleeper(dir.path(), b"gone", &[b"1000"]);
    let named = sleeper(dir.path(), b"named (deleted)", &[b"1000"]);
    fs::remove_file(dir.path().join("gone")).unwrap();
    let (gone, named) = (seed(gone.0.id()), seed(named.0.id()));
    assert_eq!((gone.path.to_string(), gone.exe.nlink), (dir.path().join("gone").display().to_string(), 0));
    assert!(named.path.as_bytes().ends_with(b"/named (deleted)"));
    assert_eq!(named.exe.nlink, 1);
}

#[test]
fn a_seed_is_completed_only_for_the_process_it_is_of() {
    let dir = tempfile::tempdir().unwrap();
    let host = Host::default();
    let child = sleeper(dir.path(), b"s", &[b"1000"]);
    let full = seed(child.0.id());
    // As an iterator tells it: the start to the ns, and less besides.
    let bare = SeedProcess {
        args: Default::default(),
        cwd: Text::EMPTY,
        cgroup_path: Text::EMPTY,
        start_boot_ns: full.start_boot_ns + 1_234_567,
        ..full.clone()
    };
    let mut completed = bare.clone();
    assert!(host.complete(&mut completed));
    assert_eq!((&completed.args, &completed.cwd), (&full.args, &full.cwd));
    assert_eq!(completed.cgroup_path, full.cgroup_path);
    let mut other = SeedProcess { start_boot_ns: full.start_boot_ns - 10_000_000, ..bare.clone() };
    let before = other.clone();
    assert!(!host.complete(&mut other), "another process had this pid before");
    assert_eq!(other, before);
    drop(child);
    assert!(!host.complete(&mut bare.clone()), "it is gone");
}

#[test]
fn questions_are_answered_while_there_is_an_answer() {
    let dir = tempfile::tempdir().unwrap();
    let host = Host::default();
    let child = sleeper(dir.path(), b"s", &[b"1000"]);
    let (pid, start_boot_ns) = (child.0.id(), seed(child.0.id()).start_boot_ns);
    let told = host.answer(&Lookup::Process { pid, start_boot_ns: start_boot_ns + 9_999_999 });
    assert!(matches!(told, Some(Fact::Process(seed))
        if (seed.pid, seed.start_boot_ns, seed.comm.as_bytes()) == (pid, start_boot_ns + 9_999_999, b"s")));
    assert_eq!(host.answer(&Lookup::Process { pid, start_boot_ns: start_boot_ns + 10_000_000 }), None);

    let in_root = Lookup::CgroupPath { cgroup_id: 1, pid, start_boot_ns };
    let Some(Fact::CgroupPath { path, .. }) = host.answer(&in_root) else {
        panic!("a living process has a path")
    };
    let file = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    assert!(file.lines().any(|line| line.ends_with(&path.to_string())), "{path} in {file}");
    drop(child);
    assert_eq!(host.answer(&in_root), None);
    assert_eq!(host.answer(&Lookup::Process { pid, start_boot_ns }), None);
}

/// A cgroup of our own with a process in it, as a runtime makes them.
#[test]
fn a_cgroup_is_found_by_its_process_and_without_it() {
    let host = Host::default();
    let root = match host.hierarchies().mode() {
        CgroupMode::V2 => "/sys/fs/cgroup",
        CgroupMode::Hybrid => "/sys/fs/cgroup/unified",
        mode => return skip("kernel", "a_cgroup_is_found_by_its_process_and_without_it", mode.name()),
    };
    let name = format!("hostward-test-{}", std::process::id());
    let (outer, inner) = (Path::new(root).join(&name), Path::new(root).join(&name).join("leaf (deleted)x"));
    if let Err(error) = fs::create_dir(&outer) {
        return skip("kernel", "a_cgroup_is_found_by_its_process_and_without_it", &error.to_string());
    }
    fs::create_dir(&inner).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let child = sleeper(dir.path(), b"s", &[b"1000"]);
    fs::write(inner.join("cgroup.procs"), child.0.id().to_string()).unwrap();
    let told = seed(child.0.id());
    let (pid, start_boot_ns) = (told.pid, told.start_boot_ns);
    let cgroup_id = fs::metadata(&inner).unwrap().ino();
    let lookup = Lookup::CgroupPath { cgroup_id, pid, start_boot_ns };
    let path = Text::from(format!("/{name}/leaf (deleted)x"));
    let fact = Fact::CgroupPath { cgroup_id, path: path.clone(), pid, start_boot_ns };
    let with_process = host.answer(&lookup);
    drop(child);
    let without = host.answer(&lookup);
    for dir in [&inner, &outer] {
        // The kernel lets go of the process a moment after it was reaped.
        let gone = (0..100).any(|_| {
            fs::remove_dir(dir).is_ok() || {
                thread::sleep(Duration::from_millis(10));
                false
            }
        });
        assert!(gone, "{dir:?} is left behind");
    }
    assert_eq!((told.cgroup.id, told.cgroup.v1), (cgroup_id, false));
    assert_eq!(
        (told.cgroup.leaf, told.cgroup.parent),
        (Text::from("leaf (deleted)x"), Text::from(name.as_str()))
    );
    assert_eq!((told.cgroup_path, with_process), (path, Some(fact.clone())));
    assert_eq!(without, Some(fact), "by a walk of the tree");
    assert_eq!(host.answer(&lookup), None, "the cgroup is gone too");
}

#[test]
fn all_processes_are_listed_once_with_init_and_us() {
    let seeds = Host::default().seeds().unwrap();
    let pids: Vec<u32> = seeds.iter().map(|seed| seed.pid).collect();
    assert!(pids.windows(2).all(|pair| pair[0] < pair[1]));
    assert!(pids.contains(&1) && pids.contains(&std::process::id()));
    let error = Host::new(Path::new("/nowhere")).seeds().unwrap_err();
    assert!(error.to_string().contains("/nowhere") && error.hint().contains("mount"));
}

#[test]
fn a_process_with_another_root_has_the_names_in_there() {
    let test = "processes::a_process_with_another_root";
    if !rustix::process::geteuid().is_root() {
        return skip("root", test, "chroot(2) needs root");
    }
    let dir = tempfile::tempdir().unwrap();
    let copy = |path: &Path| {
        let to = dir.path().join(path.strip_prefix("/").unwrap());
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        assert!(Command::new("cp").arg("-L").arg(path).arg(&to).status().unwrap().success());
    };
    // The program, and the libraries that it is linked with.
    let linked = Command::new("ldd").arg("/bin/sleep").output().unwrap();
    let linked = String::from_utf8(linked.stdout).unwrap();
    linked.split_whitespace().filter(|word| word.starts_with('/')).map(Path::new).for_each(copy);
    copy(Path::new("/bin/sleep"));
    fs::create_dir_all(dir.path().join("etc")).unwrap();
    fs::write(dir.path().join("etc/passwd"), "inner:x:0:0::/:/bin/sh\n").unwrap();
    std::os::unix::fs::symlink("/etc/passwd", dir.path().join("etc/group")).unwrap();

    let mut command = Command::new("chroot");
    let child = Sleeper(command.arg(dir.path()).args(["/bin/sleep", "600"]).spawn().unwrap());
    let root = format!("/proc/{}/root", child.0.id());
    let begun = std::time::Instant::now();
    while fs::read_link(&root).unwrap() != dir.path() {
        assert!(begun.elapsed().as_secs() < 60, "chroot did not");
        thread::sleep(Duration::from_millis(5));
    }
    let (host, me) = (Host::default(), seed(child.0.id()));
    let names = host.users_inside(me.pid, me.start_boot_ns).unwrap();
    assert_eq!(names.users.get(&0), Some(&Text::from("inner")));
    assert_eq!(names.groups.get(&0), Some(&Text::from("inner")), "its own file, by a link from its own root");
    assert_eq!(host.users_inside(me.pid, me.start_boot_ns + 1_000_000_000), None, "another process");
}
