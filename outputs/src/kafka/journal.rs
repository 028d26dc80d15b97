//! The library's log lines, few of them.
//!
//! Without a broker the library writes several lines a second. What matters in them comes as an error,
//! too, and is told by the sink's health; so each kind of line is passed on once a minute.

use super::meaning::escaped;
use rdkafka::config::RDKafkaLogLevel as Level;
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// One line of a kind in this time.
const INTERVAL: Duration = Duration::from_secs(60);
/// Kinds that are told apart; the library has about 200.
const MAX_FACILITIES: usize = 256;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Journal {
    /// By facility: when it was last written, and how many lines were not.
    written: HashMap<String, (Instant, u64)>,
}

impl Journal {
    pub(super) fn write(&mut self, sink: &str, level: Level, facility: &str, line: &str) {
        let Some(withheld) = self.admit(facility, Instant::now()) else { return };
        let line = escaped(line);
        let facility = escaped(facility);
        match level {
            Level::Emerg | Level::Alert | Level::Critical | Level::Error | Level::Warning => {
                tracing::warn!(sink, facility, withheld, "librdkafka: {line}");
            }
            Level::Notice | Level::Info => tracing::info!(sink, facility, withheld, "librdkafka: {line}"),
            Level::Debug => tracing::debug!(sink, facility, withheld, "librdkafka: {line}"),
        }
    }

    /// None: not now; else how many lines of this kind were held back before it.
    fn admit(&mut self, facility: &str, now: Instant) -> Option<u64> {
        if let Some((at, withheld)) = self.written.get_mut(facility) {
            if now.duration_since(*at) < INTERVAL {
                *withheld += 1;
                return None;
            }
            *at = now;
            return Some(std::mem::take(withheld));
        }
        if self.written.len() >= MAX_FACILITIES {
            return None;
        }
        self.written.insert(facility.to_owned(), (now, 0));
        Some(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_week_without_brokers_is_a_line_a_minute() {
        let mut journal = Journal::default();
        let start = Instant::now();
        let lines = (0..6_000).filter_map(|n| journal.admit("FAIL", start + Duration::from_millis(100) * n));
        let told: Vec<_> = lines.collect();
        assert_eq!(told, [0, 599, 599, 599, 599, 599, 599, 599, 599, 599]);
        assert_eq!(journal.admit("ERROR", start), Some(0), "another kind is told");
        for n in 0..1_000 {
            journal.admit(&n.to_string(), start);
        }
        assert!(journal.written.len() <= MAX_FACILITIES);
    }
}
