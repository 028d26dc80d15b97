//! All sinks together: fan-out, status, the end.

use crate::backlog::Backlog;
use crate::condition::Supply;
use crate::config::{Config, QueueConfig};
use crate::driver;
use crate::file::FileSink;
use crate::journald::JournaldSink;
use crate::kafka::KafkaSink;
use crate::ledger::{DropRange, Lane};
use crate::queue::Queue;
use crate::sink::{Encoder, Item, Sink};
use crate::spool::{OpenFailure, SinkSet, Spool, SpoolConfig};
use crate::status::SinkStatus;
use crate::stdout::StdoutSink;
use crate::syslog::SyslogSink;
use crate::weight::weigh;
use hostward_event::encode::{Encoding, Form};
use hostward_event::{Event, EventKind, canonical};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long the spool may take to store its books at the end, beyond the sinks' grace.
const CLOSE_SPOOL: Duration = Duration::from_secs(5);

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

/// The sinks could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartFailure {
    /// A sink's thread.
    #[error("sink {name:?}: cannot start its thread: {source}")]
    Thread {
        /// The sink's name.
        name: String,
        /// The cause.
        source: std::io::Error,
    },
    /// The spool: another process holds it, or its threads cannot be started.
    #[error(transparent)]
    Spool(#[from] OpenFailure),
}

impl StartFailure {
    /// What to do.
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::Thread { .. } => {
                "raise the limit of processes and open files (systemd: TasksMax=, LimitNOFILE=), or configure fewer sinks"
            }
            Self::Spool(failure) => failure.hint(),
        }
    }
}

/// What the end left of a sink.
#[derive(Clone, Debug)]
pub struct Closed {
    /// The last word; nothing is counted after it.
    pub status: SinkStatus,
    /// Events that were still queued or in flight. Those of a queue in memory are now counted as
    /// dropped by shutdown; those of the spool wait there for the next start.
    pub left: u64,
    /// True when the events left wait in the spool.
    pub kept: bool,
}

/// Where a sink's events wait.
enum Line {
    Memory(Arc<Queue>),
    Spool(Arc<Backlog>),
}

struct Output {
    line: Line,
    filter: Option<Filter>,
}

/// The sinks of the agent.
#[derive(Default)]
pub struct Outputs {
    sinks: Vec<Output>,
    spool: Option<Arc<Spool>>,
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
        Self::new().start_all(specs)
    }

    /// The same, with the events of all sinks but `stdout` in a spool on disk, from which the next
    /// start goes on. The spool's directory has to be resolved ([`SpoolConfig::resolved`]).
    ///
    /// # Errors
    /// When another process holds the spool, or a thread cannot be started.
    pub fn start_spooled(specs: Vec<SinkSpec>, config: &SpoolConfig) -> Result<Self, StartFailure> {
        let mut outputs = Self::new();
        if config.enabled {
            let spooled = specs.iter().filter(|spec| spec.config.is_spooled());
            let names: Vec<String> = spooled.map(|spec| spec.config.name().to_owned()).collect();
            outputs.spool = Some(Arc::new(Spool::open(config, &names)?));
        }
        outputs.start_all(specs)
    }

    /// Takes part in a spool that is open; its sinks get their events from there.
    pub fn with_spool(spool: Arc<Spool>) -> Self {
        Self { sinks: Vec::new(), spool: Some(spool) }
    }

    /// The spool, if there is one.
    pub const fn spool(&self) -> Option<&Arc<Spool>> {
        self.spool.as_ref()
    }

    fn start_all(self, specs: Vec<SinkSpec>) -> Result<Self, StartFailure> {
        let mut outputs = self;
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
                Config::Elastic(elastic) => {
                    outputs.add(name, kind, queue, filter, move || crate::elastic::sink(&elastic, form))?;
                }
                Config::SplunkHec(hec) => {
                    outputs.add(name, kind, queue, filter, move || crate::hec::sink(&hec, form))?;
                }
                Config::Otlp(otlp) => {
                    outputs.add(name, kind, queue, filter, move || crate::otlp::sink(&otlp, form))?;
                }
                Config::Webhook(webhook) => {
                    outputs.add(name, kind, queue, filter, move || crate::webhook::sink(&webhook, form))?;
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

    /// Adds a sink; `make` runs on the sink's own thread. When there is a spool that was opened for a sink
    /// of this name its events wait there, else in memory.
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
        let failure = |source| StartFailure::Thread { name: name.clone(), source };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failure)?;
        let reader = self.spool.as_ref().and_then(|spool| Some((spool, spool.reader(&name)?)));
        let line = match reader {
            Some((spool, reader)) => {
                let backlog = Backlog::new(kind, queue, spool.config(), reader, spool.set_of(&name));
                let backlog = Arc::new(backlog);
                spawn(&name, Arc::clone(&backlog), runtime, make).map_err(failure)?;
                Line::Spool(backlog)
            }
            None => {
                let queue = Arc::new(Queue::new(name.clone(), kind, queue));
                spawn(&name, Arc::clone(&queue), runtime, make).map_err(failure)?;
                Line::Memory(queue)
            }
        };
        self.sinks.push(Output { line, filter });
        Ok(())
    }

    /// Offers an event to every sink. Never waits.
    pub fn push(&self, event: &Arc<Event>) {
        if self.sinks.is_empty() {
            return;
        }
        let lane = lane(event);
        let queued_at = Instant::now();
        let mut spooled = SinkSet::NONE;
        for sink in &self.sinks {
            let wanted = sink.filter.as_ref().is_none_or(|wants| wants(event));
            match &sink.line {
                Line::Memory(queue) if wanted => {
                    queue.push(Item { event: Arc::clone(event), lane, bytes: weigh(event), queued_at });
                }
                Line::Memory(queue) => queue.count_filtered(),
                Line::Spool(backlog) if wanted => spooled = spooled.with(backlog.set),
                Line::Spool(backlog) => backlog.count_filtered(),
            }
        }
        if let Some(spool) = self.spool.as_ref().filter(|_| !spooled.is_empty()) {
            let mut record = Vec::with_capacity(4096);
            // A record that memory cannot hold is none; the spool counts one that is too long.
            if let Err(error) = canonical::encode(event, &mut record) {
                tracing::error!(%error, "an event cannot be stored");
            }
            if let Ok(seq) = spool.append(lane, spooled, event.time_ns, event.id, &record) {
                for sink in &self.sinks {
                    if let Line::Spool(backlog) = &sink.line
                        && spooled.has(backlog.set)
                    {
                        backlog.keep(lane, seq, event, record.len());
                    }
                }
            }
        }
    }

    /// How every sink is, in the order of the configuration.
    pub fn status(&self) -> Vec<SinkStatus> {
        let now = Instant::now();
        self.sinks.iter().map(|sink| sink.line.status(now)).collect()
    }

    /// What every sink lost since the last call, with the sink's name: for the feed's loss events.
    pub fn take_losses(&self) -> Vec<(String, DropRange)> {
        let mut losses = self.spool.as_ref().map(|spool| spool.take_losses()).unwrap_or_default();
        for sink in &self.sinks {
            if let Line::Memory(queue) = &sink.line {
                let ranges = queue.take_ranges().into_iter();
                losses.extend(ranges.map(|range| (queue.name().to_owned(), range)));
            }
        }
        losses
    }

    /// Takes no more events, lets every sink send and flush what it has, all at once and no longer
    /// than `grace`, then closes the books and the spool. A thread that hangs in a call is left behind.
    pub fn close(&self, grace: Duration) -> Vec<Closed> {
        let deadline = Instant::now() + grace;
        for sink in &self.sinks {
            match &sink.line {
                Line::Memory(queue) => queue.begin_close(deadline),
                Line::Spool(backlog) => backlog.begin_close(deadline),
            }
        }
        let left: Vec<(u64, bool)> = self
            .sinks
            .iter()
            .map(|sink| match &sink.line {
                Line::Memory(queue) => (queue.seal(deadline), false),
                Line::Spool(backlog) => (backlog.seal(deadline), true),
            })
            .collect();
        if let Some(spool) = &self.spool {
            let left = deadline.saturating_duration_since(Instant::now());
            spool.close(left.max(CLOSE_SPOOL));
        }
        let now = Instant::now();
        let closed = self.sinks.iter().zip(left);
        closed.map(|(sink, (left, kept))| Closed { status: sink.line.status(now), left, kept }).collect()
    }
}

impl Line {
    fn status(&self, now: Instant) -> SinkStatus {
        match self {
            Self::Memory(queue) => queue.status(now),
            Self::Spool(backlog) => backlog.status(now),
        }
    }
}

/// Drives a sink on a thread of its own.
fn spawn<S: Sink, Q: Supply>(
    name: &str,
    supply: Arc<Q>,
    runtime: tokio::runtime::Runtime,
    make: impl FnOnce() -> S + Send + 'static,
) -> std::io::Result<()> {
    let thread = std::thread::Builder::new().name(thread_name(name));
    thread.spawn(move || driver::run(supply, &runtime, make)).map(drop)
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
