//! `hostward rules test`: what each rule matches in a capture.

use crate::capture::{CaptureError, Reader};
use crate::cli;
use crate::clock::ReplayClock;
use crate::config::Config;
use crate::exit::{Exit, Failure};
use crate::output::Printer;
use crate::pipeline::{Effect, Pipeline};
use crate::policy::Sources;
use hostward_enrich::Enricher;
use hostward_event::mask::Masker;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

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

fn count(
    capture: &Path,
    policy: crate::policy::Policy,
    config: &Config,
) -> Result<BTreeMap<String, u64>, Failure> {
    let damaged = |error: CaptureError| {
        let hint = "make a capture with `hostward run --capture FILE` and let the agent stop cleanly";
        Failure::new(Exit::BadInput, format!("{}: {error}", capture.display()), hint)
    };
    let masker = Masker::new(&config.masking)
        .map_err(|error| Failure::new(Exit::Bug, format!("masking: {error}"), "please report it"))?;
    let mut pipeline = Pipeline::new(
        ReplayClock::default(),
        Enricher::new(&config.enrich),
        Arc::new(policy),
        config.telemetry.clone(),
        masker,
    );
    let mut reader = Reader::open(capture).map_err(damaged)?;
    let mut counts = BTreeMap::new();
    let mut effects = Vec::new();
    loop {
        let step = reader.next().map_err(damaged)?;
        let ended = step.is_none();
        match step {
            Some((input, reads)) => {
                pipeline.clock.load(reads);
                pipeline.handle(&input, &mut effects);
            }
            None => pipeline.finish(&mut effects),
        }
        for effect in effects.drain(..) {
            if let Effect::Emit(event) = effect
                && let Some(alert) = &event.alert
            {
                *counts.entry(alert.rule.name.to_string()).or_insert(0) += 1;
            }
        }
        if ended {
            return Ok(counts);
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
