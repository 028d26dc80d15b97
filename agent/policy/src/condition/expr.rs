//! A condition with its fields looked up, its checks compiled and its macros put in.

use super::check::{Check, Compare, Compiled, compile};
use super::operator::Operator;
use super::parser::{MAX_DEPTH, Tree};
use crate::problem::{Fault, shorten};
use hostward_event::KindSet;
use hostward_event::registry::{Awaited, Field};
use std::sync::Arc;

/// Most checks of one condition, macros included.
const MAX_CHECKS: usize = 100_000;

/// See the module's head. Checks are shared by all rules that use the same macro.
#[derive(Clone, Debug)]
pub(crate) enum Expr {
    Always(bool),
    And(Vec<Expr>),
    Or(Vec<Expr>),
    Not(Box<Expr>),
    Check(Arc<Check>),
}

impl Expr {
    /// Calls `visit` with every check.
    pub(crate) fn checks(&self, visit: &mut dyn FnMut(&Check)) {
        match self {
            Self::Always(_) => {}
            Self::And(parts) | Self::Or(parts) => parts.iter().for_each(|part| part.checks(visit)),
            Self::Not(inner) => inner.checks(visit),
            Self::Check(check) => visit(check),
        }
    }
}

/// What its checks read that may be told after the event came.
pub(crate) fn awaits(expr: &Expr) -> Awaited {
    let mut awaits = Awaited::default();
    expr.checks(&mut |check| {
        for field in fields(check) {
            awaits = awaits.union(Awaited::of(field.need));
        }
    });
    awaits
}

/// Some check reads what the call gave.
pub(crate) fn reads_result(expr: &Expr) -> bool {
    let mut reads = false;
    expr.checks(&mut |check| {
        reads |= fields(check).iter().any(|field| {
            matches!(field.name, "evt.res" | "evt.rawres" | "evt.failed" | "error.code" | "event.outcome")
        });
    });
    reads
}

/// What a macro name stands for.
pub(crate) enum Macro<'m> {
    /// It loaded.
    Known(&'m Expr),
    /// It exists and did not load; the fault is reported there.
    Broken,
    /// There is none; a hint.
    Unknown(String),
}

/// Everything that was found on the way from tree to expression.
#[derive(Debug)]
pub(crate) struct Findings {
    pub(crate) faults: Vec<Fault>,
    pub(crate) remarks: Vec<Fault>,
    /// The faults that are about a field which is not known.
    pub(crate) unknown_fields: usize,
    /// How many checks the condition has so far, and how many it may have.
    pub(crate) checks: usize,
    max_checks: usize,
}

impl Findings {
    /// `left` is how many checks the rest of the files may have.
    pub(crate) fn new(left: usize) -> Self {
        Self {
            faults: Vec::new(),
            remarks: Vec::new(),
            unknown_fields: 0,
            checks: 0,
            max_checks: left.min(MAX_CHECKS),
        }
    }
}

/// Turns a tree into an expression. All faults are collected; with one, the result is of no use.
pub(crate) fn resolve<'m>(tree: &Tree, macros: &dyn Fn(&str) -> Macro<'m>, found: &mut Findings) -> Expr {
    let expr = node(tree, macros, found);
    if depth(&expr) > MAX_DEPTH {
        let reason = format!("nested deeper than {MAX_DEPTH} levels after macros are put in");
        found.faults.push(Fault::new(0, reason, "simplify the macros"));
    }
    expr
}

fn node<'m>(tree: &Tree, macros: &dyn Fn(&str) -> Macro<'m>, found: &mut Findings) -> Expr {
    match tree {
        Tree::And(parts) => Expr::And(parts.iter().map(|part| node(part, macros, found)).collect()),
        Tree::Or(parts) => Expr::Or(parts.iter().map(|part| node(part, macros, found)).collect()),
        Tree::Not(inner) => Expr::Not(Box::new(node(inner, macros, found))),
        Tree::Macro { name, at } => use_macro(name, *at, macros, found),
        Tree::Check(clause) => {
            found.checks += 1;
            match compile(clause, &mut found.remarks) {
                Ok(Compiled::Check(check)) => Expr::Check(Arc::new(check)),
                Ok(Compiled::Always(always)) => Expr::Always(always),
                Err(fault) => {
                    found.unknown_fields += usize::from(fault.reason.starts_with("unknown field"));
                    found.faults.push(fault);
                    Expr::Always(false)
                }
            }
        }
    }
}

fn use_macro<'m>(name: &str, at: usize, macros: &dyn Fn(&str) -> Macro<'m>, found: &mut Findings) -> Expr {
    let fault = match macros(name) {
        Macro::Known(expr) => {
            found.checks += count(expr);
            if found.checks <= found.max_checks {
                return expr.clone();
            }
            let reason =
                format!("condition has more than {} checks after macros are put in", found.max_checks);
            Fault::new(at, reason, "simplify the macros")
        }
        Macro::Broken => {
            Fault::new(at, format!("macro `{}` did not load", shorten(name)), "correct the macro first")
        }
        Macro::Unknown(hint) => Fault::new(at, format!("unknown macro `{}`", shorten(name)), hint),
    };
    // One message is enough for a condition that grows beyond all bounds.
    if found.checks <= found.max_checks || !found.faults.iter().any(|known| known.reason == fault.reason) {
        found.faults.push(fault);
    }
    Expr::Always(false)
}

fn depth(expr: &Expr) -> usize {
    match expr {
        Expr::Always(_) | Expr::Check(_) => 1,
        Expr::Not(inner) => 1 + depth(inner),
        Expr::And(parts) | Expr::Or(parts) => 1 + parts.iter().map(depth).max().unwrap_or(0),
    }
}

/// Number of checks.
pub(crate) fn count(expr: &Expr) -> usize {
    match expr {
        Expr::Always(_) | Expr::Check(_) => 1,
        Expr::Not(inner) => count(inner),
        Expr::And(parts) | Expr::Or(parts) => parts.iter().map(count).sum(),
    }
}

/// Kinds of event for which an expression can be true, and for which it can be false.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kinds {
    pub(crate) may_hold: KindSet,
    pub(crate) may_fail: KindSet,
}

/// Analyses which kinds of event a condition can match: `and` is the intersection, `or` the union,
/// negation is pushed to the checks, and a check says what its field and `evt.type` say.
pub(crate) fn kinds(expr: &Expr) -> Kinds {
    kinds_by(expr, kinds_of_check)
}

/// As [`kinds`], by what the condition says of `evt.type` alone.
pub(crate) fn asked(expr: &Expr) -> KindSet {
    let asked = kinds_by(expr, |check| match check.compare {
        Compare::EventType(_) => kinds_of_check(check),
        _ => Kinds { may_hold: KindSet::ALL, may_fail: KindSet::ALL },
    });
    asked.may_hold
}

fn kinds_by(expr: &Expr, of: fn(&Check) -> Kinds) -> Kinds {
    match expr {
        Expr::Always(true) => Kinds { may_hold: KindSet::ALL, may_fail: KindSet::NONE },
        Expr::Always(false) => Kinds { may_hold: KindSet::NONE, may_fail: KindSet::ALL },
        Expr::Not(inner) => {
            let Kinds { may_hold, may_fail } = kinds_by(inner, of);
            Kinds { may_hold: may_fail, may_fail: may_hold }
        }
        Expr::And(parts) => parts.iter().map(|part| kinds_by(part, of)).fold(
            Kinds { may_hold: KindSet::ALL, may_fail: KindSet::NONE },
            |sum, part| Kinds {
                may_hold: sum.may_hold.intersection(part.may_hold),
                may_fail: sum.may_fail.union(part.may_fail),
            },
        ),
        Expr::Or(parts) => parts.iter().map(|part| kinds_by(part, of)).fold(
            Kinds { may_hold: KindSet::NONE, may_fail: KindSet::ALL },
            |sum, part| Kinds {
                may_hold: sum.may_hold.union(part.may_hold),
                may_fail: sum.may_fail.intersection(part.may_fail),
            },
        ),
        Expr::Check(check) => of(check),
    }
}

/// All fields that a check reads.
fn fields(check: &Check) -> Vec<&Field> {
    let mut fields = Vec::new();
    check.left.fields(&mut fields);
    if let Compare::Operand(right) = &check.compare {
        right.fields(&mut fields);
    }
    fields
}

/// Kinds of event for which a check can hold, and can fail.
pub(crate) fn kinds_of_check(check: &Check) -> Kinds {
    if let Compare::EventType(names) = &check.compare {
        let (some, not_every) = (names.some(), KindSet::ALL.without(names.every()));
        return match check.operator {
            Operator::NotEqual => Kinds { may_hold: not_every, may_fail: some },
            _ => Kinds { may_hold: some, may_fail: not_every },
        };
    }
    let fields = fields(check);
    // A field that the event does not carry is missing, and the check is then false. `len` alone
    // makes something of what is missing.
    let carries = match &check.left {
        super::operand::Operand::Call { .. } => KindSet::ALL,
        _ => fields.iter().fold(KindSet::ALL, |set, field| set.intersection(field.kinds)),
    };
    Kinds { may_hold: carries, may_fail: KindSet::ALL }
}
