//! The matcher: a condition as checks with a next step for each answer.
//!
//! No tree is walked and nothing is allocated for an event: the first check that decides ends it.

use super::check::Check;
use super::expr::Expr;
use hostward_event::Event;
use std::sync::Arc;

/// Where a step leads when the condition is decided.
const HOLDS: u32 = u32::MAX;
const FAILS: u32 = u32::MAX - 1;

#[derive(Clone, Debug)]
struct Step {
    check: Arc<Check>,
    yes: u32,
    no: u32,
}

/// See the module's head.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    steps: Vec<Step>,
    start: u32,
}

impl Program {
    pub(crate) fn new(expr: &Expr) -> Self {
        let mut program = Self { steps: Vec::new(), start: FAILS };
        program.start = program.add(expr, HOLDS, FAILS);
        program
    }

    /// Appends the steps of `expr`, those that come last first, and gives the first of them.
    fn add(&mut self, expr: &Expr, yes: u32, no: u32) -> u32 {
        match expr {
            Expr::Always(true) => yes,
            Expr::Always(false) => no,
            Expr::Not(inner) => self.add(inner, no, yes),
            Expr::And(parts) => {
                in_cost_order(parts).iter().rev().fold(yes, |next, part| self.add(part, next, no))
            }
            Expr::Or(parts) => {
                in_cost_order(parts).iter().rev().fold(no, |next, part| self.add(part, yes, next))
            }
            Expr::Check(check) => {
                self.steps.push(Step { check: Arc::clone(check), yes, no });
                // The number of checks of a condition is bounded far below what u32 holds.
                u32::try_from(self.steps.len() - 1).unwrap_or(FAILS)
            }
        }
    }

    pub(crate) fn holds(&self, event: &Event) -> bool {
        let mut at = self.start;
        while let Some(step) = usize::try_from(at).ok().and_then(|at| self.steps.get(at)) {
            at = if step.check.holds(event) { step.yes } else { step.no };
        }
        at == HOLDS
    }
}

/// Checks have no effects, so that cheap ones may go first; equal ones keep the author's order.
fn in_cost_order(parts: &[Expr]) -> Vec<&Expr> {
    let mut sorted: Vec<&Expr> = parts.iter().collect();
    sorted.sort_by_cached_key(|part| cost(part));
    sorted
}

/// The cost until the first answer that can decide: of a group, its cheapest part.
fn cost(expr: &Expr) -> u32 {
    match expr {
        Expr::Always(_) => 0,
        Expr::Not(inner) => cost(inner),
        Expr::And(parts) | Expr::Or(parts) => {
            parts.iter().map(cost).fold(0_u32, |sum, part| sum.saturating_add(part))
        }
        Expr::Check(check) => check.cost(),
    }
}
