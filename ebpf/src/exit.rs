//! How a system call's end is seen: at the return of its function where the kernel has trampolines, which costs
//! other calls nothing, else at the tracepoint of its exit, which puts every call of the host on the slow path.

use aya_ebpf::EbpfContext;
use aya_ebpf::helpers::generated::bpf_tail_call;
use aya_ebpf::macros::{fexit, map};
use aya_ebpf::maps::ProgramArray;
use aya_ebpf::programs::{FExitContext, TracePointContext};
use hostward_abi::record::header_flag;
use hostward_ebpf::kernel::{regs, task};
use hostward_ebpf::settings;

/// A call that came to its end in the current task.
#[derive(Clone, Copy)]
pub struct Exit {
    pub number: u32,
    pub result: i64,
    /// Of the header: who saw it.
    pub flags: u32,
}

/// `struct syscall_trace_exit { struct trace_entry ent; int nr; long ret; }`, kernel/trace/trace.h; the same from 5.10
/// to 6.18. Calls of i386 do not come here: the kernel leaves them out.
///
/// # Safety
/// The context is of the tracepoint of a system call's exit.
#[inline(always)]
pub unsafe fn tracepoint(ctx: &TracePointContext) -> Exit {
    let context = ctx.as_ptr().cast::<u8>();
    Exit {
        number: core::ptr::read_volatile(context.add(8).cast()),
        result: core::ptr::read_volatile(context.add(16).cast()),
        flags: 0,
    }
}

/// `long __x64_sys_NAME(const struct pt_regs *regs)`: the argument, then the result. The registers are those that the
/// entry saved for the task; calls of i386 have functions of their own: [`ia32`].
///
/// # Safety
/// The context is of the return of a system call's function.
#[inline(always)]
pub unsafe fn function(ctx: &FExitContext) -> Exit {
    stays_on_the_tasks_stack(ctx);
    let context = ctx.as_ptr().cast::<u8>();
    Exit {
        number: regs::of(task::current()).number(),
        result: core::ptr::read_volatile(context.add(8).cast()),
        flags: header_flag::FEXIT,
    }
}

/// `long ia32_sys_call(const struct pt_regs *regs, unsigned int nr)`, arch/x86/entry/syscall_32.c: the one function that
/// every call of i386 comes by, so of the host's other calls none. From 6.9, and older kernels with its fixes; 7.2
/// keeps programs away from it.
///
/// # Safety
/// The context is of its return.
#[inline(always)]
pub unsafe fn ia32(ctx: &FExitContext) -> Exit {
    let context = ctx.as_ptr().cast::<u8>();
    Exit {
        number: regs::of(task::current()).number(),
        result: core::ptr::read_volatile(context.add(16).cast()),
        flags: header_flag::FEXIT,
    }
}

/// The programs that do the work at a function's return, one in each. A trampoline's program is bound to its function
/// when it is loaded, so each function needs one of its own; those are three instructions that the verifier has done
/// with at once, and jump here. A map takes only programs of functions of one type, and the kernel's type information
/// has that type several times, so each program has a map of its own.
#[map]
static OPEN_FEXIT: ProgramArray = ProgramArray::with_max_entries(1, 0);
#[map]
static CONNECT_FEXIT: ProgramArray = ProgramArray::with_max_entries(1, 0);
/// Zero, which the verifier knows and LLVM does not.
#[unsafe(no_mangle)]
static NEVER: u32 = 0;

/// In every program that is jumped to: a jump that is never taken.
///
/// Since 6.13 the kernel gives a long program one stack for each CPU in place of the task's, as it runs a program once at a
/// time there. It looks at that where a program is attached, and not at what it jumps to. So two programs that jump to
/// one, of tasks of which one was preempted, shared a stack, and the kernel went by addresses that the other had left there
/// (an oops on 7.2). A program that has a jump itself keeps the task's stack.
#[inline(always)]
unsafe fn stays_on_the_tasks_stack(ctx: &FExitContext) {
    if settings::read(&NEVER) != 0 {
        bpf_tail_call(ctx.as_ptr(), core::ptr::null_mut(), 0);
    }
}

/// At the functions of open, openat, openat2 and creat.
#[fexit]
pub fn open_return(ctx: FExitContext) -> i32 {
    jump(&ctx, &OPEN_FEXIT)
}

/// At the function of connect.
#[fexit]
pub fn connect_return(ctx: FExitContext) -> i32 {
    jump(&ctx, &CONNECT_FEXIT)
}

/// At the functions of the calls of the table: a table and a jump for each place in the kernel's source whose functions
/// have a type of their own.
macro_rules! call_returns {
    ($($table:ident $jump:ident;)*) => {$(
        #[map]
        static $table: ProgramArray = ProgramArray::with_max_entries(1, 0);

        #[fexit]
        pub fn $jump(ctx: FExitContext) -> i32 {
            jump(&ctx, &$table)
        }
    )*};
}

call_returns! {
    CALL_FEXIT_0 call_return_0;
    CALL_FEXIT_1 call_return_1;
    CALL_FEXIT_2 call_return_2;
    CALL_FEXIT_3 call_return_3;
    CALL_FEXIT_4 call_return_4;
    CALL_FEXIT_5 call_return_5;
    CALL_FEXIT_6 call_return_6;
    CALL_FEXIT_7 call_return_7;
}

#[inline(always)]
fn jump(ctx: &FExitContext, body: &'static ProgramArray) -> i32 {
    // SAFETY: the map has a program of this type. It comes back only when there is none, which is never so, as the
    // agent puts it there first.
    let _ = unsafe { body.tail_call(ctx, 0) };
    0
}
