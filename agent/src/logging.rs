//! The agent's own log: to the journal under systemd, else to standard error. Never events.

use std::io::IsTerminal;
use tracing_subscriber::filter::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Starts the log. `level` is one of `error`, `warn`, `info`, `debug`, `trace`, checked by the
/// configuration; `HOSTWARD_LOG` overrides it with a filter such as `hostward_sensor=debug`.
pub fn start(level: &str) {
    let filter = std::env::var("HOSTWARD_LOG")
        .ok()
        .and_then(|directives| EnvFilter::try_new(directives).ok())
        .unwrap_or_else(|| EnvFilter::new(level));
    let registry = tracing_subscriber::registry().with(filter);
    // A log that is already set (a test's) stays.
    let _ = if under_journal() {
        match tracing_journald::layer() {
            Ok(journal) => registry.with(journal).try_init(),
            Err(_) => registry.with(stderr(false)).try_init(),
        }
    } else {
        registry.with(stderr(std::io::stderr().is_terminal())).try_init()
    };
}

fn stderr<S>(colour: bool) -> impl tracing_subscriber::Layer<S>
where
    S: tracing::Subscriber + for<'a> tracing_subscriber::registry::LookupSpan<'a>,
{
    tracing_subscriber::fmt::layer().with_ansi(colour).with_target(false).with_writer(std::io::stderr)
}

/// systemd tells device and inode of the journal's socket; they match our stderr when it goes there.
fn under_journal() -> bool {
    let Some(journal) = std::env::var_os("JOURNAL_STREAM") else { return false };
    let Ok(stat) = rustix::fs::fstat(std::io::stderr()) else { return false };
    journal.to_str() == Some(&format!("{}:{}", stat.st_dev, stat.st_ino))
}
