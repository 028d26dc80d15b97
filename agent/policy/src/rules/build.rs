//! Compiles what was collected: lists, then macros, then rules.

use super::collect::{Collection, Ranked, RuleBody, place_name};
use super::lists::{Lists, quote};
use super::output::Output;
use super::set::{Body, Rule};
use super::{exception, tags};
use crate::condition::{
    Compare, Expr, Findings, Macro, Program, asked, awaits, kinds, parse, reads_result, resolve,
};
use crate::problem::{Fault, Severity, did_you_mean, shorten};
use crate::sourced::{Sourced, Sources};
use hostward_event::call::{self, Group};
use hostward_event::event::RuleInfo;
use hostward_event::{EventKind, KindSet, Text};
use std::collections::HashMap;
use std::sync::Arc;

/// Most bytes of all lists together.
const MAX_LIST_BYTES: usize = 32 << 20;
/// Most checks of all rules together.
const MAX_TOTAL_CHECKS: usize = 1_000_000;
/// Events of the source `syscall`, to which rules apply unless they ask for others by `evt.type`.
const SYSCALLS: KindSet =
    KindSet::of(&[EventKind::Exec, EventKind::Fork, EventKind::Exit, EventKind::Open, EventKind::Connect]);

/// A macro while it is looked for: what it became, or that it is being made.
enum State {
    Busy,
    Known(Expr),
    Broken,
}

/// Compiles all rules; those that do not load are reported and left out.
pub(super) fn build(collection: &Collection, sources: &mut Sources<'_>) -> Vec<Rule> {
    let mut lists = lists(collection, sources);
    let mut macros: HashMap<&str, State> = HashMap::new();
    for ranked in &collection.macros.list {
        compile_macro(ranked, collection, &mut lists, &mut macros, 0, sources);
    }
    let mut checks_left = MAX_TOTAL_CHECKS;
    let rules = collection.rules.list.iter();
    rules
        .filter_map(|rule| compile_rule(rule, collection, &mut lists, &macros, &mut checks_left, sources))
        .collect()
}

fn lists(collection: &Collection, sources: &mut Sources<'_>) -> Lists {
    let mut lists = Lists::default();
    let mut total = 0;
    for list in &collection.lists.list {
        let mut text = String::new();
        for (item, _) in &list.body {
            let nested = collection
                .lists
                .find(item)
                .filter(|other| other.index < list.visibility && other.name != list.name);
            let part = match nested.and_then(|other| lists.items(&other.name)) {
                Some(items) => items.to_owned(),
                None => quote(item),
            };
            if part.is_empty() {
                continue;
            }
            if !text.is_empty() {
                text.push_str(", ");
            }
            text.push_str(&part);
            if total + text.len() > MAX_LIST_BYTES {
                break;
            }
        }
        total += text.len();
        if total > MAX_LIST_BYTES {
            let reason = format!("lists have more than {MAX_LIST_BYTES} bytes together");
            let fault = Fault::new(0, reason, "shorten them; lists that nest each other grow fast");
            sources.report(Severity::Error, Some(&list.name), list.place, fault);
            break;
        }
        lists.add(list.name.clone(), text);
    }
    lists
}

/// Compiles one macro and first those that it uses.
fn compile_macro<'c>(
    ranked: &'c Ranked<Sourced>,
    collection: &'c Collection,
    lists: &mut Lists,
    macros: &mut HashMap<&'c str, State>,
    chain: usize,
    sources: &mut Sources<'_>,
) {
    if macros.contains_key(ranked.name.as_str()) {
        return;
    }
    macros.insert(&ranked.name, State::Busy);
    let name = Some(ranked.name.as_str());
    let parsed =
        lists.expand(&ranked.body).map_err(|fault| (ranked.body.clone(), fault)).and_then(
            |text| match parse(text.text()) {
                Ok(tree) => Ok((text, tree)),
                Err(fault) => Err((text, fault)),
            },
        );
    let (text, tree) = match parsed {
        Ok(parsed) => parsed,
        Err((text, fault)) => {
            text.report(Severity::Error, name, fault, sources);
            macros.insert(&ranked.name, State::Broken);
            return;
        }
    };
    for (used, at) in tree.macros() {
        let Some(other) = collection.macros.find(used).filter(|other| other.index < ranked.visibility) else {
            continue;
        };
        let busy = matches!(macros.get(used), Some(State::Busy));
        if busy || chain >= MAX_MACRO_CHAIN {
            let reason = match busy {
                true => format!("macro `{}` uses itself through `{}`", ranked.name, shorten(used)),
                false => format!("macros use each other more than {MAX_MACRO_CHAIN} deep"),
            };
            text.report(Severity::Error, name, Fault::new(at, reason, "take one of the uses out"), sources);
            macros.insert(&ranked.name, State::Broken);
            return;
        }
        compile_macro(other, collection, lists, macros, chain + 1, sources);
    }
    let mut found = Findings::new(MAX_TOTAL_CHECKS);
    let expr = resolve(&tree, &|used| lookup(used, ranked.visibility, collection, macros), &mut found);
    let state = if found.faults.is_empty() { State::Known(expr) } else { State::Broken };
    report(&text, name, found, Severity::Error, sources);
    macros.insert(&ranked.name, state);
}

/// Deepest chain of macros that use each other.
const MAX_MACRO_CHAIN: usize = 200;

fn lookup<'m>(
    name: &str,
    visibility: usize,
    collection: &Collection,
    macros: &'m HashMap<&str, State>,
) -> Macro<'m> {
    let defined = collection.macros.find(name);
    match (defined, macros.get(name)) {
        (Some(ranked), _) if ranked.index >= visibility => {
            Macro::Unknown(format!("`{}` is defined further down; move its definition up", shorten(name)))
        }
        (Some(_), Some(State::Known(expr))) => Macro::Known(expr),
        (Some(_), _) => Macro::Broken,
        (None, _) => {
            let hint = match did_you_mean(name, collection.macros.names()) {
                hint if hint.is_empty() && collection.lists.find(name).is_some() => {
                    format!("`{}` is a list; write `field in ({})`", shorten(name), shorten(name))
                }
                hint if hint.is_empty() => "define the macro before it is used, or write a check".to_owned(),
                hint => hint,
            };
            Macro::Unknown(hint)
        }
    }
}

fn report(
    text: &Sourced,
    name: Option<&str>,
    found: Findings,
    severity: Severity,
    sources: &mut Sources<'_>,
) {
    for fault in found.faults {
        text.report(severity, name, fault, sources);
    }
    for remark in found.remarks {
        text.report(Severity::Warning, name, remark, sources);
    }
}

fn compile_rule(
    rule: &Ranked<RuleBody>,
    collection: &Collection,
    lists: &mut Lists,
    macros: &HashMap<&str, State>,
    checks_left: &mut usize,
    sources: &mut Sources<'_>,
) -> Option<Rule> {
    let name = Some(rule.name.as_str());
    let body = &rule.body;
    if let Some(reason) = body.exceptions.iter().find_map(exception::Exception::fault) {
        sources.report(
            Severity::Error,
            name,
            rule.place,
            Fault::new(0, reason, "correct `fields` or `values`"),
        );
        return None;
    }
    let condition = exception::apply(&body.condition, &body.exceptions);
    let text = match lists.expand(&condition) {
        Ok(text) => text,
        Err(fault) => {
            condition.report(Severity::Error, name, fault, sources);
            return None;
        }
    };
    let tree = match parse(text.text()) {
        Ok(tree) => tree,
        Err(fault) => {
            text.report(Severity::Error, name, fault, sources);
            return None;
        }
    };
    let mut found = Findings::new(*checks_left);
    // Unlike a macro, a rule sees every macro of all files.
    let expr = resolve(&tree, &|used| lookup(used, usize::MAX, collection, macros), &mut found);
    *checks_left = checks_left.saturating_sub(found.checks);
    let broken = !found.faults.is_empty();
    // `skip-if-unknown-filter` says that a rule may be lost on an agent that lacks its fields.
    let tolerated = body.tolerates_unknown_fields && found.unknown_fields == found.faults.len();
    let severity = if tolerated { Severity::Note } else { Severity::Error };
    report(&text, name, found, severity, sources);
    let mut remarks = Vec::new();
    let output = Output::new(body.output.text(), &mut remarks);
    for remark in remarks {
        body.output.report(Severity::Warning, name, remark, sources);
    }
    if broken {
        return None;
    }
    let kinds = watched(&expr);
    let sequence = body.correlation.iter().flat_map(|how| &how.sequence);
    if let Some(missing) = sequence.clone().find(|step| collection.rules.find(step).is_none()) {
        let hint = did_you_mean(missing, collection.rules.names());
        let reason = format!("sequence names the rule `{}`, which is not there", shorten(missing));
        sources.report(Severity::Error, name, rule.place, Fault::new(0, reason, hint));
        return None;
    }
    if kinds.is_empty() && sequence.count() == 0 {
        sources.report(Severity::Note, name, rule.place, inert(&expr));
    }
    let source = place_name(rule.place, sources);
    let texts = |list: &[String]| list.iter().map(|text| Text::from(text.as_str())).collect();
    Some(Rule {
        info: Arc::new(RuleInfo {
            name: Text::from(rule.name.as_str()),
            description: Text::from(body.description.as_str()),
            priority: body.priority,
            tags: texts(&body.tags),
            technique_ids: tags::techniques(&body.tags),
            tactics: tags::tactics(&body.tags),
            source: Text::from(source),
            file_hash: Text::from(format!("{:016x}", body.file_hash)),
            output_fields: output.fields(),
        }),
        enabled: body.enabled,
        body: Arc::new(Body {
            awaits: awaits(&expr),
            program: Program::new(&expr),
            expr,
            output,
            kinds,
            correlation: body.correlation.clone(),
        }),
    })
}

/// The kinds of event that a rule is asked about.
fn watched(expr: &Expr) -> KindSet {
    let (can, asked) = (kinds(expr).may_hold, asked(expr));
    // A condition that excludes some calls by name does not ask for all the others.
    let by_name = asked.intersection(call::CALLS).iter().count() < call::TABLE.len() / 2;
    let watched = match can.intersection(SYSCALLS) {
        // The rule is about losses or about the agent itself.
        syscalls if syscalls.is_empty() || by_name => can,
        syscalls => syscalls,
    };
    // A shell looks for a program in one folder after the other: failures are for rules that read the result.
    if reads_result(expr) { watched } else { watched.without(call::of_group(Group::Exec)) }
}

/// Says why no event can match.
fn inert(expr: &Expr) -> Fault {
    let mut calls = Vec::new();
    expr.checks(&mut |check| {
        if let Compare::EventType(names) = &check.compare {
            calls.extend(names.unknown.iter().cloned());
        }
    });
    calls.sort_unstable();
    calls.dedup();
    if calls.is_empty() {
        let hint = "its parts exclude each other, or it is switched off by a check that never holds";
        return Fault::new(0, "rule can never match", hint);
    }
    let reason =
        format!("rule waits for {}, which this version does not observe", shorten(&calls.join(", ")));
    Fault::new(0, reason, "it stays loaded and has no effect")
}
