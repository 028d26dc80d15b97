//! Weakens a condition to what the kernel can test of an open.

use super::cells::{Cell, Cells};
use super::cover::{Superset, of_rules};
use super::names;
use crate::RuleSet;
use crate::condition::{Check, Compare, Operator};
use hostward_event::EventKind;
use hostward_event::plan::KernelPlan;
use hostward_event::registry::{Field, KernelAtom};

/// Fields that only an open that succeeded carries.
const OF_SUCCESS: [&str; 8] = [
    "fs.path.resolved",
    "fd.filename",
    "file.inode",
    "file.device",
    "file.mode",
    "file.type",
    "file.uid",
    "file.gid",
];

/// Adds what the enabled rules want of opens.
pub(super) fn add(rules: &RuleSet, plan: &mut KernelPlan) {
    let of_check = |check: &Check, field: &Field, _: &_, positive| of_check(check, field, positive);
    plan.opens = of_rules(rules, EventKind::Open, of_check).finish();
}

fn of_check(check: &Check, field: &Field, positive: bool) -> Cells {
    if let Some(cells) = of_flags(check, field, positive) {
        return cells;
    }
    if !positive {
        return Cells::everything();
    }
    let wanted = match field.kernel {
        Some(KernelAtom::FilePath) => names::of_path(check).map_or_else(Cells::everything, Cells::names),
        Some(KernelAtom::FileName) => names::of_name(check).map_or_else(Cells::everything, Cells::names),
        _ => Cells::everything(),
    };
    if OF_SUCCESS.contains(&field.name) { wanted.and(Cells::only(|cell| cell.success)) } else { wanted }
}

/// Checks that the access mode and the result decide. Every open carries these fields, so that a
/// negated check is the check of the opposite.
fn of_flags(check: &Check, field: &Field, positive: bool) -> Option<Cells> {
    let equal = matches!(check.operator, Operator::Equal | Operator::In | Operator::Intersects);
    let differs = check.operator == Operator::NotEqual;
    let cells = |value: fn(Cell) -> bool, wanted: &[bool]| {
        Cells::only(|cell| (wanted.contains(&value(cell)) != differs) == positive)
    };
    match (&check.compare, field.name) {
        (Compare::Bools(wanted), "evt.failed") => Some(cells(|cell| !cell.success, wanted)),
        (Compare::Bools(wanted), _) => match field.kernel {
            Some(KernelAtom::OpenRead) => Some(cells(Cell::reads, wanted)),
            Some(KernelAtom::OpenWrite) => Some(cells(Cell::writes, wanted)),
            _ => None,
        },
        (Compare::Numbers(numbers), "fd.num" | "evt.rawres") => {
            Some(Cells::only(|cell| of_result(check.operator, numbers, cell.success, positive)))
        }
        (Compare::Texts(texts), "evt.res") if equal || differs => {
            let success = texts.contains(&b"SUCCESS"[..]);
            let failure = texts.iter().any(|text| text.as_ref() != b"SUCCESS");
            // One error among many: its opposite says nothing about failures.
            Some(Cells::only(|cell| match (cell.success, differs != positive) {
                (true, true) => success,
                (true, false) => !success,
                (false, true) => failure,
                (false, false) => true,
            }))
        }
        (Compare::Search { .. }, "evt.res") if check.operator == Operator::StartsWith => {
            let errors = check.literals.iter().all(|literal| literal.starts_with(b"E"));
            errors.then(|| Cells::only(|cell| if positive { !cell.success } else { true }))
        }
        _ => None,
    }
}

/// True when a result of this sign exists for which the check holds, or (`positive` false) fails.
fn of_result(operator: Operator, numbers: &[i128], success: bool, positive: bool) -> bool {
    let Some(number) = numbers.first().copied() else { return !positive };
    // The ends of the results of this sign; descriptors and errno numbers are far from the ends.
    let (low, high) = if success { (0, i128::from(i64::MAX)) } else { (i128::from(i64::MIN), -1) };
    let (holds, fails) = match operator {
        Operator::Less => (low < number, high >= number),
        Operator::LessEqual => (low <= number, high > number),
        Operator::Greater => (high > number, low <= number),
        Operator::GreaterEqual => (high >= number, low < number),
        Operator::NotEqual => (true, numbers.iter().any(|number| (low..=high).contains(number))),
        _ => (numbers.iter().any(|number| (low..=high).contains(number)), true),
    };
    if positive { holds } else { fails }
}
