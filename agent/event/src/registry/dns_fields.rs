//! Fields of DNS questions and answers.
//!
//! A rule reads the answers as lists of equal length, one per part; on the ECS wire they are a list of objects
//! (`encode/ecs.rs`).

use super::render::dns;
use super::{Field, Type, Value};
use crate::raw::{DnsAnswer, DnsData, DnsMessage, DnsQuestion};
use crate::{Event, EventKind, KindSet};
use std::borrow::Cow;
use std::net::IpAddr;

/// Both ways.
pub(super) const DNS: KindSet = KindSet::of(&[EventKind::DnsQuestion, EventKind::DnsAnswer]);
const ANSWER: KindSet = KindSet::of(&[EventKind::DnsAnswer]);

/// RFC 1035, 1996, 2136, 8490.
const OPCODES: [(u16, &str); 6] =
    [(0, "QUERY"), (1, "IQUERY"), (2, "STATUS"), (4, "NOTIFY"), (5, "UPDATE"), (6, "DSO")];
/// RFC 1035, 2136.
const CODES: [(u16, &str); 11] = [
    (0, "NOERROR"),
    (1, "FORMERR"),
    (2, "SERVFAIL"),
    (3, "NXDOMAIN"),
    (4, "NOTIMP"),
    (5, "REFUSED"),
    (6, "YXDOMAIN"),
    (7, "YXRRSET"),
    (8, "NXRRSET"),
    (9, "NOTAUTH"),
    (10, "NOTZONE"),
];
/// <https://www.iana.org/assignments/dns-parameters>: those that are met.
const TYPES: [(u16, &str); 30] = [
    (1, "A"),
    (2, "NS"),
    (5, "CNAME"),
    (6, "SOA"),
    (10, "NULL"),
    (12, "PTR"),
    (13, "HINFO"),
    (15, "MX"),
    (16, "TXT"),
    (24, "SIG"),
    (25, "KEY"),
    (28, "AAAA"),
    (29, "LOC"),
    (33, "SRV"),
    (35, "NAPTR"),
    (37, "CERT"),
    (39, "DNAME"),
    (41, "OPT"),
    (43, "DS"),
    (44, "SSHFP"),
    (46, "RRSIG"),
    (47, "NSEC"),
    (48, "DNSKEY"),
    (50, "NSEC3"),
    (52, "TLSA"),
    (64, "SVCB"),
    (65, "HTTPS"),
    (251, "IXFR"),
    (252, "AXFR"),
    (255, "ANY"),
];
const CLASSES: [(u16, &str); 5] = [(1, "IN"), (3, "CH"), (4, "HS"), (254, "NONE"), (255, "ANY")];
/// Bits of the header, in its order.
const FLAGS: [(u16, &str); 6] =
    [(1 << 10, "AA"), (1 << 9, "TC"), (1 << 8, "RD"), (1 << 7, "RA"), (1 << 5, "AD"), (1 << 4, "CD")];

/// A number's name; of one that has none `PREFIX` and the number (RFC 3597).
fn named(names: &[(u16, &'static str)], number: u16, prefix: &str) -> Cow<'static, [u8]> {
    match names.iter().find(|(known, _)| *known == number) {
        Some((_, name)) => Cow::Borrowed(name.as_bytes()),
        None => Cow::Owned(format!("{prefix}{number}").into_bytes()),
    }
}

fn message(event: &Event) -> Option<&DnsMessage> {
    dns(event)?.message.as_ref()
}

fn of_message<'e>(event: &'e Event, read: impl Fn(&'e DnsMessage) -> Value<'e>) -> Value<'e> {
    message(event).map_or(Value::Missing, read)
}

fn of_question<'e>(event: &'e Event, read: impl Fn(&'e DnsQuestion) -> Value<'e>) -> Value<'e> {
    message(event).and_then(|message| message.question.as_ref()).map_or(Value::Missing, read)
}

fn of_answers<'e>(event: &'e Event, read: impl Fn(&'e DnsAnswer) -> Cow<'e, [u8]>) -> Value<'e> {
    of_message(event, |message| Value::some_list(message.answers.iter().map(&read)))
}

const fn address(answer: &DnsAnswer) -> Option<IpAddr> {
    if let DnsData::Address(address) = answer.data { Some(address) } else { None }
}

fn ip_text<'e>(address: IpAddr) -> Cow<'e, [u8]> {
    Cow::Owned(address.to_string().into_bytes())
}

fn data(answer: &DnsAnswer) -> Cow<'_, [u8]> {
    match &answer.data {
        DnsData::Address(address) => ip_text(*address),
        DnsData::Name(text) | DnsData::Text(text) => Cow::Borrowed(text.as_bytes()),
        DnsData::Other(bytes) => Cow::Owned(format!("{bytes} bytes").into_bytes()),
    }
}

pub(super) const FIELDS: &[Field] = &[
    Field::wire("dns.type", Type::Text, "query or answer, as the message itself says", |e, _| {
        of_message(e, |message| if message.is_response() { "answer" } else { "query" }.into())
    })
    .on(DNS),
    Field::wire("dns.id", Type::Text, "number that question and answer share", |e, _| {
        of_message(e, |message| Value::owned(message.id.to_string()))
    })
    .on(DNS),
    Field::wire("dns.op_code", Type::Text, "QUERY, UPDATE, …", |e, _| {
        of_message(e, |message| Value::Text(named(&OPCODES, message.opcode().into(), "OPCODE")))
    })
    .on(DNS),
    Field::wire("dns.header_flags", Type::List, "AA, TC, RD, RA, AD, CD", |e, _| {
        of_message(e, |message| {
            let set = FLAGS.iter().filter(|(bit, _)| message.flags & bit != 0);
            Value::some_list(set.map(|(_, name)| Cow::Borrowed(name.as_bytes())))
        })
    })
    .on(DNS),
    Field::wire("dns.response_code", Type::Text, "NOERROR, NXDOMAIN, …", |e, _| {
        of_message(e, |message| match message.is_response() {
            true => Value::Text(named(&CODES, message.response_code().into(), "RCODE")),
            false => Value::Missing,
        })
    })
    .on(DNS),
    Field::wire(
        "dns.question.name",
        Type::Text,
        "name that is asked for, in lower case, without the last dot; odd bytes as \\DDD",
        |e, _| of_question(e, |question| Value::some_text(&question.name)),
    )
    .on(DNS)
    .cef("dhost")
    .shows(&["dns.answers.name"]),
    Field::wire("dns.question.type", Type::Text, "A, AAAA, TXT, …", |e, _| {
        of_question(e, |question| Value::Text(named(&TYPES, question.kind, "TYPE")))
    })
    .on(DNS),
    Field::wire("dns.question.class", Type::Text, "IN, CH, …", |e, _| {
        of_question(e, |question| Value::Text(named(&CLASSES, question.class, "CLASS")))
    })
    .on(DNS),
    Field::wire("dns.answers.name", Type::List, "of each answer: whose it is", |e, _| {
        of_answers(e, |answer| Cow::Borrowed(answer.name.as_bytes()))
    })
    .on(ANSWER)
    .shows(&["dns.question.name"]),
    Field::wire("dns.answers.type", Type::List, "of each answer: its type", |e, _| {
        of_answers(e, |answer| named(&TYPES, answer.kind, "TYPE"))
    })
    .on(ANSWER),
    Field::wire("dns.answers.class", Type::List, "of each answer: its class", |e, _| {
        of_answers(e, |answer| named(&CLASSES, answer.class, "CLASS"))
    })
    .on(ANSWER),
    Field::wire("dns.answers.ttl", Type::List, "of each answer: seconds for which it holds", |e, _| {
        of_answers(e, |answer| Cow::Owned(answer.ttl_s.to_string().into_bytes()))
    })
    .on(ANSWER),
    Field::wire(
        "dns.answers.data",
        Type::List,
        "of each answer: address, name or text; of another type how many bytes",
        |e, _| of_answers(e, data),
    )
    .on(ANSWER)
    .shows(&["dns.resolved_ip"]),
    Field::wire("dns.resolved_ip", Type::List, "all addresses of the answers", |e, _| {
        of_message(e, |message| Value::some_list(message.answers.iter().filter_map(address).map(ip_text)))
    })
    .on(ANSWER)
    .shows(&["dns.answers.data"]),
    Field::wire(
        "hostward.dns.complete",
        Type::Bool,
        "false: the message is longer than what was taken of it, or malformed; what came before is told",
        |e, _| dns(e).map(|dns| dns.complete).into(),
    )
    .on(DNS),
    Field::wire("network.protocol", Type::Text, "dns", |e, _| of_message(e, |_| "dns".into())).on(DNS),
];
