//! `struct file`.

use super::dentry::Location;
use super::inode::Inode;
use super::{Access, Probe, Typed};
use crate::{off, setting};
use hostward_abi::offsets::ABSENT;

/// FMODE_CREATED, include/linux/fs.h.
const CREATED: u32 = 0x10_0000;

/// `__FMODE_EXEC`, FMODE_NOACCOUNT, include/linux/fs.h.
const EXECUTE: u32 = 0x20;
/// FMODE_WRITE, the same.
const WRITE: u32 = 2;
const NOACCOUNT: u32 = 0x2000_0000;

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

    /// Where its `struct path` is.
    #[inline(always)]
    pub unsafe fn path(self) -> *const u8 {
        self.0.add(off!(file_mnt) as usize)
    }

    /// It is opened to be executed.
    #[inline(always)]
    pub unsafe fn to_execute<A: Access>(self) -> bool {
        A::load::<u32>(self.0, off!(file_flags)) & EXECUTE != 0
    }

    /// A file system opened it below a file of its own.
    #[inline(always)]
    pub unsafe fn is_inner<A: Access>(self) -> bool {
        A::load::<u32>(self.0, off!(file_mode)) & NOACCOUNT != 0
    }

    /// As [`Self::was_created`], by a load.
    #[inline(always)]
    pub unsafe fn is_new<A: Access>(self) -> bool {
        A::load::<u32>(self.0, off!(file_mode)) & CREATED != 0
    }

    /// The open that gave this file made it.
    #[inline(always)]
    pub unsafe fn was_created(self) -> bool {
        Probe::load::<u32>(self.0, off!(file_mode)) & CREATED != 0
    }

    /// It is open for writing, and by a program: not by a file system below a file of its own.
    #[inline(always)]
    pub unsafe fn is_written<A: Access>(self) -> bool {
        A::load::<u32>(self.0, off!(file_mode)) & (WRITE | NOACCOUNT) == WRITE
    }

    /// Whoever looks at it through the one descriptor holds it alone; false where the kernel does not tell.
    #[inline(always)]
    pub unsafe fn is_held_once<A: Access>(self) -> bool {
        off!(file_count) != ABSENT && A::load::<u64>(self.0, off!(file_count)) == setting!(held_once) as u64
    }

    /// O_* flags.
    #[inline(always)]
    pub unsafe fn flags<A: Access>(self) -> u32 {
        A::load(self.0, off!(file_flags))
    }

    #[inline(always)]
    pub unsafe fn private_data(self) -> *const u8 {
        Probe::load(self.0, off!(file_private_data))
    }
}
