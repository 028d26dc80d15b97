//! The kernel's clock and the wall's.

use rustix::time::{ClockId, Timespec, clock_gettime};

fn ns(time: Timespec) -> i64 {
    time.tv_sec.saturating_mul(1_000_000_000).saturating_add(time.tv_nsec)
}

/// CLOCK_BOOTTIME in ns: the time that kernel records and inputs carry.
pub fn boot_ns() -> u64 {
    u64::try_from(ns(clock_gettime(ClockId::Boottime))).unwrap_or_default()
}

/// Wall clock minus CLOCK_BOOTTIME, ns. Changes when the wall clock is set or slewed.
pub fn clock_offset_ns() -> i64 {
    // The wall is read between two readings of boot time; of a few tries the one in which they lie
    // nearest is the truest, as another may have been preempted in between.
    let sample = || {
        let before = ns(clock_gettime(ClockId::Boottime));
        let wall = ns(clock_gettime(ClockId::Realtime));
        let width = ns(clock_gettime(ClockId::Boottime)) - before;
        (width, wall - (before + width / 2))
    };
    let best = (0..5).map(|_| sample()).min_by_key(|(width, _)| *width);
    best.map_or(0, |(_, offset_ns)| offset_ns)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::SystemTime;

    #[test]
    fn boot_time_and_offset_give_the_wall_clock() {
        let told = i64::try_from(boot_ns()).unwrap() + clock_offset_ns();
        let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        let apart_ns = i64::try_from(wall.as_nanos()).unwrap() - told;
        assert!((0..1_000_000_000).contains(&apart_ns), "{apart_ns} ns apart");
        let drift_ns = clock_offset_ns() - clock_offset_ns();
        assert!(drift_ns.abs() < 1_000_000, "{drift_ns} ns between two readings");
    }
}
