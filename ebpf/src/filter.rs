//! Does anybody want this open? Part of object `sys`, which alone has these maps.

use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, HashMap};
use hostward_abi::maps::{NAMES_MAX, OpenFilter, name_bit};
use hostward_ebpf::kernel::dentry::Location;
use hostward_ebpf::mem::Slot;
use hostward_ebpf::path::{ROUNDS, Step, Walk};
use hostward_ebpf::{get, set};

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

    /// An open of one of these classes is wanted at or below this name.
    #[inline(always)]
    unsafe fn wants_name(self, name: [u64; 2], class: u32) -> bool {
        let bit = name_bit(name);
        let word = *(&raw const self.0.bloom).cast::<u64>().add((bit >> 6) as usize);
        if word >> (bit & 63) & 1 == 0 {
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
        let mut round = 0;
        while round < ROUNDS {
            match Walk::step(&raw mut (*slot).walk) {
                Step::Component(link, dentry) => {
                    if self.wants_name(link.name_key(dentry), class) {
                        return true;
                    }
                }
                Step::Lone(link, dentry) => return self.wants_name(link.name_key(dentry), class),
                Step::Crossed => {}
                Step::Root => return false,
            }
            round += 1;
        }
        true
    }

    /// Some component of the text at `record[AT..]` is wanted; a text longer than `MAX` bytes is.
    ///
    /// # Safety
    /// `slot` is claimed, and the text ends in NUL.
    #[inline(always)]
    pub unsafe fn wants_text<const AT: usize, const MAX: usize>(self, slot: *mut Slot, class: u32) -> bool {
        let walk = &raw mut (*slot).walk;
        let text = (&raw const (*slot).record).cast::<u8>().add(AT);
        set!((*walk).name, [0, 0]);
        set!((*walk).name_bytes, 0);
        let mut at = 0;
        while at < MAX {
            let byte = core::ptr::read_volatile(text.add(at));
            if byte == 0 || byte == b'/' {
                if self.wants_name(get!((*walk).name), class) {
                    return true;
                }
                if byte == 0 {
                    return false;
                }
                set!((*walk).name, [0, 0]);
                set!((*walk).name_bytes, 0);
            } else {
                let bytes = get!((*walk).name_bytes);
                let moved = (byte as u64) << ((bytes & 7) * 8);
                if bytes < 8 {
                    set!((*walk).name[0], get!((*walk).name[0]) | moved);
                } else if bytes < 16 {
                    set!((*walk).name[1], get!((*walk).name[1]) | moved);
                }
                set!((*walk).name_bytes, bytes + 1);
            }
            at += 1;
        }
        true
    }
}
