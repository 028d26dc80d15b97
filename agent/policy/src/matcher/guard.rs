//! What the text of a field must be, or hold, if a condition shall hold at all.
//!
//! Rules are found by what the event has, as a book's pages by its index: one lookup of a field's
//! value, or one walk over it, tells which rules are worth asking. A guard is a superset: it may let
//! through what does not match, and never keeps out what does.

use super::graph::{Graph, Id, Node};
use crate::condition::{Check, Compare, Operator, Pattern, components};
use hostward_event::registry::Type;
use std::collections::HashMap;
use std::rc::Rc;

/// A condition that wants one of more literals than these is asked of every event.
const MAX_PROBES: usize = 4_000;
/// Fields that have the same few values in most events, so that a literal of theirs keeps little out.
const CROWDED: [&str; 14] = [
    "evt.res",
    "evt.failed",
    "fd.type",
    "fd.typechar",
    "fd.l4proto",
    "container.id",
    "user.name",
    "user.loginname",
    "proc.stdin.type",
    "proc.stdout.type",
    "event.outcome",
    "network.transport",
    "network.type",
    "file.type",
];

/// What one operand's text must be.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Want {
    /// This.
    Whole(Box<[u8]>),
    /// A text that holds this.
    Part(Box<[u8]>),
}

/// Of these at least one is there when the condition holds.
#[derive(Clone, Debug)]
pub(super) struct Guard {
    /// By the number of the operand.
    pub(super) probes: Vec<(usize, Want)>,
    /// How much it lets through about: the most of its probes.
    weight: u32,
}

/// The guard of a node, if it has one.
pub(super) fn guard(graph: &Graph, id: Id, known: &mut HashMap<Id, Option<Rc<Guard>>>) -> Option<Rc<Guard>> {
    if let Some(known) = known.get(&id) {
        return known.clone();
    }
    let guard = match graph.get(id) {
        Node::Always(_) | Node::Not(_) => None,
        Node::Check(number) => {
            graph.checks.get(*number).and_then(|asked| of_check(&asked.check, asked.operand)).map(Rc::new)
        }
        // Either part alone is a superset of both: the narrowest is taken.
        Node::All(parts) => parts
            .iter()
            .filter_map(|part| guard(graph, *part, known))
            .min_by_key(|guard| (guard.weight, guard.probes.len())),
        Node::Any(parts) => {
            let mut sum = Guard { probes: Vec::new(), weight: 0 };
            let all = parts.iter().all(|part| match guard(graph, *part, known) {
                Some(guard) => {
                    sum.weight = sum.weight.max(guard.weight);
                    sum.probes.extend_from_slice(&guard.probes);
                    sum.probes.len() <= MAX_PROBES
                }
                None => false,
            });
            all.then(|| {
                sum.probes.sort_unstable();
                sum.probes.dedup();
                Rc::new(sum)
            })
        }
    };
    known.insert(id, guard.clone());
    guard
}

fn of_check(check: &Check, operand: usize) -> Option<Guard> {
    let wants: Option<Vec<Want>> = match (&check.compare, check.operator) {
        // Of a list all elements must be in the set, which an empty list has.
        (Compare::Texts(_), Operator::In) if matches!(check.left.ty(), Type::List | Type::Labels) => None,
        (Compare::Texts(texts), Operator::Equal | Operator::In | Operator::Intersects) => {
            Some(texts.iter().map(|text| Want::Whole(text.clone())).collect())
        }
        // All patterns fit at once: the longest part of any is enough.
        (Compare::Search { patterns, all: true }, _) => {
            patterns.iter().filter_map(part).max_by_key(|part| part.len()).map(|part| vec![Want::Part(part)])
        }
        (Compare::Search { patterns, .. }, _) => {
            patterns.iter().map(|pattern| part(pattern).map(Want::Part)).collect()
        }
        // A path may have slashes more than the literal: one of its components is whole in it.
        (Compare::Paths(_), _) => {
            let longest = |literal: &Vec<u8>| {
                let plain = |name: &&[u8]| !name.iter().any(|byte| b"*?[\\".contains(byte));
                let longest = components(literal).filter(plain).max_by_key(|name| name.len())?;
                Some(Want::Part(longest.into()))
            };
            check.literals.iter().map(longest).collect()
        }
        _ => None,
    };
    let crowded = check.left.plain().is_some_and(|(field, _)| CROWDED.contains(&field.name));
    let wants = wants.filter(|wants| wants.len() <= MAX_PROBES)?;
    let weigh = |want: &Want| match want {
        _ if crowded => 1_000,
        Want::Whole(text) if text.is_empty() => 500,
        Want::Whole(_) => 1,
        Want::Part(text) => 100 / u32::try_from(text.len()).unwrap_or(u32::MAX).max(1),
    };
    let weight = wants.iter().map(weigh).max().unwrap_or(0);
    Some(Guard { probes: wants.into_iter().map(|want| (operand, want)).collect(), weight })
}

/// What a text that fits has in it; none when the pattern does not say.
fn part(pattern: &Pattern) -> Option<Box<[u8]>> {
    let part: &[u8] = match pattern {
        Pattern::Contains(finder) => finder.needle(),
        Pattern::StartsWith(part) | Pattern::EndsWith(part) => part,
        Pattern::Glob(glob) => return glob.longest_literal().map(Into::into),
        Pattern::IContains(_) | Pattern::Regex(_) => return None,
    };
    (!part.is_empty()).then(|| part.into())
}
