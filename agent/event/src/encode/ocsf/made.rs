//! Attributes that OCSF has beside our fields: numbers of its lists, words about the product.

use super::Class;
use crate::call::{self, Group};
use crate::encode::json;
use crate::encode::tree::{Leaf, Make};
use crate::encode::view::View;
use crate::event::{Body, Priority};
use crate::fact::Outcome;
use crate::raw::{Endpoint, RawCall};
use crate::registry::Value;
use crate::{EventKind, KindSet};
use std::borrow::Cow;

/// One attribute and how it is made.
pub(super) struct Attribute {
    pub(super) path: &'static str,
    pub(super) kinds: KindSet,
    pub(super) leaf: Leaf,
}

const fn all(path: &'static str, make: Make) -> Attribute {
    Attribute { path, kinds: KindSet::ALL, leaf: Leaf::Made(make) }
}

const fn on(kinds: KindSet, path: &'static str, make: Make) -> Attribute {
    Attribute { path, kinds, leaf: Leaf::Made(make) }
}

const FILE: KindSet =
    KindSet::of(&[EventKind::Open, EventKind::CloseWrite]).union(call::of_group(Group::File));
const CONNECT: KindSet = KindSet::of(&[
    EventKind::Connect,
    EventKind::ConnectionEnd,
    EventKind::UdpSend,
    EventKind::DnsQuestion,
    EventKind::DnsAnswer,
])
.union(call::of_group(Group::Network));
const LAUNCH: KindSet = KindSet::of(&[EventKind::Exec, EventKind::Fork]);

/// In the order in which they open a document.
pub(super) const ATTRIBUTES: &[Attribute] = &[
    all("category_uid", |v| Class::of(v.event()).category().into()),
    all("class_uid", |v| Class::of(v.event()).uid().into()),
    all("activity_id", |v| activity(v).into()),
    all("activity_name", |v| if activity(v) == OTHER { v.named("event.action") } else { Value::Missing }),
    all("type_uid", |v| (Class::of(v.event()).uid() * 100 + activity(v)).into()),
    all("severity_id", |v| severity(v.priority()).into()),
    all("status_id", status),
    all("is_alert", |v| v.event().alert.is_some().into()),
    all("action_id", |v| decision(v).map(|(action, _)| action).into()),
    all("disposition_id", |v| decision(v).map(|(_, disposition)| disposition).into()),
    all("metadata.version", |_| crate::encode::OCSF_VERSION.into()),
    all("metadata.profiles", profiles),
    all("metadata.product.name", |_| "Hostward".into()),
    all("metadata.product.vendor_name", |_| "Hostward".into()),
    all("app.name", |_| "Hostward".into()),
    all("app.vendor_name", |_| "Hostward".into()),
    all("app.version", |v| v.named("agent.version")),
    // What kind of machine it is nobody asked.
    all("device.type_id", |_| 0u32.into()),
    all("device.os.type_id", |_| 200u32.into()),
    all("device.os.name", |v| or(v.named("host.os.name"), "Linux")),
    on(LAUNCH, "launch_type_id", |v| if matches!(v.event().body, Body::Fork) { 2u32 } else { 3 }.into()),
    // A process without a parent was started by the kernel itself.
    on(LAUNCH, "actor.app_name", |v| match v.event().process.as_deref() {
        Some(process) if process.ppid != 0 => Value::Missing,
        _ => "kernel".into(),
    }),
    all("process.file.name", |v| file_name(v.named("process.executable"))),
    all("process.file.type_id", |v| known(v.named("process.executable"), 1)),
    Attribute { path: "process.file.hashes", kinds: KindSet::ALL, leaf: Leaf::Raw(hashes) },
    all("process.parent_process.file.name", |v| file_name(v.named("process.parent.executable"))),
    all("process.parent_process.file.type_id", |v| known(v.named("process.parent.executable"), 1)),
    on(FILE, "file.name", |v| match v.named("file.name") {
        Value::Missing => or(v.named("file.path"), "unknown"),
        name => name,
    }),
    on(FILE, "file.type_id", file_type),
    on(CONNECT, "dst_endpoint.name", endpoint_name),
    on(CONNECT, "connection_info.direction_id", |v| direction(v).into()),
    on(CONNECT, "connection_info.protocol_ver_id", |v| match v.named("network.type") {
        Value::Text(word) if word.as_ref() == b"ipv4" => 4u32.into(),
        Value::Text(word) if word.as_ref() == b"ipv6" => 6u32.into(),
        _ => Value::Missing,
    }),
    all("finding_info.uid", |v| v.named("event.id")),
    all("finding_info.created_time", |v| v.named("event.created")),
    all("finding_info.analytic.name", |v| v.named("rule.name")),
    all("finding_info.analytic.type_id", |_| 1u32.into()),
    Attribute { path: "finding_info.attacks", kinds: KindSet::ALL, leaf: Leaf::Raw(attacks) },
];

/// `activity_id` of what OCSF has no number for.
const OTHER: u32 = 99;

fn activity(view: View<'_>) -> u32 {
    let event = view.event();
    if event.alert.is_some() {
        return 1;
    }
    match &event.body {
        Body::Exec { .. } | Body::Fork => 1,
        Body::Exit { .. } => 2,
        Body::Cgroup(_) | Body::Signal(_) => OTHER,
        Body::Call(call) => call_activity(call),
        Body::Open(open) if open.created => 1,
        Body::Open(_) => 14,
        // Update.
        Body::CloseWrite(_) => 3,
        Body::Connect(connect) => match connect.result {
            0 | EINPROGRESS => 1,
            ECONNREFUSED => 5,
            _ => 4,
        },
        Body::ConnectionEnd(_) => 2,
        // Traffic.
        Body::UdpSend(_) | Body::Dns(_) => 6,
        Body::Gap(_) => 1,
        Body::Agent(notice) if !notice.success => 1,
        Body::Agent(notice) => match notice.action.as_bytes() {
            b"agent_started" => 3,
            b"agent_stopped" | b"agent_stopping" => 4,
            _ => OTHER,
        },
    }
}

/// Of a file or network activity, where OCSF has a number for it.
fn call_activity(call: &RawCall) -> u32 {
    let Some(spec) = call::find(call.kind) else { return OTHER };
    match (spec.group, spec.ecs_type, call.kind) {
        (Group::File, "creation", _) => 1,
        (Group::File, "deletion", _) => 4,
        (Group::File, _, EventKind::Rename | EventKind::Renameat | EventKind::Renameat2) => 5,
        (Group::File, _, EventKind::Truncate | EventKind::Ftruncate) => 3,
        (Group::File, ..) => 6,
        (Group::Network, _, EventKind::Listen) => 7,
        (Group::Network, _, EventKind::Accept | EventKind::Accept4) => 1,
        (Group::Network, _, EventKind::Sendto | EventKind::Sendmsg | EventKind::Sendmmsg) => 6,
        _ => OTHER,
    }
}

/// -errno of a connect that is under way.
const EINPROGRESS: i64 = -115;
/// -errno of a connect to a port where nobody listens.
const ECONNREFUSED: i64 = -111;

const fn severity(priority: Priority) -> u32 {
    match priority {
        Priority::Emergency => 6,
        Priority::Alert | Priority::Critical => 5,
        Priority::Error => 4,
        Priority::Warning => 3,
        Priority::Notice => 2,
        Priority::Informational | Priority::Debug => 1,
    }
}

/// Success, failure or unknown; a finding is new.
fn status(view: View<'_>) -> Value<'_> {
    if view.event().alert.is_some() {
        return 1u32.into();
    }
    match view.named("event.outcome") {
        Value::Text(word) if word.as_ref() == b"success" => 1u32.into(),
        Value::Text(word) if word.as_ref() == b"failure" => 2u32.into(),
        Value::Text(_) => 0u32.into(),
        _ => Value::Missing,
    }
}

/// `action_id` and `disposition_id`: denied and blocked, or allowed or observed and why.
fn decision(view: View<'_>) -> Option<(u32, u32)> {
    Some(match view.event().alert.as_deref()?.outcome {
        Outcome::Killed => (2, 2),
        Outcome::Alerted => (3, 19),
        Outcome::WouldHave => (3, 15),
        Outcome::AlreadyGone | Outcome::Protected => (1, 16),
        Outcome::Failed | Outcome::TimedOut => (1, 27),
    })
}

fn profiles(view: View<'_>) -> Value<'_> {
    let mut names: Vec<Cow<'_, [u8]>> = vec![Cow::Borrowed(b"container"), Cow::Borrowed(b"host")];
    if view.event().alert.is_some() {
        names.push(Cow::Borrowed(b"security_control"));
    }
    Value::List(names)
}

fn or<'e>(value: Value<'e>, instead: &'static str) -> Value<'e> {
    if value == Value::Missing { instead.into() } else { value }
}

fn known<'e>(value: Value<'_>, number: u32) -> Value<'e> {
    if value == Value::Missing { Value::Missing } else { number.into() }
}

/// What stands behind the last slash; all of a path that has nothing there.
fn file_name(path: Value<'_>) -> Value<'_> {
    let Value::Text(path) = path else { return Value::Missing };
    let name = path.rsplit(|byte| *byte == b'/').next().filter(|name| !name.is_empty()).map(<[u8]>::to_vec);
    Value::Text(name.map_or(path, Cow::Owned))
}

fn file_type(view: View<'_>) -> Value<'_> {
    let Value::Text(word) = view.named("file.type") else { return 0u32.into() };
    match word.as_ref() {
        b"file" => 1u32,
        b"dir" => 2,
        b"char_device" => 3,
        b"block_device" => 4,
        b"socket" => 5,
        b"fifo" => 6,
        b"symlink" => 7,
        _ => 0,
    }
    .into()
}

/// The path of a unix socket; for families without an address that we read, their number.
fn endpoint_name(view: View<'_>) -> Value<'_> {
    let socket = match &view.event().body {
        Body::Connect(socket) => Some(socket.as_ref()),
        Body::ConnectionEnd(end) => Some(&end.socket),
        Body::UdpSend(socket) => Some(socket.as_ref()),
        Body::Dns(dns) => Some(&dns.socket),
        Body::Call(call) => call.socket.as_deref(),
        _ => None,
    };
    let Some(connect) = socket else { return "unknown".into() };
    match &connect.remote {
        Some(Endpoint::Ip(_)) => Value::Missing,
        Some(Endpoint::Unix(_)) => or(view.named("destination.address"), "unix"),
        None => Value::owned(format!("address family {}", connect.family)),
    }
}

/// 1 inbound, 2 outbound, 4 local, 0 unknown.
fn direction(view: View<'_>) -> u32 {
    let socket = match &view.event().body {
        Body::Connect(socket) => Some(socket.as_ref()),
        Body::ConnectionEnd(end) => Some(&end.socket),
        Body::UdpSend(socket) => Some(socket.as_ref()),
        Body::Dns(dns) => Some(&dns.socket),
        Body::Call(call) => call.socket.as_deref(),
        _ => None,
    };
    let Some(connect) = socket else { return 0 };
    match &connect.remote {
        Some(Endpoint::Ip(_)) if connect.server => 1,
        Some(Endpoint::Ip(_)) => 2,
        Some(Endpoint::Unix(_)) => 4,
        None => 0,
    }
}

/// The fingerprint of the program; 3 is SHA-256.
fn hashes(view: View<'_>, out: &mut Vec<u8>) -> bool {
    let Value::Text(hash) = view.named("process.hash.sha256") else { return false };
    out.extend_from_slice(b"[{\"algorithm\":\"SHA-256\",\"algorithm_id\":3,\"value\":");
    json::string(&hash, out);
    out.extend_from_slice(b"}]");
    true
}

/// One element per technique with its sub-technique, one per tactic: the rule does not say which
/// technique serves which tactic.
fn attacks(view: View<'_>, out: &mut Vec<u8>) -> bool {
    let list = |name| match view.named(name) {
        Value::List(list) => list,
        _ => Vec::new(),
    };
    let subs = list("threat.technique.subtechnique.id");
    let start = out.len();
    let mut separator = b'[';
    for technique in list("threat.technique.id") {
        let below: Vec<_> = subs
            .iter()
            .filter(|sub| sub.strip_prefix(technique.as_ref()).is_some_and(|rest| rest.starts_with(b".")))
            .collect();
        let count = below.len().max(1);
        for n in 0..count {
            out.push(std::mem::replace(&mut separator, b','));
            if let Some(sub) = below.get(n) {
                out.extend_from_slice(b"{\"sub_technique\":{\"uid\":");
                json::string(sub, out);
                out.extend_from_slice(b"},\"technique\":{\"uid\":");
            } else {
                out.extend_from_slice(b"{\"technique\":{\"uid\":");
            }
            json::string(&technique, out);
            out.extend_from_slice(b"}}");
        }
    }
    for tactic in list("threat.tactic.name") {
        out.push(std::mem::replace(&mut separator, b','));
        out.extend_from_slice(b"{\"tactic\":{\"name\":");
        json::string(&tactic, out);
        out.extend_from_slice(b"}}");
    }
    if out.len() == start {
        return false;
    }
    out.push(b']');
    true
}
