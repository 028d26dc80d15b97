//! How a network sink fares, and what it says about it.

use crate::net::backoff::Backoff;
use crate::net::failure::NetFailure;
use crate::sink::{FailureKind, SendFailure};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::{Duration, Instant};

/// A failure that goes on is logged this often.
const LOG_INTERVAL: Duration = Duration::from_secs(60);
/// A refusal makes the sink `Rejecting` for this long.
pub(crate) const REJECTION_REMEMBERED: Duration = Duration::from_secs(600);

/// State of a sink, as `docs/specs/delivery.md` §3 defines it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    /// Events flow.
    Healthy,
    /// It may pass by itself; events are kept.
    Backoff,
    /// Somebody has to mend DNS, TLS, a secret or a permission; events are kept.
    AuthFailed,
    /// Single events were refused lately; the others flow.
    Rejecting,
}

impl Condition {
    /// `healthy`, `backoff`, `auth_failed`, `rejecting`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Backoff => "backoff",
            Self::AuthFailed => "auth_failed",
            Self::Rejecting => "rejecting",
        }
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// See the module.
#[derive(Debug)]
pub struct Vitals {
    sink: String,
    failing: Option<FailureKind>,
    backoff: Backoff,
    rejected_at: Option<Instant>,
    logged_at: Option<Instant>,
    unlogged_failures: u64,
    failures: u64,
    auth_failures: u64,
    rejected_events: u64,
}

impl Vitals {
    /// Of the sink with this name.
    pub const fn new(sink: String) -> Self {
        Self {
            sink,
            failing: None,
            backoff: Backoff::new(),
            rejected_at: None,
            logged_at: None,
            unlogged_failures: 0,
            failures: 0,
            auth_failures: 0,
            rejected_events: 0,
        }
    }

    /// A call failed: what the sink answers to the driver. `delivered` is 0.
    pub fn failed(&mut self, failure: &NetFailure) -> SendFailure {
        self.failed_with(failure.kind(), format!("{failure}; {}", failure.hint()), None)
    }

    /// As [`Vitals::failed`] for what only the sink knows: `message` says subject, cause, and what to
    /// do, with nothing unescaped that came from elsewhere; `retry_after` is what the server asked for.
    pub fn failed_with(
        &mut self,
        kind: FailureKind,
        message: String,
        retry_after: Option<Duration>,
    ) -> SendFailure {
        let wait = self.backoff.wait(retry_after);
        self.failed_for(kind, message, wait)
    }

    /// As [`Vitals::failed_with`] where a library goes on trying by itself: looks again after `wait`.
    pub fn failed_for(&mut self, kind: FailureKind, message: String, wait: Duration) -> SendFailure {
        self.failures += 1;
        self.auth_failures += u64::from(kind == FailureKind::NeedsHelp);
        self.log(kind, &message, wait);
        self.failing = Some(kind);
        SendFailure { delivered: 0, kind, message, retry_after: wait }
    }

    /// The destination took something.
    pub fn acked(&mut self) {
        self.backoff.reset();
        if self.failing.take().is_some() {
            tracing::info!(sink = %self.sink, "events flow again");
            self.logged_at = None;
            self.unlogged_failures = 0;
        }
    }

    /// The destination took some events of a call that failed: the next wait is short, and there is
    /// nothing to tell.
    pub const fn progressed(&mut self) {
        self.backoff.reset();
    }

    /// The destination refused so many single events.
    pub fn rejected(&mut self, events: u64) {
        self.rejected_events += events;
        self.rejected_at = Some(Instant::now());
    }

    /// In one word.
    pub fn condition(&self) -> Condition {
        match self.failing {
            Some(FailureKind::NeedsHelp) => Condition::AuthFailed,
            Some(FailureKind::Passing | FailureKind::Ended) => Condition::Backoff,
            None if self.rejected_at.is_some_and(|at| at.elapsed() < REJECTION_REMEMBERED) => {
                Condition::Rejecting
            }
            None => Condition::Healthy,
        }
    }

    /// Counters for status.
    pub fn counters(&self) -> Vec<(&'static str, u64)> {
        vec![
            ("failures", self.failures),
            ("auth_failures", self.auth_failures),
            ("rejected_events", self.rejected_events),
        ]
    }

    /// Once when it begins or changes its kind, then once a minute: a server that is down for a week
    /// must not fill the journal.
    fn log(&mut self, kind: FailureKind, message: &str, wait: Duration) {
        let fresh = self.failing != Some(kind);
        if !fresh && self.logged_at.is_some_and(|at| at.elapsed() < LOG_INTERVAL) {
            self.unlogged_failures += 1;
            return;
        }
        let retry_in_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        let unlogged = std::mem::take(&mut self.unlogged_failures);
        if kind == FailureKind::NeedsHelp {
            tracing::error!(sink = %self.sink, retry_in_ms, unlogged, "events are held: {message}");
        } else {
            tracing::warn!(sink = %self.sink, retry_in_ms, unlogged, "cannot send: {message}");
        }
        self.logged_at = Some(Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_holds_and_an_outage_backs_off_and_an_ack_heals_both() {
        let mut vitals = Vitals::new("s".into());
        assert_eq!(vitals.condition(), Condition::Healthy);
        let closed = NetFailure::Closed { peer: "h:1".into() };
        assert_eq!(vitals.failed(&closed).kind, FailureKind::Passing);
        assert_eq!(vitals.condition(), Condition::Backoff);
        let refused = NetFailure::Refused { peer: "h:1".into(), reply: "401".into() };
        let failure = vitals.failed(&refused);
        assert_eq!((failure.kind, vitals.condition()), (FailureKind::NeedsHelp, Condition::AuthFailed));
        assert!(failure.retry_after <= Duration::from_secs(1), "{failure:?}");
        vitals.acked();
        assert_eq!(vitals.condition(), Condition::Healthy);
        vitals.rejected(2);
        assert_eq!(vitals.condition(), Condition::Rejecting);
        assert_eq!(vitals.counters(), [("failures", 2), ("auth_failures", 1), ("rejected_events", 2)]);
    }
}
