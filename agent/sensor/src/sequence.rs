//! Which numbers are missing.
//!
//! Each program numbers its events per kind and CPU, before anything can fail. A record whose number
//! is not the next one proves a loss. The last numbers of a burst have no record behind them; those
//! that the kernel has settled, and that were not in the ring by then, are lost too.

use hostward_abi::maps::KINDS;
use std::ops::RangeInclusive;

/// The next number expected, by kind and CPU.
#[derive(Debug, Default)]
pub(crate) struct Sequences {
    next: Vec<u64>,
}

impl From<Vec<u64>> for Sequences {
    /// Those that were expected next when somebody else read the ring: all kinds of one CPU, then of the next.
    fn from(next: Vec<u64>) -> Self {
        Self { next }
    }
}

impl Sequences {
    fn next(&mut self, kind: u8, cpu: u16) -> &mut u64 {
        let place = usize::from(cpu) * KINDS + usize::from(kind) % KINDS;
        if place >= self.next.len() {
            self.next.resize(place + KINDS, 0);
        }
        // The line above made room, so the alternative is never taken; a leaked word costs nothing.
        self.next.get_mut(place).unwrap_or_else(|| Box::leak(Box::new(0)))
    }

    /// A record with this number came. Gives the numbers lost before it.
    pub(crate) fn arrived(&mut self, kind: u8, cpu: u16, seq: u64) -> Option<RangeInclusive<u64>> {
        let next = self.next(kind, cpu);
        if seq < *next {
            return None;
        }
        let lost = (seq > *next).then(|| *next..=seq - 1);
        *next = seq + 1;
        lost
    }

    /// All numbers below `settled` have arrived or are lost. Gives those that are.
    pub(crate) fn settled(&mut self, kind: u8, cpu: u16, settled: u64) -> Option<RangeInclusive<u64>> {
        let next = self.next(kind, cpu);
        if settled <= *next {
            return None;
        }
        let lost = *next..=settled - 1;
        *next = settled;
        Some(lost)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn holes_and_tails_are_told_once() {
        let mut seen = Sequences::default();
        assert_eq!(seen.arrived(1, 0, 0), None);
        assert_eq!(seen.arrived(1, 0, 3), Some(1..=2));
        assert_eq!(seen.arrived(1, 5, 1), Some(0..=0), "each CPU counts for itself");
        assert_eq!(seen.arrived(4, 0, 0), None, "each kind counts for itself");
        assert_eq!(seen.settled(1, 0, 4), None, "nothing behind the last record");
        assert_eq!(seen.settled(1, 0, 7), Some(4..=6));
        assert_eq!(seen.settled(1, 0, 7), None);
        assert_eq!(seen.arrived(1, 0, 7), None);
    }

    proptest! {
        /// Whatever is lost and whenever the tail is looked at: arrivals and losses add up, and no
        /// number is told twice.
        #[test]
        fn every_number_is_accounted_for(kept in prop::collection::vec(any::<(bool, bool)>(), 0..200)) {
            let mut seen = Sequences::default();
            let mut told = vec![0; kept.len()];
            let mut tell = |lost: Option<RangeInclusive<u64>>| {
                for seq in lost.into_iter().flatten() {
                    told[seq as usize] += 1;
                }
            };
            for (seq, (arrives, look)) in kept.iter().enumerate() {
                if *arrives {
                    tell(seen.arrived(1, 0, seq as u64));
                }
                if *look {
                    tell(seen.settled(1, 0, seq as u64 + 1));
                }
            }
            tell(seen.settled(1, 0, kept.len() as u64));
            for (seq, (arrives, _)) in kept.iter().enumerate() {
                prop_assert_eq!(told[seq], u32::from(!arrives), "number {}", seq);
            }
        }
    }
}
