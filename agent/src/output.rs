//! Standard output of the command line. A reader that closes the pipe (`| head`) ends us quietly.

use crate::exit::{Exit, Failure};
use serde::Serialize;
use std::io::{ErrorKind, StdoutLock, Write};

/// Writes to standard output.
#[derive(Debug)]
pub struct Printer {
    out: StdoutLock<'static>,
}

impl Default for Printer {
    fn default() -> Self {
        Self { out: std::io::stdout().lock() }
    }
}

impl Printer {
    fn write(&mut self, text: &[u8]) -> Result<(), Failure> {
        self.out.write_all(text).and_then(|()| self.out.flush()).map_err(|error| {
            // Whoever closed the pipe has seen enough: no message.
            let message = match error.kind() {
                ErrorKind::BrokenPipe => String::new(),
                _ => format!("cannot write to standard output: {error}"),
            };
            let exit = if message.is_empty() { Exit::Ok } else { Exit::CannotWrite };
            Failure::new(exit, message, "")
        })
    }

    /// Text as it is.
    ///
    /// # Errors
    /// Standard output cannot be written.
    pub fn text(&mut self, text: &str) -> Result<(), Failure> {
        self.write(text.as_bytes())
    }

    /// One line.
    ///
    /// # Errors
    /// Standard output cannot be written.
    pub fn line(&mut self, line: &str) -> Result<(), Failure> {
        self.write(format!("{line}\n").as_bytes())
    }

    /// One line of bytes.
    ///
    /// # Errors
    /// Standard output cannot be written.
    pub fn bytes(&mut self, mut line: Vec<u8>) -> Result<(), Failure> {
        line.push(b'\n');
        self.write(&line)
    }

    /// A value as readable JSON.
    ///
    /// # Errors
    /// Standard output cannot be written.
    pub fn json(&mut self, value: &impl Serialize) -> Result<(), Failure> {
        let text = serde_json::to_string_pretty(value)
            .map_err(|error| Failure::new(Exit::Bug, format!("cannot write JSON: {error}"), ""))?;
        self.line(&text)
    }
}
