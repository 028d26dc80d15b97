//! Talking to systemd; without it every call does nothing.

use sd_notify::NotifyState;
use std::time::Duration;

fn tell(states: &[NotifyState<'_>]) {
    // Outside of systemd there is no socket to tell; inside, a failure would only cost a status line.
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "systemd was not told");
    }
}

/// All is up.
pub fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// The status line.
pub fn status(line: &str) {
    tell(&[NotifyState::Status(line)]);
}

/// A reload begins; [`ready`] ends it.
pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(_) => tell(&[NotifyState::Reloading]),
    }
}

/// The agent stops.
pub fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// Feeds the watchdog.
pub fn alive() {
    tell(&[NotifyState::Watchdog]);
}

/// How often the watchdog wants to be fed; none: there is no watchdog.
pub fn watchdog() -> Option<Duration> {
    sd_notify::watchdog_enabled()
}
