//! The admin socket: one JSON line asks, JSON lines answer.
//!
//! `{"verb":"status"}` is answered by one [`crate::report::Report`]. `{"verb":"events",…}` is
//! answered by frames until the asker goes away. Every verb only reads, so the socket is 0660 and
//! belongs to the group `hostward` where there is one.

mod client;
mod server;

pub use client::connect;
pub use server::{Shared, serve};

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
