//! One call: what of its events is settled, and how long it waits.

use super::tickets::ByEvent;
use crate::sink::{FailureKind, Verdict};
use rdkafka::types::RDKafkaErrorCode as Code;
use std::time::{Duration, Instant};

/// A trouble that stands is waited out for so long without a report.
pub(super) const TROUBLE_LIMIT: Duration = Duration::from_millis(500);
/// No trouble is told and no report comes: the call returns, the library goes on.
pub(super) const REPORT_LIMIT: Duration = Duration::from_secs(10);
/// No report and no error: the library is not trusted any more.
pub(super) const SILENCE_LIMIT: Duration = Duration::from_secs(120);

/// Why a call returns before all its events are settled: what it means, and the message.
#[derive(Debug)]
pub(super) enum Setback {
    /// The library told of a trouble and goes on trying.
    Told(FailureKind, String),
    /// The library gave events back.
    Refused(FailureKind, String),
    /// The producer is of no use any more.
    Spent(FailureKind, String),
}

/// What is known of a call's events.
#[derive(Debug, Default)]
pub(super) struct Run {
    /// Verdicts by slot; where there is none the event is tried again.
    settled: Vec<Option<Verdict>>,
    /// Events that the library has, with their slots.
    pub(super) open: ByEvent<usize>,
    /// Slots that were refused with their batch.
    pub(super) suspects: Vec<(usize, Code)>,
    /// An event came back for a reason that is not its own.
    pub(super) refusal: Option<Code>,
    pub(super) rejected: u64,
}

impl Run {
    pub(super) fn deliver(&mut self, slot: usize) {
        self.settle(slot, Verdict::Delivered);
    }

    fn settle(&mut self, slot: usize, verdict: Verdict) {
        if self.settled.len() <= slot {
            self.settled.resize(slot + 1, None);
        }
        if let Some(settled) = self.settled.get_mut(slot) {
            *settled = Some(verdict);
        }
    }

    pub(super) fn reject(&mut self, slot: usize, why: String) {
        self.rejected += 1;
        self.settle(slot, Verdict::Rejected(why));
    }

    /// One verdict per slot.
    pub(super) fn verdicts(mut self, slots: usize) -> Vec<Verdict> {
        self.settled.resize(slots, None);
        self.settled.into_iter().map(|settled| settled.unwrap_or(Verdict::Retry)).collect()
    }
}

/// The clock of a call.
#[derive(Debug)]
pub(super) struct Watch {
    start: Instant,
}

impl Watch {
    pub(super) fn start() -> Self {
        Self { start: Instant::now() }
    }

    /// How long to wait before listening: briefly as long as reports come or the first is due any moment.
    pub(super) fn step(&self, progress_at: Option<Instant>) -> Duration {
        let waited = self.since(progress_at).elapsed();
        Duration::from_millis(if waited < Duration::from_millis(200) { 1 } else { 20 })
    }

    /// From when on the library has been silent in this call.
    pub(super) fn since(&self, progress_at: Option<Instant>) -> Instant {
        progress_at.map_or(self.start, |at| at.max(self.start))
    }
}
