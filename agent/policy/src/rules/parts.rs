//! The values of a rule entry, and what becomes of them: a rule, or a change of one.

use super::collect::RuleBody;
use super::correlation::{self, Correlation};
use super::exception::{self, Exception};
use super::merge::Merge;
use crate::entry::Entry;
use crate::problem::{Fault, did_you_mean, shorten};
use crate::sourced::{Sourced, Sources};
use hostward_event::event::Priority;
use std::collections::HashMap;

/// The values of a rule entry; each may be absent in an override.
pub(super) struct Parts {
    description: Option<String>,
    pub(super) condition: Option<Sourced>,
    output: Option<Sourced>,
    priority: Option<Priority>,
    tags: Option<Vec<String>>,
    exceptions: Option<Vec<Exception>>,
    pub(super) enabled: Option<bool>,
    tolerates_unknown_fields: Option<bool>,
    correlation: Option<Correlation>,
}

impl Parts {
    pub(super) fn read(entry: &mut Entry<'_>, sources: &mut Sources<'_>) -> Self {
        let correlation = correlation::read(entry, sources);
        let condition = match entry.sourced("condition", sources) {
            // It matches by what its rules match.
            None if correlation.as_ref().is_some_and(|how| !how.sequence.is_empty()) => {
                let mut never = Sourced::default();
                never.push("evt.num = 0");
                Some(never)
            }
            condition => condition,
        };
        Self {
            correlation,
            description: entry.text("desc", sources).map(|scalar| scalar.text.trim_end().to_owned()),
            condition,
            output: entry.sourced("output", sources),
            priority: priority(entry, sources),
            tags: entry
                .texts("tags", sources)
                .map(|tags| tags.into_iter().map(|scalar| scalar.text.clone()).collect()),
            exceptions: exception::read(entry, sources),
            enabled: entry.boolean("enabled", sources),
            tolerates_unknown_fields: entry.boolean("skip-if-unknown-filter", sources),
        }
    }

    pub(super) fn define(
        self,
        entry: &mut Entry<'_>,
        hash: u64,
        sources: &mut Sources<'_>,
    ) -> Option<RuleBody> {
        for key in ["desc", "condition", "output", "priority"] {
            let by_sequence = key == "condition" && self.condition.is_some();
            if entry.value(key).is_none() && !by_sequence {
                entry.error(
                    entry.at,
                    Fault::new(0, format!("rule has no `{key}`"), format!("add `{key}:`")),
                    sources,
                );
            }
        }
        Some(RuleBody {
            description: self.description?,
            condition: self.condition?,
            output: self.output?,
            priority: self.priority?,
            tags: self.tags.unwrap_or_default(),
            exceptions: self.exceptions.unwrap_or_default(),
            enabled: self.enabled.unwrap_or(true),
            tolerates_unknown_fields: self.tolerates_unknown_fields.unwrap_or(false),
            correlation: self.correlation,
            file_hash: hash,
        })
    }

    pub(super) fn merge_into(self, rule: &mut RuleBody, merges: &HashMap<&'static str, Merge>) {
        let appends = |key: &str| merges.get(key) == Some(&Merge::Append);
        let append = |old: &mut Sourced, new: Sourced| {
            old.push(" ");
            old.join(&new);
        };
        match self.condition {
            Some(new) if appends("condition") => append(&mut rule.condition, new),
            Some(new) => rule.condition = new,
            None => {}
        }
        match self.output {
            Some(new) if appends("output") => append(&mut rule.output, new),
            Some(new) => rule.output = new,
            None => {}
        }
        match self.description {
            Some(new) if appends("desc") => rule.description = format!("{} {new}", rule.description),
            Some(new) => rule.description = new,
            None => {}
        }
        match self.tags {
            Some(new) if appends("tags") => rule.tags.extend(new),
            Some(new) => rule.tags = new,
            None => {}
        }
        match self.exceptions {
            Some(new) if appends("exceptions") => exception::append(&mut rule.exceptions, new),
            Some(new) => rule.exceptions = new,
            None => {}
        }
        if self.correlation.is_some() {
            rule.correlation = self.correlation;
        }
        rule.priority = self.priority.unwrap_or(rule.priority);
        rule.enabled = self.enabled.unwrap_or(rule.enabled);
        rule.tolerates_unknown_fields =
            self.tolerates_unknown_fields.unwrap_or(rule.tolerates_unknown_fields);
    }
}

fn priority(entry: &mut Entry<'_>, sources: &mut Sources<'_>) -> Option<Priority> {
    let scalar = entry.text("priority", sources)?;
    let priority = Priority::parse(scalar.text.trim());
    if priority.is_none() {
        let names = Priority::ALL.map(Priority::name);
        let hint = match did_you_mean(&scalar.text, names) {
            hint if hint.is_empty() => format!("priorities are {}", names.join(", ")),
            hint => hint,
        };
        let reason = format!("unknown priority `{}`", shorten(&scalar.text));
        entry.error(scalar.start, Fault::new(0, reason, hint), sources);
    }
    priority
}
