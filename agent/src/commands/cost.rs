//! What the stages cost, over the inputs of a capture.

use hostward_enrich::{Config, Enricher, Input, Output};
use std::fmt;
use std::time::Instant;

/// Readings of which the least is what a reading itself costs.
const READINGS: usize = 1_000;

/// Kernel records, one by one: through a context stage of its own, and through the whole pipeline.
pub struct Cost {
    /// What reading the clock costs, which is taken off every figure.
    clock_ns: u64,
    context: Enricher,
    out: Vec<Output>,
    context_ns: Vec<u64>,
    all_ns: Vec<u64>,
}

impl Cost {
    /// Nothing was measured yet.
    pub fn new(config: &Config) -> Self {
        let clock_ns = (0..READINGS).map(|_| ns(Instant::now())).min().unwrap_or_default();
        let (context, out) = (Enricher::new(config), Vec::new());
        Self { clock_ns, context, out, context_ns: Vec::new(), all_ns: Vec::new() }
    }

    /// Measures one input; `handle` is the pipeline's work on it. Answers and ticks are handled, not counted.
    pub fn measure(&mut self, input: &Input, handle: impl FnOnce()) {
        // Texts of a record that comes from the kernel are shared from the start; those of a file are from here on.
        let _shared = input.clone();
        let began = Instant::now();
        self.context.handle(input, &mut self.out);
        let context = ns(began).saturating_sub(self.clock_ns);
        self.out.clear();
        let began = Instant::now();
        handle();
        let all = ns(began).saturating_sub(self.clock_ns);
        if matches!(input, Input::Raw(_)) {
            self.context_ns.push(context);
            self.all_ns.push(all);
        }
    }
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
