//! What sources of container and pod facts say of themselves.

use hostward_event::workload::Source;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// How a source is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceState {
    /// Not asked yet.
    Connecting,
    /// It answers.
    Ok,
    /// It does not answer, or answers nonsense; it is tried again.
    Degraded,
}

/// One source of facts, for health and `hostward workloads`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceReport {
    /// What it is.
    pub source: Source,
    /// Path of the socket, or URL.
    pub at: String,
    /// How it is.
    pub state: SourceState,
    /// Why it is not ok, one sentence with what to do; else what it is: name and version.
    pub why: String,
    /// Containers it tells now.
    pub containers: usize,
    /// Pods it tells now.
    pub pods: usize,
}

/// The board on which each source keeps its own report.
#[derive(Clone, Debug, Default)]
pub struct Board(Arc<Mutex<BTreeMap<String, SourceReport>>>);

impl Board {
    /// Puts a report in the place of the former one of the same `at`.
    pub fn put(&self, report: SourceReport) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(report.at.clone(), report);
    }

    /// Takes a source off: its socket is gone and was never named by the operator.
    pub fn remove(&self, at: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(at);
    }

    /// All reports, by place.
    pub fn reports(&self) -> Vec<SourceReport> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }
}
