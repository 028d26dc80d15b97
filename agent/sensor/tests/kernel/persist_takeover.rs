//! Other settings mean other programs, which come before the old ones go: each event is told once, with all that is known.
use crate::common::{self, argument, can_observe};
use crate::persist::{Agent, Bpffs, Raise, raw};
use crate::persist_calls::{PLANNED, Place, call, line_of, plan_of, roomy, told, whole};
use hostward_event::EventKind;
use hostward_event::fact::Input;
use hostward_event::raw::{Endpoint, RawBody, RawConnectionEnd};
use hostward_sensor::Config;
use std::io::Write;
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use std::{fs, io};

use EventKind::{ConnectionEnd, Open, Ptrace};

/// What children of these tests do.
pub(crate) fn child(task: &str) {
    match task {
        "persist_repeats" => repeats(&argument(0), &argument(1)),
        "persist_holds" => holds(argument(0).to_str().unwrap().parse().unwrap()),
        _ => {}
    }
}

/// Rings of other sizes, other blocks.
#[test]
fn other_settings_take_calls_and_sockets_over_and_tell_each_once() {
    if !can_observe("other_settings_take_calls_and_sockets_over_and_tell_each_once") {
        return;
    }
    let (bpffs, place) = (Bpffs::new(), Place::new());
    let plan = place.plan();
    drop(Agent::new(&roomy(&bpffs), &plan));
    let set = bpffs.set();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let load = scope.spawn(|| {
            let mut pids = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                pids.extend(place.many(1));
            }
            pids
        });
        // Also when the test fails, or the load would go on for ever.
        let ends = Raise(&stop);
        std::thread::sleep(Duration::from_millis(200));
        let ignore = hostward_sensor::Ignore { comm: vec!["hw-nobody".into()], ..Default::default() };
        let other = Config { bulk_ring_bytes: Some(1 << 23), ignore: vec![ignore], ..roomy(&bpffs) };
        let mut second = Agent::new(&other, &plan);
        drop(ends);
        let pids = load.join().unwrap();
        assert_ne!(bpffs.set(), set, "the old set is gone, a new one is there");
        let inherited = std::mem::take(&mut second.inherited);
        assert!(inherited.killed && !inherited.goes_on && inherited.troubles.is_empty(), "{inherited:?}");
        println!("{} processes, {} events told by the old programs", pids.len(), inherited.inputs.len());
        let mut all = inherited.inputs;
        // The end of a connection may come after that of the process, in an interrupt.
        second.until("the ends of the last", |agent| {
            all.append(&mut agent.seen);
            let told = told(&all, *pids.last().unwrap());
            (told.contains_key(&EventKind::Exit) && told.contains_key(&ConnectionEnd)).then_some(())
        });
        all.extend(second.stop());
        let gaps: Vec<_> = all.iter().filter(|input| matches!(input, Input::Gap(_))).collect();
        assert!(gaps.is_empty(), "{gaps:?}");
        whole(&pids, &all, &PLANNED);
    });
}

/// Opens and calls again and again, all alike, until there is a file `stop`; then says how often.
fn repeats(file: &Path, stop: &Path) {
    println!("\nbegun");
    let mut times = 0;
    while !stop.exists() {
        fs::read(file).unwrap();
        assert_eq!(call(libc::SYS_ptrace, [0x4206, 0x7fff_fff0, 0, 0]), -1);
        times += 1;
        std::thread::sleep(Duration::from_millis(1));
    }
    println!("times {times}");
    panic!("{}", Command::new("/bin/true").exec());
}

/// What a thread does for ever is alike, and only the time says which of it both programs told.
#[test]
fn what_is_done_again_and_again_is_told_as_often_while_programs_are_taken_over() {
    let test = "what_is_done_again_and_again_is_told_as_often_while_programs_are_taken_over";
    if !can_observe(test) {
        return;
    }
    let (bpffs, place) = (Bpffs::new(), Place::new());
    let plan = plan_of(&[Open, Ptrace], place.port);
    let stop = place.dir.path().join("stop");
    drop(Agent::new(&roomy(&bpffs), &plan));
    let mut child = common::child("persist_repeats", &[&place.file(), &stop]);
    line_of(&mut child, "begun");
    let other = Config { network_ring_bytes: Some(1 << 24), ..roomy(&bpffs) };
    let mut second = Agent::new(&other, &plan);
    let inherited = std::mem::take(&mut second.inherited);
    assert!(!inherited.goes_on && inherited.troubles.is_empty(), "{inherited:?}");
    fs::write(&stop, "").unwrap();
    let times: usize = line_of(&mut child, "times ").parse().unwrap();
    let pid = child.id();
    assert!(child.wait().unwrap().success());
    second.exit_of(pid);
    let by_old = told(&inherited.inputs, pid);
    let mut all = inherited.inputs;
    all.extend(second.stop());
    println!("{times} times, by the old programs {by_old:?}");
    let of = |kind| told(&all, pid).get(&kind).copied().unwrap_or_default();
    assert_eq!((of(Open), of(Ptrace)), (times, times), "opens and calls of {times} rounds");
    assert!((1..times).contains(&by_old[&Ptrace]), "both programs were there: {by_old:?}");
}

/// Connects to this port, shuts its half down, and closes once it is told to.
fn holds(port: u16) {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    println!("\nheld");
    io::stdin().read_line(&mut String::new()).unwrap();
    drop(stream);
}

/// Whose a connection is and since when is known of its beginning alone.
#[test]
fn of_a_connection_that_stood_before_programs_are_taken_over_all_is_known() {
    if !can_observe("of_a_connection_that_stood_before_programs_are_taken_over_all_is_known") {
        return;
    }
    let (bpffs, server) = (Bpffs::new(), TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap());
    let address = server.local_addr().unwrap();
    let plan = plan_of(&[ConnectionEnd], address.port());
    drop(Agent::new(&roomy(&bpffs), &plan));
    let mut child = common::child("persist_holds", &[Path::new(&address.port().to_string())]);
    line_of(&mut child, "held");
    let began = Instant::now();
    let other = Config { network_ring_bytes: Some(1 << 24), ..roomy(&bpffs) };
    let mut second = Agent::new(&other, &plan);
    assert!(!second.inherited.goes_on && second.inherited.troubles.is_empty(), "{:?}", second.inherited);
    let held = began.elapsed();
    child.stdin.take().unwrap().write_all(b"\n").unwrap();
    let pid = child.id();
    assert!(child.wait().unwrap().success());
    let end = second.until("the end of the connection", |agent| {
        let mut ends = raw(&agent.seen).filter_map(|event| match &event.body {
            RawBody::ConnectionEnd(end) if end.socket.remote == Some(Endpoint::Ip(address)) => {
                Some((event.task.pid, RawConnectionEnd::clone(end)))
            }
            _ => None,
        });
        ends.next()
    });
    assert!(end.0 == pid && end.1.owned && !end.1.socket.server, "{end:?}");
    assert!(end.1.duration_ns.is_some_and(|lived| u128::from(lived) >= held.as_nanos()), "{held:?} {end:?}");
}
