//! The agent and its command line.
//!
//! `hostward run` is the agent: see [`app`]. Every other verb is short-lived: offline work on
//! rules, configuration and captures, or a question over the admin socket.

#![expect(unreachable_pub, reason = "in a binary `pub` says that other modules use it")]

mod admin;
mod app;
mod capture;
mod cli;
mod clock;
mod commands;
mod config;
mod embedded;
mod exit;
mod health;
mod lock;
mod logging;
mod output;
mod pipeline;
mod policy;
mod recent;
mod report;
mod systemd;
mod watch;
mod workloads;

use clap::Parser;
use clap::error::ErrorKind;
use cli::{Cli, Command, ConfigVerb, RulesVerb, SetupVerb};
use exit::{Exit, Failure};
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are no errors; nothing can be done when they cannot be printed.
            let _ = error.print();
            let asked = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
            return if asked { Exit::Ok } else { Exit::Usage }.into();
        }
    };
    match dispatch(&cli.command) {
        Ok(exit) => exit.into(),
        Err(failure) => {
            if !failure.message.is_empty() {
                eprintln!("hostward: {failure}");
            }
            failure.exit.into()
        }
    }
}

fn dispatch(command: &Command) -> Result<Exit, Failure> {
    match command {
        Command::Run(args) => app::run(args),
        Command::Status(args) => commands::status::run(args),
        Command::Workloads(args) => commands::workloads::run(args),
        Command::Events(args) => commands::events::run(args),
        Command::Doctor(args) => commands::doctor::run(args),
        Command::Config(ConfigVerb::Check(args)) => commands::check::run(args),
        Command::Spool(verb) => commands::spool::run(verb),
        Command::Setup(SetupVerb::Elastic(args)) => commands::setup::elastic(args),
        Command::Rules(RulesVerb::Check(args)) => commands::rules::check(args),
        Command::Rules(RulesVerb::Explain(args)) => commands::explain::run(args),
        Command::Rules(RulesVerb::Test(args)) => commands::rules_test::run(args),
        Command::Rules(RulesVerb::Reload(args)) => commands::explain::reload(args),
        Command::Rules(RulesVerb::List(args)) => commands::rules::list(args),
        Command::Fields(args) => commands::fields::run(args),
        Command::Replay(args) => commands::replay::run(args),
    }
}
