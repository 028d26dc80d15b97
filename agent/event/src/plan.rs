//! What the kernel may leave out and where it may kill: made by the policy compiler, loaded by the
//! sensor. A plan is a superset of what rules and telemetry want: the kernel never drops an event
//! that user space would have matched.

use crate::scope::Scope;
use crate::{EventKind, KindSet, Text};
use std::collections::{BTreeMap, BTreeSet};

/// Classes of an open: how the file was asked for, and whether it was had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Hash, PartialOrd, Ord)]
pub struct OpenClass(pub u8);

impl OpenClass {
    /// No class.
    pub const NONE: Self = Self(0);
    /// Opened for reading (O_RDONLY, O_RDWR), with success.
    pub const READ: Self = Self(1);
    /// Opened for writing, creating or truncating, with success.
    pub const WRITE: Self = Self(2);
    /// Asked for reading, refused.
    pub const READ_FAILED: Self = Self(4);
    /// Asked for writing, refused.
    pub const WRITE_FAILED: Self = Self(8);
    /// Every class of an open.
    pub const ALL: Self = Self(15);
    /// No open: another call on a path, where [`CallPlan::named`] asks for names.
    pub const CALL: Self = Self(16);
    /// No open: the last close of a file that was open for writing.
    pub const CLOSE: Self = Self(32);

    /// Classes in either.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Classes in both.
    #[must_use]
    pub const fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// True when there is none.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// Which opens, and closes, leave the kernel: those of a class in `all`, and those of which some path component
/// (a directory on the way, or the file's own name) is in `names` with a class of the open.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct OpenPlan {
    /// Classes of which every open is wanted.
    pub all: OpenClass,
    /// Component names, e.g. `shadow`, `etc`, with the classes wanted below or at them. The kernel
    /// compares the first 16 bytes of a name, so a longer name is a superset.
    pub names: BTreeMap<Text, OpenClass>,
}

/// What is wanted of one system call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallPlan {
    /// Only calls on a path with a component that [`OpenPlan::names`] has with [`OpenClass::CALL`].
    pub named: bool,
    /// Calls that succeeded.
    pub succeeded: bool,
    /// Calls that failed.
    pub failed: bool,
    /// Only with these values of an argument.
    pub chosen: Option<Chosen>,
}

impl Default for CallPlan {
    /// All.
    fn default() -> Self {
        Self { named: false, succeeded: true, failed: true, chosen: None }
    }
}

/// Values of an argument that are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chosen {
    /// Which argument, or [`crate::call::RESULT`].
    pub at: u8,
    /// Bit n: value n.
    pub values: u64,
    /// Values from 64 on as well.
    pub above: bool,
}

/// Which variables of the environment are kept of a program that starts.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct EnvironmentPlan {
    /// All, as far as 4096 bytes hold them.
    pub all: bool,
    /// Those of these names.
    pub names: BTreeSet<Text>,
}

impl EnvironmentPlan {
    /// True when none are.
    pub fn is_empty(&self) -> bool {
        !self.all && self.names.is_empty()
    }

    /// Of an environment as it lies in memory what is kept.
    pub fn of(&self, raw: &Text) -> Text {
        if self.all || raw.is_empty() {
            return raw.clone();
        }
        let mut kept = Vec::new();
        for variable in raw.as_bytes().split(|byte| *byte == 0) {
            let name = variable.split(|byte| *byte == b'=').next().unwrap_or_default();
            if variable.len() > name.len() && self.names.iter().any(|wanted| wanted.as_bytes() == name) {
                kept.extend_from_slice(variable);
                kept.push(0);
            }
        }
        if kept.is_empty() { Text::EMPTY } else { Text::from(kept) }
    }
}

/// The whole plan.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct KernelPlan {
    /// Kinds that a rule or a telemetry stream wants; exec, fork and exit are always observed, as
    /// the process table lives on them.
    pub kinds: KindSet,
    /// Which opens.
    pub opens: OpenPlan,
    /// Which calls of the kinds of [`crate::call`]; a kind that is not here is wanted whole.
    pub calls: BTreeMap<EventKind, CallPlan>,
    /// Connects to these ports alone; none: every connect, also one to what has no port.
    pub connect_ports: Option<BTreeSet<u16>>,
    /// Of opens, connects and calls on files and sockets: whose, and to where. Of a kind that is not here those of
    /// everyone are wanted; a list has at least one scope.
    pub scopes: BTreeMap<EventKind, Vec<Scope>>,
    /// Which variables of the environment of programs that start.
    pub environment: EnvironmentPlan,
    /// Programs that are killed at exec, by the path the kernel walks to.
    pub kill_paths: BTreeSet<Text>,
    /// Programs that are killed at exec, by command name (at most 15 bytes).
    pub kill_comms: BTreeSet<Text>,
}
