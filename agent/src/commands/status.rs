//! `hostward status`

use crate::admin::{self, Request};
use crate::cli;
use crate::exit::{Exit, Failure};
use crate::health::State;
use crate::output::Printer;
use crate::report::Report;

/// Prints the report; the exit code is the worst stage.
///
/// # Errors
/// [`Exit::NotRunning`] and what [`admin::connect`] says.
pub fn run(args: &cli::Status) -> Result<Exit, Failure> {
    let mut client = admin::connect(&args.runtime_dir, &Request::Status)?;
    let report: Report = client
        .next()?
        .ok_or_else(|| Failure::new(Exit::NotRunning, "the agent went away without an answer", ""))?;
    let mut out = Printer::default();
    if args.json {
        out.json(&report)?;
    } else {
        out.text(&report.to_string())?;
    }
    Ok(match report.state {
        State::Ok => Exit::Ok,
        State::Degraded => Exit::Degraded,
        State::Failed => Exit::Failed,
    })
}
