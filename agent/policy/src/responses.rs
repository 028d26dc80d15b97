//! Responses: which rule matches are answered, how, and by whom they are owned.
//!
//! They stand in files of their own, so that a rule file from elsewhere is never edited. A
//! response with any mistake does not load at all: half a response might act where its author did
//! not mean it to.

use crate::condition::Condition;
use crate::entry::{Entry, documents};
use crate::problem::{Fault, Problem, Severity, did_you_mean, shorten};
use crate::rules::Selector;
use crate::sourced::{Place, Sourced, Sources};
use crate::{Rule, RuleFile, RuleSet};
use hostward_event::event::{Action, Mode};
use hostward_event::registry::Awaited;
use hostward_event::{Event, Text};
use std::collections::{HashMap, HashSet};

const KEYS: [&str; 7] = ["response", "rules", "tags", "when", "mode", "actions", "owner"];
/// Keys and actions that the language has and this version does not.
const LATER_KEYS: [&str; 2] = ["rollout", "on_unsupported"];
const LATER_ACTIONS: [&str; 5] = ["deny", "isolate", "freeze", "quarantine", "ticket"];

/// One response.
#[derive(Clone, Debug)]
pub struct Response {
    /// Its name.
    pub name: Text,
    /// Who owns what it does; empty when it names nobody.
    pub owner: Text,
    /// Whether it acts or only records what it would have done.
    pub mode: Mode,
    /// What it does, as the file lists it.
    pub actions: Vec<Action>,
    /// Where it stands: `responses.d/10-default.yaml:12`.
    pub source: Text,
    when: Option<Condition>,
}

impl Response {
    /// The strongest of its actions.
    pub fn action(&self) -> Action {
        self.actions.iter().copied().max().unwrap_or(Action::Alert)
    }
}

/// All responses that loaded, by the rules they answer.
#[derive(Clone, Debug, Default)]
pub struct Responses {
    list: Vec<Response>,
    /// Rule name to responses, the strongest first.
    by_rule: HashMap<Text, Vec<usize>>,
}

impl Responses {
    /// Loads response files for `rules`. What does not load is among the problems.
    pub fn load(files: &[RuleFile], rules: &RuleSet) -> (Self, Vec<Problem>) {
        let mut sources = Sources::new(files);
        let mut responses = Self::default();
        let mut names = HashSet::new();
        for (file, raw) in files.iter().enumerate() {
            for node in documents(file, raw, &mut sources) {
                let Some(mut entry) = Entry::new(file, &node, &mut sources) else { continue };
                if let Some((response, selectors)) = read(&mut entry, &mut names, rules, &mut sources) {
                    responses.add(response, &selectors, rules);
                }
            }
        }
        for list in responses.by_rule.values_mut() {
            // A kill that is only recorded tells more than an alert that is enforced.
            let strength =
                |n: &usize| responses.list.get(*n).map(|response| (response.action(), response.mode));
            list.sort_by_key(|n| std::cmp::Reverse(strength(n)));
        }
        (responses, sources.into_problems())
    }

    fn add(&mut self, response: Response, selectors: &[Selector], rules: &RuleSet) {
        let number = self.list.len();
        for rule in rules.iter().filter(|rule| selectors.iter().any(|selector| selector.selects(rule))) {
            self.by_rule.entry(rule.info.name.clone()).or_default().push(number);
        }
        self.list.push(response);
    }

    /// The strongest response to a match of `rule` by `event`: kill before alert, enforce before
    /// monitor, then the order of the files. None when no response applies.
    pub fn decide(&self, rule: &Rule, event: &Event) -> Option<&Response> {
        self.of_rule(rule).find(|response| response.when.as_ref().is_none_or(|when| when.matches(event)))
    }

    /// As [`Responses::decide`], for an event of which `awaited` may yet be told: none as well when that may change
    /// the decision.
    pub fn decide_early(&self, rule: &Rule, event: &Event, awaited: Awaited) -> Option<&Response> {
        let waits =
            |response: &&Response| response.when.as_ref().is_some_and(|when| when.awaits().meets(awaited));
        let fits = |response: &&Response| response.when.as_ref().is_none_or(|when| when.matches(event));
        self.of_rule(rule)
            .find(|response| waits(response) || fits(response))
            .filter(|response| !waits(response))
    }

    /// True when every match of `rule` is answered by a kill that is enforced.
    pub(crate) fn kills_in_kernel(&self, rule: &Rule) -> bool {
        self.of_rule(rule).any(|response| {
            response.action() == Action::Kill && response.mode == Mode::Enforce && response.when.is_none()
        })
    }

    fn of_rule(&self, rule: &Rule) -> impl Iterator<Item = &Response> {
        let list = self.by_rule.get(&rule.info.name).map(Vec::as_slice).unwrap_or_default();
        list.iter().filter_map(|n| self.list.get(*n))
    }

    /// All responses, in file order.
    pub fn iter(&self) -> std::slice::Iter<'_, Response> {
        self.list.iter()
    }

    /// Number of responses.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// True when none loaded.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }
}

impl<'r> IntoIterator for &'r Responses {
    type Item = &'r Response;
    type IntoIter = std::slice::Iter<'r, Response>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

fn read(
    entry: &mut Entry<'_>,
    names: &mut HashSet<String>,
    rules: &RuleSet,
    sources: &mut Sources<'_>,
) -> Option<(Response, Vec<Selector>)> {
    if entry.value("response").is_none() {
        let first = entry.keys().next().map(|key| key.text.clone()).unwrap_or_default();
        let reason = format!("entry that begins with `{}` is no response", shorten(&first));
        entry.error(entry.at, Fault::new(0, reason, "begin it with `- response: NAME`"), sources);
        return None;
    }
    let name = entry.sourced("response", sources)?.text().trim().to_owned();
    entry.name = Some(name.clone());
    if !names.insert(name.clone()) {
        let reason = format!("response `{}` is defined twice", shorten(&name));
        entry.error(entry.key_at("response"), Fault::new(0, reason, "give each its own name"), sources);
    }
    for key in LATER_KEYS {
        if entry.value(key).is_none() {
            continue;
        }
        let reason = format!("key `{key}` is not supported yet");
        let hint = "remove it; without it the response applies to every host and container";
        entry.error(entry.key_at(key), Fault::new(0, reason, hint), sources);
    }
    entry.check_keys(&[&KEYS[..], &LATER_KEYS[..]].concat(), &[], sources);
    let selectors = selectors(entry, rules, sources);
    let mode = mode(entry, sources);
    let actions = actions(entry, sources);
    let when = entry.sourced("when", sources).and_then(|text| when(entry, &text, sources));
    let owner = entry.text("owner", sources).map_or(Text::EMPTY, |owner| Text::from(owner.text.trim()));
    if entry.failed {
        return None;
    }
    let place = Place { file: entry.file, byte: entry.key_at("response") };
    let source = Text::from(format!("{}:{}", sources.name(place.file), sources.line_column(place).0));
    Some((Response { name: Text::from(name), owner, mode, actions, source, when }, selectors))
}

fn selectors(entry: &mut Entry<'_>, rules: &RuleSet, sources: &mut Sources<'_>) -> Vec<Selector> {
    let mut selectors = Vec::new();
    for (key, make) in [("rules", Selector::name as fn(&str) -> Selector), ("tags", Selector::tag)] {
        for scalar in entry.texts(key, sources).unwrap_or_default() {
            let selector = make(&scalar.text);
            if !rules.iter().any(|rule| selector.selects(rule)) {
                let names = rules.iter().map(|rule| rule.info.name.to_string()).collect::<Vec<_>>();
                let hint = match did_you_mean(&scalar.text, names.iter().map(String::as_str)) {
                    hint if hint.is_empty() || key == "tags" => "`hostward rules list` shows all".to_owned(),
                    hint => hint,
                };
                let reason = format!("no rule fits `{}` in `{key}`", shorten(&scalar.text));
                entry.report(Severity::Warning, scalar.start, Fault::new(0, reason, hint), sources);
            }
            selectors.push(selector);
        }
    }
    if selectors.is_empty() && !entry.failed {
        let fault =
            Fault::new(0, "response names no rules", "add `rules: [NAME]` (globs work) or `tags: [TAG]`");
        entry.error(entry.at, fault, sources);
    }
    selectors
}

fn mode(entry: &mut Entry<'_>, sources: &mut Sources<'_>) -> Mode {
    let modes = [Mode::Monitor, Mode::Enforce];
    // Who does not say it does not want anything to be killed.
    let Some(scalar) = entry.text("mode", sources) else { return Mode::Monitor };
    modes.into_iter().find(|mode| mode.name() == scalar.text).unwrap_or_else(|| {
        let hint = match did_you_mean(&scalar.text, modes.map(Mode::name)) {
            hint if hint.is_empty() => "write monitor or enforce".to_owned(),
            hint => hint,
        };
        entry.error(
            scalar.start,
            Fault::new(0, format!("unknown mode `{}`", shorten(&scalar.text)), hint),
            sources,
        );
        Mode::Monitor
    })
}

fn actions(entry: &mut Entry<'_>, sources: &mut Sources<'_>) -> Vec<Action> {
    let known = [Action::Alert, Action::Kill];
    let mut actions = Vec::new();
    for scalar in entry.texts("actions", sources).unwrap_or_default() {
        let word = scalar.text.as_str();
        if let Some(action) = known.into_iter().find(|action| action.name() == word) {
            actions.push(action);
            continue;
        }
        let fault = if LATER_ACTIONS.contains(&word) {
            Fault::new(0, format!("action `{word}` is not supported yet"), "supported are alert and kill")
        } else {
            let hint = match did_you_mean(word, known.map(Action::name)) {
                hint if hint.is_empty() => "supported are alert and kill".to_owned(),
                hint => hint,
            };
            Fault::new(0, format!("unknown action `{}`", shorten(word)), hint)
        };
        entry.error(scalar.start, fault, sources);
    }
    if actions.is_empty() && !entry.failed {
        entry.error(
            entry.at,
            Fault::new(0, "response has no actions", "add `actions: [alert]` or `[kill]`"),
            sources,
        );
    }
    actions
}

fn when(entry: &mut Entry<'_>, text: &Sourced, sources: &mut Sources<'_>) -> Option<Condition> {
    match Condition::compile(text.text()) {
        Ok(condition) => Some(condition),
        Err(faults) => {
            entry.failed = true;
            for fault in faults {
                text.report(Severity::Error, entry.name.as_deref(), fault, sources);
            }
            None
        }
    }
}
