//! Several matches that are one alert: counts, sequences, repeats.
//!
//! # How it works
//! All is decided by the times of the events, so that a replay decides the same. `count` keeps the times of the last
//! matches of each key; `sequence` keeps how far each key has come, and when it began; `dedup` lets the first of a
//! window through and gives one [`Summary`] of the others when the window has passed.
//!
//! # What can go wrong
//! *More keys than [`MAX_KEYS`] of a rule at once*: the one that came first is forgotten: a count or sequence begins
//! anew, a summary is given early.

use crate::rules::{Correlation, Rule, RuleSet};
use hostward_event::Event;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// Keys of one rule that are remembered.
const MAX_KEYS: usize = 4_096;

/// Repeats of an alert.
#[derive(Clone, Debug)]
pub struct Summary {
    /// The rule.
    pub rule: Rule,
    /// The last of them.
    pub event: Arc<Event>,
    /// How many, without the one that was told.
    pub count: u64,
    /// In how many ns.
    pub window_ns: i64,
}

/// Remembered by key, the oldest key first to go.
#[derive(Debug)]
struct Keys<T> {
    map: HashMap<Box<[u8]>, T>,
    order: VecDeque<Box<[u8]>>,
}

impl<T> Default for Keys<T> {
    fn default() -> Self {
        Self { map: HashMap::new(), order: VecDeque::new() }
    }
}

impl<T: Default> Keys<T> {
    /// The state of `key`, and what had to go for it.
    fn at(&mut self, key: Box<[u8]>) -> (&mut T, Option<T>) {
        let mut gone = None;
        if !self.map.contains_key(&key) {
            if self.map.len() >= MAX_KEYS {
                gone = self.order.pop_front().and_then(|old| self.map.remove(&old));
            }
            self.order.push_back(key.clone());
        }
        (self.map.entry(key).or_default(), gone)
    }
}

#[derive(Debug, Default)]
struct Progress {
    step: usize,
    began_ns: i64,
}

#[derive(Debug, Default)]
struct Window {
    began_ns: Option<i64>,
    folded: u64,
    last: Option<Arc<Event>>,
}

#[derive(Debug, Default)]
struct State {
    times: Keys<VecDeque<i64>>,
    progress: Keys<Progress>,
    windows: Keys<Window>,
}

/// What is remembered of all rules. It belongs to one [`RuleSet`] and is given up with it.
#[derive(Debug, Default)]
pub struct Correlator {
    states: HashMap<hostward_event::Text, State>,
    due: Vec<Summary>,
}

impl Correlator {
    /// Takes out of `matched` what does not make an alert yet, and adds the sequences that `event` completes.
    pub fn correlate<'s>(&mut self, rules: &'s RuleSet, event: &Event, matched: &mut Vec<&'s Rule>) {
        matched.retain(|rule| {
            rule.correlation().is_none_or(|how| how.count < 2 || self.counts(rule, how, event))
        });
        if matched.is_empty() {
            return;
        }
        for rule in rules.sequences() {
            let Some(how) = rule.correlation() else { continue };
            let state = self.states.entry(rule.info.name.clone()).or_default();
            let (progress, _) = state.progress.at(how.by.of(event));
            if progress.step > 0 && event.time_ns.saturating_sub(progress.began_ns) > how.within_ns {
                progress.step = 0;
            }
            let fits = |step: usize| {
                let name = how.sequence.get(step).map(String::as_bytes);
                matched.iter().any(|rule| Some(rule.info.name.as_bytes()) == name)
            };
            if !fits(progress.step) {
                continue;
            }
            if progress.step == 0 {
                progress.began_ns = event.time_ns;
            }
            progress.step += 1;
            if progress.step == how.sequence.len() {
                progress.step = 0;
                matched.push(rule);
            }
        }
    }

    fn counts(&mut self, rule: &Rule, how: &Correlation, event: &Event) -> bool {
        let state = self.states.entry(rule.info.name.clone()).or_default();
        let (times, _) = state.times.at(how.by.of(event));
        while times.front().is_some_and(|first| event.time_ns.saturating_sub(*first) > how.within_ns) {
            times.pop_front();
        }
        times.push_back(event.time_ns);
        let reached = times.len() >= usize::try_from(how.count).unwrap_or(usize::MAX);
        if reached {
            times.clear();
        }
        reached
    }

    /// True when this alert repeats one and is not to be told: a summary will.
    pub fn folds(&mut self, rule: &Rule, event: &Arc<Event>) -> bool {
        let Some(dedup) = rule.correlation().and_then(|how| how.dedup.as_ref()) else { return false };
        let state = self.states.entry(rule.info.name.clone()).or_default();
        let (window, gone) = state.windows.at(dedup.by.of(event));
        self.due.extend(gone.and_then(|window| summary(rule, window, dedup.window_ns)));
        let open =
            window.began_ns.is_some_and(|began| event.time_ns.saturating_sub(began) <= dedup.window_ns);
        if open {
            window.folded += 1;
            window.last = Some(Arc::clone(event));
        } else {
            let old =
                std::mem::replace(window, Window { began_ns: Some(event.time_ns), folded: 0, last: None });
            self.due.extend(summary(rule, old, dedup.window_ns));
        }
        open
    }

    /// Gives the summaries of windows that have passed at `now_ns`, in the order of rules and keys.
    pub fn expire(&mut self, rules: &RuleSet, now_ns: i64, out: &mut Vec<Summary>) {
        out.append(&mut self.due);
        for rule in rules {
            let Some(dedup) = rule.correlation().and_then(|how| how.dedup.as_ref()) else { continue };
            let Some(state) = self.states.get_mut(&rule.info.name) else { continue };
            let passed = |window: &Window| {
                window.began_ns.is_none_or(|began| now_ns.saturating_sub(began) > dedup.window_ns)
            };
            let Keys { map, order } = &mut state.windows;
            order.retain(|key| match map.get(key).is_some_and(passed) {
                true => {
                    out.extend(map.remove(key).and_then(|window| summary(rule, window, dedup.window_ns)));
                    false
                }
                false => true,
            });
        }
    }
}

fn summary(rule: &Rule, window: Window, window_ns: i64) -> Option<Summary> {
    let event = window.last.filter(|_| window.folded > 0)?;
    Some(Summary { rule: rule.clone(), event, count: window.folded, window_ns })
}
