//! The rung of trampolines: a program at the return of a system call's own function.
//!
//! Other calls cost nothing, where one program at a system call's tracepoint puts every call of every process of the host
//! on the kernel's slow path.
//!
//! # How it works
//! A trampoline's program is bound to its function when it is loaded. The programs that do the work take the verifier
//! long, so each is loaded once and put into a table, and what is attached to a function is a jump into the table. One
//! object's jump is loaded, attached and let go again for function after function; the link keeps it alive.

use crate::error::{chain, program_refusal};
use aya::maps::ProgramArray;
use aya::programs::fexit::FExitLink;
use aya::programs::{FExit, ProgramError};
use aya::{Btf, Ebpf};
use hostward_abi::maps::exit_body;

#[cfg(target_arch = "x86_64")]
const PREFIX: &str = "__x64_sys_";
#[cfg(target_arch = "aarch64")]
const PREFIX: &str = "__arm64_sys_";

/// The kernel's function for a system call, by the name in its definition.
pub(crate) fn function(call: &str) -> String {
    format!("{PREFIX}{call}")
}

/// What was tried on this kernel. The answers hold as long as it runs.
#[derive(Default)]
pub(crate) struct Trampolines {
    possible: Option<Result<(), String>>,
    bodies: [Option<Result<(), String>>; exit_body::COUNT as usize],
}

impl Trampolines {
    /// Worth the kernel's type information, which is long.
    pub(crate) fn may_work(&self) -> bool {
        !matches!(self.possible, Some(Err(_)))
    }

    /// Runs `program` at each return of `function` until the link is dropped.
    pub(crate) fn attach(
        &mut self,
        object: &mut Ebpf,
        btf: &Btf,
        program: &str,
        function: &str,
    ) -> Result<FExitLink, String> {
        // A small program first: a kernel without trampolines must not verify the long ones for nothing.
        let possible = self
            .possible
            .get_or_insert_with(|| jump(object, btf, "connect", &self::function("connect")).map(drop));
        possible.clone()?;
        let place = match program {
            "open" => exit_body::OPEN,
            "connect" => exit_body::CONNECT,
            _ => exit_body::CALL,
        };
        let known = self.bodies.get_mut(place as usize).ok_or("no such program")?;
        known.get_or_insert_with(|| body(object, btf, program, function, place)).clone()?;
        jump(object, btf, program, function)
    }
}

/// Loads the program that does the work and puts it into the table.
fn body(object: &mut Ebpf, btf: &Btf, program: &str, function: &str, place: u32) -> Result<(), String> {
    let own = fexit(object, &format!("{program}_fexit"))?;
    own.load(function, btf).map_err(|why| program_refusal(&why))?;
    let fd = own.fd().and_then(|fd| fd.try_clone().map_err(ProgramError::from));
    let fd = fd.map_err(|why| program_refusal(&why))?;
    let map = object.map_mut("EXITS").ok_or("no map EXITS in the object")?;
    let mut exits = ProgramArray::try_from(map).map_err(|why| chain(&why))?;
    exits.set(place, &fd, 0).map_err(|why| chain(&why))
}

/// Loads a jump for `function` and attaches it.
fn jump(object: &mut Ebpf, btf: &Btf, program: &str, function: &str) -> Result<FExitLink, String> {
    let jump = fexit(object, &format!("{program}_return"))?;
    let told = |why: ProgramError| program_refusal(&why);
    jump.load(function, btf).map_err(told)?;
    let link = jump.attach().and_then(|link| jump.take_link(link));
    // The link holds the program; without one it is to go.
    jump.unload().map_err(told)?;
    link.map_err(told)
}

fn fexit<'a>(object: &'a mut Ebpf, program: &str) -> Result<&'a mut FExit, String> {
    let program = object.program_mut(program).ok_or_else(|| format!("no program {program} in the object"))?;
    program.try_into().map_err(|why: ProgramError| program_refusal(&why))
}
