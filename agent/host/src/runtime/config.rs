//! `[runtime]`

use super::find;
use serde::Deserialize;
use std::path::PathBuf;

/// runc by itself and under Podman and cri-o, under containerd and Docker (a directory for each namespace), and crun.
const STATE_DIRS: [&str; 4] = ["/run/runc", "/run/containerd/runc", "/run/docker/runtime-runc", "/run/crun"];

/// Whether the stream of container events of CRI is listened to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CriEvents {
    /// Where each listener gets all events: containerd from 2.0 on, cri-o from 1.28 on. Before, a listener takes events
    /// away from the others, of whom the kubelet may be one.
    #[default]
    Auto,
    /// Wherever a runtime has it.
    Always,
    /// Nowhere; containers are listed.
    Never,
}

/// `[runtime]`: container runtimes that are asked about containers. Every key may be left out.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RuntimeConfig {
    /// False: no runtime is asked; events carry what cgroups tell.
    pub enabled: bool,
    /// Sockets to ask, instead of those that runtimes are known to have: a path, or a path behind `docker:`,
    /// `podman:` or `cri:` where its name does not tell what it is.
    pub sockets: Vec<String>,
    /// How long a call may take, ms.
    pub timeout_ms: u64,
    /// How often containers are listed where the runtime announces none (CRI), ms.
    pub poll_ms: u64,
    /// Whether the stream of container events of CRI is listened to.
    pub cri_events: CriEvents,
    /// Directories where OCI runtimes (runc, crun) keep their state, for containers of which no socket tells. Each holds
    /// containers, or directories of containers. Empty: none is looked at.
    pub state_dirs: Vec<PathBuf>,
    /// Containers of one socket, or of all these directories, that are told at the start and followed.
    pub max_containers: usize,
}

impl Default for RuntimeConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            sockets: Vec::new(),
            timeout_ms: 2_000,
            poll_ms: 1_000,
            cri_events: CriEvents::Auto,
            state_dirs: STATE_DIRS.map(PathBuf::from).into(),
            max_containers: 4_096,
        }
    }
}

/// A value that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {why}")]
pub struct RuntimeProblem {
    /// The key below `runtime`.
    pub key: &'static str,
    /// Why, and what to do.
    pub why: String,
}

impl RuntimeConfig {
    /// Everything that cannot be used.
    pub fn validate(&self) -> Vec<RuntimeProblem> {
        let mut problems: Vec<RuntimeProblem> = Vec::new();
        for text in &self.sockets {
            if let Err(why) = find::parse(text) {
                problems.push(RuntimeProblem { key: "sockets", why });
            }
        }
        for path in self.state_dirs.iter().filter(|path| !path.is_absolute()) {
            let why = format!("{} is no absolute path", path.display());
            problems.push(RuntimeProblem { key: "state_dirs", why });
        }
        for (key, value) in [("timeout_ms", self.timeout_ms), ("poll_ms", self.poll_ms)] {
            if value < 100 {
                problems.push(RuntimeProblem { key, why: format!("{value} is less than 100") });
            }
        }
        if self.max_containers == 0 {
            let why = "0 would tell of none; switch it off with `enabled = false`".to_owned();
            problems.push(RuntimeProblem { key: "max_containers", why });
        }
        problems
    }
}
