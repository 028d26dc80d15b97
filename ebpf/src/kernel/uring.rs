//! `struct io_kiocb`, a request of io_uring, and what it holds of the operations that are told.

use super::file::File;
use super::{Access, Probe};
use crate::off;

/// REQ_F_CQE_SKIP, include/linux/io_uring_types.h, which is IOSQE_CQE_SKIP_SUCCESS of the interface.
const CQE_SKIP: u32 = 1 << 6;

/// A request.
#[derive(Clone, Copy)]
pub struct Request(pub *const u8);

#[expect(
    clippy::missing_safety_doc,
    reason = "all: self is a struct io_kiocb; of an operation: with its opcode"
)]
impl Request {
    #[inline(always)]
    pub unsafe fn opcode(self) -> u32 {
        Probe::load::<u8>(self.0, off!(uring_opcode)) as u32
    }

    /// No completion is told when it succeeds.
    #[inline(always)]
    pub unsafe fn is_silent(self) -> bool {
        Probe::load::<u32>(self.0, off!(uring_flags)) & CQE_SKIP != 0
    }

    #[inline(always)]
    pub unsafe fn result(self) -> i64 {
        Probe::load::<i32>(self.0, off!(uring_result)) as i64
    }

    /// The file that it is about, if it is about one that is open.
    #[inline(always)]
    pub unsafe fn file(self) -> File {
        File(Probe::load(self.0, off!(uring_file)))
    }

    /// A field of the operation's own struct.
    #[inline(always)]
    pub unsafe fn field<T: Copy>(self, offset: u32) -> T {
        Probe::load(self.0, off!(uring_cmd).wrapping_add(offset))
    }

    /// The text behind a `struct filename *` of the operation's own struct.
    #[inline(always)]
    pub unsafe fn name(self, offset: u32) -> *const u8 {
        let filename: *const u8 = self.field(offset);
        Probe::load(filename, off!(filename_name))
    }
}
