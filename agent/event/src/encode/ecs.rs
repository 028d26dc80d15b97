//! ECS documents, built from the registry: every field with an ECS name stands where its dots say.

use super::json::Times;
use super::tree::{Leaf, Tree};
use super::view::View;
use crate::{EventKind, registry};
use std::sync::LazyLock;

/// One tree per kind, holding the fields which that kind can carry, so that an exec does not ask
/// for file and network fields.
static TREES: LazyLock<Vec<(EventKind, Tree)>> = LazyLock::new(|| {
    let rows = |kind| {
        let fields = registry::fields().iter().filter(move |f| !f.ecs.is_empty() && f.kinds.contains(kind));
        fields.map(|field| (field.ecs.to_owned(), Leaf::Field(field)))
    };
    EventKind::ALL.into_iter().map(|kind| (kind, Tree::new(rows(kind)))).collect()
});

pub(super) fn write(view: View<'_>, out: &mut Vec<u8>) {
    let kind = view.event().kind();
    if let Some((_, tree)) = TREES.iter().find(|(of, _)| *of == kind) {
        tree.write(view, Times::Iso, out);
    }
}
