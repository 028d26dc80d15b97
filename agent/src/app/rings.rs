//! The rings' thread: from the kernel to the pipeline.

use super::line::Message;
use super::persist::Late;
use super::thread;
use crate::exit::Failure;
use crate::health::{Health, Stage, State};
use hostward_event::fact::Input;
use hostward_sensor::Rings as Source;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::SyncSender;
use std::thread::JoinHandle;
use std::time::Duration;

/// How long an idle thread sleeps; also how long a stop waits for it.
const IDLE: Duration = Duration::from_millis(250);
/// After a failed read; reading may go on, so it is tried again.
const PAUSE: Duration = Duration::from_millis(500);

/// The running thread.
pub struct Rings {
    handle: JoinHandle<()>,
    stop: Arc<AtomicBool>,
}

/// Starts reading.
pub fn start(
    mut source: Source,
    late: Late,
    line: SyncSender<Message>,
    health: Arc<Health>,
) -> Result<Rings, Failure> {
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let mut late = Some(late);
    let handle = thread("rings", move || {
        while !stopped.load(Ordering::Relaxed) {
            let mut inputs = Vec::new();
            let read = source.poll(IDLE, &mut inputs);
            let failed = read.as_ref().err().map(|error| format!("{error}; {}", error.hint()));
            tell(failed.as_deref(), source.malformed(), &health);
            if !send(inputs, &line) {
                return;
            }
            if let Some(drained) = source.drained()
                && let Some(late) = late.take()
            {
                late.drained(drained, &line, &health);
            }
            if failed.is_some() {
                std::thread::sleep(PAUSE);
            }
        }
        let mut inputs = Vec::new();
        if let Err(error) = source.drain(&mut inputs) {
            tracing::error!(%error, "the rings could not be drained");
        }
        send(inputs, &line);
    })?;
    Ok(Rings { handle, stop })
}

/// False when nobody takes inputs any more. A full line makes us wait: then the kernel's rings fill.
fn send(inputs: Vec<Input>, line: &SyncSender<Message>) -> bool {
    inputs.is_empty() || line.send(Message::Inputs(inputs)).is_ok()
}

fn tell(failed: Option<&str>, malformed: u64, health: &Health) {
    let now_ns = crate::clock::wall_ns();
    let state = if failed.is_some() { State::Failed } else { State::Ok };
    health.set(Stage::ObserveEvent, "read", state, failed.unwrap_or_default(), now_ns);
    if malformed > 0 {
        let why = format!("{malformed} records of the kernel programs were none: a bug, please report it");
        health.set(Stage::ObserveEvent, "malformed", State::Degraded, why, now_ns);
    }
}

impl Rings {
    /// True when the thread has ended.
    pub fn finished(&self) -> bool {
        self.handle.is_finished()
    }

    /// Reads what is left and ends; call it after the programs were detached.
    pub fn join(self) {
        self.stop.store(true, Ordering::Relaxed);
        // A thread that panicked has ended the process.
        let _ = self.handle.join();
    }
}
