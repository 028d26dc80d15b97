//! The pipeline's only clock, so that a replay reads what the run read.

/// The wall clock, ns since the epoch: for health and reports, never for events.
pub fn wall_ns() -> i64 {
    hostward_host::clock_offset_ns().saturating_add_unsigned(hostward_host::boot_ns())
}

/// CLOCK_BOOTTIME, read or remembered.
pub trait Clock {
    /// CLOCK_BOOTTIME in ns.
    fn boot_ns(&mut self) -> u64;
}

/// Reads the clock and remembers what it read, for the capture.
#[derive(Debug, Default)]
pub struct LiveClock {
    reads: Vec<u64>,
}

impl LiveClock {
    /// What was read since the last call.
    pub fn take_reads(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.reads)
    }
}

impl Clock for LiveClock {
    fn boot_ns(&mut self) -> u64 {
        let now = hostward_host::boot_ns();
        self.reads.push(now);
        now
    }
}

/// Gives back what the run read.
#[derive(Debug, Default)]
pub struct ReplayClock {
    reads: std::vec::IntoIter<u64>,
    last: u64,
}

impl ReplayClock {
    /// Sets what the next input's handling will read.
    pub fn load(&mut self, reads: Vec<u64>) {
        self.reads = reads.into_iter();
    }
}

impl Clock for ReplayClock {
    fn boot_ns(&mut self) -> u64 {
        // Other rules than those of the run may match more often than it did: time stands still then.
        self.last = self.reads.next().unwrap_or(self.last);
        self.last
    }
}
