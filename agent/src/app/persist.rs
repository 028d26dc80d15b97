//! What programs in the kernel kept while no agent ran, told when one comes.

use super::line::Message;
use super::notice;
use crate::health::{Health, Stage, State};
use hostward_event::fact::{Fact, Input, SeedProcess};
use hostward_sensor::{Drained, Inherited, Sensor};
use std::sync::mpsc::SyncSender;

/// What is told once the pinned rings are read up to where the agent came.
#[derive(Debug, Default)]
pub struct Late {
    /// Processes that began since the agent before went: the rings have their story, which comes first.
    pub seeds: Vec<SeedProcess>,
    /// Read from elsewhere already.
    so_far: Option<Drained>,
    killed: bool,
}

/// Says in log and health whether programs outlive this agent.
pub fn tell(sensor: &Sensor, health: &Health) {
    if let Some(dir) = sensor.pinned() {
        let note = format!(
            "the programs in the kernel are pinned at {}: kills at exec go on and events are kept while no agent runs",
            dir.display()
        );
        tracing::info!("{note}");
        health.note(Stage::LoadSensor, "persist", vec![note]);
    }
    if let Some(why) = sensor.unpinned() {
        let what = if sensor.pinned().is_some() { "not all programs outlive" } else { "no program outlives" };
        let why = format!("sensor.persist: {what} the agent: {why}");
        tracing::warn!("{why}");
        health.set(Stage::LoadSensor, "persist", State::Degraded, why, crate::clock::wall_ns());
    }
}

/// Hands over what programs of another build had collected. Gives what has to wait for the rings that go on.
pub fn hand_over(
    inherited: Inherited,
    seeds: Vec<SeedProcess>,
    line: &SyncSender<Message>,
    health: &Health,
) -> Late {
    let Inherited { inputs, drained, killed, goes_on, troubles, .. } = inherited;
    for why in &troubles {
        tracing::warn!("{why}");
        send(line, Fact::Notice(notice("backlog_lost", why.clone(), false)));
    }
    if !troubles.is_empty() {
        let why = troubles.join("; ");
        health.set(Stage::LoadSensor, "pins", State::Degraded, why, crate::clock::wall_ns());
    }
    if !inputs.is_empty() {
        let _ = line.send(Message::Inputs(inputs));
    }
    let late = Late { seeds, so_far: drained, killed };
    match (goes_on, drained) {
        (true, _) => return late,
        (false, Some(drained)) => late.finish(drained, line, health),
        (false, None) => late.seed(line),
    }
    Late::default()
}

impl Late {
    /// All is read: tells it.
    pub fn drained(mut self, drained: Drained, line: &SyncSender<Message>, health: &Health) {
        let all = self.so_far.take().map_or(drained, |before| before.and(drained));
        self.finish(all, line, health);
    }

    fn finish(self, drained: Drained, line: &SyncSender<Message>, health: &Health) {
        let message = message(&drained, self.killed);
        tracing::info!("{message}");
        health.note(Stage::ObserveEvent, "backlog", vec![message.clone()]);
        let success = drained.lost == 0 && !self.killed;
        self.seed(line);
        send(line, Fact::Notice(notice("backlog_read", message, success)));
    }

    fn seed(self, line: &SyncSender<Message>) {
        let seeds = self.seeds.into_iter().map(|seed| Input::Fact(Fact::Process(Box::new(seed))));
        let _ = line.send(Message::Inputs(seeds.collect()));
    }
}

/// The pipeline is gone only when the agent ends.
fn send(line: &SyncSender<Message>, fact: Fact) {
    let _ = line.send(Message::Inputs(vec![Input::Fact(fact)]));
}

fn message(drained: &Drained, killed: bool) -> String {
    let span_ms = drained.last_boot_ns.saturating_sub(drained.first_boot_ns) / 1_000_000;
    let after = if killed {
        "; the agent before ended without a stop, so what it held back or had only in memory is lost besides"
    } else {
        ""
    };
    format!(
        "{} events over {}.{:03} s that the kernel kept while no agent ran were read, {} were lost{after}",
        drained.events,
        span_ms / 1000,
        span_ms % 1000,
        drained.lost
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_has_number_span_and_loss() {
        let drained =
            Drained { events: 7, lost: 2, first_boot_ns: 5_000_000_000, last_boot_ns: 66_042_000_000 };
        let stopped = message(&drained, false);
        assert_eq!(
            stopped,
            "7 events over 61.042 s that the kernel kept while no agent ran were read, 2 were lost"
        );
        assert!(message(&drained, true).contains("without a stop"));
    }
}
