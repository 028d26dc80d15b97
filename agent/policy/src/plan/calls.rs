//! Weakens a condition to what the kernel can test of a system call: its result, one argument, names on its paths.

use super::cells::{self, Want};
use super::cover::{Superset, of_rules};
use super::names;
use crate::RuleSet;
use crate::condition::{Check, Compare, Operator};
use hostward_event::KindSet;
use hostward_event::call::{self, Form, Group, Spec};
use hostward_event::plan::{CallPlan, Chosen, KernelPlan, OpenClass};
use hostward_event::registry::{Arg, Field};

/// Fields that are a path of a call, besides its arguments.
const PATHS: [&str; 5] = ["fs.path.name", "fs.path.source", "fs.path.target", "file.path", "file.directory"];

/// A superset of the calls that are wanted. Each part alone is one: together they are narrower.
#[derive(Clone, Debug)]
struct Wanted {
    succeeded: bool,
    failed: bool,
    chosen: Option<Chosen>,
    names: Want,
}

impl Wanted {
    const ALL: Self = Self { succeeded: true, failed: true, chosen: None, names: Want::Everything };

    const fn is_nothing(&self) -> bool {
        !self.succeeded && !self.failed
    }
}

impl Superset for Wanted {
    fn everything() -> Self {
        Self::ALL
    }

    fn nothing() -> Self {
        Self { succeeded: false, failed: false, chosen: None, names: Want::Nothing }
    }

    fn and(self, other: Self) -> Self {
        if self.is_nothing() || other.is_nothing() {
            return Self::nothing();
        }
        let chosen = match (self.chosen, other.chosen) {
            (Some(one), Some(two)) if one.at == two.at => {
                Some(Chosen { at: one.at, values: one.values & two.values, above: one.above && two.above })
            }
            (one, two) => one.or(two),
        };
        Self {
            succeeded: self.succeeded && other.succeeded,
            failed: self.failed && other.failed,
            chosen,
            names: self.names.and(other.names),
        }
    }

    fn or(self, other: Self) -> Self {
        if self.is_nothing() {
            return other;
        }
        if other.is_nothing() {
            return self;
        }
        let chosen = match (self.chosen, other.chosen) {
            (Some(one), Some(two)) if one.at == two.at => {
                Some(Chosen { at: one.at, values: one.values | two.values, above: one.above || two.above })
            }
            _ => None,
        };
        Self {
            succeeded: self.succeeded || other.succeeded,
            failed: self.failed || other.failed,
            chosen,
            names: self.names.or(other.names),
        }
    }
}

/// Adds what the enabled rules want of system calls.
pub(super) fn add(rules: &RuleSet, plan: &mut KernelPlan) {
    let kinds = plan.kinds;
    for spec in call::TABLE.iter().filter(|spec| kinds.contains(spec.kind)) {
        let wanted = of_rules(rules, spec.kind, |check, field, argument, positive| {
            of_check(check, field, argument, positive, spec)
        });
        if wanted.is_nothing() {
            plan.kinds = plan.kinds.without(KindSet::of(&[spec.kind]));
            continue;
        }
        let mut call = CallPlan {
            named: false,
            succeeded: wanted.succeeded,
            failed: wanted.failed,
            chosen: wanted.chosen,
        };
        if let (Group::File, Want::Names(names)) = (spec.group, wanted.names) {
            call.named = true;
            cells::add(&mut plan.opens.names, names, OpenClass::CALL);
        }
        plan.calls.insert(spec.kind, call);
    }
}

fn of_check(check: &Check, field: &Field, argument: &Arg, positive: bool, spec: &Spec) -> Wanted {
    if let (Compare::Bools(wanted), "evt.failed") = (&check.compare, field.name) {
        let differs = check.operator == Operator::NotEqual;
        let holds = |failed: bool| (wanted.contains(&failed) != differs) == positive;
        return Wanted { succeeded: holds(false), failed: holds(true), ..Wanted::ALL };
    }
    if !positive {
        return Wanted::ALL;
    }
    let equal = matches!(check.operator, Operator::Equal | Operator::In | Operator::Intersects);
    match (&check.compare, field.name) {
        (Compare::Texts(texts), "evt.res") if equal => Wanted {
            succeeded: texts.contains(&b"SUCCESS"[..]),
            failed: texts.iter().any(|text| text.as_ref() != b"SUCCESS"),
            ..Wanted::ALL
        },
        (Compare::Search { .. }, "evt.res") if check.operator == Operator::StartsWith => {
            let errors = check.literals.iter().all(|literal| literal.starts_with(b"E"));
            Wanted { succeeded: !errors, ..Wanted::ALL }
        }
        (_, "evt.arg") => of_argument(check, argument, equal, spec),
        // The text of a symbolic link is no path that the kernel walks, and its names are not looked at.
        (_, "fs.path.target") if spec.param("target").is_some_and(|param| param.form == Form::Text) => {
            Wanted::ALL
        }
        (_, name) if PATHS.contains(&name) => of_names(names::of_path(check)),
        (_, "file.name") => of_names(names::of_name(check)),
        _ => Wanted::ALL,
    }
}

fn of_names(names: Option<std::collections::BTreeSet<Vec<u8>>>) -> Wanted {
    Wanted { names: names.map_or(Want::Everything, Want::Names), ..Wanted::ALL }
}

/// `evt.arg[NAME]`: a path, or a number that has a name.
fn of_argument(check: &Check, argument: &Arg, equal: bool, spec: &Spec) -> Wanted {
    let Arg::Key(name) = argument else { return Wanted::ALL };
    let Some(param) = spec.param(name) else {
        // `res` is every call's; no other name is this one's.
        return if name == "res" { Wanted::ALL } else { Wanted::nothing() };
    };
    match param.form {
        Form::Path(_) => of_names(names::of_path(check)),
        // Rendered with the socket's flags taken off, which the kernel's test does not.
        Form::Word(list) if equal && param.name != "type" => {
            let mut chosen = Chosen { at: param.at, values: 0, above: false };
            for literal in &check.literals {
                let text = String::from_utf8_lossy(literal);
                let known = list.iter().find(|(_, name)| *name == text).map(|(value, _)| *value);
                match known.or_else(|| text.parse().ok()) {
                    Some(value) if value < 64 => chosen.values |= 1 << value,
                    _ => chosen.above = true,
                }
            }
            Wanted { chosen: Some(chosen), ..Wanted::ALL }
        }
        _ => Wanted::ALL,
    }
}
