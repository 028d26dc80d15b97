//! What kinds of event there are, and sets of them.

use serde::{Deserialize, Serialize};

/// What happened. The discriminant is the event type on the ring (`hostward_abi`), in gap events
/// and in captures, so a number is never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum EventKind {
    /// A process replaced its program.
    Exec = 1,
    /// A process was created (threads are not reported).
    Fork = 2,
    /// The last thread of a process ended.
    Exit = 3,
    /// A call of the open family returned.
    Open = 4,
    /// A call of connect returned.
    Connect = 5,
    /// Events were lost; the event says how many and which.
    Gap = 6,
    /// Something about the agent itself.
    Agent = 7,
    /// A cgroup was made or removed.
    Cgroup = 8,
}

impl EventKind {
    /// All kinds, in the order of their numbers.
    pub const ALL: [Self; 8] =
        [Self::Exec, Self::Fork, Self::Exit, Self::Open, Self::Connect, Self::Gap, Self::Agent, Self::Cgroup];

    /// The kind with this number on the ring.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u8 == number)
    }

    /// ECS `event.action`.
    pub const fn action(self) -> &'static str {
        match self {
            Self::Exec => "exec",
            Self::Fork => "fork",
            Self::Exit => "end",
            Self::Open => "open",
            Self::Connect => "connection_attempted",
            Self::Gap => "gap",
            Self::Agent => "agent",
            Self::Cgroup => "cgroup_created",
        }
    }

    /// The word an operator reads in gaps, counters and `hostward doctor`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Exec => "exec",
            Self::Fork => "fork",
            Self::Exit => "exit",
            Self::Open => "open",
            Self::Connect => "connect",
            Self::Gap => "gap",
            Self::Agent => "agent",
            Self::Cgroup => "cgroup",
        }
    }
}

/// A set of event kinds, one bit each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct KindSet(u16);

impl KindSet {
    /// No kind.
    pub const NONE: Self = Self(0);
    /// Every kind.
    pub const ALL: Self = Self::of(&EventKind::ALL);

    /// The set of these kinds.
    pub const fn of(kinds: &[EventKind]) -> Self {
        let mut bits = 0;
        let mut rest = kinds;
        while let [kind, tail @ ..] = rest {
            bits |= 1 << (*kind as u16);
            rest = tail;
        }
        Self(bits)
    }

    /// True when `kind` is in the set.
    pub const fn contains(self, kind: EventKind) -> bool {
        self.0 & (1 << (kind as u16)) != 0
    }

    /// Kinds that are in either set.
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Kinds that are in both sets.
    pub const fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// True when no kind is in the set.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The kinds of the set.
    pub fn iter(self) -> impl Iterator<Item = EventKind> {
        EventKind::ALL.into_iter().filter(move |kind| self.contains(*kind))
    }
}
