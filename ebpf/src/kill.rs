//! Must the program that was just executed die? Part of object `base`, which alone has these maps.

use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, HashMap};
use hostward_abi::maps::{KILL_PATH_BYTES, KILLS_MAX, KillCounts};
use hostward_ebpf::kernel::copy;
use hostward_ebpf::mem::{CURSOR_MASK, Slot, clamped, masked};

/// One entry.
#[map]
static KILL_COUNTS: Array<KillCounts> = Array::with_max_entries(1, 0);

/// Paths, the file's own name first, each component with its NUL, zero-padded.
#[map]
static KILL_PATHS: HashMap<[u8; KILL_PATH_BYTES], u8> = HashMap::with_max_entries(KILLS_MAX, 0);

/// Command names, zero-padded.
#[map]
static KILL_COMMS: HashMap<[u8; 16], u8> = HashMap::with_max_entries(KILLS_MAX, 0);

/// A response wants the program that was just executed killed: by its path, which lies in the
/// record at `path` with `path_bytes`, or by its command name.
///
/// # Safety
/// `slot` is claimed; `comm` points into its record.
#[inline(always)]
pub unsafe fn must_die(slot: *mut Slot, path: u64, path_bytes: u64, comm: *const [u8; 16]) -> bool {
    let Some(counts) = KILL_COUNTS.get(0) else {
        return false;
    };
    if counts.comms != 0 && KILL_COMMS.get(&*comm).is_some() {
        return true;
    }
    if counts.paths == 0 || path_bytes == 0 || path_bytes > KILL_PATH_BYTES as u64 {
        return false;
    }
    let key = &raw mut (*slot).key;
    let words = key.cast::<u64>();
    let mut word = 0;
    while word < KILL_PATH_BYTES / 8 {
        core::ptr::write_volatile(words.add(word), 0);
        word += 1;
    }
    let from = (&raw const (*slot).record).cast::<u8>().add(masked::<CURSOR_MASK>(path) as usize);
    let bytes = clamped::<{ KILL_PATH_BYTES as u64 }>(path_bytes);
    copy(key.cast(), bytes as u32, from) && KILL_PATHS.get(&*key).is_some()
}
