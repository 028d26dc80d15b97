//! One sink's view of the spool: take records, settle them, be woken.

use super::cursor::Outcome;
use super::dlq::{DeadLetter, DeadLetters};
use super::log::Taken;
use super::segment::Amount;
use super::{Shared, now_ns};
use crate::{Lane, Reason};
use hostward_event::EventId;
use rustix::io::Errno;
use std::sync::{Arc, Mutex, PoisonError};

/// A record that was taken and has to be settled.
#[derive(Clone, Debug)]
pub struct Record {
    lane: Lane,
    taken: Taken,
}

impl Record {
    /// Its lane.
    pub const fn lane(&self) -> Lane {
        self.lane
    }

    /// Its number in the lane, from 1.
    pub const fn seq(&self) -> u64 {
        self.taken.seq
    }

    /// Its time, ns since the epoch.
    pub const fn time_ns(&self) -> i64 {
        self.taken.time_ns
    }

    /// Its event's id.
    pub const fn id(&self) -> EventId {
        self.taken.id
    }

    /// What was appended.
    pub fn bytes(&self) -> &[u8] {
        self.taken.bytes()
    }
}

/// What became of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settled {
    /// The destination has it.
    Delivered,
    /// Not this time.
    Retry,
    /// The destination refused it for good: it goes to the dead letters.
    Rejected {
        /// What it said.
        reason: String,
        /// The event as a JSON object, for a person to read; none: the record as it is.
        document: Option<Vec<u8>>,
    },
}

/// Which lanes a take looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lanes {
    /// Alerts, then telemetry.
    Both,
    /// Alerts alone: telemetry is held back.
    AlertsOnly,
    /// Telemetry alone: alerts go another way.
    TelemetryOnly,
}

impl Lanes {
    const fn has(self, lane: Lane) -> bool {
        match self {
            Self::Both => true,
            Self::AlertsOnly => matches!(lane, Lane::Alert),
            Self::TelemetryOnly => matches!(lane, Lane::Telemetry),
        }
    }
}

/// What waits for a sink.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    /// In the alert lane.
    pub alerts: Amount,
    /// In the telemetry lane.
    pub telemetry: Amount,
    /// Time of the oldest record that is not settled, ns since the epoch; to the block.
    pub oldest_ns: Option<i64>,
}

/// See the module. One per sink; one thread takes and settles.
pub struct Reader {
    pub(super) shared: Arc<Shared>,
    pub(super) sink: String,
    pub(super) slot: usize,
    pub(super) dead_letters: Mutex<DeadLetters>,
}

impl Reader {
    /// The sink's name.
    pub fn sink(&self) -> &str {
        &self.sink
    }

    /// Takes records that wait, in their order within a lane, those given back first. At most so many,
    /// and so many bytes, but at least one when there is one. Each has to be settled.
    pub fn take(&self, lanes: Lanes, max_events: usize, max_bytes: u64) -> Vec<Record> {
        let mut records: Vec<Record> = Vec::new();
        let mut bytes = 0;
        for log in &self.shared.logs {
            if !lanes.has(log.lane) {
                continue;
            }
            let (room, left) = (max_events - records.len(), max_bytes.saturating_sub(bytes));
            if room == 0 || (!records.is_empty() && left == 0) {
                break;
            }
            for taken in log.take(self.slot, room, left, now_ns()) {
                bytes += super::bytes::len64(taken.bytes().len());
                records.push(Record { lane: log.lane, taken });
            }
        }
        records
    }

    /// Settles records. One without a verdict is tried again.
    ///
    /// # Errors
    /// The dead letters could not be written: the refused records wait in the spool, all others are
    /// settled as said.
    pub fn settle(
        &self,
        records: &[Record],
        verdicts: impl IntoIterator<Item = Settled>,
    ) -> Result<(), Errno> {
        let now = now_ns();
        let mut verdicts = verdicts.into_iter();
        let verdicts: Vec<Settled> =
            records.iter().map(|_| verdicts.next().unwrap_or(Settled::Retry)).collect();
        let letters: Vec<DeadLetter<'_>> = records
            .iter()
            .zip(&verdicts)
            .filter_map(|(record, verdict)| {
                let Settled::Rejected { reason, document } = verdict else { return None };
                Some(DeadLetter {
                    lane: record.lane,
                    seq: record.seq(),
                    time_ns: record.time_ns(),
                    id: record.id(),
                    reason,
                    document: document.as_deref(),
                    record: record.bytes(),
                })
            })
            .collect();
        let written = if letters.is_empty() {
            Ok(())
        } else {
            let mut dead_letters = self.dead_letters.lock().unwrap_or_else(PoisonError::into_inner);
            dead_letters.write(&letters, now / 1_000_000)
        };
        for log in &self.shared.logs {
            let ours = records.iter().zip(&verdicts).filter(|(record, _)| record.lane == log.lane);
            let outcomes = ours.map(|(record, verdict)| {
                let outcome = match verdict {
                    Settled::Delivered => Outcome::Delivered,
                    Settled::Rejected { .. } if written.is_ok() => Outcome::DeadLetter,
                    Settled::Retry | Settled::Rejected { .. } => Outcome::Again,
                };
                (record.seq(), outcome)
            });
            log.settle(self.slot, outcomes, now);
            super::point::reached("records settled");
        }
        for keeper in &self.shared.keepers {
            keeper.stir();
        }
        written
    }

    /// What waits.
    pub fn backlog(&self) -> Backlog {
        let mut backlog = Backlog::default();
        for log in &self.shared.logs {
            let (amount, oldest) = log.backlog(self.slot);
            match log.lane {
                Lane::Alert => backlog.alerts = amount,
                Lane::Telemetry => backlog.telemetry = amount,
            }
            backlog.oldest_ns = match (backlog.oldest_ns, oldest) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            };
        }
        backlog
    }

    /// The sink's books in both lanes, alerts first.
    pub fn books(&self) -> Vec<super::CursorStatus> {
        self.shared.logs.iter().filter_map(|log| log.books(self.slot, now_ns())).collect()
    }

    /// Dead-letter files that were given up for room since the start.
    pub fn expired_dead_letter_files(&self) -> u64 {
        self.dead_letters.lock().unwrap_or_else(PoisonError::into_inner).expired_files
    }

    /// Returns after something came for this sink, or [`Reader::wake`] was called, since the last call.
    pub async fn woken(&self) {
        if let Some(wake) = self.shared.wakes.get(self.slot) {
            wake.notified().await;
        }
    }

    /// Ends a wait in [`Reader::woken`].
    pub fn wake(&self) {
        if let Some(wake) = self.shared.wakes.get(self.slot) {
            wake.notify_one();
        }
    }

    /// The destination is gone for good: what waits and what comes is dropped and counted.
    pub fn end(&self) {
        for log in &self.shared.logs {
            log.end_sink(self.slot, Reason::SinkEnded, now_ns());
        }
    }
}
