//! Events made by hand.

use hostward_event::event::{Body, Surroundings};
use hostward_event::process::Process;
use hostward_event::raw::{
    Args, Endpoint, FileType, Inode, OpenCall, RawCloseWrite, RawConnect, RawOpen, Rung, Source,
};
use hostward_event::workload::{Container, Workload};
use hostward_event::{Event, EventId, Text};
use hostward_policy::{Loaded, RuleFile, RuleSet};
use std::net::SocketAddr;
use std::sync::Arc;

pub(crate) const O_WRONLY: u64 = 1;
pub(crate) const O_RDWR: u64 = 2;
pub(crate) const O_CREAT: u64 = 0o100;
pub(crate) const O_TRUNC: u64 = 0o1000;

/// A process that runs `path` with these arguments, argv[0] being the file's name.
pub(crate) fn process(path: &str, args: &str) -> Process {
    let name = path.rsplit('/').next().unwrap();
    let mut raw = name.as_bytes().to_vec();
    for arg in args.split(' ').filter(|arg| !arg.is_empty()) {
        raw.push(0);
        raw.extend_from_slice(arg.as_bytes());
    }
    raw.push(0);
    Process {
        pid: 100,
        ppid: 99,
        start_boot_ns: 1_000_000_000,
        comm: Text::copy(&name.as_bytes()[..name.len().min(15)]),
        path: Text::from(path),
        filename: Text::from(path),
        args: Args { total_bytes: u32::try_from(raw.len()).unwrap(), raw: Text::from(raw) },
        cwd: Text::from("/"),
        exe: Inode { ino: 7, nlink: 1, mode: 0o100_755, ..Inode::default() },
        stdin: FileType::CharDevice,
        stdout: FileType::CharDevice,
        loginuid: u32::MAX,
        vpid: 100,
        ..Process::default()
    }
}

/// A process in a container.
pub(crate) fn contained(mut process: Process) -> Process {
    let container = Container { id: Text::from("0123456789abcdef0123456789abcdef"), ..Container::default() };
    process.workload = Arc::new(Workload { container: Some(container), ..Workload::default() });
    process
}

/// An event of `process`, whose ancestors are named by their paths, the parent first.
pub(crate) fn event(actor: Process, ancestors: &[&str], body: Body) -> Event {
    let mut around = Surroundings::default();
    around.users.users.insert(0, Text::from("root"));
    around.host.hostname = "box".to_owned();
    Event {
        id: EventId::default(),
        sequence: 5,
        time_ns: 1_700_000_000_000_000_000,
        created_ns: 1_700_000_000_000_100_000,
        source: Some(Source {
            rung: Rung::BtfTracepoint,
            cpu: 1,
            stream: 0,
            seq: 4,
            boot_ns: 9_000_000_000,
            received_boot_ns: 9_000_100_000,
        }),
        tid: actor.pid,
        process: Some(Arc::new(actor)),
        lineage: ancestors.iter().map(|path| Arc::new(process(path, ""))).collect(),
        session_leader: None,
        around: Arc::new(around),
        body,
        program: None,
        inside: None,
        domain: None,
        partial: false,
        alert: None,
    }
}

pub(crate) fn exec(process: Process, ancestors: &[&str]) -> Event {
    event(process, ancestors, Body::Exec { killed: false })
}

/// An open of a regular file whose text and resolved path are the same.
pub(crate) fn open(path: &str, flags: u64) -> RawOpen {
    RawOpen {
        call: OpenCall::Openat,
        flags,
        mode: 0,
        result: 3,
        dirfd: -100,
        arg: Text::from(path),
        base: Text::EMPTY,
        path: Text::from(path),
        inode: Inode { ino: 42, mode: 0o100_644, nlink: 1, ..Inode::default() },
        created: false,
        shared_memory: false,
    }
}

pub(crate) fn opens(process: Process, ancestors: &[&str], open: RawOpen) -> Event {
    event(process, ancestors, Body::Open(Box::new(open)))
}

/// The close of a regular file.
pub(crate) fn closes(process: Process, path: &str, created: bool) -> Event {
    let inode = Inode { ino: 42, mode: 0o100_644, nlink: 1, ..Inode::default() };
    let close =
        RawCloseWrite { fd: 3, flags: O_WRONLY, path: Text::from(path), inode, size_bytes: 9, created };
    event(process, &[], Body::CloseWrite(Box::new(close)))
}

pub(crate) fn connects(process: Process, ancestors: &[&str], remote: &str) -> Event {
    let remote: SocketAddr = remote.parse().unwrap();
    let local = if remote.is_ipv4() { "10.0.0.5:40000" } else { "[fd00::5]:40000" };
    let connect = RawConnect {
        fd: 5,
        result: 0,
        family: if remote.is_ipv4() { 2 } else { 10 },
        sock_type: 1,
        protocol: 6,
        remote: Some(Endpoint::Ip(remote)),
        local: Some(Endpoint::Ip(local.parse().unwrap())),
        server: false,
    };
    event(process, ancestors, Body::Connect(Box::new(connect)))
}

pub(crate) fn file(text: &str) -> RuleFile {
    RuleFile { name: "rules.yaml".to_owned(), text: text.as_bytes().to_vec() }
}

pub(crate) fn load(text: &str) -> Loaded {
    hostward_policy::load(&[file(text)])
}

/// Problems as an operator reads them.
pub(crate) fn problems(text: &str) -> Vec<String> {
    load(text).problems.iter().map(ToString::to_string).collect()
}

/// Names of the rules that match.
pub(crate) fn matching(rules: &RuleSet, event: &Event) -> Vec<String> {
    let mut out = Vec::new();
    rules.matches(event, &mut out);
    out.iter().map(|rule| rule.info.name.to_string()).collect()
}

/// A rule with this condition, and the fields that every rule needs.
pub(crate) fn rule(name: &str, condition: &str) -> String {
    format!("- rule: {name}\n  desc: d\n  condition: {condition}\n  output: o\n  priority: NOTICE\n")
}

/// The files of a folder below the repository's root, in order.
#[expect(
    clippy::disallowed_methods,
    reason = "the crate is pure, its tests read the files that they are about"
)]
pub(crate) fn shipped(folder: &str) -> Vec<RuleFile> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(folder);
    let mut paths: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
        .iter()
        .map(|path| RuleFile {
            name: path.file_name().unwrap().to_string_lossy().into_owned(),
            text: std::fs::read(path).unwrap(),
        })
        .collect()
}
