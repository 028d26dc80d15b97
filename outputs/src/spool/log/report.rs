//! How a lane is: the ring's reason, and everything that status prints.

use super::{Core, LaneCounters, Log, Now, ms};
use crate::ledger::{DropRange, Dropped};
use crate::spool::config::Durability;
use crate::spool::cursor::Cursor;
use crate::spool::segment::Amount;
use crate::{Lane, Reason};
use rustix::io::Errno;
use serde::Serialize;

/// Why a lane writes to memory only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RingReason {
    /// The disk is full, the quota reached, or a write failed.
    Full,
    /// Writes fail with an I/O error.
    WriteFailed,
    /// The filesystem has less room than is to be left free.
    LowSpace,
    /// Three fdatasyncs in a row failed.
    SyncFailed,
    /// The lane's class is `memory`, or its directory could not be opened.
    NoDisk,
}

impl RingReason {
    pub(super) const fn of(error: Errno) -> Self {
        match error {
            Errno::NOSPC | Errno::DQUOT | Errno::FBIG => Self::Full,
            _ => Self::WriteFailed,
        }
    }

    pub(super) const fn drop_reason(self) -> Reason {
        match self {
            Self::LowSpace => Reason::LowSpace,
            Self::Full | Self::WriteFailed | Self::SyncFailed | Self::NoDisk => Reason::DiskFull,
        }
    }

    /// The words for an operator, and what to do.
    pub const fn describe(self) -> &'static str {
        match self {
            Self::Full => "the disk is full: make room on its filesystem",
            Self::WriteFailed => "writes fail: check the disk (dmesg)",
            Self::LowSpace => "the filesystem has less room than min_free_bytes: make room",
            Self::SyncFailed => "fdatasync failed three times in a row: check the disk (dmesg)",
            Self::NoDisk => "nothing is written to disk",
        }
    }
}

/// Since when and why a lane writes to memory only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ring {
    pub(crate) reason: RingReason,
    pub(crate) since_ns: Now,
    pub(crate) tried_ns: Now,
}

/// One lane at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LaneStatus {
    /// Which.
    pub lane: Lane,
    /// Its class.
    pub durability: Durability,
    /// Why it writes to memory only, if it does, and since when (ms since the epoch).
    pub degraded: Option<(RingReason, i64)>,
    /// Segments on disk.
    pub segments: usize,
    /// Their size, bytes.
    pub disk_bytes: u64,
    /// Size at most, bytes.
    pub max_bytes: u64,
    /// Bytes that wait for the writer.
    pub intake_bytes: usize,
    /// Bytes in the memory ring.
    pub ring_bytes: usize,
    /// Number of the next record.
    pub next_seq: u64,
    /// All records below are durable, as the class means it.
    pub durable_seq: u64,
    /// Counters since the start.
    pub counters: LaneCounters,
    /// Every sink's books.
    pub sinks: Vec<CursorStatus>,
}

/// One sink in one lane at one moment; counts since the sink was first configured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CursorStatus {
    /// The sink's name.
    pub sink: String,
    /// Records the sink's filter took.
    pub accepted: u64,
    /// Records the destination has.
    pub delivered: u64,
    /// Records that wait.
    pub in_spool: u64,
    /// Their length, bytes.
    pub in_spool_bytes: u64,
    /// Records in the call that runs now.
    pub in_flight: u64,
    /// Records lost, by reason.
    pub dropped: Vec<Dropped>,
    /// Latest runs of lost records, oldest first; numbers are the lane's `seq`.
    pub recent_drops: Vec<DropRange>,
    /// Records in dead-letter files.
    pub dlq: u64,
    /// Time of the oldest record that waits or is in flight, ms since the epoch; to the block.
    pub oldest_unix_ms: Option<i64>,
    /// All records below are settled.
    pub floor: u64,
}

impl CursorStatus {
    /// Records lost for any reason.
    pub fn dropped_events(&self) -> u64 {
        self.dropped.iter().map(|dropped| dropped.events).sum()
    }

    /// The law: every accepted record is in exactly one place.
    pub fn law_holds(&self) -> bool {
        self.accepted == self.delivered + self.in_spool + self.in_flight + self.dropped_events() + self.dlq
    }
}

impl Log {
    /// Everything there is to tell, at one moment.
    pub(crate) fn status(&self, now: Now) -> LaneStatus {
        let durable_seq = self.durable_seq();
        let mut core = self.lock();
        core.take_refused(self, now);
        let sinks = core.cursors.iter().map(|cursor| self.books_of(&core, cursor));
        LaneStatus {
            lane: self.lane,
            durability: self.config.durability,
            degraded: core.ring_mode.as_ref().map(|ring| (ring.reason, ms(ring.since_ns))),
            segments: core.segments.len(),
            disk_bytes: core.disk_bytes(),
            max_bytes: self.max_bytes,
            intake_bytes: self.intake.held_bytes(),
            ring_bytes: core.ring_bytes,
            next_seq: self.intake.next_seq(),
            durable_seq,
            counters: core.counters,
            sinks: sinks.collect(),
        }
    }

    /// One sink's books.
    pub(crate) fn books(&self, slot: usize, now: Now) -> Option<CursorStatus> {
        let mut core = self.lock();
        core.take_refused(self, now);
        core.cursor_ref(slot).map(|cursor| self.books_of(&core, cursor))
    }

    fn books_of(&self, core: &Core, cursor: &Cursor) -> CursorStatus {
        let slot = usize::from(cursor.slot);
        let pending = self.intake.pending(slot);
        let mut waiting = cursor.waiting();
        waiting.add(pending);
        CursorStatus {
            sink: cursor.name.clone(),
            accepted: cursor.accepted + pending.events,
            delivered: cursor.ledger.delivered,
            in_spool: waiting.events,
            in_spool_bytes: waiting.bytes,
            in_flight: cursor.flying().events,
            dropped: cursor.ledger.dropped(),
            recent_drops: cursor.ledger.ranges(),
            dlq: cursor.dlq,
            oldest_unix_ms: core.oldest_ns(slot).map(ms),
            floor: cursor.floor(core.end_seq),
        }
    }

    /// What a sink has in this lane: waiting with what the writer has not taken yet, and the time of
    /// the oldest, ns since the epoch.
    pub(crate) fn backlog(&self, slot: usize) -> (Amount, Option<Now>) {
        let core = self.lock();
        let mut waiting = core.cursor_ref(slot).map(|cursor| cursor.waiting()).unwrap_or_default();
        waiting.add(self.intake.pending(slot));
        (waiting, core.oldest_ns(slot))
    }

    /// Ranges that were lost since the last call, with the sink's name.
    pub(crate) fn take_losses(&self, now: Now) -> Vec<(String, DropRange)> {
        let mut core = self.lock();
        core.take_refused(self, now);
        let mut losses = std::mem::take(&mut core.farewells);
        for cursor in &mut core.cursors {
            let ranges = cursor.ledger.take_ranges();
            losses.extend(ranges.into_iter().map(|range| (cursor.name.clone(), range)));
        }
        core.state_dirty |= !losses.is_empty();
        losses
    }
}
