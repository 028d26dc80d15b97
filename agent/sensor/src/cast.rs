//! Loads from addresses of which the verifier does not know what is there: an element of an array, a struct around another.
//!
//! # Why it exists
//! Such a load is a call of a helper, which takes ten times as long as the load itself: of an open that nobody wants that was
//! half of the cost. Since 6.17 the kernel's function [`FUNCTION`] makes any address one to load from, and costs nothing.
//!
//! # How it works
//! Which function that is, the running kernel's types tell, so the objects have a mark in its place ([`CAST`]) that [`put`]
//! replaces before they are loaded. Elsewhere the setting `loads` is 0, and the programs call the helper.

use hostward_abi::maps::CAST;

/// The kernel's function; of 6.2, and since 6.17 for an address without a type, which its own type does not tell.
pub(crate) const FUNCTION: &str = "bpf_rdonly_cast";

/// The object with calls of `function`, a type's number, in place of the marks; without one with the move of the pointer,
/// which is never reached.
pub(crate) fn put(object: &[u8], function: Option<u32>) -> Vec<u8> {
    // struct bpf_insn, include/uapi/linux/bpf.h: code, registers (the source is the upper half), offset, number.
    const CALL: u8 = 0x85;
    const MOVE: u8 = 0xbf;
    const OF_THE_KERNEL: u8 = 2 << 4;
    const FROM_R1: u8 = 1 << 4;
    let instruction = |code, registers, number: [u8; 4]| [&[code, registers, 0, 0][..], &number].concat();
    let mark = instruction(CALL, 0, CAST.to_ne_bytes());
    let put = match function {
        Some(id) => instruction(CALL, OF_THE_KERNEL, id.to_ne_bytes()),
        None => instruction(MOVE, FROM_R1, [0; 4]),
    };
    let mut object = object.to_vec();
    object.chunks_exact_mut(8).filter(|own| **own == *mark).for_each(|own| own.copy_from_slice(&put));
    object
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rungs::Object;

    fn count(object: &[u8], instruction: [u8; 8]) -> usize {
        object.chunks_exact(8).filter(|own| **own == instruction).count()
    }

    #[test]
    fn marks_become_calls_or_moves() {
        let number = CAST.to_ne_bytes();
        let mark = [0x85, 0, 0, 0, number[0], number[1], number[2], number[3]];
        let (call, move_r1) = ([0x85, 0x20, 0, 0, 4, 3, 2, 1], [0xbf, 0x10, 0, 0, 0, 0, 0, 0]);
        for object in [Object::Base.bytes(), Object::Sys.bytes()] {
            let (marks, moves) = (count(object, mark), count(object, move_r1));
            assert!(marks > 0);
            let called = put(object, Some(u32::from_ne_bytes([4, 3, 2, 1])));
            assert_eq!((count(&called, mark), count(&called, call), called.len()), (0, marks, object.len()));
            assert_eq!(count(&put(object, None), move_r1), moves + marks);
        }
    }
}
