//! How far one sink is in one lane, and its books.
//!
//! All records of the sink below the position are settled, except those in `open`: in flight, or
//! given back and waiting for another try. What is settled above the lowest open one is kept as a
//! count behind each open record, which is what a state stores as intervals.

use super::block::Entry;
use super::segment::Amount;
use super::state::{Interval, SinkState, Untold};
use crate::ledger::Ledger;
use crate::{DropRange, Lane, Reason};
use std::collections::{BTreeMap, VecDeque};

#[derive(Clone, Copy, Debug)]
struct Open {
    flying: bool,
    bytes: u32,
    time: i64,
    /// Records of the sink that are settled between this one and the next open one.
    settled_after: u32,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Cursor {
    pub(crate) name: String,
    pub(crate) slot: u8,
    pub(crate) since: u64,
    lane: Lane,
    /// Next number to read.
    position: u64,
    open: BTreeMap<u64, Open>,
    /// Settled before a restart, ahead of the position.
    ahead: VecDeque<Interval>,
    /// Not settled and not in flight: unread, or given back.
    waiting: Amount,
    flying: Amount,
    /// Part of `waiting`.
    given_back: Amount,
    pub(crate) accepted: u64,
    pub(crate) dlq: u64,
    pub(crate) ledger: Ledger,
    /// The block that was read last, and what of it.
    last_read: (u64, Amount),
    /// The sink takes no more: what is placed for it is dropped at once.
    pub(crate) ended: bool,
}

/// What becomes of a record that was in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Delivered,
    Again,
    DeadLetter,
    /// It was to be tried again, but the lane no longer has it.
    Dropped(Reason),
}

impl Cursor {
    pub(crate) fn new(name: String, slot: u8, lane: Lane, since: u64) -> Self {
        Self {
            name,
            slot,
            since,
            lane,
            position: since,
            open: BTreeMap::new(),
            ahead: VecDeque::new(),
            waiting: Amount::default(),
            flying: Amount::default(),
            given_back: Amount::default(),
            accepted: 0,
            dlq: 0,
            ledger: Ledger::default(),
            last_read: (0, Amount::default()),
            ended: false,
        }
    }

    /// As a state describes it. What waits has yet to be counted on the disk.
    pub(crate) fn restore(state: &SinkState, lane: Lane) -> Self {
        let mut cursor = Self::new(state.name.clone(), state.slot, lane, state.since);
        cursor.position = state.floor;
        cursor.ahead = state.settled.iter().copied().collect();
        cursor.accepted = state.accepted;
        cursor.dlq = state.dlq;
        cursor.ledger.accepted = 0;
        cursor.ledger.delivered = state.delivered;
        for (reason, amount) in &state.dropped {
            cursor.ledger.add_dropped(lane, *reason, amount.events, amount.bytes);
        }
        cursor
    }

    /// What a state stores of it. `end` is the number behind the lane's last record.
    pub(crate) fn state(&self, end: u64) -> SinkState {
        let dropped = self.ledger.dropped().into_iter();
        let dropped = dropped.map(|d| (d.reason, Amount { events: d.events, bytes: d.bytes })).collect();
        SinkState {
            slot: self.slot,
            name: self.name.clone(),
            since: self.since,
            floor: self.floor(end),
            accepted: self.accepted,
            delivered: self.ledger.delivered,
            dlq: self.dlq,
            dropped,
            settled: self.settled(),
        }
    }

    pub(crate) fn untold(&self) -> impl Iterator<Item = Untold> {
        self.ledger.untold().map(|range| Untold {
            slot: self.slot,
            reason: range.reason,
            first: range.first_sequence,
            last: range.last_sequence,
            amount: Amount { events: range.events, bytes: range.bytes },
            unix_ms: range.last_unix_ms,
        })
    }

    pub(crate) const fn position(&self) -> u64 {
        self.position
    }

    pub(crate) const fn waiting(&self) -> Amount {
        self.waiting
    }

    pub(crate) const fn flying(&self) -> Amount {
        self.flying
    }

    /// Waiting, but never read or read before a restart.
    pub(crate) const fn unread(&self) -> Amount {
        Amount {
            events: self.waiting.events.saturating_sub(self.given_back.events),
            bytes: self.waiting.bytes.saturating_sub(self.given_back.bytes),
        }
    }

    /// All of the sink's records below are settled.
    pub(crate) fn floor(&self, end: u64) -> u64 {
        match self.open.keys().next() {
            Some(lowest) => *lowest,
            None if self.unread().events == 0 => end,
            None => self.position,
        }
    }

    fn settled(&self) -> Vec<Interval> {
        let mut intervals = Vec::new();
        let mut next = self.open.keys().skip(1).copied();
        for (seq, open) in &self.open {
            let last = next.next().unwrap_or(self.position).saturating_sub(1);
            if open.settled_after > 0 {
                intervals.push(Interval { first: seq + 1, last, events: open.settled_after });
            }
        }
        intervals.extend(self.ahead.iter().filter(|interval| interval.events > 0));
        intervals
    }

    /// Stretches that were settled before a restart.
    pub(crate) fn ahead(&self) -> Vec<Interval> {
        self.ahead.iter().copied().collect()
    }

    /// The intervals' counts as they are on the disk, in their order.
    pub(crate) fn recount_ahead(&mut self, found: &[u64]) {
        for (interval, found) in self.ahead.iter_mut().zip(found) {
            interval.events = u32::try_from(*found).unwrap_or(u32::MAX);
        }
        self.ahead.retain(|interval| interval.events > 0);
    }

    /// Records for this sink are in the lane now.
    pub(crate) fn place(&mut self, amount: impl Into<Amount>) {
        let amount = amount.into();
        self.accepted += amount.events;
        self.waiting.add(amount);
    }

    /// Found on the disk at a start, already part of `accepted`.
    pub(crate) fn found(&mut self, amount: Amount) {
        self.waiting.add(amount);
    }

    /// Numbers of records that were given back.
    pub(crate) fn again(&self) -> impl Iterator<Item = (u64, u32)> + '_ {
        self.open.iter().filter(|(_, open)| !open.flying).map(|(seq, open)| (*seq, open.bytes))
    }

    /// Reads past a record of this sink that lies at or behind the position. False: it was settled
    /// before a restart.
    pub(crate) fn read(&mut self, entry: &Entry) -> bool {
        self.position = entry.seq + 1;
        let seq = entry.seq;
        let ahead = self.ahead.iter_mut().find(|interval| (interval.first..=interval.last).contains(&seq));
        if let Some(interval) = ahead {
            interval.events = interval.events.saturating_sub(1);
            if let Some(mut open) = self.open.last_entry() {
                open.get_mut().settled_after += 1;
            }
            self.trim_ahead();
            return false;
        }
        let bytes = u32::try_from(entry.end - entry.start).unwrap_or(u32::MAX);
        let amount = Amount { events: 1, bytes: bytes.into() };
        if self.unread().events == 0 {
            // The books missed it, after damage: it is here all the same.
            self.place(amount);
        }
        self.waiting.take(amount);
        self.flying.add(amount);
        self.open.insert(seq, Open { flying: true, bytes, time: entry.time, settled_after: 0 });
        true
    }

    /// Remembers that a record of this block was read, so that a block which goes bad between two
    /// readings costs what it has and no more.
    pub(crate) fn note_read(&mut self, block: u64, bytes: u64) {
        if self.last_read.0 != block {
            self.last_read = (block, Amount::default());
        }
        self.last_read.1.add(Amount { events: 1, bytes });
    }

    /// What of the block was read so far, if it is the last one that was read.
    pub(crate) fn read_of(&self, block: u64) -> Amount {
        if self.last_read.0 == block { self.last_read.1 } else { Amount::default() }
    }

    /// Records within a stretch that may have been settled before a restart, at most.
    pub(crate) fn ahead_within(&self, first: u64, end: u64) -> u64 {
        let within = self.ahead.iter().filter(|interval| interval.first < end && interval.last >= first);
        within.map(|interval| u64::from(interval.events)).sum()
    }

    /// Nothing of this sink lies between the position and `seq`.
    pub(crate) fn advance(&mut self, seq: u64) {
        self.position = self.position.max(seq);
        self.trim_ahead();
    }

    fn trim_ahead(&mut self) {
        while let Some(passed) = self.ahead.pop_front_if(|interval| interval.last < self.position) {
            self.pass(passed.events.into());
        }
        if let Some(front) = self.ahead.front_mut()
            && front.first < self.position
        {
            front.first = self.position;
            // How many lie before the position is not known; a start counts them on the disk.
            self.pass(1);
        }
    }

    /// Takes a record that was given back. False: it is no longer there.
    pub(crate) fn retake(&mut self, seq: u64) -> bool {
        let Some(open) = self.open.get_mut(&seq).filter(|open| !open.flying) else { return false };
        open.flying = true;
        let amount = Amount { events: 1, bytes: open.bytes.into() };
        self.waiting.take(amount);
        self.given_back.take(amount);
        self.flying.add(amount);
        true
    }

    /// Books what became of a record in flight.
    pub(crate) fn settle(&mut self, seq: u64, outcome: Outcome, now_ms: i64) {
        let Some(open) = self.open.get_mut(&seq).filter(|open| open.flying) else { return };
        let amount = Amount { events: 1, bytes: open.bytes.into() };
        self.flying.take(amount);
        match outcome {
            Outcome::Again => {
                open.flying = false;
                self.waiting.add(amount);
                self.given_back.add(amount);
                return;
            }
            Outcome::Delivered => self.ledger.deliver(self.lane, seq),
            Outcome::DeadLetter => self.dlq += 1,
            Outcome::Dropped(reason) => {
                self.ledger.drop_event(self.lane, reason, seq, amount.bytes, now_ms);
            }
        }
        self.close(seq);
    }

    fn close(&mut self, seq: u64) {
        let Some(open) = self.open.remove(&seq) else { return };
        if let Some((_, before)) = self.open.range_mut(..seq).next_back() {
            before.settled_after += open.settled_after + 1;
        }
    }

    /// Gives up what waits below `upto`, of which `unread` was never read. Records in flight stay.
    pub(crate) fn drop_below(&mut self, upto: u64, unread: Amount, reason: Reason, now_ms: i64) {
        let again: Vec<(u64, u32)> = self.again().take_while(|(seq, _)| *seq < upto).collect();
        let first = again.first().map_or(self.position, |(seq, _)| (*seq).min(self.position));
        let mut all = Amount::default();
        for (seq, bytes) in &again {
            let amount = Amount { events: 1, bytes: u64::from(*bytes) };
            self.waiting.take(amount);
            self.given_back.take(amount);
            all.add(amount);
            self.close(*seq);
        }
        let unread = self.at_most_unread(unread);
        self.waiting.take(unread);
        all.add(unread);
        self.ledger.drop_run(self.run(reason, first, upto.saturating_sub(1).max(first), all, now_ms));
        self.pass(unread.events);
        self.advance(upto);
    }

    /// Gives up the unread records between the position and `end`.
    pub(crate) fn pass_over(&mut self, end: u64, unread: Amount, reason: Reason, now_ms: i64) {
        let unread = self.at_most_unread(unread);
        self.drop_ahead(self.position, end, unread, reason, now_ms);
        self.pass(unread.events);
        self.advance(end);
    }

    /// Records that are settled without being read: behind an open one a state has to know of them, so
    /// that a restart does not take them for unread.
    fn pass(&mut self, events: u64) {
        if let Some(mut last) = self.open.last_entry() {
            let events = u32::try_from(events).unwrap_or(u32::MAX);
            last.get_mut().settled_after = last.get().settled_after.saturating_add(events);
        }
    }

    /// Gives up records that were given back and lie in a stretch.
    pub(crate) fn drop_given_back(&mut self, first: u64, end: u64, reason: Reason, now_ms: i64) {
        let again = self.open.range(first..end).filter(|(_, open)| !open.flying);
        let again: Vec<u64> = again.map(|(seq, _)| *seq).collect();
        for seq in again {
            if self.retake(seq) {
                self.settle(seq, Outcome::Dropped(reason), now_ms);
            }
        }
    }

    /// Gives up unread records in a stretch at or ahead of the position.
    pub(crate) fn drop_ahead(&mut self, first: u64, end: u64, unread: Amount, reason: Reason, now_ms: i64) {
        let unread = self.at_most_unread(unread);
        self.waiting.take(unread);
        self.ledger.drop_run(self.run(reason, first, end.saturating_sub(1).max(first), unread, now_ms));
    }

    /// Never more than what waits, so that the law holds whatever the disk says.
    fn at_most_unread(&self, amount: Amount) -> Amount {
        let left = self.unread();
        Amount { events: amount.events.min(left.events), bytes: amount.bytes.min(left.bytes) }
    }

    /// Counts records that were accepted and dropped before they came into the lane.
    pub(crate) fn refuse(&mut self, reason: Reason, first: u64, last: u64, amount: Amount, now_ms: i64) {
        self.accepted += amount.events;
        self.ledger.drop_run(self.run(reason, first, last, amount, now_ms));
    }

    /// Counts accepted records that a start did not find.
    pub(crate) fn lost(&mut self, first: u64, last: u64, events: u64, now_ms: i64) {
        let amount = Amount { events, bytes: 0 };
        self.ledger.drop_run(self.run(Reason::Damaged, first, last, amount, now_ms));
    }

    /// Nothing unread is left in the lane, whatever the books say: what they miss was damaged.
    pub(crate) fn reconcile(&mut self, end: u64, now_ms: i64) {
        let unread = self.unread();
        self.pass_over(end, unread, Reason::Damaged, now_ms);
        // No record, no bytes.
        self.waiting.take(Amount { events: 0, bytes: self.unread().bytes });
    }

    const fn run(&self, reason: Reason, first: u64, last: u64, amount: Amount, now_ms: i64) -> DropRange {
        DropRange {
            lane: self.lane,
            reason,
            first_sequence: first,
            last_sequence: last,
            events: amount.events,
            bytes: amount.bytes,
            last_unix_ms: now_ms,
        }
    }

    /// Time of the oldest open record, ns since the epoch.
    pub(crate) fn oldest_open(&self) -> Option<i64> {
        self.open.values().map(|open| open.time).min()
    }

    /// What the state says that must still be somewhere.
    pub(crate) fn expected(&self) -> u64 {
        let gone = self.ledger.delivered + self.ledger.dropped_events() + self.dlq;
        self.accepted.saturating_sub(gone)
    }
}
