//! The reduced sensor, where the kernel lets no program read its memory. Only such a kernel can tell: the machine's owner
//! says by `HOSTWARD_LEAN` that this one is to be.
use crate::common::{Watch, can_observe, named};
use hostward_event::EventKind;
use hostward_event::plan::OpenClass;
use hostward_event::raw::{Endpoint, RawBody, Rung};
use hostward_sensor::ProbeStatus;
use std::fs;
use std::net::{Ipv6Addr, TcpListener, TcpStream};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;

fn is_lean(test: &str) -> bool {
    if std::env::var_os("HOSTWARD_LEAN").is_none() {
        println!("skipped {test}: HOSTWARD_LEAN does not say that this kernel is locked down");
        return false;
    }
    let modes = fs::read_to_string("/sys/kernel/security/lockdown").unwrap();
    assert!(modes.contains("[confidentiality]"), "{modes}");
    can_observe(test)
}

#[test]
fn processes_are_told() {
    if !is_lean("processes_are_told") {
        return;
    }
    let watch = Watch::new(&named(&[("lean-wanted", OpenClass::ALL)]));
    assert!(watch.sensor.notes().iter().any(|note| note.starts_with("reduced sensor")));
    let directory = tempfile::tempdir().unwrap();
    let link = directory.path().join("link");
    std::os::unix::fs::symlink("/bin/sleep", &link).unwrap();
    let mut child =
        Command::new(&link).arg("1").env("LEAN", "1").current_dir(directory.path()).spawn().unwrap();
    let (event, exec) = watch.exec(child.id());
    let own = std::process::id();
    assert_eq!((event.task.ppid, event.task.euid), (own, 0));
    assert_eq!(event.task.comm.as_bytes(), b"link");
    assert!(event.task.start_boot_ns > 0);
    assert!(exec.filename.is_empty() && exec.environment.is_empty(), "not known");
    let program = fs::canonicalize("/bin/sleep").unwrap();
    assert_eq!(exec.path.as_bytes(), program.as_os_str().as_bytes(), "the kernel's path, without the link");
    let mut arguments = link.as_os_str().as_bytes().to_vec();
    arguments.extend_from_slice(b"\x001\0");
    assert_eq!(exec.args.raw.as_bytes(), arguments);
    assert_eq!(exec.cwd.as_bytes(), directory.path().as_os_str().as_bytes());
    let file = fs::metadata(&program).unwrap();
    use std::os::unix::fs::MetadataExt;
    assert_eq!((exec.exe.ino, exec.exe.mode, exec.exe.uid), (file.ino(), file.mode(), 0));
    assert_eq!((exec.creds.uid, exec.creds.euid), (0, 0));
    assert_ne!(exec.creds.cap_effective, 0);
    assert_eq!(exec.vpid, child.id(), "outermost namespace");
    assert_eq!((exec.layer, exec.memfd, exec.script, exec.killed), (None, false, false, false));
    assert!(exec.ns.pid != 0 && exec.ns.mnt != 0 && exec.ns.user != 0);
    child.kill().unwrap();
    assert_eq!(child.wait().unwrap().signal(), Some(9));
    let fork =
        watch.event("fork", |seen| seen.task.pid == child.id() && matches!(seen.body, RawBody::Fork { .. }));
    assert_eq!(fork.task.ppid, own);
    let RawBody::Exit { status, .. } = watch.exited(child.id()).body else { panic!("no exit") };
    assert_eq!(status, 9);

    // In a pid namespace of its own a process has a number that nobody knows here.
    let mut child = Command::new("unshare").args(["--pid", "--fork", "--", "/bin/true"]).spawn().unwrap();
    let unshare = child.id();
    assert!(child.wait().unwrap().success());
    let inner = watch.event("the namespace's first process", |event| {
        event.task.ppid == unshare && matches!(event.body, RawBody::Exec(_))
    });
    let RawBody::Exec(exec) = inner.body else { panic!("{inner:?}") };
    assert_eq!((exec.vpid, exec.ns.pid), (0, 0), "not known, not made up");
}

#[test]
fn a_script_is_told_with_its_interpreter() {
    if !is_lean("a_script_is_told_with_its_interpreter") {
        return;
    }
    let watch = Watch::new(&named(&[]));
    let directory = tempfile::tempdir().unwrap();
    let script = directory.path().join("do-it");
    crate::common::script(&script, "#!/bin/sh\nsleep 1\nexit 3\n");
    let mut child = Command::new(&script).spawn().unwrap();
    let (_, exec) = watch.exec(child.id());
    assert_eq!(child.wait().unwrap().code(), Some(3));
    assert!(exec.script);
    assert_eq!(exec.path.as_bytes(), fs::canonicalize("/bin/sh").unwrap().as_os_str().as_bytes());
    let RawBody::Exit { status, .. } = watch.exited(child.id()).body else { panic!("no exit") };
    assert_eq!(status, 3 << 8);
}

#[test]
fn opens_are_told_with_the_kernels_path() {
    if !is_lean("opens_are_told_with_the_kernels_path") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let all = OpenClass(OpenClass::ALL.0);
    let watch = Watch::new(&named(&[("lean-wanted", all)]));
    let (wanted, other) = (directory.path().join("lean-wanted"), directory.path().join("other"));
    fs::write(&wanted, "x").unwrap();
    fs::write(&other, "x").unwrap();
    let link = directory.path().join("link");
    std::os::unix::fs::symlink(&wanted, &link).unwrap();
    let script = format!(
        "exec 3<{}; exec 4<{}; exec 5<{}/nowhere/lean-wanted",
        link.display(),
        other.display(),
        directory.path().display()
    );
    let mut child = Command::new("/bin/sh").args(["-c", &script]).spawn().unwrap();
    let pid = child.id();
    child.wait().unwrap();
    watch.exited(pid);
    let opens: Vec<_> = watch
        .so_far(|event| event.task.pid == pid)
        .into_iter()
        .filter_map(|event| match event.body {
            RawBody::Open(open) => Some((event.source.rung, *open)),
            _ => None,
        })
        .collect();
    let [(rung, had)] = &opens[..] else { panic!("{opens:?}") };
    assert_eq!(*rung, Rung::Fentry);
    assert_eq!(had.path.as_bytes(), wanted.as_os_str().as_bytes());
    assert!(had.arg.is_empty() && had.result >= 0 && had.inode.ino != 0 && !had.created);
}

#[test]
fn connects_and_their_ends_are_told() {
    if !is_lean("connects_and_their_ends_are_told") {
        return;
    }
    let watch = Watch::new(&named(&[("lean-wanted", OpenClass::ALL)]));
    for address in ["127.0.0.1:0", "[::1]:0"] {
        let listener = TcpListener::bind(address).unwrap();
        let there = listener.local_addr().unwrap();
        // The agent's own connects are not told, so a child makes it.
        let host = if there.is_ipv4() { "127.0.0.1".to_owned() } else { Ipv6Addr::LOCALHOST.to_string() };
        let script = format!("exec 3<>/dev/tcp/{host}/{}; printf hello >&3; read x <&3", there.port());
        let mut child = Command::new("/bin/bash").args(["-c", &script]).spawn().unwrap();
        let (mut stream, _): (TcpStream, _) = listener.accept().unwrap();
        let mut greeting = [0; 5];
        std::io::Read::read_exact(&mut stream, &mut greeting).unwrap();
        std::io::Write::write_all(&mut stream, b"bye\n").unwrap();
        child.wait().unwrap();
        drop(stream);
        let pid = child.id();
        let connect = watch.event("connect", |event| {
            event.task.pid == pid
                && matches!(&event.body, RawBody::Connect(connect) if connect.remote == Some(Endpoint::Ip(there)))
        });
        let RawBody::Connect(connect) = connect.body else { panic!("{connect:?}") };
        assert_eq!((connect.result, connect.local), (0, None));
        let end = watch.event("the connection's end", |event| {
            matches!(&event.body, RawBody::ConnectionEnd(end)
                if event.task.pid == pid && end.socket.remote == Some(Endpoint::Ip(there)))
        });
        let RawBody::ConnectionEnd(end) = end.body else { panic!("{end:?}") };
        assert_eq!((end.sent_bytes, end.received_bytes), (Some(5), Some(4)));
    }
}

#[test]
fn a_program_is_killed_at_its_exec() {
    if !is_lean("a_program_is_killed_at_its_exec") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let (bad, good) = (directory.path().join("bad"), directory.path().join("good"));
    crate::common::copy("/bin/true", &bad);
    crate::common::copy("/bin/true", &good);
    let mut plan = named(&[]);
    plan.kill_paths.insert(bad.to_str().unwrap().into());
    let watch = Watch::new(&plan);
    let status = Command::new(&bad).status().unwrap();
    assert_eq!(status.signal(), Some(9));
    assert!(Command::new(&good).status().unwrap().success());
    let killed = watch.event("the kill", |event| matches!(&event.body, RawBody::Exec(exec) if exec.killed));
    let RawBody::Exec(exec) = killed.body else { panic!("{killed:?}") };
    assert_eq!(exec.path.as_bytes(), bad.as_os_str().as_bytes());
}

#[test]
fn nothing_is_lost_and_the_rest_says_why_it_is_not_there() {
    if !is_lean("nothing_is_lost_and_the_rest_says_why_it_is_not_there") {
        return;
    }
    let watch = Watch::new(&named(&[("lean-wanted", OpenClass::ALL)]));
    for _ in 0..50 {
        assert!(Command::new("/bin/true").status().unwrap().success());
    }
    let ladder = watch.sensor.ladder();
    let attached = ladder.iter().filter(|probe| probe.attached()).count();
    assert_eq!(attached, 8, "{ladder:?}");
    let refused = ladder.iter().filter(|probe| probe.status == ProbeStatus::Refused);
    assert!(refused.clone().count() > 50 && refused.clone().all(|probe| probe.why.contains("lockdown")));
    assert!(!watch.sensor.observed().contains(EventKind::Cgroup));
    for (name, count) in watch.sensor.verified_instructions() {
        println!("{name} {count}");
        assert!(count < 100_000, "{name}: {count}");
    }
    let (_, gaps, _) = watch.finish();
    assert_eq!(gaps, []);
}
