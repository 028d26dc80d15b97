//! `hostward rules explain` and `hostward rules reload`

use crate::admin::{self, Reloaded, Request, RuleCost};
use crate::cli;
use crate::embedded;
use crate::exit::{Exit, Failure};
use crate::output::Printer;
use crate::policy;
use hostward_event::plan::{KernelPlan, OpenClass};
use hostward_event::scope::Scope;
use hostward_event::{EventKind, call};
use hostward_policy::{Protected, Responses};
use std::collections::BTreeSet;
use std::fmt::Write;

/// Shows a rule as it is compiled.
///
/// # Errors
/// [`Exit::Config`] when there is no such rule, or a file cannot be read.
pub fn run(args: &cli::RulesExplain) -> Result<Exit, Failure> {
    let files = if args.rules.is_empty() { embedded::rules() } else { policy::read(&args.rules)? };
    let loaded = hostward_policy::load(&files);
    let mut about: Vec<String> = Vec::new();
    for problem in
        loaded.problems.iter().filter(|problem| problem.rule.as_deref() == Some(args.rule.as_str()))
    {
        about.push(problem.to_string());
    }
    let Some(only) = loaded.rules.only(&args.rule) else {
        about.push(format!("no rule `{}` has loaded", args.rule));
        return Err(Failure::new(
            Exit::Config,
            about.join("\n"),
            "`hostward rules list` tells all names; --rules names files",
        ));
    };
    let Some(rule) = loaded.rules.find(&args.rule) else { return Ok(Exit::Ok) };
    let mut out = Printer::default();
    out.line(&format!("rule      {}{}", rule.info.name, if rule.enabled { "" } else { " (off)" }))?;
    out.line(&format!("from      {}", rule.info.source))?;
    out.line(&format!("condition {}", rule.expanded()))?;
    if let Some(how) = rule.correlates() {
        out.line(&format!("alerts    {how}"))?;
    }
    let kinds: Vec<&str> = rule.kinds().iter().map(EventKind::name).collect();
    out.line(&format!(
        "events    {}",
        if kinds.is_empty() { "none: it never matches".into() } else { kinds.join(" ") }
    ))?;
    let plan = hostward_policy::plan(&only, &Responses::default(), &Protected::default());
    for kind in rule.kinds().iter() {
        out.line(&format!("kernel    {}: {}", kind.name(), in_kernel(kind, &plan)))?;
    }
    out.line("agent     the whole condition, on what the kernel lets through")?;
    for problem in about {
        out.line(&format!("note      {problem}"))?;
    }
    out.line(&format!("cost      {}", cost(args)))?;
    Ok(Exit::Ok)
}

/// What the kernel leaves out of a kind of event for this rule alone.
fn in_kernel(kind: EventKind, plan: &KernelPlan) -> String {
    let what = of_what(kind, plan);
    match plan.scopes.get(&kind) {
        None => what,
        Some(scopes) => {
            let scopes: Vec<String> = scopes.iter().map(of_whom).collect();
            format!("{what}; of these {}", scopes.join(", or "))
        }
    }
}

/// Who makes the events, and to where.
fn of_whom(scope: &Scope) -> String {
    let mut parts = Vec::new();
    if let Some(comms) = &scope.comms {
        parts.push(format!("by {}", listed(comms)));
    }
    if let Some(uids) = &scope.uids {
        parts.push(format!("as uid {}", listed(uids)));
    }
    if let Some(networks) = &scope.networks {
        parts.push(format!("to {}", listed(networks)));
    }
    parts.join(" ")
}

fn listed<T: ToString>(values: &BTreeSet<T>) -> String {
    values.iter().map(T::to_string).collect::<Vec<_>>().join(", ")
}

fn of_what(kind: EventKind, plan: &KernelPlan) -> String {
    match kind {
        EventKind::Open => {
            let mut text = match classes(plan.opens.all) {
                all if all.is_empty() => String::new(),
                all => format!("every one for {all}"),
            };
            for (name, class) in plan.opens.names.iter().filter(|(_, class)| !classes(**class).is_empty()) {
                let _ = write!(
                    text,
                    "{}with {name} on the path for {}",
                    if text.is_empty() { "" } else { "; " },
                    classes(*class)
                );
            }
            text
        }
        EventKind::CloseWrite => {
            let names: Vec<String> = named(plan, OpenClass::CLOSE).collect();
            match plan.opens.all.intersection(OpenClass::CLOSE).is_empty() {
                true => format!("with {} on the path", names.join(", ")),
                false => "every one".to_owned(),
            }
        }
        EventKind::Connect => match &plan.connect_ports {
            None => "every one".to_owned(),
            Some(ports) => {
                let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
                format!("those to port {}", ports.join(", "))
            }
        },
        kind if kind.is_call() => match plan.calls.get(&kind) {
            None => "every one".to_owned(),
            Some(wanted) => {
                let mut parts = Vec::new();
                match (wanted.succeeded, wanted.failed) {
                    (true, false) => parts.push("those that succeed".to_owned()),
                    (false, true) => parts.push("those that fail".to_owned()),
                    (false, false) => parts.push("none".to_owned()),
                    (true, true) => {}
                }
                if wanted.named {
                    let names: Vec<String> = named(plan, OpenClass::CALL).collect();
                    parts.push(format!("with {} on a path", names.join(", ")));
                }
                if let Some(chosen) = wanted.chosen {
                    let values: Vec<String> = (0..64)
                        .filter(|bit| chosen.values & (1 << bit) != 0)
                        .map(|bit| bit.to_string())
                        .collect();
                    let what = if chosen.at == call::RESULT {
                        "the result".to_owned()
                    } else {
                        format!("argument {}", chosen.at)
                    };
                    let more = if chosen.above { " or above 63" } else { "" };
                    parts.push(format!("where {what} is {}{more}", values.join(", ")));
                }
                if parts.is_empty() { "every one".to_owned() } else { parts.join(", ") }
            }
        },
        EventKind::Exec | EventKind::Fork | EventKind::Exit => "every one, also without this rule".to_owned(),
        _ => "every one".to_owned(),
    }
}

/// Names of the plan that are wanted for this class.
fn named(plan: &KernelPlan, class: OpenClass) -> impl Iterator<Item = String> {
    let of_class = plan.opens.names.iter().filter(move |(_, wanted)| !wanted.intersection(class).is_empty());
    of_class.map(|(name, _)| name.to_string())
}

fn classes(class: OpenClass) -> String {
    let names = [
        (OpenClass::READ, "reading"),
        (OpenClass::WRITE, "writing"),
        (OpenClass::READ_FAILED, "reading, refused"),
        (OpenClass::WRITE_FAILED, "writing, refused"),
    ];
    let set = names.into_iter().filter(|(bit, _)| !class.intersection(*bit).is_empty()).map(|(_, name)| name);
    set.collect::<Vec<_>>().join(" and ")
}

/// What the running agent says; it may run with other rules, or not at all.
fn cost(args: &cli::RulesExplain) -> String {
    let request = Request::Rule { name: args.rule.clone() };
    match admin::connect(&args.runtime_dir, &request).and_then(|mut client| client.next::<RuleCost>()) {
        Err(failure) => failure.message,
        Ok(None) => "the agent does not say".to_owned(),
        Ok(Some(RuleCost::Unknown)) => "the running agent has no rule of this name".to_owned(),
        Ok(Some(RuleCost::Known { events, matches, tried: 0, .. })) => {
            format!("{events} events in, {matches} matches; none of its events is remembered to be tried")
        }
        Ok(Some(RuleCost::Known { events, matches, tried, took_ns })) => {
            format!(
                "{events} events in, {matches} matches, {} ns per event ({tried} tried)",
                took_ns / tried.max(1)
            )
        }
    }
}

/// Asks the running agent to read its rules anew.
///
/// # Errors
/// [`Exit::Config`] when the new rules were refused, [`Exit::NotRunning`] when nobody answers.
pub fn reload(args: &cli::RulesReload) -> Result<Exit, Failure> {
    match admin::connect(&args.runtime_dir, &Request::Reload)?.next::<Reloaded>()? {
        Some(Reloaded::Done(message)) => {
            Printer::default().line(&message)?;
            Ok(Exit::Ok)
        }
        Some(Reloaded::Refused(why)) => Err(Failure::new(Exit::Config, why, "the old rules stay in force")),
        None => Err(Failure::new(Exit::NotRunning, "the agent went away", "")),
    }
}
