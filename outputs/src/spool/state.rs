//! What a lane remembers of its sinks, in two slots that take turns. Layout: `docs/specs/spool.md` §5.

use super::block::MAX_SLOTS;
use super::bytes::{Fields, Put, len32, len64};
use super::segment::{Amount, put_name, read_exact, take_name};
use super::storage::StorageFile;
use crate::{Lane, Reason};
use rustix::io::Errno;

/// The file's name.
pub(crate) const STATE: &str = "state";
pub(crate) const SLOT_LEN: usize = 4096;
const MAGIC: &[u8; 8] = b"HWSTATE1";
const VERSION: u16 = 1;
const HEAD_LEN: usize = 56;
const CRC_LEN: usize = 4;
const INTERVAL_LEN: usize = 20;
const UNTOLD_LEN: usize = 42;
/// Sinks of one spool at most: with every counter in use and the longest names they fit a slot.
pub const MAX_SINKS: usize = 12;

/// Settled records above the floor: `events` of the sink's lie between `first` and `last`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Interval {
    pub(crate) first: u64,
    pub(crate) last: u64,
    pub(crate) events: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SinkState {
    pub(crate) slot: u8,
    pub(crate) name: String,
    pub(crate) since: u64,
    pub(crate) floor: u64,
    pub(crate) accepted: u64,
    pub(crate) delivered: u64,
    pub(crate) dlq: u64,
    pub(crate) dropped: Vec<(Reason, Amount)>,
    /// Ascending.
    pub(crate) settled: Vec<Interval>,
}

impl SinkState {
    fn base_len(&self) -> usize {
        // Slot, name, five numbers, counters, number of intervals.
        2 + self.name.len().min(255) + 40 + 1 + 17 * self.dropped.len() + 2
    }
}

/// A drop range that no loss event has told yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Untold {
    pub(crate) slot: u8,
    pub(crate) reason: Reason,
    pub(crate) first: u64,
    pub(crate) last: u64,
    pub(crate) amount: Amount,
    pub(crate) unix_ms: i64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) lane: Lane,
    pub(crate) generation: u64,
    pub(crate) uuid: [u8; 16],
    pub(crate) next_seq: u64,
    pub(crate) next_segment: u64,
    pub(crate) sinks: Vec<SinkState>,
    pub(crate) untold: Vec<Untold>,
}

/// The number of a reason in the file; none for those that no spool has.
pub(crate) const fn reason_number(reason: Reason) -> Option<u8> {
    Some(match reason {
        Reason::LaneFull => 1,
        Reason::TooOld => 2,
        Reason::LowSpace => 3,
        Reason::SinkLag => 4,
        Reason::DiskFull => 5,
        Reason::Overrun => 6,
        Reason::Oversize => 7,
        Reason::Damaged => 8,
        Reason::SinkRemoved => 9,
        Reason::SinkEnded => 10,
        Reason::Operator => 11,
        Reason::QueueFull | Reason::Rejected | Reason::Shutdown | Reason::SinkDied => return None,
    })
}

const REASONS: [Reason; 11] = [
    Reason::LaneFull,
    Reason::TooOld,
    Reason::LowSpace,
    Reason::SinkLag,
    Reason::DiskFull,
    Reason::Overrun,
    Reason::Oversize,
    Reason::Damaged,
    Reason::SinkRemoved,
    Reason::SinkEnded,
    Reason::Operator,
];

fn reason_of(number: u8) -> Option<Reason> {
    REASONS.into_iter().find(|reason| reason_number(*reason) == Some(number))
}

fn slot_crc(slot: u64, bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&slot.to_le_bytes()), bytes)
}

impl State {
    /// The slot that this generation goes to, and its offset in the file.
    pub(crate) const fn slot(&self) -> (u64, u64) {
        let slot = self.generation % 2;
        (slot, slot * SLOT_LEN as u64)
    }

    /// The slot's bytes. What does not fit is left out so that it costs duplicates, not counts: an
    /// interval's records count as not delivered. None: more sinks than a slot holds.
    pub(crate) fn encode(&self) -> Option<Vec<u8>> {
        let base: usize = HEAD_LEN + 1 + self.sinks.iter().map(SinkState::base_len).sum::<usize>();
        let mut room = (SLOT_LEN - CRC_LEN).checked_sub(base)?;
        let untold = self.untold.len().min(room / UNTOLD_LEN).min(255);
        room -= untold * UNTOLD_LEN;

        let mut out = Vec::with_capacity(SLOT_LEN);
        out.put(MAGIC);
        out.u16(VERSION);
        out.u8(self.lane.number());
        out.u8(u8::try_from(self.sinks.len()).ok()?);
        out.u32(0);
        out.u64(self.generation);
        out.put(&self.uuid);
        out.u64(self.next_seq);
        out.u64(self.next_segment);
        for sink in &self.sinks {
            let kept = sink.settled.len().min(room / INTERVAL_LEN).min(usize::from(u16::MAX));
            room -= kept * INTERVAL_LEN;
            let left_out: u64 =
                sink.settled.iter().skip(kept).map(|interval| u64::from(interval.events)).sum();
            out.u8(sink.slot);
            put_name(&mut out, &sink.name);
            for number in
                [sink.since, sink.floor, sink.accepted, sink.delivered.saturating_sub(left_out), sink.dlq]
            {
                out.u64(number);
            }
            out.u8(u8::try_from(sink.dropped.len()).ok()?);
            for (reason, amount) in &sink.dropped {
                out.u8(reason_number(*reason)?);
                out.u64(amount.events);
                out.u64(amount.bytes);
            }
            out.u16(u16::try_from(kept).ok()?);
            for interval in sink.settled.iter().take(kept) {
                out.u64(interval.first);
                out.u64(interval.last);
                out.u32(interval.events);
            }
        }
        out.u8(u8::try_from(untold).ok()?);
        for range in self.untold.iter().rev().take(untold) {
            out.u8(range.slot);
            out.u8(reason_number(range.reason)?);
            for number in [range.first, range.last, range.amount.events, range.amount.bytes] {
                out.u64(number);
            }
            out.i64(range.unix_ms);
        }
        let used = len32(out.len()).to_le_bytes();
        out.get_mut(12..16)?.copy_from_slice(&used);
        out.resize(SLOT_LEN - CRC_LEN, 0);
        let crc = slot_crc(self.slot().0, &out);
        out.u32(crc);
        Some(out)
    }

    /// Reads the slot with this number.
    pub(crate) fn decode(bytes: &[u8], slot: u64) -> Option<Self> {
        let (covered, crc) = bytes.get(..SLOT_LEN)?.split_at_checked(SLOT_LEN - CRC_LEN)?;
        if crc != slot_crc(slot, covered).to_le_bytes() {
            return None;
        }
        let mut fields = Fields::new(covered);
        if fields.array()? != *MAGIC || fields.u16()? != VERSION {
            return None;
        }
        let lane = match fields.u8()? {
            1 => Lane::Alert,
            2 => Lane::Telemetry,
            _ => return None,
        };
        let sinks = fields.u8()?;
        fields.u32()?;
        let (generation, uuid) = (fields.u64()?, fields.array()?);
        let (next_seq, next_segment) = (fields.u64()?, fields.u64()?);
        let sinks = (0..sinks).map(|_| sink(&mut fields)).collect::<Option<Vec<_>>>()?;
        let untold = fields.u8()?;
        let mut untold = (0..untold).map(|_| range(&mut fields)).collect::<Option<Vec<_>>>()?;
        untold.reverse();
        Some(Self { lane, generation, uuid, next_seq, next_segment, sinks, untold })
    }
}

fn sink(fields: &mut Fields<'_>) -> Option<SinkState> {
    let slot = fields.u8().filter(|slot| usize::from(*slot) < MAX_SLOTS)?;
    let name = take_name(fields)?;
    let (since, floor, accepted, delivered, dlq) =
        (fields.u64()?, fields.u64()?, fields.u64()?, fields.u64()?, fields.u64()?);
    let counters = fields.u8()?;
    let dropped = (0..counters)
        .map(|_| {
            let reason = reason_of(fields.u8()?)?;
            Some((reason, Amount { events: fields.u64()?, bytes: fields.u64()? }))
        })
        .collect::<Option<Vec<_>>>()?;
    let intervals = fields.u16()?;
    let settled = (0..intervals)
        .map(|_| Some(Interval { first: fields.u64()?, last: fields.u64()?, events: fields.u32()? }))
        .collect::<Option<Vec<_>>>()?;
    Some(SinkState { slot, name, since, floor, accepted, delivered, dlq, dropped, settled })
}

fn range(fields: &mut Fields<'_>) -> Option<Untold> {
    let slot = fields.u8().filter(|slot| usize::from(*slot) < MAX_SLOTS)?;
    let reason = reason_of(fields.u8()?)?;
    let (first, last) = (fields.u64()?, fields.u64()?);
    let amount = Amount { events: fields.u64()?, bytes: fields.u64()? };
    Some(Untold { slot, reason, first, last, amount, unix_ms: fields.i64()? })
}

/// What the state file says.
#[derive(Debug, Default)]
pub(crate) struct Read {
    /// The newest valid slot.
    pub(crate) state: Option<State>,
    /// Slots that hold something and do not validate.
    pub(crate) bad_slots: u64,
}

/// Reads both slots.
pub(crate) fn read(file: &dyn StorageFile, lane: Lane) -> Result<Read, Errno> {
    let mut read = Read::default();
    for slot in 0..2 {
        let bytes = read_exact(file, slot * len64(SLOT_LEN), SLOT_LEN)?;
        match State::decode(&bytes, slot).filter(|state| state.lane == lane) {
            Some(state) => {
                if read.state.as_ref().is_none_or(|best| best.generation < state.generation) {
                    read.state = Some(state);
                }
            }
            // A slot never written is a hole.
            None => read.bad_slots += u64::from(bytes.iter().any(|byte| *byte != 0)),
        }
    }
    Ok(read)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sink(slot: u8, intervals: u64) -> SinkState {
        SinkState {
            slot,
            name: "n".repeat(64),
            since: 1,
            floor: 10,
            accepted: 1_000_000,
            delivered: 1_000,
            dlq: 3,
            dropped: REASONS.iter().map(|reason| (*reason, Amount { events: 1, bytes: 2 })).collect(),
            settled: (0..intervals)
                .map(|n| Interval { first: 20 + 10 * n, last: 22 + 10 * n, events: 2 })
                .collect(),
        }
    }

    fn state(sinks: Vec<SinkState>) -> State {
        let untold = Untold {
            slot: 0,
            reason: Reason::LaneFull,
            first: 1,
            last: 9,
            amount: Amount { events: 9, bytes: 90 },
            unix_ms: 5,
        };
        State {
            lane: Lane::Alert,
            generation: 7,
            uuid: [9; 16],
            next_seq: 500,
            next_segment: 4,
            sinks,
            untold: vec![untold, Untold { first: 20, last: 29, ..untold }],
        }
    }

    #[test]
    fn a_slot_gives_back_what_was_stored_and_knows_its_place() {
        let state = state(vec![sink(0, 3), sink(5, 0)]);
        let bytes = state.encode().unwrap();
        assert_eq!(bytes.len(), SLOT_LEN);
        assert_eq!(State::decode(&bytes, 1), Some(state));
        assert_eq!(State::decode(&bytes, 0), None, "the other slot's content is no content");
    }

    #[test]
    fn the_most_sinks_fit_and_intervals_that_do_not_are_delivered_again() {
        let sinks = (0..12).map(|slot| sink(slot, 400)).collect();
        let stored = State::decode(&state(sinks).encode().unwrap(), 1).unwrap();
        assert_eq!(stored.sinks.len(), MAX_SINKS);
        assert_eq!(stored.untold.len(), 2);
        for sink in &stored.sinks {
            let settled: u64 = sink.settled.iter().map(|interval| u64::from(interval.events)).sum();
            assert_eq!(sink.delivered, 1_000 - (800 - settled));
        }
    }
}
