//! Reading one ring: events, and gaps where events are missing.
//!
//! # Gaps
//! See [`crate::sequence`]. A hole between two records is told when the second comes. The end of a
//! burst is looked at ten times a second: take the counters, note how far the producer is, and when
//! all up to there is read, each settled number that did not come is lost.

use crate::clock::boot_ns;
use crate::counters::Counters;
use crate::decode;
use crate::error::RingError;
use crate::ring::Ring;
use crate::sequence::Sequences;
use bytes::Bytes;
use hostward_abi::record::Record;
use hostward_event::EventKind;
use hostward_event::fact::Input;
use hostward_event::raw::{Gap, Rung};
use std::ops::RangeInclusive;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

/// How often the ends of bursts are looked at.
const LOSS_CHECK: Duration = Duration::from_millis(100);
/// Records of one [`RingReader::round`], so that its caller comes to do other things.
const BATCH: usize = 8192;
/// How long a program may still run after it was detached; generous, they take microseconds.
const GRACE: Duration = Duration::from_millis(20);

/// What one CPU's kind had settled when the counters were read; with the kind that the records have.
type Settled = Vec<(EventKind, u8, u16, u64)>;

/// What programs collected while no agent read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Drained {
    /// Events.
    pub events: u64,
    /// Of those that had no room, or were in the hands of an agent that was killed: how many.
    pub lost: u64,
    /// CLOCK_BOOTTIME in ns of the first event; 0: there was none.
    pub first_boot_ns: u64,
    /// Of the last.
    pub last_boot_ns: u64,
}

impl Drained {
    fn count(&mut self, input: &Input) {
        match input {
            Input::Raw(raw) => {
                let at_ns = raw.source.boot_ns;
                self.first_boot_ns = if self.events == 0 { at_ns } else { self.first_boot_ns.min(at_ns) };
                self.last_boot_ns = self.last_boot_ns.max(at_ns);
                self.events += 1;
            }
            // What was left out on purpose is no loss.
            Input::Gap(gap) if !gap.is_sampled() => self.lost += gap.count,
            _ => {}
        }
    }

    /// With what lay in another ring.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        let first_boot_ns = match (self.events, other.events) {
            (_, 0) => self.first_boot_ns,
            (0, _) => other.first_boot_ns,
            _ => self.first_boot_ns.min(other.first_boot_ns),
        };
        Self {
            events: self.events + other.events,
            lost: self.lost + other.lost,
            first_boot_ns,
            last_boot_ns: self.last_boot_ns.max(other.last_boot_ns),
        }
    }
}

/// What lay in the ring when the reader came.
struct Backlog {
    /// Where the ring's end was.
    end: usize,
    so_far: Drained,
    done: bool,
}

/// Reads one ring.
pub(crate) struct RingReader {
    name: &'static str,
    rung: Rung,
    ring: Ring,
    counters: Counters,
    sequences: Sequences,
    /// Something came lately.
    hot: bool,
    checked: Instant,
    /// Counters that are compared once the consumer is here.
    pending: Option<(usize, Settled)>,
    malformed: u64,
    /// Of a ring that somebody else read before.
    backlog: Option<Backlog>,
    /// The programs go on when the agent ends.
    stays: bool,
}

impl RingReader {
    pub(crate) fn new(name: &'static str, rung: Rung, ring: Ring, counters: Counters) -> Self {
        let (sequences, checked) = (Sequences::default(), Instant::now());
        Self {
            name,
            rung,
            ring,
            counters,
            sequences,
            hot: false,
            checked,
            pending: None,
            malformed: 0,
            backlog: None,
            stays: false,
        }
    }

    /// Goes on where another reader was: these numbers are to be expected next.
    ///
    /// # Errors
    /// [`RingError`] when the counters cannot be read.
    pub(crate) fn resume(&mut self, sequences: Sequences) -> Result<(), RingError> {
        self.sequences = sequences;
        self.begin_check()?;
        let end = self.pending.as_ref().map(|(end, _)| *end);
        self.backlog = end.map(|end| Backlog { end, so_far: Drained::default(), done: false });
        Ok(())
    }

    /// The programs go on when the agent ends, so there is no last record.
    pub(crate) const fn stay(&mut self) {
        self.stays = true;
    }

    /// Not all is read yet that lay in the ring when the reader came.
    pub(crate) fn is_behind(&self) -> bool {
        self.backlog.as_ref().is_some_and(|backlog| !backlog.done)
    }

    /// What lay in the ring when the reader came, once all of it is read. Told once.
    pub(crate) fn drained(&mut self) -> Option<Drained> {
        self.backlog.take_if(|backlog| backlog.done).map(|backlog| backlog.so_far)
    }

    /// Records that were none. Not zero means a defect.
    pub(crate) const fn malformed(&self) -> u64 {
        self.malformed
    }

    /// Readable when the kernel has woken us.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.ring.fd()
    }

    /// Something came in the last round.
    pub(crate) const fn is_hot(&self) -> bool {
        self.hot
    }

    /// Hands what is there to `sink`, without waiting, a bounded number. True when the ring was
    /// emptied.
    ///
    /// # Errors
    /// [`RingError`]; reading can go on, and what was lost is told as gaps. When it fails again and
    /// again, nothing is observed any more through this ring.
    pub(crate) fn round(&mut self, sink: &mut dyn FnMut(Input)) -> Result<bool, RingError> {
        let taken = self.take(sink)?;
        self.hot = taken > 0;
        self.losses(sink)?;
        Ok(taken < BATCH)
    }

    /// Hands over what is left, after the programs were detached: to the last record and the last
    /// loss. Of those that stay: what is there now.
    ///
    /// # Errors
    /// As [`Self::round`].
    pub(crate) fn drain(&mut self, sink: &mut dyn FnMut(Input)) -> Result<usize, RingError> {
        if self.stays {
            return self.catch_up(sink);
        }
        std::thread::sleep(GRACE);
        let mut all = 0;
        loop {
            self.begin_check()?;
            let taken = self.take(sink)?;
            all += taken + self.finish_check(sink);
            if taken == 0 {
                return Ok(all);
            }
        }
    }

    /// Reads up to where the ring's end is now.
    fn catch_up(&mut self, sink: &mut dyn FnMut(Input)) -> Result<usize, RingError> {
        self.begin_check()?;
        let mut all = 0;
        let until = Instant::now() + GRACE;
        loop {
            let taken = self.take(sink)?;
            all += taken + self.finish_check(sink);
            if self.pending.is_none() || taken == 0 && Instant::now() >= until {
                return Ok(all);
            }
        }
    }

    fn take(&mut self, sink: &mut dyn FnMut(Input)) -> Result<usize, RingError> {
        let mut given = 0;
        for _ in 0..BATCH {
            let mut record = Vec::new();
            if !self.ring.take(&mut record)? {
                break;
            }
            let record = Bytes::from(record);
            given += match self.backlog.take_if(|backlog| !backlog.done) {
                None => self.decode(record, sink),
                Some(mut backlog) => {
                    let within = self.ring.consumed().wrapping_sub(backlog.end).cast_signed() <= 0;
                    let given = self.decode(record, &mut |input| {
                        // A hole shows at the next record, which may have come later.
                        if within || matches!(input, Input::Gap(_)) {
                            backlog.so_far.count(&input);
                        }
                        sink(input);
                    });
                    self.backlog = Some(backlog);
                    given
                }
            };
        }
        Ok(given)
    }

    fn decode(&mut self, bytes: Bytes, sink: &mut dyn FnMut(Input)) -> usize {
        let now_ns = boot_ns();
        let raw = match Record::parse(&bytes) {
            Ok(record) => decode::event(&record, &bytes, self.rung, now_ns)
                .map(|raw| (raw, decode::row(&record.header)))
                .ok_or(None),
            Err(malformed) => Err(Some(malformed)),
        };
        match raw {
            Ok((raw, row)) => {
                let kind = raw.kind();
                let lost = self.sequences.arrived(row, raw.source.cpu, raw.source.seq);
                let gaps = lost.map(|lost| sink(Input::Gap(gap(kind, row, raw.source.cpu, lost, now_ns))));
                sink(Input::Raw(raw));
                1 + usize::from(gaps.is_some())
            }
            Err(why) => {
                // Its number is missing, so it is told as lost as well.
                if self.malformed == 0 {
                    let why = why.map_or_else(|| "not an event".to_owned(), |why| why.to_string());
                    tracing::error!(
                        ring = self.name,
                        bytes = bytes.len(),
                        why,
                        "a program wrote what is no record"
                    );
                }
                self.malformed += 1;
                0
            }
        }
    }

    /// Looks at the ends of bursts, when it is time.
    fn losses(&mut self, sink: &mut dyn FnMut(Input)) -> Result<usize, RingError> {
        if self.pending.is_none() && self.checked.elapsed() >= LOSS_CHECK {
            self.begin_check()?;
        }
        Ok(self.finish_check(sink))
    }

    fn begin_check(&mut self) -> Result<(), RingError> {
        let settled = self.counters.read().map_err(RingError::Counters)?;
        let settled =
            settled.into_iter().map(|(kind, row, cpu, counter)| (kind, row, cpu, counter.settled)).collect();
        // Read after the counters: all that was settled then is in the ring below this position.
        self.pending = Some((self.ring.produced(), settled));
        self.checked = Instant::now();
        Ok(())
    }

    fn finish_check(&mut self, sink: &mut dyn FnMut(Input)) -> usize {
        let reached = |position: usize| self.ring.consumed().wrapping_sub(position).cast_signed() >= 0;
        let Some((_, settled)) = self.pending.take_if(|(position, _)| reached(*position)) else {
            return 0;
        };
        let now_ns = boot_ns();
        let mut given = 0;
        let mut backlog = self.backlog.as_mut().filter(|backlog| !backlog.done);
        for (kind, row, cpu, settled) in settled {
            if let Some(lost) = self.sequences.settled(row, cpu, settled) {
                let gap = Input::Gap(gap(kind, row, cpu, lost, now_ns));
                if let Some(backlog) = &mut backlog {
                    backlog.so_far.count(&gap);
                }
                sink(gap);
                given += 1;
            }
        }
        // The first look is at what was there when the reader came.
        if let Some(backlog) = backlog {
            backlog.done = true;
        }
        given
    }
}

fn gap(lost: EventKind, row: u8, cpu: u16, numbers: RangeInclusive<u64>, boot_ns: u64) -> Gap {
    let (first, last) = numbers.into_inner();
    Gap { lost, cpu, stream: decode::stream(row), first, last, count: last - first + 1, boot_ns }
}
