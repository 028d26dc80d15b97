//! Events as the sensor decoded them: kernel facts only, nothing looked up yet.

use crate::{EventKind, Text};
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, SocketAddr};

/// How the event was seen; the ladder of probes that `hostward doctor` prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rung {
    /// BPF LSM hook.
    Lsm,
    /// fentry or fexit trampoline.
    Fentry,
    /// BTF-typed tracepoint.
    BtfTracepoint,
    /// Program of the root cgroup.
    Cgroup,
    /// Tracepoint of one system call.
    SyscallTracepoint,
    /// Tracepoints of io_uring: no system call was made.
    IoUring,
}

impl Rung {
    /// The name in `hostward.source.rung`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Lsm => "lsm",
            Self::Fentry => "fentry",
            Self::BtfTracepoint => "btf_tracepoint",
            Self::Cgroup => "cgroup",
            Self::SyscallTracepoint => "syscall_tracepoint",
            Self::IoUring => "io_uring",
        }
    }
}

/// Where and when the kernel recorded an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// Which kind of probe saw it.
    pub rung: Rung,
    /// CPU that ran the program.
    pub cpu: u16,
    /// Which numbers `seq` is of, where a kind has several: not 0 for opens by another call than openat, and for what came
    /// through io_uring.
    #[serde(default)]
    pub stream: u8,
    /// Number of this event among those of its kind and stream on this CPU, from 0; a hole is a loss.
    pub seq: u64,
    /// CLOCK_BOOTTIME in ns when the program ran.
    pub boot_ns: u64,
    /// CLOCK_BOOTTIME in ns when user space decoded it.
    pub received_boot_ns: u64,
}

/// The task that acted, as the program saw it at that moment.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RawTask {
    /// Process id (tgid) in the initial pid namespace.
    pub pid: u32,
    /// Thread id in the initial pid namespace.
    pub tid: u32,
    /// Process id of the real parent.
    pub ppid: u32,
    /// Start of the process (group leader), CLOCK_BOOTTIME ns.
    pub start_boot_ns: u64,
    /// Effective user id, initial user namespace.
    pub euid: u32,
    /// Effective group id, initial user namespace.
    pub egid: u32,
    /// cgroup id (inode): of the unified hierarchy, else of a v1 controller's.
    pub cgroup_id: u64,
    /// Command name, at most 15 bytes.
    pub comm: Text,
}

/// User and group ids (initial user namespace) and capability sets (bit n = capability n).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Credentials {
    /// Real user id.
    pub uid: u32,
    /// Real group id.
    pub gid: u32,
    /// Saved user id.
    pub suid: u32,
    /// Saved group id.
    pub sgid: u32,
    /// Effective user id.
    pub euid: u32,
    /// Effective group id.
    pub egid: u32,
    /// File system user id.
    pub fsuid: u32,
    /// File system group id.
    pub fsgid: u32,
    /// Inheritable capabilities.
    pub cap_inheritable: u64,
    /// Permitted capabilities.
    pub cap_permitted: u64,
    /// Effective capabilities.
    pub cap_effective: u64,
    /// Bounding set.
    pub cap_bounding: u64,
    /// Ambient capabilities.
    pub cap_ambient: u64,
}

/// Namespace ids: the inode numbers that `/proc/PID/ns/*` show. 0: not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Namespaces {
    /// Mount namespace.
    pub mnt: u32,
    /// Process id namespace.
    pub pid: u32,
    /// Network namespace.
    pub net: u32,
    /// Host name namespace.
    pub uts: u32,
    /// System V IPC namespace.
    pub ipc: u32,
    /// cgroup namespace.
    pub cgroup: u32,
    /// User namespace.
    pub user: u32,
}

/// What kind of file a descriptor or path is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FileType {
    /// Not open, or not known.
    #[default]
    Unknown,
    /// Regular file.
    File,
    /// Directory.
    Dir,
    /// Symbolic link.
    Symlink,
    /// Pipe or FIFO.
    Fifo,
    /// Socket.
    Socket,
    /// Character device (a terminal is one).
    CharDevice,
    /// Block device.
    BlockDevice,
}

impl FileType {
    /// The type in a `mode` as stat(2) gives it; mode 0 is unknown.
    pub const fn from_mode(mode: u32) -> Self {
        match mode & 0o170_000 {
            0o100_000 => Self::File,
            0o040_000 => Self::Dir,
            0o120_000 => Self::Symlink,
            0o010_000 => Self::Fifo,
            0o140_000 => Self::Socket,
            0o020_000 => Self::CharDevice,
            0o060_000 => Self::BlockDevice,
            _ => Self::Unknown,
        }
    }

    /// ECS `file.type` and `process.io` word; none when unknown.
    pub const fn name(self) -> Option<&'static str> {
        Some(match self {
            Self::Unknown => return None,
            Self::File => "file",
            Self::Dir => "dir",
            Self::Symlink => "symlink",
            Self::Fifo => "fifo",
            Self::Socket => "socket",
            Self::CharDevice => "char_device",
            Self::BlockDevice => "block_device",
        })
    }
}

/// A file's identity and times, from its inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Inode {
    /// Inode number; 0: not known.
    pub ino: u64,
    /// Device as the kernel numbers it: major << 20 | minor.
    pub dev: u32,
    /// Type and permission bits as in stat(2).
    pub mode: u32,
    /// Hard links; 0 means deleted (or a memfd).
    pub nlink: u32,
    /// Owner, initial user namespace.
    pub uid: u32,
    /// Group, initial user namespace.
    pub gid: u32,
    /// Change time, ns since the epoch.
    pub ctime_ns: i64,
    /// Modification time, ns since the epoch.
    pub mtime_ns: i64,
}

/// Names of the cgroup a process is in.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RawCgroup {
    /// See [`RawTask::cgroup_id`].
    pub id: u64,
    /// True when `id` is of a v1 controller, because the unified hierarchy does not tell.
    pub v1: bool,
    /// Name of the cgroup's directory; empty for the root.
    pub leaf: Text,
    /// Name of its parent directory; empty for the root.
    pub parent: Text,
}

/// Arguments as they lie in memory: each ends in NUL.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Args {
    /// argv\[0\] NUL argv\[1\] NUL …, at most 4096 bytes.
    pub raw: Text,
    /// Length in bytes of all arguments in the process; more than `raw` holds when cut.
    pub total_bytes: u32,
}

impl Args {
    /// The arguments, argv\[0\] first. The last may be cut, see [`Args::truncated`].
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let raw = self.raw.as_bytes();
        let whole = raw.strip_suffix(b"\0").unwrap_or(raw);
        let some = (!raw.is_empty()).then(|| whole.split(|b| *b == 0));
        some.into_iter().flatten()
    }

    /// True when the process has more bytes of arguments than were taken.
    pub fn truncated(&self) -> bool {
        usize::try_from(self.total_bytes).is_ok_and(|total| total > self.raw.as_bytes().len())
    }
}

/// Layer of an overlay file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Layer {
    /// The writable one: made or changed after the container was.
    Upper,
    /// One of the image.
    Lower,
}

impl Layer {
    /// The word on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Upper => "upper",
            Self::Lower => "lower",
        }
    }
}

/// What is known of a process's program and surroundings at exec.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct RawExec {
    /// Path given to execve, as text of the caller (for a script: the script).
    pub filename: Text,
    /// Path of the program that runs, walked by the kernel's own tree; for a script its interpreter.
    pub path: Text,
    /// Arguments.
    pub args: Args,
    /// Working directory.
    pub cwd: Text,
    /// The program's file.
    pub exe: Inode,
    /// The program has no name in any directory: created by memfd_create.
    pub memfd: bool,
    /// Where it lies in an overlay file system; none: in no such one.
    pub layer: Option<Layer>,
    /// `filename` is a script and `path` its interpreter.
    pub script: bool,
    /// Environment as it lies in memory, `KEY=VALUE` NUL …, at most 4096 bytes; empty unless it is wanted.
    pub environment: Text,
    /// Start of the first process of its pid namespace, CLOCK_BOOTTIME ns; 0: not known.
    pub init_start_boot_ns: u64,
    /// Ids and capabilities after exec.
    pub creds: Credentials,
    /// Namespaces.
    pub ns: Namespaces,
    /// Controlling terminal as a device number (34816 is pts/0); 0: none.
    pub tty: u32,
    /// Audit login uid; u32::MAX: unset.
    pub loginuid: u32,
    /// Audit session id; u32::MAX: unset.
    pub audit_session: u32,
    /// Session id, initial pid namespace.
    pub sid: u32,
    /// Process group id, initial pid namespace.
    pub pgid: u32,
    /// Process id in the process's own pid namespace.
    pub vpid: u32,
    /// Process group id in the process's own pid namespace.
    pub vpgid: u32,
    /// Session id in the process's own pid namespace.
    pub vsid: u32,
    /// cgroup.
    pub cgroup: RawCgroup,
    /// What descriptor 0 is.
    pub stdin: FileType,
    /// What descriptor 1 is.
    pub stdout: FileType,
    /// The program killed this process in the kernel because a response said so.
    pub killed: bool,
}

/// Which call of the open family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OpenCall {
    /// open(2).
    Open,
    /// openat(2).
    Openat,
    /// openat2(2).
    Openat2,
    /// creat(2).
    Creat,
}

impl OpenCall {
    /// The system call's name, `evt.type`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Openat => "openat",
            Self::Openat2 => "openat2",
            Self::Creat => "creat",
        }
    }
}

/// A call of the open family that returned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RawOpen {
    /// Which call.
    pub call: OpenCall,
    /// O_* flags as passed (x86-64 and arm64 share the generic values for those rendered).
    pub flags: u64,
    /// Permission bits for a file that is created.
    pub mode: u32,
    /// Descriptor, or -errno.
    pub result: i64,
    /// Directory descriptor; AT_FDCWD (-100) for the working directory.
    pub dirfd: i32,
    /// Path as the caller passed it, read when the call returned.
    pub arg: Text,
    /// Where a relative `arg` starts; empty when `arg` is absolute or the directory is unknown.
    pub base: Text,
    /// Path of the file that was opened, walked by the kernel's own tree; empty when it failed, or when the descriptor was
    /// closed before it was looked at.
    pub path: Text,
    /// The file; all zero as `path` is empty.
    pub inode: Inode,
    /// The call created the file (FMODE_CREATED).
    pub created: bool,
    /// Other threads or processes share the caller's memory, so that they may have changed `arg` after the kernel had
    /// read it.
    #[serde(default)]
    pub shared_memory: bool,
}

/// A regular file that was open for writing was closed by the last that held it. The task is the one that let it go; a
/// thread of the kernel where that was an interrupt's or a kernel thread's doing.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RawCloseWrite {
    /// Descriptor; -1: not known.
    pub fd: i32,
    /// O_* flags that the file still has, without those that only the open itself heeds (O_CREAT, O_TRUNC, …).
    pub flags: u64,
    /// Path, walked by the kernel's own tree. At the end of a process from the root of its mount namespace, as its own is
    /// gone by then.
    pub path: Text,
    /// The file.
    pub inode: Inode,
    /// Its size.
    pub size_bytes: u64,
    /// The open that gave it created it (FMODE_CREATED).
    pub created: bool,
}

/// An address a socket connects to or from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Endpoint {
    /// IPv4 or IPv6 address and port.
    Ip(SocketAddr),
    /// Unix socket path; an abstract name begins with NUL.
    Unix(Text),
}

/// A socket and the call on it: a connect(2) that returned, or the socket of a [`RawCall`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RawConnect {
    /// Socket descriptor.
    pub fd: i32,
    /// 0, or -errno (-115, EINPROGRESS, is how a non-blocking connect starts).
    pub result: i64,
    /// AF_* number of the address passed.
    pub family: u16,
    /// SOCK_* type of the socket; 0: not known.
    pub sock_type: u16,
    /// IPPROTO_* of the socket.
    pub protocol: u16,
    /// Where to; none for families other than IPv4, IPv6 and unix.
    pub remote: Option<Endpoint>,
    /// Where from; none when the socket has no local address.
    pub local: Option<Endpoint>,
    /// The process is the server: it accepted the connection, or waits for some.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub server: bool,
}

/// A TCP connection that ended. The task is one that held it: the one that made it, else the one that closed it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RawConnectionEnd {
    /// Its ends; no descriptor.
    pub socket: RawConnect,
    /// How long it stood, ns; none when it stood before the agent looked.
    pub duration_ns: Option<u64>,
    /// Payload sent, each byte once; none: the kernel does not count.
    pub sent_bytes: Option<u64>,
    /// Payload received.
    pub received_bytes: Option<u64>,
    /// The task is known.
    pub owned: bool,
}

/// DNS over UDP as the asker sees it: a question that left, or an answer that arrived.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RawDns {
    /// Both ends; no descriptor. The far end is the server.
    pub socket: RawConnect,
    /// It arrived.
    pub answer: bool,
    /// The task is the one that asked.
    pub owned: bool,
    /// What it says; none: it is no DNS.
    pub message: Option<DnsMessage>,
    /// All that it says was read: it is whole, and none of it is malformed.
    pub complete: bool,
}

impl RawDns {
    /// The kind of this event.
    pub const fn kind(&self) -> EventKind {
        if self.answer { EventKind::DnsAnswer } else { EventKind::DnsQuestion }
    }
}

/// A DNS message (RFC 1035). Names are in master file form without the last dot: a dot or backslash within a label as
/// `\.` and `\\`, bytes that are no printable ASCII as `\DDD`; the root is `.`.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct DnsMessage {
    /// Number that question and answer share.
    pub id: u16,
    /// Second word of the header: QR, opcode, AA, TC, RD, RA, AD, CD, response code.
    pub flags: u16,
    /// The first question.
    pub question: Option<DnsQuestion>,
    /// Records of the answer section, as far as they were read.
    pub answers: Vec<DnsAnswer>,
}

impl DnsMessage {
    /// It is a response, whichever way it goes.
    pub const fn is_response(&self) -> bool {
        self.flags & 0x8000 != 0
    }

    /// What was asked for.
    pub const fn opcode(&self) -> u8 {
        (self.flags >> 11 & 0xf) as u8
    }

    /// How it went.
    pub const fn response_code(&self) -> u8 {
        (self.flags & 0xf) as u8
    }
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct DnsQuestion {
    /// Name, in lower case: letters' case means nothing in DNS.
    pub name: Text,
    /// QTYPE.
    pub kind: u16,
    /// QCLASS.
    pub class: u16,
}

/// A record of the answer section.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DnsAnswer {
    /// Whose it is, as [`DnsQuestion::name`].
    pub name: Text,
    /// TYPE.
    pub kind: u16,
    /// CLASS.
    pub class: u16,
    /// Seconds for which it holds.
    pub ttl_s: u32,
    /// What it tells.
    pub data: DnsData,
}

/// Content of a record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DnsData {
    /// A, AAAA.
    Address(IpAddr),
    /// CNAME, NS, PTR, and the host of MX and SRV.
    Name(Text),
    /// TXT, its strings joined, as they came.
    Text(Text),
    /// Another type: that many bytes.
    Other(u16),
}

/// The file behind a descriptor of a [`RawCall`].
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RawFile {
    /// Path, walked by the kernel's own tree.
    pub path: Text,
    /// The file.
    pub inode: Inode,
}

/// A system call of [`crate::call`] that returned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RawCall {
    /// Which call.
    pub kind: EventKind,
    /// What it gave, or -errno.
    pub result: i64,
    /// Arguments as they were passed.
    pub args: [u64; 6],
    /// Strings in the order of [`crate::call::Spec::texts`], read from the caller's memory when the call returned.
    pub texts: [Text; crate::call::TEXTS],
    /// Where a relative first or second text starts; empty when it is absolute or the directory is not known.
    pub bases: [Text; 2],
    /// The first and second path that the call is about, as the kernel itself had resolved them; empty where that is not
    /// known. A directory entry that was removed, renamed or made is told by its own name, links among the directories
    /// and links that the call follows by what they lead to.
    #[serde(default)]
    pub resolved: [Text; 2],
    /// The file behind the descriptor.
    pub file: Option<Box<RawFile>>,
    /// The socket behind the descriptor.
    pub socket: Option<Box<RawConnect>>,
    /// Bytes of the caller's memory that an argument points to.
    pub data: Text,
    /// Other threads or processes share the caller's memory, so that they may have changed texts and bytes after the
    /// kernel had read them.
    pub shared_memory: bool,
}

/// What a process used until it ended, as getrusage(2) counts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Usage {
    /// Most memory that was resident at once, bytes.
    pub max_rss_bytes: u64,
    /// Page faults that needed no disk.
    pub minor_faults: u64,
    /// Page faults that did.
    pub major_faults: u64,
}

/// A signal that one process sent to another. The task is the sender.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RawSignal {
    /// Its number.
    pub number: u32,
    /// `si_code`: 0 kill, -1 sigqueue, -6 tgkill, ….
    pub code: i32,
    /// What becomes of it.
    pub fate: SignalFate,
    /// The process that it is sent to: id in the initial pid namespace.
    pub target_pid: u32,
    /// Its start, CLOCK_BOOTTIME ns.
    pub target_start_boot_ns: u64,
    /// Its command name.
    pub target_comm: Text,
}

/// What becomes of a signal; `TRACE_SIGNAL_*` in the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SignalFate {
    /// It is on its way.
    #[default]
    Delivered,
    /// The target ignores it.
    Ignored,
    /// The same one waits already.
    AlreadyPending,
    /// Too many wait: it was refused.
    Overflow,
    /// Too many wait: it goes without what belongs to it.
    LostInfo,
}

impl SignalFate {
    /// By the kernel's number.
    pub const fn from_number(number: u32) -> Self {
        match number {
            1 => Self::Ignored,
            2 => Self::AlreadyPending,
            3 => Self::Overflow,
            4 => Self::LostInfo,
            _ => Self::Delivered,
        }
    }

    /// The word in events.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Ignored => "ignored",
            Self::AlreadyPending => "already_pending",
            Self::Overflow => "overflow",
            Self::LostInfo => "lost_info",
        }
    }
}

/// What happened, one variant per kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RawBody {
    /// See [`RawExec`].
    Exec(Box<RawExec>),
    /// The task is the child; its parent is given with its start time.
    Fork {
        /// Start of the parent process, CLOCK_BOOTTIME ns.
        parent_start_boot_ns: u64,
        /// Process id in the child's own pid namespace.
        vpid: u32,
        /// The child's cgroup id may differ from the parent's (CLONE_INTO_CGROUP).
        pid_ns: u32,
    },
    /// The last thread of a process ended.
    Exit {
        /// Status as wait(2) gives it: exit code << 8, or signal with 0x80 for a core dump.
        status: u32,
        /// User CPU time of all threads, ns.
        utime_ns: u64,
        /// System CPU time of all threads, ns.
        stime_ns: u64,
        /// What else it used.
        #[serde(default)]
        usage: Usage,
    },
    /// See [`RawOpen`].
    Open(Box<RawOpen>),
    /// See [`RawCloseWrite`].
    CloseWrite(Box<RawCloseWrite>),
    /// See [`RawConnect`].
    Connect(Box<RawConnect>),
    /// See [`RawConnectionEnd`].
    ConnectionEnd(Box<RawConnectionEnd>),
    /// The first send to an address: no descriptor, no result.
    UdpSend(Box<RawConnect>),
    /// See [`RawDns`].
    Dns(Box<RawDns>),
    /// See [`RawCgroupChange`].
    Cgroup(RawCgroupChange),
    /// See [`RawCall`].
    Call(Box<RawCall>),
    /// See [`RawSignal`].
    Signal(Box<RawSignal>),
}

/// A cgroup was made or removed, of the unified hierarchy or, on a host without it, of the v1 one that tells workloads
/// apart; the task is the one that did it.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RawCgroupChange {
    /// kernfs id, the directory's inode number.
    pub id: u64,
    /// Path below the hierarchy's root.
    pub path: Text,
    /// Of a v1 hierarchy.
    #[serde(default)]
    pub v1: bool,
    /// It was removed, not made.
    pub removed: bool,
}

/// One decoded record of the ring.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RawEvent {
    /// Where and when.
    pub source: Source,
    /// Who.
    pub task: RawTask,
    /// What.
    pub body: RawBody,
}

impl RawEvent {
    /// The kind of this event.
    pub fn kind(&self) -> EventKind {
        match &self.body {
            RawBody::Exec(_) => EventKind::Exec,
            RawBody::Fork { .. } => EventKind::Fork,
            RawBody::Exit { .. } => EventKind::Exit,
            RawBody::Open(_) => EventKind::Open,
            RawBody::CloseWrite(_) => EventKind::CloseWrite,
            RawBody::Connect(_) => EventKind::Connect,
            RawBody::ConnectionEnd(_) => EventKind::ConnectionEnd,
            RawBody::UdpSend(_) => EventKind::UdpSend,
            RawBody::Signal(_) => EventKind::Signal,
            RawBody::Dns(dns) => dns.kind(),
            RawBody::Cgroup(_) => EventKind::Cgroup,
            RawBody::Call(call) => call.kind,
        }
    }
}

/// Events of one kind that one CPU's program could not hand over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// Kind of the lost events.
    pub lost: EventKind,
    /// CPU whose program lost them.
    pub cpu: u16,
    /// [`Source::stream`] of the lost events.
    #[serde(default)]
    pub stream: u8,
    /// [`Source::seq`] of the first lost event.
    pub first: u64,
    /// [`Source::seq`] of the last lost event.
    pub last: u64,
    /// How many were lost.
    pub count: u64,
    /// CLOCK_BOOTTIME in ns when the loss was noticed.
    pub boot_ns: u64,
}

impl Gap {
    /// Streams of events that were left out on purpose, under overload.
    pub const SAMPLED: [u8; 2] = [126, 127];

    /// They were left out on purpose.
    pub const fn is_sampled(&self) -> bool {
        let [open, connect] = Self::SAMPLED;
        self.stream == open || self.stream == connect
    }
}
