//! Attempts of programs that another task, or an interrupt, may run on the same CPU half way.
//!
//! Programs of cgroups are preemptible and the kernel does not skip one that runs already, as it does for tracepoints.
//! Two that count at once would give out one number twice. So a program counts only while it is alone on its CPU with
//! its kind, by the same claim as the slot pool's ([`hostward_ebpf::mem`]). One that is not gives up: its event is lost,
//! and whoever is alone next counts that. A kernel without preemption never gets there, as each kind is told from one
//! context only: the sender's, or the interrupt that receives.

use aya_ebpf::macros::map;
use aya_ebpf::maps::PerCpuArray;
use hostward_abi::record::kind;
use hostward_ebpf::mem::add;
use hostward_ebpf::out::{self, Ticket};

/// The first kind that counts this way.
const FIRST: u8 = kind::UDP_SEND;
const KINDS: u32 = (kind::DNS_ANSWER - FIRST + 1) as u32;

#[repr(C)]
struct Busy {
    inside: u64,
    given_up: u64,
}

/// By kind, from [`FIRST`].
#[map]
static BUSY: PerCpuArray<Busy> = PerCpuArray::with_max_entries(KINDS, 0);

/// An attempt, while nobody else makes one.
pub struct Alone {
    busy: *mut Busy,
    /// See [`out::attempt`].
    pub ticket: Ticket,
}

/// Takes the next number of `kind`.
///
/// # Safety
/// End it with [`Alone::settle`].
#[inline(always)]
pub unsafe fn attempt(kind: u8) -> Option<Alone> {
    let busy = BUSY.get_ptr_mut((kind - FIRST) as u32)?;
    add(&raw mut (*busy).inside, 1);
    if core::ptr::read_volatile(&raw const (*busy).inside) != 1 {
        add(&raw mut (*busy).given_up, 1);
        add(&raw mut (*busy).inside, -1);
        return None;
    }
    if core::ptr::read_volatile(&raw const (*busy).given_up) != 0
        && let Some(lost) = out::attempt(kind)
    {
        // One each time: more would need a loop, and there are hardly ever any.
        add(&raw mut (*busy).given_up, -1);
        lost.settle(false);
    }
    let Some(ticket) = out::attempt(kind) else {
        add(&raw mut (*busy).inside, -1);
        return None;
    };
    Some(Alone { busy, ticket })
}

impl Alone {
    /// The event is in the ring, or lost.
    ///
    /// # Safety
    /// Once per attempt.
    #[inline(always)]
    pub unsafe fn settle(self, delivered: bool) {
        self.ticket.settle(delivered);
        add(&raw mut (*self.busy).inside, -1);
    }
}
