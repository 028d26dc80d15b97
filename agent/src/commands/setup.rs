//! `hostward setup`

use super::check::{refused, wait_for};
use crate::cli;
use crate::config;
use crate::exit::{Exit, Failure};
use crate::output::Printer;
use hostward_outputs::Config;
use hostward_outputs::elastic::{self, SetupOptions};

/// Installs what the sinks of type `elastic` need, and says each step.
///
/// # Errors
/// [`Exit::Config`] when no such sink is configured, [`Exit::Unreachable`] when a server refuses.
pub fn elastic(args: &cli::SetupElastic) -> Result<Exit, Failure> {
    let loaded = config::load(Some(&args.config)).map_err(refused)?;
    let named = |name: &str| args.sink.as_deref().is_none_or(|wanted| wanted == name);
    let sinks: Vec<_> = loaded
        .config
        .sink
        .iter()
        .filter_map(|sink| match sink {
            Config::Elastic(elastic) if named(&elastic.name) => Some(elastic),
            _ => None,
        })
        .collect();
    if sinks.is_empty() {
        let which = args.sink.as_ref().map_or_else(String::new, |name| format!(" and name = {name:?}"));
        let message = format!("{}: no [[sink]] has type = \"elastic\"{which}", args.config.display());
        return Err(Failure::new(Exit::Config, message, "add one, or name another file with --config"));
    }
    let options = SetupOptions {
        retention_days: args.retention_days,
        rollover_gb: args.rollover_gb,
        rollover_days: args.rollover_days,
        replicas: args.replicas,
        dry_run: args.dry_run,
    };
    let mut out = Printer::default();
    for sink in sinks {
        out.line(&format!("sink {}: {}", sink.name, sink.urls.join(", ")))?;
        let (done, failure) = match wait_for(elastic::setup(sink, &options))? {
            Ok(done) => (done, None),
            Err(mut failure) => (std::mem::take(&mut failure.done), Some(failure)),
        };
        for step in done {
            out.line(&format!("  {step}"))?;
        }
        if let Some(failure) = failure {
            let message = format!("sink {}: {failure}", sink.name);
            return Err(Failure::new(Exit::Unreachable, message, failure.hint()));
        }
    }
    Ok(Exit::Ok)
}
