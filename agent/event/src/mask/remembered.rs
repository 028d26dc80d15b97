//! What became of process snapshots, while they live.

use crate::process::Process;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::{Arc, Weak};

/// Snapshots per generation. Two generations are kept, so that the busy ones stay.
const MAX_SNAPSHOTS: usize = 1_024;

/// The weak reference keeps the address from being given to another snapshot.
type Known = (Weak<Process>, Option<Arc<Process>>);

type Generation = HashMap<usize, Known, BuildHasherDefault<AddressHasher>>;

#[derive(Debug, Default)]
pub(super) struct Remembered {
    young: Generation,
    old: Generation,
}

/// Addresses come from our own allocator, not from an attacker, and are asked for several times per
/// event: a multiplication is enough.
#[derive(Debug, Default)]
struct AddressHasher(u64);

impl Hasher for AddressHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, value: u64) {
        // 2^64 divided by the golden ratio; the map takes its bits from both ends.
        self.0 = (self.0 ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(26);
    }

    fn write_usize(&mut self, value: usize) {
        self.write_u64(u64::try_from(value).unwrap_or_default());
    }
}

impl Remembered {
    /// None: not known. Otherwise the masked snapshot, or none when it has nothing to mask.
    #[expect(clippy::option_option, reason = "not known and nothing to mask are two answers")]
    pub(super) fn find(&mut self, process: &Arc<Process>) -> Option<Option<Arc<Process>>> {
        let address = Arc::as_ptr(process).addr();
        if let Some((_, masked)) = self.young.get(&address) {
            return Some(masked.clone());
        }
        let (_, masked) = self.old.remove(&address)?;
        self.keep(process, masked.clone());
        Some(masked)
    }

    pub(super) fn keep(&mut self, process: &Arc<Process>, masked: Option<Arc<Process>>) {
        if self.young.len() >= MAX_SNAPSHOTS {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(Arc::as_ptr(process).addr(), (Arc::downgrade(process), masked));
    }
}
