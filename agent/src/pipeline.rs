//! The one place where events become decisions: enrich, match, decide, in one total order.
//!
//! # How it works
//! [`Pipeline::handle`] takes one [`Input`] and appends what follows from it to a list of
//! [`Effect`]s, which the caller carries out: the agent sends them on, a replay prints them.
//! All that it reads of the world is in the input and in the [`Clock`], so a capture of both
//! gives the same effects again.
//!
//! # What can go wrong
//! An action whose result never comes would hold its alert back for ever: after
//! [`ACTION_WAIT_NS`] the alert goes out as `timed_out`.

use crate::clock::Clock;
use crate::config::{Opens, Telemetry};
use crate::policy::{Decision, Policy};
use hostward_enrich::{Enricher, Output};
use hostward_event::event::{Action, Actor, Alert, Body, Mode};
use hostward_event::fact::{ActionResult, Fact, Input, Lookup, Outcome};
use hostward_event::mask::Masker;
use hostward_event::registry::Awaited;
use hostward_event::{Event, EventId, EventKind, IdMint, KindSet, Text};
use hostward_policy::{Correlator, Rule, Summary};
use hostward_respond::KillRequest;
use std::collections::VecDeque;
use std::sync::Arc;

/// How long an alert waits for the result of its action.
const ACTION_WAIT_NS: u64 = 2_000_000_000;
/// How long, if the event waits for its container or its program besides.
const EARLY_WAIT_NS: u64 = 4 * ACTION_WAIT_NS;
/// Alerts that wait at the same time; past it the oldest goes out as `timed_out`.
const MAX_WAITING: usize = 1024;

/// What follows from an input.
#[derive(Debug)]
pub enum Effect {
    /// A record for the sinks: masked, numbered.
    Emit(Arc<Event>),
    /// A question for the host.
    Look(Lookup),
    /// An action for the responder; its result comes back as [`Input::Action`].
    Act(KillRequest),
}

/// Counters of the pipeline. `received = emitted + filtered` for events, alerts counted apart.
#[derive(Clone, Copy, Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct Counts {
    /// Events that came in.
    pub received: u64,
    /// Events handed to the sinks.
    pub emitted: u64,
    /// Events that no telemetry stream wants.
    pub filtered: u64,
    /// Alerts handed to the sinks.
    pub alerts: u64,
    /// Alerts that wait for the result of an action.
    pub alerts_waiting: u64,
    /// Events lost in the kernel, as told by gaps.
    pub lost: u64,
}

struct Waiting {
    deadline_boot_ns: u64,
    event: Arc<Event>,
    alert: Alert,
    /// The event waits for its container: the alert goes out with it, not before.
    early: bool,
    /// The result of an action that was faster than that.
    result: Option<ActionResult>,
}

/// The pure core. See the module's head.
pub struct Pipeline<C> {
    /// The clock, shared with the capture.
    pub clock: C,
    enricher: Enricher,
    policy: Arc<Policy>,
    telemetry: Telemetry,
    /// System calls that are telemetry.
    calls: KindSet,
    masker: Masker,
    correlator: Correlator,
    /// Of rules that were swapped out.
    summaries: Vec<Summary>,
    mint: IdMint,
    clock_offset_ns: i64,
    waiting: VecDeque<Waiting>,
    sequence: u64,
    /// That the agent stops, told when it does.
    last_word: Option<Input>,
    counts: Counts,
    outputs: Vec<Output>,
    /// The last event time, when no more inputs come.
    finished_ns: Option<u64>,
}

impl<C: Clock> Pipeline<C> {
    /// A pipeline that has seen nothing.
    pub fn new(
        clock: C,
        mut enricher: Enricher,
        policy: Arc<Policy>,
        telemetry: Telemetry,
        masker: Masker,
    ) -> Self {
        enricher.keep_environment(&policy.plan.environment);
        Self {
            clock,
            enricher,
            policy,
            calls: telemetry.calls(),
            telemetry,
            masker,
            correlator: Correlator::default(),
            summaries: Vec::new(),
            mint: IdMint::new("", ""),
            clock_offset_ns: 0,
            waiting: VecDeque::new(),
            sequence: 0,
            last_word: None,
            counts: Counts::default(),
            outputs: Vec::new(),
            finished_ns: None,
        }
    }

    /// Puts other rules and responses in force, between two inputs.
    pub fn swap(&mut self, policy: Arc<Policy>) {
        self.enricher.keep_environment(&policy.plan.environment);
        // What the old rules have counted is theirs; what they have folded is still told.
        self.correlator.expire(&self.policy.rules, i64::MAX, &mut self.summaries);
        self.correlator = Correlator::default();
        self.policy = policy;
    }

    /// The counters.
    pub fn counts(&self) -> Counts {
        Counts { alerts_waiting: self.waiting.len() as u64, ..self.counts }
    }

    /// The context stage, for its own counters.
    pub fn enricher(&self) -> &Enricher {
        &self.enricher
    }

    /// Handles one input; what follows from it is appended to `effects`.
    pub fn handle(&mut self, input: &Input, effects: &mut Vec<Effect>) {
        self.enrich(input, effects);
        self.judge(effects);
    }

    /// The first half of [`Self::handle`], for a stopwatch between the two: the input gets its context.
    pub fn enrich(&mut self, input: &Input, effects: &mut Vec<Effect>) {
        match input {
            // What still waits is told before it.
            Input::Fact(Fact::Notice(notice)) if notice.is_last() => {
                self.last_word = Some(input.clone());
                return;
            }
            Input::Action(result) => self.conclude(result, effects),
            Input::Tick(now) => {
                self.expire(*now, effects);
                self.summarise(self.wall(*now), *now, effects);
            }
            Input::Fact(Fact::Clock { offset_ns }) => self.clock_offset_ns = *offset_ns,
            Input::Fact(Fact::Host(host)) => self.mint = host.mint(),
            Input::Gap(gap) => self.counts.lost += gap.count,
            Input::Raw(_) | Input::Fact(_) => {}
        }
        self.enricher.handle(input, &mut self.outputs);
    }

    /// The second half: rules and responses, on what the first gave.
    pub fn judge(&mut self, effects: &mut Vec<Effect>) {
        let mut outputs = std::mem::take(&mut self.outputs);
        for output in outputs.drain(..) {
            match output {
                Output::Event(event) => self.observe(event, effects),
                Output::Early(event, awaited) => self.foresee(&event, awaited, effects),
                Output::Lookup(lookup) => effects.push(Effect::Look(lookup)),
            }
        }
        self.outputs = outputs;
    }

    /// Sends out what still waits: the agent stops.
    pub fn finish(&mut self, effects: &mut Vec<Effect>) {
        let mut outputs = std::mem::take(&mut self.outputs);
        self.enricher.finish(&mut outputs);
        // A capture has ended by now: what the clock says here could not be replayed.
        self.finished_ns = Some(self.enricher.now_ns());
        for output in outputs.drain(..) {
            if let Output::Event(event) = output {
                self.observe(event, effects);
            }
        }
        self.outputs = outputs;
        self.expire(u64::MAX, effects);
        self.summarise(i64::MAX, self.enricher.now_ns(), effects);
        if let Some(last_word) = self.last_word.take() {
            self.enricher.handle(&last_word, &mut self.outputs);
            self.judge(effects);
        }
    }

    /// Tells the repeats whose window has passed: one alert for each window, about the last of them.
    /// The clock is not read, so that a replay with other rules reads it as often.
    fn summarise(&mut self, until_ns: i64, boot_ns: u64, effects: &mut Vec<Effect>) {
        let policy = Arc::clone(&self.policy);
        let mut summaries = std::mem::take(&mut self.summaries);
        self.correlator.expire(&policy.rules, until_ns, &mut summaries);
        for Summary { rule, event, count, window_ns } in summaries {
            let decision = policy.decide(&rule, &event);
            let mut alert = self.alert_of(&rule, &event, decision, boot_ns);
            alert.mode = Mode::Monitor;
            if alert.action == Action::Kill {
                alert.outcome = Outcome::WouldHave;
            }
            alert.detail = Text::from(format!(
                "{count} more within {} ms were folded into this one",
                window_ns / 1_000_000
            ));
            self.alert(&event, alert, effects);
        }
    }

    fn observe(&mut self, event: Arc<Event>, effects: &mut Vec<Effect>) {
        self.counts.received += 1;
        let policy = Arc::clone(&self.policy);
        let mut matched = Vec::new();
        policy.rules.matches(&event, &mut matched);
        self.correlator.correlate(&policy.rules, &event, &mut matched);
        if self.wanted(&event) {
            self.counts.emitted += 1;
            self.emit(Arc::clone(&event), effects);
        } else {
            self.counts.filtered += 1;
        }
        if matched.is_empty() {
            return;
        }
        let matched_boot_ns = self.finished_ns.unwrap_or_else(|| self.clock.boot_ns());
        for rule in matched {
            let decision = policy.decide(rule, &event);
            let mut alert = self.alert_of(rule, &event, decision, matched_boot_ns);
            match (alert.action, alert.mode) {
                // Actions are taken each time: only what merely tells is folded.
                (Action::Alert, _) | (Action::Kill, Mode::Monitor) if self.correlator.folds(rule, &event) => {
                }
                (Action::Alert, _) => self.alert(&event, alert, effects),
                (Action::Kill, Mode::Monitor) => {
                    alert.outcome = Outcome::WouldHave;
                    self.alert(&event, alert, effects);
                }
                (Action::Kill, Mode::Enforce) if matches!(event.body, Body::Exec { killed: true }) => {
                    alert.actor = Actor::Kernel;
                    alert.outcome = Outcome::Killed;
                    self.alert(&event, alert, effects);
                }
                (Action::Kill, Mode::Enforce) => {
                    if !self.catch_up(&event, &alert, effects) {
                        self.act(&event, alert, matched_boot_ns, false, effects);
                    }
                }
            }
        }
    }

    /// A kill does not wait until container and program are known, unless that may change the decision. The alert does.
    fn foresee(&mut self, event: &Arc<Event>, awaited: Awaited, effects: &mut Vec<Effect>) {
        let policy = Arc::clone(&self.policy);
        let mut matched = Vec::new();
        policy.rules.matches_early(event, awaited, &mut matched);
        if matched.is_empty() {
            return;
        }
        let now = self.clock.boot_ns();
        for rule in matched {
            let Some(decision) = policy.decide_early(rule, event, awaited) else { continue };
            let by_kernel = matches!(event.body, Body::Exec { killed: true });
            if (decision.action, decision.mode, by_kernel) == (Action::Kill, Mode::Enforce, false) {
                let alert = self.alert_of(rule, event, decision, now);
                // It may wait for its container and then for its program, and is foreseen each time.
                if !self.is_foreseen(&alert) {
                    self.act(event, alert, now, true, effects);
                }
            }
        }
    }

    fn is_foreseen(&self, alert: &Alert) -> bool {
        let id = self.alert_id(alert);
        self.waiting.iter().any(|waiting| waiting.early && self.alert_id(&waiting.alert) == id)
    }

    fn alert_of(&self, rule: &Rule, event: &Event, decision: Decision, matched_boot_ns: u64) -> Alert {
        Alert {
            trigger: event.id,
            rule: Arc::clone(&rule.info),
            message: rule.message(event),
            response: decision.response,
            owner: decision.owner,
            mode: decision.mode,
            action: decision.action,
            actor: Actor::None,
            outcome: Outcome::Alerted,
            detail: Text::EMPTY,
            matched_ns: self.wall(matched_boot_ns),
            responded_ns: self.wall(matched_boot_ns),
        }
    }

    /// True when this alert's action was taken before the container was known. The alert is then told with
    /// what `event` says, at once or when the result is there.
    fn catch_up(&mut self, event: &Arc<Event>, alert: &Alert, effects: &mut Vec<Effect>) -> bool {
        let id = self.alert_id(alert);
        let found = self.waiting.iter_mut().find(|waiting| {
            waiting.early
                && self.mint.derived(waiting.alert.trigger, waiting.alert.rule.name.as_bytes()) == id
        });
        let Some(waiting) = found else { return false };
        waiting.early = false;
        waiting.event = Arc::clone(event);
        waiting.alert.message = alert.message.clone();
        waiting.alert.owner = alert.owner.clone();
        if let Some(result) = waiting.result.take() {
            self.conclude(&result, effects);
        }
        true
    }

    fn act(&mut self, event: &Arc<Event>, alert: Alert, now: u64, early: bool, effects: &mut Vec<Effect>) {
        if self.waiting.len() >= MAX_WAITING {
            self.time_out(0, "too many actions wait for their result", effects);
        }
        let Some(process) = event.process.as_deref() else {
            let detail = Text::from_static("the event names no process");
            return self.alert(event, Alert { outcome: Outcome::Failed, detail, ..alert }, effects);
        };
        effects.push(Effect::Act(KillRequest {
            alert: self.alert_id(&alert),
            response: alert.response.clone(),
            pid: process.pid,
            start_boot_ns: process.start_boot_ns,
        }));
        let alert = Alert { actor: Actor::Agent, ..alert };
        self.waiting.push_back(Waiting {
            // The wait for a container is shorter than what is added.
            deadline_boot_ns: now.saturating_add(if early { EARLY_WAIT_NS } else { ACTION_WAIT_NS }),
            event: Arc::clone(event),
            alert,
            early,
            result: None,
        });
    }

    fn conclude(&mut self, result: &ActionResult, effects: &mut Vec<Effect>) {
        let at = self.waiting.iter().position(|waiting| self.alert_id(&waiting.alert) == result.alert);
        // A result that comes after its alert was sent as timed out tells nothing new.
        let Some(at) = at else { return };
        if let Some(waiting) = self.waiting.get_mut(at).filter(|waiting| waiting.early) {
            waiting.result = Some(result.clone());
            return;
        }
        let Some(Waiting { event, mut alert, .. }) = self.waiting.remove(at) else { return };
        self.settle(&mut alert, result);
        self.alert(&event, alert, effects);
    }

    fn settle(&self, alert: &mut Alert, result: &ActionResult) {
        alert.outcome = result.outcome;
        alert.detail = result.detail.clone();
        alert.responded_ns = self.wall(result.boot_ns);
    }

    fn expire(&mut self, now: u64, effects: &mut Vec<Effect>) {
        while let Some(at) = self.waiting.iter().position(|waiting| waiting.deadline_boot_ns <= now) {
            self.time_out(at, "the responder did not answer in time", effects);
        }
    }

    fn time_out(&mut self, at: usize, why: &'static str, effects: &mut Vec<Effect>) {
        if let Some(Waiting { event, mut alert, result, .. }) = self.waiting.remove(at) {
            match result {
                Some(result) => self.settle(&mut alert, &result),
                None => {
                    alert.outcome = Outcome::TimedOut;
                    alert.detail = Text::from_static(why);
                }
            }
            self.alert(&event, alert, effects);
        }
    }

    fn alert_id(&self, alert: &Alert) -> EventId {
        self.mint.derived(alert.trigger, alert.rule.name.as_bytes())
    }

    fn alert(&mut self, event: &Event, alert: Alert, effects: &mut Vec<Effect>) {
        self.counts.alerts += 1;
        let id = self.alert_id(&alert);
        self.emit(Arc::new(Event { id, alert: Some(Arc::new(alert)), ..event.clone() }), effects);
    }

    /// Numbers and masks a record; from here on nobody sees what was masked.
    fn emit(&mut self, mut event: Arc<Event>, effects: &mut Vec<Effect>) {
        self.sequence += 1;
        // The number counts what is sent, so that a receiver sees a hole when something is missing.
        Arc::make_mut(&mut event).sequence = self.sequence;
        effects.push(Effect::Emit(self.masker.mask(event)));
    }

    fn wanted(&self, event: &Event) -> bool {
        match event.kind() {
            EventKind::Exec => self.telemetry.exec,
            EventKind::Fork => self.telemetry.fork,
            EventKind::Exit => self.telemetry.exit,
            EventKind::Connect => self.telemetry.connect,
            EventKind::ConnectionEnd => self.telemetry.connection_end,
            EventKind::UdpSend => self.telemetry.udp,
            EventKind::DnsQuestion | EventKind::DnsAnswer => self.telemetry.dns,
            EventKind::Cgroup => self.telemetry.cgroup,
            EventKind::Signal => self.telemetry.signals,
            EventKind::CloseWrite => self.telemetry.close_write,
            EventKind::Open => !matches!(self.telemetry.opens, Opens::None),
            // A loss or a change of the agent is always told.
            EventKind::Gap | EventKind::Agent => true,
            call => self.calls.contains(call),
        }
    }

    fn wall(&self, boot_ns: u64) -> i64 {
        self.clock_offset_ns.saturating_add_unsigned(boot_ns)
    }
}

#[cfg(test)]
mod tests;
