//! The BPF objects, built by `build.rs`: their bytes, their rings, and the maps that outlive the agent with their programs.

use crate::rungs::{self, Object};
use crate::{lean, rungs::Object::*};
use aya::include_bytes_aligned;
use hostward_event::raw::Rung;
use hostward_event::{EventKind, call};

/// exec, fork, exit.
static BASE: &[u8] = include_bytes_aligned!(concat!(env!("OUT_DIR"), "/base.o"));
/// The open family, connect.
static SYS: &[u8] = include_bytes_aligned!(concat!(env!("OUT_DIR"), "/sys.o"));
/// Ends of connections, first UDP sends, DNS.
static NET: &[u8] = include_bytes_aligned!(concat!(env!("OUT_DIR"), "/net.o"));
/// All of it without a read of kernel memory, as far as that goes.
static LEAN: &[u8] = include_bytes_aligned!(concat!(env!("OUT_DIR"), "/lean.o"));
/// Processes that live already.
pub(crate) static ITER: &[u8] = include_bytes_aligned!(concat!(env!("OUT_DIR"), "/iter.o"));

/// Those whose programs may outlive the agent.
pub(crate) const LASTING: [Object; 3] = [Base, Sys, Net];

/// A ring of an object.
pub(crate) struct RingOf {
    pub(crate) map: &'static str,
    /// For people.
    pub(crate) name: &'static str,
    /// Kinds whose records lie in it.
    pub(crate) kinds: Vec<EventKind>,
}

impl Object {
    /// The name that its pins have.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Base => "base",
            Sys => "sys",
            Net => "net",
            Lean => "lean",
        }
    }

    pub(crate) fn bytes(self) -> &'static [u8] {
        match self {
            Base => BASE,
            Sys => SYS,
            Net => NET,
            Lean => LEAN,
        }
    }

    /// What its events are seen by, where a record does not say it.
    pub(crate) const fn rung(self) -> Rung {
        match self {
            Sys => Rung::SyscallTracepoint,
            Base | Net | Lean => Rung::BtfTracepoint,
        }
    }

    /// Its rings, the most urgent first.
    pub(crate) fn rings(self) -> Vec<RingOf> {
        let ring = |map, name, kinds| RingOf { map, name, kinds };
        match self {
            Base => vec![ring("PROCESS", "process", kinds(self))],
            Sys => {
                vec![ring("URGENT", "urgent", sys_kinds(true)), ring("BULK", "bulk", sys_kinds(false))]
            }
            Net => vec![ring("NETWORK", "network", kinds(self))],
            Lean => vec![
                ring("PROCESS", "process", lean::PROCESS.to_vec()),
                ring("BULK", "bulk", lean::BULK.to_vec()),
            ],
        }
    }

    /// Its maps that the same programs with other settings share when they come while these are attached. Either may
    /// change or remove what the other has noted there, and what both tell of it is told once.
    pub(crate) const fn notes(self) -> &'static [&'static str] {
        match self {
            Net => &["ASKERS", "CONNECTIONS", "PLACES"],
            Base | Sys | Lean => &[],
        }
    }

    /// Its maps that are pinned with its programs: all but the constants.
    pub(crate) const fn maps(self) -> &'static [&'static str] {
        match self {
            Base => &[
                "AGENT",
                "COUNTERS",
                "ENDED",
                "ENVIRONMENT",
                "KILL_COMMS",
                "KILL_COUNTS",
                "KILL_PATHS",
                "PROCESS",
                "SLOTS",
            ],
            Sys => &[
                "AGENT",
                "ASKED",
                "BULK",
                "CALLS",
                "CALL_FEXIT_0",
                "CALL_FEXIT_1",
                "CALL_FEXIT_2",
                "CALL_FEXIT_3",
                "CALL_FEXIT_4",
                "CALL_FEXIT_5",
                "CALL_FEXIT_6",
                "CALL_FEXIT_7",
                "CONNECT_FEXIT",
                "CONNECT_PORTS",
                "COUNTERS",
                "IGNORE",
                "IGNORED",
                "IGNORE_KEYS",
                "KEPT",
                "LOUD",
                "NAMES",
                "OPEN_FEXIT",
                "OPEN_FILTER",
                "SAMPLED",
                "SLOTS",
                "UNRESOLVED",
                "URGENT",
                "URING",
                "WRITTEN",
            ],
            Net => {
                &["AGENT", "ASKERS", "BUSY", "CONNECTIONS", "COUNTERS", "NETWORK", "PEERS", "PLACES", "SLOTS"]
            }
            Lean => &[],
        }
    }
}

/// By the programs of the ladder.
fn kinds(of: Object) -> Vec<EventKind> {
    let mut kinds: Vec<EventKind> = rungs::of(of).map(|probe| probe.kind).collect();
    // Two hooks tell of cgroups, and two of UDP.
    kinds.dedup();
    kinds
}

fn sys_kinds(urgent: bool) -> Vec<EventKind> {
    let calls = call::TABLE.iter().filter(|spec| spec.group.is_bulk() != urgent).map(|spec| spec.kind);
    let own: &[EventKind] = if urgent {
        &[EventKind::Signal]
    } else {
        &[EventKind::Open, EventKind::Connect, EventKind::CloseWrite]
    };
    own.iter().copied().chain(calls).collect()
}
