//! Hooks of object `net`: loaded once, attached while the plan wants what they report.

use crate::error::program_refusal;
use crate::ladder::{ProbeState, ProbeStatus};
use aya::programs::tp_btf::BtfTracePointLinkId;
use aya::programs::{BtfTracePoint, ProgramError};
use aya::{Btf, Ebpf};
use hostward_event::EventKind;
use hostward_event::raw::Rung;

/// Program, what it hooks, what it reports.
const HOOKS: [(&str, &str, EventKind); 1] = [("connection", "inet_sock_set_state", EventKind::ConnectionEnd)];

/// One hook.
pub(crate) struct Hook {
    pub(crate) state: ProbeState,
    /// Attached while there is one.
    link: Option<BtfTracePointLinkId>,
}

impl Hook {
    /// The object's hooks, none attached.
    pub(crate) fn all() -> Vec<Self> {
        let hook = |(program, hook, kind)| {
            let state = ProbeState::new(kind, program, hook, Rung::BtfTracepoint);
            Self { state, link: None }
        };
        HOOKS.into_iter().map(hook).collect()
    }

    /// Loads the program; the verifier sees it here.
    pub(crate) fn load(&mut self, object: &mut Ebpf, btf: &Btf) {
        let loaded = self
            .program(object)
            .and_then(|program| program.load(&self.state.hook, btf).map_err(|why| program_refusal(&why)));
        if let Err(why) = loaded {
            self.state.set(ProbeStatus::Refused, &why);
        }
    }

    /// Attaches or detaches. A refused hook stays so: the kernel will not change.
    pub(crate) fn want(&mut self, object: &mut Ebpf, wanted: bool) {
        if self.state.status == ProbeStatus::Refused || wanted == self.link.is_some() {
            return;
        }
        let changed = self.program(object).and_then(|program| {
            let told = |why: ProgramError| program_refusal(&why);
            match self.link.take() {
                Some(link) => program.detach(link).map(|()| None).map_err(told),
                None => program.attach().map(Some).map_err(told),
            }
        });
        match changed {
            Ok(link) => {
                let status = if link.is_some() { ProbeStatus::Attached } else { ProbeStatus::Unwanted };
                self.link = link;
                self.state.set(status, "");
            }
            Err(why) => self.state.set(ProbeStatus::Refused, &why),
        }
    }

    fn program<'a>(&self, object: &'a mut Ebpf) -> Result<&'a mut BtfTracePoint, String> {
        let program = object.program_mut(self.state.program).ok_or("not in the object")?;
        program.try_into().map_err(|why: ProgramError| program_refusal(&why))
    }
}
