//! `struct inode`.

use super::{Access, Probe};
use crate::off;
use hostward_abi::record::InodeFacts;

/// A file's inode.
#[derive(Clone, Copy)]
pub struct Inode(pub *const u8);

#[expect(clippy::missing_safety_doc, reason = "all: self is an inode that `A` may load from")]
impl Inode {
    /// Type and permissions; 0 for a null inode.
    #[inline(always)]
    pub unsafe fn mode<A: Access>(self) -> u16 {
        A::load(self.0, off!(inode_mode))
    }

    /// A regular file.
    #[inline(always)]
    pub unsafe fn is_regular<A: Access>(self) -> bool {
        self.mode::<A>() & 0o170_000 == 0o100_000
    }

    /// Size of the file, bytes.
    #[inline(always)]
    pub unsafe fn size<A: Access>(self) -> u64 {
        A::load(self.0, off!(inode_size))
    }

    /// In an overlay file system: whether the file lies in the writable layer.
    ///
    /// `struct ovl_inode` ends in `struct inode vfs_inode; struct dentry *__upperdentry; …`, fs/overlayfs/ovl_entry.h;
    /// so from 4.8 to 6.18.
    #[inline(always)]
    pub unsafe fn overlay_upper<A: Access>(self) -> Option<bool> {
        const OVERLAYFS_SUPER_MAGIC: u64 = 0x794c_7630;
        let sb: *const u8 = A::load(self.0, off!(inode_sb));
        if A::load::<u64>(sb, off!(sb_magic)) != OVERLAYFS_SUPER_MAGIC {
            return None;
        }
        let upper: u64 = Probe::load(self.0, off!(inode_bytes));
        Some(upper != 0)
    }

    /// Fills `to`, which points to map memory.
    #[inline(always)]
    pub unsafe fn fill<A: Access>(self, to: *mut InodeFacts) {
        (*to).ino = A::load(self.0, off!(inode_ino));
        (*to).ctime_s = A::load(self.0, off!(inode_ctime_s));
        (*to).mtime_s = A::load(self.0, off!(inode_mtime_s));
        (*to).ctime_ns = A::load(self.0, off!(inode_ctime_ns));
        (*to).mtime_ns = A::load(self.0, off!(inode_mtime_ns));
        (*to).mode = self.mode::<A>() as u32;
        (*to).nlink = A::load(self.0, off!(inode_nlink));
        (*to).uid = A::load(self.0, off!(inode_uid));
        (*to).gid = A::load(self.0, off!(inode_gid));
        let sb: *const u8 = A::load(self.0, off!(inode_sb));
        (*to).dev = A::load(sb, off!(sb_dev));
        (*to).reserved = 0;
    }
}
