//! The thread that carries actions out.

use crate::config::{Config, Problem};
use crate::kill::{Ending, Guard, Target};
use crate::process::own_service;
use crate::protected::Protected;
use crate::rate::{Admission, RateCap};
use hostward_event::fact::{ActionResult, Outcome};
use hostward_event::{EventId, Text};
use rustix::time::{ClockId, clock_gettime};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A process nearly always ends within this; longer ones are waited for on the side.
const SHORT_WAIT_MS: i64 = 20;
/// How often those are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// Processes waited for on the side.
const MAX_DYING: usize = 256;
/// Refusals remembered until the thread can report them; more only show in the counter.
const MAX_REFUSED: usize = 4_096;

/// Kill this process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KillRequest {
    /// The alert that the result belongs to.
    pub alert: EventId,
    /// Name of the response, whose rate counts.
    pub response: Text,
    /// Process id, initial pid namespace.
    pub pid: u32,
    /// Its start, CLOCK_BOOTTIME ns.
    pub start_boot_ns: u64,
}

/// The responder cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartFailure {
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] Problem),
    /// No thread.
    #[error("respond: cannot start its thread: {0}")]
    Thread(std::io::Error),
}

impl StartFailure {
    /// What to do.
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::Config(problem) => problem.hint,
            Self::Thread(_) => "raise the limit of processes (systemd: TasksMax=)",
        }
    }
}

/// Counters since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Requests taken.
    pub submitted: u64,
    /// Requests refused because the queue was full; they are in `submitted`.
    pub refused: u64,
    /// Results reported.
    pub reported: u64,
    /// Processes killed.
    pub killed: u64,
}

#[derive(Default)]
struct Counters {
    submitted: AtomicU64,
    refused: AtomicU64,
    reported: AtomicU64,
    killed: AtomicU64,
}

struct Shared {
    refused: Mutex<VecDeque<EventId>>,
    rate: Mutex<RateCap>,
    counters: Counters,
    /// The thread is through.
    done: (Mutex<bool>, Condvar),
    /// Nothing more is to be begun.
    closing: AtomicBool,
}

impl Shared {
    fn rate(&self) -> MutexGuard<'_, RateCap> {
        self.rate.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn refused(&self) -> MutexGuard<'_, VecDeque<EventId>> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Carries out kills on a thread of its own.
pub struct Responder {
    queue: Option<SyncSender<KillRequest>>,
    shared: Arc<Shared>,
    close_wait: Duration,
}

fn boot_ns() -> u64 {
    let now = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or_default();
    seconds.saturating_mul(1_000_000_000).saturating_add(u64::try_from(now.tv_nsec).unwrap_or_default())
}

impl Responder {
    /// Starts the thread. `report` is called on it with the result of each request; while it blocks,
    /// no further kill is carried out.
    ///
    /// # Errors
    /// When the configuration is wrong or no thread can be had.
    pub fn start(
        config: &Config,
        report: impl FnMut(ActionResult) + Send + 'static,
    ) -> Result<Self, StartFailure> {
        let guard = Guard { protected: Protected::new(config)?, own_service: own_service() };
        let shared = Arc::new(Shared {
            refused: Mutex::default(),
            rate: Mutex::new(RateCap::new(config.max_kills, config.rate_window_s)),
            counters: Counters::default(),
            done: (Mutex::new(false), Condvar::new()),
            closing: AtomicBool::new(false),
        });
        let (queue, requests) = sync_channel(config.queue_length);
        let wait = Duration::from_millis(config.wait_ms);
        let cap = format!("{} kills in {} s", config.max_kills, config.rate_window_s);
        let worker = Worker { guard, shared: Arc::clone(&shared), report, dying: Vec::new(), wait, cap };
        let thread = std::thread::Builder::new().name("respond".to_owned());
        thread.spawn(move || worker.run(&requests)).map_err(StartFailure::Thread)?;
        Ok(Self { queue: Some(queue), shared, close_wait: wait + Duration::from_secs(1) })
    }

    /// Takes a request; never waits. When the queue is full the request fails, and the thread reports
    /// that as its result.
    pub fn submit(&self, request: KillRequest) {
        let Shared { counters, .. } = &*self.shared;
        counters.submitted.fetch_add(1, Ordering::Relaxed);
        let refused = match self.queue.as_ref().map(|queue| queue.try_send(request)) {
            Some(Ok(())) | None => return,
            Some(Err(TrySendError::Full(request) | TrySendError::Disconnected(request))) => request,
        };
        counters.refused.fetch_add(1, Ordering::Relaxed);
        let mut list = self.shared.refused();
        if list.len() < MAX_REFUSED {
            list.push_back(refused.alert);
        }
    }

    /// The kernel program killed a process for this response: it counts towards the cap. True when
    /// the response is in monitor mode now, so that the kernel plan should no longer kill for it.
    pub fn kernel_killed(&self, response: &Text, boot_ns: u64) -> bool {
        self.shared.rate().admit(response, boot_ns) != Admission::Admitted
    }

    /// Responses that reached their cap and only record what they would have done.
    pub fn tripped(&self) -> Vec<Text> {
        self.shared.rate().tripped()
    }

    /// Every response may act again: the operator has loaded the policy anew.
    pub fn rearm(&self) {
        self.shared.rate().rearm();
    }

    /// Counters since the start.
    pub fn stats(&self) -> Stats {
        let Counters { submitted, refused, reported, killed } = &self.shared.counters;
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Stats {
            submitted: load(submitted),
            refused: load(refused),
            reported: load(reported),
            killed: load(killed),
        }
    }

    /// Takes no more requests, lets the thread carry out what it has, and waits for it as long as one
    /// kill may take and a second. True when it is through; a thread that hangs in `report` is left.
    pub fn close(&mut self) -> bool {
        self.queue = None;
        let (done, changed) = &self.shared.done;
        let done = done.lock().unwrap_or_else(PoisonError::into_inner);
        let (done, _) = changed
            .wait_timeout_while(done, self.close_wait, |done| !*done)
            .unwrap_or_else(PoisonError::into_inner);
        // Too late for the rest: nobody would hear of it.
        self.shared.closing.store(true, Ordering::Relaxed);
        *done
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        self.shared.closing.store(true, Ordering::Relaxed);
    }
}

struct Dying {
    alert: EventId,
    target: Target,
    deadline: Instant,
}

struct Worker<R> {
    guard: Guard,
    shared: Arc<Shared>,
    report: R,
    dying: Vec<Dying>,
    wait: Duration,
    cap: String,
}

/// Says that the thread is through, also when it unwinds.
struct Done<'a>(&'a Shared);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        *self.0.done.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.0.done.1.notify_all();
    }
}

impl<R: FnMut(ActionResult)> Worker<R> {
    fn run(mut self, requests: &Receiver<KillRequest>) {
        let shared = Arc::clone(&self.shared);
        let _done = Done(&shared);
        loop {
            let next = if self.dying.is_empty() {
                requests.recv().map_err(|_| RecvTimeoutError::Disconnected)
            } else {
                requests.recv_timeout(LOOK_EVERY)
            };
            if shared.closing.load(Ordering::Relaxed) {
                return;
            }
            match next {
                Ok(request) => self.carry_out(&request),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    self.report_refused();
                    if self.dying.is_empty() {
                        return;
                    }
                    std::thread::sleep(LOOK_EVERY);
                }
            }
            self.report_refused();
            self.bury();
        }
    }

    fn carry_out(&mut self, request: &KillRequest) {
        match self.attempt(request) {
            Err(ending) => self.tell(request.alert, ending),
            Ok(target) if target.exited(SHORT_WAIT_MS) => self.killed(request.alert),
            Ok(target) if self.dying.len() < MAX_DYING => {
                let deadline = Instant::now() + self.wait;
                self.dying.push(Dying { alert: request.alert, target, deadline });
            }
            Ok(_) => {
                let why = "SIGKILL was sent; too many processes are waited for to see its end".to_owned();
                self.tell(request.alert, (Outcome::Failed, why));
            }
        }
    }

    fn attempt(&self, request: &KillRequest) -> Result<Target, Ending> {
        let target = Target::find(request, &self.guard)?;
        // Last, so that only real kills count.
        match self.shared.rate().admit(&request.response, boot_ns()) {
            Admission::Admitted => {}
            refusal => {
                if refusal == Admission::Trips {
                    tracing::warn!(response = %request.response, cap = %self.cap,
                        "a response reached its cap and is in monitor mode until the policy is loaded anew");
                }
                let why = format!(
                    "the response reached its cap of {} and is in monitor mode until the policy is loaded anew",
                    self.cap
                );
                return Err((Outcome::WouldHave, why));
            }
        }
        target.kill()?;
        Ok(target)
    }

    /// Reports processes that ended meanwhile, and those that did not in time.
    fn bury(&mut self) {
        for dying in std::mem::take(&mut self.dying) {
            if dying.target.exited(0) {
                self.killed(dying.alert);
            } else if Instant::now() >= dying.deadline {
                let waited_ms = self.wait.as_millis();
                let why = format!(
                    "SIGKILL was sent, but the process has not ended after {waited_ms} ms; it may hang in the kernel"
                );
                self.tell(dying.alert, (Outcome::Failed, why));
            } else {
                self.dying.push(dying);
            }
        }
    }

    fn report_refused(&mut self) {
        // One at a time: the lock is not held while the callback runs.
        loop {
            let Some(alert) = self.shared.refused().pop_front() else { return };
            self.tell(alert, (Outcome::Failed, "the queue of responses is full".to_owned()));
        }
    }

    fn killed(&mut self, alert: EventId) {
        self.shared.counters.killed.fetch_add(1, Ordering::Relaxed);
        self.tell(alert, (Outcome::Killed, String::new()));
    }

    fn tell(&mut self, alert: EventId, (outcome, detail): Ending) {
        (self.report)(ActionResult { alert, outcome, detail: Text::from(detail), boot_ns: boot_ns() });
        self.shared.counters.reported.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;
