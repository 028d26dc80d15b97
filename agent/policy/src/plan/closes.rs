//! Weakens a condition to what the kernel can test of the close of a file that was open for writing: names on its path.

use super::cells::{self, Want};
use super::cover::{Superset, of_rules};
use super::names;
use crate::RuleSet;
use crate::condition::{Check, Compare, Operator};
use hostward_event::plan::{KernelPlan, OpenClass};
use hostward_event::registry::{Field, KernelAtom};
use hostward_event::{EventKind, KindSet};

const CLOSE: EventKind = EventKind::CloseWrite;

/// Adds what the enabled rules want of closes.
pub(super) fn add(rules: &RuleSet, plan: &mut KernelPlan) {
    if !plan.kinds.contains(CLOSE) {
        return;
    }
    match of_rules(rules, CLOSE, |check, field, _, positive| of_check(check, field, positive)) {
        Want::Nothing => plan.kinds = plan.kinds.without(KindSet::of(&[CLOSE])),
        Want::Everything => plan.opens.all = plan.opens.all.union(OpenClass::CLOSE),
        Want::Names(names) => cells::add(&mut plan.opens.names, names, OpenClass::CLOSE),
    }
}

fn of_check(check: &Check, field: &Field, positive: bool) -> Want {
    if let (Compare::Bools(wanted), Some(KernelAtom::OpenWrite)) = (&check.compare, field.kernel) {
        // Only what was open for writing is told.
        let holds = wanted.contains(&true) != (check.operator == Operator::NotEqual);
        return Want::only_if(holds == positive);
    }
    if !positive {
        return Want::Everything;
    }
    let names = match field.kernel {
        Some(KernelAtom::FilePath) => names::of_path(check),
        Some(KernelAtom::FileName) => names::of_name(check),
        _ => None,
    };
    names.map_or(Want::Everything, Want::Names)
}
