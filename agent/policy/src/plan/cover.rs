//! What is wanted of one kind of event, as a superset that the kernel can test, from conditions.
//!
//! What a check means of an event is said by the file of the kind; here is how supersets of checks become one of a
//! condition, and what every check says of an event by its kind alone.

use crate::RuleSet;
use crate::condition::{Check, Compare, Expr, Operator};
use hostward_event::EventKind;
use hostward_event::registry::{Arg, Field};

/// A superset of the events of one kind that are wanted.
pub(super) trait Superset: Sized {
    fn everything() -> Self;
    fn nothing() -> Self;
    /// Of what is in both.
    fn and(self, other: Self) -> Self;
    fn or(self, other: Self) -> Self;

    fn only_if(holds: bool) -> Self {
        if holds { Self::everything() } else { Self::nothing() }
    }
}

/// What the enabled rules want of `kind`. `of_check`: the events for which a check of a field that they have may hold,
/// or (false) may fail.
pub(super) fn of_rules<S: Superset>(
    rules: &RuleSet,
    kind: EventKind,
    of_check: impl Fn(&Check, &Field, &Arg, bool) -> S,
) -> S {
    let asking = rules.iter().filter(|rule| rule.enabled && rule.kinds().contains(kind));
    asking.map(|rule| cover(rule.expr(), true, kind, &of_check)).fold(S::nothing(), S::or)
}

/// Events for which `expr` may hold, or (`positive` false) may fail.
fn cover<S: Superset>(
    expr: &Expr,
    positive: bool,
    kind: EventKind,
    of_check: &impl Fn(&Check, &Field, &Arg, bool) -> S,
) -> S {
    let each = |part: &Expr| cover(part, positive, kind, of_check);
    match (expr, positive) {
        (Expr::Always(always), _) => S::only_if(*always == positive),
        (Expr::Not(inner), _) => cover(inner, !positive, kind, of_check),
        (Expr::And(parts), true) | (Expr::Or(parts), false) => {
            parts.iter().map(each).fold(S::everything(), S::and)
        }
        (Expr::Or(parts), true) | (Expr::And(parts), false) => {
            parts.iter().map(each).fold(S::nothing(), S::or)
        }
        (Expr::Check(check), _) => by_kind(check, positive, kind, of_check),
    }
}

fn by_kind<S: Superset>(
    check: &Check,
    positive: bool,
    kind: EventKind,
    of_check: &impl Fn(&Check, &Field, &Arg, bool) -> S,
) -> S {
    if let Compare::EventType(names) = &check.compare {
        // An open has one of several names.
        let (may_be, may_not) = (names.some().contains(kind), !names.every().contains(kind));
        let wants = positive != (check.operator == Operator::NotEqual);
        return S::only_if(if wants { may_be } else { may_not });
    }
    match check.left.plain() {
        // The field is missing: the check fails for every such event.
        Some((field, _)) if !field.kinds.contains(kind) => S::only_if(!positive),
        Some((field, argument)) => of_check(check, field, argument, positive),
        None => S::everything(),
    }
}
