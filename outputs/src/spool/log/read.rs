//! Taking records for a sink, and settling them. Finding where they lie happens under the lock, reading
//! and decompressing without it.

use super::{Core, Log, Now, bit, ms};
use crate::Reason;
use crate::spool::block::{Entry, Packed, decode_block, entries, unpack};
use crate::spool::bytes::{Seed, len64, size};
use crate::spool::cursor::Outcome;
use crate::spool::segment::{Amount, Footer, Indexed, file_name, read_exact, read_footer, read_header, scan};
use crate::spool::state::Interval;
use crate::spool::storage::StorageFile;
use hostward_event::EventId;
use rustix::io::Errno;
use std::ops::Range;
use std::sync::Arc;

/// A read that fails is tried this often before its block counts as damaged.
const READ_TRIES: u32 = 3;

/// A record on its way to a sink.
#[derive(Clone, Debug)]
pub(crate) struct Taken {
    pub(crate) seq: u64,
    pub(crate) time_ns: i64,
    pub(crate) id: EventId,
    block: Arc<[u8]>,
    range: Range<usize>,
}

impl Taken {
    /// The record as it was appended.
    pub(crate) fn bytes(&self) -> &[u8] {
        self.block.get(self.range.clone()).unwrap_or_default()
    }
}

/// Where a block's payload is.
pub(crate) enum Source {
    Raw(Arc<[u8]>),
    Packed(Arc<Packed>),
    File { file: Arc<dyn StorageFile>, seed: Seed, segment: u64, offset: u64, len: usize },
}

/// A block to read, and which of its records.
pub(crate) struct Piece {
    first_seq: u64,
    end_seq: u64,
    /// Numbers of records that were given back; none: all unread ones.
    again: Vec<u64>,
    source: Source,
}

/// What lies where.
#[expect(clippy::large_enum_variant, reason = "one at a time, and only for a moment")]
enum Found {
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
    fn load(&self) -> (Option<Arc<[u8]>>, u64) {
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
    fn find(&mut self, log: &Log, seq: u64) -> Found {
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

    /// Blocks that have up to so much for a sink beside what it has, those given back first. `Err`: the
    /// index of that segment is needed.
    fn plan(
        &mut self,
        log: &Log,
        slot: usize,
        (mut events, mut bytes): (usize, u64),
        (max_events, max_bytes): (usize, u64),
        now: Now,
    ) -> Result<Vec<Piece>, u64> {
        let mut pieces: Vec<Piece> = Vec::new();
        let Some(cursor) = self.cursor_ref(slot) else { return Ok(pieces) };
        let again: Vec<(u64, u32)> = cursor.again().take(max_events.saturating_sub(events)).collect();
        let mut position = cursor.position();
        let mut unread = cursor.unread().events > 0;
        for (seq, length) in again {
            if events >= max_events || (events > 0 && bytes + u64::from(length) > max_bytes) {
                return Ok(pieces);
            }
            events += 1;
            bytes += u64::from(length);
            if let Some(last) = pieces.last_mut().filter(|last| seq < last.end_seq) {
                last.again.push(seq);
                continue;
            }
            match self.find(log, seq) {
                Found::Piece(source, block) if block.first_seq <= seq => pieces.push(Piece {
                    first_seq: block.first_seq,
                    end_seq: block.end_seq(),
                    again: vec![seq],
                    source,
                }),
                Found::NoIndex(id) => return Err(id),
                Found::Piece(..) | Found::Nothing => {
                    let reason = self.given_up;
                    if let Some(cursor) = self.cursor(slot) {
                        cursor.drop_given_back(seq, seq + 1, reason, ms(now));
                    }
                }
            }
        }
        while unread && events < max_events && (events == 0 || bytes < max_bytes) {
            match self.find(log, position) {
                Found::NoIndex(id) => return Err(id),
                Found::Nothing => {
                    // Only what is planned is left, or nothing at all.
                    if pieces.iter().all(|piece| !piece.again.is_empty()) {
                        let end = self.end_seq;
                        if let Some(cursor) = self.cursor(slot) {
                            cursor.reconcile(end, ms(now));
                        }
                        self.state_dirty = true;
                    }
                    unread = false;
                }
                Found::Piece(source, block) => {
                    position = block.end_seq();
                    let share = block.shares.get(slot).copied().unwrap_or_default();
                    if share.events == 0 {
                        // Skipped for good only when nothing before it is still to be read.
                        if pieces.iter().all(|piece| !piece.again.is_empty())
                            && let Some(cursor) = self.cursor(slot)
                        {
                            cursor.advance(position);
                        }
                        continue;
                    }
                    events += size(share.events);
                    bytes += u64::from(share.bytes);
                    pieces.push(Piece {
                        first_seq: block.first_seq,
                        end_seq: position,
                        again: Vec::new(),
                        source,
                    });
                }
            }
        }
        Ok(pieces)
    }

    /// The block could not be read: what the cursor had in it is damaged.
    fn give_up_block(&mut self, piece: &Piece, slot: usize, now: Now) {
        if let Source::File { segment, .. } = &piece.source
            && let Some(segment) = self.segments.get_mut(segment)
        {
            segment.damaged = true;
        }
        if self.bad.len() < 65_536 && self.bad.insert(piece.first_seq) {
            self.counters.bad_blocks += 1;
        }
        let share = self.segments.values().find_map(|segment| {
            let index = &segment.footer.index;
            let at = index.binary_search_by_key(&piece.first_seq, |block| block.first_seq).ok()?;
            index.get(at)?.shares.get(slot).copied()
        });
        let Some(cursor) = self.cursor(slot) else { return };
        let (first, end) = (piece.first_seq, piece.end_seq);
        cursor.drop_given_back(first, end, Reason::Damaged, ms(now));
        if cursor.position() < end {
            let read = cursor.read_of(first);
            let mut unread: Amount = share.unwrap_or_default().into();
            unread.take(read);
            // Rather too few: what the books miss then shows when the lane's end is reached.
            unread.events = unread.events.saturating_sub(cursor.ahead_within(first, end));
            cursor.advance(first);
            cursor.pass_over(end, unread, Reason::Damaged, ms(now));
        }
        self.state_dirty = true;
    }

    /// Hands the sink's records of a loaded piece out. False: the batch is full.
    fn hand_out(
        &mut self,
        piece: &Piece,
        raw: &Arc<[u8]>,
        slot: usize,
        limit: (usize, u64),
        out: &mut (Vec<Taken>, u64),
    ) -> bool {
        let Some(cursor) = self.cursor(slot) else { return false };
        let ours = |entry: &Entry| entry.sinks & bit(slot) != 0;
        for entry in entries(piece.first_seq, raw).filter(ours) {
            let length = len64(entry.end - entry.start);
            let full =
                out.0.len() >= limit.0 || (!out.0.is_empty() && out.1.saturating_add(length) > limit.1);
            let wanted = if piece.again.is_empty() {
                entry.seq >= cursor.position()
            } else {
                piece.again.binary_search(&entry.seq).is_ok()
            };
            if !wanted {
                continue;
            }
            if full {
                return false;
            }
            let taken = if piece.again.is_empty() {
                cursor.note_read(piece.first_seq, length);
                cursor.read(&entry)
            } else {
                cursor.retake(entry.seq)
            };
            if taken {
                out.1 += length;
                out.0.push(Taken {
                    seq: entry.seq,
                    time_ns: entry.time,
                    id: EventId::from_bytes(entry.id),
                    block: Arc::clone(raw),
                    range: entry.start..entry.end,
                });
            }
        }
        if piece.again.is_empty() {
            cursor.advance(piece.end_seq);
        }
        true
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

    /// Takes a loaded index over, as far as it covers what was known. False when it has no blocks.
    fn adopt(&mut self, footer: Footer) -> bool {
        let end = self.footer.end_seq;
        let index: Vec<Indexed> = footer.index.into_iter().filter(|block| block.end_seq() <= end).collect();
        self.indexed = !index.is_empty();
        self.footer.index = index;
        self.indexed
    }
}

impl Log {
    /// Takes records for a sink: at most so many, and so many bytes, but one at least when there is one.
    pub(crate) fn take(&self, slot: usize, max_events: usize, max_bytes: u64, now: Now) -> Vec<Taken> {
        let mut out = (Vec::new(), 0);
        loop {
            // A block that was read in part, or of which most was settled, promises more than it gives.
            let before = out.0.len();
            self.take_more(slot, (max_events, max_bytes), &mut out, now);
            if out.0.len() == before || out.0.len() >= max_events || out.1 >= max_bytes {
                return out.0;
            }
        }
    }

    fn take_more(&self, slot: usize, limit: (usize, u64), out: &mut (Vec<Taken>, u64), now: Now) {
        // A bad index makes its segment vanish from the next plan, so this ends.
        let pieces = loop {
            let missing = {
                let mut core = self.lock();
                match core.plan(self, slot, (out.0.len(), out.1), limit, now) {
                    Ok(pieces) => break pieces,
                    Err(id) => (id, core.seed(id), core.segments.get(&id).and_then(|s| s.file.clone())),
                }
            };
            let (id, seed, file) = missing;
            let mut errors = 0;
            let footer = file.as_ref().and_then(|file| {
                (0..READ_TRIES).find_map(|_| load_index(&**file, &seed).inspect_err(|_| errors += 1).ok())
            });
            let mut core = self.lock();
            core.counters.read_errors += errors;
            if !core.segments.contains_key(&id) {
                // Let go meanwhile.
                continue;
            }
            let adopted = match footer {
                Some(Some(footer)) => core.segments.get_mut(&id).is_some_and(|s| s.adopt(footer)),
                _ => false,
            };
            if !adopted {
                core.give_up_segment(self, id, now);
            }
        };
        for piece in pieces {
            let (raw, errors) = piece.source.load();
            let mut core = self.lock();
            core.counters.read_errors += errors;
            match raw {
                Some(raw) => {
                    if !core.hand_out(&piece, &raw, slot, limit, out) {
                        break;
                    }
                }
                None => core.give_up_block(&piece, slot, now),
            }
        }
    }

    /// Books what became of records that [`Log::take`] gave.
    pub(crate) fn settle(&self, slot: usize, outcomes: impl Iterator<Item = (u64, Outcome)>, now: Now) {
        let mut core = self.lock();
        let reason = core.given_up;
        for (seq, outcome) in outcomes {
            let outcome = match outcome {
                Outcome::Again if !core.has(seq) => Outcome::Dropped(reason),
                outcome => outcome,
            };
            if let Some(cursor) = core.cursor(slot) {
                let outcome = match outcome {
                    Outcome::Again if cursor.ended => Outcome::Dropped(Reason::SinkEnded),
                    outcome => outcome,
                };
                cursor.settle(seq, outcome, ms(now));
            }
        }
        core.state_dirty = true;
        core.trim_ring();
    }
}

impl Core {
    /// Lets go of blocks in the ring that all sinks are done with.
    fn trim_ring(&mut self) {
        let end = self.end_seq;
        let done = |ring_end: u64, core: &Self| core.cursors.iter().all(|c| c.floor(end) >= ring_end);
        while self.ring.front().is_some_and(|packed| done(packed.head.end_seq(), self)) {
            self.pop_ring();
        }
    }

    fn has(&self, seq: u64) -> bool {
        let on_disk = |segment: &super::Segment| {
            !segment.doomed && segment.records_begin() <= seq && seq < segment.end_seq()
        };
        self.segments.values().any(on_disk)
            || self.ring.iter().any(|packed| packed.head.first_seq <= seq && seq < packed.head.end_seq())
    }

    /// A sealed segment whose index cannot be read any more: all that is in it is damaged.
    fn give_up_segment(&mut self, log: &Log, id: u64, now: Now) {
        let Some(segment) = self.segments.get_mut(&id) else { return };
        segment.damaged = true;
        segment.doomed = true;
        let (first, end) = (segment.records_begin(), segment.end_seq());
        let totals = segment.footer.totals;
        self.counters.bad_blocks += 1;
        for cursor in &mut self.cursors {
            cursor.drop_given_back(first, end, Reason::Damaged, ms(now));
            if cursor.position() <= first {
                let total = totals.get(usize::from(cursor.slot)).copied().unwrap_or_default();
                cursor.drop_ahead(first, end, total, Reason::Damaged, ms(now));
            } else if cursor.position() < end {
                // How much of it was read is not known: the rest shows when the lane's end is reached.
                cursor.advance(end);
            }
        }
        self.given_up = Reason::Damaged;
        self.state_dirty = true;
        tracing::warn!(
            lane = log.lane.name(),
            segment = id,
            "the segment cannot be read: it goes to quarantine"
        );
    }
}
