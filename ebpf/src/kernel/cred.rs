//! `struct cred`: copied in two blocks. The agent checks that the fields between the first and last
//! of each block are contiguous (a kernel with randomised layouts is refused).

use super::{Access, copy};
use crate::off;
use hostward_abi::record::ProcessBody;

/// Effective user and group id.
///
/// # Safety
/// `cred` is a cred that `A` may load from.
#[inline(always)]
pub unsafe fn effective<A: Access>(cred: *const u8) -> (u32, u32) {
    (A::load(cred, off!(cred_euid)), A::load(cred, off!(cred_egid)))
}

/// [`all`] by loads alone.
///
/// # Safety
/// As [`all`]; `cred` is one that `A` may load from.
#[inline(always)]
pub unsafe fn load_all<A: Access>(cred: *const u8, to: *mut ProcessBody) {
    let (ids, caps) = ((&raw mut (*to).ids).cast::<u32>(), (&raw mut (*to).caps).cast::<u64>());
    let mut at = 0;
    while at < 8 {
        core::ptr::write_volatile(ids.add(at), A::load(cred, off!(cred_uid) + at as u32 * 4));
        at += 1;
    }
    let mut at = 0;
    while at < 5 {
        core::ptr::write_volatile(caps.add(at), A::load(cred, off!(cred_cap_inheritable) + at as u32 * 8));
        at += 1;
    }
}

/// All ids and capability sets. The sets are `u32[2]` before 6.3 and `u64` since: the same bytes.
///
/// # Safety
/// `cred` points to a cred, `to` to map memory.
#[inline(always)]
pub unsafe fn all(cred: *const u8, to: *mut ProcessBody) {
    copy((&raw mut (*to).ids).cast(), 32, cred.wrapping_add(off!(cred_uid) as usize));
    copy((&raw mut (*to).caps).cast(), 40, cred.wrapping_add(off!(cred_cap_inheritable) as usize));
}
