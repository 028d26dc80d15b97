//! What tells one HTTP sink from another.

use super::client::Client;
use super::outcome::Outcome;
use super::record::Part;
use hostward_event::Event;
use hostward_event::encode::Form;
use std::future::Future;

/// See the module. Requests of one sink fly side by side, so that it is shared.
pub(crate) trait Wire: Send + Sync + 'static {
    /// Appends what `event` adds to a request.
    fn record(&self, form: &Form, event: &Event, out: &mut Vec<u8>);

    /// Appends what is said once per request and depends on the machine; `event` is one of the batch's.
    fn head(&self, _event: &Event, _out: &mut Vec<u8>) {}

    /// Called on the sink's thread before each batch: secrets of the sink's own may be read here.
    ///
    /// # Errors
    /// When one cannot be read.
    fn prepare(&self) -> Result<(), crate::net::failure::NetFailure> {
        Ok(())
    }

    /// Sends a part and says what became of it.
    fn exchange(&self, client: &Client, part: &Part) -> impl Future<Output = Outcome> + Send;

    /// How long an exchange takes says how loaded the destination is. False where most of it is waiting
    /// for something else.
    fn latency_tells(&self) -> bool {
        true
    }

    /// Counters of this kind of sink.
    fn counters(&self) -> Vec<(&'static str, u64)> {
        Vec::new()
    }
}
