//! First sends of UDP and DNS: real datagrams on loopback. The sensor leaves its own process out, so servers are of this
//! process and clients are its children.
use crate::common::{Watch, argument, can_observe, child as start, run};
use hostward_event::plan::KernelPlan;
use hostward_event::raw::{DnsData, Endpoint, RawBody, RawConnect, RawDns, RawEvent, Rung};
use hostward_event::{EventKind, KindSet, Text};
use hostward_sensor::ProbeStatus;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::thread::JoinHandle;

fn watching(kinds: &[EventKind]) -> Watch {
    let kinds = KindSet::of(kinds).union(KindSet::of(&[EventKind::Exec, EventKind::Exit]));
    Watch::new(&KernelPlan { kinds, ..KernelPlan::default() })
}

fn child_with(address: SocketAddr, task: &str) -> u32 {
    run(start(task, &[Path::new(&address.to_string())])).0
}

fn sent(event: &RawEvent) -> Option<&RawConnect> {
    if let RawBody::UdpSend(socket) = &event.body { Some(socket) } else { None }
}

fn dns(event: &RawEvent) -> Option<&RawDns> {
    if let RawBody::Dns(dns) = &event.body { Some(dns) } else { None }
}

fn ip(endpoint: Option<&Endpoint>) -> Option<SocketAddr> {
    if let Some(Endpoint::Ip(address)) = endpoint { Some(*address) } else { None }
}

/// A socket of loopback, IPv6 where the host has it.
fn bound(addresses: [&str; 2]) -> Vec<UdpSocket> {
    let bind = |address: &&str| match UdpSocket::bind(address) {
        Ok(socket) => Some(socket),
        Err(why) => {
            println!("skipped {address}: {why}");
            None
        }
    };
    addresses.iter().filter_map(bind).collect()
}

#[test]
fn a_process_sends_to_an_address_for_the_first_time_once() {
    if !can_observe("a_process_sends_to_an_address_for_the_first_time_once") {
        return;
    }
    let watch = watching(&[EventKind::UdpSend]);
    for server in bound(["127.0.0.1:0", "[::1]:0"]) {
        let address = server.local_addr().unwrap();
        let pids = [child_with(address, "sends"), child_with(address, "sends")];
        // The sensor's own process is not told.
        UdpSocket::bind((address.ip(), 0)).unwrap().send_to(b"own", address).unwrap();
        for pid in pids {
            watch.exited(pid);
            let told = watch.so_far(|event| event.task.pid == pid && sent(event).is_some());
            let far: Vec<_> =
                told.iter().map(|event| ip(sent(event).unwrap().remote.as_ref()).unwrap()).collect();
            let next = SocketAddr::new(address.ip(), address.port() ^ 1);
            assert_eq!(far, [address, next], "each address once, and none of a connected socket");
            let (event, socket) = (&told[0], sent(&told[0]).unwrap());
            assert_eq!((event.source.rung, socket.protocol, socket.sock_type), (Rung::Cgroup, 17, 2));
            assert!(ip(socket.local.as_ref()).is_some_and(|local| local.port() != 0));
            assert!(!event.task.comm.is_empty() && event.task.start_boot_ns > 0 && event.task.tid >= pid);
        }
    }
    let own = watch.so_far(|event| event.task.pid == std::process::id() && sent(event).is_some());
    assert_eq!(own, []);
}

const QUESTION: &[u8] = b"\xbe\xef\x01\0\0\x01\0\0\0\0\0\0\x03www\x08HostWard\x04test\0\0\x01\0\x01";

pub(crate) fn ask(address: SocketAddr) {
    let socket = UdpSocket::bind((address.ip(), 0)).unwrap();
    socket.send_to(QUESTION, address).unwrap();
    socket.recv_from(&mut [0; 512]).unwrap();
}

/// Answers so many questions on `socket` with an address, by an alias.
pub(crate) fn serve(socket: UdpSocket, questions: usize) -> JoinHandle<()> {
    std::thread::spawn(move || {
        let mut buffer = [0; 512];
        for _ in 0..questions {
            let (count, from) = socket.recv_from(&mut buffer).unwrap();
            let mut answer = buffer[..count].to_vec();
            (answer[2], answer[3], answer[7]) = (0x81, 0x80, 2);
            answer.extend_from_slice(b"\xc0\x0c\0\x05\0\x01\0\0\0\x3c\0\x06\x03cdn\xc0\x19");
            let alias = u16::try_from(count + 12).unwrap() | 0xc000;
            answer.extend_from_slice(&alias.to_be_bytes());
            answer.extend_from_slice(b"\0\x01\0\x01\0\0\x01\x2c\0\x04\xc0\0\x02\x01");
            socket.send_to(&answer, from).unwrap();
        }
    })
}

/// Port 53 of an address of loopback that is most likely nobody's.
pub(crate) fn server_address() -> String {
    let [_, _, high, low] = std::process::id().to_be_bytes();
    format!("{}:53", Ipv4Addr::new(127, 53, high, low))
}

#[test]
fn a_question_and_its_answer_are_the_askers() {
    if !can_observe("a_question_and_its_answer_are_the_askers") {
        return;
    }
    let watch = watching(&[EventKind::DnsQuestion, EventKind::DnsAnswer]);
    for server in bound([&server_address(), "[::1]:53"]) {
        let address = server.local_addr().unwrap();
        let server = serve(server, 2);
        // The sensor's own process is not told, and neither is what it is answered.
        ask(address);
        let pid = child_with(address, "asks");
        server.join().unwrap();
        let of = |answer: bool| {
            watch.event("question and answer", |event| {
                event.task.pid == pid && dns(event).is_some_and(|dns| dns.answer == answer)
            })
        };
        let (question, answer) = (of(false), of(true));
        assert_eq!((question.task.comm, question.source.rung), (answer.task.comm.clone(), Rung::Cgroup));
        for event in [&question.body, &answer.body] {
            let RawBody::Dns(dns) = event else { unreachable!() };
            assert!(dns.complete && dns.owned);
            assert_eq!(ip(dns.socket.remote.as_ref()), Some(address));
            let local = ip(dns.socket.local.as_ref()).unwrap();
            assert!(local.port() > 1023 && local.ip().is_loopback(), "{local}");
            let message = dns.message.as_ref().unwrap();
            assert_eq!(message.question.as_ref().unwrap().name, Text::from("www.hostward.test"));
            assert_eq!((message.id, message.answers.len()), (0xbeef, if dns.answer { 2 } else { 0 }));
        }
        let foreign = |event: &RawEvent| {
            let here = dns(event).is_some_and(|dns| ip(dns.socket.remote.as_ref()) == Some(address));
            here && event.task.pid != pid
        };
        assert_eq!(watch.so_far(foreign), []);
        let RawBody::Dns(dns) = answer.body else { unreachable!() };
        let data: Vec<_> = dns.message.unwrap().answers.into_iter().map(|answer| answer.data).collect();
        assert_eq!(
            data,
            [DnsData::Name(Text::from("cdn.test")), DnsData::Address(Ipv4Addr::new(192, 0, 2, 1).into())]
        );
    }
}

#[test]
fn what_is_no_dns_is_told_as_that_and_does_no_harm() {
    if !can_observe("what_is_no_dns_is_told_as_that_and_does_no_harm") {
        return;
    }
    let watch = watching(&[EventKind::DnsQuestion, EventKind::DnsAnswer]);
    let address: SocketAddr = server_address().replace(".53.", ".54.").parse().unwrap();
    let _server = UdpSocket::bind(address).unwrap();
    let pid = child_with(address, "tunnels");
    watch.exited(pid);
    let told = watch.so_far(|event| event.task.pid == pid && dns(event).is_some());
    let read: Vec<_> = told.iter().map(|event| dns(event).unwrap()).collect();
    assert_eq!(read.len(), 3, "{read:?}");
    assert!(read.iter().all(|dns| !dns.complete && !dns.answer));
    assert_eq!((&read[0].message, &read[1].message), (&None, &None), "nothing, and less than a header");
    assert!(read[2].message.as_ref().is_some_and(|message| message.question.is_none()));
}

#[test]
fn a_flood_of_questions_is_told_or_said_to_be_lost() {
    if !can_observe("a_flood_of_questions_is_told_or_said_to_be_lost") {
        return;
    }
    let config =
        hostward_sensor::Config { network_ring_bytes: Some(4096), ..hostward_sensor::Config::default() };
    let kinds = KindSet::of(&[EventKind::DnsQuestion, EventKind::UdpSend, EventKind::Exit]);
    let watch = Watch::with(&config, &KernelPlan { kinds, ..KernelPlan::default() });
    let address: SocketAddr = server_address().replace(".53.", ".55.").parse().unwrap();
    let _server = UdpSocket::bind(address).unwrap();
    let pid = watch.unread(|| child_with(address, "floods"));
    watch.exited(pid);
    let (events, gaps, sensor) = watch.finish();
    let counters = sensor.counters().unwrap();
    let counter = counters.iter().find(|kind| kind.kind == EventKind::DnsQuestion).unwrap();
    let told = events.iter().filter(|event| dns(event).is_some()).count() as u64;
    let lost: u64 = gaps.iter().filter(|gap| gap.lost == EventKind::DnsQuestion).map(|gap| gap.count).sum();
    assert_eq!((told, lost), (counter.attempted - counter.dropped, counter.dropped));
    assert!(told + lost >= 2000 && lost > 0, "{told} told, {lost} lost");
}

#[test]
fn hooks_of_cgroups_are_attached_while_they_are_wanted() {
    if !can_observe("hooks_of_cgroups_are_attached_while_they_are_wanted") {
        return;
    }
    let plan = |kinds: &[EventKind]| KernelPlan { kinds: KindSet::of(kinds), ..KernelPlan::default() };
    let mut watch = Watch::new(&plan(&[EventKind::Exec]));
    let attached = |watch: &Watch| -> Vec<String> {
        let ladder = watch.sensor.ladder().into_iter();
        let own = ladder.filter(|probe| probe.rung == Rung::Cgroup && probe.status == ProbeStatus::Attached);
        own.map(|probe| probe.hook.into_owned()).collect()
    };
    assert_eq!(attached(&watch), [""; 0]);
    watch.sensor.apply(&plan(&[EventKind::UdpSend])).unwrap();
    assert_eq!(attached(&watch), ["sendmsg4", "sendmsg6"]);
    watch.sensor.apply(&plan(&[EventKind::DnsQuestion, EventKind::DnsAnswer])).unwrap();
    assert_eq!(attached(&watch), ["inet_egress", "inet_ingress"]);
    watch.sensor.apply(&plan(&[])).unwrap();
    assert_eq!(attached(&watch), [""; 0]);
}

/// What the children of the tests above do.
pub(crate) fn child(task: &str) {
    let address = || -> SocketAddr { argument(0).to_str().unwrap().parse().unwrap() };
    let socket = |address: SocketAddr| UdpSocket::bind((address.ip(), 0)).unwrap();
    match task {
        "sends" => {
            let address = address();
            let next = SocketAddr::new(address.ip(), address.port() ^ 1);
            let (first, second) = (socket(address), socket(address));
            for _ in 0..3 {
                first.send_to(b"hello", address).unwrap();
                second.send_to(b"hello", address).unwrap();
            }
            second.send_to(b"hello", next).unwrap();
            let connected = socket(address);
            connected.connect(SocketAddr::new(address.ip(), 9)).unwrap();
            let _ = connected.send(b"hello");
        }
        "asks" => ask(address()),
        "tunnels" => {
            let address = address();
            let socket = socket(address);
            for payload in [&b""[..], b"short", &[0xff; 1400]] {
                socket.send_to(payload, address).unwrap();
            }
        }
        "floods" => {
            let address = address();
            let socket = socket(address);
            for _ in 0..2000 {
                let _ = socket.send_to(b"\0\x01\x01\0\0\x01\0\0\0\0\0\0\x01a\0\0\x01\0\x01", address);
            }
        }
        _ => {}
    }
}
