//! What is known so far of one event.

use super::Matcher;
use super::index::Bits;
use super::steps::{Part, Step, Steps};
use hostward_event::Event;
use hostward_event::registry::Value;
use std::cell::RefCell;

/// Memory that a thread keeps from event to event. What was noted for an earlier event bears another
/// number than this one's, so that nothing is wiped.
pub(super) struct Memo {
    now: u64,
    /// By step: the event's number, doubled, and 1 if the step holds.
    results: Vec<u64>,
    /// By operand: the event's number, and where its value stands.
    places: Vec<(u64, usize)>,
    values: Vec<Value<'static>>,
    pub(super) wanted: Bits,
}

thread_local! {
    static MEMO: RefCell<Memo> = RefCell::new(Memo {
        now: 0,
        results: Vec::new(),
        places: Vec::new(),
        values: Vec::new(),
        wanted: Bits::default(),
    });
}

pub(super) fn with(work: impl FnOnce(&mut Memo)) {
    MEMO.with_borrow_mut(work);
}

/// One event and what is known of it.
pub(super) struct Run<'e> {
    matcher: &'e Matcher,
    steps: &'e Steps,
    event: &'e Event,
    memo: &'e mut Memo,
    values: Vec<Value<'e>>,
}

impl<'e> Run<'e> {
    pub(super) fn new(matcher: &'e Matcher, steps: &'e Steps, event: &'e Event, memo: &'e mut Memo) -> Self {
        memo.now += 1;
        if memo.results.len() < steps.len() {
            memo.results.resize(steps.len(), 0);
        }
        if memo.places.len() < matcher.operands.len() {
            memo.places.resize(matcher.operands.len(), (0, 0));
        }
        let values = std::mem::take(&mut memo.values);
        Self { matcher, steps, event, memo, values }
    }

    /// The value of an operand, read when it is first asked for.
    pub(super) fn value(&mut self, operand: usize) -> Option<&Value<'e>> {
        let place = self.memo.places.get_mut(operand)?;
        if place.0 != self.memo.now {
            *place = (self.memo.now, self.values.len());
            self.values.push(self.matcher.operands.get(operand)?.value(self.event));
        }
        self.values.get(place.1)
    }

    /// Decides a part of a condition, unless it is known.
    pub(super) fn holds(&mut self, part: Part) -> bool {
        let number = part.step as usize;
        let noted = self.memo.results.get(number).copied().unwrap_or(0);
        if noted >> 1 == self.memo.now {
            return (noted & 1 == 1) != part.negated;
        }
        let holds = match self.steps.get(part.step) {
            Some(Step::Check(check)) => self.check(*check),
            Some(Step::All(parts)) => parts.iter().all(|part| self.holds(*part)),
            Some(Step::Any(parts)) => parts.iter().any(|part| self.holds(*part)),
            Some(Step::Always(always)) => *always,
            None => false,
        };
        if let Some(noted) = self.memo.results.get_mut(number) {
            *noted = self.memo.now << 1 | u64::from(holds);
        }
        holds != part.negated
    }

    fn check(&mut self, number: usize) -> bool {
        let (matcher, event) = (self.matcher, self.event);
        let Some(asked) = matcher.checks.get(number) else { return false };
        self.value(asked.operand).is_some_and(|value| asked.check.holds_of(value, event))
    }

    /// Gives back what values were made in.
    pub(super) fn end(mut self) {
        self.values.drain(..).for_each(Value::recycle);
        // An iterator over an empty vector is collected in the place it has, under another lifetime.
        self.memo.values = self.values.into_iter().map(|_| Value::Missing).collect();
    }
}
