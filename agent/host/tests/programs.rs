//! Files of programs that really run, and names in roots that processes really have.
#![cfg(test)]

use hostward_event::Text;
use hostward_event::fact::{Fact, Lookup, SeedProcess};
use hostward_event::program::{ProgramFacts, ProgramKey};
use hostward_host::{Host, Programs, ProgramsConfig};
use hostward_tests::child::copy_of;
use hostward_tests::need::skip;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::{thread, time::Duration};

struct Sleeper(Child);

impl Sleeper {
    /// Runs a program, and waits until the new image has taken over.
    fn start(command: &mut Command, path: &Path) -> Self {
        let child = Self(command.stdin(Stdio::null()).spawn().unwrap());
        let begun = std::time::Instant::now();
        while fs::read_link(format!("/proc/{}/exe", child.0.id())).unwrap() != path {
            assert!(begun.elapsed().as_secs() < 60, "it did not become {}", path.display());
            thread::sleep(Duration::from_millis(2));
        }
        child
    }

    fn seed(&self) -> SeedProcess {
        Host::default().seed(self.0.id()).unwrap()
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn reader(config: &ProgramsConfig) -> Programs {
    Programs::new(config, Host::default(), Path::new("/"))
}

/// As an exec of this process would ask.
fn question(seed: &SeedProcess) -> Lookup {
    let exe = &seed.exe;
    let path = seed.path.clone();
    Lookup::Program {
        key: ProgramKey { dev: exe.dev, ino: exe.ino, ctime_ns: exe.ctime_ns, path },
        mtime_ns: exe.mtime_ns,
        pid: seed.pid,
        start_boot_ns: seed.start_boot_ns,
        ppid: seed.ppid,
        on_host: true,
    }
}

fn told(programs: &mut Programs, lookup: &Lookup) -> (ProgramFacts, bool) {
    match programs.answer(lookup) {
        Some(Fact::Program { facts, keep, .. }) => (ProgramFacts::clone(&facts), keep),
        other => panic!("{other:?}"),
    }
}

fn sha256sum(path: &Path) -> String {
    let output = Command::new("sha256sum").arg(path).output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap().split_whitespace().next().unwrap().to_owned()
}

fn settle() {
    thread::sleep(Duration::from_millis(60));
}

/// A directory on a file system of its own kind would have another: links in its path are resolved.
fn directory() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = fs::canonicalize(dir.path()).unwrap();
    (dir, path)
}

#[test]
fn the_file_that_runs_is_hashed_whatever_became_of_its_name() {
    let (_guard, dir) = directory();
    let program = copy_of("/bin/sleep", &dir, "runs").unwrap();
    settle();
    let sum = sha256sum(&program);
    let mut programs = reader(&ProgramsConfig::default());
    let child = Sleeper::start(Command::new(&program).arg("600"), &program);
    let asked = question(&child.seed());
    let (facts, keep) = told(&mut programs, &asked);
    assert_eq!((facts.sha256.to_string(), keep, facts.packaged), (sum.clone(), true, None));

    // Another file has its name now: what runs is the old one.
    fs::write(dir.join("new"), "#!/bin/sh\n").unwrap();
    fs::rename(dir.join("new"), &program).unwrap();
    let (facts, keep) = told(&mut reader(&ProgramsConfig::default()), &asked);
    assert_eq!(
        (facts.sha256.to_string(), keep),
        (sum, false),
        "the inode lost its last name, its content is the same"
    );

    // It ended: its name leads to another file, and nothing is told rather than that.
    drop(child);
    let (facts, keep) = told(&mut reader(&ProgramsConfig::default()), &asked);
    assert!(facts.is_empty() && !keep, "{facts:?}");
    // It was read before, and nobody can find it any more: the answer is of a file and not of a process.
    assert!(told(&mut programs, &asked).0.is_empty());
}

#[test]
fn a_process_that_ended_has_the_hash_of_its_file_while_that_is_there_unchanged() {
    let (_guard, dir) = directory();
    let program = copy_of("/bin/sleep", &dir, "ended").unwrap();
    let sum = sha256sum(&program);
    let child = Sleeper::start(Command::new(&program).arg("600"), &program);
    let asked = question(&child.seed());
    drop(child);
    let (facts, _) = told(&mut reader(&ProgramsConfig::default()), &asked);
    assert_eq!(facts.sha256.to_string(), sum);
    // Written to in place, with its size and time of modification as before: the time of change tells.
    settle();
    let before = fs::metadata(&program).unwrap();
    let mut bytes = fs::read(&program).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&program, bytes).unwrap();
    fs::File::open(&program).unwrap().set_modified(before.modified().unwrap()).unwrap();
    let (facts, keep) = told(&mut reader(&ProgramsConfig::default()), &asked);
    assert!(facts.is_empty() && !keep, "{facts:?}");
}

#[test]
fn what_has_no_hash_says_so_once_and_for_all_or_for_now() {
    let (_guard, dir) = directory();
    let program = copy_of("/bin/sleep", &dir, "large").unwrap();
    let child = Sleeper::start(Command::new(&program).arg("600"), &program);
    let asked = question(&child.seed());
    let small = ProgramsConfig { max_file_bytes: 100, ..ProgramsConfig::default() };
    let (facts, keep) = told(&mut reader(&small), &asked);
    assert!(facts.is_empty() && keep, "too large: it stays so");
    let Some(Fact::Program { facts, keep, .. }) = Programs::refusal(&asked) else { panic!() };
    assert!(facts.is_empty() && !keep);
    let off = ProgramsConfig { hash: false, ..ProgramsConfig::default() };
    assert!(!off.wants_files() && told(&mut reader(&off), &asked).0.is_empty());
    assert_eq!(ProgramsConfig { max_file_bytes: 0, ..ProgramsConfig::default() }.validate().len(), 1);
    // Of another process, which has that pid by now.
    let mut other = asked;
    if let Lookup::Program { start_boot_ns, key, .. } = &mut other {
        (*start_boot_ns, key.path) = (*start_boot_ns + 1_000_000_000, Text::from("/nowhere"));
    }
    assert!(told(&mut reader(&ProgramsConfig::default()), &other).0.is_empty());
}

#[test]
fn a_program_of_a_package_and_one_of_nobody() {
    let name = "programs::a_program_of_a_package_and_one_of_nobody";
    let dpkg = |args: &[&str]| Command::new("dpkg-query").args(args).output().ok();
    let sleep = fs::canonicalize("/bin/sleep").unwrap();
    let owner = dpkg(&["-S", "/bin/sleep"]).filter(|output| output.status.success());
    let Some(owner) = owner else { return skip("dpkg", name, "dpkg does not own /bin/sleep here") };
    let owner = String::from_utf8(owner.stdout).unwrap();
    let package = owner.split(':').next().unwrap();
    let version = dpkg(&["-W", "-f=${Version} ${Architecture}", package]).unwrap();
    let version = String::from_utf8(version.stdout).unwrap();

    let config = ProgramsConfig { hash: false, packages: true, ..ProgramsConfig::default() };
    let mut programs = reader(&config);
    let child = Sleeper::start(Command::new(&sleep).arg("600"), &sleep);
    let (facts, keep) = told(&mut programs, &question(&child.seed()));
    let found = facts.package.unwrap();
    assert_eq!((found.name.to_string().as_str(), facts.packaged, keep), (package, Some(true), true));
    assert_eq!(format!("{} {}", found.version, found.architecture), version);

    let (_guard, dir) = directory();
    let copy = copy_of("/bin/sleep", &dir, "nobodys").unwrap();
    let child = Sleeper::start(Command::new(&copy).arg("600"), &copy);
    let asked = question(&child.seed());
    let (facts, keep) = told(&mut programs, &asked);
    assert_eq!(
        (facts.packaged, facts.package, keep),
        (Some(false), None, false),
        "a package may be about to tell"
    );
    // In a container its path is none of this host.
    let mut inside = asked;
    if let Lookup::Program { on_host, .. } = &mut inside {
        *on_host = false;
    }
    assert_eq!(told(&mut programs, &inside).0.packaged, None);
    // And where another file has the path by now, the lists do not speak of this one.
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o700)).unwrap();
    let mut changed = inside;
    if let Lookup::Program { on_host, .. } = &mut changed {
        *on_host = true;
    }
    assert_eq!(told(&mut programs, &changed).0.packaged, None);
}

#[test]
fn names_are_those_of_the_root_that_a_process_has_and_never_the_hosts() {
    let name = "programs::names_are_those_of_the_root_that_a_process_has_and_never_the_hosts";
    let Some(busybox) =
        ["/bin/busybox", "/usr/bin/busybox"].into_iter().find(|path| Path::new(path).exists())
    else {
        return skip("busybox", name, "there is no busybox");
    };
    if !rustix::process::geteuid().is_root() {
        return skip("root", name, "chroot(2) is root's");
    }
    let (_guard, dir) = directory();
    fs::create_dir_all(dir.join("etc")).unwrap();
    let program = copy_of(busybox, &dir, "sleep").unwrap();
    fs::write(dir.join("etc/passwd"), "inner:x:0:0::/:/bin/sh\nweb:x:33:33::/:\n").unwrap();
    fs::write(dir.join("etc/group"), "pages:x:33:\n").unwrap();
    let mut programs = reader(&ProgramsConfig::default());
    let mut names = |child: &Sleeper| {
        let seed = child.seed();
        let lookup =
            Lookup::Names { container: "c".into(), pid: seed.pid, start_boot_ns: seed.start_boot_ns };
        match programs.answer(&lookup) {
            Some(Fact::Names { names, container }) if container == Text::from("c") => names,
            other => panic!("{other:?}"),
        }
    };
    let inside = Sleeper::start(Command::new("chroot").arg(&dir).args(["/sleep", "600"]), &program);
    let table = names(&inside).unwrap();
    let told = |id| table.users.get(&id).map(ToString::to_string);
    assert_eq!((told(0).as_deref(), told(33).as_deref()), (Some("inner"), Some("web")));
    assert_eq!(table.groups.get(&33), Some(&Text::from("pages")));

    // The runtime's program, before it has the container's root.
    let outside = Sleeper::start(Command::new(&program).arg("600"), &program);
    assert_eq!(names(&outside), None);

    // In a user namespace, user 0 is who the host knows by another number, and the others are nobody.
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "chroot"]).arg(&dir).args(["/sleep", "600"]);
    // Not this user, so that both numbers differ.
    use std::os::unix::process::CommandExt;
    for path in [&dir, &program] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    command.uid(12_345).gid(12_346).current_dir("/");
    let mapped = Sleeper::start(&mut command, &program);
    let table = names(&mapped).unwrap();
    let users: Vec<(u32, String)> = table.users.iter().map(|(id, name)| (*id, name.to_string())).collect();
    assert_eq!(users, [(12_345, "inner".to_owned())]);
    assert!(table.groups.is_empty(), "33 is mapped to nobody: {table:?}");
}
