//! ECS documents, built from the registry: every field with an ECS name stands where its dots say.

use super::json::Times;
use super::tree::{Leaf, Tree, Trees};
use super::view::View;
use crate::{EventKind, registry};

/// They hold the fields which their kind can carry, so that an exec does not ask for file and network fields.
static TREES: Trees = Trees::new();

fn tree(kind: EventKind) -> Tree {
    let fields = registry::fields().iter().filter(move |f| !f.ecs.is_empty() && f.kinds.contains(kind));
    Tree::new(fields.map(|field| (field.ecs.to_owned(), Leaf::Field(field))))
}

pub(super) fn write(view: View<'_>, out: &mut Vec<u8>) {
    let kind = view.event().kind();
    if let Some(tree) = TREES.get(kind, || tree(kind)) {
        tree.write(view, Times::Iso, out);
    }
}
