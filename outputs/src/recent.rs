//! Events that wait in the spool for a sink and are still in memory.
//!
//! A sink that keeps up takes an event a moment after it was written. Building it again from its record would cost
//! more than everything else that becomes of it, and once for each sink; so the event itself is kept, up to a bound,
//! until the sink asks for it. What is not here is read from its record: the spool alone says what waits.

use crate::ledger::Lane;
use hostward_event::Event;
use std::collections::VecDeque;
use std::sync::Arc;

/// What the records of the events that one sink keeps take on disk at most. In memory they take less: a record has the
/// process and its ancestors, which events share. Sinks share the events. It is what comes in a tenth of a second of a
/// storm, twice the time that telemetry waits for company.
const MAX_BYTES: usize = 16 << 20;

struct Kept {
    seq: u64,
    event: Arc<Event>,
    bytes: usize,
}

/// See the module.
#[derive(Default)]
pub(crate) struct Recent {
    alerts: VecDeque<Kept>,
    telemetry: VecDeque<Kept>,
    bytes: usize,
}

impl Recent {
    const fn lane(&mut self, lane: Lane) -> &mut VecDeque<Kept> {
        match lane {
            Lane::Alert => &mut self.alerts,
            Lane::Telemetry => &mut self.telemetry,
        }
    }

    /// Keeps an event that the spool has under this number, with a record of so many bytes, if there is room. The oldest
    /// stay: they are asked for first.
    pub(crate) fn keep(&mut self, lane: Lane, seq: u64, event: &Arc<Event>, bytes: usize) {
        if self.bytes + bytes <= MAX_BYTES {
            self.bytes += bytes;
            self.lane(lane).push_back(Kept { seq, event: Arc::clone(event), bytes });
        }
    }

    /// The event of this number, if it is here. Those before it in the lane go: a sink asks in order, but for what it
    /// asks for again.
    pub(crate) fn take(&mut self, lane: Lane, seq: u64) -> Option<Arc<Event>> {
        while let Some(first) = self.lane(lane).pop_front_if(|first| first.seq <= seq) {
            self.bytes -= first.bytes;
            if first.seq == seq {
                return Some(first.event);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hostward_event::canonical;

    fn event(sequence: u8) -> Arc<Event> {
        let mut record = b"\x01\x85\xa2id\xc4\x10".to_vec();
        record.extend_from_slice(&[7; 16]);
        record.extend_from_slice(b"\xa8sequence");
        record.push(sequence);
        record.extend_from_slice(b"\xa7time_ns\x02\xaacreated_ns\x03\xa4body\xa4fork");
        Arc::new(canonical::decode(&record).unwrap())
    }

    #[test]
    fn each_is_given_once_and_what_was_passed_over_goes() {
        let (mut recent, events) = (Recent::default(), [event(1), event(2), event(3), event(4)]);
        for (seq, event) in (1..).zip(&events) {
            recent.keep(Lane::Telemetry, seq, event, 4_000);
        }
        recent.keep(Lane::Alert, 1, &events[3], 4_000);
        assert!(recent.take(Lane::Telemetry, 2).is_some_and(|event| Arc::ptr_eq(&event, &events[1])));
        assert!(recent.take(Lane::Telemetry, 1).is_none() && recent.take(Lane::Telemetry, 2).is_none());
        assert!(recent.take(Lane::Alert, 1).is_some_and(|event| Arc::ptr_eq(&event, &events[3])));
        assert!(recent.take(Lane::Telemetry, 9).is_none());
        assert_eq!(recent.bytes, 0);
        assert!(events.iter().all(|event| Arc::strong_count(event) == 1));
    }

    #[test]
    fn without_room_the_oldest_stay() {
        let (mut recent, one) = (Recent::default(), event(1));
        let room = 1_000;
        for seq in 1..=room + 10 {
            recent.keep(Lane::Telemetry, seq, &one, MAX_BYTES / 1_000);
        }
        assert!(recent.bytes <= MAX_BYTES);
        assert!((1..=room).all(|seq| recent.take(Lane::Telemetry, seq).is_some()));
        assert!(recent.take(Lane::Telemetry, room + 1).is_none());
        recent.keep(Lane::Telemetry, room + 11, &one, MAX_BYTES / 1_000);
        assert!(recent.take(Lane::Telemetry, room + 11).is_some(), "there is room again");
    }
}
