//! Kernel structs: one file each, typed accessors over the offsets of the running kernel.
//!
//! Nothing outside this folder adds an offset to a kernel pointer. How a field is loaded depends on
//! where the pointer came from:
//! - [`Typed`]: from a BTF-typed argument or `bpf_get_current_task_btf` and the fields behind it.
//!   A plain load; the kernel fixes up a fault to zero.
//! - [`Probe`]: from anything the verifier knows no type of (array elements, `container_of`). One
//!   helper call.
//! - [`Current`]: from the current task in programs that have no typed argument. Typed where the
//!   kernel has the helper (5.11), else probed; the verifier sees only one of both.

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

use core::mem::MaybeUninit;

/// A way to load a field.
pub trait Access {
    /// The field at `base + offset`; zero when it cannot be read.
    ///
    /// # Safety
    /// `T` is plain data; `offset` is of the struct that `base` points to.
    unsafe fn load<T: Copy>(base: *const u8, offset: u32) -> T;
}

/// See the module's head.
pub enum Typed {}
/// See the module's head.
pub enum Probe {}
/// See the module's head.
pub enum Current {}

impl Access for Typed {
    #[inline(always)]
    unsafe fn load<T: Copy>(base: *const u8, offset: u32) -> T {
        core::ptr::read_volatile(base.add(offset as usize).cast())
    }
}

impl Access for Probe {
    #[inline(always)]
    unsafe fn load<T: Copy>(base: *const u8, offset: u32) -> T {
        let mut value = MaybeUninit::<T>::uninit();
        copy(value.as_mut_ptr().cast(), size_of::<T>() as u32, base.wrapping_add(offset as usize));
        // The helper fills the buffer with zeros when it fails.
        value.assume_init()
    }
}

impl Access for Current {
    #[inline(always)]
    unsafe fn load<T: Copy>(base: *const u8, offset: u32) -> T {
        if crate::setting!(typed) != 0 { Typed::load(base, offset) } else { Probe::load(base, offset) }
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
