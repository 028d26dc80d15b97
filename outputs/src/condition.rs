//! How a sink's driver fares: open or closing, healthy or failing, when to try again. The same for a
//! sink whose events wait in memory and one whose events wait in the spool.

use crate::ledger::DropRange;
use crate::net::vitals::{self, REJECTION_REMEMBERED};
use crate::sink::{Ack, Batch, FailureKind, SendFailure};
use crate::status::{Health, LastError, State};
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A call that takes longer makes the sink degraded.
const STALLED_AFTER: Duration = Duration::from_secs(2);
/// A loss makes the sink degraded for this long.
const LOSS_REMEMBERED_MS: i64 = 60_000;

/// What the driver does next.
pub(crate) enum Next {
    Send(Arc<Batch>),
    /// Nothing until then, or until woken.
    Wait(Option<Instant>),
    /// Closing, and nothing is left to send.
    Finish,
}

/// Where a sink's events come from, as its driver sees it.
pub(crate) trait Supply: Send + Sync + 'static {
    /// Decides what the driver does now. A batch it hands out is in flight until settled.
    fn next(&self, now: Instant) -> Next;
    /// Books the answer to the batch in flight. Too late, after the books were closed, it is ignored.
    fn settle(&self, answer: Result<Ack, SendFailure>);
    /// Whether [`Supply::read_ahead`] is worth a thread now.
    fn wants_ahead(&self) -> bool {
        false
    }
    /// Makes the next batch ready while one is in flight; called on another thread, once per batch.
    fn read_ahead(&self) {}
    /// Alerts that wait while a batch is in flight, for the slot that is theirs. They are in flight until
    /// settled; none: nothing waits, or not now.
    fn next_alerts(&self, now: Instant) -> Option<Arc<Batch>>;
    /// As [`Supply::settle`], for the alerts in flight.
    fn settle_alerts(&self, answer: Result<Ack, SendFailure>);
    /// The result of a call that carried no events.
    fn note(&self, result: Result<(), SendFailure>);
    /// Until when events may still be sent; none while open.
    fn deadline(&self) -> Option<Instant>;
    /// Returns when there may be something to do.
    fn woken(&self) -> impl Future<Output = ()>;
    /// The destination went away for good.
    fn ended(&self) -> bool;
    /// The sink's own counters.
    fn set_counters(&self, counters: Vec<(&'static str, u64)>);
    /// The sink's thread is through; `died` when by a panic.
    fn finish(&self, died: bool);
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Open,
    /// No more events are taken; what is queued may leave until then.
    Closing(Instant),
    /// The books are closed: whatever a late call answers is not counted.
    Sealed,
}

pub(crate) fn unix_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

#[derive(Debug)]
pub(crate) struct Condition {
    pub(crate) phase: Phase,
    pub(crate) busy_since: Option<Instant>,
    pub(crate) health: Health,
    pub(crate) last_error: Option<LastError>,
    pub(crate) failing: bool,
    pub(crate) failed_sends: u64,
    pub(crate) retry_at: Option<Instant>,
    /// When the destination last refused a single event.
    refused_at: Option<Instant>,
    pub(crate) counters: Vec<(&'static str, u64)>,
    pub(crate) done: bool,
}

impl Condition {
    pub(crate) fn new() -> Self {
        Self {
            phase: Phase::Open,
            busy_since: None,
            health: Health { state: State::Ok, since_unix_ms: unix_ms(), reason: String::new() },
            last_error: None,
            failing: false,
            failed_sends: 0,
            retry_at: None,
            refused_at: None,
            counters: Vec::new(),
            done: false,
        }
    }

    /// What waits may leave until `deadline`.
    pub(crate) fn begin_close(&mut self, deadline: Instant) {
        if self.phase == Phase::Open {
            self.phase = Phase::Closing(deadline);
        }
    }

    /// Until when events may still be sent; none while open.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        match self.phase {
            Phase::Open => None,
            Phase::Closing(deadline) => Some(deadline),
            Phase::Sealed => Some(Instant::now()),
        }
    }

    /// Whether a call may begin now.
    pub(crate) fn may_send(&self, now: Instant) -> bool {
        let waits = self.retry_at.is_some_and(|at| now < at);
        self.deadline().is_none_or(|deadline| now < deadline) && !waits
    }

    pub(crate) fn error(&mut self, message: String) {
        self.last_error = Some(LastError { message, unix_ms: unix_ms() });
    }

    /// The destination refused a single event for good.
    pub(crate) fn refused(&mut self, message: String) {
        self.refused_at = Some(Instant::now());
        self.error(message);
    }

    /// What happens to the sink's events, in one word.
    pub(crate) fn word(&self, now: Instant) -> vitals::Condition {
        let lately = |at: Instant| now.saturating_duration_since(at) < REJECTION_REMEMBERED;
        match self.health.state {
            State::Degraded => vitals::Condition::Backoff,
            State::Failed => vitals::Condition::AuthFailed,
            State::Ok | State::Ended if self.refused_at.is_some_and(lately) => vitals::Condition::Rejecting,
            State::Ok | State::Ended => vitals::Condition::Healthy,
        }
    }

    pub(crate) fn died(&mut self) {
        let message = "the sink's thread died; restart the agent, and report this as a bug".to_owned();
        self.error(message.clone());
        self.set_health(State::Failed, message);
    }

    fn set_health(&mut self, state: State, reason: String) {
        if self.health.state != state {
            self.health.since_unix_ms = unix_ms();
        }
        self.health.state = state;
        self.health.reason = reason;
    }

    pub(crate) fn recovered(&mut self) {
        self.failing = false;
        self.retry_at = None;
        if matches!(self.health.state, State::Degraded | State::Failed) {
            self.set_health(State::Ok, String::new());
        }
    }

    /// Books a failure. True when the destination has ended.
    pub(crate) fn failed(&mut self, failure: &SendFailure) -> bool {
        self.failed_sends += 1;
        match failure.kind {
            FailureKind::Passing => self.set_health(State::Degraded, failure.message.clone()),
            FailureKind::NeedsHelp => self.set_health(State::Failed, failure.message.clone()),
            FailureKind::Ended => {
                self.set_health(State::Ended, failure.message.clone());
                return true;
            }
        }
        self.failing = true;
        self.retry_at = Some(Instant::now() + failure.retry_after);
        self.error(failure.message.clone());
        false
    }

    /// What the driver knows, and what only the clock tells: a call that hangs, a recent loss.
    pub(crate) fn health_now(&self, now: Instant, last_drop: Option<&DropRange>) -> Health {
        if self.health.state != State::Ok {
            return self.health.clone();
        }
        let unix_now = unix_ms();
        let degraded = |since_unix_ms, reason| Health { state: State::Degraded, since_unix_ms, reason };
        let busy = self.busy_since.map(|since| now.saturating_duration_since(since));
        if let Some(busy) = busy.filter(|busy| *busy >= STALLED_AFTER) {
            let since = unix_now - i64::try_from(busy.as_millis()).unwrap_or(i64::MAX);
            let reason = format!("one write has taken {} s and is not through", busy.as_secs());
            return degraded(since, reason);
        }
        if let Some(loss) = last_drop
            && unix_now - loss.last_unix_ms < LOSS_REMEMBERED_MS
        {
            let reason = format!("{} events lost in the last run: {}", loss.events, loss.reason.describe());
            return degraded(loss.last_unix_ms, reason);
        }
        self.health.clone()
    }
}
