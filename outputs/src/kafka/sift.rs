//! Finds out which event of a refused batch it was.

use super::KafkaSink;
use super::meaning;
use super::run::{Run, Setback, Watch};
use super::{Taken, describe};
use crate::sink::Batch;
use rdkafka::types::RDKafkaErrorCode as Code;
use std::time::{Duration, Instant};

/// Then the call returns, and the rest is sifted by the next one.
const TIME_LIMIT: Duration = Duration::from_secs(5);
/// Batches do not become smaller than this.
const MIN_BATCH_BYTES: usize = 16 << 10;

type Group = Vec<(usize, Code)>;

impl KafkaSink {
    /// Sends the suspects again, in halves, with nothing else in the library, until a refusal concerns
    /// one event.
    pub(super) async fn sift(&mut self, batch: &Batch, run: &mut Run) -> Result<(), Setback> {
        let deadline = Instant::now() + TIME_LIMIT;
        let rejected_before = run.rejected;
        let suspects = std::mem::take(&mut run.suspects);
        let by_size = suspects.iter().any(|(_, code)| *code == Code::MessageSizeTooLarge);
        let was_batch = suspects.len() > 1;
        self.split_batches += 1;
        let mut groups: Vec<Group> = vec![suspects];
        while let Some(group) = groups.pop() {
            let result = self.send_apart(batch, &group, run).await;
            let refused = std::mem::take(&mut run.suspects);
            if result.is_err() || Instant::now() >= deadline {
                run.suspects = groups.into_iter().flatten().chain(refused).collect();
                return result;
            }
            if let [(slot, code)] = group[..] {
                if !refused.is_empty() {
                    let topic = &self.config.topic;
                    run.reject(slot, format!("topic {topic}: {}; {}", describe(code), meaning::hint(code)));
                }
                continue;
            }
            let (first, second) = refused.split_at(refused.len() / 2);
            // The first half is taken first.
            groups.extend([second, first].into_iter().filter(|half| !half.is_empty()).map(<[_]>::to_vec));
        }
        let smaller = (self.batch_bytes / 2).max(MIN_BATCH_BYTES);
        if by_size && was_batch && run.rejected == rejected_before && smaller < self.batch_bytes {
            // Each event is small enough: it was the batch.
            self.batch_bytes = smaller;
            self.wants_new_producer = true;
            tracing::info!(
                sink = %self.config.name,
                batch_bytes = smaller,
                "the topic's max.message.bytes is below our batches, which become smaller"
            );
        }
        Ok(())
    }

    async fn send_apart(&mut self, batch: &Batch, group: &Group, run: &mut Run) -> Result<(), Setback> {
        let mut watch = Watch::start();
        while self.tickets.flying() > 0 {
            self.attend(&mut watch, run).await?;
        }
        for (slot, _) in group {
            let Some(item) = batch.items.get(*slot) else { continue };
            while matches!(self.hand_over(item, *slot, run)?, Taken::Full) {
                self.attend(&mut watch, run).await?;
            }
        }
        while !run.open.is_empty() {
            self.attend(&mut watch, run).await?;
        }
        Ok(())
    }
}
