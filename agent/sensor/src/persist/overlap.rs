//! Events that two generations of programs both told.
//!
//! When other programs take the place of pinned ones, the new are attached before the old are detached, so that none
//! is lost. What happens in between is in both rings. The old ring is read first, so it is the new one's record that is
//! left out. Which belong together: a process is made once and ends once, a cgroup has an id of its own; and of two
//! starts of programs in one process the time decides, as the programs run one right after the other.

use hostward_event::EventKind;
use hostward_event::fact::Input;
use hostward_event::raw::{RawBody, RawEvent};
use std::collections::HashMap;
use std::time::Duration;

/// How long both are attached, at least. Two programs tell one event within less.
pub(super) const TOGETHER: Duration = Duration::from_millis(50);
const TOGETHER_NS: u64 = TOGETHER.as_nanos() as u64;

/// Kind, and what tells two of a kind apart.
type Key = (EventKind, u64, u64);

/// What the old programs told since the new ones were there.
#[derive(Debug)]
pub(crate) struct Overlap {
    told: HashMap<Key, Vec<u64>>,
    /// CLOCK_BOOTTIME in ns when the old ones were gone for certain.
    until_ns: u64,
}

impl Overlap {
    /// `told` by the old programs; the new ones are there since `since_ns`, the old ones were gone at `until_ns`.
    pub(super) fn new(told: &[Input], since_ns: u64, until_ns: u64) -> Self {
        let mut all: HashMap<Key, Vec<u64>> = HashMap::new();
        for input in told {
            if let Input::Raw(event) = input
                && event.source.boot_ns.saturating_add(TOGETHER_NS) >= since_ns
                && let Some(key) = key(event)
            {
                all.entry(key).or_default().push(event.source.boot_ns);
            }
        }
        Self { told: all, until_ns }
    }

    /// The old programs told this event, which the new ones tell.
    pub(crate) fn has(&mut self, event: &RawEvent) -> bool {
        let at_ns = event.source.boot_ns;
        let Some(times) = key(event).and_then(|key| self.told.get_mut(&key)) else { return false };
        let place = times.iter().position(|told| at_ns.abs_diff(*told) < TOGETHER_NS);
        place.map(|place| times.swap_remove(place)).is_some()
    }

    /// Nothing from this time on can be in both.
    pub(crate) const fn is_over(&self, boot_ns: u64) -> bool {
        boot_ns > self.until_ns.saturating_add(TOGETHER_NS)
    }
}

fn key(event: &RawEvent) -> Option<Key> {
    let process = (u64::from(event.task.pid), event.task.start_boot_ns);
    match &event.body {
        RawBody::Exec(_) => Some((EventKind::Exec, process.0, process.1)),
        RawBody::Fork { .. } => Some((EventKind::Fork, process.0, process.1)),
        RawBody::Exit { .. } => Some((EventKind::Exit, process.0, process.1)),
        RawBody::Cgroup(change) => Some((EventKind::Cgroup, change.id, u64::from(change.removed))),
        _ => None,
    }
}
