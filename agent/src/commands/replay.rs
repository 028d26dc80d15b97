//! `hostward replay`: a capture through the same pipeline, printing the feed that it gives.

use crate::capture::{CaptureError, Reader};
use crate::cli::{self, Format};
use crate::clock::ReplayClock;
use crate::commands::check::refused;
use crate::commands::cost::{self, Cost};
use crate::config::{self, Config};
use crate::exit::{Exit, Failure};
use crate::output::Printer;
use crate::pipeline::{Effect, Pipeline};
use crate::policy::{Policy, Sources};
use hostward_enrich::Enricher;
use hostward_event::encode;
use hostward_event::mask::Masker;
use std::io::IsTerminal;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

/// The pipeline of a run, on the clock of a capture.
///
/// # Errors
/// [`Exit::Config`] for patterns of `[masking]` that are none.
pub fn pipeline(config: &Config, policy: Arc<Policy>) -> Result<Pipeline<ReplayClock>, Failure> {
    let masker = Masker::new(&config.masking)
        .map_err(|error| Failure::new(Exit::Config, format!("masking: {error}"), "mend [masking]"))?;
    let (clock, enricher) = (ReplayClock::default(), Enricher::new(&config.enrich));
    Ok(Pipeline::new(clock, enricher, policy, config.telemetry.clone(), masker))
}

/// A capture that is foreign or cut.
pub fn damaged(capture: &Path, error: &CaptureError) -> Failure {
    let hint = "make a capture with `hostward run --capture FILE` and let the agent stop cleanly";
    Failure::new(Exit::BadInput, format!("{}: {error}", capture.display()), hint)
}

/// Replays; the output is the same byte for byte each time, and the same as the run's feed under
/// the same rules and configuration.
///
/// # Errors
/// [`Exit::BadInput`] for a capture that is foreign or cut, [`Exit::Config`] for rules that do not load.
pub fn run(args: &cli::Replay) -> Result<Exit, Failure> {
    let config = config::load(args.config.as_deref()).map_err(refused)?.config;
    let began = Instant::now();
    let policy = Arc::new(Sources::new(&config, &args.rules).load(&config)?);
    let loading = began.elapsed();
    for problem in policy.errors() {
        eprintln!("hostward: {problem}");
    }
    let mut pipeline = pipeline(&config, Arc::clone(&policy))?;
    let damaged = |error| damaged(&args.capture, &error);
    let mut reader = Reader::open(&args.capture).map_err(damaged)?;
    let mut out = Printer::default();
    let colour = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let mut effects = Vec::new();
    let mut cost = args.cost.then(Cost::new);
    loop {
        let end = match reader.next() {
            Ok(Some((input, reads))) => {
                pipeline.clock.load(reads);
                match &mut cost {
                    None => pipeline.handle(&input, &mut effects),
                    Some(cost) => cost.measure(&mut pipeline, &input, &mut effects),
                }
                None
            }
            Ok(None) => Some(Ok(Exit::Ok)),
            Err(error) => Some(Err(damaged(error))),
        };
        if end.is_some() {
            pipeline.finish(&mut effects);
        }
        for effect in effects.drain(..) {
            // Questions and actions were answered in the run: the answers are in the capture.
            if let Effect::Emit(event) = effect {
                let mut line = Vec::with_capacity(2048);
                match args.output {
                    Format::Json => encode::ecs(&event, &mut line),
                    Format::Compact => encode::compact(&event, colour, &mut line),
                }
                out.bytes(line)?;
            }
        }
        if let Some(end) = end {
            if let Some(cost) = cost {
                let events = cost::events(&args.capture, &config.enrich).map_err(damaged)?;
                eprint!("{cost}{}", cost::rules(&policy, loading, &events));
            }
            return end;
        }
    }
}
