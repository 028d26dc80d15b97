//! What lies where in a lane, and how much of it is a sink's.

use super::{Core, Log, Now, bit};
use crate::spool::block::{Packed, decode_block, entries, unpack};
use crate::spool::bytes::{Seed, len64, size};
use crate::spool::segment::{Amount, Footer, Indexed, file_name, read_exact, read_footer, read_header, scan};
use crate::spool::state::Interval;
use crate::spool::storage::StorageFile;
use rustix::io::Errno;
use std::ops::Range;
use std::sync::Arc;

/// A read that fails is tried this often before its block counts as damaged.
pub(super) const READ_TRIES: u32 = 3;

/// Where a block's payload is.
pub(super) enum Source {
    Raw(Arc<[u8]>),
    Packed(Arc<Packed>),
    File { file: Arc<dyn StorageFile>, seed: Seed, segment: u64, offset: u64, len: usize },
}

/// What lies where.
#[expect(clippy::large_enum_variant, reason = "one at a time, and only for a moment")]
pub(super) enum Found {
    Piece(Source, Indexed),
    /// The segment's index has to be read first.
    NoIndex(u64),
    Nothing,
}

/// Reads the index of a sealed segment: its footer, else by a scan.
pub(super) fn load_index(file: &dyn StorageFile, seed: &Seed) -> Result<Option<Footer>, Errno> {
    if let Some((footer, _)) = read_footer(file, seed)? {
        return Ok(Some(footer));
    }
    read_header(file)?.map(|header| scan(file, &header).map(|scan| scan.footer)).transpose()
}

/// The records of a sink in a raw payload that lie in a stretch and were not settled before.
pub(super) fn tally_block(
    raw: &[u8],
    first: u64,
    slot: usize,
    within: &Range<u64>,
    ahead: &[Interval],
) -> Amount {
    let mut amount = Amount::default();
    for entry in entries(first, raw) {
        let settled = ahead.iter().any(|i| (i.first..=i.last).contains(&entry.seq));
        if entry.sinks & bit(slot) != 0 && within.contains(&entry.seq) && !settled {
            amount.add(Amount { events: 1, bytes: len64(entry.end - entry.start) });
        }
    }
    amount
}

impl Source {
    /// The raw payload. None: it cannot be had, the block is damaged.
    pub(super) fn load(&self) -> (Option<Arc<[u8]>>, u64) {
        match self {
            Self::Raw(raw) => (Some(Arc::clone(raw)), 0),
            Self::Packed(packed) => (unpack(&packed.head, &packed.stored), 0),
            Self::File { file, seed, offset, len, .. } => {
                let mut errors = 0;
                for _ in 0..READ_TRIES {
                    match read_exact(&**file, *offset, *len) {
                        Ok(bytes) => {
                            let packed = decode_block(&bytes, seed, *offset);
                            let raw = packed.and_then(|packed| unpack(&packed.head, &packed.stored));
                            return (raw, errors);
                        }
                        Err(_) => errors += 1,
                    }
                }
                (None, errors)
            }
        }
    }
}

impl Core {
    /// The block that has `seq`, or the first one behind it.
    pub(super) fn find(&mut self, log: &Log, seq: u64) -> Found {
        let holder = self.segments.values().find(|segment| segment.has_behind(seq));
        if let Some(id) = holder.map(|segment| segment.id) {
            let seed = self.seed(id);
            let Some(segment) = self.segments.get_mut(&id) else { return Found::Nothing };
            if segment.file.is_none()
                && let Some(storage) = &log.storage
            {
                let name = file_name(id, segment.renamed);
                segment.file = storage.open(&name).ok();
            }
            if !segment.indexed {
                return Found::NoIndex(id);
            }
            let index = &segment.footer.index;
            let at = index.partition_point(|block| block.end_seq() <= seq);
            let (Some(block), Some(file)) = (index.get(at).cloned(), segment.file.clone()) else {
                return Found::NoIndex(id);
            };
            if let Some(raw) = self.cached(block.first_seq) {
                return Found::Piece(Source::Raw(raw), block);
            }
            let (offset, len) = (u64::from(block.offset), size(block.len));
            return Found::Piece(Source::File { file, seed, segment: id, offset, len }, block);
        }
        let packed = self.ring.iter().find(|packed| packed.head.end_seq() > seq).map(Arc::clone);
        let Some(packed) = packed else { return Found::Nothing };
        let block = Indexed::of(&packed.head, 0);
        match self.cached(packed.head.first_seq) {
            Some(raw) => Found::Piece(Source::Raw(raw), block),
            None => Found::Piece(Source::Packed(packed), block),
        }
    }

    /// Time of the oldest record of a sink that is not settled; to the block, ns since the epoch.
    pub(super) fn oldest_ns(&self, slot: usize) -> Option<Now> {
        let cursor = self.cursor_ref(slot)?;
        let unread = (cursor.unread().events > 0).then(|| {
            let position = cursor.position();
            let segment = self.segments.values().find(|segment| segment.has_behind(position));
            let block = segment.and_then(|segment| {
                let at = segment.footer.index.partition_point(|block| block.end_seq() <= position);
                segment.footer.index.get(at)
            });
            let ring = || self.ring.front().map(|packed| packed.head.min_time);
            let on_disk = block.map(|block| block.min_time);
            on_disk.or_else(|| segment.map(|segment| segment.footer.min_time)).or_else(ring)
        });
        [cursor.oldest_open(), unread.flatten()].into_iter().flatten().min()
    }

    /// The records of a cursor below `upto` that were never read.
    pub(super) fn unread_below(&mut self, log: &Log, slot: usize, upto: u64) -> Amount {
        let Some(cursor) = self.cursor_ref(slot) else { return Amount::default() };
        let (position, ahead) = (cursor.position(), cursor.ahead());
        self.tally(log, slot, position..upto.max(position), &ahead)
    }

    /// The records of a slot in a stretch, without those of `ahead`. Reads indexes, and only those
    /// blocks that are in the stretch by a part.
    pub(super) fn tally(&mut self, log: &Log, slot: usize, within: Range<u64>, ahead: &[Interval]) -> Amount {
        let overlaps = |first: u64, end: u64| ahead.iter().any(|i| i.first < end && i.last >= first);
        let mut amount = Amount::default();
        let mut at = within.start;
        while at < within.end {
            let segment = self.segments.values().find(|segment| segment.has_behind(at));
            if let Some(segment) = segment {
                let (first, end) = (segment.records_begin(), segment.end_seq());
                if within.start <= first && end <= within.end && !overlaps(first, end) {
                    amount.add(segment.total(slot));
                    at = end;
                    continue;
                }
            }
            match self.find(log, at) {
                Found::NoIndex(id) => {
                    if !self.install_index(log, id) {
                        // Unreadable: as much as its totals say.
                        let Some(segment) = self.segments.get(&id) else { break };
                        amount.add(segment.total(slot));
                        at = segment.end_seq();
                    }
                }
                Found::Nothing => break,
                Found::Piece(source, block) => {
                    let (first, end) = (block.first_seq, block.end_seq());
                    if first >= within.end {
                        break;
                    }
                    at = end;
                    let share = block.shares.get(slot).copied().unwrap_or_default();
                    if share.events == 0 {
                        continue;
                    }
                    let whole = within.start <= first && end <= within.end && !overlaps(first, end);
                    match (!whole).then(|| source.load().0).flatten() {
                        Some(raw) => amount.add(tally_block(&raw, first, slot, &within, ahead)),
                        None => {
                            let mut rest = Amount::from(share);
                            if let Some(cursor) = self.cursor_ref(slot) {
                                rest.take(cursor.read_of(first));
                            }
                            amount.add(rest);
                        }
                    }
                }
            }
        }
        amount
    }

    /// Reads a segment's index under the lock: for rare work that cannot let go of it.
    fn install_index(&mut self, log: &Log, id: u64) -> bool {
        let seed = self.seed(id);
        let Some(segment) = self.segments.get_mut(&id) else { return false };
        let file = segment.file.clone().or_else(|| {
            let name = file_name(id, segment.renamed);
            log.storage.as_ref()?.open(&name).ok()
        });
        let Some(footer) = file.as_ref().and_then(|file| load_index(&**file, &seed).ok().flatten()) else {
            return false;
        };
        segment.file = file;
        segment.adopt(footer)
    }
}

impl super::Segment {
    /// It has records at or behind this number. One that was just begun has none, whatever its header says.
    fn has_behind(&self, seq: u64) -> bool {
        !self.doomed && self.footer.records > 0 && self.end_seq() > seq
    }

    /// Number of the first record, or as good as is known without the index.
    pub(super) fn records_begin(&self) -> u64 {
        match self.footer.index.first() {
            Some(block) => block.first_seq,
            None => self.first_seq,
        }
    }

    /// Keeps what stands for the whole of it; the index is read again when a sink comes to it.
    pub(super) fn let_index_go(&mut self) {
        self.first_seq = self.records_begin();
        self.indexed = false;
        self.footer.index = Vec::new();
        self.file = None;
    }

    /// Takes a loaded index over, as far as it covers what was known. False when it has no blocks.
    pub(super) fn adopt(&mut self, footer: Footer) -> bool {
        let end = self.footer.end_seq;
        let index: Vec<Indexed> = footer.index.into_iter().filter(|block| block.end_seq() <= end).collect();
        self.indexed = !index.is_empty();
        self.footer.index = index;
        self.indexed
    }
}
