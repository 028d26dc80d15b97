//! Events that two generations of programs both told.
//!
//! When other programs take the place of pinned ones, the new are attached before the old are detached, so that none
//! is lost. What happens in between is in both rings. The old ring is read first, so it is the new one's record that is
//! left out. Which belong together: a process is made once and ends once, a cgroup has an id of its own; and of two
//! starts of programs in one process the order decides, as both programs run at one event before the next comes. So it
//! does of all else that says the same of the same thread, but what only one of both programs can know.
//!
//! # The order
//! The time alone would not do: a thread that does the same again and again does it faster than two programs are late on
//! a busy machine, and its last event, which only the new program saw, would pass for the one before. But the kernel runs
//! the programs of one place in one order. At a tracepoint and in a cgroup it puts a new one behind the others
//! (`func_add` in kernel/tracepoint.c, `bpf_prog_array_copy`, `__cgroup_bpf_attach`), so the old one's record is the last
//! before the new one's; at a function in front of them (`__bpf_trampoline_link_prog`), so it is the first behind it.
//! What of the old ones' lies before the record that was found is of events that the new ones were not there for.

use hostward_event::EventKind;
use hostward_event::fact::Input;
use hostward_event::raw::{Endpoint, RawBody, RawConnect, RawEvent, Rung};
use std::collections::HashMap;
use std::time::Duration;

/// How long both are attached, at least. Two programs tell one event within less, also where those of a function wait
/// for their CPU in between.
pub(super) const TOGETHER: Duration = Duration::from_millis(250);
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
        let before = told.iter().rposition(|one| one.0 <= at_ns && is_it(one));
        let behind = told.iter().position(|one| one.0 > at_ns && is_it(one));
        let place = if event.source.rung == Rung::Fentry { behind.or(before) } else { before.or(behind) };
        let Some(place) = place else { return false };
        let mut at = 0..;
        told.retain(|(_, body)| at.next() > Some(place) || !is_same(body, &event.body));
        true
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

#[cfg(test)]
mod tests {
    use super::*;
    use hostward_event::raw::{RawTask, Source};

    const MS: u64 = 1_000_000;

    /// The connect of the one thread there is.
    fn connect(rung: Rung, at_ns: u64, fd: i32) -> RawEvent {
        let source = Source { rung, cpu: 0, stream: 0, seq: 0, boot_ns: at_ns, received_boot_ns: 0 };
        let (family, sock_type, protocol) = (2, 1, 6);
        let (remote, local, result, server) = (None, None, 0, false);
        let body = RawConnect { fd, result, family, sock_type, protocol, remote, local, server };
        let body = RawBody::Connect(Box::new(body));
        RawEvent { source, task: RawTask::default(), body }
    }

    /// A thread does the same for ever, each millisecond. The new programs come at 100 ms, the old ones go at 200.
    fn told_once(rung: Rung, old_after_ns: u64, new_after_ns: u64) {
        let old: Vec<_> = (0..200).map(|ms| connect(rung, ms * MS + old_after_ns, 1)).collect();
        let old: Vec<_> = old.into_iter().map(Input::Raw).collect();
        let mut overlap = Overlap::new(&old, 100 * MS, 200 * MS);
        for ms in 100..400 {
            let new = connect(rung, ms * MS + new_after_ns, 1);
            assert_eq!(overlap.has(&new), ms < 200, "{ms} ms, {rung:?}");
        }
    }

    #[test]
    fn the_last_of_many_that_say_the_same_is_the_new_programs_alone() {
        // However late the second is: almost as late as the next event.
        for second_ns in [1, MS / 2, MS - 1] {
            told_once(Rung::SyscallTracepoint, 0, second_ns);
            told_once(Rung::BtfTracepoint, 0, second_ns);
            told_once(Rung::Cgroup, 0, second_ns);
            told_once(Rung::Fentry, second_ns, 0);
        }
    }

    #[test]
    fn what_says_something_else_is_another_event() {
        let rung = Rung::SyscallTracepoint;
        let old = [(10, 1), (11, 2), (12, 1)].map(|(ms, fd)| Input::Raw(connect(rung, ms * MS, fd)));
        let mut overlap = Overlap::new(&old, 0, 20 * MS);
        assert!(!overlap.has(&connect(rung, 12 * MS + 1, 3)));
        assert!(overlap.has(&connect(rung, 12 * MS + 1, 1)), "the one at 12 ms");
        assert!(overlap.has(&connect(rung, 12 * MS + 2, 2)), "the one at 11 ms");
        assert!(!overlap.has(&connect(rung, 13 * MS, 1)), "the one at 10 ms was before the new programs");
        assert!(!overlap.is_over(20 * MS + TOGETHER_NS) && overlap.is_over(21 * MS + TOGETHER_NS));
    }
}
