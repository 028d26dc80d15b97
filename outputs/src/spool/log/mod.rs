//! One lane: segments, ring, cursors and books, without threads. Callers pass the time, so that a test
//! can drive years and a simulated disk through it step by step.
//!
//! Two locks, taken in this order: the core's, the intake's. The pipeline takes the second alone. No
//! sync, no read of a record and no compression happens under the core's lock; a write and the
//! making of a segment do.

mod disk;
mod keep;
mod read;
mod recover;
mod report;

pub(crate) use read::Taken;
pub(crate) use recover::Setup;
use report::Ring;
pub use report::{CursorStatus, LaneStatus, RingReason};

use super::block::{MAX_SLOTS, Packed, Packer, Raw, Shares, unpack};
use super::config::{Durability, LaneConfig};
use super::cursor::Cursor;
use super::intake::Intake;
use super::segment::{Amount, Footer};
use super::storage::{Storage, StorageFile};
use crate::config::WhenFull;
use crate::{DropRange, Lane, Reason};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Raw payloads kept for the sinks that read right behind the writer, bytes.
const CACHE_BYTES: usize = 2 << 20;

/// Wall clock, ns since the epoch.
pub(crate) type Now = i64;

const fn ms(now: Now) -> i64 {
    now / 1_000_000
}

/// A segment's file and what is in it.
pub(crate) struct Segment {
    id: u64,
    /// Its name ends in `.seg`.
    renamed: bool,
    /// Nothing is written to it any more.
    sealed: bool,
    /// Bytes of the file.
    len: u64,
    created_ns: Now,
    /// First number by the header.
    first_seq: u64,
    /// The index in it may have been let go.
    footer: Footer,
    indexed: bool,
    file: Option<Arc<dyn StorageFile>>,
    damaged: bool,
    /// Given up by a cap: goes as soon as a state says so.
    doomed: bool,
}

impl Segment {
    fn end_seq(&self) -> u64 {
        self.footer.end_seq
    }

    fn total(&self, slot: usize) -> Amount {
        self.footer.totals.get(slot).copied().unwrap_or_default()
    }
}

/// Counters of a lane since the agent's start; `docs/specs/spool.md` §10.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct LaneCounters {
    /// Blocks written.
    pub written_blocks: u64,
    /// Bytes written, as stored.
    pub written_bytes: u64,
    /// The same before compression.
    pub raw_bytes: u64,
    /// fdatasyncs that went well.
    pub synced: u64,
    /// fdatasyncs that failed.
    pub sync_errors: u64,
    /// Writes that failed: full disk, I/O error.
    pub write_errors: u64,
    /// States that could not be stored.
    pub state_errors: u64,
    /// State slots that did not validate.
    pub state_slots_bad: u64,
    /// Starts without a valid state though there were segments.
    pub state_rebuilt: u64,
    /// Blocks and stretches that could not be read back.
    pub bad_blocks: u64,
    /// Bytes cut off behind the last good block.
    pub torn_bytes: u64,
    /// Numbers between the oldest and the newest record that no block has.
    pub missing_seqs: u64,
    /// Segments moved to quarantine.
    pub quarantined: u64,
    /// Reads that failed.
    pub read_errors: u64,
}

/// Everything under the core's lock.
pub(crate) struct Core {
    uuid: [u8; 16],
    next_segment: u64,
    generation: u64,
    state_file: Option<Arc<dyn StorageFile>>,
    segments: BTreeMap<u64, Segment>,
    /// The segment that is written.
    open: Option<u64>,
    /// Newer than all segments, and in memory alone.
    ring: VecDeque<Arc<Packed>>,
    ring_bytes: usize,
    /// Written and not synced, with their segment: kept to be written again.
    unsynced: VecDeque<(u64, Arc<Packed>)>,
    unsynced_bytes: usize,
    end_seq: u64,
    synced_seq: u64,
    cursors: Vec<Cursor>,
    cache: VecDeque<(u64, Arc<[u8]>)>,
    cache_bytes: usize,
    ring_mode: Option<Ring>,
    /// Segments whose footer is written, to be synced and renamed.
    sealing: Vec<u64>,
    dir_dirty: bool,
    file_dirty: bool,
    sync_failures: u32,
    state_dirty: bool,
    /// The least floor that a durable state has.
    stored_floor: u64,
    /// Why records were given up lately: for those in flight that come back and find no place.
    given_up: Reason,
    /// Losses of sinks that are no longer configured, to be told.
    farewells: Vec<(String, DropRange)>,
    bad: BTreeSet<u64>,
    counters: LaneCounters,
}

/// One lane. See the module.
pub(crate) struct Log {
    pub(crate) lane: Lane,
    pub(crate) config: LaneConfig,
    max_bytes: u64,
    min_free_bytes: u64,
    storage: Option<Arc<dyn Storage>>,
    pub(crate) intake: Intake,
    core: Mutex<Core>,
}

impl Log {
    pub(crate) fn lock(&self) -> MutexGuard<'_, Core> {
        // Counting goes on even if some thread panicked inside: a lost lane would be worse.
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Packs a block and puts it into the lane. Gives the slots of the sinks that have something to
    /// read now.
    pub(crate) fn write(&self, block: Raw, packer: &mut Packer, now: Now) -> Shares {
        let packed = Arc::new(packer.pack(&block));
        let raw: Arc<[u8]> = Arc::from(block.bytes.as_slice());
        let mut core = self.lock();
        core.place(self, &packed, Some(raw), now);
        self.intake.placed(&block);
        core.take_refused(self, now);
        packed.head.shares
    }

    /// Takes and writes all that waits in the intake.
    #[cfg(test)]
    pub(crate) fn write_all(&self, packer: &mut Packer, now: Now) {
        while let Some(block) = self.intake.pop() {
            self.write(block, packer, now);
        }
        self.lock().take_refused(self, now);
    }

    /// Number behind the last record that counts as durable in this lane's class.
    pub(crate) fn durable_seq(&self) -> u64 {
        let core = self.lock();
        match self.config.durability {
            Durability::Sync => core.synced_seq,
            Durability::Batch | Durability::Os => core.written_seq(),
            Durability::Memory => 0,
        }
    }

    /// Numbers behind the last record that is written, and behind the last that is synced.
    #[cfg(test)]
    pub(crate) fn marks(&self) -> (u64, u64) {
        let core = self.lock();
        (core.written_seq(), core.synced_seq)
    }

    #[cfg(test)]
    pub(crate) fn set_min_free(&mut self, bytes: u64) {
        self.min_free_bytes = bytes;
    }

    /// The slot of a sink.
    pub(crate) fn slot(&self, sink: &str) -> Option<usize> {
        self.lock().cursors.iter().find(|cursor| cursor.name == sink).map(|cursor| usize::from(cursor.slot))
    }

    /// The lane is larger than it may be.
    pub(crate) fn is_over(&self) -> bool {
        self.frees() && self.lock().disk_bytes() > self.max_bytes
    }

    /// More is written and unsynced than is kept in memory for a second try: the writer has to wait.
    pub(crate) fn must_sync_first(&self) -> bool {
        let core = self.lock();
        core.ring_mode.is_none() && core.unsynced_bytes > disk::MAX_UNSYNCED
    }
}

impl Core {
    fn cursor(&mut self, slot: usize) -> Option<&mut Cursor> {
        self.cursors.iter_mut().find(|cursor| usize::from(cursor.slot) == slot)
    }

    fn cursor_ref(&self, slot: usize) -> Option<&Cursor> {
        self.cursors.iter().find(|cursor| usize::from(cursor.slot) == slot)
    }

    fn take_refused(&mut self, log: &Log, now: Now) {
        for refused in log.intake.take_refused() {
            for cursor in &mut self.cursors {
                let amount = refused.amounts.get(usize::from(cursor.slot)).copied().unwrap_or_default();
                if amount.events > 0 {
                    cursor.refuse(refused.reason, refused.first, refused.last, amount, ms(now));
                    self.state_dirty = true;
                }
            }
        }
    }

    /// Puts a block at the lane's end: on the disk, else in the ring.
    fn place(&mut self, log: &Log, packed: &Arc<Packed>, raw: Option<Arc<[u8]>>, now: Now) {
        let head = &packed.head;
        self.end_seq = self.end_seq.max(head.end_seq());
        self.state_dirty = true;
        if log.config.when_full == WhenFull::DropNewest && self.is_full(log, head.block_len()) {
            return self.refuse_block(packed, Reason::LaneFull, now);
        }
        for cursor in &mut self.cursors {
            if let Some(share) = head.shares.get(usize::from(cursor.slot)) {
                cursor.place(*share);
                if cursor.ended && share.events > 0 {
                    let unread = cursor.unread();
                    cursor.drop_below(head.end_seq(), unread, Reason::SinkEnded, ms(now));
                }
            }
        }
        if let Some(raw) = raw {
            self.remember(head.first_seq, raw);
        }
        if self.ring_mode.is_none() && self.ring.is_empty() {
            match self.write_block(log, packed, now) {
                Ok(()) => return,
                Err(error) => self.enter_ring(RingReason::of(error), now),
            }
        }
        self.push_ring(log, Arc::clone(packed), now);
    }

    /// Counts a block as dropped before it came in.
    fn refuse_block(&mut self, packed: &Packed, reason: Reason, now: Now) {
        let head = &packed.head;
        for cursor in &mut self.cursors {
            if let Some(share) = head.shares.get(usize::from(cursor.slot)).filter(|share| share.events > 0) {
                let last = head.end_seq().saturating_sub(1);
                cursor.refuse(reason, head.first_seq, last, (*share).into(), ms(now));
            }
        }
    }

    fn is_full(&self, log: &Log, more: usize) -> bool {
        self.disk_bytes().saturating_add(super::bytes::len64(more)) > log.max_bytes
    }

    fn disk_bytes(&self) -> u64 {
        self.segments.values().filter(|segment| !segment.doomed).map(|segment| segment.len).sum()
    }

    fn push_ring(&mut self, log: &Log, packed: Arc<Packed>, now: Now) {
        self.ring_bytes += packed.stored.len();
        self.ring.push_back(packed);
        let reason = self.ring_mode.as_ref().map_or(Reason::DiskFull, |ring| ring.reason.drop_reason());
        while self.ring_bytes > log.config.ring_bytes && self.ring.len() > 1 {
            let victim = match log.config.when_full {
                WhenFull::DropOldest => self.pop_ring(),
                WhenFull::DropNewest => self.ring.pop_back().inspect(|packed| {
                    self.ring_bytes = self.ring_bytes.saturating_sub(packed.stored.len());
                }),
            };
            let Some(victim) = victim else { break };
            self.drop_block(&victim, reason, now);
        }
    }

    /// Gives up what the sinks have not settled of a block that left the ring.
    fn drop_block(&mut self, packed: &Packed, reason: Reason, now: Now) {
        let head = &packed.head;
        let mut raw = None;
        for cursor in &mut self.cursors {
            let (first, end) = (head.first_seq, head.end_seq());
            cursor.drop_given_back(first, end, reason, ms(now));
            let share = head.shares.get(usize::from(cursor.slot)).copied().unwrap_or_default();
            if cursor.position() <= first {
                cursor.drop_ahead(first, end, share.into(), reason, ms(now));
            } else if cursor.position() < end {
                let raw = raw.get_or_insert_with(|| unpack(head, &packed.stored));
                let (raw, within) = (raw.as_deref().unwrap_or_default(), cursor.position()..end);
                let unread = read::tally_block(raw, first, usize::from(cursor.slot), &within, &[]);
                cursor.pass_over(end, unread, reason, ms(now));
            }
        }
        self.given_up = reason;
        self.state_dirty = true;
    }

    fn pop_ring(&mut self) -> Option<Arc<Packed>> {
        let packed = self.ring.pop_front()?;
        self.ring_bytes = self.ring_bytes.saturating_sub(packed.stored.len());
        Some(packed)
    }

    fn enter_ring(&mut self, reason: RingReason, now: Now) {
        if self.ring_mode.as_ref().is_none_or(|ring| ring.reason != reason) {
            self.ring_mode = Some(Ring { reason, since_ns: now, tried_ns: now });
        }
    }

    /// Number behind the last record on the disk; behind the last of all when no ring is in use.
    fn written_seq(&self) -> u64 {
        self.ring.front().map_or(self.end_seq, |packed| packed.head.first_seq)
    }

    fn remember(&mut self, first_seq: u64, raw: Arc<[u8]>) {
        self.cache_bytes += raw.len();
        self.cache.push_back((first_seq, raw));
        while self.cache_bytes > CACHE_BYTES {
            let Some((_, old)) = self.cache.pop_front() else { break };
            self.cache_bytes -= old.len();
        }
    }

    fn cached(&self, first_seq: u64) -> Option<Arc<[u8]>> {
        // Readers look for recent blocks.
        self.cache.iter().rev().find(|(seq, _)| *seq == first_seq).map(|(_, raw)| Arc::clone(raw))
    }
}

/// The bit of a slot.
pub(crate) fn bit(slot: usize) -> u16 {
    if slot < MAX_SLOTS { 1 << slot } else { 0 }
}
