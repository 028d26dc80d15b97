//! Nodes of the graph in the order in which they are best decided.

use super::graph::{Graph, Id, Node};
use crate::condition::{Check, Compare, Operator};
use std::collections::HashMap;

/// A step by its number, or its opposite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) step: u32,
    pub(super) negated: bool,
}

/// How a node is decided.
#[derive(Clone, Debug)]
pub(super) enum Step {
    Always(bool),
    Check(usize),
    All(Box<[Part]>),
    Any(Box<[Part]>),
}

/// The nodes that some rules need.
#[derive(Clone, Debug)]
pub(super) struct Steps(Vec<Step>);

/// What is thought of a node before any event came.
#[derive(Clone, Copy)]
struct Guess {
    cost: f32,
    /// How often it holds.
    holds: f32,
}

struct Builder<'g> {
    graph: &'g Graph,
    /// How many parts name a node: what many ask is likely to be known already.
    uses: HashMap<Id, u32>,
    guesses: HashMap<Id, Guess>,
    numbers: HashMap<Id, u32>,
    steps: Vec<Step>,
}

impl Steps {
    /// The steps, and which of them decides each root.
    pub(super) fn new(graph: &Graph, roots: impl Iterator<Item = Id>) -> (Self, Vec<Part>) {
        let (uses, guesses, numbers) = (HashMap::new(), HashMap::new(), HashMap::new());
        let mut builder = Builder { graph, uses, guesses, numbers, steps: Vec::new() };
        let roots: Vec<Id> = roots.collect();
        roots.iter().for_each(|root| builder.count(*root));
        let parts = roots.iter().map(|root| builder.part(*root)).collect();
        (Self(builder.steps), parts)
    }

    pub(super) fn get(&self, number: u32) -> Option<&Step> {
        self.0.get(number as usize)
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

impl Builder<'_> {
    fn count(&mut self, id: Id) {
        let uses = self.uses.entry(id).or_default();
        *uses += 1;
        if *uses > 1 {
            return;
        }
        match self.graph.get(id) {
            Node::Always(_) | Node::Check(_) => {}
            Node::Not(inner) => self.count(*inner),
            Node::All(parts) | Node::Any(parts) => parts.iter().for_each(|part| self.count(*part)),
        }
    }

    fn part(&mut self, id: Id) -> Part {
        if let Node::Not(inner) = self.graph.get(id) {
            let part = self.part(*inner);
            return Part { negated: !part.negated, ..part };
        }
        if let Some(step) = self.numbers.get(&id) {
            return Part { step: *step, negated: false };
        }
        let step = match self.graph.get(id) {
            Node::Check(number) => Step::Check(*number),
            Node::All(parts) => Step::All(self.in_order(parts, true)),
            Node::Any(parts) => Step::Any(self.in_order(parts, false)),
            Node::Always(always) => Step::Always(*always),
            Node::Not(_) => Step::Always(false),
        };
        // The number of checks of a rule set is bounded far below what u32 holds.
        let number = u32::try_from(self.steps.len()).unwrap_or(u32::MAX);
        self.steps.push(step);
        self.numbers.insert(id, number);
        Part { step: number, negated: false }
    }

    /// What costs little for how often it decides comes first.
    fn in_order(&mut self, parts: &[Id], all: bool) -> Box<[Part]> {
        let mut sorted: Vec<(f32, Id)> = parts.iter().map(|part| (self.rank(*part, all), *part)).collect();
        sorted.sort_by(|(one, _), (other, _)| one.total_cmp(other));
        sorted.into_iter().map(|(_, part)| self.part(part)).collect()
    }

    fn rank(&mut self, id: Id, all: bool) -> f32 {
        let Guess { cost, holds } = self.guess(id);
        let inner = if let Node::Not(inner) = self.graph.get(id) { inner } else { &id };
        let uses = self.uses.get(inner).copied().unwrap_or(1);
        let decides = if all { 1.0 - holds } else { holds };
        cost / decides.max(0.01) / uses.max(1) as f32
    }

    fn guess(&mut self, id: Id) -> Guess {
        if let Some(guess) = self.guesses.get(&id) {
            return *guess;
        }
        let guess = match self.graph.get(id) {
            Node::Always(always) => Guess { cost: 0.0, holds: f32::from(u8::from(*always)) },
            Node::Check(number) => {
                self.graph.checks.get(*number).map_or(Guess { cost: 1.0, holds: 0.5 }, |asked| Guess {
                    cost: asked.check.cost() as f32,
                    holds: likely(&asked.check),
                })
            }
            Node::Not(inner) => {
                let Guess { cost, holds } = self.guess(*inner);
                Guess { cost, holds: 1.0 - holds }
            }
            // Each part is asked as long as none has decided.
            Node::All(parts) => parts.iter().fold(Guess { cost: 0.0, holds: 1.0 }, |sum, part| {
                let part = self.guess(*part);
                Guess { cost: sum.cost + sum.holds * part.cost, holds: sum.holds * part.holds }
            }),
            Node::Any(parts) => parts.iter().fold(Guess { cost: 0.0, holds: 0.0 }, |sum, part| {
                let part = self.guess(*part);
                let undecided = 1.0 - sum.holds;
                Guess { cost: sum.cost + undecided * part.cost, holds: sum.holds + undecided * part.holds }
            }),
        };
        self.guesses.insert(id, guess);
        guess
    }
}

/// How often a check holds about: most look for something rare.
fn likely(check: &Check) -> f32 {
    match (&check.compare, check.operator) {
        (_, Operator::NotEqual | Operator::Exists) => 0.9,
        (Compare::Bools(_) | Compare::Operand(_) | Compare::EventType(_), _) => 0.5,
        (Compare::Numbers(_) | Compare::Networks(_), _) => 0.4,
        _ => 0.05,
    }
}
