//! From bytes to attached programs.

use crate::error::program_refusal;
use crate::ladder::{ProbeState, ProbeStatus};
use crate::layout::Layout;
use crate::tracepoint::{self, Tracepoints};
use aya::programs::{ProgramError, TracePoint};
use aya::{Btf, Ebpf, EbpfError, EbpfLoader};
use hostward_abi::maps::SLOTS_PER_CPU;
use hostward_event::raw::Rung;
use hostward_event::{EventKind, call};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Once;

/// Creates the maps of an object and relocates its programs. `sizes`: maps with their entries.
pub(crate) fn object(
    bytes: &[u8],
    layout: &Layout,
    agent_tgid: u32,
    sizes: &[(&str, u32)],
) -> Result<Ebpf, EbpfError> {
    raise_memlock();
    let cpus = aya::util::nr_cpus().map_or(1, |cpus| u32::try_from(cpus).unwrap_or(1));
    let own = layout.settings;
    let settings = [
        agent_tgid,
        own.typed,
        own.regs_helper,
        own.regs_distance,
        own.nr_open,
        own.nr_openat2,
        own.nr_creat,
        own.reserved,
    ];
    let mut loader = EbpfLoader::new();
    // The programs have no relocations of their own; without this aya would read the kernel's BTF.
    loader.btf(None);
    loader.override_global("OFFSETS", &layout.offsets, true);
    loader.override_global("SETTINGS", &settings, true);
    loader.map_max_entries("SLOTS", SLOTS_PER_CPU.saturating_mul(cpus));
    for (map, entries) in sizes {
        loader.map_max_entries(map, *entries);
    }
    loader.load(bytes)
}

/// Before 5.11 map memory counts against RLIMIT_MEMLOCK.
fn raise_memlock() {
    static TRIED: Once = Once::new();
    TRIED.call_once(|| {
        let unlimited = Rlimit { current: None, maximum: None };
        if let Err(errno) = setrlimit(Resource::Memlock, unlimited) {
            let has = getrlimit(Resource::Memlock).current;
            tracing::info!(%errno, limit_bytes = has, "RLIMIT_MEMLOCK cannot be raised; kernels since 5.11 do not need it");
        }
    });
}

/// Loads and attaches a scheduler tracepoint's program.
pub(crate) fn attach_scheduler(object: &mut Ebpf, btf: &Btf, program: &str, probe: &mut ProbeState) {
    let outcome = (|| {
        let program = object.program_mut(program).ok_or("not in the object".to_owned())?;
        let told = |why: &ProgramError| program_refusal(why);
        let program: &mut aya::programs::BtfTracePoint = program.try_into().map_err(|why| told(&why))?;
        program.load(&probe.hook, btf).map_err(|why| told(&why))?;
        program.attach().map_err(|why| told(&why))
    })();
    match outcome {
        Ok(_) => probe.set(ProbeStatus::Attached, ""),
        Err(why) => probe.set(ProbeStatus::Refused, &why),
    }
}

/// One system call's exit.
pub(crate) struct SyscallProbe {
    pub(crate) state: ProbeState,
    /// Number of the tracepoint.
    id: u64,
    /// Attached while this lives.
    link: Option<OwnedFd>,
}

/// The system call rung's own programs: program, kind, call.
const SYSCALL_PROBES: [(&str, EventKind, &str); 5] = [
    ("open", EventKind::Open, "open"),
    ("open", EventKind::Open, "openat"),
    ("open", EventKind::Open, "openat2"),
    ("open", EventKind::Open, "creat"),
    ("connect", EventKind::Connect, "connect"),
];

/// The tracepoint of a call's exit: named as the kernel's function.
fn hook(call: &str) -> String {
    format!("sys_exit_{}", if call == "umount2" { "umount" } else { call })
}

impl SyscallProbe {
    /// The rung's probes, none attached; those that this kernel lacks are told so.
    pub(crate) fn all() -> Vec<Self> {
        let tracepoints = Tracepoints::find();
        let probe = |(program, kind, call)| {
            let hook = hook(call);
            let id = match &tracepoints {
                Ok(tracepoints) => tracepoints.id(&hook),
                Err(why) => Err(io::Error::other(format!("tracefs: {why}"))),
            };
            let mut state = ProbeState::new(kind, program, hook, Rung::SyscallTracepoint);
            if let Err(why) = &id {
                let missing = why.kind() == io::ErrorKind::NotFound;
                match missing {
                    true => state.set(ProbeStatus::Missing, "this kernel has no such system call"),
                    false => state.set(ProbeStatus::Refused, &why.to_string()),
                }
            }
            Self { state, id: id.unwrap_or_default(), link: None }
        };
        let calls = call::TABLE.iter().map(|spec| ("call", spec.kind, spec.kind.name()));
        SYSCALL_PROBES.into_iter().chain(calls).map(probe).collect()
    }

    /// Attaches or detaches so that the program, which is loaded, runs if `wanted`.
    pub(crate) fn want(&mut self, object: &mut Ebpf, wanted: bool) {
        if wanted && self.link.is_none() {
            match self.attach(object) {
                Ok(link) => {
                    self.link = Some(link);
                    self.state.set(ProbeStatus::Attached, "");
                }
                Err(why) => self.state.set(ProbeStatus::Refused, &why),
            }
        } else if !wanted && self.link.take().is_some() {
            self.state.set(ProbeStatus::Unwanted, "");
        }
    }

    fn attach(&self, object: &mut Ebpf) -> Result<OwnedFd, String> {
        let program = tracepoint(object, self.state.program)?;
        let fd = program.fd().map_err(|why| program_refusal(&why))?;
        tracepoint::attach(fd.as_fd(), self.id).map_err(|why| format!("cannot attach: {why}"))
    }

    /// Detaches for good.
    pub(crate) fn close(&mut self) {
        self.link = None;
    }
}

/// Loads a tracepoint program; the verifier sees it here.
pub(crate) fn load_tracepoint(object: &mut Ebpf, program: &str) -> Result<(), String> {
    tracepoint(object, program)?.load().map_err(|why| program_refusal(&why))
}

fn tracepoint<'a>(object: &'a mut Ebpf, program: &str) -> Result<&'a mut TracePoint, String> {
    let program = object.program_mut(program).ok_or("not in the object")?;
    program.try_into().map_err(|why: ProgramError| program_refusal(&why))
}
