//! The way out: counters and rings.
//!
//! An event that wants out takes the next number of its kind on its CPU before anything can fail.
//! The reader sees a loss as a hole between numbers, and, at the end of a burst, as a number that
//! the counter has given out and no record carries. `settled` follows once the event is in the ring
//! or lost, so the reader knows which numbers it may already miss.

use crate::mem::{Slot, add, masked};
use crate::record::seal;
use aya_ebpf::helpers::generated::bpf_ringbuf_output;
use aya_ebpf::macros::map;
use aya_ebpf::maps::{PerCpuArray, RingBuf};
use hostward_abi::maps::{Counter, KINDS};

/// One entry: the counters of this object's kinds, by kind.
#[map]
static COUNTERS: PerCpuArray<[Counter; KINDS]> = PerCpuArray::with_max_entries(1, 0);

/// An attempt.
#[derive(Clone, Copy)]
pub struct Ticket {
    counter: *mut Counter,
    /// The event's number.
    pub seq: u64,
}

/// Takes the next number of `kind`.
///
/// # Safety
/// End it with one of the methods of [`Ticket`].
#[inline(always)]
pub unsafe fn attempt(kind: u8) -> Option<Ticket> {
    let counters = COUNTERS.get_ptr_mut(0)?;
    let counter = counters.cast::<Counter>().add(masked::<{ KINDS as u64 - 1 }>(kind as u64) as usize);
    let seq = (*counter).attempted;
    (*counter).attempted = seq + 1;
    Some(Ticket { counter, seq })
}

/// Counts an event that is left out on purpose, in a row of which no record exists. Programs of several hooks share it,
/// so nothing may come between.
///
/// # Safety
/// `row` is one of those.
#[inline(always)]
pub unsafe fn leave_out(row: u8) {
    let Some(counters) = COUNTERS.get_ptr_mut(0) else {
        return;
    };
    let counter = counters.cast::<Counter>().add(masked::<{ KINDS as u64 - 1 }>(row as u64) as usize);
    add(&raw mut (*counter).attempted, 1);
    add(&raw mut (*counter).dropped, 1);
    add(&raw mut (*counter).settled, 1);
}

impl Ticket {
    /// The event is in the ring, or lost.
    ///
    /// # Safety
    /// Once per ticket.
    #[inline(always)]
    pub unsafe fn settle(self, delivered: bool) {
        if !delivered {
            (*self.counter).dropped += 1;
        }
        (*self.counter).settled += 1;
    }

    /// The event is lost because no scratch slot was free.
    ///
    /// # Safety
    /// Once per ticket.
    #[inline(always)]
    pub unsafe fn starve(self) {
        (*self.counter).starved += 1;
        self.settle(false);
    }

    /// Copies the slot's record into `ring`.
    ///
    /// # Safety
    /// `slot` is claimed and begun.
    #[inline(always)]
    pub unsafe fn output(self, ring: &'static RingBuf, slot: *mut Slot) {
        let bytes = seal(slot);
        let data = (&raw mut (*slot).record).cast();
        let failed = bpf_ringbuf_output(core::ptr::from_ref(ring).cast_mut().cast(), data, bytes, 0);
        self.settle(failed == 0);
    }
}
