//! The bounded buffer between the pipeline and a lane's writer. Appending takes a short lock and a
//! copy; it never waits for the disk.

use super::block::{MAX_RECORD, MAX_SLOTS, RECORD_HEAD, Raw};
use super::segment::{Amount, Amounts};
use crate::Reason;
use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Records that were refused, until the books take them over.
#[derive(Clone, Debug)]
pub(crate) struct Refused {
    pub(crate) reason: Reason,
    pub(crate) first: u64,
    pub(crate) last: u64,
    pub(crate) amounts: Amounts,
}

#[derive(Debug)]
struct Inner {
    blocks: VecDeque<Raw>,
    /// When the first record of the front block came.
    since: Option<Instant>,
    /// Bytes of all blocks and of the one that is written now.
    held_bytes: usize,
    next_seq: u64,
    /// What the lane's books do not have yet, per sink.
    pending: Amounts,
    refused: Vec<Refused>,
    /// The records after a hole need a block of their own: numbers in a block have none.
    hole: bool,
    closed: bool,
}

#[derive(Debug)]
pub(crate) struct Intake {
    inner: Mutex<Inner>,
    wake: Condvar,
    max_bytes: usize,
}

/// What the writer found.
pub(crate) enum Due {
    Block(Raw),
    /// Closed, and nothing is left.
    Closed,
}

impl Intake {
    pub(crate) fn new(next_seq: u64, max_bytes: usize) -> Self {
        let inner = Inner {
            blocks: VecDeque::new(),
            since: None,
            held_bytes: 0,
            next_seq,
            pending: Amounts::default(),
            refused: Vec::new(),
            hole: false,
            closed: false,
        };
        Self { inner: Mutex::new(inner), wake: Condvar::new(), max_bytes }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a record for the sinks of the set. Gives its number, also when it had to be refused.
    pub(crate) fn append(
        &self,
        sinks: u16,
        time: i64,
        id: &[u8; 16],
        record: &[u8],
    ) -> Result<u64, (u64, Reason)> {
        let mut inner = self.lock();
        let seq = inner.next_seq;
        inner.next_seq += 1;
        if record.len() > MAX_RECORD {
            inner.refuse(Reason::Oversize, seq, sinks, record.len());
            return Err((seq, Reason::Oversize));
        }
        let size = RECORD_HEAD + record.len();
        if inner.closed || inner.held_bytes + size > self.max_bytes {
            inner.refuse(Reason::Overrun, seq, sinks, record.len());
            return Err((seq, Reason::Overrun));
        }
        let was_empty = inner.blocks.is_empty();
        let hole = std::mem::take(&mut inner.hole);
        if hole || inner.blocks.back().is_none_or(Raw::is_full) {
            inner.blocks.push_back(Raw::new(seq));
        }
        if was_empty {
            inner.since = Some(Instant::now());
        }
        let mut full = false;
        if let Some(block) = inner.blocks.back_mut() {
            block.push(sinks, time, id, record);
            full = block.is_full();
        }
        inner.held_bytes += size;
        inner.count_pending(sinks, record.len());
        drop(inner);
        if was_empty || full {
            self.wake.notify_one();
        }
        Ok(seq)
    }

    /// Waits until a block is full or its first record has waited for `group`.
    pub(crate) fn wait(&self, group: Duration) -> Due {
        let mut inner = self.lock();
        loop {
            let full = inner.blocks.len() > 1 || inner.blocks.front().is_some_and(Raw::is_full);
            let due = inner.since.map(|since| (since + group).saturating_duration_since(Instant::now()));
            match due {
                _ if full || (inner.closed && !inner.blocks.is_empty()) => {}
                None if inner.closed => return Due::Closed,
                None => {
                    inner = self.wake.wait(inner).unwrap_or_else(PoisonError::into_inner);
                    continue;
                }
                Some(left) if left.is_zero() => {}
                Some(left) => {
                    inner = self.wake.wait_timeout(inner, left).unwrap_or_else(PoisonError::into_inner).0;
                    continue;
                }
            }
            if let Some(block) = inner.pop() {
                return Due::Block(block);
            }
        }
    }

    /// The next block as it is, without waiting: for callers that drive a lane by hand.
    #[cfg(test)]
    pub(crate) fn pop(&self) -> Option<Raw> {
        self.lock().pop()
    }

    /// The lane's books have this block now. Called under the lane's lock, so that no reading sees
    /// the records twice or not at all.
    pub(crate) fn placed(&self, block: &Raw) {
        let mut inner = self.lock();
        inner.held_bytes = inner.held_bytes.saturating_sub(block.bytes.len());
        for (pending, share) in inner.pending.iter_mut().zip(block.shares) {
            pending.take(share);
        }
    }

    /// Hands over what was refused. Called under the lane's lock, as [`Intake::placed`].
    pub(crate) fn take_refused(&self) -> Vec<Refused> {
        std::mem::take(&mut self.lock().refused)
    }

    /// What the books do not have yet of a sink. What was refused is no part of it: neither accepted
    /// nor dropped until the books take it over.
    pub(crate) fn pending(&self, slot: usize) -> Amount {
        self.lock().pending.get(slot).copied().unwrap_or_default()
    }

    pub(crate) fn held_bytes(&self) -> usize {
        self.lock().held_bytes
    }

    /// Number of the next record.
    pub(crate) fn next_seq(&self) -> u64 {
        self.lock().next_seq
    }

    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.wake.notify_all();
    }
}

impl Inner {
    fn pop(&mut self) -> Option<Raw> {
        let block = self.blocks.pop_front()?;
        // The next block began when this one was full: a moment ago at most.
        self.since = self.blocks.front().map(|_| Instant::now());
        if self.blocks.is_empty() {
            self.since = None;
        }
        Some(block)
    }

    fn count_pending(&mut self, sinks: u16, bytes: usize) {
        for (slot, pending) in self.pending.iter_mut().enumerate() {
            if sinks & (1 << slot) != 0 {
                pending.add(one(bytes));
            }
        }
    }

    fn refuse(&mut self, reason: Reason, seq: u64, sinks: u16, bytes: usize) {
        self.hole = true;
        let at = self.refused.iter().position(|refused| refused.reason == reason);
        let refused = match at.and_then(|at| self.refused.get_mut(at)) {
            Some(refused) => refused,
            None => {
                let amounts = Amounts::default();
                self.refused.push(Refused { reason, first: seq, last: seq, amounts });
                let Some(last) = self.refused.last_mut() else { return };
                last
            }
        };
        refused.last = seq;
        for slot in (0..MAX_SLOTS).filter(|slot| sinks & (1 << slot) != 0) {
            if let Some(amount) = refused.amounts.get_mut(slot) {
                amount.add(one(bytes));
            }
        }
    }
}

fn one(bytes: usize) -> Amount {
    Amount { events: 1, bytes: super::bytes::len64(bytes) }
}
