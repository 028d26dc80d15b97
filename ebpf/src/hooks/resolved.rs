//! Paths of system calls as the kernel has resolved them.
//!
//! # Why it exists
//! The text that a program passes is read a second time when the call returns, and may say something else by then. What
//! the kernel uses is a directory entry. It shows it to the security hooks just before it makes the change, so a program
//! at the function that calls them sees the very objects.
//!
//! # How it works
//! Such a program walks the path, while the old name still is one, and keeps it for its thread; the program at the
//! call's return judges its names and takes it into the record. A check that belongs to no wanted call (opens ask the
//! same of files that they make) is left alone.
//!
//! # What can go wrong
//! A path is not kept when no scratch memory is free, when more threads are in the middle of such calls than the map
//! holds, or when the kernel skipped the program. A call that succeeded without one is counted, told with its text
//! alone, and told whatever the names are. What is left of a call whose end was not seen has other arguments than the
//! next one, or another number, and is not taken for its path.

use crate::call::CALLS;
use crate::filter::Filter;
use aya_ebpf::EbpfContext;
use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use aya_ebpf::macros::{fentry, map};
use aya_ebpf::maps::{Array, LruHashMap};
use aya_ebpf::programs::FEntryContext;
use hostward_abi::maps::{CallSpec, RESOLVED_KEPT, call_flag, open_class, path_check};
use hostward_abi::record::{CallBody, NAME_BYTES_MAX, TEXT_BYTES_MAX, call_bit};
use hostward_ebpf::kernel::dentry::Location;
use hostward_ebpf::kernel::task::{self, Task};
use hostward_ebpf::kernel::{Current, regs};
use hostward_ebpf::mem::{Slot, add, claim, release, slot_at};
use hostward_ebpf::{agent, get, path, record, set, setting};

/// A path may exceed its limit by the last component.
const PATH_BYTES: usize = (TEXT_BYTES_MAX + NAME_BYTES_MAX) as usize;
/// Paths of a call under way, each as [`path::append`] writes it.
#[repr(C)]
struct Kept {
    /// The thread. In front, so that it changes before the rest does when the place is given to another.
    thread: u64,
    /// Which call.
    args: [u64; 4],
    number: u32,
    /// See [`call_bit`].
    bits: u32,
    bytes: [u64; 2],
    first: [u8; PATH_BYTES],
    second: [u8; PATH_BYTES],
}

const FIRST_AT: u64 = core::mem::offset_of!(Kept, first) as u64;
const SECOND_AT: u64 = core::mem::offset_of!(Kept, second) as u64;

/// By thread.
#[map]
static KEPT: LruHashMap<u64, Kept> = LruHashMap::with_max_entries(RESOLVED_KEPT, 0);

/// By thread: the mount whose attributes it is about to change, until the hook takes it.
#[map]
static WRITTEN: LruHashMap<u64, u64> = LruHashMap::with_max_entries(RESOLVED_KEPT, 0);

/// One entry: calls that succeeded and of which no path was kept.
#[map]
static UNRESOLVED: Array<u64> = Array::with_max_entries(1, 0);

/// A program at the start of a function: its name, the check, and the paths among the function's arguments.
macro_rules! checks {
    ($($program:ident $check:ident |$ctx:ident| $first:expr $(, $second:expr)?;)*) => {$(
        #[fentry]
        pub fn $program($ctx: FEntryContext) -> i32 {
            // SAFETY: the verifier checks every access; the arguments are as the prototypes below say.
            unsafe {
                if is_asked(path_check::$check) && let Some(slot) = claim() {
                    place(slot, 0, $first);
                    place(slot, 2, Location::NOWHERE);
                    $(place(slot, 2, $second);)?
                    resolved_keep(get!((*slot).index) as u32);
                    release(slot);
                }
            }
            0
        }
    )*};
}

// security/security.c, the same from 5.10 to 6.18: `int security_path_NAME(...)` with
// `const struct path *dir, struct dentry *dentry, ...` for what is removed or made,
// `const struct path *path, ...` for what is changed,
// link: `struct dentry *old, const struct path *new_dir, struct dentry *new` (both are in one mount),
// rename: `const struct path *old_dir, struct dentry *old, const struct path *new_dir, struct dentry *new, unsigned flags`;
// chown, before 6.1: `int chown_common(const struct path *path, uid_t user, gid_t group)`, fs/open.c;
// `security_sb_mount(const char *dev, const struct path *path, ...)`, `security_sb_umount(struct vfsmount *mnt, int flags)`,
// `security_sb_pivotroot(const struct path *put_old, const struct path *new_root)`,
// `security_move_mount(const struct path *from, const struct path *to)`;
// `int vfs_utimes(const struct path *path, struct timespec64 *times)`, fs/utimes.c, from 5.10 to 7.2.
checks! {
    path_unlink UNLINK |ctx| Location::in_directory(ctx.arg(0), ctx.arg(1));
    path_rmdir RMDIR |ctx| Location::in_directory(ctx.arg(0), ctx.arg(1));
    path_mkdir MKDIR |ctx| Location::in_directory(ctx.arg(0), ctx.arg(1));
    path_mknod MKNOD |ctx| Location::in_directory(ctx.arg(0), ctx.arg(1));
    path_symlink SYMLINK |ctx| Location::in_directory(ctx.arg(0), ctx.arg(1));
    path_link LINK |ctx| Location::in_directory(ctx.arg(1), ctx.arg(0)), Location::in_directory(ctx.arg(1), ctx.arg(2));
    path_rename RENAME |ctx| Location::in_directory(ctx.arg(0), ctx.arg(1)), Location::in_directory(ctx.arg(2), ctx.arg(3));
    path_truncate TRUNCATE |ctx| Location::of_path(ctx.arg(0));
    path_chmod CHMOD |ctx| Location::of_path(ctx.arg(0));
    path_chown CHOWN |ctx| Location::of_path(ctx.arg(0));
    path_chroot CHROOT |ctx| Location::of_path(ctx.arg(0));
    sb_mount MOUNT |ctx| Location::of_path(ctx.arg(1));
    sb_umount UMOUNT |ctx| Location::of_mount(ctx.arg(0));
    sb_pivotroot PIVOT_ROOT |ctx| Location::of_path(ctx.arg(1)), Location::of_path(ctx.arg(0));
    move_mount MOVE_MOUNT |ctx| Location::of_path(ctx.arg(0)), Location::of_path(ctx.arg(1));
    vfs_utimes UTIMES |ctx| Location::of_path(ctx.arg(0));
    inode_setxattr SETXATTR |ctx| written(attribute_of(&ctx));
    inode_removexattr REMOVEXATTR |ctx| written(attribute_of(&ctx));
    inode_set_acl SETXATTR |ctx| written(attribute_of(&ctx));
    inode_remove_acl REMOVEXATTR |ctx| written(attribute_of(&ctx));
}

/// Hooks of extended attributes know no mount. It was told to `int mnt_want_write(struct vfsmount *mnt)`, fs/namespace.c,
/// just before.
#[fentry]
pub fn mnt_want_write(ctx: FEntryContext) -> i32 {
    // SAFETY: the verifier checks every access; the argument is a mount.
    unsafe {
        let mnt: *const u8 = ctx.arg(0);
        // One in no namespace is where a stacked file system keeps its files, while it does what the call asks of it.
        if is_asked(path_check::SETXATTR | path_check::REMOVEXATTR) && !Location::is_internal(mnt) {
            let _ = WRITTEN.insert(bpf_get_current_pid_tgid(), mnt as u64, 0);
        }
    }
    0
}

/// `int security_inode_setxattr([struct user_namespace *,] struct dentry *dentry, const char *name, ...)`, so too
/// `removexattr`; with `struct mnt_idmap *` from 6.3 on, as `security_inode_set_acl` and `remove_acl` always had it.
#[inline(always)]
unsafe fn attribute_of(ctx: &FEntryContext) -> *const u8 {
    let arguments = ctx.as_ptr().cast::<*const u8>();
    // Both are read, as LLVM would choose the place instead, which the verifier refuses.
    let (first, second) = (core::ptr::read_volatile(arguments), core::ptr::read_volatile(arguments.add(1)));
    if setting!(has_idmaps) != 0 { second } else { first }
}

/// Where the entry is by the mount that was told last. It is told once: what a stacked file system asks below is not the
/// call's path.
#[inline(always)]
unsafe fn written(dentry: *const u8) -> Location {
    let thread = bpf_get_current_pid_tgid();
    let Some(mnt) = WRITTEN.get_ptr(thread) else {
        return Location::NOWHERE;
    };
    let mnt = get!(*mnt) as *const u8;
    let _ = WRITTEN.remove(thread);
    Location { mnt, dentry }
}

/// What the current thread calls, if this check tells the paths of it.
#[inline(always)]
unsafe fn is_asked(check: u32) -> bool {
    let task = task::current();
    let Some(spec) = CALLS.get_ptr(regs::of(task).number()) else {
        return false;
    };
    get!((*spec).checks) & check != 0 && !agent::is_current::<Current>(|| task)
}

/// Notes a place in the slot, for [`resolved_keep`].
#[inline(always)]
unsafe fn place(slot: *mut Slot, at: usize, location: Location) {
    let words = (&raw mut (*slot).args).cast::<u64>();
    core::ptr::write_volatile(words.add(at), location.mnt as u64);
    core::ptr::write_volatile(words.add(at + 1), location.dentry as u64);
}

#[inline(always)]
unsafe fn placed(slot: *mut Slot, at: usize) -> Location {
    let words = (&raw const (*slot).args).cast::<u64>();
    Location {
        mnt: core::ptr::read_volatile(words.add(at)) as *const u8,
        dentry: core::ptr::read_volatile(words.add(at + 1)) as *const u8,
    }
}

/// Walks the noted places and keeps the paths. Global, as every program above would have it whole.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn resolved_keep(index: u32) -> u32 {
    // SAFETY: the verifier checks every access.
    unsafe {
        let Some(slot) = slot_at(index) else {
            return 0;
        };
        // Of an attribute whose mount was not told. The call's end counts it.
        if placed(slot, 0).dentry.is_null() {
            return 0;
        }
        let task = task::current();
        let regs = regs::of(task);
        let root = task.root::<Current>();
        // The record's place is where the kept paths are made.
        let kept = (&raw mut (*slot).record).cast::<Kept>();
        set!((*kept).number, regs.number());
        set!((*kept).thread, bpf_get_current_pid_tgid());
        set!((*kept).args[0], regs.argument::<0>());
        set!((*kept).args[1], regs.argument::<1>());
        set!((*kept).args[2], regs.argument::<2>());
        set!((*kept).args[3], regs.argument::<3>());
        set!((*kept).bits, 0);
        walk(slot, kept, 0, root);
        walk(slot, kept, 1, root);
        let _ = KEPT.insert(bpf_get_current_pid_tgid(), &*kept, 0);
        0
    }
}

#[inline(always)]
unsafe fn walk(slot: *mut Slot, kept: *mut Kept, which: usize, root: Location) {
    let (at, known, cut_bit) = if which == 0 {
        (FIRST_AT, call_bit::RESOLVED, call_bit::RESOLVED_CUT)
    } else {
        (SECOND_AT, call_bit::SECOND_RESOLVED, call_bit::SECOND_RESOLVED_CUT)
    };
    let from = placed(slot, which * 2);
    if from.dentry.is_null() {
        set!((*kept).bytes[which], 0);
        return;
    }
    set!((*slot).cursor, at);
    let (bytes, cut) = path::append(slot, from, root);
    set!((*kept).bytes[which], bytes as u64);
    set!((*kept).bits, get!((*kept).bits) | known | if cut { cut_bit } else { 0 });
}

/// What was kept of the call that the current thread is at the end of.
#[inline(always)]
unsafe fn kept(task: Task) -> Option<*const Kept> {
    let thread = bpf_get_current_pid_tgid();
    let kept = KEPT.get_ptr(thread)?;
    let regs = regs::of(task);
    // One comparison of all words is one branch.
    let differs = get!((*kept).thread) ^ thread
        | (get!((*kept).number) ^ regs.number()) as u64
        | get!((*kept).args[0]) ^ regs.argument::<0>()
        | get!((*kept).args[1]) ^ regs.argument::<1>()
        | get!((*kept).args[2]) ^ regs.argument::<2>()
        | get!((*kept).args[3]) ^ regs.argument::<3>();
    if differs == 0 { Some(kept) } else { None }
}

/// The call is told whatever its texts say: a path of it is wanted, or should be known and is not.
///
/// # Safety
/// `slot` is claimed, by the program at the end of a call, with the result in its place.
#[inline(always)]
pub unsafe fn found(slot: *mut Slot) -> bool {
    resolved_found(get!((*slot).index) as u32) != 0
}

/// The work of [`found`]; global so that the verifier checks it once.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn resolved_found(index: u32) -> u32 {
    // SAFETY: the verifier checks every access.
    unsafe {
        let task = task::current();
        let (Some(slot), Some(spec)) = (slot_at(index), CALLS.get_ptr(regs::of(task).number())) else {
            return 0;
        };
        if get!((*spec).checks) == 0 {
            return 0;
        }
        if let Some(kept) = kept(task) {
            let wanted = is_wanted(slot, spec, kept);
            // Else its place was given to another thread meanwhile: what was judged may be that one's.
            if get!((*kept).thread) == bpf_get_current_pid_tgid() {
                return wanted as u32;
            }
        }
        // A call that failed may have done so before it came to the check.
        if (get!((*slot).args[6]) as i64) < 0 {
            return 0;
        }
        if let Some(count) = UNRESOLVED.get_ptr_mut(0) {
            add(count, 1);
        }
        1
    }
}

/// A kept path has a wanted name, if only those are wanted.
#[inline(always)]
unsafe fn is_wanted(slot: *mut Slot, spec: *const CallSpec, kept: *const Kept) -> bool {
    let Some(filter) = Filter::load() else {
        return true;
    };
    // What is not seen up to the root may have one.
    let cut = get!((*kept).bits) & (call_bit::RESOLVED_CUT | call_bit::SECOND_RESOLVED_CUT) != 0;
    if cut || get!((*spec).flags) & call_flag::NAMED_ONLY == 0 || filter.wants_all(open_class::CALL) {
        return true;
    }
    has_wanted_name(slot, filter, (&raw const (*kept).first).cast(), get!((*kept).bytes[0]))
        || has_wanted_name(slot, filter, (&raw const (*kept).second).cast(), get!((*kept).bytes[1]))
}

/// The path is put behind the record, where names are judged, for as long as that takes.
#[inline(always)]
unsafe fn has_wanted_name(slot: *mut Slot, filter: Filter, path: *const u8, bytes: u64) -> bool {
    let start = get!((*slot).cursor);
    let is_whole = record::append_kernel::<{ PATH_BYTES as u64 }>(slot, path, bytes) as u64 == bytes;
    record::terminate(slot, b'/');
    let wanted = !is_whole || filter.wants_walked(slot, start, open_class::CALL);
    set!((*slot).cursor, start);
    wanted
}

/// Appends the kept paths to the record.
///
/// # Safety
/// As [`found`]; `body` is the record's.
#[inline(always)]
pub unsafe fn append(slot: *mut Slot, body: *mut CallBody) {
    let told = resolved_append(get!((*slot).index) as u32);
    (*body).text_bytes[8] = told as u16;
    (*body).text_bytes[9] = (told >> 16) as u16;
    (*body).bits |= (told >> 32) as u32;
}

/// The work of [`append`]: the lengths, and the bits in the upper half. Global so that the verifier checks it once.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn resolved_append(index: u32) -> u64 {
    const BITS: u32 = call_bit::RESOLVED
        | call_bit::RESOLVED_CUT
        | call_bit::SECOND_RESOLVED
        | call_bit::SECOND_RESOLVED_CUT;
    // SAFETY: the verifier checks every access.
    unsafe {
        let task = task::current();
        let (Some(slot), Some(kept)) = (slot_at(index), kept(task)) else {
            return 0;
        };
        let (start, bits) = (get!((*slot).cursor), get!((*kept).bits) & BITS);
        let first = (&raw const (*kept).first).cast();
        let first = record::append_kernel::<{ PATH_BYTES as u64 }>(slot, first, get!((*kept).bytes[0]));
        let second = (&raw const (*kept).second).cast();
        let second = record::append_kernel::<{ PATH_BYTES as u64 }>(slot, second, get!((*kept).bytes[1]));
        // Its place was given to another thread meanwhile: what was copied may be that one's.
        if get!((*kept).thread) != bpf_get_current_pid_tgid() {
            set!((*slot).cursor, start);
            return 0;
        }
        first as u64 | (second as u64) << 16 | (bits as u64) << 32
    }
}

/// The call is over.
///
/// # Safety
/// `spec` is of the call that the current thread is at the end of.
#[inline(always)]
pub unsafe fn forget(spec: *const CallSpec) {
    let checks = get!((*spec).checks);
    if checks != 0 {
        let _ = KEPT.remove(bpf_get_current_pid_tgid());
    }
    // A call that failed before the hook.
    if checks & (path_check::SETXATTR | path_check::REMOVEXATTR) != 0 {
        let _ = WRITTEN.remove(bpf_get_current_pid_tgid());
    }
}
