//! `struct file`.

use super::dentry::Location;
use super::inode::Inode;
use super::{Access, Probe, Typed};
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
    pub unsafe fn location(self) -> Location {
        Location { mnt: Typed::load(self.0, off!(file_mnt)), dentry: Typed::load(self.0, off!(file_dentry)) }
    }

    /// [`Self::location`] of a file that the verifier knows no type of, in one read: `struct path` is
    /// two pointers.
    #[inline(always)]
    pub unsafe fn probe_location(self) -> Location {
        let [mnt, dentry]: [*const u8; 2] = Probe::load(self.0, off!(file_mnt));
        Location { mnt, dentry }
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
