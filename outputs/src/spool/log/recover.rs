//! Starting from what a lane's directory holds: cost is a header and a footer per sealed segment, and a
//! scan of what has no footer. `docs/specs/spool.md` §6.

use super::{Core, Gaps, LaneCounters, Log, Now, Ring, RingReason, Segment, ms};
use crate::spool::block::MAX_SLOTS;
use crate::spool::bytes::len64;
use crate::spool::config::{Durability, LaneConfig};
use crate::spool::cursor::Cursor;
use crate::spool::intake::Intake;
use crate::spool::point;
use crate::spool::segment::{
    Footer, Header, Indexed, RosterEntry, file_name, parse_name, read_footer, read_header, scan,
};
use crate::spool::state::{self, SLOT_LEN, STATE, State};
use crate::spool::storage::{Storage, StorageFile};
use crate::{Lane, Reason};
use rustix::io::Errno;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex};

/// How a lane is opened.
pub(crate) struct Setup<'a> {
    pub(crate) lane: Lane,
    pub(crate) config: &'a LaneConfig,
    /// For telemetry: not written to a filesystem with less room; 0 for alerts.
    pub(crate) min_free_bytes: Option<u64>,
    /// Names of the sinks, each once.
    pub(crate) sinks: &'a [String],
    /// None: nothing is written to disk.
    pub(crate) storage: Option<Arc<dyn Storage>>,
    /// Of a new log.
    pub(crate) uuid: [u8; 16],
    /// Only to be looked at: nothing on the disk changes, and the sinks are those of the state.
    pub(crate) look: bool,
    pub(crate) now: Now,
}

struct Files {
    segments: BTreeMap<u64, Segment>,
    uuid: Option<[u8; 16]>,
    last_id: u64,
    roster: Vec<RosterEntry>,
    /// Not ours to read: no valid header, another log's.
    strange: Vec<String>,
    counters: LaneCounters,
}

/// Reads one segment. None: its header is bad or of another log.
fn read_segment(
    file: Arc<dyn StorageFile>,
    (id, renamed): (u64, bool),
    lane: Lane,
    uuid: Option<[u8; 16]>,
    counters: &mut LaneCounters,
) -> Result<Option<(Segment, Header)>, Errno> {
    let header = read_header(&*file)?.filter(|header| {
        header.id == id && header.lane == lane && uuid.is_none_or(|uuid| uuid == header.uuid)
    });
    let Some(header) = header else { return Ok(None) };
    let length = file.len()?;
    let sealed = read_footer(&*file, &header.seed())?;
    let (footer, len, found) = match sealed {
        Some((footer, _)) if renamed => (footer, length, true),
        // Renamed is what was synced: in a file that was not, the blocks before a footer may be missing.
        sealed => {
            let scan = scan(&*file, &header)?;
            match sealed {
                Some((footer, at)) if at == scan.end && scan.bad_stretches == 0 => (footer, length, true),
                sealed => {
                    let behind = sealed.map_or(0, |(_, at)| length.saturating_sub(at));
                    counters.bad_blocks += scan.bad_stretches;
                    counters.torn_bytes += scan.torn_bytes.saturating_sub(behind);
                    (scan.footer, scan.end, false)
                }
            }
        }
    };
    let segment = Segment {
        id,
        renamed,
        sealed: found,
        len,
        created_ns: header.created_ns,
        first_seq: header.first_seq,
        damaged: footer.damaged,
        footer,
        indexed: true,
        gaps: Gaps::default(),
        file: Some(file),
        doomed: false,
    };
    Ok(Some((segment, header)))
}

fn read_files(storage: &dyn Storage, lane: Lane, known: Option<[u8; 16]>) -> Result<Files, Errno> {
    let mut files = Files {
        segments: BTreeMap::new(),
        uuid: known,
        last_id: 0,
        roster: Vec::new(),
        strange: Vec::new(),
        counters: LaneCounters::default(),
    };
    let mut names: Vec<(u64, bool)> = storage.list()?.iter().filter_map(|name| parse_name(name)).collect();
    let mut newer = None;
    // Newest first: without a state the newest file says whose log it is.
    names.sort_unstable_by(|a, b| b.cmp(a));
    for (id, renamed) in names {
        files.last_id = files.last_id.max(id);
        let name = file_name(id, renamed);
        let read = storage
            .open(&name)
            .and_then(|file| read_segment(file, (id, renamed), lane, files.uuid, &mut files.counters));
        match read {
            Ok(Some((mut segment, header))) if !files.segments.contains_key(&id) => {
                files.uuid = Some(header.uuid);
                fit(&mut segment, &mut newer);
                if files.roster.is_empty() {
                    files.roster.clone_from(&segment.footer.roster);
                }
                files.segments.insert(id, segment);
            }
            Ok(_) => files.strange.push(name),
            Err(error) => {
                files.counters.read_errors += 1;
                tracing::warn!(lane = lane.name(), file = name, %error, "a segment cannot be read");
                files.strange.push(name);
            }
        }
    }
    Ok(files)
}

/// Where two segments claim a number, the higher id wins: `newer` is the least number of all newer ones.
/// An index that is whole is let go: a start must not hold those of a full spool at once.
fn fit(segment: &mut Segment, newer: &mut Option<u64>) {
    let trimmed = newer.filter(|limit| segment.footer.end_seq > *limit);
    if let Some(limit) = trimmed {
        let kept = segment.footer.index.iter().filter(|block| block.end_seq() <= limit).cloned().collect();
        let (roster, sealed_ns) = (segment.footer.roster.clone(), segment.footer.sealed_ns);
        let first_seq = segment.first_seq.min(limit);
        segment.footer = Footer { sealed_ns, ..Footer::of(kept, roster, first_seq) };
        segment.damaged = true;
    }
    if let Some(first) = segment.footer.index.first().map(|block| block.first_seq) {
        *newer = Some(newer.map_or(first, |newer| newer.min(first)));
        segment.gaps = Gaps::within(&segment.footer.index);
        if segment.sealed && segment.renamed && trimmed.is_none() {
            segment.let_index_go();
        }
    }
}

impl Gaps {
    fn add(&mut self, first: u64, end: u64) {
        if first < end {
            self.first = if self.count == 0 { first } else { self.first.min(first) };
            self.last = self.last.max(end - 1);
            self.count += end - first;
        }
    }

    fn within(index: &[Indexed]) -> Self {
        let mut gaps = Self::default();
        for (block, next) in index.iter().zip(index.iter().skip(1)) {
            gaps.add(block.end_seq(), next.first_seq);
        }
        gaps
    }
}

/// Numbers in `[from, upto)` that no block has.
fn holes(segments: &BTreeMap<u64, Segment>, from: u64, upto: u64) -> Gaps {
    let mut next = from;
    let mut found = Gaps::default();
    for segment in segments.values().filter(|segment| segment.footer.records > 0 && segment.end_seq() > from)
    {
        found.add(next, segment.records_begin().min(upto));
        let inside = segment.gaps;
        if inside.count > 0 && inside.last >= from {
            let first = inside.first.max(from);
            found.first = if found.count == 0 { first } else { found.first.min(first) };
            found.last = found.last.max(inside.last);
            found.count += inside.count.min(inside.last - first + 1);
        }
        next = next.max(segment.end_seq());
    }
    found.add(next, upto);
    found
}

/// What a lane's directory holds.
#[derive(Default)]
struct Found {
    state: Option<State>,
    state_file: Option<Arc<dyn StorageFile>>,
    segments: BTreeMap<u64, Segment>,
    uuid: Option<[u8; 16]>,
    last_id: u64,
    roster: Vec<RosterEntry>,
    strange: Vec<String>,
    counters: LaneCounters,
}

fn find(storage: &dyn Storage, lane: Lane, look: bool) -> Result<Found, (&'static str, Errno)> {
    let state_file = match state_file(storage, look) {
        Ok(file) => file,
        // Tried again with each state that is to be stored.
        Err(Errno::NOSPC | Errno::DQUOT) => None,
        Err(error) => return Err(("open the state of", error)),
    };
    let read = match &state_file {
        Some(file) => state::read(&**file, lane).map_err(|error| ("read the state of", error))?,
        None => state::Read::default(),
    };
    let uuid = read.state.as_ref().map(|state| state.uuid);
    let files = read_files(storage, lane, uuid).map_err(|error| ("read the segments of", error))?;
    let state_rebuilt = u64::from(read.state.is_none() && !files.segments.is_empty());
    let counters = LaneCounters { state_slots_bad: read.bad_slots, state_rebuilt, ..files.counters };
    Ok(Found {
        state: read.state,
        state_file,
        segments: files.segments,
        uuid: files.uuid,
        last_id: files.last_id,
        roster: files.roster,
        strange: files.strange,
        counters,
    })
}

impl Log {
    /// Opens a lane.
    ///
    /// # Errors
    /// The directory cannot be listed, or the state can neither be read nor made: what, and why.
    pub(crate) fn open(setup: Setup<'_>) -> Result<Self, (&'static str, Errno)> {
        let memory = setup.config.durability == Durability::Memory;
        let storage = setup.storage.clone().filter(|_| setup.look || !memory);
        let found = match storage.as_deref() {
            Some(storage) => find(storage, setup.lane, setup.look)?,
            None => Found::default(),
        };
        Ok(Self::build(&Setup { storage, ..setup }, found))
    }

    /// A lane that writes nothing to disk.
    pub(crate) fn in_memory(setup: Setup<'_>) -> Self {
        Self::build(&Setup { storage: None, ..setup }, Found::default())
    }

    fn build(setup: &Setup<'_>, found: Found) -> Self {
        let Setup { lane, config, now, look, .. } = *setup;
        let storage = setup.storage.clone();
        let space = storage.as_ref().and_then(|storage| storage.space().ok());
        let total = space.map_or(u64::MAX, |space| space.total_bytes);
        let default_max = (total / 10).min(2 << 30).max(2 * config.segment_bytes);
        let default_free = (total / 20).max(1 << 30);
        let min_free_bytes = match (lane, &storage) {
            (Lane::Telemetry, Some(_)) => setup.min_free_bytes.unwrap_or(default_free),
            _ => 0,
        };
        let state = found.state;
        let found_end = found.segments.values().map(Segment::end_seq).max().unwrap_or(1);
        let end_seq = found_end.max(state.as_ref().map_or(1, |state| state.next_seq));
        let no_disk = Ring { reason: RingReason::NoDisk, since_ns: now, tried_ns: now };
        let core = Core {
            uuid: state.as_ref().map(|state| state.uuid).or(found.uuid).unwrap_or(setup.uuid),
            next_segment: state.as_ref().map_or(1, |state| state.next_segment).max(found.last_id + 1),
            generation: state.as_ref().map_or(0, |state| state.generation),
            state_file: found.state_file,
            segments: found.segments,
            open: None,
            ring: VecDeque::new(),
            ring_bytes: 0,
            unsynced: VecDeque::new(),
            unsynced_bytes: 0,
            end_seq,
            synced_seq: end_seq,
            cursors: Vec::new(),
            cache: VecDeque::new(),
            cache_bytes: 0,
            ring_mode: storage.is_none().then_some(no_disk),
            sealing: Vec::new(),
            dir_dirty: false,
            file_dirty: false,
            sync_failures: 0,
            state_dirty: true,
            stored_floor: 0,
            given_up: Reason::LaneFull,
            farewells: Vec::new(),
            bad: BTreeSet::new(),
            counters: found.counters,
        };
        if !look {
            point::reached("recovery has read");
        }
        let log = Self {
            lane,
            config: config.clone(),
            max_bytes: config.max_bytes.unwrap_or(default_max),
            min_free_bytes,
            storage,
            intake: Intake::new(end_seq, config.intake_bytes),
            core: Mutex::new(core),
        };
        {
            let mut core = log.lock();
            let known = known_sinks(state.as_ref(), &found.roster);
            core.restore(&log, state.as_ref(), known, now);
            if !look {
                core.choose_sinks(&log, setup.sinks, now);
                core.finish_files(&log, found.strange, now);
            }
        }
        if !look {
            log.sync(now);
            point::reached("recovery has sealed");
            let stored = log.persist();
            log.reap(stored);
            point::reached("recovery is done");
        }
        log
    }
}

/// The state's file, made with its room reserved when missing.
pub(super) fn state_file(storage: &dyn Storage, look: bool) -> Result<Option<Arc<dyn StorageFile>>, Errno> {
    match storage.open(STATE) {
        Ok(file) => Ok(Some(file)),
        Err(Errno::NOENT) if look => Ok(None),
        Err(Errno::NOENT) => {
            let file = storage.create(STATE)?;
            // Zeros, so that the slots have their blocks before the disk is full.
            let zeros = [0; SLOT_LEN];
            for slot in 0..2 {
                let mut done = 0;
                while let Some(rest) = zeros.get(done..).filter(|rest| !rest.is_empty()) {
                    done += file.write_at(slot * len64(SLOT_LEN) + len64(done), rest)?.max(1);
                }
            }
            point::reached("state made");
            file.sync()?;
            storage.sync_dir()?;
            Ok(Some(file))
        }
        Err(error) => Err(error),
    }
}

/// The sinks that the log knows: the state's, else the newest roster's with a cursor at the start.
fn known_sinks(state: Option<&State>, roster: &[RosterEntry]) -> Vec<state::SinkState> {
    if let Some(state) = state {
        return state.sinks.clone();
    }
    let blank = |entry: &RosterEntry| state::SinkState {
        slot: entry.slot,
        name: entry.name.clone(),
        since: entry.since,
        floor: entry.since,
        accepted: 0,
        delivered: 0,
        dlq: 0,
        dropped: Vec::new(),
        settled: Vec::new(),
    };
    roster.iter().map(blank).collect()
}

impl Core {
    /// Makes the cursors, counts what waits for them, and tells what is missing.
    fn restore(&mut self, log: &Log, state: Option<&State>, known: Vec<state::SinkState>, now: Now) {
        let oldest = known.iter().map(|sink| sink.floor).min().unwrap_or(self.end_seq);
        let oldest = match state {
            Some(_) => oldest,
            None => self.segments.values().next().map_or(self.end_seq, Segment::records_begin).max(oldest),
        };
        let missing = holes(&self.segments, oldest, self.end_seq);
        self.counters.missing_seqs = missing.count;
        let stored_end = state.map_or(0, |state| state.next_seq);
        for sink in known {
            let slot = usize::from(sink.slot);
            self.cursors.push(Cursor::restore(&sink, log.lane));
            // The intervals as the disk has them, then everything from the floor on without them.
            let found: Vec<u64> = sink
                .settled
                .iter()
                .map(|interval| self.tally(log, slot, interval.first..interval.last + 1, &[]).events)
                .collect();
            if let Some(cursor) = self.cursor(slot) {
                cursor.recount_ahead(&found);
            }
            let total = self.unread_below(log, slot, self.end_seq);
            let known_part =
                if state.is_some() { self.unread_below(log, slot, stored_end).events } else { total.events };
            let Some(cursor) = self.cursor(slot) else { continue };
            cursor.found(total);
            let expected = if state.is_some() { cursor.expected() } else { 0 };
            // What came after the state was stored is accepted now; without a state all is.
            let new =
                if state.is_some() { total.events - known_part.min(total.events) } else { total.events };
            cursor.accepted += new;
            if expected > known_part && state.is_some() {
                let nowhere = missing.count == 0;
                let (first, last) =
                    if nowhere { (sink.floor, sink.floor) } else { (missing.first, missing.last) };
                cursor.lost(first, last, expected - known_part, ms(now));
            } else if known_part > expected && state.is_some() {
                // More than the books know: an older state took over. Twice rather than never.
                cursor.accepted += known_part - expected;
            }
        }
        for range in state.map(|state| state.untold.clone()).unwrap_or_default() {
            let lane = log.lane;
            if let Some(cursor) = self.cursor(usize::from(range.slot)) {
                cursor.ledger.restore_untold(crate::DropRange {
                    lane,
                    reason: range.reason,
                    first_sequence: range.first,
                    last_sequence: range.last,
                    events: range.amount.events,
                    bytes: range.amount.bytes,
                    last_unix_ms: range.unix_ms,
                });
            }
        }
    }

    /// Drops what waits for sinks that are no longer configured, and makes cursors for new ones.
    fn choose_sinks(&mut self, log: &Log, sinks: &[String], now: Now) {
        let end = self.end_seq;
        let (kept, gone) = std::mem::take(&mut self.cursors)
            .into_iter()
            .partition::<Vec<_>, _>(|cursor| sinks.contains(&cursor.name));
        self.cursors = kept;
        for mut cursor in gone {
            let unread = cursor.unread();
            cursor.drop_below(end, unread, Reason::SinkRemoved, ms(now));
            let ranges = cursor.ledger.take_ranges();
            self.farewells.extend(ranges.into_iter().map(|range| (cursor.name.clone(), range)));
        }
        for name in sinks {
            let used = |slot: u8| self.cursors.iter().any(|cursor| cursor.slot == slot);
            let new = self.cursors.iter().all(|cursor| cursor.name != *name);
            let free = (0..MAX_SLOTS).filter_map(|slot| u8::try_from(slot).ok()).find(|slot| !used(*slot));
            if let Some(free) = free.filter(|_| new) {
                self.cursors.push(Cursor::new(name.clone(), free, log.lane, end));
            }
        }
        self.state_dirty = true;
    }

    /// Cuts torn tails, seals what was left open, lets go of what is strange or empty.
    fn finish_files(&mut self, log: &Log, strange: Vec<String>, now: Now) {
        let Some(storage) = log.storage.as_deref() else { return };
        for name in strange {
            self.counters.quarantined += 1;
            if let Err(error) = storage.quarantine(&name, 4) {
                tracing::warn!(lane = log.lane.name(), file = name, %error, "cannot move a file to quarantine");
            }
        }
        let ids: Vec<u64> = self.segments.keys().copied().collect();
        for id in ids {
            let Some(segment) = self.segments.get_mut(&id) else { continue };
            if segment.sealed && !segment.renamed {
                self.sealing.push(id);
                continue;
            }
            if segment.sealed {
                continue;
            }
            if segment.footer.records == 0 && !segment.damaged {
                let name = file_name(id, segment.renamed);
                self.segments.remove(&id);
                let _ = storage.remove(&name);
                continue;
            }
            if let Some(file) = &segment.file {
                let _ = file.set_len(segment.len);
                point::reached("recovery has cut");
            }
            self.open = Some(id);
            self.seal(now);
        }
        if log.lane == Lane::Alert
            && self.ring_mode.is_none()
            && let Err(error) = self.begin_segment(log, storage, self.end_seq, now)
        {
            self.enter_ring(RingReason::of(error), now);
        }
    }
}
