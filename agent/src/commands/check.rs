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
    if !problems.is_empty() {
        return Err(Failure::new(Exit::Config, problems.join("\n"), "mend the places named and check again"));
    }
    if args.connect {
        connect(&loaded.config.sinks(), &mut out)?;
    }
    Ok(Exit::Ok)
}

/// Tries every sink and prints each step.
fn connect(sinks: &[hostward_outputs::Config], out: &mut Printer) -> Result<(), Failure> {
    let mut failed = Vec::new();
    for sink in sinks {
        out.line(&format!("sink {} ({}):", sink.name(), sink.kind()))?;
        let steps = wait_for(sink.connect())?;
        if steps.is_empty() {
            out.line("  ok      nothing to connect to: it is on this host")?;
        }
        for step in &steps {
            let word = if step.ok { "ok    " } else { "FAILED" };
            out.line(&format!("  {word}  {}: {}", step.what, step.why))?;
        }
        if steps.iter().any(|step| !step.ok) {
            failed.push(sink.name().to_owned());
        }
    }
    if failed.is_empty() {
        return Ok(());
    }
    Err(Failure::new(
        Exit::Unreachable,
        format!(
            "{} of {} sinks cannot deliver as configured: {}",
            failed.len(),
            sinks.len(),
            failed.join(", ")
        ),
        "the lines marked FAILED say why; the agent would keep the events and try again",
    ))
}

/// Runs a conversation with a destination to its end.
///
/// # Errors
/// The process has no descriptors left for it.
pub fn wait_for<T>(talk: impl Future<Output = T>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| {
        Failure::new(
            Exit::Bug,
            format!("cannot wait for network answers: {error}"),
            "raise the limit of open files",
        )
    })?;
    Ok(runtime.block_on(talk))
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
