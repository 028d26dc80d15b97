//! Values of maps and of the read-only settings.

/// Kinds that the counters have room for; the index is the kind's number.
pub const KINDS: usize = 128;

/// Numbers of system calls that the call table has room for.
pub const CALL_NUMBERS: u32 = 512;

/// Concurrent users of scratch memory per CPU and object. A program cannot interrupt itself, and
/// an object has programs of at most three contexts, so four is one more than can ever be taken.
pub const SLOTS_PER_CPU: u32 = 4;

/// Longest path that can be killed at exec, in the programs' form (each component plus NUL).
pub const KILL_PATH_BYTES: usize = 512;

/// Names that the open filter may hold.
pub const NAMES_MAX: u32 = 8192;

/// Paths, and command names, that may be killed at exec.
pub const KILLS_MAX: u32 = 1024;

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

    /// Read-only settings of an object.
    pub struct Settings {
        /// Process id of the agent, initial pid namespace: its own opens and connects are not
        /// reported and it is never killed.
        pub agent_tgid: u32,
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
        /// Zero.
        pub reserved: u32,
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
        /// Zero.
        pub reserved: [u8; 2],
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
/// Most bytes of user memory that a call's record carries.
pub const CALL_DATA_BYTES: u64 = 128;

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
}

/// The bit of the filter's bitmap for a name: its first 16 bytes, zero-padded, as two words in the
/// machine's byte order. Below 4096.
#[inline(always)]
pub const fn name_bit(words: [u64; 2]) -> u64 {
    let [low, high] = words;
    (low ^ high.rotate_left(29)).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 52
}

const _: () = assert!(BLOOM_WORDS * 64 == 1 << 12, "name_bit gives 12 bits");
