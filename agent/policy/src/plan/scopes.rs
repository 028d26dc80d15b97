//! Weakens a condition to what the kernel can test of who does something: command name, effective user, and of a connect
//! the address of the far end.
//!
//! The kernel tests what the process is at the time of the event, as a record of the event tells it. Not tested are
//! `proc.exepath`, since the path of a running file changes when it is renamed or the process changes its root, while the
//! rule means the path at exec; `user.name`, which a process in a container has from its image; and what is said of
//! ancestors, containers or pods.

use crate::RuleSet;
use crate::condition::{Check, Compare, Expr, Operator};
use hostward_event::call::{self, Spec};
use hostward_event::plan::KernelPlan;
use hostward_event::registry::KernelAtom;
use hostward_event::scope::Scope;
use hostward_event::{EventKind, Text};

/// Of a connect the far end is the server. `fd.ip` and `fd.net` are either end's, and the kernel tests one.
const ADDRESSES: [&str; 4] = ["fd.sip", "fd.rip", "fd.snet", "fd.rnet"];
/// Longest command name.
const COMM_BYTES: usize = 15;
/// More alternatives than this for one kind are not worth their bits in the kernel.
const MAX_SCOPES: usize = 16;

/// Alternatives; none: nothing is wanted.
type Scopes = Vec<Scope>;

/// Adds whose events the enabled rules want.
pub(super) fn add(rules: &RuleSet, plan: &mut KernelPlan) {
    let calls = call::TABLE.iter().filter(|spec: &&Spec| spec.group.is_bulk()).map(|spec| spec.kind);
    let kinds = [EventKind::Open, EventKind::CloseWrite, EventKind::Connect].into_iter().chain(calls);
    for kind in kinds.filter(|kind| plan.kinds.contains(*kind)) {
        let asking = rules.iter().filter(|rule| rule.enabled && rule.kinds().contains(kind));
        let scopes = asking.map(|rule| cover(rule.expr(), true, kind)).fold(Scopes::new(), or);
        if !scopes.is_empty() && !scopes.iter().any(Scope::is_everything) {
            plan.scopes.insert(kind, scopes);
        }
    }
}

fn all() -> Scopes {
    vec![Scope::default()]
}

fn or(mut one: Scopes, other: Scopes) -> Scopes {
    for scope in other {
        if !one.contains(&scope) {
            one.push(scope);
        }
    }
    if one.len() > MAX_SCOPES || one.iter().any(Scope::is_everything) { all() } else { one }
}

/// Either side alone is a superset of what fits both.
fn and(one: Scopes, other: Scopes) -> Scopes {
    if one.len() * other.len() > MAX_SCOPES {
        return if one.iter().any(Scope::is_everything) { other } else { one };
    }
    let pairs = one.iter().flat_map(|one| other.iter().map(|other| both(one, other)));
    pairs.filter(|scope| !scope.is_nothing()).map(|scope| vec![scope]).fold(Scopes::new(), or)
}

fn both(one: &Scope, other: &Scope) -> Scope {
    Scope {
        comms: narrower(&one.comms, &other.comms, |one, two| one.intersection(two).cloned().collect()),
        uids: narrower(&one.uids, &other.uids, |one, two| one.intersection(two).copied().collect()),
        // Networks may lie in each other; one side is a superset.
        networks: narrower(&one.networks, &other.networks, |one, _| one.clone()),
    }
}

fn narrower<T: Clone>(one: &Option<T>, other: &Option<T>, meet: impl Fn(&T, &T) -> T) -> Option<T> {
    match (one, other) {
        (Some(one), Some(other)) => Some(meet(one, other)),
        (one, other) => one.clone().or_else(|| other.clone()),
    }
}

/// Whose events of `kind` `expr` may hold for, or (`positive` false) may fail for.
fn cover(expr: &Expr, positive: bool, kind: EventKind) -> Scopes {
    match (expr, positive) {
        (Expr::Always(always), _) if *always == positive => all(),
        (Expr::Always(_), _) => Scopes::new(),
        (Expr::Not(inner), _) => cover(inner, !positive, kind),
        (Expr::And(parts), true) | (Expr::Or(parts), false) => {
            parts.iter().map(|part| cover(part, positive, kind)).fold(all(), and)
        }
        (Expr::Or(parts), true) | (Expr::And(parts), false) => {
            parts.iter().map(|part| cover(part, positive, kind)).fold(Scopes::new(), or)
        }
        (Expr::Check(check), _) => of_check(check, positive, kind),
    }
}

fn of_check(check: &Check, positive: bool, kind: EventKind) -> Scopes {
    if let Compare::EventType(names) = &check.compare {
        // An open has one of several names.
        let (may_be, may_not) = (names.some().contains(kind), !names.every().contains(kind));
        let wants = positive != (check.operator == Operator::NotEqual);
        return if if wants { may_be } else { may_not } { all() } else { Scopes::new() };
    }
    let Some((field, _)) = check.left.plain() else { return all() };
    if !field.kinds.contains(kind) {
        // The field is missing: the check fails for every such event.
        return if positive { Scopes::new() } else { all() };
    }
    if !positive || !matches!(check.operator, Operator::Equal | Operator::In | Operator::Intersects) {
        return all();
    }
    let scope = match (&check.compare, field.kernel, field.name) {
        (Compare::Texts(texts), Some(KernelAtom::Comm), _) => {
            let names = texts.iter().filter(|text| !text.is_empty() && text.len() <= COMM_BYTES);
            Scope { comms: Some(names.map(|name| Text::copy(name)).collect()), ..Scope::default() }
        }
        (Compare::Numbers(numbers), _, "user.uid") => {
            let ids = numbers.iter().filter_map(|number| u32::try_from(*number).ok());
            Scope { uids: Some(ids.collect()), ..Scope::default() }
        }
        (Compare::Networks(networks), _, name) if kind == EventKind::Connect && ADDRESSES.contains(&name) => {
            let networks = networks.iter().map(|network| network.mapped());
            Scope { networks: Some(networks.collect()), ..Scope::default() }
        }
        _ => return all(),
    };
    if scope.is_nothing() { Scopes::new() } else { vec![scope] }
}
