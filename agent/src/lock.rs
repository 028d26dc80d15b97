//! One agent per state directory.

use crate::exit::{Exit, Failure};
use rustix::fs::{FlockOperation, flock};
use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

/// Held as long as the agent runs; the kernel lets go of it when the process ends, however it does.
#[derive(Debug)]
pub struct InstanceLock {
    _file: File,
}

/// Makes `dir` with all that lie above it, mode 0700 for the last.
///
/// # Errors
/// [`Exit::CannotWrite`] with the reason.
pub fn make_dir(dir: &Path, what: &str, option: &str, mode: u32) -> Result<(), Failure> {
    let cannot = |error: std::io::Error| {
        Failure::new(
            Exit::CannotWrite,
            format!("cannot make the {what} directory {}: {error}", dir.display()),
            format!("run as root, or name another directory with {option}"),
        )
    };
    if let Some(parent) = dir.parent() {
        std::fs::create_dir_all(parent).map_err(cannot)?;
    }
    match std::fs::DirBuilder::new().mode(mode).create(dir) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists && dir.is_dir() => Ok(()),
        other => other.map_err(cannot),
    }
}

/// Takes the lock in `state_dir`, and writes our pid into it for the one who comes second.
///
/// # Errors
/// [`Exit::Busy`] names the holder's pid; [`Exit::CannotWrite`] when the file cannot be made.
pub fn take(state_dir: &Path) -> Result<InstanceLock, Failure> {
    let path = state_dir.join("lock");
    let cannot = |error: std::io::Error| {
        Failure::new(
            Exit::CannotWrite,
            format!("cannot write {}: {error}", path.display()),
            "run as root, or name another directory with --state-dir",
        )
    };
    let mut file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed())
        .open(&path)
        .map_err(cannot)?;
    if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        let mut holder = String::new();
        // Whatever the file says, another process holds it.
        let _ = (&mut file).take(32).read_to_string(&mut holder);
        let holder: String = holder.chars().filter(char::is_ascii_digit).collect();
        let holder = if holder.is_empty() { "another process".into() } else { format!("process {holder}") };
        return Err(Failure::new(
            Exit::Busy,
            format!("an agent already runs on {}: {holder} holds it", state_dir.display()),
            "stop it (systemctl stop hostward), or run a second one with its own --state-dir and --runtime-dir",
        ));
    }
    file.set_len(0).and_then(|()| file.rewind()).map_err(cannot)?;
    writeln!(file, "{}", std::process::id()).map_err(cannot)?;
    Ok(InstanceLock { _file: file })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_is_told_the_pid_of_the_first() {
        let dir = tempfile::tempdir().unwrap();
        let held = take(dir.path()).unwrap();
        let refused = take(dir.path()).unwrap_err();
        assert_eq!(refused.exit, Exit::Busy);
        assert!(refused.message.contains(&format!("process {}", std::process::id())), "{refused}");
        drop(held);
        take(dir.path()).unwrap();
    }
}
