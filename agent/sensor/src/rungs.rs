//! The ladder as it is declared: by which rungs each kind of event can be seen. Loaders take programs and hooks from here;
//! how they fared on this kernel is in [`crate::ladder`].
//!
//! No rung is an LSM program: it needs `bpf` in the kernel's list of LSMs, and a program at the function that calls the LSMs
//! sees the same without. `checks` has those, which tell the paths of calls whose ends are seen here.

use crate::{fexit, ia32, tracepoint};
use hostward_event::raw::Rung;
use hostward_event::{EventKind, call};

/// The object that a program is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Object {
    Base,
    Sys,
    Net,
    /// In place of all others, where the kernel lets no program read its memory.
    Lean,
}

/// A program, what it hooks and what it reports.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Probe {
    object: Object,
    pub(crate) kind: EventKind,
    pub(crate) rung: Rung,
    pub(crate) hook: &'static str,
    pub(crate) program: &'static str,
}

const fn probe(
    object: Object,
    kind: EventKind,
    rung: Rung,
    hook: &'static str,
    program: &'static str,
) -> Probe {
    Probe { object, kind, rung, hook, program }
}

use EventKind::{
    Cgroup, CloseWrite, Connect, ConnectionEnd, DnsAnswer, DnsQuestion, Exec, Exit, Fork, Open, Signal,
    UdpSend, Unlink,
};
use Object::{Base, Lean, Net, Sys};
use Rung::{BtfTracepoint, Cgroup as OfCgroup, Fentry, IoUring, SyscallTracepoint};

/// All but closes of files and the ends of system calls, in the order in which they are attached.
const PROBES: [Probe; 24] = [
    probe(Base, Exec, BtfTracepoint, "sched_process_exec", "exec"),
    probe(Base, Fork, BtfTracepoint, "sched_process_fork", "fork"),
    probe(Base, Exit, BtfTracepoint, "sched_process_exit", "exit"),
    probe(Base, Cgroup, BtfTracepoint, "cgroup_mkdir", "cgroup_mkdir"),
    probe(Base, Cgroup, BtfTracepoint, "cgroup_rmdir", "cgroup_rmdir"),
    probe(Net, ConnectionEnd, BtfTracepoint, "inet_sock_set_state", "connection"),
    probe(Net, UdpSend, OfCgroup, "sendmsg4", "udp_send4"),
    probe(Net, UdpSend, OfCgroup, "sendmsg6", "udp_send6"),
    probe(Net, DnsQuestion, OfCgroup, "inet_egress", "dns_question"),
    probe(Net, DnsAnswer, OfCgroup, "inet_ingress", "dns_answer"),
    probe(Sys, Signal, BtfTracepoint, "signal_generate", "signal"),
    // Of io_uring, which makes no system call for an operation: told as calls of several kinds. The end comes before the
    // beginning, so that every request that is noted is told.
    probe(Sys, Open, IoUring, "io_uring_complete", "uring_complete"),
    probe(Sys, Open, IoUring, "io_uring_submit_req", "uring_submit"),
    // Of i386 one function is that of all calls; the kind stands for those of the table.
    probe(Sys, Unlink, Fentry, ia32::FUNCTION, "call_ia32"),
    probe(Sys, Open, Fentry, ia32::FUNCTION, "open_ia32"),
    probe(Sys, Connect, Fentry, "__sys_connect", "connect_ia32"),
    probe(Lean, Exec, Fentry, "security_file_open", "opened"),
    probe(Lean, Exec, BtfTracepoint, "sched_process_exec", "exec"),
    probe(Lean, Fork, BtfTracepoint, "sched_process_fork", "fork"),
    probe(Lean, Exit, BtfTracepoint, "sched_process_exit", "exit"),
    probe(Lean, Open, Fentry, "do_sys_openat2", "open_begins"),
    probe(Lean, Open, Fentry, "do_sys_openat2", "open_ends"),
    probe(Lean, Connect, Fentry, "__sys_connect", "connect"),
    probe(Lean, ConnectionEnd, BtfTracepoint, "inet_sock_set_state", "connection"),
];

/// Closes of files that were open for writing: at the function that every one comes by.
pub(crate) const CLOSE: Probe = probe(Sys, CloseWrite, Fentry, "locks_remove_file", "close_fentry");
/// Where no program may be there: at the entries of the calls that close most. Not seen so: [`UNSEEN_CLOSES`].
pub(crate) const CLOSE_ENTRIES: [Probe; 3] = [
    probe(Sys, CloseWrite, SyscallTracepoint, "sys_enter_close", "close"),
    probe(Sys, CloseWrite, SyscallTracepoint, "sys_enter_dup2", "close"),
    probe(Sys, CloseWrite, SyscallTracepoint, "sys_enter_dup3", "close"),
];
/// For the ladder.
pub(crate) const UNSEEN_CLOSES: &str = "closes of files are seen at close, dup2 and dup3 alone: not at the end of a process, at \
    exec, by close_range or io_uring, or of a file that is mapped or that another thread uses at that moment";

/// Those of an object.
pub(crate) fn of(object: Object) -> impl Iterator<Item = Probe> {
    PROBES.into_iter().filter(move |probe| probe.object == object)
}

/// The end of a system call, told by a program of object `sys`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call {
    pub(crate) kind: EventKind,
    /// The name that functions and tracepoints have.
    pub(crate) name: &'static str,
    /// The program for the tracepoint.
    pub(crate) program: &'static str,
}

/// Every system call whose end is told: opens and connects by programs of their own, the others as their table says.
pub(crate) fn calls() -> impl Iterator<Item = Call> {
    let opens = ["open", "openat", "openat2", "creat"].map(|name| Call { kind: Open, name, program: "open" });
    let connect = Call { kind: Connect, name: "connect", program: "connect" };
    let others = call::TABLE.iter().map(|spec| {
        let name = spec.kind.name();
        Call { kind: spec.kind, name: if name == "umount2" { "umount" } else { name }, program: "call" }
    });
    opens.into_iter().chain([connect]).chain(others)
}

impl Call {
    /// Its rungs, the best first, with what each hooks.
    pub(crate) fn rungs(self) -> [(Rung, String); 2] {
        [(Fentry, fexit::function(self.name)), (SyscallTracepoint, tracepoint::exit_of(self.name))]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_kind_can_be_seen() {
        let seen: BTreeSet<EventKind> = PROBES
            .iter()
            .chain([&CLOSE])
            .map(|probe| probe.kind)
            .chain(calls().map(|call| call.kind))
            .collect();
        // What the agent itself tells.
        let own = [EventKind::Gap, EventKind::Agent];
        let unseen: Vec<_> =
            EventKind::ALL.iter().filter(|kind| !seen.contains(kind) && !own.contains(kind)).collect();
        assert!(unseen.is_empty(), "{unseen:?}");
    }

    #[test]
    fn a_program_is_in_the_table_once() {
        for object in [Base, Sys, Net, Lean] {
            let programs: Vec<_> = of(object).map(|probe| probe.program).collect();
            let apart: BTreeSet<_> = programs.iter().collect();
            assert_eq!(apart.len(), programs.len(), "{object:?}");
        }
    }
}
