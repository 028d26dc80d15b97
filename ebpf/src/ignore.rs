//! Is this event one that the operator wants left out, or that no rule wants? Part of object `sys`, which alone has
//! these maps.
//!
//! Each block of the configuration is one bit, and so is each alternative of what rules want. What an event has is looked
//! up, one thing after the other, and takes away the bits of blocks that want something else. A block of the configuration
//! whose bit is left leaves the event out and counts it; of what rules want one must be left. One trie holds all keys:
//! whatever is compared is a string of bytes or the front of one.
//!
//! Only what the kernel itself knows decides: paths of files that are open, addresses of sockets. A text in the memory
//! of the caller, which another thread can change, never hides an event.

use aya_ebpf::macros::map;
use aya_ebpf::maps::lpm_trie::{Key, LpmTrie};
use aya_ebpf::maps::{Array, PerCpuArray};
use hostward_abi::maps::{
    IGNORE_BLOCKS, IGNORE_KEY_BYTES, IGNORE_KEYS_MAX, IGNORE_TAIL_BYTES, IgnoreSpec, KILL_PATH_BYTES, KINDS,
    block_table, ignore_key,
};
use hostward_abi::record::SocketFacts;
use hostward_ebpf::kernel::dentry::Location;
use hostward_ebpf::kernel::{Access, Current, cgroup, copy, cred, task};
use hostward_ebpf::mem::{Slot, masked, slot_at};
use hostward_ebpf::path::{ROUNDS, Step, Walk};
use hostward_ebpf::{get, set};

/// By [`block_table`]: what is ignored is written by the agent before anything is attached, what is wanted with each plan.
#[map]
static IGNORE: Array<IgnoreSpec> = Array::with_max_entries(2, 0);

/// Keys with the blocks that have them.
#[map]
static IGNORE_KEYS: LpmTrie<[u8; IGNORE_KEY_BYTES], u32> = LpmTrie::with_max_entries(IGNORE_KEYS_MAX, 0);

/// How many events each block left out.
#[map]
static IGNORED: PerCpuArray<u64> = PerCpuArray::with_max_entries(IGNORE_BLOCKS as u32, 0);

const TEXT_MASK: u64 = KILL_PATH_BYTES as u64 - 1;
/// Where a text in the slot ends: with a NUL.
const TEXT_END: u64 = TEXT_MASK;
const VALUE_BYTES: u32 = IGNORE_KEY_BYTES as u32 - 4;

/// Blocks that are left when all is looked at that the current task has.
///
/// # Safety
/// `slot` is claimed.
#[inline(always)]
pub unsafe fn by_task(slot: *mut Slot, kind: u8) -> u32 {
    let left = blocks_of(block_table::IGNORED, kind);
    if left == 0 { 0 } else { ignore_task(get!((*slot).index) as u32, block_table::IGNORED, left) }
}

/// Some rule may match such an event of the current task.
///
/// # Safety
/// `slot` is claimed.
#[inline(always)]
pub unsafe fn is_wanted(slot: *mut Slot, kind: u8) -> bool {
    let blocks = blocks_of(block_table::WANTED, kind);
    blocks == 0 || ignore_task(get!((*slot).index) as u32, block_table::WANTED, blocks) != 0
}

/// [`is_wanted`] of a connect to what [`by_address`] is told.
///
/// # Safety
/// As [`by_address`].
#[inline(always)]
pub unsafe fn is_wanted_connect(slot: *mut Slot, kind: u8, far: Option<(bool, *const SocketFacts)>) -> bool {
    let blocks = blocks_of(block_table::WANTED, kind);
    if blocks == 0 {
        return true;
    }
    let left = ignore_task(get!((*slot).index) as u32, block_table::WANTED, blocks);
    left != 0 && left_by_address(slot, block_table::WANTED, left, far) != 0
}

/// Blocks for events of this kind.
#[inline(always)]
unsafe fn blocks_of(table: u32, kind: u8) -> u32 {
    let Some(spec) = IGNORE.get(table) else {
        return 0;
    };
    let kinds = (&raw const spec.kinds).cast::<u32>();
    get!(*kinds.add(masked::<{ KINDS as u64 - 1 }>(kind as u64) as usize))
}

/// [`by_task`] of an event that has nothing else that blocks look at; true: leave it out.
///
/// # Safety
/// `slot` is claimed.
#[inline(always)]
pub unsafe fn by_all(slot: *mut Slot, kind: u8) -> bool {
    let left = by_task(slot, kind);
    left != 0 && told(left)
}

/// The opened file's path on top of `left`; true: leave it out.
///
/// # Safety
/// `slot` is claimed; `left` is of [`by_task`].
#[inline(always)]
pub unsafe fn by_path(slot: *mut Slot, left: u32, file: Location, root: Location) -> bool {
    let Some(spec) = IGNORE.get(0) else {
        return false;
    };
    if left & spec.path == 0 {
        return told(left);
    }
    let found = if file.dentry.is_null() {
        0
    } else {
        Walk::start(&raw mut (*slot).walk, file, root);
        ignore_text(get!((*slot).index) as u32, ignore_key::PATH)
    };
    told(left & (found | !spec.path))
}

/// The socket's far end on top of `left`: whether it is IPv4, and its facts; true: leave it out.
///
/// # Safety
/// `slot` is claimed; `left` is of [`by_task`]; the facts are in its record.
#[inline(always)]
pub unsafe fn by_address(slot: *mut Slot, left: u32, far: Option<(bool, *const SocketFacts)>) -> bool {
    told(left_by_address(slot, block_table::IGNORED, left, far))
}

/// The blocks of `left` that fit the far end.
#[inline(always)]
unsafe fn left_by_address(
    slot: *mut Slot,
    table: u32,
    left: u32,
    far: Option<(bool, *const SocketFacts)>,
) -> u32 {
    let Some(spec) = IGNORE.get(table) else {
        return left;
    };
    let mut left = left;
    let Some((is_v4, facts)) = far else {
        return left & !(spec.address | spec.port);
    };
    let key = (&raw mut (*slot).ignore).cast::<u32>();
    if left & spec.port != 0 {
        set!(*key.add(2), get!((*facts).remote_port) as u32);
        left &= found(slot, table, ignore_key::PORT, 2) | !spec.port;
    }
    if left & spec.address != 0 {
        let remote = (&raw const (*facts).remote).cast::<u32>();
        if is_v4 {
            set!(*key.add(2), 0);
            set!(*key.add(3), 0);
            set!(*key.add(4), 0xffff_u32.to_be());
            set!(*key.add(5), get!(*remote));
        } else {
            set!(*key.add(2), get!(*remote));
            set!(*key.add(3), get!(*remote.add(1)));
            set!(*key.add(4), get!(*remote.add(2)));
            set!(*key.add(5), get!(*remote.add(3)));
        }
        left &= found(slot, table, ignore_key::ADDRESS, 16) | !spec.address;
    }
    left
}

/// Counts an event that is left out for the first block that is left.
#[inline(always)]
unsafe fn told(left: u32) -> bool {
    if left == 0 {
        return false;
    }
    if let Some(count) = IGNORED.get_ptr_mut(left.trailing_zeros()) {
        *count += 1;
    }
    true
}

/// Blocks of a table that have the key whose value of `bytes` lies in the slot.
#[inline(always)]
unsafe fn found(slot: *mut Slot, table: u32, what: u32, bytes: u32) -> u32 {
    let key = (&raw mut (*slot).ignore).cast::<u32>();
    set!(*key, (4 + bytes) * 8);
    set!(*key.add(1), block_table::key(table, what));
    match IGNORE_KEYS.get(&*key.cast::<Key<[u8; IGNORE_KEY_BYTES]>>()) {
        Some(blocks) => *blocks,
        None => 0,
    }
}

/// The work of [`by_task`] and [`is_wanted`]; global so that the verifier checks it once.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn ignore_task(index: u32, table: u32, blocks: u32) -> u32 {
    // SAFETY: the verifier checks every access.
    unsafe {
        let (Some(slot), Some(spec)) = (slot_at(index), IGNORE.get(table)) else {
            return 0;
        };
        let task = task::current();
        let value = (&raw mut (*slot).ignore).cast::<u64>().add(1);
        let mut left = blocks;
        if left & spec.uid != 0 {
            let (euid, _) = cred::effective::<Current>(task.cred::<Current>());
            set!(*value.cast::<u32>(), euid);
            left &= found(slot, table, ignore_key::UID, 4) | !spec.uid;
        }
        if left & spec.cgroup != 0 {
            let cgroup = cgroup::of::<Current>(task);
            set!(*value, cgroup.id);
            let blocks = if cgroup.v1 { 0 } else { found(slot, table, ignore_key::CGROUP, 8) };
            left &= blocks | !spec.cgroup;
        }
        if left & spec.comm != 0 {
            // Rules know a process by the name of its main thread, operators by what `ps -L` shows as well.
            let named = if table == block_table::WANTED { task.group_leader::<Current>() } else { task };
            Current::comm(named, value);
            left &= found(slot, table, ignore_key::COMM, 16) | !spec.comm;
        }
        if left & spec.exe != 0 {
            let mm = task.mm::<Current>();
            let file = if mm.0.is_null() { None } else { Some(mm.exe_file::<Current>().probe_location()) };
            let mut blocks = 0;
            if let Some(file) = file
                && !file.dentry.is_null()
            {
                Walk::start(&raw mut (*slot).walk, file, task.root::<Current>());
                blocks = ignore_text(get!((*slot).index) as u32, ignore_key::EXE);
            }
            left &= blocks | !spec.exe;
        }
        left
    }
}

/// Blocks that have the started walk's path as `what`. None has one that is too long, or of a file in no directory.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn ignore_text(index: u32, what: u32) -> u32 {
    // SAFETY: the verifier checks every access.
    unsafe {
        let Some(slot) = slot_at(index) else {
            return 0;
        };
        let text = (&raw mut (*slot).key).cast::<u8>();
        if !put_text(slot) {
            return 0;
        }
        let at = get!((*slot).text_at);
        let value = (&raw mut (*slot).ignore).cast::<u8>().add(8);
        // What lies behind the text's NUL makes no difference: no key goes on behind one.
        copy(value, VALUE_BYTES, text.add(masked::<TEXT_MASK>(at) as usize));
        let blocks = found(slot, block_table::IGNORED, what, VALUE_BYTES);
        if what != ignore_key::PATH {
            return blocks;
        }
        // Nor does what lies before it: no key has a NUL.
        core::ptr::write_volatile(text.add(masked::<TEXT_MASK>(at.wrapping_sub(1)) as usize), 0);
        let mut byte = 0;
        while byte < IGNORE_TAIL_BYTES {
            let from = text.add(TEXT_END as usize - 1 - byte);
            core::ptr::write_volatile(value.add(byte), core::ptr::read_volatile(from));
            byte += 1;
        }
        blocks | found(slot, block_table::IGNORED, ignore_key::TAIL, IGNORE_TAIL_BYTES as u32)
    }
}

/// Puts the started walk's path into the slot as it is written, from its end on; false when it has no room, or no root.
#[inline(always)]
unsafe fn put_text(slot: *mut Slot) -> bool {
    let text = (&raw mut (*slot).key).cast::<u8>();
    core::ptr::write_volatile(text.add(TEXT_END as usize), 0);
    set!((*slot).text_at, TEXT_END);
    let mut round = 0;
    while round < ROUNDS {
        match Walk::step(&raw mut (*slot).walk) {
            Step::Component { link, last, .. } => {
                let (bytes, end) = (link.name_bytes() as u64, get!((*slot).text_at));
                if last | (bytes + 1 > end) | (bytes > 255) {
                    return false;
                }
                let at = end - bytes - 1;
                set!((*slot).text_at, at);
                core::ptr::write_volatile(text.add(masked::<TEXT_MASK>(at) as usize), b'/');
                let to = text.add(masked::<TEXT_MASK>(at + 1) as usize);
                copy(to, masked::<255>(bytes) as u32, link.name() as *const u8);
            }
            Step::Crossed => {}
            Step::Root => return true,
        }
        round += 1;
    }
    false
}
