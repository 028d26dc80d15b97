//! The command line's end of the admin socket.

use super::{Request, socket};
use crate::exit::{Exit, Failure};
use serde::de::DeserializeOwned;
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

/// A request under way.
#[derive(Debug)]
pub struct Client {
    answers: BufReader<UnixStream>,
}

/// Asks the agent whose socket lies in `runtime_dir`.
///
/// # Errors
/// [`Exit::NotRunning`] when nobody answers there; [`Exit::CannotSense`] when we may not ask.
pub fn connect(runtime_dir: &Path, request: &Request) -> Result<Client, Failure> {
    let path = socket(runtime_dir);
    let mut stream = UnixStream::connect(&path).map_err(|error| match error.kind() {
        ErrorKind::PermissionDenied => Failure::new(
            Exit::CannotSense,
            format!("not allowed to ask at {}", path.display()),
            "run as root, or as a member of the group hostward",
        ),
        _ => Failure::new(
            Exit::NotRunning,
            format!("no agent answers at {}: {error}", path.display()),
            "start it with `systemctl start hostward` or `hostward run`; a directory of its own is named by --runtime-dir",
        ),
    })?;
    let gone =
        |error: std::io::Error| Failure::new(Exit::NotRunning, format!("the agent went away: {error}"), "");
    let mut line = serde_json::to_vec(request).map_err(|error| gone(error.into()))?;
    line.push(b'\n');
    stream.write_all(&line).map_err(gone)?;
    Ok(Client { answers: BufReader::new(stream) })
}

impl Client {
    /// The next answer; none when the agent has no more.
    ///
    /// # Errors
    /// [`Exit::NotRunning`] when the agent went away, [`Exit::Bug`] when it is of another version.
    pub fn next<T: DeserializeOwned>(&mut self) -> Result<Option<T>, Failure> {
        let mut line = String::new();
        let read = self.answers.read_line(&mut line);
        match read {
            Ok(0) => Ok(None),
            Ok(_) => serde_json::from_str(&line).map(Some).map_err(|error| {
                let hint = "agent and command line are of different versions? restart the agent";
                Failure::new(Exit::Bug, format!("the agent's answer is not understood: {error}"), hint)
            }),
            Err(error) => Err(Failure::new(Exit::NotRunning, format!("the agent went away: {error}"), "")),
        }
    }
}
