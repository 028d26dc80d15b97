//! Falco's alert JSON, so that what reads Falco's alerts reads ours: `hostname`, `output`,
//! `output_fields`, `priority`, `rule`, `source`, `tags`, `time`.
//!
//! A loss or a notice is an alert of source `internal`, as Falco tells its own drops.

use super::json::{self, Times};
use super::view::View;
use crate::event::{Alert, Body, Priority};
use crate::redact::output_fields;
use crate::registry::{Arg, Value};
use std::borrow::Cow;
use std::collections::BTreeMap;

pub(super) fn write(view: View<'_>, out: &mut Vec<u8>) {
    let event = view.event();
    let alert = event.alert.as_deref();
    let (rule, source, priority) = match (alert, &event.body) {
        (Some(alert), _) => (view.named("rule.name"), "syscall", alert.rule.priority),
        (None, Body::Gap(_) | Body::Agent(_)) => {
            let rule = [b"Hostward internal: ", &view.text("event.action")[..]].concat();
            (Value::owned(rule), "internal", event.priority())
        }
        // Not carried (see `Encoding::carries`); if it is asked for all the same, no rule's alert.
        (None, _) => (view.named("event.action"), "syscall", Priority::Debug),
    };
    // Falco always writes the list, if an empty one.
    let tags = alert.map(|alert| alert.rule.tags.as_slice()).unwrap_or_default();
    let tags = Value::List(tags.iter().map(|tag| Cow::Borrowed(tag.as_bytes())).collect());
    out.extend_from_slice(b"{\"hostname\":");
    json::string(&view.text("host.name"), out);
    out.extend_from_slice(b",\"output\":");
    json::string(&output(view, priority), out);
    out.extend_from_slice(b",\"output_fields\":");
    fields(view, alert, out);
    let rest = [
        ("priority", priority.name().into()),
        ("rule", rule),
        ("source", source.into()),
        ("tags", tags),
        ("time", view.named("@timestamp")),
    ];
    for (name, value) in rest {
        json::push(out, format_args!(",\"{name}\":"));
        value_or_null(&value, out);
    }
    out.push(b'}');
}

fn value_or_null(value: &Value<'_>, out: &mut Vec<u8>) {
    if !json::value(value, Times::Iso, out) {
        out.extend_from_slice(b"null");
    }
}

/// `HH:MM:SS.nnnnnnnnn: PRIORITY TEXT`, as Falco puts it before the text of the rule.
fn output(view: View<'_>, priority: Priority) -> Vec<u8> {
    let mut line = view.text("evt.time");
    line.extend_from_slice(b": ");
    line.extend_from_slice(priority.name().as_bytes());
    line.push(b' ');
    let message = view.text("message");
    if message.is_empty() {
        super::compact::write(view, false, &mut line);
    } else {
        line.extend_from_slice(&message);
    }
    line
}

/// The fields of the rule's output by the names it uses, sorted, numbers as numbers, missing ones as
/// null. What a transformer makes is not here, but the fields it is made of are.
fn fields(view: View<'_>, alert: Option<&Alert>, out: &mut Vec<u8>) {
    let mut found: BTreeMap<String, Value<'_>> = BTreeMap::new();
    found.insert("evt.time".to_owned(), view.named("evt.rawtime"));
    found.insert("hostward.event_id".to_owned(), view.named("event.id"));
    for spelled in alert.map(|alert| alert.rule.output_fields.as_slice()).unwrap_or_default() {
        let plain = !spelled.as_bytes().contains(&b'(');
        for (field, arg) in output_fields(spelled.as_bytes()).flatten() {
            let name = match &arg {
                _ if plain => String::from_utf8_lossy(spelled.as_bytes()).into_owned(),
                Arg::None => field.name.to_owned(),
                Arg::Index(n) => format!("{}[{n}]", field.name),
                Arg::Key(key) => format!("{}[{key}]", field.name),
            };
            found.entry(name).or_insert_with(|| view.read(field, &arg));
        }
        if plain && output_fields(spelled.as_bytes()).any(|field| field.is_none()) {
            found.entry(String::from_utf8_lossy(spelled.as_bytes()).into_owned()).or_insert(Value::Missing);
        }
    }
    out.push(b'{');
    for (n, (name, value)) in found.iter().enumerate() {
        if n > 0 {
            out.push(b',');
        }
        json::string(name.as_bytes(), out);
        out.push(b':');
        match value {
            // Falco has one text per field.
            Value::List(list) => json::string(&list.join(&b","[..]), out),
            value => value_or_null(value, out),
        }
    }
    out.push(b'}');
}
