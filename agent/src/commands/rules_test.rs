//! `hostward rules test`: what each rule matches in a capture.

use crate::capture::Reader;
use crate::cli;
use crate::commands::replay::{damaged, pipeline};
use crate::config::Config;
use crate::exit::{Exit, Failure};
use crate::output::Printer;
use crate::pipeline::Effect;
use crate::policy::{Policy, Sources};
use hostward_event::fact::Input;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Prints `COUNT RULE` for each rule that matched, by name; with `--expect` only what differs.
///
/// # Errors
/// [`Exit::Config`] for rules that do not load or a file that cannot be read, [`Exit::BadInput`] for a capture that is
/// foreign or cut.
pub fn run(args: &cli::RulesTest) -> Result<Exit, Failure> {
    let config = Config::default();
    let policy = Sources::rules_alone(&args.paths).load(&config)?;
    let errors: Vec<String> = policy.errors().map(ToString::to_string).collect();
    if !errors.is_empty() {
        return Err(Failure::new(Exit::Config, errors.join("\n"), "a test of half the rules says nothing"));
    }
    let expected = args.expect.as_deref().map(read).transpose()?;
    let counts = count(&args.capture, policy, &config)?;
    let mut out = Printer::default();
    let Some(expected) = expected else {
        for (rule, count) in &counts {
            out.line(&format!("{count:>8} {rule}"))?;
        }
        return Ok(Exit::Ok);
    };
    let rules: BTreeSet<&String> = expected.keys().chain(counts.keys()).collect();
    let mut differs = false;
    for rule in rules {
        let (want, got) = (expected.get(rule).copied().unwrap_or(0), counts.get(rule).copied().unwrap_or(0));
        if want != got {
            differs = true;
            out.line(&format!("{rule}: {got} matches, expected {want}"))?;
        }
    }
    Ok(if differs { Exit::Degraded } else { Exit::Ok })
}

fn count(capture: &Path, policy: Policy, config: &Config) -> Result<BTreeMap<String, u64>, Failure> {
    let mut counts = BTreeMap::new();
    play(capture, Arc::new(policy), config, |effect| {
        if let Effect::Emit(event) = effect
            && let Some(alert) = &event.alert
        {
            *counts.entry(alert.rule.name.to_string()).or_insert(0) += 1;
        }
    })?;
    Ok(counts)
}

/// Runs the pipeline over a capture; gives how long what it holds took to happen.
pub(super) fn play(
    capture: &Path,
    policy: Arc<Policy>,
    config: &Config,
    mut each: impl FnMut(Effect),
) -> Result<Duration, Failure> {
    let damaged = |error| damaged(capture, &error);
    let mut pipeline = pipeline(config, policy)?;
    let mut reader = Reader::open(capture).map_err(damaged)?;
    let (mut effects, mut times) = (Vec::new(), None);
    loop {
        let step = reader.next().map_err(damaged)?;
        let ended = step.is_none();
        match step {
            Some((input, reads)) => {
                if let Input::Raw(raw) = &input {
                    let at_ns = raw.source.boot_ns;
                    let (first, last) = times.unwrap_or((at_ns, at_ns));
                    times = Some((first.min(at_ns), last.max(at_ns)));
                }
                pipeline.clock.load(reads);
                pipeline.handle(&input, &mut effects);
            }
            None => pipeline.finish(&mut effects),
        }
        effects.drain(..).for_each(&mut each);
        if ended {
            return Ok(times.map_or(Duration::ZERO, |(first, last)| Duration::from_nanos(last - first)));
        }
    }
}

/// Reads lines `COUNT RULE`; empty ones and those that begin with `#` say nothing.
fn read(path: &Path) -> Result<BTreeMap<String, u64>, Failure> {
    let wrong = |why: String| {
        Failure::new(
            Exit::Config,
            format!("{}: {why}", path.display()),
            "a line is COUNT RULE, as the command prints it",
        )
    };
    let text = std::fs::read_to_string(path).map_err(|error| wrong(format!("cannot read it: {error}")))?;
    let mut counts = BTreeMap::new();
    for (n, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let parsed = line
            .split_once(' ')
            .and_then(|(count, rule)| Some((rule.trim().to_owned(), count.parse().ok()?)));
        let (rule, count) = parsed.ok_or_else(|| wrong(format!("line {}: `{line}` has no count", n + 1)))?;
        counts.insert(rule, count);
    }
    Ok(counts)
}
