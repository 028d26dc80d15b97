//! A lane driven step by step, beside an oracle that knows what every sink has to get.

use super::sim::{Power, Sim};
use crate::config::WhenFull;
use crate::spool::block::Packer;
use crate::spool::config::{Durability, LaneConfig};
use crate::spool::cursor::Outcome;
use crate::spool::log::{CursorStatus, LaneStatus, Log, Setup};
use crate::{Lane, Reason};
use hostward_event::EventId;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// 2026-01-01.
const START_NS: i64 = 1_767_225_600_000_000_000;
pub(super) const SECOND: i64 = 1_000_000_000;

/// An event of the oracle: its number is its id.
pub(super) type Id = u64;

/// What the oracle knows; a copy is taken before each step that a crash may hit.
#[derive(Clone, Debug, Default)]
pub(super) struct Oracle {
    /// Events for a sink, by its place.
    pub(super) accepted: [BTreeSet<Id>; 2],
    /// What a destination has.
    pub(super) delivered: [BTreeSet<Id>; 2],
    pub(super) letters: [BTreeSet<Id>; 2],
    /// What was told to be durable.
    pub(super) durable: BTreeSet<Id>,
    /// What was written: a kill must not take it.
    pub(super) written: BTreeSet<Id>,
    /// Given up and told before a crash, when no state could be stored.
    pub(super) told: [BTreeSet<Id>; 2],
}

pub(super) struct Model {
    pub(super) sim: Sim,
    pub(super) log: Log,
    pub(super) oracle: Oracle,
    pub(super) now: i64,
    config: LaneConfig,
    lane: Lane,
    packer: Packer,
    next: Id,
    /// Numbers of this run that are not known to be durable, written.
    unsynced: VecDeque<(u64, Id)>,
    unwritten: VecDeque<(u64, Id)>,
    flying: [Vec<(u64, Id)>; 2],
    /// Ids of this run by their number in the lane.
    numbers: BTreeMap<u64, Id>,
}

pub(super) fn names() -> [String; 2] {
    ["one".to_owned(), "two".to_owned()]
}

/// Small segments, so that a few records fill them.
pub(super) fn config(durability: Durability) -> LaneConfig {
    LaneConfig {
        durability,
        max_bytes: Some(1 << 30),
        segment_bytes: 2_048,
        when_full: WhenFull::DropOldest,
        ..LaneConfig::default()
    }
}

fn record(id: Id) -> Vec<u8> {
    // Different lengths, and not to be compressed.
    let mut dice = fastrand::Rng::with_seed(id);
    let mut bytes = id.to_le_bytes().to_vec();
    bytes.extend((0..40 + id % 60).map(|_| dice.u8(..)));
    bytes
}

fn id_of(bytes: &[u8]) -> Id {
    let id = Id::from_le_bytes(bytes[..8].try_into().unwrap());
    assert_eq!(bytes, record(id), "a record is whole");
    id
}

fn open(sim: &Sim, lane: Lane, config: &LaneConfig, now: i64) -> Log {
    let setup = Setup {
        lane,
        config,
        min_free_bytes: Some(0),
        sinks: &names(),
        storage: Some(Arc::new(sim.clone())),
        uuid: [7; 16],
        look: false,
        now,
    };
    Log::open(setup).unwrap_or_else(|(what, error)| panic!("{what}: {error}"))
}

impl Model {
    pub(super) fn new(sim: Sim, lane: Lane, config: LaneConfig) -> Self {
        Self::resume(sim, lane, config, Oracle::default(), 1)
    }

    pub(super) fn resume(sim: Sim, lane: Lane, config: LaneConfig, oracle: Oracle, next: Id) -> Self {
        let now = START_NS + SECOND * i64::try_from(next).unwrap();
        let log = open(&sim, lane, &config, now);
        let model = Self {
            sim,
            log,
            oracle,
            now,
            config,
            lane,
            packer: Packer::new(),
            next,
            unsynced: VecDeque::new(),
            unwritten: VecDeque::new(),
            flying: Default::default(),
            numbers: BTreeMap::new(),
        };
        model.law();
        model
    }

    pub(super) fn next(&self) -> Id {
        self.next
    }

    pub(super) fn status(&self) -> LaneStatus {
        self.log.status(self.now)
    }

    pub(super) fn books(&self, sink: usize) -> CursorStatus {
        self.log.books(sink, self.now).unwrap()
    }

    /// The law, now.
    pub(super) fn law(&self) {
        for sink in self.status().sinks {
            assert!(sink.law_holds(), "the law is broken: {sink:#?}");
        }
    }

    /// Events for the sinks of the set.
    pub(super) fn append(&mut self, count: u64, sinks: u16) {
        for _ in 0..count {
            let id = self.next;
            self.next += 1;
            let event = EventId::from_bytes(u128::from(id).to_be_bytes()).to_bytes();
            for sink in (0..2).filter(|sink| sinks & (1 << sink) != 0) {
                self.oracle.accepted[sink].insert(id);
            }
            if let Ok(seq) = self.log.intake.append(sinks, self.now, &event, &record(id)) {
                self.unwritten.push_back((seq, id));
                self.numbers.insert(seq, id);
            }
        }
        self.law();
    }

    pub(super) fn write(&mut self) {
        self.log.write_all(&mut self.packer, self.now);
        self.note();
        self.law();
    }

    pub(super) fn sync(&mut self) {
        self.log.sync(self.now);
        self.note();
        self.law();
    }

    pub(super) fn keep(&mut self, relieve: bool) {
        self.now += SECOND;
        self.log.keep(relieve, self.now);
        self.note();
        self.law();
    }

    pub(super) fn persist(&mut self) {
        let stored = self.log.persist();
        self.log.reap(stored);
        self.law();
    }

    /// Takes over what the lane calls durable.
    fn note(&mut self) {
        let (written, synced) = self.log.marks();
        let given_up: Vec<crate::DropRange> =
            self.status().sinks.into_iter().flat_map(|sink| sink.recent_drops).collect();
        while let Some((seq, id)) = self.unwritten.pop_front_if(|(seq, _)| *seq < written) {
            let gone = |range: &crate::DropRange| (range.first_sequence..=range.last_sequence).contains(&seq);
            if given_up.iter().any(gone) {
                continue;
            }
            self.oracle.written.insert(id);
            self.unsynced.push_back((seq, id));
        }
        while let Some((_, id)) = self.unsynced.pop_front_if(|(seq, _)| *seq < synced) {
            self.oracle.durable.insert(id);
        }
    }

    pub(super) fn take(&mut self, sink: usize, most: usize) {
        for taken in self.log.take(sink, most, u64::MAX, self.now) {
            let id = id_of(taken.bytes());
            assert_eq!(taken.id.to_bytes(), u128::from(id).to_be_bytes());
            assert!(self.oracle.accepted[sink].contains(&id), "{id} is for sink {sink}");
            self.flying[sink].push((taken.seq, id));
        }
        self.law();
    }

    /// Settles what flies; `verdict` picks per record.
    pub(super) fn settle(&mut self, sink: usize, mut verdict: impl FnMut(Id) -> Outcome) {
        let flying = std::mem::take(&mut self.flying[sink]);
        let outcomes: Vec<(u64, Outcome)> = flying
            .into_iter()
            .map(|(seq, id)| {
                let outcome = verdict(id);
                match outcome {
                    Outcome::Delivered => drop(self.oracle.delivered[sink].insert(id)),
                    Outcome::DeadLetter => drop(self.oracle.letters[sink].insert(id)),
                    Outcome::Again | Outcome::Dropped(_) => {}
                }
                (seq, outcome)
            })
            .collect();
        self.log.settle(sink, outcomes.into_iter(), self.now);
        self.law();
    }

    pub(super) fn deliver(&mut self, sink: usize, most: usize) {
        self.take(sink, most);
        self.settle(sink, |_| Outcome::Delivered);
    }

    /// Delivers all there is, to both sinks.
    pub(super) fn drain(&mut self) {
        self.write();
        self.sync();
        for sink in 0..2 {
            self.settle(sink, |_| Outcome::Again);
            // A take that meets damage may come back empty.
            for _ in 0..10_000 {
                self.take(sink, 50);
                self.settle(sink, |_| Outcome::Delivered);
                if self.books(sink).in_spool == 0 {
                    break;
                }
            }
            let books = self.books(sink);
            assert_eq!((books.in_spool, books.in_flight), (0, 0), "all is read: {books:#?}");
        }
    }

    /// A clean end and another start.
    pub(super) fn restart(self) -> Self {
        let Self { sim, log, mut oracle, config, lane, next, unwritten, unsynced, .. } = self;
        let mut packer = self.packer;
        log.intake.close();
        log.write_all(&mut packer, self.now);
        log.finish(self.now);
        let synced = log.marks().1;
        let left = unsynced.into_iter().chain(unwritten).filter(|(seq, _)| *seq < synced);
        oracle.durable.extend(left.map(|(_, id)| id));
        drop(log);
        Self::resume(sim, lane, config, oracle, next)
    }

    /// A crash and another start on what it left.
    pub(super) fn crash(mut self, mode: Power, seed: u64) -> Self {
        // Telemetry makes room even when no state can be stored: then only who listened knows.
        if self.lane == Lane::Telemetry && self.status().counters.state_errors > 0 {
            for sink in 0..2 {
                for range in self.books(sink).recent_drops {
                    let ids = self.numbers.range(range.first_sequence..=range.last_sequence);
                    self.oracle.told[sink].extend(ids.map(|(_, id)| *id));
                }
            }
        }
        let mut oracle = self.oracle;
        // What is in the ring alone goes with the process.
        let written = self.log.marks().0;
        for (_, id) in self.unsynced.iter().filter(|(seq, _)| *seq >= written) {
            oracle.written.remove(id);
        }
        if mode == Power::All {
            oracle.durable.extend(&oracle.written);
        }
        oracle.written.clear();
        Self::resume(self.sim.crash(mode, seed), self.lane, self.config, oracle, self.next)
    }

    /// Every durable event of a sink is delivered, a dead letter, or counted as dropped.
    pub(super) fn nothing_is_lost_unsaid(&self) {
        for sink in 0..2 {
            let missing = self.missing(sink);
            let dropped = self.books(sink).dropped_events();
            assert!(
                missing.len() as u64 <= dropped,
                "sink {sink}: {missing:?} are nowhere, and {dropped} were told: {:#?}",
                self.books(sink)
            );
        }
    }

    /// Without faults no more is accepted than was appended, and no less than what is durable.
    pub(super) fn accepted_is_exact(&self) {
        for sink in 0..2 {
            let oracle = &self.oracle;
            let durable = oracle.accepted[sink].intersection(&oracle.durable).count() as u64;
            let accepted = self.books(sink).accepted;
            let most = oracle.accepted[sink].len() as u64;
            assert!((durable..=most).contains(&accepted), "sink {sink}: {accepted} of {durable} to {most}");
        }
    }

    /// Durable events that a sink never got.
    pub(super) fn missing(&self, sink: usize) -> BTreeSet<Id> {
        let oracle = &self.oracle;
        let due = oracle.accepted[sink].intersection(&oracle.durable);
        let known = [&oracle.delivered[sink], &oracle.letters[sink], &oracle.told[sink]];
        let got = |id: &&Id| known.iter().any(|known| known.contains(id));
        due.filter(|id| !got(id)).copied().collect()
    }

    pub(super) fn dropped(&self, sink: usize) -> BTreeMap<Reason, u64> {
        self.books(sink).dropped.iter().map(|dropped| (dropped.reason, dropped.events)).collect()
    }
}

impl Model {
    /// A lane on this disk for other sinks.
    pub(super) fn open_for(sim: &Sim, sinks: &[String], now: i64) -> Log {
        let config = config(Durability::Batch);
        let storage: Arc<dyn crate::spool::storage::Storage> = Arc::new(sim.clone());
        let setup = Setup {
            lane: Lane::Telemetry,
            config: &config,
            min_free_bytes: Some(0),
            sinks,
            storage: Some(storage),
            uuid: [7; 16],
            look: false,
            now,
        };
        Log::open(setup).unwrap_or_else(|(what, error)| panic!("{what}: {error}"))
    }

    /// Room that the lane leaves free from now on.
    pub(super) fn min_free(&mut self, bytes: u64) {
        self.log.set_min_free(bytes);
    }
}
