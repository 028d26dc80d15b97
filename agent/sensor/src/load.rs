//! From bytes to attached programs.

use crate::cast;
use crate::error::program_refusal;
use crate::fexit::{self, Bound, Trampolines};
use crate::ladder::{ProbeState, ProbeStatus};
use crate::layout::Layout;
use crate::persist::{Held, Pinned};
use crate::rungs::{self, Call};
use crate::tracepoint::Tracepoints;
use aya::programs::{ProgramError, TracePoint};
use aya::{Btf, Ebpf, EbpfError, EbpfLoader};
use hostward_abi::maps::SLOTS_PER_CPU;
use hostward_event::KindSet;
use hostward_event::raw::Rung;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::MembarrierCommand;
use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::{Arc, Once};
use std::time::{Duration, Instant};

/// Creates the maps of an object and relocates its programs. `sizes`: maps with their entries; `pins`: maps that are
/// taken from there, or made and pinned there.
pub(crate) fn object(
    bytes: &[u8],
    layout: &Layout,
    sizes: &[(&str, u32)],
    pins: &[(&str, PathBuf)],
) -> Result<Ebpf, EbpfError> {
    raise_memlock();
    let cpus = aya::util::nr_cpus().map_or(1, |cpus| u32::try_from(cpus).unwrap_or(1));
    let own = layout.settings;
    let settings = [
        own.typed,
        own.regs_helper,
        own.regs_distance,
        own.nr_open,
        own.nr_openat2,
        own.nr_creat,
        own.cgroup_hierarchy,
        own.nr_close,
        own.held_once,
        own.group_dead,
        own.loads,
        own.has_idmaps,
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
    for (map, path) in pins {
        loader.map_pin_path(map, path.as_path());
    }
    loader.load(&cast::put(bytes, layout.cast))
}

/// How long a load is tried again that signals interrupt.
const INTERRUPTED: Duration = Duration::from_secs(2);

/// Loads a program. The verifier gives up where a signal comes, and wants to be called again.
pub(crate) fn patiently(mut load: impl FnMut() -> Result<(), ProgramError>) -> Result<(), ProgramError> {
    let until = Instant::now() + INTERRUPTED;
    loop {
        match load() {
            Err(ProgramError::LoadError { io_error, .. })
                if io_error.kind() == io::ErrorKind::WouldBlock && Instant::now() < until => {}
            done => return done,
        }
    }
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

/// One system call's end.
pub(crate) struct SyscallProbe {
    pub(crate) state: ProbeState,
    /// The program for the tracepoint.
    program: &'static str,
    /// The kernel's function.
    function: String,
    /// The exit's tracepoint.
    hook: String,
    /// Its number, or why there is none.
    id: Result<u64, String>,
    /// Attached while this lives.
    link: Option<Link>,
}

/// What keeps a probe attached.
struct Link {
    held: Held,
    /// The program, where it is its own alone and of this agent.
    program: Option<OwnedFd>,
}

impl SyscallProbe {
    /// All probes, none attached; those that this kernel lacks are told so.
    pub(crate) fn all() -> Vec<Self> {
        let tracepoints = Tracepoints::find();
        let probe = |call: Call| {
            let (Call { kind, program, .. }, [(_, function), (rung, hook)]) = (call, call.rungs());
            let id = match &tracepoints {
                Ok(tracepoints) => tracepoints.id(&hook),
                Err(why) => Err(io::Error::other(format!("tracefs: {why}"))),
            };
            let mut state = ProbeState::new(kind, program, hook.clone(), rung);
            if id.as_ref().is_err_and(|why| why.kind() == io::ErrorKind::NotFound) {
                state.set(ProbeStatus::Missing, "this kernel has no such system call");
            }
            Self { state, program, function, hook, id: id.map_err(|why| why.to_string()), link: None }
        };
        rungs::calls().map(probe).collect()
    }

    /// It is to be attached, and is not yet. A refused or missing hook stays so: the kernel will not change.
    pub(crate) fn lacks(&self, kinds: KindSet) -> bool {
        kinds.contains(self.state.kind) && self.state.status == ProbeStatus::Unwanted
    }

    /// Goes on with what an agent before has attached.
    pub(crate) fn adopt(&mut self, pins: &mut Pinned) {
        let function = pins.adopt(&self.function, &self.function).map(|held| (held, Rung::Fentry));
        let held = function
            .or_else(|| pins.adopt(&self.hook, self.program).map(|held| (held, Rung::SyscallTracepoint)));
        if let Some((held, rung)) = held {
            self.stands_on(rung, String::new());
            self.link = Some(Link { held, program: None });
            self.state.set(ProbeStatus::Attached, "");
        }
    }

    fn stands_on(&mut self, rung: Rung, passed: String) {
        let hook = if rung == Rung::Fentry { &self.function } else { &self.hook };
        (self.state.rung, self.state.hook) = (rung, hook.clone().into());
        self.state.program = if rung == Rung::Fentry { fexit::body(self.program) } else { self.program };
        self.state.passed = passed;
    }

    /// Attaches by the best rung that the kernel takes.
    pub(crate) fn attach(
        &mut self,
        object: &mut Ebpf,
        pins: &mut Pinned,
        rungs: &mut SyscallRungs,
        btf: Option<&Btf>,
    ) {
        let program = self.program;
        if program == "connect" && !rungs.has_sockets {
            self.state.set(ProbeStatus::Refused, "this kernel does not tell where a socket's addresses are");
            return;
        }
        let btf = btf.ok_or_else(|| "the kernel's type information cannot be read".to_owned());
        let better = btf.and_then(|btf| rungs.trampolines.attach(object, pins, btf, program, &self.function));
        let link = match better {
            Ok(Bound { held, program }) => {
                self.stands_on(Rung::Fentry, String::new());
                Ok(Link { held, program: Some(program) })
            }
            Err(passed) => {
                self.stands_on(Rung::SyscallTracepoint, passed);
                let id = self.id.clone();
                id.and_then(|id| rungs.tracepoint(object, pins, program, &self.hook, id))
                    .map(|held| Link { held, program: None })
            }
        };
        match link {
            Ok(link) => {
                self.link = Some(link);
                self.state.set(ProbeStatus::Attached, "");
            }
            Err(why) => self.state.set(ProbeStatus::Refused, &why),
        }
    }

    /// The program that is its own alone, while one is attached.
    pub(crate) fn own_program(&self) -> Option<BorrowedFd<'_>> {
        self.link.as_ref().and_then(|link| link.program.as_ref()).map(AsFd::as_fd)
    }

    /// Detaches.
    pub(crate) fn close(&mut self, pins: &mut Pinned) {
        if let Some(link) = self.link.take() {
            pins.end(link.held);
            self.state.set(ProbeStatus::Unwanted, "");
        }
    }

    /// Detaches, if it does not outlive the agent.
    pub(crate) fn let_go(&mut self) {
        if self.link.take_if(|link| !link.held.outlives()).is_some() {
            self.state.set(ProbeStatus::Unwanted, "detached");
        }
    }
}

/// What was tried of the rungs of system calls.
pub(crate) struct SyscallRungs {
    pub(crate) has_sockets: bool,
    pub(crate) trampolines: Trampolines,
    /// The tracepoint programs that are there, or why not.
    tracepoints: BTreeMap<&'static str, Result<Arc<OwnedFd>, String>>,
}

impl SyscallRungs {
    pub(crate) fn new(has_sockets: bool, trampolines: bool) -> Self {
        Self { has_sockets, trampolines: Trampolines::new(trampolines), tracepoints: BTreeMap::new() }
    }

    /// Runs the program at the tracepoint; it is loaded when it is first needed, if no agent before has.
    pub(crate) fn tracepoint(
        &mut self,
        object: &mut Ebpf,
        pins: &mut Pinned,
        program: &'static str,
        hook: &str,
        id: u64,
    ) -> Result<Held, String> {
        let provided = || provide(object, pins, program).map(Arc::new);
        let fd = self.tracepoints.entry(program).or_insert_with(provided).clone()?;
        pins.attach_tracepoint(hook, fd.as_fd(), id)
    }
}

fn provide(object: &mut Ebpf, pins: &mut Pinned, program: &'static str) -> Result<OwnedFd, String> {
    let told = |why: ProgramError| program_refusal(&why);
    if let Some(known) = pins.program(program) {
        return known.fd().and_then(|fd| Ok(fd.as_fd().try_clone_to_owned()?)).map_err(told);
    }
    let own = object.program_mut(program).ok_or("not in the object")?;
    let own: &mut TracePoint = own.try_into().map_err(told)?;
    patiently(|| own.load()).map_err(told)?;
    let fd = own.fd().map_err(told)?.as_fd().try_clone_to_owned().map_err(|why| why.to_string())?;
    pins.keep_program(program, fd.as_fd());
    Ok(fd)
}

/// Waits for programs that were just detached and still are in the middle of an event, of which the number is taken and
/// the record not yet there: they run in a read side of RCU, for whose end this call waits. A kernel without it is not
/// waited for.
pub(crate) fn settle() {
    let _ = rustix::thread::membarrier(MembarrierCommand::Global);
}
