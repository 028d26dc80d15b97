//! Health by the six stages that an operator walks: where does the evidence stop?

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// The stages, in the order of the path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Programs loaded and attached.
    LoadSensor,
    /// Events read from the rings.
    ObserveEvent,
    /// Process table, containers, names.
    AddContext,
    /// Rules.
    MatchPolicy,
    /// Actions.
    Respond,
    /// Sinks.
    Deliver,
}

impl Stage {
    /// All, in the order of the path.
    pub const ALL: [Self; 6] = [
        Self::LoadSensor,
        Self::ObserveEvent,
        Self::AddContext,
        Self::MatchPolicy,
        Self::Respond,
        Self::Deliver,
    ];

    /// The words in `hostward status`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::LoadSensor => "load sensor",
            Self::ObserveEvent => "observe event",
            Self::AddContext => "add context",
            Self::MatchPolicy => "match policy",
            Self::Respond => "respond",
            Self::Deliver => "deliver",
        }
    }
}

/// How a stage is; the worst of its conditions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// All as it should be.
    Ok,
    /// Works in part.
    Degraded,
    /// Does not work.
    Failed,
}

/// A stage's report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageHealth {
    /// Which stage.
    pub stage: Stage,
    /// How it is.
    pub state: State,
    /// Since when, ns since the epoch.
    pub since_ns: i64,
    /// Why it is not ok, one sentence each.
    pub why: Vec<String>,
    /// What is worth knowing though nothing is wrong.
    pub notes: Vec<String>,
}

#[derive(Debug)]
struct Entry {
    state: State,
    since_ns: i64,
    conditions: BTreeMap<&'static str, (State, String)>,
    notes: BTreeMap<&'static str, Vec<String>>,
}

/// The shared board on which every part writes its conditions.
#[derive(Debug)]
pub struct Health {
    stages: Mutex<BTreeMap<Stage, Entry>>,
}

impl Health {
    /// All stages ok since `now_ns`.
    pub fn new(now_ns: i64) -> Self {
        let entry = |stage| {
            let entry = Entry {
                state: State::Ok,
                since_ns: now_ns,
                conditions: BTreeMap::new(),
                notes: BTreeMap::new(),
            };
            (stage, entry)
        };
        Self { stages: Mutex::new(Stage::ALL.into_iter().map(entry).collect()) }
    }

    fn with<T>(&self, act: impl FnOnce(&mut BTreeMap<Stage, Entry>) -> T) -> T {
        // A panic elsewhere must not take the board down: its data are plain values.
        act(&mut self.stages.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Sets condition `key` of `stage`, or clears it with [`State::Ok`].
    pub fn set(&self, stage: Stage, key: &'static str, state: State, why: impl Into<String>, now_ns: i64) {
        self.with(|stages| {
            let Some(entry) = stages.get_mut(&stage) else { return };
            if state == State::Ok {
                entry.conditions.remove(key);
            } else {
                entry.conditions.insert(key, (state, why.into()));
            }
            let worst = entry.conditions.values().map(|(state, _)| *state).max().unwrap_or(State::Ok);
            if worst != entry.state {
                entry.state = worst;
                entry.since_ns = now_ns;
            }
        });
    }

    /// Sets the notes under `key`.
    pub fn note(&self, stage: Stage, key: &'static str, notes: Vec<String>) {
        self.with(|stages| {
            if let Some(entry) = stages.get_mut(&stage) {
                entry.notes.insert(key, notes);
            }
        });
    }

    /// Every stage's report.
    pub fn report(&self) -> Vec<StageHealth> {
        self.with(|stages| {
            let report = |(stage, entry): (&Stage, &Entry)| StageHealth {
                stage: *stage,
                state: entry.state,
                since_ns: entry.since_ns,
                why: entry.conditions.values().map(|(_, why)| why.clone()).collect(),
                notes: entry.notes.values().flatten().cloned().collect(),
            };
            stages.iter().map(report).collect()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_condition_counts_and_since_moves_with_it() {
        let health = Health::new(1);
        health.set(Stage::Deliver, "a", State::Degraded, "slow", 2);
        health.set(Stage::Deliver, "b", State::Failed, "dead", 3);
        let deliver = |health: &Health| health.report().pop().unwrap();
        assert_eq!((deliver(&health).state, deliver(&health).since_ns), (State::Failed, 3));
        health.set(Stage::Deliver, "b", State::Ok, "", 4);
        assert_eq!(deliver(&health).why, ["slow"]);
        health.set(Stage::Deliver, "a", State::Ok, "", 5);
        assert_eq!((deliver(&health).state, deliver(&health).since_ns), (State::Ok, 5));
    }
}
