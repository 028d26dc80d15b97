//! JSON documents from dotted names: every value stands where its dots say.

use super::json::{self, Times};
use super::view::View;
use crate::EventKind;
use crate::kind::KIND_NUMBERS;
use crate::registry::{Field, Type, Value};
use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::OnceLock;

/// A value that no row of the registry has: fixed words and numbers that a schema wants beside ours.
pub(super) type Make = for<'e> fn(View<'e>) -> Value<'e>;

/// What stands at the end of a name.
#[derive(Clone, Copy)]
pub(super) enum Leaf {
    /// A row of the registry.
    Field(&'static Field),
    /// See [`Make`].
    Made(Make),
    /// Writes JSON itself; false and nothing when there is nothing.
    Raw(fn(View<'_>, &mut Vec<u8>) -> bool),
}

/// The keys of one object, in the order they are written; a key is kept as `"name":`.
type Keys = Vec<(String, Node)>;

enum Node {
    Leaf(Leaf),
    Object(Keys),
    /// An array of one object: `name[]`.
    Single(Keys),
}

/// A document's form.
pub(super) struct Tree(Keys);

impl Tree {
    /// From dotted names in the order they are to stand. The first of two equal names counts.
    pub(super) fn new(rows: impl IntoIterator<Item = (String, Leaf)>) -> Self {
        let mut root = Vec::new();
        for (path, leaf) in rows {
            insert(&mut root, &path, leaf);
        }
        Self(root)
    }

    /// Writes the document: of its keys those that have a value, `{}` when none has.
    pub(super) fn write(&self, view: View<'_>, times: Times, out: &mut Vec<u8>) {
        if !object(view, &self.0, times, out) {
            out.extend_from_slice(b"{}");
        }
    }
}

/// The trees of one format, one per kind of event, each made when the first event of its kind comes.
pub(super) struct Trees([OnceLock<Tree>; KIND_NUMBERS]);

impl Trees {
    pub(super) const fn new() -> Self {
        Self([const { OnceLock::new() }; KIND_NUMBERS])
    }

    /// The tree of `kind`, as `make` makes it.
    pub(super) fn get(&self, kind: EventKind, make: impl FnOnce() -> Tree) -> Option<&Tree> {
        self.0.get(usize::from(kind as u8)).map(|tree| tree.get_or_init(make))
    }
}

fn insert(keys: &mut Keys, path: &str, leaf: Leaf) {
    let Some((head, rest)) = path.split_once('.') else {
        let key = format!("\"{path}\":");
        if !keys.iter().any(|(known, _)| *known == key) {
            keys.push((key, Node::Leaf(leaf)));
        }
        return;
    };
    let (name, single) = match head.strip_suffix("[]") {
        Some(name) => (name, true),
        None => (head, false),
    };
    let key = format!("\"{name}\":");
    if let Some((_, Node::Object(inner) | Node::Single(inner))) =
        keys.iter_mut().find(|(known, _)| *known == key)
    {
        insert(inner, rest, leaf);
        return;
    }
    let mut inner = Vec::new();
    insert(&mut inner, rest, leaf);
    keys.push((key, if single { Node::Single(inner) } else { Node::Object(inner) }));
}

/// Writes an object of those keys that have a value; nothing and `false` when none has.
fn object(view: View<'_>, keys: &Keys, times: Times, out: &mut Vec<u8>) -> bool {
    let start = out.len();
    out.push(b'{');
    let empty = out.len();
    for (key, node) in keys {
        let before = out.len();
        let begin = |out: &mut Vec<u8>| {
            if before > empty {
                out.push(b',');
            }
            out.extend_from_slice(key.as_bytes());
        };
        let written = match node {
            // Most fields of most events have no value: asked before anything is written.
            Node::Leaf(Leaf::Field(field)) => match view.field(field) {
                Value::Missing => continue,
                value => {
                    begin(out);
                    self::field(field, &value, times, out)
                }
            },
            Node::Leaf(Leaf::Made(make)) => match make(view) {
                Value::Missing => continue,
                value => {
                    begin(out);
                    json::value(&value, times, out)
                }
            },
            Node::Leaf(Leaf::Raw(write)) => {
                begin(out);
                write(view, out)
            }
            Node::Object(inner) => {
                begin(out);
                object(view, inner, times, out)
            }
            Node::Single(inner) => {
                begin(out);
                out.push(b'[');
                let written = object(view, inner, times, out);
                out.push(b']');
                written
            }
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

/// `key=value` texts as an object. A dot in a key would open an object of its own at the receiver, so it is
/// written as `_`, as shippers of this field do.
fn labels(pairs: &[Cow<'_, [u8]>], out: &mut Vec<u8>) {
    out.push(b'{');
    let mut written: HashSet<Vec<u8>> = HashSet::new();
    for pair in pairs {
        let mut parts = pair.splitn(2, |byte| *byte == b'=');
        let key = parts.next().unwrap_or_default();
        let key: Vec<u8> = key.iter().map(|byte| if *byte == b'.' { b'_' } else { *byte }).collect();
        let mut quoted = Vec::with_capacity(key.len() + 2);
        json::string(&key, &mut quoted);
        if written.contains(&quoted) {
            continue;
        }
        if !written.is_empty() {
            out.push(b',');
        }
        out.extend_from_slice(&quoted);
        out.push(b':');
        json::string(parts.next().unwrap_or_default(), out);
        written.insert(quoted);
    }
    out.push(b'}');
}

fn field(field: &Field, value: &Value<'_>, times: Times, out: &mut Vec<u8>) -> bool {
    debug_assert!(
        field.ty != Type::List || matches!(value, Value::List(_) | Value::Missing),
        "{} must be a list for its mapping",
        field.name
    );
    if let (Type::Labels, Value::List(pairs)) = (field.ty, value) {
        labels(pairs, out);
        return true;
    }
    // An empty text says no more than no text; receivers and schemas want none.
    !matches!(value, Value::Text(text) if text.is_empty()) && json::value(value, times, out)
}
