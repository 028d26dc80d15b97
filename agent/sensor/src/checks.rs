//! Where the kernel asks, with the paths resolved, whether a change may be made: the functions that call its security
//! hooks. A program there tells the paths of a system call as the kernel has them, where trampolines work.
//!
//! Times have no such hook that knows the mount, but a function that all their calls come by. Of extended attributes the
//! hook knows the entry alone; the mount is what the thread told `mnt_want_write` just before. `mount_setattr` asks
//! nobody, and neither does a program that could not be started: those are told by their texts.

use crate::fexit::Trampolines;
use crate::ladder::{ProbeState, ProbeStatus};
use crate::net::Hook;
use crate::persist::Pinned;
use aya::maps::{Array, MapData};
use aya::{Btf, Ebpf};
use hostward_abi::maps::path_check;
use hostward_event::raw::Rung;
use hostward_event::{EventKind, KindSet};

/// A function, the program at its start, and the calls that come by it.
struct Check {
    bit: u32,
    program: &'static str,
    function: &'static str,
    calls: &'static [EventKind],
}

const fn check(
    bit: u32,
    program: &'static str,
    function: &'static str,
    calls: &'static [EventKind],
) -> Check {
    Check { bit, program, function, calls }
}

use EventKind::{
    Chmod, Chown, Chroot, Fchmodat, Fchmodat2, Fchownat, Futimesat, Lchown, Link, Linkat, Lremovexattr,
    Lsetxattr, Mkdir, Mkdirat, Mknod, Mknodat, Mount, MoveMount, PivotRoot, Removexattr, Rename, Renameat,
    Renameat2, Rmdir, Setxattr, Symlink, Symlinkat, Truncate, Umount2, Unlink, Unlinkat, Utime, Utimensat,
    Utimes,
};

const CHOWN: &str = "security_path_chown";
/// What asks it. Before 6.1 no program may be at a function that takes a struct by value, as an id is one there.
const OLDER_CHOWN: &str = "chown_common";

/// What the hooks of attributes cannot do without: it tells them the mount, and itself no path.
const MOUNT: &str = "mnt_want_write";
const ATTRIBUTES: u32 = path_check::SETXATTR | path_check::REMOVEXATTR;

const CHECKS: [Check; 21] = [
    check(path_check::UNLINK, "path_unlink", "security_path_unlink", &[Unlink, Unlinkat]),
    check(path_check::RMDIR, "path_rmdir", "security_path_rmdir", &[Rmdir, Unlinkat]),
    check(path_check::MKDIR, "path_mkdir", "security_path_mkdir", &[Mkdir, Mkdirat]),
    check(path_check::MKNOD, "path_mknod", "security_path_mknod", &[Mknod, Mknodat]),
    check(path_check::SYMLINK, "path_symlink", "security_path_symlink", &[Symlink, Symlinkat]),
    check(path_check::LINK, "path_link", "security_path_link", &[Link, Linkat]),
    check(path_check::RENAME, "path_rename", "security_path_rename", &[Rename, Renameat, Renameat2]),
    check(path_check::TRUNCATE, "path_truncate", "security_path_truncate", &[Truncate]),
    check(path_check::CHMOD, "path_chmod", "security_path_chmod", &[Chmod, Fchmodat, Fchmodat2]),
    check(path_check::CHOWN, "path_chown", CHOWN, &[Chown, Lchown, Fchownat]),
    check(path_check::CHROOT, "path_chroot", "security_path_chroot", &[Chroot]),
    check(path_check::MOUNT, "sb_mount", "security_sb_mount", &[Mount]),
    check(path_check::UMOUNT, "sb_umount", "security_sb_umount", &[Umount2]),
    check(path_check::PIVOT_ROOT, "sb_pivotroot", "security_sb_pivotroot", &[PivotRoot]),
    check(path_check::MOVE_MOUNT, "move_mount", "security_move_mount", &[MoveMount]),
    check(path_check::UTIMES, "vfs_utimes", "vfs_utimes", &[Utime, Utimes, Futimesat, Utimensat]),
    check(0, MOUNT, MOUNT, &[Setxattr, Lsetxattr, Removexattr, Lremovexattr]),
    check(path_check::SETXATTR, "inode_setxattr", "security_inode_setxattr", &[Setxattr, Lsetxattr]),
    check(
        path_check::REMOVEXATTR,
        "inode_removexattr",
        "security_inode_removexattr",
        &[Removexattr, Lremovexattr],
    ),
    // Before 6.2 access control lists come by the two above.
    check(path_check::SETXATTR, "inode_set_acl", "security_inode_set_acl", &[Setxattr, Lsetxattr]),
    check(
        path_check::REMOVEXATTR,
        "inode_remove_acl",
        "security_inode_remove_acl",
        &[Removexattr, Lremovexattr],
    ),
];

/// The checks that tell the paths of `call`.
pub(crate) fn of_call(call: EventKind) -> u32 {
    let own = CHECKS.iter().filter(|check| check.calls.contains(&call));
    own.fold(0, |bits, check| bits | check.bit)
}

/// The programs at the checks.
pub(crate) struct Checks {
    pub(crate) hooks: Vec<Hook>,
    /// Why there are none.
    pub(crate) impossible: Option<String>,
}

impl Checks {
    pub(crate) fn new() -> Self {
        let hook = |check: &Check| {
            let kind = check.calls.first().copied().unwrap_or(Unlink);
            Hook::new(check.program, check.function, kind, Rung::Fentry)
        };
        Self { hooks: CHECKS.iter().map(hook).collect(), impossible: None }
    }

    fn all(&mut self) -> impl Iterator<Item = (&'static Check, &mut Hook)> {
        CHECKS.iter().zip(&mut self.hooks)
    }

    /// Goes on with what an agent before has attached.
    pub(crate) fn adopt(&mut self, pins: &mut Pinned) {
        for (check, hook) in self.all() {
            hook.adopt(pins, (check.function == CHOWN).then_some(OLDER_CHOWN));
        }
    }

    /// For the ladder: but for those that this kernel has no function of, as others have their part.
    pub(crate) fn states(&self) -> impl Iterator<Item = &ProbeState> {
        let is_other =
            |state: &ProbeState| state.program.ends_with("_acl") && state.status == ProbeStatus::Missing;
        self.hooks.iter().map(|hook| &hook.state).filter(move |state| !is_other(state))
    }

    /// Some check of these calls has no program yet.
    pub(crate) fn lack(&self, kinds: KindSet) -> bool {
        CHECKS.iter().zip(&self.hooks).any(|(check, hook)| is_wanted(check, kinds) && hook.lacks_program())
    }

    /// Attaches what `kinds` want, while the kernel's types are at hand. Before the table asks for their paths.
    pub(crate) fn attach(
        &mut self,
        object: &mut Ebpf,
        pins: &mut Pinned,
        trampolines: &mut Trampolines,
        btf: Option<&Btf>,
        kinds: KindSet,
    ) {
        if let Some(btf) = btf
            && self.lack(kinds)
            && let Err(why) = trampolines.work(object, btf)
        {
            self.hooks.clear();
            self.impossible = Some(why);
        }
        for (_, hook) in self.all().filter(|(check, _)| is_wanted(check, kinds)) {
            if let Some(btf) = btf
                && hook.lacks_program()
            {
                hook.load(object, btf);
                if hook.state.hook == CHOWN && hook.state.status == ProbeStatus::Refused {
                    hook.state.hook = OLDER_CHOWN.into();
                    hook.state.set(ProbeStatus::Unwanted, "");
                    hook.load(object, btf);
                }
            }
            hook.want(object, pins, true);
        }
    }

    /// Detaches what `kinds` do not want, when the table asks no more for it.
    pub(crate) fn detach_others(&mut self, object: &mut Ebpf, pins: &mut Pinned, kinds: KindSet) {
        for (_, hook) in self.all().filter(|(check, _)| !is_wanted(check, kinds)) {
            hook.want(object, pins, false);
        }
    }

    /// Bits of those that are attached, and of no use alone.
    pub(crate) fn attached(&self) -> u32 {
        let attached = || CHECKS.iter().zip(&self.hooks).filter(|(_, hook)| hook.state.attached());
        let bits = attached().fold(0, |bits, (check, _)| bits | check.bit);
        let knows_mount = attached().any(|(check, _)| check.program == MOUNT);
        if knows_mount { bits } else { bits & !ATTRIBUTES }
    }
}

fn is_wanted(check: &Check, kinds: KindSet) -> bool {
    check.calls.iter().any(|call| kinds.contains(*call))
}

/// Calls that succeeded and whose paths were not kept.
pub(crate) fn unresolved(object: &Ebpf) -> Option<u64> {
    let counts: Array<&MapData, u64> = Array::try_from(object.map("UNRESOLVED")?).ok()?;
    counts.get(&0, 0).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_check_has_a_bit_of_its_own_and_calls() {
        let bits = CHECKS.iter().fold(0_u32, |bits, check| {
            let (own, is_shared) = (check.bit.count_ones(), bits & check.bit != 0);
            assert_eq!(own == 0, check.program == MOUNT, "{}", check.function);
            assert_eq!(is_shared, check.function.ends_with("_acl"), "{}", check.function);
            assert!(check.calls.iter().all(|call| of_call(*call) & check.bit == check.bit));
            bits | check.bit
        });
        assert_eq!(bits.count_ones(), 18);
        assert_eq!(of_call(Unlinkat), path_check::UNLINK | path_check::RMDIR);
        assert_eq!(of_call(Lsetxattr), path_check::SETXATTR);
        assert_eq!(of_call(EventKind::MountSetattr), 0);
    }
}
