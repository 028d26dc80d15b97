//! All sinks together: fan-out, status, the end.

use crate::config::{Config, QueueConfig};
use crate::driver;
use crate::file::FileSink;
use crate::journald::JournaldSink;
use crate::kafka::KafkaSink;
use crate::ledger::{DropRange, Lane};
use crate::queue::Queue;
use crate::sink::{Encoder, Item, Sink};
use crate::status::SinkStatus;
use crate::stdout::StdoutSink;
use crate::syslog::SyslogSink;
use crate::weight::weigh;
use hostward_event::encode::{Encoding, Form};
use hostward_event::{Event, EventKind};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Says which events a sink wants; compiled from the rule language by the policy crate.
pub type Filter = Arc<dyn Fn(&Event) -> bool + Send + Sync>;

/// One configured sink with its compiled filter.
#[derive(Clone)]
pub struct SinkSpec {
    /// What the configuration says.
    pub config: Config,
    /// `config.filter()`, compiled; none: every event.
    pub filter: Option<Filter>,
}

/// A sink could not be started.
#[derive(Debug, thiserror::Error)]
#[error("sink {name:?}: cannot start its thread: {source}")]
pub struct StartFailure {
    name: String,
    source: std::io::Error,
}

impl StartFailure {
    /// What to do.
    pub const fn hint(&self) -> &'static str {
        "raise the limit of processes and open files (systemd: TasksMax=, LimitNOFILE=), or configure fewer sinks"
    }
}

/// What the end left of a sink.
#[derive(Clone, Debug)]
pub struct Closed {
    /// The last word; nothing is counted after it.
    pub status: SinkStatus,
    /// Events that were still queued or in flight and are now counted as dropped by shutdown.
    pub left: u64,
}

struct Output {
    queue: Arc<Queue>,
    filter: Option<Filter>,
}

/// The sinks of the agent.
#[derive(Default)]
pub struct Outputs {
    sinks: Vec<Output>,
}

impl Outputs {
    /// No sink yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Starts all sinks of a configuration. A file that cannot be opened or a full disk is no
    /// failure here: the sink's health says so, and it tries again.
    ///
    /// # Errors
    /// When a thread cannot be started.
    pub fn start(specs: Vec<SinkSpec>) -> Result<Self, StartFailure> {
        let mut outputs = Self::new();
        for SinkSpec { config, filter } in specs {
            let (name, kind) = (config.name().to_owned(), config.kind());
            let queue = config.queue().clone();
            let form = config.form();
            let filter = wanted(&form, filter);
            let encoder = encoder(form.clone());
            match config {
                Config::File(file) => {
                    outputs.add(name, kind, queue, filter, move || {
                        survive_file_size_limit();
                        FileSink::new(file, encoder)
                    })?;
                }
                Config::Stdout(_) => {
                    outputs.add(name, kind, queue, filter, move || StdoutSink::new(encoder))?;
                }
                Config::Kafka(kafka) => {
                    outputs.add(name, kind, queue, filter, move || KafkaSink::new(*kafka, form))?;
                }
                Config::Syslog(syslog) => {
                    outputs.add(name, kind, queue, filter, move || SyslogSink::new(&syslog, form))?;
                }
                Config::Journald(journald) => {
                    outputs.add(name, kind, queue, filter, move || JournaldSink::new(&journald, form))?;
                }
            }
        }
        Ok(outputs)
    }

    /// Adds a sink; `make` runs on the sink's own thread.
    ///
    /// # Errors
    /// When its thread cannot be started.
    pub fn add<S: Sink>(
        &mut self,
        name: String,
        kind: &'static str,
        queue: QueueConfig,
        filter: Option<Filter>,
        make: impl FnOnce() -> S + Send + 'static,
    ) -> Result<(), StartFailure> {
        let failure = |source| StartFailure { name: name.clone(), source };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failure)?;
        let queue = Arc::new(Queue::new(name.clone(), kind, queue));
        let driven = Arc::clone(&queue);
        std::thread::Builder::new()
            .name(thread_name(&name))
            .spawn(move || driver::run(driven, &runtime, make))
            .map_err(failure)?;
        self.sinks.push(Output { queue, filter });
        Ok(())
    }

    /// Offers an event to every sink. Never waits.
    pub fn push(&self, event: &Arc<Event>) {
        if self.sinks.is_empty() {
            return;
        }
        let lane = lane(event);
        let bytes = weigh(event);
        let queued_at = Instant::now();
        for sink in &self.sinks {
            if sink.filter.as_ref().is_none_or(|wants| wants(event)) {
                sink.queue.push(Item { event: Arc::clone(event), lane, bytes, queued_at });
            } else {
                sink.queue.count_filtered();
            }
        }
    }

    /// How every sink is, in the order of the configuration.
    pub fn status(&self) -> Vec<SinkStatus> {
        let now = Instant::now();
        self.sinks.iter().map(|sink| sink.queue.status(now)).collect()
    }

    /// What every sink lost since the last call, with the sink's name: for the feed's loss events.
    pub fn take_losses(&self) -> Vec<(String, DropRange)> {
        let named = |sink: &Output| {
            let name = sink.queue.name().to_owned();
            sink.queue.take_ranges().into_iter().map(move |range| (name.clone(), range))
        };
        self.sinks.iter().flat_map(named).collect()
    }

    /// Takes no more events, lets every sink send and flush what it has, all at once and no longer
    /// than `grace`, then closes the books. A thread that hangs in a call is left behind.
    pub fn close(&self, grace: Duration) -> Vec<Closed> {
        let deadline = Instant::now() + grace;
        for sink in &self.sinks {
            sink.queue.begin_close(deadline);
        }
        let seal = |sink: &Output| {
            let left = sink.queue.seal(deadline);
            Closed { status: sink.queue.status(Instant::now()), left }
        };
        self.sinks.iter().map(seal).collect()
    }
}

/// Alerts, and what the agent tells of itself and of losses, have a lane of their own.
pub(crate) fn lane(event: &Event) -> Lane {
    let own = matches!(event.kind(), EventKind::Gap | EventKind::Agent);
    if event.alert.is_some() || own { Lane::Alert } else { Lane::Telemetry }
}

/// A write beyond RLIMIT_FSIZE sends SIGXFSZ, which kills by default. With any handler it only fails
/// with EFBIG, which the file sink answers. tokio never takes its handler away again. A refusal
/// leaves things as they were: the limit is not set on a service unless an operator sets it.
fn survive_file_size_limit() {
    use tokio::signal::unix::{SignalKind, signal};
    if let Err(error) = signal(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw())) {
        tracing::warn!(%error, "cannot handle SIGXFSZ: with a file size limit (LimitFSIZE=) the agent may be killed");
    }
}

fn encoder(form: Form) -> Encoder {
    Arc::new(move |event, out| form.encode(event, out))
}

/// What a sink's encoding cannot carry, the sink does not want: it is filtered, not lost.
fn wanted(form: &Form, filter: Option<Filter>) -> Option<Filter> {
    let encoding = form.encoding();
    match filter {
        filter if encoding != Encoding::Falco => filter,
        None => Some(Arc::new(move |event| encoding.carries(event))),
        Some(filter) => Some(Arc::new(move |event| encoding.carries(event) && filter(event))),
    }
}

/// The kernel keeps 15 bytes of a thread's name, and std refuses NUL.
fn thread_name(name: &str) -> String {
    let plain = name.chars().filter(char::is_ascii_graphic).take(10);
    format!("sink-{}", plain.collect::<String>())
}
