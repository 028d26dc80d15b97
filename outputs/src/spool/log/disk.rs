//! Segments on the disk: beginning, writing, sealing, syncing, and giving up a file whose sync failed.

use super::{Core, Gaps, Log, Now, RingReason, Segment};
use crate::config::WhenFull;
use crate::spool::block::{Packed, roster_block};
use crate::spool::bytes::{Seed, len64};
use crate::spool::config::Durability;
use crate::spool::point;
use crate::spool::segment::{
    Footer, HEADER_LEN, Header, Indexed, MAX_BLOCKS, RosterEntry, encode_roster, file_name,
};
use crate::spool::storage::{Storage, StorageFile};
use rustix::io::Errno;
use std::sync::Arc;

/// Stored bytes that wait for their sync at most; the writer waits beyond.
pub(super) const MAX_UNSYNCED: usize = 8 << 20;
/// After so many failed syncs in a row the lane trusts its memory alone.
const MAX_SYNC_FAILURES: u32 = 3;

/// Writes all, or says why not. The caller cuts the file back.
fn write_all(file: &dyn StorageFile, offset: u64, bytes: &[u8]) -> Result<(), Errno> {
    let mut done = 0;
    while let Some(rest) = bytes.get(done..).filter(|rest| !rest.is_empty()) {
        match file.write_at(offset + len64(done), rest)? {
            // A write that takes nothing and says nothing: a full disk in all but name.
            0 => return Err(Errno::NOSPC),
            written => done += written,
        }
    }
    Ok(())
}

impl Core {
    pub(super) const fn seed(&self, segment: u64) -> Seed {
        Seed { uuid: self.uuid, segment }
    }

    fn roster(&self) -> Vec<RosterEntry> {
        let entry = |cursor: &crate::spool::cursor::Cursor| RosterEntry {
            slot: cursor.slot,
            name: cursor.name.clone(),
            since: cursor.since,
        };
        self.cursors.iter().map(entry).collect()
    }

    /// Writes a block to the open segment, or to a new one when that is full.
    pub(super) fn write_block(&mut self, log: &Log, packed: &Arc<Packed>, now: Now) -> Result<(), Errno> {
        let storage = log.storage.as_deref().ok_or(Errno::ROFS)?;
        let block_len = len64(packed.head.block_len());
        let full = |segment: &Segment| {
            let used = !segment.footer.index.is_empty();
            used && (segment.len + block_len > log.config.segment_bytes
                || segment.footer.index.len() >= MAX_BLOCKS)
        };
        if self.open.and_then(|id| self.segments.get(&id)).is_some_and(full) {
            self.seal(now);
        }
        let id = match self.open {
            Some(id) => id,
            None => self.begin_segment(log, storage, packed.head.first_seq, now)?,
        };
        let seed = self.seed(id);
        let Some(segment) = self.segments.get_mut(&id) else { return Err(Errno::BADF) };
        let Some(file) = segment.file.clone() else { return Err(Errno::BADF) };
        let mut bytes = Vec::with_capacity(packed.head.block_len());
        packed.place(&seed, segment.len, &mut bytes);
        point::reached_within("block half written", || {
            let half = bytes.get(..bytes.len() / 2).unwrap_or_default();
            let _ = write_all(&*file, segment.len, half);
        });
        if let Err(error) = write_all(&*file, segment.len, &bytes) {
            self.counters.write_errors += 1;
            // A torn block may stay: recovery cuts it off. It must not be written behind, though.
            if file.set_len(segment.len).is_err() {
                segment.sealed = true;
                self.open = None;
            }
            return Err(error);
        }
        point::reached("block written");
        segment.footer.push(Indexed::of(&packed.head, segment.len), packed.head.max_time);
        segment.len += block_len;
        self.counters.written_blocks += 1;
        self.counters.written_bytes += block_len;
        self.counters.raw_bytes += u64::from(packed.head.raw_len);
        if matches!(log.config.durability, Durability::Sync | Durability::Batch) {
            self.file_dirty = true;
            self.unsynced_bytes += packed.stored.len();
            self.unsynced.push_back((id, Arc::clone(packed)));
        } else {
            self.synced_seq = packed.head.end_seq();
        }
        Ok(())
    }

    /// Makes the next segment with its header and roster.
    pub(super) fn begin_segment(
        &mut self,
        log: &Log,
        storage: &dyn Storage,
        first_seq: u64,
        now: Now,
    ) -> Result<u64, Errno> {
        let id = self.next_segment;
        let name = file_name(id, false);
        let made = storage.create(&name).and_then(|file| {
            point::reached("segment made");
            // So that a full disk does not stop the lane at once; not every filesystem can.
            let reserved =
                if log.lane == crate::Lane::Alert { file.reserve(log.config.segment_bytes) } else { Ok(()) };
            if reserved == Err(Errno::NOSPC) || reserved == Err(Errno::DQUOT) {
                tracing::debug!(segment = id, "no room to reserve an alert segment");
            }
            let header = Header { lane: log.lane, uuid: self.uuid, id, first_seq, created_ns: now };
            let mut bytes = header.encode();
            let roster = roster_block(first_seq, encode_roster(&self.roster()));
            roster.place(&header.seed(), len64(HEADER_LEN), &mut bytes);
            write_all(&*file, 0, &bytes).inspect_err(|_| {
                let _ = storage.remove(&name);
            })?;
            point::reached("segment begun");
            Ok((file, len64(bytes.len())))
        });
        self.next_segment += 1;
        let (file, len) = made.inspect_err(|_| self.counters.write_errors += 1)?;
        let segment = Segment {
            id,
            renamed: false,
            sealed: false,
            len,
            created_ns: now,
            first_seq,
            footer: Footer::of(Vec::new(), self.roster(), first_seq),
            indexed: true,
            gaps: Gaps::default(),
            file: Some(file),
            damaged: false,
            doomed: false,
        };
        self.segments.insert(id, segment);
        self.open = Some(id);
        self.dir_dirty = true;
        self.file_dirty = true;
        Ok(id)
    }

    /// Ends the open segment with a footer. A footer that cannot be written is done without: a scan
    /// gives the same.
    pub(super) fn seal(&mut self, now: Now) {
        let Some(id) = self.open.take() else { return };
        let seed = self.seed(id);
        let Some(segment) = self.segments.get_mut(&id) else { return };
        segment.sealed = true;
        segment.footer.sealed_ns = now;
        segment.footer.damaged |= segment.damaged;
        let Some(file) = segment.file.clone() else { return };
        let bytes = segment.footer.encode(&seed, segment.len);
        point::reached_within("footer half written", || {
            let half = bytes.get(..bytes.len() / 2).unwrap_or_default();
            let _ = write_all(&*file, segment.len, half);
        });
        match write_all(&*file, segment.len, &bytes) {
            Ok(()) => {
                segment.len += len64(bytes.len());
                // Gives back what was reserved and not used.
                let _ = file.set_len(segment.len);
            }
            Err(_) => {
                self.counters.write_errors += 1;
                let _ = file.set_len(segment.len);
            }
        }
        point::reached("footer written");
        self.sealing.push(id);
        self.file_dirty = true;
    }

    /// Writes the ring's blocks to the disk, the oldest first. True when none is left.
    pub(super) fn flush_ring(&mut self, log: &Log, now: Now) -> bool {
        while let Some(packed) = self.ring.front().map(Arc::clone) {
            let needed = self.cursors.iter().any(|cursor| cursor.floor(self.end_seq) < packed.head.end_seq());
            if needed && let Err(error) = self.write_block(log, &packed, now) {
                if let Some(ring) = &mut self.ring_mode {
                    ring.tried_ns = now;
                    if !matches!(ring.reason, RingReason::SyncFailed) {
                        ring.reason = RingReason::of(error);
                    }
                }
                return false;
            }
            self.pop_ring();
        }
        true
    }

    /// Gives up the files from `id` on, whose pages may be gone, at their last synced block. The
    /// blocks behind go back to the ring's front, and from there to a new segment.
    fn abandon(&mut self, id: u64) {
        let mut unsynced = std::mem::take(&mut self.unsynced);
        // Those of earlier files were synced before this one failed.
        while unsynced.front().is_some_and(|(segment, _)| *segment < id) {
            unsynced.pop_front();
        }
        self.unsynced_bytes = 0;
        let first_lost = unsynced.front().map(|(_, packed)| packed.head.first_seq);
        for segment in self.segments.range_mut(id..).map(|(_, segment)| segment) {
            segment.sealed = true;
            segment.damaged = true;
            if let Some(first_lost) = first_lost {
                let kept = segment.footer.index.iter().filter(|block| block.end_seq() <= first_lost);
                let kept: Vec<Indexed> = kept.cloned().collect();
                let end = kept.last().map_or(0, |block| u64::from(block.offset) + u64::from(block.len));
                let (roster, sealed_ns) = (segment.footer.roster.clone(), segment.footer.sealed_ns);
                let first_seq = segment.footer.end_seq.min(first_lost);
                let max_time = segment.footer.max_time;
                segment.footer = Footer { sealed_ns, max_time, ..Footer::of(kept, roster, first_seq) };
                segment.footer.damaged = true;
                // Should this fail or be lost, the higher segment id wins.
                if end > 0
                    && let Some(file) = &segment.file
                {
                    let _ = file.set_len(end);
                    segment.len = end;
                }
            }
        }
        self.open = None;
        self.sealing.retain(|sealing| *sealing < id);
        for (_, packed) in unsynced.into_iter().rev() {
            self.ring_bytes += packed.stored.len();
            self.ring.push_front(packed);
        }
    }
}

/// What one sync is about, taken under the lock.
struct Plan {
    upto: u64,
    files: Vec<(u64, Arc<dyn StorageFile>)>,
    sealing: Vec<u64>,
    dir_dirty: bool,
}

impl Log {
    /// Syncs what is written, seals what is full. The disk is waited for without the lock. False when
    /// the sync failed.
    pub(crate) fn sync(&self, now: Now) -> bool {
        let Some(storage) = self.storage.as_deref() else { return true };
        let plan = {
            let mut core = self.lock();
            if !core.file_dirty && !core.dir_dirty && core.sealing.is_empty() {
                return true;
            }
            let mut ids: Vec<u64> = core.sealing.clone();
            ids.extend(core.unsynced.iter().map(|(id, _)| *id));
            ids.extend(core.open);
            ids.sort_unstable();
            ids.dedup();
            let file = |id: u64| Some((id, core.segments.get(&id)?.file.clone()?));
            let plan = Plan {
                upto: core.written_seq(),
                files: ids.into_iter().filter_map(file).collect(),
                sealing: core.sealing.clone(),
                dir_dirty: core.dir_dirty,
            };
            core.file_dirty = false;
            core.dir_dirty = false;
            plan
        };
        let no_sync = matches!(self.config.durability, Durability::Os | Durability::Memory);
        for (id, file) in &plan.files {
            if no_sync {
                break;
            }
            if let Err(error) = file.sync() {
                self.sync_failed(*id, plan.dir_dirty, error, now);
                return false;
            }
            point::reached("file synced");
        }
        // Names that did not change need no sync of the directory.
        let renamed: Vec<u64> = plan
            .sealing
            .iter()
            .copied()
            .filter(|id| {
                // One that a crash left renamed without a footer has its name already.
                let renamed = storage.rename(&file_name(*id, false), &file_name(*id, true));
                matches!(renamed, Ok(()) | Err(Errno::NOENT))
            })
            .collect();
        if !renamed.is_empty() {
            point::reached("segment renamed");
        }
        let names_changed = plan.dir_dirty || !renamed.is_empty();
        let dir_synced = no_sync || !names_changed || storage.sync_dir().is_ok();
        if names_changed {
            point::reached("directory synced");
        }
        let mut core = self.lock();
        core.sealing.retain(|id| !plan.sealing.contains(id));
        for id in renamed {
            if let Some(segment) = core.segments.get_mut(&id) {
                segment.renamed = true;
            }
        }
        if !dir_synced {
            // A file whose name may be lost is not durable.
            core.counters.sync_errors += 1;
            core.sync_failures += 1;
            core.dir_dirty = true;
            if core.sync_failures >= MAX_SYNC_FAILURES {
                core.enter_ring(RingReason::SyncFailed, now);
            }
            return false;
        }
        core.synced_seq = core.synced_seq.max(plan.upto);
        while let Some((_, packed)) = core.unsynced.front() {
            if packed.head.end_seq() > plan.upto {
                break;
            }
            let stored = packed.stored.len();
            core.unsynced_bytes = core.unsynced_bytes.saturating_sub(stored);
            core.unsynced.pop_front();
        }
        core.sync_failures = 0;
        core.counters.synced += 1;
        true
    }

    fn sync_failed(&self, id: u64, dir_dirty: bool, error: Errno, now: Now) {
        let mut core = self.lock();
        core.counters.sync_errors += 1;
        core.sync_failures += 1;
        core.dir_dirty |= dir_dirty;
        core.abandon(id);
        tracing::warn!(
            lane = self.lane.name(), segment = id, %error,
            "fdatasync failed: the segment is given up and its last blocks are written again"
        );
        if core.sync_failures >= MAX_SYNC_FAILURES {
            core.enter_ring(RingReason::SyncFailed, now);
        } else if core.ring_mode.is_none() && !core.flush_ring(self, now) {
            core.enter_ring(RingReason::Full, now);
        }
        // The ring may hold more than its bound now: this once, what was written before comes first.
    }

    /// True when a cap of the lane is reached and the policy is to free the oldest.
    pub(super) fn frees(&self) -> bool {
        self.config.when_full == WhenFull::DropOldest
    }
}
