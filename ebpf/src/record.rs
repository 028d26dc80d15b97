//! Building a record: the header, and the cursor that texts are appended at.

use crate::kernel::task::Task;
use crate::kernel::{Access, cgroup, copy, cred};
use crate::mem::{CURSOR_MASK, Slot, clamped, masked, positive};
use aya_ebpf::helpers::bpf_get_smp_processor_id;
use aya_ebpf::helpers::generated::{
    bpf_ktime_get_boot_ns, bpf_probe_read_kernel_str, bpf_probe_read_user, bpf_probe_read_user_str,
};
use hostward_abi::record::{Header, NAME_BYTES_MAX, TEXT_BYTES_MAX, header_flag};

/// Fills the header; `len` is set when the record is whole. Gives the cgroup.
///
/// # Safety
/// `header` is map or ring memory; `task` is one that `A` may load from.
#[inline(always)]
pub unsafe fn header<A: Access>(header: *mut Header, task: Task, kind: u8, seq: u64) -> cgroup::Cgroup {
    stamp(header, kind, seq);
    owner::<A>(header, task)
}

/// The part of a header that is of the task. Gives the cgroup.
///
/// # Safety
/// As [`header`]; `header` may be on the stack.
#[inline(always)]
pub unsafe fn owner<A: Access>(header: *mut Header, task: Task) -> cgroup::Cgroup {
    (*header).start_boot_ns = task.group_leader::<A>().start::<A>();
    (*header).pid = task.tgid::<A>();
    (*header).tid = task.pid::<A>();
    (*header).ppid = task.real_parent::<A>().tgid::<A>();
    let (euid, egid) = cred::effective::<A>(task.cred::<A>());
    (*header).euid = euid;
    (*header).egid = egid;
    let cgroup = cgroup::of::<A>(task);
    (*header).cgroup_id = cgroup.id;
    (*header).flags = if cgroup.v1 { header_flag::CGROUP_V1 } else { 0 };
    A::comm(task, (&raw mut (*header).comm).cast());
    cgroup
}

/// The part of a header that is of the event, not of the task.
///
/// # Safety
/// As [`header`].
#[inline(always)]
pub unsafe fn stamp(header: *mut Header, kind: u8, seq: u64) {
    (*header).len = 0;
    (*header).kind = kind;
    (*header).abi = hostward_abi::VERSION;
    (*header).cpu = bpf_get_smp_processor_id() as u16;
    (*header).seq = seq;
    (*header).boot_ns = bpf_ktime_get_boot_ns();
}

const HEADER_WORDS: usize = size_of::<Header>() / 8;

/// A header of nobody.
///
/// # Safety
/// `header` is map or ring memory, or on the stack.
#[inline(always)]
pub unsafe fn clear_header(header: *mut Header) {
    let words = header.cast::<u64>();
    let mut at = 0;
    while at < HEADER_WORDS {
        core::ptr::write_volatile(words.add(at), 0);
        at += 1;
    }
}

/// Copies a header word by word.
///
/// # Safety
/// As [`clear_header`], of both.
#[inline(always)]
pub unsafe fn copy_header(from: *const Header, to: *mut Header) {
    let (from, to) = (from.cast::<u64>(), to.cast::<u64>());
    let mut at = 0;
    while at < HEADER_WORDS {
        core::ptr::write_volatile(to.add(at), core::ptr::read_volatile(from.add(at)));
        at += 1;
    }
}

/// Where the next byte of the record goes.
#[inline(always)]
unsafe fn end(slot: *mut Slot) -> *mut u8 {
    let at = masked::<CURSOR_MASK>(get!((*slot).cursor));
    (&raw mut (*slot).record).cast::<u8>().add(at as usize)
}

#[inline(always)]
unsafe fn advance(slot: *mut Slot, bytes: u64) {
    set!((*slot).cursor, get!((*slot).cursor).wrapping_add(bytes));
}

/// A record with a body of type `B` at its front: points to header and body, puts the cursor behind.
///
/// # Safety
/// `slot` is claimed.
#[inline(always)]
pub unsafe fn begin<B>(slot: *mut Slot) -> (*mut Header, *mut B) {
    let front = (&raw mut (*slot).record).cast::<u8>();
    set!((*slot).cursor, (size_of::<Header>() + size_of::<B>()) as u64);
    (front.cast(), front.add(size_of::<Header>()).cast())
}

/// Appends a name with its NUL: a component of a path.
///
/// # Safety
/// `slot` is claimed.
#[inline(always)]
pub unsafe fn append_name(slot: *mut Slot, name: u64) {
    let read = bpf_probe_read_kernel_str(end(slot).cast(), NAME_BYTES_MAX, name as *const _);
    advance(slot, positive(read));
}

/// Appends a kernel string of at most `MAX` bytes, without its NUL.
///
/// # Safety
/// `slot` is claimed; `MAX` is at most the slack.
#[inline(always)]
pub unsafe fn append_kernel_str<const MAX: u32>(slot: *mut Slot, text: *const u8) -> u16 {
    finish_str(slot, bpf_probe_read_kernel_str(end(slot).cast(), MAX, text.cast()))
}

/// Appends a string of user memory, at most 4096 bytes, without its NUL.
///
/// # Safety
/// `slot` is claimed.
#[inline(always)]
pub unsafe fn append_user_str(slot: *mut Slot, text: u64) -> u16 {
    finish_str(slot, bpf_probe_read_user_str(end(slot).cast(), TEXT_BYTES_MAX, text as *const _))
}

/// An argument's string: a program's own, or one that the kernel has copied.
///
/// # Safety
/// `slot` is claimed.
#[inline(always)]
pub unsafe fn append_argument<const COPIED: bool>(slot: *mut Slot, text: u64) -> u16 {
    if COPIED {
        append_kernel_str::<TEXT_BYTES_MAX>(slot, text as *const u8)
    } else {
        append_user_str(slot, text)
    }
}

/// As [`append_argument`] with its NUL, so that it can be scanned after another text was appended. Nothing of an empty
/// string.
///
/// # Safety
/// `slot` is claimed.
#[inline(always)]
pub unsafe fn append_argument_c_str<const COPIED: bool>(slot: *mut Slot, text: u64) -> u16 {
    let read = if COPIED {
        bpf_probe_read_kernel_str(end(slot).cast(), TEXT_BYTES_MAX, text as *const _)
    } else {
        bpf_probe_read_user_str(end(slot).cast(), TEXT_BYTES_MAX, text as *const _)
    };
    if read <= 1 {
        return 0;
    }
    advance(slot, read as u64);
    read as u16
}

/// Puts a byte behind the record's end, of which it becomes no part.
///
/// # Safety
/// `slot` is claimed.
#[inline(always)]
pub unsafe fn terminate(slot: *mut Slot, byte: u8) {
    core::ptr::write_volatile(end(slot), byte);
}

#[inline(always)]
unsafe fn finish_str(slot: *mut Slot, read: i64) -> u16 {
    if read <= 1 {
        return 0;
    }
    advance(slot, read as u64 - 1);
    (read - 1) as u16
}

/// Appends at most `MAX` bytes of user memory.
///
/// # Safety
/// `slot` is claimed; `MAX` is at most the slack.
#[inline(always)]
pub unsafe fn append_user<const MAX: u64>(slot: *mut Slot, from: u64, bytes: u64) -> u16 {
    let bytes = clamped::<MAX>(bytes);
    if bpf_probe_read_user(end(slot).cast(), bytes as u32, from as *const _) != 0 {
        return 0;
    }
    advance(slot, bytes);
    bytes as u16
}

/// Appends at most `MAX` bytes of kernel memory.
///
/// # Safety
/// `slot` is claimed; `MAX` is at most the slack.
#[inline(always)]
pub unsafe fn append_kernel<const MAX: u64>(slot: *mut Slot, from: *const u8, bytes: u64) -> u16 {
    let bytes = clamped::<MAX>(bytes);
    if !copy(end(slot), bytes as u32, from) {
        return 0;
    }
    advance(slot, bytes);
    bytes as u16
}

/// Length of the record, bounded for the verifier, also written to its header.
///
/// # Safety
/// `slot` is claimed and begun.
#[inline(always)]
pub unsafe fn seal(slot: *mut Slot) -> u64 {
    let len = masked::<CURSOR_MASK>(get!((*slot).cursor));
    (*(&raw mut (*slot).record).cast::<Header>()).len = len as u32;
    len
}
