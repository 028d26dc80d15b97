//! What loads and does nothing: for `hostward rules check`, not for the agent.

use super::collect::Collection;
use super::exception;
use super::set::Rule;
use crate::condition::never;
use crate::problem::{Fault, Severity};
use crate::sourced::Sources;
use std::collections::HashSet;

/// Reports macros and lists that nothing uses, macros that a list of the same name hides, rules whose condition
/// contradicts itself, and sequences of which a step never comes.
pub(super) fn lint(collection: &Collection, rules: &[Rule], sources: &mut Sources<'_>) {
    let mut used: HashSet<String> = HashSet::new();
    for ranked in &collection.macros.list {
        used.extend(words(ranked.body.text()).filter(|word| *word != ranked.name).map(str::to_owned));
    }
    for rule in &collection.rules.list {
        let whole = exception::apply(&rule.body.condition, &rule.body.exceptions);
        used.extend(words(whole.text()).map(str::to_owned));
    }
    for list in &collection.lists.list {
        used.extend(list.body.iter().map(|(item, _)| item.clone()).filter(|item| *item != list.name));
    }
    for ranked in &collection.macros.list {
        if collection.lists.find(&ranked.name).is_some() {
            let reason = format!("list `{}` hides the macro of the same name", ranked.name);
            let fault = Fault::new(0, reason, "a list's name is replaced in the text first; rename one");
            sources.report(Severity::Warning, Some(&ranked.name), ranked.place, fault);
        } else if !used.contains(ranked.name.as_str()) {
            let fault = Fault::new(0, format!("macro `{}` is not used", ranked.name), "");
            sources.report(Severity::Note, Some(&ranked.name), ranked.place, fault);
        }
    }
    for ranked in &collection.lists.list {
        if !used.contains(ranked.name.as_str()) {
            let fault = Fault::new(0, format!("list `{}` is not used", ranked.name), "");
            sources.report(Severity::Note, Some(&ranked.name), ranked.place, fault);
        }
    }
    for rule in rules.iter().filter(|rule| !rule.kinds().is_empty() && never(rule.expr())) {
        let name = rule.info.name.to_string();
        let Some(ranked) = collection.rules.find(&name) else { continue };
        let fault = Fault::new(
            0,
            "rule can never match: parts of its condition exclude each other",
            "`hostward rules explain` shows the condition with all macros put in",
        );
        sources.report(Severity::Warning, Some(&name), ranked.place, fault);
    }
    steps(collection, rules, sources);
}

/// A step that is turned off never matches, and the sequence is never whole.
fn steps(collection: &Collection, rules: &[Rule], sources: &mut Sources<'_>) {
    for ranked in &collection.rules.list {
        for step in ranked.body.correlation.iter().flat_map(|how| &how.sequence) {
            let found = rules.iter().find(|rule| rule.info.name.as_bytes() == step.as_bytes());
            let why = match found {
                Some(rule) if rule.enabled => continue,
                Some(_) => "is turned off",
                None => "did not load",
            };
            let reason = format!("sequence is never whole: its step `{step}` {why}");
            let fault = Fault::new(0, reason, "enable the step, or take it out of the sequence");
            sources.report(Severity::Warning, Some(&ranked.name), ranked.place, fault);
        }
    }
}

/// All that could be a name.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| c.is_whitespace() || matches!(c, '(' | ')' | ',' | '=' | '"' | '\''))
}
