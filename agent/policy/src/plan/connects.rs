//! Weakens a condition to what the kernel can test of a connect: the port of the far end.

use crate::RuleSet;
use crate::condition::{Check, Compare, Expr, Operator};
use hostward_event::plan::KernelPlan;
use hostward_event::{EventKind, KindSet};
use std::collections::BTreeSet;

/// Of a connect the far end is the server. `fd.port` is either end's, and the kernel tests one.
const PORTS: [&str; 2] = ["fd.sport", "fd.rport"];

/// A superset of the connects that are wanted.
#[derive(Clone, Debug)]
enum Wanted {
    All,
    Ports(BTreeSet<u16>),
}

impl Wanted {
    const NOTHING: Self = Self::Ports(BTreeSet::new());

    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::All, one) | (one, Self::All) => one,
            (Self::Ports(one), Self::Ports(two)) => Self::Ports(one.intersection(&two).copied().collect()),
        }
    }

    fn or(self, other: Self) -> Self {
        match (self, other) {
            (Self::All, _) | (_, Self::All) => Self::All,
            (Self::Ports(mut one), Self::Ports(two)) => {
                one.extend(two);
                Self::Ports(one)
            }
        }
    }
}

/// Adds what the enabled rules want of connects.
pub(super) fn add(rules: &RuleSet, plan: &mut KernelPlan) {
    if !plan.kinds.contains(EventKind::Connect) {
        return;
    }
    let asking = rules.iter().filter(|rule| rule.enabled && rule.kinds().contains(EventKind::Connect));
    match asking.map(|rule| cover(rule.expr(), true)).fold(Wanted::NOTHING, Wanted::or) {
        Wanted::All => plan.connect_ports = None,
        Wanted::Ports(ports) if ports.is_empty() => {
            plan.kinds = plan.kinds.without(KindSet::of(&[EventKind::Connect]));
        }
        Wanted::Ports(ports) => plan.connect_ports = Some(ports),
    }
}

/// Connects for which `expr` may hold, or (`positive` false) may fail.
fn cover(expr: &Expr, positive: bool) -> Wanted {
    match (expr, positive) {
        (Expr::Always(always), _) if *always == positive => Wanted::All,
        (Expr::Always(_), _) => Wanted::NOTHING,
        (Expr::Not(inner), _) => cover(inner, !positive),
        (Expr::And(parts), true) | (Expr::Or(parts), false) => {
            parts.iter().map(|part| cover(part, positive)).fold(Wanted::All, Wanted::and)
        }
        (Expr::Or(parts), true) | (Expr::And(parts), false) => {
            parts.iter().map(|part| cover(part, positive)).fold(Wanted::NOTHING, Wanted::or)
        }
        (Expr::Check(check), _) => of_check(check, positive),
    }
}

fn of_check(check: &Check, positive: bool) -> Wanted {
    if let Compare::EventType(names) = &check.compare {
        // A connect has one name, so that some and every are the same.
        let holds = names.some().contains(EventKind::Connect) != (check.operator == Operator::NotEqual);
        return if holds == positive { Wanted::All } else { Wanted::NOTHING };
    }
    let Some((field, _)) = check.left.plain() else { return Wanted::All };
    if !field.kinds.contains(EventKind::Connect) {
        // The field is missing: the check fails for every connect.
        return if positive { Wanted::NOTHING } else { Wanted::All };
    }
    match (&check.compare, check.operator) {
        (Compare::Numbers(numbers), Operator::Equal | Operator::In | Operator::Intersects)
            if positive && PORTS.contains(&field.name) =>
        {
            // What is no port no connect has.
            Wanted::Ports(numbers.iter().filter_map(|number| u16::try_from(*number).ok()).collect())
        }
        // Ranges and opposites: one without a port may be meant as well.
        _ => Wanted::All,
    }
}
