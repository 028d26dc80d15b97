//! All conditions of a rule set as one graph, in which what two of them share stands once.

use crate::condition::{Check, Expr, Kinds, Operand, kinds_of_check};
use hostward_event::EventKind;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

/// Number of a node; what is less than it stands below it.
pub(super) type Id = usize;

/// A part of a condition. The parts of `All` and `Any` are in the order of their numbers, each once: checks have no
/// effects, and so their order and number mean nothing.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Node {
    Always(bool),
    /// A check, by its number.
    Check(usize),
    Not(Id),
    All(Box<[Id]>),
    Any(Box<[Id]>),
}

/// A check, and which of all operands it reads on its left side.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) check: Arc<Check>,
    pub(super) operand: usize,
    kinds: Kinds,
}

/// See the module's head.
#[derive(Debug, Default)]
pub(super) struct Graph {
    nodes: Vec<Node>,
    ids: HashMap<Node, Id>,
    pub(super) checks: Vec<Asked>,
    pub(super) operands: Vec<Operand>,
    /// Macros are put in by sharing their checks, so that most are known by their place.
    by_place: HashMap<*const Check, usize>,
    /// Checks that are written the same mean the same.
    by_text: HashMap<String, usize>,
    operand_by_text: HashMap<String, usize>,
}

impl Graph {
    /// Adds a condition.
    pub(super) fn add(&mut self, expr: &Expr) -> Id {
        match expr {
            Expr::Always(always) => self.node(Node::Always(*always)),
            Expr::Not(inner) => {
                let inner = self.add(inner);
                self.negated(inner)
            }
            Expr::And(parts) => {
                let parts = parts.iter().map(|part| self.add(part)).collect();
                self.group(true, parts)
            }
            Expr::Or(parts) => {
                let parts = parts.iter().map(|part| self.add(part)).collect();
                self.group(false, parts)
            }
            Expr::Check(check) => {
                let number = self.check(check);
                self.node(Node::Check(number))
            }
        }
    }

    pub(super) fn get(&self, id: Id) -> &Node {
        self.nodes.get(id).unwrap_or(&Node::Always(false))
    }

    /// What is left of a node where only events of `kind` come; `known` holds what was found of others.
    pub(super) fn of_kind(&mut self, id: Id, kind: EventKind, known: &mut HashMap<Id, Id>) -> Id {
        if let Some(known) = known.get(&id) {
            return *known;
        }
        let left = match self.get(id).clone() {
            Node::Always(_) => id,
            Node::Check(number) => match self.checks.get(number).map(|asked| asked.kinds) {
                Some(kinds) if !kinds.may_hold.contains(kind) => self.node(Node::Always(false)),
                Some(kinds) if !kinds.may_fail.contains(kind) => self.node(Node::Always(true)),
                _ => id,
            },
            Node::Not(inner) => {
                let inner = self.of_kind(inner, kind, known);
                self.negated(inner)
            }
            Node::All(parts) => {
                let parts = parts.iter().map(|part| self.of_kind(*part, kind, known)).collect();
                self.group(true, parts)
            }
            Node::Any(parts) => {
                let parts = parts.iter().map(|part| self.of_kind(*part, kind, known)).collect();
                self.group(false, parts)
            }
        };
        known.insert(id, left);
        left
    }

    fn node(&mut self, node: Node) -> Id {
        if let Some(id) = self.ids.get(&node) {
            return *id;
        }
        let id = self.nodes.len();
        self.nodes.push(node.clone());
        self.ids.insert(node, id);
        id
    }

    fn negated(&mut self, id: Id) -> Id {
        match self.get(id) {
            Node::Always(always) => {
                let always = !always;
                self.node(Node::Always(always))
            }
            Node::Not(inner) => *inner,
            _ => self.node(Node::Not(id)),
        }
    }

    /// `all` of the parts, or any.
    fn group(&mut self, all: bool, parts: Vec<Id>) -> Id {
        let mut flat = Vec::with_capacity(parts.len());
        for part in parts {
            match self.get(part) {
                Node::Always(always) if *always == all => {}
                Node::Always(_) => return part,
                Node::All(inner) if all => flat.extend_from_slice(inner),
                Node::Any(inner) if !all => flat.extend_from_slice(inner),
                _ => flat.push(part),
            }
        }
        flat.sort_unstable();
        flat.dedup();
        match flat.as_slice() {
            [] => self.node(Node::Always(all)),
            [only] => *only,
            _ if all => self.node(Node::All(flat.into())),
            _ => self.node(Node::Any(flat.into())),
        }
    }

    fn check(&mut self, check: &Arc<Check>) -> usize {
        if let Some(number) = self.by_place.get(&Arc::as_ptr(check)) {
            return *number;
        }
        let text = check.to_string();
        let number = match self.by_text.get(&text) {
            Some(number) => *number,
            None => {
                let operand = self.operand(&check.left);
                self.checks.push(Asked { check: Arc::clone(check), operand, kinds: kinds_of_check(check) });
                self.by_text.insert(text, self.checks.len() - 1);
                self.checks.len() - 1
            }
        };
        self.by_place.insert(Arc::as_ptr(check), number);
        number
    }

    fn operand(&mut self, operand: &Operand) -> usize {
        let text = operand.to_string();
        if let Some(number) = self.operand_by_text.get(&text) {
            return *number;
        }
        self.operands.push(operand.clone());
        self.operand_by_text.insert(text, self.operands.len() - 1);
        self.operands.len() - 1
    }
}
