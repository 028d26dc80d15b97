//! ECS documents, built from the registry: every field with an ECS name stands where its dots say.

use super::json::{self, Times};
use super::tree::{Leaf, Tree, Trees};
use super::view::View;
use crate::registry::Value;
use crate::{EventKind, registry};

/// They hold the fields which their kind can carry, so that an exec does not ask for file and network fields.
static TREES: Trees = Trees::new();

fn tree(kind: EventKind) -> Tree {
    let fields = registry::fields().iter().filter(move |f| !f.ecs.is_empty() && f.kinds.contains(kind));
    let fields = fields.filter(|f| !f.ecs.starts_with(ANSWERS));
    let answers = (kind == EventKind::DnsAnswer).then(|| ("dns.answers".to_owned(), Leaf::Raw(answers)));
    Tree::new(fields.map(|field| (field.ecs.to_owned(), Leaf::Field(field))).chain(answers))
}

/// Fields that are lists side by side, and on the wire one list of objects.
const ANSWERS: &str = "dns.answers.";

fn answers(view: View<'_>, out: &mut Vec<u8>) -> bool {
    let columns = ["class", "data", "name", "ttl", "type"].map(|key| {
        let list = match view.named(&format!("{ANSWERS}{key}")) {
            Value::List(list) => list,
            _ => Vec::new(),
        };
        (key, list)
    });
    let rows = columns.iter().map(|(_, list)| list.len()).max().unwrap_or_default();
    for row in 0..rows {
        out.extend_from_slice(if row == 0 { b"[{" } else { b",{" });
        let mut more = false;
        for (key, list) in &columns {
            // A number that was redacted is left out.
            let is_number = |text: &[u8]| text.iter().all(u8::is_ascii_digit);
            let Some(text) = list.get(row).filter(|text| *key != "ttl" || is_number(text)) else { continue };
            if std::mem::replace(&mut more, true) {
                out.push(b',');
            }
            json::string(key.as_bytes(), out);
            out.push(b':');
            if *key == "ttl" {
                out.extend_from_slice(text);
            } else {
                json::string(text, out);
            }
        }
        out.push(b'}');
    }
    if rows > 0 {
        out.push(b']');
    }
    rows > 0
}

pub(super) fn write(view: View<'_>, out: &mut Vec<u8>) {
    let kind = view.event().kind();
    if let Some(tree) = TREES.get(kind, || tree(kind)) {
        tree.write(view, Times::Iso, out);
    }
}
