//! When there is too much: what is left out, in which order, and when all is told again.
//!
//! # How it works
//! Each second the losses of the ring of files and sockets are looked at; a pipeline that is too slow shows there too, as
//! the ring then is not read. After some seconds of loss in a row the next class of the configured order is limited per
//! process, so that a loud process loses its own events and a quiet one none. Calm is when nothing is lost and no
//! process is beyond its limit: only then, and after a longer time, all limits are lifted at once. A flood that goes on
//! therefore keeps its limits although nothing is lost any more.
//!
//! # Not here
//! Starts, ends and privileged calls have rings of their own and are never limited.

use hostward_event::{EventKind, call};
use hostward_sensor::{DegradeConfig, KindCounters, SampledClass};

/// What the kernel has counted up to now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Losses {
    /// Events of files and sockets for which there was no room.
    pub lost: u64,
    /// Those left out on purpose.
    pub sampled: u64,
}

impl Losses {
    /// Of the kernel's counters.
    pub fn of(counters: &[KindCounters]) -> Self {
        let bulk = counters.iter().filter(|counter| is_bulk(counter.kind));
        bulk.fold(Self::default(), |sum, counter| Self {
            lost: sum.lost + counter.dropped.saturating_sub(counter.sampled),
            sampled: sum.sampled + counter.sampled,
        })
    }
}

fn is_bulk(kind: EventKind) -> bool {
    matches!(kind, EventKind::Open | EventKind::CloseWrite | EventKind::Connect)
        || call::find(kind).is_some_and(|spec| spec.group.is_bulk())
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Limit this class too.
    Limit(SampledClass),
    /// Lift all limits.
    Lift,
}

/// The memory between two looks.
#[derive(Debug)]
pub struct Overload {
    config: DegradeConfig,
    before: Option<Losses>,
    lossy_s: u32,
    calm_s: u32,
    limited: usize,
}

impl Overload {
    /// Nothing is limited.
    pub const fn new(config: DegradeConfig) -> Self {
        Self { config, before: None, lossy_s: 0, calm_s: 0, limited: 0 }
    }

    /// Events that a process may tell of a limited class in a second.
    pub const fn most(&self) -> u32 {
        self.config.events_per_process
    }

    /// The classes that are limited now.
    pub fn limited(&self) -> &[SampledClass] {
        self.config.order.get(..self.limited).unwrap_or_default()
    }

    /// Looks at the counters, once a second.
    pub fn look(&mut self, now: Losses) -> Option<Step> {
        let before = self.before.replace(now)?;
        let loses = now.lost > before.lost;
        let is_calm = !loses && now.sampled == before.sampled;
        self.lossy_s = if loses { self.lossy_s + 1 } else { 0 };
        self.calm_s = if is_calm { self.calm_s + 1 } else { 0 };
        if self.lossy_s >= self.config.after_s {
            self.lossy_s = 0;
            let class = *self.config.order.get(self.limited)?;
            self.limited += 1;
            return Some(Step::Limit(class));
        }
        if self.limited > 0 && self.calm_s >= self.config.calm_s {
            self.limited = 0;
            return Some(Step::Lift);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> DegradeConfig {
        DegradeConfig { after_s: 2, calm_s: 3, ..DegradeConfig::default() }
    }

    /// Looks at losses that grow by these each second.
    fn steps(overload: &mut Overload, now: &mut Losses, grow: &[(u64, u64)]) -> Vec<Option<Step>> {
        let mut look = |(lost, sampled): &(u64, u64)| {
            now.lost += lost;
            now.sampled += sampled;
            overload.look(*now)
        };
        grow.iter().map(&mut look).collect()
    }

    #[test]
    fn classes_are_limited_in_their_order_and_lifted_after_calm() {
        let (mut overload, mut now) = (Overload::new(config()), Losses { lost: 9, sampled: 0 });
        let open = Some(Step::Limit(SampledClass::OpenRead));
        let connect = Some(Step::Limit(SampledClass::Connect));
        // What was lost before the first look is history; a second alone is no overload.
        let told = steps(&mut overload, &mut now, &[(0, 0), (5, 0), (0, 0), (5, 0), (5, 0)]);
        assert_eq!(told, [None, None, None, None, open]);
        // Still lossy: the next class; then there is none left.
        let told = steps(&mut overload, &mut now, &[(5, 9), (5, 9), (5, 9), (5, 9)]);
        assert_eq!(told, [None, connect, None, None]);
        assert_eq!(overload.limited(), [SampledClass::OpenRead, SampledClass::Connect]);
        // Nothing is lost, but somebody is loud: the limits stay.
        let told = steps(&mut overload, &mut now, &[(0, 9); 9]);
        assert!(told.iter().all(Option::is_none));
        let told = steps(&mut overload, &mut now, &[(0, 0), (0, 0), (0, 1), (0, 0), (0, 0), (0, 0), (0, 0)]);
        assert_eq!(told, [None, None, None, None, None, Some(Step::Lift), None]);
        assert!(overload.limited().is_empty());
    }

    #[test]
    fn without_an_order_nothing_is_left_out() {
        let config = DegradeConfig { order: Vec::new(), ..config() };
        let (mut overload, mut now) = (Overload::new(config), Losses::default());
        assert!(steps(&mut overload, &mut now, &[(5, 0); 20]).iter().all(Option::is_none));
    }

    #[test]
    fn what_is_left_out_is_no_loss_and_processes_are_not_looked_at() {
        let of = |kind, dropped, sampled| KindCounters { kind, attempted: 99, dropped, starved: 0, sampled };
        let counters = [of(EventKind::Open, 9, 7), of(EventKind::Exec, 50, 0), of(EventKind::Unlink, 3, 0)];
        assert_eq!(Losses::of(&counters), Losses { lost: 5, sampled: 7 });
    }
}
