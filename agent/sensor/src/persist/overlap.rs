//! Events that two generations of programs both told.
//!
//! When other programs take the place of pinned ones, the new are attached before the old are detached, so that none
//! is lost. What happens in between is in both rings. The old ring is read first, so it is the new one's record that is
//! left out. Which belong together: a process is made once and ends once, a cgroup has an id of its own; and of two
//! starts of programs in one process the time decides, as the programs run one right after the other. So it does of all
//! else that says the same of the same thread, but what only one of both programs can know.

use hostward_event::EventKind;
use hostward_event::fact::Input;
use hostward_event::raw::{Endpoint, RawBody, RawConnect, RawEvent};
use std::collections::HashMap;
use std::time::Duration;

/// How long both are attached, at least. Two programs tell one event within less.
pub(super) const TOGETHER: Duration = Duration::from_millis(50);
const TOGETHER_NS: u64 = TOGETHER.as_nanos() as u64;

/// Kind, and what tells two of a kind apart.
type Key = (EventKind, u64, u64);
/// When, and what.
type Told = (u64, RawBody);

/// What the old programs told since the new ones were there.
#[derive(Debug)]
pub(crate) struct Overlap {
    told: HashMap<Key, Vec<Told>>,
    /// CLOCK_BOOTTIME in ns when the old ones were gone for certain.
    until_ns: u64,
}

impl Overlap {
    /// `told` by the old programs; the new ones are there since `since_ns`, the old ones were gone at `until_ns`.
    pub(super) fn new(told: &[Input], since_ns: u64, until_ns: u64) -> Self {
        let mut all: HashMap<Key, Vec<Told>> = HashMap::new();
        for input in told {
            if let Input::Raw(event) = input
                && event.source.boot_ns.saturating_add(TOGETHER_NS) >= since_ns
            {
                all.entry(key(event)).or_default().push((event.source.boot_ns, event.body.clone()));
            }
        }
        Self { told: all, until_ns }
    }

    /// The old programs told this event, which the new ones tell.
    pub(crate) fn has(&mut self, event: &RawEvent) -> bool {
        let at_ns = event.source.boot_ns;
        let Some(told) = self.told.get_mut(&key(event)) else { return false };
        let is_it =
            |(told_ns, body): &Told| at_ns.abs_diff(*told_ns) < TOGETHER_NS && is_same(body, &event.body);
        // Not `swap_remove`: of several that say the same the first is the one.
        told.iter().position(is_it).map(|place| told.remove(place)).is_some()
    }

    /// Nothing from this time on can be in both.
    pub(crate) const fn is_over(&self, boot_ns: u64) -> bool {
        boot_ns > self.until_ns.saturating_add(TOGETHER_NS)
    }
}

fn key(event: &RawEvent) -> Key {
    let process = (u64::from(event.task.pid), event.task.start_boot_ns);
    let (one, other) = match &event.body {
        RawBody::Exec(_) | RawBody::Fork { .. } | RawBody::Exit { .. } => process,
        RawBody::Cgroup(change) => (change.id, u64::from(change.removed)),
        RawBody::ConnectionEnd(end) => ends(&end.socket),
        RawBody::Dns(dns) => ends(&dns.socket),
        _ => (u64::from(event.task.tid), event.task.start_boot_ns),
    };
    (event.kind(), one, other)
}

fn ends(socket: &RawConnect) -> (u64, u64) {
    let port = |end: &Option<Endpoint>| match end {
        Some(Endpoint::Ip(address)) => u64::from(address.port()),
        _ => 0,
    };
    (port(&socket.local), port(&socket.remote))
}

/// Of a connection that began before, and of who asked, the new programs know less.
fn is_same(one: &RawBody, other: &RawBody) -> bool {
    let between =
        |one: &RawConnect, other: &RawConnect| one.local == other.local && one.remote == other.remote;
    match (one, other) {
        (RawBody::ConnectionEnd(one), RawBody::ConnectionEnd(other)) => between(&one.socket, &other.socket),
        (RawBody::Dns(one), RawBody::Dns(other)) => {
            between(&one.socket, &other.socket) && one.message == other.message
        }
        // The key says it all.
        (RawBody::Exec(_) | RawBody::Fork { .. } | RawBody::Exit { .. } | RawBody::Cgroup(_), _) => true,
        (one, other) => one == other,
    }
}
