//! How long to wait before the next try.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Limit of the first wait.
const FIRST_LIMIT: Duration = Duration::from_secs(1);

/// Waits that grow, spread over their second half so that a fleet does not come back at once.
#[derive(Debug)]
pub(crate) struct Pace {
    failures: u32,
    longest: Duration,
}

impl Pace {
    pub(crate) const fn new(longest: Duration) -> Self {
        Self { failures: 0, longest }
    }

    pub(crate) const fn reset(&mut self) {
        self.failures = 0;
    }

    /// Something failed. What the server asks for is the least, though no more than the longest wait.
    pub(crate) fn wait(&mut self, asked: Option<Duration>) -> Duration {
        let wait = self.draw(asked, fastrand::f64());
        self.failures = self.failures.saturating_add(1);
        wait
    }

    fn draw(&self, asked: Option<Duration>, chance: f64) -> Duration {
        let limit = FIRST_LIMIT.saturating_mul(1 << self.failures.min(10)).min(self.longest);
        let wait = limit.mul_f64(0.5 + chance.clamp(0.0, 1.0) / 2.0);
        match asked.map(|asked| asked.min(self.longest)) {
            Some(asked) => asked + wait.min(asked / 4),
            None => wait,
        }
    }
}

/// Reads the value of `Retry-After`: seconds, or an HTTP date; none: it is neither.
pub(crate) fn parse_retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse::<u32>() {
        return Some(Duration::from_secs(seconds.into()));
    }
    let until = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(value).ok()?;
    let until = UNIX_EPOCH + Duration::from_secs(u64::try_from(until.as_second()).unwrap_or(0));
    Some(until.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_limit_and_the_server_is_heard() {
        let mut pace = Pace::new(Duration::from_secs(60));
        let mut limits = Vec::new();
        for _ in 0..8 {
            limits.push(pace.draw(None, 1.0).as_secs());
            assert!(pace.wait(None) >= FIRST_LIMIT / 2);
        }
        assert_eq!(limits, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(pace.draw(Some(Duration::from_secs(20)), 1.0), Duration::from_secs(25));
        assert_eq!(pace.draw(Some(Duration::from_secs(86_400)), 0.0), Duration::from_secs(75));
        pace.reset();
        assert_eq!(pace.draw(None, 0.0), FIRST_LIMIT / 2);
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = UNIX_EPOCH + Duration::from_secs(784_111_777);
        let read = |value| parse_retry_after(value, now).map(|wait| wait.as_secs());
        assert_eq!((read(" 7 "), read("Sun, 06 Nov 1994 08:50:37 GMT")), (Some(7), Some(60)));
        assert_eq!((read("Sun, 06 Nov 1994 08:00:00 GMT"), read("soon"), read("-1")), (Some(0), None, None));
    }
}
