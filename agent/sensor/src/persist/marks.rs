//! How far the agent has come with the events of a pinned ring, in memory of the kernel that outlives the agent.
//!
//! # Why it exists
//! To the next agent a number that was told and one that was lost look the same: neither lies in the ring. So each
//! number that was handed to the outputs is noted here, and what the next agent finds beyond was lost, whether the
//! ring was full or the agent was killed with it in hand.
//!
//! # How it works
//! An array map of words that is mapped, so that a note is a plain store and no system call. Only user space knows of it.
#![expect(unsafe_code, reason = "creates and maps memory that the kernel keeps")]

use crate::clock::boot_ns;
use crate::counters;
use crate::ring::Mapping;
use crate::sequence::Sequences;
use aya::maps::MapData;
use hostward_abi::maps::KINDS;
use hostward_event::EventKind;
use hostward_event::fact::Input;
use rustix::mm::ProtFlags;
use std::io;
use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// include/uapi/linux/bpf.h.
const BPF_MAP_CREATE: u32 = 0;
const BPF_MAP_TYPE_ARRAY: u32 = 2;
const BPF_F_MMAPABLE: u32 = 1 << 10;

/// Words before the numbers.
const HEAD: usize = 8;
/// Word: see [`STATES`]. It is zero when nobody ever came.
const STATE: usize = 0;
/// Word: CLOCK_BOOTTIME in ns up to which events were handled.
const SEEN_NS: usize = 1;
/// Values of word [`STATE`].
const STATES: [u64; 2] = [ATTENDED, LEFT];
const ATTENDED: u64 = 1;
const LEFT: u64 = 2;

/// What the agent before this one left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Past {
    /// CLOCK_BOOTTIME in ns up to which it handled events.
    pub(crate) seen_ns: u64,
    /// It was stopped, and did not just end.
    pub(crate) in_order: bool,
}

/// The notes; a handle for whoever hands events to the outputs.
#[derive(Clone)]
pub struct Marks(Arc<Words>);

struct Words {
    mapping: Mapping,
    count: usize,
}

// SAFETY: the mapping is plain memory that lives as long as `Words`; all access is by atomics.
unsafe impl Send for Words {}
// SAFETY: as above.
unsafe impl Sync for Words {}

impl std::fmt::Debug for Marks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Marks").field("words", &self.0.count).finish()
    }
}

impl Marks {
    /// New ones for so many CPUs, all zero, pinned at `path`.
    pub(super) fn create(path: &Path, cpus: usize) -> Result<Self, String> {
        let entries = HEAD + KINDS * cpus;
        let fd = create(u32::try_from(entries).unwrap_or(u32::MAX))
            .map_err(|why| format!("cannot make map marks: {why}"))?;
        let map = MapData::from_fd(fd).map_err(|why| format!("map marks: {why}"))?;
        map.pin(path).map_err(|why| format!("{}: {why}", path.display()))?;
        Self::map(&map)
    }

    /// Those that are pinned at `path`.
    pub(super) fn open(path: &Path) -> Result<Self, String> {
        Self::map(&MapData::from_pin(path).map_err(|why| format!("{}: {why}", path.display()))?)
    }

    fn map(map: &MapData) -> Result<Self, String> {
        let entries = map.info().map_err(|why| format!("map marks: {why}"))?.max_entries();
        let count = usize::try_from(entries).unwrap_or_default();
        let bytes = (count * size_of::<u64>()).next_multiple_of(rustix::param::page_size());
        let access = ProtFlags::READ | ProtFlags::WRITE;
        let mapping = Mapping::new(map.fd().as_fd(), access, 0, bytes)
            .map_err(|why| format!("map marks cannot be mapped: {why}"))?;
        Ok(Self(Arc::new(Words { mapping, count })))
    }

    fn word(&self, at: usize) -> Option<&AtomicU64> {
        // SAFETY: the mapping is page-aligned, has `count` words and lives as long as `self`; only atomics touch it.
        (at < self.0.count).then(|| unsafe { self.0.mapping.start().cast::<AtomicU64>().add(at).as_ref() })
    }

    fn value(&self, at: usize) -> u64 {
        self.word(at).map_or(0, |word| word.load(Ordering::Relaxed))
    }

    fn set(&self, at: usize, value: u64) {
        if let Some(word) = self.word(at) {
            word.store(value, Ordering::Relaxed);
        }
    }

    /// Notes that an agent is here; tells what the one before left, if there was one.
    pub(super) fn attend(&self) -> Option<Past> {
        let state = self.value(STATE);
        let past = Past { seen_ns: self.value(SEEN_NS), in_order: state == LEFT };
        self.set(STATE, ATTENDED);
        if !STATES.contains(&state) {
            self.set(SEEN_NS, boot_ns());
            return None;
        }
        Some(past)
    }

    /// What the agent before left.
    pub(super) fn past(&self) -> Past {
        Past { seen_ns: self.value(SEEN_NS), in_order: self.value(STATE) == LEFT }
    }

    /// Notes that the agent is going in order, with nothing in hand.
    pub(super) fn leave(&self) {
        self.set(SEEN_NS, boot_ns());
        self.set(STATE, LEFT);
    }

    /// The numbers that are to be expected next.
    pub(super) fn sequences(&self) -> Sequences {
        Sequences::from((HEAD..self.0.count).map(|at| self.value(at)).collect::<Vec<_>>())
    }

    /// Events of these kinds are numbered anew: their programs write into other maps.
    pub(super) fn forget(&self, kinds: impl Iterator<Item = EventKind>) {
        let rows: Vec<usize> = kinds.flat_map(counters::rows).map(usize::from).collect();
        let cpus = (HEAD..self.0.count).step_by(KINDS);
        cpus.flat_map(|cpu| rows.iter().map(move |row| cpu + row)).for_each(|at| self.set(at, 0));
    }

    /// Notes an input that the outputs have.
    pub fn handled(&self, input: &Input) {
        let (kind, stream, cpu, next, boot_ns) = match input {
            Input::Raw(raw) => {
                let source = &raw.source;
                (raw.kind(), source.stream, source.cpu, source.seq + 1, source.boot_ns)
            }
            Input::Gap(gap) => (gap.lost, gap.stream, gap.cpu, gap.last + 1, 0),
            _ => return,
        };
        // As the counters have it.
        let row = if stream == 0 { kind as u8 } else { stream };
        let at = HEAD + usize::from(cpu) * KINDS + usize::from(row) % KINDS;
        for (at, value) in [(at, next), (SEEN_NS, boot_ns)] {
            if let Some(word) = self.word(at) {
                word.fetch_max(value, Ordering::Relaxed);
            }
        }
    }

    /// Bytes that the kernel keeps for it.
    pub(crate) fn bytes(&self) -> u64 {
        (self.0.count * size_of::<u64>()) as u64
    }
}

/// Makes the map.
fn create(entries: u32) -> io::Result<OwnedFd> {
    // union bpf_attr for BPF_MAP_CREATE: type, bytes of key and value, entries, flags; what follows stays zero.
    let attributes: [u32; 5] = [BPF_MAP_TYPE_ARRAY, 4, 8, entries, BPF_F_MMAPABLE];
    let bytes = size_of_val(&attributes);
    // SAFETY: the kernel reads `bytes` of `attributes`, which live, and writes nothing.
    let fd = unsafe { libc::syscall(libc::SYS_bpf, BPF_MAP_CREATE, attributes.as_ptr(), bytes) };
    let fd = i32::try_from(fd).ok().filter(|fd| *fd >= 0).ok_or_else(io::Error::last_os_error)?;
    // SAFETY: the kernel just gave it to us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
