//! System calls of i386 on x86-64: those of 32-bit programs, and of any program that makes them by `int 0x80`.
//!
//! # Why it exists
//! They have other numbers and functions than the machine's own calls, and the kernel leaves them out of the tracepoints of
//! system calls. Who makes them would be seen to start and to end, and nothing in between.
//!
//! # How it works
//! All of them come by one function of the kernel's, which no other call of the host does. A program at its return tells
//! what the call table wants, by rows of its own; another one tells opens. Connects are told at the function behind both
//! connect(2) and socketcall(2), as the latter's arguments lie in memory that another thread can change meanwhile.
//!
//! # What can go wrong
//! Without trampolines, where the kernel has no such function (before 6.9, but for fixes that older ones have), or where
//! it keeps programs away from it (7.2), none but connects is seen, and a note says so. Not told are mmap, whose old form
//! takes a structure and whose new one counts pages, umount(2) without flags, and what goes through socketcall(2) but
//! connects.

use crate::ladder::ProbeStatus;
use crate::net::Hook;
use crate::persist::Pinned;
use crate::rungs::{self, Object};
use crate::{fexit::Trampolines, preflight};
use aya::programs::Program;
use aya::{Btf, Ebpf};
use hostward_abi::maps::{NO_ARGUMENT, ia32_row};
use hostward_event::{EventKind, KindSet, call};
use std::str::FromStr;

/// The function that all of them come by.
pub(crate) const FUNCTION: &str = "ia32_sys_call";

/// For who does not want to be blind.
const HINT: &str = "ia32_emulation=0 on the kernel's command line, since 6.7, keeps such programs out";

/// The programs for them.
pub(crate) struct Ia32 {
    pub(crate) hooks: Vec<Hook>,
    /// Why there are none although there should be.
    pub(crate) impossible: Option<String>,
}

impl Ia32 {
    /// None are attached; none will be where the kernel runs no such programs.
    pub(crate) fn new() -> Self {
        let hooks = rungs::of(Object::Sys).filter(|probe| probe.program.ends_with("_ia32")).map(Hook::of);
        let hooks = if preflight::runs_ia32() { hooks.collect() } else { Vec::new() };
        Self { hooks, impossible: None }
    }

    /// Goes on with what an agent before has attached.
    pub(crate) fn adopt(&mut self, pins: &mut Pinned) {
        self.hooks.iter_mut().for_each(|hook| hook.adopt(pins, None));
    }

    /// Some program that `kinds` want is not there yet.
    pub(crate) fn lack(&self, kinds: KindSet) -> bool {
        self.hooks.iter().any(|hook| is_wanted(hook, kinds) && hook.lacks_program())
    }

    /// Attaches what `kinds` want, while the kernel's types are at hand. Before the table has rows for them.
    pub(crate) fn attach(
        &mut self,
        object: &mut Ebpf,
        pins: &mut Pinned,
        trampolines: &mut Trampolines,
        btf: Option<&Btf>,
        kinds: KindSet,
    ) {
        if let Some(btf) = btf
            && self.lack(kinds)
            && let Err(why) = trampolines.work(object, btf)
        {
            self.hooks.clear();
            self.impossible = Some(unseen("are", &why));
        }
        let mut failed = None;
        for hook in self.hooks.iter_mut().filter(|hook| is_wanted(hook, kinds)) {
            if let Some(btf) = btf
                && hook.lacks_program()
            {
                hook.load(object, btf);
            }
            hook.want(object, pins, true);
            if matches!(hook.state.status, ProbeStatus::Missing | ProbeStatus::Refused) {
                failed = failed.or_else(|| (hook.state.hook == FUNCTION).then(|| hook.state.why.clone()));
            }
        }
        if let Some(why) = failed {
            // Nobody can mend it, so it is a note and no fault.
            self.impossible = Some(unseen("but for connects are", &format!("{FUNCTION}: {why}")));
            for hook in self.hooks.extract_if(.., |hook| hook.state.hook == FUNCTION) {
                if let Some(Program::FExit(program)) = object.program_mut(hook.state.program) {
                    // One that was not loaded says so.
                    let _ = program.unload();
                }
            }
        }
    }

    /// Detaches what `kinds` do not want, when the table has no more rows for it.
    pub(crate) fn detach_others(&mut self, object: &mut Ebpf, pins: &mut Pinned, kinds: KindSet) {
        for hook in self.hooks.iter_mut().filter(|hook| !is_wanted(hook, kinds)) {
            hook.want(object, pins, false);
        }
    }

    /// The program that the table is for runs.
    pub(crate) fn sees_calls(&self) -> bool {
        self.hooks.iter().any(|hook| hook.state.kind.is_call() && hook.state.attached())
    }
}

fn unseen(what: &str, why: &str) -> String {
    format!("system calls of 32-bit programs, and by int 0x80 of others, {what} not seen: {why}; {HINT}")
}

/// The program of the table's calls is one for all.
fn is_wanted(hook: &Hook, kinds: KindSet) -> bool {
    let kind = hook.state.kind;
    if kind.is_call() {
        call::TABLE.iter().any(|spec| kinds.contains(spec.kind))
    } else {
        kinds.contains(kind)
    }
}

/// A call of i386 that is told as another: its row, and what [`hostward_abi::maps::CallSpec`] says of its arguments.
pub(crate) struct Row {
    pub(crate) number: u32,
    pub(crate) short_ids: u8,
    pub(crate) wide: u8,
}

/// The calls that are told as `kind`. Some ids had 16 bits before they had 32, and some lengths 32 before 64: those have
/// two calls each.
pub(crate) fn rows(kind: EventKind) -> impl Iterator<Item = Row> {
    use EventKind::{
        Chown, Fchown, Ftruncate, Lchown, Mmap, Setfsgid, Setfsuid, Setgid, Setgroups, Setregid, Setresgid,
        Setresuid, Setreuid, Setuid, Truncate, Utimensat,
    };
    let plain = kind.name();
    let (short_ids, more, wide) = match kind {
        Chown | Lchown | Fchown => (0b110, "32", NO_ARGUMENT),
        Setuid | Setgid | Setreuid | Setregid | Setresuid | Setresgid | Setfsuid | Setfsgid => {
            (0b111, "32", NO_ARGUMENT)
        }
        Setgroups => (0, "32", NO_ARGUMENT),
        Truncate | Ftruncate => (0, "64", 1),
        Utimensat => (0, "_time64", NO_ARGUMENT),
        _ => (0, "", NO_ARGUMENT),
    };
    let row = |name: &str, short_ids, wide| {
        let number = ia32_row(syscalls::x86::Sysno::from_str(name).ok()?.id().cast_unsigned());
        Some(Row { number, short_ids, wide })
    };
    let first = if kind == Mmap { None } else { row(plain, short_ids, NO_ARGUMENT) };
    let second = if more.is_empty() { None } else { row(&format!("{plain}{more}"), 0, wide) };
    first.into_iter().chain(second)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_have_the_numbers_and_arguments_of_i386() {
        let of = |kind| {
            rows(kind).map(|row| (row.number - ia32_row(0), row.short_ids, row.wide)).collect::<Vec<_>>()
        };
        assert_eq!(of(EventKind::Unlink), [(10, 0, NO_ARGUMENT)]);
        assert_eq!(of(EventKind::Chown), [(182, 0b110, NO_ARGUMENT), (212, 0, NO_ARGUMENT)]);
        assert_eq!(of(EventKind::Truncate), [(92, 0, NO_ARGUMENT), (193, 0, 1)]);
        assert_eq!(of(EventKind::ExecveFailed), [(11, 0, NO_ARGUMENT)]);
        let none: Vec<_> =
            call::TABLE.iter().map(|spec| spec.kind).filter(|kind| rows(*kind).count() == 0).collect();
        assert_eq!(
            none,
            [EventKind::Mmap, EventKind::KexecFileLoad, EventKind::Accept],
            "i386 has none, or see above"
        );
    }
}
