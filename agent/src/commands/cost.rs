//! What the stages cost, over the inputs of a capture.

use crate::capture::{CaptureError, Reader};
use crate::clock::Clock;
use crate::pipeline::{Effect, Pipeline};
use crate::policy::Policy;
use hostward_enrich::{Config, Enricher, Input, Output};
use hostward_event::Event;
use std::fmt::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Readings of which the least is what a reading itself costs.
const READINGS: usize = 1_000;
/// Events of the capture that are kept, to be matched over and over.
const EVENTS: usize = 100_000;
/// How long they are.
const MATCHING: Duration = Duration::from_secs(1);
/// What an entry of the kernel's table of names takes: `struct htab_elem`, key and value, and its bucket.
const NAME_BYTES: usize = 48 + 16 + 8 + 16;

/// Kernel records, one by one, through the pipeline.
pub struct Cost {
    /// What reading the clock costs, which is taken off every figure.
    clock_ns: u64,
    context_ns: Vec<u64>,
    all_ns: Vec<u64>,
}

impl Cost {
    /// Nothing was measured yet.
    pub fn new() -> Self {
        let clock_ns = (0..READINGS).map(|_| ns(Instant::now())).min().unwrap_or_default();
        Self { clock_ns, context_ns: Vec::new(), all_ns: Vec::new() }
    }

    /// Lets the pipeline handle one input, and measures that. Answers and ticks are handled, not counted.
    pub fn measure<C: Clock>(
        &mut self,
        pipeline: &mut Pipeline<C>,
        input: &Input,
        effects: &mut Vec<Effect>,
    ) {
        // Texts of a record that comes from the kernel are shared from the start; those of a file are from here on.
        let _shared = input.clone();
        let began = Instant::now();
        pipeline.enrich(input, effects);
        let context = ns(began);
        pipeline.judge(effects);
        let all = ns(began);
        if matches!(input, Input::Raw(_)) {
            self.context_ns.push(context.saturating_sub(self.clock_ns));
            self.all_ns.push(all.saturating_sub(2 * self.clock_ns));
        }
    }
}

/// The first events of a capture, to be matched over and over. They are not kept while [`Cost`] measures, which would
/// then work on memory that is new each time.
///
/// # Errors
/// Those of the reader.
pub fn events(capture: &Path, config: &Config) -> Result<Vec<Arc<Event>>, CaptureError> {
    let (mut reader, mut enricher) = (Reader::open(capture)?, Enricher::new(config));
    let (mut events, mut out) = (Vec::new(), Vec::new());
    while events.len() < EVENTS
        && let Some((input, _)) = reader.next()?
    {
        enricher.handle(&input, &mut out);
        events.extend(out.drain(..).filter_map(|output| match output {
            Output::Event(event) => Some(event),
            _ => None,
        }));
    }
    Ok(events)
}

/// What the rules cost: their loading, their part in the kernel, and the matching of these events on one core.
pub fn rules(policy: &Policy, loading: Duration, events: &[Arc<Event>]) -> String {
    let mut out = String::new();
    let names = policy.plan.opens.names.len();
    // Writing to a string does not fail.
    let _ = writeln!(
        out,
        "{} rules, loaded and planned in {:.1} ms; {names} names in the kernel, {} bytes",
        policy.rules.len(),
        loading.as_secs_f64() * 1e3,
        names * NAME_BYTES
    );
    let (mut matched, mut passes, mut matches) = (Vec::new(), 0_u32, 0);
    let began = Instant::now();
    while !events.is_empty() && began.elapsed() < MATCHING {
        for event in events {
            policy.rules.matches(event, &mut matched);
            matches += matched.len();
            matched.clear();
        }
        passes += 1;
    }
    let count = events.len() as f64 * f64::from(passes);
    let seconds = began.elapsed().as_secs_f64();
    let _ = writeln!(
        out,
        "  matcher alone: {:.0} ns an event, {:.0} events a second on one core; {} events, {passes} times, {matches} matches",
        seconds * 1e9 / count.max(1.0),
        count / seconds.max(1e-9),
        events.len(),
    );
    out
}

fn ns(began: Instant) -> u64 {
    u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let clock = self.clock_ns;
        writeln!(f, "{} kernel records; ns each, less {clock} for the clock:", self.all_ns.len())?;
        let stages = [("context", &self.context_ns), ("context, policy and effects", &self.all_ns)];
        for (stage, times) in stages {
            let mut times = times.clone();
            times.sort_unstable();
            let part = |percent: usize| {
                times.get(times.len().saturating_sub(1) * percent / 100).copied().unwrap_or_default()
            };
            let mean = times.iter().sum::<u64>() / (times.len() as u64).max(1);
            writeln!(f, "  {stage}: p50 {}, p90 {}, p99 {}, mean {mean}", part(50), part(90), part(99))?;
        }
        Ok(())
    }
}
