//! `hostward config check`

use crate::cli;
use crate::config;
use crate::exit::{Exit, Failure};
use crate::output::Printer;
use crate::policy::Sources;

/// Checks configuration, rules and responses; tells every problem.
///
/// # Errors
/// [`Exit::Config`] with a line per problem.
pub fn run(args: &cli::ConfigCheck) -> Result<Exit, Failure> {
    let loaded = config::load(Some(&args.config)).map_err(refused)?;
    let mut problems: Vec<String> = Vec::new();
    let mut out = Printer::default();
    match Sources::new(&loaded.config, &[]).load(&loaded.config) {
        Ok(policy) => {
            problems.extend(policy.errors().map(ToString::to_string));
            for problem in policy.notes() {
                out.line(&format!("note: {problem}"))?;
            }
            if problems.is_empty() {
                let files: Vec<String> = loaded.files.iter().map(|file| file.display().to_string()).collect();
                out.line(&format!(
                    "ok: {}; {} rules, {} responses, {} sinks",
                    files.join(", "),
                    policy.rules.len(),
                    policy.responses.len(),
                    loaded.config.sink.len()
                ))?;
            }
        }
        Err(failure) => problems.push(failure.message),
    }
    if problems.is_empty() {
        return Ok(Exit::Ok);
    }
    Err(Failure::new(Exit::Config, problems.join("\n"), "mend the places named and check again"))
}

/// A configuration that was refused, as a failure.
pub fn refused(problems: Vec<config::Problem>) -> Failure {
    let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
    Failure::new(
        Exit::Config,
        lines.join("\n"),
        "mend the places named; `hostward config check --config FILE` tells all again",
    )
}
