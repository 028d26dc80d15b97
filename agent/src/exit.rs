//! Exit codes, after sysexits.h; documented in `docs/operations.md` and in the unit's
//! `RestartPreventExitStatus`.

use std::fmt;

/// What the process tells its caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Done.
    Ok = 0,
    /// `status`: a stage is degraded.
    Degraded = 1,
    /// `status`: a stage has failed.
    Failed = 2,
    /// `status`, `events`: no agent answers.
    NotRunning = 3,
    /// The command line is wrong (EX_USAGE).
    Usage = 64,
    /// An input file is no capture, or is cut; the spool is damaged (EX_DATAERR).
    BadInput = 65,
    /// `config check --connect`, `setup`: a destination cannot be reached or refuses (EX_UNAVAILABLE).
    Unreachable = 69,
    /// A bug in the agent (EX_SOFTWARE).
    Bug = 70,
    /// A file or directory of the agent cannot be made or written (EX_CANTCREAT).
    CannotWrite = 73,
    /// Another agent holds the state directory or the spool (EX_TEMPFAIL).
    Busy = 75,
    /// No privilege, or a kernel that cannot (EX_NOPERM).
    CannotSense = 77,
    /// Configuration, rules or responses are wrong (EX_CONFIG).
    Config = 78,
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// A command that failed: the code to exit with, what happened, and what to do about it.
#[derive(Debug)]
pub struct Failure {
    /// How to exit.
    pub exit: Exit,
    /// What, where, why: one line per problem.
    pub message: String,
    /// What to do; empty when the message says it.
    pub hint: String,
}

impl Failure {
    /// A failure with a hint.
    pub fn new(exit: Exit, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { exit, message: message.into(), hint: hint.into() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if !self.hint.is_empty() {
            write!(f, "\nhint: {}", self.hint)?;
        }
        Ok(())
    }
}

impl std::error::Error for Failure {}
