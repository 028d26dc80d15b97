//! Drives one sink on its own thread.

use crate::condition::{Next, Supply};
use crate::sink::{SendFailure, Sink};
use crate::slot::AlertSlot;
use std::future::pending;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::time::{sleep_until, timeout_at};

/// After a failure with nothing queued, maintenance is tried again this often.
const RETRY_MAINTENANCE: Duration = Duration::from_secs(1);

/// Tells the queue that the thread is through, also when it unwinds.
struct Finish<Q: Supply>(Arc<Q>);

impl<Q: Supply> Drop for Finish<Q> {
    fn drop(&mut self) {
        self.0.finish(std::thread::panicking());
    }
}

/// Runs until the queue is closed and drained, its grace period ends, or the destination goes away.
pub(crate) fn run<S: Sink, Q: Supply>(
    queue: Arc<Q>,
    runtime: &tokio::runtime::Runtime,
    make: impl FnOnce() -> S,
) {
    // Declared first, so that it is dropped last: the sink has flushed by then.
    let finish = Finish(queue);
    let queue = &finish.0;
    runtime.block_on(async {
        let mut sink = make();
        drive(&mut sink, queue).await;
        let close = until(queue.deadline(), sink.close()).await;
        if let Some(result) = close {
            queue.note(result);
        }
        queue.set_counters(sink.counters());
    });
}

async fn drive<S: Sink>(sink: &mut S, queue: &Arc<impl Supply>) {
    let mut slot = AlertSlot::of(sink);
    let mut open_again = maintain(sink, &**queue).await;
    while !queue.ended() {
        match queue.next(Instant::now()) {
            Next::Finish if slot.is_flying() => match until(queue.deadline(), slot.turn()).await {
                Some(answer) => settle_alerts(&**queue, answer),
                None => return,
            },
            Next::Finish => return,
            Next::Send(batch) => {
                // A call that is cut short leaves its batch in flight: the queue counts it when sealed.
                let Some(answer) = send(sink, &mut slot, queue, &batch).await else { return };
                let failed = answer.is_err();
                queue.settle(answer);
                queue.set_counters(sink.counters());
                open_again = failed.then(|| Instant::now() + RETRY_MAINTENANCE);
            }
            Next::Wait(until) => {
                let maintain_at = earliest(sink.maintenance_due(), open_again);
                if maintain_at.is_some_and(|at| at <= Instant::now()) {
                    open_again = maintain(sink, &**queue).await;
                    continue;
                }
                match earliest(until, maintain_at) {
                    None => tokio::select! {
                        () = queue.woken() => {}
                        answer = slot.turn() => settle_alerts(&**queue, answer),
                    },
                    Some(at) => tokio::select! {
                        () = queue.woken() => {}
                        () = sleep_until(at.into()) => {}
                        answer = slot.turn() => settle_alerts(&**queue, answer),
                    },
                }
            }
        }
        // Under steady load the driver never waits: what is due is done between two batches.
        if open_again.is_none() && sink.maintenance_due().is_some_and(|at| at <= Instant::now()) {
            open_again = maintain(sink, &**queue).await;
        }
    }
}

/// Awaits a call and lets alerts that come meanwhile overtake it. Wakes to cut it short when closing begins
/// and its grace period ends. Meanwhile the next batch is made ready on another thread.
async fn send<'s, S: Sink + 's>(
    sink: &mut S,
    slot: &mut AlertSlot<'s, S>,
    queue: &Arc<impl Supply>,
    batch: &crate::Batch,
) -> Option<Result<crate::Ack, SendFailure>> {
    let ahead = queue.wants_ahead().then(|| {
        let queue = Arc::clone(queue);
        tokio::task::spawn_blocking(move || queue.read_ahead())
    });
    let mut call = std::pin::pin!(async {
        let answer = sink.send(batch).await;
        if let Some(ahead) = ahead {
            // One that panicked has told so, and its records stay in flight until the next start.
            let _ = ahead.await;
        }
        answer
    });
    loop {
        slot.launch(|| queue.next_alerts(Instant::now()));
        let deadline = queue.deadline();
        let end = async {
            match deadline {
                Some(deadline) => sleep_until(deadline.into()).await,
                None => pending().await,
            }
        };
        tokio::select! {
            biased;
            answer = &mut call => return Some(answer),
            () = end => return None,
            answer = slot.turn() => settle_alerts(&**queue, answer),
            // Pushes wake too; the permit is spent, but the driver looks at the queue anyway.
            () = queue.woken() => {}
        }
    }
}

fn settle_alerts(queue: &impl Supply, answer: Option<Result<crate::Ack, SendFailure>>) {
    if let Some(answer) = answer {
        queue.settle_alerts(answer);
    }
}

/// When to try again, if it failed.
async fn maintain<S: Sink>(sink: &mut S, queue: &impl Supply) -> Option<Instant> {
    let result = until(queue.deadline(), sink.maintain()).await?;
    let failed = result.is_err();
    queue.note(result);
    queue.set_counters(sink.counters());
    failed.then(|| Instant::now() + RETRY_MAINTENANCE)
}

async fn until<T>(deadline: Option<Instant>, call: impl Future<Output = T>) -> Option<T> {
    match deadline {
        None => Some(call.await),
        Some(deadline) => timeout_at(deadline.into(), call).await.ok(),
    }
}

fn earliest(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}
