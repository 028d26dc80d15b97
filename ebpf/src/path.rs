//! The one walk from a directory entry up to the task's root.
//!
//! It crosses mounts as d_path does and stops at the task's root, so a path reads as the process
//! itself would write it (in a container without the host's prefix). No lock is held: a rename
//! during the walk may give a path of before and after mixed, as it may for any observer.
//!
//! The loop's state lies in map memory, so the verifier meets the same state in each round; and the
//! loop is a global function, which it checks once and not at each call. Each branch that comes back
//! to the loop's head is paid for in every round, so there are as few as can be.

use crate::kernel::dentry::{LINK_BYTES, Link, Location, MountLink, mount_of, vfsmount_of};
use crate::mem::{Slot, slot_at};
use hostward_abi::record::TEXT_BYTES_MAX;

/// Rounds of a walk: components plus crossed mounts. A deeper path is cut, and an open that deep is
/// reported whatever the filter says.
pub const ROUNDS: u32 = 128;

/// Set in [`path_append`]'s result when the path's front is missing.
const CUT: u64 = 1 << 32;

/// State of a walk, and of the scan of a text.
#[repr(C)]
pub struct Walk {
    dentry: u64,
    mount: u64,
    mount_link: MountLink,
    stop_dentry: u64,
    stop_mnt: u64,
    /// Bytes of the component so far, when a text is scanned.
    pub name: [u64; 32],
    /// Its length.
    pub name_bytes: u64,
    link: [u8; LINK_BYTES],
}

/// What one round found.
pub enum Step {
    /// A component; `last`: the file is in no directory (memfd, pipe), or its dentry is gone.
    Component {
        /// Copy of the dentry's middle.
        link: Link,
        /// The dentry.
        dentry: u64,
        /// Nothing is above it.
        last: bool,
    },
    /// A mount was left upwards.
    Crossed,
    /// The root is reached.
    Root,
}

impl Walk {
    /// Starts at `from`, to end at `root`.
    ///
    /// # Safety
    /// `walk` is in map memory.
    #[inline(always)]
    pub unsafe fn start(walk: *mut Self, from: Location, root: Location) {
        let mount = mount_of(from.mnt);
        set!((*walk).dentry, from.dentry as u64);
        set!((*walk).mount, mount);
        MountLink::read(&raw mut (*walk).mount_link, mount);
        set!((*walk).stop_dentry, root.dentry as u64);
        set!((*walk).stop_mnt, root.mnt as u64);
    }

    /// One round.
    ///
    /// # Safety
    /// `walk` was started.
    #[inline(always)]
    pub unsafe fn step(walk: *mut Self) -> Step {
        let dentry = get!((*walk).dentry);
        let mount = get!((*walk).mount);
        // One comparison of both words is one branch.
        let stop = dentry ^ get!((*walk).stop_dentry) | vfsmount_of(mount) ^ get!((*walk).stop_mnt);
        if stop == 0 {
            return Step::Root;
        }
        if dentry == get!((*walk).mount_link.root) {
            let parent = get!((*walk).mount_link.parent);
            // At the top a mount is on itself. A mount that cannot be read gives null here, and a
            // null dentry ends the walk in the next round.
            if parent == mount {
                return Step::Root;
            }
            set!((*walk).dentry, get!((*walk).mount_link.mountpoint));
            set!((*walk).mount, parent);
            MountLink::read(&raw mut (*walk).mount_link, parent);
            return Step::Crossed;
        }
        let link = Link::read(&raw mut (*walk).link, dentry);
        let parent = link.parent();
        set!((*walk).dentry, parent);
        Step::Component { link, dentry, last: parent == dentry }
    }
}

/// Appends the started walk's path to the record of slot `index`. Gives its length in bytes, with
/// [`CUT`]. Global so that the verifier checks it once.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn path_append(index: u32) -> u64 {
    // SAFETY: the verifier checks every access.
    unsafe {
        let Some(slot) = slot_at(index) else {
            return CUT;
        };
        let start = get!((*slot).cursor);
        let mut cut = CUT;
        let mut round = 0;
        while round < ROUNDS {
            match Walk::step(&raw mut (*slot).walk) {
                Step::Component { link, last, .. } => {
                    crate::record::append_name(slot, link.name());
                    let full = get!((*slot).cursor).wrapping_sub(start) >= TEXT_BYTES_MAX as u64;
                    if last | full {
                        cut = if last { 0 } else { CUT };
                        break;
                    }
                }
                Step::Crossed => {}
                Step::Root => {
                    cut = 0;
                    break;
                }
            }
            round += 1;
        }
        get!((*slot).cursor).wrapping_sub(start) & 0xffff | cut
    }
}

/// Appends the path of `from` to the record, the file's own name first. Gives its length, and
/// whether its front is missing.
///
/// # Safety
/// `slot` is claimed; `from` and `root` are of a live task.
#[inline(always)]
pub unsafe fn append(slot: *mut Slot, from: Location, root: Location) -> (u16, bool) {
    if from.dentry.is_null() {
        return (0, false);
    }
    Walk::start(&raw mut (*slot).walk, from, root);
    let done = path_append(get!((*slot).index) as u32);
    (done as u16, done & CUT != 0)
}
