//! The reduced sensor: object `lean`, where the kernel lets no program read its memory.
//!
//! # Why it exists
//! lockdown=confidentiality forbids every helper that reads kernel memory, and with it each of the other objects, and
//! closes tracefs. What is left are loads through pointers whose type the kernel knows, programs at functions, and
//! `bpf_d_path` where a file is opened. The memory of programs could be read as well, but aya replaces that helper by the
//! one for both kinds of memory where the kernel refuses to read its own.
//!
//! # What is lost
//! See [`NOTE`]. Arguments and working directory of a program that starts are read from /proc after its start
//! ([`after_start`]).

use crate::error::program_refusal;
use crate::ladder::{ProbeState, ProbeStatus};
use crate::load::patiently;
use aya::programs::{Program, ProgramError};
use aya::{Btf, Ebpf};
use hostward_abi::record::{Header, TEXT_BYTES_MAX};
use hostward_event::raw::Args;
use hostward_event::{EventKind, KindSet, Text};
use std::fs;
use std::os::unix::ffi::OsStringExt;

/// Told in the log, in health and by `hostward doctor`.
pub(crate) const NOTE: &str = "reduced sensor, as lockdown=confidentiality forbids programs to read kernel memory: \
    told are starts and ends of processes, opens that succeed, TCP connects and ends of TCP connections; not told are closes of \
    files, other system calls, io_uring, signals, cgroups, UDP and DNS; starts of programs lack the name that was called, the \
    environment, the layer, types of descriptors 0 and 1, and ids in inner pid namespaces; their arguments and working \
    directory are read from /proc after the start, where the program can have changed them; opens lack the path as the \
    program gave it, connects the near end";

/// Why the others are not there.
pub(crate) const WHY: &str = "lockdown=confidentiality forbids programs to read kernel memory";

/// Kinds whose records lie in the ring of process events.
pub(crate) const PROCESS: &[EventKind] = &[EventKind::Exec, EventKind::Fork, EventKind::Exit];
/// In the other ring.
pub(crate) const BULK: &[EventKind] = &[EventKind::Open, EventKind::Connect, EventKind::ConnectionEnd];

/// Attaches what is wanted and is not yet, and takes away what is no more wanted. Processes are always told.
pub(crate) fn attach(probes: &mut [ProbeState], object: &mut Ebpf, kinds: KindSet, btf: &Btf) {
    for probe in probes {
        let wanted = PROCESS.contains(&probe.kind) || kinds.contains(probe.kind);
        let done = match (wanted, probe.status) {
            (true, ProbeStatus::Unwanted) => run(probe, object, btf).map(|()| ProbeStatus::Attached),
            (false, ProbeStatus::Attached) => unload(probe.program, object).map(|()| ProbeStatus::Unwanted),
            _ => continue,
        };
        match done {
            Ok(status) => probe.set(status, ""),
            Err(why) => probe.set(ProbeStatus::Refused, &why),
        }
    }
}

fn run(probe: &ProbeState, object: &mut Ebpf, btf: &Btf) -> Result<(), String> {
    let told = |why: ProgramError| program_refusal(&why);
    match object.program_mut(probe.program).ok_or("not in the object")? {
        Program::BtfTracePoint(program) => patiently(|| program.load(&probe.hook, btf))
            .and_then(|()| program.attach().map(drop))
            .map_err(told),
        Program::FEntry(program) => patiently(|| program.load(&probe.hook, btf))
            .and_then(|()| program.attach().map(drop))
            .map_err(told),
        Program::FExit(program) => patiently(|| program.load(&probe.hook, btf))
            .and_then(|()| program.attach().map(drop))
            .map_err(told),
        _ => Err("the object has another kind of program".to_owned()),
    }
}

fn unload(program: &str, object: &mut Ebpf) -> Result<(), String> {
    let done = match object.program_mut(program).ok_or("not in the object")? {
        Program::BtfTracePoint(program) => program.unload(),
        Program::FEntry(program) => program.unload(),
        Program::FExit(program) => program.unload(),
        _ => Ok(()),
    };
    done.map_err(|why| program_refusal(&why))
}

/// What /proc tells of a program that has just started: its arguments, each with its NUL, and its working directory. By
/// then the program can have changed both. Empty when the process is gone, or when another one has its id.
pub(crate) fn after_start(header: &Header) -> (Args, Text) {
    let of = |pid: u32| {
        let directory = fs::read_link(format!("/proc/{pid}/cwd")).ok()?;
        let mut line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        let total_bytes = u32::try_from(line.len()).unwrap_or(u32::MAX);
        line.truncate(TEXT_BYTES_MAX as usize);
        let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
        let same = start_ticks(&stat)? == header.start_boot_ns / NS_PER_TICK;
        let args = Args { raw: Text::from(line), total_bytes };
        same.then(|| (args, Text::from(directory.into_os_string().into_vec())))
    };
    of(header.pid).unwrap_or_default()
}

/// USER_HZ, which is 100 on every machine that we run on.
const NS_PER_TICK: u64 = 10_000_000;

/// Field 22, counted behind the name, which may hold anything.
fn start_ticks(stat: &[u8]) -> Option<u64> {
    let close = stat.iter().rposition(|byte| *byte == b')')?;
    let rest = std::str::from_utf8(stat.get(close + 1..)?).ok()?;
    rest.split_ascii_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_is_read_behind_a_hostile_name() {
        let stat = b"7 (a) R 1 (2) S 1 7 7 0 -1 4194304 0 0 0 0 0 0 0 0 20 0 1 0 4242 1000 1";
        assert_eq!(start_ticks(stat), Some(4242));
        assert_eq!(start_ticks(b"7 (a"), None);
    }
}
