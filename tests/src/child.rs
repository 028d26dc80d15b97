//! Processes that do a chosen thing.

use anyhow::{Context, Result, ensure};
use std::ffi::OsStr;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// How a process ended, and who it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Its pid.
    pub pid: u32,
    /// Exit code; none when a signal ended it.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
}

/// Runs a program to its end, without input or output.
///
/// # Errors
/// It cannot be started.
pub fn run<S: AsRef<OsStr>>(program: impl AsRef<OsStr>, args: &[S]) -> Result<Ended> {
    let mut command = Command::new(program.as_ref());
    command.args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child =
        command.spawn().with_context(|| format!("cannot start {}", program.as_ref().display()))?;
    let status = child.wait()?;
    Ok(Ended { pid: child.id(), code: status.code(), signal: status.signal() })
}

/// Runs a shell script to its end; the script is the second argument that events show.
///
/// # Errors
/// There is no shell.
pub fn sh(script: &str) -> Result<Ended> {
    run("/bin/sh", &["-c", script])
}

/// Copies a program to `dir/name`, so that events can be told apart by a name that nobody else has.
///
/// # Errors
/// The copy fails.
pub fn copy_of(program: &str, dir: &Path, name: impl AsRef<OsStr>) -> Result<PathBuf> {
    let path = dir.join(name.as_ref());
    // By another process: a descriptor of ours, open for writing, could be inherited by a child that another
    // test starts just then, and the program would be busy.
    let status = Command::new("cp").arg("--").arg(program).arg(&path).status()?;
    ensure!(status.success(), "cannot copy {program} to {}: {status}", path.display());
    Ok(path)
}

/// Runs a program to its end and gives its output.
///
/// # Errors
/// It cannot be started or ends with another code than 0; the message has its stderr.
pub fn output(command: &mut Command) -> Result<String> {
    let output =
        command.stdin(Stdio::null()).output().with_context(|| format!("cannot start {command:?}"))?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?} ended with {}: {stderr}", output.status);
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
