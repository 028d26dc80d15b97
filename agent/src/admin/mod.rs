//! The admin socket: one JSON line asks, JSON lines answer.
//!
//! `{"verb":"status"}` is answered by one [`crate::report::Report`]. `{"verb":"events",…}` is
//! answered by frames until the asker goes away. Verbs only read, so the socket is 0660 and belongs to the group `hostward` where there is
//! one; `reload` is for root and the agent's own user.

mod client;
mod server;

pub use client::connect;
pub use server::{Reload, Shared, serve};

use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Name of the socket in the runtime directory.
pub fn socket(runtime_dir: &Path) -> PathBuf {
    runtime_dir.join("hostward.sock")
}

/// What can be asked.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "verb", rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// The report.
    Status,
    /// What runs where: [`crate::workloads::Workloads`].
    Workloads,
    /// Read rules and responses anew; answered by one [`Reloaded`].
    Reload,
    /// What a rule costs; answered by one [`RuleCost`].
    Rule {
        /// Its name.
        name: String,
    },
    /// Events.
    Events {
        /// A condition of the rule language.
        filter: Option<String>,
        /// Begin with events of the last so many ns.
        since_ns: Option<u64>,
        /// Go on with new events.
        follow: bool,
        /// As JSON, else compact.
        json: bool,
        /// With colours.
        colour: bool,
    },
}

/// What a rule costs in the running agent.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RuleCost {
    /// The rule is in force.
    Known {
        /// Events of its kinds since the rules came into force.
        events: u64,
        /// Those that it matched.
        matches: u64,
        /// Remembered events of its kinds that were tried just now.
        tried: u64,
        /// ns that trying them took.
        took_ns: u64,
    },
    /// No rule of this name is in force.
    Unknown,
}

/// What came of [`Request::Reload`].
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reloaded {
    /// This is in force.
    Done(String),
    /// The old set stays, for this reason.
    Refused(String),
}

/// One answer to [`Request::Events`].
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Frame {
    /// A printed event.
    Event(String),
    /// So many events were gone before they could be read.
    Missed(u64),
    /// The request was refused.
    Refused(String),
}
