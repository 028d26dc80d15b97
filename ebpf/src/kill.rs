//! Must the program that was just executed die? Part of objects `base` and `lean`, which alone have these maps.

use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, HashMap};
use hostward_abi::maps::{KILL_PATH_BYTES, KILLS_MAX, KillCounts};
use hostward_ebpf::get;
use hostward_ebpf::kernel::copy;
use hostward_ebpf::mem::{CURSOR_MASK, Slot, clamped, masked, slot_at};

/// One entry.
#[map]
static KILL_COUNTS: Array<KillCounts> = Array::with_max_entries(1, 0);

/// Paths, zero-padded: in `base` the file's own name first, each component with its NUL; in `lean` as text.
#[map]
static KILL_PATHS: HashMap<[u8; KILL_PATH_BYTES], u8> = HashMap::with_max_entries(KILLS_MAX, 0);

/// Command names, zero-padded.
#[map]
static KILL_COMMS: HashMap<[u8; 16], u8> = HashMap::with_max_entries(KILLS_MAX, 0);

/// A response wants the program that was just executed killed: by its path, which lies in the
/// record at `path` with `path_bytes`, or by its command name. `DIRECT`: without a helper that reads kernel memory.
///
/// # Safety
/// `slot` is claimed; `comm` points into its record.
#[inline(always)]
pub unsafe fn must_die<const DIRECT: bool>(
    slot: *mut Slot,
    path: u64,
    path_bytes: u64,
    comm: *const [u8; 16],
) -> bool {
    let Some(counts) = KILL_COUNTS.get(0) else {
        return false;
    };
    if counts.comms != 0 && KILL_COMMS.get(&*comm).is_some() {
        return true;
    }
    if counts.paths == 0 || path_bytes == 0 || path_bytes > KILL_PATH_BYTES as u64 {
        return false;
    }
    let bytes = clamped::<{ KILL_PATH_BYTES as u64 }>(path_bytes);
    let key = &raw mut (*slot).key;
    if DIRECT {
        kill_key(get!((*slot).index) as u32, path as u32, bytes as u32);
        return KILL_PATHS.get(&*key).is_some();
    }
    let words = key.cast::<u64>();
    let mut word = 0;
    while word < KILL_PATH_BYTES / 8 {
        core::ptr::write_volatile(words.add(word), 0);
        word += 1;
    }
    let from = (&raw const (*slot).record).cast::<u8>().add(masked::<CURSOR_MASK>(path) as usize);
    copy(key.cast(), bytes as u32, from) && KILL_PATHS.get(&*key).is_some()
}

/// Makes a key of `bytes` of the record from `at` on; global so that the verifier checks the loop once.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn kill_key(index: u32, at: u32, bytes: u32) -> u32 {
    // SAFETY: the verifier checks every access.
    unsafe {
        let Some(slot) = slot_at(index) else {
            return 0;
        };
        let from = (&raw const (*slot).record).cast::<u8>().add(masked::<CURSOR_MASK>(at as u64) as usize);
        let key = (&raw mut (*slot).key).cast::<u8>();
        let words = key.cast::<u64>();
        let mut word = 0;
        while word < KILL_PATH_BYTES / 8 {
            core::ptr::write_volatile(words.add(word), 0);
            word += 1;
        }
        // A branch that goes on would be paid for in all rounds that follow; this one ends.
        let mut place = 0;
        while place < KILL_PATH_BYTES && place < bytes as usize {
            core::ptr::write_volatile(key.add(place), core::ptr::read_volatile(from.add(place)));
            place += 1;
        }
        0
    }
}
