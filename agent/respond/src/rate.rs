//! A cap on kills per response, so that a rule that is wrong kills a few processes and not a host.

use hostward_event::Text;
use std::collections::{BTreeMap, VecDeque};

/// Responses remembered; a policy has far fewer.
const MAX_RESPONSES: usize = 1_024;

#[derive(Debug, Default)]
struct Window {
    /// CLOCK_BOOTTIME ns of the latest kills, at most the cap.
    kills: VecDeque<u64>,
    tripped: bool,
}

/// What the cap says to one more kill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    Admitted,
    /// This one reached the cap.
    Trips,
    /// The response was put into monitor mode before.
    Tripped,
}

#[derive(Debug)]
pub(crate) struct RateCap {
    max_kills: usize,
    window_ns: u64,
    responses: BTreeMap<Text, Window>,
}

impl RateCap {
    pub(crate) fn new(max_kills: u32, window_s: u64) -> Self {
        let max_kills = usize::try_from(max_kills).unwrap_or(usize::MAX);
        Self { max_kills, window_ns: window_s.saturating_mul(1_000_000_000), responses: BTreeMap::new() }
    }

    /// Asks for one more kill by this response at this time, and counts it when admitted.
    pub(crate) fn admit(&mut self, response: &Text, boot_ns: u64) -> Admission {
        if self.responses.len() >= MAX_RESPONSES && !self.responses.contains_key(response) {
            // Names come from files of the operator; forgetting the quiet ones is safe.
            let oldest = boot_ns.saturating_sub(self.window_ns);
            self.responses.retain(|_, w| w.tripped || w.kills.back().is_some_and(|last| *last > oldest));
            if self.responses.len() >= MAX_RESPONSES {
                return Admission::Tripped;
            }
        }
        let window = self.responses.entry(response.clone()).or_default();
        if window.tripped {
            return Admission::Tripped;
        }
        while window.kills.front().is_some_and(|kill| boot_ns.saturating_sub(*kill) >= self.window_ns) {
            window.kills.pop_front();
        }
        if window.kills.len() >= self.max_kills {
            window.tripped = true;
            return Admission::Trips;
        }
        window.kills.push_back(boot_ns);
        Admission::Admitted
    }

    /// Responses in monitor mode because of the cap.
    pub(crate) fn tripped(&self) -> Vec<Text> {
        let tripped = self.responses.iter().filter(|(_, window)| window.tripped);
        tripped.map(|(response, _)| response.clone()).collect()
    }

    /// Every response may act again.
    pub(crate) fn rearm(&mut self) {
        self.responses.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn a_response_at_its_cap_stays_in_monitor_mode_until_rearmed() {
        let mut cap = RateCap::new(2, 60);
        let (wild, calm) = (Text::from("wild"), Text::from("calm"));
        assert_eq!(cap.admit(&wild, 0), Admission::Admitted);
        assert_eq!(cap.admit(&wild, SECOND), Admission::Admitted);
        assert_eq!(cap.admit(&wild, 2 * SECOND), Admission::Trips);
        assert_eq!(cap.admit(&wild, 600 * SECOND), Admission::Tripped);
        assert_eq!(cap.admit(&calm, 2 * SECOND), Admission::Admitted, "each response has its own cap");
        assert_eq!(cap.tripped(), std::slice::from_ref(&wild));
        cap.rearm();
        assert_eq!(cap.admit(&wild, 601 * SECOND), Admission::Admitted);
    }

    #[test]
    fn kills_at_a_slow_pace_never_trip() {
        let mut cap = RateCap::new(2, 60);
        let response = Text::from("r");
        for minute in 0..100 {
            assert_eq!(cap.admit(&response, minute * 30 * SECOND), Admission::Admitted);
        }
    }
}
