//! `struct file`.

use super::dentry::Location;
use super::inode::Inode;
use super::{Access, Probe};
use crate::off;

/// FMODE_CREATED, include/linux/fs.h.
const CREATED: u32 = 0x10_0000;

/// An open file.
#[derive(Clone, Copy)]
pub struct File(pub *const u8);

#[expect(clippy::missing_safety_doc, reason = "all: self is a struct file that `A` may load from")]
impl File {
    #[inline(always)]
    pub unsafe fn inode<A: Access>(self) -> Inode {
        Inode(A::load(self.0, off!(file_inode)))
    }

    #[inline(always)]
    pub unsafe fn location<A: Access>(self) -> Location {
        Location { mnt: A::load(self.0, off!(file_mnt)), dentry: A::load(self.0, off!(file_dentry)) }
    }

    /// The open that gave this file made it.
    #[inline(always)]
    pub unsafe fn was_created(self) -> bool {
        Probe::load::<u32>(self.0, off!(file_mode)) & CREATED != 0
    }

    #[inline(always)]
    pub unsafe fn private_data(self) -> *const u8 {
        Probe::load(self.0, off!(file_private_data))
    }
}
