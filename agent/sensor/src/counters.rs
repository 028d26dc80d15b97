//! The programs' counters.

use aya::maps::{Map, MapData, MapError, PerCpuArray};
use hostward_abi::Wire;
use hostward_abi::maps::{Counter, KINDS};
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

    /// Each kind's counter on each CPU.
    pub(crate) fn read(&self) -> Result<Vec<(EventKind, u16, Counter)>, MapError> {
        let values = self.map.get(&0, 0)?;
        let mut all = Vec::new();
        for (cpu, words) in values.iter().enumerate() {
            let cpu = u16::try_from(cpu).unwrap_or(u16::MAX);
            for kind in &self.kinds {
                let at = usize::from(*kind as u8) * Counter::BYTES / 8;
                let Some([attempted, settled, dropped, starved]) = words.get(at..at + 4) else {
                    continue;
                };
                let (attempted, settled, dropped, starved) = (*attempted, *settled, *dropped, *starved);
                all.push((*kind, cpu, Counter { attempted, settled, dropped, starved }));
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
        Ok(self
            .kinds
            .iter()
            .map(|kind| KindCounters {
                kind: *kind,
                attempted: sum(*kind, |counter| counter.attempted),
                dropped: sum(*kind, |counter| counter.dropped),
                starved: sum(*kind, |counter| counter.starved),
            })
            .collect())
    }
}
