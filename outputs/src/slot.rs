//! The request slot that is reserved for alerts.
//!
//! # Why it exists
//! A call that carries telemetry takes as long as its slowest request. An alert that comes meanwhile
//! would wait for a throttled server to be through with a thousand forks.
//!
//! # How it works
//! A sink that talks in requests gives a twin of itself ([`Sink::alert_slot`]) that shares with it what
//! it learned. While a call is under way the driver takes the alerts that wait, and the twin sends them:
//! one call more at a time, beside the other. When nothing is under way alerts go the usual way, in
//! front of the telemetry.
//!
//! # What can go wrong
//! - *The twin's call fails*: the alerts wait again, and the sink's back-off holds for both.
//! - *It hangs*: telemetry goes on; alerts wait for the end of that one call, as they would without it.

use crate::sink::{Ack, Batch, SendFailure, Sink};
use std::future::{Future, pending};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;
use tokio::time::sleep_until;

type Flight<'s, S> = Pin<Box<dyn Future<Output = (S, Result<Ack, SendFailure>)> + 's>>;

/// See the module.
pub(crate) struct AlertSlot<'s, S> {
    /// None: it flies, or the sink has none.
    twin: Option<S>,
    flight: Option<Flight<'s, S>>,
    /// After a failure: when to look again.
    again_at: Option<Instant>,
}

impl<'s, S: Sink + 's> AlertSlot<'s, S> {
    /// That of `sink`.
    pub(crate) fn of(sink: &S) -> Self {
        Self { twin: sink.alert_slot(), flight: None, again_at: None }
    }

    /// True while alerts are under way.
    pub(crate) const fn is_flying(&self) -> bool {
        self.flight.is_some()
    }

    /// Sends what `take` gives, unless something is under way.
    pub(crate) fn launch(&mut self, take: impl FnOnce() -> Option<Arc<Batch>>) {
        let Some(mut twin) = self.twin.take() else { return };
        self.again_at = self.again_at.filter(|at| Instant::now() < *at);
        match take() {
            None => self.twin = Some(twin),
            Some(batch) => {
                self.flight = Some(Box::pin(async move {
                    let answer = twin.send(&batch).await;
                    (twin, answer)
                }));
            }
        }
    }

    /// The answer to what is under way; none: a failure was waited out, and it may be tried again. Takes
    /// for ever when there is nothing to wait for. Can be cut short and asked again.
    pub(crate) async fn turn(&mut self) -> Option<Result<Ack, SendFailure>> {
        let Some(flight) = &mut self.flight else {
            match self.again_at {
                Some(at) => sleep_until(at.into()).await,
                None => pending().await,
            }
            return None;
        };
        let (twin, answer) = flight.await;
        self.flight = None;
        self.twin = Some(twin);
        if let Err(failure) | Ok(Ack::Partly(_, failure)) = &answer {
            self.again_at = Some(Instant::now() + failure.retry_after);
        }
        Some(answer)
    }
}
