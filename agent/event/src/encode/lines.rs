//! What the two line formats of SIEMs share: a head, then keys and values from the registry.

use super::view::View;
use crate::EventKind;
use crate::event::{Body, Priority};
use crate::registry::{self, Field, Value};
use std::borrow::Cow;
use std::fmt::Write as _;

/// Severity from 0 to 10.
pub(super) const fn severity(priority: Priority) -> u8 {
    match priority {
        Priority::Emergency => 10,
        Priority::Alert => 9,
        Priority::Critical => 8,
        Priority::Error => 7,
        Priority::Warning => 6,
        Priority::Notice => 4,
        Priority::Informational => 2,
        Priority::Debug => 1,
    }
}

/// The fields of each kind of event that have a key.
pub(super) type Rows = Vec<(EventKind, Vec<(&'static str, &'static Field)>)>;

/// Rows for a format, whose key of a field `key` tells.
pub(super) fn rows(key: fn(&Field) -> &'static str) -> Rows {
    let of = |kind| {
        let fields = registry::fields().iter().filter(|field| field.kinds.contains(kind));
        fields.map(|field| (key(field), field)).filter(|(key, _)| !key.is_empty()).collect()
    };
    EventKind::ALL.into_iter().map(|kind| (kind, of(kind))).collect()
}

/// Keys and values of an event.
pub(super) fn items<'r>(
    view: View<'r>,
    rows: &'r Rows,
) -> impl Iterator<Item = (&'static str, &'static Field, String)> + 'r {
    let kind = view.event().kind();
    let rows = rows.iter().find(|(of, _)| *of == kind).map(|(_, rows)| rows.as_slice()).unwrap_or_default();
    rows.iter().filter_map(move |(key, field)| Some((*key, *field, value(&view.field(field))?)))
}

/// What kind of record it is, for rules of the receiver: the rule's name, else the action.
pub(super) fn identifier(view: View<'_>) -> String {
    let name = if view.event().alert.is_some() { "rule.name" } else { "event.action" };
    clean(&view.text(name))
}

/// What it is, for people; the same for all records with one identifier.
pub(super) fn name(view: View<'_>) -> String {
    let description = view.text("rule.description");
    let name = match (&view.event().alert, &view.event().body) {
        (Some(_), _) if !description.is_empty() => return clean(&description),
        (Some(_), _) => return identifier(view),
        (None, Body::Exec { .. }) => "Program started",
        (None, Body::Fork) => "Process created",
        (None, Body::Exit { .. }) => "Process ended",
        (None, Body::Open(open)) if open.created => "File created",
        (None, Body::Open(_)) => "File opened",
        (None, Body::CloseWrite(_)) => "File closed that was open for writing",
        (None, Body::Connect(_)) => "Connection attempted",
        (None, Body::ConnectionEnd(_)) => "Connection ended",
        (None, Body::UdpSend(_)) => "UDP sent to a new address",
        (None, Body::Dns(dns)) if dns.answer => "DNS answer",
        (None, Body::Dns(_)) => "DNS question",
        (None, Body::Cgroup(_)) => "Control group changed",
        (None, Body::Call(call)) => return format!("System call {}", call.kind.name()),
        (None, Body::Signal(_)) => "Signal sent",
        (None, Body::Gap(_)) => "Events lost",
        (None, Body::Agent(_)) => "Agent notice",
    };
    name.to_owned()
}

fn value(value: &Value<'_>) -> Option<String> {
    let join = |words: Vec<String>| words.join(",");
    Some(match value {
        Value::Missing => return None,
        Value::Text(text) => clean(text),
        Value::Number(number) => number.to_string(),
        Value::Bool(flag) => flag.to_string(),
        Value::Ip(ip) => ip.to_string(),
        Value::Numbers(numbers) => join(numbers.iter().map(ToString::to_string).collect()),
        Value::Ips(ips) => join(ips.iter().map(ToString::to_string).collect()),
        Value::Time(ns) => ns.div_euclid(1_000_000).to_string(),
        Value::List(texts) => join(texts.iter().map(|text: &Cow<'_, [u8]>| clean(text)).collect()),
    })
}

/// Text for a line: bytes that are no UTF-8 and control characters as `\xHH` (`\u{HHHH}` above
/// 0x7f, with the two line ends of Unicode); line feed, carriage return and tab stay for the format.
pub(super) fn clean(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            // Writing to a String cannot fail.
            let _ = match c {
                '\n' | '\r' | '\t' => out.write_char(c),
                c if c.is_ascii_control() => write!(out, "\\x{:02x}", u32::from(c)),
                c if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') => {
                    write!(out, "\\u{{{:x}}}", u32::from(c))
                }
                c => out.write_char(c),
            };
        }
        for byte in chunk.invalid() {
            let _ = write!(out, "\\x{byte:02x}");
        }
    }
    out
}

/// Appends the fields of a head: each ends in `|`, `|` and `\` inside are preceded by `\`, and a line
/// end or tab is a blank.
pub(super) fn head(fields: &[&str], out: &mut Vec<u8>) {
    for field in fields {
        for byte in field.bytes() {
            match byte {
                b'|' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
                b'\n' | b'\r' | b'\t' => out.push(b' '),
                byte => out.push(byte),
            }
        }
        out.push(b'|');
    }
}

/// The agent's version; it comes from the build, but an empty field would shift the head.
pub(super) fn version(view: View<'_>) -> String {
    let version = clean(&view.text("agent.version"));
    if version.is_empty() { "0".to_owned() } else { version }
}
