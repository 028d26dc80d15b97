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
}

impl RingReader {
    pub(crate) fn new(name: &'static str, rung: Rung, ring: Ring, counters: Counters) -> Self {
        let (sequences, checked) = (Sequences::default(), Instant::now());
        Self { name, rung, ring, counters, sequences, hot: false, checked, pending: None, malformed: 0 }
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
    /// loss.
    ///
    /// # Errors
    /// As [`Self::round`].
    pub(crate) fn drain(&mut self, sink: &mut dyn FnMut(Input)) -> Result<usize, RingError> {
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

    fn take(&mut self, sink: &mut dyn FnMut(Input)) -> Result<usize, RingError> {
        let mut given = 0;
        for _ in 0..BATCH {
            let mut record = Vec::new();
            if !self.ring.take(&mut record)? {
                break;
            }
            given += self.decode(Bytes::from(record), sink);
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
        for (kind, row, cpu, settled) in settled {
            if let Some(lost) = self.sequences.settled(row, cpu, settled) {
                sink(Input::Gap(gap(kind, row, cpu, lost, now_ns)));
                given += 1;
            }
        }
        given
    }
}

fn gap(lost: EventKind, row: u8, cpu: u16, numbers: RangeInclusive<u64>, boot_ns: u64) -> Gap {
    let (first, last) = numbers.into_inner();
    Gap { lost, cpu, stream: decode::stream(row), first, last, count: last - first + 1, boot_ns }
}
