//! Ends of connections and uncommon sockets: real traffic on loopback.
use crate::common::{Watch, can_observe};
use hostward_event::plan::KernelPlan;
use hostward_event::raw::{Endpoint, RawBody, RawConnectionEnd, RawEvent, Rung};
use hostward_event::{EventKind, KindSet, Text};
use hostward_sensor::ProbeStatus;
use rustix::net::{AddressFamily, Protocol, SocketType, ipproto};
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::num::NonZeroU32;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr as UnixAddr, UnixListener};
use std::process::{Command, Stdio};

/// Connections of a child that holds them until its input ends.
const HELD: usize = 200;

/// Runs a child to its end: the sensor leaves its own process out.
fn child_with(address: &str, task: &str) -> u32 {
    let (pid, _) = crate::common::run(crate::common::child(task, &[std::path::Path::new(address)]));
    pid
}

fn ends() -> KernelPlan {
    let kinds = [EventKind::ConnectionEnd, EventKind::Exec, EventKind::Exit];
    KernelPlan { kinds: KindSet::of(&kinds), ..KernelPlan::default() }
}

fn end_of(event: &RawEvent) -> Option<&RawConnectionEnd> {
    if let RawBody::ConnectionEnd(end) = &event.body { Some(end) } else { None }
}

fn far(end: &RawConnectionEnd) -> Option<SocketAddr> {
    if let Some(Endpoint::Ip(address)) = end.socket.remote { Some(address) } else { None }
}

fn near(end: &RawConnectionEnd) -> Option<SocketAddr> {
    if let Some(Endpoint::Ip(address)) = end.socket.local { Some(address) } else { None }
}

#[test]
fn a_connection_ends_with_its_bytes() {
    if !can_observe("a_connection_ends_with_its_bytes") {
        return;
    }
    let watch = Watch::new(&ends());
    for host in ["127.0.0.1:0", "[::1]:0"] {
        let listener = match TcpListener::bind(host) {
            Ok(listener) => listener,
            Err(why) => {
                println!("skipped {host} of a_connection_ends_with_its_bytes: {why}");
                continue;
            }
        };
        let address = listener.local_addr().unwrap();
        let mut child = crate::common::child("client", &[std::path::Path::new(&address.to_string())]);
        drop(child.stdin.take());
        let (mut server, _) = listener.accept().unwrap();
        read(&mut server, 100_000);
        server.write_all(b"thanks!").unwrap();
        let (pid, _) = crate::common::run(child);

        let client = watch.event("the client's end", |event| {
            event.task.pid == pid
                && end_of(event).is_some_and(|end| far(end) == Some(address) && !end.socket.server)
        });
        assert_eq!(client.source.rung, Rung::BtfTracepoint);
        let end = end_of(&client).unwrap();
        assert!(end.owned);
        assert_eq!((end.sent_bytes, end.received_bytes), (Some(100_000), Some(7)));
        assert!(end.duration_ns.is_some_and(|ns| ns > 0));
        assert_eq!((end.socket.protocol, end.socket.sock_type), (6, 1));
    }
}

#[test]
fn an_accepted_connection_is_the_servers() {
    if !can_observe("an_accepted_connection_is_the_servers") {
        return;
    }
    let watch = Watch::new(&ends());
    let pid = child_with("127.0.0.1:0", "server");
    let of = |server: bool| {
        watch.event("both sides", |event| {
            event.task.pid == pid && end_of(event).is_some_and(|end| end.owned && end.socket.server == server)
        })
    };
    let (client, server) = (of(false), of(true));
    let (client, server) = (end_of(&client).unwrap(), end_of(&server).unwrap());
    assert_eq!((near(client), far(client)), (far(server), near(server)));
    assert_eq!((client.sent_bytes, client.received_bytes), (Some(11), Some(4)));
    assert_eq!((server.sent_bytes, server.received_bytes), (Some(4), Some(11)));
}

#[test]
fn a_refused_connection_has_no_end() {
    if !can_observe("a_refused_connection_has_no_end") {
        return;
    }
    let watch = Watch::new(&ends());
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let pid = child_with(&closed.to_string(), "refused");
    watch.exited(pid);
    let (events, ..) = watch.finish();
    let told =
        events.iter().filter(|event| end_of(event).is_some_and(|end| far(end) == Some(closed))).count();
    assert_eq!(told, 0, "what never stood does not end");
}

/// Loopback of another network namespace, where the agent has no address.
#[test]
fn connections_of_another_network_namespace_are_told() {
    let name = "connections_of_another_network_namespace_are_told";
    if !can_observe(name) {
        return;
    }
    let kinds = [EventKind::Connect, EventKind::ConnectionEnd, EventKind::Exec, EventKind::Exit];
    let watch = Watch::new(&KernelPlan { kinds: KindSet::of(&kinds), ..KernelPlan::default() });
    let inside = crate::common::command("server", &[std::path::Path::new("127.0.0.1:0")]);
    let mut child = Command::new("unshare");
    child.args(["--net", "sh", "-c", r#"ip link set lo up && exec "$@""#, "sh"]);
    child.arg(inside.get_program()).args(inside.get_args());
    child.envs(inside.get_envs().filter_map(|(key, value)| Some((key, value?))));
    // Each step becomes the next, so that the child is the server.
    child.stdin(Stdio::null()).stdout(Stdio::piped());
    let (pid, _) = crate::common::run(child.spawn().unwrap());
    let of = |server: bool| {
        watch.event("both sides", |event| {
            event.task.pid == pid && end_of(event).is_some_and(|end| end.owned && end.socket.server == server)
        })
    };
    let (client, server) = (of(false), of(true));
    let connect = watch
        .event("the connect", |event| event.task.pid == pid && matches!(&event.body, RawBody::Connect(_)));
    let RawBody::Connect(connect) = connect.body else { unreachable!() };
    let (client, server) = (end_of(&client).unwrap(), end_of(&server).unwrap());
    assert_eq!((near(client), far(client)), (far(server), near(server)));
    assert_eq!((client.sent_bytes, server.sent_bytes), (Some(11), Some(4)));
    assert_eq!(connect.remote, client.socket.remote);
}

#[test]
fn a_connection_that_stood_before_the_agent_is_told_without_its_age() {
    if !can_observe("a_connection_that_stood_before_the_agent_is_told_without_its_age") {
        return;
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut child = crate::common::child("old", &[std::path::Path::new(&address.to_string())]);
    drop(child.stdin.take());
    let (mut server, peer) = listener.accept().unwrap();
    let watch = Watch::new(&ends());
    // The child closes when it has read this, and ends.
    server.write_all(b"go").unwrap();
    let mut rest = Vec::new();
    server.read_to_end(&mut rest).unwrap();
    let event = watch
        .event("the old connection's end", |event| end_of(event).is_some_and(|end| near(end) == Some(peer)));
    let end = end_of(&event).unwrap();
    assert_eq!(end.duration_ns, None);
    // It closed, so it is known for the owner.
    assert_eq!((end.owned, event.task.pid), (true, child.id()));
    assert_eq!((end.sent_bytes, end.received_bytes), (Some(4), Some(2)));
    assert!(child.wait().unwrap().success());

    // One that its far end resets: nobody of here closes it, and the record says that nobody is known.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    drop(watch.finish());
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (server, peer) = listener.accept().unwrap();
    let watch = Watch::new(&ends());
    rustix::net::sockopt::set_socket_linger(&server, Some(std::time::Duration::ZERO)).unwrap();
    drop(server);
    let event = watch.event("the reset connection's end", |event| {
        end_of(event).is_some_and(|end| near(end) == Some(peer))
    });
    let end = end_of(&event).unwrap();
    assert_eq!((end.owned, event.task.pid, end.duration_ns), (false, 0, None));
    drop(client);
}

#[test]
fn a_thousand_connections_at_once_are_told_or_said_to_be_lost() {
    if !can_observe("a_thousand_connections_at_once_are_told_or_said_to_be_lost") {
        return;
    }
    for ring in [None, Some(4096)] {
        let config =
            hostward_sensor::Config { network_ring_bytes: ring, ..hostward_sensor::Config::default() };
        let watch = Watch::with(&config, &ends());
        let pid = child_with("127.0.0.1:0", "thousand");
        watch.exited(pid);
        watch.made(EventKind::ConnectionEnd, 2000);
        let (events, gaps, sensor) = watch.finish();
        let counters = sensor.counters().unwrap();
        let counter = counters.iter().find(|kind| kind.kind == EventKind::ConnectionEnd).unwrap();
        let told = events.iter().filter(|event| end_of(event).is_some()).count() as u64;
        let lost: u64 =
            gaps.iter().filter(|gap| gap.lost == EventKind::ConnectionEnd).map(|gap| gap.count).sum();
        assert_eq!((told, lost), (counter.attempted - counter.dropped, counter.dropped));
        // Both sides of each are the child's.
        assert!(told + lost >= 2000, "{told} told, {lost} lost");
        let own = events.iter().filter(|event| event.task.pid == pid).filter_map(end_of);
        let pairs: BTreeSet<_> = own.map(|end| (near(end), far(end))).collect();
        if ring.is_none() {
            assert_eq!((pairs.len(), lost), (2000, 0));
            // So many that some share a place, of which nothing is to be seen.
            for server in [false, true] {
                let whole = |end: &&RawConnectionEnd| {
                    end.owned && end.socket.server == server && end.duration_ns.is_some_and(|ns| ns > 0)
                };
                let own = events.iter().filter(|event| event.task.pid == pid).filter_map(end_of);
                assert_eq!(own.filter(whole).count(), 1000, "server: {server}");
            }
        }
    }
}

/// The kernel gives new sockets the addresses of those that are gone.
#[test]
fn what_an_unseen_end_left_behind_is_nobody_elses() {
    if !can_observe("what_an_unseen_end_left_behind_is_nobody_elses") {
        return;
    }
    let none = KernelPlan { kinds: KindSet::of(&[EventKind::Exec]), ..KernelPlan::default() };
    let mut watch = Watch::new(&ends());
    let mut unseen = crate::common::child("held", &[std::path::Path::new("127.0.0.1:0")]);
    let mut made = String::new();
    let mut said = BufReader::new(unseen.stdout.take().unwrap());
    // Behind what the test harness says.
    while !made.trim_end().ends_with("made") {
        made.clear();
        assert_ne!(said.read_line(&mut made).unwrap(), 0, "the child ended");
    }
    watch.sensor.apply(&none).unwrap();
    let before = unseen.id();
    drop(unseen.stdin.take());
    said.read_to_string(&mut made).unwrap();
    assert!(unseen.wait().unwrap().success());
    watch.sensor.apply(&ends()).unwrap();

    let pid = child_with("127.0.0.1:0", "held");
    watch.exited(pid);
    watch.made(EventKind::ConnectionEnd, 2 * HELD as u64);
    let (events, ..) = watch.finish();
    let of = |server: bool| {
        let own = events.iter().filter(|event| event.task.pid == pid).filter_map(end_of);
        own.filter(|end| end.owned && end.socket.server == server && end.duration_ns.is_some()).count()
    };
    assert_eq!((of(false), of(true)), (HELD, HELD));
    let wrong = events.iter().filter(|event| event.task.pid == before && end_of(event).is_some()).count();
    assert_eq!(wrong, 0, "ends of another's connections");
}

#[test]
fn nobody_pays_for_hooks_that_nobody_wants() {
    if !can_observe("nobody_pays_for_hooks_that_nobody_wants") {
        return;
    }
    let none = KernelPlan { kinds: KindSet::of(&[EventKind::Exec]), ..KernelPlan::default() };
    let mut watch = Watch::new(&none);
    let status = |watch: &Watch| {
        let ladder = watch.sensor.ladder();
        ladder.iter().find(|probe| probe.hook == "inet_sock_set_state").unwrap().status
    };
    assert_eq!(status(&watch), ProbeStatus::Unwanted);
    watch.sensor.apply(&ends()).unwrap();
    assert_eq!(status(&watch), ProbeStatus::Attached);
    watch.sensor.apply(&none).unwrap();
    assert_eq!(status(&watch), ProbeStatus::Unwanted);
    let pid = child_with("127.0.0.1:0", "server");
    watch.exited(pid);
    let (events, ..) = watch.finish();
    // While the hook was there it may have seen connections of others.
    let own = events.iter().filter(|event| event.task.pid == pid);
    assert_eq!(own.filter_map(end_of).count(), 0);
}

#[test]
fn packet_raw_and_unix_sockets_are_told_as_what_they_are() {
    let name = "packet_raw_and_unix_sockets_are_told_as_what_they_are";
    if !can_observe(name) {
        return;
    }
    let kinds = [EventKind::Socket, EventKind::Bind, EventKind::Exit, EventKind::Connect];
    let watch = Watch::new(&KernelPlan { kinds: KindSet::of(&kinds), ..KernelPlan::default() });
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("sock");
    let pid = child_with(path.to_str().unwrap(), "odd sockets");
    watch.exited(pid);
    let of = |event: RawEvent| if let RawBody::Call(call) = event.body { Some(*call) } else { None };
    let calls: Vec<_> = watch.so_far(|event| event.task.pid == pid).into_iter().filter_map(of).collect();
    let made = |domain: u64, sort: u64, protocol: u64| {
        let mut all = calls.iter().filter(|call| call.kind == EventKind::Socket);
        // The flags of type (CLOEXEC, NONBLOCK) are bits above.
        let found =
            all.find(|call| (call.args[0], call.args[1] & 0xf, call.args[2]) == (domain, sort, protocol));
        let call = found.unwrap_or_else(|| panic!("no socket({domain}, {sort}, {protocol}): {calls:#?}"));
        assert!(call.result >= 0, "{call:?}");
        let socket = call.socket.as_deref().unwrap();
        assert_eq!((u64::from(socket.family), u64::from(socket.sock_type)), (domain, sort));
    };
    // AF_PACKET takes all protocols' frames: ETH_P_ALL in network byte order.
    made(17, 3, u64::from(3_u16.to_be()));
    made(2, 3, 1);
    made(1, 1, 0);
    let bound: Vec<_> = calls
        .iter()
        .filter(|call| call.kind == EventKind::Bind)
        .filter_map(|call| call.socket.as_deref()?.local.clone())
        .collect();
    let path = Endpoint::Unix(path.to_str().unwrap().into());
    let hidden = Endpoint::Unix(Text::copy(b"\0hostward-hidden"));
    assert!(bound.contains(&path) && bound.contains(&hidden), "{bound:?}");
}

fn read(stream: &mut TcpStream, bytes: usize) {
    let mut buffer = vec![0; bytes];
    stream.read_exact(&mut buffer).unwrap();
}

/// What the children of the tests above do.
pub(crate) fn child(task: &str) {
    let address = || crate::common::argument(0).to_str().unwrap().to_owned();
    match task {
        "client" => {
            let mut stream = TcpStream::connect(address()).unwrap();
            stream.write_all(&[b'x'; 100_000]).unwrap();
            read(&mut stream, 7);
        }
        "server" => {
            let listener = TcpListener::bind(address()).unwrap();
            let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (mut server, _) = listener.accept().unwrap();
            client.write_all(b"hello there").unwrap();
            read(&mut server, 11);
            server.write_all(b"yes!").unwrap();
            read(&mut client, 4);
            client.shutdown(Shutdown::Write).unwrap();
            assert_eq!(server.read(&mut [0; 1]).unwrap(), 0);
            drop(server);
            assert_eq!(client.read(&mut [0; 1]).unwrap(), 0);
        }
        "odd sockets" => {
            let all_frames = Protocol::from_raw(NonZeroU32::new(u32::from(3_u16.to_be())).unwrap());
            drop(rustix::net::socket(AddressFamily::PACKET, SocketType::RAW, Some(all_frames)).unwrap());
            drop(rustix::net::socket(AddressFamily::INET, SocketType::RAW, Some(ipproto::ICMP)).unwrap());
            drop(UnixListener::bind(address()).unwrap());
            let hidden = UnixAddr::from_abstract_name("hostward-hidden").unwrap();
            drop(UnixListener::bind_addr(&hidden).unwrap());
        }
        "refused" => assert!(TcpStream::connect(address()).is_err()),
        "old" => {
            let mut stream = TcpStream::connect(address()).unwrap();
            read(&mut stream, 2);
            stream.write_all(b"done").unwrap();
        }
        "held" => {
            let listener = TcpListener::bind(address()).unwrap();
            let address = listener.local_addr().unwrap();
            let all: Vec<_> = (0..HELD)
                .map(|_| (TcpStream::connect(address).unwrap(), listener.accept().unwrap().0))
                .collect();
            println!("made");
            std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
            drop(all);
        }
        "thousand" => {
            let listener = TcpListener::bind(address()).unwrap();
            let address = listener.local_addr().unwrap();
            let limit = rustix::process::Rlimit { current: Some(4096), maximum: Some(4096) };
            rustix::process::setrlimit(rustix::process::Resource::Nofile, limit).unwrap();
            let all: Vec<_> = (0..1000)
                .map(|_| (TcpStream::connect(address).unwrap(), listener.accept().unwrap().0))
                .collect();
            drop(all);
        }
        _ => {}
    }
}
