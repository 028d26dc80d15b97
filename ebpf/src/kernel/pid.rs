//! `struct pid`: one number per pid namespace, from the initial one inwards.

use super::task::Task;
use super::{Access, Probe};
use crate::off;

/// Size of `struct upid`, the same on all 64-bit kernels (the agent checks its fields' offsets).
const UPID_BYTES: u32 = 16;

/// A process id.
#[derive(Clone, Copy)]
pub struct Pid(pub *const u8);

#[derive(Clone, Copy)]
#[repr(C)]
struct Upid {
    nr: u32,
    hole: u32,
    namespace: u64,
}

/// A process id as its own pid namespace sees it.
#[derive(Clone, Copy)]
pub struct Inner {
    /// How many namespaces down.
    pub level: u32,
    /// The number there.
    pub nr: u32,
    namespace: u64,
}

#[expect(clippy::missing_safety_doc, reason = "all: self is a struct pid that `A` may load from")]
impl Pid {
    #[inline(always)]
    unsafe fn at(self, level: u32) -> Upid {
        // The array has no fixed length, so the verifier knows no type behind it.
        Probe::load(self.0.wrapping_add((off!(pid_numbers) + level * UPID_BYTES) as usize), 0)
    }

    /// Number and namespace's inode of a process of the initial namespace, by loads alone; of one that lives further
    /// down nothing, as where the array ends is not in its type.
    #[inline(always)]
    pub unsafe fn outermost<A: Access>(self) -> Option<(u32, u32)> {
        if A::load::<u32>(self.0, off!(pid_level)) != 0 {
            return None;
        }
        let namespace: *const u8 = A::load(self.0, off!(pid_numbers) + off!(upid_ns));
        Some((self.first::<A>(), A::load(namespace, off!(pid_ns_inum))))
    }

    /// The number in the initial namespace, by a load.
    #[inline(always)]
    pub unsafe fn first<A: Access>(self) -> u32 {
        A::load(self.0, off!(pid_numbers) + off!(upid_nr))
    }

    /// The number in the initial namespace.
    #[inline(always)]
    pub unsafe fn global(self) -> u32 {
        self.at(0).nr
    }

    /// The number in the namespace that the process lives in.
    #[inline(always)]
    pub unsafe fn inner<A: Access>(self) -> Inner {
        let level: u32 = A::load(self.0, off!(pid_level));
        let upid = self.at(level);
        Inner { level, nr: upid.nr, namespace: upid.namespace }
    }

    /// The number in the namespace that `of` is a number of; 0 when it has none there.
    #[inline(always)]
    pub unsafe fn beside<A: Access>(self, of: Inner) -> u32 {
        let level: u32 = A::load(self.0, off!(pid_level));
        if level < of.level {
            return 0;
        }
        let upid = self.at(of.level);
        if upid.namespace == of.namespace { upid.nr } else { 0 }
    }
}

impl Inner {
    /// Inode of the namespace.
    ///
    /// # Safety
    /// Self is of a live struct pid.
    #[inline(always)]
    pub unsafe fn namespace_inode(self) -> u32 {
        Probe::load(self.namespace as *const u8, off!(pid_ns_inum))
    }

    /// Start of the namespace's first process, CLOCK_BOOTTIME ns.
    ///
    /// # Safety
    /// Self is of a live struct pid.
    #[inline(always)]
    pub unsafe fn init_start(self) -> u64 {
        Task(Probe::load(self.namespace as *const u8, off!(pid_ns_child_reaper))).start::<Probe>()
    }
}
