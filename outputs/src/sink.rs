//! What a sink is: the seam that every destination implements.

use crate::ledger::Lane;
use hostward_event::Event;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Appends one event in its wire form, without a line end.
pub type Encoder = Arc<dyn Fn(&Event, &mut Vec<u8>) + Send + Sync>;

/// An event on its way through one sink's queue.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    pub(crate) event: Arc<Event>,
    pub(crate) lane: Lane,
    /// Estimate of the memory it holds; see [`crate::weight`].
    pub(crate) bytes: u64,
    pub(crate) queued_at: Instant,
}

/// Events that one call hands to a sink, never none. In the pipeline's order, or alerts first while
/// the sink is catching up.
#[derive(Debug)]
pub struct Batch {
    pub(crate) items: Vec<Item>,
}

impl Batch {
    /// The events, in the order in which verdicts are given.
    pub fn events(&self) -> impl ExactSizeIterator<Item = &Event> {
        self.items.iter().map(|item| item.event.as_ref())
    }

    /// How many.
    pub const fn len(&self) -> usize {
        self.items.len()
    }

    /// Never true for a batch that a sink is given.
    pub const fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// True when an alert is among them.
    pub fn has_alert(&self) -> bool {
        self.items.iter().any(|item| item.lane == Lane::Alert)
    }
}

/// What the destination said about one event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is there.
    Delivered,
    /// Not this time; offer it again.
    Retry,
    /// It will never be taken; the text says why.
    Rejected(String),
}

/// Answer to a batch that the destination looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ack {
    /// All events are there.
    All,
    /// One verdict per event, in the batch's order; events without one are tried again.
    Each(Vec<Verdict>),
    /// As [`Ack::Each`], and at least one event is to be tried again for a reason that makes the sink
    /// wait: the failure says which and how long. Its `delivered` has no meaning.
    Partly(Vec<Verdict>, SendFailure),
}

/// What a failure means for the sink.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// It may pass by itself (disk full, connection refused): degraded, tried again.
    Passing,
    /// A person has to do something (permission, wrong password, a symlink in the way): failed,
    /// tried again, nothing is given up.
    NeedsHelp,
    /// The destination is gone for good and that is no fault (the reader closed the pipe).
    Ended,
}

/// The batch could not be sent, or only its beginning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SendFailure {
    /// Events from the front of the batch that arrived all the same.
    pub delivered: usize,
    /// What it means.
    pub kind: FailureKind,
    /// Subject, value and cause, and what to do; a lower-case fragment.
    pub message: String,
    /// How long to wait before the next attempt.
    pub retry_after: Duration,
}

impl SendFailure {
    /// A failure of the whole batch, tried again after a second.
    pub const fn new(kind: FailureKind, message: String) -> Self {
        Self { delivered: 0, kind, message, retry_after: Duration::from_secs(1) }
    }
}

/// A destination. It is built, driven and dropped on its own thread, so it need not be `Send`; a
/// call may block, but a call that awaits can be cut short when the agent stops.
///
/// At-least-once: an event is delivered when `send` said so, and offered again when it did not.
/// One call is in flight at a time, and one of its [twin](Sink::alert_slot); a sink that wants several
/// requests in flight splits its batch.
pub trait Sink {
    /// Sends a batch and waits for the destination's word.
    ///
    /// # Errors
    /// When the destination did not take the whole batch for a reason that is not any one event's.
    fn send(&mut self, batch: &Batch) -> impl Future<Output = Result<Ack, SendFailure>>;

    /// A twin that sends alerts while a call of this one is under way, and shares what both learn of the
    /// destination. Asked for once, at the start; none: alerts wait for the call.
    fn alert_slot(&self) -> Option<Self>
    where
        Self: Sized,
    {
        None
    }

    /// When [`Sink::maintain`] wants to be called next although no event comes; none: not at all.
    fn maintenance_due(&self) -> Option<Instant> {
        None
    }

    /// Opens, syncs, rotates, keeps alive. Called once at the start, then when due.
    ///
    /// # Errors
    /// As [`Sink::send`]; `delivered` has no meaning.
    fn maintain(&mut self) -> impl Future<Output = Result<(), SendFailure>> {
        async { Ok(()) }
    }

    /// The last call when all is sent or the grace period ends.
    ///
    /// # Errors
    /// As [`Sink::send`]; `delivered` has no meaning.
    fn close(&mut self) -> impl Future<Output = Result<(), SendFailure>> {
        async { Ok(()) }
    }

    /// Counters of this kind of sink, for status: name with unit, value.
    fn counters(&self) -> Vec<(&'static str, u64)> {
        Vec::new()
    }
}
