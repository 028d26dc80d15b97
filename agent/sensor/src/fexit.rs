//! The rung of trampolines: a program at the return of a system call's own function.
//!
//! Other calls cost nothing, where one program at a system call's tracepoint puts every call of every process of the host
//! on the kernel's slow path.
//!
//! # How it works
//! A trampoline's program is bound to its function when it is loaded. The programs that do the work take the verifier
//! long, so each is loaded once and put into a table, and what is attached to a function is a jump into the table. One
//! object's jump is loaded, attached and let go again for function after function; the link keeps it alive.
//!
//! # What it does not see
//! Whenever a program comes to a function or goes, whoever's it is, the kernel makes that function's trampoline anew and lets
//! calls that are under way return past all programs (`bpf_tramp_image_put`, kernel/bpf/trampoline.c). Nothing counts them.

use crate::error::{chain, program_refusal};
use crate::load::patiently;
use crate::persist::{Held, Pinned};
use aya::maps::ProgramArray;
use aya::programs::links::FdLink;
use aya::programs::{FExit, ProgramError};
use aya::{Btf, Ebpf};
use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};

#[cfg(target_arch = "x86_64")]
const PREFIX: &str = "__x64_sys_";
#[cfg(target_arch = "aarch64")]
const PREFIX: &str = "__arm64_sys_";

/// The kernel's function for a system call, by the name in its definition.
pub(crate) fn function(call: &str) -> String {
    format!("{PREFIX}{call}")
}

/// A program that does the work, and what stands for it at the functions.
#[derive(Clone, Copy)]
struct Work {
    body: &'static str,
    jump: &'static str,
    /// The table that the jump goes through.
    table: &'static str,
}

const OPEN: [Work; 1] = [Work { body: "open_fexit", jump: "open_return", table: "OPEN_FEXIT" }];
const CONNECT: [Work; 1] = [Work { body: "connect_fexit", jump: "connect_return", table: "CONNECT_FEXIT" }];
/// One per type that the functions of calls may have.
const CALL: [Work; 8] = [
    Work { body: "call_fexit", jump: "call_return_0", table: "CALL_FEXIT_0" },
    Work { body: "call_fexit", jump: "call_return_1", table: "CALL_FEXIT_1" },
    Work { body: "call_fexit", jump: "call_return_2", table: "CALL_FEXIT_2" },
    Work { body: "call_fexit", jump: "call_return_3", table: "CALL_FEXIT_3" },
    Work { body: "call_fexit", jump: "call_return_4", table: "CALL_FEXIT_4" },
    Work { body: "call_fexit", jump: "call_return_5", table: "CALL_FEXIT_5" },
    Work { body: "call_fexit", jump: "call_return_6", table: "CALL_FEXIT_6" },
    Work { body: "call_fexit", jump: "call_return_7", table: "CALL_FEXIT_7" },
];

/// By the name of the program for the tracepoint.
fn works(program: &str) -> &'static [Work] {
    match program {
        "open" => &OPEN,
        "connect" => &CONNECT,
        _ => &CALL,
    }
}

/// The program that does the work of the tracepoint's `program`.
pub(crate) fn body(program: &str) -> &'static str {
    match program {
        "open" => "open_fexit",
        "connect" => "connect_fexit",
        _ => "call_fexit",
    }
}

/// An attached program. Its descriptor outlives it in aya, which is to bind it to the next function.
pub(crate) struct Bound {
    pub(crate) held: Held,
    pub(crate) program: OwnedFd,
}

/// What was tried on this kernel. The answers hold as long as it runs.
pub(crate) struct Trampolines {
    possible: Option<Result<(), String>>,
    /// Bodies that were put into their tables, or why not.
    bodies: BTreeMap<&'static str, Result<(), String>>,
    /// Verified instructions of each body, where the kernel tells.
    pub(crate) verified: BTreeMap<&'static str, u32>,
}

impl Trampolines {
    /// `wanted`: they are to be tried.
    pub(crate) fn new(wanted: bool) -> Self {
        let possible = (!wanted).then(|| Err("sensor.trampolines is off".to_owned()));
        Self { possible, bodies: BTreeMap::new(), verified: BTreeMap::new() }
    }

    /// Worth the kernel's type information, which is long.
    pub(crate) fn may_work(&self) -> bool {
        self.refusal().is_none()
    }

    /// Why they do not work here, once that is known.
    pub(crate) fn refusal(&self) -> Option<&str> {
        match &self.possible {
            Some(Err(why)) => Some(why),
            _ => None,
        }
    }

    /// Goes on with the tables that an agent before has filled. To try one of them would tell calls twice.
    pub(crate) fn adopt(&mut self, pins: &Pinned) {
        let works = OPEN.iter().chain(&CONNECT).chain(&CALL);
        for work in works.filter(|work| pins.program(work.table).is_some()) {
            self.bodies.insert(work.table, Ok(()));
            self.possible = Some(Ok(()));
        }
    }

    /// They work here. A small program is tried: a kernel without them must not verify the long ones for nothing.
    pub(crate) fn work(&mut self, object: &mut Ebpf, btf: &Btf) -> Result<(), String> {
        let mut unpinned = Pinned::default();
        let tried = || bound(object, &mut unpinned, btf, "connect_return", &function("connect")).map(drop);
        self.possible.get_or_insert_with(tried).clone()
    }

    /// Runs the work of `program` at each return of `function` until the link is dropped.
    pub(crate) fn attach(
        &mut self,
        object: &mut Ebpf,
        pins: &mut Pinned,
        btf: &Btf,
        program: &str,
        function: &str,
    ) -> Result<Bound, String> {
        self.work(object, btf)?;
        // Some kernels (6.12, and older ones with its fixes) let a program jump only to one of a function of the very
        // same type, and type information has some types several times: then the next table is for that one.
        let mut refused = String::new();
        for work in works(program) {
            let verified = &mut self.verified;
            let provided = || provide(object, pins, btf, *work, function, verified);
            self.bodies.entry(work.table).or_insert_with(provided).clone()?;
            match bound(object, pins, btf, work.jump, function) {
                Ok(link) => return Ok(link),
                Err(why) => refused = why,
            }
        }
        bound(object, pins, btf, body(program), function)
            .map_err(|why| if why == refused { why } else { format!("{refused}; without a jump: {why}") })
    }
}

/// Loads the program that does the work and puts it into the table, which holds it from then on.
fn provide(
    object: &mut Ebpf,
    pins: &mut Pinned,
    btf: &Btf,
    work: Work,
    function: &str,
    verified: &mut BTreeMap<&'static str, u32>,
) -> Result<(), String> {
    let told = |why: ProgramError| program_refusal(&why);
    let own = fexit(object, work.body)?;
    patiently(|| own.load(function, btf)).map_err(told)?;
    let count = own.info().ok().and_then(|info| info.verified_instruction_count());
    verified.extend(count.map(|count| (work.body, count)));
    let fd = own.fd().map_err(told)?.try_clone().map_err(|why| chain(&why))?;
    own.unload().map_err(told)?;
    let map = object.map_mut(work.table).ok_or_else(|| format!("no map {} in the object", work.table))?;
    let mut exits = ProgramArray::try_from(map).map_err(|why| chain(&why))?;
    exits.set(0, &fd, 0).map_err(|why| chain(&why))?;
    // The pin also says that the table is filled.
    pins.keep_program(work.table, fd.as_fd());
    Ok(())
}

/// Loads a program for `function` and attaches it.
fn bound(
    object: &mut Ebpf,
    pins: &mut Pinned,
    btf: &Btf,
    program: &str,
    function: &str,
) -> Result<Bound, String> {
    let told = |why: ProgramError| program_refusal(&why);
    let own = fexit(object, program)?;
    patiently(|| own.load(function, btf)).map_err(told)?;
    let fd = own.fd().map_err(told)?.as_fd().try_clone_to_owned().map_err(|why| chain(&why))?;
    pins.keep_program(function, fd.as_fd());
    let held = pins.attach(function, || {
        own.attach().and_then(|link| own.take_link(link)).map(FdLink::from).map_err(told)
    });
    // The link holds the program; without one it is to go.
    own.unload().map_err(told)?;
    Ok(Bound { held: held?, program: fd })
}

fn fexit<'a>(object: &'a mut Ebpf, program: &str) -> Result<&'a mut FExit, String> {
    let program = object.program_mut(program).ok_or_else(|| format!("no program {program} in the object"))?;
    program.try_into().map_err(|why: ProgramError| program_refusal(&why))
}
