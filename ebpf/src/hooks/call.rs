//! A system call returned that a table describes.
//!
//! One program serves all of them: what it collects stands in [`CALLS`] under the call's number. The arguments are
//! still in the saved registers at the exit; strings and bytes are read from user memory, where another thread can have
//! changed them since, and the record says when there is one. The paths themselves come from [`resolved`], where the
//! kernel lets us look at what it uses.

use crate::exit::{self, Exit};
use crate::filter::Filter;
use crate::ignore;
use crate::resolved;
use crate::uring::Asked;
use crate::{BULK, URGENT};
use aya_ebpf::macros::{fexit, map, tracepoint};
use aya_ebpf::maps::Array;
use aya_ebpf::programs::{FExitContext, TracePointContext};
use hostward_abi::maps::{
    BASE_CWD, CALL_DATA_BYTES, CALL_NUMBERS, CallSpec, NO_ARGUMENT, call_flag, call_when, open_class,
};
use hostward_abi::record::{CallBody, call_bit, header_flag, kind};
use hostward_ebpf::kernel::dentry::Location;
use hostward_ebpf::kernel::file::File;
use hostward_ebpf::kernel::socket::{self, AF_UNIX, UNIX_NAME_BYTES};
use hostward_ebpf::kernel::task::{self, Task};
use hostward_ebpf::kernel::{Current, Probe, regs};
use hostward_ebpf::mem::{CURSOR_MASK, Slot, claim, masked, release};
use hostward_ebpf::{agent, get, out, path, record, set};

/// By the call's number, written by the agent.
#[map]
pub static CALLS: Array<CallSpec> = Array::with_max_entries(2 * CALL_NUMBERS, 0);

/// Attached to the exits of the calls. It runs in the caller.
#[tracepoint]
pub fn call(ctx: TracePointContext) -> u32 {
    // SAFETY: the context is of a system call's exit.
    unsafe { returned(exit::tracepoint(&ctx)) }
    0
}

/// The same at the return of their functions. It is verified once and attached nowhere: what is attached calls it.
#[fexit]
pub fn call_fexit(ctx: FExitContext) -> i32 {
    // SAFETY: the context is of a system call's function.
    unsafe { returned(exit::function(&ctx)) }
    0
}

/// The same of i386.
#[fexit]
pub fn call_ia32(ctx: FExitContext) -> i32 {
    // SAFETY: the context is of the function that all its calls come by.
    unsafe { returned(exit::ia32(&ctx)) }
    0
}

#[inline(always)]
unsafe fn returned(exit: Exit) {
    if agent::is_current::<Current>(task::current) {
        return;
    }
    let Some(spec) = CALLS.get_ptr(exit.number) else {
        return;
    };
    judged(exit, spec);
    resolved::forget(spec);
}

#[inline(always)]
unsafe fn judged(exit: Exit, spec: *const CallSpec) {
    let when = if exit.result < 0 { call_when::FAILED } else { call_when::SUCCEEDED };
    if get!((*spec).when) & when == 0 {
        return;
    }
    let Some(slot) = claim() else {
        // Whether anybody wanted it is not known, so it counts as lost.
        if let Some(ticket) = out::attempt(get!((*spec).kind)) {
            ticket.starve();
        }
        return;
    };
    let task = task::current();
    arguments(slot, task, exit.result);
    whole(slot, spec);
    if passes(slot, spec) {
        told::<false>(slot, spec, task, exit.flags, 0);
    }
    release(slot);
}

/// The same was done through io_uring.
///
/// # Safety
/// `asked` is a map's value.
#[inline(always)]
pub unsafe fn through_uring(asked: *const Asked, number: u32, result: i64) {
    let Some(spec) = CALLS.get_ptr(number) else {
        return;
    };
    let when = if result < 0 { call_when::FAILED } else { call_when::SUCCEEDED };
    if get!((*spec).when) & when == 0 {
        return;
    }
    let apart = kind::URING;
    let Some(slot) = claim() else {
        if let Some(ticket) = out::attempt(get!((*spec).kind) | apart) {
            ticket.starve();
        }
        return;
    };
    let mut at = 0;
    while at < 6 {
        let argument = core::ptr::read_volatile((&raw const (*asked).args).cast::<u64>().add(at));
        core::ptr::write_volatile((&raw mut (*slot).args).cast::<u64>().add(at), argument);
        at += 1;
    }
    set!((*slot).args[6], result as u64);
    if passes(slot, spec) {
        place(slot, get!((*spec).texts[0]), (&raw const (*asked).first) as u64);
        place(slot, get!((*spec).texts[1]), (&raw const (*asked).second) as u64);
        told::<true>(slot, spec, task::current(), header_flag::URING, apart);
    }
    release(slot);
}

/// Puts an argument into its place.
#[inline(always)]
unsafe fn place(slot: *mut Slot, at: u8, argument: u64) {
    let args = (&raw mut (*slot).args).cast::<u64>();
    core::ptr::write_volatile(args.add(masked::<7>(at as u64) as usize), argument);
}

#[inline(always)]
unsafe fn arguments(slot: *mut Slot, task: Task, result: i64) {
    let regs = regs::of(task);
    set!((*slot).args[0], regs.argument::<0>());
    set!((*slot).args[1], regs.argument::<1>());
    set!((*slot).args[2], regs.argument::<2>());
    set!((*slot).args[3], regs.argument::<3>());
    set!((*slot).args[4], regs.argument::<4>());
    set!((*slot).args[5], regs.argument::<5>());
    set!((*slot).args[6], result as u64);
    set!((*slot).args[7], 0);
}

/// Arguments of i386 that are narrower than the same of this machine become what they mean.
#[inline(always)]
unsafe fn whole(slot: *mut Slot, spec: *const CallSpec) {
    let short = get!((*spec).short_ids);
    let mut at = 0;
    while at < 3 {
        if short >> at & 1 != 0 {
            let id = argument(slot, at) & 0xffff;
            // -1 leaves an id as it is.
            place(slot, at, if id == 0xffff { 0xffff_ffff } else { id });
        }
        at += 1;
    }
    let wide = get!((*spec).wide);
    if wide != NO_ARGUMENT {
        let upper = argument(slot, (wide & 3) + 1);
        place(slot, wide, argument(slot, wide) | upper << 32);
    }
}

/// An argument by its place; 6 is the result.
#[inline(always)]
unsafe fn argument(slot: *mut Slot, at: u8) -> u64 {
    let args = (&raw const (*slot).args).cast::<u64>();
    core::ptr::read_volatile(args.add(masked::<7>(at as u64) as usize))
}

/// What the arguments alone decide.
#[inline(always)]
unsafe fn passes(slot: *mut Slot, spec: *const CallSpec) -> bool {
    let flags = get!((*spec).flags);
    let at = get!((*spec).test_at);
    if at != NO_ARGUMENT {
        let differs = argument(slot, at) & get!((*spec).test_mask) != get!((*spec).test_value);
        if differs != (flags & call_flag::TEST_DIFFERS != 0) {
            return false;
        }
    }
    let at = get!((*spec).chosen_at);
    if at != NO_ARGUMENT {
        // As rules see it: of a register the call itself takes 32 bits, and a caller may leave anything above.
        let value = argument(slot, at) & 0xffff_ffff;
        if value >= 64 {
            return flags & call_flag::CHOSEN_ABOVE != 0;
        }
        return get!((*spec).chosen_values) >> value & 1 != 0;
    }
    true
}

#[inline(always)]
unsafe fn told<const COPIED: bool>(slot: *mut Slot, spec: *const CallSpec, task: Task, rung: u32, apart: u8) {
    let flags = get!((*spec).flags);
    let fd = get!((*spec).fd);
    let file =
        if fd == NO_ARGUMENT { File(core::ptr::null()) } else { task.open_file(argument(slot, fd) as u32) };
    let (header, body) = record::begin::<CallBody>(slot);
    (*body).bits = 0;
    clear_lengths(body);
    socket::clear(&raw mut (*body).socket);
    let mut is_socket = false;
    if !file.0.is_null()
        && let Some((socket_type, sock)) = socket::behind(file)
    {
        sock.fill::<Probe>(socket_type, &raw mut (*body).socket);
        (*body).bits |= call_bit::SOCKET;
        is_socket = true;
    }
    if flags & call_flag::SOCKET_ONLY != 0 && !is_socket {
        return;
    }
    let root = task.root::<Current>();
    let kind = get!((*spec).kind);
    if !COPIED && !ignore::is_wanted(slot, kind) {
        return;
    }
    texts::<COPIED>(slot, spec, body);
    // Of io_uring the texts are the kernel's own.
    let passes = !COPIED && resolved::found(slot);
    if flags & call_flag::NAMED_ONLY != 0 && !passes && !named(slot, spec, body, task, root, file) {
        return;
    }
    if !COPIED && ignore::by_all(slot, kind) {
        return;
    }
    let Some(ticket) = out::attempt(kind | apart) else {
        return;
    };
    record::header::<Current>(header, task, kind, ticket.seq);
    (*header).flags |= rung;
    if !COPIED && task.mm::<Current>().users::<Current>() > 1 {
        (*header).flags |= header_flag::SHARED_MEMORY;
    }
    base(slot, body, 0, get!((*spec).bases[0]), task, root);
    base(slot, body, 1, get!((*spec).bases[1]), task, root);
    collect(slot, spec, body, root, file, is_socket);
    if !COPIED && get!((*spec).checks) != 0 {
        resolved::append(slot, body);
    }
    if flags & call_flag::URGENT != 0 {
        ticket.output(&URGENT, slot);
    } else {
        ticket.output(&BULK, slot);
    }
}

/// The strings, each with the place where it starts noted in the arguments' last word, which nothing else needs.
#[inline(always)]
unsafe fn texts<const COPIED: bool>(slot: *mut Slot, spec: *const CallSpec, body: *mut CallBody) {
    let first = get!((*spec).texts[0]);
    if first != NO_ARGUMENT {
        (*body).text_bytes[0] = record::append_argument_c_str::<COPIED>(slot, argument(slot, first));
    }
    set!((*slot).args[7], get!((*slot).cursor));
    let second = get!((*spec).texts[1]);
    if second != NO_ARGUMENT {
        (*body).text_bytes[1] = record::append_argument_c_str::<COPIED>(slot, argument(slot, second));
    }
    let third = get!((*spec).texts[2]);
    if third != NO_ARGUMENT {
        (*body).text_bytes[2] = record::append_argument_c_str::<COPIED>(slot, argument(slot, third));
    }
    if COPIED {
        // Where the kernel's memory lies is nobody's business.
        place(slot, first, 0);
        place(slot, second, 0);
    }
}

const FIRST_AT: u64 = (size_of::<hostward_abi::record::Header>() + size_of::<CallBody>()) as u64;

/// Some path of the call has a wanted name.
#[inline(always)]
unsafe fn named(
    slot: *mut Slot,
    spec: *const CallSpec,
    body: *mut CallBody,
    task: Task,
    root: Location,
    file: File,
) -> bool {
    let Some(filter) = Filter::load() else {
        return true;
    };
    if filter.wants_all(open_class::CALL) {
        return true;
    }
    if !file.0.is_null() && filter.wants_location(slot, file.probe_location(), root, open_class::CALL) {
        return true;
    }
    let first = get!((*spec).bases[0]);
    if first != NO_ARGUMENT && (*body).text_bytes[0] != 0 {
        if filter.wants_text(slot, FIRST_AT, open_class::CALL) {
            return true;
        }
        if is_relative(slot, FIRST_AT) {
            let from = start(slot, first, task);
            if filter.wants_location(slot, from, root, open_class::CALL) {
                return true;
            }
        }
    }
    let second = get!((*spec).bases[1]);
    if second != NO_ARGUMENT && (*body).text_bytes[1] != 0 {
        let at = get!((*slot).args[7]);
        if filter.wants_text(slot, at, open_class::CALL) {
            return true;
        }
        if is_relative(slot, at) {
            let from = start(slot, second, task);
            return filter.wants_location(slot, from, root, open_class::CALL);
        }
    }
    false
}

#[inline(always)]
unsafe fn is_relative(slot: *mut Slot, at: u64) -> bool {
    let record = (&raw const (*slot).record).cast::<u8>();
    core::ptr::read_volatile(record.add(masked::<CURSOR_MASK>(at) as usize)) != b'/'
}

/// Where a relative path starts; null when the directory descriptor is none.
#[inline(always)]
unsafe fn start(slot: *mut Slot, base: u8, task: Task) -> Location {
    const AT_FDCWD: i32 = -100;
    if base == BASE_CWD {
        return task.cwd::<Current>();
    }
    let fd = argument(slot, base) as u32;
    if fd as i32 == AT_FDCWD { task.cwd::<Current>() } else { task.open_file(fd).probe_location() }
}

/// The directory in which text `which` starts, when it is a relative path.
#[inline(always)]
unsafe fn base(slot: *mut Slot, body: *mut CallBody, which: usize, base: u8, task: Task, root: Location) {
    let at = if which == 0 { FIRST_AT } else { get!((*slot).args[7]) };
    if base == NO_ARGUMENT || (*body).text_bytes[which] == 0 || !is_relative(slot, at) {
        return;
    }
    let from = start(slot, base, task);
    if from.dentry.is_null() {
        return;
    }
    let (bytes, cut) = path::append(slot, from, root);
    (*body).text_bytes[3 + which] = bytes;
    let (known, cut_bit) = if which == 0 {
        (call_bit::BASE, call_bit::BASE_CUT)
    } else {
        (call_bit::SECOND_BASE, call_bit::SECOND_BASE_CUT)
    };
    (*body).bits |= known | if cut { cut_bit } else { 0 };
}

#[inline(always)]
unsafe fn collect(
    slot: *mut Slot,
    spec: *const CallSpec,
    body: *mut CallBody,
    root: Location,
    file: File,
    is_socket: bool,
) {
    (*body).args[0] = get!((*slot).args[0]);
    (*body).args[1] = get!((*slot).args[1]);
    (*body).args[2] = get!((*slot).args[2]);
    (*body).args[3] = get!((*slot).args[3]);
    (*body).args[4] = get!((*slot).args[4]);
    (*body).args[5] = get!((*slot).args[5]);
    (*body).result = get!((*slot).args[6]) as i64;
    if !file.0.is_null() {
        file.inode::<Probe>().fill::<Probe>(&raw mut (*body).inode);
        (*body).bits |= call_bit::FILE;
        if !is_socket {
            let (bytes, cut) = path::append(slot, file.probe_location(), root);
            (*body).text_bytes[5] = bytes;
            (*body).bits |= if cut { call_bit::PATH_CUT } else { 0 };
        }
    } else {
        zero_inode(body);
    }
    let data = get!((*spec).data);
    if data != NO_ARGUMENT {
        let mut bytes = get!((*spec).data_bytes) as u64;
        let length = get!((*spec).data_length);
        if length != NO_ARGUMENT {
            let told = argument(slot, length) as u32 as u64;
            bytes = if told < bytes { told } else { bytes };
        }
        (*body).text_bytes[6] = record::append_user::<CALL_DATA_BYTES>(slot, argument(slot, data), bytes);
    }
    if is_socket
        && (*body).socket.family == AF_UNIX
        && let Some((_, sock)) = socket::behind(file)
        && let Some((name, bytes)) = sock.unix_name()
    {
        (*body).text_bytes[7] = record::append_kernel::<UNIX_NAME_BYTES>(slot, name, bytes as u64);
    }
}

#[inline(always)]
unsafe fn clear_lengths(body: *mut CallBody) {
    let words = (&raw mut (*body).text_bytes).cast::<u32>();
    let mut at = 0;
    while at < 5 {
        core::ptr::write_volatile(words.add(at), 0);
        at += 1;
    }
}

#[inline(always)]
unsafe fn zero_inode(body: *mut CallBody) {
    let words = (&raw mut (*body).inode).cast::<u64>();
    let mut at = 0;
    while at < 7 {
        core::ptr::write_volatile(words.add(at), 0);
        at += 1;
    }
}
