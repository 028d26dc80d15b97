//! Which probe sees which event on this kernel, for `hostward doctor` and the health event.

use hostward_event::EventKind;
use hostward_event::raw::Rung;
use std::borrow::Cow;

/// How a probe fared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbeStatus {
    /// It runs.
    Attached,
    /// The plan does not want its event.
    Unwanted,
    /// This kernel has no such hook.
    Missing,
    /// The kernel did not take it.
    Refused,
}

impl ProbeStatus {
    /// The word in `hostward doctor`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Attached => "attached",
            Self::Unwanted => "unwanted",
            Self::Missing => "missing",
            Self::Refused => "refused",
        }
    }
}

/// One probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeState {
    /// Kind of event that it reports.
    pub kind: EventKind,
    /// What it hooks, e.g. `sched_process_exec`, `sys_exit_openat2`.
    pub hook: Cow<'static, str>,
    /// The program that runs there.
    pub program: &'static str,
    /// Which kind of probe.
    pub rung: Rung,
    /// How it fared.
    pub status: ProbeStatus,
    /// Why it is not attached; empty otherwise.
    pub why: String,
    /// Why no better rung sees the event; empty when there is none or it was not tried.
    pub passed: String,
}

impl ProbeState {
    pub(crate) fn new(
        kind: EventKind,
        program: &'static str,
        hook: impl Into<Cow<'static, str>>,
        rung: Rung,
    ) -> Self {
        let (status, hook) = (ProbeStatus::Unwanted, hook.into());
        Self { kind, hook, program, rung, status, why: String::new(), passed: String::new() }
    }

    /// It runs.
    pub fn attached(&self) -> bool {
        self.status == ProbeStatus::Attached
    }

    pub(crate) fn set(&mut self, status: ProbeStatus, why: &str) {
        self.status = status;
        why.clone_into(&mut self.why);
    }
}
