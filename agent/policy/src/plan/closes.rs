//! Weakens a condition to what the kernel can test of the close of a file that was open for writing: names on its path.

use super::cells::Want;
use super::names;
use crate::RuleSet;
use crate::condition::{Check, Compare, Expr, Operator};
use hostward_event::plan::{KernelPlan, OpenClass};
use hostward_event::registry::KernelAtom;
use hostward_event::{EventKind, KindSet, Text};

const CLOSE: EventKind = EventKind::CloseWrite;
/// Names are compared by their first bytes.
const NAME_BYTES: usize = 16;

/// Adds what the enabled rules want of closes.
pub(super) fn add(rules: &RuleSet, plan: &mut KernelPlan) {
    if !plan.kinds.contains(CLOSE) {
        return;
    }
    let asking = rules.iter().filter(|rule| rule.enabled && rule.kinds().contains(CLOSE));
    match asking.map(|rule| cover(rule.expr(), true)).fold(Want::Nothing, Want::or) {
        Want::Nothing => plan.kinds = plan.kinds.without(KindSet::of(&[CLOSE])),
        Want::Everything => plan.opens.all = plan.opens.all.union(OpenClass::CLOSE),
        Want::Names(names) => {
            for mut name in names {
                name.truncate(NAME_BYTES);
                let class = plan.opens.names.entry(Text::from(name)).or_default();
                *class = class.union(OpenClass::CLOSE);
            }
        }
    }
}

/// Closes for which `expr` may hold, or (`positive` false) may fail.
fn cover(expr: &Expr, positive: bool) -> Want {
    match (expr, positive) {
        (Expr::Always(always), _) if *always == positive => Want::Everything,
        (Expr::Always(_), _) => Want::Nothing,
        (Expr::Not(inner), _) => cover(inner, !positive),
        (Expr::And(parts), true) | (Expr::Or(parts), false) => {
            parts.iter().map(|part| cover(part, positive)).fold(Want::Everything, Want::and)
        }
        (Expr::Or(parts), true) | (Expr::And(parts), false) => {
            parts.iter().map(|part| cover(part, positive)).fold(Want::Nothing, Want::or)
        }
        (Expr::Check(check), _) => of_check(check, positive),
    }
}

fn of_check(check: &Check, positive: bool) -> Want {
    let only_if = |holds: bool| if holds { Want::Everything } else { Want::Nothing };
    if let Compare::EventType(names) = &check.compare {
        // A close has one name, so that some and every are the same.
        let holds = names.some().contains(CLOSE) != (check.operator == Operator::NotEqual);
        return only_if(holds == positive);
    }
    let Some((field, _)) = check.left.plain() else { return Want::Everything };
    if !field.kinds.contains(CLOSE) {
        // The field is missing: the check fails for every close.
        return only_if(!positive);
    }
    if let (Compare::Bools(wanted), Some(KernelAtom::OpenWrite)) = (&check.compare, field.kernel) {
        // Only what was open for writing is told.
        let holds = wanted.contains(&true) != (check.operator == Operator::NotEqual);
        return only_if(holds == positive);
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
