//! The cgroup of a task: of the unified hierarchy, else of a v1 controller.
//!
//! Container runtimes and systemd make their directories in the unified hierarchy when it is
//! mounted (v2, hybrid). Where it is not, all tasks sit in its root; then a v1 controller's
//! directory tells the container.

use super::task::Task;
use super::{Access, Probe};
use crate::off;
use hostward_abi::offsets::ABSENT;

/// A cgroup's directory.
#[derive(Clone, Copy)]
pub struct Cgroup {
    node: *const u8,
    /// kernfs id, which is the directory's inode number; 0: the kernel has no cgroups.
    pub id: u64,
    /// Of a v1 controller.
    pub v1: bool,
}

const NONE: Cgroup = Cgroup { node: core::ptr::null(), id: 0, v1: false };

#[inline(always)]
unsafe fn parent<A: Access>(node: *const u8) -> *const u8 {
    A::load(node, off!(kn_parent))
}

#[inline(always)]
unsafe fn controller<A: Access>(set: *const u8, index: u32) -> *const u8 {
    let state: *const u8 = A::load(set, off!(css_set_subsys) + index * 8);
    let cgroup: *const u8 = A::load(state, off!(css_cgroup));
    A::load(cgroup, off!(cgroup_kn))
}

/// The cgroup of `task`.
///
/// # Safety
/// `task` is one that `A` may load from.
#[inline(always)]
pub unsafe fn of<A: Access>(task: Task) -> Cgroup {
    if off!(css_set_dfl_cgrp) == ABSENT || off!(kn_parent) == ABSENT {
        return NONE;
    }
    let set = task.cgroups::<A>();
    let unified: *const u8 = A::load(set, off!(css_set_dfl_cgrp));
    let node: *const u8 = A::load(unified, off!(cgroup_kn));
    if !parent::<A>(node).is_null() {
        return Cgroup { node, id: A::load(node, off!(kn_id)), v1: false };
    }
    macro_rules! try_controller {
        ($index:ident) => {
            if off!($index) != ABSENT && off!(css_set_subsys) != ABSENT {
                let node = controller::<A>(set, off!($index));
                if !node.is_null() && !parent::<A>(node).is_null() {
                    return Cgroup { node, id: A::load(node, off!(kn_id)), v1: true };
                }
            }
        };
    }
    try_controller!(subsys_memory);
    try_controller!(subsys_pids);
    try_controller!(subsys_devices);
    Cgroup { node, id: A::load(node, off!(kn_id)), v1: false }
}

/// Number of the hierarchy of a `struct cgroup`, 0 for the unified one, which is the first that the kernel makes, and the
/// directory's kernfs id; none when the kernel does not tell.
///
/// # Safety
/// `directory` is a cgroup that `A` may load from.
#[inline(always)]
pub unsafe fn place<A: Access>(directory: *const u8) -> Option<(u32, u64)> {
    if off!(cgroup_root) == ABSENT || off!(cgroup_root_hierarchy) == ABSENT || off!(kn_id) == ABSENT {
        return None;
    }
    let root: *const u8 = A::load(directory, off!(cgroup_root));
    let node: *const u8 = A::load(directory, off!(cgroup_kn));
    Some((A::load(root, off!(cgroup_root_hierarchy)), A::load(node, off!(kn_id))))
}

impl Cgroup {
    /// Names of the directory and of its parent, as kernel strings; empty at the root.
    ///
    /// # Safety
    /// Self is of a live task.
    #[inline(always)]
    pub unsafe fn names(self) -> (*const u8, *const u8) {
        // A node in two variables of different origin has no type any more, hence helper reads.
        let leaf: *const u8 = Probe::load(self.node, off!(kn_name));
        let above: *const u8 = Probe::load(self.node, off!(kn_parent));
        if above.is_null() { (leaf, leaf) } else { (leaf, Probe::load(above, off!(kn_name))) }
    }
}
