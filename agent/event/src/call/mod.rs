//! System calls as events: parameters, what is told of them, and when.
//!
//! # Why it exists
//! Most calls need no program of their own: what is to be collected of them (a path and the directory it starts
//! in, the file behind a descriptor, some bytes of memory) is said by a row here. The sensor makes the kernel's
//! table of it, the registry the parameters that rules read. So a call is added by a row and a test that makes it.
//!
//! # How it works
//! [`find`] gives the [`Spec`] of a kind. Its [`Param`]s name the arguments by their published names and say in
//! which [`Form`] each one is; texts, descriptor and bytes are collected in the order in which they stand there.
//!
//! # Not here
//! Exec, fork, exit, open, connect and cgroups, which have programs of their own.

mod names;
mod table;

pub use names::Names;
pub use table::TABLE;

use crate::raw::RawCall;
use crate::{EventKind, KindSet};

/// Most texts that are collected of one call.
pub const TEXTS: usize = 3;
/// Place of an argument that is the call's result.
pub const RESULT: u8 = 6;

/// What a call is about: its telemetry stream, its category.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Group {
    /// Files made, removed, renamed, changed.
    File,
    /// Sockets.
    Network,
    /// Ids, capabilities, namespaces, mounts, roots.
    Privilege,
    /// Other processes' memory, and code in one's own.
    Memory,
    /// Modules, BPF, kexec, keys: the kernel itself.
    Kernel,
    /// Signals.
    Signal,
    /// Programs that could not be started.
    Exec,
}

impl Group {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::File, Self::Network, Self::Privilege, Self::Memory, Self::Kernel, Self::Signal, Self::Exec];

    /// ECS `event.category`.
    pub const fn category(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Network => "network",
            Self::Kernel => "driver",
            Self::Privilege | Self::Memory | Self::Signal | Self::Exec => "process",
        }
    }

    /// The last part of `event.dataset`.
    pub const fn dataset(self) -> &'static str {
        match self {
            Self::File => "hostward.file",
            Self::Network => "hostward.network",
            Self::Privilege => "hostward.privilege",
            Self::Memory => "hostward.memory",
            Self::Kernel => "hostward.kernel",
            Self::Signal => "hostward.signal",
            Self::Exec => "hostward.process",
        }
    }

    /// `evt.category` of the published rule language.
    pub const fn published(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Network => "net",
            Self::Privilege | Self::Exec => "process",
            Self::Memory => "memory",
            Self::Kernel => "system",
            Self::Signal => "signal",
        }
    }

    /// Where the group's events go: false when they may wait behind a flood of others.
    pub const fn is_bulk(self) -> bool {
        matches!(self, Self::File | Self::Network)
    }
}

/// Where a path starts that does not begin with a slash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Base {
    /// In the working directory.
    Cwd,
    /// In the directory that this argument is a descriptor of.
    Dir(u8),
}

/// What a parameter is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Signed number of 32 bits.
    Int,
    /// Unsigned number of 64 bits.
    Uint,
    /// Address or mask.
    Hex,
    /// Path in user memory.
    Path(Base),
    /// Other string in user memory.
    Text,
    /// Descriptor whose file or socket is told; at most one.
    Fd,
    /// Descriptor of the directory that a path starts in.
    Dirfd,
    /// Permission bits, by their names.
    Mode,
    /// Permission bits, octal.
    Octal,
    /// User id.
    User,
    /// Group id.
    Group,
    /// Process or thread id in the caller's pid namespace.
    Pid,
    /// Number of a signal.
    Signal,
    /// Bits with names.
    Flags(Names),
    /// One of a list of names.
    Word(Names),
    /// Socket address of as many bytes as that argument says.
    Address(u8),
    /// That many bytes of user memory, not shown as they are.
    Bytes(u8),
    /// A name in that many bytes of user memory.
    Chars(u8),
    /// Set of capabilities in the bytes told: effective 0, permitted 1, inheritable 2.
    Caps(u8),
    /// The addresses of the call's socket.
    Tuple,
}

/// A parameter under its published name.
#[derive(Clone, Copy, Debug)]
pub struct Param {
    /// Name in `evt.arg`.
    pub name: &'static str,
    /// Which argument, from 0; [`RESULT`]: what the call gave.
    pub at: u8,
    /// What it is.
    pub form: Form,
}

/// Which results are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// All.
    Returned,
    /// Only failures: another program tells what succeeds.
    Failed,
    /// Only successes: failures are common and mean nothing.
    Succeeded,
}

/// A test of an argument that the kernel makes before anything is collected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Test {
    /// Which argument, or [`RESULT`].
    pub at: u8,
    /// Bits that count.
    pub mask: u64,
    /// What they must be.
    pub value: u64,
    /// What they must not be, instead.
    pub differs: bool,
}

/// One call. See the module's head.
#[derive(Clone, Copy, Debug)]
pub struct Spec {
    /// Which.
    pub kind: EventKind,
    /// What it is about.
    pub group: Group,
    /// ECS `event.type` of a call that succeeded.
    pub ecs_type: &'static str,
    /// Which results are told.
    pub when: When,
    /// Only these are told.
    pub test: Option<Test>,
    /// Only with a socket behind the descriptor.
    pub socket_only: bool,
    /// Part of the group's telemetry stream; the others are told when a rule asks for them.
    pub telemetry: bool,
    /// Its parameters.
    pub params: &'static [Param],
}

impl Spec {
    /// The parameter of this published name.
    pub fn param(&self, name: &str) -> Option<&'static Param> {
        self.params.iter().find(|param| param.name == name)
    }

    /// Parameters whose text is collected, in the order of the texts.
    pub fn texts(&self) -> impl Iterator<Item = &'static Param> {
        self.params.iter().filter(|param| matches!(param.form, Form::Path(_) | Form::Text))
    }

    /// Number of the text that stands for `param`, when it is one.
    pub fn text_of(&self, param: &Param) -> Option<usize> {
        self.texts().position(|own| own.name == param.name)
    }

    /// The parameter whose file or socket is told.
    pub fn descriptor(&self) -> Option<&'static Param> {
        // futimens(3), and so touch(1), gives a file as the directory and no path; others do with AT_EMPTY_PATH.
        let form = if self.may_lack_path() { Form::Dirfd } else { Form::Fd };
        self.params.iter().find(|param| param.form == form)
    }

    /// Without a path, of two without the old one, the call is about what the directory's descriptor stands for.
    pub const fn may_lack_path(&self) -> bool {
        matches!(
            self.kind,
            EventKind::Utimensat
                | EventKind::Futimesat
                | EventKind::Fchmodat2
                | EventKind::Fchownat
                | EventKind::Linkat
        )
    }
}

/// User and group ids that the arguments of `call` name.
pub fn ids_of(call: &RawCall) -> (Vec<u32>, Vec<u32>) {
    let (mut users, mut groups) = (Vec::new(), Vec::new());
    for param in find(call.kind).map_or(&[][..], |spec| spec.params) {
        let id = call.args.get(usize::from(param.at)).map_or(u32::MAX, |argument| *argument as u32);
        match param.form {
            Form::User => users.push(id),
            Form::Group => groups.push(id),
            _ => {}
        }
    }
    (users, groups)
}

/// The description of a call; none for kinds that have programs of their own.
pub fn find(kind: EventKind) -> Option<&'static Spec> {
    // In the order of their numbers, without holes.
    if !kind.is_call() {
        return None;
    }
    TABLE.get(usize::from((kind as u8).checked_sub(EventKind::FIRST_CALL)?))
}

/// All of [`TABLE`].
pub const CALLS: KindSet = {
    let (mut set, mut rest) = (KindSet::NONE, TABLE);
    while let [spec, tail @ ..] = rest {
        set = set.union(KindSet::of(&[spec.kind]));
        rest = tail;
    }
    set
};

/// Calls of this group.
pub const fn of_group(group: Group) -> KindSet {
    let (mut set, mut rest) = (KindSet::NONE, TABLE);
    while let [spec, tail @ ..] = rest {
        if spec.group as u8 == group as u8 {
            set = set.union(KindSet::of(&[spec.kind]));
        }
        rest = tail;
    }
    set
}

/// Calls of which a path (`descriptors` false) or the file or socket behind a descriptor is told.
pub const fn that_tell(descriptors: bool) -> KindSet {
    let (mut set, mut rest) = (KindSet::NONE, TABLE);
    while let [spec, tail @ ..] = rest {
        let mut params = spec.params;
        while let [param, more @ ..] = params {
            let tells = match param.form {
                Form::Fd => descriptors,
                Form::Path(_) => !descriptors,
                _ => false,
            };
            if tells {
                set = set.union(KindSet::of(&[spec.kind]));
            }
            params = more;
        }
        rest = tail;
    }
    set
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_call_is_described_once_and_in_order() {
        let calls: Vec<EventKind> = EventKind::ALL.into_iter().filter(|kind| kind.is_call()).collect();
        assert_eq!(TABLE.iter().map(|spec| spec.kind).collect::<Vec<_>>(), calls);
        for spec in TABLE {
            assert_eq!(find(spec.kind).map(|found| found.kind), Some(spec.kind));
            let name = spec.kind.name();
            assert!(spec.texts().count() <= TEXTS, "{name}: more texts than a record holds");
            let fds = spec.params.iter().filter(|param| param.form == Form::Fd).count();
            assert!(fds <= 1, "{name}: one descriptor is told");
            let names: HashSet<_> = spec.params.iter().map(|param| param.name).collect();
            assert_eq!(names.len(), spec.params.len(), "{name}: a name stands twice");
            assert!(spec.params.iter().all(|param| param.at <= RESULT), "{name}");
        }
    }
}
