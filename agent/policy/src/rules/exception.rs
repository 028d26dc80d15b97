//! Exceptions: tuples of values that a rule does not match.
//!
//! They become text behind the condition, `(cond) and not (...)`, since list names stand in them,
//! too, and are replaced as in any condition.

use super::lists::quote;
use crate::entry::Entry;
use crate::problem::{Fault, shorten};
use crate::sourced::{FileId, Sourced, Sources};
use crate::yaml::{Kind, Node, Scalar};
use std::rc::Rc;

/// One exception of a rule.
#[derive(Debug)]
pub(super) struct Exception {
    name: String,
    fields: Vec<Sourced>,
    comparisons: Vec<Sourced>,
    /// `fields` is one text and `values` a plain list.
    scalar: bool,
    values: Vec<Value>,
}

#[derive(Debug)]
enum Value {
    /// One value for each field.
    Tuple(Vec<Part>),
    One(Sourced),
}

#[derive(Debug)]
enum Part {
    Text(Sourced),
    List(Vec<Sourced>),
}

/// Reads the key `exceptions`.
pub(super) fn read(entry: &mut Entry<'_>, sources: &mut Sources<'_>) -> Option<Vec<Exception>> {
    let nodes = entry.sequence("exceptions", sources)?;
    let mut exceptions = Vec::new();
    for node in nodes {
        let Some(mut map) = Entry::new(entry.file, node, sources) else {
            entry.failed = true;
            continue;
        };
        map.name.clone_from(&entry.name);
        exceptions.extend(one(&mut map, sources));
        entry.failed |= map.failed;
    }
    Some(exceptions)
}

fn one(map: &mut Entry<'_>, sources: &mut Sources<'_>) -> Option<Exception> {
    map.check_keys(&["name", "fields", "comps", "values"], &[], sources);
    if map.value("name").is_none() {
        map.error(map.at, Fault::new(0, "exception has no `name`", "add `name:`"), sources);
    }
    let name = map.text("name", sources)?.text.clone();
    let scalar = map.value("fields").is_some_and(|node| node.scalar().is_some());
    let texts = |map: &mut Entry<'_>, key: &str, sources: &mut Sources<'_>| -> Option<Vec<Sourced>> {
        let file = map.file;
        let scalars = if scalar { vec![map.text(key, sources)?] } else { map.texts(key, sources)? };
        Some(scalars.into_iter().map(|scalar| Sourced::of_scalar(file, scalar)).collect())
    };
    // An entry that appends values need not repeat the fields.
    let fields = texts(map, "fields", sources).unwrap_or_default();
    let comparisons = match map.value("comps") {
        Some(_) => texts(map, "comps", sources)?,
        None => {
            let default = if scalar { "in" } else { "=" };
            fields.iter().map(|_| Sourced::plain(default.to_owned())).collect()
        }
    };
    if comparisons.len() != fields.len() {
        let reason = format!(
            "exception `{}` has {} fields and {} comps",
            shorten(&name),
            fields.len(),
            comparisons.len()
        );
        map.error(map.key_at("comps"), Fault::new(0, reason, "give one comparison for each field"), sources);
        return None;
    }
    let mut values = Vec::new();
    for node in map.sequence("values", sources).unwrap_or_default() {
        values.extend(value(map, node, &name, fields.len(), sources));
    }
    Some(Exception { name, fields, comparisons, scalar, values })
}

fn text(file: FileId, scalar: &Rc<Scalar>) -> Sourced {
    let quoted = quote_value(&scalar.text);
    let mut out = Sourced::default();
    out.push_for(&quoted, &Sourced::of_scalar(file, scalar), 0);
    out
}

/// A value as the condition needs it: bare where that is possible, so that a list name is replaced.
fn quote_value(value: &str) -> String {
    let already = value.len() >= 2 && value.starts_with(['"', '\'']);
    let special = value.is_empty() || value.contains(|c: char| c.is_whitespace() || "()\"'=,".contains(c));
    match (already, special) {
        (false, true) => format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\"")),
        _ => quote(value),
    }
}

fn value(
    map: &mut Entry<'_>,
    node: &Node,
    name: &str,
    fields: usize,
    sources: &mut Sources<'_>,
) -> Option<Value> {
    let file = map.file;
    let fault = match &node.kind {
        Kind::Scalar(scalar) => return Some(Value::One(text(file, scalar))),
        Kind::Sequence(parts) if fields == 0 || parts.len() == fields => {
            let parts: Option<Vec<Part>> = parts.iter().map(|part| tuple_part(file, part)).collect();
            match parts {
                Some(parts) => return Some(Value::Tuple(parts)),
                None => "values are texts or lists of texts".to_owned(),
            }
        }
        Kind::Sequence(parts) => {
            format!("exception `{}` has {fields} fields and a tuple of {}", shorten(name), parts.len())
        }
        Kind::Map(_) => "a value is a map".to_owned(),
    };
    map.error(node.at, Fault::new(0, fault, "write one value for each field, e.g. [a, b]"), sources);
    None
}

fn tuple_part(file: FileId, node: &Node) -> Option<Part> {
    match &node.kind {
        Kind::Scalar(scalar) => Some(Part::Text(text(file, scalar))),
        Kind::Sequence(nodes) => nodes
            .iter()
            .map(|node| node.scalar().map(|scalar| text(file, scalar)))
            .collect::<Option<_>>()
            .map(Part::List),
        Kind::Map(_) => None,
    }
}

/// Adds values to the exceptions of the same name, and new exceptions behind them.
pub(super) fn append(old: &mut Vec<Exception>, new: Vec<Exception>) {
    for exception in new {
        match old.iter_mut().find(|known| known.name == exception.name) {
            Some(known) => known.values.extend(exception.values),
            None => old.push(exception),
        }
    }
}

/// The condition with its exceptions.
pub(super) fn apply(condition: &Sourced, exceptions: &[Exception]) -> Sourced {
    if exceptions.iter().all(|exception| exception.values.is_empty()) {
        return condition.clone();
    }
    let mut out = Sourced::default();
    out.push("(");
    out.join(condition);
    out.push(")");
    for exception in exceptions.iter().filter(|exception| !exception.values.is_empty()) {
        out.push(" and not (");
        exception.write(&mut out);
        out.push(")");
    }
    out
}

impl Exception {
    fn write(&self, out: &mut Sourced) {
        let pairs = || self.fields.iter().zip(&self.comparisons);
        if self.scalar {
            let Some((field, comparison)) = pairs().next() else { return };
            write_left(field, comparison, out);
            out.push("(");
            for (n, value) in self.values.iter().enumerate() {
                if n > 0 {
                    out.push(", ");
                }
                if let Value::One(text) = value {
                    out.join(text);
                }
            }
            out.push(")");
            return;
        }
        for (n, value) in self.values.iter().enumerate() {
            out.push(if n > 0 { " or (" } else { "(" });
            let parts: Vec<&Part> = match value {
                Value::Tuple(parts) => parts.iter().collect(),
                Value::One(_) => Vec::new(),
            };
            for (k, ((field, comparison), part)) in pairs().zip(&parts).enumerate() {
                if k > 0 {
                    out.push(" and ");
                }
                write_left(field, comparison, out);
                let many = matches!(comparison.text(), "in" | "intersects" | "pmatch");
                match part {
                    Part::Text(text) if many => {
                        out.push("(");
                        out.join(text);
                        out.push(")");
                    }
                    Part::Text(text) => out.join(text),
                    Part::List(texts) => {
                        out.push("(");
                        for (m, text) in texts.iter().enumerate() {
                            if m > 0 {
                                out.push(", ");
                            }
                            out.join(text);
                        }
                        out.push(")");
                    }
                }
            }
            out.push(")");
        }
    }

    /// What is wrong with its shape once everything is merged.
    pub(super) fn fault(&self) -> Option<String> {
        let name = shorten(&self.name);
        if self.fields.is_empty() {
            return Some(format!("exception `{name}` has no `fields`"));
        }
        let wrong = self.values.iter().any(|value| match value {
            Value::One(_) => !self.scalar,
            Value::Tuple(parts) => self.scalar || parts.len() != self.fields.len(),
        });
        wrong.then(|| format!("values of exception `{name}` do not fit its {} fields", self.fields.len()))
    }
}

fn write_left(field: &Sourced, comparison: &Sourced, out: &mut Sourced) {
    out.join(field);
    out.push(" ");
    out.join(comparison);
    out.push(" ");
}
