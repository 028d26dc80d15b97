//! ECS documents, built from the registry: every field with an ECS name stands where its dots say.

use super::json;
use crate::registry::{self, Arg, Field, Type, Value};
use crate::{Event, EventKind};
use std::io::Write as _;
use std::sync::LazyLock;

/// The keys of one object, in the order they are written; a key is kept as `"name":`.
type Keys = Vec<(String, Node)>;

/// What stands behind a key: a field, or an object of further keys.
enum Node {
    Leaf(&'static Field),
    Object(Keys),
}

/// One tree per kind, holding the fields which that kind can carry, so that an exec does not ask
/// for file and network fields.
static TREES: LazyLock<Vec<(EventKind, Keys)>> = LazyLock::new(|| {
    EventKind::ALL
        .into_iter()
        .map(|kind| {
            let mut root = Vec::new();
            for field in registry::fields().iter().filter(|f| !f.ecs.is_empty() && f.kinds.contains(kind)) {
                insert(&mut root, field.ecs, field);
            }
            (kind, root)
        })
        .collect()
});

fn insert(nodes: &mut Keys, path: &str, field: &'static Field) {
    let Some((head, rest)) = path.split_once('.') else {
        nodes.push((format!("\"{path}\":"), Node::Leaf(field)));
        return;
    };
    let key = format!("\"{head}\":");
    if let Some((_, Node::Object(inner))) = nodes.iter_mut().find(|(known, _)| *known == key) {
        insert(inner, rest, field);
    } else {
        let mut inner = Vec::new();
        insert(&mut inner, rest, field);
        nodes.push((key, Node::Object(inner)));
    }
}

/// Appends `event` as one JSON object in ECS, without a line end.
pub fn ecs(event: &Event, out: &mut Vec<u8>) {
    let kind = event.kind();
    if let Some((_, tree)) = TREES.iter().find(|(of, _)| *of == kind) {
        object(event, tree, out);
    }
}

/// Writes an object of those keys that have a value; nothing and `false` when none has.
fn object(event: &Event, nodes: &[(String, Node)], out: &mut Vec<u8>) -> bool {
    let start = out.len();
    out.push(b'{');
    let empty = out.len();
    for (key, node) in nodes {
        let before = out.len();
        if before > empty {
            out.push(b',');
        }
        out.extend_from_slice(key.as_bytes());
        let written = match node {
            Node::Leaf(field) => value(field, &field.value(event, &Arg::None), out),
            Node::Object(inner) => object(event, inner, out),
        };
        if !written {
            out.truncate(before);
        }
    }
    if out.len() == empty {
        out.truncate(start);
        return false;
    }
    out.push(b'}');
    true
}

fn value(field: &Field, value: &Value<'_>, out: &mut Vec<u8>) -> bool {
    match value {
        Value::Missing => return false,
        Value::Text(text) => json::string(text, out),
        Value::Number(number) => push(out, format_args!("{number}")),
        Value::Bool(flag) => push(out, format_args!("{flag}")),
        Value::Ip(ip) => push(out, format_args!("\"{ip}\"")),
        Value::Ips(ips) => {
            list(ips, out, |ip, out| push(out, format_args!("\"{ip}\"")));
        }
        Value::Time(ns) => match jiff::Timestamp::from_nanosecond((*ns).into()) {
            Ok(time) => push(out, format_args!("\"{time:.9}\"")),
            Err(_) => return false,
        },
        Value::List(texts) => list(texts, out, |text, out| json::string(text, out)),
    }
    debug_assert!(
        field.ty != Type::List || matches!(value, Value::List(_)),
        "{} must be a list for its mapping",
        field.ecs
    );
    true
}

fn list<T>(items: &[T], out: &mut Vec<u8>, write: impl Fn(&T, &mut Vec<u8>)) {
    out.push(b'[');
    for (n, item) in items.iter().enumerate() {
        if n > 0 {
            out.push(b',');
        }
        write(item, out);
    }
    out.push(b']');
}

fn push(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    // Writing to a Vec cannot fail.
    let _ = out.write_fmt(text);
}
