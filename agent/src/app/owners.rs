//! Who tells of containers and pods: runtimes' sockets and the Kubernetes API, on a thread of their own.

use super::line::Message;
use super::thread;
use crate::config::Config;
use crate::exit::{Exit, Failure};
use crate::health::{Health, Stage, State};
use hostward_event::fact::{Fact, Input, Lookup};
use hostward_host::kubernetes::Kubernetes;
use hostward_host::{Board, Runtimes, SourceReport, SourceState};
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::Duration;
use tokio::sync::mpsc;

/// Facts that may wait for the pipeline; when it is full, sources wait.
const FACTS: usize = 1024;
/// Facts that are handed over at once.
const BATCH: usize = 64;
/// How often it is looked whether anybody can be asked.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// The running sources; dropped, they end.
pub struct Owners {
    runtimes: Runtimes,
    _kubernetes: Option<Kubernetes>,
}

impl Owners {
    /// Starts all sources. Their facts go to `line`, their states to `board` and `health`.
    ///
    /// # Errors
    /// [`Exit::Config`] when the Kubernetes API is wanted and cannot be used.
    pub fn start(
        config: &Config,
        line: SyncSender<Message>,
        board: Board,
        health: Arc<Health>,
    ) -> Result<Self, Failure> {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| {
                Failure::new(Exit::CannotWrite, format!("cannot start thread owners: {error}"), "")
            })?;
        let (facts, told) = mpsc::channel(FACTS);
        let runtimes = Runtimes::start(&config.runtime, runtime.handle(), facts.clone(), board.clone());
        let kubernetes =
            Kubernetes::start(&config.kubernetes, runtime.handle(), facts.clone(), board.clone()).map_err(
                |error| {
                    let hint = "mend [kubernetes], or take it out: docs/kubernetes.md";
                    Failure::new(Exit::Config, error.to_string(), hint)
                },
            )?;
        thread("owners", move || runtime.block_on(watch(board, facts, health)))?;
        thread("facts", move || hand_over(told, &line))?;
        Ok(Self { runtimes, _kubernetes: kubernetes })
    }

    /// Takes a question about a container. Never waits.
    pub fn ask(&self, lookup: &Lookup) {
        self.runtimes.ask(lookup);
    }
}

/// A thread, as the pipeline's line may be full and a task must not wait for it.
fn hand_over(mut told: mpsc::Receiver<Fact>, line: &SyncSender<Message>) {
    while let Some(first) = told.blocking_recv() {
        let mut inputs = vec![Input::Fact(first)];
        while inputs.len() < BATCH
            && let Ok(fact) = told.try_recv()
        {
            inputs.push(Input::Fact(fact));
        }
        if line.send(Message::Inputs(inputs)).is_err() {
            return;
        }
    }
}

/// Tells the pipeline whether anybody can be asked, and health how each source is.
async fn watch(board: Board, facts: mpsc::Sender<Fact>, health: Arc<Health>) {
    let mut before = false;
    loop {
        let reports = board.reports();
        tell(&reports, &health);
        // One that is still connecting will answer in a moment, or be degraded: the first events wait for it.
        let answer = reports.iter().any(|report| report.state != SourceState::Degraded);
        if answer != before {
            before = answer;
            if facts.send(Fact::Sources { answer }).await.is_err() {
                return;
            }
        }
        // At once: what a container does meanwhile goes out without its name, or waits for nobody.
        tokio::select! {
            () = board.changed() => {}
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
    }
}

fn tell(reports: &[SourceReport], health: &Health) {
    let shown = |report: &SourceReport| format!("{} {}: {}", report.source.name(), report.at, report.why);
    let bad: Vec<String> =
        reports.iter().filter(|report| report.state == SourceState::Degraded).map(shown).collect();
    let state = if bad.is_empty() { State::Ok } else { State::Degraded };
    health.set(Stage::AddContext, "sources", state, bad.join("; "), crate::clock::wall_ns());
    let good = reports.iter().filter(|report| report.state == SourceState::Ok);
    let notes = good
        .map(|report| format!("{}; {} containers, {} pods", shown(report), report.containers, report.pods));
    health.note(Stage::AddContext, "sources", notes.collect());
}
