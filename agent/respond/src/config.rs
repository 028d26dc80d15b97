//! Configuration of responses: the `[respond]` table.

use serde::Deserialize;

/// Entries a list of protected programs may have.
const MAX_PROTECTED: usize = 1_000;

/// The `[respond]` table.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Programs that are never killed, as globs over the program's path (`*` stays within a
    /// directory, `**` does not), beside the shipped ones.
    pub protected_paths: Vec<String>,
    /// Command names (at most 15 bytes) that are never killed. Any process can take any name, so an
    /// attacker can, too: prefer paths. Default: none.
    pub protected_comms: Vec<String>,
    /// Protect the shipped list: service manager, message bus, journal, ssh daemon, container
    /// runtimes, kubelet. Default true.
    pub protect_defaults: bool,
    /// Kills per response in `rate_window_s` before it falls back to monitor mode. Default 30.
    pub max_kills: u32,
    /// See `max_kills`. Default 60.
    pub rate_window_s: u64,
    /// Requests that wait at most. Default 256.
    pub queue_length: usize,
    /// How long the exit of a killed process is waited for. Default 2000.
    pub wait_ms: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            protected_paths: Vec::new(),
            protected_comms: Vec::new(),
            protect_defaults: true,
            max_kills: 30,
            rate_window_s: 60,
            queue_length: 256,
            wait_ms: 2_000,
        }
    }
}

/// One thing that is wrong with the configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("respond: {key} {what}")]
pub struct Problem {
    /// The key.
    pub key: &'static str,
    /// The value and what is wrong with it.
    pub what: String,
    /// What to do.
    pub hint: &'static str,
}

impl Problem {
    /// What to do.
    pub const fn hint(&self) -> &'static str {
        self.hint
    }
}

impl Config {
    /// Globs of all programs that are never killed: the shipped ones, if wanted, and the configured.
    pub fn protected_globs(&self) -> impl Iterator<Item = &str> {
        let shipped: &[&str] = if self.protect_defaults { crate::protected::SHIPPED } else { &[] };
        shipped.iter().copied().chain(self.protected_paths.iter().map(String::as_str))
    }

    /// Everything that is wrong.
    pub fn validate(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut report = |key, what, hint| problems.push(Problem { key, what, hint });
        if self.protected_paths.len() + self.protected_comms.len() > MAX_PROTECTED {
            let what = format!("and protected_comms have more than {MAX_PROTECTED} entries");
            report("protected_paths", what, "use globs for families of programs");
        }
        for path in &self.protected_paths {
            if !path.starts_with('/') {
                report(
                    "protected_paths",
                    format!("has {path:?}, which is no absolute path"),
                    "begin it with /",
                );
            }
            if let Err(error) = crate::protected::glob(path) {
                report("protected_paths", format!("has {path:?}: {}", error.kind()), "mend the glob");
            }
        }
        for comm in &self.protected_comms {
            if comm.is_empty() || comm.len() > 15 {
                let what = format!("has {comm:?}, which no process can be named");
                report("protected_comms", what, "use 1 to 15 bytes, as /proc/PID/comm shows it");
            }
        }
        if !(1..=10_000).contains(&self.max_kills) {
            report("max_kills", format!("is {}", self.max_kills), "use 1 to 10000");
        }
        if !(1..=86_400).contains(&self.rate_window_s) {
            report("rate_window_s", format!("is {}", self.rate_window_s), "use 1 to 86400");
        }
        if !(1..=65_536).contains(&self.queue_length) {
            report("queue_length", format!("is {}", self.queue_length), "use 1 to 65536");
        }
        if !(1..=60_000).contains(&self.wait_ms) {
            report("wait_ms", format!("is {}", self.wait_ms), "use 1 to 60000");
        }
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_valid_and_unknown_keys_are_refused() {
        assert_eq!(toml::from_str::<Config>("").unwrap().validate(), []);
        assert!(toml::from_str::<Config>("max_kill = 1").is_err());
    }

    #[test]
    fn all_problems_are_told_at_once() {
        let text = "protected_paths = [\"sshd\", \"/a[\"]\nprotected_comms = [\"a-name-far-too-long\"]\nmax_kills = 0\n";
        let problems = toml::from_str::<Config>(text).unwrap().validate();
        let keys: Vec<_> = problems.iter().map(|problem| problem.key).collect();
        assert_eq!(keys, ["protected_paths", "protected_paths", "protected_comms", "max_kills"]);
    }
}
