//! Which probe sees which event on this kernel, for `hostward doctor` and the health event.

use crate::load::SyscallProbe;
use crate::net;
use crate::rungs::Probe;
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

    /// One that is not attached.
    pub(crate) fn of(probe: Probe) -> Self {
        Self::new(probe.kind, probe.program, probe.hook, probe.rung)
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

/// Kinds of which this host's kernel can tell no event, and why; none that it does not let us look for.
pub fn unobservable() -> Vec<(EventKind, String)> {
    let calls = SyscallProbe::all();
    let missing = |kind: EventKind| {
        let mut of = calls.iter().filter(|probe| probe.state.kind == kind).peekable();
        of.peek()?;
        let reasons: Option<Vec<&str>> = of
            .map(|probe| (probe.state.status == ProbeStatus::Missing).then_some(probe.state.why.as_str()))
            .collect();
        Some((kind, reasons?.first()?.to_string()))
    };
    let mut lacking: Vec<_> = EventKind::ALL.iter().filter_map(|kind| missing(*kind)).collect();
    lacking.extend(net::without_root());
    lacking
}
