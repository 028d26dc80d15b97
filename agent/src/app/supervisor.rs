//! The main thread once all is built: signals, reports, and the way down.

use super::line::{Message, Numbers};
use super::overload::{Losses, Overload, Step};
use super::rings::Rings;
use super::{notice, tell_problems, tell_silenced};
use crate::admin::{self, Reload, Shared};
use crate::config::Config;
use crate::exit::{Exit, Failure};
use crate::health::{Health, Stage, State};
use crate::policy::{Policy, Sources};
use crate::report::{ContextReport, IgnoredCount, KernelCount, LaneReport, MissedCount, Report, SinkReport};
use crate::systemd;
use crate::watch::Watch;
use hostward_event::fact::{Fact, Input, Notice};
use hostward_event::plan::KernelPlan;
use hostward_event::raw::Rung;
use hostward_event::{EventKind, KindSet};
use hostward_host::Domains;
use hostward_outputs::spool::{Durability, LaneStatus};
use hostward_outputs::{Outputs, SinkStatus};
use hostward_sensor::{KindCounters, ProbeState, ProbeStatus, Sensor};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// One reason may be that of a hundred probes: so many are named.
const MAX_HOOKS: usize = 4;

/// A report is made, and the watchdog fed, this often.
const REPORT_EVERY: Duration = Duration::from_secs(1);

/// Owns all parts while the agent runs.
pub struct Supervisor {
    pub(super) config: Config,
    pub(super) sources: Sources,
    pub(super) health: Arc<Health>,
    pub(super) shared: Arc<Shared>,
    pub(super) outputs: Arc<Outputs>,
    pub(super) numbers: Arc<Mutex<Numbers>>,
    pub(super) sensor: Sensor,
    pub(super) policy: Arc<Policy>,
    pub(super) line: SyncSender<Message>,
    pub(super) pipeline: JoinHandle<()>,
    pub(super) host: JoinHandle<()>,
    pub(super) rings: Option<Rings>,
    pub(super) domains: Arc<Domains>,
    pub(super) watch: Option<Watch>,
    pub(super) reloads: tokio::sync::mpsc::Receiver<Reload>,
    pub(super) started_ns: i64,
    pub(super) tripped: Vec<String>,
    pub(super) failed_sinks: BTreeSet<String>,
    pub(super) overload: Overload,
}

struct Signals {
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
}

impl Supervisor {
    /// Reports ready, works until SIGTERM or SIGINT, takes all down.
    ///
    /// # Errors
    /// Signals cannot be received.
    pub fn run(mut self) -> Result<Exit, Failure> {
        let cannot =
            |error: std::io::Error| Failure::new(Exit::Bug, format!("cannot receive signals: {error}"), "");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(cannot)?;
        runtime.block_on(async {
            let mut signals = Signals {
                hangup: signal(SignalKind::hangup()).map_err(cannot)?,
                terminate: signal(SignalKind::terminate()).map_err(cannot)?,
                interrupt: signal(SignalKind::interrupt()).map_err(cannot)?,
            };
            self.note_ladder();
            let line = self.report(0, &self.counters());
            tracing::info!("ready: {line}");
            systemd::ready(&line);
            self.watch(&mut signals).await;
            Ok::<(), Failure>(())
        })?;
        // Whoever presses Ctrl-C again does not want to wait: the signals' default is back.
        runtime.shutdown_background();
        self.stop();
        Ok(Exit::Ok)
    }

    async fn watch(&mut self, signals: &mut Signals) {
        let mut tick = tokio::time::interval(REPORT_EVERY);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let watchdog = systemd::watchdog().is_some();
        let mut before = self.numbers().counts.received;
        loop {
            tokio::select! {
                _ = signals.terminate.recv() => return,
                _ = signals.interrupt.recv() => return,
                _ = signals.hangup.recv() => drop(self.reload()),
                Some(asker) = self.reloads.recv() => {
                    // Whoever asked may have gone.
                    let _ = asker.send(self.reload());
                }
                _ = tick.tick() => {
                    self.tell_losses();
                    self.heed_caps();
                    let counters = self.counters();
                    self.heed_overload(&counters);
                    if self.watch.as_mut().is_some_and(|watch| watch.settled(self.sources.stamp())) {
                        tracing::info!("rule or response files have changed");
                        drop(self.reload());
                    }
                    let received = self.numbers().counts.received;
                    let line = self.report(received.saturating_sub(before), &counters);
                    before = received;
                    systemd::status(&line);
                    if watchdog && self.moves() {
                        systemd::alive();
                    }
                }
            }
        }
    }

    fn numbers(&self) -> Numbers {
        self.numbers.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// True while every thread lives; one that ended by itself has failed its stage.
    fn moves(&self) -> bool {
        let ended = [
            (self.rings.as_ref().is_none_or(Rings::finished), Stage::ObserveEvent, "the rings' thread"),
            (self.pipeline.is_finished(), Stage::MatchPolicy, "the pipeline's thread"),
            (self.host.is_finished(), Stage::AddContext, "the host's thread"),
        ];
        let now_ns = crate::clock::wall_ns();
        for (ended, stage, what) in ended {
            if ended {
                self.health.set(stage, "thread", State::Failed, format!("{what} has ended"), now_ns);
            }
        }
        ended.iter().all(|(ended, ..)| !ended)
    }

    fn send(&self, input: Input) {
        // The pipeline is gone: `moves` tells it.
        let _ = self.line.send(Message::Inputs(vec![input]));
    }

    /// Rules and responses anew; the sensor stays attached, the old set stays when the new one is refused.
    /// Gives what is in force now, or why it is still what was.
    fn reload(&mut self) -> Result<String, String> {
        systemd::reloading();
        if let Some(watch) = &mut self.watch {
            watch.loaded(self.sources.stamp());
        }
        let loaded =
            self.sources.load(&self.config).map_err(|failure| failure.message).and_then(
                |policy| match policy.errors().map(ToString::to_string).collect::<Vec<_>>() {
                    errors if errors.is_empty() => Ok(policy),
                    errors => Err(errors.join("\n")),
                },
            );
        let applied = loaded.and_then(|policy| {
            let policy = Arc::new(policy);
            // First what the kernel reports, then what is matched: what a new rule wants must come.
            self.sensor
                .apply(&policy.plan)
                .map_err(|error| format!("the kernel's filter cannot be set: {error}"))?;
            Ok(policy)
        });
        let outcome = match applied {
            Ok(policy) => {
                tell_problems(&policy, &self.health);
                tell_silenced(&policy, &self.config, &self.health);
                let message =
                    format!("{} rules, {} responses in force", policy.rules.len(), policy.responses.len());
                tracing::info!("reloaded: {message}");
                self.domains.want(policy.rules.domains());
                *self.shared.policy.lock().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&policy);
                self.policy = Arc::clone(&policy);
                let _ = self.line.send(Message::Swap(policy));
                self.send(Input::Fact(Fact::Notice(notice("rules_reloaded", message.clone(), true))));
                Ok(message)
            }
            Err(why) => {
                tracing::error!("not reloaded, the old rules stay in force: {why}");
                let health = format!("new rules were refused, the old ones stay in force: {why}");
                self.health.set(
                    Stage::MatchPolicy,
                    "rules",
                    State::Degraded,
                    health,
                    crate::clock::wall_ns(),
                );
                self.send(Input::Fact(Fact::Notice(notice("rules_refused", why.clone(), false))));
                Err(why)
            }
        };
        let line = self.report(0, &self.counters());
        systemd::ready(&line);
        outcome
    }

    /// A response at its cap of kills only records from now on, also in the kernel; a reload arms it again.
    fn heed_caps(&mut self) {
        let tripped = self.numbers().tripped;
        if tripped == self.tripped {
            return;
        }
        let now_ns = crate::clock::wall_ns();
        if tripped.is_empty() {
            self.health.set(Stage::Respond, "cap", State::Ok, "", now_ns);
        } else {
            let names = tripped.join(", ");
            let why = format!(
                "reached the cap of kills and only records what it would have done until a reload: {names}"
            );
            tracing::error!("{why}");
            // The kernel knows no responses: what it would kill is left to the responder, which does.
            let plan = KernelPlan {
                kill_paths: BTreeSet::new(),
                kill_comms: BTreeSet::new(),
                ..self.policy.plan.clone()
            };
            if let Err(error) = self.sensor.apply(&plan) {
                tracing::error!(%error, "kills could not be taken out of the kernel");
            }
            self.send(Input::Fact(Fact::Notice(notice("response_capped", why.clone(), false))));
            self.health.set(Stage::Respond, "cap", State::Degraded, why, now_ns);
        }
        self.tripped = tripped;
    }

    /// Too much for the ring: the kernel leaves out what the configuration says, until it is calm again.
    fn heed_overload(&mut self, counters: &[KindCounters]) {
        let Some(step) = self.overload.look(Losses::of(counters)) else { return };
        let most = self.overload.most();
        let (classes, most) = match step {
            Step::Limit(class) => (vec![class], most),
            Step::Lift => (self.config.sensor.degrade.order.clone(), 0),
        };
        for class in classes {
            if let Err(error) = self.sensor.limit(class, most) {
                tracing::error!(%error, class = class.name(), "the limit under overload cannot be set");
            }
        }
        let names: Vec<_> = self.overload.limited().iter().map(|class| class.name()).collect();
        let now_ns = crate::clock::wall_ns();
        if names.is_empty() {
            let message = "overload is over: everything is told again";
            tracing::info!("{message}");
            self.health.set(Stage::ObserveEvent, "overload", State::Ok, "", now_ns);
            self.send(Input::Fact(Fact::Notice(notice("overload_ended", message.to_owned(), true))));
        } else {
            let why = format!(
                "overload: of {} each process tells {most} events a second, the others are counted as sampled; \
                 a larger sensor.bulk_ring_bytes or fewer watched files help",
                names.join(" and ")
            );
            tracing::warn!("{why}");
            self.health.set(Stage::ObserveEvent, "overload", State::Degraded, why.clone(), now_ns);
            self.send(Input::Fact(Fact::Notice(notice("overload", why, false))));
        }
    }

    /// What sinks lost belongs into the feed of those that did not.
    fn tell_losses(&self) {
        for (sink, range) in self.outputs.take_losses() {
            let message = format!(
                "sink {sink} lost {} events ({} lane): {}",
                range.events,
                range.lane.name(),
                range.reason.describe()
            );
            self.send(Input::Fact(Fact::Notice(notice("pipeline_loss", message, false))));
        }
    }

    fn note_ladder(&self) {
        let ladder = self.sensor.ladder();
        // A system call that the kernel does not have is nothing to be missed.
        let is_call = |probe: &ProbeState| probe.kind.is_call() && probe.rung == Rung::SyscallTracepoint;
        let absent = |probe: &&ProbeState| is_call(probe) && probe.status == ProbeStatus::Missing;
        let missing = ladder
            .iter()
            .filter(|probe| !matches!(probe.status, ProbeStatus::Attached | ProbeStatus::Unwanted))
            .filter(|probe| !absent(probe));
        let mut reasons: BTreeMap<(&str, &str), Vec<&str>> = BTreeMap::new();
        for probe in missing {
            reasons.entry((probe.status.name(), &probe.why)).or_default().push(&probe.hook);
        }
        let mut notes = Vec::new();
        for ((status, why), hooks) in reasons {
            let (told, more) = hooks.split_at(hooks.len().min(MAX_HOOKS));
            notes.extend(told.iter().map(|hook| format!("{hook} is {status}: {why}")));
            if !more.is_empty() {
                notes.push(format!("{} more are {status}: {why}; `hostward doctor` has all", more.len()));
            }
        }
        notes.extend(self.sensor.notes().iter().cloned());
        self.health.note(Stage::LoadSensor, "ladder", notes);
        let absent = ladder.iter().filter(absent).map(|probe| probe.kind);
        let observed = absent.fold(self.sensor.observed(), |set, kind| set.union(KindSet::of(&[kind])));
        let blind: Vec<_> = self
            .policy
            .plan
            .kinds
            .iter()
            .filter(|kind| wants_probe(*kind) && !observed.contains(*kind))
            .map(EventKind::name)
            .collect();
        if !blind.is_empty() {
            let why =
                format!("not observed on this kernel: {}; `hostward doctor` says why", blind.join(", "));
            self.health.set(Stage::LoadSensor, "blind", State::Degraded, why, crate::clock::wall_ns());
        }
    }

    /// Makes the report; gives its line.
    fn report(&mut self, events_per_second: u64, counters: &[KindCounters]) -> String {
        let now_ns = crate::clock::wall_ns();
        let numbers = self.numbers();
        let sinks: Vec<SinkReport> = self.outputs.status().iter().map(sink_report).collect();
        let spool = self.lanes();
        self.judge_sinks(&sinks, &spool, now_ns);
        self.health.note(Stage::AddContext, "bounds", bounds_reached(&numbers));
        let ladder = self.sensor.ladder();
        let attached: Vec<_> = ladder.iter().filter(|probe| probe.status == ProbeStatus::Attached).collect();
        let mut rungs: Vec<String> = attached.iter().map(|probe| probe.rung.name().to_owned()).collect();
        rungs.sort();
        rungs.dedup();
        let stages = self.health.report();
        let report = Report {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            started_ns: self.started_ns,
            made_ns: now_ns,
            state: stages.iter().map(|stage| stage.state).max().unwrap_or(State::Ok),
            stages,
            hooks: attached.len(),
            rungs,
            events_per_second,
            rules: self.policy.rules.len(),
            responses: self.policy.responses.len(),
            counts: numbers.counts,
            kernel: counters.iter().map(kernel_count).collect(),
            missed: self.missed(),
            kernel_bytes: self.sensor.kernel_bytes(),
            ignored: self.ignored(),
            processes: numbers.processes,
            context: ContextReport {
                containers: numbers.context.containers,
                pods: numbers.context.pods,
                held: numbers.context.held,
                complete: numbers.context.complete,
                partial: numbers.context.partial,
                programs: numbers.context.programs,
                late: numbers.context.late,
            },
            sinks,
            spool,
        };
        let line = report.line();
        *self.shared.report.lock().unwrap_or_else(PoisonError::into_inner) = report;
        line
    }

    fn counters(&self) -> Vec<KindCounters> {
        // A map that cannot be read is told by the rings' thread, which reads it too.
        self.sensor.counters().unwrap_or_default()
    }

    fn missed(&self) -> Vec<MissedCount> {
        self.sensor.missed().into_iter().map(|(hook, missed)| MissedCount { hook, missed }).collect()
    }

    fn ignored(&self) -> Vec<IgnoredCount> {
        let counts = self.sensor.ignored().unwrap_or_default();
        counts.into_iter().map(|(block, events)| IgnoredCount { block, events }).collect()
    }

    fn lanes(&self) -> Vec<LaneReport> {
        let Some(spool) = self.outputs.spool() else { return Vec::new() };
        let report = |lane: LaneStatus| LaneReport {
            lane: lane.lane.name().to_owned(),
            disk_bytes: lane.disk_bytes,
            max_bytes: lane.max_bytes,
            degraded: match lane.degraded {
                // In memory by the operator's own choice is no fault.
                Some((reason, _)) if lane.durability != Durability::Memory => reason.describe().to_owned(),
                _ => String::new(),
            },
        };
        spool.status().lanes.into_iter().map(report).collect()
    }

    fn judge_sinks(&mut self, sinks: &[SinkReport], spool: &[LaneReport], now_ns: i64) {
        let full: Vec<String> = spool
            .iter()
            .filter(|lane| !lane.degraded.is_empty())
            .map(|lane| format!("spool, {} lane: {}", lane.lane, lane.degraded))
            .collect();
        let state = if full.is_empty() { State::Ok } else { State::Degraded };
        self.health.set(Stage::Deliver, "spool", state, full.join("; "), now_ns);
        let bad: Vec<&SinkReport> = sinks.iter().filter(|sink| sink.state != State::Ok).collect();
        let worst = bad.iter().map(|sink| sink.state).max().unwrap_or(State::Ok);
        let why: Vec<String> =
            bad.iter().map(|sink| format!("sink {}: {}", sink.name, sink.last_error)).collect();
        self.health.set(Stage::Deliver, "sinks", worst, why.join("; "), now_ns);
        self.tell_failed(&bad);
    }

    /// A sink that needs a person is told to the others, once, and so is its recovery.
    fn tell_failed(&mut self, bad: &[&SinkReport]) {
        let failed = bad.iter().filter(|sink| sink.state == State::Failed);
        let failed: BTreeMap<&str, &str> =
            failed.map(|sink| (sink.name.as_str(), sink.last_error.as_str())).collect();
        for (name, why) in &failed {
            if self.failed_sinks.insert((*name).to_owned()) {
                let message = format!("sink {name} needs help, its events wait: {why}");
                self.send(Input::Fact(Fact::Notice(notice("sink_failed", message, false))));
            }
        }
        let well: Vec<String> =
            self.failed_sinks.iter().filter(|name| !failed.contains_key(name.as_str())).cloned().collect();
        for name in well {
            self.send(Input::Fact(Fact::Notice(notice(
                "sink_recovered",
                format!("sink {name} is well again"),
                true,
            ))));
            self.failed_sinks.remove(&name);
        }
    }

    fn stop(mut self) {
        systemd::stopping();
        tracing::info!("stopping");
        self.domains.stop();
        self.sensor.detach();
        if let Some(rings) = self.rings.take() {
            rings.join();
        }
        self.send(Input::Fact(Fact::Notice(notice(
            Notice::STOPPED,
            "the agent was told to stop".into(),
            true,
        ))));
        let _ = self.line.send(Message::Stop);
        let _ = self.pipeline.join();
        self.sensor.leave();
        for closed in self.outputs.close(Duration::from_millis(self.config.agent.stop_grace_ms)) {
            if closed.kept && closed.left > 0 {
                tracing::info!(sink = closed.status.name, "{} events wait in the spool", closed.left);
            }
            if closed.status.dropped_events() > 0 {
                tracing::warn!(
                    sink = closed.status.name,
                    "dropped {} events in all",
                    closed.status.dropped_events()
                );
            }
        }
        // Nobody is left to ask: a socket would only mislead.
        let _ = std::fs::remove_file(admin::socket(&self.config.agent.runtime_dir));
        let counts = self.numbers.lock().unwrap_or_else(PoisonError::into_inner).counts;
        tracing::info!(received = counts.received, alerts = counts.alerts, lost = counts.lost, "stopped");
    }
}

/// Bounds of the context stage that were reached since the start.
fn bounds_reached(numbers: &Numbers) -> Vec<String> {
    let told = [
        (
            numbers.lookups_refused,
            "questions about processes and cgroups were dropped: the host answers too slowly",
        ),
        (numbers.processes_evicted, "living processes were forgotten at the bound enrich.max_processes"),
        (numbers.cgroups_evicted, "cgroups were forgotten at the bound enrich.max_cgroups"),
    ];
    told.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect()
}

/// Gaps and notices come from user space.
const fn wants_probe(kind: EventKind) -> bool {
    !matches!(kind, EventKind::Gap | EventKind::Agent)
}

fn kernel_count(kind: &KindCounters) -> KernelCount {
    KernelCount {
        kind: kind.kind.name().to_owned(),
        attempted: kind.attempted,
        dropped: kind.dropped,
        sampled: kind.sampled,
    }
}

fn sink_report(status: &SinkStatus) -> SinkReport {
    use hostward_outputs::State as SinkState;
    SinkReport {
        name: status.name.clone(),
        target: status.kind.to_owned(),
        state: match status.health.state {
            // A live view whose terminal was closed is no fault.
            SinkState::Ok | SinkState::Ended => State::Ok,
            SinkState::Degraded => State::Degraded,
            SinkState::Failed => State::Failed,
        },
        condition: status.condition,
        last_error: match (&status.health.reason, &status.last_error) {
            (reason, _) if !reason.is_empty() => reason.clone(),
            (_, Some(error)) => error.message.clone(),
            (_, None) => String::new(),
        },
        last_error_unix_ms: status.last_error.as_ref().map(|error| error.unix_ms),
        accepted: status.accepted,
        delivered: status.delivered,
        queued: status.queued,
        queued_bytes: status.queued_bytes,
        in_flight: status.in_flight,
        dropped: status
            .dropped
            .iter()
            .map(|drop| (format!("{} ({} lane)", drop.reason.describe(), drop.lane.name()), drop.events))
            .collect(),
        dlq: status.dlq,
        oldest_age_ms: status.oldest_age_ms.unwrap_or_default(),
    }
}
