//! Fields of the event itself and the rule that matched.

use super::render::{closed, connect, connection_name, open, open_name, raw_result};
use super::{Arg, ArgKind, Field, Need, Type, Value, flags, spare};
use crate::call::{self, Group};
use crate::event::{Alert, Body};
use crate::raw::SignalFate;
use crate::{Event, EventKind, KindSet, Text};
use std::borrow::Cow;

const GAP: KindSet = KindSet::of(&[EventKind::Gap]);
/// What the parameters of a call, or the object of a response, may show of other fields.
pub(super) const ARGUMENTS: &[&str] = &[
    "process.name",
    "process.args",
    "process.command_line",
    "process.executable",
    "hostward.process.filename",
    "file.path",
    "file.name",
    "file.directory",
    "file.extension",
    "file.inode",
    "hostward.file.argument",
    "source.ip",
    "source.address",
    "source.port",
    "destination.ip",
    "destination.address",
    "destination.port",
];
pub(super) const HOST_NAME: &[&str] = &["host.name", "host.hostname", "agent.name", "related.hosts"];
/// Hooks of sockets.
const SOCKETS: KindSet = KindSet::of(&[EventKind::Connect, EventKind::ConnectionEnd])
    .union(super::net_fields::UDP)
    .union(super::dns_fields::DNS);
const CALLS: KindSet = KindSet::ALL
    .without(KindSet::of(&[EventKind::Exit, EventKind::Gap, EventKind::Agent]))
    .without(super::net_fields::UDP)
    .without(super::dns_fields::DNS);

/// Calls that hand bytes over.
const BUFFERS: KindSet = KindSet::of(&[EventKind::Sendto, EventKind::Sendmsg]);

fn list<'e>(words: &[&'static str]) -> Value<'e> {
    Value::some_list(words.iter().map(|word| Cow::Borrowed(word.as_bytes())))
}

fn texts(list: &[Text]) -> Value<'_> {
    Value::some_list(list.iter().map(|text| Cow::Borrowed(text.as_bytes())))
}

pub(super) fn some(text: &str) -> Value<'_> {
    if text.is_empty() { Value::Missing } else { Value::text(text.as_bytes()) }
}

fn alert<'e>(event: &'e Event, read: fn(&'e Alert) -> Value<'e>) -> Value<'e> {
    event.alert.as_deref().map_or(Value::Missing, read)
}

fn action(event: &Event) -> &[u8] {
    match &event.body {
        Body::Agent(notice) => notice.action.as_bytes(),
        Body::Open(open) if open.created => b"creation",
        Body::Cgroup(change) if change.removed => b"cgroup_removed",
        _ => event.kind().action().as_bytes(),
    }
}

/// What the event is about, when it is a system call of [`crate::call`].
fn group(event: &Event) -> Option<Group> {
    call::find(event.kind()).map(|spec| spec.group)
}

fn category(event: &Event) -> Value<'_> {
    let own: &[&str] = &[match (group(event), event.kind()) {
        (Some(group), _) => group.category(),
        (None, EventKind::Exec | EventKind::Fork | EventKind::Exit | EventKind::Signal) => "process",
        (None, EventKind::Open | EventKind::CloseWrite) => "file",
        (None, kind) if SOCKETS.contains(kind) => "network",
        (None, _) => "host",
    }];
    match event.alert {
        Some(_) => list(&[&["intrusion_detection"], own].concat()),
        None => list(own),
    }
}

fn types(event: &Event) -> Value<'_> {
    if event.alert.is_some() {
        return list(&["info"]);
    }
    match &event.body {
        Body::Exec { .. } | Body::Fork => list(&["start"]),
        Body::Exit { .. } => list(&["end"]),
        Body::Cgroup(change) => list(if change.removed { &["end"] } else { &["start"] }),
        Body::Open(open) if open.created => list(&["creation"]),
        Body::Open(_) => list(&["access"]),
        Body::CloseWrite(_) => list(&["change"]),
        Body::Connect(_) => list(&["connection", "start"]),
        Body::ConnectionEnd(_) => list(&["connection", "end"]),
        Body::UdpSend(_) => list(&["connection", "start"]),
        Body::Dns(_) => list(&["connection", "protocol"]),
        Body::Call(_) => match call::find(event.kind()) {
            Some(spec) => list(&[spec.ecs_type]),
            None => Value::Missing,
        },
        // ECS lets a host event be no error: `event.kind` and `event.outcome` tell a loss and a failure.
        Body::Gap(_) | Body::Agent(_) | Body::Signal(_) => list(&["info"]),
    }
}

fn outcome(event: &Event) -> Value<'_> {
    match (&event.body, raw_result(event)) {
        (Body::Agent(notice), _) => if notice.success { "success" } else { "failure" }.into(),
        // A connect that is under way: nobody knows yet.
        (Body::Connect(_), Some(-115)) => "unknown".into(),
        (Body::Dns(dns), _) => match dns.message.as_ref().filter(|_| dns.answer) {
            Some(message) => if message.response_code() == 0 { "success" } else { "failure" }.into(),
            None => "unknown".into(),
        },
        (Body::UdpSend(_), _) => "unknown".into(),
        (Body::Signal(signal), _) => {
            if signal.sent.fate == SignalFate::Overflow { "failure" } else { "success" }.into()
        }
        (_, Some(result)) => if result >= 0 { "success" } else { "failure" }.into(),
        (_, None) => Value::Missing,
    }
}

fn record_kind(event: &Event) -> &'static str {
    match event.kind() {
        _ if event.alert.is_some() => "alert",
        EventKind::Gap => "pipeline_error",
        _ => "event",
    }
}

/// The file that an alert is about, the address, or the program: `hostward.response.object`.
fn object(event: &Event) -> Value<'_> {
    if let Some(close) = closed(event) {
        return Value::some_text(&close.path);
    }
    match (open(event), connect(event)) {
        (Some(open), _) => Value::Text(super::render::open_path(open)),
        (None, Some(connect)) => connection_name(connect).map_or(Value::Missing, Value::owned),
        (None, None) => event.process.as_deref().map_or(Value::Missing, |p| match p.path.is_empty() {
            true => Value::some_text(&p.comm),
            false => Value::some_text(&p.path),
        }),
    }
}

/// `evt.arg[NAME]`: parameters of the system call under their published names.
fn argument<'e>(event: &'e Event, key: &str) -> Value<'e> {
    if key == "res" {
        return raw_result(event).map_or(Value::Missing, flags::result);
    }
    match &event.body {
        Body::Open(open) => match key {
            "name" => Value::text(open.arg.as_bytes()),
            "flags" => Value::owned(flags::open_flags(open.flags, open.created)),
            "mode" => Value::shown(format_args!("{:#o}", open.mode)),
            "dirfd" if open.dirfd == -100 => "AT_FDCWD".into(),
            "dirfd" => Value::shown(open.dirfd),
            "fd" if open.result >= 0 => {
                let name = Value::Text(open_name(open));
                let Value::Text(mut text) = Value::shown(format_args!("<f>{}=", open.result)) else {
                    return Value::Missing;
                };
                if let Value::Text(name) = &name {
                    text.to_mut().extend_from_slice(name);
                }
                name.recycle();
                Value::Text(text)
            }
            "ino" => Value::shown(open.inode.ino),
            _ => Value::Missing,
        },
        Body::CloseWrite(close) => match key {
            "fd" if close.fd >= 0 => {
                let number = format!("<f>{}=", close.fd);
                Value::owned([number.as_bytes(), close.path.as_bytes()].concat())
            }
            "name" => Value::some_text(&close.path),
            "flags" => Value::owned(flags::open_flags(close.flags, close.created)),
            _ => Value::Missing,
        },
        Body::Connect(connect) => match key {
            "fd" => Value::shown(connect.fd),
            "tuple" | "addr" => connection_name(connect).map_or(Value::Missing, Value::owned),
            _ => Value::Missing,
        },
        Body::ConnectionEnd(end) => match key {
            "tuple" | "addr" => connection_name(&end.socket).map_or(Value::Missing, Value::owned),
            _ => Value::Missing,
        },
        Body::UdpSend(_) | Body::Dns(_) => match (key, connect(event)) {
            ("tuple" | "addr", Some(socket)) => connection_name(socket).map_or(Value::Missing, Value::owned),
            _ => Value::Missing,
        },
        Body::Exec { .. } => match (key, event.process.as_deref()) {
            ("filename", Some(process)) => Value::some_text(&process.filename),
            ("exe", Some(process)) => process.args.iter().next().map_or(Value::Missing, Value::text),
            ("comm", Some(process)) => Value::some_text(&process.comm),
            ("flags", Some(process)) => Value::owned(super::process_fields::exe_flags(process)),
            _ => Value::Missing,
        },
        Body::Exit { status, .. } => match key {
            "status" => Value::shown(status),
            "ret" => Value::shown(status >> 8 & 0xff),
            "sig" => Value::shown(status & 0x7f),
            _ => Value::Missing,
        },
        Body::Cgroup(change) => match key {
            "path" => Value::some_text(&change.path),
            _ => Value::Missing,
        },
        Body::Call(_) => super::call_fields::argument(event, key),
        Body::Signal(_) => super::signal_fields::argument(event, key),
        Body::Fork | Body::Gap(_) | Body::Agent(_) => Value::Missing,
    }
}

/// Only what is not the usual one is told.
fn stream<'e>(number: Option<u8>) -> Value<'e> {
    number.filter(|number| *number != 0).map(u32::from).into()
}

/// `evt.args`: all parameters as `name=value`.
fn all_arguments(event: &Event) -> Value<'_> {
    let names: &[&str] = match event.kind() {
        EventKind::Open => &["fd", "dirfd", "name", "flags", "mode", "res"],
        EventKind::CloseWrite => &["res", "fd", "name", "flags"],
        EventKind::Connect => &["res", "fd", "tuple"],
        EventKind::ConnectionEnd => &["res", "tuple"],
        EventKind::UdpSend | EventKind::DnsQuestion | EventKind::DnsAnswer => &["tuple"],
        EventKind::Exec => &["res", "exe", "filename", "comm", "flags"],
        EventKind::Exit => &["status", "ret", "sig"],
        EventKind::Cgroup => &["path"],
        EventKind::Signal => &["spid", "dpid", "sig"],
        kind if kind.is_call() => &["res"],
        _ => return Value::Missing,
    };
    let mut out = spare::text();
    for name in names.iter().copied().chain(super::call_fields::names(event)) {
        let value = argument(event, name);
        if let Value::Text(text) = &value {
            if !out.is_empty() {
                out.push(b' ');
            }
            out.extend_from_slice(name.as_bytes());
            out.push(b'=');
            out.extend_from_slice(text);
        }
        value.recycle();
    }
    Value::owned(out)
}

/// Technique `T1059` of a sub-technique `T1059.004`.
fn techniques(alert: &Alert) -> Value<'_> {
    let mut ids: Vec<Cow<'_, [u8]>> = Vec::new();
    for id in &alert.rule.technique_ids {
        let base = id.as_bytes().split(|b| *b == b'.').next().unwrap_or_default();
        if !ids.iter().any(|known| known.as_ref() == base) {
            ids.push(Cow::Borrowed(base));
        }
    }
    Value::some_list(ids)
}

fn subtechniques(alert: &Alert) -> Value<'_> {
    let sub = alert.rule.technique_ids.iter().filter(|id| id.as_bytes().contains(&b'.'));
    Value::some_list(sub.map(|id| Cow::Borrowed(id.as_bytes())))
}

pub(super) const FIELDS: &[Field] = &[
    Field::wire("@timestamp", Type::Time, "when it happened", |e, _| Value::Time(e.time_ns))
        .ocsf("time")
        .cef("rt")
        .leef("devTime"),
    Field::wire("ecs.version", Type::Text, "version of ECS that the names follow", |_, _| {
        crate::encode::ECS_VERSION.into()
    })
    .needs(Need::Agent),
    Field::wire("message", Type::Text, "the alert's or notice's sentence", |e, _| {
        match (&e.alert, &e.body) {
            (Some(alert), _) => Value::some_text(&alert.message),
            (None, Body::Agent(notice)) => Value::some_text(&notice.message),
            (None, Body::Gap(gap)) => Value::owned(format!(
                "{} {} events of CPU {} were {} (numbers {} to {})",
                gap.count,
                gap.lost.name(),
                gap.cpu,
                if gap.is_sampled() { "left out under overload" } else { "lost in the kernel" },
                gap.first,
                gap.last
            )),
            _ => Value::Missing,
        }
    })
    .needs(Need::Agent)
    .ocsf("message")
    .cef("msg")
    .leef("msg"),
    Field::wire("event.id", Type::Text, "id of this record, the same in a replay", |e, _| Value::shown(e.id))
        .needs(Need::Agent)
        .ocsf("metadata.uid")
        .cef("externalId")
        .leef("eventUid"),
    Field::wire("event.kind", Type::Text, "event, alert, or pipeline_error for a loss", |e, _| {
        record_kind(e).into()
    }),
    Field::wire(
        "event.category",
        Type::List,
        "process, file, network, driver, intrusion_detection, host",
        |e, _| category(e),
    )
    .cef("cat")
    .leef("cat"),
    Field::wire(
        "event.type",
        Type::List,
        "start, end, creation, change, deletion, access, connection, info",
        |e, _| types(e),
    ),
    Field::wire(
        "event.action",
        Type::Text,
        "exec, fork, end, open, creation, close_write, connection_attempted, gap, …",
        |e, _| Value::text(action(e)),
    )
    .ocsf("metadata.event_code")
    .cef("act")
    .leef("action"),
    Field::wire("event.outcome", Type::Text, "success, failure, unknown", |e, _| outcome(e))
        .cef("outcome")
        .leef("outcome"),
    Field::wire("event.sequence", Type::Number, "number in the order of the pipeline", |e, _| {
        Value::number(e.sequence)
    })
    .needs(Need::Agent)
    .ocsf("metadata.sequence")
    .cef("cn3")
    .leef("sequence"),
    Field::wire("event.created", Type::Time, "when the agent first had it", |e, _| Value::Time(e.created_ns))
        .needs(Need::Agent)
        .ocsf("metadata.logged_time"),
    Field::wire("event.module", Type::Text, "always hostward", |_, _| "hostward".into()),
    Field::wire("event.provider", Type::Text, "kernel, or hostward for records of its own", |e, _| {
        if e.source.is_some() && e.alert.is_none() { "kernel" } else { "hostward" }.into()
    }),
    Field::wire(
        "event.dataset",
        Type::Text,
        "hostward.process, hostward.file, hostward.alert, …",
        |e, _| {
            match (group(e), e.kind()) {
                _ if e.alert.is_some() => "hostward.alert",
                (Some(group), _) => group.dataset(),
                (None, EventKind::Open | EventKind::CloseWrite) => "hostward.file",
                (None, kind) if SOCKETS.contains(kind) => "hostward.network",
                (None, EventKind::Gap | EventKind::Agent) => "hostward.agent",
                (None, _) => "hostward.process",
            }
            .into()
        },
    )
    .ocsf("metadata.log_name"),
    Field::wire(
        "event.severity",
        Type::Number,
        "of an alert, as syslog numbers: 0 emergency to 7 debug",
        |e, _| alert(e, |a| Value::number(a.rule.priority.severity())),
    ),
    Field::new("evt.num", Type::Number, "number of the event, from 1", |e, _| Value::number(e.sequence))
        .needs(Need::Agent),
    Field::new("evt.time", Type::Text, "time of the event, HH:MM:SS.nnnnnnnnn in UTC", |e, _| {
        jiff::Timestamp::from_nanosecond(e.time_ns.into())
            .map_or(Value::Missing, |time| Value::owned(time.strftime("%H:%M:%S.%9f").to_string()))
    }),
    Field::new("evt.time.iso8601", Type::Time, "time of the event, ISO 8601 in UTC", |e, _| {
        Value::Time(e.time_ns)
    }),
    Field::new("evt.rawtime", Type::Number, "time of the event, ns since the epoch", |e, _| {
        Value::number(e.time_ns)
    }),
    Field::new("evt.cpu", Type::Number, "CPU that recorded the event", |e, _| {
        e.source.map(|source| u32::from(source.cpu)).into()
    })
    .ecs("hostward.source.cpu"),
    Field::wire("hostward.source.rung", Type::Text, "kind of probe that saw the event", |e, _| {
        e.source.map(|source| source.rung.name()).into()
    }),
    Field::wire(
        "hostward.source.sequence",
        Type::Number,
        "number among those of its kind and stream on its CPU",
        |e, _| e.source.map(|source| source.seq).into(),
    ),
    Field::wire(
        "hostward.source.stream",
        Type::Number,
        "which numbers the sequence is of, where a kind has several",
        |e, _| stream(e.source.map(|source| source.stream)),
    ),
    Field::new("evt.rawres", Type::Number, "result of the call; negative: -errno", |e, _| {
        raw_result(e).into()
    })
    .on(CALLS),
    Field::new("evt.res", Type::Text, "SUCCESS or the errno's name", |e, _| {
        raw_result(e).map_or(Value::Missing, flags::result)
    })
    .on(CALLS),
    Field::new("evt.failed", Type::Bool, "the call failed", |e, _| raw_result(e).map(|code| code < 0).into())
        .on(CALLS),
    Field::wire("error.code", Type::Text, "errno's name of a call that failed", |e, _| {
        raw_result(e).filter(|code| *code < 0).map_or(Value::Missing, flags::result)
    })
    .on(CALLS)
    .ocsf("status_code")
    .cef("reason")
    .leef("reason"),
    Field::new("evt.arg", Type::Text, "parameter [NAME] of the system call, rendered as text", |e, arg| {
        match arg {
            Arg::Key(key) => argument(e, key),
            _ => Value::Missing,
        }
    })
    .takes(ArgKind::Key)
    .shows(ARGUMENTS),
    Field::new("evt.args", Type::Text, "all parameters, name=value", |e, _| all_arguments(e))
        .shows(ARGUMENTS),
    Field::new(
        "evt.buffer",
        Type::Text,
        "first bytes that were sent or received, as far as they were taken",
        |e, _| match &e.body {
            Body::Call(call) if BUFFERS.contains(call.kind) => Value::some_text(&call.data),
            _ => Value::Missing,
        },
    )
    .on(BUFFERS),
    Field::new("evt.dir", Type::Text, "always <: events are reported when the call returns", |_, _| {
        "<".into()
    }),
    Field::new("evt.category", Type::Text, "process, file, net, memory, signal, system", |e, _| {
        match (group(e), e.kind()) {
            (Some(group), _) => group.published().into(),
            (None, EventKind::Exec | EventKind::Fork | EventKind::Exit) => "process".into(),
            (None, EventKind::Open | EventKind::CloseWrite) => "file".into(),
            (None, kind) if SOCKETS.contains(kind) => "net".into(),
            (None, _) => Value::Missing,
        }
    }),
    Field::wire("data_stream.type", Type::Text, "always logs", |_, _| "logs".into()).needs(Need::Agent),
    Field::wire("data_stream.namespace", Type::Text, "always default", |_, _| "default".into())
        .needs(Need::Agent),
    Field::wire("data_stream.dataset", Type::Text, "as event.dataset", |e, _| {
        super::find("event.dataset").map_or(Value::Missing, |field| field.value(e, &Arg::None))
    })
    .needs(Need::Agent),
    Field::wire("related.user", Type::List, "all user names of the event", |e, _| {
        let Some(process) = e.process.as_deref() else { return Value::Missing };
        let own = e.names_of(process).map(|names| &names.users);
        let effective = own.and_then(|users| users.get(&process.creds.euid));
        let real = own.and_then(|users| users.get(&process.creds.uid));
        let login = e.around.users.users.get(&process.loginuid);
        let mut names: Vec<Cow<'_, [u8]>> = Vec::new();
        for name in [effective, real, login].into_iter().flatten() {
            if !names.iter().any(|known| known.as_ref() == name.as_bytes()) {
                names.push(Cow::Borrowed(name.as_bytes()));
            }
        }
        Value::some_list(names)
    })
    .shows(&["user.name", "process.user.name", "process.real_user.name", "hostward.process.login_user"])
    .needs(Need::Names),
    Field::wire("related.hosts", Type::List, "name of the host", |e, _| {
        Value::some_list(Some(e.around.host.hostname.as_bytes()).filter(|n| !n.is_empty()).map(Cow::Borrowed))
    })
    .shows(HOST_NAME)
    .needs(Need::Host),
    Field::wire("rule.name", Type::Text, "the rule that matched", |e, _| {
        alert(e, |a| Value::some_text(&a.rule.name))
    })
    .ocsf("finding_info.title")
    .leef("policy"),
    Field::wire("rule.description", Type::Text, "what the rule looks for", |e, _| {
        alert(e, |a| Value::some_text(&a.rule.description))
    })
    .ocsf("finding_info.desc"),
    Field::wire("rule.ruleset", Type::Text, "where the rule stands: file:line", |e, _| {
        alert(e, |a| Value::some_text(&a.rule.source))
    })
    .ocsf("finding_info.analytic.uid"),
    Field::wire("rule.version", Type::Text, "hash of the rule file", |e, _| {
        alert(e, |a| Value::some_text(&a.rule.file_hash))
    })
    .ocsf("finding_info.analytic.version"),
    Field::wire("rule.category", Type::Text, "priority of the rule", |e, _| {
        alert(e, |a| a.rule.priority.name().into())
    }),
    Field::wire("tags", Type::List, "tags of the rule", |e, _| alert(e, |a| texts(&a.rule.tags)))
        .ocsf("metadata.labels"),
    Field::wire(
        "threat.framework",
        Type::Text,
        "MITRE ATT&CK, when the rule names a technique or tactic",
        |e, _| {
            alert(e, |a| match a.rule.technique_ids.is_empty() && a.rule.tactics.is_empty() {
                true => Value::Missing,
                false => "MITRE ATT&CK".into(),
            })
        },
    ),
    Field::wire("threat.technique.id", Type::List, "techniques of the rule", |e, _| alert(e, techniques))
        .cef("cs4")
        .leef("technique"),
    Field::wire("threat.technique.subtechnique.id", Type::List, "sub-techniques of the rule", |e, _| {
        alert(e, subtechniques)
    }),
    Field::wire("threat.tactic.name", Type::List, "tactics of the rule", |e, _| {
        alert(e, |a| texts(&a.rule.tactics))
    }),
    Field::wire("hostward.alert.trigger", Type::Text, "event.id of the event that matched", |e, _| {
        alert(e, |a| Value::owned(a.trigger.to_string()))
    })
    .ocsf("finding_info.related_events[].uid"),
    Field::wire("hostward.response.name", Type::Text, "the response that applied", |e, _| {
        alert(e, |a| Value::some_text(&a.response))
    })
    .ocsf("policy.name"),
    Field::wire("hostward.response.owner", Type::Text, "owner that the response names", |e, _| {
        alert(e, |a| Value::some_text(&a.owner))
    }),
    Field::wire("hostward.response.mode", Type::Text, "monitor or enforce", |e, _| {
        alert(e, |a| a.mode.name().into())
    }),
    Field::wire("hostward.response.action", Type::Text, "alert or kill", |e, _| {
        alert(e, |a| a.action.name().into())
    }),
    Field::wire("hostward.response.actor", Type::Text, "who acted: kernel or agent", |e, _| {
        alert(e, |a| some(a.actor.name()))
    }),
    Field::wire(
        "hostward.response.outcome",
        Type::Text,
        "alerted, would_have, killed, already_gone, protected, failed, timed_out",
        |e, _| alert(e, |a| a.outcome.name().into()),
    )
    .cef("cs5")
    .leef("response"),
    Field::wire("hostward.response.detail", Type::Text, "why, where there is something to add", |e, _| {
        alert(e, |a| Value::some_text(&a.detail))
    })
    .ocsf("status_detail"),
    Field::wire(
        "hostward.response.object",
        Type::Text,
        "the file, address or program decided about",
        |e, _| {
            if e.alert.is_some() { object(e) } else { Value::Missing }
        },
    )
    .shows(ARGUMENTS),
    Field::wire("hostward.stage.observed", Type::Time, "the kernel recorded the event", |e, _| {
        alert_time(e, e.time_ns)
    }),
    Field::wire("hostward.stage.decoded", Type::Time, "the agent decoded it", |e, _| {
        alert_time(e, e.created_ns)
    }),
    Field::wire("hostward.stage.matched", Type::Time, "the rule matched", |e, _| {
        alert(e, |a| Value::Time(a.matched_ns))
    }),
    Field::wire("hostward.stage.responded", Type::Time, "the outcome was known", |e, _| {
        alert(e, |a| Value::Time(a.responded_ns))
    }),
    Field::wire("hostward.gap.type", Type::Text, "kind of the lost events", |e, _| {
        gap(e, |g| g.lost.name().into())
    })
    .on(GAP),
    Field::wire("hostward.gap.cpu", Type::Number, "CPU that lost them", |e, _| {
        gap(e, |g| u32::from(g.cpu).into())
    })
    .on(GAP),
    Field::wire(
        "hostward.gap.stream",
        Type::Number,
        "stream of the lost events, where a kind has several",
        |e, _| gap(e, |g| stream(Some(g.stream))),
    )
    .on(GAP),
    Field::wire(
        "hostward.gap.reason",
        Type::Text,
        "overrun: there was no room, or an agent was killed with them in hand; sampled: left out on purpose, as there was too much",
        |e, _| gap(e, |g| if g.is_sampled() { "sampled" } else { "overrun" }.into()),
    )
    .on(GAP),
    Field::wire("hostward.gap.first", Type::Number, "number of the first lost event", |e, _| {
        gap(e, |g| g.first.into())
    })
    .on(GAP),
    Field::wire("hostward.gap.last", Type::Number, "number of the last lost event", |e, _| {
        gap(e, |g| g.last.into())
    })
    .on(GAP),
    Field::wire("hostward.gap.count", Type::Number, "how many were lost", |e, _| gap(e, |g| g.count.into()))
        .on(GAP)
        .ocsf("count")
        .cef("cnt")
        .leef("lostEvents"),
];

fn gap<'e>(event: &Event, read: fn(crate::raw::Gap) -> Value<'e>) -> Value<'e> {
    if let Body::Gap(gap) = event.body { read(gap) } else { Value::Missing }
}

/// A stage's time, for alerts only: other records have it as `@timestamp` and `event.created`.
fn alert_time<'e>(event: &Event, time_ns: i64) -> Value<'e> {
    if event.alert.is_some() { Value::Time(time_ns) } else { Value::Missing }
}

#[cfg(test)]
mod tests {
    #[test]
    fn names_are_unique_and_known() {
        let mut seen = std::collections::HashSet::new();
        for field in super::super::fields() {
            assert!(seen.insert(field.name), "{} stands twice", field.name);
            assert!(!field.meaning.is_empty() && !field.meaning.ends_with('.'), "{}", field.name);
        }
        let mut wire = std::collections::HashSet::new();
        for field in super::super::fields().iter().filter(|field| !field.ecs.is_empty()) {
            assert!(wire.insert(field.ecs), "{} is written twice", field.ecs);
        }
    }
}
