//! Values of maps and of the read-only settings.

/// Kinds that the counters have room for; the index is the kind's number.
pub const KINDS: usize = 16;

/// Concurrent users of scratch memory per CPU and object. A program cannot interrupt itself, and
/// the object with the most programs has three, so four is one more than can ever be taken.
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

    /// How many kill entries there are; 0 spares the lookup.
    pub struct KillCounts {
        /// In the path map.
        pub paths: u32,
        /// In the command name map.
        pub comms: u32,
    }
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
}

/// The bit of the filter's bitmap for a name: its first 16 bytes, zero-padded, as two words in the
/// machine's byte order. Below 4096.
#[inline(always)]
pub const fn name_bit(words: [u64; 2]) -> u64 {
    let [low, high] = words;
    (low ^ high.rotate_left(29)).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 52
}

const _: () = assert!(BLOOM_WORDS * 64 == 1 << 12, "name_bit gives 12 bits");
