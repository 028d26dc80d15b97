//! The user registers saved at system call entry: the call's arguments.
//!
//! They hold until the call returns to user space, so a program at the call's exit sees what was
//! passed. (On arm64 the first argument's register carries the result by then; `orig_x0` keeps it,
//! and the agent resolves `arg0` to that.)

use super::task::Task;
use super::{Access, Current, Probe, Typed};
use crate::{off, setting};
use aya_ebpf::helpers::generated::bpf_task_pt_regs;
use hostward_abi::maps::ia32_row;

/// Saved user registers of the current task.
#[derive(Clone, Copy)]
pub struct Registers {
    at: *const u8,
    /// The call is one of i386: its number is another one, its arguments lie elsewhere and have 32 bits.
    ia32: bool,
}

/// Those of `current`.
///
/// # Safety
/// `current` is the current task.
#[inline(always)]
pub unsafe fn of(current: Task) -> Registers {
    let ia32 = current.in_32_bit_call::<Current>();
    let at = if setting!(regs_helper) != 0 {
        bpf_task_pt_regs(current.0.cast_mut().cast()) as *const u8
    } else {
        current.stack::<Current>().wrapping_add(setting!(regs_distance) as usize)
    };
    Registers { at, ia32 }
}

impl Registers {
    #[inline(always)]
    unsafe fn load(self, offset: u32) -> u64 {
        if setting!(regs_helper) != 0 { Typed::load(self.at, offset) } else { Probe::load(self.at, offset) }
    }

    /// The call's number, or its row in the call table; without the bit of x86's x32, whose calls are those of 64-bit
    /// programs.
    ///
    /// # Safety
    /// Self is of [`of`].
    #[inline(always)]
    pub unsafe fn number(self) -> u32 {
        const X32: u32 = 0x4000_0000;
        let number = self.load(off!(regs_number)) as u32;
        if self.ia32 { ia32_row(number) } else { number & !X32 }
    }

    /// Argument `N` of the call, 0 to 5.
    ///
    /// # Safety
    /// Self is of [`of`].
    #[inline(always)]
    pub unsafe fn argument<const N: u32>(self) -> u64 {
        if self.ia32 {
            return self.load(match N {
                0 => off!(ia32_arg0),
                1 => off!(ia32_arg1),
                2 => off!(ia32_arg2),
                3 => off!(ia32_arg3),
                4 => off!(ia32_arg4),
                _ => off!(ia32_arg5),
            }) as u32 as u64;
        }
        self.load(match N {
            0 => off!(arg0),
            1 => off!(arg1),
            2 => off!(arg2),
            3 => off!(arg3),
            4 => off!(arg4),
            _ => off!(arg5),
        })
    }
}
