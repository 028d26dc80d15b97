//! All rings read by one thread, their records put into the order of time.
//!
//! # Why
//! An open must be told with the program that made it, so the exec before it has to come first, and
//! the exec after it later. The two lie in different rings, and two threads would hand them over in
//! any order.
//!
//! # How it works
//! Each round notes the time, takes what is in the ring of process events, then what is in the
//! others, and hands over in the order of time what happened up to the time noted, less
//! [`SETTLE_NS`] for a program that had taken its time stamp but not yet written its record. The rest
//! waits for the next round, a millisecond later.
//!
//! Rings that were not read for a while, as of programs that outlived another agent, hold more than a round takes. Until
//! each is read up to where its end was, nothing is handed over that happened later than what was read of any.
//!
//! # Waking
//! The kernel wakes a reader only when the reader had caught up, so a burst costs one wake-up at its
//! start. After something came we nap a millisecond before looking again, instead of waiting to be
//! woken for each event: at most a thousand wake-ups a second under load, and none when idle.
//!
//! # What can go wrong
//! - *A program is held up for longer than [`SETTLE_NS`]* between stamp and record: its record is
//!   handed over late. Enrichment copes: it only costs the records in between the right program.
//! - *A flood*: a round takes a bounded number from each ring. Process events do not wait for the
//!   flood's end; opens that are read late may then be told with a newer program.

use crate::clock::boot_ns;
use crate::error::RingError;
use crate::ignore::Cgroups;
use crate::persist::Overlap;
use crate::reader::{Drained, RingReader};
use hostward_event::fact::Input;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::time::Duration;

/// See the module's head. Programs take microseconds; an interrupt may come between.
const SETTLE_NS: u64 = 1_000_000;
/// See the module's head.
const NAP: Duration = Duration::from_millis(1);

/// The rings of a sensor.
pub struct Rings {
    /// Exec, fork, exit.
    process: Option<RingReader>,
    /// The others, the most urgent first.
    others: Vec<RingReader>,
    /// Records that are too young to be handed over.
    young: Vec<Input>,
    /// Told of cgroups before anything else is.
    ignored: Option<Cgroups>,
    /// Events that others have told already.
    overlap: Option<Overlap>,
    /// Read and not yet handed over.
    drained: Option<Drained>,
}

impl Rings {
    pub(crate) const fn new(
        process: Option<RingReader>,
        others: Vec<RingReader>,
        ignored: Option<Cgroups>,
        overlap: Option<Overlap>,
    ) -> Self {
        Self { process, others, young: Vec::new(), ignored, overlap, drained: None }
    }

    /// What rings that outlived another agent held, once all of it was handed over. Told once.
    pub fn drained(&mut self) -> Option<Drained> {
        if self.readers().any(RingReader::is_behind) {
            return None;
        }
        for reader in self.process.iter_mut().chain(&mut self.others) {
            if let Some(more) = reader.drained() {
                self.drained = Some(self.drained.unwrap_or_default().and(more));
            }
        }
        // What is young was read and not handed over.
        let young = &self.young;
        self.drained.take_if(|drained| young.iter().all(|input| time_ns(input) > drained.last_boot_ns))
    }

    /// Waits until something is there, at most `timeout`, and appends it to `inputs` in the order of
    /// time.
    ///
    /// # Errors
    /// [`RingError`]; reading can go on, and what was lost is told as gaps. When it fails again and
    /// again, nothing is observed any more.
    pub fn poll(&mut self, timeout: Duration, inputs: &mut Vec<Input>) -> Result<(), RingError> {
        if !self.young.is_empty() || self.readers().any(RingReader::is_hot) {
            std::thread::sleep(NAP.min(timeout));
        } else {
            self.wait(timeout)?;
        }
        let mut horizon_ns = boot_ns().saturating_sub(SETTLE_NS);
        let (mut result, mut emptied_all) = (Ok(()), true);
        if let Some(process) = &mut self.process {
            let mut last_ns = 0;
            let emptied = process.round(&mut |input| {
                last_ns = time_ns(&input);
                if let (Some(ignored), Input::Raw(event)) = (&mut self.ignored, &input) {
                    ignored.heed(event);
                }
                if !told_already(&mut self.overlap, &input) {
                    self.young.push(input);
                }
            });
            emptied_all &= matches!(emptied, Ok(true));
            match emptied {
                Ok(true) => {}
                // What lies behind the last record may be older than what the others hold.
                Ok(false) => horizon_ns = horizon_ns.min(last_ns.saturating_sub(SETTLE_NS)),
                Err(why) => result = Err(why),
            }
        }
        // The one ring's trouble must not cost the other's records.
        for other in &mut self.others {
            let mut last_ns = 0;
            let emptied = other.round(&mut |input| {
                last_ns = time_ns(&input);
                if !told_already(&mut self.overlap, &input) {
                    self.young.push(input);
                }
            });
            emptied_all &= matches!(emptied, Ok(true));
            match emptied {
                // What was kept while no agent read is told in its order, so process events wait for its end.
                Ok(false) if other.is_behind() => {
                    horizon_ns = horizon_ns.min(last_ns.saturating_sub(SETTLE_NS));
                }
                emptied => result = result.and(emptied.map(drop)),
            }
        }
        // What is read from now on is of a later time.
        self.overlap.take_if(|overlap| emptied_all && overlap.is_over(horizon_ns));
        let start = inputs.len();
        inputs.extend(self.young.extract_if(.., |input| time_ns(input) <= horizon_ns));
        // Stable: records of the same time stay in the order of their ring.
        inputs.get_mut(start..).unwrap_or_default().sort_by_key(time_ns);
        result
    }

    /// Appends what is left, after the programs were detached: to the last record and the last loss.
    ///
    /// # Errors
    /// As [`Self::poll`].
    pub fn drain(&mut self, inputs: &mut Vec<Input>) -> Result<(), RingError> {
        let start = inputs.len();
        inputs.append(&mut self.young);
        let mut result = Ok(());
        let overlap = &mut self.overlap;
        for reader in self.process.iter_mut().chain(&mut self.others) {
            let read = reader.drain(&mut |input| {
                if !told_already(overlap, &input) {
                    inputs.push(input);
                }
            });
            result = result.and(read.map(drop));
        }
        inputs.get_mut(start..).unwrap_or_default().sort_by_key(time_ns);
        result
    }

    /// Records that were none. Not zero means a defect.
    pub fn malformed(&self) -> u64 {
        self.readers().map(RingReader::malformed).sum()
    }

    fn readers(&self) -> impl Iterator<Item = &RingReader> {
        self.process.iter().chain(&self.others)
    }

    fn wait(&self, timeout: Duration) -> Result<(), RingError> {
        let timeout = Timespec {
            tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: timeout.subsec_nanos().into(),
        };
        let fds: Vec<_> = self.readers().map(RingReader::fd).collect();
        let mut fds: Vec<_> = fds.iter().map(|fd| PollFd::new(fd, PollFlags::IN)).collect();
        match poll(&mut fds, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(errno) => Err(RingError::Wait(errno.into())),
        }
    }
}

/// The programs that were there before have told it.
fn told_already(overlap: &mut Option<Overlap>, input: &Input) -> bool {
    let (Some(both), Input::Raw(event)) = (overlap.as_mut(), input) else { return false };
    both.has(event)
}

/// When it happened, CLOCK_BOOTTIME ns.
pub(crate) const fn time_ns(input: &Input) -> u64 {
    match input {
        Input::Raw(raw) => raw.source.boot_ns,
        Input::Gap(gap) => gap.boot_ns,
        Input::Tick(boot_ns) => *boot_ns,
        Input::Fact(_) | Input::Action(_) => 0,
    }
}
