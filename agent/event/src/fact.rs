//! What enters and leaves the pure part of the agent. A capture file is a stream of [`Input`]s.

use crate::process::{AgentFacts, DomainTable, HostFacts, UserTable};
use crate::program::{ProgramFacts, ProgramKey};
use crate::raw::Args;
use crate::raw::{Credentials, Gap, Inode, Namespaces, RawCgroup, RawEvent};
use crate::workload::{ContainerFacts, PodFacts, Source};
use crate::{EventId, Text};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// A process that lived before the agent saw it, from the task iterator or from /proc.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SeedProcess {
    /// Process id, initial pid namespace.
    pub pid: u32,
    /// Process id of the parent.
    pub ppid: u32,
    /// Start, CLOCK_BOOTTIME ns; exact to the clock tick (10 ms) when it came from /proc.
    pub start_boot_ns: u64,
    /// Command name.
    pub comm: Text,
    /// Path of the program; empty for kernel threads.
    pub path: Text,
    /// Arguments.
    pub args: Args,
    /// Working directory; empty when not known.
    pub cwd: Text,
    /// The program's file.
    pub exe: Inode,
    /// Ids and capabilities.
    pub creds: Credentials,
    /// Namespaces.
    pub ns: Namespaces,
    /// Controlling terminal as a device number; 0: none.
    pub tty: u32,
    /// Audit login uid; u32::MAX: unset.
    pub loginuid: u32,
    /// Audit session id; u32::MAX: unset.
    pub audit_session: u32,
    /// Session id.
    pub sid: u32,
    /// Process group id.
    pub pgid: u32,
    /// Process id in its own pid namespace.
    pub vpid: u32,
    /// cgroup, as the iterator saw it.
    pub cgroup: RawCgroup,
    /// cgroup path from /proc/PID/cgroup; empty when not read.
    pub cgroup_path: Text,
}

/// Something learnt from outside the kernel's rings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fact {
    /// Wall clock minus CLOCK_BOOTTIME, ns; sent at the start and whenever it moved.
    Clock {
        /// ns to add to a boot time.
        offset_ns: i64,
    },
    /// The machine.
    Host(HostFacts),
    /// This agent.
    Agent(AgentFacts),
    /// User and group names of the host.
    Users(UserTable),
    /// Addresses of the domain names that rules list; whole each time.
    Domains(DomainTable),
    /// A process that lived before.
    Process(Box<SeedProcess>),
    /// Answer to [`Lookup::CgroupPath`].
    CgroupPath {
        /// The cgroup asked for.
        cgroup_id: u64,
        /// Path below the hierarchy's root, e.g. `/system.slice/ssh.service`.
        path: Text,
        /// The process asked about; 0: none in particular. In the root cgroup (id 1 or 0) the path
        /// holds for this process alone, as it comes from a v1 hierarchy.
        #[serde(default)]
        pid: u32,
        /// Its start, CLOCK_BOOTTIME ns; 0: not known.
        #[serde(default)]
        start_boot_ns: u64,
    },
    /// A container, new or changed; whole each time.
    Container(Arc<ContainerFacts>),
    /// A container that this source no longer knows.
    ContainerGone {
        /// Full id.
        id: Text,
        /// Who tells it.
        source: Source,
    },
    /// Nobody who could be asked knows this container: the answer to a [`Lookup::Container`] that would
    /// otherwise be waited for.
    ContainerUnknown {
        /// Full id.
        id: Text,
    },
    /// A pod, new or changed; whole each time, as far as this source knows it.
    Pod(Arc<PodFacts>),
    /// A pod that this source no longer knows.
    PodGone {
        /// Its uid.
        uid: Text,
        /// Who tells it.
        source: Source,
    },
    /// Whether anybody who tells of containers answers; told at the start and whenever it changes. While nobody
    /// does, nothing is waited for.
    Sources {
        /// A container runtime, or an API server in its place, answers.
        answer: bool,
    },
    /// Programs' files and names inside of containers can be asked for; while nobody told this, nothing is.
    Programs {
        /// [`Lookup::Program`] is answered.
        files: bool,
        /// [`Lookup::Names`] is answered.
        names: bool,
    },
    /// Answer to [`Lookup::Program`], always given: empty facts say that nothing could be read.
    Program {
        /// The file asked for.
        key: ProgramKey,
        /// The process that executed it.
        pid: u32,
        /// Its start, CLOCK_BOOTTIME ns.
        start_boot_ns: u64,
        /// What was read of it.
        facts: Arc<ProgramFacts>,
        /// It holds for everybody who executes this file; false: for this process, ask again for others.
        keep: bool,
    },
    /// Answer to [`Lookup::Names`], always given.
    Names {
        /// Full id of the container.
        container: Text,
        /// Names by the ids that the kernel tells, which with a user namespace are not those in the container's
        /// files; none: nothing could be read.
        names: Option<Arc<UserTable>>,
    },
    /// Something about the agent that belongs into the feed: started, rules reloaded, ….
    Notice(Notice),
    /// The cgroup of a container, told by the files of the OCI runtime that made it. It counts for this cgroup and
    /// all below whose names tell no container, until [`Fact::ContainerGone`] of [`Source::Oci`].
    CgroupContainer {
        /// The cgroup; 0: it is gone already, and its last records are still to come.
        cgroup_id: u64,
        /// Its path below the hierarchy's root.
        path: Text,
        /// Full id of the container, which [`Fact::Container`] tells about.
        container: Text,
        /// Its runtime.
        runtime: Text,
    },
}

/// An event about the agent itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// `event.action`, e.g. `agent_started`, `rules_reloaded`, `rules_refused`.
    pub action: Text,
    /// One sentence for the operator.
    pub message: Text,
    /// False when the notice tells of a failure (`event.outcome`).
    pub success: bool,
    /// CLOCK_BOOTTIME in ns.
    pub boot_ns: u64,
}

impl Notice {
    /// [`Self::action`] of the agent's last word.
    pub const STOPPED: &'static str = "agent_stopped";

    /// Nothing is told after it.
    pub fn is_last(&self) -> bool {
        self.action.as_bytes() == Self::STOPPED.as_bytes()
    }
}

/// A question that the pure part asks of `hostward-host`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lookup {
    /// Path of a cgroup whose names in the kernel record do not tell the workload; `pid` is in it.
    CgroupPath {
        /// The cgroup.
        cgroup_id: u64,
        /// A process in it.
        pid: u32,
        /// Its start, CLOCK_BOOTTIME ns, so that a successor of the same pid is not taken for it.
        start_boot_ns: u64,
    },
    /// A container that was met and of which nobody told anything yet. [`Fact::Container`] and, for one of a
    /// pod, [`Fact::Pod`] answer, or [`Fact::ContainerUnknown`].
    Container {
        /// Full id, as the cgroup tells it.
        id: Text,
        /// Runtime, as the cgroup tells it; may be empty.
        runtime: Text,
        /// Uid of the pod, as the cgroup tells it; may be empty.
        pod_uid: Text,
        /// A process in it.
        pid: u32,
    },
    /// A cgroup of any name in which a process of another pid namespace was met, and that nobody claimed: is it a
    /// container's? [`Fact::CgroupContainer`] says so, [`Fact::ContainerUnknown`] with the name for an id says no.
    Claim {
        /// Name of the cgroup's directory.
        leaf: Text,
    },
    /// The file of a program that was executed and is not known yet; [`Fact::Program`] answers.
    Program {
        /// Which file.
        key: ProgramKey,
        /// Its modification time, ns since the epoch.
        mtime_ns: i64,
        /// The process that executed it.
        pid: u32,
        /// Its start, CLOCK_BOOTTIME ns.
        start_boot_ns: u64,
        /// Its parent: once the process has ended, the file is looked for in the parent's root.
        ppid: u32,
        /// It runs in no container, so that a package of the host may have brought the program.
        on_host: bool,
    },
    /// Names of users and groups as a container has them; [`Fact::Names`] answers.
    Names {
        /// Full id of the container.
        container: Text,
        /// A process that has just executed a program in it.
        pid: u32,
        /// Its start, CLOCK_BOOTTIME ns.
        start_boot_ns: u64,
    },
    /// A process that acted and of which no fork, exec or seed was seen; [`Fact::Process`] answers.
    Process {
        /// Its process id.
        pid: u32,
        /// Its start, CLOCK_BOOTTIME ns.
        start_boot_ns: u64,
    },
}

/// What became of an action that the responder carried out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActionResult {
    /// The alert this belongs to.
    pub alert: EventId,
    /// What became of it.
    pub outcome: Outcome,
    /// Why, in one sentence; empty when there is nothing to add.
    pub detail: Text,
    /// CLOCK_BOOTTIME in ns when it was done.
    pub boot_ns: u64,
}

/// What became of a response's action (`hostward.response.outcome`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// No response applies: the alert is all.
    Alerted,
    /// Monitor mode: the action that enforce mode would have taken.
    WouldHave,
    /// The process was killed.
    Killed,
    /// The process was gone before the action.
    AlreadyGone,
    /// A guard rail held the action back.
    Protected,
    /// The action failed.
    Failed,
    /// The responder did not answer in time.
    TimedOut,
}

impl Outcome {
    /// The word on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Alerted => "alerted",
            Self::WouldHave => "would_have",
            Self::Killed => "killed",
            Self::AlreadyGone => "already_gone",
            Self::Protected => "protected",
            Self::Failed => "failed",
            Self::TimedOut => "timed_out",
        }
    }
}

/// One step of the stream that the pure part works on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Input {
    /// An event of the ring.
    Raw(RawEvent),
    /// A loss.
    Gap(Gap),
    /// Something learnt.
    Fact(Fact),
    /// An action's result.
    Action(ActionResult),
    /// Time passed: CLOCK_BOOTTIME in ns.
    Tick(u64),
}
