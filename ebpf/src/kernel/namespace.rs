//! `struct nsproxy` and the namespaces' inode numbers.

use super::task::Task;
use super::{Access, Typed};
use crate::off;
use hostward_abi::offsets::ABSENT;
use hostward_abi::record::ProcessBody;

/// A namespace that the kernel may be built without.
macro_rules! inode {
    ($proxy:expr, $slot:ident, $inum:ident) => {
        if off!($slot) == ABSENT || off!($inum) == ABSENT {
            0
        } else {
            let namespace: *const u8 = Typed::load($proxy, off!($slot));
            Typed::load::<u32>(namespace, off!($inum))
        }
    };
}

/// Fills all but the pid namespace, which the process id tells.
///
/// # Safety
/// `task` is typed, `to` points to map memory.
#[inline(always)]
pub unsafe fn fill(task: Task, pid_namespace: u32, to: *mut ProcessBody) {
    let proxy = task.nsproxy::<Typed>();
    let ids = &raw mut (*to).namespaces;
    (*ids)[0] = inode!(proxy, nsproxy_mnt, mnt_inum);
    (*ids)[1] = pid_namespace;
    (*ids)[2] = inode!(proxy, nsproxy_net, net_inum);
    (*ids)[3] = inode!(proxy, nsproxy_uts, uts_inum);
    (*ids)[4] = inode!(proxy, nsproxy_ipc, ipc_inum);
    (*ids)[5] = inode!(proxy, nsproxy_cgroup, cgroup_ns_inum);
    (*ids)[6] = inode!(task.cred::<Typed>(), cred_user_ns, user_inum);
}
