//! How long to wait before the next try.
//!
//! Full jitter: each wait is drawn between nothing and a limit that doubles. A fleet that lost one
//! server then comes back spread out, which a fixed series, or half of it at random, does not do.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Limit of the first wait.
const FIRST_LIMIT: Duration = Duration::from_millis(500);
/// Limit of all later waits.
const LAST_LIMIT: Duration = Duration::from_secs(60);
/// A wait is never shorter: a draw near zero must not make a hot loop.
const FLOOR: Duration = Duration::from_millis(50);
/// A server that asks for more is not believed.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(3_600);

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Backoff {
    failures: u32,
}

impl Backoff {
    /// As if nothing had failed.
    pub const fn new() -> Self {
        Self { failures: 0 }
    }

    /// Something failed: how long to wait. What the server asked for is the least, and the wait is
    /// still spread above it.
    pub fn wait(&mut self, retry_after: Option<Duration>) -> Duration {
        let wait = draw(self.failures, retry_after, fastrand::f64());
        self.failures = self.failures.saturating_add(1);
        wait
    }

    /// Something went well: the next wait is short again.
    pub const fn reset(&mut self) {
        self.failures = 0;
    }
}

/// `chance` is from 0 to 1.
fn draw(failures: u32, retry_after: Option<Duration>, chance: f64) -> Duration {
    let limit = FIRST_LIMIT.saturating_mul(1 << failures.min(10)).min(LAST_LIMIT);
    let wait = limit.mul_f64(chance.clamp(0.0, 1.0)).max(FLOOR);
    match retry_after.map(|asked| asked.min(LONGEST_RETRY_AFTER)) {
        Some(asked) => asked + wait.min(asked / 4),
        None => wait,
    }
}

/// Reads the value of `Retry-After`: seconds, or an HTTP date. A time that has passed is zero; none:
/// it is neither.
pub fn parse_retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        let seconds = value.parse().unwrap_or(u64::MAX);
        return Some(Duration::from_secs(seconds).min(LONGEST_RETRY_AFTER));
    }
    let until = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(value).ok()?;
    let until = UNIX_EPOCH + Duration::from_secs(u64::try_from(until.as_second()).unwrap_or(0));
    let wait = until.duration_since(now).unwrap_or_default();
    Some(wait.min(LONGEST_RETRY_AFTER))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_doubles_to_a_minute_and_a_draw_is_never_nothing() {
        let limits: Vec<_> = (0..9).map(|n| draw(n, None, 1.0).as_millis()).collect();
        assert_eq!(limits, [500, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000]);
        assert_eq!(draw(u32::MAX, None, 1.0), LAST_LIMIT);
        assert_eq!(draw(3, None, 0.0), FLOOR);
        assert_eq!(draw(3, None, 0.5).as_millis(), 2_000);
    }

    #[test]
    fn what_the_server_asks_for_is_the_least() {
        for chance in [0.0, 0.5, 1.0] {
            let wait = draw(0, Some(Duration::from_secs(40)), chance);
            assert!((40_000..=50_000).contains(&wait.as_millis()), "{wait:?}");
        }
        assert!(draw(9, Some(Duration::MAX), 1.0) <= LONGEST_RETRY_AFTER + LAST_LIMIT);
    }

    #[test]
    fn success_makes_the_next_wait_short() {
        let mut backoff = Backoff::new();
        for _ in 0..20 {
            backoff.wait(None);
        }
        backoff.reset();
        assert!(backoff.wait(None) <= FIRST_LIMIT);
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = UNIX_EPOCH + Duration::from_secs(784_111_777);
        let read = |value| parse_retry_after(value, now).map(|wait| wait.as_secs());
        assert_eq!(read("120"), Some(120));
        assert_eq!(read(" 0 "), Some(0));
        assert_eq!(read("99999999999999999999999"), Some(3_600));
        assert_eq!(read("Sun, 06 Nov 1994 08:50:37 GMT"), Some(60));
        assert_eq!(read("Sun, 06 Nov 1994 08:00:00 GMT"), Some(0));
        for neither in ["", "-1", "1.5", "soon"] {
            assert_eq!(read(neither), None, "{neither:?}");
        }
    }
}
