//! `hostward events`

use crate::admin::{self, Frame, Request};
use crate::cli::{self, Format};
use crate::exit::{Exit, Failure};
use crate::output::Printer;
use hostward_policy::Condition;
use std::io::IsTerminal;

/// Prints recent events, then follows.
///
/// # Errors
/// [`Exit::Usage`] for a bad condition; what [`admin::connect`] says.
pub fn run(args: &cli::Events) -> Result<Exit, Failure> {
    if let Some(condition) = &args.filter {
        // The agent checks too; here the message comes without a connection.
        Condition::parse(condition)
            .map_err(|problem| Failure::new(Exit::Usage, format!("--where: {problem}"), ""))?;
    }
    let request = Request::Events {
        filter: args.filter.clone(),
        since_ns: args.since.map(|since| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)),
        follow: !args.no_follow,
        json: args.output == Format::Json,
        colour: std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none(),
    };
    let mut client = admin::connect(&args.runtime_dir, &request)?;
    let mut out = Printer::default();
    let mut left = args.count.unwrap_or(u64::MAX);
    while left > 0 {
        match client.next()? {
            Some(Frame::Event(line)) => {
                out.line(&line)?;
                left -= 1;
            }
            Some(Frame::Missed(count)) => {
                eprintln!("hostward: {count} events were gone before they could be shown")
            }
            Some(Frame::Refused(why)) => return Err(Failure::new(Exit::Usage, why, "")),
            None if args.no_follow => break,
            None => return Err(Failure::new(Exit::NotRunning, "the agent has stopped", "")),
        }
    }
    Ok(Exit::Ok)
}
