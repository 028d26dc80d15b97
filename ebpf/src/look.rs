//! A first look at a file that was opened: most are unwanted, and plain loads tell so for a third of what a walk costs.
//!
//! It goes up from the file by typed pointers, which need no scratch memory, up to the first name that may be wanted or to
//! the mount's root. What it leaves open the walk of [`crate::filter`] decides, from there on.

use crate::filter::Filter;
use hostward_ebpf::kernel::dentry::{Entry, Location, MountLink, mount_of, vfsmount_of};
use hostward_ebpf::kernel::file::File;
use hostward_ebpf::kernel::{Access, Typed, untyped};
use hostward_ebpf::off;

/// Names that are looked at; a deeper file is for the walk.
const ROUNDS: u32 = 12;

/// None: no name of the path of `file` is wanted. Else from where on the path is not looked at.
///
/// # Safety
/// `file` and `root` are typed.
#[inline(always)]
pub unsafe fn unwanted(filter: Filter, file: File, root: Location) -> Option<Location> {
    let Location { mnt, dentry } = file.location();
    let mount_root = Entry(Typed::load(mnt, off!(vfsmount_root)));
    let end = if mnt == root.mnt { Entry(root.dentry) } else { mount_root };
    let mut entry = Entry(dentry);
    let mut round = 0;
    while round < ROUNDS {
        if entry == end || entry == mount_root {
            if entry == end && mnt == root.mnt {
                return None;
            }
            let mut link = MountLink { parent: 0, mountpoint: 0, root: 0 };
            MountLink::read(&raw mut link, mount_of(mnt));
            return Some(Location { mnt: vfsmount_of(link.parent) as *const u8, dentry: link.mountpoint as *const u8 });
        }
        let parent = entry.parent();
        if filter.may_want_name(entry.name_key()) || parent == entry {
            break;
        }
        entry = parent;
        round += 1;
    }
    Some(Location { mnt: untyped(mnt), dentry: untyped(entry.0) })
}
