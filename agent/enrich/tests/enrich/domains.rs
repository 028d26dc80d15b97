//! Names of addresses: what was asked for before.

use crate::kernel::{Proc, event, feed};
use hostward_enrich::{Config, Enricher, Input};
use hostward_event::Text;
use hostward_event::raw::{
    DnsAnswer, DnsData, DnsMessage, DnsQuestion, Endpoint, RawBody, RawConnect, RawConnectionEnd, RawDns,
};
use std::net::SocketAddr;
use std::num::NonZeroUsize;

const SECOND_NS: u64 = 1_000_000_000;
const START_NS: u64 = 1_000 * SECOND_NS;

fn socket(remote: &str) -> RawConnect {
    let remote = remote.parse::<SocketAddr>().ok().map(Endpoint::Ip);
    RawConnect { fd: 3, result: 0, family: 2, sock_type: 1, protocol: 6, remote, local: None, server: false }
}

fn answered(of: &Proc, name: &str, address: &str, ttl_s: u32, at_ns: u64) -> Input {
    let question = Some(DnsQuestion { name: Text::from(name), kind: 1, class: 1 });
    let data = DnsData::Address(address.parse().unwrap());
    let answers = vec![
        DnsAnswer { name: name.into(), kind: 5, class: 1, ttl_s, data: DnsData::Name("cdn.test".into()) },
        DnsAnswer { name: "cdn.test".into(), kind: 1, class: 1, ttl_s: 86_400, data },
    ];
    let message = Some(DnsMessage { id: 1, flags: 0x8180, question, answers });
    let socket = socket("192.0.2.53:53");
    of.raw(
        at_ns,
        RawBody::Dns(Box::new(RawDns { socket, answer: true, owned: true, message, complete: true })),
    )
}

fn connects(enricher: &mut Enricher, of: &Proc, remote: &str, at_ns: u64) -> Option<String> {
    let input = of.raw(at_ns, RawBody::Connect(Box::new(socket(remote))));
    event(enricher, &input).domain.as_ref().map(ToString::to_string)
}

#[test]
fn a_connection_bears_the_name_that_was_asked_for() {
    let mut enricher = Enricher::new(&Config::default());
    let (one, other) = (Proc::new(10, 5), Proc::new(11, 6));
    assert_eq!(connects(&mut enricher, &one, "192.0.2.1:443", START_NS), None);
    event(&mut enricher, &answered(&one, "www.test", "192.0.2.1", 300, START_NS));
    let at = |seconds: u64| START_NS + seconds * SECOND_NS;
    assert_eq!(connects(&mut enricher, &one, "192.0.2.1:443", at(1)).as_deref(), Some("www.test"));
    assert_eq!(connects(&mut enricher, &one, "[::ffff:192.0.2.1]:443", at(1)).as_deref(), Some("www.test"));
    assert_eq!(connects(&mut enricher, &other, "192.0.2.1:443", at(300)).as_deref(), Some("www.test"));
    assert_eq!(connects(&mut enricher, &one, "192.0.2.2:443", at(300)), None);
    assert_eq!(connects(&mut enricher, &one, "192.0.2.1:443", at(301)), None, "its time is over");

    // The end of a connection that stood when the name still held.
    let ended = |duration_s: u64| {
        RawBody::ConnectionEnd(Box::new(RawConnectionEnd {
            socket: socket("192.0.2.1:443"),
            duration_ns: Some(duration_s * SECOND_NS),
            sent_bytes: None,
            received_bytes: None,
            owned: true,
        }))
    };
    let mut name = |seconds| event(&mut enricher, &one.raw(at(1_000), ended(seconds))).domain.clone();
    assert_eq!((name(999), name(10)), (Some(Text::from("www.test")), None));

    // The last answer wins, and one that is to be forgotten at once holds for the connect that follows.
    event(&mut enricher, &answered(&one, "new.test", "192.0.2.1", 0, at(2_000)));
    assert_eq!(connects(&mut enricher, &one, "192.0.2.1:443", at(2_059)).as_deref(), Some("new.test"));
    assert_eq!(connects(&mut enricher, &one, "192.0.2.1:443", at(2_061)), None);
}

#[test]
fn a_container_names_addresses_for_itself_alone() {
    let id = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    let mut enricher = Enricher::new(&Config { context_wait_ms: 0, ..Config::default() });
    let host = Proc::new(10, 5);
    let inside = Proc::new(20, 6).with_cgroup(700, "docker", id);
    let neighbour = Proc::new(30, 7).with_cgroup(800, "docker", &id.replace('0', "1"));
    for process in [&host, &inside, &neighbour] {
        feed(&mut enricher, &process.exec(START_NS));
    }
    event(&mut enricher, &answered(&inside, "trusted.test", "192.0.2.1", 300, START_NS));
    let at = START_NS + SECOND_NS;
    assert_eq!(connects(&mut enricher, &inside, "192.0.2.1:443", at).as_deref(), Some("trusted.test"));
    assert_eq!(connects(&mut enricher, &neighbour, "192.0.2.1:443", at), None);
    assert_eq!(connects(&mut enricher, &host, "192.0.2.1:443", at), None);
    // What the host's resolver was told holds for all, but for who knows better.
    event(&mut enricher, &answered(&host, "host.test", "192.0.2.1", 300, at));
    assert_eq!(connects(&mut enricher, &neighbour, "192.0.2.1:443", at).as_deref(), Some("host.test"));
    assert_eq!(connects(&mut enricher, &inside, "192.0.2.1:443", at).as_deref(), Some("trusted.test"));
}

#[test]
fn names_have_a_bound() {
    let max_domains = NonZeroUsize::new(4).unwrap();
    let mut enricher = Enricher::new(&Config { max_domains, ..Config::default() });
    let process = Proc::new(10, 5);
    for n in 0..100 {
        let address = format!("192.0.2.{n}");
        event(&mut enricher, &answered(&process, "many.test", &address, 300, START_NS));
    }
    assert_eq!(connects(&mut enricher, &process, "192.0.2.1:443", START_NS), None);
    assert!(connects(&mut enricher, &process, "192.0.2.99:443", START_NS).is_some());
}
