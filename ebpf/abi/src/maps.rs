//! Values of maps and of the read-only settings.

/// Kinds that the counters have room for; the index is the kind's number.
pub const KINDS: usize = 256;

/// Operations of io_uring that the table of what is wanted of them has room for.
pub const URING_OPS: u32 = 64;

/// What is wanted of an operation of io_uring.
pub mod uring_call {
    /// Nothing.
    pub const UNWANTED: u32 = 0;

    /// To be told as system call `number` (of an open or connect: its own number of the call), counted in `row`.
    pub const fn told_as(row: u8, number: u32) -> u32 {
        (row as u32) << 16 | number & 0xffff
    }

    /// Where it is counted.
    pub const fn row(call: u32) -> u8 {
        (call >> 16) as u8
    }

    /// Which call it is told as.
    pub const fn number(call: u32) -> u32 {
        call & 0xffff
    }
}

/// Classes of events that may be left out under overload.
pub const SAMPLED_CLASSES: u32 = 2;

/// Those classes.
pub mod sampled_class {
    /// Opens for reading alone.
    pub const OPEN_READ: u32 = 0;
    /// Connects.
    pub const CONNECT: u32 = 1;
}

/// Processes whose events are counted under overload; the least lately seen is forgotten.
pub const SAMPLED_PROCESSES: u32 = 4096;

/// Ends of processes that are remembered, so that none is told twice; the least lately used is forgotten.
pub const ENDED_KEPT: u32 = 1024;

/// Numbers of system calls that one half of the call table has room for: the first is of the machine's own calls.
pub const CALL_NUMBERS: u32 = 512;

/// Row of call `number` of i386, in the other half; outside of the table when it has none.
pub const fn ia32_row(number: u32) -> u32 {
    if number < CALL_NUMBERS { CALL_NUMBERS + number } else { u32::MAX }
}

/// Number of a helper that does not exist. The loader puts a call of the kernel's function `bpf_rdonly_cast` in place of a
/// call of it: only the running kernel tells that function's number.
pub const CAST: i32 = 0x5243_4131;

/// Concurrent users of scratch memory per CPU and object. A program cannot interrupt itself, and
/// an object has programs of at most three contexts, so four is one more than can ever be taken.
pub const SLOTS_PER_CPU: u32 = 4;

/// Longest path that can be killed at exec, in the programs' form (each component plus NUL).
pub const KILL_PATH_BYTES: usize = 512;

/// Names that the open filter may hold.
pub const NAMES_MAX: u32 = 8192;

/// Paths, and command names, that may be killed at exec.
pub const KILLS_MAX: u32 = 1024;

/// Words of the bitmap of ports whose connects are wanted; bit n of all: port n.
pub const PORT_WORDS: usize = 1024;

/// Blocks of what is ignored: one bit of a word each.
pub const IGNORE_BLOCKS: usize = 32;

/// Keys of what is ignored: texts, ids, cgroups, networks.
pub const IGNORE_KEYS_MAX: u32 = 16_384;

/// Bytes of such a key: the word of [`ignore_key`], then the value. The most that the kernel's trie takes.
pub const IGNORE_KEY_BYTES: usize = 256;

/// Most bytes of a path's end that are compared.
pub const IGNORE_TAIL_BYTES: usize = 64;

/// What a key of the trie of what is ignored is; the first word of its data.
pub mod ignore_key {
    /// Command name, 16 bytes, zero-padded.
    pub const COMM: u32 = 1;
    /// Effective user id, 4 bytes.
    pub const UID: u32 = 2;
    /// kernfs id of a directory of the unified cgroup hierarchy, 8 bytes.
    pub const CGROUP: u32 = 3;
    /// Front of the path of the program's file, or all of it with its NUL.
    pub const EXE: u32 = 4;
    /// The same of the file that was opened.
    pub const PATH: u32 = 5;
    /// End of the path of the file that was opened, its last byte first.
    pub const TAIL: u32 = 6;
    /// Address, 16 bytes, those of IPv4 as IPv6 maps them.
    pub const ADDRESS: u32 = 7;
    /// Port, 2 bytes in the order of the network.
    pub const PORT: u32 = 8;
}

/// Tables of blocks; each has a spec, and keys of its own in the trie.
pub mod block_table {
    /// What the operator wants left out: an event that a block fits is.
    pub const IGNORED: u32 = 0;
    /// What rules want: an event that no block fits is left out. A kind without blocks is wanted of everyone.
    pub const WANTED: u32 = 1;

    /// What keys of table `table` begin with, on top of [`ignore_key`](super::ignore_key).
    pub const fn key(table: u32, what: u32) -> u32 {
        table << 16 | what
    }
}

/// Words of the filter's bitmap: 4096 bits.
pub const BLOOM_WORDS: usize = 64;

wire! {
    /// What one CPU's program of one kind did.
    pub struct Counter {
        /// Events that wanted out; the next event's sequence number.
        pub attempted: u64,
        /// Attempts that ended, in the ring or lost.
        pub settled: u64,
        /// Attempts that were lost.
        pub dropped: u64,
        /// Losses because no scratch slot was free (part of `dropped`).
        pub starved: u64,
    }

    /// The process whose own deeds are not told and that is never killed.
    pub struct Agent {
        /// Process id, initial pid namespace.
        pub tgid: u32,
        /// Zero.
        pub reserved: u32,
        /// Start of the process, CLOCK_BOOTTIME ns.
        pub start_boot_ns: u64,
        /// Bits of the start that count: all, or none where it is not known and the number decides alone.
        pub start_mask: u64,
    }

    /// Read-only settings of an object.
    pub struct Settings {
        /// 1: `bpf_get_current_task_btf` exists (5.11), so fields are loaded without a helper.
        pub typed: u32,
        /// 1: `bpf_task_pt_regs` exists (5.15).
        pub regs_helper: u32,
        /// Distance of the saved user registers from the low end of the kernel stack, bytes; used
        /// without the helper.
        pub regs_distance: u32,
        /// Number of open(2); `u32::MAX`: this machine has none.
        pub nr_open: u32,
        /// Number of openat2(2).
        pub nr_openat2: u32,
        /// Number of creat(2); `u32::MAX`: this machine has none.
        pub nr_creat: u32,
        /// Number of the v1 hierarchy whose directories tell workloads apart; 0: the unified one.
        pub cgroup_hierarchy: u32,
        /// Number of close(2).
        pub nr_close: u32,
        /// What the count of a file says that is held once: 1, and 0 where it is a `file_ref_t` (6.13).
        pub held_once: u32,
        /// 1: the kernel says of a thread that ends whether it is the process's last (6.17).
        pub group_dead: u32,
        /// 1: the kernel lets a program load from any address (6.17); see [`CAST`].
        pub loads: u32,
        /// 1: mounts may map ids (5.12), and hooks that know of it have that map in front of the directory entry.
        pub has_idmaps: u32,
    }

    /// The open filter's fixed part.
    pub struct OpenFilter {
        /// Classes of which every open is wanted.
        pub all: u32,
        /// Classes that any name is wanted with, or `all` has.
        pub any: u32,
        /// One bit per [`name_bit`] of a wanted name.
        pub bloom: [u64; BLOOM_WORDS],
    }

    /// Which blocks of a table look at what. Bit n: block n.
    pub struct IgnoreSpec {
        /// By kind (an open by its call): blocks for such an event.
        pub kinds: [u32; KINDS],
        /// Blocks that look at the command name.
        pub comm: u32,
        /// At the effective user id.
        pub uid: u32,
        /// At the cgroup.
        pub cgroup: u32,
        /// At the program's file.
        pub exe: u32,
        /// At the path of what was opened.
        pub path: u32,
        /// At the address that was connected to.
        pub address: u32,
        /// At its port.
        pub port: u32,
        /// Zero.
        pub reserved: u32,
    }

    /// What the call program does for one system call; all zero: nothing.
    pub struct CallSpec {
        /// Bits of the tested argument that count.
        pub test_mask: u64,
        /// What they must be.
        pub test_value: u64,
        /// Values below 64 of the chosen argument that are wanted.
        pub chosen_values: u64,
        /// Kind of the event; 0: nothing is wanted.
        pub kind: u8,
        /// See [`call_when`].
        pub when: u8,
        /// See [`call_flag`].
        pub flags: u8,
        /// Argument that is tested; [`NO_ARGUMENT`]: none. As below, 6 is the call's result.
        pub test_at: u8,
        /// Argument whose values are chosen.
        pub chosen_at: u8,
        /// Descriptor whose file or socket is told.
        pub fd: u8,
        /// Pointer to bytes that are told.
        pub data: u8,
        /// How many bytes.
        pub data_bytes: u8,
        /// Argument that says how many bytes, at most `data_bytes`.
        pub data_length: u8,
        /// Pointers to strings.
        pub texts: [u8; 3],
        /// Descriptors of the directories in which the first two strings start when they are relative paths;
        /// [`BASE_CWD`]: in the working directory; [`NO_ARGUMENT`]: it is no path.
        pub bases: [u8; 2],
        /// Bit n: argument n is an id of 16 bits.
        pub short_ids: u8,
        /// Argument whose upper half is the next one; [`NO_ARGUMENT`]: none.
        pub wide: u8,
        /// Of [`path_check`] those that tell the paths of this call and are attached; 0: only its texts are known.
        pub checks: u32,
        /// Zero.
        pub reserved: u32,
    }

    /// How many kill entries there are; 0 spares the lookup.
    pub struct KillCounts {
        /// In the path map.
        pub paths: u32,
        /// In the command name map.
        pub comms: u32,
    }
}

/// No argument, in a [`CallSpec`].
pub const NO_ARGUMENT: u8 = 7;
/// The working directory, in [`CallSpec::bases`].
pub const BASE_CWD: u8 = 8;
/// Threads whose resolved paths are kept until their call returns; the least lately seen is forgotten.
pub const RESOLVED_KEPT: u32 = 256;
/// Most bytes of user memory that a call's record carries.
pub const CALL_DATA_BYTES: u64 = 128;

/// Places where the kernel, with the paths resolved, asks whether a change may be made.
pub mod path_check {
    /// `security_path_unlink`
    pub const UNLINK: u32 = 1;
    /// `security_path_rmdir`
    pub const RMDIR: u32 = 1 << 1;
    /// `security_path_mkdir`
    pub const MKDIR: u32 = 1 << 2;
    /// `security_path_mknod`
    pub const MKNOD: u32 = 1 << 3;
    /// `security_path_symlink`
    pub const SYMLINK: u32 = 1 << 4;
    /// `security_path_link`
    pub const LINK: u32 = 1 << 5;
    /// `security_path_rename`
    pub const RENAME: u32 = 1 << 6;
    /// `security_path_truncate`
    pub const TRUNCATE: u32 = 1 << 7;
    /// `security_path_chmod`
    pub const CHMOD: u32 = 1 << 8;
    /// `security_path_chown`
    pub const CHOWN: u32 = 1 << 9;
    /// `security_path_chroot`
    pub const CHROOT: u32 = 1 << 10;
    /// `security_sb_mount`
    pub const MOUNT: u32 = 1 << 11;
    /// `security_sb_umount`
    pub const UMOUNT: u32 = 1 << 12;
    /// `security_sb_pivotroot`
    pub const PIVOT_ROOT: u32 = 1 << 13;
    /// `security_move_mount`
    pub const MOVE_MOUNT: u32 = 1 << 14;
    /// `vfs_utimes`
    pub const UTIMES: u32 = 1 << 15;
    /// `security_inode_setxattr`, and `security_inode_set_acl`
    pub const SETXATTR: u32 = 1 << 16;
    /// `security_inode_removexattr`, `security_inode_remove_acl`
    pub const REMOVEXATTR: u32 = 1 << 17;
}

/// Bits of [`CallSpec::when`].
pub mod call_when {
    /// It succeeded.
    pub const SUCCEEDED: u8 = 1;
    /// It failed.
    pub const FAILED: u8 = 2;
}

/// Bits of [`CallSpec::flags`].
pub mod call_flag {
    /// Only with a socket behind the descriptor.
    pub const SOCKET_ONLY: u8 = 1;
    /// Only with a wanted name among the components of a path; see [`open_class`](super::open_class).
    pub const NAMED_ONLY: u8 = 2;
    /// The tested bits must differ from the value.
    pub const TEST_DIFFERS: u8 = 4;
    /// Values of the chosen argument from 64 on are wanted.
    pub const CHOSEN_ABOVE: u8 = 8;
    /// The record goes to the ring that does not wait behind floods.
    pub const URGENT: u8 = 16;
}

/// Classes of an open; the numbers of `OpenClass` in the event crate.
pub mod open_class {
    /// Reading, had.
    pub const READ: u32 = 1;
    /// Writing, had.
    pub const WRITE: u32 = 2;
    /// Reading, refused.
    pub const READ_FAILED: u32 = 4;
    /// Writing, refused.
    pub const WRITE_FAILED: u32 = 8;
    /// Another call on a path, as [`call_flag::NAMED_ONLY`](super::call_flag::NAMED_ONLY) asks.
    pub const CALL: u32 = 16;
    /// No open: the last close of a file that was open for writing.
    pub const CLOSE: u32 = 32;
}

/// The bit of the filter's bitmap for a name: its first 16 bytes, zero-padded, as two words in the
/// machine's byte order. Below 4096.
#[inline(always)]
pub const fn name_bit(words: [u64; 2]) -> u64 {
    let [low, high] = words;
    (low ^ high.rotate_left(29)).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 52
}

const _: () = assert!(BLOOM_WORDS * 64 == 1 << 12, "name_bit gives 12 bits");
