//! The rules in force.

use super::correlation::Correlation;
use super::output::Output;
use crate::condition::{Expr, Glob, Program};
use crate::matcher::Matcher;
use hostward_event::event::RuleInfo;
use hostward_event::kind::KIND_NUMBERS;
use hostward_event::registry::{Awaited, Type};
use hostward_event::{Event, KindSet, Text};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// One rule that loaded.
#[derive(Clone, Debug)]
pub struct Rule {
    /// What alerts say of it.
    pub info: Arc<RuleInfo>,
    /// False when the file or the selection turns it off: it never matches.
    pub enabled: bool,
    pub(super) body: Arc<Body>,
}

/// The compiled parts, shared by copies of the rule.
#[derive(Debug)]
pub(super) struct Body {
    pub(super) expr: Expr,
    pub(super) program: Program,
    pub(super) output: Output,
    pub(super) kinds: KindSet,
    pub(super) awaits: Awaited,
    pub(super) correlation: Option<Correlation>,
}

impl Rule {
    /// True when the rule's condition holds for `event`, whether the rule is enabled or not.
    pub fn matches(&self, event: &Event) -> bool {
        self.body.kinds.contains(event.kind()) && self.body.program.holds(event)
    }

    /// The output, formatted: safe text without control characters.
    pub fn message(&self, event: &Event) -> Text {
        self.body.output.format(event)
    }

    /// Kinds of event that the condition can match; empty for a rule that waits for events which
    /// this version does not observe.
    pub fn kinds(&self) -> KindSet {
        self.body.kinds
    }

    /// The condition with lists, macros and exceptions put in: a text that means the same.
    pub fn expanded(&self) -> String {
        self.body.expr.to_string()
    }

    pub(crate) fn correlation(&self) -> Option<&Correlation> {
        self.body.correlation.as_ref()
    }

    /// What makes several matches one alert, in words; none: each match is one.
    pub fn correlates(&self) -> Option<String> {
        let how = self.correlation()?;
        let mut parts = Vec::new();
        if !how.sequence.is_empty() {
            parts.push(format!("sequence {}", how.sequence.join(", then ")));
        }
        if how.count > 1 {
            parts.push(format!("{} matches", how.count));
        }
        if how.within_ns > 0 {
            parts.push(format!("by {} within {} ms", how.by, how.within_ns / 1_000_000));
        }
        if let Some(dedup) = &how.dedup {
            parts.push(format!("repeats by {} folded for {} ms", dedup.by, dedup.window_ns / 1_000_000));
        }
        Some(parts.join(", "))
    }

    /// Each match is an alert: no count has to be reached, no sequence to be completed.
    pub fn is_immediate(&self) -> bool {
        self.correlation().is_none_or(|how| how.count < 2 && how.sequence.is_empty())
    }

    pub(crate) fn expr(&self) -> &Expr {
        &self.body.expr
    }

    /// True when one of the tags is `tag`, in any case.
    fn has_tag(&self, tag: &str) -> bool {
        self.info.tags.iter().any(|known| known.as_bytes().eq_ignore_ascii_case(tag.as_bytes()))
    }
}

/// Rules by name or glob (`Write below *`), or by tag (`tag=T1059`).
#[derive(Clone, Debug)]
pub(crate) struct Selector {
    glob: Glob,
    tag: Option<String>,
}

impl Selector {
    pub(crate) fn name(pattern: &str) -> Self {
        Self { glob: Glob::new(pattern.as_bytes(), false), tag: None }
    }

    pub(crate) fn tag(tag: &str) -> Self {
        Self { tag: Some(tag.to_owned()), ..Self::name("") }
    }

    fn parse(text: &str) -> Self {
        match text.strip_prefix("tag=") {
            Some(tag) => Self::tag(tag),
            None => Self::name(text),
        }
    }

    pub(crate) fn selects(&self, rule: &Rule) -> bool {
        match &self.tag {
            Some(tag) => rule.has_tag(tag),
            None => self.glob.matches(rule.info.name.as_bytes()),
        }
    }
}

/// All rules that loaded, indexed by the kind of event they can match.
#[derive(Clone, Debug, Default)]
pub struct RuleSet {
    rules: Vec<Rule>,
    /// Of the enabled rules.
    matcher: Arc<Matcher>,
    /// Of the rules that match an event only the first counts.
    first_only: bool,
    sequences: Vec<usize>,
    counts: Arc<Counts>,
}

/// What came and what matched since the set was made; the copies of a set count together.
#[derive(Debug, Default)]
struct Counts {
    /// Events by the number of their kind.
    seen: Vec<AtomicU64>,
    /// Matches by the place of the rule.
    matched: Vec<AtomicU64>,
}

/// One thread matches: reading and writing apart loses nothing, and costs less than a locked addition.
fn count(counters: &[AtomicU64], at: usize) {
    if let Some(counter) = counters.get(at) {
        counter.store(counter.load(Relaxed).wrapping_add(1), Relaxed);
    }
}

impl RuleSet {
    pub(super) fn new(rules: Vec<Rule>) -> Self {
        let zeros = |count: usize| (0..count).map(|_| AtomicU64::new(0)).collect();
        let counts = Arc::new(Counts { seen: zeros(KIND_NUMBERS), matched: zeros(rules.len()) });
        let matcher = Arc::default();
        let mut set = Self { rules, matcher, first_only: false, sequences: Vec::new(), counts };
        set.index();
        set
    }

    fn index(&mut self) {
        let sequence = |rule: &Rule| rule.correlation().is_some_and(|how| !how.sequence.is_empty());
        let enabled = self.rules.iter().enumerate().filter(|(_, rule)| rule.enabled && sequence(rule));
        self.sequences = enabled.map(|(n, _)| n).collect();
        let enabled = self.rules.iter().enumerate().filter(|(_, rule)| rule.enabled);
        self.matcher = Arc::new(Matcher::new(enabled.map(|(n, rule)| (n, rule.expr(), rule.kinds()))));
    }

    /// Appends every enabled rule that matches `event` to `out`, in file order.
    pub fn matches<'s>(&'s self, event: &Event, out: &mut Vec<&'s Rule>) {
        count(&self.counts.seen, usize::from(event.kind() as u8));
        self.ask(event, out, |n| count(&self.counts.matched, n));
    }

    fn ask<'s>(&'s self, event: &Event, out: &mut Vec<&'s Rule>, matched: impl Fn(usize)) {
        self.matcher.matches(event, |n| {
            matched(n);
            out.extend(self.rules.get(n));
            !self.first_only
        });
    }

    /// From now on only the first rule that matches counts, in file order.
    pub const fn match_first(&mut self) {
        self.first_only = true;
    }

    /// How many events this rule was asked about, and how many it matched, since the set was made.
    pub fn counted(&self, name: &str) -> Option<(u64, u64)> {
        let at = self.rules.iter().position(|rule| rule.info.name.as_bytes() == name.as_bytes())?;
        let kinds = self.rules.get(at)?.kinds();
        let seen = kinds.iter().filter_map(|kind| self.counts.seen.get(usize::from(kind as u8)));
        let matched = self.counts.matched.get(at)?.load(Relaxed);
        Some((seen.map(|counter| counter.load(Relaxed)).sum(), matched))
    }

    /// As [`RuleSet::matches`], of an event of which `awaited` may yet be told: only rules that do not read that.
    pub fn matches_early<'s>(&'s self, event: &Event, awaited: Awaited, out: &mut Vec<&'s Rule>) {
        let before = out.len();
        // It is asked again, and counted, when all is told.
        self.ask(event, out, |_| {});
        let mut at = 0;
        out.retain(|rule| {
            at += 1;
            at <= before || (rule.is_immediate() && !rule.body.awaits.meets(awaited))
        });
    }

    /// Turns rules off, then on. A selector is a rule's name, a glob of names, or `tag=TAG`.
    /// Gives the selectors that select nothing.
    pub fn select(&mut self, disable: &[String], enable: &[String]) -> Vec<String> {
        let mut idle = Vec::new();
        for (list, enabled) in [(disable, false), (enable, true)] {
            for text in list {
                let selector = Selector::parse(text);
                let mut any = false;
                for rule in self.rules.iter_mut().filter(|rule| selector.selects(rule)) {
                    rule.enabled = enabled;
                    any = true;
                }
                if !any {
                    idle.push(text.clone());
                }
            }
        }
        self.index();
        idle
    }

    /// The domain names that enabled rules compare addresses with, each once: somebody has to resolve them.
    pub fn domains(&self) -> BTreeSet<Text> {
        let mut names = BTreeSet::new();
        for rule in self.rules.iter().filter(|rule| rule.enabled) {
            rule.expr().checks(&mut |check| {
                if check.left.ty() == Type::Domain {
                    names.extend(check.literals.iter().map(|name| Text::copy(name)));
                }
            });
        }
        names
    }

    /// All rules, enabled or not, in file order.
    pub fn iter(&self) -> std::slice::Iter<'_, Rule> {
        self.rules.iter()
    }

    /// The enabled rules that wait for others in an order.
    pub(crate) fn sequences(&self) -> impl Iterator<Item = &Rule> {
        self.sequences.iter().filter_map(|n| self.rules.get(*n))
    }

    /// A set of this one rule, enabled.
    pub fn only(&self, name: &str) -> Option<Self> {
        let rule = Rule { enabled: true, ..self.find(name)?.clone() };
        Some(Self::new(vec![rule]))
    }

    /// The rule of this name.
    pub fn find(&self, name: &str) -> Option<&Rule> {
        self.rules.iter().find(|rule| rule.info.name.as_bytes() == name.as_bytes())
    }

    /// Number of rules, enabled or not.
    pub fn len(&self) -> usize {
        self.rules.len()
    }

    /// True when no rule loaded.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Kinds of event that an enabled rule can match.
    pub fn kinds(&self) -> KindSet {
        let enabled = self.rules.iter().filter(|rule| rule.enabled);
        enabled.fold(KindSet::NONE, |kinds, rule| kinds.union(rule.kinds()))
    }
}

impl<'s> IntoIterator for &'s RuleSet {
    type Item = &'s Rule;
    type IntoIter = std::slice::Iter<'s, Rule>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}
