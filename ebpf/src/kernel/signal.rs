//! `struct signal_struct`: what the threads of a process share, and its terminal.

use super::pid::Pid;
use super::{Access, Typed};
use crate::off;

/// SIGNAL_GROUP_EXIT, include/linux/sched/signal.h.
const GROUP_EXIT: u32 = 4;
/// PIDTYPE_PGID and PIDTYPE_SID, include/linux/pid_types.h.
const PGID: u32 = 2;
const SID: u32 = 3;

/// A process's shared state.
#[derive(Clone, Copy)]
pub struct Signal(pub *const u8);

#[expect(clippy::missing_safety_doc, reason = "all: self is a signal_struct that `A` may load from")]
impl Signal {
    /// Threads that have not begun to exit.
    #[inline(always)]
    pub unsafe fn live_threads<A: Access>(self) -> u32 {
        A::load(self.0, off!(signal_live))
    }

    /// The status that all threads exit with, when one of them said so (exit_group, a signal).
    #[inline(always)]
    pub unsafe fn group_exit_code<A: Access>(self) -> Option<u32> {
        let flags: u32 = A::load(self.0, off!(signal_flags));
        if flags & GROUP_EXIT != 0 { Some(A::load(self.0, off!(signal_group_exit_code))) } else { None }
    }

    /// User time, system time and scheduler time, ns, of threads that are gone.
    #[inline(always)]
    pub unsafe fn times<A: Access>(self) -> (u64, u64, u64) {
        (
            A::load(self.0, off!(signal_utime)),
            A::load(self.0, off!(signal_stime)),
            A::load(self.0, off!(signal_runtime)),
        )
    }

    /// Page faults of threads that are gone: minor, major.
    #[inline(always)]
    pub unsafe fn faults<A: Access>(self) -> (u64, u64) {
        (A::load(self.0, off!(signal_min_flt)), A::load(self.0, off!(signal_maj_flt)))
    }

    /// Most resident memory of the process, pages; set when its last thread ends.
    #[inline(always)]
    pub unsafe fn max_rss<A: Access>(self) -> u64 {
        A::load(self.0, off!(signal_maxrss))
    }

    #[inline(always)]
    pub unsafe fn pgid<A: Access>(self) -> Pid {
        Pid(A::load(self.0, off!(signal_pids) + PGID * 8))
    }

    #[inline(always)]
    pub unsafe fn sid<A: Access>(self) -> Pid {
        Pid(A::load(self.0, off!(signal_pids) + SID * 8))
    }

    /// The controlling terminal's device number as user space encodes it; 0: none.
    #[inline(always)]
    pub unsafe fn tty(self) -> u32 {
        let tty: *const u8 = Typed::load(self.0, off!(signal_tty));
        if tty.is_null() {
            return 0;
        }
        let driver: *const u8 = Typed::load(tty, off!(tty_driver));
        let major: u32 = Typed::load(driver, off!(tty_driver_major));
        let start: u32 = Typed::load(driver, off!(tty_driver_minor_start));
        let index: u32 = Typed::load(tty, off!(tty_index));
        let minor = start.wrapping_add(index);
        // new_encode_dev, include/linux/kdev_t.h.
        (minor & 0xff) | (major << 8) | ((minor & !0xff) << 12)
    }
}
