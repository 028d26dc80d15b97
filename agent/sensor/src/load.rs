//! From bytes to attached programs.

use crate::ladder::{ProbeState, ProbeStatus};
use crate::layout::Layout;
use crate::error::program_refusal;
use aya::programs::trace_point::TracePointLinkId;
use aya::programs::{ProgramError, TracePointError};
use aya::{Btf, Ebpf, EbpfError, EbpfLoader};
use hostward_abi::maps::SLOTS_PER_CPU;
use hostward_event::EventKind;
use hostward_event::raw::Rung;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::io::ErrorKind;
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
        program.load(probe.hook, btf).map_err(|why| told(&why))?;
        program.attach().map_err(|why| told(&why))
    })();
    match outcome {
        Ok(_) => probe.set(ProbeStatus::Attached, ""),
        Err(why) => probe.set(ProbeStatus::Refused, &why),
    }
}

/// One system call's exit.
pub(crate) struct SyscallProbe {
    program: &'static str,
    pub(crate) state: ProbeState,
    link: Option<TracePointLinkId>,
}

/// The system call rung, in the order of the ladder: program, kind, hook.
pub(crate) const SYSCALL_PROBES: [(&str, EventKind, &str); 5] = [
    ("open", EventKind::Open, "sys_exit_open"),
    ("open", EventKind::Open, "sys_exit_openat"),
    ("open", EventKind::Open, "sys_exit_openat2"),
    ("open", EventKind::Open, "sys_exit_creat"),
    ("connect", EventKind::Connect, "sys_exit_connect"),
];

impl SyscallProbe {
    /// The rung's probes, none attached.
    pub(crate) fn all() -> Vec<Self> {
        let probe = |(program, kind, hook)| {
            let state = ProbeState::new(kind, hook, Rung::SyscallTracepoint);
            Self { program, state, link: None }
        };
        SYSCALL_PROBES.into_iter().map(probe).collect()
    }

    /// Attaches or detaches so that the program runs if `wanted`. The program is loaded.
    pub(crate) fn want(&mut self, object: &mut Ebpf, wanted: bool) {
        match (wanted, self.link.take()) {
            (true, Some(link)) => self.link = Some(link),
            (true, None) => self.attach(object),
            (false, Some(link)) => {
                if let Ok(program) = tracepoint(object, self.program)
                    && let Err(why) = program.detach(link)
                {
                    tracing::warn!(hook = self.state.hook, why = program_refusal(&why), "a probe does not detach");
                }
                self.state.set(ProbeStatus::Unwanted, "");
            }
            (false, None) => {}
        }
    }

    fn attach(&mut self, object: &mut Ebpf) {
        let attached = tracepoint(object, self.program).and_then(|program| {
            program.attach("syscalls", self.state.hook).map_err(|why| {
                let missing = matches!(
                    &why,
                    ProgramError::TracePointError(TracePointError::FileError { io_error, .. })
                        if io_error.kind() == ErrorKind::NotFound
                );
                let status = if missing { ProbeStatus::Missing } else { ProbeStatus::Refused };
                (status, program_refusal(&why))
            })
        });
        match attached {
            Ok(link) => {
                self.link = Some(link);
                self.state.set(ProbeStatus::Attached, "");
            }
            Err((status, why)) => self.state.set(status, &why),
        }
    }
}

/// Loads a tracepoint program; the verifier sees it here.
pub(crate) fn load_tracepoint(object: &mut Ebpf, program: &str) -> Result<(), String> {
    let program = tracepoint(object, program).map_err(|(_, why)| why)?;
    program.load().map_err(|why| program_refusal(&why))
}

fn tracepoint<'a>(
    object: &'a mut Ebpf,
    program: &str,
) -> Result<&'a mut aya::programs::TracePoint, (ProbeStatus, String)> {
    let absent = || (ProbeStatus::Refused, "not in the object".to_owned());
    let program = object.program_mut(program).ok_or_else(absent)?;
    program.try_into().map_err(|why: ProgramError| (ProbeStatus::Refused, program_refusal(&why)))
}
