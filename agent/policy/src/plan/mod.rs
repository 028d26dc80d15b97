//! What the kernel may leave out and where it may kill.
//!
//! The plan is a superset: an event that a rule matches in user space is never left out by the
//! kernel, with one exception, which is the rule author's choice.
//!
//! Of an open that succeeded the kernel tests the names on the path that it resolved.
//! `fs.path.resolved` is that path, so a rule on it loses nothing. `fd.name`, `fd.directory` and
//! `fd.filename` are the text that the program passed. Of the text in a rule the plan takes the
//! last whole name, since links among the directories before it (`/bin/ls`, `/var/run/secrets`)
//! leave that name on the resolved path. But where the link is that name itself, or stands behind
//! it, the resolved path may lack it, and the open is not reported for that rule: with
//! `fd.name startswith /etc/`, writing `/etc/resolv.conf` that links to `/run/x` is such a case.
//! Rules on text can be walked round by symbolic links anyway; write `fs.path.resolved` where that
//! matters. Opens that failed have no resolved path: there the kernel tests the text and the
//! directory it starts in, and nothing is lost. Of a close every path is the one that the kernel
//! walks, so nothing is lost either.

mod calls;
mod cells;
mod closes;
mod connects;
mod cover;
mod kills;
mod names;
mod opens;
mod scopes;

use crate::condition::{Compare, Expr, Operand};
use crate::{Responses, RuleSet};
use hostward_event::plan::{EnvironmentPlan, KernelPlan};
use hostward_event::registry::{Arg, Field, Need};
use hostward_event::{EventKind, KindSet, Text};

/// Programs that are never killed, as configured. The responder checks them again; here they keep
/// the kernel from acting first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Protected {
    /// Paths of programs, as globs with `*`, `**`, `?`, `[…]`, `{a,b}`. A glob whose last part is a
    /// wildcard may mean any name, and then no program is killed by its name in the kernel.
    pub paths: Vec<String>,
    /// Command names.
    pub comms: Vec<String>,
}

/// Compiles the plan of the enabled rules and of the responses that kill in the kernel.
pub fn plan(rules: &RuleSet, responses: &Responses, protected: &Protected) -> KernelPlan {
    let always = KindSet::of(&[EventKind::Exec, EventKind::Fork, EventKind::Exit]);
    let mut plan = KernelPlan { kinds: rules.kinds().union(always), ..KernelPlan::default() };
    for rule in rules.iter().filter(|rule| rule.enabled) {
        environment(rule.expr(), &mut plan.environment);
        if reads_answers(rule.expr()) {
            plan.kinds = plan.kinds.union(KindSet::of(&[EventKind::DnsQuestion, EventKind::DnsAnswer]));
        }
        if rule.is_immediate() && responses.kills_in_kernel(rule) {
            kills::add(rule.expr(), protected, &mut plan);
        }
    }
    opens::add(rules, &mut plan);
    calls::add(rules, &mut plan);
    closes::add(rules, &mut plan);
    connects::add(rules, &mut plan);
    scopes::add(rules, &mut plan);
    plan
}

/// True when a condition reads what earlier DNS answers told, whatever kind of event it is about.
fn reads_answers(expr: &Expr) -> bool {
    let mut reads = false;
    expr.checks(&mut |check| {
        let right = if let Compare::Operand(right) = &check.compare { right.plain() } else { None };
        let mut fields = [check.left.plain(), right].into_iter().flatten();
        reads |= fields.any(|(field, _)| field.need == Need::Answers);
    });
    reads
}

/// Adds the variables that a condition reads.
fn environment(expr: &Expr, plan: &mut EnvironmentPlan) {
    expr.checks(&mut |check| {
        let mut plain = |operand: &Operand| match operand.plain() {
            Some((Field { name: "proc.env" | "proc.aenv", .. }, Arg::Key(key))) => {
                plan.names.insert(Text::from(key.as_str()));
            }
            Some((Field { name: "proc.env" | "proc.aenv", .. }, _)) => plan.all = true,
            _ => {}
        };
        plain(&check.left);
        if let Compare::Operand(right) = &check.compare {
            plain(right);
        }
    });
}
