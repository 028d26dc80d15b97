//! A batch in the form in which it goes out: each event once, as bytes.

use hostward_event::EventId;
use std::ops::Range;
use std::sync::Arc;

/// One event of a batch.
#[derive(Clone, Debug)]
pub struct Record {
    /// Its id.
    pub id: EventId,
    /// Its place in the batch.
    pub(super) slot: usize,
    /// Its bytes.
    pub(super) bytes: Range<usize>,
}

/// All events of a batch, alerts first.
#[derive(Debug, Default)]
pub(super) struct Records {
    pub(super) list: Vec<Record>,
    /// So many of them are alerts.
    pub(super) alerts: usize,
    pub(super) bytes: Vec<u8>,
    /// What is said once per request; see [`super::wire::Wire::head`].
    pub(super) head: Vec<u8>,
}

/// Neighbours of a batch that go into one request.
#[derive(Clone, Debug)]
pub struct Part {
    pub(super) records: Arc<Records>,
    pub(super) range: Range<usize>,
}

impl Part {
    /// The events, each with its bytes.
    pub fn records(&self) -> impl ExactSizeIterator<Item = (&Record, &[u8])> {
        let bytes = |record: &Range<usize>| self.records.bytes.get(record.clone()).unwrap_or_default();
        let list = self.records.list.get(self.range.clone()).unwrap_or_default();
        list.iter().map(move |record| (record, bytes(&record.bytes)))
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.range.len()
    }

    /// Never true for a part that is sent.
    pub fn is_empty(&self) -> bool {
        self.range.is_empty()
    }

    /// Bytes of its records.
    pub fn bytes(&self) -> usize {
        self.records().map(|(_, bytes)| bytes.len()).sum()
    }

    /// What is said once per request.
    pub(crate) fn head(&self) -> &[u8] {
        &self.records.head
    }

    /// Its places in the batch.
    pub(super) fn slots(&self) -> impl ExactSizeIterator<Item = usize> {
        self.records().map(|(record, _)| record.slot)
    }

    /// Both halves; the second is empty when there is one event only.
    pub(super) fn halves(self) -> (Self, Self) {
        let middle = self.range.start + self.range.len().div_ceil(2);
        let first = Self { records: Arc::clone(&self.records), range: self.range.start..middle };
        (first, Self { range: middle..self.range.end, ..self })
    }
}

/// Cuts a batch into parts of at most so many events and bytes; one event may be larger. A part holds
/// alerts or telemetry and never both, so that alerts do not wait for the encoding of anything else.
pub(super) fn cut(records: &Arc<Records>, max_events: usize, max_bytes: usize) -> Vec<Part> {
    let mut parts = Vec::new();
    let (mut start, mut bytes) = (0, 0_usize);
    let part = |range| Part { records: Arc::clone(records), range };
    for (at, record) in records.list.iter().enumerate() {
        let grown = bytes + record.bytes.len();
        if at > start && (at - start >= max_events || grown > max_bytes || at == records.alerts) {
            parts.push(part(start..at));
            (start, bytes) = (at, 0);
        }
        bytes += record.bytes.len();
    }
    if start < records.list.len() {
        parts.push(part(start..records.list.len()));
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn records(sizes: &[usize], alerts: usize) -> Arc<Records> {
        let mut records = Records { alerts, ..Records::default() };
        for (slot, size) in sizes.iter().enumerate() {
            let start = records.bytes.len();
            records.bytes.resize(start + size, b'x');
            records.list.push(Record { id: EventId::default(), slot, bytes: start..start + size });
        }
        Arc::new(records)
    }

    proptest! {
        #[test]
        fn every_event_is_in_one_part_within_the_bounds(
            sizes in prop::collection::vec(1_usize..3_000, 0..300),
            alerts in 0_usize..300,
            max_events in 1_usize..50,
            max_bytes in 1_usize..9_000,
        ) {
            let alerts = alerts.min(sizes.len());
            let parts = cut(&records(&sizes, alerts), max_events, max_bytes);
            let slots: Vec<usize> = parts.iter().flat_map(|part| part.slots().collect::<Vec<_>>()).collect();
            prop_assert_eq!(slots, (0..sizes.len()).collect::<Vec<_>>());
            for part in parts {
                prop_assert!(!part.is_empty() && part.len() <= max_events);
                prop_assert!(part.len() == 1 || part.bytes() <= max_bytes);
                prop_assert!(part.range.end <= alerts || part.range.start >= alerts);
                let (len, (first, second)) = (part.len(), part.halves());
                prop_assert_eq!(first.len() + second.len(), len);
                prop_assert!(second.len() < len);
            }
        }
    }
}
