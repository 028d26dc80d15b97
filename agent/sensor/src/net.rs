//! Hooks of object `net`: loaded once, attached while the plan wants what they report.
//!
//! Those of cgroups are attached to the root of the unified hierarchy, where every socket of the host is below. Where that
//! is not mounted they are refused and say so. In a cgroup namespace of its own the agent sees no higher than that.

use crate::cgroup;
use crate::error::program_refusal;
use crate::ladder::{ProbeState, ProbeStatus};
use crate::load::patiently;
use crate::rungs::{self, Object, Probe};
use aya::programs::cgroup_skb::CgroupSkbLinkId;
use aya::programs::cgroup_sock_addr::CgroupSockAddrLinkId;
use aya::programs::fentry::FEntryLinkId;
use aya::programs::fexit::FExitLinkId;
use aya::programs::tp_btf::BtfTracePointLinkId;
use aya::programs::{CgroupAttachMode, CgroupSkbAttachType, Program, ProgramError};
use aya::{Btf, BtfError, Ebpf};
use hostward_event::EventKind;
use hostward_event::raw::Rung;
use std::fs::File;
use std::path::Path;

/// One hook.
pub(crate) struct Hook {
    pub(crate) state: ProbeState,
    /// Attached while there is one.
    link: Option<Link>,
    /// The program is in the kernel: one of a cgroup is loaded when it is first wanted.
    loaded: bool,
}

/// What keeps a hook attached.
enum Link {
    Tracepoint(BtfTracePointLinkId),
    Function(FEntryLinkId),
    Return(FExitLinkId),
    Address(CgroupSockAddrLinkId),
    Packet(CgroupSkbLinkId),
}

impl Hook {
    /// One that is not attached.
    pub(crate) fn new(program: &'static str, hook: &'static str, kind: EventKind, rung: Rung) -> Self {
        Self { state: ProbeState::new(kind, program, hook, rung), link: None, loaded: false }
    }

    /// One of the ladder.
    pub(crate) fn of(probe: Probe) -> Self {
        Self::new(probe.program, probe.hook, probe.kind, probe.rung)
    }

    /// Loads the program of a tracepoint, while the kernel's types are at hand; the verifier sees it here.
    pub(crate) fn load(&mut self, object: &mut Ebpf, btf: &Btf) {
        let loaded = match program(&self.state, object) {
            Ok(Program::BtfTracePoint(program)) => {
                let done =
                    patiently(|| program.load(&self.state.hook, btf)).map_err(|why| program_refusal(&why));
                self.loaded = done.is_ok();
                done
            }
            Ok(Program::FEntry(program)) => {
                let done = patiently(|| program.load(&self.state.hook, btf));
                self.at_function(done)
            }
            Ok(Program::FExit(program)) => {
                let done = patiently(|| program.load(&self.state.hook, btf));
                self.at_function(done)
            }
            Ok(_) => Ok(()),
            Err(why) => Err(why),
        };
        if let Err(why) = loaded {
            self.state.set(ProbeStatus::Refused, &why);
        }
    }

    fn at_function(&mut self, loaded: Result<(), ProgramError>) -> Result<(), String> {
        match loaded {
            // A kernel that is built without it.
            Err(ProgramError::Btf(BtfError::UnknownBtfTypeName { .. })) => {
                self.state.set(ProbeStatus::Missing, "this kernel has no such function");
                Ok(())
            }
            done => {
                self.loaded = done.is_ok();
                done.map_err(|why| program_refusal(&why))
            }
        }
    }

    /// Its program was not loaded, and neither refused nor missing.
    pub(crate) fn lacks_program(&self) -> bool {
        !self.loaded && !matches!(self.state.status, ProbeStatus::Refused | ProbeStatus::Missing)
    }

    /// Attaches or detaches. A refused hook stays so: the kernel will not change.
    pub(crate) fn want(&mut self, object: &mut Ebpf, wanted: bool) {
        // One of a cgroup is loaded when it is attached, the others while the kernel's types are at hand.
        let waits = self.state.rung != Rung::Cgroup && !self.loaded;
        if waits || self.state.status == ProbeStatus::Refused || wanted == self.link.is_some() {
            return;
        }
        let changed = match self.link.take() {
            Some(link) => self.detach(object, link).map(|()| None),
            None => self.attach(object).map(Some),
        };
        match changed {
            Ok(link) => {
                let status = if link.is_some() { ProbeStatus::Attached } else { ProbeStatus::Unwanted };
                self.link = link;
                self.state.set(status, "");
            }
            Err(why) => self.state.set(ProbeStatus::Refused, &why),
        }
    }

    fn attach(&mut self, object: &mut Ebpf) -> Result<Link, String> {
        let told = |why: ProgramError| program_refusal(&why);
        let load = !std::mem::replace(&mut self.loaded, true);
        // A link takes no other mode, and is beside others whatever it says.
        let mode = CgroupAttachMode::Single;
        match program(&self.state, object)? {
            Program::BtfTracePoint(program) => program.attach().map(Link::Tracepoint).map_err(told),
            Program::FEntry(program) => program.attach().map(Link::Function).map_err(told),
            Program::FExit(program) => program.attach().map(Link::Return).map_err(told),
            Program::CgroupSockAddr(program) => {
                let root = root()?;
                if load {
                    patiently(|| program.load()).map_err(told)?;
                }
                program.attach(root, mode).map(Link::Address).map_err(told)
            }
            Program::CgroupSkb(program) => {
                let root = root()?;
                if load {
                    patiently(|| program.load()).map_err(told)?;
                }
                let way = match self.state.kind {
                    EventKind::DnsQuestion => CgroupSkbAttachType::Egress,
                    _ => CgroupSkbAttachType::Ingress,
                };
                program.attach(root, way, mode).map(Link::Packet).map_err(told)
            }
            _ => Err("the object has another kind of program".to_owned()),
        }
    }

    fn detach(&self, object: &mut Ebpf, link: Link) -> Result<(), String> {
        match (program(&self.state, object)?, link) {
            (Program::BtfTracePoint(program), Link::Tracepoint(link)) => program.detach(link),
            (Program::FEntry(program), Link::Function(link)) => program.detach(link),
            (Program::FExit(program), Link::Return(link)) => program.detach(link),
            (Program::CgroupSockAddr(program), Link::Address(link)) => program.detach(link),
            (Program::CgroupSkb(program), Link::Packet(link)) => program.detach(link),
            _ => Ok(()),
        }
        .map_err(|why| program_refusal(&why))
    }
}

/// What is not seen where the unified hierarchy is not mounted, and why; nothing where it is.
pub(crate) fn without_root() -> Vec<(EventKind, String)> {
    let Err(why) = root() else { return Vec::new() };
    let of_cgroups = rungs::of(Object::Net).filter(|probe| probe.rung == Rung::Cgroup);
    of_cgroups.map(|probe| (probe.kind, why.clone())).collect()
}

/// The root of the unified hierarchy.
fn root() -> Result<File, String> {
    let path = cgroup::unified_root(Path::new("/proc"))
        .ok_or("no cgroup2 file system is mounted (mount -t cgroup2 none /sys/fs/cgroup/unified)")?;
    File::open(&path).map_err(|why| format!("{}: {why}", path.display()))
}

fn program<'a>(state: &ProbeState, object: &'a mut Ebpf) -> Result<&'a mut Program, String> {
    object.program_mut(state.program).ok_or_else(|| "not in the object".to_owned())
}
