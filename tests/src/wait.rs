//! Waiting with a limit.

use anyhow::{Result, bail};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Asks `probe` every 20 ms until it gives a value.
///
/// # Errors
/// What `probe` fails with, or that `limit` has passed: the message names `what`.
pub fn until<T>(what: &str, limit: Duration, mut probe: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let began = Instant::now();
    loop {
        if let Some(value) = probe()? {
            return Ok(value);
        }
        if began.elapsed() > limit {
            bail!("waited {} s for {what}, in vain", limit.as_secs());
        }
        sleep(Duration::from_millis(20));
    }
}
