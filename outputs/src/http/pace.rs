//! How many requests fly at once: one more while replies come as fast as usual, half when they do not.

use std::collections::VecDeque;
use std::time::Duration;

/// Replies whose times are remembered.
const WINDOW: usize = 32;
/// Below this a reply is never slow: the jitter of a healthy server would halve the pace.
const NEVER_SLOW: Duration = Duration::from_millis(100);

/// See the module.
#[derive(Debug)]
pub(super) struct Pace {
    ceiling: usize,
    limit: usize,
    recent: VecDeque<Duration>,
}

impl Pace {
    /// Starts with one request; `ceiling` is the most.
    pub(super) fn new(ceiling: usize) -> Self {
        Self { ceiling: ceiling.max(1), limit: 1, recent: VecDeque::with_capacity(WINDOW) }
    }

    /// Requests that may fly now, at least one.
    pub(super) const fn limit(&self) -> usize {
        self.limit
    }

    /// A reply that made sense took so long.
    pub(super) fn replied(&mut self, took: Duration) {
        let is_slow = took > NEVER_SLOW && self.median().is_some_and(|median| took >= median * 2);
        self.limit = if is_slow { self.limit.div_ceil(2) } else { (self.limit + 1).min(self.ceiling) };
        if self.recent.len() == WINDOW {
            self.recent.pop_front();
        }
        self.recent.push_back(took);
    }

    /// Throttled, or no reply in time.
    pub(super) fn pushed_back(&mut self) {
        self.limit = self.limit.div_ceil(2);
    }

    fn median(&self) -> Option<Duration> {
        let mut sorted: Vec<_> = self.recent.iter().copied().collect();
        sorted.sort_unstable();
        sorted.get(sorted.len() / 2).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_rises_by_one_and_falls_by_half() {
        let mut pace = Pace::new(8);
        for expected in [2, 3, 4, 5, 6, 7, 8, 8] {
            pace.replied(Duration::from_millis(200));
            assert_eq!(pace.limit(), expected);
        }
        pace.pushed_back();
        assert_eq!(pace.limit(), 4);
        pace.replied(Duration::from_millis(500));
        assert_eq!(pace.limit(), 2, "slower than twice the median");
        for _ in 0..9 {
            pace.pushed_back();
        }
        assert_eq!(pace.limit(), 1, "one request always may fly");
    }

    #[test]
    fn a_server_that_is_slower_for_good_is_used_in_full_again() {
        let mut pace = Pace::new(4);
        for _ in 0..WINDOW {
            pace.replied(Duration::from_millis(150));
        }
        for _ in 0..WINDOW {
            pace.replied(Duration::from_secs(2));
        }
        assert_eq!(pace.limit(), 4);
    }
}
