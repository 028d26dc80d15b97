//! Keeping a lane within its bounds: storing the state, letting go of what nobody needs, giving up by
//! the caps, and coming back from the ring.

use super::recover::state_file;
use super::{Core, Log, Now, Ring, RingReason, ms};
use crate::spool::bytes::len64;
use crate::spool::config::Durability;
use crate::spool::point;
use crate::spool::segment::{Amount, file_name};
use crate::spool::state::State;
use crate::{Lane, Reason};

const SECOND_NS: i64 = 1_000_000_000;
/// Between two attempts to write to a disk that took nothing.
const RETRY_NS: i64 = SECOND_NS;
/// Between two attempts after failed syncs.
const RETRY_SYNC_NS: i64 = 30 * SECOND_NS;
/// A segment does not stay open for longer, so that age is known to the hour.
const MAX_OPEN_NS: i64 = 3_600 * SECOND_NS;
/// Times before 2020 come from a clock that was not set yet: nothing ages by them.
const CLOCK_SET_NS: i64 = 1_577_836_800 * SECOND_NS;
/// Damaged segments kept for a look.
const QUARANTINE_FILES: usize = 4;

impl Core {
    fn state(&mut self, log: &Log) -> State {
        self.generation += 1;
        State {
            lane: log.lane,
            generation: self.generation,
            uuid: self.uuid,
            next_seq: self.end_seq,
            next_segment: self.next_segment,
            sinks: self.cursors.iter().map(|cursor| cursor.state(self.end_seq)).collect(),
            untold: self.cursors.iter().flat_map(|cursor| cursor.untold()).collect(),
        }
    }

    /// Gives up everything below `upto` in all cursors.
    pub(super) fn give_up_below(&mut self, log: &Log, upto: u64, reason: Reason, now: Now) {
        let slots: Vec<usize> = self.cursors.iter().map(|cursor| usize::from(cursor.slot)).collect();
        for slot in slots {
            let unread = self.unread_below(log, slot, upto);
            if let Some(cursor) = self.cursor(slot) {
                cursor.drop_below(upto, unread, reason, ms(now));
            }
        }
        self.given_up = reason;
        self.state_dirty = true;
    }

    /// Gives up the oldest segment, if need be the one that is written. False: there is none with records.
    fn drop_oldest_segment(&mut self, log: &Log, reason: Reason, now: Now) -> bool {
        let oldest = self.segments.values().find(|segment| !segment.doomed && segment.footer.records > 0);
        let Some((id, upto)) = oldest.map(|segment| (segment.id, segment.end_seq())) else { return false };
        if self.open == Some(id) {
            self.seal(now);
        }
        self.give_up_below(log, upto, reason, now);
        if let Some(segment) = self.segments.get_mut(&id) {
            segment.doomed = true;
        }
        true
    }

    fn enforce_size(&mut self, log: &Log, now: Now) {
        if !log.frees() {
            return;
        }
        // The open segment may grow to its full size before the next look.
        let target = log.max_bytes.saturating_sub(log.config.segment_bytes);
        while self.disk_bytes() > target && self.segments.values().filter(|s| !s.doomed).count() > 1 {
            if !self.drop_oldest_segment(log, Reason::LaneFull, now) {
                break;
            }
        }
    }

    fn enforce_age(&mut self, log: &Log, now: Now) {
        let max_age_ns = i64::try_from(log.config.max_age_s).unwrap_or(i64::MAX).saturating_mul(SECOND_NS);
        let open_since = self.open.and_then(|id| self.segments.get(&id)).filter(|s| s.footer.records > 0);
        let limit = MAX_OPEN_NS.min(max_age_ns);
        if open_since.is_some_and(|segment| now.saturating_sub(segment.created_ns) > limit) {
            self.seal(now);
        }
        loop {
            let oldest = self.segments.values().find(|segment| !segment.doomed && segment.sealed);
            let old = oldest.is_some_and(|segment| {
                let sealed = segment.footer.sealed_ns.max(segment.created_ns);
                sealed > CLOCK_SET_NS && now.saturating_sub(sealed) > max_age_ns
            });
            if !old || !self.drop_oldest_segment(log, Reason::TooOld, now) {
                return;
            }
        }
    }

    /// Per sink: gives up the oldest records of one that holds more than its share.
    fn enforce_lag(&mut self, log: &Log, now: Now) {
        let limit = log.config.sink_max_bytes;
        if limit == 0 {
            return;
        }
        let slots: Vec<usize> = self.cursors.iter().map(|cursor| usize::from(cursor.slot)).collect();
        for slot in slots {
            // A segment at a time, so that a stretch is one range and not one per block.
            while let Some(cursor) = self.cursor_ref(slot).filter(|c| c.waiting().bytes > limit) {
                let position = cursor.position();
                let excess = cursor.waiting().bytes - limit;
                let segment = self.segments.values().find(|s| !s.doomed && s.end_seq() > position);
                let upto = match segment {
                    Some(segment) => segment.upto(slot, position, excess),
                    None => match self.ring.iter().find(|packed| packed.head.end_seq() > position) {
                        Some(packed) => packed.head.end_seq(),
                        None => break,
                    },
                };
                let unread = self.unread_below(log, slot, upto);
                let before = cursor_waiting(self, slot);
                if let Some(cursor) = self.cursor(slot) {
                    cursor.drop_below(upto, unread, Reason::SinkLag, ms(now));
                }
                self.state_dirty = true;
                if cursor_waiting(self, slot) == before && upto >= self.end_seq {
                    break;
                }
            }
        }
    }
}

fn cursor_waiting(core: &Core, slot: usize) -> Amount {
    core.cursor_ref(slot).map(|cursor| cursor.waiting()).unwrap_or_default()
}

impl super::Segment {
    /// Up to which number records of a sink have to go so that `excess` bytes are gone; the segment's
    /// end when its index is not at hand.
    fn upto(&self, slot: usize, position: u64, excess: u64) -> u64 {
        let mut gone = 0;
        for block in self.footer.index.iter().filter(|block| block.end_seq() > position) {
            gone += block.shares.get(slot).map_or(0, |share| u64::from(share.bytes));
            if gone >= excess {
                return block.end_seq();
            }
        }
        self.end_seq()
    }
}

impl Log {
    /// Nothing is there to sync or to store: caps and room are all that a keeper has to look at.
    pub(crate) fn is_at_rest(&self) -> bool {
        let core = self.lock();
        let synced =
            core.unsynced.is_empty() && core.sealing.is_empty() && !core.file_dirty && !core.dir_dirty;
        self.storage.is_none() || (synced && !core.state_dirty)
    }

    /// Stores the cursors and books if they changed. The disk is waited for without the lock.
    pub(crate) fn persist(&self) -> bool {
        let (file, state) = {
            let mut core = self.lock();
            let Some(storage) = self.storage.as_deref().filter(|_| core.state_dirty) else { return true };
            if core.state_file.is_none() {
                // The disk was full at the start.
                core.state_file = state_file(storage, false).ok().flatten();
            }
            let Some(file) = core.state_file.clone() else { return false };
            core.state_dirty = false;
            (file, core.state(self))
        };
        let (_, offset) = state.slot();
        let Some(bytes) = state.encode() else { return false };
        point::reached_within("state half written", || {
            let _ = file.write_at(offset, bytes.get(..bytes.len() / 2).unwrap_or_default());
        });
        let mut done = 0;
        let stored = loop {
            let Some(rest) = bytes.get(done..).filter(|rest| !rest.is_empty()) else {
                point::reached("state written");
                break file.sync();
            };
            match file.write_at(offset + len64(done), rest) {
                Ok(0) => break Err(rustix::io::Errno::NOSPC),
                Ok(written) => done += written,
                Err(error) => break Err(error),
            }
        };
        point::reached("state synced");
        let mut core = self.lock();
        match stored {
            Ok(()) => {
                let floor = state.sinks.iter().map(|sink| sink.floor).min();
                core.stored_floor = floor.unwrap_or(state.next_seq);
                true
            }
            Err(error) => {
                core.counters.state_errors += 1;
                core.state_dirty = true;
                // The next try takes this slot again: the other one has the state that is good.
                core.generation -= 1;
                tracing::warn!(lane = self.lane.name(), %error, "the spool's state cannot be stored");
                false
            }
        }
    }

    /// Unlinks segments that a durable state does not need, and moves damaged ones to quarantine.
    pub(crate) fn reap(&self, stored: bool) {
        let Some(storage) = self.storage.as_deref() else { return };
        let mut gone = Vec::new();
        {
            let mut core = self.lock();
            let floor = core.stored_floor;
            let (open, sealing) = (core.open, core.sealing.clone());
            let unneeded = |segment: &super::Segment| {
                let done = segment.sealed && segment.end_seq() <= floor;
                // A cap must hold even when no state can be stored: then a crash tells it as damage.
                let given_up = segment.doomed && (stored || self.lane == Lane::Telemetry);
                open != Some(segment.id) && !sealing.contains(&segment.id) && (done || given_up)
            };
            let ids: Vec<u64> = core.segments.values().filter(|s| unneeded(s)).map(|s| s.id).collect();
            for id in ids {
                let busy = core.unsynced.iter().any(|(segment, _)| *segment == id);
                if !busy && let Some(segment) = core.segments.remove(&id) {
                    core.counters.quarantined += u64::from(segment.damaged);
                    gone.push(segment);
                }
            }
            // Indexes that no sink reads at the moment are let go.
            let positions: Vec<u64> = core.cursors.iter().map(|cursor| cursor.position()).collect();
            for segment in core.segments.values_mut() {
                let (begin, end) = (segment.records_begin(), segment.end_seq());
                let read = positions.iter().any(|position| begin <= *position && *position < end);
                if segment.renamed && segment.indexed && !read {
                    segment.let_index_go();
                }
            }
        }
        for segment in gone {
            let name = file_name(segment.id, segment.renamed);
            let result = if segment.damaged {
                storage.quarantine(&name, QUARANTINE_FILES)
            } else {
                storage.remove(&name)
            };
            point::reached("segment let go");
            if let Err(error) = result {
                tracing::warn!(lane = self.lane.name(), file = name, %error, "cannot let go of a segment");
            }
        }
    }

    /// Caps, age and room. `relieve`: the alert lane needs room that only this one can give.
    pub(crate) fn enforce(&self, relieve: bool, now: Now) {
        let Some(storage) = self.storage.as_deref() else { return };
        let low = self.min_free_bytes > 0
            && storage.space().is_ok_and(|space| space.free_bytes < self.min_free_bytes);
        let mut core = self.lock();
        core.take_refused(self, now);
        core.enforce_age(self, now);
        core.enforce_size(self, now);
        core.enforce_lag(self, now);
        if relieve {
            core.drop_oldest_segment(self, Reason::DiskFull, now);
        }
        match (&core.ring_mode, low) {
            (None, true) => {
                core.enter_ring(RingReason::LowSpace, now);
                if self.frees() {
                    core.drop_oldest_segment(self, Reason::LowSpace, now);
                }
            }
            (Some(Ring { reason: RingReason::LowSpace, .. }), true) => {
                if self.frees() && core.ring_bytes > self.config.ring_bytes / 2 {
                    core.drop_oldest_segment(self, Reason::LowSpace, now);
                }
            }
            (Some(ring), _) => {
                let wait = match ring.reason {
                    RingReason::SyncFailed => RETRY_SYNC_NS,
                    RingReason::NoDisk => i64::MAX,
                    _ => RETRY_NS,
                };
                // A clock that was set back must not keep the ring in use.
                if (now.saturating_sub(ring.tried_ns)).unsigned_abs() >= wait.unsigned_abs() {
                    core.leave_ring(self, now);
                }
            }
            (None, false) => {
                if !core.ring.is_empty() {
                    core.flush_ring(self, now);
                }
            }
        }
    }

    /// True when the lane cannot write and its ring is more than half full: somebody has to make room.
    pub(crate) fn needs_room(&self) -> bool {
        let core = self.lock();
        let full = core.ring_mode.as_ref().is_some_and(|ring| ring.reason == RingReason::Full);
        full && core.ring_bytes > self.config.ring_bytes / 2
    }

    /// Stores the books, then lets go. What a thread does every so often, and a test step by step.
    #[cfg(test)]
    pub(crate) fn keep(&self, relieve: bool, now: Now) {
        self.enforce(relieve, now);
        let stored = self.persist();
        self.reap(stored);
    }

    /// The last words: everything is written, synced and stored.
    pub(crate) fn finish(&self, now: Now) {
        self.sync(now);
        {
            let mut core = self.lock();
            core.take_refused(self, now);
            if !core.ring.is_empty() && self.config.durability != Durability::Memory {
                core.leave_ring(self, now);
            }
        }
        self.sync(now);
        self.lock().state_dirty = true;
        let stored = self.persist();
        self.reap(stored);
    }

    /// A sink takes no more: what waits for it, and what comes, is dropped.
    pub(crate) fn end_sink(&self, slot: usize, reason: Reason, now: Now) {
        let mut core = self.lock();
        let end = core.end_seq;
        if let Some(cursor) = core.cursor(slot) {
            cursor.ended = true;
            let unread = cursor.unread();
            cursor.drop_below(end, unread, reason, ms(now));
        }
        core.state_dirty = true;
    }

    /// Gives up all that waits for a sink now. Gives how many records that were.
    pub(crate) fn drop_waiting(&self, slot: usize, reason: Reason, now: Now) -> u64 {
        let mut core = self.lock();
        let end = core.end_seq;
        let mut dropped = 0;
        if let Some(cursor) = core.cursor(slot) {
            dropped = cursor.waiting().events;
            let unread = cursor.unread();
            cursor.drop_below(end, unread, reason, ms(now));
        }
        core.given_up = reason;
        core.state_dirty = true;
        dropped
    }
}

impl Core {
    /// Tries the disk again. While it takes nothing and the ring fills, the oldest segment goes.
    fn leave_ring(&mut self, log: &Log, now: Now) {
        let Some(reason) = self.ring_mode.as_ref().map(|ring| ring.reason) else { return };
        if reason == RingReason::NoDisk {
            return;
        }
        if self.flush_ring(log, now) {
            if self.ring_mode.take().is_some() {
                tracing::info!(lane = log.lane.name(), "the spool writes to disk again");
            }
            if reason == RingReason::SyncFailed {
                // One more failure sends it back at once.
                self.sync_failures = 2;
            }
            return;
        }
        if let Some(ring) = &mut self.ring_mode {
            ring.tried_ns = now;
        }
        let filling = self.ring_bytes > log.config.ring_bytes / 2;
        if reason == RingReason::Full && filling && log.frees() && log.lane == Lane::Telemetry {
            self.drop_oldest_segment(log, Reason::DiskFull, now);
        }
    }
}
