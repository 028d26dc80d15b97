//! Kernel structs: one file each, typed accessors over the offsets of the running kernel.
//!
//! Nothing outside this folder adds an offset to a kernel pointer. How a field is loaded depends on
//! where the pointer came from:
//! - [`Typed`]: from a BTF-typed argument or `bpf_get_current_task_btf` and the fields behind it.
//!   A plain load; the kernel fixes up a fault to zero.
//! - [`Probe`]: from anything the verifier knows no type of (array elements, `container_of`). One
//!   helper call; a plain load where the kernel lets a program load from any address (6.17).
//! - [`Current`]: from the current task in programs that have no typed argument. Typed where the
//!   kernel has the helper (5.11), else probed; the verifier sees only one of both.
//! - [`Direct`]: as [`Typed`], in programs that may use no helper that reads kernel memory at all.

pub mod cgroup;
pub mod cred;
pub mod dentry;
pub mod file;
pub mod inode;
pub mod namespace;
pub mod pid;
pub mod regs;
pub mod signal;
pub mod socket;
pub mod task;
pub mod tcp;
pub mod uring;

use core::mem::MaybeUninit;

/// A way to load a field.
pub trait Access {
    /// The field at `base + offset`; zero when it cannot be read.
    ///
    /// # Safety
    /// `T` is plain data; `offset` is of the struct that `base` points to.
    unsafe fn load<T: Copy>(base: *const u8, offset: u32) -> T;

    /// Writes the 16 bytes of the command name of `task` to `to`.
    ///
    /// # Safety
    /// `task` is one that `Self` may load from, `to` map or ring memory, or on the stack.
    #[inline(always)]
    unsafe fn comm(task: task::Task, to: *mut u64) {
        load_comm::<Self>(task, to);
    }
}

#[inline(always)]
unsafe fn load_comm<A: Access + ?Sized>(task: task::Task, to: *mut u64) {
    let (front, back): (u64, u64) = (A::load(task.comm(), 0), A::load(task.comm(), 8));
    let (front, ended) = until_nul(front);
    core::ptr::write_volatile(to, front);
    core::ptr::write_volatile(to.add(1), until_nul(back).0 & !ended);
}

/// The bytes of `text` in front of its first NUL, as old kernels leave parts of the former name behind a name's end; and
/// all ones if it has one. Without a branch, see [`crate::agent`].
#[inline(always)]
const fn until_nul(text: u64) -> (u64, u64) {
    const LOW: u64 = u64::MAX / 255;
    // The lowest bit that is set is the top one of the first NUL.
    let nul = text.wrapping_sub(LOW) & !text & (LOW << 7);
    let front = (nul & nul.wrapping_neg()) >> 7;
    (text & front.wrapping_sub(1), ((nul | nul.wrapping_neg()) as i64 >> 63) as u64)
}

/// See the module's head.
pub enum Typed {}
/// See the module's head.
pub enum Probe {}
/// See the module's head.
pub enum Current {}
/// See the module's head.
pub enum Direct {}

impl Access for Typed {
    #[inline(always)]
    unsafe fn load<T: Copy>(base: *const u8, offset: u32) -> T {
        core::ptr::read_volatile(base.add(offset as usize).cast())
    }
}

impl Access for Probe {
    #[inline(always)]
    unsafe fn load<T: Copy>(base: *const u8, offset: u32) -> T {
        if crate::setting!(loads) != 0 {
            return core::ptr::read_volatile(readable(base).add(offset as usize).cast());
        }
        let mut value = MaybeUninit::<T>::uninit();
        copy(value.as_mut_ptr().cast(), size_of::<T>() as u32, base.wrapping_add(offset as usize));
        // The helper fills the buffer with zeros when it fails.
        value.assume_init()
    }

    #[inline(always)]
    unsafe fn comm(task: task::Task, to: *mut u64) {
        if crate::setting!(loads) != 0 {
            load_comm::<Self>(task, to);
        } else {
            // One call in place of two.
            core::ptr::write_volatile(to, 0);
            core::ptr::write_volatile(to.add(1), 0);
            aya_ebpf::helpers::generated::bpf_probe_read_kernel_str(to.cast(), 16, task.comm().cast());
        }
    }
}

impl Access for Direct {
    #[inline(always)]
    unsafe fn load<T: Copy>(base: *const u8, offset: u32) -> T {
        Typed::load(base, offset)
    }
}

impl Access for Current {
    #[inline(always)]
    unsafe fn load<T: Copy>(base: *const u8, offset: u32) -> T {
        if crate::setting!(typed) != 0 { Typed::load(base, offset) } else { Probe::load(base, offset) }
    }

    #[inline(always)]
    unsafe fn comm(task: task::Task, to: *mut u64) {
        if crate::setting!(typed) != 0 { Typed::comm(task, to) } else { Probe::comm(task, to) }
    }
}

/// `address` as memory that the verifier lets a program load from; where nothing is, a load gives zero.
#[inline(always)]
unsafe fn readable(address: *const u8) -> *const u8 {
    let memory: *const u8;
    core::arch::asm!(
        "call {cast}",
        cast = const hostward_abi::maps::CAST,
        inout("r1") address => _,
        inout("r2") 0_u64 => _,
        lateout("r0") memory,
        lateout("r3") _,
        lateout("r4") _,
        lateout("r5") _,
        options(nostack),
    );
    memory
}

/// Copies `N` words of kernel memory; zeros where they cannot be read.
///
/// # Safety
/// `to` has room for them.
#[inline(always)]
pub unsafe fn words<const N: usize>(to: *mut u64, from: *const u8) {
    if crate::setting!(loads) != 0 {
        let from = readable(from).cast::<u64>();
        let mut at = 0;
        while at < N {
            core::ptr::write_volatile(to.add(at), core::ptr::read_volatile(from.add(at)));
            at += 1;
        }
    } else {
        copy(to.cast(), N as u32 * 8, from);
    }
}

/// Copies kernel memory; zeros when it cannot be read.
///
/// # Safety
/// `to` has room for `bytes`.
#[inline(always)]
pub unsafe fn copy(to: *mut u8, bytes: u32, from: *const u8) -> bool {
    aya_ebpf::helpers::generated::bpf_probe_read_kernel(to.cast(), bytes, from.cast()) == 0
}
