//! Read-only globals that the agent fills before loading.

use hostward_abi::maps::Settings;
use hostward_abi::offsets::Offsets;

/// Where the fields are in this kernel.
#[unsafe(no_mangle)]
pub static OFFSETS: Offsets = Offsets::NONE;

/// What this machine can.
#[unsafe(no_mangle)]
pub static SETTINGS: Settings = Settings {
    typed: 0,
    regs_helper: 0,
    regs_distance: 0,
    nr_open: u32::MAX,
    nr_openat2: u32::MAX,
    nr_creat: u32::MAX,
    cgroup_hierarchy: 0,
    nr_close: u32::MAX,
    held_once: 1,
    group_dead: 0,
    loads: 0,
    has_idmaps: 0,
};

/// Reads one word of a global. Volatile, because the value in the object is not the one that runs;
/// the verifier folds it into a constant, which makes pointer arithmetic with it acceptable.
#[inline(always)]
pub fn read(word: &'static u32) -> u32 {
    // SAFETY: a reference to a static is readable.
    unsafe { core::ptr::read_volatile(word) }
}

/// One offset.
#[macro_export]
macro_rules! off {
    ($field:ident) => {
        $crate::settings::read(&$crate::settings::OFFSETS.$field)
    };
}

/// One setting.
#[macro_export]
macro_rules! setting {
    ($field:ident) => {
        $crate::settings::read(&$crate::settings::SETTINGS.$field)
    };
}
