//! What became of events that the library holds or held.
//!
//! The library goes on with a record when a call has returned without it. The next call is then given
//! the same event again and must not hand it over a second time, or each outage would write everything
//! twice.

use hostward_event::EventId;
use rdkafka::types::RDKafkaErrorCode;
use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};

/// Reports of events that are not asked for again (their queue dropped them) are forgotten beyond this
/// many: at worst an event is sent twice.
const MAX_SETTLED: usize = 65_536;

/// Something by an event's id, which is a hash already and chosen by nobody.
pub(super) type ByEvent<V> = HashMap<EventId, V, BuildHasherDefault<IdHasher>>;

/// Takes the number as it is.
#[derive(Debug, Default)]
pub(super) struct IdHasher(u64);

impl Hasher for IdHasher {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let part = chunk.iter().fold(0, |part, byte| part << 8 | u64::from(*byte));
            self.0 = self.0.rotate_left(5) ^ part;
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// The library has it.
    Flying,
    /// It is in the topic.
    Delivered,
    /// It was refused together with others of its batch, for a reason that may be its own.
    Suspect(RDKafkaErrorCode),
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Tickets {
    fates: ByEvent<Fate>,
    /// Ids in the order in which they were settled; some are taken or fly again.
    settled: VecDeque<EventId>,
    flying: usize,
}

impl Tickets {
    /// The library took it over.
    pub(super) fn fly(&mut self, id: EventId) {
        if self.fates.insert(id, Fate::Flying) != Some(Fate::Flying) {
            self.flying += 1;
        }
    }

    /// What is known of an event that is offered. What is settled is asked once: the caller books it.
    pub(super) fn claim(&mut self, id: EventId) -> Option<Fate> {
        let fate = *self.fates.get(&id)?;
        if fate != Fate::Flying {
            self.fates.remove(&id);
        }
        Some(fate)
    }

    /// The library gave it back, and nobody waits for it now: remembered until it is offered again.
    pub(super) fn settle(&mut self, id: EventId, fate: Fate) {
        self.forget(id);
        self.fates.insert(id, fate);
        self.settled.push_back(id);
        while self.settled.len() > MAX_SETTLED {
            let Some(oldest) = self.settled.pop_front() else { break };
            if self.fates.get(&oldest).is_some_and(|fate| *fate != Fate::Flying) {
                self.fates.remove(&oldest);
            }
        }
    }

    /// The library gave it back; the next offer is as the first.
    pub(super) fn forget(&mut self, id: EventId) {
        if self.fates.remove(&id) == Some(Fate::Flying) {
            self.flying -= 1;
        }
    }

    /// The library that had them is gone.
    pub(super) fn forget_flying(&mut self) {
        self.fates.retain(|_, fate| *fate != Fate::Flying);
        self.flying = 0;
    }

    /// How many the library has.
    pub(super) const fn flying(&self) -> usize {
        self.flying
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hostward_event::{EventKind, IdMint};

    fn id(n: u64) -> EventId {
        IdMint::new("m", "b").event(EventKind::Fork, 0, n, 0)
    }

    #[test]
    fn a_report_between_two_calls_is_booked_once() {
        let mut tickets = Tickets::default();
        assert_eq!(tickets.claim(id(1)), None);
        tickets.fly(id(1));
        tickets.fly(id(2));
        assert_eq!((tickets.claim(id(1)), tickets.flying()), (Some(Fate::Flying), 2));
        tickets.settle(id(1), Fate::Delivered);
        assert_eq!((tickets.claim(id(1)), tickets.claim(id(1))), (Some(Fate::Delivered), None));
        tickets.forget(id(2));
        assert_eq!((tickets.claim(id(2)), tickets.flying()), (None, 0));
    }

    #[test]
    fn events_that_nobody_asks_for_again_are_forgotten() {
        let mut tickets = Tickets::default();
        let many = u64::try_from(MAX_SETTLED).unwrap();
        for n in 0..many + 10 {
            tickets.fly(id(n));
            tickets.settle(id(n), Fate::Delivered);
        }
        assert_eq!((tickets.claim(id(9)), tickets.claim(id(10))), (None, Some(Fate::Delivered)));
        assert_eq!((tickets.fates.len(), tickets.flying()), (MAX_SETTLED - 1, 0));
        // One that flies again is not forgotten with its old report.
        tickets.fly(id(11));
        for n in many + 10..many + 30 {
            tickets.settle(id(n), Fate::Delivered);
        }
        assert_eq!(tickets.claim(id(11)), Some(Fate::Flying));
    }
}
