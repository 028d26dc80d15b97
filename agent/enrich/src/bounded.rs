//! A map with a bound, which forgets what was not used for long.
//!
//! Second chance: entries stand in a queue; at the bound the oldest goes, unless it was used since
//! its last turn, then it is sent to the end once. That costs two words per entry and no work on
//! use, and which entry goes depends on the inputs alone, so that a replay forgets the same.

use foldhash::quality::RandomState;
use std::borrow::Borrow;
use std::cell::Cell;
use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::num::NonZeroUsize;

#[derive(Debug)]
struct Slot<V> {
    value: V,
    used: Cell<bool>,
    turn: u64,
}

#[derive(Debug)]
pub(crate) struct Bounded<K, V> {
    /// Asked for each ancestor of each event: the standard hasher was a tenth of the stage's cost.
    slots: HashMap<K, Slot<V>, RandomState>,
    /// May hold keys that are gone, or older turns of a key that came again: `turn` tells.
    queue: VecDeque<(K, u64)>,
    turns: u64,
    limit: usize,
}

impl<K: Clone + Eq + Hash, V> Bounded<K, V> {
    pub(crate) fn new(limit: NonZeroUsize) -> Self {
        Self { slots: HashMap::default(), queue: VecDeque::new(), turns: 0, limit: limit.get() }
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    /// The value, marked as used.
    pub(crate) fn find(&self, key: impl Borrow<K>) -> Option<&V> {
        let slot = self.slots.get(key.borrow())?;
        slot.used.set(true);
        Some(&slot.value)
    }

    /// The value to change, marked as used.
    pub(crate) fn find_mut(&mut self, key: impl Borrow<K>) -> Option<&mut V> {
        let slot = self.slots.get_mut(key.borrow())?;
        slot.used.set(true);
        Some(&mut slot.value)
    }

    /// Puts a value in; gives back what had to go for it.
    #[must_use = "what went may have to be taken care of"]
    pub(crate) fn insert(&mut self, key: K, value: V) -> Option<(K, V)> {
        let evicted = (self.slots.len() >= self.limit && !self.slots.contains_key(&key))
            .then(|| self.evict())
            .flatten();
        self.turns += 1;
        let turn = self.turns;
        self.slots.insert(key.clone(), Slot { value, used: Cell::new(false), turn });
        self.queue.push_back((key, turn));
        if self.queue.len() > 2 * self.slots.len() + 64 {
            let slots = &self.slots;
            self.queue.retain(|(key, turn)| slots.get(key).is_some_and(|slot| slot.turn == *turn));
        }
        evicted
    }

    pub(crate) fn remove(&mut self, key: K) -> Option<V> {
        self.slots.remove(&key).map(|slot| slot.value)
    }

    /// All entries, in no order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (K, &V)> {
        self.slots.iter().map(|(key, slot)| (key.clone(), &slot.value))
    }

    /// All values to change, in no order: what is done must not depend on it.
    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        self.slots.values_mut().map(|slot| &mut slot.value)
    }

    /// Ends, as each turn of the loop drops a queue entry or clears a mark.
    fn evict(&mut self) -> Option<(K, V)> {
        while let Some((key, turn)) = self.queue.pop_front() {
            let Some(slot) = self.slots.get(&key).filter(|slot| slot.turn == turn) else { continue };
            if slot.used.take() {
                self.queue.push_back((key, turn));
            } else {
                return self.remove(key.clone()).map(|value| (key, value));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_used_stays_at_the_bound() {
        let mut map = Bounded::new(NonZeroUsize::new(3).unwrap());
        for key in 1..=3 {
            assert_eq!(map.insert(key, key * 10), None);
        }
        assert_eq!(map.find(1), Some(&10));
        assert_eq!(map.insert(4, 40), Some((2, 20)));
        assert_eq!(map.insert(5, 50), Some((3, 30)));
        assert_eq!(map.insert(6, 60), Some((1, 10)), "one use is one more turn, not for ever");
        assert_eq!(map.len(), 3);
    }

    #[test]
    fn coming_and_going_for_long_keeps_the_queue_short() {
        let mut map = Bounded::new(NonZeroUsize::new(100).unwrap());
        for key in 0..10_000 {
            assert_eq!(map.insert(key % 7, key), None);
            map.remove(key % 7);
        }
        assert_eq!((map.len(), map.queue.len() < 200), (0, true));
    }
}
