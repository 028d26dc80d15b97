//! The matcher of a rule set: all rules at once.
//!
//! # How it works
//! Conditions become one graph in which equal parts, macros above all, are one node ([`graph`]). For
//! each kind of event the graph is simplified: what is known of the kind is taken out. A rule that
//! cannot hold unless some text is there is found by that text, by one lookup for all rules that ask
//! for it ([`guard`], [`index`]); the others are asked of every event. Which rules are left is
//! decided node by node, each once per event, cheap and telling parts first ([`steps`]); a field is
//! read once per event.
//!
//! # What can go wrong
//! *It says otherwise than the condition*: it must not, and a test with random conditions and events
//! compares it with [`crate::Rule::matches`], which walks a condition by itself.
//!
//! An event that matches nothing allocates nothing: results and values lie in memory that the
//! thread keeps ([`scratch`]).

mod graph;
mod guard;
mod index;
mod scratch;
mod steps;

use crate::condition::{Expr, Operand};
use graph::{Asked, Graph, Node};
use hostward_event::{Event, EventKind, KindSet};
use index::{Bits, Probe};
use scratch::Run;
use std::collections::HashMap;
use steps::{Part, Steps};

/// See the module's head.
#[derive(Clone, Debug, Default)]
pub(crate) struct Matcher {
    checks: Vec<Asked>,
    operands: Vec<Operand>,
    /// By the number of the kind; none for a kind that no rule asks for.
    kinds: Vec<Option<OfKind>>,
}

/// The rules of one kind.
#[derive(Clone, Debug)]
struct OfKind {
    steps: Steps,
    /// The number of each rule, and the part that decides it; in file order.
    rules: Vec<(usize, Part)>,
    probes: Vec<Probe>,
    /// Rules that no probe finds.
    always: Bits,
}

impl Matcher {
    /// Of rules in file order: their number, condition, and the kinds of event that they are asked about.
    pub(crate) fn new<'r>(rules: impl Iterator<Item = (usize, &'r Expr, KindSet)>) -> Self {
        let mut graph = Graph::default();
        let mut by_kind: HashMap<EventKind, Vec<(usize, usize)>> = HashMap::new();
        for (rule, expr, kinds) in rules {
            let root = graph.add(expr);
            for kind in kinds.iter() {
                by_kind.entry(kind).or_default().push((rule, root));
            }
        }
        let mut kinds = Vec::new();
        for (kind, rules) in by_kind {
            let at = usize::from(kind as u8);
            if kinds.len() <= at {
                kinds.resize_with(at + 1, || None);
            }
            if let Some(of_kind) = kinds.get_mut(at) {
                *of_kind = Some(OfKind::new(&mut graph, kind, &rules));
            }
        }
        Self { checks: graph.checks, operands: graph.operands, kinds }
    }

    /// Calls `matched` with the number of each rule that matches, in file order, until it says false.
    pub(crate) fn matches(&self, event: &Event, mut matched: impl FnMut(usize) -> bool) {
        let Some(Some(of_kind)) = self.kinds.get(usize::from(event.kind() as u8)) else { return };
        scratch::with(|memo| {
            let mut wanted = std::mem::take(&mut memo.wanted);
            wanted.copy(&of_kind.always);
            let mut run = Run::new(self, &of_kind.steps, event, memo);
            for probe in &of_kind.probes {
                if let Some(value) = run.value(probe.operand) {
                    probe.mark(value, &mut wanted);
                }
            }
            while let Some((rule, part)) = wanted.pop().and_then(|place| of_kind.rules.get(place)) {
                if run.holds(*part) && !matched(*rule) {
                    break;
                }
            }
            run.end();
            memo.wanted = wanted;
        });
    }
}

impl OfKind {
    fn new(graph: &mut Graph, kind: EventKind, rules: &[(usize, usize)]) -> Self {
        let mut known = HashMap::new();
        let roots = rules.iter().map(|(rule, root)| (*rule, graph.of_kind(*root, kind, &mut known)));
        let roots: Vec<(usize, usize)> = roots.collect();
        let possible = roots.into_iter().filter(|(_, root)| *graph.get(*root) != Node::Always(false));
        let roots: Vec<(usize, usize)> = possible.collect();
        let mut known = HashMap::new();
        let guards = roots.iter().map(|(_, root)| guard::guard(graph, *root, &mut known));
        let (probes, always) = index::index(guards);
        let (steps, parts) = Steps::new(graph, roots.iter().map(|(_, root)| *root));
        Self { steps, rules: roots.iter().map(|(rule, _)| *rule).zip(parts).collect(), probes, always }
    }
}
