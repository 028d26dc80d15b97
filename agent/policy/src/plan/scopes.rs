//! Weakens a condition to what the kernel can test of who does something: command name, effective user, and of a connect
//! the address of the far end.
//!
//! The kernel tests what the process is at the time of the event, as a record of the event tells it. Not tested are
//! `proc.exepath`, since the path of a running file changes when it is renamed or the process changes its root, while the
//! rule means the path at exec; `user.name`, which a process in a container has from its image; and what is said of
//! ancestors, containers or pods.

use super::cover::{Superset, of_rules};
use crate::RuleSet;
use crate::condition::{Check, Compare, Operator};
use hostward_event::call::{self, Spec};
use hostward_event::plan::KernelPlan;
use hostward_event::registry::{Field, KernelAtom};
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
        let scopes =
            of_rules(rules, kind, |check, field, _, positive| of_check(check, field, positive, kind));
        if !scopes.is_empty() && !scopes.iter().any(Scope::is_everything) {
            plan.scopes.insert(kind, scopes);
        }
    }
}

impl Superset for Scopes {
    fn everything() -> Self {
        vec![Scope::default()]
    }

    fn nothing() -> Self {
        Self::new()
    }

    /// Either side alone is a superset of what fits both.
    fn and(self, other: Self) -> Self {
        if self.len() * other.len() > MAX_SCOPES {
            return if self.iter().any(Scope::is_everything) { other } else { self };
        }
        let pairs = self.iter().flat_map(|one| other.iter().map(|other| both(one, other)));
        pairs.filter(|scope| !scope.is_nothing()).map(|scope| vec![scope]).fold(Self::new(), Self::or)
    }

    fn or(mut self, other: Self) -> Self {
        for scope in other {
            if !self.contains(&scope) {
                self.push(scope);
            }
        }
        if self.len() > MAX_SCOPES || self.iter().any(Scope::is_everything) {
            Self::everything()
        } else {
            self
        }
    }
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

fn of_check(check: &Check, field: &Field, positive: bool, kind: EventKind) -> Scopes {
    if !positive || !matches!(check.operator, Operator::Equal | Operator::In | Operator::Intersects) {
        return Scopes::everything();
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
        _ => return Scopes::everything(),
    };
    if scope.is_nothing() { Scopes::new() } else { vec![scope] }
}
