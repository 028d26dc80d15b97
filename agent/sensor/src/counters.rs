//! The programs' counters.

use crate::uring;
use aya::maps::{Map, MapData, MapError, PerCpuArray};
use hostward_abi::Wire;
use hostward_abi::maps::{Counter, KINDS};
use hostward_abi::record::{kind, open_call};
use hostward_event::EventKind;
use std::os::fd::AsFd;

/// Words of one CPU's value: every kind's counter.
const WORDS: usize = KINDS * Counter::BYTES / 8;

/// What the programs of one kind did, all CPUs together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KindCounters {
    /// The kind.
    pub kind: EventKind,
    /// Events that the filter let pass.
    pub attempted: u64,
    /// Of them, those that did not reach the ring.
    pub dropped: u64,
    /// Of them, those lost because no scratch memory was free.
    pub starved: u64,
    /// Of them, those left out under overload.
    pub sampled: u64,
}

/// The counters of a kind, by the kind that its records have.
pub(crate) fn rows(of: EventKind) -> impl Iterator<Item = u8> {
    let opens = [open_call::OPENAT, open_call::OPEN, open_call::OPENAT2, open_call::CREAT];
    let opens = opens.into_iter().filter(move |_| of == EventKind::Open).map(kind::of_open);
    let calls = opens.chain((of != EventKind::Open).then_some(of as u8));
    let through_uring = uring::rows(of);
    calls.chain(through_uring).chain(sampled_row(of))
}

/// Where those are counted that are left out under overload.
fn sampled_row(of: EventKind) -> Option<u8> {
    match of {
        EventKind::Open => Some(kind::OPEN_SAMPLED),
        EventKind::Connect => Some(kind::CONNECT_SAMPLED),
        _ => None,
    }
}

/// A handle of an object's counter map.
pub(crate) struct Counters {
    map: PerCpuArray<MapData, [u64; WORDS]>,
    kinds: Vec<EventKind>,
}

impl Counters {
    /// Counters of `kinds` in the map behind `map`'s descriptor.
    pub(crate) fn new(map: &MapData, kinds: Vec<EventKind>) -> Result<Self, MapError> {
        let fd = map.fd().as_fd().try_clone_to_owned()?;
        let map = PerCpuArray::try_from(Map::PerCpuArray(MapData::from_fd(fd)?))?;
        Ok(Self { map, kinds })
    }

    /// Each kind's counters on each CPU, with the kind that the records have.
    pub(crate) fn read(&self) -> Result<Vec<(EventKind, u8, u16, Counter)>, MapError> {
        let values = self.map.get(&0, 0)?;
        let mut all = Vec::new();
        for (cpu, words) in values.iter().enumerate() {
            let cpu = u16::try_from(cpu).unwrap_or(u16::MAX);
            let rows = self.kinds.iter().flat_map(|kind| rows(*kind).map(|row| (*kind, row)));
            for (kind, row) in rows {
                let at = usize::from(row) * Counter::BYTES / 8;
                let Some([attempted, settled, dropped, starved]) = words.get(at..at + 4) else {
                    continue;
                };
                let (attempted, settled, dropped, starved) = (*attempted, *settled, *dropped, *starved);
                all.push((kind, row, cpu, Counter { attempted, settled, dropped, starved }));
            }
        }
        Ok(all)
    }

    /// Each kind's counters over all CPUs.
    pub(crate) fn totals(&self) -> Result<Vec<KindCounters>, MapError> {
        let each = self.read()?;
        let sum = |kind: EventKind, of: fn(&Counter) -> u64| {
            each.iter().filter(|(own, ..)| *own == kind).map(|(.., counter)| of(counter)).sum()
        };
        let sampled = |kind: EventKind| {
            let row = sampled_row(kind);
            each.iter().filter(|(_, own, ..)| Some(*own) == row).map(|(.., counter)| counter.attempted).sum()
        };
        Ok(self
            .kinds
            .iter()
            .map(|kind| KindCounters {
                kind: *kind,
                attempted: sum(*kind, |counter| counter.attempted),
                dropped: sum(*kind, |counter| counter.dropped),
                starved: sum(*kind, |counter| counter.starved),
                sampled: sampled(*kind),
            })
            .collect())
    }
}
