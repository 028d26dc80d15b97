//! A first look at a file that was opened. Nobody wants most of them, and where a program may load from any address (since
//! Linux 6.17) plain loads tell so without scratch memory, for a third of what the walk of [`crate::filter`] takes.
//!
//! It goes the same way up as [`hostward_ebpf::path`] does, and leaves every open for the walk that it is not sure of.

use crate::filter::Filter;
use hostward_ebpf::kernel::Probe;
use hostward_ebpf::kernel::dentry::{Entry, MountLink, mount_of};
use hostward_ebpf::kernel::file::File;
use hostward_ebpf::kernel::task::Task;

/// Names and mounts that are looked at; a deeper file is for the walk.
const ROUNDS: u32 = 24;

/// No name of the path of the file that this descriptor stands for is wanted, of no class.
///
/// # Safety
/// `task` is the current task, on a kernel with the setting `loads`.
#[inline(always)]
pub unsafe fn is_unwanted(task: Task, fd: u32) -> bool {
    // A global function takes no typed pointers, so all of it is loaded without.
    let (file, root) = (task.open_file(fd), task.root::<Probe>());
    !file.0.is_null() && look(file.0 as u64, root.dentry as u64, mount_of(root.mnt)) != 0
}

/// Global so that the verifier checks it once.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn look(file: u64, root: u64, root_mount: u64) -> u32 {
    // SAFETY: the verifier checks every access.
    unsafe {
        let Some(filter) = Filter::load() else {
            return 0;
        };
        let from = File(file as *const u8).probe_location();
        let mut entry = Entry(from.dentry as u64);
        let mut mount = mount_of(from.mnt);
        let mut top = MountLink::root_of(mount);
        let mut round = 0;
        while round < ROUNDS {
            // One comparison of both words is one branch.
            if entry.0 ^ root | mount ^ root_mount == 0 {
                return 1;
            }
            if entry.0 == top {
                let parent = MountLink::parent_of(mount);
                // At the top a mount is on itself.
                if parent == mount {
                    return 1;
                }
                entry = Entry(MountLink::mountpoint_of(mount));
                mount = parent;
                top = MountLink::root_of(mount);
            } else {
                let parent = entry.parent();
                if filter.may_want_name(entry.name_key()) {
                    return 0;
                }
                // In no directory.
                if parent == entry.0 {
                    return 1;
                }
                entry = Entry(parent);
            }
            round += 1;
        }
        0
    }
}
