//! Fields of sockets: where to.

use super::dns_fields::DNS;
use super::render::{connect, connection_end, dns, socket_address};
use super::{Field, Need, Type, Value, flags, spare};
use crate::call;
use crate::event::Body;
use crate::raw::{Endpoint, RawConnect};
use crate::{Event, EventKind, KindSet};
use std::borrow::Cow;
use std::net::SocketAddr;

/// Any descriptor may be a socket.
const NET: KindSet = KindSet::of(&[EventKind::Connect, EventKind::ConnectionEnd])
    .union(UDP)
    .union(DNS)
    .union(call::that_tell(true));
/// First sends.
pub(super) const UDP: KindSet = KindSet::of(&[EventKind::UdpSend]);
const END: KindSet = KindSet::of(&[EventKind::ConnectionEnd]);
const SENDS: KindSet = KindSet::of(&[EventKind::Sendto, EventKind::Sendmsg]);
const SOCK_DGRAM: u16 = 2;
const REMOTE: &[&str] = &["destination.ip", "destination.address"];
const LOCAL: &[&str] = &["source.ip", "source.address"];
const BOTH: &[&str] = &["destination.ip", "destination.address", "source.ip", "source.address"];

/// The far end.
fn remote(event: &Event) -> Option<SocketAddr> {
    socket_address(connect(event)?.remote.as_ref())
}

fn local(event: &Event) -> Option<SocketAddr> {
    socket_address(connect(event)?.local.as_ref())
}

/// The end that waits: the far one of a connect, the near one of an accept.
fn server(event: &Event) -> Option<SocketAddr> {
    if connect(event)?.server { local(event) } else { remote(event) }
}

fn client(event: &Event) -> Option<SocketAddr> {
    if connect(event)?.server { remote(event) } else { local(event) }
}

fn ip<'e>(address: Option<SocketAddr>) -> Value<'e> {
    address.map(|address| address.ip().to_canonical()).into()
}

fn ip_text<'e>(address: Option<SocketAddr>) -> Value<'e> {
    address.map_or(Value::Missing, |address| Value::shown(address.ip()))
}

fn port<'e>(address: Option<SocketAddr>) -> Value<'e> {
    address.map(|address| u32::from(address.port())).into()
}

fn both<'e>(event: &Event) -> Value<'e> {
    let mut ends = spare::addresses();
    ends.extend([local(event), remote(event)].into_iter().flatten().map(|a| a.ip().to_canonical()));
    if ends.is_empty() { Value::Missing } else { Value::Ips(ends) }
}

/// The name that a process asked for and got this address, else the domain names that rules list and that resolve to it. None of them is no missing value: the
/// address is known, and it is none of those.
fn names(event: &Event, address: Option<SocketAddr>) -> Value<'_> {
    let Some(address) = address else { return Value::Missing };
    if let Some(seen) = &event.domain
        && Some(address) == remote(event)
    {
        return Value::text(seen.as_bytes());
    }
    let names = event.around.domains.names.get(&address.ip().to_canonical());
    match names.map_or(&[][..], Vec::as_slice) {
        [one] => Value::text(one.as_bytes()),
        names => {
            let mut list = spare::list();
            list.extend(names.iter().map(|name| Cow::Borrowed(name.as_bytes())));
            Value::List(list)
        }
    }
}

/// The call sends to an address that it names itself: each time the socket has another far end.
fn names_address(event: &Event) -> Option<bool> {
    let Body::Call(call) = &event.body else { return None };
    let socket = call.socket.as_deref().filter(|_| SENDS.contains(call.kind))?;
    let datagrams = socket.sock_type == SOCK_DGRAM && socket.remote.is_some();
    Some(datagrams && call.result >= 0 && (call.kind != EventKind::Sendto || call.args[4] != 0))
}

/// Payload that went from the client to the server, or back.
fn bytes(event: &Event, from_client: bool) -> Option<u64> {
    let end = connection_end(event)?;
    if end.socket.server == from_client { end.received_bytes } else { end.sent_bytes }
}

fn transport(event: &Event) -> Option<&'static str> {
    let connect = connect(event)?;
    let internet = matches!(connect.family, flags::AF_INET | flags::AF_INET6);
    internet.then(|| flags::transport(connect.protocol, connect.sock_type)).flatten()
}

fn unix_path(event: &Event) -> Option<&crate::Text> {
    match connect(event)?.remote.as_ref()? {
        Endpoint::Unix(path) => Some(path),
        Endpoint::Ip(_) => None,
    }
}

pub(super) const FIELDS: &[Field] = &[
    Field::new("fd.sip", Type::Ip, "address of the server", |e, _| ip(server(e))).on(NET).shows(REMOTE),
    Field::new("fd.cip", Type::Ip, "address of the client", |e, _| ip(client(e))).on(NET).shows(LOCAL),
    Field::new("fd.rip", Type::Ip, "address of the far end", |e, _| ip(remote(e))).on(NET).shows(REMOTE),
    Field::new("fd.lip", Type::Ip, "address of the near end", |e, _| ip(local(e))).on(NET).shows(LOCAL),
    Field::new("fd.ip", Type::Ip, "address of either end; != means neither", |e, _| both(e))
        .on(NET)
        .shows(BOTH),
    Field::new("fd.snet", Type::Net, "network of the server's address", |e, _| ip(server(e)))
        .on(NET)
        .shows(REMOTE),
    Field::new("fd.cnet", Type::Net, "network of the client's address", |e, _| ip(client(e)))
        .on(NET)
        .shows(LOCAL),
    Field::new("fd.rnet", Type::Net, "network of the far end's address", |e, _| ip(remote(e)))
        .on(NET)
        .shows(REMOTE),
    Field::new("fd.lnet", Type::Net, "network of the near end's address", |e, _| ip(local(e)))
        .on(NET)
        .shows(LOCAL),
    Field::new("fd.net", Type::Net, "network of either end; != means neither", |e, _| both(e))
        .on(NET)
        .shows(BOTH),
    Field::new("fd.sport", Type::Number, "port of the server", |e, _| port(server(e)))
        .on(NET)
        .ecs("destination.port")
        .ocsf("dst_endpoint.port")
        .cef("dpt")
        .leef("dstPort"),
    Field::new("fd.cport", Type::Number, "port of the client", |e, _| port(client(e)))
        .on(NET)
        .ecs("source.port")
        .ocsf("src_endpoint.port")
        .cef("spt")
        .leef("srcPort"),
    Field::new("fd.rport", Type::Number, "port of the far end", |e, _| port(remote(e)))
        .on(NET)
        .shows(&["destination.port", "source.port"]),
    Field::new("fd.lport", Type::Number, "port of the near end", |e, _| port(local(e)))
        .on(NET)
        .shows(&["destination.port", "source.port"]),
    Field::new("fd.port", Type::Number, "port of either end; != means neither", |e, _| {
        let ends = [local(e), remote(e)].into_iter().flatten();
        let mut ports = spare::numbers();
        ports.extend(ends.map(|end| i128::from(end.port())));
        if ports.is_empty() { Value::Missing } else { Value::Numbers(ports) }
    })
    .on(NET)
    .shows(&["destination.port", "source.port"]),
    Field::new("fd.sip.name", Type::Domain, "domain of the server, of those that rules list", |e, _| {
        names(e, server(e))
    })
    .on(NET)
    .needs(Need::Domains)
    .shows(REMOTE),
    Field::new("fd.cip.name", Type::Domain, "domain of the client, of those that rules list", |e, _| {
        names(e, client(e))
    })
    .on(NET)
    .needs(Need::Domains)
    .shows(LOCAL),
    Field::new("fd.rip.name", Type::Domain, "domain of the far end, of those that rules list", |e, _| {
        names(e, remote(e))
    })
    .on(NET)
    .needs(Need::Domains)
    .shows(BOTH),
    Field::new("fd.lip.name", Type::Domain, "domain of the near end, of those that rules list", |e, _| {
        names(e, local(e))
    })
    .on(NET)
    .needs(Need::Domains)
    .shows(BOTH),
    Field::new(
        "fd.name_changed",
        Type::Bool,
        "the call sends to an address that it names itself, so that the far end is another than before",
        |e, _| names_address(e).into(),
    )
    .on(NET),
    Field::new("fd.l4proto", Type::Text, "tcp, udp, icmp, raw", |e, _| transport(e).into())
        .on(NET)
        .ecs("network.transport")
        .ocsf("connection_info.protocol_name")
        .cef("proto")
        .leef("proto"),
    Field::new("fd.sockfamily", Type::Text, "ip or unix", |e, _| {
        match connect(e).map(|connect| connect.family) {
            Some(flags::AF_INET | flags::AF_INET6) => "ip".into(),
            Some(flags::AF_UNIX) => "unix".into(),
            _ => Value::Missing,
        }
    })
    .on(NET),
    Field::new("fd.connected", Type::Bool, "the connection stands or is being made", |e, _| {
        let unconnected = names_address(e) == Some(true);
        let stands = |socket: &RawConnect| socket.remote.is_some() && matches!(socket.result, 0.. | -115);
        connect(e).map(|socket| stands(socket) && !unconnected).into()
    })
    .on(NET),
    Field::wire("destination.ip", Type::Ip, "address connected to", |e, _| ip(server(e)))
        .on(NET)
        .ocsf("dst_endpoint.ip")
        .cef("dst")
        .leef("dst")
        .shows(REMOTE),
    Field::wire(
        "destination.address",
        Type::Text,
        "address or unix path connected to",
        |e, _| match unix_path(e) {
            Some(path) => Value::some_text(path),
            None => ip_text(server(e)),
        },
    )
    .on(NET)
    .cef("flexString1")
    .leef("destinationAddress")
    .shows(REMOTE),
    Field::wire(
        "destination.domain",
        Type::Text,
        "name that the far end's address was the answer to when a process last asked for it",
        |e, _| match &e.domain {
            Some(name) if !connect(e).is_some_and(|socket| socket.server) => Value::some_text(name),
            _ => Value::Missing,
        },
    )
    .on(NET.without(DNS))
    .needs(Need::Answers)
    .ocsf("dst_endpoint.hostname")
    .cef("dhost"),
    Field::wire("source.ip", Type::Ip, "address connected from", |e, _| ip(client(e)))
        .on(NET)
        .ocsf("src_endpoint.ip")
        .cef("src")
        .leef("src")
        .shows(LOCAL),
    Field::wire("source.address", Type::Text, "address connected from", |e, _| ip_text(client(e)))
        .on(NET)
        .shows(LOCAL),
    Field::wire("network.type", Type::Text, "ipv4, ipv6", |e, _| {
        match connect(e).map(|connect| connect.family) {
            Some(flags::AF_INET) => "ipv4".into(),
            Some(flags::AF_INET6) => "ipv6".into(),
            _ => Value::Missing,
        }
    })
    .on(NET),
    Field::wire(
        "network.direction",
        Type::Text,
        "egress: the host's process connects; ingress: it accepts",
        |e, _| {
            remote(e)
                .map(|_| if connect(e).is_some_and(|socket| socket.server) { "ingress" } else { "egress" })
                .into()
        },
    )
    .on(NET),
    Field::wire("source.bytes", Type::Number, "payload from the client to the server", |e, _| {
        bytes(e, true).into()
    })
    .on(END)
    .ocsf("traffic.bytes_out"),
    Field::wire("destination.bytes", Type::Number, "payload from the server to the client", |e, _| {
        bytes(e, false).into()
    })
    .on(END)
    .ocsf("traffic.bytes_in"),
    Field::wire("network.bytes", Type::Number, "payload both ways", |e, _| {
        bytes(e, true).zip(bytes(e, false)).map(|(out, back)| out.saturating_add(back)).into()
    })
    .on(END)
    .ocsf("traffic.bytes"),
    Field::wire("event.duration", Type::Number, "how long the connection stood, ns", |e, _| {
        connection_end(e).and_then(|end| end.duration_ns).into()
    })
    .on(END),
    Field::wire(
        "hostward.connection.owner_known",
        Type::Bool,
        "false: the connection stood before the agent looked, or was reset before anybody accepted it; of a DNS answer: nobody was seen to ask",
        |e, _| connection_end(e).map(|end| end.owned).or(dns(e).map(|dns| dns.owned)).into(),
    )
    .on(END.union(DNS)),
    Field::wire("related.ip", Type::List, "all addresses of the event", |e, _| {
        let ends = [local(e), remote(e)].into_iter().flatten();
        Value::some_list(ends.map(|end| Cow::Owned(end.ip().to_canonical().to_string().into_bytes())))
    })
    .on(NET)
    .shows(BOTH),
];
