//! Scratch memory and the small tricks that keep LLVM and the verifier of one mind.
//!
//! # The slot pool
//! A record is longer than the 512 bytes of stack. A plain per-CPU buffer can be overwritten: on
//! kernels with lazy preemption another task may run the same program on the same CPU half way. So
//! each CPU has some slots and a program claims one. The claim is "add one, and it is mine if I now
//! read one": of two that add, at most one reads one before the other gives up. It needs no atomic
//! that returns a value, which 5.10 does not have.
//!
//! The pool is a plain array indexed by CPU, as a per-CPU array's value may not exceed 32 KiB.

use crate::path::Walk;
use aya_ebpf::helpers::bpf_get_smp_processor_id;
use aya_ebpf::macros::map;
use aya_ebpf::maps::Array;
use hostward_abi::maps::{IGNORE_KEY_BYTES, KILL_PATH_BYTES, SLOTS_PER_CPU};
use hostward_abi::record::{NAME_BYTES_MAX, RECORD_BYTES_MAX, TEXT_BYTES_MAX};

/// The cursor is masked to this before each use.
pub const CURSOR_MASK: u64 = RECORD_BYTES_MAX as u64 - 1;
const SLACK: usize = (TEXT_BYTES_MAX + NAME_BYTES_MAX) as usize;

/// Scratch of one program run.
#[repr(C)]
pub struct Slot {
    claim: u64,
    /// Its own place in the pool, for functions that take no pointers.
    pub index: u64,
    /// Bytes of `record` that are written.
    pub cursor: u64,
    /// Arguments of a system call, then its result, then nothing.
    pub args: [u64; 8],
    /// State of the path walk and of the text scan.
    pub walk: Walk,
    /// Key of a lookup of what is ignored: length in bits, what it is, value; and a word to spare.
    pub ignore: [u64; IGNORE_KEY_BYTES / 8 + 1],
    /// Where the text in `key` begins, while a path is put there from its end.
    pub text_at: u64,
    /// Key of the kill lookup; a path that what is ignored is compared with.
    pub key: [u8; KILL_PATH_BYTES],
    /// The record. The slack lets the verifier see that an append at any masked cursor fits.
    pub record: [u8; RECORD_BYTES_MAX + SLACK],
}

/// Sized to the CPUs by the agent.
#[map]
static SLOTS: Array<Slot> = Array::with_max_entries(SLOTS_PER_CPU, 0);

/// Reads a field of scratch memory where it lies; LLVM may not keep it in a register.
#[macro_export]
macro_rules! get {
    ($($place:tt)+) => {
        core::ptr::read_volatile(&raw const $($place)+)
    };
}

/// Writes a field of scratch memory where it lies.
#[macro_export]
macro_rules! set {
    ($place:expr, $value:expr) => {
        core::ptr::write_volatile(&raw mut $place, $value)
    };
}

/// `value & MASK`, hidden from LLVM so that the verifier gets to see it.
#[inline(always)]
pub fn masked<const MASK: u64>(value: u64) -> u64 {
    let mut out = value;
    // SAFETY: touches one register.
    unsafe {
        core::arch::asm!("{x} &= {m}", x = inout(reg) out, m = const MASK, options(pure, nomem));
    }
    out
}

/// The smaller of `value` and `MAX`, hidden from LLVM so that the verifier gets to see it.
#[inline(always)]
pub fn clamped<const MAX: u64>(value: u64) -> u64 {
    let mut out = value;
    // SAFETY: touches one register.
    unsafe {
        core::arch::asm!(
            "if {x} <= {m} goto +1",
            "{x} = {m}",
            x = inout(reg) out,
            m = const MAX,
            options(pure, nomem),
        );
    }
    out
}

/// At least one. The verifier of 6.1 learns nothing from a comparison with zero, and takes no size that may be.
#[inline(always)]
pub fn not_zero(value: u64) -> u64 {
    let mut out = value;
    // SAFETY: touches one register.
    unsafe {
        core::arch::asm!(
            "if {x} > 0 goto +1",
            "{x} = 1",
            x = inout(reg) out,
            options(pure, nomem),
        );
    }
    out
}

/// `value`, or zero when it is negative; without a branch.
#[inline(always)]
pub fn positive(value: i64) -> u64 {
    let mut sign = value;
    // SAFETY: touches one register. LLVM would make a branch of plain code.
    unsafe {
        core::arch::asm!("{x} s>>= 63", "{x} ^= -1", x = inout(reg) sign, options(pure, nomem));
    }
    (value & sign) as u64
}

/// Adds without a moment in which another program could add too.
///
/// # Safety
/// `counter` is in a map's value.
#[inline(always)]
pub unsafe fn add(counter: *mut u64, value: i64) {
    // SAFETY: as the caller promises.
    unsafe {
        core::arch::asm!("lock *(u64 *)({p} + 0) += {v}", p = in(reg) counter, v = in(reg) value);
    }
}

/// Takes a free slot of this CPU.
///
/// # Safety
/// Give it back with [`release`].
#[inline(always)]
pub unsafe fn claim() -> Option<*mut Slot> {
    let first = bpf_get_smp_processor_id() * SLOTS_PER_CPU;
    let mut index = 0;
    while index < SLOTS_PER_CPU {
        let slot = SLOTS.get_ptr_mut(first + index)?;
        add(&raw mut (*slot).claim, 1);
        if get!((*slot).claim) == 1 {
            set!((*slot).index, (first + index) as u64);
            return Some(slot);
        }
        add(&raw mut (*slot).claim, -1);
        index += 1;
    }
    None
}

/// The slot at a claimed slot's `index`.
#[inline(always)]
pub fn slot_at(index: u32) -> Option<*mut Slot> {
    SLOTS.get_ptr_mut(index)
}

/// Gives a slot back.
///
/// # Safety
/// `slot` is of [`claim`] and not used after.
#[inline(always)]
pub unsafe fn release(slot: *mut Slot) {
    add(&raw mut (*slot).claim, -1);
}
