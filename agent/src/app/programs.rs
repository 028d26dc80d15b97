//! The thread that reads programs' files and the names in containers. Nobody waits for it but with a bound.

use super::line::Message;
use super::thread;
use crate::config::Config;
use crate::exit::Failure;
use crate::health::{Health, Stage, State};
use hostward_event::fact::{Fact, Input, Lookup};
use hostward_host::{Host, Programs as Reader};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

/// Questions that may wait.
const DEPTH: usize = 4_096;
/// After so long at one file nothing is waited for: its answer comes when it comes.
const SLOW_NS: u64 = 2_000_000_000;
/// After so long it is told in health.
const HUNG_NS: u64 = 10_000_000_000;

/// What the thread is at.
#[derive(Debug, Default)]
struct Work {
    /// CLOCK_BOOTTIME ns when it began; 0: idle.
    since_ns: AtomicU64,
    /// The file.
    what: Mutex<String>,
}

/// The thread's end for who asks.
pub struct Programs {
    questions: SyncSender<Lookup>,
    work: Arc<Work>,
    health: Arc<Health>,
}

impl Programs {
    /// Starts the thread, and tells the pipeline what can be asked for.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(
        config: &Config,
        host: &Host,
        line: SyncSender<Message>,
        health: Arc<Health>,
    ) -> Result<Self, Failure> {
        let (questions, asked) = sync_channel(DEPTH);
        let work = Arc::new(Work::default());
        let mut reader = Reader::new(&config.programs, host.clone(), Path::new("/"));
        let files = config.programs.wants_files();
        // The pipeline cannot be gone this early; if it is, its stage tells.
        let _ = line.send(Message::Inputs(vec![Input::Fact(Fact::Programs { files, names: true })]));
        {
            let work = Arc::clone(&work);
            thread("programs", move || read(&mut reader, &asked, &line, &work))?;
        }
        Ok(Self { questions, work, health })
    }

    /// Takes a question. Never waits; gives the answer itself when the thread has no time for it.
    pub fn ask(&self, lookup: Lookup) -> Option<Fact> {
        let refusal = Reader::refusal(&lookup);
        match self.questions.try_send(lookup) {
            Ok(()) if self.busy_ns() < SLOW_NS => None,
            Ok(()) | Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => refusal,
        }
    }

    /// Tells health of a file that does not end.
    pub fn tell(&self) {
        let busy_ns = self.busy_ns();
        let (state, why) = if busy_ns > HUNG_NS {
            let what = self.work.what.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let seconds = busy_ns / 1_000_000_000;
            let why = format!(
                "reading {what} takes {seconds} s by now: hashes and names of containers are missing; \
                 see to its file system"
            );
            (State::Degraded, why)
        } else {
            (State::Ok, String::new())
        };
        self.health.set(Stage::AddContext, "programs", state, why, crate::clock::wall_ns());
    }

    fn busy_ns(&self) -> u64 {
        match self.work.since_ns.load(Ordering::Relaxed) {
            0 => 0,
            since_ns => hostward_host::boot_ns().saturating_sub(since_ns),
        }
    }
}

fn read(reader: &mut Reader, asked: &Receiver<Lookup>, line: &SyncSender<Message>, work: &Work) {
    // Behind everybody else: what is read is nothing that the host needs.
    let _ = rustix::process::nice(10);
    while let Ok(lookup) = asked.recv() {
        *work.what.lock().unwrap_or_else(PoisonError::into_inner) = name(&lookup);
        work.since_ns.store(hostward_host::boot_ns().max(1), Ordering::Relaxed);
        let fact = reader.answer(&lookup);
        work.since_ns.store(0, Ordering::Relaxed);
        if let Some(fact) = fact
            && line.send(Message::Inputs(vec![Input::Fact(fact)])).is_err()
        {
            return;
        }
    }
}

/// Escaped: whoever runs a program chooses its path.
fn name(lookup: &Lookup) -> String {
    match lookup {
        Lookup::Program { key, pid, .. } => {
            format!("{} of process {pid}", String::from_utf8_lossy(key.path.as_bytes()).escape_debug())
        }
        Lookup::Names { pid, .. } => format!("/etc/passwd in the root of process {pid}"),
        _ => String::new(),
    }
}
