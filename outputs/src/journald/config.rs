//! The keys of a sink of type `journald`.

use crate::config::{Encoding, QueueConfig};
use serde::Deserialize;
use std::path::PathBuf;

/// sun_path of Linux has room for 107 bytes and a NUL.
const MAX_PATH_BYTES: usize = 107;

/// Entries in the journal of this machine.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct JournaldConfig {
    /// Name in status and in messages. Default `journald`.
    pub name: String,
    /// Condition in the rule language; events that match are written. Default: all.
    pub filter: Option<String>,
    /// Wire form of the field `HOSTWARD_RECORD`. Default `ecs`.
    pub encoding: Encoding,
    /// Fields that this sink does not get: names of rules or of ECS, or their beginnings up to a
    /// dot. Default none.
    pub redact: Vec<String>,
    /// The journal's socket. Default `/run/systemd/journal/socket`.
    pub socket: PathBuf,
    /// Its queue.
    pub queue: QueueConfig,
}

impl Default for JournaldConfig {
    fn default() -> Self {
        Self {
            name: "journald".to_owned(),
            filter: None,
            encoding: Encoding::Ecs,
            redact: Vec::new(),
            socket: PathBuf::from("/run/systemd/journal/socket"),
            queue: QueueConfig::default(),
        }
    }
}

impl JournaldConfig {
    pub(crate) fn validate(&self, report: &mut dyn FnMut(&'static str, String, &'static str)) {
        let path = self.socket.as_os_str().as_encoded_bytes();
        if !self.socket.is_absolute() || path.len() > MAX_PATH_BYTES || path.contains(&0) {
            let what = format!("is {:?}", self.socket);
            report("socket", what, "use an absolute path of at most 107 bytes");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_is_an_absolute_path() {
        let problems = |text: &str| {
            let config: JournaldConfig = toml::from_str(text).unwrap();
            let mut keys = Vec::new();
            config.validate(&mut |key, _, _| keys.push(key));
            keys
        };
        assert_eq!(problems(""), [""; 0]);
        assert_eq!(problems("socket = \"journal\""), ["socket"]);
        assert_eq!(problems(&format!("socket = \"/{}\"", "x".repeat(107))), ["socket"]);
    }
}
