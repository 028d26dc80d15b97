//! The pipeline's thread: inputs in, effects out.

use crate::capture;
use crate::clock::LiveClock;
use crate::health::{Health, Stage, State};
use crate::pipeline::{Counts, Effect, Pipeline};
use crate::policy::Policy;
use crate::workloads::{self, Row};
use hostward_event::Event;
use hostward_event::event::Actor;
use hostward_event::fact::{Input, Lookup};
use hostward_outputs::Outputs;
use hostward_respond::Responder;
use hostward_sensor::Marks;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError};
use std::sync::{Arc, Mutex, PoisonError};

/// What the pipeline's thread is told.
#[derive(Debug)]
pub enum Message {
    /// Inputs, in order.
    Inputs(Vec<Input>),
    /// Other rules and responses, from the next input on.
    Swap(Arc<Policy>),
    /// Note from now on which events were handled.
    Marks(Marks),
    /// Answer when everything before has been handled.
    Barrier(SyncSender<()>),
    /// Answer with what runs where.
    Workloads(tokio::sync::oneshot::Sender<Vec<Row>>),
    /// No more inputs come but results of actions: finish.
    Stop,
}

/// The thread's end of everything.
pub struct Line {
    /// The pure core.
    pub pipeline: Pipeline<LiveClock>,
    /// Where inputs come from.
    pub inputs: Receiver<Message>,
    /// Sinks.
    pub outputs: Arc<Outputs>,
    /// Followers.
    pub shared: Arc<crate::admin::Shared>,
    /// Kills.
    pub responder: Responder,
    /// Questions to the host.
    pub lookups: SyncSender<Lookup>,
    /// Where the counters are left for the report.
    pub numbers: Arc<Mutex<Numbers>>,
    /// Where trouble is told.
    pub health: Arc<Health>,
    /// The capture, if one is made.
    pub capture: Option<capture::Writer>,
    /// Where handled events are noted for the next agent, if programs outlive this one.
    pub marks: Option<Marks>,
}

/// Inputs that are handled between two notes: what an agent that is killed had handed over and not noted is taken for
/// lost by the next.
const NOTE_EVERY: usize = 64;

/// Counters that the report shows.
#[derive(Clone, Debug, Default)]
pub struct Numbers {
    /// Of the pipeline.
    pub counts: Counts,
    /// Processes in the table.
    pub processes: usize,
    /// Questions that the host had no room for.
    pub lookups_refused: u64,
    /// Processes forgotten at the table's bound.
    pub processes_evicted: u64,
    /// cgroups forgotten at the table's bound.
    pub cgroups_evicted: u64,
    /// Of the context stage.
    pub context: hostward_enrich::Stats,
    /// Responses that reached their cap of kills and only record what they would have done.
    pub tripped: Vec<String>,
}

impl Line {
    /// Works until it is told to stop; gives back what has to be closed in order.
    pub fn run(mut self) {
        let mut effects = Vec::new();
        loop {
            match self.inputs.recv() {
                Ok(Message::Inputs(inputs)) => self.work(&inputs, &mut effects),
                Ok(Message::Marks(marks)) => self.marks = Some(marks),
                Ok(Message::Swap(policy)) => {
                    self.pipeline.swap(policy);
                    self.responder.rearm();
                }
                // Whoever asked may have gone.
                Ok(Message::Barrier(done)) => drop(done.send(())),
                Ok(Message::Workloads(asker)) => {
                    drop(asker.send(workloads::rows(&self.pipeline.enricher().workloads())));
                }
                Ok(Message::Stop) | Err(_) => break,
            }
        }
        // What the responder still has in hand comes back as inputs before it is gone.
        self.responder.close();
        while let Ok(message) = self.inputs.try_recv() {
            if let Message::Inputs(inputs) = message {
                self.work(&inputs, &mut effects);
            }
        }
        self.pipeline.finish(&mut effects);
        self.carry_out(&mut effects);
        if let Some(capture) = self.capture.take() {
            match capture.finish() {
                Ok((path, count)) => tracing::info!(path = %path.display(), count, "capture finished"),
                Err(error) => tracing::error!(%error, "the capture could not be finished; it is cut"),
            }
        }
    }

    fn work(&mut self, inputs: &[Input], effects: &mut Vec<Effect>) {
        let Some(marks) = self.marks.clone() else { return self.carry(inputs, effects) };
        for some in inputs.chunks(NOTE_EVERY) {
            self.carry(some, effects);
            some.iter().for_each(|input| marks.handled(input));
        }
    }

    fn carry(&mut self, inputs: &[Input], effects: &mut Vec<Effect>) {
        for input in inputs {
            self.pipeline.handle(input, effects);
            let reads = self.pipeline.clock.take_reads();
            if let Some(capture) = &mut self.capture
                && let Err(error) = capture.write(input, &reads)
            {
                let why = format!("the capture was given up: {error}");
                tracing::error!("{why}");
                self.health.set(Stage::Deliver, "capture", State::Degraded, why, crate::clock::wall_ns());
                self.capture = None;
            }
        }
        self.carry_out(effects);
    }

    fn carry_out(&mut self, effects: &mut Vec<Effect>) {
        let mut emitted = Vec::new();
        let mut refused = 0;
        for effect in effects.drain(..) {
            match effect {
                // A kill must not wait for anything behind it in the list: sinks never block.
                Effect::Act(act) => self.responder.submit(act),
                Effect::Emit(event) => {
                    self.outputs.push(&event);
                    self.count_kernel_kill(&event);
                    emitted.push(event);
                }
                Effect::Look(lookup) => match self.lookups.try_send(lookup) {
                    // The table asks again when the cgroup shows up in another process.
                    Err(TrySendError::Full(_)) => refused += 1,
                    Err(TrySendError::Disconnected(_)) | Ok(()) => {}
                },
            }
        }
        if !emitted.is_empty() {
            self.shared.recent.extend(emitted);
        }
        let mut numbers = self.numbers.lock().unwrap_or_else(PoisonError::into_inner);
        numbers.counts = self.pipeline.counts();
        let context = self.pipeline.enricher().stats();
        numbers.processes = context.processes;
        numbers.processes_evicted = context.processes_evicted;
        numbers.cgroups_evicted = context.cgroups_evicted;
        numbers.context = context;
        numbers.lookups_refused += refused;
        numbers.tripped = self.responder.tripped().iter().map(ToString::to_string).collect();
    }

    /// What the kernel killed counts towards the response's cap as well; at the cap the supervisor
    /// takes the kills out of the kernel.
    fn count_kernel_kill(&self, event: &Event) {
        if let (Some(alert), Some(source)) = (&event.alert, &event.source)
            && alert.actor == Actor::Kernel
        {
            self.responder.kernel_killed(&alert.response, source.boot_ns);
        }
    }
}
