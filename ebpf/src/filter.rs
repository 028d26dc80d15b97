//! Does anybody want this path? Part of object `sys`, which alone has these maps.

use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, HashMap};
use hostward_abi::maps::{NAMES_MAX, OpenFilter, name_bit};
use hostward_abi::record::{Header, OpenBody};
use hostward_ebpf::kernel::dentry::Location;
use hostward_ebpf::mem::{CURSOR_MASK, Slot, masked, slot_at};
use hostward_ebpf::path::{ROUNDS, Step, Walk};
use hostward_ebpf::{get, set};

/// Where in the record the argument of an open lies.
pub const TEXT_AT: usize = size_of::<Header>() + size_of::<OpenBody>();
/// A failed open's argument is compared component by component up to here, then reported unseen.
const SCAN_BYTES: usize = 256;

/// One entry, written whole by the agent.
#[map]
static OPEN_FILTER: Array<OpenFilter> = Array::with_max_entries(1, 0);

/// Component names (16 bytes, zero-padded) with the classes wanted at or below them.
#[map]
static NAMES: HashMap<[u64; 2], u8> = HashMap::with_max_entries(NAMES_MAX, 0);

/// The filter that is in force.
#[derive(Clone, Copy)]
pub struct Filter(&'static OpenFilter);

impl Filter {
    /// The one in force.
    #[inline(always)]
    pub fn load() -> Option<Self> {
        OPEN_FILTER.get(0).map(Self)
    }

    /// Some open of one of these classes is wanted.
    #[inline(always)]
    pub fn may_want(self, class: u32) -> bool {
        self.0.any & class != 0
    }

    /// Every open of one of these classes is wanted.
    #[inline(always)]
    pub fn wants_all(self, class: u32) -> bool {
        self.0.all & class != 0
    }

    /// False: no open is wanted at or below this name.
    ///
    /// # Safety
    /// In a program.
    #[inline(always)]
    pub unsafe fn may_want_name(self, name: [u64; 2]) -> bool {
        let bit = name_bit(name);
        let word = *(&raw const self.0.bloom).cast::<u64>().add((bit >> 6) as usize);
        word >> (bit & 63) & 1 != 0
    }

    /// An open of one of these classes is wanted at or below this name.
    #[inline(always)]
    unsafe fn wants_name(self, name: [u64; 2], class: u32) -> bool {
        if !self.may_want_name(name) {
            return false;
        }
        match NAMES.get(name) {
            Some(wanted) => *wanted as u32 & class != 0,
            None => false,
        }
    }

    /// Some component of the path of `from` is wanted. A walk that does not reach the root is:
    /// nothing may be left out that user space would have matched.
    ///
    /// # Safety
    /// `slot` is claimed.
    #[inline(always)]
    pub unsafe fn wants_location(self, slot: *mut Slot, from: Location, root: Location, class: u32) -> bool {
        Walk::start(&raw mut (*slot).walk, from, root);
        filter_walk(get!((*slot).index) as u32, class) != 0
    }

    /// Some component of the text at `at` in the record is wanted; a text too long to scan is.
    ///
    /// # Safety
    /// `slot` is claimed, and the text ends in NUL.
    #[inline(always)]
    pub unsafe fn wants_text(self, slot: *mut Slot, at: u64, class: u32) -> bool {
        filter_text(get!((*slot).index) as u32, at as u32, class, b'/' as u32) != 0
    }

    /// As [`Self::wants_text`] of a path as [`hostward_ebpf::path::append`] writes it.
    ///
    /// # Safety
    /// `slot` is claimed, and the path ends in a slash.
    #[inline(always)]
    pub unsafe fn wants_walked(self, slot: *mut Slot, at: u64, class: u32) -> bool {
        filter_text(get!((*slot).index) as u32, at as u32, class, 0) != 0
    }
}

/// The walk of [`Filter::wants_location`]; global so that the verifier checks it once.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn filter_walk(index: u32, class: u32) -> u32 {
    // SAFETY: the verifier checks every access.
    unsafe {
        let (Some(slot), Some(filter)) = (slot_at(index), Filter::load()) else {
            return 1;
        };
        let mut round = 0;
        while round < ROUNDS {
            match Walk::step(&raw mut (*slot).walk) {
                Step::Component { link, dentry, last } => {
                    let wanted = filter.wants_name(link.name_key(dentry), class);
                    if wanted | last {
                        return wanted as u32;
                    }
                }
                Step::Crossed => {}
                Step::Root => return 0,
            }
            round += 1;
        }
        1
    }
}

/// The scan of [`Filter::wants_text`]; global so that the verifier checks it once. Of slash and NUL, which no name has,
/// one separates the names and the other ends the text.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn filter_text(index: u32, start: u32, class: u32, separator: u32) -> u32 {
    // SAFETY: the verifier checks every access.
    unsafe {
        let (Some(slot), Some(filter)) = (slot_at(index), Filter::load()) else {
            return 1;
        };
        let walk = &raw mut (*slot).walk;
        let start = masked::<CURSOR_MASK>(start as u64) as usize;
        let text = (&raw const (*slot).record).cast::<u8>().add(start);
        let name = (&raw mut (*walk).name).cast::<u8>();
        set!((*walk).name[0], 0);
        set!((*walk).name[1], 0);
        set!((*walk).name_bytes, 0);
        let mut at = 0;
        while at < SCAN_BYTES {
            let byte = core::ptr::read_volatile(text.add(at));
            if byte == 0 || byte == b'/' {
                let key = [get!((*walk).name[0]), get!((*walk).name[1])];
                if filter.wants_name(key, class) {
                    return 1;
                }
                if byte as u32 != separator {
                    return 0;
                }
                set!((*walk).name[0], 0);
                set!((*walk).name[1], 0);
                set!((*walk).name_bytes, 0);
            } else {
                // A name of 256 bytes or more exists nowhere, so it may overwrite itself.
                let bytes = get!((*walk).name_bytes);
                core::ptr::write_volatile(name.add(masked::<255>(bytes) as usize), byte);
                set!((*walk).name_bytes, bytes + 1);
            }
            at += 1;
        }
        1
    }
}
