//! The enriched event: what rules match and sinks encode.

use crate::fact::{Notice, Outcome};
use crate::process::{AgentFacts, DomainTable, HostFacts, Process, UserTable};
use crate::program::ProgramFacts;
use crate::raw::{
    Gap, RawCall, RawCgroupChange, RawCloseWrite, RawConnect, RawConnectionEnd, RawDns, RawOpen, RawSignal,
    Source, Usage,
};
use crate::{EntityId, EventId, EventKind, Text};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// The machine, the agent and its names: one snapshot shared by many events.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Surroundings {
    /// `host.*`.
    pub host: HostFacts,
    /// `agent.*`.
    pub agent: AgentFacts,
    /// User and group names.
    pub users: UserTable,
    /// Domain names that rules list.
    pub domains: DomainTable,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Body {
    /// The process's snapshot says it all.
    Exec {
        /// A response killed it in the kernel.
        killed: bool,
    },
    /// The event's process is the child.
    Fork,
    /// The last thread ended.
    Exit {
        /// Status as wait(2) gives it.
        status: u32,
        /// User CPU time, ns.
        utime_ns: u64,
        /// System CPU time, ns.
        stime_ns: u64,
        /// What else it used.
        #[serde(default)]
        usage: Usage,
    },
    /// See [`RawOpen`].
    Open(Box<RawOpen>),
    /// See [`RawCloseWrite`].
    CloseWrite(Box<RawCloseWrite>),
    /// See [`RawConnect`].
    Connect(Box<RawConnect>),
    /// See [`RawConnectionEnd`].
    ConnectionEnd(Box<RawConnectionEnd>),
    /// The first send to an address.
    UdpSend(Box<RawConnect>),
    /// See [`RawDns`].
    Dns(Box<RawDns>),
    /// See [`RawCgroupChange`].
    Cgroup(RawCgroupChange),
    /// See [`RawCall`].
    Call(Box<RawCall>),
    /// See [`Signal`].
    Signal(Box<Signal>),
    /// Lost events.
    Gap(Gap),
    /// About the agent.
    Agent(Notice),
}

/// A signal, and what is known of the process that it is sent to.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Signal {
    /// As the kernel told it.
    pub sent: RawSignal,
    /// Stable id of the target.
    pub target_entity_id: EntityId,
    /// Path of the target's program; empty where it is not known.
    pub target_path: Text,
}

/// One event. Immutable once made, shared by `Arc`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// `event.id`.
    pub id: EventId,
    /// Number in the order of the pipeline, from 1; `event.sequence`.
    pub sequence: u64,
    /// `@timestamp`, ns since the epoch.
    pub time_ns: i64,
    /// `event.created`: when the agent first had it, ns since the epoch.
    pub created_ns: i64,
    /// Where the kernel recorded it; none for records that user space makes.
    pub source: Option<Source>,
    /// Thread that acted, initial pid namespace; 0: none.
    pub tid: u32,
    /// The process that acted (for a fork the child).
    pub process: Option<Arc<Process>>,
    /// Its ancestors, the parent first. Shared by the events of all children of that parent.
    pub lineage: Arc<[Arc<Process>]>,
    /// The session leader, when known.
    pub session_leader: Option<Arc<Process>>,
    /// Machine, agent, names.
    pub around: Arc<Surroundings>,
    /// What was read of the program's file; none: nothing, or not yet.
    pub program: Option<Arc<ProgramFacts>>,
    /// Names of users and groups as the process's container has them, by the ids that the kernel tells; none: not
    /// known, or in no container.
    pub inside: Option<Arc<UserTable>>,
    /// Name that the far end's address was the answer to when a process last asked; none: nobody asked, or nobody saw it.
    pub domain: Option<Text>,
    /// What happened.
    pub body: Body,
    /// It went out before its container was known.
    pub partial: bool,
    /// A rule matched: this record is the alert, the rest is what triggered it.
    pub alert: Option<Arc<Alert>>,
}

impl Event {
    /// The kind of this event (of the trigger, for an alert).
    pub fn kind(&self) -> EventKind {
        match &self.body {
            Body::Exec { .. } => EventKind::Exec,
            Body::Fork => EventKind::Fork,
            Body::Exit { .. } => EventKind::Exit,
            Body::Open(_) => EventKind::Open,
            Body::CloseWrite(_) => EventKind::CloseWrite,
            Body::Connect(_) => EventKind::Connect,
            Body::ConnectionEnd(_) => EventKind::ConnectionEnd,
            Body::UdpSend(_) => EventKind::UdpSend,
            Body::Dns(dns) => dns.kind(),
            Body::Cgroup(_) => EventKind::Cgroup,
            Body::Call(call) => call.kind,
            Body::Signal(_) => EventKind::Signal,
            Body::Gap(_) => EventKind::Gap,
            Body::Agent(_) => EventKind::Agent,
        }
    }

    /// How urgent it is: an alert as its rule says, a loss as an error, a notice of a failure as a
    /// warning, another notice as a notice, telemetry as information.
    pub fn priority(&self) -> Priority {
        match (&self.alert, &self.body) {
            (Some(alert), _) => alert.rule.priority,
            (None, Body::Gap(_)) => Priority::Error,
            (None, Body::Agent(notice)) if notice.success => Priority::Notice,
            (None, Body::Agent(_)) => Priority::Warning,
            (None, _) => Priority::Informational,
        }
    }

    /// Names of users and groups as `process`, which is one of this event's, has them: of a process in a container
    /// never the host's. None: nobody knows them.
    pub fn names_of(&self, process: &Process) -> Option<&UserTable> {
        let Some(container) = &process.workload.container else { return Some(&self.around.users) };
        let own = self.process.as_ref()?.workload.container.as_ref()?;
        self.inside.as_deref().filter(|_| own.id == container.id)
    }

    /// The parent process, when known.
    pub fn parent(&self) -> Option<&Process> {
        self.lineage.first().map(AsRef::as_ref)
    }
}

/// Falco's priorities, most urgent first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    /// System unusable.
    Emergency,
    /// Act at once.
    Alert,
    /// Critical.
    Critical,
    /// Error.
    Error,
    /// Warning.
    Warning,
    /// Notice.
    Notice,
    /// Informational.
    Informational,
    /// Debug.
    Debug,
}

impl Priority {
    /// All, most urgent first.
    pub const ALL: [Self; 8] = [
        Self::Emergency,
        Self::Alert,
        Self::Critical,
        Self::Error,
        Self::Warning,
        Self::Notice,
        Self::Informational,
        Self::Debug,
    ];

    /// The word in rule files and Falco JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Emergency => "Emergency",
            Self::Alert => "Alert",
            Self::Critical => "Critical",
            Self::Error => "Error",
            Self::Warning => "Warning",
            Self::Notice => "Notice",
            Self::Informational => "Informational",
            Self::Debug => "Debug",
        }
    }

    /// Reads the word, in any case; `info` is short for informational.
    pub fn parse(word: &str) -> Option<Self> {
        if word.eq_ignore_ascii_case("info") {
            return Some(Self::Informational);
        }
        Self::ALL.into_iter().find(|priority| priority.name().eq_ignore_ascii_case(word))
    }

    /// ECS `event.severity` as syslog numbers it: 0 Emergency … 7 Debug.
    pub const fn severity(self) -> u64 {
        self as u64
    }
}

/// What a rule is, shared by all its alerts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleInfo {
    /// `rule.name`.
    pub name: Text,
    /// `rule.description`.
    pub description: Text,
    /// How urgent.
    pub priority: Priority,
    /// Tags as the file has them.
    pub tags: Vec<Text>,
    /// `threat.technique.id`, from tags such as `T1059.004` (any case, `mitre_`-less).
    pub technique_ids: Vec<Text>,
    /// `threat.tactic.name`, from tags such as `mitre_execution`.
    pub tactics: Vec<Text>,
    /// Where the rule stands: `rules.d/10-host.yaml:12`, `embedded:10-host.yaml:12`.
    pub source: Text,
    /// Hash of the rule file (xxh3-64, hex).
    pub file_hash: Text,
    /// Fields of the rule's output as it spells them, each once: `proc.name`, `evt.arg[flags]`,
    /// `toupper(proc.name)`.
    pub output_fields: Vec<Text>,
}

/// How a response applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Record what would have been done.
    Monitor,
    /// Do it.
    Enforce,
}

impl Mode {
    /// The word in response files and on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Monitor => "monitor",
            Self::Enforce => "enforce",
        }
    }
}

/// What a response does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// The evidence record.
    Alert,
    /// SIGKILL.
    Kill,
}

impl Action {
    /// The word in response files and on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Alert => "alert",
            Self::Kill => "kill",
        }
    }
}

/// Who carried an action out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Actor {
    /// Nobody: nothing was done.
    #[default]
    None,
    /// The BPF program, in the call that matched.
    Kernel,
    /// The agent, afterwards.
    Agent,
}

impl Actor {
    /// The word on the wire; empty for nobody.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Kernel => "kernel",
            Self::Agent => "agent",
        }
    }
}

/// The evidence of one decision: rule, response, outcome, times.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alert {
    /// The event that matched.
    pub trigger: EventId,
    /// The rule that matched.
    pub rule: Arc<RuleInfo>,
    /// The rule's output, formatted; `message`.
    pub message: Text,
    /// Name of the response that applied; empty when none did.
    pub response: Text,
    /// Its owner; empty when it names none.
    pub owner: Text,
    /// Its mode; monitor when no response applied.
    pub mode: Mode,
    /// The strongest action of it.
    pub action: Action,
    /// Who carried the action out.
    pub actor: Actor,
    /// What became of it.
    pub outcome: Outcome,
    /// Why; empty when there is nothing to add.
    pub detail: Text,
    /// When the event was matched, ns since the epoch.
    pub matched_ns: i64,
    /// When the outcome was known, ns since the epoch.
    pub responded_ns: i64,
}
