//! What the kernel may leave out and where it may kill.
//!
//! The plan is a superset: an event that a rule matches in user space is never left out by the
//! kernel, with one exception that a rule's author chooses. The kernel tests the names on the path
//! that it resolved. `fs.path.resolved` is that path, so a rule on it loses nothing. `fd.name`,
//! `fd.directory` and `fd.filename` are the text that the program passed. Of that text the plan
//! takes the last name, which a link among the directories (`/bin`, `/var/run`) keeps; but a path
//! whose named component is itself a symbolic link to something of another name is not reported
//! for such a rule unless another rule or a telemetry stream wants it. Rules on text can be walked
//! round by symbolic links anyway; write `fs.path.resolved` where that matters.

mod cells;
mod kills;
mod names;
mod opens;

use crate::{Responses, RuleSet};
use hostward_event::plan::KernelPlan;
use hostward_event::{EventKind, KindSet};

/// Programs that are never killed, as configured. The responder checks them again; here they keep
/// the kernel from acting first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Protected {
    /// Paths of programs, as shell patterns.
    pub paths: Vec<String>,
    /// Command names.
    pub comms: Vec<String>,
}

/// Compiles the plan of the enabled rules and of the responses that kill in the kernel.
pub fn plan(rules: &RuleSet, responses: &Responses, protected: &Protected) -> KernelPlan {
    let always = KindSet::of(&[EventKind::Exec, EventKind::Fork, EventKind::Exit]);
    let mut plan = KernelPlan { kinds: rules.kinds().union(always), ..KernelPlan::default() };
    let mut cells = cells::Cells::none();
    for rule in rules.iter().filter(|rule| rule.enabled) {
        if rule.kinds().contains(EventKind::Open) {
            cells = cells.or(opens::cover(rule.expr(), true));
        }
        if responses.kills_in_kernel(rule) {
            kills::add(rule.expr(), protected, &mut plan);
        }
    }
    plan.opens = cells.finish();
    plan
}
