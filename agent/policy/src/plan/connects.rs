//! Weakens a condition to what the kernel can test of a connect: the port of the far end.

use super::cover::{Superset, of_rules};
use crate::RuleSet;
use crate::condition::{Check, Compare, Operator};
use hostward_event::plan::KernelPlan;
use hostward_event::registry::Field;
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

impl Superset for Wanted {
    fn everything() -> Self {
        Self::All
    }

    fn nothing() -> Self {
        Self::Ports(BTreeSet::new())
    }

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
    match of_rules(rules, EventKind::Connect, |check, field, _, positive| of_check(check, field, positive)) {
        Wanted::All => plan.connect_ports = None,
        Wanted::Ports(ports) if ports.is_empty() => {
            plan.kinds = plan.kinds.without(KindSet::of(&[EventKind::Connect]));
        }
        Wanted::Ports(ports) => plan.connect_ports = Some(ports),
    }
}

fn of_check(check: &Check, field: &Field, positive: bool) -> Wanted {
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
