//! Records of the rings: a [`Header`], a body that its kind tells, then texts.
//!
//! Texts follow the body without gaps, in the order of the body's `text_bytes`. A path is written
//! as the program walks it: component by component from the file up to the root, each ending in
//! NUL; the reader turns it round. That way the program appends and never moves bytes.

use crate::{Reader, VERSION, Wire};
use core::fmt;

/// A text's longest part beyond the limit: the last component of a path (255 bytes and NUL).
pub const NAME_BYTES_MAX: u32 = 256;
/// Longest text, in bytes; a path may exceed it by its last component.
pub const TEXT_BYTES_MAX: u32 = 4096;
/// Longest record: all of exec's texts at their limits.
pub const RECORD_BYTES_MAX: usize = 32 * 1024;

/// Most bytes of a DNS question that a record carries: a name of 255 bytes with what stands around it.
pub const DNS_QUESTION_BYTES: usize = 320;
/// Most bytes of a DNS answer that a record carries.
pub const DNS_ANSWER_BYTES: usize = 1024;

/// Kinds of record; those below 0x80 are the event kinds' numbers.
pub mod kind {
    /// [`Body::Process`](super::Body::Process), from exec.
    pub const EXEC: u8 = 1;
    /// [`Body::Fork`](super::Body::Fork).
    pub const FORK: u8 = 2;
    /// [`Body::Exit`](super::Body::Exit).
    pub const EXIT: u8 = 3;
    /// [`Body::Open`](super::Body::Open).
    pub const OPEN: u8 = 4;
    /// [`Body::Connect`](super::Body::Connect).
    pub const CONNECT: u8 = 5;
    /// [`Body::Cgroup`](super::Body::Cgroup).
    pub const CGROUP: u8 = 8;
    /// The first of [`of_open`] but [`OPEN`].
    pub const OPEN_APART: u8 = 9;
    /// The last of them.
    pub const OPEN_LAST: u8 = 12;
    /// The first of [`Body::Call`](super::Body::Call): kinds from here to [`CONNECTION_END`] are system calls.
    pub const CALL: u8 = 16;
    /// [`Body::Connection`](super::Body::Connection). Kinds from here to [`SEED`] are no system calls.
    pub const CONNECTION_END: u8 = 112;
    /// [`Body::Udp`](super::Body::Udp).
    pub const UDP_SEND: u8 = 113;
    /// [`Body::Dns`](super::Body::Dns): a question that leaves.
    pub const DNS_QUESTION: u8 = 114;
    /// [`Body::Dns`](super::Body::Dns): an answer that arrives.
    pub const DNS_ANSWER: u8 = 115;
    /// [`Body::Signal`](super::Body::Signal).
    pub const SIGNAL: u8 = 116;
    /// [`Body::Close`](super::Body::Close).
    pub const CLOSE_WRITE: u8 = 117;
    /// Where opens for reading that were left out under overload are counted; no record has it.
    pub const OPEN_SAMPLED: u8 = 126;
    /// The same of connects.
    pub const CONNECT_SAMPLED: u8 = 127;
    /// [`Body::Process`](super::Body::Process), from the task iterator; without sequence number.
    pub const SEED: u8 = 0x80;

    /// What is added to a kind where its events through io_uring are counted, which are numbered apart.
    pub const URING: u8 = 0x80;

    /// The kind of an open by this [`open_call`](super::open_call). Each counts for itself: a program at one function may
    /// be in the middle of its work when the task that runs now comes to another.
    pub const fn of_open(call: u32) -> u8 {
        if call == super::open_call::OPENAT { OPEN } else { OPEN_APART + (call & 3) as u8 }
    }
}

/// Bits of [`Header::flags`].
pub mod header_flag {
    /// `cgroup_id` is of a v1 controller.
    pub const CGROUP_V1: u32 = 1;
    /// Other threads or processes share the caller's memory (of a call).
    pub const SHARED_MEMORY: u32 = 2;
    /// Seen at a function of the kernel's, of a system call at the return of its own, not at a tracepoint.
    pub const FEXIT: u32 = 1 << 8;
    /// Seen without any read of kernel memory by a helper (object `lean`): paths lie as text, and what is not known is
    /// zero or empty.
    pub const LEAN: u32 = 1 << 10;
    /// Done through io_uring; no system call was made for it.
    pub const URING: u32 = 1 << 9;
}

/// Bits of [`ProcessBody::flags`].
pub mod process_flag {
    /// The program's file was made by memfd_create.
    pub const MEMFD: u32 = 1;
    /// The program sent SIGKILL to the process.
    pub const KILLED: u32 = 2;
    /// The path's front is missing: more than fits, or deeper than the walk goes.
    pub const PATH_CUT: u32 = 4;
    /// The same of the working directory.
    pub const CWD_CUT: u32 = 8;
    /// A kernel thread.
    pub const KERNEL_THREAD: u32 = 16;
    /// The program lies in the writable layer of an overlay file system.
    pub const UPPER_LAYER: u32 = 32;
    /// The program lies in a read-only layer of one.
    pub const LOWER_LAYER: u32 = 64;
    /// A script: the program that runs is its interpreter.
    pub const SCRIPT: u32 = 128;
}

/// Bits of [`OpenBody::bits`].
pub mod open_bit {
    /// The call created the file.
    pub const CREATED: u32 = 1;
    /// The path's front is missing.
    pub const PATH_CUT: u32 = 4;
    /// The base's front is missing.
    pub const BASE_CUT: u32 = 8;
    /// `inode` and the path are of the opened file.
    pub const FILE: u32 = 16;
    /// The base is known (it may be the root, which has no component).
    pub const BASE: u32 = 32;
}

/// Bits of [`CloseBody::bits`].
pub mod close_bit {
    /// The open that gave the file created it.
    pub const CREATED: u32 = 1;
    /// The path's front is missing.
    pub const PATH_CUT: u32 = 2;
}

/// Bits of [`CallBody::bits`].
pub mod call_bit {
    /// `inode` and the file's path are told.
    pub const FILE: u32 = 1;
    /// The socket is told.
    pub const SOCKET: u32 = 2;
    /// The file path's front is missing.
    pub const PATH_CUT: u32 = 4;
    /// The first base is known.
    pub const BASE: u32 = 8;
    /// Its front is missing.
    pub const BASE_CUT: u32 = 16;
    /// The second base is known.
    pub const SECOND_BASE: u32 = 32;
    /// Its front is missing.
    pub const SECOND_BASE_CUT: u32 = 64;
    /// The first path as the kernel resolved it is known (it may be the root, which has no component).
    pub const RESOLVED: u32 = 128;
    /// Its front is missing.
    pub const RESOLVED_CUT: u32 = 256;
    /// The second one is known.
    pub const SECOND_RESOLVED: u32 = 512;
    /// Its front is missing.
    pub const SECOND_RESOLVED_CUT: u32 = 1024;
}

/// Bits of [`ConnectionBody::bits`].
pub mod connection_bit {
    /// The header's process is one that held the socket; else nobody knows whose it was.
    pub const OWNER: u32 = 1;
    /// `since_boot_ns` is known.
    pub const SINCE: u32 = 2;
    /// It was accepted here.
    pub const SERVER: u32 = 4;
    /// It was made here; neither this nor `SERVER`: it stood before anybody looked.
    pub const CLIENT: u32 = 8;
    /// The bytes are known.
    pub const BYTES: u32 = 16;
}

/// Bits of [`DnsBody::bits`].
pub mod dns_bit {
    /// The header's process is the one that asked; else nobody knows it.
    pub const OWNER: u32 = 1;
}

/// Bits of [`CgroupBody::flags`].
pub mod cgroup_flag {
    /// It was removed, not made.
    pub const REMOVED: u32 = 1;
    /// It is of a v1 hierarchy.
    pub const V1: u32 = 2;
}

/// Numbers of [`OpenBody::call`].
pub mod open_call {
    /// open(2).
    pub const OPEN: u32 = 0;
    /// openat(2).
    pub const OPENAT: u32 = 1;
    /// openat2(2).
    pub const OPENAT2: u32 = 2;
    /// creat(2).
    pub const CREAT: u32 = 3;
}

wire! {
    /// Front of every record.
    pub struct Header {
        /// Length of the record in bytes.
        pub len: u32,
        /// See [`kind`].
        pub kind: u8,
        /// [`VERSION`].
        pub abi: u8,
        /// CPU that ran the program.
        pub cpu: u16,
        /// Number of this event among those of its kind on its CPU, from 0.
        pub seq: u64,
        /// CLOCK_BOOTTIME, ns.
        pub boot_ns: u64,
        /// Start of the process, CLOCK_BOOTTIME ns.
        pub start_boot_ns: u64,
        /// kernfs id of the cgroup.
        pub cgroup_id: u64,
        /// Process id, initial pid namespace, as all ids here.
        pub pid: u32,
        /// Thread id.
        pub tid: u32,
        /// Process id of the real parent.
        pub ppid: u32,
        /// Effective user id.
        pub euid: u32,
        /// Effective group id.
        pub egid: u32,
        /// See [`header_flag`].
        pub flags: u32,
        /// Command name, NUL-padded.
        pub comm: [u8; 16],
    }

    /// A file's inode.
    pub struct InodeFacts {
        /// Number.
        pub ino: u64,
        /// Change time, s.
        pub ctime_s: i64,
        /// Modification time, s.
        pub mtime_s: i64,
        /// ns part of the change time; the upper two bits are flags of the kernel's.
        pub ctime_ns: u32,
        /// ns part of the modification time.
        pub mtime_ns: u32,
        /// Device: major << 20 | minor.
        pub dev: u32,
        /// Type and permissions.
        pub mode: u32,
        /// Hard links.
        pub nlink: u32,
        /// Owner.
        pub uid: u32,
        /// Group.
        pub gid: u32,
        /// Zero.
        pub reserved: u32,
    }

    /// A process: at exec, or as the task iterator found it.
    pub struct ProcessBody {
        /// The program's file.
        pub exe: InodeFacts,
        /// Capabilities: inheritable, permitted, effective, bounding, ambient.
        pub caps: [u64; 5],
        /// Length of all arguments, bytes.
        pub args_bytes: u64,
        /// Start of the first process of its pid namespace, CLOCK_BOOTTIME ns.
        pub init_start_boot_ns: u64,
        /// uid, gid, suid, sgid, euid, egid, fsuid, fsgid.
        pub ids: [u32; 8],
        /// Inodes of the namespaces: mnt, pid, net, uts, ipc, cgroup, user.
        pub namespaces: [u32; 7],
        /// Controlling terminal as /proc/PID/stat shows it.
        pub tty: u32,
        /// Audit login uid.
        pub loginuid: u32,
        /// Audit session id.
        pub audit_session: u32,
        /// Session id.
        pub sid: u32,
        /// Process group id.
        pub pgid: u32,
        /// Process id in the process's own pid namespace.
        pub vpid: u32,
        /// Process group id there.
        pub vpgid: u32,
        /// Session id there.
        pub vsid: u32,
        /// See [`process_flag`].
        pub flags: u32,
        /// st_mode of descriptor 0.
        pub stdin_mode: u16,
        /// st_mode of descriptor 1.
        pub stdout_mode: u16,
        /// Zero.
        pub reserved: u32,
        /// filename, path, args, cwd, cgroup leaf, cgroup parent, environment, nothing.
        pub text_bytes: [u16; 8],
    }

    /// A new process.
    pub struct ForkBody {
        /// Start of the parent, CLOCK_BOOTTIME ns.
        pub parent_start_boot_ns: u64,
        /// Process id in the child's own pid namespace.
        pub vpid: u32,
        /// Inode of that namespace.
        pub pid_ns: u32,
    }

    /// The end of a process.
    pub struct ExitBody {
        /// User time by the tick, ns.
        pub utime_ns: u64,
        /// System time by the tick, ns.
        pub stime_ns: u64,
        /// Time on a CPU by the scheduler's clock, ns.
        pub runtime_ns: u64,
        /// Most memory that was resident at once, pages.
        pub max_rss_pages: u64,
        /// Page faults that needed no disk.
        pub minor_faults: u64,
        /// Page faults that did.
        pub major_faults: u64,
        /// Status as wait(2) gives it.
        pub status: u32,
        /// Zero.
        pub reserved: u32,
    }

    /// A call of the open family that returned.
    pub struct OpenBody {
        /// The file, when [`open_bit::FILE`] is set.
        pub inode: InodeFacts,
        /// O_* flags.
        pub flags: u64,
        /// Descriptor or -errno.
        pub result: i64,
        /// Permission bits for a new file.
        pub mode: u32,
        /// Directory descriptor.
        pub dirfd: i32,
        /// See [`open_bit`].
        pub bits: u32,
        /// See [`open_call`].
        pub call: u32,
        /// argument, base, path, nothing.
        pub text_bytes: [u16; 4],
    }

    /// A file that was open for writing was closed by the last that held it.
    pub struct CloseBody {
        /// The file.
        pub inode: InodeFacts,
        /// Its size.
        pub size_bytes: u64,
        /// O_* flags that it still has; those that only the open itself heeds are gone.
        pub flags: u32,
        /// Descriptor; -1: not known.
        pub fd: i32,
        /// See [`close_bit`].
        pub bits: u32,
        /// path, nothing.
        pub text_bytes: [u16; 2],
    }

    /// A socket.
    pub struct SocketFacts {
        /// AF_* family; 0: nothing is known.
        pub family: u16,
        /// SOCK_* type.
        pub socket_type: u16,
        /// IPPROTO_*.
        pub protocol: u16,
        /// Port of the far end, network byte order.
        pub remote_port: u16,
        /// Port of the near end, host byte order.
        pub local_port: u16,
        /// Zero.
        pub reserved: u16,
        /// Address of the far end; IPv4 in the first four bytes.
        pub remote: [u8; 16],
        /// Address of the near end.
        pub local: [u8; 16],
        /// `TCP_*` state as the kernel has it, for every protocol.
        pub state: u32,
    }

    /// A connect that returned.
    pub struct ConnectBody {
        /// 0 or -errno.
        pub result: i64,
        /// The socket; the far end is what was asked for where the call failed.
        pub socket: SocketFacts,
        /// Descriptor.
        pub fd: i32,
        /// Family of the address passed; 0: none could be read.
        pub family: u16,
        /// Zero.
        pub reserved: u16,
        /// Unix names: remote, local.
        pub text_bytes: [u16; 4],
    }

    /// A system call that returned.
    pub struct CallBody {
        /// The file, when [`call_bit::FILE`] is set.
        pub inode: InodeFacts,
        /// Arguments.
        pub args: [u64; 6],
        /// What it gave, or -errno.
        pub result: i64,
        /// The socket, when [`call_bit::SOCKET`] is set.
        pub socket: SocketFacts,
        /// See [`call_bit`].
        pub bits: u32,
        /// Three strings, two bases, the file's path, bytes of memory, the socket's name, two resolved paths.
        pub text_bytes: [u16; 10],
    }

    /// A TCP connection ended.
    pub struct ConnectionBody {
        /// When it stood, CLOCK_BOOTTIME ns.
        pub since_boot_ns: u64,
        /// Payload that was sent, once each byte.
        pub sent_bytes: u64,
        /// Payload that was received.
        pub received_bytes: u64,
        /// The socket.
        pub socket: SocketFacts,
        /// See [`connection_bit`].
        pub bits: u32,
        /// Zero.
        pub reserved: u32,
    }

    /// A process sends UDP to an address for the first time.
    pub struct UdpBody {
        /// The socket; the far end is the address of the call.
        pub socket: SocketFacts,
    }

    /// A UDP datagram to or from port 53, by its sender's or receiver's socket. The first `taken_bytes` of its payload
    /// follow; behind them the record has room that means nothing.
    pub struct DnsBody {
        /// Both ends as the packet has them.
        pub socket: SocketFacts,
        /// Length of the payload on the wire.
        pub payload_bytes: u32,
        /// How much of it follows.
        pub taken_bytes: u32,
        /// See [`dns_bit`].
        pub bits: u32,
        /// Zero.
        pub reserved: u32,
    }

    /// A cgroup was made or removed.
    pub struct CgroupBody {
        /// kernfs id.
        pub id: u64,
        /// See [`cgroup_flag`].
        pub flags: u32,
        /// Path below the hierarchy's root, nothing.
        pub text_bytes: [u16; 2],
    }

    /// A process sends another one a signal.
    pub struct SignalBody {
        /// Start of the process it is sent to, CLOCK_BOOTTIME ns.
        pub target_start_boot_ns: u64,
        /// Its id, initial pid namespace.
        pub target_pid: u32,
        /// Number of the signal.
        pub number: u32,
        /// `si_code`: by which call.
        pub code: i32,
        /// `TRACE_SIGNAL_*`, include/trace/events/signal.h: what becomes of it.
        pub result: u32,
        /// The target's command name, zero-padded.
        pub target_comm: [u8; 16],
    }

    /// A whole record of a signal.
    pub struct SignalRecord {
        /// Front.
        pub header: Header,
        /// Body.
        pub body: SignalBody,
    }

    /// A whole fork record.
    pub struct ForkRecord {
        /// Front.
        pub header: Header,
        /// Body.
        pub body: ForkBody,
    }

    /// A whole record of a connection's end.
    pub struct ConnectionRecord {
        /// Front.
        pub header: Header,
        /// Body.
        pub body: ConnectionBody,
    }

    /// A whole record of a first send.
    pub struct UdpRecord {
        /// Front.
        pub header: Header,
        /// Body.
        pub body: UdpBody,
    }

    /// A whole record of a question, without what follows.
    pub struct DnsRecord {
        /// Front.
        pub header: Header,
        /// Body.
        pub body: DnsBody,
    }

    /// A whole exit record.
    pub struct ExitRecord {
        /// Front.
        pub header: Header,
        /// Body.
        pub body: ExitBody,
    }
}

const _: () = {
    assert!(size_of::<Header>() == 80);
    assert!(size_of::<InodeFacts>() == 56);
    assert!(size_of::<ProcessBody>() == 232);
    assert!(size_of::<ForkBody>() == 16);
    assert!(size_of::<ExitBody>() == 56);
    assert!(size_of::<OpenBody>() == 96);
    assert!(size_of::<CloseBody>() == 80);
    assert!(size_of::<SocketFacts>() == 48);
    assert!(size_of::<ConnectBody>() == 72);
    assert!(size_of::<CallBody>() == 184);
    assert!(size_of::<ConnectionBody>() == 80);
    assert!(size_of::<UdpBody>() == 48);
    assert!(size_of::<DnsBody>() == 64);
    assert!(size_of::<CgroupBody>() == 16);
};

/// Body of a record with its texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body<'a> {
    /// exec or seed.
    Process {
        /// Fixed part.
        body: ProcessBody,
        /// As `text_bytes` orders them.
        texts: [&'a [u8]; 8],
    },
    /// fork.
    Fork(ForkBody),
    /// exit.
    Exit(ExitBody),
    /// open.
    Open {
        /// Fixed part.
        body: OpenBody,
        /// argument, base, path, nothing.
        texts: [&'a [u8]; 4],
    },
    /// The close of a file.
    Close {
        /// Fixed part.
        body: CloseBody,
        /// path, nothing.
        texts: [&'a [u8]; 2],
    },
    /// connect.
    Connect {
        /// Fixed part.
        body: ConnectBody,
        /// remote, local, nothing.
        texts: [&'a [u8]; 4],
    },
    /// A system call.
    Call {
        /// Fixed part.
        body: CallBody,
        /// As `text_bytes` orders them.
        texts: [&'a [u8]; 10],
    },
    /// The end of a connection.
    Connection(ConnectionBody),
    /// A first send.
    Udp(UdpBody),
    /// A signal.
    Signal(SignalBody),
    /// A DNS datagram.
    Dns {
        /// Fixed part.
        body: DnsBody,
        /// The front of the payload.
        payload: &'a [u8],
    },
    /// cgroup.
    Cgroup {
        /// Fixed part.
        body: CgroupBody,
        /// path, nothing.
        texts: [&'a [u8]; 2],
    },
}

/// One record, its texts borrowed from the ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Front.
    pub header: Header,
    /// Rest.
    pub body: Body<'a>,
}

/// Why bytes are no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// Shorter than its parts say.
    Short,
    /// `len` and the bytes at hand, or the texts' lengths, do not add up.
    Length,
    /// Written by an object of another [`VERSION`].
    Version(u8),
    /// No such kind.
    Kind(u8),
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Short => f.write_str("record is cut short"),
            Self::Length => f.write_str("record's lengths do not add up"),
            Self::Version(version) => write!(f, "record of version {version}, this agent reads {VERSION}"),
            Self::Kind(kind) => write!(f, "record of unknown kind {kind}"),
        }
    }
}

impl core::error::Error for Malformed {}

fn texts<'a, const N: usize>(reader: &mut Reader<'a>, bytes: [u16; N]) -> Result<[&'a [u8]; N], Malformed> {
    let mut all: [&[u8]; N] = [&[]; N];
    for (text, count) in all.iter_mut().zip(bytes) {
        *text = reader.take(usize::from(count)).ok_or(Malformed::Short)?;
    }
    Ok(all)
}

impl<'a> Record<'a> {
    /// Reads a record that fills `bytes`.
    ///
    /// # Errors
    /// [`Malformed`] for anything a program of this version did not write. Never panics.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes);
        let header = Header::read(&mut reader).ok_or(Malformed::Short)?;
        if header.abi != VERSION {
            return Err(Malformed::Version(header.abi));
        }
        if u32::try_from(bytes.len()) != Ok(header.len) {
            return Err(Malformed::Length);
        }
        let body = match header.kind {
            kind::EXEC | kind::SEED => {
                let body = ProcessBody::read(&mut reader).ok_or(Malformed::Short)?;
                Body::Process { body, texts: texts(&mut reader, body.text_bytes)? }
            }
            kind::FORK => Body::Fork(ForkBody::read(&mut reader).ok_or(Malformed::Short)?),
            kind::EXIT => Body::Exit(ExitBody::read(&mut reader).ok_or(Malformed::Short)?),
            kind::OPEN | kind::OPEN_APART..=kind::OPEN_LAST => {
                let body = OpenBody::read(&mut reader).ok_or(Malformed::Short)?;
                Body::Open { body, texts: texts(&mut reader, body.text_bytes)? }
            }
            kind::CLOSE_WRITE => {
                let body = CloseBody::read(&mut reader).ok_or(Malformed::Short)?;
                Body::Close { body, texts: texts(&mut reader, body.text_bytes)? }
            }
            kind::CONNECT => {
                let body = ConnectBody::read(&mut reader).ok_or(Malformed::Short)?;
                Body::Connect { body, texts: texts(&mut reader, body.text_bytes)? }
            }
            kind::CGROUP => {
                let body = CgroupBody::read(&mut reader).ok_or(Malformed::Short)?;
                Body::Cgroup { body, texts: texts(&mut reader, body.text_bytes)? }
            }
            kind::CONNECTION_END => {
                Body::Connection(ConnectionBody::read(&mut reader).ok_or(Malformed::Short)?)
            }
            kind::SIGNAL => Body::Signal(SignalBody::read(&mut reader).ok_or(Malformed::Short)?),
            kind::UDP_SEND => Body::Udp(UdpBody::read(&mut reader).ok_or(Malformed::Short)?),
            kind::DNS_QUESTION | kind::DNS_ANSWER => {
                let body = DnsBody::read(&mut reader).ok_or(Malformed::Short)?;
                let taken = usize::try_from(body.taken_bytes).map_err(|_| Malformed::Short)?;
                let payload = reader.take(taken).ok_or(Malformed::Short)?;
                let room =
                    if header.kind == kind::DNS_ANSWER { DNS_ANSWER_BYTES } else { DNS_QUESTION_BYTES };
                let unused = room.checked_sub(taken).ok_or(Malformed::Length)?;
                reader.take(unused).ok_or(Malformed::Short)?;
                Body::Dns { body, payload }
            }
            kind::CALL..kind::CONNECTION_END => {
                let body = CallBody::read(&mut reader).ok_or(Malformed::Short)?;
                Body::Call { body, texts: texts(&mut reader, body.text_bytes)? }
            }
            other => return Err(Malformed::Kind(other)),
        };
        if reader.rest().is_empty() { Ok(Self { header, body }) } else { Err(Malformed::Length) }
    }
}
