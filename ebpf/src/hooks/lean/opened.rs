//! Paths of files that are just being opened: the one place where the kernel writes a path for a program.
//!
//! A file that is opened to be executed is kept by its address, under which the process has it at the end of its exec.
//! Any other is kept for the thread that opens it, until its call returns.

use crate::Reads;
use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use aya_ebpf::helpers::generated::bpf_d_path;
use aya_ebpf::macros::{fentry, map};
use aya_ebpf::maps::LruHashMap;
use aya_ebpf::programs::FEntryContext;
use hostward_abi::record::{InodeFacts, TEXT_BYTES_MAX};
use hostward_ebpf::kernel::file::File;
use hostward_ebpf::mem::{CURSOR_MASK, Slot, claim, masked, release, slot_at};
use hostward_ebpf::{get, set};

/// include/uapi/linux/bpf.h: only when there is none yet.
const BPF_NOEXIST: u64 = 1;

/// What is kept of a file.
#[repr(C)]
pub struct Opened {
    /// Of its path, which does not end in NUL here; 0: it is longer than fits.
    pub path_bytes: u64,
    /// The call made it.
    pub created: u64,
    /// Its inode when it was opened.
    pub inode: InodeFacts,
    path: [u8; TEXT_BYTES_MAX as usize],
}

/// By a file's address, which is above any thread's id, or by a thread's id.
#[map]
static OPENED: LruHashMap<u64, Opened> = LruHashMap::with_max_entries(1024, 0);

/// `int security_file_open(struct file *file)`, security/security.c; the same from 5.10 to 6.18.
#[fentry]
pub fn opened(ctx: FEntryContext) -> i32 {
    // SAFETY: the verifier checks every access; the argument is as the prototype says.
    unsafe {
        let file = File(ctx.arg(0));
        let key = if file.to_execute::<Reads>() {
            file.0 as u64
        } else if file.is_inner::<Reads>() {
            // What a file system opens below is not what the program asked for.
            return 0;
        } else {
            thread()
        };
        let Some(slot) = claim() else {
            return 0;
        };
        let kept = (&raw mut (*slot).record).cast::<Opened>();
        let text = (&raw mut (*kept).path).cast();
        let bytes = bpf_d_path(file.path().cast_mut().cast(), text, TEXT_BYTES_MAX);
        (*kept).path_bytes = if bytes > 0 { bytes as u64 - 1 } else { 0 };
        (*kept).created = u64::from(file.is_new::<Reads>());
        file.inode::<Reads>().fill::<Reads>(&raw mut (*kept).inode);
        // A file's address may be used again, a thread opens one file at a time: the first is what it asked for.
        let flags = if file.to_execute::<Reads>() { 0 } else { BPF_NOEXIST };
        let _ = OPENED.insert(key, &*kept, flags);
        release(slot);
    }
    0
}

/// The current thread's key.
#[inline(always)]
pub fn thread() -> u64 {
    bpf_get_current_pid_tgid() & 0xffff_ffff
}

/// Nothing is known under this key any more.
#[inline(always)]
pub fn forget(key: u64) {
    let _ = OPENED.remove(key);
}

/// What is known under this key.
#[inline(always)]
pub fn find(key: u64) -> Option<*const Opened> {
    OPENED.get_ptr(key)
}

/// Appends the path that is kept under `key` to the record; gives its length, 0 when none is known.
///
/// # Safety
/// `slot` is claimed and begun.
#[inline(always)]
pub unsafe fn append(slot: *mut Slot, key: u64) -> u16 {
    set!((*slot).args[0], key);
    append_opened(get!((*slot).index) as u32) as u16
}

/// The work of [`append`]; global so that the verifier checks the loop once.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn append_opened(index: u32) -> u32 {
    // SAFETY: the verifier checks every access.
    unsafe {
        let Some(slot) = slot_at(index) else {
            return 0;
        };
        let key = get!((*slot).args[0]);
        let Some(kept) = OPENED.get_ptr(key) else {
            return 0;
        };
        let bytes = get!((*kept).path_bytes) & 0xffff;
        let cursor = get!((*slot).cursor);
        let to = (&raw mut (*slot).record).cast::<u8>().add(masked::<CURSOR_MASK>(cursor) as usize);
        let from = (&raw const (*kept).path).cast::<u8>();
        let mut at = 0;
        while at < TEXT_BYTES_MAX as usize && at < bytes as usize {
            to.add(at).cast::<u64>().write_unaligned(from.add(at).cast::<u64>().read());
            at += 8;
        }
        set!((*slot).cursor, cursor.wrapping_add(bytes));
        bytes as u32
    }
}
