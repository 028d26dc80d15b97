//! Identities that are the same wherever and whenever they are computed.

use crate::EventKind;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::io::Write;
use xxhash_rust::xxh3::{Xxh3, xxh3_128};

/// /proc/PID/stat tells a start in clock ticks of 10 ms (USER_HZ is 100 on every Linux port we
/// build for), the kernel's own records in ns.
const START_TICK_NS: u64 = 10_000_000;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
        pub struct $name(u128);

        impl $name {
            /// The id as 16 bytes, the most significant first: what its hex form shows.
            pub const fn to_bytes(self) -> [u8; 16] {
                self.0.to_be_bytes()
            }

            /// The id that [`Self::to_bytes`] gave.
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(u128::from_be_bytes(bytes))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:032x}", self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    };
}

id! {
    /// `event.id`: minted from boot id, kind, CPU, sequence and time, so that a replay gives the same.
    EventId
}

id! {
    /// `process.entity_id`: hash of machine id, boot id, pid and start time; an agent that
    /// restarts computes the same. See [`Starts`] for when two processes may have one.
    EntityId
}

/// How starts of processes are told apart.
///
/// An id must come out the same from every source that tells the process, after a restart too, so it
/// is made from what the coarsest source knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Starts {
    /// By the clock ticks of /proc, which tells the living processes where the kernel has no task
    /// iterator. A pid that is used again within one tick repeats its id.
    #[default]
    Ticks,
    /// By the kernel's ns, which all sources tell. No id is repeated: two processes of one pid do not
    /// start in one ns.
    Exact,
}

/// The seed of a real machine has 80 bytes, and what is hashed with it 50; a rule's name may be longer.
const ON_STACK_BYTES: usize = 240;

/// Makes ids for one boot of one machine.
#[derive(Clone, Debug)]
pub struct IdMint {
    seed: Vec<u8>,
    starts: Starts,
}

impl IdMint {
    /// `machine_id` and `boot_id` as the host tells them; starts count in ticks.
    pub fn new(machine_id: &str, boot_id: &str) -> Self {
        let seed = format!("hostward\0{machine_id}\0{boot_id}\0").into_bytes();
        Self { seed, starts: Starts::Ticks }
    }

    /// The same with other starts.
    #[must_use]
    pub const fn with_starts(mut self, starts: Starts) -> Self {
        self.starts = starts;
        self
    }

    /// A start in the unit in which ids tell starts apart: with the pid it says which process.
    pub const fn start(&self, start_boot_ns: u64) -> u64 {
        match self.starts {
            Starts::Ticks => start_boot_ns / START_TICK_NS,
            Starts::Exact => start_boot_ns,
        }
    }

    fn hash(&self, domain: &str, parts: &[u64], tail: &[u8]) -> u128 {
        // In one go from the stack: two ids are made for each event, and the state of the hasher that takes bytes
        // bit by bit is larger than all that goes in.
        let mut buffer = [0; ON_STACK_BYTES];
        let mut free = buffer.as_mut_slice();
        let mut put = |bytes: &[u8]| free.write_all(bytes).is_ok();
        let fits = put(&self.seed)
            && put(domain.as_bytes())
            && parts.iter().all(|part| put(&part.to_le_bytes()))
            && put(tail);
        let used = ON_STACK_BYTES - free.len();
        if let Some(whole) = buffer.get(..used).filter(|_| fits) {
            return xxh3_128(whole);
        }
        let mut hash = Xxh3::new();
        hash.update(&self.seed);
        hash.update(domain.as_bytes());
        for part in parts {
            hash.update(&part.to_le_bytes());
        }
        hash.update(tail);
        hash.digest128()
    }

    /// The id of a process.
    pub fn entity(&self, pid: u32, start_boot_ns: u64) -> EntityId {
        let domain = match self.starts {
            Starts::Ticks => "process",
            Starts::Exact => "process by ns",
        };
        EntityId(self.hash(domain, &[u64::from(pid), self.start(start_boot_ns)], b""))
    }

    /// The id of an event of the ring.
    pub fn event(&self, kind: EventKind, cpu: u16, seq: u64, boot_ns: u64) -> EventId {
        EventId(self.hash("event", &[kind as u64, u64::from(cpu), seq, boot_ns], b""))
    }

    /// The id of a record that user space makes: an alert, a notice.
    pub fn derived(&self, from: EventId, what: &[u8]) -> EventId {
        let low_and_high = [from.0 as u64, (from.0 >> 64) as u64];
        EventId(self.hash("derived", &low_and_high, what))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_has_one_id_from_the_kernel_and_from_proc() {
        let mint = IdMint::new("m", "b");
        assert_eq!(mint.entity(7, 123_456_789_012), mint.entity(7, 123_450_000_000));
        assert_ne!(mint.entity(7, 123_456_789_012), mint.entity(8, 123_456_789_012));
        assert_ne!(mint.entity(7, 1), IdMint::new("m", "c").entity(7, 1));
    }

    #[test]
    fn exact_starts_tell_a_pid_apart_that_is_used_again_within_a_tick() {
        let ticks = IdMint::new("m", "b");
        let exact = ticks.clone().with_starts(Starts::Exact);
        assert_eq!(ticks.entity(7, 123_450_000_001), ticks.entity(7, 123_450_000_002));
        assert_ne!(exact.entity(7, 123_450_000_001), exact.entity(7, 123_450_000_002));
        assert_eq!(exact.entity(7, 123_450_000_001), exact.entity(7, 123_450_000_001));
        // A start in ns that is as large as one in ticks does not make the same id.
        assert_ne!(exact.entity(7, 12_345), ticks.entity(7, 123_450_000_000));
    }

    #[test]
    fn ids_are_those_of_every_version_before() {
        let mint = IdMint::new("0123456789abcdef0123456789abcdef", "01234567-89ab-cdef-0123-456789abcdef");
        let event = mint.event(EventKind::Exec, 3, 4, 5);
        let long = IdMint::new(&"m".repeat(500), "b");
        let ids = [
            mint.entity(7, 123_456_789_012).to_string(),
            event.to_string(),
            mint.derived(event, b"rule").to_string(),
            mint.derived(event, &[b'r'; 400]).to_string(),
            long.entity(7, 8).to_string(),
            long.derived(event, b"rule").to_string(),
            mint.with_starts(Starts::Exact).entity(7, 123_456_789_012).to_string(),
        ];
        let known = [
            "f60d3d7e69d8387d0136022953bb0753",
            "ae802a7bfbfe8d2a4ee80cd86fad9cd3",
            "5250fb31c4500dc072f1a081e20156cf",
            "9508d6592e2e0c6e64607a52a5110107",
            "14afae07bb851439b942634fa65fe3cd",
            "66746e7b29d25f2fd61890ac66e2adc2",
            "8e61e90628ad51b83b2ba57eafdc5d0c",
        ];
        assert_eq!(ids, known, "a receiver joins what two versions sent");
    }
}
