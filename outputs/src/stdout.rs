//! Lines on standard output: the live view, or JSON for a pipe.
//!
//! Writes block, and that is meant: a terminal that was stopped with ^S holds up this thread and no
//! other. A reader that went away ends the sink, not the agent.

use crate::sink::{Ack, Batch, Encoder, FailureKind, SendFailure, Sink};
use hostward_event::EventId;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use std::os::fd::AsFd;

/// Bytes encoded before they are written.
const CHUNK_BYTES: usize = 64 << 10;

/// See the module.
pub struct StdoutSink {
    encoder: Encoder,
    target: Target,
    buffer: Vec<u8>,
    /// Rest of a line that was begun when a write failed: the event, and what is missing of it.
    begun: Option<(EventId, Vec<u8>)>,
}

enum Target {
    Stdout(std::io::Stdout),
    Fd(OwnedFd),
}

impl StdoutSink {
    /// Writes to descriptor 1.
    pub fn new(encoder: Encoder) -> Self {
        Self { encoder, target: Target::Stdout(std::io::stdout()), buffer: Vec::new(), begun: None }
    }

    /// Writes to another descriptor: a pipe, a terminal, a socket.
    pub const fn to(encoder: Encoder, fd: OwnedFd) -> Self {
        Self { encoder, target: Target::Fd(fd), buffer: Vec::new(), begun: None }
    }

    fn fd(&self) -> rustix::fd::BorrowedFd<'_> {
        match &self.target {
            Target::Stdout(stdout) => stdout.as_fd(),
            Target::Fd(fd) => fd.as_fd(),
        }
    }

    /// Writes all of the buffer; gives how much was written before a failure.
    fn write(&self, bytes: &[u8]) -> Result<(), (usize, Errno)> {
        let mut done = 0;
        while let Some(rest) = bytes.get(done..).filter(|rest| !rest.is_empty()) {
            match rustix::io::write(self.fd(), rest) {
                Ok(0) => return Err((done, Errno::IO)),
                Ok(written) => done += written,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    // Somebody who shares the terminal made it non-blocking.
                    let mut wait = [PollFd::from_borrowed_fd(self.fd(), PollFlags::OUT)];
                    match poll(&mut wait, None) {
                        Ok(_) | Err(Errno::INTR) => {}
                        Err(error) => return Err((done, error)),
                    }
                }
                Err(error) => return Err((done, error)),
            }
        }
        Ok(())
    }

    /// Writes the buffered lines; `ends` are the offsets of their ends with the event's id. A
    /// failure gives how many lines are out, and remembers the line it broke off in.
    fn flush(&mut self, ends: &mut Vec<(usize, EventId)>) -> Result<(), (usize, Errno)> {
        let result = self.write(&self.buffer).map_err(|(written, error)| {
            let whole = ends.iter().take_while(|(end, _)| *end <= written).count();
            let start = whole.checked_sub(1).and_then(|last| ends.get(last)).map_or(0, |(end, _)| *end);
            let begun = ends.get(whole).filter(|_| written > start);
            let rest = begun.and_then(|(end, id)| Some((*id, self.buffer.get(written..*end)?.to_vec())));
            (whole, error, rest)
        });
        self.buffer.clear();
        ends.clear();
        result.map_err(|(whole, error, rest)| {
            self.begun = rest.or_else(|| self.begun.take());
            (whole, error)
        })
    }

    fn send_all(&mut self, batch: &Batch) -> Result<(), SendFailure> {
        let mut finished = None;
        if let Some((id, rest)) = self.begun.take() {
            if let Err((written, error)) = self.write(&rest) {
                self.begun = Some((id, rest.get(written..).unwrap_or_default().to_vec()));
                return Err(failure(0, error));
            }
            finished = Some(id);
        }
        let mut out = 0;
        let mut ends = Vec::new();
        let mut events = batch.events().peekable();
        while let Some(event) = events.next() {
            // Its line was finished above; an empty stretch keeps the count.
            if finished != Some(event.id) {
                (self.encoder)(event, &mut self.buffer);
                self.buffer.push(b'\n');
            }
            ends.push((self.buffer.len(), event.id));
            if self.buffer.len() >= CHUNK_BYTES || events.peek().is_none() {
                let lines = ends.len();
                self.flush(&mut ends).map_err(|(whole, error)| failure(out + whole, error))?;
                out += lines;
            }
        }
        Ok(())
    }
}

fn failure(delivered: usize, error: Errno) -> SendFailure {
    let (kind, message) = match error {
        Errno::PIPE => (FailureKind::Ended, "standard output: the reader closed it".to_owned()),
        // What a terminal gives when its window was closed or its line hung up.
        Errno::IO => (FailureKind::Ended, "standard output: the terminal is gone".to_owned()),
        Errno::BADF => (FailureKind::Ended, "standard output: it is not open".to_owned()),
        Errno::NOSPC | Errno::DQUOT => {
            (FailureKind::Passing, "standard output: its disk is full; make room".to_owned())
        }
        error => (FailureKind::Passing, format!("standard output: cannot write: {error}")),
    };
    SendFailure { delivered, ..SendFailure::new(kind, message) }
}

impl Sink for StdoutSink {
    async fn send(&mut self, batch: &Batch) -> Result<Ack, SendFailure> {
        self.send_all(batch).map(|()| Ack::All)
    }
}
