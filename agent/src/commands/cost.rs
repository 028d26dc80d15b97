//! What the stages cost, over the inputs of a capture.

use hostward_enrich::{Config, Enricher, Input, Output};
use std::fmt;
use std::time::Instant;

/// Kernel records, one by one: through a context stage of its own, and through the whole pipeline. The clock is in
/// every figure, some 30 ns.
pub struct Cost {
    context: Enricher,
    out: Vec<Output>,
    context_ns: Vec<u64>,
    all_ns: Vec<u64>,
}

impl Cost {
    /// Nothing was measured yet.
    pub fn new(config: &Config) -> Self {
        Self { context: Enricher::new(config), out: Vec::new(), context_ns: Vec::new(), all_ns: Vec::new() }
    }

    /// Measures one input; `handle` is the pipeline's work on it. Answers and ticks are handled, not counted.
    pub fn measure(&mut self, input: &Input, handle: impl FnOnce()) {
        let began = Instant::now();
        self.context.handle(input, &mut self.out);
        let context = ns(began);
        self.out.clear();
        let began = Instant::now();
        handle();
        let all = ns(began);
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
        writeln!(f, "{} kernel records; ns each:", self.all_ns.len())?;
        let stages = [("context", &self.context_ns), ("context, policy and effects", &self.all_ns)];
        for (stage, times) in stages {
            let mut times = times.clone();
            times.sort_unstable();
            let part = |percent: usize| {
                times.get(times.len().saturating_sub(1) * percent / 100).copied().unwrap_or_default()
            };
            writeln!(f, "  {stage}: p50 {}, p90 {}, p99 {}", part(50), part(90), part(99))?;
        }
        Ok(())
    }
}
