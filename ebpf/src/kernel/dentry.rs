//! `struct dentry`, `struct vfsmount` and the `struct mount` around it.

use super::{Access, Probe, words};
use crate::off;
use core::mem::offset_of;

/// A place in the file tree: `struct path`.
#[derive(Clone, Copy)]
pub struct Location {
    /// The mount, as `struct vfsmount`.
    pub mnt: *const u8,
    /// The directory entry.
    pub dentry: *const u8,
}

#[expect(clippy::missing_safety_doc, reason = "all: the pointer is of the struct that is named")]
impl Location {
    /// No place.
    pub const NOWHERE: Self = Self { mnt: core::ptr::null(), dentry: core::ptr::null() };

    /// What a `struct path` says, which is two pointers.
    #[inline(always)]
    pub unsafe fn of_path(path: *const u8) -> Self {
        let [mnt, dentry]: [*const u8; 2] = Probe::load(path, 0);
        Self { mnt, dentry }
    }

    /// The entry `dentry` of the directory that a `struct path` says; it may be one that is to be made.
    #[inline(always)]
    pub unsafe fn in_directory(path: *const u8, dentry: *const u8) -> Self {
        Self { mnt: Self::of_path(path).mnt, dentry }
    }

    /// A mount of a file system's own, in nobody's tree.
    #[inline(always)]
    pub unsafe fn is_internal(mnt: *const u8) -> bool {
        /// `MNT_NS_INTERNAL`, fs/mount.h: an error in place of a namespace.
        const MNT_NS_INTERNAL: u64 = -22_i64 as u64;
        Probe::load::<u64>(mount_of(mnt) as *const u8, off!(mount_ns)) == MNT_NS_INTERNAL
    }

    /// The root of a `struct vfsmount`.
    #[inline(always)]
    pub unsafe fn of_mount(mnt: *const u8) -> Self {
        Self { mnt, dentry: Probe::load(mnt, off!(vfsmount_root)) }
    }
}

/// Bytes that one read takes of a dentry: parent, name and the short name's first 16 bytes lie
/// within (the agent checks).
pub const LINK_BYTES: usize = 64;

/// Copy of a dentry's middle, in map memory.
#[derive(Clone, Copy)]
pub struct Link(*const u8);

impl Link {
    /// Copies the middle of `dentry` to `to`.
    ///
    /// # Safety
    /// `to` is map memory.
    #[inline(always)]
    pub unsafe fn read(to: *mut [u8; LINK_BYTES], dentry: u64) -> Self {
        words::<{ LINK_BYTES / 8 }>(
            to.cast(),
            (dentry as *const u8).wrapping_add(off!(dentry_parent) as usize),
        );
        Self(to.cast())
    }

    #[inline(always)]
    unsafe fn at<T: Copy>(self, offset: u32) -> T {
        core::ptr::read_volatile(self.0.add((offset - off!(dentry_parent)) as usize).cast())
    }

    /// The directory it is in; itself at the root of a file system.
    ///
    /// # Safety
    /// Self was read.
    #[inline(always)]
    pub unsafe fn parent(self) -> u64 {
        self.at(off!(dentry_parent))
    }

    /// Where its name is: a kernel string.
    ///
    /// # Safety
    /// Self was read.
    #[inline(always)]
    pub unsafe fn name(self) -> u64 {
        self.at(off!(dentry_name))
    }

    /// Length of its name.
    ///
    /// # Safety
    /// Self was read.
    #[inline(always)]
    pub unsafe fn name_bytes(self) -> u32 {
        self.at(off!(dentry_name_len))
    }

    /// The first 16 bytes of the name, zero-padded, as two words.
    ///
    /// # Safety
    /// Self was read from `dentry`.
    #[inline(always)]
    pub unsafe fn name_key(self, dentry: u64) -> [u64; 2] {
        let len: u32 = self.at(off!(dentry_name_len));
        let inside = dentry.wrapping_add(off!(dentry_short_name) as u64);
        let words: [u64; 2] = if self.name() == inside {
            [self.at(off!(dentry_short_name)), self.at(off!(dentry_short_name) + 8)]
        } else {
            Probe::load(self.name() as *const u8, 0)
        };
        cut_key(words, len)
    }
}

/// A name's first 16 bytes without what stands behind the name, which is left over from other names.
#[inline(always)]
const fn cut_key(words: [u64; 2], len: u32) -> [u64; 2] {
    if len >= 16 {
        words
    } else if len >= 8 {
        [words[0], words[1] & ((1 << ((len & 7) * 8)) - 1)]
    } else {
        [words[0] & ((1 << ((len & 7) * 8)) - 1), 0]
    }
}

/// A dentry whose fields are loaded where they lie.
#[derive(Clone, Copy)]
pub struct Entry(pub u64);

#[expect(clippy::missing_safety_doc, reason = "all: self is the address of a dentry")]
impl Entry {
    /// As [`Link::parent`].
    #[inline(always)]
    pub unsafe fn parent(self) -> u64 {
        Probe::load(self.0 as *const u8, off!(dentry_parent))
    }

    /// As [`Link::name_key`].
    #[inline(always)]
    pub unsafe fn name_key(self) -> [u64; 2] {
        let name: *const u8 = Probe::load(self.0 as *const u8, off!(dentry_name));
        let len = Probe::load(self.0 as *const u8, off!(dentry_name_len));
        cut_key([Probe::load(name, 0), Probe::load(name, 8)], len)
    }
}

/// The `struct mount` that a `struct vfsmount` lies in.
#[inline(always)]
pub fn mount_of(vfsmount: *const u8) -> u64 {
    (vfsmount as u64).wrapping_sub(off!(mount_mnt) as u64)
}

/// The `struct vfsmount` in a `struct mount`.
#[inline(always)]
pub fn vfsmount_of(mount: u64) -> u64 {
    mount.wrapping_add(off!(mount_mnt) as u64)
}

/// How a mount hangs in the tree, copied into map memory in one read: the fields lie together (the
/// agent checks).
#[derive(Clone, Copy)]
#[repr(C)]
pub struct MountLink {
    /// The mount that it is on; itself at the top.
    pub parent: u64,
    /// The directory there.
    pub mountpoint: u64,
    /// Its own root directory.
    pub root: u64,
}

#[expect(clippy::missing_safety_doc, reason = "all: what is read is the address of a mount, or gives zero")]
impl MountLink {
    /// Its `parent`, by itself.
    #[inline(always)]
    pub unsafe fn parent_of(mount: u64) -> u64 {
        Self::one::<{ offset_of!(Self, parent) as u32 }>(mount)
    }

    /// Its `mountpoint`, by itself.
    #[inline(always)]
    pub unsafe fn mountpoint_of(mount: u64) -> u64 {
        Self::one::<{ offset_of!(Self, mountpoint) as u32 }>(mount)
    }

    /// Its `root`, by itself.
    #[inline(always)]
    pub unsafe fn root_of(mount: u64) -> u64 {
        Self::one::<{ offset_of!(Self, root) as u32 }>(mount)
    }

    #[inline(always)]
    unsafe fn one<const AT: u32>(mount: u64) -> u64 {
        Probe::load(mount as *const u8, off!(mount_parent) + AT)
    }

    /// Copies that of `mount` to `to`; zeros when it cannot be read.
    ///
    /// # Safety
    /// `to` is map memory.
    #[inline(always)]
    pub unsafe fn read(to: *mut Self, mount: u64) {
        let from = (mount as *const u8).wrapping_add(off!(mount_parent) as usize);
        words::<3>(to.cast(), from);
    }
}
