//! DNS, signals, written files and io_uring while no agent runs: each is told once by the next, with its facts.
use crate::common::{self, argument, can_observe};
use crate::datagrams::{ask, serve, server_address};
use crate::persist::{Agent, Bpffs, accounted, raw};
use crate::persist_calls::{ordered, roomy, told};
use crate::uring::{CWD, submit};
use hostward_event::fact::Input;
use hostward_event::plan::{CallPlan, KernelPlan, OpenClass, OpenPlan};
use hostward_event::raw::{Endpoint, RawBody, RawEvent, Rung, SignalFate};
use hostward_event::{EventKind, KindSet, Text};
use io_uring::{IoUring, opcode};
use std::collections::BTreeMap;
use std::ffi::CString;
use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use EventKind::{CloseWrite, DnsAnswer, DnsQuestion, Exec, Exit, Fork, Mkdirat, Open, Signal};

const WATCHED: &str = "hw-persist-kinds";
const KINDS: [EventKind; 6] = [CloseWrite, DnsAnswer, DnsQuestion, Mkdirat, Open, Signal];

fn plan() -> KernelPlan {
    let classes = OpenClass::READ.union(OpenClass::CALL).union(OpenClass::CLOSE);
    KernelPlan {
        kinds: KindSet::of(&KINDS),
        opens: OpenPlan { all: OpenClass::NONE, names: [(WATCHED.into(), classes)].into() },
        calls: [(Mkdirat, CallPlan { named: true, ..CallPlan::default() })].into(),
        ..KernelPlan::default()
    }
}

pub(crate) fn child(task: &str) {
    if task == "persist_kinds" {
        deeds(&argument(0), argument(1).to_str().unwrap().parse().unwrap());
    }
}

/// What process `pid` leaves in the folder: a written file and a directory.
fn made(place: &Path, pid: u32) -> [PathBuf; 2] {
    ["written", "directory"].map(|name| place.join(format!("{name}-{pid}")))
}

fn deeds(place: &Path, server: SocketAddr) {
    let [written, directory] = made(place, std::process::id());
    fs::write(&written, "12345").unwrap();
    ask(server);
    let mut target = Command::new("/bin/sleep").arg("1000").spawn().unwrap();
    // It goes on with us before it has the name of its program.
    while fs::read_to_string(format!("/proc/{}/comm", target.id())).unwrap() != "sleep\n" {
        std::thread::yield_now();
    }
    target.kill().unwrap();
    target.wait().unwrap();
    // The harness has begun a line.
    println!("\ntarget {}", target.id());
    let [written, directory] =
        [written, directory].map(|path| CString::new(path.as_os_str().as_bytes()).unwrap());
    let mut ring = IoUring::new(2).unwrap();
    submit(&mut ring, opcode::OpenAt::new(CWD, written.as_ptr()).build(), true);
    submit(&mut ring, opcode::MkDirAt::new(CWD, directory.as_ptr()).mode(0o700).build(), true);
    // Another program, so that the end of the process is that of one thread.
    panic!("{}", Command::new("/bin/true").exec());
}

/// A process that did it all, and whom it killed.
struct Done {
    pid: u32,
    target: u32,
}

fn text(path: &Path) -> Text {
    Text::copy(path.as_os_str().as_bytes())
}

/// All that the process did is told once, as it was.
fn whole(done: &Done, inputs: &[Input], place: &Path, server: SocketAddr) {
    let Done { pid, target } = *done;
    let once = KINDS.iter().chain(&[Fork, Exit]).map(|kind| (*kind, 1));
    // At its end it is another program.
    let expected: BTreeMap<_, _> = once.chain([(Exec, 2)]).collect();
    assert_eq!(told(inputs, pid), expected, "process {pid}");
    let [written, directory] = made(place, pid);
    for event in raw(inputs).filter(|event| event.task.pid == pid) {
        match &event.body {
            RawBody::CloseWrite(close) => {
                let file = fs::metadata(&written).unwrap();
                assert_eq!((&close.path, close.inode.ino), (&text(&written), file.ino()));
                assert_eq!((close.size_bytes, close.created), (5, true));
            }
            RawBody::Dns(dns) => {
                assert!(dns.owned && dns.complete, "{dns:?}");
                assert_eq!(dns.socket.remote, Some(Endpoint::Ip(server)));
                let message = dns.message.as_ref().unwrap();
                assert_eq!(message.question.as_ref().unwrap().name, Text::from("www.hostward.test"));
                assert_eq!(message.answers.len(), if dns.answer { 2 } else { 0 });
            }
            RawBody::Signal(signal) => {
                assert_eq!((signal.number, signal.fate), (9, SignalFate::Delivered));
                assert_eq!((signal.target_pid, signal.target_comm.as_bytes()), (target, &b"sleep"[..]));
                let is_fork = |event: &&RawEvent| event.task.pid == target && event.kind() == Fork;
                let start = raw(inputs).find(is_fork).unwrap().task.start_boot_ns;
                assert_eq!(signal.target_start_boot_ns, start);
            }
            RawBody::Open(open) => {
                assert_eq!((event.source.rung, &open.path), (Rung::IoUring, &text(&written)));
                assert!(open.result >= 0, "{open:?}");
            }
            RawBody::Call(call) => {
                assert_eq!((event.source.rung, &call.texts[0]), (Rung::IoUring, &text(&directory)));
                assert_eq!(call.result, 0, "{call:?}");
            }
            _ => {}
        }
    }
}

#[test]
fn dns_signals_written_files_and_io_uring_are_told_that_nobody_read() {
    let test = "dns_signals_written_files_and_io_uring_are_told_that_nobody_read";
    if !can_observe(test) {
        return;
    }
    if let Err(why) = IoUring::new(2) {
        println!("skipped {test}: this kernel has no io_uring for us: {why}");
        return;
    }
    let (bpffs, dir) = (Bpffs::new(), tempfile::tempdir().unwrap());
    let place = dir.path().join(WATCHED);
    fs::create_dir(&place).unwrap();
    // That of other tests is beside it.
    let socket = UdpSocket::bind(server_address().replace(".53.", ".55.")).unwrap();
    let server = socket.local_addr().unwrap();
    let many = |count: usize| -> Vec<Done> {
        let one = || {
            let child = common::child("persist_kinds", &[&place, Path::new(&server.to_string())]);
            let (pid, said) = common::run(child);
            let target = said.lines().find_map(|line| line.strip_prefix("target ")).unwrap();
            Done { pid, target: target.parse().unwrap() }
        };
        (0..count).map(|_| one()).collect()
    };
    let answers = serve(socket, 8);

    drop(Agent::new(&roomy(&bpffs), &plan()));
    let killed = many(5);
    let mut second = Agent::new(&roomy(&bpffs), &plan());
    assert!(second.inherited.goes_on && second.inherited.killed && second.inherited.inputs.is_empty());
    let ladder = second.sensor.ladder();
    let hooks: Vec<_> = ladder.iter().filter(|probe| probe.program.starts_with("uring")).collect();
    if let Some(refused) = hooks.iter().find(|hook| !hook.attached()) {
        assert!(refused.why.contains("requests of io_uring do not tell"), "{refused:?}");
        println!("skipped {test}: {}", refused.why);
        return;
    }
    let drained = second.drained();
    assert!(drained.events >= 5 * (4 + 6), "{drained:?}");
    killed.iter().for_each(|done| whole(done, &second.seen, &place, server));
    ordered(&killed.iter().map(|done| done.pid).collect::<Vec<_>>(), &second.seen);
    let mut all = second.stop();

    let stopped = many(3);
    let mut third = Agent::new(&roomy(&bpffs), &plan());
    assert!(third.inherited.goes_on && !third.inherited.killed);
    assert_eq!(third.drained().lost, 0);
    all.extend(third.stop());
    killed.iter().chain(&stopped).for_each(|done| whole(done, &all, &place, server));
    assert_eq!(accounted(&all), drained.lost);
    answers.join().unwrap();
}
