//! Hooks of object `net`: loaded once, attached while the plan wants what they report.
//!
//! Those of cgroups are attached to the root of the unified hierarchy, where every socket of the host is below. Where that
//! is not mounted they are refused and say so. In a cgroup namespace of its own the agent sees no higher than that.

use crate::cgroup;
use crate::error::{chain, program_refusal};
use crate::ladder::{ProbeState, ProbeStatus};
use crate::load::patiently;
use crate::persist::{Held, Pinned};
use crate::rungs::{self, Object, Probe};
use aya::programs::links::FdLink;
use aya::programs::{CgroupAttachMode, CgroupSkbAttachType, Program, ProgramError};
use aya::{Btf, BtfError, Ebpf};
use hostward_event::EventKind;
use hostward_event::raw::Rung;
use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;

/// One hook.
pub(crate) struct Hook {
    pub(crate) state: ProbeState,
    /// Attached while there is one.
    link: Option<Held>,
    /// The program is in the kernel: one of a cgroup is loaded when it is first wanted.
    loaded: bool,
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

    /// Its program was not loaded, by nobody, and neither refused nor missing.
    pub(crate) fn lacks_program(&self) -> bool {
        !self.loaded
            && self.link.is_none()
            && !matches!(self.state.status, ProbeStatus::Refused | ProbeStatus::Missing)
    }

    /// Goes on with what an agent before has attached; `older`: what it hooks on older kernels.
    pub(crate) fn adopt(&mut self, pins: &mut Pinned, older: Option<&'static str>) {
        for hook in [self.state.hook.clone()].into_iter().chain(older.map(Into::into)) {
            let name = pin(self.state.program, &hook);
            if let Some(held) = pins.adopt(&name, &name) {
                self.link = Some(held);
                self.state.hook = hook;
                self.state.set(ProbeStatus::Attached, "");
                return;
            }
        }
    }

    /// Attaches or detaches. A refused hook stays so: the kernel will not change.
    pub(crate) fn want(&mut self, object: &mut Ebpf, pins: &mut Pinned, wanted: bool) {
        if self.state.status == ProbeStatus::Refused || wanted == self.link.is_some() {
            return;
        }
        if let Some(link) = self.link.take() {
            pins.end(link);
            return self.state.set(ProbeStatus::Unwanted, "");
        }
        // One of a cgroup is loaded when it is attached, the others while the kernel's types are at hand.
        if self.state.rung != Rung::Cgroup && !self.loaded {
            return;
        }
        match self.attach(object, pins) {
            Ok(link) => {
                self.link = Some(link);
                self.state.set(ProbeStatus::Attached, "");
            }
            Err(why) => self.state.set(ProbeStatus::Refused, &why),
        }
    }

    /// Detaches, if it does not outlive the agent.
    pub(crate) fn let_go(&mut self) {
        if self.link.take_if(|link| !link.outlives()).is_some() {
            self.state.set(ProbeStatus::Unwanted, "detached");
        }
    }

    fn attach(&mut self, object: &mut Ebpf, pins: &mut Pinned) -> Result<Held, String> {
        let told = |why: ProgramError| program_refusal(&why);
        let root = (self.state.rung == Rung::Cgroup).then(root).transpose()?;
        let load = !std::mem::replace(&mut self.loaded, true);
        let program = program(&self.state, object)?;
        if load {
            match program {
                Program::CgroupSockAddr(program) => patiently(|| program.load()),
                Program::CgroupSkb(program) => patiently(|| program.load()),
                _ => Ok(()),
            }
            .map_err(told)?;
        }
        let name = &pin(self.state.program, &self.state.hook);
        let fd = program.fd().map_err(told)?.as_fd().try_clone_to_owned().map_err(|why| why.to_string())?;
        pins.keep_program(name, fd.as_fd());
        // A link takes no other mode, and is beside others whatever it says.
        let mode = CgroupAttachMode::Single;
        match (program, &root) {
            (Program::BtfTracePoint(program), _) => pins.attach(name, || {
                program.attach().and_then(|link| program.take_link(link)).map(FdLink::from).map_err(told)
            }),
            (Program::FEntry(program), _) => pins.attach(name, || {
                program.attach().and_then(|link| program.take_link(link)).map(FdLink::from).map_err(told)
            }),
            (Program::FExit(program), _) => pins.attach(name, || {
                program.attach().and_then(|link| program.take_link(link)).map(FdLink::from).map_err(told)
            }),
            (Program::CgroupSockAddr(program), Some(root)) => pins.attach(name, || {
                let link = program.attach(root, mode).and_then(|link| program.take_link(link));
                FdLink::try_from(link.map_err(told)?).map_err(|why| chain(&why))
            }),
            (Program::CgroupSkb(program), Some(root)) => {
                let way = match self.state.kind {
                    EventKind::DnsQuestion => CgroupSkbAttachType::Egress,
                    _ => CgroupSkbAttachType::Ingress,
                };
                pins.attach(name, || {
                    let link = program.attach(root, way, mode).and_then(|link| program.take_link(link));
                    FdLink::try_from(link.map_err(told)?).map_err(|why| chain(&why))
                })
            }
            _ => Err("the object has another kind of program".to_owned()),
        }
    }
}

/// Name of its pins: two programs may be at one function.
fn pin(program: &str, hook: &str) -> String {
    format!("{program}-{hook}")
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
