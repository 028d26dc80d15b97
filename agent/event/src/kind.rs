//! What kinds of event there are, and sets of them.

use serde::{Deserialize, Serialize};

/// Numbers of kinds are below this.
pub const KIND_NUMBERS: usize = 128;

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident = $number:literal, $name:literal;)*) => {
        /// What happened. The discriminant is the event type on the ring (`hostward_abi`), in gap events
        /// and in captures, so a number is never reused. Kinds from [`EventKind::FIRST_CALL`] on are system
        /// calls, described in [`crate::call`].
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        #[repr(u8)]
        pub enum EventKind {
            $($(#[$doc])* $kind = $number,)*
        }

        impl EventKind {
            /// All kinds, in the order of their numbers.
            pub const ALL: [Self; [$($number),*].len()] = [$(Self::$kind,)*];

            /// The word an operator reads in gaps, counters and `hostward doctor`; of a system call its name.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$kind => $name,)*
                }
            }
        }
    };
}

kinds! {
    /// A process replaced its program.
    Exec = 1, "exec";
    /// A process was created (threads are not reported).
    Fork = 2, "fork";
    /// The last thread of a process ended.
    Exit = 3, "exit";
    /// A call of the open family returned.
    Open = 4, "open";
    /// A call of connect returned.
    Connect = 5, "connect";
    /// Events were lost; the event says how many and which.
    Gap = 6, "gap";
    /// Something about the agent itself.
    Agent = 7, "agent";
    /// A cgroup was made or removed.
    Cgroup = 8, "cgroup";
    /// unlink(2) returned.
    Unlink = 16, "unlink";
    /// unlinkat(2) returned.
    Unlinkat = 17, "unlinkat";
    /// rename(2) returned.
    Rename = 18, "rename";
    /// renameat(2) returned.
    Renameat = 19, "renameat";
    /// renameat2(2) returned.
    Renameat2 = 20, "renameat2";
    /// link(2) returned.
    Link = 21, "link";
    /// linkat(2) returned.
    Linkat = 22, "linkat";
    /// symlink(2) returned.
    Symlink = 23, "symlink";
    /// symlinkat(2) returned.
    Symlinkat = 24, "symlinkat";
    /// mkdir(2) returned.
    Mkdir = 25, "mkdir";
    /// mkdirat(2) returned.
    Mkdirat = 26, "mkdirat";
    /// rmdir(2) returned.
    Rmdir = 27, "rmdir";
    /// chmod(2) returned.
    Chmod = 28, "chmod";
    /// fchmod(2) returned.
    Fchmod = 29, "fchmod";
    /// fchmodat(2) returned.
    Fchmodat = 30, "fchmodat";
    /// fchmodat2(2) returned.
    Fchmodat2 = 31, "fchmodat2";
    /// chown(2) returned.
    Chown = 32, "chown";
    /// lchown(2) returned.
    Lchown = 33, "lchown";
    /// fchown(2) returned.
    Fchown = 34, "fchown";
    /// fchownat(2) returned.
    Fchownat = 35, "fchownat";
    /// truncate(2) returned.
    Truncate = 36, "truncate";
    /// ftruncate(2) returned.
    Ftruncate = 37, "ftruncate";
    /// setxattr(2) returned.
    Setxattr = 38, "setxattr";
    /// lsetxattr(2) returned.
    Lsetxattr = 39, "lsetxattr";
    /// fsetxattr(2) returned.
    Fsetxattr = 40, "fsetxattr";
    /// removexattr(2) returned.
    Removexattr = 41, "removexattr";
    /// lremovexattr(2) returned.
    Lremovexattr = 42, "lremovexattr";
    /// fremovexattr(2) returned.
    Fremovexattr = 43, "fremovexattr";
    /// utime(2) returned.
    Utime = 44, "utime";
    /// utimes(2) returned.
    Utimes = 45, "utimes";
    /// futimesat(2) returned.
    Futimesat = 46, "futimesat";
    /// utimensat(2) returned.
    Utimensat = 47, "utimensat";
    /// mknod(2) returned.
    Mknod = 48, "mknod";
    /// mknodat(2) returned.
    Mknodat = 49, "mknodat";
    /// mount(2) returned.
    Mount = 50, "mount";
    /// umount2(2) returned.
    Umount2 = 51, "umount2";
    /// pivot_root(2) returned.
    PivotRoot = 52, "pivot_root";
    /// chroot(2) returned.
    Chroot = 53, "chroot";
    /// move_mount(2) returned.
    MoveMount = 54, "move_mount";
    /// open_tree(2) returned.
    OpenTree = 55, "open_tree";
    /// fsopen(2) returned.
    Fsopen = 56, "fsopen";
    /// fsmount(2) returned.
    Fsmount = 57, "fsmount";
    /// mount_setattr(2) returned.
    MountSetattr = 58, "mount_setattr";
    /// setuid(2) returned.
    Setuid = 59, "setuid";
    /// setgid(2) returned.
    Setgid = 60, "setgid";
    /// setreuid(2) returned.
    Setreuid = 61, "setreuid";
    /// setregid(2) returned.
    Setregid = 62, "setregid";
    /// setresuid(2) returned.
    Setresuid = 63, "setresuid";
    /// setresgid(2) returned.
    Setresgid = 64, "setresgid";
    /// setfsuid(2) returned.
    Setfsuid = 65, "setfsuid";
    /// setfsgid(2) returned.
    Setfsgid = 66, "setfsgid";
    /// setgroups(2) returned.
    Setgroups = 67, "setgroups";
    /// capset(2) returned.
    Capset = 68, "capset";
    /// setns(2) returned.
    Setns = 69, "setns";
    /// unshare(2) returned.
    Unshare = 70, "unshare";
    /// prctl(2) returned.
    Prctl = 71, "prctl";
    /// ptrace(2) returned.
    Ptrace = 72, "ptrace";
    /// process_vm_writev(2) returned.
    ProcessVmWritev = 73, "process_vm_writev";
    /// process_vm_readv(2) returned.
    ProcessVmReadv = 74, "process_vm_readv";
    /// memfd_create(2) returned.
    MemfdCreate = 75, "memfd_create";
    /// mmap(2) returned.
    Mmap = 76, "mmap";
    /// mprotect(2) returned.
    Mprotect = 77, "mprotect";
    /// pkey_mprotect(2) returned.
    PkeyMprotect = 78, "pkey_mprotect";
    /// userfaultfd(2) returned.
    Userfaultfd = 79, "userfaultfd";
    /// pidfd_getfd(2) returned.
    PidfdGetfd = 80, "pidfd_getfd";
    /// init_module(2) returned.
    InitModule = 81, "init_module";
    /// finit_module(2) returned.
    FinitModule = 82, "finit_module";
    /// delete_module(2) returned.
    DeleteModule = 83, "delete_module";
    /// bpf(2) returned.
    Bpf = 84, "bpf";
    /// perf_event_open(2) returned.
    PerfEventOpen = 85, "perf_event_open";
    /// kexec_load(2) returned.
    KexecLoad = 86, "kexec_load";
    /// kexec_file_load(2) returned.
    KexecFileLoad = 87, "kexec_file_load";
    /// keyctl(2) returned.
    Keyctl = 88, "keyctl";
    /// add_key(2) returned.
    AddKey = 89, "add_key";
    /// request_key(2) returned.
    RequestKey = 90, "request_key";
    /// io_uring_setup(2) returned.
    IoUringSetup = 91, "io_uring_setup";
    /// kill(2) returned.
    Kill = 92, "kill";
    /// tkill(2) returned.
    Tkill = 93, "tkill";
    /// tgkill(2) returned.
    Tgkill = 94, "tgkill";
    /// pidfd_send_signal(2) returned.
    PidfdSendSignal = 95, "pidfd_send_signal";
    /// rt_sigqueueinfo(2) returned.
    RtSigqueueinfo = 96, "rt_sigqueueinfo";
    /// socket(2) returned.
    Socket = 97, "socket";
    /// bind(2) returned.
    Bind = 98, "bind";
    /// listen(2) returned.
    Listen = 99, "listen";
    /// accept(2) returned.
    Accept = 100, "accept";
    /// accept4(2) returned.
    Accept4 = 101, "accept4";
    /// sendto(2) returned.
    Sendto = 102, "sendto";
    /// sendmsg(2) returned.
    Sendmsg = 103, "sendmsg";
    /// sendmmsg(2) returned.
    Sendmmsg = 104, "sendmmsg";
    /// dup(2) returned.
    Dup = 105, "dup";
    /// dup2(2) returned.
    Dup2 = 106, "dup2";
    /// dup3(2) returned.
    Dup3 = 107, "dup3";
    /// execve(2) failed.
    ExecveFailed = 108, "execve";
    /// execveat(2) failed.
    ExecveatFailed = 109, "execveat";
    /// A TCP connection ended.
    ConnectionEnd = 112, "connection_end";
    /// A process sends UDP to an address for the first time.
    UdpSend = 113, "udp_send";
    /// A DNS question left.
    DnsQuestion = 114, "dns_question";
    /// A DNS answer arrived.
    DnsAnswer = 115, "dns_answer";
    /// A process sent another one a signal.
    Signal = 116, "signal";
    /// A file that was open for writing was closed by the last that held it.
    CloseWrite = 117, "close_write";
}

impl EventKind {
    /// Kinds from this number on are system calls.
    pub const FIRST_CALL: u8 = 16;
    /// Kinds from this number on are not.
    pub const FIRST_HOOK: u8 = 112;

    /// The kind with this number on the ring.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL
            .binary_search_by_key(&number, |kind| *kind as u8)
            .ok()
            .and_then(|at| Self::ALL.get(at))
            .copied()
    }

    /// A system call that [`crate::call`] describes.
    pub const fn is_call(self) -> bool {
        self as u8 >= Self::FIRST_CALL && (self as u8) < Self::FIRST_HOOK
    }

    /// ECS `event.action`: of a system call its name.
    pub const fn action(self) -> &'static str {
        match self {
            Self::Exit => "end",
            Self::Connect => "connection_attempted",
            Self::ConnectionEnd => "connection_ended",
            Self::Cgroup => "cgroup_created",
            Self::ExecveFailed | Self::ExecveatFailed => "exec_failed",
            _ => self.name(),
        }
    }
}

/// A set of event kinds, one bit each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct KindSet(u128);

impl KindSet {
    /// No kind.
    pub const NONE: Self = Self(0);
    /// Every kind.
    pub const ALL: Self = Self::of(&EventKind::ALL);

    /// The set of these kinds.
    pub const fn of(kinds: &[EventKind]) -> Self {
        let mut bits = 0;
        let mut rest = kinds;
        while let [kind, tail @ ..] = rest {
            bits |= 1 << (*kind as u8);
            rest = tail;
        }
        Self(bits)
    }

    /// True when `kind` is in the set.
    pub const fn contains(self, kind: EventKind) -> bool {
        self.0 & (1 << (kind as u8)) != 0
    }

    /// Kinds that are in either set.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Kinds that are in both sets.
    #[must_use]
    pub const fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Kinds that are in this set and not in the other.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// True when no kind is in the set.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The kinds of the set.
    pub fn iter(self) -> impl Iterator<Item = EventKind> {
        EventKind::ALL.into_iter().filter(move |kind| self.contains(*kind))
    }
}
