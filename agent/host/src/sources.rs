//! What sources of container and pod facts say of themselves.

use hostward_event::workload::Source;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Notify;

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
pub struct Board {
    reports: Arc<Mutex<BTreeMap<String, SourceReport>>>,
    changed: Arc<Notify>,
}

impl Board {
    /// Puts a report in the place of the former one of the same `at`.
    pub fn put(&self, report: SourceReport) {
        let state = report.state;
        let mut reports = self.reports.lock().unwrap_or_else(PoisonError::into_inner);
        let before = reports.insert(report.at.clone(), report);
        if before.is_none_or(|before| before.state != state) {
            self.changed.notify_one();
        }
    }

    /// Takes a source off: its socket is gone and was never named by the operator.
    pub fn remove(&self, at: &str) {
        if self.reports.lock().unwrap_or_else(PoisonError::into_inner).remove(at).is_some() {
            self.changed.notify_one();
        }
    }

    /// All reports, by place.
    pub fn reports(&self) -> Vec<SourceReport> {
        self.reports.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// Waits until some source is otherwise than before; of use to one waiter.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }
}
