//! `[runtime]`

use super::find;
use serde::Deserialize;

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
    /// Containers of one socket that are told at the start and followed.
    pub max_containers: usize,
}

impl Default for RuntimeConfig {
    fn default() -> Self {
        Self { enabled: true, sockets: Vec::new(), timeout_ms: 2_000, poll_ms: 1_000, max_containers: 4_096 }
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
