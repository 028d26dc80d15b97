//! Counting what became of every event that a sink accepted.

use serde::Serialize;
use std::collections::{BTreeMap, VecDeque};

/// Ranges kept for status and for the loss events; the totals never forget.
const MAX_RANGES: usize = 64;

/// Alerts and everything else are queued apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Lane {
    /// Events with an alert, and those in which the agent speaks of itself or of a loss.
    Alert,
    /// Everything else.
    Telemetry,
}

/// Why an event was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The queue's bound was reached, because the sink is slow or failing.
    QueueFull,
    /// One event larger than the whole queue, or than a record of the spool may be.
    Oversize,
    /// The destination refused this event for good.
    Rejected,
    /// The agent stopped before the sink took it.
    Shutdown,
    /// The destination went away for good.
    SinkEnded,
    /// The sink's thread died.
    SinkDied,
    /// The spool's lane reached its size.
    LaneFull,
    /// It waited in the spool for too long.
    TooOld,
    /// The filesystem has less room than the spool leaves free.
    LowSpace,
    /// This sink's share of the spool reached its size.
    SinkLag,
    /// The disk took no more and the memory ring was full.
    DiskFull,
    /// Events came faster than the spool could write.
    Overrun,
    /// It was in the spool and cannot be read back: power loss, damage.
    Damaged,
    /// The sink is no longer configured.
    SinkRemoved,
    /// An operator dropped it.
    Operator,
}

impl Reason {
    /// The words for an operator.
    pub const fn describe(self) -> &'static str {
        match self {
            Self::QueueFull => "the queue was full",
            Self::Oversize => "larger than the queue",
            Self::Rejected => "refused by the destination",
            Self::Shutdown => "the agent stopped",
            Self::SinkEnded => "the destination went away",
            Self::SinkDied => "the sink's thread died",
            Self::LaneFull => "the spool was full",
            Self::TooOld => "it waited longer than the spool keeps events",
            Self::LowSpace => "the filesystem ran low on space",
            Self::SinkLag => "the sink's share of the spool was full",
            Self::DiskFull => "the disk was full",
            Self::Overrun => "events came faster than they could be written",
            Self::Damaged => "the spool could not be read back after a power loss or damage",
            Self::SinkRemoved => "the sink was removed from the configuration",
            Self::Operator => "dropped by an operator",
        }
    }
}

/// Total of one lane and reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Dropped {
    /// Lane.
    pub lane: Lane,
    /// Why.
    pub reason: Reason,
    /// How many events.
    pub events: u64,
    /// Their estimated size in memory.
    pub bytes: u64,
}

/// One run of drops, from a first to a last number; `events` of them were this sink's and in this
/// lane. The number is `event.sequence` for a queue in memory, and the lane's `seq` for the spool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct DropRange {
    /// Lane.
    pub lane: Lane,
    /// Why.
    pub reason: Reason,
    /// Lowest number of the run.
    pub first_sequence: u64,
    /// Highest number of the run.
    pub last_sequence: u64,
    /// How many events.
    pub events: u64,
    /// Their estimated size in memory.
    pub bytes: u64,
    /// When the last of them was dropped, ms since the epoch.
    pub last_unix_ms: i64,
}

/// The counters of one sink.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) accepted: u64,
    pub(crate) delivered: u64,
    pub(crate) filtered: u64,
    dropped: BTreeMap<(Lane, Reason), (u64, u64)>,
    /// Oldest first. A range grows until an event of its lane is delivered that is newer.
    ranges: VecDeque<DropRange>,
    /// The same, since the last [`Ledger::take_ranges`].
    untold: VecDeque<DropRange>,
    /// Newest delivery per lane: alert, telemetry.
    newest_delivered: (u64, u64),
}

impl Ledger {
    pub(crate) fn deliver(&mut self, lane: Lane, sequence: u64) {
        self.delivered += 1;
        let newest = match lane {
            Lane::Alert => &mut self.newest_delivered.0,
            Lane::Telemetry => &mut self.newest_delivered.1,
        };
        *newest = sequence.max(*newest);
    }

    pub(crate) fn drop_event(
        &mut self,
        lane: Lane,
        reason: Reason,
        sequence: u64,
        bytes: u64,
        now_unix_ms: i64,
    ) {
        self.drop_run(DropRange {
            lane,
            reason,
            first_sequence: sequence,
            last_sequence: sequence,
            events: 1,
            bytes,
            last_unix_ms: now_unix_ms,
        });
    }

    /// Counts a whole run of drops.
    pub(crate) fn drop_run(&mut self, run: DropRange) {
        if run.events == 0 {
            return;
        }
        self.add_dropped(run.lane, run.reason, run.events, run.bytes);
        let newest = match run.lane {
            Lane::Alert => self.newest_delivered.0,
            Lane::Telemetry => self.newest_delivered.1,
        };
        extend(&mut self.ranges, run, newest);
        extend(&mut self.untold, run, newest);
    }

    /// Adds to a total alone: what an earlier run of the agent counted.
    pub(crate) fn add_dropped(&mut self, lane: Lane, reason: Reason, events: u64, bytes: u64) {
        let total = self.dropped.entry((lane, reason)).or_default();
        total.0 += events;
        total.1 = total.1.saturating_add(bytes);
    }

    /// Has a range told that an earlier run of the agent could not tell.
    pub(crate) fn restore_untold(&mut self, run: DropRange) {
        self.ranges.push_back(run);
        self.untold.push_back(run);
    }

    pub(crate) fn untold(&self) -> impl Iterator<Item = &DropRange> {
        self.untold.iter()
    }

    pub(crate) fn dropped(&self) -> Vec<Dropped> {
        let total = |(&(lane, reason), &(events, bytes))| Dropped { lane, reason, events, bytes };
        self.dropped.iter().map(total).collect()
    }

    pub(crate) fn dropped_events(&self) -> u64 {
        self.dropped.values().map(|(events, _)| events).sum()
    }

    pub(crate) fn ranges(&self) -> Vec<DropRange> {
        self.ranges.iter().copied().collect()
    }

    pub(crate) fn last_drop(&self) -> Option<&DropRange> {
        self.ranges.iter().max_by_key(|range| range.last_unix_ms)
    }

    /// What was dropped since the last call.
    pub(crate) fn take_ranges(&mut self) -> Vec<DropRange> {
        std::mem::take(&mut self.untold).into()
    }
}

/// Adds a drop to the run it belongs to, else starts one. When there are too many runs the two
/// oldest of a lane and reason become one, so that the counts stay exact and only the bounds widen.
fn extend(ranges: &mut VecDeque<DropRange>, one: DropRange, newest_delivered: u64) {
    let same = |range: &&mut DropRange| range.lane == one.lane && range.reason == one.reason;
    if let Some(last) = ranges.iter_mut().rev().find(same) {
        // Nothing newer than the run has been delivered: the run goes on.
        if newest_delivered <= last.last_sequence {
            merge(last, &one);
            return;
        }
    }
    if ranges.len() >= MAX_RANGES {
        // More runs than kinds of run: some pair exists.
        let pair = ranges.iter().enumerate().find_map(|(at, old)| {
            let alike = |later: &&DropRange| later.lane == old.lane && later.reason == old.reason;
            ranges.iter().skip(at + 1).position(|later| alike(&later)).map(|gap| (at, at + gap))
        });
        if let Some((at, mate)) = pair
            && let Some(old) = ranges.remove(at)
            && let Some(mate) = ranges.get_mut(mate)
        {
            merge(mate, &old);
        }
    }
    ranges.push_back(one);
}

fn merge(into: &mut DropRange, other: &DropRange) {
    into.first_sequence = into.first_sequence.min(other.first_sequence);
    into.last_sequence = into.last_sequence.max(other.last_sequence);
    into.events += other.events;
    into.bytes = into.bytes.saturating_add(other.bytes);
    into.last_unix_ms = into.last_unix_ms.max(other.last_unix_ms);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_of_drops_is_one_range_and_a_delivery_between_makes_two() {
        let mut ledger = Ledger::default();
        for sequence in 1..=5 {
            ledger.drop_event(Lane::Telemetry, Reason::QueueFull, sequence, 10, 0);
        }
        ledger.deliver(Lane::Telemetry, 6);
        ledger.drop_event(Lane::Telemetry, Reason::QueueFull, 7, 10, 0);
        let told: Vec<_> =
            ledger.take_ranges().iter().map(|r| (r.first_sequence, r.last_sequence, r.events)).collect();
        assert_eq!(told, [(1, 5, 5), (7, 7, 1)]);
        assert!(ledger.take_ranges().is_empty(), "a loss is told once");
    }

    #[test]
    fn ten_thousand_runs_stay_few_and_exact() {
        let mut ledger = Ledger::default();
        for sequence in 0..10_000 {
            if sequence % 2 == 0 {
                ledger.drop_event(Lane::Telemetry, Reason::QueueFull, sequence, 1, 0);
            } else {
                ledger.deliver(Lane::Telemetry, sequence);
            }
        }
        assert!(ledger.ranges().len() <= MAX_RANGES);
        assert_eq!(ledger.ranges().iter().map(|range| range.events).sum::<u64>(), 5_000);
        assert_eq!(ledger.dropped_events(), 5_000);
    }
}
