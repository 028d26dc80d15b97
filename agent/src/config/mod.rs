//! What an operator can set. Each crate owns the part of its own code; this is the whole.

mod check;
mod layers;

pub use check::Problem;
pub use layers::{Loaded, load};

use crate::cli::{RUNTIME_DIR, STATE_DIR};
use hostward_event::KindSet;
use hostward_event::call::{self, Group};
use hostward_event::mask::Masker;
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// `hostward.toml`, whole. Every key has a default; unknown keys are refused.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The agent itself.
    pub agent: AgentConfig,
    /// Which events go to the sinks though no rule matched.
    pub telemetry: Telemetry,
    /// Detection.
    pub rules: RulesConfig,
    /// Responses.
    pub responses: ResponsesConfig,
    /// Probes and rings.
    pub sensor: hostward_sensor::Config,
    /// Process table and workloads.
    pub enrich: hostward_enrich::Config,
    /// What is read of programs' files.
    pub programs: hostward_host::ProgramsConfig,
    /// Container runtimes that are asked about containers.
    pub runtime: hostward_host::RuntimeConfig,
    /// The Kubernetes API, asked about pods and their owners.
    pub kubernetes: hostward_host::kubernetes::KubernetesConfig,
    /// Guard rails of responses.
    pub respond: hostward_respond::Config,
    /// Masking of secrets.
    pub masking: hostward_event::mask::MaskConfig,
    /// What waits on disk for sinks.
    pub spool: hostward_outputs::spool::SpoolConfig,
    /// Where events go; none: a file under the state directory.
    pub sink: Vec<hostward_outputs::Config>,
}

/// `[agent]`
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AgentConfig {
    /// Directory for all that is kept.
    pub state_dir: PathBuf,
    /// Directory for the admin socket.
    pub runtime_dir: PathBuf,
    /// Level of the agent's own log.
    pub log_level: LogLevel,
    /// How many recent events `hostward events --since` can show.
    pub recent_events: usize,
    /// How long sinks may finish when the agent stops, in ms.
    pub stop_grace_ms: u64,
}

impl Default for AgentConfig {
    fn default() -> Self {
        Self {
            state_dir: STATE_DIR.into(),
            runtime_dir: RUNTIME_DIR.into(),
            log_level: LogLevel::Info,
            recent_events: 4096,
            stop_grace_ms: 5000,
        }
    }
}

/// Level of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogLevel {
    /// Only failures.
    Error,
    /// And what an operator should look at.
    Warn,
    /// And what the agent does.
    Info,
    /// And how.
    Debug,
    /// And every step.
    Trace,
}

impl LogLevel {
    /// The word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

/// `[telemetry]`: the stream besides alerts.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Telemetry {
    /// Program starts.
    pub exec: bool,
    /// Process creations.
    pub fork: bool,
    /// Process ends.
    pub exit: bool,
    /// Connection attempts.
    pub connect: bool,
    /// Ends of TCP connections.
    pub connection_end: bool,
    /// First UDP sends of a process to an address.
    pub udp: bool,
    /// DNS questions and answers.
    pub dns: bool,
    /// cgroups made and removed.
    pub cgroup: bool,
    /// Signals that processes send to others.
    pub signals: bool,
    /// Opens of files.
    pub opens: Opens,
    /// Closes of files that were open for writing.
    pub close_write: bool,
    /// Files made, removed, renamed and changed.
    pub files: bool,
    /// Sockets that are bound and listen, and those that become standard input or output.
    pub sockets: bool,
    /// Changes of ids, capabilities, namespaces, mounts and roots.
    pub privilege: bool,
    /// Access to other processes' memory, files in memory.
    pub memory: bool,
    /// Kernel modules, kexec, keys, performance counters.
    pub kernel: bool,
    /// Variables of the environment that a program's start tells.
    pub environment: Vec<String>,
}

impl Default for Telemetry {
    fn default() -> Self {
        Self {
            exec: true,
            fork: true,
            exit: true,
            connect: true,
            connection_end: true,
            udp: false,
            dns: false,
            cgroup: false,
            signals: false,
            opens: Opens::Watched,
            close_write: false,
            files: false,
            sockets: true,
            privilege: true,
            memory: true,
            kernel: true,
            environment: ["LD_PRELOAD", "LD_AUDIT", "LD_LIBRARY_PATH"].map(str::to_owned).into(),
        }
    }
}

impl Telemetry {
    /// System calls that are sent whether or not a rule matched.
    pub fn calls(&self) -> KindSet {
        let on = |group| match group {
            Group::File => self.files,
            Group::Network => self.sockets,
            Group::Privilege => self.privilege,
            Group::Memory => self.memory,
            Group::Kernel => self.kernel,
            // Told in alerts only: they are many and say little by themselves.
            Group::Signal | Group::Exec => false,
        };
        let calls = call::TABLE.iter().filter(|spec| spec.telemetry && on(spec.group));
        calls.fold(KindSet::NONE, |set, spec| set.union(KindSet::of(&[spec.kind])))
    }
}

/// Which opens are telemetry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Opens {
    /// None: opens appear in alerts only.
    None,
    /// Those that a rule made the kernel report, matched or not.
    Watched,
    /// Every open of the host. Costly: see docs/performance.md.
    All,
}

/// `[rules]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RulesConfig {
    /// Files and folders of *.yaml, in order; relative ones start at the configuration's folder.
    /// None: the embedded rules.
    pub files: Vec<PathBuf>,
    /// Rules to switch off, by glob on the name, after all files are loaded.
    pub disable: Vec<String>,
    /// Rules to switch on, after `disable`.
    pub enable: Vec<String>,
    /// Switches in order, behind `disable` and `enable`.
    pub select: Vec<Select>,
    /// Which rules tell of an event that several match.
    pub rule_matching: Matching,
    /// Take new rules and responses when their files change, and not only when told to.
    pub watch: bool,
}

/// `[[rules.select]]`: one switch.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Select {
    /// On.
    Enable(Which),
    /// Off.
    Disable(Which),
}

/// Which rules a switch means.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Which {
    /// By name or glob.
    Rule(String),
    /// By tag.
    Tag(String),
}

/// `rules.rule_matching`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Matching {
    /// All of them: a rule never silences another.
    #[default]
    All,
    /// The first in the order of files.
    First,
}

/// `[responses]`
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ResponsesConfig {
    /// Files and folders of *.yaml, as in `[rules]`. None: no response but the alert.
    pub files: Vec<PathBuf>,
    /// Keys of annotations and labels that name the owner of a workload, for responses that name none. Looked for
    /// key by key in the pod's annotations and labels, its namespace's labels and the container's labels.
    pub owner_keys: Vec<String>,
}

impl Default for ResponsesConfig {
    fn default() -> Self {
        let keys = ["hostward.io/owner", "owner", "team"];
        Self { files: Vec::new(), owner_keys: keys.map(str::to_owned).into() }
    }
}

impl Config {
    /// Values that have the right type and cannot be used all the same: the key, and why.
    pub fn invalid(&self) -> Vec<(String, String)> {
        let mut found = Vec::new();
        found.extend(self.sensor.problems().into_iter().map(|problem| ("sensor".into(), problem)));
        found.extend(
            self.respond
                .validate()
                .into_iter()
                .map(|problem| ("respond".into(), format!("{problem}; {}", problem.hint()))),
        );
        found.extend(
            self.runtime
                .validate()
                .into_iter()
                .map(|problem| (format!("runtime.{}", problem.key), problem.why)),
        );
        let programs = self.programs.validate().into_iter();
        found.extend(programs.map(|(key, why)| (format!("programs.{key}"), why)));
        found.extend(self.kubernetes.validate().into_iter().map(|problem| {
            (format!("kubernetes.{}", problem.key), format!("{}; {}", problem.what, problem.hint))
        }));
        found.extend(Masker::new(&self.masking).err().map(|error| ("masking".into(), error.to_string())));
        found.extend(self.spool.validate().into_iter().map(|problem| {
            (format!("spool.{}", problem.key), format!("{}; {}", problem.what, problem.hint()))
        }));
        found
    }

    /// The sinks that events go to: those configured, else a file in the state directory.
    pub fn sinks(&self) -> Vec<hostward_outputs::Config> {
        use hostward_outputs::config::{Config, FileConfig};
        if self.sink.is_empty() { vec![Config::File(FileConfig::default())] } else { self.sink.clone() }
    }

    /// Makes the paths of rule and response files absolute, `base` being the configuration's folder.
    pub fn rebase(&mut self, base: &Path) {
        for path in self.rules.files.iter_mut().chain(&mut self.responses.files) {
            if path.is_relative() {
                *path = base.join(&*path);
            }
        }
    }
}
