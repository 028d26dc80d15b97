//! The one walk from a directory entry up to the task's root.
//!
//! It crosses mounts as d_path does and stops at the task's root, so a path reads as the process
//! itself would write it (in a container without the host's prefix). No lock is held: a rename
//! during the walk may give a path of before and after mixed, as it may for any observer.
//!
//! The loop's state lies in map memory: the verifier then meets the same state in each round, and
//! the cost grows with the rounds and not with the ways through them.

use crate::kernel::dentry::{LINK_BYTES, Link, Location, mount_of, mount_root, mounted_on, vfsmount_of};
use crate::mem::Slot;

/// Rounds of a walk: components plus crossed mounts. A deeper path is cut, and an open that deep is
/// reported whatever the filter says.
pub const ROUNDS: u32 = 160;

/// State of a walk, and of the scan of a text.
#[repr(C)]
pub struct Walk {
    dentry: u64,
    mount: u64,
    mount_root: u64,
    stop_dentry: u64,
    stop_mnt: u64,
    /// Name of the component so far, when a text is scanned.
    pub name: [u64; 2],
    /// Its length.
    pub name_bytes: u64,
    link: [u8; LINK_BYTES],
}

/// What one round found.
pub enum Step {
    /// A component.
    Component(Link, u64),
    /// The last component: a file without a directory (memfd, pipe).
    Lone(Link, u64),
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
        set!((*walk).mount_root, mount_root(mount));
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
        if dentry == get!((*walk).stop_dentry) && vfsmount_of(mount) == get!((*walk).stop_mnt) {
            return Step::Root;
        }
        if dentry == get!((*walk).mount_root) {
            let (parent, mountpoint) = mounted_on(mount);
            if parent == mount || parent == 0 {
                return Step::Root;
            }
            set!((*walk).dentry, mountpoint);
            set!((*walk).mount, parent);
            set!((*walk).mount_root, mount_root(parent));
            return Step::Crossed;
        }
        let link = Link::read(&raw mut (*walk).link, dentry);
        let parent = link.parent();
        if parent == 0 {
            return Step::Root;
        }
        set!((*walk).dentry, parent);
        if parent == dentry { Step::Lone(link, dentry) } else { Step::Component(link, dentry) }
    }
}

/// Appends the path of `from` to the record, the file's own name first. Gives its length, and
/// whether its front is missing.
///
/// # Safety
/// `slot` is claimed; `from` and `root` are of a live task.
#[inline(always)]
pub unsafe fn append(slot: *mut Slot, from: Location, root: Location) -> (u16, bool) {
    let start = get!((*slot).cursor);
    if from.dentry.is_null() {
        return (0, false);
    }
    Walk::start(&raw mut (*slot).walk, from, root);
    let mut cut = true;
    let mut round = 0;
    while round < ROUNDS {
        if get!((*slot).cursor).wrapping_sub(start) >= hostward_abi::record::TEXT_BYTES_MAX as u64 {
            break;
        }
        match Walk::step(&raw mut (*slot).walk) {
            Step::Component(link, _) => crate::record::append_name(slot, link.name()),
            Step::Lone(link, _) => {
                crate::record::append_name(slot, link.name());
                cut = false;
                break;
            }
            Step::Crossed => {}
            Step::Root => {
                cut = false;
                break;
            }
        }
        round += 1;
    }
    (get!((*slot).cursor).wrapping_sub(start) as u16, cut)
}
