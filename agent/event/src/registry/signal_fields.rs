//! Fields of signals that one process sends to another.

use super::{Field, Type, Value, flags};
use crate::event::{Body, Signal};
use crate::{Event, EventKind, KindSet};

const SIGNAL: KindSet = KindSet::of(&[EventKind::Signal]);

fn of<'e>(event: &'e Event, read: impl Fn(&'e Signal) -> Value<'e>) -> Value<'e> {
    if let Body::Signal(signal) = &event.body { read(signal) } else { Value::Missing }
}

/// `SIGKILL`; of a real-time signal its number.
fn name(signal: &Signal) -> Value<'_> {
    let number = signal.sent.number;
    flags::signal(number.into()).map_or_else(|| Value::shown(number), Value::from)
}

/// `evt.arg[NAME]`.
pub(super) fn argument<'e>(event: &'e Event, key: &str) -> Value<'e> {
    match key {
        "sig" => of(event, name),
        "dpid" => of(event, |signal| Value::shown(signal.sent.target_pid)),
        "spid" => event.process.as_deref().map_or(Value::Missing, |process| Value::shown(process.pid)),
        _ => Value::Missing,
    }
}

pub(super) const FIELDS: &[Field] = &[
    Field::new(
        "signal.name",
        Type::Text,
        "SIGKILL, SIGTERM, …; of a real-time signal its number",
        |e, _| of(e, name),
    )
    .on(SIGNAL)
    .ecs("hostward.signal.name"),
    Field::new("signal.number", Type::Number, "number of the signal", |e, _| {
        of(e, |signal| i64::from(signal.sent.number).into())
    })
    .on(SIGNAL)
    .ecs("hostward.signal.number"),
    Field::new("signal.code", Type::Number, "si_code: 0 kill, -1 sigqueue, -6 tgkill", |e, _| {
        of(e, |signal| i64::from(signal.sent.code).into())
    })
    .on(SIGNAL)
    .ecs("hostward.signal.code"),
    Field::new(
        "signal.fate",
        Type::Text,
        "delivered, ignored (by the target), already_pending, overflow, lost_info",
        |e, _| of(e, |signal| signal.sent.fate.name().into()),
    )
    .on(SIGNAL)
    .ecs("hostward.signal.fate"),
    Field::new(
        "signal.target.pid",
        Type::Number,
        "process that it is sent to, host's pid namespace",
        |e, _| of(e, |signal| i64::from(signal.sent.target_pid).into()),
    )
    .on(SIGNAL)
    .ecs("hostward.signal.target.pid"),
    Field::new("signal.target.name", Type::Text, "command name of the process that it is sent to", |e, _| {
        of(e, |signal| Value::some_text(&signal.sent.target_comm))
    })
    .on(SIGNAL)
    .ecs("hostward.signal.target.name"),
    Field::new(
        "signal.target.exepath",
        Type::Text,
        "program of the process that it is sent to, where it is known",
        |e, _| of(e, |signal| Value::some_text(&signal.target_path)),
    )
    .on(SIGNAL)
    .ecs("hostward.signal.target.executable"),
    Field::wire(
        "hostward.signal.target.entity_id",
        Type::Text,
        "stable id of the process that it is sent to",
        |e, _| of(e, |signal| Value::owned(signal.target_entity_id.to_string())),
    )
    .on(SIGNAL),
];
